//! Finding what must not be kept. All rules look at the same text, and what any of them finds is replaced, so that no rule's replacement
//! hides something from the next. Called by `text`.

use std::borrow::Cow;
use std::ops::{Range, RangeInclusive};

use regex::{Regex, RegexBuilder};
use tidegate_config::Redaction;

/// API keys and tokens as their makers shape them, private keys, and passwords in URLs.
const SECRET: &str = r"(?x)
    \b(?:
        sk-[A-Za-z0-9_-]{16,}                                    # OpenAI, Anthropic, OpenRouter, DeepSeek
      | tg-[A-Za-z0-9]{49}                                       # Tidegate
      | (?:gsk|hf|r8|nvapi|xai|pplx|csk|fw|tvly|key)[_-][A-Za-z0-9_-]{24,}
      | AIza[A-Za-z0-9_-]{35}                                    # Google
      | (?:AKIA|ASIA)[A-Z0-9]{16}                                # AWS
      | (?:gh[pousr]_[A-Za-z0-9]{36,} | github_pat_[A-Za-z0-9_]{22,} | glpat-[A-Za-z0-9_-]{20,})
      | xox[a-z]-[A-Za-z0-9-]{10,}                               # Slack
      | (?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}              # Stripe
      | eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*   # JWT
    )
    | \b(?i:bearer)\x20+[A-Za-z0-9._~+/-]{16,}=*
    | ://[^/\s:@]+:[^/\s@]+@
    | -----BEGIN\ [A-Z\x20]*PRIVATE\ KEY-----(?s:.*?)(?:-----END\ [A-Z\x20]*PRIVATE\ KEY-----|\z)
";

const EMAIL: &str = r"[\p{L}\p{N}._%+'-]+@(?:[\p{L}\p{N}-]+\.)+\p{L}[\p{L}\p{N}-]+";

/// Candidates: the check digits decide.
const IBAN: &str = r"\b[A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,3})?\b";

/// Candidates: groups of digits with at most one blank or dash in between. The check digit decides.
const CARD: &str = r"\b[0-9]+(?:[ -][0-9]+)*\b";

/// Digits of a card's number.
const CARD_LENGTHS: RangeInclusive<usize> = 13..=19;

/// Norway's are the shortest.
const LEAST_IBAN: usize = 15;

/// With a `+` in front: without it, any longer number could be one.
const PHONE: &str = r"\+[1-9][0-9]{0,2}(?:[ ./()-]{0,2}[0-9]){6,14}\b";

/// Why a rule cannot be applied.
#[derive(Debug, thiserror::Error)]
#[error("`{pattern}` under `ledger.bodies.redact` is not a regular expression that can be used")]
pub struct KeepError {
    /// As it was written.
    pub pattern: String,
    /// What is wrong with it.
    #[source]
    pub source: regex::Error,
}

/// What is looked for, in the order of the configuration.
#[derive(Debug)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    name: String,
    candidates: Regex,
    /// A shorter piece has nothing for it: most pieces of JSON are a few bytes, and a search costs more than they are worth.
    least_bytes: usize,
    /// Nor has one without this sign.
    needs: Option<u8>,
    check: Check,
}

/// Reports the parts of a candidate that are meant, and tells from where on to look for the next one. The whole text comes along for what
/// stands around it.
type Check = fn(&str, Range<usize>, &mut dyn FnMut(Range<usize>)) -> usize;

/// Something found: where, and by which rule.
struct Found {
    place: Range<usize>,
    rule: usize,
}

impl Rules {
    pub(super) fn compile(redactions: &[Redaction]) -> Result<Self, KeepError> {
        redactions.iter().map(Rule::compile).collect::<Result<_, _>>().map(Self)
    }

    /// The first `limit` bytes of a text with what was found replaced by its rule's name between these brackets. What begins there is
    /// replaced whole, although it may end behind.
    pub(super) fn replace<'t>(&self, text: &'t str, limit: usize, brackets: (&str, &str)) -> Cow<'t, str> {
        let mut end = limit.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let found = self.find(text, end);
        if found.is_empty() {
            return Cow::Borrowed(text.get(..end).unwrap_or_default());
        }
        let mut output = String::with_capacity(end);
        let mut copied = 0;
        for Found { place, rule } in found {
            let name = self.0.get(rule).map_or("", |rule| &rule.name);
            output.push_str(text.get(copied..place.start).unwrap_or_default());
            output.push_str(brackets.0);
            output.push_str(name);
            output.push_str(brackets.1);
            copied = place.end;
        }
        output.push_str(text.get(copied..end).unwrap_or_default());
        Cow::Owned(output)
    }

    /// What begins before `end`, in order, with what overlaps joined under the name of the first.
    fn find(&self, text: &str, end: usize) -> Vec<Found> {
        let mut found = Vec::new();
        for (rule, Rule { candidates, least_bytes, needs, check, .. }) in self.0.iter().enumerate() {
            let has_needed = needs.is_none_or(|sign| memchr::memchr(sign, text.as_bytes()).is_some());
            if text.len() < *least_bytes || !has_needed {
                continue;
            }
            let mut position = 0;
            while let Some(candidate) = candidates.find_at(text, position).filter(|found| found.start() < end)
            {
                let next = check(text, candidate.range(), &mut |place: Range<usize>| {
                    if place.start < end && !place.is_empty() {
                        found.push(Found { place, rule });
                    }
                });
                // Never back, and never on the spot.
                position = next.max(position + 1);
                while !text.is_char_boundary(position) {
                    position += 1;
                }
                if position >= end {
                    break;
                }
            }
        }
        found.sort_by_key(|found| (found.place.start, found.rule));
        let mut joined = Vec::<Found>::new();
        for next in found {
            match joined.last_mut() {
                Some(last) if next.place.start < last.place.end => {
                    last.place.end = last.place.end.max(next.place.end);
                }
                _ => joined.push(next),
            }
        }
        joined
    }
}

impl Rule {
    fn compile(redaction: &Redaction) -> Result<Self, KeepError> {
        let (pattern, least_bytes, needs, check): (&str, usize, Option<u8>, Check) = match redaction {
            Redaction::Secret => (SECRET, "://a:b@".len(), None, whole),
            Redaction::Email => (EMAIL, "a@b.cd".len(), Some(b'@'), whole),
            Redaction::Iban => (IBAN, LEAST_IBAN, None, ibans),
            Redaction::Card => (CARD, *CARD_LENGTHS.start(), None, cards),
            Redaction::Phone => (PHONE, "+1234567".len(), Some(b'+'), phones),
            Redaction::Pattern { pattern, .. } => (pattern, 1, None, whole),
        };
        let candidates = RegexBuilder::new(pattern)
            .size_limit(Redaction::LARGEST_COMPILED)
            .build()
            .map_err(|source| KeepError { pattern: pattern.to_owned(), source })?;
        Ok(Self { name: redaction.name().to_owned(), candidates, least_bytes, needs, check })
    }
}

fn whole(_text: &str, candidate: Range<usize>, found: &mut dyn FnMut(Range<usize>)) -> usize {
    let end = candidate.end;
    found(candidate);
    end
}

/// A `+` behind a letter or digit is a sign of arithmetic, or of base64.
fn phones(text: &str, candidate: Range<usize>, found: &mut dyn FnMut(Range<usize>)) -> usize {
    let end = candidate.end;
    let before = text.get(..candidate.start).and_then(|before| before.chars().next_back());
    if !before.is_some_and(char::is_alphanumeric) {
        found(candidate);
    }
    end
}

/// A word or number behind an account number looks like a part of it, so shorter and shorter parts are tried; one in front of it as well, so
/// the search goes on behind the first group of what is none.
fn ibans(text: &str, candidate: Range<usize>, found: &mut dyn FnMut(Range<usize>)) -> usize {
    let Some(mut written) = text.get(candidate.clone()) else { return candidate.end };
    let first_group = written.find([' ', '-']).map_or(candidate.end, |length| candidate.start + length);
    loop {
        if is_iban(written) {
            let end = candidate.start + written.len();
            found(candidate.start..end);
            return end;
        }
        let Some(shorter) = written.rfind([' ', '-']).and_then(|end| written.get(..end)) else {
            return first_group;
        };
        written = shorter;
    }
}

/// ISO 13616: the first four signs behind the others, letters as numbers from 10 on, leave 1 when divided by 97.
fn is_iban(written: &str) -> bool {
    let signs: Vec<u32> = written.chars().filter_map(|sign| sign.to_digit(36)).collect();
    if !(LEAST_IBAN..=34).contains(&signs.len()) {
        return false;
    }
    let (head, body) = signs.split_at(4);
    let rest = body.iter().chain(head).fold(0, |rest, sign| {
        let shift = if *sign < 10 { 10 } else { 100 };
        (rest * shift + sign) % 97
    });
    rest == 1
}

/// Cards among groups of digits: other numbers may stand in front of one and behind it.
fn cards(text: &str, candidate: Range<usize>, found: &mut dyn FnMut(Range<usize>)) -> usize {
    let Some(written) = text.get(candidate.clone()) else { return candidate.end };
    let mut groups = Vec::new();
    let mut place = 0;
    for group in written.split([' ', '-']) {
        groups.push(place..place + group.len());
        place += group.len() + 1;
    }
    let mut first = 0;
    while let Some(start) = groups.get(first) {
        let mut length = 0;
        let mut card = None;
        for (next, group) in groups.iter().enumerate().skip(first) {
            length += group.len();
            if length > *CARD_LENGTHS.end() {
                break;
            }
            let is_card =
                CARD_LENGTHS.contains(&length) && written.get(start.start..group.end).is_some_and(is_card);
            if is_card {
                card = Some((next, group.end));
            }
        }
        first = match card {
            Some((last, end)) => {
                found(candidate.start + start.start..candidate.start + end);
                last + 1
            }
            None => first + 1,
        };
    }
    candidate.end
}

/// Luhn's check digit, and a first digit that cards have.
fn is_card(written: &str) -> bool {
    let digits: Vec<u32> = written.chars().filter_map(|sign| sign.to_digit(10)).collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match place % 2 {
            0 => *digit,
            _ if *digit > 4 => digit * 2 - 9,
            _ => digit * 2,
        })
        .sum();
    digits.first().is_some_and(|first| (2..=6).contains(first)) && sum.is_multiple_of(10)
}
