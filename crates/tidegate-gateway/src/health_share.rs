//! Health that replicas share where Redis is there: which breakers have opened, which keys rest or are out. One future for
//! the whole process, run by the binary; no call ever waits for it.
//!
//! What another replica says is taken as if it had been seen here, with one exception: a target that has just answered a
//! call of our own is not given up for hearsay, because a replica may be cut off by itself. Without Redis each replica goes
//! by what it sees, as if it were alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ring::digest::{Context, SHA256};
use tidegate_policy::{BreakerState, Moment, Readiness};
use tidegate_store::HealthBoard;

use crate::gateway::Gateway;
use crate::health::KeyHealth;
use crate::provider::{Key, Provider, Target};
use crate::snapshot::Snapshot;

/// How often the board is read. What one replica knows, the others know within twice this time.
const EVERY: Duration = Duration::from_millis(250);

/// The most facts that are written at once; the others follow.
const MOST_AT_ONCE: usize = 256;

/// A fact that holds longer than the board says by no more than this is no news.
const SLACK: Duration = Duration::from_millis(100);

/// What can be known of a target or key, with the letter that it has on the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum About {
    /// A target's breaker is open.
    Breaker,
    /// A target's model was refused.
    Target,
    /// A key rests, everywhere or at a model.
    Rest,
    /// A key was refused, everywhere or at a model.
    Key,
}

impl About {
    fn letter(self) -> char {
        match self {
            Self::Breaker => 'b',
            Self::Target => 't',
            Self::Rest => 'r',
            Self::Key => 'k',
        }
    }
}

/// Shares health for as long as it is polled.
pub async fn share_health(gateway: Arc<Gateway>, board: HealthBoard) {
    // What the board says, as far as we know, and what of it held here, too, when we last looked, until when: written by us, or
    // taken over.
    let mut on_board: HashMap<String, Moment> = HashMap::new();
    let mut shared: HashMap<String, Moment> = HashMap::new();
    let mut is_away = false;
    loop {
        tokio::time::sleep(EVERY).await;
        let snapshot = gateway.snapshot();
        let now = gateway.clock.now();
        let news = news(&own(&snapshot, now), &on_board, &shared, now);
        match board.exchange(&news).await {
            Err(error) => {
                if !std::mem::replace(&mut is_away, true) {
                    tracing::debug!(%error, "the health of providers is not shared");
                }
                // Whatever it forgets meanwhile is written anew.
                on_board.clear();
            }
            Ok(facts) => {
                is_away = false;
                let now = gateway.clock.now();
                for (fact, lasts) in news {
                    if lasts.is_zero() {
                        shared.remove(&fact);
                    } else {
                        shared.insert(fact, now.saturating_add(lasts));
                    }
                }
                let facts: HashMap<String, Moment> =
                    facts.into_iter().map(|(fact, left)| (fact, now.saturating_add(left))).collect();
                if !facts.is_empty() || !on_board.is_empty() {
                    learn(&snapshot, &Heard { facts: &facts, before: &on_board, shared: &shared, now });
                    let own = own(&snapshot, now);
                    shared = facts
                        .iter()
                        .filter(|(fact, _)| own.contains_key(*fact) || shared.contains_key(*fact))
                        .map(|(fact, until)| (fact.clone(), *until))
                        .collect();
                }
                on_board = facts;
            }
        }
    }
}

/// What holds here by now.
fn own(snapshot: &Snapshot, now: Moment) -> HashMap<String, Moment> {
    let mut own = HashMap::new();
    for provider in snapshot.providers() {
        let mut add = |key: &Key, model: Option<&str>, health: &KeyHealth| match health.readiness(now) {
            Readiness::Ready => {}
            Readiness::Cooling { until } => {
                own.insert(of_key(About::Rest, provider, key, model), until);
            }
            Readiness::Out { probe_at, .. } => {
                own.insert(of_key(About::Key, provider, key, model), probe_at);
            }
        };
        let targets = provider.known_targets();
        for key in &provider.keys {
            add(key, None, &key.health);
            for target in &targets {
                if let Some(here) = target.health.troubled_keys().find(key.fingerprint()) {
                    add(key, Some(&target.model), &here);
                }
            }
        }
        for target in targets {
            if let Some(until) = target.health.out_until(now) {
                own.insert(of_target(About::Target, provider, &target), until);
            }
            if let BreakerState::Open { until } = target.health.breaker(now) {
                own.insert(of_target(About::Breaker, provider, &target), until);
            }
        }
    }
    own
}

/// What the board does not have yet, and what it still has although it no longer holds here: it was taken back by a reload, or
/// an answer has shown otherwise.
fn news(
    own: &HashMap<String, Moment>,
    on_board: &HashMap<String, Moment>,
    shared: &HashMap<String, Moment>,
    now: Moment,
) -> Vec<(String, Duration)> {
    let new = own.iter().filter_map(|(fact, until)| {
        let is_known = on_board.get(fact).is_some_and(|known| *until <= known.saturating_add(SLACK));
        (!is_known).then(|| (fact.clone(), until.saturating_sub(now)))
    });
    // What ends by itself is no news, and what somebody has seen anew since then is not for us to take back.
    let over = shared.iter().filter(|(fact, until)| {
        let is_the_same = on_board.get(*fact).is_some_and(|known| *known <= until.saturating_add(SLACK));
        is_the_same && !own.contains_key(*fact) && **until > now.saturating_add(SLACK)
    });
    over.map(|(fact, _)| (fact.clone(), Duration::ZERO)).chain(new).take(MOST_AT_ONCE).collect()
}

/// Takes over what others have written, and lets in whom they have let in.
fn learn(snapshot: &Snapshot, heard: &Heard<'_>) {
    let now = heard.now;
    for provider in snapshot.providers() {
        let targets = provider.known_targets();
        // There may be many pairs, and mostly nobody speaks of any.
        let keys = if heard.speaks_of_keys() { &provider.keys[..] } else { &[] };
        for key in keys {
            heard.of_key(provider, key, None, || Some(Arc::clone(&key.health)));
            for target in &targets {
                let here = || target.health.troubled_keys().get(key.fingerprint());
                heard.of_key(provider, key, Some(&target.model), here);
            }
        }
        for target in targets {
            let fact = of_target(About::Breaker, provider, &target);
            if let Some(until) = heard.until(&fact) {
                target.health.hear_of_outage(*until, now);
            } else if heard.is_over(&fact) {
                target.health.probe_soon(now);
            }
            let fact = of_target(About::Target, provider, &target);
            if let Some(until) = heard.until(&fact) {
                target.health.hear_of_refusal(*until, now);
            } else if heard.is_over(&fact) {
                target.health.probe_soon(now);
            }
        }
    }
}

/// What the board says.
struct Heard<'a> {
    facts: &'a HashMap<String, Moment>,
    /// What it said the last time.
    before: &'a HashMap<String, Moment>,
    /// What of it held here already.
    shared: &'a HashMap<String, Moment>,
    now: Moment,
}

impl Heard<'_> {
    /// Until when this holds, where that is new. What was known before holds here, or was found to hold no longer.
    fn until(&self, fact: &str) -> Option<&Moment> {
        let is_news = |until: &Moment| {
            let is_later =
                |known: Option<&Moment>| known.is_none_or(|known| *until > known.saturating_add(SLACK));
            is_later(self.shared.get(fact)) && is_later(self.before.get(fact))
        };
        self.facts.get(fact).filter(|until| is_news(until))
    }

    /// Whether this has vanished before its time: somebody took it back.
    fn is_over(&self, fact: &str) -> bool {
        !self.facts.contains_key(fact)
            && self.before.get(fact).is_some_and(|until| *until > self.now.saturating_add(SLACK))
    }

    fn speaks_of_keys(&self) -> bool {
        let of_keys = [About::Rest, About::Key].map(About::letter);
        self.facts.keys().chain(self.before.keys()).any(|fact| fact.starts_with(of_keys))
    }

    /// Takes over what is said of a key, everywhere or at a model.
    fn of_key(
        &self,
        provider: &Provider,
        key: &Key,
        model: Option<&str>,
        health: impl Fn() -> Option<Arc<KeyHealth>>,
    ) {
        let fact = of_key(About::Rest, provider, key, model);
        let until = self.until(&fact);
        if (until.is_some() || self.is_over(&fact))
            && let Some(health) = health()
        {
            until.map_or_else(|| health.rests_no_more(), |until| health.rest_until(*until));
        }
        let fact = of_key(About::Key, provider, key, model);
        let until = self.until(&fact);
        if (until.is_some() || self.is_over(&fact))
            && let Some(health) = health()
        {
            until.map_or_else(|| health.probe_soon(self.now), |until| health.out_until(*until));
        }
    }
}

/// The fact of a key, everywhere or at a model.
fn of_key(about: About, provider: &Provider, key: &Key, model: Option<&str>) -> String {
    let secret = key.value(0).map_or(&[][..], http::HeaderValue::as_bytes);
    match model {
        None => fact(about, provider, &[secret]),
        Some(model) => fact(about, provider, &[secret, model.as_bytes()]),
    }
}

fn of_target(about: About, provider: &Provider, target: &Target) -> String {
    fact(about, provider, &[target.model.as_bytes()])
}

/// The name of a fact: what it is about, told apart by a digest. Of secrets nothing else leaves the process, and who has
/// only the digest cannot guess a key of so many random bits.
fn fact(about: About, provider: &Provider, what: &[&[u8]]) -> String {
    let mut digest = Context::new(&SHA256);
    let address = provider.doors.first().map(|door| door.endpoint.to_string()).unwrap_or_default();
    for part in [provider.name.as_bytes(), address.as_bytes()].iter().chain(what) {
        digest.update(&part.len().to_le_bytes());
        digest.update(part);
    }
    let mut name = String::with_capacity(34);
    name.push(about.letter());
    name.push(':');
    for byte in digest.finish().as_ref().iter().take(16) {
        for digit in [byte >> 4, byte & 0xf] {
            name.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    name
}
