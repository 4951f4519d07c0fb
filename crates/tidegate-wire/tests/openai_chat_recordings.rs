//! Every recorded Chat Completions exchange: requests are parsed and rendered back to the same meaning, answers and
//! streams are parsed, and what was assembled is compared with an independent, naive reading of the same bytes.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test may fail loudly")]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::{Map, Value};
use tidegate_wire::conversation::{Content, Conversation};
use tidegate_wire::event::{Assembler, Event};
use tidegate_wire::framing::{SseDecoder, encode_event};
use tidegate_wire::reply::{Choice, Reply};
use tidegate_wire::{
    CacheMarkers, Codec, Dialect, FailureKind, ReasoningBack, ReplyError, ReplyOptions, RequestOptions,
    TargetTraits,
};

fn codec() -> &'static dyn Codec {
    Dialect::OpenAiChat.codec()
}

/// The recordings lie beside the project's root; `None` (and a word) where they do not.
fn recordings() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings");
    if !folder.is_dir() {
        eprintln!("SKIPPED: there are no recordings at {}", folder.display());
        return None;
    }
    Some(folder)
}

struct Exchange {
    source: String,
    provider: String,
    request: Value,
    status: u16,
    response: Value,
}

fn exchanges() -> Vec<Exchange> {
    let Some(folder) = recordings() else { return Vec::new() };
    let mut exchanges = Vec::new();
    let mut providers: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    providers.sort();
    for provider in providers {
        let Ok(text) = std::fs::read_to_string(provider.join("chat_completions.jsonl")) else { continue };
        for line in text.lines() {
            let mut exchange: Value = serde_json::from_str(line).unwrap();
            exchanges.push(Exchange {
                source: exchange["source"].to_string(),
                provider: exchange["provider"].as_str().unwrap().to_owned(),
                request: exchange["request"]["json"].take(),
                status: u16::try_from(exchange["status"].as_u64().unwrap()).unwrap(),
                response: exchange["response"].take(),
            });
        }
    }
    assert!(exchanges.len() > 200, "only {} recordings were found", exchanges.len());
    exchanges
}

/// What the recorded target takes: the request's own words tell.
fn traits_for(request: &Value, provider: &str) -> TargetTraits {
    let text = request.to_string();
    TargetTraits {
        max_completion_tokens_field: request.get("max_tokens").is_none(),
        top_k: true,
        reasoning_object: request.get("reasoning").is_some(),
        cache_markers: if text.contains("prompt_cache_breakpoint") {
            CacheMarkers::Breakpoint
        } else {
            CacheMarkers::CacheControl
        },
        reasoning_back: if provider == "mistral" {
            ReasoningBack::ThinkingParts
        } else {
            ReasoningBack::Reasoning
        },
        ..TargetTraits::default()
    }
}

/// Brings two spellings of one meaning together.
fn normalised(value: &Value, key: &str) -> Value {
    match value {
        Value::Object(fields) => {
            let mut normal = Map::new();
            for (name, value) in fields {
                let value = match name.as_str() {
                    // Schemas and other people's data count as they stand.
                    "parameters" | "schema" => value.clone(),
                    "stop" if value.is_string() => serde_json::json!([value]),
                    _ => normalised(value, name),
                };
                let is_default = match name.as_str() {
                    "type" => value == "function",
                    "stream" => value == false,
                    "index" => key == "tool_calls",
                    "tool_calls" | "tools" => value == Value::Array(Vec::new()),
                    "content" => value == "" || value == Value::Array(Vec::new()),
                    // Usage is always asked for.
                    "stream_options" => true,
                    "ttl" => value == "5m" || value == "30m",
                    "response_format" => value == serde_json::json!({ "type": "text" }),
                    _ => false,
                };
                if !value.is_null() && !is_default {
                    normal.insert(name.clone(), value);
                }
            }
            normal.sort_keys();
            Value::Object(normal)
        }
        Value::Array(items) => match (key, items.as_slice()) {
            // A thought in several texts is one thought.
            ("thinking", texts) => texts.iter().map(|chunk| text(&chunk["text"])).collect::<String>().into(),
            // One plain text in a list is that text.
            ("content", [Value::Object(part)])
                if part.len() == 2 && part.get("type") == Some(&"text".into()) =>
            {
                part["text"].clone()
            }
            _ => Value::Array(items.iter().map(|item| normalised(item, key)).collect()),
        },
        Value::String(url) if key == "image_url" => serde_json::json!({ "url": url }),
        // Mistral's word.
        Value::String(choice) if key == "tool_choice" && choice == "any" => "required".into(),
        Value::Number(number) => serde_json::json!(number.as_f64()),
        other => other.clone(),
    }
}

fn parse_and_render(request: &Value, traits: &TargetTraits) -> (Conversation, Value) {
    let conversation = codec().parse_request(request.to_string().as_bytes(), None).unwrap();
    let options = RequestOptions { model: &conversation.model, stream: conversation.stream, traits };
    let rendered = codec().render_request(&conversation, &options);
    assert!(rendered.losses.is_empty(), "{:?}", rendered.losses);
    let value = serde_json::from_slice(&rendered.body).unwrap();
    (conversation, value)
}

#[test]
fn every_recorded_request_is_rendered_back_with_the_same_meaning() {
    for exchange in exchanges().iter().filter(|exchange| exchange.request.is_object()) {
        let traits = traits_for(&exchange.request, &exchange.provider);
        let (conversation, rendered) = parse_and_render(&exchange.request, &traits);
        assert_eq!(normalised(&exchange.request, ""), normalised(&rendered, ""), "{}", exchange.source);
        // Rendered once, nothing changes any more.
        let (again, _) = parse_and_render(&rendered, &traits);
        assert_eq!(again.turns, conversation.turns, "{}", exchange.source);
    }
}

#[test]
fn every_recorded_answer_says_what_its_bytes_say() {
    for exchange in exchanges().iter().filter(|exchange| exchange.status == 200) {
        let Some(json) = exchange.response.get("json") else { continue };
        check_answer(json, &exchange.source);
    }
}

#[test]
fn every_recorded_fragment_of_a_chat_completion_is_read() {
    let Some(folder) = recordings() else { return };
    let mut count = 0;
    for provider in std::fs::read_dir(folder.join("_fragments")).unwrap() {
        for file in std::fs::read_dir(provider.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.display().to_string();
            let extension = path.extension().and_then(std::ffi::OsStr::to_str).unwrap();
            if extension == "json" {
                let json: Value = serde_json::from_str(&text).unwrap();
                let is_chat = json["choices"][0].get("message").is_some();
                if is_chat {
                    count += 1;
                    check_answer(&json, &name);
                }
            } else if extension == "sse" {
                count += 1;
                check_stream(text.as_bytes(), &name);
            } else if name.ends_with(".chunks.txt")
                && text.contains("\"delta\"")
                && text.contains("\"choices\"")
            {
                count += 1;
                let mut bytes = Vec::new();
                for line in text.lines().filter(|line| !line.is_empty()) {
                    encode_event(&mut bytes, None, line.as_bytes());
                }
                check_stream(&bytes, &name);
            }
        }
    }
    assert!(count > 15, "only {count} fragments were found");
}

fn check_answer(json: &Value, source: &str) {
    let reply =
        codec().parse_reply(json.to_string().as_bytes()).unwrap_or_else(|error| panic!("{source}: {error}"));
    for (choice, wire) in reply.choices.iter().zip(json["choices"].as_array().unwrap()) {
        let naive = naive_message(&wire["message"]);
        assert_eq!(said(choice), naive, "{source}");
        let calls = wire["message"]["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty());
        assert_eq!(
            calls,
            choice.parts.iter().any(|part| matches!(part.content, Content::ToolCall(_))),
            "{source}"
        );
    }
    let total = json["usage"]["total_tokens"].as_u64().unwrap_or(0);
    assert_eq!(reply.usage.total(), total, "{source}");
    // What is written for a caller reads the same.
    let rendered = codec().render_reply(&reply, &ReplyOptions::default());
    let mut again = codec().parse_reply(&rendered).unwrap();
    again.created = reply.created;
    for (again, choice) in again.choices.iter_mut().zip(&reply.choices) {
        // Where the provider gave no word for the finish, one had to be written.
        if choice.finish.as_ref().is_some_and(|finish| finish.native.is_none())
            && let Some(finish) = &mut again.finish
        {
            finish.native = None;
        }
    }
    assert_eq!(again, reply, "{source}");
}

#[test]
fn every_recorded_stream_says_what_its_bytes_say() {
    for exchange in exchanges().iter().filter(|exchange| exchange.status == 200) {
        let Some(text) = exchange.response["text"].as_str() else { continue };
        check_stream(text.as_bytes(), &exchange.source);
    }
}

fn check_stream(bytes: &[u8], source: &str) {
    let chunks = naive_chunks(bytes);
    let (events, result) = decode(bytes);
    if chunks.iter().any(|chunk| chunk.get("error").is_some()) {
        assert!(matches!(result, Err(ReplyError::Provider(_))), "{source}: {result:?}");
        return;
    }
    assert!(result.unwrap_or_else(|error| panic!("{source}: {error}")), "{source} is incomplete");
    check_order(&events, source);
    let reply = assemble(events.clone());
    for choice in &reply.choices {
        assert_eq!(said(choice), naive_stream(&chunks, choice.index), "{source}");
    }
    let mut totals = chunks.iter().filter_map(|chunk| chunk["usage"]["total_tokens"].as_u64());
    assert_eq!(reply.usage.total(), totals.next_back().unwrap_or(0), "{source}");
    // What is written for a caller says the same, but for what only the provider's own chunks have room for.
    let options = ReplyOptions { include_usage: true, ..ReplyOptions::default() };
    let mut encoder = codec().encoder(options);
    let mut written = Vec::new();
    for event in &events {
        encoder.encode(event, &mut written);
    }
    let (events, result) = decode(&written);
    assert!(result.unwrap(), "{source}");
    let again = assemble(events);
    assert_eq!(again.usage, reply.usage, "{source}");
    for (again, choice) in again.choices.iter().zip(&reply.choices) {
        assert_eq!(said(again), said(choice), "{source}");
        assert_eq!(
            again.finish.as_ref().map(|finish| finish.reason),
            choice.finish.as_ref().map(|finish| finish.reason),
            "{source}"
        );
    }
}

/// Parts begin in order, grow only while they are open, and all end.
fn check_order(events: &[Event], source: &str) {
    let mut next = std::collections::HashMap::<u32, u32>::new();
    let mut open = std::collections::HashSet::new();
    assert!(matches!(events.first(), Some(Event::Start { .. })), "{source}");
    assert!(matches!(events.last(), Some(Event::End)), "{source}");
    for event in events {
        match event {
            Event::PartStart { choice, part, .. } => {
                let next = next.entry(*choice).or_default();
                assert_eq!(part, next, "{source}");
                *next += 1;
                assert!(open.insert((*choice, *part)), "{source}");
            }
            Event::PartDelta { choice, part, .. } => assert!(open.contains(&(*choice, *part)), "{source}"),
            Event::PartEnd { choice, part } => assert!(open.remove(&(*choice, *part)), "{source}"),
            _ => {}
        }
    }
    assert!(open.is_empty(), "{source}: {open:?}");
}

fn decode(bytes: &[u8]) -> (Vec<Event>, Result<bool, ReplyError>) {
    let mut framing = SseDecoder::new();
    framing.push(Bytes::copy_from_slice(bytes));
    let mut decoder = codec().decoder();
    let mut events = Vec::new();
    while let Some(frame) = framing.next_event() {
        if let Err(error) = decoder.decode(&frame.unwrap(), &mut events) {
            return (events, Err(error));
        }
    }
    let is_complete = decoder.finish(&mut events);
    (events, Ok(is_complete))
}

fn assemble(events: Vec<Event>) -> Reply {
    let mut assembler = Assembler::new(Dialect::OpenAiChat);
    for event in events {
        assembler.push(event);
    }
    assert!(assembler.is_complete());
    assembler.into_reply()
}

/// Text, reasoning, and calls with their arguments.
type Said = (String, String, Vec<(String, String)>);

fn said(choice: &Choice) -> Said {
    let mut said = Said::default();
    for part in &choice.parts {
        match &part.content {
            Content::Text { text, .. } => said.0.push_str(text),
            Content::Reasoning { text } => said.1.push_str(text),
            Content::ToolCall(call) => said.2.push((call.name.clone(), call.arguments.clone())),
            _ => {}
        }
    }
    said
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The naive reading of a message or a delta.
fn naive_message(message: &Value) -> Said {
    let mut said = Said::default();
    said.0.push_str(text(&message["content"]));
    let words = [&message["reasoning_content"], &message["reasoning"]].map(text);
    said.1.push_str(words.into_iter().find(|words| !words.is_empty()).unwrap_or_default());
    if said.1.is_empty() {
        for detail in message["reasoning_details"].as_array().into_iter().flatten() {
            said.1.push_str(text(&detail["text"]));
            said.1.push_str(text(&detail["summary"]));
        }
    }
    for part in message["content"].as_array().into_iter().flatten() {
        said.0.push_str(text(&part["text"]));
        for part in part["thinking"].as_array().into_iter().flatten() {
            said.1.push_str(text(&part["text"]));
        }
    }
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let function = &call["function"];
        said.2.push((text(&function["name"]).to_owned(), text(&function["arguments"]).to_owned()));
    }
    said
}

fn naive_chunks(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    data.filter(|data| data.trim() != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

fn naive_stream(chunks: &[Value], index: u32) -> Said {
    let mut said = Said::default();
    let mut calls: Vec<(u64, (String, String))> = Vec::new();
    for choice in chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap()) {
        if choice["index"] != index {
            continue;
        }
        let (content, reasoning, _) = naive_message(&choice["delta"]);
        said.0.push_str(&content);
        said.1.push_str(&reasoning);
        for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let number = call["index"].as_u64().unwrap_or(0);
            if !calls.iter().any(|(other, _)| *other == number) {
                calls.push((number, Default::default()));
            }
            let (_, (name, arguments)) = calls.iter_mut().find(|(other, _)| *other == number).unwrap();
            // Some servers repeat the name in every chunk.
            if name.is_empty() {
                name.push_str(text(&call["function"]["name"]));
            }
            arguments.push_str(text(&call["function"]["arguments"]));
        }
    }
    said.2 = calls.into_iter().map(|(_, call)| call).collect();
    said
}

#[test]
fn every_recorded_error_keeps_the_providers_words() {
    for exchange in exchanges().iter().filter(|exchange| exchange.status != 200) {
        let json = &exchange.response["json"];
        let error = codec().parse_error(exchange.status, json.to_string().as_bytes());
        assert_eq!(error.message, text(&json["error"]["message"]), "{}", exchange.source);
        assert_eq!(error.code.as_deref(), json["error"]["code"].as_str(), "{}", exchange.source);
        let expected = match json["error"]["code"].as_str() {
            Some("model_not_found") => FailureKind::NoSuchModel,
            Some("tool_use_failed") => FailureKind::ProviderError,
            _ => FailureKind::BadRequest,
        };
        assert_eq!(error.kind, expected, "{}: {}", exchange.source, error.message);
    }
}
