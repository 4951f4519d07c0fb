//! From what was told (flags, file, environment) to [`Settings`] or the list of everything that is wrong.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::diagnostic::{ConfigErrors, Mistake};
use crate::env::{CONFIG_VARIABLE, Environment};
use crate::known;
use crate::secret::Secret;
use crate::settings::{Auth, Key, KeySource, Origin, Provider, Settings, Timeouts};

/// The file that is read when neither a flag nor the environment names one.
pub const DEFAULT_FILE: &str = "tidegate.yaml";

/// What `load` reads from. Flags win over the file.
#[derive(Debug, Clone)]
pub struct Sources {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// The directory in which `tidegate.yaml` is looked for, and to which relative paths refer.
    pub directory: PathBuf,
    /// The environment variables.
    pub environment: Environment,
    /// Whether the store holds a key already. Without one, only a loopback address is listened on.
    pub keys_exist: bool,
}

impl Sources {
    /// The usual sources: no flags, the working directory, the variables of this process, no key yet.
    pub fn of_process() -> Self {
        Self {
            config: None,
            listen: None,
            directory: PathBuf::from("."),
            environment: Environment::of_process(),
            keys_exist: false,
        }
    }
}

/// Reads everything once and resolves it.
pub fn load(sources: &Sources) -> Result<Settings, ConfigErrors> {
    match find_file(sources) {
        Some(path) => {
            Err(ConfigErrors::new(vec![Mistake::new(format!("{} cannot be read yet", path.display()))], None))
        }
        None => {
            let mut settings = Settings::from_environment(&sources.environment);
            if let Some(listen) = sources.listen {
                settings.server.listen = listen;
            }
            match check_listen(&settings, sources.keys_exist) {
                Some(mistake) => Err(ConfigErrors::new(vec![mistake], None)),
                None => Ok(settings),
            }
        }
    }
}

fn find_file(sources: &Sources) -> Option<PathBuf> {
    if let Some(path) = &sources.config {
        return Some(path.clone());
    }
    if let Some(path) = sources.environment.get(CONFIG_VARIABLE) {
        return Some(PathBuf::from(path));
    }
    let path = sources.directory.join(DEFAULT_FILE);
    path.exists().then_some(path)
}

/// Anybody could spend the owner's money on an open address, so it takes a key or a deliberate word.
fn check_listen(settings: &Settings, keys_exist: bool) -> Option<Mistake> {
    let server = &settings.server;
    if keys_exist || server.auth == Auth::Open || server.listen.ip().is_loopback() {
        return None;
    }
    Some(
        Mistake::new(format!("{} can be reached from other machines, and no key exists yet", server.listen))
            .help("listen on 127.0.0.1, or set `auth: open` under `server:` if everybody may call"),
    )
}

impl Settings {
    /// What runs without a file: the providers whose usual key variable is set.
    pub fn from_environment(environment: &Environment) -> Self {
        let mut settings = Self::empty(Origin::Environment);
        for kind in known::kinds() {
            let (Some(base_url), Some(key)) = (kind.base_url, key_of(kind, environment)) else { continue };
            let provider = Provider {
                name: kind.id.to_owned(),
                kind: kind.id.to_owned(),
                base_url: base_url.to_owned(),
                keys: vec![key],
                headers: indexmap::IndexMap::new(),
                timeouts: Timeouts::default(),
            };
            settings.providers.insert(provider.name.clone(), provider);
        }
        settings
    }
}

/// The key that the environment holds for a kind of provider.
pub(crate) fn key_of(kind: known::Kind, environment: &Environment) -> Option<Key> {
    kind.key_variables.iter().find_map(|name| {
        let secret = Secret::new(environment.get(name)?);
        Some(Key { secret, weight: 1, source: KeySource::Variable((*name).to_owned()) })
    })
}
