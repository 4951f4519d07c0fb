//! Redis, or Valkey, for tests.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::certificates;
use super::process::{Process, Recipe, program};

/// Each test takes one; number 0 counts them.
const DATABASES: u32 = 4_096;

const RECIPE: Recipe = Recipe { name: "redis", ending: "TERM", prepare, answers };

const WITH_TLS: Recipe = Recipe { name: "redis", ending: "TERM", prepare: prepare_tls, answers: listens };

/// A running Redis or Valkey server.
#[derive(Debug)]
pub struct RedisServer(Process);

impl RedisServer {
    pub(super) fn shared() -> Self {
        Self(Process::shared(&RECIPE))
    }

    /// One that nobody else uses, to be stopped and started. Starts empty each time.
    pub fn private() -> Self {
        Self(Process::private(&RECIPE))
    }

    /// One that nobody else uses and that speaks TLS alone.
    pub fn private_with_tls() -> Self {
        Self(Process::private(&WITH_TLS))
    }

    /// The certificate of the authority that has signed the server's own.
    pub fn authority(&self) -> PathBuf {
        self.0.directory().join(certificates::AUTHORITY)
    }

    /// The address of an empty database that nobody else uses: `redis://127.0.0.1:<port>/<number>`.
    pub fn database(&self) -> String {
        let answer = ask(self.0.port(), "INCR tests").expect("Redis counts");
        let number: u32 = answer.trim_start_matches(':').parse().expect("a number");
        let number = 1 + number % (DATABASES - 1);
        format!("redis://127.0.0.1:{}/{number}", self.0.port())
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.0.port()
    }

    /// Stops it where it is: connections stay open and get no answer.
    pub fn pause(&self) {
        self.0.pause();
    }

    /// Makes it forget everything, of all its databases.
    pub fn flush(&self) {
        assert_eq!(self.command("FLUSHALL"), "+OK");
    }

    /// Runs a command, and gives the first line of the answer.
    pub fn command(&self, command: &str) -> String {
        ask(self.0.port(), command).expect("Redis answers")
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.0.resume();
    }

    /// Ends it as a crash would.
    pub fn kill(&self) {
        self.0.kill();
    }

    /// Starts it again, empty.
    pub fn start(&self) {
        self.0.start();
    }
}

fn prepare(directory: &Path, port: u16) -> Vec<String> {
    let server = program(&["redis-server", "valkey-server"], &[], "redis-server");
    let mut command = vec![server.display().to_string()];
    for (name, value) in [
        ("--port", &*port.to_string()),
        ("--bind", "127.0.0.1"),
        ("--databases", &DATABASES.to_string()),
        ("--save", ""),
        ("--appendonly", "no"),
        ("--dir", &directory.display().to_string()),
    ] {
        command.extend([name.to_owned(), value.to_owned()]);
    }
    command
}

fn prepare_tls(directory: &Path, port: u16) -> Vec<String> {
    certificates::make(directory);
    let mut command = prepare(directory, 0);
    let file = |name: &str| directory.join(name).display().to_string();
    for (name, value) in [
        ("--tls-port", port.to_string()),
        ("--tls-cert-file", file(certificates::CERTIFICATE)),
        ("--tls-key-file", file(certificates::KEY)),
        ("--tls-ca-cert-file", file(certificates::AUTHORITY)),
        ("--tls-auth-clients", "no".to_owned()),
    ] {
        command.extend([name.to_owned(), value]);
    }
    command
}

fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn answers(port: u16) -> bool {
    ask(port, "PING").is_some_and(|answer| answer == "+PONG")
}

/// One command and the first line of its answer.
fn ask(port: u16, command: &str) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    Some(line.trim_end().to_owned())
}
