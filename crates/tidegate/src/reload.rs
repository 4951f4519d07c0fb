//! A changed configuration comes into force, whole or not at all: on SIGHUP, or when the file has changed. Runs beside
//! the server in `serve` and `demo`.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tidegate_config::{Settings, Sources, load};
use tidegate_gateway::Gateway;
use tokio::signal::unix::{Signal, SignalKind};
use tokio::sync::mpsc;

use crate::failure::{Failure, chain};
use crate::signals::listen_for;

/// Editors write a file in several steps; it is read once it has been left alone for so long.
const QUIET: Duration = Duration::from_millis(200);
/// It is read after so long all the same: in the directory of a log there is never quiet.
const LONGEST_UNREST: Duration = Duration::from_secs(2);

/// A file that lacks providers or models which are in force may be one that is still being written, or was emptied to be
/// written anew. It is believed when it still says so after this time.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// Watches for reasons to reload.
#[derive(Debug)]
pub(crate) struct Reloads {
    hangup: Signal,
    changes: mpsc::Receiver<()>,
    /// Kept, as dropping it ends the watching; `None` where there is no file or it cannot be watched.
    _watcher: Option<RecommendedWatcher>,
    sources: Sources,
    file: Option<PathBuf>,
    seen: Option<u64>,
}

impl Reloads {
    /// Watches from now on. `file` is what the settings in force were read from.
    pub(crate) fn watch(sources: Sources) -> Result<Self, Failure> {
        // One waiting change is enough: it stands for all before it.
        let (sender, changes) = mpsc::channel(1);
        let file = sources.file();
        let watcher = file.as_deref().and_then(|file| match watch_directory(file, sender) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(
                    file = %file.display(),
                    error = chain(&error),
                    "changes of the configuration will not be noticed; send SIGHUP to reload"
                );
                None
            }
        });
        let seen = file.as_deref().and_then(fingerprint);
        Ok(Self {
            hangup: listen_for(SignalKind::hangup())?,
            changes,
            _watcher: watcher,
            sources,
            file,
            seen,
        })
    }

    /// Reloads whenever there is a reason to, for ever.
    pub(crate) async fn run(mut self, gateway: Arc<Gateway>) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    self.seen = self.fingerprint();
                    if let Some(settings) = self.read(&gateway).await {
                        put_in_force(&gateway, &settings);
                    }
                }
                Some(()) = self.changes.recv() => self.changed(&gateway).await,
            }
        }
    }

    /// Something happened in the file's directory: waits until it is over, then looks whether it concerned the file.
    async fn changed(&mut self, gateway: &Arc<Gateway>) {
        loop {
            let unrest =
                async { while let Ok(Some(())) = tokio::time::timeout(QUIET, self.changes.recv()).await {} };
            // Either way it is looked at now.
            let _ = tokio::time::timeout(LONGEST_UNREST, unrest).await;
            let found = self.fingerprint();
            // A file that is gone for a moment is being replaced. Gone for good, it changes nothing until a reload is
            // asked for.
            if found.is_none() || found == self.seen {
                return;
            }
            self.seen = found;
            let Some(settings) = self.read(gateway).await else { return };
            if takes_away(&gateway.settings(), &settings) {
                tokio::time::sleep(SECOND_LOOK).await;
                if self.fingerprint() != found {
                    continue;
                }
            }
            put_in_force(gateway, &settings);
        }
    }

    fn fingerprint(&self) -> Option<u64> {
        self.file.as_deref().and_then(fingerprint)
    }

    /// What the file says now; nothing, and a word in the log, where that cannot come into force.
    async fn read(&self, gateway: &Arc<Gateway>) -> Option<Arc<Settings>> {
        let keys_exist = gateway.directory().has_caller_keys();
        let sources = Sources { keys_exist, ..self.sources.clone() };
        // The file may be on a disk that takes its time.
        let read = tokio::task::spawn_blocking(move || load(&sources)).await;
        match read {
            Ok(Ok(settings)) if settings.providers.is_empty() && !gateway.settings().providers.is_empty() => {
                tracing::error!(
                    "the new configuration has no provider, as if it were not written yet; the old one stays in force"
                );
                None
            }
            Ok(Ok(settings)) => Some(Arc::new(settings)),
            Ok(Err(errors)) => {
                for line in errors.to_string().lines() {
                    tracing::error!(
                        mistake = line,
                        "the new configuration is wrong; the old one stays in force"
                    );
                }
                None
            }
            Err(error) => {
                tracing::error!(%error, "the configuration could not be read; the old one stays in force");
                None
            }
        }
    }
}

fn put_in_force(gateway: &Arc<Gateway>, settings: &Arc<Settings>) {
    let before = gateway.settings();
    match gateway.reload(Arc::clone(settings)) {
        Ok(()) => {
            tracing::info!(
                providers = settings.providers.len(),
                models = settings.models.len(),
                "the new configuration is in force"
            );
            tell_notices(settings);
            tell_restart(&before, settings);
        }
        Err(error) => {
            let mistake = chain(&error);
            tracing::error!(mistake, "the new configuration is wrong; the old one stays in force");
        }
    }
}

/// Whether providers or models are gone.
fn takes_away(before: &Settings, now: &Settings) -> bool {
    before.providers.keys().any(|name| !now.providers.contains_key(name))
        || before.models.keys().any(|name| !now.models.contains_key(name))
}

/// Logs what the operator should know although nothing is wrong.
pub(crate) fn tell_notices(settings: &Settings) {
    for notice in &settings.notices {
        tracing::warn!("{notice}");
    }
}

/// Says which changes a reload cannot bring into force.
fn tell_restart(before: &Settings, now: &Settings) {
    let changes = [
        ("server.listen", before.server.listen != now.server.listen),
        ("server.workers", before.server.workers != now.server.workers),
        ("data", before.data != now.data),
        ("store", before.store != now.store),
        ("shared", before.shared != now.shared),
        ("ledger", before.ledger != now.ledger),
    ];
    for (setting, _) in changes.into_iter().filter(|(_, is_changed)| *is_changed) {
        tracing::warn!(setting, "this change needs a restart");
    }
}

/// The directory is watched, not the file: editors and Kubernetes put another file in its place.
fn watch_directory(file: &Path, sender: mpsc::Sender<()>) -> Result<RecommendedWatcher, notify::Error> {
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // Full means that a change is waiting already.
            let _ = sender.try_send(());
        }
    })?;
    watcher.watch(directory, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// What the file holds, in short: tells a change from an event in its neighbourhood.
fn fingerprint(file: &Path) -> Option<u64> {
    let content = std::fs::read(file).ok()?;
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    Some(hasher.finish())
}
