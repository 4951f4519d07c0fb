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
    slices: VecDeque<Slice>,
    sum: u64,
}

#[derive(Debug, Clone, Copy)]
struct Slice {
    index: u64,
    amount: u64,
}

impl Window {
    pub(super) fn new(per: RatePeriod) -> Self {
        Self { per, slices: VecDeque::new(), sum: 0 }
    }

    /// How much happened in the window that ends now.
    pub(super) fn sum(&mut self, now: Moment) -> u64 {
        let index = self.index(now);
        while let Some(oldest) = self.slices.front()
            && oldest.index + SLICES_PER_WINDOW < index
        {
            self.sum -= oldest.amount;
            self.slices.pop_front();
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
        match self.slices.back_mut() {
            Some(newest) if newest.index == index => newest.amount += amount,
            // Threads read the clock before they come here, so one may be late.
            Some(newest) if newest.index > index => match self.find(index) {
                Ok(place) => self.slices[place].amount += amount,
                Err(place) => self.slices.insert(place, Slice { index, amount }),
            },
            _ => self.slices.push_back(Slice { index, amount }),
        }
        self.sum += amount;
    }

    /// Replaces what was counted at that moment by what it really was. What is out of the window by now stays forgotten.
    pub(super) fn correct(&mut self, at: Moment, counted: u64, real: u64) {
        let index = self.index(at);
        match self.find(index) {
            Ok(place) => {
                let before = self.slices[place].amount;
                let rest = before.saturating_sub(counted);
                let after = rest + real.min(u64::MAX - (self.sum - before + rest));
                self.slices[place].amount = after;
                self.sum = self.sum - before + after;
            }
            // Nothing was counted, so no slice was made.
            Err(_)
                if counted == 0
                    && self.slices.back().is_none_or(|newest| newest.index <= index + SLICES_PER_WINDOW) =>
            {
                self.add(real, at);
            }
            Err(_) => {}
        }
    }

    /// How long until this much more fits under the maximum, when nothing else happens. Never longer than the window.
    pub(super) fn until_room(&mut self, amount: u64, max: u64, now: Moment) -> Duration {
        let mut excess = self.sum(now).saturating_add(amount).saturating_sub(max);
        let length = Duration::from_nanos(slice_nanoseconds(self.per) * SLICES_PER_WINDOW);
        if excess == 0 {
            return Duration::ZERO;
        }
        for slice in &self.slices {
            excess = excess.saturating_sub(slice.amount);
            if excess == 0 {
                return self.gone_at(slice.index).saturating_sub(now);
            }
        }
        length
    }

    /// How long until all of it is forgotten, when nothing else happens.
    pub(super) fn until_empty(&self, now: Moment) -> Duration {
        match self.slices.back() {
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

    fn find(&self, index: u64) -> Result<usize, usize> {
        match self.slices.back() {
            // Most calls end in the slice in which they began.
            Some(newest) if newest.index == index => Ok(self.slices.len() - 1),
            _ => self.slices.binary_search_by_key(&index, |slice| slice.index),
        }
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

const fn slice_nanoseconds(per: RatePeriod) -> u64 {
    (per.milliseconds() * 1_000_000).div_ceil(SLICES_PER_WINDOW)
}
