//! Finding a model by a name that is not quite the listed one. The rule above all: a wrong price is worse than none.

use crate::model::ModelFacts;

/// Names longer than this are not compared with anything: the longest listed one has 63 bytes, and the comparison takes quadratic time.
const LONGEST_COMPARED: usize = 96;

/// How alike two names must be for one to be suggested for the other: `gpt-5-mni` is for `gpt-5-mini`, `llama` is not for `gpt-4o`.
const ALIKE: f64 = 0.85;

/// Finds the model among its provider's models, which are sorted by name.
///
/// Tried in turn: the name as it is; without a path before it that providers add (`models/`); for fine-tunes the listed base
/// (`ft:gpt-4o-2024-08-06:org::id`, never the model that was not tuned); without the date or `-latest` at its end; and for a name
/// without a date, the dated ones, provided that they all have the same price.
pub(crate) fn find<'a>(models: &'a [ModelFacts], name: &str) -> Option<&'a ModelFacts> {
    if let Some(found) = exact(models, name) {
        return Some(found);
    }
    if name.starts_with("ft:") {
        let end = name.match_indices(':').nth(1).map_or(name.len(), |(at, _)| at);
        return exact(models, name.get(..end)?);
    }
    let name = name.strip_prefix("models/").unwrap_or(name);
    if let Some(found) = exact(models, name) {
        return Some(found);
    }
    match undated(name) {
        Some(family) => {
            exact(models, family).or_else(|| is_latest(name).then(|| dated(models, family)).flatten())
        }
        None => dated(models, name),
    }
}

/// Names alike to this one, the most alike first.
pub(crate) fn closest<'a>(names: impl Iterator<Item = &'a str>, wanted: &str, limit: usize) -> Vec<&'a str> {
    if wanted.is_empty() || wanted.len() > LONGEST_COMPARED || limit == 0 {
        return Vec::new();
    }
    let wanted = wanted.to_ascii_lowercase();
    let mut best: Vec<(f64, &str)> = names
        .filter(|name| name.len() <= LONGEST_COMPARED)
        .map(|name| (strsim::jaro_winkler(&name.to_ascii_lowercase(), &wanted), name))
        .filter(|(alike, _)| *alike >= ALIKE)
        .collect();
    best.sort_by(|(one, name), (other, other_name)| other.total_cmp(one).then_with(|| name.cmp(other_name)));
    best.dedup_by(|(_, name), (_, kept)| name == kept);
    best.truncate(limit);
    best.into_iter().map(|(_, name)| name).collect()
}

fn exact<'a>(models: &'a [ModelFacts], name: &str) -> Option<&'a ModelFacts> {
    let at = models.binary_search_by(|model| (*model.name).cmp(name)).ok()?;
    models.get(at)
}

/// The newest of the models that are called `family` with a date, if all of these have one price.
fn dated<'a>(models: &'a [ModelFacts], family: &str) -> Option<&'a ModelFacts> {
    let start = models.partition_point(|model| &*model.name < family);
    let named = models.get(start..)?.iter().take_while(|model| model.name.starts_with(family));
    let mut dated = named.filter(|model| undated(&model.name) == Some(family));
    let first = dated.next()?;
    dated.try_fold(first, |_, model| (model.prices() == first.prices()).then_some(model))
}

/// The name without the date or `-latest` at its end; `None` if it has neither.
fn undated(name: &str) -> Option<&str> {
    let family = ["-latest", "@latest"].into_iter().find_map(|latest| name.strip_suffix(latest));
    family
        .or_else(|| strip_date(name, "-dddd-dd-dd"))
        .or_else(|| strip_date(name, "-dddddddd"))
        .or_else(|| strip_date(name, "@dddddddd"))
}

fn is_latest(name: &str) -> bool {
    name.ends_with("latest")
}

/// Strips an end of that shape, in which `d` is any digit, provided that it is a date of this century.
fn strip_date<'a>(name: &'a str, shape: &str) -> Option<&'a str> {
    let (family, end) = name.split_at_checked(name.len().checked_sub(shape.len())?)?;
    let fits = |(byte, shape): (u8, u8)| if shape == b'd' { byte.is_ascii_digit() } else { byte == shape };
    let is_date =
        end.bytes().zip(shape.bytes()).all(fits) && end.get(1..3) == Some("20") && !family.is_empty();
    is_date.then_some(family)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_told_from_other_numbers() {
        for (name, family) in [
            ("gpt-5-mini-2025-08-07", Some("gpt-5-mini")),
            ("claude-haiku-4-5-20251001", Some("claude-haiku-4-5")),
            ("claude-haiku-4-5@20251001", Some("claude-haiku-4-5")),
            ("claude-3-7-sonnet-latest", Some("claude-3-7-sonnet")),
            ("claude-haiku-4-5", None),
            ("m-12345678", None),
            ("-20251001", None),
            ("mistral-large-2512", None),
            ("", None),
            ("é-2025-08-0ö", None),
        ] {
            assert_eq!(undated(name), family, "{name}");
        }
    }
}
