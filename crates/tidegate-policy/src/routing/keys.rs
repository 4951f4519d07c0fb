//! What makes a strategy: for each target a number, the lower the nearer to the front. Used by [`super::rank()`] alone.

use std::time::Duration;

use smallvec::SmallVec;

use super::rank::{Choice, INLINE, Standing, Strategy};
use super::score::Scale;

/// The cheapest, and the one that a session belongs to, is passed over when it is so many times slower to begin than the
/// quickest: no price and no prompt cache is worth that, and calls that pile up make it slower still.
const PATIENCE: f64 = 5.0;

/// Less than this, in seconds, is worth neither money nor a prompt cache, however many times the quickest it is: among targets
/// that begin within milliseconds it is chance.
const WORTH_LEAVING: f64 = 0.25;

/// Behind everybody who is not too slow: no race takes as long, and there are not as many prices.
const IMPATIENT: f64 = 1e6;

/// Who begins within so many times the time of the quickest is not late.
const NOT_LATE: f64 = 3.0;

/// Below it two targets are alike, and a time of nothing has no ratio.
const SHORTEST_TIME: Duration = Duration::from_millis(1);

/// What must be known of all targets to place one of them.
pub(super) struct Keys {
    strategy: Strategy,
    /// The time to first token of the quickest that is ready.
    quickest: f64,
    /// Tokens a second of the fastest.
    fastest: f64,
    /// All prices there are, in order.
    prices: SmallVec<[u64; INLINE]>,
    scale: Option<Scale>,
}

impl Keys {
    pub(super) fn new(strategy: Strategy, choices: &[Choice]) -> Self {
        let ready = choices.iter().filter(|choice| choice.standing == Standing::Ready);
        let quickest = ready.filter_map(time_to_first_token).fold(f64::INFINITY, f64::min);
        let quickest = if quickest.is_finite() { quickest } else { 1.0 };
        let mut keys = Self { strategy, quickest, fastest: 1.0, prices: SmallVec::new(), scale: None };
        match strategy {
            Strategy::Throughput => {
                let rates = choices.iter().filter_map(|choice| choice.measured.tokens_per_second);
                keys.fastest = rates.fold(f64::MIN_POSITIVE, f64::max);
            }
            Strategy::Cost => {
                keys.prices.extend(choices.iter().map(price));
                keys.prices.sort_unstable();
                keys.prices.dedup();
            }
            Strategy::Score(mix) => keys.scale = Some(Scale::new(mix, choices, quickest)),
            Strategy::Order
            | Strategy::Weighted
            | Strategy::Latency
            | Strategy::LeastBusy
            | Strategy::Sticky => {}
        }
        keys
    }

    pub(super) fn key(&self, index: usize, choice: &Choice, random: &mut impl FnMut() -> f64) -> f64 {
        match self.strategy {
            Strategy::Order => number(index),
            Strategy::Weighted => race(random(), weight(choice)),
            Strategy::Latency => self.waiting(choice) * load(choice),
            Strategy::LeastBusy => failing(choice) * self.late(choice) * load(choice),
            Strategy::Throughput => {
                let rate = choice.measured.tokens_per_second.unwrap_or(self.fastest);
                let slowness = self.fastest / rate.max(f64::MIN_POSITIVE);
                // Its rate already shows how busy a target is, only late: so load counts, but less than the rate.
                slowness * load(choice).sqrt() * failing(choice) * self.late(choice)
            }
            Strategy::Cost => {
                let price = price(choice);
                let cheaper = self.prices.iter().take_while(|&&other| other < price).count();
                // Within a price the quicker one tends to win: always the same one would get the calls of all gateways.
                let time = race(random(), (self.waiting(choice) * load(choice)).powi(-4));
                // Squeezed into 0.0..1.0, so that it never outweighs a price.
                number(cheaper) + 1.0 - 1.0 / (1.0 + time) + self.impatience(choice)
            }
            Strategy::Sticky => race(unit(!choice.affinity), weight(choice)) + self.impatience(choice),
            Strategy::Score(_) => {
                let penalty = self.scale.as_ref().map_or(1.0, |scale| scale.penalty(choice));
                lot(random()) * penalty
            }
        }
    }

    /// How long a call would wait for its first token there if nobody else were in flight, its failures counted as time:
    /// each costs a second target's time on top. Whoever was never measured is presumed to be as good as the best: so it is
    /// tried, and calls in flight keep it from being tried by everybody.
    fn waiting(&self, choice: &Choice) -> f64 {
        time_to_first_token(choice).unwrap_or(self.quickest) * failing(choice)
    }

    /// How many times slower to begin a target is than any is that one would ask. One that takes calls and says nothing
    /// shows neither in its rate nor, for a while, in its calls in flight.
    fn late(&self, choice: &Choice) -> f64 {
        time_to_first_token(choice).map_or(1.0, |time| (time / (NOT_LATE * self.quickest)).max(1.0))
    }

    fn impatience(&self, choice: &Choice) -> f64 {
        // What is known of one that was out is what drove it out: whether that still holds is for its probe to say.
        if choice.standing == Standing::Probe {
            return 0.0;
        }
        let (waiting, failing) = (self.waiting(choice), failing(choice));
        let is_too_slow = waiting > PATIENCE * self.quickest
            && (failing > PATIENCE || waiting > self.quickest + WORTH_LEAVING);
        if is_too_slow { IMPATIENT } else { 0.0 }
    }
}

pub(super) fn time_to_first_token(choice: &Choice) -> Option<f64> {
    choice.measured.first_token.map(|time| time.max(SHORTEST_TIME).as_secs_f64())
}

/// How much a target has to do, compared with what it can take.
pub(super) fn load(choice: &Choice) -> f64 {
    (f64::from(choice.measured.in_flight) + 1.0) / weight(choice)
}

/// A hash as a number in `0.0..1.0`.
pub(super) fn unit(hash: u64) -> f64 {
    f64::from(u32::try_from(hash >> 32).unwrap_or(u32::MAX)) / (f64::from(u32::MAX) + 1.0)
}

/// A target that fails answers quickly and is never busy: without this, whoever fails would get all calls.
fn failing(choice: &Choice) -> f64 {
    let works = (1.0 - choice.measured.failure_rate).clamp(0.2, 1.0);
    1.0 / ((works * works) * (works * works))
}

/// What is not known to be cheap counts as dear.
fn price(choice: &Choice) -> u64 {
    choice.price.unwrap_or(u64::MAX)
}

/// How long a runner of this weight takes, when each wins as often as its weight says.
fn race(random: f64, weight: f64) -> f64 {
    lot(random) / weight.max(f64::MIN_POSITIVE)
}

/// An exponentially distributed number.
fn lot(random: f64) -> f64 {
    -(1.0 - random).max(f64::MIN_POSITIVE).ln()
}

/// Those of weight 0 stand by in a tier of their own, and are alike there.
fn weight(choice: &Choice) -> f64 {
    f64::from(choice.weight.max(1))
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
