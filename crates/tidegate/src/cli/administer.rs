//! What the commands that administer have in common: which store, in whose name, and limits and permissions as they are
//! written on a command line.

use std::path::PathBuf;

use clap::Args;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde_json::{Map, Value, json};
use tidegate_config::{Environment, Origin, Sources, load};
use tidegate_policy::{Limits, Permissions};
use tidegate_store::{
    Access, Actor, Organization, OrganizationId, Store, StoreError, StoreOptions, Team, TeamId,
};

use crate::failure::Failure;
use crate::stores;

/// Takes away what is there.
const NONE: &str = "none";

/// The store that is administered.
#[derive(Debug, Clone, Args)]
pub(super) struct Place {
    /// The configuration that names the store [default: as for `serve`]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of an embedded store, whatever the configuration says
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<PathBuf>,
}

/// Limits, in short.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Bounds {
    /// 60/minute: requests a second, minute, hour or day; or none
    #[arg(long, value_name = "N/PERIOD", value_delimiter = ',')]
    requests: Vec<String>,
    /// 100000/minute: tokens, likewise
    #[arg(long, value_name = "N/PERIOD", value_delimiter = ',')]
    tokens: Vec<String>,
    /// Calls at the same time; or none
    #[arg(long, value_name = "N")]
    in_flight: Option<String>,
    /// 100/month: US dollars, hour to lifetime; 80/month/soft tells; or none
    #[arg(long, value_name = "USD/PERIOD", value_delimiter = ',')]
    budget: Vec<String>,
}

/// Limits and permissions, in short.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Shape {
    #[command(flatten)]
    bounds: Bounds,
    /// Models that may be asked for: fast, openai/*; or none for all
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    model: Vec<String>,
    /// Addresses that calls may come from: 10.0.0.0/8; or none for all
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    address: Vec<String>,
    /// All permissions as the API takes them: `{"providers": ["openai"]}`
    #[arg(long, value_name = "JSON")]
    permissions: Option<String>,
}

impl Place {
    /// Does something with the store, perhaps while a gateway serves from it. Where there is none yet, it is made: a key
    /// may be wanted before the first start.
    pub(super) fn administer<T>(
        &self,
        act: impl AsyncFnOnce(&Access, &Actor) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.administer_store(async |_, access, actor| act(access, actor).await)
    }

    /// The same with the store's ledger.
    pub(super) fn administer_store<T>(
        &self,
        act: impl AsyncFnOnce(&Store, &Access, &Actor) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let environment = Environment::of_process();
        let place = if let Some(directory) = &self.data {
            StoreOptions::embedded(directory)
        } else {
            stores::options(&load(&self.sources())?)?
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| anyhow::anyhow!(error).context("the runtime could not be started"))?;
        runtime.block_on(async {
            let store = match Store::open_existing(&place).await {
                Err(StoreError::Missing { .. } | StoreError::Older { found: 0, .. }) => {
                    Store::open(&place).await
                }
                opened => opened,
            }?;
            let access = stores::access(&store, &environment)?;
            let done = act(&store, &access, &actor(&environment)).await;
            store.close().await;
            done
        })
    }
}

impl Place {
    fn sources(&self) -> Sources {
        // An address that others reach needs a key, and this may be on the way to make it.
        Sources { config: self.config.clone(), keys_exist: true, ..Sources::of_process() }
    }

    /// Refuses permissions that name a provider which the configuration file does not have, and which were not there before.
    /// Without a file it is the environment of the gateway that says which there are, and not this one's.
    pub(super) fn check_providers(&self, before: &Permissions, after: &Permissions) -> Result<(), Failure> {
        if self.data.is_some() || after.providers == before.providers {
            return Ok(());
        }
        let settings = load(&self.sources())?;
        let known = || settings.providers.keys().map(String::as_str);
        let is_known = |name: &str| settings.providers.contains_key(name);
        let mut named = after.providers.iter().filter(|name| !before.providers.contains(name));
        match named.find(|name| !is_known(name)) {
            Some(unknown) if matches!(settings.origin, Origin::File(_)) => Err(Failure::wrong(
                format!("there is no provider `{unknown}` in the configuration"),
                match tidegate_config::closest(unknown, known(), 1).first() {
                    Some(meant) => format!("Did you mean `{meant}`?"),
                    None => format!("There are: {}.", known().collect::<Vec<_>>().join(", ")),
                },
            )),
            _ => Ok(()),
        }
    }
}

/// Who does it, for the audit log.
fn actor(environment: &Environment) -> Actor {
    #[cfg(unix)]
    let number = || rustix::process::getuid().as_raw().to_string();
    #[cfg(not(unix))]
    let number = || "unknown".to_owned();
    Actor::command_line(&environment.user().unwrap_or_else(number))
}

impl Bounds {
    /// Puts what is said in the place of what was there.
    pub(super) fn apply(&self, limits: &Limits) -> Result<Limits, Failure> {
        let mut limit_map = object(limits);
        set(&mut limit_map, "requests", &self.requests, |text| rate("requests", text))?;
        set(&mut limit_map, "tokens", &self.tokens, |text| rate("tokens", text))?;
        set(&mut limit_map, "budgets", &self.budget, budget)?;
        match self.in_flight.as_deref() {
            None => {}
            Some(NONE) => drop(limit_map.remove("in_flight")),
            Some(text) => {
                let number: u32 =
                    text.parse().map_err(|_error| wrong("in-flight", text, "a number, or none"))?;
                limit_map.insert("in_flight".to_owned(), number.into());
            }
        }
        read("limits", limit_map)
    }
}

impl Shape {
    /// Puts what is said in the place of what was there.
    pub(super) fn apply(
        &self,
        limits: &Limits,
        permissions: &Permissions,
    ) -> Result<(Limits, Permissions), Failure> {
        let limits = self.bounds.apply(limits)?;
        let mut permission_map = match &self.permissions {
            None => object(permissions),
            Some(text) => serde_json::from_str(text)
                .map_err(|error| Failure::wrong(format!("--permissions is no JSON object: {error}"), HELP))?,
        };
        set(&mut permission_map, "models", &self.model, |text| Ok(Value::from(text)))?;
        set(&mut permission_map, "addresses", &self.address, |text| Ok(Value::from(text)))?;
        Ok((limits, read("permissions", permission_map)?))
    }
}

const HELP: &str = "docs/keys.md shows limits and permissions by example";

fn object(value: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

fn set(
    map: &mut Map<String, Value>,
    field: &str,
    texts: &[String],
    parse: impl Fn(&str) -> Result<Value, Failure>,
) -> Result<(), Failure> {
    match texts {
        [] => {}
        [only] if only == NONE => drop(map.remove(field)),
        texts => {
            let items = texts.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
            map.insert(field.to_owned(), items.into());
        }
    }
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(what: &str, map: Map<String, Value>) -> Result<T, Failure> {
    serde_json::from_value(Value::Object(map))
        .map_err(|error| Failure::wrong(format!("these {what} cannot be: {error}"), HELP))
}

fn rate(flag: &str, text: &str) -> Result<Value, Failure> {
    let parsed = text.split_once('/').and_then(|(max, per)| Some((max.parse::<u64>().ok()?, per)));
    let (max, per) = parsed.ok_or_else(|| wrong(flag, text, "a number and a period, as in 60/minute"))?;
    Ok(json!({"max": max, "per": per}))
}

fn budget(text: &str) -> Result<Value, Failure> {
    let mut parts = text.splitn(3, '/');
    let (Some(usd), Some(per)) = (parts.next(), parts.next()) else {
        return Err(wrong("budget", text, "US dollars and a period, as in 100/month"));
    };
    Ok(json!({"usd": usd, "per": per, "kind": parts.next().unwrap_or("hard")}))
}

fn wrong(flag: &str, text: &str, right: &str) -> Failure {
    Failure::wrong(format!("--{flag} {text} cannot be read"), format!("It takes {right}."))
}

/// All organisations.
pub(super) async fn organizations(access: &Access) -> Result<Vec<Organization>, StoreError> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = access.organizations(after.as_ref(), 1_000).await?;
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

/// All teams.
pub(super) async fn teams(access: &Access) -> Result<Vec<Team>, StoreError> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = access.teams(None, after.as_ref(), 1_000).await?;
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

/// The organisation of this id or name.
pub(super) async fn organization(access: &Access, id_or_name: &str) -> Result<Organization, Failure> {
    if let Some(organization) = access.organization(&OrganizationId::from(id_or_name)).await? {
        return Ok(organization);
    }
    let named = organizations(access).await?.into_iter().find(|it| it.name == id_or_name);
    named.ok_or_else(|| {
        Failure::not_found(
            format!("there is no organization `{id_or_name}`"),
            "`tidegate orgs list` shows all of them, `tidegate orgs create` makes one.",
        )
    })
}

/// The team of this id or name.
pub(super) async fn team(access: &Access, id_or_name: &str) -> Result<Team, Failure> {
    if let Some(team) = access.team(&TeamId::from(id_or_name)).await? {
        return Ok(team);
    }
    let mut found = teams(access).await?;
    found.retain(|team| team.name == id_or_name);
    match (found.pop(), found.len()) {
        (Some(team), 0) => Ok(team),
        (Some(_), _) => Err(Failure::wrong(
            format!("several organizations have a team `{id_or_name}`"),
            "Name it by its id; `tidegate teams list` shows them.",
        )),
        (None, _) => Err(Failure::not_found(
            format!("there is no team `{id_or_name}`"),
            "`tidegate teams list` shows all of them, `tidegate teams create` makes one.",
        )),
    }
}

/// Reads a point in time to come: `30d` from now, `2026-12-31`, `2026-12-31T12:00:00Z`; `None` for `never`.
pub(super) fn moment_to_come(text: &str) -> Result<Option<Timestamp>, String> {
    if text == "never" {
        return Ok(None);
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(Some(moment));
    }
    let wrong =
        || format!("`{text}` is not a time: write `30d`, `2026-12-31`, `2026-12-31T12:00:00Z` or `never`");
    if let Ok(date) = text.parse::<Date>() {
        return date.to_zoned(TimeZone::UTC).map(|start| Some(start.timestamp())).map_err(|_error| wrong());
    }
    let span: Span = text.parse().map_err(|_error| wrong())?;
    if span.is_negative() {
        return Err(wrong());
    }
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    now.checked_add(span).map(|moment| Some(moment.timestamp())).map_err(|_error| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(flag: &str, text: &str) -> Shape {
        let texts = text.split(',').map(str::to_owned).collect();
        let bounds = Bounds::default();
        match flag {
            "requests" => Shape { bounds: Bounds { requests: texts, ..bounds }, ..Shape::default() },
            "budget" => Shape { bounds: Bounds { budget: texts, ..bounds }, ..Shape::default() },
            "model" => Shape { model: texts, ..Shape::default() },
            "in-flight" => {
                let bounds = Bounds { in_flight: Some(text.to_owned()), ..bounds };
                Shape { bounds, ..Shape::default() }
            }
            _ => Shape { permissions: Some(text.to_owned()), ..Shape::default() },
        }
    }

    #[test]
    fn limits_and_permissions_are_read_from_short_words_and_leave_the_rest_alone() {
        let before: Limits =
            serde_json::from_str(r#"{"in_flight":3,"budgets":[{"usd":1,"per":"day"}]}"#).unwrap();
        for (flag, text, limits, permissions) in [
            (
                "requests",
                "60/minute,5/second",
                r#"{"requests":[{"max":60,"per":"minute"},{"max":5,"per":"second"}],"in_flight":3,"budgets":[{"usd":1,"per":"day"}]}"#,
                "{}",
            ),
            (
                "budget",
                "0.5/month/soft",
                r#"{"in_flight":3,"budgets":[{"usd":"0.5","per":"month","kind":"soft"}]}"#,
                "{}",
            ),
            ("budget", "none", r#"{"in_flight":3}"#, "{}"),
            ("in-flight", "none", r#"{"budgets":[{"usd":1,"per":"day"}]}"#, "{}"),
            (
                "model",
                "fast,openai/*",
                r#"{"in_flight":3,"budgets":[{"usd":1,"per":"day"}]}"#,
                r#"{"models":["fast","openai/*"]}"#,
            ),
        ] {
            let (after, may) = shape(flag, text).apply(&before, &Permissions::default()).unwrap();
            assert_eq!(after, serde_json::from_str(limits).unwrap(), "{flag} {text}");
            assert_eq!(may, serde_json::from_str(permissions).unwrap(), "{flag} {text}");
        }
        for (flag, text) in [
            ("requests", "60"),
            ("requests", "60/fortnight"),
            ("budget", "-1/day"),
            ("in-flight", "x"),
            ("", "[]"),
            ("", r#"{"model":[]}"#),
        ] {
            assert!(shape(flag, text).apply(&before, &Permissions::default()).is_err(), "{flag} {text}");
        }
    }

    #[test]
    fn a_time_to_come_is_a_length_from_now_or_a_date() {
        let soon = moment_to_come("30d").unwrap().unwrap();
        assert!(soon > Timestamp::now() && soon < moment_to_come("31d").unwrap().unwrap());
        assert_eq!(moment_to_come("never"), Ok(None));
        assert_eq!(moment_to_come("2030-01-31").unwrap().unwrap().to_string(), "2030-01-31T00:00:00Z");
        assert!(moment_to_come("-3d").is_err() && moment_to_come("later").is_err());
    }
}
