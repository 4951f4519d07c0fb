//! What the commands that read the ledger have in common: where it is, from when on.

use std::path::PathBuf;

use clap::Args;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use tidegate_config::{Sources, load};
use tidegate_store::{Store, StoreOptions};

use crate::failure::Failure;
use crate::stores;

/// Where the ledger is.
#[derive(Debug, Clone, Args)]
pub(super) struct Place {
    /// The configuration file, which says where the ledger is [default: as for `serve`]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of an embedded ledger, whatever the configuration says
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<PathBuf>,
}

impl Place {
    /// Asks the ledger, perhaps while a gateway writes to it.
    pub(super) fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&Store) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let place = match &self.data {
            Some(directory) => StoreOptions::embedded(directory),
            None => {
                stores::options(&load(&Sources { config: self.config.clone(), ..Sources::of_process() })?)?
            }
        };
        ask(place, question)
    }
}

/// Asks the ledger in this place.
pub(super) fn ask<T>(
    place: StoreOptions,
    question: impl AsyncFnOnce(&Store) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| anyhow::anyhow!(error).context("the runtime could not be started"))?;
    runtime.block_on(async {
        let store = Store::open_existing(place).await?;
        let answer = question(&store).await;
        store.close().await;
        answer
    })
}

/// Reads a point in time: `7d` before now, `2026-01-31`, or `2026-01-31T12:00:00Z`.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    moment_before(Timestamp::now(), text)
}

fn moment_before(now: Timestamp, text: &str) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    if let Ok(date) = text.parse::<Date>() {
        return date
            .to_zoned(TimeZone::UTC)
            .map(|start| start.timestamp())
            .map_err(|error| error.to_string());
    }
    let wrong =
        || format!("`{text}` is not a time: write `7d`, `24h`, `2026-01-31` or `2026-01-31T12:00:00Z`");
    let span: Span = text.parse().map_err(|_error| wrong())?;
    if span.is_negative() {
        return Err(wrong());
    }
    // Days and months have no fixed length of their own; the ledger counts in UTC.
    now.to_zoned(TimeZone::UTC).checked_sub(span).map(|start| start.timestamp()).map_err(|_error| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_length_before_now_or_a_date() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().expect("a time");
        for (text, moment) in [
            ("7d", "2026-02-22T12:00:00Z"),
            ("24h", "2026-02-28T12:00:00Z"),
            ("1mo", "2026-02-01T12:00:00Z"),
            ("90m", "2026-03-01T10:30:00Z"),
            ("2w", "2026-02-15T12:00:00Z"),
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("2026-01-31T12:00:00+01:00", "2026-01-31T11:00:00Z"),
        ] {
            assert_eq!(
                moment_before(now, text).map(|moment| moment.to_string()),
                Ok(moment.to_owned()),
                "{text}"
            );
        }
        for text in ["", "7", "yesterday", "-7d", "2026-13-01", "99999999y"] {
            assert!(moment_before(now, text).is_err(), "{text}");
        }
    }
}
