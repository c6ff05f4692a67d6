//! Facts that are looked up, and what references tell: over HTTP before a server of scripts.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use drape_demo::Persona;
use drape_server::clock::Clock;
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What a server of scripts says.
enum Says {
    Json(Value),
    Status(u16),
    /// Nothing at all.
    Silence,
}

type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// A server that answers as it is told, and remembers target and credential of every request.
async fn scripted(script: impl Fn(&str) -> Says + Send + Sync + 'static) -> (String, Asked) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/fhir", listener.local_addr().unwrap());
    let asked = Asked::default();
    let (script, heard) = (Arc::new(script), Arc::clone(&asked));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (script, heard) = (Arc::clone(&script), Arc::clone(&heard));
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                    let mut piece = [0; 4_096];
                    match stream.read(&mut piece).await {
                        Ok(read) if read > 0 => head.extend_from_slice(&piece[..read]),
                        _ => return,
                    }
                }
                let head = String::from_utf8(head).unwrap();
                let target = head.split(' ').nth(1).unwrap().strip_prefix("/fhir").unwrap().to_owned();
                let credential = head.lines().find_map(|l| l.strip_prefix("authorization: "));
                // The capability statement is asked for by the proxy itself when it starts.
                if target != "/metadata" {
                    heard.lock().unwrap().push((target.clone(), credential.unwrap_or_default().to_owned()));
                }
                let (status, body) = match script(&target) {
                    Says::Json(value) => (200, value.to_string()),
                    Says::Status(status) => (status, String::new()),
                    Says::Silence => return std::future::pending::<()>().await,
                };
                let answer = format!(
                    "HTTP/1.1 {status} Scripted\r\ncontent-type: application/fhir+json\r\netag: W/\"1\"\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
        }
    });
    (url, asked)
}

fn bundle(resources: impl IntoIterator<Item = Value>) -> Value {
    let entry: Vec<Value> = resources.into_iter().map(|r| json!({ "resource": r })).collect();
    let mut bundle = json!({"resourceType": "Bundle", "type": "searchset"});
    if !entry.is_empty() {
        bundle["entry"] = json!(entry);
    }
    bundle
}

fn team(patient: &str, member: &str) -> Value {
    json!({
        "resourceType": "CareTeam", "id": "t", "status": "active", "subject": {"reference": format!("Patient/{patient}")},
        "participant": [{"member": {"reference": member}}],
    })
}

const LOINC: &str = "http://loinc.org";

fn observation(id: &str, patient: &str) -> Value {
    json!({
        "resourceType": "Observation", "id": id, "status": "final", "subject": {"reference": format!("Patient/{patient}")},
        "code": {"coding": [{"system": LOINC, "code": "8867-4"}]}, "valueString": format!("Canary-{id}"),
    })
}

/// A server with an observation of each of two patients, and a care team as it is told.
fn ward(team: impl Fn() -> Says + Send + Sync + 'static) -> impl Fn(&str) -> Says + Send + Sync + 'static {
    move |target| match target {
        t if t.starts_with("/CareTeam?") => team(),
        "/Observation/o1" => Says::Json(observation("o1", "p1")),
        "/Observation/o2" => Says::Json(observation("o2", "p2")),
        t if t.starts_with("/Observation?") => {
            Says::Json(bundle([observation("o1", "p1"), observation("o2", "p2")]))
        }
        _ => Says::Json(bundle([])),
    }
}

/// Facts by care team alone.
fn by_care_team(more: &str) -> Vec<(&'static str, String)> {
    let facts = format!(
        "version: 1\nrelations:\n  claim: true\n  care_team: {{ is: careTeam, identity: facts, max_age_s: 300{more} }}\nages: {{ claim: true }}\nreferences: {{ mode: keep }}\n"
    );
    vec![("facts.yaml", facts), ("own", "Bearer own".into()), ("facts", "Bearer facts".into())]
}

const IDENTITIES: &str =
    "auth: { kind: header, value_file: own }, identities: { facts: { kind: header, value_file: facts } }";

/// A token of a clinician who is a practitioner on the server and to whom no claim relates anybody.
fn token(house: &House, user: &str, now: jiff::Timestamp, change: &[(&str, Value)]) -> String {
    let mut claims = house.issuer.claims_at(Persona::Doctor, now, Duration::from_secs(3_600)).unwrap();
    claims.insert("relations".into(), json!([]));
    claims.insert("sub".into(), json!(user));
    claims.insert("fhirUser".into(), json!(format!("Practitioner/{user}")));
    for (name, value) in change {
        claims.insert((*name).into(), value.clone());
    }
    house.issuer.sign(&claims).unwrap()
}

async fn get(house: &House, token: &str, path: &str) -> Reply {
    ask(Method::GET, &format!("{}/{path}", house.base), Some(token), &[], "").await
}

fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_care_team_on_the_server_opens_a_record_and_narrows_searches_to_its_patient() {
    let script = ward(|| Says::Json(bundle([team("p1", "Practitioner/d1"), team("p2", "Practitioner/d9")])));
    let (upstream, asked) = scripted(script).await;
    let house = House::with(Wishes {
        upstream: Some(upstream),
        upstream_more: IDENTITIES,
        files: by_care_team(""),
        ..Wishes::default()
    })
    .await;
    let doctor = token(&house, "d1", now(), &[]);
    // The first request waits for the look-up: it is narrowed by what was found, and sent once.
    let found = get(&house, &doctor, "Observation?code=8867-4").await;
    assert_eq!(found.status, 200, "{}", found.text);
    assert!(found.text.contains("Canary-o1") && !found.text.contains("Canary-o2"), "{}", found.text);
    assert_eq!(get(&house, &doctor, "Observation/o1").await.status, 200);
    assert_eq!(get(&house, &doctor, "Observation/o2").await.status, 404);
    // Somebody else, who is in no care team: a cache that did not know whose it is would open the record to her.
    let other = token(&house, "d2", now(), &[]);
    assert_eq!(get(&house, &other, "Observation/o1").await.status, 404);
    assert_eq!(get(&house, &other, "Observation?code=8867-4").await.status, 403);
    // A caller of the same name at the same server, but not one of its staff, is asked about nothing.
    let patient = token(&house, "d1", now(), &[("fhirUser", json!("Patient/d1"))]);
    assert_eq!(get(&house, &patient, "Observation/o1").await.status, 404);
    let asked = asked.lock().unwrap().clone();
    let (team, rest): (Vec<_>, Vec<_>) = asked.into_iter().partition(|(t, _)| t.starts_with("/CareTeam"));
    let teams: Vec<&str> = team.iter().map(|(t, _)| t.as_str()).collect();
    assert_eq!(
        teams,
        ["d1", "d2"].map(|d| format!("/CareTeam?participant=Practitioner/{d}&status=active&_count=200")),
        "once for each caller"
    );
    assert!(team.iter().all(|(_, c)| c == "Bearer facts"), "{team:?}");
    assert!(rest.iter().all(|(_, c)| c == "Bearer own"), "{rest:?}");
    assert_eq!(rest[0].0, "/Observation?code=8867-4&patient=Patient/p1");
    let metrics = ask(Method::GET, &format!("{}/metrics", house.admin), None, &[], "").await.text;
    assert!(
        metrics.contains("drape_fact_lookups_total{fact=\"care-team\",outcome=\"answered\"} 2"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_looked_up_is_asked_anew_when_it_is_too_old() {
    let on = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let still = Arc::clone(&on);
    let teams = move || match still.load(std::sync::atomic::Ordering::SeqCst) {
        true => Says::Json(bundle([team("p1", "Practitioner/d1")])),
        false => Says::Json(bundle([])),
    };
    let (upstream, asked) = scripted(ward(teams)).await;
    let start = now();
    let (clock, hand) = Clock::fixed(u64::try_from(start.as_millisecond()).unwrap());
    let house = House::with(Wishes {
        upstream: Some(upstream),
        upstream_more: IDENTITIES,
        files: by_care_team(""),
        clock: Some(clock),
        ..Wishes::default()
    })
    .await;
    let doctor = token(&house, "d1", start, &[]);
    assert_eq!(get(&house, &doctor, "Observation/o1").await.status, 200);
    on.store(false, std::sync::atomic::Ordering::SeqCst);
    hand.fetch_add(299_000, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(get(&house, &doctor, "Observation/o1").await.status, 200, "not yet too old");
    hand.fetch_add(1_000, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(get(&house, &doctor, "Observation/o1").await.status, 404, "she has left the care team");
    let teams = asked.lock().unwrap().iter().filter(|(t, _)| t.starts_with("/CareTeam")).count();
    assert_eq!(teams, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_that_fails_gives_no_relation_or_refuses_as_it_is_told() {
    type Fails = fn() -> Says;
    let cases: [(&str, Fails, &str); 5] = [
        ("status", || Says::Status(500), ""),
        ("timeout", || Says::Silence, ", deadline_ms: 50"),
        ("body", || Says::Json(json!({"resourceType": "OperationOutcome"})), ""),
        ("limit", || Says::Json(bundle([team("p1", "Practitioner/d1")])), ", response_bytes_max: 100"),
        // More pages than are read: what the first ones say is not all there is.
        (
            "limit",
            || {
                let mut page = bundle([team("p1", "Practitioner/d1")]);
                page["link"] = json!([{"relation": "next", "url": "?page=2"}]);
                Says::Json(page)
            },
            ", pages_max: 1",
        ),
    ];
    for (name, fails, more) in cases {
        for refuse in [false, true] {
            let (upstream, asked) = scripted(ward(fails)).await;
            let more = format!("{more}{}", if refuse { ", on_failure: refuse" } else { "" });
            let house = House::with(Wishes {
                upstream: Some(upstream),
                upstream_more: IDENTITIES,
                files: by_care_team(&more),
                ..Wishes::default()
            })
            .await;
            let reply = get(&house, &token(&house, "d1", now(), &[]), "Observation/o1").await;
            assert_eq!(reply.status, if refuse { 503 } else { 404 }, "{name}: {}", reply.text);
            let sent = asked.lock().unwrap().iter().any(|(t, _)| t.starts_with("/Observation"));
            assert_eq!(sent, !refuse, "{name}");
            let metrics = ask(Method::GET, &format!("{}/metrics", house.admin), None, &[], "").await.text;
            let counted = format!("drape_fact_lookups_total{{fact=\"care-team\",outcome=\"{name}\"}} 1");
            assert!(metrics.contains(&counted), "{name}: {metrics}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_looked_up_for_a_request_that_cannot_be_written_down_or_is_refused_anyway() {
    let (upstream, asked) = scripted(ward(|| Says::Json(bundle([team("p1", "Practitioner/d1")])))).await;
    let house = House::with(Wishes {
        upstream: Some(upstream),
        upstream_more: IDENTITIES,
        files: by_care_team(""),
        ..Wishes::default()
    })
    .await;
    let doctor = token(&house, "d1", now(), &[]);
    // No role that this purpose activates, so no relation would help.
    let idle = token(&house, "d1", now(), &[("purpose_of_use", json!("HPAYMT"))]);
    assert_eq!(get(&house, &idle, "Observation/o1").await.status, 403);
    house.running.parts.log.close();
    assert_eq!(get(&house, &doctor, "Observation/o1").await.status, 503);
    assert!(asked.lock().unwrap().is_empty(), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_old_a_child_is_stands_in_the_record_on_the_server() {
    let child = |id: &str, born: &str| json!({"resourceType": "Patient", "id": id, "birthDate": born});
    let condition = |id: &str, patient: &str| {
        json!({
            "resourceType": "Condition", "id": id, "subject": {"reference": format!("Patient/{patient}")},
            "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "F32.9"}]},
        })
    };
    let script = move |target: &str| match target {
        t if t.starts_with("/Patient?_id=") => Says::Json(bundle([
            child("p1", "2021-03-01"),
            child("p2", "2009-03-01"),
            child("p9", "2021-01-01"),
        ])),
        t if t.starts_with("/Condition?") => {
            Says::Json(bundle([condition("c1", "p1"), condition("c2", "p2"), condition("c3", "p3")]))
        }
        "/Condition/c1" => Says::Json(condition("c1", "p1")),
        _ => Says::Status(404),
    };
    let facts = |ages: &str| {
        let facts = format!(
            "version: 1\nrelations: {{ claim: true }}\nages: {{ {ages} }}\nreferences: {{ mode: keep }}\n"
        );
        vec![("facts.yaml", facts), ("own", "Bearer own".into()), ("facts", "Bearer facts".into())]
    };
    for (ages, young) in [("patient: { identity: facts }", true), ("claim: true", false)] {
        let (upstream, asked) = scripted(script).await;
        let house = House::with(Wishes {
            upstream: Some(upstream),
            upstream_more: IDENTITIES,
            files: facts(ages),
            ..Wishes::default()
        })
        .await;
        let relation = |patient: &str| json!({"patient": format!("Patient/{patient}"), "is": ["guardian"]});
        let guardian = token(
            &house,
            "g1",
            now(),
            &[
                ("roles", json!(["guardian"])),
                ("purpose_of_use", json!("FAMRQT")),
                ("relations", json!([relation("p1"), relation("p2"), relation("p3")])),
            ],
        );
        let reply = get(&house, &guardian, "Condition?code=F32.9").await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let ids: Vec<Value> = reply.json()["entry"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|e| e["resource"]["id"].clone())
            .collect();
        // The five-year-old's; not the adolescent's, nor that of a child of whom no age is known.
        assert_eq!(ids, if young { vec![json!("c1")] } else { vec![] });
        assert_eq!(get(&house, &guardian, "Condition/c1").await.status, if young { 200 } else { 404 });
        let asked = asked.lock().unwrap().clone();
        let patients: Vec<_> = asked.iter().filter(|(t, _)| t.starts_with("/Patient")).collect();
        if young {
            // All patients of the page by one search, and kept for the read.
            assert_eq!(patients, [&("/Patient?_id=p1,p2,p3&_count=3".to_owned(), "Bearer facts".to_owned())]);
        } else {
            assert!(patients.is_empty(), "{patients:?}");
        }
    }
}

/// A visit for a cold and for a dependence that no doctor is shown; `hidden` is how it names the latter.
fn visit(hidden: Option<Value>) -> Value {
    let mut visit = json!({
        "resourceType": "Encounter", "id": "e1", "status": "finished", "subject": {"reference": "Patient/p1"},
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "participant": [{"individual": {"reference": "Practitioner/d1", "display": "Dr. Shown"}}],
        "diagnosis": [{"condition": {"reference": "Condition/cold"}, "rank": 1}],
    });
    if let Some(hidden) = hidden {
        let mut diagnosis = visit["diagnosis"].clone();
        let use_ = json!({"coding": [{"system": "http://terminology.hl7.org/CodeSystem/diagnosis-role", "code": "AD"}]});
        diagnosis.as_array_mut().unwrap().push(json!({"condition": hidden, "use": use_, "rank": 2}));
        visit["diagnosis"] = diagnosis;
        visit["reasonReference"] = json!([{"reference": "Condition/opioids", "display": "Canary-Opioids"}]);
    }
    visit
}

fn diagnosis(id: &str, code: &str) -> Value {
    json!({
        "resourceType": "Condition", "id": id, "subject": {"reference": "Patient/p1"},
        "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": code}]},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_56_a_reference_does_not_tell_of_a_record_that_is_withheld() {
    let hidden = Arc::new(Mutex::new(None));
    let (base, stored) = (Arc::new(Mutex::new(String::new())), Arc::clone(&hidden));
    let at = Arc::clone(&base);
    let script = move |target: &str| {
        let named = stored.lock().unwrap().clone().map(|text: String| {
            let reference = text.replace("BASE", &at.lock().unwrap());
            json!({"reference": reference, "display": "Canary-Opioids"})
        });
        match target {
            "/Encounter/e1" => Says::Json(visit(named)),
            t if t.starts_with("/Encounter?") => {
                Says::Json(bundle([visit(named), diagnosis("cold", "J00"), diagnosis("opioids", "F11.20")]))
            }
            t if t.starts_with("/Condition?_id=") => {
                Says::Json(bundle([diagnosis("cold", "J00"), diagnosis("opioids", "F11.20")]))
            }
            "/Condition/opioids" => Says::Json(diagnosis("opioids", "F11.20")),
            _ => Says::Status(404),
        }
    };
    let (upstream, asked) = scripted(script).await;
    *base.lock().unwrap() = upstream.clone();
    let house = House::with(Wishes { upstream: Some(upstream.clone()), ..Wishes::default() }).await;
    let doctor = house.token(Persona::Doctor);
    assert_eq!(get(&house, &doctor, "Condition/opioids").await.status, 404);
    let read = async || get(&house, &doctor, "Encounter/e1").await;
    let search = async || get(&house, &doctor, "Encounter?patient=p1&_include=Encounter:diagnosis").await;
    let (bare, bare_page) = (read().await, search().await);
    assert_eq!(bare.json()["diagnosis"][0]["condition"]["reference"], "Condition/cold", "{}", bare.text);
    // That something is hidden is said openly, as of everything that is hidden.
    let strip = |mut record: Value| {
        record.as_object_mut().unwrap().remove("meta");
        record
    };
    for form in [
        "Condition/opioids",
        "BASE/Condition/opioids",
        "Condition/opioids/_history/2",
        "BASE/Condition/opioids/_history/2",
        "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0",
        "Condition/nowhere",
        "http://elsewhere.example.org/fhir/Condition/opioids",
    ] {
        *hidden.lock().unwrap() = Some(form.to_owned());
        let (one, page) = (read().await, search().await);
        assert_eq!((one.status.as_u16(), page.status.as_u16()), (200, 200), "{form}: {}", one.text);
        for text in [&one.text, &page.text] {
            assert!(
                !text.contains("opioids") && !text.contains("Opioids") && !text.contains("nowhere"),
                "{form}: {text}"
            );
            assert!(!text.contains("urn:uuid:0c3151bd") && !text.contains("\"AD\""), "{form}: {text}");
            assert!(text.contains("Condition/cold") && text.contains("Dr. Shown"), "{form}: {text}");
        }
        assert_eq!(one.json()["meta"]["security"][0]["code"], "REDACTED", "{form}");
        assert_eq!(strip(one.json()), bare.json(), "{form}");
        let (page, bare) = (page.json(), bare_page.json());
        assert_eq!(strip(page["entry"][0]["resource"].clone()), bare["entry"][0]["resource"], "{form}");
        assert_eq!(page["entry"].as_array().unwrap().len(), 2, "the dependence itself is withheld: {page}");
    }
    // Whoever is shown everything is shown this too, and nothing is looked up for her.
    asked.lock().unwrap().clear();
    *hidden.lock().unwrap() = Some("Condition/opioids".to_owned());
    let all = house.get(Persona::RecordsOfficer, "Encounter/e1").await;
    assert_eq!(all.text.matches("Condition/opioids").count(), 2, "{}", all.text);
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_56_what_contained_records_name_and_what_cannot_be_found_out_is_left_out() {
    let plan = |target: &str| {
        json!({
            "resourceType": "CarePlan", "id": "cp", "status": "active", "intent": "plan",
            "subject": {"reference": "Patient/p1"}, "addresses": [{"reference": target, "display": "Canary"}],
            "contained": [{
                "resourceType": "Goal", "id": "g", "lifecycleStatus": "active", "subject": {"reference": "Patient/p1"},
                "description": {"coding": [{"system": LOINC, "code": "8867-4"}]}, "addresses": [{"reference": target}],
            }],
            "goal": [{"reference": "#g"}],
        })
    };
    let fails = Arc::new(Mutex::new(Says::Status(500)));
    let how = Arc::clone(&fails);
    let script = move |target: &str| match target {
        "/CarePlan/cp" => Says::Json(plan("Condition/cold")),
        t if t.starts_with("/Condition?_id=cold&") => match &*how.lock().unwrap() {
            Says::Json(value) => Says::Json(value.clone()),
            Says::Status(status) => Says::Status(*status),
            Says::Silence => Says::Silence,
        },
        _ => Says::Status(404),
    };
    let (upstream, asked) = scripted(script).await;
    let facts =
        "version: 1\nrelations: {}\nages: {}\nreferences: { mode: check, deadline_ms: 200, max_age_s: 60 }\n";
    let house = House::with(Wishes {
        upstream: Some(upstream),
        files: vec![("facts.yaml", facts.to_owned())],
        ..Wishes::default()
    })
    .await;
    let two = json!([diagnosis("cold", "J00"), diagnosis("warm", "J00")]);
    for (says, shown) in [
        (Says::Status(500), false),
        (Says::Silence, false),
        (
            Says::Json(
                json!({"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": two[1]}]}),
            ),
            false,
        ),
    ] {
        *fails.lock().unwrap() = says;
        let text = house.get(Persona::Doctor, "CarePlan/cp").await.text;
        assert!(text.contains("\"#g\"") && text.contains("8867-4"), "{text}");
        assert_eq!(text.matches("Condition/cold").count(), if shown { 2 } else { 0 }, "{text}");
        assert!(!text.contains("Canary"), "{text}");
    }
    // That it is not there was found out and is kept for a while; failures are not.
    let count = || asked.lock().unwrap().iter().filter(|(t, _)| t.starts_with("/Condition?")).count();
    assert_eq!(count(), 3);
    *fails.lock().unwrap() = Says::Json(bundle([diagnosis("cold", "J00")]));
    assert!(!house.get(Persona::Doctor, "CarePlan/cp").await.text.contains("Condition/cold"));
    assert_eq!(count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_references_are_kept_nothing_is_looked_up_for_them() {
    let script = |target: &str| match target {
        "/Encounter/e1" => Says::Json(visit(Some(json!({"reference": "Condition/opioids"})))),
        _ => Says::Status(404),
    };
    let (upstream, asked) = scripted(script).await;
    let facts = "version: 1\nrelations: {}\nages: {}\nreferences: { mode: keep }\n";
    let house = House::with(Wishes {
        upstream: Some(upstream),
        files: vec![("facts.yaml", facts.to_owned())],
        ..Wishes::default()
    })
    .await;
    let reply = house.get(Persona::Doctor, "Encounter/e1").await;
    assert!(reply.text.contains("Condition/opioids"), "{}", reply.text);
    assert_eq!(asked.lock().unwrap().len(), 1);
}
