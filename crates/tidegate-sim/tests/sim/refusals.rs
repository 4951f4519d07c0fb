//! What the providers refuse, the simulator refuses, in their words.

use serde_json::{Value, json};

use crate::support::{gemini_path, post, start};

#[tokio::test]
async fn openai_refuses_what_openai_refuses() {
    let sim = start().await;
    let user = json!([{"role": "user", "content": "Hello"}]);
    let tool = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let call = json!({"role": "assistant", "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
    let cases: Vec<(Value, &str)> = vec![
        (json!({"messages": user}), "you must provide a model parameter"),
        (json!({"model": "m"}), "Missing required parameter: 'messages'."),
        (json!({"model": "m", "messages": []}), "Invalid 'messages': empty array."),
        (json!({"model": "m", "messages": "x"}), "Invalid type for 'messages'"),
        (json!({"model": "m", "messages": [{"role": "robot", "content": "x"}]}), "Invalid value: 'robot'."),
        (
            json!({"model": "m", "messages": [{"role": "user"}]}),
            "Missing required parameter: 'messages[0].content'.",
        ),
        (json!({"model": "m", "messages": user, "thinking": {}}), "Unknown parameter: 'thinking'."),
        (json!({"model": "m", "messages": user, "temperature": 3}), "decimal above maximum value"),
        (
            json!({"model": "m", "messages": user, "tool_choice": "auto"}),
            "only allowed when 'tools' are specified",
        ),
        (
            json!({"model": "m", "messages": user, "tools": tool,
                   "tool_choice": {"type": "function", "function": {"name": "g"}}}),
            "Tool choice 'g' not found in 'tools' parameter.",
        ),
        (
            json!({"model": "m", "messages": [{"role": "tool", "tool_call_id": "x", "content": "y"}]}),
            "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'",
        ),
        (
            json!({"model": "m", "messages": [user[0], call, user[0]]}),
            "must be followed by tool messages responding to each 'tool_call_id'",
        ),
        (
            json!({"model": "m", "messages": user, "stream_options": {}}),
            "only allowed when 'stream' is enabled",
        ),
        (
            json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}),
            "Invalid value: 'image'.",
        ),
    ];
    for (body, words) in cases {
        let seen = post(sim.address(), "/v1/chat/completions", &body).await;
        assert_eq!(seen.status, 400, "{body}");
        let message = seen.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(words), "{body}: {message}");
    }
}

#[tokio::test]
async fn anthropic_refuses_what_anthropic_refuses() {
    let sim = start().await;
    let with = |fields: Value, messages: Value| {
        let mut body = json!({"model": "m", "max_tokens": 4000, "messages": messages});
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    let user = json!([{"role": "user", "content": "Hello"}]);
    let tool = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    let call = json!({"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]});
    let cases: Vec<(Value, &str)> = vec![
        (json!({"model": "m", "messages": user}), "max_tokens: Field required"),
        (json!({"max_tokens": 1, "messages": user}), "model: Field required"),
        (with(json!({}), json!([])), "at least one message is required"),
        (with(json!({}), json!([user[0], user[0]])), "roles must alternate"),
        (with(json!({}), json!([{"role": "system", "content": "x"}])), "top-level `system` parameter"),
        (
            with(json!({}), json!([{"role": "user", "content": [{"type": "text", "text": ""}]}])),
            "must be non-empty",
        ),
        (with(json!({"n": 2}), user.clone()), "n: Extra inputs are not permitted"),
        (
            with(json!({"temperature": 1.5}), user.clone()),
            "temperature: Input should be less than or equal to 1",
        ),
        (
            with(json!({"thinking": {"type": "enabled", "budget_tokens": 4000}}), user.clone()),
            "`max_tokens` must be greater than `thinking.budget_tokens`",
        ),
        (
            with(json!({"thinking": {"type": "enabled", "budget_tokens": 10}}), user.clone()),
            "Input should be greater than or equal to 1024",
        ),
        (
            with(
                json!({"thinking": {"type": "enabled", "budget_tokens": 2000}, "temperature": 0.5}),
                user.clone(),
            ),
            "`temperature` may only be set to 1",
        ),
        (
            with(json!({"tools": tool, "tool_choice": {"type": "tool", "name": "g"}}), user.clone()),
            "Tool 'g' not found",
        ),
        (
            with(json!({"tools": tool}), json!([user[0], call])),
            "`tool_use` ids were found without `tool_result`",
        ),
        (
            with(
                json!({}),
                json!([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}]),
            ),
            "unexpected `tool_use_id` found in `tool_result` blocks: x",
        ),
        (
            with(
                json!({}),
                json!([user[0], {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "bm9wZQ=="}]}, user[0]]),
            ),
            "messages.1.content.0: Invalid `signature` in `thinking` block",
        ),
        (
            with(json!({}), json!([user[0], {"role": "assistant", "content": "Well "}])),
            "final assistant content cannot end with trailing whitespace",
        ),
    ];
    for (body, words) in cases {
        let seen = post(sim.address(), "/v1/messages", &body).await;
        assert_eq!(seen.status, 400, "{body}");
        assert_eq!(seen.json()["error"]["type"], "invalid_request_error");
        let message = seen.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(words), "{body}: {message}");
    }
    let counted =
        post(sim.address(), "/v1/messages/count_tokens", &json!({"model": "m", "messages": user})).await;
    assert!(counted.json()["input_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn gemini_refuses_what_gemini_refuses() {
    let sim = start().await;
    let user = json!({"role": "user", "parts": [{"text": "Hello"}]});
    let call = json!({"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]});
    let response =
        |name: &str| json!({"role": "user", "parts": [{"functionResponse": {"name": name, "response": {}}}]});
    let declared = |schema: Value| json!([{"functionDeclarations": [{"name": "f", "parameters": schema}]}]);
    let cases: Vec<(Value, &str)> = vec![
        (json!({}), "contents is not specified"),
        (
            json!({"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}),
            "Please use a valid role: user, model.",
        ),
        (json!({"contents": [user], "max_tokens": 5}), "Unknown name \"max_tokens\": Cannot find field."),
        (json!({"contents": [{"role": "user", "parts": []}]}), "contents.parts must not be empty"),
        (json!({"contents": [{"role": "user", "parts": [{}]}]}), "must have one initialized field"),
        (json!({"contents": [user, call, response("")]}), "function_response.name: Name cannot be empty."),
        (json!({"contents": [user, call, user]}), "number of function response parts is equal"),
        (json!({"contents": [user, response("f")]}), "comes immediately after a function call turn"),
        (
            json!({"contents": [user], "tools": declared(json!({"type": "object", "$schema": "x"}))}),
            "Unknown name \"$schema\" at 'tools[0].function_declarations[0].parameters': Cannot find field.",
        ),
        (
            json!({"contents": [user], "generationConfig": {"temperature": 9}}),
            "temperature must be in the range",
        ),
        (
            json!({"contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "%%"}}]}]}),
            "Base64 decoding failed",
        ),
    ];
    for (body, words) in cases {
        let seen = post(sim.address(), &gemini_path("m", false), &body).await;
        assert_eq!(seen.status, 400, "{body} {}", seen.text());
        assert_eq!(seen.json()["error"]["status"], "INVALID_ARGUMENT");
        let message = seen.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(words), "{body}: {message}");
    }
}
