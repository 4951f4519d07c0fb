//! When the sums that batches have put down are folded into those by hour and day: run by the writer's task between its
//! batches, in small steps. A report sees the same before, between and after them.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until, timeout};

use crate::{
    database::Database,
    queries::rollups::{FoldPlan, FreshBatch, STEP_ROWS, waiting},
};

/// So many rows are worth folding: then several of them lie in each page that is written, even of a million scopes. A report
/// by key reads as many besides: 0.15 s in SQLite, or 0.4 s where each is another key's.
const ROWS: u64 = 1 << 18;
/// Or so many batches. To find one scope, each is looked through, which takes some microseconds.
const BATCHES: usize = 256;
/// Or when the oldest has waited for so long.
const AGE: Duration = Duration::from_secs(600);
/// How often it is looked at while batches are written.
const LOOK_BUSY: Duration = Duration::from_secs(1);
/// And while none are, but some wait.
const LOOK_IDLE: Duration = Duration::from_secs(60);
/// How long a failure is left alone. Nothing is lost by it, and nobody waits.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// A step takes milliseconds. If it is given up and happens after all, it is done.
const PATIENCE: Duration = Duration::from_secs(30);

/// Folds, now and then.
#[derive(Debug)]
pub(super) struct Folder {
    database: Database,
    plan: Option<FoldPlan>,
    /// When to look again, if there can be anything.
    look_at: Option<Instant>,
}

impl Folder {
    pub(super) fn new(database: Database) -> Self {
        // What an earlier process has left.
        Self { database, plan: None, look_at: Some(Instant::now()) }
    }

    /// A batch was written, and may have put down something.
    pub(super) fn wrote(&mut self) {
        let soon = Instant::now() + LOOK_BUSY;
        self.look_at = Some(self.look_at.map_or(soon, |at| at.min(soon)));
    }

    /// Resolves when [`step`](Self::step) has something to do.
    pub(super) async fn due(&self) {
        match self.look_at {
            _ if self.plan.is_some() => {}
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Does a little, if anything is to be done.
    pub(super) async fn step(&mut self) {
        if self.plan.is_none() && self.look_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        let failure = match timeout(PATIENCE, self.try_step()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => Some(error),
            Err(_elapsed) => None,
        };
        self.plan = None;
        self.look_at = Some(Instant::now() + AFTER_FAILURE);
        let error = failure.as_ref().map(|error| error as &dyn std::error::Error);
        tracing::warn!(
            error,
            "sums of keys could not be brought together; reports are right, and it is tried again"
        );
    }

    async fn try_step(&mut self) -> Result<(), crate::StoreError> {
        if let Some(plan) = &mut self.plan {
            if !plan.step(&self.database).await? {
                self.plan = None;
                // Not at once: it may be another replica's turn.
                self.look_at = Some(Instant::now() + LOOK_BUSY);
            }
            return Ok(());
        }
        let batches = waiting(&self.database).await?;
        if is_worth_it(&batches, Timestamp::now()) {
            self.plan = Some(FoldPlan::of(&self.database, &batches, STEP_ROWS).await?);
        } else {
            self.look_at = (!batches.is_empty()).then(|| Instant::now() + LOOK_IDLE);
        }
        Ok(())
    }
}

fn is_worth_it(batches: &[FreshBatch], now: Timestamp) -> bool {
    let rows = batches.iter().map(|batch| batch.rows).fold(0, u64::saturating_add);
    let age = batches.first().map_or(0, |oldest| now.as_millisecond().saturating_sub(oldest.written_at_ms));
    rows >= ROWS || batches.len() >= BATCHES || u128::try_from(age).is_ok_and(|age| age >= AGE.as_millis())
}
