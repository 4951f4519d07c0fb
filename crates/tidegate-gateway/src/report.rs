//! How every target is doing, as operators see it: for `/admin/v1/targets` and the metrics. Reads what `plan` and
//! `attempt` go by.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use tidegate_policy::routing::Answering;
use tidegate_policy::{BreakerState, Moment, Readiness};
use tidegate_wire::FailureKind;

use crate::clock::Clock;
use crate::health_check::CheckResults;
use crate::plan::entries::Entry;
use crate::provider::{Key, Provider, Target};
use crate::snapshot::Snapshot;

/// How a target is doing.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Target")]
pub struct TargetReport {
    /// `provider/upstream-model`.
    pub target: String,
    /// The provider's configured name.
    pub provider: String,
    /// The provider's own name of the model.
    pub upstream_model: String,
    /// The entries of `models:` behind which it stands.
    pub models: Vec<String>,
    /// Whether it is asked.
    pub state: TargetState,
    /// The kind of failure that put it into this state, unless it is closed.
    pub because: Option<String>,
    /// Until when it stays in this state at most, unless it is closed.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub until: Option<Timestamp>,
    /// What was last held against it, however long ago.
    pub last_failure: Option<LastFailure>,
    /// The time to its first token by now: it rises with one slow call and comes down with time. Null with no call yet.
    pub time_to_first_token_ms: Option<f64>,
    /// Of 100 streams, 95 begin within this time. Null with too few to tell.
    pub p95_time_to_first_token_ms: Option<f64>,
    /// Of 100 whole answers, 95 are there within this time. Null with too few to tell.
    pub p95_whole_answer_ms: Option<f64>,
    /// Tokens a second, once it speaks.
    pub tokens_per_second: Option<f64>,
    /// The share of its latest calls that failed: 0 to 1.
    pub error_rate: f64,
    /// Calls in flight there, those included that it is answering.
    pub in_flight: u32,
    /// Calls that it was asked for since the start.
    pub calls: u64,
    /// The share of its traffic that it is given by now: below 1 while it is new or has just recovered.
    pub warmth: f64,
    /// How its provider's keys are doing.
    pub keys: Vec<KeyReport>,
    /// What came of the latest health check of its provider. Null where none was made.
    pub health_check: Option<HealthCheckReport>,
}

/// What came of a health check.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "HealthCheck")]
pub struct HealthCheckReport {
    /// When it was made.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// Whether the provider answered it as it should.
    pub ok: bool,
    /// What was wrong.
    pub problem: Option<String>,
}

/// Whether a target is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetState {
    /// It is.
    Closed,
    /// It failed too often and is left alone for a while.
    Open,
    /// It failed too often, and single calls find out whether it works again.
    HalfOpen,
    /// Every key of its provider has to wait.
    Cooling,
    /// Its model or every key of its provider was refused.
    Out,
}

impl TargetState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Cooling => "cooling",
            Self::Out => "out",
        }
    }
}

/// A failure of a target or key.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LastFailure {
    /// Its kind, as in the table of failures.
    pub kind: String,
    /// When it was.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
}

/// How a provider's key is doing.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "TargetKey")]
pub struct KeyReport {
    /// What the ledger calls it; empty where the provider needs none.
    pub label: String,
    /// Whether it is used.
    pub state: KeyState,
    /// Until when it is not, unless it is ready.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub until: Option<Timestamp>,
    /// What was last held against it.
    pub last_failure: Option<LastFailure>,
    /// The share of the provider's own limits that is left for this target by now: 0 to 1. Null where its answers say
    /// nothing of any.
    pub headroom: Option<f64>,
}

/// Whether a provider's key is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "TargetKeyState")]
pub enum KeyState {
    /// It is.
    Ready,
    /// Its provider's rate limit has to pass.
    Cooling,
    /// It was refused, or has no quota left.
    Out,
}

/// All targets that the configuration names or that have answered, in the configuration's order.
pub(crate) fn of_all(snapshot: &Snapshot, checks: &CheckResults, clock: Clock) -> Vec<TargetReport> {
    let now = clock.now();
    let mut reports = Vec::new();
    for provider in snapshot.providers() {
        let health_check = checks.of(&provider.name).map(|result| HealthCheckReport {
            at: timestamp(result.at, now),
            ok: result.problem.is_none(),
            problem: result.problem,
        });
        let mut targets = provider.known_targets();
        targets.sort_by(|left, right| left.label.cmp(&right.label));
        for target in targets {
            let models = models_with(snapshot, &target);
            // Callers can make up names: only what works is worth a line.
            if !models.is_empty() || target.health.has_answered() {
                let health_check = health_check.clone();
                reports.push(TargetReport { models, health_check, ..of_target(provider, &target, now) });
            }
        }
    }
    reports
}

/// The entries of `models:` behind which a target stands.
pub(crate) fn models_with(snapshot: &Snapshot, target: &Target) -> Vec<String> {
    let with = snapshot.entries().filter(|(_, entry)| has(entry, target));
    with.map(|(model, _)| model.name.clone()).collect()
}

fn has(entry: &Entry, target: &Target) -> bool {
    entry.targets.iter().any(|other| other.planned.target.label == target.label)
}

/// One target, without the models behind which it stands.
pub(crate) fn of_target(provider: &Provider, target: &Target, now: Moment) -> TargetReport {
    let measured = target.health.measured(now);
    let slowest = |answering| target.health.slowest(answering).p95;
    let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1_000.0;
    let (state, because, until) = state(provider, target, now);
    TargetReport {
        target: target.label.to_string(),
        provider: provider.name.to_string(),
        upstream_model: target.model.to_string(),
        models: Vec::new(),
        state,
        because: because.map(|kind| kind.as_str().to_owned()),
        until: until.map(|until| timestamp(until, now)),
        last_failure: target.health.last_failure().map(|failure| last_failure(failure, now)),
        time_to_first_token_ms: measured.first_token.map(milliseconds),
        p95_time_to_first_token_ms: slowest(Answering::Streamed).map(milliseconds),
        p95_whole_answer_ms: slowest(Answering::Whole).map(milliseconds),
        tokens_per_second: measured.tokens_per_second,
        error_rate: measured.failure_rate,
        in_flight: measured.in_flight,
        calls: measured.calls,
        warmth: measured.warmth,
        keys: if provider.lacks_key {
            Vec::new()
        } else {
            provider.keys.iter().map(|key| of_key(key, target, now)).collect()
        },
        health_check: None,
    }
}

/// What keeps calls away, the target's own matter before its keys'.
fn state(
    provider: &Provider,
    target: &Target,
    now: Moment,
) -> (TargetState, Option<FailureKind>, Option<Moment>) {
    let own = target.health.last_failure().map(|(kind, _)| kind);
    if let Some(until) = target.health.out_until(now) {
        return (TargetState::Out, own, Some(until));
    }
    match target.health.breaker(now) {
        BreakerState::Open { until } => return (TargetState::Open, own, Some(until)),
        BreakerState::HalfOpen => return (TargetState::HalfOpen, own, None),
        BreakerState::Closed => {}
    }
    let readiness = provider.key_readiness(&target.health, now);
    let of_keys = || {
        let failures = provider.keys.iter().filter_map(|key| failure_of(key, target));
        failures.max_by_key(|(_, at)| *at).map(|(kind, _)| kind)
    };
    match readiness {
        Readiness::Ready => (TargetState::Closed, None, None),
        Readiness::Cooling { until } => (TargetState::Cooling, of_keys(), Some(until)),
        Readiness::Out { probe_at, .. } => (TargetState::Out, of_keys(), Some(probe_at)),
    }
}

fn of_key(key: &Key, target: &Target, now: Moment) -> KeyReport {
    let (state, until) = match key.readiness_at(&target.health, now) {
        Readiness::Ready => (KeyState::Ready, None),
        Readiness::Cooling { until } => (KeyState::Cooling, Some(until)),
        Readiness::Out { probe_at, .. } => (KeyState::Out, Some(probe_at)),
    };
    KeyReport {
        label: key.label.to_string(),
        state,
        until: until.map(|until| timestamp(until, now)),
        last_failure: failure_of(key, target).map(|failure| last_failure(failure, now)),
        headroom: target.health.limits().of_key(key.fingerprint()).map(|limits| limits.headroom(now, 0)),
    }
}

/// What was last held against a key, at this target or everywhere.
fn failure_of(key: &Key, target: &Target) -> Option<(FailureKind, Moment)> {
    let here = target.health.troubled_keys().find(key.fingerprint());
    let here = here.and_then(|here| here.last_failure());
    here.into_iter().chain(key.health.last_failure()).max_by_key(|(_, at)| *at)
}

fn last_failure((kind, at): (FailureKind, Moment), now: Moment) -> LastFailure {
    LastFailure { kind: kind.as_str().to_owned(), at: timestamp(at, now) }
}

/// A moment of the gateway's clock as a point in time.
pub(crate) fn timestamp(moment: Moment, now: Moment) -> Timestamp {
    let today = Timestamp::now();
    let later = moment.saturating_sub(now);
    let earlier = now.saturating_sub(moment);
    let moved = today.checked_add(later).and_then(|moved| moved.checked_sub(earlier));
    moved.unwrap_or(if later.is_zero() { Timestamp::MIN } else { Timestamp::MAX })
}
