//! Tenants know nothing of each other: what one gave out means nothing at another, and what one did stands in no log but
//! its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use common::script::{Said, Script};
use common::{Reply, ZONE, ask, free, records};
use drape_demo::{Ambient, Cast, Figures, Issuer, Member, Persona, Relation, Store};
use drape_server::clock::Clock;
use drape_server::config::Config;
use drape_server::serve::{Running, start};
use http::Method;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

/// One process with three tenants: `a` and `b` on paths, `c` on a host of its own. The same issuer serves `a` and `b`; `b`
/// knows a second one, with other names for its claims and other purposes. `b` keeps a log of its own.
struct Block {
    port: u16,
    issuer: Arc<Issuer>,
    second: Arc<Issuer>,
    running: Running,
    folder: tempfile::TempDir,
}

async fn issuer(member: Vec<Member>) -> Arc<Issuer> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let cast = Cast { members: member, figures: Figures::default() };
    let zone = jiff::tz::TimeZone::get(ZONE).unwrap();
    let issuer = Arc::new(Issuer::new(&url, &["urn:none"], cast, zone, Ambient::system()).unwrap());
    tokio::spawn(drape_demo::serve::issuer(listener, Arc::clone(&issuer), std::future::pending()));
    issuer
}

fn member(persona: Persona, relations: Vec<Relation>) -> Member {
    Member {
        persona,
        subject: persona.word().to_owned(),
        name: persona.word().to_owned(),
        title: None,
        organization: None,
        departments: Vec::new(),
        fhir_user: None,
        patient: None,
        works_in_shifts: false,
        relations,
    }
}

async fn store() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let store = Arc::new(Store::new(records()).unwrap());
    tokio::spawn(drape_demo::serve::store(listener, store, std::future::pending()));
    format!("http://{address}/fhir")
}

impl Block {
    async fn start() -> Self {
        let relation = Relation { patient: "p1".into(), is: vec!["treating".into()], birth_date: None };
        let members = vec![
            member(Persona::Doctor, vec![relation]),
            member(Persona::RecordsOfficer, vec![]),
            member(Persona::Researcher, vec![]),
            member(Persona::Analyst, vec![]),
            member(Persona::Officer, vec![]),
        ];
        let (issuer, second) = (self::issuer(members.clone()).await, self::issuer(members).await);
        let (front, folder, upstream) = (free().await, tempfile::tempdir().unwrap(), store().await);
        let port = front.port();
        let purposes = "{ TREAT: [clinician, nurse], HRESCH: [researcher], PUBHLTH: [analyst], HOPERAT: [records-officer, privacy-officer] }";
        let text = format!(
            r#"
listen: {{ address: "{front}", plaintext: true }}
admin: {{ address: "127.0.0.1:0", plaintext: true }}
keys: {{ root_file: root.key, directory: keys }}
audit: {{ directory: log, origin: drape.example.org/test, signing_key_file: signing.key, checkpoint_interval_ms: 50 }}
tenants:
  - name: a
    public_base_url: "http://localhost:{port}/a"
    time_zone: {ZONE}
    upstream: {{ base_url: "{upstream}", plaintext: true, auth: {{ kind: none }} }}
    issuers:
      - {{ issuer: "{one}", plaintext: true, algorithms: [ES256], audiences: ["urn:a"], purposes: {purposes} }}
    policies: {{ set: hospital }}
  - name: b
    public_base_url: "http://localhost:{port}/b"
    time_zone: {ZONE}
    audit: {{ directory: log-b, origin: drape.example.org/b, signing_key_file: signing-b.key }}
    upstream: {{ base_url: "{upstream}", plaintext: true, auth: {{ kind: none }} }}
    issuers:
      - {{ issuer: "{one}", plaintext: true, algorithms: [ES256], audiences: ["urn:b"], purposes: {purposes} }}
      - issuer: "{two}"
        plaintext: true
        algorithms: [ES256]
        audiences: ["urn:b"]
        claims: {{ roles: groups, purpose_of_use: reason, name: full_name, scope: rights }}
        purposes: {{ audit: [records-officer] }}
    policies: {{ set: hospital }}
  - name: c
    public_base_url: "http://c.example.org/a"
    time_zone: {ZONE}
    upstream: {{ base_url: "{upstream}", plaintext: true, auth: {{ kind: none }} }}
    issuers:
      - {{ issuer: "{one}", plaintext: true, algorithms: [ES256], audiences: ["urn:c"], purposes: {purposes} }}
    policies: {{ set: hospital }}
budgets:
  - {{ name: of-a, tenant: a, organization: public-health, ledger_file: a.redb, epsilon_total: "0.4", epsilon_per_caller: "0.4", epsilon_per_query: "0.4" }}
  - {{ name: of-b, tenant: b, organization: public-health, ledger_file: b.redb, epsilon_total: "0.4", epsilon_per_caller: "0.4", epsilon_per_query: "0.4" }}
"#,
            one = issuer.url(),
            two = second.url(),
        );
        std::fs::write(folder.path().join("drape.yaml"), &text).unwrap();
        let config = Config::parse(&text, folder.path()).unwrap_or_else(|e| panic!("{e}"));
        let clock = Clock::system();
        drape_server::parts::init(&config, &clock).unwrap();
        let running = start(config, clock).await.unwrap();
        Self { port, issuer, second, running, folder }
    }

    fn url(&self, tenant: &str, path: &str) -> String {
        format!("http://localhost:{}/{tenant}/{path}", self.port)
    }

    fn token(&self, persona: Persona, audience: &str) -> String {
        self.changed(persona, |claims| {
            claims.insert("aud".into(), json!(audience));
        })
    }

    fn changed(&self, persona: Persona, change: impl Fn(&mut Map<String, Value>)) -> String {
        let mut claims =
            self.issuer.claims_at(persona, jiff::Timestamp::now(), Duration::from_secs(600)).unwrap();
        change(&mut claims);
        self.issuer.sign(&claims).unwrap()
    }

    async fn get(&self, tenant: &str, path: &str, token: &str) -> Reply {
        ask(Method::GET, &self.url(tenant, path), Some(token), &[], "").await
    }

    /// A command of the program on this configuration.
    fn drape(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_drape"))
            .args(arguments)
            .arg("--config")
            .arg(self.folder.path().join("drape.yaml"))
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    }
}

fn next(bundle: &Value) -> String {
    let link = bundle["link"].as_array().unwrap().iter().find(|l| l["relation"] == "next").unwrap();
    link["url"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_tenant_gave_out_means_nothing_at_another() {
    let block = Block::start().await;
    let (at_a, at_b) = (block.token(Persona::Doctor, "urn:a"), block.token(Persona::Doctor, "urn:b"));
    // Tokens: the same issuer, the same person, another audience.
    assert_eq!(block.get("a", "Patient/p1", &at_a).await.status, 200);
    assert_eq!(block.get("b", "Patient/p1", &at_b).await.status, 200);
    for (tenant, token) in [("b", &at_a), ("a", &at_b)] {
        let reply = block.get(tenant, "Patient/p1", token).await;
        assert_eq!(reply.status, 401, "{tenant}: {}", reply.text);
    }
    // A token that was proved at one is not taken for proved at the other, though the proof is kept by the token alone.
    let both = block.changed(Persona::Doctor, |c| {
        c.insert("aud".into(), json!(["urn:a", "urn:b"]));
    });
    assert_eq!(block.get("a", "Patient/p1", &both).await.status, 200);
    assert_eq!(block.get("b", "Patient/p1", &both).await.status, 200);
    assert_eq!(
        block.get("a", "Patient/p1", &at_b).await.status,
        401,
        "after it was proved at its own tenant"
    );

    // Page links: the same caller with a token for both.
    let first = block.get("a", "Observation?patient=p1&_count=5", &both).await.json();
    let link = next(&first);
    assert!(link.starts_with(&block.url("a", "_page/")), "{link}");
    let moved = link.replace("/a/_page/", "/b/_page/");
    assert_eq!(ask(Method::GET, &link, Some(&both), &[], "").await.status, 200);
    assert_eq!(ask(Method::GET, &moved, Some(&both), &[], "").await.status, 410);
    assert!(!first.to_string().contains(&block.url("b", "")));

    // Pseudonyms: other ones for the same patient, and one tenant's do not open at the other.
    let researcher = block.changed(Persona::Researcher, |c| {
        c.insert("aud".into(), json!(["urn:a", "urn:b"]));
    });
    let ids = |bundle: Value| -> Vec<String> {
        let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
        entries.iter().filter_map(|e| e["resource"]["id"].as_str().map(str::to_owned)).collect()
    };
    let of_a = ids(block.get("a", "Patient", &researcher).await.json());
    let of_b = ids(block.get("b", "Patient", &researcher).await.json());
    assert!(!of_a.is_empty() && !of_b.is_empty());
    assert!(of_a.iter().all(|id| !of_b.contains(id)), "{of_a:?} {of_b:?}");
    assert_eq!(block.get("a", &format!("Patient/{}", of_a[0]), &researcher).await.status, 200);
    assert_eq!(block.get("b", &format!("Patient/{}", of_a[0]), &researcher).await.status, 404);

    // Versions of treated views: marked for each tenant in its own way.
    let etag = |reply: Reply| reply.header("etag").to_owned();
    let path = format!("Patient/{}", of_a[0]);
    let (mine, again) =
        (etag(block.get("a", &path, &researcher).await), etag(block.get("a", &path, &researcher).await));
    let other = etag(block.get("b", &format!("Patient/{}", of_b[0]), &researcher).await);
    assert_eq!(mine, again);
    assert_ne!(mine, other);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_has_a_budget_of_its_own() {
    let block = Block::start().await;
    let count = "Patient?_summary=count";
    let analyst = |audience: &str, organization: &str| {
        block.changed(Persona::Analyst, |c| {
            c.insert("aud".into(), json!(audience));
            c.insert("organization".into(), json!(organization));
        })
    };
    let (a, b) = (analyst("urn:a", "public-health"), analyst("urn:b", "public-health"));
    let first = block.get("a", count, &a).await;
    assert_eq!(first.status, 200, "{}", first.text);
    // All of a's is spent; b's is whole.
    assert_eq!(block.get("a", "Patient?gender=female&_summary=count", &a).await.status, 403);
    assert_eq!(block.get("b", "Patient?gender=female&_summary=count", &b).await.status, 200);
    assert_eq!(block.get("b", count, &b).await.status, 403);
    // The answer of the one is not the other's: equal questions are equal within a tenant alone.
    assert_eq!(block.get("a", count, &a).await.text, first.text);
    let parts = Arc::clone(&block.running.parts);
    for (tenant, name) in [("a", "of-a"), ("b", "of-b")] {
        let tenant = parts.tenant(tenant).unwrap();
        let budget = tenant.budget.as_ref().unwrap();
        assert_eq!(
            (budget.config.name.as_str(), budget.ledger.spent(name).unwrap().nano),
            (name, 400_000_000)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_and_paths_tell_tenants_apart_and_neither_can_be_talked_into_another() {
    let block = Block::start().await;
    let token = |audience: &str| block.token(Persona::RecordsOfficer, audience);
    let at = |host: &'static str, path: &'static str, token: String| {
        let url = block.url(path, "Patient/p1");
        async move { ask(Method::GET, &url, Some(&token), &[("host", host)], "").await.status.as_u16() }
    };
    // `c` has the path of `a` and another host.
    assert_eq!(at("c.example.org", "a", token("urn:c")).await, 200);
    assert_eq!(at("C.Example.Org", "a", token("urn:c")).await, 200);
    assert_eq!(at("c.example.org:80", "a", token("urn:c")).await, 200);
    assert_eq!(at("c.example.org", "a", token("urn:a")).await, 401);
    // Under c's host nothing of `b` is served, whoever asks.
    assert_eq!(at("c.example.org", "b", token("urn:b")).await, 404);
    // A host that nobody has: two tenants share the path `/a`, so neither answers; `/b` has one alone.
    assert_eq!(at("pod-7", "a", token("urn:a")).await, 404);
    assert_eq!(at("pod-7", "b", token("urn:b")).await, 200);
    // Headers of proxies choose nothing.
    let url = block.url("b", "Patient/p1");
    for header in ["x-forwarded-host", "x-original-host", "forwarded", "x-forwarded-prefix"] {
        let reply = ask(Method::GET, &url, Some(&token("urn:a")), &[(header, "c.example.org")], "").await;
        assert!([400, 401, 403].contains(&reply.status.as_u16()), "{header}: {}", reply.status);
    }
    for path in [
        "a/../b/Patient/p1",
        "a/%2e%2e/b/Patient/p1",
        "a%2F..%2Fb/Patient/p1",
        "ab/Patient/p1",
        "A/Patient/p1",
        "a//b/Patient/p1",
    ] {
        let url = format!("http://localhost:{}/{path}", block.port);
        let reply = ask(Method::GET, &url, Some(&token("urn:b")), &[], "").await;
        assert!(!reply.status.is_success(), "{path}: {}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_path_decides_between_tenants_of_one_host() {
    let upstream = Script::start(|_| Said::json(json!({"resourceType": "Patient", "id": "p1"}))).await;
    let inner = Script::start(|_| Said::json(json!({"resourceType": "Patient", "id": "p1"}))).await;
    let issuer = self::issuer(vec![member(Persona::RecordsOfficer, vec![])]).await;
    let (front, folder) = (free().await, tempfile::tempdir().unwrap());
    let tenant = |name: &str, path: &str, upstream: &str| {
        format!(
            r#"
  - name: {name}
    public_base_url: "http://localhost:{port}{path}"
    time_zone: UTC
    upstream: {{ base_url: "{upstream}", plaintext: true, auth: {{ kind: none }} }}
    issuers: [{{ issuer: "{iss}", plaintext: true, algorithms: [ES256], audiences: ["urn:{name}"], purposes: {{ HOPERAT: [records-officer] }} }}]
    policies: {{ set: hospital }}"#,
            port = front.port(),
            iss = issuer.url(),
        )
    };
    let text = format!(
        r#"
listen: {{ address: "{front}", plaintext: true }}
admin: {{ address: "127.0.0.1:0", plaintext: true }}
keys: {{ root_file: root.key, directory: keys }}
audit: {{ directory: log, origin: drape.example.org/test, signing_key_file: signing.key }}
tenants:{}{}
"#,
        tenant("outer", "/fhir", &upstream.base),
        tenant("inner", "/fhir/inner", &inner.base),
    );
    let config = Config::parse(&text, folder.path()).unwrap_or_else(|e| panic!("{e}"));
    drape_server::parts::init(&config, &Clock::system()).unwrap();
    let _running = start(config, Clock::system()).await.unwrap();
    let mut claims =
        issuer.claims_at(Persona::RecordsOfficer, jiff::Timestamp::now(), Duration::from_secs(600)).unwrap();
    claims.insert("aud".into(), json!(["urn:outer", "urn:inner"]));
    let token = issuer.sign(&claims).unwrap();
    let get = |path: &str| {
        let (url, token) = (format!("http://localhost:{}{path}", front.port()), token.clone());
        async move { ask(Method::GET, &url, Some(&token), &[], "").await.status.as_u16() }
    };
    assert_eq!(get("/fhir/inner/Patient/p1").await, 200);
    assert_eq!((upstream.asked().len(), inner.asked().len()), (0, 1));
    assert_eq!(get("/fhir/Patient/p1").await, 200);
    assert_eq!((upstream.asked().len(), inner.asked().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_issuers_of_a_tenant_have_claims_and_purposes_of_their_own() {
    let block = Block::start().await;
    let sign = |changes: Value| {
        let now = jiff::Timestamp::now();
        let mut claims =
            block.second.claims_at(Persona::RecordsOfficer, now, Duration::from_secs(600)).unwrap();
        for gone in ["roles", "purpose_of_use", "scope", "name"] {
            claims.remove(gone);
        }
        claims.insert("aud".into(), json!("urn:b"));
        claims.extend(changes.as_object().unwrap().clone());
        block.second.sign(&claims).unwrap()
    };
    let named = json!({"groups": ["records-officer"], "reason": "audit", "rights": "user/*.rs", "full_name": "Second"});
    let good = sign(named.clone());
    let reply = block.get("b", "Patient/p2", &good).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    // By the first issuer's names it says nothing, nor by the first one's purposes.
    let by_first = json!({"roles": ["records-officer"], "purpose_of_use": "HOPERAT", "scope": "user/*.rs"});
    assert_eq!(block.get("b", "Patient/p2", &sign(by_first)).await.status, 403);
    let mut purpose = named.clone();
    purpose["reason"] = json!("HOPERAT");
    assert_eq!(block.get("b", "Patient/p2", &sign(purpose)).await.status, 403);
    // And the first issuer's tokens are read by its own names alone.
    let crossed = block.changed(Persona::RecordsOfficer, |c| {
        c.insert("aud".into(), json!("urn:b"));
        c.insert("purpose_of_use".into(), json!("audit"));
    });
    assert_eq!(block.get("b", "Patient/p2", &crossed).await.status, 403);
    // `a` does not know the second issuer at all.
    let mut for_a = named;
    for_a["aud"] = json!("urn:a");
    assert_eq!(block.get("a", "Patient/p2", &sign(for_a)).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_own_log_holds_its_entries_alone_and_they_stand_in_no_other() {
    let block = Block::start().await;
    let (a, b) = (block.token(Persona::Doctor, "urn:a"), block.token(Persona::Doctor, "urn:b"));
    assert_eq!(block.get("a", "Patient/p1", &a).await.status, 200);
    assert_eq!(block.get("b", "Observation/o1", &b).await.status, 200);
    assert_eq!(block.get("b", "Patient/p2", &b).await.status, 404);

    let tenants = |folder: &str, of: Option<&str>| -> Vec<String> {
        let parts = &block.running.parts;
        let book = parts.books.iter().find(|b| b.tenant.as_deref() == of).unwrap();
        assert!(book.log.directory().ends_with(folder));
        let found = book.log.reader().tail(1_000).unwrap();
        found.iter().filter_map(|e| Some(e.event()?.tenant.clone())).filter(|t| !t.is_empty()).collect()
    };
    let (common, own) = (tenants("log", None), tenants("log-b", Some("b")));
    assert!(!own.is_empty() && own.iter().all(|t| t == "b"), "{own:?}");
    assert!(common.iter().any(|t| t == "a") && !common.iter().any(|t| t == "b"), "{common:?}");
    // Another key opens nothing of it.
    let books = &block.running.parts.books;
    let stranger = drape_audit::Reader::new(books[1].log.directory(), books[0].secret.clone());
    assert!(stranger.tail(100).unwrap().iter().all(|e| e.event().is_none()));

    // The command line finds the right log by the tenant, while the process runs.
    let (code, out) = block.drape(&["audit", "search", "--tenant", "b"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("Observation/o1") && !out.contains("Patient/p1/"), "{out}");
    let (_, out) = block.drape(&["audit", "search", "--tenant", "a"]);
    assert!(out.contains("Patient/p1") && !out.contains("Observation/o1"), "{out}");
    let (code, out) = block.drape(&["audit", "search"]);
    assert_eq!((code, out.contains("say `--tenant NAME`")), (Some(1), true), "{out}");

    // An officer of one tenant sees her own log.
    let page = |audience: &'static str| {
        let (url, token) = (
            format!("http://{}/officer", block.running.admin_address),
            block.token(Persona::Officer, audience),
        );
        async move { ask(Method::GET, &url, Some(&token), &[], "").await.text }
    };
    let (of_a, of_b) = (page("urn:a").await, page("urn:b").await);
    assert!(of_b.contains("read Observation") && of_b.contains("The log of `b`"), "{of_b}");
    assert!(of_a.contains("read Patient"), "{of_a}");
    assert!(!of_a.contains("read Observation") && !of_a.contains("The log of `b`"), "{of_a}");

    let log_b = block.folder.path().join("log-b");
    let Block { running, folder, .. } = block;
    running.stop().await;
    verified(&folder, &log_b);
}

/// `drape audit verify` looks at every log, and at one where a tenant is named; damage to one is told of that one.
fn verified(folder: &tempfile::TempDir, log_b: &Path) {
    let drape = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_drape"))
            .args(arguments)
            .arg("--config")
            .arg(folder.path().join("drape.yaml"))
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let (code, out) = drape(&["audit", "verify"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(
        out.contains("the log `drape.example.org/test`") && out.contains("the log `drape.example.org/b`"),
        "{out}"
    );
    let seen = folder.path().join("seen").display().to_string();
    let (code, out) = drape(&["audit", "verify", "--remember", &seen]);
    assert_eq!((code, out.contains("--tenant NAME")), (Some(3), true), "{out}");
    assert_eq!(drape(&["audit", "verify", "--tenant", "b", "--remember", &seen]).0, Some(0));
    std::fs::write(log_b.join("checkpoint"), "drape.example.org/b\n0\nAAAA\n\n— x y\n").unwrap();
    assert_eq!(drape(&["audit", "verify", "--tenant", "a"]).0, Some(0), "the other one is sound");
    let (code, out) = drape(&["audit", "verify"]);
    assert_ne!(code, Some(0), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_stops_stops_its_own_tenant_alone() {
    let block = Block::start().await;
    let (a, b) = (block.token(Persona::Doctor, "urn:a"), block.token(Persona::Doctor, "urn:b"));
    let own = block.running.parts.books.iter().find(|book| book.tenant.as_deref() == Some("b")).unwrap();
    own.log.close();
    assert_eq!(block.get("b", "Patient/p1", &b).await.status, 503);
    assert_eq!(block.get("a", "Patient/p1", &a).await.status, 200);
    let admin = format!("http://{}", block.running.admin_address);
    assert_eq!(ask(Method::GET, &format!("{admin}/readyz"), None, &[], "").await.status, 200);
    let metrics = ask(Method::GET, &format!("{admin}/metrics"), None, &[], "").await.text;
    assert!(metrics.contains("drape_audit_log_healthy 0"), "an operator is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_of_tenants_differ_and_each_is_judged_by_its_own() {
    let upstream = store().await;
    let issuer = self::issuer(vec![member(Persona::RecordsOfficer, vec![])]).await;
    let (front, folder) = (free().await, tempfile::tempdir().unwrap());
    std::fs::create_dir(folder.path().join("narrow")).unwrap();
    std::fs::write(folder.path().join("narrow/narrow.cedar"), NARROW).unwrap();
    let tenant = |name: &str, policies: &str| {
        format!(
            r#"
  - name: {name}
    public_base_url: "http://localhost:{port}/{name}"
    time_zone: UTC
    upstream: {{ base_url: "{upstream}", plaintext: true, auth: {{ kind: none }} }}
    issuers: [{{ issuer: "{iss}", plaintext: true, algorithms: [ES256], audiences: ["urn:all"], purposes: {{ HOPERAT: [records-officer] }} }}]
    policies: {{ {policies} }}"#,
            port = front.port(),
            iss = issuer.url(),
        )
    };
    let text = format!(
        r#"
listen: {{ address: "{front}", plaintext: true }}
admin: {{ address: "127.0.0.1:0", plaintext: true }}
keys: {{ root_file: root.key, directory: keys }}
audit: {{ directory: log, origin: drape.example.org/test, signing_key_file: signing.key }}
tenants:{}{}
"#,
        tenant("wide", "set: hospital"),
        tenant("narrow", "directory: narrow"),
    );
    let config = Config::parse(&text, folder.path()).unwrap_or_else(|e| panic!("{e}"));
    drape_server::parts::init(&config, &Clock::system()).unwrap();
    let running = start(config, Clock::system()).await.unwrap();
    let mut claims =
        issuer.claims_at(Persona::RecordsOfficer, jiff::Timestamp::now(), Duration::from_secs(600)).unwrap();
    claims.insert("aud".into(), json!("urn:all"));
    let token = issuer.sign(&claims).unwrap();
    let get = |tenant: &str| {
        let url = format!("http://localhost:{}/{tenant}/Patient/p1", front.port());
        let token = token.clone();
        async move { ask(Method::GET, &url, Some(&token), &[], "").await }
    };
    // One token, one person, one record: each tenant by its own rules, and the other's answers are kept for nobody.
    for _ in 0..2 {
        let (wide, narrow) = (get("wide").await, get("narrow").await);
        assert!(wide.text.contains("Canary-One"), "{}", wide.text);
        assert_eq!(narrow.status, 200, "{}", narrow.text);
        assert!(!narrow.text.contains("Canary-One") && narrow.text.contains("1980-02-03"), "{}", narrow.text);
    }
    let digests: Vec<String> = running.parts.tenants().iter().map(|t| t.policy_digest.clone()).collect();
    assert_ne!(digests[0], digests[1]);
}

const NARROW: &str = r#"@id("birth-dates-alone")
permit (principal in Role::"records-officer", action in [Action::"read", Action::"receive"], resource);
@id("birth-dates-alone-are-shown")
permit (principal in Role::"records-officer", action == Action::"show", resource)
when { resource in [Category::"birth-date", Category::"record-id", Category::"structure"] };
"#;

#[test]
fn logs_that_are_to_be_separate_share_nothing() {
    let text = |audit: &str| {
        format!(
            r#"
listen: {{ address: "127.0.0.1:0", plaintext: true }}
admin: {{ address: "127.0.0.1:0", plaintext: true }}
keys: {{ root_file: root.key, directory: keys }}
audit: {{ directory: log, origin: drape.example.org/test, signing_key_file: signing.key }}
tenants:
  - name: a
    public_base_url: http://localhost:8080/fhir
    time_zone: UTC
    audit: {{ {audit} }}
    upstream: {{ base_url: "http://127.0.0.1:9/fhir", plaintext: true, auth: {{ kind: none }} }}
    issuers: [{{ issuer: https://issuer.example.org, purposes: {{ TREAT: [clinician] }} }}]
    policies: {{ set: hospital }}
  - name: b
    public_base_url: http://LOCALHOST:8080/fhir
    time_zone: UTC
    upstream: {{ base_url: "http://127.0.0.1:9/fhir", plaintext: true, auth: {{ kind: none }} }}
    issuers: [{{ issuer: https://issuer.example.org, purposes: {{ TREAT: [clinician] }} }}]
    policies: {{ set: hospital }}
"#
        )
    };
    let faults = |audit: &str| Config::parse(&text(audit), Path::new("/")).unwrap_err().to_string();
    for (audit, expected) in [
        (
            "directory: log, origin: x, signing_key_file: k",
            "tenants[0].audit.directory: is that of another log",
        ),
        ("directory: l, origin: drape.example.org/test, signing_key_file: k", "tenants[0].audit.origin"),
        ("directory: l, origin: x, signing_key_file: signing.key", "tenants[0].audit.signing_key_file"),
        ("directory: l, origin: x", "tenants[0].audit.signing_key_file: is required"),
        ("directory: l, origin: x, signing_key_file: k, heartbeat_interval_ms: 1", "is not a known key"),
        // Host names have no case: both would be asked for by the same address.
        ("directory: l, origin: x, signing_key_file: k", "is served by tenant `a`"),
    ] {
        let found = faults(audit);
        assert!(found.contains(expected), "{expected} not in {found}");
    }
}
