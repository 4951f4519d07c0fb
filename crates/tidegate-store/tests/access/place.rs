//! A store of each kind, in a place of its own.

use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tidegate_store::{Access, Actor, MasterKey, Store, StoreOptions};
use tidegate_testkit::servers::{self, TestDatabase};

/// A store that is gone when it is dropped.
pub(crate) struct Place {
    pub(crate) kind: &'static str,
    pub(crate) store: Store,
    options: StoreOptions,
    directory: TempDir,
    database: Option<TestDatabase>,
}

impl Place {
    /// One of each kind, empty.
    pub(crate) async fn all() -> [Self; 2] {
        [
            Self::open("SQLite", None).await,
            Self::open("PostgreSQL", Some(servers::postgres().database())).await,
        ]
    }

    async fn open(kind: &'static str, database: Option<TestDatabase>) -> Self {
        let directory = TempDir::new().unwrap();
        let url = database.as_ref().map(|database| database.url().parse().unwrap());
        let options = StoreOptions { database: url, ..StoreOptions::embedded(directory.path()) };
        let store = Store::open(&options).await.unwrap();
        Self { kind, store, options, directory, database }
    }

    pub(crate) fn access(&self) -> Access {
        self.store.access()
    }

    /// Another process would open it so.
    pub(crate) async fn opened_again(&self) -> Store {
        Store::open(&self.options).await.unwrap()
    }

    /// Takes the triggers away that keep the audit log append-only.
    pub(crate) async fn unlock(&self) {
        self.tamper(match &self.database {
            None => {
                "DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_deleted; \
                 DROP TRIGGER audit_head_stays; DROP TRIGGER audit_is_not_replaced;"
            }
            Some(_) => "ALTER TABLE audit DISABLE TRIGGER ALL; ALTER TABLE audit_head DISABLE TRIGGER ALL;",
        })
        .await;
    }

    /// Runs statements behind Tidegate's back.
    pub(crate) async fn tamper(&self, sql: &str) {
        self.try_to_tamper(sql).await.unwrap();
    }

    pub(crate) async fn try_to_tamper(&self, sql: &str) -> Result<(), sqlx::Error> {
        let statements = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        if let Some(database) = &self.database {
            let mut connection = PgConnection::connect(&database.url()).await?;
            statements.execute(&mut connection).await?;
            return connection.close().await;
        }
        let options = SqliteConnectOptions::new().filename(self.directory.path().join("tidegate.db"));
        let mut connection = options.connect().await?;
        statements.execute(&mut connection).await?;
        connection.close().await
    }

    /// All that is kept: the files, or the tables with their bytes as text.
    pub(crate) fn everything(&self) -> Vec<u8> {
        if let Some(database) = &self.database {
            let tables = ["organizations", "teams", "keys", "subjects", "changes", "audit", "credentials"];
            let dump = |table: &&str| database.sql(&format!("SELECT {table}::text FROM {table}"));
            let mut text: String = tables.iter().map(dump).collect();
            text.push_str(&database.sql("SELECT encode(sealed, 'escape') FROM credentials"));
            return text.into_bytes();
        }
        let files = std::fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.is_file()).flat_map(|path| std::fs::read(path).unwrap()).collect()
    }
}

/// A master key, another one for each number.
pub(crate) fn master_key(number: u8) -> MasterKey {
    MasterKey::parse(&format!("{number:02x}").repeat(32)).unwrap()
}

pub(crate) fn actor() -> Actor {
    Actor::command_line("test")
}
