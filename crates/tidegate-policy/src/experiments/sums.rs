//! What is remembered of the calls of an arm: sums of a fixed size, updated in constant time, that can be added up over
//! replicas in any order.
//!
//! Mean and squared deviations are kept by Welford's method and merged by Chan's, so that many large values lose no
//! digits. Values with long tails (latency, cost, tokens) are kept twice: as logarithms, on which arms are compared, and
//! as they are, for the plain mean that a bill is made of.
//!
//! Calls of one session or user are alike: a hundred calls of one slow conversation say less than a hundred
//! conversations. So each observation also goes to one of a few clusters, chosen by a hash of its unit. Whether cluster
//! means differ by more than chance tells how much less ([`Sums::effect`], the design effect of survey statistics, by
//! the method of random groups).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::metric::{Metric, Scale};
use super::numbers::{real, stable_hash};

/// How many clusters there are: enough to judge the spread between them within some 20 %, few enough to be stored.
const CLUSTERS: usize = 64;

/// With fewer clusters seen than this, nothing is known of how different units are: each counts as a single value then.
const LEAST_CLUSTERS: u64 = 8;

/// Which cluster a unit belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cluster(u8);

impl Cluster {
    /// The cluster of a unit (session, user, key). Not needed where each call is a unit of its own.
    pub fn of(unit: &[u8]) -> Self {
        let [lowest, ..] = stable_hash(&[b"cluster", unit]).to_le_bytes();
        Self(lowest % 64)
    }
}

/// What was seen of one call. What is not known or does not apply is left out.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Observation {
    /// Whether the call failed at the target (a caller who hung up or asked for nonsense is not a failure).
    pub failed: bool,
    /// Its cost in nano-dollars, where the price is known. Failed calls cost something only if they are billed.
    pub cost_nanos: Option<u64>,
    /// Time to the first token, of an answered call.
    pub first_token: Option<Duration>,
    /// Time to the end, of an answered call.
    pub latency: Option<Duration>,
    /// Tokens of the answer, of an answered call.
    pub output_tokens: Option<u64>,
}

/// The sums of one arm: of all metrics.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ArmSums {
    errors: Sums,
    cost: Sums,
    first_token: Sums,
    latency: Sums,
    output_tokens: Sums,
    feedback: Sums,
}

impl ArmSums {
    /// Adds a call. The cluster is that of its unit, `None` where each call is a unit.
    pub fn observe(&mut self, seen: &Observation, cluster: Option<Cluster>) {
        self.add(Metric::Errors, if seen.failed { 1.0 } else { 0.0 }, cluster);
        if let Some(cost) = seen.cost_nanos {
            self.add(Metric::Cost, real(cost), cluster);
        }
        if let Some(time) = seen.first_token {
            self.add(Metric::FirstToken, time.as_secs_f64() * 1000.0, cluster);
        }
        if let Some(time) = seen.latency {
            self.add(Metric::Latency, time.as_secs_f64() * 1000.0, cluster);
        }
        if let Some(tokens) = seen.output_tokens {
            self.add(Metric::OutputTokens, real(tokens), cluster);
        }
    }

    /// Adds what somebody said of a call, from 0 to 1.
    pub fn feedback(&mut self, score: f64, cluster: Option<Cluster>) {
        self.add(Metric::Feedback, score, cluster);
    }

    /// Adds one value of one metric.
    pub fn add(&mut self, metric: Metric, value: f64, cluster: Option<Cluster>) {
        self.sums_mut(metric).add(metric, value, cluster);
    }

    /// Adds the sums of another replica or of another time.
    pub fn merge(&mut self, other: &Self) {
        for metric in Metric::ALL {
            self.sums_mut(metric).merge(other.of(metric));
        }
    }

    /// The sums of one metric.
    pub fn of(&self, metric: Metric) -> &Sums {
        match metric {
            Metric::Errors => &self.errors,
            Metric::Cost => &self.cost,
            Metric::FirstToken => &self.first_token,
            Metric::Latency => &self.latency,
            Metric::OutputTokens => &self.output_tokens,
            Metric::Feedback => &self.feedback,
        }
    }

    /// The calls seen: every call either failed or did not.
    pub fn calls(&self) -> u64 {
        self.errors.count
    }

    fn sums_mut(&mut self, metric: Metric) -> &mut Sums {
        match metric {
            Metric::Errors => &mut self.errors,
            Metric::Cost => &mut self.cost,
            Metric::FirstToken => &mut self.first_token,
            Metric::Latency => &mut self.latency,
            Metric::OutputTokens => &mut self.output_tokens,
            Metric::Feedback => &mut self.feedback,
        }
    }
}

/// The sums of one metric in one arm.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sums {
    /// How many values.
    count: u64,
    /// Their mean and squared deviations on the scale of comparison.
    compared: Moments,
    /// The same of the values as they are.
    plain: Moments,
    /// The squared distances of values from what was expected before each: the mean so far. A value that was expected
    /// without having been seen makes exact statements possible (see `evidence`).
    surprise: f64,
    /// The least and the largest value.
    range: Option<(f64, f64)>,
    /// Count and sum on the scale of comparison, by cluster; empty where calls are units.
    clusters: Vec<(u64, f64)>,
}

/// Mean and sum of squared deviations from it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Moments {
    mean: f64,
    deviations: f64,
}

impl Sums {
    fn add(&mut self, metric: Metric, value: f64, cluster: Option<Cluster>) {
        let Some(compared) = metric.to_scale(value) else {
            return;
        };
        let value = if metric.scale() == Scale::Points { compared } else { value };
        let before = real(self.count);
        // Half a value at the middle of the scale: something must be expected of the first.
        let expected = (0.5 + self.compared.mean * before) / (1.0 + before);
        self.surprise += (compared - expected).powi(2);
        self.count += 1;
        self.compared.add(compared, before + 1.0);
        self.plain.add(value, before + 1.0);
        let (least, most) = self.range.unwrap_or((value, value));
        self.range = Some((least.min(value), most.max(value)));
        if let Some(Cluster(index)) = cluster {
            if self.clusters.len() != CLUSTERS {
                self.clusters.resize(CLUSTERS, (0, 0.0));
            }
            if let Some((count, sum)) = self.clusters.get_mut(usize::from(index)) {
                *count += 1;
                *sum += compared;
            }
        }
    }

    /// Adds other sums of the same metric.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        let (mine, theirs) = (real(self.count), real(other.count));
        self.compared.merge(mine, other.compared, theirs);
        self.plain.merge(mine, other.plain, theirs);
        self.surprise += other.surprise;
        self.count += other.count;
        self.range = match (self.range, other.range) {
            (Some((least, most)), Some((other_least, other_most))) => {
                Some((least.min(other_least), most.max(other_most)))
            }
            (mine, theirs) => mine.or(theirs),
        };
        if self.clusters.len() < other.clusters.len() {
            self.clusters.resize(other.clusters.len().min(CLUSTERS), (0, 0.0));
        }
        for ((count, sum), (other_count, other_sum)) in self.clusters.iter_mut().zip(&other.clusters) {
            *count += other_count;
            *sum += other_sum;
        }
    }

    /// How many values were seen.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The plain mean of the values; `None` without any.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.plain.mean)
    }

    /// The plain standard deviation of the values; `None` below two.
    pub fn deviation(&self) -> Option<f64> {
        (self.count > 1).then(|| (self.plain.deviations / real(self.count - 1)).sqrt())
    }

    /// The least and the largest value.
    pub fn range(&self) -> Option<(f64, f64)> {
        self.range
    }

    /// How many calls say as much as one that is a unit of its own: 1 where calls of a unit are not alike, or are units
    /// themselves.
    pub fn effect(&self) -> f64 {
        if self.clusters.is_empty() || self.count == 0 {
            return 1.0;
        }
        let all = real(self.count);
        let seen = real(self.clusters_seen());
        let alone = self.alone();
        if !self.has_enough_clusters() {
            return (all / (seen + alone)).max(1.0);
        }
        if self.compared.deviations <= 0.0 {
            return 1.0;
        }
        let from_mean = |(count, sum): &(u64, f64)| (sum - real(*count) * self.compared.mean).powi(2);
        let between: f64 = self.clusters.iter().map(from_mean).sum();
        (between * seen / (seen - 1.0) / self.compared.deviations + alone / all).max(1.0)
    }

    /// How many units these values are from, as far as clusters tell; `None` where each call is one.
    pub(super) fn units(&self) -> Option<f64> {
        (!self.clusters.is_empty()).then(|| real(self.clusters_seen()) + self.alone())
    }

    /// Calls without session, user or key stand for themselves, even where others have one.
    fn alone(&self) -> f64 {
        real(self.count) - real(self.clusters.iter().map(|(count, _)| count).sum())
    }

    /// Whether enough units were seen to judge how different they are; always, where calls are units.
    pub(super) fn has_enough_clusters(&self) -> bool {
        self.clusters.is_empty() || self.clusters_seen() >= LEAST_CLUSTERS
    }

    fn clusters_seen(&self) -> u64 {
        self.clusters.iter().filter(|(count, _)| *count > 0).count() as u64
    }

    pub(super) fn compared_mean(&self) -> f64 {
        self.compared.mean
    }

    /// The variance of a single value on the scale of comparison.
    pub(super) fn compared_variance(&self) -> f64 {
        if self.count < 2 { 0.0 } else { self.compared.deviations / real(self.count - 1) }
    }

    pub(super) fn plain_variance(&self) -> f64 {
        if self.count < 2 { 0.0 } else { self.plain.deviations / real(self.count - 1) }
    }

    pub(super) fn surprise(&self) -> f64 {
        self.surprise
    }
}

impl Moments {
    fn add(&mut self, value: f64, count: f64) {
        let distance = value - self.mean;
        self.mean += distance / count;
        self.deviations += distance * (value - self.mean);
    }

    fn merge(&mut self, mine: f64, other: Self, theirs: f64) {
        let distance = other.mean - self.mean;
        let both = mine + theirs;
        self.mean += distance * theirs / both;
        self.deviations += other.deviations + distance * distance * mine * theirs / both;
    }
}
