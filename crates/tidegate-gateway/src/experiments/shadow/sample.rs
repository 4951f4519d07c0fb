//! A call that is to have a shadow, while it is under way: what its caller is answered is gathered beside it. Held by `settle`.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;
use tidegate_policy::experiments::{Seen, takes_part};
use tidegate_store::{LedgerEntry, Outcome};

use super::counts::ShadowFate;
use super::queue::{Room, Waiting};
use crate::accept::{Call, Operation};
use crate::experiments::Shadow;
use crate::gateway::Gateway;
use crate::snapshot::Snapshot;

/// Requests above this have no shadow: the queue is for many calls.
const MAX_REQUEST: usize = 4 << 20;
/// Answers above this are not gathered, and their calls have no shadow.
const MAX_ANSWER: usize = 1 << 20;

/// What is gathered grows by this factor.
const GROWTH: usize = 2;

/// A call that is to have a shadow.
#[derive(Debug)]
pub(crate) struct Sample {
    shadows: SmallVec<[Arc<Shadow>; 1]>,
    call: Call,
    answer: Answer,
    /// Of a stream: its part of what is kept of all of them.
    room: Option<Room>,
}

#[derive(Debug)]
enum Answer {
    None,
    Whole(Bytes),
    Stream(Vec<u8>),
    TooLarge,
    /// What is kept of all streams was too much together.
    NoRoom,
}

impl Sample {
    /// Whether this call is to have shadows; which calls do follows from their ids.
    pub(crate) fn begin(gateway: &Gateway, snapshot: &Snapshot, call: &Call) -> Option<Box<Self>> {
        let of_model = snapshot.experiments.of_model(call.meant_model())?;
        if of_model.shadows.is_empty() || call.operation != Operation::Chat {
            return None;
        }
        let id = call.id.to_string();
        let shadows: SmallVec<[Arc<Shadow>; 1]> = of_model
            .shadows
            .iter()
            .filter(|shadow| takes_part(id.as_bytes(), &shadow.name, shadow.share))
            .filter(|shadow| {
                // Where there is no room now, nothing need be copied.
                let fate = if call.body().len() > MAX_REQUEST {
                    ShadowFate::TooLarge
                } else if gateway.shadows.is_full() {
                    ShadowFate::QueueFull
                } else {
                    return true;
                };
                shadow.counts.count(fate);
                false
            })
            .map(Arc::clone)
            .collect();
        if shadows.is_empty() {
            return None;
        }
        let room = match call.stream.then(|| gateway.shadows.gather(call.body().len())) {
            None => None,
            Some(Some(room)) => Some(room),
            Some(None) => {
                shadows.iter().for_each(|shadow| shadow.counts.count(ShadowFate::QueueFull));
                return None;
            }
        };
        Some(Box::new(Self { shadows, call: call.anonymous(), answer: Answer::None, room }))
    }

    /// The whole answer.
    pub(crate) fn whole(&mut self, answer: &Bytes) {
        self.answer =
            if answer.len() > MAX_ANSWER { Answer::TooLarge } else { Answer::Whole(answer.clone()) };
    }

    /// A piece of a stream as it goes to the caller.
    pub(crate) fn piece(&mut self, piece: &[u8]) {
        if matches!(self.answer, Answer::None) {
            self.answer = Answer::Stream(Vec::new());
        }
        let Answer::Stream(gathered) = &mut self.answer else { return };
        let (length, capacity) = (gathered.len().saturating_add(piece.len()), gathered.capacity());
        if length > MAX_ANSWER {
            self.answer = Answer::TooLarge;
        } else if length <= capacity {
            gathered.extend_from_slice(piece);
        } else {
            // In steps, so that the pieces of all streams do not meet at one counter.
            let larger = capacity.max(piece.len()).saturating_mul(GROWTH).min(MAX_ANSWER);
            if self.room.as_mut().is_none_or(|room| room.grow(larger.saturating_sub(capacity))) {
                gathered.reserve_exact(larger.saturating_sub(gathered.len()));
                gathered.extend_from_slice(piece);
            } else {
                self.answer = Answer::NoRoom;
            }
        }
    }

    /// The call has ended. Who hung up or was refused was not served, and there is nothing to compare.
    pub(crate) fn end(self, gateway: &Gateway, entry: &LedgerEntry) {
        let has_failed = match entry.outcome {
            Outcome::Answered => false,
            Outcome::Failed => true,
            Outcome::Cancelled | Outcome::Refused => return,
        };
        let leave_out = |fate| self.shadows.iter().for_each(|shadow| shadow.counts.count(fate));
        let answer = match self.answer {
            Answer::TooLarge => return leave_out(ShadowFate::TooLarge),
            Answer::NoRoom => return leave_out(ShadowFate::QueueFull),
            _ if has_failed => None,
            Answer::None => None,
            Answer::Whole(bytes) => Some(bytes),
            Answer::Stream(gathered) => Some(gathered.into()),
        };
        let control = Seen {
            failed: has_failed,
            cost_nanodollars: entry.cost_nanodollars.filter(|cost| !has_failed || *cost > 0),
            first_token_us: entry.time_to_first_token_us.filter(|_| !has_failed),
            latency_us: (!has_failed).then_some(entry.duration_us),
            output_tokens: (!has_failed).then_some(entry.usage.output),
        };
        for shadow in self.shadows {
            let waiting = Waiting::new(shadow, self.call.anonymous(), entry.id, control, answer.clone());
            gateway.shadows.hand_over(waiting);
        }
    }
}
