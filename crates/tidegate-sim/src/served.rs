//! What was served: one line a call, and sums. Read in process ([`crate::RunningSim`]) and over `GET /sim/served` and
//! `GET /sim/totals`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::answer::Tokens;
use tidegate_wire::Dialect;

/// So many lines are kept; older ones fall out (the sums keep counting them).
const MOST_LINES: usize = 20_000;
/// So many models have sums of their own; what comes later is counted under [`OTHER_MODELS`].
const MOST_MODELS: usize = 2_000;
const OTHER_MODELS: &str = "(other models)";

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The whole answer was written.
    Answered,
    /// An error was answered, in place of an answer or in band.
    Failed,
    /// The simulator broke the answer off or damaged it, as asked.
    Cut,
    /// The caller hung up before the end.
    HungUp,
}

/// One call.
#[derive(Debug, Clone, Serialize)]
pub struct Served {
    /// Counts from 1.
    pub sequence: u64,
    /// The dialect it was asked in.
    pub dialect: Dialect,
    /// The model, as asked for.
    pub model: String,
    /// Streamed or whole.
    pub streamed: bool,
    /// The HTTP status; 0 where none was sent.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Milliseconds since the simulator's start when the request was complete.
    pub at_ms: u64,
    /// How long it took until the last byte was handed over.
    pub duration_ms: u64,
    /// Tokens of the request; 0 for calls that failed before an answer.
    pub input_tokens: u64,
    /// Of these: read from a prompt cache.
    pub cached_tokens: u64,
    /// Of these: written to a prompt cache.
    pub cache_written_tokens: u64,
    /// Tokens of the answer that were written, reasoning included: of an answered call all, of a cut or hung-up one
    /// those that had been handed to the connection.
    pub output_tokens: u64,
    /// Of the answer's tokens: reasoning.
    pub reasoning_tokens: u64,
    /// A checksum of the request's body ([`crate::checksum`]).
    pub request: String,
}

/// Sums over calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TotalsOf {
    /// Calls that asked for an answer.
    pub attempts: u64,
    /// … and got it whole.
    pub answered: u64,
    /// … and got an error.
    pub failed: u64,
    /// … and got a broken answer.
    pub cut: u64,
    /// … and hung up.
    pub hung_up: u64,
    /// Tokens of requests that got at least the beginning of an answer.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
}

/// All sums.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Totals {
    /// Every HTTP request, also for models, token counts and unknown paths; not those to `/sim`.
    pub requests: u64,
    /// Calls that are under way.
    pub open: u64,
    /// Over everything that ended.
    pub all: TotalsOf,
    /// By dialect.
    pub by_dialect: BTreeMap<String, TotalsOf>,
    /// By model.
    pub by_model: BTreeMap<String, TotalsOf>,
}

/// The book. One lock, held for a few additions at a time.
#[derive(Debug)]
pub(crate) struct Ledger {
    started: Instant,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    sequence: u64,
    lines: VecDeque<Served>,
    totals: Totals,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), book: Mutex::default() }
    }

    pub(crate) fn count_request(&self) {
        self.book().totals.requests += 1;
    }

    pub(crate) fn open(&self) {
        self.book().totals.open += 1;
    }

    pub(crate) fn close(&self, ended: Ended) {
        let now = Instant::now();
        let mut book = self.book();
        book.sequence += 1;
        let served = Served {
            sequence: book.sequence,
            dialect: ended.dialect,
            model: ended.model,
            streamed: ended.streamed,
            status: ended.status,
            outcome: ended.outcome,
            at_ms: milliseconds(ended.began.saturating_duration_since(self.started)),
            duration_ms: milliseconds(now.saturating_duration_since(ended.began)),
            input_tokens: ended.usage.input,
            cached_tokens: ended.usage.cached,
            cache_written_tokens: ended.usage.cache_written,
            output_tokens: ended.written,
            reasoning_tokens: ended.usage.reasoning.min(ended.written),
            request: ended.request,
        };
        book.totals.open = book.totals.open.saturating_sub(1);
        book.totals.all.add(&served);
        let by_dialect = book.totals.by_dialect.entry(served.dialect.as_str().to_owned()).or_default();
        by_dialect.add(&served);
        let known = book.totals.by_model.contains_key(&served.model);
        let model = if known || book.totals.by_model.len() < MOST_MODELS {
            served.model.as_str()
        } else {
            OTHER_MODELS
        };
        book.totals.by_model.entry(model.to_owned()).or_default().add(&served);
        if book.lines.len() >= MOST_LINES {
            book.lines.pop_front();
        }
        book.lines.push_back(served);
    }

    pub(crate) fn served(&self) -> Vec<Served> {
        self.book().lines.iter().cloned().collect()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.book().totals.clone()
    }

    /// Forgets everything but the calls that are under way.
    pub(crate) fn reset(&self) {
        let mut book = self.book();
        let open = book.totals.open;
        *book = Book { totals: Totals { open, ..Totals::default() }, ..Book::default() };
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Sums stay sums: a thread that died over them left at worst one addition out.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the ledger is told at the end of a call.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) dialect: Dialect,
    pub(crate) model: String,
    pub(crate) streamed: bool,
    pub(crate) status: u16,
    pub(crate) outcome: Outcome,
    pub(crate) began: Instant,
    pub(crate) usage: Tokens,
    pub(crate) written: u64,
    pub(crate) request: String,
}

impl TotalsOf {
    fn add(&mut self, served: &Served) {
        self.attempts += 1;
        match served.outcome {
            Outcome::Answered => self.answered += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Cut => self.cut += 1,
            Outcome::HungUp => self.hung_up += 1,
        }
        self.input_tokens += served.input_tokens;
        self.output_tokens += served.output_tokens;
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
