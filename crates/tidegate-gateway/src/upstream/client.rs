//! Sending one request and getting the head of its answer. Called by `attempt`; the body is read by `relay`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::{Request, Response};
use rustls::ClientConfig;

use super::connect::Connector;
use super::endpoint::Endpoint;
use super::error::SendFailure;
use super::http1::{Broken, Connection, ResponseBody, Returning};
use super::pool::Pool;
use super::request::{UpstreamBody, encode_head};

/// How one request is sent.
#[derive(Debug, Clone, Copy)]
pub struct SendOptions<'a> {
    /// For the name, the connection and TLS together.
    pub connect_timeout: Duration,
    /// Leaves idle connections alone: for another try after one of them broke.
    pub fresh_connection: bool,
    /// Set once the whole request has been handed to a connection: from then on the provider may be working on it.
    pub sent: Option<&'a AtomicBool>,
}

/// The HTTP client of one worker. Cheap to clone. Its connections belong to the runtime on which they were made.
#[derive(Clone, Default)]
pub struct UpstreamClient {
    connector: Arc<Connector>,
    pool: Pool,
}

impl UpstreamClient {
    /// A client that trusts what this machine trusts.
    pub fn new() -> Self {
        Self::default()
    }

    /// A client with TLS settings of its own, for providers behind a private certificate authority.
    pub fn with_tls(config: Arc<ClientConfig>) -> Self {
        Self { connector: Arc::new(Connector::with_tls(config)), pool: Pool::default() }
    }

    /// Sends a request and waits for the head of the answer. The request's path is sent as it stands, see
    /// [`Endpoint::path`]; `Host` and `Content-Length` are written here, headers of the caller's connection left out.
    ///
    /// There is no limit on how long an answer may take: the caller drops the future when its deadline has come, which
    /// closes the connection.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        request: Request<UpstreamBody>,
        options: SendOptions<'_>,
    ) -> Result<Response<ResponseBody>, SendFailure> {
        let (parts, body) = request.into_parts();
        let head = encode_head(endpoint, &parts, &body);
        let no_body_expected = parts.method == http::Method::HEAD;
        let returning = || Returning { pool: self.pool.clone(), key: Arc::clone(endpoint.key()) };
        let mut was_sent_again = false;
        if !options.fresh_connection
            && let Some(connection) = self.pool.take(endpoint.key())
        {
            match connection.exchange(&head, &body, no_body_expected, returning(), options.sent).await {
                Err(broken) if broken.may_be_sent_again() => {
                    // The server closed the idle connection while the request was on its way: nobody's fault, and not
                    // worth a word to anyone but a reader of debug logs.
                    tracing::debug!(endpoint = %endpoint.key(), "an idle connection had been closed; sending again");
                    was_sent_again = true;
                }
                outcome => {
                    return outcome.map_err(|broken| SendFailure {
                        error: broken.into_send_error(endpoint, true),
                        was_sent_again: false,
                    });
                }
            }
        }
        // Boxed, since most calls find a connection, and every call would carry room for making one.
        let failed = |error| SendFailure { error, was_sent_again };
        let wire =
            Box::pin(self.connector.connect(endpoint, options.connect_timeout)).await.map_err(failed)?;
        let connection = Connection::new(wire);
        connection
            .exchange(&head, &body, no_body_expected, returning(), options.sent)
            .await
            .map_err(|broken: Broken| failed(broken.into_send_error(endpoint, false)))
    }

    #[cfg(test)]
    pub(super) fn idle_connections(&self) -> usize {
        self.pool.len()
    }
}
