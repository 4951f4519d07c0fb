//! What was recorded survives `kill -9` from the moment on in which recording has returned, and nothing stands in the
//! ledger twice.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may fail loudly; the child speaks to its parent"
)]

mod common;

use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use common::answered;
use tidegate_store::{CallId, CallsQuery, LedgerOptions, Store};

const DIRECTORY_VARIABLE: &str = "TIDEGATE_TEST_CRASH_DIRECTORY";
const ROUNDS: usize = 8;
/// The most entries between two confirmations.
const BURST: usize = 200;

/// Not a test of its own: the process that is killed. Writes as fast as it can and says what was confirmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_writes_until_it_is_killed() {
    let Ok(directory) = std::env::var(DIRECTORY_VARIABLE) else { return };
    let store = Store::open(Path::new(&directory)).await.unwrap();
    let options = LedgerOptions { batch_window: Duration::from_millis(1), ..LedgerOptions::default() };
    let ledger = store.ledger(options).await.unwrap();
    // Bounded, should the parent die before it kills.
    for _ in 0..100_000 {
        let ids: Vec<CallId> = (0..fastrand::usize(1..BURST)).map(|_| CallId::now()).collect();
        for id in &ids {
            ledger.reserve().unwrap().record(answered(*id));
        }
        // No flush: that they are recorded is enough.
        let lines: Vec<String> = ids.iter().map(|id| format!("confirmed {id}\n")).collect();
        let mut output = std::io::stdout().lock();
        output.write_all(lines.concat().as_bytes()).unwrap();
        output.flush().unwrap();
    }
    println!("never killed");
}

#[tokio::test]
async fn what_was_confirmed_is_there_once_after_the_process_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let mut confirmed = HashSet::new();
    let mut unconfirmed = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_writes_until_it_is_killed", "--nocapture"])
            .env(DIRECTORY_VARIABLE, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let enough = confirmed.len() + fastrand::usize(200..1_500);
        let mut killed = false;
        // After the kill, what the child had said before is still read to its end.
        for line in lines {
            let line = line.unwrap();
            assert!(!line.contains("never killed"));
            let Some((_, id)) = line.split_once("confirmed ") else { continue };
            // The last line may be cut.
            let Ok(id) = id.parse::<CallId>() else { continue };
            assert!(confirmed.insert(id), "an id was given twice");
            if confirmed.len() > enough && !killed {
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        assert!(killed, "round {round}: the child ended by itself");

        let store = Store::open(directory.path()).await.unwrap();
        let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
        let report = ledger.close(Duration::from_secs(20)).await;
        assert!(report.is_complete() && report.waiting == 0, "{report:?}");
        let calls = store.calls(&CallsQuery::latest(u32::MAX)).await.unwrap();
        let found: HashSet<CallId> = calls.iter().map(|entry| entry.id).collect();
        assert_eq!(found.len(), calls.len(), "round {round}: an entry stands there twice");
        let missing = confirmed.difference(&found).count();
        assert_eq!(missing, 0, "round {round}: of {} confirmed", confirmed.len());
        unconfirmed += BURST;
        assert!(found.len() <= confirmed.len() + unconfirmed, "round {round}: entries that nobody recorded");
        store.close().await;
    }
}
