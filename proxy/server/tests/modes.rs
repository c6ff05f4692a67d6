//! The two redaction modes over HTTP: reduced records that say so, and reduced records that nothing tells from records with
//! nothing to hide.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::sync::Arc;

use common::*;
use drape_demo::{Persona, Resource, Store};
use http::Method;
use serde_json::{Value, json};

/// Everything but the names and contact details of patients, and the codes of what is sensitive; a judgement that depends
/// on the record.
const POLICY: &str = r#"
@id("requests")
permit (principal, action in Action::"access", resource);
@id("sees")
permit (principal, action in [Action::"receive", Action::"show"], resource);
@id("no-names")
forbid (principal, action in Action::"release", resource == Category::"person-name")
when { context.record.type == ResourceType::"Patient" };
@id("no-contacts")
forbid (principal, action in Action::"release", resource == Category::"contact")
when { context.record.type == ResourceType::"Patient" };
@id("no-values")
forbid (principal, action in Action::"release", resource == Category::"finding-value")
when { context.record.labels.contains("HIV") };
@id("searches")
permit (principal, action == Action::"searchBy", resource);
@id("changes")
permit (principal, action == Action::"change", resource);
"#;

/// Identifiers are sealed, which only the declared mode can say.
const SEALS: &str = r#"
@id("seals")
permit (principal, action == Action::"encrypt", resource == Category::"identifier");
@id("never-clear")
forbid (principal, action == Action::"show", resource == Category::"identifier");
"#;

/// Pairs of records alike but for what is hidden, which the first has and the second has not.
fn twins() -> Vec<Value> {
    let patient = |id: &str| json!({"resourceType": "Patient", "id": id, "active": true, "gender": "female", "birthDate": "1980-02-03"});
    let observation = |id: &str, code: &str| {
        json!({"resourceType": "Observation", "id": id, "status": "final", "subject": {"reference": "Patient/with"},
            "code": {"coding": [{"system": "http://loinc.org", "code": code}]}})
    };
    let mut with = patient("with");
    with["name"] = json!([{"use": "official", "family": "Canary"}]);
    with["telecom"] = json!([{"system": "phone", "value": "555-Canary"}]);
    with["identifier"] = json!([{"system": "urn:mrn", "value": "Canary"}]);
    with["text"] = json!({"status": "generated", "div": "<div>Canary</div>"});
    with["extension"] = json!([{"url": "http://vendor.example/x", "valueString": "Canary"}]);
    let mut value = observation("value", "25836-8");
    value["valueQuantity"] = json!({"value": 20, "unit": "Canary"});
    vec![with, patient("none"), value, observation("bare", "25836-8"), observation("whole", "8867-4")]
}

async fn house(policy: &str, redaction: &str) -> House {
    let records = twins().into_iter().map(|value| Resource {
        resource_type: value["resourceType"].as_str().unwrap().to_owned(),
        id: value["id"].as_str().unwrap().to_owned(),
        json: value.to_string().into_bytes(),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let store = Arc::new(Store::new(records.collect()).unwrap());
    tokio::spawn(drape_demo::serve::store(listener, store, std::future::pending()));
    House::with(Wishes {
        upstream: Some(format!("http://{address}/fhir")),
        policy: Some(policy),
        policies_more: redaction,
        ..Wishes::default()
    })
    .await
}

/// An answer to the byte, with one id and the same in every header, so that two can be compared.
fn faceless(reply: &Reply, id: &str) -> (u16, Vec<(String, String)>, String) {
    let same = |text: &str| text.replace(id, "it");
    let headers = reply
        .headers
        .iter()
        .filter(|(name, _)| !["date", "x-request-id", "content-length"].contains(&name.as_str()));
    // The mark of a view is made of its bytes, in which the id stands.
    let headers = headers.map(|(n, v)| match n.as_str() {
        "etag" => (n.to_string(), unmarked(v.to_str().unwrap())),
        _ => (n.to_string(), same(v.to_str().unwrap())),
    });
    (reply.status.as_u16(), headers.collect(), same(&reply.text))
}

/// An ETag with its mark blotted out.
fn unmarked(etag: &str) -> String {
    match etag.rsplit_once('-') {
        Some((version, mark)) => format!("{version}-{}", mark.replace(|c: char| c.is_ascii_hexdigit(), "?")),
        None => etag.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_57_in_silent_mode_nothing_tells_a_reduced_record_from_one_with_nothing_to_hide() {
    let house = house(&format!("{POLICY}{SEALS}"), ", redaction: silent").await;
    for (kind, with, without) in [("Patient", "with", "none"), ("Observation", "value", "bare")] {
        for path in ["", "/_history", "/_history/1"] {
            let with_it = house.get(Persona::Doctor, &format!("{kind}/{with}{path}")).await;
            let without_it = house.get(Persona::Doctor, &format!("{kind}/{without}{path}")).await;
            assert_eq!(with_it.status, 200, "{}", with_it.text);
            assert_eq!(faceless(&with_it, with), faceless(&without_it, without), "{kind}{path}");
            for word in [
                "Canary",
                "masked",
                "REDACTED",
                "MASKED",
                "encrypted-element",
                "absent",
                "null",
                "OperationOutcome",
            ] {
                assert!(!with_it.text.contains(word), "{word}: {}", with_it.text);
            }
        }
        let page = house.get(Persona::Doctor, &format!("{kind}?_count=10")).await.json();
        let entries = page["entry"].as_array().unwrap();
        let one = |id: &str| {
            let entry = entries.iter().find(|e| e["resource"]["id"] == id).unwrap();
            serde_json::to_string(entry).unwrap().replace(id, "it")
        };
        assert_eq!(one(with), one(without));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_57_a_whole_record_of_a_silent_view_looks_no_other_and_its_etag_serves_for_a_change() {
    let house = house(POLICY, ", redaction: silent").await;
    let whole = house.get(Persona::Doctor, "Observation/whole").await;
    let bare = house.get(Persona::Doctor, "Observation/bare").await;
    let names = |r: &Reply| r.headers.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&whole), names(&bare));
    assert_eq!(unmarked(whole.header("etag")), unmarked(bare.header("etag")));
    assert_eq!(unmarked(whole.header("etag")), "W/\"1-????????\"");
    assert!(whole.header("last-modified").is_empty());
    let url = format!("{}/Observation/whole", house.base);
    let token = house.token(Persona::Doctor);
    let changed = whole.text.replace("final", "amended");
    let put = async |etag: &str| {
        let headers = [("content-type", "application/fhir+json"), ("if-match", etag)];
        ask(Method::PUT, &url, Some(&token), &headers, &changed).await
    };
    let foreign = whole.header("etag").replace("1-", "7-");
    assert_eq!(put(&foreign).await.status, 412);
    let done = put(whole.header("etag")).await;
    assert_eq!(done.status, 200, "{}", done.text);
    assert_eq!(put(whole.header("etag")).await.status, 412, "the version has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_57_in_declared_mode_a_reduced_record_says_so_and_a_whole_one_does_not() {
    let house = house(&format!("{POLICY}{SEALS}"), "").await;
    let with = house.get(Persona::Doctor, "Patient/with").await;
    let json = with.json();
    let codes: Vec<&str> =
        json["meta"]["security"].as_array().unwrap().iter().map(|l| l["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["REDACTED", "MASKED"]);
    assert_eq!(json["identifier"][0]["extension"][0]["valueCode"], "masked");
    assert!(!with.text.contains("Canary"));
    let value = house.get(Persona::Doctor, "Observation/value").await;
    assert_eq!(value.json()["dataAbsentReason"]["coding"][0]["code"], "masked");
    let whole = house.get(Persona::Doctor, "Observation/whole").await;
    assert!(!whole.text.contains("security") && !whole.header("last-modified").is_empty(), "{}", whole.text);
    assert_ne!(with.header("etag"), whole.header("etag"));
    assert_eq!(whole.header("etag"), "W/\"1\"");
}
