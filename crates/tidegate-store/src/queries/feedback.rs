//! The table `feedback`: what callers said of answers.

use crate::{
    database::{Database, query},
    error::StoreError,
    experiments::{Feedback, RunScore},
    ledger::{CallId, Exposure},
};

/// So many scores of a run count, the latest: more say nothing more, and reading them would take long.
const MAX_SCORES: u32 = 100_000;
/// Scores are kept in millionths.
const WHOLE: f64 = 1_000_000.0;

/// Keeps it, in the place of what the same caller said of this call before.
pub(crate) async fn put(
    database: &Database,
    call: CallId,
    caller: &str,
    feedback: &Feedback,
    exposure: Option<&Exposure>,
) -> Result<(), StoreError> {
    let put = query(
        "INSERT INTO feedback \
         (call_id, started_at_ms, caller, at_ms, score, label, comment, experiment, run, arm, unit) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (call_id, caller) DO UPDATE SET \
         at_ms = excluded.at_ms, score = excluded.score, label = excluded.label, comment = excluded.comment",
    );
    let put = put
        .bind(call.uuid())
        .bind(call.started_at_ms())
        .bind(caller)
        .bind(feedback.at)
        .bind(feedback.score.map(in_millionths))
        .bind(feedback.label.as_deref().map(without_nul))
        .bind(feedback.comment.as_deref().map(without_nul))
        .bind(exposure.map(|it| it.experiment.as_str()))
        .bind(exposure.map(|it| it.run.as_str()))
        .bind(exposure.map(|it| it.arm.as_str()))
        .bind(exposure.and_then(|it| it.unit).map(u64::cast_signed));
    database.execute(put).await.map(drop)
}

/// What was said of a call, by whom.
pub(crate) async fn of_call(
    database: &Database,
    call: CallId,
) -> Result<Vec<(String, Feedback)>, StoreError> {
    let select =
        query("SELECT caller, at_ms, score, label, comment FROM feedback WHERE call_id = $1 ORDER BY caller");
    let rows = database.fetch_all(select.bind(call.uuid())).await?;
    rows.iter()
        .map(|row| {
            let feedback = Feedback {
                at: row.time("at_ms")?,
                score: row.optional_number::<u32>("score")?.map(from_millionths),
                label: row.get("label")?,
                comment: row.get("comment")?,
            };
            Ok((row.get("caller")?, feedback))
        })
        .collect()
}

/// The scores of a run's calls, in the order of the calls.
pub(crate) async fn of_run(
    database: &Database,
    experiment: &str,
    run: &str,
) -> Result<Vec<RunScore>, StoreError> {
    let select = query(
        "SELECT arm, unit, score FROM feedback \
         WHERE experiment = $1 AND run = $2 AND score IS NOT NULL AND arm IS NOT NULL \
         ORDER BY call_id DESC, caller LIMIT $3",
    );
    let rows = database.fetch_all(select.bind(experiment).bind(run).bind(MAX_SCORES)).await?;
    rows.iter()
        .rev()
        .map(|row| {
            Ok(RunScore {
                arm: row.get("arm")?,
                unit: row.get::<Option<i64>>("unit")?.map(i64::cast_unsigned),
                score: from_millionths(row.number("score")?),
            })
        })
        .collect()
}

#[expect(clippy::cast_possible_truncation, reason = "between 0 and a million")]
fn in_millionths(score: f64) -> i64 {
    (score.clamp(0.0, 1.0) * WHOLE).round() as i64
}

fn from_millionths(score: u32) -> f64 {
    f64::from(score) / WHOLE
}

/// PostgreSQL cannot store it.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{2400}")
}
