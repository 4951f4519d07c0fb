//! The log: standard error, for people where that is a terminal, one JSON object a line otherwise. Started by the
//! commands that run for long.

use std::io::{self, IsTerminal as _};

use tidegate_config::Environment;
use tracing_subscriber::EnvFilter;

use crate::failure::{Failure, colours};

/// What is logged unless `TIDEGATE_LOG` or `RUST_LOG` says otherwise.
const USUAL: &str = "info";

/// Starts logging for the rest of the process.
pub(crate) fn start(environment: &Environment) -> Result<(), Failure> {
    start_with(environment, USUAL)
}

/// Starts logging for the rest of the process, with this filter unless the environment has another one.
pub(crate) fn start_with(environment: &Environment, usual: &str) -> Result<(), Failure> {
    let wanted = environment.log_filter().unwrap_or_else(|| usual.to_owned());
    let filter = EnvFilter::try_new(&wanted).map_err(|error| {
        Failure::wrong(
            format!("TIDEGATE_LOG (or RUST_LOG) is no log filter: {error}"),
            "write a level, or levels by module: TIDEGATE_LOG=debug, TIDEGATE_LOG=info,tidegate_gateway=debug",
        )
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = if io::stderr().is_terminal() {
        log.with_ansi(colours()).with_target(false).try_init()
    } else {
        log.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
    started.map_err(|error| anyhow::anyhow!(error).context("the log could not be started").into())
}
