//! Requests for targets that speak Messages, out of a [`Conversation`]. Called through the codec and by `count_tokens`.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

use super::blocks::HERE;
use super::parse::Purpose;
use super::schema::{fit_schema, has_open_objects};
use super::thinking::{ThinkingPlan, plan_thinking};
use super::turns::{Plan, plan_turns};
use super::types::{Metadata, OutputConfig, OutputFormat, Request, Tool, ToolChoice, Without};
use crate::conversation::{self, Conversation};
use crate::loss::{Field, Losses};
use crate::{RenderedRequest, RequestOptions, TargetTraits};

/// Fields of a conversation's `rest` that are written inside other objects.
const WRITTEN_ELSEWHERE: &[&str] = &["thinking", "output_config", "metadata", "tool_choice"];

pub(super) fn render_request(
    conversation: &Conversation,
    options: &RequestOptions<'_>,
    purpose: Purpose,
) -> RenderedRequest {
    let mut losses = Losses::new();
    let traits = options.traits;
    let is_own = conversation.origin == HERE;
    let is_message = purpose == Purpose::Message;
    let Plan { system, messages } = plan_turns(conversation, traits, &mut losses);
    let ThinkingPlan { thinking, effort, max_tokens, is_on } =
        plan_thinking(conversation, &messages, traits, &mut losses);
    let sampling = plan_sampling(conversation, traits, is_on, &mut losses);
    let mut tools = plan_tools(conversation, traits, &mut losses);
    let mut tool_choice = plan_tool_choice(conversation, &mut losses);
    if tools.is_empty() && !is_own {
        tools = tools_of_the_past(conversation);
        if !tools.is_empty() {
            let (name, disable_parallel_tool_use, rest) = (None, None, None);
            tool_choice = Some(ToolChoice { kind: Some("none"), name, disable_parallel_tool_use, rest });
        }
    }
    let request = Request {
        model: options.model,
        max_tokens: is_message.then_some(max_tokens),
        system,
        messages,
        tools,
        tool_choice,
        thinking,
        output_config: plan_output(conversation, effort, traits, &mut losses),
        temperature: sampling.temperature.filter(|_| is_message),
        top_p: sampling.top_p.filter(|_| is_message),
        top_k: sampling.top_k.filter(|_| is_message),
        stop_sequences: if is_message { plan_stop(conversation, &mut losses) } else { Vec::new() },
        metadata: plan_metadata(conversation).filter(|_| is_message),
        service_tier: plan_tier(conversation, &mut losses).filter(|_| is_message),
        cache_control: conversation.cache.map(Into::into),
        stream: (options.stream && is_message).then_some(true),
        rest: Without { rest: Some(&conversation.rest).filter(|_| is_own), names: WRITTEN_ELSEWHERE },
    };
    let body = super::to_bytes(&request);
    report_inexpressible(conversation, &mut losses);
    RenderedRequest { body, losses }
}

/// What the conversation holds beside a known field of this wire.
fn leftover<'a>(conversation: &'a Conversation, name: &str) -> Option<&'a Map<String, Value>> {
    let is_own = conversation.origin == HERE;
    conversation.rest.get(name).and_then(Value::as_object).filter(|_| is_own)
}

fn plan_tools<'a>(
    conversation: &'a Conversation,
    traits: &TargetTraits,
    losses: &mut Losses,
) -> Vec<Tool<'a>> {
    let is_own = conversation.origin == HERE;
    let mut tools = Vec::with_capacity(conversation.tools.len());
    for (index, tool) in conversation.tools.iter().enumerate() {
        match tool {
            conversation::Tool::Function(function) => {
                // Models that know structured output know strict tools, under the same conditions.
                let is_open = || !is_own && function.parameters.as_ref().is_some_and(has_open_objects);
                let is_strict = function.strict == Some(true) && traits.json_schema && !is_open();
                let input_schema = match &function.parameters {
                    Some(schema) if is_strict && !is_own => Cow::Owned(fit_schema(&with_object_type(schema))),
                    Some(schema) if is_own || schema.get("type").is_some() => Cow::Borrowed(schema),
                    Some(schema) => Cow::Owned(with_object_type(schema)),
                    None => Cow::Owned(serde_json::json!({ "type": "object", "properties": {} })),
                };
                if !is_own {
                    for name in function.rest.keys() {
                        losses.push(format!("tools[{index}].{name}"));
                    }
                }
                tools.push(Tool::Function {
                    name: &function.name,
                    description: function.description.as_deref(),
                    input_schema,
                    strict: function.strict.filter(|_| is_own || is_strict),
                    cache_control: function.cache.map(Into::into),
                    rest: Some(&function.rest).filter(|_| is_own),
                });
                if !is_own && !is_strict && function.strict == Some(true) {
                    losses.push(format!("tools[{index}].strict"));
                }
            }
            conversation::Tool::Native(native) if native.dialect == HERE => {
                tools.push(Tool::Native(&native.value));
            }
            conversation::Tool::Native(_) => losses.push(format!("tools[{index}]")),
        }
    }
    tools
}

/// The tools that were called in a conversation that no longer offers any. The API refuses calls without definitions;
/// with these, and the choice of none, the model still has nothing to call.
fn tools_of_the_past(conversation: &Conversation) -> Vec<Tool<'_>> {
    let mut names: Vec<&str> = Vec::new();
    for part in conversation.turns.iter().flat_map(|turn| &turn.parts) {
        if let conversation::Content::ToolCall(call) = &part.content
            && !names.contains(&call.name.as_str())
        {
            names.push(&call.name);
        }
    }
    let tool = |name| Tool::Function {
        name,
        description: None,
        input_schema: Cow::Owned(serde_json::json!({ "type": "object" })),
        strict: None,
        cache_control: None,
        rest: None,
    };
    names.into_iter().map(tool).collect()
}

/// The API insists on the type of the arguments as a whole.
fn with_object_type(schema: &Value) -> Value {
    let mut schema = schema.clone();
    match schema.as_object_mut() {
        Some(fields) => {
            fields.insert("type".to_owned(), "object".into());
            schema
        }
        None => serde_json::json!({ "type": "object" }),
    }
}

fn plan_tool_choice<'a>(conversation: &'a Conversation, losses: &mut Losses) -> Option<ToolChoice<'a>> {
    use conversation::ToolChoice as Wanted;
    let rest = leftover(conversation, "tool_choice");
    let has_tools = !conversation.tools.is_empty();
    let is_own = conversation.origin == HERE;
    let (kind, name) = match &conversation.tool_choice {
        _ if !has_tools && !is_own => return None,
        None if conversation.parallel_tool_calls == Some(false) => (Some("auto"), None),
        None if rest.is_some() => (None, None),
        None => return None,
        Some(Wanted::Auto) => (Some("auto"), None),
        Some(Wanted::None) => (Some("none"), None),
        Some(Wanted::Required) => (Some("any"), None),
        Some(Wanted::Function(name)) => (Some("tool"), Some(name.as_str())),
        Some(Wanted::Allowed { required: true, names }) if names.len() == 1 => {
            (Some("tool"), names.first().map(String::as_str))
        }
        Some(Wanted::Allowed { required, .. }) => {
            losses.push(Field::ToolChoice.name(conversation.origin));
            (Some(if *required { "any" } else { "auto" }), None)
        }
    };
    let disable_parallel_tool_use = match (conversation.parallel_tool_calls, kind) {
        (_, Some("none")) => None,
        (Some(false), _) => Some(true),
        (Some(true), _) if is_own => Some(false),
        _ => None,
    };
    Some(ToolChoice { kind, name, disable_parallel_tool_use, rest })
}

fn plan_output<'a>(
    conversation: &'a Conversation,
    effort: Option<&'static str>,
    traits: &TargetTraits,
    losses: &mut Losses,
) -> Option<OutputConfig<'a>> {
    use conversation::OutputFormat as Wanted;
    let is_own = conversation.origin == HERE;
    let lost = Field::OutputFormat.name(conversation.origin);
    let schema = match &conversation.output {
        Wanted::Text => None,
        // There is no form for "some JSON": callers of the other dialects ask for it in words as well.
        Wanted::Json => {
            losses.push(lost);
            None
        }
        Wanted::JsonSchema { schema, .. } if is_own => Some(Cow::Borrowed(schema)),
        Wanted::JsonSchema { .. } if !traits.json_schema => {
            losses.push(lost);
            None
        }
        Wanted::JsonSchema { schema, description, .. } => {
            if has_open_objects(schema) {
                losses.push(format!("{lost}.additionalProperties"));
            }
            let mut schema = fit_schema(schema);
            if let (Some(description), Value::Object(fields)) = (description, &mut schema) {
                fields.entry("description").or_insert_with(|| description.as_str().into());
            }
            Some(Cow::Owned(schema))
        }
    };
    let format = schema.map(|schema| OutputFormat { kind: "json_schema", schema });
    let rest = leftover(conversation, "output_config");
    (effort.is_some() || format.is_some() || rest.is_some()).then_some(OutputConfig { effort, format, rest })
}

#[derive(Default)]
struct SamplingPlan<'a> {
    temperature: Option<Number>,
    top_p: Option<&'a Number>,
    top_k: Option<&'a Number>,
}

/// Sampling parameters, less those that the API refuses: all of them for models that take none; beside thinking a
/// temperature other than 1, any `top_k`, and a `top_p` under 0.95; and, for newer models, `top_p` beside a temperature.
fn plan_sampling<'a>(
    conversation: &'a Conversation,
    traits: &TargetTraits,
    thinks: bool,
    losses: &mut Losses,
) -> SamplingPlan<'a> {
    let wanted = &conversation.sampling;
    let origin = conversation.origin;
    let number = |number: &Option<Number>| number.as_ref().and_then(Number::as_f64);
    let mut plan = SamplingPlan {
        temperature: wanted.temperature.clone(),
        top_p: wanted.top_p.as_ref(),
        top_k: wanted.top_k.as_ref(),
    };
    if number(&plan.temperature).is_some_and(|temperature| temperature > 1.0) {
        plan.temperature = Some(Number::from(1));
        losses.push(Field::Temperature.name(origin));
    }
    let is_neutral = |wanted: Option<f64>| wanted == Some(1.0);
    if plan.temperature.is_some() && (!traits.sampling || (thinks && !is_neutral(number(&plan.temperature))))
    {
        if !is_neutral(number(&plan.temperature)) {
            losses.push(Field::Temperature.name(origin));
        }
        plan.temperature = None;
    }
    let top_p = plan.top_p.and_then(Number::as_f64);
    let clashes = origin != HERE && plan.temperature.is_some();
    if top_p.is_some() && (!traits.sampling || clashes || (thinks && top_p < Some(0.95))) {
        if !is_neutral(top_p) {
            losses.push(Field::TopP.name(origin));
        }
        plan.top_p = None;
    }
    if plan.top_k.is_some() && (!traits.sampling || thinks) {
        losses.push(Field::TopK.name(origin));
        plan.top_k = None;
    }
    plan
}

/// Stop sequences, less those without a visible character, which the API refuses.
fn plan_stop<'a>(conversation: &'a Conversation, losses: &mut Losses) -> Vec<&'a str> {
    let is_own = conversation.origin == HERE;
    let stop = conversation.stop.iter().map(String::as_str);
    let kept: Vec<&str> = stop.filter(|stop| is_own || !stop.trim().is_empty()).collect();
    if kept.len() < conversation.stop.len() {
        losses.push(Field::Stop.name(conversation.origin));
    }
    kept
}

fn plan_metadata(conversation: &Conversation) -> Option<Metadata<'_>> {
    let rest = leftover(conversation, "metadata");
    let user_id = conversation.user.as_deref();
    (user_id.is_some() || rest.is_some()).then_some(Metadata { user_id, rest })
}

fn plan_tier<'a>(conversation: &'a Conversation, losses: &mut Losses) -> Option<&'a str> {
    match conversation.service_tier.as_deref()? {
        "default" => Some("standard_only"),
        tier if tier == "auto" || conversation.origin == HERE => Some(tier),
        _ => {
            losses.push(Field::ServiceTier.name(conversation.origin));
            None
        }
    }
}

/// Reports what this wire has no field for. A penalty of nought or one choice says nothing, and is not missed.
fn report_inexpressible(conversation: &Conversation, losses: &mut Losses) {
    let origin = conversation.origin;
    let sampling = &conversation.sampling;
    let is_set = |number: &Option<Number>| number.as_ref().is_some_and(|number| number.as_f64() != Some(0.0));
    let wanted = [
        (is_set(&sampling.frequency_penalty), Field::FrequencyPenalty),
        (is_set(&sampling.presence_penalty), Field::PresencePenalty),
        (sampling.seed.is_some(), Field::Seed),
        (conversation.choices.is_some_and(|choices| choices > 1), Field::Choices),
        (conversation.logprobs.is_some(), Field::Logprobs),
        (conversation.modalities.iter().any(|modality| modality != "text"), Field::Modalities),
        (conversation.verbosity.is_some(), Field::Verbosity),
    ];
    for (_, field) in wanted.into_iter().filter(|(is_wanted, _)| *is_wanted) {
        losses.push(field.name(origin));
    }
    if origin != HERE {
        for name in conversation.rest.keys() {
            losses.push(name.clone());
        }
    }
}
