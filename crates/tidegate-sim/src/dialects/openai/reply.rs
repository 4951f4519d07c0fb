//! Writes a whole `chat.completion`, and what its stream shares with it.

use serde_json::{Map, Value, json};

use crate::answer::{Choice, Finish, Piece, Tokens};
use crate::dialects::Rendering;
use crate::digest::characters;

/// Answers are drawn from the request alone, the time too.
pub(crate) const CREATED: u64 = 1_760_000_000;

pub(crate) fn whole(rendering: &Rendering) -> Value {
    let choices: Vec<Value> = rendering
        .answer
        .choices
        .iter()
        .enumerate()
        .map(|(index, choice)| whole_choice(rendering, index, choice))
        .collect();
    let mut reply = envelope(rendering, "chat.completion");
    reply.insert("choices".to_owned(), Value::Array(choices));
    if !rendering.behaviour.no_usage {
        reply.insert("usage".to_owned(), usage(&rendering.answer.usage));
    }
    Value::Object(reply)
}

/// What every object of an answer begins with.
pub(crate) fn envelope(rendering: &Rendering, object: &str) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("id".to_owned(), json!(format!("chatcmpl-{}", characters(rendering.seed, 29))));
    fields.insert("object".to_owned(), json!(object));
    fields.insert("created".to_owned(), json!(CREATED));
    fields.insert("model".to_owned(), json!(rendering.asked.model));
    fields.insert("service_tier".to_owned(), json!("default"));
    fields.insert("system_fingerprint".to_owned(), json!("fp_sim"));
    fields
}

fn whole_choice(rendering: &Rendering, index: usize, choice: &Choice) -> Value {
    let mut text = None;
    let mut refusal = None;
    let mut thought = None;
    let mut calls = Vec::new();
    let mut annotations = Vec::new();
    let mut probabilities = Vec::new();
    for piece in &choice.pieces {
        match piece {
            Piece::Text { words, cited } => {
                if *cited {
                    annotations.push(annotation(&words.concat()));
                }
                probabilities.extend(words.iter().map(|word| log_probability(word, rendering)));
                text.get_or_insert_with(String::new).push_str(&words.concat());
            }
            Piece::Refusal { words } => refusal = Some(words.concat()),
            Piece::Thinking { words, hidden: false, .. } if rendering.behaviour.reasoning_content => {
                thought = Some(words.concat());
            }
            Piece::Thinking { .. } | Piece::Redacted { .. } => {}
            Piece::Call { id, name, arguments, .. } => calls.push(json!({
                "id": id, "type": "function", "function": {"name": name, "arguments": arguments.concat()},
            })),
        }
    }
    let mut message = Map::new();
    message.insert("role".to_owned(), json!("assistant"));
    // An answer without any content is an empty text, not no text.
    let nothing = text.is_none() && refusal.is_none() && calls.is_empty();
    message.insert("content".to_owned(), if nothing { json!("") } else { json!(text) });
    if let Some(thought) = thought {
        message.insert("reasoning_content".to_owned(), json!(thought));
    }
    if !calls.is_empty() {
        message.insert("tool_calls".to_owned(), Value::Array(calls));
    }
    message.insert("refusal".to_owned(), json!(refusal));
    message.insert("annotations".to_owned(), Value::Array(annotations));
    let logprobs = rendering.asked.logprobs.map(|_| json!({"content": probabilities, "refusal": null}));
    json!({"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish(&choice.finish)})
}

pub(crate) fn finish(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopSequence(_) | Finish::Refusal => "stop",
        Finish::Length => "length",
        Finish::Calls => "tool_calls",
        Finish::ContentFilter => "content_filter",
    }
}

pub(crate) fn annotation(text: &str) -> Value {
    json!({"type": "url_citation", "url_citation": {
        "start_index": 0, "end_index": text.chars().count(), "title": "Tide tables", "url": "https://example.com/tide",
    }})
}

/// Equal for all tokens: nobody can learn anything from a simulator's logprobs but that they arrive.
pub(crate) fn log_probability(word: &str, rendering: &Rendering) -> Value {
    let one = |token: &str, value: f64| json!({"token": token, "logprob": value, "bytes": token.as_bytes()});
    let top = rendering.asked.logprobs.unwrap_or(0);
    let mut alternatives = vec![one(word, -0.1), one(" other", -2.5), one(" more", -3.5)];
    alternatives.truncate(usize::try_from(top).unwrap_or(usize::MAX));
    let mut value = one(word, -0.1);
    value["top_logprobs"] = Value::Array(alternatives);
    value
}

pub(crate) fn usage(tokens: &Tokens) -> Value {
    json!({
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached, "audio_tokens": tokens.input_audio},
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    })
}
