//! Tokens verify against the published keys with somebody else's library, and say what the cast says.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use drape_demo::issuer::{PERSONA_GRANT, SERVICE_CLIENT};
use drape_demo::{Ambient, Issuer, Persona, Population};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};

const URL: &str = "http://127.0.0.1:9009";
const BASE: &str = "http://127.0.0.1:8080/fhir";

fn issuer() -> Issuer {
    let population = Population::generate(1, Timestamp::now().to_zoned(TimeZone::UTC).date());
    let zone = TimeZone::get("America/New_York").unwrap();
    Issuer::new(URL, &[BASE], population.cast, zone, Ambient::system()).unwrap()
}

fn verified(issuer: &Issuer, token: &str) -> jsonwebtoken::errors::Result<HashMap<String, Value>> {
    let keys: JwkSet = serde_json::from_value(issuer.jwks().unwrap()).unwrap();
    let kid = decode_header(token)?.kid.unwrap();
    let key = DecodingKey::from_jwk(keys.find(&kid).unwrap())?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&[BASE]);
    validation.set_issuer(&[URL]);
    validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    validation.validate_nbf = true;
    decode(token, &key, &validation).map(|data| data.claims)
}

#[test]
fn every_token_verifies_against_the_published_keys() {
    let issuer = issuer();
    let mut ids = std::collections::BTreeSet::new();
    for persona in Persona::ALL {
        let token = issuer.token(persona, Duration::from_secs(60)).unwrap();
        let claims = verified(&issuer, &token).unwrap();
        assert_eq!(claims["roles"], json!(persona.roles()));
        assert_eq!(claims["purpose_of_use"], persona.purpose());
        assert_eq!(claims["client_id"], format!("demo-{}", persona.word()));
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
        assert!(ids.insert(claims["jti"].to_string()));
        assert!(token.len() < 8000, "{persona:?}: {}", token.len());
    }
}

#[test]
fn a_changed_token_or_one_of_another_issuer_does_not_verify() {
    let (issuer, other) = (issuer(), issuer());
    let token = issuer.token(Persona::Billing, Duration::from_secs(60)).unwrap();
    let mut parts: Vec<&str> = token.split('.').collect();
    let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    let forged = URL_SAFE_NO_PAD.encode(claims.replace("\"billing\"", "\"records-officer\""));
    assert_ne!(forged, parts[1]);
    parts[1] = &forged;
    assert!(verified(&issuer, &parts.join(".")).is_err());
    let keys: JwkSet = serde_json::from_value(other.jwks().unwrap()).unwrap();
    assert!(keys.find(&decode_header(&token).unwrap().kid.unwrap()).is_none());
}

#[test]
fn an_expired_token_does_not_verify() {
    let issuer = issuer();
    let past: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let token = issuer.token_at(Persona::Doctor, past, Duration::from_secs(60)).unwrap();
    let fault = verified(&issuer, &token).unwrap_err();
    assert!(matches!(fault.kind(), jsonwebtoken::errors::ErrorKind::ExpiredSignature));
}

#[test]
fn the_nurse_is_on_shift_at_any_hour_and_nobody_else_has_a_shift() {
    let issuer = issuer();
    for hour in 0..24 {
        // New York is five hours behind in winter.
        let now: Timestamp = format!("2026-01-15T{hour:02}:30:00Z").parse().unwrap();
        let claims = issuer.claims_at(Persona::Nurse, now, Duration::from_secs(60)).unwrap();
        let minute = |key: &str| {
            let (h, m) = claims["shift"][key].as_str().unwrap().split_once(':').unwrap();
            h.parse::<i64>().unwrap() * 60 + m.parse::<i64>().unwrap()
        };
        let (start, end, local) = (minute("start"), minute("end"), (hour - 5 + 24) % 24 * 60 + 30);
        let on = if start < end { start <= local && local < end } else { local >= start || local < end };
        assert!(on, "{hour}: {start} {end} {local}");
        assert!(
            !issuer.claims_at(Persona::Doctor, now, Duration::from_secs(60)).unwrap().contains_key("shift")
        );
    }
}

#[test]
fn claims_can_be_changed_before_they_are_signed() {
    let issuer = issuer();
    let mut claims = issuer.claims_at(Persona::Nurse, Timestamp::now(), Duration::from_secs(60)).unwrap();
    claims.insert("shift".into(), json!({"start": "00:00", "end": "00:01"}));
    let token = issuer.sign(&claims).unwrap();
    assert_eq!(verified(&issuer, &token).unwrap()["shift"]["end"], "00:01");
}

#[test]
fn relations_name_patients_with_their_dates_of_birth() {
    let issuer = issuer();
    let token = issuer.token(Persona::Guardian, Duration::from_secs(60)).unwrap();
    let claims = verified(&issuer, &token).unwrap();
    let relations = claims["relations"].as_array().unwrap();
    assert_eq!(relations.len(), 2);
    for relation in relations {
        assert!(relation["patient"].as_str().unwrap().starts_with("Patient/p"));
        assert_eq!(relation["is"], json!(["guardian"]));
        assert_eq!(relation["birthDate"].as_str().unwrap().len(), 10);
    }
    assert!(claims["fhirUser"].as_str().unwrap().starts_with("RelatedPerson/"));
}

fn post(issuer: &Issuer, authorization: Option<&str>, body: &str) -> (u16, Value) {
    let reply = issuer.handle("POST", "/token", authorization, body.as_bytes());
    assert!(reply.headers.contains(&("cache-control", "no-store".into())));
    (reply.status, serde_json::from_slice(&reply.body).unwrap())
}

#[test]
fn the_token_endpoint_grants_personas_and_the_one_client() {
    let issuer = issuer();
    let (status, answer) =
        post(&issuer, None, &format!("grant_type={}&persona=patient", PERSONA_GRANT.replace(':', "%3A")));
    assert_eq!(status, 200, "{answer}");
    let claims = verified(&issuer, answer["access_token"].as_str().unwrap()).unwrap();
    assert_eq!((&answer["patient"], &answer["scope"]), (&claims["patient"], &claims["scope"]));

    let basic = format!("Basic {}", STANDARD.encode(format!("{SERVICE_CLIENT}:{}", issuer.service_secret())));
    let (status, answer) = post(&issuer, Some(&basic), "grant_type=client_credentials");
    assert_eq!(status, 200, "{answer}");
    let claims = verified(&issuer, answer["access_token"].as_str().unwrap()).unwrap();
    assert_eq!((&claims["sub"], &claims["roles"]), (&json!(SERVICE_CLIENT), &json!([])));
}

#[test]
fn the_token_endpoint_refuses_what_it_does_not_know() {
    let issuer = issuer();
    let wrong = format!("Basic {}", STANDARD.encode(format!("{SERVICE_CLIENT}:nonsense")));
    for (authorization, body, status, error) in [
        (None, "", 400, "invalid_request"),
        (None, "grant_type=password&username=x", 400, "unsupported_grant_type"),
        (None, "grant_type=urn:drape:demo:persona&persona=root", 400, "invalid_request"),
        (None, "grant_type=urn:drape:demo:persona&persona=doctor&persona=officer", 400, "invalid_request"),
        (None, "grant_type=client_credentials", 401, "invalid_client"),
        (Some(wrong.as_str()), "grant_type=client_credentials", 401, "invalid_client"),
        (Some("Bearer x"), "grant_type=client_credentials", 401, "invalid_client"),
    ] {
        let (got, answer) = post(&issuer, authorization, body);
        assert_eq!((got, answer["error"].as_str().unwrap()), (status, error), "{body}");
    }
    assert_eq!(issuer.handle("GET", "/token", None, b"").status, 405);
    assert_eq!(issuer.handle("GET", "/authorize", None, b"").status, 404);
    assert_eq!(issuer.handle("POST", "/token", None, b"\xff=1").status, 400);
}
