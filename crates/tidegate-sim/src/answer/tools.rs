//! Whether a request gets tool calls, and which.

use serde_json::Value;

use super::{Piece, schema, signature, words};
use crate::asked::{Asked, Role, Tool, ToolChoice};
use crate::digest::{Draws, characters, digest};
use crate::scenario::Behaviour;
use tidegate_wire::Dialect;

/// The calls that this request gets; none where it is answered with text.
pub(crate) fn calls(asked: &Asked, behaviour: &Behaviour, dialect: Dialect, seed: u64) -> Vec<Piece> {
    let chosen = chosen(asked, behaviour);
    let hint = hint(asked);
    let sign = dialect == Dialect::Gemini && signs_calls(asked, behaviour);
    let mut pieces = Vec::with_capacity(chosen.len());
    for (index, tool) in chosen.into_iter().enumerate() {
        let call_seed = Draws::new(seed ^ digest(tool.name.as_bytes()).wrapping_add(index as u64)).next();
        let arguments = schema::value_for(&tool.schema, call_seed, hint.as_deref());
        let arguments = if arguments.is_object() { arguments } else { Value::Object(serde_json::Map::new()) };
        pieces.push(Piece::Call {
            id: id(dialect, call_seed),
            name: tool.name.clone(),
            // As the provider signs: the first call of a step stands for all.
            signature: (sign && index == 0).then(|| signature::of_call(&tool.name, &arguments)),
            arguments: words::tokens(&arguments.to_string()),
        });
    }
    pieces
}

/// Models that want the signatures of their calls back.
pub(crate) fn signs_calls(asked: &Asked, behaviour: &Behaviour) -> bool {
    behaviour.signed_calls
        || asked.model.contains("gemini-3")
        || asked.reasoning.is_some()
        || behaviour.thinking
}

fn chosen<'request>(asked: &'request Asked, behaviour: &Behaviour) -> Vec<&'request Tool> {
    let among: Vec<&Tool> = match &asked.tool_choice {
        ToolChoice::None => return Vec::new(),
        ToolChoice::Among(names) => asked.tools.iter().filter(|tool| names.contains(&tool.name)).collect(),
        ToolChoice::Auto | ToolChoice::Any => asked.tools.iter().collect(),
    };
    // After the results comes the answer, also where a call is forced on every turn: else no conversation would end.
    if among.is_empty() || !asked.pending_results().is_empty() {
        return Vec::new();
    }
    let text = asked.last_user_text().to_lowercase();
    let forced = matches!(asked.tool_choice, ToolChoice::Any | ToolChoice::Among(_));
    let named: Vec<&Tool> = among.iter().copied().filter(|tool| is_asked_for(&text, &tool.name)).collect();
    if !(forced
        || behaviour.tools
        || !named.is_empty()
        || text.contains("call a tool")
        || text.contains("use a tool"))
    {
        return Vec::new();
    }
    let several = asked.parallel_tool_calls != Some(false);
    match (behaviour.parallel_tools && several, among.as_slice()) {
        (true, [only]) => vec![*only, *only],
        (true, all) => all.to_vec(),
        (false, all) => named.first().or_else(|| all.first()).copied().into_iter().collect(),
    }
}

/// The text has the tool's name, or a longer word of it: "weather" asks for `get_weather`.
fn is_asked_for(text: &str, name: &str) -> bool {
    const LEAST_LETTERS: usize = 4;
    let name = name.to_lowercase();
    let mut parts =
        name.split(|letter: char| !letter.is_alphanumeric()).filter(|part| part.len() >= LEAST_LETTERS);
    text.contains(&name)
        || parts.any(|part| text.split(|letter: char| !letter.is_alphanumeric()).any(|word| word == part))
}

/// The last capitalised word that does not begin the text: most often what the call is about.
fn hint(asked: &Asked) -> Option<String> {
    let text =
        asked.turns.iter().rev().find(|turn| turn.role == Role::User).map(|_| asked.last_user_text())?;
    let words = text
        .split_whitespace()
        .skip(1)
        .map(|word| word.trim_matches(|letter: char| !letter.is_alphanumeric()));
    words
        .filter(|word| word.chars().next().is_some_and(char::is_uppercase) && word.len() > 1)
        .last()
        .map(str::to_owned)
}

fn id(dialect: Dialect, seed: u64) -> String {
    match dialect {
        Dialect::OpenAiChat => format!("call_{}", characters(seed, 24)),
        Dialect::AnthropicMessages => format!("toolu_01{}", characters(seed, 22)),
        Dialect::Gemini => characters(seed, 8).to_lowercase(),
    }
}
