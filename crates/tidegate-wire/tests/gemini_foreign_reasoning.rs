//! Reasoning that another provider signed, in the hands of callers of Gemini's dialect: whole, streamed, echoed piece by
//! piece, or rebuilt from no more than a call's id, name and arguments.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use serde_json::{Value, json};
use tidegate_wire::conversation::{Content, Conversation};
use tidegate_wire::event::events_of;
use tidegate_wire::reply::Reply;
use tidegate_wire::{Dialect, PathFacts, ReplyOptions};

fn reply() -> Reply {
    let body = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
        "content": [
            {"type": "thinking", "thinking": "Paris, then. ", "signature": "c2lnbmF0dXJl"},
            {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}},
            {"type": "tool_use", "id": "toolu_2", "name": "get_time", "input": {"city": "Oslo"}},
        ],
        "stop_reason": "tool_use", "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 2},
    });
    Dialect::AnthropicMessages.codec().parse_reply(body.to_string().as_bytes()).unwrap()
}

fn whole_parts() -> Vec<Value> {
    let body = Dialect::Gemini.codec().render_reply(&reply(), &ReplyOptions::default());
    let body: Value = serde_json::from_slice(&body).unwrap();
    body["candidates"][0]["content"]["parts"].as_array().unwrap().clone()
}

fn streamed_parts() -> Vec<Value> {
    let mut encoder = Dialect::Gemini.codec().encoder(ReplyOptions::default());
    let mut out = Vec::new();
    for event in events_of(&reply()) {
        encoder.encode(&event, &mut out);
    }
    let frames = String::from_utf8(out).unwrap();
    let frames = frames.lines().filter_map(|line| line.strip_prefix("data: "));
    let frames = frames.map(|frame| serde_json::from_str::<Value>(frame).unwrap());
    frames.flat_map(|frame| frame["candidates"][0]["content"]["parts"].as_array().unwrap().clone()).collect()
}

/// What a provider is told of an assistant's turn of these parts.
fn parsed(parts: &[Value]) -> Conversation {
    let body = json!({"contents": [
        {"role": "user", "parts": [{"text": "The weather in Paris and the time in Oslo?"}]},
        {"role": "model", "parts": parts},
    ]});
    let facts = PathFacts { model: "claude-sonnet-4-5", stream: false };
    Dialect::Gemini.codec().parse_request(body.to_string().as_bytes(), Some(facts)).unwrap()
}

fn assert_is_all_there(conversation: &Conversation) {
    let parts = &conversation.turns[1].parts;
    let reasoning: Vec<_> = parts
        .iter()
        .filter_map(|part| match &part.content {
            Content::Reasoning { text } => {
                Some((text.as_str(), part.signature.as_ref().unwrap().data.as_str()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(reasoning, [("Paris, then. ", "c2lnbmF0dXJl")], "once, whole and signed: {parts:#?}");
    let ids: Vec<_> = parts
        .iter()
        .filter_map(|part| match &part.content {
            Content::ToolCall(call) => Some(call.id.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(ids, ["toolu_1", "toolu_2"], "nothing carried is left in the ids");
}

#[test]
fn what_is_echoed_as_it_came_is_all_there() {
    assert_is_all_there(&parsed(&whole_parts()));
    assert_is_all_there(&parsed(&streamed_parts()));
}

#[test]
fn a_thought_echoed_in_many_pieces_is_one_again() {
    let mut parts = streamed_parts();
    let first = parts.iter().position(|part| part["text"] == "Paris, then. ").unwrap();
    parts[first]["text"] = "then. ".into();
    parts.insert(first, json!({"text": "Paris, ", "thought": true}));
    assert_is_all_there(&parsed(&parts));
}

#[test]
fn calls_rebuilt_from_id_name_and_arguments_still_bring_the_reasoning() {
    for parts in [whole_parts(), streamed_parts()] {
        let by_hand: Vec<Value> = parts
            .iter()
            .filter_map(|part| part.get("functionCall"))
            .map(|call| json!({"functionCall": {"id": call["id"], "name": call["name"], "args": call["args"]}}))
            .collect();
        assert_is_all_there(&parsed(&by_hand));
    }
}
