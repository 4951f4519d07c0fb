//! Token counts: this wire's `input_tokens` leave cached tokens out, the canonical total includes them. Called by
//! `reply`, `decode` and `encode`.

use serde::Serialize;
use serde_json::{Map, Value};

use super::blocks::HERE;
use crate::conversation::Rest;
use crate::{ServedTier, Usage, reply::Reply};

/// The counts as this wire has them.
#[derive(Debug, Default, Serialize)]
pub(super) struct WireUsage<'a> {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    cache_creation: CacheCreation,
    output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<OutputDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_tool_use: Option<ServerToolUse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
    #[serde(flatten)]
    rest: Option<&'a Map<String, Value>>,
}

#[derive(Debug, Default, Serialize)]
struct CacheCreation {
    ephemeral_5m_input_tokens: u64,
    ephemeral_1h_input_tokens: u64,
}

#[derive(Debug, Serialize)]
struct OutputDetails {
    thinking_tokens: u64,
}

#[derive(Debug, Serialize)]
struct ServerToolUse {
    web_search_requests: u64,
    /// The SDKs' types have it always; no other dialect counts these.
    web_fetch_requests: u64,
}

impl<'a> WireUsage<'a> {
    /// `tier` and `rest` are what [`UsageReader`] kept apart, where the answer comes from this same wire.
    pub(super) fn new(usage: &Usage, tier: Option<&'a str>, rest: Option<&'a Map<String, Value>>) -> Self {
        let written = usage.cache_write_5m.saturating_add(usage.cache_write_1h);
        let details_kept = rest.is_some_and(|rest| rest.contains_key("server_tool_use"));
        Self {
            input_tokens: usage.input.saturating_sub(usage.cache_read.saturating_add(written)),
            cache_creation_input_tokens: written,
            cache_read_input_tokens: usage.cache_read,
            cache_creation: CacheCreation {
                ephemeral_5m_input_tokens: usage.cache_write_5m,
                ephemeral_1h_input_tokens: usage.cache_write_1h,
            },
            output_tokens: usage.output,
            output_tokens_details: (usage.reasoning > 0)
                .then_some(OutputDetails { thinking_tokens: usage.reasoning }),
            server_tool_use: (usage.web_searches > 0 && !details_kept)
                .then_some(ServerToolUse { web_search_requests: usage.web_searches, web_fetch_requests: 0 }),
            service_tier: tier.map(tier_to_wire),
            rest,
        }
    }
}

/// Reads the usage objects of an answer: one when it is whole; in a stream a later one overrides, field by field.
#[derive(Debug, Default)]
pub(super) struct UsageReader {
    input: u64,
    cache_read: u64,
    cache_written: u64,
    cache_written_1h: u64,
    output: u64,
    reasoning: u64,
    web_searches: u64,
    /// The tier that served the answer, in the canonical word.
    pub(super) tier: Option<String>,
    /// Counts that have no canonical word, for the way back.
    pub(super) rest: Rest,
}

impl UsageReader {
    pub(super) fn read(&mut self, usage: &Value) {
        let Some(fields) = usage.as_object() else { return };
        for (name, value) in fields {
            let count = value.as_u64();
            match (name.as_str(), count) {
                (_, None) if value.is_null() => {}
                (
                    "input_tokens"
                    | "output_tokens"
                    | "cache_read_input_tokens"
                    | "cache_creation_input_tokens",
                    None,
                ) => {}
                ("input_tokens", Some(count)) => self.input = count,
                ("cache_read_input_tokens", Some(count)) => self.cache_read = count,
                ("cache_creation_input_tokens", Some(count)) => self.cache_written = count,
                ("output_tokens", Some(count)) => self.output = count,
                ("cache_creation", _) => self.read_cache_creation(value),
                ("output_tokens_details", _) => {
                    self.reasoning = count_at(value, "thinking_tokens").unwrap_or(self.reasoning);
                }
                ("server_tool_use", _) => self.read_server_tools(name, value),
                ("service_tier", _) => self.tier = value.as_str().map(tier_from_wire),
                _ => {
                    self.rest.insert(name.clone(), value.clone());
                }
            }
        }
    }

    /// The tier that served the answer.
    pub(super) fn served_tier(&self) -> Option<ServedTier> {
        ServedTier::of_answer(HERE, self.tier.as_deref(), Some(&self.rest))
    }

    pub(super) fn total(&self) -> Usage {
        let written_1h = self.cache_written_1h.min(self.cache_written);
        Usage {
            input: self.input.saturating_add(self.cache_read).saturating_add(self.cache_written),
            cache_read: self.cache_read,
            cache_write_5m: self.cache_written - written_1h,
            cache_write_1h: written_1h,
            output: self.output,
            reasoning: self.reasoning,
            web_searches: self.web_searches,
            ..Usage::default()
        }
    }

    /// Puts what was read into a whole answer.
    pub(super) fn finish(self, reply: &mut Reply) {
        reply.usage = self.total();
        reply.service_tier = self.tier;
        if !self.rest.is_empty() {
            reply.rest.insert("usage".to_owned(), Value::Object(self.rest));
        }
    }

    fn read_cache_creation(&mut self, value: &Value) {
        let short = count_at(value, "ephemeral_5m_input_tokens").unwrap_or_default();
        self.cache_written_1h = count_at(value, "ephemeral_1h_input_tokens").unwrap_or_default();
        // The total beside it decides; some servers send only the parts.
        self.cache_written = self.cache_written.max(short.saturating_add(self.cache_written_1h));
    }

    fn read_server_tools(&mut self, name: &str, value: &Value) {
        self.web_searches = count_at(value, "web_search_requests").unwrap_or_default();
        // What the renderer would write the same of itself.
        let is_plain = value.as_object().is_some_and(|counts| counts.len() == 2)
            && self.web_searches > 0
            && count_at(value, "web_fetch_requests") == Some(0);
        if is_plain {
            self.rest.remove(name);
        } else {
            self.rest.insert(name.to_owned(), value.clone());
        }
    }
}

fn count_at(value: &Value, name: &str) -> Option<u64> {
    value.get(name)?.as_u64()
}

/// The canonical words for service tiers are OpenAI's.
fn tier_from_wire(tier: &str) -> String {
    match tier {
        "standard" => "default".to_owned(),
        other => other.to_owned(),
    }
}

fn tier_to_wire(tier: &str) -> &str {
    match tier {
        "default" => "standard",
        other => other,
    }
}
