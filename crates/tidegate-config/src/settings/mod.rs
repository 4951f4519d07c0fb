//! The resolved settings: plain data with every default filled in. Read by every station; written only by `resolve`.

mod access;
mod experiments;
mod keep;
mod routing;
mod share;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use ipnet::IpNet;
use serde::Serialize;

use crate::condition::Condition;
use crate::secret::Secret;

pub use access::{JwtAlgorithm, JwtClaimNames, JwtIssuer};
pub use experiments::{
    Arm, ArmsDesign, Bandit, BudgetPeriod, CanaryDesign, Design, Experiment, Guard, Metric, ShadowBudget,
    ShadowDesign, Unit,
};
pub use keep::{Bodies, Discount, KeepBodies, Ledger, Redaction, Retention, Shared, Store, Unreachable};
pub use routing::{AUTO, Auto, HealthCheck, Hedge, Mix, Queue, Strategy, Thresholds};
pub use share::Share;

/// Everything that Tidegate was told, resolved. Kept in an `Arc` and replaced whole on a reload.
#[derive(Debug, Clone, Serialize)]
pub struct Settings {
    /// Where the settings came from.
    pub origin: Origin,
    /// The listening side.
    pub server: Server,
    /// The directory of the journal, and of the embedded store.
    pub data: PathBuf,
    /// Where keys, budgets and the ledger are kept.
    pub store: Store,
    /// What several replicas share while they run.
    pub shared: Option<Shared>,
    /// The durable list of calls.
    pub ledger: Ledger,
    /// The identity providers whose tokens are accepted in place of a key. Their issuers differ.
    pub jwt: Vec<JwtIssuer>,
    /// The configured providers by name, in the file's order.
    pub providers: IndexMap<String, Provider>,
    /// The entries of `models:` by name, in the file's order.
    pub models: IndexMap<String, Model>,
    /// What the model name `auto` means; there is no such model where not set.
    pub auto: Option<Auto>,
    /// The entries of `experiments:` by name, in the file's order.
    pub experiments: IndexMap<String, Experiment>,
    /// The policy for calls that name a provider's model directly; entries of `models:` carry their own.
    pub policy: Policy,
    /// Prices that replace the catalog's, by `provider/upstream-model` or `provider/*`. Asked through [`Settings::price_override`].
    pub prices: IndexMap<String, PriceOverride>,
    /// What the operator should know although nothing is wrong. One sentence each, for the log and `tidegate check`.
    pub notices: Vec<String>,
}

/// Where the settings came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A configuration file.
    File(PathBuf),
    /// No file: the providers were found by their environment variables.
    Environment,
}

/// The listening side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Server {
    /// Address and port; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The largest request body accepted, in bytes.
    pub max_body: usize,
    /// How long calls in flight may finish after a SIGTERM.
    pub drain: Duration,
    /// Who may call.
    pub auth: Auth,
    /// Worker threads; as many as there are processors, when not set.
    pub workers: Option<NonZeroUsize>,
    /// How many calls are worked on at once; more wait in the queue.
    pub max_calls: usize,
    /// The calls that wait.
    pub queue: Queue,
    /// The header that names the end user where the body does not, in lower case. A valid name of a header.
    pub end_user_header: String,
    /// The proxies whose `x-forwarded-for` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// Callers with a key, once one exists. Before that everybody, which is why only a loopback address is accepted.
    #[default]
    KeysOnceOneExists,
    /// Callers with a key, even while none exists.
    Keys,
    /// Everybody, on any address. A valid key still counts as whose it is.
    Open,
}

/// A configured endpoint with its credentials.
#[derive(Debug, Clone, Serialize)]
pub struct Provider {
    /// The name it goes by in `provider/upstream-model`.
    pub name: String,
    /// Its entry in the catalog: dialects, authentication and quirks come from there.
    pub kind: String,
    /// What that provider's own SDK takes as base URL, without a slash at the end.
    pub base_url: String,
    /// The keys that calls are spread over; empty for a provider that needs none.
    pub keys: Vec<Key>,
    /// Headers added to every request.
    pub headers: IndexMap<String, Secret>,
    /// What it takes off its list prices.
    pub discount: Discount,
    /// The deadlines of its targets, where a model or target does not say otherwise.
    pub timeouts: Timeouts,
    /// Whether it is asked now and then if it is there.
    pub health_check: Option<HealthCheck>,
}

/// One credential of a provider.
#[derive(Debug, Clone, Serialize)]
pub struct Key {
    /// The credential itself.
    pub secret: Secret,
    /// Its share of the calls among the provider's keys.
    pub weight: u32,
    /// Where it came from, which may be shown.
    pub source: KeySource,
}

/// Where a key came from. Shown in place of the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeySource {
    /// An environment variable, by name.
    Variable(String),
    /// A file of its own.
    File(String),
    /// It stands in the configuration file as it is.
    Inline,
    /// It is kept in the store, encrypted, under this label.
    Stored(String),
}

/// An entry of `models:`.
#[derive(Debug, Clone, Serialize)]
pub struct Model {
    /// The name that callers ask for.
    pub name: String,
    /// The choices behind it, in the file's order. Never empty.
    pub targets: Vec<Target>,
    /// How a target is chosen.
    pub strategy: Strategy,
    /// Where this does not hold, the targets are passed over and `fallback` goes on.
    pub when: Option<Condition>,
    /// Whether a second target is asked when the first one is late.
    pub hedge: Option<Hedge>,
    /// Models tried in turn when every target has failed: entries of `models:` or `provider/upstream-model`. No circles.
    pub fallback: Vec<String>,
    /// Its policy, with everything filled in.
    pub policy: Policy,
}

/// One concrete choice behind a model.
#[derive(Debug, Clone, Serialize)]
pub struct Target {
    /// The name of a configured provider.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// Its share under strategies that spread calls; 0 for a stand-by.
    pub weight: u32,
    /// A call for which this does not hold does not go to this target.
    pub when: Option<Condition>,
    /// Its deadlines; `total` is the model's, as it spans all attempts.
    pub timeouts: Timeouts,
    /// How it is retried.
    pub retry: Retry,
}

/// What is done about slowness and failure.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Policy {
    /// Deadlines.
    pub timeouts: Timeouts,
    /// How one target is retried.
    pub retry: Retry,
    /// Failures that go on to the next target although by default they would be the caller's.
    pub fallback_on: Vec<FallbackOn>,
    /// What happens to a stream that breaks after its first bytes were sent.
    pub recovery: Recovery,
    /// Whether to refuse a call rather than drop what a target cannot express.
    pub strict: bool,
}

/// Deadlines. All of them always apply: a provider that goes silent must not hold its callers for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Timeouts {
    /// Until the connection stands, TLS included.
    pub connect: Duration,
    /// From sending the request to the first event of a stream.
    pub first_token: Duration,
    /// From sending the request to the end of a whole answer, which comes in one piece when the model is done.
    pub answer: Duration,
    /// Between two reads inside a stream.
    pub idle: Duration,
    /// The whole call, all its attempts together.
    pub total: Duration,
}

impl Default for Timeouts {
    /// `connect` and `total` are what the official OpenAI and Anthropic SDKs use: a caller with an unchanged client has
    /// hung up by then. `first_token` leaves room for reasoning models, which think for a minute or more before they
    /// say anything; `answer` for all that a model writes at length; `idle` for those that pause inside an answer, and for providers whose keep-alive comes every
    /// fifteen to thirty seconds.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_token: Duration::from_secs(120),
            answer: Duration::from_secs(600),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(600),
        }
    }
}

/// How one target is retried before the next one is tried. Which failures are retried at all is not a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Retry {
    /// How often one target is tried, the first time included. 1 means no retry.
    pub attempts: u32,
    /// How long to wait between two tries.
    pub backoff: Backoff,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 2, backoff: Backoff::default() }
    }
}

/// The waiting times between two tries: doubled each time from `shortest`, never over `longest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Backoff {
    /// The first waiting time.
    pub shortest: Duration,
    /// The bound.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { shortest: Duration::from_millis(200), longest: Duration::from_secs(5) }
    }
}

/// Failures for which going on to the next target is the user's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FallbackOn {
    /// The provider refused the content.
    ContentPolicy,
}

/// What happens to a stream that breaks after its first bytes were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// The stream ends with an error event.
    Error,
    /// Another target goes on with it, where that can be done without the caller seeing a seam.
    #[default]
    Continue,
}

/// Prices that replace the catalog's, in nano-dollars per million tokens, so that no cent is lost to rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct PriceOverride {
    /// Input tokens.
    pub input: Option<u64>,
    /// Output tokens.
    pub output: Option<u64>,
    /// Input tokens read from the provider's prompt cache.
    pub cache_read: Option<u64>,
    /// Input tokens written to the provider's prompt cache.
    pub cache_write: Option<u64>,
    /// Reasoning tokens.
    pub reasoning: Option<u64>,
    /// Audio tokens in.
    pub input_audio: Option<u64>,
    /// Audio tokens out.
    pub output_audio: Option<u64>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            max_body: 32 * 1024 * 1024, // holds what providers take: documents and images of 20 to 32 MB, in base64
            drain: Duration::from_secs(30),
            auth: Auth::default(),
            workers: None,
            max_calls: 16_384, // some 500 MB where all of them are streams with ordinary prompts
            queue: Queue::default(),
            end_user_header: "x-tidegate-user".to_owned(),
            trusted_proxies: Vec::new(),
        }
    }
}

impl Settings {
    /// Settings with nothing configured: no provider, every default.
    pub fn empty(origin: Origin) -> Self {
        Self {
            origin,
            server: Server::default(),
            data: PathBuf::from("./tidegate-data"),
            store: Store::default(),
            shared: None,
            ledger: Ledger::default(),
            jwt: Vec::new(),
            providers: IndexMap::new(),
            models: IndexMap::new(),
            auto: None,
            experiments: IndexMap::new(),
            policy: Policy::default(),
            prices: IndexMap::new(),
            notices: Vec::new(),
        }
    }

    /// The target behind `provider/upstream-model` for a provider that is configured, under the general policy and the
    /// provider's deadlines.
    pub fn direct_target(&self, provider: &str, model: &str) -> Option<Target> {
        let provider = self.providers.get(provider)?;
        Some(Target {
            provider: provider.name.clone(),
            model: model.to_owned(),
            weight: 1,
            when: None,
            timeouts: provider.timeouts,
            retry: self.policy.retry,
        })
    }

    /// The prices that the file sets for a provider's model: its own entry, else the provider's `provider/*`.
    pub fn price_override(&self, provider: &str, model: &str) -> Option<&PriceOverride> {
        self.prices
            .get(&format!("{provider}/{model}"))
            .or_else(|| self.prices.get(&format!("{provider}/{EVERY_MODEL}")))
    }
}

/// Stands for every model of a provider, in `prices`.
pub(crate) const EVERY_MODEL: &str = "*";
