//! Where a PostgreSQL database is and how to get in. Read from the configuration; shown without the password.

use std::{fmt, str::FromStr};

use sqlx::postgres::PgConnectOptions;

/// `postgres://user:password@host:5432/database?sslmode=require`. Shows everything but the password.
#[derive(Clone)]
pub struct DatabaseUrl {
    options: PgConnectOptions,
}

/// A text that is no address of a PostgreSQL database. Does not repeat the text, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseUrlError {
    /// Another scheme.
    #[error("it does not begin with postgres:// or postgresql://")]
    Scheme,
    /// Not a URL, or one with parameters that make no sense.
    #[error(
        "it is not of the form postgres://user:password@host:5432/database (signs like @, / and # in a password are written %40, %2F and %23)"
    )]
    Form,
}

impl DatabaseUrl {
    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.options
    }
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(DatabaseUrlError::Scheme);
        }
        // The reason is left out: it could quote the text.
        let options = text.parse().map_err(|_reason: sqlx::Error| DatabaseUrlError::Form)?;
        Ok(Self { options })
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        write!(formatter, "postgres://{}@", options.get_username())?;
        match options.get_socket() {
            Some(socket) => write!(formatter, "{}", socket.display())?,
            None => write!(formatter, "{}:{}", options.get_host(), options.get_port())?,
        }
        write!(formatter, "/{}", options.get_database().unwrap_or(options.get_username()))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_everything_but_its_password() {
        let url: DatabaseUrl =
            "postgres://tide:s3cr%40t@db.example:5433/gate?sslmode=require".parse().unwrap();
        assert_eq!(url.to_string(), "postgres://tide@db.example:5433/gate");
        assert_eq!(format!("{url:?}"), url.to_string());
        assert_eq!("mysql://a:secret@b/c".parse::<DatabaseUrl>().unwrap_err(), DatabaseUrlError::Scheme);
        let error = "postgres://tide:secret@host:port/x".parse::<DatabaseUrl>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}
