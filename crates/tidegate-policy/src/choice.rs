//! Choosing by weight: the key of a provider.

/// Which of several keys to use: by weight among those that are ready. `None` when none is.
pub fn pick_key(keys: impl Iterator<Item = (u32, bool)> + Clone, random: f64) -> Option<usize> {
    pick(keys.map(|(weight, ready)| if ready { weight } else { 0 }), random)
}

fn pick(weights: impl Iterator<Item = u32> + Clone, random: f64) -> Option<usize> {
    let total: f64 = weights.clone().map(f64::from).sum();
    let mut point = random * total;
    let mut last = None;
    for (position, weight) in weights.enumerate() {
        if weight == 0 {
            continue;
        }
        point -= f64::from(weight);
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
        let keys = [(1, false), (1, true), (2, true)];
        assert_eq!(pick_key(keys.into_iter(), 0.0), Some(1));
        assert_eq!(pick_key(keys.into_iter(), 0.999_999), Some(2));
        assert_eq!(pick_key(keys.into_iter(), 1.0), Some(2), "rounding must not lose the last");
        assert_eq!(pick_key([(1, false)].into_iter(), 0.5), None);
    }
}
