//! References and contained records: what they name decides, and none is left that leads nowhere.

use super::*;

fn observation(more: &Value) -> Value {
    let mut record = json!({"resourceType": "Observation", "id": "o", "status": "final", "code": {"coding": [{"code": "x"}]}});
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    record
}

fn pseudonymous() -> Verdict {
    plan(|c| if c.is_link() { Treatment::Pseudonymize } else { Treatment::Show })
}

#[test]
fn a_reference_is_judged_by_what_it_names_and_not_by_what_it_says_of_itself() {
    let staff_only = hiding(&[Category::PatientLink, Category::PersonName]);
    for hidden in [
        json!({"reference": "Patient/hush", "type": "Practitioner", "display": "hush"}),
        json!({"reference": "http://other/fhir/Patient/hush", "type": "Practitioner", "display": "hush"}),
        json!({"reference": "http://up/fhirX/Patient/hush", "type": "Practitioner", "display": "hush"}),
        json!({"reference": "http://other/fhir/Patient/hush/_history/2", "display": "hush"}),
        json!({"reference": "urn:uuid:hush", "display": "hush"}),
        json!({"type": "Patient", "display": "hush"}),
        json!({"display": "hush"}),
        json!({"reference": "hush"}),
        json!({"reference": "Patient?name=hush", "type": "Practitioner"}),
        json!({"reference": "http://other/Practitioner?name=hush"}),
        json!({"reference": "http://up/fhir/Practitioner?name=hush"}),
        json!({"reference": "Practitioner/1", "type": "hush"}),
        json!({"reference": {"x": "hush"}, "type": ["hush"], "display": 7}),
        json!({"reference": "#hush", "display": "hush"}),
        json!({"reference": "Practitioner/1", "nonsense": "hush", "_reference": {"id": "hush"}}),
    ] {
        let out = shield(&observation(&json!({"performer": [hidden]})), &staff_only).unwrap();
        assert!(!out.to_string().contains("hush"), "{hidden} -> {out}");
    }
    for shown in [
        json!({"reference": "Practitioner/1", "display": "Dr Who"}),
        json!({"reference": "http://other/fhir/Practitioner/1", "type": "Practitioner", "display": "Dr Who"}),
        json!({"type": "Organization", "display": "A ward"}),
    ] {
        let out = shield(&observation(&json!({"performer": [shown]})), &staff_only).unwrap();
        assert_eq!(out["performer"][0], shown);
    }
}

#[test]
fn only_addresses_under_the_very_base_are_rewritten() {
    let verdict = hiding(&[Category::Genomic]);
    for (from, to) in [
        ("http://up/fhir/Patient/1", "https://pub/Patient/1"),
        ("http://up/fhirX/Patient/1", "http://up/fhirX/Patient/1"),
        ("http://up/fhir.evil/Patient/1", "http://up/fhir.evil/Patient/1"),
        ("http://up/fhir@evil/Patient/1", "http://up/fhir@evil/Patient/1"),
        ("Patient/1", "Patient/1"),
    ] {
        let record = observation(&json!({"subject": {"reference": from}}));
        assert_eq!(shield(&record, &verdict).unwrap()["subject"]["reference"], to);
        let out =
            run(setup(any_record("Observation"), true), &[&serde_json::to_vec(&record).unwrap()], &|_| {
                vec![hiding(&[])]
            });
        assert_eq!(serde_json::from_slice::<Value>(&out.unwrap().0).unwrap()["subject"]["reference"], to);
    }
    // The base is found however it is spelt in JSON.
    let spelt =
        br#"{"resourceType":"Observation","subject":{"reference":"http:\/\/up\/fh\u0069r\/Patient\/1"}}"#;
    let (out, _) = run(setup(any_record("Observation"), true), &[spelt], &|_| vec![hiding(&[])]).unwrap();
    assert_eq!(out, br#"{"resourceType":"Observation","subject":{"reference":"https://pub/Patient/1"}}"#);
}

#[test]
fn a_base_within_a_text_or_a_name_stays_and_each_at_the_start_of_a_text_is_the_public_one() {
    let text = |values: &[&str]| {
        format!(r#"{{"resourceType":"Observation","http://up/fhir":[{}]}}"#, values.join(" , ")).into_bytes()
    };
    let (from, to): (Vec<_>, Vec<_>) = [
        (r#""http://up/fhir""#, r#""https://pub""#),
        (r#""see http://up/fhir/x""#, r#""see http://up/fhir/x""#),
        (r#""http://up/fhir/http://up/fhir""#, r#""https://pub/http://up/fhir""#),
        (r#""\"http://up/fhir""#, r#""\"http://up/fhir""#),
        (r#""http://up/fhir?\u0061""#, r#""https://pub?a""#),
        (r#"{"x":"http:\/\/up/fhir#a","y":"\n"}"#, r#"{"x":"https://pub#a","y":"\n"}"#),
        ("1", "1"),
        (r#""http://up/fhir/1""#, r#""https://pub/1""#),
    ]
    .into_iter()
    .unzip();
    let (out, _) =
        run(setup(any_record("Observation"), true), &[&text(&from)], &|_| vec![hiding(&[])]).unwrap();
    assert_eq!(String::from_utf8(out), String::from_utf8(text(&to)));
}

#[test]
fn an_address_outside_a_reference_gives_no_hidden_link_away() {
    let record = |uri: &str| {
        json!({"resourceType": "Procedure", "id": "p", "status": "completed", "subject": {"reference": "Patient/1"},
        "code": {"coding": [{"system": "http://up/fhir/CodeSystem/local", "code": "c"}]}, "instantiatesUri": [uri]})
    };
    for hidden in [
        "http://up/fhir/Patient/hush",
        "Patient/hush",
        "http://up/fhir/Observation/hush/_history/1",
        "Patient?name=hush",
        "#hush",
    ] {
        let out = shield(&record(hidden), &pseudonymous()).unwrap();
        assert!(!out.to_string().contains("hush"), "{out}");
    }
    for (from, to) in [
        ("http://guideline.example/x", "http://guideline.example/x"),
        ("http://up/fhir/PlanDefinition/1", "https://pub/PlanDefinition/1"),
    ] {
        assert_eq!(shield(&record(from), &pseudonymous()).unwrap()["instantiatesUri"], json!([to]));
    }
    assert_eq!(
        shield(&record("Patient/1"), &hiding(&[Category::Genomic])).unwrap()["instantiatesUri"],
        json!(["Patient/1"])
    );
}

#[test]
fn lv_51_a_record_keeps_its_pseudonym_when_something_in_it_has_the_same_id() {
    let record = observation(&json!({
        "contained": [{"resourceType": "Specimen", "id": "o", "status": "available"}],
        "specimen": {"reference": "#o"}, "derivedFrom": [{"reference": "Observation/o"}]}));
    let out = shield(&record, &pseudonymous()).unwrap();
    assert_eq!(out["id"], keys_pseudonym("Observation", "o"));
    assert_eq!(
        out["derivedFrom"][0]["reference"],
        format!("Observation/{}", keys_pseudonym("Observation", "o"))
    );
    let inner = out["contained"][0]["id"].as_str().unwrap();
    assert_eq!(out["specimen"]["reference"], format!("#{inner}"));
    assert_ne!(out["id"], inner);
}

#[test]
fn lv_04_what_is_contained_goes_when_nothing_leads_to_it_any_more_however_long_the_chain() {
    let chain: Vec<Value> = (0..40)
        .map(|n| json!({"resourceType": "Organization", "id": format!("c{n}"), "name": "hush", "partOf": {"reference": format!("#c{}", n + 1)}}))
        .chain([json!({"resourceType": "Organization", "id": "c40", "name": "hush"})])
        .collect();
    let record = observation(
        &json!({"contained": chain, "subject": {"reference": "#c0"}, "performer": [{"reference": "#c0"}]}),
    );
    let out = shield(&record, &hiding(&[Category::Genomic])).unwrap();
    assert_eq!(out["contained"].as_array().unwrap().len(), 41);
    let out = shield(&record, &hiding(&[Category::Staff])).unwrap();
    assert!(out.get("contained").is_none() && !out.to_string().contains('#'), "{out}");
    assert_eq!(out["meta"]["security"][0]["code"], "REDACTED");
}

#[test]
fn lv_04_no_reference_is_left_to_a_contained_record_that_went() {
    let record = json!({"resourceType": "MedicationRequest", "id": "m", "status": "active", "intent": "order",
        "contained": [
            {"resourceType": "Medication", "id": "med", "code": {"coding": [{"code": "c"}]}, "manufacturer": {"reference": "#maker"},
             "modifierExtension": [{"url": "http://vendor/not", "valueBoolean": true}]},
            {"resourceType": "Organization", "id": "maker", "name": "Maker"},
            {"resourceType": "Practitioner", "id": "doc", "gender": "male"}],
        "medicationReference": {"reference": "#med"}, "requester": {"reference": "#doc"}, "subject": {"reference": "Patient/p"}});
    let out = shield(&record, &hiding(&[Category::Genomic])).unwrap();
    assert_eq!(out["contained"].as_array().unwrap().iter().map(|c| &c["id"]).collect::<Vec<_>>(), ["doc"]);
    assert_eq!(out["medicationReference"]["extension"][0]["valueCode"], "masked");
    assert!(!out.to_string().contains("#m"), "{out}");
}

#[test]
fn a_contained_record_that_leads_to_its_container_or_is_named_by_address_stays() {
    let record = json!({"resourceType": "QuestionnaireResponse", "id": "q", "status": "completed",
        "contained": [
            {"resourceType": "Questionnaire", "id": "form", "status": "active"},
            {"resourceType": "Observation", "id": "about", "status": "final", "code": {"coding": [{"code": "c"}]}, "focus": [{"reference": "#"}]},
            {"resourceType": "Observation", "id": "a", "status": "final", "code": {"coding": [{"code": "c"}]}, "hasMember": [{"reference": "#b"}]},
            {"resourceType": "Observation", "id": "b", "status": "final", "code": {"coding": [{"code": "c"}]}, "hasMember": [{"reference": "#a"}]}],
        "questionnaire": "#form"});
    let out = shield(&record, &hiding(&[Category::Genomic])).unwrap();
    let ids: Vec<&Value> = out["contained"].as_array().unwrap().iter().map(|c| &c["id"]).collect();
    assert_eq!(ids, ["form", "about"], "two that only name each other are named by nobody");
    assert_eq!(out["questionnaire"], "#form");
    let ids = |v: &Value| v["contained"].as_array().map_or(0, Vec::len);
    let out = shield(&record, &hiding(&[Category::Service])).unwrap();
    assert_eq!((out.get("questionnaire"), ids(&out)), (None, 1), "{out}");
}

#[test]
fn two_contained_records_of_one_id_are_not_told_apart_by_guessing() {
    let record = observation(&json!({"subject": {"reference": "#x", "display": "hush"}, "contained": [
        {"resourceType": "Practitioner", "id": "x", "gender": "male"},
        {"resourceType": "Patient", "id": "x", "name": [{"family": "hush"}]}]}));
    assert!(shield(&record, &hiding(&[Category::PersonName])).is_none());
    let text = serde_json::to_vec(&record).unwrap();
    let all = |f: &Facts| f.records.iter().map(|_| hiding(&[])).collect();
    assert_eq!(run(setup(any_record("Observation"), true), &[&text], &all).unwrap().0, text);
}

#[test]
fn records_nested_otherwise_than_contained_reach_only_those_who_see_everything() {
    let patient = json!({"resourceType": "Patient", "id": "x", "name": [{"family": "hush"}]});
    let nested = json!({"resourceType": "Medication", "id": "y", "contained": [patient]});
    for odd in [
        observation(&json!({"contained": [nested], "subject": {"reference": "#y"}})),
        observation(&json!({"contained": patient, "subject": {"reference": "#x"}})),
        json!({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": patient}]}),
        json!({"resourceType": "Parameters", "parameter": [{"name": "p", "resource": patient}]}),
    ] {
        assert!(shield(&odd, &hiding(&[Category::Identifier])).is_none(), "{odd}");
        assert_eq!(shield(&odd, &hiding(&[])).unwrap(), odd);
    }
    // Where the definitions know no record, a reduced view shows nothing.
    let odd = observation(
        &json!({"resource": patient, "valueQuantity": {"resource": patient}, "contained": [[patient]]}),
    );
    let out = shield(&odd, &hiding(&[Category::Identifier])).unwrap_or_default();
    assert!(!out.to_string().contains("hush"));
}

#[test]
fn the_meta_of_what_is_contained_is_judged_too_and_carries_no_labels_of_ours() {
    let record = observation(
        &json!({"specimen": {"reference": "#s"}, "contained": [{"resourceType": "Specimen", "id": "s",
        "meta": {"profile": ["http://p"], "source": "http://hush"}, "accessionIdentifier": {"value": "hush"}}]}),
    );
    let out = shield(&record, &hiding(&[Category::DeviceNetwork, Category::Identifier])).unwrap();
    assert!(out["contained"][0].get("meta").is_none(), "of a reduced record no profile's claim is certain");
    assert_eq!(out["meta"]["security"][0]["code"], "REDACTED", "what was done inside is said outside");
    assert!(!out.to_string().contains("hush"));
}

#[test]
fn what_a_caller_sends_back_is_named_as_the_server_names_it() {
    let rebased = |text: &str| {
        let bytes = crate::rebase(text.as_bytes(), "https://public/fhir", "http://up:8080/fhir", 64).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!(
        rebased(
            r#"{"a": 1.00, "reference" : "https:\/\/public/fhir/Patient/1","b":["https://public/fhir"]}"#
        ),
        r#"{"a": 1.00, "reference" : "http://up:8080/fhir/Patient/1","b":["http://up:8080/fhir"]}"#
    );
    for same in [
        r#"{"a":"https://public/fhirs/Patient/1"}"#,
        r#"{"https://public/fhir/x":"see https://public/fhir/x"}"#,
    ] {
        assert_eq!(rebased(same), same);
    }
    assert!(crate::rebase(b"{", "a", "b", 64).is_err());
}
