//! Rendezvous hashing: every target gets a score for a session, and the highest keeps the session. When a target goes, only
//! its own sessions move; when one comes, it takes an even share from all. Used by the strategy `sticky`.

/// What a session, or the beginning of a prompt, is told apart by. Made once a call, scored for each target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AffinityKey(u64);

impl AffinityKey {
    /// The key of a session's name, or of the bytes at the start of a prompt.
    pub fn new(bytes: &[u8]) -> Self {
        Self(digest(bytes))
    }

    /// The score of a target, `provider/upstream-model`, for it. The same in every process and version: replicas agree
    /// without a word.
    pub fn score(self, target: &str) -> u64 {
        mix(self.0 ^ digest(target.as_bytes()).rotate_left(32))
    }
}

/// The score of a target for a session.
pub fn affinity(session_or_prefix: &[u8], target: &str) -> u64 {
    AffinityKey::new(session_or_prefix).score(target)
}

/// Odd, with bits evenly spread: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Eight bytes at a time, because prefixes of prompts are long. Not made against an adversary: one who picks sessions by
/// their target only spends on that target.
fn digest(bytes: &[u8]) -> u64 {
    let mut sum = u64::try_from(bytes.len()).unwrap_or(u64::MAX).wrapping_mul(SPREAD);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        sum = fold(sum, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    for (place, byte) in last.iter_mut().zip(rest) {
        *place = *byte;
    }
    mix(fold(sum, u64::from_le_bytes(last)))
}

fn fold(sum: u64, word: u64) -> u64 {
    let sum = (sum ^ word).wrapping_mul(SPREAD);
    sum ^ (sum >> 29)
}

/// Makes every bit of the result depend on every bit of the input, and can be undone, so that nothing is lost.
pub(super) fn mix(mut value: u64) -> u64 {
    value ^= value >> 32;
    value = value.wrapping_mul(SPREAD);
    value ^= value >> 29;
    value = value.wrapping_mul(SPREAD);
    value ^ (value >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(session: u64, targets: &[String]) -> usize {
        let key = AffinityKey::new(&session.to_le_bytes());
        (0..targets.len()).max_by_key(|&index| key.score(&targets[index])).unwrap()
    }

    #[test]
    fn sessions_spread_evenly_and_only_those_of_a_lost_target_move() {
        let targets: Vec<String> = (0..10).map(|index| format!("provider-{index}/model")).collect();
        let mut counts = [0u32; 10];
        for session in 0..10_000 {
            let with_all = best(session, &targets);
            counts[with_all] += 1;
            let without_last = best(session, &targets[..9]);
            assert!(with_all == 9 || with_all == without_last, "{session} moved without need");
        }
        assert!(counts.iter().all(|&count| (850..1150).contains(&count)), "{counts:?}");
    }

    #[test]
    fn those_who_lose_their_target_spread_over_all_others() {
        let targets: Vec<String> = (0..5).map(|index| format!("provider-{index}/model")).collect();
        let mut counts = [0u32; 4];
        for session in (0..10_000).filter(|&session| best(session, &targets) == 4) {
            counts[best(session, &targets[..4])] += 1;
        }
        assert!(counts.iter().all(|&count| (400..600).contains(&count)), "{counts:?}");
    }

    #[test]
    fn every_byte_counts_and_scores_never_change_between_versions() {
        assert_ne!(affinity(b"", "a/b"), affinity(b"\0", "a/b"));
        assert_ne!(affinity(b"12345678", "a/b"), affinity(b"12345679", "a/b"));
        assert_ne!(affinity(b"123456789", "a/b"), affinity(b"12345678", "a/b"));
        assert_ne!(affinity(b"a/b", "session"), affinity(b"session", "a/b"));
    }
}
