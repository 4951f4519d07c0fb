//! Every environment variable that Tidegate reads is read here, through a value that tests replace.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Names the configuration file when `--config` does not.
pub(crate) const CONFIG_VARIABLE: &str = "TIDEGATE_CONFIG";
/// What is logged, in the syntax of `tracing`'s filters; the first one set wins.
const LOG_VARIABLES: [&str; 2] = ["TIDEGATE_LOG", "RUST_LOG"];
/// Set to anything, it keeps colours out of the output (no-color.org).
const NO_COLOR_VARIABLE: &str = "NO_COLOR";

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
