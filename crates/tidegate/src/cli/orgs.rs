//! `tidegate orgs`: makes, lists, shows and changes organisations.

use clap::{Args, Subcommand};
use serde_json::Value;
use tidegate_api::admin::OrganizationView;
use tidegate_policy::{Limits, Permissions};
use tidegate_store::{NewOrganization, Organization, OrganizationUpdate, Scope};

use super::administer::{Place, Shape, organization};
use super::limits::with_usage;
use crate::failure::Failure;
use crate::output::{Side, Table, print, print_json, tell};

/// Make, list, show and change organizations
#[derive(Debug, Args)]
#[command(after_help = "Works beside a running gateway; what it changes is in force within a second.")]
pub(crate) struct Options {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Make an organization; its id is printed
    Create(Create),
    /// List organizations
    List(List),
    /// Show everything about an organization and how far its limits are used, as JSON
    Show(One),
    /// Change an organization; what is not named stays
    Update(Update),
}

#[derive(Debug, Args)]
struct Create {
    /// What it is called
    #[arg(long)]
    name: String,
    #[command(flatten)]
    shape: Shape,
    /// Limits of end users without their own: `{"in_flight": 2}`
    #[arg(long, value_name = "JSON", value_parser = limits)]
    end_users: Option<Limits>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
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
    /// The organization, by name or id
    organization: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct Update {
    /// The organization, by name or id
    organization: String,
    /// What it is called from now on
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    shape: Shape,
    /// Limits of end users without their own: `{"in_flight": 2}`, or `{}`
    #[arg(long, value_name = "JSON", value_parser = limits)]
    end_users: Option<Limits>,
    /// Refuse all its keys, or take them again
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
        Act::Create(create) => {
            let (limits, permissions) = create.shape.apply(&Limits::default(), &Permissions::default())?;
            let end_user_limits = create.end_users.unwrap_or_default();
            let new = NewOrganization { name: create.name, limits, end_user_limits, permissions };
            let made = create
                .place
                .administer(async |access, actor| Ok(access.create_organization(new, actor).await?))?;
            if create.json {
                return print_json(&view(made));
            }
            tell(&format!("the organization {} is made", made.name));
            print(&format!("{}\n", made.id))
        }
        Act::List(list) => show_all(&list),
        Act::Show(one) => {
            let shown = one.place.administer_store(async |store, access, _| {
                let it = organization(access, &one.organization).await?;
                let (scope, limits) = (Scope::Organization(it.id.clone()), it.limits.clone());
                with_usage(view(it), store, scope, limits).await
            })?;
            print_json(&shown)
        }
        Act::Update(update) => change(&update),
    }
}

fn change(update: &Update) -> Result<(), Failure> {
    let done = update.place.administer(async |access, actor| {
        let it = organization(access, &update.organization).await?;
        let (limits, permissions) = update.shape.apply(&it.limits, &it.permissions)?;
        let changes = OrganizationUpdate {
            name: update.name.clone(),
            limits: Some(limits),
            end_user_limits: update.end_users.clone(),
            permissions: Some(permissions),
            disabled: update.disabled,
        };
        Ok(access.update_organization(&it.id, changes, actor).await?)
    })?;
    if update.json {
        return print_json(&view(done));
    }
    tell(&format!("{} ({}) is changed", done.id, done.name));
    Ok(())
}

fn show_all(list: &List) -> Result<(), Failure> {
    let all = list.place.administer(async |access, _| Ok(super::administer::organizations(access).await?))?;
    if list.json {
        return print_json(&Value::Array(all.into_iter().map(view).collect()));
    }
    let mut table = Table::new(["ID", "NAME", "STATE"].map(|heading| (heading, Side::Left)));
    for it in all {
        let state = if it.disabled { "disabled" } else { "active" };
        table.row([it.id.to_string(), it.name, state.to_owned()]);
    }
    print(&table.render())
}

fn view(it: Organization) -> Value {
    // Views hold nothing that could not be JSON.
    serde_json::to_value(OrganizationView::from(it)).unwrap_or_default()
}

fn limits(text: &str) -> Result<Limits, String> {
    serde_json::from_str(text).map_err(|error| format!("{error}; docs/keys.md shows limits by example"))
}
