//! All that is counted for one level, and the arithmetic of reserving and settling. The store's limiter keeps one for each
//! level in memory; the script for Redis does the same there.

use std::cell::Cell;
use std::time::Duration;

use smallvec::SmallVec;
use tidegate_catalog::NanoDollars;

use super::account::Accounts;
use super::window::Window;
use super::{
    Amounts, Budget, BudgetKind, BudgetPeriod, Limits, LimitsUsage, Measure, PeriodStart, RateLimit,
    RatePeriod, RateUsage, RecentCalls, Remaining, Room, Shortage, Spending,
};
use crate::Moment;

/// When a caller may try again who has too many calls in flight: nobody knows when one of them ends.
pub const IN_FLIGHT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Calls that are longer ago matter to no window.
const LONGEST_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// A moment as counters see it: on the monotonic clock for windows, in the calendar for budgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    moment: Moment,
    starts: [PeriodStart; 5],
}

impl Stamp {
    /// This moment, which the calendar calls so many seconds since 1970.
    pub fn new(moment: Moment, unix_seconds: i64) -> Self {
        // No period begins within an hour, and each call has a stamp or two.
        thread_local! {
            static LATEST: Cell<Option<(i64, [PeriodStart; 5])>> = const { Cell::new(None) };
        }
        let hour = BudgetPeriod::Hour.start(unix_seconds);
        let starts = match LATEST.get() {
            Some((known, starts)) if known == hour => starts,
            _ => {
                let starts = BudgetPeriod::ALL.map(|period| period.start(unix_seconds));
                LATEST.set(Some((hour, starts)));
                starts
            }
        };
        Self { moment, starts }
    }

    /// The moment on the monotonic clock.
    pub fn moment(&self) -> Moment {
        self.moment
    }
}

/// What one level has in flight, did lately and spends.
///
/// Cost is counted in every calendar period, limited or not, so that a budget that comes later knows what was spent.
/// Windows exist for the limits that calls bring along, by what they measure and over how long; so limits may change from
/// call to call and are in force at once.
///
/// What every call changes comes first.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Counters {
    in_flight: u64,
    accounts: Accounts,
    windows: Vec<(Measure, Window)>,
    /// What was known at the start of the time before it, for windows that are not there yet.
    recent: Box<[(Moment, RecentCalls)]>,
}

/// The windows in which a call counts, to be set right when it is over: limits may be others by then.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TakenWindows {
    /// Those of requests.
    requests: SmallVec<[RatePeriod; 4]>,
    /// Those of tokens, and what it counts in each.
    tokens: SmallVec<[(RatePeriod, u64); 1]>,
}

impl TakenWindows {
    /// Of a call that takes so much under these limits.
    pub fn of(limits: &Limits, amounts: Amounts) -> Self {
        let tokens = RateLimit::windows(&limits.tokens);
        Self {
            requests: RateLimit::windows(&limits.requests).map(|limit| limit.per).collect(),
            tokens: tokens.map(|limit| (limit.per, limit.cut(amounts.tokens))).collect(),
        }
    }
}

impl Counters {
    /// Learns what was spent and done before this moment. What it already counted itself stays where that is more.
    pub fn restore(&mut self, spending: &Spending, now: &Stamp) {
        for period in BudgetPeriod::ALL {
            self.accounts.restore(period, period.start(spending.as_of), spending.in_period(period));
        }
        let recent = spending.recent.iter().filter(|calls| calls.age <= LONGEST_WINDOW);
        self.recent = recent.map(|calls| (now.moment.saturating_sub(calls.age), *calls)).collect();
        self.recent.sort_by_key(|(moment, _)| *moment);
    }

    /// Whether there is room for a call. Changes nothing that is counted.
    pub fn check(&mut self, limits: &Limits, amounts: Amounts, now: &Stamp) -> Result<(), Shortage> {
        self.accounts.roll(&now.starts);
        for budget in &limits.budgets {
            self.accounts.check(budget, amounts.cost)?;
        }
        for limit in RateLimit::windows(&limits.requests) {
            self.check_window(Measure::Requests, limit, 1, now)?;
        }
        for limit in RateLimit::windows(&limits.tokens) {
            self.check_window(Measure::Tokens, limit, limit.cut(amounts.tokens), now)?;
        }
        match limits.in_flight {
            Some(limit) if self.in_flight >= u64::from(limit) => Err(Shortage::Rate {
                measure: Measure::InFlight,
                limit: u64::from(limit),
                per: None,
                retry_after: IN_FLIGHT_RETRY_AFTER,
            }),
            _ => Ok(()),
        }
    }

    /// Takes the room for a call for which [`check`](Self::check) found it, at the same moment. Narrows `room` to what is
    /// left here, and reports the soft budgets that turn out to be used up.
    pub fn take(
        &mut self,
        limits: &Limits,
        amounts: Amounts,
        now: &Stamp,
        room: &mut Room,
        mut used_up: impl FnMut(&Budget),
    ) {
        self.in_flight += 1;
        self.accounts.hold(amounts.cost);
        for budget in &limits.budgets {
            match budget.kind {
                BudgetKind::Hard => room.narrow_budget(self.accounts.room(budget)),
                BudgetKind::Soft if self.accounts.is_newly_used_up(budget) => used_up(budget),
                BudgetKind::Soft => {}
            }
        }
        for limit in RateLimit::windows(&limits.requests) {
            self.take_window(Measure::Requests, limit, 1, now, room);
        }
        for limit in RateLimit::windows(&limits.tokens) {
            self.take_window(Measure::Tokens, limit, limit.cut(amounts.tokens), now, room);
        }
    }

    /// Replaces what a call took at that moment by what it really was; by nothing at all, when it is `None`.
    ///
    /// `held`: the cost for which it asked then.
    pub fn settle(&mut self, taken: &TakenWindows, held: NanoDollars, at: &Stamp, real: Option<Amounts>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let cost = real.map_or(NanoDollars::ZERO, |real| real.cost);
        self.accounts.settle(&at.starts, held, cost);
        for (measure, window) in &mut self.windows {
            let per = window.per();
            match (*measure, real) {
                (Measure::Tokens, real) => {
                    if let Some((_, counted)) = taken.tokens.iter().find(|counted| counted.0 == per) {
                        window.correct(at.moment, *counted, real.map_or(0, |real| real.tokens));
                    }
                }
                (Measure::Requests, None) if taken.requests.contains(&per) => {
                    window.correct(at.moment, 1, 0);
                }
                _ => {}
            }
        }
    }

    /// How far these limits are used.
    pub fn usage(&mut self, limits: &Limits, now: &Stamp) -> LimitsUsage {
        self.accounts.roll(&now.starts);
        LimitsUsage {
            in_flight: self.in_flight,
            in_flight_limit: limits.in_flight,
            requests: limits
                .requests
                .iter()
                .map(|limit| self.rate_usage(Measure::Requests, *limit, now))
                .collect(),
            tokens: limits.tokens.iter().map(|limit| self.rate_usage(Measure::Tokens, *limit, now)).collect(),
            budgets: limits.budgets.iter().map(|budget| self.accounts.usage(budget)).collect(),
        }
    }

    /// Forgets windows in which nothing is left.
    pub fn tidy(&mut self, now: &Stamp) {
        self.windows.retain_mut(|(_, window)| !window.is_idle(now.moment));
        if self.recent.last().is_some_and(|(moment, _)| *moment + LONGEST_WINDOW < now.moment) {
            self.recent = Box::default();
        }
    }

    /// Whether nothing is in flight, so that nobody will come to settle.
    pub fn is_at_rest(&self) -> bool {
        self.in_flight == 0
    }

    fn check_window(
        &mut self,
        measure: Measure,
        limit: RateLimit,
        amount: u64,
        now: &Stamp,
    ) -> Result<(), Shortage> {
        let window = self.window(measure, limit.per, now.moment);
        if window.sum(now.moment).saturating_add(amount) <= limit.max {
            return Ok(());
        }
        let retry_after = window.until_room(amount, limit.max, now.moment);
        Err(Shortage::Rate { measure, limit: limit.max, per: Some(limit.per), retry_after })
    }

    fn take_window(&mut self, measure: Measure, limit: RateLimit, amount: u64, now: &Stamp, room: &mut Room) {
        let window = self.window(measure, limit.per, now.moment);
        window.add(amount, now.moment);
        let remaining = limit.max.saturating_sub(window.latest_sum());
        let reset_after = window.until_empty(now.moment);
        room.narrow(measure, Remaining { limit: limit.max, remaining, reset_after });
    }

    fn rate_usage(&mut self, measure: Measure, limit: RateLimit, now: &Stamp) -> RateUsage {
        let window = self.window(measure, limit.per, now.moment);
        let used = window.sum(now.moment);
        let reset_after = window.until_empty(now.moment);
        RateUsage { limit, used, remaining: limit.max.saturating_sub(used), reset_after }
    }

    fn window(&mut self, measure: Measure, per: RatePeriod, now: Moment) -> &mut Window {
        let place = self.windows.iter().position(|known| known.0 == measure && known.1.per() == per);
        let place = place.unwrap_or_else(|| {
            // A million keys have one or two each.
            self.windows.reserve_exact(1);
            self.windows.push((measure, window_of(measure, per, &self.recent, now)));
            self.windows.len() - 1
        });
        &mut self.windows[place].1
    }
}

/// A window with what is known of the time before the start.
fn window_of(measure: Measure, per: RatePeriod, recent: &[(Moment, RecentCalls)], now: Moment) -> Window {
    let mut window = Window::new(per);
    for (moment, calls) in recent {
        window.add(if measure == Measure::Tokens { calls.tokens } else { calls.requests }, *moment);
    }
    window.sum(now);
    window
}
