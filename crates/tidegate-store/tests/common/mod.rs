//! What the store's tests share: entries as the gateway makes them.

use tidegate_store::{Attempt, CallId, LedgerEntry, Outcome, Tags};
use tidegate_wire::Usage;

/// A call that was answered, with something in every field that such a call fills.
pub(crate) fn answered(id: CallId) -> LedgerEntry {
    LedgerEntry {
        duration_us: 812_345,
        time_to_first_token_us: Some(200_000),
        model: Some("fast".to_owned().into()),
        provider: Some("openai".into()),
        upstream_model: Some("gpt-5-mini".into()),
        key_label: Some("openai#1".into()),
        streamed: true,
        outcome: Outcome::Answered,
        status: Some(200),
        finish_reason: Some("stop".into()),
        usage: Usage { input: 812, cache_read: 512, output: 66, reasoning: 20, ..Usage::default() },
        cost_nanodollars: Some(334_000),
        prices: Some(r#"{"input":250,"output":2000}"#.into()),
        tags: Tags::parse("team=search,build=7").unwrap(),
        attempts: vec![Attempt {
            target: "openai/gpt-5-mini".into(),
            failure: None,
            status: Some(200),
            duration_us: 810_000,
        }],
        bytes_in: 900,
        bytes_out: 1_200,
        ..LedgerEntry::new(id, "openai-chat", "chat")
    }
}
