//! Reads a Chat Completions request, and refuses what OpenAI refuses.

use serde_json::{Value, json};

use super::error::invalid;
use super::turns::read_messages;
use crate::asked::{Asked, Output, Reasoning, Tool, ToolChoice};
use crate::dialects::Refused;
use crate::dialects::fields::{kind, list, present, some_of, text, unknown};

/// What may stand at the top.
const KNOWN: &[&str] = &[
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];
/// What is given back by `describe` as it is.
const PARAMETERS: &[&str] = &[
    "audio",
    "frequency_penalty",
    "logit_bias",
    "metadata",
    "modalities",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "seed",
    "service_tier",
    "store",
    "temperature",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

pub(crate) fn read(body: &Value) -> Result<Asked, Refused> {
    if !body.is_object() {
        return Err(invalid(
            "Invalid type for the request body: expected an object.",
            None,
            Some("invalid_type"),
        ));
    }
    if let Some(name) = unknown(body, KNOWN) {
        let message = format!("Unknown parameter: '{name}'.");
        return Err(invalid(&message, Some(name), Some("unknown_parameter")));
    }
    let model = match present(body, "model") {
        Some(Value::String(model)) if !model.is_empty() => model.clone(),
        Some(other) => return Err(wrong_type("model", "a string", other)),
        None => return Err(invalid("you must provide a model parameter", None, None)),
    };
    let mut asked = Asked { model, choices: 1, ..Asked::default() };
    read_settings(body, &mut asked)?;
    read_tools(body, &mut asked)?;
    read_messages(body, &mut asked)?;
    asked.parameters = some_of(body, PARAMETERS);
    Ok(asked)
}

fn read_settings(body: &Value, asked: &mut Asked) -> Result<(), Refused> {
    asked.stream = boolean(body, "stream")?.unwrap_or(false);
    if let Some(options) = present(body, "stream_options") {
        if !asked.stream {
            let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
            return Err(invalid(message, Some("stream_options"), None));
        }
        asked.stream_usage = options.get("include_usage").and_then(Value::as_bool).unwrap_or(false);
    }
    let tokens = (whole(body, "max_tokens", 1)?, whole(body, "max_completion_tokens", 1)?);
    asked.max_tokens = match tokens {
        (Some(_), Some(_)) => {
            let message =
                "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.";
            return Err(invalid(message, Some("max_tokens"), Some("invalid_parameter_combination")));
        }
        (old, new) => new.or(old),
    };
    asked.choices = whole(body, "n", 1)?.unwrap_or(1);
    if asked.choices > 128 {
        return Err(above("n", 128, asked.choices));
    }
    between(body, "temperature", 0.0, 2.0)?;
    between(body, "top_p", 0.0, 1.0)?;
    between(body, "presence_penalty", -2.0, 2.0)?;
    between(body, "frequency_penalty", -2.0, 2.0)?;
    asked.stop = match present(body, "stop") {
        None => Vec::new(),
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(other) => return Err(wrong_type("stop", "one of a string or array of strings", other)),
    };
    if asked.stop.len() > 4 {
        let message = format!(
            "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length {} \
             instead.",
            asked.stop.len()
        );
        return Err(invalid(&message, Some("stop"), Some("array_above_max_length")));
    }
    let top = whole(body, "top_logprobs", 0)?;
    match (boolean(body, "logprobs")?.unwrap_or(false), top) {
        (true, top) => asked.logprobs = Some(top.unwrap_or(0)),
        (false, Some(_)) => {
            let message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.";
            return Err(invalid(message, Some("top_logprobs"), None));
        }
        (false, None) => {}
    }
    if let Some(effort) = present(body, "reasoning_effort") {
        const EFFORTS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh", "max"];
        let effort = effort.as_str().ok_or_else(|| wrong_type("reasoning_effort", "a string", effort))?;
        one_of("reasoning_effort", effort, EFFORTS)?;
        if effort != "none" {
            asked.reasoning =
                Some(Reasoning { effort: Some(effort.to_owned()), budget: None, visible: false });
        }
    }
    read_format(body, asked)
}

fn read_format(body: &Value, asked: &mut Asked) -> Result<(), Refused> {
    let Some(format) = present(body, "response_format") else { return Ok(()) };
    match text(format, "type") {
        Some("text") => {}
        Some("json_object") => {
            let words = list(body, "messages")
                .iter()
                .any(|message| message.to_string().to_lowercase().contains("json"));
            if !words {
                let message = "'messages' must contain the word 'json' in some form, to use 'response_format' of type \
                               'json_object'.";
                return Err(invalid(message, Some("messages"), None));
            }
            asked.output = Output::Json;
        }
        Some("json_schema") => {
            let Some(wanted) = present(format, "json_schema") else {
                return Err(missing("response_format.json_schema"));
            };
            if text(wanted, "name").is_none() {
                return Err(missing("response_format.json_schema.name"));
            }
            let schema = wanted.get("schema").cloned().unwrap_or_else(|| json!({"type": "object"}));
            if present(wanted, "strict").and_then(Value::as_bool) == Some(true) {
                let name = text(wanted, "name").unwrap_or_default();
                strict(&schema, &format!("Invalid schema for response_format '{name}'"), "response_format")?;
            }
            asked.output = Output::Schema(schema);
        }
        Some(other) => one_of("response_format.type", other, &["text", "json_object", "json_schema"])?,
        None => return Err(missing("response_format.type")),
    }
    Ok(())
}

/// What `strict` demands of an object: closed, and every field required.
fn strict(schema: &Value, lead: &str, param: &str) -> Result<(), Refused> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Ok(()) };
    if schema.get("additionalProperties") != Some(&Value::Bool(false)) {
        let message = format!(
            "{lead}: In context=(), 'additionalProperties' is required to be supplied and to be false."
        );
        return Err(invalid(&message, Some(param), None));
    }
    let required = list(schema, "required");
    if let Some(name) = properties.keys().find(|name| !required.iter().any(|one| one.as_str() == Some(name)))
    {
        let message = format!(
            "{lead}: In context=(), 'required' is required to be supplied and to be an array including every key in \
             properties. Missing '{name}'."
        );
        return Err(invalid(&message, Some(param), None));
    }
    properties.values().try_for_each(|property| strict(property, lead, param))
}

fn read_tools(body: &Value, asked: &mut Asked) -> Result<(), Refused> {
    if let Some(tools) = present(body, "tools") {
        let tools = tools.as_array().ok_or_else(|| wrong_type("tools", "an array of objects", tools))?;
        if tools.is_empty() {
            let message = "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array \
                           instead.";
            return Err(invalid(message, Some("tools"), Some("empty_array")));
        }
        for (index, tool) in tools.iter().enumerate() {
            read_tool(tool, index, asked)?;
        }
    }
    asked.parallel_tool_calls = boolean(body, "parallel_tool_calls")?;
    if asked.parallel_tool_calls.is_some() && asked.tools.is_empty() {
        let message = "Invalid value for 'parallel_tool_calls': 'parallel_tool_calls' is only allowed when 'tools' are \
                       specified.";
        return Err(invalid(message, Some("parallel_tool_calls"), None));
    }
    let Some(choice) = present(body, "tool_choice") else { return Ok(()) };
    if asked.tools.is_empty() && choice.as_str() != Some("none") {
        let message =
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.";
        return Err(invalid(message, Some("tool_choice"), None));
    }
    asked.tool_choice = match choice {
        Value::String(word) => match word.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" => ToolChoice::Any,
            other => return one_of("tool_choice", other, &["none", "auto", "required"]),
        },
        Value::Object(_) => named_choice(choice, asked)?,
        other => return Err(wrong_type("tool_choice", "one of a string or object", other)),
    };
    Ok(())
}

fn named_choice(choice: &Value, asked: &Asked) -> Result<ToolChoice, Refused> {
    match text(choice, "type") {
        Some("function") => {
            let Some(name) = present(choice, "function").and_then(|function| text(function, "name")) else {
                return Err(missing("tool_choice.function.name"));
            };
            known_tool(name, asked)?;
            Ok(ToolChoice::Among(vec![name.to_owned()]))
        }
        Some("allowed_tools") => {
            let allowed = present(choice, "allowed_tools").unwrap_or(&Value::Null);
            let names = list(allowed, "tools").iter().filter_map(|tool| text(tool.get("function")?, "name"));
            let names: Vec<String> = names.map(str::to_owned).collect();
            names.iter().try_for_each(|name| known_tool(name, asked))?;
            let forced = text(allowed, "mode") == Some("required");
            Ok(if forced { ToolChoice::Among(names) } else { ToolChoice::Auto })
        }
        _ => Err(missing("tool_choice.type")),
    }
}

fn known_tool(name: &str, asked: &Asked) -> Result<(), Refused> {
    if asked.tools.iter().any(|tool| tool.name == name) {
        return Ok(());
    }
    Err(invalid(&format!("Tool choice '{name}' not found in 'tools' parameter."), Some("tool_choice"), None))
}

fn read_tool(tool: &Value, index: usize, asked: &mut Asked) -> Result<(), Refused> {
    match text(tool, "type") {
        Some("function") => {}
        Some(other) => return one_of(&format!("tools[{index}].type"), other, &["function", "custom"]),
        None => return Err(missing(&format!("tools[{index}].type"))),
    }
    let Some(function) = present(tool, "function") else {
        return Err(missing(&format!("tools[{index}].function")));
    };
    let Some(name) = text(function, "name") else {
        return Err(missing(&format!("tools[{index}].function.name")));
    };
    check_name(name, &format!("tools[{index}].function.name"))?;
    let schema = present(function, "parameters")
        .cloned()
        .unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        let kind = schema.get("type").and_then(Value::as_str).unwrap_or("None");
        let message = format!(
            "Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"', got 'type: \
             \"{kind}\"'."
        );
        let param = format!("tools[{index}].function.parameters");
        return Err(invalid(&message, Some(&param), Some("invalid_function_parameters")));
    }
    if present(function, "strict").and_then(Value::as_bool) == Some(true) {
        let param = format!("tools[{index}].function.parameters");
        strict(&schema, &format!("Invalid schema for function '{name}'"), &param)?;
    }
    let description = text(function, "description").map(str::to_owned);
    asked.tools.push(Tool { name: name.to_owned(), description, schema });
    Ok(())
}

pub(super) fn check_name(name: &str, param: &str) -> Result<(), Refused> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        let message = format!(
            "Invalid '{param}': string does not match pattern. Expected a string that matches the pattern \
             '^[a-zA-Z0-9_-]+$'."
        );
        return Err(invalid(&message, Some(param), Some("invalid_value")));
    }
    Ok(())
}

pub(super) fn missing(at: &str) -> Refused {
    invalid(&format!("Missing required parameter: '{at}'."), Some(at), Some("missing_required_parameter"))
}

pub(super) fn wrong_type(at: &str, expected: &str, got: &Value) -> Refused {
    let message = format!("Invalid type for '{at}': expected {expected}, but got {} instead.", kind(got));
    invalid(&message, Some(at), Some("invalid_type"))
}

pub(super) fn one_of(at: &str, value: &str, supported: &[&str]) -> Result<(), Refused> {
    if supported.contains(&value) {
        return Ok(());
    }
    let quoted: Vec<String> = supported.iter().map(|word| format!("'{word}'")).collect();
    let list = match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{}, and {last}", rest.join(", ")),
        _ => quoted.concat(),
    };
    let message = format!("Invalid value: '{value}'. Supported values are: {list}.");
    Err(invalid(&message, Some(at), Some("invalid_value")))
}

fn boolean(body: &Value, name: &str) -> Result<Option<bool>, Refused> {
    match present(body, name) {
        None => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(*value)),
        Some(other) => Err(wrong_type(name, "a boolean", other)),
    }
}

fn whole(body: &Value, name: &str, least: u64) -> Result<Option<u64>, Refused> {
    let Some(value) = present(body, name) else { return Ok(None) };
    match value.as_u64() {
        Some(number) if number >= least => Ok(Some(number)),
        _ if value.is_i64() || value.is_u64() => {
            let message = format!(
                "Invalid '{name}': integer below minimum value. Expected a value >= {least}, but got {value} instead."
            );
            Err(invalid(&message, Some(name), Some("integer_below_min_value")))
        }
        _ => Err(wrong_type(name, "an integer", value)),
    }
}

fn above(name: &str, most: u64, got: u64) -> Refused {
    let message = format!(
        "Invalid '{name}': integer above maximum value. Expected a value <= {most}, but got {got} instead."
    );
    invalid(&message, Some(name), Some("integer_above_max_value"))
}

fn between(body: &Value, name: &str, least: f64, most: f64) -> Result<(), Refused> {
    let Some(value) = present(body, name) else { return Ok(()) };
    let Some(number) = value.as_f64() else { return Err(wrong_type(name, "a decimal number", value)) };
    if number > most {
        let message = format!(
            "Invalid '{name}': decimal above maximum value. Expected a value <= {most}, but got {value} instead."
        );
        return Err(invalid(&message, Some(name), Some("decimal_above_max_value")));
    }
    if number < least {
        let message = format!(
            "Invalid '{name}': decimal below minimum value. Expected a value >= {least}, but got {value} instead."
        );
        return Err(invalid(&message, Some(name), Some("decimal_below_min_value")));
    }
    Ok(())
}
