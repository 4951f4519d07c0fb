//! A provider that Tidegate knows by name: where it is, how one signs in, what it speaks. Read from `data/providers.toml`; the
//! configuration starts from it, and the gateway sends by it.

use std::collections::BTreeMap;

use serde::Deserialize;
use tidegate_wire::Dialect;

use crate::quirk::{Quirk, Quirks};

/// The version of Anthropic's API that every request to it names.
const ANTHROPIC_VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");

/// The header that carries the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// `authorization: Bearer …`
    Bearer,
    /// `x-api-key: …`, as Anthropic's SDK sends it.
    XApiKey,
    /// `x-goog-api-key: …`, as Google's SDK sends it.
    XGoogApiKey,
    /// `api-key: …`, as Azure wants it.
    ApiKey,
}

impl Auth {
    /// What SDKs of the dialect send, and so what every server that speaks it takes.
    pub fn usual(dialect: Dialect) -> Self {
        match dialect {
            Dialect::OpenAiChat => Self::Bearer,
            Dialect::AnthropicMessages => Self::XApiKey,
            Dialect::Gemini => Self::XGoogApiKey,
        }
    }

    /// The header's name, in lower case.
    pub fn header(self) -> &'static str {
        match self {
            Self::Bearer => "authorization",
            Self::XApiKey => "x-api-key",
            Self::XGoogApiKey => "x-goog-api-key",
            Self::ApiKey => "api-key",
        }
    }

    /// What stands before the key in the header.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer ",
            Self::XApiKey | Self::XGoogApiKey | Self::ApiKey => "",
        }
    }
}

/// One dialect that a provider speaks, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The dialect.
    pub dialect: Dialect,
    /// What that dialect's SDK takes as base URL, possibly with `${VARIABLE}` in it. `None`: only the user knows it.
    pub base_url: Option<Box<str>>,
    /// The header that carries the key.
    pub auth: Auth,
    /// Headers that every request carries.
    pub headers: Vec<(Box<str>, Box<str>)>,
}

impl Endpoint {
    /// The environment variables that the base URL needs.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        let pieces = self.base_url.as_deref().unwrap_or_default().split("${").skip(1);
        pieces.filter_map(|piece| piece.split_once('}').map(|(name, _)| name))
    }

    /// The base URL with its variables filled in, without a slash at the end. `None` where only the user knows it.
    pub fn resolved_base_url(
        &self,
        mut variable: impl FnMut(&str) -> Option<String>,
    ) -> Result<Option<String>, BaseUrlError> {
        let Some(template) = self.base_url.as_deref() else { return Ok(None) };
        let mut pieces = template.split("${");
        let mut url = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (name, rest) = piece.split_once('}').unwrap_or((piece, ""));
            let value = variable(name).filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| BaseUrlError { variable: name.to_owned() })?;
            url.push_str(value.trim_end_matches('/'));
            url.push_str(rest);
        }
        url.truncate(url.trim_end_matches('/').len());
        Ok(Some(url))
    }
}

/// A base URL cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the base URL needs the environment variable {variable}; set it, or give `base_url` in the configuration"
)]
pub struct BaseUrlError {
    /// The variable that is not set.
    pub variable: String,
}

/// A provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// What users write.
    pub id: Box<str>,
    /// Its name for people.
    pub name: Box<str>,
    /// Environment variables that may hold the key; the first one set wins.
    pub key_variables: Vec<Box<str>>,
    /// Whether it cannot be called without a key.
    pub needs_key: bool,
    /// Other names for it.
    pub aliases: Vec<Box<str>>,
    /// How it departs from a plain server of its first dialect.
    pub quirks: Quirks,
    endpoints: Vec<Endpoint>,
}

impl Provider {
    /// The dialects that it speaks and where, its main one first. Never empty.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Where it speaks this dialect, if it does.
    pub fn endpoint(&self, dialect: Dialect) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.dialect == dialect)
    }

    /// The base URL of its main dialect.
    pub fn base_url(&self) -> Option<&str> {
        self.endpoints.first().and_then(|endpoint| endpoint.base_url.as_deref())
    }

    /// Every dialect that it speaks, its main one first.
    pub fn dialects(&self) -> impl Iterator<Item = Dialect> {
        self.endpoints.iter().map(|endpoint| endpoint.dialect)
    }
}

/// A table of `providers.toml`. The fields are documented there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    name: Box<str>,
    base_url: Option<Box<str>>,
    dialect: Option<Dialect>,
    #[serde(default)]
    also: BTreeMap<Dialect, Box<str>>,
    key_env: Vec<Box<str>>,
    auth: Option<Auth>,
    #[serde(default)]
    headers: BTreeMap<Box<str>, Box<str>>,
    needs_key: Option<bool>,
    #[serde(default)]
    aliases: Vec<Box<str>>,
    #[serde(default)]
    quirks: Vec<Quirk>,
}

impl Entry {
    pub(crate) fn into_provider(self, id: Box<str>) -> Provider {
        let dialect = self.dialect.unwrap_or(Dialect::OpenAiChat);
        let endpoint = |dialect, base_url, auth: Option<Auth>| Endpoint {
            dialect,
            base_url,
            auth: auth.unwrap_or(Auth::usual(dialect)),
            headers: headers(dialect, &self.headers),
        };
        let first = endpoint(dialect, self.base_url, self.auth);
        let others = self.also.into_iter().map(|(dialect, base_url)| endpoint(dialect, Some(base_url), None));
        Provider {
            id,
            name: self.name,
            key_variables: self.key_env,
            needs_key: self.needs_key.unwrap_or(true),
            aliases: self.aliases,
            quirks: self.quirks.into_iter().collect(),
            endpoints: std::iter::once(first).chain(others).collect(),
        }
    }
}

fn headers(dialect: Dialect, own: &BTreeMap<Box<str>, Box<str>>) -> Vec<(Box<str>, Box<str>)> {
    let (name, value) = ANTHROPIC_VERSION;
    let demanded = (dialect == Dialect::AnthropicMessages && !own.contains_key(name))
        .then(|| (name.into(), value.into()));
    demanded.into_iter().chain(own.iter().map(|(name, value)| (name.clone(), value.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(base_url: &str) -> Endpoint {
        let base_url = Some(base_url.into());
        Endpoint { dialect: Dialect::OpenAiChat, base_url, auth: Auth::Bearer, headers: Vec::new() }
    }

    #[test]
    fn variables_in_a_base_url_are_filled_in() {
        let values = |name: &str| match name {
            "HOST" => Some("https://h.example/".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (template, url) in [
            ("https://api.example/v1", Ok("https://api.example/v1")),
            ("https://api.example/v1/", Ok("https://api.example/v1")),
            ("${HOST}/serving", Ok("https://h.example/serving")),
            ("https://${ACCOUNT}.example", Err("ACCOUNT")),
            ("https://${EMPTY}.example", Err("EMPTY")),
        ] {
            let resolved = endpoint(template).resolved_base_url(values);
            match url {
                Ok(url) => assert_eq!(resolved, Ok(Some(url.to_owned()))),
                Err(variable) => assert_eq!(resolved, Err(BaseUrlError { variable: variable.to_owned() })),
            }
        }
        let template = endpoint("https://${A}.example/${B}/v1");
        assert_eq!(template.variables().collect::<Vec<_>>(), ["A", "B"]);
    }
}
