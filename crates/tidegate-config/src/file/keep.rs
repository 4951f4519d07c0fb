//! The part of the file that says where things are kept, and what: `store`, `shared`, `ledger`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::read::Located;
use crate::units::{LongDurationText, Size};

/// What several replicas share while they run: the Redis or Valkey, alone or with further settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "$text_or_mapping")]
#[schemars(rename = "SharedEntry", untagged)]
pub(crate) enum SharedEntry {
    /// Its address, such as `redis://cache:6379`.
    Text(String),
    /// Its address with further settings.
    Mapping(SharedSection),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct SharedSection {
    /// The address: `redis://`, `rediss://` (TLS), `redis-cluster://`, `rediss-cluster://`, `redis-sentinel://`, or the same with
    /// `valkey`.
    pub(crate) url: Located<String>,
    /// What happens to calls while it cannot be reached.
    #[schemars(extend("default" = "local"))]
    pub(crate) unreachable: Option<UnreachableKind>,
    /// How the names of all its entries begin, so that several installations can use one server.
    #[schemars(extend("default" = "tidegate"))]
    pub(crate) prefix: Option<Located<String>>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UnreachableKind {
    /// Each replica enforces its part of every limit by itself.
    Local,
    /// Calls to which a limit or budget applies are refused.
    Deny,
}

/// The durable list of calls.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct LedgerSection {
    /// Whether calls are recorded. Without it there are no reports, and what was spent is forgotten at a restart.
    #[schemars(extend("default" = true))]
    pub(crate) enabled: Option<bool>,
    /// How many bytes of calls may wait on disk, under `data`, while the database is away. When they are used up, calls are refused
    /// rather than left unrecorded.
    #[schemars(extend("default" = "1GiB"))]
    pub(crate) journal: Option<Located<Size>>,
    /// How long calls are kept. Sums by hour and day stay for ever.
    pub(crate) retention: Option<RetentionSection>,
    /// Whether requests and answers are kept beside the calls.
    pub(crate) bodies: Option<BodiesSection>,
}

/// How long single calls are kept; the first bound that is reached counts. For ever, when both are left out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RetentionSection {
    /// Older calls are deleted, with their bodies.
    pub(crate) age: Option<Located<LongDurationText>>,
    /// The oldest calls are deleted when the ledger takes more room than this.
    pub(crate) size: Option<Located<Size>>,
}

/// Requests and answers, kept for looking into them later.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct BodiesSection {
    /// Of which calls.
    #[schemars(extend("default" = "none"))]
    pub(crate) keep: Option<KeepKind>,
    /// The longest piece of a body that is kept; the rest is cut off.
    #[schemars(extend("default" = "64KiB"))]
    pub(crate) max: Option<Located<Size>>,
    /// What is replaced before a body is kept. All that is known by name, when left out; `[]` keeps bodies as they are.
    pub(crate) redact: Option<Vec<Located<RedactEntry>>>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeepKind {
    /// Of no call.
    None,
    /// Of calls that failed.
    Errors,
    /// Of every call.
    All,
}

/// What is replaced: something known by name, or a regular expression of your own.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "$text_or_mapping")]
#[schemars(rename = "RedactEntry", untagged)]
pub(crate) enum RedactEntry {
    /// `email`, `card`, `iban`, `phone` or `secret`.
    #[schemars(with = "RedactKind")]
    Text(String),
    /// A regular expression of your own.
    Mapping(RedactSection),
}

/// What can be replaced by name, for the schema.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum RedactKind {
    /// E-mail addresses.
    Email,
    /// Payment card numbers, recognised by their check digit.
    Card,
    /// Bank account numbers, recognised by their check digits.
    Iban,
    /// Telephone numbers in international notation.
    Phone,
    /// API keys and tokens of well-known forms, such as `sk-…`.
    Secret,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RedactSection {
    /// A regular expression, in the syntax of Rust's `regex`. All that it matches is replaced.
    pub(crate) pattern: Located<String>,
    /// What stands in its place, in brackets: `[customer]`.
    #[schemars(extend("default" = "redacted"))]
    pub(crate) name: Option<Located<String>>,
}
