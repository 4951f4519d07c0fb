//! `tidegate audit`: what administrators did and what was refused, and whether the log of it is whole.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::Value;
use tidegate_api::admin::{AuditLineView, VerificationView};
use tidegate_store::{AuditLine, AuditQuery};

use super::administer::Place;
use super::ledger::moment;
use crate::failure::Failure;
use crate::output::{Side, Table, print, print_json};

/// Read the audit log, or check that it is whole
#[derive(Debug, Args)]
#[command(after_help = "Works beside a running gateway.")]
pub(crate) struct Options {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// List lines, the newest first
    List(List),
    /// Go through the whole log; exit code 1 when a line was altered or removed
    Verify(Verify),
}

#[derive(Debug, Args)]
struct List {
    /// At most so many lines
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    /// From then on: 7d, 24h, 2026-01-31, 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Only what this key, `cli:<user>` or `system` did
    #[arg(long)]
    actor: Option<String>,
    /// Only this action: key.create, permission.refused
    #[arg(long)]
    action: Option<String>,
    /// Only what was done to this: key:key_…
    #[arg(long)]
    object: Option<String>,
    /// As JSON, with how it was before and after
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct Verify {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(options: Options) -> Result<(), Failure> {
    match options.act {
        Act::List(list) => show(list),
        Act::Verify(verify) => check(&verify),
    }
}

fn show(list: List) -> Result<(), Failure> {
    let query = AuditQuery {
        actor: list.actor,
        action: list.action,
        object: list.object,
        since: list.since,
        limit: list.limit,
        ..AuditQuery::default()
    };
    let lines = list.place.administer(async |access, _| Ok(access.audit(&query).await?))?.items;
    if list.json {
        // Views hold nothing that could not be JSON.
        let line = |line| serde_json::to_value(AuditLineView::from(line)).unwrap_or_default();
        return print_json(&Value::Array(lines.into_iter().map(line).collect()));
    }
    print(&table(&lines))
}

fn table(lines: &[AuditLine]) -> String {
    if lines.is_empty() {
        return "no lines\n".to_owned();
    }
    let mut table = Table::new([
        ("LINE", Side::Right),
        ("AT (UTC)", Side::Left),
        ("ACTOR", Side::Left),
        ("FROM", Side::Left),
        ("ACTION", Side::Left),
        ("OBJECT", Side::Left),
    ]);
    for line in lines {
        table.row([
            line.sequence.to_string(),
            line.at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            line.actor.clone(),
            line.address.clone().unwrap_or_default(),
            line.action.clone(),
            line.object.clone(),
        ]);
    }
    table.render()
}

fn check(verify: &Verify) -> Result<(), Failure> {
    let found = verify.place.administer(async |access, _| Ok(access.verify_audit().await?))?;
    let found = VerificationView::from(found);
    if verify.json {
        print_json(&serde_json::to_value(&found).unwrap_or_default())?;
    } else {
        let seal = match found.sealed_through {
            Some(line) => format!("sealed with the master key up to line {line}"),
            None => "not sealed: no master key is configured here".to_owned(),
        };
        let mut text = String::new();
        for finding in &found.findings {
            text.push_str(&format!("{finding}\n"));
        }
        if found.more > 0 {
            text.push_str(&format!("and {} more\n", found.more));
        }
        if found.whole {
            text.push_str(&format!("{} lines, all as they were written; {seal}\n", found.lines));
        }
        print(&text)?;
    }
    if found.whole {
        return Ok(());
    }
    Err(Failure::Failed {
        error: anyhow::anyhow!("the audit log is not as it was written"),
        help: Some("compare it with a backup; somebody has changed the database itself"),
    })
}
