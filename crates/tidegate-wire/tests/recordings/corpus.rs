//! The recordings, read from their folder beside the project: exchanges and fragments, sorted by the dialect they are in.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegate_wire::Dialect;

/// One recorded exchange, or an answer alone.
pub(crate) struct Exchange {
    /// Where it stands in the recordings: `openai/chat_completions:12`.
    pub(crate) name: String,
    pub(crate) dialect: Dialect,
    pub(crate) request: Option<Value>,
    /// Whether the request asks for a stream, which Gemini's callers say in the path.
    pub(crate) stream: bool,
    pub(crate) answer: Answer,
}

pub(crate) enum Answer {
    Whole(Value),
    /// The stream's bytes.
    Stream(Vec<u8>),
    /// The provider refused: the status and the body.
    Refused(u16, Value),
    None,
}

/// The recordings, and what stands among them in other dialects.
pub(crate) struct Corpus {
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) left_out: Vec<String>,
}

/// `None`, said clearly, where the folder does not exist.
pub(crate) fn read() -> Option<Corpus> {
    let folder = folder();
    if !folder.is_dir() {
        // Written past the test harness, which shows what is printed only of tests that fail.
        let message =
            format!("SKIPPED: nothing was tested: there are no recordings at {}\n", folder.display());
        std::io::stderr().write_all(message.as_bytes()).unwrap();
        return None;
    }
    let mut corpus = Corpus { exchanges: Vec::new(), left_out: Vec::new() };
    for provider in entries(&folder).into_iter().filter(|path| path.is_dir()) {
        if name_of(&provider) == "_fragments" {
            for provider in entries(&provider) {
                for file in entries(&provider) {
                    corpus.read_fragment(&file);
                }
            }
        } else {
            for file in entries(&provider) {
                corpus.read_exchanges(&provider, &file);
            }
        }
    }
    assert!(corpus.exchanges.len() > 500, "only {} exchanges were found", corpus.exchanges.len());
    Some(corpus)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

impl Corpus {
    fn read_exchanges(&mut self, provider: &Path, file: &Path) {
        let kind = name_of(file).trim_end_matches(".jsonl").to_owned();
        let place = format!("{}/{kind}", name_of(provider));
        let dialect = match kind.as_str() {
            "chat_completions" => Dialect::OpenAiChat,
            "messages" => Dialect::AnthropicMessages,
            "generateContent" | "streamGenerateContent" => Dialect::Gemini,
            _ => {
                self.left_out.push(place);
                return;
            }
        };
        for (index, line) in fs::read_to_string(file).unwrap().lines().enumerate() {
            let mut record: Value = serde_json::from_str(line).unwrap();
            let request = record.pointer_mut("/request/json").map(Value::take);
            let in_body = request.as_ref().is_some_and(|request| request["stream"] == true);
            let stream = if dialect == Dialect::Gemini { kind.starts_with("stream") } else { in_body };
            let status = u16::try_from(record["status"].as_u64().unwrap()).unwrap();
            let json = record.pointer_mut("/response/json").map(Value::take);
            let answer = match (json, record.pointer("/response/text").and_then(Value::as_str)) {
                (Some(json), _) if status != 200 => Answer::Refused(status, json),
                (Some(json), _) => Answer::Whole(json),
                (None, Some(text)) => Answer::Stream(text.as_bytes().to_vec()),
                (None, None) => Answer::None,
            };
            let name = format!("{place}:{}", index + 1);
            self.exchanges.push(Exchange { name, dialect, request, stream, answer });
        }
    }

    fn read_fragment(&mut self, file: &Path) {
        let place = format!("_fragments/{}/{}", name_of(file.parent().unwrap()), name_of(file));
        let text = fs::read_to_string(file).unwrap();
        let before = self.exchanges.len();
        let mut push = |name: String, dialect, answer| {
            self.exchanges.push(Exchange { name, dialect, request: None, stream: false, answer });
        };
        if text.starts_with("data:") {
            push(place.clone(), Dialect::OpenAiChat, Answer::Stream(text.into_bytes()));
        } else if place.contains(".chunks.") {
            let frames: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
            let values: Vec<Value> = frames.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
            let has = |found: fn(&Value) -> bool| values.iter().any(found);
            if has(|value| value["choices"][0].get("delta").is_some()) {
                let stream = sse(&frames, "\n\n");
                push(place.clone(), Dialect::OpenAiChat, Answer::Stream(stream.into_bytes()));
            } else if has(|value| value.get("candidates").is_some()) {
                let stream = sse(&frames, "\r\n\r\n");
                push(place.clone(), Dialect::Gemini, Answer::Stream(stream.into_bytes()));
            } else if has(|value| value["type"] == "message_start") {
                for (number, stream) in anthropic_streams(&frames, &values).into_iter().enumerate() {
                    let name = if number == 0 { place.clone() } else { format!("{place}#{}", number + 1) };
                    push(name, Dialect::AnthropicMessages, Answer::Stream(stream.into_bytes()));
                }
            }
        } else if let Ok(value) = serde_json::from_str::<Value>(&text) {
            if value["choices"][0].get("message").is_some() {
                push(place.clone(), Dialect::OpenAiChat, Answer::Whole(value));
            } else if value.get("candidates").is_some() {
                push(place.clone(), Dialect::Gemini, Answer::Whole(value));
            } else if value["type"] == "message" && value.get("content").is_some() {
                push(place.clone(), Dialect::AnthropicMessages, Answer::Whole(value));
            }
        }
        if self.exchanges.len() == before {
            self.left_out.push(place);
        }
    }
}

fn sse(frames: &[&str], line_ends: &str) -> String {
    frames.iter().flat_map(|frame| ["data: ", *frame, line_ends]).collect()
}

/// Some files hold the streams of several turns, one after the other.
fn anthropic_streams(frames: &[&str], values: &[Value]) -> Vec<String> {
    let mut streams = vec![String::new()];
    for (frame, value) in frames.iter().zip(values) {
        let kind = value["type"].as_str().unwrap();
        streams.last_mut().unwrap().extend(["event: ", kind, "\ndata: ", frame, "\n\n"]);
        if kind == "message_stop" {
            streams.push(String::new());
        }
    }
    streams.retain(|stream| !stream.is_empty());
    streams
}
