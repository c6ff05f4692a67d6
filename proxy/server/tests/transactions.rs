//! Transactions: all or none, each entry judged as if it came by itself, hidden parts merged, one Bundle upstream.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;
mod shelf;

use common::*;
use drape_demo::Persona;
use http::Method;
use serde_json::{Value, json};
use shelf::Shelf;

/// A clerk writes records of one patient and is not shown her identifiers.
const POLICY: &str = r#"
@id("requests") permit (principal in Role::"clinician", action in Action::"access", resource);
@id("searches") permit (principal, action == Action::"searchBy", resource);
@id("sees") permit (principal in Role::"clinician", action in [Action::"receive", Action::"show"], resource)
when { context.patient.known && context.patient.relations.contains("treating") };
@id("hides") forbid (principal in Role::"clinician", action in Action::"release", resource)
when { context.record.type == ResourceType::"Patient" && resource == Category::"identifier" };
@id("not-hiv") forbid (principal in Role::"clinician", action in Action::"observe", resource)
when { context.record.labels.contains("HIV") };
@id("writes") permit (principal in Role::"clinician", action in [Action::"change", Action::"relate"], resource);
"#;

fn records() -> Vec<Value> {
    let condition = |id: &str, code: &str| {
        json!({"resourceType": "Condition", "id": id, "subject": {"reference": "Patient/p1"},
            "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": code}]}})
    };
    vec![
        json!({"resourceType": "Patient", "id": "p1", "identifier": [{"system": "urn:mrn", "value": "Canary-MRN"}],
            "name": [{"family": "Shown"}], "gender": "female"}),
        condition("open", "I10"),
        condition("hidden", "B20"),
    ]
}

struct Ward {
    house: House,
    shelf: Shelf,
}

impl Ward {
    async fn open() -> Self {
        Self::with("").await
    }

    async fn with(rule: &str) -> Self {
        let policy = format!("{POLICY}{rule}");
        let shelf = Shelf::of(records()).await;
        let wishes = Wishes { upstream: Some(shelf.url.clone()), policy: Some(&policy), ..Wishes::default() };
        Self { house: House::with(wishes).await, shelf }
    }

    async fn send(&self, persona: Persona, entries: Value) -> Reply {
        let body = json!({"resourceType": "Bundle", "type": "transaction", "entry": entries}).to_string();
        let json = [("content-type", "application/fhir+json")];
        ask(Method::POST, &format!("{}/", self.house.base), Some(&self.house.token(persona)), &json, &body)
            .await
    }
}

fn observation(subject: &str) -> Value {
    json!({"resourceType": "Observation", "status": "final", "subject": {"reference": subject},
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}})
}

fn post(resource: Value, urn: Option<&str>) -> Value {
    let mut entry = json!({"request": {"method": "POST", "url": resource["resourceType"]}});
    entry["resource"] = resource;
    if let Some(urn) = urn {
        entry["fullUrl"] = json!(urn);
    }
    entry
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_writes_all_of_it_as_one_and_keeps_what_its_author_was_not_shown() {
    let ward = Ward::open().await;
    let mut patient = ward.house.get(Persona::Doctor, "Patient/p1").await.json();
    assert!(!patient.to_string().contains("Canary-MRN"));
    patient["gender"] = json!("unknown");
    let mut report = json!({"resourceType": "DiagnosticReport", "status": "final", "subject": {"reference": "Patient/p1"},
        "code": {"text": "x"}, "result": [{"reference": "urn:uuid:11111111-1111-1111-1111-111111111111"}]});
    report["code"] = json!({"coding": [{"system": "http://loinc.org", "code": "11502-2"}]});
    let reply = ward
        .send(
            Persona::Doctor,
            json!([
                post(observation("Patient/p1"), Some("urn:uuid:11111111-1111-1111-1111-111111111111")),
                post(report, None),
                {"request": {"method": "PUT", "url": "Patient/p1"}, "resource": patient},
                {"request": {"method": "GET", "url": "Patient/p1"}},
                {"request": {"method": "DELETE", "url": "Condition/open"}},
            ]),
        )
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let bundle = reply.json();
    assert_eq!(bundle["type"], "transaction-response");
    let response = |n: usize| &bundle["entry"][n]["response"];
    assert_eq!(response(0)["status"], "201 Created");
    assert_eq!(response(0)["location"], format!("{}/Observation/made1/_history/1", ward.house.base));
    assert_eq!(response(4)["status"], "204 No Content");
    // What is read within it is read when it is done, and as its reader may see it.
    assert_eq!(bundle["entry"][3]["resource"]["gender"], "unknown");
    assert!(!reply.text.contains("Canary"), "{}", reply.text);
    // One request upstream carries all writes; what was hidden is still there.
    let sent = ward.shelf.writes();
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!(sent[0].body["entry"].as_array().unwrap().len(), 4);
    assert_eq!(sent[0].body["entry"][2]["request"]["ifMatch"], "W/\"1\"");
    let stored = ward.shelf.get("Patient/p1").unwrap();
    assert_eq!(
        (&stored["identifier"][0]["value"], &stored["gender"]),
        (&json!("Canary-MRN"), &json!("unknown"))
    );
    assert_eq!(
        ward.shelf.get("DiagnosticReport/made2").unwrap()["result"][0]["reference"],
        "Observation/made1"
    );
    assert!(ward.shelf.get("Condition/open").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_34_one_entry_that_is_refused_refuses_all_and_nothing_is_done() {
    let ward = Ward::open().await;
    let by_search = {
        let mut one = observation("Patient/p1");
        one["performer"] = json!([{"reference": "Patient?identifier=urn:mrn|Canary-MRN"}]);
        one
    };
    let hidden = json!({"resourceType": "Condition", "id": "hidden", "subject": {"reference": "Patient/p1"}});
    let unknown =
        json!({"resourceType": "Condition", "id": "nobody", "subject": {"reference": "Patient/p1"}});
    let put = |resource: &Value| {
        let url = format!("Condition/{}", resource["id"].as_str().unwrap());
        json!({"request": {"method": "PUT", "url": url}, "resource": resource})
    };
    let mut answers = Vec::new();
    for (second, status) in [
        // A conditional reference in a body is a search that nobody judged.
        (post(by_search, None), 400),
        (post(observation("Patient/stranger"), None), 403),
        (put(&hidden), 404),
        (put(&unknown), 404),
        (json!({"request": {"method": "GET", "url": "Patient?_text=x"}}), 403),
        (json!({"request": {"method": "GET", "url": "Patient?_has:Condition:patient:code=B20"}}), 403),
        (
            json!({"request": {"method": "PUT", "url": "Condition/open"}, "resource": {"resourceType": "Condition", "id": "open", "subject": {"reference": "urn:uuid:2"}}}),
            403,
        ),
    ] {
        let reply = ward.send(Persona::Doctor, json!([post(observation("Patient/p1"), None), second])).await;
        assert_eq!(reply.status, status, "{second}: {}", reply.text);
        assert!(reply.text.contains("entry 2: "), "{}", reply.text);
        assert_eq!(ward.shelf.writes().len(), 0, "{second}");
        let mut told = reply.json();
        nameless(&mut told["issue"][0]);
        answers.push(told["issue"][0].clone());
    }
    assert_eq!(answers[2], answers[3], "a withheld record and an unknown one are told apart");
    assert_eq!(ward.shelf.count("Observation"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_needs_leave_of_its_own_and_changes_no_record_twice() {
    let never = r#"@id("never") forbid (principal, action == Action::"transaction", resource);"#;
    let reply =
        Ward::with(never).await.send(Persona::Doctor, json!([post(observation("Patient/p1"), None)])).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    assert!(reply.text.contains("send transactions of Observation"), "{}", reply.text);
    let ward = Ward::open().await;
    let view = ward.house.get(Persona::Doctor, "Condition/open").await.json();
    let put = json!({"request": {"method": "PUT", "url": "Condition/open"}, "resource": view});
    let reply = ward.send(Persona::Doctor, json!([put, put])).await;
    assert_eq!(reply.status, 400, "{}", reply.text);
    assert_eq!(ward.shelf.writes().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_update_within_a_transaction_undoes_all_of_it() {
    let ward = Ward::open().await;
    let view = ward.house.get(Persona::Doctor, "Condition/open").await;
    let etag = view.header("etag").to_owned();
    ward.shelf.put(json!({"resourceType": "Condition", "id": "open", "subject": {"reference": "Patient/p1"},
        "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "E11"}]}}));
    let put = json!({"request": {"method": "PUT", "url": "Condition/open", "ifMatch": etag}, "resource": view.json()});
    let reply = ward.send(Persona::Doctor, json!([post(observation("Patient/p1"), None), put])).await;
    assert_eq!(reply.status, 412, "{}", reply.text);
    assert_eq!((ward.shelf.writes().len(), ward.shelf.count("Observation")), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_create_within_a_transaction_is_searched_for_once_and_finds_nothing_that_is_withheld() {
    let ward = Ward::open().await;
    let entry = |code: &str| {
        let mut entry = post(
            json!({"resourceType": "Condition", "subject": {"reference": "Patient/p1"},
                "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "I10"}]}}),
            Some("urn:uuid:33333333-3333-3333-3333-333333333333"),
        );
        entry["request"]["ifNoneExist"] = json!(format!("patient=p1&code={code}"));
        entry
    };
    let mut report = json!({"resourceType": "DiagnosticReport", "status": "final", "subject": {"reference": "Patient/p1"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "11502-2"}]}});
    report["result"] = json!([{"reference": "urn:uuid:33333333-3333-3333-3333-333333333333"}]);
    // One that she may see, one that is withheld from her, one that nobody has.
    let mut told = Vec::new();
    for (code, condition, named) in [
        ("I10", Some("_id=open"), "Condition/open"),
        ("B20", None, "urn:uuid:33333333-3333-3333-3333-333333333333"),
        ("E11", Some("code=E11"), "urn:uuid:33333333-3333-3333-3333-333333333333"),
    ] {
        ward.shelf.asked();
        let reply = ward.send(Persona::Doctor, json!([entry(code), post(report.clone(), None)])).await;
        assert_eq!(reply.status, 200, "{code}: {}", reply.text);
        let asked = ward.shelf.asked();
        assert_eq!(asked.iter().filter(|a| a.target.contains("code=")).count(), 1, "{code}: {asked:?}");
        let sent = asked.iter().find(|a| a.method == Method::POST).unwrap();
        let goes_on = sent.body["entry"][0]["request"]["ifNoneExist"].as_str();
        match condition {
            Some(condition) => assert!(goes_on.unwrap().contains(condition), "{code}: {goes_on:?}"),
            None => assert_eq!(goes_on, None, "the upstream would find what is withheld"),
        }
        assert_eq!(sent.body["entry"][1]["resource"]["result"][0]["reference"], named, "{code}");
        let mut bundle = reply.json();
        for entry in bundle["entry"].as_array_mut().unwrap() {
            entry["response"]["location"] = Value::Null;
        }
        told.push(bundle);
    }
    assert_eq!(told[1], told[2], "a withheld record and none are told apart");
}
