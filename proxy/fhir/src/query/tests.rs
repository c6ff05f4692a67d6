use super::*;
use proptest::prelude::*;

fn search(base: &str, pairs: &[(&str, &str)]) -> Result<Search, Misunderstood> {
    let pairs: Vec<_> = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    Search::read(base, &pairs)
}

fn reveals(base: &str, name: &str, value: &str) -> Vec<String> {
    let search = search(base, &[(name, value)]).unwrap();
    let mut all: Vec<String> = search
        .reveals()
        .map(|r| format!("{}{}", r.path, if r.elsewhere { " elsewhere" } else { "" }))
        .collect();
    all.sort();
    all
}

#[test]
fn criteria_reveal_the_elements_they_read() {
    assert_eq!(reveals("Patient", "birthdate", "ge1980-02-03"), ["Patient.birthDate"]);
    assert_eq!(reveals("Patient", "name:contains", "ann"), ["Patient.name"]);
    assert_eq!(reveals("Observation", "code:not", "8480-6"), ["Observation.code"]);
    assert_eq!(reveals("Patient", "birthdate:missing", "true"), ["Patient.birthDate"]);
    assert_eq!(reveals("Patient", "_sort", "-birthdate"), ["Patient.birthDate"]);
    assert_eq!(reveals("Patient", "_lastUpdated", "gt2024"), ["Patient.meta.lastUpdated"]);
    let composite = reveals("Observation", "code-value-quantity", "8480-6$gt120");
    assert!(composite.contains(&"Observation.value:Quantity".to_owned()), "{composite:?}");
}

#[test]
fn hops_reveal_each_link_and_the_element_at_the_end() {
    assert_eq!(
        reveals("Observation", "subject:Patient.birthdate", "1980"),
        ["Observation.subject", "Patient.birthDate elsewhere"]
    );
    assert_eq!(
        reveals("Patient", "_has:Condition:patient:code", "B20"),
        ["Condition.code elsewhere", "Condition.subject elsewhere"]
    );
    let nested = reveals("Patient", "_has:Observation:patient:_has:AuditEvent:entity:agent", "x");
    assert!(nested.iter().any(|r| r.starts_with("AuditEvent.agent")), "{nested:?}");
    assert!(
        reveals("Observation", "patient.identifier", "1")
            .contains(&"Patient.identifier elsewhere".to_owned())
    );
}

#[test]
fn includes_name_what_they_bring() {
    let found = search(
        "Observation",
        &[("_include", "Observation:subject:Patient"), ("_revinclude", "Provenance:target")],
    );
    let found = found.unwrap();
    assert_eq!(found.includes[0].brings, ["Patient"]);
    assert_eq!(found.includes[1].brings, ["Provenance"]);
}

#[test]
fn what_cannot_be_resolved_is_refused_by_name() {
    for (name, value) in [
        ("_text", "x"),
        ("_content", "x"),
        ("_filter", "name eq x"),
        ("_query", "x"),
        ("_list", "x"),
        ("_contained", "both"),
        ("_getpages", "x"),
        ("unheard-of", "x"),
        ("Birthdate", "1980"),
        ("birthdate:phonetic", "x"),
        ("name:in", "http://vs"),
        ("_include", "*"),
        ("_include", "Patient:*"),
        ("_include:recurse", "Patient:link"),
        ("_revinclude", "Nobody:target"),
        ("_has:Condition:patient", "x"),
        ("_has:Condition:asserter:code:x:y", "z"),
        ("general-practitioner.unheard", "x"),
        ("_count", "many"),
        ("_count", "-1"),
        ("_summary", "maybe"),
        ("_elements", "name,telecom.value"),
        ("_total", "roughly"),
        ("_totalMethod", "roughly"),
        ("birthdate", "yesterday"),
        ("birthdate", ""),
        ("_sort", "_text"),
        ("_sort:asc", "name"),
        ("", "x"),
        ("link.link.link.link.link.link.name", "x"),
    ] {
        let result = search("Patient", &[(name, value)]);
        assert!(result.is_err(), "{name}={value}: {result:?}");
    }
    assert!(search("Patient", &[("_count", "1"), ("_count", "2")]).is_err());
}

#[test]
fn the_total_method_of_fhirpy_is_understood_and_not_sent_on() {
    let counted = search("Patient", &[("_count", "0"), ("_totalMethod", "count")]).unwrap();
    assert_eq!(counted.to_query(), "_count=0");
}

#[test]
fn a_search_can_be_made_to_ask_for_whole_records() {
    for (name, value) in
        [("_elements", "gender"), ("_summary", "text"), ("_summary", "true"), ("_summary", "data")]
    {
        let mut projected = search("Patient", &[("gender", "male"), (name, value), ("_count", "5")]).unwrap();
        assert!(projected.is_projected(), "{name}={value}");
        projected.without_projection();
        assert_eq!(projected.to_query(), "gender=male&_count=5");
    }
    let mut count = search("Patient", &[("_summary", "count")]).unwrap();
    count.without_projection();
    assert_eq!(count.to_query(), "_summary=count");
}

#[test]
fn equal_questions_have_one_canonical_form() {
    let a =
        search("Patient", &[("gender", "female,male"), ("birthdate", "ge1980"), ("_count", "0")]).unwrap();
    let b =
        search("Patient", &[("birthdate", "ge1980"), ("gender", "male,female"), ("_sort", "name")]).unwrap();
    assert_eq!(a.canonical(), b.canonical());
    let c = search("Patient", &[("birthdate", "ge1981"), ("gender", "male,female")]).unwrap();
    assert_ne!(a.canonical(), c.canonical());
}

proptest! {
    #[test]
    fn nothing_makes_the_reader_panic(name in ".{0,30}", value in ".{0,30}") {
        let _ = search("Patient", &[(&name, &value)]);
        let _ = search("Observation", &[(&format!("_has:{name}"), &value), (&format!("subject.{name}"), &value)]);
    }

    #[test]
    fn or_lists_split_only_at_bare_commas(parts in prop::collection::vec("[a-z]{0,4}(\\\\,)?[a-z]{0,4}", 1..5)) {
        let joined = parts.join(",");
        prop_assert_eq!(split_or(&joined), parts);
    }
}
