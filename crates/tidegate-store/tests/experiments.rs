//! What lasts of experiments: sums follow the ledger exactly, shadows belong to nobody, what was said last counts, and of two
//! decisions at once one is made.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod common;

use std::time::Duration;

use common::{Place, answered, on_both};
use jiff::Timestamp;
use tidegate_catalog::NanoDollars;
use tidegate_policy::experiments::{Likeness, Metric, Seen};
use tidegate_store::{
    Actor, CallId, Decision, Exposure, Feedback, GroupBy, LedgerEntry, LedgerOptions, Outcome, Pair, SHADOW,
    Scope, Store, UsageFilter, UsageQuery,
};

fn exposed(arm: &'static str, run: &'static str) -> LedgerEntry {
    let exposure = Exposure {
        experiment: "greeting".into(),
        run: run.into(),
        arm: arm.into(),
        unit: Some(7),
        pair: None,
        left_out: None,
    };
    LedgerEntry { exposure: Some(Box::new(exposure)), ..answered(CallId::now()) }
}

/// The shadow of a call, which answered so much like it.
fn shadow(of: CallId, similarity: f64) -> LedgerEntry {
    let likeness = Likeness { similarity, tool_names: Some(true), ..Likeness::default() };
    let control = Seen { cost_nanodollars: Some(1_000), latency_us: Some(5_000), ..Seen::default() };
    let pair = Some(Pair { of, control, likeness: Some(likeness) });
    let exposure = Exposure {
        experiment: "cheaper".into(),
        run: "1".into(),
        arm: "shadow".into(),
        unit: None,
        pair,
        left_out: None,
    };
    LedgerEntry {
        key_id: None,
        team_id: None,
        organization_id: None,
        operation: SHADOW.into(),
        tags: tidegate_store::Tags::default(),
        exposure: Some(Box::new(exposure)),
        ..answered(CallId::now())
    }
}

async fn write(store: &Store, entries: &[LedgerEntry]) {
    let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
    for entry in entries {
        ledger.reserve().unwrap().record(entry.clone());
    }
    assert!(ledger.close(Duration::from_secs(30)).await.is_complete());
}

fn said(score: Option<f64>, label: &str) -> Feedback {
    let at = Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap();
    Feedback { at, score, label: Some(label.to_owned()), comment: None }
}

on_both! {
    async fn sums_are_those_of_the_calls_over_restarts_and_by_run(place: &Place) {
        let store = place.open().await;
        let failed = LedgerEntry { outcome: Outcome::Failed, cost_nanodollars: None, ..exposed("haiku", "1") };
        let cancelled = LedgerEntry { outcome: Outcome::Cancelled, ..exposed("haiku", "1") };
        write(&store, &[exposed("control", "1"), exposed("haiku", "1"), failed, cancelled]).await;
        let calls = [exposed("haiku", "1"), exposed("haiku", "2"), answered(CallId::now())];
        write(&store, &calls).await;
        let sums = store.access().experiment_sums("greeting", "1").await.unwrap();
        let haiku = &sums.arms["haiku"];
        assert_eq!((sums.arms["control"].calls(), haiku.calls()), (1, 3), "who hung up says nothing");
        assert_eq!(haiku.of(Metric::Errors).mean(), Some(1.0 / 3.0));
        assert_eq!(haiku.of(Metric::Cost).count(), 2);
        assert!((haiku.of(Metric::Latency).mean().unwrap() - 812.345).abs() < 1e-9, "an answered call's");
        assert_eq!(store.access().experiment_sums("greeting", "2").await.unwrap().arms["haiku"].calls(), 1);
        let found = store.call(calls[0].id).await.unwrap().unwrap();
        assert_eq!(found.exposure, calls[0].exposure);
    }

    async fn who_takes_no_part_is_counted_by_the_reason_and_in_no_arm(place: &Place) {
        let store = place.open().await;
        let left_out = |reason: &'static str| {
            let mut entry = exposed("", "1");
            entry.exposure.as_mut().unwrap().left_out = Some(reason.into());
            entry
        };
        let refused = LedgerEntry { outcome: Outcome::Refused, ..left_out("requirement") };
        let calls = [left_out("requirement"), exposed("haiku", "1"), refused, left_out("permission")];
        write(&store, &calls).await;
        // After a start they are another journal's.
        write(&store, &[left_out("requirement")]).await;
        let access = store.access();
        access.leave_feedback(calls[0].id, "key_1", &said(Some(1.0), ""), calls[0].exposure.as_deref()).await.unwrap();
        let sums = access.experiment_sums("greeting", "1").await.unwrap();
        let reasons: Vec<_> = sums.left_out.iter().map(|(reason, calls)| (reason.as_str(), *calls)).collect();
        assert_eq!(reasons, [("permission", 1), ("requirement", 2)]);
        assert_eq!(sums.arms.keys().collect::<Vec<_>>(), ["haiku"]);
        let found = store.call(calls[0].id).await.unwrap().unwrap();
        assert_eq!(found.exposure, calls[0].exposure);
    }

    async fn shadows_are_compared_and_stand_in_no_report_but_their_own(place: &Place) {
        let store = place.open().await;
        let call = answered(CallId::now());
        let shadows: Vec<LedgerEntry> = (0..12).map(|number| shadow(call.id, f64::from(number) / 12.0)).collect();
        let mut entries = vec![call.clone()];
        entries.extend(shadows.clone());
        write(&store, &entries).await;
        let sums = store.access().experiment_sums("cheaper", "1").await.unwrap();
        assert_eq!((sums.arms["control"].calls(), sums.arms["shadow"].calls()), (12, 12));
        assert_eq!(sums.arms["control"].of(Metric::Cost).mean(), Some(1_000.0));
        assert_eq!((sums.pairs.compared, sums.pairs.same_tools), (12, 12));
        assert_eq!(sums.examples.len(), 10);
        assert_eq!((sums.examples[0].call, sums.examples[0].shadow), (call.id, shadows[0].id));
        let since = Timestamp::now() - jiff::SignedDuration::from_mins(5);
        for query in [
            UsageQuery::by(GroupBy::Model),
            UsageQuery::by(GroupBy::Key),
            UsageQuery::by(GroupBy::Outcome),
            UsageQuery::by(GroupBy::Model).since(since),
        ] {
            let rows = store.usage(&query).await.unwrap();
            assert_eq!(rows.iter().map(|row| row.calls).sum::<u64>(), 1, "{query:?}");
        }
        for by in [GroupBy::All, GroupBy::Target] {
            let filter = UsageFilter { shadows_of: Some("cheaper".into()), ..UsageFilter::default() };
            let rows = store.usage(&UsageQuery { filter, ..UsageQuery::by(by) }).await.unwrap();
            assert_eq!(rows.iter().map(|row| row.calls).collect::<Vec<_>>(), [12]);
        }
        let scope = Scope::Experiment("cheaper".into());
        let spent = store.spending_of(&scope, Timestamp::now()).await.unwrap();
        assert_eq!(spent.day, NanoDollars(12 * 334_000), "what its budget has to know after a restart");
    }

    async fn what_a_caller_said_last_counts(place: &Place) {
        let store = place.open().await;
        let access = store.access();
        let call = exposed("haiku", "1");
        write(&store, std::slice::from_ref(&call)).await;
        let exposure = call.exposure.as_deref();
        for (caller, score, label) in [("key_1", Some(0.0), "bad"), ("key_2", None, "odd"), ("key_1", Some(0.75), "fine")]
        {
            access.leave_feedback(call.id, caller, &said(score, label), exposure).await.unwrap();
        }
        access.leave_feedback(CallId::now(), "key_1", &said(Some(1.0), "no experiment"), None).await.unwrap();
        let found = access.feedback(call.id).await.unwrap();
        let found: Vec<_> = found.iter().map(|(caller, it)| (caller.as_str(), it.score, it.label.as_deref())).collect();
        assert_eq!(found, [("key_1", Some(0.75), Some("fine")), ("key_2", None, Some("odd"))]);
        let sums = access.experiment_sums("greeting", "1").await.unwrap();
        let feedback = sums.arms["haiku"].of(Metric::Feedback);
        assert_eq!((feedback.count(), feedback.mean()), (1, Some(0.75)));
    }

    async fn of_two_decisions_on_the_same_state_one_is_made_and_written_down(place: &Place) {
        let access = place.open().await.access();
        let decision = |version, state: &str| Decision {
            experiment: "next",
            run: "1",
            version,
            state: state.to_owned(),
            action: "experiment.step",
            before: None,
            after: Some(serde_json::json!({"step": state})),
        };
        let system = Actor::system();
        assert!(access.decide_experiment(&decision(0, "1"), &system).await.unwrap());
        let (one, other) = (decision(1, "2"), decision(1, "3"));
        let (one, other) =
            tokio::join!(access.decide_experiment(&one, &system), access.decide_experiment(&other, &system));
        assert_eq!(u8::from(one.unwrap()) + u8::from(other.unwrap()), 1);
        let states = access.experiment_states().await.unwrap();
        assert_eq!((states.len(), states[0].version), (1, 2));
        let lines = access.audit(&tidegate_store::AuditQuery::default()).await.unwrap().items;
        let objects: Vec<&str> = lines.iter().map(|line| line.object.as_str()).collect();
        assert_eq!(objects, ["experiment:next"; 2]);
    }
}
