//! One administrative change: a transaction that writes the rows, tells the other processes (`changes`) and writes the
//! audit log. All of it happens, or nothing.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use super::changes::Changed;
use super::records::Actor;
use crate::audit::{self, Event};
use crate::credentials::MasterKey;
use crate::database::{Database, Kind, Transaction, query};
use crate::error::StoreError;
use crate::queries;

/// How long a change waits for other processes that write: each of the database's own waits is shorter, and a busy
/// ledger can take the lock again and again.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it tries again.
const RETRY: Duration = Duration::from_millis(20);
/// The advisory lock that changes take on PostgreSQL: `TIDE` and 3. It makes the numbers of changes and the lines of the
/// audit log visible in their order. Changes are rare enough to come one after the other.
const POSTGRES_LOCK: i64 = 0x5449_4445_0003;

/// A change that has begun. Dropped, it has not happened.
pub(crate) struct Writing<'a> {
    pub(crate) transaction: Transaction,
    actor: &'a Actor,
    master_key: Option<&'a MasterKey>,
    now: Timestamp,
}

impl<'a> Writing<'a> {
    pub(crate) async fn begin(
        database: &Database,
        actor: &'a Actor,
        master_key: Option<&'a MasterKey>,
    ) -> Result<Self, StoreError> {
        let deadline = Instant::now() + PATIENCE;
        let mut transaction = loop {
            match database.begin().await {
                Err(StoreError::Locked { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(RETRY).await;
                }
                begun => break begun?,
            }
        };
        if transaction.kind() == Kind::Postgres {
            transaction.execute(query("SELECT pg_advisory_xact_lock($1)").bind(POSTGRES_LOCK)).await?;
        }
        Ok(Self { transaction, actor, master_key, now: milliseconds(Timestamp::now()) })
    }

    /// Who does it.
    pub(crate) fn actor(&self) -> &'a Actor {
        self.actor
    }

    /// When this happens.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// Tells the other processes and the audit log what was changed.
    pub(crate) async fn record(
        &mut self,
        changed: &Changed,
        action: &'static str,
        before: Option<Value>,
        after: Option<Value>,
    ) -> Result<(), StoreError> {
        queries::changes::add(&mut self.transaction, changed).await?;
        self.append(Event { action: action.into(), object: changed.object(), before, after }).await
    }

    /// Adds a line to the audit log.
    pub(crate) async fn append(&mut self, event: Event) -> Result<(), StoreError> {
        self.append_as(self.actor, self.now, event).await
    }

    /// Adds a line about another actor, or about what happened earlier.
    pub(crate) async fn append_as(
        &mut self,
        actor: &Actor,
        at: Timestamp,
        event: Event,
    ) -> Result<(), StoreError> {
        audit::append(&mut self.transaction, actor, milliseconds(at), event, self.master_key).await
    }

    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await
    }
}

/// Without what is finer than a millisecond, which is not kept: what is answered now and what is read later are equal.
pub(crate) fn milliseconds(moment: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(moment.as_millisecond()).unwrap_or(moment)
}
