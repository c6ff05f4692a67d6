//! The made-up hospital is the same each time, valid R4 as far as the definitions can tell, and holds what the tour needs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::collections::{BTreeMap, BTreeSet};

use drape_demo::{Persona, Population};
use drape_fhir::definitions::r4;
use serde_json::Value;

const TODAY: &str = "2026-03-02";

fn population() -> Population {
    Population::generate(7, TODAY.parse().unwrap())
}

fn values(population: &Population) -> Vec<Value> {
    population.resources.iter().map(|r| serde_json::from_slice(&r.json).unwrap()).collect()
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn the_same_seed_and_day_make_the_same_bytes() {
    let (a, b) = (population(), population());
    assert_eq!(a.resources, b.resources);
    assert_eq!(a.cast, b.cast);
    let other = Population::generate(8, TODAY.parse().unwrap());
    assert_ne!(a.resources, other.resources);
}

#[test]
fn any_seed_and_any_day_make_a_hospital_with_a_whole_cast() {
    for seed in 0..12 {
        // A leap day, and new year's day, on which "some days ago" lies in another year.
        for day in ["2028-02-29", "2027-01-01"] {
            let population = Population::generate(seed, day.parse().unwrap());
            let figures = &population.cast.figures;
            for persona in Persona::ALL {
                assert!(population.cast.member(persona).is_some(), "{seed} {persona:?}");
            }
            for figure in
                [&figures.lead, &figures.vip, &figures.small_zone, &figures.stranger, &figures.deceased]
            {
                assert!(figure.is_some(), "{seed} {day} {figures:?}");
            }
            assert!(
                (12..=40).contains(&relations(&population, Persona::Doctor).len()),
                "{seed} doctor {}",
                relations(&population, Persona::Doctor).len()
            );
            assert!((4..=12).contains(&relations(&population, Persona::Nurse).len()), "{seed} nurse");
        }
    }
}

fn relations(population: &Population, persona: Persona) -> BTreeMap<String, Vec<String>> {
    let member = population.cast.member(persona).unwrap();
    member.relations.iter().map(|r| (r.patient.clone(), r.is.clone())).collect()
}

#[test]
fn every_reference_points_to_a_resource_that_came_before() {
    let population = population();
    let mut known = BTreeSet::new();
    for (resource, value) in population.resources.iter().zip(values(&population)) {
        known.insert(format!("{}/{}", resource.resource_type, resource.id));
        let contained: BTreeSet<&str> =
            value["contained"].as_array().into_iter().flatten().map(|c| text(c, "/id")).collect();
        each(&value, &mut |member| {
            let Some(reference) = member.get("reference").and_then(Value::as_str) else { return };
            match reference.strip_prefix('#') {
                Some(inner) => assert!(contained.contains(inner), "{reference} in {}", resource.id),
                None => assert!(
                    known.contains(reference),
                    "{reference} in {}/{}",
                    resource.resource_type,
                    resource.id
                ),
            }
        });
    }
}

fn each(value: &Value, visit: &mut dyn FnMut(&Value)) {
    visit(value);
    match value {
        Value::Array(items) => items.iter().for_each(|i| each(i, visit)),
        Value::Object(members) => members.values().for_each(|m| each(m, visit)),
        _ => {}
    }
}

#[test]
fn every_resource_keeps_to_the_definitions() {
    let mut faults = BTreeSet::new();
    for value in values(&population()) {
        let name = text(&value, "/resourceType").to_owned();
        check(&value, &name, &name, &mut faults);
    }
    assert_eq!(faults, BTreeSet::new());
}

/// Unknown and missing elements, lists that are none, two of one choice, references to types not allowed, empty values.
fn check(value: &Value, at: &str, path: &str, faults: &mut BTreeSet<String>) {
    let Some(members) = value.as_object() else {
        faults.insert(format!("{path}: not an object"));
        return;
    };
    let elements = r4().elements(at);
    let mut seen = BTreeMap::new();
    for (key, member) in members.iter().filter(|(k, _)| *k != "resourceType") {
        let name = key.strip_prefix('_').unwrap_or(key);
        let found = elements
            .iter()
            .find_map(|e| e.json_names().find(|(n, _)| n == name).map(|(_, data_type)| (e, data_type)));
        let Some((element, data_type)) = found else {
            faults.insert(format!("{path}.{key}: unknown"));
            continue;
        };
        if key.starts_with('_') {
            continue;
        }
        if seen.insert(element.path, key).is_some() {
            faults.insert(format!("{path}: two of {}", element.path));
        }
        if element.list != member.is_array() {
            faults.insert(format!("{path}.{key}: list or not"));
        }
        let items: Vec<&Value> = member.as_array().map_or_else(|| vec![member], |i| i.iter().collect());
        if items.is_empty() {
            faults.insert(format!("{path}.{key}: empty"));
        }
        for item in items {
            let inner = format!("{path}.{key}");
            if item.is_null() || item == "" || item.as_object().is_some_and(serde_json::Map::is_empty) {
                faults.insert(format!("{inner}: empty"));
            }
            // A reference may be a name alone.
            if data_type == "Reference" && item.get("reference").is_some() {
                let kind = text(item, "/reference").split('/').next().unwrap_or_default();
                let targets: Vec<&str> = element.targets().collect();
                if !kind.starts_with('#') && !targets.is_empty() && !targets.contains(&kind) {
                    faults.insert(format!("{inner}: points to `{kind}`"));
                }
            }
            if data_type == "Resource" {
                let kind = text(item, "/resourceType");
                check(item, kind, &inner, faults);
            } else if r4().kind(data_type) == Some(drape_fhir::definitions::TypeKind::Primitive)
                || item.is_string()
            {
                primitive(item, data_type, &inner, faults);
            } else {
                check(item, r4().children_of(element, data_type), &inner, faults);
            }
        }
    }
    for element in elements.iter().filter(|e| e.min > 0) {
        if !seen.contains_key(element.path) {
            faults.insert(format!("{path}: {} is missing", element.path));
        }
    }
}

fn primitive(value: &Value, data_type: &str, path: &str, faults: &mut BTreeSet<String>) {
    let fits = match data_type {
        "boolean" => value.is_boolean(),
        "integer" | "positiveInt" | "unsignedInt" => value.is_i64() || value.is_u64(),
        "decimal" => value.is_number(),
        "date" => value.as_str().is_some_and(|d| d.len() == 10 && d.parse::<jiff::civil::Date>().is_ok()),
        "instant" => value.as_str().is_some_and(|d| d.parse::<jiff::Timestamp>().is_ok()),
        "dateTime" => value.as_str().is_some_and(|d| {
            d.parse::<jiff::Timestamp>().is_ok() || (d.len() == 10 && d.parse::<jiff::civil::Date>().is_ok())
        }),
        "code" | "id" | "uri" => value.as_str().is_some_and(|c| c.trim() == c && !c.contains("  ")),
        _ => value.is_string(),
    };
    if !fits {
        faults.insert(format!("{path}: {value} is no {data_type}"));
    }
}

#[test]
fn nothing_is_dated_today_or_later() {
    let today = TODAY.parse::<jiff::civil::Date>().unwrap();
    for value in values(&population()) {
        each(&value, &mut |member| {
            if let Some(day) =
                member.as_str().and_then(|s| s.get(..10)).and_then(|d| d.parse::<jiff::civil::Date>().ok())
            {
                assert!(day < today, "{member} in {}", value["id"]);
            }
        });
    }
}

#[test]
fn decimals_stand_with_all_their_digits() {
    let population = population();
    let text: String =
        population.resources.iter().map(|r| String::from_utf8_lossy(&r.json).into_owned()).collect();
    let mut with_trailing_zero = 0;
    for (at, _) in text.match_indices("\"value\":") {
        let number: String = text[at + 8..].chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        with_trailing_zero += usize::from(number.contains('.') && number.ends_with('0'));
    }
    assert!(with_trailing_zero > 200, "{with_trailing_zero}");
}

#[test]
fn no_record_is_labelled_and_sensitive_codes_are_there() {
    let all = values(&population());
    assert!(all.iter().all(|v| v.pointer("/meta/security").is_none() && v.get("securityLabel").is_none()));
    let patients_with = |code: &str| {
        all.iter()
            .filter(|v| v["resourceType"] == "Condition")
            .filter(|v| v.pointer("/code/coding/0/code").is_some_and(|c| c == code))
            .map(|v| text(v, "/subject/reference"))
            .collect::<BTreeSet<_>>()
            .len()
    };
    for (code, least) in [("B20", 3), ("F11.20", 2), ("F33.1", 8), ("A56.00", 2), ("E11.9", 8), ("I10", 25)] {
        assert!(patients_with(code) >= least, "{code}: {}", patients_with(code));
    }
}

#[test]
fn the_hospital_has_what_the_tour_looks_at() {
    let population = population();
    let all = values(&population);
    let figures = &population.cast.figures;
    let patients = all
        .iter()
        .filter(|v| v["resourceType"] == "Patient")
        .map(|v| text(v, "/id"))
        .collect::<BTreeSet<_>>();
    assert!((300..=304).contains(&patients.len()));
    let patient = |id: &Option<String>| {
        all.iter().rfind(|v| v["resourceType"] == "Patient" && v["id"] == *id.as_deref().unwrap()).unwrap()
    };
    let today = TODAY.parse::<jiff::civil::Date>().unwrap();
    let age = |id: &Option<String>| {
        let born: jiff::civil::Date = text(patient(id), "/birthDate").parse().unwrap();
        today.since((jiff::Unit::Year, born)).unwrap().get_years()
    };
    assert_eq!((age(&figures.adolescent), age(&figures.child), age(&figures.elder)), (15, 7, 93));
    assert_eq!(patient(&figures.adolescent)["gender"], "female");
    assert!(text(patient(&figures.small_zone), "/address/0/postalCode").starts_with("036"));
    assert!(patient(&figures.deceased).get("deceasedDateTime").is_some());

    let lead = figures.lead.clone().unwrap();
    let treating = relations(&population, Persona::Doctor);
    assert_eq!(treating[&lead], ["careTeam", "treating"]);
    assert!(treating.contains_key(figures.substance_use.as_ref().unwrap()));
    let ward = relations(&population, Persona::Nurse);
    for figure in [&figures.lead, &figures.vip, &figures.elder] {
        assert!(ward.contains_key(figure.as_ref().unwrap()));
    }
    assert!(!treating.contains_key(figures.vip.as_ref().unwrap()));
    let guarded = relations(&population, Persona::Guardian);
    let children: BTreeSet<&String> = [&figures.adolescent, &figures.child].into_iter().flatten().collect();
    assert_eq!(guarded.keys().collect::<BTreeSet<_>>(), children);
    let user = population.cast.member(Persona::Guardian).unwrap().fhir_user.clone().unwrap();
    assert!(
        all.iter()
            .any(|v| v["resourceType"] == "RelatedPerson"
                && format!("RelatedPerson/{}", text(v, "/id")) == user)
    );
    assert_eq!(population.cast.member(Persona::Patient).unwrap().patient.as_deref(), Some(lead.as_str()));
    for persona in [Persona::Doctor, Persona::Nurse, Persona::Guardian] {
        assert!(population.cast.member(persona).unwrap().relations.iter().all(|r| r.birth_date.is_some()));
    }
}

#[test]
fn a_name_is_repeated_wherever_real_records_repeat_it() {
    let population = population();
    let mut places = BTreeSet::new();
    for value in values(&population) {
        let kind = text(&value, "/resourceType").to_owned();
        find(&value, "Rosalind Achterberg", &kind, &mut places);
        if let Some(data) = value.pointer("/content/0/attachment/data").and_then(Value::as_str) {
            use base64::Engine as _;
            let note = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
            if String::from_utf8(note).unwrap().contains("Rosalind Achterberg") {
                places.insert("DocumentReference (attachment)".into());
            }
        }
    }
    for place in [
        "Patient.text.div",
        "Patient.extension.valueString",
        "Encounter.text.div",
        "Observation.subject.display",
        "Observation.note.text",
        "Condition.note.text",
        "DiagnosticReport.conclusion",
        "MedicationRequest.note.text",
        "CareTeam.name",
        "ExplanationOfBenefit.disposition",
        "DocumentReference.description",
        "DocumentReference (attachment)",
    ] {
        assert!(places.contains(place), "{place} is not in {places:?}");
    }
}

fn find(value: &Value, word: &str, path: &str, places: &mut BTreeSet<String>) {
    match value {
        Value::String(s) if s.contains(word) => {
            places.insert(path.to_owned());
        }
        Value::Array(items) => items.iter().for_each(|i| find(i, word, path, places)),
        Value::Object(members) => {
            members.iter().for_each(|(k, m)| find(m, word, &format!("{path}.{k}"), places))
        }
        _ => {}
    }
}
