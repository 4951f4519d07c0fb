//! Writes a whole message, and what its stream shares with it.

use serde_json::{Map, Value, json};

use crate::answer::{Finish, Piece, Tokens};
use crate::dialects::Rendering;
use crate::digest::characters;

pub(crate) fn whole(rendering: &Rendering) -> Value {
    let choice = rendering.answer.choices.first();
    let pieces = choice.map(|choice| choice.pieces.as_slice()).unwrap_or_default();
    let finish = choice.map_or(&Finish::Stop, |choice| &choice.finish);
    let mut message = envelope(rendering);
    message.insert("content".to_owned(), pieces.iter().map(block).collect());
    message.extend(ending(finish));
    if !rendering.behaviour.no_usage {
        message.insert("usage".to_owned(), usage(&rendering.answer.usage, rendering.answer.usage.output));
    }
    Value::Object(message)
}

/// What a message begins with.
pub(crate) fn envelope(rendering: &Rendering) -> Map<String, Value> {
    let mut message = Map::new();
    message.insert("model".to_owned(), json!(rendering.asked.model));
    message.insert("id".to_owned(), json!(format!("msg_01{}", characters(rendering.seed, 22))));
    message.insert("type".to_owned(), json!("message"));
    message.insert("role".to_owned(), json!("assistant"));
    message
}

/// How it ends.
pub(crate) fn ending(finish: &Finish) -> Map<String, Value> {
    let (reason, sequence) = match finish {
        Finish::Stop => ("end_turn", None),
        Finish::StopSequence(sequence) => ("stop_sequence", Some(sequence)),
        Finish::Length => ("max_tokens", None),
        Finish::Calls => ("tool_use", None),
        Finish::ContentFilter | Finish::Refusal => ("refusal", None),
    };
    let mut fields = Map::new();
    fields.insert("stop_reason".to_owned(), json!(reason));
    fields.insert("stop_sequence".to_owned(), json!(sequence));
    if reason == "refusal" {
        let details = json!({"type": "refusal", "category": null, "explanation": null});
        fields.insert("stop_details".to_owned(), details);
    }
    fields
}

fn block(piece: &Piece) -> Value {
    match piece {
        Piece::Thinking { signature, hidden, .. } => {
            json!({"type": "thinking", "thinking": if *hidden { String::new() } else { piece.text() }, "signature": signature})
        }
        Piece::Redacted { data } => json!({"type": "redacted_thinking", "data": data}),
        Piece::Text { words, cited } => {
            let text = words.concat();
            if *cited {
                json!({"type": "text", "citations": [citation()], "text": text})
            } else {
                json!({"type": "text", "text": text})
            }
        }
        Piece::Refusal { .. } => json!({"type": "text", "text": piece.text()}),
        Piece::Call { id, name, arguments, .. } => {
            let input: Value = serde_json::from_str(&arguments.concat()).unwrap_or_else(|_| json!({}));
            json!({"type": "tool_use", "id": id, "name": name, "input": input})
        }
    }
}

pub(crate) fn citation() -> Value {
    json!({
        "type": "char_location", "cited_text": "The tide rises.", "document_index": 0, "document_title": "Tide tables",
        "start_char_index": 0, "end_char_index": 15, "file_id": null,
    })
}

/// `input_tokens` leaves out what was read from and written to the cache.
pub(crate) fn usage(tokens: &Tokens, output: u64) -> Value {
    json!({
        "input_tokens": tokens.input.saturating_sub(tokens.cached + tokens.cache_written),
        "cache_creation_input_tokens": tokens.cache_written,
        "cache_read_input_tokens": tokens.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": tokens.cache_written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output,
        "output_tokens_details": {"thinking_tokens": tokens.reasoning.min(output)},
        "service_tier": "standard",
    })
}
