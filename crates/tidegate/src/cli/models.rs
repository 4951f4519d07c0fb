//! `tidegate models`: what one can ask for, who serves it, at which price.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use tidegate_catalog::{Capability, Catalog, Mode, ModelFacts, PriceKind, PriceTier, Prices, Rate};
use tidegate_config::{Settings, Sources, load};
use tidegate_gateway::plan::{ListedModel, models_of, target_facts};

use super::serve::no_provider;
use crate::failure::Failure;
use crate::output::{Side, Table, grouped, print, print_json};

/// List the models that one can ask for
#[derive(Debug, Args)]
#[command(after_help = "Prices are US dollars for a million tokens; `tidegate.yaml` may override them.")]
pub(crate) struct Options {
    /// Only models whose name or target contains this
    #[arg(value_name = "TEXT")]
    filter: Option<String>,
    /// The configuration file [default: $TIDEGATE_CONFIG, else tidegate.yaml where it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Everything that is known, as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let settings = Arc::new(load(&Sources { config: options.config.clone(), ..Sources::of_process() })?);
    if settings.providers.is_empty() {
        return Err(no_provider(&settings));
    }
    let catalog = Catalog::builtin();
    let wanted = |model: &ListedModel| {
        options.filter.as_deref().is_none_or(|text| {
            model.name.contains(text) || model.targets.iter().any(|target| target.contains(text))
        })
    };
    let all = models_of(Arc::clone(&settings), catalog)?;
    let models: Vec<ListedModel> = all.iter().filter(|model| wanted(model)).cloned().collect();
    if let Some(filter) = options.filter.as_deref().filter(|_| models.is_empty()) {
        return Err(none_matches(filter, &all));
    }
    if options.json {
        let models: Vec<Value> = models.iter().map(|model| describe(model, &settings, catalog)).collect();
        return print_json(&Value::Array(models));
    }
    print(&table(&models, &settings, catalog))
}

fn none_matches(filter: &str, all: &[ListedModel]) -> Failure {
    let meant = tidegate_config::closest(filter, all.iter().map(|model| model.name.as_str()), 1);
    let help = match meant.first() {
        Some(meant) => format!("Did you mean `{meant}`?"),
        None => "`tidegate models` lists all of them.".to_owned(),
    };
    Failure::not_found(format!("no model's name or target contains `{filter}`"), help)
}

fn table(models: &[ListedModel], settings: &Settings, catalog: &Catalog) -> String {
    use Side::{Left, Right};
    let headings = [
        ("MODEL", Left),
        ("TARGET", Left),
        ("INPUT $/M", Right),
        ("OUTPUT $/M", Right),
        ("WINDOW", Right),
        ("CAN", Left),
    ];
    let mut table = Table::new(headings);
    for model in models {
        for (place, target) in model.targets.iter().enumerate() {
            let (facts, prices) = target_facts(settings, catalog, target);
            table.row([
                if place == 0 { model.name.clone() } else { String::new() },
                if model.is_entry { target.clone() } else { String::new() },
                price(prices.as_ref(), PriceKind::Input),
                price(prices.as_ref(), PriceKind::Output),
                facts
                    .and_then(|facts| facts.context_window)
                    .map_or_else(unknown, |window| grouped(window.into())),
                facts.map_or_else(unknown, abilities),
            ]);
        }
    }
    table.render()
}

/// What is not known is never shown as zero.
fn unknown() -> String {
    "?".to_owned()
}

fn price(prices: Option<&Prices>, kind: PriceKind) -> String {
    prices
        .and_then(|prices| prices.listed(PriceTier::Standard, kind))
        .map_or_else(unknown, |rate| rate.to_string())
}

/// What nearly every model can do, and so says little in a table.
const COMMON: [Capability; 4] =
    [Capability::ParallelTools, Capability::Streaming, Capability::System, Capability::ToolChoice];

/// What it is for, unless that is conversation, and what sets it apart.
fn abilities(facts: &ModelFacts) -> String {
    let mode = (facts.mode != Mode::Chat).then(|| facts.mode.name());
    let can = facts.capabilities.iter().filter(|can| !COMMON.contains(can)).map(Capability::name);
    mode.into_iter().chain(can).collect::<Vec<_>>().join(" ")
}

fn describe(model: &ListedModel, settings: &Settings, catalog: &Catalog) -> Value {
    let targets: Vec<Value> =
        model.targets.iter().map(|target| describe_target(target, settings, catalog)).collect();
    json!({ "name": model.name, "targets": targets })
}

fn describe_target(target: &str, settings: &Settings, catalog: &Catalog) -> Value {
    let (facts, prices) = target_facts(settings, catalog, target);
    let (provider, upstream_model) = target.split_once('/').unwrap_or(("", target));
    let standard = |(tier, kind, rate): (PriceTier, PriceKind, Rate)| {
        // As text, as decimal fractions do not survive binary numbers.
        (tier == PriceTier::Standard).then(|| (kind.name().to_owned(), Value::from(rate.to_string())))
    };
    let prices = prices.map(|prices| prices.iter().filter_map(standard).collect::<serde_json::Map<_, _>>());
    let can = facts.map(|facts| facts.capabilities.iter().map(Capability::name).collect::<Vec<_>>());
    json!({
        "target": target,
        "provider": provider,
        "upstream_model": upstream_model,
        "mode": facts.map(|facts| facts.mode.name()),
        "context_window": facts.and_then(|facts| facts.context_window),
        "max_output": facts.and_then(|facts| facts.max_output),
        "retires": facts.and_then(|facts| facts.retires.as_deref()),
        "capabilities": can,
        "dollars_per_million_tokens": prices,
    })
}
