use std::collections::BTreeSet;
use std::sync::Arc;

use drape_view::{Caller, Environment, Proof, Subject, Treatments};
use proptest::prelude::*;

use super::*;
use crate::decide::Decider;
use crate::set::PolicySet;

fn treatments() -> Arc<Treatments> {
    Arc::new(Treatments::parse(drape_view::shipped::TREATMENTS).unwrap())
}

fn set(text: &str) -> Arc<Decider> {
    let set = PolicySet::read(&[("a.cedar", text)], &treatments(), &[]).unwrap_or_else(|faults| {
        panic!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    });
    Arc::new(Decider::new(Arc::new(set)).unwrap())
}

fn hospital() -> String {
    crate::shipped::find("hospital").unwrap().policies().map(|(_, text)| text).collect()
}

fn caller(role: &str, purpose: &str) -> Caller {
    Caller {
        issuer: "i".into(),
        subject: "s".into(),
        name: None,
        roles: [role.to_owned()].into(),
        held_roles: [role.to_owned()].into(),
        organization: Some("public-health".to_owned()),
        departments: BTreeSet::new(),
        title: None,
        client: None,
        shift: Some((7 * 60, 19 * 60)),
        fhir_user: None,
        patient: None,
        scopes: vec![],
        relations: [].into(),
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

const CAST: [(&str, &str); 7] = [
    ("clinician", "TREAT"),
    ("nurse", "TREAT"),
    ("billing", "HPAYMT"),
    ("researcher", "HRESCH"),
    ("analyst", "PUBHLTH"),
    ("patient", "PATRQT"),
    ("guardian", "FAMRQT"),
];

fn types() -> Vec<&'static str> {
    drape_fhir::definitions::r4().resource_types().collect()
}

fn standings(old: &Arc<Decider>, new: &Arc<Decider>, role: &str, purpose: &str) -> [Standing; 2] {
    let caller = Arc::new(caller(role, purpose));
    [old, new].map(|decider| decider.standing(&caller).unwrap())
}

fn side(standing: &Standing) -> Side<'_> {
    Side { standing, silent: false }
}

/// The differences for one role, in one line each.
fn lines(old: &str, new: &str, role: &str, purpose: &str) -> Vec<String> {
    let [before, after] = standings(&set(old), &set(new), role, purpose);
    let mut found = records(side(&before), side(&after), &types()).differences;
    found.extend(requests(side(&before), side(&after), &types()).differences);
    found
        .iter()
        .map(|d| {
            let given: Vec<String> = d
                .given
                .iter()
                .map(|g| g.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
                .collect();
            let count = d.types.len();
            format!("{} of {count}: {} → {} where {}", d.what.name(), d.from, d.to, given.join("; "))
        })
        .collect()
}

#[test]
fn a_label_that_is_no_longer_forbidden_is_named_and_nothing_else() {
    let old = hospital();
    let new =
        old.replace("[\"HIV\", \"PSY\", \"SUD\", \"SEX\", \"SDV\"]", "[\"PSY\", \"SUD\", \"SEX\", \"SDV\"]");
    assert_ne!(old, new);
    let found = lines(&old, &new, "billing", "HPAYMT");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found.iter().all(|l| l.starts_with("record of ") && l.contains("withheld → received")),
        "{found:#?}"
    );
    assert!(found.iter().any(|l| l.ends_with("where label HIV, age in days 0 to 365")), "{found:#?}");
    // Patient and Coverage have no date of their own.
    assert!(found.iter().any(|l| l.contains("of 2:") && l.ends_with("where label HIV")), "{found:#?}");
    assert!(lines(&old, &new, "clinician", "TREAT").is_empty(), "nobody else is touched");
}

#[test]
fn a_limit_that_moves_shows_between_its_old_and_its_new_place() {
    let old = hospital();
    let new = old.replace("context.record.ageDays <= 365", "context.record.ageDays <= 30");
    let found = lines(&old, &new, "billing", "HPAYMT");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].contains("received") && found[0].contains("→ withheld where age in days 31 to 365"),
        "{found:#?}"
    );
}

#[test]
fn a_category_that_is_treated_otherwise_is_told_with_both_treatments_and_policies() {
    let old = hospital();
    let new = old.replace(
        "@id(\"billing-contact-never-clear\")\nforbid (principal in Role::\"billing\", action == Action::\"show\", resource in Category::\"contact\");",
        "",
    );
    let [before, after] = standings(&set(&old), &set(&new), "billing", "HPAYMT");
    let found = records(side(&before), side(&after), &types());
    assert!(found.cases > 0);
    assert!(!found.differences.is_empty());
    for difference in &found.differences {
        assert_eq!(difference.what, What::Category(Category::Contact));
        assert_eq!((difference.from.as_str(), difference.to.as_str()), ("encrypt", "show"));
        assert_eq!(difference.kind, Kind::Treated);
        assert_eq!(difference.old_policies, ["billing-contact-never-clear", "billing-contact-sealed"]);
        assert!(!difference.new_policies.is_empty());
    }
}

#[test]
fn requests_criteria_counts_and_changes_are_compared_too() {
    let old = hospital();
    let new = old.replace(
        "action == Action::\"export\", resource in ResourceType::\"clinical\"",
        "action == Action::\"export\", resource == ResourceType::\"Patient\"",
    );
    assert_ne!(old, new);
    let found = lines(&old, &new, "researcher", "HRESCH");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("export of 40: permitted → refused"), "{found:#?}");
    let new = old.replace("decimal(\"0.5\")", "decimal(\"0.25\")");
    assert_ne!(old, new);
    let found = lines(&old, &new, "analyst", "PUBHLTH");
    assert!(
        found.iter().any(|l| l.starts_with("count under the budget any of public-health, ε 0.5 of")),
        "{found:#?}"
    );
    assert!(found.iter().all(|l| !l.contains("ε 0.25 ")), "{found:#?}");
    let change = "@id(\"clinician-changes\")\npermit (principal in Role::\"clinician\", action == Action::\"change\", resource)";
    let new = old.replace(change, &change.replace("resource)", "resource in Category::\"date\")"));
    assert_ne!(old, new);
    let found = lines(&old, &new, "clinician", "TREAT");
    assert!(found.iter().any(|l| l.starts_with("change diagnosis") && l.contains("treating")), "{found:#?}");
    assert!(found.iter().all(|l| !l.starts_with("change birth-date")), "{found:#?}");
}

#[test]
fn a_shift_and_an_hour_are_tried_at_their_edges() {
    let old = hospital();
    let new = old.replace(
        "context.env.minuteOfDay < principal.shiftEnd",
        "context.env.minuteOfDay <= principal.shiftEnd",
    );
    assert_ne!(old, new);
    let found = lines(&old, &new, "nurse", "TREAT");
    assert!(found.iter().any(|l| l.starts_with("record") && l.contains("time 19:00")), "{found:#?}");
}

#[test]
fn names_and_comments_make_no_difference() {
    let old = hospital();
    let new = old.replace("@id(\"", "@id(\"new-").replace("//", "// still:");
    for (role, purpose) in CAST {
        let [before, after] = standings(&set(&old), &set(&new), role, purpose);
        let found = records(side(&before), side(&after), &types());
        assert_eq!((found.cases, found.differences), (0, vec![]), "{role}");
        assert!(requests(side(&before), side(&after), &types()).differences.is_empty(), "{role}");
    }
}

#[test]
fn what_the_table_says_is_what_the_judge_says() {
    let decider = set(&hospital());
    for (role, purpose) in CAST {
        let caller = Arc::new(caller(role, purpose));
        let standing = decider.standing(&caller).unwrap();
        let mut mentions = Mentions::default();
        standing.decider.set.policies.iter().for_each(|p| mentions.take(&Mentions::of(&p.json)));
        let space = Space::new(&mentions, &caller, &["Observation", "Patient", "Organization", "Binary"]);
        let mut table = Table::new(&standing, false, &space);
        // Cases from all over the space, by a fixed stride through their numbers.
        for number in 0..60_usize {
            let mut rest = number.wrapping_mul(7_919_777_777) % space.size().unwrap();
            let case: Vec<u16> = space
                .axes
                .iter()
                .map(|axis| {
                    let value = rest % axis.values.len();
                    rest /= axis.values.len();
                    u16::try_from(value).unwrap()
                })
                .collect();
            let (profile, now) = space.at(&case);
            let there = decider.standing(&Arc::new(now)).unwrap();
            let judged = match there.judge_uncached(&profile) {
                Verdict::Keep(plan) if !plan.shows_all() && profile.resource_type == "Binary" => {
                    Verdict::Withhold(drape_view::Reason::ClosedType)
                }
                verdict => verdict,
            };
            let outcome = table.outcome(&space, &case);
            let seen = |verdict: &Verdict| match verdict {
                Verdict::Withhold(reason) => Err(*reason),
                Verdict::Keep(plan) => {
                    Ok((Category::ALL.map(|c| plan.treatment(c)), plan.policies().to_vec()))
                }
            };
            assert_eq!(seen(&outcome.verdict), seen(&judged), "{role}: {profile:?}");
            for category in [Category::Diagnosis, Category::BirthDate, Category::Unknown] {
                for (place, action) in ["change", "relate"].into_iter().enumerate() {
                    let asked = there.about_one(action, &profile, category).allowed;
                    assert_eq!(outcome.may[place][category.index()], asked, "{role} {action} {category}");
                }
            }
        }
    }
}

/// A policy left out, or one word or number in it changed: what people do to a set.
fn edited(number: usize, choice: usize) -> (String, String) {
    let old = hospital();
    let mut policies: Vec<String> = old.split("@id(").skip(1).map(|p| format!("@id({p}")).collect();
    let place = number % policies.len();
    let policy = policies[place].clone();
    // The literals behind the id, in the order of the text.
    let words: Vec<&str> = policy.split('"').skip(3).step_by(2).collect();
    let literal = words.get(choice % (words.len() + 1));
    let others =
        ["HIV", "PSY", "treating", "ward", "HPAYMT", "TREAT", "text", "contact", "diagnosis", "Patient"];
    policies[place] = match literal {
        Some(word) => {
            policy.replacen(&format!("\"{word}\""), &format!("\"{}\"", others[choice % others.len()]), 1)
        }
        None if policy.contains("365") => policy.replace("365", "90"),
        None => String::new(),
    };
    (old, policies.concat())
}

prop_compose! {
    fn any_profile()(
        kind in prop::sample::select(vec!["Observation", "Patient", "Organization", "ValueSet", "Claim", "Slot", "Coverage"]),
        labels in prop::sample::subsequence(vec!["HIV", "PSY", "SUD", "SEX", "SDV", "HARMFUL", "TREAT"], 0..3),
        classified in any::<bool>(),
        age_days in prop::option::of(prop::sample::select(vec![0_i64, 1, 89, 90, 91, 200, 364, 365, 366, 4_000])),
        (known, is_caller) in any::<(bool, bool)>(),
        relations in prop::sample::subsequence(vec!["treating", "careTeam", "ward", "guardian", "HIV"], 0..3),
        age_years in prop::option::of(prop::sample::select(vec![0_i64, 11, 12, 40])),
        marks in prop::sample::subsequence(vec!["VIP"], 0..=1),
        releases in prop::sample::subsequence(vec!["SUD"], 0..=1),
    ) -> Profile {
        let words = |all: Vec<&str>| all.into_iter().map(str::to_owned).collect::<BTreeSet<String>>();
        Profile {
            resource_type: kind.to_owned(),
            labels: words(labels),
            classified,
            category_codes: BTreeSet::new(),
            status: None,
            age_days,
            departments: BTreeSet::new(),
            insurers: BTreeSet::new(),
            authored_by_caller: false,
            patient: Subject {
                known,
                is_caller,
                relations: words(relations),
                age_years,
                labels: words(marks),
                consent_releases: words(releases),
                consent_denies: BTreeSet::new(),
            },
        }
    }
}

use drape_view::Profile;

proptest! {
    // Each case reads and validates a set, which takes most of the time.
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_judge_can_tell_apart_a_comparison_shows(
        number in 0..200_usize,
        choice in 0..50_usize,
        profiles in prop::collection::vec(any_profile(), 24),
    ) {
        let (old, new) = edited(number, choice);
        // What the check refuses is nobody's candidate.
        let read = PolicySet::read(&[("a.cedar", &new)], &treatments(), &[]);
        prop_assume!(read.is_ok());
        let (before, after) = (set(&old), set(&new));
        for (role, purpose) in CAST {
            let [was, is] = standings(&before, &after, role, purpose);
            let found = records(side(&was), side(&is), &types());
            for profile in &profiles {
                let told = verdict_differences(&was.judge_uncached(profile), &is.judge_uncached(profile));
                for (what, from, to, kind) in told {
                    let shown = found.differences.iter().any(|d| {
                        (&d.what, &d.from, &d.to, d.kind) == (&what, &from, &to, kind)
                            && d.types.contains(&profile.resource_type)
                    });
                    prop_assert!(shown, "{role}: {what:?} {from} → {to} of {profile:?}\nis not among {:#?}", found.differences);
                }
            }
        }
        for (role, purpose) in CAST {
            let [was, _] = standings(&before, &before, role, purpose);
            prop_assert!(records(side(&was), side(&was), &types()).differences.is_empty());
        }
    }
}
