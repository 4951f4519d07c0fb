//! Choosing by weight: the key of a provider.

use crate::routing::{DRY_HEADROOM, TIGHT_HEADROOM};

/// Which of several keys to use, of each its weight, whether it is ready, and which share of the provider's own limit is
/// left for it: by weight among those that are ready, those that are about to run dry last. `None` when none is ready.
pub fn pick_key(keys: impl Iterator<Item = (u32, bool, f64)> + Clone, random: f64) -> Option<usize> {
    let with_room = keys.clone().map(|(weight, ready, headroom)| {
        let is_usable = ready && headroom >= DRY_HEADROOM;
        if is_usable { f64::from(weight) * (headroom / TIGHT_HEADROOM).min(1.0) } else { 0.0 }
    });
    let all = keys.map(|(weight, ready, _)| if ready { f64::from(weight) } else { 0.0 });
    pick(with_room, random).or_else(|| pick(all, random))
}

fn pick(weights: impl Iterator<Item = f64> + Clone, random: f64) -> Option<usize> {
    let total: f64 = weights.clone().sum();
    let mut point = random * total;
    let mut last = None;
    for (position, weight) in weights.enumerate() {
        if weight <= 0.0 {
            continue;
        }
        point -= weight;
        if point < 0.0 {
            return Some(position);
        }
        last = Some(position);
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_not_ready_are_passed_over() {
        let keys = [(1, false, 1.0), (1, true, 1.0), (2, true, 1.0)];
        assert_eq!(pick_key(keys.into_iter(), 0.0), Some(1));
        assert_eq!(pick_key(keys.into_iter(), 0.999_999), Some(2));
        assert_eq!(pick_key(keys.into_iter(), 1.0), Some(2), "rounding must not lose the last");
        assert_eq!(pick_key([(1, false, 1.0)].into_iter(), 0.5), None);
    }

    #[test]
    fn a_key_about_to_run_dry_is_spared_and_one_that_is_dry_is_used_only_when_all_are() {
        let share_of_first = |first: f64, second: f64| {
            let keys = [(1, true, first), (1, true, second)];
            let picked = (0..1000).map(|step| pick_key(keys.into_iter(), f64::from(step) / 1000.0));
            picked.filter(|picked| *picked == Some(0)).count()
        };
        assert_eq!(share_of_first(1.0, 1.0), 500);
        assert_eq!(share_of_first(0.3, 1.0), 500, "there is still enough");
        assert_eq!(share_of_first(0.1, 1.0), 334);
        assert_eq!(share_of_first(0.01, 1.0), 0);
        assert_eq!(share_of_first(0.01, 0.0), 500, "nobody has any");
        let out = [(1, true, 0.0), (1, false, 1.0)];
        assert_eq!(pick_key(out.into_iter(), 0.9), Some(0), "one that is not ready is no help");
    }
}
