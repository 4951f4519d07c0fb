//! `tidegate-bench`: the same bounded load, in one go, at a mock provider directly, through HAProxy, through nginx
//! and through Tidegate. `make bench` calls it; `bench/README.md` explains the method.

#![expect(
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a program for a terminal that reports rounded figures"
)]

mod accounts;
mod answers;
mod contender;
mod load;
mod measure;
mod mock;
mod options;
mod process;
mod report;
mod scenario;

use anyhow::Context as _;
use clap::Parser as _;

use crate::options::Options;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    raise_open_file_limit().context("raising the limit on open files")?;
    let mock = mock::Mock::start().context("starting the mock provider")?;
    let results = measure::run(&options, &mock)?;
    let (markdown, json) = report::write(&options.output, &results)?;
    eprintln!("{}", std::fs::read_to_string(&markdown)?);
    eprintln!("written to {} and {}", markdown.display(), json.display());
    Ok(())
}

/// 5,000 open streams are 10,000 sockets here and as many in the proxy, which inherits the limit.
fn raise_open_file_limit() -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}
