//! The command line: one file a command. Called by `main`.

mod administer;
mod audit;
mod calls;
mod check;
mod credentials;
mod demo;
mod experiments;
mod explain;
mod keys;
mod ledger;
mod limits;
mod models;
mod orgs;
mod schema;
mod serve;
mod sim;
mod teams;
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
    Serve(serve::Options),
    Demo(demo::Options),
    Sim(sim::Options),
    Check(check::Options),
    Models(models::Options),
    Explain(explain::Options),
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    Usage(Box<usage::Options>),
    Calls(calls::Options),
    Experiments(experiments::Options),
    Keys(keys::Options),
    Teams(teams::Options),
    Orgs(orgs::Options),
    Limits(limits::Options),
    Credentials(credentials::Options),
    Audit(audit::Options),
}

/// Runs a command to its end.
pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(options) => serve::run(options),
        Command::Demo(options) => demo::run(&options),
        Command::Sim(options) => sim::run(options),
        Command::Check(options) => check::run(options),
        Command::Models(options) => models::run(&options),
        Command::Explain(options) => explain::run(options),
        Command::Schema => schema::run(),
        Command::Usage(options) => usage::run(&options),
        Command::Calls(options) => calls::run(&options),
        Command::Experiments(options) => experiments::run(&options),
        Command::Keys(options) => keys::run(options),
        Command::Teams(options) => teams::run(options),
        Command::Orgs(options) => orgs::run(options),
        Command::Limits(options) => limits::run(options),
        Command::Credentials(options) => credentials::run(options),
        Command::Audit(options) => audit::run(options),
    }
}
