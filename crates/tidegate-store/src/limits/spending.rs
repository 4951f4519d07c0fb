//! Where the limiter learns what was spent before it began to count: the ledger's roll-ups.

use std::pin::Pin;

use tidegate_policy::Spending;

use crate::{Scope, StoreError};

/// The answer of a [`SpendingSource`].
pub type SpendingFuture = Pin<Box<dyn Future<Output = Result<Vec<Spending>, StoreError>> + Send>>;

/// Tells what levels have spent: one [`Spending`] for each scope, in the order of the question.
///
/// The limiter asks when it meets a level that it does not count yet: an end user or a tag in memory, any level when
/// counters are shared and Redis does not know it. It waits for a second at most, and calls wait with it. So the answer
/// should come from roll-ups by an index, and from the calls of the last minute.
///
/// Each answer says with [`Spending::as_of`] for which moment its calendar periods are meant. It should count everything
/// that the ledger has been given for a scope, and must not count a call twice. A scope without calls is
/// `Spending { as_of: now, ..Spending::default() }`.
pub trait SpendingSource: Send + Sync + 'static {
    /// What these levels have spent in the current periods.
    fn spending(&self, scopes: Vec<Scope>) -> SpendingFuture;
}

/// Tells how far the ledger is, so that the limiter knows which calls a [`SpendingSource`] may not count yet.
pub trait LedgerProgress: Send + Sync + 'static {
    /// Calls that this process has recorded.
    fn recorded(&self) -> u64;

    /// How many of them, in their order, a [`SpendingSource`] counts.
    fn written(&self) -> u64;
}
