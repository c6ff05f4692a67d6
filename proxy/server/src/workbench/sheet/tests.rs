//! What the sheet says, held to what the engine decides.

use std::sync::Arc;

use drape_policy::{Decider, RecordJudge};
use drape_view::{Category, Judge as _, Profile, Subject, Treatment, Verdict};

use super::*;
use crate::config::{Policies, PolicySource};
use crate::parts::load_policies;

fn loaded(cedar: &str) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.cedar"), cedar).unwrap();
    load_policies(&Policies::of(PolicySource::Directory(folder.path().to_owned())), None).unwrap()
}

fn sheet(cedar: &str) -> Sheet {
    Sheet::of(&loaded(cedar), &Personas::default())
}

fn shipped() -> Vec<(&'static str, Loaded, Personas)> {
    let read = |set: &'static drape_policy::shipped::ShippedSet| {
        let loaded = load_policies(&Policies::of(PolicySource::Shipped(set.name.into())), None).unwrap();
        let personas = set.file("personas.yaml").unwrap_or("version: 1\npersonas: {}");
        (set.name, loaded, Personas::parse(set.name, personas).unwrap())
    };
    drape_policy::shipped::SETS.iter().map(read).collect()
}

fn words(cedar: &str) -> String {
    let sheet = sheet(cedar);
    assert_eq!(sheet.wordless().next(), None, "{:?}", sheet.policies[0]);
    sheet.policies[0].words.clone().unwrap()
}

#[test]
fn every_shipped_policy_has_words_and_stands_on_the_sheet_once_with_its_place() {
    for (name, loaded, personas) in shipped() {
        let sheet = Sheet::of(&loaded, &personas);
        let wordless: Vec<&str> = sheet.wordless().collect();
        assert!(wordless.is_empty(), "{name}: {wordless:?}");
        let heading = Heading { made: "today".into(), approvals: vec![] };
        let (markdown, html) = (sheet.markdown(&heading), sheet.html(&heading));
        for policy in loaded.set.told() {
            let head = format!("**{}** (", policy.id());
            assert_eq!(markdown.matches(&head).count(), 1, "{name}: {head}");
            assert!(markdown.contains(&format!("`{}`)", policy.place())), "{name}: {}", policy.place());
            assert_eq!(html.matches(&format!("id=\"p-{}\"", policy.id())).count(), 1, "{name}");
        }
        for text in [&markdown, &html] {
            assert!(text.contains(loaded.set.digest()) && text.contains(&sheet.hash()), "{name}");
        }
        assert!(!html.contains("<script") && !html.contains("http://") && !html.contains("https://"));
        for (category, examples) in &sheet.categories {
            assert!(
                !examples.is_empty() || *category == Category::Unknown,
                "{name}: {category} has no example"
            );
        }
    }
}

#[test]
fn conditions_are_told_in_plain_words() {
    let policy = |condition: &str| {
        words(&format!(
            r#"@id("x") permit (principal in Role::"a", action == Action::"show", resource == Category::"diagnosis") {condition};"#
        ))
    };
    for (condition, expected) in [
        ("", "Who acts as a may be shown elements of the category diagnosis."),
        (
            "when { context.record has ageDays && context.record.ageDays <= 365 }",
            "where the record is at most 365 days old.",
        ),
        (
            "when { context.record has ageDays && 365 >= context.record.ageDays }",
            "where the record is at most 365 days old.",
        ),
        (
            r#"unless { context.record.labels.containsAny(["HIV", "PSY"]) }"#,
            "where the record is labelled none of HIV and PSY.",
        ),
        (
            r#"when { context.record.labels.containsAll(["HIV", "PSY"]) }"#,
            "where the record is labelled HIV and the record is labelled PSY.",
        ),
        (
            "unless { context.patient has ageYears && context.patient.ageYears < 12 }",
            "where the patient's age is not known or the patient is 12 or older.",
        ),
        (
            r#"when { [ResourceType::"Patient", ResourceType::"Observation"].contains(context.record.type) }"#,
            "where the record is a Patient or an Observation.",
        ),
        (
            r#"when { context.env.purpose == "HPAYMT" && !(context.env.purpose == "TREAT") }"#,
            "where the purpose is payment (HPAYMT) and the purpose is not treatment (TREAT).",
        ),
        (
            r#"when { context.patient.known && (context.patient.isCaller || context.patient.relations.contains("ward")) }"#,
            "where it is known whom the record is about and (the record is about the caller or the patient is on the caller's ward).",
        ),
        (
            r#"when { principal has client && principal.client == Client::"wallboard" }"#,
            "where the app is wallboard.",
        ),
        (
            "when { if context.record.classified then context.env.breakGlass else false }",
            "where code lists could judge the record and an emergency was declared.",
        ),
    ] {
        let said = policy(condition);
        assert!(said.ends_with(expected), "{condition}\n  said     {said}\n  expected {expected}");
    }
}

#[test]
fn what_has_no_words_is_told_in_cedar_and_never_left_out() {
    let sheet = sheet(
        r#"@id("odd") permit (principal in Role::"a", action in [Action::"read", Action::"receive", Action::"show"], resource)
           when { context has record && context.record == context.record };
           @id("plain") permit (principal in Role::"a", action == Action::"read", resource);"#,
    );
    assert_eq!(sheet.wordless().collect::<Vec<_>>(), ["odd"]);
    let text = sheet.markdown(&Heading::default());
    assert!(text.contains("```cedar\n") && text.contains("context.record == context.record"), "{text}");
    assert!(text.contains("where the conditions of `odd` hold (told in Cedar below)"), "{text}");
}

#[test]
fn the_sheet_of_the_same_policies_is_the_same_and_of_others_another() {
    let (_, loaded, personas) = shipped().remove(0);
    let one = Sheet::of(&loaded, &personas);
    assert_eq!(one.hash(), Sheet::of(&loaded, &personas).hash());
    let other = sheet(r#"@id("x") permit (principal in Role::"a", action == Action::"read", resource);"#);
    assert_ne!(one.hash(), other.hash());
    let heading = Heading { made: "once".into(), approvals: vec!["somebody".into()] };
    assert!(one.markdown(&heading).contains("somebody"));
}

#[test]
fn nothing_in_a_set_can_become_markup() {
    let text = "version: 1\npersonas: { \"<b>|x\": { says: \"<script>alert(1)</script>\", claims: { roles: [a] } } }";
    let personas = Personas::parse("p", text).unwrap();
    let loaded = loaded(r#"@id("a<b") permit (principal in Role::"a", action == Action::"read", resource);"#);
    let html = Sheet::of(&loaded, &personas).html(&Heading::default());
    assert!(!html.contains("<script") && !html.contains("<b>") && !html.contains("a<b"), "{html}");
}

/// Records of every kind that policies can tell apart, more or less.
fn profiles() -> Vec<Profile> {
    let mut all = Vec::new();
    for resource_type in ["Patient", "Observation", "Claim", "Practitioner"] {
        for label in [None, Some("SUD"), Some("HARMFUL")] {
            for (relation, known) in
                [("", false), ("", true), ("treating", true), ("ward", true), ("guardian", true)]
            {
                for age_days in [Some(10), Some(400)] {
                    for (classified, age_years) in [(true, None), (true, Some(7)), (false, Some(15))] {
                        all.push(Profile {
                            resource_type: resource_type.into(),
                            labels: label.into_iter().map(str::to_owned).collect(),
                            classified,
                            category_codes: Default::default(),
                            status: None,
                            age_days,
                            departments: Default::default(),
                            insurers: Default::default(),
                            authored_by_caller: false,
                            patient: Subject {
                                known,
                                is_caller: relation.is_empty() && known,
                                relations: Some(relation)
                                    .filter(|r| !r.is_empty())
                                    .into_iter()
                                    .map(str::to_owned)
                                    .collect(),
                                age_years,
                                ..Subject::default()
                            },
                        });
                    }
                }
            }
        }
    }
    all
}

/// The overview promises: `shown` is shown in every record that is received, `left out` in none, and what is neither is
/// different from record to record, or one lesser treatment in all.
#[test]
fn what_the_overview_says_is_what_the_engine_does_to_every_record_that_is_received() {
    let profiles = profiles();
    for (name, loaded, personas) in shipped() {
        let sheet = Sheet::of(&loaded, &personas);
        let decider = Arc::new(Decider::new(Arc::clone(&loaded.set)).unwrap());
        for (persona, of) in personas.iter() {
            let caller = personas::caller(&of.claims, &personas.purposes, personas::noon(0)).unwrap();
            let judge = RecordJudge::new(Arc::new(decider.standing(&Arc::new(caller)).unwrap()));
            let account = sheet.accounts.iter().find(|a| a.party.name == persona).unwrap();
            let plans: Vec<_> = profiles
                .iter()
                .filter_map(|p| match judge.judge(p) {
                    Verdict::Keep(plan) => Some((p, plan)),
                    Verdict::Withhold(_) => None,
                })
                .collect();
            assert_eq!(plans.is_empty(), account.fates.is_empty(), "{name}: {persona}");
            for fate in &account.fates {
                for (profile, plan) in &plans {
                    let done = plan.treatment(fate.category);
                    let right = match fate.short.as_str() {
                        "shown" => done == Treatment::Show,
                        "left out" => done == Treatment::Redact,
                        "year" | "zip3" | "whether" => matches!(done, Treatment::Generalize(_)),
                        "pseudonym" => done == Treatment::Pseudonymize,
                        "sealed" => done == Treatment::Encrypt,
                        _ => true,
                    };
                    assert!(right, "{name}: {persona}: {fate:?} but {done:?} in {profile:?}");
                }
            }
        }
    }
}
