//! A store of each kind, in a place of its own.

use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tidegate_store::{Access, Actor, MasterKey, Store};

/// A store that is gone when it is dropped.
pub(crate) struct Place {
    pub(crate) kind: &'static str,
    pub(crate) store: Store,
    directory: TempDir,
}

impl Place {
    /// One of each kind, empty.
    pub(crate) async fn all() -> Vec<Self> {
        vec![Self::sqlite().await]
    }

    pub(crate) async fn sqlite() -> Self {
        let directory = TempDir::new().unwrap();
        let store = Store::open(directory.path()).await.unwrap();
        Self { kind: "SQLite", store, directory }
    }

    /// What takes the triggers away that keep the audit log append-only.
    pub(crate) fn unlock(&self) -> &'static str {
        "DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_deleted; DROP TRIGGER audit_head_stays; \
         DROP TRIGGER audit_is_not_replaced;"
    }

    pub(crate) fn access(&self) -> Access {
        self.store.access()
    }

    /// Runs statements behind Tidegate's back.
    pub(crate) async fn tamper(&self, sql: &str) {
        self.try_to_tamper(sql).await.unwrap();
    }

    pub(crate) async fn try_to_tamper(&self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        let options = SqliteConnectOptions::new().filename(self.directory.path().join("tidegate.db"));
        let mut connection = options.connect().await?;
        sqlx::raw_sql(sql).execute(&mut connection).await?;
        connection.close().await
    }

    /// Another process would open it so.
    pub(crate) async fn opened_again(&self) -> Store {
        Store::open(self.directory.path()).await.unwrap()
    }

    /// All that is kept: the files with their log.
    pub(crate) async fn everything(&self) -> Vec<u8> {
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
