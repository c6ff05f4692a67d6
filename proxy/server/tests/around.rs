//! Ways around a guard that looks at the plain search alone, each with Drape's answer; the table in the threat model is
//! held to it, line by line.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use drape_demo::{Persona, Resource, Store};
use http::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Two patients, of whom the doctor treats the first: whatever holds `Canary` is about the second.
async fn store() -> String {
    let observation = |id: &str, patient: &str, note: &str| {
        json!({"resourceType": "Observation", "id": id, "status": "final",
            "subject": {"reference": format!("Patient/{patient}")}, "performer": [{"reference": "Practitioner/pr"}],
            "encounter": {"reference": format!("Encounter/e-{patient}")},
            "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}, "note": [{"text": note}]})
    };
    let encounter = |patient: &str| {
        json!({"resourceType": "Encounter", "id": format!("e-{patient}"), "status": "finished",
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
            "subject": {"reference": format!("Patient/{patient}")}})
    };
    let mut all = vec![
        json!({"resourceType": "Patient", "id": "p1", "name": [{"family": "One"}], "generalPractitioner": [{"reference": "Practitioner/pr"}]}),
        json!({"resourceType": "Patient", "id": "p2", "name": [{"family": "Canary"}], "birthDate": "1990-02-03",
            "generalPractitioner": [{"reference": "Practitioner/pr"}]}),
        json!({"resourceType": "Practitioner", "id": "pr", "name": [{"family": "Staff"}]}),
        json!({"resourceType": "Group", "id": "g", "type": "person", "actual": true, "name": "Canary group",
            "member": [{"entity": {"reference": "Patient/p1"}}, {"entity": {"reference": "Patient/p2"}}]}),
        observation("o-p2", "p2", "Canary"),
        encounter("p1"),
        encounter("p2"),
    ];
    all.extend((0..3).map(|n| observation(&format!("o{n}"), "p1", "plain")));
    let resource = |value: Value| Resource {
        resource_type: value["resourceType"].as_str().unwrap().to_owned(),
        id: value["id"].as_str().unwrap().to_owned(),
        json: value.to_string().into_bytes(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let store = Arc::new(Store::new(all.into_iter().map(resource).collect()).unwrap());
    tokio::spawn(drape_demo::serve::store(listener, store, std::future::pending()));
    format!("http://{address}/fhir")
}

/// A doctor's token with other claims.
fn token(house: &House, change: impl Fn(&mut serde_json::Map<String, Value>)) -> String {
    let mut claims =
        house.issuer.claims_at(Persona::Doctor, jiff::Timestamp::now(), Duration::from_secs(600)).unwrap();
    change(&mut claims);
    house.issuer.sign(&claims).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_way_leads_around_the_shield_and_the_threat_model_says_so_line_by_line() {
    let house = House::with(Wishes { upstream: Some(store().await), ..Wishes::default() }).await;
    let doctor = house.token(Persona::Doctor);
    let reader = token(&house, |claims| {
        claims.insert("scope".into(), json!("user/*.rs"));
    });
    let foreign = token(&house, |claims| {
        claims.insert("aud".into(), json!("https://another.example.org/fhir"));
    });
    let colleague = token(&house, |claims| {
        claims.insert("sub".into(), json!("colleague"));
    });
    let page = {
        let first = house.get(Persona::Doctor, "Observation?patient=p1&_count=1").await.json();
        let next = first["link"].as_array().unwrap().iter().find(|l| l["relation"] == "next").unwrap();
        next["url"].as_str().unwrap().strip_prefix(&format!("{}/", house.base)).unwrap().to_owned()
    };
    let bundle = |kind: &str, method: &str, url: &str| {
        json!({"resourceType": "Bundle", "type": kind, "entry": [{"request": {"method": method, "url": url}}]})
            .to_string()
    };
    let inside = "Observation?subject:Patient.birthdate=1990-02-03";
    let fhir = "application/fhir+json";
    let patch = "application/json-patch+json";
    // What is asked, in words and in fact: headers, body, whose token.
    type Case<'a> = (&'a str, Method, &'a str, Vec<(&'a str, &'a str)>, String, &'a str);
    let get = |words, path, token| -> Case<'_> { (words, Method::GET, path, vec![], String::new(), token) };
    let cases: Vec<Case<'_>> = vec![
        get("`_include:iterate` over a Group of which the own patient is a member", "Patient?_id=p1&_revinclude=Group:member&_include:iterate=Group:member", &doctor),
        get("`_revinclude` of Groups", "Patient?_id=p1&_revinclude=Group:member", &doctor),
        get("`_revinclude:iterate` from the practitioner to all of her patients", "Observation?patient=p1&_include=Observation:performer&_revinclude:iterate=Patient:general-practitioner", &doctor),
        get("`_include` of everything (`*`)", "Observation?patient=p1&_include=*", &doctor),
        get("`_has` on a code", "Patient?_has:Observation:patient:code=8867-4", &doctor),
        get("a chain to the birth date", inside, &doctor),
        get("a chain beside the own patient", "Observation?patient=p1&encounter.subject.name=Canary", &doctor),
        get("`_filter`", "Patient?_filter=name%20co%20%22a%22", &doctor),
        get("`_text`, `_content`", "Patient?_text=Canary", &doctor),
        get("a sort over everybody by a hidden element", "Patient?_sort=birthdate", &doctor),
        (
            "the chain within a batch",
            Method::POST,
            "",
            vec![("content-type", fhir)],
            bundle("batch", "GET", inside),
            &doctor,
        ),
        (
            "the chain within a transaction",
            Method::POST,
            "",
            vec![("content-type", fhir)],
            bundle("transaction", "GET", inside),
            &doctor,
        ),
        (
            "the chain in the form of `_search`",
            Method::POST,
            "Observation/_search",
            vec![("content-type", "application/x-www-form-urlencoded")],
            "subject:Patient.birthdate=1990-02-03".into(),
            &doctor,
        ),
        (
            "a conditional PATCH with a token that may only read (`.rs`)",
            Method::PATCH,
            "Patient?identifier=urn:mrn|1",
            vec![("content-type", patch)],
            r#"[{"op":"test","path":"/birthDate","value":"1990-02-03"}]"#.into(),
            &reader,
        ),
        (
            "a conditional DELETE with a token that may only read",
            Method::DELETE,
            "Observation?patient=p2",
            vec![],
            String::new(),
            &reader,
        ),
        (
            "`If-None-Exist` on a stranger's identifier",
            Method::POST,
            "Patient",
            vec![("content-type", fhir), ("if-none-exist", "birthdate=1990-02-03")],
            r#"{"resourceType":"Patient"}"#.into(),
            &doctor,
        ),
        (
            "a JSON Patch `test` on a record of a stranger",
            Method::PATCH,
            "Patient/p2",
            vec![("content-type", patch)],
            r#"[{"op":"test","path":"/birthDate","value":"1990-02-03"}]"#.into(),
            &doctor,
        ),
        get("`$everything` of a stranger", "Patient/p2/$everything", &doctor),
        get("a stranger's compartment", "Patient/p2/Observation", &doctor),
        get("the history of a stranger's record", "Patient/p2/_history", &doctor),
        get("the history of a type", "Patient/_history", &doctor),
        get("an old version of a stranger's record", "Patient/p2/_history/1", &doctor),
        get("`$graphql`", "$graphql?query=%7BPatient%28id%3Ap2%29%7Bname%7D%7D", &doctor),
        get("`$lastn` over everybody", "Observation/$lastn?max=1", &doctor),
        ("a bulk export by who may not", Method::GET, "$export", vec![("prefer", "respond-async")], String::new(), &doctor),
        get("the server's own cursor (`_getpages`)", "?_getpages=1&_getpagesoffset=0", &doctor),
        get("a page handle of somebody else, replayed", &page, &colleague),
        get("a token for another audience", "Patient/p1", &foreign),
        (
            "`X-HTTP-Method-Override`",
            Method::POST,
            "Patient/p2",
            vec![("content-type", fhir), ("x-http-method-override", "GET")],
            "{}".into(),
            &doctor,
        ),
        get("`_method` in the query", "Patient/p2?_method=DELETE", &doctor),
        get("`_elements` that leaves out what labels a record", "Patient/p2?_elements=birthDate", &doctor),
        (
            "a Subscription on strangers",
            Method::POST,
            "Subscription",
            vec![("content-type", fhir)],
            r#"{"resourceType":"Subscription","status":"requested","criteria":"Observation?","reason":"x","channel":{"type":"rest-hook"}}"#.into(),
            &doctor,
        ),
    ];
    let mut table = Vec::new();
    for (words, method, path, mut headers, body, token) in cases {
        if path.is_empty() {
            headers.push(("accept", fhir));
        }
        let url = format!("{}/{path}", house.base);
        let reply = ask(method, &url, Some(token), &headers, &body).await;
        assert!(!reply.text.contains("Canary"), "{words}: {}", reply.text);
        let status = reply.status.as_u16();
        let answer = match status {
            200 => {
                let told = reply.json();
                let within = told["entry"][0]["response"]["status"].as_str().map(str::to_owned);
                let ids: Vec<String> = told["entry"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|e| Some(e["resource"]["id"].as_str()?.to_owned()))
                    .collect();
                assert!(!ids.iter().any(|id| id.contains("p2") || id == "g"), "{words}: {ids:?}");
                match within {
                    Some(within) => format!("200, the entry {}", within.split(' ').next().unwrap()),
                    None if ids.is_empty() => "200, nothing found".to_owned(),
                    None => "200, the own patient's alone".to_owned(),
                }
            }
            other => other.to_string(),
        };
        table.push(format!("| {words} | {answer} |"));
    }
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/threat-model.md")).unwrap();
    let missing: Vec<&String> = table.iter().filter(|line| !text.contains(*line)).collect();
    assert!(
        missing.is_empty(),
        "the threat model does not say:\n{}\n\nall of it:\n{}",
        missing.iter().map(|l| l.as_str()).collect::<Vec<_>>().join("\n"),
        table.join("\n")
    );
}
