//! The tier that an answer was served in is read from whole answers and from streams, by the tap and by the decoders, from
//! the first frame on that names it.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_wire::framing::SseDecoder;
use tidegate_wire::tap::{StreamTap, tap_reply};
use tidegate_wire::{Dialect, ServedTier};

fn openai(tier: &Value) -> Value {
    let message = json!({"role": "assistant", "content": "Hi"});
    json!({
        "id": "a", "object": "chat.completion", "model": "m", "service_tier": tier,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    })
}

fn anthropic(usage: &Value) -> Value {
    json!({
        "id": "a", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn", "stop_sequence": null, "usage": usage
    })
}

fn gemini(metadata: &Value) -> Value {
    let content = json!({"role": "model", "parts": [{"text": "Hi"}]});
    json!({"candidates": [{"content": content, "finishReason": "STOP", "index": 0}], "usageMetadata": metadata})
}

/// By the tap, and by parsing it.
fn check_whole(dialect: Dialect, answer: &Value, tier: Option<ServedTier>) {
    let body = Bytes::from(answer.to_string());
    assert_eq!(tap_reply(dialect, &body).unwrap().tier, tier, "{dialect}: {answer}");
    assert_eq!(dialect.codec().parse_reply(&body).unwrap().served_tier(), tier, "{dialect}: {answer}");
}

/// After each frame: the tap and the decoder agree, and at the end they say this.
fn check_stream(dialect: Dialect, frames: &[Value], tier: Option<ServedTier>, known_after: usize) {
    let mut text = String::new();
    for frame in frames {
        if let Some(kind) = frame.get("type").and_then(Value::as_str) {
            text.push_str(&format!("event: {kind}\n"));
        }
        text.push_str(&format!("data: {frame}\n\n"));
    }
    let mut framing = SseDecoder::new();
    framing.push(Bytes::from(text));
    let (mut tap, mut decoder) = (StreamTap::new(dialect), dialect.codec().decoder());
    let mut seen = 0;
    while let Some(frame) = framing.next_event() {
        let frame = frame.unwrap();
        tap.frame(&frame).unwrap();
        decoder.decode(&frame, &mut Vec::new()).unwrap();
        seen += 1;
        if seen >= known_after {
            assert_eq!(decoder.served_tier(), tier, "{dialect}, frame {seen}");
            tap.catch_up();
            assert_eq!(tap.tapped().tier, tier, "{dialect}, frame {seen}");
        }
    }
    assert_eq!(seen, frames.len());
    assert!(tap.finish());
    assert_eq!(tap.tapped().tier, tier, "{dialect}");
}

#[test]
fn a_whole_answer_says_in_which_tier_it_was_served() {
    use ServedTier as Tier;
    for (word, tier) in [
        (json!("default"), Some(Tier::Standard)),
        (json!("priority"), Some(Tier::Priority)),
        (json!("flex"), Some(Tier::Flex)),
        (json!("on_demand"), Some(Tier::Standard)),
        (json!("scale"), Some(Tier::Scale)),
        (json!("auto"), None),
        (Value::Null, None),
    ] {
        check_whole(Dialect::OpenAiChat, &openai(&word), tier);
    }
    let counts = |more: Value| {
        let mut usage = json!({"input_tokens": 3, "output_tokens": 1});
        usage.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        usage
    };
    for (more, tier) in [
        (json!({"service_tier": "standard"}), Some(Tier::Standard)),
        (json!({"service_tier": "priority"}), Some(Tier::Priority)),
        (json!({"service_tier": "batch"}), Some(Tier::Batch)),
        (json!({"service_tier": "standard", "speed": "fast"}), Some(Tier::Fast)),
        (json!({"service_tier": "standard", "speed": "standard"}), Some(Tier::Standard)),
        (json!({}), None),
    ] {
        check_whole(Dialect::AnthropicMessages, &anthropic(&counts(more)), tier);
    }
    for (more, tier) in [
        (json!({"serviceTier": "priority"}), Some(Tier::Priority)),
        (json!({"serviceTier": "standard"}), Some(Tier::Standard)),
        (json!({"trafficType": "ON_DEMAND"}), Some(Tier::Standard)),
        (json!({"trafficType": "ON_DEMAND_FLEX"}), Some(Tier::Flex)),
        (json!({"trafficType": "ON_DEMAND_PRIORITY"}), Some(Tier::Priority)),
        (json!({"trafficType": "PROVISIONED_THROUGHPUT"}), Some(Tier::Provisioned)),
        (json!({}), None),
    ] {
        let mut metadata = json!({"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4});
        metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        check_whole(Dialect::Gemini, &gemini(&metadata), tier);
    }
}

#[test]
fn a_stream_says_it_from_the_first_frame_that_names_it() {
    let chunk = |delta: Value, finish: Value| {
        json!({
            "id": "a", "object": "chat.completion.chunk", "model": "m", "service_tier": "priority",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]
        })
    };
    let frames = [
        chunk(json!({"role": "assistant", "content": ""}), Value::Null),
        chunk(json!({"content": "Hi"}), Value::Null),
        chunk(json!({"content": "!"}), Value::Null),
        chunk(json!({}), json!("stop")),
    ];
    check_stream(Dialect::OpenAiChat, &frames, Some(ServedTier::Priority), 1);

    let message = json!({
        "id": "a", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": null,
        "usage": {"input_tokens": 3, "output_tokens": 1, "service_tier": "priority"}
    });
    let frames = [
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}),
        json!({"type": "message_stop"}),
    ];
    check_stream(Dialect::AnthropicMessages, &frames, Some(ServedTier::Priority), 1);

    let frame = |finish: Value| {
        let content = json!({"role": "model", "parts": [{"text": "Hi"}]});
        json!({
            "candidates": [{"content": content, "finishReason": finish, "index": 0}],
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1, "serviceTier": "flex"}
        })
    };
    check_stream(
        Dialect::Gemini,
        &[frame(Value::Null), frame(Value::Null), frame(json!("STOP"))],
        Some(ServedTier::Flex),
        1,
    );
}
