//! What happens to each frame of a stream: passed on as it came, with a light tap, or translated; or held, until it is
//! known to go on with what another target began.

use bytes::Bytes;
use tidegate_wire::continuation::{Departed, Following, Said};
use tidegate_wire::event::Event;
use tidegate_wire::framing::SseEvent;
use tidegate_wire::reply::FinishReason;
use tidegate_wire::tap::{StreamTap, is_token, says_something};
use tidegate_wire::{Dialect, ReplyError, ReplyOptions, ServedTier, StreamDecoder, StreamEncoder, Usage};

/// A stream on its way.
#[expect(
    clippy::large_enum_variant,
    reason = "passing through is the usual case, and lies in a box of its own already"
)]
pub(super) enum Track {
    /// Target and caller speak the same dialect.
    Pass {
        tap: StreamTap,
        dialect: Dialect,
        /// Whether frames with nothing but usage are withheld: the caller did not ask for them, Tidegate did.
        withholds_usage: bool,
        /// Whether a gap was left in what came, so that it cannot be forwarded chunk by chunk.
        has_gap: bool,
    },
    /// They do not.
    Translate(Box<Translated>),
}

pub(super) struct Translated {
    decoder: Box<dyn StreamDecoder>,
    outlet: Outlet,
    events: Vec<Event>,
    usage: Usage,
    has_usage: bool,
    /// Of an answer that did not come as a stream.
    tier: Option<ServedTier>,
    finish: Option<FinishReason>,
    tokens_seen: u64,
    has_said: bool,
    is_complete: bool,
}

/// Where a translated stream's events go.
enum Outlet {
    /// Nowhere yet: it is to go on with what another target began.
    Held { events: Vec<Event>, bytes: usize },
    /// To the caller.
    Caller {
        encoder: Box<dyn StreamEncoder>,
        /// What was told, where somebody else could go on with it.
        said: Option<Box<Said>>,
        /// What another target began.
        following: Option<Box<Following>>,
    },
}

/// Why a stream cannot go on as it came.
#[derive(Debug)]
pub(super) enum Broken {
    /// The provider's fault.
    Reply(ReplyError),
    /// It says something else than what it was to go on with.
    Departed,
}

impl From<Departed> for Broken {
    fn from(_: Departed) -> Self {
        Self::Departed
    }
}

/// What is left of a stream that broke: what the caller was told, and what can tell it more.
pub(super) struct Left {
    pub(super) said: Said,
    pub(super) encoder: Box<dyn StreamEncoder>,
}

/// What was seen of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) usage: Usage,
    pub(super) has_usage: bool,
    pub(super) tier: Option<ServedTier>,
    pub(super) tokens: u64,
    pub(super) finish: Option<&'static str>,
}

impl Track {
    pub(super) fn pass(dialect: Dialect, withholds_usage: bool, is_remembered: bool) -> Self {
        let mut tap = StreamTap::new(dialect);
        if is_remembered {
            tap.remember();
        }
        Self::Pass { tap, dialect, withholds_usage, has_gap: false }
    }

    pub(super) fn translate(from: Dialect, to: Dialect, options: ReplyOptions, is_remembered: bool) -> Self {
        let said = is_remembered.then(Box::default);
        let encoder = to.codec().encoder(options);
        Self::decode(from, Outlet::Caller { encoder, said, following: None })
    }

    /// A stream that is to go on with what another target began.
    pub(super) fn hold(from: Dialect) -> Self {
        Self::decode(from, Outlet::Held { events: Vec::new(), bytes: 0 })
    }

    fn decode(from: Dialect, outlet: Outlet) -> Self {
        Self::Translate(Box::new(Translated {
            decoder: from.codec().decoder(),
            outlet,
            events: Vec::new(),
            usage: Usage::default(),
            has_usage: false,
            tier: None,
            finish: None,
            tokens_seen: 0,
            has_said: false,
            is_complete: false,
        }))
    }

    /// Takes one frame; appends what goes to the caller, if anything.
    pub(super) fn frame(&mut self, frame: &SseEvent, out: &mut Vec<Bytes>) -> Result<(), Broken> {
        match self {
            Self::Pass { tap, withholds_usage, has_gap, .. } => {
                let facts = tap.frame(frame).map_err(Broken::Reply)?;
                if facts.is_usage_only && *withholds_usage {
                    *has_gap = true;
                } else {
                    out.push(frame.raw.clone());
                }
                Ok(())
            }
            Self::Translate(translated) => {
                if !frame.has_data {
                    return Ok(());
                }
                if let Outlet::Held { bytes, .. } = &mut translated.outlet {
                    *bytes += frame.raw.len();
                }
                if let Err(error) = translated.decoder.decode(frame, &mut translated.events) {
                    translated.events.clear();
                    return Err(Broken::Reply(error));
                }
                Ok(translated.encode(out)?)
            }
        }
    }

    /// Events that did not come as frames (a whole answer to a streaming caller).
    pub(super) fn events(
        &mut self,
        events: Vec<Event>,
        tier: Option<ServedTier>,
        out: &mut Vec<Bytes>,
    ) -> Result<(), Departed> {
        match self {
            Self::Translate(translated) => {
                translated.tier = tier;
                translated.events = events;
                translated.encode(out)
            }
            Self::Pass { .. } => Ok(()),
        }
    }

    /// Nobody can go on with this stream after all: nothing is remembered of it.
    pub(super) fn forget(&mut self) {
        match self {
            Self::Pass { tap, .. } => drop(tap.take_sent()),
            Self::Translate(translated) => {
                if let Outlet::Caller { said, .. } = &mut translated.outlet {
                    *said = None;
                }
            }
        }
    }

    /// The stream broke: what another one needs to go on with it, where that was remembered.
    pub(super) fn leave(&mut self, options: ReplyOptions) -> Option<Left> {
        match self {
            Self::Pass { tap, dialect, .. } => {
                let (said, encoder) = tap.take_sent()?.into_encoder(*dialect, options);
                Some(Left { said, encoder })
            }
            Self::Translate(translated) => {
                let nowhere = Outlet::Held { events: Vec::new(), bytes: 0 };
                match std::mem::replace(&mut translated.outlet, nowhere) {
                    Outlet::Caller { encoder, said: Some(said), .. } => Some(Left { said: *said, encoder }),
                    _ => None,
                }
            }
        }
    }

    /// Goes on with what another target began; appends what that tells the caller already.
    pub(super) fn go_on(
        &mut self,
        Left { said, encoder }: Left,
        following: Following,
        out: &mut Vec<Bytes>,
    ) -> Result<(), Departed> {
        let Self::Translate(translated) = self else { return Err(Departed) };
        let (said, following) = (Some(Box::new(said)), Some(Box::new(following)));
        let outlet = Outlet::Caller { encoder, said, following };
        if let Outlet::Held { events, .. } = std::mem::replace(&mut translated.outlet, outlet) {
            translated.pass_on(events, out)?;
        }
        Ok(())
    }

    /// How many bytes were read of a stream that is held.
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Self::Translate(translated) => match &translated.outlet {
                Outlet::Held { bytes, .. } => *bytes,
                Outlet::Caller { .. } => 0,
            },
            Self::Pass { .. } => 0,
        }
    }

    /// Says that the provider's stream has ended; appends what is still missing for the caller and returns whether the
    /// answer is complete.
    pub(super) fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<bool, Departed> {
        Ok(match self {
            Self::Pass { tap, dialect, .. } => {
                let had_terminal_frame = tap.is_complete();
                let is_complete = tap.finish();
                if is_complete && !had_terminal_frame {
                    out.extend(terminal_frame(*dialect).map(Bytes::from_static));
                }
                is_complete
            }
            Self::Translate(translated) => {
                if !translated.is_complete {
                    translated.is_complete = translated.decoder.finish(&mut translated.events);
                    translated.encode(out)?;
                }
                translated.is_complete
            }
        })
    }

    /// Whether the provider's terminal frame was seen, so that nothing more is to come.
    pub(super) fn is_complete(&self) -> bool {
        match self {
            Self::Pass { tap, .. } => tap.is_complete(),
            Self::Translate(translated) => translated.is_complete,
        }
    }

    pub(super) fn has_token(&self) -> bool {
        self.seen().tokens > 0
    }

    /// Whether the content was refused before anything was said, as far as has come.
    pub(super) fn is_bare_refusal(&self) -> bool {
        match self {
            Self::Pass { tap, .. } => tap.is_bare_refusal(),
            Self::Translate(translated) => {
                !translated.has_said && translated.finish.is_some_and(FinishReason::is_refusal)
            }
        }
    }

    /// What was seen of a stream of which nothing more is read, whatever comes.
    pub(super) fn seen_to_the_end(&mut self) -> Seen {
        if let Self::Pass { tap, .. } = self {
            tap.catch_up();
        }
        self.seen()
    }

    pub(super) fn seen(&self) -> Seen {
        match self {
            Self::Pass { tap, .. } => {
                let tapped = tap.tapped();
                Seen {
                    usage: tapped.usage,
                    has_usage: tap.has_usage(),
                    tier: tapped.tier,
                    tokens: tap.tokens_seen(),
                    finish: tapped.finish.map(FinishReason::as_str),
                }
            }
            Self::Translate(translated) => Seen {
                usage: translated.usage,
                has_usage: translated.has_usage,
                tier: translated.decoder.served_tier().or(translated.tier),
                tokens: translated.tokens_seen,
                finish: translated.finish.map(FinishReason::as_str),
            },
        }
    }

    /// Whether everything that came in the last chunk goes out, so that the chunk can go as it is. Forgets gaps.
    pub(super) fn take_gap(&mut self) -> bool {
        match self {
            Self::Pass { has_gap, .. } => std::mem::take(has_gap),
            Self::Translate(_) => true,
        }
    }
}

impl Translated {
    fn encode(&mut self, out: &mut Vec<Bytes>) -> Result<(), Departed> {
        self.tokens_seen += u64::from(self.events.iter().any(is_token));
        self.has_said |= self.events.iter().any(says_something);
        for event in &self.events {
            match event {
                Event::Usage(usage) => {
                    self.usage = *usage;
                    self.has_usage = true;
                }
                Event::Finish { choice: 0, finish, .. } => self.finish = Some(finish.reason),
                Event::End => self.is_complete = true,
                _ => {}
            }
        }
        let mut events = std::mem::take(&mut self.events);
        if let Outlet::Held { events: held, .. } = &mut self.outlet {
            held.append(&mut events);
            return Ok(());
        }
        self.pass_on(events, out)
    }

    fn pass_on(&mut self, events: Vec<Event>, out: &mut Vec<Bytes>) -> Result<(), Departed> {
        let Outlet::Caller { encoder, said, following } = &mut self.outlet else { return Ok(()) };
        let mut bytes = Vec::new();
        let mut tell = |event: &Event| {
            if let Some(said) = said {
                said.note(event);
            }
            encoder.encode(event, &mut bytes);
        };
        let mut outcome = Ok(());
        let mut new = Vec::new();
        for event in events {
            match following {
                None => tell(&event),
                Some(following) => {
                    outcome = following.take(event, &mut new);
                    new.drain(..).for_each(|event| tell(&event));
                    if outcome.is_err() {
                        break;
                    }
                }
            }
        }
        if !bytes.is_empty() {
            out.push(bytes.into());
        }
        outcome
    }
}

/// The frame with which a dialect says that nothing more comes; added where a complete answer lacks it. Gemini has none.
fn terminal_frame(dialect: Dialect) -> Option<&'static [u8]> {
    match dialect {
        Dialect::OpenAiChat => Some(b"data: [DONE]\n\n"),
        Dialect::AnthropicMessages => Some(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
        Dialect::Gemini => None,
    }
}
