//! A cast is found in somebody else's data too, or said to be impossible.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use drape_demo::{Cast, Persona, Population, derive::DeriveFault};
use serde_json::{Value, json};

fn today() -> jiff::civil::Date {
    "2026-03-02".parse().unwrap()
}

fn patient(id: &str, family: &str, birth: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "name": [{"family": family, "given": ["A"]}], "birthDate": birth})
}

fn encounter(patient: &str, doctor: &str, day: &str) -> Value {
    json!({
        "resourceType": "Encounter", "id": format!("{patient}{doctor}{day}"), "status": "finished",
        "subject": {"reference": format!("http://h/fhir/Patient/{patient}")},
        "participant": [{"individual": {"reference": format!("Practitioner/{doctor}"), "display": format!("Dr. {doctor}")}}],
        "period": {"start": day},
        "serviceProvider": {"reference": "Organization/1"},
    })
}

#[test]
fn the_cast_of_the_made_up_hospital_is_found_in_its_records() {
    let population = Population::generate(3, today());
    let mut resources: Vec<Value> =
        population.resources.iter().map(|r| serde_json::from_slice(&r.json).unwrap()).collect();
    let cast = Cast::derive(&resources, today()).unwrap();
    for persona in Persona::ALL {
        assert!(cast.member(persona).is_some(), "{persona:?}");
    }
    let guardian = cast.member(Persona::Guardian).unwrap();
    assert!(guardian.fhir_user.as_deref().unwrap().starts_with("RelatedPerson/"));
    assert!(guardian.relations.iter().all(|r| r.is == ["guardian"] && r.birth_date.is_some()));
    let lead = cast.figures.lead.clone().unwrap();
    for persona in [Persona::Doctor, Persona::Nurse] {
        let relations = &cast.member(persona).unwrap().relations;
        assert!(relations.len() <= 40 && relations.iter().any(|r| r.patient == lead), "{persona:?}");
    }
    resources.reverse();
    // The older version of a patient now comes last; apart from that the order must not matter.
    resources.retain(|r| r.pointer("/address/0/line/0") != Some(&json!("9 Formerly Lane")));
    assert_eq!(Cast::derive(&resources, today()).unwrap(), cast);
}

#[test]
fn the_doctor_is_who_sees_most_patients() {
    let resources = [
        patient("a", "One", "1980-01-01"),
        patient("b", "Two", "1970-01-01"),
        patient("c", "Three", "2020-01-01"),
        encounter("a", "x", "2026-01-01"),
        encounter("a", "x", "2026-01-02"),
        encounter("a", "y", "2026-01-03"),
        encounter("b", "y", "2026-01-04"),
        encounter("b", "y", "2026-01-05"),
        encounter("gone", "x", "2026-01-05"),
        encounter("gone2", "x", "2026-01-05"),
    ];
    let cast = Cast::derive(&resources, today()).unwrap();
    let doctor = cast.member(Persona::Doctor).unwrap();
    assert_eq!(doctor.fhir_user.as_deref(), Some("Practitioner/y"));
    assert_eq!(doctor.name, "Dr. y");
    assert_eq!(cast.figures.lead.as_deref(), Some("b"));
    assert_eq!(doctor.relations[0].birth_date.as_deref(), Some("1970-01-01"));
    assert_eq!(cast.member(Persona::Nurse).unwrap().departments, ["Organization/1"]);
    // No RelatedPerson: the issuer vouches for the parent of the child.
    let guardian = cast.member(Persona::Guardian).unwrap();
    assert_eq!((guardian.fhir_user.as_deref(), guardian.relations[0].patient.as_str()), (None, "c"));
}

#[test]
fn parts_that_nobody_can_play_are_left_out() {
    let cast = Cast::derive(&[patient("a", "One", "1980")], today()).unwrap();
    for persona in [Persona::Doctor, Persona::Nurse, Persona::Guardian] {
        assert!(cast.member(persona).is_none(), "{persona:?}");
    }
    assert!(cast.member(Persona::Attacker).is_some());
    assert_eq!(cast.member(Persona::Patient).unwrap().patient.as_deref(), Some("a"));
    assert_eq!(Cast::derive(&[], today()), Err(DeriveFault::NoPatients));
    assert_eq!(
        Cast::derive(&[json!({"resourceType": "Patient"}), json!(7)], today()),
        Err(DeriveFault::NoPatients)
    );
}

#[test]
fn a_dead_child_or_a_grown_up_one_has_no_guardian() {
    let parent = |id: &str, child: &str, code: &str| {
        json!({
            "resourceType": "RelatedPerson", "id": id, "patient": {"reference": format!("Patient/{child}")},
            "relationship": [{"coding": [{"code": code}]}], "name": [{"family": "P", "given": ["Q"]}],
        })
    };
    let mut dead = patient("d", "P", "2015-01-01");
    dead["deceasedBoolean"] = json!(true);
    let grown = patient("g", "P", "2000-01-01");
    let none = [dead.clone(), grown.clone(), parent("1", "d", "MTH"), parent("2", "g", "MTH")];
    assert!(Cast::derive(&none, today()).unwrap().member(Persona::Guardian).is_none());
    let one = [
        dead,
        grown,
        patient("k", "P", "2015-01-01"),
        parent("1", "d", "MTH"),
        parent("3", "k", "MTH"),
        parent("2", "g", "MTH"),
        parent("4", "k", "NBOR"),
    ];
    let cast = Cast::derive(&one, today()).unwrap();
    let guardian = cast.member(Persona::Guardian).unwrap();
    assert_eq!(guardian.fhir_user.as_deref(), Some("RelatedPerson/3"));
    assert_eq!(guardian.relations.iter().map(|r| r.patient.as_str()).collect::<Vec<_>>(), ["k"]);
}
