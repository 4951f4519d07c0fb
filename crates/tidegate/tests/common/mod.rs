//! Runs the real binary in a directory of its own, with no environment but what a test gives it.

#![expect(dead_code, reason = "each test program uses a part of it")]
#![expect(clippy::print_stderr, reason = "what the process said explains why a test failed")]

pub(crate) mod fleet;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A debug build on a busy machine takes its time; what takes longer than this does not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A directory in which the binary runs.
pub(crate) struct Workplace {
    directory: TempDir,
    variables: Vec<(String, String)>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Workplace {
    pub(crate) fn new() -> Self {
        Self { directory: TempDir::new().expect("a temporary directory"), variables: Vec::new() }
    }

    /// The same with an environment variable.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file there.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("the file can be written");
        path
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.command(arguments).stdin(Stdio::null()).output().expect("the binary runs").into()
    }

    /// Starts a command that runs until it is told to stop.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        // Unbounded, as tests are short: a bound would stop the program at its log.
        let (sender, lines) = mpsc::channel();
        let (output, errors) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        for pipe in [Box::new(output) as Box<dyn std::io::Read + Send>, Box::new(errors)] {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Running { child, lines, seen: String::new() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(arguments).current_dir(self.path()).env_clear();
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            output: String::from_utf8(output.stdout).expect("UTF-8"),
            errors: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

/// A command that runs. Dropped, it is killed.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: String,
}

impl Running {
    /// Waits for a line with this in it and gives the line back.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.seen.push_str(&line);
            self.seen.push('\n');
            if line.contains(text) {
                return line;
            }
        }
        panic!("no line with `{text}` came, but:\n{}", self.seen);
    }

    /// What it has said as far as it was waited for.
    pub(crate) fn said(&self) -> String {
        self.seen.clone()
    }

    /// Waits for the address it says it listens on.
    pub(crate) fn address(&mut self) -> std::net::SocketAddr {
        let line = self.wait_for("http://127.0.0.1:");
        let (_, rest) = line.split_once("http://").expect("just looked for");
        let end = rest.find(|letter: char| !(letter.is_ascii_digit() || ".:".contains(letter)));
        rest[..end.unwrap_or(rest.len())].trim_end_matches('.').parse().expect("an address")
    }

    pub(crate) fn signal(&self, name: &str) {
        let process = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &process]).status().expect("kill runs");
        assert!(sent.success(), "the process has gone");
    }

    /// Waits for its end; gives the exit code and everything it said.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                let mut seen = std::mem::take(&mut self.seen);
                // The pipes' threads end with the process.
                for line in &self.lines {
                    seen.push_str(&line);
                    seen.push('\n');
                }
                return (status.code(), seen);
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.seen);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.seen.extend(self.lines.try_iter().flat_map(|line| [line, "\n".to_owned()]));
            eprintln!("the process said:\n{}", self.seen);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
