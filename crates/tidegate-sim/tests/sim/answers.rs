//! What the simulator answers, in all dialects, whole and streamed.

use crate::support::{End, ask, exchange, gemini_path, get, post, said, saying, start};
use serde_json::{Value, json};
use tidegate_sim::{Dialect, Outcome, SimOptions, Simulator, checksum};

#[tokio::test]
async fn every_dialect_says_the_same_words_whole_and_streamed() {
    let sim = start().await;
    let mut texts = Vec::new();
    for dialect in Dialect::ALL {
        for stream in [false, true] {
            let seen = ask(&sim, dialect, "some-model", "What does the tide do?", stream).await;
            assert_eq!((seen.status, seen.end), (200, End::Complete), "{dialect} {}", seen.text());
            texts.push(said(dialect, &seen, stream));
        }
    }
    assert!(texts[0].split(' ').count() == 24, "{}", texts[0]);
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:#?}");
    let totals = sim.totals();
    assert_eq!((totals.all.attempts, totals.all.answered, totals.all.output_tokens), (6, 6, 6 * 24));
    assert_eq!(totals.by_dialect["gemini"].answered, 2);
}

#[tokio::test]
async fn what_follows_an_answers_beginning_is_its_rest() {
    let sim = start().await;
    let whole = said(
        Dialect::AnthropicMessages,
        &ask(&sim, Dialect::AnthropicMessages, "m", "Go", false).await,
        false,
    );
    let beginning: String = whole.split_inclusive(' ').take(7).collect();
    let body = json!({"model": "other", "max_tokens": 100, "messages": [
        {"role": "user", "content": "Go"}, {"role": "assistant", "content": beginning.trim_end()}]});
    let rest = said(Dialect::AnthropicMessages, &post(sim.address(), "/v1/messages", &body).await, false);
    assert_eq!(format!("{}{rest}", beginning.trim_end()), whole);
    let differently = ask(&sim, Dialect::AnthropicMessages, "differently", "Go", false).await;
    assert_ne!(said(Dialect::AnthropicMessages, &differently, false), whole);
}

#[tokio::test]
async fn usage_is_the_same_whole_and_streamed_and_in_the_ledger() {
    let sim = start().await;
    for dialect in Dialect::ALL {
        for model in ["plain", "cached", "thinking"] {
            sim.reset();
            let (path, mut body) = saying(dialect, model, "How long is this?", true);
            if dialect == Dialect::OpenAiChat {
                body["stream_options"] = json!({"include_usage": true});
            }
            let streamed = post(sim.address(), &path, &body).await;
            let whole = ask(&sim, dialect, model, "How long is this?", false).await;
            let name = if dialect == Dialect::Gemini { "usageMetadata" } else { "usage" };
            let last =
                streamed.events().into_iter().rev().find_map(|event| event.get(name).cloned()).unwrap();
            assert_eq!(last, whole.json()[name], "{dialect} {model}");
            let served = sim.served();
            assert_eq!(served.len(), 2);
            assert_eq!(served[0].output_tokens, served[1].output_tokens, "{dialect} {model}");
            let (input, output) = match dialect {
                Dialect::OpenAiChat => (sum(&last, &["prompt_tokens"]), sum(&last, &["completion_tokens"])),
                Dialect::AnthropicMessages => (
                    sum(&last, &["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"]),
                    sum(&last, &["output_tokens"]),
                ),
                Dialect::Gemini => (
                    sum(&last, &["promptTokenCount"]),
                    sum(&last, &["candidatesTokenCount", "thoughtsTokenCount"]),
                ),
            };
            assert_eq!(
                (input, output),
                (served[1].input_tokens, served[1].output_tokens),
                "{dialect} {model}"
            );
            assert_eq!(served[1].cached_tokens > 0, model == "cached");
            assert_eq!(served[1].reasoning_tokens > 0, model == "thinking");
        }
    }
}

fn sum(usage: &Value, names: &[&str]) -> u64 {
    names.iter().filter_map(|name| usage[*name].as_u64()).sum()
}

#[tokio::test]
async fn tools_go_round_in_two_turns_in_every_dialect() {
    let sim = start().await;
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let question = "What is the weather in Paris?";

    let tools = json!([{"type": "function", "function": {"name": "get_weather", "parameters": schema}}]);
    let ask = json!({"role": "user", "content": question});
    let body = json!({"model": "gpt", "tools": tools, "messages": [ask]});
    let first = post(sim.address(), "/v1/chat/completions", &body).await.json();
    let message = &first["choices"][0]["message"];
    assert_eq!(first["choices"][0]["finish_reason"], "tool_calls");
    let call = &message["tool_calls"][0];
    assert_eq!(call["function"]["arguments"], r#"{"city":"Paris"}"#);
    let result = json!({"role": "tool", "tool_call_id": call["id"], "content": "18 degrees"});
    let body = json!({"model": "gpt", "tools": tools, "messages": [ask, message, result]});
    let second = post(sim.address(), "/v1/chat/completions", &body).await;
    assert!(second.text().contains("The tool get_weather said: 18 degrees"), "{}", second.text());

    let tools = json!([{"name": "get_weather", "input_schema": schema}]);
    let body = json!({"model": "c", "max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 2000},
                      "tools": tools, "messages": [ask]});
    let first = post(sim.address(), "/v1/messages", &body).await.json();
    assert_eq!(first["stop_reason"], "tool_use", "{first}");
    assert_eq!(first["content"][0]["type"], "thinking");
    let call = &first["content"][1];
    let answer = |content: &Value| {
        let result = json!([{"type": "tool_result", "tool_use_id": call["id"], "content": "18 degrees", "is_error": true}]);
        let mut next = body.clone();
        next["messages"] =
            json!([ask, {"role": "assistant", "content": content}, {"role": "user", "content": result}]);
        next
    };
    let second = post(sim.address(), "/v1/messages", &answer(&first["content"])).await;
    assert!(second.text().contains("The tool get_weather failed with: 18 degrees"), "{}", second.text());
    let without = post(sim.address(), "/v1/messages", &answer(&json!([call]))).await;
    assert_eq!(without.status, 400);
    assert!(without.text().contains("Expected `thinking` or `redacted_thinking`, but found `tool_use`"));
    let mut altered = first["content"].clone();
    altered[0]["thinking"] = json!("something else");
    let altered = post(sim.address(), "/v1/messages", &answer(&altered)).await;
    assert!(altered.text().contains("messages.1.content.0: Invalid `signature` in `thinking` block"));

    let tools = json!([{"functionDeclarations": [{"name": "get_weather", "parameters": schema}]}]);
    let ask = json!({"role": "user", "parts": [{"text": question}]});
    let path = gemini_path("gemini-3-flash", false);
    let first = post(sim.address(), &path, &json!({"tools": tools, "contents": [ask]})).await.json();
    let content = &first["candidates"][0]["content"];
    assert_eq!(content["parts"][0]["functionCall"]["args"]["city"], "Paris", "{first}");
    let response = json!({"role": "user", "parts": [{"functionResponse": {
        "id": content["parts"][0]["functionCall"]["id"], "name": "get_weather", "response": {"output": "18 degrees"}}}]});
    let contents = json!([ask, content, response]);
    let second = post(sim.address(), &path, &json!({"tools": tools, "contents": contents})).await;
    assert!(second.text().contains("The tool get_weather said: 18 degrees"), "{}", second.text());
    let mut unsigned = contents.clone();
    unsigned[1]["parts"][0].as_object_mut().unwrap().remove("thoughtSignature").unwrap();
    let refused = post(sim.address(), &path, &json!({"tools": tools, "contents": unsigned})).await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("missing a thought_signature in functionCall parts"));
    let older = post(
        sim.address(),
        &gemini_path("gemini-2.5-flash", false),
        &json!({"tools": tools, "contents": unsigned}),
    )
    .await;
    assert_eq!(older.status, 200, "{}", older.text());
}

#[tokio::test]
async fn streamed_calls_put_together_are_the_whole_ones() {
    let sim = start().await;
    let schema =
        json!({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}});
    let tools = json!([{"type": "function", "function": {"name": "a_tool", "parameters": schema}},
                       {"type": "function", "function": {"name": "b_tool", "parameters": schema}}]);
    let messages = json!([{"role": "user", "content": "Go to Rome"}]);
    let body = |stream: bool| json!({"model": "parallel-tools", "stream": stream, "tools": tools, "messages": messages});
    let whole = post(sim.address(), "/v1/chat/completions", &body(false)).await.json();
    let calls = whole["choices"][0]["message"]["tool_calls"].as_array().unwrap().clone();
    assert_eq!(calls.len(), 2);
    let mut arguments = [String::new(), String::new()];
    for event in post(sim.address(), "/v1/chat/completions", &body(true)).await.events() {
        for call in event["choices"][0]["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
            arguments[index].push_str(call["function"]["arguments"].as_str().unwrap());
        }
    }
    for (call, streamed) in calls.iter().zip(&arguments) {
        assert_eq!(call["function"]["arguments"], json!(streamed));
    }
}

#[tokio::test]
async fn describe_says_what_arrived_media_by_checksum() {
    let sim = start().await;
    let bytes: Vec<u8> = (0..=255).collect();
    // Base64 of the 256 byte values, as any encoder writes it.
    let data = base64(&bytes);
    let openai = json!({"model": "describe", "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Look"},
            {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}}]}]});
    let anthropic = json!({"model": "describe", "max_tokens": 4000, "system": "Be brief.", "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Look"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}]}]});
    let gemini = json!({"systemInstruction": {"parts": [{"text": "Be brief."}]}, "contents": [
        {"role": "user", "parts": [{"text": "Look"}, {"inline_data": {"mime_type": "image/png", "data": data}}]}]});
    let calls = [
        (Dialect::OpenAiChat, "/v1/chat/completions".to_owned(), openai),
        (Dialect::AnthropicMessages, "/v1/messages".to_owned(), anthropic),
        (Dialect::Gemini, gemini_path("describe", false), gemini),
    ];
    for (dialect, path, body) in calls {
        let seen = post(sim.address(), &path, &body).await;
        let described: Value = serde_json::from_str(&said(dialect, &seen, false)).unwrap();
        assert_eq!(described["system"], json!(["Be brief."]), "{dialect}");
        let parts = &described["turns"][0]["parts"];
        assert_eq!(parts[0]["text"], "Look");
        assert_eq!(parts[1]["media_type"], "image/png");
        assert_eq!((&parts[1]["bytes"], &parts[1]["checksum"]), (&json!(256), &json!(checksum(&bytes))));
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let mut word = 0u32;
        for index in 0..3 {
            word = word << 8 | u32::from(chunk.get(index).copied().unwrap_or(0));
        }
        for index in 0..4 {
            let used = index <= chunk.len();
            let six = usize::try_from(word >> (18 - 6 * index) & 63).unwrap();
            out.push(if used { char::from(ALPHABET[six]) } else { '=' });
        }
    }
    out
}

#[tokio::test]
async fn limits_stops_schemas_and_choices_are_kept() {
    let sim = start().await;
    let (path, body) = saying(Dialect::OpenAiChat, "m", "Say json", false);
    let with = |field: &str, value: Value| {
        let mut body = body.clone();
        body[field] = value;
        body
    };
    let limited = post(sim.address(), &path, &with("max_completion_tokens", json!(5))).await.json();
    assert_eq!(limited["choices"][0]["finish_reason"], "length");
    assert_eq!(limited["usage"]["completion_tokens"], 5);
    let text = post(sim.address(), &path, &body).await.json()["choices"][0]["message"]["content"]
        .as_str()
        .unwrap()
        .to_owned();
    let stop: String = text.chars().skip(20).take(4).collect();
    let stopped = post(sim.address(), &path, &with("stop", json!([stop]))).await.json();
    let kept = stopped["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(text.starts_with(&kept) && !kept.contains(&stop));
    let several = post(sim.address(), &path, &with("n", json!(3))).await.json();
    assert_eq!(several["choices"].as_array().unwrap().len(), 3);
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 4}},
                        "required": ["n"], "additionalProperties": false});
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": schema}});
    let formed = post(sim.address(), &path, &with("response_format", format)).await.json();
    let formed: Value =
        serde_json::from_str(formed["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    assert!((3..=4).contains(&formed["n"].as_i64().unwrap()));
    let probable = with("logprobs", json!(true));
    let probable = post(sim.address(), &path, &probable).await.json();
    assert_eq!(probable["choices"][0]["logprobs"]["content"].as_array().unwrap().len(), 24);
}

#[tokio::test]
async fn gemini_without_sse_streams_one_array() {
    let sim = start().await;
    for (model, elements) in [("m", 25), ("empty-stream", 1)] {
        let (_, body) = saying(Dialect::Gemini, model, "Hello", true);
        let path = format!("/v1beta/models/{model}:streamGenerateContent");
        let seen = post(sim.address(), &path, &body).await;
        assert_eq!(seen.json().as_array().unwrap().len(), elements, "{}", seen.text());
    }
}

#[tokio::test]
async fn the_right_key_in_the_wrong_place_is_refused_in_the_providers_words() {
    let sim = Simulator::start(SimOptions { api_key: Some("secret".to_owned()), ..SimOptions::default() })
        .await
        .unwrap();
    let cases = [
        (Dialect::OpenAiChat, "authorization: Bearer secret", 200, ""),
        (Dialect::OpenAiChat, "authorization: Bearer other", 401, "Incorrect API key provided"),
        (Dialect::OpenAiChat, "x-api-key: secret", 401, "You didn't provide an API key"),
        (Dialect::AnthropicMessages, "x-api-key: secret", 200, ""),
        (Dialect::AnthropicMessages, "x-api-key: other", 401, "invalid x-api-key"),
        (Dialect::AnthropicMessages, "x-goog-api-key: secret", 401, "x-api-key header is required"),
        (Dialect::Gemini, "x-goog-api-key: secret", 200, ""),
        (Dialect::Gemini, "x-goog-api-key: other", 400, "API key not valid"),
        (Dialect::Gemini, "authorization: Bearer secret", 401, "Expected OAuth 2 access token"),
        (Dialect::Gemini, "accept: */*", 403, "unregistered callers"),
    ];
    for (dialect, header, status, words) in cases {
        let (path, body) = saying(dialect, "m", "Hello", false);
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: sim\r\nanthropic-version: 2023-06-01\r\n{header}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let seen = exchange(sim.address(), &request).await;
        assert_eq!(seen.status, status, "{dialect} {header} {}", seen.text());
        assert!(seen.text().contains(words), "{dialect} {header} {}", seen.text());
    }
}

#[tokio::test]
async fn the_own_pages_tell_what_was_served() {
    let sim = start().await;
    ask(&sim, Dialect::Gemini, "some/model", "Hello", false).await;
    let served = get(sim.address(), "/sim/served").await.json();
    assert_eq!(served[0]["model"], "some/model");
    assert_eq!(served[0]["outcome"], "answered");
    assert_eq!(get(sim.address(), "/sim/totals").await.json()["by_model"]["some/model"]["attempts"], 1);
    assert!(!get(sim.address(), "/sim/scenarios").await.json().as_array().unwrap().is_empty());
    assert_eq!(post(sim.address(), "/sim/reset", &json!({})).await.status, 200);
    assert_eq!(get(sim.address(), "/sim/totals").await.json()["all"]["attempts"], 0);
    assert_eq!(get(sim.address(), "/v1/models").await.json()["object"], "list");
    assert_eq!(get(sim.address(), "/nowhere").await.status, 404);
    assert_eq!(sim.served().iter().filter(|call| call.outcome == Outcome::Answered).count(), 0);
}
