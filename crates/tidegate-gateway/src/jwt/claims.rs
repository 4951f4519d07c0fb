//! Whom a token was made for, until when, and what it says of the caller. Called by `verify`.

use serde_json::{Map, Value};
use tidegate_config::JwtIssuer;

use super::refused::JwtRefused;
use super::token::Token;

/// Names of people, teams and models are shorter.
const LONGEST_NAME: usize = 256;
/// More models than anybody lists.
const MOST_MODELS: usize = 1_000;
/// Deeper than any provider nests its claims.
const DEEPEST_PATH: usize = 8;

/// What a good token says of its bearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtClaims {
    /// Who made the token.
    pub issuer: String,
    /// The organisation of the issuer's callers, by name or id, as configured; the default one where not set.
    pub organization: Option<String>,
    /// Its `sub`: the bearer, in the issuer's own terms.
    pub subject: String,
    /// The team, by name or id, where the token says one.
    pub team: Option<String>,
    /// The end user, where the token says one.
    pub user: Option<String>,
    /// The only models that may be called, where tokens of this issuer say so; none of them where it is empty.
    pub models: Option<Vec<String>>,
    /// When it is no longer good, in seconds since 1970, the leeway included.
    pub expires_at: i64,
}

/// Checks times and audience and takes out what the configuration asks for. The issuer has been found by its name.
pub(super) fn check(token: &Token<'_>, issuer: &JwtIssuer, now: i64) -> Result<JwtClaims, JwtRefused> {
    let leeway = i64::try_from(issuer.leeway.as_secs()).unwrap_or(i64::MAX);
    let expires = time(token, "exp")?.ok_or_else(|| wrong("exp", "is missing: tokens must expire"))?;
    let expires_at = expires.saturating_add(leeway);
    if now >= expires_at {
        return Err(JwtRefused::Expired);
    }
    if time(token, "nbf")?.is_some_and(|start| now < start.saturating_sub(leeway)) {
        return Err(JwtRefused::NotYetValid);
    }
    if !is_for(token, &issuer.audience) {
        return Err(JwtRefused::WrongAudience);
    }
    let names = &issuer.claims;
    let claims = token.claims();
    // Who has no team would be free of every team's limits, who has no list could call everything.
    let missing = || "is missing, and the configuration names it";
    let required = |found: Option<String>, path: &str, is_required: bool| match found {
        None if is_required => Err(wrong(path, missing())),
        found => Ok(found),
    };
    Ok(JwtClaims {
        issuer: issuer.issuer.clone(),
        organization: issuer.organization.clone(),
        subject: name(claims, "sub")?.ok_or_else(|| wrong("sub", "is missing"))?,
        team: required(name(claims, &names.team)?, &names.team, names.is_team_required)?,
        user: required(name(claims, &names.user)?, &names.user, names.is_user_required)?,
        models: match &names.models {
            None => None,
            Some(path) => Some(models(claims, path)?.ok_or_else(|| wrong(path, missing()))?),
        },
        expires_at,
    })
}

fn wrong(name: &str, why: &'static str) -> JwtRefused {
    JwtRefused::Claim { name: name.to_owned(), why }
}

/// Seconds since 1970; some issuers write fractions.
fn time(token: &Token<'_>, claim: &str) -> Result<Option<i64>, JwtRefused> {
    let Some(value) = token.claims().get(claim).filter(|value| !value.is_null()) else { return Ok(None) };
    let not_a_time = || wrong(claim, "is not a number of seconds since 1970");
    let number = value.as_number().ok_or_else(not_a_time)?;
    if let Some(seconds) = number.as_i64() {
        return Ok(Some(seconds));
    }
    // Rust's shortest notation of a fraction always has its whole part in front, below 1e16.
    let text = number.to_string();
    let whole = text.split_once('.').map(|(whole, _)| whole).filter(|_| !text.contains(['e', 'E']));
    whole.and_then(|whole| whole.parse().ok()).map(Some).ok_or_else(not_a_time)
}

fn is_for(token: &Token<'_>, accepted: &[String]) -> bool {
    let is_accepted = |one: &Value| one.as_str().is_some_and(|one| accepted.iter().any(|known| known == one));
    match token.claims().get("aud") {
        Some(Value::Array(several)) => several.iter().any(is_accepted),
        Some(one) => is_accepted(one),
        None => false,
    }
}

/// The claim of this name, else what its dots lead to: some issuers use URLs as names, others nest.
fn find<'c>(claims: &'c Map<String, Value>, path: &str) -> Option<&'c Value> {
    if let Some(value) = claims.get(path) {
        return Some(value).filter(|value| !value.is_null());
    }
    let mut parts = path.split('.').take(DEEPEST_PATH + 1);
    let mut value = claims.get(parts.next()?)?;
    for part in parts {
        value = value.as_object()?.get(part)?;
    }
    Some(value).filter(|value| !value.is_null())
}

/// One name. A list of one counts, as issuers that know groups write nothing else.
fn name(claims: &Map<String, Value>, path: &str) -> Result<Option<String>, JwtRefused> {
    let Some(mut value) = find(claims, path) else { return Ok(None) };
    if let Value::Array(list) = value {
        value = match list.as_slice() {
            [] => return Ok(None),
            [one] => one,
            _ => return Err(wrong(path, "lists several where one is needed")),
        };
    }
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err(wrong(path, "is not a text")),
    };
    check_name(path, &text)?;
    // An empty one says as much as none.
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn check_name(path: &str, text: &str) -> Result<(), JwtRefused> {
    if text.len() > LONGEST_NAME {
        return Err(wrong(path, "is longer than 256 bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err(wrong(path, "holds a control character"));
    }
    Ok(())
}

/// A list of names, or one text with blanks in between, as scopes are written. An empty one allows nothing, which is what it says.
fn models(claims: &Map<String, Value>, path: &str) -> Result<Option<Vec<String>>, JwtRefused> {
    let Some(value) = find(claims, path) else { return Ok(None) };
    let list: Vec<String> = match value {
        Value::String(text) => text.split_whitespace().map(str::to_owned).collect(),
        Value::Array(list) => {
            let texts = list.iter().map(|one| one.as_str().map(str::to_owned));
            texts.collect::<Option<_>>().ok_or_else(|| wrong(path, "lists something that is not a text"))?
        }
        _ => return Err(wrong(path, "is neither a list nor a text")),
    };
    if list.len() > MOST_MODELS {
        return Err(wrong(path, "lists more than 1,000 models"));
    }
    list.iter().try_for_each(|model| check_name(path, model))?;
    if list.iter().any(|model| model.starts_with('!')) {
        return Err(wrong(path, "lists a name with `!`, which takes nothing away here"));
    }
    Ok(Some(list))
}
