//! Adds a batch's calls to the sums, summed up in memory first: a batch has few hours, models and teams. What it has many
//! of, keys perhaps, is [`fresh`] at first.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rustc_hash::FxHashMap;

use super::{SUMS, Sums, fresh, sums::LONGEST};
use crate::{
    database::{Transaction, Value},
    error::StoreError,
    ledger::LedgerEntry,
    queries::{calls::cut, identity::Identity, many::ManyRows},
};

/// Milliseconds of an hour and of a day; buckets begin at multiples of them, in UTC.
pub(crate) const HOUR_MS: i64 = 3_600_000;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;

/// The key's columns and all sums, for the statements.
macro_rules! columns {
    ($($key:literal),+) => {{
        const KEY: &[&str] = &[$($key),+];
        const ALL: [&str; KEY.len() + SUMS.len()] = {
            let mut all = [""; KEY.len() + SUMS.len()];
            let mut place = 0;
            while place < all.len() {
                all[place] = if place < KEY.len() { KEY[place] } else { SUMS[place - KEY.len()] };
                place += 1;
            }
            all
        };
        &ALL
    }};
}

const USAGE_COLUMNS: &[&str] =
    columns!("bucket_ms", "organization_id", "team_id", "model", "provider", "upstream_model");
pub(super) const SCOPE_COLUMNS: &[&str] = columns!("scope", "bucket_ms");

static USAGE_HOURS: ManyRows =
    ManyRows::new("usage_hours", USAGE_COLUMNS, |_| add_to("usage_hours", USAGE_KEY));
static USAGE_DAYS: ManyRows = ManyRows::new("usage_days", USAGE_COLUMNS, |_| add_to("usage_days", USAGE_KEY));
static SCOPE_HOURS: ManyRows =
    ManyRows::new("scope_hours", SCOPE_COLUMNS, |_| add_to("scope_hours", SCOPE_KEY));
static SCOPE_DAYS: ManyRows = ManyRows::new("scope_days", SCOPE_COLUMNS, |_| add_to("scope_days", SCOPE_KEY));

const USAGE_KEY: &str = "bucket_ms, organization_id, team_id, model, provider, upstream_model";
pub(super) const SCOPE_KEY: &str = "scope, bucket_ms";

pub(super) fn add_to(table: &str, key: &str) -> String {
    let sums = SUMS.iter().filter(|name| **name != LONGEST);
    let mut updates: Vec<String> =
        sums.map(|name| format!("{name} = {table}.{name} + excluded.{name}")).collect();
    updates.push(format!(
        "{LONGEST} = CASE WHEN excluded.{LONGEST} > {table}.{LONGEST} THEN excluded.{LONGEST} ELSE {table}.{LONGEST} END"
    ));
    format!("ON CONFLICT ({key}) DO UPDATE SET {}", updates.join(", "))
}

/// Adds these calls to all four tables; where they are of many scopes, only those of organisations and teams, and puts the
/// others down.
///
/// Rows are written in the order of their keys and tables always in the same order: replicas that add to the same rows
/// wait for each other and never in a circle.
pub(crate) async fn add(transaction: &mut Transaction, entries: &[LedgerEntry]) -> Result<(), StoreError> {
    let mut alike = FxHashMap::<(i64, [Identity; 5]), (&LedgerEntry, Sums)>::default();
    let mut own = FxHashMap::<(i64, bool, [Identity; 3]), (&LedgerEntry, Sums)>::default();
    let mut tags = BTreeMap::<(ScopeKey<'_>, i64), Sums>::new();
    for entry in entries {
        let hour = bucket(entry.id.started_at_ms(), HOUR_MS);
        let sums = Sums::of(entry);
        if !entry.is_shadow() {
            alike.entry((hour, usage_identity(entry))).or_insert((entry, Sums::default())).1.add(&sums);
            for (name, value) in entry.tags.iter() {
                tags.entry((ScopeKey::Tag(name, value), hour)).or_default().add(&sums);
            }
        }
        let identity = own_identity(entry);
        own.entry((hour, entry.is_shadow(), identity)).or_insert((entry, Sums::default())).1.add(&sums);
    }
    let mut usage_hours = BTreeMap::<(i64, UsageKey<'_>), Sums>::new();
    for ((hour, _), (entry, sums)) in alike {
        usage_hours.entry((hour, UsageKey::of(entry))).or_default().add(&sums);
    }
    let mut wide_hours = BTreeMap::<(ScopeKey<'_>, i64), Sums>::new();
    // Organisations and teams stand in the usage already, in far fewer rows than there are calls.
    for ((hour, UsageKey([organization, team, ..])), sums) in &usage_hours {
        let wide = [(organization, ScopeKey::Organization(organization)), (team, ScopeKey::Team(team))];
        for (_, scope) in wide.into_iter().filter(|(id, _)| !id.is_empty()) {
            wide_hours.entry((scope, *hour)).or_default().add(sums);
        }
    }
    let mut usage_days = BTreeMap::<(i64, UsageKey<'_>), Sums>::new();
    for ((hour, key), sums) in &usage_hours {
        usage_days.entry((bucket(*hour, DAY_MS), *key)).or_default().add(sums);
    }
    let mut own_hours = BTreeMap::new();
    for ((hour, ..), (entry, sums)) in own {
        for_each_own_scope(entry, |scope| write_out(scope, hour, &sums, &mut own_hours));
    }
    for ((tag, hour), sums) in tags {
        write_out(tag, hour, &sums, &mut own_hours);
    }
    let mut scope_hours = BTreeMap::new();
    let mut fresh = BTreeMap::new();
    let has_many = own_hours.len() >= fresh::LEAST_FRESH;
    *if has_many { &mut fresh } else { &mut scope_hours } = own_hours;
    for ((scope, hour), sums) in wide_hours {
        write_out(scope, hour, &sums, &mut scope_hours);
    }
    let mut scope_days = BTreeMap::<(&str, i64), Sums>::new();
    for ((scope, hour), sums) in &scope_hours {
        scope_days.entry((scope, bucket(*hour, DAY_MS))).or_default().add(sums);
    }
    USAGE_HOURS.run(transaction, &rows(usage_hours), push_usage).await?;
    USAGE_DAYS.run(transaction, &rows(usage_days), push_usage).await?;
    let scope_days = rows(scope_days);
    SCOPE_DAYS.run(transaction, &scope_days, |values, row| push_scope(values, row.0, &row.1)).await?;
    SCOPE_HOURS
        .run(transaction, &rows(scope_hours), |values, ((scope, hour), sums)| {
            push_scope(values, (scope, *hour), sums);
        })
        .await?;
    if has_many {
        fresh::append(transaction, &rows(fresh), Timestamp::now()).await?;
    }
    Ok(())
}

/// By its text: should an id hold a slash, two scopes could read alike, and PostgreSQL refuses a statement with two rows for
/// one place.
fn write_out(scope: ScopeKey<'_>, hour: i64, sums: &Sums, texts: &mut BTreeMap<(String, i64), Sums>) {
    texts.entry((scope.text(), hour)).or_default().add(sums);
}

fn rows<K>(sums: BTreeMap<K, Sums>) -> Vec<(K, Sums)> {
    sums.into_iter().collect()
}

/// The beginning of the bucket of this length that holds this moment.
pub(crate) fn bucket(moment_ms: i64, length_ms: i64) -> i64 {
    moment_ms.div_euclid(length_ms) * length_ms
}

/// What the usage tables tell apart. An empty text stands for what a call does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct UsageKey<'entry>([&'entry str; 5]);

impl<'entry> UsageKey<'entry> {
    fn of(entry: &'entry LedgerEntry) -> Self {
        Self(
            [&entry.organization_id, &entry.team_id, &entry.model, &entry.provider, &entry.upstream_model]
                .map(|text| text.as_ref().map_or("", cut)),
        )
    }
}

/// What calls have in common that [`UsageKey`] does not tell apart.
fn usage_identity(entry: &LedgerEntry) -> [Identity; 5] {
    [&entry.organization_id, &entry.team_id, &entry.model, &entry.provider, &entry.upstream_model]
        .map(|text| Identity::of_optional(text.as_ref()))
}

/// What calls have in common that [`for_each_own_scope`] does not tell apart.
fn own_identity(entry: &LedgerEntry) -> [Identity; 3] {
    if entry.is_shadow() {
        let experiment = entry.exposure.as_ref().map(|exposure| &exposure.experiment);
        return [experiment, None, None].map(Identity::of_optional);
    }
    [&entry.organization_id, &entry.end_user, &entry.key_id].map(|text| Identity::of_optional(text.as_ref()))
}

/// A scope before it is written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ScopeKey<'entry> {
    Organization(&'entry str),
    Team(&'entry str),
    Key(&'entry str),
    EndUser(&'entry str, &'entry str),
    Tag(&'entry str, &'entry str),
    Experiment(&'entry str),
}

impl ScopeKey<'_> {
    /// As [`crate::Scope`] writes it.
    fn text(&self) -> String {
        match self {
            Self::Organization(id) => ["org:", id].concat(),
            Self::Team(id) => ["team:", id].concat(),
            Self::Key(id) => ["key:", id].concat(),
            Self::EndUser(organization, name) => ["user:", organization, "/", name].concat(),
            Self::Tag(name, value) => ["tag:", name, "=", value].concat(),
            Self::Experiment(name) => ["experiment:", name].concat(),
        }
    }
}

/// The scopes of a call below its organisation and team, but for its tags.
fn for_each_own_scope<'entry>(entry: &'entry LedgerEntry, mut each: impl FnMut(ScopeKey<'entry>)) {
    if entry.is_shadow() {
        // Nobody's call: what it costs is the experiment's alone.
        if let Some(exposure) = &entry.exposure {
            each(ScopeKey::Experiment(cut(&exposure.experiment)));
        }
        return;
    }
    if let (Some(organization), Some(name)) = (&entry.organization_id, &entry.end_user) {
        each(ScopeKey::EndUser(cut(organization), cut(name)));
    }
    // Calls without a key are a row too, so that a report by key is complete.
    each(ScopeKey::Key(entry.key_id.as_ref().map_or("", cut)));
}

fn push_usage(values: &mut Vec<Value>, row: &((i64, UsageKey<'_>), Sums)) {
    let ((bucket, key), sums) = row;
    values.push((*bucket).into());
    values.extend(key.0.map(Value::from));
    values.extend(sums.0.map(Value::from));
}

pub(super) fn push_scope(values: &mut Vec<Value>, (scope, bucket): (&str, i64), sums: &Sums) {
    values.push(scope.into());
    values.push(bucket.into());
    values.extend(sums.0.map(Value::from));
}
