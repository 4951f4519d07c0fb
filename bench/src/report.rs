//! Turns the results into a Markdown page and a JSON file. Called by `main` at the end.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde_json::json;

use crate::contender::Contender;
use crate::measure::{Load, Results};
use crate::scenario::Scenario;

/// Idle memory that Tidegate may take.
const IDLE_TARGET_MB: f64 = 25.0;
/// Time from start to first answer that Tidegate may take.
const FIRST_ANSWER_TARGET_MS: f64 = 150.0;
/// What still counts as equally fast.
const AS_FAST: f64 = 1.1;
/// Memory that Tidegate may take with 5,000 streams open.
const OPEN_STREAMS_TARGET_MB: f64 = 200.0;

/// Writes `results.md` and `results.json`; returns their paths.
pub(crate) fn write(directory: &Path, results: &Results) -> anyhow::Result<(PathBuf, PathBuf)> {
    fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    let markdown = directory.join("results.md");
    let json = directory.join("results.json");
    fs::write(&markdown, page(results)?)?;
    let document = json!({"machine": machine(), "results": results});
    fs::write(&json, serde_json::to_string_pretty(&document)? + "\n")?;
    Ok((markdown, json))
}

fn page(results: &Results) -> anyhow::Result<String> {
    let mut page = String::from(
        "# Benchmark results\n\nWritten by `make bench`; the method is in [README.md](../README.md).\n\n",
    );
    for fact in machine() {
        writeln!(page, "- {fact}")?;
    }
    writeln!(
        page,
        "- {} rounds of {} s each, interleaved, medians; {} connections for whole answers, {} for streams; \
         {} threads or worker processes for each proxy",
        results.rounds, results.seconds_per_round, results.connections, results.streams, results.workers
    )?;
    loads(&mut page, results)?;
    memory(&mut page, results)?;
    settings(&mut page, results)?;
    targets(&mut page, results)?;
    Ok(page)
}

fn loads(page: &mut String, results: &Results) -> anyhow::Result<()> {
    let loads = results.loads.iter().filter(|load| !load.scenario.is_of_settings());
    let mut scenarios: Vec<_> = loads.map(|load| load.scenario).collect();
    scenarios.dedup();
    for scenario in scenarios {
        let rows: Vec<&Load> = results.loads.iter().filter(|load| load.scenario == scenario).collect();
        writeln!(page, "\n## {}\n", scenario.title())?;
        writeln!(
            page,
            "| | requests/s | p50 | p99 | first byte p50 | first byte p99 | CPU per request | times HAProxy's | reads per answer |\n\
             |---|---:|---:|---:|---:|---:|---:|---:|---:|"
        )?;
        for row in rows {
            let cpu = row.cpu_us_per_request.map_or("–".to_owned(), |cpu| format!("{cpu:.1} µs"));
            let ratio = ratio(results, row).map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
            writeln!(
                page,
                "| {} | {:.0} | {} | {} | {} | {} | {cpu} | {ratio} | {:.1} |",
                row.contender.title(),
                row.requests_per_second,
                time(row.p50_us),
                time(row.p99_us),
                time(row.first_byte_p50_us),
                time(row.first_byte_p99_us),
                row.reads_per_answer,
            )?;
        }
    }
    Ok(())
}

fn memory(page: &mut String, results: &Results) -> anyhow::Result<()> {
    writeln!(
        page,
        "\n## Start and memory\n\n| | first answer after | memory idle | at its peak | with streams open | at their peak |\n\
         |---|---:|---:|---:|---:|---:|"
    )?;
    for start in results.starts.iter().filter(|start| start.contender != Contender::Direct) {
        let open = results.open_streams.iter().find(|open| open.contender == start.contender);
        let bytes = |bytes: Option<u64>| {
            bytes.map_or("–".to_owned(), |bytes| format!("{:.1} MB", megabytes(bytes)))
        };
        writeln!(
            page,
            "| {} | {:.0} ms | {} | {} | {} | {} |",
            start.contender.title(),
            start.first_answer_ms,
            bytes(Some(start.idle_bytes)),
            bytes(Some(start.peak_bytes)),
            bytes(open.map(|open| open.open_bytes)),
            bytes(open.map(|open| open.peak_bytes)),
        )?;
    }
    if let Some(open) = results.open_streams.first() {
        writeln!(page, "\n{} streams were open at once.", open.streams)?;
    }
    Ok(())
}

/// Tidegate in several settings: loads, start and memory in a table for each scenario.
fn settings(page: &mut String, results: &Results) -> anyhow::Result<()> {
    for scenario in Scenario::ALL {
        let Some(base) = scenario.settings().first() else { continue };
        let mut starts =
            results.settings.iter().filter(|start| scenario.settings().contains(&start.contender)).peekable();
        if starts.peek().is_none() {
            continue;
        }
        writeln!(
            page,
            "\n## {}\n\n| | requests/s | p50 | p99 | CPU per request | times the first | first answer after | memory idle | at its peak |\n\
             |---|---:|---:|---:|---:|---:|---:|---:|---:|",
            scenario.title()
        )?;
        for start in starts {
            let Some(load) = load_of(results, scenario, start.contender) else { continue };
            let title = match start.contender {
                Contender::Tidegate => "Tidegate, the ledger alone".to_owned(),
                Contender::ManyKeys => format!("the same with {} keys", results.many_keys),
                other => other.title().to_owned(),
            };
            writeln!(
                page,
                "| {title} | {:.0} | {} | {} | {:.1} µs | {:.2} | {:.0} ms | {:.1} MB | {:.1} MB |",
                load.requests_per_second,
                time(load.p50_us),
                time(load.p99_us),
                load.cpu_us_per_request.unwrap_or_default(),
                ratio_of_settings(results, scenario, start.contender, *base).unwrap_or_default(),
                start.first_answer_ms,
                megabytes(start.idle_bytes),
                megabytes(start.peak_bytes),
            )?;
        }
    }
    Ok(())
}

fn load_of(results: &Results, scenario: Scenario, contender: Contender) -> Option<&Load> {
    results.loads.iter().find(|load| load.scenario == scenario && load.contender == contender)
}

/// CPU time per request in one setting as a multiple of that in another.
fn ratio_of_settings(results: &Results, scenario: Scenario, of: Contender, base: Contender) -> Option<f64> {
    let base = load_of(results, scenario, base)?.cpu_us_per_request?;
    (base > 0.0).then_some(load_of(results, scenario, of)?.cpu_us_per_request? / base)
}

fn targets(page: &mut String, results: &Results) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for load in results
        .loads
        .iter()
        .filter(|load| load.contender == Contender::Tidegate && !load.scenario.is_of_settings())
    {
        if let Some(ratio) = ratio(results, load) {
            let target = load.scenario.target_ratio();
            let title = format!("{}: CPU, times HAProxy's", load.scenario.title());
            rows.push((title, format!("{ratio:.2}"), format!("{target}"), ratio <= target));
        }
    }
    for start in results.starts.iter().filter(|start| start.contender == Contender::Tidegate) {
        let idle = megabytes(start.idle_bytes);
        rows.push((
            "memory idle".to_owned(),
            format!("{idle:.1} MB"),
            format!("{IDLE_TARGET_MB} MB"),
            idle <= IDLE_TARGET_MB,
        ));
        let first = start.first_answer_ms;
        rows.push((
            "first answer".to_owned(),
            format!("{first:.0} ms"),
            format!("{FIRST_ANSWER_TARGET_MS} ms"),
            first <= FIRST_ANSWER_TARGET_MS,
        ));
    }
    for open in results.open_streams.iter().filter(|open| open.contender == Contender::Tidegate) {
        let peak = megabytes(open.peak_bytes);
        rows.push((
            format!("{} streams open", open.streams),
            format!("{peak:.1} MB"),
            format!("{OPEN_STREAMS_TARGET_MB} MB"),
            peak <= OPEN_STREAMS_TARGET_MB,
        ));
    }
    let of_cpu = [
        (
            Scenario::KeysAndLimits,
            Contender::TenKeys,
            "key, limits, budgets, ledger: CPU, times nothing kept",
        ),
        (Scenario::Routing, Contender::TenTargets, "`latency` over ten targets: CPU, times one target"),
    ];
    for (scenario, contender, title) in of_cpu {
        let base = scenario.settings().first();
        let ratio = base.and_then(|base| ratio_of_settings(results, scenario, contender, *base));
        let Some(ratio) = ratio else { continue };
        let target = scenario.target_ratio();
        rows.push((title.to_owned(), format!("{ratio:.2}"), format!("{target}"), ratio <= target));
    }
    let keys = Scenario::KeysAndLimits;
    let times = [Contender::TenKeys, Contender::ManyKeys].map(|of| load_of(results, keys, of));
    if let [Some(ten), Some(million)] = times {
        let ratio = million.p50_us / ten.p50_us.max(1.0);
        let title = format!("{} keys: p50, times ten keys'", results.many_keys);
        rows.push((title, format!("{ratio:.2}"), format!("{AS_FAST}"), ratio <= AS_FAST));
    }
    let times = [Contender::Unshadowed, Contender::Shadowed].map(|of| load_of(results, Scenario::Shadow, of));
    if let [Some(without), Some(with)] = times {
        let ratio = with.p99_us / without.p99_us.max(1.0);
        let target = Scenario::Shadow.target_ratio();
        let title = "every call shadowed: p99, times that without".to_owned();
        rows.push((title, format!("{ratio:.2}"), format!("{target}"), ratio <= target));
    }
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(page, "\n## Tidegate's targets\n\n| | measured | at most | reached |\n|---|---:|---:|---|")?;
    for (title, measured, target, reached) in rows {
        writeln!(page, "| {title} | {measured} | {target} | {} |", if reached { "yes" } else { "**no**" })?;
    }
    Ok(())
}

/// CPU time per request as a multiple of HAProxy's in the same scenario.
fn ratio(results: &Results, load: &Load) -> Option<f64> {
    let base = results
        .loads
        .iter()
        .find(|base| base.contender == Contender::Haproxy && base.scenario == load.scenario)?
        .cpu_us_per_request?;
    (base > 0.0).then_some(load.cpu_us_per_request? / base)
}

fn time(microseconds: f64) -> String {
    if microseconds < 1_000.0 {
        format!("{microseconds:.0} µs")
    } else {
        format!("{:.2} ms", microseconds / 1e3)
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// What the figures were measured on.
fn machine() -> Vec<String> {
    let processor = fs::read_to_string("/proc/cpuinfo")
        .unwrap_or_default()
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name").map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned())
        })
        .unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    vec![
        format!("{cores} cores ({processor}), Linux {}", kernel.trim()),
        said(Command::new("haproxy").arg("-v")),
        said(Command::new("nginx").arg("-v")),
    ]
}

fn said(command: &mut Command) -> String {
    let Ok(output) = command.output() else {
        return format!("{}: not found", command.get_program().display());
    };
    let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().next().unwrap_or_default();
    // HAProxy prints its address on the web behind its version.
    line.split(" - ").next().unwrap_or_default().to_owned()
}
