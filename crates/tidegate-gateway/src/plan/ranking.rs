//! What `policy` needs to know to put targets in order: figures, the price of this very call, the session's affinity.

use smallvec::SmallVec;
use tidegate_catalog::{PriceKind, Prices, ServiceTier, cost};
use tidegate_policy::routing::{AffinityKey, Choice, Ranking, Standing, Strategy, affinity, rank};
use tidegate_policy::{Moment, Readiness};
use tidegate_wire::json::{Kind, Value};
use tidegate_wire::{Dialect, Usage};

use super::order::Planned;
use super::requirements::Needs;
use crate::accept::Call;
use crate::health::Glance;
use crate::provider::Target;

/// So many targets of a model are ranked without an allocation.
pub(super) const USUAL_TARGETS: usize = 12;

/// The choices of a ranking.
pub(super) type Choices = SmallVec<[Choice; USUAL_TARGETS]>;

/// An answer's tokens where nothing is known about it.
const USUAL_OUTPUT: f64 = 1_024.0;

/// The most of a system prompt, and of a first message, by which prompts are told apart. Provider caches work on prefixes of
/// a thousand tokens and more; what differs only after this many bytes shares enough of one.
const PREFIX_BYTES: usize = 8 * 1024;

/// Turns before the first one of the user: instructions. More of them are not looked at.
const PREFIX_TURNS: usize = 8;

/// Gathers what is known about these targets for this call.
pub(super) fn choices<'a>(
    strategy: Strategy,
    targets: impl Iterator<Item = (&'a Planned, u32)> + Clone,
    needs: &Needs<'_>,
    call: &Call,
    now: Moment,
) -> Choices {
    let by_price = matches!(strategy, Strategy::Cost | Strategy::Score(_));
    let likely =
        by_price.then(|| LikelyUse::of(needs, &targets.clone().map(|(planned, _)| &*planned.target)));
    let key = (strategy == Strategy::Sticky).then(|| affinity_key(call));
    targets
        .map(|(planned, weight)| {
            let target = &planned.target;
            let Glance { standing, measured } = target.health.glance(now);
            // A target is as good as its keys: with none that is ready it could only answer 429 or 401.
            let standing = match standing {
                Standing::Out => Standing::Out,
                standing if planned.provider.key_readiness(&target.health, now) == Readiness::Ready => {
                    standing
                }
                _ => Standing::Out,
            };
            Choice {
                weight,
                measured,
                price: likely.as_ref().and_then(|likely| likely.price_at(target)),
                affinity: key.map_or(0, |key| key.score(&target.label)),
                headroom: planned.provider.headroom(&target.health, now, needs.likely_input()),
                standing,
            }
        })
        .collect()
}

/// Puts them in order.
pub(super) fn ranked(strategy: Strategy, choices: &[Choice]) -> Ranking {
    rank(strategy, choices, fastrand::f64)
}

/// What a call will likely use, the same for all targets that are compared.
pub(super) struct LikelyUse {
    input: u64,
    output: u64,
    /// The share of the input that comes from a provider's cache, where the target itself has not shown any yet.
    cached_share: f64,
}

impl LikelyUse {
    /// From the request, and from what calls to these targets usually are. A target's own habits of answering at length do
    /// not count: which calls it got was no accident, and those would make it dear for ever.
    pub(super) fn of<'a>(needs: &Needs<'_>, targets: &(impl Iterator<Item = &'a Target> + Clone)) -> Self {
        let usual = |figure: fn(&Target) -> Option<f64>| mean(targets.clone().filter_map(figure));
        let output = usual(|target| target.health.usual().output()).unwrap_or(USUAL_OUTPUT);
        let asked = needs.asked_output().map_or(f64::MAX, tokens);
        let cached_share = usual(|target| target.health.usual().cached_share()).unwrap_or(0.0);
        Self { input: needs.likely_input(), output: whole(output.min(asked)), cached_share }
    }

    /// What it would cost there, in nano-dollars, where the price is known.
    pub(super) fn price_at(&self, target: &Target) -> Option<u64> {
        let prices = target.prices.as_ref()?.list();
        let usage = Usage {
            input: self.input,
            cache_read: self.cached(target, prices),
            output: self.output,
            ..Usage::default()
        };
        let cost = cost(&usage, prices, ServiceTier::Standard);
        cost.is_complete().then(|| u64::try_from(cost.total.0).unwrap_or(0))
    }

    /// Input that likely comes from the provider's cache.
    fn cached(&self, target: &Target, prices: &Prices) -> u64 {
        if prices.rate(PriceKind::CacheRead, ServiceTier::Standard, self.input).is_none() {
            return 0;
        }
        let share = target.health.usual().cached_share().unwrap_or(self.cached_share);
        whole(tokens(self.input) * share.clamp(0.0, 1.0)).min(self.input)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

fn tokens(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
fn whole(tokens: f64) -> u64 {
    tokens.clamp(0.0, f64::from(u32::MAX)) as u64
}

/// What a session, or prompts that begin alike, are told apart by.
pub(super) fn affinity_key(call: &Call) -> AffinityKey {
    if let Some(session) = &call.wishes.session {
        return AffinityKey::new(session.as_bytes());
    }
    let mut pieces: SmallVec<[u8; 128]> = SmallVec::new();
    let mut add = |value: Value<'_>| {
        let text = value.text();
        let piece = text.get(..PREFIX_BYTES).unwrap_or(text);
        pieces.extend_from_slice(&affinity(piece, "").to_le_bytes());
    };
    let document = &call.document;
    let (system, turns): (&[&str], &str) = match call.dialect {
        Dialect::OpenAiChat => (&[], "messages"),
        Dialect::AnthropicMessages => (&["system"], "messages"),
        Dialect::Gemini => (&["systemInstruction", "system_instruction"], "contents"),
    };
    system.iter().filter_map(|name| document.get(name)).for_each(&mut add);
    match document.get(turns) {
        Some(turns) if turns.kind() == Kind::Array => {
            for turn in turns.elements().take(PREFIX_TURNS) {
                add(turn);
                let role = turn.get("role").and_then(Value::as_string);
                if !matches!(role.as_deref(), Some("system" | "developer")) {
                    break;
                }
            }
        }
        Some(turns) => add(turns),
        None => {}
    }
    AffinityKey::new(&pieces)
}
