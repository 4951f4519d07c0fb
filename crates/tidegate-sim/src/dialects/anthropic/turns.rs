//! Reads the messages of a request: roles, blocks, and what must follow what.

use std::collections::HashMap;

use serde_json::Value;

use super::error::invalid;
use crate::answer::signature;
use crate::asked::{Asked, Media, Part, Role, Turn};
use crate::dialects::fields::{list, media, media_at, present, text, unknown};
use crate::dialects::{Refused, Way};
use crate::digest::checksum;

pub(crate) fn read_messages(body: &Value, way: &Way<'_>, asked: &mut Asked) -> Result<(), Refused> {
    let messages = match present(body, "messages") {
        None => return Err(invalid("messages: Field required")),
        Some(Value::Array(messages)) => messages,
        Some(_) => return Err(invalid("messages: Input should be a valid list")),
    };
    if messages.is_empty() {
        return Err(invalid("messages: at least one message is required"));
    }
    let mut names: HashMap<String, String> = HashMap::new();
    for (index, message) in messages.iter().enumerate() {
        let at = format!("messages.{index}");
        if let Some(name) = unknown(message, &["role", "content"]) {
            return Err(invalid(&format!("{at}.{name}: Extra inputs are not permitted")));
        }
        let role = match text(message, "role") {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("system") => {
                return Err(invalid(
                    "messages: Unexpected role \"system\". The Messages API accepts a top-level `system` parameter, not \
                     \"system\" as an input message role.",
                ));
            }
            Some(_) => return Err(invalid(&format!("{at}.role: Input should be 'user' or 'assistant'"))),
            None => return Err(invalid(&format!("{at}.role: Field required"))),
        };
        if index == 0 && role != Role::User {
            return Err(invalid("messages: first message must use the \"user\" role"));
        }
        if way.strict_roles && asked.turns.last().is_some_and(|turn| turn.role == role) {
            let word = if role == Role::User { "user" } else { "assistant" };
            return Err(invalid(&format!(
                "messages: roles must alternate between \"user\" and \"assistant\", but found multiple \"{word}\" roles in \
                 a row"
            )));
        }
        let last = index + 1 == messages.len();
        let parts = blocks(message, &at, role, last, &mut names, asked)?;
        asked.turns.push(Turn { role, parts });
    }
    calls_are_answered(&asked.turns)?;
    thinking_is_kept(messages, asked)
}

fn blocks(
    message: &Value,
    at: &str,
    role: Role,
    last: bool,
    names: &mut HashMap<String, String>,
    asked: &mut Asked,
) -> Result<Vec<Part>, Refused> {
    let blocks = match message.get("content") {
        Some(Value::String(said)) => {
            if said.is_empty() && !(last && role == Role::Assistant) {
                return Err(invalid(&format!(
                    "{at}: all messages must have non-empty content except for the optional \
                                             final assistant message"
                )));
            }
            no_trailing_space(said, role, last)?;
            return Ok(vec![Part::Text { text: said.clone() }]);
        }
        Some(Value::Array(blocks)) => blocks,
        None => return Err(invalid(&format!("{at}.content: Field required"))),
        Some(_) => return Err(invalid(&format!("{at}.content: Input should be a valid list"))),
    };
    if blocks.is_empty() && !(last && role == Role::Assistant) {
        return Err(invalid(&format!(
            "{at}: all messages must have non-empty content except for the optional final assistant message"
        )));
    }
    let mut parts = Vec::with_capacity(blocks.len());
    for (index, block) in blocks.iter().enumerate() {
        asked.cache_markers += u64::from(present(block, "cache_control").is_some());
        let at = format!("{at}.content.{index}");
        if let Some(part) = read_block(block, &at, role, names, asked)? {
            parts.push(part);
        }
    }
    if let Some(Part::Text { text }) = parts.last() {
        no_trailing_space(text, role, last)?;
    }
    Ok(parts)
}

fn no_trailing_space(said: &str, role: Role, last: bool) -> Result<(), Refused> {
    if last && role == Role::Assistant && said.ends_with(char::is_whitespace) {
        return Err(invalid("messages: final assistant content cannot end with trailing whitespace"));
    }
    Ok(())
}

fn read_block(
    block: &Value,
    at: &str,
    role: Role,
    names: &mut HashMap<String, String>,
    asked: &mut Asked,
) -> Result<Option<Part>, Refused> {
    let field = |name: &str| text(block, name);
    let required = |kind: &str, name: &str| invalid(&format!("{at}.{kind}.{name}: Field required"));
    let closed = |kind: &str, known: &[&str]| match unknown(block, known) {
        Some(name) => Err(invalid(&format!("{at}.{kind}.{name}: Extra inputs are not permitted"))),
        None => Ok(()),
    };
    match field("type") {
        Some("text") => {
            closed("text", &["type", "text", "cache_control", "citations"])?;
            let said = field("text").ok_or_else(|| required("text", "text"))?;
            if said.is_empty() {
                return Err(invalid("messages: text content blocks must be non-empty"));
            }
            if said.trim().is_empty() {
                return Err(invalid("messages: text content blocks must contain non-whitespace text"));
            }
            Ok(Some(Part::Text { text: said.to_owned() }))
        }
        Some("image") => {
            closed("image", &["type", "source", "cache_control", "transformations"])?;
            source(block, at, "image").map(|media| Some(Part::Media(media)))
        }
        Some("document") => {
            closed("document", &["type", "source", "cache_control", "citations", "context", "title"])?;
            asked.citations |= present(block, "citations")
                .and_then(|citations| present(citations, "enabled"))
                .and_then(Value::as_bool)
                .unwrap_or(false);
            source(block, at, "document").map(|media| Some(Part::Media(media)))
        }
        Some("tool_use") if role == Role::Assistant => {
            closed("tool_use", &["type", "id", "name", "input", "cache_control", "caller", "toolset_name"])?;
            let id = field("id").ok_or_else(|| required("tool_use", "id"))?;
            let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
            if id.is_empty() || !id.chars().all(fits) {
                return Err(invalid(&format!(
                    "{at}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
                )));
            }
            let name = field("name").ok_or_else(|| required("tool_use", "name"))?;
            let input = present(block, "input").ok_or_else(|| required("tool_use", "input"))?;
            if !input.is_object() {
                return Err(invalid(&format!("{at}.tool_use.input: Input should be a valid dictionary")));
            }
            if names.insert(id.to_owned(), name.to_owned()).is_some() {
                return Err(invalid("messages: `tool_use` ids must be unique"));
            }
            Ok(Some(Part::Call {
                id: id.to_owned(),
                name: name.to_owned(),
                arguments: input.clone(),
                signed: false,
            }))
        }
        Some("tool_result") if role == Role::User => {
            closed(
                "tool_result",
                &["type", "tool_use_id", "content", "is_error", "cache_control", "toolset_name"],
            )?;
            let id = field("tool_use_id").ok_or_else(|| required("tool_result", "tool_use_id"))?;
            if !called_before(id, asked) {
                return Err(invalid(&format!(
                    "{at}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must \
                     have a corresponding `tool_use` block in the previous message."
                )));
            }
            let name = names.get(id).cloned().unwrap_or_default();
            tool_result(block, at, id, name).map(Some)
        }
        Some("thinking") if role == Role::Assistant => {
            let thought = field("thinking").ok_or_else(|| required("thinking", "thinking"))?;
            let signed = field("signature").ok_or_else(|| required("thinking", "signature"))?;
            // A thought that was shown as nothing is signed all the same.
            let fits = signature::fits_text(signed, thought) || thought.is_empty() && !signed.is_empty();
            if !fits {
                return Err(invalid(&format!("{at}: Invalid `signature` in `thinking` block")));
            }
            Ok(Some(Part::Thinking { text: thought.to_owned(), signed: true }))
        }
        Some("redacted_thinking") if role == Role::Assistant => {
            let data = field("data").ok_or_else(|| required("redacted_thinking", "data"))?;
            if !signature::is_redacted(data) {
                return Err(invalid(&format!("{at}: Invalid `data` in `redacted_thinking` block")));
            }
            Ok(Some(Part::RedactedThinking { checksum: checksum(data.as_bytes()) }))
        }
        Some("search_result" | "server_tool_use" | "web_search_tool_result" | "container_upload") => Ok(None),
        Some(other) => Err(invalid(&format!(
            "{at}: Input tag '{other}' found using 'type' does not match any of the expected tags for this role"
        ))),
        None => Err(invalid(&format!("{at}.type: Field required"))),
    }
}

/// The call stands in the message before.
fn called_before(id: &str, asked: &Asked) -> bool {
    let previous = asked.turns.last().filter(|turn| turn.role == Role::Assistant);
    previous.is_some_and(|turn| {
        turn.parts.iter().any(|part| matches!(part, Part::Call { id: call, .. } if call == id))
    })
}

fn tool_result(block: &Value, at: &str, id: &str, name: String) -> Result<Part, Refused> {
    let mut said = String::new();
    let mut received = Vec::new();
    match present(block, "content") {
        None => {}
        Some(Value::String(one)) => said.push_str(one),
        Some(Value::Array(blocks)) => {
            for (index, block) in blocks.iter().enumerate() {
                let at = format!("{at}.tool_result.content.{index}");
                match text(block, "type") {
                    Some("text") => match text(block, "text") {
                        Some("") => return Err(invalid("messages: text content blocks must be non-empty")),
                        Some(text) => said.push_str(text),
                        None => return Err(invalid(&format!("{at}.text.text: Field required"))),
                    },
                    Some(kind @ ("image" | "document")) => {
                        received.push(source(
                            block,
                            &at,
                            if kind == "image" { "image" } else { "document" },
                        )?);
                    }
                    Some("search_result" | "tool_reference") => {}
                    _ => {
                        return Err(invalid(&format!(
                            "{at}.type: Input should be 'text', 'image' or 'document'"
                        )));
                    }
                }
            }
        }
        Some(_) => {
            return Err(invalid(&format!(
                "{at}.tool_result.content: Input should be a valid string or list"
            )));
        }
    }
    let is_error = match present(block, "is_error") {
        None => false,
        Some(Value::Bool(is_error)) => *is_error,
        Some(_) => {
            return Err(invalid(&format!("{at}.tool_result.is_error: Input should be a valid boolean")));
        }
    };
    Ok(Part::Result { call_id: id.to_owned(), name, text: said, is_error, media: received })
}

fn source(block: &Value, at: &str, kind: &'static str) -> Result<Media, Refused> {
    let required = |name: &str| invalid(&format!("{at}.{kind}.source.{name}: Field required"));
    let source =
        present(block, "source").ok_or_else(|| invalid(&format!("{at}.{kind}.source: Field required")))?;
    let title = text(block, "title");
    match text(source, "type") {
        Some("base64") => {
            let media_type = text(source, "media_type").ok_or_else(|| required("base64.media_type"))?;
            let allowed: &[&str] = match kind {
                "image" => &["image/jpeg", "image/png", "image/gif", "image/webp"],
                _ => &["application/pdf"],
            };
            if !allowed.contains(&media_type) {
                let words: Vec<String> = allowed.iter().map(|word| format!("'{word}'")).collect();
                return Err(invalid(&format!(
                    "{at}.{kind}.source.base64.media_type: Input should be {}",
                    words.join(", ")
                )));
            }
            let data = text(source, "data").ok_or_else(|| required("base64.data"))?;
            media(kind, media_type, data, title)
                .ok_or_else(|| invalid(&format!("{at}.{kind}.source.base64: invalid base64 data")))
        }
        Some("url") => {
            let url = text(source, "url").ok_or_else(|| required("url.url"))?;
            if !url.starts_with("https://") {
                return Err(invalid("Only HTTPS URLs are supported."));
            }
            Ok(media_at(kind, "", url))
        }
        Some("text") if kind == "document" => {
            let data = text(source, "data").ok_or_else(|| required("text.data"))?;
            Ok(Media {
                kind,
                media_type: "text/plain".to_owned(),
                url: None,
                bytes: Some(data.len()),
                checksum: Some(checksum(data.as_bytes())),
                name: title.map(str::to_owned),
            })
        }
        Some("content") if kind == "document" => {
            let joined = source.get("content").map(Value::to_string).unwrap_or_default();
            Ok(Media {
                kind,
                media_type: "content".to_owned(),
                url: None,
                bytes: Some(joined.len()),
                checksum: Some(checksum(joined.as_bytes())),
                name: title.map(str::to_owned),
            })
        }
        Some("file") => {
            Ok(media_at(kind, "", &format!("file:{}", text(source, "file_id").unwrap_or_default())))
        }
        _ => Err(required("type")),
    }
}

/// Every call has its result in the next message.
fn calls_are_answered(turns: &[Turn]) -> Result<(), Refused> {
    for (index, turn) in turns.iter().enumerate() {
        let next = turns.get(index + 1).map(|next| next.parts.as_slice()).unwrap_or_default();
        let open: Vec<&str> = turn
            .parts
            .iter()
            .filter_map(|part| match part {
                Part::Call { id, .. } => Some(id.as_str()),
                _ => None,
            })
            .filter(|id| {
                !next.iter().any(|part| matches!(part, Part::Result { call_id, .. } if call_id == id))
            })
            .collect();
        if !open.is_empty() {
            return Err(invalid(&format!(
                "messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each \
                 `tool_use` block must have a corresponding `tool_result` block in the next message.",
                open.join(", ")
            )));
        }
    }
    Ok(())
}

/// While thinking is on, the assistant turn whose tool results are being answered begins with its thinking.
fn thinking_is_kept(messages: &[Value], asked: &Asked) -> Result<(), Refused> {
    if asked.reasoning.is_none() || asked.pending_results().is_empty() {
        return Ok(());
    }
    let Some(index) = messages.iter().rposition(|message| text(message, "role") == Some("assistant")) else {
        return Ok(());
    };
    // Adaptive thinking may think nothing.
    let adaptive = asked.reasoning.as_ref().is_some_and(|reasoning| reasoning.budget.is_none());
    let first = messages
        .get(index)
        .and_then(|message| list(message, "content").first())
        .and_then(|block| text(block, "type"));
    if adaptive || matches!(first, Some("thinking" | "redacted_thinking")) {
        return Ok(());
    }
    Err(invalid(&format!(
        "messages.{index}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{}`. When `thinking` is \
         enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` \
         and `tool_result` blocks). We recommend you include thinking blocks from previous turns. To avoid this \
         requirement, disable `thinking`. Please consult our documentation at \
         https://docs.claude.com/en/docs/build-with-claude/extended-thinking",
        first.unwrap_or("text")
    )))
}
