//! `tidegate credentials`: which providers' credentials the store keeps, taking one away, and a new master key for all of
//! them. They are set under `/admin/v1/credentials`.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tidegate_config::Secret;
use tidegate_store::{Credential, MasterKey};

use super::administer::Place;
use crate::failure::Failure;
use crate::output::{Side, Table, print, print_json, tell};

/// A master key is 64 characters at its longest; a file much larger is another one.
const MAX_KEY_FILE_BYTES: u64 = 4096;

/// List and remove providers' credentials, or change the master key
#[derive(Debug, Args)]
#[command(after_help = "Credentials are set under /admin/v1/credentials; see docs/keys.md.")]
pub(crate) struct Options {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// List the providers' credentials, without their secrets
    List(List),
    /// Remove a provider's credential
    #[command(visible_alias = "delete")]
    Remove(Remove),
    /// Encrypt all credentials, and seal the audit log, with another master key
    RotateMasterKey(Rotate),
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
#[command(after_help = "Gateways that run stop using it within a second. No master key is needed.")]
struct Remove {
    /// The credential's id, or PROVIDER/LABEL: openai/main
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
#[command(after_help = "The present one is taken from TIDEGATE_MASTER_KEY or TIDEGATE_MASTER_KEY_FILE. \
    Gateways that run go on with what they have opened; start them anew with the new one.")]
struct Rotate {
    /// The file with the new master key: 32 bytes in base64 (`openssl rand -base64 32`)
    #[arg(long, value_name = "FILE")]
    new_key_file: PathBuf,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(options: Options) -> Result<(), Failure> {
    match options.act {
        Act::List(list) => show(&list),
        Act::Remove(credential) => remove(&credential),
        Act::RotateMasterKey(rotate) => renew(&rotate),
    }
}

fn show(list: &List) -> Result<(), Failure> {
    let credentials = list.place.administer(async |access, _| Ok(access.credentials().await?))?;
    if list.json {
        return print_json(&Value::Array(credentials.iter().map(describe).collect()));
    }
    if credentials.is_empty() {
        return print("no credentials\n");
    }
    let headings = ["ID", "PROVIDER", "LABEL", "SECRET", "MASTER KEY", "SET (UTC)"];
    let mut table = Table::new(headings.map(|heading| (heading, Side::Left)));
    for it in credentials {
        let set = it.rotated_at.strftime("%Y-%m-%d %H:%M").to_string();
        table.row([it.id.to_string(), it.provider, it.label, it.hint, it.master_key, set]);
    }
    print(&table.render())
}

fn remove(asked: &Remove) -> Result<(), Failure> {
    let removed = asked.place.administer(async |access, actor| {
        let all = access.credentials().await?;
        let is_meant = |it: &&Credential| {
            it.id.as_str() == asked.id || asked.id.split_once('/') == Some((&*it.provider, &*it.label))
        };
        let Some(found) = all.iter().find(is_meant) else {
            return Err(Failure::not_found(
                format!("there is no credential {}", asked.id),
                "`tidegate credentials list` shows all of them.",
            ));
        };
        access.remove_credential(&found.id, actor).await?;
        Ok(found.clone())
    })?;
    tell(&format!("removed {}, the credential `{}` of {}", removed.id, removed.label, removed.provider));
    Ok(())
}

fn renew(rotate: &Rotate) -> Result<(), Failure> {
    let file = &rotate.new_key_file;
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|open| open.take(MAX_KEY_FILE_BYTES).read_to_string(&mut text))
        .with_context(|| format!("{} cannot be read", file.display()))?;
    let text = Secret::new(text);
    let new = MasterKey::parse(text.expose()).map_err(|error| {
        Failure::wrong(format!("{} holds no master key", file.display()), error.to_string())
    })?;
    let count =
        rotate.place.administer(async |access, actor| Ok(access.rotate_master_key(&new, actor).await?))?;
    tell(&format!(
        "{count} credentials are encrypted with the master key {}; configure it from now on",
        new.fingerprint()
    ));
    Ok(())
}

fn describe(it: &Credential) -> Value {
    json!({
        "id": it.id, "provider": it.provider, "label": it.label, "hint": it.hint, "master_key": it.master_key,
        "created_at": it.created_at, "rotated_at": it.rotated_at,
    })
}
