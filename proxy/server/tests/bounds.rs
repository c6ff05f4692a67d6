//! What a token's scopes leave out stays out, and no answer tells of a record that is withheld, on whatever way one asks.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use drape_demo::{Persona, Resource, Store};
use http::Method;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/fhir+json");

/// A token of that part with other scopes and, where one is named, a patient in context.
fn token(house: &House, persona: Persona, scope: &str, patient: Option<&str>) -> String {
    let mut claims =
        house.issuer.claims_at(persona, jiff::Timestamp::now(), Duration::from_secs(600)).unwrap();
    claims.insert("scope".into(), json!(scope));
    if let Some(patient) = patient {
        claims.insert("patient".into(), json!(patient));
    }
    house.issuer.sign(&claims).unwrap()
}

async fn get(house: &House, token: &str, path: &str) -> Reply {
    ask(Method::GET, &format!("{}/{path}", house.base), Some(token), &[], "").await
}

fn observation(patient: &str) -> String {
    json!({
        "resourceType": "Observation", "status": "final", "subject": {"reference": format!("Patient/{patient}")},
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_a_withheld_record_answers_like_that_of_an_unknown_one() {
    let house = House::plain().await;
    assert_eq!(house.get(Persona::Doctor, "Patient/p1/_history").await.status, 200);
    let body = |reply: &Reply| {
        let mut json = reply.json();
        json.pointer_mut("/issue/0").into_iter().for_each(nameless);
        (reply.status.as_u16(), json, reply.headers.keys().cloned().collect::<Vec<_>>())
    };
    for path in ["Patient/p2/_history", "Patient/p2/_history?_count=1", "Condition/c2/_history?_count=0"] {
        let withheld = house.get(Persona::Doctor, path).await;
        let nowhere = path.replace("/p2/", "/nobody/").replace("/c2/", "/nothing/");
        let unknown = house.get(Persona::Doctor, &nowhere).await;
        assert_eq!(body(&withheld), body(&unknown), "{path}");
    }
    let all = house.get(Persona::RecordsOfficer, "Condition/c2/_history").await;
    assert_eq!(all.status, 200, "{}", all.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_one_patient_writes_about_no_other() {
    let house = House::plain().await;
    let token = token(&house, Persona::RecordsOfficer, "patient/*.cruds", Some("p1"));
    let url = format!("{}/Observation", house.base);
    let other = ask(Method::POST, &url, Some(&token), &[JSON], &observation("p2")).await;
    assert_eq!(other.status, 403, "{}", other.text);
    let own = ask(Method::POST, &url, Some(&token), &[JSON], &observation("p1")).await;
    assert_eq!(own.status, 201, "{}", own.text);
    // Nor is a record moved from one to the other.
    let moved = own.text.replace("Patient/p1", "Patient/p2");
    let url = format!("{url}/{}", own.json()["id"].as_str().unwrap());
    let reply = ask(Method::PUT, &url, Some(&token), &[JSON], &moved).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    // Not even inside another.
    let mut inside: Value = own.json();
    inside["contained"] =
        json!([{"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p2"}}]);
    inside["focus"] = json!([{"reference": "#c"}]);
    let reply = ask(Method::PUT, &url, Some(&token), &[JSON], &inside.to_string()).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_for_one_patient_do_not_count_the_others() {
    let house = House::plain().await;
    let query = "Patient?birthdate=lt1985&_summary=count";
    let narrow = token(&house, Persona::Analyst, "patient/*.rs", Some("p1"));
    let reply = get(&house, &narrow, query).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    // A condition reads a type of its own.
    let narrow = token(&house, Persona::Analyst, "system/Patient.rs", None);
    let reply = get(&house, &narrow, "Patient?_has:Condition:patient:code=I10&_summary=count").await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    let wide = token(&house, Persona::Analyst, "system/Patient.rs system/Condition.rs", None);
    let reply = get(&house, &wide, "Patient?_has:Condition:patient:code=I10&_summary=count").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_included_needs_scopes_of_its_own() {
    let house = House::plain().await;
    let query = "Observation?_id=o1&_include=Observation:subject";
    let wide = token(&house, Persona::RecordsOfficer, "user/Observation.rs user/Patient.rs", None);
    let reply = get(&house, &wide, query).await;
    assert!(reply.text.contains("Canary-One"), "{}", reply.text);
    // One of the types to which the reference may lead is covered, and it is not the one to which it leads.
    let narrow = token(&house, Persona::RecordsOfficer, "user/Observation.rs user/Device.rs", None);
    let reply = get(&house, &narrow, query).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(reply.text.contains("Canary-Note-1") && !reply.text.contains("Canary-One"), "{}", reply.text);
    // Covered, but for another patient.
    let narrow = token(&house, Persona::RecordsOfficer, "user/Observation.rs patient/Patient.rs", Some("p2"));
    let reply = get(&house, &narrow, query).await;
    assert!(!reply.text.contains("Canary-One"), "{}", reply.text);
    let narrow = token(&house, Persona::RecordsOfficer, "user/Observation.rs patient/Patient.rs", Some("p1"));
    let reply = get(&house, &narrow, query).await;
    assert!(reply.text.contains("Canary-One"), "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_criterion_reads_no_type_that_the_scopes_leave_out() {
    let house = House::plain().await;
    let query = "Observation?subject:Patient.family=Canary-One&_count=1";
    let wide = token(&house, Persona::RecordsOfficer, "user/Observation.rs user/Patient.rs", None);
    assert_eq!(get(&house, &wide, query).await.status, 200);
    for scope in ["user/Observation.rs", "user/Observation.rs patient/Patient.rs"] {
        let narrow = token(&house, Persona::RecordsOfficer, scope, Some("p2"));
        let reply = get(&house, &narrow, query).await;
        assert_eq!(reply.status, 403, "{scope}: {}", reply.text);
    }
    let narrow = token(&house, Persona::RecordsOfficer, "user/Patient.rs", None);
    let reply = get(&house, &narrow, "Patient?_has:Condition:patient:code=F11.20").await;
    assert_eq!(reply.status, 403, "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_by_search_is_refused_however_it_is_written() {
    let house = House::plain().await;
    let token = house.token(Persona::Doctor);
    let url = format!("{}/Observation", house.base);
    // HAPI takes whatever stands before the type for a base and searches all the same.
    for reference in [
        "http://elsewhere.example/fhir/Patient?identifier=7",
        "Patient/?identifier=7",
        "/Patient?identifier=7",
    ] {
        let mut body: Value = serde_json::from_str(&observation("p1")).unwrap();
        body["focus"] = json!([{ "reference": reference }]);
        let reply = ask(Method::POST, &url, Some(&token), &[JSON], &body.to_string()).await;
        assert_eq!(reply.status, 400, "{reference}: {}", reply.text);
        assert!(reply.text.contains("references by search"), "{reference}: {}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_treated_record_has_an_etag_of_its_own_and_no_time_of_change() {
    let items: Vec<Value> = (1..3_000)
        .map(|n| json!({"sequence": n, "productOrService": {"coding": [{"system": "http://www.ama-assn.org/go/cpt", "code": "99213"}]}}))
        .collect();
    let claim = json!({
        "resourceType": "Claim", "id": "long", "status": "active", "use": "claim", "created": jiff::Zoned::now().date().to_string(),
        "text": {"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">Canary-Text</div>"},
        "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/claim-type", "code": "professional"}]},
        "patient": {"reference": "Patient/p1"}, "provider": {"reference": "Organization/o"},
        "priority": {"coding": [{"code": "normal"}]},
        "insurance": [{"sequence": 1, "focal": true, "coverage": {"reference": "Coverage/c"}}], "item": items,
    });
    let store = Store::new(vec![Resource {
        resource_type: "Claim".into(),
        id: "long".into(),
        json: claim.to_string().into_bytes(),
    }]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}/fhir", listener.local_addr().unwrap());
    tokio::spawn(drape_demo::serve::store(listener, Arc::new(store.unwrap()), std::future::pending()));
    let theirs = ask(Method::GET, &format!("{upstream}/Claim/long"), None, &[], "").await;
    let house = House::with(Wishes { upstream: Some(upstream), ..Wishes::default() }).await;
    let whole = house.get(Persona::RecordsOfficer, "Claim/long").await;
    assert_eq!(
        (whole.header("etag"), whole.header("last-modified")),
        (theirs.header("etag"), theirs.header("last-modified"))
    );
    let treated = house.get(Persona::Billing, "Claim/long").await;
    assert_eq!(treated.status, 200, "{}", treated.text);
    assert!(treated.text.len() > 128 << 10 && !treated.text.contains("Canary"), "{}", treated.text.len());
    assert_ne!(treated.header("etag"), theirs.header("etag"));
    assert!(!treated.headers.contains_key("last-modified"), "{:?}", treated.headers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_takes_no_answer_holds_no_place() {
    let more = "limits: { concurrent_requests_max: 2 }";
    let house = House::with(Wishes { more, ..Wishes::default() }).await;
    let stream = tokio::net::TcpStream::connect(house.running.address).await.unwrap();
    // HTTP/2 with a window of nothing: the heads come, the bodies cannot.
    let (mut sender, connection) =
        hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
            .initial_stream_window_size(0)
            .handshake::<_, Full<bytes::Bytes>>(hyper_util::rt::TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut untaken = Vec::new();
    for _ in 0..6 {
        let request = http::Request::get(format!("{}/Patient/p1", house.base)).body(Full::default()).unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(10), sender.send_request(request))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(answer.status(), 401);
        untaken.push(answer.into_body());
    }
    assert_eq!(house.get(Persona::Doctor, "Patient/p1").await.status, 200);
    let first = tokio::time::timeout(Duration::from_millis(50), untaken[0].frame()).await;
    assert!(first.is_err(), "the answers are still to be taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_form_is_no_longer_than_an_address_may_be() {
    let house = House::plain().await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let url = format!("{}/Condition/_search", house.base);
    let token = house.token(Persona::Doctor);
    let reply = ask(Method::POST, &url, Some(&token), &form, "patient=p1&code=I10").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let long = format!("patient=p1&code={}", "I10,".repeat(20_000));
    let reply = ask(Method::POST, &url, Some(&token), &form, &long).await;
    assert_eq!(reply.status, 413, "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_asks_for_no_answer_is_found_by_its_patient_in_the_log() {
    let house = House::plain().await;
    let token = house.token(Persona::Doctor);
    let headers = [JSON, ("prefer", "return=minimal")];
    let url = format!("{}/Observation", house.base);
    let made = ask(Method::POST, &url, Some(&token), &headers, &observation("p1")).await;
    assert_eq!((made.status.as_u16(), made.text.as_str()), (201, ""));
    let page = format!("{}/officer?patient=Patient%2Fp1", house.admin);
    let page = ask(Method::GET, &page, Some(&house.token(Persona::Officer)), &[], "").await;
    assert!(page.text.contains("create Observation"), "{}", page.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_officer_and_tries_the_page_stands_in_the_log() {
    let house = House::plain().await;
    let url = format!("{}/officer", house.admin);
    let reply = ask(Method::GET, &url, Some(&house.token(Persona::Billing)), &[], "").await;
    assert_eq!(reply.status, 401);
    let page = ask(Method::GET, &url, Some(&house.token(Persona::Officer)), &[], "").await;
    assert!(page.text.contains("not a privacy officer"), "{}", page.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_never_ends_is_ended() {
    let house = House::with(Wishes { more: "limits: { header_timeout_ms: 200 }", ..Wishes::default() }).await;
    let mut stream = tokio::net::TcpStream::connect(house.running.admin_address).await.unwrap();
    let head = b"POST /officer/session HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\ntoken=";
    tokio::io::AsyncWriteExt::write_all(&mut stream, head).await.unwrap();
    let mut answer = [0; 12];
    let read = tokio::io::AsyncReadExt::read_exact(&mut stream, &mut answer);
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("an answer in time").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_ends_is_refused_and_entered() {
    let house = House::with(Wishes { more: "limits: { header_timeout_ms: 200 }", ..Wishes::default() }).await;
    let mut stream = tokio::net::TcpStream::connect(house.running.address).await.unwrap();
    let head = format!(
        "POST /fhir/Observation HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/fhir+json\r\ncontent-length: 100\r\n\r\n{{",
        house.token(Persona::Doctor)
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let read = tokio::io::AsyncReadExt::read_exact(&mut stream, &mut answer);
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("an answer in time").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    let url = format!("{}/officer", house.admin);
    let page = ask(Method::GET, &url, Some(&house.token(Persona::Officer)), &[], "").await;
    assert!(page.text.contains("did not come in time"), "{}", page.text);
}

/// A FHIR server of one record that waits with its answer to a read until it is told to go on.
async fn slow_server(
    asked: Arc<tokio::sync::Notify>,
    go: Arc<tokio::sync::Notify>,
    written: Arc<tokio::sync::Notify>,
) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/fhir", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (asked, go, written) = (asked.clone(), go.clone(), written.clone());
            let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let (asked, go, written) = (asked.clone(), go.clone(), written.clone());
                async move {
                    if request.uri().path() != "/fhir/Observation/o" {
                        return http::Response::builder().status(404).body(Full::<bytes::Bytes>::default());
                    }
                    if request.method() == Method::GET {
                        asked.notify_one();
                        go.notified().await;
                    } else {
                        written.notify_one();
                    }
                    let mut body: Value = serde_json::from_str(&observation("p1")).unwrap();
                    body["id"] = json!("o");
                    http::Response::builder()
                        .header("content-type", "application/fhir+json")
                        .header("etag", "W/\"1\"")
                        .body(Full::from(body.to_string()))
                }
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    base
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_was_begun_is_ended_and_entered_though_its_client_goes_away() {
    let notify = || Arc::new(tokio::sync::Notify::new());
    let (asked, go, written) = (notify(), notify(), notify());
    let upstream = slow_server(asked.clone(), go.clone(), written.clone()).await;
    let house = House::with(Wishes { upstream: Some(upstream), ..Wishes::default() }).await;
    let mut body: Value = serde_json::from_str(&observation("p1")).unwrap();
    body["id"] = json!("o");
    let body = body.to_string();
    let mut stream = tokio::net::TcpStream::connect(house.running.address).await.unwrap();
    let request = format!(
        "PUT /fhir/Observation/o HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/fhir+json\r\ncontent-length: {}\r\n\r\n{body}",
        house.token(Persona::Doctor),
        body.len()
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    let wait = |what: Arc<tokio::sync::Notify>, name: &'static str| async move {
        tokio::time::timeout(Duration::from_secs(10), what.notified()).await.expect(name);
    };
    wait(asked, "the stored record is read").await;
    drop(stream);
    // The proxy has seen that the client is gone once its connection is no longer counted.
    let gone = async {
        while ask(Method::GET, &format!("{}/metrics", house.admin), None, &[], "")
            .await
            .text
            .contains("drape_requests_in_flight 1")
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the client's going is seen");
    go.notify_one();
    wait(written, "the write goes on").await;
    let url = format!("{}/officer?patient=Patient%2Fp1", house.admin);
    let found = async {
        loop {
            let page = ask(Method::GET, &url, Some(&house.token(Persona::Officer)), &[], "").await;
            if page.text.contains("update Observation") {
                return page.text;
            }
        }
    };
    let page = tokio::time::timeout(Duration::from_secs(10), found).await.expect("the outcome is entered");
    assert!(!page.contains("abandoned"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_caller_is_told_what_is_offered_to_her() {
    let house = House::plain().await;
    while ask(Method::GET, &format!("{}/metadata", house.base), None, &[], "").await.status != 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told = async |token: Option<&str>| {
        let reply = ask(Method::GET, &format!("{}/metadata", house.base), token, &[], "").await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(!reply.text.contains("null") && !reply.text.contains("[]"), "{}", reply.text);
        reply.json()["rest"][0].clone()
    };
    let codes = |rest: &Value, kind: &str| -> Vec<String> {
        let list = rest["resource"].as_array().into_iter().flatten();
        let one = list.into_iter().find(|r| r["type"] == kind);
        let one = one.and_then(|r| r["interaction"].as_array()).into_iter().flatten();
        one.map(|i| i["code"].as_str().unwrap().to_owned()).collect()
    };
    let parameters = |rest: &Value, kind: &str| -> Vec<String> {
        let list = rest["resource"].as_array().into_iter().flatten();
        let one = list.into_iter().find(|r| r["type"] == kind);
        let one = one.and_then(|r| r["searchParam"].as_array()).into_iter().flatten();
        one.map(|p| p["name"].as_str().unwrap().to_owned()).collect()
    };
    let anyone = told(None).await;
    assert!(codes(&anyone, "Observation").contains(&"create".to_owned()), "{anyone}");
    // A token that proves nobody is no reason to be told less than anyone.
    assert_eq!(told(Some("x.y.z")).await, anyone);
    let doctor = told(Some(&house.token(Persona::Doctor))).await;
    assert!(codes(&doctor, "Observation").contains(&"update".to_owned()), "{doctor}");
    assert!(!codes(&doctor, "Practitioner").contains(&"create".to_owned()), "{doctor}");
    let researcher = told(Some(&house.token(Persona::Researcher))).await;
    assert_eq!(codes(&researcher, "Condition"), ["read", "search-type"]);
    assert!(parameters(&researcher, "Condition").contains(&"code".to_owned()), "{researcher}");
    assert!(!parameters(&researcher, "Patient").contains(&"name".to_owned()));
    // What is offered is not refused, and what is not is.
    let token = house.token(Persona::Researcher);
    assert_eq!(get(&house, &token, "Condition?code=http://hl7.org/fhir/sid/icd-10-cm|I10").await.status, 200);
    assert_eq!(get(&house, &token, "Patient?name=One").await.status, 403);
    let narrow = self::token(&house, Persona::Doctor, "user/Patient.r", None);
    let narrow = told(Some(&narrow)).await;
    assert_eq!(narrow["resource"].as_array().unwrap().len(), 1);
    assert_eq!(codes(&narrow, "Patient"), ["read", "vread", "history-instance"]);
    assert!(parameters(&narrow, "Patient").is_empty());
    let analyst = told(Some(&house.token(Persona::Analyst))).await;
    assert!(analyst.get("resource").is_none(), "{analyst}");
}
