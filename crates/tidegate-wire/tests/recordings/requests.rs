//! Recorded requests, translated to each other dialect and back.

use serde_json::Value;
use tidegate_wire::{
    CacheMarkers, Dialect, Losses, PathFacts, ReasoningBack, RequestOptions, TargetTraits, ThinkingStyle,
};

use crate::compare;
use crate::corpus::Exchange;
use crate::naive;
use crate::reasons;
use crate::report::{Direction, Report};

/// Gemini's stands in the path.
const MODEL: &str = "some-model";

pub(crate) fn check(exchange: &Exchange, report: &mut Report) {
    let Some(request) = &exchange.request else { return };
    let from = exchange.dialect;
    let facts = PathFacts { model: MODEL, stream: exchange.stream };
    let facts_for = |dialect| (dialect == Dialect::Gemini).then_some(facts);
    let conversation = match from.codec().parse_request(request.to_string().as_bytes(), facts_for(from)) {
        Ok(conversation) => conversation,
        Err(error) => {
            // The provider refused it as well.
            assert!(
                matches!(exchange.answer, crate::corpus::Answer::Refused(..)),
                "{}: {error}",
                exchange.name
            );
            return;
        }
    };
    let before = naive::request(from, request);
    for to in Dialect::ALL.into_iter().filter(|to| *to != from) {
        let options = |traits| RequestOptions { model: MODEL, stream: exchange.stream, traits };
        let traits = traits_for(to, request);
        let there = to.codec().render_request(&conversation, &options(&traits));
        let read = to.codec().parse_request(&there.body, facts_for(to));
        let read = read.unwrap_or_else(|error| panic!("{} → {to}: {error}", exchange.name));
        let traits = traits_for(from, request);
        let back = from.codec().render_request(&read, &options(&traits));
        from.codec().parse_request(&back.body, facts_for(from)).unwrap();
        let json_of = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let there_naive = naive::request(to, &json_of(&there.body));
        let after = naive::request(from, &json_of(&back.body));

        let mut losses = compare::items(&before.items, &after.items);
        losses.extend(compare::told(&before.items, &there_naive.items, &losses));
        compare::trees("", &before.settings, &after.settings, &mut losses);
        let reported = Reported::new(&there.losses, &back.losses, &before.tools);
        let direction = Direction { kind: "request", from, to };
        for loss in &losses {
            if reasons::must_be_reported(direction, &loss.thing) && !reported.covers(&loss.thing) {
                report.fail(format!(
                    "not reported: {from} → {to} {}: {} {}; reported: {:?}",
                    exchange.name, loss.thing, loss.detail, reported.paths
                ));
            }
        }
        report.carried(direction, &exchange.name, losses);
    }
}

/// Targets that take everything that any server of the dialect takes, and the recorded one where the way leads back.
fn traits_for(dialect: Dialect, request: &Value) -> TargetTraits {
    let text = request.to_string();
    let by_level = ["\"adaptive\"", "\"effort\"", "thinkingLevel", "thinking_level", "reasoning_effort"];
    let thinking = if by_level.iter().any(|word| text.contains(word)) {
        ThinkingStyle::Level
    } else {
        ThinkingStyle::Budget
    };
    TargetTraits {
        max_completion_tokens_field: request.get("max_tokens").is_none(),
        top_k: true,
        google_signatures: true,
        reasoning_object: dialect == Dialect::OpenAiChat,
        cache_markers: if text.contains("prompt_cache_breakpoint") {
            CacheMarkers::Breakpoint
        } else {
            CacheMarkers::CacheControl
        },
        reasoning_back: ReasoningBack::ReasoningDetails,
        thinking,
        ..TargetTraits::default()
    }
}

/// The losses that the renderers reported, their places without numbers.
struct Reported {
    paths: Vec<String>,
}

impl Reported {
    fn new(there: &Losses, back: &Losses, tools: &[String]) -> Self {
        assert_eq!(there.unlisted() + back.unlisted(), 0, "more losses than are listed");
        let paths = there.fields().chain(back.fields()).map(|path| plain(path, tools)).collect();
        Self { paths }
    }

    /// Whether a lost thing is among them: by itself, as part of what is lost, or by a name that it goes by there.
    fn covers(&self, thing: &str) -> bool {
        let names = reasons::names_in_reports(thing);
        self.paths.iter().any(|path| {
            path == thing
                || thing.starts_with(&format!("{path}."))
                || path.starts_with(&format!("{thing}."))
                || names.iter().any(|name| path == name || path.ends_with(&format!(".{name}")))
        })
    }
}

/// `messages[2].content[0].detail` is `messages.content.detail`, and `tools[1].strict` is `tools.f.strict`.
fn plain(path: &str, tools: &[String]) -> String {
    let mut plain = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('[') {
        plain += before;
        let (number, after) = after.split_once(']').unwrap();
        if before == "tools"
            && let Some(key) = number.parse().ok().and_then(|number: usize| tools.get(number))
        {
            plain += ".";
            plain += key;
        }
        rest = after;
    }
    plain + rest
}
