//! A streamed answer: a body that reads another body. No task, no channel: when the HTTP server asks for more, the
//! provider's connection is read; when the caller hangs up, everything here is dropped and the provider's connection
//! with it.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Body as _;
use tidegate_wire::event::events_of;
use tidegate_wire::framing::{MAX_EVENT_BYTES, SseDecoder, SseEvent};
use tidegate_wire::{Dialect, FailureKind};
use tokio::time::Sleep;

use super::array::ArrayFramer;
use super::track::{Seen, Track};
use super::whole::{WholeAnswer, reply_options};
use crate::attempt::{Failure, Translation, count_late_failure};
use crate::gateway::Gateway;
use crate::plan::Planned;
use crate::settle::Settlement;
use crate::upstream::ResponseBody;

/// After the provider's terminal frame its connection is read on for so long, so that it can be used again; a provider
/// that keeps it open must not keep the caller waiting.
const AFTERGLOW: Duration = Duration::from_millis(100);
/// The most that is held back before the first token. One event may carry a whole image; a provider that sends more than
/// that without saying anything is not streaming an answer.
const MAX_BEFORE_FIRST_TOKEN: usize = MAX_EVENT_BYTES;
/// Roughly so many bytes of a request make one token; used only where a stream broke off before usage came.
const BYTES_PER_TOKEN: u64 = 4;
/// More tokens than the model's window holds were not read: base64 of an image has far more bytes than tokens. Where the
/// window is not known, this is taken for it.
const USUAL_WINDOW: u64 = 128_000;

/// A streamed answer on its way to the caller.
pub(crate) struct StreamRelay {
    source: Option<ResponseBody>,
    frames: SseDecoder,
    track: Track,
    ready: VecDeque<Bytes>,
    state: State,
    caller: Dialect,
    array: Option<ArrayFramer>,
    /// An estimate, for streams that break off before the provider has told.
    request_tokens: u64,
    idle: Duration,
    deadline: Instant,
    /// When the provider was last heard. The timer below is moved only when it fires: setting it anew for every event
    /// would cost more than reading the event.
    heard_at: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    gateway: Arc<Gateway>,
    planned: Planned,
    settlement: Option<Settlement>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Reading.
    Open,
    /// The answer is complete, the connection is read to its end.
    Complete,
    /// Nothing more comes.
    Ended,
}

impl std::fmt::Debug for StreamRelay {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("StreamRelay").field("state", &self.state).finish_non_exhaustive()
    }
}

impl StreamRelay {
    /// Begins to relay a provider's stream.
    pub(crate) fn new(
        gateway: &Arc<Gateway>,
        translation: &Translation<'_>,
        planned: &Planned,
        source: ResponseBody,
        deadline: Instant,
    ) -> Self {
        let call = translation.call;
        let dialect = planned.dialect();
        let track = if dialect == call.dialect {
            Track::pass(dialect, !call.include_usage)
        } else {
            Track::translate(dialect, call.dialect, reply_options(call))
        };
        Self::build(gateway, translation, planned, Some(source), track, deadline)
    }

    /// A whole answer for a caller who wanted a stream: some servers do not stream what they are asked to.
    pub(crate) fn of_whole(
        gateway: &Arc<Gateway>,
        translation: &Translation<'_>,
        planned: &Planned,
        whole: &WholeAnswer,
    ) -> Self {
        let call = translation.call;
        let track = Track::translate(planned.dialect(), call.dialect, reply_options(call));
        let mut relay = Self::build(gateway, translation, planned, None, track, Instant::now());
        if let Some(reply) = &whole.reply {
            let mut out = Vec::new();
            relay.track.events(events_of(reply), &mut out);
            relay.queue(out);
        }
        relay.state = State::Complete;
        relay
    }

    fn build(
        gateway: &Arc<Gateway>,
        translation: &Translation<'_>,
        planned: &Planned,
        source: Option<ResponseBody>,
        track: Track,
        deadline: Instant,
    ) -> Self {
        let call = translation.call;
        Self {
            source,
            frames: SseDecoder::new(),
            track,
            ready: VecDeque::new(),
            state: State::Open,
            caller: call.dialect,
            array: call.json_array.then(ArrayFramer::default),
            request_tokens: u64::try_from(call.body().len())
                .unwrap_or(u64::MAX)
                .div_ceil(BYTES_PER_TOKEN)
                .min(planned.target.window.unwrap_or(USUAL_WINDOW)),
            idle: planned.timeouts.idle,
            deadline,
            heard_at: Instant::now(),
            timer: None,
            gateway: Arc::clone(gateway),
            planned: planned.clone(),
            settlement: None,
        }
    }

    /// Reads until the first token has come, so that every failure before it can still move to another target. The
    /// caller sets the deadline.
    pub(crate) async fn prime(&mut self) -> Result<(), Failure> {
        let mut held = 0;
        loop {
            std::future::poll_fn(|context| self.poll_source(context)).await?;
            if self.state != State::Open || self.track.has_token() {
                return Ok(());
            }
            let now_held: usize = self.ready.iter().map(Bytes::len).sum();
            held = now_held.max(held) + self.frames.pending().len();
            if held > MAX_BEFORE_FIRST_TOKEN {
                return Err(self.failure(FailureKind::Malformed, "it sends much and says nothing"));
            }
        }
    }

    /// From here on the call is settled when the stream ends, before its last bytes are handed out.
    pub(crate) fn settle_with(&mut self, settlement: Settlement) {
        self.settlement = Some(settlement);
    }

    /// The next bytes for the caller; `None` at the end.
    pub(super) fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if self.state != State::Open {
                // Before the bytes that end the answer are handed out: who has seen its end is in the ledger, even if
                // this process is killed in the same moment.
                self.settle();
            }
            if let Some(bytes) = self.ready.pop_front() {
                if let Some(settlement) = &mut self.settlement {
                    settlement.sent_piece(&bytes);
                }
                return Poll::Ready(Some(bytes));
            }
            match self.state {
                State::Ended => return Poll::Ready(None),
                State::Complete => {
                    if self.poll_afterglow(context).is_pending() {
                        return Poll::Pending;
                    }
                    self.end();
                }
                State::Open => match self.poll_source(context) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(failure)) => self.break_off(&failure),
                    Poll::Pending => match self.poll_silence(context) {
                        Poll::Ready(failure) => self.break_off(&failure),
                        Poll::Pending => return Poll::Pending,
                    },
                },
            }
        }
    }

    /// Reads one piece of the provider's stream and queues what it means.
    fn poll_source(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let Some(source) = &mut self.source else { return Poll::Ready(Ok(())) };
        let Some(frame) = std::task::ready!(Pin::new(source).poll_frame(context)) else {
            self.source = None;
            return Poll::Ready(self.end_of_source("its connection was closed before the end"));
        };
        self.heard_at = Instant::now();
        Poll::Ready(match frame {
            Err(error) => {
                self.source = None;
                self.end_of_source(&error.to_string())
            }
            Ok(frame) => match frame.into_data() {
                Ok(chunk) => self.take_chunk(chunk),
                Err(_trailers) => Ok(()),
            },
        })
    }

    fn take_chunk(&mut self, chunk: Bytes) -> Result<(), Failure> {
        let is_aligned = self.frames.pending().is_empty();
        let mut out = Vec::new();
        let mut taken = 0;
        self.frames.push(chunk.clone());
        let outcome = loop {
            match self.frames.next_event() {
                None => break Ok(()),
                Some(Err(error)) => break Err(self.failure(FailureKind::Malformed, &error.to_string())),
                Some(Ok(frame)) => {
                    taken += frame.raw.len();
                    if let Err(failure) = self.take_frame(&frame, &mut out) {
                        break Err(failure);
                    }
                }
            }
        };
        let is_chunk_whole = is_aligned && taken == chunk.len() && !self.track.take_gap() && outcome.is_ok();
        if is_chunk_whole && self.array.is_none() {
            self.ready.push_back(chunk);
        } else {
            self.queue(out);
        }
        outcome?;
        if self.state == State::Open && self.track.is_complete() {
            self.state = State::Complete;
            self.timer = None;
        }
        Ok(())
    }

    fn take_frame(&mut self, frame: &SseEvent, out: &mut Vec<Bytes>) -> Result<(), Failure> {
        self.track.frame(frame, out).map_err(|error| Failure::of_reply(error, &self.planned.target.label))
    }

    /// The provider's stream has ended, in order or not: what matters is whether the answer is complete.
    fn end_of_source(&mut self, how: &str) -> Result<(), Failure> {
        let mut out = Vec::new();
        while let Some(Ok(mut frame)) = self.frames.finish() {
            // A last frame without its blank line is taken if it makes sense.
            if frame.has_data && !frame.is_complete {
                frame.raw = [&frame.raw, &b"\n\n"[..]].concat().into();
                if self.take_frame(&frame, &mut out).is_err() {
                    break;
                }
            }
        }
        let is_complete = self.track.finish(&mut out);
        self.queue(out);
        if is_complete {
            self.state = State::Complete;
            Ok(())
        } else {
            Err(self.failure(FailureKind::Truncated, how))
        }
    }

    /// After the end: reads the connection to its end, for a moment.
    fn poll_afterglow(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Some(source) = &mut self.source {
            match Pin::new(source).poll_frame(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) => self.source = None,
                Poll::Pending => {
                    let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(AFTERGLOW)));
                    std::task::ready!(timer.as_mut().poll(context));
                    self.source = None;
                }
            }
        }
        Poll::Ready(())
    }

    /// Whether the provider has been silent for too long, or the call takes too long.
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<Failure> {
        loop {
            let silent_until = self.heard_at.checked_add(self.idle).unwrap_or(self.deadline);
            let until = silent_until.min(self.deadline);
            if Instant::now() >= until {
                return Poll::Ready(if silent_until <= self.deadline {
                    self.failure(FailureKind::Stalled, &format!("nothing came for {:?}", self.idle))
                } else {
                    self.failure(FailureKind::Timeout, "the deadline of the call has passed")
                });
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until.into())));
            if timer.deadline().into_std() > until {
                timer.as_mut().reset(until.into());
            }
            std::task::ready!(timer.as_mut().poll(context));
            timer.as_mut().reset(until.max(Instant::now()).into());
        }
    }

    fn queue(&mut self, out: Vec<Bytes>) {
        match &mut self.array {
            None => self.ready.extend(out),
            Some(array) => self.ready.extend(out.iter().map(|frames| array.convert(frames))),
        }
    }

    /// The stream broke after its first token: the caller is told in its own dialect, and the end is not made to look
    /// like one.
    fn break_off(&mut self, failure: &Failure) {
        let mut failure = failure.clone();
        failure.conceal(&self.planned.provider);
        let error = failure.to_error();
        if let Some(settlement) = &mut self.settlement {
            settlement.likely_used(estimated(self.track.seen_to_the_end(), self.request_tokens));
            settlement.last_attempt_failed(failure.kind);
            settlement.failed(failure.kind, 200);
        }
        count_late_failure(&self.planned, failure.kind, self.gateway.clock.now());
        tracing::debug!(target_name = %failure.target, kind = %failure.kind, "a stream broke");
        let event = self.caller.codec().render_error_event(&error.to_caller_error(None));
        self.queue(vec![event]);
        self.end();
    }

    /// Nothing more comes: queues what ends the answer and settles the call. The second time there is nothing to do.
    fn settle(&mut self) {
        if let Some(mut array) = self.array.take() {
            self.ready.push_back(array.finish());
        }
        let Some(mut settlement) = self.settlement.take() else { return };
        if self.state == State::Complete {
            let seen = self.track.seen();
            settle_usage(&mut settlement, seen, self.request_tokens);
            settlement.answered(seen.finish);
        }
        self.ready.iter().for_each(|piece| settlement.sent_piece(piece));
    }

    fn end(&mut self) {
        self.source = None;
        self.timer = None;
        self.state = State::Ended;
    }

    fn failure(&self, kind: FailureKind, what: &str) -> Failure {
        Failure::new(kind, &self.planned.target.label, what)
    }
}

impl Drop for StreamRelay {
    /// The caller hung up before the end was handed out: the provider has worked all the same, so what it said is billed.
    fn drop(&mut self) {
        if let Some(settlement) = &mut self.settlement {
            let seen = self.track.seen_to_the_end();
            if self.state == State::Complete {
                settle_usage(settlement, seen, self.request_tokens);
            } else {
                settlement.likely_used(estimated(seen, self.request_tokens));
            }
        }
    }
}

/// Of an answer that is complete.
fn settle_usage(settlement: &mut Settlement, seen: Seen, request_tokens: u64) {
    if seen.has_usage {
        settlement.used(seen.usage);
    } else {
        settlement.likely_used(estimated(seen, request_tokens));
    }
}

/// What was used as far as one can tell when a stream broke off: what the provider said, and at least what was seen.
fn estimated(seen: Seen, request_tokens: u64) -> tidegate_wire::Usage {
    let mut usage = seen.usage;
    usage.output = usage.output.max(seen.tokens);
    if usage.input == 0 {
        usage.input = request_tokens;
    }
    usage
}
