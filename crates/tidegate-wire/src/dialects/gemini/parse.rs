//! Requests, read into a [`Conversation`]. Called through the codec for callers who speak Gemini's dialect to a target
//! that does not, and by `count_tokens.rs`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::parts::{self, Read};
use super::schema::to_json_schema;
use super::types::{
    Content as WireContent, GenerationConfig, Part as WirePart, Request, ThinkingConfig, take,
};
use super::{results, tier_from_wire};
use crate::carry::{Carried, detach_from_id, made_up_id};
use crate::conversation::{
    Content, Conversation, Effort, FunctionTool, Native, OutputFormat, Part, ReasoningRequest, Rest, Role,
    Sampling, Tool, ToolChoice, ToolResult, Turn,
};
use crate::{Dialect, PathFacts, RequestError};

pub(super) fn parse_request(
    body: &[u8],
    in_path: Option<PathFacts<'_>>,
) -> Result<Conversation, RequestError> {
    let request: Request<'static> = serde_json::from_slice(body).map_err(|error| RequestError {
        message: format!("the body is not a valid generateContent request: {error}"),
        param: None,
    })?;
    from_wire(request, in_path)
}

/// Turns a request that was read into a conversation.
pub(super) fn from_wire(
    request: Request<'static>,
    in_path: Option<PathFacts<'_>>,
) -> Result<Conversation, RequestError> {
    let mut rest = request.rest;
    let in_body = take(&mut rest, "model");
    let model =
        in_path.map(|facts| facts.model).or(in_body.as_ref().and_then(Value::as_str)).ok_or_else(|| {
            RequestError::at(
                "model",
                "the model is missing: it stands in the path (models/{model}:generateContent)",
            )
        })?;
    let mut conversation = Conversation::new(Dialect::Gemini, model);
    conversation.stream = in_path.is_some_and(|facts| facts.stream);
    conversation.include_usage = true;
    rest.retain(|_, value| !value.is_null());
    conversation.rest = rest;
    if let Some(system) = request.system_instruction {
        let turn = Calls::default().read_turn(0, system, Role::System);
        conversation.turns.push(turn);
    }
    let contents = request.contents.ok_or_else(|| {
        RequestError::at("contents", "contents is missing: a list of at least one turn is expected")
    })?;
    let mut calls = Calls::default();
    for (index, content) in contents.into_iter().enumerate() {
        let role = match content.role.as_deref() {
            None | Some("" | "user" | "function") => Role::User,
            Some("model") => Role::Assistant,
            Some(_) => {
                let param = format!("contents[{index}].role");
                return Err(RequestError::at(param, "Please use a valid role: user, model."));
            }
        };
        conversation.turns.push(calls.read_turn(index, content, role));
    }
    for tool in request.tools {
        read_tool(tool, &mut conversation.tools);
    }
    if let Some(config) = request.tool_config {
        read_tool_config(config, &mut conversation);
    }
    if let Some(config) = request.generation_config {
        read_generation_config(config, &mut conversation)?;
    }
    conversation.service_tier = request.service_tier.map(|tier| tier_from_wire(&tier));
    Ok(conversation)
}

/// The calls of the conversation so far, so that answers without an id find theirs.
#[derive(Default)]
struct Calls {
    seen: Vec<SeenCall>,
}

struct SeenCall {
    id: String,
    name: String,
    is_answered: bool,
}

impl Calls {
    fn read_turn(&mut self, index: usize, content: WireContent<'static>, role: Role) -> Turn {
        let mut turn = Turn::new(role, Vec::with_capacity(content.parts.len()));
        turn.rest = content.rest;
        turn.rest.retain(|_, value| !value.is_null());
        for (number, part) in content.parts.into_iter().enumerate() {
            match parts::read(part) {
                Read::Part(part) => push_part(&mut turn.parts, part),
                Read::Call { id, mut call, carried, signature, rest } => {
                    call.id = id.unwrap_or_else(|| made_up_id(index, number, &call.name));
                    self.seen.push(SeenCall {
                        id: call.id.clone(),
                        name: call.name.clone(),
                        is_answered: false,
                    });
                    let Carried { signature: carried, reasoning } = carried;
                    let shows_reasoning = turn.parts.iter().any(|part| {
                        matches!(part.content, Content::Reasoning { .. } | Content::RedactedReasoning)
                    });
                    if !shows_reasoning {
                        turn.parts.extend(reasoning.into_iter().map(|block| {
                            Part {
                                signature: Some(block.signature),
                                ..Part::new(
                                    block.text.map_or(Content::RedactedReasoning, |text| {
                                        Content::Reasoning { text }
                                    }),
                                )
                            }
                        }));
                    }
                    turn.parts.push(Part {
                        signature: signature.or(carried),
                        rest,
                        ..Part::new(Content::ToolCall(call))
                    });
                }
                Read::Response(wire) => turn.parts.push(self.read_response(index, number, *wire)),
            }
        }
        turn
    }

    fn read_response(&mut self, index: usize, number: usize, wire: WirePart<'static>) -> Part {
        let mut rest = wire.rest;
        if let Some(signature) = wire.thought_signature {
            rest.insert("thoughtSignature".to_owned(), Cow::into_owned(signature).into());
        }
        let mut result = results::read(wire.function_response.unwrap_or_default(), &mut rest);
        result.call_id.truncate(detach_from_id(&result.call_id).0.len());
        self.find_call(index, number, &mut result);
        Part { rest, ..Part::new(Content::ToolResult(result)) }
    }

    fn find_call(&mut self, index: usize, number: usize, result: &mut ToolResult) {
        let call = if result.call_id.is_empty() {
            self.seen.iter_mut().find(|call| !call.is_answered && Some(&call.name) == result.name.as_ref())
        } else {
            self.seen.iter_mut().rev().find(|call| call.id == result.call_id)
        };
        if let Some(call) = call {
            call.is_answered = true;
            result.call_id.clone_from(&call.id);
            result.name.get_or_insert_with(|| call.name.clone());
        } else if result.call_id.is_empty() {
            result.call_id = made_up_id(index, number, result.name.as_deref().unwrap_or_default());
        }
    }
}

/// Who echoes a stream echoes it piece by piece. Google's own pieces stay apart; a thought that another provider signed is
/// worth nothing to it unless it is whole.
fn push_part(parts: &mut Vec<Part>, mut part: Part) {
    let is_foreign = part.signature.as_ref().is_some_and(|signature| signature.origin != Dialect::Gemini);
    if is_foreign && let Content::Reasoning { text: last } = &mut part.content {
        let mut whole = String::new();
        let is_piece = |part: &Part| {
            matches!(part.content, Content::Reasoning { .. })
                && part.signature.is_none()
                && part.rest.is_empty()
        };
        let first = parts.iter().rposition(|part| !is_piece(part)).map_or(0, |before| before + 1);
        for piece in parts.drain(first..) {
            if let Content::Reasoning { text } = piece.content {
                whole.push_str(&text);
            }
        }
        whole.push_str(last);
        *last = whole;
    }
    parts.push(part);
}

/// A tool of the wire holds any number of functions and any number of Google's own tools.
fn read_tool(mut tool: Map<String, Value>, tools: &mut Vec<Tool>) {
    let declarations = match take(&mut tool, "functionDeclarations") {
        Some(Value::Array(several)) => several,
        Some(one) => vec![one],
        None => Vec::new(),
    };
    tools.extend(declarations.into_iter().filter_map(read_function));
    tool.retain(|_, value| !value.is_null());
    if !tool.is_empty() {
        tools.push(Tool::Native(Native { dialect: Dialect::Gemini, value: Value::Object(tool) }));
    }
}

fn read_function(declaration: Value) -> Option<Tool> {
    let Value::Object(mut declaration) = declaration else { return None };
    let text = |value: Option<Value>| match value {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let parameters = take(&mut declaration, "parametersJsonSchema");
    let openapi = take(&mut declaration, "parameters").map(to_json_schema);
    let name = text(take(&mut declaration, "name")).unwrap_or_default();
    let description = text(take(&mut declaration, "description"));
    declaration.retain(|_, value| !value.is_null());
    Some(Tool::Function(FunctionTool {
        name,
        description,
        parameters: parameters.or(openapi),
        strict: None,
        cache: None,
        rest: declaration,
    }))
}

fn read_tool_config(mut config: Map<String, Value>, conversation: &mut Conversation) {
    if let Some(Value::Object(mut calling)) = take(&mut config, "functionCallingConfig") {
        let mode = take(&mut calling, "mode");
        let allowed = take(&mut calling, "allowedFunctionNames");
        let names: Vec<String> = match &allowed {
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let word = mode.as_ref().and_then(Value::as_str).map(str::to_ascii_uppercase);
        // Names beside a mode that ignores them stay as they are, and so does `VALIDATED`: that the model's calls are
        // checked while it may answer in words as well is Google's own offer.
        let (choice, keeps) = match (word.as_deref(), names.as_slice()) {
            (Some("AUTO"), _) => (Some(ToolChoice::Auto), !names.is_empty()),
            (Some("NONE"), _) => (Some(ToolChoice::None), !names.is_empty()),
            (Some("ANY"), []) => (Some(ToolChoice::Required), false),
            (Some("ANY"), [one]) => (Some(ToolChoice::Function(one.clone())), false),
            (Some("ANY"), _) => (Some(ToolChoice::Allowed { required: true, names }), false),
            (Some("VALIDATED"), []) => (Some(ToolChoice::Auto), true),
            (Some("VALIDATED"), _) => (Some(ToolChoice::Allowed { required: false, names }), false),
            _ => (None, true),
        };
        conversation.tool_choice = choice;
        if keeps {
            calling.extend(mode.map(|mode| ("mode".to_owned(), mode)));
            calling.extend(allowed.map(|names| ("allowedFunctionNames".to_owned(), names)));
        }
        calling.retain(|_, value| !value.is_null());
        if !calling.is_empty() {
            config.insert("functionCallingConfig".to_owned(), Value::Object(calling));
        }
    }
    keep(&mut conversation.rest, "toolConfig", config);
}

fn read_generation_config(
    config: GenerationConfig,
    conversation: &mut Conversation,
) -> Result<(), RequestError> {
    let mut rest = config.rest;
    conversation.sampling = Sampling {
        temperature: config.temperature,
        top_p: config.top_p,
        top_k: config.top_k,
        frequency_penalty: config.frequency_penalty,
        presence_penalty: config.presence_penalty,
        seed: config.seed,
    };
    conversation.stop = config.stop_sequences;
    conversation.max_output_tokens =
        config.max_output_tokens.map(|count| unsigned("maxOutputTokens", count)).transpose()?;
    conversation.choices =
        config.candidate_count.map(|count| unsigned("candidateCount", count)).transpose()?;
    conversation.modalities =
        config.response_modalities.iter().map(|modality| modality.to_ascii_lowercase()).collect();
    let logprobs = config.logprobs.map(|count| unsigned("logprobs", count)).transpose()?;
    if config.response_logprobs == Some(true) {
        conversation.logprobs = Some(logprobs.unwrap_or_default());
    } else if let Some(count) = logprobs {
        rest.insert("logprobs".to_owned(), count.into());
    }
    let is_json = matches!(config.response_mime_type.as_deref(), None | Some("" | "application/json"));
    let (as_json_schema, as_openapi) = (config.response_json_schema, config.response_schema);
    if is_json {
        let schema = as_json_schema.or_else(|| as_openapi.map(to_json_schema));
        if let Some(schema) = schema {
            conversation.output =
                OutputFormat::JsonSchema { name: None, description: None, schema, strict: None };
        } else if config.response_mime_type.is_some_and(|mime_type| !mime_type.is_empty()) {
            conversation.output = OutputFormat::Json;
        }
    } else {
        // Such as `text/x.enum`, which no other dialect has. Plain text is what an answer is anyway.
        let mime_type = config.response_mime_type.filter(|mime_type| mime_type != "text/plain");
        rest.extend(mime_type.map(|mime_type| ("responseMimeType".to_owned(), mime_type.into())));
        rest.extend(as_json_schema.map(|schema| ("responseJsonSchema".to_owned(), schema)));
        rest.extend(as_openapi.map(|schema| ("responseSchema".to_owned(), schema)));
    }
    if let Some(thinking) = config.thinking_config {
        conversation.reasoning = Some(read_thinking(thinking, &mut rest));
    }
    keep(&mut conversation.rest, "generationConfig", rest);
    Ok(())
}

fn read_thinking(config: ThinkingConfig, rest: &mut Rest) -> ReasoningRequest {
    let mut unknown = config.rest;
    let effort = config.thinking_level.as_deref().and_then(Effort::parse);
    if effort.is_none() {
        unknown.extend(config.thinking_level.map(|level| ("thinkingLevel".to_owned(), level.into())));
    }
    keep(rest, "thinkingConfig", unknown);
    let enabled = config.thinking_budget.map(|budget| budget != 0);
    let budget_tokens =
        config.thinking_budget.and_then(|budget| u64::try_from(budget).ok()).filter(|budget| *budget > 0);
    ReasoningRequest { enabled, effort, budget_tokens, include_text: config.include_thoughts }
}

fn unsigned<T: TryFrom<i64>>(name: &str, count: i64) -> Result<T, RequestError> {
    T::try_from(count).ok().ok_or_else(|| {
        let message = format!("{name} is {count}; a positive number is expected");
        RequestError::at(format!("generationConfig.{name}"), message)
    })
}

/// Unknown fields of an object are kept under the object's name.
fn keep(rest: &mut Rest, name: &str, mut unknown: Map<String, Value>) {
    unknown.retain(|_, value| !value.is_null());
    if !unknown.is_empty() {
        rest.insert(name.to_owned(), Value::Object(unknown));
    }
}
