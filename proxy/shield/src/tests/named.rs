//! References to records that the caller does not receive: they leave as if they had never been there.

use std::sync::Arc;

use drape_view::{Facts, Pointer};
use serde_json::{Value, json};

use super::*;
use crate::{Hide, Scout};

/// What comes out where the references to `hidden` (`Type/id`) and to what lies elsewhere are left out.
fn without(record: &Value, declared: bool, hidden: &'static [&'static str]) -> String {
    let text = record.to_string();
    let kind = record["resourceType"].as_str().unwrap();
    let mut shield = Shield::new(Setup { declared, ..setup(any_record(kind), false) });
    let mut out = Vec::new();
    let (_, step) = shield.feed(text.as_bytes(), &mut out).unwrap();
    let Step::Ask(facts) = step else { panic!("no record") };
    let verdicts = facts.records.iter().map(|_| hiding(&[])).collect();
    let hides = |p: &Pointer| p.name().is_none_or(|name| hidden.contains(&name.as_str()));
    let any = facts.records.iter().flat_map(|r| &r.pointers).any(hides);
    let hide = any.then(|| Hide::new(hides));
    shield.answer(Answer { verdicts, seal_key: None, hide }, &mut out).unwrap();
    shield.finish(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn report(hidden: bool) -> Value {
    let mut results = vec![json!({"reference": "Observation/a"})];
    let mut report = json!({
        "resourceType": "DiagnosticReport", "id": "r", "status": "final", "code": {"text": "panel"},
        "subject": {"reference": "Patient/p1", "display": "Lee"},
    });
    if hidden {
        results.insert(
            0,
            json!({"reference": "http://up/fhir/Observation/h/_history/3", "display": "HIV 1 RNA"}),
        );
        report["specimen"] = json!([{"reference": "Specimen/h", "type": "Specimen"}]);
        report["media"] = json!([{"comment": "of it", "link": {"reference": "Media/h"}}]);
        report["encounter"] = json!({"extension": [{"url": "http://x", "valueReference": {"reference": "Observation/h"}}], "reference": "Observation/h"});
    }
    report["result"] = json!(results);
    report
}

const H: &[&str] = &["Observation/h", "Specimen/h", "Media/h"];

#[test]
fn silently_a_record_is_to_the_byte_the_one_that_never_named_what_is_hidden() {
    assert_eq!(without(&report(true), false, H), without(&report(false), false, H));
    // Nothing is hidden in the other, which passes as it is.
    assert_eq!(without(&report(false), false, H), report(false).to_string());
}

#[test]
fn what_is_nothing_without_its_reference_goes_whole_and_it_is_said_that_something_went() {
    let out: Value = serde_json::from_str(&without(&report(true), true, H)).unwrap();
    assert!(
        out.get("media").is_none() && out.get("specimen").is_none() && out.get("encounter").is_none(),
        "{out}"
    );
    assert_eq!(out["result"], json!([{"reference": "Observation/a"}]));
    assert_eq!(out["meta"]["security"][0]["code"], "REDACTED");
    assert_eq!(out["subject"]["display"], "Lee");
    // Where the record itself is nothing without it, something stands in its place.
    let study = json!({"resourceType": "MedicationStatement", "status": "active", "subject": {"reference": "Patient/h"},
        "medicationCodeableConcept": {"text": "m"}});
    let out: Value = serde_json::from_str(&without(&study, true, &["Patient/h"])).unwrap();
    assert!(out["subject"].get("reference").is_none() && out["subject"]["extension"].is_array(), "{out}");
}

#[test]
fn the_facts_tell_what_references_name_and_of_what_type_it_may_be_elsewhere() {
    let record = json!({"resourceType": "Observation", "status": "final", "code": {"text": "c"},
        "subject": {"reference": "Patient/p1"}, "encounter": {"reference": "urn:uuid:1"},
        "hasMember": [{"reference": "http://up/fhir/Observation/a/_history/1"}, {"reference": "#in"}, {"display": "only"}],
        "derivedFrom": [{"reference": "urn:oid:1", "type": "Media"}, {"reference": "http://other/fhir/Observation/z"}],
        "extension": [{"url": "http://x", "valueReference": {"reference": "Condition?code=1"}}],
        "contained": [{"resourceType": "Observation", "id": "in", "focus": [{"reference": "Condition/c"}]}]});
    let text = record.to_string();
    let facts =
        crate::facts_of(&catalogue(), text.as_bytes(), "Observation", &["http://up/fhir"], 64).unwrap();
    let told = |record: usize| {
        let mut told: Vec<String> = facts.records[record]
            .pointers
            .iter()
            .map(|p| {
                format!("{}/{}", p.resource_type.as_deref().unwrap_or("?"), p.id.as_deref().unwrap_or("?"))
            })
            .collect();
        told.sort();
        told
    };
    let expected = ["Condition/?", "Encounter/?", "Media/?", "Observation/?", "Observation/a", "Patient/p1"];
    assert_eq!(told(0), expected);
    assert_eq!(told(1), ["Condition/c"]);
}

#[test]
fn a_scout_sees_every_record_of_a_page_however_it_comes_and_where_the_next_one_is() {
    let entry =
        |url: &str, id: &str| json!({"fullUrl": url, "resource": {"resourceType": "Condition", "id": id}});
    let page = json!({"resourceType": "Bundle", "type": "searchset",
        "link": [{"relation": "next", "url": "http://up/fhir?page=2"}],
        "entry": [entry("http://up/fhir/Condition/a", "a"), entry("http://other/fhir/Condition/b", "b"), entry("http://up/fhir/Condition/c", "c")]});
    let text = page.to_string();
    for size in [1, 7, 1_000] {
        let limits = Limits { entry_bytes_max: 1 << 20, depth_max: 64 };
        let mut scout = Scout::new(catalogue(), keys().0, "http://up/fhir", limits);
        let mut seen: Vec<Arc<Facts>> = Vec::new();
        for chunk in text.as_bytes().chunks(size) {
            scout.feed(chunk, &mut seen).unwrap();
        }
        let ids: Vec<&str> = seen.iter().filter_map(|f| f.main()?.id.as_deref()).collect();
        // What lives on another server is not the record of that id here.
        assert_eq!(ids, ["a", "c"]);
        assert_eq!(scout.finish().unwrap().as_deref(), Some("http://up/fhir?page=2"));
    }
}
