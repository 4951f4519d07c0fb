//! What was probably meant. Used for unknown keys, providers and strategies here, and for unknown models by the gateway.

/// Below this likeness (Jaro-Winkler, 0 to 1) a suggestion confuses more than it helps.
const LIKENESS: f64 = 0.8;

/// The candidates most like `word`, the most alike first, at most `limit`. None that is not like it at all.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>, limit: usize) -> Vec<String> {
    let ranked = ranked(word, candidates);
    ranked.into_iter().take(limit).map(|(_, candidate)| candidate.to_owned()).collect()
}

/// The candidate most like `word`, if any is like it at all.
pub(crate) fn most_alike<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    ranked(word, candidates).first().map(|(_, candidate)| *candidate)
}

fn ranked<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<(f64, &'a str)> {
    /// Comparing takes the product of both lengths, and a caller may ask for a name of any length.
    const LONGEST_WORD: usize = 200;

    if word.len() > LONGEST_WORD {
        return Vec::new();
    }
    let word = word.to_lowercase();
    let likeness = |candidate: &str| strsim::jaro_winkler(&word, &candidate.to_lowercase());
    let mut ranked: Vec<(f64, &str)> = candidates
        .into_iter()
        .map(|candidate| (likeness(candidate), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .collect();
    ranked.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    ranked
}

/// "did you mean `x`?", or else the list of what there is.
pub(crate) fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    /// A longer list no longer fits the eye.
    const MOST_LISTED: usize = 12;

    let candidates: Vec<&str> = candidates.into_iter().collect();
    if let Some(candidate) = most_alike(word, candidates.iter().copied()) {
        return Some(format!("did you mean `{candidate}`?"));
    }
    let listed =
        candidates.iter().take(MOST_LISTED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match candidates.len() {
        0 => None,
        1..=MOST_LISTED => Some(format!("possible here: {listed}")),
        _ => Some(format!("possible here: {listed}, …")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_keyboard_finds_its_word_and_a_stranger_finds_none() {
        let words = ["anthropic", "openai", "openai-eu", "gemini"];
        for (typed, meant) in [
            ("antropic", Some("anthropic")),
            ("OpenAI", Some("openai")),
            ("opneai", Some("openai")),
            ("gemni", Some("gemini")),
            ("bedrock", None),
        ] {
            assert_eq!(most_alike(typed, words), meant, "{typed}");
        }
        assert_eq!(closest("openai-e", words, 2), ["openai-eu", "openai"]);
        assert!(closest(&"openai".repeat(1000), words, 2).is_empty());
    }
}
