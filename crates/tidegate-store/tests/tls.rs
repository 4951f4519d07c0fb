//! TLS to PostgreSQL and to Redis, with certificates of a private authority: who is trusted is let through, who is not is
//! refused, and it is said why and what to do.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::error::Error as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidegate_catalog::NanoDollars;
use tidegate_policy::{Amounts, Budget, BudgetKind, BudgetPeriod, Limits};
use tidegate_store::{
    CallId, Level, Limiter, Refused, Scope, SharedError, SharedOptions, Store, StoreError, StoreOptions,
    Unreachable,
};
use tidegate_testkit::servers::{PostgresServer, RedisServer, another_authority};

fn place(directory: &Path, url: &str) -> StoreOptions {
    StoreOptions { data: directory.to_owned(), database: Some(url.parse().unwrap()) }
}

#[tokio::test]
async fn postgresql_is_spoken_to_under_tls_and_only_where_its_certificate_is_trusted() {
    let server = PostgresServer::private_with_tls();
    let database = server.database();
    let directory = tempfile::tempdir().unwrap();
    let at =
        |host: &str, parameters: &str| format!("{}?{parameters}", database.url().replace("127.0.0.1", host));
    let authority = server.authority().display().to_string();
    for host in ["127.0.0.1", "localhost"] {
        let url = at(host, &format!("sslmode=verify-full&sslrootcert={authority}"));
        let store = Store::open(place(directory.path(), &url)).await.unwrap();
        // Leaves a connection in the pool.
        store.access().latest_change().await.unwrap();
        let encrypted = database.sql(
            "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
             WHERE application_name = 'tidegate'",
        );
        assert_eq!(encrypted, "t", "{host}");
        store.close().await;
    }
    let elsewhere = another_authority(directory.path()).display().to_string();
    for parameters in [
        "sslmode=verify-full".to_owned(),
        format!("sslmode=verify-full&sslrootcert={elsewhere}"),
        format!("sslmode=verify-ca&sslrootcert={elsewhere}"),
    ] {
        let error = Store::open(place(directory.path(), &at("127.0.0.1", &parameters))).await.unwrap_err();
        assert!(matches!(error, StoreError::Untrusted { .. }), "{parameters}: {error:?}");
        assert!(error.to_string().contains("certificate"), "{error}");
        assert!(error.remedy().contains("sslrootcert"), "{}", error.remedy());
        let words = format!("{error} {}", error.source().unwrap());
        assert!(!words.contains("low-tide"), "{words}");
    }
}

fn level() -> Level {
    let budget = Budget { usd: NanoDollars(1_000), per: BudgetPeriod::Day, kind: BudgetKind::Hard };
    let limits = Limits { budgets: vec![budget], ..Limits::default() };
    Level::new(Scope::Key("key_1".into()), Arc::new(limits))
}

async fn take(limiter: &Limiter) -> Result<(), Refused> {
    let amounts = Amounts { tokens: 0, cost: NanoDollars(1) };
    limiter.reserve(CallId::now(), &[level()], amounts).await.map(drop)
}

fn options(server: &RedisServer, parameters: &str) -> SharedOptions {
    let url = format!("rediss://127.0.0.1:{}{parameters}", server.port());
    SharedOptions {
        unreachable: Unreachable::Deny,
        patience: Duration::from_secs(20),
        ..SharedOptions::new(url, "one")
    }
}

/// What is logged while a test runs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn redis_is_spoken_to_under_tls_and_only_where_its_certificate_is_trusted() {
    let log = Log::default();
    let writer = log.clone();
    let logging = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    let _logging = tracing::subscriber::set_default(logging);
    let server = RedisServer::private_with_tls();
    let directory = tempfile::tempdir().unwrap();
    let trusted = format!("?sslrootcert={}", server.authority().display());
    let limiter = Limiter::shared(options(&server, &trusted)).await.unwrap();
    until("it counts in Redis", async || take(&limiter).await.is_ok()).await;

    let elsewhere = another_authority(directory.path());
    for parameters in [String::new(), format!("?sslrootcert={}", elsewhere.display())] {
        log.0.lock().unwrap().clear();
        let limiter = Limiter::shared(options(&server, &parameters)).await.unwrap();
        let said = || String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
        until("it is said why", async || said().contains("sslrootcert")).await;
        assert!(said().contains("certificate"), "{}", said());
        let refused = take(&limiter).await.unwrap_err();
        assert!(matches!(refused, Refused::Unavailable { .. }), "{refused:?}");
    }
    let missing = Limiter::shared(options(&server, "?sslrootcert=/no/such/ca.pem")).await.unwrap_err();
    assert!(matches!(missing, SharedError::Roots { .. }), "{missing:?}");
}

async fn until(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_true().await {
        assert!(started.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
