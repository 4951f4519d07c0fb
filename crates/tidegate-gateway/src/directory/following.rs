//! How somebody who has just changed the store, or shows a key that is not known, waits until the directory has looked at
//! the store once more. However many wait, the follower looks once for all of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

/// How often the store is asked for changes. A change is in force everywhere within a second, with room for a slow
/// database; an answer without changes costs one look at an index.
const POLL: Duration = Duration::from_millis(250);
/// How often it is asked while it does not answer.
const POLL_AWAY: Duration = Duration::from_secs(1);
/// The shortest time between two looks that unknown keys cause: whatever strangers send, the database is asked fifty
/// times a second at most, and a new key among theirs is heard of as soon.
const STRANGERS_GAP: Duration = Duration::from_millis(20);
/// How long an unknown key waits. Several questions to a database on another continent fit; once it has taken longer, no
/// key waits until the store has answered again.
const STRANGERS_PATIENCE: Duration = Duration::from_secs(1);
/// How long the answer to a change waits until it is in force here. The change is made by then, and comes a moment later.
const CHANGE_PATIENCE: Duration = Duration::from_secs(2);

/// The meeting place of the follower and those who wait for it.
#[derive(Debug)]
pub(super) struct Following {
    /// Questions so far: each has a number.
    asked: AtomicU64,
    /// Up to which question the store was asked.
    answered: watch::Sender<u64>,
    own_change: Notify,
    unknown_key: Notify,
    /// Whether it is of no use to wait: nobody follows, or the store does not answer, or not in time.
    is_away: AtomicBool,
}

impl Default for Following {
    fn default() -> Self {
        Self {
            asked: AtomicU64::new(0),
            answered: watch::Sender::new(0),
            own_change: Notify::new(),
            unknown_key: Notify::new(),
            is_away: AtomicBool::new(true),
        }
    }
}

impl Following {
    /// Waits until what this process has just changed is in the directory.
    pub(super) async fn own_change(&self) {
        let question = self.question();
        self.own_change.notify_one();
        if timeout(CHANGE_PATIENCE, self.answer(question)).await.is_err() {
            tracing::warn!(
                "a change is made, but it could not be read again so far: it is in force here a little later"
            );
        }
    }

    /// Waits until the store was asked for changes once more, for somebody whom the directory does not know. Says whether
    /// it was.
    pub(super) async fn unknown_key(&self) -> bool {
        if self.is_away.load(Ordering::Relaxed) {
            return false;
        }
        let question = self.question();
        self.unknown_key.notify_one();
        let answered = timeout(STRANGERS_PATIENCE, self.answer(question)).await.is_ok();
        if !answered {
            self.is_away.store(true, Ordering::Relaxed);
        }
        answered
    }

    fn question(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::SeqCst) + 1
    }

    async fn answer(&self, question: u64) {
        // The sender is in `self`, so it does not go away meanwhile.
        let _ = self.answered.subscribe().wait_for(|answered| *answered >= question).await;
    }

    /// The follower waits here between two looks. What it then reads is newer than every question up to the number.
    pub(super) async fn next_look(&self, is_failing: bool) -> u64 {
        let pause = async {
            if is_failing {
                return sleep(POLL_AWAY).await;
            }
            sleep(STRANGERS_GAP).await;
            tokio::select! {
                () = self.unknown_key.notified() => {}
                () = sleep(POLL.saturating_sub(STRANGERS_GAP)) => {}
            }
        };
        tokio::select! {
            () = self.own_change.notified() => {}
            () = pause => {}
        }
        self.asked.load(Ordering::SeqCst)
    }

    /// The follower has looked, or has tried to: whoever asked need not wait any longer.
    pub(super) fn looked(&self, up_to: u64, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
        self.answered.send_replace(up_to);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::time::Instant;

    use super::*;

    /// A follower whose looks take so long, and how often it has looked.
    fn follow(following: &Arc<Following>, takes: Duration) -> Arc<AtomicUsize> {
        let looks = Arc::new(AtomicUsize::new(0));
        let (following, counted) = (Arc::clone(following), Arc::clone(&looks));
        following.looked(0, false);
        tokio::spawn(async move {
            loop {
                let up_to = following.next_look(false).await;
                counted.fetch_add(1, Ordering::Relaxed);
                sleep(takes).await;
                following.looked(up_to, false);
            }
        });
        looks
    }

    #[tokio::test]
    async fn however_many_strangers_come_the_store_is_asked_fifty_times_a_second() {
        let following = Arc::new(Following::default());
        let looks = follow(&following, Duration::from_millis(1));
        let begun = Instant::now();
        let strangers: Vec<_> = (0..500)
            .map(|_| {
                let following = Arc::clone(&following);
                tokio::spawn(async move {
                    for _ in 0..10 {
                        assert!(following.unknown_key().await);
                    }
                })
            })
            .collect();
        for stranger in strangers {
            stranger.await.unwrap();
        }
        let most = begun.elapsed().as_millis() / STRANGERS_GAP.as_millis() + 1;
        let looks = looks.load(Ordering::Relaxed);
        assert!(looks >= 10 && u128::try_from(looks).unwrap() <= most, "{looks} looks, {most} at most");
    }

    #[tokio::test]
    async fn a_store_that_hangs_holds_up_one_stranger_and_then_nobody() {
        let following = Arc::new(Following::default());
        assert!(!following.unknown_key().await, "nobody follows");
        follow(&following, Duration::from_secs(3_600));
        assert!(!following.unknown_key().await);
        let begun = Instant::now();
        for _ in 0..100 {
            assert!(!following.unknown_key().await);
        }
        assert!(begun.elapsed() < STRANGERS_PATIENCE);
        following.looked(0, false);
        assert!(!following.is_away.load(Ordering::Relaxed), "it has answered again");
    }

    #[tokio::test]
    async fn a_change_of_our_own_does_not_wait_for_the_next_poll() {
        let following = Arc::new(Following::default());
        let looks = follow(&following, Duration::ZERO);
        let begun = Instant::now();
        for _ in 0..40 {
            following.own_change().await;
        }
        assert!(begun.elapsed() < 20 * POLL && looks.load(Ordering::Relaxed) >= 40);
    }
}
