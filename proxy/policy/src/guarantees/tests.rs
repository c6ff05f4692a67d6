//! Guarantees are read strictly, each fault with its place.

use super::*;

fn parse(text: &str) -> Result<Guarantees, Vec<Fault>> {
    Guarantees::parse("g.yaml", text)
}

fn one(guarantee: &str) -> Result<Guarantees, Vec<Fault>> {
    parse(&format!("version: 1\nguarantees:\n  - {{ id: a, says: b, {guarantee} }}"))
}

fn case(guarantee: &str) -> Case {
    match one(guarantee).unwrap().list.remove(0).claim {
        Claim::Never(case) | Claim::Always(case) => case,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sentence_and_the_same_spelt_out_mean_the_same() {
    for (sentence, spelt) in [
        (
            "researcher is shown direct-identifier",
            "{ who: researcher, is: shown, category: direct-identifier }",
        ),
        (
            "billing or nurse is shown or encrypted text or contact",
            "{ who: [billing, nurse], is: [shown, encrypted], category: [text, contact] }",
        ),
        ("anyone may update Consent", "{ who: anyone, may: update, type: Consent }"),
        ("anyone may relate label", "{ who: anyone, may: relate, category: label }"),
        ("no-role receives anything", "{ who: no-role, receives: anything }"),
        ("analyst may aggregate", "{ who: analyst, may: aggregate }"),
        ("analyst may read or search claims", "{ who: analyst, may: [read, search], type: claims }"),
    ] {
        let (a, b) = (case(&format!("never: {sentence}")), case(&format!("always: {spelt}")));
        assert_eq!((&a.who, &a.act), (&b.who, &b.act), "{sentence}");
    }
    let direct = case("never: researcher is released direct-identifier");
    let Act::Is(actions, categories) = direct.act else { panic!() };
    assert_eq!(actions, ["show", "generalize", "pseudonymize", "encrypt"]);
    assert!(categories.contains(&Category::PatientLink) && !categories.contains(&Category::RecordLink));
    assert_eq!(case("never: { who: a, only: true, receives: anything }").who, Who::Only(vec!["a".into()]));
}

#[test]
fn conditions_key_by_key_become_cedar() {
    let condition = |text: &str| case(&format!("never: a receives anything, when: {text}")).when.unwrap();
    let cedar = |text: &str| condition(&Value::String(text.to_owned()).to_string());
    for (keys, text) in [
        ("{ purpose: [TREAT] }", "(context.env.purpose == \"TREAT\")"),
        (
            "{ labels: [HIV, PSY], break_glass: false }",
            "(context.record.labels.contains(\"HIV\") || context.record.labels.contains(\"PSY\")) && !(context.env.breakGlass)",
        ),
        ("{ age_from: 12 }", "(context.patient has ageYears && context.patient.ageYears >= 12)"),
        ("{ roles: [a] }", "(principal in Role::\"a\")"),
    ] {
        assert_eq!(condition(keys), cedar(text), "{keys}");
    }
}

#[test]
fn every_fault_says_where_and_what() {
    let said = |result: Result<Guarantees, Vec<Fault>>| {
        result.unwrap_err().iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
    };
    for (guarantee, part) in [
        ("never: researcher is shown fotos", "g.yaml guarantees[a] never: `fotos` is no category"),
        ("never: researcher is seen note", "`seen` is nothing that is done to an element"),
        ("never: anyone may update Consnt", "`Consnt` is no type"),
        ("never: anyone may upd Consent", "`upd` is nothing that may be done"),
        ("never: researcher note", "has no verb"),
        ("never: researcher is shown", "is not whole"),
        ("never: a b is shown note", "cannot be read"),
        ("never: anyone or nurse receives anything", "stand alone"),
        ("never: { is: shown, category: note }", "missing field `who`"),
        ("never: { who: a, is: shown }", "does not say one thing"),
        ("never: { who: a, is: shown, category: note, tpye: x }", "unknown field `tpye`"),
        ("says_nothing: 1", "unknown field `says_nothing`"),
        ("no_policy_errs: false", "says nothing"),
        ("no_policy_errs: true, never: a receives anything", "says 2 things"),
        ("nowhere_more_permissive_than: {}", "needs `set` or `directory`"),
        ("never_together: [a may aggregate]", "needs two to 4 cases"),
        ("never: a receives anything, by_purpose: true", "the file has no `purposes`"),
        ("no_policy_errs: true, when: { labels: [HIV] }", "belong to `never` and `always`"),
        ("never: a receives anything, when: { lables: [HIV] }", "unknown field `lables`"),
        ("never: a receives anything, when: { labels: [] }", "when labels: is an empty list"),
        ("never: a receives anything, when: {}", "asks for nothing"),
        ("never: a receives anything, when: context.record.lables.isEmpty()", "lables"),
        (
            "never: a receives anything, when: 'true }; forbid(principal, action, resource) when { true'",
            "`true }",
        ),
        (
            "never: a receives anything, when: resource in Category::\"text\"",
            "which the guarantee itself names",
        ),
        ("never: a may read Patient, when: { labels: [HIV] }", "but there is none yet"),
        (
            "never: { who: a, may: searchBy, category: note, when: { relations: [x] } }",
            "but there is none yet",
        ),
    ] {
        let found = said(one(guarantee));
        assert!(found.contains(part), "{guarantee}: {part} not in {found}");
    }
    assert!(
        said(parse("version: 2\nguarantees: [{id: a, says: b, no_policy_errs: true}]"))
            .contains("`2` is not known")
    );
    assert!(said(parse("version: 1")).contains("guarantees nothing"));
    assert!(said(parse("version: 1\nguarantees: []\nmore: 1")).contains("more"));
    let twice = "version: 1\nguarantees: [{id: a, says: b, no_policy_errs: true}, {id: a, says: b, no_policy_errs: true}]";
    assert!(said(parse(twice)).contains("the id is taken"));
    let id = "version: 1\nguarantees: [{id: A b, says: b, no_policy_errs: true}]";
    assert!(said(parse(id)).contains("is no name"));
}
