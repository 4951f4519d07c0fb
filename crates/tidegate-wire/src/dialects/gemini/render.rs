//! Requests, written for a target of this dialect. Called through the codec and by `count_tokens.rs`.
//!
//! The model stands in the path and so is not written. What belongs to `contents` is in `turns.rs`, thinking in
//! `thinking.rs`.

use serde_json::{Map, Value};

use super::reply::to_json;
use super::types::{GenerationConfig, Request};
use super::{HERE, thinking, tier_to_wire, turns};
use crate::conversation::{Conversation, FunctionTool, OutputFormat, Rest, Sampling, Tool, ToolChoice};
use crate::{Dialect, Field, Losses, RenderedRequest, RequestOptions};

pub(super) fn render_request(conversation: &Conversation, options: &RequestOptions<'_>) -> RenderedRequest {
    let mut losses = Losses::new();
    let request = to_wire(conversation, options, &mut losses);
    RenderedRequest { body: to_json(&request), losses }
}

/// Turns a conversation into the request's body.
pub(super) fn to_wire<'a>(
    conversation: &'a Conversation,
    options: &RequestOptions<'_>,
    losses: &mut Losses,
) -> Request<'a> {
    let mut rest = own_rest(&conversation.rest, conversation.origin, "", losses);
    let generation_rest = take_object(&mut rest, "generationConfig");
    let tool_rest = take_object(&mut rest, "toolConfig");
    let (system_instruction, contents) = turns::write(conversation, options, losses);
    report_losses(conversation, losses);
    Request {
        contents: Some(contents),
        system_instruction,
        tools: write_tools(conversation, losses),
        tool_config: write_tool_config(conversation, tool_rest, losses),
        generation_config: write_generation_config(conversation, options, generation_rest, losses),
        service_tier: write_tier(conversation, losses),
        rest,
    }
}

/// Fields that only the dialect of origin knows: kept when that is this one, else reported as lost.
pub(super) fn own_rest(rest: &Rest, origin: Dialect, place: &str, losses: &mut Losses) -> Rest {
    if origin == HERE {
        return rest.clone();
    }
    for name in rest.keys() {
        losses.push(if place.is_empty() { name.clone() } else { format!("{place}.{name}") });
    }
    Rest::new()
}

fn take_object(rest: &mut Rest, name: &str) -> Rest {
    match rest.shift_remove(name) {
        Some(Value::Object(object)) => object,
        _ => Rest::new(),
    }
}

fn report_losses(conversation: &Conversation, losses: &mut Losses) {
    let mut lost = |is_there: bool, field: Field| {
        if is_there {
            losses.push(field.name(conversation.origin));
        }
    };
    lost(conversation.user.is_some(), Field::User);
    lost(conversation.verbosity.is_some(), Field::Verbosity);
    lost(conversation.cache.is_some(), Field::CacheMarker);
    let refuses_parallel = conversation.parallel_tool_calls == Some(false) && !conversation.tools.is_empty();
    lost(refuses_parallel, Field::ParallelToolCalls);
}

fn write_tier(conversation: &Conversation, losses: &mut Losses) -> Option<String> {
    match conversation.service_tier.as_deref() {
        // Leaving it to the provider is what leaving it out means.
        None | Some("auto") => None,
        Some(tier @ ("default" | "standard" | "flex" | "priority")) => Some(tier_to_wire(tier).to_owned()),
        Some(tier) if conversation.origin == HERE => Some(tier.to_owned()),
        Some(_) => {
            losses.push(Field::ServiceTier.name(conversation.origin));
            None
        }
    }
}

/// Functions that follow one another stand in one tool: several tools are not taken by every model. Only Gemini's own
/// callers have other tools between them.
fn write_tools(conversation: &Conversation, losses: &mut Losses) -> Vec<Map<String, Value>> {
    const DECLARATIONS: &str = "functionDeclarations";
    let mut tools: Vec<Map<String, Value>> = Vec::new();
    for (index, tool) in conversation.tools.iter().enumerate() {
        match tool {
            Tool::Function(function) => {
                let function = write_function(function, index, conversation.origin, losses);
                match tools.last_mut().and_then(|tool| tool.get_mut(DECLARATIONS)) {
                    Some(Value::Array(functions)) => functions.push(function),
                    _ => {
                        tools.push(Map::from_iter([(DECLARATIONS.to_owned(), Value::Array(vec![function]))]));
                    }
                }
            }
            Tool::Native(tool) => match &tool.value {
                Value::Object(object) if tool.dialect == HERE => tools.push(object.clone()),
                _ => losses.push(format!("tools[{index}]")),
            },
        }
    }
    tools
}

fn write_function(function: &FunctionTool, index: usize, origin: Dialect, losses: &mut Losses) -> Value {
    let place = match origin {
        Dialect::OpenAiChat => format!("tools[{index}].function"),
        Dialect::AnthropicMessages | Dialect::Gemini => format!("tools[{index}]"),
    };
    let mut declaration = Map::new();
    declaration.insert("name".to_owned(), function.name.as_str().into());
    if let Some(description) = &function.description {
        declaration.insert("description".to_owned(), description.as_str().into());
    }
    if let Some(parameters) = &function.parameters {
        declaration.insert("parametersJsonSchema".to_owned(), parameters.clone());
    }
    if function.strict == Some(true) {
        losses.push(format!("{place}.strict"));
    }
    if function.cache.is_some() {
        losses.push(format!("{place}.cache_control"));
    }
    declaration.extend(own_rest(&function.rest, origin, &place, losses));
    Value::Object(declaration)
}

fn write_tool_config(
    conversation: &Conversation,
    mut rest: Rest,
    losses: &mut Losses,
) -> Option<Map<String, Value>> {
    let mut calling = Map::new();
    let mut mode = |mode: &str, names: &[String]| {
        calling.insert("mode".to_owned(), mode.into());
        if !names.is_empty() {
            calling.insert("allowedFunctionNames".to_owned(), names.into());
        }
    };
    let has_functions = conversation.tools.iter().any(|tool| matches!(tool, Tool::Function(_)));
    // The configuration is refused where there is nothing to call.
    let choice = conversation.tool_choice.as_ref().filter(|choice| {
        let is_taken = has_functions || conversation.origin == HERE;
        if !is_taken && !matches!(choice, ToolChoice::Auto | ToolChoice::None) {
            losses.push(Field::ToolChoice.name(conversation.origin));
        }
        is_taken
    });
    match choice {
        None => {}
        Some(ToolChoice::Auto) => mode("AUTO", &[]),
        Some(ToolChoice::None) => mode("NONE", &[]),
        Some(ToolChoice::Required) => mode("ANY", &[]),
        Some(ToolChoice::Function(name)) => mode("ANY", std::slice::from_ref(name)),
        Some(ToolChoice::Allowed { required: true, names }) => mode("ANY", names),
        Some(ToolChoice::Allowed { required: false, names }) => mode("VALIDATED", names),
    }
    calling.extend(take_object(&mut rest, "functionCallingConfig"));
    if !calling.is_empty() {
        rest.insert("functionCallingConfig".to_owned(), Value::Object(calling));
    }
    (!rest.is_empty()).then_some(rest)
}

fn write_generation_config(
    conversation: &Conversation,
    options: &RequestOptions<'_>,
    mut rest: Rest,
    losses: &mut Losses,
) -> Option<GenerationConfig> {
    let thinking_rest = take_object(&mut rest, "thinkingConfig");
    let sampling = write_sampling(conversation, options, losses);
    let mut config = GenerationConfig {
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k,
        frequency_penalty: sampling.frequency_penalty,
        presence_penalty: sampling.presence_penalty,
        seed: sampling.seed,
        candidate_count: conversation.choices.map(i64::from),
        max_output_tokens: conversation
            .max_output_tokens
            .map(|count| i64::try_from(count).unwrap_or(i64::MAX)),
        stop_sequences: conversation.stop.clone(),
        response_logprobs: conversation.logprobs.map(|_| true),
        logprobs: conversation.logprobs.filter(|count| *count > 0).map(i64::from),
        response_modalities: conversation.modalities.iter().map(|word| word.to_ascii_uppercase()).collect(),
        thinking_config: thinking::write(conversation, options, thinking_rest, losses),
        rest,
        ..GenerationConfig::default()
    };
    write_output(&conversation.output, &mut config);
    let is_empty =
        serde_json::to_value(&config).is_ok_and(|value| value.as_object().is_some_and(Map::is_empty));
    (!is_empty).then_some(config)
}

fn write_sampling(
    conversation: &Conversation,
    options: &RequestOptions<'_>,
    losses: &mut Losses,
) -> Sampling {
    let mut sampling = conversation.sampling.clone();
    if !options.traits.sampling {
        for (number, field) in [
            (&mut sampling.temperature, Field::Temperature),
            (&mut sampling.top_p, Field::TopP),
            (&mut sampling.top_k, Field::TopK),
            (&mut sampling.frequency_penalty, Field::FrequencyPenalty),
            (&mut sampling.presence_penalty, Field::PresencePenalty),
        ] {
            if number.take().is_some() {
                losses.push(field.name(conversation.origin));
            }
        }
    }
    sampling
}

/// Gemini always holds an answer to its schema, and a schema needs no name here: neither is lost.
fn write_output(output: &OutputFormat, config: &mut GenerationConfig) {
    match output {
        OutputFormat::Text => {}
        OutputFormat::Json => config.response_mime_type = Some("application/json".to_owned()),
        OutputFormat::JsonSchema { schema, description, .. } => {
            config.response_mime_type = Some("application/json".to_owned());
            let mut schema = schema.clone();
            if let (Some(description), Value::Object(object)) = (description, &mut schema) {
                object.entry("description").or_insert_with(|| description.as_str().into());
            }
            config.response_json_schema = Some(schema);
        }
    }
}
