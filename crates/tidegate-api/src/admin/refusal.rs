//! Why an administrative request is refused, in words that name the field, who may do it, and what to do.

use std::time::Duration;

use tidegate_gateway::GatewayError;
use tidegate_gateway::Source;
use tidegate_policy::{Area, Role};
use tidegate_store::{AccessError, CredentialError, StoreError};
use tidegate_wire::ErrorClass;

/// When to come back while the database does not answer.
const DATABASE_AWAY: Duration = Duration::from_secs(5);

/// No key, or none that is valid.
pub(super) fn unauthenticated(message: impl Into<String>) -> GatewayError {
    GatewayError {
        status: 401,
        class: ErrorClass::Authentication,
        code: Some("invalid_api_key".into()),
        ..GatewayError::bad_request(message)
    }
}

/// A valid key that may not do this.
pub(super) fn forbidden(message: impl Into<String>) -> GatewayError {
    GatewayError {
        status: 403,
        class: ErrorClass::Permission,
        code: Some("not_allowed".into()),
        ..GatewayError::bad_request(message)
    }
}

/// A role that may not see or change this part.
pub(super) fn role(role: Role, area: Area, writes: bool) -> GatewayError {
    let able = Role::ALL.into_iter().filter(|it| if writes { it.may_write(area) } else { it.may_read(area) });
    let able = able.map(|role| format!("`{}`", role.as_str())).collect::<Vec<_>>().join(", ");
    forbidden(format!(
        "A key with the role `{}` may not {} {}; that takes one of: {able}.",
        role.as_str(),
        if writes { "change" } else { "see" },
        area_in_words(area),
    ))
}

fn area_in_words(area: Area) -> &'static str {
    match area {
        Area::Keys => "keys",
        Area::Teams => "organizations, teams and limits",
        Area::Administrators => "administrators' keys",
        Area::Credentials => "the providers' credentials",
        Area::Usage => "usage and calls",
        Area::Experiments => "experiments",
        Area::Audit => "the audit log",
        Area::Routing => "targets and routing",
    }
}

/// What was asked for does not exist, or not for this caller.
pub(super) fn not_found(kind: &str, id: &str) -> GatewayError {
    GatewayError {
        status: 404,
        class: ErrorClass::NotFound,
        code: Some("not_found".into()),
        ..GatewayError::bad_request(format!(
            "There is no {kind} {}.",
            id.chars().take(200).collect::<String>()
        ))
    }
}

/// A field that cannot be so.
pub(super) fn invalid(field: &str, message: &str) -> GatewayError {
    GatewayError {
        code: Some("invalid_value".into()),
        param: Some(field.to_owned()),
        ..GatewayError::bad_request(format!("{field}: {message}."))
    }
}

/// A provider that is not configured.
pub(super) fn unknown_provider<'a>(
    field: &str,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> GatewayError {
    let name: String = name.chars().take(100).collect();
    let hint = match tidegate_config::closest(&name, known.clone(), 1).first() {
        Some(meant) => format!("perhaps `{meant}` was meant"),
        None => format!("there are {}", known.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    };
    invalid(field, &format!("there is no provider `{name}` in the configuration; {hint}"))
}

/// A parameter of the query that there is not.
pub(super) fn unknown_parameter(name: &str, known: &[(&str, &str)]) -> GatewayError {
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    unknown("query parameter", name, &names)
}

/// A body that is no JSON object.
pub(super) fn no_object() -> GatewayError {
    GatewayError {
        code: Some("invalid_body".into()),
        ..GatewayError::bad_request("The body is not what this takes: it is no JSON object.")
    }
}

/// What is wrong without the value that is: it may be a secret in the wrong place.
fn without_value(text: &str) -> String {
    let invalid = text.strip_prefix("invalid type: ").or_else(|| text.strip_prefix("invalid value: "));
    match invalid.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((found, expected)) => {
            let kind = found.split(['"', '`']).next().unwrap_or_default().trim();
            format!("found {kind}, expected {expected}")
        }
        None => text.to_owned(),
    }
}

/// A body that is not what it should be.
pub(super) fn wrong_body(error: &serde_json::Error) -> GatewayError {
    let text = error.to_string();
    // serde says: unknown field `x`, expected one of `a`, `b` at line 1 column 5
    let mut words = text.split('`').skip(1).step_by(2);
    if text.starts_with("unknown field")
        && let Some(field) = words.next()
    {
        return unknown("field", field, &words.collect::<Vec<_>>());
    }
    GatewayError {
        code: Some("invalid_body".into()),
        ..GatewayError::bad_request(format!("The body is not what this takes: {}.", without_value(&text)))
    }
}

fn unknown(what: &str, name: &str, known: &[&str]) -> GatewayError {
    let name: String = name.chars().take(100).collect();
    let hint = match tidegate_config::closest(&name, known.iter().copied(), 1).first() {
        Some(meant) => format!("Did you mean `{meant}`?"),
        None if known.is_empty() => "It takes none.".to_owned(),
        None => {
            let known = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            format!("It takes {known}.")
        }
    };
    GatewayError {
        code: Some("unknown_field".into()),
        param: Some(name.clone()),
        ..GatewayError::bad_request(format!("There is no {what} `{name}` here. {hint}"))
    }
}

/// An operation of the store that was not done.
pub(super) fn of_access(error: AccessError) -> GatewayError {
    match error {
        AccessError::NotFound { kind, id } => not_found(kind, &id),
        AccessError::Invalid { field, message } => invalid(&field, &message),
        AccessError::Conflict { field, message } => GatewayError {
            status: 409,
            code: Some("conflict".into()),
            param: Some(field.to_owned()),
            ..GatewayError::bad_request(format!("{field}: {message}."))
        },
        AccessError::Credentials(error @ CredentialError::NoMasterKey) => GatewayError {
            status: 409,
            code: Some("no_master_key".into()),
            ..GatewayError::bad_request(format!("{error}."))
        },
        AccessError::Credentials(error) => GatewayError::internal(format!("{error}.")),
        AccessError::NoRandomness(error) => GatewayError::internal(format!("{error}.")),
        AccessError::Store(error) => of_store(&error),
    }
}

/// The database failed. Its words are for the log: they may name hosts and tables.
pub(super) fn of_store(error: &StoreError) -> GatewayError {
    tracing::warn!(error = %Chain(error), remedy = error.remedy(), "an administrative request failed at the database");
    GatewayError {
        source: Source::Gateway,
        ..GatewayError::unavailable(
            "The database does not answer as it should; the log says why. Nothing was changed.",
            DATABASE_AWAY,
        )
    }
}

/// An error with its causes, on one line.
struct Chain<'a>(&'a StoreError);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut cause = std::error::Error::source(self.0);
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::CreateKey;

    #[test]
    fn an_unknown_field_is_answered_with_the_one_that_was_meant() {
        for (body, said) in [
            (r#"{"nmae": "x"}"#, "Did you mean `name`?"),
            (r#"{"limits": {"request": []}}"#, "Did you mean `requests`?"),
            (r#"{"name": 5}"#, "found integer, expected a string"),
            (r#"{"limits": "tg-\", expected x"}"#, "found string, expected struct Limits at"),
            ("{", "EOF"),
        ] {
            let error = serde_json::from_str::<CreateKey>(body).unwrap_err();
            let error = wrong_body(&error);
            assert!(error.message.contains(said) && error.status == 400, "{body}: {error}");
        }
    }

    #[test]
    fn a_role_hears_which_roles_may() {
        let error = role(Role::Admin, Area::Credentials, true);
        assert!(error.message.contains("`admin`") && error.message.ends_with("one of: `owner`."), "{error}");
    }
}
