//! Streams and bodies of any content, in every dialect: however a stream is cut, the light tap sees what the full decoder
//! sees; and nothing that a renderer writes is refused by its own dialect's parser.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use tidegate_wire::carry::Signature;
use tidegate_wire::conversation::{
    Content, Conversation, FunctionTool, Part, Role, Tool, ToolCall, ToolResult, Turn,
};
use tidegate_wire::event::{Assembler, Event, events_of};
use tidegate_wire::framing::{SseDecoder, SseEvent};
use tidegate_wire::reply::{Choice, Finish, FinishReason, Reply};
use tidegate_wire::tap::{StreamTap, is_token};
use tidegate_wire::{Dialect, PathFacts, ReplyOptions, RequestOptions, TargetTraits, Usage};

fn dialect() -> impl Strategy<Value = Dialect> {
    select(Dialect::ALL.to_vec())
}

fn words() -> impl Strategy<Value = String> {
    "[ -~äß→\n\r]{0,14}"
}

fn signature() -> impl Strategy<Value = Option<Signature>> {
    option::of((dialect(), "[A-Za-z0-9+/]{4,12}").prop_map(|(origin, data)| Signature::new(origin, data)))
}

fn arguments() -> impl Strategy<Value = String> {
    let written = ["{}", "", "{\"a\": 1}", "{\n  \"a\": [\r\n1,\n\n2]}", "[1]", "{\"broken\": ", "null"];
    select(written.to_vec()).prop_map(str::to_owned)
}

/// A part of what a model says.
fn said() -> impl Strategy<Value = Part> {
    let content = prop_oneof![
        3 => words().prop_map(|text| Content::Text { text, citations: Vec::new() }),
        2 => words().prop_map(|text| Content::Reasoning { text }),
        1 => words().prop_map(Content::Refusal),
        3 => ("[a-z_]{0,6}", "[a-z]{1,6}", arguments()).prop_map(|(id, name, arguments)| {
            Content::ToolCall(ToolCall { id: format!("call_{id}"), name, arguments, free_text: false })
        }),
    ];
    (content, signature()).prop_map(|(content, signature)| Part { signature, ..Part::new(content) })
}

prop_compose! {
    fn reply()(
        origin in dialect(),
        parts in vec(vec(said(), 0..5), 1..3),
        reason in select(vec![
            FinishReason::Stop,
            FinishReason::Length,
            FinishReason::ToolCalls,
            FinishReason::ContentFilter,
            FinishReason::Refusal,
            FinishReason::Pause,
            FinishReason::Other,
        ]),
        counts in [0..500_u64, 0..500, 0..500, 500..900],
    ) -> Reply {
        let [cache_read, cache_write_5m, reasoning, output] = counts;
        let choices = parts.into_iter().zip(0..).map(|(parts, index)| Choice {
            index,
            parts,
            finish: Some(Finish::new(reason)),
            ..Choice::default()
        });
        Reply {
            id: "id-1".to_owned(),
            model: "model".to_owned(),
            created: Some(1),
            choices: choices.collect(),
            usage: Usage {
                input: 1 + cache_read + cache_write_5m,
                cache_read,
                cache_write_5m,
                reasoning,
                output,
                ..Usage::default()
            },
            ..Reply::new(origin)
        }
    }
}

prop_compose! {
    fn conversation()(
        origin in dialect(),
        turns in vec((select(vec![Role::System, Role::Developer, Role::User, Role::Assistant]), vec(said(), 0..4)), 0..6),
        answered in any::<bool>(),
        tools in vec("[a-z]{1,6}", 0..3),
    ) -> Conversation {
        let mut conversation = Conversation::new(origin, "model");
        conversation.tools = tools.into_iter().map(|name| Tool::Function(FunctionTool {
            name,
            description: None,
            parameters: None,
            strict: None,
            cache: None,
            rest: serde_json::Map::new(),
        })).collect();
        for (role, mut parts) in turns {
            if role != Role::Assistant {
                parts.retain(|part| matches!(part.content, Content::Text { .. }));
            }
            let results: Vec<Part> = parts.iter().filter_map(|part| match &part.content {
                Content::ToolCall(call) if answered => Some(Part::new(Content::ToolResult(ToolResult {
                    call_id: call.id.clone(),
                    name: Some(call.name.clone()),
                    parts: vec![Part::text("done")],
                    is_error: false,
                }))),
                _ => None,
            }).collect();
            conversation.turns.push(Turn::new(role, parts));
            if !results.is_empty() {
                conversation.turns.push(Turn::new(Role::User, results));
            }
        }
        conversation
    }
}

fn options() -> ReplyOptions {
    ReplyOptions { now: 1, fallback_id: "id".to_owned(), include_usage: true, legacy_functions: false }
}

fn stream_of(dialect: Dialect, reply: &Reply) -> Vec<u8> {
    let mut encoder = dialect.codec().encoder(options());
    let mut bytes = Vec::new();
    for event in events_of(reply) {
        encoder.encode(&event, &mut bytes);
    }
    bytes
}

/// The stream's frames, when its bytes come in pieces of these lengths, over and over.
fn frames_of(bytes: &[u8], lengths: &[usize]) -> Vec<SseEvent> {
    let mut decoder = SseDecoder::new();
    let mut frames = Vec::new();
    let mut rest = bytes;
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, more) = rest.split_at((*length).min(rest.len()));
        rest = more;
        decoder.push(Bytes::copy_from_slice(piece));
        while let Some(frame) = decoder.next_event() {
            frames.push(frame.unwrap());
        }
    }
    while let Some(frame) = decoder.finish() {
        frames.push(frame.unwrap());
    }
    frames
}

proptest! {
    #[test]
    fn however_a_stream_is_cut_the_tap_sees_what_the_decoder_sees(
        dialect in dialect(),
        reply in reply(),
        lengths in vec(1_usize..200, 1..8),
    ) {
        let bytes = stream_of(dialect, &reply);
        let frames = frames_of(&bytes, &lengths);
        let raw: Vec<u8> = frames.iter().flat_map(|frame| frame.raw.to_vec()).collect();
        prop_assert_eq!(&raw, &bytes);
        let mut decoder = dialect.codec().decoder();
        let mut tap = StreamTap::new(dialect);
        let mut assembler = Assembler::new(dialect);
        let (mut first, mut tapped_first) = (None, None);
        for (number, frame) in frames.iter().enumerate() {
            let mut events: Vec<Event> = Vec::new();
            decoder.decode(frame, &mut events).unwrap();
            if events.iter().any(is_token) {
                first.get_or_insert(number);
            }
            if tap.frame(frame).unwrap().is_token {
                tapped_first.get_or_insert(number);
            }
            for event in events {
                assembler.push(event);
            }
        }
        let mut events = Vec::new();
        prop_assert!(decoder.finish(&mut events));
        prop_assert!(tap.finish());
        for event in events {
            assembler.push(event);
        }
        let decoded = assembler.into_reply();
        prop_assert_eq!(first, tapped_first);
        prop_assert_eq!(tap.tapped().usage, decoded.usage);
        let finish = decoded.choices.first().and_then(|choice| choice.finish.as_ref());
        prop_assert_eq!(tap.tapped().finish, finish.map(|finish| finish.reason));
    }

    #[test]
    fn no_dialect_refuses_an_answer_that_it_wrote_itself(dialect in dialect(), reply in reply()) {
        let body = dialect.codec().render_reply(&reply, &options());
        let read = dialect.codec().parse_reply(&body);
        prop_assert!(read.is_ok(), "{:?}: {}", read, String::from_utf8_lossy(&body));
    }

    #[test]
    fn no_dialect_refuses_a_request_that_it_wrote_itself(dialect in dialect(), conversation in conversation()) {
        let traits = TargetTraits::default();
        let options = RequestOptions { model: "model", stream: false, traits: &traits };
        let rendered = dialect.codec().render_request(&conversation, &options);
        let facts = PathFacts { model: "model", stream: false };
        let read = dialect.codec().parse_request(&rendered.body, (dialect == Dialect::Gemini).then_some(facts));
        prop_assert!(read.is_ok(), "{:?}: {}", read, String::from_utf8_lossy(&rendered.body));
    }
}
