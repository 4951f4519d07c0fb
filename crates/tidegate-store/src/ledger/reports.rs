//! Questions to the ledger and their answers. Asked by `tidegate usage`, the admin API and tests, through
//! [`Store`](crate::Store).

use jiff::Timestamp;
use tidegate_wire::{FailureKind, Usage};

use super::{CallId, Outcome, Text};

/// A report is read by people: more groups than this are cut, the cheapest first.
const DEFAULT_GROUPS: u32 = 1000;

/// What a usage report is to contain.
#[derive(Debug, Clone)]
pub struct UsageQuery {
    /// What the rows stand for: one row for each combination that there is.
    pub group_by: Vec<GroupBy>,
    /// Which calls count.
    pub filter: UsageFilter,
    /// Calls that began at this moment or later.
    pub since: Option<Timestamp>,
    /// Calls that began before this moment.
    pub until: Option<Timestamp>,
    /// Which rows come first, and which are cut.
    pub order: UsageOrder,
    /// At most so many rows.
    pub limit: u32,
}

impl UsageQuery {
    /// A report of everything, by this.
    pub fn by(group_by: GroupBy) -> Self {
        Self::by_all([group_by])
    }

    /// A report of everything, by all of these at once.
    pub fn by_all(group_by: impl Into<Vec<GroupBy>>) -> Self {
        Self {
            group_by: group_by.into(),
            filter: UsageFilter::default(),
            since: None,
            until: None,
            order: UsageOrder::default(),
            limit: DEFAULT_GROUPS,
        }
    }

    /// Only calls that began at this moment or later.
    #[must_use]
    pub fn since(mut self, since: Timestamp) -> Self {
        self.since = Some(since);
        self
    }
}

/// Which calls count in a report: those for which everything that is given here is so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// The organisation's id.
    pub organization: Option<Text>,
    /// The team's id.
    pub team: Option<Text>,
    /// The key's id.
    pub key: Option<Text>,
    /// The model by the name that callers used.
    pub model: Option<Text>,
    /// The provider.
    pub provider: Option<Text>,
    /// The model by the provider's name.
    pub upstream_model: Option<Text>,
    /// The end user that the caller named.
    pub end_user: Option<Text>,
    /// A tag's name and value.
    pub tag: Option<(Text, Text)>,
    /// The kind of failure, or else the outcome.
    pub outcome: Option<Text>,
    /// The shadows of this experiment instead of callers' calls: they belong to nobody and stand in no other report.
    pub shadows_of: Option<Text>,
}

impl UsageFilter {
    /// The words that `outcome` takes. `failed` is not one of them: a call that failed goes by the kind of its failure.
    pub fn outcome_words() -> Vec<&'static str> {
        let outcomes = Outcome::ALL.into_iter().filter(|outcome| *outcome != Outcome::Failed);
        let kinds = FailureKind::ALL.into_iter().filter(|kind| *kind != FailureKind::Cancelled);
        outcomes.map(Outcome::as_str).chain(kinds.map(FailureKind::as_str)).collect()
    }
}

/// Which rows of a report come first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UsageOrder {
    /// The latest hour or day, where rows stand for such; then the dearest.
    #[default]
    Usual,
    /// The dearest.
    Cost,
    /// The most calls.
    Calls,
    /// The most tokens.
    Tokens,
    /// By name.
    Name,
}

/// What a report's rows stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupBy {
    /// One row with everything.
    All,
    /// The model by the name that callers used.
    Model,
    /// `provider/upstream-model`.
    Target,
    /// The provider.
    Provider,
    /// The organisation of the caller's key.
    Organization,
    /// The team of the caller's key.
    Team,
    /// The caller's key.
    Key,
    /// The end user that the caller named.
    EndUser,
    /// The kind of failure, or else the outcome.
    Outcome,
    /// The value of a tag.
    Tag(Text),
    /// The hour, in UTC.
    Hour,
    /// The day, in UTC.
    Day,
}

/// One row of a usage report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// What the row stands for, in the order of [`UsageQuery::group_by`]; `None` gathers the calls that have no such thing
    /// (no such tag, no target reached). Organisations, teams and keys are ids. Hours and days are written as
    /// `2026-01-31T13:00Z` and `2026-01-31`.
    pub names: Vec<Option<String>>,
    /// What people call it, in the same order: the names of organisations, teams and keys, where they still exist; `None`
    /// for what has no name beside the one above.
    pub labels: Vec<Option<String>>,
    /// All calls, however they ended.
    pub calls: u64,
    /// Calls whose caller got the whole answer.
    pub answered: u64,
    /// Calls that failed at every target, or whose stream broke.
    pub failed: u64,
    /// Calls that Tidegate itself refused.
    pub refused: u64,
    /// Calls whose caller hung up.
    pub cancelled: u64,
    /// What they used, in sum.
    pub usage: Usage,
    /// What they cost, in sum, as far as prices were known.
    pub cost_nanodollars: u64,
    /// What is charged for them: the cost with the teams' margins.
    pub charge_nanodollars: u64,
    /// How many calls used something whose price is not known.
    pub unpriced: u64,
    /// How many calls have tokens that are an estimate, as the provider did not tell them.
    pub estimated: u64,
    /// The mean of the calls' durations.
    pub average_duration_us: u64,
    /// The longest call.
    pub longest_duration_us: u64,
    /// The mean of the times to the first token, of the calls that came so far.
    pub average_time_to_first_token_us: Option<u64>,
}

impl UsageRow {
    /// What the row stands for, where that is one thing.
    pub fn name(&self) -> Option<&str> {
        self.names.first()?.as_deref()
    }

    /// Turns the milliseconds by which the database names hours and days into something to read.
    pub(crate) fn with_readable_times(mut self, group_by: &[GroupBy]) -> Self {
        for (name, group_by) in self.names.iter_mut().zip(group_by) {
            let format = match group_by {
                GroupBy::Hour => "%Y-%m-%dT%H:%MZ",
                GroupBy::Day => "%Y-%m-%d",
                _ => continue,
            };
            if let Some(moment) = name
                .as_deref()
                .and_then(|name| name.parse().ok())
                .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            {
                *name = Some(moment.strftime(format).to_string());
            }
        }
        self
    }
}

/// The sum of a whole report, with the rows that its limit cuts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageTotal {
    /// How many rows there are.
    pub rows: u64,
    /// All calls, however they ended.
    pub calls: u64,
    /// What they cost, as far as prices were known.
    pub cost_nanodollars: u64,
    /// How many calls used something whose price is not known.
    pub unpriced: u64,
}

impl UsageTotal {
    /// The sum of these rows.
    pub fn of(rows: &[UsageRow]) -> Self {
        rows.iter().fold(Self::default(), |sum, row| Self {
            rows: sum.rows + 1,
            calls: sum.calls.saturating_add(row.calls),
            cost_nanodollars: sum.cost_nanodollars.saturating_add(row.cost_nanodollars),
            unpriced: sum.unpriced.saturating_add(row.unpriced),
        })
    }
}

/// Which calls to list, the newest first.
#[derive(Debug, Clone)]
pub struct CallsQuery {
    /// Calls that began at this moment or later.
    pub since: Option<Timestamp>,
    /// Calls that began before this moment.
    pub until: Option<Timestamp>,
    /// Calls before this one: the last of the page before.
    pub before: Option<CallId>,
    /// Only those of this team.
    pub team: Option<Text>,
    /// Only those of this key.
    pub key: Option<Text>,
    /// At most so many.
    pub limit: u32,
}

impl CallsQuery {
    /// The newest calls.
    pub fn latest(limit: u32) -> Self {
        Self { since: None, until: None, before: None, team: None, key: None, limit }
    }
}
