//! Traffic to experiment with: random, and the same in every run.

use tidegate_policy::experiments::{ArmSums, Cluster, Metric, assign};

/// A stream of random numbers that begins the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x0123_4567_89ab_cdef);
        random.next();
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In `0.0..1.0`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// Where the values of an arm come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    /// 1 with this probability, otherwise 0.
    Chance(f64),
    /// One to five stars, as scores from 0 to 1, with these probabilities.
    Stars([f64; 5]),
    /// Positive with a long tail: what a typical value is, and the deviation of the logarithm.
    LongTail(f64, f64),
    /// The same, but this part of all values is 0.
    OftenFree(f64, f64, f64),
    /// The same, but with this probability so many times as much.
    RarelyDear(f64, f64, f64, f64),
    /// Long-tailed, but half of the deviation belongs to the session.
    SlowSessions(f64, f64),
    /// Failures, which come in sessions: this share of sessions fails in half of its calls, the others never.
    BadSessions(f64),
}

impl Source {
    /// A value; `session` is normal and the same for all calls of a session.
    pub(crate) fn draw(&self, random: &mut Random, session: f64) -> f64 {
        match *self {
            Self::Chance(probability) => f64::from(u8::from(random.uniform() < probability)),
            Self::Stars(probabilities) => {
                let mut point = random.uniform();
                let mut score: f64 = 0.0;
                for probability in probabilities {
                    if point < probability {
                        break;
                    }
                    point -= probability;
                    score += 0.25;
                }
                score.min(1.0)
            }
            Self::LongTail(typical, deviation) => typical * (deviation * random.normal()).exp(),
            Self::OftenFree(part, typical, deviation) => {
                if random.uniform() < part {
                    0.0
                } else {
                    typical * (deviation * random.normal()).exp()
                }
            }
            Self::RarelyDear(part, times, typical, deviation) => {
                let factor = if random.uniform() < part { times } else { 1.0 };
                factor * typical * (deviation * random.normal()).exp()
            }
            Self::SlowSessions(typical, deviation) => {
                typical * (deviation * (0.707 * session + 0.707 * random.normal())).exp()
            }
            Self::BadSessions(share) => {
                // The share as a quantile of the session's normal number, roughly: 1.645 is the upper 5 %.
                let bad = if share >= 0.05 { 1.645 } else { 2.326 };
                f64::from(u8::from(session > bad && random.uniform() < 0.5))
            }
        }
    }
}

/// Whose calls these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Units {
    /// Each call is a unit.
    Calls,
    /// Sessions of ten calls on average, some at a time; the statistics know of them.
    Sessions,
    /// The same, but the statistics take each call for a unit.
    SessionsUnknown,
}

/// Two arms under traffic.
pub(crate) struct Traffic {
    random: Random,
    units: Units,
    active: Vec<Session>,
    /// The share of the arm.
    pub(crate) share: f64,
    pub(crate) control: ArmSums,
    pub(crate) arm: ArmSums,
}

#[derive(Debug, Clone, Copy)]
struct Session {
    id: u64,
    effect: f64,
}

/// Sessions at the same time.
const ACTIVE: u64 = 20;

impl Traffic {
    pub(crate) fn new(seed: u64, units: Units, share: f64) -> Self {
        let mut random = Random::new(seed);
        let active = (0..ACTIVE).map(|_| Session::new(&mut random)).collect();
        Self { random, units, active, share, control: ArmSums::default(), arm: ArmSums::default() }
    }

    /// One more call: a value of the control or of the arm.
    pub(crate) fn call(&mut self, metric: Metric, control: &Source, arm: &Source) {
        if self.units == Units::Calls {
            let is_arm = self.random.uniform() < self.share;
            let (source, sums) = if is_arm { (arm, &mut self.arm) } else { (control, &mut self.control) };
            sums.add(metric, source.draw(&mut self.random, 0.0), None);
            return;
        }
        let place = usize::try_from(self.random.next() % ACTIVE).unwrap();
        if self.random.uniform() < 0.1 {
            self.active[place] = Session::new(&mut self.random);
        }
        let session = self.active[place];
        let unit = session.id.to_le_bytes();
        let weights = [("control", 1.0 - self.share), ("arm", self.share)];
        let is_arm = assign(&unit, "simulation", weights) == Some(1);
        let cluster = (self.units == Units::Sessions).then(|| Cluster::of(&unit));
        let (source, sums) = if is_arm { (arm, &mut self.arm) } else { (control, &mut self.control) };
        sums.add(metric, source.draw(&mut self.random, session.effect), cluster);
    }
}

impl Session {
    fn new(random: &mut Random) -> Self {
        Self { id: random.next(), effect: random.normal() }
    }
}
