//! The commands that answer and end, as a person types them: what they say, where, and with which exit code.

#![expect(clippy::expect_used, clippy::panic, reason = "a test may fail loudly")]

mod common;

use std::time::Duration;

use common::Workplace;
use serde_json::{Value, json};
use tidegate_store::{CallId, LedgerEntry, LedgerOptions, Outcome, Store, StoreOptions};

const TWO_TARGETS: &str = "
providers:
  openai: { api_key: secret-openai }
  anthropic: { api_key: secret-anthropic }
models:
  fast:
    targets: [openai/gpt-5-mini, anthropic/claude-haiku-4-5]
prices:
  openai/gpt-5-mini: { input: 0.125 }
";

#[test]
fn help_of_every_command_fits_a_screen() {
    let workplace = Workplace::new();
    let general = workplace.run(&["--help"]);
    assert_eq!(general.code, Some(0));
    let commands = commands_in(&general.output);
    assert!(commands.contains(&"serve") && commands.contains(&"usage"), "{commands:?}");
    for command in commands {
        let help = fits(&workplace, &["help", command]);
        for act in commands_in(&help).into_iter().filter(|act| *act != "help") {
            fits(&workplace, &["help", command, act]);
        }
    }
}

fn commands_in(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    lines.map_while(|line| line.strip_prefix("  ")?.split(' ').next()).collect()
}

fn fits(workplace: &Workplace, question: &[&str]) -> String {
    let help = workplace.run(question);
    assert_eq!((help.code, &*help.errors), (Some(0), ""), "{question:?}");
    assert!(help.output.lines().count() <= 24, "{question:?}:\n{}", help.output);
    let longest = help.output.lines().map(|line| line.chars().count()).max();
    assert!(longest <= Some(100), "{question:?}:\n{}", help.output);
    help.output
}

#[test]
fn wrong_usage_ends_with_2_and_says_nothing_on_standard_output() {
    let workplace = Workplace::new();
    for (arguments, hint) in [
        (&["sevre"][..], "serve"),
        (&["serve", "--listen", "everywhere"], "--listen"),
        (&["usage", "--by", "providr"], "did you mean `provider`?"),
        (&["usage", "--since", "yesterday"], "7d"),
        (&["usage", "--json", "--csv"], "--csv"),
        (&["usage", "--by", "model,model"], "twice"),
        (&["usage", "--by", "tag:app,model,tag:app"], "twice"),
        (&["usage", "--limit", "0"], "--limit"),
        (&["usage", "--only", "outcome=failed"], "rate_limited"),
        (&["usage", "--only", "outcome=timeuot"], "timeout"),
        (&["calls", "not-an-id"], "ID"),
    ] {
        let ended = workplace.run(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}");
        assert_eq!(ended.output, "", "{arguments:?}");
        assert!(ended.errors.contains(hint), "{arguments:?}: {}", ended.errors);
    }
}

#[test]
fn check_shows_every_mistake_with_its_place_and_what_was_meant() {
    let workplace = Workplace::new();
    workplace.write("tidegate.yaml", "server:\n  lisen: 1\nproviders:\n  opnai: {}\n");
    let ended = workplace.run(&["check"]);
    assert_eq!((ended.code, ended.output.as_str()), (Some(2), ""));
    for part in ["tidegate.yaml:2:3", "did you mean `listen`?", "tidegate.yaml:4:3", "openai"] {
        assert!(ended.errors.contains(part), "{part} is not in:\n{}", ended.errors);
    }
}

#[test]
fn check_describes_what_would_run_and_shows_no_key() {
    let workplace = Workplace::new();
    workplace.write("tidegate.yaml", TWO_TARGETS);
    let ended = workplace.run(&["check"]);
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""));
    for part in ["openai/gpt-5-mini", "https://api.anthropic.com", "127.0.0.1:8080"] {
        assert!(ended.output.contains(part), "{part} is not in:\n{}", ended.output);
    }
    assert!(!ended.output.contains("secret-"), "{}", ended.output);
}

#[test]
fn check_refuses_what_cannot_be_served_in_the_words_of_serve() {
    let workplace = Workplace::new();
    for configuration in [None, Some("providers: {}\n")] {
        if let Some(text) = configuration {
            workplace.write("tidegate.yaml", text);
        }
        let (checked, served) = (workplace.run(&["check"]), workplace.run(&["serve"]));
        assert_eq!((checked.code, &*checked.output), (Some(2), ""), "{configuration:?}");
        assert!(checked.errors.contains("no provider"), "{}", checked.errors);
        assert_eq!((checked.code, checked.errors), (served.code, served.errors), "{configuration:?}");
    }
}

#[test]
fn check_refuses_a_key_that_no_header_can_carry() {
    let workplace = Workplace::new().with("OPENAI_API_KEY", "two\nlines");
    let ended = workplace.run(&["check"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.errors.contains("openai") && ended.errors.contains("line break"), "{}", ended.errors);
    assert!(!ended.errors.contains("two"), "{}", ended.errors);
}

#[test]
fn models_lists_targets_with_the_prices_that_hold() {
    let workplace = Workplace::new();
    workplace.write("tidegate.yaml", TWO_TARGETS);
    let ended = workplace.run(&["models", "fast"]);
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let lines: Vec<Vec<&str>> = ended.output.lines().map(|line| line.split_whitespace().collect()).collect();
    let [_headings, first, second] = lines.as_slice() else { panic!("{}", ended.output) };
    assert_eq!(first.get(..4), Some(&["fast", "openai/gpt-5-mini", "0.125", "2"][..]));
    assert_eq!(second.first(), Some(&"anthropic/claude-haiku-4-5"));

    let json = workplace.run(&["models", "fast", "--json"]);
    let models: Value = serde_json::from_str(&json.output).expect("JSON");
    let target = &models[0]["targets"][0];
    assert_eq!(target["dollars_per_million_tokens"]["input"], "0.125");
    assert_eq!(target["upstream_model"], "gpt-5-mini");
    assert!(target["context_window"].as_u64() > Some(100_000), "{target}");
}

#[test]
fn what_is_not_there_ends_with_1_and_says_what_there_is() {
    let workplace = Workplace::new();
    workplace.write("tidegate.yaml", TWO_TARGETS);
    for (arguments, hint) in [
        (&["models", "zzz"][..], "tidegate models"),
        (&["models", "fsat"], "did you mean `fast`?"),
        (&["models", "zzz", "--json"], "zzz"),
        (&["keys", "show", "key_x"], "tidegate keys list"),
        (&["teams", "show", "nobody"], "tidegate teams list"),
        (&["orgs", "show", "nobody"], "tidegate orgs list"),
        (&["limits", "show", "team:nobody"], "tidegate teams list"),
        (&["credentials", "remove", "openai/main"], "tidegate credentials list"),
        (&["experiments", "nothing"], "no experiment `nothing`"),
        (&["calls", "01a204d4-0c17-70ed-87d5-c4613859f63c"], "01a204d4"),
    ] {
        let ended = workplace.run(arguments);
        assert_eq!((ended.code, &*ended.output), (Some(1), ""), "{arguments:?}: {}", ended.errors);
        assert!(ended.errors.to_lowercase().contains(hint), "{arguments:?}: {}", ended.errors);
    }
}

#[test]
fn schema_is_a_json_schema_that_knows_the_sections() {
    let ended = Workplace::new().run(&["schema"]);
    assert_eq!(ended.code, Some(0));
    let schema: Value = serde_json::from_str(&ended.output).expect("JSON");
    for section in ["server", "providers", "models", "prices"] {
        assert!(schema["properties"].get(section).is_some(), "{section}");
    }
}

#[test]
fn serving_without_a_provider_is_refused_with_the_ways_out() {
    let workplace = Workplace::new();
    let ended = workplace.run(&["serve"]);
    assert_eq!((ended.code, ended.output.as_str()), (Some(2), ""));
    for part in ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "tidegate demo", "tidegate.yaml"] {
        assert!(ended.errors.contains(part), "{part} is not in:\n{}", ended.errors);
    }
    assert!(!workplace.path().join("tidegate-data").exists(), "nothing was to be made");
}

#[test]
fn reading_a_ledger_that_is_not_there_says_where_it_was_looked_for() {
    let workplace = Workplace::new();
    for command in ["usage", "calls"] {
        let ended = workplace.run(&[command, "--data", "elsewhere"]);
        assert_eq!((ended.code, ended.output.as_str()), (Some(1), ""), "{command}");
        assert!(ended.errors.contains("elsewhere"), "{}", ended.errors);
    }
}

/// Calls that cost more and more, each for a model of its own.
async fn fill(workplace: &Workplace, calls: u64) {
    let store = Store::open(StoreOptions::embedded(workplace.path().join("data"))).await.expect("a store");
    let ledger = store.ledger(LedgerOptions::default()).await.expect("a ledger");
    for number in 1..=calls {
        ledger.reserve().expect("a seat").record(LedgerEntry {
            model: Some(format!("model-{number:04}").into()),
            organization_id: Some("org_acme".into()),
            outcome: Outcome::Answered,
            cost_nanodollars: Some(number * 1_000_000_000),
            charge_nanodollars: Some(number * 1_500_000_000),
            ..LedgerEntry::new(CallId::now(), "openai-chat", "chat")
        });
    }
    assert!(ledger.close(Duration::from_secs(20)).await.is_complete());
    store.close().await;
}

#[tokio::test]
async fn a_report_sums_up_what_it_leaves_out_and_says_so() {
    let workplace = Workplace::new();
    fill(&workplace, 1_005).await;
    let ask = |more: &[&str]| {
        let ended = workplace.run(&[&["usage", "--data", "data"], more].concat());
        assert_eq!(ended.code, Some(0), "{more:?}: {}", ended.errors);
        ended
    };
    for (more, said) in [
        (&[][..], "1,000 of 1,005 rows are shown; --limit 1005"),
        (&["--limit", "3", "--by", "outcome,model"], "3 of 1,005 rows are shown; --limit 1005"),
        (&["--limit", "1"], "1 of 1,005 rows are shown; --limit 1005"),
    ] {
        let table = ask(more);
        // 1 to 1,005 dollars.
        for part in ["\n1,005 calls, 505515 $\n", said] {
            assert!(table.output.contains(part), "{more:?}: {part} is not in:\n{}", table.output);
        }
        let (csv, json) = (ask(&[more, &["--csv"]].concat()), ask(&[more, &["--json"]].concat()));
        assert!(csv.errors.contains(said) && !csv.output.contains(" rows "), "{more:?}: {}", csv.errors);
        assert!(json.errors.contains(said), "{more:?}: {}", json.errors);
        serde_json::from_str::<Vec<Value>>(&json.output).expect("a list as ever");
    }
    let whole = ask(&["--limit", "1005"]);
    assert!(whole.output.ends_with("\n1,005 calls, 505515 $\n"), "{}", whole.output);
    assert_eq!(ask(&["--limit", "1005", "--csv"]).errors, "");
}

#[tokio::test]
async fn a_call_shows_its_organization_and_its_charge() {
    let workplace = Workplace::new();
    fill(&workplace, 1).await;
    let listed = workplace.run(&["calls", "--data", "data", "--json"]);
    let listed: Value = serde_json::from_str(&listed.output).expect("JSON");
    assert_eq!(
        (&listed[0]["organization"], &listed[0]["charge_usd"], &listed[0]["cost_usd"]),
        (&json!("org_acme"), &json!("1.5"), &json!("1"))
    );
    let id = listed[0]["id"].as_str().expect("an id");
    let one = workplace.run(&["calls", id, "--data", "data", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&one.output).expect("JSON"), listed[0]);
    let page = workplace.run(&["calls", id, "--data", "data"]).output;
    for (name, value) in [("organization", "org_acme"), ("charge_usd", "1.5")] {
        let line = page.lines().find(|line| line.starts_with(name)).expect("a line");
        assert_eq!(line.split_whitespace().collect::<Vec<_>>(), [name, value]);
    }
}

#[test]
fn a_log_filter_that_is_none_is_refused() {
    let workplace = Workplace::new().with("OPENAI_API_KEY", "k").with("TIDEGATE_LOG", "=loud=");
    let ended = workplace.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.errors.contains("TIDEGATE_LOG"), "{}", ended.errors);
}

#[test]
fn explain_tells_who_would_be_asked_and_why_not_the_others() {
    let workplace = Workplace::new();
    workplace.write(
        "tidegate.yaml",
        "providers: { openai: { api_key: secret }, anthropic: { api_key: secret } }\n\
         models: { fast: { strategy: cost, targets: [anthropic/claude-haiku-4-5, openai/gpt-5-mini, openai/gpt-3.5-turbo] } }\n",
    );
    let image = r#"{"model": "fast", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}]}"#;
    workplace.write("request.json", image);
    let ended = workplace.run(&["explain", "request.json", "--json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let explained: Value = serde_json::from_str(&ended.output).expect("JSON");
    assert_eq!(explained["order"][0]["target"], "openai/gpt-5-mini", "the cheapest that sees: {explained}");
    assert_eq!(explained["order"][1]["target"], "anthropic/claude-haiku-4-5");
    assert_eq!(explained["passed_over"][0]["says"], "sees no images");
    let ended = workplace.run(&["explain", "request.json", "--path", "/v1/messages"]);
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    for part in
        ["1.  openai/gpt-5-mini", "for this call", "would not be asked", "requirement: sees no images"]
    {
        assert!(ended.output.contains(part), "{part}: {}", ended.output);
    }
    workplace.write("broken.json", "{");
    for arguments in [&["explain", "broken.json"][..], &["explain", "request.json", "--path", "/v1/models"]] {
        let ended = workplace.run(arguments);
        assert_eq!((ended.code, &*ended.output), (Some(2), ""), "{}", ended.errors);
    }
}
