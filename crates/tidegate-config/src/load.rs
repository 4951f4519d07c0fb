//! From what was told (flags, file, environment) to [`Settings`] or the list of everything that is wrong.

use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::diagnostic::{ConfigErrors, Mistake};
use crate::env::{CONFIG_VARIABLE, Environment};
use crate::file::File;
use crate::interpolate::{Interpolated, interpolate};
use crate::mask::{mask_tree, mask_words};
use crate::read::read;
use crate::resolve::Resolver;
use crate::settings::{Origin, Settings};
use crate::yaml::{self, Node, Shape, Tree};

/// The file that is read when neither a flag nor the environment names one.
pub const DEFAULT_FILE: &str = "tidegate.yaml";

/// The largest configuration file. A thousand models with their targets take a quarter of it.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;

/// What `load` reads from. Flags win over the file.
#[derive(Debug, Clone)]
pub struct Sources {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// The directory in which `tidegate.yaml` is looked for, and to which relative paths in `${file:…}` refer.
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

    /// The file that [`load`] reads, if any: `--config`, else the variable `TIDEGATE_CONFIG`, else `tidegate.yaml` where
    /// it exists. A reload watches it.
    pub fn file(&self) -> Option<PathBuf> {
        if let Some(path) = &self.config {
            return Some(path.clone());
        }
        if let Some(path) = self.environment.get(CONFIG_VARIABLE) {
            return Some(PathBuf::from(path));
        }
        // Not joined to `.`, which would show in every message.
        let path = if self.directory == Path::new(".") {
            DEFAULT_FILE.into()
        } else {
            self.directory.join(DEFAULT_FILE)
        };
        path.exists().then_some(path)
    }
}

/// Reads everything once and resolves it.
pub fn load(sources: &Sources) -> Result<Settings, ConfigErrors> {
    match sources.file() {
        Some(path) => {
            let text = read_file(&path).map_err(|mistake| ConfigErrors::new(vec![mistake], None))?;
            load_text(sources, &path, &text)
        }
        None => load_without_file(sources),
    }
}

impl Settings {
    /// What runs without a file and without flags: the providers whose usual key variable is set.
    pub fn from_environment(environment: &Environment) -> Self {
        let sources = Sources { environment: environment.clone(), ..Sources::of_process() };
        // Nothing can be wrong where nothing was said: the defaults listen on loopback.
        load_without_file(&sources).unwrap_or_else(|_impossible| Self::empty(Origin::Environment))
    }
}

fn load_without_file(sources: &Sources) -> Result<Settings, ConfigErrors> {
    let nothing = Node { id: 0, place: 0..0, path: String::new(), shape: Shape::Null };
    let mut mistakes = Vec::new();
    let settings = resolver(sources, &nothing, "", &Interpolated::default(), &mut mistakes)
        .resolve(&File::default(), Origin::Environment);
    if mistakes.is_empty() { Ok(settings) } else { Err(ConfigErrors::new(mistakes, None)) }
}

fn load_text(sources: &Sources, path: &Path, text: &str) -> Result<Settings, ConfigErrors> {
    let name = path.display().to_string();
    let mut mistakes = Vec::new();
    let mut tree = match yaml::parse(text, &mut mistakes) {
        Ok(tree) => tree,
        Err(mistake) => return Err(ConfigErrors::new(vec![mistake], Some((name, mask_words(text))))),
    };
    let interpolated =
        interpolate(&mut tree.root, text, &sources.environment, &sources.directory, &mut mistakes);
    let file = read_tree(&tree, &interpolated, &mut mistakes);

    let mut further = Vec::new();
    let settings = resolver(sources, &tree.root, text, &interpolated, &mut further)
        .resolve(&file, Origin::File(path.to_owned()));
    // A value that could not be filled in has been reported; what else it is not goes without saying.
    further.retain(|mistake| mistake.place.as_ref().is_none_or(|place| !interpolated.failed.contains(place)));
    mistakes.append(&mut further);
    if mistakes.is_empty() {
        Ok(settings)
    } else {
        Err(ConfigErrors::new(mistakes, Some((name, mask_tree(text, &tree)))))
    }
}

fn read_tree(tree: &Tree, interpolated: &Interpolated, mistakes: &mut Vec<Mistake>) -> File {
    match tree.root.shape {
        Shape::Null => File::default(),
        _ => read(&tree.root, &interpolated.failed, mistakes),
    }
}

fn resolver<'a>(
    sources: &'a Sources,
    tree: &'a Node,
    text: &'a str,
    interpolated: &'a Interpolated,
    mistakes: &'a mut Vec<Mistake>,
) -> Resolver<'a> {
    Resolver {
        tree,
        text,
        environment: &sources.environment,
        sources: &interpolated.sources,
        listen: sources.listen,
        keys_exist: sources.keys_exist,
        mistakes,
    }
}

fn read_file(path: &Path) -> Result<String, Mistake> {
    let wrong = |what: String| Mistake::new(format!("{} {what}", path.display()));
    let unreadable = |error: std::io::Error| wrong(format!("cannot be read: {error}"));
    let file = fs::File::open(path).map_err(unreadable)?;
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(wrong("is larger than 1 MiB".to_owned()).help("is it the right file?"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').count();
        wrong(format!("is not UTF-8 text, see line {line}")).help("save it as UTF-8")
    })
}
