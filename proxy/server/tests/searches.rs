//! Searches: pages without holes, compartments, histories, over HTTP against the embedded store and a scripted one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::sync::Arc;

use common::*;
use drape_demo::{Persona, Resource, Store};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A store of observations, every third about substance use, two of three conditions of a patient withheld too.
async fn store(count: usize) -> String {
    let resource = |value: Value| Resource {
        resource_type: value["resourceType"].as_str().unwrap().to_owned(),
        id: value["id"].as_str().unwrap().to_owned(),
        json: value.to_string().into_bytes(),
    };
    let mut all = vec![resource(json!({"resourceType": "Patient", "id": "p1", "gender": "female"}))];
    for n in 0..count {
        let code = if n % 3 == 0 { "F11.20" } else { "I10" };
        all.push(resource(json!({"resourceType": "Condition", "id": format!("n{n:03}"),
            "subject": {"reference": "Patient/p1"},
            "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": code}]},
            "recordedDate": format!("2026-01-{:02}", n % 28 + 1)})));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let store = Arc::new(Store::new(all).unwrap());
    tokio::spawn(drape_demo::serve::store(listener, store, std::future::pending()));
    format!("http://{address}/fhir")
}

/// All pages of a search, each as the ids of its matches.
async fn pages(house: &House, persona: Persona, target: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut next = Some(target.to_owned());
    while let Some(target) = next {
        let reply = house.get(persona, &target).await;
        assert_eq!(reply.status, 200, "{target}: {}", reply.text);
        let bundle = reply.json();
        assert!(bundle.get("total").is_none(), "{bundle}");
        let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
        found.push(entries.iter().map(|e| e["resource"]["id"].as_str().unwrap().to_owned()).collect());
        let link = bundle["link"].as_array().into_iter().flatten().find(|l| l["relation"] == "next");
        next = link.map(|l| {
            l["url"].as_str().unwrap().strip_prefix(&format!("{}/", house.base)).unwrap().to_owned()
        });
        assert!(found.len() < 50, "no end of pages");
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_25_pages_have_no_holes_and_lead_to_more_only_where_more_is_shown() {
    for count in [1, 3, 4, 12, 13] {
        let upstream = store(count).await;
        let house = House::with(Wishes { upstream: Some(upstream), ..Wishes::default() }).await;
        let shown: Vec<String> = (0..count).filter(|n| n % 3 != 0).map(|n| format!("n{n:03}")).collect();
        for size in [1, 2, 3, 5] {
            let target = format!("Condition?patient=p1&_count={size}&_sort=_id");
            let found = pages(&house, Persona::Doctor, &target).await;
            assert_eq!(found.concat(), shown, "{target}");
            let (last, full) = found.split_last().unwrap();
            assert!(full.iter().all(|page| page.len() == size), "{target}: {found:?}");
            assert!(found.len() == 1 || !last.is_empty(), "{target}: a link led to nothing");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_researcher_searches_by_code_and_learns_only_of_what_is_shown() {
    let upstream = store(12).await;
    let policy = r#"
        @id("asks") permit (principal in Role::"researcher", action in [Action::"read", Action::"search"], resource);
        @id("sees") permit (principal in Role::"researcher", action in [Action::"receive", Action::"show"], resource)
        when { !context.record.labels.contains("SUD") };
        @id("by") permit (principal in Role::"researcher", action == Action::"searchBy", resource);
        @id("no-text") forbid (principal in Role::"researcher", action in Action::"release", resource in Category::"text");
    "#;
    let wishes = Wishes { upstream: Some(upstream), policy: Some(policy), ..Wishes::default() };
    let house = House::with(wishes).await;
    let system = "http://hl7.org/fhir/sid/icd-10-cm";
    let found = pages(&house, Persona::Researcher, &format!("Condition?code={system}|I10&_count=2")).await;
    assert_eq!(found.concat().len(), 8);
    // Of the withheld ones the answer is that of a code nobody has, to the byte.
    let of = async |code: &str| {
        let reply = house.get(Persona::Researcher, &format!("Condition?code={system}|{code}&_count=2")).await;
        reply.text.replace(code, "CODE")
    };
    assert_eq!(of("F11.20").await, of("Z99.9").await);
    // Through another record, which may be withheld, it is no criterion.
    let reply =
        house.get(Persona::Researcher, &format!("Patient?_has:Condition:patient:code={system}|F11.20")).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compartment_is_searched_like_its_type_and_judged_alike() {
    let house = House::plain().await;
    let found = house.get(Persona::Doctor, "Patient/p1/Condition?_sort=_id").await;
    assert_eq!(found.status, 200, "{}", found.text);
    assert_eq!(
        found.json()["entry"].as_array().unwrap().len(),
        1,
        "three of four are withheld: {}",
        found.text
    );
    let own = found.json()["link"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(own, format!("{}/Patient/p1/Condition?_sort=_id", house.base));
    // Of a stranger's compartment nothing is told, nor of one that there is not.
    for other in ["Patient/p2/Condition", "Patient/nobody/Condition", "Patient/p2/Condition?code=x"] {
        let reply = house.get(Persona::Doctor, other).await;
        assert!(
            reply.status == 403 || reply.status == 200 && reply.json().get("entry").is_none(),
            "{other}: {} {}",
            reply.status,
            reply.text
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_a_type_is_open_to_those_who_are_shown_everything_alone() {
    let house = House::plain().await;
    for persona in [Persona::Doctor, Persona::Billing, Persona::Researcher, Persona::Attacker] {
        for target in ["_history", "Patient/_history", "Condition/_history?_since=2020-01-01T00:00:00Z"] {
            let reply = house.get(persona, target).await;
            assert_eq!(reply.status, 403, "{persona:?} {target}: {}", reply.text);
        }
    }
    let reply = house.get(Persona::Doctor, "Condition/c1/_history?_since=2020-01-01").await;
    assert_eq!(
        reply.status, 403,
        "when it changed is told to nobody whose view depends on it: {}",
        reply.text
    );
}
