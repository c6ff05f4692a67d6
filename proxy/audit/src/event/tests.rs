//! Events are valid AuditEvents, name BALP profiles only where they are met, and can be read back.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn read_by_a_doctor() -> Event {
    let mut event = Event::new(Class::Outcome, 1_772_714_096_789, "req-1", "north");
    event.subject = Some(Subject {
        issuer: "https://id.example.org".into(),
        id: "dr-1".into(),
        name: Some("Dr. Ada Stone".into()),
        roles: vec!["clinician".into()],
        token_id: Some("jti-9".into()),
    });
    event.client = Some("ward-app".into());
    event.organization = Some("north-hospital".into());
    event.purpose = Some("TREAT".into());
    event.interaction = Some("read".into());
    event.resource_type = Some("Observation".into());
    event.method = Some("GET".into());
    event.route = Some("/Observation/{id}".into());
    event.query = Some("/Observation/o-1".into());
    event.policy_digest = Some("sha256:abcd".into());
    event.decision = Decision::Permit;
    event.policies = vec!["clinician-treats".into(), "base".into()];
    event.patients = vec!["p-1".into()];
    event.records = vec!["Observation/o-1/3".into()];
    event.treatments = vec![Treated { category: "note".into(), treatment: "redact".into(), count: 2 }];
    event.trace.scoped("Observation.r", vec!["user/*.rs".into()], (true, false));
    event.trace.asked("read", "Observation", (true, false), vec!["clinician-reads".into()]);
    event.trace.ruled("patient", "patient-link", "open");
    event.determined = vec![trace::Determined {
        treatment: "redact".into(),
        basis: "refused".into(),
        policies: vec!["no notes".into()],
        categories: [("note".to_owned(), 2)].into(),
    }];
    event.status = Some(200);
    event.outcome = Some(OutcomeCode::Success);
    event.network = Some("192.0.2.7".into());
    event.server = Some("https://fhir.example.org/north".into());
    event
}

/// The rules of base R4 AuditEvent that bind every entry: cardinalities, required codes, sev-1.
fn assert_base_r4(event: &Value) {
    assert_eq!(event["resourceType"], "AuditEvent");
    {
        let coding = &event["type"];
        assert!(coding["system"].is_string() && coding["code"].is_string());
    }
    assert!(["C", "R", "U", "D", "E"].contains(&event["action"].as_str().unwrap()));
    assert!(crate::time::parse_instant(event["recorded"].as_str().unwrap()).is_some());
    if let Some(outcome) = event.get("outcome") {
        assert!(["0", "4", "8", "12"].contains(&outcome.as_str().unwrap()));
    }
    let agents = event["agent"].as_array().unwrap();
    assert!(!agents.is_empty());
    for agent in agents {
        assert!(agent["requestor"].is_boolean());
        if let Some(network) = agent.get("network") {
            assert!(["1", "2", "3", "4", "5"].contains(&network["type"].as_str().unwrap()));
        }
    }
    assert!(event["source"]["observer"].is_object());
    for entity in event["entity"].as_array().unwrap() {
        assert!(!(entity.get("name").is_some() && entity.get("query").is_some()), "sev-1");
        for detail in entity.get("detail").and_then(Value::as_array).into_iter().flatten() {
            assert!(detail["type"].is_string() && detail["valueString"].is_string());
        }
    }
    assert_nothing_empty(event);
}

fn assert_nothing_empty(value: &Value) {
    match value {
        Value::Null => panic!("null is no FHIR value"),
        Value::String(text) => assert!(!text.trim().is_empty(), "an empty string is no FHIR value"),
        Value::Array(items) => {
            assert!(!items.is_empty(), "an empty array is no FHIR value");
            items.iter().for_each(assert_nothing_empty);
        }
        Value::Object(members) => {
            assert!(!members.is_empty(), "an empty object is no FHIR value");
            members.values().for_each(assert_nothing_empty);
        }
        Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn a_successful_read_follows_the_balp_patient_read_profile() {
    let json = read_by_a_doctor().to_json();
    assert_base_r4(&json);
    assert_eq!(
        json["meta"]["profile"][0],
        "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PatientRead"
    );
    assert_eq!(json["type"]["code"], "rest");
    assert_eq!(json["subtype"][0]["code"], "read");
    assert_eq!(json["action"], "R");
    assert_eq!(json["agent"][0]["type"]["coding"][0]["code"], "110152");
    assert_eq!(json["agent"][1]["type"]["coding"][0]["code"], "110153");
    assert_eq!(json["agent"][2]["type"]["coding"][0]["code"], "IRCP");
    assert_eq!(json["agent"][2]["requestor"], true);
    assert!(json["agent"][2].get("network").is_none());
    assert_eq!(json["agent"][2]["policy"][0], "urn:ietf:params:oauth:jti:jti-9");
    assert_eq!(json["entity"][0]["what"]["reference"], "Observation/o-1/_history/3");
    assert_eq!(json["entity"][1]["what"]["reference"], "Patient/p-1");
    assert_eq!(json["outcome"], "0");
}

#[test]
fn what_was_asked_and_what_determined_stand_in_details_of_the_decision() {
    let json = read_by_a_doctor().to_json();
    let decision = json["entity"].as_array().unwrap().iter().find(|e| e["name"] == "proxy decision").unwrap();
    let detail = |kind: &str| {
        let found = decision["detail"].as_array().unwrap().iter().find(|d| d["type"] == kind).unwrap();
        found["valueString"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        detail("trace"),
        r#"{"scopes":[{"needs":["Observation.r"],"by":["user/*.rs"],"granted":true}],"questions":[{"action":"read","about":["Observation"],"allowed":true,"policies":["clinician-reads"]}],"criteria":[{"name":"patient","category":"patient-link","ruling":"open"}]}"#
    );
    assert_eq!(
        detail("determined"),
        r#"{"treatment":"redact","basis":"refused","policies":["no notes"],"categories":{"note":2}}"#
    );
}

#[test]
fn an_entry_from_before_traces_were_kept_is_read_and_written_as_it_was() {
    let mut old = read_by_a_doctor();
    (old.trace, old.determined) = Default::default();
    let stored = old.canonical();
    let text = String::from_utf8(stored.clone()).unwrap();
    assert!(!text.contains("\"trace\"") && !text.contains("determined"), "{text}");
    let read = Event::from_canonical(&stored).unwrap();
    assert!(read.trace.is_empty() && read.determined.is_empty());
    assert_eq!(read.canonical(), stored);
}

#[test]
fn a_trace_is_cut_where_a_caller_could_make_it_long() {
    let mut trace = trace::Trace::default();
    for i in 0..300 {
        trace.ruled(&format!("{i}{}", "x".repeat(1_000)), "note", "refused");
        trace.asked("read", &format!("Type{i}"), (false, false), Vec::new());
        trace.asked("read", "Type1", (false, false), Vec::new());
    }
    assert_eq!((trace.criteria.len(), trace.questions.len(), trace.questions[0].about.len()), (200, 1, 200));
    assert_eq!(trace.more, 200);
    assert!(trace.criteria.iter().all(|c| c.name.len() <= 120));
    let mut twice = trace.clone();
    twice.extend(&trace);
    assert_eq!(twice.criteria, trace.criteria);
}

#[test]
fn every_balp_profile_is_named_for_its_interaction() {
    for (interaction, with_patient, without) in [
        ("read", "PatientRead", "Read"),
        ("vread", "PatientRead", "Read"),
        ("search-type", "PatientQuery", "Query"),
        ("create", "PatientCreate", "Create"),
        ("update", "PatientUpdate", "Update"),
        ("patch", "PatientUpdate", "Update"),
        ("delete", "PatientDelete", "Delete"),
    ] {
        let mut event = read_by_a_doctor();
        event.interaction = Some(interaction.into());
        let profile = |event: &Event| event.to_json()["meta"]["profile"][0].as_str().unwrap().to_owned();
        assert!(profile(&event).ends_with(&format!("IHE.BasicAudit.{with_patient}")));
        event.patients.clear();
        assert!(profile(&event).ends_with(&format!("IHE.BasicAudit.{without}")));
        assert_base_r4(&event.to_json());
    }
}

#[test]
fn a_denial_an_intent_and_a_failure_never_claim_a_success_profile() {
    let mut denied = read_by_a_doctor();
    denied.class = Class::Refusal;
    denied.decision = Decision::Deny;
    denied.outcome = Some(OutcomeCode::MinorFailure);
    denied.reason = Some("no policy permits this".into());
    let mut intent = read_by_a_doctor();
    intent.class = Class::Intent;
    intent.outcome = None;
    let mut failed = read_by_a_doctor();
    failed.outcome = Some(OutcomeCode::SeriousFailure);
    for event in [denied, intent, failed] {
        let json = event.to_json();
        assert_base_r4(&json);
        assert!(json.get("meta").is_none());
    }
}

#[test]
fn an_event_about_several_patients_is_split_on_export_into_one_each() {
    let mut event = read_by_a_doctor();
    event.interaction = Some("search-type".into());
    event.query = Some("/Observation?code=1234-5".into());
    event.patients = vec!["p-1".into(), "p-2".into(), "p-3".into()];
    assert!(event.to_json().get("meta").is_none());
    let exported = event.to_balp_events();
    assert_eq!(exported.len(), 3);
    for (json, patient) in exported.iter().zip(["p-1", "p-2", "p-3"]) {
        assert_base_r4(json);
        assert!(json["meta"]["profile"][0].as_str().unwrap().ends_with("PatientQuery"));
        let text = json.to_string();
        for other in ["Patient/p-1", "Patient/p-2", "Patient/p-3"] {
            assert_eq!(text.contains(other), other.ends_with(patient));
        }
        // The query is base64, so that no viewer interprets it.
        assert!(!text.contains("1234-5"));
    }
}

#[test]
fn every_class_is_a_valid_audit_event_and_reads_back() {
    for class in Class::ALL {
        let mut event = Event::new(class, 1_000, "r", "t");
        if class == Class::Strangers {
            event.strangers = vec![(Stranger::NoToken, 41), (Stranger::Expired, 1)];
        }
        if class == Class::Tombstone {
            event.erased = vec![(3, 9), (12, 12)];
        }
        assert_base_r4(&event.to_json());
        assert_eq!(Event::from_canonical(&event.canonical()), Ok(event));
        assert_eq!(Class::from_byte(class.byte()), Some(class));
    }
}

#[test]
fn values_that_fhir_cannot_hold_do_not_make_an_invalid_event() {
    let mut event = read_by_a_doctor();
    event.reason = Some(String::new());
    event.client = Some("  ".into());
    event.patients = vec!["not an id".into()];
    event.records = vec!["Observation/a b".into(), "x".into()];
    event.policies.push(String::new());
    let json = event.to_json();
    assert_base_r4(&json);
    let back = Event::from_json(&json).unwrap();
    assert_eq!(
        back.patients,
        event.patients.iter().map(|p| format!("Patient/{p}").replace("Patient/", "")).collect::<Vec<_>>()
    );
    assert_eq!(back.records, event.records);
}

#[test]
fn somebody_elses_audit_event_is_refused() {
    assert_eq!(Event::from_canonical(b"{"), Err(EventFault::NotJson));
    assert_eq!(Event::from_canonical(b"{}"), Err(EventFault::Element("entity")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_entered_is_what_is_read(
        name in "[a-zA-Z .'äß]{0,12}[a-z]",
        query in "[ -~]{1,40}",
        patients in proptest::collection::vec("[A-Za-z0-9.-]{1,20}", 0..4),
        records in proptest::collection::vec("[A-Z][a-z]{2,9}/[A-Za-z0-9.-]{1,20}(/[0-9]{1,3})?", 0..4),
        count in any::<u64>(),
        status in proptest::option::of(100u16..600),
        time_ms in 0u64..4_000_000_000_000,
    ) {
        let mut event = read_by_a_doctor();
        event.time_ms = time_ms;
        if let Some(subject) = &mut event.subject { subject.name = Some(name); }
        event.query = Some(query);
        event.patients = patients;
        event.records = records;
        event.status = status;
        event.treatments.push(Treated { category: "date".into(), treatment: "generalize".into(), count });
        let json = event.to_json();
        assert_base_r4(&json);
        prop_assert_eq!(Event::from_canonical(&event.canonical()).unwrap(), event);
    }
}
