//! Policies that officers must approve of: two of them, of this digest, by entries that the signed log holds.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use common::*;
use drape_demo::Persona;
use drape_server::clock::Clock;
use drape_server::config::Config;
use drape_server::serve::start;
use http::Method;
use serde_json::json;

const OPEN: &str = r#"
@id("all-requests")
permit (principal in Role::"clinician", action in [Action::"read", Action::"search"], resource);
@id("all-shown")
permit (principal in Role::"clinician", action in [Action::"receive", Action::"show"], resource);
"#;

const NO_BIRTH_DATES: &str = r#"
@id("no-birth-dates")
forbid (principal, action in Action::"release", resource == Category::"birth-date");
"#;

/// A house that has started without approvals and now wants two for whatever comes.
async fn house() -> House {
    let house =
        House::with(Wishes { policy: Some(OPEN), more: "reload: { interval_ms: 50 }", ..Wishes::default() })
            .await;
    want_two(&house);
    house.running.reload().await;
    assert_eq!(house.running.parts.tenants()[0].approvals_required, 2);
    house
}

fn want_two(house: &House) {
    let file = house.folder.path().join("drape.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("directory: policies", "directory: policies, approvals_required: 2");
    // The CLI finds the admin port in the configuration.
    let admin = house.running.admin_address;
    let text =
        text.replace(r#"admin: { address: "127.0.0.1:0""#, &format!(r#"admin: {{ address: "{admin}""#));
    std::fs::write(&file, text).unwrap();
}

fn put(house: &House, text: &str) {
    std::fs::write(house.folder.path().join("policies/a.cedar"), text).unwrap();
}

fn digest(house: &House) -> String {
    house.running.parts.tenants()[0].policy_digest.clone()
}

/// An officer of that name.
fn officer(house: &House, subject: &str) -> String {
    let life = Duration::from_secs(600);
    let mut claims = house.issuer.claims_at(Persona::Officer, jiff::Timestamp::now(), life).unwrap();
    claims.insert("sub".into(), json!(subject));
    claims.insert("name".into(), json!(format!("Officer {subject}")));
    house.issuer.sign(&claims).unwrap()
}

fn token_file(house: &House, name: &str, token: &str) -> String {
    let file = house.folder.path().join(format!("{name}.token"));
    std::fs::write(&file, token).unwrap();
    file.display().to_string()
}

async fn drape(house: &House, arguments: &[&str]) -> Output {
    let config = house.folder.path().join("drape.yaml").display().to_string();
    let mut all = vec!["approve".to_owned(), "--config".to_owned(), config];
    all.extend(arguments.iter().map(|a| (*a).to_owned()));
    tokio::task::spawn_blocking(move || Command::new(env!("CARGO_BIN_EXE_drape")).args(all).output().unwrap())
        .await
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

async fn eventually(what: &str, so: impl Fn() -> bool) {
    for _ in 0..400 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("not within ten seconds: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_set_waits_until_two_officers_have_approved_of_it() {
    let house = house().await;
    let before = digest(&house);
    put(&house, &format!("{OPEN}{NO_BIRTH_DATES}"));
    let waiting = || house.running.parts.reloads.candidate("main").filter(|c| c.waits);
    eventually("the candidate waits", || waiting().is_some()).await;
    let wanted = waiting().unwrap().digest.unwrap();
    assert_eq!(waiting().unwrap().faults, ["the policies need the approval of 2 officers and have 0"]);
    assert_eq!(house.get(Persona::Doctor, "Patient/p1").await.json()["birthDate"], "1980-02-03");

    // Who is no officer, and another digest than that of the files.
    let doctor = token_file(&house, "doctor", &house.token(Persona::Doctor));
    let refused = drape(&house, &["--digest", &wanted, "--token", &doctor]).await;
    assert!(
        !refused.status.success() && said(&refused).contains("not a privacy officer's"),
        "{}",
        said(&refused)
    );
    let ada = token_file(&house, "ada", &officer(&house, "ada"));
    let refused = drape(&house, &["--digest", &before, "--token", &ada]).await;
    assert!(!refused.status.success() && said(&refused).contains("another digest"), "{}", said(&refused));

    // One is not enough, nor is the same one twice.
    let one = drape(&house, &["--digest", &wanted, "--token", &ada]).await;
    assert!(said(&one).contains("approved; 1 of 2 needed: Officer ada"), "{}", said(&one));
    let again = token_file(&house, "again", &officer(&house, "ada"));
    let twice = drape(&house, &["--digest", &wanted, "--token", &again]).await;
    assert!(
        !twice.status.success() && said(&twice).contains("approved of these policies already"),
        "{}",
        said(&twice)
    );
    house.running.reload().await;
    assert_eq!(digest(&house), before);
    assert!(waiting().unwrap().faults[0].contains("have 1: Officer ada"), "{:?}", waiting());

    let bo = token_file(&house, "bo", &officer(&house, "bo"));
    let two = drape(&house, &["--digest", &wanted, "--token", &bo]).await;
    assert!(said(&two).contains("approved; 2 of 2 needed: Officer ada, Officer bo"), "{}", said(&two));
    eventually("the switch", || digest(&house) == wanted).await;
    assert!(house.get(Persona::Doctor, "Patient/p1").await.json()["birthDate"].is_null());
    // What was approved once stays approved: going back needs nobody's leave but for the first set, which nobody signed.
    put(&house, OPEN);
    eventually("the first set waits", || waiting().is_some_and(|c| c.digest.as_deref() == Some(&before)))
        .await;
    House::log_is_sound(house.folder.path());
}

/// The page's form for approving of the candidate, as a browser would send it; that of the set in force, which nobody
/// approved of either, stands before it.
fn form(page: &str) -> String {
    let form =
        page.split("action=\"/officer/approve\"").last().expect("a form").split("</form>").next().unwrap();
    let value = |name: &str| {
        let rest = form.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    ["tenant", "digest", "sheet", "key"].map(|name| format!("{name}={}", value(name))).join("&")
}

#[tokio::test(flavor = "multi_thread")]
async fn officers_read_the_sheet_and_approve_on_their_page_and_no_other_page_can() {
    let house = house().await;
    put(&house, &format!("{OPEN}{NO_BIRTH_DATES}"));
    eventually("the candidate waits", || house.running.parts.reloads.candidate("main").is_some()).await;
    let wanted = house.running.parts.reloads.candidate("main").unwrap().digest.unwrap();
    let url = |path: &str| format!("{}/officer{path}", house.admin);
    let content = ("content-type", "application/x-www-form-urlencoded");
    let sign_in = async |subject: &str| {
        let form = format!("token={}", officer(&house, subject));
        let reply = ask(Method::POST, &url("/session"), None, &[content], &form).await;
        assert_eq!(reply.status, 303, "{}", reply.text);
        reply.header("set-cookie").split(';').next().unwrap().to_owned()
    };
    let get =
        async |path: &str, cookie: &str| ask(Method::GET, &url(path), None, &[("cookie", cookie)], "").await;
    let approve = async |cookie: &str, form: &str| {
        ask(Method::POST, &url("/approve"), None, &[content, ("cookie", cookie)], form).await
    };
    let ada = sign_in("ada").await;
    let page = get("", &ada).await.text;
    assert!(page.contains("Candidate waiting for approval") && page.contains(&wanted), "{page}");
    let sheet = get(&format!("/sheet?tenant=main&digest={wanted}"), &ada).await;
    assert_eq!(sheet.status, 200, "{}", sheet.text);
    assert!(sheet.text.contains("no-birth-dates") && sheet.text.contains(&wanted), "{}", sheet.text);
    let hash = sheet.text.split("SHA-256 <code>").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let ada_form = form(&page);
    assert!(ada_form.contains(&hash));

    // Another session's form, one without the key, one about another sheet, no session at all.
    let bo = sign_in("bo").await;
    let bo_form = form(&get("", &bo).await.text);
    assert_eq!(approve(&ada, &bo_form).await.status, 403);
    assert_eq!(approve(&ada, ada_form.rsplit_once('&').unwrap().0).await.status, 403);
    assert_eq!(approve("drape-officer=none", &ada_form).await.status, 403);
    assert_eq!(approve(&ada, &ada_form.replace(&hash, &"0".repeat(64))).await.status, 409);
    assert_eq!(get("/sheet?tenant=main", "").await.status, 401);

    assert_eq!(approve(&ada, &ada_form).await.status, 303);
    assert_eq!(approve(&ada, &ada_form).await.status, 409, "one officer counts once");
    let page = get("", &bo).await.text;
    assert!(page.contains("Approved by 1 of 2 officers needed") && page.contains("Officer ada"), "{page}");
    assert_eq!(approve(&bo, &bo_form).await.status, 303);
    eventually("the switch", || digest(&house) == wanted).await;
    let page = get("", &bo).await.text;
    assert!(page.contains("Approved by 2 of 2 officers needed"), "{page}");
    assert!(page.contains(&format!("approved of the policies {wanted}; sheet sha256 {hash}")), "{page}");
}

async fn restarted(folder: &Path) -> Result<drape_server::serve::Running, String> {
    let config = Config::load(&folder.join("drape.yaml")).unwrap();
    start(config, Clock::system()).await.map_err(|e| e.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_needs_the_approvals_too_and_a_log_that_was_changed_gives_none() {
    let house = house().await;
    let wanted = digest(&house);
    let ada = token_file(&house, "ada", &officer(&house, "ada"));
    let bo = token_file(&house, "bo", &officer(&house, "bo"));
    let offline = ["--offline", "--digest", &wanted, "--token"];
    let busy = drape(&house, &[&offline[..], &[&ada]].concat()).await;
    assert!(!busy.status.success() && said(&busy).contains("for when no proxy runs"), "{}", said(&busy));
    let House { running, folder, issuer, base, admin } = house;
    running.stop().await;
    let Err(error) = restarted(folder.path()).await else { panic!("it starts without approvals") };
    assert!(
        error.contains(&wanted) && error.contains("need the approval of 2 officers and have 0"),
        "{error}"
    );
    assert!(error.contains("drape approve --offline --tenant main"), "{error}");

    // `drape` wants a house for its folder alone.
    let run = async |token: &str| {
        let config = folder.path().join("drape.yaml").display().to_string();
        let all: Vec<String> =
            ["approve", "--config", &config, "--offline", "--digest", &wanted, "--token", token]
                .map(str::to_owned)
                .to_vec();
        let run = move || Command::new(env!("CARGO_BIN_EXE_drape")).args(all).output().unwrap();
        said(&tokio::task::spawn_blocking(run).await.unwrap())
    };
    let one = run(&ada).await;
    assert!(one.contains("approved; 1 of 2 needed: Officer ada"), "{one}");
    let twice = run(&ada).await;
    assert!(twice.contains("`Officer ada` approved of these policies already"), "{twice}");
    let Err(error) = restarted(folder.path()).await else { panic!("it starts with one approval") };
    assert!(error.contains("have 1: Officer ada"), "{error}");
    let two = run(&bo).await;
    assert!(two.contains("approved; 2 of 2 needed: Officer ada, Officer bo"), "{two}");

    let running = restarted(folder.path()).await.unwrap();
    running.stop().await;

    // A bit of the last approval, far from the end of the file, where no recovery would cut it off.
    let events = folder.path().join("log/events");
    let mut files: Vec<_> = std::fs::read_dir(&events).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let signer =
        drape_audit::NoteSigner::from_seed_file("drape.example.org/test", &folder.path().join("signing.key"))
            .unwrap();
    let config = Config::load(&folder.path().join("drape.yaml")).unwrap();
    let root = drape_server::parts::root_key(&config).unwrap();
    let secret = drape_audit::EventSecret::new(drape_server::logs::secret(&config, None, &root).unwrap());
    let reader = drape_audit::Reader::new(&folder.path().join("log"), secret);
    let directory = folder.path().join("log");
    let approvals =
        || drape_server::approvals::of(&directory, signer.verifier(), &reader, "main", &wanted).unwrap();
    assert_eq!(approvals().len(), 2);
    assert_eq!(
        drape_server::approvals::of(&directory, signer.verifier(), &reader, "main", "other").unwrap().len(),
        0
    );
    assert_eq!(
        drape_server::approvals::of(&directory, signer.verifier(), &reader, "elsewhere", &wanted)
            .unwrap()
            .len(),
        0
    );
    // Events are sealed: any byte of one that changes makes it no longer what its leaf commits to.
    let mut tampered = 0;
    for file in &files {
        let whole = std::fs::read(file).unwrap();
        for place in (0..whole.len()).step_by(97) {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            std::fs::write(file, &changed).unwrap();
            let left = approvals();
            assert!(left.len() <= 2 && left.iter().all(|a| ["ada", "bo"].contains(&a.subject.as_str())));
            tampered += usize::from(left.len() < 2);
        }
        std::fs::write(file, &whole).unwrap();
    }
    assert!(tampered > 5, "{tampered}");
    assert_eq!(approvals().len(), 2);
    // A tree of somebody else's: nothing in it is signed by this log's key.
    let checkpoint = directory.join("checkpoint");
    let signed = std::fs::read_to_string(&checkpoint).unwrap();
    std::fs::write(&checkpoint, signed.replacen("\n", "\n1", 1)).unwrap();
    assert_eq!(approvals().len(), 0);
    drop((issuer, base, admin));
}
