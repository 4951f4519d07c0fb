//! What an experiment shows: its arms, every metric with the interval that holds however often one looks, what may be said, and
//! what was decided. Read by `/admin/v1/experiments` and `tidegate experiments`, beside a running gateway or without one.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use tidegate_config::{Design, Experiment, Settings};
use tidegate_policy::experiments::{
    ArmSums, CanaryPhase, Comparison, Interval, Metric, PairSums, Scale, Verdict, compare_all, interval,
};
use tidegate_store::{Access, CONTROL_ARM, RunSums, StoreError, StoredState, Text};

use super::decide::percent;
use super::prepared::{Arm, CANARY, CONTROL, Split, canary_settings, run_of};
use super::state::{Happened, Kept, run_now, weights};

/// How sure an interval is.
const ALPHA: f64 = 0.05;
/// The arm of a shadow's own answers.
const SHADOW_ARM: &str = "shadow";

/// An experiment and what it shows.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Experiment")]
pub struct ExperimentReport {
    /// Its name in the configuration.
    pub name: String,
    /// arms, canary or shadow
    pub kind: String,
    /// The entry of `models:` whose calls take part.
    pub model: String,
    /// Changes where arms or targets do; sums begin anew with it.
    pub run: String,
    /// running, stopped (no call is in it), promoted (an arm has all calls) or, of a canary, step, done or back
    pub state: String,
    /// The sides that are compared. Of a canary, the calls of the present step alone.
    pub arms: Vec<ArmReport>,
    /// Calls of the model that took no part, by the kind of reason: steering (the caller says who is asked), permission, condition,
    /// requirement (an arm's target lacks what the call needs), strict, price or budget.
    pub left_out: BTreeMap<String, u64>,
    /// Where a canary is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryReport>,
    /// How the shadow's answers compare with the caller's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowReport>,
    /// What was decided, the latest last.
    pub history: Vec<Happened>,
}

/// One side of an experiment.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "ExperimentArm")]
pub struct ArmReport {
    /// Its name.
    pub name: String,
    /// Where its calls go; null: where the model's calls go anyway.
    pub target: Option<String>,
    /// Whether the others are compared with it.
    pub is_control: bool,
    /// Its share of the calls now.
    pub share: String,
    /// Why it was stopped, where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Its calls so far.
    pub calls: u64,
    /// What was measured.
    pub metrics: Vec<MetricReport>,
}

/// One metric of an arm.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "ExperimentMetric")]
pub struct MetricReport {
    /// errors (share of calls), cost (US dollars), first_token and latency (milliseconds), output_tokens, feedback (0 to 1)
    pub metric: String,
    /// How many values.
    pub count: u64,
    /// Their plain mean.
    pub mean: Option<f64>,
    /// Where the mean lies (of cost, times and tokens the geometric mean, a typical call), with 95 % certainty at all times
    /// together.
    pub interval: Range,
    /// Against the control.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_control: Option<ComparisonReport>,
}

/// Where a value lies; null where nothing can be said yet.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[schemars(rename = "ExperimentRange")]
pub struct Range {
    /// Not below.
    pub low: Option<f64>,
    /// As seen.
    pub estimate: Option<f64>,
    /// Not above.
    pub high: Option<f64>,
}

/// An arm against the control.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "ExperimentComparison")]
pub struct ComparisonReport {
    /// undecided, better, worse or different; wrong in one experiment of twenty at most, however often one looks
    pub verdict: String,
    /// The arm less the control: points of a share (0.05 is five), or a ratio less one (0.05 is 5 % more).
    pub difference: Range,
    /// points or ratio
    pub scale: String,
    /// The probability of seeing as much without a difference, at most.
    pub p_value: f64,
}

/// Where a canary is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "ExperimentCanary")]
pub struct CanaryReport {
    /// The present step, from 1 on; null where it is done or taken back.
    pub step: Option<usize>,
    /// All steps.
    pub steps: Vec<String>,
    /// Calls of the candidate that a step needs.
    pub calls: u64,
    /// Seconds that a step needs.
    pub after_seconds: u64,
}

/// How a shadow's answers compare with the caller's.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "ExperimentShadow")]
pub struct ShadowReport {
    /// The share of the calls that have a shadow.
    pub share: String,
    /// Calls and their shadows.
    pub pairs: u64,
    /// Those where both were answered.
    pub compared: u64,
    /// From 0 (nothing in common) to 1 (the same): the cosine of the counts of character trigrams.
    pub similarity: Option<f64>,
    /// How long the shadow's answers are beside the caller's, typically: 2 is twice as long.
    pub length_ratio: Option<f64>,
    /// Pairs in which somebody called a tool.
    pub with_tools: u64,
    /// Of these, those that called the same tools.
    pub same_tools: u64,
    /// Of these, those that gave them the same arguments.
    pub same_arguments: u64,
    /// Pairs in which the caller's answer is JSON.
    pub with_json: u64,
    /// Of these, those in which the shadow's is JSON too.
    pub shadow_json: u64,
    /// The pairs with the least in common. What was said is in `/admin/v1/calls/{id}`, where it is kept.
    pub examples: Vec<ExampleReport>,
}

/// A call whose shadow answered something else.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "ExperimentExample")]
pub struct ExampleReport {
    /// The caller's call.
    pub call: String,
    /// The shadow.
    pub shadow: String,
    /// How similar they are.
    pub similarity: f64,
}

/// All experiments of these settings.
pub async fn report_experiments(
    settings: &Settings,
    access: &Access,
) -> Result<Vec<ExperimentReport>, StoreError> {
    let states = access.experiment_states().await?;
    let mut reports = Vec::with_capacity(settings.experiments.len());
    for experiment in settings.experiments.values() {
        reports.push(report(experiment, &states, access).await?);
    }
    Ok(reports)
}

/// One of them; `None` where there is none of this name.
pub async fn report_experiment(
    settings: &Settings,
    access: &Access,
    name: &str,
) -> Result<Option<ExperimentReport>, StoreError> {
    let Some(experiment) = settings.experiments.get(name) else { return Ok(None) };
    let states = access.experiment_states().await?;
    report(experiment, &states, access).await.map(Some)
}

async fn report(
    experiment: &Experiment,
    states: &[StoredState],
    access: &Access,
) -> Result<ExperimentReport, StoreError> {
    let run = run_of(experiment);
    let kept = states.iter().find(|state| state.experiment == experiment.name && state.run == run);
    let kept = kept.and_then(Kept::read);
    let split = split_of(experiment, &run);
    let sums_run = match &split {
        Some(split) => run_now(split, kept.as_ref()),
        None => Text::from(run.clone()),
    };
    let sums = access.experiment_sums(&experiment.name, &sums_run).await?;
    let (kind, arms, canary, shadow) = match (&experiment.design, &split) {
        (Design::Shadow(design), _) => {
            let shadow = shadow_report(&sums, percent(design.share.fraction()));
            let target = Some(label(&design.target));
            ("shadow", shadow_arms(&sums, target, percent(design.share.fraction())), None, Some(shadow))
        }
        (Design::Canary(_), Some(split)) => (
            "canary",
            split_arms(split, experiment, kept.as_ref(), &sums),
            canary_report(split, kept.as_ref()),
            None,
        ),
        (_, Some(split)) => ("arms", split_arms(split, experiment, kept.as_ref(), &sums), None, None),
        (_, None) => ("arms", Vec::new(), None, None),
    };
    Ok(ExperimentReport {
        name: experiment.name.clone(),
        kind: kind.to_owned(),
        model: experiment.model.clone(),
        state: state_word(split.as_ref(), kept.as_ref()).to_owned(),
        run,
        arms,
        left_out: sums.left_out,
        canary,
        shadow,
        history: kept.map(|kept| kept.state.history).unwrap_or_default(),
    })
}

/// The split without its targets made ready: a report asks nobody.
fn split_of(experiment: &Experiment, run: &str) -> Option<Split> {
    let arm = |name: &str, share: f64| Arm { name: Text::from(name.to_owned()), share, target: None };
    let (by, arms, control, canary) = match &experiment.design {
        Design::Arms(design) => {
            let whole: f64 = design.arms.values().map(|arm| f64::from(arm.weight)).sum();
            let arms = design.arms.iter().map(|(name, it)| arm(name, f64::from(it.weight) / whole.max(1.0)));
            (design.by, arms.collect(), design.control(), None)
        }
        Design::Canary(design) => {
            (design.by, vec![arm(CONTROL, 1.0), arm(CANARY, 0.0)], 0, Some(canary_settings(design)))
        }
        Design::Shadow(_) => return None,
    };
    let name = Text::from(experiment.name.clone());
    let run = Text::from(run.to_owned());
    Some(Split { name, run, by, arms, control, guard: None, bandit: None, canary })
}

fn label(target: &tidegate_config::Target) -> String {
    format!("{}/{}", target.provider, target.model)
}

fn state_word(split: Option<&Split>, kept: Option<&Kept>) -> &'static str {
    let state = kept.map(|kept| &kept.state);
    if split.is_some_and(|split| split.canary.is_some()) {
        return match state.and_then(|state| state.canary).map(|canary| canary.phase) {
            Some(CanaryPhase::Done) => "done",
            Some(CanaryPhase::Back) => "back",
            Some(CanaryPhase::Step(_)) | None => "step",
        };
    }
    match state {
        Some(state) if state.is_held => "stopped",
        Some(state) if state.promoted.is_some() => "promoted",
        _ => "running",
    }
}

fn split_arms(split: &Split, experiment: &Experiment, kept: Option<&Kept>, sums: &RunSums) -> Vec<ArmReport> {
    let shares = weights(split, kept);
    let target = |name: &str| match &experiment.design {
        Design::Arms(design) => design.arms.get(name).and_then(|arm| arm.target.as_ref()).map(label),
        Design::Canary(design) if name == CANARY => Some(label(&design.target)),
        _ => None,
    };
    let named: Vec<(&str, Option<String>, String)> = split
        .arms
        .iter()
        .zip(shares)
        .map(|(arm, share)| (arm.name.as_str(), target(&arm.name), percent(share)))
        .collect();
    let mut reports = arm_reports(&named, split.control_name(), sums);
    for report in &mut reports {
        report.stopped = kept.and_then(|kept| kept.state.stopped.get(&report.name).cloned());
    }
    reports
}

fn shadow_arms(sums: &RunSums, target: Option<String>, share: String) -> Vec<ArmReport> {
    let named = [(CONTROL_ARM, None, percent(1.0)), (SHADOW_ARM, target, share)];
    arm_reports(&named, CONTROL_ARM, sums)
}

fn arm_reports(
    named: &[(&str, Option<String>, String)],
    control_name: &str,
    sums: &RunSums,
) -> Vec<ArmReport> {
    let none = ArmSums::default();
    let of = |name: &str| sums.arms.get(name).unwrap_or(&none);
    let control = of(control_name);
    let others: Vec<&ArmSums> =
        named.iter().filter(|(name, ..)| *name != control_name).map(|(name, ..)| of(name)).collect();
    let mut compared = compare_all(control, &others, &Metric::ALL, ALPHA).into_iter();
    named
        .iter()
        .map(|(name, target, share)| {
            let is_control = *name == control_name;
            let comparisons = if is_control { None } else { compared.next() };
            let arm = of(name);
            let metrics = Metric::ALL.into_iter().enumerate().map(|(place, metric)| {
                let comparison = comparisons.as_ref().and_then(|all| all.get(place));
                metric_report(metric, arm, comparison)
            });
            ArmReport {
                name: (*name).to_owned(),
                target: target.clone(),
                is_control,
                share: share.clone(),
                stopped: None,
                calls: arm.calls(),
                metrics: metrics.collect(),
            }
        })
        .collect()
}

fn metric_report(metric: Metric, arm: &ArmSums, comparison: Option<&Comparison>) -> MetricReport {
    // Costs are counted in nano-dollars and told in dollars.
    let unit = if metric == Metric::Cost { 1e-9 } else { 1.0 };
    let sums = arm.of(metric);
    MetricReport {
        metric: metric.name().to_owned(),
        count: sums.count(),
        mean: sums.mean().map(|mean| mean * unit),
        interval: range(interval(arm, metric, ALPHA), unit),
        against_control: comparison.map(|it| ComparisonReport {
            verdict: match it.verdict {
                Verdict::Undecided => "undecided",
                Verdict::Better => "better",
                Verdict::Worse => "worse",
                Verdict::Different => "different",
            }
            .to_owned(),
            difference: range(it.difference, 1.0),
            scale: match it.scale {
                Scale::Points => "points",
                Scale::Ratio => "ratio",
            }
            .to_owned(),
            p_value: it.p_value,
        }),
    }
}

fn range(interval: Interval, unit: f64) -> Range {
    let told = |value: Option<f64>| value.filter(|value| value.is_finite()).map(|value| value * unit);
    Range { low: told(interval.low), estimate: told(interval.estimate), high: told(interval.high) }
}

fn canary_report(split: &Split, kept: Option<&Kept>) -> Option<CanaryReport> {
    let settings = split.canary.as_ref()?;
    let phase = kept.and_then(|kept| kept.state.canary).map_or(CanaryPhase::Step(0), |canary| canary.phase);
    Some(CanaryReport {
        step: match phase {
            CanaryPhase::Step(step) => Some(step + 1),
            CanaryPhase::Done | CanaryPhase::Back => None,
        },
        steps: settings.steps.iter().map(|share| percent(*share)).collect(),
        calls: settings.calls,
        after_seconds: settings.after.as_secs(),
    })
}

fn shadow_report(sums: &RunSums, share: String) -> ShadowReport {
    let PairSums { pairs, compared, with_tools, same_tools, same_arguments, with_json, shadow_json, .. } =
        sums.pairs;
    let examples = sums.examples.iter().map(|example| ExampleReport {
        call: example.call.to_string(),
        shadow: example.shadow.to_string(),
        similarity: example.similarity,
    });
    ShadowReport {
        share,
        pairs,
        compared,
        similarity: sums.pairs.mean_similarity(),
        length_ratio: sums.pairs.typical_length_ratio(),
        with_tools,
        same_tools,
        same_arguments,
        with_json,
        shadow_json,
        examples: examples.collect(),
    }
}
