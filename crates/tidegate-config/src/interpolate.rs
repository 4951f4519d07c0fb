//! `${VARIABLE}`, `${VARIABLE:-default}` and `${file:/path}` in any text of the file. Runs over the tree before it is read.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::diagnostic::Mistake;
use crate::env::Environment;
use crate::settings::KeySource;
use crate::yaml::{Node, Shape};

/// A secret in a file of its own: keys are some hundred bytes, service-account files some thousand.
const MAX_SECRET_FILE_BYTES: u64 = 64 * 1024;

/// All that is filled in, together: a file that names a large file over and over must not fill the memory.
const MAX_FILLED_BYTES: usize = 4 * 1024 * 1024;

/// What interpolation learnt about the values that it changed.
#[derive(Debug, Default)]
pub(crate) struct Interpolated {
    /// Where a value came from, by the byte at which it starts.
    pub(crate) sources: HashMap<usize, KeySource>,
    /// The values that could not be filled in. Nothing further is said about them.
    pub(crate) failed: Vec<Range<usize>>,
}

/// Fills in the references of a tree. What cannot be filled in stays as it is and is reported.
pub(crate) fn interpolate(
    tree: &mut Node,
    text: &str,
    environment: &Environment,
    directory: &Path,
    mistakes: &mut Vec<Mistake>,
) -> Interpolated {
    let mut walk =
        Walk { text, environment, directory, mistakes, result: Interpolated::default(), filled_bytes: 0 };
    walk.visit(tree);
    walk.result
}

struct Walk<'a> {
    text: &'a str,
    environment: &'a Environment,
    directory: &'a Path,
    mistakes: &'a mut Vec<Mistake>,
    result: Interpolated,
    filled_bytes: usize,
}

impl Walk<'_> {
    fn visit(&mut self, node: &mut Node) {
        match &mut node.shape {
            Shape::Null => {}
            Shape::Sequence(items) => items.iter_mut().for_each(|item| self.visit(item)),
            Shape::Mapping(entries) => entries.iter_mut().for_each(|entry| self.visit(&mut entry.value)),
            Shape::Scalar(scalar) => {
                if let Some(filled) = self.fill(scalar, &node.place) {
                    *scalar = filled;
                }
            }
        }
    }

    /// The text with its references filled in; none where it has none or one of them failed.
    fn fill(&mut self, scalar: &str, place: &Range<usize>) -> Option<String> {
        if !scalar.contains("${") {
            return None;
        }
        let mut output = String::with_capacity(scalar.len());
        let mut rest = scalar;
        let mut complete = true;
        while let Some(start) = rest.find("${") {
            let (before, reference) = rest.split_at(start);
            if let Some(before) = before.strip_suffix('$') {
                // `$${` is how a `${` is written that is meant as it stands.
                output.push_str(before);
                output.push_str("${");
                rest = reference.get(2..).unwrap_or_default();
                continue;
            }
            output.push_str(before);
            let Some(end) = reference.find('}') else {
                self.fail(
                    place,
                    reference,
                    Mistake::new("`${` without its `}`").help("write `$${` for a plain `${`"),
                );
                return None;
            };
            match self.look_up(reference.get(2..end).unwrap_or_default()) {
                Ok((value, _)) if self.filled_bytes.saturating_add(value.len()) > MAX_FILLED_BYTES => {
                    self.fail(place, scalar, Mistake::new("more is filled in here than 4 MiB"));
                    return None;
                }
                Ok((value, source)) => {
                    self.filled_bytes += value.len();
                    output.push_str(&value);
                    self.result.sources.entry(place.start).or_insert(source);
                }
                Err(mistake) => {
                    self.fail(place, reference.get(..=end).unwrap_or(reference), mistake);
                    complete = false;
                }
            }
            rest = reference.get(end + 1..).unwrap_or_default();
        }
        output.push_str(rest);
        complete.then_some(output)
    }

    fn fail(&mut self, place: &Range<usize>, reference: &str, mistake: Mistake) {
        // Inside the value where it stands there letter by letter, else the value as a whole.
        let inside = self.text.get(place.clone()).and_then(|written| written.find(reference));
        let exact = inside.map(|offset| place.start + offset..place.start + offset + reference.len());
        self.mistakes.push(mistake.at(exact.unwrap_or_else(|| place.clone())));
        self.result.failed.push(place.clone());
    }

    /// What a reference stands for, given what is between its braces.
    fn look_up(&self, reference: &str) -> Result<(String, KeySource), Mistake> {
        if let Some(path) = reference.strip_prefix("file:") {
            let path = self.directory.join(path.trim());
            return Ok((read_secret(&path)?, KeySource::File(path.display().to_string())));
        }
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        let is_name = |name: &str| {
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
        };
        if !is_name(name) {
            return Err(Mistake::new(format!("`{name}` cannot be the name of an environment variable"))
                .help("references are `${VARIABLE}`, `${VARIABLE:-default}` and `${file:/path}`"));
        }
        match (self.environment.get(name), default) {
            (Some(value), _) => Ok((value, KeySource::Variable(name.to_owned()))),
            (None, Some(default)) => Ok((default.to_owned(), KeySource::Inline)),
            (None, None) => Err(Mistake::new(format!("the environment variable `{name}` is not set"))
                .help(format!("set it, or give a default: `${{{name}:-…}}`"))),
        }
    }
}

/// Reads a secret, less the line break that editors put at its end.
fn read_secret(path: &PathBuf) -> Result<String, Mistake> {
    let wrong = |what: String| Mistake::new(format!("{} {what}", path.display()));
    let mut secret = String::new();
    let file = File::open(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    file.take(MAX_SECRET_FILE_BYTES + 1)
        .read_to_string(&mut secret)
        .map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if u64::try_from(secret.len()).unwrap_or(u64::MAX) > MAX_SECRET_FILE_BYTES {
        return Err(wrong(format!("is larger than {MAX_SECRET_FILE_BYTES} bytes: is it the right file?")));
    }
    let secret = secret.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(wrong("is empty".to_owned()));
    }
    Ok(secret.to_owned())
}
