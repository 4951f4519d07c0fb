//! The command line: one file a command. Called by `main`.

mod calls;
mod check;
mod ledger;
mod models;
mod schema;
mod serve;
mod usage;

use clap::{Parser, Subcommand};

use crate::failure::Failure;

/// One endpoint in front of every model provider.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, max_term_width = 100, subcommand_required = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway
    Serve(serve::Options),
    /// Check the configuration and show what would run
    Check(check::Options),
    /// List the models that one can ask for
    Models(models::Options),
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    /// Sum up the ledger: calls, tokens, cost
    Usage(usage::Options),
    /// List calls from the ledger, or show one of them
    Calls(calls::Options),
}

/// Runs a command to its end.
pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(options) => serve::run(options),
        Command::Check(options) => check::run(options),
        Command::Models(options) => models::run(&options),
        Command::Schema => schema::run(),
        Command::Usage(options) => usage::run(&options),
        Command::Calls(options) => calls::run(&options),
    }
}
