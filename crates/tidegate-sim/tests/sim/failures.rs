//! Every name of the catalogue, in every dialect, whole and streamed: what a caller sees of it.

use std::time::Duration;

use crate::support::{End, Seen, ask, start};
use tidegate_sim::{Dialect, Outcome, scenarios};

/// What a caller sees of a name: status by dialect, how the connection ends, and the ledger's word.
struct Expected {
    status: [u16; 3],
    end: End,
    outcome: Outcome,
}

fn always(status: u16, end: End, outcome: Outcome) -> Expected {
    Expected { status: [status; 3], end, outcome }
}

/// `None`: the name has a test of its own.
fn expected(name: &str, stream: bool) -> Option<Expected> {
    let refused = |openai, anthropic, gemini| Expected {
        status: [openai, anthropic, gemini],
        end: End::Complete,
        outcome: Outcome::Failed,
    };
    Some(match name {
        "rate-limited-2s" | "rate-limited-once-2s" | "rate-limited-reset-2s" => refused(429, 429, 429),
        "out-of-quota" => refused(429, 400, 429),
        "overloaded" | "overloaded-for-60s" => refused(503, 529, 503),
        "overloaded-529" => refused(529, 529, 529),
        "overloaded-in-stream" | "overloaded-after-5" if !stream => refused(503, 529, 503),
        "error-after-5" if !stream => refused(500, 500, 500),
        "overloaded-in-stream" | "overloaded-after-5" | "error-after-5" | "error-in-band" => {
            refused(200, 200, 200)
        }
        "error-500" | "fail-2" | "fail-2-then-ok" => refused(500, 500, 500),
        "error-502" | "html-error-502" => refused(502, 502, 502),
        "error-503" => refused(503, 503, 503),
        "error-504" => refused(504, 504, 504),
        "credentials-401" => refused(401, 401, 400),
        "credentials-403" => refused(403, 403, 403),
        "no-such-model" => refused(404, 404, 404),
        "bad-request" => refused(400, 400, 400),
        "unprocessable-422" => refused(422, 422, 422),
        "too-large-413" => refused(413, 413, 413),
        "content-policy" => refused(400, 400, 200),
        "malformed" | "malformed-10" | "malformed-body" | "empty" | "huge-line-1" => {
            always(200, End::Complete, Outcome::Cut)
        }
        "cut-after-40" | "lying-length" => always(200, End::Closed, Outcome::Cut),
        "reset-after-5" => always(200, End::Reset, Outcome::Cut),
        "cut-before-headers" => always(0, End::Closed, Outcome::Cut),
        "reset" => always(0, End::Reset, Outcome::Cut),
        "stall" | "stall-after-10" => always(200, End::Silent, Outcome::HungUp),
        "silent" => always(0, End::Silent, Outcome::HungUp),
        "slow-first-token-20s" if stream => always(200, End::Silent, Outcome::HungUp),
        "slow-first-token-20s" => always(0, End::Silent, Outcome::HungUp),
        "slow-5tps" if !stream => always(0, End::Silent, Outcome::HungUp),
        "context-length-8000"
        | "no-done"
        | "wrong-content-type"
        | "empty-stream"
        | "content-filter"
        | "refusal"
        | "flap-60s"
        | "echo"
        | "describe"
        | "differently"
        | "tokens-500"
        | "tools"
        | "parallel-tools"
        | "thinking"
        | "redacted"
        | "reasoning-content"
        | "signed-calls"
        | "citations"
        | "cached"
        | "no-usage"
        | "slow-5tps" => always(200, End::Complete, Outcome::Answered),
        "huge-line" => return None,
        _ => panic!("{name} is in the catalogue and not in this test"),
    })
}

#[tokio::test]
async fn every_name_of_the_catalogue_does_what_it_says() {
    let sim = start().await;
    for facts in scenarios() {
        for dialect in Dialect::ALL {
            for stream in [false, true] {
                let Some(expected) = expected(facts.example, stream) else { continue };
                // Slow names are cut short, so that the whole test is quick.
                let name = if facts.example == "slow-5tps" && stream { "slow-200tps" } else { facts.example };
                let model = format!("{name}@{dialect}-{stream}");
                let seen = ask(&sim, dialect, &model, "Tell me of the tide", stream).await;
                let at = format!("{model}: {} {:?} {}", seen.status, seen.end, short(&seen));
                let index = Dialect::ALL.iter().position(|one| *one == dialect).unwrap();
                let stalled_without_answer = matches!(facts.example, "slow-first-token-20s") && stream;
                if !stalled_without_answer {
                    assert_eq!(seen.status, expected.status[index], "{at}");
                }
                assert_eq!(seen.end, expected.end, "{at}");
                let outcome = outcome_of(&sim, &model).await;
                assert_eq!(outcome, expected.outcome, "{at}");
            }
        }
    }
}

fn short(seen: &Seen) -> String {
    seen.text().chars().take(300).collect()
}

/// The ledger's line may come a moment after the caller's end of the connection.
async fn outcome_of(sim: &tidegate_sim::RunningSim, model: &str) -> Outcome {
    for _ in 0..200 {
        if let Some(call) = sim.served().into_iter().find(|call| call.model == model) {
            return call.outcome;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{model} is not in the ledger");
}

#[tokio::test]
async fn a_cut_stream_has_sent_the_tokens_that_it_names_and_no_terminal_event() {
    let sim = start().await;
    for dialect in Dialect::ALL {
        let seen = ask(&sim, dialect, "cut-after-7", "Go", true).await;
        let text = seen.text();
        assert_eq!(crate::support::said(dialect, &seen, true).split(' ').count(), 7, "{text}");
        for word in ["[DONE]", "message_stop", "finishReason", "\"finish_reason\":\"stop\""] {
            assert!(!text.contains(word), "{dialect} {text}");
        }
    }
    assert_eq!(sim.totals().all.output_tokens, 21);
}

#[tokio::test]
async fn an_answer_without_done_is_complete_but_for_it() {
    let sim = start().await;
    let openai = ask(&sim, Dialect::OpenAiChat, "no-done", "Go", true).await.text();
    assert!(!openai.contains("[DONE]") && openai.contains("\"finish_reason\":\"stop\""));
    let anthropic = ask(&sim, Dialect::AnthropicMessages, "no-done", "Go", true).await.text();
    assert!(!anthropic.contains("message_stop") && anthropic.contains("\"stop_reason\":\"end_turn\""));
}

#[tokio::test]
async fn errors_in_a_stream_are_the_dialects_own_events() {
    let sim = start().await;
    let openai = ask(&sim, Dialect::OpenAiChat, "overloaded-after-5", "Go", true).await;
    assert_eq!(openai.events().last().unwrap()["error"]["type"], "server_error");
    let anthropic = ask(&sim, Dialect::AnthropicMessages, "overloaded-after-5", "Go", true).await;
    assert!(
        anthropic
            .text()
            .contains("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"")
    );
    let gemini = ask(&sim, Dialect::Gemini, "overloaded-after-5", "Go", true).await;
    assert_eq!(gemini.events().last().unwrap()["error"]["status"], "UNAVAILABLE");
}

#[tokio::test]
async fn a_limited_caller_learns_when_to_come_back() {
    let sim = start().await;
    let after = ask(&sim, Dialect::OpenAiChat, "rate-limited-2s", "Go", false).await;
    assert_eq!(after.header("retry-after").as_deref(), Some("2"));
    let reset = ask(&sim, Dialect::OpenAiChat, "rate-limited-reset-2s", "Go", false).await;
    assert_eq!(
        (reset.header("retry-after"), reset.header("x-ratelimit-reset-requests").as_deref()),
        (None, Some("2s"))
    );
    let anthropic = ask(&sim, Dialect::AnthropicMessages, "rate-limited-reset-2s", "Go", false).await;
    let until = anthropic.header("anthropic-ratelimit-requests-reset").unwrap();
    assert!(until.ends_with('Z') && until.contains('T'), "{until}");
    let gemini = ask(&sim, Dialect::Gemini, "rate-limited-2s", "Go", false).await;
    assert!(gemini.text().contains("\"retryDelay\":\"2s\""));
}

#[tokio::test]
async fn names_with_a_history_count_for_themselves() {
    let sim = start().await;
    let status = async |model: &str| ask(&sim, Dialect::OpenAiChat, model, "Go", false).await.status;
    for suffix in ["a", "b"] {
        let model = format!("fail-2-then-ok@{suffix}");
        assert_eq!(
            [status(&model).await, status(&model).await, status(&model).await],
            [500, 500, 200],
            "{model}"
        );
    }
    assert_eq!(status("rate-limited-once-1s").await, 429);
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert_eq!(status("rate-limited-once-1s").await, 200);
    assert_eq!(status("flap-1s").await, 200);
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert_eq!(status("flap-1s").await, 503);
}

#[tokio::test]
async fn a_window_is_too_small_for_a_long_request_alone() {
    let sim = start().await;
    let long = "tide ".repeat(1_000);
    for (dialect, words) in [
        (Dialect::OpenAiChat, "This model's maximum context length is 500 tokens."),
        (Dialect::AnthropicMessages, "prompt is too long:"),
        (Dialect::Gemini, "exceeds the maximum number of tokens allowed (500)"),
    ] {
        assert_eq!(ask(&sim, dialect, "context-length-500", "short", false).await.status, 200);
        let refused = ask(&sim, dialect, "context-length-500", &long, true).await;
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains(words), "{}", refused.text());
    }
}

#[tokio::test]
async fn who_hangs_up_is_noted_with_what_was_written() {
    let sim = start().await;
    // The caller of these tests leaves after a silence; until then 3 tokens were written.
    ask(&sim, Dialect::OpenAiChat, "stall-after-3", "Go", true).await;
    assert_eq!(outcome_of(&sim, "stall-after-3").await, Outcome::HungUp);
    assert_eq!(sim.served()[0].output_tokens, 3);
    assert_eq!(sim.totals().open, 0);
}
