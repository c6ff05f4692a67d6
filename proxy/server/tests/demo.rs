//! The README's first command, as a newcomer runs it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::process::Command;

fn drape(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_drape")).args(arguments).output().expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_tour_comes_out_as_it_should() {
    let (code, out, err) = drape(&["demo", "--once"]);
    assert_eq!(code, Some(0), "{out}\n{err}");
    for heading in [
        "1. One patient, as different people see her",
        "2. A parent and an adolescent",
        "3. Ways round",
        "4. Counts with noise",
        "5. One line of policy",
        "6. Who saw this patient",
        "7. The log verifies",
        "the log is whole and unchanged",
        "the log was tampered with",
        "Everything came out as it should.",
    ] {
        assert!(out.contains(heading), "`{heading}` is not in\n{out}");
    }
    assert!(!out.contains("NOT AS IT SHOULD BE"), "{out}");
    assert!(err.is_empty(), "{err}");
}

#[test]
fn a_server_that_is_not_this_machine_is_refused_unless_forced() {
    let (code, _, err) = drape(&["demo", "--once", "--upstream", "http://192.0.2.1/fhir"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("is not this machine") && err.contains("--force"), "{err}");
    let (code, _, err) = drape(&["demo", "--once", "--force"]);
    assert_eq!(code, Some(2), "{err}");
}

#[test]
fn an_upstream_that_is_not_there_is_a_clear_error() {
    let (code, _, err) = drape(&["demo", "--once", "--upstream", "http://127.0.0.1:9/fhir"]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("http://127.0.0.1:9/fhir/Patient") && err.contains("cannot reach the server"),
        "{err}"
    );
}

#[test]
fn a_folder_that_exists_is_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, err) = drape(&["demo", "--once", "--directory", folder.path().to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(err.contains("exists already"), "{err}");
}
