//! The labelled prompts, told apart. Every third of each label was left out when the weights were chosen.

use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};
use tidegate_store::CallId;
use tidegate_wire::Dialect;

use super::*;
use crate::accept::{Arrival, Operation, PathParts, accept};
use crate::admit::Principal;

struct Labelled {
    label: String,
    is_held_out: bool,
    prompt: String,
    value: f64,
}

fn call(dialect: Dialect, body: &Value) -> Call {
    let path = (dialect == Dialect::Gemini).then(|| PathParts {
        model: "auto".to_owned(),
        stream: false,
        json_array: false,
    });
    let arrival = Arrival {
        at: Instant::now(),
        operation: Operation::Chat,
        dialect,
        path,
        principal: Principal::anonymous(None),
        end_user: None,
        headers: HeaderMap::new(),
        body: Bytes::from(body.to_string()),
    };
    accept(CallId::now(), arrival).unwrap()
}

fn chat(prompt: &str) -> Call {
    call(Dialect::OpenAiChat, &json!({"model": "auto", "messages": [{"role": "user", "content": prompt}]}))
}

fn labelled() -> Vec<Labelled> {
    let lines = include_str!("prompts.jsonl").lines();
    lines
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let prompt = line["prompt"].as_str().unwrap().to_owned();
            Labelled {
                label: line["label"].as_str().unwrap().to_owned(),
                is_held_out: line["held_out"].as_bool().unwrap(),
                value: assess(&chat(&prompt)).value,
                prompt,
            }
        })
        .collect()
}

/// How often one of the harder is above one of the easier.
fn separation(prompts: &[&Labelled], easier: &str, harder: &str) -> f64 {
    let of =
        |label: &str| prompts.iter().filter(|it| it.label == label).map(|it| it.value).collect::<Vec<_>>();
    let (easier, harder) = (of(easier), of(harder));
    let mut points = 0.0;
    for hard in &harder {
        for easy in &easier {
            points += if hard > easy {
                1.0
            } else if (hard - easy).abs() < 1e-9 {
                0.5
            } else {
                0.0
            };
        }
    }
    points / f64::from(u32::try_from(easier.len() * harder.len()).unwrap())
}

fn accuracy(prompts: &[&Labelled]) -> f64 {
    let Thresholds { medium, large } = Thresholds::default();
    let right = prompts.iter().filter(|prompt| {
        let label = if prompt.value >= large {
            "hard"
        } else if prompt.value >= medium {
            "medium"
        } else {
            "easy"
        };
        label == prompt.label
    });
    f64::from(u32::try_from(right.count()).unwrap()) / f64::from(u32::try_from(prompts.len()).unwrap())
}

#[test]
fn labelled_prompts_are_told_apart_those_left_out_of_the_choice_of_weights_too() {
    let all = labelled();
    assert!(all.len() >= 60);
    for is_held_out in [false, true] {
        let prompts: Vec<&Labelled> = all.iter().filter(|prompt| prompt.is_held_out == is_held_out).collect();
        let (far, near_hard, near_easy) = (
            separation(&prompts, "easy", "hard"),
            separation(&prompts, "medium", "hard"),
            separation(&prompts, "easy", "medium"),
        );
        let accuracy = accuracy(&prompts);
        let shown: Vec<String> = prompts
            .iter()
            .map(|prompt| {
                let start: String = prompt.prompt.chars().take(60).collect();
                format!("{} {} {start}", prompt.label, assess(&chat(&prompt.prompt)))
            })
            .collect();
        let shown = shown.join("\n");
        let figures = format!(
            "held out: {is_held_out}; easy/hard {far:.3}, medium/hard {near_hard:.3}, easy/medium {near_easy:.3}, right {accuracy:.3}\n{shown}"
        );
        assert!(far > 0.99 && near_hard > 0.9 && near_easy > 0.85 && accuracy > 0.75, "{figures}");
    }
}

#[test]
fn all_dialects_get_the_same_figure_for_the_same_request() {
    let prompt = "Prove step by step that this must hold:\n```python\nx == y\n```";
    let openai = assess(&chat(prompt));
    let anthropic = call(
        Dialect::AnthropicMessages,
        &json!({"model": "auto", "max_tokens": 9, "messages": [{"role": "user", "content": [{"type": "text", "text": prompt}]}]}),
    );
    let gemini = call(Dialect::Gemini, &json!({"contents": [{"role": "user", "parts": [{"text": prompt}]}]}));
    for other in [anthropic, gemini] {
        assert_eq!(assess(&other), openai, "{:?}", other.dialect);
    }
}

#[test]
fn what_surrounds_the_question_counts() {
    let base = json!({"model": "auto", "messages": [{"role": "user", "content": "What is this?"}]});
    let value = |change: &dyn Fn(&mut Value)| {
        let mut body = base.clone();
        change(&mut body);
        assess(&call(Dialect::OpenAiChat, &body)).value
    };
    let plain = value(&|_| {});
    let harder: [&dyn Fn(&mut Value); 6] = [
        &|body| body["tools"] = json!(vec![json!({"type": "function", "function": {"name": "f"}}); 6]),
        &|body| body["response_format"] = json!({"type": "json_schema", "json_schema": {}}),
        &|body| body["reasoning_effort"] = json!("high"),
        &|body| {
            let image = json!({"type": "image_url", "image_url": {"url": "data:,"}});
            body["messages"][0]["content"] = json!([{"type": "text", "text": "What is this?"}, image]);
        },
        &|body| {
            body["messages"]
                .as_array_mut()
                .unwrap()
                .insert(0, json!({"role": "system", "content": "rule ".repeat(800)}));
        },
        &|body| {
            let turns = body["messages"].as_array_mut().unwrap();
            for _ in 0..8 {
                turns.insert(0, json!({"role": "assistant", "content": "I see."}));
                turns.insert(0, json!({"role": "user", "content": "And then?"}));
            }
        },
    ];
    for (place, change) in harder.into_iter().enumerate() {
        assert!(value(change) > plain, "{place}");
    }
}

#[test]
fn the_largest_texts_are_looked_at_in_part_and_strange_ones_without_a_crash() {
    for prompt in [
        "",
        "\u{0}",
        &"é".repeat(200_000),
        &"prove ".repeat(300_000),
        &"証明".repeat(100_000),
        &"```".repeat(50_000),
        "\u{130}\u{130}ı\u{345}",
    ] {
        let Difficulty { value, .. } = assess(&chat(prompt));
        assert!((0.0..=1.0).contains(&value));
    }
    for content in [json!(null), json!(3), json!([3, null, {}]), json!({"text": 3}), json!([[["a"]]])] {
        let body = json!({"model": "auto", "messages": [{"role": "user", "content": content}, 3, "a", null]});
        assess(&call(Dialect::OpenAiChat, &body));
    }
}

#[test]
fn the_choice_follows_the_thresholds_and_says_why() {
    let auto = |medium: Option<&str>, thresholds| Auto {
        small: "fast".to_owned(),
        medium: medium.map(str::to_owned),
        large: "best".to_owned(),
        thresholds,
    };
    let hard = chat("Prove that the algorithm terminates, analyse its complexity and derive a lower bound.");
    let usual = Thresholds { medium: 0.2, large: 0.3 };
    let chosen = route(&auto(Some("smart"), usual), &hard);
    assert_eq!((chosen.size, &*chosen.model), (Size::Large, "best"));
    let shown = chosen.to_string();
    assert!(shown.starts_with("large; difficulty=0.") && shown.contains("reasoning=0."), "{shown}");
    assert!(shown.is_ascii() && shown.len() < 300);
    let between = Thresholds { medium: 0.0, large: 1.0 };
    assert_eq!(route(&auto(Some("smart"), between), &chat("Hi")).model, "smart");
    assert_eq!(route(&auto(None, between), &hard).model, "fast");
}
