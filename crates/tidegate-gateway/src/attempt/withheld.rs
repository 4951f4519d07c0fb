//! An answer that only refuses the content, kept back while another target is asked, and passed on where nobody says more.
//!
//! Providers refuse with a status 200 as well: a filter ends the answer before its first word. With
//! `fallback_on: [content_policy]` that is a failure like a 400 that says so; but it is an answer, too, and better for the
//! caller than the failure of somebody else.

use std::time::{Duration, Instant};

use tidegate_wire::Usage;

use super::exchange::Reached;
use super::failure::Failure;
use super::prepare::Translation;
use super::{Answered, Won};
use crate::bill::Consumed;
use crate::plan::{Plan, Planned};
use crate::relay::likely_input;
use crate::settle::Settlement;

/// How long the end of a stream is awaited that has refused, for its usage; it follows at once, or not at all.
pub(super) const REST_OF_REFUSAL: Duration = Duration::from_secs(1);

/// A refusal.
#[derive(Debug)]
pub(crate) struct Withheld {
    reached: Reached,
    used: Consumed,
    is_estimated: bool,
    /// Whose it is; known once the attempt has been put down.
    of: Option<Origin>,
}

/// Whose refusal it is.
#[derive(Debug, Clone, Copy)]
struct Origin {
    /// Its target's place in the plan.
    place: usize,
    key: usize,
    began: Instant,
    /// Its place among the call's attempts.
    attempt: usize,
}

/// An answer, unless it only refuses the content and others may be asked about that.
pub(super) fn unless_refused(
    translation: &Translation<'_>,
    planned: &Planned,
    mut reached: Reached,
) -> Result<Reached, Failure> {
    if !translation.withholds_refusals {
        return Ok(reached);
    }
    let (used, is_estimated) = match &mut reached.answer {
        Answered::Whole(whole) if whole.is_bare_refusal(planned.dialect()) => {
            let likely = Usage { input: likely_input(translation.call, planned), ..Usage::default() };
            let likely = Consumed { usage: likely, ..whole.consumed };
            let is_told = !whole.consumed.usage.is_empty();
            (if is_told { whole.consumed } else { likely }, !is_told)
        }
        Answered::Stream(relay) if relay.is_bare_refusal() => relay.used_by_refusal(),
        Answered::Whole(_) | Answered::Stream(_) => return Ok(reached),
    };
    Err(Failure::of_refusal(Withheld { reached, used, is_estimated, of: None }, &planned.target.label))
}

impl Withheld {
    /// Its attempt has been put down as the last one: what it used is counted when the call is.
    pub(super) fn put_down(
        &mut self,
        place: usize,
        planned: &Planned,
        key: usize,
        began: Instant,
        settlement: &mut Settlement,
    ) {
        let attempt = settlement.withholds(&planned.target, self.used, self.is_estimated);
        self.of = Some(Origin { place, key, began, attempt });
    }

    /// Nobody else says more: it is the answer.
    pub(super) fn pass_on(self, plan: &Plan, settlement: &mut Settlement) -> Option<Won> {
        let Origin { place, key, began, attempt } = self.of?;
        let planned = plan.targets.get(place)?.clone();
        settlement.answers(&planned.provider.name, &planned.target, planned.provider.key_label(key), began);
        settlement.passes_on(attempt);
        let Reached { losses, has_beginning, answer, .. } = self.reached;
        Some(Won { planned, losses, has_beginning, answer })
    }
}
