//! `drape test`: the shipped sets pass their own tests, a change of policy fails them, and wrong input is told as such.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::path::Path;
use std::process::Command;

use drape_policy::shipped;

/// Exit status, standard output, standard error.
fn drape(arguments: &[&str]) -> (i32, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_drape")).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr))
}

fn copy(set: &str, folder: &Path) {
    for (name, text) in shipped::find(set).unwrap().files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

fn change(folder: &Path, file: &str, from: &str, to: &str) {
    let path = folder.join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} does not hold `{from}`");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn every_shipped_set_passes_its_tests_and_they_turn_on_each_of_its_policies() {
    for set in shipped::SETS {
        let (code, out, err) = drape(&["test", "--policies", set.name, "--coverage-min", "100"]);
        assert_eq!(code, 0, "{}: {out}{err}", set.name);
        assert!(out.contains(" 0 failed"), "{out}");
    }
}

#[test]
fn a_policy_that_was_taken_away_or_changed_fails_the_tests_that_turn_on_it() {
    let folder = tempfile::tempdir().unwrap();
    for (file, from, to, fails) in [
        (
            "billing.cedar",
            "ageDays <= 365",
            "ageDays <= 3650",
            "a diagnosis that is older than a year is unknown to billing",
        ),
        (
            "billing.cedar",
            r#""PSY", "SUD", "SEX""#,
            r#""SEX""#,
            "of a patient's diagnoses billing gets the recent",
        ),
        (
            "rules.cedar",
            r#"labels.contains("SUD")"#,
            r#"labels.contains("HIV")"#,
            "substance use needs a consent",
        ),
        (
            "research.cedar",
            r#"Action::"receive", Action::"generalize""#,
            r#"Action::"receive", Action::"show""#,
            "a researcher sees codes, years",
        ),
        (
            "persons.cedar",
            r#"relations.contains("guardian")"#,
            "relations.isEmpty()",
            "of a child a guardian sees all",
        ),
    ] {
        copy("hospital", folder.path());
        change(folder.path(), file, from, to);
        let (code, out, err) = drape(&["test", "--policies", folder.path().to_str().unwrap()]);
        assert_eq!(code, 1, "{from}: {out}{err}");
        assert!(out.lines().any(|l| l.contains("FAILED") && l.contains(fails)), "{from}: {out}");
    }
}

#[test]
fn a_failure_says_what_left_and_why() {
    let folder = tempfile::tempdir().unwrap();
    copy("hospital", folder.path());
    let text = r#"
version: 1
at: "2026-11-25T15:00:00Z"
files: [records.json]
cases:
  - name: wrong in every way
    as: billing
    request: GET Condition/recent
    expect:
      status: 201
      count: 2
      records: { Condition/recent: { Condition.code.coding: redact, Condition.stage: show }, Condition/old: {} }
      withheld: [Condition/recent]
      policies: [part-2]
      says: something
  - name: nobody of that name
    as: clerk
    request: GET Condition/recent
    expect: { status: 200 }
"#;
    std::fs::write(folder.path().join("tests/own.yaml"), text).unwrap();
    let source = folder.path().to_str().unwrap();
    let (code, out, _) = drape(&["test", "--policies", source, "--filter", "own.yaml"]);
    assert_eq!(code, 1);
    for part in [
        "the status is 200, not 201",
        "1 records arrive, not 2: Condition/recent",
        "`Condition.code.coding` is to redact, but is shown",
        "holds nothing at `Condition.stage`",
        "`Condition/old` does not arrive",
        "`Condition/recent` arrives",
        "`part-2` has no part in it; determined by: billing-",
        "the answer does not say `something`",
        "`clerk` is no persona",
        "there are: analyst, billing",
        "2 cases, 0 passed, 2 failed",
    ] {
        assert!(out.contains(part), "`{part}` is not said: {out}");
    }
    let (code, out, _) = drape(&["test", "--policies", source, "--filter", "own.yaml", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, report["failed"].as_u64(), report["cases"][0]["passed"].as_bool()),
        (1, Some(2), Some(false))
    );
}

#[test]
fn wrong_input_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().to_str().unwrap();
    copy("hospital", folder.path());
    std::fs::write(folder.path().join("tests/own.yaml"), "version: 1\ncases: [{ name: a, expects: 1 }]\n")
        .unwrap();
    let (code, _, err) = drape(&["test", "--policies", source]);
    assert!(code == 1 && err.contains("tests/own.yaml") && err.contains("expects"), "{code} {err}");
    std::fs::remove_dir_all(folder.path().join("tests")).unwrap();
    let (code, _, err) = drape(&["test", "--policies", source]);
    assert!(code == 1 && err.contains("holds no tests") && err.contains("help:"), "{code} {err}");
    let (code, _, err) = drape(&["test", "--policies", "hospitall"]);
    assert!(code == 1 && err.contains("neither a shipped set nor a folder"), "{code} {err}");
    let (code, _, err) = drape(&["test", "--policies", "hospital", "--filter", "no such case"]);
    assert!(code == 1 && err.contains("no case has `no such case`"), "{code} {err}");
    let (code, _, err) = drape(&["test", "--policies", "hospital", "--coverage-min", "101"]);
    assert!(code == 2 && err.contains("101"), "{code} {err}");
    let (code, out, _) =
        drape(&["test", "--policies", "hospital", "--filter", "older than a year", "--coverage-min", "50"]);
    assert!(code == 1 && out.contains("fewer than 50 %"), "{code} {out}");
}
