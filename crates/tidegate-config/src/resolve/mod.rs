//! From what the file says to what holds: defaults filled in, names looked up, contradictions refused. Called by `load`.
//!
//! | module | settles |
//! |---|---|
//! | `server` | where to listen, and whether that is safe |
//! | `providers` | kinds, addresses, keys, headers |
//! | `models` | targets, strategies, fallbacks without circles |
//! | `routing` | strategies, conditions, hedges, what `auto` means, calls that wait |
//! | `experiments` | what is tried out |
//! | `keep` | the store, what replicas share, the ledger |
//! | `auth` | whose tokens are believed |
//! | `policy` | deadlines, retries, what goes on to the next target; prices |

mod auth;
mod experiments;
mod keep;
mod models;
mod policy;
mod providers;
mod routing;
mod server;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::diagnostic::Mistake;
use crate::env::Environment;
use crate::file::File;
use crate::read::Located;
use crate::settings::{KeySource, Origin, Settings};
use crate::yaml::Node;

/// What resolving needs besides the file's values.
pub(crate) struct Resolver<'a> {
    /// The file as a tree: what was written, even where it could not be read.
    pub(crate) tree: &'a Node,
    /// The file as it is written.
    pub(crate) text: &'a str,
    pub(crate) environment: &'a Environment,
    /// Where interpolated values came from.
    pub(crate) sources: &'a HashMap<usize, KeySource>,
    /// The `--listen` flag, which wins over the file.
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) keys_exist: bool,
    pub(crate) mistakes: &'a mut Vec<Mistake>,
}

/// More than this says nothing that smaller weights could not.
const HEAVIEST: u32 = 10_000;

impl Resolver<'_> {
    /// Settles everything. The result is worth something only if no mistake was added.
    pub(crate) fn resolve(mut self, file: &File, origin: Origin) -> Settings {
        let mut settings = Settings::empty(origin);
        settings.server = self.server(file.server.as_ref());
        if let Some(data) = &file.data {
            if data.value.trim().is_empty() {
                self.report(Mistake::new("`data` is empty").help("name a directory"), data);
            }
            settings.data = PathBuf::from(&data.value);
        }
        settings.store = self.store(file);
        settings.shared = self.shared(file, &mut settings.notices);
        settings.ledger = self.ledger(file.ledger.as_ref(), &mut settings.notices);
        settings.jwt = self.jwt_issuers(file.auth.as_ref(), &mut settings.notices);
        settings.policy = self.general_policy(file);
        if self.tree.get("providers").is_some() {
            settings.providers = self.providers(&file.providers, &settings.policy, &mut settings.notices);
            self.refuse_self_calls(&file.providers, &settings);
        } else {
            settings.providers = providers::from_environment(self.environment, settings.policy.timeouts);
        }
        settings.models = self.models(&file.models, &settings.policy, &settings.providers);
        settings.auto = self.auto(file.auto.as_ref(), &settings.providers);
        settings.experiments = self.experiments(file, &settings);
        settings.prices = self.prices(&file.prices, &settings.providers);
        settings
    }

    fn report<T>(&mut self, mistake: Mistake, at: &Located<T>) {
        self.mistakes.push(mistake.at(at.place.clone()));
    }

    /// Does something whose mistakes have been reported before.
    fn quiet<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let reported = self.mistakes.len();
        let done = work(self);
        self.mistakes.truncate(reported);
        done
    }

    /// A weight, 1 when left out.
    fn weight(&mut self, weight: Option<&Located<u32>>) -> u32 {
        if weight.is_some_and(|weight| weight.value == 0) {
            let mistake = Mistake::new(format!("a weight is between 1 and {HEAVIEST}, not 0"));
            self.mistakes.extend(weight.map(|weight| {
                mistake.help("leave the entry out if it shall get no calls").at(weight.place.clone())
            }));
            return 1;
        }
        self.weight_or_none(weight)
    }

    /// A weight, 1 when left out. 0 makes a stand-by.
    fn weight_or_none(&mut self, weight: Option<&Located<u32>>) -> u32 {
        let Some(weight) = weight else { return 1 };
        if !(0..=HEAVIEST).contains(&weight.value) {
            self.report(
                Mistake::new(format!("a weight is at most {HEAVIEST}, not {}", weight.value)),
                weight,
            );
        }
        weight.value
    }

    /// Names of the user's choosing appear in headers, metrics and logs.
    fn check_name(&mut self, what: &str, name: &str, at: &std::ops::Range<usize>, slash_allowed: bool) {
        /// Longer ones do not fit a line of a log.
        const LONGEST_NAME: usize = 100;

        let is_fit = |letter: char| {
            letter.is_ascii_alphanumeric() || "-_.:@+".contains(letter) || (slash_allowed && letter == '/')
        };
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_fit) {
            let slash = if slash_allowed { " `/`" } else { "" };
            self.mistakes.push(
                Mistake::new(format!("`{name}` cannot be the name of a {what}"))
                    .help(format!("up to {LONGEST_NAME} letters, digits and `-` `_` `.` `:` `@` `+`{slash}"))
                    .at(at.clone()),
            );
        }
    }
}
