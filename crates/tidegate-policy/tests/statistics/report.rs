//! The rates as a page of the documentation, computed anew and compared with the one that is committed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{env, fs, thread};

use crate::{guards, verdicts};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/experiments-statistics.md");

/// Runs of a row in which nothing must be found: a rate of 5 % is known within one point.
pub(crate) const RUNS: u32 = 2000;

/// Runs of a row in which something must be found: a rate of 90 % is known within three points.
pub(crate) const FEW_RUNS: u32 = 400;

/// One line of a table: what is simulated, how, and what must come out.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) calls: u32,
    pub(crate) must: Must,
    pub(crate) runs: u32,
    /// One run: after how many calls something was found.
    pub(crate) run: Box<dyn Fn(u64) -> Option<u32> + Send + Sync>,
}

/// What must come out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Must {
    /// In fewer than so many percent of the runs something may be found.
    FindInFewerThan(u32),
    /// In at least so many percent it must be found.
    FindIn(u32),
}

#[test]
fn nothing_is_found_where_nothing_is_and_what_is_there_is_found() {
    let tables = [
        (
            "No difference: how often one is found at any time",
            "Both arms draw from the same source. After every call the verdict is asked for, at a probability of error of \
             5 %; a run that ever gets one is a false alarm.",
            verdicts::same(),
        ),
        (
            "A real difference: how often it is found, and how soon",
            "The same, with arms that differ. Calls are those of both arms together.",
            verdicts::different(),
        ),
        (
            "Guards: an arm that is as much worse as is allowed",
            "The arm is worse by the margin itself. After every call all guards are asked; a run in which one ever stops \
             the arm is a false alarm.",
            guards::at_the_margin(),
        ),
        (
            "Guards: an arm that is worse than is allowed",
            "How often it is stopped, and how soon. Calls are those of both arms together.",
            guards::beyond_the_margin(),
        ),
    ];
    let mut page = String::from(
        "# How often the statistics of experiments are wrong\n\n\
         Measured by simulation: 2,000 experiments a row, each looked at after every single call. The test \
         `statistics` of `tidegate-policy`\ncomputes this page and fails when a rate is out of its bounds; \
         `UPDATE_STATISTICS=1` writes it anew. What the words mean is told in\n[experiments.md](experiments.md).\n",
    );
    let mut wrong = Vec::new();
    for (title, text, rows) in tables {
        page.push_str(&format!("\n## {title}\n\n{text}\n\n"));
        page.push_str("| | calls | found | must | half of those found within |\n|---|---|---|---|---|\n");
        for (row, found) in rows.iter().zip(simulate(&rows)) {
            let rate = 100.0 * f64::from(u32::try_from(found.len()).unwrap()) / f64::from(row.runs);
            let (must, is_right) = match row.must {
                Must::FindInFewerThan(percent) => (format!("< {percent} %"), rate < f64::from(percent)),
                Must::FindIn(percent) => (format!("≥ {percent} %"), rate >= f64::from(percent)),
            };
            let half = match row.must {
                Must::FindIn(_) => found.get(found.len() / 2).map_or("–".to_owned(), u32::to_string),
                Must::FindInFewerThan(_) => "–".to_owned(),
            };
            page.push_str(&format!("| {} | {} | {rate:.2} % | {must} | {half} |\n", row.name, row.calls));
            if !is_right {
                wrong.push(format!("{}: {rate:.2} %, but {must}", row.name));
            }
        }
    }
    if env::var_os("UPDATE_STATISTICS").is_some() {
        fs::write(PAGE, &page).unwrap();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let kept = fs::read_to_string(PAGE).unwrap_or_default();
    assert_eq!(
        page, kept,
        "the rates have changed: run again with UPDATE_STATISTICS=1 and look at the difference"
    );
}

/// Runs all rows on all cores; for each, when something was found, soonest first.
fn simulate(rows: &[Row]) -> Vec<Vec<u32>> {
    /// Seeds that a thread takes at a time.
    const PORTION: u32 = 50;
    let portions: Vec<(usize, u32)> = rows
        .iter()
        .enumerate()
        .flat_map(|(index, row)| (0..row.runs / PORTION).map(move |portion| (index, portion * PORTION)))
        .collect();
    let next = AtomicUsize::new(0);
    let found: Vec<Mutex<Vec<u32>>> = rows.iter().map(|_| Mutex::default()).collect();
    let threads = thread::available_parallelism().map_or(1, usize::from).min(8);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((index, first)) = portions.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let seeds = *first..*first + PORTION;
                    let hits: Vec<u32> =
                        seeds.filter_map(|seed| (rows[*index].run)(u64::from(seed))).collect();
                    found[*index].lock().unwrap_or_else(PoisonError::into_inner).extend(hits);
                }
            });
        }
    });
    let sorted = |found: Mutex<Vec<u32>>| {
        let mut found = found.into_inner().unwrap();
        found.sort_unstable();
        found
    };
    found.into_iter().map(sorted).collect()
}
