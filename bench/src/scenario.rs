//! The loads: what is asked and what must come back. `measure` runs each against every contender.

use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;
use serde_json::json;

use crate::accounts::{SECRET_BYTES, Secrets};
use crate::answers;
use crate::contender::Contender;

/// Bytes of text in the long conversation.
const LONG_CONVERSATION_BYTES: usize = 100_000;

/// With 32 connections, 640 requests a second.
const SHADOW_PACE: Duration = Duration::from_millis(50);

/// What callers show where no key is needed.
const KEY: &str = "bench-key";

/// One kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scenario {
    /// An OpenAI chat completion, whole.
    ChatWhole,
    /// An OpenAI chat completion, streamed in 66 events.
    ChatStream,
    /// A 100 kB conversation with a whole answer.
    LongConversation,
    /// Asked in OpenAI's dialect, answered by Anthropic's, whole. Proxies that cannot translate forward OpenAI's.
    TranslatedWhole,
    /// Asked in OpenAI's dialect, answered by Anthropic's, streamed. Proxies that cannot translate forward OpenAI's.
    TranslatedStream,
    /// As the first, against one binary in four settings: from nothing kept to keys, limits, budgets and the ledger.
    KeysAndLimits,
    /// The same load against one target, and against ten of which the fastest is looked for.
    Routing,
    /// Fewer requests than the machine could serve, without and with a copy of each to another target.
    Shadow,
}

impl Scenario {
    pub(crate) const ALL: [Self; 8] = [
        Self::ChatWhole,
        Self::ChatStream,
        Self::LongConversation,
        Self::TranslatedWhole,
        Self::TranslatedStream,
        Self::KeysAndLimits,
        Self::Routing,
        Self::Shadow,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::ChatWhole => "Chat, whole",
            Self::ChatStream => "Chat, streamed (66 events)",
            Self::LongConversation => "100 kB conversation, whole",
            Self::TranslatedWhole => "OpenAI in, Anthropic out, whole",
            Self::TranslatedStream => "OpenAI in, Anthropic out, streamed",
            Self::KeysAndLimits => "Keys, limits, budgets and the ledger",
            Self::Routing => "Routing by latency",
            Self::Shadow => "Shadowing every call",
        }
    }

    pub(crate) fn streamed(self) -> bool {
        matches!(self, Self::ChatStream | Self::TranslatedStream)
    }

    fn translated(self) -> bool {
        matches!(self, Self::TranslatedWhole | Self::TranslatedStream)
    }

    /// The settings of Tidegate that are measured under it, of which the first is what the others are compared with; none
    /// where the proxies are measured.
    pub(crate) fn settings(self) -> &'static [Contender] {
        match self {
            Self::KeysAndLimits => {
                &[Contender::Bare, Contender::Tidegate, Contender::TenKeys, Contender::ManyKeys]
            }
            Self::Routing => &[Contender::OneTarget, Contender::TenTargets],
            Self::Shadow => &[Contender::Unshadowed, Contender::Shadowed],
            _ => &[],
        }
    }

    pub(crate) fn is_of_settings(self) -> bool {
        !self.settings().is_empty()
    }

    /// How long a connection waits from one request to the next; without it, each asks as soon as it has its answer. A
    /// machine that is busy to the last would show what a shadow costs, and not whether it stands in anybody's way.
    pub(crate) fn pace(self) -> Option<Duration> {
        (self == Self::Shadow).then_some(SHADOW_PACE)
    }

    /// How many times HAProxy's CPU time per request Tidegate may take; in several settings, that of the first.
    pub(crate) fn target_ratio(self) -> f64 {
        match self {
            Self::ChatWhole | Self::ChatStream => 2.5,
            Self::LongConversation => 2.0,
            Self::TranslatedWhole | Self::TranslatedStream => 4.0,
            Self::KeysAndLimits => 1.25,
            Self::Routing => 1.1,
            // Of the p99, not of CPU time: a copy of each call costs what a call costs.
            Self::Shadow => 1.1,
        }
    }
}

/// Who is asked: a contender that knows providers by name, or one that forwards whatever comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// Models are asked for as `provider/model`; the dialects are translated.
    Gateway,
    /// Models carry the provider's own names, paths are the provider's.
    Forwarding,
}

/// A request, serialised with its head, and what makes the answer a right one.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) request: Vec<u8>,
    /// Where the request shows a key, and the keys to choose from for each one.
    pub(crate) keys: Option<(usize, Arc<Secrets>)>,
    pub(crate) expected: Expected,
}

/// What the body of the answer must be.
#[derive(Debug, Clone)]
pub(crate) enum Expected {
    /// These very bytes.
    Exactly(Vec<u8>),
    /// JSON that contains this text.
    Containing(&'static str),
    /// Events with this many text deltas, ended by `data: [DONE]`.
    Tokens(usize),
}

impl Expected {
    pub(crate) fn check(&self, body: &[u8]) -> Result<(), String> {
        let fits = match self {
            Self::Exactly(bytes) => body == bytes.as_slice(),
            Self::Containing(text) => {
                memchr::memmem::find(body, text.as_bytes()).is_some() && body.last() == Some(&b'}')
            }
            Self::Tokens(count) => {
                memchr::memmem::find_iter(body, answers::TOKEN_MARK.as_bytes()).count() == *count
                    && body.ends_with(b"data: [DONE]\n\n")
            }
        };
        if fits {
            return Ok(());
        }
        let end = body.get(body.len().saturating_sub(300)..).unwrap_or_default();
        Err(format!("a wrong body of {} bytes, ending in: {}", body.len(), String::from_utf8_lossy(end)))
    }
}

impl Exchange {
    pub(crate) fn of(scenario: Scenario, naming: Naming) -> Self {
        let entry = scenario == Scenario::Routing || scenario == Scenario::Shadow;
        let translated = scenario.translated() && naming == Naming::Gateway;
        let model = match (naming, translated) {
            (Naming::Forwarding, _) => "gpt-4o-mini",
            (Naming::Gateway, false) if entry => "entry",
            (Naming::Gateway, false) => "mock/gpt-4o-mini",
            (Naming::Gateway, true) => "mock-anthropic/claude-haiku-4-5",
        };
        let expected = match (translated, scenario.streamed()) {
            (false, false) => Expected::Exactly(answers::openai_whole()),
            (false, true) => Expected::Exactly(answers::openai_events().concat()),
            (true, false) => Expected::Containing(answers::WHOLE_TEXT),
            (true, true) => Expected::Tokens(answers::anthropic_tokens()),
        };
        let body = body(model, scenario.streamed(), scenario == Scenario::LongConversation);
        Self { request: request("/v1/chat/completions", &body, KEY), keys: None, expected }
    }

    /// The same, each time with another of these keys.
    pub(crate) fn with_keys(self, secrets: Arc<Secrets>) -> Self {
        let place = memchr::memmem::find(&self.request, KEY.as_bytes()).unwrap_or_default();
        let mut request = self.request;
        request.splice(place..place + KEY.len(), [b'-'; SECRET_BYTES]);
        Self { request, keys: Some((place, secrets)), ..self }
    }

    /// A stream that stays open until the mock lets it go.
    pub(crate) fn held(naming: Naming) -> Self {
        let (path, model) = match naming {
            Naming::Forwarding => ("/held/v1/chat/completions", "gpt-4o-mini"),
            Naming::Gateway => ("/v1/chat/completions", "mock-held/gpt-4o-mini"),
        };
        Self {
            request: request(path, &body(model, true, false), KEY),
            keys: None,
            expected: Expected::Exactly(answers::openai_events().concat()),
        }
    }
}

fn body(model: &str, streamed: bool, long: bool) -> Vec<u8> {
    let mut messages = vec![
        json!({"role": "system", "content": "You are a harbour master. Answer briefly and to the point."}),
        json!({"role": "user", "content": "Why do tide gates close on the ebb? Explain it to an apprentice."}),
    ];
    if long {
        let turn =
            "The lock keeper wrote down the hour, the height of the water and every ship that passed. "
                .repeat(11);
        let turns = LONG_CONVERSATION_BYTES / turn.len();
        for number in 0..turns {
            let role = if number % 2 == 0 { "assistant" } else { "user" };
            messages.push(json!({"role": role, "content": turn}));
        }
    }
    let mut body = json!({"model": model, "messages": messages, "temperature": 0.7, "max_tokens": 256});
    if streamed && let Some(fields) = body.as_object_mut() {
        fields.insert("stream".to_owned(), json!(true));
        fields.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    body.to_string().into_bytes()
}

fn request(path: &str, body: &[u8], key: &str) -> Vec<u8> {
    let length = body.len();
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\naccept: application/json\r\n\
         authorization: Bearer {key}\r\nuser-agent: bench\r\ncontent-length: {length}\r\n\r\n"
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}
