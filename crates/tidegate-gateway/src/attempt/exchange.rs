//! One attempt: send, wait for the first token or the whole answer, and say what went wrong if anything did.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body_util::BodyExt as _;
use tidegate_wire::{Dialect, FailureKind, Losses};
use tokio::time::timeout_at;

use super::count::count_locally;
use super::failure::Failure;
use super::prepare::{Prepared, Translation, prepare};
use super::withheld::{REST_OF_REFUSAL, unless_refused};
use super::witness::Witness;
use super::{Answered, Means};
use crate::accept::Operation;
use crate::error::GatewayError;
use crate::plan::Planned;
use crate::relay::{StreamRelay, WholeAnswer};
use crate::upstream::{ResponseBody, SendOptions};

/// The largest whole answer that is read. Answers with images or sound in base64 have some tens of megabytes.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// The largest error body that is read; nobody's error has more to say.
const MAX_ERROR: usize = 256 * 1024;
/// How long an error's body may take once its status is known, as far as the attempt itself has so much time left, …
const ERROR_BODY_TIME: Duration = Duration::from_secs(2);
/// … and how long it may take in any case.
const LEAST_ERROR_BODY_TIME: Duration = Duration::from_millis(250);

/// An attempt that reached an answer.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) losses: Losses,
    /// Whether the target was given the beginning of its answer.
    pub(crate) has_beginning: bool,
    pub(crate) answer: Answered,
    /// The time that the provider took; translating is not part of it.
    pub(crate) waited: Duration,
}

/// How one attempt is made.
pub(super) struct Manner {
    /// With which key.
    pub(super) key: usize,
    /// On a connection that nobody used before.
    pub(super) is_fresh: bool,
    /// Who is told what is used: the attempt may be dropped at any moment.
    pub(super) witness: Arc<Witness>,
}

/// Makes one attempt.
pub(super) async fn exchange(
    Means { gateway, upstream }: Means<'_>,
    translation: &Translation<'_>,
    planned: &Planned,
    deadline: Instant,
    Manner { key, is_fresh, witness }: Manner,
) -> Result<Reached, Failure> {
    let label = &*planned.target.label;
    let call = translation.call;
    if call.operation == Operation::CountTokens && planned.dialect() == Dialect::OpenAiChat {
        return timeout_at(deadline.into(), count(translation, planned)).await.unwrap_or_else(|_elapsed| {
            Err(Failure {
                is_cut_short: true,
                ..Failure::new(FailureKind::Timeout, label, "the deadline of the call has passed")
            })
        });
    }
    let Prepared { request, losses, has_beginning } =
        prepare(translation, planned, key).map_err(|error| of_request(error, label))?;
    let Some(door) = planned.provider.doors.get(planned.door) else {
        return Err(Failure::new(FailureKind::Unreachable, label, "it has no such dialect"));
    };
    let patience = if call.stream { planned.timeouts.first_token } else { planned.timeouts.answer };
    let now = Instant::now();
    let until = now.checked_add(patience).map_or(deadline, |until| until.min(deadline));
    let options = SendOptions {
        connect_timeout: planned.timeouts.connect,
        fresh_connection: is_fresh,
        sent: Some(witness.sent()),
    };
    let given = until.saturating_duration_since(now);
    let late = |what: &str| Failure {
        is_cut_short: given < patience.min(planned.timeouts.total) / 2,
        ..Failure::new(FailureKind::Timeout, label, format!("{what} within {given:?}"))
    };

    let response = match timeout_at(until.into(), upstream.send(&door.endpoint, request, options)).await {
        Err(_elapsed) => return Err(late("no answer")),
        Ok(Err(error)) => return Err(Failure::of_sending(&error, label)),
        Ok(Ok(response)) => response,
    };
    if let Some(key) = planned.provider.keys.get(key) {
        let limits = planned.target.health.limits();
        limits.note(key.fingerprint(), response.headers(), gateway.clock.now());
    }
    if !response.status().is_success() {
        let until = until.max(Instant::now() + LEAST_ERROR_BODY_TIME).min(deadline);
        return Err(read_error(response, planned, until).await);
    }
    if call.stream && is_event_stream(&response) {
        let body = response.into_body();
        let mut relay = Box::new(StreamRelay::new(gateway, translation, planned, key, body, deadline));
        let primed = {
            let mut priming = Priming { relay: &mut relay, witness: Some(&witness) };
            let primed = timeout_at(until.into(), priming.relay.prime()).await;
            let has_failed = !matches!(primed, Ok(Ok(())));
            if !(has_failed && priming.relay.was_told_usage()) {
                priming.witness = None;
            }
            primed
        };
        match primed {
            Err(_elapsed) => Err(late("no first token")),
            Ok(Err(failure)) => Err(failure),
            Ok(Ok(())) => {
                if translation.withholds_refusals && relay.is_bare_refusal() {
                    let rest = until.min(Instant::now() + REST_OF_REFUSAL);
                    timeout_at(rest.into(), relay.read_refusal()).await.unwrap_or(Ok(()))?;
                }
                let answer = Answered::Stream(relay);
                let reached = Reached { losses, has_beginning, answer, waited: now.elapsed() };
                unless_refused(translation, planned, reached)
            }
        }
    } else {
        let body = match timeout_at(until.into(), read_bounded(response.into_body(), MAX_ANSWER)).await {
            Err(_elapsed) => return Err(late("no whole answer")),
            Ok(Err(problem)) => return Err(Failure::new(problem.kind(), label, problem.to_string())),
            Ok(Ok(body)) => body,
        };
        let waited = now.elapsed();
        let whole =
            WholeAnswer::read(translation, planned, body).map_err(|error| Failure::of_reply(error, label))?;
        let answer = if call.stream {
            Answered::Stream(Box::new(StreamRelay::of_whole(gateway, translation, planned, &whole)))
        } else {
            Answered::Whole(whole)
        };
        unless_refused(translation, planned, Reached { losses, has_beginning, answer, waited })
    }
}

/// A stream whose first token is awaited. Dropped before that, it leaves behind what the provider said of usage.
struct Priming<'a> {
    relay: &'a mut StreamRelay,
    witness: Option<&'a Witness>,
}

impl Drop for Priming<'_> {
    fn drop(&mut self) {
        if let Some(witness) = self.witness {
            witness.saw(self.relay.likely_used());
        }
    }
}

fn is_event_stream(response: &Response<ResponseBody>) -> bool {
    let kind = response.headers().get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    // Servers that forget the header stream all the same.
    kind.is_none_or(|kind| !kind.trim_start().to_ascii_lowercase().starts_with("application/json"))
}

async fn read_error(response: Response<ResponseBody>, planned: &Planned, until: Instant) -> Failure {
    let status = response.status().as_u16();
    let (head, body) = response.into_parts();
    let until = until.min(Instant::now() + ERROR_BODY_TIME);
    // The status alone tells the kind where the body does not arrive.
    let body = match timeout_at(until.into(), read_bounded(body, MAX_ERROR)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) | Err(_) => Bytes::new(),
    };
    let error = planned.dialect().codec().parse_error(status, &body);
    Failure::of_provider(error, Some(&head.headers), &planned.target.label)
}

#[derive(Debug, thiserror::Error)]
enum ReadProblem {
    #[error("the answer has more than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the connection broke in the middle of the answer")]
    Broken,
}

impl ReadProblem {
    fn kind(&self) -> FailureKind {
        match self {
            Self::TooLarge { .. } => FailureKind::Malformed,
            Self::Broken => FailureKind::Truncated,
        }
    }
}

/// Reads a body whole, without copying it when it comes in one piece.
async fn read_bounded(mut body: ResponseBody, limit: usize) -> Result<Bytes, ReadProblem> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_error| ReadProblem::Broken)?.into_data() else { continue };
        if first.len() + rest.len() + data.len() > limit {
            return Err(ReadProblem::TooLarge { limit });
        }
        if first.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// Counts here, for targets that have no way to ask.
async fn count(translation: &Translation<'_>, planned: &Planned) -> Result<Reached, Failure> {
    let counted = match translation.conversation() {
        Ok(conversation) => count_locally(conversation, &planned.target.model).await,
        Err(error) => Err(error),
    };
    let tokens = counted.map_err(|error| of_request(error, &planned.target.label))?;
    let answer = Answered::Whole(WholeAnswer::of_count(translation.call, tokens));
    Ok(Reached { losses: Losses::new(), has_beginning: false, answer, waited: Duration::ZERO })
}

/// The caller's request cannot be sent to this target, or to any.
fn of_request(error: GatewayError, label: &str) -> Failure {
    let mut failure = Failure::new(FailureKind::BadRequest, label, error.message);
    failure.code = error.code;
    failure.param = error.param;
    failure
}
