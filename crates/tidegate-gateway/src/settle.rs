//! The last station: what did it cost, and who must know?
//!
//! A [`Settlement`] is made when a call is admitted and travels with it, into the body of the answer at last. Whatever
//! happens, dropping it writes exactly one ledger entry and feeds the metrics; a call that nobody concluded was
//! cancelled by its caller.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::SmallVec;
use tidegate_catalog::{NanoDollars, ServiceTier};
use tidegate_policy::Amounts;
use tidegate_store::{
    Attempt, AttemptUsage, Exposure, Gathered, Hold, LedgerEntry, NoSeat, Outcome, SHADOW, Seat, Text,
};
use tidegate_wire::{FailureKind, Losses, ServedTier, Usage};
use tokio::sync::oneshot;

use crate::accept::{Call, Operation};
use crate::attempt::{Witness, is_late_failure};
use crate::bill::{AskedTier, Consumed};
use crate::error::GatewayError;
use crate::experiments::shadow::Sample;
use crate::gateway::{Gateway, InFlight};
use crate::health::Asking;
use crate::hold::with_margin;
use crate::keep::Gathering;
use crate::plan::LeftOut;
use crate::provider::Target;
use crate::snapshot::Snapshot;

/// When to come back after the ledger was full: it writes in batches several times a second.
const LEDGER_FULL_RETRY: Duration = Duration::from_secs(1);

/// The guard of one admitted call.
pub struct Settlement {
    gateway: Arc<Gateway>,
    seat: Option<Seat>,
    entry: LedgerEntry,
    hold: Option<Hold>,
    /// Room for further answers to the same call, given back once the call's own hold has been settled with all of it.
    more_holds: SmallVec<[Hold; 1]>,
    /// What was said, where the configuration wants it kept.
    gathering: Option<Gathering>,
    /// What the team adds to the cost where it is charged.
    margin_millionths: i32,
    at: Instant,
    target: Option<Arc<Target>>,
    /// The call at the target that answers, as its figures see it.
    asking: Option<Asking>,
    /// What the target that answers has used.
    own: Consumed,
    /// What that costs, as far as prices are known.
    own_nanodollars: u64,
    /// Whether the request leaves the tier of service to the provider.
    leaves_tier: bool,
    /// What other attempts have used beside it.
    others: Spent,
    /// Refusals of the content that are kept back while others are asked.
    withheld: SmallVec<[Refused; 1]>,
    /// The attempts that are under way, whose outcomes are not known yet: two where the first target is late.
    under_way: SmallVec<[UnderWay; 2]>,
    /// When the attempt of the target that answers began.
    attempted_at: Option<Instant>,
    /// Time spent waiting for providers, up to the answer's first byte.
    waited: Duration,
    first_token: Option<Duration>,
    /// The answer for the call's shadows, where it has any.
    sample: Option<Box<Sample>>,
    /// Of a shadow: who wants its entry instead of the ledger.
    observer: Option<oneshot::Sender<(Option<Seat>, LedgerEntry)>>,
    in_flight: Option<InFlight>,
}

/// What a refusal has used that may yet become the answer.
#[derive(Debug)]
struct Refused {
    /// Its place among the attempts.
    attempt: usize,
    target: Arc<Target>,
    consumed: Consumed,
    is_estimated: bool,
}

/// An attempt whose outcome is not known yet.
#[derive(Debug)]
struct UnderWay {
    target: Arc<Target>,
    began: Instant,
    witness: Arc<Witness>,
}

/// What attempts have used beside the one that answers.
#[derive(Debug, Default)]
struct Spent {
    usage: Usage,
    nanodollars: u64,
    is_unpriced: bool,
}

impl std::fmt::Debug for Settlement {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Settlement").field("entry", &self.entry).finish_non_exhaustive()
    }
}

impl Settlement {
    /// Takes a place in the ledger for a call: from here on it is settled exactly once, whatever happens.
    pub(crate) fn open(
        gateway: &Arc<Gateway>,
        snapshot: &Snapshot,
        call: &Call,
    ) -> Result<Self, GatewayError> {
        let seat = gateway.ledger().reserve().map_err(|no_seat| {
            let message = match no_seat {
                NoSeat::Full => {
                    "Tidegate cannot record more calls at the moment, and takes none that it cannot record."
                }
                NoSeat::Closed => "Tidegate is shutting down.",
            };
            GatewayError::unavailable(message, LEDGER_FULL_RETRY)
        })?;
        let mut settlement = Self::new(gateway, snapshot, call, seat);
        settlement.in_flight = Some(gateway.begin_call());
        settlement.sample = Sample::begin(gateway, snapshot, call);
        Ok(settlement)
    }

    /// The settlement of a shadow. It counts nowhere among the callers' calls, and its entry goes to this observer.
    pub(crate) fn open_shadow(
        gateway: &Arc<Gateway>,
        snapshot: &Snapshot,
        call: &Call,
        seat: Seat,
        observer: oneshot::Sender<(Option<Seat>, LedgerEntry)>,
    ) -> Self {
        let mut settlement = Self::new(gateway, snapshot, call, seat);
        settlement.entry.operation = SHADOW.into();
        settlement.observer = Some(observer);
        settlement
    }

    fn new(gateway: &Arc<Gateway>, snapshot: &Snapshot, call: &Call, seat: Seat) -> Self {
        Self {
            sample: None,
            observer: None,
            in_flight: None,
            gateway: Arc::clone(gateway),
            seat: Some(seat),
            entry: entry_of(call),
            hold: None,
            more_holds: SmallVec::new(),
            gathering: Gathering::begin(&snapshot.keeper, call.dialect, call.body()),
            margin_millionths: call.principal.margin_millionths(),
            at: call.at,
            target: None,
            asking: None,
            own: Consumed::default(),
            own_nanodollars: 0,
            leaves_tier: AskedTier::of(call.dialect, &call.document) == AskedTier::Unsaid,
            others: Spent::default(),
            withheld: SmallVec::new(),
            under_way: SmallVec::new(),
            attempted_at: None,
            waited: Duration::ZERO,
            first_token: None,
        }
    }

    /// The call takes part in an experiment.
    pub(crate) fn exposed(&mut self, exposure: Exposure) {
        self.entry.exposure = Some(Box::new(exposure));
    }

    /// The call was in an arm and is in none after all. False where it was in none.
    pub(crate) fn leave_out(&mut self, why: &LeftOut) -> bool {
        let Some(exposure) = self.entry.exposure.as_mut().filter(|exposure| exposure.takes_part()) else {
            return false;
        };
        (exposure.arm, exposure.unit) = (Text::default(), None);
        exposure.left_out = Some(why.word().into());
        true
    }

    /// Room was reserved for the call; it is settled with it.
    pub(crate) fn holds(&mut self, hold: Hold) {
        self.hold = Some(hold);
    }

    /// More room was reserved, for another answer to the call.
    pub(crate) fn holds_more(&mut self, hold: Hold) {
        self.more_holds.push(hold);
    }

    /// What the call has cost so far, as far as prices are known.
    pub(crate) fn cost(&self) -> NanoDollars {
        NanoDollars(i64::try_from(self.known_nanodollars()).unwrap_or(i64::MAX))
    }

    /// The call was not admitted after all: it leaves no entry.
    pub(crate) fn withdraw(mut self) {
        self.seat = None;
    }

    /// An attempt at this target begins.
    pub(crate) fn at_target(
        &mut self,
        provider: &Arc<str>,
        target: &Arc<Target>,
        key_label: &Text,
        witness: &Arc<Witness>,
    ) {
        let began = Instant::now();
        self.answers(provider, target, key_label, began);
        self.under_way.push(UnderWay { target: Arc::clone(target), began, witness: Arc::clone(witness) });
    }

    /// Of the targets that were asked this one answers; it was asked at that moment.
    pub(crate) fn answers(
        &mut self,
        provider: &Arc<str>,
        target: &Arc<Target>,
        key_label: &Text,
        asked: Instant,
    ) {
        self.entry.provider = Some(Text::from(provider));
        self.entry.upstream_model = Some(Text::from(&target.model));
        self.entry.key_label = (!key_label.is_empty()).then(|| key_label.clone());
        self.target = Some(Arc::clone(target));
        self.attempted_at = Some(asked);
    }

    /// An attempt has ended, at least its part before the answer's first byte.
    pub(crate) fn attempted(
        &mut self,
        target: &Target,
        failure: Option<FailureKind>,
        status: Option<u16>,
        duration: Duration,
    ) {
        self.under_way.retain(|other| *other.target.label != *target.label);
        if let Some(kind) = failure {
            target.series.failure(kind);
        }
        self.entry.attempts.push(Attempt {
            target: Text::from(&target.label),
            failure: failure.map(|kind| kind.as_str().into()),
            status,
            duration_us: micros(duration),
            used: None,
        });
    }

    /// The target of the last attempt answers.
    pub(crate) fn answering(&mut self, asking: Asking) {
        self.asking = Some(asking);
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
        if let Some(asking) = self.asking.take().filter(|_| is_late_failure(kind)) {
            asking.broke_off(self.gateway.clock.now());
        }
        if let Some(last) = self.entry.attempts.last_mut() {
            last.failure = Some(kind.as_str().into());
            last.duration_us = self.attempted_at.map_or(last.duration_us, |at| micros(at.elapsed()));
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
            if self.observer.is_none() {
                self.gateway.series.overhead(time.saturating_sub(self.waited));
            }
        }
    }

    /// The whole answer, or the error in its place.
    pub(crate) fn said(&mut self, answer: impl FnOnce() -> Bytes) {
        if self.gathering.is_none() && self.sample.is_none() {
            return;
        }
        let answer = answer();
        if let Some(sample) = &mut self.sample {
            sample.whole(&answer);
        }
        if let Some(gathering) = &mut self.gathering {
            gathering.whole(answer);
        }
    }

    /// A piece of a streamed answer went out.
    pub(crate) fn sent_piece(&mut self, piece: &[u8]) {
        self.sent(piece.len());
        if let Some(gathering) = &mut self.gathering {
            gathering.piece(piece);
        }
        if let Some(sample) = &mut self.sample {
            sample.piece(piece);
        }
    }

    /// So many bytes of the answer went out.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.entry.bytes_out = self.entry.bytes_out.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// What the target that answers has used; replaces what was said before. Gives the cost of the call so far in
    /// nano-dollars, where all prices are known.
    pub(crate) fn used(&mut self, consumed: Consumed) -> Option<u64> {
        self.own = consumed;
        self.own_nanodollars = 0;
        self.entry.usage = self.others.usage.plus(&consumed.usage);
        let unusual = consumed.tier.filter(|tier| *tier != ServedTier::Standard);
        self.entry.service_tier = unusual.map(|tier| Text::from(tier.as_str()));
        let priced =
            self.target.as_ref().and_then(|target| target.prices.as_ref().map(|prices| (target, prices)));
        self.entry.prices = None;
        let is_complete = match priced {
            Some((target, prices)) => {
                if self.leaves_tier
                    && unusual.is_some()
                    && prices.list().tier_for(consumed.tier).0 == ServiceTier::Priority
                {
                    target.is_raised.store(true, Ordering::Relaxed);
                }
                let bill = prices.bill(&consumed);
                self.own_nanodollars = bill.known_nanodollars;
                self.entry.prices = Some(bill.prices.clone());
                self.entry.is_estimated |= !bill.is_certain;
                bill.is_complete
            }
            // Who has used nothing costs nothing, at whatever price.
            None => consumed.usage.is_empty() && !self.others.usage.is_empty(),
        };
        let is_known = is_complete && !self.others.is_unpriced;
        self.entry.cost_nanodollars = is_known.then(|| self.known_nanodollars());
        self.entry.cost_nanodollars
    }

    /// What the attempt that ended last has used, beside the one that answers: its stream broke, or another target was
    /// faster. An estimate.
    pub(crate) fn also_used(&mut self, target: &Target, consumed: &Consumed) {
        let last = self.entry.attempts.len().saturating_sub(1);
        self.used_beside(last, target, consumed, true);
    }

    /// The attempt that ended last has only refused the content: it has used so much beside whoever answers, unless it is
    /// passed on as the answer. Gives its place among the attempts.
    pub(crate) fn withholds(
        &mut self,
        target: &Arc<Target>,
        consumed: Consumed,
        is_estimated: bool,
    ) -> usize {
        let attempt = self.entry.attempts.len().saturating_sub(1);
        self.withheld.push(Refused { attempt, target: Arc::clone(target), consumed, is_estimated });
        attempt
    }

    /// The refusal of this attempt is the answer. With nobody asked after it, it never was a failure.
    pub(crate) fn passes_on(&mut self, attempt: usize) {
        self.withheld.retain(|refused| refused.attempt != attempt);
        self.count_withheld();
        if attempt + 1 == self.entry.attempts.len()
            && let Some(last) = self.entry.attempts.last_mut()
        {
            last.failure = None;
        }
    }

    /// Somebody else answers, or nobody: what the refusals have used is counted.
    pub(crate) fn count_withheld(&mut self) {
        for Refused { attempt, target, consumed, is_estimated } in std::mem::take(&mut self.withheld) {
            self.used_beside(attempt, &target, &consumed, is_estimated);
        }
    }

    fn used_beside(&mut self, attempt: usize, target: &Target, consumed: &Consumed, is_estimated: bool) {
        let usage = &consumed.usage;
        let bill = target.prices.as_ref().map(|prices| prices.bill(consumed));
        let cost = bill.filter(|bill| bill.is_complete).map(|bill| bill.known_nanodollars);
        target.series.usage(usage, cost);
        let others = &mut self.others;
        others.usage = others.usage.plus(usage);
        others.nanodollars = others.nanodollars.saturating_add(bill.map_or(0, |bill| bill.known_nanodollars));
        others.is_unpriced |= cost.is_none();
        self.entry.is_estimated |= is_estimated;
        if let Some(attempt) = self.entry.attempts.get_mut(attempt) {
            attempt.used = Some(AttemptUsage {
                prices: bill.map(|bill| bill.prices.clone()),
                cost_nanodollars: cost,
                ..AttemptUsage::new(usage, is_estimated)
            });
        }
        self.used(self.own);
    }

    /// What it has cost, as far as prices are known.
    fn known_nanodollars(&self) -> u64 {
        self.own_nanodollars.saturating_add(self.others.nanodollars)
    }

    /// The same of a stream that ended before the provider told what it used.
    pub(crate) fn likely_used(&mut self, consumed: Consumed) {
        self.entry.is_estimated = true;
        self.used(consumed);
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

impl Settlement {
    /// Settles the call. Its entry is in the journal when what this gives is dropped: where the answer's end has not gone
    /// out yet, it may wait a moment for those of other calls.
    pub(crate) fn conclude(mut self) -> Option<Gathered> {
        let (seat, entry) = self.close()?;
        seat.record_gathered(entry)
    }

    /// Settles the call, but for its entry. The second time there is nothing to do.
    fn close(&mut self) -> Option<(Seat, LedgerEntry)> {
        let seat = self.seat.take();
        self.count_withheld();
        let duration = self.at.elapsed();
        self.entry.duration_us = micros(duration);
        for UnderWay { target, began, witness } in std::mem::take(&mut self.under_way) {
            // The caller hung up in the middle of it. What the provider has read is paid for all the same.
            self.attempted(&target, Some(FailureKind::Cancelled), None, began.elapsed());
            if let Some(used) = witness.used() {
                self.also_used(&target, &used);
            }
        }
        // Counted tokens are no answer of a model: they say nothing about its pace.
        if let Some(asking) = self.asking.take()
            && self.entry.outcome == Outcome::Answered
            && self.entry.operation.as_str() == Operation::Chat.as_str()
        {
            asking.end(&self.own.usage);
        }
        if self.entry.outcome == Outcome::Cancelled {
            self.entry.failure = Some(FailureKind::Cancelled.as_str().into());
        }
        for used in self.entry.attempts.iter_mut().filter_map(|attempt| attempt.used.as_mut()) {
            used.prices = used.prices.take().filter(|own| self.entry.prices.as_ref() != Some(own));
        }
        // Of a call of which a part has no price, the rest is charged all the same: a budget would never end otherwise.
        let known = self.known_nanodollars();
        let charge = self.entry.cost_nanodollars.or((known > 0).then_some(known)).map(|cost| {
            let cost = NanoDollars(i64::try_from(cost).unwrap_or(i64::MAX));
            with_margin(cost, self.margin_millionths)
        });
        self.entry.charge_nanodollars = charge.map(|charge| u64::try_from(charge.0).unwrap_or(0));
        if let Some(hold) = self.hold.take() {
            let usage = &self.entry.usage;
            hold.settle(Amounts {
                tokens: usage.input.saturating_add(usage.output),
                cost: charge.unwrap_or_default(),
            });
        }
        let seat = seat?;
        let has_failed = self.entry.outcome != Outcome::Answered;
        if let Some(spoken) = self.gathering.take().and_then(|it| it.end(self.entry.id, has_failed)) {
            self.gateway.keep(spoken);
        }
        match &self.target {
            _ if self.observer.is_some() => {}
            Some(target) => {
                target.series.call(self.entry.outcome, duration, self.first_token);
                let own_cost =
                    self.entry.cost_nanodollars.map(|cost| cost.saturating_sub(self.others.nanodollars));
                target.series.usage(&self.own.usage, own_cost);
            }
            None => self.gateway.series.refused(),
        }
        let empty = LedgerEntry::new(self.entry.id, Text::default(), Text::default());
        let entry = std::mem::replace(&mut self.entry, empty);
        if let Some(sample) = self.sample.take() {
            sample.end(&self.gateway, &entry);
        }
        let Some(observer) = self.observer.take() else { return Some((seat, entry)) };
        // Where whoever wanted it has gone, it is recorded like any other.
        let (seat, entry) = observer.send((Some(seat), entry)).err()?;
        Some((seat?, entry))
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        if let Some((seat, entry)) = self.close() {
            seat.record(entry);
        }
    }
}

/// What is known of a call at its beginning.
fn entry_of(call: &Call) -> LedgerEntry {
    let mut entry = LedgerEntry::new(call.id, call.dialect.as_str(), call.operation.as_str());
    let principal = &call.principal;
    entry.key_id = principal.key().map(|key| key.ledger_id());
    entry.team_id = principal.team().map(|team| Text::from(team.id.shared()));
    entry.organization_id = principal.organization().map(|it| Text::from(it.id.shared()));
    entry.model = Some(call.model.clone().into());
    entry.streamed = call.stream;
    entry.bytes_in = u64::try_from(call.body().len()).unwrap_or(u64::MAX);
    entry.tags = call.wishes.tags.clone();
    entry.end_user.clone_from(&call.end_user);
    entry
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
