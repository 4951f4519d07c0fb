//! What is known about providers by name: the one place that asks the catalog. Used by `load` and `resolve`.

/// What the configuration needs to know about a kind of provider.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) id: &'static str,
    /// None for kinds whose address only the user knows.
    pub(crate) base_url: Option<&'static str>,
    /// The usual environment variables for its key, the first one set wins. Empty where no key is needed.
    pub(crate) key_variables: &'static [&'static str],
}

const KINDS: &[Kind] = &[
    Kind { id: "openai", base_url: Some("https://api.openai.com/v1"), key_variables: &["OPENAI_API_KEY"] },
    Kind {
        id: "anthropic",
        base_url: Some("https://api.anthropic.com"),
        key_variables: &["ANTHROPIC_API_KEY"],
    },
    Kind {
        id: "gemini",
        base_url: Some("https://generativelanguage.googleapis.com"),
        key_variables: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
    },
    Kind { id: "openai-compatible", base_url: None, key_variables: &[] },
];

/// Every kind of provider, in the order in which they are offered.
pub(crate) fn kinds() -> impl Iterator<Item = Kind> {
    KINDS.iter().copied()
}

/// The kind of that name.
#[expect(dead_code, reason = "used as soon as files are read")]
pub(crate) fn find_kind(id: &str) -> Option<Kind> {
    kinds().find(|kind| kind.id == id)
}
