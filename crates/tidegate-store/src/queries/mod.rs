//! All SQL, one file a table. Only this crate's ledger and store call here.

pub(crate) mod batch;
pub(crate) mod calls;
pub(crate) mod journals;
mod many;
