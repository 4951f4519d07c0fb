//! Writes a whole GenerateContentResponse, and what its stream shares with it.

use serde_json::{Map, Value, json};

use crate::answer::{Choice, Finish, Piece, Tokens};
use crate::dialects::Rendering;
use crate::digest::characters;

pub(crate) fn whole(rendering: &Rendering) -> Value {
    let choices: Vec<Value> = rendering
        .answer
        .choices
        .iter()
        .enumerate()
        .map(|(index, choice)| whole_choice(rendering, index, choice))
        .collect();
    response(rendering, choices, rendering.answer.usage.output)
}

/// A response with these candidates, of an answer of which so many tokens have been written.
pub(crate) fn response(rendering: &Rendering, candidates: Vec<Value>, written: u64) -> Value {
    let mut fields = Map::new();
    fields.insert("candidates".to_owned(), Value::Array(candidates));
    if !rendering.behaviour.no_usage {
        fields.insert("usageMetadata".to_owned(), usage(&rendering.answer.usage, written));
    }
    fields.insert("modelVersion".to_owned(), json!(rendering.asked.model));
    fields.insert("responseId".to_owned(), json!(characters(rendering.seed, 22)));
    Value::Object(fields)
}

fn whole_choice(rendering: &Rendering, index: usize, choice: &Choice) -> Value {
    let mut parts = Vec::new();
    for (position, piece) in choice.pieces.iter().enumerate() {
        parts.extend(part(piece, &piece.text(), signature_before(choice, position)));
    }
    let mut candidate = candidate(index, &parts);
    close(&mut candidate, rendering, choice);
    Value::Object(candidate)
}

/// A candidate with these parts.
pub(crate) fn candidate(index: usize, parts: &[Value]) -> Map<String, Value> {
    let mut candidate = Map::new();
    candidate.insert("content".to_owned(), json!({"parts": parts, "role": "model"}));
    candidate.insert("index".to_owned(), json!(index));
    candidate
}

/// What a candidate ends with.
pub(crate) fn close(candidate: &mut Map<String, Value>, rendering: &Rendering, choice: &Choice) {
    let reason = match choice.finish {
        Finish::Stop | Finish::StopSequence(_) | Finish::Calls => "STOP",
        Finish::Length => "MAX_TOKENS",
        Finish::ContentFilter | Finish::Refusal => "SAFETY",
    };
    candidate.insert("finishReason".to_owned(), json!(reason));
    if choice.finish == Finish::Calls {
        candidate.insert("finishMessage".to_owned(), json!("Model generated function call(s)."));
    }
    let words: Vec<&String> = choice
        .pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Text { words, .. } => Some(words),
            _ => None,
        })
        .flatten()
        .collect();
    if choice.pieces.iter().any(|piece| matches!(piece, Piece::Text { cited: true, .. })) {
        let end = words.iter().map(|word| word.len()).sum::<usize>();
        let citation = json!({"startIndex": 0, "endIndex": end, "uri": "https://example.com/tide", "title": "Tide tables"});
        candidate.insert("citationMetadata".to_owned(), json!({"citationSources": [citation]}));
    }
    if let Some(top) = rendering.asked.logprobs {
        let one = |token: &str, value: f64| json!({"token": token, "tokenId": 1, "logProbability": value});
        let chosen: Vec<Value> = words.iter().map(|word| one(word, -0.1)).collect();
        let alternatives = |word: &str| {
            let mut all = vec![one(word, -0.1), one(" other", -2.5), one(" more", -3.5)];
            all.truncate(usize::try_from(top).unwrap_or(usize::MAX));
            json!({"candidates": all})
        };
        let all: Vec<Value> = words.iter().map(|word| alternatives(word)).collect();
        candidate.insert("avgLogprobs".to_owned(), json!(-0.1));
        candidate
            .insert("logprobsResult".to_owned(), json!({"chosenCandidates": chosen, "topCandidates": all}));
    }
}

/// A part with this text of a piece.
pub(crate) fn part(piece: &Piece, text: &str, signature: Option<&str>) -> Option<Value> {
    let mut part = match piece {
        Piece::Thinking { hidden: true, .. } | Piece::Redacted { .. } => return None,
        Piece::Thinking { .. } => json!({"text": text, "thought": true}),
        Piece::Text { .. } | Piece::Refusal { .. } => json!({"text": text}),
        Piece::Call { id, name, arguments, signature } => {
            let arguments: Value = serde_json::from_str(&arguments.concat()).unwrap_or_else(|_| json!({}));
            let mut part = json!({"functionCall": {"id": id, "name": name, "args": arguments}});
            if let Some(signature) = signature {
                part["thoughtSignature"] = json!(signature);
            }
            return Some(part);
        }
    };
    if let Some(signature) = signature {
        part["thoughtSignature"] = json!(signature);
    }
    Some(part)
}

/// The signature of the thinking before a text, which carries it.
pub(crate) fn signature_before(choice: &Choice, position: usize) -> Option<&str> {
    if !matches!(choice.pieces.get(position), Some(Piece::Text { .. })) {
        return None;
    }
    match position.checked_sub(1).and_then(|before| choice.pieces.get(before)) {
        Some(Piece::Thinking { signature, .. }) => Some(signature),
        _ => None,
    }
}

/// Thoughts are counted beside the candidates' tokens, not among them.
fn usage(tokens: &Tokens, written: u64) -> Value {
    let thoughts = tokens.reasoning.min(written);
    let candidates = written - thoughts;
    let text = tokens.input.saturating_sub(tokens.input_audio + tokens.input_image + tokens.input_document);
    let modalities = [
        ("TEXT", text),
        ("IMAGE", tokens.input_image),
        ("AUDIO", tokens.input_audio),
        ("DOCUMENT", tokens.input_document),
    ];
    let details: Vec<Value> = modalities
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(modality, count)| json!({"modality": modality, "tokenCount": count}))
        .collect();
    let mut usage = json!({
        "promptTokenCount": tokens.input, "candidatesTokenCount": candidates,
        "totalTokenCount": tokens.input + written, "promptTokensDetails": details,
    });
    if thoughts > 0 {
        usage["thoughtsTokenCount"] = json!(thoughts);
    }
    if tokens.cached > 0 {
        usage["cachedContentTokenCount"] = json!(tokens.cached);
    }
    usage
}
