//! The retry budget: an outage must not be multiplied by everybody's second and third tries.

/// Retries in flight that are always allowed, so that a quiet gateway can retry at all.
const ALWAYS_ALLOWED: usize = 3;

/// One retry in flight for so many calls in flight.
const CALLS_PER_RETRY: usize = 5;

/// How many calls, and how many retries among them, are in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// Calls in flight.
    pub calls: usize,
    /// Retries in flight.
    pub retries: usize,
}

/// Whether one more retry may begin. Asking the next target is no retry: it multiplies nothing at the target that
/// failed.
pub fn is_retry_allowed(budget: RetryBudget) -> bool {
    budget.retries < (budget.calls / CALLS_PER_RETRY).max(ALWAYS_ALLOWED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_calls_may_be_retries_and_three_always() {
        for (calls, most) in [(0, 3), (1, 3), (15, 3), (20, 4), (1000, 200)] {
            assert!(is_retry_allowed(RetryBudget { calls, retries: most - 1 }), "{calls}");
            assert!(!is_retry_allowed(RetryBudget { calls, retries: most }), "{calls}");
        }
    }
}
