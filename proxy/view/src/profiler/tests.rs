use super::*;
use crate::caller::{Environment, Proof, Relation};

fn caller() -> Caller {
    let relation = |is: &[&str], born: Option<&str>| Relation {
        is: is.iter().map(|s| (*s).to_owned()).collect(),
        birth_date: born.map(str::to_owned),
    };
    Caller {
        issuer: "i".into(),
        subject: "s".into(),
        name: None,
        roles: ["clinician".to_owned()].into(),
        held_roles: ["clinician".to_owned()].into(),
        organization: Some("ins".into()),
        departments: BTreeSet::new(),
        title: None,
        client: None,
        shift: None,
        fhir_user: Some("Practitioner/d1".into()),
        patient: None,
        scopes: vec![],
        relations: [
            ("p1".to_owned(), relation(&["treating", "ward"], Some("2012-06-01"))),
            ("p2".to_owned(), relation(&["treating"], Some("2010-01-01"))),
            ("p3".to_owned(), relation(&["treating"], None)),
        ]
        .into(),
        purpose: "TREAT".into(),
        statement: Default::default(),
        proof: Proof { token_id: None, token_digest: [0; 32], expires_at: 0 },
        environment: Environment {
            now_ms: 0,
            today: "2026-05-31".into(),
            hour: 0,
            minute_of_day: 0,
            weekday: 1,
            network: None,
            break_glass: false,
        },
    }
}

fn profiler() -> Profiler {
    let overrides =
        "version: 1\npatients: {p2: {labels: [VIP], releases: [SUD]}, p1: {releases: [SUD, HIV]}}";
    Profiler::new(
        Arc::new(Labels::parse(crate::shipped::LABELS).unwrap()),
        Arc::new(Overrides::parse(overrides).unwrap()),
    )
}

fn about(patients: &[&str], complete: bool) -> Facts {
    let patients = patients.iter().map(|p| (*p).to_owned()).collect();
    let record = RecordFacts {
        resource_type: "Observation".into(),
        patients,
        patients_complete: complete,
        date: Some("2026-05-01T10:00:00Z".into()),
        ..RecordFacts::default()
    };
    Facts { records: vec![record] }
}

fn words(set: &BTreeSet<String>) -> String {
    set.iter().cloned().collect::<Vec<_>>().join(",")
}

#[test]
fn several_patients_are_merged_to_what_holds_of_all_of_them() {
    let one = profiler().profile(&about(&["p1"], true), 0, &caller());
    assert_eq!(
        (one.patient.known, words(&one.patient.relations), one.patient.age_years),
        (true, "treating,ward".into(), Some(13))
    );
    assert_eq!(one.age_days, Some(30));
    let two = profiler().profile(&about(&["p1", "p2"], true), 0, &caller()).patient;
    assert_eq!(
        (words(&two.relations), two.age_years, words(&two.labels), words(&two.consent_releases)),
        ("treating".into(), Some(13), "VIP".into(), "SUD".into())
    );
    let unknown_age = profiler().profile(&about(&["p1", "p3"], true), 0, &caller()).patient;
    assert_eq!(unknown_age.age_years, None);
    let stranger = profiler().profile(&about(&["p1", "p9"], true), 0, &caller()).patient;
    assert_eq!(words(&stranger.relations), "");
}

#[test]
fn a_patient_not_found_makes_none_of_them_known_but_their_labels_still_count() {
    let subject = profiler().profile(&about(&["p2"], false), 0, &caller()).patient;
    assert!(
        !subject.known
            && !subject.is_caller
            && subject.relations.is_empty()
            && subject.consent_releases.is_empty()
    );
    assert_eq!(words(&subject.labels), "VIP");
    assert!(!profiler().profile(&about(&[], true), 0, &caller()).patient.known);
}

#[test]
fn only_a_patient_is_the_caller_and_a_launch_context_does_not_make_one() {
    let is = |change: &dyn Fn(&mut Caller)| {
        let mut c = caller();
        change(&mut c);
        profiler().profile(&about(&["p1"], true), 0, &c).patient.is_caller
    };
    assert!(!is(&|c| c.patient = Some("p1".into())));
    assert!(is(&|c| c.fhir_user = Some("Patient/p1".into())));
    assert!(is(&|c| {
        c.fhir_user = None;
        c.patient = Some("p1".into());
        c.roles = ["patient".to_owned()].into();
    }));
    assert!(!is(&|c| c.fhir_user = Some("Patient/p2".into())));
}

#[test]
fn contained_records_share_patients_and_labels_with_their_container() {
    let mut facts = about(&["p1"], true);
    facts.records.push(RecordFacts {
        resource_type: "Medication".into(),
        concepts: vec![vec![crate::facts::Coding {
            system: "http://hl7.org/fhir/sid/icd-10-cm".into(),
            code: "B20".into(),
        }]],
        ..RecordFacts::default()
    });
    let contained = profiler().profile(&facts, 1, &caller());
    assert_eq!(
        (contained.resource_type.as_str(), words(&contained.labels), contained.patient.known),
        ("Medication", "HIV".into(), true)
    );
    let container = profiler().profile(&facts, 0, &caller());
    assert_eq!(words(&container.labels), "HIV");
}

#[test]
fn dates_are_counted_by_the_calendar_and_partial_ones_from_their_latest_day() {
    let days = |a: &str, b: &str| Date::parse(b).unwrap().days() - Date::parse(a).unwrap().days();
    assert_eq!(days("2024-02-28", "2024-03-01"), 2);
    assert_eq!(days("2023-02-28", "2023-03-01"), 1);
    assert_eq!(days("2000-01-01", "2026-01-01"), 9_497);
    assert_eq!(days("1900-02-28", "1900-03-01"), 1);
    let age =
        |born: &str, today: &str| Date::parse_latest(born).unwrap().years_until(Date::parse(today).unwrap());
    assert_eq!(age("2012-02-29", "2026-02-28"), 13);
    assert_eq!(age("2012-06-01", "2026-06-01"), 14);
    assert_eq!(age("2012", "2026-06-01"), 13);
    for text in ["2023-02-29", "2023-13-01", "23-01-01", "", "2023-1-1", "yesterday", "2023-01-01-01"] {
        assert_eq!(Date::parse_latest(text), None, "{text}");
    }
}
