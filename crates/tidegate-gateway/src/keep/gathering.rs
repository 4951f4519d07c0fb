//! The bodies of one call, gathered while it is under way, and made fit to be kept after it. `settle` gathers; whoever
//! keeps bodies finishes them, off the request path.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_store::CallId;
use tidegate_wire::event::Assembler;
use tidegate_wire::framing::SseDecoder;
use tidegate_wire::json::Value;
use tidegate_wire::reply::Reply;
use tidegate_wire::{Dialect, ReplyOptions};

use super::{BodyKeeper, KeptBody};

/// A stream has many bytes around few words, so that more of it is gathered than is kept.
const STREAM_OVERHEAD: usize = 16;
/// However long bodies are kept, no more than this is gathered of one stream.
const MAX_STREAM: usize = 4 * 1024 * 1024;

/// What was said in a call so far.
#[derive(Debug)]
pub(crate) struct Gathering {
    keeper: Arc<BodyKeeper>,
    caller: Dialect,
    request: Bytes,
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    None,
    Whole(Bytes),
    Stream(Vec<u8>),
}

impl Gathering {
    /// Begins with the request; `None` where nothing is kept.
    pub(crate) fn begin(keeper: &Arc<BodyKeeper>, caller: Dialect, request: &Bytes) -> Option<Self> {
        (keeper.keeps(false) || keeper.keeps(true)).then(|| Self {
            keeper: Arc::clone(keeper),
            caller,
            request: request.clone(),
            answer: Answer::None,
        })
    }

    /// The whole answer, or the error in its place.
    pub(crate) fn whole(&mut self, answer: Bytes) {
        self.answer = Answer::Whole(answer);
    }

    /// A piece of a stream as it goes to the caller. What is beyond the limit is left out.
    pub(crate) fn piece(&mut self, piece: &[u8]) {
        if !matches!(self.answer, Answer::Stream(_)) {
            self.answer = Answer::Stream(Vec::new());
        }
        if let Answer::Stream(gathered) = &mut self.answer {
            let limit = self.keeper.max.saturating_mul(STREAM_OVERHEAD).min(MAX_STREAM);
            let room = limit.saturating_sub(gathered.len()).min(piece.len());
            gathered.extend_from_slice(piece.get(..room).unwrap_or_default());
        }
    }

    /// The call has ended. `None` where bodies of such calls are not kept.
    pub(crate) fn end(self, call: CallId, has_failed: bool) -> Option<SpokenCall> {
        self.keeper.keeps(has_failed).then_some(SpokenCall { call, gathering: self })
    }
}

/// A call that has ended, with what was said in it, as it was said: not to be kept before it is [finished](Self::finish).
#[derive(Debug)]
pub struct SpokenCall {
    call: CallId,
    gathering: Gathering,
}

impl SpokenCall {
    /// Which call.
    pub fn call(&self) -> CallId {
        self.call
    }

    /// Request and answer as they may be kept. Takes about a millisecond for 64 KiB: not for a worker's thread.
    pub fn finish(self) -> (KeptBody, Option<KeptBody>) {
        let Gathering { keeper, caller, request, answer } = self.gathering;
        let answer = match answer {
            Answer::None => None,
            Answer::Whole(body) => Some(keeper.redact(&body)),
            Answer::Stream(events) => Some(keeper.redact(&put_together(caller, &events))),
        };
        (keeper.redact(&request), answer)
    }
}

/// Gemini's streams that are an array of JSON objects, as the events that they would have been.
fn as_events(array: &[u8]) -> Bytes {
    let mut events = Vec::with_capacity(array.len() * 2);
    if let Ok(array) = Value::parse(array) {
        for element in array.elements() {
            events.extend_from_slice(b"data: ");
            events.extend(element.text().iter().filter(|byte| !matches!(byte, b'\r' | b'\n')));
            events.extend_from_slice(b"\n\n");
        }
    }
    events.into()
}

/// A stream as the whole answer that it would have been: what is spread over two events could not be recognised.
fn put_together(caller: Dialect, events: &[u8]) -> Bytes {
    caller.codec().render_reply(&reply_of_stream(caller, events), &ReplyOptions::default())
}

/// What a stream says, as a whole answer.
pub(crate) fn reply_of_stream(caller: Dialect, events: &[u8]) -> Reply {
    let mut frames = SseDecoder::new();
    frames.push(if events.starts_with(b"[") { as_events(events) } else { Bytes::copy_from_slice(events) });
    let mut decoder = caller.codec().decoder();
    let mut assembler = Assembler::new(caller);
    let mut decoded = Vec::new();
    while let Some(Ok(frame)) = frames.next_event() {
        // An error event says nothing that the ledger does not have.
        if decoder.decode(&frame, &mut decoded).is_err() {
            break;
        }
        decoded.drain(..).for_each(|event| assembler.push(event));
    }
    assembler.into_reply()
}
