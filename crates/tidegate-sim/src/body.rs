//! The body of an answer: writes its steps one by one at the pace asked for, breaks off where that is asked for, and
//! tells the ledger how it ended, also when the caller hangs up.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::Sleep;

use crate::answer::{Step, Tokens, steps};
use crate::connection::Reset;
use crate::dialects::{Rendering, failure, gemini};
use crate::scenario::{Failure, Fault};
use crate::served::{Ended, Ledger, Outcome};
use tidegate_wire::Dialect;

/// What the body does next.
#[derive(Debug)]
pub(crate) enum Move {
    Send {
        bytes: Bytes,
        tokens: u64,
    },
    /// Nothing until so long after the call began.
    WaitUntil(Duration),
    /// Nothing ever.
    Hang,
    /// The connection closes.
    Break,
    /// The connection is reset.
    Reset,
    /// The end; said outright because the last bytes may be followed by a fault.
    End(Outcome),
}

/// See the module.
pub(crate) struct SimBody {
    moves: VecDeque<Move>,
    stream: Option<Box<Stream>>,
    record: Record,
    reset: Reset,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Something was sent: let it reach the wire before the next, so that events are written one by one.
    sent: bool,
    ended: bool,
}

impl SimBody {
    pub(crate) fn of_moves(moves: Vec<Move>, record: Record, reset: Reset) -> Self {
        Self { moves: moves.into(), stream: None, record, reset, sleep: None, sent: false, ended: false }
    }

    pub(crate) fn of_stream(stream: Stream, record: Record, reset: Reset) -> Self {
        let stream = Some(Box::new(stream));
        Self { moves: VecDeque::new(), stream, record, reset, sleep: None, sent: false, ended: false }
    }

    fn next_move(&mut self) -> Move {
        loop {
            if let Some(next) = self.moves.pop_front() {
                return next;
            }
            let Some(stream) = self.stream.as_mut() else { return Move::End(Outcome::Answered) };
            stream.advance(&mut self.moves);
        }
    }
}

impl Body for SimBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            if std::mem::take(&mut self.sent) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(sleep) = self.sleep.as_mut() {
                if sleep.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.sleep = None;
            }
            match self.next_move() {
                Move::Send { bytes, tokens } => {
                    self.record.written += tokens;
                    if bytes.is_empty() {
                        continue;
                    }
                    self.sent = true;
                    // Who has the last byte may close the connection at once, and hyper does not ask again after the
                    // promised length: the call has ended here.
                    if let Some(Move::End(outcome)) = self.moves.front() {
                        let outcome = *outcome;
                        self.record.close(outcome);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Move::WaitUntil(after) => {
                    let deadline = self.record.began + after;
                    if deadline > Instant::now() {
                        self.sleep = Some(Box::pin(tokio::time::sleep_until(deadline.into())));
                    }
                }
                Move::Hang => {
                    self.moves.push_front(Move::Hang);
                    return Poll::Pending;
                }
                Move::Break => {
                    self.ended = true;
                    self.record.close(Outcome::Cut);
                    return Poll::Ready(Some(Err(io::Error::other("the scenario cuts here"))));
                }
                Move::Reset => {
                    self.ended = true;
                    self.reset.arm();
                    self.record.close(Outcome::Cut);
                    return Poll::Ready(Some(Err(io::Error::other("the scenario resets here"))));
                }
                Move::End(outcome) => {
                    self.ended = true;
                    self.record.close(outcome);
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

/// One call's line in the ledger: written when the answer has ended, or when it is dropped because the caller hung up.
#[derive(Debug)]
pub(crate) struct Record {
    /// None: a page that is no call.
    ledger: Option<Arc<Ledger>>,
    pub(crate) dialect: Dialect,
    pub(crate) model: String,
    pub(crate) streamed: bool,
    pub(crate) status: u16,
    pub(crate) began: Instant,
    pub(crate) usage: Tokens,
    pub(crate) written: u64,
    pub(crate) request: String,
    closed: bool,
}

impl Record {
    pub(crate) fn open(ledger: Arc<Ledger>, dialect: Dialect, began: Instant) -> Self {
        ledger.open();
        let mut record = Self::of_nothing();
        record.ledger = Some(ledger);
        record.dialect = dialect;
        record.began = began;
        record
    }

    /// A page that is no call.
    pub(crate) fn of_nothing() -> Self {
        Self {
            ledger: None,
            dialect: Dialect::OpenAiChat,
            model: String::new(),
            streamed: false,
            status: 0,
            began: Instant::now(),
            usage: Tokens::default(),
            written: 0,
            request: String::new(),
            closed: false,
        }
    }

    pub(crate) fn close(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let Some(ledger) = self.ledger.take() else { return };
        ledger.close(Ended {
            dialect: self.dialect,
            model: std::mem::take(&mut self.model),
            streamed: self.streamed,
            status: self.status,
            outcome,
            began: self.began,
            usage: self.usage,
            written: self.written,
            request: std::mem::take(&mut self.request),
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.close(Outcome::HungUp);
    }
}

/// A stream in the making.
#[derive(Debug)]
pub(crate) struct Stream {
    rendering: Rendering,
    steps: std::vec::IntoIter<Step>,
    fault: Option<Fault>,
    first_token: Duration,
    /// Zero: as fast as possible.
    token_time: Duration,
    written: u64,
    events: u64,
}

impl Stream {
    pub(crate) fn new(rendering: Rendering, first_token: Duration, tokens_per_second: f64) -> Self {
        let steps = steps(&rendering.answer).into_iter();
        let token_time = if tokens_per_second > 0.0 {
            Duration::from_secs_f64(1.0 / tokens_per_second)
        } else {
            Duration::ZERO
        };
        let fault = rendering.behaviour.fault;
        Self { rendering, steps, fault, first_token, token_time, written: 0, events: 0 }
    }

    /// Adds what the next step means.
    fn advance(&mut self, moves: &mut VecDeque<Move>) {
        let Some(step) = self.steps.next() else {
            moves.push_back(Move::End(Outcome::Answered));
            return;
        };
        if step == Step::End && self.fault == Some(Fault::NoDone) && self.rendering.dialect != Dialect::Gemini
        {
            return;
        }
        if self.is_due(step) {
            self.break_off(moves);
            return;
        }
        // The opening event is sent with the first token, as providers do.
        if !self.first_token.is_zero() && step == Step::Open {
            moves.push_back(Move::WaitUntil(self.first_token));
        }
        let tokens = step.tokens();
        if tokens > 0 {
            let factor = u32::try_from(self.written).unwrap_or(u32::MAX);
            if !self.token_time.is_zero() && self.written > 0 {
                moves.push_back(Move::WaitUntil(
                    self.first_token.saturating_add(self.token_time.saturating_mul(factor)),
                ));
            }
            self.written += tokens;
        }
        let mut bytes = self.rendering.events(step, self.written);
        if bytes.is_empty() {
            moves.push_back(Move::Send { bytes, tokens });
            return;
        }
        self.events += 1;
        if self.fault == Some(Fault::MalformedAt(self.events)) {
            self.garbage(moves);
            return;
        }
        if self.is_array() && self.events == 1 {
            bytes = gemini::stream::opened(&bytes).into();
        }
        moves.push_back(Move::Send { bytes, tokens });
        if self.says_nothing_more() {
            moves.push_back(Move::End(Outcome::Answered));
        }
    }

    /// The steps that are left have no bytes in this dialect.
    fn says_nothing_more(&self) -> bool {
        let left = self.steps.as_slice();
        let gemini = self.rendering.dialect == Dialect::Gemini && self.rendering.sse;
        left.is_empty() || gemini && left.iter().all(|step| matches!(step, Step::Usage | Step::End))
    }

    /// The fault sets in before this step: at its token, or at the latest before the answer would be complete.
    fn is_due(&self, step: Step) -> bool {
        let at_end = matches!(step, Step::ChoiceEnd { .. });
        match self.fault {
            Some(Fault::OverloadedAfter(0) | Fault::ErrorAfter(0)) => true,
            Some(
                Fault::CutAfter(after)
                | Fault::ResetAfter(after)
                | Fault::StallAfter(after)
                | Fault::OverloadedAfter(after)
                | Fault::ErrorAfter(after),
            ) => at_end || (step.tokens() > 0 && self.written >= after),
            Some(Fault::MalformedAt(_) | Fault::MalformedBody) => {
                at_end || self.fault == Some(Fault::MalformedBody)
            }
            Some(Fault::LyingLength) => at_end,
            Some(Fault::HugeLine(_) | Fault::Stall) => true,
            _ => false,
        }
    }

    fn break_off(&mut self, moves: &mut VecDeque<Move>) {
        match self.fault {
            Some(Fault::CutAfter(_) | Fault::LyingLength) => moves.push_back(Move::Break),
            Some(Fault::ResetAfter(_)) => moves.push_back(Move::Reset),
            Some(Fault::OverloadedAfter(_)) => self.error(Failure::Overloaded, moves),
            Some(Fault::ErrorAfter(_)) => self.error(Failure::Server { status: 500 }, moves),
            Some(Fault::MalformedAt(_) | Fault::MalformedBody) => self.garbage(moves),
            Some(Fault::HugeLine(megabytes)) => huge(megabytes, "data: ", "\n\n", moves),
            _ => moves.push_back(Move::Hang),
        }
    }

    fn error(&mut self, kind: Failure, moves: &mut VecDeque<Move>) {
        let refused = failure(self.rendering.dialect, kind, &self.rendering.asked.model, 0);
        let bytes = self.rendering.error_event(&refused, self.events == 0);
        moves.push_back(Move::Send { bytes, tokens: 0 });
        moves.push_back(Move::End(Outcome::Failed));
    }

    fn garbage(&mut self, moves: &mut VecDeque<Move>) {
        let bytes =
            if self.is_array() { &b"{\"candidates\": [{]"[..] } else { &b"data: {\"broken\": [1, 2\n\n"[..] };
        moves.push_back(Move::Send { bytes: Bytes::from_static(bytes), tokens: 0 });
        moves.push_back(Move::End(Outcome::Cut));
    }

    fn is_array(&self) -> bool {
        self.rendering.dialect == Dialect::Gemini && !self.rendering.sse
    }
}

/// So many megabytes of one JSON text, in pieces that share their bytes.
pub(crate) fn huge(megabytes: u64, before: &str, after: &str, moves: &mut VecDeque<Move>) {
    const PIECE: usize = 64 * 1024;
    const PIECES_A_MEGABYTE: u64 = 16;
    const MOST_MEGABYTES: u64 = 1024;
    let piece = Bytes::from(vec![b'x'; PIECE]);
    let send = |bytes: Bytes| Move::Send { bytes, tokens: 0 };
    moves.push_back(send(Bytes::from(format!("{before}{{\"padding\":\""))));
    moves.extend((0..megabytes.min(MOST_MEGABYTES) * PIECES_A_MEGABYTE).map(|_| send(piece.clone())));
    moves.push_back(send(Bytes::from(format!("\"}}{after}"))));
    moves.push_back(Move::End(Outcome::Cut));
}
