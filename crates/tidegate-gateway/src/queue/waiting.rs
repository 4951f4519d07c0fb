//! A call that waits for a place. Dropping it leaves the queue, so that callers who hang up do not hold up others.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_policy::{Priority, Ticket};
use tokio::sync::oneshot;

use super::places::{Place, Places};
use super::refusal::NoPlace;

/// A call that waits for a place.
#[derive(Debug)]
pub struct Waiting {
    places: Arc<Places>,
    granted: oneshot::Receiver<Place>,
    priority: Priority,
    /// Nothing once it waits no longer.
    ticket: Option<Ticket>,
    since: Instant,
    patience: Duration,
}

impl Waiting {
    pub(super) fn new(
        places: Arc<Places>,
        granted: oneshot::Receiver<Place>,
        priority: Priority,
        ticket: Option<Ticket>,
        patience: Duration,
    ) -> Self {
        Self { places, granted, priority, ticket, since: Instant::now(), patience }
    }

    /// How urgent it is.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// It turns out to be one in the background.
    pub fn make_batch(&mut self) {
        self.priority = Priority::Batch;
        if let Some(ticket) = self.ticket {
            self.places.make_batch(ticket);
        }
    }

    /// Waits for the place. The future may be dropped and asked for again.
    pub async fn place(&mut self) -> Result<Place, NoPlace> {
        let left = self.patience.saturating_sub(self.since.elapsed());
        let granted = tokio::time::timeout(left, pin!(&mut self.granted)).await;
        match granted {
            Ok(Ok(place)) => {
                self.ticket = None;
                self.places.series.waited(self.priority, self.since.elapsed());
                Ok(place)
            }
            // Whoever took its place in the queue has counted it.
            Ok(Err(_dropped)) => {
                self.ticket = None;
                Err(NoPlace::Displaced)
            }
            Err(_elapsed) => {
                self.places.series.refused(self.priority, NoPlace::TooLong);
                Err(NoPlace::TooLong)
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.places.leave(ticket);
        }
    }
}
