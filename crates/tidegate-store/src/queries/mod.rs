//! All SQL, one file a table. Only this crate's ledger and store call here.

pub(crate) mod audit;
pub(crate) mod batch;
pub(crate) mod bodies;
pub(crate) mod calls;
pub(crate) mod changes;
mod connection;
pub(crate) mod credentials;
pub(crate) mod experiments;
pub(crate) mod feedback;
mod identity;
pub(crate) mod journals;
pub(crate) mod keys;
mod many;
pub(crate) mod organizations;
pub(crate) mod partitions;
pub(crate) mod retention;
pub(crate) mod rollups;
pub(crate) mod subjects;
pub(crate) mod teams;
pub(crate) mod usage;
