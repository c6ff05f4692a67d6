//! References to records that are withheld, when the record that names them is written; and relations, which nobody
//! writes himself. Over HTTP before a small server.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;
mod shelf;

use std::time::Duration;

use common::*;
use drape_demo::Persona;
use http::Method;
use serde_json::{Value, json};
use shelf::Shelf;

const FHIR: (&str, &str) = ("content-type", "application/fhir+json");
const PATCH: (&str, &str) = ("content-type", "application/json-patch+json");

fn diagnosis(id: &str, code: &str) -> Value {
    json!({
        "resourceType": "Condition", "id": id, "subject": {"reference": "Patient/p1"},
        "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": code}]},
    })
}

/// A visit for a cold and, between the two, for a dependence that no doctor is shown.
fn visit(id: &str, hidden: bool) -> Value {
    let mut visit = json!({
        "resourceType": "Encounter", "id": id, "status": "finished", "subject": {"reference": "Patient/p1"},
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "participant": [{"individual": {"reference": "Practitioner/d1"}}],
        "diagnosis": [{"condition": {"reference": "Condition/cold"}, "rank": 1},
            {"condition": {"reference": "Condition/fever"}, "rank": 3}],
    });
    if hidden {
        let secret =
            json!({"condition": {"reference": "Condition/opioids", "display": "Canary-Opioids"}, "rank": 2});
        visit["diagnosis"].as_array_mut().unwrap().insert(1, secret);
        visit["reasonReference"] = json!([{"reference": "Condition/opioids", "display": "Canary-Opioids"}]);
    }
    visit
}

fn records() -> Vec<Value> {
    let codes =
        [("cold", "J00"), ("fever", "R50.9"), ("warm", "J01.9"), ("opioids", "F11.20"), ("drink", "F10.20")];
    let conditions = codes.map(|(id, code)| diagnosis(id, code));
    let patient = json!({"resourceType": "Patient", "id": "p1"});
    conditions.into_iter().chain([visit("e1", true), visit("e2", false), patient]).collect()
}

struct Ward {
    house: House,
    shelf: Shelf,
}

impl Ward {
    async fn open(wishes: Wishes<'_>) -> Self {
        let shelf = Shelf::of(records()).await;
        let wishes = Wishes { upstream: Some(shelf.url.clone()), ..wishes };
        Self { house: House::with(wishes).await, shelf }
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let url = format!("{}/{path}", self.house.base);
        ask(method, &url, Some(&self.house.token(Persona::Doctor)), headers, &body).await
    }

    /// What the doctor is shown, and its tag.
    async fn read(&self, path: &str) -> (Value, String) {
        let reply = self.ask(Method::GET, path, &[], &Value::Null).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        (reply.json(), reply.header("etag").to_owned())
    }

    /// What becomes of a visit as she is shown it, changed.
    async fn put(&self, path: &str, change: impl FnOnce(&mut Value)) -> Reply {
        let (mut record, tag) = self.read(path).await;
        change(&mut record);
        self.ask(Method::PUT, path, &[FHIR, ("if-match", &tag), ("prefer", "return=representation")], &record)
            .await
    }

    fn stored(&self, path: &str) -> Vec<String> {
        let record = self.shelf.get(path).unwrap();
        let names = record["diagnosis"].as_array().into_iter().flatten();
        names.map(|d| d["condition"]["reference"].as_str().unwrap().to_owned()).collect()
    }
}

fn diagnostics(reply: &Reply) -> String {
    let mut reply = reply.json();
    nameless(&mut reply["issue"][0]);
    reply["issue"][0]["diagnostics"].as_str().unwrap().to_owned()
}

fn named(condition: &str) -> Value {
    json!({"condition": {"reference": format!("Condition/{condition}")}, "rank": 4})
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_63_a_reference_that_is_left_out_is_still_stored_after_an_update() {
    for policies_more in ["", ", redaction: silent"] {
        let ward = Ward::open(Wishes { policies_more, ..Wishes::default() }).await;
        let (seen, _) = ward.read("Encounter/e1").await;
        assert!(!seen.to_string().contains("pioids"), "{seen}");
        let reply = ward
            .put("Encounter/e1", |visit| {
                let list = visit["diagnosis"].as_array_mut().unwrap();
                list[1]["rank"] = json!(2);
                list.push(named("warm"));
            })
            .await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(!reply.text.contains("pioids") && reply.text.contains("Condition/warm"), "{}", reply.text);
        let all = ["Condition/cold", "Condition/opioids", "Condition/fever", "Condition/warm"];
        assert_eq!(ward.stored("Encounter/e1"), all);
        let record = ward.shelf.get("Encounter/e1").unwrap();
        assert_eq!(record["diagnosis"][1], visit("e1", true)["diagnosis"][1]);
        assert_eq!(record["diagnosis"][2]["rank"], 2);
        assert_eq!(record["reasonReference"], visit("e1", true)["reasonReference"]);
        assert!(record.get("meta").is_none_or(|meta| meta.get("security").is_none()), "{record}");
        // Nor does it go with what stands around it, nor by a patch.
        let (_, tag) = ward.read("Encounter/e1").await;
        let patch = json!([{"op": "remove", "path": "/diagnosis/2"}]);
        let reply = ward.ask(Method::PATCH, "Encounter/e1", &[PATCH, ("if-match", &tag)], &patch).await;
        assert!(reply.status.is_success(), "{}", reply.text);
        assert_eq!(ward.stored("Encounter/e1"), all[..3]);
        let reply =
            ward.put("Encounter/e1", |visit| drop(visit.as_object_mut().unwrap().remove("diagnosis"))).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(!reply.text.contains("pioids"), "{}", reply.text);
        assert_eq!(ward.stored("Encounter/e1"), ["Condition/opioids"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_63_a_guess_at_a_reference_is_answered_alike_right_or_wrong_there_or_not() {
    for policies_more in ["", ", redaction: silent"] {
        let ward = Ward::open(Wishes { policies_more, ..Wishes::default() }).await;
        let mut said = Vec::new();
        // Named by the stored record; withheld, but not named by it; not there at all.
        for guess in ["opioids", "drink", "nowhere"] {
            for path in ["Encounter/e1", "Encounter/e2"] {
                let reply = ward
                    .put(path, |visit| visit["diagnosis"].as_array_mut().unwrap().push(named(guess)))
                    .await;
                assert_eq!(reply.status, 403, "{}", reply.text);
                said.push(diagnostics(&reply).replace(guess, "GUESS"));
            }
            let plan = json!({"resourceType": "CarePlan", "status": "active", "intent": "plan", "subject": {"reference": "Patient/p1"},
                "addresses": [{"reference": format!("Condition/{guess}")}]});
            let reply = ward.ask(Method::POST, "CarePlan", &[FHIR], &plan).await;
            assert_eq!(reply.status, 403, "{}", reply.text);
            said.push(diagnostics(&reply).replace(guess, "GUESS"));
        }
        said.dedup();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(ward.shelf.writes().is_empty());
        let plan = json!({"resourceType": "CarePlan", "status": "active", "intent": "plan", "subject": {"reference": "Patient/p1"},
            "addresses": [{"reference": "Condition/cold"}]});
        let reply = ward.ask(Method::POST, "CarePlan", &[FHIR], &plan).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_which_a_reference_is_left_out_is_not_deleted() {
    const POLICY: &str = r#"
@id("all") permit (principal, action in Action::"access", resource);
@id("sees") permit (principal, action in [Action::"receive", Action::"show", Action::"change", Action::"relate"], resource);
@id("not-sud") forbid (principal, action in Action::"observe", resource) when { context.record.labels.contains("SUD") };
"#;
    let ward = Ward::open(Wishes { policy: Some(POLICY), ..Wishes::default() }).await;
    let reply = ward.ask(Method::DELETE, "Encounter/e1", &[], &Value::Null).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    assert!(!reply.text.contains("pioids") && ward.shelf.get("Encounter/e1").is_some());
    let reply = ward.ask(Method::DELETE, "Encounter/e2", &[], &Value::Null).await;
    assert_eq!(reply.status, 204, "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_hospital_set_clinicians_send_transactions_and_the_records_officer_alone_deletes() {
    let ward = Ward::open(Wishes::default()).await;
    let urn = "urn:uuid:11111111-1111-1111-1111-111111111111";
    let reply = ward
        .ask(
            Method::POST,
            "",
            &[FHIR],
            &json!({"resourceType": "Bundle", "type": "transaction", "entry": [
                {"fullUrl": urn, "resource": {"resourceType": "Observation", "status": "final", "subject": {"reference": "Patient/p1"},
                    "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}},
                    "request": {"method": "POST", "url": "Observation"}},
                {"resource": {"resourceType": "DiagnosticReport", "status": "final", "subject": {"reference": "Patient/p1"},
                    "code": {"coding": [{"system": "http://loinc.org", "code": "24323-8"}]}, "result": [{"reference": urn}]},
                    "request": {"method": "POST", "url": "DiagnosticReport"}},
            ]}),
        )
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(
        ward.shelf.get("DiagnosticReport/made2").unwrap()["result"][0]["reference"],
        "Observation/made1"
    );
    let reply = ward.ask(Method::DELETE, "Condition/cold", &[], &Value::Null).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    let url = format!("{}/Condition/cold", ward.house.base);
    let reply = ask(Method::DELETE, &url, Some(&ward.house.token(Persona::RecordsOfficer)), &[], "").await;
    assert_eq!(reply.status, 204, "{}", reply.text);
    assert!(ward.shelf.get("Condition/cold").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_may_relate_writes_himself_a_relation_that_is_looked_up() {
    let facts = "version: 1\nrelations:\n  claim: false\n  care_team: { is: careTeam, identity: facts, max_age_s: 60 }\n  \
                 encounter: { is: treating, identity: facts, max_age_s: 60, status: [in-progress], ended_within_h: 24 }\n  \
                 general_practitioner: { is: treating, identity: facts, max_age_s: 60 }\nages: {}\nreferences: { mode: check }\n";
    let ward = Ward::open(Wishes {
        upstream_more: "auth: { kind: header, value_file: own }, identities: { facts: { kind: header, value_file: facts } }",
        files: vec![("facts.yaml", facts.into()), ("own", "Bearer own".into()), ("facts", "Bearer facts".into())],
        ..Wishes::default()
    })
    .await;
    let me = json!({"reference": "Practitioner/me"});
    let of = |patient: &str| json!({"reference": format!("Patient/{patient}")});
    // She treats p1, by a visit, and has nothing to do with p2.
    let mut now = visit("now", false);
    (now["status"], now["participant"][0]["individual"]) = (json!("in-progress"), me.clone());
    let mut past = now.clone();
    (past["id"], past["status"], past["period"]) =
        (json!("past"), json!("finished"), json!({"end": "2020-01-01"}));
    let team = |patient: &str, members: Value| json!({"resourceType": "CareTeam", "id": "t", "status": "active", "subject": of(patient), "participant": members});
    let episode = |patient: &str| json!({"resourceType": "EpisodeOfCare", "status": "active", "patient": of(patient), "careManager": me});
    for record in
        [now.clone(), past.clone(), team("p1", json!([])), json!({"resourceType": "Patient", "id": "p2"})]
    {
        ward.shelf.put(record);
    }
    let claims =
        ward.house.issuer.claims_at(Persona::Doctor, jiff::Timestamp::now(), Duration::from_secs(3_600));
    let mut claims = claims.unwrap();
    claims.insert("relations".into(), json!([]));
    claims.insert("fhirUser".into(), json!("Practitioner/me"));
    let token = ward.house.issuer.sign(&claims).unwrap();
    let ask_as_me = async |method: Method, path: &str, kind: (&str, &str), body: &Value| {
        let url = format!("{}/{path}", ward.house.base);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        ask(method, &url, Some(&token), &[kind], &body).await
    };
    let new = |mut record: Value| {
        record.as_object_mut().unwrap().remove("id");
        record
    };
    let with = |record: &Value, name: &str, value: Value| {
        let mut record = record.clone();
        record[name] = value;
        record
    };
    // Whom she treats she may write about.
    let finding = json!({"resourceType": "Observation", "status": "final", "subject": of("p1"), "performer": [me],
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}});
    let reply = ask_as_me(Method::POST, "Observation", FHIR, &finding).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    ward.shelf.writes();
    let gp = json!([me]);
    let mut attempts = vec![
        ("CareTeam/t", team("p1", json!([{"member": me}]))),
        ("Encounter/now", with(&now, "subject", of("p2"))),
        ("Encounter/now", with(&now, "period", json!({"end": "2099-01-01"}))),
        ("Encounter/past", with(&past, "status", json!("in-progress"))),
        ("Patient/p1", json!({"resourceType": "Patient", "id": "p1", "generalPractitioner": gp})),
        ("Patient/p2", json!({"resourceType": "Patient", "id": "p2", "generalPractitioner": gp})),
        (
            "Patient/p1",
            json!({"resourceType": "Patient", "id": "p1", "link": [{"other": of("p2"), "type": "seealso"}]}),
        ),
    ];
    for patient in ["p1", "p2"] {
        attempts.extend([
            ("CareTeam", new(team(patient, json!([{"member": me}])))),
            ("Encounter", new(with(&now, "subject", of(patient)))),
            ("EpisodeOfCare", episode(patient)),
            ("Patient", json!({"resourceType": "Patient", "generalPractitioner": gp})),
            ("Appointment", json!({"resourceType": "Appointment", "status": "booked",
                "participant": [{"actor": me, "status": "accepted"}, {"actor": of(patient), "status": "accepted"}]})),
            ("RelatedPerson", json!({"resourceType": "RelatedPerson", "patient": of(patient), "active": true})),
            ("Group", json!({"resourceType": "Group", "type": "person", "actual": true, "member": [{"entity": of(patient)}]})),
            ("PractitionerRole", json!({"resourceType": "PractitionerRole", "practitioner": me})),
            ("Consent", json!({"resourceType": "Consent", "status": "active", "patient": of(patient), "performer": [me]})),
        ]);
    }
    for (path, record) in attempts {
        let method = if path.contains('/') { Method::PUT } else { Method::POST };
        let reply = ask_as_me(method.clone(), path, FHIR, &record).await;
        assert!([403, 404].contains(&reply.status.as_u16()), "{path} {record}: {}", reply.text);
        if ["CareTeam/t", "Encounter/past", "CareTeam"].contains(&path) && record["subject"] == of("p1") {
            assert!(
                reply.text.contains("you may not write what access itself rests on"),
                "{path}: {}",
                reply.text
            );
        }
        let entry = json!({"resource": record, "request": {"method": method.as_str(), "url": path}});
        let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [entry]});
        let reply = ask_as_me(Method::POST, "", FHIR, &bundle).await;
        assert!([403, 404].contains(&reply.status.as_u16()), "{path} {record}: {}", reply.text);
    }
    let patch = json!([{"op": "add", "path": "/participant", "value": [{"member": me}]}]);
    let reply = ask_as_me(Method::PATCH, "CareTeam/t", PATCH, &patch).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    assert!(ward.shelf.writes().is_empty());
    assert_eq!(ask_as_me(Method::GET, "Patient/p2", FHIR, &Value::Null).await.status, 404);
}
