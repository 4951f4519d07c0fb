//! `tidegate sim`: the provider simulator alone.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tidegate_config::Environment;
use tidegate_sim::{Dialect, OptionsError, RunningSim, SimError, SimOptions, Simulator, scenarios};

use crate::failure::Failure;
use crate::logging;
use crate::output::{Side, Table, print};
use crate::signals::StopSignals;

/// Run the provider simulator alone
#[derive(Debug, Args)]
#[command(
    after_help = "It speaks OpenAI's, Anthropic's and Gemini's dialect, whole and streamed. The model's name says \
    what happens: overloaded, rate-limited-2s, cut-after-40, and so on; any other name answers."
)]
pub(crate) struct Options {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Milliseconds until the first token
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,
    /// How fast tokens follow; 0: as fast as possible
    #[arg(long, value_name = "NUMBER", default_value_t = 0.0)]
    tokens_per_second: f64,
    /// Tokens of an ordinary answer
    #[arg(long, value_name = "NUMBER", default_value_t = SimOptions::default().tokens)]
    tokens: u32,
    /// The key that callers must send [default: any]
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// The share of calls, 0 to 1, that fail with a 500
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    error_rate: f64,
    /// The share of calls, 0 to 1, that are answered with 429
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    rate_limit_rate: f64,
    /// The share of streams, 0 to 1, that break off in the middle
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    cut_rate: f64,
    /// List the names that ask for something, and end
    #[arg(long)]
    scenarios: bool,
}

pub(super) fn run(options: Options) -> Result<(), Failure> {
    if options.scenarios {
        return print(&scenario_table());
    }
    logging::start(&Environment::of_process())?;
    // As many threads as cores: it must not be what limits a measurement.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
    let ended = runtime.block_on(serve(options));
    runtime.shutdown_background();
    ended
}

async fn serve(options: Options) -> Result<(), Failure> {
    let mut stop = StopSignals::listen()?;
    let simulator = start(SimOptions {
        listen: options.listen,
        latency: Duration::from_millis(options.latency),
        tokens_per_second: options.tokens_per_second,
        tokens: options.tokens,
        api_key: options.api_key,
        error_rate: options.error_rate,
        rate_limit_rate: options.rate_limit_rate,
        cut_rate: options.cut_rate,
        ..SimOptions::default()
    })
    .await?;
    print(&format!(
        "the simulator listens; base URLs for each dialect's own SDK:\n  OpenAI     {}\n  Anthropic  {}\n  Gemini     {}\n",
        simulator.base_url(Dialect::OpenAiChat),
        simulator.base_url(Dialect::AnthropicMessages),
        simulator.base_url(Dialect::Gemini),
    ))?;
    stop.next().await;
    simulator.stop().await;
    Ok(())
}

/// Starts a simulator; options that make no sense are wrong usage.
pub(super) async fn start(options: SimOptions) -> Result<RunningSim, Failure> {
    Simulator::start(options).await.map_err(|error| match error {
        SimError::Options(
            wrong @ (OptionsError::Share { .. } | OptionsError::Speed { .. } | OptionsError::Tokens { .. }),
        ) => Failure::wrong(wrong.to_string(), "`tidegate sim --help` describes the options"),
        other => anyhow::Error::from(other).into(),
    })
}

fn scenario_table() -> String {
    use Side::Left;
    let mut table = Table::new([("NAME", Left), ("FAILURE KIND", Left), ("WHAT HAPPENS", Left)]);
    for scenario in scenarios() {
        table.row([
            scenario.example.to_owned(),
            scenario.failure.map_or_else(|| "–".to_owned(), |kind| kind.as_str().to_owned()),
            scenario.what.to_owned(),
        ]);
    }
    table.render()
}
