//! `drape check` and `drape catalogue` as an author meets them: right input, wrong input, people and machines.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod child;

use std::path::Path;

use child::{Said, drape};
use serde_json::Value;

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {}{}", said.out, said.err))
}

/// Code, severity, file, line and column of each finding.
fn findings(document: &Value) -> Vec<String> {
    let all = document["faults"].as_array().unwrap().iter();
    all.map(|f| {
        let place = match f["file"].as_str() {
            Some(file) => format!("{file}:{}:{}", f["line"], f["column"]),
            None => "-".to_owned(),
        };
        format!("{} {} {place}", f["severity"].as_str().unwrap(), f["code"].as_str().unwrap())
    })
    .collect()
}

const SOUND: &str = r#"@id("asks")
permit (principal in Role::"clinician", action in Action::"access", resource);
@id("sees")
permit (principal in Role::"clinician", action in [Action::"receive", Action::"show"], resource)
when { context.patient.relations.contains("treating") };
"#;

const PERSONAS: &str = r"version: 1
purposes: { TREAT: [clinician] }
personas:
  doctor: { says: treats, claims: { sub: d, roles: [clinician], purpose_of_use: TREAT } }
";

const CONFIG: &str = r#"listen: { address: "127.0.0.1:0", plaintext: true }
admin: { address: "127.0.0.1:0", plaintext: true }
keys: { root_file: keys/root.key, directory: keys }
audit: { directory: log, origin: drape.example.org/test, signing_key_file: keys/signing.key }
tenants:
  - name: main
    public_base_url: http://localhost:8080/fhir
    time_zone: America/New_York
    upstream: { base_url: "http://127.0.0.1:9/fhir", plaintext: true, auth: { kind: none } }
    issuers:
      - issuer: https://issuer.example.org
        purposes: { TREAT: [clinician] }
    policies: { directory: ours }
"#;

#[test]
fn a_sound_set_is_used_and_its_digest_told() {
    let set = folder(&[("ours/a.cedar", SOUND), ("ours/personas.yaml", PERSONAS)]);
    let said = drape(set.path(), &["check", "--policies", "ours", "--deny-warnings"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{}", said.out);
    assert!(said.out.starts_with("`ours`, 2 policies, redaction declared, digest "), "{}", said.out);
    assert!(said.out.ends_with("the set can be used\n"), "{}", said.out);
    let document = json(&drape(set.path(), &["check", "-p", "ours", "--format", "json"]));
    assert_eq!(document["usable"], true);
    assert_eq!(findings(&document), Vec::<String>::new());
    let of = &document["tenants"][0];
    assert_eq!((&of["tenant"], &of["directory"], &of["policies"]), (&Value::Null, &"ours".into(), &2.into()));
    assert_eq!(of["digest"].as_str().unwrap().len(), 64);
}

#[test]
fn the_shipped_sets_are_without_warnings() {
    let empty = tempfile::tempdir().unwrap();
    for set in drape_policy::shipped::SETS {
        let said = drape(empty.path(), &["check", "--policies", set.name, "--deny-warnings"]);
        assert_eq!(said.code, Some(0), "{}: {}", set.name, said.err);
        assert!(!said.err.contains("warning"), "{}: {}", set.name, said.err);
    }
}

#[test]
fn every_fault_of_every_file_is_told_at_once_each_with_its_line() {
    let labels = drape_view::shipped::LABELS
        .replace("    - http://loinc.org", "")
        .replace("PSY: [psychiatr,", "PSY: [PSYCH,");
    let categories = drape_view::shipped::CATEGORIES
        .replace("Patient.gender: demographics", "Patient.gender: demographic");
    let policy = SOUND.replace("resource)\nwhen", "resource in Category::\"clinicl\")\nwhen");
    let config = CONFIG
        .replace("time_zone: America/New_York", "time_zone: Mars/Olympus")
        .replace("{ directory: ours }", "{ directory: ours, labels_file: l.yaml, categories_file: c.yaml }");
    let personas = PERSONAS.replace("says: treats, ", "");
    let set = folder(&[
        ("drape.yaml", &config),
        ("ours/a.cedar", &policy),
        ("ours/personas.yaml", &personas),
        ("l.yaml", &labels),
        ("c.yaml", &categories),
    ]);
    let said = drape(set.path(), &["check", "--format", "json"]);
    assert_eq!(said.code, Some(1));
    let document = json(&said);
    let all = findings(&document);
    for expected in [
        "fault configuration drape.yaml:8:16",
        "fault no-file -",
        "fault categories c.yaml:",
        "fault labels l.yaml:",
        "fault unknown-name ours/a.cedar:4:",
        "fault yaml ours/personas.yaml:4:",
    ] {
        assert!(all.iter().any(|f| f.starts_with(expected)), "{expected} not in {all:#?}");
    }
    assert_eq!(document["usable"], false);
    assert_eq!(document["tenants"], serde_json::json!([]));
    let people = drape(set.path(), &["check"]);
    assert_eq!(people.code, Some(1));
    for part in [
        "fault[configuration]: tenants[0].time_zone: `Mars/Olympus` is not a time zone\n --> drape.yaml:8:16",
        "8 |     time_zone: Mars/Olympus\n  |                ^^^^^^^^^^^^",
        "help: did you mean `demographics`?",
        "help: did you mean `Category::\"clinical\"`?",
        "drape: the configuration cannot be used: ",
    ] {
        assert!(people.err.contains(part), "{part}\nis not in\n{}", people.err);
    }
}

#[test]
fn what_is_no_yaml_and_no_cedar_says_where() {
    let set = folder(&[
        ("drape.yaml", "listen: [\n"),
        ("ours/a.cedar", "@id(\"a\")\npermit (principal, action resource);\n"),
    ]);
    let document = json(&drape(set.path(), &["check", "--format", "json"]));
    assert_eq!(document["faults"][0]["code"], "yaml");
    assert_eq!(document["faults"][0]["file"], "drape.yaml");
    let said = drape(set.path(), &["check", "-p", "ours"]);
    assert_eq!(said.code, Some(1));
    let told = "fault[syntax]: unexpected token `resource`\n --> ours/a.cedar:2:27";
    assert!(said.err.contains(told), "{}", said.err);
}

#[test]
fn warnings_stop_only_those_who_say_so() {
    let policy = format!(
        "{SOUND}@id(\"never\")\npermit (principal in Role::\"clinician\", action == Action::\"encrypt\", resource)\nwhen {{ context.env.purpose == \"HPAYMT\" && context.record.labels.contains(\"HIVV\") }};\n"
    );
    let set = folder(&[("ours/a.cedar", &policy), ("ours/personas.yaml", PERSONAS)]);
    let said = drape(set.path(), &["check", "-p", "ours"]);
    assert_eq!(said.code, Some(0));
    assert!(said.out.ends_with("the set can be used: 2 warnings\n"), "{}", said.out);
    let dead = "warning[dead-rule]: `never` can never match: who acts as `clinician` does so for TREAT alone";
    assert!(said.err.contains(dead) && said.err.contains("--> ours/a.cedar:8:31"), "{}", said.err);
    assert!(said.err.contains("did you mean `HIV`?"), "{}", said.err);
    let said = drape(set.path(), &["check", "-p", "ours", "--deny-warnings", "--format", "json"]);
    assert_eq!(said.code, Some(1));
    let document = json(&said);
    assert_eq!(document["usable"], false);
    assert_eq!(
        findings(&document),
        ["warning unknown-label ours/a.cedar:8:74", "warning dead-rule ours/a.cedar:8:31"]
    );
}

#[test]
fn a_misspelt_role_of_an_issuer_is_told_and_a_persona_without_a_role() {
    let personas = PERSONAS.replace("purpose_of_use: TREAT", "purpose_of_use: HPAYMT");
    let config = CONFIG.replace("TREAT: [clinician]", "TREAT: [clinican, clinician]");
    let set = folder(&[("drape.yaml", &config), ("ours/a.cedar", SOUND), ("ours/personas.yaml", &personas)]);
    assert_eq!(drape(set.path(), &["init"]).code, Some(0));
    let said = drape(set.path(), &["check"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("tenant `main`: `ours`, 2 policies, redaction declared"), "{}", said.out);
    let role = "warning[unknown-role]: purposes: `TREAT` activates the role `clinican`, of which no policy speaks\n  = help: did you mean `clinician`?";
    assert!(said.err.contains(role), "{}", said.err);
    assert!(
        said.err.contains("warning[idle-persona]") && said.err.contains("ours/personas.yaml:4:"),
        "{}",
        said.err
    );
}

#[test]
fn types_that_the_server_has_and_no_policy_reaches_are_told() {
    let policy = SOUND.replace(
        "Action::\"access\", resource)",
        "Action::\"access\", resource in ResourceType::\"clinical\")",
    );
    let statement = r#"{"resourceType":"CapabilityStatement","rest":[{"resource":[{"type":"Patient"},{"type":"Claim"}]}]}"#;
    let set = folder(&[
        ("ours/a.cedar", &policy),
        ("statement.json", statement),
        ("types.txt", "# seen in the log\nPatient\nClaim\n"),
        ("list.json", "[\"Observation\"]"),
        ("wrong.txt", "Patiant\n"),
        ("drape.yaml", CONFIG),
    ]);
    let check = |seen: &str| drape(set.path(), &["check", "-p", "ours", "--seen", seen]);
    for seen in ["statement.json", "types.txt"] {
        let said = check(seen);
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert!(
            said.err.contains(
                "warning[unreached-type]: policies: the server has 1 type that no policy reaches: Claim"
            ),
            "{}",
            said.err
        );
    }
    assert_eq!(check("list.json").err, "");
    let said = check("wrong.txt");
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("`Patiant` is no resource type\n  help: did you mean `Patient`?"),
        "{}",
        said.err
    );
    assert!(check("nowhere.txt").err.contains("cannot read `nowhere.txt`"));
    // Without a list all types of R4 are looked at, and what is out of reach is no more than a note.
    let said = drape(set.path(), &["check", "-p", "ours", "--deny-warnings"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(
        said.err.contains("note[unreached-type]: policies: the set reaches only 41 types: AdverseEvent, "),
        "{}",
        said.err
    );
    // The configured server does not answer.
    assert_eq!(drape(set.path(), &["init"]).code, Some(0));
    let said = drape(set.path(), &["check", "--upstream"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("fault[no-answer]"), "{}", said.err);
}

#[test]
fn what_cannot_be_checked_is_told_with_what_there_is() {
    let empty = tempfile::tempdir().unwrap();
    let said = drape(empty.path(), &["check", "--policies", "hopsital"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("`hopsital` is neither a shipped set nor a folder\n  help: shipped: hospital"),
        "{}",
        said.err
    );
    let said = drape(empty.path(), &["check", "--policies", "hospital", "--config", "drape.yaml"]);
    assert_eq!(said.code, Some(2));
    let said = drape(empty.path(), &["check", "--help"]);
    assert!(said.out.contains("Exit status: 0"), "{}", said.out);
}

#[test]
fn the_catalogue_tells_the_category_of_each_element_and_why() {
    let empty = tempfile::tempdir().unwrap();
    let said = drape(empty.path(), &["catalogue", "Patient"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let line = |element: &str| {
        let line = said.out.lines().find(|l| l.split(' ').next() == Some(element));
        line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        line("Patient.birthDate"),
        "Patient.birthDate date birth-date show, generalize: year, encrypt elements: Patient.birthDate"
    );
    assert_eq!(line("Patient.name"), "Patient.name HumanName person-name show, encrypt types: HumanName");
    assert_eq!(line("Patient.active"), "Patient.active boolean (modifier) structure show a boolean");
    assert_eq!(line("Patient.contact"), "Patient.contact BackboneElement - - only holds others together");
    // One element with its parts, as a table.
    let said = drape(empty.path(), &["catalogue", "Patient.address", "--format", "md"]);
    assert!(
        said.out
            .contains("| `Patient.address.state` | string | region | show, encrypt | parts: Address.state |"),
        "{}",
        said.out
    );
    assert!(said.out.contains("| `Patient.address.city` | string | address |"), "{}", said.out);
    // A category over all types, for machines.
    let said = drape(empty.path(), &["catalogue", "--category", "genomic", "--format", "json"]);
    let all: Value = serde_json::from_str(&said.out).unwrap();
    let rows = all.as_array().unwrap();
    assert!(rows.iter().all(|r| r["categories"] == serde_json::json!(["genomic"])), "{}", said.out);
    assert!(rows.iter().any(|r| r["path"] == "MolecularSequence.observedSeq"
        && r["rule"] == "elements: MolecularSequence.observedSeq"));
}

#[test]
fn the_catalogue_goes_by_the_files_of_a_configuration_or_a_set() {
    let own = drape_view::shipped::CATEGORIES
        .replace("Patient.birthDate: birth-date", "Patient.birthDate: event-date");
    let treatments =
        drape_view::shipped::TREATMENTS.replace("person-name: [show, encrypt]", "person-name: []");
    let config = CONFIG.replace("{ directory: ours }", "{ directory: ours, categories_file: c.yaml }");
    let set = folder(&[
        ("drape.yaml", &config),
        ("c.yaml", &own),
        // The policies need not be sound for it.
        ("ours/a.cedar", "nonsense"),
        ("ours/treatments.yaml", &treatments),
    ]);
    let said = drape(set.path(), &["catalogue", "Patient.birthDate", "--config", "drape.yaml"]);
    assert!(said.out.contains("event-date"), "{}{}", said.out, said.err);
    let said = drape(set.path(), &["catalogue", "Patient.name", "--policies", "ours", "--format", "json"]);
    let rows: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(rows[0]["treatments"]["person-name"], serde_json::json!([]));
}

#[test]
fn what_the_catalogue_does_not_know_is_told_with_what_was_meant() {
    let empty = tempfile::tempdir().unwrap();
    for (arguments, part) in [
        (&["catalogue", "Patiant"][..], "`Patiant` is no resource type\n  help: did you mean `Patient`?"),
        (&["catalogue", "patient"], "did you mean `Patient`?"),
        (
            &["catalogue", "Patient.nmae"],
            "`Patient` has no element `nmae`\n  help: did you mean `Patient.name`?",
        ),
        (&["catalogue", "Observation.value"], "there are: valueQuantity, valueCodeableConcept"),
        (
            &["catalogue", "--category", "genomics"],
            "`genomics` is no category\n  help: did you mean `genomic`?",
        ),
        (&["catalogue", "--category", "clinical"], "`clinical` is a group for policies"),
    ] {
        let said = drape(empty.path(), arguments);
        assert_eq!(said.code, Some(1), "{arguments:?}");
        assert!(said.err.contains(part), "{arguments:?}: {}", said.err);
    }
    assert_eq!(drape(empty.path(), &["catalogue"]).code, Some(2));
}

#[test]
fn every_code_that_a_finding_can_have_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("docs/policies.md")).unwrap();
    let mut codes = std::collections::BTreeSet::new();
    let mut todo: Vec<_> =
        ["view", "policy", "server"].map(|c| root.join("proxy").join(c).join("src")).into();
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let source: String = std::fs::read_to_string(&path).unwrap().split_whitespace().collect();
                for before in [
                    "code(\"",
                    ".fault(\"",
                    "at(uses,\"",
                    ".parse(\"",
                    "kept(f,\"",
                    "let(code,what,help)=(\"",
                ] {
                    let found = source.split(before).skip(1).filter_map(|rest| rest.split('"').next());
                    let is_code =
                        |c: &&str| !c.is_empty() && c.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
                    codes.extend(found.filter(is_code).map(str::to_owned));
                }
            }
        }
    }
    assert!(codes.len() > 25, "{codes:?}");
    let missing: Vec<_> = codes.iter().filter(|code| !text.contains(&format!("`{code}`"))).collect();
    assert!(missing.is_empty(), "docs/policies.md does not explain {missing:?}");
}
