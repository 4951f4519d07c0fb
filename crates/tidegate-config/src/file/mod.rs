//! The configuration file as it is written. The comments here are the reference manual and the editor's hints.
//!
//! Everything is optional; what the values mean together is settled in `resolve`. Filled in by `read`.

mod auth;
mod experiments;
mod keep;
mod routing;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::read::Located;
use crate::units::{DiscountText, Dollars, DurationRange, DurationText, Size};

pub(crate) use auth::{AuthSection, JwtSection, OneOrList};
pub(crate) use experiments::{
    ArmSection, BanditSection, CanarySection, ExperimentSection, GuardEntry, MetricKind, PeriodKind,
    ShadowSection, UnitKind,
};
pub(crate) use keep::{BodiesSection, KeepKind, LedgerSection, RedactEntry, SharedEntry, UnreachableKind};
pub(crate) use routing::{
    AutoSection, HealthCheckSection, HedgeSection, QueueSection, ScoreSection, ThresholdsSection,
};

/// The JSON Schema of the configuration file, for editors. A first line
/// `# yaml-language-server: $schema=./tidegate.schema.json` in the file makes use of it.
pub fn schema() -> serde_json::Value {
    SchemaSettings::draft07().into_generator().into_root_schema_for::<File>().to_value()
}

/// Tidegate's configuration. Everything is optional.
///
/// In any text, `${VARIABLE}` stands for an environment variable, `${VARIABLE:-default}` for one that may be missing and
/// `${file:/path}` for the content of a file; `$${` is a plain `${`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, rename = "Tidegate")]
pub(crate) struct File {
    /// The listening side.
    pub(crate) server: Option<ServerSection>,
    /// The directory of the journal, and of the embedded store where there is no `store`. A relative path starts at the working
    /// directory. Each replica has its own.
    #[schemars(extend("default" = "./tidegate-data"))]
    pub(crate) data: Option<Located<String>>,
    /// A PostgreSQL for keys, budgets and the ledger, `postgres://user:password@host/database`, in place of the embedded store. What
    /// several replicas need.
    pub(crate) store: Option<Located<String>>,
    /// A Redis or Valkey in which several replicas count limits and budgets together.
    pub(crate) shared: Option<Located<SharedEntry>>,
    /// The durable list of calls.
    pub(crate) ledger: Option<LedgerSection>,
    /// Who callers are, besides the keys that Tidegate gives out.
    pub(crate) auth: Option<AuthSection>,
    /// Where calls can go, by a name of your choice. A name that is known (`openai`, `anthropic`, `gemini`, …) brings its base
    /// URL, dialects and authentication with it.
    pub(crate) providers: Named<Option<ProviderSection>>,
    /// Names that callers can ask for besides `provider/upstream-model`.
    pub(crate) models: Named<ModelSection>,
    /// Gives the model name `auto`, which sends easy calls to a small model and hard ones to a large one.
    pub(crate) auto: Option<Located<AutoSection>>,
    /// What is tried out with the calls of a model, by a name of your choice.
    pub(crate) experiments: Named<ExperimentSection>,
    /// Deadlines for all calls. Providers, models and targets can set their own.
    pub(crate) timeout: Option<TimeoutSection>,
    /// How one target is retried, for all models. Models and targets can set their own.
    pub(crate) retry: Option<RetrySection>,
    /// Failures that go on to the next target although by default the caller gets them, for all models.
    #[schemars(with = "Option<Vec<FallbackKind>>")]
    pub(crate) fallback_on: Option<Vec<Located<String>>>,
    /// Streams, for all models.
    pub(crate) stream: Option<StreamSection>,
    /// Refuse a call rather than drop what the target cannot express. Callers can ask for it with `x-tidegate-strict`.
    #[schemars(extend("default" = false))]
    pub(crate) strict: Option<bool>,
    /// Prices that replace the catalog's, by `provider/upstream-model`, or `provider/*` for all models of a provider that have no
    /// entry of their own.
    pub(crate) prices: Named<PriceSection>,
}

/// The listening side.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ServerSection {
    /// Address and port. An address that other machines can reach is refused while no key exists, unless `auth` is set.
    #[schemars(extend("default" = "127.0.0.1:8080"))]
    pub(crate) listen: Option<Located<String>>,
    /// The largest request body that is accepted. A larger one is refused without being read on.
    #[schemars(extend("default" = "32MiB"))]
    pub(crate) max_body: Option<Located<Size>>,
    /// How long calls in flight may finish after a SIGTERM.
    #[schemars(extend("default" = "30s"))]
    pub(crate) drain: Option<DurationText>,
    /// Who may call. Everybody on this machine until the first key exists, and from then on callers with a key, when left out.
    pub(crate) auth: Option<AuthKind>,
    /// Worker threads. As many as there are processors, when left out.
    pub(crate) workers: Option<Located<u32>>,
    /// How many calls are worked on at once. More wait in the queue.
    #[schemars(extend("default" = 16384))]
    pub(crate) max_calls: Option<Located<u32>>,
    /// The calls that wait.
    pub(crate) queue: Option<QueueSection>,
    /// The header that names the end user where the body does not.
    #[schemars(extend("default" = "x-tidegate-user"))]
    pub(crate) end_user_header: Option<Located<String>>,
    /// The networks of the proxies in front, such as `10.0.0.0/8`. Only their word is taken (`x-forwarded-for`) for the address of a
    /// caller.
    pub(crate) trusted_proxies: Option<Vec<Located<String>>>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AuthKind {
    /// Callers with a key, even while there is none.
    Keys,
    /// Everybody who can reach the address. A valid key still counts as whose it is.
    Open,
}

/// An endpoint with its credentials.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ProviderSection {
    /// What it is, when its name does not say so: a known provider, or `openai-compatible` for any server that speaks the
    /// OpenAI API.
    pub(crate) kind: Option<Located<String>>,
    /// What the provider's own SDK takes as base URL: with `/v1` for OpenAI and compatible servers, without for Anthropic and
    /// Gemini. Known providers have theirs.
    pub(crate) base_url: Option<Located<String>>,
    /// Its key. When left out, the provider's usual environment variable is looked up (`OPENAI_API_KEY`, …).
    pub(crate) api_key: Option<Located<String>>,
    /// Several keys instead of one. Calls are spread over them, and each is cooled down on its own.
    pub(crate) keys: Option<Located<Vec<Located<KeyEntry>>>>,
    /// Headers that are added to every request.
    pub(crate) headers: Named<String>,
    /// What the provider takes off its prices for you: `10%`. Costs, budgets and reports count what is left. It is taken off the
    /// prices under `prices` as well.
    pub(crate) discount: Option<DiscountText>,
    /// Deadlines for this provider's targets. `total` holds for calls that name the provider directly.
    pub(crate) timeout: Option<TimeoutSection>,
    /// Asks the provider now and then whether it is there, so that an outage and its end are seen without a call. Off, when left out.
    pub(crate) health_check: Option<HealthCheckSection>,
}

/// One of several keys: the key itself, or with a weight.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "$text_or_mapping")]
#[schemars(rename = "KeyEntry", untagged)]
pub(crate) enum KeyEntry {
    /// The key.
    Text(String),
    /// The key with its share of the calls.
    Mapping(KeySection),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct KeySection {
    /// The key.
    pub(crate) key: Located<String>,
    /// Its share of the calls.
    #[schemars(extend("default" = 1))]
    pub(crate) weight: Option<Located<u32>>,
}

/// A name that callers ask for, and what is behind it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ModelSection {
    /// The choices: `provider/upstream-model`, alone or with further settings.
    pub(crate) targets: Option<Located<Vec<Located<TargetEntry>>>>,
    /// How one of the targets is chosen.
    #[schemars(with = "Option<routing::StrategyKind>", extend("default" = "order"))]
    pub(crate) strategy: Option<Located<String>>,
    /// What counts how much under the strategy `score`.
    pub(crate) score: Option<Located<ScoreSection>>,
    /// A condition on the call, in CEL, such as `call.tools == 0`. Where it does not hold, the targets are passed over and `fallback`
    /// goes on.
    pub(crate) when: Option<Located<String>>,
    /// Asks a second target when the first one is late. Off, when left out.
    pub(crate) hedge: Option<HedgeSection>,
    /// Models that are tried in turn when every target has failed: other entries of `models`, or `provider/upstream-model`.
    pub(crate) fallback: Option<Vec<Located<String>>>,
    /// Deadlines for this model.
    pub(crate) timeout: Option<TimeoutSection>,
    /// How one target is retried.
    pub(crate) retry: Option<RetrySection>,
    /// Failures that go on to the next target although by default the caller gets them.
    #[schemars(with = "Option<Vec<FallbackKind>>")]
    pub(crate) fallback_on: Option<Vec<Located<String>>>,
    /// What happens to broken streams.
    pub(crate) stream: Option<StreamSection>,
    /// Refuse a call rather than drop what the target cannot express.
    pub(crate) strict: Option<bool>,
}

/// One choice behind a model.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "$text_or_mapping")]
#[schemars(rename = "TargetEntry", untagged)]
pub(crate) enum TargetEntry {
    /// `provider/upstream-model`.
    Text(String),
    /// A target with further settings.
    Mapping(Box<TargetSection>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct TargetSection {
    /// `provider/upstream-model`.
    pub(crate) model: Located<String>,
    /// How much it can take compared with the others, under every strategy that spreads calls. 0: only when the others cannot be asked.
    #[schemars(extend("default" = 1))]
    pub(crate) weight: Option<Located<u32>>,
    /// A condition on the call, in CEL, such as `call.input_tokens < 8000`. A call for which it does not hold does not go to this target.
    pub(crate) when: Option<Located<String>>,
    /// Deadlines for this target. `total` spans all targets and therefore belongs to the model.
    pub(crate) timeout: Option<TargetTimeoutSection>,
    /// How this target is retried.
    pub(crate) retry: Option<RetrySection>,
}

/// Deadlines. All of them always apply; they can be moved, but not switched off.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct TimeoutSection {
    /// Until the connection stands, TLS included.
    #[schemars(extend("default" = "5s"))]
    pub(crate) connect: Option<DurationText>,
    /// From sending the request to the first event of a stream. Reasoning models think for a while before it.
    #[schemars(extend("default" = "120s"))]
    pub(crate) first_token: Option<DurationText>,
    /// From sending the request to a whole answer, which comes in one piece when the model is done. As long as
    /// `first_token` where only that is set.
    #[schemars(extend("default" = "10m"))]
    pub(crate) answer: Option<DurationText>,
    /// Between two pieces of a stream.
    #[schemars(extend("default" = "60s"))]
    pub(crate) idle: Option<DurationText>,
    /// The whole call, all its attempts together.
    #[schemars(extend("default" = "10m"))]
    pub(crate) total: Option<DurationText>,
}

/// Deadlines of one target.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct TargetTimeoutSection {
    /// Until the connection stands, TLS included.
    pub(crate) connect: Option<DurationText>,
    /// From sending the request to the first event of a stream.
    pub(crate) first_token: Option<DurationText>,
    /// From sending the request to a whole answer. As long as `first_token` where only that is set.
    pub(crate) answer: Option<DurationText>,
    /// Between two pieces of a stream.
    pub(crate) idle: Option<DurationText>,
}

/// How one target is retried. Which failures are retried at all is not a setting.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RetrySection {
    /// How often one target is tried, the first time included. 1 means no retry.
    #[schemars(extend("default" = 2))]
    pub(crate) attempts: Option<Located<u32>>,
    /// The shortest and the longest wait between two tries.
    #[schemars(extend("default" = "200ms..5s"))]
    pub(crate) backoff: Option<DurationRange>,
}

/// The failures that `fallback_on` takes, for the schema. All of them are read, so that the others can be answered with a reason.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum FallbackKind {
    /// The provider refused the content. Another one may judge differently, which not everybody wants.
    ContentPolicy,
}

/// Streams.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct StreamSection {
    /// What happens to a stream that breaks after its first part was sent.
    #[schemars(extend("default" = "continue"))]
    pub(crate) recovery: Option<RecoveryKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RecoveryKind {
    /// It ends with an error event, never as if it were complete.
    Error,
    /// Another target goes on with it, where that can be done without the caller seeing a seam; else it ends with an error event.
    Continue,
}

/// Prices in US dollars per million tokens. What is left out keeps the catalog's price.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct PriceSection {
    /// Input tokens.
    pub(crate) input: Option<Dollars>,
    /// Output tokens.
    pub(crate) output: Option<Dollars>,
    /// Input tokens read from the provider's prompt cache.
    pub(crate) cache_read: Option<Dollars>,
    /// Input tokens written to the provider's prompt cache.
    pub(crate) cache_write: Option<Dollars>,
    /// Output tokens spent on reasoning, where they are priced apart.
    pub(crate) reasoning: Option<Dollars>,
    /// Input tokens that are audio.
    pub(crate) input_audio: Option<Dollars>,
    /// Output tokens that are audio.
    pub(crate) output_audio: Option<Dollars>,
}

/// A mapping whose names the user chooses, in the file's order.
#[derive(Debug)]
pub(crate) struct Named<T>(pub(crate) Vec<(String, Located<T>)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamedVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for NamedVisitor<T> {
            type Value = Named<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a mapping of names to values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Named<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = access.next_entry()? {
                    entries.push(entry);
                }
                Ok(Named(entries))
            }

            /// `providers:` with nothing under it.
            fn visit_unit<E>(self) -> Result<Named<T>, E> {
                Ok(Named::default())
            }
        }

        deserializer.deserialize_map(NamedVisitor(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        BTreeMap::<String, T>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, T>::json_schema(generator)
    }
}

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
