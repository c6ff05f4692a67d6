//! Drape as a backend service: a real OpenID provider takes its signed assertion and gives the token for the server behind.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a suite that tells how it goes")]

use std::path::{Path, PathBuf};

use drape_conformance::Outcome;
use drape_conformance::backend::Backend;
use drape_conformance::drape::{Drape, Settings, executable};
use drape_conformance::fault::check;
use drape_conformance::http::Call;
use drape_conformance::issuer::Own;
use drape_conformance::oidc::Provider;
use drape_conformance::places::{free_port, setting};
use drape_demo::Persona;
use serde_json::{Map, Value, json};

fn work(name: &str) -> Outcome<Option<PathBuf>> {
    if setting("DRAPE_CONFORMANCE").as_deref() != Some("1") {
        println!("left out: needs Node; `conformance/run` runs it (DRAPE_CONFORMANCE=1)");
        return Ok(None);
    }
    let work = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("backend-service-{name}"));
    if work.exists() {
        std::fs::remove_dir_all(&work)?;
    }
    std::fs::create_dir_all(&work)?;
    Ok(Some(work))
}

#[test]
fn a_provider_takes_the_assertion_of_an_rsa_key() {
    let Some(work) = work("rs384").unwrap() else { return };
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    before_a_provider(&work, "RS384", key.serialize_pem()).unwrap();
}

#[test]
fn a_provider_takes_the_assertion_of_an_elliptic_key_and_of_no_other() {
    let Some(work) = work("es384").unwrap() else { return };
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    before_a_provider(&work, "ES384", key.serialize_pem()).unwrap();
}

fn before_a_provider(work: &Path, algorithm: &str, pem: String) -> Outcome {
    let doctor = json!({"resourceType": "Practitioner", "id": "d"});
    let practitioner = json!([{"reference": "Practitioner/d"}]);
    let patient = json!({"resourceType": "Patient", "id": "p1", "birthDate": "1980-02-03", "generalPractitioner": practitioner});
    let issuer = Own::start(&[doctor, patient])?;
    let (backend, port) = (Backend::start()?, free_port()?);
    let mut settings = Settings::new(&backend.base(), "generic", issuer.url(), "ES256");
    settings.auth = json!({
        "kind": "client-credentials", "token_url": format!("http://127.0.0.1:{port}/token"), "client_id": "drape",
        "scope": "system/*.rs", "assertion": { "key_file": "backend.pem", "algorithm": algorithm, "kid": "backend-1" },
    });
    settings.files = vec![("backend.pem", pem)];
    let mut drape =
        Drape::prepare(&executable(env!("CARGO_BIN_EXE_drape-subject")), &work.join("drape"), settings)?;
    let keys: Value = serde_json::from_str(&drape.command(&["keys", "jwks"])?.out)?;
    let mut clients = Map::new();
    clients.insert("drape".into(), json!({ "jwks": keys }));
    let provider = Provider::start(work, port, &clients, &backend.base())?;
    drape.serve()?;
    let url = format!("{}/Patient/p1", drape.base);
    let token = issuer.token(Persona::RecordsOfficer, &drape.base)?;
    let reply = Call::get(&url).bearer(&token).send()?.expect(200)?;
    check(reply.text().contains("Canary-p1"), || format!("not shown: {}", reply.text()))?;
    check(backend.saw_drape_alone()? > 0, || "the server behind was not asked".into())?;
    drape.stop()?;

    // Another key under the same name proves nothing: the provider says so to Drape, and Drape not to the caller.
    if algorithm == "ES384" {
        let stranger = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)?.serialize_pem();
        std::fs::write(drape.folder().join("backend.pem"), stranger)?;
        drape.serve()?;
        let token = issuer.token(Persona::RecordsOfficer, &drape.base)?;
        let reply = Call::get(&url).bearer(&token).send()?;
        check(reply.status == 502, || format!("another key's assertion gives {}", reply.status))?;
        check(!reply.text().contains("invalid_client"), || reply.text())?;
        drape.stop()?;
        let found = drape.command(&["audit", "search"])?;
        check(found.out.contains("`invalid_client`"), || format!("the log does not say why: {}", found.out))?;
    }
    drop(provider);
    drape.verify().map(drop)
}
