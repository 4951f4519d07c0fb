//! The wishes as they are written, in body and headers. What is of the wrong shape is refused: a wish that is not understood must
//! not be taken for none.

use http::HeaderMap;
use tidegate_catalog::Rate;
use tidegate_wire::Dialect;
use tidegate_wire::json::{Document, Kind, Value};

use super::{MaxPrice, Name, Sort, Steering};
use crate::error::GatewayError;

/// Further models of a call, names separated by commas.
const MODELS_HEADER: &str = "x-tidegate-models";
/// Wishes about providers, as the JSON object that OpenRouter's users put into `provider`.
const PROVIDER_HEADER: &str = "x-tidegate-provider";

/// More than a call can try.
const MOST_MODELS: usize = 16;
/// More than there are.
const MOST_NAMES: usize = 100;
/// Longer names are none.
const LONGEST_NAME: usize = 512;
/// Members of `provider` that are not heeded here, of which that many are named.
const MOST_OTHERS: usize = 16;

/// What the caller wishes; `None` where nothing is wished.
pub(crate) fn read(
    document: &Document,
    dialect: Dialect,
    headers: &HeaderMap,
) -> Result<Option<Box<Steering>>, GatewayError> {
    let in_body = |name: &str| match dialect {
        Dialect::OpenAiChat => document.get(name),
        Dialect::AnthropicMessages | Dialect::Gemini => None,
    };
    let (models, provider) = (in_body("models"), in_body("provider"));
    let (models_header, provider_header) = (headers.get(MODELS_HEADER), headers.get(PROVIDER_HEADER));
    if models.is_none() && provider.is_none() && models_header.is_none() && provider_header.is_none() {
        return Ok(None);
    }
    let mut steering = Steering {
        allow_fallbacks: true,
        in_body: models.is_some() || provider.is_some(),
        ..Steering::default()
    };
    if let Some(header) = models_header {
        let names = header_text(MODELS_HEADER, header)?.split(',').map(str::trim);
        steering.models = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
        check_models(&steering.models, MODELS_HEADER)?;
    } else if let Some(models) = models {
        steering.models = texts(models, "models")?;
        check_models(&steering.models, "models")?;
    }
    if let Some(header) = provider_header {
        let text = header_text(PROVIDER_HEADER, header)?;
        let value = Value::parse(text.as_bytes()).map_err(|error| {
            wrong(PROVIDER_HEADER, &format!("The header `{PROVIDER_HEADER}` is not valid JSON: {error}"))
        })?;
        read_provider(value, PROVIDER_HEADER, &mut steering)?;
    } else if let Some(value) = provider {
        read_provider(value, "provider", &mut steering)?;
    }
    Ok(Some(Box::new(steering)))
}

fn check_models(models: &[String], at: &str) -> Result<(), GatewayError> {
    let is_fit =
        |name: &String| !name.is_empty() && name.len() <= LONGEST_NAME && !name.chars().any(char::is_control);
    if models.len() > MOST_MODELS {
        return Err(wrong(at, &format!("`{at}` names more than {MOST_MODELS} models.")));
    }
    if !models.iter().all(is_fit) {
        return Err(wrong(at, &format!("A model in `{at}` must have 1 to {LONGEST_NAME} bytes.")));
    }
    Ok(())
}

fn read_provider(value: Value<'_>, at: &str, steering: &mut Steering) -> Result<(), GatewayError> {
    match value.kind() {
        Kind::Null => return Ok(()),
        Kind::Object => {}
        _ => return Err(expected(at, "an object such as {\"order\": [\"anthropic\"]}")),
    }
    for (key, value) in value.members().filter(|(_, value)| !value.is_null()) {
        let name = key.name();
        let place = format!("{at}.{name}");
        match &*name {
            "order" => steering.order = names(value, &place)?,
            "only" => steering.only = names(value, &place)?,
            "ignore" => steering.ignore = names(value, &place)?,
            "allow_fallbacks" => steering.allow_fallbacks = flag(value, &place)?,
            "require_parameters" => steering.require_parameters = flag(value, &place)?,
            "sort" => read_sort(value, &place, steering)?,
            "max_price" => steering.max_price = max_price(value, &place)?,
            // What everybody gets who says nothing.
            "data_collection" if value.as_string().as_deref() == Some("allow") => {}
            "zdr" | "enforce_distillable_text" if value.as_bool() == Some(false) => {}
            _ if steering.for_others.len() < MOST_OTHERS => steering.for_others.push(place),
            _ => {}
        }
    }
    Ok(())
}

fn read_sort(value: Value<'_>, at: &str, steering: &mut Steering) -> Result<(), GatewayError> {
    let by = match value.kind() {
        Kind::Object => {
            let partition = value.get("partition").filter(|partition| !partition.is_null());
            if let Some(partition) = partition {
                steering.sorts_across_models = match partition.as_string().as_deref() {
                    Some("none") => true,
                    Some("model") => false,
                    _ => return Err(expected(&format!("{at}.partition"), "`model` or `none`")),
                };
            }
            match value.get("by").filter(|by| !by.is_null()) {
                Some(by) => by,
                None => return Ok(()),
            }
        }
        _ => value,
    };
    steering.sort = Some(match by.as_string().as_deref() {
        Some("price") => Sort::Price,
        Some("throughput") => Sort::Throughput,
        Some("latency") => Sort::Latency,
        _ => return Err(expected(at, "`price`, `throughput` or `latency`")),
    });
    Ok(())
}

fn max_price(value: Value<'_>, at: &str) -> Result<MaxPrice, GatewayError> {
    if value.kind() != Kind::Object {
        return Err(expected(at, "an object such as {\"prompt\": 1, \"completion\": 2}"));
    }
    let mut most = MaxPrice::default();
    for (key, value) in value.members().filter(|(_, value)| !value.is_null()) {
        let name = key.name();
        let dollars = || dollars(value, &format!("{at}.{name}"));
        match &*name {
            "prompt" => most.prompt = Some(dollars()?),
            "completion" => most.completion = Some(dollars()?),
            // Nobody here takes money for a request or an image as such, so that any price is kept.
            "request" | "image" | "audio" => drop(dollars()?),
            _ => return Err(expected(at, "prices for `prompt`, `completion`, `request` or `image`")),
        }
    }
    Ok(most)
}

/// Dollars for a million tokens. A price that is finer than a price can be is rounded.
fn dollars(value: Value<'_>, at: &str) -> Result<Rate, GatewayError> {
    /// Nano-dollars in a dollar.
    const NANO: f64 = 1e9;
    /// Dearer than anything, and exactly a whole number of nano-dollars.
    const MOST_DOLLARS: f64 = 1e6;

    let wrong = || expected(at, "US dollars for a million tokens, such as 2.5");
    let number = match value.kind() {
        Kind::Number => value.as_f64(),
        Kind::String => value.as_string().and_then(|text| text.trim().parse::<f64>().ok()),
        _ => None,
    };
    let number = number.filter(|number| number.is_finite() && *number >= 0.0).ok_or_else(wrong)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded on both sides")]
    let nano_dollars = (number.min(MOST_DOLLARS) * NANO).round() as u64;
    Ok(Rate(nano_dollars))
}

fn names(value: Value<'_>, at: &str) -> Result<Vec<Name>, GatewayError> {
    let names = texts(value, at)?;
    if names.len() > MOST_NAMES || names.iter().any(|name| name.len() > LONGEST_NAME) {
        return Err(wrong(at, &format!("`{at}` has more than {MOST_NAMES} names, or one that is too long.")));
    }
    Ok(names.into_iter().map(|written| Name { written, configured: Vec::new() }).collect())
}

fn texts(value: Value<'_>, at: &str) -> Result<Vec<String>, GatewayError> {
    if value.is_null() {
        return Ok(Vec::new());
    }
    if value.kind() != Kind::Array {
        return Err(expected(at, "an array of names"));
    }
    let name = |value: Value<'_>| value.as_string().map(std::borrow::Cow::into_owned);
    // One more than is possible anywhere, so that too many are seen and no more are held.
    let most = MOST_NAMES + 1;
    value
        .elements()
        .take(most)
        .map(|one| name(one).ok_or_else(|| expected(at, "an array of names")))
        .collect()
}

fn flag(value: Value<'_>, at: &str) -> Result<bool, GatewayError> {
    value.as_bool().ok_or_else(|| expected(at, "true or false"))
}

fn header_text<'h>(name: &str, header: &'h http::HeaderValue) -> Result<&'h str, GatewayError> {
    header.to_str().map_err(|_error| wrong(name, &format!("The header `{name}` must be plain ASCII text.")))
}

fn expected(at: &str, what: &str) -> GatewayError {
    wrong(at, &format!("`{at}` must be {what}."))
}

fn wrong(at: &str, message: &str) -> GatewayError {
    GatewayError { param: Some(at.to_owned()), ..GatewayError::bad_request(message) }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn read_body(json: &str) -> Result<Option<Box<Steering>>, GatewayError> {
        let document = Document::parse(Bytes::copy_from_slice(json.as_bytes())).unwrap();
        read(&document, Dialect::OpenAiChat, &HeaderMap::new())
    }

    fn written(names: &[Name]) -> Vec<&str> {
        names.iter().map(|name| name.written.as_str()).collect()
    }

    #[test]
    fn wishes_are_read_as_openrouters_users_write_them() {
        let steering = read_body(
            r#"{"models": ["a", "b/c"], "provider": {
                "order": ["Anthropic", "openai"], "only": null, "ignore": ["deepinfra/turbo"],
                "allow_fallbacks": false, "require_parameters": true, "sort": {"by": "latency", "partition": "none"},
                "max_price": {"prompt": 1, "completion": "2.5", "request": 0, "image": 0.01},
                "data_collection": "deny", "zdr": false, "quantizations": ["fp8"]}}"#,
        )
        .unwrap()
        .unwrap();
        assert_eq!(steering.models, ["a", "b/c"]);
        assert_eq!(written(&steering.order), ["Anthropic", "openai"]);
        assert_eq!(written(&steering.ignore), ["deepinfra/turbo"]);
        assert!(steering.only.is_empty() && !steering.allow_fallbacks && steering.require_parameters);
        assert_eq!((steering.sort, steering.sorts_across_models), (Some(Sort::Latency), true));
        assert_eq!(steering.max_price.prompt, Some(Rate(1_000_000_000)));
        assert_eq!(steering.max_price.completion, Some(Rate(2_500_000_000)));
        assert_eq!(steering.for_others, ["provider.data_collection", "provider.quantizations"]);
        assert!(steering.in_body);
        assert_eq!(read_body(r#"{"model": "x"}"#).unwrap(), None);
        let nothing = read_body(r#"{"models": null, "provider": null}"#).unwrap().unwrap();
        assert!(nothing.models.is_empty() && nothing.allow_fallbacks && nothing.in_body);
    }

    #[test]
    fn headers_count_before_the_body_and_in_every_dialect() {
        let mut headers = HeaderMap::new();
        headers.insert(MODELS_HEADER, " a, ,b/c ".parse().unwrap());
        headers.insert(PROVIDER_HEADER, r#"{"sort": "price"}"#.parse().unwrap());
        let body = Bytes::from_static(br#"{"models": ["x"], "provider": "house"}"#);
        let document = Document::parse(body).unwrap();
        for dialect in [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::Gemini] {
            let steering = read(&document, dialect, &headers).unwrap().unwrap();
            assert_eq!(steering.models, ["a", "b/c"], "{dialect:?}");
            assert_eq!(steering.sort, Some(Sort::Price), "{dialect:?}");
            assert_eq!(steering.in_body, dialect == Dialect::OpenAiChat, "{dialect:?}");
        }
        assert_eq!(read(&document, Dialect::Gemini, &HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn wrong_shapes_are_refused_with_their_place() {
        let many = format!("{{\"models\": [{}]}}", vec!["\"a\""; 17].join(","));
        for (json, at) in [
            (r#"{"models": "a"}"#, "models"),
            (r#"{"models": [1]}"#, "models"),
            (r#"{"models": [""]}"#, "models"),
            (&*many, "models"),
            (r#"{"provider": "anthropic"}"#, "provider"),
            (r#"{"provider": {"order": "anthropic"}}"#, "provider.order"),
            (r#"{"provider": {"only": [{}]}}"#, "provider.only"),
            (r#"{"provider": {"allow_fallbacks": "no"}}"#, "provider.allow_fallbacks"),
            (r#"{"provider": {"sort": "cheapest"}}"#, "provider.sort"),
            (r#"{"provider": {"sort": {"by": "price", "partition": "all"}}}"#, "provider.sort.partition"),
            (r#"{"provider": {"max_price": 3}}"#, "provider.max_price"),
            (r#"{"provider": {"max_price": {"prompt": -1}}}"#, "provider.max_price.prompt"),
            (r#"{"provider": {"max_price": {"prompt": "cheap"}}}"#, "provider.max_price.prompt"),
            (r#"{"provider": {"max_price": {"tokens": 1}}}"#, "provider.max_price"),
        ] {
            let error = read_body(json).unwrap_err();
            assert_eq!((error.status, error.param.as_deref()), (400, Some(at)), "{json}");
            assert!(error.message.contains(at), "{}", error.message);
        }
        let mut headers = HeaderMap::new();
        headers.insert(PROVIDER_HEADER, "{".parse().unwrap());
        let document = Document::parse(Bytes::from_static(b"{}")).unwrap();
        assert!(read(&document, Dialect::Gemini, &headers).unwrap_err().message.contains("not valid JSON"));
    }
}
