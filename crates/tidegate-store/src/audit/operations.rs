//! Adding a line, and listing lines.

use jiff::Timestamp;
use serde_json::Value;

use super::line::AuditLine;
use crate::access::{Access, Actor, Page};
use crate::credentials::MasterKey;
use crate::database::Transaction;
use crate::error::StoreError;
use crate::queries;

/// Lines on a page where nobody asked for a number.
const USUAL_PAGE: u32 = 50;
/// Lines on a page at most.
const LARGEST_PAGE: u32 = 1_000;
/// `before` and `after` are whole records; a longer one is cut to a note. The longest allowed permissions fit.
const MAX_STATE_BYTES: usize = 512 << 10;

/// What happened.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) action: String,
    pub(crate) object: String,
    pub(crate) before: Option<Value>,
    pub(crate) after: Option<Value>,
}

/// Where the chain ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuditHead {
    /// The number of the last line, and so of all lines.
    pub(crate) sequence: u64,
    /// Its hash.
    pub(crate) hash: [u8; 32],
    /// The line that was the last when the head was sealed.
    pub(crate) sealed_sequence: u64,
    /// The seal of that line's number and hash.
    pub(crate) seal: Option<Vec<u8>>,
}

/// Which lines are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditQuery {
    /// Only lines before this one: the cursor.
    pub before: Option<u64>,
    /// Only what this actor did.
    pub actor: Option<String>,
    /// Only this action.
    pub action: Option<String>,
    /// Only what was done to this: `key:key_…`.
    pub object: Option<String>,
    /// Only from then on.
    pub since: Option<Timestamp>,
    /// Only before then.
    pub until: Option<Timestamp>,
    /// At most so many; 0 stands for the usual number.
    pub limit: u32,
}

impl Access {
    /// Lines of the audit log, the newest first.
    pub async fn audit(&self, query: &AuditQuery) -> Result<Page<AuditLine, u64>, StoreError> {
        let limit = if query.limit == 0 { USUAL_PAGE } else { query.limit.min(LARGEST_PAGE) };
        let lines = queries::audit::list(&self.database, query, limit + 1).await?;
        Ok(Page::of(lines, limit, |last| last.sequence))
    }
}

/// Adds a line. The caller's transaction keeps others from adding one at the same time.
pub(crate) async fn append(
    transaction: &mut Transaction,
    actor: &Actor,
    at: Timestamp,
    event: Event,
    master_key: Option<&MasterKey>,
) -> Result<(), StoreError> {
    let head = match queries::audit::head(&mut *transaction).await? {
        Some(head) => head,
        None => end_without_head(transaction).await?,
    };
    let mut line = AuditLine {
        sequence: head.sequence + 1,
        at,
        actor: clean(&actor.name),
        address: actor.address.map(|address| address.to_canonical().to_string()),
        action: event.action,
        object: clean(&event.object),
        before: event.before.as_ref().map(state),
        after: event.after.as_ref().map(state),
        previous_hash: head.hash,
        hash: head.hash,
    };
    line.hash = line.computed_hash();
    queries::audit::add(&mut *transaction, &line).await?;
    let mut next = AuditHead { sequence: line.sequence, hash: line.hash, ..head };
    if let Some(master_key) = master_key {
        next.sealed_sequence = line.sequence;
        next.seal = Some(master_key.seal(&sealed_bytes(line.sequence, &line.hash)));
    }
    queries::audit::put_head(transaction, &next).await
}

/// Somebody removed the row that says where the chain ends. It is not made again, which would hide that; what is done now
/// is still written down.
async fn end_without_head(transaction: &mut Transaction) -> Result<AuditHead, StoreError> {
    let last = queries::audit::list(transaction, &AuditQuery::default(), 1).await?.pop();
    let (sequence, hash) = last.map_or((0, super::BEGINNING), |line| (line.sequence, line.hash));
    Ok(AuditHead { sequence, hash, sealed_sequence: 0, seal: None })
}

/// What the seal is made of.
pub(crate) fn sealed_bytes(sequence: u64, hash: &[u8; 32]) -> Vec<u8> {
    let mut bytes = sequence.to_be_bytes().to_vec();
    bytes.extend_from_slice(hash);
    bytes
}

fn state(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= MAX_STATE_BYTES {
        return text;
    }
    serde_json::json!({"left_out": format!("{} bytes", text.len())}).to_string()
}

/// Without NUL, which PostgreSQL does not take, and not longer than a line.
fn clean(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(1_000).collect()
}
