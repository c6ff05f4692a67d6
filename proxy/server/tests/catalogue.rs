//! The leak catalogue over HTTP: a record that says in one way or another what is hidden, and what arrives of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;
mod scripted;

use std::sync::Arc;

use common::*;
use drape_demo::Persona;
use drape_shield::ENCRYPTED_ELEMENT;
use http::Method;
use parking_lot::Mutex;
use scripted::{Heard, Script, Scripted};
use serde_json::{Value, json};

/// Stands in everything that must not arrive.
const HUSH: &str = "Umberfield";

/// A house whose doctor is shown everything but some categories, before an upstream with these records.
struct Scene {
    house: House,
    shelf: Scripted,
}

impl Scene {
    /// `instead`: a treatment that is permitted for what is hidden.
    async fn new(hidden: &[&str], instead: Option<&str>, records: Vec<Value>) -> Self {
        let held = Arc::new(records);
        let shelf = Scripted::open(move |heard| answer(&held, heard)).await;
        let list: Vec<String> = hidden.iter().map(|c| format!("Category::\"{c}\"")).collect();
        let list = list.join(", ");
        let role = "principal in Role::\"clinician\"";
        let mut policy = format!(
            "@id(\"ask\") permit({role}, action in Action::\"access\", resource);
             @id(\"by\") permit({role}, action == Action::\"searchBy\", resource);
             @id(\"receive\") permit({role}, action == Action::\"receive\", resource);
             @id(\"show\") permit({role}, action == Action::\"show\", resource) unless {{ [{list}].contains(resource) }};
             @id(\"all\") permit(principal in Role::\"records-officer\", action, resource);"
        );
        if let Some(instead) = instead {
            policy += &format!(
                "@id(\"instead\") permit({role}, action == Action::\"{instead}\", resource) when {{ [{list}].contains(resource) }};"
            );
        }
        let house = House::with(Wishes {
            upstream: Some(shelf.base.clone()),
            policy: Some(&policy),
            ..Wishes::default()
        })
        .await;
        Self { house, shelf }
    }

    /// What the doctor gets of a path: nothing of it holds what is hidden, and the one who sees all gets all of it.
    async fn doctor(&self, path: &str) -> Reply {
        let reply = self.house.get(Persona::Doctor, path).await;
        let all = everything(&reply);
        assert!(!all.contains(HUSH), "{path}: {all}");
        let whole = self.house.get(Persona::RecordsOfficer, path).await;
        assert!(whole.status == 200 && whole.text.contains(HUSH), "{path}: {} {}", whole.status, whole.text);
        reply
    }
}

fn everything(reply: &Reply) -> String {
    let headers: String =
        reply.headers.iter().map(|(n, v)| format!("{n}: {}\n", v.to_str().unwrap())).collect();
    format!("{headers}\n{}", reply.text)
}

fn answer(records: &[Value], heard: &Heard) -> Script {
    let path = heard.target.split('?').next().unwrap_or_default().trim_start_matches('/');
    let host = heard.headers.iter().find(|(n, _)| n == "host").map(|(_, v)| v.as_str()).unwrap_or_default();
    let entry = |r: &&Value| {
        let url = format!(
            "http://{host}/fhir/{}/{}",
            r["resourceType"].as_str().unwrap(),
            r["id"].as_str().unwrap()
        );
        json!({"fullUrl": url, "resource": r, "search": {"mode": "match"}})
    };
    match path.split('/').collect::<Vec<_>>().as_slice() {
        [kind] => {
            let entries: Vec<Value> =
                records.iter().filter(|r| r["resourceType"] == *kind).map(|r| entry(&r)).collect();
            let bundle = json!({"resourceType": "Bundle", "type": "searchset", "total": entries.len(), "entry": entries});
            Script::ok(bundle.to_string())
        }
        [kind, id, ..] => match records.iter().find(|r| r["resourceType"] == *kind && r["id"] == *id) {
            Some(record) => Script::ok(record.to_string()),
            None => Script::unknown(),
        },
        [] => Script::unknown(),
    }
}

/// What the doctor sees of one record with something hidden.
async fn read(hidden: &[&str], record: Value) -> Value {
    let path = format!("{}/{}", record["resourceType"].as_str().unwrap(), record["id"].as_str().unwrap());
    let reply = Scene::new(hidden, None, vec![record]).await.doctor(&path).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()
}

fn observation(more: Value) -> Value {
    let mut record = json!({"resourceType": "Observation", "id": "o1", "status": "final", "subject": {"reference": "Patient/p1"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}});
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    record
}

fn patient(more: Value) -> Value {
    let mut record = json!({"resourceType": "Patient", "id": "p1", "gender": "female"});
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_01_no_narrative_repeats_what_is_hidden() {
    let div = format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">Ann {HUSH}</div>");
    let text = json!({"status": "generated", "div": div});
    let seen = read(&["person-name"], patient(json!({"text": text, "name": [{"family": HUSH}]}))).await;
    assert!(seen.get("text").is_none() && seen.get("name").is_none() && seen["gender"] == "female", "{seen}");
    // Whatever it is that is hidden, the narrative could say it.
    let seen = read(&["genomic"], observation(json!({"text": text}))).await;
    assert!(seen.get("text").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_02_no_reference_displays_a_hidden_name() {
    let record = observation(json!({"subject": {"reference": "Patient/p1", "display": HUSH},
        "performer": [{"reference": "Practitioner/d", "display": "Dr. Shown"}]}));
    let seen = read(&["person-name"], record).await;
    assert_eq!(seen["subject"], json!({"reference": "Patient/p1"}));
    assert_eq!(seen["performer"][0]["display"], "Dr. Shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_03_no_reference_identifies_by_a_hidden_number() {
    let identifier = json!({"system": "http://hospital.example/mrn", "value": HUSH});
    let record = observation(json!({"subject": {"reference": "Patient/p1", "identifier": identifier}}));
    let seen = read(&["identifier"], record).await;
    assert_eq!(seen["subject"], json!({"reference": "Patient/p1"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_04_no_contained_copy_says_what_is_hidden_and_no_reference_dangles() {
    let record = observation(json!({
        "contained": [
            {"resourceType": "Patient", "id": "c1", "gender": "female", "name": [{"family": HUSH}]},
            {"resourceType": "Practitioner", "id": "c2", "name": [{"family": HUSH}]},
        ],
        "subject": {"reference": "#c1"}, "performer": [{"reference": "#c2"}]}));
    let seen = read(&["person-name", "staff"], record).await;
    let contained: Vec<&str> =
        seen["contained"].as_array().into_iter().flatten().map(|c| c["id"].as_str().unwrap()).collect();
    for place in ["/subject/reference", "/performer/0/reference"] {
        if let Some(id) = seen.pointer(place).and_then(Value::as_str).and_then(|r| r.strip_prefix('#')) {
            assert!(contained.contains(&id), "{place} dangles: {seen}");
        }
    }
    assert!(!contained.contains(&"c2"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_05_no_extension_says_what_is_hidden_and_one_that_modifies_closes_the_record() {
    let race = json!({"url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race", "extension": [{"url": "text", "valueString": "shown"}]});
    let maiden = json!({"url": "http://hl7.org/fhir/StructureDefinition/patient-mothersMaidenName", "valueString": HUSH});
    let vendor = json!({"url": "http://vendor.example/x", "valueString": HUSH});
    let inside = json!([{"family": "x", "extension": [vendor]}]);
    let record = patient(json!({"extension": [race, maiden, vendor], "name": inside}));
    let seen = read(&["person-name"], record).await;
    assert_eq!(seen["extension"], json!([race]));
    let record = patient(json!({"modifierExtension": [vendor]}));
    let reply = Scene::new(&["genomic"], None, vec![record]).await.doctor("Patient/p1").await;
    assert_eq!(reply.status, 404, "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_06_nothing_beside_a_hidden_value_stays_and_no_comment() {
    let beside = json!({"id": HUSH, "fhir_comments": [HUSH], "extension": [
        {"url": "http://hl7.org/fhir/StructureDefinition/patient-birthTime", "valueDateTime": format!("1980-02-03T{HUSH}")}]});
    let record = patient(
        json!({"birthDate": format!("1980-{HUSH}"), "_birthDate": beside, "fhir_comments": [HUSH], "_gender": {"fhir_comments": [HUSH]}}),
    );
    let seen = read(&["birth-date"], record).await;
    assert!(
        seen.get("birthDate").is_none() && seen.get("_birthDate").is_none() && seen["gender"] == "female",
        "{seen}"
    );
    // XML has other places for comments and ids: it is made of what is shown.
    let record = patient(json!({"birthDate": HUSH, "_birthDate": {"id": HUSH}, "fhir_comments": [HUSH]}));
    let scene = Scene::new(&["birth-date"], None, vec![record]).await;
    let url = format!("{}/Patient/p1", scene.house.base);
    let token = scene.house.token(Persona::Doctor);
    let xml = ask(Method::GET, &url, Some(&token), &[("accept", "application/fhir+xml")], "").await;
    assert!(xml.status == 200 && xml.text.contains("<Patient") && !xml.text.contains(HUSH), "{}", xml.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_07_source_tags_and_profiles_go_with_their_categories() {
    let meta = json!({"versionId": "1", "source": format!("http://ward.example/{HUSH}"), "profile": [format!("http://p.example/{HUSH}")],
        "tag": [{"system": "http://t.example", "code": HUSH, "display": HUSH}]});
    let seen = read(&["device-network", "label"], observation(json!({"meta": meta}))).await;
    let meta = &seen["meta"];
    assert!(
        ["source", "profile", "tag"].iter().all(|m| meta.get(*m).is_none()) && meta["versionId"] == "1",
        "{meta}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_08_the_label_that_says_why_something_is_hidden_is_hidden_too() {
    let security = json!([{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV", "display": HUSH}]);
    let seen = read(&["label"], observation(json!({"meta": {"security": security}}))).await;
    assert!(!seen.to_string().contains("HIV"), "{seen}");
    // What is left says what was done, not why.
    let codes: Vec<_> =
        seen["meta"]["security"].as_array().unwrap().iter().map(|c| c["code"].clone()).collect();
    assert_eq!(codes, ["REDACTED"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_09_what_speaks_of_other_records_reaches_only_those_who_see_everything() {
    let provenance = json!({"resourceType": "Provenance", "id": "v1", "target": [{"reference": "Patient/p1", "display": HUSH}], "recorded": "2026-01-02T03:04:05Z",
        "agent": [{"who": {"reference": "Practitioner/d"}}]});
    let event = json!({"resourceType": "AuditEvent", "id": "a1", "recorded": "2026-01-02T03:04:05Z", "type": {"code": "rest"},
        "agent": [{"requestor": true}], "source": {"observer": {"display": "x"}}, "entity": [{"description": HUSH}]});
    let scene = Scene::new(&["genomic"], None, vec![provenance, event]).await;
    for path in ["Provenance/v1", "AuditEvent/a1", "Provenance", "AuditEvent"] {
        assert_eq!(scene.doctor(path).await.status, 403, "{path}");
    }
    scene.shelf.heard();
    for path in ["Patient?_revinclude=Provenance:target", "Patient?_revinclude=AuditEvent:entity"] {
        let reply = scene.house.get(Persona::Doctor, path).await;
        assert_eq!((reply.status.as_u16(), scene.shelf.heard().len()), (403, 0), "{path}: {}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_10_no_word_of_an_upstreams_error_arrives() {
    let said = json!({"resourceType": "OperationOutcome", "text": {"status": "generated", "div": HUSH}, "issue": [{"severity": "error", "code": "business-rule",
        "diagnostics": HUSH, "details": {"text": HUSH}, "expression": [HUSH], "location": [HUSH]}]});
    let shelf = Scripted::open(move |heard| {
        Script::ok(said.to_string()).with(if heard.target.contains('?') { 400 } else { 422 })
    })
    .await;
    let house = House::with(Wishes { upstream: Some(shelf.base.clone()), ..Wishes::default() }).await;
    for (path, status) in [("Patient/p1", 422), ("Patient?gender=female", 400)] {
        let reply = house.get(Persona::RecordsOfficer, path).await;
        assert_eq!(reply.status, status, "{}", reply.text);
        assert!(!everything(&reply).contains(HUSH), "{}", reply.text);
        assert_eq!(reply.json()["issue"][0]["code"], "business-rule");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_23_asking_for_a_part_brings_no_record_past_its_label() {
    // By the hospital's rules: the doctor is not shown substance use, which only the code tells.
    let code = json!({"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "F11.20", "display": HUSH}]});
    let record = json!({"resourceType": "Condition", "id": "c1", "subject": {"reference": "Patient/p1"}, "code": code});
    let held = Arc::new(vec![record]);
    let shelf = Scripted::open(move |heard| answer(&held, heard)).await;
    let house = House::with(Wishes { upstream: Some(shelf.base.clone()), ..Wishes::default() }).await;
    for part in ["_elements=subject", "_summary=text", "_summary=true", "_summary=data"] {
        for path in [format!("Condition/c1?{part}"), format!("Condition?patient=p1&{part}")] {
            let reply = house.get(Persona::Doctor, &path).await;
            assert!(reply.status == 404 || reply.json().get("entry").is_none(), "{path}: {}", reply.text);
            for heard in shelf.heard() {
                assert!(
                    !heard.target.contains("_elements") && !heard.target.contains("_summary"),
                    "{}",
                    heard.target
                );
            }
        }
    }
    // Who sees every record alike gets the part that was asked for.
    house.get(Persona::RecordsOfficer, "Condition/c1?_elements=subject").await;
    assert!(shelf.heard()[0].target.contains("_elements=subject"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_24_a_total_counts_nothing_that_is_withheld() {
    let house = House::plain().await;
    for path in [
        "Condition?patient=p1&_total=accurate",
        "Condition?patient=p1&_total=estimate",
        "Condition?patient=p1",
    ] {
        let reply = house.get(Persona::Doctor, path).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(reply.json().get("total").is_none(), "{path}: {}", reply.text);
    }
    for path in [
        "Condition?patient=p1&_summary=count",
        "Condition?patient=p1&_count=0",
        "Condition/c2/_history?_count=0",
    ] {
        let reply = house.get(Persona::Doctor, path).await;
        assert_eq!(reply.status, 403, "{path}: {}", reply.text);
    }
    let all = house.get(Persona::RecordsOfficer, "Condition?patient=p1&_summary=count").await;
    assert_eq!(all.json()["total"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_46_no_hash_size_or_title_confirms_a_hidden_document() {
    let attachment = json!({"contentType": "application/pdf", "data": "VW1iZXJmaWVsZA==", "url": format!("http://h/{HUSH}"), "size": 77177, "hash": "aHVzaA==", "title": HUSH, "creation": "2001-02-03"});
    let record = json!({"resourceType": "DocumentReference", "id": "d1", "status": "current", "content": [{"attachment": attachment}]});
    let seen = read(&["genomic"], record).await.to_string();
    for part in ["77177", "aHVzaA==", "VW1iZXJmaWVsZA==", "2001-02-03"] {
        assert!(!seen.contains(part), "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_47_what_a_document_reference_says_of_its_document_goes_by_category() {
    let record = json!({"resourceType": "DocumentReference", "id": "d1", "status": "current", "description": HUSH, "date": "2001-02-03T04:05:06Z",
        "type": {"coding": [{"system": "http://loinc.org", "code": "11488-4", "display": HUSH}], "text": HUSH},
        "category": [{"text": HUSH}], "author": [{"reference": "Practitioner/d", "display": HUSH}],
        "context": {"period": {"start": "2001-02-03"}, "facilityType": {"text": HUSH}, "practiceSetting": {"text": HUSH}, "related": [{"reference": "Condition/c", "display": HUSH}]},
        "content": [{"attachment": {"title": HUSH}}]});
    let seen =
        read(&["service", "note", "event-date", "recorded-date", "staff", "document", "record-link"], record)
            .await;
    assert!(!seen.to_string().contains("2001-02") && !seen.to_string().contains("11488-4"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_51_no_id_that_speaks_arrives_where_ids_are_hidden() {
    let mrn = format!("mrn-{HUSH}-47");
    let person = json!({"resourceType": "Patient", "id": mrn, "gender": "female", "link": [{"other": {"reference": format!("Patient/{mrn}")}, "type": "seealso"}]});
    let record = observation(
        json!({"id": format!("o-{HUSH}"), "subject": {"reference": format!("Patient/{mrn}")},
        "hasMember": [{"reference": format!("http://h/fhir/Observation/{HUSH}")}], "component": [{"id": HUSH, "code": {"coding": [{"system": "http://loinc.org", "code": "x"}]}}]}),
    );
    let scene =
        Scene::new(&["record-id", "patient-link", "record-link"], Some("pseudonymize"), vec![person, record])
            .await;
    let patients = scene.doctor("Patient").await;
    let observations = scene.doctor("Observation").await;
    let name = patients.json()["entry"][0]["resource"]["id"].as_str().unwrap().to_owned();
    let seen = observations.json();
    assert_eq!(
        seen["entry"][0]["resource"]["subject"]["reference"],
        format!("Patient/{name}"),
        "one name everywhere: {seen}"
    );
    // By the pseudonym the record is found, by its own id it is not.
    let known = scene.house.get(Persona::Doctor, &format!("Patient/{name}")).await;
    assert!(known.status == 200 && !everything(&known).contains(HUSH), "{}", known.text);
    assert_eq!(scene.house.get(Persona::Doctor, &format!("Patient/{mrn}")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_52_a_hidden_code_takes_its_display_its_text_and_its_other_codings_along() {
    let code = json!({"coding": [{"system": "http://snomed.info/sct", "code": "38341003", "display": HUSH, "userSelected": true},
        {"system": "http://local.example", "code": HUSH}], "text": HUSH});
    let record = json!({"resourceType": "Condition", "id": "c1", "subject": {"reference": "Patient/p1"}, "code": code, "severity": {"text": HUSH},
        "stage": [{"summary": {"text": HUSH}}], "evidence": [{"code": [{"text": HUSH}]}]});
    let seen = read(&["diagnosis"], record).await;
    assert!(!seen.to_string().contains("38341003") && !seen.to_string().contains("userSelected"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_53_no_free_text_stays_where_anything_is_hidden() {
    let record =
        observation(json!({"note": [{"text": HUSH, "time": "2001-02-03T04:05:06Z"}], "valueString": HUSH}));
    let seen = read(&["genomic"], record).await;
    // What remains: that there was a note, and when.
    assert!(seen["note"][0].get("text").is_none() && seen.get("valueString").is_none(), "{seen}");
    let report = json!({"resourceType": "DiagnosticReport", "id": "r1", "status": "final", "code": {"coding": [{"system": "http://loinc.org", "code": "x"}]}, "conclusion": HUSH});
    assert!(read(&["genomic"], report).await.get("conclusion").is_none());
    let order = json!({"resourceType": "MedicationRequest", "id": "m1", "status": "active", "intent": "order", "subject": {"reference": "Patient/p1"},
        "medicationCodeableConcept": {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "1"}]},
        "dosageInstruction": [{"text": HUSH, "patientInstruction": HUSH}], "note": [{"text": HUSH}]});
    read(&["genomic"], order).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_54_answers_and_the_words_of_questions_go_and_their_number_stays() {
    let item = json!([{"linkId": "q1", "text": HUSH, "answer": [{"valueString": HUSH}, {"valueCoding": {"code": HUSH, "display": HUSH}}, {"valueBoolean": true}]},
        {"linkId": "q2", "text": HUSH, "item": [{"linkId": "q2a", "answer": [{"valueReference": {"reference": "Condition/c", "display": HUSH}}]}]}]);
    let record =
        json!({"resourceType": "QuestionnaireResponse", "id": "q1", "status": "completed", "item": item});
    let seen = read(&["answer", "note"], record).await;
    // What remains: that there were questions, by their linkId.
    assert!(!seen.to_string().contains("true"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_55_what_would_tell_a_hidden_value_goes_with_it() {
    let record = observation(
        json!({"valueQuantity": {"value": 77177, "unit": HUSH}, "interpretation": [{"coding": [{"code": "HH", "display": HUSH}]}],
        "referenceRange": [{"low": {"value": 70007}, "high": {"value": 70008}, "text": HUSH}],
        "component": [{"code": {"coding": [{"system": "http://loinc.org", "code": "x"}]}, "valueInteger": 77177, "interpretation": [{"text": HUSH}]}]}),
    );
    let seen = read(&["finding-value"], record).await;
    let text = seen.to_string();
    assert!(!["77177", "HH", "70007", "70008"].iter().any(|t| text.contains(t)), "{seen}");
    // A medicine tells what it is given for: by the hospital's rules it carries that label.
    let methadone = json!({"resourceType": "MedicationRequest", "id": "m1", "status": "active", "intent": "order", "subject": {"reference": "Patient/p1"},
        "medicationCodeableConcept": {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "6813", "display": HUSH}]}});
    let held = Arc::new(vec![methadone]);
    let shelf = Scripted::open(move |heard| answer(&held, heard)).await;
    let house = House::with(Wishes { upstream: Some(shelf.base.clone()), ..Wishes::default() }).await;
    let reply = house.get(Persona::Doctor, "MedicationRequest/m1").await;
    assert_eq!(reply.status, 404, "{}", reply.text);
}

/// Everything that the process logs while these tests run.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct IntoLog;

impl std::io::Write for IntoLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_60_neither_log_nor_metrics_hold_a_request_or_a_record() {
    const SAID: &str = "Quillmarsh";
    let _ =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(|| IntoLog).try_init();
    let record = json!({"resourceType": "Patient", "id": format!("p-{SAID}"), "name": [{"family": SAID}]});
    let scene = Scene::new(&["genomic"], None, vec![record]).await;
    let house = &scene.house;
    for path in [
        format!("Patient/p-{SAID}"),
        format!("Patient?name={SAID}"),
        format!("Patient/p-{SAID}/$match?x={SAID}"),
        format!("{SAID}/1"),
        format!("Patient?{SAID}=1"),
        format!("_page/{SAID}"),
        format!("Observation/{SAID}/_history"),
    ] {
        for persona in [Persona::Doctor, Persona::Attacker, Persona::RecordsOfficer] {
            house.get(persona, &path).await;
        }
        ask(Method::GET, &format!("{}/{path}", house.base), Some(SAID), &[], "").await;
    }
    let token = house.token(Persona::RecordsOfficer);
    let body = json!({"resourceType": "Patient", "id": SAID, "name": [{"family": SAID}]}).to_string();
    for kind in ["application/fhir+json", "text/plain"] {
        let headers = [
            ("content-type", kind),
            ("x-request-id", SAID),
            ("user-agent", SAID),
            ("if-match", "W/\"Quillmarsh\""),
        ];
        ask(Method::PUT, &format!("{}/Patient/{SAID}", house.base), Some(&token), &headers, &body).await;
        ask(
            Method::POST,
            &format!("{}/Patient", house.base),
            Some(&token),
            &headers[..1],
            &format!("{body}{SAID}"),
        )
        .await;
    }
    let metrics = ask(Method::GET, &format!("{}/metrics", house.admin), None, &[], "").await;
    assert!(
        metrics.text.contains("drape_requests_total") && !metrics.text.contains(SAID),
        "{}",
        metrics.text
    );
    let log = String::from_utf8_lossy(&LOG.lock()).into_owned();
    let ours: Vec<&str> = log.lines().filter(|l| l.contains("drape")).collect();
    assert!(!log.is_empty() && ours.iter().all(|l| !l.contains(SAID)), "{ours:#?}");
    // At the level of a running proxy nothing of the libraries' own words is kept either.
    let kept = |l: &&str| !l.contains("TRACE") && !l.contains("DEBUG");
    assert!(log.lines().filter(kept).all(|l| !l.contains(SAID) && !l.contains(HUSH)));
}

fn sealed(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if map.get("url").is_some_and(|u| u == ENCRYPTED_ELEMENT) {
                found.extend(map.values().skip(1).filter_map(Value::as_str).map(str::to_owned));
            }
            map.values().for_each(|v| sealed(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| sealed(v, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_62_what_is_equal_is_sealed_differently_and_short_texts_in_equal_length() {
    let named = |id: &str, email: &str| json!({"resourceType": "Patient", "id": id, "gender": "female", "telecom": [{"value": email}]});
    let (short, other, long) =
        (format!("{HUSH}1"), format!("{HUSH}-22"), format!("{HUSH}{}", "x".repeat(40)));
    let records = vec![named("p1", &short), named("p2", &other), named("p3", &long)];
    let scene = Scene::new(&["contact"], Some("encrypt"), records).await;
    let mut all = Vec::new();
    for path in ["Patient/p1", "Patient/p1", "Patient/p2", "Patient/p3"] {
        let reply = scene.doctor(path).await;
        let mut found = Vec::new();
        sealed(&reply.json(), &mut found);
        let [one] = found.as_slice() else { panic!("{}", reply.text) };
        all.push(one.clone());
    }
    assert_ne!(all[0], all[1], "the same text twice");
    assert_eq!(all[0].len(), all[2].len(), "lengths within sixteen bytes are one");
    // What remains: a text that is much longer is seen to be.
    assert!(all[3].len() > all[0].len());
}
