//! What the mock provider answers, serialised once. Used by `mock` to answer and by `scenario` to check what came back.

use serde_json::{Value, json};

/// Server-sent events in each streamed answer, counted in every dialect with its opening and closing ones.
pub(crate) const EVENTS: usize = 66;

/// Occurs once in every text delta and nowhere else, so that a translated stream can be checked by counting.
pub(crate) const TOKEN_MARK: &str = " tok";

/// The text of every whole answer, checked in translated ones.
pub(crate) const WHOLE_TEXT: &str = "The tide turns twice a day; harbour gates open on the flood and close on the ebb, \
    so that ships inside stay afloat while the water outside falls away.";

/// An OpenAI chat completion, whole.
pub(crate) fn openai_whole() -> Vec<u8> {
    serialised(&json!({
        "id": "chatcmpl-bench", "object": "chat.completion", "created": 1_760_000_000, "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": WHOLE_TEXT, "refusal": null,
            "annotations": []}, "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 120, "completion_tokens": 36, "total_tokens": 156,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}},
        "service_tier": "default", "system_fingerprint": "fp_bench"
    }))
}

/// The events of an OpenAI chat completion stream: role, text, finish, usage, `[DONE]`.
pub(crate) fn openai_events() -> Vec<Vec<u8>> {
    let chunk = |choices: Value, usage: Value| {
        let body = json!({
            "id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_760_000_000,
            "model": "gpt-4o-mini", "service_tier": "default", "system_fingerprint": "fp_bench",
            "choices": choices, "usage": usage
        });
        format!("data: {body}\n\n").into_bytes()
    };
    let choice = |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
    let mut events = vec![chunk(
        choice(json!({"role": "assistant", "content": "", "refusal": null}), Value::Null),
        Value::Null,
    )];
    for number in 0..EVENTS - 4 {
        let text = format!("{TOKEN_MARK}{number}");
        events.push(chunk(choice(json!({"content": text}), Value::Null), Value::Null));
    }
    events.push(chunk(choice(json!({}), json!("stop")), Value::Null));
    events
        .push(chunk(json!([]), json!({"prompt_tokens": 120, "completion_tokens": 62, "total_tokens": 182})));
    events.push(b"data: [DONE]\n\n".to_vec());
    events
}

/// An Anthropic message, whole.
pub(crate) fn anthropic_whole() -> Vec<u8> {
    serialised(&json!({
        "id": "msg_bench", "type": "message", "role": "assistant", "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": WHOLE_TEXT}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 120, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
            "output_tokens": 36, "service_tier": "standard"}
    }))
}

/// The events of an Anthropic message stream.
pub(crate) fn anthropic_events() -> Vec<Vec<u8>> {
    let event = |body: Value| {
        let name = body.get("type").and_then(Value::as_str).unwrap_or_default();
        format!("event: {name}\ndata: {body}\n\n").into_bytes()
    };
    let mut events = vec![
        event(
            json!({"type": "message_start", "message": {"id": "msg_bench", "type": "message", "role": "assistant",
            "model": "claude-haiku-4-5", "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": 120, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
                "output_tokens": 1}}}),
        ),
        event(
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        ),
        event(json!({"type": "ping"})),
    ];
    for number in 0..anthropic_tokens() {
        let text = format!("{TOKEN_MARK}{number}");
        events.push(event(
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
        ));
    }
    events.push(event(json!({"type": "content_block_stop", "index": 0})));
    events.push(event(
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
        "usage": {"output_tokens": 60}}),
    ));
    events.push(event(json!({"type": "message_stop"})));
    events
}

/// Text deltas in [`anthropic_events`].
pub(crate) const fn anthropic_tokens() -> usize {
    EVENTS - 6
}

fn serialised(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}
