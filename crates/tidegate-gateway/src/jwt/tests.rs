//! Tokens of issuers that publish their keys over real sockets.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tidegate_config::{JwtAlgorithm, JwtClaimNames, JwtIssuer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const RSA_ONE: &[u8] = include_bytes!("../../fixtures/jwt/test-key-rsa-one.der");
const RSA_TWO: &[u8] = include_bytes!("../../fixtures/jwt/test-key-rsa-two.der");
const RSA_SHORT: &[u8] = include_bytes!("../../fixtures/jwt/test-key-rsa-short.der");
const EC: &[u8] = include_bytes!("../../fixtures/jwt/test-key-ec.der");
const ED: &[u8] = include_bytes!("../../fixtures/jwt/test-key-ed.der");

/// Seconds since 1970 of the moment at which the tests play.
const NOW: i64 = 1_800_000_000;
/// No pauses, so that a test need not wait for them.
const AT_ONCE: JwtTiming = JwtTiming {
    renew_after: Duration::from_secs(600),
    least_pause: Duration::ZERO,
    fetch_within: Duration::from_secs(5),
};

/// A server that says what it is told to, by path. `None` closes the connection without an answer.
struct Publisher {
    url: String,
    pages: Arc<Mutex<HashMap<String, Option<String>>>>,
    requests: Arc<AtomicUsize>,
}

impl Publisher {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let pages = Arc::new(Mutex::new(HashMap::<String, Option<String>>::new()));
        let requests = Arc::new(AtomicUsize::new(0));
        let (shown, counted) = (Arc::clone(&pages), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (shown, counted) = (Arc::clone(&shown), Arc::clone(&counted));
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while let Ok(read @ 1..) = socket.read_buf(&mut head).await {
                        if !head.ends_with(b"\r\n\r\n") || read == 0 {
                            continue;
                        }
                        counted.fetch_add(1, Ordering::SeqCst);
                        let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
                        let path = text.split(' ').nth(1).unwrap().to_owned();
                        let page = shown.lock().unwrap().get(&path).cloned();
                        let (status, body) = match page {
                            Some(Some(body)) => ("200 OK", body),
                            Some(None) => return,
                            None => ("404 Not Found", String::new()),
                        };
                        let answer =
                            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                        socket.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        Self { url, pages, requests }
    }

    fn publish(&self, path: &str, page: Option<String>) {
        self.pages.lock().unwrap().insert(path.to_owned(), page);
    }

    fn publish_keys(&self, keys: &[Value]) {
        self.publish("/keys?v=1", Some(json!({"keys": keys}).to_string()));
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn issuer(&self) -> JwtIssuer {
        JwtIssuer {
            issuer: self.url.clone(),
            audience: vec!["tidegate".into(), "other-name".into()],
            jwks_url: Some(format!("{}/keys?v=1", self.url)),
            algorithms: JwtAlgorithm::ALL.to_vec(),
            claims: JwtClaimNames { models: Some("models".into()), ..JwtClaimNames::default() },
            organization: None,
            leeway: Duration::from_secs(60),
        }
    }

    fn claims(&self) -> Value {
        json!({"iss": self.url, "aud": "tidegate", "sub": "someone", "exp": NOW + 300, "models": ["m"]})
    }
}

fn private_key(algorithm: Algorithm, der: &[u8]) -> EncodingKey {
    match algorithm {
        Algorithm::ES256 => EncodingKey::from_ec_der(der),
        Algorithm::EdDSA => EncodingKey::from_ed_der(der),
        _ => EncodingKey::from_rsa_der(der),
    }
}

/// The public half of a test key, as issuers publish it.
fn public_key(id: &str, algorithm: Algorithm, der: &[u8]) -> Value {
    let mut jwk = Jwk::from_encoding_key(&private_key(algorithm, der), algorithm).unwrap();
    jwk.common.key_id = Some(id.to_owned());
    serde_json::to_value(jwk).unwrap()
}

fn sign(id: Option<&str>, algorithm: Algorithm, der: &[u8], claims: &Value) -> String {
    let header = Header { kid: id.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, &private_key(algorithm, der)).unwrap()
}

fn unsigned(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

#[tokio::test]
async fn tokens_signed_in_each_way_are_believed_and_say_who_calls() {
    let publisher = Publisher::start().await;
    let keys = [("r", Algorithm::RS256, RSA_ONE), ("e", Algorithm::ES256, EC), ("d", Algorithm::EdDSA, ED)];
    publisher.publish_keys(&keys.map(|(id, algorithm, der)| public_key(id, algorithm, der)));
    let mut settings = publisher.issuer();
    settings.claims.team = "realm.groups".into();
    settings.claims.user = "https://example.com/user".into();
    settings.organization = Some("house".into());
    let verifier = JwtVerifier::with_timing(&[settings], AT_ONCE);
    let mut claims = publisher.claims();
    claims["aud"] = json!(["somebody", "other-name"]);
    claims["exp"] = json!(1_800_000_300.75);
    claims["realm"] = json!({"groups": ["blue"]});
    claims["https://example.com/user"] = json!("ann@example.com");
    claims["models"] = json!("fast openai/gpt-5");
    for (id, algorithm, der) in keys {
        for named in [Some(id), None] {
            let token = sign(named, algorithm, der, &claims);
            assert!(JwtVerifier::looks_like_token(&token));
            let seen = verifier.verify_at(&token, NOW).await.unwrap();
            let expected = JwtClaims {
                issuer: publisher.url.clone(),
                organization: Some("house".into()),
                subject: "someone".into(),
                team: Some("blue".into()),
                user: Some("ann@example.com".into()),
                models: Some(vec!["fast".into(), "openai/gpt-5".into()]),
                expires_at: NOW + 360,
            };
            assert_eq!(*seen, expected, "{algorithm:?}");
        }
    }
    assert_eq!(publisher.requests(), 1, "all keys came with one fetch");
}

#[tokio::test]
async fn whatever_is_wrong_with_the_claims_is_said() {
    let publisher = Publisher::start().await;
    publisher.publish_keys(&[public_key("d", Algorithm::EdDSA, ED)]);
    let verifier = JwtVerifier::with_timing(&[publisher.issuer()], AT_ONCE);
    let cases: Vec<(&str, Value, &str)> = vec![
        ("iss", json!("https://somebody.example.com"), "unknown_issuer"),
        ("iss", json!([publisher.url]), "unknown_issuer"),
        ("iss", Value::Null, "unknown_issuer"),
        ("aud", json!("somebody"), "wrong_audience"),
        ("aud", json!([]), "wrong_audience"),
        ("aud", Value::Null, "wrong_audience"),
        ("aud", json!({"tidegate": true}), "wrong_audience"),
        ("exp", json!(NOW - 61), "expired"),
        ("exp", json!(NOW - 60), "expired"),
        ("exp", json!(-1), "expired"),
        ("exp", Value::Null, "claim"),
        ("exp", json!("1900000000"), "claim"),
        ("exp", json!(1e300), "claim"),
        ("nbf", json!(NOW + 61), "not_yet_valid"),
        ("nbf", json!(true), "claim"),
        ("sub", Value::Null, "claim"),
        ("sub", json!(""), "claim"),
        ("sub", json!("a\nb"), "claim"),
        ("team", json!(["one", "two"]), "claim"),
        ("team", json!("x".repeat(257)), "claim"),
        ("models", json!(7), "claim"),
        ("models", json!([7]), "claim"),
        ("models", json!(vec!["m"; 1001]), "claim"),
        ("models", json!(["*", "!m"]), "claim"),
        ("models", Value::Null, "claim"),
    ];
    for (claim, value, word) in cases {
        let mut claims = publisher.claims();
        claims[claim] = value.clone();
        let token = sign(Some("d"), Algorithm::EdDSA, ED, &claims);
        let refused = verifier.verify_at(&token, NOW).await.unwrap_err();
        assert_eq!(refused.as_str(), word, "{claim}: {value}: {refused}");
        assert!(!refused.is_unavailable());
    }
    for (claim, value) in [
        ("exp", json!(NOW - 59)),
        ("nbf", json!(NOW + 60)),
        ("team", Value::Null),
        ("team", json!([])),
        ("models", json!([])),
    ] {
        let mut claims = publisher.claims();
        claims[claim] = value.clone();
        let token = sign(Some("d"), Algorithm::EdDSA, ED, &claims);
        let seen = verifier.verify_at(&token, NOW).await.unwrap();
        assert_eq!(seen.team, None);
        let models = if claim == "models" { vec![] } else { vec!["m".to_owned()] };
        assert_eq!(seen.models, Some(models));
    }
}

#[tokio::test]
async fn a_claim_that_the_configuration_names_must_be_there() {
    let publisher = Publisher::start().await;
    publisher.publish_keys(&[public_key("d", Algorithm::EdDSA, ED)]);
    let mut settings = publisher.issuer();
    settings.claims.user = "email".into();
    settings.claims.is_team_required = true;
    settings.claims.is_user_required = true;
    let verifier = JwtVerifier::with_timing(&[settings], AT_ONCE);
    let mut whole = publisher.claims();
    whole["team"] = json!("blue");
    whole["email"] = json!("ann@example.com");
    let verify = async |claims: &Value| {
        verifier
            .verify_at(&sign(Some("d"), Algorithm::EdDSA, ED, claims), NOW)
            .await
            .map(|seen| seen.team.clone())
    };
    assert_eq!(verify(&whole).await, Ok(Some("blue".to_owned())));
    for (claim, nothing) in [
        ("team", Value::Null),
        ("team", json!("")),
        ("team", json!([])),
        ("email", Value::Null),
        ("models", Value::Null),
    ] {
        let mut claims = whole.clone();
        claims[claim] = nothing.clone();
        let refused = verify(&claims).await.unwrap_err();
        assert!(refused.to_string().contains(claim), "{claim} {nothing}: {refused}");
        assert_eq!(refused.as_str(), "claim");
    }
}

#[tokio::test]
async fn a_token_cannot_choose_how_it_is_verified() {
    let publisher = Publisher::start().await;
    let (public, claims) = (public_key("r", Algorithm::RS256, RSA_ONE), publisher.claims());
    let secret = json!({"kty": "oct", "kid": "s", "k": URL_SAFE_NO_PAD.encode("secret")});
    let short = public_key("short", Algorithm::RS256, RSA_SHORT);
    let mut for_encryption = public_key("enc", Algorithm::RS256, RSA_TWO);
    for_encryption["use"] = json!("enc");
    publisher.publish_keys(&[
        public.clone(),
        secret,
        short,
        for_encryption,
        public_key("e", Algorithm::ES256, EC),
    ]);
    let verifier = JwtVerifier::with_timing(&[publisher.issuer()], AT_ONCE);
    let good = sign(Some("r"), Algorithm::RS256, RSA_ONE, &claims);
    verifier.verify_at(&good, NOW).await.unwrap();

    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let richer = URL_SAFE_NO_PAD.encode({
        let mut claims = claims.clone();
        claims["sub"] = json!("root");
        claims.to_string()
    });
    let with_secret = |secret: &[u8], id: &str| {
        let header = Header { kid: Some(id.to_owned()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret)).unwrap()
    };
    let modulus = URL_SAFE_NO_PAD.decode(public["n"].as_str().unwrap()).unwrap();
    let cases = [
        (
            "another's claims under a good signature",
            format!("{header}.{richer}.{signature}"),
            "bad_signature",
        ),
        ("a signature cut off", format!("{signed}."), "bad_signature"),
        ("a signature that is no base64", format!("{signed}.%%%"), "bad_signature"),
        ("another's key", sign(Some("r"), Algorithm::RS256, RSA_TWO, &claims), "bad_signature"),
        ("another's key, unnamed", sign(None, Algorithm::RS256, RSA_TWO, &claims), "bad_signature"),
        ("none", unsigned(&json!({"alg": "none"}), &claims, ""), "algorithm"),
        ("None", unsigned(&json!({"alg": "None", "kid": "r"}), &claims, signature), "algorithm"),
        ("the public key as secret", with_secret(&modulus, "r"), "algorithm"),
        ("a published secret", with_secret(b"secret", "s"), "algorithm"),
        ("a way its key is not for", sign(Some("r"), Algorithm::PS256, RSA_ONE, &claims), "unknown_key"),
        ("a key of another kind", sign(Some("e"), Algorithm::RS256, RSA_ONE, &claims), "unknown_key"),
        ("a short key", sign(Some("short"), Algorithm::RS256, RSA_SHORT, &claims), "unknown_key"),
        ("a key for encryption", sign(Some("enc"), Algorithm::RS256, RSA_TWO, &claims), "unknown_key"),
        ("extensions", unsigned(&json!({"alg": "RS256", "crit": ["x"]}), &claims, signature), "malformed"),
        ("a key of its own", unsigned(&json!({"alg": "RS256", "kid": 7}), &claims, signature), "malformed"),
        ("two parts", format!("{header}.{payload}"), "malformed"),
        ("four parts", format!("{good}.x"), "malformed"),
        ("no base64", format!("{header}.{payload}=.{signature}"), "malformed"),
        ("no object", unsigned(&json!([]), &claims, signature), "malformed"),
        ("too long", format!("{header}.{}.{signature}", "A".repeat(20_000)), "malformed"),
        ("nothing", String::new(), "malformed"),
    ];
    for (what, token, word) in cases {
        let refused = verifier.verify_at(&token, NOW).await.unwrap_err();
        assert_eq!(refused.as_str(), word, "{what}: {refused}");
    }
    let mut narrow = publisher.issuer();
    narrow.algorithms = vec![JwtAlgorithm::ES256];
    let narrow = JwtVerifier::with_timing(&[narrow], AT_ONCE);
    assert_eq!(narrow.verify_at(&good, NOW).await, Err(JwtRefused::Algorithm("RS256".into())));
}

#[tokio::test]
async fn a_new_key_is_fetched_when_a_token_names_it_and_a_withdrawn_one_ends_its_tokens() {
    let publisher = Publisher::start().await;
    publisher.publish_keys(&[public_key("one", Algorithm::RS256, RSA_ONE)]);
    let verifier = JwtVerifier::with_timing(&[publisher.issuer()], AT_ONCE);
    let old = sign(Some("one"), Algorithm::RS256, RSA_ONE, &publisher.claims());
    let new = sign(Some("two"), Algorithm::RS256, RSA_TWO, &publisher.claims());
    verifier.verify_at(&old, NOW).await.unwrap();
    assert_eq!(verifier.verify_at(&new, NOW).await, Err(JwtRefused::UnknownKey));

    publisher.publish_keys(&[public_key("two", Algorithm::RS256, RSA_TWO)]);
    verifier.verify_at(&new, NOW).await.unwrap();
    assert_eq!(
        verifier.verify_at(&old, NOW).await,
        Err(JwtRefused::UnknownKey),
        "although it was good before"
    );
}

#[tokio::test]
async fn made_up_key_ids_do_not_have_the_issuer_asked_again_and_again() {
    let publisher = Publisher::start().await;
    publisher.publish_keys(&[public_key("d", Algorithm::EdDSA, ED)]);
    let timing = JwtTiming { least_pause: Duration::from_secs(3600), ..AT_ONCE };
    let verifier = Arc::new(JwtVerifier::with_timing(&[publisher.issuer()], timing));
    let calls: Vec<_> = (0..50)
        .map(|number| {
            let token = sign(Some(&format!("made-up-{number}")), Algorithm::EdDSA, ED, &publisher.claims());
            let verifier = Arc::clone(&verifier);
            tokio::spawn(async move { verifier.verify_at(&token, NOW).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), Err(JwtRefused::UnknownKey));
    }
    assert_eq!(publisher.requests(), 1);
}

#[tokio::test]
async fn while_the_issuer_is_away_its_old_keys_count_and_new_ones_are_not_held_against_the_caller() {
    let publisher = Publisher::start().await;
    publisher.publish("/keys?v=1", None);
    let timing = JwtTiming { renew_after: Duration::ZERO, ..AT_ONCE };
    let verifier = JwtVerifier::with_timing(&[publisher.issuer()], timing);
    let token = sign(Some("d"), Algorithm::EdDSA, ED, &publisher.claims());
    let refused = verifier.verify_at(&token, NOW).await.unwrap_err();
    assert!(refused.is_unavailable(), "{refused}");
    assert!(!refused.to_string().contains("127.0.0.1"), "callers are not told where the issuer is");

    publisher.publish_keys(&[public_key("d", Algorithm::EdDSA, ED)]);
    verifier.verify_at(&token, NOW).await.unwrap();
    for wrong in
        [None, Some("<html>".to_owned()), Some(r#"{"keys": []}"#.to_owned()), Some(" ".repeat(600_000))]
    {
        publisher.publish("/keys?v=1", wrong);
        let asked = publisher.requests();
        verifier.verify_at(&token, NOW).await.unwrap();
        while publisher.requests() == asked {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let unseen = sign(Some("d"), Algorithm::EdDSA, ED, &{
            let mut claims = publisher.claims();
            claims["jti"] = json!(asked);
            claims
        });
        verifier.verify_at(&unseen, NOW).await.unwrap();
        let other = sign(Some("new"), Algorithm::EdDSA, ED, &publisher.claims());
        assert_eq!(verifier.verify_at(&other, NOW).await, Err(JwtRefused::KeysUnavailable));
    }
}

#[tokio::test]
async fn a_silent_issuer_holds_nobody_up_for_longer_than_it_may() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let publisher = Publisher::start().await;
    let mut settings = publisher.issuer();
    settings.jwks_url = Some(format!("http://{}/", listener.local_addr().unwrap()));
    let timing = JwtTiming { fetch_within: Duration::from_millis(50), ..AT_ONCE };
    let verifier = JwtVerifier::with_timing(&[settings], timing);
    let token = sign(Some("d"), Algorithm::EdDSA, ED, &publisher.claims());
    let verified = tokio::time::timeout(Duration::from_secs(20), verifier.verify_at(&token, NOW)).await;
    assert_eq!(verified.unwrap(), Err(JwtRefused::KeysUnavailable));
}

#[tokio::test]
async fn keys_are_found_through_the_discovery_document_of_their_own_issuer_only() {
    let publisher = Publisher::start().await;
    publisher.publish_keys(&[public_key("d", Algorithm::EdDSA, ED)]);
    let mut settings = publisher.issuer();
    settings.jwks_url = None;
    let verifier = JwtVerifier::with_timing(&[settings], AT_ONCE);
    let token = sign(Some("d"), Algorithm::EdDSA, ED, &publisher.claims());
    let discovery = |issuer: &str| {
        json!({"issuer": issuer, "jwks_uri": format!("{}/keys?v=1", publisher.url)}).to_string()
    };
    let path = "/.well-known/openid-configuration";
    for page in [None, Some(discovery("https://somebody.example.com")), Some("{}".to_owned())] {
        publisher.publish(path, page);
        assert_eq!(verifier.verify_at(&token, NOW).await, Err(JwtRefused::KeysUnavailable));
    }
    publisher.publish(path, Some(discovery(&publisher.url)));
    verifier.verify_at(&token, NOW).await.unwrap();
}

#[tokio::test]
async fn a_token_seen_before_costs_no_signature_but_still_expires() {
    let publisher = Publisher::start().await;
    publisher.publish_keys(&[public_key("d", Algorithm::EdDSA, ED)]);
    let verifier = JwtVerifier::with_timing(&[publisher.issuer()], AT_ONCE);
    let token = sign(Some("d"), Algorithm::EdDSA, ED, &publisher.claims());
    let first = verifier.verify_at(&token, NOW).await.unwrap();
    let second = verifier.verify_at(&token, NOW).await.unwrap();
    assert!(Arc::ptr_eq(&first, &second), "the same result, not an equal one");
    assert_eq!(verifier.verify_at(&token, NOW + 360).await, Err(JwtRefused::Expired));
}

#[tokio::test]
async fn tokens_of_one_issuer_are_not_verified_by_the_keys_of_another() {
    let (one, two) = (Publisher::start().await, Publisher::start().await);
    one.publish_keys(&[public_key("d", Algorithm::EdDSA, ED)]);
    two.publish_keys(&[public_key("r", Algorithm::RS256, RSA_ONE)]);
    let verifier = JwtVerifier::with_timing(&[one.issuer(), two.issuer()], AT_ONCE);
    verifier.verify_at(&sign(Some("d"), Algorithm::EdDSA, ED, &one.claims()), NOW).await.unwrap();
    verifier.verify_at(&sign(Some("r"), Algorithm::RS256, RSA_ONE, &two.claims()), NOW).await.unwrap();
    let crossed = sign(Some("d"), Algorithm::EdDSA, ED, &two.claims());
    assert_eq!(verifier.verify_at(&crossed, NOW).await, Err(JwtRefused::UnknownKey));
    assert!(!JwtVerifier::new(&[]).has_issuers());
}

#[test]
fn the_memory_of_good_tokens_is_bounded_and_keeps_what_is_in_use() {
    let cache = Cache::default();
    let claims = Arc::new(JwtClaims {
        issuer: String::new(),
        organization: None,
        subject: String::new(),
        team: None,
        user: None,
        models: None,
        expires_at: 0,
    });
    let verified = Verified { issuer: 0, generation: 0, claims };
    let in_use = cache::fingerprint("in use");
    cache.put(in_use, verified.clone());
    for number in 0..30_000 {
        cache.put(cache::fingerprint(&number.to_string()), verified.clone());
        assert!(cache.get(&in_use).is_some());
    }
    assert!(cache.len() <= 10_000, "{}", cache.len());
    assert!(cache.get(&cache::fingerprint("0")).is_none());
}
