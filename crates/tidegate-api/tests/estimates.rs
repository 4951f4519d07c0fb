//! What a call is reserved under a hard budget: at least what it can cost, however the request puts it and whatever it
//! becomes in translation.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_store::{NewKey, Outcome};
use tidegate_testkit::{Client, Received, ScriptedProvider, Step, TestGateway, json_answer};

const CHAT: &str = "/v1/chat/completions";

/// A gateway before one provider of this kind, as model `m` and as itself, and a caller with so many US dollars.
async fn with_budget(
    kind: &str,
    model: &str,
    usd: &str,
    answer: &Value,
) -> (TestGateway, ScriptedProvider, Client) {
    let provider = ScriptedProvider::start([json_answer(200, &[], answer)]).await;
    let (gateway, client) = limited(&provider, kind, model, usd).await;
    (gateway, provider, client)
}

async fn limited(provider: &ScriptedProvider, kind: &str, model: &str, usd: &str) -> (TestGateway, Client) {
    let base = if kind == "anthropic" { provider.url() } else { format!("{}/v1", provider.url()) };
    let gateway = TestGateway::start(&format!(
        "providers:\n  p: {{ kind: {kind}, base_url: \"{base}\", api_key: k }}\nmodels:\n  m: {{ targets: [p/{model}] }}\n\
         prices:\n  p/house: {{ input: 1, output: 10 }}\n"
    ))
    .await;
    let limits = json!({"budgets": [{"usd": usd, "per": "lifetime"}]});
    let key =
        gateway.key(NewKey { limits: serde_json::from_value(limits).unwrap(), ..NewKey::default() }).await;
    let client =
        Client::new(gateway.address()).with_header("authorization", &format!("Bearer {}", key.expose()));
    (gateway, client)
}

fn openai_answer() -> Value {
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20});
    json!({"id": "c", "object": "chat.completion", "created": 1, "model": "house", "usage": usage,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "High tide."}}]})
}

fn anthropic_answer(usage: &Value) -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5", "stop_reason": "end_turn",
        "stop_sequence": null, "content": [{"type": "text", "text": "High tide."}], "usage": usage})
}

fn body(more: &str) -> bytes::Bytes {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"Hi"}}],{more}}}"#).into()
}

async fn post(client: &Client, path: &str, body: bytes::Bytes) -> Received {
    client.call(http::Method::POST, path, body).await
}

#[tokio::test]
async fn room_is_reserved_for_the_most_that_a_request_can_be_read_to_ask_for() {
    // 1,000 tokens of output cost 0.01.
    for more in [
        r#""max_tokens":60000"#,
        r#""max_completion_tokens":10,"max_tokens":60000"#,
        r#""max_tokens":60000,"max_tokens":10"#,
        r#""max_tokens":10,"max_tokens":60000"#,
        r#""m\u0061x_tokens":60000"#,
        r#""max_completion_tokens":0"#,
        r#""max_tokens":-1"#,
        r#""max_tokens":"many""#,
        r#""max_tokens":900,"n":8"#,
        r#""max_tokens":900,"n":8.0"#,
        r#""max_tokens":900,"n":"8""#,
        r#""max_tokens":900,"n":"eight""#,
        r#""max_tokens":900,"best_of":8"#,
        r#""max_tokens":900,"max_new_tokens":60000"#,
        r#""max_new_tokens":10"#,
    ] {
        let (_gateway, provider, client) =
            with_budget("openai-compatible", "house", "0.02", &openai_answer()).await;
        let received = post(&client, CHAT, body(more)).await;
        assert_eq!(received.status, 402, "{more}: {}", received.text());
        assert!(provider.arrived().is_empty(), "{more}");
    }
    for more in [
        r#""max_tokens":900"#,
        r#""max_tokens":900,"n":null"#,
        r#""max_tokens":null,"max_completion_tokens":900"#,
    ] {
        let (_gateway, _provider, client) =
            with_budget("openai-compatible", "house", "0.02", &openai_answer()).await;
        let received = post(&client, CHAT, body(more)).await;
        assert_eq!(received.status, 200, "{more}: {}", received.text());
    }
}

#[tokio::test]
async fn a_prediction_is_reserved_like_output() {
    // Output costs 0.6 dollars a million tokens: 900 cost 0.00054, 40,000 more 0.024.
    let predicted =
        format!(r#""max_tokens":900,"prediction":{{"type":"content","content":"{}"}}"#, "a".repeat(40_000));
    for (usd, status) in [("0.02", 402), ("5", 200)] {
        let (_gateway, _provider, client) = with_budget("openai", "gpt-4o-mini", usd, &openai_answer()).await;
        let received = post(&client, CHAT, body(&predicted)).await;
        assert_eq!(received.status, status, "{usd}: {}", received.text());
    }
}

#[tokio::test]
async fn thinking_that_translation_adds_to_the_limit_is_reserved_too() {
    // Output costs 5 dollars a million tokens: 1,500 cost 0.0075, the 21,500 that are sent 0.1075.
    let usage = json!({"input_tokens": 10, "output_tokens": 10});
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}], "generationConfig":
        {"maxOutputTokens": 1500, "thinkingConfig": {"thinkingBudget": 20000}}});
    for (usd, status) in [("0.1", 402), ("0.12", 200)] {
        let (_gateway, provider, client) =
            with_budget("anthropic", "claude-haiku-4-5", usd, &anthropic_answer(&usage)).await;
        let received = client.post("/v1beta/models/m:generateContent", &gemini).await;
        assert_eq!(received.status, status, "{}", received.text());
        if status == 200 {
            assert_eq!(provider.arrived()[0].json()["max_tokens"], 21_500);
        }
    }
    // Of 100 tokens 1,124 become.
    for (usd, status) in [("0.005", 402), ("0.01", 200)] {
        let (_gateway, provider, client) =
            with_budget("anthropic", "claude-haiku-4-5", usd, &anthropic_answer(&usage)).await;
        let received = post(&client, CHAT, body(r#""max_tokens":100,"reasoning_effort":"low""#)).await;
        assert_eq!(received.status, status, "{}", received.text());
        if status == 200 {
            assert_eq!(provider.arrived()[0].json()["max_tokens"], 1_124);
        }
    }
}

#[tokio::test]
async fn a_limit_or_a_window_beyond_what_the_catalog_knows_is_reserved_as_it_is_asked_for() {
    // The catalog knows 64,000 tokens of output, at 5 dollars a million, and a window of 200,000, at 1.
    let usage = json!({"input_tokens": 10, "output_tokens": 10});
    let long = json!({"model": "m", "max_tokens": 128_000, "messages": [{"role": "user", "content": "Hi"}]});
    let text = "tide ".repeat(230_000);
    let wide = json!({"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": text}]});
    let beta = ("anthropic-beta", "context-1m-2025-08-07");
    for (body, header, usd, status) in [
        (&long, ("x-none", "x"), "0.5", 402),
        (&long, ("x-none", "x"), "0.7", 200),
        (&wide, ("x-none", "x"), "0.3", 200),
        (&wide, beta, "0.3", 402),
        (&wide, beta, "1.5", 200),
    ] {
        let (_gateway, _provider, client) =
            with_budget("anthropic", "claude-haiku-4-5", usd, &anthropic_answer(&usage)).await;
        let received = client.with_header(header.0, header.1).post("/v1/messages", body).await;
        assert_eq!(received.status, status, "{usd}: {}", received.text());
    }
}

#[tokio::test]
async fn images_and_caches_count_however_their_words_are_escaped() {
    for content in [r#""type":"image_url","image_url""#, r#""type":"im\u0061ge_url","im\u0061g\u0065_url""#] {
        let message = format!(r#"{{"role":"user","content":[{{{content}:{{"url":"http://x/i.png"}}}}]}}"#);
        let request = format!(r#"{{"model":"m","max_tokens":10,"messages":[{message}]}}"#);
        // An image is some thousand tokens of input, a dollar a million.
        let (_gateway, _provider, client) =
            with_budget("openai-compatible", "house", "0.002", &openai_answer()).await;
        let received = post(&client, CHAT, request.into()).await;
        assert_eq!(received.status, 402, "{content}: {}", received.text());
    }
}

#[tokio::test]
async fn a_search_that_nobody_can_price_is_refused_under_a_budget_and_one_that_has_a_price_is_charged() {
    let search = json!({"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}], "web_search_options": {}});
    let (_gateway, provider, client) = with_budget("openai-compatible", "house", "5", &openai_answer()).await;
    let received = client.post(CHAT, &search).await;
    assert_eq!(received.status, 403, "{}", received.text());
    assert!(received.text().contains("price"), "{}", received.text());
    assert!(provider.arrived().is_empty());

    let usage =
        json!({"input_tokens": 1000, "output_tokens": 100, "server_tool_use": {"web_search_requests": 2}});
    let (gateway, _provider, client) =
        with_budget("anthropic", "claude-haiku-4-5", "5", &anthropic_answer(&usage)).await;
    let messages = json!({"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}],
        "tools": [{"type": "web_search_20250305", "name": "web_search"}]});
    let received = client.post("/v1/messages", &messages).await;
    // 1,000 tokens at 1 dollar a million, 100 at 5, two searches at 10 a thousand.
    assert_eq!(received.header("x-tidegate-cost"), "0.0215", "{}", received.text());
    assert_eq!(gateway.calls_when(1).await[0].charge_nanodollars, Some(21_500_000));
}

#[tokio::test]
async fn of_a_call_with_a_part_without_a_price_the_rest_is_charged() {
    // A search that nobody asked for has no price here.
    let usage =
        json!({"input_tokens": 10, "output_tokens": 6, "server_tool_use": {"web_search_requests": 1}});
    let (gateway, _provider, client) =
        with_budget("anthropic", "house", "1", &anthropic_answer(&usage)).await;
    let received = post(&client, CHAT, body(r#""max_tokens":900"#)).await;
    assert_eq!(received.status, 200, "{}", received.text());
    assert_eq!(received.header("x-tidegate-cost"), "");
    let entry = gateway.calls_when(1).await.remove(0);
    // 10 tokens in at 1 dollar a million, six out at 10.
    assert_eq!((entry.cost_nanodollars, entry.charge_nanodollars), (None, Some(70_000)));
    let again = post(&client, CHAT, body(r#""max_tokens":900"#)).await;
    let remaining =
        |received: &Received| -> f64 { received.header("x-tidegate-budget-remaining").parse().unwrap() };
    let less = remaining(&received) - remaining(&again);
    assert!((less - 0.000_07).abs() < 1e-9, "the first call is charged beside what the second holds: {less}");
}

#[tokio::test]
async fn a_whole_answer_without_usage_is_estimated_and_not_free() {
    let mut answer = openai_answer();
    answer.as_object_mut().unwrap().remove("usage");
    let (gateway, _provider, client) = with_budget("openai-compatible", "house", "1", &answer).await;
    let received = post(&client, CHAT, body(r#""max_tokens":900"#)).await;
    assert_eq!(received.status, 200, "{}", received.text());
    let entry = gateway.calls_when(1).await.remove(0);
    assert!(entry.is_estimated && entry.usage.input > 0, "{entry:?}");
    // "High tide." has ten letters.
    assert_eq!(entry.usage.output, 3);
    assert_eq!(entry.cost_nanodollars, Some(entry.usage.input * 1_000 + 3 * 10_000));
}

#[tokio::test]
async fn who_hangs_up_before_the_answer_is_charged_with_what_the_provider_has_read() {
    for stream in [false, true] {
        let provider = ScriptedProvider::start([vec![Step::Hang]]).await;
        let (gateway, client) = limited(&provider, "openai-compatible", "house", "1").await;
        let asked = json!({"model": "m", "max_tokens": 900, "stream": stream,
            "messages": [{"role": "user", "content": "Hi"}]});
        let hung_up = tokio::time::timeout(Duration::from_millis(500), client.post(CHAT, &asked)).await;
        assert!(hung_up.is_err());
        let entry = gateway.calls_when(1).await.remove(0);
        assert_eq!(entry.outcome, Outcome::Cancelled);
        assert!(entry.is_estimated && entry.usage.input > 0, "{entry:?}");
        assert_eq!(entry.charge_nanodollars, Some(entry.usage.input * 1_000));
        assert!(provider.hung_up(1).await);
    }
}

#[tokio::test]
async fn what_stands_behind_an_address_or_is_fetched_by_the_provider_is_reserved_like_a_document() {
    let part = |part: Value| json!([{"role": "user", "content": [{"type": "text", "text": "Hi"}, part]}]);
    for more in [
        json!({"messages": part(json!({"type": "video_url", "video_url": {"url": "https://a/b.mp4"}}))}),
        json!({"messages": part(json!({"type": "document_url", "document_url": "https://a/b.pdf"}))}),
        json!({"messages": part(json!({"type": "audio_url", "audio_url": {"url": "https://a/b.mp3"}}))}),
        json!({"messages": part(json!({"type": "input_audio", "input_audio": {"data": "https://a/b", "format": "mp3"}}))}),
        json!({"messages": part(json!({"type": "media", "url": "https://a/b"}))}),
        json!({"messages": part(json!({"type": "input_video", "input_video": {"url": "https://a/b.mp4"}}))}),
        json!({"messages": part(json!({"type": "input_video", "input_video": "https://a/b.mp4"}))}),
        json!({"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}, {"role": "user", "content": "Hi"}]}),
        json!({"plugins": [{"id": "file-parser"}]}),
        json!({"extra_body": {"container": "c1"}}),
    ] {
        // 200,000 tokens of input cost 0.2, and 100 of output 0.001.
        for (usd, status) in [("0.1", 402), ("5", 200)] {
            let (_gateway, provider, client) =
                with_budget("openai-compatible", "house", usd, &openai_answer()).await;
            let mut body =
                json!({"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let received = client.post(CHAT, &body).await;
            assert_eq!(received.status, status, "{more}: {}", received.text());
            assert_eq!(provider.arrived().len(), usize::from(status == 200), "{more}");
        }
    }
    // Nobody knows what a search costs there.
    for more in [json!({"search_parameters": {"mode": "on"}}), json!({"enable_search": true})] {
        let (_gateway, provider, client) =
            with_budget("openai-compatible", "house", "5", &openai_answer()).await;
        let mut body =
            json!({"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let received = client.post(CHAT, &body).await;
        assert_eq!(received.status, 403, "{more}: {}", received.text());
        assert!(provider.arrived().is_empty(), "{more}");
    }
    let user = |content: Value| json!([{"role": "user", "content": content}]);
    for ordinary in [
        json!({"enable_search": false, "messages": user("Hi".into())}),
        json!({"search_parameters": {"mode": "off"}, "messages": user("Hi".into())}),
        json!({"messages": user("Which word is longer, \"video\", \"file\" or \"audio_url\"?".into())}),
        json!({"messages": user(json!([{"type": "text", "text": "{\"type\": \"video\"}"}]))}),
        json!({"messages": [{"role": "user", "content": "Hi"},
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "function",
                "function": {"name": "open", "arguments": "{\"file\": \"a.rs\"}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "{\"file\": \"a.rs\"}"}],
            "tools": [{"type": "function", "function": {"name": "open",
                "parameters": {"type": "object", "properties": {"file": {"type": "string"}, "video_url": {}}}}}]}),
        json!({"messages": user(json!([{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}]))}),
        json!({"messages": user(json!([{"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}}]))}),
    ] {
        let mut body = json!({"model": "m", "max_tokens": 100});
        body.as_object_mut().unwrap().extend(ordinary.as_object().unwrap().clone());
        let (_gateway, _provider, client) =
            with_budget("openai-compatible", "house", "0.1", &openai_answer()).await;
        let received = client.post(CHAT, &body).await;
        assert_eq!(received.status, 200, "{ordinary}: {}", received.text());
    }
}

#[tokio::test]
async fn an_end_user_whose_name_could_not_be_kept_whole_is_refused() {
    let (_gateway, provider, client) = with_budget("openai-compatible", "house", "5", &openai_answer()).await;
    for (user, status) in [("a".repeat(512), 200), ("a".repeat(513), 400), ("a\0b".to_owned(), 400)] {
        let body = json!({"model": "m", "max_tokens": 9, "user": user, "messages": [{"role": "user", "content": "Hi"}]});
        let received = client.post(CHAT, &body).await;
        assert_eq!(received.status, status, "{}", received.text());
    }
    assert_eq!(provider.arrived().len(), 1);
}
