//! What was carried and what was lost, as a text that a reviewer can read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tidegate_wire::Dialect;

use crate::corpus::{Answer, Corpus};
use crate::reasons::{self, Fate};

/// What is carried from one dialect to another and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Direction {
    pub(crate) kind: &'static str,
    pub(crate) from: Dialect,
    pub(crate) to: Dialect,
}

/// One thing lost.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Loss {
    /// What, in general: `tools.strict`, `tool call.signature`.
    pub(crate) thing: String,
    /// What it was here, briefly.
    pub(crate) detail: String,
}

#[derive(Default)]
struct Tally {
    carried: usize,
    whole: usize,
    /// By thing and reason, then by exchange.
    losses: BTreeMap<(String, &'static str), BTreeMap<String, Vec<String>>>,
    /// What the other dialect demands, and what is no part of the conversation: how often.
    counted: BTreeMap<(String, &'static str), usize>,
}

pub(crate) struct Report {
    head: String,
    left_out: Vec<String>,
    tallies: BTreeMap<Direction, Tally>,
    unexplained: Vec<String>,
}

impl Report {
    pub(crate) fn new(corpus: &Corpus) -> Self {
        let count = |wanted: fn(&Answer) -> bool| {
            corpus.exchanges.iter().filter(|exchange| wanted(&exchange.answer)).count()
        };
        let requests = corpus.exchanges.iter().filter(|exchange| exchange.request.is_some()).count();
        let head = format!(
            "{} exchanges: {requests} requests, {} whole answers, {} streams, {} refusals.\n\
             {} files are in other dialects, or no conversations, and left out.\n",
            corpus.exchanges.len(),
            count(|answer| matches!(answer, Answer::Whole(_))),
            count(|answer| matches!(answer, Answer::Stream(_))),
            count(|answer| matches!(answer, Answer::Refused(..))),
            corpus.left_out.len(),
        );
        let left_out = corpus.left_out.clone();
        Self { head, left_out, tallies: BTreeMap::new(), unexplained: Vec::new() }
    }

    /// Takes note of one exchange carried there and back.
    pub(crate) fn carried(&mut self, direction: Direction, exchange: &str, losses: Vec<Loss>) {
        let mut is_whole = true;
        for loss in losses {
            let Some(rule) = reasons::of(direction, &loss.thing) else {
                let Direction { kind, from, to } = direction;
                self.unexplained
                    .push(format!("{kind} {from} → {to}: {} {exchange}: {}", loss.thing, loss.detail));
                continue;
            };
            let loss = without_name(loss);
            let tally = self.tallies.entry(direction).or_default();
            if matches!(rule.fate, Fate::Added | Fate::Own) {
                *tally.counted.entry((loss.thing, rule.reason)).or_default() += 1;
                continue;
            }
            is_whole = false;
            let key = (loss.thing, rule.reason);
            tally.losses.entry(key).or_default().entry(exchange.to_owned()).or_default().push(loss.detail);
        }
        let tally = self.tallies.entry(direction).or_default();
        tally.carried += 1;
        tally.whole += usize::from(is_whole);
    }

    /// Something that must not happen, reason or not.
    pub(crate) fn fail(&mut self, what: String) {
        self.unexplained.push(what);
    }

    /// Holds the losses against the committed snapshot.
    pub(crate) fn check(self) {
        assert!(
            self.unexplained.is_empty(),
            "{} losses have no reason:\n{}",
            self.unexplained.len(),
            self.unexplained.join("\n")
        );
        let mut text = self.head.clone();
        let directions = self.tallies.len();
        let carried: usize = self.tallies.values().map(|tally| tally.carried).sum();
        let whole: usize = self.tallies.values().map(|tally| tally.whole).sum();
        writeln!(
            text,
            "{directions} directions, {carried} ways there and back: {whole} kept whole, {} with losses.\n",
            carried - whole
        )
        .unwrap();
        for (direction, tally) in &self.tallies {
            let Direction { kind, from, to } = direction;
            let lossy = tally.carried - tally.whole;
            writeln!(text, "{kind} {from} → {to}: {} kept whole, {lossy} with losses", tally.whole).unwrap();
        }
        for (direction, tally) in &self.tallies {
            let Direction { kind, from, to } = direction;
            writeln!(text, "\n== {kind} {from} → {to}").unwrap();
            for ((thing, reason), count) in &tally.counted {
                writeln!(text, "({count} times) {thing}: {reason}").unwrap();
            }
            for ((thing, reason), exchanges) in &tally.losses {
                writeln!(text, "{thing}: {reason}").unwrap();
                for (exchange, details) in exchanges {
                    let mut details = details.clone();
                    details.dedup();
                    let details = details.join("; ");
                    let separator = if details.is_empty() { "" } else { " " };
                    writeln!(text, "    {exchange}{separator}{details}").unwrap();
                }
            }
        }
        writeln!(text, "\n== Left out, since it is in another dialect or no conversation").unwrap();
        for file in &self.left_out {
            writeln!(text, "    {file}").unwrap();
        }
        insta::with_settings!({
            snapshot_path => ".",
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!("losses", text);
        });
    }
}

/// A tool's name is a detail: `tools.f.strict` is `tools.*.strict` of `f`.
fn without_name(loss: Loss) -> Loss {
    let Loss { thing, detail } = loss;
    let Some((before, name, field)) = thing.split_once("tools.").and_then(|(before, rest)| {
        let (name, field) = rest.split_once('.').filter(|_| !rest.starts_with('{'))?;
        Some((before, name, field))
    }) else {
        let thing = if thing.contains("tools.{") { "tools".to_owned() } else { thing };
        return Loss { thing, detail };
    };
    Loss { thing: format!("{before}tools.*.{field}"), detail: format!("{name}: {detail}") }
}
