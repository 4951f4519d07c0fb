//! The floor: Tidegate's server and upstream client with nothing between them. `tidegate-bench --forward` measures it, so
//! that what the stations cost can be told from what sockets and HTTP cost.
//!
//! `forward <listen> <http://upstream> <workers> [axum]`; with `axum`, requests go through a router as in Tidegate.

#![expect(clippy::print_stderr, reason = "a program for a terminal")]

use std::convert::Infallible;
use std::net::TcpListener;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Bytes};
use hyper_util::service::TowerToHyperService;
use tidegate_api::serve::{ServeOptions, raise_open_file_limit, serve};
use tidegate_gateway::upstream::{
    BodyError, Endpoint, ResponseBody, SendOptions, UpstreamBody, UpstreamClient,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The largest request that the benchmark sends fits well within.
const MAX_BODY_BYTES: usize = 1 << 20;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let argument =
        |number: usize| arguments.get(number).context("forward <listen> <http://upstream> <workers> [axum]");
    raise_open_file_limit()?;
    let listener = TcpListener::bind(argument(1)?)?;
    let endpoint = Endpoint::parse(argument(2)?)?;
    let options = ServeOptions { workers: argument(3)?.parse()?, ..ServeOptions::default() };
    let with_router = arguments.get(4).is_some_and(|argument| argument == "axum");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let never = std::future::pending::<()>();
    runtime.block_on(async {
        if with_router {
            serve(listener, options, move |_| TowerToHyperService::new(router(endpoint.clone())), never).await
        } else {
            let make_service = move |_| {
                let (client, endpoint) = (UpstreamClient::new(), endpoint.clone());
                hyper::service::service_fn(move |request| forward(client.clone(), endpoint.clone(), request))
            };
            serve(listener, options, make_service, never).await
        }
    })?;
    Ok(())
}

/// About as many routes as Tidegate has.
fn router(endpoint: Endpoint) -> Router {
    type Parts = (UpstreamClient, Endpoint);
    let through = || {
        post(async |State((client, endpoint)): State<Parts>, request: axum::extract::Request| {
            forward(client, endpoint, request).await.map(|response| response.map(axum::body::Body::new))
        })
    };
    Router::new()
        .route("/v1/chat/completions", through())
        .route("/held/v1/chat/completions", through())
        .route("/v1/messages", through())
        .route("/v1/messages/count_tokens", through())
        .route("/v1/responses", through())
        .route("/v1/embeddings", through())
        .route("/v1/models", through())
        .route("/v1beta/models/{model}", through())
        .with_state((UpstreamClient::new(), endpoint))
}

async fn forward<B>(
    client: UpstreamClient,
    endpoint: Endpoint,
    request: Request<B>,
) -> Result<Response<UnsyncBoxBody<Bytes, BodyError>>, Infallible>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let options =
        SendOptions { connect_timeout: Duration::from_secs(5), fresh_connection: false, sent: None };
    let outcome = match read(body).await {
        Some(body) => client.send(&endpoint, Request::from_parts(parts, body), options).await,
        None => return Ok(refusal(StatusCode::BAD_REQUEST)),
    };
    Ok(match outcome {
        Ok(response) => response.map(ResponseBody::boxed_unsync),
        Err(problem) => {
            eprintln!("{problem}");
            refusal(StatusCode::BAD_GATEWAY)
        }
    })
}

async fn read<B>(body: B) -> Option<UpstreamBody>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut body = std::pin::pin!(http_body_util::Limited::new(body, MAX_BODY_BYTES));
    let mut pieces = Vec::new();
    while let Some(frame) = body.frame().await {
        pieces.extend(frame.ok()?.into_data().ok());
    }
    Some(UpstreamBody::from_pieces(pieces))
}

fn refusal(status: StatusCode) -> Response<UnsyncBoxBody<Bytes, BodyError>> {
    let empty = http_body_util::Empty::new().map_err(|never: Infallible| match never {});
    let mut response = Response::new(empty.boxed_unsync());
    *response.status_mut() = status;
    response
}
