//! What a caller wishes about who is asked: further models, an order of providers, a price that is not exceeded. Read by `accept`,
//! heeded by `plan`; within what the key allows, for every model that is named is checked like one that is asked for.
//!
//! Names and meanings are those of OpenRouter, whose users bring them along. In OpenAI's dialect they stand in the body, as `models` and
//! `provider`; everywhere they can stand in the headers `x-tidegate-models` and `x-tidegate-provider`, which count before the body.
//!
//! | module | for |
//! |---|---|
//! | `read` | the wishes as they are written, in body and headers |
//! | `names` | which configured providers a name means, and suffixes of models |
//! | `heed` | what the wishes do to the targets of a model |

mod heed;
mod names;
mod read;

use tidegate_catalog::Rate;

use crate::snapshot::Snapshot;

pub(crate) use heed::{Unwanted, unwanted, wished_place};
pub(crate) use names::without_suffix;
pub(crate) use read::read;

/// The members of a body that are wishes.
pub(crate) const MEMBERS: [&str; 2] = ["models", "provider"];

/// The kind of provider that understands these wishes itself.
const UNDERSTANDS: &str = "openrouter";

/// What a caller wishes about who is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Steering {
    /// Models to ask after the first one, in this order.
    pub(crate) models: Vec<String>,
    /// Whether one of them is known here, so that they are not meant for somebody else.
    knows_models: bool,
    /// Providers to ask first, in this order.
    pub(crate) order: Vec<Name>,
    /// The only providers to ask; all where empty.
    pub(crate) only: Vec<Name>,
    /// Providers not to ask.
    pub(crate) ignore: Vec<Name>,
    /// Whether others than the first choice may be asked.
    pub(crate) allow_fallbacks: bool,
    /// What is best.
    pub(crate) sort: Option<Sort>,
    /// Whether that holds over all models that are named, and not within each.
    pub(crate) sorts_across_models: bool,
    /// What a target may cost at most.
    pub(crate) max_price: MaxPrice,
    /// Whether only targets are asked that can express the whole request.
    pub(crate) require_parameters: bool,
    /// Members of `provider` that only a provider that understands them can heed: what was wished by them is dropped elsewhere.
    pub(crate) for_others: Vec<String>,
    /// Whether the wishes stand in the body, from which they are taken out for targets that do not know them.
    pub(crate) in_body: bool,
}

/// A provider as the caller names it, and which of the configured ones that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) written: String,
    /// The names of configured providers that are meant; none where the caller means somebody who is not configured.
    pub(crate) configured: Vec<std::sync::Arc<str>>,
}

/// What is best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    /// The cheapest for this call; `:floor`.
    Price,
    /// The most tokens a second; `:nitro`.
    Throughput,
    /// The first token soonest.
    Latency,
}

/// What a target may cost at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MaxPrice {
    /// A million tokens of input.
    pub(crate) prompt: Option<Rate>,
    /// A million tokens of output.
    pub(crate) completion: Option<Rate>,
}

impl Steering {
    /// Finds out which configured providers are meant. Before the first target is looked at.
    pub(crate) fn settle(&mut self, snapshot: &Snapshot) {
        for name in self.order.iter_mut().chain(&mut self.only).chain(&mut self.ignore) {
            name.configured = names::configured(snapshot, &name.written);
        }
        self.knows_models = self.models.iter().any(|name| {
            let (bare, _) = without_suffix(snapshot, name);
            bare == tidegate_config::AUTO || super::names::resolve(snapshot, bare).is_ok()
        });
    }

    /// Whether the wishes say themselves who is asked for this model, more than whom not to ask: in another order, other models
    /// behind it, by something that only some providers understand.
    pub(crate) fn chooses(&self, model: &str) -> bool {
        !self.order.is_empty()
            || self.sort.is_some()
            || !self.for_others.is_empty()
            || self.models.iter().any(|name| name != model)
    }

    /// Whether a provider gets the wishes as they stand in the body: it understands them, and the caller did not mean
    /// providers of this gateway by them.
    pub(crate) fn passes_to(&self, kind: &str) -> bool {
        let named = || self.order.iter().chain(&self.only).chain(&self.ignore);
        kind == UNDERSTANDS && named().all(|name| name.configured.is_empty())
    }

    /// Whether a provider gets this member of the body.
    pub(crate) fn keeps(&self, member: &str, kind: &str) -> bool {
        self.passes_to(kind) && (member != "models" || !self.knows_models)
    }
}
