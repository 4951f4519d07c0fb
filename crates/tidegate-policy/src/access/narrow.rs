//! Whether permissions stay within others: who may make keys only within its own permissions is held to this.

use super::Permissions;

impl Permissions {
    /// These permissions within the outer ones: what they leave open is taken from there. The field that asks for more
    /// than the outer ones allow is the error.
    pub fn narrowed_to(mut self, outer: &Self) -> Result<Self, &'static str> {
        narrow("models", &mut self.models, &outer.models, |inner, outer| outer.matches(&inner.0))?;
        narrow("providers", &mut self.providers, &outer.providers, |inner, outer| inner == outer)?;
        narrow("endpoints", &mut self.endpoints, &outer.endpoints, |inner, outer| inner == outer)?;
        narrow("addresses", &mut self.addresses, &outer.addresses, |inner, outer| outer.contains(inner))?;
        match (self.max_usd_per_call, outer.max_usd_per_call) {
            (Some(inner), Some(outer)) if inner > outer => return Err("max_usd_per_call"),
            (None, Some(outer)) => self.max_usd_per_call = Some(outer),
            _ => {}
        }
        for feature in &outer.denied_features {
            if !self.denied_features.contains(feature) {
                self.denied_features.push(*feature);
            }
        }
        Ok(self)
    }
}

/// An empty list is everything: within an outer list it becomes that one. Otherwise each item must lie within one of the
/// outer ones. For patterns it is enough that the outer one fits the inner one's text: an inner `*` is then covered by an
/// outer one, whatever it stands for.
fn narrow<T: Clone>(
    field: &'static str,
    inner: &mut Vec<T>,
    outer: &[T],
    is_within: impl Fn(&T, &T) -> bool,
) -> Result<(), &'static str> {
    if outer.is_empty() {
        return Ok(());
    }
    if inner.is_empty() {
        *inner = outer.to_vec();
        return Ok(());
    }
    let all_within = inner.iter().all(|item| outer.iter().any(|allowed| is_within(item, allowed)));
    if all_within { Ok(()) } else { Err(field) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(inner: &str, outer: &str, expected: Result<&str, &'static str>) {
        let read = |text: &str| -> Permissions { serde_json::from_str(text).unwrap() };
        assert_eq!(read(inner).narrowed_to(&read(outer)), expected.map(read), "{inner} within {outer}");
    }

    #[test]
    fn nothing_gets_wider_and_what_is_left_open_is_taken_from_outside() {
        check("{}", "{}", Ok("{}"));
        check(r#"{"models":["a"]}"#, "{}", Ok(r#"{"models":["a"]}"#));
        check("{}", r#"{"models":["openai/*"]}"#, Ok(r#"{"models":["openai/*"]}"#));
        check(
            r#"{"models":["openai/gpt-*"]}"#,
            r#"{"models":["openai/*"]}"#,
            Ok(r#"{"models":["openai/gpt-*"]}"#),
        );
        check(r#"{"models":["*"]}"#, r#"{"models":["openai/*"]}"#, Err("models"));
        check(r#"{"models":["openai/x","y"]}"#, r#"{"models":["openai/*"]}"#, Err("models"));
        check(r#"{"providers":["b"]}"#, r#"{"providers":["a"]}"#, Err("providers"));
        check(r#"{"endpoints":["chat"]}"#, r#"{"endpoints":["models"]}"#, Err("endpoints"));
        check(
            r#"{"addresses":["10.1.0.0/16"]}"#,
            r#"{"addresses":["10.0.0.0/8"]}"#,
            Ok(r#"{"addresses":["10.1.0.0/16"]}"#),
        );
        check(r#"{"addresses":["0.0.0.0/0"]}"#, r#"{"addresses":["10.0.0.0/8"]}"#, Err("addresses"));
        check(r#"{"max_usd_per_call":2}"#, r#"{"max_usd_per_call":1}"#, Err("max_usd_per_call"));
        check("{}", r#"{"max_usd_per_call":1}"#, Ok(r#"{"max_usd_per_call":1}"#));
        check(
            r#"{"denied_features":["audio"]}"#,
            r#"{"denied_features":["images"]}"#,
            Ok(r#"{"denied_features":["audio","images"]}"#),
        );
    }
}
