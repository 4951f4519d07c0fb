//! The OpenAPI document of `/admin/v1`, made from the table of its routes. It is served, and committed as `openapi.json`
//! so that a change of the API is seen in review.

use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::routes::{ADMIN_ROUTES, AdminRoute};

/// The document.
pub fn openapi() -> &'static str {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let mut text = format!("{:#}", make());
        text.push('\n');
        text
    })
}

fn make() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for route in ADMIN_ROUTES {
        let operation = operation(route, &mut generator);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Value::Object(path) = path {
            path.insert(route.method.as_str().to_lowercase(), operation);
        }
    }
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Error".to_owned(), error_schema());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate administration",
            "version": "1",
            "description": "Organizations, teams, keys, limits, usage, the audit log and the providers' credentials. \
                The bearer is a key with a role: owner, admin, auditor or member.",
        },
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "bearerFormat": "tg-…"}},
            "schemas": schemas,
        },
    })
}

fn operation(route: &AdminRoute, generator: &mut schemars::SchemaGenerator) -> Value {
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    let in_query = route.query.iter().map(|(name, description)| {
        json!({"name": name, "in": "query", "description": description, "schema": {"type": "string"}})
    });
    let parameters: Vec<Value> = in_path.chain(in_query).collect();
    let tag = route.path.trim_start_matches("/admin/v1/").split('/').next().unwrap_or_default();
    let mut success = json!({"description": "Done"});
    if let Some(response) = route.response {
        success = json!({
            "description": "Done",
            "content": {"application/json": {"schema": response(generator)}},
        });
    }
    let refused = json!({
        "description": "Refused: the message says why and what to do",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    });
    let mut operation = json!({
        "operationId": route.name,
        "summary": route.summary,
        "tags": [tag],
        "parameters": parameters,
    });
    if let Some(request) = route.request {
        operation["requestBody"] = json!({"content": {"application/json": {"schema": request(generator)}}});
    }
    operation["responses"] = json!({ route.status.to_string(): success, "default": refused });
    operation
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "required": ["error"],
        "properties": {"error": {
            "type": "object",
            "required": ["message", "type"],
            "properties": {
                "message": {"type": "string", "description": "What is wrong, and what to do"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"], "description": "The field at fault"},
                "code": {"type": ["string", "null"]},
            },
        }},
    })
}
