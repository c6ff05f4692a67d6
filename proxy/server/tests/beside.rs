//! The leak catalogue over HTTP, second part: what stands beside the records - links, versions, statuses, steps, counts.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;
mod scene;
mod scripted;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::*;
use drape_demo::Persona;
use drape_server::clock::Clock;
use http::Method;
use parking_lot::Mutex;
use scene::{HUSH, Scene, answer, everything};
use scripted::{Heard, Script, Scripted};
use serde_json::{Map, Value, json};

const CONDITION: &str = "http://hl7.org/fhir/sid/icd-10-cm";

/// Of substance use (`F11.20`) the doctor is shown nothing.
fn condition(id: &str, code: &str) -> Value {
    json!({"resourceType": "Condition", "id": id, "subject": {"reference": "Patient/p1"},
        "code": {"coding": [{"system": CONDITION, "code": code}]}})
}

fn observation(id: &str) -> Value {
    json!({"resourceType": "Observation", "id": id, "status": "final", "subject": {"reference": "Patient/p1"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}})
}

fn version(mut record: Value, number: u32) -> Value {
    record["meta"] = json!({"versionId": number.to_string()});
    record
}

/// The hospital's rules before a server of one script.
async fn house(script: impl Fn(&Heard) -> Script + Send + Sync + 'static) -> (House, Scripted) {
    let shelf = Scripted::open(script).await;
    let house = House::with(Wishes {
        upstream: Some(shelf.base.clone()),
        more: "limits: { entry_bytes_max: 4000 }",
        ..Wishes::default()
    })
    .await;
    (house, shelf)
}

fn base(heard: &Heard) -> String {
    let host = heard.headers.iter().find(|(n, _)| n == "host").map(|(_, v)| v.as_str());
    format!("http://{}/fhir", host.unwrap_or_default())
}

async fn get(token: &str, url: &str) -> Reply {
    ask(Method::GET, url, Some(token), &[], "").await
}

/// All that a caller can tell two answers apart by.
fn told(reply: &Reply) -> (u16, String, Vec<(String, String)>) {
    let mut body: Value = serde_json::from_str(&reply.text).unwrap_or_default();
    // The request's own name.
    body.pointer_mut("/issue/0").into_iter().for_each(nameless);
    let headers = reply.headers.iter().filter(|(n, _)| !["x-request-id", "date"].contains(&n.as_str()));
    let headers = headers.map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned()));
    (reply.status.as_u16(), body.to_string(), headers.collect())
}

fn link(bundle: &Value, relation: &str) -> Option<String> {
    let links = bundle["link"].as_array().into_iter().flatten();
    links.filter(|l| l["relation"] == relation).map(|l| l["url"].as_str().unwrap().to_owned()).next()
}

fn entries(bundle: &Value) -> Vec<&Value> {
    bundle["entry"].as_array().into_iter().flatten().collect()
}

fn with(claims: &Map<String, Value>, change: &[(&str, Value)], house: &House) -> String {
    let mut claims = claims.clone();
    claims.extend(change.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    house.issuer.sign(&claims).unwrap()
}

/// Three observations on pages of two, with the server's own filter in its links.
fn paged(heard: &Heard) -> Script {
    let base = base(heard);
    let entry = |id: &str| json!({"fullUrl": format!("{base}/Observation/{id}"), "resource": observation(id), "search": {"mode": "match"}});
    let own = json!({"relation": "self", "url": format!("{base}{}", heard.target)});
    let (link, entry) = if heard.target.contains("_getpages") {
        (json!([own]), json!([entry("o3")]))
    } else {
        let next = json!({"relation": "next", "url": format!("{base}?_getpages={HUSH}&_offset=2")});
        (json!([own, next]), json!([entry("o1"), entry("o2")]))
    };
    Script::ok(
        json!({"resourceType": "Bundle", "type": "searchset", "total": 3, "link": link, "entry": entry})
            .to_string(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_26_a_page_opens_for_who_was_given_it_until_it_expires_and_for_nobody_else() {
    let now = jiff::Timestamp::now();
    let (clock, hand) = Clock::fixed(u64::try_from(now.as_millisecond()).unwrap());
    let shelf = Scripted::open(paged).await;
    let wishes = Wishes { upstream: Some(shelf.base.clone()), clock: Some(clock), ..Wishes::default() };
    let house = House::with(wishes).await;
    let life = Duration::from_secs(3_000);
    let claims = house.issuer.claims_at(Persona::Doctor, now, life).unwrap();
    let own = with(&claims, &[], &house);
    let first = get(&own, &format!("{}/Observation?patient=p1&_count=2", house.base)).await;
    let next = link(&first.json(), "next").unwrap_or_else(|| panic!("{}", first.text));
    assert!(next.starts_with(&format!("{}/_page/", house.base)) && !first.text.contains(HUSH), "{next}");
    // Her own, as often as she likes.
    for _ in 0..2 {
        let page = get(&own, &next).await;
        assert_eq!(page.status, 200, "{}", page.text);
        assert_eq!(entries(&page.json())[0]["resource"]["id"], "o3");
    }
    // Judged afresh: she is not the patient's doctor any more.
    let parted = get(&with(&claims, &[("relations", json!([]))], &house), &next).await;
    assert!(parted.status == 403 || entries(&parted.json()).is_empty(), "{}", parted.text);
    // The same person and program for another purpose, under which all would be shown.
    let mut other_purpose = house.issuer.claims_at(Persona::RecordsOfficer, now, life).unwrap();
    for name in ["sub", "client_id"] {
        other_purpose.insert(name.into(), claims[name].clone());
    }
    shelf.heard();
    let mut answers = vec![
        get(&with(&claims, &[("sub", json!("another"))], &house), &next).await,
        get(&with(&claims, &[("client_id", json!("another"))], &house), &next).await,
        get(&with(&other_purpose, &[], &house), &next).await,
        get(&own, &next[..next.len() - 1]).await,
    ];
    let from = next.rfind('/').unwrap() + 1;
    for place in (from..next.len()).step_by(9).chain([next.len() - 1]) {
        let mut tampered = next.clone().into_bytes();
        tampered[place] = if tampered[place] == b'A' { b'B' } else { b'A' };
        answers.push(get(&own, std::str::from_utf8(&tampered).unwrap()).await);
    }
    assert!(answers.len() > 10);
    hand.fetch_add(901_000, Ordering::SeqCst);
    answers.push(get(&own, &next).await);
    for reply in &answers {
        assert_eq!(reply.status, 410, "{}", reply.text);
        assert_eq!(told(reply), told(&answers[0]), "why it does not open is not told");
    }
    assert_eq!(shelf.heard().len(), 0, "nobody was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_27_a_page_links_to_what_its_reader_asked_and_not_to_what_was_asked_of_the_server() {
    let (house, shelf) = house(paged).await;
    let asked = "Observation?code=8867-4&_count=2";
    let reply = house.get(Persona::Doctor, asked).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    // What went upstream is narrowed to her patients, and the server says so in its link.
    assert!(shelf.heard()[0].target.contains("p1"));
    assert_eq!(link(&reply.json(), "self"), Some(format!("{}/{asked}", house.base)));
    // Chance may write `p1` into a sealed link or a pseudonym, but not with what stands before it.
    let tells = |text: &str| ["Patient/p1", "=p1", "%2Fp1", HUSH].iter().any(|told| text.contains(told));
    let links = reply.json()["link"].to_string();
    assert!(!tells(&links) && !links.contains(&shelf.base), "{links}");
    // Nor on the pages that follow.
    let page = get(&house.token(Persona::Doctor), &link(&reply.json(), "next").unwrap()).await;
    let links = page.json()["link"].to_string();
    assert!(page.status == 200 && !tells(&links), "{links}");
    // Who knows the patient by a pseudonym reads that.
    let found = house.get(Persona::Researcher, "Observation").await;
    assert_eq!(found.status, 200, "{}", found.text);
    let name =
        entries(&found.json())[0]["resource"]["subject"]["reference"].as_str().unwrap()[8..].to_owned();
    shelf.heard();
    let asked = format!("Observation?patient={name}");
    let reply = house.get(Persona::Researcher, &asked).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(shelf.heard()[0].target.contains("p1"));
    assert_eq!(link(&reply.json(), "self"), Some(format!("{}/{asked}", house.base)));
    assert!(!tells(&everything(&reply)), "{}", reply.text);
}

/// Four versions, one of them of substance use and one a deletion.
fn historic(heard: &Heard) -> Script {
    let base = base(heard);
    let entry = |number: u32, code: &str| {
        json!({"fullUrl": format!("{base}/Condition/c1"), "resource": version(condition("c1", code), number),
            "request": {"method": "PUT", "url": "Condition/c1"}, "response": {"status": "200", "etag": format!("W/\"{number}\"")}})
    };
    let gone = json!({"fullUrl": format!("{base}/Condition/c1"), "request": {"method": "DELETE", "url": "Condition/c1"}, "response": {"status": "204"}});
    let all = match heard.target.split(['/', '?']).nth(2) {
        Some("c1") => vec![entry(4, "I10"), gone, entry(2, "F11.20"), entry(1, "I10")],
        Some("c2") => vec![gone, entry(2, "F11.20"), entry(1, "F11.20")],
        _ => return Script::unknown(),
    };
    Script::ok(
        json!({"resourceType": "Bundle", "type": "history", "total": all.len(), "entry": all}).to_string(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_28_every_version_of_a_history_is_judged_by_todays_policy_and_deletions_are_for_the_all_seeing() {
    let (house, _shelf) = house(historic).await;
    let reply = house.get(Persona::Doctor, "Condition/c1/_history").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let bundle = reply.json();
    let numbers: Vec<&str> = entries(&bundle)
        .iter()
        .map(|e| e["resource"]["meta"]["versionId"].as_str().unwrap_or("a deletion"))
        .collect();
    assert_eq!(numbers, ["4", "1"]);
    assert!(bundle.get("total").is_none() && !reply.text.contains("DELETE"), "{bundle}");
    assert!(!reply.text.contains("F11.20"), "{bundle}");
    let all = house.get(Persona::RecordsOfficer, "Condition/c1/_history").await;
    assert_eq!(entries(&all.json()).len(), 4, "{}", all.text);
    // Where every version is withheld there is no record, nor was there one.
    let withheld = house.get(Persona::Doctor, "Condition/c2/_history").await;
    let unknown = house.get(Persona::Doctor, "Condition/c3/_history").await;
    assert_eq!((withheld.status.as_u16(), told(&withheld)), (404, told(&unknown)));
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_29_an_old_version_is_judged_by_what_stands_in_it() {
    let held = vec![
        version(condition("c1", "F11.20"), 1),
        version(condition("c1", "I10"), 2),
        version(condition("c2", "I10"), 1),
        version(condition("c2", "F11.20"), 2),
    ];
    let (house, _shelf) = house(move |heard| {
        // A server that gives another version than was asked for.
        if heard.target.ends_with("/_history/7") {
            return Script::ok(version(condition("c1", "I10"), 2).to_string());
        }
        answer(&held, heard)
    })
    .await;
    let unknown = house.get(Persona::Doctor, "Condition/c3/_history/1").await;
    for (path, status) in [
        ("Condition/c1", 200),
        ("Condition/c1/_history/2", 200),
        ("Condition/c1/_history/1", 404),
        ("Condition/c1/_history/7", 404),
        ("Condition/c1/_history/9", 404),
        ("Condition/c2", 404),
        ("Condition/c2/_history/2", 404),
        // What was written under a harmless code is harmless to Drape, whatever came after it.
        ("Condition/c2/_history/1", 200),
    ] {
        let reply = house.get(Persona::Doctor, path).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text);
        assert!(!reply.text.contains("F11.20"), "{path}");
        if status == 404 {
            assert_eq!(told(&reply), told(&unknown), "{path}");
        }
    }
    assert_eq!(house.get(Persona::RecordsOfficer, "Condition/c1/_history/1").await.status, 200);
    assert_eq!(house.get(Persona::RecordsOfficer, "Condition/c1/_history/7").await.status, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_30_when_a_record_changed_is_told_to_nobody_from_whom_it_is_hidden() {
    let mut record = observation("o1");
    record["meta"] = json!({"versionId": "7", "lastUpdated": "2026-10-27T10:00:00Z"});
    record["issued"] = json!(format!("2026-10-27-{HUSH}"));
    let scene = Scene::new(&["recorded-date"], None, vec![record]).await;
    let reply = scene.doctor("Observation/o1").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(!everything(&reply).contains("2026-10-27") && !reply.headers.contains_key("last-modified"));
    // What remains: the number of the version, in an ETag of her own view.
    assert_eq!(reply.json()["meta"]["versionId"], "7");
    let own = reply.header("etag").to_owned();
    assert!(own.starts_with("W/\"7-"), "{own}");
    let all = scene.house.get(Persona::RecordsOfficer, "Observation/o1").await;
    assert_eq!((all.header("etag"), all.headers.contains_key("last-modified")), ("W/\"7\"", true));
    // Neither is it guessed by condition.
    let token = scene.house.token(Persona::Doctor);
    let url = format!("{}/Observation/o1", scene.house.base);
    for (name, value, status) in [
        ("if-none-match", own.as_str(), 304),
        ("if-none-match", "W/\"7\"", 200),
        ("if-modified-since", all.header("last-modified"), 200),
    ] {
        let reply = ask(Method::GET, &url, Some(&token), &[(name, value)], "").await;
        assert_eq!(reply.status, status, "{name}: {value}");
    }
    scene.shelf.heard();
    for path in [
        "Observation?_lastUpdated=gt2026-10-01",
        "Observation?_lastUpdated:missing=false",
        "Observation?_sort=_lastUpdated",
        "Observation?_sort=-_lastUpdated",
        "Observation/o1/_history?_since=2026-10-01T00:00:00Z",
        "Observation/_history?_since=2026-10-01T00:00:00Z",
    ] {
        let reply = scene.house.get(Persona::Doctor, path).await;
        assert_eq!((reply.status.as_u16(), scene.shelf.heard().len()), (403, 0), "{path}: {}", reply.text);
    }
}

/// A server with records of every bad kind.
fn bad(heard: &Heard) -> Script {
    let long = json!({"text": "x".repeat(9_000)});
    match heard.target.split(['/', '?']).nth(2).unwrap_or_default() {
        "shown" => Script::ok(version(condition("shown", "I10"), 1).to_string()),
        "withheld" => Script::ok(version(condition("withheld", "F11.20"), 1).to_string()),
        "foreign" => Script::ok(version(condition("foreign", "I10"), 1).to_string().replace("/p1", "/p2")),
        "gone" => Script::unknown().with(410),
        "large" => {
            let mut record = version(condition("large", "I10"), 1);
            record["note"] = json!([long]);
            Script::ok(record.to_string())
        }
        "cut" => Script::ok(r#"{"resourceType":"Condition","id":"cut","#),
        "twice" => Script::ok(r#"{"resourceType":"Condition","id":"twice","id":"twice"}"#),
        "empty" => Script::ok(""),
        "other" => Script::ok(version(condition("shown", "I10"), 1).to_string()),
        "kind" => Script::ok(r#"{"resourceType":"Patient","id":"kind"}"#),
        _ => Script::unknown(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_41_whatever_keeps_a_record_from_its_reader_is_answered_as_if_it_were_not_there() {
    let (house, shelf) = house(bad).await;
    for form in ["Condition/ID", "Condition/ID/_history/1", "Condition/ID?_summary=data"] {
        let unknown = house.get(Persona::Doctor, &form.replace("ID", "unknown")).await;
        assert_eq!(unknown.status, 404, "{}", unknown.text);
        assert_eq!(house.get(Persona::Doctor, &form.replace("ID", "shown")).await.status, 200, "{form}");
        for (id, officer) in [
            ("withheld", 200),
            ("foreign", 200),
            ("gone", 410),
            ("large", 502),
            ("cut", 502),
            ("twice", 502),
            ("empty", 502),
            ("other", 502),
            ("kind", 502),
        ] {
            let reply = house.get(Persona::Doctor, &form.replace("ID", id)).await;
            assert_eq!(told(&reply), told(&unknown), "{form}: {id}");
            // Who is shown every record alike is told what is wrong with it.
            let all = house.get(Persona::RecordsOfficer, &form.replace("ID", id)).await;
            assert_eq!(all.status, officer, "{form}: {id}: {}", all.text);
        }
    }
    // Refusals by type are the same for every id, and nobody is asked.
    shelf.heard();
    let refusals = ["withheld", "unknown", "gone", "cut"].map(|id| format!("AuditEvent/{id}"));
    let first = house.get(Persona::Doctor, &refusals[0]).await;
    assert_eq!(first.status, 403);
    for path in &refusals {
        assert_eq!(told(&house.get(Persona::Doctor, path).await), told(&first), "{path}");
    }
    assert_eq!(shelf.heard().len(), 0);
    // The privacy officer reads what it was.
    let page = get(&house.token(Persona::Officer), &format!("{}/officer", house.admin)).await;
    assert!(page.text.contains("the record cannot be judged"), "{}", page.text);
    let metrics = ask(Method::GET, &format!("{}/metrics", house.admin), None, &[], "").await;
    assert!(metrics.text.contains("drape_upstream_errors_total{kind=\"body\"} 1"), "{}", metrics.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_44_a_shown_a_withheld_and_an_unknown_record_take_the_same_steps_upstream() {
    let mut named = condition("named", "F11.20");
    named["evidence"] =
        json!([{"detail": [{"reference": "Observation/o9"}, {"reference": "Condition/withheld"}]}]);
    let held = vec![condition("shown", "I10"), condition("withheld", "F11.20"), named];
    let (house, shelf) = house(move |heard| answer(&held, heard)).await;
    let steps = async |persona: Persona, path: &str| {
        shelf.heard();
        house.get(persona, path).await;
        let heard = shelf.heard();
        let fixed = |h: &Heard| (h.method.clone(), h.target.clone(), h.headers.clone(), h.body.clone());
        heard.iter().map(fixed).collect::<Vec<_>>()
    };
    let shown = steps(Persona::Doctor, "Condition/shown").await;
    assert_eq!(shown.len(), 1);
    for id in ["withheld", "named", "unknown"] {
        let mut other = steps(Persona::Doctor, &format!("Condition/{id}")).await;
        assert_eq!(other.len(), 1, "{id}");
        other[0].1 = other[0].1.replace(id, "shown");
        assert_eq!(other, shown, "{id}");
    }
    // What is decided beforehand takes no step, whatever is there.
    for path in
        ["AuditEvent/withheld", "Condition?_text=x", "Condition?code:in=x", "Condition/withheld/$match"]
    {
        assert_eq!(steps(Persona::Doctor, path).await.len(), 0, "{path}");
    }
    // What remains: a pseudonym that was never given out is known to be none without a step.
    assert_eq!(steps(Persona::Researcher, "Condition/withheld").await.len(), 0);
    assert_eq!(steps(Persona::Researcher, "Condition/aaaaaaaaaaaaaaaaaaaaaaaaaaaa").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_50_headers_with_addresses_name_records_at_drape_or_are_dropped() {
    let location = Arc::new(Mutex::new(String::new()));
    let said = Arc::clone(&location);
    let (house, shelf) = house(move |heard| {
        let base = base(heard);
        let headers = vec![
            ("Location", said.lock().replace("BASE", &base)),
            ("Content-Location", format!("{base}/Observation?subject={HUSH}")),
            ("Link", format!("<{base}/{HUSH}>; rel=\"next\"")),
            ("Refresh", format!("1; url={base}/{HUSH}")),
        ];
        let status = if heard.method == "POST" { 201 } else { 200 };
        Script::Json(status, headers, version(observation("n1"), 1).to_string().into_bytes())
    })
    .await;
    let token = house.token(Persona::Doctor);
    let body = observation("n1").to_string().replace(r#""id":"n1","#, "");
    for (given, kept) in [
        ("BASE/Observation/n1/_history/1", Some("Observation/n1/_history/1")),
        ("BASE/Observation/n1", Some("Observation/n1")),
        ("http://elsewhere.example/Observation/n1/_history/1", None),
        ("BASE/../Umberfield", None),
        ("BASE/Observation?identifier=Umberfield", None),
        ("BASE.evil.example/Observation/n1", None),
        ("/fhir/Observation/Umberfield", None),
    ] {
        location.lock().clear();
        location.lock().push_str(given);
        for prefer in ["return=representation", "return=minimal"] {
            let headers = [("content-type", "application/fhir+json"), ("prefer", prefer)];
            let url = format!("{}/Observation", house.base);
            let reply = ask(Method::POST, &url, Some(&token), &headers, &body).await;
            assert_eq!(reply.status, 201, "{given}: {}", reply.text);
            let ours = kept.map(|path| format!("{}/{path}", house.base)).unwrap_or_default();
            assert_eq!(reply.header("location"), ours, "{given}");
            let all = everything(&reply);
            assert!(!all.contains(HUSH) && !all.contains(&shelf.base), "{given}: {all}");
        }
    }
    for persona in [Persona::Doctor, Persona::RecordsOfficer] {
        let reply = house.get(persona, "Observation/n1").await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        for name in ["location", "content-location", "link", "refresh"] {
            assert!(!reply.headers.contains_key(name), "{name}: {:?}", reply.headers);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_59_a_question_has_one_answer_and_who_reads_records_gets_none() {
    let house = House::plain().await;
    let now = jiff::Timestamp::now();
    let claims = house.issuer.claims_at(Persona::Analyst, now, Duration::from_secs(600)).unwrap();
    let colleague = with(&claims, &[("sub", json!("colleague"))], &house);
    let own = with(&claims, &[], &house);
    let count = async |token: &str, query: &str| {
        get(token, &format!("{}/Patient?{query}&_summary=count", house.base)).await
    };
    let spent = async || {
        let metrics = ask(Method::GET, &format!("{}/metrics", house.admin), None, &[], "").await.text;
        let line =
            metrics.lines().find(|l| l.starts_with("drape_dp_epsilon_spent_nano_total{budget=\"ph\"}"));
        line.map(|l| l.rsplit(' ').next().unwrap().to_owned())
    };
    let first = count(&own, "birthdate=lt1985&gender=female").await;
    assert_eq!(first.status, 200, "{}", first.text);
    let said = |reply: &Reply| (reply.json()["total"].clone(), reply.header("drape-interval-95").to_owned());
    // However often it is asked, in whatever order of its words, by whomever: there is nothing to average.
    for query in ["birthdate=lt1985&gender=female", "gender=female&birthdate=lt1985"] {
        for token in [&own, &colleague, &own] {
            assert_eq!(said(&count(token, query).await), said(&first), "{query}");
        }
    }
    assert_eq!(spent().await.as_deref(), Some("400000000"));
    // A question that differs by one patient is another one, with a price of its own; the third is beyond what there is
    // for all.
    assert_eq!(count(&colleague, "birthdate=lt1986&gender=female").await.status, 200);
    for token in [&own, &colleague] {
        let beyond = count(token, "birthdate=lt1987&gender=female").await;
        assert_eq!((beyond.status.as_u16(), &beyond.json()["issue"][0]["code"]), (403, &json!("too-costly")));
        assert_eq!(said(&count(token, "gender=female&birthdate=lt1985").await), said(&first));
    }
    // Records are not for analysts, nor counts for those who may read: what is counted with noise would be found beside
    // what is there.
    assert_eq!(get(&own, &format!("{}/Patient?birthdate=lt1985", house.base)).await.status, 403);
    for role in ["clinician", "nurse", "patient", "guardian", "billing", "researcher", "records-officer"] {
        let both = with(&claims, &[("roles", json!(["analyst", role]))], &house);
        let reply = count(&both, "gender=female&birthdate=lt1985").await;
        assert_eq!(reply.status, 403, "{role}: {}", reply.text);
    }
    for persona in [Persona::Doctor, Persona::Billing, Persona::Researcher, Persona::Patient] {
        let reply = count(&house.token(persona), "gender=female&birthdate=lt1985").await;
        assert_eq!(reply.status, 403, "{persona:?}: {}", reply.text);
    }
    assert_eq!(spent().await.as_deref(), Some("800000000"));
}
