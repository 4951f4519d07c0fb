//! The board on which replicas write for each other which targets and keys of providers are out, and until when. Kept in
//! Redis, for as long as each fact holds. Written and read by the gateway a few times a second, never for a call.

use std::time::Duration;

use crate::limits::Connection;
use crate::{SharedError, SharedOptions};

const SCRIPT: &str = include_str!("health_board.lua");

/// How long Redis may take. Nobody waits for it but the board itself.
const PATIENCE: Duration = Duration::from_millis(500);

/// A fact lasts no longer than this, whatever somebody writes.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The board.
pub struct HealthBoard {
    connection: Connection,
}

impl std::fmt::Debug for HealthBoard {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("HealthBoard")
    }
}

/// Redis cannot be reached, or has not answered in time.
#[derive(Debug, thiserror::Error)]
#[error("what replicas know of providers cannot be shared: Redis does not answer")]
pub struct HealthBoardAway(#[source] fred::error::Error);

impl HealthBoard {
    /// A board in this Redis. Does not wait until it is there.
    pub fn open(options: &SharedOptions) -> Result<Self, SharedError> {
        tokio::runtime::Handle::try_current().map_err(SharedError::Runtime)?;
        Ok(Self { connection: Connection::open(options, SCRIPT)? })
    }

    /// Writes facts with the time for which they hold, nothing to take one back; reads all that hold.
    pub async fn exchange(
        &self,
        facts: &[(String, Duration)],
    ) -> Result<Vec<(String, Duration)>, HealthBoardAway> {
        let changes: Vec<(&str, u64)> =
            facts.iter().map(|(fact, lasts)| (fact.as_str(), milliseconds(*lasts))).collect();
        let changes = serde_json::to_string(&changes).unwrap_or_else(|_never| "[]".to_owned());
        let holding = self.connection.run(&changes, PATIENCE).await.map_err(HealthBoardAway)?;
        let holding = holding.into_iter().filter_map(|words| {
            let [fact, left] = <[String; 2]>::try_from(words).ok()?;
            Some((fact, Duration::from_millis(left.parse().ok()?).min(LONGEST)))
        });
        Ok(holding.collect())
    }
}

fn milliseconds(lasts: Duration) -> u64 {
    u64::try_from(lasts.min(LONGEST).as_millis()).unwrap_or(u64::MAX)
}
