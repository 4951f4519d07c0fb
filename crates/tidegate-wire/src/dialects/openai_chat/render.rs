//! Requests for targets that speak Chat Completions, out of a [`Conversation`]. Called through the codec.

use serde_json::{Map, Value, json};

use super::HERE;
use super::turns::plan_messages;
use super::types::{Function, JsonSchema, Request, ResponseFormat, Tool, Without};
use crate::conversation::{self, Conversation, Effort, FunctionTool, OutputFormat, ToolChoice};
use crate::loss::{Field, Losses};
use crate::{CacheMarkers, RenderedRequest, RequestOptions, TargetTraits};

/// Fields of a conversation's `rest` that are written inside other objects, or instead of what is written here.
const WRITTEN_ELSEWHERE: &[&str] = &["stream_options", "reasoning", "tool_choice"];

/// OpenAI requires a name for a schema.
const UNNAMED_SCHEMA: &str = "response";

/// How deep a schema is looked into before strictness is left out.
const MAX_SCHEMA_DEPTH: usize = 64;

pub(super) fn render_request(conversation: &Conversation, options: &RequestOptions<'_>) -> RenderedRequest {
    let mut losses = Losses::new();
    let traits = options.traits;
    let is_own = conversation.origin == HERE;
    let has_tools = !conversation.tools.is_empty();
    let messages = plan_messages(conversation, traits, &mut losses);
    let (tools, functions) = plan_tools(conversation, traits, &mut losses);
    let (tool_choice, function_call) = plan_tool_choice(conversation);
    let limit = conversation.max_output_tokens;
    let sampling = &conversation.sampling;
    let mut keep = |is_known: bool, is_there: bool, field: Field| {
        if is_there && !is_known {
            losses.push(field.name(conversation.origin));
        }
        is_known
    };
    let temperature =
        sampling.temperature.as_ref().filter(|_| keep(traits.sampling, true, Field::Temperature));
    let top_p = sampling.top_p.as_ref().filter(|_| keep(traits.sampling, true, Field::TopP));
    let top_k = sampling.top_k.as_ref().filter(|_| keep(traits.top_k, true, Field::TopK));
    let frequency_penalty =
        sampling.frequency_penalty.as_ref().filter(|_| keep(traits.sampling, true, Field::FrequencyPenalty));
    let presence_penalty =
        sampling.presence_penalty.as_ref().filter(|_| keep(traits.sampling, true, Field::PresencePenalty));
    let seed = sampling.seed.as_ref().filter(|_| keep(traits.seed, true, Field::Seed));
    let parallel_tool_calls = conversation
        .parallel_tool_calls
        .filter(|_| is_own || has_tools)
        .filter(|_| keep(traits.parallel_tool_calls, true, Field::ParallelToolCalls));
    let knows_marker = traits.cache_markers == CacheMarkers::CacheControl;
    let cache = conversation.cache.filter(|_| keep(knows_marker, true, Field::CacheMarker));
    let (reasoning_effort, reasoning) = plan_reasoning(conversation, traits, &mut losses);
    let request = Request {
        model: options.model,
        messages,
        tools,
        functions,
        tool_choice,
        function_call,
        parallel_tool_calls,
        max_tokens: limit.filter(|_| !traits.max_completion_tokens_field),
        max_completion_tokens: limit.filter(|_| traits.max_completion_tokens_field),
        stop: &conversation.stop,
        temperature,
        top_p,
        top_k,
        frequency_penalty,
        presence_penalty,
        seed,
        n: conversation.choices,
        logprobs: conversation.logprobs.map(|_| true),
        top_logprobs: conversation.logprobs.filter(|top| *top > 0),
        response_format: plan_output(conversation, traits, &mut losses),
        modalities: &conversation.modalities,
        reasoning_effort,
        reasoning,
        verbosity: conversation.verbosity.as_deref(),
        service_tier: conversation.service_tier.as_deref(),
        user: conversation.user.as_deref(),
        cache_control: cache.map(Into::into),
        stream: options.stream.then_some(true),
        stream_options: plan_stream_options(conversation, options),
        rest: Without { rest: Some(&conversation.rest).filter(|_| is_own), names: WRITTEN_ELSEWHERE },
    };
    let body = super::to_bytes(&request);
    if !is_own {
        for name in conversation.rest.keys() {
            losses.push(name.clone());
        }
    }
    RenderedRequest { body, losses }
}

/// What the conversation holds beside a known field of this wire.
fn leftover<'a>(conversation: &'a Conversation, name: &str) -> Option<&'a Value> {
    conversation.rest.get(name).filter(|_| conversation.origin == HERE)
}

/// Usage is always asked for: the ledger needs it, whatever the caller wants to see.
fn plan_stream_options(conversation: &Conversation, options: &RequestOptions<'_>) -> Option<Value> {
    let mut fields = Map::new();
    if options.stream && options.traits.stream_options {
        fields.insert("include_usage".to_owned(), true.into());
        if let Some(Value::Object(more)) = leftover(conversation, "stream_options") {
            fields.extend(more.clone());
        }
    }
    (!fields.is_empty()).then_some(Value::Object(fields))
}

fn plan_tools<'a>(
    conversation: &'a Conversation,
    traits: &TargetTraits,
    losses: &mut Losses,
) -> (Vec<Tool<'a>>, Vec<Function<'a>>) {
    let is_own = conversation.origin == HERE;
    let mut tools = Vec::with_capacity(conversation.tools.len());
    let mut functions = Vec::new();
    for (index, tool) in conversation.tools.iter().enumerate() {
        match tool {
            conversation::Tool::Native(native) if native.dialect == HERE => {
                tools.push(Tool::Native(&native.value));
            }
            conversation::Tool::Native(_) => losses.push(format!("tools[{index}]")),
            conversation::Tool::Function(tool) => {
                let function = plan_function(tool, index, is_own, losses);
                if conversation.legacy_functions {
                    functions.push(function);
                    continue;
                }
                let knows_marker = traits.cache_markers == CacheMarkers::CacheControl;
                if tool.cache.is_some() && !knows_marker {
                    losses.push(format!("tools[{index}].cache_control"));
                }
                tools.push(Tool::Function {
                    kind: "function",
                    function,
                    cache_control: tool.cache.filter(|_| knows_marker).map(Into::into),
                    rest: Without { rest: Some(&tool.rest).filter(|_| is_own), names: &["function"] },
                });
            }
        }
    }
    (tools, functions)
}

fn plan_function<'a>(
    tool: &'a FunctionTool,
    index: usize,
    is_own: bool,
    losses: &mut Losses,
) -> Function<'a> {
    // Strictness has conditions of its own here, which a schema written for others may not meet.
    let is_ready = || tool.parameters.as_ref().is_some_and(|schema| is_ready_for_strict(schema, 0));
    let strict = tool.strict.filter(|strict| is_own || (*strict && is_ready()));
    if !is_own {
        for name in tool.rest.keys() {
            losses.push(format!("tools[{index}].{name}"));
        }
        if tool.strict == Some(true) && strict.is_none() {
            losses.push(format!("tools[{index}].strict"));
        }
    }
    Function {
        name: &tool.name,
        description: tool.description.as_deref(),
        parameters: tool.parameters.as_ref(),
        strict,
        rest: tool.rest.get("function").and_then(Value::as_object).filter(|_| is_own),
    }
}

/// Whether OpenAI would take the schema as a strict one: every object closed, with all of its properties required.
fn is_ready_for_strict(schema: &Value, depth: usize) -> bool {
    if depth > MAX_SCHEMA_DEPTH {
        return false;
    }
    match schema {
        Value::Object(fields) => {
            let is_open = fields.get("additionalProperties") != Some(&Value::Bool(false));
            if let Some(Value::Object(properties)) = fields.get("properties") {
                let required = fields.get("required").and_then(Value::as_array);
                let is_required =
                    |name: &String| required.is_some_and(|names| names.iter().any(|other| other == name));
                if is_open || !properties.keys().all(is_required) {
                    return false;
                }
            } else if fields.get("type").and_then(Value::as_str) == Some("object") && is_open {
                return false;
            }
            fields.values().all(|value| is_ready_for_strict(value, depth + 1))
        }
        Value::Array(items) => items.iter().all(|value| is_ready_for_strict(value, depth + 1)),
        _ => true,
    }
}

/// `tool_choice`, or the old `function_call`.
fn plan_tool_choice(conversation: &Conversation) -> (Option<Value>, Option<Value>) {
    if conversation.tools.is_empty() && conversation.origin != HERE {
        return (None, None);
    }
    let is_custom = |name: &str| {
        conversation.tools.iter().any(|tool| match tool {
            conversation::Tool::Native(native) if native.dialect == HERE => {
                native.value.get("custom").and_then(|custom| custom.get("name")).and_then(Value::as_str)
                    == Some(name)
            }
            _ => false,
        })
    };
    let named = |name: &str| {
        let kind = if is_custom(name) { "custom" } else { "function" };
        json!({ "type": kind, kind: { "name": name } })
    };
    let choice = match &conversation.tool_choice {
        None => return (leftover(conversation, "tool_choice").cloned(), None),
        Some(ToolChoice::Function(name)) if conversation.legacy_functions => json!({ "name": name }),
        Some(ToolChoice::Auto) => "auto".into(),
        Some(ToolChoice::None) => "none".into(),
        Some(ToolChoice::Required) => "required".into(),
        Some(ToolChoice::Function(name)) => named(name),
        Some(ToolChoice::Allowed { required, names }) => {
            let tools: Vec<Value> = names.iter().map(|name| named(name)).collect();
            let mode = if *required { "required" } else { "auto" };
            json!({ "type": "allowed_tools", "allowed_tools": { "mode": mode, "tools": tools } })
        }
    };
    if conversation.legacy_functions { (None, Some(choice)) } else { (Some(choice), None) }
}

fn plan_output<'a>(
    conversation: &'a Conversation,
    traits: &TargetTraits,
    losses: &mut Losses,
) -> Option<ResponseFormat<'a>> {
    match &conversation.output {
        OutputFormat::Text => None,
        OutputFormat::Json => Some(ResponseFormat { kind: "json_object", json_schema: None }),
        OutputFormat::JsonSchema { .. } if !traits.json_schema => {
            losses.push(Field::OutputFormat.name(conversation.origin));
            Some(ResponseFormat { kind: "json_object", json_schema: None })
        }
        OutputFormat::JsonSchema { name, description, schema, strict } => {
            // The other dialects hold every answer to its schema; here that takes `strict`, where the schema allows it.
            let strict = if conversation.origin == HERE {
                *strict
            } else {
                (*strict != Some(false) && is_ready_for_strict(schema, 0)).then_some(true)
            };
            Some(ResponseFormat {
                kind: "json_schema",
                json_schema: Some(JsonSchema {
                    name: name.as_deref().unwrap_or(UNNAMED_SCHEMA),
                    description: description.as_deref(),
                    schema,
                    strict,
                }),
            })
        }
    }
}

/// `reasoning_effort`, or OpenRouter's `reasoning`.
fn plan_reasoning(
    conversation: &Conversation,
    traits: &TargetTraits,
    losses: &mut Losses,
) -> (Option<&'static str>, Option<Value>) {
    let beside = leftover(conversation, "reasoning");
    let Some(wanted) = &conversation.reasoning else { return (None, beside.cloned()) };
    if traits.reasoning_object {
        let mut fields = Map::new();
        if let Some(enabled) = wanted.enabled {
            fields.insert("enabled".to_owned(), enabled.into());
        }
        // OpenRouter takes one of the two.
        match (wanted.budget_tokens, wanted.effort) {
            (Some(budget), _) => {
                fields.insert("max_tokens".to_owned(), budget.into());
            }
            (None, Some(effort)) => {
                fields.insert("effort".to_owned(), effort.as_str().into());
            }
            (None, None) => {}
        }
        if let Some(include) = wanted.include_text {
            fields.insert("exclude".to_owned(), (!include).into());
        }
        fields.extend(beside.and_then(Value::as_object).cloned().unwrap_or_default());
        return (None, Some(Value::Object(fields)));
    }
    let by_budget = || wanted.budget_tokens.map(Effort::from_budget_tokens);
    let off = || (wanted.enabled == Some(false)).then_some(Effort::None);
    let effort = off().or(wanted.effort).or_else(by_budget);
    if !traits.reasoning_effort && (effort.is_some() || wanted.enabled == Some(true)) {
        losses.push(Field::Reasoning.name(conversation.origin));
    }
    (effort.filter(|_| traits.reasoning_effort).map(Effort::as_str), beside.cloned())
}
