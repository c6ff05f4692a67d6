//! Operations and Binaries over HTTP, in front of a scripted server: each by name, judged as what it brings.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::collections::BTreeMap;

use common::script::{Asked, Said, Script};
use common::*;
use drape_demo::Persona;
use http::Method;
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/fhir+json");

fn record(id: &str) -> Value {
    let all = records();
    serde_json::from_slice(&all.iter().find(|r| r.id == id).unwrap().json).unwrap()
}

fn bundle(base: &str, records: &[Value], next: Option<&str>) -> Value {
    let entry = |r: &Value| {
        let url = format!("{base}/{}/{}", r["resourceType"].as_str().unwrap(), r["id"].as_str().unwrap());
        json!({"fullUrl": url, "resource": r, "search": {"mode": "match"}})
    };
    let mut bundle = json!({"resourceType": "Bundle", "type": "searchset", "total": 99,
        "link": [{"relation": "self", "url": format!("{base}/Canary")}], "entry": records.iter().map(entry).collect::<Vec<_>>()});
    if let Some(next) = next {
        bundle["link"]
            .as_array_mut()
            .unwrap()
            .push(json!({"relation": "next", "url": format!("{base}{next}")}));
    }
    bundle
}

fn host(asked: &Asked) -> String {
    format!("http://{}/fhir", asked.headers["host"].to_str().unwrap())
}

async fn house(script: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> (House, Script) {
    let script = Script::start(script).await;
    let house = House::with(Wishes { upstream: Some(script.base.clone()), ..Wishes::default() }).await;
    (house, script)
}

/// A place, a doctor of p1, somebody else's patient p2, and what `$everything` brings of both.
fn clinic(asked: &Asked) -> Said {
    let base = host(asked);
    let place = json!({"resourceType": "Organization", "id": "org", "name": "Clinic"});
    let (path, _) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
    match path {
        "/fhir/Patient/p1" => Said::json(record("p1")),
        "/fhir/Patient/p2" => Said::json(record("p2")),
        "/fhir/Patient/p1/$everything" => Said::json(bundle(
            &base,
            &[record("p1"), record("c1"), record("c2"), place],
            Some("?_getpages=x"),
        )),
        "/fhir/Patient/p2/$everything" => Said::json(bundle(&base, &[record("p2"), place], None)),
        "/fhir" => Said::json(bundle(&base, &[record("o1"), record("c3"), record("o2")], None)),
        _ => Said::status(404),
    }
}

fn ids(bundle: &Value) -> Vec<&str> {
    let entries = bundle["entry"].as_array().into_iter().flatten();
    entries.map(|e| e["resource"]["id"].as_str().unwrap()).collect()
}

/// What of two answers can be told apart but for the request's own name.
fn told(reply: &Reply) -> (u16, Value, Vec<String>) {
    let mut body: Value = serde_json::from_str(&reply.text).unwrap_or_default();
    body.pointer_mut("/issue/0").into_iter().for_each(nameless);
    (reply.status.as_u16(), body, reply.headers.keys().map(|k| k.as_str().to_owned()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_38_everything_is_a_search_whose_every_record_is_judged() {
    let (house, script) = house(clinic).await;
    let reply = house
        .get(Persona::Doctor, "Patient/p1/$everything?_count=4&_type=Condition,Organization,Observation")
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let first = reply.json();
    // The one about substance use is gone (42 CFR Part 2), and so are the total and whatever the server says of itself.
    // As many are shown as the server puts on a page.
    assert_eq!(ids(&first), ["p1", "c1", "org", "o1"]);
    assert!(
        first.get("total").is_none() && !reply.text.contains("Opioid") && !reply.text.contains("127.0.0.1")
    );
    assert_eq!(
        script.targets(),
        [
            "GET /fhir/Patient/p1",
            "GET /fhir/Patient/p1/$everything?_type=Condition,Organization,Observation&_count=4",
            "GET /fhir?_getpages=x"
        ]
    );
    let link = |relation: &str| {
        let links = first["link"].as_array().unwrap().iter().find(|l| l["relation"] == relation);
        links.unwrap()["url"].as_str().unwrap().to_owned()
    };
    assert!(link("self").starts_with(&format!("{}/Patient/p1/$everything?", house.base)));
    // The next page is judged as the first, and belongs to who asked.
    let next = link("next");
    let reply = ask(Method::GET, &next, Some(&house.token(Persona::Doctor)), &[], "").await;
    assert_eq!((reply.status.as_u16(), ids(&reply.json())), (200, vec!["o2"]));
    let reply = ask(Method::GET, &next, Some(&house.token(Persona::RecordsOfficer)), &[], "").await;
    assert_eq!(reply.status, 410, "{}", reply.text);
    let reply = house.get(Persona::RecordsOfficer, "Patient/p1/$everything").await;
    assert_eq!(ids(&reply.json()), ["p1", "c1", "c2", "org"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_38_everything_of_a_withheld_patient_answers_like_that_of_an_unknown_one() {
    let (house, _) = house(clinic).await;
    let withheld = house.get(Persona::Doctor, "Patient/p2/$everything").await;
    let unknown = house.get(Persona::Doctor, "Patient/nobody/$everything").await;
    assert_eq!(told(&withheld), told(&unknown));
    assert_eq!(withheld.status, 404);
    // A clerk sees the person, and of the rest what is hers.
    for persona in [Persona::Billing, Persona::Researcher, Persona::Analyst, Persona::Attacker] {
        let reply = house.get(persona, "Patient/p1/$everything").await;
        assert_eq!(reply.status, 403, "{}: {}", persona.word(), reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_38_everything_brings_no_type_that_scopes_leave_out_and_is_cut_by_no_hidden_date() {
    let (house, script) = house(clinic).await;
    let mut claims = house
        .issuer
        .claims_at(Persona::Doctor, jiff::Timestamp::now(), std::time::Duration::from_secs(600))
        .unwrap();
    claims.insert("scope".into(), json!("user/Patient.rs user/Organization.rs"));
    let token = house.issuer.sign(&claims).unwrap();
    let url = format!("{}/Patient/p1/$everything", house.base);
    let reply = ask(Method::GET, &url, Some(&token), &[], "").await;
    assert_eq!(ids(&reply.json()), ["p1", "org"], "{}", reply.text);
    let reply = ask(Method::GET, &format!("{url}?_type=Condition"), Some(&token), &[], "").await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    // Her own patient's dates she may cut by.
    script.forget();
    let reply = house.get(Persona::Doctor, "Patient/p1/$everything?start=2020-01-01&_type=Condition").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    // Who is not shown the time of the last change learns it by no question either.
    let policy = r#"
        @id("may") permit (principal in Role::"clinician", action in [Action::"operation", Action::"read"], resource);
        @id("sees") permit (principal in Role::"clinician", action in [Action::"receive", Action::"show"], resource)
            when { context.patient.known && context.patient.relations.contains("treating") };
        @id("no-times") forbid (principal, action in Action::"release", resource == Category::"recorded-date");
        @id("searches") permit (principal in Role::"clinician", action == Action::"searchBy", resource);
    "#;
    let script = Script::start(clinic).await;
    let wishes = Wishes { upstream: Some(script.base.clone()), policy: Some(policy), ..Wishes::default() };
    let house = House::with(wishes).await;
    let reply = house.get(Persona::Doctor, "Patient/p1/$everything?_since=2026-01-01T00:00:00Z").await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    assert!(script.asked().is_empty());
    assert_eq!(house.get(Persona::Doctor, "Patient/p1/$everything").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_37_matching_by_score_is_refused_by_name_for_everybody() {
    let (house, script) = house(clinic).await;
    let body = r#"{"resourceType":"Parameters","parameter":[{"name":"resource","resource":{"resourceType":"Patient"}}]}"#;
    for persona in [Persona::Doctor, Persona::RecordsOfficer] {
        for path in ["Patient/$match", "Patient/$member-match"] {
            let url = format!("{}/{path}", house.base);
            let reply = ask(Method::POST, &url, Some(&house.token(persona)), &[JSON], body).await;
            let name = path.split('/').nth(1).unwrap();
            assert_eq!(reply.status, 403);
            assert!(reply.text.contains(name) && reply.text.contains("search"), "{}", reply.text);
        }
    }
    assert!(script.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_39_graphql_is_refused_by_name_for_everybody() {
    let (house, script) = house(clinic).await;
    let query = "{Patient(id:\"p1\"){name{family}}}";
    for path in ["$graphql?query=%7BPatient%7D", "Patient/p1/$graphql?query=%7Bname%7D"] {
        let reply = house.get(Persona::RecordsOfficer, path).await;
        assert_eq!(reply.status, 403);
        assert!(reply.text.contains("$graphql") && reply.text.contains("_include"), "{}", reply.text);
    }
    let url = format!("{}/$graphql", house.base);
    let token = house.token(Persona::RecordsOfficer);
    let body = json!({ "query": query }).to_string();
    let reply = ask(Method::POST, &url, Some(&token), &[JSON], &body).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    let graph = [("content-type", "application/graphql")];
    let reply = ask(Method::POST, &url, Some(&token), &graph, query).await;
    assert!([403, 415].contains(&reply.status.as_u16()), "{}", reply.text);
    assert!(script.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_40_figures_of_small_groups_and_the_latest_of_what_is_hidden_are_refused_with_the_reason() {
    let (house, script) =
        house(|asked| Said::json(bundle(&host(asked), &[record("o1"), record("o2")], None))).await;
    for (persona, path, says) in [
        (Persona::RecordsOfficer, "Observation/$stats?statistic=count&subject=Patient/p1", "with noise"),
        (
            Persona::RecordsOfficer,
            "Measure/m/$evaluate-measure?periodStart=2020&periodEnd=2021",
            "with noise",
        ),
        (Persona::Doctor, "Observation/$lastn?patient=p1&max=1", "push out"),
        (Persona::Researcher, "Observation/$lastn?max=1", "policy does not let you"),
    ] {
        let reply = house.get(persona, path).await;
        assert_eq!(reply.status, 403, "{path}");
        assert!(reply.text.contains(says), "{path}: {}", reply.text);
    }
    assert!(script.asked().is_empty());
    // To whom every record is judged alike, nothing is pushed out that could be missed.
    let reply =
        house.get(Persona::RecordsOfficer, "Observation/$lastn?patient=p1&max=1&category=vital-signs").await;
    assert_eq!((reply.status.as_u16(), ids(&reply.json())), (200, vec!["o1", "o2"]));
    assert_eq!(script.targets(), ["GET /fhir/Observation/$lastn?patient=p1&category=vital-signs&max=1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_49_nobody_opens_a_subscription() {
    let (house, script) = house(|_| Said::status(404)).await;
    let body = r#"{"resourceType":"Subscription","id":"s","status":"requested","reason":"x","criteria":"Observation?","channel":{"type":"rest-hook","endpoint":"https://evil.example"}}"#;
    for persona in [Persona::Doctor, Persona::RecordsOfficer] {
        let token = house.token(persona);
        for (method, path) in [(Method::POST, "Subscription"), (Method::PUT, "Subscription/s")] {
            let url = format!("{}/{path}", house.base);
            let reply = ask(method, &url, Some(&token), &[JSON], body).await;
            assert_eq!(reply.status, 403);
            assert!(reply.text.contains("subscriptions are not offered"), "{}", reply.text);
        }
        let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": [{
            "resource": serde_json::from_str::<Value>(body).unwrap(), "request": {"method": "POST", "url": "Subscription"}}]});
        let reply = ask(Method::POST, &house.base, Some(&token), &[JSON], &batch.to_string()).await;
        assert!(reply.text.contains("subscriptions are not offered"), "{}", reply.text);
    }
    assert!(script.asked().is_empty());
}

/// A server with Binaries: what each belongs to.
fn archive(asked: &Asked) -> Said {
    let base = host(asked);
    let binary = |id: &str, context: Option<&str>| {
        // "Canary-Bytes"
        let mut binary = json!({"resourceType": "Binary", "id": id, "contentType": "image/png", "data": "Q2FuYXJ5LUJ5dGVz"});
        if let Some(context) = context {
            binary["securityContext"] = json!({"reference": context.replace("BASE", &base)});
        }
        Said::json(binary)
    };
    let document = |id: &str, patient: &str, url: &str| {
        json!({"resourceType": "DocumentReference", "id": id, "status": "current", "subject": {"reference": format!("Patient/{patient}")},
            "content": [{"attachment": {"url": url.replace("BASE", &base), "hash": "Canary-Hash", "size": 12, "title": "Canary-Title"}}]})
    };
    let query = percent_encoding::percent_decode_str(&asked.target).decode_utf8_lossy().into_owned();
    if let Some(of) = query.strip_prefix("/fhir/DocumentReference?location=Binary/") {
        let found = match of.split(',').next().unwrap() {
            "one" => vec![document("d1", "p1", "Binary/one")],
            "absolute" => vec![document("d2", "p1", "BASE/Binary/absolute")],
            "two" => vec![document("d3", "p1", "Binary/two"), document("d4", "p2", "Binary/two")],
            "careless" => vec![document("d5", "p1", "Binary/other")],
            "paged" => {
                return Said::json(bundle(
                    &base,
                    &[document("d6", "p1", "Binary/paged")],
                    Some("?_getpages=x"),
                ));
            }
            "broken" => return Said::status(500),
            _ => Vec::new(),
        };
        return Said::json(bundle(&base, &found, None));
    }
    match asked.target.as_str() {
        "/fhir/Observation/o1" => Said::json(record("o1")),
        "/fhir/Condition/c2" => Said::json(record("c2")),
        "/fhir/Patient/p2" => Said::json(record("p2")),
        "/fhir/Binary/mine" => binary("mine", Some("Observation/o1")),
        "/fhir/Binary/far" => binary("far", Some("BASE/Observation/o1")),
        "/fhir/Binary/secret" => binary("secret", Some("Condition/c2")),
        "/fhir/Binary/other" => binary("other", Some("Patient/p2")),
        "/fhir/Binary/gone" => binary("gone", Some("Observation/nowhere")),
        "/fhir/Binary/foreign" => binary("foreign", Some("https://elsewhere.example/Observation/o1")),
        "/fhir/Binary/search" => binary("search", Some("Observation?_id=o1")),
        "/fhir/Binary/false" => binary("mine", Some("Observation/o1")),
        path => match path.strip_prefix("/fhir/Binary/") {
            Some("nowhere") | None => Said::status(404),
            Some(id) => binary(id, None),
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_45_a_binary_passes_where_what_it_belongs_to_is_shown_whole_and_is_else_not_there() {
    let (house, _) = house(archive).await;
    let unknown = told(&house.get(Persona::Doctor, "Binary/nowhere").await);
    assert_eq!(unknown.0, 404);
    for id in ["mine", "far", "one", "absolute"] {
        let reply = house.get(Persona::Doctor, &format!("Binary/{id}")).await;
        assert_eq!(reply.status, 200, "{id}: {}", reply.text);
        assert_eq!(reply.json()["data"], "Q2FuYXJ5LUJ5dGVz");
        assert!(!reply.text.contains("127.0.0.1"), "{}", reply.text);
    }
    for id in [
        "secret", "other", "gone", "foreign", "search", "false", "two", "careless", "paged", "broken", "none",
    ] {
        let reply = house.get(Persona::Doctor, &format!("Binary/{id}")).await;
        assert_eq!(told(&reply), unknown, "{id}: {}", reply.text);
    }
    // Who is shown a part of a record is shown nothing of its document.
    for persona in [Persona::Billing, Persona::Researcher, Persona::Attacker] {
        let reply = house.get(persona, "Binary/mine").await;
        assert!([403, 404].contains(&reply.status.as_u16()), "{}: {}", persona.word(), reply.text);
        assert!(!reply.text.contains("Q2Fu"));
    }
    // The look-up is a part of the request: whom the record is about was looked at by who read the Binary.
    let url = format!("{}/officer?patient=Patient%2Fp1", house.admin);
    let page = ask(Method::GET, &url, Some(&house.token(Persona::Officer)), &[], "").await;
    assert!(page.text.contains("read Binary"), "{}", page.text);
    // And who is shown everything, everything.
    for id in ["secret", "two", "none"] {
        let reply = house.get(Persona::RecordsOfficer, &format!("Binary/{id}")).await;
        assert_eq!(reply.status, 200, "{id}: {}", reply.text);
    }
    house.running.stop().await;
    House::log_is_sound(house.folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_45_the_bytes_of_a_binary_are_only_ever_saved_and_never_taken_as_they_are() {
    let (house, script) = house(archive).await;
    let token = house.token(Persona::Doctor);
    let url = |id: &str| format!("{}/Binary/{id}", house.base);
    let image = [("accept", "image/png, image/*;q=0.5")];
    for (id, persona) in [("mine", Persona::Doctor), ("secret", Persona::RecordsOfficer)] {
        let reply = ask(Method::GET, &url(id), Some(&house.token(persona)), &image, "").await;
        assert_eq!((reply.status.as_u16(), reply.text.as_str()), (200, "Canary-Bytes"));
        let expected = [
            ("content-type", "image/png"),
            ("content-disposition", "attachment"),
            ("x-content-type-options", "nosniff"),
            ("content-length", "12"),
        ];
        for (name, value) in expected {
            assert_eq!(reply.header(name), value);
        }
    }
    let hidden = ask(Method::GET, &url("secret"), Some(&token), &image, "").await;
    let nowhere = ask(Method::GET, &url("nowhere"), Some(&token), &image, "").await;
    assert_eq!(told(&hidden), told(&nowhere));
    // One of FHIR's own media types asks for the resource.
    for accept in ["application/fhir+xml", "text/xml"] {
        let reply = ask(Method::GET, &url("mine"), Some(&token), &[("accept", accept)], "").await;
        assert_eq!(reply.status, 200, "{accept}: {}", reply.text);
        assert!(
            reply.text.starts_with("<Binary ") && reply.text.contains("Q2FuYXJ5LUJ5dGVz"),
            "{}",
            reply.text
        );
    }
    let turtle = [("accept", "application/fhir+turtle")];
    let reply = ask(Method::GET, &url("mine"), Some(&token), &turtle, "").await;
    assert_eq!(reply.status, 406, "{}", reply.text);
    script.forget();
    let raw = [("content-type", "image/png"), ("x-security-context", "Observation/o1")];
    let posted = format!("{}/Binary", house.base);
    for persona in [Persona::Doctor, Persona::RecordsOfficer] {
        let reply = ask(Method::POST, &posted, Some(&house.token(persona)), &raw, "bytes").await;
        assert_eq!(reply.status, 403);
        assert!(reply.text.contains("Binary resource"), "{}", reply.text);
    }
    let body = r#"{"resourceType":"Binary","contentType":"image/png","data":"eA=="}"#;
    let reply = ask(Method::POST, &posted, Some(&token), &[JSON], body).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    assert!(script.asked().is_empty(), "{:?}", script.targets());
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_46_hash_size_and_title_of_an_attachment_go_with_it() {
    let day = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let document = json!({"resourceType": "DocumentReference", "id": "d", "status": "current", "date": format!("{day}T00:00:00Z"),
        "subject": {"reference": "Patient/p1"},
        "content": [{"attachment": {"contentType": "application/pdf", "url": "Binary/Canary-1", "hash": "Q2FuYXJ5LTI=", "size": 4711,
            "title": "Canary-3", "creation": "2020-02-03", "data": "Q2FuYXJ5LTQ="}}]});
    let (house, _) = house(move |asked| match asked.target.as_str() {
        "/fhir/DocumentReference/d" => Said::json(&document),
        _ => Said::status(404),
    })
    .await;
    let reply = house.get(Persona::Billing, "DocumentReference/d").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    for gone in ["Canary", "Q2FuYXJ5", "4711", "2020-02-03"] {
        assert!(!reply.text.contains(gone), "{gone}: {}", reply.text);
    }
    let reply = house.get(Persona::RecordsOfficer, "DocumentReference/d").await;
    assert!(reply.text.contains("4711") && reply.text.contains("Canary-3"), "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_about_codes_are_answered_in_words_that_are_listed() {
    let value_set = json!({"resourceType": "ValueSet", "url": "http://x/vs", "status": "active",
        "expansion": {"timestamp": "2026-01-01T00:00:00Z", "contains": [{"system": "http://loinc.org", "code": "8867-4", "display": "Heart rate"}]}});
    let (house, script) = house(move |asked| {
        let (path, _) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        match path {
            "/fhir/ValueSet/$expand" => Said::json(&value_set),
            "/fhir/ValueSet/$validate-code" => Said::json(json!({"resourceType": "Patient", "id": "p2"})),
            "/fhir/CodeSystem/$lookup" => {
                Said::json(json!({"resourceType": "Parameters", "id": "Canary", "parameter": [
                {"name": "name", "valueString": "LOINC"}, {"name": "display", "valueString": "Heart rate"},
                {"name": "message", "valueString": "Canary"}, {"name": "Canary", "valueString": "x"}]}))
            }
            _ => Said::status(404),
        }
    })
    .await;
    let reply = house.get(Persona::Doctor, "CodeSystem/$lookup?system=http://loinc.org&code=8867-4").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(
        reply.json(),
        json!({"resourceType": "Parameters", "parameter": [
            {"name": "name", "valueString": "LOINC"}, {"name": "display", "valueString": "Heart rate"}]})
    );
    // The same by POST goes on as the same question.
    let body = r#"{"resourceType":"Parameters","parameter":[{"name":"system","valueUri":"http://loinc.org"},{"name":"code","valueCode":"8867-4"}]}"#;
    let token = house.token(Persona::Doctor);
    let url = format!("{}/CodeSystem/$lookup", house.base);
    assert_eq!(ask(Method::POST, &url, Some(&token), &[JSON], body).await.status, 200);
    let targets = script.targets();
    assert_eq!(targets[0], targets[1]);
    let reply = house.get(Persona::Doctor, "ValueSet/$expand?url=http://x/vs&filter=heart").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json()["expansion"]["contains"][0]["code"], "8867-4");
    let own = house.running.parts.tenants()[0].upstream.base_url().to_owned();
    let address = format!("{}/ValueSet/1", house.base);
    house.get(Persona::Doctor, &format!("ValueSet/$expand?url={address}")).await;
    assert!(script.targets().last().unwrap().ends_with(&format!("url={own}/ValueSet/1")));
    // Something else than was asked for is nothing.
    let reply = house.get(Persona::Doctor, "ValueSet/$validate-code?url=http://x/vs&code=1").await;
    assert_eq!(reply.status, 502, "{}", reply.text);
    script.forget();
    for (persona, path) in [
        (Persona::Researcher, "ValueSet/$expand?url=http://x/vs"),
        (Persona::Doctor, "ValueSet/$expand?context=Patient.gender&contextDirection=incoming"),
        (Persona::Doctor, "Patient/p1/$lookup?code=x"),
    ] {
        let reply = house.get(persona, path).await;
        assert_eq!(reply.status, 403, "{path}: {}", reply.text);
    }
    assert!(script.asked().is_empty(), "{:?}", script.targets());
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_42_validation_tells_of_the_body_and_of_nothing_that_is_stored() {
    let answers = BTreeMap::from([("good", 200), ("bad", 412)]);
    let (house, script) = house(move |asked| {
        let status = answers.iter().find(|(word, _)| asked.body.contains(**word)).map_or(500, |(_, s)| *s);
        let mut said = Said::json(json!({"resourceType": "OperationOutcome", "issue": [
            {"severity": "error", "code": "duplicate", "diagnostics": "Canary: Patient/p2 has it", "expression": ["Observation.code"]},
            {"severity": "warning", "code": "invariant", "details": {"text": "Canary"}, "expression": ["Observation.subject.where(Canary)"]}]}));
        said.status = status;
        said
    })
    .await;
    let body = |patient: &str, word: &str| {
        json!({"resourceType": "Observation", "status": "final", "subject": {"reference": format!("Patient/{patient}")},
            "code": {"coding": [{"system": "http://loinc.org", "code": word}]}})
        .to_string()
    };
    let url = format!("{}/Observation/$validate", house.base);
    let token = house.token(Persona::Doctor);
    for word in ["good", "bad"] {
        let reply = ask(Method::POST, &url, Some(&token), &[JSON], &body("p1", word)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(
            reply.json(),
            json!({"resourceType": "OperationOutcome", "issue": [
                {"severity": "error", "code": "processing", "expression": ["Observation.code"]},
                {"severity": "warning", "code": "invariant"}]})
        );
    }
    assert_eq!(script.targets()[0], "POST /fhir/Observation/$validate");
    script.forget();
    // Who may not create it may not have it looked at, and a search in it is none of hers.
    let reply = ask(Method::POST, &url, Some(&token), &[JSON], &body("p2", "good")).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    let searching = body("p1", "good").replace("Patient/p1", "Patient?name=x");
    let reply = ask(Method::POST, &url, Some(&token), &[JSON], &searching).await;
    assert!([400, 403].contains(&reply.status.as_u16()), "{}", reply.text);
    let stored = format!("{}/Observation/o1/$validate", house.base);
    let reply = ask(Method::POST, &stored, Some(&token), &[JSON], &body("p1", "good")).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    assert!(script.asked().is_empty(), "{:?}", script.targets());
}
