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
use tidegate_wire::{Dialect, FailureKind, Usage};
use tokio::time::Sleep;

use super::array::ArrayFramer;
use super::onward::{Onward, Search};
use super::recovery::Interrupted;
use super::track::{Broken, Seen, Track};
use super::whole::{WholeAnswer, reply_options};
use crate::accept::Call;
use crate::attempt::{Failure, Translation, count_late_failure};
use crate::bill::Consumed;
use crate::error::GatewayError;
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
pub(super) const BYTES_PER_TOKEN: u64 = 4;
/// More tokens than the model's window holds were not read: base64 of an image has far more bytes than tokens. Where the
/// window is not known, this is taken for it.
const USUAL_WINDOW: u64 = 128_000;

/// A streamed answer on its way to the caller.
pub(crate) struct StreamRelay {
    pub(super) source: Option<ResponseBody>,
    pub(super) frames: SseDecoder,
    pub(super) track: Track,
    ready: VecDeque<Bytes>,
    pub(super) state: State,
    caller: Dialect,
    array: Option<ArrayFramer>,
    /// An estimate, for streams that break off before the provider has told.
    pub(super) request_tokens: u64,
    pub(super) idle: Duration,
    deadline: Instant,
    /// When the provider was last heard. The timer below is moved only when it fires: setting it anew for every event
    /// would cost more than reading the event.
    pub(super) heard_at: Instant,
    pub(super) timer: Option<Pin<Box<Sleep>>>,
    pub(super) gateway: Arc<Gateway>,
    pub(super) planned: Planned,
    /// With which of its provider's keys it was asked.
    pub(super) key: usize,
    pub(super) settlement: Option<Settlement>,
    /// What another target needs to go on, where one could.
    pub(super) onward: Option<Box<Onward>>,
    /// What is left of a stream that broke, while somebody is sought who goes on; and the first failure of all, once
    /// somebody does.
    pub(super) interrupted: Option<Box<Interrupted>>,
    pub(super) search: Option<Search>,
    /// What targets have used whose streams broke.
    pub(super) used_before: Usage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Reading.
    Open,
    /// The stream broke; what came of it goes out first.
    Broken,
    /// Somebody is sought who goes on.
    Searching,
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
        key: usize,
        source: ResponseBody,
        deadline: Instant,
    ) -> Self {
        let call = translation.call;
        let dialect = planned.dialect();
        let track = if translation.going_on.is_some() {
            Track::hold(dialect)
        } else if dialect == call.dialect {
            Track::pass(dialect, !call.include_usage, translation.is_remembered)
        } else {
            Track::translate(dialect, call.dialect, reply_options(call), translation.is_remembered)
        };
        let mut relay = Self::build(gateway, translation, planned, Some(source), track, deadline);
        relay.key = key;
        relay
    }

    /// A whole answer for a caller who wanted a stream: some servers do not stream what they are asked to.
    pub(crate) fn of_whole(
        gateway: &Arc<Gateway>,
        translation: &Translation<'_>,
        planned: &Planned,
        whole: &WholeAnswer,
    ) -> Self {
        let call = translation.call;
        let track = if translation.going_on.is_some() {
            Track::hold(planned.dialect())
        } else {
            Track::translate(planned.dialect(), call.dialect, reply_options(call), false)
        };
        let mut relay = Self::build(gateway, translation, planned, None, track, Instant::now());
        if let Some(reply) = &whole.reply {
            let mut out = Vec::new();
            // Nobody has begun this answer, so it cannot depart from anything.
            relay.track.events(events_of(reply), whole.consumed.tier, &mut out).ok();
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
            request_tokens: likely_input(call, planned),
            idle: planned.timeouts.idle,
            key: 0,
            deadline,
            heard_at: Instant::now(),
            timer: None,
            gateway: Arc::clone(gateway),
            planned: planned.clone(),
            settlement: None,
            onward: None,
            interrupted: None,
            search: None,
            used_before: Usage::default(),
        }
    }

    /// Reads until the first token has come, so that every failure before it can still move to another target. The
    /// caller sets the deadline.
    pub(crate) async fn prime(&mut self) -> Result<(), Failure> {
        let mut held = 0;
        loop {
            self.read_piece().await?;
            if self.state != State::Open || self.track.has_token() {
                return Ok(());
            }
            let now_held: usize = self.ready.iter().map(Bytes::len).sum();
            held = now_held.max(held) + self.frames.pending().len() + self.track.held_bytes();
            if held > MAX_BEFORE_FIRST_TOKEN {
                return Err(self.failure(FailureKind::Malformed, "it sends much and says nothing"));
            }
        }
    }

    /// Whether the content was refused before anything was said, as far as has come.
    pub(crate) fn is_bare_refusal(&self) -> bool {
        self.track.is_bare_refusal()
    }

    /// What a refusal has used, and whether that is an estimate.
    pub(crate) fn used_by_refusal(&mut self) -> (Consumed, bool) {
        let seen = self.track.seen_to_the_end();
        if seen.has_usage && self.state == State::Complete {
            (Consumed { usage: seen.usage, tier: seen.tier }, false)
        } else {
            (estimated(seen, self.request_tokens), true)
        }
    }

    /// Reads a refusal on, to its end or to where it proves to be none: its usage comes last. The caller sets the deadline.
    pub(crate) async fn read_refusal(&mut self) -> Result<(), Failure> {
        while self.state == State::Open && self.is_bare_refusal() {
            self.read_piece().await?;
            if self.ready.iter().map(Bytes::len).sum::<usize>() > MAX_BEFORE_FIRST_TOKEN {
                break;
            }
        }
        Ok(())
    }

    /// Reads one piece of a stream of which the caller has seen nothing yet.
    async fn read_piece(&mut self) -> Result<(), Failure> {
        let polled = std::future::poll_fn(|context| self.poll_source(context)).await;
        polled.map_err(|stopped| match stopped {
            Stopped::Failed(failure) => failure,
            Stopped::Departed => self.failure(FailureKind::Malformed, "it is not the answer that was begun"),
        })
    }

    /// From here on the call is settled when the stream ends, before its last bytes are handed out.
    pub(crate) fn settle_with(&mut self, settlement: Settlement) {
        self.settlement = Some(settlement);
    }

    /// What it takes to go on if this stream breaks.
    pub(crate) fn may_go_on_with(&mut self, onward: Option<Box<Onward>>) {
        if onward.is_none() || self.state != State::Open {
            self.track.forget();
        } else {
            self.onward = onward;
        }
    }

    /// The next bytes for the caller; `None` at the end.
    pub(super) fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if matches!(self.state, State::Complete | State::Ended) {
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
                State::Broken => self.begin_search(),
                State::Searching => std::task::ready!(self.poll_search(context)),
                State::Open => match self.poll_source(context) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(stopped)) => self.stopped(stopped),
                    Poll::Pending => match self.poll_silence(context) {
                        Poll::Ready(failure) => self.stopped(Stopped::Failed(failure)),
                        Poll::Pending => return Poll::Pending,
                    },
                },
            }
        }
    }

    /// Reads one piece of the provider's stream and queues what it means.
    fn poll_source(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
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

    fn take_chunk(&mut self, chunk: Bytes) -> Result<(), Stopped> {
        let is_aligned = self.frames.pending().is_empty();
        let mut out = Vec::new();
        let mut taken = 0;
        self.frames.push(chunk.clone());
        let outcome = loop {
            match self.frames.next_event() {
                None => break Ok(()),
                Some(Err(error)) => {
                    break Err(Stopped::Failed(self.failure(FailureKind::Malformed, &error.to_string())));
                }
                Some(Ok(frame)) => {
                    taken += frame.raw.len();
                    if let Err(stopped) = self.take_frame(&frame, &mut out) {
                        break Err(stopped);
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

    fn take_frame(&mut self, frame: &SseEvent, out: &mut Vec<Bytes>) -> Result<(), Stopped> {
        self.track.frame(frame, out).map_err(|broken| match broken {
            Broken::Reply(error) => Stopped::Failed(Failure::of_reply(error, &self.planned.target.label)),
            Broken::Departed => Stopped::Departed,
        })
    }

    /// The provider's stream has ended, in order or not: what matters is whether the answer is complete.
    fn end_of_source(&mut self, how: &str) -> Result<(), Stopped> {
        let mut out = Vec::new();
        while let Some(Ok(mut frame)) = self.frames.finish() {
            // A last frame without its blank line is taken if it makes sense.
            if frame.has_data {
                if !frame.is_complete {
                    frame.raw = [&frame.raw, &b"\n\n"[..]].concat().into();
                }
                match self.take_frame(&frame, &mut out) {
                    Ok(()) => {}
                    Err(Stopped::Departed) => return Err(Stopped::Departed),
                    Err(Stopped::Failed(_)) => break,
                }
            }
        }
        let finished = self.track.finish(&mut out);
        self.queue(out);
        match finished {
            Ok(true) => {
                self.state = State::Complete;
                Ok(())
            }
            Ok(false) => Err(Stopped::Failed(self.failure(FailureKind::Truncated, how))),
            Err(_departed) => Err(Stopped::Departed),
        }
    }

    /// Whether a stream that fell silent had said everything: then it merely lacks its last frame, like one that was
    /// closed.
    pub(super) fn is_complete_without_end(&mut self) -> bool {
        let mut out = Vec::new();
        let is_complete = self.track.finish(&mut out) == Ok(true);
        if is_complete {
            self.queue(out);
            self.source = None;
            self.timer = None;
            self.state = State::Complete;
        }
        is_complete
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

    pub(super) fn queue(&mut self, out: Vec<Bytes>) {
        match &mut self.array {
            None => self.ready.extend(out),
            Some(array) => self.ready.extend(out.iter().map(|frames| array.convert(frames))),
        }
    }

    /// The stream broke after its first token: the caller is told in its own dialect, and the end is not made to look
    /// like one.
    pub(super) fn break_off(&mut self, failure: &Failure) {
        let used = self.likely_used();
        if let Some(settlement) = &mut self.settlement {
            settlement.likely_used(used);
            settlement.last_attempt_failed(failure.kind);
        }
        count_late_failure(&self.planned, self.key, failure, self.gateway.clock.now());
        tracing::debug!(target_name = %failure.target, kind = %failure.kind, "a stream broke");
        self.end_with(&failure.to_error(), failure.kind);
    }

    /// Nobody waits for the rest: the caller is told why, and the call is settled as if it had hung up. An answer that is
    /// complete is left alone.
    pub(super) fn cut_off(&mut self, error: &GatewayError) {
        if matches!(self.state, State::Complete | State::Ended) {
            self.settle();
        } else {
            let used = self.likely_used();
            if let Some(settlement) = &mut self.settlement {
                settlement.likely_used(used);
            }
            self.search = None;
            let event = self.caller.codec().render_error_event(&error.to_caller_error(None));
            self.queue(vec![event]);
        }
        self.end();
    }

    /// The last word to the caller is an error.
    pub(super) fn end_with(&mut self, error: &GatewayError, kind: FailureKind) {
        if let Some(settlement) = &mut self.settlement {
            settlement.failed(kind, 200);
        }
        let event = self.caller.codec().render_error_event(&error.to_caller_error(None));
        self.queue(vec![event]);
        self.end();
    }

    /// Whether the provider has said what it used so far.
    pub(crate) fn was_told_usage(&self) -> bool {
        self.track.seen().has_usage
    }

    /// What the target has used so far, as far as one can tell.
    pub(crate) fn likely_used(&mut self) -> Consumed {
        estimated(self.track.seen_to_the_end(), self.request_tokens)
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

/// Why a stream cannot be read on.
pub(super) enum Stopped {
    /// The provider failed.
    Failed(Failure),
    /// The provider says something else than what it was to go on with.
    Departed,
}

/// The input tokens of a call at this target, estimated, where the provider has not told.
pub(crate) fn likely_input(call: &Call, planned: &Planned) -> u64 {
    u64::try_from(call.body().len())
        .unwrap_or(u64::MAX)
        .div_ceil(BYTES_PER_TOKEN)
        .min(planned.target.window.unwrap_or(USUAL_WINDOW))
}

/// Of an answer that is complete.
fn settle_usage(settlement: &mut Settlement, seen: Seen, request_tokens: u64) {
    if seen.has_usage {
        settlement.used(Consumed { usage: seen.usage, tier: seen.tier });
    } else {
        settlement.likely_used(estimated(seen, request_tokens));
    }
}

/// What was used as far as one can tell when a stream broke off: what the provider said, and at least what was seen.
fn estimated(seen: Seen, request_tokens: u64) -> Consumed {
    let mut usage = seen.usage;
    usage.output = usage.output.max(seen.tokens);
    if usage.input == 0 {
        usage.input = request_tokens;
    }
    Consumed { usage, tier: seen.tier }
}
