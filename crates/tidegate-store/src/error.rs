//! What can go wrong with the store, in words for the person who runs it: what happened, why, and what to do.

use std::{io, path::PathBuf};

use sqlx::migrate::MigrateError;

/// A failure of the store. The message says what happened, the source why, [`StoreError::remedy`] what to do. A database
/// is named by its file, or by its address without the password.
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
    /// The ledger's journal cannot be read or written.
    #[error("the ledger's journal in {} cannot be used", directory.display())]
    Journal {
        /// The journal's directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process records in the same journal.
    #[error("the ledger's journal in {} belongs to another process that is running", directory.display())]
    JournalInUse {
        /// The journal's directory.
        directory: PathBuf,
    },
    /// Nothing is there yet.
    #[error("there is no ledger in {}", directory.display())]
    Missing {
        /// The directory.
        directory: PathBuf,
    },
    /// The database's schema is one that only a later version knows.
    #[error(
        "{database} was written by a newer Tidegate (its schema is version {found}, this program knows {known})"
    )]
    Newer {
        /// The database.
        database: String,
        /// Its schema's version.
        found: i64,
        /// The latest version that this program knows.
        known: i64,
    },
    /// The database's schema has not been brought up to date.
    #[error(
        "{database} was written by an older Tidegate (its schema is version {found}, this program needs {known})"
    )]
    Older {
        /// The database.
        database: String,
        /// Its schema's version.
        found: i64,
        /// The version that this program needs.
        known: i64,
    },
    /// Bringing the schema up to date failed; the database is as it was.
    #[error("the schema of {database} could not be brought up to date")]
    Migration {
        /// The database.
        database: String,
        /// Why.
        source: MigrateError,
    },
    /// Another program holds the database.
    #[error("{database} is locked by another program")]
    Locked {
        /// The database.
        database: String,
        /// Why, in the database's words.
        source: sqlx::Error,
    },
    /// The file is no database, or a damaged one.
    #[error("{database} is not a usable database")]
    Damaged {
        /// The database.
        database: String,
        /// Why, in the database's words.
        source: sqlx::Error,
    },
    /// The file cannot be opened or written to.
    #[error("{database} cannot be opened or written to")]
    NoAccess {
        /// The database.
        database: String,
        /// Why, in the database's words.
        source: sqlx::Error,
    },
    /// The database server does not answer, or not in time.
    #[error("{database} cannot be reached")]
    Unreachable {
        /// The database.
        database: String,
        /// Why.
        source: sqlx::Error,
    },
    /// The database server shows a certificate that is not trusted.
    #[error("the certificate of {database} is not trusted")]
    Untrusted {
        /// The database.
        database: String,
        /// Why.
        source: sqlx::Error,
    },
    /// The database server does not let this user in.
    #[error("{database} refuses the user or the password")]
    Login {
        /// The database.
        database: String,
        /// Why, in the database's words.
        source: sqlx::Error,
    },
    /// The server has no such database.
    #[error("{database} does not exist")]
    NoSuchDatabase {
        /// The database.
        database: String,
        /// Why, in the database's words.
        source: sqlx::Error,
    },
    /// The user may not do there what has to be done.
    #[error("{database} does not give its user the rights that are needed")]
    NoRights {
        /// The database.
        database: String,
        /// Why, in the database's words.
        source: sqlx::Error,
    },
    /// The database server ended a statement that took too long, or waited too long for a lock.
    #[error("a query on {database} took too long")]
    TooSlow {
        /// The database.
        database: String,
        /// Why, in the database's words.
        source: sqlx::Error,
    },
    /// Anything else that the database refuses.
    #[error("a query on {database} failed")]
    Query {
        /// The database.
        database: String,
        /// Why, in the database's words.
        source: sqlx::Error,
    },
    /// What stands in the database is not what this program writes there.
    #[error("the database's column `{column}` holds something that cannot be read")]
    Unreadable {
        /// The column.
        column: String,
        /// Why.
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
            Self::Journal { .. } => {
                "see that the disk has room and is healthy, and that the directory and the files in it belong to the user that Tidegate runs as"
            }
            Self::JournalInUse { .. } => {
                "end the other `tidegate serve` first, or give this one a data directory of its own with `data:`; several that share a database each have their own"
            }
            Self::Missing { .. } => {
                "start `tidegate serve` with this data directory first, or set `data:` to the one it uses"
            }
            Self::Newer { .. } => {
                "run the newer Tidegate, or set `data:` or `store:` to another place; a schema is never taken back"
            }
            Self::Older { .. } => {
                "start `tidegate serve` of this version once with this database; it brings the schema up to date"
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
            Self::Unreachable { .. } => {
                "see that the server runs, that host, port and TLS in `store:` are right, and that it has connections left"
            }
            Self::Untrusted { .. } => {
                "name the file of who signed it at the end of `store:`, `?sslmode=verify-full&sslrootcert=/path/ca.pem`, and see that it is for the host there"
            }
            Self::Login { .. } => "correct user and password in `store:`, or the server's pg_hba.conf",
            Self::NoSuchDatabase { .. } => {
                "create it (CREATE DATABASE …), or correct the name at the end of `store:`"
            }
            Self::NoRights { .. } => {
                "make the user the owner of the database, or give it CREATE on its schema; a standby cannot be written to"
            }
            Self::TooSlow { .. } => "ask for a shorter time, and see what else the database is busy with",
            Self::Query { .. } => "see that the disk has room and is healthy; the ledger itself is unchanged",
            Self::Unreadable { .. } => {
                "see whether another program has written to the database, or restore it from a backup"
            }
        }
    }

    /// Sorts a database's error by what the person in front of it can do.
    pub(crate) fn from_database(database: &str, source: sqlx::Error) -> Self {
        let database = database.to_owned();
        if let Some(error) = source.as_database_error()
            && error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some()
        {
            return match error.code().as_deref() {
                Some("28000" | "28P01") => Self::Login { database, source },
                Some("3D000") => Self::NoSuchDatabase { database, source },
                // Insufficient privilege, read-only transaction
                Some("42501" | "25006") => Self::NoRights { database, source },
                // Statement timeout, lock timeout
                Some("57014" | "55P03") => Self::TooSlow { database, source },
                // Connection exceptions, too many connections, shutting down or starting up
                Some(code) if code.starts_with("08") || code.starts_with("57P") || code == "53300" => {
                    Self::Unreachable { database, source }
                }
                _ => Self::Query { database, source },
            };
        }
        match sqlite_code(&source) {
            // SQLITE_BUSY, SQLITE_LOCKED
            Some(5 | 6) => Self::Locked { database, source },
            // SQLITE_CORRUPT, SQLITE_NOTADB
            Some(11 | 26) => Self::Damaged { database, source },
            // SQLITE_PERM, SQLITE_READONLY, SQLITE_CANTOPEN
            Some(3 | 8 | 14) => Self::NoAccess { database, source },
            Some(_) => Self::Query { database, source },
            None => match source {
                sqlx::Error::Io(_) | sqlx::Error::Tls(_) if is_about_certificate(&source) => {
                    Self::Untrusted { database, source }
                }
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::Protocol(_) => Self::Unreachable { database, source },
                _ => Self::Query { database, source },
            },
        }
    }

    pub(crate) fn from_migration(database: &str, source: MigrateError) -> Self {
        match source {
            // What the person can do is the same as for any other statement, where it is known.
            MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
                match Self::from_database(database, source) {
                    Self::Query { database, source } => {
                        Self::Migration { database, source: MigrateError::Execute(source) }
                    }
                    known => known,
                }
            }
            source => Self::Migration { database: database.to_owned(), source },
        }
    }

    pub(crate) fn check_version(database: &str, found: i64, known: i64) -> Result<(), Self> {
        let database = database.to_owned();
        match found {
            _ if found > known => Err(Self::Newer { database, found, known }),
            _ if found < known => Err(Self::Older { database, found, known }),
            _ => Ok(()),
        }
    }

    pub(crate) fn unreadable(column: &str, source: sqlx::Error) -> Self {
        Self::Unreadable { column: column.to_owned(), source }
    }
}

/// Whether TLS ends because of the server's certificate: its library says so in words alone.
fn is_about_certificate(error: &sqlx::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("certificate") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// SQLite's primary result code, the low byte of the extended one.
fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
