//! What is measured of a call to say how hard it looks. Each figure is between 0 and 1.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use smallvec::SmallVec;
use tidegate_wire::Dialect;
use tidegate_wire::json::{Kind, Value};

use super::words::{Hint, RUNS, SIGNS, STEMS};
use crate::accept::Call;

/// Text that is looked at: the beginning and the end of what was said last. A question stands in either.
const LOOKED_AT: usize = 6 * 1024;
/// Turns that are counted. More make nothing harder.
const MOST_TURNS: usize = 64;
/// Larger requests are not gone through turn by turn; they are hard by their size already, or hold pictures.
const LARGEST_WALKED: usize = 4 * 1024 * 1024;
/// Parts of a turn that are looked at.
const MOST_PARTS: usize = 64;
/// Stems are found by their first letters.
const KEY_LETTERS: usize = 3;

/// Something that makes a call look hard, or easy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feature {
    /// How much was said last.
    Length,
    /// How much the request holds in all, pictures apart.
    Context,
    /// How long the conversation is.
    Turns,
    /// It holds code, or is about some.
    Code,
    /// Formulas and what belongs to them.
    Maths,
    /// Words that ask for thought.
    Reasoning,
    /// Something is to be made: a letter, a plan.
    Task,
    /// Demands on the answer.
    Constraints,
    /// Tools to choose among.
    Tools,
    /// The answer must fit a schema.
    Schema,
    /// Pictures to look at.
    Images,
    /// Instructions to keep to.
    System,
    /// The caller asks the model to think.
    Effort,
    /// Words of what is quickly done.
    Quick,
}

impl Feature {
    pub(crate) const COUNT: usize = 14;

    /// Its name in `x-tidegate-route`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Context => "context",
            Self::Turns => "turns",
            Self::Code => "code",
            Self::Maths => "maths",
            Self::Reasoning => "reasoning",
            Self::Task => "task",
            Self::Constraints => "constraints",
            Self::Tools => "tools",
            Self::Schema => "schema",
            Self::Images => "images",
            Self::System => "system",
            Self::Effort => "effort",
            Self::Quick => "quick",
        }
    }
}

/// The figures of a call.
#[derive(Debug, Default)]
pub(super) struct Values([f64; Feature::COUNT]);

impl Values {
    pub(super) fn of(&self, feature: Feature) -> f64 {
        self.0.get(feature as usize).copied().unwrap_or_default()
    }

    fn set(&mut self, feature: Feature, value: f64) {
        if let Some(place) = self.0.get_mut(feature as usize) {
            *place = value.clamp(0.0, 1.0);
        }
    }
}

/// Measures a call.
pub(super) fn measure(call: &Call) -> Values {
    let said = Said::of(call);
    let mut values = Values::default();
    values.set(Feature::Length, grown(said.last_bytes, 60, 1_500));
    values.set(Feature::Context, grown(said.text_bytes, 6_000, 160_000));
    values.set(Feature::Turns, share(said.turns.saturating_sub(1), 20));
    values.set(Feature::System, grown(said.system_bytes, 400, 16_000));
    values.set(Feature::Images, share(said.images, 2));
    let hints = Hints::of(&said.looked_at);
    values.set(Feature::Reasoning, share(hints.reasoning, 5));
    values.set(Feature::Maths, share(hints.maths, 4));
    values.set(Feature::Code, share(hints.code, 4));
    values.set(Feature::Task, share(hints.task, 1));
    values.set(Feature::Constraints, share(hints.constraints, 6));
    values.set(Feature::Quick, share(hints.quick, 1));
    let document = &call.document;
    let listed = |name: &str| document.get(name).map_or(0, |tools| tools.elements().take(MOST_TURNS).count());
    values.set(Feature::Tools, share(listed("tools").max(listed("functions")), 12));
    values.set(Feature::Schema, if wants_schema(call) { 1.0 } else { 0.0 });
    values.set(Feature::Effort, effort(call));
    values
}

/// What was said, as far as it is looked at.
#[derive(Debug, Default)]
struct Said {
    /// Of the last thing that the user said, in small letters.
    looked_at: String,
    last_bytes: usize,
    text_bytes: usize,
    system_bytes: usize,
    turns: usize,
    images: usize,
}

impl Said {
    fn of(call: &Call) -> Self {
        let mut said = Self::default();
        let document = &call.document;
        for name in ["system", "systemInstruction", "system_instruction"] {
            said.system_bytes += document.get(name).map_or(0, |system| system.text().len());
        }
        let turns = if call.dialect == Dialect::Gemini { "contents" } else { "messages" };
        let Some(turns) = document.get(turns) else { return said };
        if call.body().len() > LARGEST_WALKED {
            said.text_bytes = call.body().len();
            return said;
        }
        let mut last = None;
        let one = (turns.kind() == Kind::Object).then_some(turns);
        for turn in turns.elements().chain(one) {
            said.turns = (said.turns + 1).min(MOST_TURNS);
            let role = turn.get("role").and_then(Value::as_string);
            let is_system = matches!(role.as_deref(), Some("system" | "developer"));
            let size = |bytes: usize| if is_system { (0, bytes) } else { (bytes, 0) };
            let mut bytes = 0;
            for part in parts_of(turn) {
                match part {
                    Part::Text(text) => bytes += text.text().len(),
                    Part::Image => said.images += 1,
                }
            }
            let (text, system) = size(bytes);
            said.text_bytes += text;
            said.system_bytes += system;
            if matches!(role.as_deref(), None | Some("user")) && bytes > 0 {
                last = Some(turn);
                said.last_bytes = bytes;
            }
        }
        said.text_bytes += said.system_bytes;
        said.look_at(last);
        said
    }

    fn look_at(&mut self, turn: Option<Value<'_>>) {
        let Some(turn) = turn else { return };
        let mut text = String::new();
        for part in parts_of(turn) {
            let Part::Text(value) = part else { continue };
            if let Some(piece) = value.as_string() {
                push_ends(&mut text, &piece);
            }
            if text.len() > 2 * LOOKED_AT {
                break;
            }
        }
        self.looked_at = text.to_lowercase();
    }
}

/// A text or its beginning and end.
fn push_ends(text: &mut String, piece: &str) {
    if piece.len() <= LOOKED_AT {
        text.push_str(piece);
    } else {
        let mut front = LOOKED_AT / 2;
        while !piece.is_char_boundary(front) {
            front -= 1;
        }
        let mut back = piece.len() - LOOKED_AT / 2;
        while !piece.is_char_boundary(back) {
            back += 1;
        }
        text.push_str(piece.get(..front).unwrap_or_default());
        text.push('\n');
        text.push_str(piece.get(back..).unwrap_or_default());
    }
    text.push('\n');
}

enum Part<'a> {
    Text(Value<'a>),
    Image,
}

/// The texts and pictures of a turn, in the words of all dialects.
fn parts_of(turn: Value<'_>) -> SmallVec<[Part<'_>; 4]> {
    let mut found = SmallVec::new();
    let Some(content) = turn.get("content").or_else(|| turn.get("parts")) else { return found };
    if content.kind() == Kind::String {
        found.push(Part::Text(content));
        return found;
    }
    for part in content.elements().take(MOST_PARTS) {
        if let Some(text) = part.get("text").filter(|text| text.kind() == Kind::String) {
            found.push(Part::Text(text));
        } else if let Some(kind) = part.get("type").and_then(Value::as_string) {
            if matches!(&*kind, "image_url" | "image" | "input_image") {
                found.push(Part::Image);
            }
        } else if part.get("inlineData").or_else(|| part.get("fileData")).is_some() {
            found.push(Part::Image);
        }
    }
    found
}

/// How many different words of each kind a text has.
#[derive(Debug, Default)]
struct Hints {
    reasoning: usize,
    maths: usize,
    code: usize,
    quick: usize,
    constraints: usize,
    task: usize,
}

type Stems = HashMap<&'static str, Vec<(&'static str, Hint)>>;

impl Hints {
    /// The text is in small letters.
    fn of(text: &str) -> Self {
        static BY_KEY: OnceLock<Stems> = OnceLock::new();
        let by_key = BY_KEY.get_or_init(|| {
            let mut by_key = Stems::new();
            for (hint, stems) in STEMS {
                for stem in stems {
                    by_key.entry(key_of(stem)).or_default().push((stem, hint));
                }
            }
            by_key
        });
        let mut hints = Self::default();
        let mut seen: SmallVec<[(&'static str, Hint); 32]> = SmallVec::new();
        for word in
            text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| word.len() >= KEY_LETTERS)
        {
            for &(stem, hint) in by_key.get(key_of(word)).into_iter().flatten() {
                // A demand counts each time that one is made.
                if word.starts_with(stem) && (hint == Hint::Constraint || !seen.contains(&(stem, hint))) {
                    hints.count(hint);
                    seen.push((stem, hint));
                }
            }
        }
        let has_runs = text.chars().any(|letter| letter >= '\u{3040}');
        let runs = RUNS.into_iter().filter(|_| has_runs);
        for (hint, words) in runs.chain(SIGNS) {
            words.iter().filter(|word| text.contains(**word)).for_each(|_| hints.count(hint));
        }
        hints.constraints += text.lines().filter(|line| is_list_item(line)).count();
        hints
    }

    fn count(&mut self, hint: Hint) {
        let place = match hint {
            Hint::Reasoning => &mut self.reasoning,
            Hint::Maths => &mut self.maths,
            Hint::Code => &mut self.code,
            Hint::Quick => &mut self.quick,
            Hint::Constraint => &mut self.constraints,
            Hint::Task => &mut self.task,
        };
        *place += 1;
    }
}

fn key_of(word: &str) -> &str {
    let end = word.char_indices().nth(KEY_LETTERS).map_or(word.len(), |(end, _)| end);
    word.get(..end).unwrap_or(word)
}

/// `- …`, `* …`, `3. …`
fn is_list_item(line: &str) -> bool {
    let line = line.trim_start();
    let after_digits = line.trim_start_matches(|letter: char| letter.is_ascii_digit());
    line.starts_with("- ")
        || line.starts_with("* ")
        || (after_digits.len() < line.len() && after_digits.starts_with(". "))
}

fn wants_schema(call: &Call) -> bool {
    let document = &call.document;
    let kind = |outer: &str| document.get_nested(outer, "type").and_then(Value::as_string);
    let is_there = |value: Option<Value<'_>>| value.is_some_and(|value| !value.is_null());
    match call.dialect {
        Dialect::OpenAiChat => kind("response_format").is_some_and(|kind| kind == "json_schema"),
        Dialect::AnthropicMessages => {
            is_there(document.get("output_format"))
                || is_there(document.get_nested("output_config", "format"))
        }
        Dialect::Gemini => ["responseSchema", "responseJsonSchema", "response_schema"]
            .iter()
            .any(|name| is_there(document.get_nested("generationConfig", name))),
    }
}

/// How much thought the caller asks for.
fn effort(call: &Call) -> f64 {
    let document = &call.document;
    let asked = match call.dialect {
        Dialect::OpenAiChat => {
            let plain = word(document.get("reasoning_effort"));
            if plain.is_empty() { word(document.get_nested("reasoning", "effort")) } else { plain }
        }
        Dialect::AnthropicMessages => match &*word(document.get_nested("thinking", "type")) {
            "enabled" | "adaptive" => Cow::Borrowed("high"),
            _ => word(document.get_nested("output_config", "effort")),
        },
        Dialect::Gemini => Cow::Borrowed(""),
    };
    match &*asked {
        "high" | "xhigh" | "max" => 1.0,
        "medium" => 0.5,
        _ => 0.0,
    }
}

fn word(value: Option<Value<'_>>) -> Cow<'_, str> {
    value.and_then(Value::as_string).unwrap_or_default()
}

/// 0 up to `from`, 1 from `to` on, and in between by how often it doubles.
fn grown(number: usize, from: u32, to: u32) -> f64 {
    let number = f64::from(u32::try_from(number).unwrap_or(u32::MAX)).max(1.0);
    let (from, to) = (f64::from(from), f64::from(to));
    ((number / from).ln() / (to / from).ln()).clamp(0.0, 1.0)
}

fn share(number: usize, whole: u16) -> f64 {
    let number = f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    (number / f64::from(whole)).min(1.0)
}
