//! Who callers are and what for they ask: opaque tokens, client certificates, tokens bound to them, purposes of use.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;
mod scripted;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use common::*;
use drape_audit::reader::Content;
use drape_demo::Persona;
use drape_server::clock::Clock;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use scripted::{Heard, Script, Scripted};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

async fn get(house: &House, token: &str, headers: &[(&str, &str)], path: &str) -> Reply {
    ask(Method::GET, &format!("{}/{path}", house.base), Some(token), headers, "").await
}

/// What a form of the issuer's asks about.
fn asked_token(heard: &Heard) -> String {
    let body = String::from_utf8(heard.body.clone()).unwrap();
    let token = body.split('&').find_map(|p| p.strip_prefix("token=")).unwrap();
    percent_encoding::percent_decode_str(token).decode_utf8().unwrap().into_owned()
}

/// What it says of a good token of a records officer.
fn good() -> Value {
    let now = jiff::Timestamp::now().as_second();
    json!({
        "active": true, "exp": now + 600, "aud": "urn:test", "sub": "keeper", "client_id": "app", "token_type": "Bearer",
        "scope": "user/*.rs", "roles": ["records-officer"], "purpose_of_use": "HOPERAT",
    })
}

/// An issuer that knows tokens called `good…` and some odd ones.
async fn issuer(down: Arc<AtomicBool>) -> Scripted {
    Scripted::open(move |heard| {
        if down.load(Ordering::SeqCst) {
            return Script::Nothing;
        }
        // Long enough that others come meanwhile.
        std::thread::sleep(Duration::from_millis(100));
        let now = jiff::Timestamp::now().as_second();
        let mut answer = good();
        match asked_token(heard).as_str() {
            token if token.contains("good") => {}
            "short" => answer["exp"] = json!(now + 2),
            "expired" => answer["exp"] = json!(now - 3_600),
            "endless" => drop(answer.as_object_mut().unwrap().remove("exp")),
            "elsewhere" => answer["aud"] = json!("urn:elsewhere"),
            "for-nobody" => drop(answer.as_object_mut().unwrap().remove("aud")),
            "foreign" => answer["iss"] = json!("https://other.example.org"),
            "odd" => answer["active"] = json!("true"),
            "bound" => answer["token_type"] = json!("DPoP"),
            "nobody" => drop(answer.as_object_mut().unwrap().remove("sub")),
            "not-json" => return Script::Typed(200, "text/html", b"<html>".to_vec()),
            "error" => return Script::Typed(500, "application/json", b"{}".to_vec()),
            _ => answer = json!({"active": false}),
        }
        Script::Typed(200, "application/json", answer.to_string().into_bytes())
    })
    .await
}

fn asks(url: &str, auth: &str, more: &str) -> String {
    format!("        tokens: both\n        introspection: {{ url: \"{url}\", auth: {{ {auth} }}{more} }}")
}

const SECRET: &str = "client_id: \"drape proxy\", client_secret_file: secret";

#[tokio::test(flavor = "multi_thread")]
async fn an_opaque_token_is_good_as_its_issuer_says_and_held_to_the_rules_of_signed_ones() {
    let down = Arc::new(AtomicBool::new(false));
    let shelf = issuer(Arc::clone(&down)).await;
    let files = || vec![("secret", "s3cret:/\n".to_owned())];
    let (clock, hand) = Clock::fixed(Clock::system().now_ms());
    let rules = asks(&format!("{}/introspect", shelf.base), SECRET, ", cache_ms: 30000");
    let house =
        House::with(Wishes { issuer_more: &rules, files: files(), clock: Some(clock), ..Wishes::default() })
            .await;
    let reply = get(&house, "good", &[], "Patient/p2").await;
    assert!(reply.status == 200 && reply.text.contains("Canary-Two"), "{}", reply.text);
    let asked = shelf.heard();
    assert_eq!((asked.len(), asked_token(&asked[0])), (1, "good".to_owned()));
    let basic = STANDARD.encode("drape%20proxy:s3cret%3A%2F");
    assert!(
        asked[0].headers.contains(&("authorization".to_owned(), format!("Basic {basic}"))),
        "{:?}",
        asked[0].headers
    );
    // Kept for a while, and not longer.
    assert_eq!(get(&house, "good", &[], "Patient/p1").await.status, 200);
    assert_eq!(shelf.heard().len(), 0);
    hand.fetch_add(30_000, Ordering::SeqCst);
    assert_eq!(get(&house, "good", &[], "Patient/p1").await.status, 200);
    assert_eq!(shelf.heard().len(), 1);
    hand.store(Clock::system().now_ms(), Ordering::SeqCst);
    assert_eq!(get(&house, "short", &[], "Patient/p1").await.status, 200);
    hand.fetch_add(60_000, Ordering::SeqCst);
    assert_eq!(get(&house, "short", &[], "Patient/p1").await.status, 401);
    hand.store(Clock::system().now_ms(), Ordering::SeqCst);
    for token in
        ["unknown", "expired", "endless", "elsewhere", "for-nobody", "foreign", "odd", "bound", "nobody"]
    {
        let reply = get(&house, token, &[], "Patient/p1").await;
        assert_eq!(reply.status, 401, "{token}: {}", reply.text);
        assert!(reply.header("www-authenticate").contains("invalid_token"), "{token}");
    }
    // A no is kept too, so that a client that goes on trying does not go on asking.
    shelf.heard();
    assert_eq!(get(&house, "unknown", &[], "Patient/p1").await.status, 401);
    assert_eq!(shelf.heard().len(), 0);
    // Many at one time are one question.
    let all = (0..20).map(|_| get(&house, "good-together", &[], "Patient/p1"));
    let all = futures_util::future::join_all(all).await;
    assert!(all.iter().all(|reply| reply.status == 200));
    assert_eq!(shelf.heard().len(), 1);
    // A JWT is proved by its signature, and shown to nobody.
    assert_eq!(house.get(Persona::Doctor, "Patient/p1").await.status, 200);
    let forged = format!("{}x", house.token(Persona::Doctor));
    assert_eq!(get(&house, &forged, &[], "Patient/p1").await.status, 401);
    let none = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
        URL_SAFE_NO_PAD.encode(good().to_string())
    );
    assert_eq!(get(&house, &none, &[], "Patient/p1").await.status, 401);
    assert_eq!(shelf.heard().len(), 0);
    // An issuer that cannot be asked has not said no.
    for token in ["error", "not-json"] {
        let reply = get(&house, token, &[], "Patient/p1").await;
        assert_eq!(reply.status, 503, "{token}: {}", reply.text);
        assert_eq!(reply.header("retry-after"), "5");
    }
    down.store(true, Ordering::SeqCst);
    assert_eq!(get(&house, "good-later", &[], "Patient/p1").await.status, 503);
    // What it had said before stands as long as it would have.
    assert_eq!(get(&house, "good-together", &[], "Patient/p1").await.status, 200);
    down.store(false, Ordering::SeqCst);
    assert_eq!(get(&house, "good-later", &[], "Patient/p1").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn drape_proves_itself_to_the_issuer_by_a_signed_assertion_of_its_own() {
    let shelf = issuer(Arc::default()).await;
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let url = format!("{}/introspect", shelf.base);
    let rules = asks(&url, "client_id: drape, key_file: key.pem, key_id: k1", ", cache_ms: 0");
    let files = vec![("key.pem", key.serialize_pem())];
    let house = House::with(Wishes { issuer_more: &rules, files, ..Wishes::default() }).await;
    for _ in 0..2 {
        assert_eq!(get(&house, "good", &[], "Patient/p1").await.status, 200);
    }
    let mut ids = Vec::new();
    for heard in shelf.heard() {
        let body = String::from_utf8(heard.body).unwrap();
        let field = |name: &str| {
            body.split('&').find_map(|p| p.strip_prefix(&format!("{name}="))).unwrap().to_owned()
        };
        assert_eq!(
            field("client_assertion_type"),
            "urn%3Aietf%3Aparams%3Aoauth%3Aclient%2Dassertion%2Dtype%3Ajwt%2Dbearer"
        );
        let assertion = field("client_assertion");
        let part = |n: usize| -> Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(assertion.split('.').nth(n).unwrap()).unwrap())
                .unwrap()
        };
        assert_eq!((&part(0)["alg"], &part(0)["kid"]), (&json!("ES384"), &json!("k1")));
        let claims = part(1);
        assert_eq!(
            (&claims["iss"], &claims["sub"], &claims["aud"]),
            (&json!("drape"), &json!("drape"), &json!(url))
        );
        ids.push(claims["jti"].clone());
    }
    // Asked anew each time where nothing is kept, and no assertion is used twice.
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_to_no_issuer_that_it_is_not_meant_for() {
    let (one, two) = (issuer(Arc::default()).await, issuer(Arc::default()).await);
    let files = || vec![("secret", "s".to_owned())];
    let second = |more: &str| {
        format!(
            "      - issuer: \"https://two.example.org\"\n        audiences: [\"urn:test\"]\n        plaintext: true\n        purposes: {{ HOPERAT: [records-officer] }}\n        tokens: opaque\n        introspection: {{ url: \"{}/introspect\", auth: {{ {SECRET} }}{more} }}",
            two.base
        )
    };
    let first = |more: &str| asks(&format!("{}/introspect", one.base), SECRET, more);
    let (rules, more) = (first(", token_prefix: one_"), second(", token_prefix: two_"));
    let house =
        House::with(Wishes { issuer_more: &rules, issuers_more: &more, files: files(), ..Wishes::default() })
            .await;
    assert_eq!(get(&house, "two_good", &[], "Patient/p1").await.status, 200);
    assert_eq!((one.heard().len(), two.heard().len()), (0, 1));
    assert_eq!(get(&house, "one_good", &[], "Patient/p1").await.status, 200);
    assert_eq!((one.heard().len(), two.heard().len()), (1, 0));
    assert_eq!(get(&house, "three_good", &[], "Patient/p1").await.status, 401);
    // One that names its issuer is shown to that one, if it takes such tokens by asking, and to nobody else.
    let jwt = |issuer: &str| {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.good", part(json!({"alg": "none"})), part(json!({"iss": issuer})))
    };
    assert_eq!(get(&house, &jwt("https://two.example.org"), &[], "Patient/p1").await.status, 200);
    assert_eq!((one.heard().len(), two.heard().len()), (0, 1));
    assert_eq!(get(&house, &jwt("https://three.example.org"), &[], "Patient/p1").await.status, 401);
    assert_eq!(get(&house, &jwt(house.issuer.url()), &[], "Patient/p1").await.status, 401);
    assert_eq!((one.heard().len(), two.heard().len()), (0, 0));
    // In order, where the configuration says that they may see each other's.
    let (rules, more) = (first(", may_see_foreign_tokens: true"), second(", may_see_foreign_tokens: true"));
    let house =
        House::with(Wishes { issuer_more: &rules, issuers_more: &more, files: files(), ..Wishes::default() })
            .await;
    assert_eq!(get(&house, "unknown", &[], "Patient/p1").await.status, 401);
    assert_eq!((one.heard().len(), two.heard().len()), (1, 1));
    assert_eq!(get(&house, "good", &[], "Patient/p1").await.status, 200);
    assert_eq!((one.heard().len(), two.heard().len()), (1, 0));
}

/// A private authority.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
    der: Vec<u8>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, format!("ca {:?}", key.serialized_der().len()));
        let own = params.self_signed(&key).unwrap();
        Self { pem: own.pem(), der: own.der().to_vec(), issuer: rcgen::Issuer::new(params, key) }
    }

    /// A certificate with that common name and these other names, and its key, PEM.
    fn sign(&self, common_name: &str, dns: &[&str], uris: &[&str]) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params =
            rcgen::CertificateParams::new(dns.iter().map(|d| (*d).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
        for uri in uris {
            params.subject_alt_names.push(rcgen::SanType::URI((*uri).try_into().unwrap()));
        }
        params.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth, rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn fingerprint(&self) -> String {
        Sha256::digest(&self.der).iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":")
    }
}

/// Asks over TLS with that certificate, if any; `None` where the handshake fails.
async fn over_tls(
    house: &House,
    authority: &Authority,
    shown: Option<&(String, String)>,
    headers: &[(&str, &str)],
    path: &str,
) -> Option<(StatusCode, String)> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    let stream = tokio::net::TcpStream::connect(house.running.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let host = house.base.trim_start_matches("https://").trim_end_matches("/fhir");
    let mut request = http::Request::get(format!("/fhir/{path}")).header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = sender.send_request(request.body(Full::<Bytes>::default()).unwrap()).await.ok()?;
    let status = answer.status();
    let (mut body, mut whole) = (answer.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        whole.extend_from_slice(frame.ok()?.data_ref().unwrap_or(&Bytes::new()));
    }
    Some((status, String::from_utf8(whole).unwrap()))
}

async fn behind_tls(authority: &Authority, clients: &str, listen: &str, tenant_more: &str) -> House {
    let (leaf, key) = authority.sign("localhost", &["localhost"], &[]);
    let listen = format!(
        "tls: {{ certificate_file: leaf.pem, key_file: leaf.key, client_ca_file: clients.pem{listen} }}"
    );
    House::with(Wishes {
        listen: Some(&listen),
        scheme: Some("https"),
        tenant_more,
        files: vec![("leaf.pem", leaf), ("leaf.key", key), ("clients.pem", clients.to_owned())],
        ..Wishes::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_makes_the_caller_that_the_configuration_says_and_no_other() {
    let (ours, partner) = (Authority::new(), Authority::new());
    let stranger = Authority::new();
    let rules = format!(
        r#"certificates:
      - match: {{ spiffe: "spiffe://example.org/keeper", ca_fingerprint: "{}" }}
        caller: {{ sub: keeper-job, client: keeper, purposes: {{ HOPERAT: [records-officer] }} }}
      - match: {{ san_dns: lab.example.org }}
        caller: {{ sub: lab, purposes: {{ HOPERAT: [records-officer], TREAT: [clinician] }}, scopes: ["system/Patient.rs"], purpose_header: {{ allowed: [HOPERAT] }} }}
      - match: {{ subject_cn: twice }}
        caller: {{ sub: one, purposes: {{ HOPERAT: [records-officer] }} }}
      - match: {{ san_dns: twice.example.org }}
        caller: {{ sub: two, purposes: {{ HOPERAT: [records-officer] }} }}"#,
        ours.fingerprint()
    );
    let house = behind_tls(&ours, &format!("{}{}", ours.pem, partner.pem), "", &rules).await;
    let get = |shown: Option<(String, String)>, headers: Vec<(&'static str, String)>, path: &'static str| {
        let (house, ours) = (&house, &ours);
        async move {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
            over_tls(house, ours, shown.as_ref(), &headers, path).await
        }
    };
    let status = |reply: Option<(StatusCode, String)>| reply.map(|(s, _)| s.as_u16());
    let keeper = ours.sign("x", &[], &["spiffe://example.org/keeper"]);
    let (code, text) = get(Some(keeper.clone()), vec![], "Patient/p2").await.unwrap();
    assert!(code == 200 && text.contains("Canary-Two"), "{text}");
    // The same name from another authority, with another name beside it, or from nobody known.
    let forged = partner.sign("x", &[], &["spiffe://example.org/keeper"]);
    assert_eq!(status(get(Some(forged), vec![], "Patient/p2").await), Some(401));
    let both = ours.sign("x", &[], &["spiffe://example.org/keeper", "spiffe://example.org/other"]);
    assert_eq!(status(get(Some(both), vec![], "Patient/p2").await), Some(401));
    let unknown = stranger.sign("x", &[], &["spiffe://example.org/keeper"]);
    assert_eq!(status(get(Some(unknown), vec![], "Patient/p2").await), None);
    let twice = ours.sign("twice", &["twice.example.org"], &[]);
    assert_eq!(status(get(Some(twice), vec![], "Patient/p2").await), Some(401));
    assert_eq!(status(get(None, vec![], "Patient/p2").await), Some(401));
    // Of several purposes one must be stated, and only what may be; scopes bound it besides.
    let lab = || Some(partner.sign("x", &["lab.example.org"], &[]));
    let purpose = |p: &str| vec![("x-purpose-of-use", p.to_owned())];
    assert_eq!(status(get(lab(), vec![], "Patient/p2").await), Some(403));
    assert_eq!(status(get(lab(), purpose("HOPERAT"), "Patient/p2").await), Some(200));
    assert_eq!(status(get(lab(), purpose("TREAT"), "Patient/p2").await), Some(403));
    assert_eq!(status(get(lab(), purpose("HOPERAT"), "Condition/c1").await), Some(403));
    // A token goes before it: then the certificate says nothing about who asks.
    let token = |persona| vec![("authorization", format!("Bearer {}", house.token(persona)))];
    assert_eq!(status(get(Some(keeper.clone()), token(Persona::Doctor), "Patient/p2").await), Some(404));
    assert_eq!(status(get(None, token(Persona::Doctor), "Patient/p1").await), Some(200));
    let bad = vec![("authorization", "Bearer x".to_owned())];
    assert_eq!(status(get(Some(keeper), bad, "Patient/p2").await), Some(401));
    let log = house.running.parts.log.reader().tail(1_000).unwrap();
    let who: Vec<_> = log
        .iter()
        .filter_map(|opened| match &opened.content {
            Content::Event(event) => {
                Some((event.subject.clone()?, event.stated_by.clone(), event.client.clone()))
            }
            _ => None,
        })
        .collect();
    assert!(who.iter().any(|(subject, by, client)| subject.id == "keeper-job"
        && subject.issuer == "urn:drape:client-certificate"
        && by.as_deref() == Some("certificate")
        && client.as_deref() == Some("keeper")));
    assert!(who.iter().any(|(subject, by, _)| subject.id == "lab" && by.as_deref() == Some("header")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_bound_to_a_certificate_is_good_on_no_other_connection() {
    let ours = Authority::new();
    let house = behind_tls(&ours, &ours.pem, "", "").await;
    let (own, other) = (ours.sign("app", &[], &[]), ours.sign("app", &[], &[]));
    let der = CertificateDer::from_pem_slice(own.0.as_bytes()).unwrap();
    let bound = |cnf: Value| {
        let now = jiff::Timestamp::now();
        let mut claims = house.issuer.claims_at(Persona::Doctor, now, Duration::from_secs(600)).unwrap();
        claims.insert("cnf".into(), cnf);
        format!("Bearer {}", house.issuer.sign(&claims).unwrap())
    };
    let token = bound(json!({"x5t#S256": URL_SAFE_NO_PAD.encode(Sha256::digest(&der))}));
    let status = |shown: Option<(String, String)>, token: String| {
        let (house, ours) = (&house, &ours);
        async move {
            let reply =
                over_tls(house, ours, shown.as_ref(), &[("authorization", &token)], "Patient/p1").await;
            reply.unwrap().0.as_u16()
        }
    };
    // The proof is kept, the binding is looked at on each request.
    for _ in 0..2 {
        assert_eq!(status(Some(own.clone()), token.clone()).await, 200);
        assert_eq!(status(Some(other.clone()), token.clone()).await, 401);
        assert_eq!(status(None, token.clone()).await, 401);
    }
    for odd in [json!({"jkt": "x"}), json!({}), json!("x")] {
        assert_eq!(status(Some(own.clone()), bound(odd)).await, 401);
    }
    let plain = format!("Bearer {}", house.token(Persona::Doctor));
    assert_eq!(status(Some(other), plain).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_certificates_are_required_no_connection_comes_without_one() {
    let ours = Authority::new();
    let house = behind_tls(&ours, &ours.pem, ", client_certificates: required", "").await;
    let token = format!("Bearer {}", house.token(Persona::Doctor));
    let headers = [("authorization", token.as_str())];
    assert_eq!(over_tls(&house, &ours, None, &headers, "Patient/p1").await, None);
    let own = ours.sign("app", &[], &[]);
    let reply = over_tls(&house, &ours, Some(&own), &headers, "Patient/p1").await.unwrap();
    assert_eq!(reply.0, 200, "{}", reply.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purpose_comes_by_token_or_an_allowed_header_or_the_launch_and_never_silently() {
    let rules = "        purpose_header: { name: X-Purpose, allowed: [TREAT, HOPERAT], clients: [ward-app] }\n        launch_purposes: { order-review: TREAT }";
    let house = House::with(Wishes { issuer_more: rules, ..Wishes::default() }).await;
    let token = |persona, changes: Value| {
        let mut claims =
            house.issuer.claims_at(persona, jiff::Timestamp::now(), Duration::from_secs(600)).unwrap();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.remove(name)),
                value => drop(claims.insert(name.clone(), value.clone())),
            }
        }
        house.issuer.sign(&claims).unwrap()
    };
    let none = token(Persona::Doctor, json!({"purpose_of_use": null, "client_id": "ward-app"}));
    let treat = token(Persona::Doctor, json!({"client_id": "ward-app"}));
    let other_app = token(Persona::Doctor, json!({"purpose_of_use": null, "client_id": "other"}));
    let launched = token(Persona::Doctor, json!({"purpose_of_use": null, "intent": "order-review"}));
    let lost = token(Persona::Doctor, json!({"purpose_of_use": null, "intent": "something-else"}));
    let odd = token(Persona::Doctor, json!({"purpose_of_use": null, "intent": ["order-review"]}));
    for (token, headers, status, hint) in [
        // Without a purpose there is none, and what policies need is not met.
        (&none, &[][..], 403, "policy does not let you"),
        (&none, &[("x-purpose", "TREAT")], 200, "Canary-One"),
        (&none, &[("x-purpose", "HRESCH")], 403, "it may be TREAT, HOPERAT"),
        (&none, &[("x-purpose", "TREAT,HOPERAT")], 403, "it may be TREAT, HOPERAT"),
        (&none, &[("x-purpose", "treat")], 403, "it may be TREAT, HOPERAT"),
        (&none, &[("x-purpose", "TREAT"), ("x-purpose", "TREAT")], 400, "stands twice"),
        (&none, &[("x-purpose", " ")], 400, "is empty"),
        (&none, &[("x-purpose-of-use", "TREAT")], 403, "it is called `x-purpose`"),
        // It activates no role that the token does not hold.
        (&none, &[("x-purpose", "HOPERAT")], 403, "policy does not let you"),
        (&treat, &[("x-purpose", "TREAT")], 200, "Canary-One"),
        (&treat, &[("x-purpose", "HOPERAT")], 403, "the token states another purpose"),
        (&other_app, &[("x-purpose", "TREAT")], 403, "your app may not state"),
        (&launched, &[], 200, "Canary-One"),
        (&lost, &[], 403, "policy does not let you"),
        (&odd, &[], 401, "cannot be understood"),
    ] {
        let reply = get(&house, token, headers, "Patient/p1").await;
        assert!(
            reply.status == status && reply.text.contains(hint),
            "{headers:?}: {} {}",
            reply.status,
            reply.text
        );
    }
    let log = house.running.parts.log.reader().tail(1_000).unwrap();
    let stated: Vec<_> = log
        .iter()
        .filter_map(|opened| match &opened.content {
            Content::Event(event) => Some((event.purpose.clone()?, event.stated_by.clone()?)),
            _ => None,
        })
        .collect();
    for by in ["token", "header", "launch"] {
        assert!(stated.contains(&("TREAT".to_owned(), by.to_owned())), "{by}: {stated:?}");
    }
    // Where no header is configured, one that is sent is refused and not passed over.
    let house = House::plain().await;
    let reply =
        get(&house, &house.token(Persona::Doctor), &[("x-purpose-of-use", "TREAT")], "Patient/p1").await;
    assert!(reply.status == 403 && reply.text.contains("your token must state it"), "{}", reply.text);
}
