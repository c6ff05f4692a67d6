//! `drape explain`: what a policy author, a refused caller's helpdesk and an officer are told of one request.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod child;
mod common;

use std::path::Path;

use bytes::Bytes;
use child::{Said, drape};
use common::*;
use drape_audit::{Class, Event, EventSecret, Query, Reader};
use drape_demo::Persona;
use drape_server::config::{Policies, PolicySource};
use drape_server::parts::load_policies;
use drape_server::workbench::walk::{Bench, Circumstances, Walk};
use http::{HeaderMap, Method};
use serde_json::{Map, Value, json};

fn explain(folder: &Path, arguments: &[&str]) -> Said {
    drape(folder, &[&["explain"], arguments].concat())
}

const AT: [&str; 2] = ["--at", "2026-11-25T10:00:00Z"];

fn hospital(request: &str, persona: &str, more: &[&str]) -> Said {
    let folder = tempfile::tempdir().unwrap();
    explain(folder.path(), &[&[request, "--as", persona, "--policies", "hospital"], &AT[..], more].concat())
}

#[test]
fn a_request_is_told_from_who_asks_to_what_leaves() {
    let said = hospital("GET /Observation?patient=p1", "nurse", &[]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    for told in [
        "purpose of use TREAT; acts as: nurse",
        "relations: ward to p1",
        "Asked     search-type Observation",
        "`patient` compares Observation.subject",
        "Observation.s: covered by user/*.cruds",
        "`patient` reads patient-link",
        "search Observation: permitted by nurse-requests (clinical.cedar:",
        "Sent      GET /Observation?patient=p1",
        "Observation/o1: the caller is ward to its patient",
        "received by nurse-on-shift (clinical.cedar:",
        "permitted by nurse-on-shift (clinical.cedar:",
        "Answered  200 OK",
        "‹finding-value›",
    ] {
        assert!(said.out.contains(told), "`{told}` is missing in:\n{}", said.out);
    }
    // Another patient's records are not even asked for.
    assert!(!said.out.contains("Observation/o3"), "{}", said.out);
}

#[test]
fn values_stay_masked_until_they_are_asked_for() {
    let masked = hospital("GET /Patient/p1", "doctor", &[]);
    let shown = hospital("GET /Patient/p1", "doctor", &["--reveal"]);
    for value in ["Almond", "1980-02-03", "MRN-P1", "01101"] {
        assert!(!masked.out.contains(value), "`{value}` in:\n{}", masked.out);
        assert!(shown.out.contains(value), "`{value}` is missing in:\n{}", shown.out);
    }
    assert!(masked.out.contains("‹person-name›") && masked.out.contains("`--reveal` shows them"));
}

#[test]
fn a_record_that_is_kept_back_names_the_policy_that_does_it() {
    let said = hospital("GET /Condition?patient=p1", "doctor", &[]);
    assert!(said.out.contains("Condition/c2: labelled"), "{}", said.out);
    let line = said.out.lines().skip_while(|l| !l.contains("Condition/c2")).nth(1).unwrap();
    assert!(line.contains("WITHHELD (not-received): part-2 (rules.cedar:"), "{line}");
    assert!(said.out.contains("Withheld  1 (not-received)"), "{}", said.out);
}

#[test]
fn a_category_that_is_hidden_names_what_was_asked_before_and_who_forbids_it() {
    let said = hospital("GET /Patient/p1", "nurse", &[]);
    assert!(said.out.contains("show is forbidden by nurse-name-is-enough (clinical.cedar:"), "{}", said.out);
    assert!(said.out.contains("Elements  show: "), "{}", said.out);
}

#[test]
fn a_refusal_is_explained_too_and_is_no_failure_of_the_program() {
    let said = hospital("DELETE /Patient/p1", "nurse", &[]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("delete Patient: REFUSED, nothing permits it"), "{}", said.out);
    assert!(said.out.contains("Refused   403 Forbidden by decide"), "{}", said.out);
    assert!(said.out.contains("the caller hears `request`"), "{}", said.out);
    assert!(said.out.contains("Sent      nothing"), "{}", said.out);
    let night = ["--at", "2026-11-25T23:00:00Z"];
    let folder = tempfile::tempdir().unwrap();
    let base = ["GET /Patient/p1", "--as", "nurse", "--policies", "hospital"];
    let said = explain(folder.path(), &[&base[..], &night].concat());
    assert!(said.out.contains("WITHHELD (not-received): nothing permits it"), "{}", said.out);
    assert!(said.out.contains("the caller hears `record`"), "{}", said.out);
}

#[test]
fn a_write_says_what_it_would_change() {
    let folder = tempfile::tempdir().unwrap();
    let body = folder.path().join("body.json");
    let record = json!({"resourceType": "Condition", "id": "c1", "subject": {"reference": "Patient/p1"}, "code": {"text": "x"}});
    std::fs::write(&body, record.to_string()).unwrap();
    let base = ["PUT /Condition/c1", "--as", "doctor", "--policies", "hospital", "--body", "body.json"];
    let said = explain(folder.path(), &[&base[..], &AT].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("Condition/c1, as it is stored"), "{}", said.out);
    assert!(said.out.contains("change ") && said.out.contains("clinician-changes"), "{}", said.out);
}

#[test]
fn json_tells_the_same() {
    let said = hospital("GET /Patient/p1", "nurse", &["--format", "json"]);
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(told["caller"]["roles"], json!(["nurse"]));
    assert_eq!(told["way"]["asked"]["questions"][0]["action"], "read");
    let identifier = &told["way"]["records"][0]["verdict"]["categories"]["identifier"];
    assert_eq!(identifier["treatment"], "redact");
    assert_eq!(identifier["refused"][0]["policies"], json!(["nurse-name-is-enough"]));
    assert!(told["way"]["places"]["nurse-name-is-enough"].as_str().unwrap().starts_with("clinical.cedar:"));
    assert_eq!(told["answer"]["body"]["name"][0]["family"], "‹person-name›");
}

#[test]
fn own_records_claims_and_tokens_can_be_given() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    put(
        "claims.yaml",
        "{ sub: me, roles: [clinician], purpose_of_use: TREAT, relations: [{ patient: Patient/x1, is: [treating] }] }",
    );
    put("x.ndjson", "{\"resourceType\":\"Patient\",\"id\":\"x1\",\"name\":[{\"family\":\"Xenia\"}]}\n");
    let base = ["/Patient/x1", "--policies", "hospital", "--records", "x.ndjson"];
    let said = explain(folder.path(), &[&base[..], &["--claims", "claims.yaml", "--reveal"]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("Xenia") && said.out.contains("of x.ndjson"), "{}", said.out);
    // {"sub":"me","iss":"https://i.example","roles":["clinician"],"purpose_of_use":"TREAT"}, signed by nobody.
    put(
        "token",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSIsImlzcyI6Imh0dHBzOi8vaS5leGFtcGxlIiwicm9sZXMiOlsiY2xpbmljaWFuIl0sInB1cnBvc2Vfb2ZfdXNlIjoiVFJFQVQifQ.",
    );
    let said = explain(folder.path(), &[&base[..], &["--token", "token"]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("The token's signature was NOT verified"), "{}", said.out);
    assert!(said.out.contains("WITHHELD"), "{}", said.out);
}

#[test]
fn wrong_input_says_what_is_wrong_and_what_helps() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.json"), "{ \"resourceType\": ").unwrap();
    std::fs::write(folder.path().join("nameless.json"), "{\"resourceType\":\"Patient\"}").unwrap();
    let base = ["--policies", "hospital"];
    for (arguments, says) in [
        (&["GET /Patient/p1", "--as", "nobdy"][..], "`nobdy` is no persona\n  help: there are: "),
        (&["FETCH /Patient/p1", "--as", "nurse"], "`FETCH` is not a method"),
        (
            &["GET /Patent/p1", "--as", "nurse"],
            "`Patent` is no resource type of FHIR R4\n  help: did you mean `Patient`?",
        ),
        (&["GET /Patient?name=a b", "--as", "nurse"], "a space in it is written `%20`"),
        (&["GET /Patient/p1", "--as", "nurse", "--at", "yesterday"], "`yesterday` is no moment"),
        (&["GET /Patient/p1", "--as", "nurse", "--records", "bad.json"], "`bad.json` is not JSON"),
        (&["GET /Patient/p1", "--as", "nurse", "--records", "nameless.json"], "a Patient has no `id`"),
        (&["GET /Patient/p1", "--as", "nurse", "--records", "none.json"], "cannot read `none.json`"),
        (&["GET /Patient/p1", "--token", "bad.json"], "holds no JWT"),
        (&["GET /Patient/p1", "--claims", "bad.json"], "holds no claims"),
    ] {
        let said = explain(folder.path(), &[arguments, &base].concat());
        assert_eq!(said.code, Some(1), "{arguments:?}: {}{}", said.out, said.err);
        assert!(said.err.contains(says), "{arguments:?}: {}", said.err);
        assert!(said.out.is_empty(), "{arguments:?}");
    }
    for usage in [&["GET /Patient/p1"][..], &["--as", "nurse"], &["GET /x", "--as", "a", "--token", "t"]] {
        let said = explain(folder.path(), &[usage, &base].concat());
        assert_eq!(said.code, Some(2), "{usage:?}: {}", said.err);
    }
}

/// The entries of a request, oldest first.
fn entries(folder: &Path, request: &str) -> Vec<Event> {
    let root = drape_server::parts::root_key(&config(folder)).unwrap();
    let secret = EventSecret::new(drape_server::logs::secret(&config(folder), None, &root).unwrap());
    let query = Query { request: Some(request.to_owned()), limit: 100, ..Query::default() };
    let mut found = Reader::new(&folder.join("log"), secret).search(&query).unwrap();
    found.sort_by_key(|opened| opened.index);
    found.iter().map(|opened| opened.event().unwrap().clone()).collect()
}

fn config(folder: &Path) -> drape_server::config::Config {
    drape_server::config::Config::load(&folder.join("drape.yaml")).unwrap()
}

/// The same request on the bench, by somebody with the same claims.
async fn walked(house: &House, persona: Persona, target: &str) -> Walk {
    let tenant = config(house.folder.path()).tenants.remove(0);
    let policies = Policies::of(PolicySource::Shipped("hospital".into()));
    let now_ms = drape_server::clock::Clock::system().now_ms();
    let bench = Bench::new(load_policies(&policies, None).unwrap(), Some(&tenant), now_ms).await.unwrap();
    let resources = records().iter().map(|r| serde_json::from_slice(&r.json).unwrap()).collect();
    bench.hold(resources).unwrap();
    let token = house.token(persona);
    let payload = token.split('.').nth(1).unwrap();
    let decoded = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, payload).unwrap();
    let claims: Map<String, Value> = serde_json::from_slice(&decoded).unwrap();
    let who = bench.caller(&claims, &[], Circumstances::default()).unwrap();
    bench.ask(&who, &Method::GET, target, &HeaderMap::new(), Bytes::new()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_holds_is_what_explain_tells_of_the_same_request() {
    let house = House::plain().await;
    for (persona, target, status) in [
        (Persona::Doctor, "Condition?patient=p1&_elements=code", 200),
        (Persona::Doctor, "Patient/p1", 200),
        (Persona::Researcher, "Condition", 200),
        (Persona::Billing, "Patient/p1/_history", 403),
        (Persona::Doctor, "Condition/c2", 404),
        (Persona::RecordsOfficer, "Condition", 200),
    ] {
        let reply = house.get(persona, target).await;
        assert_eq!(reply.status, status, "{target}: {}", reply.text);
        let logged = entries(house.folder.path(), reply.header("x-request-id"));
        let walk = walked(&house, persona, &format!("/{target}")).await;
        assert_eq!(walk.status, status, "{target}");
        let mut asked = drape_audit::trace::Trace::default();
        logged.iter().for_each(|event| asked.extend(&event.trace));
        assert_eq!(asked, walk.trace.asked, "{persona:?} {target}");
        assert!(!asked.questions.is_empty(), "{target}");
        let last = logged.last().unwrap();
        assert_eq!(last.determined, walk.trace.determined, "{persona:?} {target}");
        assert_eq!(last.determined.is_empty(), status != 200, "{persona:?} {target}");
        // The intent says why before anything is sent.
        if logged[0].class == Class::Intent {
            assert!(!logged[0].trace.questions.is_empty());
            assert_eq!(logged[0].policies, walk.trace.policies);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_a_record_or_a_criterion_stands_in_a_trace() {
    let house = House::plain().await;
    let target = "Condition?patient=p1&code=F11.20&_sort=onset-date";
    let reply = house.get(Persona::Doctor, target).await;
    for event in entries(house.folder.path(), reply.header("x-request-id")) {
        let text = format!("{:?}{:?}", event.trace, event.determined);
        for value in ["F11.20", "Canary", "p1", "I10"] {
            assert!(!text.contains(value), "`{value}` in {text}");
        }
        let json = event.to_json().to_string();
        assert!(!json.contains("Canary"), "{json}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_caller_hears_which_precondition_failed_and_the_name_of_the_decision() {
    let house = House::plain().await;
    for (persona, target, code) in [
        (Persona::Doctor, "Condition/c2", "record"),
        (Persona::Doctor, "Condition/nowhere", "record"),
        (Persona::Billing, "Patient/p1/_history", "request"),
        (Persona::Researcher, "Patient?name=x", "criterion"),
        (Persona::Doctor, "Condition?nonsense=1", "form"),
    ] {
        let reply = house.get(persona, target).await;
        let issue = &reply.json()["issue"][0];
        let coding = &issue["details"]["coding"][0];
        assert_eq!(coding["system"], "https://drape.dev/fhir/CodeSystem/refusal");
        assert_eq!(coding["code"], code, "{target}: {}", reply.text);
        let id = reply.header("x-request-id");
        assert!(
            issue["diagnostics"].as_str().unwrap().ends_with(&format!(" (decision {id})")),
            "{}",
            reply.text
        );
        let logged = entries(house.folder.path(), id);
        assert_eq!(logged.last().unwrap().trace.lacks.as_deref(), Some(code), "{target}");
    }
    let stranger = ask(Method::GET, &format!("{}/Patient/p1", house.base), None, &[], "").await;
    assert_eq!(stranger.json()["issue"][0]["details"]["coding"][0]["code"], "token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_of_the_past_is_told_by_its_id() {
    let house = House::plain().await;
    let answered = house.get(Persona::Doctor, "Condition?patient=p1").await;
    let refused = house.get(Persona::Billing, "Patient/p1/_history").await;
    let withheld = house.get(Persona::Doctor, "Condition/c2").await;
    let told = |reply: &Reply, more: &[&str]| {
        let entry = ["--entry", reply.header("x-request-id"), "--config", "drape.yaml"];
        let said = explain(house.folder.path(), &[&entry[..], more].concat());
        assert_eq!(said.code, Some(0), "{}", said.err);
        said.out
    };
    let out = told(&answered, &[]);
    for line in [
        "still in force",
        "Asked     search-type Condition: GET /Condition?patient=‹…›",
        "search Condition: permitted by clinician-requests (clinical.cedar:",
        "Elements  show: ",
        "by care-team-sees-all (clinical.cedar:",
        "Answered  200; withheld: 3 not-received",
    ] {
        assert!(out.contains(line), "`{line}` is missing in:\n{out}");
    }
    assert!(!out.contains("p1"), "{out}");
    assert!(told(&answered, &["--reveal"]).contains("Condition/c1"));
    let out = told(&refused, &[]);
    assert!(out.contains("history Patient: REFUSED, nothing permits it"), "{out}");
    assert!(out.contains("the caller heard `request`"), "{out}");
    // The officer is told what the caller is not.
    assert!(told(&withheld, &[]).contains("withheld: not-received"));
    let json: Value = serde_json::from_str(&told(&answered, &["--format", "json"])).unwrap();
    assert_eq!(json["asked"]["questions"][0]["action"], "search");
    let unknown = explain(house.folder.path(), &["--entry", "00000000-1", "--config", "drape.yaml"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.err.contains("the log holds no entry of `00000000-1`"), "{}", unknown.err);
}
