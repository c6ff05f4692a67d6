//! Each kind of guarantee, proved and refuted; what cannot be said; and random sets, of which solver and evaluator must
//! think the same.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use common::{proof, solver};
use drape_prove::{Proof, Verdict};

/// `a` treats, `b` does research.
const POLICIES: &str = r#"
    @id("a-asks") permit (principal in Role::"a", action in [Action::"read", Action::"update"], resource);
    @id("a-sees") permit (principal in Role::"a", action in [Action::"receive", Action::"show"], resource)
    when { context.patient.known && context.patient.relations.contains("treating") };
    @id("a-changes") permit (principal in Role::"a", action in [Action::"change", Action::"searchBy"], resource in Category::"clinical");
    @id("b-asks") permit (principal in Role::"b", action == Action::"search", resource in ResourceType::"claims");
    @id("b-sees") permit (principal in Role::"b", action in [Action::"receive", Action::"generalize", Action::"pseudonymize"], resource)
    when { context.env.purpose == "HRESCH" && context.record.classified };
    @id("b-codes") permit (principal in Role::"b", action == Action::"show", resource in Category::"clinical")
    when { context.env.purpose == "HRESCH" && context.record.classified };
    @id("b-counts") permit (principal in Role::"b", action == Action::"aggregate", resource in Organization::"lab")
    when { context.epsilon.lessThan(decimal("0.5")) && context.type == ResourceType::"Patient" };
    @id("nothing-harmful") forbid (principal, action in Action::"observe", resource)
    when { context.record.labels.contains("SUD") }
    unless { principal.departments.contains("ward-1") || context.env.hour < 8 };
"#;

fn is_proved(proof: &Proof) -> bool {
    matches!(proof.verdict, Verdict::Proved)
}

fn told(proof: &Proof) -> String {
    drape_prove::text("set", std::slice::from_ref(proof))
}

#[test]
fn what_holds_is_proved() {
    let Some(solver) = solver() else { return };
    for guarantee in [
        "never: b is generalized clinical",
        "never: { who: b, only: true, is: shown, category: quasi-identifier }",
        // Carriers come out only where everything is shown.
        "never: { who: b, only: true, is: released, category: [note, unknown] }",
        "never: { who: a, only: true, receives: anything }, unless: { relations: [treating] }",
        "never: anyone receives anything, when: 'context.record.labels.contains(\"SUD\") && context.env.minuteOfDay >= 480 && !principal.departments.contains(\"ward-1\")'",
        // Labels are closed upward: alcohol is a substance.
        "never: { who: anyone, receives: anything }, when: 'context.record.labels.contains(\"ETHUD\") && context.env.hour == 12 && principal.departments.isEmpty()'",
        "never: b may search clinical, unless: { roles: [a] }",
        "never: no-role may read or search anything",
        "never: anyone may change direct-identifier",
        "never: anyone may relate anything",
        "never: b may searchBy anything, unless: { roles: [a] }",
        "never: a may aggregate, unless: { roles: [b] }",
        "always: { who: b, only: true, is: [generalized, pseudonymized], category: [birth-date, record-id] }, when: { purpose: [HRESCH], classified: true, on_shift: false }, unless: { labels: [SUD] }",
        "always: { who: a, is: shown, category: anything }, when: { patient_known: true, relations: [treating] }, unless: { labels: [SUD] }",
        "always: a may read Patient",
        "always: { who: b, may: search, type: claims }",
        "never_together: [anyone may read anything, anyone may search anything], by_purpose: true",
        "no_policy_errs: true",
    ] {
        let proof = proof(&solver, POLICIES, None, guarantee);
        assert!(is_proved(&proof), "{guarantee}\n{}", told(&proof));
    }
}

#[test]
fn what_does_not_hold_is_refuted_by_a_state_that_the_evaluator_confirms() {
    let Some(solver) = solver() else { return };
    for (guarantee, parts) in [
        // Two roles at one time.
        (
            "never: b is shown direct-identifier",
            vec!["`a-sees` (new.cedar:3)", "roles: [\"a\",\"b\"]", "treating"],
        ),
        ("never: anyone receives anything", vec!["the record is received"]),
        (
            "never: { who: b, only: true, is: shown, category: diagnosis }",
            vec!["`diagnosis` is shown: `b-codes`", "HRESCH"],
        ),
        (
            "never: { who: b, only: true, is: released, category: record-id }",
            vec!["`record-id` is pseudonymized: `b-sees`"],
        ),
        ("never: a is shown note", vec!["`note` is shown"]),
        ("never: { who: anyone, receives: claims }, when: { labels: [SUD] }", vec!["labels\":[\"SUD\"]"]),
        (
            "never: a may update Consent",
            vec!["to update Consent is permitted: `a-asks`", "asks_for: [\"Consent\"]"],
        ),
        ("never: b may search anything", vec!["to search Claim is permitted"]),
        ("never: a may change diagnosis", vec!["to change `diagnosis` is permitted"]),
        ("never: b may aggregate", vec!["under a budget of `lab`", "\"epsilon\""]),
        (
            "always: { who: b, only: true, is: shown, category: diagnosis }, when: { purpose: [HRESCH] }",
            vec!["withheld"],
        ),
        ("always: { who: a, is: shown, category: note }, when: { relations: [treating] }", vec!["\"SUD\""]),
        ("always: b may search Patient", vec!["no policy permits it"]),
        ("never_together: [a may read anything, b may search anything]", vec!["roles: [\"a\",\"b\"]"]),
    ] {
        let proof = proof(&solver, POLICIES, None, guarantee);
        let text = told(&proof);
        assert!(matches!(proof.verdict, Verdict::Refuted(_)), "{guarantee}\n{text}");
        for part in parts {
            assert!(text.contains(part), "{guarantee}: {part} not in\n{text}");
        }
    }
}

#[test]
fn where_everything_is_permitted_nothing_is_guaranteed_and_where_nothing_is_everything_is_proved() {
    let Some(solver) = solver() else { return };
    let everything = "@id(\"all\") permit (principal, action, resource);";
    let nothing = "@id(\"none\") forbid (principal, action, resource);";
    for (guarantee, of_everything) in [
        ("never: anyone receives anything", false),
        ("never: anyone is shown anything", false),
        ("never: anyone may delete anything", false),
        ("never: anyone may aggregate", false),
        ("always: anyone is shown anything", true),
    ] {
        for (policies, holds) in [(everything, of_everything), (nothing, !of_everything)] {
            let proof = proof(&solver, policies, None, guarantee);
            assert_eq!(is_proved(&proof), holds, "{policies}\n{}", told(&proof));
            assert!(holds || matches!(proof.verdict, Verdict::Refuted(_)), "{policies}\n{}", told(&proof));
        }
    }
}

#[test]
fn a_set_is_compared_with_another_but_for_what_is_excused() {
    let Some(solver) = solver() else { return };
    let new = format!(
        "{POLICIES}\n@id(\"b-region\") permit (principal in Role::\"b\", action == Action::\"show\", resource == Category::\"birth-date\") when {{ context.env.purpose == \"HRESCH\" }};"
    );
    let nowhere = "nowhere_more_permissive_than: { set: old }";
    assert!(is_proved(&proof(&solver, POLICIES, Some(&new), nowhere)), "less is permitted");
    let more = proof(&solver, &new, Some(POLICIES), nowhere);
    let text = told(&more);
    assert!(matches!(more.verdict, Verdict::Refuted(_)), "{text}");
    for part in
        ["`birth-date` is shown: `b-region` (new.cedar:", "in old: `birth-date` is generalized", "HRESCH"]
    {
        assert!(text.contains(part), "{part} not in\n{text}");
    }
    let excused = "nowhere_more_permissive_than: { set: old, except: [b is shown birth-date] }";
    assert!(is_proved(&proof(&solver, &new, Some(POLICIES), excused)), "it is excused");
    let other =
        "nowhere_more_permissive_than: { set: old, except: [a is shown birth-date, b is shown death] }";
    assert!(!is_proved(&proof(&solver, &new, Some(POLICIES), other)), "others are excused");
}

#[test]
fn a_policy_that_errs_is_found_and_counts_against_every_guarantee() {
    let Some(solver) = solver() else { return };
    let overflow = |op: &str| {
        format!(
            "{POLICIES}\n@id(\"reckons\") forbid (principal, action in Action::\"observe\", resource) when {{ context.record has ageDays && context.record.ageDays {op} > 9000 }};"
        )
    };
    // Within the ages that records can have, this cannot run over.
    assert!(is_proved(&proof(&solver, &overflow("* 2"), None, "no_policy_errs: true")));
    let errs = proof(&solver, &overflow("* 9000000000000"), None, "no_policy_errs: true");
    let text = told(&errs);
    assert!(matches!(errs.verdict, Verdict::Refuted(_)) && text.contains("`reckons` (new.cedar:"), "{text}");
    let always = "always: { who: a, is: shown, category: note }, when: { patient_known: true, relations: [treating] }, unless: { labels: [SUD] }";
    let proof = proof(&solver, &overflow("* 9000000000000"), None, always);
    assert!(matches!(proof.verdict, Verdict::NotProved(_)), "{}", told(&proof));
}

#[test]
fn what_guarantees_nothing_is_said_to() {
    let Some(solver) = solver() else { return };
    for guarantee in [
        "never: resaercher is shown note",
        "never: a receives anything, when: { age_under: 5, age_from: 6 }",
        "never: a receives anything, when: { patient_known: false, relations: [treating] }",
    ] {
        let proof = proof(&solver, POLICIES, None, guarantee);
        assert!(matches!(proof.verdict, Verdict::SaysNothing(_)), "{guarantee}\n{}", told(&proof));
    }
    let reckoning = "never: a receives anything, when: 'context.patient has ageYears && context.patient.ageYears * 9000000000000000000 > 5'";
    let proof = proof(&solver, POLICIES, None, reckoning);
    assert!(matches!(&proof.verdict, Verdict::NotProved(why) if why.contains("may err")), "{}", told(&proof));
}

/// Small sets made of parts that touch what is treacherous: two roles, groups, forbids, labels, orders of rungs.
fn random_set(choices: &[u8]) -> String {
    const ACTIONS: [&str; 5] = [
        r#"action in [Action::"receive", Action::"show"]"#,
        r#"action in Action::"observe""#,
        r#"action == Action::"receive""#,
        r#"action in [Action::"receive", Action::"generalize", Action::"pseudonymize"]"#,
        r#"action in Action::"release""#,
    ];
    const WHO: [&str; 3] = [r#"principal in Role::"a""#, r#"principal in Role::"b""#, "principal"];
    const WHAT: [&str; 6] = [
        "true",
        r#"resource in Category::"direct-identifier""#,
        r#"resource in Category::"date" || context.record.type in ResourceType::"claims""#,
        r#"context.record.labels.contains("SUD")"#,
        r#"context.patient.known && context.patient.relations.contains("treating")"#,
        r#"context.env.hour < 8 && !(principal in Role::"b")"#,
    ];
    let pick =
        |place: usize, from: &[&'static str]| from[usize::from(choices[place % choices.len()]) % from.len()];
    let mut text = String::new();
    for policy in 0..4 {
        // A forbid must not fall through to a lesser treatment, so it withholds.
        let forbid = policy == 3;
        let action = if forbid { ACTIONS[1] } else { pick(policy * 3, &ACTIONS) };
        let effect = if forbid { "forbid" } else { "permit" };
        // The scope of all actions at once takes only what every resource can be asked.
        let what = pick(policy * 3 + 2, &WHAT);
        let what = if what.contains("resource in") && action.contains("receive") { WHAT[3] } else { what };
        let what = if what.contains("resource in") && action == ACTIONS[1] { WHAT[4] } else { what };
        let who = pick(policy * 3 + 1, &WHO);
        text.push_str(&format!(
            "@id(\"p{policy}\") {effect} ({who}, {action}, resource) when {{ {what} }};\n"
        ));
    }
    text + "@id(\"names\") permit (principal in [Role::\"a\"], action == Action::\"read\", resource);"
        .replace("[Role::\"a\"]", "Role::\"a\"")
        .as_str()
        + "\n@id(\"names-b\") permit (principal in Role::\"b\", action == Action::\"read\", resource);"
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 6, ..Default::default() })]

    /// Never `not proved`: that is said where the solver's world and Drape's decision differ.
    #[test]
    fn solver_and_evaluator_never_contradict_each_other(choices in proptest::collection::vec(0_u8..60, 12)) {
        if let Some(solver) = solver() {
            let policies = random_set(&choices);
            for guarantee in [
                "never: b is shown address",
                "always: { who: a, is: released, category: event-date }, when: { patient_known: true, relations: [treating] }",
                "never: anyone receives claims, when: { labels: [SUD] }",
            ] {
                let proof = proof(&solver, &policies, None, guarantee);
                proptest::prop_assert!(
                    matches!(proof.verdict, Verdict::Proved | Verdict::Refuted(_)),
                    "{policies}\n{guarantee}\n{}", told(&proof)
                );
            }
        }
    }
}
