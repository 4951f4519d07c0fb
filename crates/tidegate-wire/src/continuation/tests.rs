//! For every place at which a scripted answer can break: what was told and what another target adds make the same answer
//! as if nothing had happened, in the canonical model and on every wire.

use super::*;
use crate::carry::Signature;
use crate::conversation::{Content, Part, ToolCall};
use crate::event::{Assembler, Event, PartDelta, events_of};
use crate::framing::SseDecoder;
use crate::reply::{Choice, Finish, FinishReason, Reply};
use crate::tap::StreamTap;
use crate::{Dialect, ReplyOptions, Usage};

fn call(id: &str, name: &str, arguments: &str) -> Part {
    let (id, name, arguments) = (id.to_owned(), name.to_owned(), arguments.to_owned());
    Part::new(Content::ToolCall(ToolCall { id, name, arguments, free_text: false }))
}

fn thought(text: &str, signature: &str) -> Part {
    let signature = Some(Signature::new(Dialect::AnthropicMessages, signature));
    Part { signature, ..Part::new(Content::Reasoning { text: text.to_owned() }) }
}

fn reply(id: &str, parts: Vec<Part>) -> Reply {
    let finish = Some(Finish::new(FinishReason::Stop));
    Reply {
        id: id.to_owned(),
        model: "m".to_owned(),
        choices: vec![Choice { parts, finish, ..Choice::default() }],
        usage: Usage { input: 10, output: 20, ..Usage::default() },
        ..Reply::new(Dialect::OpenAiChat)
    }
}

/// Answers of every kind.
fn answers() -> Vec<Vec<Part>> {
    vec![
        vec![Part::text("Hello wide world, the tide is hígh 🌊 and the gate is open.")],
        vec![thought("Let me think of the tide.", "c2ln"), Part::text("It rises at seven.")],
        vec![call("call_1", "weather", r#"{"city": "Köln", "days": [1, 2, 3]}"#)],
        vec![
            Part::text("I shall look.  "),
            call("call_1", "weather", r#"{"city":"Bonn \" x"}"#),
            call("call_2", "time", "{}"),
        ],
        vec![thought("Both.", "c2ln"), Part::text("One"), Part::text(" and two."), call("c", "end", "")],
        vec![thought("I need to know.", "c2ln"), call("call_1", "weather", r#"{"city": "Köln"}"#)],
        vec![Part::new(Content::Refusal("I cannot help with that.".to_owned()))],
    ]
}

/// The stream of an answer, its texts in pieces of so many characters.
fn stream(reply: &Reply, size: usize) -> Vec<Event> {
    let pieces = |text: &str| -> Vec<String> {
        let characters: Vec<char> = text.chars().collect();
        characters.chunks(size).map(|piece| piece.iter().collect()).collect()
    };
    let mut events = Vec::new();
    for event in events_of(reply) {
        match event {
            Event::PartDelta { choice, part, delta: PartDelta::Text(text) } => {
                let deltas = pieces(&text).into_iter().map(PartDelta::Text);
                events.extend(deltas.map(|delta| Event::PartDelta { choice, part, delta }));
            }
            Event::PartDelta { choice, part, delta: PartDelta::Arguments(text) } => {
                let deltas = pieces(&text).into_iter().map(PartDelta::Arguments);
                events.extend(deltas.map(|delta| Event::PartDelta { choice, part, delta }));
            }
            other => events.push(other),
        }
    }
    events
}

fn assembled(events: &[Event]) -> (Reply, bool) {
    let mut assembler = Assembler::new(Dialect::OpenAiChat);
    events.iter().cloned().for_each(|event| assembler.push(event));
    let is_complete = assembler.is_complete();
    (assembler.into_reply(), is_complete)
}

/// The parts as a caller reads them: neighbouring texts are one, and JSON is what it says.
fn read(reply: &Reply) -> Vec<String> {
    let mut read: Vec<(&'static str, String)> = Vec::new();
    for part in reply.choices.iter().flat_map(|choice| &choice.parts) {
        let (kind, text) = match &part.content {
            Content::Text { text, .. } => ("text", text.clone()),
            Content::Refusal(text) => ("refusal", text.clone()),
            Content::Reasoning { text } => {
                let signature = part.signature.as_ref().map_or("", |signature| &signature.data);
                ("reasoning", format!("{text} [{signature}]"))
            }
            Content::ToolCall(call) => {
                let arguments = if call.arguments.is_empty() { "{}" } else { &call.arguments };
                let arguments: serde_json::Value = serde_json::from_str(arguments).unwrap();
                ("call", format!("{} {arguments}", call.name))
            }
            other => ("other", format!("{other:?}")),
        };
        match read.last_mut() {
            Some((last, present)) if *last == "text" && kind == "text" => present.push_str(&text),
            _ if kind == "text" && text.is_empty() => {}
            _ => read.push((kind, text)),
        }
    }
    read.into_iter().map(|(kind, text)| format!("{kind}: {text}")).collect()
}

fn said(events: &[Event]) -> Said {
    let mut said = Said::default();
    for event in events {
        said.note(event);
    }
    said
}

fn go_on(said: &Said, asked: Asked, events: &[Event]) -> Result<Vec<Event>, Departed> {
    let mut following = Following::new(said, asked, Usage { input: 1, output: 2, ..Usage::default() });
    let mut out = Vec::new();
    for event in events {
        following.take(event.clone(), &mut out)?;
    }
    Ok(out)
}

const ANEW: Asked = Asked::Anew { is_json: false };

#[test]
fn an_answer_cut_anywhere_and_said_anew_is_the_same_answer() {
    for parts in answers() {
        let (first, second) = (reply("first", parts.clone()), reply("second", parts));
        let expected = read(&first);
        for size in [1, 5, 1000] {
            let told = stream(&first, size);
            for cut in 1..told.len() {
                let before = told.get(..cut).unwrap();
                let said = said(before);
                if said.obstacle() == Some(Obstacle::Finished) {
                    continue;
                }
                for other_size in [1, 3, 1000] {
                    let more = go_on(&said, ANEW, &stream(&second, other_size)).unwrap();
                    let whole: Vec<Event> = before.iter().cloned().chain(more).collect();
                    let (whole, is_complete) = assembled(&whole);
                    assert!(is_complete);
                    assert_eq!(read(&whole), expected, "cut {cut} of {told:?}");
                    assert_eq!(whole.id, "first");
                    assert_eq!((whole.usage.input, whole.usage.output), (11, 22));
                }
            }
        }
    }
}

#[test]
fn parts_begin_once_end_once_and_are_numbered_on() {
    for parts in answers() {
        let told = stream(&reply("first", parts.clone()), 2);
        for cut in 1..told.len() {
            let before = told.get(..cut).unwrap();
            let said = said(before);
            if said.obstacle().is_some() {
                continue;
            }
            let more = go_on(&said, ANEW, &stream(&reply("second", parts.clone()), 4)).unwrap();
            let mut open = Vec::new();
            let mut next = 0;
            for event in before.iter().chain(&more) {
                match event {
                    Event::PartStart { part, .. } => {
                        assert_eq!(*part, next);
                        next += 1;
                        open.push(*part);
                    }
                    Event::PartDelta { part, .. } => assert!(open.contains(part), "{before:?} {more:?}"),
                    Event::PartEnd { part, .. } => {
                        assert!(open.contains(part));
                        open.retain(|known| known != part);
                    }
                    Event::Finish { .. } => assert!(open.is_empty()),
                    _ => {}
                }
            }
            assert_eq!(more.iter().filter(|event| matches!(event, Event::Start { .. })).count(), 0);
        }
    }
}

#[test]
fn an_answer_goes_on_in_every_wire_at_every_cut() {
    for dialect in Dialect::ALL {
        for parts in answers() {
            let (first, second) = (reply("first", parts.clone()), reply("second", parts));
            let options = || ReplyOptions { fallback_id: "id".to_owned(), ..ReplyOptions::default() };
            let mut encoder = dialect.codec().encoder(options());
            let frames: Vec<Vec<u8>> = stream(&first, 3)
                .iter()
                .flat_map(|event| {
                    let mut bytes = Vec::new();
                    encoder.encode(event, &mut bytes);
                    frames_of(&bytes)
                })
                .collect();
            let uncut = decoded(dialect, &frames.concat());
            for cut in 1..frames.len() {
                let before = frames.get(..cut).unwrap();
                let mut tap = StreamTap::new(dialect);
                tap.remember();
                for frame in before {
                    tap.frame(&event_of(frame)).unwrap();
                }
                let (said, mut encoder) = tap.take_sent().unwrap().into_encoder(dialect, options());
                if let Some(obstacle) = said.obstacle() {
                    assert_eq!(obstacle, Obstacle::Finished, "{dialect}, cut {cut}");
                    continue;
                }
                let more = go_on(&said, ANEW, &stream(&second, 2)).unwrap();
                let mut bytes = before.concat();
                for event in &more {
                    encoder.encode(event, &mut bytes);
                }
                let whole = decoded(dialect, &bytes);
                let text = String::from_utf8_lossy(&bytes);
                assert_eq!(read(&whole), read(&uncut), "{dialect}, cut {cut}: {text}");
                assert_eq!(whole.id, uncut.id, "{dialect}, cut {cut}: {text}");
                match dialect {
                    Dialect::OpenAiChat => assert_eq!(text.matches("\"role\"").count(), 1, "{text}"),
                    Dialect::AnthropicMessages => {
                        assert_eq!(text.matches("event: message_start").count(), 1, "{text}");
                        let starts = text.matches("event: content_block_start").count();
                        assert_eq!(starts, text.matches("event: content_block_stop").count(), "{text}");
                        for index in 0..starts {
                            let start = format!("{{\"type\":\"content_block_start\",\"index\":{index},");
                            assert_eq!(text.matches(&start).count(), 1, "{text}");
                        }
                    }
                    Dialect::Gemini => {}
                }
            }
        }
    }
}

fn frames_of(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut decoder = SseDecoder::new();
    decoder.push(bytes.to_vec().into());
    std::iter::from_fn(|| decoder.next_event().map(|frame| frame.unwrap().raw.to_vec())).collect()
}

fn event_of(frame: &[u8]) -> crate::framing::SseEvent {
    let mut decoder = SseDecoder::new();
    decoder.push(frame.to_vec().into());
    decoder.next_event().unwrap().unwrap()
}

fn decoded(dialect: Dialect, bytes: &[u8]) -> Reply {
    let mut decoder = dialect.codec().decoder();
    let mut events = Vec::new();
    for frame in frames_of(bytes) {
        decoder.decode(&event_of(&frame), &mut events).unwrap();
    }
    assert!(decoder.finish(&mut events));
    assembled(&events).0
}

#[test]
fn an_answer_that_says_something_else_is_found_to_depart() {
    let told = |parts: Vec<Part>| {
        let events = stream(&reply("first", parts), 4);
        let end = events.iter().position(|event| matches!(event, Event::Finish { .. })).unwrap();
        said(events.get(..end - 1).unwrap())
    };
    for (before, other) in [
        (vec![Part::text("Hello wide world")], vec![Part::text("Hello world")]),
        (vec![Part::text("Hello wide world")], vec![Part::text("Hello wide")]),
        (vec![Part::text("Hello")], vec![call("c", "weather", "{}")]),
        (vec![Part::text("Hello")], vec![Part::new(Content::Refusal("No".to_owned()))]),
        (vec![Part::text("Hello"), call("c", "a", "{}")], vec![Part::text("Hello!"), call("c", "a", "{}")]),
        (vec![call("c", "weather", "{\"a\":1")], vec![call("c", "weather", "{\"a\":2}")]),
        (vec![call("c", "weather", "{\"a\":1")], vec![call("c", "time", "{\"a\":1}")]),
        (vec![call("c", "weather", "{\"a\": \"x y\"")], vec![call("c", "weather", "{\"a\":\"xy\"}")]),
        (vec![call("c", "a", "{}"), call("c", "b", "{}")], vec![call("c", "b", "{}"), call("c", "a", "{}")]),
        (vec![call("c", "a", "{\"x\":1}")], vec![Part::text("No call.")]),
    ] {
        let said = told(before.clone());
        let events = stream(&reply("second", other.clone()), 3);
        assert_eq!(go_on(&said, ANEW, &events).err(), Some(Departed), "{before:?} {other:?}");
    }
}

#[test]
fn white_space_between_tokens_of_json_does_not_count() {
    let told = |text: Part| {
        let events = stream(&reply("first", vec![text]), 3);
        events.into_iter().take(6).collect::<Vec<_>>()
    };
    let before = told(call("c", "weather", "{ \"city\" : \"New York\", \"n\": 1 }"));
    let other = stream(&reply("second", vec![call("d", "weather", r#"{"city":"New York","n":1}"#)]), 2);
    let more = go_on(&said(&before), ANEW, &other).unwrap();
    let whole: Vec<Event> = before.into_iter().chain(more).collect();
    assert_eq!(read(&assembled(&whole).0), [r#"call: weather {"city":"New York","n":1}"#]);

    let before = told(Part::text("{ \"city\" : \"New York\" }"));
    let other = stream(&reply("second", vec![Part::text(r#"{"city":"New York"}"#)]), 2);
    assert_eq!(go_on(&said(&before), ANEW, &other).err(), Some(Departed), "plain text is what it is");
    let more = go_on(&said(&before), Asked::Anew { is_json: true }, &other).unwrap();
    let whole: Vec<Event> = before.into_iter().chain(more).collect();
    let text = read(&assembled(&whole).0).remove(0);
    let value: serde_json::Value = serde_json::from_str(text.strip_prefix("text: ").unwrap()).unwrap();
    assert_eq!(value, serde_json::json!({"city": "New York"}));
}

#[test]
fn another_model_thinks_in_its_own_words_until_the_answer_has_begun() {
    let first = reply("first", vec![thought("I think of the sea.", "QQ=="), Part::text("The sea.")]);
    let second = reply("second", vec![thought("I muse of the sea.", "Qg=="), Part::text("The sea.")]);
    let told = stream(&first, 4);
    let cut = |marker: &str| {
        let at = told.iter().position(|event| format!("{event:?}").contains(marker)).unwrap();
        told.get(..=at).unwrap().to_vec()
    };
    for (before, expected) in [
        // In the middle of a thought: it ends unsigned, and the other's stands whole beside it.
        (
            cut("ink "),
            ["reasoning: I think  []", "reasoning: I muse of the sea. [Qg==]", "text: The sea."].as_slice(),
        ),
        // The thought is whole, the answer not begun.
        (
            cut("QQ=="),
            &[
                "reasoning: I think of the sea. [QQ==]",
                "reasoning: I muse of the sea. [Qg==]",
                "text: The sea.",
            ],
        ),
        // The answer has begun: what the other thinks comes too late.
        (cut("The "), &["reasoning: I think of the sea. [QQ==]", "text: The sea."]),
    ] {
        let more = go_on(&said(&before), ANEW, &stream(&second, 3)).unwrap();
        let whole: Vec<Event> = before.into_iter().chain(more).collect();
        assert_eq!(read(&assembled(&whole).0), expected);
    }
}

#[test]
fn text_that_a_target_was_given_goes_on_with_and_without_being_said_again() {
    let text = "The tide rises at seven, and falls at one.\n Then it is calm.";
    let told = stream(&reply("first", vec![thought("Hm.", "QQ=="), Part::text(text)]), 1);
    for cut in 6..told.len() {
        let before = told.get(..cut).unwrap();
        let said = said(before);
        let Some(prefill) = said.as_prefill() else { continue };
        assert!(!prefill.ends_with(char::is_whitespace) && text.starts_with(&prefill), "{prefill:?}");
        let rest = text.strip_prefix(&prefill).unwrap();
        for (answer, is_repeated) in [(rest, false), (text, true), (rest, true)] {
            let short = prefill.chars().count() < 16;
            for size in [1, 7, 1000] {
                let other = stream(&reply("second", vec![Part::text(answer)]), size);
                let asked = Asked::ToContinue { text: prefill.clone(), is_repeated };
                let more = go_on(&said, asked, &other).unwrap();
                let whole: Vec<Event> = before.iter().cloned().chain(more).collect();
                assert_eq!(
                    read(&assembled(&whole).0).last().unwrap(),
                    &format!("text: {text}"),
                    "{prefill:?}"
                );
            }
            if answer == text && !short {
                let other = stream(&reply("second", vec![Part::text(answer)]), 5);
                let asked = Asked::ToContinue { text: prefill.clone(), is_repeated: false };
                let more = go_on(&said, asked, &other).unwrap();
                let whole: Vec<Event> = before.iter().cloned().chain(more).collect();
                assert_eq!(
                    read(&assembled(&whole).0).last().unwrap(),
                    &format!("text: {text}"),
                    "{prefill:?}"
                );
            }
        }
    }
}

#[test]
fn only_text_can_be_given_as_a_beginning() {
    for (parts, expected) in [
        (vec![Part::text("Hello  ")], Some("Hello")),
        (vec![thought("Hm", "QQ=="), Part::text("Hello")], Some("Hello")),
        (vec![thought("Hm", "QQ==")], None),
        (vec![Part::text("  \n")], None),
        (vec![Part::text("Hello"), call("c", "a", "{}")], None),
        (vec![Part::new(Content::Refusal("No".to_owned()))], None),
    ] {
        let events = stream(&reply("first", parts), 100);
        let end = events.iter().position(|event| matches!(event, Event::Finish { .. })).unwrap();
        assert_eq!(said(events.get(..end).unwrap()).as_prefill().as_deref(), expected);
    }
}

#[test]
fn what_is_remembered_of_a_stream_ends_at_a_limit() {
    let frame = |text: &str| {
        let chunk = serde_json::json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]});
        event_of(format!("data: {chunk}\n\n").as_bytes())
    };
    let mut tap = StreamTap::new(Dialect::OpenAiChat);
    tap.remember();
    for frames in [(" word", 20_000), (&"x".repeat(10_000), 100)] {
        let (text, count) = frames;
        let frame = frame(text);
        for _ in 0..count {
            tap.frame(&frame).unwrap();
        }
    }
    let sent = tap.take_sent().unwrap();
    assert_eq!(sent.bytes(), 0, "what can no longer be gone on with is not kept");
    let (said, _) = sent.into_encoder(Dialect::OpenAiChat, ReplyOptions::default());
    assert_eq!(said.obstacle(), Some(Obstacle::TooLong));
}
