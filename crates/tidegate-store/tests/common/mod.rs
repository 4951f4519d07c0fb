//! What the store's tests share: entries as the gateway makes them, and places for a store on either database.

#![allow(dead_code, unused_macros, unused_imports, reason = "not every file of tests uses all of it")]

use tidegate_store::{Attempt, CallId, LedgerEntry, Outcome, Store, StoreOptions, Tags};
use tidegate_testkit::servers::{TestDatabase, postgres};
use tidegate_wire::Usage;

/// A call that was answered, with something in every field that such a call fills.
pub(crate) fn answered(id: CallId) -> LedgerEntry {
    LedgerEntry {
        duration_us: 812_345,
        time_to_first_token_us: Some(200_000),
        model: Some("fast".to_owned().into()),
        provider: Some("openai".into()),
        upstream_model: Some("gpt-5-mini".into()),
        key_label: Some("openai#1".into()),
        streamed: true,
        outcome: Outcome::Answered,
        status: Some(200),
        finish_reason: Some("stop".into()),
        usage: Usage { input: 812, cache_read: 512, output: 66, reasoning: 20, ..Usage::default() },
        cost_nanodollars: Some(334_000),
        prices: Some(r#"{"input":250,"output":2000}"#.into()),
        tags: Tags::parse("team=search,build=7").unwrap(),
        attempts: vec![Attempt {
            target: "openai/gpt-5-mini".into(),
            failure: None,
            status: Some(200),
            duration_us: 810_000,
            used: None,
        }],
        bytes_in: 900,
        bytes_out: 1_200,
        ..LedgerEntry::new(id, "openai-chat", "chat")
    }
}

/// An empty place for a store, removed with this value.
pub(crate) struct Place {
    pub directory: tempfile::TempDir,
    pub database: Option<TestDatabase>,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), database: None }
    }

    pub(crate) fn postgres() -> Self {
        Self { database: Some(postgres().database()), ..Self::sqlite() }
    }

    pub(crate) fn options(&self) -> StoreOptions {
        StoreOptions {
            data: self.directory.path().to_owned(),
            database: self.database.as_ref().map(|database| database.url().parse().unwrap()),
        }
    }

    pub(crate) async fn open(&self) -> Store {
        Store::open(self.options()).await.unwrap()
    }
}

/// Makes two tests of each body: `name::sqlite` and `name::postgres`.
macro_rules! on_both {
    ($($(#[$doc:meta])* async fn $name:ident($place:ident: &Place) $body:block)+) => {
        $(
            $(#[$doc])*
            mod $name {
                use super::*;

                async fn body($place: &Place) $body

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn sqlite() {
                    body(&Place::sqlite()).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn postgres() {
                    body(&Place::postgres()).await;
                }
            }
        )+
    };
}

pub(crate) use on_both;
