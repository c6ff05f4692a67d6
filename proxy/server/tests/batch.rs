//! Batches, HEAD and conditional reads, over HTTP against the embedded store.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use common::*;
use drape_demo::Persona;
use http::Method;
use serde_json::{Value, json};

const JSON: [(&str, &str); 1] = [("content-type", "application/fhir+json")];

async fn batch(house: &House, persona: Persona, entries: Value) -> Reply {
    let body = json!({"resourceType": "Bundle", "type": "batch", "entry": entries}).to_string();
    ask(Method::POST, &format!("{}/", house.base), Some(&house.token(persona)), &JSON, &body).await
}

fn get(url: &str) -> Value {
    json!({"request": {"method": "GET", "url": url}})
}

#[tokio::test(flavor = "multi_thread")]
async fn each_entry_of_a_batch_is_judged_by_itself() {
    let house = House::plain().await;
    let made = json!({"resourceType": "Observation", "status": "final", "subject": {"reference": "Patient/p1"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}});
    let entries = json!([
        get("Patient/p1"),
        get("Observation?patient=p1&_count=2"),
        get("Patient/p2"),
        {"request": {"method": "POST", "url": "Observation"}, "resource": made},
        get("Patient/p1/$graphql?query=x"),
        {"request": {"method": "HEAD", "url": "Patient/p1"}},
        get(&format!("{}/Condition/c1", house.base)),
    ]);
    let reply = batch(&house, Persona::Doctor, entries).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let bundle = reply.json();
    assert_eq!((&bundle["resourceType"], &bundle["type"]), (&json!("Bundle"), &json!("batch-response")));
    let statuses: Vec<&str> = bundle["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["response"]["status"].as_str().unwrap())
        .collect();
    assert_eq!(
        statuses,
        ["200 OK", "200 OK", "404 Not Found", "201 Created", "403 Forbidden", "200 OK", "200 OK"]
    );
    let entry = |n: usize| &bundle["entry"][n];
    assert_eq!(entry(0)["resource"]["name"][0]["family"], "Canary-One");
    assert!(entry(0)["response"]["etag"].is_string());
    assert_eq!(entry(1)["resource"]["type"], "searchset");
    assert_eq!(entry(2)["response"]["outcome"]["resourceType"], "OperationOutcome");
    assert!(entry(3)["response"]["location"].as_str().unwrap().starts_with(&house.base));
    assert!(entry(5).get("resource").is_none());
    // The same bytes as by itself.
    let alone = house.get(Persona::Doctor, "Condition/c1").await;
    assert!(reply.text.contains(alone.text.trim()), "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_61_a_batch_tells_no_more_than_its_entries_would_one_by_one() {
    let house = House::plain().await;
    // A withheld record and an unknown one, in either order and beside what is shown.
    let of = |bundle: &Value, n: usize| {
        let mut entry = bundle["entry"][n].clone();
        nameless(&mut entry["response"]["outcome"]["issue"][0]);
        entry
    };
    let entries =
        json!([get("Condition/c2"), get("Condition/nowhere"), get("Condition/c1"), get("Condition/c2")]);
    let bundle = batch(&house, Persona::Doctor, entries).await.json();
    assert_eq!(of(&bundle, 0), of(&bundle, 1));
    assert_eq!(of(&bundle, 0), of(&bundle, 3));
    // Searches within are gated as searches are; nothing of the refused ones leaves.
    let entries = json!([get("Patient?name=Canary-One"), get("Observation?subject:Patient.name=Canary-One")]);
    let reply = batch(&house, Persona::Researcher, entries).await;
    assert_eq!(reply.json()["entry"][0]["response"]["status"], "403 Forbidden", "{}", reply.text);
    assert_eq!(reply.json()["entry"][1]["response"]["status"], "403 Forbidden");
    assert!(!reply.text.contains("resource\":"), "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_is_not_understood_is_refused_whole() {
    let house = House::plain().await;
    let token = house.token(Persona::Doctor);
    let url = format!("{}/", house.base);
    for (body, status) in [
        (r#"{"resourceType":"Bundle","type":"collection","entry":[]}"#, 400),
        (r#"{"resourceType":"Bundle","type":"batch","type":"transaction"}"#, 400),
        (r#"{"resourceType":"Patient"}"#, 400),
        ("", 400),
    ] {
        let reply = ask(Method::POST, &url, Some(&token), &JSON, body).await;
        assert_eq!(reply.status, status, "{body}: {}", reply.text);
    }
    let nested = json!([{"request": {"method": "POST", "url": "/"}, "resource": {"resourceType": "Bundle", "type": "batch"}}]);
    let reply = batch(&house, Persona::Doctor, nested).await;
    assert_eq!(reply.json()["entry"][0]["response"]["status"], "403 Forbidden", "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn head_answers_as_get_without_the_body() {
    let house = House::plain().await;
    for target in ["Patient/p1", "Condition/c2", "Observation?patient=p1", "metadata"] {
        let get = house.get(Persona::Doctor, target).await;
        let url = format!("{}/{target}", house.base);
        let head = ask(Method::HEAD, &url, Some(&house.token(Persona::Doctor)), &[], "").await;
        assert_eq!(head.status, get.status, "{target}");
        assert_eq!(head.text, "");
        assert_eq!(head.headers.get("etag"), get.headers.get("etag"), "{target}");
        if get.text.len() < 100_000 {
            assert_eq!(head.header("content-length"), get.header("content-length"), "{target}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_31_a_conditional_read_is_answered_from_the_callers_own_view() {
    let policy = r#"
        @id("asks") permit (principal, action in Action::"access", resource);
        @id("sees") permit (principal, action in [Action::"receive", Action::"show"], resource)
        when { !context.record.labels.contains("SUD") };
        @id("no-dates") forbid (principal in Role::"billing", action in Action::"release", resource == Category::"birth-date");
    "#;
    let house = House::with(Wishes { policy: Some(policy), ..Wishes::default() }).await;
    let read = house.get(Persona::Doctor, "Patient/p1").await;
    let etag = read.header("etag").to_owned();
    let with = async |persona: Persona, target: &str, name: &str, value: &str| {
        let url = format!("{}/{target}", house.base);
        ask(Method::GET, &url, Some(&house.token(persona)), &[(name, value)], "").await
    };
    let known = with(Persona::Doctor, "Patient/p1", "if-none-match", &etag).await;
    assert_eq!((known.status.as_u16(), known.text.as_str()), (304, ""));
    assert_eq!(known.header("etag"), etag);
    // Another's tag, an old one and the upstream's own are no match for a view that hides something.
    let billing = house.get(Persona::Billing, "Patient/p1").await;
    assert_ne!(billing.header("etag"), etag);
    for foreign in [etag.as_str(), "W/\"0\"", "*"] {
        let reply = with(Persona::Billing, "Patient/p1", "if-none-match", foreign).await;
        assert_eq!(reply.status, 200, "{foreign}");
    }
    let list = format!("\"x\", {}", billing.header("etag"));
    assert_eq!(with(Persona::Billing, "Patient/p1", "if-none-match", &list).await.status, 304);
    // Of a withheld record a guess at its version says nothing.
    for guess in ["W/\"1\"", "\"1\"", "W/\"2\""] {
        let withheld = with(Persona::Doctor, "Condition/c2", "if-none-match", guess).await;
        assert_eq!(withheld.status, 404, "{guess}");
    }
    // When it changed is told to nobody from whom something is hidden, so nobody can ask for it either.
    let dated =
        with(Persona::Billing, "Patient/p1", "if-modified-since", "Fri, 31 Dec 2100 00:00:00 GMT").await;
    assert_eq!(dated.status, 200);
}
