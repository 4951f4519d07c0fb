//! Waiting for another machine for a short while, on one that may be late itself.

use std::time::{Duration, Instant};

use tokio::time::sleep;

/// The time is counted in pieces of this length.
const PIECE: Duration = Duration::from_millis(5);

/// A piece that took longer than this says that this process got no processor: then nothing is known of the other machine.
const LATE: Duration = Duration::from_millis(10);

/// Waits for an answer for so long, not counting the time in which this process could not have heard it. `None`: there was none.
/// An answer that never comes must end by itself some time.
pub(super) async fn on_time<Answer>(
    patience: Duration,
    answer: impl Future<Output = Answer>,
) -> Option<Answer> {
    let mut left = patience;
    tokio::pin!(answer);
    while !left.is_zero() {
        let piece = left.min(PIECE);
        let began = Instant::now();
        tokio::select! {
            biased;
            answer = &mut answer => return Some(answer),
            () = sleep(piece) => {}
        }
        if began.elapsed() < LATE {
            left -= piece;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn what_is_never_answered_is_given_up_and_what_is_there_is_heard() {
        assert_eq!(on_time(Duration::from_millis(30), ready(1)).await, Some(1));
        assert_eq!(on_time(Duration::from_millis(30), pending::<()>()).await, None);
    }

    #[tokio::test]
    async fn time_in_which_this_process_stood_still_does_not_count() {
        let answer = async {
            for _ in 0..10 {
                // As if somebody else had the processor, between two looks.
                std::thread::sleep(Duration::from_millis(20));
                tokio::task::yield_now().await;
            }
            1
        };
        assert_eq!(on_time(Duration::from_millis(50), answer).await, Some(1));
    }
}
