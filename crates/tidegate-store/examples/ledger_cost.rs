//! What the ledger costs: CPU per entry, all in, and the time to open a data directory. Run it in a release build when
//! the writer or the insert statements change: `cargo run --release -p tidegate-store --example ledger_cost [WINDOW_MS]`,
//! with `postgres` at its end for a PostgreSQL server of its own, whose CPU is not counted.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_store::{Attempt, CallId, LedgerEntry, LedgerOptions, Outcome, Store, StoreOptions, Text};
use tidegate_testkit::servers::PostgresServer;
use tidegate_wire::Usage;

const ENTRIES: u32 = 300_000;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let directory = std::env::temp_dir().join(format!("tidegate-ledger-cost-{}", std::process::id()));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let server = arguments.last().is_some_and(|last| last == "postgres").then(PostgresServer::private);
    let database = server.as_ref().map(PostgresServer::database);
    let store_options = StoreOptions {
        data: directory.clone(),
        database: database.as_ref().map(|database| database.url().parse().unwrap()),
    };
    let started = Instant::now();
    let store = Store::open(&store_options).await.unwrap();
    println!("open a new directory:       {:?}", started.elapsed());
    store.close().await;
    let started = Instant::now();
    let store = Store::open(&store_options).await.unwrap();
    let mut options = LedgerOptions::default();
    if let Some(window_ms) = arguments.first().and_then(|argument| argument.parse().ok()) {
        options.batch_window = Duration::from_millis(window_ms);
    }
    let ledger = store.ledger(options).await.unwrap();
    println!("open an existing one:       {:?}", started.elapsed());
    println!("resident memory, idle:      {} KiB", resident_kib());

    let names: [Arc<str>; 5] = [
        "fast",
        "openai",
        "gpt-5-mini",
        "openai/gpt-5-mini",
        r#"{"input":250,"cache_read":25,"output":2000}"#,
    ]
    .map(Arc::from);
    for per_second in [1_000_u32, 20_000] {
        let count = 10 * per_second;
        let mut spent = [0.0; 2];
        // The first time without the ledger: what the pacing's own timers cost.
        for (with_ledger, spent) in [false, true].into_iter().zip(&mut spent) {
            let before = cpu_seconds();
            let started = Instant::now();
            for number in 0..count {
                if with_ledger {
                    ledger.reserve().unwrap().record(entry(&names, number));
                }
                if number % (per_second / 100) == 0 {
                    let due = started + Duration::from_secs(1) * number / per_second;
                    tokio::time::sleep_until(due.into()).await;
                }
            }
            ledger.flush().await.unwrap();
            *spent = cpu_seconds() - before;
        }
        println!(
            "at {per_second} a second: {:.2} µs of CPU an entry",
            (spent[1] - spent[0]) * 1e6 / f64::from(count)
        );
    }
    let (before, started) = (cpu_seconds(), Instant::now());
    let mut batch = 0;
    for number in 0..ENTRIES {
        ledger.reserve().unwrap().record(entry(&names, number));
        batch += 1;
        if batch == 1_000 {
            ledger.flush().await.unwrap();
            batch = 0;
        }
    }
    ledger.flush().await.unwrap();
    println!(
        "unpaced, by thousands: {:.2} µs of CPU an entry, {:.0} entries a second",
        (cpu_seconds() - before) * 1e6 / f64::from(ENTRIES),
        f64::from(ENTRIES) / started.elapsed().as_secs_f64()
    );
    println!("resident memory, after:     {} KiB", resident_kib());
    let report = ledger.close(Duration::from_secs(10)).await;
    let size = std::fs::metadata(directory.join("tidegate.db")).map_or(0, |file| file.len());
    println!(
        "{report:?}, {} bytes an entry, {} bytes an entry in memory",
        size / report.written,
        size_of::<LedgerEntry>()
    );
    store.close().await;
    std::fs::remove_dir_all(directory).unwrap();
}

fn entry([model, provider, upstream, target, prices]: &[Arc<str>; 5], number: u32) -> LedgerEntry {
    LedgerEntry {
        organization_id: Some("org_default".into()),
        team_id: Some(Text::from(format!("team_{:032}", number % 10))),
        key_id: Some(Text::from(format!("key_{:032}", number % 100))),
        duration_us: u64::from(number),
        time_to_first_token_us: Some(200_000),
        model: Some(model.into()),
        provider: Some(provider.into()),
        upstream_model: Some(upstream.into()),
        key_label: Some(Text::from("openai#1")),
        outcome: Outcome::Answered,
        status: Some(200),
        finish_reason: Some("stop".into()),
        usage: Usage { input: 812, output: 66, ..Usage::default() },
        cost_nanodollars: Some(334_000),
        prices: Some(prices.into()),
        attempts: vec![Attempt {
            target: target.into(),
            failure: None,
            status: Some(200),
            duration_us: 812_345,
            used: None,
        }],
        bytes_in: 900,
        bytes_out: 1_200,
        ..LedgerEntry::new(CallId::now(), "openai-chat", "chat")
    }
}

/// The CPU time of this process, user and system together, by Linux's account (hundredths of a second).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
