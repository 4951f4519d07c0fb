//! The order of the measurements: start-up and idle memory, rounds of each scenario, streams held open. Called by
//! `main`; the results go to `report`.

#![expect(clippy::print_stderr, reason = "progress on a terminal")]

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::accounts::Accounts;
use crate::contender::{self, Contender, Running};
use crate::load::{self, Connection, Sample};
use crate::mock::Mock;
use crate::options::Options;
use crate::process;
use crate::scenario::{Exchange, Scenario};

/// Starts of each contender; the median is reported.
const STARTS: usize = 5;

/// A started process gets this long to come to rest before its idle memory is read.
const SETTLE: Duration = Duration::from_millis(500);

/// Streams that are being opened at the same moment, so that no backlog overflows.
const OPENING_AT_ONCE: usize = 200;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) rounds: usize,
    pub(crate) seconds_per_round: f64,
    pub(crate) connections: usize,
    pub(crate) streams: usize,
    pub(crate) workers: usize,
    pub(crate) cores: usize,
    pub(crate) starts: Vec<Start>,
    pub(crate) loads: Vec<Load>,
    pub(crate) open_streams: Vec<OpenStreams>,
    /// Tidegate in several settings.
    pub(crate) settings: Vec<Start>,
    pub(crate) many_keys: usize,
}

/// Start-up and memory of one contender.
#[derive(Debug, Serialize)]
pub(crate) struct Start {
    pub(crate) contender: Contender,
    pub(crate) first_answer_ms: f64,
    pub(crate) idle_bytes: u64,
    /// After all scenarios, the held streams excepted.
    pub(crate) peak_bytes: u64,
}

/// One contender under one scenario: medians over the rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Load {
    pub(crate) contender: Contender,
    pub(crate) scenario: Scenario,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) first_byte_p50_us: f64,
    pub(crate) first_byte_p99_us: f64,
    /// Of the proxy itself; nothing for the mock.
    pub(crate) cpu_us_per_request: Option<f64>,
    /// Reads in which an answer came, on average: shows whether a proxy holds events back.
    pub(crate) reads_per_answer: f64,
    pub(crate) answers: usize,
    /// CPU time per request of each round, to show the spread.
    pub(crate) cpu_us_of_rounds: Vec<f64>,
}

/// One contender with many streams open at once.
#[derive(Debug, Serialize)]
pub(crate) struct OpenStreams {
    pub(crate) contender: Contender,
    pub(crate) streams: usize,
    pub(crate) open_bytes: u64,
    pub(crate) peak_bytes: u64,
}

pub(crate) fn run(options: &Options, mock: &Mock) -> anyhow::Result<Results> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_all(options, mock))
}

async fn run_all(options: &Options, mock: &Mock) -> anyhow::Result<Results> {
    let contenders = Contender::chosen(options);
    let mut starts = Vec::new();
    let mut running = Vec::new();
    for &contender in &contenders {
        let (start, process) = start_up(contender, options, mock, None).await?;
        starts.push(start);
        running.push(process);
    }
    let mut loads = Vec::new();
    for scenario in options.scenarios().into_iter().filter(|scenario| !scenario.is_of_settings()) {
        loads.extend(all_rounds(scenario, &running, options, mock).await?);
    }
    for (start, process) in starts.iter_mut().zip(&running) {
        if let Some(id) = process.process() {
            start.peak_bytes = process::memory(id)?.peak_bytes;
        }
    }
    drop(running);
    let mut open_streams = Vec::new();
    if options.open_streams > 0 {
        for &contender in contenders.iter().filter(|contender| **contender != Contender::Direct) {
            open_streams.push(hold_open(contender, options, mock).await.with_context(|| {
                format!("{} streams through {}", options.open_streams, contender.title())
            })?);
        }
    }
    let mut settings = Vec::new();
    let of_settings = options.scenarios().into_iter().filter(|scenario| scenario.is_of_settings());
    for scenario in of_settings.filter(|_| options.tidegate.is_some()) {
        settings.extend(in_settings(scenario, options, mock, &mut loads).await?);
    }
    Ok(Results {
        rounds: options.rounds,
        seconds_per_round: options.seconds,
        connections: options.connections,
        streams: options.streams,
        workers: options.workers,
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        starts,
        loads,
        open_streams,
        settings,
        many_keys: options.many_keys,
    })
}

/// One binary in several settings: what does each cost?
async fn in_settings(
    scenario: Scenario,
    options: &Options,
    mock: &Mock,
    loads: &mut Vec<Load>,
) -> anyhow::Result<Vec<Start>> {
    let mut accounts = Vec::new();
    for contender in scenario.settings() {
        accounts.push(match contender.keys(options) {
            Some(count) => {
                eprintln!("making {count} keys");
                Some(Accounts::prepare(count).await?)
            }
            None => None,
        });
    }
    let mut starts = Vec::new();
    let mut running = Vec::new();
    for (&contender, accounts) in scenario.settings().iter().zip(&accounts) {
        let (start, process) = start_up(contender, options, mock, accounts.as_ref()).await?;
        starts.push(start);
        running.push(process);
    }
    loads.extend(all_rounds(scenario, &running, options, mock).await?);
    for (start, process) in starts.iter_mut().zip(&running) {
        let id = process.process().context("no process")?;
        start.peak_bytes = process::memory(id)?.peak_bytes;
    }
    Ok(starts)
}

async fn start_up(
    contender: Contender,
    options: &Options,
    mock: &Mock,
    accounts: Option<&Accounts>,
) -> anyhow::Result<(Start, Running)> {
    let mut times = Vec::new();
    let mut memory = Vec::new();
    let mut last = None;
    for _ in 0..STARTS {
        drop(last.take());
        let running = contender::start(contender, options, mock.address, accounts).await?;
        times.push(running.first_answer.as_secs_f64() * 1e3);
        if let Some(id) = running.process() {
            tokio::time::sleep(SETTLE).await;
            memory.push(process::memory(id)?.now_bytes);
        }
        last = Some(running);
    }
    memory.sort_unstable();
    let start = Start {
        contender,
        first_answer_ms: median(&mut times),
        idle_bytes: memory.get(memory.len() / 2).copied().unwrap_or_default(),
        peak_bytes: 0,
    };
    eprintln!("{}: first answer after {:.0} ms", contender.title(), start.first_answer_ms);
    Ok((start, last.context("not started")?))
}

struct Round {
    samples: Vec<Sample>,
    elapsed: Duration,
    cpu: Option<Duration>,
}

async fn all_rounds(
    scenario: Scenario,
    running: &[Running],
    options: &Options,
    mock: &Mock,
) -> anyhow::Result<Vec<Load>> {
    let mut rounds: Vec<Vec<Round>> = running.iter().map(|_| Vec::new()).collect();
    for number in 0..options.rounds {
        for (process, done) in running.iter().zip(&mut rounds) {
            let before = mock.connections();
            let round = one_round(scenario, process, options)
                .await
                .with_context(|| format!("{} through {}", scenario.title(), process.contender.title()))?;
            eprintln!(
                "{}, round {}, {}: {} answers, {:.1} µs of CPU each, {} new connections at the mock",
                scenario.title(),
                number + 1,
                process.contender.title(),
                round.samples.len(),
                cpu_us(&round).unwrap_or_default(),
                mock.connections() - before,
            );
            done.push(round);
        }
    }
    Ok(running
        .iter()
        .zip(rounds)
        .map(|(process, rounds)| summed_up(process.contender, scenario, &rounds))
        .collect())
}

async fn one_round(scenario: Scenario, process: &Running, options: &Options) -> anyhow::Result<Round> {
    let exchange = process.exchange(scenario);
    let count = if scenario.streamed() { options.streams } else { options.connections };
    let connections = load::warm_up(process.address, &exchange, count).await?;
    let cpu = || process.process().map(process::cpu_time).transpose();
    process.come_to_rest().await?;
    let cpu_before = cpu()?;
    let began = Instant::now();
    let (connections, samples) =
        load::closed_loop(connections, &exchange, scenario.pace(), options.round()).await?;
    let elapsed = began.elapsed();
    process.come_to_rest().await?;
    let cpu = cpu()?.zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
    drop(connections);
    Ok(Round { samples, elapsed, cpu })
}

fn cpu_us(round: &Round) -> Option<f64> {
    Some(round.cpu?.as_secs_f64() * 1e6 / round.samples.len().max(1) as f64)
}

fn summed_up(contender: Contender, scenario: Scenario, rounds: &[Round]) -> Load {
    let over_rounds =
        |figure: &dyn Fn(&Round) -> f64| median(&mut rounds.iter().map(figure).collect::<Vec<_>>());
    let quantile = |of: fn(&Sample) -> Duration, share: f64| {
        over_rounds(&|round: &Round| {
            let mut times: Vec<f64> =
                round.samples.iter().map(|sample| of(sample).as_secs_f64() * 1e6).collect();
            quantile(&mut times, share)
        })
    };
    let cpu_us_of_rounds: Vec<f64> = rounds.iter().filter_map(cpu_us).collect();
    Load {
        contender,
        scenario,
        requests_per_second: over_rounds(&|round| round.samples.len() as f64 / round.elapsed.as_secs_f64()),
        p50_us: quantile(|sample| sample.whole, 0.5),
        p99_us: quantile(|sample| sample.whole, 0.99),
        first_byte_p50_us: quantile(|sample| sample.first_byte, 0.5),
        first_byte_p99_us: quantile(|sample| sample.first_byte, 0.99),
        cpu_us_per_request: (!cpu_us_of_rounds.is_empty()).then(|| median(&mut cpu_us_of_rounds.clone())),
        reads_per_answer: over_rounds(&|round| {
            let reads: f64 = round.samples.iter().map(|sample| f64::from(sample.reads)).sum();
            reads / round.samples.len().max(1) as f64
        }),
        answers: rounds.iter().map(|round| round.samples.len()).sum(),
        cpu_us_of_rounds,
    }
}

/// Opens many streams, reads the memory while all of them are open, lets them go and checks every one to its end.
async fn hold_open(contender: Contender, options: &Options, mock: &Mock) -> anyhow::Result<OpenStreams> {
    mock.hold();
    let running = contender::start(contender, options, mock.address, None).await?;
    let id = running.process().context("no process")?;
    let exchange = Exchange::held(contender.naming());
    let address = running.address;
    let mut open = Vec::new();
    while open.len() < options.open_streams {
        let mut opening = JoinSet::new();
        for _ in 0..OPENING_AT_ONCE.min(options.open_streams - open.len()) {
            let exchange = exchange.clone();
            opening.spawn(async move {
                let mut connection = Connection::open(address).await?;
                connection.begin(&exchange).await?;
                anyhow::Ok(connection)
            });
        }
        for connection in opening.join_all().await {
            open.push(connection?);
        }
    }
    tokio::time::sleep(SETTLE).await;
    let open_bytes = process::memory(id)?.now_bytes;
    mock.release();
    let mut finishing = JoinSet::new();
    for mut connection in open {
        let exchange = exchange.clone();
        finishing.spawn(async move { connection.finish(&exchange).await });
    }
    for outcome in finishing.join_all().await {
        outcome?;
    }
    let peak_bytes = process::memory(id)?.peak_bytes;
    eprintln!(
        "{}: {} streams at once, {} MB",
        contender.title(),
        options.open_streams,
        peak_bytes / 1_000_000
    );
    Ok(OpenStreams { contender, streams: options.open_streams, open_bytes, peak_bytes })
}

fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the index lies between 0 and the length"
)]
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}
