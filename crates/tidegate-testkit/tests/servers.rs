//! The servers that tests use.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tidegate_testkit::servers::{PostgresServer, RedisServer, postgres, redis};

#[test]
fn every_test_has_databases_of_its_own() {
    let (one, two) = (postgres().database(), postgres().database());
    one.sql("CREATE TABLE only_here (id BIGINT)");
    assert_eq!(two.sql("SELECT COUNT(*) FROM pg_tables WHERE tablename = 'only_here'"), "0");
    assert_ne!(redis().database(), redis().database());
}

#[test]
fn a_private_server_is_stopped_paused_and_started_again_with_its_data() {
    let server = PostgresServer::private();
    let database = server.database();
    database.sql("CREATE TABLE kept (id BIGINT)");
    server.kill();
    assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());
    server.start();
    assert_eq!(database.sql("SELECT COUNT(*) FROM kept"), "0");
    server.pause();
    server.resume();
    assert_eq!(database.sql("SELECT COUNT(*) FROM kept"), "0");
}

#[test]
fn a_paused_server_takes_connections_and_says_nothing() {
    let server = RedisServer::private();
    server.pause();
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    let mut answer = [0; 7];
    assert!(stream.read(&mut answer).is_err());
    server.resume();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
    server.kill();
    server.start();
}
