//! Who is in which arm: by a stable hash, so that no replica has to remember or ask.

use super::numbers::{stable_hash, unit_interval};

/// The arm of a unit (a session, user, key or call id) among arms with these names and weights; `None` where no weight
/// is above zero. The same unit always gets the same arm while the weights stay, and experiments do not depend on each
/// other.
///
/// Each arm draws a waiting time from its hash with the unit, the shorter the larger its weight, and the first wins.
/// So where weights change, units move only towards arms that gained, and where arms come or go, no unit moves between
/// the others. With two arms, exactly the difference in share moves.
pub fn assign<'a>(
    unit: &[u8],
    experiment: &str,
    arms: impl IntoIterator<Item = (&'a str, f64)>,
) -> Option<usize> {
    let mut first: Option<(usize, f64)> = None;
    for (index, (name, weight)) in arms.into_iter().enumerate() {
        if !(weight > 0.0 && weight.is_finite()) {
            continue;
        }
        let hash = stable_hash(&[b"arm", experiment.as_bytes(), name.as_bytes(), unit]);
        let waits = -unit_interval(hash).ln() / weight;
        if first.is_none_or(|(_, shortest)| waits < shortest) {
            first = Some((index, waits));
        }
    }
    first.map(|(index, _)| index)
}

/// Whether a unit is among this share (0 to 1) of all: for shadows. Independent of `assign`; a growing share keeps
/// whom it had.
pub fn takes_part(unit: &[u8], experiment: &str, share: f64) -> bool {
    unit_interval(stable_hash(&[b"share", experiment.as_bytes(), unit])) < share
}
