//! The one place that says what each kind of failure gets. The course of a call and the health of targets follow it; the
//! status that callers see is read from here too.

use tidegate_wire::FailureKind;

/// What one kind of failure gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Whether the same target is asked again.
    pub same_target: SameTarget,
    /// Whether the next target is asked.
    pub next_target: NextTarget,
    /// Whether, with a part of the answer sent already, another target goes on with it.
    pub in_stream_goes_on: bool,
    /// What it does to the target's health.
    pub health: HealthEffect,
    /// The status that the caller sees when nobody else can be asked. `None`: the provider's own.
    pub caller_status: Option<u16>,
}

/// Whether the same target is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameTarget {
    /// No.
    No,
    /// Once, at once, on a fresh connection.
    OnceFresh,
    /// Once, after a short wait.
    Once,
    /// When the provider says, if that fits the deadline and nobody else is ready.
    WhenProviderSays,
    /// After backoff with full jitter, as often as configured.
    AfterBackoff,
}

/// Whether the next target is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextTarget {
    /// No: it would answer the same, or nobody waits any more.
    No,
    /// Yes.
    Yes,
    /// Another key of the same provider, and then other targets.
    OtherKeyFirst,
    /// Only targets with a larger context window.
    LargerWindow,
    /// Only where the configuration says so (`fallback_on`).
    IfConfigured,
}

/// What a failure does to health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthEffect {
    /// Nothing: it was not the target's fault.
    None,
    /// It counts against the target.
    Counts,
    /// The key rests until the provider's limit is over.
    KeyCools,
    /// The key is out until a reload or a probe.
    KeyOut,
    /// The target is out until a reload or a probe.
    TargetOut,
}

/// The table.
pub fn rule(kind: FailureKind) -> Rule {
    use FailureKind as Kind;
    let (same_target, next_target, health, caller_status) = match kind {
        Kind::Unreachable => (SameTarget::OnceFresh, NextTarget::Yes, HealthEffect::Counts, Some(502)),
        Kind::Timeout => (SameTarget::No, NextTarget::Yes, HealthEffect::Counts, Some(504)),
        Kind::RateLimited => {
            (SameTarget::WhenProviderSays, NextTarget::OtherKeyFirst, HealthEffect::KeyCools, Some(429))
        }
        Kind::OutOfQuota => (SameTarget::No, NextTarget::OtherKeyFirst, HealthEffect::KeyOut, Some(503)),
        Kind::Overloaded => (SameTarget::AfterBackoff, NextTarget::Yes, HealthEffect::Counts, Some(503)),
        // Before the first token a cut or garbled stream is like any other answer that makes no sense.
        Kind::ProviderError | Kind::Malformed | Kind::Truncated => {
            (SameTarget::Once, NextTarget::Yes, HealthEffect::Counts, Some(502))
        }
        Kind::Credentials => (SameTarget::No, NextTarget::OtherKeyFirst, HealthEffect::KeyOut, Some(502)),
        Kind::NoSuchModel => (SameTarget::No, NextTarget::Yes, HealthEffect::TargetOut, Some(404)),
        Kind::BadRequest => (SameTarget::No, NextTarget::No, HealthEffect::None, None),
        Kind::ContextLength => (SameTarget::No, NextTarget::LargerWindow, HealthEffect::None, Some(400)),
        Kind::ContentPolicy => (SameTarget::No, NextTarget::IfConfigured, HealthEffect::None, Some(400)),
        Kind::Stalled => (SameTarget::No, NextTarget::Yes, HealthEffect::Counts, Some(504)),
        Kind::Cancelled => (SameTarget::No, NextTarget::No, HealthEffect::None, Some(499)),
    };
    // What a provider says against the request or the account (a filter, a limit) inside a stream is not the stream's
    // breaking: it would have been said of the whole answer too, and only what breaks is mended.
    let in_stream_goes_on = matches!(
        kind,
        Kind::Truncated | Kind::Stalled | Kind::Malformed | Kind::Overloaded | Kind::ProviderError
    );
    Rule { same_target, next_target, in_stream_goes_on, health, caller_status }
}
