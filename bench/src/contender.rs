//! The processes that are compared: how each is configured and started. `measure` drives them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Serialize;

use crate::accounts::{Accounts, Secrets};
use crate::load::Connection;
use crate::options::Options;
use crate::scenario::{Exchange, Naming, Scenario};

/// A contender that has not answered by then is broken.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A ledger that has not caught up by then never will.
const REST_TIMEOUT: Duration = Duration::from_secs(120);

/// How often it is asked.
const REST_POLL: Duration = Duration::from_millis(25);

/// How often a starting contender is tried: the resolution of the start-up times.
const START_POLL: Duration = Duration::from_millis(1);

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Contender {
    Direct,
    Haproxy,
    Nginx,
    Forward,
    /// With its ledger, as it comes.
    Tidegate,
    /// Without keys, limits and ledger.
    Bare,
    /// With ten keys, limits and budgets on every level, and the ledger.
    TenKeys,
    /// The same with very many keys.
    ManyKeys,
    /// A model with one target.
    OneTarget,
    /// A model with ten targets, of which the fastest is looked for.
    TenTargets,
    /// A model without experiments.
    Unshadowed,
    /// The same with every call sent to another target as well.
    Shadowed,
}

impl Contender {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Direct => "mock, directly",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Forward => "bare forwarder",
            Self::Tidegate => "Tidegate",
            Self::Bare => "Tidegate, nothing kept",
            Self::TenKeys => "Tidegate, key, limits, budgets, ledger",
            Self::ManyKeys => "the same with very many keys",
            Self::OneTarget => "one target",
            Self::TenTargets => "ten targets, `latency`",
            Self::Unshadowed => "no shadow",
            Self::Shadowed => "every call shadowed",
        }
    }

    pub(crate) fn naming(self) -> Naming {
        if self.is_tidegate() { Naming::Gateway } else { Naming::Forwarding }
    }

    pub(crate) fn is_tidegate(self) -> bool {
        !matches!(self, Self::Direct | Self::Haproxy | Self::Nginx | Self::Forward)
    }

    /// The model `entry` and what belongs to it, in the configuration.
    fn models(self) -> String {
        match self {
            Self::OneTarget | Self::Unshadowed => "models:\n  entry: { targets: [mock/m0] }\n".to_owned(),
            Self::TenTargets => {
                let targets: Vec<String> = (0..10).map(|number| format!("mock/m{number}")).collect();
                format!("models:\n  entry: {{ strategy: latency, targets: [{}] }}\n", targets.join(", "))
            }
            Self::Shadowed => {
                "models:\n  entry: { targets: [mock/m0] }\nexperiments:\n  copy:\n    model: entry\n    \
                               shadow: { target: mock/m1, share: 100% }\n"
                    .to_owned()
            }
            _ => String::new(),
        }
    }

    /// How many keys there are.
    pub(crate) fn keys(self, options: &Options) -> Option<usize> {
        match self {
            Self::TenKeys => Some(10),
            Self::ManyKeys => Some(options.many_keys),
            _ => None,
        }
    }

    /// The contenders that the options ask for, in the order of the tables.
    pub(crate) fn chosen(options: &Options) -> Vec<Self> {
        let mut chosen = vec![Self::Direct];
        if !options.haproxy.is_empty() {
            chosen.push(Self::Haproxy);
        }
        if !options.nginx.is_empty() {
            chosen.push(Self::Nginx);
        }
        if options.forward.is_some() {
            chosen.push(Self::Forward);
        }
        if options.tidegate.is_some() {
            chosen.push(Self::Tidegate);
        }
        chosen
    }
}

/// A contender that answers.
pub(crate) struct Running {
    pub(crate) contender: Contender,
    pub(crate) address: SocketAddr,
    /// From the start of the process to the end of its first answer.
    pub(crate) first_answer: Duration,
    child: Option<Child>,
    /// What callers show.
    secrets: Option<Arc<Secrets>>,
    /// Configuration and data live here until the process has gone.
    _directory: tempfile::TempDir,
}

impl Running {
    pub(crate) fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// What is asked of it.
    pub(crate) fn exchange(&self, scenario: Scenario) -> Exchange {
        exchange(scenario, self.contender, self.secrets.as_ref())
    }

    /// Waits until what was recorded is in the database too, so that its cost falls into the round that caused it.
    pub(crate) async fn come_to_rest(&self) -> anyhow::Result<()> {
        if !self.contender.is_tidegate() {
            return Ok(());
        }
        let mut connection = Connection::open(self.address).await?;
        let asked = Instant::now();
        while asked.elapsed() < REST_TIMEOUT {
            let health = connection.look("/health/ready").await?;
            if health.pointer("/ledger/pending").and_then(serde_json::Value::as_u64) == Some(0) {
                return Ok(());
            }
            tokio::time::sleep(REST_POLL).await;
        }
        bail!("the ledger is not written after {REST_TIMEOUT:?}")
    }
}

fn exchange(scenario: Scenario, contender: Contender, secrets: Option<&Arc<Secrets>>) -> Exchange {
    let exchange = Exchange::of(scenario, contender.naming());
    match secrets {
        Some(secrets) => exchange.with_keys(Arc::clone(secrets)),
        None => exchange,
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        // SIGTERM, so that nginx takes its workers along; a process that has already gone is no concern here.
        if let Some(id) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(5) {
            if child.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(child.kill());
        drop(child.wait());
    }
}

/// Starts a contender in front of the mock and waits for its first answer.
pub(crate) async fn start(
    contender: Contender,
    options: &Options,
    mock: SocketAddr,
    accounts: Option<&Accounts>,
) -> anyhow::Result<Running> {
    let directory = tempfile::tempdir()?;
    let secrets = accounts.map(Accounts::secrets);
    let exchange = exchange(Scenario::ChatWhole, contender, secrets.as_ref());
    if contender == Contender::Direct {
        return Ok(Running {
            contender,
            address: mock,
            first_answer: Duration::ZERO,
            child: None,
            secrets: None,
            _directory: directory,
        });
    }
    let address = free_address()?;
    let mut command = command(contender, options, mock, address, directory.path(), accounts)?;
    let log = directory.path().join("output.log");
    let output = fs::File::create(&log)?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let started = Instant::now();
    let child = command.spawn().with_context(|| format!("starting {}", contender.title()))?;
    let mut running = Running {
        contender,
        address,
        first_answer: Duration::ZERO,
        child: Some(child),
        secrets,
        _directory: directory,
    };
    loop {
        let problem = match Connection::open(address).await {
            Ok(mut connection) => match connection.ask(&exchange).await {
                Ok(_) => break,
                Err(problem) => problem,
            },
            Err(problem) => problem,
        };
        let gone =
            running.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_some()));
        if gone || started.elapsed() > START_TIMEOUT {
            let said = fs::read_to_string(&log).unwrap_or_default();
            bail!("{} does not answer ({problem:#}); it says:\n{said}", contender.title());
        }
        tokio::time::sleep(START_POLL).await;
    }
    running.first_answer = started.elapsed();
    Ok(running)
}

/// A port that was free a moment ago: the configuration files need a number.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn command(
    contender: Contender,
    options: &Options,
    mock: SocketAddr,
    address: SocketAddr,
    directory: &Path,
    accounts: Option<&Accounts>,
) -> anyhow::Result<Command> {
    let write = |name: &str, text: String| -> anyhow::Result<PathBuf> {
        let path = directory.join(name);
        fs::write(&path, text)?;
        Ok(path)
    };
    Ok(match contender {
        Contender::Direct => bail!("the mock runs already"),
        Contender::Haproxy => {
            let mut command = Command::new(&options.haproxy);
            command.arg("-db").arg("-f").arg(write("haproxy.cfg", haproxy(options, mock, address))?);
            command
        }
        Contender::Nginx => {
            let mut command = Command::new(&options.nginx);
            command.arg("-p").arg(directory).arg("-e").arg(directory.join("error.log"));
            command.arg("-c").arg(write("nginx.conf", nginx(options, mock, address, directory))?);
            command
        }
        Contender::Forward => {
            let mut command = Command::new(options.forward.as_ref().context("--forward")?);
            command.arg(address.to_string()).arg(format!("http://{mock}")).arg(options.workers.to_string());
            command
        }
        Contender::Tidegate
        | Contender::Bare
        | Contender::TenKeys
        | Contender::ManyKeys
        | Contender::OneTarget
        | Contender::TenTargets
        | Contender::Unshadowed
        | Contender::Shadowed => {
            // It runs in a directory of its own, from which a relative path would lead elsewhere.
            let binary = options.tidegate.as_ref().context("--tidegate")?;
            let mut command = Command::new(std::path::absolute(binary)?);
            let data = accounts.map_or_else(|| directory.join("data"), Accounts::data);
            let keeps = contender != Contender::Bare;
            let configuration = tidegate(options, mock, address, &data, keeps) + &contender.models();
            let file = write("tidegate.yaml", configuration)?;
            command.arg("serve").arg("--config").arg(file).env_clear().current_dir(directory);
            command
        }
    })
}

fn haproxy(options: &Options, mock: SocketAddr, address: SocketAddr) -> String {
    let threads = options.workers;
    // Twice as many sockets as connections must fit under the limit on open files.
    let connections = options.open_streams.max(options.connections) + 1_000;
    format!(
        "global\n    nbthread {threads}\n    maxconn {connections}\n\
         defaults\n    mode http\n    timeout connect 5s\n    timeout client 120s\n    timeout server 120s\n    \
         option http-no-delay\n    option http-keep-alive\n    http-reuse always\n\
         frontend in\n    bind {address}\n    default_backend mock\n\
         backend mock\n    server mock {mock}\n"
    )
}

fn nginx(options: &Options, mock: SocketAddr, address: SocketAddr, directory: &Path) -> String {
    let workers = options.workers;
    let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
    let directory = directory.display();
    format!(
        "daemon off; master_process on; worker_processes {workers}; {user} pid {directory}/nginx.pid;\n\
         events {{ worker_connections 16384; }}\n\
         http {{\n  access_log off; keepalive_requests 1000000000; tcp_nodelay on; client_max_body_size 64m;\n  \
         client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;\n  \
         fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;\n  \
         upstream mock {{ server {mock}; keepalive 512; keepalive_requests 1000000000; }}\n  \
         server {{\n    listen {address} backlog=8192;\n    location / {{\n      proxy_pass http://mock;\n      \
         proxy_http_version 1.1; proxy_set_header Connection \"\";\n      \
         proxy_buffering off; proxy_request_buffering off; proxy_read_timeout 120s;\n    }}\n  }}\n}}\n"
    )
}

fn tidegate(
    options: &Options,
    mock: SocketAddr,
    address: SocketAddr,
    data: &Path,
    has_ledger: bool,
) -> String {
    let workers = options.workers;
    let data = data.display();
    format!(
        "server:\n  listen: {address}\n  workers: {workers}\ndata: {data}\nledger:\n  enabled: {has_ledger}\nproviders:\n  \
         mock:\n    kind: openai\n    base_url: http://{mock}/v1\n    api_key: bench-key\n  \
         mock-held:\n    kind: openai\n    base_url: http://{mock}/held/v1\n    api_key: bench-key\n  \
         mock-anthropic:\n    kind: anthropic\n    base_url: http://{mock}\n    api_key: bench-key\n"
    )
}
