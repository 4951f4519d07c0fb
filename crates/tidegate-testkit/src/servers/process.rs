//! A server's process: started once for whoever uses it, watched, ended with its last user.

use std::fs::{self, File, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The shell script that runs a server and waits for its users to go.
const WATCHER: &str = include_str!("watch.sh");
/// A machine with one busy core needs a while.
const PATIENCE: Duration = Duration::from_secs(60);
/// Below those that Linux gives to outgoing connections, and above those that services are known by.
const PORTS: std::ops::Range<u16> = 21_000..32_000;
/// So often another program may come first.
const PORTS_TRIED: u32 = 5;
/// How often something is looked at that takes a moment.
const POLL: Duration = Duration::from_millis(20);

/// What a kind of server is started with.
pub(super) struct Recipe {
    /// Its name in messages and paths.
    pub name: &'static str,
    /// The signal that ends it at once.
    pub ending: &'static str,
    /// Makes what it needs in this directory, and says the command that runs it on this port.
    pub prepare: fn(&Path, u16) -> Vec<String>,
    /// Whether it answers on this port.
    pub answers: fn(u16) -> bool,
}

/// A server that runs for as long as this value, or another process's like it, is there.
#[derive(Debug)]
pub(super) struct Process {
    name: &'static str,
    answers: fn(u16) -> bool,
    directory: PathBuf,
    port: u16,
    /// Locked: the watcher sees by it that somebody is there.
    _users: File,
    /// What a private server's directory lies in.
    _parent: Option<TempDir>,
}

impl Process {
    /// The one that all test processes of this user share.
    pub(super) fn shared(recipe: &Recipe) -> Self {
        let user = rustix::process::getuid().as_raw();
        let base = std::env::temp_dir().join(format!("tidegate-servers-{user}"));
        fs::create_dir_all(&base).expect("the directory of the servers can be made");
        let turn = File::create(base.join(format!("{}.starting", recipe.name))).expect("a lock file");
        turn.lock().expect("the lock on starting servers");
        let directory = base.join(recipe.name);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let users = join(&directory);
            let port = fs::read_to_string(directory.join("port")).ok().and_then(|port| port.parse().ok());
            match (is_watched(&directory), port) {
                (true, Some(port)) => return Self::of(recipe, directory, port, users, None),
                // Somebody began to start it and was killed: its watcher will find nobody there.
                (true, None) => drop(users),
                (false, _) => {
                    clear(&directory);
                    let port = start(recipe, &directory);
                    return Self::of(recipe, directory, port, users, None);
                }
            }
            assert!(Instant::now() < deadline, "{} is half started in {}", recipe.name, directory.display());
            sleep(POLL * 10);
        }
    }

    /// One that nobody else has.
    pub(super) fn private(recipe: &Recipe) -> Self {
        let parent = tempfile::Builder::new().prefix("tidegate-server-").tempdir().expect("a directory");
        // The server may run as another user, who must get there.
        fs::set_permissions(parent.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("the directory is opened");
        let directory = parent.path().join(recipe.name);
        let users = join(&directory);
        let port = start(recipe, &directory);
        Self::of(recipe, directory, port, users, Some(parent))
    }

    fn of(recipe: &Recipe, directory: PathBuf, port: u16, users: File, parent: Option<TempDir>) -> Self {
        Self { name: recipe.name, answers: recipe.answers, directory, port, _users: users, _parent: parent }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Where its files are.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Stops all its processes where they are: whoever asks gets no answer, and no error either.
    pub(super) fn pause(&self) {
        let server = self.pid();
        // First the one that could make new ones.
        signal(server, Signal::STOP);
        signal_all(&children(server), Signal::STOP);
    }

    /// Lets it go on after [`Self::pause`].
    pub(super) fn resume(&self) {
        let server = self.pid();
        signal_all(&children(server), Signal::CONT);
        signal(server, Signal::CONT);
    }

    /// Ends it without a word to anybody, as a crash would.
    pub(super) fn kill(&self) {
        let server = self.pid();
        let children = children(server);
        signal(server, Signal::KILL);
        signal_all(&children, Signal::KILL);
        wait_until(self.name, "ends", || children.iter().chain([&server]).all(|process| is_gone(*process)));
        fs::remove_file(self.directory.join("pid")).expect("the server's number is removed");
    }

    /// Starts it again after [`Self::kill`], on the same port with the same data, as far as it keeps any.
    pub(super) fn start(&self) {
        File::create(self.directory.join("again")).expect("a sign for the watcher");
        wait_until(self.name, "starts again", || {
            self.directory.join("pid").exists() && (self.answers)(self.port)
        });
    }

    fn pid(&self) -> Pid {
        pid(&self.directory).expect("the server runs")
    }
}

/// Takes part in the users of this directory, which is made where it does not exist.
fn join(directory: &Path) -> File {
    loop {
        fs::create_dir_all(directory).expect("the server's directory can be made");
        let path = directory.join("users");
        // The watcher may be about to remove it all.
        let Ok(users) = File::options().create(true).append(true).open(&path) else { continue };
        users.lock_shared().expect("the lock of the server's users");
        let opened = users.metadata().expect("an open file");
        if fs::metadata(&path).is_ok_and(|there| there.ino() == opened.ino()) {
            return users;
        }
    }
}

fn is_watched(directory: &Path) -> bool {
    let Ok(file) = File::options().write(true).open(directory.join("watched")) else { return false };
    matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

/// Removes what is left of a server whose watcher was killed, the server itself included.
fn clear(directory: &Path) {
    if let Some(pid) = pid(directory) {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        // The number may be another program's by now.
        if String::from_utf8_lossy(&command).contains(&*directory.to_string_lossy()) {
            let children = children(pid);
            signal(pid, Signal::KILL);
            signal_all(&children, Signal::KILL);
        }
    }
    for entry in fs::read_dir(directory).expect("the server's directory").flatten() {
        if entry.file_name() != "users" {
            let path = entry.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.expect("what is left of a server can be removed");
        }
    }
}

/// Starts it with its watcher. Says the port.
fn start(recipe: &Recipe, directory: &Path) -> u16 {
    let mut tried = 0;
    loop {
        match start_on(free_port(), recipe, directory) {
            Ok(port) => return port,
            Err(log) => {
                tried += 1;
                assert!(tried < PORTS_TRIED, "{} does not start: {log}", recipe.name);
                clear(directory);
            }
        }
    }
}

/// Starts it with its watcher on this port, or gives what it said before it ended.
fn start_on(port: u16, recipe: &Recipe, directory: &Path) -> Result<u16, String> {
    let command = (recipe.prepare)(directory, port);
    let mut watcher = Command::new("bash")
        .args(["-c", WATCHER, "watch"])
        .arg(directory)
        .arg(recipe.ending)
        .args(command)
        // A signal to the test's group, from a terminal or a test runner, is none of its business.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("bash starts");
    let deadline = Instant::now() + PATIENCE;
    let log = || fs::read_to_string(directory.join("log")).unwrap_or_default();
    let mut server = None;
    loop {
        if server.is_none() {
            server = pid(directory);
        }
        // Looked at before it is asked: on a port that another program has taken, that one might answer.
        if server.is_some_and(is_gone) {
            watcher.kill().and_then(|()| watcher.wait()).expect("its watcher ends");
            return Err(log());
        }
        if server.is_some() && (recipe.answers)(port) && !server.is_some_and(is_gone) {
            break;
        }
        assert!(Instant::now() < deadline, "{} does not answer: {}", recipe.name, log());
        sleep(POLL);
    }
    // It ends after this process, or before it in the case of a private server.
    std::thread::spawn(move || watcher.wait());
    fs::write(directory.join("port"), port.to_string()).expect("the port is written down");
    Ok(port)
}

/// A free port that no outgoing connection gets from the system: those of the other tests would take it, by chance, before
/// the server does, or while the server is down to be started again.
fn free_port() -> u16 {
    let candidates = std::iter::repeat_with(|| fastrand::u16(PORTS));
    let mut free =
        candidates.take(1_000).filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.next().expect("a free port")
}

fn pid(directory: &Path) -> Option<Pid> {
    let text = fs::read_to_string(directory.join("pid")).ok()?;
    text.trim().parse().ok().and_then(Pid::from_raw)
}

fn signal(process: Pid, signal: Signal) {
    // It may be gone already.
    kill_process(process, signal).ok();
}

fn signal_all(processes: &[Pid], what: Signal) {
    for process in processes {
        signal(*process, what);
    }
}

fn is_gone(process: Pid) -> bool {
    status(process).is_none_or(|(state, _)| state == 'Z')
}

fn children(parent: Pid) -> Vec<Pid> {
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
        .filter(|process| status(*process).is_some_and(|(_, its_parent)| Some(its_parent) == Some(parent)))
        .collect()
}

/// A process's state and its parent.
fn status(process: Pid) -> Option<(char, Pid)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // After the name, which may hold spaces.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((state, Pid::from_raw(fields.next()?.parse().ok()?)?))
}

fn wait_until(name: &str, what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {name} {what}");
        sleep(POLL);
    }
}

/// The path of a program, in `PATH` or in one of these directories, or a failed test.
pub(super) fn program(names: &[&str], directories: &[PathBuf], package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = directories.to_vec();
    places.extend(std::env::split_paths(&path));
    places.push("/usr/sbin".into());
    let found = names.iter().flat_map(|name| places.iter().map(move |place| place.join(name)));
    found.into_iter().find(|path| path.is_file()).unwrap_or_else(|| {
        unreachable!(
            "this test needs {}, which is not installed: `make test-rust` does it, or install the package {package}",
            names.join(" or ")
        )
    })
}
