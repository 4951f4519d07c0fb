//! `tidegate teams`: makes and lists teams. The rest is done under `/admin/v1`.

use clap::{Args, Subcommand};
use serde_json::Value;
use tidegate_api::admin::TeamView;
use tidegate_policy::{Limits, Permissions};
use tidegate_store::{NewTeam, Team, TeamUpdate};

use super::administer::{Place, Shape, team};
use crate::failure::Failure;
use crate::output::{Side, Table, print, print_json, tell};

/// Make, list and change teams
#[derive(Debug, Args)]
#[command(after_help = "Works beside a running gateway; what it changes is in force within a second.")]
pub(crate) struct Options {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Make a team; its id is printed
    Create(Create),
    /// List teams
    List(List),
    /// Change a team; what is not named stays
    Update(Update),
}

#[derive(Debug, Args)]
struct Create {
    /// What it is called
    #[arg(long)]
    name: String,
    #[command(flatten)]
    shape: Shape,
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
struct Update {
    /// The team, by name or id
    team: String,
    /// What it is called from now on
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    shape: Shape,
    /// Refuse all its keys (true), or take them again (false)
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
            let new = NewTeam { name: create.name, limits, permissions, ..NewTeam::default() };
            let made =
                create.place.administer(async |access, actor| Ok(access.create_team(new, actor).await?))?;
            if create.json {
                return print_json(&view(made));
            }
            tell(&format!("the team {} is made", made.name));
            print(&format!("{}\n", made.id))
        }
        Act::List(list) => show_all(&list),
        Act::Update(update) => {
            let done = update.place.administer(async |access, actor| {
                let team = team(access, &update.team).await?;
                let (limits, permissions) = update.shape.apply(&team.limits, &team.permissions)?;
                let changes = TeamUpdate {
                    name: update.name.clone(),
                    limits: Some(limits),
                    permissions: Some(permissions),
                    margin_millionths: None,
                    disabled: update.disabled,
                };
                Ok(access.update_team(&team.id, changes, actor).await?)
            })?;
            if update.json {
                return print_json(&view(done));
            }
            tell(&format!("{} ({}) is changed", done.id, done.name));
            Ok(())
        }
    }
}

fn show_all(list: &List) -> Result<(), Failure> {
    let teams = list.place.administer(async |access, _| {
        let (mut teams, mut after) = (Vec::new(), None);
        loop {
            let page = access.teams(None, after.as_ref(), 1_000).await?;
            teams.extend(page.items);
            after = page.next;
            if after.is_none() {
                return Ok(teams);
            }
        }
    })?;
    if list.json {
        return print_json(&Value::Array(teams.into_iter().map(view).collect()));
    }
    if teams.is_empty() {
        return print("no teams\n");
    }
    let mut table = Table::new(["ID", "NAME", "ORGANIZATION", "STATE"].map(|heading| (heading, Side::Left)));
    for team in teams {
        let state = if team.disabled { "disabled" } else { "active" };
        table.row([team.id.to_string(), team.name, team.organization_id.to_string(), state.to_owned()]);
    }
    print(&table.render())
}

fn view(team: Team) -> Value {
    // Views hold nothing that could not be JSON.
    serde_json::to_value(TeamView::from(team)).unwrap_or_default()
}
