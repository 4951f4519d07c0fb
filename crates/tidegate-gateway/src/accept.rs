//! Station 1: what was asked, in which dialect, for which model?
//!
//! Reads no more of the body than it must: the body is checked to be JSON and its top-level members are found, but no
//! tree is built.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use tidegate_config::AUTO;
use tidegate_store::{CallId, Tags, Text};
use tidegate_wire::json::{Document, Kind, Value};
use tidegate_wire::{Dialect, PathFacts, carry};

use crate::admit::Principal;
use crate::error::GatewayError;
use crate::plan::{ArmTarget, Route, Steering, read_steering};
use crate::queue::priority_of;

/// The longest model name that is looked up; real ones have some 60 characters, fine-tunes and ARNs up to 200.
const MAX_MODEL_NAME: usize = 512;

/// The longest name of a session; identifiers have some 40 characters.
const MAX_SESSION: usize = 256;

/// The longest name of an end user that is kept whole.
const MAX_USER_BYTES: usize = 512;

/// What is asked of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// An answer in a conversation.
    Chat,
    /// How many tokens a conversation has.
    CountTokens,
}

impl Operation {
    /// The word for the ledger and the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::CountTokens => "count_tokens",
        }
    }
}

/// A request as it came in, body read and bounded.
#[derive(Debug)]
pub struct Arrival {
    /// When its head was read.
    pub at: Instant,
    /// What is asked.
    pub operation: Operation,
    /// In which dialect.
    pub dialect: Dialect,
    /// The model and the stream flag, where the dialect has them in the path.
    pub path: Option<PathParts>,
    /// Who asks.
    pub principal: Principal,
    /// The end user, where a header names it.
    pub end_user: Option<Text>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// What a path says.
#[derive(Debug, Clone)]
pub struct PathParts {
    /// The model.
    pub model: String,
    /// Whether a stream is wanted.
    pub stream: bool,
    /// Whether that stream is a JSON array instead of server-sent events (Gemini without `alt=sse`).
    pub json_array: bool,
}

/// One request from a caller, understood.
#[derive(Debug)]
pub struct Call {
    /// Its id, in the ledger and in the caller's `x-request-id`.
    pub id: CallId,
    /// When it came.
    pub at: Instant,
    /// What is asked.
    pub operation: Operation,
    /// In which dialect.
    pub dialect: Dialect,
    /// Who asks.
    pub principal: Principal,
    /// The model, as the caller names it.
    pub model: String,
    /// Whether the answer is wanted as a stream.
    pub stream: bool,
    /// Whether that stream is a JSON array (Gemini without `alt=sse`).
    pub json_array: bool,
    /// Whether the caller wants usage at the end of a stream; always, except in OpenAI's dialect.
    pub include_usage: bool,
    /// The body, checked to be a JSON object, with its members found.
    pub document: Document,
    /// Whether the body holds what an earlier answer carried, and so must not pass through unread.
    pub is_carrying: bool,
    /// What Tidegate's own headers say.
    pub wishes: Wishes,
    /// Headers of the caller that are part of the dialect and go along to targets that speak it.
    pub dialect_headers: HeaderMap,
    /// The end user, as the body or a header names it.
    pub end_user: Option<Text>,
    /// The request's headers, for conditions.
    pub(crate) headers: CallerHeaders,
    /// What the caller wishes about who is asked.
    pub(crate) steering: Option<Box<Steering>>,
    /// What was chosen, where the caller names `auto`.
    pub(crate) route: Option<Route>,
    /// The part that is spent of the tightest budget; `None` where no condition asks, or it cannot be known.
    pub(crate) budget_used: Option<f64>,
    /// Where an experiment wants it to go.
    pub(crate) arm: Option<Arc<ArmTarget>>,
}

/// A request's headers. Credentials are among them, so they are never shown.
pub(crate) struct CallerHeaders(HeaderMap);

impl CallerHeaders {
    /// A header by its name, in any case.
    pub(crate) fn get(&self, name: &str) -> Option<&http::HeaderValue> {
        self.0.get(name)
    }
}

impl std::fmt::Debug for CallerHeaders {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

impl Call {
    /// The same for a shadow: nobody's call, without what the caller told Tidegate about itself.
    pub(crate) fn anonymous(&self) -> Self {
        Self {
            id: self.id,
            at: self.at,
            operation: self.operation,
            dialect: self.dialect,
            principal: Principal::anonymous(None),
            model: self.model.clone(),
            stream: self.stream,
            json_array: self.json_array,
            include_usage: self.include_usage,
            document: self.document.clone(),
            is_carrying: self.is_carrying,
            wishes: Wishes::default(),
            dialect_headers: self.dialect_headers.clone(),
            end_user: None,
            headers: CallerHeaders(HeaderMap::new()),
            steering: self.steering.clone(),
            route: None,
            budget_used: None,
            arm: None,
        }
    }

    /// What stands elsewhere than in the body: in the path, in Gemini's dialect; the model among further ones, where the body names
    /// none besides.
    pub fn path_facts(&self) -> Option<PathFacts<'_>> {
        let is_elsewhere = self.dialect == Dialect::Gemini || !self.names_model();
        is_elsewhere.then_some(PathFacts { model: &self.model, stream: self.stream })
    }

    /// The model that is meant: the one that the caller names, or what was chosen for `auto`.
    pub(crate) fn meant_model(&self) -> &str {
        match &self.route {
            Some(route) if self.model.strip_prefix("models/").unwrap_or(&self.model) == AUTO => &route.model,
            _ => &self.model,
        }
    }

    /// Whether the body itself names the model.
    pub(crate) fn names_model(&self) -> bool {
        self.document.get("model").is_some_and(|model| !model.is_null())
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        self.document.body()
    }
}

/// What the caller wants of Tidegate, by header.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// `x-tidegate-timeout`: deadline for the whole call.
    pub timeout: Option<Duration>,
    /// `x-tidegate-tags`.
    pub tags: Tags,
    /// `x-tidegate-strict`: refuse rather than drop.
    pub strict: bool,
    /// `x-tidegate-session`: keeps a conversation at one target.
    pub session: Option<Text>,
}

/// Understands a request.
pub fn accept(id: CallId, arrival: Arrival) -> Result<Call, GatewayError> {
    let mut wishes = read_wishes(&arrival.headers)?;
    // Of use only while calls wait; what is wrong with it is told always.
    priority_of(&arrival.headers)?;
    add_key_tags(&mut wishes.tags, &arrival.principal);
    let document = Document::parse(arrival.body).map_err(|error| {
        GatewayError::bad_request(format!("The request body is not a valid JSON object: {error}"))
    })?;
    let dialect = arrival.dialect;
    let required = if dialect == Dialect::Gemini { "contents" } else { "messages" };
    let steering = read_steering(&document, dialect, &arrival.headers)?;
    let (model, stream, json_array) = match arrival.path {
        Some(path) => (path.model, path.stream, path.json_array),
        None => (read_model(&document, steering.as_deref())?, read_flag(&document, "stream")?, false),
    };
    check_model_name(&model)?;
    match document.get(required).map(tidegate_wire::json::Value::kind) {
        Some(Kind::Array) => {}
        // Google's countTokens takes a whole request instead.
        None if arrival.operation == Operation::CountTokens
            && document.get("generateContentRequest").is_some() => {}
        Some(Kind::Object) if dialect == Dialect::Gemini => {}
        found => {
            let message = match found {
                None | Some(Kind::Null) => format!("The field `{required}` is missing. It must be an array."),
                Some(_) => format!("The field `{required}` must be an array."),
            };
            return Err(GatewayError { param: Some(required.into()), ..GatewayError::bad_request(message) });
        }
    }
    let include_usage = dialect != Dialect::OpenAiChat
        || document
            .get_nested("stream_options", "include_usage")
            .and_then(tidegate_wire::json::Value::as_bool)
            .unwrap_or(false);
    let named = arrival.principal.end_user().map(|user| Text::from(user.to_owned()));
    let in_body = end_user(&document, dialect)?;
    let end_user = named.or(in_body).or(arrival.end_user);
    if let Some(user) = &end_user {
        check_user(user)?;
    }
    let is_carrying = carry::is_carrying(document.body());
    Ok(Call {
        id,
        at: arrival.at,
        operation: arrival.operation,
        dialect,
        principal: arrival.principal,
        model,
        stream,
        json_array,
        include_usage,
        is_carrying,
        document,
        wishes,
        dialect_headers: dialect_headers(&arrival.headers, dialect),
        end_user,
        headers: CallerHeaders(arrival.headers),
        steering,
        route: None,
        budget_used: None,
        arm: None,
    })
}

/// The model; who names several need not name one besides.
fn read_model(document: &Document, steering: Option<&Steering>) -> Result<String, GatewayError> {
    let first = steering.and_then(|steering| steering.models.first());
    if let Some(first) = first
        && document.get("model").is_none_or(tidegate_wire::json::Value::is_null)
    {
        return Ok(first.clone());
    }
    let missing =
        |message: &str| GatewayError { param: Some("model".into()), ..GatewayError::bad_request(message) };
    match document.get("model") {
        None => Err(missing(
            "The field `model` is missing. Name the model to ask, for example `openai/gpt-5-mini`.",
        )),
        Some(value) if value.is_null() => Err(missing("The field `model` is null. Name the model to ask.")),
        Some(value) => value
            .as_string()
            .map(std::borrow::Cow::into_owned)
            .ok_or_else(|| missing("The field `model` must be a string.")),
    }
}

/// The end user, where the dialect has a field for it.
fn end_user(document: &Document, dialect: Dialect) -> Result<Option<Text>, GatewayError> {
    match dialect {
        // OpenAI has put the second in the first one's place: help.openai.com/en/articles/5428082.
        Dialect::OpenAiChat => {
            let user = read_user("user", document.get("user"))?;
            let identifier = read_user("safety_identifier", document.get("safety_identifier"))?;
            Ok(user.or(identifier))
        }
        Dialect::AnthropicMessages => {
            read_user("metadata.user_id", document.get_nested("metadata", "user_id"))
        }
        Dialect::Gemini => Ok(None),
    }
}

/// Such a name would be cut where it is kept, and be somebody else's or nobody's when its limits are looked up again.
fn check_user(user: &str) -> Result<(), GatewayError> {
    if user.len() <= MAX_USER_BYTES && !user.contains('\0') {
        return Ok(());
    }
    let message = format!(
        "The name of the end user has {} bytes or a NUL in it. It can have {MAX_USER_BYTES} bytes at most, and no NUL; \
         send a hash of it instead.",
        user.len()
    );
    Err(GatewayError { param: Some("user".to_owned()), ..GatewayError::bad_request(message) })
}

/// What cannot be read must not free a call of its end user's limits. An empty name says as much as none.
fn read_user(field: &str, value: Option<Value<'_>>) -> Result<Option<Text>, GatewayError> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    match value.as_string() {
        Some(user) => Ok((!user.is_empty()).then(|| Text::from(user.into_owned()))),
        None => Err(GatewayError {
            param: Some(field.to_owned()),
            ..GatewayError::bad_request(format!("The field `{field}` must be a string."))
        }),
    }
}

/// A key's own tags: they are the operator's word, so a caller cannot replace them.
fn add_key_tags(tags: &mut Tags, principal: &Principal) {
    for (name, value) in principal.key().map(|key| &*key.tags).unwrap_or_default() {
        if let Err(error) = tags.insert(name.clone(), value.clone()) {
            tracing::debug!(%error, "a key's tag was left out");
        }
    }
}

fn read_flag(document: &Document, name: &str) -> Result<bool, GatewayError> {
    match document.get(name) {
        None => Ok(false),
        Some(value) if value.is_null() => Ok(false),
        Some(value) => value.as_bool().ok_or_else(|| GatewayError {
            param: Some(name.into()),
            ..GatewayError::bad_request(format!("The field `{name}` must be true or false."))
        }),
    }
}

fn check_model_name(model: &str) -> Result<(), GatewayError> {
    if model.is_empty() || model.len() > MAX_MODEL_NAME || model.chars().any(char::is_control) {
        return Err(GatewayError {
            param: Some("model".into()),
            ..GatewayError::bad_request(format!(
                "The model's name must have 1 to {MAX_MODEL_NAME} bytes and no control characters."
            ))
        });
    }
    Ok(())
}

fn read_wishes(headers: &HeaderMap) -> Result<Wishes, GatewayError> {
    let text = |name: &str| -> Result<Option<&str>, GatewayError> {
        headers.get(name).map(http::HeaderValue::to_str).transpose().map_err(|_error| {
            GatewayError::bad_request(format!("The header `{name}` must be plain ASCII text."))
        })
    };
    let timeout = text("x-tidegate-timeout")?
        .map(|value| {
            tidegate_config::parse_duration(value.trim()).map_err(|error| {
                GatewayError::bad_request(format!(
                    "The header `x-tidegate-timeout` is not a duration such as `30s` or `500ms`: {error}"
                ))
            })
        })
        .transpose()?;
    let tags = text("x-tidegate-tags")?
        .map(|value| {
            Tags::parse(value).map_err(|error| {
                GatewayError::bad_request(format!("The header `x-tidegate-tags` is wrong: {error}"))
            })
        })
        .transpose()?
        .unwrap_or_default();
    let strict = match text("x-tidegate-strict")?.map(str::trim) {
        None | Some("" | "false" | "0" | "no") => false,
        Some("true" | "1" | "yes" | "on") => true,
        Some(_) => {
            return Err(GatewayError::bad_request(
                "The header `x-tidegate-strict` must be `true` or `false`.",
            ));
        }
    };
    let session = text("x-tidegate-session")?.map(str::trim).filter(|session| !session.is_empty());
    if session.is_some_and(|session| session.len() > MAX_SESSION) {
        return Err(GatewayError::bad_request(format!(
            "The header `x-tidegate-session` must have {MAX_SESSION} bytes at most."
        )));
    }
    let session = session.map(|session| Text::from(session.to_owned()));
    Ok(Wishes { timeout, tags, strict, session })
}

/// The caller's headers that belong to the dialect: versions and beta features of the provider's API. Everything else
/// (credentials above all) stays here.
fn dialect_headers(headers: &HeaderMap, dialect: Dialect) -> HeaderMap {
    let names: &[&str] = match dialect {
        Dialect::OpenAiChat => &["openai-beta"],
        Dialect::AnthropicMessages => &["anthropic-version", "anthropic-beta"],
        Dialect::Gemini => &[],
    };
    let mut kept = HeaderMap::new();
    for &name in names {
        for value in headers.get_all(name) {
            kept.append(name, value.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(dialect: Dialect, body: &'static str, expected: Result<Option<&str>, &str>) {
        let found = end_user(&Document::parse(Bytes::from_static(body.as_bytes())).unwrap(), dialect);
        let found = found.map_err(|error| (error.status, error.param.unwrap_or_default()));
        let expected = expected.map_err(|param| (400, param.to_owned()));
        assert_eq!(found.as_ref().map(Option::as_deref), expected.as_ref().map(|user| *user), "{body}");
    }

    #[test]
    fn the_end_user_is_the_one_that_the_body_names_and_must_be_a_text() {
        let openai = |body, expected| check(Dialect::OpenAiChat, body, expected);
        openai("{}", Ok(None));
        openai(r#"{"user": "ann"}"#, Ok(Some("ann")));
        openai(r#"{"user": null, "safety_identifier": "hash"}"#, Ok(Some("hash")));
        openai(r#"{"user": "", "safety_identifier": "hash"}"#, Ok(Some("hash")));
        openai(r#"{"user": "ann", "safety_identifier": "hash"}"#, Ok(Some("ann")));
        openai(r#"{"user": 5}"#, Err("user"));
        openai(r#"{"user": "ann", "safety_identifier": ["hash"]}"#, Err("safety_identifier"));
        let anthropic = |body, expected| check(Dialect::AnthropicMessages, body, expected);
        anthropic(r#"{"metadata": {"user_id": "ann"}, "user": 5}"#, Ok(Some("ann")));
        anthropic(r#"{"metadata": {"user_id": {"name": "ann"}}}"#, Err("metadata.user_id"));
        check(Dialect::Gemini, r#"{"user": 5}"#, Ok(None));
    }
}
