//! What a model's name can ask for.

use std::time::Duration;

/// Everything that a name (its parts joined) asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Behaviour {
    /// An error in place of an answer.
    pub(crate) refuse: Option<Failure>,
    /// Something wrong with how the answer is sent.
    pub(crate) fault: Option<Fault>,
    /// Whether `refuse` holds for this call, where that depends on earlier ones.
    pub(crate) history: Option<History>,
    pub(crate) first_token: Option<Duration>,
    pub(crate) tokens_per_second: Option<f64>,
    pub(crate) tokens: Option<u32>,
    pub(crate) echo: bool,
    pub(crate) describe: bool,
    pub(crate) differently: bool,
    pub(crate) tools: bool,
    pub(crate) parallel_tools: bool,
    pub(crate) thinking: bool,
    pub(crate) redacted: bool,
    pub(crate) reasoning_content: bool,
    pub(crate) signed_calls: bool,
    pub(crate) citations: bool,
    pub(crate) refusal: bool,
    pub(crate) content_filter: bool,
    pub(crate) cached: bool,
    pub(crate) no_usage: bool,
}

/// The errors, each answered with the provider's own status, headers and words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    RateLimited {
        seconds: u64,
    },
    /// Only the `x-ratelimit-reset-*` headers say when to come back.
    RateLimitedReset {
        seconds: u64,
    },
    OutOfQuota,
    /// The provider's usual way to say it: 503, at Anthropic 529.
    Overloaded,
    Overloaded529,
    Server {
        status: u16,
    },
    /// A 200 whose body, or first event, is an error.
    InBand,
    Credentials {
        status: u16,
    },
    NoSuchModel,
    BadRequest,
    Unprocessable,
    TooLarge,
    /// Refused when the request has more tokens.
    ContextLength {
        window: u64,
    },
    ContentPolicy,
    /// A page of a proxy in front of the provider.
    Html {
        status: u16,
    },
}

/// What goes wrong while the answer is sent. Counts are tokens, unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An overload error inside the stream.
    OverloadedAfter(u64),
    /// A server error inside the stream.
    ErrorAfter(u64),
    /// The event of this number, counted from 1, is garbage.
    MalformedAt(u64),
    MalformedBody,
    /// The connection ends without the terminal event.
    CutAfter(u64),
    /// The same by a TCP reset.
    ResetAfter(u64),
    /// The connection ends before any header.
    CutBeforeHeaders,
    /// The same by a TCP reset.
    Reset,
    /// Everything but `[DONE]`, `message_stop`.
    NoDone,
    /// Headers, then nothing for ever.
    Stall,
    StallAfter(u64),
    /// Not even headers.
    Silent,
    /// A 200 without a body.
    EmptyBody,
    /// An answer without content.
    EmptyAnswer,
    /// One event of so many megabytes.
    HugeLine(u64),
    WrongContentType,
    /// `content-length` promises more than comes.
    LyingLength,
}

/// What depends on the calls of the same name before this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum History {
    /// The first so many calls fail.
    First(u64),
    /// Calls fail until so many seconds after the first.
    Until(u64),
    /// Good for so many seconds, then bad for as long, and so on, from the first call on.
    Flap(u64),
}

/// A second, as the names say it.
pub(crate) fn seconds(count: u64) -> Duration {
    // A day is longer than any test and any patience; more would overflow a timer.
    const LONGEST: u64 = 86_400;
    Duration::from_secs(count.min(LONGEST))
}
