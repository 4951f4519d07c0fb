//! Recorded traffic with real providers, proved against this crate: every request and answer, whole and streamed, parses,
//! passes through its own dialect unchanged, and keeps what it says when translated to each other dialect and back. What
//! cannot be kept is listed in `losses.snap`, one by one and with the reason.
//!
//! The judge is independent: `naive` reads the recorded JSON without anything of the crate. The recordings lie beside
//! the project; without them nothing is tested here, and the output says so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly, and says when it is skipped"
)]

mod answers;
mod compare;
mod corpus;
mod naive;
mod naive_anthropic;
mod naive_gemini;
mod naive_openai;
mod naive_openai_stream;
mod next_turn;
mod pass_through;
mod reasons;
mod report;
mod requests;
mod rules_of_answers;
mod rules_of_requests;

use report::Report;

#[test]
fn everything_recorded_passes_through_its_own_dialect_unchanged() {
    let Some(corpus) = corpus::read() else { return };
    for exchange in &corpus.exchanges {
        pass_through::check(exchange);
    }
}

#[test]
fn everything_recorded_survives_translation_or_is_listed_with_the_reason() {
    let Some(corpus) = corpus::read() else { return };
    let mut report = Report::new(&corpus);
    for exchange in &corpus.exchanges {
        requests::check(exchange, &mut report);
        answers::check(exchange, &mut report);
        next_turn::check(exchange, &mut report);
    }
    report.check();
}
