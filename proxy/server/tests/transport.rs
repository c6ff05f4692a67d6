//! TLS on both legs, HTTP/1.1 and HTTP/2, and a stop that loses nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::*;
use drape_demo::Persona;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};

/// A private authority and a certificate for `localhost` under it: (authority, certificate, key), PEM.
fn certificates() -> (String, String, String) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    (authority_certificate.pem(), leaf.pem(), key.serialize_pem())
}

const TLS: &str = "tls: { certificate_file: leaf.pem, key_file: leaf.key }";

async fn tls(
    house: &House,
    authority: &str,
    protocol: &[u8],
) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = tokio::net::TcpStream::connect(house.running.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn both_legs_speak_tls_and_the_private_authority_is_the_only_one_trusted() {
    let (authority, leaf, key) = certificates();
    let files = vec![("leaf.pem", leaf), ("leaf.key", key), ("ca.pem", authority.clone())];
    let inner = House::with(Wishes {
        listen: Some(TLS),
        scheme: Some("https"),
        files: files.clone(),
        ..Wishes::default()
    })
    .await;
    // The outer proxy passes the caller's own token on to the inner one, which is a FHIR server like any other.
    let outer = |more: &'static str| {
        House::with(Wishes {
            upstream: Some(inner.base.clone()),
            upstream_more: more,
            issuer: Some(Arc::clone(&inner.issuer)),
            files: files.clone(),
            ..Wishes::default()
        })
    };
    let trusting = outer("auth: { kind: caller-token }, tls: { ca_file: ca.pem }").await;
    let reply = trusting.get(Persona::RecordsOfficer, "Patient/p1").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json()["name"][0]["family"], "Canary-One");
    assert_eq!(reply.header("cache-control"), "private, no-store");
    // Both logs tell of it.
    House::log_is_sound(trusting.folder.path());
    House::log_is_sound(inner.folder.path());

    let distrusting = outer("auth: { kind: caller-token }").await;
    let reply = distrusting.get(Persona::RecordsOfficer, "Patient/p1").await;
    assert_eq!(reply.status, 502, "{}", reply.text);
    assert!(!reply.text.contains("Canary") && !reply.text.contains("certificate"), "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_share_one_http_2_connection() {
    let (authority, leaf, key) = certificates();
    let files = vec![("leaf.pem", leaf), ("leaf.key", key)];
    let house =
        House::with(Wishes { listen: Some(TLS), scheme: Some("https"), files, ..Wishes::default() }).await;
    let stream = tls(&house, &authority, b"h2").await;
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let token = house.token(Persona::Doctor);
    let mut tasks = Vec::new();
    for i in 0..20 {
        let mut sender = sender.clone();
        let request = http::Request::get(format!("{}/Observation/o{i}", house.base))
            .header("authorization", format!("Bearer {token}"))
            .body(Full::new(Bytes::new()))
            .unwrap();
        tasks.push(tokio::spawn(async move {
            let answer = sender.send_request(request).await.unwrap();
            assert_eq!(answer.status(), 200);
            let mut body = answer.into_body();
            let mut length = 0;
            while let Some(frame) = body.frame().await {
                length += frame.unwrap().data_ref().map_or(0, Bytes::len);
            }
            length
        }));
    }
    for task in tasks {
        assert!(tokio::time::timeout(Duration::from_secs(30), task).await.unwrap().unwrap() > 5_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_an_open_answer_finish_and_seals_the_log() {
    let house = House::plain().await;
    // 40 observations of 5 KB: more than is held whole, so the answer streams.
    let url = format!("{}/Observation?patient=p1&_count=40", house.base);
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
    let request = http::Request::get(url)
        .header("authorization", format!("Bearer {}", house.token(Persona::Doctor)))
        .body(Full::<Bytes>::default())
        .unwrap();
    let answer = client.request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    let mut whole = body.frame().await.unwrap().unwrap().data_ref().unwrap().to_vec();
    let House { running, folder, base, .. } = house;
    let stopping = tokio::spawn(running.stop());
    while let Some(frame) =
        tokio::time::timeout(Duration::from_secs(30), body.frame()).await.expect("the rest in time")
    {
        whole.extend_from_slice(frame.unwrap().data_ref().unwrap_or(&Bytes::new()));
    }
    let bundle: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    assert_eq!(bundle["entry"].as_array().unwrap().len(), 40);
    tokio::time::timeout(Duration::from_secs(40), stopping).await.expect("the stop in time").unwrap();
    assert!(
        tokio::net::TcpStream::connect(base.trim_start_matches("http://").trim_end_matches("/fhir"))
            .await
            .is_err()
    );
    House::log_is_sound(folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_answers_not_accidents() {
    let more = "limits: { request_body_bytes_max: 100, header_bytes_max: 8192, token_bytes_max: 4096, entry_bytes_max: 4000 }";
    let house = House::with(Wishes { more, ..Wishes::default() }).await;
    let token = house.token(Persona::Doctor);
    let url = format!("{}/Observation", house.base);
    let long =
        format!("{{\"resourceType\":\"Observation\",\"note\":[{{\"text\":\"{}\"}}]}}", "x".repeat(200));
    let json = [("content-type", "application/fhir+json")];
    let reply = ask(http::Method::POST, &url, Some(&token), &json, &long).await;
    assert_eq!(reply.status, 413, "{}", reply.text);
    assert_eq!(reply.json()["issue"][0]["code"], "too-long");
    let reply = ask(http::Method::GET, &url, Some(&"x".repeat(5_000)), &[], "").await;
    assert_eq!(reply.status, 401, "{}", reply.text);
    let reply = ask(http::Method::GET, &url, Some(&token), &[("x-long", &"y".repeat(40_000))], "").await;
    assert_eq!(reply.status, 431);
    // A record larger than may be held is refused, not passed; who may not know of each is not told that it is there.
    for (persona, status, code) in
        [(Persona::RecordsOfficer, 502, "too-costly"), (Persona::Doctor, 404, "not-found")]
    {
        let reply = house.get(persona, "Observation/o1").await;
        assert_eq!((reply.status.as_u16(), &reply.json()["issue"][0]["code"]), (status, &code.into()));
        assert!(!reply.text.contains("Canary"));
    }
}
