//! What several tests of failures need: one question in every dialect.

use serde_json::json;
use tidegate_sim::{Dialect, RunningSim};
use tidegate_testkit::{Client, Received};

/// Every dialect, with a kind of provider that speaks it.
pub(crate) const DIALECTS: [(Dialect, &str); 3] =
    [(Dialect::OpenAiChat, "openai"), (Dialect::AnthropicMessages, "anthropic"), (Dialect::Gemini, "gemini")];

/// Asks a model something, whole or streamed.
pub(crate) async fn ask(client: &Client, dialect: Dialect, model: &str, stream: bool) -> Received {
    say(client, dialect, model, stream, "Tell me a story of some length, please.").await
}

/// The same with words of the test's own.
pub(crate) async fn say(
    client: &Client,
    dialect: Dialect,
    model: &str,
    stream: bool,
    text: &str,
) -> Received {
    match dialect {
        Dialect::Gemini => {
            let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
            let body = json!({"contents": [{"role": "user", "parts": [{"text": text}]}]});
            client.post(&format!("/v1beta/models/{model}:{method}"), &body).await
        }
        Dialect::OpenAiChat | Dialect::AnthropicMessages => {
            let path = if dialect == Dialect::OpenAiChat { "/v1/chat/completions" } else { "/v1/messages" };
            let body = json!({"model": model, "max_tokens": 1000, "stream": stream,
                "messages": [{"role": "user", "content": text}]});
            client.post(path, &body).await
        }
    }
}

/// When a model was asked at the simulator, by the simulator's clock.
pub(crate) fn asked(sim: &RunningSim, model: &str) -> Vec<u64> {
    sim.served().iter().filter(|served| served.model == model).map(|served| served.at_ms).collect()
}
