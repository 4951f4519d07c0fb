//! The log: standard error, for people where that is a terminal, one JSON object a line otherwise. Started by the
//! commands that run for long.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::str::FromStr as _;

use serde_json::{Map, Value};
use tidegate_config::Environment;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::failure::{Failure, colours};

/// What is logged unless `TIDEGATE_LOG` or `RUST_LOG` says otherwise.
const USUAL: &str = "info";
/// The most that libraries say where a level alone is asked for.
const MOST_OF_LIBRARIES: LevelFilter = LevelFilter::INFO;
/// What the names of the house's own crates begin with.
const HOUSE: &str = "tidegate";

/// Starts logging for the rest of the process.
pub(crate) fn start(environment: &Environment) -> Result<(), Failure> {
    start_with(environment, USUAL)
}

/// Starts logging for the rest of the process, with this filter unless the environment has another one.
pub(crate) fn start_with(environment: &Environment, usual: &str) -> Result<(), Failure> {
    let wanted = environment.log_filter().unwrap_or_else(|| usual.to_owned());
    let filter = EnvFilter::try_new(without_chatter(&wanted)).map_err(|error| {
        Failure::wrong(
            format!("TIDEGATE_LOG (or RUST_LOG) is no log filter: {error}"),
            "write a level, or levels by module: TIDEGATE_LOG=debug, TIDEGATE_LOG=info,tidegate_gateway=debug",
        )
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = if io::stderr().is_terminal() {
        log.with_ansi(colours()).with_target(false).try_init()
    } else {
        let lines = Format::default().json().flatten_event(true);
        let lines = lines.with_current_span(false).with_span_list(false);
        log.fmt_fields(JsonFields::new()).event_format(WithoutPaths(lines)).try_init()
    };
    started.map_err(|error| anyhow::anyhow!(error).context("the log could not be started").into())
}

/// A level without a name is meant for Tidegate: what libraries say of each read and each event of a file takes a name,
/// `hyper=trace`. Where the log lies beside the configuration, which is watched, each of its lines would else make the next.
fn without_chatter(wanted: &str) -> String {
    let mut for_house = Vec::new();
    let mut rest = Vec::new();
    for directive in wanted.split(',') {
        let text = directive.trim();
        match LevelFilter::from_str(text) {
            Ok(level) if !text.is_empty() && level > MOST_OF_LIBRARIES => {
                for_house.push(format!("{HOUSE}={level}"));
                rest.push(MOST_OF_LIBRARIES.to_string());
            }
            _ => rest.push(text.to_owned()),
        }
    }
    // The later one of two for the same name holds: what was written for the house's crates comes after.
    for_house.append(&mut rest);
    for_house.join(",")
}

/// Lines of JSON. Libraries that log through `log` hand over in which file of which build machine that was, which is left
/// out.
struct WithoutPaths(Format<Json>);

impl<S, N> FormatEvent<S, N> for WithoutPaths
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // What comes through `log` has this target; its own stands in the line.
        if event.metadata().target() != "log" {
            return self.0.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        match serde_json::from_str::<Map<String, Value>>(&line) {
            Ok(mut fields) => {
                fields.retain(|name, _| !name.starts_with("log."));
                writeln!(writer, "{}", Value::Object(fields))
            }
            Err(_not_json) => writer.write_str(&line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_alone_is_meant_for_tidegate_and_libraries_are_asked_by_name() {
        for (wanted, filter) in [
            ("info", "info"),
            ("warn,tidegate_gateway=debug", "warn,tidegate_gateway=debug"),
            ("trace", "tidegate=trace,info"),
            ("DEBUG, sqlx=debug", "tidegate=debug,info,sqlx=debug"),
            ("tidegate=warn,trace,hyper=trace", "tidegate=trace,tidegate=warn,info,hyper=trace"),
            ("off", "off"),
        ] {
            assert_eq!(without_chatter(wanted), filter, "{wanted}");
            assert!(EnvFilter::try_new(without_chatter(wanted)).is_ok());
        }
        assert!(EnvFilter::try_new(without_chatter("=loud=")).is_err());
    }
}
