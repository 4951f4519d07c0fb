//! What can go wrong with the store, in words for the person who runs it: what happened, why, and what to do.

use std::{io, path::PathBuf};

/// A failure of the store. The message says what happened, the source why, [`StoreError::remedy`] what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data directory cannot be made or written to.
    #[error("the data directory {} cannot be used", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing is there yet.
    #[error("there is no ledger in {}", directory.display())]
    Missing {
        /// The directory.
        directory: PathBuf,
    },
    /// The database's schema is one that only a later version knows.
    #[error(
        "{} was written by a newer Tidegate (its schema is version {found}, this program knows {known})",
        database.display()
    )]
    Newer {
        /// The database file.
        database: PathBuf,
        /// Its schema's version.
        found: i64,
        /// The latest version that this program knows.
        known: i64,
    },
    /// The database's schema has not been brought up to date.
    #[error(
        "{} was written by an older Tidegate (its schema is version {found}, this program needs {known})",
        database.display()
    )]
    Older {
        /// The database file.
        database: PathBuf,
        /// Its schema's version.
        found: i64,
        /// The version that this program needs.
        known: i64,
    },
    /// Bringing the schema up to date failed; the database is as it was.
    #[error("the schema of {} could not be brought up to date", database.display())]
    Migration {
        /// The database file.
        database: PathBuf,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
    /// Another program holds the database.
    #[error("{} is locked by another program", database.display())]
    Locked {
        /// The database file.
        database: PathBuf,
        /// Why, in the database's words.
        source: sqlx::Error,
    },
    /// The file is no database, or a damaged one.
    #[error("{} is not a usable database", database.display())]
    Damaged {
        /// The database file.
        database: PathBuf,
        /// Why, in the database's words.
        source: sqlx::Error,
    },
    /// The file cannot be opened or written to.
    #[error("{} cannot be opened or written to", database.display())]
    NoAccess {
        /// The database file.
        database: PathBuf,
        /// Why, in the database's words.
        source: sqlx::Error,
    },
    /// Anything else that the database refuses.
    #[error("a query on {} failed", database.display())]
    Query {
        /// The database file.
        database: PathBuf,
        /// Why, in the database's words.
        source: sqlx::Error,
    },
}

impl StoreError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Directory { .. } => {
                "create the directory and make it writable for the user that Tidegate runs as, or set `data:` to another one"
            }
            Self::Missing { .. } => {
                "start `tidegate serve` with this data directory first, or set `data:` to the one it uses"
            }
            Self::Newer { .. } => {
                "run the newer Tidegate, or set `data:` to another directory; a schema is never taken back"
            }
            Self::Older { .. } => {
                "start `tidegate serve` of this version once with this data directory; it brings the schema up to date"
            }
            Self::Migration { .. } => {
                "see that the disk has room and no other program writes to the database, then start again"
            }
            Self::Locked { .. } => {
                "end the program that holds it (another `tidegate serve`, or a database tool with an open transaction)"
            }
            Self::Damaged { .. } => {
                "restore the file from a backup, or move it aside and start with an empty ledger"
            }
            Self::NoAccess { .. } => {
                "make the file and its directory readable and writable for the user that Tidegate runs as"
            }
            Self::Query { .. } => "see that the disk has room and is healthy; the ledger itself is unchanged",
        }
    }

    /// Sorts a database's error by what the person in front of it can do.
    pub(crate) fn from_database(database: PathBuf, source: sqlx::Error) -> Self {
        match primary_code(&source) {
            // SQLITE_BUSY, SQLITE_LOCKED
            Some(5 | 6) => Self::Locked { database, source },
            // SQLITE_CORRUPT, SQLITE_NOTADB
            Some(11 | 26) => Self::Damaged { database, source },
            // SQLITE_PERM, SQLITE_READONLY, SQLITE_CANTOPEN
            Some(3 | 8 | 14) => Self::NoAccess { database, source },
            _ => Self::Query { database, source },
        }
    }
}

/// SQLite's primary result code, the low byte of the extended one.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
