//! Searching along means: where refutation begins, and the least value of a convex function.

/// Steps of the search for a bound: 2^-28 of the scale is far below any difference that matters.
const HALVINGS: u32 = 28;

/// Steps of the search for a least value, at most: every other one halves the place where it can be.
const STEPS: u32 = 40;

/// The value farthest from `kept` towards `bound` that is not refuted, where all beyond a refuted one are. Errs on the
/// wide side.
pub(super) fn last_kept(kept: f64, bound: f64, refuted: impl Fn(f64) -> bool) -> f64 {
    if !refuted(bound) {
        return bound;
    }
    let (mut inside, mut outside) = (kept, bound);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (inside + outside);
        if refuted(middle) {
            outside = middle;
        } else {
            inside = middle;
        }
    }
    outside
}

/// The least value of a convex function, given with its slope, between two points: never above the true one by more than
/// a millionth, and where the search ends early, below it.
pub(super) fn least_of(low: f64, start: f64, high: f64, function: impl Fn(f64) -> (f64, f64)) -> f64 {
    descend(low, start, high, function, |_, _| false).0
}

/// Whether a convex function stays at or above `bound` between two points.
pub(super) fn stays_above(
    bound: f64,
    low: f64,
    start: f64,
    high: f64,
    function: impl Fn(f64) -> (f64, f64),
) -> bool {
    let (least, _) = descend(low, start, high, function, |value, least| value < bound || least >= bound);
    least >= bound
}

/// Walks down; gives what the least value cannot be below, and the value reached.
fn descend(
    mut low: f64,
    start: f64,
    mut high: f64,
    function: impl Fn(f64) -> (f64, f64),
    is_enough: impl Fn(f64, f64) -> bool,
) -> (f64, f64) {
    /// A wager is known well enough to this part of itself.
    const CLOSE: f64 = 1e-6;
    if low >= high {
        let (value, _) = function(low);
        return (value, value);
    }
    let mut place = start;
    let (mut low_slope, mut high_slope) = (f64::NAN, f64::NAN);
    let mut reached = f64::INFINITY;
    let mut least = f64::NEG_INFINITY;
    for step in 0..STEPS {
        let (value, slope) = function(place);
        reached = reached.min(value);
        // A convex function lies above its tangents.
        let ahead = if slope > 0.0 { place - low } else { high - place };
        least = least.max(value - slope.abs() * ahead).min(reached);
        if is_enough(value, least) || reached - least < CLOSE {
            break;
        }
        if slope > 0.0 {
            (high, high_slope) = (place, slope);
        } else {
            (low, low_slope) = (place, slope);
        }
        // Where the slopes at both ends suggest the bottom, every other step; in the middle otherwise, so that no
        // function can make it slow.
        let suggested = low + (high - low) * low_slope / (low_slope - high_slope);
        let is_usable = step % 2 == 0 && suggested > low && suggested < high;
        place = if is_usable { suggested } else { 0.5 * (low + high) };
    }
    (least, reached)
}
