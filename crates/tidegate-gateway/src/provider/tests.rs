//! A provider by itself: what it remembers of targets, over a reload as well, and what they cost.

use tidegate_policy::routing::Answering;
use tidegate_wire::FailureKind;

use super::*;
use crate::bill::Consumed;
use crate::health::Asking;

fn provider(base_url: &str, before: Option<&Provider>) -> Provider {
    let configured = tidegate_config::Provider {
        name: "house".into(),
        kind: "openai-compatible".into(),
        base_url: base_url.into(),
        keys: Vec::new(),
        headers: std::iter::empty().collect(),
        discount: tidegate_config::Discount::NONE,
        timeouts: tidegate_config::Timeouts::default(),
        health_check: None,
    };
    Provider::build(&configured, Catalog::builtin(), before, Clock::new()).unwrap()
}

fn target(provider: &Provider, settings: &Settings, model: &str) -> Arc<Target> {
    provider.target(model, Catalog::builtin(), settings)
}

#[test]
fn made_up_names_neither_fill_the_memory_nor_push_out_a_model_that_answers() {
    let settings = settings();
    let provider = provider("http://127.0.0.1:1/v1", None);
    let real = target(&provider, &settings, "real");
    Asking::begin(&real.health, Clock::new(), Moment::ZERO, Answering::Whole).succeed(Moment::from_secs(1));
    drop(real);
    for number in 0..3 * MAX_TARGETS {
        target(&provider, &settings, &format!("made-up-{number}"));
    }
    let known = provider.targets.read().unwrap();
    assert!(known.len() <= MAX_TARGETS && known.contains_key("real"), "{}", known.len());
    drop(known);
    let late = target(&provider, &settings, "late");
    assert!(Arc::ptr_eq(&late, &target(&provider, &settings, "late")), "a later model is remembered");
}

#[test]
fn a_reload_keeps_a_targets_breaker_at_the_same_address_only_and_lets_it_in_again() {
    let settings = settings();
    let now = Moment::from_secs(1);
    let before = provider("http://127.0.0.1:1/v1", None);
    for _ in 0..5 {
        target(&before, &settings, "down").health.fail(FailureKind::Overloaded, now);
    }
    target(&before, &settings, "missing").health.put_out(FailureKind::NoSuchModel, now);
    let after = provider("http://127.0.0.1:1/v1", Some(&before));
    let twice = provider("http://127.0.0.1:1/v1", Some(&after));
    let moved = provider("http://127.0.0.1:2/v1", Some(&before));
    let is_ready = |provider: &Provider, model: &str| {
        target(provider, &settings, model).health.readiness(now) == Readiness::Ready
    };
    assert!(!is_ready(&after, "down") && is_ready(&after, "missing"));
    assert!(!is_ready(&twice, "down"), "also where nobody asked in between");
    assert!(is_ready(&moved, "down"));
}

#[test]
fn what_a_target_costs_is_the_list_or_the_users_own_price_less_the_discount() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tidegate.yaml");
    let text = "providers: { house: { kind: openai-compatible, base_url: 'http://127.0.0.1:1/v1', discount: 12.5% }, \
                openai: { discount: 10%, api_key: x }, plain: { kind: openai, api_key: x } }\n\
                prices: { house/*: { input: 8, output: 16 }, house/own: { input: 0.4 }, openai/*: { output: 1 } }\n";
    std::fs::write(&path, text).unwrap();
    let sources = tidegate_config::Sources { config: Some(path), ..tidegate_config::Sources::of_process() };
    let settings = tidegate_config::load(&sources).unwrap();
    let kept = |name: &str, model: &str| {
        let provider =
            Provider::build(&settings.providers[name], Catalog::builtin(), None, Clock::new()).unwrap();
        let target = target(&provider, &settings, model);
        let bill = target.prices.as_ref().unwrap().bill(&Consumed::default());
        serde_json::from_str::<serde_json::Value>(bill.prices).unwrap()
    };
    let nano = |dollars: u64| dollars * 1_000_000_000;
    let any = kept("house", "any");
    assert_eq!(any, serde_json::json!({"input": nano(7), "output": nano(14), "discount": "12.5%"}));
    let own = kept("house", "own");
    assert_eq!(
        own,
        serde_json::json!({"input": 350_000_000, "discount": "12.5%"}),
        "its own entry alone counts"
    );
    let (listed, reduced) = (kept("plain", "gpt-5"), kept("openai", "gpt-5"));
    assert_eq!(listed.get("discount"), None);
    let input = |prices: &serde_json::Value| prices["input"].as_u64().unwrap();
    assert_eq!(input(&reduced) * 10, input(&listed) * 9, "the pattern does not set the input's price");
    assert_eq!(reduced["output"], 900_000_000);
}

fn settings() -> Settings {
    let sources = tidegate_config::Sources {
        config: None,
        listen: None,
        directory: std::env::temp_dir().join("tidegate-no-such-directory"),
        environment: tidegate_config::Environment::of_pairs([("OPENAI_API_KEY", "sk-1")]),
        keys_exist: false,
    };
    tidegate_config::load(&sources).unwrap()
}
