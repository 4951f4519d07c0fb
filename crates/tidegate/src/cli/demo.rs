//! `tidegate demo`: simulated providers, the gateway in front of them, a little traffic, and how to call it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_config::{Environment, Sources, load};
use tidegate_gateway::upstream::{Endpoint, SendOptions, UpstreamBody, UpstreamClient};
use tidegate_sim::{Dialect, RunningSim, SimOptions};
use tidegate_store::{GroupBy, LedgerWriter, Store, UsageQuery, UsageTotal};
use tokio::task::JoinSet;

use super::serve::{Running, run_to_end};
use super::{sim, usage};
use crate::failure::Failure;
use crate::logging;
use crate::output::print;

/// The port that the guide's examples use.
const USUAL_PORT: u16 = 8080;
/// Any text is taken for a key while none has been made; SDKs insist on one.
const KEY: &str = "demo";
/// A model that takes its time as providers do, only less of it.
const LATENCY: Duration = Duration::from_millis(120);
const TOKENS_PER_SECOND: f64 = 120.0;
/// The traffic goes to this process.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Try everything with simulated providers
#[derive(Debug, Args)]
#[command(
    after_help = "Nothing leaves this machine, no key is needed, and what it writes is gone when it ends."
)]
pub(crate) struct Options {
    /// Where to listen [default: 127.0.0.1:8080, or a free port where that is taken]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    // Nothing of the user's own keys and files comes in.
    let environment = Environment::of_pairs([]);
    logging::start_with(&Environment::of_process(), "warn")?;
    let directory = TempDir::with_prefix("tidegate-demo-").context("no temporary directory could be made")?;
    let listen = options.listen.unwrap_or_else(usual_address);
    run_to_end(async {
        let simulator = sim::start(SimOptions {
            latency: LATENCY,
            tokens_per_second: TOKENS_PER_SECOND,
            ..SimOptions::default()
        })
        .await?;
        let file = directory.path().join("tidegate.yaml");
        std::fs::write(&file, configuration(&simulator, directory.path()))
            .with_context(|| format!("{} could not be written", file.display()))?;
        let sources = Sources {
            config: Some(file.clone()),
            listen: Some(listen),
            directory: directory.path().to_owned(),
            environment,
            keys_exist: false,
        };
        let settings = load(&sources)?;
        let running = Running::start(sources, settings).await?;
        let (address, ledger, store) = (running.address(), running.ledger(), running.store());
        let mut serving = std::pin::pin!(running.serve());
        tokio::select! {
            ended = &mut serving => return ended,
            shown = show(address, &ledger, &store, directory.path()) => shown?,
        }
        serving.await
    })
}

/// The usual port, or any that is free.
fn usual_address() -> SocketAddr {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, USUAL_PORT));
    match TcpListener::bind(usual) {
        Ok(_) => usual,
        Err(_taken) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    }
}

fn configuration(simulator: &RunningSim, directory: &Path) -> String {
    // A path as JSON writes it is a YAML string, whatever is in it.
    let data = Value::from(directory.join("data").display().to_string());
    let openai = simulator.base_url(Dialect::OpenAiChat);
    let anthropic = simulator.base_url(Dialect::AnthropicMessages);
    let gemini = simulator.base_url(Dialect::Gemini);
    format!(
        "# The demo's configuration. Change it and save: it is reloaded at once.\n\
         data: {data}\n\
         providers:\n  \
         openai: {{ base_url: \"{openai}\", api_key: simulated }}\n  \
         anthropic: {{ base_url: \"{anthropic}\", api_key: simulated }}\n  \
         gemini: {{ base_url: \"{gemini}\", api_key: simulated }}\n  \
         # Its models fail by name: sim/overloaded, sim/rate-limited-2s, sim/cut-after-40, …\n  \
         sim: {{ kind: openai-compatible, base_url: \"{openai}\" }}\n\
         models:\n  \
         # The first of its targets is always overloaded: the second one answers.\n  \
         reliable:\n    \
         targets: [sim/overloaded, anthropic/claude-haiku-4-5]\n"
    )
}

async fn show(
    address: SocketAddr,
    ledger: &LedgerWriter,
    store: &Store,
    directory: &Path,
) -> Result<(), Failure> {
    make_traffic(address).await?;
    ledger.flush().await.context("the demo's ledger could not be written")?;
    let query = UsageQuery::by(GroupBy::Target);
    let rows = store.usage(&query).await?;
    print(&format!(
        "{}\nWhat the ledger says of a few calls just made:\n\n{}\n{}",
        greeting(address),
        usage::table(&query.group_by, &rows, UsageTotal::of(&rows)),
        hints(directory)
    ))
}

/// A few calls in each dialect, each to a provider that speaks another one too.
async fn make_traffic(address: SocketAddr) -> Result<(), Failure> {
    let question = "What does a lock keeper do?";
    let chat = |model: &str| json!({"model": model, "messages": [{"role": "user", "content": question}]});
    let messages = |model: &str| json!({"model": model, "max_tokens": 200, "stream": true, "messages": [{"role": "user", "content": question}]});
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": question}]}]});
    let calls = [
        ("/v1/chat/completions", chat("openai/gpt-5-mini")),
        ("/v1/chat/completions", chat("anthropic/claude-haiku-4-5")),
        ("/v1/chat/completions", chat("gemini/gemini-2.5-flash")),
        ("/v1/chat/completions", chat("reliable")),
        ("/v1/messages", messages("openai/gpt-5-mini")),
        ("/v1/messages", messages("anthropic/claude-haiku-4-5")),
        ("/v1/messages", messages("reliable")),
        ("/v1beta/models/openai/gpt-5-mini:generateContent", contents.clone()),
        ("/v1beta/models/gemini/gemini-2.5-flash:generateContent", contents),
    ];
    let endpoint = Endpoint::parse(&format!("http://{address}")).context("the demo's own address")?;
    let client = UpstreamClient::new();
    let mut in_flight = JoinSet::new();
    for (path, body) in calls {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {KEY}"))
            .body(UpstreamBody::from(Bytes::from(body.to_string())))
            .context("a call of the demo")?;
        let (client, endpoint) = (client.clone(), endpoint.clone());
        in_flight.spawn(async move {
            let options =
                SendOptions { connect_timeout: CONNECT_TIMEOUT, fresh_connection: false, sent: None };
            let answer = client.send(&endpoint, request, options).await.map_err(anyhow::Error::from)?;
            let status = answer.status();
            let body = answer.into_body().collect().await.map_err(anyhow::Error::from)?.to_bytes();
            anyhow::ensure!(
                status.is_success(),
                "{path} was answered {status}: {}",
                String::from_utf8_lossy(&body)
            );
            Ok(())
        });
    }
    while let Some(ended) = in_flight.join_next().await {
        ended.context("a call of the demo did not end")?.context("a call of the demo failed")?;
    }
    Ok(())
}

fn greeting(address: SocketAddr) -> String {
    format!(
        "Tidegate listens on http://{address} and a simulator behind it plays OpenAI, Anthropic and Gemini.
Any key is taken; here it is `{KEY}`.

curl:

  curl http://{address}/v1/chat/completions \\
    -H 'authorization: Bearer {KEY}' -H 'content-type: application/json' \\
    -d '{{\"model\": \"anthropic/claude-haiku-4-5\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello!\"}}]}}'

Python (pip install openai):

  from openai import OpenAI
  client = OpenAI(base_url=\"http://{address}/v1\", api_key=\"{KEY}\")
  answer = client.chat.completions.create(
      model=\"gemini/gemini-2.5-flash\", messages=[{{\"role\": \"user\", \"content\": \"Hello!\"}}])
  print(answer.choices[0].message.content)

Node (npm install @anthropic-ai/sdk; a file ending in .mjs):

  import Anthropic from \"@anthropic-ai/sdk\";
  const client = new Anthropic({{ baseURL: \"http://{address}\", apiKey: \"{KEY}\" }});
  const answer = await client.messages.create({{
    model: \"openai/gpt-5-mini\", max_tokens: 200, messages: [{{ role: \"user\", content: \"Hello!\" }}] }});
  console.log(answer.content[0].text);
"
    )
}

fn hints(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "To try next:
  - ask for `reliable`: its first target is always overloaded, the second one answers
  - break something: ask for sim/rate-limited-2s, sim/cut-after-40, … (`tidegate sim --scenarios` lists them)
  - change {directory}/tidegate.yaml: it is reloaded at once
  - tidegate calls --data {directory}/data

Ctrl-C ends it.
"
    )
}
