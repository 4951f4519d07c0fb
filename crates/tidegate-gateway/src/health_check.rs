//! Active health checks: providers that are configured so are asked for their list of models now and then, when no call
//! tells how they are doing. One future for the whole process, run by the binary beside the server.
//!
//! A check that succeeds lets whoever is out be probed by the next call at once. One that fails changes nothing: only real
//! calls say whether a target works, and a list of models may be refused where calls are not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::BodyExt as _;
use tidegate_policy::{BreakerState, Moment, Readiness};
use tidegate_wire::Dialect;

use crate::gateway::Gateway;
use crate::provider::{Key, Provider, Target};
use crate::upstream::{ResponseBody, SendOptions, UpstreamBody, UpstreamClient};

/// How often it is looked whether a check is due.
const TICK: Duration = Duration::from_millis(500);

/// The time for one answer. Who needs longer for a list is not well.
const PATIENCE: Duration = Duration::from_secs(5);

/// Checks under way at once.
const MOST_AT_ONCE: usize = 8;

/// Keys of one provider that are tried in one check: those that are out, so that they come back.
const MOST_KEYS: usize = 4;

/// The most of a list that is read: OpenRouter's has some hundred kilobytes.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// What came of the latest checks, by the providers' names.
#[derive(Debug, Default)]
pub(crate) struct CheckResults {
    /// As many as there are providers.
    by_provider: Mutex<HashMap<Arc<str>, CheckResult>>,
}

/// What came of a check.
#[derive(Debug, Clone)]
pub(crate) struct CheckResult {
    pub(crate) at: Moment,
    /// What was wrong; `None` where all is well.
    pub(crate) problem: Option<String>,
}

impl CheckResults {
    pub(crate) fn of(&self, provider: &str) -> Option<CheckResult> {
        self.lock().get(provider).cloned()
    }

    fn note(&self, provider: &Arc<str>, result: CheckResult) {
        self.lock().insert(Arc::clone(provider), result);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, CheckResult>> {
        self.by_provider.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is remembered of a provider between two looks.
#[derive(Debug, Clone, Copy)]
struct Watched {
    /// Calls that its targets were asked for.
    calls: u64,
    next: Moment,
}

/// Checks providers for as long as it is polled.
pub async fn check_providers(gateway: Arc<Gateway>) {
    let upstream = UpstreamClient::new();
    let mut watched: HashMap<Arc<str>, Watched> = HashMap::new();
    loop {
        tokio::time::sleep(TICK).await;
        let due = due(&gateway, &mut watched);
        let checks = due.into_iter().map(|provider| check(Arc::clone(&gateway), upstream.clone(), provider));
        futures_util::stream::iter(checks).buffer_unordered(MOST_AT_ONCE).for_each(async |()| {}).await;
    }
}

/// The providers to check now: those of which real calls say nothing, or nothing good.
fn due(gateway: &Gateway, watched: &mut HashMap<Arc<str>, Watched>) -> Vec<Arc<Provider>> {
    let snapshot = gateway.snapshot();
    let now = gateway.clock.now();
    watched.retain(|name, _| snapshot.provider(name).is_some());
    gateway.checks.lock().retain(|name, _| snapshot.provider(name).is_some());
    let mut due = Vec::new();
    for provider in snapshot.providers().filter(|provider| !provider.lacks_key) {
        let configured = snapshot.settings.providers.get(&*provider.name);
        let Some(check) = configured.and_then(|configured| configured.health_check) else { continue };
        let jittered = |share: f64| now.saturating_add(check.every.mul_f64(share));
        let targets = provider.known_targets();
        let calls = targets.iter().map(|target| target.health.measured(now).calls).sum();
        // Providers that were configured together are not all asked in the same moment.
        let known = watched
            .entry(Arc::clone(&provider.name))
            .or_insert_with(|| Watched { calls, next: jittered(fastrand::f64()) });
        if now < known.next {
            continue;
        }
        let is_idle = known.calls == calls;
        *known = Watched { calls, next: jittered(0.8 + 0.4 * fastrand::f64()) };
        let has_key_out = provider.keys.iter().any(|key| is_out(key, &targets, now));
        let has_target_out = || targets.iter().any(|target| target.health.readiness(now) != Readiness::Ready);
        if is_idle || has_key_out || has_target_out() {
            due.push(Arc::clone(provider));
        }
    }
    due
}

/// Whether a key is out, everywhere or at a target.
fn is_out(key: &Key, targets: &[Arc<Target>], now: Moment) -> bool {
    let is_out = |readiness| matches!(readiness, Readiness::Out { .. });
    let is_out_at = |target: &Arc<Target>| is_out(key.readiness_at(&target.health, now));
    is_out(key.health.readiness(now)) || targets.iter().any(is_out_at)
}

async fn check(gateway: Arc<Gateway>, upstream: UpstreamClient, provider: Arc<Provider>) {
    let now = gateway.clock.now();
    let targets = provider.known_targets();
    let mut places: Vec<usize> = (0..provider.keys.len())
        .filter(|place| provider.keys.get(*place).is_some_and(|key| is_out(key, &targets, now)))
        .collect();
    if places.is_empty() {
        places.push(0);
    }
    places.truncate(MOST_KEYS);
    let mut problem = None;
    for place in places {
        let answer = tokio::time::timeout(PATIENCE, list_models(&upstream, &provider, place)).await;
        let now = gateway.clock.now();
        match answer.unwrap_or_else(|_elapsed| Err(format!("no answer within {PATIENCE:?}"))) {
            Err(what) => problem = Some(what),
            Ok((status, list)) => {
                if status.is_success() {
                    if let Some(key) = provider.keys.get(place) {
                        key.health.probe_soon(now);
                        for target in &targets {
                            if let Some(here) = target.health.troubled_keys().find(key.fingerprint()) {
                                here.probe_soon(now);
                            }
                        }
                    }
                } else {
                    problem = Some(format!("it answered {status} to a request for its models"));
                }
                if !status.is_server_error() {
                    let_in(&provider, status.is_success().then_some(&list), now);
                }
            }
        }
    }
    if let Some(problem) = &mut problem {
        provider.conceal(problem);
        tracing::debug!(provider = %provider.name, problem, "a health check failed");
    }
    gateway.checks.note(&provider.name, CheckResult { at: gateway.clock.now(), problem });
}

/// The provider is there: its targets may be probed, those that it did not know only where its list has them now.
fn let_in(provider: &Provider, list: Option<&Bytes>, now: Moment) {
    for target in provider.known_targets() {
        if target.health.out_until(now).is_some() {
            let is_listed = |list: &Bytes| memchr::memmem::find(list, target.model.as_bytes()).is_some();
            if list.is_some_and(is_listed) {
                target.health.probe_soon(now);
            }
        } else if matches!(target.health.breaker(now), BreakerState::Open { .. }) {
            target.health.probe_soon(now);
        }
    }
}

/// Asks for the list of models with this key.
async fn list_models(
    upstream: &UpstreamClient,
    provider: &Provider,
    key: usize,
) -> Result<(StatusCode, Bytes), String> {
    let door = provider.doors.first().ok_or("it has no address")?;
    let path = match door.dialect {
        Dialect::OpenAiChat => "/models",
        Dialect::AnthropicMessages => "/v1/models",
        Dialect::Gemini => "/v1beta/models",
    };
    let path = door.endpoint.path(path).map_err(|error| error.to_string())?;
    let mut request = Request::new(UpstreamBody::empty());
    *request.uri_mut() = Uri::from(path);
    let headers = request.headers_mut();
    headers.clone_from(&door.headers);
    headers.remove(CONTENT_TYPE);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(value) = provider.keys.get(key).and_then(|key| key.value(0)) {
        headers.insert(&door.auth, value.clone());
    }
    let options = SendOptions { connect_timeout: PATIENCE, fresh_connection: false, sent: None };
    let response =
        upstream.send(&door.endpoint, request, options).await.map_err(|failure| failure.to_string())?;
    let status = response.status();
    Ok((status, read(response.into_body()).await?))
}

/// Reads a list, or as much of it as is reasonable.
async fn read(mut body: ResponseBody) -> Result<Bytes, String> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        if let Some(data) = frame.data_ref() {
            if read.len() + data.len() > MOST_BYTES {
                break;
            }
            read.extend_from_slice(data);
        }
    }
    Ok(read.freeze())
}
