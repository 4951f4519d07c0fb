//! How a command fails: what the person at the terminal reads, and the exit code. Returned by every command, shown by `main`.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use tidegate_config::{ConfigErrors, Environment};
use tidegate_gateway::ProviderError;
use tidegate_store::{AccessError, StoreError};

/// The exit code when a command has failed, also because what it was to work on is not there.
const FAILED: u8 = 1;
/// The exit code when the command line or the configuration is wrong.
const WRONG: u8 = 2;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The configuration has mistakes, which point at their places.
    Configuration(ConfigErrors),
    /// The configuration or the command line asks for something that cannot be.
    Wrong {
        /// What is wrong.
        message: String,
        /// What to do about it.
        help: String,
    },
    /// What was asked for is not there.
    NotFound {
        /// What is missing.
        message: String,
        /// What there is.
        help: String,
    },
    /// It was asked rightly and went wrong.
    Failed {
        /// What went wrong, with its causes.
        error: anyhow::Error,
        /// What to do about it, where that is known.
        help: Option<&'static str>,
    },
}

impl Failure {
    /// A mistake in what was asked.
    pub(crate) fn wrong(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Wrong { message: message.into(), help: help.into() }
    }

    /// Something that is not there.
    pub(crate) fn not_found(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::NotFound { message: message.into(), help: help.into() }
    }

    /// Tells it on standard error.
    pub(crate) fn show(&self) -> ExitCode {
        let (text, code) = match self {
            Self::Configuration(errors) => (errors.render(colours()), WRONG),
            Self::Wrong { message, help } => (format!("error: {message}\n\n{help}\n"), WRONG),
            Self::NotFound { message, help } => (format!("error: {message}\n\n{help}\n"), FAILED),
            Self::Failed { error, help } => {
                let mut text = format!("error: {error}\n");
                // Writing into a `String` cannot fail.
                for cause in error.chain().skip(1) {
                    let _ = writeln!(text, "  because: {cause}");
                }
                if let Some(help) = help {
                    let _ = writeln!(text, "\n{help}");
                }
                (text, FAILED)
            }
        };
        // Where standard error is closed, the exit code still tells.
        let _ = io::stderr().write_all(text.as_bytes());
        ExitCode::from(code)
    }
}

/// Shows what clap has to say: help and the version are answers, the rest is wrong usage.
pub(crate) fn show_usage(error: &clap::Error) -> ExitCode {
    // As above.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(WRONG) } else { ExitCode::SUCCESS }
}

/// Whether standard error takes colours.
pub(crate) fn colours() -> bool {
    io::stderr().is_terminal() && Environment::of_process().allows_colours()
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::Configuration(errors)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let help = Some(error.remedy());
        Self::Failed { error: error.into(), help }
    }
}

impl From<AccessError> for Failure {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Store(error) => error.into(),
            error => Self::Failed { error: error.into(), help: None },
        }
    }
}

impl From<ProviderError> for Failure {
    fn from(error: ProviderError) -> Self {
        Self::wrong(
            chain(&error),
            "correct it in the configuration, or in the variable or file that it comes from",
        )
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed { error, help: None }
    }
}

/// An error with all its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing into a `String` cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
