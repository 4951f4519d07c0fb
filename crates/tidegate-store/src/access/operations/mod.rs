//! The operations that change something, one file for what is changed. Each is one transaction.

mod import;
mod keys;
mod organizations;
mod owners;
mod subjects;
mod teams;
