//! What happens to each frame of a stream: passed on as it came, with a light tap, or translated.

use bytes::Bytes;
use tidegate_wire::event::Event;
use tidegate_wire::framing::SseEvent;
use tidegate_wire::tap::{StreamTap, is_token};
use tidegate_wire::{Dialect, ReplyError, ReplyOptions, StreamDecoder, StreamEncoder, Usage};

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
    encoder: Box<dyn StreamEncoder>,
    events: Vec<Event>,
    usage: Usage,
    has_usage: bool,
    finish: Option<&'static str>,
    tokens_seen: u64,
    is_complete: bool,
}

/// What was seen of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) usage: Usage,
    pub(super) has_usage: bool,
    pub(super) tokens: u64,
    pub(super) finish: Option<&'static str>,
}

impl Track {
    pub(super) fn pass(dialect: Dialect, withholds_usage: bool) -> Self {
        Self::Pass { tap: StreamTap::new(dialect), dialect, withholds_usage, has_gap: false }
    }

    pub(super) fn translate(from: Dialect, to: Dialect, options: ReplyOptions) -> Self {
        Self::Translate(Box::new(Translated {
            decoder: from.codec().decoder(),
            encoder: to.codec().encoder(options),
            events: Vec::new(),
            usage: Usage::default(),
            has_usage: false,
            finish: None,
            tokens_seen: 0,
            is_complete: false,
        }))
    }

    /// Takes one frame; appends what goes to the caller, if anything.
    pub(super) fn frame(&mut self, frame: &SseEvent, out: &mut Vec<Bytes>) -> Result<(), ReplyError> {
        match self {
            Self::Pass { tap, withholds_usage, has_gap, .. } => {
                let facts = tap.frame(frame)?;
                if facts.is_usage_only && *withholds_usage {
                    *has_gap = true;
                } else {
                    out.push(frame.raw.clone());
                }
                Ok(())
            }
            Self::Translate(translated) => {
                if frame.has_data {
                    translated.decoder.decode(frame, &mut translated.events)?;
                    translated.encode(out);
                }
                Ok(())
            }
        }
    }

    /// Events that did not come as frames (a whole answer to a streaming caller).
    pub(super) fn events(&mut self, events: Vec<Event>, out: &mut Vec<Bytes>) {
        if let Self::Translate(translated) = self {
            translated.events = events;
            translated.encode(out);
        }
    }

    /// Says that the provider's stream has ended; appends what is still missing for the caller and returns whether the
    /// answer is complete.
    pub(super) fn finish(&mut self, out: &mut Vec<Bytes>) -> bool {
        match self {
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
                    translated.encode(out);
                }
                translated.is_complete
            }
        }
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
                    tokens: tap.tokens_seen(),
                    finish: tapped.finish.map(tidegate_wire::reply::FinishReason::as_str),
                }
            }
            Self::Translate(translated) => Seen {
                usage: translated.usage,
                has_usage: translated.has_usage,
                tokens: translated.tokens_seen,
                finish: translated.finish,
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
    fn encode(&mut self, out: &mut Vec<Bytes>) {
        let mut bytes = Vec::new();
        self.tokens_seen += u64::from(self.events.iter().any(is_token));
        for event in self.events.drain(..) {
            match &event {
                Event::Usage(usage) => {
                    self.usage = *usage;
                    self.has_usage = true;
                }
                Event::Finish { choice: 0, finish, .. } => self.finish = Some(finish.reason.as_str()),
                Event::End => self.is_complete = true,
                _ => {}
            }
            self.encoder.encode(&event, &mut bytes);
        }
        if !bytes.is_empty() {
            out.push(bytes.into());
        }
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
