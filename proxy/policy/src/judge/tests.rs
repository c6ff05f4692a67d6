use std::collections::BTreeSet;

use drape_view::{
    Caller, Coarsening, Environment, Labels, Overrides, Profiler, Proof, Relation, Subject, Treatments,
};
use proptest::prelude::*;

use super::*;
use crate::decide::{Action, Criterion, Decider};
use crate::set::PolicySet;

fn treatments() -> Arc<Treatments> {
    Arc::new(Treatments::parse(drape_view::shipped::TREATMENTS).unwrap())
}

fn hospital() -> Arc<Decider> {
    static SHARED: std::sync::OnceLock<Arc<Decider>> = std::sync::OnceLock::new();
    Arc::clone(SHARED.get_or_init(|| {
        let set = PolicySet::shipped("hospital", &treatments(), &[]).unwrap_or_else(|faults| {
            panic!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        });
        Arc::new(Decider::new(Arc::new(set)).unwrap())
    }))
}

pub(super) fn caller(roles: &[&str], purpose: &str) -> Caller {
    Caller {
        issuer: "i".into(),
        subject: "s".into(),
        name: None,
        roles: roles.iter().map(|r| (*r).to_owned()).collect(),
        held_roles: roles.iter().map(|r| (*r).to_owned()).collect(),
        organization: None,
        departments: BTreeSet::new(),
        title: None,
        client: None,
        shift: Some((7 * 60, 19 * 60)),
        fhir_user: None,
        patient: None,
        scopes: vec![],
        relations: [(
            "p1".to_owned(),
            Relation { is: ["treating".to_owned(), "ward".to_owned()].into(), birth_date: None },
        )]
        .into(),
        purpose: purpose.into(),
        statement: Default::default(),
        proof: Proof { token_id: None, token_digest: [0; 32], expires_at: 0 },
        environment: Environment {
            now_ms: 0,
            today: "2026-11-01".into(),
            hour: 12,
            minute_of_day: 720,
            weekday: 1,
            network: None,
            break_glass: false,
        },
    }
}

pub(super) fn record(resource_type: &str, labels: &[&str]) -> Profile {
    Profile {
        resource_type: resource_type.into(),
        labels: labels.iter().map(|l| (*l).to_owned()).collect(),
        classified: true,
        category_codes: BTreeSet::new(),
        status: None,
        age_days: Some(10),
        departments: BTreeSet::new(),
        insurers: BTreeSet::new(),
        authored_by_caller: false,
        patient: Subject { known: true, ..Subject::default() },
    }
}

fn related(mut profile: Profile, relations: &[&str]) -> Profile {
    profile.patient.relations = relations.iter().map(|r| (*r).to_owned()).collect();
    profile
}

fn judge(caller: &Caller, profile: &Profile) -> Verdict {
    hospital().standing(&Arc::new(caller.clone())).unwrap().judge_uncached(profile)
}

/// The treatments of some categories as words; `withheld` for a record that does not reach the caller.
fn seen(caller: &Caller, profile: &Profile, categories: &[Category]) -> String {
    seen_by(&hospital(), caller, profile, categories)
}

/// The same by the policies of another set.
pub(super) fn seen_by(
    set: &Arc<Decider>,
    caller: &Caller,
    profile: &Profile,
    categories: &[Category],
) -> String {
    match set.standing(&Arc::new(caller.clone())).unwrap().judge_uncached(profile) {
        Verdict::Withhold(_) => "withheld".into(),
        Verdict::Keep(plan) => {
            categories.iter().map(|c| plan.treatment(*c).name()).collect::<Vec<_>>().join(" ")
        }
    }
}

const SOME: [Category; 5] =
    [Category::PersonName, Category::Identifier, Category::Diagnosis, Category::EventDate, Category::Note];

#[test]
fn a_clinician_sees_all_of_her_patients_and_nothing_of_others() {
    let doctor = caller(&["clinician"], "TREAT");
    assert_eq!(
        seen(&doctor, &related(record("Condition", &[]), &["treating"]), &SOME),
        "show show show show show"
    );
    assert_eq!(
        seen(&doctor, &related(record("Condition", &["HIV"]), &["careTeam"]), &SOME),
        "show show show show show"
    );
    assert_eq!(seen(&doctor, &record("Condition", &[]), &SOME), "withheld");
    assert_eq!(seen(&doctor, &record("Practitioner", &[]), &SOME), "show show show show show");
    let mut unknown = related(record("Condition", &[]), &["treating"]);
    unknown.patient.known = false;
    assert_eq!(seen(&doctor, &unknown, &SOME), "withheld");
}

#[test]
fn a_nurse_sees_her_ward_during_her_shift_without_identifiers_and_text() {
    let nurse = caller(&["nurse"], "TREAT");
    let on_ward = related(record("Observation", &[]), &["ward"]);
    assert_eq!(seen(&nurse, &on_ward, &SOME), "show redact show show redact");
    assert_eq!(seen(&nurse, &record("Observation", &[]), &SOME), "withheld");
    let mut late = nurse.clone();
    late.environment.minute_of_day = 19 * 60;
    assert_eq!(seen(&late, &on_ward, &SOME), "withheld");
    let mut without = nurse.clone();
    without.shift = None;
    assert_eq!(seen(&without, &on_ward, &SOME), "withheld");
    let mut night = nurse;
    night.shift = Some((19 * 60, 7 * 60));
    night.environment.minute_of_day = 60;
    assert_eq!(seen(&night, &on_ward, &SOME), "show redact show show redact");
}

#[test]
fn billing_sees_a_year_of_codes_without_text_findings_or_anything_sensitive() {
    let billing = caller(&["billing"], "HPAYMT");
    assert_eq!(seen(&billing, &record("Condition", &[]), &SOME), "show show show show redact");
    for label in ["HIV", "PSY", "SUD", "SEX", "SDV"] {
        assert_eq!(seen(&billing, &record("Condition", &[label]), &SOME), "withheld", "{label}");
    }
    let mut old = record("Condition", &[]);
    old.age_days = Some(366);
    assert_eq!(seen(&billing, &old, &SOME), "withheld");
    old.age_days = None;
    assert_eq!(seen(&billing, &old, &SOME), "withheld");
    assert_eq!(
        seen(&billing, &record("Patient", &[]), &[Category::Contact, Category::FindingValue]),
        "encrypt redact"
    );
    assert_eq!(seen(&caller(&["billing"], "TREAT"), &record("Condition", &[]), &SOME), "withheld");
}

#[test]
fn a_researcher_sees_codes_years_and_pseudonyms_and_no_direct_identifier() {
    let researcher = caller(&["researcher"], "HRESCH");
    let all = [
        Category::Diagnosis,
        Category::BirthDate,
        Category::EventDate,
        Category::RecordId,
        Category::PatientLink,
        Category::Address,
        Category::PersonName,
        Category::Identifier,
        Category::Contact,
        Category::Staff,
        Category::Narrative,
        Category::Label,
    ];
    assert_eq!(
        seen(&researcher, &record("Condition", &[]), &all),
        "show generalize generalize pseudonymize pseudonymize generalize redact redact redact redact redact redact"
    );
    let mut unjudged = record("Condition", &[]);
    unjudged.classified = false;
    assert_eq!(seen(&researcher, &unjudged, &all), "withheld");
    assert_eq!(seen(&researcher, &record("Condition", &["SUD"]), &all), "withheld", "42 CFR Part 2");
    // Two hats at once: the stricter rule holds whatever else the token carries.
    let both = caller(&["researcher", "billing"], "HRESCH");
    for category in [Category::PersonName, Category::Identifier, Category::RecordId, Category::Contact] {
        assert_ne!(seen(&both, &record("Condition", &[]), &[category]), "show", "{category}");
    }
}

#[test]
fn a_patient_sees_her_own_record_but_for_marked_notes() {
    let patient = caller(&["patient"], "PATRQT");
    let own = |labels: &[&str]| {
        let mut profile = record("Condition", labels);
        profile.patient.is_caller = true;
        profile
    };
    assert_eq!(seen(&patient, &own(&["SUD"]), &SOME), "show show show show show");
    assert_eq!(seen(&patient, &own(&["HARMFUL"]), &SOME), "withheld");
    assert_eq!(seen(&patient, &record("Condition", &[]), &SOME), "withheld");
}

#[test]
fn a_guardian_sees_a_child_whole_and_of_an_adolescent_nothing_confidential() {
    let guardian = caller(&["guardian"], "FAMRQT");
    let child = |age: Option<i64>, labels: &[&str]| {
        let mut profile = related(record("Condition", labels), &["guardian"]);
        profile.patient.age_years = age;
        profile
    };
    let whole = "show show show show show";
    assert_eq!(seen(&guardian, &child(Some(7), &["PSY"]), &SOME), whole);
    assert_eq!(seen(&guardian, &child(Some(15), &[]), &SOME), whole);
    for label in ["SEX", "SUD", "PSY"] {
        assert_eq!(seen(&guardian, &child(Some(12), &[label]), &SOME), "withheld", "{label}");
        assert_eq!(seen(&guardian, &child(None, &[label]), &SOME), "withheld", "no age known, no access");
    }
    let mut unjudged = child(Some(15), &[]);
    unjudged.classified = false;
    assert_eq!(seen(&guardian, &unjudged, &SOME), "withheld");
    assert_eq!(seen(&guardian, &record("Condition", &[]), &SOME), "withheld");
}

#[test]
fn important_persons_and_substance_use_are_closed_to_all_but_a_few() {
    let doctor = caller(&["clinician"], "TREAT");
    let mut vip = related(record("Condition", &[]), &["careTeam"]);
    vip.patient.labels.insert("VIP".into());
    assert_eq!(seen(&doctor, &vip, &SOME), "withheld");
    vip.patient.relations.insert("treating".into());
    assert_eq!(seen(&doctor, &vip, &SOME), "show show show show show");
    let mut sud = related(record("Condition", &["SUD"]), &["treating"]);
    assert_eq!(seen(&doctor, &sud, &SOME), "withheld");
    sud.patient.consent_releases.insert("SUD".into());
    assert_eq!(seen(&doctor, &sud, &SOME), "show show show show show");
}

#[test]
fn nobody_without_a_role_sees_anything_and_an_analyst_sees_no_record() {
    for c in [
        caller(&[], "TREAT"),
        caller(&["janitor"], "TREAT"),
        caller(&["analyst"], "PUBHLTH"),
        caller(&["privacy-officer"], "HOPERAT"),
    ] {
        assert_eq!(
            seen(&c, &related(record("Patient", &[]), &["treating", "ward", "guardian"]), &SOME),
            "withheld"
        );
        let standing = hospital().standing(&Arc::new(c)).unwrap();
        for action in [Action::Read, Action::Search, Action::Create] {
            assert!(!standing.request(action, "Patient").allowed);
        }
    }
}

#[test]
fn counts_are_for_analysts_within_their_limit() {
    let ask = |roles: &[&str], organization: &str, nano: u64, kind: &str| {
        let standing = hospital().standing(&Arc::new(caller(roles, "PUBHLTH"))).unwrap();
        standing.aggregate("b", organization, nano, kind).allowed
    };
    assert!(ask(&["analyst"], "public-health", 100_000_000, "Patient"));
    assert!(ask(&["analyst"], "public-health", 500_000_000, "Patient"));
    assert!(!ask(&["analyst"], "public-health", 500_000_001, "Patient"), "rounding never passes a limit");
    assert!(!ask(&["analyst"], "other", 100_000_000, "Patient"));
    assert!(!ask(&["analyst"], "public-health", 100_000_000, "Observation"));
    assert!(!ask(&["clinician"], "public-health", 100_000_000, "Patient"));
    let standing = hospital().standing(&Arc::new(caller(&["analyst"], "PUBHLTH"))).unwrap();
    assert!(standing.count_by(Category::Diagnosis).allowed);
    assert!(
        !standing.count_by(Category::Identifier).allowed && !standing.count_by(Category::PersonName).allowed
    );
}

#[test]
fn criteria_are_open_narrowed_by_pseudonym_or_refused() {
    let by = |roles: &[&str], purpose: &str, category| {
        hospital().standing(&Arc::new(caller(roles, purpose))).unwrap().search_by(category, "Observation")
    };
    assert_eq!(by(&["records-officer"], "HOPERAT", Category::Identifier), Criterion::Open);
    assert_eq!(by(&["clinician"], "TREAT", Category::Identifier), Criterion::Narrowed);
    assert_eq!(by(&["researcher"], "HRESCH", Category::PatientLink), Criterion::ByPseudonym);
    assert_eq!(by(&["researcher"], "HRESCH", Category::BirthDate), Criterion::Refused);
    assert_eq!(by(&["researcher"], "HRESCH", Category::Identifier), Criterion::Refused);
    assert_eq!(by(&["billing"], "HPAYMT", Category::FindingValue), Criterion::Refused);
    // Every record that a researcher receives shows its codes, though which are received depends on the record.
    assert_eq!(by(&["researcher"], "HRESCH", Category::Diagnosis), Criterion::Shown);
    // What is shown is shown of classified records alone, all that are received: but text never is.
    assert_eq!(by(&["researcher"], "HRESCH", Category::Structure), Criterion::Open);
    assert_eq!(by(&["researcher"], "HRESCH", Category::Note), Criterion::Refused);
    // Billing has no relation to anybody and is shown links, codes and money of all it receives.
    assert_eq!(by(&["billing"], "HPAYMT", Category::PatientLink), Criterion::Open);
    assert_eq!(by(&["billing"], "HPAYMT", Category::Financial), Criterion::Open);
    assert_eq!(by(&["billing"], "HPAYMT", Category::Diagnosis), Criterion::Refused);
    assert_eq!(by(&["billing"], "TREAT", Category::PatientLink), Criterion::Open, "nothing is received then");
    assert_eq!(by(&["nurse"], "TREAT", Category::PatientLink), Criterion::Narrowed);
    assert_eq!(by(&["clinician"], "TREAT", Category::Structure), Criterion::Narrowed);
    // The directory is about no patient, and the clinician is shown all of it.
    let clinician = hospital().standing(&Arc::new(caller(&["clinician"], "TREAT"))).unwrap();
    assert_eq!(clinician.search_by(Category::Staff, "Practitioner"), Criterion::Open);
    assert_eq!(clinician.search_by(Category::Staff, "Encounter"), Criterion::Narrowed);
    let standing = hospital().standing(&Arc::new(caller(&["clinician"], "TREAT"))).unwrap();
    let profiler = Profiler::new(
        Arc::new(Labels::parse(drape_view::shipped::LABELS).unwrap()),
        Arc::new(Overrides::default()),
    );
    let patients = standing.patients(&profiler, "Observation", &[Category::FindingCode]);
    assert_eq!(patients.into_iter().collect::<Vec<_>>(), ["p1"]);
}

#[test]
fn who_may_be_given_pseudonyms_asks_by_pseudonym_alone() {
    let asks = |rules: &str| {
        let set = PolicySet::read(&[("a.cedar", rules)], &treatments(), &[]).unwrap();
        let decider = Arc::new(Decider::new(Arc::new(set)).unwrap());
        decider.standing(&Arc::new(caller(&["x"], ""))).unwrap().ids_by_pseudonym()
    };
    let pseudonyms =
        r#"@id("p") permit(principal, action in [Action::"receive", Action::"pseudonymize"], resource);"#;
    assert!(asks(pseudonyms));
    // Shown some things, ids not among them.
    let codes = r#"@id("s") permit(principal, action == Action::"show", resource) when { resource in Category::"clinical" };"#;
    assert!(asks(&format!("{pseudonyms}{codes}")));
    // Ids shown on some records only.
    let some = r#"@id("s") permit(principal, action == Action::"show", resource) when { context.record.classified };"#;
    assert!(asks(&format!("{pseudonyms}{some}")));
    // Ids always shown: nobody needs a pseudonym.
    let all = r#"@id("s") permit(principal, action == Action::"show", resource);"#;
    assert!(!asks(&format!("{pseudonyms}{all}")));
    assert!(!asks(
        r#"@id("r") permit(principal, action in [Action::"receive", Action::"show"], resource) when { context.record.classified };"#
    ));
}

#[test]
fn a_category_that_a_received_record_may_hide_is_no_open_criterion() {
    let by = |rules: &str| {
        let text = format!(
            r#"@id("s") permit(principal, action == Action::"searchBy", resource);
               @id("r") permit(principal, action in [Action::"receive", Action::"show"], resource) when {{ context.record.classified }};
               {rules}"#
        );
        let decider = Arc::new(
            Decider::new(Arc::new(PolicySet::read(&[("a.cedar", &text)], &treatments(), &[]).unwrap()))
                .unwrap(),
        );
        decider.standing(&Arc::new(caller(&["x"], ""))).unwrap().search_by(Category::Financial, "Claim")
    };
    assert_eq!(by(""), Criterion::Open);
    // Received without the condition, shown only with it.
    assert_eq!(
        by(r#"@id("t") permit(principal, action == Action::"receive", resource);"#),
        Criterion::Narrowed
    );
    // Received, but its money hidden by what the record says.
    let hides = r#"@id("f") forbid(principal, action in Action::"release", resource in Category::"business") when { context.record.labels.contains("HIV") };"#;
    assert_eq!(by(hides), Criterion::Narrowed);
    // Withheld altogether is hidden from the search's answer too.
    let withholds = r#"@id("f") forbid(principal, action in Action::"observe", resource) when { context.record.labels.contains("HIV") };"#;
    assert_eq!(by(withholds), Criterion::Open);
    // A relation to the patient is what a search can be narrowed to.
    assert_eq!(
        by(
            r#"@id("t") permit(principal, action in [Action::"receive", Action::"show"], resource) when { context.patient.isCaller };"#
        ),
        Criterion::Narrowed
    );
    // Hidden whatever the record.
    assert_eq!(
        by(r#"@id("f") forbid(principal, action in Action::"release", resource == Category::"financial");"#),
        Criterion::Narrowed
    );
}

#[test]
fn only_the_records_officer_is_shown_everything_alike() {
    let standing = |roles: &[&str]| hospital().standing(&Arc::new(caller(roles, "HOPERAT"))).unwrap();
    assert!(standing(&["records-officer"]).shows_all());
    assert!(standing(&["records-officer"]).uniform());
    for role in ["clinician", "nurse", "billing", "researcher", "patient", "guardian"] {
        assert!(!standing(&[role]).uniform() && !standing(&[role]).shows_all(), "{role}");
    }
}

#[test]
fn writing_needs_leave_to_change_each_category() {
    let all: drape_view::CategorySet = Category::ALL.into_iter().collect();
    let may = |roles: &[&str], profile: &Profile| {
        hospital().standing(&Arc::new(caller(roles, "TREAT"))).unwrap().may_change(profile, all).allowed
    };
    assert!(may(&["clinician"], &related(record("Observation", &[]), &["treating"])));
    assert!(!may(&["clinician"], &related(record("Observation", &[]), &["careTeam"])));
    assert!(!may(&["nurse"], &related(record("Observation", &[]), &["ward"])));
    assert!(may(&["records-officer"], &record("Observation", &[])));
}

#[test]
fn clinicians_write_what_records_of_their_patients_are_about_and_nothing_that_makes_relations_or_labels() {
    let may = |kind: &str, relation: &str, category: Category| {
        let standing = hospital().standing(&Arc::new(caller(&["clinician"], "TREAT"))).unwrap();
        let profile = related(record(kind, &[]), &[relation]);
        standing.may_relate(&profile, [category].into_iter().collect()).allowed
    };
    for category in [Category::Diagnosis, Category::FindingCode, Category::PatientLink, Category::EventDate] {
        assert!(may("Observation", "treating", category), "{category}");
        assert!(!may("Observation", "careTeam", category), "{category}");
        for kind in
            ["Patient", "Encounter", "CareTeam", "EpisodeOfCare", "RelatedPerson", "Consent", "Group", "List"]
        {
            assert!(!may(kind, "treating", category), "{kind} {category}");
        }
    }
    assert!(!may("Observation", "treating", Category::Label));
}

#[test]
fn what_no_policy_reads_is_no_part_of_what_access_rests_on() {
    use drape_view::catalogue::Fact;
    let reads = |text: &str, fact: Fact| {
        let decider = Arc::new(Decider::new(Arc::new(set(text).unwrap())).unwrap());
        decider.standing(&Arc::new(caller(&["nurse"], "TREAT"))).unwrap().is_read(fact)
    };
    // For somebody else's role: what it reads is not for others to write either.
    let dated = r#"@id("a") permit(principal in Role::"billing", action == Action::"receive", resource) when { context.record has ageDays && context.record.ageDays < 9 };"#;
    assert!(reads(dated, Fact::Date(0)) && !reads(dated, Fact::Status));
    assert!(reads(dated, Fact::Security));
}

fn set(text: &str) -> Result<PolicySet, String> {
    PolicySet::read(&[("a.cedar", text)], &treatments(), &[])
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

#[test]
fn faulty_policies_are_refused_with_file_line_and_help() {
    for (text, expected) in [
        ("permit(principal, action, resource);", "has no id"),
        ("@id(\"a\") permit(principal, action, resource) when { context.nonsense };", "a.cedar:1"),
        (
            "\n\n@id(\"a\") permit(principal, action == Action::\"show\", resource == Category::\"nam\");",
            "a.cedar:3: `a` names `Category::\"nam\"`",
        ),
        (
            "@id(\"a\") permit(principal, action == Action::\"receive\", resource == ResourceType::\"Pation\");",
            "does not exist",
        ),
        (
            "@id(\"a\") permit(principal, action in Action::\"access\", resource); @id(\"a\") permit(principal, action in Action::\"access\", resource);",
            "is taken",
        ),
        ("@id(\"a\") permit(principal == ?principal, action in Action::\"access\", resource);", "template"),
        ("permit(principal, action, resource", "a.cedar"),
        (
            "@id(\"a\") permit(principal, action == Action::\"pseudonymize\", resource == Category::\"diagnosis\");",
            "no such rule",
        ),
        (
            "@id(\"a\") forbid(principal, action == Action::\"pseudonymize\", resource == Category::\"record-id\");",
            "which reveals more",
        ),
        (
            "@id(\"a\") forbid(principal, action == Action::\"show\", resource in Category::\"clinical\") when { context.record.labels.contains(\"HIV\") };",
            "falls through to encrypt",
        ),
    ] {
        let fault = set(text).unwrap_err();
        assert!(fault.contains(expected), "{expected} not in {fault}");
    }
    // Never in the clear, whatever the record: the next treatment is meant.
    assert!(set("@id(\"a\") forbid(principal, action == Action::\"show\", resource in Category::\"direct-identifier\");").is_ok());
}

#[test]
fn an_erring_policy_is_a_refusal_even_when_it_is_a_forbid() {
    // Overflow is the one error that strict validation leaves possible.
    let text = r#"
        @id("all") permit(principal, action in Action::"observe", resource);
        @id("errs") forbid(principal, action == Action::"show", resource == Category::"diagnosis")
        when { 9223372036854775807 + context.env.hour > 0 };"#;
    let set = PolicySet::read(&[("a.cedar", text)], &treatments(), &[]).unwrap();
    let decider = Arc::new(Decider::new(Arc::new(set)).unwrap());
    let standing = decider.standing(&Arc::new(caller(&["x"], ""))).unwrap();
    let Verdict::Keep(plan) = standing.judge_uncached(&record("Condition", &[])) else { panic!() };
    assert_eq!(plan.treatment(Category::Diagnosis), Treatment::Redact);
    assert_eq!(plan.treatment(Category::Service), Treatment::Show);
    let text = r#"@id("errs") permit(principal, action in Action::"observe", resource) when { 9223372036854775807 + context.env.hour > 0 };"#;
    let set = PolicySet::read(&[("a.cedar", text)], &treatments(), &[]).unwrap();
    let decider = Arc::new(Decider::new(Arc::new(set)).unwrap());
    let verdict =
        decider.standing(&Arc::new(caller(&["x"], ""))).unwrap().judge_uncached(&record("Condition", &[]));
    assert_eq!(verdict, Verdict::Withhold(Reason::PolicyError));
}

/// The judge without slices: every policy, every category, every rung, one call each.
fn naive(standing: &Standing, profile: &Profile) -> Verdict {
    let all: Vec<usize> = (0..standing.decider.set.policies.len()).collect();
    let context = || entities::record_context(&standing.caller, profile).unwrap();
    let received =
        standing.ask(&all, "receive", uid("ResourceType", &profile.resource_type).unwrap(), context(), None);
    if received.erred || !received.allowed {
        return Verdict::Withhold(if received.erred { Reason::PolicyError } else { Reason::NotReceived });
    }
    let mut treatments = [Treatment::Redact; Category::COUNT];
    for category in Category::ALL {
        for rung in standing.decider.set.treatments.rungs(category) {
            let ruling =
                standing.ask(&all, rung.name(), uid("Category", category.name()).unwrap(), context(), None);
            if ruling.erred {
                break;
            }
            if ruling.allowed {
                treatments[category.index()] = *rung;
                break;
            }
        }
    }
    Verdict::Keep(Arc::new(Plan::new(treatments, vec![])))
}

fn policy_text() -> impl Strategy<Value = String> {
    let principal =
        prop_oneof![Just("principal"), Just("principal in Role::\"a\""), Just("principal in Role::\"b\"")];
    let action = prop_oneof![
        Just("action in Action::\"observe\""),
        Just("action in Action::\"release\""),
        Just("action in [Action::\"receive\", Action::\"show\"]"),
        Just("action in [Action::\"receive\", Action::\"generalize\", Action::\"pseudonymize\"]"),
    ];
    let condition = prop_oneof![
        Just(""),
        Just("when { context.record.labels.contains(\"HIV\") }"),
        Just("unless { context.patient.known }"),
        Just("when { context.patient.relations.contains(\"treating\") }"),
        Just("when { context.env.purpose == \"TREAT\" }"),
        Just("unless { principal in Role::\"a\" || context.record.classified }"),
        Just("when { resource in Category::\"clinical\" && context.patient.known }"),
        Just(
            "when { [Category::\"diagnosis\", Category::\"birth-date\", Category::\"note\"].contains(resource) }"
        ),
        Just("unless { resource == Category::\"identifier\" || context.record.classified }"),
    ];
    (any::<bool>(), principal, action, condition).prop_map(|(permit, principal, action, condition)| {
        let effect = if permit { "permit" } else { "forbid" };
        format!("{effect} ({principal}, {action}, resource) {condition};")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn slicing_changes_no_verdict(
        policies in prop::collection::vec(policy_text(), 1..6),
        category in prop::sample::select(vec!["text", "clinical", "direct-identifier", "diagnosis", "all"]),
        roles in prop::sample::subsequence(vec!["a", "b"], 0..=2),
        hiv: bool, known: bool, treating: bool, classified: bool, treat: bool,
    ) {
        let mut text = String::new();
        for (n, policy) in policies.iter().enumerate() {
            text.push_str(&format!("@id(\"p{n}\") {policy}\n"));
        }
        text.push_str(&format!("@id(\"c\") forbid (principal, action in Action::\"release\", resource in Category::\"{category}\") when {{ context.record.labels.contains(\"HIV\") }};"));
        text.push_str("@id(\"r\") permit (principal in Role::\"b\", action == Action::\"show\", resource) when { resource in Category::\"clinical\" };");
        // Random forbids may fall through; such a set does not load and there is nothing to compare.
        let Ok(set) = PolicySet::read(&[("a.cedar", &text)], &treatments(), &[]) else { return Ok(()) };
        let decider = Arc::new(Decider::new(Arc::new(set)).unwrap());
        let standing = decider.standing(&Arc::new(caller(&roles, if treat { "TREAT" } else { "" }))).unwrap();
        let mut profile = record("Condition", if hiv { &["HIV"] } else { &[] });
        profile.classified = classified;
        profile.patient.known = known;
        if treating { profile.patient.relations.insert("treating".into()); }
        let same = |v: &Verdict| match v {
            Verdict::Keep(plan) => Category::ALL.map(|c| plan.treatment(c).name()).join(" "),
            Verdict::Withhold(reason) => reason.name().to_owned(),
        };
        prop_assert_eq!(same(&standing.judge_uncached(&profile)), same(&naive(&standing, &profile)));
        prop_assert_eq!(same(&standing.judge_cached(&profile)), same(&naive(&standing, &profile)));
        // Records that differ in one thing may share an answer only if it is the same.
        let changes: [fn(&mut Profile); 6] = [
            |p| p.classified = !p.classified,
            |p| p.labels = BTreeSet::from(["HIV".to_owned()]),
            |p| p.age_days = Some(3),
            |p| p.patient.known = !p.patient.known,
            |p| p.patient.relations = BTreeSet::from(["treating".to_owned()]),
            |p| p.resource_type = "Observation".into(),
        ];
        for change in changes {
            let mut other = profile.clone();
            change(&mut other);
            prop_assert_eq!(same(&standing.judge_cached(&other)), same(&naive(&standing, &other)));
        }
    }
}

#[test]
fn coarsenings_come_from_the_treatment_rules() {
    let researcher = caller(&["researcher"], "HRESCH");
    let Verdict::Keep(plan) = judge(&researcher, &record("Patient", &[])) else { panic!() };
    assert_eq!(plan.treatment(Category::Address), Treatment::Generalize(Coarsening::Zip3));
    assert_eq!(plan.treatment(Category::Death), Treatment::Generalize(Coarsening::Flag));
    assert!(plan.policies().contains(&"research".to_owned()), "{:?}", plan.policies());
}

#[test]
fn whoever_differs_in_anything_that_entities_hold_stands_on_another_footing() {
    let nurse = caller(&["nurse"], "TREAT");
    let footing = |c: &Caller| hospital().standing(&Arc::new(c.clone())).unwrap().footing.id;
    let own = footing(&nurse);
    let changes: [fn(&mut Caller); 9] = [
        |c| c.issuer = "j".into(),
        |c| c.subject = "t".into(),
        |c| c.roles = BTreeSet::from(["billing".to_owned()]),
        |c| c.organization = Some("Organization/o".into()),
        |c| c.departments = BTreeSet::from(["Location/w".to_owned()]),
        |c| c.title = Some("t".into()),
        |c| c.client = Some("c".into()),
        |c| c.shift = Some((7 * 60, 18 * 60)),
        |c| c.shift = None,
    ];
    let mut seen = BTreeSet::from([own]);
    for change in changes {
        let mut other = nurse.clone();
        change(&mut other);
        assert!(seen.insert(footing(&other)), "{other:?}");
    }
    // A night shift is turned at midnight, and its entity with it.
    let mut night = nurse.clone();
    night.shift = Some((19 * 60, 7 * 60));
    night.environment.minute_of_day = 20 * 60;
    let evening = footing(&night);
    night.environment.minute_of_day = 60;
    assert_ne!(footing(&night), evening);
    // What is told anew with each request makes no new one.
    let mut later = nurse.clone();
    later.relations.clear();
    later.environment.now_ms = 1;
    later.environment.minute_of_day = 800;
    later.proof.expires_at = 1;
    assert_eq!(footing(&later), own);
}

#[test]
fn a_cached_answer_is_given_only_where_it_would_be_given_anew() {
    let mut callers = vec![
        caller(&["nurse"], "TREAT"),
        caller(&["billing"], "HPAYMT"),
        caller(&["billing"], "TREAT"),
        caller(&["researcher"], "HRESCH"),
        caller(&["records-officer"], "HOPERAT"),
    ];
    let mut off_duty = callers[0].clone();
    off_duty.environment.minute_of_day = 20 * 60;
    callers.push(off_duty);
    let mut emergency = caller(&["clinician"], "ETREAT");
    emergency.environment.break_glass = true;
    callers.extend([caller(&["clinician"], "ETREAT"), emergency]);
    let mut old = record("Condition", &[]);
    old.age_days = Some(400);
    let records = [
        related(record("Observation", &[]), &["ward", "treating"]),
        record("Condition", &["SUD"]),
        record("Patient", &[]),
        old,
    ];
    let decider = hospital();
    // Twice over, so that the second round finds everything in the cache.
    for round in 0..2 {
        for caller in &callers {
            let standing = decider.standing(&Arc::new(caller.clone())).unwrap();
            for profile in &records {
                assert_eq!(
                    standing.judge_cached(profile),
                    standing.judge_uncached(profile),
                    "{round} {caller:?} {profile:?}"
                );
            }
            for (action, kind) in
                [(Action::Read, "Condition"), (Action::Search, "Condition"), (Action::Read, "Practitioner")]
            {
                let resource = uid("ResourceType", kind).unwrap();
                let context = entities::request_context(caller).unwrap();
                let name = if action == Action::Read { "read" } else { "search" };
                let anew = standing.ask(&standing.places(name, None), name, resource, context, None);
                assert_eq!(standing.request(action, kind), anew, "{round} {caller:?} {kind}");
            }
        }
    }
}

#[test]
fn a_new_minute_asks_again_only_where_a_policy_reads_the_clock() {
    let moment = |roles: &[&str]| hospital().standing(&Arc::new(caller(roles, ""))).unwrap().footing.moment;
    assert!(moment(&["nurse"]), "her shift is on or over by the minute");
    for role in ["clinician", "billing", "researcher", "patient", "guardian", "records-officer"] {
        assert!(!moment(&[role]), "{role}");
    }
}

#[test]
fn what_a_scope_reaches_is_what_its_constraints_say() {
    for loaded in &hospital().set.policies {
        let (action, resource) = (loaded.policy.action_constraint(), loaded.policy.resource_constraint());
        for name in
            ["read", "search", "receive", "show", "encrypt", "searchBy", "aggregate", "change", "nonsense"]
        {
            for category in Category::ALL {
                let said = crate::check::covers_action(&action, name)
                    && crate::check::covers_category(&resource, category);
                assert_eq!(
                    loaded.reach.covers(name, Some(category)),
                    said,
                    "{} {name} {category}",
                    loaded.id
                );
            }
            assert_eq!(loaded.reach.covers(name, None), crate::check::covers_action(&action, name));
        }
    }
}
