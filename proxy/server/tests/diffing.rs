//! `drape diff` as its user meets it: sets, folders, configurations, corpora, and what cannot be compared.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod child;

use std::path::Path;

use child::{Said, drape};
use serde_json::Value;

fn diff(folder: &Path, arguments: &[&str]) -> Said {
    drape(folder, &[&["diff"], arguments].concat())
}

/// A folder with the hospital set in `ours`, in which each of these texts is replaced.
fn ours(changes: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let set = drape_policy::shipped::find("hospital").unwrap();
    let mut done = 0;
    std::fs::create_dir(folder.path().join("ours")).unwrap();
    for (name, text) in set.files.iter().filter(|(name, _)| !name.contains('/')) {
        let mut text = (*text).to_owned();
        for (from, to) in changes {
            done += usize::from(text.contains(from));
            text = text.replace(from, to);
        }
        std::fs::write(folder.path().join("ours").join(name), text).unwrap();
    }
    assert_eq!(done, changes.len(), "every change is made");
    folder
}

#[test]
fn a_set_and_itself_have_no_difference() {
    let folder = ours(&[]);
    let said = diff(folder.path(), &["hospital", "ours"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(said.out.starts_with("hospital → ours: 0 gained, 0 lost, 0 treated differently"), "{}", said.out);
}

#[test]
fn what_changes_is_told_by_who_type_category_and_condition_with_the_policies_of_both() {
    let folder = ours(&[
        ("[\"HIV\", \"PSY\", \"SUD\", \"SEX\", \"SDV\"]", "[\"PSY\", \"SUD\", \"SEX\", \"SDV\"]"),
        (
            "action == Action::\"encrypt\", resource in Category::\"contact\"",
            "action == Action::\"encrypt\", resource in Category::\"signature\"",
        ),
    ]);
    let said = diff(folder.path(), &["hospital", "ours"]);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    for line in [
        "billing\n",
        "gained   Coverage, Patient: record: withheld → received",
        "where label HIV\n",
        "old: billing-nothing-sensitive; new: billing-sees-person",
        "contact: encrypt → redact",
    ] {
        assert!(said.out.contains(line), "{line}: {}", said.out);
    }
    assert!(!said.out.contains("\ndoctor"), "nobody else is touched: {}", said.out);
    let said = diff(folder.path(), &["hospital", "ours", "--format", "json"]);
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(said.code, Some(1));
    let found = json["differences"].as_array().unwrap();
    assert!(found.iter().all(|d| d["who"] == serde_json::json!(["billing"])), "{json}");
    assert!(found.iter().any(|d| d["where"] == serde_json::json!([{"label": ["HIV"]}])), "{json}");
    assert_eq!(
        json["policies"]["only_new"],
        serde_json::json!(["billing-contact-sealed", "billing-nothing-sensitive"])
    );
    // The other way round what was gained is lost.
    let back = diff(folder.path(), &["ours", "hospital", "--format", "json"]);
    let back: Value = serde_json::from_str(&back.out).unwrap();
    let count = |json: &Value, kind: &str| {
        json["differences"].as_array().unwrap().iter().filter(|d| d["kind"] == kind).count()
    };
    assert_eq!(
        (count(&back, "gained"), count(&back, "lost")),
        (count(&json, "lost"), count(&json, "gained"))
    );
}

#[test]
fn a_role_that_no_persona_has_and_a_department_that_nobody_is_in_are_compared_too() {
    let more = "@id(\"rx\")\npermit (principal in Role::\"pharmacist\", action in [Action::\"receive\", Action::\"show\"], resource)\nwhen { context.record.type == ResourceType::\"MedicationRequest\" };\n@id(\"ward-9\")\nforbid (principal, action in Action::\"observe\", resource)\nwhen { principal.departments.contains(\"nine\") };\n\n@id(\"part-2\")";
    let folder = ours(&[("@id(\"part-2\")", more)]);
    let said = diff(folder.path(), &["hospital", "ours"]);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    assert!(said.out.contains("(role pharmacist"), "{}", said.out);
    assert!(said.out.contains("MedicationRequest: record: withheld → received"), "{}", said.out);
    assert!(said.out.contains("doctor (department nine)"), "{}", said.out);
}

#[test]
fn treatments_categories_and_labels_of_two_configurations_are_compared() {
    let folder = ours(&[]);
    let put = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    let swap = |text: &str, from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    };
    put(
        "treatments.yaml",
        swap(
            drape_view::shipped::TREATMENTS,
            "birth-date: [show, { generalize: year }, encrypt]",
            "birth-date: [show, encrypt]",
        ),
    );
    put(
        "categories.yaml",
        swap(
            drape_view::shipped::CATEGORIES,
            "Patient.birthDate: birth-date",
            "Patient.birthDate: demographics",
        ),
    );
    put("labels.yaml", swap(drape_view::shipped::LABELS, "  COGN: [BH]", "  COGN: [BH, PSY]"));
    let tenant = |more: &str| {
        format!(
            r#"
listen: {{ address: "127.0.0.1:0", plaintext: true }}
admin: {{ address: "127.0.0.1:0", plaintext: true }}
keys: {{ root_file: root.key, directory: keys }}
audit: {{ directory: log, origin: drape.example.org/test, signing_key_file: signing.key }}
tenants:
  - name: main
    public_base_url: http://localhost:8080/fhir
    time_zone: UTC
    upstream: {{ base_url: "http://127.0.0.1:9/fhir", plaintext: true, auth: {{ kind: none }} }}
    issuers: [{{ issuer: "https://issuer.example.org", purposes: {{ TREAT: [clinician] }} }}]
    policies: {{ directory: ours{more} }}
"#
        )
    };
    put("old.yaml", tenant(""));
    put(
        "new.yaml",
        tenant(
            ", categories_file: categories.yaml, labels_file: labels.yaml, treatments_file: treatments.yaml",
        ),
    );
    let said = diff(folder.path(), &["old.yaml", "new.yaml#main"]);
    // Researchers had the year of births.
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    for line in [
        "treatments.yaml\n  birth-date: [show, generalize: year, encrypt] → [show, encrypt]",
        "categories.yaml\n  Patient.birthDate: birth-date → demographics",
        "labels.yaml\n  closure.COGN: – → PSY",
        "birth-date: generalize: year → redact",
    ] {
        assert!(said.out.contains(line), "{line}: {}", said.out);
    }
}

#[test]
fn over_a_corpus_records_are_counted_and_only_what_they_have_is_told() {
    let folder =
        ours(&[("[\"HIV\", \"PSY\", \"SUD\", \"SEX\", \"SDV\"]", "[\"PSY\", \"SUD\", \"SEX\", \"SDV\"]")]);
    let condition = |id: &str, code: &str| {
        format!(
            r#"{{"resourceType":"Condition","id":"{id}","subject":{{"reference":"Patient/p9"}},"recordedDate":"{}","code":{{"coding":[{{"system":"http://hl7.org/fhir/sid/icd-10-cm","code":"{code}"}}]}}}}"#,
            jiff::Timestamp::now().strftime("%Y-%m-%d")
        )
    };
    let lines = [condition("c1", "B20"), condition("c2", "I10"), condition("c3", "B20")].join("\n");
    std::fs::write(folder.path().join("corpus.ndjson"), lines).unwrap();
    let said = diff(folder.path(), &["hospital", "ours", "--records", "corpus.ndjson"]);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    assert!(said.out.contains("gained   Condition: record: withheld → received"), "{}", said.out);
    assert!(
        said.out.contains("(2 times)") && said.out.contains("first in corpus.ndjson, record 1"),
        "{}",
        said.out
    );
    for named in ["c1", "p9", "B20"] {
        assert!(!said.out.contains(named), "{named}: {}", said.out);
    }
    std::fs::write(folder.path().join("harmless.json"), condition("c2", "I10")).unwrap();
    let said = diff(folder.path(), &["hospital", "ours", "--records", "harmless.json"]);
    assert_eq!(said.code, Some(0), "{}", said.out);
}

#[test]
fn what_cannot_be_compared_is_told_with_an_exit_status_of_its_own() {
    let folder = ours(&[]);
    std::fs::write(folder.path().join("broken.json"), "{\"resourceType\"").unwrap();
    std::fs::write(folder.path().join("who.yaml"), "version: 1\npersonas: {}\nmore: 1\n").unwrap();
    let wrong: [(&[&str], &str); 6] = [
        (&["hospital", "hotel"], "`hotel` is neither a shipped set nor a folder\n  help: shipped:"),
        (&["hospital", "none.yaml#main"], "cannot read the configuration `none.yaml`"),
        (&["hospital", "ours", "--records", "none.ndjson"], "`none.ndjson` cannot be read"),
        (&["hospital", "ours", "--records", "broken.json"], "`broken.json` line 1: is not JSON"),
        (&["hospital", "ours", "--personas", "who.yaml"], "`more` is not a known key"),
        (&["hospital"], "<NEW>"),
    ];
    for (arguments, says) in wrong {
        let said = diff(folder.path(), arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {}{}", said.out, said.err);
        assert!(said.err.contains(says), "{arguments:?}: {}", said.err);
    }
}
