//! The strategies: whom of several targets to ask first, second, third.
//!
//! The gateway's `plan` calls [`rank`] once for every call. Nothing here is remembered between two calls: what differs is
//! measured, and what must not be the same for everybody is random.

use std::time::Duration;

use smallvec::SmallVec;

use super::affinity::mix;
use super::figures::Measured;
use super::headroom::{DRY_HEADROOM, TIGHT_HEADROOM};
use super::keys::{Keys, unit};
use super::score::Mix;

/// So many targets are ranked without an allocation.
pub(super) const INLINE: usize = 12;

/// The places of the targets, the first to be asked first.
pub type Ranking = SmallVec<[usize; INLINE]>;

/// How the targets of a model are put in order.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Strategy {
    /// As they are written.
    #[default]
    Order,
    /// At random, by weight.
    Weighted,
    /// The quickest to begin, of two drawn at random.
    Latency,
    /// The quickest to go on, of two drawn at random.
    Throughput,
    /// The cheapest; of equally cheap ones the quickest to begin.
    Cost,
    /// The one with the fewest calls in flight, of two drawn at random.
    LeastBusy,
    /// The same one for the same session.
    Sticky,
    /// The best in a mix of qualities.
    Score(Mix),
}

impl Strategy {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Weighted => "weighted",
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::Cost => "cost",
            Self::LeastBusy => "least-busy",
            Self::Sticky => "sticky",
            Self::Score(_) => "score",
        }
    }
}

/// Whether a target may be asked at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// It may.
    #[default]
    Ready,
    /// It was out, and one call may find out whether it works again.
    Probe,
    /// Only when nobody else is left.
    Out,
}

/// One target, as it is seen for one call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// How much it can take, compared with the others. 0: only when the others cannot.
    pub weight: u32,
    /// Its figures by now.
    pub measured: Measured,
    /// What this very call would cost there, in nano-dollars, where known.
    pub price: Option<u64>,
    /// Its score for the call's session or prefix; only `sticky` looks at it.
    pub affinity: u64,
    /// The share of the provider's own limit that this call would leave; 1.0 where nothing is known.
    pub headroom: f64,
    /// Whether it may be asked.
    pub standing: Standing,
}

/// Whom nothing was measured of for so long, …
const STALE_AFTER: Duration = Duration::from_secs(30);

/// … this share of calls tries again: too few to be seen in a 99th percentile, enough to notice a recovery.
const TRIALS: f64 = 0.002;

/// So many places are drawn with two choices each; behind them the better stand in front. Few calls get beyond them.
const DRAWN: usize = 3;

/// How near to the front a target may stand. Within each, the strategy decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    /// Must be tried: a probe, or nobody knows it any more.
    Trial,
    InPlay,
    /// Ready, but spared this time: it warms up, or its provider's limit is tight.
    Spared,
    /// Of weight 0.
    StandBy,
    /// Its provider would answer 429.
    Dry,
    Out,
}

/// A target while it looks for its place.
#[derive(Debug, Clone, Copy)]
struct Runner {
    tier: Tier,
    /// The lower, the nearer to the front of its tier.
    key: f64,
    index: usize,
}

/// Puts the targets in order. `random` gives numbers in `0.0..1.0`.
pub fn rank(strategy: Strategy, choices: &[Choice], mut random: impl FnMut() -> f64) -> Ranking {
    if choices.len() < 2 {
        return (0..choices.len()).collect();
    }
    let keys = Keys::new(strategy, choices);
    let tiers = Tiers::new(strategy, choices);
    let mut runners: SmallVec<[Runner; INLINE]> = SmallVec::with_capacity(choices.len());
    for (index, choice) in choices.iter().enumerate() {
        let tier = tiers.tier(choice, &mut random);
        runners.push(Runner { tier, key: keys.key(index, choice, &mut random), index });
    }
    runners.sort_unstable_by(|left, right| {
        let by_key = || left.key.total_cmp(&right.key);
        left.tier.cmp(&right.tier).then_with(by_key).then(left.index.cmp(&right.index))
    });
    if matches!(strategy, Strategy::Latency | Strategy::Throughput | Strategy::LeastBusy) {
        two_choices(&mut runners, &mut random);
    }
    runners.iter().map(|runner| runner.index).collect()
}

/// Draws the first places, in each the better of two of the nearest tier. The better is taken by chance, too, the more
/// surely the better it is: two gateways that see the same do not all go the same way, and two targets that differ by
/// nothing but noise share the calls.
fn two_choices(runners: &mut [Runner], random: &mut impl FnMut() -> f64) {
    let mut left = runners;
    for _ in 0..DRAWN {
        let Some(nearest) = left.first().map(|runner| runner.tier) else { return };
        let count = left.iter().take_while(|runner| runner.tier == nearest).count();
        if count > 1 {
            let one = draw(count, random());
            let other = (one + 1 + draw(count - 1, random())) % count;
            let (Some(first), Some(second)) = (left.get(one), left.get(other)) else { return };
            let ratio = first.key / second.key;
            let fourth_power = (ratio * ratio) * (ratio * ratio);
            let chosen = if random() * (1.0 + fourth_power) < 1.0 { one } else { other };
            // Those who are left keep their order, the better ones in front.
            if let Some(front) = left.get_mut(..=chosen) {
                front.rotate_right(1);
            }
        }
        left = left.split_at_mut(1).1;
    }
}

/// One of so many, by a number in `0.0..1.0`.
fn draw(count: usize, random: f64) -> usize {
    // The 52 digits behind the point of a number between one and two, as they lie in memory.
    let digits = (1.0 + random.clamp(0.0, 1.0 - f64::EPSILON)).to_bits() & ((1 << 52) - 1);
    let count = u64::try_from(count).unwrap_or(0) & 0xffff_ffff;
    usize::try_from(((digits >> 20) * count) >> 32).unwrap_or(0)
}

/// What decides about the tiers of all.
struct Tiers {
    strategy: Strategy,
    warmest: f64,
    is_by_figures: bool,
    has_trials: bool,
}

impl Tiers {
    fn new(strategy: Strategy, choices: &[Choice]) -> Self {
        let ready = choices.iter().filter(|choice| choice.standing == Standing::Ready);
        let has_trials = matches!(strategy, Strategy::Latency | Strategy::Throughput | Strategy::Score(_));
        Self {
            strategy,
            // If all are cold alike, as at the start, none is.
            warmest: ready.map(|choice| choice.measured.warmth).fold(f64::MIN_POSITIVE, f64::max),
            is_by_figures: has_trials || strategy == Strategy::LeastBusy,
            has_trials,
        }
    }

    fn tier(&self, choice: &Choice, random: &mut impl FnMut() -> f64) -> Tier {
        match choice.standing {
            Standing::Out => Tier::Out,
            _ if choice.headroom < DRY_HEADROOM => Tier::Dry,
            _ if choice.weight == 0 => Tier::StandBy,
            // Where the order does not come from figures, the probe is whoever's turn it is.
            Standing::Probe if self.is_by_figures => Tier::Trial,
            Standing::Probe => Tier::InPlay,
            Standing::Ready if self.is_stale(choice) && random() < TRIALS => Tier::Trial,
            Standing::Ready if self.is_spared(choice, random) => Tier::Spared,
            Standing::Ready => Tier::InPlay,
        }
    }

    fn is_stale(&self, choice: &Choice) -> bool {
        let measured = &choice.measured;
        self.has_trials
            && measured.in_flight == 0
            && measured.sampled_ago.is_some_and(|age| age > STALE_AFTER)
    }

    fn is_spared(&self, choice: &Choice, random: &mut impl FnMut() -> f64) -> bool {
        let warmth = choice.measured.warmth;
        if warmth >= self.warmest && choice.headroom >= TIGHT_HEADROOM {
            return false;
        }
        let share = (warmth / self.warmest).min(1.0) * (choice.headroom / TIGHT_HEADROOM).min(1.0);
        // A session draws the same lot every time, or it would go to and fro between two targets while one of them warms
        // up.
        let lot = if self.strategy == Strategy::Sticky { unit(mix(choice.affinity)) } else { random() };
        lot >= share
    }
}
