//! `tidegate teams`: makes, lists, shows and changes teams.

use std::collections::HashMap;

use clap::{Args, Subcommand};
use serde_json::Value;
use tidegate_api::admin::TeamView;
use tidegate_policy::{Limits, Permissions};
use tidegate_store::{NewTeam, Scope, Team, TeamUpdate};

use super::administer::{Place, Shape, organization, organizations, team, teams};
use super::limits::with_usage;
use crate::failure::Failure;
use crate::output::{Side, Table, print, print_json, tell};

/// Make, list, show and change teams
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
    /// Show everything about a team and how far its limits are used, as JSON
    Show(One),
    /// Change a team; what is not named stays
    Update(Update),
}

#[derive(Debug, Args)]
struct Create {
    /// What it is called
    #[arg(long)]
    name: String,
    /// Its organization, by name or id [default: the default one]
    #[arg(long)]
    org: Option<String>,
    #[command(flatten)]
    shape: Shape,
    /// Added to the cost of its calls where they are charged, in per cent
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true, value_parser = margin)]
    margin: Option<i32>,
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
    /// The team, by name or id
    team: String,
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
    /// Added to the cost of its calls where they are charged, in per cent
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true, value_parser = margin)]
    margin: Option<i32>,
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
            create.place.check_providers(&Permissions::default(), &permissions)?;
            let made = create.place.administer(async |access, actor| {
                let organization_id = match &create.org {
                    Some(name) => Some(organization(access, name).await?.id),
                    None => None,
                };
                let new = NewTeam {
                    name: create.name.clone(),
                    organization_id,
                    limits,
                    permissions,
                    margin_millionths: create.margin.unwrap_or_default(),
                };
                Ok(access.create_team(new, actor).await?)
            })?;
            if create.json {
                return print_json(&view(made));
            }
            tell(&format!("the team {} is made", made.name));
            print(&format!("{}\n", made.id))
        }
        Act::List(list) => show_all(&list),
        Act::Show(one) => {
            let shown = one.place.administer_store(async |store, access, _| {
                let team = team(access, &one.team).await?;
                let (scope, limits) = (Scope::Team(team.id.clone()), team.limits.clone());
                with_usage(view(team), store, scope, limits).await
            })?;
            print_json(&shown)
        }
        Act::Update(update) => {
            let done = update.place.administer(async |access, actor| {
                let team = team(access, &update.team).await?;
                let (limits, permissions) = update.shape.apply(&team.limits, &team.permissions)?;
                update.place.check_providers(&team.permissions, &permissions)?;
                let changes = TeamUpdate {
                    name: update.name.clone(),
                    limits: Some(limits),
                    permissions: Some(permissions),
                    margin_millionths: update.margin,
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
    let (teams, names) = list.place.administer(async |access, _| {
        let names = organizations(access).await?.into_iter().map(|it| (it.id, it.name));
        Ok((teams(access).await?, names.collect::<HashMap<_, _>>()))
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
        let id = team.organization_id;
        let organization = names.get(&id).cloned().unwrap_or_else(|| id.to_string());
        table.row([team.id.to_string(), team.name, organization, state.to_owned()]);
    }
    print(&table.render())
}

fn view(team: Team) -> Value {
    // Views hold nothing that could not be JSON.
    serde_json::to_value(TeamView::from(team)).unwrap_or_default()
}

/// Per cent, exact, in millionths.
fn margin(text: &str) -> Result<i32, String> {
    const WRONG: &str = "it takes -100 to 5000, with at most four decimal places";
    let digits = text.trim_end_matches('%');
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if digits.is_empty()
        || fraction.len() > 4
        || !is_number(fraction)
        || !is_number(whole.trim_start_matches('-'))
    {
        return Err(WRONG.to_owned());
    }
    let millionths: i64 = format!("{whole}{fraction:0<4}").parse().map_err(|_error| WRONG.to_owned())?;
    let margin = i32::try_from(millionths).map_err(|_error| WRONG.to_owned())?;
    if (-1_000_000..=50_000_000).contains(&margin) { Ok(margin) } else { Err(WRONG.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_are_exact() {
        for (text, millionths) in [
            ("20", Some(200_000)),
            ("20.5%", Some(205_000)),
            ("0.0001", Some(1)),
            ("-15.3", Some(-153_000)),
            ("-0.5", Some(-5_000)),
            ("-101", None),
            ("0.00001", None),
            ("a lot", None),
            ("", None),
        ] {
            assert_eq!(margin(text).ok(), millionths, "{text}");
        }
    }
}
