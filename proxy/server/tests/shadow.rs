//! What watches beside the requests, end to end: recordings, what is replayed of them, and policies in the shadow.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use common::*;
use drape_demo::Persona;
use drape_server::config::Config;
use http::Method;
use serde_json::Value;

/// The hospital set as files of a folder, with one text in it replaced.
fn candidate(folder: &str, from: &str, to: &str) -> Vec<(String, String)> {
    let set = drape_policy::shipped::find("hospital").unwrap();
    let whole: String = set.policies().map(|(_, text)| text).collect();
    assert!(whole.contains(from), "the hospital set does not say {from}");
    set.policies().map(|(name, text)| (format!("{folder}/{name}"), text.replace(from, to))).collect()
}

/// Without 42 CFR Part 2.
fn lax() -> Vec<(String, String)> {
    candidate("lax", "context.record.labels.contains(\"SUD\")", "context.record.labels.contains(\"NOTHING\")")
}

async fn house(files: &[(String, String)], policies_more: &str, tenant_more: &str) -> House {
    let files = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    House::with(Wishes { files, policies_more, tenant_more, ..Wishes::default() }).await
}

fn drape(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_drape")).current_dir(folder).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn metric(house: &House, wanted: &str) {
    let mut seen = String::new();
    for _ in 0..200 {
        seen = ask(Method::GET, &format!("{}/metrics", house.admin), None, &[], "").await.text;
        if seen.lines().any(|line| line == wanted) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("`{wanted}` is not among\n{seen}");
}

/// What the officer is told for programs.
async fn shadow(house: &House) -> Value {
    let token = house.token(Persona::Officer);
    let reply = ask(Method::GET, &format!("{}/officer/shadow", house.admin), Some(&token), &[], "").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_in_the_shadow_are_counted_and_listed_and_release_nothing() {
    let plain = House::plain().await;
    let beside = house(&lax(), ", shadow: { directory: lax }", "").await;
    let ids = |reply: &Reply| -> Vec<String> {
        let bundle = reply.json();
        let entries = bundle["entry"].as_array().into_iter().flatten();
        entries.map(|e| e["resource"]["id"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let path = "Condition?patient=p1";
    let (alone, shadowed) = (plain.get(Persona::Doctor, path).await, beside.get(Persona::Doctor, path).await);
    assert_eq!(ids(&alone), ["c1"]);
    assert_eq!(ids(&shadowed), ids(&alone), "nothing is released by a candidate");
    assert_eq!(beside.get(Persona::Doctor, "Condition/c2").await.status, 404);
    metric(&beside, "drape_shadow_compared_total{tenant=\"main\"} 2").await;
    // Three of the search, one that was read.
    metric(&beside, "drape_shadow_differences_total{kind=\"gained\",tenant=\"main\"} 4").await;

    let told = shadow(&beside).await;
    let live = beside.running.parts.tenants()[0].policy_digest.clone();
    assert_eq!(told[0]["live"], live);
    assert_ne!(told[0]["digest"], live);
    let differences = told[0]["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 1, "{told}");
    assert_eq!(differences[0]["kind"], "gained");
    assert_eq!(differences[0]["from"], "withheld");
    assert_eq!(differences[0]["count"], 4);
    assert_eq!(differences[0]["types"], serde_json::json!(["Condition"]));
    assert_eq!(differences[0]["who"], serde_json::json!(["clinician for TREAT"]));
    assert_eq!(differences[0]["new"], serde_json::json!(["care-team-sees-all"]));

    let token = beside.token(Persona::Officer);
    let page = ask(Method::GET, &format!("{}/officer", beside.admin), Some(&token), &[], "").await;
    assert!(
        page.text.contains("In the shadow") && page.text.contains("clinician for TREAT"),
        "{}",
        page.text
    );
    let stranger = ask(Method::GET, &format!("{}/officer/shadow", beside.admin), None, &[], "").await;
    assert!(!stranger.text.contains("clinician for TREAT"));
    let doctor = beside.token(Persona::Doctor);
    let other = ask(Method::GET, &format!("{}/officer/shadow", beside.admin), Some(&doctor), &[], "").await;
    assert_eq!(other.status, 401);

    // The start is entered with the candidate's digest.
    let digest = told[0]["digest"].as_str().unwrap().to_owned();
    let reader = beside.running.parts.log.reader();
    let entries = reader.tail(100).unwrap();
    let reasons: Vec<String> = entries.iter().map(|entry| format!("{entry:?}")).collect();
    assert!(reasons.iter().any(|r| r.contains("in the shadow: `") && r.contains(&digest)), "{reasons:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_is_the_same_set_differs_in_nothing() {
    let house = house(&[], ", shadow: { set: hospital }", "").await;
    for (persona, path) in [
        (Persona::Doctor, "Condition?patient=p1"),
        (Persona::Billing, "Observation?patient=p1"),
        (Persona::Researcher, "Observation"),
        (Persona::Patient, "Patient/p1"),
        (Persona::Attacker, "Patient/p1"),
    ] {
        house.get(persona, path).await;
    }
    metric(&house, "drape_shadow_compared_total{tenant=\"main\"} 5").await;
    assert_eq!(shadow(&house).await[0]["differences"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_cannot_be_used_stops_the_start_and_the_check_and_not_a_reload() {
    let house = house(&lax(), ", shadow: { directory: lax }", "").await;
    house.get(Persona::Doctor, "Condition/c2").await;
    metric(&house, "drape_shadow_compared_total{tenant=\"main\"} 1").await;
    let before = shadow(&house).await;
    let folder = house.folder.path();
    let file = folder.join("lax/rules.cedar");
    let sound = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, "@id(\"x\") permit (principal, action == Action::\"shwo\", resource);").unwrap();
    house.running.reload().await;
    assert_eq!(shadow(&house).await[0]["digest"], before[0]["digest"], "the former stays");
    assert_eq!(house.get(Persona::Doctor, "Condition/c1").await.status, 200, "the live set is untouched");
    let check = drape(folder, &["check"]);
    assert_eq!(check.status.code(), Some(1));
    let said = text(&check.stderr);
    assert!(
        said.contains("in the shadow") && said.contains("rules.cedar:1") && said.contains("shwo"),
        "{said}"
    );
    let config = Config::load(&folder.join("drape.yaml")).unwrap();
    let live = house.running.parts.tenants()[0].policy_digest.clone();
    // One that is right is taken up without a restart.
    std::fs::write(&file, format!("{sound}\n// another\n")).unwrap();
    house.running.reload().await;
    assert_ne!(shadow(&house).await[0]["digest"], before[0]["digest"]);
    assert_eq!(house.running.parts.tenants()[0].policy_digest, live);
    std::fs::write(&file, "@id(\"x\") permit (principal, action == Action::\"shwo\", resource);").unwrap();
    let House { running, folder, .. } = house;
    running.stop().await;
    let error = drape_server::serve::start(config, drape_server::clock::Clock::system()).await.err().unwrap();
    let error = error.to_string();
    assert!(error.contains("the shadow policies cannot be used") && error.contains("shwo"), "{error}");
    drop(folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_names_nobody_and_can_be_asked_of_other_policies() {
    let house = house(&lax(), "", "capture: { file: rec/main.drapecap }").await;
    for (persona, path) in [
        (Persona::Doctor, "Condition?patient=p1&code=http://hl7.org/fhir/sid/icd-10-cm|I10"),
        (Persona::Doctor, "Condition/c2"),
        (Persona::Billing, "Observation?patient=p1"),
        (Persona::Researcher, "Observation"),
        (Persona::Attacker, "Patient/p1"),
    ] {
        house.get(persona, path).await;
    }
    let body = r#"{"resourceType":"Observation","status":"final","subject":{"reference":"Patient/p1"},"code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}]},"valueString":"Canary-Value"}"#;
    let json = [("content-type", "application/fhir+json")];
    let token = house.token(Persona::Doctor);
    let made = ask(Method::POST, &format!("{}/Observation", house.base), Some(&token), &json, body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    metric(&house, "drape_capture_items_total{outcome=\"written\",tenant=\"main\"} 6").await;

    // While it is written, too: only the root key is needed.
    let folder = house.folder.path().to_owned();
    let summary = drape(&folder, &["capture"]);
    let said = text(&summary.stdout);
    assert_eq!(summary.status.code(), Some(0), "{}", text(&summary.stderr));
    assert!(said.contains("main.drapecap: 6 requests") && said.contains("clinician for TREAT"), "{said}");
    assert!(said.contains("note: it is still written"), "{said}");
    let House { running, folder: held, .. } = house;
    running.stop().await;
    let said = text(&drape(&folder, &["capture"]).stdout);
    assert!(!said.contains("note:"), "closed: {said}");

    let export = drape(&folder, &["capture", "--export"]);
    let exported = text(&export.stdout);
    assert_eq!(exported.lines().count(), 6, "{exported}");
    let file = std::fs::read(folder.join("rec/main.drapecap")).unwrap();
    for named in ["Canary", "\"doctor\"", "Patient/p1", "\"p1\"", "\"c1\"", "\"c2\"", "I10", "8867-4", "Dr."]
    {
        assert!(!exported.contains(named), "{named} stands in {exported}");
    }
    for clear in ["clinician", "Condition", "subject"] {
        assert!(exported.contains(clear), "{clear} does not stand in {exported}");
        assert!(!file.windows(clear.len()).any(|w| w == clear.as_bytes()), "{clear} in the clear");
    }
    let items: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let create = items.iter().find(|item| item["route"] == "create").unwrap();
    assert!(
        create["asked"]
            .as_array()
            .unwrap()
            .iter()
            .any(|a| a["action"] == "create" && a["answer"] == "permitted")
    );
    let search = items.iter().find(|item| item["asked"].to_string().contains("searchBy")).unwrap();
    assert!(search["asked"].to_string().contains("diagnosis"), "{search}");
    let withheld = items.iter().find(|item| item["records"][0]["withheld"] == "not-received").unwrap();
    assert!(withheld["records"].to_string().contains("SUD"), "{withheld}");

    let same = drape(&folder, &["replay", "hospital"]);
    let said = text(&same.stdout);
    assert_eq!(same.status.code(), Some(0), "{said}{}", text(&same.stderr));
    assert!(said.contains("6 requests asked of hospital: 0 would end otherwise"), "{said}");
    let other = drape(&folder, &["replay", "lax"]);
    let said = text(&other.stdout);
    assert_eq!(other.status.code(), Some(1), "{said}");
    assert!(said.contains("1 gained") && said.contains("Condition: record: withheld → received"), "{said}");
    let other = drape(&folder, &["replay", "lax", "--format", "json"]);
    let json: Value = serde_json::from_slice(&other.stdout).unwrap();
    assert_eq!(json["requests_that_differ"], 1, "{json}");

    for (wrong, says) in [
        (&["replay", "nowhere"][..], "`nowhere` is neither a shipped set nor a folder"),
        (&["replay", "lax", "--recording", "none.drapecap"], "the recording `none.drapecap`"),
        (&["replay", "lax", "--recording", "drape.yaml"], "is no recording of this version"),
        (&["capture", "--tenant", "other"], "`other` is no tenant of this configuration"),
    ] {
        let said = drape(&folder, wrong);
        assert_eq!(said.status.code(), Some(2), "{wrong:?}");
        assert!(text(&said.stderr).contains(says), "{wrong:?}: {}", text(&said.stderr));
    }
    // Something changed in it is told, not skipped.
    let path = folder.join("rec/main.drapecap");
    let mut changed = file;
    let place = changed.len() / 2;
    changed[place] ^= 1;
    std::fs::write(&path, changed).unwrap();
    let said = drape(&folder, &["capture"]);
    assert_eq!(said.status.code(), Some(2));
    assert!(text(&said.stderr).contains("was changed, is missing or out of order"), "{}", text(&said.stderr));
    drop(held);
}
