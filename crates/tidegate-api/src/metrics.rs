//! Figures for Prometheus.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use tidegate_gateway::queue::PlacesStatus;
use tidegate_gateway::report::{TargetReport, TargetState};

use crate::app::Worker;

/// How often samples are folded into their histograms. Without it they would pile up until somebody asks for them.
const UPKEEP: Duration = Duration::from_secs(5);

/// Seconds of a call: from a cached answer to a long reasoning one.
const DURATIONS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// Seconds that a call spends in Tidegate itself.
const OVERHEADS: &[f64] = &[0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1];

/// Where the figures are kept. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Metrics")
    }
}

impl Metrics {
    /// Installs the recorder for the whole process; once, before the gateway is made.
    pub fn install() -> Result<Self, BuildError> {
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full("tidegate_overhead_seconds".to_owned()), OVERHEADS)?
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), DURATIONS)?
            .install_recorder()?;
        describe();
        Ok(Self(handle))
    }

    /// Keeps the figures small; runs until it is dropped.
    pub async fn upkeep(self) {
        let mut interval = tokio::time::interval(UPKEEP);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.0.run_upkeep();
        }
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> String {
        self.0.render()
    }
}

fn describe() {
    metrics::describe_counter!("tidegate_calls_total", "Calls by target and outcome");
    metrics::describe_counter!(
        "tidegate_calls_refused_total",
        "Calls that ended before any target was asked"
    );
    metrics::describe_counter!(
        "tidegate_shadows_total",
        "Calls that were to have a shadow, by what became of it"
    );
    metrics::describe_counter!(
        "tidegate_attempt_failures_total",
        "Failed attempts by target and failure kind"
    );
    metrics::describe_counter!(
        "tidegate_tokens_total",
        "Tokens by target and type; the cached and reasoning ones are part of input and output"
    );
    metrics::describe_counter!(
        "tidegate_cost_nanodollars_total",
        "Cost in billionths of a US dollar, where the price is known"
    );
    metrics::describe_histogram!(
        "tidegate_call_duration_seconds",
        "From accepting a call to the last byte of its answer"
    );
    metrics::describe_histogram!(
        "tidegate_time_to_first_token_seconds",
        "From accepting a call to its answer's first token"
    );
    metrics::describe_histogram!(
        "tidegate_queue_wait_seconds",
        "How long calls waited that got a place not at once, by priority"
    );
    metrics::describe_counter!(
        "tidegate_queue_refusals_total",
        "Calls that were turned away for want of a place, by priority and reason"
    );
    metrics::describe_histogram!(
        "tidegate_overhead_seconds",
        "Time that a call spends in Tidegate itself, up to its answer's first byte"
    );
}

/// The route.
pub(crate) async fn render(State(worker): State<Arc<Worker>>) -> Response {
    let status = worker.gateway.status();
    let mut text = worker.metrics.render();
    for (name, kind, help, value) in [
        ("tidegate_calls_in_flight", "gauge", "Calls in flight", status.calls_in_flight.to_string()),
        ("tidegate_places", "gauge", "Calls that may be worked on at once", status.places.most.to_string()),
        ("tidegate_places_taken", "gauge", "Calls that are worked on", status.places.taken.to_string()),
        (
            "tidegate_ledger_pending",
            "gauge",
            "Ledger entries not yet written",
            status.ledger.pending.to_string(),
        ),
        (
            "tidegate_ledger_written_total",
            "counter",
            "Ledger entries written",
            status.ledger.written.to_string(),
        ),
        (
            "tidegate_ledger_journal_bytes",
            "gauge",
            "What the ledger's journal takes on the disk",
            status.ledger.journal_bytes.to_string(),
        ),
    ] {
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
    }
    text.push_str(
        "# HELP tidegate_queue_length Calls that wait for a place\n# TYPE tidegate_queue_length gauge\n",
    );
    let PlacesStatus { interactive, batch, .. } = status.places;
    for (priority, length) in [("interactive", interactive), ("batch", batch)] {
        text.push_str(&format!("tidegate_queue_length{{priority=\"{priority}\"}} {length}\n"));
    }
    write_targets(&mut text, &worker.gateway.targets());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// A figure of a target, where it is known.
type Figure = fn(&TargetReport) -> Option<f64>;

/// How every target is doing, as of now.
fn write_targets(text: &mut String, targets: &[TargetReport]) {
    let figures: [(&str, &str, Figure); 6] = [
        ("tidegate_target_up", "Whether the target is asked: 1, or 0 while it is left alone", |target| {
            Some(if target.state == TargetState::Closed { 1.0 } else { 0.0 })
        }),
        ("tidegate_target_calls_in_flight", "Calls in flight at the target", |target| {
            Some(f64::from(target.in_flight))
        }),
        ("tidegate_target_error_ratio", "The share of the target's latest calls that failed", |target| {
            Some(target.error_rate)
        }),
        ("tidegate_target_tokens_per_second", "Tokens a second, once the target speaks", |target| {
            target.tokens_per_second
        }),
        ("tidegate_target_first_token_seconds", "The time to the target's first token by now", |target| {
            target.time_to_first_token_ms.map(|time| time / 1_000.0)
        }),
        ("tidegate_target_first_token_p95_seconds", "Within it 95 of 100 streams begin", |target| {
            target.p95_time_to_first_token_ms.map(|time| time / 1_000.0)
        }),
    ];
    for (name, help, figure) in figures {
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
        for target in targets {
            if let Some(value) = figure(target) {
                let (provider, model) = (label(&target.provider), label(&target.upstream_model));
                text.push_str(&format!("{name}{{provider=\"{provider}\",model=\"{model}\"}} {value}\n"));
            }
        }
    }
}

/// A label's value, with what Prometheus wants escaped.
fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
