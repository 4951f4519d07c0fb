//! `tidegate explain`: who would be asked for a request, in which order, and why not the others. Nobody is asked.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use http::Request;
use http_body_util::{BodyExt as _, Limited};
use serde_json::Value;
use serde_json::value::RawValue;
use tidegate_api::RequestToExplain;
use tidegate_catalog::Catalog;
use tidegate_config::{Environment, Sources, load};
use tidegate_gateway::Principal;
use tidegate_gateway::plan::{ExplainError, explain_offline};
use tidegate_gateway::upstream::{Endpoint, SendOptions, UpstreamBody, UpstreamClient};

use crate::failure::Failure;
use crate::output::{Side, Table, print, print_json};

/// The longest request that is read: what gateways accept as a rule.
const MAX_REQUEST: u64 = 32 * 1024 * 1024;
/// The longest explanation that is read: 64 targets with everything known of them take some hundred kilobytes.
const MAX_EXPLANATION: usize = 8 * 1024 * 1024;
/// A gateway that is there answers at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Tell who would be asked for a request, in which order and why
#[derive(Debug, Args)]
#[command(
    after_help = "Without --url nothing is measured yet and nobody in particular is calling. With it, the running\n\
                  gateway is asked; TIDEGATE_ADMIN_KEY holds the key of an owner, admin or auditor."
)]
pub(crate) struct Options {
    /// The request's body, as JSON [default: standard input]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Where it would be sent to [default: /v1/chat/completions]
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// A header of it, such as `x-tidegate-session: 7`; repeat for more
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// The configuration file [default: $TIDEGATE_CONFIG, else tidegate.yaml where it exists]
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
    /// Ask the gateway that runs there
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The id of the key that the request would come from
    #[arg(long, value_name = "ID", requires = "url")]
    key: Option<String>,
    /// Everything that is known, as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: Options) -> Result<(), Failure> {
    let body = read(options.file.as_deref())?;
    let body: Box<RawValue> = serde_json::from_str(&body).map_err(|error| {
        Failure::wrong(
            format!("the request is not JSON: {error}"),
            "Give it the body that a client would send.",
        )
    })?;
    let headers: BTreeMap<String, String> = options.header.into_iter().collect();
    let request = RequestToExplain { path: options.path, key_id: options.key, headers, body };
    let explained = match &options.url {
        None => offline(&request, options.config)?,
        Some(url) => ask(url, &request)?,
    };
    if options.json { print_json(&explained) } else { print(&page(&explained)) }
}

fn read(file: Option<&Path>) -> Result<String, Failure> {
    let mut text = String::new();
    let (read, name) = match file.filter(|file| *file != Path::new("-")) {
        None => {
            (std::io::stdin().lock().take(MAX_REQUEST).read_to_string(&mut text), "standard input".into())
        }
        Some(file) => {
            let opened = File::open(file);
            let read = opened.and_then(|opened| opened.take(MAX_REQUEST).read_to_string(&mut text));
            (read, file.display().to_string())
        }
    };
    read.with_context(|| format!("{name} could not be read"))?;
    Ok(text)
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it `name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn offline(request: &RequestToExplain, config: Option<PathBuf>) -> Result<Value, Failure> {
    // Whether a key exists matters to the listening side alone.
    let sources = Sources { config, keys_exist: true, ..Sources::of_process() };
    let settings = Arc::new(load(&sources)?);
    let asked = request.asked().map_err(wrong_request)?;
    let arrival = request.arrival(asked, Principal::anonymous(None)).map_err(wrong_request)?;
    let explained = explain_offline(settings, Catalog::builtin(), arrival).map_err(|error| match error {
        ExplainError::Settings(error) => Failure::from(error),
        ExplainError::Request(error) => wrong_request(error),
    })?;
    Ok(serde_json::to_value(explained).context("the explanation could not be written")?)
}

fn wrong_request(error: tidegate_gateway::GatewayError) -> Failure {
    Failure::wrong(
        error.message,
        "Give it the body that a client would send, and --path where that is sent to.",
    )
}

/// Asks a gateway that runs.
fn ask(url: &str, request: &RequestToExplain) -> Result<Value, Failure> {
    let Some(key) = Environment::of_process().admin_key() else {
        return Err(Failure::wrong(
            "TIDEGATE_ADMIN_KEY is not set",
            "`tidegate keys create --role auditor` makes a key that may ask.",
        ));
    };
    let endpoint = Endpoint::parse(url).map_err(|error| {
        Failure::wrong(format!("--url {url} cannot be used: {error}"), "Write it like http://127.0.0.1:8080.")
    })?;
    let path = endpoint.path("/admin/v1/explain").context("the address of the gateway")?;
    let body = serde_json::to_string(request).context("the request could not be written")?;
    let request = Request::post(http::Uri::from(path))
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {}", key.expose()))
        .body(UpstreamBody::from(Bytes::from(body)))
        .context("the request could not be made; is TIDEGATE_ADMIN_KEY one line?")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
    runtime.block_on(async {
        let options = SendOptions { connect_timeout: CONNECT_TIMEOUT, fresh_connection: true, sent: None };
        let client = UpstreamClient::new();
        let answer = client.send(&endpoint, request, options).await;
        let answer = answer.map_err(anyhow::Error::from).context("the gateway was not reached")?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_EXPLANATION).collect().await;
        let body =
            body.map_err(|error| anyhow::anyhow!("the answer did not come whole: {error}"))?.to_bytes();
        let value: Value = serde_json::from_slice(&body).with_context(|| format!("it answered {status}"))?;
        if status.is_success() {
            return Ok(value);
        }
        let message = value["error"]["message"].as_str().unwrap_or("without a reason");
        Err(Failure::from(anyhow::anyhow!("the gateway answered {status}: {message}")))
    })
}

/// What a person reads.
fn page(explained: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let needs = &explained["needs"];
    let tokens = format!("{} tokens of input or so", needs["input_tokens"]);
    let mut about = vec![text(&explained["model"]), text(&explained["dialect"]), tokens];
    about.extend(list(&needs["features"]).iter().map(text));
    let mut page = format!("{}\n", about.join(", "));
    if let Some(route) = explained["route"].as_str() {
        page.push_str(&format!("auto: {route}\n"));
    }
    if let Some(experiment) = explained["experiment"].as_str() {
        page.push_str(&format!("experiment: {experiment}\n"));
    }
    if let Some(why) = explained["left_out_of_experiment"].as_str() {
        page.push_str(&format!("no part in the experiment {why}\n"));
    }
    if let Some(message) = explained["refusal"]["message"].as_str() {
        page.push_str(&format!("\nrefused with {}: {message}\n", explained["refusal"]["status"]));
    }
    let order = list(&explained["order"]);
    if !order.is_empty() {
        page.push_str("\nwould be asked, one after the other:\n");
        let headings = [
            ("", Side::Right),
            ("TARGET", Side::Left),
            ("MODEL", Side::Left),
            ("COST $", Side::Right),
            ("WHY", Side::Left),
        ];
        let mut table = Table::new(headings);
        for (place, target) in (1..).zip(&order) {
            let mut because: Vec<String> = list(&target["because"]).iter().map(text).collect();
            let drops: Vec<String> = list(&target["drops"]).iter().map(text).collect();
            if !drops.is_empty() {
                because.push(format!("would drop {}", drops.join(", ")));
            }
            table.row([
                format!("{place}."),
                text(&target["target"]),
                text(&target["model"]),
                target["likely_cost_usd"].as_str().unwrap_or("?").to_owned(),
                because.join("; "),
            ]);
        }
        page.push_str(&table.render());
    }
    let passed_over = list(&explained["passed_over"]);
    if !passed_over.is_empty() {
        page.push_str("\nwould not be asked:\n");
        let mut table = Table::new([("TARGET", Side::Left), ("MODEL", Side::Left), ("WHY NOT", Side::Left)]);
        for target in &passed_over {
            let why = format!("{}: {}", text(&target["reason"]), text(&target["says"]));
            table.row([text(&target["target"]), text(&target["model"]), why]);
        }
        page.push_str(&table.render());
    }
    let limits = list(&explained["room"]["limits"]);
    if !limits.is_empty() {
        page.push_str("\nof the caller's limits are left:\n");
        let headings = [
            ("WHOSE", Side::Left),
            ("OF", Side::Left),
            ("LEFT", Side::Right),
            ("LIMIT", Side::Right),
            ("", Side::Left),
        ];
        let mut table = Table::new(headings);
        for limit in &limits {
            let per = limit["per"].as_str().map_or_else(String::new, |per| format!(" per {per}"));
            let is_enough = limit["has_room"].as_bool().unwrap_or(true);
            table.row([
                text(&limit["level"]),
                format!("{}{per}", text(&limit["of"])),
                text(&limit["left"]),
                text(&limit["limit"]),
                if is_enough { String::new() } else { "too little for this".to_owned() },
            ]);
        }
        page.push_str(&table.render());
        let room = &explained["room"];
        page.push_str(&format!(
            "it would take {} tokens and ${} at most\n",
            room["tokens"],
            text(&room["cost_usd"])
        ));
    }
    page
}
