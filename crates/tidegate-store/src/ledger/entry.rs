//! One call as the ledger keeps it. Built by the gateway's `settle`, written by the [writer](super::writer), read back
//! by reports.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tidegate_wire::Usage;
use uuid::Uuid;

use super::exposure::SHADOW;
use super::{Exposure, Tags, Text};

/// What a call is known by: in the ledger, in the logs and in the caller's `x-request-id`. A UUID version 7, which
/// begins with the millisecond in which the call began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CallId(Uuid);

impl CallId {
    /// An id for a call that begins now.
    pub fn now() -> Self {
        Self(Uuid::now_v7())
    }

    /// When the call began, to the millisecond.
    pub fn started_at(self) -> Timestamp {
        Timestamp::from_millisecond(self.started_at_ms()).unwrap_or(Timestamp::MAX)
    }

    /// When the call began, in milliseconds since 1970.
    pub(crate) fn started_at_ms(self) -> i64 {
        // 48 bits always fit.
        i64::try_from(self.0.as_u128() >> 80).unwrap_or(i64::MAX)
    }

    /// The lowest id of all calls that began at this moment (milliseconds since 1970) or later, with which to ask for
    /// ranges of time.
    pub(crate) fn lowest_at_ms(milliseconds: i64) -> Self {
        let milliseconds = u128::try_from(milliseconds).unwrap_or(0).min((1 << 48) - 1);
        Self(Uuid::from_u128(milliseconds << 80))
    }

    pub(crate) fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    pub(crate) fn uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl FromStr for CallId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::from_str(text).map(Self)
    }
}

impl From<CallId> for String {
    fn from(id: CallId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for CallId {
    type Error = uuid::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Longer strings are cut when they are written. Names of models come from callers and are bounded by nothing but the size of
/// a request.
pub(crate) const MAX_TEXT_BYTES: usize = 512;

/// The status of an attempt that answered.
const ANSWERED: u16 = 200;

/// One call: who, what, when, tokens, cost, outcome, attempts. Strings longer than 512 bytes are cut when they are
/// written: some of them come from callers.
#[derive(Debug, Clone, PartialEq)]
pub struct LedgerEntry {
    /// The call's id, which also says when it began.
    pub id: CallId,
    /// From accepting the call to the last byte of its answer.
    pub duration_us: u64,
    /// From accepting the call to the first token that went out to the caller.
    pub time_to_first_token_us: Option<u64>,
    /// The organisation of the caller's key.
    pub organization_id: Option<Text>,
    /// The caller's key.
    pub key_id: Option<Text>,
    /// The team of the caller's key.
    pub team_id: Option<Text>,
    /// The end user that the caller named.
    pub end_user: Option<Text>,
    /// The dialect in which the caller spoke.
    pub dialect: Text,
    /// What was asked for: `chat`, `count_tokens`, …
    pub operation: Text,
    /// The model by the name that the caller used.
    pub model: Option<Text>,
    /// The provider that answered, or failed last.
    pub provider: Option<Text>,
    /// The model by the name that this provider knows.
    pub upstream_model: Option<Text>,
    /// Which of the provider's keys was used: its label, never the secret.
    pub key_label: Option<Text>,
    /// Whether the caller asked for a stream.
    pub streamed: bool,
    /// How the call ended.
    pub outcome: Outcome,
    /// The kind of failure (a word of the closed list), where the call was not answered.
    pub failure: Option<Text>,
    /// The HTTP status given to the caller, if it came so far.
    pub status: Option<u16>,
    /// Why the model stopped.
    pub finish_reason: Option<Text>,
    /// The tier of service that gave the answer, where it was not the usual one: `priority`, `flex`, …
    pub service_tier: Option<Text>,
    /// What was used, all attempts together.
    pub usage: Usage,
    /// What it cost; `None` where the price is not known.
    pub cost_nanodollars: Option<u64>,
    /// What the caller is charged, where that is not the cost: with the team's margin.
    pub charge_nanodollars: Option<u64>,
    /// Whether tokens or cost are an estimate: the provider did not tell the tokens, or served the answer in a tier without
    /// known prices, so that the usual ones were taken.
    pub is_estimated: bool,
    /// The prices by which the cost was computed, as compact JSON, so that a later change alters nothing.
    pub prices: Option<Text>,
    /// What the caller wants its calls to be told apart by.
    pub tags: Tags,
    /// Every try at a target, in order.
    pub attempts: Vec<Attempt>,
    /// Fields of the request that the target could not express.
    pub dropped: Vec<Text>,
    /// What the cache did.
    pub cache: Option<CacheState>,
    /// The size of the request's body.
    pub bytes_in: u64,
    /// The size of the answer's body.
    pub bytes_out: u64,
    /// The experiment that it takes part in. In a box: most calls do not.
    pub exposure: Option<Box<Exposure>>,
}

impl LedgerEntry {
    /// An entry of which no more is known yet: a call that was cancelled before anything happened.
    pub fn new(id: CallId, dialect: impl Into<Text>, operation: impl Into<Text>) -> Self {
        Self {
            id,
            duration_us: 0,
            time_to_first_token_us: None,
            organization_id: None,
            key_id: None,
            team_id: None,
            end_user: None,
            dialect: dialect.into(),
            operation: operation.into(),
            model: None,
            provider: None,
            upstream_model: None,
            key_label: None,
            streamed: false,
            outcome: Outcome::Cancelled,
            failure: None,
            status: None,
            finish_reason: None,
            service_tier: None,
            usage: Usage::default(),
            cost_nanodollars: None,
            charge_nanodollars: None,
            is_estimated: false,
            prices: None,
            tags: Tags::default(),
            attempts: Vec::new(),
            dropped: Vec::new(),
            cache: None,
            bytes_in: 0,
            bytes_out: 0,
            exposure: None,
        }
    }

    /// How long its only attempt took, where that answered at once at the target that the entry names: then nothing else need
    /// be written down of it. So it is of nearly all calls.
    pub(crate) fn plain_attempt_us(&self) -> Option<u64> {
        let [Attempt { target, failure: None, status: Some(ANSWERED), duration_us, used: None }] =
            &self.attempts[..]
        else {
            return None;
        };
        let rest = target.strip_prefix(self.provider.as_deref()?)?.strip_prefix('/')?;
        let is_whole = target.len() <= MAX_TEXT_BYTES;
        (rest == self.upstream_model.as_deref()? && is_whole).then_some(*duration_us)
    }

    /// Such an attempt.
    pub(crate) fn plain_attempt(target: Text, duration_us: u64) -> Attempt {
        Attempt { target, failure: None, status: Some(ANSWERED), duration_us, used: None }
    }

    /// Whether it is no caller's call but a shadow of one.
    pub fn is_shadow(&self) -> bool {
        &*self.operation == SHADOW
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The caller got its whole answer.
    Answered,
    /// Every target failed, or the stream broke.
    Failed,
    /// Tidegate itself said no.
    Refused,
    /// The caller hung up.
    Cancelled,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Answered, Self::Failed, Self::Refused, Self::Cancelled];

    /// The word for the ledger and the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }
}

/// What the cache did for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheState {
    /// Answered from it.
    Hit,
    /// Looked up and not found.
    Miss,
    /// Answered by an identical call in flight.
    Shared,
    /// Not asked.
    Bypass,
}

impl CacheState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Hit, Self::Miss, Self::Shared, Self::Bypass];

    /// The word for the ledger and for `x-tidegate-cache`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Shared => "shared",
            Self::Bypass => "bypass",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// One try of a call at one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// `provider/upstream-model`.
    pub target: Text,
    /// The kind of failure; `None` when this attempt answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Text>,
    /// The provider's HTTP status, if it came so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// From sending the request to the end of this attempt.
    pub duration_us: u64,
    /// What it used although it did not give the answer (another target was faster, or its stream broke). It is part of
    /// the call's usage and cost; what is left of those is the answer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<AttemptUsage>,
}

/// What an attempt used that did not give the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptUsage {
    /// Tokens in.
    pub input_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
    /// All counts, where there is more to tell than those two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Box<Usage>>,
    /// The prices that it was charged by, where they are not the call's: like [`LedgerEntry::prices`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<Text>,
    /// What they cost; `None` where the price is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_nanodollars: Option<u64>,
    /// Whether this is an estimate: the provider did not tell.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_estimated: bool,
}

impl AttemptUsage {
    /// What was used, as it was told or is guessed.
    pub fn new(usage: &Usage, is_estimated: bool) -> Self {
        let plain = Usage { input: usage.input, output: usage.output, ..Usage::default() };
        Self {
            input_tokens: usage.input,
            output_tokens: usage.output,
            usage: (plain != *usage).then(|| Box::new(*usage)),
            prices: None,
            cost_nanodollars: None,
            is_estimated,
        }
    }

    /// All counts.
    pub fn counts(&self) -> Usage {
        let plain = || Usage { input: self.input_tokens, output: self.output_tokens, ..Usage::default() };
        self.usage.as_deref().copied().unwrap_or_else(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_when_the_call_began_and_bounds_ranges_of_time() {
        let before = Timestamp::now().as_millisecond();
        let id = CallId::now();
        let started = id.started_at();
        assert!((before..=before + 60_000).contains(&started.as_millisecond()));
        assert!(CallId::lowest_at_ms(started.as_millisecond()) <= id);
        assert!(CallId::lowest_at_ms(started.as_millisecond() + 1) > id);
        assert_eq!(id.to_string().parse::<CallId>().unwrap(), id);
        assert!(CallId::lowest_at_ms(i64::MIN) <= CallId::lowest_at_ms(i64::MAX));
    }
}
