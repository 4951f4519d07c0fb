//! The room that one call has on every limit and budget.

use std::mem;

use tidegate_policy::{Amounts, Room};

use super::answers::Crossed;
use super::limiter::not_negative;
use super::local::LocalHold;
use super::shared::{OutageHold, SharedHold};

/// Room taken for a call. [Settle](Self::settle) it when the call is over; dropped without that it is released, as if the
/// call had never been.
#[derive(Debug)]
#[must_use = "dropping it releases the room"]
pub struct Hold {
    taken: Taken,
    room: Room,
    crossed: Vec<Crossed>,
}

/// Where room is taken.
#[derive(Debug)]
pub(super) enum Taken {
    /// Nowhere: nothing limits the call, or all is settled.
    Nothing,
    /// In the counters in memory.
    Local(Box<LocalHold>),
    /// In the shared counters.
    Shared(SharedHold),
    /// In memory, while the shared counters are away.
    Outage(Box<OutageHold>),
}

impl Hold {
    pub(super) fn new(taken: Taken, room: Room, crossed: Vec<Crossed>) -> Self {
        Self { taken, room, crossed }
    }

    /// The same room, taken in another way.
    pub(super) fn taken_as(mut self, wrap: impl FnOnce(Taken) -> Taken) -> Self {
        self.taken = wrap(mem::replace(&mut self.taken, Taken::Nothing));
        self
    }

    /// Replaces what was reserved by what was really used. Never waits and never fails.
    pub fn settle(mut self, actual: Amounts) {
        self.end(Some(not_negative(actual)));
    }

    /// What is left for others, for the headers of the answer.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// The soft budgets that turned out to be used up when this call asked for room.
    pub fn crossed(&self) -> &[Crossed] {
        &self.crossed
    }

    fn end(&mut self, actual: Option<Amounts>) {
        match mem::replace(&mut self.taken, Taken::Nothing) {
            Taken::Nothing => {}
            Taken::Local(hold) => hold.end(actual),
            Taken::Shared(hold) => hold.end(actual),
            Taken::Outage(hold) => hold.end(actual),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.end(None);
    }
}
