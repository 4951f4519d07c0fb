//! A sliding window: how much happened in the last second, minute, hour or day. [`Counters`](super::Counters) keeps one
//! for each rate limit of a level.

use std::collections::VecDeque;
use std::time::Duration;

use super::RatePeriod;
use crate::Moment;

/// How finely a window is cut. More slices give room back sooner, fewer take less memory.
pub const SLICES_PER_WINDOW: u64 = 60;

/// What happened in each slice of the last window, with the sum of it.
///
/// A slice is forgotten as a whole, and only once its last moment is a full window ago. So the sum is never lower than what
/// happened in the window that ends now, and at most one slice (a sixtieth of the window) higher. Memory follows activity:
/// slices in which nothing happened take none.
#[derive(Debug)]
pub(super) struct Window {
    per: RatePeriod,
    sum: u64,
    /// The one in which calls are counted now; `None` where there is none at all. It stands here, where `sum` is, because
    /// every call changes both.
    newest: Option<Slice>,
    /// Those before it, behind a pointer: most keys have none, and what every call changes is to lie in few lines of memory.
    #[expect(clippy::box_collection, reason = "it is a pointer that is wanted here, not four words")]
    older: Option<Box<VecDeque<Slice>>>,
}

#[derive(Debug, Clone, Copy)]
struct Slice {
    index: u64,
    amount: u64,
}

impl Window {
    pub(super) fn new(per: RatePeriod) -> Self {
        Self { per, sum: 0, newest: None, older: None }
    }

    /// How much happened in the window that ends now.
    pub(super) fn sum(&mut self, now: Moment) -> u64 {
        let index = self.index(now);
        let is_over = |slice: &Slice| slice.index + SLICES_PER_WINDOW < index;
        if let Some(older) = &mut self.older {
            while let Some(oldest) = older.front().filter(|oldest| is_over(oldest)) {
                self.sum -= oldest.amount;
                older.pop_front();
            }
        }
        // Where it is over, so were all before it.
        if let Some(newest) = self.newest.take_if(|newest| is_over(newest)) {
            self.sum -= newest.amount;
        }
        self.sum
    }

    /// The same, for whoever has just asked for that of the same moment.
    pub(super) fn latest_sum(&self) -> u64 {
        self.sum
    }

    /// Over how long.
    pub(super) fn per(&self) -> RatePeriod {
        self.per
    }

    /// Counts this much as happening now.
    pub(super) fn add(&mut self, amount: u64, now: Moment) {
        if amount == 0 {
            return;
        }
        let index = self.index(now);
        // The sum must not overflow, and what does not fit into it must not be taken out again either.
        let amount = amount.min(u64::MAX - self.sum);
        match &mut self.newest {
            Some(newest) if newest.index == index => newest.amount += amount,
            // Threads read the clock before they come here, so one may be late.
            Some(newest) if newest.index > index => {
                let older = self.older.get_or_insert_default();
                match find(older, index) {
                    Ok(place) => older[place].amount += amount,
                    Err(place) => older.insert(place, Slice { index, amount }),
                }
            }
            Some(newest) => {
                self.older.get_or_insert_default().push_back(*newest);
                *newest = Slice { index, amount };
            }
            None => self.newest = Some(Slice { index, amount }),
        }
        self.sum += amount;
    }

    /// Replaces what was counted at that moment by what it really was. What is out of the window by now stays forgotten.
    pub(super) fn correct(&mut self, at: Moment, counted: u64, real: u64) {
        let index = self.index(at);
        let sum = self.sum;
        if let Some(slice) = self.slice_mut(index) {
            let before = slice.amount;
            let rest = before.saturating_sub(counted);
            let after = rest + real.min(u64::MAX - (sum - before + rest));
            slice.amount = after;
            self.sum = sum - before + after;
        } else if counted == 0 && self.newest.is_none_or(|newest| newest.index <= index + SLICES_PER_WINDOW) {
            // Nothing was counted, so no slice was made.
            self.add(real, at);
        }
    }

    /// How long until this much more fits under the maximum, when nothing else happens. Never longer than the window.
    pub(super) fn until_room(&mut self, amount: u64, max: u64, now: Moment) -> Duration {
        let mut excess = self.sum(now).saturating_add(amount).saturating_sub(max);
        let length = Duration::from_nanos(slice_nanoseconds(self.per) * SLICES_PER_WINDOW);
        if excess == 0 {
            return Duration::ZERO;
        }
        for slice in self.older.iter().flat_map(|older| older.iter()).chain(&self.newest) {
            excess = excess.saturating_sub(slice.amount);
            if excess == 0 {
                return self.gone_at(slice.index).saturating_sub(now);
            }
        }
        length
    }

    /// How long until all of it is forgotten, when nothing else happens.
    pub(super) fn until_empty(&self, now: Moment) -> Duration {
        match self.newest {
            Some(newest) if self.sum > 0 => self.gone_at(newest.index).saturating_sub(now),
            _ => Duration::ZERO,
        }
    }

    /// Whether there is nothing in it any more.
    pub(super) fn is_idle(&mut self, now: Moment) -> bool {
        self.sum(now) == 0
    }

    fn gone_at(&self, index: u64) -> Moment {
        Duration::from_nanos((index + SLICES_PER_WINDOW + 1).saturating_mul(slice_nanoseconds(self.per)))
    }

    fn slice_mut(&mut self, index: u64) -> Option<&mut Slice> {
        if self.newest.is_some_and(|newest| newest.index == index) {
            return self.newest.as_mut();
        }
        let older = self.older.as_deref_mut()?;
        let place = find(older, index).ok()?;
        older.get_mut(place)
    }

    fn index(&self, moment: Moment) -> u64 {
        // 64 bits of nanoseconds are 584 years.
        let nanoseconds = u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX);
        // By a number that the compiler knows: it then multiplies, and a call asks a dozen times.
        match self.per {
            RatePeriod::Second => nanoseconds / slice_nanoseconds(RatePeriod::Second),
            RatePeriod::Minute => nanoseconds / slice_nanoseconds(RatePeriod::Minute),
            RatePeriod::Hour => nanoseconds / slice_nanoseconds(RatePeriod::Hour),
            RatePeriod::Day => nanoseconds / slice_nanoseconds(RatePeriod::Day),
        }
    }
}

fn find(slices: &VecDeque<Slice>, index: u64) -> Result<usize, usize> {
    slices.binary_search_by_key(&index, |slice| slice.index)
}

const fn slice_nanoseconds(per: RatePeriod) -> u64 {
    (per.milliseconds() * 1_000_000).div_ceil(SLICES_PER_WINDOW)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Threads read the clock before they come here, so their moments are a little out of order.
        #[test]
        fn moments_out_of_order_count_in_their_own_slices(
            steps in prop::collection::vec((0_u64..400, 0_u64..120, 1_u64..50, prop::option::of(0_u64..80)), 1..200),
        ) {
            let slice = slice_nanoseconds(RatePeriod::Second);
            let mut window = Window::new(RatePeriod::Second);
            let mut calls: Vec<(u64, u64)> = Vec::new();
            let mut now = 10 * slice * SLICES_PER_WINDOW;
            for (pause, late, amount, real) in steps {
                now += pause * slice / 100;
                let at = Duration::from_nanos(now - late * slice / 100);
                window.sum(Duration::from_nanos(now));
                window.add(amount, at);
                let index = window.index(at);
                calls.push((index, amount));
                if let Some(real) = real {
                    window.correct(at, amount, real);
                    calls.push((index, real));
                    calls.retain({
                        let mut is_first = true;
                        move |call| *call != (index, amount) || !std::mem::take(&mut is_first)
                    });
                }
                let oldest = (now / slice).saturating_sub(SLICES_PER_WINDOW);
                let expected: u64 = calls.iter().filter(|call| call.0 >= oldest).map(|call| call.1).sum();
                prop_assert_eq!(window.sum(Duration::from_nanos(now)), expected);
                prop_assert_eq!(window.latest_sum(), expected);
            }
        }
    }
}
