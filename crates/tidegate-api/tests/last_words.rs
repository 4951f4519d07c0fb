//! What a call hears that is still in flight when the time for draining is over.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::Duration;

use serde_json::json;
use tidegate_sim::Dialect;
use tidegate_store::Outcome;
use tidegate_testkit::{Client, Received, ScriptedProvider, Step, TestGateway, open_stream};

const DIALECTS: [(Dialect, &str); 3] =
    [(Dialect::OpenAiChat, "openai"), (Dialect::AnthropicMessages, "anthropic"), (Dialect::Gemini, "gemini")];

async fn ask(client: &Client, dialect: Dialect, gemini_method: &str, stream: bool) -> Received {
    let question = json!({"model": "p/m", "max_tokens": 100, "stream": stream,
        "messages": [{"role": "user", "content": "Tell me a story."}]});
    match dialect {
        Dialect::OpenAiChat => client.post("/v1/chat/completions", &question).await,
        Dialect::AnthropicMessages => client.post("/v1/messages", &question).await,
        Dialect::Gemini => {
            let question = json!({"contents": [{"role": "user", "parts": [{"text": "Tell me a story."}]}]});
            client.post(&format!("/v1beta/models/p/m:{gemini_method}"), &question).await
        }
    }
}

/// A stream that has said a word and then takes for ever.
fn slow_stream(dialect: Dialect) -> Vec<Step> {
    let events: &[&str] = match dialect {
        Dialect::OpenAiChat => &[
            "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\
             \"delta\":{\"role\":\"assistant\",\"content\":\"Once upon a time\"},\"finish_reason\":null}]}\n\n",
        ],
        Dialect::AnthropicMessages => &[
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\
             \"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\
             \"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n",
            "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\
             \"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\
             \"delta\":{\"type\":\"text_delta\",\"text\":\"Once upon a time\"}}\n\n",
        ],
        Dialect::Gemini => &["data: {\"candidates\":[{\"index\":0,\"content\":{\"role\":\"model\",\
             \"parts\":[{\"text\":\"Once upon a time\"}]}}],\"modelVersion\":\"m\"}\r\n\r\n"],
    };
    let mut steps = open_stream(events);
    steps.push(Step::Hang);
    steps
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_outlasts_draining_ends_with_an_error_event_and_is_billed() {
    for (dialect, kind) in DIALECTS {
        for array in [false, true] {
            if array && dialect != Dialect::Gemini {
                continue;
            }
            let provider = ScriptedProvider::start([slow_stream(dialect)]).await;
            let version = if dialect == Dialect::OpenAiChat { "/v1" } else { "" };
            let url = provider.url();
            let yaml = format!(
                "server: {{ drain: 200ms }}\nproviders: {{ p: {{ kind: {kind}, base_url: \"{url}{version}\", api_key: k }} }}\n"
            );
            let mut gateway = TestGateway::start(&yaml).await;
            let client = Client::new(gateway.address());
            let asking = tokio::spawn(async move {
                let method = if array { "streamGenerateContent" } else { "streamGenerateContent?alt=sse" };
                ask(&client, dialect, method, true).await
            });
            while provider.arrived().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // The first word has to be on its way.
            tokio::time::sleep(Duration::from_millis(200)).await;
            gateway.drain().await;
            let received = asking.await.unwrap();
            let text = received.text();
            assert!(received.is_complete && received.status == 200, "{kind}: {text}");
            assert!(text.contains("Once upon a time") && text.contains("being stopped"), "{kind}: {text}");
            let is_error = match dialect {
                Dialect::AnthropicMessages => text.contains("event: error\n"),
                _ => text.contains("{\"error\":"),
            };
            assert!(is_error, "{kind}: {text}");
            for end in ["[DONE]", "message_stop", "finishReason"] {
                assert!(!text.contains(end), "{kind}: {text}");
            }
            if array {
                assert_eq!(received.json().as_array().unwrap().len(), 2, "{text}");
            }
            let call = gateway.calls_when(1).await.remove(0);
            assert_eq!(call.outcome, Outcome::Cancelled, "{kind}");
            assert!(call.usage.input > 0 && call.usage.output > 0, "{kind}: {:?}", call.usage);
            assert!(provider.hung_up(1).await, "{kind}: the provider is still asked");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_call_that_outlasts_draining_gets_an_answer_that_says_when_to_come_back() {
    for (dialect, kind) in DIALECTS {
        let provider = ScriptedProvider::start([vec![Step::Hang]]).await;
        let version = if dialect == Dialect::OpenAiChat { "/v1" } else { "" };
        let url = provider.url();
        let yaml = format!(
            "server: {{ drain: 200ms }}\nproviders: {{ p: {{ kind: {kind}, base_url: \"{url}{version}\", api_key: k }} }}\n"
        );
        let mut gateway = TestGateway::start(&yaml).await;
        let client = Client::new(gateway.address());
        let asking = tokio::spawn(async move { ask(&client, dialect, "generateContent", false).await });
        while provider.arrived().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        gateway.drain().await;
        let received = asking.await.unwrap();
        assert_eq!(received.status, 503, "{kind}: {}", received.text());
        assert_eq!(received.header("retry-after"), "1", "{kind}");
        assert!(received.json()["error"]["message"].as_str().unwrap().contains("being stopped"), "{kind}");
        let call = gateway.calls_when(1).await.remove(0);
        assert_eq!(
            (call.outcome, call.id.to_string()),
            (Outcome::Cancelled, received.header("x-request-id").into())
        );
        assert!(provider.hung_up(1).await, "{kind}: the provider is still asked");
    }
}
