//! Recorded answers, translated to each other dialect and back.

use bytes::Bytes;
use serde_json::Value;
use tidegate_wire::event::{Assembler, Event};
use tidegate_wire::framing::SseDecoder;
use tidegate_wire::reply::Reply;
use tidegate_wire::{Dialect, ReplyError, ReplyOptions};

use crate::compare;
use crate::corpus::{Answer, Exchange};
use crate::naive::{self, Kind};
use crate::reasons::{finish_class, finish_survives};
use crate::report::{Direction, Loss, Report};

pub(crate) fn check(exchange: &Exchange, report: &mut Report) {
    let from = exchange.dialect;
    let options = ReplyOptions {
        now: 1_700_000_000,
        fallback_id: "fallback".to_owned(),
        include_usage: true,
        legacy_functions: false,
    };
    for to in Dialect::ALL.into_iter().filter(|to| *to != from) {
        let there_and_back = match &exchange.answer {
            Answer::Whole(json) => whole(from, to, json, &options),
            Answer::Stream(bytes) => match streamed(&exchange.name, from, to, bytes, &options) {
                Some(ways) => ways,
                // The recording is broken on purpose: see `pass_through`.
                None => continue,
            },
            Answer::Refused(..) | Answer::None => continue,
        };
        let kind = match exchange.answer {
            Answer::Whole(_) => "answer",
            _ => "stream",
        };
        let losses = losses_of(from, to, &there_and_back);
        report.carried(Direction { kind, from, to }, &exchange.name, losses);
    }
}

/// An answer as it was recorded, as a caller of the other dialect sees it, and come back.
struct Ways {
    before: naive::Reply,
    there: naive::Reply,
    back: naive::Reply,
}

fn whole(from: Dialect, to: Dialect, json: &Value, options: &ReplyOptions) -> Ways {
    let reply = from.codec().parse_reply(json.to_string().as_bytes()).unwrap();
    let there = to.codec().render_reply(&reply, options);
    let read = to.codec().parse_reply(&there).unwrap();
    let back = from.codec().render_reply(&read, options);
    from.codec().parse_reply(&back).unwrap();
    let json_of = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    Ways {
        before: naive::reply(from, json),
        there: naive::reply(to, &json_of(&there)),
        back: naive::reply(from, &json_of(&back)),
    }
}

fn streamed(name: &str, from: Dialect, to: Dialect, bytes: &[u8], options: &ReplyOptions) -> Option<Ways> {
    let events = decode(from, bytes).ok()?;
    let there = encode(to, &events, options);
    let read = decode(to, &there).unwrap();
    // What is assembled of a stream, rendered whole, says the same as the stream.
    let assembled = to.codec().render_reply(&assemble(to, read.clone()), options);
    let assembled = naive::reply(to, &serde_json::from_slice(&assembled).unwrap());
    let there_naive = naive::stream(to, &there);
    for (one, other) in assembled.choices.iter().zip(&there_naive.choices) {
        assert_eq!(naive::core(&one.items), naive::core(&other.items), "{name} → {to}");
        assert_eq!(one.finish, other.finish, "{name} → {to}");
    }
    assert_eq!(assembled.usage, there_naive.usage, "{name} → {to}");
    let back = encode(from, &read, options);
    decode(from, &back).unwrap();
    Some(Ways { before: naive::stream(from, bytes), there: there_naive, back: naive::stream(from, &back) })
}

pub(crate) fn decode(dialect: Dialect, bytes: &[u8]) -> Result<Vec<Event>, ReplyError> {
    let mut frames = SseDecoder::new();
    let mut decoder = dialect.codec().decoder();
    let mut events = Vec::new();
    frames.push(Bytes::copy_from_slice(bytes));
    while let Some(frame) = frames.next_event() {
        decoder.decode(&frame.unwrap(), &mut events)?;
    }
    while let Some(frame) = frames.finish() {
        decoder.decode(&frame.unwrap(), &mut events)?;
    }
    assert!(decoder.finish(&mut events), "the stream is complete");
    Ok(events)
}

pub(crate) fn encode(dialect: Dialect, events: &[Event], options: &ReplyOptions) -> Vec<u8> {
    let mut encoder = dialect.codec().encoder(options.clone());
    let mut bytes = Vec::new();
    for event in events {
        encoder.encode(event, &mut bytes);
    }
    bytes
}

pub(crate) fn assemble(dialect: Dialect, events: Vec<Event>) -> Reply {
    let mut assembler = Assembler::new(dialect);
    for event in events {
        assembler.push(event);
    }
    assert!(assembler.is_complete());
    assembler.into_reply()
}

fn losses_of(from: Dialect, to: Dialect, ways: &Ways) -> Vec<Loss> {
    let Ways { before, there, back } = ways;
    let mut losses = Vec::new();
    let mut lose = |thing: &str, detail: String| losses.push(Loss { thing: thing.to_owned(), detail });
    if before.choices.len() > back.choices.len() {
        lose("choices", format!("{} became {}", before.choices.len(), back.choices.len()));
    }
    let (mut inner, mut told) = (Vec::new(), Vec::new());
    for (index, choice) in before.choices.iter().enumerate() {
        let (Some(seen), Some(back)) = (there.choices.get(index), back.choices.get(index)) else { continue };
        let has_calls = choice.items.iter().any(|item| item.kind == Kind::Call);
        let class = finish_class(from, &choice.finish, has_calls);
        let told_class = finish_class(to, &seen.finish, has_calls);
        let back_class = finish_class(from, &back.finish, has_calls);
        if told_class != class || back_class != class {
            let detail =
                format!("{} is told as {}, comes back as {}", choice.finish, seen.finish, back.finish);
            lose(if finish_survives(to, class) { "finish" } else { "finish without a word" }, detail);
        }
        differ_logprobs(choice, back, &mut inner);
        let items = compare::items(&choice.items, &back.items);
        told.extend(compare::told(&choice.items, &seen.items, &items));
        inner.extend(items);
        for (name, value) in &choice.rest {
            if back.rest.get(name) != Some(value) {
                inner.push(Loss { thing: format!("choice.{name}"), detail: String::new() });
            }
        }
    }
    if before.usage != there.usage || before.usage != back.usage {
        for (name, count) in differing_counts(before.usage, there.usage, back.usage) {
            lose(&format!("usage.{name}"), count);
        }
    }
    for (name, value) in &before.rest {
        if back.rest.get(name) != Some(value) {
            lose(&format!("answer.{name}"), String::new());
        }
    }
    losses.extend(told);
    losses.extend(inner);
    losses
}

fn differ_logprobs(before: &naive::Choice, back: &naive::Choice, losses: &mut Vec<Loss>) {
    if before.logprobs != back.logprobs {
        let detail = format!("{} tokens became {}", before.logprobs.len(), back.logprobs.len());
        losses.push(Loss { thing: "logprobs".to_owned(), detail });
    }
}

fn differing_counts(
    before: naive::Counts,
    there: naive::Counts,
    back: naive::Counts,
) -> Vec<(&'static str, String)> {
    let counts = |counts: naive::Counts| {
        let naive::Counts { input, output, cached, written, reasoning, audio_in, audio_out } = counts;
        [
            ("input", input),
            ("output", output),
            ("cached", cached),
            ("written", written),
            ("reasoning", reasoning),
            ("audio_in", audio_in),
            ("audio_out", audio_out),
        ]
    };
    let all = counts(before).into_iter().zip(counts(there)).zip(counts(back));
    all.filter(|(((_, before), (_, there)), (_, back))| before != there || before != back)
        .map(|(((name, before), (_, there)), (_, back))| {
            (name, format!("{before} is told as {there}, comes back as {back}"))
        })
        .collect()
}
