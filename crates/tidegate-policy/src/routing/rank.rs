//! The strategies: whom of several targets to ask first, second, third.
//!
//! The gateway's `plan` calls [`rank`] once for every call. Nothing here is remembered between two calls: what differs is
//! measured, and what must not be the same for everybody is random.

use std::time::Duration;

use smallvec::SmallVec;

use super::affinity::mix;
use super::figures::Measured;
use super::score::{Mix, penalties};

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

/// With less than this share of the provider's limit left, a target is asked less and less, …
const TIGHT_HEADROOM: f64 = 0.2;

/// … and with less than this only when nobody else is there: calls that are under way may already use it up.
const DRY_HEADROOM: f64 = 0.02;

/// Whom nothing was measured of for so long, …
const STALE_AFTER: Duration = Duration::from_secs(30);

/// … this share of calls tries again: too few to be seen in a 99th percentile, enough to notice a recovery.
const TRIALS: f64 = 0.002;

/// The cheapest, and the one that a session belongs to, is passed over when it is so many times slower to begin than the
/// quickest: no price and no prompt cache is worth that, and calls that pile up make it slower still.
const PATIENCE: f64 = 5.0;

/// Who begins within so many times the time of the quickest is not late.
const NOT_LATE: f64 = 3.0;

/// How sharply a mix prefers the better: a target twice as bad gets an eighth of the calls.
const SHARPNESS: f64 = 3.0;

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

/// Puts the targets in order. `random` gives numbers in `0.0..1.0`.
pub fn rank(strategy: Strategy, choices: &[Choice], mut random: impl FnMut() -> f64) -> Ranking {
    let mut ranking: Ranking = (0..choices.len()).collect();
    if choices.len() < 2 {
        return ranking;
    }
    let tiers = tiers(strategy, choices, &mut random);
    let keys = keys(strategy, choices, &mut random);
    let tier = |index: usize| tiers.get(index).copied().unwrap_or(Tier::Out);
    let key = |index: usize| keys.get(index).copied().unwrap_or(f64::INFINITY);
    ranking.sort_unstable_by(|&left, &right| {
        tier(left).cmp(&tier(right)).then_with(|| key(left).total_cmp(&key(right))).then(left.cmp(&right))
    });
    if matches!(strategy, Strategy::Latency | Strategy::Throughput | Strategy::LeastBusy) {
        let mut rest = ranking.as_mut_slice();
        while let Some(&first) = rest.first() {
            let end = rest.iter().position(|&index| tier(index) != tier(first)).unwrap_or(rest.len());
            let (same, others) = rest.split_at_mut(end);
            two_choices(same, key, &mut random);
            rest = others;
        }
    }
    ranking
}

/// How long a call would wait for its first token there if nobody else were in flight, its failures counted as time: each
/// costs a second target's time on top.
pub(super) fn time_to_first_token(choice: &Choice) -> Option<f64> {
    choice.measured.first_token.map(|time| time.max(SHORTEST_TIME).as_secs_f64())
}

/// How much a target has to do, compared with what it can take.
pub(super) fn load(choice: &Choice) -> f64 {
    (f64::from(choice.measured.in_flight) + 1.0) / f64::from(choice.weight.max(1))
}

/// Below it two targets are alike, and a time of nothing has no ratio.
const SHORTEST_TIME: Duration = Duration::from_millis(1);

/// A target that fails answers quickly and is never busy: without this, whoever fails would get all calls.
fn failing(choice: &Choice) -> f64 {
    let works = (1.0 - choice.measured.failure_rate).clamp(0.2, 1.0);
    1.0 / ((works * works) * (works * works))
}

/// How many times slower to begin a target is than any is that one would ask. One that takes calls and says nothing shows
/// neither in its rate nor, for a while, in its calls in flight.
fn late(choice: &Choice, quickest: f64) -> f64 {
    time_to_first_token(choice).map_or(1.0, |time| (time / (NOT_LATE * quickest)).max(1.0))
}

fn tiers(
    strategy: Strategy,
    choices: &[Choice],
    random: &mut impl FnMut() -> f64,
) -> SmallVec<[Tier; INLINE]> {
    let ready = choices.iter().filter(|choice| choice.standing == Standing::Ready);
    // If all are cold alike, as at the start, none is.
    let warmest = ready.map(|choice| choice.measured.warmth).fold(f64::MIN_POSITIVE, f64::max);
    let is_measuring = matches!(strategy, Strategy::Latency | Strategy::Throughput | Strategy::Score(_));
    choices
        .iter()
        .map(|choice| match choice.standing {
            Standing::Out => Tier::Out,
            _ if choice.headroom < DRY_HEADROOM => Tier::Dry,
            _ if choice.weight == 0 => Tier::StandBy,
            // Where the order does not come from figures, the probe is whoever's turn it is.
            Standing::Probe if is_by_figures(strategy) => Tier::Trial,
            Standing::Probe => Tier::InPlay,
            Standing::Ready => {
                let is_stale = is_measuring
                    && choice.measured.in_flight == 0
                    && choice.measured.sampled_ago.is_some_and(|age| age > STALE_AFTER);
                if is_stale && random() < TRIALS {
                    return Tier::Trial;
                }
                let share = (choice.measured.warmth / warmest) * (choice.headroom / TIGHT_HEADROOM).min(1.0);
                if share >= 1.0 || lot_of(strategy, choice, random) < share {
                    Tier::InPlay
                } else {
                    Tier::Spared
                }
            }
        })
        .collect()
}

fn is_by_figures(strategy: Strategy) -> bool {
    matches!(strategy, Strategy::Latency | Strategy::Throughput | Strategy::LeastBusy | Strategy::Score(_))
}

/// The lot that decides whether a target is spared. A session draws the same one every time, or it would go to and fro
/// between two targets while one of them warms up.
fn lot_of(strategy: Strategy, choice: &Choice, random: &mut impl FnMut() -> f64) -> f64 {
    if strategy == Strategy::Sticky { unit(mix(choice.affinity)) } else { random() }
}

/// The lower, the nearer to the front within a tier.
fn keys(strategy: Strategy, choices: &[Choice], random: &mut impl FnMut() -> f64) -> SmallVec<[f64; INLINE]> {
    let quickest = choices.iter().filter_map(time_to_first_token).fold(f64::INFINITY, f64::min);
    let quickest = if quickest.is_finite() { quickest } else { 1.0 };
    // Whoever was never measured is presumed to be as good as the best: so it is tried, and calls in flight keep it from
    // being tried by everybody.
    let waiting = |choice: &Choice| time_to_first_token(choice).unwrap_or(quickest) * failing(choice);
    // What is known of one that was out is what drove it out: whether that still holds is for its probe to say.
    let is_too_slow =
        |choice: &Choice| choice.standing != Standing::Probe && waiting(choice) > PATIENCE * quickest;
    match strategy {
        Strategy::Order => (0..choices.len()).map(number).collect(),
        Strategy::Weighted => choices.iter().map(|choice| race(random(), weight(choice))).collect(),
        Strategy::Latency => choices.iter().map(|choice| waiting(choice) * load(choice)).collect(),
        Strategy::LeastBusy => {
            choices.iter().map(|choice| failing(choice) * late(choice, quickest) * load(choice)).collect()
        }
        Strategy::Throughput => {
            let fastest = choices.iter().filter_map(|choice| choice.measured.tokens_per_second);
            let fastest = fastest.fold(f64::MIN_POSITIVE, f64::max);
            let slowness = |choice: &Choice| {
                let rate = choice.measured.tokens_per_second.unwrap_or(fastest).max(f64::MIN_POSITIVE);
                // Its rate already shows how busy a target is, only late: so load counts, but less than the rate.
                fastest / rate * load(choice).sqrt() * failing(choice) * late(choice, quickest)
            };
            choices.iter().map(slowness).collect()
        }
        Strategy::Cost => {
            let mut places = by_price(choices, |choice| waiting(choice) * load(choice), random);
            for (place, choice) in places.iter_mut().zip(choices) {
                if is_too_slow(choice) {
                    *place += IMPATIENT;
                }
            }
            places
        }
        Strategy::Sticky => choices
            .iter()
            .map(|choice| {
                let place = race(unit(!choice.affinity), weight(choice));
                if is_too_slow(choice) { place + IMPATIENT } else { place }
            })
            .collect(),
        Strategy::Score(mix) => {
            let penalties = penalties(mix, choices);
            penalties.iter().map(|penalty| lot(random()).ln() + SHARPNESS * penalty).collect()
        }
    }
}

/// Behind everybody who is not too slow: no race takes as long.
const IMPATIENT: f64 = 1e6;

/// Places by price, and within a price by a race that the quicker one tends to win: always the same one would get the
/// calls of all gateways.
fn by_price(
    choices: &[Choice],
    waiting: impl Fn(&Choice) -> f64,
    random: &mut impl FnMut() -> f64,
) -> SmallVec<[f64; INLINE]> {
    let mut prices: SmallVec<[u64; INLINE]> = choices.iter().map(price).collect();
    prices.sort_unstable();
    prices.dedup();
    choices
        .iter()
        .map(|choice| {
            let price = price(choice);
            let cheaper = prices.iter().take_while(|&&other| other < price).count();
            let time = race(random(), waiting(choice).powi(-4));
            // Squeezed into 0.0..1.0, so that it never outweighs a price.
            number(cheaper) + time / (1.0 + time)
        })
        .collect()
}

/// What is not known to be cheap counts as dear.
fn price(choice: &Choice) -> u64 {
    choice.price.unwrap_or(u64::MAX)
}

/// Puts targets in order by drawing two at random and taking the better, again and again. The better is taken by chance,
/// too, the more surely the better it is: two gateways that see the same do not all go the same way, and two targets that
/// differ by nothing but noise share the calls.
fn two_choices(targets: &mut [usize], cost: impl Fn(usize) -> f64, random: &mut impl FnMut() -> f64) {
    let mut left = targets;
    while left.len() > 1 {
        let one = draw(left.len(), random());
        let other = (one + 1 + draw(left.len() - 1, random())) % left.len();
        let (Some(&first), Some(&second)) = (left.get(one), left.get(other)) else { return };
        let ratio = cost(first) / cost(second);
        let fourth_power = (ratio * ratio) * (ratio * ratio);
        let chosen = if random() * (1.0 + fourth_power) < 1.0 { one } else { other };
        // Those who are left keep their order, the better ones in front.
        if let Some(front) = left.get_mut(..=chosen) {
            front.rotate_right(1);
        }
        left = left.split_at_mut(1).1;
    }
}

/// One of so many, by a number in `0.0..1.0`.
fn draw(count: usize, random: f64) -> usize {
    let mut place = 0;
    let step = number(count) * random;
    while place + 1 < count && number(place + 1) <= step {
        place += 1;
    }
    place
}

/// How long a runner of this weight takes, when each wins as often as its weight says.
fn race(random: f64, weight: f64) -> f64 {
    if weight > 0.0 { lot(random) / weight } else { f64::INFINITY }
}

/// An exponentially distributed number.
fn lot(random: f64) -> f64 {
    -(1.0 - random).max(f64::MIN_POSITIVE).ln()
}

fn weight(choice: &Choice) -> f64 {
    f64::from(choice.weight)
}

/// A hash as a number in `0.0..1.0`.
fn unit(hash: u64) -> f64 {
    f64::from(u32::try_from(hash >> 32).unwrap_or(u32::MAX)) / (f64::from(u32::MAX) + 1.0)
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
