use std::collections::BTreeMap;
use std::sync::Arc;

use drape_policy::PolicySet;
use drape_view::small_areas::SmallAreas;
use drape_view::{Catalogue, Category, Treatment, Treatments};

use super::fhirpath::{Hit, Node, Selector};
use super::*;

/// A file of rules as Microsoft's tool takes it.
fn json(rules: &[(&str, &str)]) -> String {
    let list: Vec<String> = rules
        .iter()
        .map(|(path, method)| format!("{{\"path\": \"{path}\", \"method\": \"{method}\"}}"))
        .collect();
    format!("{{\"fhirVersion\": \"R4\", \"fhirPathRules\": [\n{}\n]}}", list.join(",\n"))
}

fn taken(rules: &[(&str, &str)], unnamed: Unnamed) -> Imported {
    checked(import("rules.json", &json(rules), unnamed).unwrap())
}

/// What was made passes every check.
fn checked(imported: Imported) -> Imported {
    let file = |name: &str| imported.files.iter().find(|(n, _)| n == name).map(|(_, text)| text.as_str());
    let treatments = Arc::new(Treatments::parse(file("treatments.yaml").unwrap()).unwrap());
    if let Some(categories) = file("categories.yaml") {
        Catalogue::parse(categories, drape_fhir::definitions::r4()).unwrap();
    }
    let set = PolicySet::read(&[("imported.cedar", file("imported.cedar").unwrap())], &treatments, &[]);
    set.unwrap_or_else(|f| panic!("{}", f.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")));
    imported
}

/// What becomes of each element, by its path.
fn fates(rules: &[(&str, &str)], unnamed: Unnamed) -> BTreeMap<String, Treatment> {
    let file = rules::read("rules.json", &json(rules)).unwrap();
    let leaves = elements::leaves();
    let plan = plan::make(&file, &leaves, unnamed);
    assert!(plan.laxer(&leaves).is_none());
    leaves.iter().zip(&plan.fates).map(|(l, f)| (l.path(), f.is)).collect()
}

fn faults(text: &str) -> String {
    let faults = import("rules.json", text, Unnamed::Redact).unwrap_err();
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

const USUAL: &[(&str, &str)] = &[
    ("nodesByType('Extension')", "redact"),
    ("nodesByType('Address').state", "keep"),
    ("Resource.id", "cryptoHash"),
    ("nodesByType('Reference').reference", "cryptoHash"),
    ("nodesByType('Reference').display", "redact"),
    ("nodesByType('date')", "dateShift"),
    ("nodesByType('dateTime')", "dateShift"),
    ("nodesByType('HumanName')", "redact"),
    ("nodesByType('Identifier')", "redact"),
    ("nodesByType('Address')", "redact"),
    ("nodesByType('ContactPoint')", "redact"),
    ("Patient.maritalStatus", "redact"),
    ("Resource", "keep"),
];

#[test]
fn the_usual_rules_become_the_treatments_that_they_mean() {
    let by = fates(USUAL, Unnamed::Redact);
    for (path, treatment) in [
        ("Patient.id", "pseudonymize"),
        ("Patient.name.family", "redact"),
        ("Patient.identifier.value", "redact"),
        ("Patient.address.state", "show"),
        ("Patient.address.city", "redact"),
        ("Patient.telecom.value", "redact"),
        ("Patient.birthDate", "generalize"),
        ("Patient.gender", "show"),
        ("Patient.maritalStatus.coding.code", "redact"),
        ("Condition.code.coding.code", "show"),
        ("Condition.code.text", "redact"),
        ("Condition.subject.reference", "pseudonymize"),
        ("Condition.recordedDate", "generalize"),
        ("Observation.valueQuantity.value", "show"),
        ("Observation.issued", "redact"),
    ] {
        assert_eq!(by[path].name(), treatment, "{path}");
    }
}

#[test]
fn what_no_rule_names_goes_unless_it_is_to_be_kept() {
    let rules = &[("Patient.gender", "keep")];
    let (gone, kept) = (fates(rules, Unnamed::Redact), fates(rules, Unnamed::Keep));
    for path in [
        "Condition.code.coding.code",
        "Patient.birthDate",
        "Patient.name.family",
        "Patient.maritalStatus.coding.code",
    ] {
        assert_eq!(gone[path], Treatment::Redact, "{path}");
        assert_eq!(kept[path], Treatment::Show, "{path}");
    }
    assert_eq!((gone["Patient.gender"], gone["Observation.status"]), (Treatment::Show, Treatment::Show));
    // Text can repeat anything.
    assert_eq!(kept["Condition.note.text"], Treatment::Redact);
    let report = taken(rules, Unnamed::Redact).files.remove(0).1;
    assert!(
        report.contains("shows nothing but what gives a record its shape (`--default redact`)"),
        "{report}"
    );
    assert!(
        report.contains("### Patient")
            && report.contains("- gone: address, ")
            && report.contains("- shown: active"),
        "{report}"
    );
}

#[test]
fn the_first_rule_that_names_an_element_decides() {
    let rules =
        &[("Patient.birthDate", "keep"), ("nodesByType('date')", "redact"), ("Patient.birthDate", "redact")];
    assert_eq!(fates(rules, Unnamed::Keep)["Patient.birthDate"], Treatment::Show);
    let notes = taken(rules, Unnamed::Keep).notes.join("\n");
    assert!(
        notes.contains("line 4: `Patient.birthDate` redact: rules before it decide all that it names"),
        "{notes}"
    );
}

#[test]
fn a_rule_with_a_condition_hides_everywhere_and_keeps_nowhere() {
    let where_ = "nodesByType('Identifier').where(type.coding.code='MR')";
    let by = fates(&[(where_, "redact"), ("Resource", "keep")], Unnamed::Redact);
    assert_eq!(by["Patient.identifier.value"], Treatment::Redact);
    let by = fates(&[(where_, "keep"), ("nodesByType('Identifier')", "redact")], Unnamed::Keep);
    assert_eq!(by["Patient.identifier.value"], Treatment::Redact);
    let by = fates(&[("Patient.name[0].given", "redact")], Unnamed::Keep);
    assert_eq!((by["Patient.name.given"], by["Patient.gender"]), (Treatment::Redact, Treatment::Show));
    let notes = taken(&[(where_, "keep")], Unnamed::Keep).notes.join("\n");
    assert!(notes.contains("which policies cannot ask; nothing is kept by it"), "{notes}");
}

#[test]
fn identifiers_get_pseudonyms_or_seals_and_what_can_have_neither_goes() {
    let by = fates(
        &[("nodesByType('Identifier').value", "pseudonymize"), ("Patient.name", "cryptoHash")],
        Unnamed::Keep,
    );
    assert_eq!(by["Patient.identifier.value"], Treatment::Pseudonymize);
    assert_eq!(
        by["Patient.identifier.system"],
        Treatment::Redact,
        "of an identifier the pseudonym alone stays"
    );
    assert_eq!(by["Patient.name.family"], Treatment::Redact, "a name has no pseudonym");
    let by = fates(&[("Patient.telecom", "encrypt"), ("Resource.id", "encrypt")], Unnamed::Keep);
    assert_eq!(by["Patient.telecom.value"], Treatment::Encrypt);
    assert_eq!(by["Patient.id"], Treatment::Redact, "an id cannot be sealed");
}

#[test]
fn an_id_under_a_pseudonym_is_never_told_by_a_reference_that_is_kept() {
    let by = fates(&[("Patient.id", "cryptoHash")], Unnamed::Keep);
    for path in ["Patient.id", "Condition.id", "Condition.subject.reference", "Condition.encounter.reference"]
    {
        assert_eq!(by[path], Treatment::Pseudonymize, "{path}");
    }
}

#[test]
fn partial_dates_and_postal_codes_are_kept_in_part_and_unknown_small_areas_keep_all_back() {
    let with = |areas: &str, method: &str| {
        let text = format!(
            "{{\"fhirPathRules\": [{{\"path\": \"nodesByType('date')\", \"method\": \"{method}\"}},
            {{\"path\": \"nodesByType('Address')\", \"method\": \"redact\"}}, {{\"path\": \"nodesByType('Age')\", \"method\": \"redact\"}}],
            \"parameters\": {{\"enablePartialDatesForRedact\": true, \"enablePartialZipCodesForRedact\": \"true\",
            \"enablePartialAgesForRedact\": true, \"restrictedZipCodeTabulationAreas\": [{areas}]}}}}"
        );
        let file = rules::read("r.json", &text).unwrap();
        let leaves = elements::leaves();
        let plan = plan::make(&file, &leaves, Unnamed::Keep);
        let of = |path: &str| {
            let place = leaves.iter().position(|l| l.path() == path).unwrap();
            plan.fates[place].is.name()
        };
        (
            of("Patient.birthDate"),
            of("Patient.address.postalCode"),
            of("Patient.address.city"),
            of("Condition.onsetAge.value"),
        )
    };
    assert!(SmallAreas::shipped().unwrap().contains("036"));
    assert_eq!(with("\"036\", 59", "redact"), ("generalize", "generalize", "redact", "redact"));
    assert_eq!(with("\"036\", \"021\"", "redact"), ("generalize", "redact", "redact", "redact"));
}

#[test]
fn miracums_yaml_is_read_with_its_lines_and_domains() {
    let yaml = "fhirVersion: R4\nfhirPathRules:\n  # numbers\n  - path: nodesByType('Identifier').value\n    method: Pseudonymize\n    domain: PATIENT\n  - path: Patient.birthDate\n    method: generalize\n    cases: { \"$this < @1931-01-01\": \"@1930-01-01\" }\n    otherValues: keep\nparameters: { cryptoHashKey: hush-hush }\n";
    let imported = checked(import("a.yaml", yaml, Unnamed::Keep).unwrap());
    let notes = imported.notes.join("\n");
    assert!(notes.contains("line 4: `nodesByType('Identifier').value` pseudonymize: `domain`: the pseudonyms are those of the tenant's `project`"), "{notes}");
    assert!(notes.contains("line 7: `Patient.birthDate` generalize: its cases were not read"), "{notes}");
    for (name, text) in &imported.files {
        assert!(!text.contains("hush"), "{name} holds a key");
    }
    assert!(imported.files[0].1.contains("`cryptoHashKey`: not carried over"));
}

#[test]
fn lines_are_told_in_json_with_tabs_and_keys_never_copied() {
    let text = "{\n\t\"fhirPathRules\": [\n\t\t{ \"path\": \"Patient.name\", \"method\": \"redact\" },\n\t\t{\n\t\t\t\"path\": \"Patient.photo\",\n\t\t\t\"method\": \"substitute\", \"replaceWith\": {}\n\t\t}\n\t],\n\t\"parameters\": { \"encryptKey\": \"hush-hush\" }\n}";
    let imported = checked(import("a.json", text, Unnamed::Keep).unwrap());
    assert_eq!((imported.exactly, imported.stricter, imported.nowhere), (1, 1, 0));
    assert!(imported.notes[0].starts_with("line 4: `Patient.photo` substitute: "), "{:?}", imported.notes);
    assert!(imported.files.iter().all(|(_, text)| !text.contains("hush")));
}

#[test]
fn wrong_input_is_told_with_its_place_and_what_would_be_right() {
    for (text, says) in [
        ("", "is no object"),
        ("{\"fhirPathRules\": [", "is no JSON"),
        ("[]", "is no object"),
        ("just words", "is no object"),
        ("{\"fhirPathRules\": []}", "`fhirPathRules` is empty"),
        ("{\"rules\": []}", "`rules` is not known"),
        (
            "{\"fhirVersion\": \"Stu3\", \"fhirPathRules\": [{\"path\": \"Patient\", \"method\": \"keep\"}]}",
            "`Stu3` is not R4",
        ),
        ("{\"fhirPathRules\": [{\"method\": \"keep\"}]}", "line 1: has no `path`"),
        ("{\"fhirPathRules\": [\n{\"path\": \"Patient.name\"}]}", "line 2: `Patient.name` has no `method`"),
        ("{\"fhirPathRules\": [{\"path\": \"Patient.name\", \"method\": \"hide\"}]}", "`hide` is no method"),
        (
            "{\"fhirPathRules\": [{\"path\": \"Patient.nam\", \"method\": \"redact\"}]}",
            "`nam` is no element there",
        ),
        (
            "{\"fhirPathRules\": [{\"path\": \"Pateint.name\", \"method\": \"redact\"}]}",
            "`Pateint` is no resource type",
        ),
        (
            "{\"fhirPathRules\": [{\"path\": \"HumanName.family\", \"method\": \"redact\"}]}",
            "write `nodesByType('HumanName')`",
        ),
        (
            "{\"fhirPathRules\": [{\"path\": \"nodesByType('Name')\", \"method\": \"redact\"}]}",
            "`Name` is no type",
        ),
        (
            "{\"fhirPathRules\": [{\"path\": \"nodesByName('nam')\", \"method\": \"redact\"}]}",
            "no element of FHIR R4 is called `nam`",
        ),
        ("{\"fhirPathRules\": [{\"path\": \"%context.name\", \"method\": \"redact\"}]}", "is not understood"),
        (
            "{\"fhirPathRules\": [{\"path\": \"Patient.where(a='b'\", \"method\": \"redact\"}]}",
            "do not match",
        ),
        (
            "{\"fhirPathRules\": [{\"path\": \"Patient\", \"method\": \"keep\"}], \"parameters\": 7}",
            "`parameters` is no object",
        ),
    ] {
        let said = faults(text);
        assert!(said.contains(says), "{says} is not in {said}");
    }
    let both = faults(
        "{\"fhirPathRules\": [{\"path\": \"Patient.nam\", \"method\": \"redact\"},\n{\"path\": \"Patient\", \"method\": \"hide\"}]}",
    );
    assert!(both.contains("line 1") && both.contains("line 2"), "every fault at once: {both}");
}

fn nodes(steps: &[(&'static str, &str, &'static str)]) -> Vec<Node> {
    steps.iter().map(|(name, key, data_type)| Node { name, key: (*key).to_owned(), data_type }).collect()
}

#[test]
fn paths_select_what_they_say_and_what_is_below() {
    let value = nodes(&[("value", "valueQuantity", "Quantity"), ("unit", "unit", "string")]);
    for (path, hit) in [
        ("Observation", Hit::Always),
        ("Resource", Hit::Always),
        ("Patient", Hit::No),
        ("Observation.value", Hit::Always),
        ("Observation.valueQuantity", Hit::Always),
        ("Observation.value.ofType(Quantity)", Hit::Always),
        ("Observation.value.ofType(string)", Hit::No),
        ("Observation.value.ofType(Quantity).unit", Hit::Always),
        ("Observation.value.ofType(Quantity).code", Hit::No),
        ("nodesByType('Quantity')", Hit::Always),
        ("nodesByType('Observation').status", Hit::No),
        ("nodesByType('string')", Hit::Always),
        ("nodesByName('unit')", Hit::Always),
        ("Observation.nodesByType('Quantity').unit", Hit::Always),
        ("Resource.nodesByName('value')", Hit::Always),
        ("Observation.status | Observation.value", Hit::Always),
        ("Observation.where(status = 'final').value", Hit::Sometimes),
        ("Observation.value.first()", Hit::Sometimes),
        ("Observation.value.trace('x')", Hit::Sometimes),
        ("Observation.component[2].value", Hit::No),
    ] {
        let selectors = Selector::parse(path).unwrap_or_else(|f| panic!("{path}: {f}"));
        let found = selectors.iter().map(|s| s.hits("Observation", &value)).find(|h| *h != Hit::No);
        assert_eq!(found.unwrap_or(Hit::No), hit, "{path}");
    }
}

/// Whatever the rules, nothing is shown of which they want less, and the set passes its checks.
#[test]
fn whatever_the_rules_nothing_is_laxer_and_the_set_is_sound() {
    let paths = [
        "Patient",
        "Resource",
        "Resource.id",
        "Patient.name",
        "Patient.birthDate",
        "Patient.address.city",
        "Patient.deceased",
        "Condition.onset",
        "Observation.value",
        "nodesByType('Age')",
        "nodesByType('Identifier')",
        "nodesByType('Identifier').value",
        "nodesByType('Coding').display",
        "nodesByType('Address').postalCode",
        "nodesByType('dateTime')",
        "nodesByType('Extension')",
        "nodesByType('code')",
        "nodesByName('system')",
        "nodesByName('id')",
        "nodesByType('Reference').reference",
        "Condition.code.where(coding.code='I10')",
    ];
    let methods = ["keep", "redact", "dateShift", "cryptoHash", "encrypt", "pseudonymize", "perturb"];
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).unwrap()
    };
    let leaves = elements::leaves();
    for turn in 0..12 {
        let rules: Vec<(&str, &str)> =
            (0..1 + next(6)).map(|_| (paths[next(paths.len())], methods[next(methods.len())])).collect();
        let unnamed = if turn % 2 == 0 { Unnamed::Keep } else { Unnamed::Redact };
        let file = rules::read("rules.json", &json(&rules)).unwrap();
        let plan = plan::make(&file, &leaves, unnamed);
        assert!(plan.laxer(&leaves).is_none(), "{rules:?}: {:?}", plan.laxer(&leaves));
        let text = plan.treatments.iter().any(|((_, c), _)| c.is_carrier() || *c == Category::Unknown);
        assert!(!text, "{rules:?}");
        // The checks read the whole catalogue, which takes its time.
        if turn % 4 < 2 {
            taken(&rules, unnamed);
        }
    }
}
