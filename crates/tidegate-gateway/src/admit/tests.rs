//! What a request counts as, for a key that must not use it.

use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};
use tidegate_policy::Feature;
use tidegate_store::CallId;
use tidegate_wire::Dialect;

use super::Principal;
use super::features::all_features_of;
use crate::accept::{Arrival, Call, Operation, PathParts, accept};

fn call(dialect: Dialect, body: &Value) -> Call {
    let path = || PathParts { model: "m".into(), stream: false, json_array: false };
    let arrival = Arrival {
        at: Instant::now(),
        operation: Operation::Chat,
        dialect,
        path: (dialect == Dialect::Gemini).then(path),
        principal: Principal::anonymous(None),
        end_user: None,
        headers: HeaderMap::new(),
        // As somebody could write it who hides a word.
        body: Bytes::from(body.to_string().replace("HIDDEN", "im\\u0061ge")),
    };
    accept(CallId::now(), arrival).unwrap()
}

/// The features that a body counts as.
#[track_caller]
fn check(dialect: Dialect, body: &Value, expected: &[Feature]) {
    let found = all_features_of(&call(dialect, body));
    let found: Vec<Feature> = Feature::ALL.into_iter().filter(|feature| found.contains(*feature)).collect();
    let expected: Vec<Feature> =
        Feature::ALL.into_iter().filter(|feature| expected.contains(feature)).collect();
    assert_eq!(found, expected, "{body}");
}

/// In a body of OpenAI's dialect with these members.
#[track_caller]
fn check_openai(more: &Value, expected: &[Feature]) {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    check(Dialect::OpenAiChat, &body, expected);
}

#[track_caller]
fn check_part(dialect: Dialect, part: &Value, expected: &[Feature]) {
    let content = json!([{"type": "text", "text": "Hi"}, part]);
    let messages = json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": content}]});
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}, part]}]});
    let body = if dialect == Dialect::Gemini { contents } else { messages };
    check(dialect, &body, expected);
}

use Dialect::{AnthropicMessages, Gemini, OpenAiChat};
use Feature::{Audio, Documents, Images, Reasoning, StructuredOutput, Tools};

const ANY: [Feature; 3] = [Images, Audio, Documents];

#[test]
fn media_are_found_wherever_a_dialect_has_a_place_for_them() {
    check_part(OpenAiChat, &json!({"type": "image_url", "image_url": {"url": "https://x/a.png"}}), &[Images]);
    check_part(OpenAiChat, &json!({"image_url": {"url": "https://x/a.png"}}), &[Images]);
    check_part(OpenAiChat, &json!({"type": "HIDDEN_url", "HIDDEN_url": "https://x"}), &[Images]);
    check_part(OpenAiChat, &json!({"type": "video_url", "video_url": {"url": "https://x/a.mp4"}}), &[Images]);
    check_part(OpenAiChat, &json!({"type": "input_audio", "input_audio": {"data": "AA"}}), &[Audio]);
    check_part(OpenAiChat, &json!({"type": "file", "file": {"file_id": "f"}}), &[Documents]);
    let drawn = json!({"type": "file", "file": {"file_data": "data:image/png;base64,AA"}});
    check_part(OpenAiChat, &drawn, &[Images, Documents]);
    let pdf = json!({"type": "image_url", "image_url": {"url": "DATA:application/pdf;base64,AA"}});
    check_part(OpenAiChat, &pdf, &[Images, Documents]);
    check_part(OpenAiChat, &json!({"type": "hologram", "hologram": {"url": "x"}}), &ANY);

    let by_file = json!({"type": "image", "source": {"type": "file", "file_id": "f"}});
    check_part(AnthropicMessages, &by_file, &[Images]);
    check_part(AnthropicMessages, &json!({"type": "container_upload", "file_id": "f"}), &ANY);
    let result = json!({"type": "tool_result", "tool_use_id": "t", "content": [by_file]});
    check_part(AnthropicMessages, &result, &[Images]);
    let inside = json!({"type": "document", "source": {"type": "content", "content": [result]}});
    check_part(AnthropicMessages, &inside, &[Images, Documents]);
    let mut deep = json!({"type": "image"});
    for _ in 0..20 {
        deep = json!({"type": "tool_result", "content": [deep]});
    }
    check_part(AnthropicMessages, &deep, &ANY);

    let image = json!({"inlineData": {"mimeType": "image/png", "data": "AA"}});
    check_part(Gemini, &image, &[Images]);
    check_part(Gemini, &json!({"inline_data": {"mime_type": "video/mp4", "data": "AA"}}), &[Images]);
    check_part(Gemini, &json!({"fileData": {"mimeType": "Audio/wav", "fileUri": "x"}}), &[Audio]);
    check_part(Gemini, &json!({"fileData": {"mimeType": "application/pdf", "fileUri": "x"}}), &[Documents]);
    check_part(Gemini, &json!({"fileData": {"fileUri": "x"}}), &ANY);
    let answer = json!({"functionResponse": {"name": "f", "response": {"ok": true}, "parts": [image]}});
    check_part(Gemini, &answer, &[Images]);
}

#[test]
fn text_tools_and_a_callers_own_data_are_no_media() {
    for part in [
        json!({"type": "text", "text": "data:image/png;base64,AA", "cache_control": {"type": "ephemeral"}}),
        json!({"type": "refusal", "refusal": "image"}),
        json!({"type": "thinking", "thinking": "an image", "signature": "x"}),
        json!({"type": "tool_use", "id": "t", "name": "image", "input": {"type": "image", "file": {"a": [1]}}}),
        json!({"type": "web_search_tool_result", "tool_use_id": "t", "content": [{"type": "web_search_result", "url": "x"}]}),
        json!({"type": "search_result", "source": "https://x", "title": "t", "content": [{"type": "text", "text": "x"}]}),
        json!({"type": "text", "text": "x", "citations": [{"type": "char_location", "document_index": 0}]}),
    ] {
        check_part(AnthropicMessages, &part, &[]);
    }
    for part in [
        json!({"functionCall": {"name": "image", "args": {"type": "image"}}, "thoughtSignature": "x"}),
        json!({"functionResponse": {"name": "image", "response": {"image": {"type": "image"}}}}),
        json!({"executableCode": {"code": "image"}}),
    ] {
        check_part(Gemini, &part, &[]);
    }
    let history = json!({"messages": [
        {"role": "assistant", "content": null, "tool_calls": [{"id": "t", "type": "function",
            "function": {"name": "image", "arguments": "{\"image\": 1}"}}]},
        {"role": "tool", "tool_call_id": "t", "content": "image"},
    ]});
    check_openai(&history, &[]);
}

#[test]
fn what_is_asked_for_is_found_by_any_of_its_names() {
    check_openai(
        &json!({"temperature": 1, "top_p": 0.5, "n": 1, "stop": ["image"], "seed": 3, "logprobs": true,
        "user": "u", "metadata": {"schema": "tool"}, "tool_choice": "auto", "parallel_tool_calls": true,
        "stream_options": {"include_usage": true}, "repetition_penalty": 1.1, "min_p": 0.1}),
        &[],
    );
    for more in [
        json!({"tools": [{"type": "function", "function": {"name": "image", "parameters": {"type": "object"}}}]}),
        json!({"functions": [{"name": "f"}]}),
        json!({"web_search_options": {}}),
        json!({"plugins": [{"id": "web"}]}),
        json!({"search_parameters": {"mode": "on"}}),
        json!({"extra_body": {"enable_search": true}}),
    ] {
        check_openai(&more, &[Tools]);
    }
    check_openai(&json!({"tools": [{"type": "image_generation"}]}), &[Tools, Images]);
    for more in [
        json!({"response_format": {"type": "json_object"}}),
        json!({"response_format": {"type": "text", "json_schema": {"schema": {}}}}),
        json!({"guided_json": {"type": "object"}}),
        json!({"structured_outputs": {"choice": ["a"]}}),
        json!({"grammar": "root ::= x"}),
    ] {
        check_openai(&more, &[StructuredOutput]);
    }
    for more in [
        json!({"reasoning_effort": "low"}),
        json!({"reasoning": {"effort": "high", "enabled": false}}),
        json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        json!({"chat_template_kwargs": {"enable_thinking": true}}),
        json!({"extra_body": {"google": {"thinking_config": {"thinking_budget": -1}}}}),
    ] {
        check_openai(&more, &[Reasoning]);
    }
    for more in [
        json!({"tools": [], "functions": null, "reasoning_effort": "none", "response_format": {"type": "text"}}),
        json!({"reasoning": {"effort": "none", "exclude": true}, "chat_template_kwargs": {"enable_thinking": false}}),
        json!({"thinking": {"type": "disabled"}, "modalities": ["text"]}),
    ] {
        check_openai(&more, &[]);
    }
    check_openai(
        &json!({"modalities": ["text", "audio"], "audio": {"voice": "v", "format": "wav"}}),
        &[Audio],
    );
    check_openai(&json!({"modalities": ["image", "text"]}), &[Images]);

    let claude = |more: &Value| {
        let mut body =
            json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    check(AnthropicMessages, &claude(&json!({"output_config": {"effort": "high"}})), &[Reasoning]);
    check(
        AnthropicMessages,
        &claude(&json!({"output_config": {"format": {"type": "json_schema"}}})),
        &[StructuredOutput],
    );
    check(AnthropicMessages, &claude(&json!({"container": {"skills": []}})), &[Tools]);
    let own = json!({"tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}]});
    check(AnthropicMessages, &claude(&own), &[Tools]);

    let gemini = |more: &Value| {
        let mut body = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let config = |config: &Value| gemini(&json!({"generationConfig": config}));
    check(Gemini, &gemini(&json!({"cachedContent": "cachedContents/1"})), &[Tools, Images, Audio, Documents]);
    check(Gemini, &gemini(&json!({"tools": [{"googleSearch": {}}]})), &[Tools]);
    check(Gemini, &config(&json!({"responseModalities": ["TEXT", "IMAGE"]})), &[Images]);
    check(Gemini, &config(&json!({"response_modalities": ["AUDIO"], "speechConfig": {"a": 1}})), &[Audio]);
    check(Gemini, &config(&json!({"responseMimeType": "application/json"})), &[StructuredOutput]);
    check(Gemini, &config(&json!({"thinkingConfig": {"thinkingLevel": "low"}})), &[Reasoning]);
    check(
        Gemini,
        &config(&json!({"thinkingConfig": {"thinkingBudget": 0, "includeThoughts": true},
        "responseMimeType": "text/plain", "responseModalities": ["TEXT"], "topK": 3})),
        &[],
    );
}
