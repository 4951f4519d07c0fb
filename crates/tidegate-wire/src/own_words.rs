//! What a provider says itself, apart from what it repeats of its caller's: the dialects' errors look for wordings here.
//!
//! Providers and servers echo requests in their errors (`Invalid value: '…'`, `Extra inputs are not permitted`, pydantic's
//! whole input). What those echoes say must not put a key or a target out for everybody else, so there are two
//! readings: a loose one for kinds that concern the call alone, and the opening of the message for the others.

/// A message, taken apart. All in lower case.
#[derive(Debug)]
pub(crate) struct OwnWords {
    outside_quotes: String,
    /// The whole message, where a proxy has printed the provider's error into it.
    printed: Option<String>,
    /// The message up to where somebody else's words may begin. Empty where the message is about the request's fields,
    /// whose names may be anything.
    opening: String,
    says_model_is_missing: bool,
}

/// Verdicts on a request's fields. Servers put the field's name before them, without quotes.
const ABOUT_FIELDS: &[&str] = &[
    "extra inputs are not permitted",
    "extra fields not permitted",
    "extra_forbidden",
    "validation error",
    "field required",
    "cannot find field",
    "unknown field",
    "unknown parameter",
    "unrecognized",
    "unexpected keyword",
    "additional properties",
];

/// What is said of a model that is not there, behind its name.
const MISSING: &[&str] = &[
    "does not exist",
    "not exist",
    "not found",
    "is not found",
    "was not found",
    "could not be found",
    "has been deprecated",
    "has been decommissioned",
    "has been retired",
    "is no longer available",
    "is not available",
    "is not supported",
    "is invalid",
];

/// The longest name of a model that is believed to be one.
const MAX_NAME: usize = 200;

impl OwnWords {
    pub(crate) fn of(message: &str) -> Self {
        let message = message.trim().to_lowercase();
        let outside_quotes = outside_quotes(&message);
        let is_about_fields = ABOUT_FIELDS.iter().any(|verdict| message.contains(verdict));
        let opening = if is_about_fields { "" } else { opening(&message) };
        let says_model_is_missing =
            !is_about_fields && (names_missing_model(&message) || begins_with_missing_model(opening));
        let opening = opening.to_owned();
        // As the SDKs for Python print what they raise: `Error code: 400 - {'error': {…}}`.
        let printed = message.starts_with("error code: ").then_some(message);
        Self { outside_quotes, printed, opening, says_model_is_missing }
    }

    /// Whether one of the phrases stands outside what is quoted. A caller who knows how a server quotes can get words
    /// there, so this is for what concerns the call alone, or for answers that come before a request is looked at.
    pub(crate) fn say(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.outside_quotes.contains(phrase))
    }

    /// The same, or in a printed error, where everything is quoted. Only for what concerns the call alone.
    pub(crate) fn say_or_print(&self, phrases: &[&str]) -> bool {
        let is_printed = |printed: &String| phrases.iter().any(|phrase| printed.contains(phrase));
        self.say(phrases) || self.printed.as_ref().is_some_and(is_printed)
    }

    /// Whether one of the phrases stands in the opening, where no caller's words can be.
    pub(crate) fn open_with(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.opening.contains(phrase))
    }

    /// Whether the whole message says that the model is not there, and no more than that.
    pub(crate) fn say_model_is_missing(&self) -> bool {
        self.says_model_is_missing
    }

    /// Whether the first thing that is named, out of two lists, is in the first.
    pub(crate) fn name_before(&self, these: &[&str], others: &[&str]) -> bool {
        let first = |words: &[&str]| words.iter().filter_map(|word| self.outside_quotes.find(word)).min();
        match (first(these), first(others)) {
            (Some(this), Some(other)) => this < other,
            (this, _) => this.is_some(),
        }
    }
}

/// Up to the first quote, bracket, colon or line break.
fn opening(message: &str) -> &str {
    let mut before = ' ';
    let end = message.char_indices().find_map(|(at, c)| {
        // An apostrophe within a word is no quote, a colon within an address no colon.
        let next = message.get(at + c.len_utf8()..).and_then(|rest| rest.chars().next());
        let is_end = match c {
            '"' | '`' | '{' | '[' | '<' | '\n' | '\r' => true,
            '\'' => !before.is_alphanumeric(),
            ':' => next.is_none_or(char::is_whitespace),
            _ => false,
        };
        before = c;
        is_end.then_some(at)
    });
    message.get(..end.unwrap_or(message.len())).unwrap_or_default()
}

/// A provider's message without what it quotes.
fn outside_quotes(message: &str) -> String {
    let mut own = String::with_capacity(message.len());
    let mut quoted_by = None;
    let mut before = ' ';
    let mut characters = message.chars().peekable();
    while let Some(c) = characters.next() {
        let is_quote = matches!(c, '"' | '`' | '\'');
        match quoted_by {
            // An apostrophe within a word is none of these.
            Some(quote) if c == quote && !characters.peek().is_some_and(|next| next.is_alphanumeric()) => {
                quoted_by = None;
            }
            Some(_) => {}
            None if is_quote && !before.is_alphanumeric() => quoted_by = Some(c),
            None => own.push(c),
        }
        before = c;
    }
    own
}

/// "The model `x` does not exist", "model "x" not found, try pulling it first", "The requested model is not supported." and
/// their kin: the message begins with the model, its name if any, and the verdict.
fn names_missing_model(message: &str) -> bool {
    let rest = message.strip_prefix("the ").unwrap_or(message);
    let kinds = ["requested ", "specified ", "provided ", "given ", "publisher "];
    let rest = kinds.iter().find_map(|kind| rest.strip_prefix(kind)).unwrap_or(rest);
    let Some(rest) = rest.strip_prefix("model") else { return false };
    let rest =
        [" identifier", " name", " id"].iter().find_map(|word| rest.strip_prefix(word)).unwrap_or(rest);
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    let Some(rest) = rest.strip_prefix(' ') else { return false };
    is_missing(rest) || after_name(rest).is_some_and(is_missing)
}

/// What follows the name of a model, which is quoted or a word, and never has spaces.
fn after_name(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '`' | '\''));
    let (name, rest) = match quote {
        Some(quote) => text.strip_prefix(quote)?.split_once(quote)?,
        None => text.split_at(text.find(' ')?),
    };
    let is_name = !name.is_empty() && name.len() <= MAX_NAME && !name.contains(char::is_whitespace);
    is_name.then_some(rest.trim_start())
}

fn is_missing(verdict: &str) -> bool {
    MISSING.iter().any(|missing| {
        let Some(rest) = verdict.strip_prefix(missing) else { return false };
        let ends = rest.is_empty() || rest.starts_with(['.', ',', ';', '!']);
        // "… is not supported with this parameter" is about the parameter.
        let may_go_on = !matches!(*missing, "is not supported" | "is not available" | "is invalid");
        ends || (may_go_on && rest.starts_with(' ')) || rest.starts_with(" by any ")
    })
}

/// Providers' other openings that mean the model.
fn begins_with_missing_model(opening: &str) -> bool {
    const BEGINNINGS: &[&str] = &[
        // DeepSeek
        "model not exist",
        // Bedrock
        "the provided model identifier is invalid",
        // Together
        "unable to access non-serverless model",
        "unable to access model",
        // Moonshot
        "not found the model",
        // OpenRouter
        "no endpoints found for",
        "no such model",
    ];
    // Mistral, Perplexity, Azure: the name follows.
    let is_bare = ["invalid model", "invalid model name", "unknown model"]
        .iter()
        .any(|bare| opening.trim_end_matches([' ', '.']) == *bare);
    let names_none =
        opening.split_once(' ').is_some_and(|(_, rest)| rest.starts_with("is not a valid model id"));
    // Bedrock: "Invocation of model ID x with on-demand throughput isn't supported."
    let is_not_on_demand =
        opening.starts_with("invocation of model id ") && opening.contains(" with on-demand throughput isn");
    is_bare
        || names_none
        || is_not_on_demand
        || BEGINNINGS.iter().any(|beginning| opening.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::{OwnWords, outside_quotes};

    #[test]
    fn what_a_message_quotes_is_left_out_and_apostrophes_are_no_quotes() {
        for (message, own) in [
            ("Invalid value: 'insufficient_quota'. Supported: 'a', 'b'.", "Invalid value: . Supported: , ."),
            ("You don't have credit; it's gone", "You don't have credit; it's gone"),
            ("model \"invalid_api_key\" not found", "model  not found"),
            ("an open `quote runs on", "an open "),
        ] {
            assert_eq!(outside_quotes(message), own);
        }
    }

    #[test]
    fn the_opening_ends_where_a_callers_words_may_begin() {
        for (message, opening) in [
            (
                "Your credit balance is too low. See https://a.b/c",
                "your credit balance is too low. see https://a.b/c",
            ),
            ("Incorrect API key provided: sk-xx.", "incorrect api key provided"),
            ("Invalid value: 'x' API key not valid 'y'", "invalid value"),
            ("It's \"gone\"", "it's "),
            // The field's name is the caller's.
            ("your credit balance is too low: Extra inputs are not permitted", ""),
        ] {
            assert_eq!(OwnWords::of(message).opening, opening);
        }
    }

    #[test]
    fn only_a_message_that_says_of_the_model_that_it_is_missing_says_so() {
        for message in [
            "The model `gpt-9` does not exist or you do not have access to it.",
            "model \"x\" not found, try pulling it first",
            "The model grok-9 does not exist or your team x does not have access to it.",
            "The requested model 'a/b' is not supported by any provider you have enabled.",
            "The requested model is not supported.",
            "Model does not exist. Please check it carefully.",
            "The model `x` has been decommissioned and is no longer supported.",
            "Invalid model: foo",
            "Unknown model: foo",
            "foo/bar is not a valid model ID",
        ] {
            assert!(OwnWords::of(message).say_model_is_missing(), "{message}");
        }
        for message in [
            "This model does not support tools; function calling is not supported.",
            "Invalid parameter: 'response_format' of type 'json_schema' with this model is not supported.",
            "The model `x` is not supported with this reasoning effort.",
            "The model response tool call was not found",
            "The file referenced in the message for the model was not found: file-abc",
            "Invalid value: 'x' the model `y` does not exist 'z'",
            "'the model y does not exist' is not of type 'integer'",
            "the model y does not exist: Extra inputs are not permitted",
            "The model `a b` does not exist",
            "Invalid model settings: temperature",
            "hello is not a valid role; is not a valid model id",
        ] {
            assert!(!OwnWords::of(message).say_model_is_missing(), "{message}");
        }
    }
}
