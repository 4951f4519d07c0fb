//! `tidegate check`: is the configuration right, and what would run?

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tidegate_catalog::Catalog;
use tidegate_config::{Sources, describe, load};
use tidegate_gateway::Gateway;

use super::serve::no_provider;
use crate::failure::Failure;
use crate::output::print;

/// Check the configuration and show what would run
#[derive(Debug, Args)]
#[command(
    after_help = "Exits with 2 when the configuration is wrong or has no provider, and shows each mistake with its place."
)]
pub(crate) struct Options {
    /// The configuration file [default: $TIDEGATE_CONFIG, else tidegate.yaml where it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(options: Options) -> Result<(), Failure> {
    let settings = Arc::new(load(&Sources { config: options.config, ..Sources::of_process() })?);
    // With nothing to serve `serve` does not start.
    if settings.providers.is_empty() {
        return Err(no_provider(&settings));
    }
    Gateway::check(Arc::clone(&settings), Catalog::builtin())?;
    print(&describe(&settings))
}
