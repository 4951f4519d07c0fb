//! Verdicts, asked for after every call.

use tidegate_policy::experiments::{Metric, Verdict, verdict};

use crate::report::{FEW_RUNS, Must, RUNS, Row};
use crate::traffic::{Source, Traffic, Units};

const FIVE_STARS: Source = Source::Stars([0.1, 0.1, 0.2, 0.4, 0.2]);
const BETTER_STARS: Source = Source::Stars([0.06, 0.07, 0.17, 0.4, 0.3]);

/// Arms that do not differ.
pub(crate) fn same() -> Vec<Row> {
    use Units::{Calls, Sessions};
    let row = |name, metric, source, units, share, calls| Row {
        name,
        calls,
        must: Must::FindInFewerThan(5),
        runs: RUNS,
        run: looked_at(metric, source, source, units, share, calls),
    };
    let mut rows = vec![
        row("errors 0.2 %", Metric::Errors, Source::Chance(0.002), Calls, 0.5, 1000),
        row("errors 1 %", Metric::Errors, Source::Chance(0.01), Calls, 0.5, 1000),
        row("errors 1 %, 5 % of calls in the arm", Metric::Errors, Source::Chance(0.01), Calls, 0.05, 1000),
        row("errors 10 %", Metric::Errors, Source::Chance(0.1), Calls, 0.5, 1000),
        row("feedback, thumbs, 80 % up", Metric::Feedback, Source::Chance(0.8), Calls, 0.5, 300),
        row("feedback, five stars", Metric::Feedback, FIVE_STARS, Calls, 0.5, 300),
        row("latency, deviation 0.6", Metric::Latency, Source::LongTail(900.0, 0.6), Calls, 0.5, 1000),
        row(
            "latency, deviation 1.5, 5 % of calls in the arm",
            Metric::FirstToken,
            Source::LongTail(900.0, 1.5),
            Calls,
            0.05,
            1000,
        ),
        row("cost, deviation 1.2", Metric::Cost, Source::LongTail(4e5, 1.2), Calls, 0.5, 1000),
        row("cost, a tenth free", Metric::Cost, Source::OftenFree(0.1, 4e5, 1.0), Calls, 0.2, 1000),
        row(
            "cost, one call in a hundred a hundred times, 5 % of calls in the arm",
            Metric::Cost,
            Source::RarelyDear(0.01, 100.0, 4e5, 0.01),
            Calls,
            0.05,
            1000,
        ),
        row(
            "latency of sessions, half of the deviation is the session's",
            Metric::Latency,
            Source::SlowSessions(900.0, 0.8),
            Sessions,
            0.5,
            1000,
        ),
        row(
            "the same, 10 % of sessions in the arm",
            Metric::Latency,
            Source::SlowSessions(900.0, 0.8),
            Sessions,
            0.1,
            1000,
        ),
        row(
            "errors of sessions, of which 5 % fail half of the time",
            Metric::Errors,
            Source::BadSessions(0.05),
            Sessions,
            0.5,
            1000,
        ),
    ];
    let slow = Source::SlowSessions(900.0, 0.8);
    let dear = Source::RarelyDear(0.01, 100.0, 4e5, 0.01);
    let tail = Source::LongTail(900.0, 1.5);
    for (name, metric, source, units, share) in [
        ("for long: latency, deviation 1.5, 5 % of calls in the arm", Metric::Latency, tail, Calls, 0.05),
        (
            "for long: cost, one call in a hundred a hundred times, 5 % of calls",
            Metric::Cost,
            dear,
            Calls,
            0.05,
        ),
        ("for long: latency of sessions, 10 % of them in the arm", Metric::Latency, slow, Sessions, 0.1),
    ] {
        rows.push(Row { runs: FEW_RUNS, ..row(name, metric, source, units, share, 10_000) });
    }
    rows.push(Row {
        name: "latency of sessions, were each call taken for a unit (why it is not)",
        calls: 1000,
        must: Must::FindIn(5),
        runs: FEW_RUNS,
        run: looked_at(Metric::Latency, slow, slow, Units::SessionsUnknown, 0.5, 1000),
    });
    rows
}

/// Arms that do.
pub(crate) fn different() -> Vec<Row> {
    use Units::{Calls, Sessions};
    let row = |name, metric, control, arm, units, share, calls| Row {
        name,
        calls,
        must: Must::FindIn(90),
        runs: FEW_RUNS,
        run: looked_at(metric, control, arm, units, share, calls),
    };
    let chance = Source::Chance;
    vec![
        row("errors 1 % and 3 %", Metric::Errors, chance(0.01), chance(0.03), Calls, 0.5, 5000),
        row(
            "errors 1 % and 10 %, 5 % of calls in the arm",
            Metric::Errors,
            chance(0.01),
            chance(0.1),
            Calls,
            0.05,
            3000,
        ),
        row(
            "errors 1 % and 50 %, 1 % of calls in the arm",
            Metric::Errors,
            chance(0.01),
            chance(0.5),
            Calls,
            0.01,
            2000,
        ),
        row(
            "feedback, thumbs, 70 % and 80 % up",
            Metric::Feedback,
            chance(0.7),
            chance(0.8),
            Calls,
            0.5,
            2500,
        ),
        row("feedback, 3.5 and 3.81 stars", Metric::Feedback, FIVE_STARS, BETTER_STARS, Calls, 0.5, 2000),
        row(
            "latency a fifth lower, deviation 0.6",
            Metric::Latency,
            Source::LongTail(900.0, 0.6),
            Source::LongTail(720.0, 0.6),
            Calls,
            0.5,
            1000,
        ),
        row(
            "latency a third lower, of sessions",
            Metric::Latency,
            Source::SlowSessions(900.0, 0.6),
            Source::SlowSessions(600.0, 0.6),
            Sessions,
            0.5,
            4000,
        ),
        row(
            "cost a third lower, deviation 1.2, 10 % of calls in the arm",
            Metric::Cost,
            Source::LongTail(4e5, 1.2),
            Source::LongTail(2.67e5, 1.2),
            Calls,
            0.1,
            3000,
        ),
    ]
}

fn looked_at(
    metric: Metric,
    control: Source,
    arm: Source,
    units: Units,
    share: f64,
    calls: u32,
) -> Box<dyn Fn(u64) -> Option<u32> + Send + Sync> {
    Box::new(move |seed| {
        let mut traffic = Traffic::new(seed, units, share);
        (1..=calls).find(|_| {
            traffic.call(metric, &control, &arm);
            verdict(&traffic.control, &traffic.arm, metric, 0.05) != Verdict::Undecided
        })
    })
}
