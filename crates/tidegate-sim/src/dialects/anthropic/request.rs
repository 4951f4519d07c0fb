//! Reads a Messages request, and refuses what Anthropic refuses.

use serde_json::Value;

use super::error::{invalid, thread_unsupported};
use super::turns::read_messages;
use crate::asked::{Asked, Output, Reasoning, Tool, ToolChoice};
use crate::dialects::fields::{list, present, some_of, text, unknown};
use crate::dialects::{Refused, Way};

const KNOWN: &[&str] = &[
    "billing_policy",
    "cache_control",
    "compaction",
    "container",
    "context_management",
    "diagnostics",
    "fallbacks",
    "inference_geo",
    "max_tokens",
    "mcp_servers",
    "messages",
    "metadata",
    "model",
    "output_config",
    "output_format",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
    "user_profile_id",
    "workspace_id",
];
const PARAMETERS: &[&str] = &[
    "container",
    "context_management",
    "mcp_servers",
    "metadata",
    "service_tier",
    "temperature",
    "top_k",
    "top_p",
];
/// The least that thinking may be allowed.
const LEAST_BUDGET: u64 = 1024;

pub(crate) fn read(body: &Value, way: &Way<'_>) -> Result<Asked, Refused> {
    if !body.is_object() {
        return Err(invalid("Input should be a valid dictionary"));
    }
    // This provider keeps no conversations; the SDKs' tool runners ask for it first and then send all themselves.
    if present(body, "thread").is_some() {
        return Err(thread_unsupported());
    }
    if let Some(name) = unknown(body, KNOWN) {
        return Err(invalid(&format!("{name}: Extra inputs are not permitted")));
    }
    let model = match present(body, "model") {
        Some(Value::String(model)) if !model.is_empty() => model.clone(),
        Some(Value::String(_)) => return Err(invalid("model: String should have at least 1 character")),
        Some(_) => return Err(invalid("model: Input should be a valid string")),
        None => return Err(invalid("model: Field required")),
    };
    let mut asked = Asked { model, choices: 1, ..Asked::default() };
    read_settings(body, way, &mut asked)?;
    read_tools(body, &mut asked)?;
    read_system(body, &mut asked)?;
    read_messages(body, way, &mut asked)?;
    asked.parameters = some_of(body, PARAMETERS);
    Ok(asked)
}

fn read_settings(body: &Value, way: &Way<'_>, asked: &mut Asked) -> Result<(), Refused> {
    asked.stream = match present(body, "stream") {
        None => false,
        Some(Value::Bool(stream)) => *stream,
        Some(_) => return Err(invalid("stream: Input should be a valid boolean")),
    };
    asked.max_tokens = match present(body, "max_tokens") {
        None if way.count_only => None,
        None => return Err(invalid("max_tokens: Field required")),
        Some(value) => match value.as_i64() {
            Some(number) => match u64::try_from(number) {
                Ok(number) if number >= 1 => Some(number),
                _ => return Err(invalid("max_tokens: Input should be greater than or equal to 1")),
            },
            None => return Err(invalid("max_tokens: Input should be a valid integer")),
        },
    };
    for (name, most) in [("temperature", 1.0), ("top_p", 1.0)] {
        if let Some(value) = present(body, name) {
            let number =
                value.as_f64().ok_or_else(|| invalid(&format!("{name}: Input should be a valid number")))?;
            if number > most {
                return Err(invalid(&format!("{name}: Input should be less than or equal to {most}")));
            }
            if number < 0.0 {
                return Err(invalid(&format!("{name}: Input should be greater than or equal to 0")));
            }
        }
    }
    if let Some(stop) = present(body, "stop_sequences") {
        let stop = stop.as_array().ok_or_else(|| invalid("stop_sequences: Input should be a valid list"))?;
        for (index, sequence) in stop.iter().enumerate() {
            match sequence.as_str() {
                Some(sequence) if sequence.trim().is_empty() => {
                    return Err(invalid("stop_sequences: each stop sequence must contain non-whitespace"));
                }
                Some(sequence) => asked.stop.push(sequence.to_owned()),
                None => {
                    return Err(invalid(&format!("stop_sequences.{index}: Input should be a valid string")));
                }
            }
        }
    }
    read_thinking(body, asked)?;
    let format = present(body, "output_config").and_then(|config| present(config, "format"));
    if let Some(format) = format.or_else(|| present(body, "output_format")) {
        if text(format, "type") != Some("json_schema") {
            return Err(invalid("output_config.format.type: Input should be 'json_schema'"));
        }
        let schema = present(format, "schema")
            .ok_or_else(|| invalid("output_config.format.schema: Field required"))?;
        asked.output = Output::Schema(schema.clone());
    }
    Ok(())
}

fn read_thinking(body: &Value, asked: &mut Asked) -> Result<(), Refused> {
    let effort = present(body, "output_config").and_then(|config| text(config, "effort")).map(str::to_owned);
    if let Some(word) = effort.as_deref() {
        if !["low", "medium", "high", "xhigh", "max"].contains(&word) {
            return Err(invalid(
                "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
            ));
        }
        asked.parameters.insert("effort".to_owned(), Value::String(word.to_owned()));
    }
    let Some(thinking) = present(body, "thinking") else { return Ok(()) };
    let visible = text(thinking, "display") != Some("omitted");
    match text(thinking, "type") {
        Some("disabled") => {}
        Some("adaptive") => asked.reasoning = Some(Reasoning { effort, budget: None, visible }),
        Some("enabled") => {
            let budget = present(thinking, "budget_tokens")
                .ok_or_else(|| invalid("thinking.enabled.budget_tokens: Field required"))?;
            let budget = budget
                .as_u64()
                .ok_or_else(|| invalid("thinking.enabled.budget_tokens: Input should be a valid integer"))?;
            if budget < LEAST_BUDGET {
                let message = format!(
                    "thinking.enabled.budget_tokens: Input should be greater than or equal to {LEAST_BUDGET}"
                );
                return Err(invalid(&message));
            }
            if asked.max_tokens.is_some_and(|most| most <= budget) {
                return Err(invalid(
                    "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation at \
                     https://docs.claude.com/en/docs/build-with-claude/extended-thinking#max-tokens-and-context-window-size",
                ));
            }
            asked.reasoning = Some(Reasoning { effort, budget: i64::try_from(budget).ok(), visible });
        }
        _ => {
            return Err(invalid(
                "thinking: Input tag does not match any of the expected tags: 'adaptive', 'disabled', 'enabled'",
            ));
        }
    }
    if asked.reasoning.is_none() {
        return Ok(());
    }
    if present(body, "temperature")
        .and_then(Value::as_f64)
        .is_some_and(|value| (value - 1.0).abs() > f64::EPSILON)
    {
        return Err(invalid("`temperature` may only be set to 1 when thinking is enabled."));
    }
    if present(body, "top_k").is_some() {
        return Err(invalid("`top_k` must be unset when thinking is enabled."));
    }
    let forced = present(body, "tool_choice").and_then(|choice| text(choice, "type"));
    if matches!(forced, Some("any" | "tool")) {
        return Err(invalid("Thinking may not be enabled when tool_choice forces tool use."));
    }
    Ok(())
}

fn read_tools(body: &Value, asked: &mut Asked) -> Result<(), Refused> {
    for (index, tool) in list(body, "tools").iter().enumerate() {
        // Server tools have types of their own and no schema; they are never called here.
        if !matches!(text(tool, "type"), None | Some("custom")) {
            continue;
        }
        let at = format!("tools.{index}");
        if let Some(name) = unknown(
            tool,
            &[
                "allowed_callers",
                "cache_control",
                "defer_loading",
                "description",
                "eager_input_streaming",
                "input_examples",
                "input_schema",
                "name",
                "strict",
                "type",
            ],
        ) {
            return Err(invalid(&format!("{at}.custom.{name}: Extra inputs are not permitted")));
        }
        let name = text(tool, "name").ok_or_else(|| invalid(&format!("{at}.custom.name: Field required")))?;
        let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
        if name.is_empty() || name.len() > 128 || !name.chars().all(fits) {
            let message = format!("{at}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'");
            return Err(invalid(&message));
        }
        if asked.tools.iter().any(|other| other.name == name) {
            return Err(invalid("tools: Tool names must be unique."));
        }
        let schema = present(tool, "input_schema")
            .ok_or_else(|| invalid(&format!("{at}.custom.input_schema: Field required")))?;
        match text(schema, "type") {
            Some("object") => {}
            Some(_) => {
                return Err(invalid(&format!("{at}.custom.input_schema.type: Input should be 'object'")));
            }
            None => return Err(invalid(&format!("{at}.custom.input_schema.type: Field required"))),
        }
        asked.cache_markers += u64::from(present(tool, "cache_control").is_some());
        let description = text(tool, "description").map(str::to_owned);
        asked.tools.push(Tool { name: name.to_owned(), description, schema: schema.clone() });
    }
    let Some(choice) = present(body, "tool_choice") else { return Ok(()) };
    let kind = text(choice, "type")
        .ok_or_else(|| invalid("tool_choice: Unable to extract tag using discriminator 'type'"))?;
    if list(body, "tools").is_empty() && kind != "none" {
        return Err(invalid("tool_choice may only be specified while providing tools"));
    }
    asked.parallel_tool_calls =
        present(choice, "disable_parallel_tool_use").and_then(Value::as_bool).map(|disabled| !disabled);
    asked.tool_choice = match kind {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Any,
        "none" => ToolChoice::None,
        "tool" => {
            let name =
                text(choice, "name").ok_or_else(|| invalid("tool_choice.tool.name: Field required"))?;
            if !list(body, "tools").iter().any(|tool| text(tool, "name") == Some(name)) {
                return Err(invalid(&format!("Tool '{name}' not found in provided tools")));
            }
            ToolChoice::Among(vec![name.to_owned()])
        }
        other => {
            return Err(invalid(&format!(
                "tool_choice: Input tag '{other}' found using 'type' does not match any of the expected tags: 'auto', \
                 'any', 'tool', 'none'"
            )));
        }
    };
    Ok(())
}

fn read_system(body: &Value, asked: &mut Asked) -> Result<(), Refused> {
    match present(body, "system") {
        None => {}
        Some(Value::String(system)) => asked.system.push(system.clone()),
        Some(Value::Array(blocks)) => {
            for (index, block) in blocks.iter().enumerate() {
                let at = format!("system.{index}");
                if text(block, "type") != Some("text") {
                    return Err(invalid(&format!("{at}.type: Input should be 'text'")));
                }
                let said =
                    text(block, "text").ok_or_else(|| invalid(&format!("{at}.text: Field required")))?;
                if said.is_empty() {
                    return Err(invalid("system: text content blocks must be non-empty"));
                }
                asked.cache_markers += u64::from(present(block, "cache_control").is_some());
                asked.system.push(said.to_owned());
            }
        }
        Some(_) => return Err(invalid("system: Input should be a valid list")),
    }
    Ok(())
}
