//! What callers see and do not see, over HTTP against the embedded store.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use common::*;
use drape_demo::Persona;
use http::Method;

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_are_withheld_whole_say_nothing_is_there() {
    let house = House::plain().await;
    // Three of the four conditions are about substance use: withheld even from the treating doctor (42 CFR Part 2).
    let reply = house
        .get(Persona::Doctor, "Condition?patient=p1&code=http://hl7.org/fhir/sid/icd-10-cm|F11.20&_count=1")
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let bundle = reply.json();
    assert!(bundle.get("entry").is_none() && bundle.get("total").is_none(), "{bundle}");
    let links = bundle["link"].as_array().unwrap();
    assert!(links.iter().all(|l| l["relation"] == "self"), "an empty page leads nowhere: {bundle}");
    // The same as of a diagnosis that nobody has.
    let other = house
        .get(Persona::Doctor, "Condition?patient=p1&code=http://hl7.org/fhir/sid/icd-10-cm|Z99.9&_count=1")
        .await;
    assert_eq!(strip(&reply.text, "F11.20"), strip(&other.text, "Z99.9"));
}

/// What differs by nature: the code asked for, the Bundle's own id and time.
fn strip(text: &str, code: &str) -> Vec<String> {
    let value: serde_json::Value = serde_json::from_str(&text.replace(code, "CODE")).unwrap();
    value
        .as_object()
        .unwrap()
        .iter()
        .filter(|(k, _)| !["id", "meta"].contains(&k.as_str()))
        .map(|(k, v)| format!("{k}={v}"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withheld_record_and_an_unknown_one_answer_alike() {
    let house = House::plain().await;
    let withheld = house.get(Persona::Doctor, "Condition/c2").await;
    let unknown = house.get(Persona::Doctor, "Condition/nowhere").await;
    assert_eq!((withheld.status.as_u16(), unknown.status.as_u16()), (404, 404));
    let same = |reply: &Reply| {
        let mut json = reply.json();
        nameless(&mut json["issue"][0]);
        let names: Vec<String> = reply.headers.keys().map(|k| k.as_str().to_owned()).collect();
        (json, names, reply.text.len())
    };
    assert_eq!(same(&withheld), same(&unknown));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_learns_nothing_but_how_to_sign_in() {
    let house = House::plain().await;
    let reply = ask(Method::GET, &format!("{}/Patient/p1", house.base), None, &[], "").await;
    assert_eq!(reply.status, 401);
    assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"main\"");
    assert!(!reply.text.contains("Canary"));
    let expired = house.issuer.token_at(
        Persona::Doctor,
        jiff::Timestamp::now() - jiff::SignedDuration::from_hours(2),
        std::time::Duration::from_secs(60),
    );
    let reply =
        ask(Method::GET, &format!("{}/Patient/p1", house.base), Some(&expired.unwrap()), &[], "").await;
    assert_eq!(reply.status, 401);
    assert!(reply.header("www-authenticate").contains("error=\"invalid_token\""), "{:?}", reply.headers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doctor_writes_what_she_is_shown_whole_and_a_lost_update_is_refused() {
    let house = House::plain().await;
    let token = house.token(Persona::Doctor);
    let json = [("content-type", "application/fhir+json")];
    let body = r#"{"resourceType":"Observation","status":"final","subject":{"reference":"Patient/p1"},"code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}]},"valueQuantity":{"value":72.50,"unit":"/min"}}"#;
    let made = ask(Method::POST, &format!("{}/Observation", house.base), Some(&token), &json, body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let location = made.header("location");
    assert!(location.starts_with(&house.base), "{location}");
    assert!(made.text.contains("72.50"), "decimals keep their places: {}", made.text);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let read = house.get(Persona::Doctor, &format!("Observation/{id}")).await;
    let etag = read.header("etag").to_owned();
    let url = format!("{}/Observation/{id}", house.base);
    let changed = read.text.replace("72.50", "73.10");
    let fresh = [("content-type", "application/fhir+json"), ("if-match", etag.as_str())];
    let reply = ask(Method::PUT, &url, Some(&token), &fresh, &changed).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let reply = ask(Method::PUT, &url, Some(&token), &fresh, &changed.replace("73.10", "74.00")).await;
    assert_eq!(reply.status, 412, "{}", reply.text);
    // An address as she was told it is stored as the server knows it, and comes back as she knows it.
    let absolute = body.replace("Patient/p1", &format!("{}/Patient/p1", house.base));
    let made =
        ask(Method::POST, &format!("{}/Observation", house.base), Some(&token), &json, &absolute).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(made.json()["subject"]["reference"], format!("{}/Patient/p1", house.base));
    let own = house.running.parts.tenants()[0].upstream.base_url().to_owned();
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let stored = ask(Method::GET, &format!("{own}/Observation/{id}"), None, &[], "").await;
    assert_eq!(stored.json()["subject"]["reference"], format!("{own}/Patient/p1"));
    // Of a patient who is nothing to her she may write nothing, and what access rests on is not hers to write.
    let other = body.replace("Patient/p1", "Patient/p2");
    let reply = ask(Method::POST, &format!("{}/Observation", house.base), Some(&token), &json, &other).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    let reply = ask(
        Method::PUT,
        &format!("{}/Condition/c2", house.base),
        Some(&token),
        &json,
        r#"{"resourceType":"Condition","id":"c2","subject":{"reference":"Patient/p1"}}"#,
    )
    .await;
    assert!(
        [403, 404].contains(&reply.status.as_u16()),
        "a withheld record is not written over: {}",
        reply.status
    );
    // A reference by search would make the upstream resolve what nobody judged.
    let searched = body.replace("Patient/p1", "Patient?identifier=7");
    let reply =
        ask(Method::POST, &format!("{}/Observation", house.base), Some(&token), &json, &searched).await;
    assert!([400, 403].contains(&reply.status.as_u16()), "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_cost_once_and_then_no_more() {
    let house = House::plain().await;
    let count =
        async |query: &str| house.get(Persona::Analyst, &format!("Patient?{query}&_summary=count")).await;
    let first = count("birthdate=lt1985").await;
    assert_eq!(first.status, 200, "{}", first.text);
    assert_eq!(first.header("drape-epsilon"), "0.4");
    let again = count("birthdate=lt1985").await;
    assert_eq!(first.json()["total"], again.json()["total"]);
    assert_eq!(count("birthdate=lt1995").await.status, 200);
    let beyond = count("birthdate=lt2000").await;
    assert_eq!(beyond.status, 403);
    assert_eq!(beyond.json()["issue"][0]["code"], "too-costly");
    let metrics = ask(Method::GET, &format!("{}/metrics", house.admin), None, &[], "").await;
    assert!(
        metrics.text.contains("drape_dp_epsilon_spent_nano_total{budget=\"ph\"} 800000000"),
        "{}",
        metrics.text
    );
    assert!(!metrics.text.contains("Canary") && !metrics.text.contains("p1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_counts_may_not_hold_a_role_that_reads() {
    let house = House::plain().await;
    let now = jiff::Timestamp::now();
    let mut claims =
        house.issuer.claims_at(Persona::Analyst, now, std::time::Duration::from_secs(600)).unwrap();
    // The purpose activates the analyst alone, but the same person could read as a researcher a minute later.
    claims.insert("roles".into(), serde_json::json!(["analyst", "researcher"]));
    let token = house.issuer.sign(&claims).unwrap();
    let url = format!("{}/Patient?birthdate=lt1985&_summary=count", house.base);
    let reply = ask(Method::GET, &url, Some(&token), &[], "").await;
    assert_eq!(reply.status, 403, "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_officer_page_wants_an_officer_and_enters_who_looked() {
    let house = House::plain().await;
    let url = format!("{}/officer", house.admin);
    house.get(Persona::Doctor, "Patient/p1").await;
    let reply = ask(Method::GET, &url, None, &[], "").await;
    assert!(reply.text.contains("Sign in") && !reply.text.contains("p1"), "{}", reply.text);
    let reply = ask(Method::GET, &url, Some(&house.token(Persona::Doctor)), &[], "").await;
    assert_eq!(reply.status, 401);
    assert!(
        reply.text.contains("not a privacy officer") && !reply.text.contains("Patient/p1"),
        "{}",
        reply.text
    );
    let reply = ask(Method::GET, &url, Some(&house.token(Persona::Officer)), &[], "").await;
    assert_eq!(reply.status, 200);
    assert!(
        reply.text.contains("looked at this page") && reply.text.contains("read Patient"),
        "{}",
        reply.text
    );
    assert!(reply.header("content-security-policy").starts_with("default-src 'none'"));
    // By the form, as a browser does it.
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = format!("token={}", house.token(Persona::Officer));
    let signed_in = ask(Method::POST, &format!("{url}/session"), None, &form, &body).await;
    assert_eq!(signed_in.status, 303);
    let cookie = signed_in.header("set-cookie").split(';').next().unwrap().to_owned();
    let page =
        ask(Method::GET, &format!("{url}?patient=Patient%2Fp1"), None, &[("cookie", &cookie)], "").await;
    assert_eq!(page.status, 200);
    assert!(
        page.text.contains("Who saw Patient/p1") && page.text.contains("care-team-sees-all"),
        "{}",
        page.text
    );
    ask(Method::POST, &format!("{url}/sign-out"), None, &[("cookie", &cookie)], "").await;
    let page = ask(Method::GET, &url, None, &[("cookie", &cookie)], "").await;
    assert!(page.text.contains("Sign in"));
}

/// A server that sends the first half of a page, waits until it is told, and sends the rest.
async fn halting() -> (String, std::sync::Arc<tokio::sync::Notify>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let go = std::sync::Arc::new(tokio::sync::Notify::new());
    let wait = std::sync::Arc::clone(&go);
    let entry = |i: usize| {
        let note = "x".repeat(5_000);
        format!(
            r#"{{"resource":{{"resourceType":"Observation","id":"o{i}","status":"final","code":{{"text":"c"}},"note":[{{"text":"{note}"}}]}}}}"#
        )
    };
    let half = |range: std::ops::Range<usize>| range.map(entry).collect::<Vec<_>>().join(",");
    let (first, second) = (half(0..60), half(60..120));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4_096];
            let read = stream.read(&mut request).await.unwrap();
            if !String::from_utf8_lossy(&request[..read]).starts_with("GET /fhir/Observation") {
                continue;
            }
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/fhir+json\r\nconnection: close\r\n\r\n";
            let start = format!(r#"{head}{{"resourceType":"Bundle","type":"searchset","entry":[{first}"#);
            stream.write_all(start.as_bytes()).await.unwrap();
            wait.notified().await;
            stream.write_all(format!(",{second}]}}").as_bytes()).await.unwrap();
        }
    });
    (format!("http://{address}/fhir"), go)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_outlives_the_hour_is_judged_anew_and_one_that_outlives_its_token_is_cut() {
    use http_body_util::BodyExt as _;
    let policy = r#"
        @id("ask") permit(principal in Role::"clinician", action in Action::"access", resource);
        @id("by") permit(principal in Role::"clinician", action == Action::"searchBy", resource);
        @id("day") permit(principal in Role::"clinician", action in [Action::"receive", Action::"show"], resource)
        when { context.env.hour < 12 };"#;
    // Half past eleven in the tenant's time zone, some day; the second time the token ends before noon.
    let before_noon = "2026-11-25T11:30:00-05:00[America/New_York]".parse::<jiff::Zoned>().unwrap();
    for (life_s, cut) in [(7_200, false), (600, true)] {
        let (upstream, go) = halting().await;
        let now_ms = u64::try_from(before_noon.timestamp().as_millisecond()).unwrap();
        let (clock, hand) = drape_server::clock::Clock::fixed(now_ms);
        let house = House::with(Wishes {
            upstream: Some(upstream),
            policy: Some(policy),
            clock: Some(clock),
            ..Wishes::default()
        })
        .await;
        let life = std::time::Duration::from_secs(life_s);
        let token = house.issuer.token_at(Persona::Doctor, before_noon.timestamp(), life).unwrap();
        let client =
            hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
        let request = http::Request::get(format!("{}/Observation", house.base))
            .header("authorization", format!("Bearer {token}"))
            .body(http_body_util::Full::<bytes::Bytes>::default())
            .unwrap();
        let answer = client.request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut body = answer.into_body();
        let mut whole = body.frame().await.unwrap().unwrap().data_ref().unwrap().to_vec();
        hand.fetch_add(3_600_000, std::sync::atomic::Ordering::SeqCst);
        go.notify_one();
        let mut broken = false;
        while let Some(frame) =
            tokio::time::timeout(std::time::Duration::from_secs(30), body.frame()).await.expect("in time")
        {
            match frame {
                Ok(frame) => whole.extend_from_slice(frame.data_ref().unwrap_or(&bytes::Bytes::new())),
                Err(_) => broken = true,
            }
        }
        assert_eq!(broken, cut);
        let text = String::from_utf8(whole).unwrap();
        assert!(text.contains("\"o0\"") && !text.contains("\"o119\""));
        let parsed = serde_json::from_str::<serde_json::Value>(&text);
        assert_eq!(parsed.is_err(), cut, "a cut answer never looks whole");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_posted_search_links_to_itself_as_one_that_can_be_read() {
    let house = House::plain().await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let url = format!("{}/Condition/_search", house.base);
    let reply =
        ask(Method::POST, &url, Some(&house.token(Persona::Doctor)), &form, "patient=p1&_count=10").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let own = reply.json()["link"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(own, format!("{}/Condition?patient=p1&_count=10", house.base));
    let again = ask(Method::GET, &own, Some(&house.token(Persona::Doctor)), &[], "").await;
    assert_eq!(again.json()["entry"], reply.json()["entry"]);
}
