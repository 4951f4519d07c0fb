//! Requests, read into a [`Conversation`]. Called through the codec for callers who speak Messages to a target that does
//! not, and by `count_tokens`.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::super::fields::{Fields, Path, items_of, to_value};
use super::blocks::{HERE, ToolNames, parse_cache_marker, parse_content};
use crate::RequestError;
use crate::conversation::{
    Conversation, Effort, FunctionTool, Native, OutputFormat, ReasoningRequest, Rest, Role, Sampling, Tool,
    ToolChoice, Turn,
};

/// Whether the body must say how many tokens it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A message, which needs `max_tokens`.
    Message,
    /// Only a count of its tokens.
    CountTokens,
}

pub(super) fn parse_request(body: &[u8], purpose: Purpose) -> Result<Conversation, RequestError> {
    let path = Path::ROOT;
    let mut fields = Fields::of_body(body)?;
    let model = fields.require_text("model", &path)?;
    if model.is_empty() {
        return Err(path.field("model").expected("the name of a model"));
    }
    let mut conversation = Conversation::new(HERE, model);
    conversation.max_output_tokens = fields.take_as("max_tokens", &path, "a whole number of tokens")?;
    if conversation.max_output_tokens.is_none() && purpose == Purpose::Message {
        return Err(path.field("max_tokens").mistake("this field is required"));
    }
    conversation.stream = fields.take_as("stream", &path, "true or false")?.unwrap_or_default();
    conversation.include_usage = true;
    conversation.turns = parse_turns(&mut fields, &path)?;
    conversation.tools = parse_tools(&mut fields, &path)?;
    conversation.stop = fields.take_as("stop_sequences", &path, "an array of strings")?.unwrap_or_default();
    conversation.sampling = Sampling {
        temperature: fields.take_as("temperature", &path, "a number")?,
        top_p: fields.take_as("top_p", &path, "a number")?,
        top_k: fields.take_as("top_k", &path, "a number")?,
        ..Sampling::default()
    };
    conversation.cache = parse_cache_marker(&mut fields);
    conversation.service_tier = fields.take_text("service_tier", &path)?.map(|tier| match tier.as_str() {
        "standard_only" => "default".to_owned(),
        _ => tier,
    });
    let mut leftovers = Rest::new();
    parse_tool_choice(&mut fields, &path, &mut conversation, &mut leftovers)?;
    parse_metadata(&mut fields, &path, &mut conversation, &mut leftovers)?;
    parse_thinking(&mut fields, &path, &mut conversation, &mut leftovers)?;
    parse_output_config(&mut fields, &path, &mut conversation, &mut leftovers)?;
    conversation.rest = fields.into_rest(&path)?;
    conversation.rest.extend(leftovers);
    Ok(conversation)
}

/// `system` becomes the first turn; system messages further on stay where they stand.
fn parse_turns(fields: &mut Fields<'_>, path: &Path<'_>) -> Result<Vec<Turn>, RequestError> {
    let mut turns = Vec::new();
    let mut names = ToolNames::new();
    if let Some(raw) = fields.take("system") {
        let parts = parse_content(raw, &path.field("system"), &mut names)?;
        if !parts.is_empty() {
            turns.push(Turn::new(Role::System, parts));
        }
    }
    let path = path.field("messages");
    let raw = fields.take("messages").ok_or_else(|| path.mistake("this field is required"))?;
    for (index, message) in items_of(raw, &path)?.into_iter().enumerate() {
        turns.push(parse_message(message, &path.item(index), &mut names)?);
    }
    Ok(turns)
}

fn parse_message(raw: &RawValue, path: &Path<'_>, names: &mut ToolNames) -> Result<Turn, RequestError> {
    let mut fields = Fields::of(raw, path)?;
    let role = match fields.require_text("role", path)?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => return Err(path.field("role").expected("\"user\", \"assistant\" or \"system\"")),
    };
    let parts = match fields.take("content") {
        Some(content) => parse_content(content, &path.field("content"), names)?,
        None => Vec::new(),
    };
    Ok(Turn { rest: fields.into_rest(path)?, ..Turn::new(role, parts) })
}

fn parse_tools(fields: &mut Fields<'_>, path: &Path<'_>) -> Result<Vec<Tool>, RequestError> {
    let path = path.field("tools");
    let Some(raw) = fields.take("tools") else { return Ok(Vec::new()) };
    let tools = items_of(raw, &path)?;
    tools.into_iter().enumerate().map(|(index, tool)| parse_tool(tool, &path.item(index))).collect()
}

fn parse_tool(raw: &RawValue, path: &Path<'_>) -> Result<Tool, RequestError> {
    let mut fields = Fields::of(raw, path)?;
    if fields.has("type") && fields.peek_text("type").as_deref() != Some("custom") {
        return Ok(Tool::Native(Native { dialect: HERE, value: to_value(raw, path)? }));
    }
    // "custom" is what a tool without a type is.
    fields.take("type");
    Ok(Tool::Function(FunctionTool {
        name: fields.require_text("name", path)?,
        description: fields.take_text("description", path)?,
        parameters: match fields.take("input_schema") {
            Some(schema) => Some(to_value(schema, &path.field("input_schema"))?),
            None => None,
        },
        strict: fields.take_as("strict", path, "true or false")?,
        cache: parse_cache_marker(&mut fields),
        rest: fields.into_rest(path)?,
    }))
}

fn parse_tool_choice(
    fields: &mut Fields<'_>,
    path: &Path<'_>,
    conversation: &mut Conversation,
    leftovers: &mut Rest,
) -> Result<(), RequestError> {
    let path = path.field("tool_choice");
    let Some(raw) = fields.take("tool_choice") else { return Ok(()) };
    let mut choice = Fields::of(raw, &path)?;
    conversation.tool_choice = match choice.peek_text("type").as_deref() {
        Some("auto") => Some(ToolChoice::Auto),
        Some("any") => Some(ToolChoice::Required),
        Some("none") => Some(ToolChoice::None),
        Some("tool") => Some(ToolChoice::Function(choice.require_text("name", &path)?)),
        Some(_) => {
            leftovers.insert("tool_choice".to_owned(), to_value(raw, &path)?);
            return Ok(());
        }
        None => return Err(path.field("type").expected("the kind of choice")),
    };
    choice.take("type");
    let is_serial: Option<bool> = choice.take_as("disable_parallel_tool_use", &path, "true or false")?;
    conversation.parallel_tool_calls = is_serial.map(|is_serial| !is_serial);
    keep(leftovers, "tool_choice", choice.into_rest(&path)?);
    Ok(())
}

fn parse_metadata(
    fields: &mut Fields<'_>,
    path: &Path<'_>,
    conversation: &mut Conversation,
    leftovers: &mut Rest,
) -> Result<(), RequestError> {
    let path = path.field("metadata");
    let Some(raw) = fields.take("metadata") else { return Ok(()) };
    let mut metadata = Fields::of(raw, &path)?;
    conversation.user = metadata.take_text("user_id", &path)?;
    keep(leftovers, "metadata", metadata.into_rest(&path)?);
    Ok(())
}

fn parse_thinking(
    fields: &mut Fields<'_>,
    path: &Path<'_>,
    conversation: &mut Conversation,
    leftovers: &mut Rest,
) -> Result<(), RequestError> {
    let path = path.field("thinking");
    let Some(raw) = fields.take("thinking") else { return Ok(()) };
    let mut thinking = Fields::of(raw, &path)?;
    let enabled = match thinking.peek_text("type").as_deref() {
        Some("enabled" | "adaptive") => true,
        Some("disabled") => false,
        Some(_) => {
            leftovers.insert("thinking".to_owned(), to_value(raw, &path)?);
            return Ok(());
        }
        None => return Err(path.field("type").expected("\"enabled\", \"adaptive\" or \"disabled\"")),
    };
    thinking.take("type");
    let include_text = match thinking.peek_text("display").as_deref() {
        Some("summarized") => Some(true),
        Some("omitted") => Some(false),
        _ => None,
    };
    if include_text.is_some() {
        thinking.take("display");
    }
    conversation.reasoning = Some(ReasoningRequest {
        enabled: Some(enabled),
        effort: None,
        budget_tokens: thinking.take_as("budget_tokens", &path, "a whole number of tokens")?,
        include_text,
    });
    keep(leftovers, "thinking", thinking.into_rest(&path)?);
    Ok(())
}

/// Reads `output_config`, and `output_format`, which its `format` was called before.
fn parse_output_config(
    fields: &mut Fields<'_>,
    path: &Path<'_>,
    conversation: &mut Conversation,
    leftovers: &mut Rest,
) -> Result<(), RequestError> {
    let mut format = fields.take("output_format");
    let path = path.field("output_config");
    let mut rest = Rest::new();
    if let Some(raw) = fields.take("output_config") {
        let mut config = Fields::of(raw, &path)?;
        if let Some(effort) = config.peek_text("effort").as_deref().and_then(Effort::parse) {
            config.take("effort");
            conversation.reasoning.get_or_insert_default().effort = Some(effort);
        }
        format = config.take("format").or(format);
        rest = config.into_rest(&path)?;
    }
    if let Some(raw) = format {
        let mut value = to_value(raw, &path.field("format"))?;
        match take_schema(&mut value) {
            Some(schema) => {
                conversation.output =
                    OutputFormat::JsonSchema { name: None, description: None, schema, strict: None };
            }
            None => {
                rest.insert("format".to_owned(), value);
            }
        }
    }
    keep(leftovers, "output_config", rest);
    Ok(())
}

/// The schema of a format that is nothing but a schema.
fn take_schema(format: &mut Value) -> Option<Value> {
    let format = format.as_object_mut()?;
    let is_schema = format.get("type").and_then(Value::as_str) == Some("json_schema");
    (is_schema && format.len() == 2).then(|| format.remove("schema")).flatten()
}

/// Keeps what an object holds beside its known fields under the object's own name, where the renderer looks for it.
fn keep(leftovers: &mut Rest, name: &str, rest: Map<String, Value>) {
    if !rest.is_empty() {
        leftovers.insert(name.to_owned(), Value::Object(rest));
    }
}
