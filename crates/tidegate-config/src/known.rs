//! What is known about providers by name: the one place that asks the catalog. Used by `resolve`.

use tidegate_catalog::{BaseUrlError, Catalog, Provider};

use crate::env::Environment;

/// A kind of provider, as the catalog describes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind(&'static Provider);

/// Every kind of provider.
pub(crate) fn kinds() -> impl Iterator<Item = Kind> {
    Catalog::builtin().providers().map(Kind)
}

/// The kind with that id or alias.
pub(crate) fn find_kind(name: &str) -> Option<Kind> {
    Catalog::builtin().provider(name).map(Kind)
}

impl Kind {
    /// Its name in the catalog, whichever alias it was found by.
    pub(crate) fn id(self) -> &'static str {
        &self.0.id
    }

    /// Whether it cannot be called without a key.
    pub(crate) fn needs_key(self) -> bool {
        self.0.needs_key
    }

    /// The usual environment variables for its key; the first one set wins.
    pub(crate) fn key_variables(self) -> impl Iterator<Item = &'static str> {
        self.0.key_variables.iter().map(|name| &**name)
    }

    /// Whether its SDK adds the version to the base URL by itself.
    pub(crate) fn adds_version(self) -> bool {
        use tidegate_wire::Dialect;
        matches!(self.0.dialects().next(), Some(Dialect::AnthropicMessages | Dialect::Gemini))
    }

    /// Its usual address, filled in from the environment where an account or region is part of it. `None` for kinds whose
    /// address only the user knows.
    pub(crate) fn base_url(self, environment: &Environment) -> Result<Option<String>, BaseUrlError> {
        match self.0.endpoints().first() {
            Some(endpoint) => endpoint.resolved_base_url(|name| environment.get(name)),
            None => Ok(None),
        }
    }
}
