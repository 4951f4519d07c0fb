//! One call: who asks, what is asked, what the model's name says, and the answer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tidegate_wire::Dialect;

use crate::answer::{compose, count_input};
use crate::asked::Asked;
use crate::body::{Move, Record, SimBody, Stream, huge};
use crate::connection::Reset;
use crate::dialects::{Refused, Rendering, Way, anthropic, event, failure, gemini, not_json, openai, read};
use crate::digest::{characters, checksum, digest};
use crate::routes::plain;
use crate::scenario::{Behaviour, Failure, Fault, behaviour_of};
use crate::served::Outcome;
use crate::simulator::State;

/// Larger requests get 413; more than any of the three takes.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// A threshold of a fault is followed by so many tokens that are never sent.
const TOKENS_BEYOND: u64 = 10;

/// What the path says.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) dialect: Dialect,
    /// Gemini's; the others have it in the body.
    pub(crate) model: String,
    pub(crate) stream: bool,
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the scenario ends the connection here")]
pub(crate) struct Cut;

/// An answer to generate.
pub(crate) async fn serve(
    state: Arc<State>,
    reset: Reset,
    asking: Asking,
    request: Request<Incoming>,
) -> Result<Response<SimBody>, Cut> {
    let dialect = asking.dialect;
    let of_key = presented_keys(dialect, request.headers(), request.uri().query()).0.map(behaviour_of);
    let mut record = Record::open(Arc::clone(&state.ledger), dialect, Instant::now());
    record.model.clone_from(&asking.model);
    record.streamed = asking.stream;
    let sse = is_sse(&asking, request.uri().query());
    let (asked, body) = match take(&state, &asking, request, false).await {
        Ok(taken) => taken,
        Err((refused, model)) => {
            record.model = model.unwrap_or(record.model.clone());
            let array = asking.stream && !sse;
            return Ok(refusal(&refused, dialect, array, record, reset));
        }
    };
    record.model.clone_from(&asked.model);
    record.streamed = asked.stream;
    record.request = checksum(&body);
    let mut behaviour = behaviour_of(&asked.model);
    if let Some(refuse) = of_key.and_then(|of_key| of_key.refuse) {
        (behaviour.refuse, behaviour.history) = (Some(refuse), None);
    }
    let array = asked.stream && !sse;
    if let Some(refused) = refuses(&state, dialect, &asked, &behaviour) {
        if refused.status == 200 && asked.stream {
            return Ok(in_band(&refused, dialect, array, record, reset));
        }
        return Ok(refusal(&refused, dialect, array, record, reset));
    }
    match behaviour.fault {
        Some(Fault::Silent) => {
            // For ever, or until the caller hangs up, which drops this future and with it the record.
            std::future::pending::<()>().await;
        }
        Some(fault @ (Fault::CutBeforeHeaders | Fault::Reset)) => {
            if fault == Fault::Reset {
                reset.arm();
            }
            record.close(Outcome::Cut);
            return Err(Cut);
        }
        _ => {}
    }
    answer(&state, dialect, asked, behaviour, sse, digest(&body), record, reset).await
}

/// Tokens of a request, counted.
pub(crate) async fn count(
    state: Arc<State>,
    reset: Reset,
    asking: Asking,
    request: Request<Incoming>,
) -> Result<Response<SimBody>, Cut> {
    let asked = match take(&state, &asking, request, true).await {
        Ok((asked, _)) => asked,
        Err((refused, _)) => return Ok(uncounted(&refused, &reset)),
    };
    let behaviour = behaviour_of(&asked.model);
    let refuse = behaviour
        .refuse
        .filter(|kind| behaviour.history.is_none() && !matches!(kind, Failure::ContextLength { .. }));
    if let Some(kind) = refuse {
        return Ok(uncounted(&failure(asking.dialect, kind, &asked.model, 0), &reset));
    }
    let total = count_input(&asked, false).input;
    let body = match asking.dialect {
        Dialect::Gemini => {
            json!({"totalTokens": total, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": total}]})
        }
        _ => json!({"input_tokens": total}),
    };
    Ok(json_response(&reset, StatusCode::OK, &body))
}

type Refusal = (Refused, Option<String>);

/// Signs the caller in, and reads and understands the request.
async fn take(
    state: &State,
    asking: &Asking,
    request: Request<Incoming>,
    count_only: bool,
) -> Result<(Asked, Bytes), Refusal> {
    let dialect = asking.dialect;
    sign_in(state, dialect, request.headers(), request.uri().query()).map_err(|refused| (refused, None))?;
    let body = match Limited::new(request.into_body(), MOST_BYTES).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => return Err((failure(dialect, Failure::TooLarge, "", 0), None)),
    };
    let Ok(json) = serde_json::from_slice::<Value>(&body) else { return Err((not_json(dialect), None)) };
    let model = json.get("model").and_then(Value::as_str).map(str::to_owned);
    let way = Way {
        model: &asking.model,
        stream: asking.stream,
        strict_roles: state.options.strict_roles,
        count_only,
    };
    match read(dialect, &json, &way) {
        Ok(asked) => Ok((asked, body)),
        Err(refused) => Err((refused, model.filter(|_| dialect != Dialect::Gemini))),
    }
}

fn is_sse(asking: &Asking, query: Option<&str>) -> bool {
    asking.dialect != Dialect::Gemini || query.unwrap_or_default().split('&').any(|pair| pair == "alt=sse")
}

/// The key where callers of this dialect put it, and one that was put elsewhere.
fn presented_keys<'a>(
    dialect: Dialect,
    headers: &'a HeaderMap,
    query: Option<&'a str>,
) -> (Option<&'a str>, Option<&'a str>) {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
    let in_query = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("key="));
    let google = header("x-goog-api-key").or(in_query);
    let anthropic = header("x-api-key");
    match dialect {
        Dialect::OpenAiChat => (bearer, anthropic.or(google)),
        Dialect::AnthropicMessages => (anthropic.or(bearer), google),
        Dialect::Gemini => (google, anthropic.or(bearer)),
    }
}

fn sign_in(state: &State, dialect: Dialect, headers: &HeaderMap, query: Option<&str>) -> Result<(), Refused> {
    let (key, elsewhere) = presented_keys(dialect, headers, query);
    let has_bearer =
        headers.get("authorization").is_some_and(|value| value.as_bytes().starts_with(b"Bearer "));
    let wanted = state.options.api_key.as_deref();
    match (key, wanted) {
        (Some(key), Some(wanted)) if key != wanted => return Err(wrong_key(dialect)),
        (None, _) if dialect == Dialect::Gemini && has_bearer => return Err(gemini::error::no_token()),
        (None, Some(_)) => return Err(no_key(dialect)),
        (None, None) if elsewhere.is_some() => return Err(no_key(dialect)),
        _ => {}
    }
    if dialect == Dialect::AnthropicMessages && !headers.contains_key("anthropic-version") {
        return Err(anthropic::error::invalid("anthropic-version: header is required"));
    }
    Ok(())
}

fn no_key(dialect: Dialect) -> Refused {
    match dialect {
        Dialect::OpenAiChat => openai::error::no_key(),
        Dialect::AnthropicMessages => anthropic::error::no_key(),
        Dialect::Gemini => gemini::error::no_key(),
    }
}

fn wrong_key(dialect: Dialect) -> Refused {
    match dialect {
        Dialect::OpenAiChat => openai::error::wrong_key(),
        Dialect::AnthropicMessages => anthropic::error::wrong_key(),
        Dialect::Gemini => gemini::error::wrong_key(),
    }
}

/// The error that this call gets, if it gets one in place of an answer.
fn refuses(state: &State, dialect: Dialect, asked: &Asked, behaviour: &Behaviour) -> Option<Refused> {
    let counted = count_input(asked, false).input;
    let refused = |kind| Some(failure(dialect, kind, &asked.model, counted));
    if let Some(history) = behaviour.history {
        let left = state.memory.is_to_fail(&asked.model, history, Instant::now());
        return match (left, behaviour.refuse) {
            (Some(left), Some(Failure::RateLimited { .. })) => {
                refused(Failure::RateLimited { seconds: left.max(1) })
            }
            (Some(_), Some(kind)) => refused(kind),
            _ => None,
        };
    }
    match behaviour.refuse {
        Some(Failure::ContextLength { window }) if counted <= window => {}
        Some(kind) => return refused(kind),
        None => {}
    }
    match behaviour.fault {
        // What would break a stream in the middle fails a whole answer at once.
        Some(Fault::OverloadedAfter(_)) if !asked.stream => return refused(Failure::Overloaded),
        Some(Fault::ErrorAfter(_)) if !asked.stream => return refused(Failure::Server { status: 500 }),
        _ => {}
    }
    let options = &state.options;
    let drawn = fastrand::f64();
    if drawn < options.error_rate {
        return refused(Failure::Server { status: 500 });
    }
    if drawn < options.error_rate + options.rate_limit_rate {
        return refused(Failure::RateLimited { seconds: 1 });
    }
    None
}

#[expect(
    clippy::too_many_arguments,
    reason = "everything that a call has gathered on its way meets here once"
)]
async fn answer(
    state: &State,
    dialect: Dialect,
    asked: Asked,
    mut behaviour: Behaviour,
    sse: bool,
    seed: u64,
    mut record: Record,
    reset: Reset,
) -> Result<Response<SimBody>, Cut> {
    let options = &state.options;
    if asked.stream && behaviour.fault.is_none() && fastrand::f64() < options.cut_rate {
        behaviour.fault = Some(Fault::CutAfter(u64::from(options.tokens / 2)));
    }
    if let Some(
        Fault::CutAfter(after)
        | Fault::ResetAfter(after)
        | Fault::StallAfter(after)
        | Fault::MalformedAt(after)
        | Fault::OverloadedAfter(after)
        | Fault::ErrorAfter(after),
    ) = behaviour.fault
    {
        let enough = u32::try_from(after.saturating_add(TOKENS_BEYOND)).unwrap_or(u32::MAX);
        behaviour.tokens = Some(behaviour.tokens.unwrap_or(options.tokens).max(enough));
    }
    let answer = compose(&asked, &behaviour, dialect, options.tokens);
    let first_token = behaviour.first_token.unwrap_or(options.latency);
    let speed = behaviour.tokens_per_second.unwrap_or(options.tokens_per_second);
    record.usage = answer.usage;
    record.status = 200;
    let streamed = asked.stream;
    let fault = behaviour.fault;
    let rendering = Rendering { dialect, asked, behaviour, answer, seed, sse };
    let kind = match (fault, streamed, sse) {
        (Some(Fault::WrongContentType), _, _) => "text/html",
        (_, true, true) if dialect == Dialect::Gemini => "text/event-stream",
        (_, true, true) => "text/event-stream; charset=utf-8",
        _ if dialect == Dialect::Gemini => "application/json; charset=UTF-8",
        _ => "application/json",
    };
    if fault == Some(Fault::EmptyBody) {
        return Ok(respond(
            dialect,
            kind,
            seed,
            SimBody::of_moves(vec![Move::End(Outcome::Cut)], record, reset),
        ));
    }
    if streamed {
        let mut response = respond(
            dialect,
            kind,
            seed,
            SimBody::of_stream(Stream::new(rendering, first_token, speed), record, reset),
        );
        if fault == Some(Fault::LyingLength) {
            promise(&mut response, 10_000_000);
        }
        return Ok(response);
    }
    let tokens = rendering.answer.usage.output;
    let mut time = first_token;
    if speed > 0.0 {
        let factor = u32::try_from(tokens).unwrap_or(u32::MAX);
        time = time.saturating_add(Duration::from_secs_f64(1.0 / speed).saturating_mul(factor));
    }
    if !time.is_zero() && fault != Some(Fault::Stall) {
        tokio::time::sleep(time).await;
    }
    let bytes = Bytes::from(rendering.whole().to_string());
    let length = bytes.len();
    let (moves, promised) = whole(bytes, tokens, fault);
    let mut response = respond(dialect, kind, seed, SimBody::of_moves(moves, record, reset));
    if promised > 0 || length == 0 {
        promise(&mut response, promised);
    }
    Ok(response)
}

/// How a whole answer is sent, and the length that is promised (0: none).
fn whole(bytes: Bytes, tokens: u64, fault: Option<Fault>) -> (Vec<Move>, usize) {
    let length = bytes.len();
    let half = Move::Send { bytes: bytes.slice(..length / 2), tokens: 0 };
    let broken = "{\"broken\": [1, 2";
    match fault {
        Some(Fault::CutAfter(_)) => (vec![half, Move::Break], length),
        Some(Fault::ResetAfter(_)) => (vec![half, Move::Reset], length),
        Some(Fault::StallAfter(_)) => (vec![half, Move::Hang], length),
        Some(Fault::Stall) => (vec![Move::Hang], length),
        Some(Fault::LyingLength) => (vec![Move::Send { bytes, tokens }, Move::Break], length + 1_000),
        Some(Fault::MalformedAt(_) | Fault::MalformedBody) => {
            let bytes = Bytes::from_static(broken.as_bytes());
            (vec![Move::Send { bytes, tokens: 0 }, Move::End(Outcome::Cut)], broken.len())
        }
        Some(Fault::HugeLine(megabytes)) => {
            let mut moves = VecDeque::new();
            huge(megabytes, "", "", &mut moves);
            (moves.into(), 0)
        }
        _ => (vec![Move::Send { bytes, tokens }, Move::End(Outcome::Answered)], length),
    }
}

fn promise(response: &mut Response<SimBody>, length: usize) {
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
}

/// A 200 with the headers that the provider adds.
fn respond(dialect: Dialect, kind: &'static str, seed: u64, body: SimBody) -> Response<SimBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let id = characters(seed, 20);
    let (name, value) = match dialect {
        Dialect::OpenAiChat => ("x-request-id", format!("req_{id}")),
        Dialect::AnthropicMessages => ("request-id", format!("req_01{id}")),
        Dialect::Gemini => ("server-timing", "gfet4t7; dur=1".to_owned()),
    };
    insert(headers, name, &value);
    if dialect == Dialect::OpenAiChat {
        for (name, value) in [
            ("openai-version", "2020-10-01"),
            ("openai-processing-ms", "1"),
            ("x-ratelimit-limit-requests", "500"),
            ("x-ratelimit-remaining-requests", "499"),
            ("x-ratelimit-reset-requests", "120ms"),
        ] {
            insert(headers, name, value);
        }
    }
    response
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// An error answered as such.
fn refusal(
    refused: &Refused,
    dialect: Dialect,
    array: bool,
    mut record: Record,
    reset: Reset,
) -> Response<SimBody> {
    record.status = refused.status;
    let is_html = behaviour_of(&record.model).refuse.is_some_and(|kind| matches!(kind, Failure::Html { .. }));
    let (kind, bytes) = if is_html && refused.status == 502 {
        ("text/html", Bytes::from_static(PAGE.as_bytes()))
    } else if array {
        ("application/json", Bytes::from(format!("[{}\n]", refused.body)))
    } else {
        ("application/json", Bytes::from(refused.body.to_string()))
    };
    let length = bytes.len();
    let moves = vec![Move::Send { bytes, tokens: 0 }, Move::End(Outcome::Failed)];
    let mut response = respond(dialect, kind, length as u64, SimBody::of_moves(moves, record, reset));
    *response.status_mut() =
        StatusCode::from_u16(refused.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in &refused.headers {
        insert(response.headers_mut(), name, value);
    }
    promise(&mut response, length);
    response
}

const PAGE: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad \
                    Gateway</h1></center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n";

/// An error inside a 200 stream, as its only event.
fn in_band(
    refused: &Refused,
    dialect: Dialect,
    array: bool,
    mut record: Record,
    reset: Reset,
) -> Response<SimBody> {
    record.status = 200;
    let bytes = if array {
        format!("[{}\n]", refused.body).into_bytes()
    } else {
        event((dialect == Dialect::AnthropicMessages).then_some("error"), &refused.body)
    };
    let kind = if array { "application/json" } else { "text/event-stream; charset=utf-8" };
    let moves = vec![Move::Send { bytes: bytes.into(), tokens: 0 }, Move::End(Outcome::Failed)];
    respond(dialect, kind, 0, SimBody::of_moves(moves, record, reset))
}

fn uncounted(refused: &Refused, reset: &Reset) -> Response<SimBody> {
    let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = plain(reset, status, "application/json", Bytes::from(refused.body.to_string()));
    for (name, value) in &refused.headers {
        insert(response.headers_mut(), name, value);
    }
    response
}

/// A page that is no call.
pub(crate) fn json_response(reset: &Reset, status: StatusCode, body: &Value) -> Response<SimBody> {
    plain(reset, status, "application/json", Bytes::from(body.to_string()))
}
