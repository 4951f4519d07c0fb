//! Guards, asked after every call.

use tidegate_policy::experiments::{GuardSettings, GuardVerdict, Metric, guard};

use crate::report::{FEW_RUNS, Must, RUNS, Row};
use crate::traffic::{Source, Traffic, Units};

/// Arms that are just not too bad.
pub(crate) fn at_the_margin() -> Vec<Row> {
    let row = |name, metric, control, arm, share| {
        row(name, Must::FindInFewerThan(5), metric, control, arm, share, 1000)
    };
    vec![
        row(
            "errors 1 % and 6 %, 5 points allowed",
            Metric::Errors,
            Source::Chance(0.01),
            Source::Chance(0.06),
            0.05,
        ),
        row(
            "errors 1 % and 6 %, half of the calls",
            Metric::Errors,
            Source::Chance(0.01),
            Source::Chance(0.06),
            0.5,
        ),
        row(
            "cost half as much more, deviation 1.2, 5 % of calls",
            Metric::Cost,
            Source::LongTail(4e5, 1.2),
            Source::LongTail(6e5, 1.2),
            0.05,
        ),
        row(
            "the same cost, one call in a hundred a hundred times, 5 % of calls",
            Metric::Cost,
            Source::RarelyDear(0.01, 100.0, 4e5, 0.01),
            Source::RarelyDear(0.01, 100.0, 4e5, 0.01),
            0.05,
        ),
        row(
            "cost half as much more, deviation 1.2, half of the calls",
            Metric::Cost,
            Source::LongTail(4e5, 1.2),
            Source::LongTail(6e5, 1.2),
            0.5,
        ),
        row(
            "cost half as much more, deviation 1.2, 95 % of calls",
            Metric::Cost,
            Source::LongTail(4e5, 1.2),
            Source::LongTail(6e5, 1.2),
            0.95,
        ),
    ]
}

/// Arms that are too bad.
pub(crate) fn beyond_the_margin() -> Vec<Row> {
    let row = |name, metric, control, arm, share, calls| {
        row(name, Must::FindIn(90), metric, control, arm, share, calls)
    };
    vec![
        row(
            "errors 1 % and 50 %, 1 % of calls",
            Metric::Errors,
            Source::Chance(0.01),
            Source::Chance(0.5),
            0.01,
            3000,
        ),
        row(
            "errors 1 % and 20 %, 5 % of calls",
            Metric::Errors,
            Source::Chance(0.01),
            Source::Chance(0.2),
            0.05,
            4000,
        ),
        row(
            "errors 1 % and all, 5 % of calls",
            Metric::Errors,
            Source::Chance(0.01),
            Source::Chance(1.0),
            0.05,
            400,
        ),
        row(
            "cost three times as much, deviation 1.2, 5 % of calls",
            Metric::Cost,
            Source::LongTail(4e5, 1.2),
            Source::LongTail(12e5, 1.2),
            0.05,
            2500,
        ),
        row(
            "cost the same, but one call in fifty a hundred times, half of the calls",
            Metric::Cost,
            Source::LongTail(4e5, 0.5),
            Source::RarelyDear(0.02, 100.0, 4e5, 0.5),
            0.5,
            8000,
        ),
    ]
}

fn row(
    name: &'static str,
    must: Must,
    metric: Metric,
    control: Source,
    arm: Source,
    share: f64,
    calls: u32,
) -> Row {
    let settings = GuardSettings::default();
    let run = Box::new(move |seed| {
        let mut traffic = Traffic::new(seed, Units::Calls, share);
        (1..=calls).find(|_| {
            traffic.call(metric, &control, &arm);
            guard(&traffic.control, &traffic.arm, &settings) != GuardVerdict::Fine
        })
    });
    let runs = if matches!(must, Must::FindIn(_)) { FEW_RUNS } else { RUNS };
    Row { name, calls, must, runs, run }
}
