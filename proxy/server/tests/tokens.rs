//! A corpus of attacks by token against a running Drape: none is let in, nothing is asked of the FHIR server for any of
//! them, and each is told by its name. `cargo test -p drape-server --test tokens -- --nocapture` prints them.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on stops, and tells what it did"
)]

mod common;
mod forge;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use common::script::{Said, Script};
use common::{Reply, ask, free};
use drape_server::clock::Clock;
use drape_server::config::Config;
use drape_server::serve::{Running, start};
use forge::{Forge, Keys};
use http::Method;
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://issuer.example.org";
pub(crate) const AUDIENCE: &str = "https://a.example.org/fhir";
const CANARY: &str = "Canary-Token";

/// Drape with two tenants before one server, and an issuer whose keys a test may change.
struct Target {
    base: String,
    other: String,
    forge: Forge,
    jwks: Arc<Mutex<String>>,
    issuer: Script,
    upstream: Script,
    hand: Arc<AtomicU64>,
    running: Running,
    folder: tempfile::TempDir,
}

impl Target {
    async fn start() -> Self {
        let forge = Forge { keys: Keys::make(), now: Clock::system().now_s() };
        let jwks = Arc::new(Mutex::new(forge.keys.jwks().to_string()));
        let served = Arc::clone(&jwks);
        let issuer = Script::start(move |asked| match asked.target.as_str() {
            "/fhir/jwks" => Said::typed("application/json", served.lock().unwrap()),
            _ => Said::status(404),
        })
        .await;
        let upstream = Script::start(|asked| match asked.target.as_str() {
            "/fhir/metadata" => {
                Said::json(json!({"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1"}))
            }
            _ => Said::json(json!({"resourceType": "Patient", "id": "p1", "name": [{"family": CANARY}]})),
        })
        .await;
        let (front, folder) = (free().await, tempfile::tempdir().unwrap());
        let tenant = |name: &str| {
            format!(
                r#"
  - name: {name}
    public_base_url: "http://localhost:{port}/{name}/fhir"
    time_zone: UTC
    upstream: {{ base_url: "{upstream}", plaintext: true, auth: {{ kind: none }} }}
    issuers:
      - issuer: "{ISSUER}"
        plaintext: true
        jwks_url: "{issuer}/jwks"
        audiences: ["https://{name}.example.org/fhir"]
        algorithms: [RS256, ES256]
        clock_skew_ms: 0
        purposes: {{ HOPERAT: [records-officer] }}
    policies: {{ set: hospital }}"#,
                port = front.port(),
                upstream = upstream.base,
                issuer = issuer.base,
            )
        };
        let text = format!(
            r#"
listen: {{ address: "{front}", plaintext: true }}
admin: {{ address: "127.0.0.1:0", plaintext: true }}
keys: {{ root_file: root.key, directory: keys }}
audit: {{ directory: log, origin: drape.example.org/test, signing_key_file: signing.key, checkpoint_interval_ms: 50 }}
tenants:{}{}
"#,
            tenant("a"),
            tenant("b")
        );
        let (clock, hand) = Clock::fixed(forge.now * 1_000);
        let config = Config::parse(&text, folder.path()).unwrap_or_else(|e| panic!("{e}"));
        drape_server::parts::init(&config, &clock).unwrap();
        let running = start(config, clock).await.unwrap();
        let base = format!("http://localhost:{}/a/fhir", front.port());
        let other = format!("http://localhost:{}/b/fhir", front.port());
        Self { base, other, forge, jwks, issuer, upstream, hand, running, folder }
    }

    async fn read(&self, token: &str) -> Reply {
        ask(Method::GET, &format!("{}/Patient/p1", self.base), Some(token), &[], "").await
    }

    /// Honest tokens of both kinds still open the record: what is refused is not refused for another reason.
    async fn honest_tokens_pass(&self) {
        let header = json!({"alg": "RS256", "kid": "rsa", "typ": "at+jwt"});
        for token in [
            self.forge.rs256(&header, &self.forge.claims()),
            self.forge.es256(&json!({"alg": "ES256", "kid": "ec", "typ": "JWT"}), &self.forge.claims()),
        ] {
            let reply = self.read(&token).await;
            assert_eq!(reply.status, 200, "{}", reply.text);
            assert!(reply.text.contains(CANARY));
        }
        self.upstream.forget();
    }

    /// Lets the issuer publish other keys and Drape find its own too old.
    fn publish(&self, keys: &Value) {
        *self.jwks.lock().unwrap() = keys.to_string();
        self.hand.fetch_add(301_000, Ordering::SeqCst);
    }
}

/// What happened to each attack.
#[derive(Default)]
struct Toll {
    attacks: usize,
    accepted: Vec<String>,
    odd: Vec<String>,
}

impl Toll {
    /// Takes in an answer. `statuses` are those of a proper refusal.
    fn take(&mut self, target: &Target, name: &str, reply: &Reply, statuses: &[u16]) {
        self.attacks += 1;
        let status = reply.status.as_u16();
        let why = serde_json::from_str::<Value>(&reply.text)
            .ok()
            .and_then(|o| o["issue"][0]["diagnostics"].as_str().map(str::to_owned))
            .unwrap_or_else(|| reply.text.clone());
        println!("{status}  {name}: {why}");
        let asked = target.upstream.asked();
        if reply.status.is_success() || reply.text.contains(CANARY) || !asked.is_empty() {
            self.accepted.push(name.to_owned());
            target.upstream.forget();
        } else if !statuses.contains(&status) || (status != 431 && !reply.text.contains("OperationOutcome")) {
            self.odd.push(format!("{name}: {status} {}", reply.text));
        } else if status == 401 && !reply.header("www-authenticate").starts_with("Bearer ") {
            self.odd.push(format!("{name}: no challenge"));
        }
    }

    fn end(&self) {
        println!("{} attacks, {} accepted", self.attacks, self.accepted.len());
        assert!(self.accepted.is_empty(), "accepted: {:#?}", self.accepted);
        assert!(self.odd.is_empty(), "refused in another way than they should be: {:#?}", self.odd);
        assert!(self.attacks >= 60);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_all_attacks_by_token_none_is_accepted() {
    let target = Target::start().await;
    target.honest_tokens_pass().await;
    let mut toll = Toll::default();

    for (name, token) in target.forge.attacks(&target.issuer.base) {
        // What is longer than all headers together may be is refused by the listener, which knows no FHIR.
        let reply = target.read(&token).await;
        toll.take(&target, &name, &reply, if token.len() > 16 << 10 { &[401, 431] } else { &[401] });
    }
    let stray: Vec<_> = target.issuer.targets().into_iter().filter(|t| t != "GET /fhir/jwks").collect();
    assert!(stray.is_empty(), "a token made Drape ask {stray:?}");

    transport(&target, &mut toll).await;
    target.honest_tokens_pass().await;
    replays(&target, &mut toll).await;
    keys(&target, &mut toll).await;
    toll.end();

    // Strangers buy no entries: they stand in counts.
    let log = target.folder.path().join("log");
    target.running.stop().await;
    let signer = drape_audit::NoteSigner::from_seed_file(
        "drape.example.org/test",
        &target.folder.path().join("signing.key"),
    );
    let report = drape_audit::verify(&drape_audit::verify::Check {
        directory: &log,
        key: signer.unwrap().verifier(),
        secret: None,
        remembered: None,
    });
    assert_eq!(report.exit(), drape_audit::Exit::Ok, "{report}");
    assert!(report.checkpoint.unwrap().size < 60, "each attack was entered by itself");
}

/// The same good token, put where it does not belong.
async fn transport(target: &Target, toll: &mut Toll) {
    let good = target.forge.good();
    let url = format!("{}/Patient/p1", target.base);
    let bearer = format!("Bearer {good}");
    let values = [
        ("`Bearer` twice in one header", vec![("authorization", format!("Bearer {bearer}"))]),
        ("two credentials in one header", vec![("authorization", format!("{bearer}, {bearer}"))]),
        (
            "two Authorization headers",
            vec![("authorization", bearer.clone()), ("authorization", bearer.clone())],
        ),
        ("two spaces after Bearer", vec![("authorization", format!("Bearer  {good}"))]),
        ("a blank behind the token", vec![("authorization", format!("{bearer} x"))]),
        ("another scheme: Token", vec![("authorization", format!("Token {good}"))]),
        ("another scheme: DPoP", vec![("authorization", format!("DPoP {good}"))]),
        ("another scheme: Basic", vec![("authorization", format!("Basic {good}"))]),
        ("no scheme", vec![("authorization", good.clone())]),
        ("an empty bearer", vec![("authorization", "Bearer ".to_owned())]),
        ("the token in Proxy-Authorization", vec![("proxy-authorization", bearer.clone())]),
        ("the token in X-Authorization", vec![("x-authorization", bearer.clone())]),
        ("the token in X-Forwarded-Access-Token", vec![("x-forwarded-access-token", good.clone())]),
        ("the token in a cookie", vec![("cookie", format!("access_token={good}; Authorization={good}"))]),
    ];
    for (name, headers) in values {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let reply = ask(Method::GET, &url, None, &headers, "").await;
        toll.take(target, name, &reply, &[401]);
    }
    let query = ask(Method::GET, &format!("{url}?access_token={good}"), None, &[], "").await;
    toll.take(target, "the token in the query", &query, &[401]);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let search = format!("{}/Patient/_search", target.base);
    let body = format!("_id=p1&access_token={good}");
    let posted = ask(Method::POST, &search, None, &form, &body).await;
    toll.take(target, "the token in the form of a search", &posted, &[401]);
    let beside = ask(Method::GET, &format!("{url}?access_token={good}"), Some(&good), &[], "").await;
    toll.take(target, "a token in the header and one in the query", &beside, &[400, 401, 403]);
}

/// Good tokens at the wrong time or place.
async fn replays(target: &Target, toll: &mut Toll) {
    let forge = &target.forge;
    let good = forge.good();
    let elsewhere = ask(Method::GET, &format!("{}/Patient/p1", target.other), Some(&good), &[], "").await;
    toll.take(target, "a token of tenant a at tenant b", &elsewhere, &[401]);

    let mut brief = forge.claims();
    brief["exp"] = json!(forge.now + 5);
    let brief = forge.rs256(&json!({"alg": "RS256", "kid": "rsa"}), &brief);
    assert_eq!(target.read(&brief).await.status, 200);
    target.upstream.forget();
    target.hand.fetch_add(5_000, Ordering::SeqCst);
    toll.take(target, "replayed when it has just expired", &target.read(&brief).await, &[401]);
    target.hand.fetch_add(3_600_000, Ordering::SeqCst);
    toll.take(target, "replayed an hour later", &target.read(&brief).await, &[401]);
}

/// Tokens that would be good under keys that no issuer should publish, or publishes no more.
async fn keys(target: &Target, toll: &mut Toll) {
    for (name, jwks, token) in target.forge.key_attacks() {
        target.publish(&jwks);
        toll.take(target, &name, &target.read(&token).await, &[401]);
    }
    // Taken back: what was signed before counts for minutes, not for as long as the token says.
    target.publish(&target.forge.keys.jwks());
    let mut long = target.forge.claims();
    long["exp"] = json!(target.forge.now + 1_000_000);
    let long = target.forge.rs256(&json!({"alg": "RS256", "kid": "rsa"}), &long);
    assert_eq!(target.read(&long).await.status, 200);
    target.upstream.forget();
    let mut rotated = target.forge.keys.jwks();
    rotated["keys"].as_array_mut().unwrap().retain(|k| k["kid"] != "rsa");
    target.publish(&rotated);
    toll.take(target, "signed with a key that was taken back", &target.read(&long).await, &[401]);
    let mut swapped = target.forge.keys.jwks();
    swapped["keys"][0] = Keys::make().jwks()["keys"][0].clone();
    target.publish(&swapped);
    toll.take(target, "signed with a key whose name another one has now", &target.read(&long).await, &[401]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirrored_signature_proves_the_same_claims_and_nothing_else() {
    // For each ECDSA signature (r, s) there is (r, n - s), which RFC 7518 allows too: whoever has a token can write it in
    // a second way. It is the same caller with the same claims, until the same moment.
    let target = Target::start().await;
    let (plain, mirrored) = target.forge.mirrored();
    assert_ne!(plain, mirrored);
    for token in [&plain, &mirrored] {
        assert_eq!(target.read(token).await.status, 200);
    }
    target.hand.fetch_add(600_000, Ordering::SeqCst);
    for token in [&plain, &mirrored] {
        assert_eq!(target.read(token).await.status, 401);
    }
}
