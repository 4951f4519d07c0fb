//! What the handlers of `/admin/v1` have at hand: the store, who asks, and what was sent.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, StatusCode};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidegate_gateway::{Gateway, GatewayError};
use tidegate_policy::Permissions;
use tidegate_store::{Access, Actor, AuditWriter, Store};

use super::caller::Administrator;
use super::refusal;

/// What administration works on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Administration {
    /// The ledger and its reports.
    pub store: Store,
    /// Everything else.
    pub access: Access,
    /// What writes down refusals.
    pub audit: AuditWriter,
}

/// One administrative request, let in.
pub(crate) struct Context {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) administration: Administration,
    pub(crate) caller: Administrator,
    pub(crate) parameters: Parameters,
    pub(crate) query: Query,
    pub(crate) body: Bytes,
}

/// The parameters in the path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parameters(pub(crate) Vec<(String, String)>);

/// What stands behind the `?`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

/// An answer that a handler gives.
#[derive(Debug)]
pub(crate) struct Reply {
    status: StatusCode,
    content_type: &'static str,
    more: Option<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
}

impl Context {
    pub(crate) fn access(&self) -> &Access {
        &self.administration.access
    }

    pub(crate) fn actor(&self) -> &Actor {
        &self.caller.actor
    }

    /// Refuses permissions that name a provider which is not configured, and was not among them before: it would mean
    /// nothing, or everybody but the one that was meant.
    pub(crate) fn check_providers(&self, new: &Permissions, before: &[String]) -> Result<(), GatewayError> {
        let mut named = new.providers.iter().enumerate().filter(|(_, name)| !before.contains(name));
        named.try_for_each(|(place, name)| {
            self.check_provider(&format!("permissions.providers[{place}]"), name)
        })
    }

    /// Refuses a provider that is not configured.
    pub(crate) fn check_provider(&self, field: &str, name: &str) -> Result<(), GatewayError> {
        let settings = self.gateway.settings();
        if settings.providers.contains_key(name) {
            return Ok(());
        }
        Err(refusal::unknown_provider(field, name, settings.providers.keys().map(String::as_str)))
    }

    /// The body as what it should be.
    pub(crate) fn body<T: DeserializeOwned>(&self) -> Result<T, GatewayError> {
        // Everything may be left out of some requests, the braces too.
        let body = if self.body.trim_ascii().is_empty() { b"{}" } else { self.body.trim_ascii() };
        // A list would be taken for the fields in their order.
        if body.first() != Some(&b'{') {
            return Err(refusal::no_object());
        }
        serde_json::from_slice(body).map_err(|error| refusal::wrong_body(&error))
    }
}

impl Parameters {
    /// A parameter that the path has.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

impl Query {
    /// Reads it. A parameter that the route does not know is refused, with the closest one.
    pub(crate) fn read(text: &str, known: &[(&str, &str)]) -> Result<Self, GatewayError> {
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if !known.iter().any(|(known, _)| *known == name) {
                return Err(refusal::unknown_parameter(&name, known));
            }
            if pairs.iter().any(|(before, _)| *before == name) {
                return Err(refusal::invalid(&name, "it stands there twice; which one is meant?"));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// A parameter, where it is given. An empty one is not.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// How many items are wanted; 0 where nothing is said.
    pub(crate) fn limit(&self) -> Result<u32, GatewayError> {
        const WHAT: &str = "it takes a whole number from 1 on";
        let Some(text) = self.get("limit") else { return Ok(0) };
        match text.parse() {
            Ok(0) | Err(_) => Err(refusal::invalid("limit", &format!("`{}`: {WHAT}", shorten(text)))),
            Ok(limit) => Ok(limit),
        }
    }

    /// Where a list goes on: an id that begins so.
    pub(crate) fn after(&self, prefix: &str) -> Result<Option<&str>, GatewayError> {
        match self.get("after") {
            Some(id) if !id.starts_with(prefix) => {
                Err(refusal::invalid("after", "it is not the `next` of a page of this list"))
            }
            after => Ok(after),
        }
    }

    /// A moment: `2026-01-31T12:00:00Z`, or a day, which begins at midnight, UTC.
    pub(crate) fn moment(&self, name: &str) -> Result<Option<Timestamp>, GatewayError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let midnight = |date: Date| date.to_zoned(TimeZone::UTC).ok().map(|start| start.timestamp());
        let moment = text.parse().ok().or_else(|| text.parse().ok().and_then(midnight));
        moment.map(Some).ok_or_else(|| {
            let wrong = format!("`{}`: write it like 2026-01-31T12:00:00Z or 2026-01-31", shorten(text));
            refusal::invalid(name, &wrong)
        })
    }

    /// A parameter as what it should be.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, GatewayError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse()
            .map(Some)
            .map_err(|error| refusal::invalid(name, &format!("`{}`: {error}", shorten(text))))
    }
}

fn decode(text: &str) -> Result<String, GatewayError> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map(Into::into).map_err(|_error| GatewayError::bad_request("The query is not valid UTF-8."))
}

fn shorten(text: &str) -> String {
    text.chars().take(100).collect()
}

impl Reply {
    pub(crate) fn json(value: &impl Serialize) -> Result<Self, GatewayError> {
        Self::with_status(StatusCode::OK, value)
    }

    /// Something was made.
    pub(crate) fn created(value: &impl Serialize) -> Result<Self, GatewayError> {
        Self::with_status(StatusCode::CREATED, value)
    }

    /// It is done, and there is nothing to say.
    pub(crate) fn done() -> Self {
        Self { status: StatusCode::NO_CONTENT, content_type: "", more: None, body: Vec::new() }
    }

    pub(crate) fn csv(text: String) -> Self {
        let content_type = "text/csv; charset=utf-8";
        Self { status: StatusCode::OK, content_type, more: None, body: text.into_bytes() }
    }

    /// With a header of its own, where this is so.
    pub(crate) fn marked(mut self, is_so: bool, name: &'static str, value: &'static str) -> Self {
        if is_so {
            self.more = Some((HeaderName::from_static(name), HeaderValue::from_static(value)));
        }
        self
    }

    fn with_status(status: StatusCode, value: &impl Serialize) -> Result<Self, GatewayError> {
        let body = serde_json::to_vec(value)
            .map_err(|error| GatewayError::internal(format!("The answer could not be written: {error}")))?;
        Ok(Self { status, content_type: "application/json", more: None, body })
    }

    pub(crate) fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        if !self.content_type.is_empty() {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        }
        if let Some((name, value)) = self.more {
            response.headers_mut().insert(name, value);
        }
        // Secrets that are shown once, and what changes from one moment to the next.
        response.headers_mut().insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_and_what_is_not_known_is_refused_with_what_was_meant() {
        let known = [("team_id", ""), ("name", "")];
        let query = Query::read("team_id=team_1&name=a+b%26c&", &known).unwrap();
        assert_eq!((query.get("team_id"), query.get("name")), (Some("team_1"), Some("a b&c")));
        assert_eq!(Query::read("name=", &known).unwrap().get("name"), None);
        let error = Query::read("teamid=1", &known).unwrap_err();
        assert!(error.message.contains("`team_id`"), "{error}");
        assert!(Query::read("name=%ff", &known).is_err());
        assert!(query.parsed::<u32>("name").is_err());
        assert!(Query::read("name=a&name=b", &known).is_err(), "which one is meant?");
        let known = [("limit", ""), ("since", ""), ("after", "")];
        let read = |text: &str| Query::read(text, &known).unwrap();
        assert_eq!((read("").limit().unwrap(), read("limit=7").limit().unwrap()), (0, 7));
        for wrong in ["limit=0", "limit=-1", "limit=99999999999", "limit=many"] {
            assert!(read(wrong).limit().unwrap_err().message.contains("from 1 on"), "{wrong}");
        }
        let since = |text: &str| read(&format!("since={text}")).moment("since").unwrap().unwrap().to_string();
        assert_eq!(since("2026-01-31"), "2026-01-31T00:00:00Z");
        assert_eq!(since("2026-01-31T12:00:00%2B01:00"), "2026-01-31T11:00:00Z");
        assert!(read("since=yesterday").moment("since").is_err());
        assert_eq!(read("after=key_1").after("key_").unwrap(), Some("key_1"));
        assert!(read("after=2").after("key_").is_err());
    }
}
