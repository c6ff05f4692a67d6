use super::*;

const GOOD: &str = r#"
listen: { address: "127.0.0.1:8080", plaintext: true }
admin: { address: "127.0.0.1:9090", plaintext: true }
keys: { root_file: root.key, directory: keys }
audit: { directory: log, origin: drape.example.org/audit, signing_key_file: log.key }
tenants:
  - name: main
    public_base_url: http://localhost:8080/fhir
    time_zone: America/New_York
    upstream: { base_url: "http://127.0.0.1:8090/fhir", plaintext: true, dialect: hapi, auth: { kind: none } }
    issuers:
      - issuer: https://issuer.example.org
        purposes: { TREAT: [clinician, nurse] }
    policies: { set: hospital }
budgets:
  - { name: ph, tenant: main, organization: public-health, ledger_file: ledger.redb, epsilon_total: "1.5" }
"#;

fn faults(text: &str) -> Vec<String> {
    match Config::parse(text, Path::new("/etc/drape")) {
        Err(ConfigError::Faulty(faults)) => faults.into_iter().map(|f| f.to_string()).collect(),
        other => panic!("expected faults, got {other:?}"),
    }
}

#[test]
fn a_complete_configuration_is_read_and_paths_start_at_its_folder() {
    let config = Config::parse(GOOD, Path::new("/etc/drape")).unwrap();
    assert_eq!(config.keys.root_file, Path::new("/etc/drape/root.key"));
    assert_eq!(config.budgets[0].total_nano, 1_500_000_000);
    assert_eq!(config.tenants[0].issuers[0].audiences, ["http://localhost:8080/fhir"]);
}

#[test]
fn every_fault_is_reported_at_once_with_its_path_and_unknown_keys_are_refused() {
    let text = GOOD
        .replace("plaintext: true }\nadmin", "plaintxt: true }\nadmin")
        .replace("time_zone: America/New_York", "time_zone: Mars/Olympus")
        .replace("dialect: hapi", "dialect: happy")
        .replace("set: hospital", "set: hotel, redaction: loud");
    let found = faults(&text);
    let all = found.join("\n");
    for expected in [
        "listen.plaintxt",
        "did you mean `plaintext`",
        "listen.tls",
        "tenants[0].time_zone",
        "tenants[0].upstream.dialect",
        "tenants[0].policies.set",
        "tenants[0].policies.redaction: `loud` is not known",
    ] {
        assert!(all.contains(expected), "{expected} not in\n{all}");
    }
}

#[test]
fn plain_http_upstreams_need_the_explicit_setting() {
    let text = GOOD.replace("plaintext: true, dialect", "dialect");
    assert!(faults(&text).join("\n").contains("is plain HTTP"));
}

#[test]
fn an_empty_document_names_every_required_section() {
    let all = faults("{}").join("\n");
    for section in ["listen", "admin", "keys", "audit", "tenants"] {
        assert!(all.contains(section), "{section} not in {all}");
    }
}

#[test]
fn text_that_is_not_yaml_says_where() {
    let error = Config::parse("listen: [", Path::new("")).unwrap_err().to_string();
    assert!(error.contains("not valid YAML"), "{error}");
}

#[test]
fn two_budgets_over_the_same_patients_are_refused() {
    let second = "\n  - { name: two, tenant: main, organization: x, ledger_file: b.redb }\n";
    let all = faults(&format!("{}{second}", GOOD.trim_end())).join("\n");
    assert!(all.contains("has a budget already"), "{all}");
}

#[test]
fn a_recording_names_its_file_and_a_shadow_only_what_it_may_change() {
    let with = |more: &str, policies: &str| {
        GOOD.replace("time_zone: America/New_York", &format!("time_zone: America/New_York\n    {more}"))
            .replace("set: hospital", &format!("set: hospital{policies}"))
    };
    let good = with(
        "capture: { file: rec/a }",
        ", labels_file: l.yaml, shadow: { directory: next, redaction: silent }",
    );
    let tenant = Config::parse(&good, Path::new("/etc/drape")).unwrap().tenants.remove(0);
    let capture = tenant.capture.unwrap();
    assert_eq!(
        (capture.file.as_path(), capture.sample_per_million),
        (Path::new("/etc/drape/rec/a"), 1_000_000)
    );
    let shadow = tenant.policies.in_shadow().unwrap();
    assert_eq!(shadow.redaction, Some(drape_view::Redaction::Silent));
    assert_eq!(
        shadow.labels_file, tenant.policies.labels_file,
        "what finds facts out is that of the policies in force"
    );
    assert!(shadow.shadow.is_none());
    let all = faults(&with(
        "capture: { fil: a, sample_per_million: 2000000, bytes_max: 5 }",
        ", shadow: { set: hotel, labels_file: l.yaml }",
    ))
    .join("\n");
    for expected in [
        "tenants[0].capture.file: is required",
        "tenants[0].capture.fil: is not a known key",
        "tenants[0].capture.sample_per_million: `2000000` is out of range",
        "tenants[0].capture.bytes_max: `5` is out of range",
        "tenants[0].policies.shadow.set: `hotel` is not shipped",
        "tenants[0].policies.shadow.labels_file: is not a known key",
    ] {
        assert!(all.contains(expected), "{expected} not in\n{all}");
    }
}

#[test]
fn privacy_losses_are_read_exactly() {
    assert_eq!(nano("0.1"), Some(100_000_000));
    assert_eq!(nano("10"), Some(10_000_000_000));
    assert_eq!(nano("0.0000000001"), None);
    assert_eq!(nano("-1"), None);
    assert_eq!(nano("1e3"), None);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,200}") {
        let _ = Config::parse(&text, Path::new(""));
    }
}
