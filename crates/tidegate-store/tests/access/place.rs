//! A store of each kind, in a place of its own.

use tempfile::TempDir;
use tidegate_store::{Access, Actor, Store};

/// A store that is gone when it is dropped.
pub(crate) struct Place {
    pub(crate) kind: &'static str,
    pub(crate) store: Store,
    directory: TempDir,
}

impl Place {
    /// One of each kind, empty.
    pub(crate) async fn all() -> Vec<Self> {
        vec![Self::sqlite().await]
    }

    pub(crate) async fn sqlite() -> Self {
        let directory = TempDir::new().unwrap();
        let store = Store::open(directory.path()).await.unwrap();
        Self { kind: "SQLite", store, directory }
    }

    pub(crate) fn access(&self) -> Access {
        self.store.access()
    }

    /// Another process would open it so.
    pub(crate) async fn opened_again(&self) -> Store {
        Store::open(self.directory.path()).await.unwrap()
    }
}

pub(crate) fn actor() -> Actor {
    Actor::command_line("test")
}
