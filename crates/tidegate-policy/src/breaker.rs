//! The breaker of one target: closed while it works, open while it does not, half-open while a probe finds out.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Moment;
use crate::routing::Standing;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// So many failures in a row open it.
    pub run: u32,
    /// Over this time the share of failures is watched.
    pub window: Duration,
    /// With at least so many outcomes in the window …
    pub least_outcomes: usize,
    /// … this share of failures, in percent, opens it.
    pub failure_percent: usize,
    /// How long it stays open the first time; each failed probe doubles it.
    pub shortest_open: Duration,
    /// How long it stays open at most, so that traffic returns soon after a recovery.
    pub longest_open: Duration,
    /// Probes in flight at a time while half-open.
    pub probes: u32,
    /// After it closed the target must prove itself for so long: two failures in a row open it again.
    pub proving: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            run: 5,
            window: Duration::from_secs(10),
            least_outcomes: 20,
            failure_percent: 50,
            shortest_open: Duration::from_secs(1),
            // With a slow start of four seconds behind it, more than half of the traffic is back five seconds after a recovery.
            longest_open: Duration::from_secs(3),
            probes: 1,
            proving: Duration::from_secs(10),
        }
    }
}

/// The most outcomes remembered: beyond it the window is shorter than its time, which still is a fair sample.
const MOST_OUTCOMES: usize = 256;

/// A probe that took long makes the next one wait as long, but no longer than this: one caller in a while waits for a silent
/// target, and not one caller after the other.
const LONGEST_AFTER_SLOW_PROBE: Duration = Duration::from_secs(30);

/// Whoever failed last, though not often enough to open its breaker, and was left alone for so long since then is probed: those
/// who go by figures give it no calls, and without any it would never be seen that it works again. Longer where the failure
/// took long: who waits for a silent target is one caller in a while.
const LEFT_ALONE: Duration = Duration::from_secs(2);

/// So many failures in a row open a breaker that has just closed.
const RUN_WHILE_PROVING: u32 = 2;

/// Whether a target may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Yes.
    Closed,
    /// No, until then.
    Open {
        /// When a probe may go.
        until: Moment,
    },
    /// By a probe only.
    HalfOpen,
}

/// What an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comeback {
    /// Nothing.
    None,
    /// Failures after which the target was left alone; they say nothing any more
    /// ([`crate::routing::Figures::forgive`]).
    FromFailures,
    /// An outage: its slow start begins ([`crate::routing::Figures::recovered`]).
    FromOutage,
}

/// One target's breaker.
#[derive(Debug, Clone)]
pub struct Breaker {
    settings: BreakerSettings,
    outcomes: VecDeque<(Moment, bool)>,
    failures_in_window: usize,
    run: u32,
    /// When the first failure of the run was seen.
    run_since: Moment,
    open: Option<Opened>,
    /// When it last closed, and how long it had been open at a time.
    closed: Option<(Moment, Duration)>,
    /// When it was last asked, and when it last failed.
    asked_at: Moment,
    failed_at: Moment,
    /// For how long it is left alone then.
    left_alone: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Opened {
    since: Moment,
    until: Moment,
    lasted: Duration,
    probes_in_flight: u32,
    probed_at: Moment,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: BreakerSettings) -> Self {
        Self {
            settings,
            outcomes: VecDeque::new(),
            failures_in_window: 0,
            run: 0,
            run_since: Moment::ZERO,
            open: None,
            closed: None,
            asked_at: Moment::ZERO,
            failed_at: Moment::ZERO,
            left_alone: LEFT_ALONE,
        }
    }

    /// Its state at this moment.
    pub fn state(&self, now: Moment) -> BreakerState {
        match self.open {
            None => BreakerState::Closed,
            Some(open) if now < open.until => BreakerState::Open { until: open.until },
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// Whether the target may be asked now, without asking.
    pub fn is_ready(&self, now: Moment) -> bool {
        self.open.is_none_or(|open| now >= open.until && self.has_free_probe(open, now))
    }

    /// How it stands with the target, for [`crate::routing::rank`].
    pub fn standing(&self, now: Moment) -> Standing {
        match (self.open, self.is_ready(now)) {
            (None, _) if self.is_left_alone(now) => Standing::Probe,
            (None, _) => Standing::Ready,
            (Some(_), true) => Standing::Probe,
            (Some(_), false) => Standing::Out,
        }
    }

    /// Whether it failed last and nobody has asked it since.
    fn is_left_alone(&self, now: Moment) -> bool {
        self.run > 0 && now >= self.asked_at.max(self.failed_at).saturating_add(self.left_alone)
    }

    /// Somebody else's breaker of the same target is open for so long: this one does not find out by itself.
    pub fn hear_of_outage(&mut self, until: Moment, now: Moment) {
        let until = until.min(now.saturating_add(self.settings.longest_open));
        if let Some(open) = &mut self.open {
            open.until = open.until.max(until);
        } else {
            let lasted = self.settings.shortest_open;
            self.open = Some(Opened { since: now, until, lasted, probes_in_flight: 0, probed_at: now });
        }
    }

    /// Somebody has seen that the target is there again: if the breaker is open, a probe may go at once.
    pub fn probe_soon(&mut self, now: Moment) {
        if let Some(open) = &mut self.open {
            open.until = open.until.min(now);
        }
    }

    /// Says that the target is asked now. Takes a probe's place while half-open, or open, when it is asked as the last
    /// resort.
    pub fn begin(&mut self, now: Moment) {
        self.asked_at = now;
        if let Some(open) = &mut self.open {
            open.probes_in_flight = open.probes_in_flight.saturating_add(1);
            open.probed_at = now;
        }
    }

    /// The target answered a call that began then.
    pub fn succeed(&mut self, began: Moment, now: Moment) -> Comeback {
        if self.open.is_some_and(|open| began < open.since) {
            return Comeback::None;
        }
        if self.open.is_none() && began < self.run_since {
            // What began before the failures does not end their run, or the answers of an hour ago would keep a target in
            // play that has just died. It still speaks for it: quick failures overtake slow answers all the time.
            self.run = self.run.saturating_sub(1);
            self.note(now, false);
            return Comeback::None;
        }
        let was_left_alone = self.run > 0 && began >= self.failed_at.saturating_add(self.left_alone);
        self.run = 0;
        let was_open = self.open.take();
        if let Some(open) = was_open {
            // What failed before the recovery says nothing about the time after it.
            self.outcomes.clear();
            self.failures_in_window = 0;
            self.closed = Some((now, open.lasted));
        }
        self.note(now, false);
        match was_open {
            Some(_) => Comeback::FromOutage,
            None if was_left_alone => Comeback::FromFailures,
            None => Comeback::None,
        }
    }

    /// The target failed a call that began then, in a way that counts.
    pub fn fail(&mut self, began: Moment, now: Moment) {
        if self.run == 0 {
            self.run_since = now;
        }
        self.run = self.run.saturating_add(1);
        self.failed_at = now;
        self.left_alone = now.saturating_sub(began).clamp(LEFT_ALONE, LONGEST_AFTER_SLOW_PROBE);
        self.note(now, true);
        match self.open {
            // Calls that began before the breaker opened still come back; they say nothing new.
            Some(open) if began < open.since => {}
            Some(open) if now < open.until => self.abandon(),
            Some(open) => {
                let took = now.saturating_sub(open.probed_at).min(LONGEST_AFTER_SLOW_PROBE);
                let lasted = self.longer(open.lasted);
                self.open_for(lasted, now + lasted.max(took), now);
            }
            None => {
                let proving = self.closed.filter(|&(at, _)| now < at + self.settings.proving);
                let is_too_bad = self.is_too_bad() || (proving.is_some() && self.run >= RUN_WHILE_PROVING);
                if is_too_bad {
                    // One that comes and goes is not trusted anew every time.
                    let lasted =
                        proving.map_or(self.settings.shortest_open, |(_, lasted)| self.longer(lasted));
                    self.open_for(lasted, now + lasted, now);
                }
            }
        }
    }

    /// An attempt ended without saying anything about the target (the caller hung up, the request was bad).
    pub fn abandon(&mut self) {
        if let Some(open) = &mut self.open {
            open.probes_in_flight = open.probes_in_flight.saturating_sub(1);
        }
    }

    /// How bad the target is, for choosing the least bad when none is ready: the moment from which it may be probed. One that
    /// was just asked goes behind the others, else all calls would ask the same one until it is due, and nobody would notice
    /// that another is there again.
    pub fn ready_at(&self) -> Moment {
        self.open.map_or(Moment::ZERO, |open| open.until.max(open.probed_at.saturating_add(open.lasted)))
    }

    /// A probe that never came back does not block its place for ever.
    fn has_free_probe(&self, open: Opened, now: Moment) -> bool {
        open.probes_in_flight < self.settings.probes
            || now >= open.probed_at + self.settings.longest_open.saturating_mul(2)
    }

    fn longer(&self, lasted: Duration) -> Duration {
        lasted.saturating_mul(2).min(self.settings.longest_open)
    }

    fn open_for(&mut self, lasted: Duration, until: Moment, now: Moment) {
        self.open = Some(Opened { since: now, until, lasted, probes_in_flight: 0, probed_at: now });
    }

    fn note(&mut self, now: Moment, failed: bool) {
        self.outcomes.push_back((now, failed));
        self.failures_in_window += usize::from(failed);
        while let Some(&(at, failed)) = self.outcomes.front() {
            if self.outcomes.len() <= MOST_OUTCOMES && at + self.settings.window >= now {
                break;
            }
            self.outcomes.pop_front();
            self.failures_in_window -= usize::from(failed);
        }
    }

    fn is_too_bad(&self) -> bool {
        self.run >= self.settings.run
            || (self.outcomes.len() >= self.settings.least_outcomes
                && self.failures_in_window * 100 >= self.outcomes.len() * self.settings.failure_percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Moment {
        Moment::from_millis(milliseconds)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(BreakerSettings::default());
        for _ in 0..5 {
            assert!(breaker.is_ready(at(0)));
            breaker.fail(at(0), at(0));
        }
        breaker
    }

    #[test]
    fn a_run_of_failures_opens_it_and_a_good_probe_closes_it() {
        let mut breaker = opened();
        assert_eq!(breaker.state(at(999)), BreakerState::Open { until: at(1000) });
        assert!(!breaker.is_ready(at(999)));
        assert!(breaker.is_ready(at(1000)));
        breaker.begin(at(1000));
        assert!(!breaker.is_ready(at(1001)), "one probe at a time");
        breaker.succeed(at(1100), at(1100));
        assert_eq!(breaker.state(at(1100)), BreakerState::Closed);
        breaker.fail(at(1200), at(1200));
        assert_eq!(breaker.state(at(1200)), BreakerState::Closed, "the past is forgotten");
    }

    #[test]
    fn who_failed_last_and_was_left_alone_since_is_probed_by_one_call_at_a_time() {
        let mut breaker = Breaker::new(BreakerSettings::default());
        breaker.begin(at(0));
        breaker.fail(at(0), at(10));
        assert_eq!(breaker.standing(at(2_009)), Standing::Ready);
        assert_eq!(breaker.standing(at(2_010)), Standing::Probe);
        breaker.begin(at(2_010));
        assert_eq!(breaker.standing(at(2_011)), Standing::Ready, "the others go by its figures");
        breaker.fail(at(2_010), at(2_020));
        assert_eq!(breaker.standing(at(4_020)), Standing::Probe);
        breaker.begin(at(4_020));
        assert_eq!(breaker.succeed(at(4_020), at(4_100)), Comeback::FromFailures);
        assert_eq!(breaker.standing(at(9_000)), Standing::Ready);
        breaker.fail(at(9_000), at(9_001));
        assert_eq!(breaker.succeed(at(9_001), at(9_100)), Comeback::None, "one failure among answers");
    }

    #[test]
    fn failed_probes_double_the_time_up_to_the_longest() {
        let mut breaker = opened();
        let mut now = at(1000);
        for expected in [2000, 3000, 3000] {
            breaker.begin(now);
            breaker.fail(now, now);
            assert_eq!(breaker.state(now), BreakerState::Open { until: now + at(expected) });
            now += at(expected);
        }
    }

    #[test]
    fn half_of_the_outcomes_failing_opens_it_without_a_run() {
        let mut breaker = Breaker::new(BreakerSettings::default());
        for step in 0..20 {
            assert_eq!(breaker.state(at(step)), BreakerState::Closed);
            if step % 2 == 0 {
                breaker.succeed(at(step), at(step));
            } else {
                breaker.fail(at(step), at(step));
            }
        }
        assert_ne!(breaker.state(at(20)), BreakerState::Closed);
    }

    #[test]
    fn failures_older_than_the_window_do_not_count() {
        let mut breaker = Breaker::new(BreakerSettings::default());
        for step in 0..40 {
            breaker.succeed(at(step * 6_000), at(step * 6_000));
            breaker.fail(at(step * 6_000), at(step * 6_000));
        }
        assert_eq!(breaker.state(at(40 * 6_000)), BreakerState::Closed);
    }

    #[test]
    fn a_probe_that_was_abandoned_or_never_came_back_frees_its_place() {
        let mut breaker = opened();
        breaker.begin(at(1000));
        breaker.abandon();
        assert!(breaker.is_ready(at(1001)));
        breaker.begin(at(1001));
        assert!(!breaker.is_ready(at(5000)));
        assert!(breaker.is_ready(at(1001 + 6000)));
    }

    #[test]
    fn answers_and_failures_of_calls_from_before_change_nothing() {
        let mut breaker = Breaker::new(BreakerSettings::default());
        for _ in 0..5 {
            breaker.fail(at(0), at(100));
        }
        assert_eq!(breaker.succeed(at(50), at(500)), Comeback::None);
        assert_eq!(breaker.state(at(500)), BreakerState::Open { until: at(1100) });
        breaker.fail(at(50), at(1500));
        assert_eq!(breaker.state(at(1500)), BreakerState::HalfOpen, "that was no probe");
        breaker.begin(at(1500));
        assert_eq!(breaker.succeed(at(1500), at(1600)), Comeback::FromOutage);
    }

    #[test]
    fn late_answers_from_before_a_death_delay_its_notice_by_one_failure_each() {
        let mut breaker = Breaker::new(BreakerSettings::default());
        let mut failures = 0;
        while breaker.is_ready(at(1000)) {
            breaker.fail(at(1000), at(1000));
            failures += 1;
            if failures % 3 == 0 {
                breaker.succeed(at(200), at(1000));
            }
        }
        assert!(failures < 8, "{failures}");
    }

    #[test]
    fn a_last_resort_that_answers_closes_it_and_one_that_fails_leaves_the_probe_its_place() {
        let mut breaker = opened();
        breaker.begin(at(100));
        breaker.fail(at(200), at(200));
        assert!(breaker.is_ready(at(1000)));
        breaker.begin(at(300));
        assert_eq!(breaker.succeed(at(400), at(400)), Comeback::FromOutage);
        assert_eq!(breaker.state(at(400)), BreakerState::Closed);
    }

    #[test]
    fn one_that_was_asked_as_a_last_resort_is_no_longer_the_least_bad() {
        let (mut one, mut other) = (opened(), Breaker::new(BreakerSettings::default()));
        for _ in 0..5 {
            other.fail(at(100), at(100));
        }
        let mut asked = Vec::new();
        for moment in [200, 300, 400, 500] {
            let is_one = one.ready_at() <= other.ready_at();
            let breaker = if is_one { &mut one } else { &mut other };
            breaker.begin(at(moment));
            breaker.fail(at(moment), at(moment + 10));
            asked.push(is_one);
        }
        assert_eq!(asked, [true, false, true, false]);
        assert!(one.is_ready(at(1000)) && other.is_ready(at(1100)), "their probes are not put off by that");
    }

    #[test]
    fn one_that_comes_and_goes_opens_sooner_and_for_longer() {
        let mut breaker = opened();
        breaker.begin(at(1000));
        assert_eq!(breaker.succeed(at(1000), at(1000)), Comeback::FromOutage);
        breaker.fail(at(2000), at(2000));
        assert_eq!(breaker.state(at(2000)), BreakerState::Closed, "one failure is nothing");
        breaker.fail(at(2001), at(2001));
        assert_eq!(breaker.state(at(2001)), BreakerState::Open { until: at(4001) });
        breaker.begin(at(4001));
        assert_eq!(breaker.succeed(at(4001), at(4001)), Comeback::FromOutage);
        breaker.fail(at(20_000), at(20_000));
        breaker.fail(at(20_000), at(20_000));
        assert_eq!(breaker.state(at(20_000)), BreakerState::Closed, "it has proved itself");
    }

    #[test]
    fn a_probe_that_hangs_makes_the_next_one_wait_as_long() {
        let mut breaker = opened();
        breaker.begin(at(1000));
        breaker.fail(at(13_000), at(13_000));
        assert!(!breaker.is_ready(at(24_999)));
        assert!(breaker.is_ready(at(25_000)));
        breaker.begin(at(25_000));
        breaker.fail(at(600_000), at(600_000));
        assert!(breaker.is_ready(at(630_000)), "but not for ever");
    }
}
