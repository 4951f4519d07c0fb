//! Refusals of permission on their way to the audit log: off the request path, through a bounded queue. Whoever floods
//! the gateway with calls it may not make can fill neither memory nor disk: equal refusals become one line, and what is
//! too much is counted and said in a line of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::operations::Event;
use crate::access::{Access, AccessError, Actor};

/// Refusals that wait to be gathered.
const QUEUE: usize = 1_024;
/// Refusals that come within this time after the first are written together.
const GATHERING: Duration = Duration::from_secs(1);
/// Different lines that are written at a time, and so in each second.
const MAX_LINES: usize = 20;

/// An act that was refused for want of permission.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RefusedAct {
    /// Whose.
    pub actor: Actor,
    /// What was asked: `POST /v1/chat/completions`, `key.create`.
    pub act: Arc<str>,
    /// Of what: a model, a key.
    pub object: Arc<str>,
    /// Why it was refused.
    pub reason: Arc<str>,
}

/// Writes refusals into the audit log. Cheap to clone; the last clone dropped, what was taken is written and it ends.
#[derive(Debug, Clone)]
pub struct AuditWriter {
    queue: mpsc::Sender<Message>,
    left_out: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Refused(RefusedAct),
    Flush(oneshot::Sender<()>),
}

impl AuditWriter {
    /// Starts it on the current runtime.
    pub fn start(access: Access) -> Self {
        let (queue, messages) = mpsc::channel(QUEUE);
        let left_out = Arc::new(AtomicU64::new(0));
        tokio::spawn(run(access, messages, Arc::clone(&left_out)));
        Self { queue, left_out }
    }

    /// Takes a refusal. Never waits; when the queue is full, it is only counted.
    pub fn record(&self, refused: RefusedAct) {
        if self.queue.try_send(Message::Refused(refused)).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything taken so far is written, or has failed to be.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            // The task ended: nothing is left to wait for.
            let _ = wait.await;
        }
    }
}

/// What was gathered: when each came first, and how often.
type Gathered = HashMap<RefusedAct, (Timestamp, u64)>;

async fn run(access: Access, mut messages: mpsc::Receiver<Message>, left_out: Arc<AtomicU64>) {
    while let Some(first) = messages.recv().await {
        let mut gathered = Gathered::new();
        let mut waiting = Vec::new();
        let until = Instant::now() + GATHERING;
        let mut message = Some(first);
        while let Some(next) = message.take() {
            match next {
                Message::Flush(done) => {
                    waiting.push(done);
                    break;
                }
                Message::Refused(refused) => gather(&mut gathered, refused, &left_out),
            }
            message = tokio::time::timeout_at(until, messages.recv()).await.ok().flatten();
        }
        let missing = left_out.swap(0, Ordering::Relaxed);
        let count = u64::try_from(gathered.len()).unwrap_or(u64::MAX);
        if let Err(error) = write(&access, gathered, missing).await {
            tracing::warn!(%error, lines = count, "refusals could not be written to the audit log; they are counted");
            left_out.fetch_add(missing.saturating_add(count), Ordering::Relaxed);
        }
        for done in waiting {
            // Who waited may have gone.
            let _ = done.send(());
        }
    }
}

fn gather(gathered: &mut Gathered, refused: RefusedAct, left_out: &AtomicU64) {
    if let Some((_, count)) = gathered.get_mut(&refused) {
        *count += 1;
    } else if gathered.len() < MAX_LINES {
        gathered.insert(refused, (Timestamp::now(), 1));
    } else {
        left_out.fetch_add(1, Ordering::Relaxed);
    }
}

async fn write(access: &Access, gathered: Gathered, missing: u64) -> Result<(), AccessError> {
    if gathered.is_empty() && missing == 0 {
        return Ok(());
    }
    let mut lines: Vec<_> = gathered.into_iter().collect();
    lines.sort_by_key(|(_, (at, _))| *at);
    access
        .write(&Actor::system(), async |writing| {
            for (refused, (at, count)) in lines {
                let event = Event {
                    action: "permission.refused".to_owned(),
                    object: refused.object.to_string(),
                    before: None,
                    after: Some(json!({"act": &*refused.act, "reason": &*refused.reason, "count": count})),
                };
                writing.append_as(&refused.actor, at, event).await?;
            }
            if missing > 0 {
                let event = Event {
                    action: "permission.left_out".to_owned(),
                    object: "audit".to_owned(),
                    before: None,
                    after: Some(
                        json!({"count": missing, "reason": "more refusals than are written one by one"}),
                    ),
                };
                writing.append(event).await?;
            }
            Ok(())
        })
        .await
}
