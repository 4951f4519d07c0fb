//! Text in tokens: one token is a short word, with the space before it.

use crate::digest::Draws;

/// Short and plain, so that a token is about as long as a real one.
const VOCABULARY: [&str; 48] = [
    "tide", "gate", "river", "stone", "light", "north", "harbour", "calm", "water", "rises", "falls",
    "under", "over", "bridge", "slow", "bright", "morning", "evening", "boat", "rope", "keeper", "watch",
    "signal", "lamp", "wind", "turns", "opens", "closes", "before", "after", "every", "quiet", "deep",
    "shore", "sand", "salt", "gull", "wave", "moon", "pulls", "clock", "counts", "seven", "hours", "then",
    "again", "and", "the",
];

/// A sentence of so many tokens.
pub(crate) fn sentence(seed: u64, tokens: usize) -> Vec<String> {
    let mut draws = Draws::new(seed);
    let word = |index: usize| {
        let word = draws.pick(&VOCABULARY).copied().unwrap_or("tide");
        if index == 0 { format!("{}{}", word[..1].to_uppercase(), &word[1..]) } else { format!(" {word}") }
    };
    (0..tokens).map(word).collect()
}

/// Cuts a text into tokens: words with the white space before them, long ones in pieces. Joined, they are the text.
pub(crate) fn tokens(text: &str) -> Vec<String> {
    const LONGEST: usize = 12;
    let mut tokens: Vec<String> = Vec::new();
    let mut token = String::new();
    for character in text.chars() {
        let at_word_end = character.is_whitespace() && !token.trim_start().is_empty();
        if at_word_end || token.chars().count() >= LONGEST {
            tokens.push(std::mem::take(&mut token));
        }
        token.push(character);
    }
    if !token.is_empty() {
        tokens.push(token);
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_joined_are_the_text() {
        for text in [
            "",
            " ",
            "one",
            "one two\n\nthree",
            "a{\"b\":[1,2,3,4,5,6,7,8]}",
            "äöü ß 🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀",
            "x  y ",
        ] {
            assert_eq!(tokens(text).concat(), text);
        }
        assert_eq!(tokens("one two three").len(), 3);
    }

    #[test]
    fn a_sentence_has_the_tokens_asked_for_and_depends_on_the_seed_alone() {
        assert_eq!(sentence(7, 40).len(), 40);
        assert_eq!(sentence(7, 40), sentence(7, 40));
        assert_ne!(sentence(7, 40), sentence(8, 40));
        assert_eq!(sentence(7, 0), Vec::<String>::new());
    }
}
