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
    assert!(
        tells_the_same(&page, &kept),
        "the rates have changed: run again with UPDATE_STATISTICS=1 and look at the difference\n{page}"
    );
}

/// Whether two pages differ by no more than a few runs of a row. Logarithms that differ in their last bit, as on another
/// processor, let one run in many end otherwise.
fn tells_the_same(page: &str, kept: &str) -> bool {
    /// Of a hundred runs, or of the calls until something is found.
    const NEAR: f64 = 0.5;
    const NEAR_SHARE: f64 = 0.03;
    let number = |word: &str| word.parse::<f64>().ok();
    let mut kept = kept.split(' ');
    let same = page.split(' ').all(|word| {
        let Some(other) = kept.next() else { return false };
        word == other
            || number(word).zip(number(other)).is_some_and(|(one, other)| {
                (one - other).abs() <= NEAR.max(NEAR_SHARE * one.abs().max(other.abs()))
            })
    });
    same && kept.next().is_none()
}

#[test]
fn a_page_that_tells_something_else_is_noticed() {
    let page = "| errors 1 % | 4000 | 0.35 % | < 5 % | 263 |\n";
    assert!(tells_the_same(page, page));
    assert!(tells_the_same(page, &page.replace("0.35", "0.40").replace("263", "265")));
    for (from, to) in
        [("0.35", "1.35"), ("263", "300"), ("errors", "costs"), (" |\n", "\n"), ("\n", "\n more")]
    {
        assert!(!tells_the_same(page, &page.replace(from, to)), "{to}");
    }
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
