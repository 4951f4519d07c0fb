//! Where things are kept, and what: `store`, `shared`, `ledger`.

use std::collections::HashSet;

use super::Resolver;
use crate::diagnostic::Mistake;
use crate::file::{BodiesSection, File, KeepKind, LedgerSection, RedactEntry, SharedEntry, UnreachableKind};
use crate::read::Located;
use crate::secret::Secret;
use crate::settings::{Bodies, KeepBodies, Ledger, Redaction, Shared, Store, Unreachable};
use crate::suggest;

/// What PostgreSQL's own programs take.
const STORE_SCHEMES: [&str; 2] = ["postgres", "postgresql"];
/// TLS is the `s`, and the ending says what is found at the address.
const SHARED_SCHEMES: [&str; 12] = [
    "redis",
    "rediss",
    "valkey",
    "valkeys",
    "redis-cluster",
    "rediss-cluster",
    "valkey-cluster",
    "valkeys-cluster",
    "redis-sentinel",
    "rediss-sentinel",
    "valkey-sentinel",
    "valkeys-sentinel",
];
/// Every name of an entry carries the prefix.
const LONGEST_PREFIX: usize = 50;
/// Two segments: one that is written and one that is read.
const SMALLEST_JOURNAL: u64 = 16 * 1024 * 1024;
/// More than a disk holds is a mistake in the unit.
const LARGEST_ON_DISK: u64 = 1024 * 1024 * 1024 * 1024 * 1024;
/// A ledger of this size holds a day of an ordinary gateway.
const SMALLEST_RETENTION: u64 = 64 * 1024 * 1024;
/// Bodies go through memory and into one row of the database.
const LARGEST_BODY: u64 = 4 * 1024 * 1024;
/// Each is searched for in every body that is kept.
const MOST_PATTERNS: usize = 50;
/// Longer expressions are lists, which belong elsewhere.
const LONGEST_PATTERN: usize = 1_000;

impl Resolver<'_> {
    pub(super) fn store(&mut self, file: &File) -> Store {
        let Some(url) = &file.store else { return Store::Embedded };
        let help = "write it as `postgres://user:…@host/database`; without `store`, calls are kept in the directory `data`";
        self.check_url("store", url, &STORE_SCHEMES, help);
        Store::Postgres(Secret::new(url.value.trim()))
    }

    pub(super) fn shared(&mut self, file: &File, notices: &mut Vec<String>) -> Option<Shared> {
        let entry = file.shared.as_ref()?;
        let mut shared = Shared {
            url: Secret::new(""),
            unreachable: Unreachable::default(),
            prefix: "tidegate".to_owned(),
        };
        let help = "write it as `redis://host:6379`, or `rediss://host:6379` for TLS";
        match &entry.value {
            SharedEntry::Text(url) => {
                let url = Located {
                    value: url.clone(),
                    place: entry.place.clone(),
                    key_place: entry.key_place.clone(),
                };
                self.check_url("shared", &url, &SHARED_SCHEMES, help);
                shared.url = Secret::new(url.value.trim());
            }
            SharedEntry::Mapping(section) => {
                self.check_url("shared.url", &section.url, &SHARED_SCHEMES, help);
                shared.url = Secret::new(section.url.value.trim());
                shared.unreachable = match section.unreachable {
                    Some(UnreachableKind::Deny) => Unreachable::Deny,
                    Some(UnreachableKind::Local) | None => Unreachable::Local,
                };
                if let Some(prefix) = &section.prefix {
                    self.check_prefix(prefix);
                    shared.prefix.clone_from(&prefix.value);
                }
            }
        }
        if file.store.is_none() {
            notices.push(
                "shared: limits are counted together with other replicas, but keys, budgets and the ledger are this replica's own; several replicas need `store: postgres://…`"
                    .to_owned(),
            );
        }
        Some(shared)
    }

    fn check_prefix(&mut self, prefix: &Located<String>) {
        let is_fit = |letter: char| letter.is_ascii_alphanumeric() || "-_.:".contains(letter);
        let text = &prefix.value;
        if text.is_empty() || text.len() > LONGEST_PREFIX || !text.chars().all(is_fit) {
            self.report(
                Mistake::new(format!("`{text}` cannot begin the names of entries"))
                    .help(format!("up to {LONGEST_PREFIX} letters, digits and `-` `_` `.` `:`")),
                prefix,
            );
        }
    }

    /// The URL is not quoted, as it holds a password more often than not.
    fn check_url(&mut self, key: &str, url: &Located<String>, schemes: &[&str], help: &str) {
        let text = url.value.trim();
        let mut wrong = |why: String, help: &str| {
            self.report(Mistake::new(format!("`{key}` {why}")).help(help), url);
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return wrong("is not a URL".to_owned(), help);
        };
        if !schemes.contains(&scheme) {
            let is_name = scheme.len() <= LONGEST_PREFIX
                && scheme.bytes().all(|byte| byte.is_ascii_lowercase() || b"+-".contains(&byte));
            let found = if is_name { format!("`{scheme}://`") } else { "something else".to_owned() };
            let close = suggest::most_alike(scheme, schemes.iter().copied())
                .map(|close| format!("did you mean `{close}://`?"));
            let expected = schemes.first().copied().unwrap_or_default();
            let why = format!("must begin with `{expected}://`, found {found}");
            return wrong(why, close.as_deref().unwrap_or(help));
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if behind.contains('@') {
            return wrong(
                "is cut off inside its user name or password".to_owned(),
                "write `/` as `%2F`, `?` as `%3F`, `#` as `%23` and `@` as `%40` in them",
            );
        }
        let host = authority.rsplit('@').next().unwrap_or_default();
        // PostgreSQL takes the directory of a socket as `?host=/run/postgresql`.
        if (host.is_empty() || host.starts_with(':')) && !behind.contains("host=") {
            return wrong("has no host".to_owned(), help);
        }
        if text.bytes().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
            return wrong("holds a blank or a line break".to_owned(), help);
        }
        if scheme.ends_with("-sentinel") && !behind.contains("sentinelServiceName=") {
            wrong(
                "does not say which service its sentinels watch".to_owned(),
                "add it: `?sentinelServiceName=…`",
            );
        }
    }

    pub(super) fn ledger(&mut self, section: Option<&LedgerSection>, notices: &mut Vec<String>) -> Ledger {
        let mut ledger = Ledger::default();
        let Some(section) = section else { return ledger };
        ledger.enabled = section.enabled.unwrap_or(true);
        if !ledger.enabled {
            notices.push(
                "ledger.enabled is false: there are no reports, and what was spent of a budget is forgotten at a restart"
                    .to_owned(),
            );
        }
        if let Some(journal) = &section.journal {
            if !(SMALLEST_JOURNAL..=LARGEST_ON_DISK).contains(&journal.value.0) {
                self.report(Mistake::new("`journal` is between 16MiB and 1PiB (`1048576GiB`)"), journal);
            }
            ledger.journal_bytes = journal.value.0;
        }
        if let Some(retention) = &section.retention {
            ledger.retention.age = retention.age.as_ref().map(|age| age.value.0);
            if let Some(size) = &retention.size {
                if !(SMALLEST_RETENTION..=LARGEST_ON_DISK).contains(&size.value.0) {
                    let mistake = Mistake::new("`size` is between 64MiB and 1PiB (`1048576GiB`)");
                    self.report(mistake.help("leave it out to keep calls whatever room they take"), size);
                }
                ledger.retention.size_bytes = Some(size.value.0);
            }
        }
        if let Some(bodies) = &section.bodies {
            ledger.bodies = self.bodies(bodies, ledger.enabled);
        }
        ledger
    }

    fn bodies(&mut self, section: &BodiesSection, is_enabled: bool) -> Bodies {
        let keep = match section.keep {
            Some(KeepKind::All) if is_enabled => KeepBodies::All,
            Some(KeepKind::Errors) if is_enabled => KeepBodies::Errors,
            _ => KeepBodies::None,
        };
        let mut bodies = Bodies { keep, ..Bodies::default() };
        if let Some(max) = &section.max {
            match usize::try_from(max.value.0) {
                Ok(bytes) if (1..=LARGEST_BODY).contains(&max.value.0) => bodies.max = bytes,
                _ => {
                    let mistake = Mistake::new("`max` is between 1B and 4MiB");
                    self.report(mistake.help("to keep no bodies: `keep: none`"), max);
                }
            }
        }
        if let Some(entries) = &section.redact {
            bodies.redact = entries.iter().filter_map(|entry| self.redaction(entry)).collect();
            if let Some(beyond) = entries.get(MOST_PATTERNS) {
                let mistake = Mistake::new(format!("`redact` has more than {MOST_PATTERNS} entries"));
                self.report(mistake.help("join some of them with `|` in one pattern"), beyond);
            }
            let mut seen = HashSet::new();
            bodies.redact.retain(|redaction| seen.insert(format!("{redaction:?}")));
        }
        bodies
    }

    fn redaction(&mut self, entry: &Located<RedactEntry>) -> Option<Redaction> {
        let section = match &entry.value {
            RedactEntry::Mapping(section) => section,
            RedactEntry::Text(name) => {
                let found = Redaction::BUILTIN.into_iter().find(|known| known.name() == name.trim());
                if found.is_none() {
                    let help = match suggest::most_alike(name, Redaction::BUILTIN.iter().map(Redaction::name)) {
                        Some(close) => format!("did you mean `{close}`?"),
                        None => "possible here: `secret`, `email`, `iban`, `card`, `phone`; for an expression of your own: `{ pattern: '…' }`".to_owned(),
                    };
                    self.report(
                        Mistake::new(format!("nothing is redacted by the name `{name}`")).help(help),
                        entry,
                    );
                }
                return found;
            }
        };
        let pattern = &section.pattern;
        if let Err(why) = check_pattern(&pattern.value) {
            self.report(Mistake::new(why.0).help(why.1), pattern);
            return None;
        }
        let name = section.name.as_ref().map_or("redacted", |name| name.value.as_str());
        if let Some(at) = &section.name {
            self.check_name("redaction", name, &at.place, false);
        }
        Some(Redaction::Pattern { pattern: pattern.value.clone(), name: name.to_owned() })
    }
}

/// Compiled here once to see whether it can be; the gateway compiles it for use.
fn check_pattern(pattern: &str) -> Result<(), (String, String)> {
    let syntax = "the syntax is that of Rust's `regex`: no look-around, no back references".to_owned();
    if pattern.len() > LONGEST_PATTERN {
        return Err((format!("the pattern is longer than {LONGEST_PATTERN} characters"), syntax));
    }
    let compiled = regex::RegexBuilder::new(pattern).size_limit(Redaction::LARGEST_COMPILED).build();
    match compiled {
        Ok(compiled) if compiled.is_match("") => Err((
            "the pattern matches nothing at all, and so everywhere".to_owned(),
            "let it match at least one character: `+` in place of `*`".to_owned(),
        )),
        Ok(_) => Ok(()),
        Err(regex::Error::CompiledTooBig(_)) => {
            Err(("the pattern is too large when compiled".to_owned(), "use smaller repetitions".to_owned()))
        }
        Err(error) => {
            let text = error.to_string();
            let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Err((format!("the pattern is not a regular expression: {why}"), syntax))
        }
    }
}
