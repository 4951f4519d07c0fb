//! Requests, read into a [`Conversation`]. Called through the codec for callers who speak Chat Completions to a target
//! that does not, or whose request carries what has to be unpacked.

use serde_json::Value;
use serde_json::value::RawValue;

use super::super::fields::{Fields, Path, items_of, to_value};
use super::HERE;
use super::messages::parse_messages;
use super::parts::parse_cache_marker;
use crate::conversation::{
    Conversation, Effort, FunctionTool, Native, OutputFormat, ReasoningRequest, Rest, Sampling, Tool,
    ToolChoice,
};
use crate::{PathFacts, RequestError};

pub(super) fn parse_request(
    body: &[u8],
    in_path: Option<PathFacts<'_>>,
) -> Result<Conversation, RequestError> {
    let path = Path::ROOT;
    let mut fields = Fields::of_body(body)?;
    // Azure's paths name the deployment, which counts.
    let model = match (fields.take_text("model", &path)?, in_path) {
        (_, Some(facts)) => facts.model.to_owned(),
        (Some(model), None) if !model.is_empty() => model,
        _ => return Err(path.field("model").expected("the name of a model")),
    };
    let mut conversation = Conversation::new(HERE, model);
    let stream = fields.take_as("stream", &path, "true or false")?.unwrap_or_default();
    conversation.stream = in_path.map_or(stream, |facts| facts.stream);
    let mut leftovers = Rest::new();
    parse_stream_options(&mut fields, &path, &mut conversation, &mut leftovers)?;
    let messages = parse_messages(&mut fields, &path)?;
    conversation.turns = messages.turns;
    conversation.tools = parse_tools(&mut fields, &path)?;
    let has_functions = parse_functions(&mut fields, &path, &mut conversation, &mut leftovers)?;
    conversation.legacy_functions = (has_functions || messages.has_legacy)
        && !messages.has_tool_calls
        && conversation.tool_choice.is_none()
        && (has_functions || conversation.tools.is_empty());
    if let Some(raw) = fields.take("tool_choice") {
        conversation.tool_choice = parse_tool_choice(raw, &path.field("tool_choice"))?;
        if conversation.tool_choice.is_none() {
            leftovers.insert("tool_choice".to_owned(), to_value(raw, &path.field("tool_choice"))?);
        }
    } else if let Some(choice) = leftovers.shift_remove("function_call") {
        conversation.tool_choice = parse_function_choice(&choice);
    }
    conversation.parallel_tool_calls = fields.take_as("parallel_tool_calls", &path, "true or false")?;
    parse_limits(&mut fields, &path, &mut conversation, &mut leftovers)?;
    conversation.sampling = Sampling {
        temperature: fields.take_as("temperature", &path, "a number")?,
        top_p: fields.take_as("top_p", &path, "a number")?,
        top_k: fields.take_as("top_k", &path, "a number")?,
        frequency_penalty: fields.take_as("frequency_penalty", &path, "a number")?,
        presence_penalty: fields.take_as("presence_penalty", &path, "a number")?,
        seed: fields.take_as("seed", &path, "a number")?,
    };
    conversation.choices = fields.take_as("n", &path, "a whole number")?;
    parse_logprobs(&mut fields, &path, &mut conversation, &mut leftovers)?;
    parse_output(&mut fields, &path, &mut conversation, &mut leftovers)?;
    conversation.modalities = fields.take_as("modalities", &path, "an array of strings")?.unwrap_or_default();
    parse_reasoning(&mut fields, &path, &mut conversation, &mut leftovers)?;
    conversation.verbosity = fields.take_text("verbosity", &path)?;
    conversation.service_tier = fields.take_text("service_tier", &path)?;
    conversation.user = fields.take_text("user", &path)?;
    conversation.cache = parse_cache_marker(&mut fields)?;
    conversation.rest = fields.into_rest(&path)?;
    conversation.rest.extend(leftovers);
    Ok(conversation)
}

fn parse_stream_options(
    fields: &mut Fields<'_>,
    path: &Path<'_>,
    conversation: &mut Conversation,
    leftovers: &mut Rest,
) -> Result<(), RequestError> {
    let path = path.field("stream_options");
    let Some(raw) = fields.take("stream_options") else { return Ok(()) };
    let mut options = Fields::of(raw, &path)?;
    conversation.include_usage =
        options.take_as("include_usage", &path, "true or false")?.unwrap_or_default() && conversation.stream;
    let rest = options.into_rest(&path)?;
    if !rest.is_empty() {
        leftovers.insert("stream_options".to_owned(), Value::Object(rest));
    }
    Ok(())
}

fn parse_tools(fields: &mut Fields<'_>, path: &Path<'_>) -> Result<Vec<Tool>, RequestError> {
    let path = path.field("tools");
    let Some(raw) = fields.take("tools") else { return Ok(Vec::new()) };
    let tools = items_of(raw, &path)?;
    tools.into_iter().enumerate().map(|(index, tool)| parse_tool(tool, &path.item(index))).collect()
}

fn parse_tool(raw: &RawValue, path: &Path<'_>) -> Result<Tool, RequestError> {
    let mut fields = Fields::of(raw, path)?;
    let kind = fields.peek_text("type");
    if kind.as_deref().is_some_and(|kind| kind != "function") || !fields.has("function") {
        return match kind.as_deref() {
            None | Some("function") => Err(path.field("function").mistake("this field is required")),
            Some(_) => Ok(Tool::Native(Native { dialect: HERE, value: to_value(raw, path)? })),
        };
    }
    fields.take("type");
    let inner_path = path.field("function");
    let inner = fields.take("function").ok_or_else(|| inner_path.mistake("this field is required"))?;
    let mut function = parse_function(inner, &inner_path)?;
    function.cache = parse_cache_marker(&mut fields)?.or(function.cache);
    let inner_rest = std::mem::take(&mut function.rest);
    function.rest = fields.into_rest(path)?;
    if !inner_rest.is_empty() {
        function.rest.insert("function".to_owned(), Value::Object(inner_rest));
    }
    Ok(Tool::Function(function))
}

fn parse_function(raw: &RawValue, path: &Path<'_>) -> Result<FunctionTool, RequestError> {
    let mut fields = Fields::of(raw, path)?;
    Ok(FunctionTool {
        name: fields.require_text("name", path)?,
        description: fields.take_text("description", path)?,
        parameters: match fields.take("parameters") {
            Some(schema) => Some(to_value(schema, &path.field("parameters"))?),
            None => None,
        },
        strict: fields.take_as("strict", path, "true or false")?,
        cache: parse_cache_marker(&mut fields)?,
        rest: fields.into_rest(path)?,
    })
}

/// The old `functions` become tools; `function_call` is left for the tool choice.
fn parse_functions(
    fields: &mut Fields<'_>,
    path: &Path<'_>,
    conversation: &mut Conversation,
    leftovers: &mut Rest,
) -> Result<bool, RequestError> {
    if let Some(raw) = fields.take("function_call") {
        leftovers.insert("function_call".to_owned(), to_value(raw, &path.field("function_call"))?);
    }
    let path = path.field("functions");
    let Some(raw) = fields.take("functions") else { return Ok(false) };
    let is_alone = conversation.tools.is_empty();
    for (index, function) in items_of(raw, &path)?.into_iter().enumerate() {
        let path = path.item(index);
        let mut function = parse_function(function, &path)?;
        if !function.rest.is_empty() {
            let inner = std::mem::take(&mut function.rest);
            function.rest.insert("function".to_owned(), Value::Object(inner));
        }
        conversation.tools.push(Tool::Function(function));
    }
    Ok(is_alone)
}

/// `None` where the choice is one that the canonical model has no word for.
fn parse_tool_choice(raw: &RawValue, path: &Path<'_>) -> Result<Option<ToolChoice>, RequestError> {
    let value = to_value(raw, path)?;
    let name_of = |tool: &Value| {
        let kind = tool.get("type").and_then(Value::as_str).unwrap_or("function");
        Some(tool.get(kind)?.get("name")?.as_str()?.to_owned())
    };
    Ok(match &value {
        Value::String(word) => match word.as_str() {
            "auto" => Some(ToolChoice::Auto),
            "none" => Some(ToolChoice::None),
            // "any" is Mistral's word.
            "required" | "any" => Some(ToolChoice::Required),
            _ => None,
        },
        Value::Object(choice) if choice.get("type").and_then(Value::as_str) == Some("allowed_tools") => {
            choice.get("allowed_tools").and_then(|allowed| {
                let required = match allowed.get("mode")?.as_str()? {
                    "required" => true,
                    "auto" => false,
                    _ => return None,
                };
                let names =
                    allowed.get("tools")?.as_array()?.iter().map(name_of).collect::<Option<Vec<_>>>()?;
                Some(ToolChoice::Allowed { required, names })
            })
        }
        Value::Object(_) => name_of(&value).map(ToolChoice::Function),
        _ => return Err(path.expected("a string or an object")),
    })
}

fn parse_function_choice(choice: &Value) -> Option<ToolChoice> {
    match choice {
        Value::String(word) if word == "none" => Some(ToolChoice::None),
        Value::String(_) => Some(ToolChoice::Auto),
        _ => Some(ToolChoice::Function(choice.get("name")?.as_str()?.to_owned())),
    }
}

/// The newer name of the limit counts where both are given.
fn parse_limits(
    fields: &mut Fields<'_>,
    path: &Path<'_>,
    conversation: &mut Conversation,
    leftovers: &mut Rest,
) -> Result<(), RequestError> {
    let old: Option<u64> = fields.take_as("max_tokens", path, "a whole number of tokens")?;
    let new: Option<u64> = fields.take_as("max_completion_tokens", path, "a whole number of tokens")?;
    conversation.max_output_tokens = new.or(old);
    if let (Some(old), Some(new)) = (old, new)
        && old != new
    {
        leftovers.insert("max_tokens".to_owned(), old.into());
    }
    if fields.peek_text("stop").is_some() {
        conversation.stop = vec![fields.require_text("stop", path)?];
    } else {
        let what = "a string or an array of strings";
        conversation.stop = fields.take_as("stop", path, what)?.unwrap_or_default();
    }
    Ok(())
}

fn parse_logprobs(
    fields: &mut Fields<'_>,
    path: &Path<'_>,
    conversation: &mut Conversation,
    leftovers: &mut Rest,
) -> Result<(), RequestError> {
    let top: Option<u32> = fields.take_as("top_logprobs", path, "a whole number")?;
    match fields.take("logprobs").map(|raw| to_value(raw, &path.field("logprobs"))).transpose()? {
        Some(Value::Bool(true)) => conversation.logprobs = Some(top.unwrap_or(0)),
        Some(Value::Bool(false)) | None => {
            if let Some(top) = top {
                leftovers.insert("top_logprobs".to_owned(), top.into());
            }
        }
        // Together takes a number here.
        Some(other @ Value::Number(_)) => {
            leftovers.insert("logprobs".to_owned(), other);
        }
        Some(_) => return Err(path.field("logprobs").expected("true or false")),
    }
    Ok(())
}

fn parse_output(
    fields: &mut Fields<'_>,
    path: &Path<'_>,
    conversation: &mut Conversation,
    leftovers: &mut Rest,
) -> Result<(), RequestError> {
    let path = path.field("response_format");
    let Some(raw) = fields.take("response_format") else { return Ok(()) };
    let mut format = Fields::of(raw, &path)?;
    match (format.peek_text("type").as_deref(), format.has("json_schema")) {
        (Some("text"), _) => {}
        (Some("json_object"), _) if !format.has("schema") => conversation.output = OutputFormat::Json,
        (Some("json_schema"), true) => {
            let path = path.field("json_schema");
            let Some(raw) = format.take("json_schema") else { return Ok(()) };
            let mut inner = Fields::of(raw, &path)?;
            conversation.output = OutputFormat::JsonSchema {
                name: inner.take_text("name", &path)?,
                description: inner.take_text("description", &path)?,
                schema: match inner.take("schema") {
                    Some(schema) => to_value(schema, &path.field("schema"))?,
                    None => Value::Object(Rest::new()),
                },
                strict: inner.take_as("strict", &path, "true or false")?,
            };
        }
        // Grammars and other servers' forms.
        _ => {
            leftovers.insert("response_format".to_owned(), to_value(raw, &path)?);
        }
    }
    Ok(())
}

/// OpenAI's `reasoning_effort`, OpenRouter's `reasoning`, and Anthropic's `thinking` with a budget as LiteLLM's callers
/// write it. Other fields of that name (Z.ai's, Moonshot's) stay for the servers that know them.
fn parse_reasoning(
    fields: &mut Fields<'_>,
    path: &Path<'_>,
    conversation: &mut Conversation,
    leftovers: &mut Rest,
) -> Result<(), RequestError> {
    let mut wanted = ReasoningRequest::default();
    if let Some(word) = fields.take_text("reasoning_effort", path)? {
        wanted.effort = Effort::parse(&word);
        if wanted.effort.is_none() {
            leftovers.insert("reasoning_effort".to_owned(), word.into());
        }
    }
    if let Some(raw) = fields.take("reasoning") {
        let path = path.field("reasoning");
        let mut inner = Fields::of(raw, &path)?;
        wanted.enabled = inner.take_as("enabled", &path, "true or false")?;
        wanted.budget_tokens = inner.take_as("max_tokens", &path, "a whole number of tokens")?;
        wanted.include_text = inner.take_as("exclude", &path, "true or false")?.map(|exclude: bool| !exclude);
        if let Some(word) = inner.take_text("effort", &path)? {
            wanted.effort = Effort::parse(&word).or(wanted.effort);
        }
        let rest = inner.into_rest(&path)?;
        if !rest.is_empty() {
            leftovers.insert("reasoning".to_owned(), Value::Object(rest));
        }
    }
    if let Some(raw) = fields.take("thinking") {
        let value = to_value(raw, &path.field("thinking"))?;
        match value.get("budget_tokens").and_then(Value::as_u64) {
            Some(budget) if value.get("type").and_then(Value::as_str) == Some("enabled") => {
                wanted.enabled = Some(true);
                wanted.budget_tokens = wanted.budget_tokens.or(Some(budget));
            }
            _ => {
                leftovers.insert("thinking".to_owned(), value);
            }
        }
    }
    if wanted != ReasoningRequest::default() {
        conversation.reasoning = Some(wanted);
    }
    Ok(())
}
