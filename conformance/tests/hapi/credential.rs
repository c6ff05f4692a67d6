//! Drape as a backend service: the real OpenID provider takes its signed assertion and gives the token for the server behind.

use drape_conformance::backend::Backend;
use drape_conformance::drape::{Drape, Settings};
use drape_conformance::fault::check;
use drape_conformance::http::Call;
use drape_conformance::oidc::Provider;
use drape_conformance::places::free_port;
use drape_conformance::{Fault, Outcome};
use drape_demo::Persona;
use serde_json::{Map, Value, json};

use crate::world::{World, subject};

pub(crate) fn by_assertion(world: &World) -> Outcome {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)?;
    check_with(world, "es384", "ES384", key.serialize_pem())?;
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)?;
    check_with(world, "rs384", "RS384", key.serialize_pem())
}

fn check_with(world: &World, name: &str, algorithm: &str, pem: String) -> Outcome {
    let folder = world.work.join(format!("credential-{name}"));
    let (backend, port) = (Backend::start()?, free_port()?);
    let mut settings = Settings::new(&backend.base(), "generic", &world.provider.url, "RS256");
    settings.auth = json!({
        "kind": "client-credentials", "token_url": format!("http://127.0.0.1:{port}/token"), "client_id": "drape",
        "scope": "system/*.rs", "assertion": { "key_file": "backend.pem", "algorithm": algorithm, "kid": "backend-1" },
    });
    // Tokens of the suite's own provider are for the suite's own Drape.
    settings.issuer_more = json!({ "audiences": [world.drape.base] });
    settings.files = vec![("backend.pem", pem)];
    let mut drape = Drape::prepare(&subject(), &folder, settings)?;
    let keys: Value = serde_json::from_str(&drape.command(&["keys", "jwks"])?.out)?;
    let mut clients = Map::new();
    clients.insert("drape".into(), json!({ "jwks": keys }));
    let provider = Provider::start(&folder, port, &clients, &backend.base())?;
    drape.serve()?;
    let url = format!("{}/Patient/p1", drape.base);
    let reply = Call::get(&url).bearer(world.token(Persona::RecordsOfficer)).send()?.expect(200)?;
    check(reply.text().contains("Canary-p1"), || format!("not shown: {}", reply.text()))?;
    check(backend.saw_drape_alone()? > 0, || "the server behind was not asked".into())?;
    // Another key proves nothing: the provider says so, and Drape says nothing of it to the caller.
    drop(provider);
    let stranger = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)?.serialize_pem();
    if algorithm == "ES384" {
        std::fs::write(folder.join("backend.pem"), stranger)?;
        let _provider = Provider::start(&folder, port, &clients, &backend.base())?;
        drape.stop()?;
        drape.serve()?;
        let reply = Call::get(&url).bearer(world.token(Persona::RecordsOfficer)).send()?;
        check(reply.status == 502, || format!("another key's assertion gives {}", reply.status))?;
        check(!reply.text().contains("invalid_client"), || reply.text())?;
    }
    drape.stop()?;
    drape.verify().map(drop).map_err(|e| Fault(format!("{name}: {e}")))
}
