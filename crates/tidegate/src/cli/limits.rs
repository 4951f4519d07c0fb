//! `tidegate limits`: the limits of end users and tags, which are no entities of their own, and how far anybody's limits
//! are used.
//!
//! The command does not ask the gateway that runs: it reckons by the ledger. So what calls in flight hold is not shown; the
//! administration API shows it.

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tidegate_api::admin::{LimitsUsageView, SubjectView};
use tidegate_policy::Limits;
use tidegate_store::{
    Access, Level, Limiter, LocalOptions, OrganizationId, Scope, SpendingSource as _, Store, SubjectLimits,
};

use super::administer::{Bounds, Place, organization};
use crate::failure::Failure;
use crate::output::{Side, Table, print, print_json, tell};

/// Items that one page of a list brings.
const PAGE: u32 = 1_000;

/// Limits of end users and tags, and how far any limits are used
#[derive(Debug, Args)]
#[command(
    after_help = "WHOSE is user:ORGANIZATION/NAME or tag:NAME=VALUE; `show` takes org:, team: and key:ID, too."
)]
pub(crate) struct Options {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// List end users and tags that have limits of their own
    List(List),
    /// Show limits and how far they are used, by the ledger
    Show(One),
    /// Set limits of an end user or a tag; what is not named stays
    Set(Set),
    /// Remove the limits of an end user or a tag
    Remove(One),
}

#[derive(Debug, Args)]
struct List {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct One {
    /// user:acme/ann, tag:app=shop; to show, also org:…, team:…, key:…
    #[arg(value_name = "WHOSE")]
    scope: Scope,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct Set {
    /// user:acme/ann, tag:app=shop
    #[arg(value_name = "WHOSE")]
    scope: Scope,
    #[command(flatten)]
    bounds: Bounds,
    /// Refuse its calls, or take them again
    #[arg(long, value_name = "BOOL")]
    disabled: Option<bool>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(options: Options) -> Result<(), Failure> {
    match options.act {
        Act::List(list) => show_all(&list),
        Act::Show(one) => {
            let view = one.place.administer_store(async |store, access, _| {
                let scope = resolved(access, &one.scope).await?;
                let limits = limits_of(access, &scope).await?;
                usage(store, scope, limits).await
            })?;
            if one.json { print_json(&to_json(&view)) } else { print(&table(&to_json(&view))) }
        }
        Act::Set(set) => {
            let done = set.place.administer(async |access, actor| {
                let scope = subject(access, &set.scope).await?;
                let before = access.subject(&scope).await?;
                let was_disabled = before.as_ref().is_some_and(|it| it.disabled);
                let limits = set.bounds.apply(&before.map(|it| it.limits).unwrap_or_default())?;
                let disabled = set.disabled.unwrap_or(was_disabled);
                Ok(access.set_subject(&scope, limits, disabled, actor).await?)
            })?;
            if set.json {
                return print_json(&to_json(&SubjectView::from(done)));
            }
            tell(&format!("the limits of {} are set", done.scope));
            Ok(())
        }
        Act::Remove(one) => {
            let removed = one.place.administer(async |access, actor| {
                let scope = subject(access, &one.scope).await?;
                access.remove_subject(&scope, actor).await?;
                Ok(scope)
            })?;
            if one.json {
                return print_json(&json!({"scope": removed.to_string()}));
            }
            tell(&format!("{removed} has no limits of its own any more"));
            Ok(())
        }
    }
}

fn show_all(list: &List) -> Result<(), Failure> {
    let all = list.place.administer(async |access, _| {
        let mut all: Vec<SubjectLimits> = Vec::new();
        let mut after = None;
        loop {
            let page = access.subjects("", after.as_ref(), PAGE).await?;
            all.extend(page.items);
            after = page.next;
            if after.is_none() {
                return Ok(all);
            }
        }
    })?;
    if list.json {
        return print_json(&Value::Array(
            all.into_iter().map(|it| to_json(&SubjectView::from(it))).collect(),
        ));
    }
    if all.is_empty() {
        return print("no end user and no tag has limits of its own\n");
    }
    let mut table = Table::new(["WHOSE", "LIMITS", "STATE"].map(|heading| (heading, Side::Left)));
    for it in all {
        let state = if it.disabled { "disabled" } else { "active" };
        table.row([it.scope.to_string(), to_json(&it.limits).to_string(), state.to_owned()]);
    }
    print(&table.render())
}

/// What is known of something, with how far its limits are used.
pub(super) async fn with_usage(
    mut view: Value,
    store: &Store,
    scope: Scope,
    limits: Limits,
) -> Result<Value, Failure> {
    let used = to_json(&usage(store, scope, limits).await?);
    if let Some(fields) = view.as_object_mut() {
        fields.insert("limits_usage".to_owned(), used);
    }
    Ok(view)
}

/// How far limits are used by what stands in the ledger.
async fn usage(store: &Store, scope: Scope, limits: Limits) -> Result<LimitsUsageView, Failure> {
    let spent = store.spending(vec![scope.clone()]).await?;
    let restored = spent.into_iter().map(|spending| (scope.clone(), spending)).collect();
    let limiter = Limiter::local(LocalOptions { restored, source: None });
    let level = Level::new(scope, Arc::new(limits));
    let used = limiter.usage(&[level]).await.map_err(anyhow::Error::from)?;
    let one = used.into_iter().next().ok_or_else(|| anyhow::anyhow!("the limiter gave no answer"))?;
    Ok(LimitsUsageView::from(one))
}

async fn limits_of(access: &Access, scope: &Scope) -> Result<Limits, Failure> {
    let found = match scope {
        Scope::Organization(id) => access.organization(id).await?.map(|it| it.limits),
        Scope::Team(id) => access.team(id).await?.map(|it| it.limits),
        Scope::Key(id) => access.key(id).await?.map(|it| it.limits),
        Scope::EndUser(user) => match access.subject(scope).await? {
            Some(own) => Some(own.limits),
            None => access.organization(&user.organization_id).await?.map(|it| it.end_user_limits),
        },
        Scope::Tag(..) => access.subject(scope).await?.map(|it| it.limits),
        Scope::Experiment(_) => None,
    };
    found.ok_or_else(|| anyhow::anyhow!("there are no limits of {scope}").into())
}

/// The same with ids in the place of names.
async fn resolved(access: &Access, scope: &Scope) -> Result<Scope, Failure> {
    Ok(match scope {
        Scope::Organization(id) => Scope::Organization(id_of(access, id).await?),
        Scope::Team(id) => Scope::Team(super::administer::team(access, id.as_str()).await?.id),
        Scope::EndUser(user) => {
            let mut user = user.clone();
            user.organization_id = id_of(access, &user.organization_id).await?;
            Scope::EndUser(user)
        }
        Scope::Key(_) | Scope::Tag(..) | Scope::Experiment(_) => scope.clone(),
    })
}

async fn id_of(access: &Access, id_or_name: &OrganizationId) -> Result<OrganizationId, Failure> {
    Ok(organization(access, id_or_name.as_str()).await?.id)
}

/// Only end users and tags have limits that are set here.
async fn subject(access: &Access, scope: &Scope) -> Result<Scope, Failure> {
    match scope {
        Scope::EndUser(_) | Scope::Tag(..) => resolved(access, scope).await,
        _ => Err(Failure::wrong(
            format!("the limits of {scope} are not set here"),
            "`tidegate orgs update`, `tidegate teams update` and `tidegate keys update` set them.",
        )),
    }
}

fn table(view: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let list = |name: &str| view[name].as_array().cloned().unwrap_or_default();
    let mut table = Table::new([
        ("LIMIT", Side::Left),
        ("USED", Side::Right),
        ("LEFT", Side::Right),
        ("RESETS (UTC)", Side::Left),
    ]);
    let mut is_limited = false;
    for name in ["requests", "tokens"] {
        for it in list(name) {
            is_limited = true;
            let limit = format!("{} {name} per {}", it["max"], text(&it["per"]));
            let seconds = it["full_again_in_ms"].as_u64().unwrap_or(0).div_ceil(1_000);
            let resets = if seconds == 0 { String::new() } else { format!("in {seconds} s") };
            table.row([limit, it["used"].to_string(), it["remaining"].to_string(), resets]);
        }
    }
    for it in list("budgets") {
        is_limited = true;
        let limit = format!("{} $ per {} ({})", text(&it["usd"]), text(&it["per"]), text(&it["kind"]));
        let resets = it["resets_at"].as_str().unwrap_or("never").replace("T00:00:00Z", "");
        table.row([limit, text(&it["used_usd"]), text(&it["remaining_usd"]), resets]);
    }
    if let Some(max) = view["in_flight"]["max"].as_u64() {
        is_limited = true;
        table.row([format!("{max} at the same time"), "?".to_owned(), "?".to_owned(), String::new()]);
    }
    if is_limited { table.render() } else { "no limits\n".to_owned() }
}

fn to_json(value: &impl serde::Serialize) -> Value {
    // Views hold nothing that could not be JSON.
    serde_json::to_value(value).unwrap_or_default()
}
