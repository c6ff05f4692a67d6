use std::sync::Arc;

use drape_view::Treatments;

use super::*;

fn around() -> Surroundings {
    let words = |list: &[&str]| Some(list.iter().map(|w| (*w).to_owned()).collect());
    Surroundings {
        purposes: Some(vec![
            ("TREAT".into(), vec!["clinician".into(), "nurse".into()]),
            ("HPAYMT".into(), vec!["billing".into()]),
        ]),
        labels: words(&["HIV", "PSY", "VIP"]),
        relations: words(&["treating", "careTeam"]),
        ..Surroundings::default()
    }
}

/// Policies that reach everything, so that only what a test adds is told.
const BASE: &str = r#"
@id("asks")
permit (principal, action in Action::"access", resource) when { principal.departments.contains("a") };
@id("sees")
permit (principal, action in [Action::"receive", Action::"show"], resource) when { principal.departments.contains("a") };
@id("c") permit (principal in Role::"clinician", action == Action::"searchBy", resource == Category::"note");
@id("n") permit (principal in Role::"nurse", action == Action::"searchBy", resource == Category::"note");
@id("b") permit (principal in Role::"billing", action == Action::"searchBy", resource == Category::"note");
"#;

fn said_of(text: &str, around: &Surroundings) -> Vec<String> {
    let treatments = Arc::new(Treatments::parse(drape_view::shipped::TREATMENTS).unwrap());
    let set =
        PolicySet::read(&[("a.cedar", text)], &treatments, &[]).unwrap_or_else(|f| panic!("{f:?}\n{text}"));
    let lint = lint(&set, around);
    let all = set.warnings().iter().chain(&lint.warnings).chain(&lint.notes);
    let place = |f: &Fault| {
        let span = f.span.as_ref().map(|s| s.text()[s.range()].to_owned());
        format!("{} [{}] {}", f.code, span.unwrap_or_default(), f.what)
    };
    all.map(place).collect()
}

fn said(more: &str) -> Vec<String> {
    said_of(&format!("{BASE}{more}"), &around())
}

#[track_caller]
fn only(more: &str, code: &str, place: &str, part: &str) {
    let found = said(more);
    assert_eq!(found.len(), 1, "{more}\n{found:#?}");
    assert!(found[0].starts_with(&format!("{code} [{place}")), "{}", found[0]);
    assert!(found[0].contains(part), "{}", found[0]);
}

#[test]
fn a_set_without_faults_is_told_nothing() {
    assert_eq!(said(""), Vec::<String>::new());
}

#[test]
fn rules_that_can_never_match_are_told_with_the_demand_that_is_too_much() {
    only(
        "@id(\"x\") permit (principal, action == Action::\"show\", resource) when { context.env.purpose == \"TREAT\" && context.env.purpose == \"HPAYMT\" };",
        "dead-rule",
        "context.env.purpose",
        "`x` can never match: what it demands of `context.env.purpose` contradicts what else it demands",
    );
    only(
        "@id(\"x\") forbid (principal, action == Action::\"receive\", resource == ResourceType::\"Patient\") when { context.record.type == ResourceType::\"Claim\" };",
        "dead-rule",
        "context.record.type",
        "contradicts its scope",
    );
    only(
        "@id(\"x\") permit (principal, action == Action::\"show\", resource) when { context.env.hour > 23 };",
        "dead-rule",
        "context.env.hour",
        "contradicts itself",
    );
    only(
        "@id(\"x\") permit (principal, action == Action::\"capabilities\", resource);",
        "dead-rule",
        "permit (principal",
        "nothing asks this action of this resource",
    );
    only(
        "@id(\"x\") permit (principal in Role::\"clinician\", action == Action::\"encrypt\", resource) when { context.env.purpose == \"HPAYMT\" };",
        "dead-rule",
        "\"HPAYMT\"",
        "who acts as `clinician` does so for TREAT alone",
    );
}

#[test]
fn actions_that_nothing_asks_of_what_a_rule_is_about_are_told() {
    only(
        "@id(\"x\") permit (principal, action in [Action::\"receive\", Action::\"encrypt\"], resource in Category::\"date\");",
        "dead-action",
        "Action::\"receive\"",
        "`x` names `receive`",
    );
}

#[test]
fn rules_that_another_contains_are_told_and_of_two_alike_the_later() {
    only(
        "@id(\"x\") permit (principal in Role::\"nurse\", action == Action::\"show\", resource in Category::\"text\") when { principal.departments.contains(\"a\") && context.patient.known };",
        "redundant",
        "permit (principal in Role",
        "`x` changes nothing: `sees` (a.cedar:4) permits all of it already",
    );
    only(
        "@id(\"x\") permit (principal in Role::\"nurse\", action == Action::\"searchBy\", resource == Category::\"note\");",
        "redundant",
        "permit",
        "`x` changes nothing: `n`",
    );
    only(
        "@id(\"x\") forbid (principal, action in Action::\"observe\", resource) when { context.record.labels.contains(\"HIV\") };\n@id(\"y\") forbid (principal, action in Action::\"observe\", resource) when { context.record.labels.containsAny([\"PSY\", \"HIV\"]) };",
        "redundant",
        "forbid",
        "`x` changes nothing: `y`",
    );
    // Not contained: another treatment, another relation, a wider set.
    for more in [
        "@id(\"x\") permit (principal in Role::\"nurse\", action == Action::\"encrypt\", resource) when { context.patient.known };",
        "@id(\"x\") permit (principal in Role::\"nurse\", action == Action::\"show\", resource) when { context.patient.known };",
        "@id(\"x\") forbid (principal, action in Action::\"observe\", resource) when { context.record.labels.contains(\"HIV\") } unless { context.patient.isCaller };",
    ] {
        assert_eq!(said(more), Vec::<String>::new(), "{more}");
    }
}

#[test]
fn a_permit_that_a_forbid_takes_back_whole_is_told() {
    only(
        "@id(\"x\") permit (principal, action == Action::\"encrypt\", resource == Category::\"contact\") when { context.patient.known };\n@id(\"y\") forbid (principal, action in Action::\"release\", resource in Category::\"contact\");",
        "overridden",
        "permit",
        "`x` permits nothing: `y` (a.cedar:10) forbids all of it",
    );
}

#[test]
fn words_that_nothing_produces_are_told_with_what_was_meant() {
    only(
        "@id(\"x\") forbid (principal, action in Action::\"observe\", resource) when { context.record.labels.contains(\"HIVV\") };",
        "unknown-label",
        "\"HIVV\"",
        "`x` asks for the label `HIVV`",
    );
    only(
        "@id(\"x\") permit (principal, action == Action::\"encrypt\", resource) when { context.patient.relations.containsAny([\"treating\", \"tretaing\"]) };",
        "unknown-relation",
        "\"tretaing\"",
        "relation `tretaing`",
    );
    only(
        "@id(\"x\") permit (principal, action == Action::\"encrypt\", resource) when { context.env.purpose == \"TRAET\" };",
        "unknown-purpose",
        "\"TRAET\"",
        "`TRAET`, which is no purpose of use",
    );
    only(
        "@id(\"x\") permit (principal in Role::\"clinican\", action == Action::\"encrypt\", resource);",
        "unknown-role",
        "\"clinican\"",
        "`x` speaks of the role `clinican`, which no purpose activates",
    );
    let mut other = around();
    other.purposes.as_mut().unwrap()[0].1.push("nurze".into());
    let found = said_of(BASE, &other);
    assert!(
        found.len() == 1 && found[0].contains("`TREAT` activates the role `nurze`, of which no policy"),
        "{found:?}"
    );
    let mut more = around();
    more.purposes.as_mut().unwrap().push(("PUBHLTH".into(), vec!["analyst".into()]));
    assert_eq!(said_of(BASE, &more), ["idle-role [] no policy speaks of the roles `analyst`"]);
    // A purpose of the standard that nobody here states is no fault, nor a role that opens something else.
    other.roles_elsewhere.insert("nurze".into());
    let emergency = "@id(\"x\") forbid (principal, action in Action::\"observe\", resource) when { context.record.labels.contains(\"HIV\") } unless { context.env.purpose == \"ETREAT\" };";
    assert_eq!(said_of(&format!("{BASE}{emergency}"), &other), Vec::<String>::new());
}

#[test]
fn what_nobody_reaches_is_told_with_the_shorter_list() {
    let few = "@id(\"a\") permit (principal, action in [Action::\"read\", Action::\"receive\"], resource == ResourceType::\"Patient\");\n@id(\"b\") permit (principal, action == Action::\"show\", resource) when { [Category::\"person-name\", Category::\"structure\"].contains(resource) };";
    let found = said_of(few, &Surroundings::default());
    assert!(
        found[0].starts_with("unreached-category [] nobody is ever shown anything of `identifier`, "),
        "{found:?}"
    );
    assert!(found[0].ends_with("`label` and `unknown`"), "{found:?}");
    assert_eq!(found[1], "unreached-type [] the set reaches only 1 type: Patient");
    let treatments = Arc::new(Treatments::parse(drape_view::shipped::TREATMENTS).unwrap());
    let set = PolicySet::read(&[("a.cedar", few)], &treatments, &[]).unwrap();
    let seen = ["Patient", "Observation", "Basic"].map(str::to_owned);
    let fault = unreached_of(&set, &seen).unwrap();
    assert_eq!(fault.what, "the server has 2 types that no policy reaches: Basic, Observation");
    assert_eq!(unreached_of(&set, &["Patient".to_owned()]), None);
}

#[test]
fn the_shipped_sets_have_no_dead_and_no_double_rules() {
    for shipped in crate::shipped::SETS {
        let own = shipped.file("treatments.yaml").unwrap_or(drape_view::shipped::TREATMENTS);
        let treatments = Arc::new(Treatments::parse(own).unwrap());
        let set = PolicySet::shipped(shipped.name, &treatments, &[]).unwrap();
        let lint = lint(&set, &Surroundings::default());
        let all: Vec<String> = set.warnings().iter().chain(&lint.warnings).map(ToString::to_string).collect();
        assert!(all.is_empty(), "{}: {all:#?}", shipped.name);
    }
}
