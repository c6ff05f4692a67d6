//! How somebody starts: `drape init` for each kind of server, and `drape import` of rules that are there already.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod child;

use child::drape;
use drape_server::config::{Config, PolicySource};

#[test]
fn a_starting_point_for_each_kind_of_server_passes_the_check_once_its_keys_are_made() {
    for (template, set) in [
        ("hapi", None),
        ("epic", None),
        ("oracle-health", None),
        ("hapi", Some("safe-harbor")),
        ("epic", Some("gdpr-research")),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut arguments = vec!["init", template, "--directory", "ours"];
        arguments.extend(set.map(|s| ["--set", s]).into_iter().flatten());
        let said = drape(folder.path(), &arguments);
        assert_eq!(said.code, Some(0), "{template}: {}", said.err);
        for written in
            ["drape.yaml", "README.md", "policies/overrides.yaml", "policies/personas.yaml", "next: change"]
        {
            assert!(said.out.contains(written), "{template}: {written} is not in {}", said.out);
        }
        let said = drape(folder.path(), &["init", "--config", "ours/drape.yaml"]);
        assert_eq!(said.code, Some(0), "{template}: {}", said.err);
        assert!(said.out.contains("made root key"), "{}", said.out);
        // What only the server's owner can give: the check asks for it by name.
        let credential = match template {
            "oracle-health" => Some(("oracle-client-secret", "hush".to_owned())),
            "epic" => {
                let (hash, size) = (&rcgen::PKCS_RSA_SHA384, rcgen::RsaKeySize::_2048);
                let key = rcgen::KeyPair::generate_rsa_for(hash, size).unwrap();
                Some(("epic-backend.pem", key.serialize_pem()))
            }
            _ => None,
        };
        if let Some((name, text)) = credential {
            let said = drape(folder.path(), &["check", "--config", "ours/drape.yaml"]);
            assert!(said.code == Some(1) && said.err.contains(&format!("secrets/{name}")), "{}", said.err);
            let secrets = folder.path().join("ours/secrets");
            std::fs::create_dir_all(&secrets).unwrap();
            let file = secrets.join(name);
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        let said = drape(folder.path(), &["check", "--config", "ours/drape.yaml"]);
        assert_eq!(said.code, Some(0), "{template}: {}{}", said.out, said.err);
        assert!(said.out.contains("the configuration can be used"), "{}", said.out);
        assert!(!said.out.contains("warning"), "{template}: {}", said.out);
    }
}

#[test]
fn a_starting_point_marks_the_names_to_change_and_lets_nobody_in_from_outside() {
    let folder = tempfile::tempdir().unwrap();
    for (template, set, role) in
        [("hapi", "hospital", "clinician"), ("oracle-health", "limited-data-set", "recipient")]
    {
        assert_eq!(
            drape(folder.path(), &["init", template, "--directory", template, "--set", set]).code,
            Some(0)
        );
        let text = std::fs::read_to_string(folder.path().join(template).join("drape.yaml")).unwrap();
        for line in text.lines().filter(|l| !l.trim_start().starts_with('#')) {
            let made_up = line.split(" # ").next().unwrap().contains("example.org");
            assert!(!made_up || line.contains("# CHANGE"), "{template}: {line}");
        }
        let config = Config::load(&folder.path().join(template).join("drape.yaml")).unwrap();
        assert!(config.listen.address.ip().is_loopback() && config.admin.listen.address.ip().is_loopback());
        let policies = &config.tenants[0].policies;
        assert!(
            matches!(&policies.source, PolicySource::Directory(f) if f.ends_with("policies")),
            "{policies:?}"
        );
        let purposes = format!("{:?}", config.tenants[0].issuers[0].purposes);
        assert!(purposes.contains(role) && purposes.contains("privacy-officer"), "{template}: {purposes}");
        // All of the set came along, its tests too.
        for (name, text) in drape_policy::shipped::find(set).unwrap().files {
            let copied =
                std::fs::read_to_string(folder.path().join(template).join("policies").join(name)).unwrap();
            assert_eq!(copied, *text, "{name}");
        }
    }
}

#[test]
fn what_is_there_is_named_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("drape.yaml"), "mine").unwrap();
    let said = drape(folder.path(), &["init", "hapi"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("nothing was written") && said.err.contains("drape.yaml"), "{}", said.err);
    assert!(!said.err.contains("README.md"), "{}", said.err);
    assert_eq!(std::fs::read_to_string(folder.path().join("drape.yaml")).unwrap(), "mine");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn an_unknown_kind_of_server_or_set_is_told_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let said = drape(folder.path(), &["init", "meditech"]);
    assert_eq!(said.code, Some(1));
    for name in ["`meditech` is no starting point", "epic", "oracle-health", "hapi"] {
        assert!(said.err.contains(name), "{name} is not in {}", said.err);
    }
    let said = drape(folder.path(), &["init", "hapi", "--set", "clinic"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("`clinic` is no shipped policy set") && said.err.contains("safe-harbor"),
        "{}",
        said.err
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    // Without a kind of server, `--set` would be forgotten in silence.
    let said = drape(folder.path(), &["init", "--set", "hospital"]);
    assert_eq!(said.code, Some(2), "{}", said.err);
}

const RULES: &str = r#"{
  "fhirVersion": "R4",
  "fhirPathRules": [
    {"path": "Resource.id", "method": "cryptoHash"},
    {"path": "nodesByType('Reference').reference", "method": "cryptoHash"},
    {"path": "nodesByType('HumanName')", "method": "redact"},
    {"path": "Patient.birthDate", "method": "generalize", "cases": {"$this < @1931-01-01": "@1930-01-01"}},
    {"path": "Resource", "method": "keep"}
  ],
  "parameters": {"cryptoHashKey": "hush-hush"}
}"#;

#[test]
fn imported_rules_are_told_one_by_one_and_pass_the_check() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.json"), RULES).unwrap();
    let said = drape(folder.path(), &["import", "rules.json", "--out", "ours", "--default", "keep"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(
        said.out.contains("5 rules: ") && said.out.contains("line 7: `Patient.birthDate` generalize"),
        "{}",
        said.out
    );
    let report = std::fs::read_to_string(folder.path().join("ours/IMPORT.md")).unwrap();
    for part in [
        "Theirs keep what no rule names",
        "| line 6 | `nodesByType('HumanName')` | redact | yes |",
        "`cryptoHashKey`: not carried over",
    ] {
        assert!(report.contains(part), "{part} is not in {report}");
    }
    for entry in std::fs::read_dir(folder.path().join("ours")).unwrap() {
        assert!(!std::fs::read_to_string(entry.unwrap().path()).unwrap().contains("hush-hush"));
    }
    // As a tenant's policies.
    assert_eq!(drape(folder.path(), &["init", "hapi", "--directory", "x"]).code, Some(0));
    let config = folder.path().join("x/drape.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("directory: policies #", "directory: ../ours #")).unwrap();
    assert_eq!(drape(folder.path(), &["init", "--config", "x/drape.yaml"]).code, Some(0));
    let said = drape(folder.path(), &["check", "--config", "x/drape.yaml"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    // A second time it would write over what somebody may have changed.
    let said = drape(folder.path(), &["import", "rules.json", "--out", "ours"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("`ours` is not empty"), "{}", said.err);
}

#[test]
fn rules_that_cannot_be_read_are_told_with_their_place_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let said = drape(folder.path(), &["import", "nowhere.json", "--out", "ours"]);
    assert!(said.code == Some(1) && said.err.contains("cannot read `nowhere.json`"), "{}", said.err);
    for (from, to, says) in [
        ("\"redact\"", "\"hide\"", "line 6: `hide` is no method"),
        ("Patient.birthDate", "Patient.birthdate", "line 7: the path `Patient.birthdate` cannot be followed"),
        ("[", "", "is no JSON"),
    ] {
        std::fs::write(folder.path().join("rules.json"), RULES.replacen(from, to, 1)).unwrap();
        let said = drape(folder.path(), &["import", "rules.json", "--out", "ours"]);
        assert_eq!(said.code, Some(1));
        assert!(said.err.contains(says) && said.err.contains("help:"), "{says} is not in {}", said.err);
        let left = std::fs::read_dir(folder.path().join("ours")).map_or(0, Iterator::count);
        assert_eq!(left, 0);
    }
}
