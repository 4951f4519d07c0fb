//! `tidegate`, the program: reads the command line, runs the command, turns its end into an exit code.
//!
//! | module | holds |
//! |---|---|
//! | `cli` | one file a command |
//! | `failure` | how a command fails: words and exit code |
//! | `logging` | what goes to standard error, and how |
//! | `output` | what goes to standard output; tables |
//! | `reload` | a changed configuration comes into force |
//! | `signals` | what ends the process, and in which order |

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail loudly")
)]

mod bodies;
mod cli;
mod failure;
mod limits;
mod logging;
mod output;
mod parts;
mod reload;
mod signals;
mod stores;

use std::process::ExitCode;

use clap::Parser as _;

/// Small blocks of many sizes on several threads, freed on the thread that took them: this allocator takes less time and
/// memory for them than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    keep_pages_small();
    let arguments = match cli::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return failure::show_usage(&error),
    };
    match cli::run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.show(),
    }
}

/// A huge page is 2 MB of memory from the first byte on: an idle gateway took 13 MB of them for 3 MB of data. The allocator
/// is built not to ask for them; this is for systems that give them unasked. Where it is refused, more memory is used.
fn keep_pages_small() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
