//! Drape before callers of a real Keycloak, whose own token it takes as well: for the server behind, by an assertion.
//!
//! One server serves all steps, so they are one test: each has a name, all failures are told at the end.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a suite that tells how it goes")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use drape_caller::client_assertion::{AssertionAlgorithm, AssertionKey, key_set};
use drape_conformance::backend::Backend;
use drape_conformance::child::wait_for;
use drape_conformance::drape::{Drape, Settings, executable};
use drape_conformance::fault::{Faults, check};
use drape_conformance::forge::forged;
use drape_conformance::http::{Call, Reply};
use drape_conformance::judge::refusal;
use drape_conformance::keycloak::{Keycloak, Realm};
use drape_conformance::places::{free_port, setting};
use drape_conformance::{Fault, Outcome};
use serde_json::{Value, json};

struct World {
    keycloak: Keycloak,
    drape: Drape,
    backend: Backend,
    /// The key of the client `backend`.
    key: AssertionKey,
}

type Step = (&'static str, fn(&mut World) -> Outcome);

/// In this order: what changes the realm comes late.
const STEPS: [Step; 8] = [
    ("discovery", discovery),
    ("a-doctor-by-password", doctor),
    ("a-patient", patient),
    ("an-app-by-browser", browser),
    ("a-backend-service", service),
    ("tokens-of-other-kinds", kinds),
    ("forged-tokens", forgeries),
    ("keys-change", rotation),
];

#[test]
fn drape_before_keycloak() {
    if setting("DRAPE_CONFORMANCE").as_deref() != Some("1") {
        println!("left out: needs Java and Keycloak; `conformance/run` runs it (DRAPE_CONFORMANCE=1)");
        return;
    }
    let started = Instant::now();
    let mut world = build().unwrap_or_else(|fault| panic!("the suite cannot be set up: {fault}"));
    println!("set up in {:.0?}", started.elapsed());
    let mut failures = Vec::new();
    for (name, step) in STEPS {
        let begun = Instant::now();
        let outcome = step(&mut world);
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("step {name} … {word} ({:.1?})", begun.elapsed());
        if let Err(fault) = outcome {
            println!("     {}", fault.0.replace('\n', "\n     "));
            failures.push(name);
        }
    }
    world.drape.stop().unwrap();
    world.drape.verify().unwrap();
    assert!(failures.is_empty(), "{} step(s) failed: {}", failures.len(), failures.join(", "));
}

fn build() -> Outcome<World> {
    // It stays after the run, so that what the servers said can be read.
    let work = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("before-keycloak");
    if work.exists() {
        std::fs::remove_dir_all(&work)?;
    }
    std::fs::create_dir_all(&work)?;
    let (port, backend) = (free_port()?, Backend::start()?);
    let issuer = Keycloak::issuer(port);
    let own = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)?;
    let mut settings = Settings::new(&backend.base(), "generic", &issuer, "RS256");
    settings.auth = json!({
        "kind": "client-credentials", "token_url": format!("{issuer}/protocol/openid-connect/token"), "client_id": "drape",
        "scope": "system/*.rs", "assertion": { "key_file": "drape.pem", "algorithm": "RS384" },
    });
    settings.files = vec![("drape.pem", own.serialize_pem())];
    let mut drape =
        Drape::prepare(&executable(env!("CARGO_BIN_EXE_drape-subject")), &work.join("drape"), settings)?;
    // What an operator registers at the authorization server is what the program prints.
    let printed = drape.command(&["keys", "jwks"])?;
    check(printed.code == Some(0), || format!("`drape keys jwks`: {}", printed.err))?;
    let pem = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)?.serialize_pem();
    let key = AssertionKey::parse(pem.as_bytes(), AssertionAlgorithm::Es384, Some("backend-1"), None)?;
    let realm = Realm {
        base: &drape.base,
        upstream: &backend.base(),
        backend_keys: &key_set([key.public()]).to_string(),
        drape_keys: &printed.out,
    };
    let keycloak = Keycloak::start(&work, port, &realm)?;
    drape.serve()?;
    drape.described()?;
    Ok(World { keycloak, drape, backend, key })
}

impl World {
    fn get(&self, path: &str, token: &str) -> Outcome<Reply> {
        Call::get(format!("{}/{path}", self.drape.base)).bearer(token).send()
    }

    fn backend_token(&self) -> Outcome<String> {
        let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
        let id = format!("{}-{}", now, jiff::Timestamp::now().subsec_nanosecond());
        // Keycloak knows itself by the realm's URL as well as by that of the endpoint.
        let assertion = self.key.sign("backend", &self.keycloak.url, &id, now)?;
        Ok(self.keycloak.by_assertion(&assertion, "system/*.rs")?.access)
    }
}

/// Drape's own document leads apps to Keycloak, and says what Keycloak says.
fn discovery(world: &mut World) -> Outcome {
    let url = format!("{}/.well-known/smart-configuration", world.drape.base);
    let smart = wait_for("the smart-configuration", Duration::from_secs(30), || {
        Call::get(&url).send().ok().filter(|r| r.status == 200)
    })?
    .json()?;
    for (member, expected) in [
        ("issuer", world.keycloak.url.clone()),
        ("authorization_endpoint", world.keycloak.endpoint("auth")),
        ("token_endpoint", world.keycloak.endpoint("token")),
        ("jwks_uri", world.keycloak.endpoint("certs")),
    ] {
        check(smart[member] == expected, || format!("`{member}` is {}, not {expected}", smart[member]))?;
    }
    let published =
        Call::get(format!("{}/.well-known/jwks.json", world.drape.base)).send()?.expect(200)?.json()?;
    let printed: Value = serde_json::from_str(&world.drape.command(&["keys", "jwks"])?.out)?;
    check(published == printed, || format!("published {published}, printed {printed}"))
}

/// Roles, purpose and relations as Keycloak puts them into a token; and the server behind sees Drape, not the doctor.
fn doctor(world: &mut World) -> Outcome {
    let token = world.keycloak.by_password("ehr", "doctor", "user/*.rs")?.access;
    let own = world.get("Patient/p1", &token)?.expect(200)?;
    check(own.text().contains("Canary-p1"), || format!("her patient is not shown: {}", own.text()))?;
    let other = world.get("Patient/p2", &token)?;
    check(other.status == 404 && !other.everything().contains("Canary"), || {
        format!("another's patient gives {}: {}", other.status, other.text())
    })?;
    // Without scopes a token opens nothing.
    let bare = world.keycloak.by_password("ehr", "doctor", "")?.access;
    refusal(&world.get("Patient/p1", &bare)?, 403)?;
    let count = world.backend.saw_drape_alone()?;
    check(count > 0, || "the server behind was never asked".into())?;
    let log = world.drape.command(&["audit", "search", "--patient", "Patient/p1"])?;
    check(log.out.contains("as clinician · for TREAT"), || format!("the log: {}", log.out))
}

fn patient(world: &mut World) -> Outcome {
    let token = world.keycloak.by_password("portal", "pat", "patient/*.rs")?.access;
    let own = world.get("Patient/p1", &token)?.expect(200)?;
    check(own.text().contains("Canary-p1"), || format!("the own record is not shown: {}", own.text()))?;
    let other = world.get("Patient/p2", &token)?;
    check(other.status == 404, || format!("somebody else's record gives {}", other.status))?;
    // The doctor's app and purpose do not make a doctor of the patient.
    let dressed = world.keycloak.by_password("ehr", "pat", "user/*.rs")?.access;
    refusal(&world.get("Patient/p1", &dressed)?, 403).map(drop)
}

/// An app that knows nothing but Drape's address.
fn browser(world: &mut World) -> Outcome {
    let base = world.drape.base.clone();
    let smart = Call::get(format!("{base}/.well-known/smart-configuration")).send()?.expect(200)?.json()?;
    let authorize = smart["authorization_endpoint"].as_str().unwrap_or_default();
    let tokens = world.keycloak.by_browser(authorize, "ehr", "doctor", "user/*.rs", &base)?;
    world.get("Patient/p1", &tokens.access)?.expect(200).map(drop)
}

/// SMART Backend Services: a researcher's machine sees pseudonyms.
fn service(world: &mut World) -> Outcome {
    let token = world.backend_token()?;
    let found = world.get("Patient", &token)?.expect(200)?;
    let text = found.text();
    check(!text.contains("Canary") && !text.contains("\"p1\""), || format!("a researcher is shown {text}"))?;
    let entries = found.json()?["entry"].as_array().map_or(0, Vec::len);
    check(entries > 0, || format!("nothing is found: {text}"))?;
    world.backend.saw_drape_alone().map(drop)
}

/// What Keycloak signs besides access tokens, and access tokens for others.
fn kinds(world: &mut World) -> Outcome {
    let mut faults = Faults::default();
    let tokens = world.keycloak.by_password("ehr", "doctor", "openid user/*.rs")?;
    world.get("Patient/p1", &tokens.access)?.expect(200)?;
    let own = world.keycloak.by_password("admin-cli", "doctor", "")?.access;
    let others = [
        ("an ID token", tokens.id),
        ("a refresh token", tokens.refresh),
        ("a token of another client", Some(own)),
    ];
    for (name, token) in others {
        let Some(token) = token else {
            faults.check(false, || format!("Keycloak gave no {name}"));
            continue;
        };
        let reply = world.get("Patient/p1", &token)?;
        faults.note(refusal(&reply, 401).map(drop).map_err(|e| Fault(format!("{name}: {e}"))));
    }
    faults.outcome()
}

fn forgeries(world: &mut World) -> Outcome {
    let good = world.keycloak.by_password("ehr", "doctor", "user/*.rs")?.access;
    world.get("Patient/p1", &good)?.expect(200)?;
    let all = forged(&good, &world.keycloak.keys()?, "http://127.0.0.1:9")?;
    let (mut faults, mut accepted) = (Faults::default(), 0);
    for (name, token) in &all {
        let reply = world.get("Patient/p1", token)?;
        accepted += usize::from(reply.status == 200 || reply.everything().contains("Canary"));
        faults.note(refusal(&reply, 401).map(drop).map_err(|e| Fault(format!("{name}: {e}"))));
    }
    println!("     {} attacks on tokens of Keycloak, {} accepted", all.len(), accepted);
    check(all.len() >= 30, || "too few".into())?;
    faults.outcome()
}

/// A new key is taken up by itself; one that is taken back counts no longer.
fn rotation(world: &mut World) -> Outcome {
    let old = world.keycloak.by_password("ehr", "doctor", "user/*.rs")?.access;
    world.get("Patient/p1", &old)?.expect(200)?;
    world.keycloak.add_key()?;
    let new = world.keycloak.by_password("ehr", "doctor", "user/*.rs")?.access;
    check(old.split('.').next() != new.split('.').next(), || "the key did not change".into())?;
    // Asked for at most once in ten seconds.
    wait_for("a token under the new key", Duration::from_secs(20), || {
        world.get("Patient/p1", &new).ok().filter(|r| r.status == 200)
    })?;
    world.get("Patient/p1", &old)?.expect(200)?;
    world.keycloak.remove_first_key()?;
    world.drape.reload()?;
    let refused = wait_for("the end of the first key", Duration::from_secs(20), || {
        world.get("Patient/p1", &old).ok().filter(|r| r.status == 401)
    })?;
    refusal(&refused, 401)?;
    world.get("Patient/p1", &new)?.expect(200).map(drop)
}
