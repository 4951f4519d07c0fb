//! What the routes share, and the router made of them.

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodFilter, on};
use hyper_util::service::TowerToHyperService;
use tidegate_gateway::Gateway;
use tidegate_gateway::upstream::UpstreamClient;
use tokio::sync::Semaphore;

use crate::admin::{self, Administration, routes::ADMIN_ROUTES};
use crate::metrics::Metrics;
use crate::routes::{Method, ROUTES, Target};
use crate::serve::{ServeError, ServeOptions};
use crate::{error, feedback, health, inference, metrics, models, serve};

/// The whole API of one process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct App {
    gateway: Arc<Gateway>,
    metrics: Metrics,
    administration: Option<Administration>,
    admin_places: Arc<Semaphore>,
}

/// What one worker's routes have at hand. They share it behind a pointer of the worker's own: a copy for every request would
/// count in places that all workers write to.
pub(crate) struct Worker {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) metrics: Metrics,
    pub(crate) administration: Option<Administration>,
    /// The administrative requests that are worked on at once, by all workers.
    pub(crate) admin_places: Arc<Semaphore>,
    /// Connections to providers belong to the worker's own runtime.
    pub(crate) upstream: UpstreamClient,
}

impl App {
    /// An API in front of this gateway.
    pub fn new(gateway: Arc<Gateway>, metrics: Metrics) -> Self {
        Self {
            gateway,
            metrics,
            administration: None,
            admin_places: Arc::new(Semaphore::new(admin::AT_ONCE)),
        }
    }

    /// The same with `/admin/v1`.
    #[must_use]
    pub fn with_administration(self, administration: Administration) -> Self {
        Self { administration: Some(administration), ..self }
    }

    /// Serves until the shutdown resolves and the calls in flight are done.
    pub async fn serve(
        self,
        listen: std::net::TcpListener,
        options: ServeOptions,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let make_service = move |_worker| TowerToHyperService::new(self.router());
        serve::serve(listen, options, make_service, shutdown).await
    }

    /// The router of one worker, with connections to providers of its own. Call it on the worker's runtime.
    pub fn router(&self) -> Router {
        let worker = Worker {
            gateway: Arc::clone(&self.gateway),
            metrics: self.metrics.clone(),
            administration: self.administration.clone(),
            admin_places: Arc::clone(&self.admin_places),
            upstream: UpstreamClient::new(),
        };
        let mut router = Router::new();
        for route in ROUTES {
            let filter = match route.method {
                Method::Get => MethodFilter::GET,
                Method::Post => MethodFilter::POST,
            };
            let handler = match route.target {
                Target::Inference(dialect, operation) => {
                    on(filter, move |state, request| inference::handle(state, request, dialect, operation))
                }
                Target::GeminiMethod => on(filter, inference::handle_gemini),
                Target::ListModels => on(filter, models::list),
                Target::OneModel => on(filter, models::one),
                Target::Feedback => on(filter, feedback::handle),
                Target::Live => on(filter, health::live),
                Target::Ready => on(filter, health::ready),
                Target::Metrics => on(filter, metrics::render),
                Target::OpenApi => on(filter, admin::document),
            };
            router = router.route(route.path, handler);
        }
        for route in ADMIN_ROUTES {
            // A method without a filter is one that the table cannot have.
            let Ok(filter) = MethodFilter::try_from(route.method.clone()) else { continue };
            let handler = on(filter, move |state, parameters, request| {
                admin::handle(state, parameters, request, route)
            });
            router = router.route(route.path, handler);
        }
        router
            .fallback(error::no_such_route)
            .method_not_allowed_fallback(error::method_not_allowed)
            .with_state(Arc::new(worker))
    }
}
