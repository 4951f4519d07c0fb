//! Real traffic with Anthropic: every recorded request and answer is read and written back without loss, and every
//! stream says what a plain reading of the same bytes says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_wire::conversation::Content;
use tidegate_wire::event::{Assembler, Event};
use tidegate_wire::framing::SseDecoder;
use tidegate_wire::reply::Reply;
use tidegate_wire::{
    Codec, Dialect, FailureKind, ReplyError, ReplyOptions, RequestOptions, TargetTraits, ThinkingStyle,
    anthropic,
};

const DIALECT: Dialect = Dialect::AnthropicMessages;

fn codec() -> &'static dyn Codec {
    DIALECT.codec()
}

/// `None`, said clearly, where there are no recordings.
fn recordings() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings");
    if !folder.is_dir() {
        eprintln!("SKIPPED: there are no recordings in {}", folder.display());
        return None;
    }
    Some(folder)
}

fn exchanges(kind: &str) -> Vec<Value> {
    let Some(folder) = recordings() else { return Vec::new() };
    let text = fs::read_to_string(folder.join("anthropic").join(kind)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn fragments(ending: &str) -> Vec<(String, String)> {
    let Some(folder) = recordings() else { return Vec::new() };
    let mut found: Vec<(String, String)> = fs::read_dir(folder.join("_fragments/anthropic"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(ending))
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap())
        })
        .collect();
    found.sort();
    found
}

/// What means the same looks the same: no nulls, texts as blocks, defaults left out.
fn normal(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: serde_json::Map<String, Value> = fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name.clone(), normal(value)))
                .collect();
            for name in ["content", "system"] {
                let is_message =
                    fields.contains_key("role") || fields.get("type") == Some(&json!("tool_result"));
                if let Some(Value::String(text)) = fields.get(name).filter(|_| is_message || name == "system")
                {
                    let blocks = json!([{"type": "text", "text": text}]);
                    fields.insert(name.to_owned(), blocks);
                }
            }
            if fields.get("ttl") == Some(&json!("5m")) {
                fields.remove("ttl");
            }
            for (name, default) in
                [("stream", json!(false)), ("is_error", json!(false)), ("citations", json!([]))]
            {
                if fields.get(name) == Some(&default) {
                    fields.remove(name);
                }
            }
            if fields.contains_key("input_schema") && fields.get("type") == Some(&json!("custom")) {
                fields.remove("type");
            }
            Value::Object(fields)
        }
        Value::Array(items) => items.iter().map(normal).collect(),
        other => other.clone(),
    }
}

fn normal_usage(reply: &Value) -> Value {
    let mut reply = normal(reply);
    if let Some(usage) = reply.get_mut("usage").and_then(Value::as_object_mut) {
        let written = usage.get("cache_creation_input_tokens").cloned().unwrap_or(json!(0));
        for name in
            ["input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"]
        {
            usage.entry(name).or_insert(json!(0));
        }
        usage
            .entry("cache_creation")
            .or_insert(json!({"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0}));
        if usage.get("output_tokens_details") == Some(&json!({"thinking_tokens": 0})) {
            usage.remove("output_tokens_details");
        }
    }
    reply
}

fn traits_for(request: &Value) -> TargetTraits {
    let is_budget = request.pointer("/thinking/type") == Some(&json!("enabled"));
    let thinking = if is_budget { ThinkingStyle::Budget } else { ThinkingStyle::Level };
    TargetTraits { thinking, ..TargetTraits::default() }
}

#[test]
fn every_recorded_request_is_written_back_as_it_was() {
    let mut seen = 0;
    for exchange in exchanges("messages.jsonl") {
        let Some(request) = exchange.pointer("/request/json") else { continue };
        let conversation = codec()
            .parse_request(request.to_string().as_bytes(), None)
            .unwrap_or_else(|error| panic!("{error}: {request}"));
        let model = conversation.model.clone();
        let traits = traits_for(request);
        let options = RequestOptions { model: &model, stream: conversation.stream, traits: &traits };
        let rendered = codec().render_request(&conversation, &options);
        let written: Value = serde_json::from_slice(&rendered.body).unwrap();
        assert_eq!(
            rendered.losses.fields().collect::<Vec<_>>(),
            Vec::<&str>::new(),
            "{}",
            exchange["source"]
        );
        assert_eq!(normal(&written), normal(request), "{}", exchange["source"]);
        assert_eq!(codec().parse_request(&rendered.body, None).unwrap(), conversation);
        seen += 1;
    }
    eprintln!("{seen} requests");
}

#[test]
fn every_recorded_answer_is_written_back_as_it_was() {
    let mut answers: Vec<(String, Value)> = exchanges("messages.jsonl")
        .iter()
        .filter(|exchange| exchange["status"] == 200)
        .filter_map(|exchange| {
            Some((exchange["source"].to_string(), exchange.pointer("/response/json")?.clone()))
        })
        .collect();
    for (name, text) in fragments(".json") {
        answers.push((name, serde_json::from_str(&text).unwrap()));
    }
    answers.retain(|(_, answer)| answer["type"] == "message");
    for (name, answer) in &answers {
        let reply = codec()
            .parse_reply(answer.to_string().as_bytes())
            .unwrap_or_else(|error| panic!("{error}: {name}"));
        let rendered = codec().render_reply(&reply, &ReplyOptions::default());
        let written: Value = serde_json::from_slice(&rendered).unwrap();
        assert_eq!(normal_usage(&written), normal_usage(answer), "{name}");
        assert_eq!(codec().parse_reply(&rendered).unwrap(), reply, "{name}");
    }
    eprintln!("{} answers", answers.len());
}

#[test]
fn recorded_errors_are_recognised() {
    let mut kinds = Vec::new();
    for exchange in exchanges("messages.jsonl").into_iter().chain(exchanges("messages_count_tokens.jsonl")) {
        let status = u16::try_from(exchange["status"].as_u64().unwrap()).unwrap();
        if status != 200 {
            let error = codec().parse_error(status, exchange["response"]["json"].to_string().as_bytes());
            assert_eq!(
                Some(error.message.as_str()),
                exchange["response"]["json"]["error"]["message"].as_str()
            );
            kinds.push(error.kind);
        }
    }
    if recordings().is_some() {
        assert_eq!(kinds, [FailureKind::BadRequest, FailureKind::NoSuchModel]);
    }
}

#[test]
fn recorded_token_counts_are_read_and_written() {
    for exchange in exchanges("messages_count_tokens.jsonl") {
        let request = &exchange["request"]["json"];
        let conversation = anthropic::parse_count_request(request.to_string().as_bytes()).unwrap();
        let traits = traits_for(request);
        let options = RequestOptions { model: &conversation.model, stream: false, traits: &traits };
        let rendered = anthropic::render_count_request(&conversation, &options);
        let written: Value = serde_json::from_slice(&rendered.body).unwrap();
        assert_eq!(normal(&written), normal(request));
        if exchange["status"] == 200 {
            let answer = exchange["response"]["json"].to_string();
            let count = anthropic::parse_count_reply(answer.as_bytes()).unwrap();
            let written: Value = serde_json::from_slice(&anthropic::render_count_reply(count)).unwrap();
            assert_eq!(written["input_tokens"], exchange["response"]["json"]["input_tokens"]);
        }
    }
}

/// What a plain reading of a stream's events finds.
#[derive(Debug, Default, PartialEq)]
struct Plain {
    text: String,
    thinking: String,
    calls: Vec<(String, String, Value)>,
    stop_reason: Option<String>,
    input: u64,
    output: u64,
}

fn read_plainly(events: &[Value]) -> Plain {
    let mut plain = Plain::default();
    let mut inputs: BTreeMap<u64, (String, String, String)> = BTreeMap::new();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for event in events {
        let index = event["index"].as_u64().unwrap_or_default();
        let usage =
            if event["type"] == "message_start" { &event["message"]["usage"] } else { &event["usage"] };
        for name in
            ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"]
        {
            if let Some(count) = usage[name].as_u64() {
                counts.insert(name, count);
            }
        }
        if event["type"] == "content_block_start" && event["content_block"]["type"] == "tool_use" {
            let text = |name: &str| event["content_block"][name].as_str().unwrap().to_owned();
            inputs.insert(index, (text("id"), text("name"), String::new()));
        }
        plain.text += event["delta"]["text"].as_str().unwrap_or_default();
        plain.thinking += event["delta"]["thinking"].as_str().unwrap_or_default();
        if let (Some(more), Some(call)) = (event["delta"]["partial_json"].as_str(), inputs.get_mut(&index)) {
            call.2 += more;
        }
        if let Some(reason) = event["delta"]["stop_reason"].as_str() {
            plain.stop_reason = Some(reason.to_owned());
        }
    }
    plain.calls = inputs
        .into_values()
        .map(|(id, name, input)| (id, name, serde_json::from_str(&input).unwrap_or(json!({}))))
        .collect();
    plain.output = counts.remove("output_tokens").unwrap_or_default();
    plain.input = counts.values().sum();
    plain
}

fn plain_of(reply: &Reply) -> Plain {
    let choice = &reply.choices[0];
    let mut plain = Plain {
        stop_reason: choice.finish.as_ref().and_then(|finish| finish.native.clone()),
        input: reply.usage.input,
        output: reply.usage.output,
        ..Plain::default()
    };
    for part in &choice.parts {
        match &part.content {
            Content::Text { text, .. } => plain.text += text,
            Content::Reasoning { text } => plain.thinking += text,
            Content::ToolCall(call) => {
                let input = serde_json::from_str(&call.arguments).unwrap();
                plain.calls.push((call.id.clone(), call.name.clone(), input));
            }
            _ => {}
        }
    }
    plain
}

fn decode(stream: &[u8]) -> Result<(Vec<Event>, bool), ReplyError> {
    let mut frames = SseDecoder::new();
    let mut decoder = codec().decoder();
    let mut events = Vec::new();
    frames.push(Bytes::copy_from_slice(stream));
    while let Some(frame) = frames.next_event() {
        decoder.decode(&frame.unwrap(), &mut events)?;
    }
    while let Some(frame) = frames.finish() {
        decoder.decode(&frame.unwrap(), &mut events)?;
    }
    let is_complete = decoder.finish(&mut events);
    Ok((events, is_complete))
}

fn assemble(events: Vec<Event>) -> Reply {
    let mut assembler = Assembler::new(DIALECT);
    for event in events {
        assembler.push(event);
    }
    assert!(assembler.is_complete());
    assembler.into_reply()
}

fn streams() -> Vec<(String, String)> {
    let mut streams: Vec<(String, String)> = Vec::new();
    for (name, lines) in fragments(".chunks.txt") {
        // Some files hold the streams of several turns, one after the other.
        let mut stream = String::new();
        for line in lines.lines().filter(|line| !line.is_empty()) {
            let data: Value = serde_json::from_str(line).unwrap();
            let kind = data["type"].as_str().unwrap();
            stream.extend(["event: ", kind, "\ndata: ", line, "\n\n"]);
            if kind == "message_stop" {
                streams.push((name.clone(), std::mem::take(&mut stream)));
            }
        }
        assert!(stream.is_empty(), "{name}");
    }
    for exchange in exchanges("messages.jsonl") {
        if let Some(text) = exchange.pointer("/response/text").and_then(Value::as_str) {
            streams.push((exchange["source"].to_string(), text.to_owned()));
        }
    }
    streams
}

#[test]
fn every_recorded_stream_says_what_a_plain_reading_finds() {
    let streams = streams();
    for (name, stream) in &streams {
        let data: Vec<Value> = stream
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect();
        let decoded = decode(stream.as_bytes());
        if name.starts_with("spliced-message-start") {
            assert!(matches!(decoded, Err(ReplyError::Malformed { .. })), "{name}");
            continue;
        }
        let (events, is_complete) = decoded.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(is_complete, "{name}");
        let reply = assemble(events.clone());
        assert_eq!(plain_of(&reply), read_plainly(&data), "{name}");

        // Told again to a caller of this dialect, it is the same answer.
        let mut encoder = codec().encoder(ReplyOptions::default());
        let mut told = Vec::new();
        for event in &events {
            encoder.encode(event, &mut told);
        }
        let (again, is_complete) = decode(&told).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(is_complete, "{name}");
        assert_eq!(assemble(again), reply, "{name}");
    }
    eprintln!("{} streams", streams.len());
}
