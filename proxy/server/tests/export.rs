//! Bulk exports over HTTP, in front of a scripted server: who may export what, and what comes of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use common::script::{Asked, Said, Script};
use common::*;
use drape_demo::Persona;
use http::Method;
use serde_json::{Value, json};

const ASYNC: (&str, &str) = ("prefer", "respond-async");
const JSON: (&str, &str) = ("content-type", "application/fhir+json");

fn line(id: &str) -> String {
    let all = records();
    String::from_utf8(all.iter().find(|r| r.id == id).unwrap().json.clone()).unwrap()
}

fn lines(ids: &[&str]) -> String {
    ids.iter().map(|id| line(id) + "\n").collect()
}

/// Where an export lies, and what its files hold: of Patient one, of Condition three, of Practitioner one that nobody
/// asked for.
fn manifest(base: &str) -> Value {
    let file = |kind: &str, name: &str, count: u32| json!({"type": kind, "url": format!("{base}/Binary/{name}"), "count": count});
    json!({
        "transactionTime": "2026-11-25T10:00:00.000Z",
        "request": format!("{base}/$export?Canary"),
        "requiresAccessToken": false,
        "output": [
            file("Patient", "patients", 2), file("Condition", "conditions-1", 2), file("Condition", "conditions-2", 1),
            file("Condition", "conditions-3", 1), file("Practitioner", "practitioners", 1), file("Procedure", "procedures", 1),
        ],
        "deleted": [{"type": "Bundle", "url": format!("{base}/Binary/Canary-Deleted")}],
        "error": [{"type": "OperationOutcome", "url": format!("{base}/Binary/Canary-Error")}],
    })
}

fn file(asked: &Asked) -> Option<Said> {
    let body = match asked.target.strip_prefix("/fhir/Binary/")? {
        "patients" => lines(&["p1", "p2"]),
        "conditions-1" => lines(&["c1", "c2"]),
        "conditions-2" => lines(&["c3"]).trim_end().to_owned(),
        "conditions-3" => lines(&["c4"]),
        // A concept that no code list can judge.
        "procedures" => json!({"resourceType": "Procedure", "id": "x", "status": "completed",
            "subject": {"reference": "Patient/p1"}, "code": {"text": "Canary"}})
        .to_string(),
        _ => return Some(Said::status(404)),
    };
    Some(Said::typed("application/fhir+ndjson", body))
}

/// A server that is ready at the second look.
fn server(base: &str, looked: &AtomicBool, asked: &Asked) -> Said {
    let target = &asked.target;
    if target.contains("$export?") || target.ends_with("$export") {
        let link = format!("{base}/$export-poll-status?_jobId=7");
        return Said::status(202).with("content-location", link);
    }
    if target == "/fhir/$export-poll-status?_jobId=7" {
        if asked.method == "DELETE" {
            return Said::status(202);
        }
        if !looked.swap(true, Ordering::SeqCst) {
            return Said::status(202)
                .with("x-progress", "Canary: 30% of 7 files")
                .with("retry-after", "120")
                .with("set-cookie", "Canary");
        }
        return Said::typed("application/json", manifest(base));
    }
    file(asked).unwrap_or_else(|| Said::status(404))
}

/// The script must know its own address, which it has only once it listens: what is asked tells it.
fn host(asked: &Asked) -> String {
    format!("http://{}/fhir", asked.headers["host"].to_str().unwrap())
}

async fn house() -> (House, Script) {
    let looked = AtomicBool::new(false);
    let script = Script::start(move |asked| server(&host(asked), &looked, asked)).await;
    let house = House::with(Wishes { upstream: Some(script.base.clone()), ..Wishes::default() }).await;
    (house, script)
}

async fn with(house: &House, persona: Persona, path: &str, headers: &[(&str, &str)]) -> Reply {
    ask(Method::GET, &format!("{}/{path}", house.base), Some(&house.token(persona)), headers, "").await
}

async fn follow(house: &House, persona: Persona, url: &str) -> Reply {
    ask(Method::GET, url, Some(&house.token(persona)), &[], "").await
}

/// Begins an export and waits for its manifest.
async fn export(house: &House, persona: Persona, path: &str) -> (String, Value) {
    let begun = with(house, persona, path, &[ASYNC]).await;
    assert_eq!((begun.status.as_u16(), begun.text.as_str()), (202, ""));
    let status = begun.header("content-location").to_owned();
    assert!(status.starts_with(&format!("{}/_export/", house.base)), "{status}");
    loop {
        let reply = follow(house, persona, &status).await;
        assert!([200, 202].contains(&reply.status.as_u16()), "{}", reply.text);
        if reply.status == 200 {
            assert_eq!(reply.header("content-type"), "application/json");
            return (status, reply.json());
        }
        assert_eq!((reply.header("x-progress"), reply.header("retry-after")), ("30%", "120"));
        assert!(!format!("{:?}", reply.headers).contains("Canary"));
    }
}

fn outputs(manifest: &Value) -> Vec<(String, String)> {
    let text = |item: &Value, name: &str| item[name].as_str().unwrap().to_owned();
    manifest["output"].as_array().unwrap().iter().map(|o| (text(o, "type"), text(o, "url"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_48_an_export_is_judged_line_by_line_and_tells_neither_how_many_records_nor_files_there_are() {
    let (house, script) = house().await;
    let (_, manifest) =
        export(&house, Persona::Researcher, "Patient/$export?_type=Patient,Condition,Observation,Procedure")
            .await;
    assert_eq!(
        script.targets()[0],
        "GET /fhir/Patient/$export?_outputFormat=application/fhir+ndjson&_type=Patient,Condition,Observation,Procedure"
    );
    let first = &script.asked()[0];
    assert!(first.headers["prefer"].to_str().unwrap().contains("respond-async"));
    // What is not the caller's to know is gone, and everything else is Drape's own.
    assert!(!manifest.to_string().contains("Canary") && !manifest.to_string().contains("127.0.0.1"));
    assert_eq!(manifest["transactionTime"], "2026-11-25T10:00:00.000Z");
    assert_eq!(manifest["requiresAccessToken"], true);
    let request = manifest["request"].as_str().unwrap();
    assert!(request.starts_with(&format!("{}/Patient/$export?", house.base)), "{request}");
    // One file a type, whether there are three of it or none: who is shown a part only learns no number of files.
    let outputs = outputs(&manifest);
    let kinds: Vec<&str> = outputs.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["Condition", "Observation", "Patient", "Procedure"]);
    assert!(!manifest.to_string().contains("count"));
    let mut files = Vec::new();
    for ((kind, url), accept) in outputs.iter().zip([
        "application/fhir+ndjson",
        "*/*",
        "application/fhir+xml",
        "application/fhir+json",
    ]) {
        // A file has one form, whatever else its reader would take.
        let token = house.token(Persona::Researcher);
        let reply = ask(Method::GET, url, Some(&token), &[("accept", accept)], "").await;
        assert_eq!(reply.status, 200, "{kind}: {}", reply.text);
        assert_eq!(reply.header("content-type"), "application/fhir+ndjson");
        assert!(!reply.text.contains("Canary"), "{kind}: {}", reply.text);
        assert!(reply.text.is_empty() || reply.text.ends_with('\n') && !reply.text.contains("\n\n"));
        let records: Vec<Value> = reply.text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        files.push((reply, records));
    }
    // Three of four conditions are about substance use: they vanish, each in a file of its own upstream.
    let (conditions, observations, patients) = (&files[0].1, &files[1].1, &files[2].1);
    assert_eq!(conditions.len(), 1);
    assert_eq!(conditions[0]["code"]["coding"][0]["code"], "I10");
    assert_eq!(observations.len(), 0);
    assert_eq!(patients.len(), 2);
    let pseudonym = patients[0]["id"].as_str().unwrap();
    assert_eq!(conditions[0]["subject"]["reference"], format!("Patient/{pseudonym}"));
    assert_eq!(patients[0]["birthDate"], "1980");
    // A type without files answers like one of which nothing may be shown.
    let names = |reply: &Reply| reply.headers.keys().cloned().collect::<Vec<_>>();
    assert_eq!(files[3].0.text, "");
    assert_eq!(names(&files[1].0), names(&files[3].0));
    house.running.stop().await;
    House::log_is_sound(house.folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_shown_everything_gets_each_file_as_it_is() {
    let (house, script) = house().await;
    let (_, manifest) =
        export(&house, Persona::RecordsOfficer, "$export?_type=Patient,Condition&_elements=id").await;
    assert!(script.targets()[0].ends_with("&_elements=id"), "{:?}", script.targets());
    let outputs = outputs(&manifest);
    assert_eq!(outputs.len(), 4, "three files of conditions, one of patients: {manifest}");
    assert_eq!(manifest["output"][0]["count"], 2);
    let mut all = String::new();
    for (_, url) in &outputs {
        let reply = follow(&house, Persona::RecordsOfficer, url).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        all.push_str(&reply.text);
    }
    assert_eq!(all, lines(&["c1", "c2", "c3", "c4", "p1", "p2"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_types_those_are_named_that_the_caller_may_export_and_never_all() {
    let (house, script) = house().await;
    export(&house, Persona::Researcher, "$export").await;
    let target = &script.targets()[0];
    let types: Vec<&str> =
        target.split("_type=").nth(1).unwrap().split('&').next().unwrap().split(',').collect();
    assert!(types.contains(&"Patient") && types.contains(&"Condition"), "{target}");
    for closed in ["Practitioner", "Claim", "Binary", "AuditEvent", "Group", "Provenance", "Appointment"] {
        assert!(!types.contains(&closed), "{closed}: {target}");
    }
    // Of the compartment of patients alone, where that is asked for.
    script.forget();
    export(&house, Persona::RecordsOfficer, "Patient/$export").await;
    let target = &script.targets()[0];
    assert!(target.contains("Condition") && !target.contains("Medication,"), "{target}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_48_what_may_not_be_searched_is_no_filter_of_an_export() {
    let (house, script) = house().await;
    for (persona, path, status) in [
        (Persona::Doctor, "Patient/$export", 403),
        (Persona::Billing, "Patient/$export", 403),
        (Persona::Attacker, "Patient/$export", 403),
        (Persona::Researcher, "Patient/$export?_type=Patient,Claim", 403),
        (Persona::Researcher, "Patient/$export?_type=Provenance", 403),
        (Persona::Researcher, "Group/g/$export", 403),
        (Persona::Researcher, "Patient/$export?_since=2026-01-01T00:00:00Z", 403),
        (Persona::Researcher, "Patient/$export?_type=Patient&_typeFilter=Patient%3Fname%3DCanary", 403),
        (Persona::Researcher, "Patient/$export?_type=Patient&_typeFilter=Patient%3Fbirthdate%3Dgt1980", 403),
        (
            Persona::Researcher,
            "Patient/$export?_type=Patient&_typeFilter=Patient%3F_has:Condition:patient:code%3Dx",
            403,
        ),
        (Persona::Researcher, "Patient/$export?_typeFilter=Practitioner%3Factive%3Dtrue", 403),
        (Persona::Researcher, "Patient/$export?whatever=1", 400),
        (Persona::Researcher, "Patient/$export?_type=Nobody", 404),
        (Persona::Researcher, "Patient/$export?patient=Patient/p1", 403),
        (Persona::RecordsOfficer, "Observation/$export", 403),
    ] {
        let reply = with(&house, persona, path, &[ASYNC]).await;
        assert_eq!(reply.status, status, "{} {path}: {}", persona.word(), reply.text);
    }
    let reply = with(&house, Persona::Researcher, "Patient/$export", &[]).await;
    assert_eq!(reply.status, 400, "{}", reply.text);
    assert!(script.asked().is_empty(), "{:?}", script.targets());
}

#[tokio::test(flavor = "multi_thread")]
async fn patients_are_named_by_the_ids_that_the_caller_knows() {
    let (house, script) = house().await;
    let (_, manifest) = export(&house, Persona::Researcher, "Patient/$export?_type=Patient").await;
    let reply = follow(&house, Persona::Researcher, &outputs(&manifest)[0].1).await;
    let patient: Value = serde_json::from_str(reply.text.lines().next().unwrap()).unwrap();
    let pseudonym = patient["id"].as_str().unwrap().to_owned();
    let body = |id: &str| {
        json!({"resourceType": "Parameters", "parameter": [
            {"name": "_type", "valueString": "Patient,Condition"},
            {"name": "patient", "valueReference": {"reference": format!("Patient/{id}")}},
        ]})
        .to_string()
    };
    let url = format!("{}/Patient/$export", house.base);
    let token = house.token(Persona::Researcher);
    script.forget();
    let begun = ask(Method::POST, &url, Some(&token), &[ASYNC, JSON], &body(&pseudonym)).await;
    assert_eq!(begun.status, 202, "{}", begun.text);
    let asked = &script.asked()[0];
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/fhir/Patient/$export"));
    let sent: Value = serde_json::from_str(&asked.body).unwrap();
    let named = sent["parameter"].as_array().unwrap().iter().find(|p| p["name"] == "patient").unwrap();
    assert_eq!(named["valueReference"]["reference"], "Patient/p1");
    let reply = follow(&house, Persona::Researcher, begun.header("content-location")).await;
    assert_eq!(reply.json()["request"], url, "the parameters of a POST are no part of it");
    // A true id is no id to who knows pseudonyms: nothing is asked, and nothing comes.
    script.forget();
    let begun = ask(Method::POST, &url, Some(&token), &[ASYNC, JSON], &body("p1")).await;
    assert_eq!(begun.status, 202, "{}", begun.text);
    let reply = follow(&house, Persona::Researcher, begun.header("content-location")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    for (_, url) in outputs(&reply.json()) {
        let file = follow(&house, Persona::Researcher, &url).await;
        assert_eq!((file.status.as_u16(), file.text.as_str()), (200, ""));
    }
    assert!(script.asked().is_empty(), "{:?}", script.targets());
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_48_the_links_of_an_export_are_those_of_who_began_it() {
    let (house, script) = house().await;
    let (status, manifest) = export(&house, Persona::Researcher, "Patient/$export?_type=Patient").await;
    let file = outputs(&manifest)[0].1.clone();
    script.forget();
    for persona in [Persona::RecordsOfficer, Persona::Doctor] {
        for url in [&status, &file] {
            let reply = follow(&house, persona, url).await;
            assert_eq!(reply.status, 404, "{}: {}", persona.word(), reply.text);
        }
        let reply = ask(Method::DELETE, &status, Some(&house.token(persona)), &[], "").await;
        assert_eq!(reply.status, 404, "{}", reply.text);
    }
    let crossed = [
        file.replace("_export-file", "_export"),
        status.replace("_export", "_export-file"),
        status.replace("_export", "_page"),
        format!("{status}x"),
        format!("{status}?_since=x"),
    ];
    for url in crossed {
        let reply = follow(&house, Persona::Researcher, &url).await;
        assert!([400, 404, 410].contains(&reply.status.as_u16()), "{url}: {}", reply.text);
    }
    let stranger = ask(Method::GET, &file, None, &[], "").await;
    assert_eq!(stranger.status, 401);
    // In a batch a file would be no resource.
    let path = file.strip_prefix(&house.base).unwrap();
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "GET", "url": &path[1..]}}]});
    let token = house.token(Persona::Researcher);
    let reply = ask(Method::POST, &house.base, Some(&token), &[JSON], &batch.to_string()).await;
    assert!(reply.text.contains("403"), "{}", reply.text);
    assert!(script.asked().is_empty(), "{:?}", script.targets());
    // Who began it may give it up.
    let reply = ask(Method::DELETE, &status, Some(&token), &[], "").await;
    assert_eq!((reply.status.as_u16(), reply.text.as_str()), (202, ""));
    assert_eq!(script.targets(), ["DELETE /fhir/$export-poll-status?_jobId=7"]);
}

/// What a server says of an export that it has begun, and of its one file.
async fn odd(manifest: impl Fn(&str) -> Value + Send + Sync + 'static, file: Said) -> (House, Script) {
    let script = Script::start(move |asked| {
        let base = host(asked);
        match asked.target.as_str() {
            "/fhir/status" => Said::typed("application/json", manifest(&base)),
            "/fhir/file" => file.clone(),
            _ => Said::status(202).with("content-location", format!("{base}/status")),
        }
    })
    .await;
    let house = House::with(Wishes { upstream: Some(script.base.clone()), ..Wishes::default() }).await;
    (house, script)
}

async fn first_file(house: &House) -> Reply {
    let begun = with(house, Persona::Researcher, "Patient/$export?_type=Patient", &[ASYNC]).await;
    let reply = follow(house, Persona::Researcher, begun.header("content-location")).await;
    if reply.status != 200 {
        return reply;
    }
    follow(house, Persona::Researcher, &outputs(&reply.json())[0].1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_48_a_file_elsewhere_is_not_fetched_and_a_manifest_that_is_none_is_refused() {
    let elsewhere = Script::start(|_| Said::typed("application/fhir+ndjson", lines(&["p1"]))).await;
    let output = |url: String| json!({"transactionTime": "2026-11-25T10:00:00Z", "output": [{"type": "Patient", "url": url}]});
    let far = elsewhere.base.clone();
    for manifest in [
        output(format!("{far}/file")),
        json!({"output": []}),
        json!({"transactionTime": "Canary", "output": []}),
        json!({"transactionTime": "2026-11-25T10:00:00Z"}),
        json!("Canary"),
    ] {
        let (house, _) = odd(move |_| manifest.clone(), Said::status(404)).await;
        let reply = first_file(&house).await;
        assert_eq!(reply.status, 502, "{}", reply.text);
        assert!(!reply.text.contains("Canary") && !reply.text.contains("127.0.0.1"), "{}", reply.text);
    }
    assert!(elsewhere.asked().is_empty());
    // Nor is an export followed that is said to go on elsewhere.
    let far = elsewhere.base.clone();
    let script = Script::start(move |_| Said::status(202).with("content-location", format!("{far}/s"))).await;
    let house = House::with(Wishes { upstream: Some(script.base.clone()), ..Wishes::default() }).await;
    let reply = with(&house, Persona::Researcher, "Patient/$export?_type=Patient", &[ASYNC]).await;
    assert_eq!(reply.status, 502, "{}", reply.text);
    assert!(reply.headers.get("content-location").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_files_that_is_configured_is_asked_without_a_credential() {
    let store = Script::start(|_| Said::typed("binary/octet-stream", lines(&["p1"]))).await;
    let origin = store.base.trim_end_matches("/fhir").to_owned();
    let link = format!("{origin}/bucket/1?signature=x");
    // The address in the manifest is the server's own, and leads on to the store.
    let script = Script::start(move |asked| {
        let base = host(asked);
        match asked.target.as_str() {
            "/fhir/status" => Said::typed(
                "application/json",
                json!({"transactionTime": "2026-11-25T10:00:00Z", "output": [{"type": "Patient", "url": format!("{base}/file")}]}),
            ),
            "/fhir/file" => Said::status(307).with("location", &link),
            _ => Said::status(202).with("content-location", format!("{base}/status")),
        }
    })
    .await;
    let more = format!("auth: {{ kind: caller-token }}, export_hosts: [\"{origin}\"]");
    let wishes = Wishes { upstream: Some(script.base.clone()), upstream_more: &more, ..Wishes::default() };
    let house = House::with(wishes).await;
    let reply = first_file(&house).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.text.lines().count(), 1);
    assert!(script.asked().iter().all(|a| a.headers.contains_key("authorization")));
    let asked = store.asked();
    assert_eq!(asked[0].target, "/bucket/1?signature=x");
    assert!(!asked[0].headers.contains_key("authorization"), "strangers are shown no token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_what_it_is_said_to_be_is_no_file() {
    let one = |base: &str| json!({"transactionTime": "2026-11-25T10:00:00Z", "output": [{"type": "Patient", "url": format!("{base}/file")}]});
    for (file, status) in [
        (Said::typed("application/fhir+ndjson", lines(&["p1", "c1"])), 502),
        (
            Said::typed(
                "application/fhir+ndjson",
                lines(&["p1"]).replace("birthDate", "birthDate\":\"x\",\"b"),
            ),
            200,
        ),
        (Said::typed("application/fhir+ndjson", &lines(&["p1"])[..40]), 502),
        (Said::json(r#"{"resourceType":"Binary","data":"eA=="}"#), 502),
        (Said::typed("text/html", "<html>Canary</html>"), 502),
        (Said::typed("application/fhir+ndjson", lines(&["p1"])).with("content-encoding", "gzip"), 502),
        (Said::status(404), 404),
        (Said::status(500), 502),
    ] {
        let (house, _) = odd(one, file.clone()).await;
        let reply = first_file(&house).await;
        assert_eq!(reply.status, status, "{file:?}: {}", reply.text);
        assert!(!reply.text.contains("Canary"), "{}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_members_of_a_group_are_exported_by_who_may_name_one() {
    let (house, script) = house().await;
    let (_, manifest) = export(&house, Persona::RecordsOfficer, "Group/g1/$export?_type=Patient").await;
    assert_eq!(outputs(&manifest).len(), 1);
    assert!(script.targets()[0].starts_with("GET /fhir/Group/g1/$export?"), "{:?}", script.targets());
    // A set may let others do so; each record is judged all the same.
    let policy = r#"
        @id("registry-exports") permit (principal in Role::"clinician", action == Action::"export", resource)
            when { [ResourceType::"Patient", ResourceType::"Group"].contains(resource) };
        @id("registry-sees") permit (principal in Role::"clinician", action in [Action::"receive", Action::"show"], resource)
            when { context.patient.known && context.patient.relations.contains("treating") };
    "#;
    let looked = AtomicBool::new(false);
    let script = Script::start(move |asked| server(&host(asked), &looked, asked)).await;
    let wishes = Wishes { upstream: Some(script.base.clone()), policy: Some(policy), ..Wishes::default() };
    let house = House::with(wishes).await;
    let (_, manifest) = export(&house, Persona::Doctor, "Group/g1/$export").await;
    assert!(script.targets()[0].ends_with("&_type=Patient"), "{:?}", script.targets());
    let reply = follow(&house, Persona::Doctor, &outputs(&manifest)[0].1).await;
    assert_eq!(reply.text, lines(&["p1"]), "of the others nothing");
    let reply = with(&house, Persona::Doctor, "Group/g1/$export?_type=Group", &[ASYNC]).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
}
