//! Recorded answers, told to a caller of another dialect, who sends them back with the next question: what the provider
//! must see again (its thinking, its signatures, its calls with their ids) reaches it as it was.

use serde_json::{Value, json};
use tidegate_wire::{
    Dialect, PathFacts, ReasoningBack, ReplyOptions, RequestOptions, TargetTraits, ThinkingStyle,
};

use crate::compare;
use crate::corpus::{Answer, Exchange};
use crate::naive::{self, Item, Kind, Role};
use crate::report::{Direction, Report};

const MODEL: &str = "some-model";

pub(crate) fn check(exchange: &Exchange, report: &mut Report) {
    let Answer::Whole(answer) = &exchange.answer else { return };
    let from = exchange.dialect;
    let before = naive::reply(from, answer);
    let said = before.choices.first().map(|choice| choice.items.clone()).unwrap_or_default();
    let said = &said.into_iter().map(with_plain_arguments).collect::<Vec<_>>();
    if said.is_empty() {
        return;
    }
    let reply = from.codec().parse_reply(answer.to_string().as_bytes()).unwrap();
    let options = ReplyOptions { fallback_id: "fallback".to_owned(), ..ReplyOptions::default() };
    for to in Dialect::ALL.into_iter().filter(|to| *to != from) {
        let told: Value = serde_json::from_slice(&to.codec().render_reply(&reply, &options)).unwrap();
        let after = sent_again(from, to, &request_of(to, &told));
        let losses = compare::items(said, &after);
        report.carried(Direction { kind: "next turn", from, to }, &exchange.name, losses);
        if to == Dialect::OpenAiChat && said.iter().any(|item| item.kind == Kind::Call) {
            let after = sent_again(from, to, &request_of(to, &lean(&told)));
            let losses = compare::items(&needed(said), &needed(&after));
            report.carried(
                Direction { kind: "next turn by a lean client", from, to },
                &exchange.name,
                losses,
            );
        }
    }
}

/// The assistant's items in what the provider of the answer gets with the next question.
fn sent_again(from: Dialect, to: Dialect, request: &Value) -> Vec<Item> {
    let facts = PathFacts { model: MODEL, stream: false };
    let in_path = |dialect| (dialect == Dialect::Gemini).then_some(facts);
    let read = to.codec().parse_request(request.to_string().as_bytes(), in_path(to)).unwrap();
    let thinking = if from == Dialect::Gemini { ThinkingStyle::Level } else { ThinkingStyle::Budget };
    let traits = TargetTraits {
        google_signatures: true,
        reasoning_back: ReasoningBack::ReasoningDetails,
        thinking,
        ..TargetTraits::default()
    };
    let options = RequestOptions { model: MODEL, stream: false, traits: &traits };
    let sent = from.codec().render_request(&read, &options);
    let sent = naive::request(from, &serde_json::from_slice(&sent.body).unwrap());
    let said = sent.items.into_iter().filter(|item| item.role == Role::Assistant);
    said.map(with_plain_arguments).collect()
}

/// A client may write a call's arguments with other white space than the model did.
fn with_plain_arguments(item: Item) -> Item {
    let Some((call, arguments)) = item.what.rsplit_once("\n{").filter(|_| item.kind == Kind::Call) else {
        return item;
    };
    let arguments = naive::plain_or_canonical(&format!("{{{arguments}"));
    Item { what: format!("{call}\n{arguments}"), ..item }
}

/// A request that goes on from the answer, as a caller of the dialect writes it.
fn request_of(dialect: Dialect, answer: &Value) -> Value {
    match dialect {
        Dialect::OpenAiChat => {
            let message = &answer["choices"][0]["message"];
            let mut messages = vec![json!({ "role": "user", "content": "q" }), message.clone()];
            for call in message["tool_calls"].as_array().into_iter().flatten() {
                messages.push(json!({ "role": "tool", "tool_call_id": call["id"], "content": "r" }));
            }
            messages.push(json!({ "role": "user", "content": "go on" }));
            json!({ "model": MODEL, "messages": messages })
        }
        Dialect::AnthropicMessages => {
            let blocks = answer["content"].as_array().unwrap();
            let calls = blocks.iter().filter(|block| block["type"] == "tool_use");
            let mut content: Vec<Value> = calls
                .map(|call| json!({ "type": "tool_result", "tool_use_id": call["id"], "content": "r" }))
                .collect();
            content.push(json!({ "type": "text", "text": "go on" }));
            json!({ "model": MODEL, "max_tokens": 9, "messages": [
                { "role": "user", "content": "q" },
                { "role": "assistant", "content": blocks },
                { "role": "user", "content": content },
            ] })
        }
        Dialect::Gemini => {
            let content = &answer["candidates"][0]["content"];
            let calls = content["parts"].as_array().into_iter().flatten();
            let calls = calls.map(|part| &part["functionCall"]).filter(|call| !call.is_null());
            let mut parts: Vec<Value> = calls
                .map(|call| {
                    let response = json!({ "output": "r" });
                    json!({ "functionResponse": { "id": call["id"], "name": call["name"], "response": response } })
                })
                .collect();
            parts.push(json!({ "text": "go on" }));
            json!({ "contents": [
                { "role": "user", "parts": [{ "text": "q" }] },
                content,
                { "role": "user", "parts": parts },
            ] })
        }
    }
}

/// What many clients send of an answer: the text, and of a call its id, name and arguments.
fn lean(answer: &Value) -> Value {
    let message = &answer["choices"][0]["message"];
    let calls = message["tool_calls"].as_array().into_iter().flatten().map(|call| {
        let function =
            json!({ "name": call["function"]["name"], "arguments": call["function"]["arguments"] });
        json!({ "id": call["id"], "type": "function", "function": function })
    });
    let calls: Vec<Value> = calls.collect();
    let message = json!({ "role": "assistant", "content": message["content"], "tool_calls": calls });
    json!({ "choices": [{ "message": message }] })
}

/// What a provider insists on at its next turn: calls with what is signed of the reasoning before them.
fn needed(items: &[Item]) -> Vec<Item> {
    let is_needed = |item: &&Item| match item.kind {
        Kind::Call | Kind::Redacted => true,
        Kind::Reasoning => item.marks.contains_key("signature"),
        _ => false,
    };
    items.iter().filter(is_needed).cloned().collect()
}
