//! Each verb of the command line as a new user meets it, with wrong input too.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod child;

use std::path::Path;
use std::process::Command;

use child::{Said, drape};

const CONFIG: &str = r#"
listen: { address: "127.0.0.1:0", plaintext: true }
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
    policies: { directory: policies }
"#;

const POLICY: &str = r#"@id("all")
permit (principal in Role::"clinician", action in [Action::"receive", Action::"show"], resource);
"#;

fn folder(config: &str, policy: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("policies")).unwrap();
    std::fs::write(folder.path().join("policies/a.cedar"), policy).unwrap();
    std::fs::write(folder.path().join("drape.yaml"), config).unwrap();
    folder
}

#[test]
fn a_missing_configuration_is_named() {
    let empty = tempfile::tempdir().unwrap();
    let search = ["audit", "search", "--patient", "Patient/1"];
    for verb in [&["check"][..], &["serve"], &["init"], &["audit", "verify"], &search] {
        let said = drape(empty.path(), verb);
        assert_eq!(said.code, Some(if verb == ["audit", "verify"] { 3 } else { 1 }), "{verb:?}");
        assert!(said.err.contains("cannot read the configuration `drape.yaml`"), "{verb:?}: {}", said.err);
    }
}

#[test]
fn an_unknown_key_is_refused_with_a_suggestion() {
    let folder = folder(&CONFIG.replace("time_zone", "timezone"), POLICY);
    let said = drape(folder.path(), &["check"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("tenants[0].timezone") && said.err.contains("did you mean `time_zone`?"),
        "{}",
        said.err
    );
}

#[test]
fn a_policy_that_cannot_be_used_is_named_with_file_line_and_help() {
    let wrong = "@id(\"a\")\npermit (principal, action == Action::\"show\", resource == Category::\"nam\");";
    let folder = folder(CONFIG, wrong);
    let said = drape(folder.path(), &["check"]);
    assert_eq!(said.code, Some(1));
    let told = said.err.contains("--> policies/a.cedar:2:58")
        && said.err.contains("Category::\"nam\"")
        && said.err.contains("help:");
    assert!(told, "{}", said.err);
    // Nothing starts with it either.
    assert_eq!(drape(folder.path(), &["init"]).code, Some(0));
    let said = drape(folder.path(), &["serve"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("Category::\"nam\""), "{}", said.err);
}

#[test]
fn what_must_exist_is_made_once_and_then_left_alone() {
    let folder = folder(CONFIG, POLICY);
    let said = drape(folder.path(), &["check"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("the root key") && said.err.contains("`drape init` makes one"), "{}", said.err);

    let said = drape(folder.path(), &["init"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    for made in ["root key", "log key", "signing key", "audit log", "drape.example.org/test+"] {
        assert!(said.out.contains(made), "{made} is not in {}", said.out);
    }
    let root = std::fs::read(folder.path().join("keys/root.key")).unwrap();
    let said = drape(folder.path(), &["init"]);
    assert!(said.out.contains("nothing was changed"), "{}", said.out);
    assert_eq!(std::fs::read(folder.path().join("keys/root.key")).unwrap(), root);

    let said = drape(folder.path(), &["check"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("the configuration can be used"), "{}", said.out);
}

#[test]
fn an_empty_log_verifies_by_configuration_and_by_public_key_alone() {
    let folder = folder(CONFIG, POLICY);
    let key = drape(folder.path(), &["init"]).out.lines().last().unwrap().trim().to_owned();
    let said = drape(folder.path(), &["audit", "verify"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let outside = ["audit", "verify", "--directory", "log", "--key", &key, "--remember", "seen"];
    let said = drape(folder.path(), &outside);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(folder.path().join("seen").exists());
    let said = drape(folder.path(), &["audit", "verify", "--directory", "log", "--key", "nonsense"]);
    assert_eq!(said.code, Some(3), "{}", said.err);
    let said = drape(folder.path(), &["audit", "verify", "--directory", "nowhere", "--key", &key]);
    assert_eq!(said.code, Some(3), "{}", said.out);
    std::fs::write(folder.path().join("log/checkpoint"), "forged\n0\n\n").unwrap();
    let said = drape(folder.path(), &["audit", "verify"]);
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("`checkpoint` was changed or replaced"), "{}", said.out);
}

#[test]
fn a_search_needs_a_patient_as_fhir_writes_it() {
    let folder = folder(CONFIG, POLICY);
    assert_eq!(drape(folder.path(), &["init"]).code, Some(0));
    let said = drape(folder.path(), &["audit", "search", "--patient", "12345"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("write `Patient/id`"), "{}", said.err);
    let said = drape(folder.path(), &["audit", "search", "--patient", "Patient/12345"]);
    assert_eq!(said.code, Some(0));
    assert!(said.out.contains("no entry fits"), "{}", said.out);
}

#[test]
fn words_that_are_no_verb_are_told_what_there_is() {
    let empty = tempfile::tempdir().unwrap();
    let said = drape(empty.path(), &["chek"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("check"), "{}", said.err);
    let said = drape(empty.path(), &["--help"]);
    assert_eq!(said.code, Some(0));
    for verb in ["check", "init", "serve", "audit", "demo"] {
        assert!(said.out.contains(verb), "{verb}");
    }
}

/// The program by another name, with nothing beside it.
#[cfg(unix)]
fn alone() -> (tempfile::TempDir, std::path::PathBuf) {
    let program = Path::new(env!("CARGO_BIN_EXE_drape"));
    // On the same file system, so that it need not be copied.
    let folder = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
    let link = folder.path().join("drape");
    std::fs::hard_link(program, &link).unwrap();
    (folder, link)
}

#[cfg(unix)]
#[test]
fn proving_without_the_prover_says_how_to_get_it() {
    let (folder, program) = alone();
    let output = Command::new(&program)
        .args(["prove", "--policies", "hospital"])
        .env("PATH", folder.path())
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert!(
        err.contains("`drape-prove` cannot be started") && err.contains("cargo build -p drape-prove"),
        "{err}"
    );
}

#[cfg(unix)]
#[test]
fn what_is_to_be_proved_is_handed_on_and_the_provers_word_is_the_last() {
    use std::os::unix::fs::PermissionsExt as _;
    let (beside, program) = alone();
    let prover = beside.path().join("drape-prove");
    std::fs::write(&prover, "#!/bin/sh\nfor each; do echo \"$each\"; done\nexit 7\n").unwrap();
    std::fs::set_permissions(&prover, std::fs::Permissions::from_mode(0o755)).unwrap();
    let ours = folder(CONFIG, POLICY);
    let run = |arguments: &[&str]| {
        let output = Command::new(&program).current_dir(ours.path()).args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    };
    let said =
        run(&["prove", "--baseline", "hospital", "--except", "clinician is shown note", "--only", "x"]);
    assert_eq!(said.code, Some(7), "{}", said.err);
    let lines: Vec<&str> = said.out.lines().collect();
    let after = |name: &str| lines.iter().skip_while(|l| **l != name).nth(1).copied().unwrap_or_default();
    assert!(after("--policies").ends_with("policies"), "{lines:?}");
    assert_eq!(after("--name"), "tenant `main`");
    assert_eq!(after("--digest").len(), 64);
    assert_eq!(
        [after("--baseline"), after("--except"), after("--only")],
        ["hospital", "clinician is shown note", "x"]
    );
    let wrong = run(&["prove", "--policies", "nowhere"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.err);
    assert!(wrong.err.contains("`nowhere` is neither a shipped set nor a folder"), "{}", wrong.err);
}
