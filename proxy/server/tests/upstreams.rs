//! What the server behind is shown, and how it is reached: tokens that Drape fetches, assertions, certificates, the caller's
//! own token; and what the open documents say in each mode.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::script::{Asked, Said, Script};
use common::*;
use drape_caller::{Algorithm, KeySet, Peek, Rules};
use drape_demo::{Ambient, Cast, Figures, Issuer, Member, Persona, Relation};
use http::Method;
use serde_json::{Value, json};

const FETCHED: &str = "Canary-Fetched";

fn pem_of_a_new_key() -> String {
    rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem()
}

/// A FHIR server that wants a bearer token that `takes` likes.
async fn guarded(takes: impl Fn(&str) -> bool + Send + Sync + 'static) -> Script {
    Script::start(move |asked| {
        if asked.target == "/fhir/metadata" {
            return Said::json(json!({"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1"}));
        }
        let shown = asked.headers.get("authorization").map(|v| v.to_str().unwrap()).unwrap_or_default();
        match shown.strip_prefix("Bearer ").is_some_and(&takes) {
            true if asked.method == "PUT" => Said::json(&asked.body).with("etag", "W/\"2\""),
            true => Said::json(json!({"resourceType": "Patient", "id": "p1", "meta": {"versionId": "1"}, "name": [{"family": "One"}]}))
                .with("etag", "W/\"1\""),
            false => Said::status(401).with("www-authenticate", "Bearer error=\"invalid_token\""),
        }
    })
    .await
}

/// A token endpoint that numbers its tokens and checks nothing.
async fn tokens(life_s: u64) -> (Script, Arc<AtomicUsize>) {
    let given = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&given);
    let script = Script::start(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        std::thread::sleep(Duration::from_millis(50));
        Said::typed(
            "application/json",
            json!({"access_token": format!("{FETCHED}-{number}"), "token_type": "Bearer", "expires_in": life_s}),
        )
    })
    .await;
    (script, given)
}

fn auth(endpoint: &Script, proof: &str) -> String {
    format!(
        r#"auth: {{ kind: client-credentials, token_url: "{}/token", client_id: drape, scope: "system/*.rs", {proof} }}"#,
        endpoint.base
    )
}

const SECRET: &str = "client_secret_file: secret";

/// A house before a server, with that credential.
async fn house(upstream: &Script, more: &str) -> House {
    let files = vec![("secret", "s3cret: and more\n".to_owned()), ("backend.pem", pem_of_a_new_key())];
    House::with(Wishes {
        upstream: Some(upstream.base.clone()),
        upstream_more: more,
        files,
        ..Wishes::default()
    })
    .await
}

fn form(asked: &Asked) -> Vec<(String, String)> {
    let decoded = |t: &str| percent_encoding::percent_decode_str(t).decode_utf8().unwrap().into_owned();
    asked.body.split('&').map(|p| p.split_once('=').unwrap()).map(|(n, v)| (decoded(n), decoded(v))).collect()
}

fn field<'a>(form: &'a [(String, String)], name: &str) -> &'a str {
    form.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_assertion_gets_the_token_and_neither_it_nor_the_callers_token_goes_astray() {
    let upstream = guarded(|t| t.starts_with(FETCHED)).await;
    let (endpoint, _) = tokens(300).await;
    let proof =
        r#"assertion: { key_file: backend.pem, algorithm: ES384, kid: k-1, jku: "https://d.example/jwks" }"#;
    let more = auth(&endpoint, proof);
    let house = house(&upstream, &more).await;
    let reply = house.get(Persona::RecordsOfficer, "Patient/p1").await;
    assert_eq!(reply.status, 200, "{}", reply.text);

    let asked = endpoint.asked();
    let [request] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/fhir/token"));
    assert!(!request.headers.contains_key("authorization"), "no secret beside the assertion");
    let form = form(request);
    assert_eq!(field(&form, "grant_type"), "client_credentials");
    assert_eq!(field(&form, "scope"), "system/*.rs");
    assert_eq!(
        field(&form, "client_assertion_type"),
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
    // It is proved by the key that Drape publishes, and by nothing else.
    let assertion = field(&form, "client_assertion");
    let header: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(assertion.split('.').next().unwrap()).unwrap())
            .unwrap();
    assert_eq!(
        (header["kid"].as_str(), header["jku"].as_str()),
        (Some("k-1"), Some("https://d.example/jwks"))
    );
    let published = ask(Method::GET, &format!("{}/.well-known/jwks.json", house.base), None, &[], "").await;
    assert_eq!((published.status.as_u16(), published.header("content-type")), (200, "application/json"));
    assert_eq!(published.json()["keys"][0]["kid"], "k-1");
    assert!(published.json()["keys"][0].get("d").is_none());
    // `jku` makes it no access token of anybody: for the proof of its signature it is read without.
    let keys = KeySet::parse(published.text.as_bytes()).unwrap();
    assert!(keys.find(Some("k-1"), Algorithm::Es384).is_some());
    let claims: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap()).unwrap())
            .unwrap();
    assert_eq!((claims["iss"].as_str(), claims["sub"].as_str()), (Some("drape"), Some("drape")));
    assert_eq!(claims["aud"], format!("{}/token", endpoint.base));
    let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert!(life <= 300, "{life}");
    assert!(claims["jti"].as_str().unwrap().len() >= 20);

    // What went where.
    let caller = house.token(Persona::RecordsOfficer);
    let signature = caller.rsplit('.').next().unwrap();
    for asked in upstream.asked().iter().chain(&asked) {
        let all = format!("{asked:?}");
        assert!(
            !all.contains(signature) && !all.contains(caller.split('.').nth(1).unwrap()),
            "the caller's token went on"
        );
    }
    let answer = format!("{:?} {}", reply.headers, reply.text);
    assert!(!answer.contains(FETCHED) && !answer.contains(assertion));
    let held = format!("{:?}", house.running.parts);
    assert!(!held.contains(FETCHED) && !held.contains("PRIVATE KEY"), "a secret prints");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_verifies_under_the_published_key_and_no_two_are_the_same() {
    let upstream = guarded(|t| t.starts_with(FETCHED)).await;
    let (endpoint, _) = tokens(1).await;
    let house = house(
        &upstream,
        &auth(
            &endpoint,
            "assertion: { key_file: backend.pem, algorithm: ES384, audience: \"https://as.example\" }",
        ),
    )
    .await;
    for _ in 0..2 {
        assert_eq!(house.get(Persona::RecordsOfficer, "Patient/p1").await.status, 200);
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    let published = ask(Method::GET, &format!("{}/.well-known/jwks.json", house.base), None, &[], "").await;
    let keys = KeySet::parse(published.text.as_bytes()).unwrap();
    let audiences = ["https://as.example".to_owned()];
    let rules = Rules { issuer: "drape", audiences: &audiences, algorithms: &[Algorithm::Es384], skew: 5 };
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
    let mut ids = Vec::new();
    for asked in endpoint.asked() {
        let assertion = field(&form(&asked), "client_assertion").to_owned();
        let claims = Peek::read(&assertion, 4_096).unwrap().verify(&assertion, &keys, &rules, now).unwrap();
        ids.push(claims["jti"].as_str().unwrap().to_owned());
    }
    assert!(ids.len() >= 2);
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all, "a jti came twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_at_once_cost_one_token() {
    let upstream = guarded(|t| t.starts_with(FETCHED)).await;
    let (endpoint, given) = tokens(300).await;
    let house = Arc::new(house(&upstream, &auth(&endpoint, SECRET)).await);
    let all: Vec<_> = (0..20)
        .map(|_| {
            let house = Arc::clone(&house);
            tokio::spawn(
                async move { house.get(Persona::RecordsOfficer, "Patient/p1").await.status.as_u16() },
            )
        })
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap(), 200);
    }
    assert_eq!(given.load(Ordering::SeqCst), 1, "one fetch serves all");
    // RFC 6749 section 2.3.1: both halves are form-encoded before they are joined.
    let basic = endpoint.asked()[0].headers["authorization"].to_str().unwrap().to_owned();
    let pair =
        base64::engine::general_purpose::STANDARD.decode(basic.strip_prefix("Basic ").unwrap()).unwrap();
    assert_eq!(String::from_utf8(pair).unwrap(), "drape:s3cret%3A%20and%20more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_before_it_runs_out_and_no_caller_notices() {
    // It lives four seconds, of which the last is not used.
    let born: Arc<Mutex<Vec<std::time::Instant>>> = Arc::default();
    let seen = Arc::clone(&born);
    let endpoint = Script::start(move |_| {
        let mut born = seen.lock().unwrap();
        born.push(std::time::Instant::now());
        let token = format!("{FETCHED}-{}", born.len());
        Said::typed(
            "application/json",
            json!({"access_token": token, "token_type": "Bearer", "expires_in": 4}),
        )
    })
    .await;
    let ages = Arc::clone(&born);
    let upstream = guarded(move |t| {
        let number: usize = t.rsplit('-').next().unwrap().parse().unwrap();
        ages.lock().unwrap()[number - 1].elapsed() < Duration::from_secs(4)
    })
    .await;
    let house = house(&upstream, &auth(&endpoint, SECRET)).await;
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(6) {
        assert_eq!(house.get(Persona::RecordsOfficer, "Patient/p1").await.status, 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let shown = upstream.asked();
    let of = |n: usize| {
        shown.iter().filter(|a| a.headers["authorization"] == format!("Bearer {FETCHED}-{n}")).count()
    };
    assert!(of(1) > 0 && of(2) > 0, "the token was never renewed");
    assert!((2..=5).contains(&born.lock().unwrap().len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_fetched_anew_once_and_a_server_that_refuses_all_is_a_502() {
    // The first token is not good any more; a read and a write find that out by themselves.
    let revoked = Arc::new(AtomicBool::new(true));
    let bad = Arc::clone(&revoked);
    let upstream =
        guarded(move |t| t.starts_with(FETCHED) && !(bad.load(Ordering::SeqCst) && t == "Canary-Fetched-1"))
            .await;
    let (endpoint, given) = tokens(300).await;
    let house = house(&upstream, &auth(&endpoint, SECRET)).await;
    let reply = house.get(Persona::RecordsOfficer, "Patient/p1").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(given.load(Ordering::SeqCst), 2);
    let shown = upstream.asked().len();
    assert_eq!(shown, 2, "refused once, answered once");

    // A server that takes none: one more token, then no others, however many ask.
    let upstream = guarded(|_| false).await;
    let (endpoint, given) = tokens(300).await;
    let house = self::house(&upstream, &auth(&endpoint, SECRET)).await;
    for _ in 0..4 {
        let reply = house.get(Persona::RecordsOfficer, "Patient/p1").await;
        assert_eq!(reply.status, 502, "{}", reply.text);
        assert!(!reply.text.contains(FETCHED) && reply.header("www-authenticate").is_empty());
    }
    assert_eq!(given.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nothing_is_asked_and_the_log_says_why() {
    let upstream = guarded(|_| true).await;
    for (answer, why) in [
        (
            Said {
                status: 401,
                ..Said::typed(
                    "application/json",
                    r#"{"error":"invalid_client","error_description":"Canary"}"#,
                )
            },
            "`invalid_client`",
        ),
        (Said { status: 500, ..Said::typed("text/html", "<b>Canary</b>") }, "500"),
        (Said::typed("application/json", "Canary"), "is not a token"),
        (
            Said::typed(
                "application/json",
                r#"{"access_token":"Canary","token_type":"DPoP","expires_in":9}"#,
            ),
            "no bearer token",
        ),
        (
            Said::typed(
                "application/json",
                "{\"access_token\":\"Canary\\r\\nx: y\",\"token_type\":\"bearer\"}",
            ),
            "malformed",
        ),
        (Said::typed("application/json", "x".repeat(70_000)), "larger than"),
        (Said::status(302).with("location", format!("{}/elsewhere", upstream.base)), "302"),
    ] {
        let said = answer.clone();
        let endpoint = Script::start(move |_| said.clone()).await;
        let house = house(&upstream, &auth(&endpoint, SECRET)).await;
        upstream.forget();
        let reply = house.get(Persona::RecordsOfficer, "Patient/p1").await;
        assert_eq!(reply.status, 502, "{why}: {}", reply.text);
        assert!(!reply.text.contains("Canary"));
        assert!(upstream.asked().is_empty(), "{why}: asked without a credential");
        let found = house.running.parts.log.reader().tail(20).unwrap();
        let reasons: Vec<String> = found.iter().filter_map(|e| e.event()?.reason.clone()).collect();
        assert!(reasons.iter().any(|r| r.contains(why)), "{why} not in {reasons:?}");
        assert!(!reasons.iter().any(|r| r.contains("Canary")), "{reasons:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_and_token_endpoint_are_shown_the_certificate_and_strangers_are_not_spoken_to() {
    let place = tempfile::tempdir().unwrap();
    let (ca, ca_key) = {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        (parameters.self_signed(&key).unwrap(), rcgen::Issuer::new(parameters, key))
    };
    let issued = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec![name.into()]).unwrap().signed_by(&key, &ca_key).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let (server, client) = (issued("localhost"), issued("drape.example.org"));
    let address = tls_server(place.path(), &ca.pem(), &server).await;
    let base = format!("https://localhost:{}/fhir", address.port());
    let files = |with: bool| {
        let mut all = vec![("ca.pem", ca.pem()), ("secret", "s".to_owned())];
        if with {
            all.extend([("drape.pem", client.0.clone()), ("drape.key", client.1.clone())]);
        }
        all
    };
    let auth =
        format!(r#"auth: {{ kind: client-credentials, token_url: "{base}/token", client_id: drape }}"#);
    let tls = "tls: { ca_file: ca.pem, client_certificate_file: drape.pem, client_key_file: drape.key }";
    let more = format!("{auth}, {tls}");
    let wishes = Wishes {
        upstream: Some(base.clone()),
        upstream_more: &more,
        files: files(true),
        ..Wishes::default()
    };
    let house = House::with(wishes).await;
    let reply = house.get(Persona::RecordsOfficer, "Patient/p1").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    // Without one the handshake fails, and the caller is told nothing of it.
    let more = "auth: { kind: none }, tls: { ca_file: ca.pem }";
    let wishes =
        Wishes { upstream: Some(base), upstream_more: more, files: files(false), ..Wishes::default() };
    let house = House::with(wishes).await;
    let reply = house.get(Persona::RecordsOfficer, "Patient/p1").await;
    assert_eq!(reply.status, 502);
    assert!(!reply.text.to_lowercase().contains("certificate"), "{}", reply.text);
}

/// A server that speaks with nobody but holders of a certificate of that authority: a token endpoint and a FHIR server.
async fn tls_server(place: &Path, ca: &str, (certificate, key): &(String, String)) -> std::net::SocketAddr {
    use rustls_pki_types::pem::PemObject as _;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    std::fs::write(place.join("ca"), ca).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = hyper::service::service_fn(
                    |request: http::Request<hyper::body::Incoming>| async move {
                        let (media, body) = match request.uri().path() {
                            // RFC 8705: the client names itself, the connection proves it.
                            "/fhir/token" => {
                                let body = drape_server::client::read_bounded(request.into_body(), 4_096)
                                    .await
                                    .unwrap();
                                let named = body.windows(15).any(|w| w == b"client_id=drape");
                                let token = if named { FETCHED } else { "unnamed" };
                                (
                                    "application/json",
                                    json!({"access_token": token, "token_type": "bearer", "expires_in": "300"}),
                                )
                            }
                            _ if request.headers()["authorization"] == format!("Bearer {FETCHED}") => {
                                ("application/fhir+json", json!({"resourceType": "Patient", "id": "p1"}))
                            }
                            _ => ("text/plain", json!("unknown")),
                        };
                        let body = http_body_util::Full::new(bytes::Bytes::from(body.to_string()));
                        http::Response::builder().header("content-type", media).body(body)
                    },
                );
                let io = hyper_util::rt::TokioIo::new(stream);
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
            });
        }
    });
    address
}

/// An authorization server with an endpoint for browsers, and an issuer that signs in its name.
async fn authorization_server() -> Arc<Issuer> {
    let known: Arc<OnceLock<(String, Value)>> = Arc::default();
    let read = Arc::clone(&known);
    let script = Script::start(move |asked| {
        let Some((url, jwks)) = read.get() else { return Said::status(503) };
        match asked.target.as_str() {
            "/fhir/.well-known/openid-configuration" => Said::typed("application/json", json!({
                "issuer": url, "jwks_uri": format!("{url}/jwks"), "authorization_endpoint": format!("{url}/authorize"),
                "token_endpoint": format!("{url}/token"),
            })),
            "/fhir/jwks" => Said::typed("application/json", jwks),
            _ => Said::status(404),
        }
    })
    .await;
    let member = Member {
        persona: Persona::RecordsOfficer,
        subject: "officer".into(),
        name: "officer".into(),
        title: None,
        organization: None,
        departments: Vec::new(),
        fhir_user: None,
        patient: None,
        works_in_shifts: false,
        relations: Vec::<Relation>::new(),
    };
    let cast = Cast { members: vec![member], figures: Figures::default() };
    let zone = jiff::tz::TimeZone::get(ZONE).unwrap();
    let issuer = Arc::new(Issuer::new(&script.base, &["urn:test"], cast, zone, Ambient::system()).unwrap());
    known.set((script.base.clone(), issuer.jwks().unwrap())).unwrap();
    issuer
}

async fn smart(house: &House) -> Value {
    for _ in 0..100 {
        let url = format!("{}/.well-known/smart-configuration", house.base);
        let reply = ask(Method::GET, &url, None, &[], "").await;
        if reply.status == 200 {
            return reply.json();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no smart-configuration")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_token_goes_on_where_it_is_meant_for_both_and_apps_are_led_to_the_servers_own_log_in() {
    let issuer = authorization_server().await;
    let upstream = guarded(|t| t.split('.').count() == 3).await;
    let ehr = "https://ehr.example.org/R4";
    let house = House::with(Wishes {
        upstream: Some(upstream.base.clone()),
        upstream_more: "auth: { kind: caller-token }",
        issuer: Some(Arc::clone(&issuer)),
        issuer_more: &format!("        authorize_audience: \"{ehr}\""),
        ..Wishes::default()
    })
    .await;
    // The token names both, is proved by Drape, and goes on to the letter.
    let mut claims =
        issuer.claims_at(Persona::RecordsOfficer, jiff::Timestamp::now(), Duration::from_secs(600)).unwrap();
    claims.insert("aud".into(), json!(["urn:test", ehr]));
    let token = issuer.sign(&claims).unwrap();
    let url = format!("{}/Patient/p1", house.base);
    let reply = ask(Method::GET, &url, Some(&token), &[], "").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(upstream.asked().last().unwrap().headers["authorization"], format!("Bearer {token}"));
    // One that is meant for the server behind alone is not one for Drape.
    claims.insert("aud".into(), json!(ehr));
    let before = upstream.asked().len();
    let reply = ask(Method::GET, &url, Some(&issuer.sign(&claims).unwrap()), &[], "").await;
    assert_eq!((reply.status.as_u16(), upstream.asked().len()), (401, before));

    // Apps find the log-in of the server's own issuer, by way of Drape, which says what is expected there.
    let smart = smart(&house).await;
    assert_eq!(smart["issuer"], issuer.url());
    assert_eq!(smart["token_endpoint"], format!("{}/token", issuer.url()));
    let by_way = format!("{}/_authorize", house.base);
    assert_eq!(smart["authorization_endpoint"], by_way);
    let aud =
        percent_encoding::utf8_percent_encode(&house.base, percent_encoding::NON_ALPHANUMERIC).to_string();
    let query =
        format!("response_type=code&client_id=app&state=x%2By&aud={aud}&code_challenge=c&scope=user%2F*.rs");
    let sent = ask(Method::GET, &format!("{by_way}?{query}"), None, &[], "").await;
    assert_eq!(sent.status, 302, "{}", sent.text);
    let there = percent_encoding::utf8_percent_encode(ehr, percent_encoding::NON_ALPHANUMERIC).to_string();
    assert_eq!(
        sent.header("location"),
        format!("{}/authorize?{}", issuer.url(), query.replace(&aud, &there))
    );
    let evil =
        ask(Method::GET, &format!("{by_way}?client_id=app&aud=https%3A%2F%2Fevil.example"), None, &[], "")
            .await;
    assert_eq!((evil.status.as_u16(), evil.header("location")), (400, ""));
    let posted = ask(Method::POST, &format!("{by_way}?{query}"), None, &[], "").await;
    assert_eq!(posted.status, 405);
    // Nobody's token went along when Drape itself asked what the server can do.
    let all = upstream.all();
    let own: Vec<&Asked> = all.iter().filter(|a| a.target == "/fhir/metadata").collect();
    assert!(!own.is_empty() && own.iter().all(|a| !a.headers.contains_key("authorization")));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_credential_of_drapes_own_the_server_sees_drape_alone_and_apps_the_own_issuer() {
    let issuer = authorization_server().await;
    let upstream = guarded(|t| t.starts_with(FETCHED)).await;
    let (endpoint, _) = tokens(300).await;
    let more = auth(&endpoint, SECRET);
    let house = House::with(Wishes {
        upstream: Some(upstream.base.clone()),
        upstream_more: &more,
        issuer: Some(Arc::clone(&issuer)),
        files: vec![("secret", "s".into())],
        ..Wishes::default()
    })
    .await;
    let token = issuer.token(Persona::RecordsOfficer, Duration::from_secs(600)).unwrap();
    let reply = ask(Method::GET, &format!("{}/Patient/p1", house.base), Some(&token), &[], "").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    for asked in upstream.asked().iter().chain(&endpoint.asked()) {
        let text = format!("{asked:?}");
        assert!(!text.contains("officer") && !text.contains(&token), "{text}");
    }
    let smart = smart(&house).await;
    assert_eq!(smart["issuer"], issuer.url());
    assert_eq!(smart["authorization_endpoint"], format!("{}/authorize", issuer.url()));
    assert_eq!(smart["token_endpoint"], format!("{}/token", issuer.url()));
    assert!(
        !smart.to_string().contains(&endpoint.base),
        "the server's own token endpoint is nobody's business"
    );
    // No browser is sent anywhere, and there is no key to publish.
    for path in ["_authorize?aud=x", ".well-known/jwks.json"] {
        let reply = ask(Method::GET, &format!("{}/{path}", house.base), None, &[], "").await;
        assert_eq!(reply.status, 401, "{path}");
    }
}

#[test]
fn the_public_key_is_printed_and_faults_of_a_credential_are_found_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = |auth: &str| {
        let text = format!(
            r#"
listen: {{ address: "127.0.0.1:0", plaintext: true }}
admin: {{ address: "127.0.0.1:0", plaintext: true }}
keys: {{ root_file: keys/root.key, directory: keys }}
audit: {{ directory: log, origin: drape.example.org/test, signing_key_file: keys/signing.key }}
tenants:
  - name: main
    public_base_url: http://localhost:8080/fhir
    time_zone: America/New_York
    upstream:
      base_url: "http://127.0.0.1:9/fhir"
      plaintext: true
      {auth}
    issuers: [{{ issuer: https://issuer.example.org, purposes: {{ TREAT: [clinician] }} }}]
    policies: {{ set: hospital }}
"#
        );
        std::fs::write(folder.path().join("drape.yaml"), text).unwrap();
    };
    let drape = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_drape"))
            .current_dir(folder.path())
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let pem = pem_of_a_new_key();
    std::fs::write(folder.path().join("backend.pem"), &pem).unwrap();
    let client =
        "auth: { kind: client-credentials, token_url: \"http://127.0.0.1:9/token\", client_id: drape";
    config(&format!("{client}, assertion: {{ key_file: backend.pem, algorithm: ES384 }} }}"));
    assert_eq!(drape(&["init"]).0, Some(0));
    let (code, out, err) = drape(&["keys", "jwks"]);
    assert_eq!(code, Some(0), "{err}");
    let keys: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (keys["keys"][0]["crv"].as_str(), keys["keys"][0]["alg"].as_str()),
        (Some("P-384"), Some("ES384"))
    );
    assert_eq!(keys["keys"][0]["kid"].as_str().map(str::len), Some(43), "a thumbprint where no kid is given");
    assert!(!out.contains("\"d\""));
    assert_eq!(drape(&["check"]).0, Some(0));

    let cases = [
        (
            format!("{client}, assertion: {{ key_file: backend.pem, algorithm: RS384 }} }}"),
            "no private key in PEM for RS384",
        ),
        (format!("{client}, assertion: {{ key_file: gone.pem, algorithm: ES384 }} }}"), "cannot read"),
        (
            format!("{client}, assertion: {{ key_file: backend.pem, algorithm: HS256 }} }}"),
            "SMART Backend Services know",
        ),
        (format!("{client} }}"), "does not say how Drape proves which client it is"),
        (
            format!(
                "{client}, client_secret_file: s, assertion: {{ key_file: backend.pem, algorithm: ES384 }} }}"
            ),
            "both a secret and an assertion",
        ),
        (
            "auth: { kind: none }\n      tls: { client_certificate_file: a }".to_owned(),
            "names half of a client certificate",
        ),
        (
            "auth: { kind: none }\n      tls: { client_certificate_file: a, client_key_file: b }".to_owned(),
            "never be shown",
        ),
    ];
    for (auth, expected) in cases {
        config(&auth);
        let (code, out, err) = drape(&["check"]);
        assert_eq!(code, Some(1), "{auth}: {out}");
        assert!(err.contains(expected), "{expected} not in {err}");
        assert!(!err.contains("PRIVATE") && !err.contains(&pem[40..80]));
    }
    config("auth: { kind: none }");
    let (code, _, err) = drape(&["keys", "jwks"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("signs no assertions") && err.contains("help: "), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_refused_for_its_token_is_sent_again_and_done_once() {
    let stored = Arc::new(Mutex::new(Vec::<String>::new()));
    let kept = Arc::clone(&stored);
    let upstream = Script::start(move |asked| {
        let shown = asked.headers.get("authorization").map(|v| v.to_str().unwrap()).unwrap_or_default();
        let record =
            json!({"resourceType": "Patient", "id": "p1", "meta": {"versionId": "1"}, "gender": "female"});
        match asked.method.as_str() {
            _ if asked.target == "/fhir/metadata" => Said::status(404),
            // Read with the first token; before the write it is taken back.
            "PUT" if shown.ends_with("-1") => Said::status(401),
            "PUT" => {
                kept.lock().unwrap().push(shown.to_owned());
                Said::json(&asked.body).with("etag", "W/\"2\"")
            }
            _ => Said::json(record).with("etag", "W/\"1\""),
        }
    })
    .await;
    let (endpoint, given) = tokens(300).await;
    let house = house(&upstream, &auth(&endpoint, SECRET)).await;
    let token = house.token(Persona::RecordsOfficer);
    let body = json!({"resourceType": "Patient", "id": "p1", "gender": "male"}).to_string();
    let headers = [("content-type", "application/fhir+json"), ("if-match", "W/\"1\"")];
    let reply = ask(Method::PUT, &format!("{}/Patient/p1", house.base), Some(&token), &headers, &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(*stored.lock().unwrap(), [format!("Bearer {FETCHED}-2")]);
    assert_eq!(given.load(Ordering::SeqCst), 2);
}
