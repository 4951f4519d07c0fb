//! The messages of a request, read into turns. Called by `parse`.

use serde_json::value::RawValue;

use super::super::fields::{Fields, Path, items_of};
use super::assistant::{Standing, ToolNames, note_names, parse_said};
use super::parts::{parse_cache_marker, parse_content};
use crate::RequestError;
use crate::carry::{detach_from_id, made_up_id};
use crate::conversation::{Content, Part, Role, ToolResult, Turn};

/// The turns of a request, and how it calls its tools.
#[derive(Debug, Default)]
pub(super) struct Messages {
    pub(super) turns: Vec<Turn>,
    /// Whether a message calls or answers by the old `function_call`.
    pub(super) has_legacy: bool,
    /// Whether a message calls by `tool_calls`.
    pub(super) has_tool_calls: bool,
    names: ToolNames,
    /// Whether the last message was a tool's, so that another one's result joins the same turn.
    is_after_result: bool,
}

pub(super) fn parse_messages(fields: &mut Fields<'_>, path: &Path<'_>) -> Result<Messages, RequestError> {
    let path = path.field("messages");
    let raw = fields.take("messages").ok_or_else(|| path.mistake("this field is required"))?;
    let mut messages = Messages::default();
    for (index, message) in items_of(raw, &path)?.into_iter().enumerate() {
        messages.push(message, index, &path.item(index))?;
    }
    Ok(messages)
}

impl Messages {
    fn push(&mut self, raw: &RawValue, index: usize, path: &Path<'_>) -> Result<(), RequestError> {
        let mut fields = Fields::of(raw, path)?;
        let role = fields.require_text("role", path)?;
        let was_after_result = std::mem::take(&mut self.is_after_result);
        let role = match role.as_str() {
            "system" => Role::System,
            "developer" => Role::Developer,
            "user" => Role::User,
            "assistant" => {
                let turn = self.parse_assistant(fields, index, path)?;
                self.turns.push(turn);
                return Ok(());
            }
            "tool" | "function" => {
                let result = self.parse_result(fields, role == "function", path)?;
                self.is_after_result = true;
                match self.turns.last_mut() {
                    Some(turn) if was_after_result => turn.parts.push(result),
                    _ => self.turns.push(Turn::new(Role::User, vec![result])),
                }
                return Ok(());
            }
            _ => {
                let roles = "\"system\", \"developer\", \"user\", \"assistant\", \"tool\" or \"function\"";
                return Err(path.field("role").expected(roles));
            }
        };
        let turn = parse_turn(fields, role, path)?;
        self.turns.push(turn);
        Ok(())
    }

    fn parse_assistant(
        &mut self,
        mut fields: Fields<'_>,
        index: usize,
        path: &Path<'_>,
    ) -> Result<Turn, RequestError> {
        self.has_tool_calls |= fields.has("tool_calls") && fields_hold_calls(&fields);
        let said = parse_said(&mut fields, path, Standing { number: index, answer: "" })?;
        self.has_legacy |= said.is_legacy;
        note_names(&said.parts, &mut self.names);
        let name = fields.take_text("name", path)?;
        let mut rest = fields.into_rest(path)?;
        rest.extend(said.rest);
        Ok(Turn { role: Role::Assistant, name, parts: said.parts, rest })
    }

    fn parse_result(
        &mut self,
        mut fields: Fields<'_>,
        is_legacy: bool,
        path: &Path<'_>,
    ) -> Result<Part, RequestError> {
        self.has_legacy |= is_legacy;
        let name = fields.take_text("name", path)?;
        let id = fields.take_text("tool_call_id", path)?;
        let call_id = match (&id, &name) {
            (Some(id), _) => detach_from_id(id).0.to_owned(),
            // Old functions, and some servers' tools, are answered by name: the last call of that name is meant.
            (None, Some(name)) => self.id_of(name).unwrap_or_else(|| made_up_id(self.turns.len(), 0, name)),
            (None, None) => return Err(path.field("tool_call_id").mistake("this field is required")),
        };
        let parts = match fields.take("content") {
            Some(raw) => parse_content(raw, &path.field("content"))?,
            None => Vec::new(),
        };
        let name = name.or_else(|| self.names.get(&call_id).cloned());
        let cache = parse_cache_marker(&mut fields)?;
        let result = ToolResult { call_id, name, parts, is_error: false };
        Ok(Part { cache, rest: fields.into_rest(path)?, ..Part::new(Content::ToolResult(result)) })
    }

    fn id_of(&self, name: &str) -> Option<String> {
        let parts = self.turns.iter().rev().flat_map(|turn| turn.parts.iter().rev());
        parts.into_iter().find_map(|part| match &part.content {
            Content::ToolCall(call) if call.name == name => Some(call.id.clone()),
            _ => None,
        })
    }
}

/// `tool_calls: []` is as good as none.
fn fields_hold_calls(fields: &Fields<'_>) -> bool {
    let brackets = ['[', ']', ' ', '\n', '\t', '\r'];
    fields.peek("tool_calls").is_some_and(|raw| !raw.get().trim_matches(brackets).is_empty())
}

fn parse_turn(mut fields: Fields<'_>, role: Role, path: &Path<'_>) -> Result<Turn, RequestError> {
    let mut parts = match fields.take("content") {
        Some(raw) => parse_content(raw, &path.field("content"))?,
        None => Vec::new(),
    };
    if let Some(marker) = parse_cache_marker(&mut fields)?
        && let Some(last) = parts.last_mut()
    {
        last.cache = Some(marker);
    }
    // Some clients write an empty list of calls on every message.
    if !fields_hold_calls(&fields) {
        fields.take("tool_calls");
    }
    let name = fields.take_text("name", path)?;
    Ok(Turn { role, name, parts, rest: fields.into_rest(path)? })
}

/// The words for a role.
pub(super) fn role_word(role: Role, knows_developer: bool) -> &'static str {
    match role {
        Role::System => "system",
        Role::Developer if knows_developer => "developer",
        Role::Developer => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}
