//! What the server's tests share: the embedded store and issuer, Drape in front, a client that speaks what is wanted.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use drape_demo::{Ambient, Cast, Figures, Issuer, Member, Persona, Relation, Resource, Store};
use drape_server::clock::Clock;
use drape_server::config::Config;
use drape_server::serve::{Running, start};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) mod script;

pub(crate) const ZONE: &str = "America/New_York";

/// An issue without the name of the request, which differs from answer to answer; all else of it stays.
pub(crate) fn nameless(issue: &mut Value) {
    let Some(text) = issue["details"]["text"].as_str().map(str::to_owned) else { return };
    let id = text.strip_prefix("request ").unwrap();
    let said = issue["diagnostics"].as_str().unwrap();
    assert!(said.ends_with(&format!(" (decision {id})")), "{said}");
    issue["diagnostics"] = said.replace(id, "ID").into();
    issue["details"]["text"] = "request ID".into();
}

/// A hospital of a few records.
pub(crate) fn records() -> Vec<Resource> {
    let resource = |value: Value| Resource {
        resource_type: value["resourceType"].as_str().unwrap().to_owned(),
        id: value["id"].as_str().unwrap().to_owned(),
        json: value.to_string().into_bytes(),
    };
    let condition = |id: &str, patient: &str, code: &str, name: &str| {
        json!({
            "resourceType": "Condition", "id": id, "subject": {"reference": format!("Patient/{patient}")},
            "clinicalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]},
            "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": code, "display": name}]},
        })
    };
    let mut all = vec![
        json!({"resourceType": "Patient", "id": "p1", "name": [{"family": "Canary-One"}], "birthDate": "1980-02-03"}),
        json!({"resourceType": "Patient", "id": "p2", "name": [{"family": "Canary-Two"}], "birthDate": "1990-02-03"}),
        condition("c1", "p1", "I10", "hypertension"),
        condition("c2", "p1", "F11.20", "Canary-Opioid"),
        condition("c3", "p1", "F11.20", "Canary-Opioid"),
        condition("c4", "p1", "F11.21", "Canary-Opioid"),
    ];
    for i in 0..40 {
        all.push(json!({
            "resourceType": "Observation", "id": format!("o{i}"), "status": "final",
            "subject": {"reference": "Patient/p1"}, "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
            "valueQuantity": {"value": 60 + i, "unit": "/min"}, "note": [{"text": format!("Canary-Note-{i} {}", "x".repeat(5_000))}],
        }));
    }
    all.into_iter().map(resource).collect()
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

/// Everything that runs for one test.
pub(crate) struct House {
    pub issuer: Arc<Issuer>,
    pub base: String,
    pub admin: String,
    pub running: Running,
    pub folder: tempfile::TempDir,
}

/// How a house differs from the plain one.
#[derive(Default)]
pub(crate) struct Wishes<'a> {
    /// Instead of the embedded store.
    pub upstream: Option<String>,
    /// Put under `upstream:` besides its address.
    pub upstream_more: &'a str,
    /// Put among the keys of the issuer, each line indented by eight.
    pub issuer_more: &'a str,
    /// More issuers, each beginning with `      - issuer:`.
    pub issuers_more: &'a str,
    /// Put among the keys of the tenant.
    pub tenant_more: &'a str,
    /// Instead of `plaintext: true` of the listener; names files in the folder.
    pub listen: Option<&'a str>,
    /// Put at the end of the document.
    pub more: &'a str,
    /// The public scheme.
    pub scheme: Option<&'a str>,
    /// The audience and issuer of another house, whose tokens are accepted too.
    pub issuer: Option<Arc<Issuer>>,
    /// Instead of the shipped set: Cedar.
    pub policy: Option<&'a str>,
    /// Put after the set: `, redaction: silent`.
    pub policies_more: &'a str,
    /// Instead of the system's clock.
    pub clock: Option<Clock>,
    /// Where its folder is made, instead of the system's place for such.
    pub within: Option<&'a Path>,
    /// Written into the folder before the start; `facts.yaml` is used as it is called.
    pub files: Vec<(&'a str, String)>,
}

impl House {
    pub(crate) async fn plain() -> Self {
        Self::with(Wishes::default()).await
    }

    pub(crate) async fn with(wishes: Wishes<'_>) -> Self {
        let folder = wishes.within.map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap();
        for (name, text) in &wishes.files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        if let Some(policy) = wishes.policy {
            std::fs::create_dir(folder.path().join("policies")).unwrap();
            std::fs::write(folder.path().join("policies/a.cedar"), policy).unwrap();
        }
        let clock = wishes.clock.clone().unwrap_or_else(Clock::system);
        let upstream = match wishes.upstream {
            Some(upstream) => upstream,
            None => {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let store = Arc::new(Store::new(records()).unwrap());
                tokio::spawn(drape_demo::serve::store(listener, store, std::future::pending()));
                format!("http://{address}/fhir")
            }
        };
        let front = free().await;
        let base = format!("{}://localhost:{}/fhir", wishes.scheme.unwrap_or("http"), front.port());
        let issuer = match wishes.issuer {
            Some(issuer) => issuer,
            None => {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let url = format!("http://{}", listener.local_addr().unwrap());
                let relation =
                    |is: &str| Relation { patient: "p1".into(), is: vec![is.into()], birth_date: None };
                let cast = Cast {
                    members: vec![
                        member(Persona::Doctor, vec![relation("treating")]),
                        member(Persona::Billing, vec![]),
                        member(Persona::Researcher, vec![]),
                        member(Persona::Analyst, vec![]),
                        member(Persona::Attacker, vec![]),
                        member(Persona::Officer, vec![]),
                        member(Persona::RecordsOfficer, vec![]),
                        Member { works_in_shifts: true, ..member(Persona::Nurse, vec![relation("ward")]) },
                        Member { patient: Some("p1".into()), ..member(Persona::Patient, vec![]) },
                        member(
                            Persona::Guardian,
                            vec![Relation { birth_date: Some("2011-01-01".into()), ..relation("guardian") }],
                        ),
                    ],
                    figures: Figures::default(),
                };
                let zone = jiff::tz::TimeZone::get(ZONE).unwrap();
                let issuer =
                    Arc::new(Issuer::new(&url, &["urn:test"], cast, zone, Ambient::system()).unwrap());
                tokio::spawn(drape_demo::serve::issuer(
                    listener,
                    Arc::clone(&issuer),
                    std::future::pending(),
                ));
                issuer
            }
        };
        let config = format!(
            r#"
listen: {{ address: "{front}", {listen} }}
admin: {{ address: "127.0.0.1:0", plaintext: true }}
keys: {{ root_file: root.key, directory: keys }}
audit: {{ directory: log, origin: drape.example.org/test, signing_key_file: signing.key, checkpoint_interval_ms: 50 }}
tenants:
  - name: main
    public_base_url: "{base}"
    time_zone: {ZONE}
    upstream: {{ base_url: "{upstream}", {plain} {upstream_more} }}
    issuers:
      - issuer: "{iss}"
        plaintext: true
        audiences: ["urn:test"]
        algorithms: [ES256]
        purposes:
          TREAT: [clinician, nurse]
          PATRQT: [patient]
          FAMRQT: [guardian]
          HPAYMT: [billing]
          HRESCH: [researcher]
          PUBHLTH: [analyst]
          HOPERAT: [privacy-officer, records-officer]
          ETREAT: [clinician]
          BTG: [clinician]
{issuer_more}
{issuers_more}
    policies: {{ {policies}{policies_more}{facts} }}
    {tenant_more}
budgets:
  - {{ name: ph, tenant: main, organization: public-health, ledger_file: budget.redb, epsilon_total: "0.9", epsilon_per_query: "0.4" }}
{more}
"#,
            listen = wishes.listen.unwrap_or("plaintext: true"),
            plain = if upstream.starts_with("http://") { "plaintext: true," } else { "" },
            upstream_more =
                if wishes.upstream_more.is_empty() { "auth: { kind: none }" } else { wishes.upstream_more },
            iss = issuer.url(),
            facts = if wishes.files.iter().any(|f| f.0 == "facts.yaml") {
                ", facts_file: facts.yaml"
            } else {
                ""
            },
            policies = if wishes.policy.is_some() { "directory: policies" } else { "set: hospital" },
            policies_more = wishes.policies_more,
            more = wishes.more,
            issuer_more = wishes.issuer_more,
            issuers_more = wishes.issuers_more,
            tenant_more = wishes.tenant_more,
        );
        let file = folder.path().join("drape.yaml");
        std::fs::write(&file, config).unwrap();
        let config = Config::load(&file).unwrap_or_else(|e| panic!("{e}"));
        drape_server::parts::init(&config, &clock).unwrap();
        let running = start(config, clock).await.unwrap();
        let admin = format!("http://{}", running.admin_address);
        Self { issuer, base, admin, running, folder }
    }

    pub(crate) fn token(&self, persona: Persona) -> String {
        self.issuer.token(persona, Duration::from_secs(600)).unwrap()
    }

    pub(crate) async fn get(&self, persona: Persona, path: &str) -> Reply {
        ask(Method::GET, &format!("{}/{path}", self.base), Some(&self.token(persona)), &[], "").await
    }

    pub(crate) fn log_is_sound(folder: &Path) {
        let signer =
            drape_audit::NoteSigner::from_seed_file("drape.example.org/test", &folder.join("signing.key"))
                .unwrap();
        let check = drape_audit::verify::Check {
            directory: &folder.join("log"),
            key: signer.verifier(),
            secret: None,
            remembered: None,
        };
        let report = drape_audit::verify(&check);
        assert_eq!(report.exit(), drape_audit::Exit::Ok, "{report}");
    }
}

/// A free address on the loopback interface.
pub(crate) async fn free() -> std::net::SocketAddr {
    // Below what the system gives to those who connect, so that no client takes it between here and its use; each process
    // begins at another place, and none gives a port twice.
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    let begin = u16::try_from(std::process::id().wrapping_mul(61) % u32::from(COUNT)).unwrap();
    for _ in 0..COUNT {
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let address = ([127, 0, 0, 1], FIRST + (begin + next) % COUNT).into();
        if TcpListener::bind::<std::net::SocketAddr>(address).await.is_ok() {
            return address;
        }
    }
    panic!("no port is free");
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|v| v.to_str().unwrap()).unwrap_or_default()
    }
}

/// Asks by HTTP/1.1 and reads the whole answer.
pub(crate) async fn ask(
    method: Method,
    url: &str,
    token: Option<&str>,
    headers: &[(&str, &str)],
    body: &str,
) -> Reply {
    ask_with(&client(), method, url, token, headers, body).await
}

/// Keeps its connections, within one runtime.
pub(crate) type Client =
    hyper_util::client::legacy::Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>>;

pub(crate) fn client() -> Client {
    hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http()
}

/// The same over connections that may be kept.
pub(crate) async fn ask_with(
    client: &Client,
    method: Method,
    url: &str,
    token: Option<&str>,
    headers: &[(&str, &str)],
    body: &str,
) -> Reply {
    let mut request = http::Request::builder().method(method).uri(url);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(30), client.request(request))
        .await
        .expect("an answer in time");
    let (head, mut incoming) = answer.unwrap().into_parts();
    let mut whole = Vec::new();
    while let Some(frame) =
        tokio::time::timeout(Duration::from_secs(30), incoming.frame()).await.expect("a body in time")
    {
        whole.extend_from_slice(frame.unwrap().data_ref().unwrap_or(&Bytes::new()));
    }
    Reply { status: head.status, headers: head.headers, text: String::from_utf8(whole).unwrap() }
}
