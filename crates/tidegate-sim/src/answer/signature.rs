//! What thinking and function calls are signed with, so that the next turn's copy can be checked.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::digest::checksum;

/// The signature of a text: of thinking, or of a function call ([`of_call`]).
pub(crate) fn of_text(text: &str) -> String {
    // Long enough to be no accident, and base64 as the real ones are.
    STANDARD.encode(format!("sim-signature-1:{}:{}", checksum(text.as_bytes()), text.len()))
}

pub(crate) fn fits_text(signature: &str, text: &str) -> bool {
    signature == of_text(text)
}

/// The signature of a function call. The order of its arguments' fields does not matter.
pub(crate) fn of_call(name: &str, arguments: &Value) -> String {
    of_text(&format!("{name}({})", canonical(arguments)))
}

/// What a redacted block holds.
pub(crate) fn redacted(seed: u64) -> String {
    let content = format!("sim-redacted-1:{seed:016x}");
    STANDARD.encode(format!("{content}:{}", checksum(content.as_bytes())))
}

pub(crate) fn is_redacted(data: &str) -> bool {
    let Ok(bytes) = STANDARD.decode(data) else { return false };
    let Ok(text) = String::from_utf8(bytes) else { return false };
    text.rsplit_once(':').is_some_and(|(content, sum)| {
        content.starts_with("sim-redacted-1:") && sum == checksum(content.as_bytes())
    })
}

fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(name, _)| name.as_str());
            let fields: Vec<_> =
                sorted.into_iter().map(|(name, value)| format!("{name:?}:{}", canonical(value))).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}
