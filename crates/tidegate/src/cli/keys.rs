//! `tidegate keys`: makes, lists, changes, rotates and disables keys. Works on the store itself, beside a running gateway.
//! A new secret goes to standard output and nothing else does, so that `KEY=$(tidegate keys create --name x)` works.

use std::collections::HashMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::Value;
use tidegate_api::admin::{KeyView, KeyWithSecret};
use tidegate_policy::{Limits, Permissions, Role};
use tidegate_store::{
    Grace, KeyId, KeyRecord, KeySecret, KeyUpdate, KeysQuery, NewKey, RoleFilter, Scope, TeamId,
};

use super::administer::{Place, Shape, moment_to_come, organization, team, teams};
use super::limits::with_usage;
use crate::failure::Failure;
use crate::output::{Side, Table, print, print_json, tell};

/// Keys that one page of a list brings.
const PAGE: u32 = 1_000;

/// Make, list, change, rotate and disable keys
#[derive(Debug, Args)]
#[command(after_help = "Works beside a running gateway; what it changes is in force within a second.")]
pub(crate) struct Options {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Make a key; its secret is printed, this once
    Create(Create),
    /// List keys, the newest first
    List(List),
    /// Show everything about a key and how far its limits are used, as JSON
    Show(One),
    /// Change a key; what is not named stays
    Update(Update),
    /// Give a key a new secret; it is printed, this once
    Rotate(Rotate),
    /// Refuse a key from now on
    Disable(One),
    /// Take a disabled key again
    Enable(One),
}

#[derive(Debug, Args)]
struct Create {
    /// What it is for
    #[arg(long)]
    name: String,
    /// The team that it belongs to, by name or id
    #[arg(long)]
    team: Option<String>,
    /// Its organization, by name or id [default: the team's, or the default one]
    #[arg(long)]
    org: Option<String>,
    /// owner, admin, auditor or member: a key for /admin/v1 instead of models
    #[arg(long, value_parser = role)]
    role: Option<Role>,
    #[command(flatten)]
    shape: Shape,
    /// A tag of all its calls
    #[arg(long, value_name = "NAME=VALUE", value_delimiter = ',', value_parser = tag)]
    tag: Vec<(String, String)>,
    /// From when on it is refused: 30d, 2026-12-31
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// As JSON, with the secret
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct List {
    /// Only keys of this team, by name or id
    #[arg(long)]
    team: Option<String>,
    /// Only administrators' keys of this role
    #[arg(long, value_parser = role)]
    role: Option<Role>,
    /// Only keys with this in their name
    #[arg(long)]
    name: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct One {
    /// The key's id: key_…
    id: String,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct Update {
    /// The key's id: key_…
    id: String,
    /// What it is for
    #[arg(long)]
    name: Option<String>,
    /// The team that it belongs to, by name or id; or none
    #[arg(long)]
    team: Option<String>,
    #[command(flatten)]
    shape: Shape,
    /// Tags of all its calls, in place of those it has
    #[arg(long, value_name = "NAME=VALUE", value_delimiter = ',', value_parser = tag)]
    tag: Vec<(String, String)>,
    /// From when on it is refused: 30d, 2026-12-31, never
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct Rotate {
    /// The key's id: key_…
    id: String,
    /// How long the old secret still works: 0s to 90d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = grace)]
    grace: Duration,
    /// As JSON, with the secret
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(options: Options) -> Result<(), Failure> {
    match options.act {
        Act::Create(create) => make(&create),
        Act::List(options) => list(&options),
        Act::Show(one) => {
            let shown = one.place.administer_store(async |store, access, _| {
                let key = find(access, &one.id).await?;
                let (scope, limits) = (Scope::Key(key.id.clone()), key.limits.clone());
                with_usage(view(key), store, scope, limits).await
            })?;
            print_json(&shown)
        }
        Act::Update(update) => change(&update),
        Act::Rotate(rotate) => {
            let id = KeyId::from(&*rotate.id);
            let done = rotate.place.administer(async |access, actor| {
                Ok(access.rotate_key(&id, Grace(rotate.grace), actor).await?)
            })?;
            show_secret(done, rotate.json, "has a new secret")
        }
        Act::Disable(one) => {
            let id = KeyId::from(&*one.id);
            let done =
                one.place.administer(async |access, actor| Ok(access.disable_key(&id, actor).await?))?;
            show_change(done, one.json, "is disabled")
        }
        Act::Enable(one) => {
            let id = KeyId::from(&*one.id);
            let done =
                one.place.administer(async |access, actor| Ok(access.enable_key(&id, actor).await?))?;
            show_change(done, one.json, "is enabled")
        }
    }
}

fn make(create: &Create) -> Result<(), Failure> {
    let (limits, permissions) = create.shape.apply(&Limits::default(), &Permissions::default())?;
    create.place.check_providers(&Permissions::default(), &permissions)?;
    let expires_at = create.expires.as_deref().map(expiry).transpose()?.flatten();
    let made = create.place.administer(async |access, actor| {
        let team_id = match &create.team {
            Some(name) => Some(team(access, name).await?.id),
            None => None,
        };
        let organization_id = match &create.org {
            Some(name) => Some(organization(access, name).await?.id),
            None => None,
        };
        let new = NewKey {
            name: create.name.clone(),
            organization_id,
            team_id,
            role: create.role,
            limits,
            permissions,
            tags: create.tag.clone(),
            expires_at,
        };
        Ok(access.create_key(new, actor).await?)
    })?;
    show_secret(made, create.json, "is made")
}

fn change(update: &Update) -> Result<(), Failure> {
    let expires_at = update.expires.as_deref().map(expiry).transpose()?;
    let done = update.place.administer(async |access, actor| {
        let key = find(access, &update.id).await?;
        let (limits, permissions) = update.shape.apply(&key.limits, &key.permissions)?;
        update.place.check_providers(&key.permissions, &permissions)?;
        let team_id = match update.team.as_deref() {
            None => None,
            Some("none") => Some(None),
            Some(name) => Some(Some(team(access, name).await?.id)),
        };
        let changes = KeyUpdate {
            name: update.name.clone(),
            team_id,
            limits: Some(limits),
            permissions: Some(permissions),
            tags: (!update.tag.is_empty()).then(|| update.tag.clone()),
            expires_at,
        };
        Ok(access.update_key(&key.id, changes, actor).await?)
    })?;
    show_change(done, update.json, "is changed")
}

fn list(options: &List) -> Result<(), Failure> {
    let (keys, names) = options.place.administer(async |access, _| {
        let mut query = KeysQuery {
            team_id: match &options.team {
                Some(name) => Some(team(access, name).await?.id),
                None => None,
            },
            role: options.role.map_or(RoleFilter::Any, RoleFilter::Only),
            name: options.name.clone(),
            limit: PAGE,
            ..KeysQuery::default()
        };
        let mut keys = Vec::new();
        loop {
            let page = access.keys(&query).await?;
            keys.extend(page.items);
            query.after = page.next;
            if query.after.is_none() {
                let names = teams(access).await?.into_iter().map(|team| (team.id, team.name));
                return Ok((keys, names.collect()));
            }
        }
    })?;
    if options.json {
        return print_json(&Value::Array(keys.into_iter().map(view).collect()));
    }
    print(&table(&keys, &names))
}

fn table(keys: &[KeyRecord], names: &HashMap<TeamId, String>) -> String {
    if keys.is_empty() {
        return "no keys\n".to_owned();
    }
    let mut table = Table::new(
        ["ID", "NAME", "KEY", "ROLE", "TEAM", "STATE", "EXPIRES (UTC)", "MADE (UTC)"]
            .map(|heading| (heading, Side::Left)),
    );
    let now = Timestamp::now();
    let minute = |moment: Timestamp| moment.strftime("%Y-%m-%d %H:%M").to_string();
    for key in keys {
        let state = match key.expires_at {
            _ if key.disabled => "disabled",
            Some(expiry) if expiry <= now => "expired",
            _ => "active",
        };
        table.row([
            key.id.to_string(),
            key.name.clone(),
            key.hint.clone(),
            key.role.map(Role::as_str).unwrap_or_default().to_owned(),
            key.team_id
                .as_ref()
                .map_or_else(String::new, |id| names.get(id).cloned().unwrap_or(id.to_string())),
            state.to_owned(),
            key.expires_at.map(minute).unwrap_or_default(),
            minute(key.created_at),
        ]);
    }
    table.render()
}

async fn find(access: &tidegate_store::Access, id: &str) -> Result<KeyRecord, Failure> {
    let found = access.key(&KeyId::from(id)).await?;
    found.ok_or_else(|| {
        Failure::not_found(format!("there is no key {id}"), "`tidegate keys list` shows all of them.")
    })
}

/// The secret alone on standard output, what else there is to say beside it.
fn show_secret((key, secret): (KeyRecord, KeySecret), json: bool, what: &str) -> Result<(), Failure> {
    if json {
        let secret = secret.expose().to_owned();
        return print_json(&to_json(&KeyWithSecret { key: key.into(), secret }));
    }
    tell(&format!("{} ({}) {what}; the secret is shown this once", key.id, key.name));
    print(&format!("{}\n", secret.expose()))
}

fn show_change(key: KeyRecord, json: bool, what: &str) -> Result<(), Failure> {
    if json {
        return print_json(&view(key));
    }
    tell(&format!("{} ({}) {what}", key.id, key.name));
    Ok(())
}

fn view(key: KeyRecord) -> Value {
    to_json(&KeyView::from(key))
}

fn to_json(value: &impl serde::Serialize) -> Value {
    // Views hold nothing that could not be JSON.
    serde_json::to_value(value).unwrap_or_default()
}

fn role(word: &str) -> Result<Role, String> {
    Role::from_word(word).ok_or_else(|| "one of owner, admin, auditor, member".to_owned())
}

fn tag(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn grace(text: &str) -> Result<Duration, String> {
    // A secret that has leaked. Elsewhere a duration of nothing is a mistake.
    if matches!(text.trim(), "0" | "0s" | "0ms") {
        return Ok(Duration::ZERO);
    }
    tidegate_config::parse_long_duration(text.trim()).map_err(|error| error.to_string())
}

fn expiry(text: &str) -> Result<Option<Timestamp>, Failure> {
    moment_to_come(text).map_err(|error| Failure::wrong("--expires cannot be read", error))
}
