//! Properties of Gemini's dialect: what is written is read back as it was, a stream says what the whole answer says,
//! whatever it consists of, and no input makes a reader panic.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tidegate_wire::carry::Signature;
use tidegate_wire::conversation::{Content, Media, MediaKind, MediaSource, Part, ToolCall};
use tidegate_wire::event::{Assembler, events_of};
use tidegate_wire::framing::SseDecoder;
use tidegate_wire::reply::{Choice, Finish, FinishReason, Reply, TokenLogprob};
use tidegate_wire::{
    Codec, Dialect, PathFacts, ReplyOptions, RequestOptions, TargetTraits, ThinkingStyle, Usage, gemini,
};

fn codec() -> &'static dyn Codec {
    Dialect::Gemini.codec()
}

/// Objects as callers and models write them.
fn object() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        ".{0,6}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(2, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec(("[a-z]{1,6}|output|error", inner), 0..3)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    });
    vec(("[a-z]{1,6}|output|error", value), 0..3).prop_map(|pairs| Value::Object(pairs.into_iter().collect()))
}

fn wire_part() -> impl Strategy<Value = Value> {
    let kind = prop_oneof![
        ".{0,8}".prop_map(|text| json!({"text": text})),
        ".{0,8}".prop_map(|text| json!({"text": text, "thought": true})),
        vec(any::<u8>(), 0..6).prop_map(|bytes| {
            use base64::Engine as _;
            json!({"inlineData": {"mimeType": "image/png", "data": base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)}})
        }),
        "(https://|gs://|files/)[a-z/.]{1,9}".prop_map(|uri| json!({"file_data": {"file_uri": uri}})),
        (option::of("[a-z]{1,4}"), "[a-z]{1,3}", object())
            .prop_map(|(id, name, args)| json!({"functionCall": {"id": id, "name": name, "args": args}})),
        (option::of("[a-z]{1,4}"), "[a-z]{1,3}", object())
            .prop_map(|(id, name, response)| json!({"function_response": {"id": id, "name": name, "response": response}})),
        Just(json!({"executableCode": {"code": "1"}})),
    ];
    (kind, option::of("[A-Za-z0-9]{4}"), any::<bool>()).prop_map(|(mut part, signature, has_more)| {
        if let Some(signature) = signature {
            part["thoughtSignature"] = json!(signature);
        }
        if has_more {
            part["partMetadata"] = json!({"k": 1});
        }
        part
    })
}

fn wire_request() -> impl Strategy<Value = Value> {
    let role =
        prop_oneof![Just(json!("user")), Just(json!("model")), Just(json!("function")), Just(Value::Null)];
    let content =
        (role, vec(wire_part(), 0..4)).prop_map(|(role, parts)| json!({"role": role, "parts": parts}));
    let thinking = (option::of(-1_i64..2_000), option::of("LOW|HIGH|ODD"), option::of(any::<bool>()))
        .prop_map(|(budget, level, include)| json!({"thinkingBudget": budget, "thinkingLevel": level, "includeThoughts": include}));
    let mode = option::of("AUTO|ANY|NONE|VALIDATED|any|ODD");
    (vec(content, 0..5), option::of(thinking), mode, vec("[a-z]{1,3}", 0..3), option::of(object()), option::of(0_u32..5))
        .prop_map(|(contents, thinking, mode, names, schema, logprobs)| {
            json!({
                "contents": contents,
                "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": schema}], "googleSearch": {}}],
                "toolConfig": {"functionCallingConfig": {"mode": mode, "allowedFunctionNames": names}},
                "generationConfig": {
                    "thinkingConfig": thinking, "responseJsonSchema": schema, "logprobs": logprobs,
                    "responseLogprobs": logprobs.map(|count| count % 2 == 0)
                }
            })
        })
}

fn signature() -> impl Strategy<Value = Option<Signature>> {
    let origin = prop_oneof![Just(Dialect::Gemini), Just(Dialect::AnthropicMessages)];
    option::of((origin, "[A-Za-z0-9]{4,8}").prop_map(|(origin, data)| Signature::new(origin, data)))
}

fn answer_part() -> impl Strategy<Value = Part> {
    let content = prop_oneof![
        3 => ".{1,8}".prop_map(|text| Content::Text { text, citations: Vec::new() }),
        2 => ".{1,8}".prop_map(|text| Content::Reasoning { text }),
        1 => "[A-Z]{4}".prop_map(|data| Content::Media(Media {
            kind: MediaKind::Audio,
            media_type: Some("audio/wav".into()),
            source: MediaSource::Base64(data),
            name: None,
            detail: None,
            transcript: None,
        })),
        2 => ("[a-z]{1,4}", "[a-z]{1,4}", object()).prop_map(|(id, name, arguments)| Content::ToolCall(ToolCall {
            id,
            name,
            arguments: arguments.to_string(),
            free_text: false,
        })),
    ];
    (content, signature()).prop_map(|(content, signature)| Part { signature, ..Part::new(content) })
}

/// Answers of this dialect. Neighbours of one kind are one part on this wire, unless the first is signed.
fn answer() -> impl Strategy<Value = Reply> {
    let choice = (
        vec(answer_part(), 0..6),
        vec((".{1,4}", (-72..0_i32).prop_map(|eighths| f64::from(eighths) / 8.0)), 0..3),
    )
        .prop_map(|(parts, tokens)| {
            let mut kept: Vec<Part> = Vec::new();
            for part in parts {
                let continues = kept.last().is_some_and(|last| {
                    last.signature.is_none()
                        && matches!(
                            (&last.content, &part.content),
                            (Content::Text { .. }, Content::Text { .. })
                                | (Content::Reasoning { .. }, Content::Reasoning { .. })
                        )
                });
                if !continues {
                    kept.push(part);
                }
            }
            let has_calls = kept.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
            let reason = if has_calls { FinishReason::ToolCalls } else { FinishReason::Stop };
            let finish = Finish { reason, native: Some("STOP".into()), stop_sequence: None };
            let logprobs = tokens
                .into_iter()
                .map(|(token, logprob)| TokenLogprob { token, logprob, bytes: None, top: Vec::new() })
                .collect();
            Choice { parts: kept, finish: Some(finish), logprobs, ..Choice::default() }
        });
    let usage = (0..1_000_u64, 0..1_000_u64, 0..1_000_u64, 0..1_000_u64).prop_map(
        |(input, output, reasoning, audio)| Usage {
            input: input + audio,
            output: output + reasoning,
            reasoning,
            input_audio: audio,
            ..Usage::default()
        },
    );
    (vec(choice, 1..3), usage, option::of(0..4_000_000_000_i64)).prop_map(|(mut choices, usage, created)| {
        for (index, choice) in (0..).zip(&mut choices) {
            choice.index = index;
        }
        Reply {
            id: "answer-1".into(),
            model: "gemini-x".into(),
            choices,
            usage,
            created,
            service_tier: Some("default".into()),
            ..Reply::new(Dialect::Gemini)
        }
    })
}

fn read_stream(chunks: &[&[u8]]) -> Reply {
    let mut frames = SseDecoder::new();
    let mut decoder = codec().decoder();
    let mut events = Vec::new();
    for chunk in chunks {
        frames.push(Bytes::copy_from_slice(chunk));
        while let Some(frame) = frames.next_event() {
            decoder.decode(&frame.unwrap(), &mut events).unwrap();
        }
    }
    assert!(decoder.finish(&mut events));
    let mut assembler = Assembler::new(Dialect::Gemini);
    for event in events {
        assembler.push(event);
    }
    assembler.into_reply()
}

proptest! {
    #[test]
    fn what_is_read_of_a_request_is_read_again_when_it_was_written(request in wire_request()) {
        let facts = Some(PathFacts { model: "gemini-x", stream: false });
        let conversation = codec().parse_request(request.to_string().as_bytes(), facts).unwrap();
        for thinking in [ThinkingStyle::Level, ThinkingStyle::Budget, ThinkingStyle::None] {
            let traits = TargetTraits { thinking, ..TargetTraits::default() };
            let options = RequestOptions { model: "gemini-x", stream: false, traits: &traits };
            let rendered = codec().render_request(&conversation, &options);
            prop_assert!(rendered.losses.is_empty(), "{:?}", rendered.losses);
            let again = codec().parse_request(&rendered.body, facts).unwrap();
            prop_assert_eq!(&again, &conversation);
            let counted = gemini::render_count_request(&conversation, &options);
            prop_assert_eq!(&gemini::parse_count_request(&counted.body, "gemini-x").unwrap(), &conversation);
        }
    }

    #[test]
    fn an_answer_is_the_same_whole_and_streamed(reply in answer(), cut in 0_usize..400) {
        let whole = codec().render_reply(&reply, &ReplyOptions::default());
        prop_assert_eq!(&codec().parse_reply(&whole).unwrap(), &reply);
        let mut encoder = codec().encoder(ReplyOptions::default());
        let mut bytes = Vec::new();
        for event in events_of(&reply) {
            encoder.encode(&event, &mut bytes);
        }
        let (before, after) = bytes.split_at(cut.min(bytes.len()));
        prop_assert_eq!(&read_stream(&[before, after]), &reply);
    }

    #[test]
    fn answers_of_other_dialects_are_the_same_whole_and_streamed(mut reply in answer()) {
        reply.origin = Dialect::AnthropicMessages;
        let whole = codec().render_reply(&reply, &ReplyOptions::default());
        let mut encoder = codec().encoder(ReplyOptions::default());
        let mut bytes = Vec::new();
        for event in events_of(&reply) {
            encoder.encode(&event, &mut bytes);
        }
        prop_assert_eq!(read_stream(&[&bytes]), codec().parse_reply(&whole).unwrap());
    }

    #[test]
    fn nothing_makes_a_reader_panic(bytes in vec(any::<u8>(), 0..200), request in wire_request()) {
        let facts = Some(PathFacts { model: "m", stream: true });
        drop(codec().parse_request(&bytes, facts));
        drop(codec().parse_reply(&bytes));
        drop(codec().parse_error(400, &bytes));
        drop(gemini::parse_count_reply(&bytes));
        // A request is no answer, and an answer is no request.
        let body = request.to_string();
        drop(codec().parse_reply(body.as_bytes()));
        drop(codec().parse_error(429, body.as_bytes()));
        let wrong = Value::Object(Map::from_iter([("candidates".to_owned(), request["contents"].clone())]));
        drop(codec().parse_reply(wrong.to_string().as_bytes()));
    }
}
