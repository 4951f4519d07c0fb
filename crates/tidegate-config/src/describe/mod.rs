//! What would run, on one screen: the answer of `tidegate check` to a file without mistakes.

mod experiments;

use std::fmt::Write as _;
use std::time::Duration;

use crate::condition::Condition;
use crate::known::{self, Kind};
use crate::settings::{
    Auth, Auto, Bodies, KeepBodies, Key, KeySource, Ledger, Mix, Model, Origin, Policy, Provider, Queue,
    Recovery, Redaction, Server, Settings, Store, Strategy, Target, Thresholds, Timeouts, Unreachable,
};

/// Describes the settings for a person. Shows where keys come from, never a key.
pub fn describe(settings: &Settings) -> String {
    let mut page = String::new();
    // Writing into a `String` cannot fail.
    let _ = write_page(&mut page, settings);
    page
}

fn write_page(page: &mut String, settings: &Settings) -> std::fmt::Result {
    let server = &settings.server;
    let origin = match &settings.origin {
        Origin::File(path) => path.display().to_string(),
        Origin::Environment => "no file: providers found by their environment variables".to_owned(),
    };
    writeln!(page, "config     {origin}")?;
    let who = match server.auth {
        Auth::KeysOnceOneExists => "callers with a key, once one exists",
        Auth::Keys => "callers with a key",
        Auth::Open => "open to everybody",
    };
    writeln!(page, "listen     {} ({who})", server.listen)?;
    writeln!(
        page,
        "limits     body {}, drain {}",
        size(u64::try_from(server.max_body).unwrap_or(u64::MAX)),
        duration(server.drain)
    )?;
    if (server.max_calls, server.queue) != (Server::default().max_calls, Queue::default()) {
        let Queue { length, wait } = server.queue;
        writeln!(
            page,
            "calls      {} at once, {length} wait for up to {}",
            server.max_calls,
            duration(wait)
        )?;
    }
    if let Some(workers) = server.workers {
        writeln!(page, "workers    {workers}")?;
    }
    if !server.trusted_proxies.is_empty() {
        writeln!(page, "proxies    {} are believed about their callers", listed(&server.trusted_proxies))?;
    }
    writeln!(page, "data       {}", settings.data.display())?;
    write_kept(page, settings)?;
    for issuer in &settings.jwt {
        writeln!(page, "tokens     of {} for {}", issuer.issuer, issuer.audience.join(" or "))?;
    }
    writeln!(page, "deadlines  {}", deadlines(&settings.policy.timeouts))?;
    writeln!(page, "retry      {}", retry(&settings.policy))?;
    if settings.policy.recovery == Recovery::Continue {
        writeln!(page, "streams    {}", recovery(settings.policy.recovery))?;
    }

    writeln!(page, "\nproviders")?;
    if settings.providers.is_empty() {
        writeln!(
            page,
            "  none: set OPENAI_API_KEY, ANTHROPIC_API_KEY or GEMINI_API_KEY, or write `providers:`"
        )?;
    }
    let width = settings.providers.keys().map(String::len).max().unwrap_or(0);
    for provider in settings.providers.values() {
        write_provider(page, provider, width, &settings.policy)?;
    }
    if !settings.models.is_empty() {
        writeln!(page, "\nmodels")?;
    }
    for model in settings.models.values() {
        write_model(page, model, &settings.policy)?;
    }
    if let Some(auto) = &settings.auto {
        write_auto(page, auto)?;
    }
    if !settings.experiments.is_empty() {
        writeln!(page, "\nexperiments")?;
    }
    for experiment in settings.experiments.values() {
        experiments::write(page, experiment)?;
    }
    if !settings.prices.is_empty() {
        writeln!(page, "\nprices set here")?;
    }
    for name in settings.prices.keys() {
        writeln!(page, "  {name}")?;
    }
    if !settings.notices.is_empty() {
        writeln!(page, "\nnotices")?;
    }
    for notice in &settings.notices {
        writeln!(page, "  {notice}")?;
    }
    Ok(())
}

fn write_kept(page: &mut String, settings: &Settings) -> std::fmt::Result {
    if let Store::Postgres(url) = &settings.store {
        writeln!(page, "store      {}", url.address())?;
    }
    if let Some(shared) = &settings.shared {
        let otherwise = match shared.unreachable {
            Unreachable::Local => "each replica limits its part while it is away",
            Unreachable::Deny => "limited calls are refused while it is away",
        };
        writeln!(page, "shared     {} ({otherwise})", shared.url.address())?;
    }
    let ledger = &settings.ledger;
    if *ledger == Ledger::default() {
        return Ok(());
    }
    if !ledger.enabled {
        return writeln!(page, "ledger     none");
    }
    let age = ledger.retention.age.map(|age| format!("calls kept for {}", duration(age)));
    let room = ledger.retention.size_bytes.map(|bytes| format!("calls kept in {}", size(bytes)));
    let parts = [Some(format!("journal {}", size(ledger.journal_bytes))), age, room, bodies(&ledger.bodies)];
    writeln!(page, "ledger     {}", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

fn bodies(bodies: &Bodies) -> Option<String> {
    let which = match bodies.keep {
        KeepBodies::None => return None,
        KeepBodies::Errors => "bodies of failed calls",
        KeepBodies::All => "bodies of all calls",
    };
    let names: Vec<&str> = bodies.redact.iter().map(Redaction::name).collect();
    let redacted = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    Some(format!(
        "{which} up to {} (redacted: {redacted})",
        size(u64::try_from(bodies.max).unwrap_or(u64::MAX))
    ))
}

fn listed<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

fn write_provider(
    page: &mut String,
    provider: &Provider,
    width: usize,
    general: &Policy,
) -> std::fmt::Result {
    let name = &provider.name;
    let kind = if provider.kind == *name { String::new() } else { format!(" ({})", provider.kind) };
    writeln!(page, "  {name:width$}  {}{kind}", provider.base_url)?;
    let keys = match provider.keys.as_slice() {
        [] if known::find_kind(&provider.kind).is_some_and(Kind::needs_key) => {
            "no key here: calls get a 503 until the store keeps one (POST /admin/v1/credentials)".to_owned()
        }
        [] => "no key".to_owned(),
        [key] => format!("key {}", key_source(&key.source)),
        keys => {
            format!("{} keys: {}", keys.len(), keys.iter().map(weighted_key).collect::<Vec<_>>().join(", "))
        }
    };
    writeln!(page, "  {:width$}  {keys}", "")?;
    if !provider.headers.is_empty() {
        let names = provider.headers.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        writeln!(page, "  {:width$}  headers {names}", "")?;
    }
    if !provider.discount.is_none() {
        writeln!(page, "  {:width$}  {} off the prices", "", provider.discount)?;
    }
    if provider.timeouts != general.timeouts {
        writeln!(page, "  {:width$}  {}", "", deadlines(&provider.timeouts))?;
    }
    if let Some(check) = provider.health_check {
        writeln!(page, "  {:width$}  asked every {} whether it is there", "", duration(check.every))?;
    }
    Ok(())
}

fn write_model(page: &mut String, model: &Model, general: &Policy) -> std::fmt::Result {
    let mix;
    let strategy = match model.strategy {
        Strategy::Order => "in order",
        Strategy::Weighted => "by weight",
        Strategy::Latency => "the quickest to begin first",
        Strategy::Throughput => "the fastest writer first",
        Strategy::Cost => "the cheapest first",
        Strategy::LeastBusy => "the least busy first",
        Strategy::Sticky => "the same one for a conversation",
        Strategy::Score(weights) => {
            mix = mixed(weights);
            &mix
        }
    };
    let fallback = if model.fallback.is_empty() {
        String::new()
    } else {
        format!(", else {}", model.fallback.join(", "))
    };
    writeln!(page, "  {}: {strategy}{fallback}", model.name)?;
    if let Some(when) = &model.when {
        writeln!(page, "    when {}", line(when))?;
    }
    if let Some(hedge) = model.hedge {
        let late = hedge.after.map_or("than usual".to_owned(), |after| format!("than {}", duration(after)));
        writeln!(
            page,
            "    another one is asked when the first is later {late}, for at most {} of the calls",
            hedge.share
        )?;
    }
    let policy = &model.policy;
    if policy.timeouts != general.timeouts {
        writeln!(page, "    {}", deadlines(&policy.timeouts))?;
    }
    if policy.retry != general.retry {
        writeln!(page, "    {}", retry(policy))?;
    }
    if policy.recovery != general.recovery {
        writeln!(page, "    {}", recovery(policy.recovery))?;
    }
    for target in &model.targets {
        write_target(page, target, model)?;
    }
    Ok(())
}

fn write_target(page: &mut String, target: &Target, model: &Model) -> std::fmt::Result {
    let weight = match target.weight {
        0 => "  stand-by".to_owned(),
        1 if model.strategy != Strategy::Weighted => String::new(),
        weight => format!("  weight {weight}"),
    };
    let when = target.when.as_ref().map(|when| format!("  when {}", line(when))).unwrap_or_default();
    writeln!(page, "    {}/{}{weight}{when}", target.provider, target.model)?;
    if target.timeouts != model.policy.timeouts {
        writeln!(page, "      {}", deadlines(&target.timeouts))?;
    }
    Ok(())
}

fn mixed(mix: Mix) -> String {
    let Mix { price, latency, throughput, reliability } = mix;
    let parts =
        [("price", price), ("latency", latency), ("throughput", throughput), ("reliability", reliability)];
    let parts = parts.into_iter().filter(|(_, weight)| *weight > 0.0);
    let parts: Vec<String> = parts.map(|(name, weight)| format!("{name} {weight}")).collect();
    format!("by a mix of {}", parts.join(", "))
}

/// A condition that was written over several lines, on one.
fn line(condition: &Condition) -> String {
    condition.text().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn recovery(recovery: Recovery) -> &'static str {
    match recovery {
        Recovery::Error => "a stream that breaks ends with an error event",
        Recovery::Continue => "a stream that breaks goes on at another target",
    }
}

fn write_auto(page: &mut String, auto: &Auto) -> std::fmt::Result {
    let Thresholds { medium, large } = auto.thresholds;
    write!(page, "  auto: {}", auto.small)?;
    if let Some(model) = &auto.medium {
        write!(page, ", from difficulty {medium} on {model}")?;
    }
    writeln!(page, ", from difficulty {large} on {}", auto.large)
}

fn weighted_key(key: &Key) -> String {
    let weight = if key.weight == 1 { String::new() } else { format!(" (weight {})", key.weight) };
    format!("{}{weight}", key_source(&key.source))
}

fn key_source(source: &KeySource) -> String {
    match source {
        KeySource::Variable(name) => format!("from {name}"),
        KeySource::File(path) => format!("from {path}"),
        KeySource::Inline => "from the configuration file".to_owned(),
        KeySource::Stored(label) => format!("`{label}` from the store"),
    }
}

fn deadlines(timeouts: &Timeouts) -> String {
    let Timeouts { connect, first_token, answer, idle, total } = *timeouts;
    format!(
        "connect {}, first token {}, whole answer {}, idle {}, total {}",
        duration(connect),
        duration(first_token),
        duration(answer),
        duration(idle),
        duration(total)
    )
}

fn retry(policy: &Policy) -> String {
    let retry = &policy.retry;
    match retry.attempts {
        1 => "one try a target".to_owned(),
        attempts => format!(
            "{attempts} tries a target, {} to {} apart",
            duration(retry.backoff.shortest),
            duration(retry.backoff.longest)
        ),
    }
}

/// In the file's own notation: `1m30s`, `200ms`.
fn duration(duration: Duration) -> String {
    let mut millis = duration.as_millis();
    let mut text = String::new();
    for (unit, millis_per_unit) in
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)]
    {
        if millis >= millis_per_unit {
            let _ = write!(text, "{}{unit}", millis / millis_per_unit);
            millis %= millis_per_unit;
        }
    }
    text
}

/// In the file's own notation, exact: `32MiB`, `500000B`.
fn size(bytes: u64) -> String {
    for (unit, bytes_per_unit) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= bytes_per_unit && bytes.is_multiple_of(bytes_per_unit) {
            return format!("{}{unit}", bytes / bytes_per_unit);
        }
    }
    format!("{bytes}B")
}
