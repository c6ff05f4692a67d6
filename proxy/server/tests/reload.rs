//! Changed policies, issuers and certificates are taken up while requests go on; what is not right is left, and said.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::*;
use drape_audit::{Class, Event};
use drape_demo::Persona;
use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Clinicians are shown everything.
const OPEN: &str = r#"
@id("all-requests")
permit (principal in Role::"clinician", action in [Action::"read", Action::"search"], resource);
@id("all-shown")
permit (principal in Role::"clinician", action in [Action::"receive", Action::"show"], resource);
@id("all-searched")
permit (principal in Role::"clinician", action == Action::"searchBy", resource);
"#;

/// All but dates of birth.
const NO_BIRTH_DATES: &str = r#"
@id("no-birth-dates")
forbid (principal, action in Action::"release", resource == Category::"birth-date");
"#;

/// A forbid that falls through: Cedar takes it, `drape check` does not.
const FAULTY: &str = r#"
@id("half-hidden")
forbid (principal, action == Action::"generalize", resource == Category::"birth-date");
"#;

async fn house(more: &str) -> House {
    House::with(Wishes { policy: Some(OPEN), more, ..Wishes::default() }).await
}

fn put(house: &House, text: &str) {
    std::fs::write(house.folder.path().join("policies/a.cedar"), text).unwrap();
}

fn digest(house: &House) -> String {
    house.running.parts.tenants()[0].policy_digest.clone()
}

/// Until it is so, or for ten seconds.
async fn eventually(what: &str, so: impl AsyncFn() -> bool) {
    for _ in 0..400 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("not within ten seconds: {what}");
}

/// The log from its beginning.
fn entries(house: &House) -> Vec<Event> {
    let parts = &house.running.parts;
    let reader = parts.log.reader();
    let mut found: Vec<Event> =
        reader.tail(10_000).unwrap().iter().filter_map(|opened| opened.event().cloned()).collect();
    found.reverse();
    found
}

fn config_entries(house: &House) -> Vec<String> {
    let of_config = |e: &Event| (e.class == Class::Config).then(|| e.reason.clone().unwrap_or_default());
    entries(house).iter().filter_map(of_config).collect()
}

async fn metrics(house: &House) -> String {
    ask(Method::GET, &format!("{}/metrics", house.admin), None, &[], "").await.text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_policy_is_taken_up_under_load_and_no_request_fails() {
    let house = house("reload: { interval_ms: 50 }").await;
    let before = digest(&house);
    let token = house.token(Persona::Doctor);
    let done = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicUsize::new(0));
    let mut askers = Vec::new();
    for _ in 0..4 {
        let (done, asked) = (Arc::clone(&done), Arc::clone(&asked));
        let (url, token) = (format!("{}/Patient/p1", house.base), token.clone());
        askers.push(tokio::spawn(async move {
            let client = client();
            let mut views = Vec::new();
            while !done.load(Ordering::SeqCst) {
                let reply = ask_with(&client, Method::GET, &url, Some(&token), &[], "").await;
                assert_eq!(reply.status, 200, "{}", reply.text);
                views.push(reply.json()["birthDate"] == "1980-02-03");
                asked.fetch_add(1, Ordering::SeqCst);
            }
            views
        }));
    }
    let more = |n: usize| {
        let asked = Arc::clone(&asked);
        async move {
            let from = asked.load(Ordering::SeqCst);
            eventually("requests are answered", async || asked.load(Ordering::SeqCst) >= from + n).await;
        }
    };
    more(20).await;
    put(&house, &format!("{OPEN}{NO_BIRTH_DATES}"));
    eventually("the switch", async || digest(&house) != before).await;
    more(20).await;
    done.store(true, Ordering::SeqCst);
    for asker in askers {
        let views = asker.await.unwrap();
        let shown = views.iter().take_while(|shown| **shown).count();
        assert!(shown > 0 && views[shown..].iter().all(|shown| !shown), "shown, and from one moment on not");
        assert!(shown < views.len(), "the change took effect");
    }
    // The set stands in the log before anything is judged by it.
    let after = digest(&house);
    let all = entries(&house);
    let first = all.iter().position(|e| e.policy_digest.as_deref() == Some(&after)).unwrap();
    assert_eq!(all[first].class, Class::Config);
    let reason = all[first].reason.clone().unwrap();
    assert!(reason.contains("policies: 4 in force now") && reason.contains(&before), "{reason}");
    let text = metrics(&house).await;
    assert!(text.contains(r#"drape_policy_reload_total{result="switched",tenant="main"} 1"#), "{text}");
    assert!(text.contains(&format!(r#"drape_policy_info{{digest="{after}",tenant="main"}} 1"#)), "{text}");
    assert!(!text.contains(&before), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_candidate_leaves_the_former_set_in_force_and_says_why() {
    let house = house("reload: { interval_ms: 50 }").await;
    let before = digest(&house);
    put(&house, &format!("{OPEN}{FAULTY}"));
    let candidate = async || house.running.parts.reloads.candidate("main");
    eventually("the candidate is found", async || candidate().await.is_some()).await;
    assert!(candidate().await.unwrap().faults[0].contains("a.cedar:"), "{:?}", candidate().await);
    assert_eq!(digest(&house), before);
    let reply = house.get(Persona::Doctor, "Patient/p1").await;
    assert_eq!((reply.status.as_u16(), &reply.json()["birthDate"]), (200, &"1980-02-03".into()));
    let ready = ask(Method::GET, &format!("{}/readyz", house.admin), None, &[], "").await;
    assert_eq!(ready.status, 200);
    let text = metrics(&house).await;
    assert!(text.contains(r#"drape_policy_candidate{tenant="main"} 1"#), "{text}");
    assert!(text.contains(r#"drape_policy_reload_total{result="refused",tenant="main"} 1"#), "{text}");
    let told = config_entries(&house);
    let refused: Vec<&String> = told.iter().filter(|t| t.starts_with("candidate refused: ")).collect();
    assert_eq!(refused.len(), 1, "{told:?}");
    assert!(refused[0].contains("`half-hidden` forbids to generalize `birth-date`"), "{refused:?}");
    let officer = house.token(Persona::Officer);
    let page = ask(Method::GET, &format!("{}/officer", house.admin), Some(&officer), &[], "").await.text;
    assert!(page.contains("half-hidden") && page.contains(&before), "{page}");
    // The fault is mended: nobody has to say so.
    put(&house, &format!("{OPEN}{NO_BIRTH_DATES}"));
    eventually("the mended set", async || digest(&house) != before).await;
    assert!(candidate().await.is_none());
    assert!(metrics(&house).await.contains(r#"drape_policy_candidate{tenant="main"} 0"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_back_is_no_candidate_any_more() {
    let house = house("reload: { interval_ms: 0 }").await;
    put(&house, FAULTY);
    house.running.reload().await;
    assert!(house.running.parts.reloads.candidate("main").is_some());
    put(&house, OPEN);
    house.running.reload().await;
    assert!(house.running.parts.reloads.candidate("main").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_cannot_be_entered_in_the_log_is_not_switched_to() {
    let house = house("reload: { interval_ms: 0 }").await;
    let before = digest(&house);
    let log = Arc::clone(&house.running.parts.log);
    tokio::task::spawn_blocking(move || log.close()).await.unwrap();
    put(&house, &format!("{OPEN}{NO_BIRTH_DATES}"));
    house.running.reload().await;
    assert_eq!(digest(&house), before);
    let candidate = house.running.parts.reloads.candidate("main").unwrap();
    assert!(candidate.faults[0].contains("cannot be entered in the audit log"), "{candidate:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_whose_own_tests_fail_is_not_switched_to() {
    let house = house("reload: { interval_ms: 0 }").await;
    let before = digest(&house);
    let folder = house.folder.path().join("policies");
    std::fs::create_dir_all(folder.join("tests")).unwrap();
    std::fs::write(folder.join("personas.yaml"), PERSONAS).unwrap();
    let put_test = |expected: &str| {
        let text = TESTS.replace("EXPECTED", expected);
        std::fs::write(folder.join("tests/one.yaml"), text).unwrap();
    };
    put_test("show");
    put(&house, &format!("{OPEN}{NO_BIRTH_DATES}"));
    house.running.reload().await;
    assert_eq!(digest(&house), before);
    let candidate = house.running.parts.reloads.candidate("main").unwrap();
    assert!(candidate.faults[0].contains("one.yaml: `the birth date` fails: "), "{candidate:?}");
    put_test("redact");
    house.running.reload().await;
    let left = house.running.parts.reloads.candidate("main");
    assert!(left.is_none(), "{left:?}");
    assert_ne!(digest(&house), before);
}

const PERSONAS: &str = r#"
version: 1
purposes: { TREAT: [clinician] }
personas: { doctor: { says: treats, claims: { roles: [clinician], purpose_of_use: TREAT } } }
"#;

const TESTS: &str = r#"
version: 1
records: [{ resourceType: Patient, id: p1, birthDate: "1980-02-03" }]
cases:
  - name: the birth date
    as: doctor
    request: GET Patient/p1
    expect: { status: 200, records: { Patient/p1: { Patient.birthDate: EXPECTED } } }
"#;

/// A FHIR server that sends a search's answer in two halves: the second when it is told to.
async fn halting(go: Arc<tokio::sync::Notify>, sent: Arc<tokio::sync::Notify>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/fhir", listener.local_addr().unwrap());
    let of = base.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (go, sent, base) = (Arc::clone(&go), Arc::clone(&sent), of.clone());
            tokio::spawn(async move {
                let mut request = vec![0; 16 << 10];
                let read = stream.read(&mut request).await.unwrap_or(0);
                if !String::from_utf8_lossy(&request[..read]).contains("/Patient?") {
                    let _ = stream
                        .write_all(
                            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                        )
                        .await;
                    return;
                }
                let entry = |i: usize| {
                    format!(
                        r#"{{"fullUrl":"{base}/Patient/p{i}","search":{{"mode":"match"}},"resource":{{"resourceType":"Patient","id":"p{i}","birthDate":"1980-02-03","name":[{{"family":"{}"}}]}}}}"#,
                        "N".repeat(4_000)
                    )
                };
                let half = |from: usize| (from..from + 60).map(entry).collect::<Vec<_>>().join(",");
                let first = format!(r#"{{"resourceType":"Bundle","type":"searchset","entry":[{}"#, half(0));
                let second = format!(",{}]}}", half(60));
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/fhir+json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    first.len() + second.len()
                );
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.write_all(first.as_bytes()).await;
                sent.notify_one();
                go.notified().await;
                let _ = stream.write_all(second.as_bytes()).await;
            });
        }
    });
    base
}

/// Asks for everybody and reads until the body ends: whole, or broken off.
async fn stream(url: String, token: String) -> (String, bool) {
    use http_body_util::BodyExt as _;
    let request = http::Request::get(url).header("authorization", format!("Bearer {token}"));
    let request = request.body(http_body_util::Full::default()).unwrap();
    let answer = client().request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => text.extend_from_slice(frame.data_ref().unwrap()),
            Err(_) => return (String::from_utf8(text).unwrap(), false),
        }
    }
    (String::from_utf8(text).unwrap(), true)
}

async fn straddling(streams_timeout_ms: u64) -> (String, bool, House) {
    let (go, sent) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let upstream = halting(Arc::clone(&go), Arc::clone(&sent)).await;
    let more = format!("reload: {{ interval_ms: 0, streams_timeout_ms: {streams_timeout_ms} }}");
    let house = House::with(Wishes {
        upstream: Some(upstream),
        policy: Some(OPEN),
        more: &more,
        ..Wishes::default()
    })
    .await;
    let (url, token) = (format!("{}/Patient?gender=female", house.base), house.token(Persona::Doctor));
    let asking = tokio::spawn(stream(url, token));
    sent.notified().await;
    put(&house, &format!("{OPEN}{NO_BIRTH_DATES}"));
    house.running.reload().await;
    assert!(house.running.parts.reloads.candidate("main").is_none());
    go.notify_one();
    let (text, whole) = asking.await.unwrap();
    (text, whole, house)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_straddles_the_switch_is_judged_by_one_set_from_beginning_to_end() {
    let (text, whole, house) = straddling(60_000).await;
    assert!(whole);
    let bundle: serde_json::Value = serde_json::from_str(&text).unwrap();
    let entries = bundle["entry"].as_array().unwrap();
    assert_eq!(entries.len(), 120);
    assert!(entries.iter().all(|e| e["resource"]["birthDate"] == "1980-02-03"));
    House::log_is_sound(house.folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_under_a_replaced_set_is_cut_off_when_its_time_has_come() {
    let (text, whole, house) = straddling(0).await;
    assert!(!whole, "{} bytes", text.len());
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_err(), "it must not look complete");
    eventually("the outcome is entered", async || {
        entries(&house).iter().any(|e| {
            e.class == Class::Outcome
                && e.reason.as_deref().is_some_and(|r| r.contains("the policies were replaced"))
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_judged_by_the_set_in_force_when_it_is_asked_for() {
    let house = house("reload: { interval_ms: 0 }").await;
    let first = house.get(Persona::Doctor, "Observation?patient=p1&_count=10").await.json();
    assert!(first.to_string().contains("Canary-Note"));
    let next = first["link"].as_array().unwrap().iter().find(|l| l["relation"] == "next").unwrap();
    let next = next["url"].as_str().unwrap().to_owned();
    let no_notes = r#"
@id("no-notes")
forbid (principal, action in Action::"release", resource in Category::"text");
"#;
    put(&house, &format!("{OPEN}{no_notes}"));
    house.running.reload().await;
    let token = house.token(Persona::Doctor);
    let page = ask(Method::GET, &next, Some(&token), &[], "").await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert!(page.text.contains("\"Observation\"") && !page.text.contains("Canary-Note"), "{}", page.text);
}

fn change_config(house: &House, from: &str, to: &str) {
    let file = house.folder.path().join("drape.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from} not in {text}");
    std::fs::write(&file, text.replace(from, to)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_proved_a_moment_ago_is_judged_by_the_issuers_new_rules() {
    let house = house("reload: { interval_ms: 50 }").await;
    let token = house.token(Persona::Doctor);
    let get = async || {
        ask(Method::GET, &format!("{}/Patient/p1", house.base), Some(&token), &[], "").await.status.as_u16()
    };
    assert_eq!(get().await, 200);
    change_config(&house, "TREAT: [clinician, nurse]", "TREAT: [nurse]");
    eventually("the purpose activates the role no longer", async || get().await == 403).await;
    change_config(&house, r#"audiences: ["urn:test"]"#, r#"audiences: ["urn:other"]"#);
    eventually("tokens for the former audience are refused", async || get().await == 401).await;
    assert!(config_entries(&house).iter().any(|t| t == "taken up: issuers"), "{:?}", config_entries(&house));
    change_config(&house, r#"audiences: ["urn:other"]"#, r#"audiences: ["urn:test"]"#);
    change_config(&house, "TREAT: [nurse]", "TREAT: [clinician]");
    eventually("it is as before", async || get().await == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_policy_does_not_keep_a_changed_issuer_out() {
    let house = house("reload: { interval_ms: 0 }").await;
    let before = digest(&house);
    put(&house, FAULTY);
    change_config(&house, r#"audiences: ["urn:test"]"#, r#"audiences: ["urn:other"]"#);
    house.running.reload().await;
    assert_eq!(house.get(Persona::Doctor, "Patient/p1").await.status, 401);
    assert_eq!(digest(&house), before);
    // And it is still found bad when nothing changed since.
    house.running.reload().await;
    assert!(house.running.parts.reloads.candidate("main").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_read_changes_nothing_and_one_that_needs_a_restart_is_told() {
    let house = house("reload: { interval_ms: 0 }\nlimits: { page_lifetime_ms: 60000 }").await;
    change_config(&house, "page_lifetime_ms: 60000", "page_lifetime_ms: 50000");
    change_config(&house, "TREAT: [clinician, nurse]", "TREAT: [nurse]");
    house.running.reload().await;
    assert_eq!(house.running.parts.reloads.restart_needed(), ["limits.page_lifetime_ms"]);
    assert!(metrics(&house).await.contains("drape_restart_needed 1"));
    assert_eq!(house.get(Persona::Doctor, "Patient/p1").await.status, 403, "the rest is taken up");
    change_config(&house, "time_zone:", "time_zon:");
    house.running.reload().await;
    let candidate = house.running.parts.reloads.candidate("main").unwrap();
    assert!(candidate.faults[0].contains("time_zon"), "{candidate:?}");
    assert_eq!(house.get(Persona::Doctor, "Patient/p1").await.status, 403, "and goes on as it was");
}

/// A certificate for `localhost` that is its own authority, and its key.
fn pair(until: i32) -> (String, String) {
    let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(until, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// Connects, trusting that certificate alone.
async fn connect(
    house: &House,
    trusted: &str,
) -> std::io::Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
    use rustls_pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls_pki_types::CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(house.running.address).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_to_new_connections_and_a_wrong_one_is_not() {
    let (first, second, expired) = (pair(2060), pair(2061), pair(2021));
    let house = House::with(Wishes {
        listen: Some("tls: { certificate_file: leaf.pem, key_file: leaf.key }"),
        scheme: Some("https"),
        files: vec![("leaf.pem", first.0.clone()), ("leaf.key", first.1.clone())],
        policy: Some(OPEN),
        more: "reload: { interval_ms: 50 }",
        ..Wishes::default()
    })
    .await;
    let put = |certificate: &str, key: &str| {
        std::fs::write(house.folder.path().join("leaf.pem"), certificate).unwrap();
        std::fs::write(house.folder.path().join("leaf.key"), key).unwrap();
    };
    let refused = async || {
        let text = metrics(&house).await;
        let line = r#"drape_certificate_reload_total{listener="listen",result="refused"} "#;
        text.split(line).nth(1).and_then(|rest| rest.lines().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let mut open = connect(&house, &first.0).await.unwrap();
    // Half of a pair, and a pair whose time is over.
    put(&second.0, &first.1);
    eventually("the half is refused", async || refused().await == 1).await;
    connect(&house, &first.0).await.unwrap();
    put(&expired.0, &expired.1);
    eventually("the expired one is refused", async || refused().await == 2).await;
    connect(&house, &first.0).await.unwrap();
    put(&second.0, &second.1);
    eventually("the renewed one is shown", async || connect(&house, &second.0).await.is_ok()).await;
    assert!(connect(&house, &first.0).await.is_err(), "the former is shown no longer");
    assert!(
        config_entries(&house)
            .iter()
            .any(|t| t.starts_with("taken up: the certificate of `listen`, SHA-256 "))
    );
    // Who was connected goes on.
    open.write_all(b"GET /fhir/metadata HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = open.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 "), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_was_exchanged_is_shown_to_the_server_behind() {
    let script = script::Script::start(|_| {
        script::Said::json(
            serde_json::json!({"resourceType": "Patient", "id": "p1", "birthDate": "1980-02-03"}),
        )
    })
    .await;
    let house = House::with(Wishes {
        upstream: Some(script.base.clone()),
        upstream_more: "auth: { kind: header, value_file: credential }",
        files: vec![("credential", "Bearer first".to_owned())],
        policy: Some(OPEN),
        more: "reload: { interval_ms: 50 }",
        ..Wishes::default()
    })
    .await;
    let shown = async || {
        assert_eq!(house.get(Persona::Doctor, "Patient/p1").await.status, 200);
        script.asked().last().unwrap().headers["authorization"].to_str().unwrap().to_owned()
    };
    assert_eq!(shown().await, "Bearer first");
    std::fs::write(house.folder.path().join("credential"), "Bearer second").unwrap();
    eventually("the new credential", async || shown().await == "Bearer second").await;
}
