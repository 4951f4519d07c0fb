//! A request that is to be explained and not made: its path, headers and body as a call's arrival. Used by
//! `/admin/v1/explain` and `tidegate explain`.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidegate_gateway::accept::PathParts;
use tidegate_gateway::{Arrival, GatewayError, Operation, Principal};
use tidegate_wire::Dialect;

use crate::inference::gemini_method;
use crate::routes::{Method, ROUTES, Target};

/// Where a request goes that does not say.
const USUAL_PATH: &str = "/v1/chat/completions";

/// More headers than this are no request of an SDK.
const MAX_HEADERS: usize = 100;

/// A request to explain.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ExplainRequest")]
pub struct RequestToExplain {
    /// The path that it would be sent to: `/v1/chat/completions` when left out, `/v1/messages`,
    /// `/v1beta/models/gemini-2.5-flash:generateContent`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The id of the key that it would come from; nobody in particular when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Its headers, as far as they matter: `x-tidegate-session`, `x-tidegate-tags`, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Its body.
    #[schemars(with = "serde_json::Value")]
    pub body: Box<RawValue>,
}

/// What a path asks for.
#[derive(Debug)]
pub struct Asked {
    /// The dialect.
    pub dialect: Dialect,
    /// The operation.
    pub operation: Operation,
    path: Option<PathParts>,
}

impl RequestToExplain {
    /// What its path asks for.
    pub fn asked(&self) -> Result<Asked, GatewayError> {
        let written = self.path.as_deref().unwrap_or(USUAL_PATH);
        let (path, query) = written.split_once('?').unwrap_or((written, ""));
        for route in ROUTES.iter().filter(|route| route.method == Method::Post) {
            match route.target {
                Target::Inference(dialect, operation) if route.path == path => {
                    return Ok(Asked { dialect, operation, path: None });
                }
                Target::GeminiMethod => {
                    let before = route.path.split('{').next().unwrap_or_default();
                    let method = path.strip_prefix(before).and_then(|rest| gemini_method(rest, query));
                    if let Some((operation, path)) = method {
                        return Ok(Asked { dialect: Dialect::Gemini, operation, path: Some(path) });
                    }
                }
                _ => {}
            }
        }
        Err(GatewayError::bad_request(format!(
            "`{}` is no path that a model is asked by, such as `{USUAL_PATH}` or `/v1/messages`.",
            path.chars().take(200).collect::<String>()
        )))
    }

    /// The request as it would arrive from this principal.
    pub fn arrival(&self, asked: Asked, principal: Principal) -> Result<Arrival, GatewayError> {
        if self.headers.len() > MAX_HEADERS {
            return Err(GatewayError::bad_request(format!("There are more than {MAX_HEADERS} headers.")));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let known =
                HeaderName::try_from(name.as_str()).ok().zip(HeaderValue::try_from(value.as_str()).ok());
            let Some((name, value)) = known else {
                let shown: String = name.chars().take(100).collect();
                return Err(GatewayError::bad_request(format!(
                    "`{shown}` cannot be a header with this value."
                )));
            };
            headers.append(name, value);
        }
        Ok(Arrival {
            at: Instant::now(),
            operation: asked.operation,
            dialect: asked.dialect,
            path: asked.path,
            principal,
            end_user: None,
            headers,
            body: Bytes::from(self.body.get().to_owned()),
        })
    }
}
