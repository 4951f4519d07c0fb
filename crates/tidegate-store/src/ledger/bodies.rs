//! What was said in a call, as it is kept beside its entry where the operator wants that. Made by the gateway, which has
//! taken out what must not be kept.

/// The bodies of one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallBodies {
    /// What the caller sent.
    pub request: Option<KeptText>,
    /// What the caller was answered.
    pub response: Option<KeptText>,
}

/// A body, or as much of it as is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptText {
    /// Its text.
    pub text: String,
    /// Whether the rest was left out.
    pub is_cut: bool,
}
