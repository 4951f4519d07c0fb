//! Real traffic with Gemini and Vertex: every request comes back as it was, every answer and stream says what a second,
//! naive reading of the same bytes says. The recordings lie outside the project; without them nothing is tested here,
//! and the output says so.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test may fail loudly, and says when it is skipped"
)]

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tidegate_wire::conversation::Content;
use tidegate_wire::event::{Assembler, Event, events_of};
use tidegate_wire::framing::SseDecoder;
use tidegate_wire::reply::{FinishReason, Reply};
use tidegate_wire::{
    Codec, Dialect, FailureKind, PathFacts, ReplyOptions, RequestOptions, TargetTraits, gemini,
};

struct Exchange {
    source: String,
    request: Value,
    response: Value,
    status: u16,
}

fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no recordings at {}", folder.display());
    None
}

fn exchanges(kind: &str) -> Vec<Exchange> {
    let Some(folder) = folder() else { return Vec::new() };
    let mut exchanges = Vec::new();
    for provider in ["gemini", "vertex"] {
        let Ok(text) = fs::read_to_string(folder.join(provider).join(format!("{kind}.jsonl"))) else {
            continue;
        };
        for line in text.lines() {
            let mut record: Value = serde_json::from_str(line).unwrap();
            exchanges.push(Exchange {
                source: record["source"].as_str().unwrap().to_owned(),
                status: u16::try_from(record["status"].as_u64().unwrap()).unwrap(),
                request: record["request"].take(),
                response: record["response"].take(),
            });
        }
    }
    assert!(!exchanges.is_empty(), "no {kind}");
    exchanges
}

fn codec() -> &'static dyn Codec {
    Dialect::Gemini.codec()
}

#[test]
fn every_recorded_request_comes_back_as_it_was() {
    if folder().is_none() {
        return;
    }
    let mut count = 0;
    for kind in ["generateContent", "streamGenerateContent"] {
        for exchange in exchanges(kind) {
            let body = &exchange.request["json"];
            let facts = PathFacts { model: "gemini-x", stream: kind.starts_with("stream") };
            let parsed = codec().parse_request(body.to_string().as_bytes(), Some(facts));
            if exchange.status == 400 && body.to_string().contains("invalid_role") {
                // Google refuses it in the same words.
                let theirs = exchange.response["json"]["error"]["message"].as_str();
                assert_eq!(Some(parsed.unwrap_err().message.as_str()), theirs);
                continue;
            }
            let conversation = parsed.unwrap_or_else(|error| panic!("{}: {error}", exchange.source));
            let options =
                RequestOptions { model: "gemini-x", stream: facts.stream, traits: &TargetTraits::default() };
            let rendered = codec().render_request(&conversation, &options);
            assert!(rendered.losses.is_empty(), "{}: {:?}", exchange.source, rendered.losses);
            let back: Value = serde_json::from_slice(&rendered.body).unwrap();
            assert_eq!(normal_request(back), normal_request(body.clone()), "{}", exchange.source);
            let again = codec().parse_request(&rendered.body, Some(facts)).unwrap();
            assert_eq!(again, conversation, "{}", exchange.source);
            count += 1;
        }
    }
    assert!(count > 200, "{count}");
}

#[test]
fn every_recorded_answer_says_what_a_naive_reading_says() {
    if folder().is_none() {
        return;
    }
    for exchange in exchanges("generateContent").into_iter().filter(|exchange| exchange.status == 200) {
        let body = &exchange.response["json"];
        check_reply(&exchange.source, body);
    }
    let fragments = folder().unwrap().join("_fragments/google");
    let mut left_out = Vec::new();
    for entry in fs::read_dir(fragments).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_none_or(|ending| ending != "json") || name.contains("429") {
            continue;
        }
        let body: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        if body.get("steps").is_some() {
            left_out.push(name);
            assert!(codec().parse_reply(body.to_string().as_bytes()).is_err());
        } else {
            check_reply(&name, &body);
        }
    }
    left_out.sort();
    // Answers of the interactions API, another dialect: refused instead of being taken for empty ones.
    assert_eq!(
        left_out,
        [
            "basic.json",
            "multi-turn-stateful-turn1.json",
            "multi-turn-stateless-turn1.json",
            "structured-output.json",
            "tool-call-step1.json",
            "tool-call-step2.json"
        ]
    );
}

fn check_reply(source: &str, body: &Value) {
    let reply =
        codec().parse_reply(body.to_string().as_bytes()).unwrap_or_else(|error| panic!("{source}: {error}"));
    compare(source, &reply, std::slice::from_ref(body));
    check_ways_back(source, &reply);
}

/// Rendered whole and rendered as a stream, the answer is the same again.
fn check_ways_back(source: &str, reply: &Reply) {
    let whole = codec().render_reply(reply, &ReplyOptions::default());
    assert_eq!(&codec().parse_reply(&whole).unwrap(), reply, "{source}");
    let mut encoder = codec().encoder(ReplyOptions::default());
    let mut bytes = Vec::new();
    for event in events_of(reply) {
        encoder.encode(&event, &mut bytes);
    }
    let (streamed, is_complete) = read_stream(&bytes);
    assert!(is_complete, "{source}");
    assert_eq!(&streamed, reply, "{source}");
    let mut encoder = gemini::json_array_encoder(ReplyOptions::default());
    let mut array = Vec::new();
    for event in events_of(reply) {
        encoder.encode(&event, &mut array);
    }
    let frames: Vec<Value> = serde_json::from_slice(&array).unwrap();
    assert_eq!(frames, frames_of(&bytes), "{source}");
}

#[test]
fn every_recorded_stream_says_what_a_naive_reading_says() {
    if folder().is_none() {
        return;
    }
    for exchange in exchanges("streamGenerateContent") {
        let text = exchange.response["text"].as_str().unwrap();
        check_stream(&exchange.source, text.as_bytes());
    }
    let fragments = folder().unwrap().join("_fragments/google");
    let mut left_out = Vec::new();
    for entry in fs::read_dir(fragments).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.ends_with(".chunks.txt") {
            continue;
        }
        let chunks = fs::read_to_string(&path).unwrap();
        if chunks.starts_with("{\"interaction\"") {
            left_out.push(name);
            continue;
        }
        let frames: Vec<String> = chunks.lines().map(|line| format!("data: {line}\r\n\r\n")).collect();
        let stream = frames.concat();
        check_stream(&name, stream.as_bytes());
    }
    left_out.sort();
    assert_eq!(
        left_out,
        [
            "google-search.chunks.txt",
            "multi-turn-stateful-turn1.chunks.txt",
            "multi-turn-stateless-turn1.chunks.txt",
            "tool-call-step2.chunks.txt"
        ]
    );
}

fn check_stream(source: &str, bytes: &[u8]) {
    let (reply, is_complete) = read_stream(bytes);
    assert!(is_complete, "{source}");
    compare(source, &reply, &frames_of(bytes));
    check_ways_back(source, &reply);
}

#[test]
fn recorded_errors_are_known_for_what_they_are() {
    if folder().is_none() {
        return;
    }
    for exchange in exchanges("generateContent").into_iter().filter(|exchange| exchange.status != 200) {
        let error = codec().parse_error(exchange.status, exchange.response["json"].to_string().as_bytes());
        let expected =
            if exchange.status == 404 { FailureKind::NoSuchModel } else { FailureKind::BadRequest };
        assert_eq!(error.kind, expected, "{}", exchange.source);
        assert_eq!(Some(error.message.as_str()), exchange.response["json"]["error"]["message"].as_str());
    }
}

#[test]
fn recorded_token_counts_are_read() {
    if folder().is_none() {
        return;
    }
    for exchange in exchanges("countTokens") {
        let body = exchange.request["json"].to_string();
        let conversation = gemini::parse_count_request(body.as_bytes(), "gemini-x").unwrap();
        let options = RequestOptions { model: "gemini-x", stream: false, traits: &TargetTraits::default() };
        let rendered = gemini::render_count_request(&conversation, &options);
        assert_eq!(gemini::parse_count_request(&rendered.body, "gemini-x").unwrap(), conversation);
        let answer = exchange.response["json"].to_string();
        let expected = exchange.response["json"]["totalTokens"].as_u64();
        assert_eq!(gemini::parse_count_reply(answer.as_bytes()).ok(), expected);
    }
}

fn read_stream(bytes: &[u8]) -> (Reply, bool) {
    let mut frames = SseDecoder::new();
    let mut decoder = codec().decoder();
    let mut events: Vec<Event> = Vec::new();
    frames.push(Bytes::copy_from_slice(bytes));
    while let Some(frame) = frames.next_event() {
        decoder.decode(&frame.unwrap(), &mut events).unwrap();
    }
    while let Some(frame) = frames.finish() {
        decoder.decode(&frame.unwrap(), &mut events).unwrap();
    }
    let is_complete = decoder.finish(&mut events);
    let mut assembler = Assembler::new(Dialect::Gemini);
    for event in events {
        assembler.push(event);
    }
    (assembler.into_reply(), is_complete)
}

fn frames_of(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|json| serde_json::from_str(json).unwrap())
        .collect()
}

/// The naive reading: text, thoughts and calls put together frame by frame, the last counts.
fn compare(source: &str, reply: &Reply, frames: &[Value]) {
    let (mut text, mut thoughts, mut signatures) = (String::new(), String::new(), Vec::new());
    let (mut calls, mut finish, mut usage) = (Vec::new(), None, Map::new());
    for frame in frames {
        let candidate = &frame["candidates"][0];
        for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
            let said = part["text"].as_str().unwrap_or_default();
            if part["thought"] == json!(true) {
                thoughts.push_str(said);
            } else {
                text.push_str(said);
            }
            let call = &part["functionCall"];
            if call["willContinue"] == json!(true) && call["name"].is_string() {
                calls.push((call["name"].clone(), json!({})));
            } else if let Some(pieces) = call["partialArgs"].as_array() {
                for piece in pieces {
                    put_naively(&mut calls.last_mut().unwrap().1, piece);
                }
            } else if call["name"].is_string() {
                let arguments = if call["args"].is_null() { json!({}) } else { call["args"].clone() };
                calls.push((call["name"].clone(), arguments));
            }
            if part.get("text").is_some() || call["name"].is_string() {
                signatures.extend(part["thoughtSignature"].as_str());
            }
        }
        finish = candidate["finishReason"].as_str().or(finish);
        // Vertex writes words as numbers for clients that ask for it.
        finish = match candidate["finishReason"].as_u64() {
            Some(1) => Some("STOP"),
            Some(2) => Some("MAX_TOKENS"),
            _ => finish,
        };
        if frame["usageMetadata"]["totalTokenCount"].is_u64() {
            usage.clone_from(frame["usageMetadata"].as_object().unwrap());
        }
    }
    let parts = reply.choices.iter().flat_map(|choice| &choice.parts);
    let (mut read_text, mut read_thoughts, mut read_calls) = (String::new(), String::new(), Vec::new());
    let mut read_signatures = Vec::new();
    let mut streamed_calls = 0;
    for part in parts {
        match &part.content {
            Content::Text { text, .. } => read_text.push_str(text),
            Content::Reasoning { text } => read_thoughts.push_str(text),
            Content::ToolCall(call) => {
                let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
                assert!(!call.id.is_empty() && call.id.len() <= 40, "{source}: {}", call.id);
                read_calls.push((json!(call.name), arguments));
                streamed_calls += 1;
            }
            _ => {}
        }
        if matches!(&part.content, Content::Text { .. } | Content::Reasoning { .. } | Content::ToolCall(_)) {
            read_signatures.extend(part.signature.as_ref().map(|signature| signature.data.as_str()));
        }
    }
    assert_eq!(read_text, text, "{source}");
    assert_eq!(read_thoughts, thoughts, "{source}");
    assert_eq!(read_calls, calls, "{source}");
    assert_eq!(read_signatures, signatures, "{source}");
    let count = |name: &str| usage.get(name).and_then(Value::as_u64).unwrap_or_default();
    assert_eq!(reply.usage.total(), count("totalTokenCount"), "{source}");
    assert_eq!(reply.usage.cache_read, count("cachedContentTokenCount"), "{source}");
    assert_eq!(reply.usage.reasoning, count("thoughtsTokenCount"), "{source}");
    let read = reply.choices[0].finish.as_ref();
    assert_eq!(read.and_then(|finish| finish.native.as_deref()), finish, "{source}");
    if streamed_calls > 0 && finish == Some("STOP") {
        assert_eq!(read.map(|finish| finish.reason), Some(FinishReason::ToolCalls), "{source}");
    }
}

/// Puts a piece of streamed arguments where its path says, by the standard library's JSON pointers.
fn put_naively(arguments: &mut Value, piece: &Value) {
    let path =
        piece["jsonPath"].as_str().unwrap().trim_start_matches("$.").replace('[', ".").replace(']', "");
    let steps: Vec<&str> = path.split('.').collect();
    for (depth, step) in steps.iter().enumerate() {
        let pointer = pointer_of(&steps[..depth]);
        let parent = arguments.pointer_mut(&pointer).unwrap();
        if let Ok(item) = step.parse::<usize>() {
            if parent.is_null() {
                *parent = json!([]);
            }
            let items = parent.as_array_mut().unwrap();
            items.resize(items.len().max(item + 1), Value::Null);
        } else if parent.get(step).is_none() {
            if parent.is_null() {
                *parent = json!({});
            }
            parent[step] = Value::Null;
        }
    }
    let pointer = pointer_of(&steps);
    let place = arguments.pointer_mut(&pointer).unwrap();
    match piece["stringValue"].as_str() {
        Some(more) => *place = json!(place.as_str().unwrap_or_default().to_owned() + more),
        None => *place = piece["numberValue"].clone(),
    }
}

fn pointer_of(steps: &[&str]) -> String {
    if steps.is_empty() { String::new() } else { format!("/{}", steps.join("/")) }
}

/// What a request means, whatever of the spellings that Google takes it is written in: names in camelCase, `user` for an
/// absent role, one tool for all functions, JSON Schema for OpenAPI's, base64 of the standard alphabet.
fn normal_request(request: Value) -> Value {
    let mut request = camel(request);
    for content in request["contents"].as_array_mut().into_iter().flatten() {
        if content.get("role").is_none() {
            content["role"] = json!("user");
        }
    }
    if let Some(system) = request.get_mut("systemInstruction").and_then(Value::as_object_mut) {
        system.shift_remove("role");
    }
    if request.get("generationConfig") == Some(&json!({})) {
        request.as_object_mut().unwrap().shift_remove("generationConfig");
    }
    if let Some(config) = request.get_mut("generationConfig").and_then(Value::as_object_mut)
        && let Some(schema) = config.shift_remove("responseSchema")
    {
        config.insert("responseJsonSchema".to_owned(), lower(schema));
    }
    if let Some(tools) = request.as_object_mut().unwrap().shift_remove("tools") {
        let tools = if tools.is_object() { vec![tools] } else { tools.as_array().unwrap().clone() };
        let (mut functions, mut others) = (Vec::new(), Vec::new());
        for mut tool in tools {
            for mut function in tool
                .as_object_mut()
                .unwrap()
                .shift_remove("functionDeclarations")
                .into_iter()
                .flat_map(|list| list.as_array().unwrap().clone())
            {
                if let Some(schema) = function.as_object_mut().unwrap().shift_remove("parameters") {
                    function["parametersJsonSchema"] = lower(schema);
                }
                functions.push(function);
            }
            if tool != json!({}) {
                others.push(tool);
            }
        }
        request["functions"] = json!(functions);
        request["others"] = json!(others);
    }
    request
}

fn camel(value: Value) -> Value {
    match value {
        Value::Object(object) => object
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| {
                let name = camel_name(&name);
                let is_callers_own =
                    ["args", "response", "labels", "parametersJsonSchema", "responseJsonSchema"]
                        .contains(&name.as_str())
                        || name == "parameters"
                        || name == "responseSchema";
                let value = match value {
                    value if is_callers_own => value,
                    Value::String(data) if name == "data" => {
                        json!(data.replace('-', "+").replace('_', "/").trim_end_matches('='))
                    }
                    value => camel(value),
                };
                (name, value)
            })
            .collect(),
        Value::Array(list) => list.into_iter().map(camel).collect(),
        other => other,
    }
}

fn camel_name(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
}

fn lower(schema: Value) -> Value {
    match schema {
        Value::Object(object) => {
            let is_nullable = object.get("nullable") == Some(&json!(true));
            object
                .into_iter()
                .filter(|(name, _)| name != "nullable")
                .map(|(name, value)| match value {
                    Value::String(kind) if name == "type" => {
                        let kind = kind.to_lowercase();
                        (name, if is_nullable { json!([kind, "null"]) } else { json!(kind) })
                    }
                    value => {
                        let name = if name == "any_of" { "anyOf".to_owned() } else { name };
                        let name =
                            if name == "property_ordering" { "propertyOrdering".to_owned() } else { name };
                        (name, lower(value))
                    }
                })
                .collect()
        }
        Value::Array(list) => list.into_iter().map(lower).collect(),
        other => other,
    }
}
