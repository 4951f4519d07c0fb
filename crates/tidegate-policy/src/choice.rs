//! Choosing by weight: the order of targets under `weighted`, and the key of a provider.

/// The order in which to ask targets of these weights: drawn by weight without replacement, so that the first is chosen
/// in proportion and the others stand by. Targets of weight 0 come last, in their own order. `random` gives numbers in
/// `0.0..1.0`.
pub fn order_by_weight(weights: &[u32], mut random: impl FnMut() -> f64) -> Vec<usize> {
    let mut left: Vec<usize> = (0..weights.len()).collect();
    let mut order = Vec::with_capacity(weights.len());
    while let Some(position) = pick(left.iter().map(|&index| weights[index]), random()) {
        order.push(left.remove(position));
    }
    order.extend(left);
    order
}

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
    fn the_first_is_chosen_in_proportion_and_the_rest_stand_by() {
        let mut firsts = [0u32; 3];
        for step in 0..1000u32 {
            let mut randoms = [f64::from(step) / 1000.0, 0.5, 0.5].into_iter();
            let order = order_by_weight(&[1, 3, 0], || randoms.next().unwrap());
            assert_eq!(order.len(), 3);
            assert_eq!(order[2], 2, "weight 0 is only a stand-by");
            firsts[order[0]] += 1;
        }
        assert_eq!(firsts, [250, 750, 0]);
    }

    #[test]
    fn keys_that_are_not_ready_are_passed_over() {
        let keys = [(1, false), (1, true), (2, true)];
        assert_eq!(pick_key(keys.into_iter(), 0.0), Some(1));
        assert_eq!(pick_key(keys.into_iter(), 0.999_999), Some(2));
        assert_eq!(pick_key(keys.into_iter(), 1.0), Some(2), "rounding must not lose the last");
        assert_eq!(pick_key([(1, false)].into_iter(), 0.5), None);
    }
}
