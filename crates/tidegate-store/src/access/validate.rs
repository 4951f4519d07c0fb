//! Whether what is to be kept makes sense: every field is checked before anything is written, and the error names the
//! field and what would be right.

use std::time::Duration;

use jiff::Timestamp;
use tidegate_catalog::NanoDollars;
use tidegate_policy::{Limits, Permissions, RateLimit};

use super::error::AccessError;
use super::scope::Scope;
use crate::ledger::Tags;

/// Names are shown in tables.
const MAX_NAME: usize = 200;
/// Limits of one kind: one for each period, and there are five.
const MAX_LIMITS: usize = 5;
/// Above it a limit is none, and sums of several stay far from overflowing.
const MAX_RATE: u64 = 1_000_000_000_000;
/// A billion dollars, for the same reason.
const MAX_BUDGET: NanoDollars = NanoDollars(1_000_000_000_000_000_000);
/// Each list of permissions is gone through on every call.
const MAX_LISTED: usize = 500;
/// The operations that a permission can name.
const ENDPOINTS: [&str; 3] = ["chat", "count_tokens", "models"];
/// Charging less than nothing makes no sense.
const LOWEST_MARGIN: i32 = -1_000_000;
/// Fifty times the cost: beyond it a margin is a slip of the keyboard.
const HIGHEST_MARGIN: i32 = 50_000_000;
/// A rotation whose old secret works for longer than a quarter is none.
const MAX_GRACE: Duration = Duration::from_secs(90 * 24 * 3_600);

type Checked = Result<(), AccessError>;

/// A name, without blanks around it.
pub(crate) fn name(field: &str, text: &str) -> Result<String, AccessError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(AccessError::invalid(field, "it is empty; give it a name"));
    }
    if text.chars().count() > MAX_NAME {
        return Err(AccessError::invalid(field, format!("it is longer than {MAX_NAME} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(AccessError::invalid(field, "it holds control characters; write it on one line"));
    }
    Ok(text.to_owned())
}

/// All limits of one level.
pub(crate) fn limits(field: &str, limits: &Limits) -> Checked {
    rates(&format!("{field}.requests"), &limits.requests)?;
    rates(&format!("{field}.tokens"), &limits.tokens)?;
    if limits.in_flight == Some(0) {
        return Err(AccessError::invalid(
            format!("{field}.in_flight"),
            "0 would allow nothing; to refuse all calls, disable it instead",
        ));
    }
    if limits.budgets.len() > 2 * MAX_LIMITS {
        return Err(AccessError::invalid(
            format!("{field}.budgets"),
            format!("at most {} budgets", 2 * MAX_LIMITS),
        ));
    }
    for (place, budget) in limits.budgets.iter().enumerate() {
        if budget.usd > MAX_BUDGET {
            return Err(AccessError::invalid(
                format!("{field}.budgets[{place}].usd"),
                format!("at most {MAX_BUDGET} dollars; leave the budget out for no limit"),
            ));
        }
        let before = limits.budgets.iter().take(place);
        if before.clone().any(|other| (other.per, other.kind) == (budget.per, budget.kind)) {
            return Err(AccessError::invalid(
                format!("{field}.budgets[{place}]"),
                format!("a second budget per {} of the same kind; keep one", budget.per.as_str()),
            ));
        }
    }
    Ok(())
}

fn rates(field: &str, rates: &[RateLimit]) -> Checked {
    if rates.len() > MAX_LIMITS {
        return Err(AccessError::invalid(field, format!("at most {MAX_LIMITS} limits")));
    }
    for (place, rate) in rates.iter().enumerate() {
        if rate.max == 0 || rate.max > MAX_RATE {
            return Err(AccessError::invalid(
                format!("{field}[{place}].max"),
                format!(
                    "it takes 1 to {MAX_RATE}; leave the limit out for none, disable to refuse everything"
                ),
            ));
        }
        if rates.iter().take(place).any(|other| other.per == rate.per) {
            return Err(AccessError::invalid(
                format!("{field}[{place}].per"),
                format!("a second limit per {}; keep one", rate.per.as_str()),
            ));
        }
    }
    Ok(())
}

/// What is allowed. What stays as it was is not looked at: a key that is to be disabled may be from before a rule.
pub(crate) fn permissions(before: Option<&Permissions>, permissions: &Permissions) -> Checked {
    if before == Some(permissions) {
        return Ok(());
    }
    let models: Vec<&str> = permissions.models.iter().map(|pattern| &*pattern.0).collect();
    let providers: Vec<&str> = permissions.providers.iter().map(String::as_str).collect();
    let endpoints: Vec<&str> = permissions.endpoints.iter().map(String::as_str).collect();
    for (field, words) in [("models", &models), ("providers", &providers), ("endpoints", &endpoints)] {
        if words.len() > MAX_LISTED {
            return Err(AccessError::invalid(
                format!("permissions.{field}"),
                format!("at most {MAX_LISTED}; a pattern such as `openai/*` stands for many"),
            ));
        }
        for (place, word) in words.iter().enumerate() {
            name(&format!("permissions.{field}[{place}]"), word)?;
        }
    }
    if let Some(place) = models.iter().chain(&providers).position(|word| word.starts_with('!')) {
        let field = if place < models.len() { format!("models[{place}]") } else { "providers".to_owned() };
        return Err(AccessError::invalid(
            format!("permissions.{field}"),
            "nothing can be taken away by `!`; list what is allowed",
        ));
    }
    if permissions.addresses.len() > MAX_LISTED {
        return Err(AccessError::invalid(
            "permissions.addresses",
            format!("at most {MAX_LISTED}; a network such as 10.0.0.0/8 stands for many"),
        ));
    }
    if let Some(place) = endpoints.iter().position(|word| !ENDPOINTS.contains(word)) {
        return Err(AccessError::invalid(
            format!("permissions.endpoints[{place}]"),
            format!("there is no such operation; it takes {}", ENDPOINTS.join(", ")),
        ));
    }
    Ok(())
}

/// Tags, by the rules of the ledger.
pub(crate) fn tags(tags: &[(String, String)]) -> Checked {
    let mut checked = Tags::default();
    for (name, value) in tags {
        checked.insert(name.clone(), value.clone()).map_err(|error| {
            AccessError::invalid(
                format!("tags.{}", name.chars().take(64).collect::<String>()),
                error.to_string(),
            )
        })?;
    }
    Ok(())
}

/// The end of a key's life.
pub(crate) fn expiry(expires_at: Option<Timestamp>, now: Timestamp) -> Checked {
    if expires_at.is_some_and(|expiry| expiry <= now) {
        return Err(AccessError::invalid(
            "expires_at",
            "it has passed; give a later time, or disable the key",
        ));
    }
    Ok(())
}

/// How long an old secret lives on.
pub(crate) fn grace(grace: Duration) -> Checked {
    if grace > MAX_GRACE {
        return Err(AccessError::invalid("grace", "at most 90 days; use 0s to end the old secret at once"));
    }
    Ok(())
}

/// A team's margin.
pub(crate) fn margin(millionths: i32) -> Checked {
    if (LOWEST_MARGIN..=HIGHEST_MARGIN).contains(&millionths) {
        return Ok(());
    }
    Err(AccessError::invalid("margin", "it takes -100 % to 5000 %"))
}

/// An end user or a tag, as it can occur in a call.
pub(crate) fn subject(scope: &Scope) -> Checked {
    match scope {
        Scope::EndUser(user) => name("end_user", &user.name).map(drop),
        Scope::Tag(name, value) => tags(&[(name.to_string(), value.to_string())]),
        Scope::Organization(_) | Scope::Team(_) | Scope::Key(_) | Scope::Experiment(_) => {
            Err(AccessError::invalid(
                "scope",
                "only end users (user:ORGANISATION/NAME) and tags (tag:NAME=VALUE) have limits of their own; \
             update the organisation, team or key itself",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(limits_json: &str, expected: Option<&str>) {
        let read: Limits = serde_json::from_str(limits_json).unwrap();
        let field = match limits("limits", &read) {
            Ok(()) => None,
            Err(AccessError::Invalid { field, .. }) => Some(field),
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(field.as_deref(), expected, "{limits_json}");
    }

    #[test]
    fn limits_that_make_no_sense_are_named() {
        check("{}", None);
        check(r#"{"requests":[{"max":1,"per":"second"},{"max":9,"per":"minute"}],"in_flight":1}"#, None);
        check(r#"{"budgets":[{"usd":1,"per":"day"},{"usd":2,"per":"day","kind":"soft"}]}"#, None);
        check(r#"{"requests":[{"max":0,"per":"second"}]}"#, Some("limits.requests[0].max"));
        check(r#"{"tokens":[{"max":1,"per":"day"},{"max":2,"per":"day"}]}"#, Some("limits.tokens[1].per"));
        check(r#"{"in_flight":0}"#, Some("limits.in_flight"));
        check(r#"{"budgets":[{"usd":1,"per":"day"},{"usd":2,"per":"day"}]}"#, Some("limits.budgets[1]"));
        check(r#"{"budgets":[{"usd":2000000000,"per":"day"}]}"#, Some("limits.budgets[0].usd"));
    }

    #[test]
    fn names_and_permissions_that_cannot_be_are_named() {
        assert_eq!(name("name", "  my key ").unwrap(), "my key");
        for wrong in ["", "  ", "two\nlines", "a\0b", &"x".repeat(201)] {
            assert!(name("name", wrong).is_err(), "{wrong:?}");
        }
        let wrong: Permissions = serde_json::from_str(r#"{"endpoints":["chat","chatt"]}"#).unwrap();
        let error = permissions(None, &wrong).unwrap_err().to_string();
        assert!(error.starts_with("permissions.endpoints[1]") && error.contains("count_tokens"), "{error}");
        let negative: Permissions = serde_json::from_str(r#"{"models":["*","!luxm"]}"#).unwrap();
        let error = permissions(Some(&wrong), &negative).unwrap_err().to_string();
        assert!(
            error.starts_with("permissions.models[1]") && error.contains("list what is allowed"),
            "{error}"
        );
        assert!(permissions(Some(&negative), &negative).is_ok(), "what was there stays");
        assert!(subject(&"team:team_1".parse().unwrap()).is_err());
        assert!(subject(&"tag:1app=x".parse().unwrap()).is_err());
        assert!(subject(&"user:org_default/a b".parse().unwrap()).is_ok());
    }
}
