//! Real servers for tests: PostgreSQL and Redis (or Valkey), on free ports of the loopback address.
//!
//! [`postgres`] and [`redis`] are shared by all test processes that run at the same time: the first one starts them, and a
//! watcher ends them when the last one is gone, also if it was killed. Each test takes a database of its own there. A test
//! that stops, pauses or restarts its server takes a private one.
//!
//! A program that is missing fails the test; `make test-rust` installs it.

mod certificates;
mod postgres;
mod process;
mod redis;

use std::sync::OnceLock;

pub use certificates::another_authority;
pub use postgres::{PostgresServer, TestDatabase};
pub use redis::RedisServer;

/// The PostgreSQL server that tests share.
pub fn postgres() -> &'static PostgresServer {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    SERVER.get_or_init(PostgresServer::shared)
}

/// The Redis or Valkey server that tests share.
pub fn redis() -> &'static RedisServer {
    static SERVER: OnceLock<RedisServer> = OnceLock::new();
    SERVER.get_or_init(RedisServer::shared)
}
