//! Properties of the Chat Completions dialect: what it writes it reads back as it was, whole or streamed, and nothing
//! that comes in makes it panic.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tidegate_wire::carry::Signature;
use tidegate_wire::conversation::{
    CacheMarker, Citation, Content, Conversation, Effort, FunctionTool, Media, MediaKind, MediaSource,
    Native, OutputFormat, Part, ReasoningRequest, Rest, Role, Sampling, Tool, ToolCall, ToolChoice,
    ToolResult, Turn,
};
use tidegate_wire::event::{Assembler, events_of};
use tidegate_wire::framing::SseDecoder;
use tidegate_wire::reply::{Choice, Finish, FinishReason, Reply, TokenLogprob};
use tidegate_wire::{
    CacheMarkers, Codec, Dialect, ReasoningBack, ReplyOptions, RequestOptions, TargetTraits, Usage,
};

const HERE: Dialect = Dialect::OpenAiChat;

fn codec() -> &'static dyn Codec {
    HERE.codec()
}

/// A target that takes everything that this wire has a form for.
fn lenient() -> TargetTraits {
    TargetTraits {
        top_k: true,
        cache_markers: CacheMarkers::CacheControl,
        google_signatures: true,
        reasoning_back: ReasoningBack::ReasoningDetails,
        reasoning_object: true,
        ..TargetTraits::default()
    }
}

fn words() -> impl Strategy<Value = String> {
    "[ -~äß→\n]{1,12}"
}

fn name() -> impl Strategy<Value = String> {
    "[a-z]{1,8}"
}

/// Fields that no version of this wire has.
fn rest() -> impl Strategy<Value = Rest> {
    vec(("x_[a-z]{1,4}", any::<u32>()), 0..2)
        .prop_map(|fields| fields.into_iter().map(|(name, value)| (name, value.into())).collect())
}

fn cache() -> impl Strategy<Value = Option<CacheMarker>> {
    option::weighted(0.2, prop_oneof![Just(CacheMarker::Short), Just(CacheMarker::Hour)])
}

fn media() -> impl Strategy<Value = Media> {
    let media = |kind, media_type: Option<&str>, source| Media {
        kind,
        media_type: media_type.map(str::to_owned),
        source,
        name: None,
        detail: None,
        transcript: None,
    };
    let base64 = || "[A-Za-z0-9]{4}".prop_map(MediaSource::Base64);
    let url = || "https://[a-z]{3}".prop_map(MediaSource::Url);
    prop_oneof![
        (base64(), option::of(name())).prop_map(move |(source, detail)| Media {
            detail,
            ..media(MediaKind::Image, Some("image/png"), source)
        }),
        url().prop_map(move |source| media(MediaKind::Image, None, source)),
        url().prop_map(move |source| media(MediaKind::Video, None, source)),
        url().prop_map(move |source| media(MediaKind::Audio, None, source)),
        base64().prop_map(move |source| media(MediaKind::Audio, Some("audio/mpeg"), source)),
        base64().prop_map(move |source| media(MediaKind::Audio, Some("audio/wav"), source)),
        (base64(), option::of(name())).prop_map(move |(source, name)| Media {
            name,
            ..media(MediaKind::Document, Some("application/pdf"), source)
        }),
        name().prop_map(move |id| media(MediaKind::Document, None, MediaSource::FileId(id))),
    ]
}

fn user_part() -> impl Strategy<Value = Part> {
    let content = prop_oneof![
        3 => words().prop_map(|text| Content::Text { text, citations: Vec::new() }),
        2 => media().prop_map(Content::Media),
        1 => any::<u8>().prop_map(|n| Content::Native(Native { dialect: HERE, value: json!({ "type": "future", "n": n }) })),
    ];
    (content, cache(), rest()).prop_map(|(content, cache, rest)| {
        let is_native = matches!(content, Content::Native(_));
        let (cache, rest) = if is_native { (None, Rest::new()) } else { (cache, rest) };
        Part { cache, rest, ..Part::new(content) }
    })
}

fn system_turn() -> impl Strategy<Value = Turn> {
    let role = prop_oneof![Just(Role::System), Just(Role::Developer)];
    let text = (words(), cache()).prop_map(|(text, cache)| Part { cache, ..Part::text(text) });
    (role, vec(text, 0..3), option::of(name()), rest()).prop_map(|(role, parts, name, rest)| Turn {
        role,
        name,
        parts,
        rest,
    })
}

fn user_turn() -> impl Strategy<Value = Turn> {
    (vec(user_part(), 0..4), option::of(name()), rest()).prop_map(|(parts, name, rest)| Turn {
        role: Role::User,
        name,
        parts,
        rest,
    })
}

/// A proof in this wire's own form: the detail that it stood in.
fn own_signature(name: &'static str, kind: &'static str) -> impl Strategy<Value = Signature> {
    "[a-z]{4}".prop_map(move |data| {
        let mut detail = json!({ "format": "anthropic-claude-v1", name: data, "type": kind });
        detail.sort_all_objects();
        Signature::new(HERE, detail.to_string())
    })
}

fn reasoning() -> impl Strategy<Value = Vec<Part>> {
    let text = (words(), option::of(own_signature("signature", "reasoning.text")))
        .prop_map(|(text, signature)| Part { signature, ..Part::new(Content::Reasoning { text }) });
    let redacted = own_signature("data", "reasoning.encrypted")
        .prop_map(|signature| Part { signature: Some(signature), ..Part::new(Content::RedactedReasoning) });
    vec(prop_oneof![3 => text, 1 => redacted], 0..3)
}

/// Calls with ids of their own: what one answer says of an id is what it means.
fn calls(turn: usize) -> impl Strategy<Value = Vec<Part>> {
    let signature = option::weighted(0.3, "[a-z]{4}".prop_map(|data| Signature::new(Dialect::Gemini, data)));
    let call = (name(), "\\{\"a\": ?[0-9]{1,25}\\}|", any::<bool>(), signature);
    vec(call, 0..3).prop_map(move |calls| {
        let calls = calls.into_iter().enumerate();
        calls
            .map(|(number, (name, arguments, free_text, signature))| {
                let id = format!("call_{turn}_{number}");
                let call = ToolCall { id, name, arguments, free_text };
                Part { signature, ..Part::new(Content::ToolCall(call)) }
            })
            .collect()
    })
}

/// An assistant's turn, and the turn that answers its calls.
fn assistant_turns(turn: usize) -> impl Strategy<Value = Vec<Turn>> {
    (reasoning(), option::of(words()), option::of(words()), calls(turn), rest(), words()).prop_map(
        |(mut parts, text, refusal, calls, rest, answer)| {
            parts.extend(text.map(Part::text));
            parts.extend(refusal.map(|refusal| Part::new(Content::Refusal(refusal))));
            let results: Vec<Part> = calls
                .iter()
                .filter_map(|part| match &part.content {
                    Content::ToolCall(call) => Some(Part::new(Content::ToolResult(ToolResult {
                        call_id: call.id.clone(),
                        name: Some(call.name.clone()),
                        parts: vec![Part::text(answer.clone())],
                        is_error: false,
                    }))),
                    _ => None,
                })
                .collect();
            parts.extend(calls);
            let mut turns = vec![Turn { rest, ..Turn::new(Role::Assistant, parts) }];
            if !results.is_empty() {
                turns.push(Turn::new(Role::User, results));
            }
            turns
        },
    )
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let exchange = |turn| (user_turn(), assistant_turns(turn));
    (vec(system_turn(), 0..2), exchange(0), exchange(1), user_turn()).prop_map(
        |(mut turns, (first, first_answers), (second, second_answers), last)| {
            turns.push(first);
            turns.extend(first_answers);
            turns.push(second);
            turns.extend(second_answers);
            turns.push(last);
            turns
        },
    )
}

fn tools() -> impl Strategy<Value = Vec<Tool>> {
    let function = (name(), option::of(words()), option::of(any::<bool>()), cache(), rest()).prop_map(
        |(name, description, strict, cache, rest)| {
            let parameters = Some(json!({ "type": "object", "properties": { "a": { "type": "integer" } } }));
            Tool::Function(FunctionTool { name, description, parameters, strict, cache, rest })
        },
    );
    let custom = name().prop_map(|name| {
        Tool::Native(Native { dialect: HERE, value: json!({ "type": "custom", "custom": { "name": name } }) })
    });
    vec(prop_oneof![3 => function, 1 => custom], 0..3)
}

fn tool_choice() -> impl Strategy<Value = Option<ToolChoice>> {
    option::of(prop_oneof![
        Just(ToolChoice::Auto),
        Just(ToolChoice::None),
        Just(ToolChoice::Required),
        name().prop_map(ToolChoice::Function),
        (any::<bool>(), vec(name(), 0..3))
            .prop_map(|(required, names)| ToolChoice::Allowed { required, names }),
    ])
}

/// A number with few digits: the JSON reader is exact to the last bit only for those.
fn decimal() -> impl Strategy<Value = f64> {
    (1..9_000_u16).prop_map(|thousandths| f64::from(thousandths) / 1_000.0)
}

fn number() -> impl Strategy<Value = Option<serde_json::Number>> {
    option::of(prop_oneof![
        any::<u16>().prop_map(Into::into),
        decimal().prop_map(|number| serde_json::Number::from_f64(number).unwrap()),
    ])
}

fn output() -> impl Strategy<Value = OutputFormat> {
    prop_oneof![
        Just(OutputFormat::Text),
        Just(OutputFormat::Json),
        (name(), option::of(words()), option::of(any::<bool>())).prop_map(|(name, description, strict)| {
            OutputFormat::JsonSchema {
                name: Some(name),
                description,
                schema: json!({ "type": "object" }),
                strict,
            }
        }),
    ]
}

fn reasoning_request() -> impl Strategy<Value = Option<ReasoningRequest>> {
    let how = prop_oneof![
        Just((None, None)),
        Just((Some(Effort::High), None)),
        Just((Some(Effort::None), None)),
        any::<u16>().prop_map(|budget| (None, Some(u64::from(budget)))),
    ];
    option::of((option::of(any::<bool>()), how, option::of(any::<bool>()))).prop_map(|wanted| {
        let (enabled, (effort, budget_tokens), include_text) = wanted?;
        let wanted = ReasoningRequest { enabled, effort, budget_tokens, include_text };
        (wanted != ReasoningRequest::default()).then_some(wanted)
    })
}

prop_compose! {
    fn conversation()(
        turns in turns(),
        tools in tools(),
        tool_choice in tool_choice(),
        (temperature, top_p, top_k, seed) in (number(), number(), number(), number()),
        (penalty, limit, choices) in (number(), option::of(any::<u32>()), option::of(1..9_u32)),
        (logprobs, output, reasoning) in (option::of(0..20_u32), output(), reasoning_request()),
        (stop, stream, parallel_tool_calls) in (vec(words(), 0..3), any::<bool>(), option::of(any::<bool>())),
        (verbosity, service_tier, user, rest) in (option::of(name()), option::of(name()), option::of(name()), rest()),
    ) -> Conversation {
        Conversation {
            turns,
            tools,
            tool_choice,
            sampling: Sampling {
                temperature, top_p, top_k, seed, frequency_penalty: penalty.clone(), presence_penalty: penalty,
            },
            max_output_tokens: limit.map(u64::from),
            choices,
            logprobs,
            output,
            reasoning,
            stop,
            stream,
            include_usage: stream,
            parallel_tool_calls,
            verbosity,
            service_tier,
            user,
            rest,
            ..Conversation::new(HERE, "model")
        }
    }
}

fn citation() -> impl Strategy<Value = Citation> {
    (name(), words(), 0..9_u64).prop_map(|(host, title, start)| {
        let url = format!("https://{host}");
        let inner = json!({ "url": url, "title": title, "start_index": start, "end_index": start + 1 });
        let native = json!({ "type": "url_citation", "url_citation": inner });
        Citation {
            url: Some(url),
            title: Some(title),
            cited_text: None,
            start: Some(start),
            end: Some(start + 1),
            native: Some(Native { dialect: HERE, value: native }),
        }
    })
}

fn logprob() -> impl Strategy<Value = TokenLogprob> {
    let plain = || {
        (words(), decimal().prop_map(|number| -number), option::of(vec(any::<u8>(), 0..3)))
            .prop_map(|(token, logprob, bytes)| TokenLogprob { token, logprob, bytes, top: Vec::new() })
    };
    (plain(), vec(plain(), 0..2)).prop_map(|(token, top)| TokenLogprob { top, ..token })
}

prop_compose! {
    fn choice()(
        mut parts in reasoning(),
        text in option::of((words(), vec(citation(), 0..2))),
        refusal in option::of(words()),
        image in option::of("[A-Za-z0-9]{4}"),
        calls in calls(0),
        logprobs in vec(logprob(), 0..2),
    ) -> Choice {
        parts.extend(text.map(|(text, citations)| Part::new(Content::Text { text, citations })));
        parts.extend(refusal.map(|refusal| Part::new(Content::Refusal(refusal))));
        parts.extend(image.map(|data| Part::new(Content::Media(Media {
            kind: MediaKind::Image,
            media_type: Some("image/png".to_owned()),
            source: MediaSource::Base64(data),
            name: None,
            detail: None,
            transcript: None,
        }))));
        let (reason, native) =
            if calls.is_empty() { (FinishReason::Stop, "stop") } else { (FinishReason::ToolCalls, "tool_calls") };
        parts.extend(calls);
        let finish = Finish { native: Some(native.to_owned()), ..Finish::new(reason) };
        Choice { index: 0, parts, finish: Some(finish), logprobs, rest: Rest::new() }
    }
}

prop_compose! {
    fn reply()(
        choices in vec(choice(), 1..3),
        counts in [0..1_000_u64, 0..1_000, 0..1_000, 0..1_000, 0..1_000, 0..1_000, 1_000..2_000, 1_000..2_000],
        service_tier in option::of(name()),
        fingerprint in option::of(name()),
    ) -> Reply {
        let [cache_read, cache_write_5m, input_audio, reasoning, output_audio, web_searches, input, output] = counts;
        let choices = choices.into_iter().enumerate();
        let fingerprint = fingerprint.map(|fingerprint| ("system_fingerprint".to_owned(), fingerprint.into()));
        Reply {
            id: "chatcmpl-1".to_owned(),
            model: "model".to_owned(),
            created: Some(1),
            choices: choices.map(|(index, choice)| Choice { index: u32::try_from(index).unwrap(), ..choice }).collect(),
            usage: Usage {
                // Tokens read from a cache are not the ones written to it.
                input: cache_read + cache_write_5m + input,
                output, cache_read, cache_write_5m, input_audio, reasoning, output_audio, web_searches,
                ..Usage::default()
            },
            service_tier,
            rest: fingerprint.into_iter().collect(),
            ..Reply::new(HERE)
        }
    }
}

/// JSON of any shape out of the words of this wire.
fn wire_json() -> impl Strategy<Value = Value> {
    let key = proptest::sample::select(vec![
        "model",
        "messages",
        "role",
        "content",
        "type",
        "text",
        "image_url",
        "url",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "id",
        "index",
        "tool_call_id",
        "choices",
        "delta",
        "message",
        "finish_reason",
        "usage",
        "prompt_tokens",
        "completion_tokens_details",
        "reasoning_tokens",
        "reasoning_details",
        "signature",
        "data",
        "reasoning",
        "thinking",
        "error",
        "code",
        "metadata",
        "raw",
        "logprobs",
        "annotations",
        "url_citation",
        "audio",
        "images",
        "extra_content",
        "google",
        "thought_signature",
        "tools",
        "tool_choice",
        "response_format",
        "stop",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        proptest::sample::select(vec![
            "",
            "m",
            "user",
            "assistant",
            "tool",
            "text",
            "stop",
            "function",
            "{}",
            "custom"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        let fields = vec((key.clone(), inner.clone()), 0..6);
        prop_oneof![
            2 => fields.prop_map(|fields| Value::Object(
                fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>(),
            )),
            1 => vec(inner, 0..4).prop_map(Value::Array),
        ]
    })
}

fn decode(stream: Vec<u8>) -> Reply {
    let mut frames = SseDecoder::new();
    frames.push(Bytes::from(stream));
    let mut decoder = codec().decoder();
    let mut assembler = Assembler::new(HERE);
    let mut events = Vec::new();
    while let Some(frame) = frames.next_event() {
        decoder.decode(&frame.unwrap(), &mut events).unwrap();
    }
    assert!(decoder.finish(&mut events));
    for event in events {
        assembler.push(event);
    }
    assembler.into_reply()
}

proptest! {
    #[test]
    fn a_request_that_was_written_is_read_back_as_it_was(conversation in conversation()) {
        let traits = lenient();
        let options = RequestOptions { model: "model", stream: conversation.stream, traits: &traits };
        let rendered = codec().render_request(&conversation, &options);
        prop_assert!(rendered.losses.is_empty(), "{:?}", rendered.losses);
        prop_assert_eq!(codec().parse_request(&rendered.body, None).unwrap(), conversation);
    }

    #[test]
    fn an_answer_that_was_written_is_read_back_as_it_was(reply in reply()) {
        let rendered = codec().render_reply(&reply, &ReplyOptions::default());
        prop_assert_eq!(codec().parse_reply(&rendered).unwrap(), reply);
    }

    #[test]
    fn an_answer_says_the_same_whole_and_streamed(reply in reply()) {
        let options = ReplyOptions { include_usage: true, ..ReplyOptions::default() };
        let mut encoder = codec().encoder(options.clone());
        let mut stream = Vec::new();
        for event in events_of(&reply) {
            encoder.encode(&event, &mut stream);
        }
        let whole = codec().parse_reply(&codec().render_reply(&reply, &options)).unwrap();
        prop_assert_eq!(decode(stream), whole);
    }

    #[test]
    fn a_foreign_target_or_caller_never_breaks_what_is_written(mut conversation in conversation(), mut reply in reply()) {
        for origin in [Dialect::AnthropicMessages, Dialect::Gemini] {
            conversation.origin = origin;
            reply.origin = origin;
            let traits = TargetTraits::default();
            let options = RequestOptions { model: "model", stream: true, traits: &traits };
            let rendered = codec().render_request(&conversation, &options);
            let again = codec().parse_request(&rendered.body, None).unwrap();
            prop_assert!(again.rest.is_empty(), "{:?}", again.rest);
            let rendered = codec().render_reply(&reply, &ReplyOptions::default());
            prop_assert_eq!(codec().parse_reply(&rendered).unwrap().usage, reply.usage);
        }
    }

    #[test]
    fn nothing_that_comes_in_makes_it_panic(value in wire_json(), status in 100..600_u16) {
        let body = value.to_string();
        let _ = codec().parse_request(body.as_bytes(), None);
        if let Ok(reply) = codec().parse_reply(body.as_bytes()) {
            codec().parse_reply(&codec().render_reply(&reply, &ReplyOptions::default())).unwrap();
        }
        prop_assert!(!codec().parse_error(status, body.as_bytes()).message.is_empty());
        let mut frames = SseDecoder::new();
        frames.push(Bytes::from(format!("data: {body}\n\n")));
        let mut decoder = codec().decoder();
        let mut events = Vec::new();
        while let Some(frame) = frames.next_event() {
            let _ = decoder.decode(&frame.unwrap(), &mut events);
        }
        decoder.finish(&mut events);
    }
}
