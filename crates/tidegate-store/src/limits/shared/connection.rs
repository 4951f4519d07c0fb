//! A connection to Redis or Valkey: runs one script, and nothing else.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike as _, EventInterface as _, LuaInterface as _};
use fred::prelude::{Builder, Client, Config, ConnectionConfig, Options, ReconnectPolicy};
use fred::types::config::{Server, UnresponsiveConfig};

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::time::timeout;

use super::options::{SharedError, SharedOptions};
use super::tls;

/// How often a lost connection is tried again. The courier asks as often whether it is back.
const RECONNECT_EVERY_MS: u32 = 100;

/// A server that does not answer for so long is given up, with the connection to it.
const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(2);

/// What a command may wait for that nobody waits for: connecting, signing in.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);

/// A connection, which is made anew whenever it is lost.
pub(crate) struct Connection {
    client: Client,
    script: &'static str,
    anchor: String,
    hash: String,
    problems: Mutex<Receiver<(Error, Option<Server>)>>,
}

impl Connection {
    /// Begins to connect, for this script. Does not wait until that is done.
    pub(crate) fn open(options: &SharedOptions, script: &'static str) -> Result<Self, SharedError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if options.prefix.is_empty() || !options.prefix.bytes().all(is_plain) {
            return Err(SharedError::Prefix(options.prefix.clone()));
        }
        let (url, roots) = tls::split(&options.url);
        let mut config = Config::from_url(&url).map_err(SharedError::Url)?;
        config.fail_fast = false;
        if config.uses_tls() {
            config.tls = Some(tls::trusting(roots.as_deref())?);
        }
        let client = Builder::from_config(config)
            .set_policy(ReconnectPolicy::new_constant(0, RECONNECT_EVERY_MS))
            .with_connection_config(|connection: &mut ConnectionConfig| {
                connection.connection_timeout = CONNECT_PATIENCE;
                connection.internal_command_timeout = CONNECT_PATIENCE;
                connection.max_command_attempts = 1;
                connection.reconnect_on_auth_error = true;
                connection.tcp.nodelay = Some(true);
                connection.unresponsive = UnresponsiveConfig {
                    max_timeout: Some(UNRESPONSIVE_AFTER),
                    interval: UNRESPONSIVE_AFTER / 4,
                };
            })
            .build()
            .map_err(SharedError::Url)?;
        let problems = Mutex::new(client.error_rx());
        let connecting = client.connect();
        drop(connecting);
        let hash = fred::util::sha1_hash(script);
        Ok(Self { client, script, anchor: format!("{{{}}}", options.prefix), hash, problems })
    }

    /// What went wrong with the connection since this was asked last, if anything: the latest of it.
    pub(crate) fn problem(&self) -> Option<Error> {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        let mut latest = None;
        loop {
            match problems.try_recv() {
                Ok((error, _server)) => latest = Some(error),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return latest,
            }
        }
    }

    /// Runs the script with these operations; one list of words for each. Takes no longer than this patience.
    pub(crate) async fn run(&self, operations: &str, patience: Duration) -> Result<Vec<Vec<String>>, Error> {
        let options =
            Options { fail_fast: true, max_attempts: Some(1), timeout: Some(patience), ..Options::default() };
        let client = self.client.with_options(&options);
        let anchor = self.anchor.as_str();
        let answer = async {
            match client.evalsha(self.hash.as_str(), anchor, operations).await {
                Err(error) if error.details().starts_with("NOSCRIPT") => {
                    client.eval::<String, _, _, _>(self.script, anchor, operations).await
                }
                answer => answer,
            }
        };
        // The client's own patience begins only once it has a connection, and while it makes a new one it waits.
        let text = timeout(patience, answer)
            .await
            .map_err(|_elapsed| Error::new(ErrorKind::Timeout, "there was no answer in time"))??;
        serde_json::from_str(&text).map_err(|error| Error::new(ErrorKind::Parse, error.to_string()))
    }

    /// Closes the connection.
    pub(crate) async fn close(&self) {
        if let Err(error) = self.client.quit().await {
            tracing::debug!(error = %error, "the connection to the shared counters did not close cleanly");
        }
    }
}
