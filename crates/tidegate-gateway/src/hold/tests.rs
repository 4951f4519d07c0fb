//! Estimates against what providers really counted, in the recordings beside the project.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;
use tidegate_store::CallId;
use tidegate_wire::Dialect;

use super::asked::asked_output;
use super::estimate::Estimate;
use crate::accept::{Arrival, Call, Operation, PathParts, accept};
use crate::admit::Principal;

/// A request with what the provider said it used.
struct Recorded {
    name: String,
    call: Call,
    input: u64,
    output: u64,
}

fn recorded() -> Option<Vec<Recorded>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings");
    if !folder.is_dir() {
        let message =
            format!("SKIPPED: nothing was tested: there are no recordings at {}\n", folder.display());
        std::io::stderr().write_all(message.as_bytes()).unwrap();
        return None;
    }
    let mut found = Vec::new();
    for provider in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        for file in fs::read_dir(&provider).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|it| it == "jsonl") {
                let lines = fs::read_to_string(&file).unwrap();
                let exchanges = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
                found.extend(exchanges.filter_map(|exchange| read(&exchange)));
            }
        }
    }
    Some(found)
}

fn read(exchange: &Value) -> Option<Recorded> {
    let path = exchange["path"].as_str()?;
    let request = exchange["request"].get("json")?;
    let answer = exchange["response"].get("json")?;
    let (dialect, input, output) = if path.ends_with("/chat/completions") {
        let usage = &answer["usage"];
        (Dialect::OpenAiChat, usage["prompt_tokens"].as_u64()?, usage["completion_tokens"].as_u64()?)
    } else if path.ends_with("/v1/messages") {
        let usage = &answer["usage"];
        let cached = ["cache_read_input_tokens", "cache_creation_input_tokens"];
        let cached: u64 = cached.iter().filter_map(|name| usage[name].as_u64()).sum();
        (
            Dialect::AnthropicMessages,
            usage["input_tokens"].as_u64()? + cached,
            usage["output_tokens"].as_u64()?,
        )
    } else if path.contains(":generateContent") {
        let usage = &answer["usageMetadata"];
        let output = ["candidatesTokenCount", "thoughtsTokenCount"];
        let output: u64 = output.iter().filter_map(|name| usage[name].as_u64()).sum();
        (Dialect::Gemini, usage["promptTokenCount"].as_u64()?, output)
    } else {
        return None;
    };
    let model = request["model"].as_str().unwrap_or("gemini-2.5-flash").to_owned();
    let path = (dialect == Dialect::Gemini).then_some(PathParts { model, stream: false, json_array: false });
    let arrival = Arrival {
        at: Instant::now(),
        operation: Operation::Chat,
        dialect,
        path,
        principal: Principal::anonymous(None),
        end_user: None,
        headers: HeaderMap::new(),
        body: Bytes::from(request.to_string()),
    };
    let call = accept(CallId::now(), arrival).ok()?;
    let name = format!("{} {}", exchange["source"], exchange["host"]);
    Some(Recorded { name, call, input, output })
}

/// Models that search by themselves or are given a long preamble by whoever serves them: nobody can foresee what those add.
const UNFORESEEABLE: [&str; 3] = [
    "test_groq_model_web_search_tool.yaml#0",
    "test_groq_web_search_tool_domain_filters.yaml#0",
    "test_openrouter_with_native_options.yaml#0",
];

#[tokio::test]
async fn no_provider_counts_more_than_was_estimated() {
    let Some(recorded) = recorded() else { return };
    assert!(recorded.len() > 200, "only {} exchanges with usage were found", recorded.len());
    let mut counted_share = Vec::new();
    let mut wrong = Vec::new();
    let foreseeable =
        recorded.iter().filter(|it| !UNFORESEEABLE.iter().any(|source| it.name.contains(source)));
    for Recorded { name, call, input, output } in foreseeable {
        let by_size = Estimate::of_size(call, asked_output(call));
        if by_size.input() < *input {
            wrong.push(format!("{name}: {input} tokens in, {} by its size", by_size.input()));
        }
        if let Some(most) = by_size.most_output()
            && most < *output
        {
            wrong.push(format!("{name}: {output} tokens out, at most {most} by the request"));
        }
        if let Some(counted) = by_size.counted().await {
            if counted.input() < *input {
                wrong.push(format!("{name}: {input} tokens in, {} by counting", counted.input()));
            }
            counted_share.push(counted.input() * 100 / by_size.input().max(1));
        }
    }
    assert!(wrong.is_empty(), "of {}:\n{}", recorded.len(), wrong.join("\n"));
    counted_share.sort_unstable();
    let median = counted_share[counted_share.len() / 2];
    assert!(median < 60, "counting is worth it: half of the estimates fall to {median} %");
}
