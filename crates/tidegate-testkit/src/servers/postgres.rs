//! PostgreSQL for tests.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::certificates;
use super::process::{Process, Recipe, program};

/// The superuser of the test servers, and its password.
const USER: &str = "tidegate";
const PASSWORD: &str = "low-tide";

/// Small and fast: what is committed has to survive a crash of the server, not one of the machine.
const SETTINGS: [&str; 11] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=32MB",
    "max_connections=400",
    "max_wal_size=256MB",
    "min_wal_size=32MB",
    "wal_level=minimal",
    "max_wal_senders=0",
    "log_min_messages=fatal",
];

const RECIPE: Recipe = Recipe { name: "postgres", ending: "QUIT", prepare, answers };

const WITH_TLS: Recipe = Recipe { name: "postgres", ending: "QUIT", prepare: prepare_tls, answers };

/// A running PostgreSQL server.
#[derive(Debug)]
pub struct PostgresServer(Process);

/// A fresh, empty database. Dropped with this value.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    port: u16,
}

impl PostgresServer {
    pub(super) fn shared() -> Self {
        Self(Process::shared(&RECIPE))
    }

    /// One that nobody else uses, to be stopped and started. Takes about two seconds to start.
    pub fn private() -> Self {
        Self(Process::private(&RECIPE))
    }

    /// One that nobody else uses and that speaks TLS, too.
    pub fn private_with_tls() -> Self {
        Self(Process::private(&WITH_TLS))
    }

    /// The certificate of the authority that has signed the server's own.
    pub fn authority(&self) -> PathBuf {
        self.0.directory().join(certificates::AUTHORITY)
    }

    /// A new, empty database.
    pub fn database(&self) -> TestDatabase {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        let database = TestDatabase { name, port: self.0.port() };
        psql(database.port, "postgres", &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", database.name));
        psql(database.port, "postgres", &format!("CREATE DATABASE {}", database.name));
        database
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.0.port()
    }

    /// Stops all its processes where they are: connections stay open and get no answer.
    pub fn pause(&self) {
        self.0.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.0.resume();
    }

    /// Ends it as a crash would.
    pub fn kill(&self) {
        self.0.kill();
    }

    /// Starts it again with its data.
    pub fn start(&self) {
        self.0.start();
    }
}

impl TestDatabase {
    /// `postgres://…`, with the password.
    pub fn url(&self) -> String {
        self.url_as(USER, PASSWORD)
    }

    /// The same for another user.
    pub fn url_as(&self, user: &str, password: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/{}", self.port, self.name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs SQL beside whatever the test does, and gives what it answers: values with `|` between them, a line a row.
    pub fn sql(&self, statement: &str) -> String {
        psql(self.port, &self.name, statement)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // The server may have been stopped by the test. What is left goes with the server.
        if answers(self.port) {
            let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
            client(self.port, "postgres", &drop).output().ok();
        }
    }
}

fn psql(port: u16, database: &str, statement: &str) -> String {
    let output = client(port, database, statement).output().expect("psql runs");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "psql: {words}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn client(port: u16, database: &str, statement: &str) -> Command {
    let mut command = Command::new(tool("psql"));
    command.env("PGPASSWORD", PASSWORD).args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]);
    command.args(["--set", "ON_ERROR_STOP=1", "--host", "127.0.0.1", "--username", USER]);
    command.args(["--port", &port.to_string(), "--dbname", database, "--command", statement]);
    command
}

fn prepare(directory: &Path, port: u16) -> Vec<String> {
    let data = directory.join("data");
    let password = directory.join("password");
    fs::create_dir_all(&data).expect("a directory for the data");
    fs::write(&password, PASSWORD).expect("a file with the password");
    let mut initialize = Command::new(tool("initdb"));
    initialize.args([
        "--no-sync",
        "--no-instructions",
        "--encoding=UTF8",
        "--locale=C",
        "--auth=scram-sha-256",
    ]);
    initialize.arg("--username").arg(USER).arg("--pwfile").arg(&password).arg("--pgdata").arg(&data);
    initialize.current_dir(directory);
    let mut command = Vec::new();
    // PostgreSQL refuses to run as root.
    if rustix::process::getuid().is_root() {
        let (user, group) = unprivileged();
        chown(&data, Some(user), Some(group)).expect("the data's owner is changed");
        chown(&password, Some(user), Some(group)).expect("the password's owner is changed");
        initialize.uid(user).gid(group);
        command.extend(["setpriv".to_owned(), format!("--reuid={user}"), format!("--regid={group}")]);
        command.push("--clear-groups".to_owned());
    }
    let output = initialize.output().expect("initdb runs");
    assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
    command.push(tool("postgres").display().to_string());
    command.extend(["-D".to_owned(), data.display().to_string(), "-p".to_owned(), port.to_string()]);
    command.extend(SETTINGS.into_iter().flat_map(|setting| ["-c".to_owned(), setting.to_owned()]));
    command
}

fn prepare_tls(directory: &Path, port: u16) -> Vec<String> {
    certificates::make(directory);
    let (certificate, key) = (directory.join(certificates::CERTIFICATE), directory.join(certificates::KEY));
    if rustix::process::getuid().is_root() {
        let (user, group) = unprivileged();
        chown(&key, Some(user), Some(group)).expect("the key's owner is changed");
    }
    let mut command = prepare(directory, port);
    let certificate = format!("ssl_cert_file={}", certificate.display());
    let key = format!("ssl_key_file={}", key.display());
    command
        .extend(["ssl=on", &certificate, &key].into_iter().flat_map(|it| ["-c".to_owned(), it.to_owned()]));
    command
}

/// The user and group to run as instead of root.
fn unprivileged() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let find = |name: &str| {
        let fields: Vec<&str> = users
            .lines()
            .map(|line| line.split(':').collect())
            .find(|fields: &Vec<&str>| fields[0] == name)?;
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    };
    find("postgres")
        .or_else(|| find("nobody"))
        .expect("a user `postgres` or `nobody`, because PostgreSQL refuses root")
}

/// Whether it takes connections, which it does not while it recovers.
fn answers(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        && Command::new(tool("pg_isready"))
            .args(["--quiet", "--timeout=2", "--host=127.0.0.1", "--port", &port.to_string()])
            .status()
            .is_ok_and(|status| status.success())
}

/// Debian keeps each version's programs in a directory of its own; the latest is taken.
fn tool(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut directories: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    directories.sort_by_key(|path| {
        let version = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        std::cmp::Reverse(version.and_then(|version| version.parse::<u32>().ok()))
    });
    program(&[name], &directories, "postgresql")
}
