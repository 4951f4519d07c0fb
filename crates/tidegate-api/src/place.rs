//! A place for a call, before its body is read; while there is none, the call waits, or is turned away. Called by
//! `inference`.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONNECTION;
use http::request::Parts;
use http_body::{Frame, SizeHint};
use tidegate_gateway::queue::{NoPlace, Place, is_for_later, priority_of};
use tidegate_gateway::{AnswerBody, Gateway, GatewayError, Principal, Refusal};
use tidegate_policy::Priority;
use tidegate_wire::Dialect;

use crate::body;
use crate::serve::Ending;

/// Bodies up to this size are read while their call waits: the server holds about as much of them already. It tells
/// at once when such a caller hangs up, and how urgent the call is. What is larger stays with its caller until there is a
/// place, and that one hung up is found when its turn comes.
const READ_WHILE_WAITING: u64 = 64 * 1024;

/// A place for the call, and its body.
pub(crate) async fn enter(
    gateway: &Gateway,
    head: &Parts,
    body: Body,
    principal: &Principal,
    dialect: Dialect,
) -> Result<(Place, Bytes), Refusal> {
    let places = gateway.places();
    let is_small = body::declared_length(&head.headers).is_some_and(|bytes| bytes <= READ_WHILE_WAITING);
    let reading = body::read(&head.headers, body, gateway.max_body(), Some("server.max_body"));
    if let Some(place) = places.try_take() {
        return Ok((place, reading.await?));
    }
    let said = priority_of(&head.headers)?;
    let refuse = |priority: Priority, why: NoPlace| {
        let mut refusal = Refusal::from(places.refusal(priority, why));
        if !is_small {
            // What is left of the body is not read; the connection cannot be used for another request.
            refusal.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        refusal
    };
    let priority = said.unwrap_or(Priority::Interactive);
    let mut waiting = places.wait(principal, priority, time_of(head)).map_err(|why| refuse(priority, why))?;
    if !is_small {
        let place = waiting.place().await.map_err(|why| refuse(priority, why))?;
        return Ok((place, reading.await?));
    }
    let mut reading = pin!(reading);
    let body = tokio::select! {
        biased;
        body = &mut reading => body?,
        granted = waiting.place() => {
            let place = granted.map_err(|why| refuse(priority, why))?;
            return Ok((place, reading.await?));
        }
    };
    if said.is_none() && is_for_later(dialect, &body) {
        waiting.make_batch();
    }
    let place = waiting.place().await.map_err(|why| refuse(waiting.priority(), why))?;
    Ok((place, body))
}

/// How much time the caller gives the whole call. What is no duration is told when the call is looked at.
fn time_of(head: &Parts) -> Option<std::time::Duration> {
    let said = head.headers.get("x-tidegate-timeout")?.to_str().ok()?;
    tidegate_config::parse_duration(said.trim()).ok()
}

/// An answer's body, with the place of its call: taken until the caller has the last of it, or has gone. A stream that is
/// still open when the gateway ends says so, rather than break off.
pub(crate) struct PlacedBody {
    body: AnswerBody,
    _place: Place,
    ending: Option<Ending>,
}

impl PlacedBody {
    pub(crate) fn new(body: AnswerBody, place: Place, ending: Ending) -> Self {
        // A whole answer is there already.
        let ending = body.is_stream().then_some(ending);
        Self { body, _place: place, ending }
    }
}

impl http_body::Body for PlacedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(context);
        // Looked at when there is nothing to say, which is soon after every event.
        let is_ending = |ending: &mut Ending| polled.is_pending() && ending.as_mut().poll(context).is_ready();
        if !this.ending.as_mut().is_some_and(is_ending) {
            return polled;
        }
        this.ending = None;
        this.body.cut_off(&GatewayError::ending());
        Pin::new(&mut this.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
