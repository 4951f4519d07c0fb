//! How urgent a call says it is: by header, or by the tier of service that the request asks the provider for.

use http::HeaderMap;
use tidegate_policy::Priority;
use tidegate_wire::Dialect;
use tidegate_wire::json::{Document, Value};

use crate::error::GatewayError;

/// The header by which a call says that it can wait.
pub const PRIORITY_HEADER: &str = "x-tidegate-priority";

/// What the header says; `None` where it is not there.
pub fn priority_of(headers: &HeaderMap) -> Result<Option<Priority>, GatewayError> {
    let Some(value) = headers.get(PRIORITY_HEADER) else { return Ok(None) };
    let said = value.to_str().unwrap_or_default().trim();
    let known = Priority::ALL.into_iter().find(|priority| priority.as_str().eq_ignore_ascii_case(said));
    known.map(Some).ok_or_else(|| {
        GatewayError::bad_request(format!("The header `{PRIORITY_HEADER}` must be `interactive` or `batch`."))
    })
}

/// Whether the request itself says that it can wait: OpenAI's and Google's flexible tier is cheaper and slower. A body
/// that cannot be read says nothing; what is wrong with it is told later.
pub fn is_for_later(dialect: Dialect, body: &bytes::Bytes) -> bool {
    let names: &[&str] = match dialect {
        Dialect::OpenAiChat => &["service_tier"],
        // Google takes both spellings of every field.
        Dialect::Gemini => &["serviceTier", "service_tier"],
        Dialect::AnthropicMessages => return false,
    };
    // Most bodies do not have the word, and finding that out is cheaper than reading them.
    if memchr::memmem::find(body, b"_tier").or_else(|| memchr::memmem::find(body, b"Tier")).is_none() {
        return false;
    }
    let Ok(document) = Document::parse(body.clone()) else { return false };
    let said = names.iter().find_map(|name| document.get(name).and_then(Value::as_string));
    said.is_some_and(|tier| tier.eq_ignore_ascii_case("flex"))
}
