//! Reads a generateContent request, and refuses what Gemini refuses. Names come in camel case or snake case, as Google's
//! JSON has it.

use serde_json::{Map, Value, json};

use super::error::{invalid, unknown_name};
use super::turns::read_contents;
use crate::asked::{Asked, Output, Reasoning, Tool, ToolChoice};
use crate::dialects::{Refused, Way};

const TOP: &[&str] = &[
    "model",
    "contents",
    "tools",
    "toolConfig",
    "safetySettings",
    "systemInstruction",
    "generationConfig",
    "cachedContent",
    "labels",
    "serviceTier",
    "store",
    "generateContentRequest",
];
const GENERATION: &[&str] = &[
    "candidateCount",
    "stopSequences",
    "maxOutputTokens",
    "temperature",
    "topP",
    "topK",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "presencePenalty",
    "frequencyPenalty",
    "responseLogprobs",
    "logprobs",
    "seed",
    "responseModalities",
    "speechConfig",
    "thinkingConfig",
    "mediaResolution",
    "audioTimestamp",
    "enableEnhancedCivicAnswers",
    "imageConfig",
    "routingConfig",
    "modelSelectionConfig",
    "enableAffectiveDialog",
];
const PARAMETERS: &[&str] = &[
    "temperature",
    "topP",
    "topK",
    "presencePenalty",
    "frequencyPenalty",
    "seed",
    "responseModalities",
    "mediaResolution",
];
/// What Google's `Schema` knows; JSON Schema's other words belong in `parametersJsonSchema`.
const SCHEMA: &[&str] = &[
    "type",
    "format",
    "title",
    "description",
    "nullable",
    "enum",
    "maxItems",
    "minItems",
    "properties",
    "required",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "example",
    "anyOf",
    "propertyOrdering",
    "default",
    "items",
    "minimum",
    "maximum",
    "additionalProperties",
    "defs",
    "ref",
];

/// A field under either of its names.
pub(crate) fn get<'value>(value: &'value Value, camel: &str) -> Option<&'value Value> {
    let found = value.get(camel).or_else(|| value.get(snake(camel)));
    found.filter(|field| !field.is_null())
}

pub(crate) fn text<'value>(value: &'value Value, camel: &str) -> Option<&'value str> {
    get(value, camel).and_then(Value::as_str)
}

pub(crate) fn closed(value: &Value, known: &[&str], at: &str) -> Result<(), Refused> {
    let Some(fields) = value.as_object() else {
        return Err(invalid(&format!("Invalid value at '{at}': expected a message.")));
    };
    let unknown = fields.keys().find(|name| !known.iter().any(|one| one == name || snake(one) == **name));
    unknown.map_or(Ok(()), |name| Err(unknown_name(name, at)))
}

fn snake(camel: &str) -> String {
    let mut out = String::with_capacity(camel.len() + 4);
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

pub(crate) fn read(body: &Value, way: &Way<'_>) -> Result<Asked, Refused> {
    closed(body, TOP, "")?;
    // countTokens may carry the request inside.
    let body = if way.count_only { get(body, "generateContentRequest").unwrap_or(body) } else { body };
    let mut asked = Asked {
        model: way.model.to_owned(),
        stream: way.stream,
        stream_usage: true,
        choices: 1,
        ..Asked::default()
    };
    if let Some(config) = get(body, "generationConfig") {
        read_config(config, &mut asked)?;
    }
    read_tools(body, &mut asked)?;
    if let Some(system) = get(body, "systemInstruction") {
        closed(system, &["role", "parts"], "system_instruction")?;
        for part in parts(system) {
            let said = text(part, "text").ok_or_else(|| {
                invalid("* GenerateContentRequest.system_instruction.parts: only text is supported")
            })?;
            asked.system.push(said.to_owned());
        }
    }
    read_contents(body, &mut asked)?;
    if get(body, "cachedContent").is_some() {
        asked.cache_markers += 1;
    }
    Ok(asked)
}

pub(crate) fn parts(content: &Value) -> &[Value] {
    match get(content, "parts") {
        Some(Value::Array(parts)) => parts,
        // Google's JSON takes one part for a list of one.
        Some(part @ Value::Object(_)) => std::slice::from_ref(part),
        _ => &[],
    }
}

fn read_config(config: &Value, asked: &mut Asked) -> Result<(), Refused> {
    const AT: &str = "generation_config";
    closed(config, GENERATION, AT)?;
    asked.max_tokens = count(config, "maxOutputTokens")?;
    if asked.max_tokens == Some(0) {
        return Err(invalid(
            "* GenerateContentRequest.generation_config.max_output_tokens: max_output_tokens must be positive.",
        ));
    }
    asked.choices = count(config, "candidateCount")?.unwrap_or(1);
    if !(1..=8).contains(&asked.choices) {
        return Err(invalid(
            "* GenerateContentRequest.generation_config.candidate_count: candidate_count must be in the range [1, 8].",
        ));
    }
    if let Some(temperature) = get(config, "temperature") {
        let value = temperature
            .as_f64()
            .ok_or_else(|| wrong_value("generation_config.temperature", "TYPE_FLOAT", temperature))?;
        if !(0.0..=2.0).contains(&value) {
            return Err(invalid(&format!(
                "* GenerateContentRequest.generation_config.temperature: temperature must be in the range [0.0, 2.0]. \
                 ({value})"
            )));
        }
    }
    if let Some(stop) = get(config, "stopSequences") {
        let stop = stop
            .as_array()
            .ok_or_else(|| wrong_value("generation_config.stop_sequences", "TYPE_STRING", stop))?;
        if stop.len() > 5 {
            return Err(invalid(
                "* GenerateContentRequest.generation_config.stop_sequences: the number of stop sequences must be at most 5.",
            ));
        }
        asked.stop = stop.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    }
    if get(config, "responseLogprobs").and_then(Value::as_bool) == Some(true) {
        asked.logprobs = Some(count(config, "logprobs")?.unwrap_or(0));
    }
    let schema = get(config, "responseJsonSchema");
    let own_schema = get(config, "responseSchema");
    if let Some(schema) = own_schema {
        check_schema(schema, "generation_config.response_schema")?;
    }
    let json = text(config, "responseMimeType") == Some("application/json");
    match schema.or(own_schema) {
        Some(_) if !matches!(text(config, "responseMimeType"), Some("application/json" | "text/x.enum")) => {
            return Err(invalid(
                "* GenerateContentRequest.generation_config.response_schema: only allowed when response mime type is \
                 `application/json` or `text/x.enum`.",
            ));
        }
        Some(schema) => asked.output = Output::Schema(schema.clone()),
        None if json => asked.output = Output::Json,
        None => {}
    }
    if let Some(thinking) = get(config, "thinkingConfig") {
        closed(
            thinking,
            &["includeThoughts", "thinkingBudget", "thinkingLevel"],
            "generation_config.thinking_config",
        )?;
        let budget = get(thinking, "thinkingBudget").and_then(number);
        let effort = text(thinking, "thinkingLevel").map(str::to_owned);
        if budget.is_some() && effort.is_some() {
            return Err(invalid("You can only set only one of thinking budget and thinking level."));
        }
        let visible = get(thinking, "includeThoughts").and_then(Value::as_bool).unwrap_or(false);
        if budget != Some(0) {
            asked.reasoning = Some(Reasoning { effort, budget, visible });
        }
    }
    let named = PARAMETERS
        .iter()
        .filter_map(|name| get(config, name).map(|value| ((*name).to_owned(), value.clone())));
    asked.parameters = named.collect::<Map<_, _>>();
    Ok(())
}

fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn count(config: &Value, name: &str) -> Result<Option<u64>, Refused> {
    let Some(value) = get(config, name) else { return Ok(None) };
    let whole = number(value).and_then(|number| u64::try_from(number).ok());
    whole
        .map(Some)
        .ok_or_else(|| wrong_value(&format!("generation_config.{}", snake(name)), "TYPE_INT32", value))
}

fn wrong_value(at: &str, kind: &str, value: &Value) -> Refused {
    invalid(&format!("Invalid value at '{at}' ({kind}), {value}"))
}

fn read_tools(body: &Value, asked: &mut Asked) -> Result<(), Refused> {
    const TOOL: &[&str] = &[
        "functionDeclarations",
        "googleSearch",
        "googleSearchRetrieval",
        "codeExecution",
        "urlContext",
        "computerUse",
        "fileSearch",
        "googleMaps",
        "mcpServers",
    ];
    const DECLARATION: &[&str] = &[
        "name",
        "description",
        "behavior",
        "parameters",
        "parametersJsonSchema",
        "response",
        "responseJsonSchema",
    ];
    let tools = get(body, "tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for (index, tool) in tools.iter().enumerate() {
        closed(tool, TOOL, &format!("tools[{index}]"))?;
        let declared = get(tool, "functionDeclarations")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        for (number, declaration) in declared.iter().enumerate() {
            let at = format!("tools[{index}].function_declarations[{number}]");
            closed(declaration, DECLARATION, &at)?;
            let name = text(declaration, "name").unwrap_or_default();
            let begins =
                name.chars().next().is_some_and(|letter| letter.is_ascii_alphabetic() || letter == '_');
            let fits = |letter: char| letter.is_ascii_alphanumeric() || "_-.:".contains(letter);
            if !begins || name.len() > 64 || !name.chars().all(fits) {
                return Err(invalid(&format!(
                    "* GenerateContentRequest.{at}.name: Invalid function name. Must start with a letter or an underscore. \
                     Must be alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a \
                     maximum length of 64."
                )));
            }
            if asked.tools.iter().any(|tool| tool.name == name) {
                return Err(invalid(&format!("Duplicate function declaration found: {name}")));
            }
            if let Some(schema) = get(declaration, "parameters") {
                check_schema(schema, &format!("{at}.parameters"))?;
            }
            let schema = get(declaration, "parametersJsonSchema").or_else(|| get(declaration, "parameters"));
            asked.tools.push(Tool {
                name: name.to_owned(),
                description: text(declaration, "description").map(str::to_owned),
                schema: schema.cloned().unwrap_or_else(|| json!({"type": "object"})),
            });
        }
    }
    let Some(config) = get(body, "toolConfig").and_then(|config| get(config, "functionCallingConfig")) else {
        return Ok(());
    };
    closed(
        config,
        &["mode", "allowedFunctionNames", "streamFunctionCallArguments"],
        "tool_config.function_calling_config",
    )?;
    let allowed: Vec<String> = get(config, "allowedFunctionNames")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    let mode = text(config, "mode").unwrap_or("AUTO").to_ascii_uppercase();
    if !allowed.is_empty() && !matches!(mode.as_str(), "ANY" | "VALIDATED") {
        return Err(invalid(
            "Function calling config is set without function_calling_config.mode being ANY: allowed_function_names should \
             only be set when mode is ANY.",
        ));
    }
    if let Some(name) = allowed.iter().find(|name| !asked.tools.iter().any(|tool| tool.name == **name)) {
        return Err(invalid(&format!(
            "* GenerateContentRequest.tool_config.function_calling_config.allowed_function_names: {name} is not declared."
        )));
    }
    asked.tool_choice = match mode.as_str() {
        "AUTO" | "MODE_UNSPECIFIED" | "VALIDATED" => ToolChoice::Auto,
        "NONE" => ToolChoice::None,
        "ANY" if allowed.is_empty() => ToolChoice::Any,
        "ANY" => ToolChoice::Among(allowed),
        _ => {
            return Err(wrong_value(
                "tool_config.function_calling_config.mode",
                "type.googleapis.com/google.ai.generativelanguage.v1beta.FunctionCallingConfig.Mode",
                &json!(mode),
            ));
        }
    };
    if asked.tools.is_empty() && matches!(asked.tool_choice, ToolChoice::Any) {
        return Err(invalid("Function calling config is set without function_declarations."));
    }
    Ok(())
}

/// Google's own `Schema` is not JSON Schema.
fn check_schema(schema: &Value, at: &str) -> Result<(), Refused> {
    closed(schema, SCHEMA, at)?;
    if let Some(kind) = get(schema, "type") {
        const KINDS: &[&str] =
            &["STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL", "TYPE_UNSPECIFIED"];
        let known = kind.as_str().is_some_and(|kind| KINDS.contains(&kind.to_ascii_uppercase().as_str()));
        if !known {
            let kind_at = format!("{at}.type");
            return Err(match kind {
                Value::Array(_) => {
                    invalid(&format!("Proto field is not repeating, cannot start list. (at '{kind_at}')"))
                }
                _ => wrong_value(
                    &kind_at,
                    "type.googleapis.com/google.ai.generativelanguage.v1beta.Type",
                    kind,
                ),
            });
        }
    }
    if let Some(properties) = get(schema, "properties").and_then(Value::as_object) {
        for (index, property) in properties.values().enumerate() {
            check_schema(property, &format!("{at}.properties[{index}].value"))?;
        }
    }
    if let Some(items) = get(schema, "items") {
        check_schema(items, &format!("{at}.items"))?;
    }
    for (index, choice) in get(schema, "anyOf").and_then(Value::as_array).into_iter().flatten().enumerate() {
        check_schema(choice, &format!("{at}.any_of[{index}]"))?;
    }
    Ok(())
}
