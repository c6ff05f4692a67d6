//! Granular SMART scopes: what leaves is what the token's conditions say of each record, on whatever way it is asked for.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;
mod scene;
mod scripted;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use drape_demo::{Persona, Resource, Store};
use http::Method;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use scripted::{Script, Scripted};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/fhir+json");
const CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/observation-category";

fn token(house: &House, scope: &str, patient: Option<&str>) -> String {
    let now = jiff::Timestamp::now();
    let mut claims = house.issuer.claims_at(Persona::RecordsOfficer, now, Duration::from_secs(600)).unwrap();
    claims.insert("scope".into(), json!(scope));
    if let Some(patient) = patient {
        claims.insert("patient".into(), json!(patient));
    }
    house.issuer.sign(&claims).unwrap()
}

async fn get(house: &House, token: &str, path: &str) -> Reply {
    ask(Method::GET, &format!("{}/{path}", house.base), Some(token), &[], "").await
}

/// An observation of that category about that patient, in its first version.
fn observation(id: &str, patient: &str, category: &str) -> Value {
    json!({
        "resourceType": "Observation", "id": id, "meta": {"versionId": "1"}, "status": "final",
        "category": [{"coding": [{"system": CATEGORY, "code": category}]}],
        "subject": {"reference": format!("Patient/{patient}")},
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}, "note": [{"text": format!("Canary-{id}")}],
    })
}

fn records() -> Vec<Value> {
    vec![
        json!({"resourceType": "Patient", "id": "p1", "birthDate": "1980-02-03"}),
        json!({"resourceType": "Patient", "id": "p2", "birthDate": "1990-02-03"}),
        observation("lab1", "p1", "laboratory"),
        observation("lab2", "p2", "laboratory"),
        observation("vital1", "p1", "vital-signs"),
        json!({"resourceType": "DiagnosticReport", "id": "d1", "status": "final", "subject": {"reference": "Patient/p1"},
            "code": {"coding": [{"system": "http://loinc.org", "code": "24323-8"}]},
            "result": [{"reference": "Observation/lab1"}, {"reference": "Observation/vital1"}]}),
    ]
}

/// A house before the embedded store with these records.
async fn house(records: &[Value]) -> House {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}/fhir", listener.local_addr().unwrap());
    let resource = |value: &Value| Resource {
        resource_type: value["resourceType"].as_str().unwrap().to_owned(),
        id: value["id"].as_str().unwrap().to_owned(),
        json: value.to_string().into_bytes(),
    };
    let store = Arc::new(Store::new(records.iter().map(resource).collect()).unwrap());
    tokio::spawn(drape_demo::serve::store(listener, store, std::future::pending()));
    House::with(Wishes { upstream: Some(upstream), ..Wishes::default() }).await
}

const LAB: &str =
    "Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory";

#[tokio::test(flavor = "multi_thread")]
async fn a_record_out_of_a_granular_scope_reaches_nobody_on_whatever_way_it_is_asked_for() {
    let house = house(&records()).await;
    let lab = token(&house, &format!("user/{LAB} user/Patient.rs user/DiagnosticReport.rs"), None);
    for (path, inside, outside) in [
        ("Observation/lab1", &["Canary-lab1"][..], &[][..]),
        ("Observation/lab1/_history/1", &["Canary-lab1"], &[]),
        ("Observation?patient=p1", &["Canary-lab1"], &["Canary-vital1"]),
        ("Observation?_count=1", &["Canary-lab"], &["Canary-vital1"]),
        ("Observation?_id=vital1,lab2", &["Canary-lab2"], &["Canary-vital1"]),
        ("Observation/lab1/_history", &["Canary-lab1"], &[]),
        ("DiagnosticReport?_id=d1&_include=DiagnosticReport:result", &["Canary-lab1"], &["vital1\""]),
        ("Patient?_id=p1&_revinclude=Observation:patient", &["Canary-lab1"], &["Canary-vital1"]),
    ] {
        let reply = get(&house, &lab, path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        assert!(inside.iter().all(|text| reply.text.contains(text)), "{path}: {}", reply.text);
        assert!(outside.iter().all(|text| !reply.text.contains(text)), "{path}: {}", reply.text);
        assert!(reply.json().get("total").is_none(), "{path} counts what is withheld: {}", reply.text);
    }
    // As if it were not there.
    let body = |reply: &Reply| {
        let mut json = reply.json();
        nameless(&mut json["issue"][0]);
        json["issue"][0]["diagnostics"] = Value::Null;
        (
            reply.status.as_u16(),
            json["issue"][0]["code"].clone(),
            reply.headers.keys().cloned().collect::<Vec<_>>(),
        )
    };
    for path in ["Observation/vital1", "Observation/vital1/_history/1", "Observation/vital1/_history"] {
        let withheld = get(&house, &lab, path).await;
        let unknown = get(&house, &lab, &path.replace("vital1", "nowhere")).await;
        assert_eq!(withheld.status, 404, "{path}: {}", withheld.text);
        assert_eq!(body(&withheld), body(&unknown), "{path}");
    }
    // What would tell how many there are, or go through records that are not covered, is not offered.
    for path in [
        "Observation?_summary=count",
        "Observation?_count=0",
        "Observation/_history",
        "Observation/$lastn?patient=p1",
        "DiagnosticReport?result:Observation.status=final",
        "Patient?_has:Observation:patient:status=final",
    ] {
        let reply = get(&house, &lab, path).await;
        assert_eq!(reply.status, 403, "{path}: {}", reply.text);
    }
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        {"request": {"method": "GET", "url": "Observation/lab1"}}, {"request": {"method": "GET", "url": "Observation/vital1"}},
        {"request": {"method": "GET", "url": "Observation?patient=p1"}}]});
    let reply = ask(Method::POST, &house.base, Some(&lab), &[JSON], &bundle.to_string()).await;
    let status = |n: usize| reply.json()["entry"][n]["response"]["status"].clone();
    assert_eq!((status(0), status(1), status(2)), (json!("200 OK"), json!("404 Not Found"), json!("200 OK")));
    assert!(!reply.text.contains("Canary-vital1"), "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_lies_within_the_scope_before_and_after() {
    let house = house(&records()).await;
    let scope = LAB.replace(".rs?", ".cruds?");
    let lab = token(&house, &format!("user/{scope}"), None);
    let send = |method: Method, path: &'static str, body: String| {
        let (url, lab) = (format!("{}/{path}", house.base), lab.clone());
        async move { ask(method, &url, Some(&lab), &[JSON], &body).await }
    };
    let mut own = observation("lab1", "p1", "laboratory");
    own["status"] = json!("amended");
    let reply = send(Method::PUT, "Observation/lab1", own.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    // Out of the scope, into it, and from nowhere.
    let moved = observation("lab1", "p1", "vital-signs").to_string();
    assert_eq!(send(Method::PUT, "Observation/lab1", moved).await.status, 403);
    let taken = observation("vital1", "p1", "laboratory").to_string();
    assert_eq!(send(Method::PUT, "Observation/vital1", taken).await.status, 404);
    assert_eq!(send(Method::DELETE, "Observation/vital1", String::new()).await.status, 404);
    let mut new = observation("x", "p1", "vital-signs");
    new.as_object_mut().unwrap().shift_remove("id");
    assert_eq!(send(Method::POST, "Observation", new.to_string()).await.status, 403);
    new["category"] = observation("x", "p1", "laboratory")["category"].clone();
    let reply = send(Method::POST, "Observation", new.to_string()).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    // The embedded store deletes nothing, but it was asked.
    assert_eq!(send(Method::DELETE, "Observation/lab2", String::new()).await.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_and_granular_scopes_add_up_and_what_is_not_understood_grants_nothing_and_says_so() {
    let house = house(&records()).await;
    let ids = |scope: String, patient: Option<&'static str>| {
        let token = token(&house, &scope, patient);
        let house = &house;
        async move {
            let reply = get(house, &token, "Observation").await;
            let found = reply.json();
            let entries = found["entry"].as_array().cloned().unwrap_or_default();
            let ids: Vec<String> =
                entries.iter().map(|e| e["resource"]["id"].as_str().unwrap().to_owned()).collect();
            (reply.status.as_u16(), ids.join(" "), reply.text)
        }
    };
    for (scope, patient, expected) in [
        (format!("user/{LAB}"), None, "lab1 lab2"),
        (format!("patient/{LAB}"), Some("p1"), "lab1"),
        (format!("patient/{LAB} user/Observation.rs?category=vital-signs"), Some("p2"), "lab2 vital1"),
        (format!("user/{LAB} patient/*.rs"), Some("p1"), "lab1 lab2 vital1"),
        (format!("patient/{LAB} user/*.rs"), Some("p1"), "lab1 lab2 vital1"),
        ("patient/*.read openid fhirUser launch/patient".to_owned(), Some("p1"), "lab1 vital1"),
        ("user/Observation.rs?category=laboratory&status=final".to_owned(), None, "lab1 lab2"),
        ("user/Observation.rs?category=laboratory,vital-signs".to_owned(), None, "lab1 lab2 vital1"),
        ("user/Observation.rs?category=laboratory&category=vital-signs".to_owned(), None, ""),
        ("user/Observation.rs?category=|laboratory".to_owned(), None, ""),
        (format!("user/*.rs?category={CATEGORY}%7C"), None, "lab1 lab2 vital1"),
    ] {
        let (status, found, text) = ids(scope.clone(), patient).await;
        assert_eq!((status, found.as_str()), (200, expected), "{scope}: {text}");
    }
    for (scope, patient, hint) in [
        ("user/Observation.rs?date=gt2020", None, "`date` is not among"),
        ("user/Observation.rs?category:not=laboratory", None, "`category:not` is not among"),
        ("user/Observation.rs?class=AMB", None, "`class` is not judged on Observation"),
        ("patient/Observation.rs?category=laboratory", None, "the token names none"),
        ("user/Observation.sr?category=laboratory", None, "do not cover"),
    ] {
        let (status, _, text) = ids(scope.to_owned(), patient).await;
        assert!(status == 403 && text.contains(hint), "{scope}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_narrowed_to_the_scope_and_each_record_is_judged_all_the_same() {
    // A server that knows no criteria, and one entry that it has no business to send.
    let held = records();
    let shelf = Scripted::open(move |heard| match heard.target.as_str() {
        "/Patient/p1/$everything" => {
            let host =
                heard.headers.iter().find(|(n, _)| n == "host").map(|(_, v)| v.clone()).unwrap_or_default();
            let entry = |r: &Value| {
                let url = format!(
                    "http://{host}/fhir/{}/{}",
                    r["resourceType"].as_str().unwrap(),
                    r["id"].as_str().unwrap()
                );
                json!({"fullUrl": url, "resource": r, "search": {"mode": "match"}})
            };
            let entries: Vec<Value> = held.iter().map(entry).collect();
            Script::ok(json!({"resourceType": "Bundle", "type": "searchset", "entry": entries}).to_string())
        }
        _ => scene::answer(&held, heard),
    })
    .await;
    let house = House::with(Wishes { upstream: Some(shelf.base.clone()), ..Wishes::default() }).await;
    let lab = token(&house, &format!("user/{LAB} user/Observation.rs?category=imaging"), None);
    shelf.heard();
    let reply = get(&house, &lab, "Observation?status=final").await;
    let asked: Vec<String> = shelf.heard().into_iter().map(|h| h.target).collect();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let asked = percent_encoding::percent_decode_str(&asked[0]).decode_utf8().unwrap().into_owned();
    assert!(asked.contains(&format!("category=imaging,{CATEGORY}|laboratory")), "{asked}");
    assert!(reply.text.contains("Canary-lab2") && !reply.text.contains("vital1"), "{}", reply.text);
    // All about a patient is held to it in the same way.
    let lab = token(&house, &format!("user/{LAB} user/Patient.rs"), None);
    let reply = get(&house, &lab, "Patient/p1/$everything").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(reply.text.contains("Canary-lab1") && !reply.text.contains("vital1"), "{}", reply.text);
    assert!(!reply.text.contains("DiagnosticReport"), "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_an_export_are_held_to_the_scope_and_their_number_is_not_told() {
    let all = records();
    let shelf = Scripted::open(move |heard| {
        let host =
            heard.headers.iter().find(|(n, _)| n == "host").map(|(_, v)| v.clone()).unwrap_or_default();
        let base = format!("http://{host}/fhir");
        match heard.target.split('?').next().unwrap_or_default() {
            "/$export" => Script::Json(202, vec![("Content-Location", format!("{base}/poll"))], Vec::new()),
            "/poll" => {
                let file = json!({"type": "Observation", "url": format!("{base}/file"), "count": 3});
                let manifest = json!({"transactionTime": "2026-11-25T10:00:00Z", "output": [file]});
                Script::Typed(200, "application/json", manifest.to_string().into_bytes())
            }
            "/file" => {
                let lines: String = all
                    .iter()
                    .filter(|r| r["resourceType"] == "Observation")
                    .map(|r| format!("{r}\n"))
                    .collect();
                Script::Typed(200, "application/fhir+ndjson", lines.into_bytes())
            }
            _ => Script::unknown(),
        }
    })
    .await;
    let house = House::with(Wishes { upstream: Some(shelf.base.clone()), ..Wishes::default() }).await;
    let lab = token(&house, "system/Observation.rs?category=laboratory", None);
    let url = format!("{}/$export?_type=Observation&_elements=status", house.base);
    let begun = ask(Method::GET, &url, Some(&lab), &[("prefer", "respond-async")], "").await;
    assert_eq!(begun.status, 202, "{}", begun.text);
    let kick_off = shelf.heard().remove(0).target;
    assert!(!kick_off.contains("_elements"), "a part of a record would be judged: {kick_off}");
    let manifest = ask(Method::GET, begun.header("content-location"), Some(&lab), &[], "").await.json();
    assert!(manifest["output"][0].get("count").is_none(), "{manifest}");
    let file = ask(Method::GET, manifest["output"][0]["url"].as_str().unwrap(), Some(&lab), &[], "").await;
    assert!(file.text.contains("Canary-lab1") && file.text.contains("Canary-lab2"), "{}", file.text);
    assert!(!file.text.contains("vital1"), "{}", file.text);
    // Scopes for one patient export nothing, granular or not.
    let own = token(&house, "patient/Observation.rs?category=laboratory", Some("p1"));
    let reply = ask(Method::GET, &url, Some(&own), &[("prefer", "respond-async")], "").await;
    assert_eq!(reply.status, 403, "{}", reply.text);
}

/// A record of one of four types, each with its own elements for the same parameters.
fn any_record(id: usize) -> impl Strategy<Value = Value> {
    let coding = (prop::option::of(0..3_usize), 0..4_usize).prop_map(|(system, code)| {
        let mut coding = json!({"code": format!("c{code}")});
        if let Some(system) = system {
            coding["system"] = json!(format!("http://s{system}"));
        }
        coding
    });
    let concept = prop::collection::vec(coding.clone(), 0..3).prop_map(|codings| match codings.is_empty() {
        true => json!({"text": "words"}),
        false => json!({"coding": codings, "text": "words"}),
    });
    let (concepts, tags) =
        (prop::collection::vec(concept.clone(), 0..3), prop::collection::vec(coding.clone(), 0..2));
    (0..4_usize, concepts, concept, tags, coding, 0..3_usize, 1..3_usize).prop_map(
        move |(kind, categories, code, tags, class, status, patient)| {
            let (kind, statuses) = [
                ("Observation", ["final", "amended", "registered"]),
                ("Condition", ["", "", ""]),
                ("DiagnosticReport", ["final", "partial", "amended"]),
                ("Encounter", ["finished", "planned", "arrived"]),
            ][kind];
            let mut record = json!({
                "resourceType": kind, "id": format!("r{id}"), "meta": {"versionId": "1"},
                "subject": {"reference": format!("Patient/p{patient}")},
            });
            if !tags.is_empty() {
                record["meta"]["tag"] = json!(tags);
            }
            if kind == "Encounter" {
                record["class"] = class;
                record["type"] = json!([code]);
            } else {
                record["code"] = code;
                if !categories.is_empty() {
                    record["category"] = json!(categories);
                }
            }
            if kind != "Condition" {
                record["status"] = json!(statuses[status]);
            }
            record
        },
    )
}

/// `system|code` in its forms, and a list of such.
fn any_value() -> impl Strategy<Value = String> {
    let one = (0..4_usize, 0..3_usize, 0..4_usize).prop_map(|(form, system, code)| match form {
        0 => format!("c{code}"),
        1 => format!("http://s{system}|c{code}"),
        2 => format!("|c{code}"),
        _ => format!("http://s{system}|"),
    });
    prop::collection::vec(one, 1..3).prop_map(|values| values.join(","))
}

fn any_scope() -> impl Strategy<Value = String> {
    let condition = (0..6_usize, any_value(), 0..5_usize).prop_map(|(name, value, status)| match name {
        0 | 1 => format!("category={value}"),
        2 => format!("code={value}"),
        3 => format!("_tag={value}"),
        4 => format!("status={}", ["final", "amended", "finished", "final,arrived", "partial"][status]),
        _ => format!("{}={value}", ["class", "type"][status % 2]),
    });
    let kinds = ["Observation", "Condition", "DiagnosticReport", "Encounter", "*"];
    (0..2_usize, 0..5_usize, prop::collection::vec(condition, 0..3)).prop_map(
        move |(level, kind, conditions)| {
            let mark = if conditions.is_empty() { "" } else { "?" };
            format!("{}/{}.rs{mark}{}", ["user", "patient"][level], kinds[kind], conditions.join("&"))
        },
    )
}

/// Which codings a parameter reads in a record, written apart from Drape's own reading; `None` where the type has no such
/// parameter. A plain code has no system that anybody could name.
fn read(record: &Value, parameter: &str) -> Option<Vec<(Option<String>, String)>> {
    let kind = record["resourceType"].as_str().unwrap();
    let coding = |c: &Value| {
        let system = c["system"].as_str().unwrap_or_default().to_owned();
        (Some(system), c["code"].as_str().unwrap().to_owned())
    };
    let codings = |list: &Value| list.as_array().into_iter().flatten().map(coding).collect::<Vec<_>>();
    let concepts = |list: &Value| {
        list.as_array().into_iter().flatten().flat_map(|c| codings(&c["coding"])).collect::<Vec<_>>()
    };
    match (kind, parameter) {
        (_, "_tag") => Some(codings(&record["meta"]["tag"])),
        ("Encounter", "class") => Some(vec![coding(&record["class"])]),
        ("Encounter", "type") => Some(concepts(&record["type"])),
        ("Encounter", "category" | "code") | (_, "class" | "type") | ("Condition", "status") => None,
        (_, "category") => Some(concepts(&record["category"])),
        (_, "code") => Some(codings(&record["code"]["coding"])),
        (_, "status") => Some(vec![(None, record["status"].as_str().unwrap().to_owned())]),
        other => panic!("{other:?}"),
    }
}

/// Whether a scope covers a record, by the words of the specification.
fn covered(scope: &str, record: &Value) -> bool {
    let (level, rest) = scope.split_once('/').unwrap();
    let (kind, query) = rest.split_once('?').unwrap_or((rest, ""));
    let kind = kind.strip_suffix(".rs").unwrap();
    if kind != "*" && record["resourceType"] != kind
        || level == "patient" && record["subject"]["reference"] != "Patient/p1"
    {
        return false;
    }
    query.split('&').filter(|c| !c.is_empty()).all(|condition| {
        let (name, values) = condition.split_once('=').unwrap();
        let Some(read) = read(record, name) else { return false };
        // Of a scope that asks for the system of a plain code nothing can be judged.
        if read.iter().any(|(system, _)| system.is_none()) && values.contains('|') {
            return false;
        }
        values.split(',').any(|value| {
            read.iter().any(|(system, code)| match value.split_once('|') {
                None => code == value,
                Some((s, "")) => system.as_deref() == Some(s),
                Some((s, c)) => system.as_deref() == Some(s) && code == c,
            })
        })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_is_exactly_what_the_scopes_say_whatever_scopes_and_records() {
    let mut runner = TestRunner::deterministic();
    let mut all: Vec<Value> =
        (0..120).map(|id| any_record(id).new_tree(&mut runner).unwrap().current()).collect();
    all.push(json!({"resourceType": "Patient", "id": "p1"}));
    // Both a server that knows criteria and one that passes over them.
    let knowing = house(&all).await;
    let held = all.clone();
    let shelf = Scripted::open(move |heard| scene::answer(&held, heard)).await;
    let careless = House::with(Wishes { upstream: Some(shelf.base.clone()), ..Wishes::default() }).await;
    let (mut left, mut withheld) = (0, 0);
    for case in 0..60 {
        let scopes = prop::collection::vec(any_scope(), 1..4).new_tree(&mut runner).unwrap().current();
        let house = if case % 2 == 0 { &knowing } else { &careless };
        let token = token(house, &scopes.join(" "), Some("p1"));
        for kind in ["Observation", "Condition", "DiagnosticReport", "Encounter"] {
            let of_kind: Vec<&Value> = all.iter().filter(|r| r["resourceType"] == kind).collect();
            let expected: BTreeSet<&str> = of_kind
                .iter()
                .filter(|record| scopes.iter().any(|scope| covered(scope, record)))
                .map(|record| record["id"].as_str().unwrap())
                .collect();
            let reply = get(house, &token, &format!("{kind}?_count=200")).await;
            let bundle = reply.json();
            let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
            let found: BTreeSet<&str> =
                entries.iter().map(|e| e["resource"]["id"].as_str().unwrap()).collect();
            if reply.status == 403 {
                assert!(expected.is_empty(), "{scopes:?} {kind}: {}", reply.text);
                continue;
            }
            assert_eq!(found, expected, "{scopes:?} {kind}: {}", reply.text);
            left += found.len();
            withheld += of_kind.len() - found.len();
            // One by one it is the same.
            for record in of_kind.iter().take(4) {
                let id = record["id"].as_str().unwrap();
                let status = get(house, &token, &format!("{kind}/{id}")).await.status.as_u16();
                assert_eq!(status == 200, expected.contains(id), "{scopes:?} {kind}/{id}: {status}");
            }
        }
    }
    assert!(left > 500 && withheld > 500, "{left} left, {withheld} were withheld");
}
