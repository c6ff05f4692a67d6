//! The shipped sets for data that is given out judge as they say.

use std::sync::OnceLock;

use super::tests::{caller, record, seen_by};
use super::*;
use crate::decide::{Action, Criterion, Decider};
use crate::set::PolicySet;
use drape_view::{Caller, Category, Profile, Treatments};

/// A shipped set with its own treatments.
fn set(name: &'static str) -> Arc<Decider> {
    let shipped = crate::shipped::find(name).unwrap();
    let treatments = Arc::new(Treatments::parse(shipped.file("treatments.yaml").unwrap()).unwrap());
    let set = PolicySet::shipped(name, &treatments, &[]).unwrap_or_else(|faults| {
        panic!("{name}: {}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    });
    assert!(set.warnings().is_empty(), "{name}: {:?}", set.warnings());
    Arc::new(Decider::new(Arc::new(set)).unwrap())
}

macro_rules! shared {
    ($($function:ident: $name:literal),+) => {$(
        fn $function() -> &'static Arc<Decider> {
            static SHARED: OnceLock<Arc<Decider>> = OnceLock::new();
            SHARED.get_or_init(|| set($name))
        }
    )+};
}

shared!(safe_harbor: "safe-harbor", limited: "limited-data-set", gdpr: "gdpr-research");

fn all() -> [(&'static str, &'static Arc<Decider>); 3] {
    [("safe-harbor", safe_harbor()), ("limited-data-set", limited()), ("gdpr-research", gdpr())]
}

fn recipient() -> Caller {
    let mut caller = caller(&["recipient"], "HRESCH");
    caller.organization = Some("university".into());
    caller
}

const DIRECT: [Category; 7] = [
    Category::PersonName,
    Category::Identifier,
    Category::Contact,
    Category::Image,
    Category::DeviceNetwork,
    Category::Signature,
    Category::Genomic,
];
const DATES: [Category; 4] =
    [Category::BirthDate, Category::Death, Category::EventDate, Category::RecordedDate];
const TEXT: [Category; 5] =
    [Category::Narrative, Category::Note, Category::Document, Category::Answer, Category::Unknown];

fn aged(mut profile: Profile, years: i64) -> Profile {
    profile.patient.age_years = Some(years);
    profile
}

fn releasing(mut profile: Profile, labels: &[&str]) -> Profile {
    profile.patient.consent_releases = labels.iter().map(|l| (*l).to_owned()).collect();
    profile
}

fn denying(mut profile: Profile, labels: &[&str]) -> Profile {
    profile.patient.consent_denies = labels.iter().map(|l| (*l).to_owned()).collect();
    profile
}

#[test]
fn no_recipient_is_shown_a_direct_identifier_or_text_whatever_hat_she_wears_too() {
    for (name, set) in all() {
        for roles in [&["recipient"][..], &["recipient", "data-steward"]] {
            let mut caller = recipient();
            caller.roles = roles.iter().map(|r| (*r).to_owned()).collect();
            for labels in [&[][..], &["DOB"]] {
                let profile = aged(record("Patient", labels), 40);
                let all = seen_by(set, &caller, &profile, &DIRECT);
                assert_eq!(all, ["redact"; 7].join(" "), "{name}: {roles:?}");
                assert_eq!(seen_by(set, &caller, &profile, &TEXT), ["redact"; 5].join(" "), "{name}");
                let business = [Category::Staff, Category::Financial];
                assert_eq!(seen_by(set, &caller, &profile, &business), "redact redact", "{name}");
                let links = [Category::RecordId, Category::PatientLink];
                assert_eq!(seen_by(set, &caller, &profile, &links), "pseudonymize pseudonymize", "{name}");
            }
        }
    }
}

#[test]
fn safe_harbor_keeps_years_and_tells_ages_only_of_who_is_known_to_be_younger_than_90() {
    let (set, caller) = (safe_harbor(), recipient());
    let some = [Category::BirthDate, Category::EventDate, Category::RecordedDate, Category::Death];
    let young = "generalize generalize generalize generalize";
    assert_eq!(seen_by(set, &caller, &aged(record("Patient", &[]), 89), &some), young);
    let old = "redact generalize generalize generalize";
    assert_eq!(seen_by(set, &caller, &aged(record("Patient", &[]), 90), &some), old);
    assert_eq!(seen_by(set, &caller, &record("Condition", &[]), &some), old, "no age is known");
    let value = [Category::FindingValue, Category::FindingCode];
    assert_eq!(seen_by(set, &caller, &record("Observation", &[]), &value), "show show");
    assert_eq!(seen_by(set, &caller, &record("Observation", &["DOB"]), &value), "redact show");
    assert_eq!(seen_by(set, &caller, &aged(record("Observation", &["DOB"]), 93), &value), "redact show");
    assert_eq!(seen_by(set, &caller, &aged(record("Observation", &["DOB"]), 30), &value), "show show");
    let relative = aged(record("FamilyMemberHistory", &[]), 30);
    assert_eq!(seen_by(set, &caller, &relative, &some), "redact generalize generalize redact");
    let place = [Category::Address, Category::Region];
    assert_eq!(seen_by(set, &caller, &record("Patient", &[]), &place), "generalize show");
}

#[test]
fn a_limited_data_set_keeps_dates_and_towns_for_who_has_an_agreement_and_a_purpose_of_the_rule() {
    let set = limited();
    let shown = [DATES.as_slice(), &[Category::Region, Category::Diagnosis, Category::Demographics]].concat();
    assert_eq!(seen_by(set, &recipient(), &record("Patient", &[]), &shown), ["show"; 7].join(" "));
    assert_eq!(seen_by(set, &recipient(), &record("Patient", &[]), &[Category::Address]), "generalize");
    let mut without = recipient();
    without.organization = None;
    assert_eq!(seen_by(set, &without, &record("Patient", &[]), &DATES), "withheld");
    for (purpose, received) in
        [("PUBHLTH", true), ("HOPERAT", true), ("TREAT", false), ("HMARKT", false), ("", false)]
    {
        let mut caller = recipient();
        caller.purpose = purpose.into();
        let seen = seen_by(set, &caller, &record("Patient", &[]), &DATES);
        assert_eq!(seen != "withheld", received, "{purpose}: {seen}");
    }
}

#[test]
fn research_under_the_gdpr_needs_a_release_for_what_is_most_sensitive_and_honours_denials() {
    let (set, caller) = (gdpr(), recipient());
    let some = [Category::Diagnosis, Category::EventDate, Category::Region, Category::Address];
    let usual = "show generalize show redact";
    assert_eq!(seen_by(set, &caller, &record("Condition", &[]), &some), usual);
    for (label, release) in [
        ("HIV", "HIV"),
        ("PSY", "PSY"),
        ("SUD", "SUD"),
        ("SEX", "SEX"),
        ("SDV", "SDV"),
        ("VIO", "SDV"),
        ("GDIS", "GDIS"),
    ] {
        let labelled = record("Condition", &[label]);
        assert_eq!(seen_by(set, &caller, &labelled, &some), "withheld", "{label}");
        assert_eq!(seen_by(set, &caller, &releasing(labelled.clone(), &["DEMO"]), &some), "withheld");
        let released = releasing(labelled, &[release]);
        assert_eq!(seen_by(set, &caller, &released, &some), usual, "{label}");
        assert_eq!(seen_by(set, &caller, &denying(released, &[label]), &some), "withheld", "denied: {label}");
    }
    let both = record("Condition", &["HIV", "PSY"]);
    assert_eq!(seen_by(set, &caller, &releasing(both, &["HIV"]), &some), "withheld", "each needs its own");
    let objecting = denying(releasing(record("Condition", &[]), &["DEMO", "GDIS"]), &["HRESCH"]);
    assert_eq!(seen_by(set, &caller, &objecting, &some), "withheld");
    let special = [Category::Demographics, Category::Genomic];
    assert_eq!(seen_by(set, &caller, &record("MolecularSequence", &[]), &special), "redact redact");
    let released = releasing(record("MolecularSequence", &[]), &["DEMO", "GDIS"]);
    assert_eq!(seen_by(set, &caller, &released, &special), "show show");
    let mut unclassified = record("Condition", &[]);
    unclassified.classified = false;
    assert_eq!(seen_by(set, &caller, &unclassified, &some), "withheld");
    let mut nobody = record("Condition", &[]);
    nobody.patient.known = false;
    assert_eq!(seen_by(set, &caller, &nobody, &some), "withheld");
    let mut other = caller;
    other.purpose = "HQUALIMP".into();
    assert_eq!(seen_by(set, &other, &record("Condition", &[]), &some), "withheld");
}

#[test]
fn documents_staff_and_claims_reach_no_recipient_and_everything_reaches_the_steward() {
    for (name, set) in all() {
        for kind in [
            "DocumentReference",
            "Composition",
            "Media",
            "QuestionnaireResponse",
            "Practitioner",
            "Organization",
            "Location",
            "Claim",
            "Coverage",
            "Binary",
            "AuditEvent",
        ] {
            let profile = aged(releasing(record(kind, &[]), &["DEMO"]), 40);
            assert_eq!(seen_by(set, &recipient(), &profile, &[]), "withheld", "{name}: {kind}");
        }
        let steward = caller(&["data-steward"], "HOPERAT");
        let standing = set.standing(&Arc::new(steward.clone())).unwrap();
        assert!(standing.shows_all(), "{name}");
        for action in [Action::Create, Action::Update, Action::Patch, Action::Delete] {
            assert!(!standing.request(action, "Patient").allowed, "{name}: a steward writes nothing");
        }
        let nobody = caller(&[], "HRESCH");
        assert_eq!(seen_by(set, &nobody, &record("Patient", &[]), &[]), "withheld", "{name}");
    }
}

#[test]
fn recipients_search_by_codes_and_never_by_names_or_numbers() {
    for (name, set) in all() {
        let standing = set.standing(&Arc::new(recipient())).unwrap();
        assert_eq!(standing.search_by(Category::Diagnosis, "Condition"), Criterion::Shown, "{name}");
        assert_eq!(standing.search_by(Category::PatientLink, "Condition"), Criterion::ByPseudonym, "{name}");
        for category in
            [Category::PersonName, Category::Identifier, Category::Contact, Category::Address, Category::Note]
        {
            assert_eq!(standing.search_by(category, "Patient"), Criterion::Refused, "{name}: {category}");
        }
    }
}
