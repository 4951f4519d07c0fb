//! The command line of the harness. Read by `main` and passed to `measure`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::scenario::Scenario;

/// Drives the same load at a mock provider directly and through each proxy, and writes a comparison.
#[derive(Debug, Clone, Parser)]
pub(crate) struct Options {
    /// The Tidegate binary to measure; left out of the comparison when not given.
    #[arg(long)]
    pub(crate) tidegate: Option<PathBuf>,

    /// A bare forwarder (`cargo build --release -p tidegate-bench --example forward`): what Tidegate's sockets and
    /// HTTP cost before any station has run.
    #[arg(long)]
    pub(crate) forward: Option<PathBuf>,

    /// The HAProxy binary; an empty value leaves it out.
    #[arg(long, default_value = "haproxy")]
    pub(crate) haproxy: String,

    /// The nginx binary; an empty value leaves it out.
    #[arg(long, default_value = "nginx")]
    pub(crate) nginx: String,

    /// Scenarios to run; all of them when not given.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) scenarios: Vec<Scenario>,

    /// Rounds per contender and scenario; the median of the rounds is reported.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,

    /// Seconds that one round lasts.
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,

    /// Connections of the load generator for whole answers.
    #[arg(long, default_value_t = 32)]
    pub(crate) connections: usize,

    /// Connections of the load generator for streams.
    #[arg(long, default_value_t = 64)]
    pub(crate) streams: usize,

    /// Streams to hold open at once for the memory measurement; 0 leaves it out.
    #[arg(long, default_value_t = 5_000)]
    pub(crate) open_streams: usize,

    /// Keys of which the load shows another one with each request, against ten.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) many_keys: usize,

    /// Threads or worker processes of each proxy; one a core when not given.
    #[arg(long, default_value_t = cores())]
    pub(crate) workers: usize,

    /// Directory for `results.md` and `results.json`.
    #[arg(long, default_value = "bench/results")]
    pub(crate) output: PathBuf,
}

impl Options {
    pub(crate) fn round(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    pub(crate) fn scenarios(&self) -> Vec<Scenario> {
        if self.scenarios.is_empty() { Scenario::ALL.to_vec() } else { self.scenarios.clone() }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
