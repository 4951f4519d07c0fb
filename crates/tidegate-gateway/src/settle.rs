//! The last station: what did it cost, and who must know?
//!
//! A [`Settlement`] is made when a call is admitted and travels with it, into the body of the answer at last. Whatever
//! happens, dropping it writes exactly one ledger entry and feeds the metrics; a call that nobody concluded was
//! cancelled by its caller.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_catalog::{ServiceTier, cost};
use tidegate_store::{Attempt, LedgerEntry, Outcome, Seat, Text};
use tidegate_wire::{FailureKind, Losses, Usage};

use crate::gateway::{Gateway, InFlight};
use crate::provider::Target;

/// The guard of one admitted call.
pub struct Settlement {
    gateway: Arc<Gateway>,
    seat: Option<Seat>,
    entry: LedgerEntry,
    at: Instant,
    target: Option<Arc<Target>>,
    /// When the attempt that is under way began; its outcome is not known yet.
    attempting_since: Option<Instant>,
    /// Time spent waiting for providers, up to the answer's first byte.
    waited: Duration,
    first_token: Option<Duration>,
    _in_flight: InFlight,
}

impl std::fmt::Debug for Settlement {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Settlement").field("entry", &self.entry).finish_non_exhaustive()
    }
}

impl Settlement {
    pub(crate) fn begin(gateway: &Arc<Gateway>, seat: Seat, entry: LedgerEntry, at: Instant) -> Self {
        Self {
            _in_flight: gateway.begin_call(),
            gateway: Arc::clone(gateway),
            seat: Some(seat),
            entry,
            at,
            target: None,
            attempting_since: None,
            waited: Duration::ZERO,
            first_token: None,
        }
    }

    /// An attempt at this target begins.
    pub(crate) fn at_target(&mut self, provider: &Arc<str>, target: &Arc<Target>, key_label: &Text) {
        self.entry.provider = Some(Text::from(provider));
        self.entry.upstream_model = Some(Text::from(&target.model));
        self.entry.key_label = (!key_label.is_empty()).then(|| key_label.clone());
        self.target = Some(Arc::clone(target));
        self.attempting_since = Some(Instant::now());
    }

    /// An attempt has ended, at least its part before the answer's first byte.
    pub(crate) fn attempted(
        &mut self,
        target: &Target,
        failure: Option<FailureKind>,
        status: Option<u16>,
        duration: Duration,
    ) {
        self.attempting_since = None;
        if let Some(kind) = failure {
            target.series.failure(kind);
        }
        self.entry.attempts.push(Attempt {
            target: Text::from(&target.label),
            failure: failure.map(|kind| kind.as_str().into()),
            status,
            duration_us: micros(duration),
        });
    }

    /// The call waited, for a provider or before asking again: time that is not Tidegate's own.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// The attempt that answered failed after all, in the middle of its stream.
    pub(crate) fn last_attempt_failed(&mut self, kind: FailureKind) {
        if let Some(target) = &self.target {
            target.series.failure(kind);
        }
        if let Some(last) = self.entry.attempts.last_mut() {
            last.failure = Some(kind.as_str().into());
        }
    }

    /// How many attempts there were.
    pub(crate) fn attempts(&self) -> usize {
        self.entry.attempts.len()
    }

    /// What the target could not express.
    pub(crate) fn dropped(&mut self, losses: &Losses) {
        self.entry.dropped = losses.fields().map(|field| Text::from(field.to_owned())).collect();
    }

    /// The first token goes out now.
    pub(crate) fn first_token(&mut self) {
        if self.first_token.is_none() {
            let time = self.at.elapsed();
            self.first_token = Some(time);
            self.entry.time_to_first_token_us = Some(micros(time));
            self.gateway.series.overhead(time.saturating_sub(self.waited));
        }
    }

    /// So many bytes of the answer went out.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.entry.bytes_out = self.entry.bytes_out.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// What was used; replaces what was said before. Gives the cost in nano-dollars, where the price is known.
    pub(crate) fn used(&mut self, usage: Usage) -> Option<u64> {
        self.entry.usage = usage;
        let target = self.target.as_ref()?;
        let (prices, kept) = target.prices.as_ref()?;
        let cost = cost(&usage, prices, ServiceTier::Standard);
        self.entry.prices = Some(kept.clone());
        self.entry.cost_nanodollars = cost.is_complete().then(|| u64::try_from(cost.total.0).unwrap_or(0));
        self.entry.cost_nanodollars
    }

    /// The caller got its whole answer.
    pub(crate) fn answered(&mut self, finish: Option<&'static str>) {
        self.entry.outcome = Outcome::Answered;
        self.entry.status = Some(200);
        self.entry.finish_reason = finish.map(Text::from);
    }

    /// Every target failed, or the stream broke.
    pub(crate) fn failed(&mut self, kind: FailureKind, status: u16) {
        self.entry.outcome = Outcome::Failed;
        self.entry.failure = Some(kind.as_str().into());
        self.entry.status = Some(status);
    }

    /// Tidegate itself said no.
    pub(crate) fn refused(&mut self, status: u16) {
        self.entry.outcome = Outcome::Refused;
        self.entry.status = Some(status);
    }

    /// Nothing else is to be done if the caller hangs up now; the status that it has seen.
    pub(crate) fn began_answer(&mut self, status: u16) {
        self.entry.status = Some(status);
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        let duration = self.at.elapsed();
        self.entry.duration_us = micros(duration);
        if let (Some(began), Some(target)) = (self.attempting_since.take(), self.target.clone()) {
            // The caller hung up in the middle of it.
            self.attempted(&target, Some(FailureKind::Cancelled), None, began.elapsed());
        }
        if self.entry.outcome == Outcome::Cancelled {
            self.entry.failure = Some(FailureKind::Cancelled.as_str().into());
        }
        match &self.target {
            Some(target) => {
                target.series.call(self.entry.outcome, duration, self.first_token);
                target.series.usage(&self.entry.usage, self.entry.cost_nanodollars);
            }
            None => self.gateway.series.refused(),
        }
        if let Some(seat) = self.seat.take() {
            let empty = LedgerEntry::new(self.entry.id, Text::default(), Text::default());
            seat.record(std::mem::replace(&mut self.entry, empty));
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
