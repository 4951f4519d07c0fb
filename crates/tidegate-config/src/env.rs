//! Every environment variable that Tidegate reads is read here, through a value that tests replace.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Arc;

use crate::secret::Secret;

/// Names the configuration file when `--config` does not.
pub(crate) const CONFIG_VARIABLE: &str = "TIDEGATE_CONFIG";
/// What is logged, in the syntax of `tracing`'s filters; the first one set wins.
const LOG_VARIABLES: [&str; 2] = ["TIDEGATE_LOG", "RUST_LOG"];
/// Set to anything, it keeps colours out of the output (no-color.org).
const NO_COLOR_VARIABLE: &str = "NO_COLOR";

/// The key that encrypts the providers' credentials in the store and seals the audit log, and the file that it may be in.
const MASTER_KEY_VARIABLE: &str = "TIDEGATE_MASTER_KEY";
const MASTER_KEY_FILE_VARIABLE: &str = "TIDEGATE_MASTER_KEY_FILE";
/// A master key is 64 characters at its longest; a file much larger is another one.
const MAX_MASTER_KEY_BYTES: u64 = 4096;
/// The key with which commands ask a gateway that runs.
const ADMIN_KEY_VARIABLE: &str = "TIDEGATE_ADMIN_KEY";
/// Who runs a command, for the audit log; the first one set wins.
const USER_VARIABLES: [&str; 3] = ["SUDO_USER", "USER", "LOGNAME"];

/// The file with the master key cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}, which {MASTER_KEY_FILE_VARIABLE} names, cannot be read", file.display())]
pub struct MasterKeyFileError {
    file: PathBuf,
    source: io::Error,
}

/// A view of environment variables. Besides the constants above, only those are looked up that the configuration file
/// names (`${…}`) and the usual key variables of the known providers.
///
/// The providers' base-URL variables (`OPENAI_BASE_URL` and the like) are left alone on purpose: where Tidegate is in use
/// they point at Tidegate, which would then call itself.
#[derive(Clone)]
pub struct Environment(Arc<LookUp>);

type LookUp = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Environment {
    /// The variables of this process. Those that are not Unicode count as not set.
    pub fn of_process() -> Self {
        Self(Arc::new(|name| std::env::var(name).ok()))
    }

    /// A fixed set of variables.
    pub fn of_pairs<const N: usize>(pairs: [(&str, &str); N]) -> Self {
        let pairs: HashMap<String, String> =
            pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self(Arc::new(move |name| pairs.get(name).cloned()))
    }

    /// What is to be logged, where that is said.
    pub fn log_filter(&self) -> Option<String> {
        LOG_VARIABLES.into_iter().find_map(|name| self.get(name))
    }

    /// Whether output may be coloured where it goes to a terminal.
    pub fn allows_colours(&self) -> bool {
        self.get(NO_COLOR_VARIABLE).is_none()
    }

    /// The master key as it was given, by its variable or else by the file that another one names.
    pub fn master_key(&self) -> Result<Option<Secret>, MasterKeyFileError> {
        if let Some(text) = self.get(MASTER_KEY_VARIABLE) {
            return Ok(Some(Secret::new(text)));
        }
        let Some(file) = self.get(MASTER_KEY_FILE_VARIABLE).map(PathBuf::from) else { return Ok(None) };
        let mut text = String::new();
        match File::open(&file).and_then(|open| open.take(MAX_MASTER_KEY_BYTES).read_to_string(&mut text)) {
            Ok(_) => Ok(Some(Secret::new(text))),
            Err(source) => Err(MasterKeyFileError { file, source }),
        }
    }

    /// Whether a master key is given, readable or not: then providers' keys may be in the store.
    pub(crate) fn has_master_key(&self) -> bool {
        self.get(MASTER_KEY_VARIABLE).or_else(|| self.get(MASTER_KEY_FILE_VARIABLE)).is_some()
    }

    /// The key with which a gateway that runs is asked.
    pub fn admin_key(&self) -> Option<Secret> {
        self.get(ADMIN_KEY_VARIABLE).map(Secret::new)
    }

    /// Who runs this process, as far as the environment says.
    pub fn user(&self) -> Option<String> {
        USER_VARIABLES.into_iter().find_map(|name| self.get(name))
    }

    /// The value of a variable. An empty one counts as not set, as shells and compose files leave empty ones behind.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Environment")
    }
}
