//! The table of all routes. A new endpoint is one row here; tests go over the rows and fail until it is covered.

use tidegate_gateway::Operation;
use tidegate_wire::Dialect;

/// One endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path, with parameters in braces.
    pub path: &'static str,
    /// What serves it.
    pub target: Target,
}

/// The methods in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET, and with it HEAD.
    Get,
    /// POST.
    Post,
}

/// What serves a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The way of a request, model and stream flag in the body.
    Inference(Dialect, Operation),
    /// Gemini's methods, behind the model's name in the path.
    GeminiMethod,
    /// All models, in the shape that the caller's SDK reads.
    ListModels,
    /// One model.
    OneModel,
    /// What a caller says of an answer.
    Feedback,
    /// Whether the process runs.
    Live,
    /// Whether it can take calls.
    Ready,
    /// Figures for Prometheus.
    Metrics,
    /// The description of `/admin/v1`.
    OpenApi,
}

const fn post(path: &'static str, target: Target) -> Route {
    Route { method: Method::Post, path, target }
}

const fn get(path: &'static str, target: Target) -> Route {
    Route { method: Method::Get, path, target }
}

/// All of them.
pub const ROUTES: &[Route] = &[
    post("/v1/chat/completions", Target::Inference(Dialect::OpenAiChat, Operation::Chat)),
    post("/v1/messages", Target::Inference(Dialect::AnthropicMessages, Operation::Chat)),
    post("/v1/messages/count_tokens", Target::Inference(Dialect::AnthropicMessages, Operation::CountTokens)),
    post("/v1beta/models/{*model}", Target::GeminiMethod),
    // Google's newer SDKs ask for this version where nobody chooses one.
    post("/v1/models/{*model}", Target::GeminiMethod),
    get("/v1/models", Target::ListModels),
    get("/v1/models/{*model}", Target::OneModel),
    get("/v1beta/models", Target::ListModels),
    get("/v1beta/models/{*model}", Target::OneModel),
    post("/v1/feedback", Target::Feedback),
    get("/health/live", Target::Live),
    get("/health/ready", Target::Ready),
    get("/metrics", Target::Metrics),
    get("/openapi.json", Target::OpenApi),
    get("/admin/v1/openapi.json", Target::OpenApi),
];
