//! The thread that sends shadows and compares answers. It has a runtime and connections of its own, and the lowest priority
//! that the system knows: where callers need the processors, shadows wait.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tidegate_store::{Exposure, Hold, LedgerEntry, Outcome, Pair, Seat};
use tokio::sync::{mpsc, oneshot};

use super::likeness::likeness;
use super::queue::Waiting;
use super::run::{MaybeSeat, Results};
use crate::accept::Call;
use crate::attempt::{Answered, Means, Won, attempt};
use crate::gateway::Gateway;
use crate::plan::Plan;
use crate::relay::AnswerBody;
use crate::settle::Settlement;
use crate::upstream::UpstreamClient;

/// The arm of the candidate's answers.
const ARM: &str = "shadow";
/// Answers above this are not compared.
const MAX_ANSWER: usize = 1 << 20;
/// What is handed to the thread at once; `run` sees to it that there is no more.
const HANDED: usize = 64;
/// The lowest priority.
const NICE: i32 = 19;
/// Threads for what blocks: resolving names.
const BLOCKING_THREADS: usize = 2;

/// A shadow to be sent.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) waiting: Waiting,
    pub(super) seat: Seat,
    pub(super) hold: Option<Hold>,
}

/// A shadow that was sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) seat: MaybeSeat,
    pub(super) hold: Option<Hold>,
    pub(super) entry: LedgerEntry,
}

/// The thread, seen from `run`.
#[derive(Debug)]
pub(super) struct Courier(mpsc::Sender<Work>);

impl Courier {
    pub(super) fn start(gateway: Arc<Gateway>, results: Results) -> std::io::Result<Self> {
        let (sender, mut works) = mpsc::channel::<Work>(HANDED);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build()?;
        thread::Builder::new().name("tidegate-shadows".to_owned()).spawn(move || {
            // On Linux this is the priority of this thread alone. Where it cannot be had, shadows run like all else.
            if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                tracing::debug!(%error, "the thread for shadows keeps its priority");
            }
            runtime.block_on(async move {
                let upstream = UpstreamClient::new();
                while let Some(work) = works.recv().await {
                    let (gateway, upstream, results) =
                        (Arc::clone(&gateway), upstream.clone(), results.clone());
                    tokio::spawn(async move {
                        let sending = tokio::spawn(async move { send(&gateway, &upstream, work).await });
                        // A defect in one must not take a place for ever. The other end goes when the process ends.
                        let _ = results.send(sending.await.ok().flatten()).await;
                    });
                }
            });
            // A name that is being looked up is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self(sender))
    }

    /// Hands over a shadow. False where the thread is gone.
    pub(super) fn hand_over(&self, work: Work) -> bool {
        self.0.try_send(work).is_ok()
    }
}

/// Sends a shadow, and compares its answer with the caller's.
async fn send(gateway: &Arc<Gateway>, upstream: &UpstreamClient, work: Work) -> Option<Sent> {
    let Work { waiting, seat, hold } = work;
    let Waiting { shadow, mut call, of, control, answer, .. } = waiting;
    call.at = Instant::now();
    let snapshot = gateway.snapshot();
    let (observer, settled) = oneshot::channel();
    let mut settlement = Settlement::open_shadow(gateway, &snapshot, &call, seat, observer);
    settlement.exposed(Exposure {
        experiment: shadow.name.clone(),
        run: shadow.run.clone(),
        arm: ARM.into(),
        unit: None,
        pair: None,
        left_out: None,
    });
    let shadowed = ask(gateway, upstream, &shadow.planned, &call, settlement).await;
    let (seat, mut entry) = settled.await.ok()?;
    // What broke off is no answer, and its beginning says nothing about the rest.
    let shadowed = shadowed.filter(|_| entry.outcome == Outcome::Answered);
    let likeness = match (&answer, &shadowed) {
        (Some(answer), Some(shadowed)) => likeness(&call, answer, shadowed),
        _ => None,
    };
    if let Some(exposure) = &mut entry.exposure {
        exposure.pair = Some(Pair { of, control, likeness });
    }
    Some(Sent { seat, hold, entry })
}

/// Asks the candidate, once. Its answer in the caller's dialect, where there is one; the settlement is dropped in any case.
async fn ask(
    gateway: &Arc<Gateway>,
    upstream: &UpstreamClient,
    planned: &crate::plan::Planned,
    call: &Call,
    mut settlement: Settlement,
) -> Option<Bytes> {
    let mut plan = Plan::of_one(planned.for_caller(call.dialect), call.at + planned.timeouts.total);
    let won = attempt(Means { gateway, upstream }, call, &mut plan, &mut settlement).await;
    let (Won { losses, answer, .. }, _course) = match won {
        Ok(won) => won,
        Err(error) => {
            match error.failure {
                Some(kind) => settlement.failed(kind, error.status),
                None => settlement.refused(error.status),
            }
            settlement.said(|| error.message.clone().into());
            return None;
        }
    };
    settlement.dropped(&losses);
    settlement.first_token();
    match answer {
        Answered::Whole(whole) => {
            settlement.used(whole.consumed);
            settlement.sent(whole.body.len());
            settlement.said(|| whole.body.clone());
            settlement.answered(whole.finish);
            (whole.body.len() <= MAX_ANSWER).then_some(whole.body)
        }
        Answered::Stream(mut relay) => {
            settlement.began_answer(200);
            relay.settle_with(settlement);
            read(AnswerBody::stream(relay)).await
        }
    }
}

/// Reads a stream to its end, whether or not it can be compared: it is paid for.
async fn read(mut body: AnswerBody) -> Option<Bytes> {
    let mut gathered = Some(Vec::new());
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        if let Some(pieces) = &mut gathered {
            if pieces.len() + data.len() > MAX_ANSWER {
                gathered = None;
            } else {
                pieces.extend_from_slice(&data);
            }
        }
    }
    gathered.map(Bytes::from)
}
