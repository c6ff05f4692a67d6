//! Records as an odd or hostile server would send them: nothing that is hidden may slip past on a way that the
//! definitions do not foresee. Names that begin with `lv` are those of the leak catalogue.

use super::*;

fn researcher() -> Verdict {
    plan(|c| match c {
        Category::RecordId | Category::PatientLink | Category::RecordLink => Treatment::Pseudonymize,
        Category::BirthDate | Category::EventDate | Category::RecordedDate => {
            Treatment::Generalize(Coarsening::Year)
        }
        Category::Address => Treatment::Generalize(Coarsening::Zip3),
        Category::Death => Treatment::Generalize(Coarsening::Flag),
        Category::PersonName | Category::Identifier | Category::Contact | Category::Staff => {
            Treatment::Redact
        }
        _ => Treatment::Show,
    })
}

fn text(record: &Value, verdict: &Verdict) -> String {
    shield(record, verdict).map(|v| v.to_string()).unwrap_or_default()
}

#[test]
fn lv_06_a_hidden_item_of_a_list_takes_its_sibling_along_and_moves_no_other() {
    let listed = |text: &str| json!({"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/patient-religion", "valueString": text}]});
    let hidden = json!({"extension": [{"url": "http://vendor/x", "valueString": "hush"}]});
    let record = json!({"resourceType": "Patient", "id": "p", "name": [{
        "given": ["A", {"odd": "hush"}, null, "B", null],
        "_given": [hidden, listed("two"), listed("three"), null, hidden],
        "_prefix": [hidden, listed("alone")],
        "suffix": ["S", null], "_suffix": [null, hidden],
    }]});
    let out = shield(&record, &hiding(&[Category::Genomic])).unwrap();
    let name = &out["name"][0];
    assert_eq!(name["given"], json!(["A", null, null, "B"]));
    assert_eq!(name["_given"], json!([null, listed("two"), listed("three"), null]));
    assert_eq!(name["_prefix"], json!([listed("alone")]));
    assert_eq!((&name["suffix"], name.get("_suffix")), (&json!(["S"]), None));
    assert!(!out.to_string().contains("hush"));
    // The same from the other side: the sibling stands first.
    let turned =
        json!({"resourceType": "Patient", "name": [{"_given": [null, listed("x")], "given": [7, "B"]}]});
    let out = shield(&turned, &hiding(&[Category::Genomic])).unwrap();
    assert_eq!(out["name"][0], json!({"given": ["B"], "_given": [listed("x")]}));
}

#[test]
fn lv_06_what_stands_beside_one_value_is_not_taken_for_a_list_nor_the_other_way_round() {
    let beside = json!({"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/patient-religion", "valueString": "x"}]});
    for (value, sibling) in [(json!("1980"), json!([beside])), (json!(["1980"]), beside.clone())] {
        let record =
            json!({"resourceType": "Patient", "gender": "male", "birthDate": value, "_birthDate": sibling});
        let out = shield(&record, &hiding(&[Category::Genomic])).unwrap();
        assert_eq!((out.get("birthDate"), out.get("_birthDate")), (Some(&value), None));
    }
}

#[test]
fn a_mandatory_value_that_only_its_sibling_explains_is_explained_once() {
    let why = json!({"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]});
    for value in [Value::Null, json!({"odd": "hush"}), json!(7)] {
        let record = json!({"resourceType": "Immunization", "status": "completed", "vaccineCode": {"coding": [{"code": "c"}]},
            "patient": {"reference": "Patient/1"}, "occurrenceDateTime": value, "_occurrenceDateTime": why});
        let out = shield(&record, &hiding(&[Category::Genomic])).unwrap();
        assert_eq!((out.get("occurrenceDateTime"), &out["_occurrenceDateTime"]), (None, &why));
    }
    let record = json!({"resourceType": "Immunization", "status": "completed", "vaccineCode": {"coding": [{"code": "c"}]},
        "patient": {"reference": "Patient/1"}, "occurrenceDateTime": {"odd": "hush"},
        "_occurrenceDateTime": {"extension": [{"url": "http://vendor/x", "valueString": "hush"}]}});
    let out = shield(&record, &hiding(&[Category::Genomic])).unwrap();
    assert_eq!(out["_occurrenceDateTime"]["extension"][0]["valueCode"], "masked");
}

#[test]
fn both_choices_of_one_element_never_become_the_same_member_twice() {
    let record = json!({"resourceType": "Patient", "gender": "male", "deceasedBoolean": false, "deceasedDateTime": "2020-05-06"});
    let flag =
        plan(
            |c| if c == Category::Death { Treatment::Generalize(Coarsening::Flag) } else { Treatment::Show },
        );
    assert!(shield(&record, &flag).is_none(), "it says both that somebody died and that not");
    let record = json!({"resourceType": "Observation", "status": "final", "code": {"coding": [{"code": "x"}]},
        "valueInteger": 7, "valueBoolean": true, "component": [{"code": {"coding": [{"code": "y"}]}, "valueInteger": 1, "valueTime": "10:00:00"}]});
    let out = shield(&record, &hiding(&[Category::FindingValue, Category::Answer])).unwrap();
    assert_eq!(out["dataAbsentReason"]["coding"][0]["code"], "masked");
    assert_eq!(out["component"][0]["dataAbsentReason"]["coding"][0]["code"], "masked");
}

#[test]
fn a_value_of_another_type_than_the_definitions_give_it_does_not_pass() {
    let record = json!({"resourceType": "Patient", "gender": "male", "active": true,
        "multipleBirthInteger": "hush", "telecom": [{"value": "555", "rank": "hush"}], "birthDate": 19800101,
        "photo": [{"size": "hush", "title": "x"}], "language": true, "contact": "hush"});
    let out = shield(&record, &hiding(&[Category::Genomic])).unwrap();
    assert!(!out.to_string().contains("hush") && !out.to_string().contains("1980"), "{out}");
    assert_eq!(
        (&out["active"], &out["gender"], &out["telecom"][0]),
        (&json!(true), &json!("male"), &json!({"value": "555"}))
    );
    let odd = json!({"resourceType": "Patient", "gender": "male", "active": "hush"});
    assert!(shield(&odd, &hiding(&[Category::Genomic])).is_none(), "`active` is a modifier");
}

#[test]
fn lv_05_an_extension_that_only_gives_shape_has_no_room_for_anything_else() {
    const ABSENT: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";
    let record = json!({"resourceType": "Patient", "gender": "male", "_birthDate": {"extension": [
        {"url": ABSENT, "valueCode": "masked"}, {"url": ABSENT, "valueString": "hush"},
        {"url": ABSENT, "valueHumanName": {"family": "hush"}}, {"url": ABSENT, "extension": [{"url": "x", "valueString": "hush"}]},
        {"url": ABSENT, "valueCode": ["hush"]}]}});
    let out = shield(&record, &hiding(&[Category::Genomic])).unwrap();
    assert_eq!(out["_birthDate"]["extension"], json!([{"url": ABSENT, "valueCode": "masked"}]));
}

#[test]
fn lv_05_an_extension_whose_value_is_hidden_goes_with_its_url() {
    const RACE: &str = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race";
    let record = json!({"resourceType": "Patient", "gender": "male", "extension": [
        {"url": RACE, "valueReference": {"reference": "Practitioner/1", "display": "hush"}},
        {"url": RACE, "id": "e1"}, {"url": RACE}, {"valueString": "no url"},
        {"url": RACE, "extension": [{"url": "http://vendor/x", "valueString": "hush"}]},
        {"url": RACE, "extension": [{"url": "text", "valueString": "White"}]}]});
    let out = shield(&record, &hiding(&[Category::Staff])).unwrap();
    assert_eq!(
        out["extension"],
        json!([{"url": RACE, "extension": [{"url": "text", "valueString": "White"}]}])
    );
}

#[test]
fn lv_07_nothing_passes_in_meta_that_would_not_pass_elsewhere() {
    let record = json!({"resourceType": "Patient", "id": "p", "gender": "male", "meta": {
        "versionId": {"odd": "hush"}, "lastUpdated": "2026-01-02T03:04:05Z", "nonsense": "hush", "id": "m",
        "extension": [{"url": "http://vendor/x", "valueString": "hush"}],
        "profile": ["http://p", {"odd": "hush"}], "_profile": [{"extension": [{"url": "http://vendor/x", "valueString": "hush"}]}],
        "security": [{"system": "s", "code": "R", "extension": [{"url": "http://vendor/x", "valueString": "hush"}]}, "hush"],
        "tag": [{"code": "t", "nonsense": "hush", "display": "d"}]}});
    let out = shield(&record, &hiding(&[Category::PersonName])).unwrap();
    assert!(!out.to_string().contains("hush"), "{out}");
    assert_eq!(out["meta"]["tag"], json!([{"code": "t", "display": "d"}]));
    assert_eq!(out["meta"]["security"][0], json!({"system": "s", "code": "R"}));
    assert_eq!(out["meta"]["security"][1]["code"], "REDACTED");
    assert_eq!(
        (&out["meta"]["profile"], &out["meta"]["lastUpdated"]),
        (&json!(["http://p"]), &json!("2026-01-02T03:04:05Z"))
    );
    let out = shield(&record, &hiding(&[Category::Label, Category::RecordedDate])).unwrap();
    assert_eq!(out["meta"].as_object().unwrap().keys().collect::<Vec<_>>(), ["id", "security"]);
    assert_eq!(out["meta"]["security"].as_array().unwrap().len(), 1);
}

#[test]
fn a_profile_that_asks_for_whole_dates_is_not_claimed_where_only_years_are_left() {
    let record = json!({"resourceType": "Observation", "id": "o", "status": "final", "code": {"coding": [{"code": "x"}]},
        "meta": {"profile": ["http://hl7.org/fhir/StructureDefinition/vitalsigns"], "tag": [{"code": "t"}]}, "effectiveDateTime": "2026-01-02"});
    let out = shield(&record, &researcher()).unwrap();
    assert_eq!((out["meta"].get("profile"), &out["effectiveDateTime"]), (None, &json!("2026")));
    assert!(out["meta"].get("tag").is_some());
}

#[test]
fn lv_51_ids_of_elements_are_hidden_where_ids_of_records_are() {
    let record = json!({"resourceType": "Patient", "id": "p1", "gender": "male",
        "address": [{"id": "CI-77-0", "state": "MA"}], "maritalStatus": {"id": "CI-78", "coding": [{"id": "CI-79", "code": "M"}]},
        "generalPractitioner": [{"id": "CI-80", "reference": "Organization/o"}]});
    let out = text(&record, &researcher());
    assert!(!out.contains("CI-") && out.contains("MA") && out.contains("\"M\""), "{out}");
    assert!(text(&record, &hiding(&[Category::Genomic])).contains("CI-77-0"));
}

#[test]
fn ages_and_birth_dates_over_89_leave_wherever_they_stand() {
    let year = |record: Value| shield(&record, &researcher()).unwrap_or_default();
    let born =
        |date: &str| year(json!({"resourceType": "Patient", "id": "p", "gender": "male", "birthDate": date}));
    assert_eq!(born("1936-11-01").get("birthDate"), None, "90 today");
    assert_eq!(born("1936-11-02")["birthDate"], "1936", "89 until tomorrow");
    assert_eq!(born("1936").get("birthDate"), None, "perhaps 90");
    assert_eq!(born("1936-11").get("birthDate"), None, "perhaps 90");
    assert_eq!(born("1937")["birthDate"], "1937");
    let history = |more: Value| {
        let mut record = json!({"resourceType": "FamilyMemberHistory", "status": "completed", "patient": {"reference": "Patient/1"}, "relationship": {"coding": [{"code": "GRMTH"}]}});
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        year(record)
    };
    assert_eq!(history(json!({"bornDate": "1920-01-01"})).get("bornDate"), None);
    assert_eq!(history(json!({"bornDate": "1950-01-01"}))["bornDate"], "1950");
    assert_eq!(
        history(json!({"bornPeriod": {"start": "1920-01-01", "end": "1950-01-01"}}))["bornPeriod"],
        json!({"end": "1950"})
    );
    let age = |value: Value| json!({"ageAge": {"value": value, "system": "http://unitsofmeasure.org", "code": "a", "unit": "hush"}});
    assert_eq!(history(age(json!(34.7)))["ageAge"]["value"], 34, "a fraction tells the month of birth");
    assert_eq!(history(age(json!(89.9)))["ageAge"]["value"], 89);
    assert_eq!(history(age(json!(90)))["ageAge"]["comparator"], ">=");
    for odd in [json!("34"), json!(-1), json!(null)] {
        assert_eq!(history(age(odd)).get("ageAge"), None);
    }
    assert_eq!(history(json!({"deceasedBoolean": true}))["deceasedBoolean"], true);
    for odd in [
        json!({"deceasedString": "hush"}),
        json!({"deceasedDate": "2001-02-03"}),
        json!({"deceasedAge": {"value": 40, "code": "a"}}),
    ] {
        let out = history(odd).to_string();
        assert!(!out.contains("deceased") && !out.contains("hush"), "{out}");
    }
}

#[test]
fn whether_somebody_died_stays_where_the_year_of_death_would() {
    let verdict =
        plan(
            |c| if c == Category::Death { Treatment::Generalize(Coarsening::Year) } else { Treatment::Show },
        );
    let patient = |key: &str, value: Value| {
        let record = json!({"resourceType": "Patient", "gender": "male", key: value});
        shield(&record, &verdict).unwrap()[key].clone()
    };
    assert_eq!(patient("deceasedBoolean", json!(false)), json!(false));
    assert_eq!(patient("deceasedDateTime", json!("2020-05-06")), json!("2020"));
}

#[test]
fn an_old_address_does_not_pass_for_a_current_one() {
    let record = |how: &str| json!({"resourceType": "Patient", "gender": "male", "address": [{"use": how, "city": "Town"}]});
    assert_eq!(shield(&record("old"), &hiding(&[Category::Region])).unwrap().get("address"), None);
    assert_eq!(
        shield(&record("home"), &hiding(&[Category::Region])).unwrap()["address"],
        json!([{"city": "Town"}])
    );
    assert_eq!(shield(&record("old"), &hiding(&[Category::Genomic])).unwrap()["address"][0]["use"], "old");
}

#[test]
fn lv_10_an_outcome_says_how_bad_and_what_kind_and_nothing_else() {
    let record = json!({"resourceType": "OperationOutcome", "id": "hush", "issue": [{"severity": "warning", "code": "processing",
        "diagnostics": "hush", "details": {"coding": [{"system": "s", "code": "4101", "display": "hush"}], "text": "hush"},
        "expression": ["Patient.name.where(family='hush')"], "location": ["hush"]}]});
    let out = shield(&record, &hiding(&[Category::RecordId])).unwrap();
    assert_eq!(out["issue"], json!([{"severity": "warning", "code": "processing"}]));
    assert!(!out.to_string().contains("hush"));
}

#[test]
fn a_body_that_is_a_number_is_no_record_and_no_bundle() {
    for expect in [any_record("Patient"), Expect::Bundle(BundleKind::Searchset)] {
        for body in [&b"12"[..], b" 12 ", b"\"Patient\"", b"null", b"[]", b"", b" "] {
            let fault = run(setup(expect.clone(), true), &[body], &|_| vec![]).unwrap_err();
            assert_eq!(fault.kind, FaultKind::Upstream);
        }
    }
}

fn facts(record: &Value) -> Facts {
    let text = serde_json::to_vec(record).unwrap();
    facts_of(&catalogue(), &text, record["resourceType"].as_str().unwrap(), &["http://up/fhir"], 64).unwrap()
}

#[test]
fn the_version_of_a_record_stands_in_its_own_meta_alone() {
    let record = json!({"resourceType": "Patient", "id": "p", "extension": [
        {"url": "http://vendor/x", "valueMeta": {"versionId": "9", "tag": [{"code": "t"}]}}],
        "meta": {"versionId": "3"}, "_active": {"extension": [{"url": "http://vendor/x", "valueMeta": {"versionId": "8"}}]}});
    assert_eq!(facts(&record).records[0].version.as_deref(), Some("3"));
    let bare = json!({"resourceType": "Patient", "extension": [{"url": "http://vendor/x", "valueMeta": {"versionId": "9"}}]});
    assert_eq!(facts(&bare).records[0].version, None);
}

#[test]
fn a_code_is_found_wherever_it_hides() {
    let coding = json!({"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "B20"});
    let hidden = json!({"extension": [{"url": "http://vendor/x", "valueCoding": coding}]});
    for (place, more) in [
        ("beside a primitive", json!({"_recordedDate": hidden})),
        ("in an extension", json!({"extension": hidden["extension"]})),
        (
            "in a concept's extension",
            json!({"code": {"coding": [{"system": "s", "code": "c"}], "extension": hidden["extension"]}}),
        ),
        (
            "in a coding's extension",
            json!({"code": {"coding": [{"system": "s", "code": "c", "extension": hidden["extension"]}]}}),
        ),
        (
            "beside a concept's text",
            json!({"code": {"coding": [{"system": "s", "code": "c"}], "_text": hidden}}),
        ),
        (
            "as the third coding",
            json!({"code": {"coding": [{"system": "s", "code": "c"}, {"code": "d"}, coding]}}),
        ),
        (
            "in a contained record",
            json!({"contained": [{"resourceType": "Observation", "id": "o", "valueCodeableConcept": {"coding": [coding]}}]}),
        ),
        ("in a single concept where a list belongs", json!({"category": {"coding": [coding]}})),
    ] {
        let mut record =
            json!({"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p"}});
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let found =
            facts(&record).records.iter().flat_map(|r| r.concepts.iter().flatten()).any(|c| c.code == "B20");
        assert!(found, "{place}");
    }
}

#[test]
fn several_subjects_where_one_belongs_leave_the_patient_unknown() {
    let record = |subject: Value| json!({"resourceType": "Condition", "id": "c", "subject": subject});
    let one = json!({"reference": "Patient/p"});
    assert!(facts(&record(one.clone())).records[0].patients_complete);
    for odd in [
        json!([one, {"reference": "Patient/q"}]),
        json!([one]),
        json!(null),
        json!("Patient/p"),
        json!({"reference": ["Patient/p"]}),
        json!({"reference": "http://up/fhirX/Patient/p"}),
        json!({"reference": "http://other/Patient/p"}),
        json!({"reference": "urn:uuid:1"}),
        json!({"reference": "Patient?identifier=p"}),
        json!({"reference": "Patient/p/../q"}),
        json!({"reference": "Group/p"}),
        json!({"display": "p"}),
    ] {
        assert!(!facts(&record(odd.clone())).records[0].patients_complete, "{odd}");
    }
    let ids = facts(&json!({"resourceType": "Patient", "id": ["p", "q"]}));
    assert_eq!((&ids.records[0].id, ids.records[0].patients_complete), (&None, false));
}

#[test]
fn contained_records_beyond_counting_are_refused() {
    let many: Vec<Value> =
        (0..4_097).map(|n| json!({"resourceType": "Patient", "id": n.to_string()})).collect();
    let text = serde_json::to_vec(&json!({"resourceType": "Observation", "contained": many})).unwrap();
    let fault = facts_of(&catalogue(), &text, "Observation", &[], 64).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Limit);
}
