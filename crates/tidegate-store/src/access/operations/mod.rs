//! The operations that change something, one file for what is changed. Each is one transaction.

mod import;
mod keys;
mod organizations;
mod subjects;
mod teams;
