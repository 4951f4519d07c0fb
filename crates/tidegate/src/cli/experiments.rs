//! `tidegate experiments`: what experiments show, also while a gateway runs.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use tidegate_config::{Sources, load};
use tidegate_gateway::experiments::{
    ArmReport, ExperimentReport, MetricReport, Range, report_experiment, report_experiments,
};

use super::ledger::ask;
use crate::failure::Failure;
use crate::output::{Side, Table, grouped, print, print_json};
use crate::stores;

/// Show what experiments found out
#[derive(Debug, Args)]
#[command(after_help = "Works while a gateway runs. Verdicts and intervals hold however often one looks.")]
pub(crate) struct Options {
    /// Only this experiment [default: all that are configured]
    name: Option<String>,
    /// The configuration file, which says what experiments there are [default: as for `serve`]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// As JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// As CSV: a line for each arm and metric
    #[arg(long)]
    csv: bool,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let settings = load(&Sources { config: options.config.clone(), ..Sources::of_process() })?;
    let reports = ask(stores::options(&settings)?, async |store| {
        let access = store.access();
        let Some(name) = &options.name else { return Ok(report_experiments(&settings, &access).await?) };
        let found = report_experiment(&settings, &access, name).await?;
        found.map(|report| vec![report]).ok_or_else(|| unknown(name, &settings))
    })?;
    if options.json {
        let value = serde_json::to_value(&reports).map_err(anyhow::Error::from)?;
        print_json(&value)
    } else if options.csv {
        print(&csv(&reports))
    } else if reports.is_empty() {
        print("no experiments\n")
    } else {
        let texts: Vec<String> = reports.iter().map(text).collect();
        print(&texts.join("\n"))
    }
}

fn unknown(name: &str, settings: &tidegate_config::Settings) -> Failure {
    let known = settings.experiments.keys().map(String::as_str);
    let closest = tidegate_config::closest(name, known, 1);
    let help = match closest.first() {
        Some(closest) => format!("did you mean `{closest}`?"),
        None => "experiments are configured under `experiments:`".to_owned(),
    };
    Failure::not_found(format!("there is no experiment `{name}`"), help)
}

fn text(report: &ExperimentReport) -> String {
    use Side::{Left, Right};
    let mut out = format!("{} ({} on {}, {})\n", report.name, report.kind, report.model, report.state);
    let columns = [
        ("arm", Left),
        ("share", Right),
        ("calls", Right),
        ("metric", Left),
        ("mean", Right),
        ("interval", Left),
        ("against control", Left),
        ("verdict", Left),
    ];
    let mut table = Table::new(columns);
    for arm in &report.arms {
        for (place, metric) in arm.metrics.iter().filter(|metric| metric.count > 0).enumerate() {
            let is_first = place == 0;
            let first = |text: String| if is_first { text } else { String::new() };
            let against = metric.against_control.as_ref();
            table.row([
                first(arm_name(arm)),
                first(arm.share.clone()),
                first(grouped(arm.calls)),
                metric.metric.clone(),
                metric.mean.map_or_else(String::new, |mean| number(metric, mean)),
                range(&metric.interval, |value| number(metric, value)),
                against.map_or_else(String::new, |it| {
                    let unit = if it.scale == "points" { " points" } else { " %" };
                    range(&it.difference, |value| format!("{:+.1}", value * 100.0)) + unit
                }),
                against.map_or_else(String::new, |it| it.verdict.clone()),
            ]);
        }
        if arm.metrics.iter().all(|metric| metric.count == 0) {
            let none = String::new;
            table.row([
                arm_name(arm),
                arm.share.clone(),
                "0".to_owned(),
                none(),
                none(),
                none(),
                none(),
                none(),
            ]);
        }
    }
    out.push_str(&table.render());
    for arm in &report.arms {
        if let Some(why) = &arm.stopped {
            let _ = writeln!(out, "{} is stopped: {why}", arm.name);
        }
    }
    if !report.left_out.is_empty() {
        let reasons: Vec<String> =
            report.left_out.iter().map(|(reason, calls)| format!("{reason} {}", grouped(*calls))).collect();
        let all = grouped(report.left_out.values().sum());
        let _ = writeln!(out, "{all} calls took no part: {}", reasons.join(", "));
    }
    if let Some(shadow) = &report.shadow {
        let share = |part: u64, whole: u64| format!("{} of {}", grouped(part), grouped(whole));
        let _ = writeln!(
            out,
            "{} pairs compared, similarity {}, length × {}; same tools {}, same arguments {}; JSON {}",
            share(shadow.compared, shadow.pairs),
            shadow.similarity.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}")),
            shadow.length_ratio.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}")),
            share(shadow.same_tools, shadow.with_tools),
            share(shadow.same_arguments, shadow.with_tools),
            share(shadow.shadow_json, shadow.with_json),
        );
        for example in &shadow.examples {
            let _ = writeln!(
                out,
                "  {:.2}  call {}  shadow {}",
                example.similarity, example.call, example.shadow
            );
        }
    }
    for step in &report.history {
        let _ = writeln!(out, "{}  {} ({})", step.at.strftime("%Y-%m-%d %H:%M:%S"), step.what, step.why);
    }
    out
}

fn arm_name(arm: &ArmReport) -> String {
    match &arm.target {
        Some(target) => format!("{} ({target})", arm.name),
        None => arm.name.clone(),
    }
}

fn number(metric: &MetricReport, value: f64) -> String {
    match metric.metric.as_str() {
        "errors" | "feedback" => format!("{:.1} %", value * 100.0),
        "cost" => format!("{value:.6} USD"),
        "first_token" | "latency" => format!("{value:.0} ms"),
        _ => format!("{value:.1}"),
    }
}

fn range(range: &Range, tell: impl Fn(f64) -> String) -> String {
    match (range.low, range.high) {
        (Some(low), Some(high)) => format!("{} … {}", tell(low), tell(high)),
        (Some(low), None) => format!("{} …", tell(low)),
        (None, Some(high)) => format!("… {}", tell(high)),
        (None, None) => String::new(),
    }
}

fn csv(reports: &[ExperimentReport]) -> String {
    let mut out = String::from(
        "experiment,kind,model,run,state,arm,is_control,share,calls,metric,count,mean,low,high,\
         difference,difference_low,difference_high,scale,verdict,p_value\n",
    );
    let told = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    for report in reports {
        for arm in &report.arms {
            for metric in &arm.metrics {
                let against = metric.against_control.as_ref();
                let cells = [
                    report.name.clone(),
                    report.kind.clone(),
                    report.model.clone(),
                    report.run.clone(),
                    report.state.clone(),
                    arm.name.clone(),
                    arm.is_control.to_string(),
                    arm.share.clone(),
                    arm.calls.to_string(),
                    metric.metric.clone(),
                    metric.count.to_string(),
                    told(metric.mean),
                    told(metric.interval.low),
                    told(metric.interval.high),
                    told(against.and_then(|it| it.difference.estimate)),
                    told(against.and_then(|it| it.difference.low)),
                    told(against.and_then(|it| it.difference.high)),
                    against.map_or_else(String::new, |it| it.scale.clone()),
                    against.map_or_else(String::new, |it| it.verdict.clone()),
                    told(against.map(|it| it.p_value)),
                ];
                let quoted: Vec<String> = cells.iter().map(|cell| field(cell)).collect();
                out.push_str(&quoted.join(","));
                out.push('\n');
            }
        }
    }
    out
}

/// Names come from the configuration, and may hold a comma.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
