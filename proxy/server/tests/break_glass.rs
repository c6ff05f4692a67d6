//! Emergencies: who may declare one, what it opens, that it ends, and that the officer sees each access made in it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use common::*;
use drape_audit::Event;
use drape_audit::reader::Content;
use drape_demo::{Persona, Resource, Store};
use drape_server::clock::Clock;
use http::Method;
use http_body_util::{BodyExt as _, Full};
use serde_json::json;

const RULES: &str =
    "        break_glass: { roles: [clinician], lifetime_ms: 60000, per_day_max: 2, reason_chars_min: 12 }";
const ETREAT: (&str, &str) = ("x-purpose-of-use", "ETREAT");
const BTG: (&str, &str) = ("x-purpose-of-use", "BTG");
const WHY: (&str, &str) = ("x-break-glass-reason", "found unconscious in the hall");

async fn house(rules: &str) -> House {
    House::with(Wishes { issuer_more: rules, ..Wishes::default() }).await
}

/// A clinician who has nothing to do with anybody.
fn stranger(house: &House) -> String {
    let mut claims =
        house.issuer.claims_at(Persona::Doctor, jiff::Timestamp::now(), Duration::from_secs(600)).unwrap();
    claims.insert("relations".into(), json!([]));
    house.issuer.sign(&claims).unwrap()
}

async fn get(house: &House, token: &str, headers: &[(&str, &str)], path: &str) -> Reply {
    ask(Method::GET, &format!("{}/{path}", house.base), Some(token), headers, "").await
}

fn events(house: &House) -> Vec<Event> {
    let all = house.running.parts.log.reader().tail(1_000).unwrap();
    all.into_iter()
        .filter_map(|opened| match opened.content {
            Content::Event(event) => Some(*event),
            _ => None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emergency_opens_the_record_of_a_stranger_and_is_flagged_for_review() {
    let house = house(RULES).await;
    let token = stranger(&house);
    let ask = |headers: &'static [(&'static str, &'static str)], path: &'static str| {
        get(&house, &token, headers, path)
    };
    assert_eq!(ask(&[], "Patient/p2").await.status, 404);
    for (headers, hint) in [
        (&[ETREAT][..], "needs a reason"),
        (&[BTG], "needs a reason"),
        (&[ETREAT, ("x-break-glass-reason", "help")], "12 to 500 characters"),
        (&[ETREAT, ("x-break-glass-reason", "................")], "12 to 500 characters"),
        (&[WHY], "must be ETREAT or BTG"),
        (&[("x-purpose-of-use", "TREAT"), WHY], "may not be `TREAT`"),
    ] {
        let reply = ask(headers, "Patient/p2").await;
        assert!(reply.status == 403 && reply.text.contains(hint), "{headers:?}: {}", reply.text);
    }
    for headers in [&[ETREAT, BTG, WHY][..], &[ETREAT, WHY, WHY], &[ETREAT, ("x-break-glass-reason", "")]] {
        let reply = ask(headers, "Patient/p2").await;
        assert_eq!(reply.status, 400, "{headers:?}: {}", reply.text);
    }
    let reply = ask(&[ETREAT, WHY], "Patient/p2").await;
    assert!(reply.status == 200 && reply.text.contains("Canary-Two"), "{}", reply.text);
    // While it lasts the purpose alone is enough, for searches too; without it nothing has changed.
    let reply = ask(&[ETREAT], "Condition?patient=p1").await;
    assert!(reply.status == 200 && reply.text.contains("\"c1\""), "{}", reply.text);
    // 42 CFR Part 2 knows a medical emergency as an exception, and no other.
    assert!(reply.text.contains("Canary-Opioid"), "{}", reply.text);
    assert_eq!(ask(&[], "Patient/p2").await.status, 404);
    assert_eq!(ask(&[BTG], "Patient/p2").await.status, 403);
    let reply = ask(&[BTG, WHY], "Condition?patient=p1").await;
    assert!(reply.status == 200 && reply.text.contains("\"c1\""), "{}", reply.text);
    assert!(!reply.text.contains("Canary-Opioid"), "{}", reply.text);
    // It opens care, not everything; it lets nobody write; and it is not for every role.
    assert_eq!(ask(&[ETREAT], "AuditEvent").await.status, 403);
    assert_eq!(ask(&[ETREAT], "Condition/_history").await.status, 403);
    let url = format!("{}/Patient/p2", house.base);
    let changed = json!({"resourceType": "Patient", "id": "p2", "birthDate": "1990-02-03"}).to_string();
    let json = ("content-type", "application/fhir+json");
    let reply = common::ask(Method::PUT, &url, Some(&token), &[json, ETREAT], &changed).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    for persona in [Persona::Billing, Persona::Nurse, Persona::Patient] {
        let reply = get(&house, &house.token(persona), &[ETREAT, WHY], "Patient/p2").await;
        assert!(reply.status == 403 && reply.text.contains("none of your roles"), "{}", reply.text);
    }

    let all = events(&house);
    let flagged: Vec<&Event> = all.iter().filter(|e| e.emergency.is_some()).collect();
    assert!(flagged.len() >= 8, "{}", flagged.len());
    for event in &flagged {
        assert_eq!(event.emergency.as_deref(), Some(WHY.1));
        assert_eq!(event.stated_by.as_deref(), Some("header"));
        assert!(["ETREAT", "BTG"].contains(&event.purpose.as_deref().unwrap()));
    }
    assert!(all.iter().any(|e| e.policies.contains(&"emergency".to_owned())));
    // Who was refused before anything was asked stands in the log too, with what she stated.
    let refused =
        all.iter().find(|e| e.reason.as_deref().is_some_and(|r| r.contains("needs a reason"))).unwrap();
    assert_eq!(
        (refused.subject.as_ref().unwrap().id.as_str(), refused.purpose.as_deref()),
        ("doctor", Some("BTG"))
    );
    let page = common::ask(
        Method::GET,
        &format!("{}/officer", house.admin),
        Some(&house.token(Persona::Officer)),
        &[],
        "",
    )
    .await;
    assert!(
        page.text.contains("Emergency access to be reviewed") && page.text.contains(WHY.1),
        "{}",
        page.text
    );
    let metrics = common::ask(Method::GET, &format!("{}/metrics", house.admin), None, &[], "").await;
    for line in ["what=\"declared\"} 2", "what=\"refused\"}", "what=\"access\"}"] {
        let line = format!("drape_break_glass_total{{tenant=\"main\",{line}");
        assert!(metrics.text.contains(&line), "{line} is not in {}", metrics.text);
    }
    House::log_is_sound(house.folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emergency_ends_with_its_time_and_nothing_carries_it_further() {
    let (clock, hand) = Clock::fixed(Clock::system().now_ms());
    let house = House::with(Wishes { issuer_more: RULES, clock: Some(clock), ..Wishes::default() }).await;
    let token = stranger(&house);
    let page = get(&house, &token, &[ETREAT, WHY], "Observation?patient=p1&_count=2").await;
    assert_eq!(page.status, 200, "{}", page.text);
    let json = page.json();
    let next = json["link"].as_array().unwrap().iter().find(|l| l["relation"] == "next").unwrap();
    let next =
        next["url"].as_str().unwrap().strip_prefix(&house.base).unwrap().trim_start_matches('/').to_owned();
    assert_eq!(get(&house, &token, &[ETREAT], &next).await.status, 200);
    // The link is of the emergency: under the token's own purpose it opens nothing.
    assert_eq!(get(&house, &token, &[], &next).await.status, 410);
    // Stating it once more while it lasts prolongs nothing.
    hand.fetch_add(59_999, Ordering::SeqCst);
    assert_eq!(get(&house, &token, &[ETREAT, WHY], "Patient/p2").await.status, 200);
    hand.fetch_add(1, Ordering::SeqCst);
    for path in ["Patient/p2", &next, "Observation?patient=p1"] {
        let reply = get(&house, &token, &[ETREAT], path).await;
        assert!(reply.status == 403 && reply.text.contains("needs a reason"), "{path}: {}", reply.text);
    }
    assert_eq!(get(&house, &token, &[], "Patient/p2").await.status, 404);
    // A second one may be declared that day, and no third.
    assert_eq!(get(&house, &token, &[ETREAT, WHY], "Patient/p2").await.status, 200);
    hand.fetch_add(60_000, Ordering::SeqCst);
    let reply = get(&house, &token, &[ETREAT, WHY], "Patient/p2").await;
    assert!(reply.status == 403 && reply.text.contains("privacy officer"), "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_outlasts_the_emergency_is_cut_off() {
    let (clock, hand) = Clock::fixed(Clock::system().now_ms());
    let observation = |n: usize| {
        let value = json!({
            "resourceType": "Observation", "id": format!("big{n}"), "status": "final", "subject": {"reference": "Patient/p1"},
            "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}, "note": [{"text": "x".repeat(60_000)}],
        });
        Resource {
            resource_type: "Observation".into(),
            id: format!("big{n}"),
            json: value.to_string().into_bytes(),
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}/fhir", listener.local_addr().unwrap());
    let store = Arc::new(Store::new((0..400).map(observation).collect()).unwrap());
    tokio::spawn(drape_demo::serve::store(listener, store, std::future::pending()));
    let wishes =
        Wishes { issuer_more: RULES, clock: Some(clock), upstream: Some(upstream), ..Wishes::default() };
    let house = House::with(wishes).await;
    let request = http::Request::get(format!("{}/Observation?patient=p1&_count=400", house.base))
        .header("authorization", format!("Bearer {}", stranger(&house)))
        .header(ETREAT.0, ETREAT.1)
        .header(WHY.0, WHY.1)
        .body(Full::<Bytes>::default())
        .unwrap();
    let answer = client().request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    assert!(body.frame().await.unwrap().is_ok());
    hand.fetch_add(60_000, Ordering::SeqCst);
    let mut broken = false;
    while let Some(frame) = tokio::time::timeout(Duration::from_secs(30), body.frame()).await.unwrap() {
        broken |= frame.is_err();
        if broken {
            break;
        }
    }
    assert!(broken, "the answer came to its end after the emergency had");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_emergency_is_configured_none_can_be_declared_and_saying_so_is_refused() {
    let house = House::plain().await;
    for headers in [&[ETREAT, WHY][..], &[ETREAT], &[WHY]] {
        let reply = get(&house, &stranger(&house), headers, "Patient/p2").await;
        assert_eq!(reply.status, 403, "{headers:?}: {}", reply.text);
    }
    assert!(events(&house).iter().all(|e| e.emergency.is_none()));
    // Apps of configured origins may send the headers only where they are read.
    let more = "cors: { origins: [\"https://app.example.org\"] }";
    let preflight = [
        ("origin", "https://app.example.org"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "x-break-glass-reason"),
    ];
    for (rules, allowed) in [("", false), (RULES, true)] {
        let house = House::with(Wishes { tenant_more: more, issuer_more: rules, ..Wishes::default() }).await;
        let reply = ask(Method::OPTIONS, &format!("{}/Patient/p2", house.base), None, &preflight, "").await;
        let headers = reply.header("access-control-allow-headers");
        assert_eq!(
            headers.contains("x-break-glass-reason") && headers.contains("x-purpose-of-use"),
            allowed,
            "{headers}"
        );
    }
}
