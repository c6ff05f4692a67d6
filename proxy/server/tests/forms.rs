//! Answers as XML and under gzip: the same shielded records in another form, or none at all.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;
mod xml_reader;

use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::*;
use drape_demo::Persona;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

const XML: (&str, &str) = ("accept", "application/fhir+xml");
const GZIP: (&str, &str) = ("accept-encoding", "gzip");
const JSON_BODY: (&str, &str) = ("content-type", "application/fhir+json");

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn gunzip(coded: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    GzDecoder::new(coded).read_to_end(&mut text)?;
    Ok(text)
}

/// An answer as it stood on the wire, and whether its body came to an end.
struct Raw {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    ended: bool,
}

impl Raw {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|v| v.to_str().unwrap()).unwrap_or_default()
    }

    fn varies_by(&self, name: &str) -> bool {
        self.headers.get_all("vary").iter().any(|v| v.to_str().unwrap().contains(name))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

async fn raw(
    house: &House,
    method: Method,
    persona: Persona,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Raw {
    let client =
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let mut request = http::Request::builder().method(method).uri(format!("{}/{path}", house.base));
    request = request.header("authorization", format!("Bearer {}", house.token(persona)));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = client.request(request.body(Full::new(body)).unwrap());
    let answer =
        tokio::time::timeout(Duration::from_secs(30), answer).await.expect("an answer in time").unwrap();
    let (head, mut incoming) = answer.into_parts();
    let (mut body, mut ended) = (Vec::new(), true);
    while let Some(frame) =
        tokio::time::timeout(Duration::from_secs(30), incoming.frame()).await.expect("a body in time")
    {
        match frame {
            Ok(frame) => body.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
            Err(_) => {
                ended = false;
                break;
            }
        }
    }
    Raw { status: head.status, headers: head.headers, body, ended }
}

async fn get(house: &House, persona: Persona, path: &str, headers: &[(&str, &str)]) -> Raw {
    raw(house, Method::GET, persona, path, headers, Bytes::new()).await
}

/// An answer without what each answer has of its own: ids of the request, of the Bundle, of its pages.
fn steady(mut value: Value) -> Value {
    if let Some(issue) = value.pointer_mut("/issue/0") {
        nameless(issue);
    }
    if value["resourceType"] == "Bundle" {
        (value["id"], value["meta"]) = (Value::Null, Value::Null);
    }
    for link in value["link"].as_array_mut().into_iter().flatten() {
        let url = link["url"].as_str().unwrap().to_owned();
        link["url"] = url.split("/_page/").next().unwrap().into();
    }
    value
}

/// What was asked of a scripted server: path with query, headers and body.
type Heard = Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>;

/// A FHIR server that answers as `script` says, and what it heard.
async fn scripted(
    script: impl Fn(&str, &HeaderMap) -> http::Response<Full<Bytes>> + Send + Sync + 'static,
) -> (String, Heard) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/fhir", listener.local_addr().unwrap());
    let (script, heard) = (Arc::new(script), Heard::default());
    let log = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (script, log) = (Arc::clone(&script), Arc::clone(&log));
            let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                async move {
                    let (head, mut incoming) = request.into_parts();
                    let mut body = Vec::new();
                    while let Some(Ok(frame)) = incoming.frame().await {
                        body.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
                    }
                    let path =
                        head.uri.path_and_query().unwrap().as_str().trim_start_matches("/fhir").to_owned();
                    let answer = script(&path, &head.headers);
                    log.lock().unwrap().push((path, head.headers, body.into()));
                    Ok::<_, std::convert::Infallible>(answer)
                }
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    (base, heard)
}

fn fhir(body: impl Into<Bytes>) -> http::Response<Full<Bytes>> {
    let builder =
        http::Response::builder().header("content-type", "application/fhir+json").header("etag", "\"7\"");
    builder.body(Full::new(body.into())).unwrap()
}

fn coded(body: Vec<u8>, coding: &str) -> http::Response<Full<Bytes>> {
    let mut answer = fhir(body);
    answer.headers_mut().insert("content-encoding", coding.parse().unwrap());
    answer
}

fn not_found() -> http::Response<Full<Bytes>> {
    http::Response::builder().status(404).body(Full::default()).unwrap()
}

/// A searchset of that many Basics, `last` among the members of the last one.
fn bundle(count: usize, last: &str) -> String {
    let entries: Vec<String> = (0..count)
        .map(|n| {
            let more = if n + 1 == count { last } else { "" };
            format!(r#"{{"resource":{{"resourceType":"Basic","id":"b{n}","code":{{"text":"Canary-{n} {}"}}{more}}}}}"#, "y".repeat(900))
        })
        .collect();
    format!(
        r#"{{"resourceType":"Bundle","type":"searchset","link":[{{"relation":"self","url":"Basic"}}],"entry":[{}]}}"#,
        entries.join(",")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_xml_gets_what_is_shown_in_json_and_nothing_else() {
    let house = House::plain().await;
    let paths = [
        "Patient/p1",
        "Patient",
        "Condition?patient=p1",
        "Observation?patient=p1&_count=100",
        "Patient/p1/_history",
    ];
    let mut compared = 0;
    for persona in [Persona::RecordsOfficer, Persona::Doctor, Persona::Billing, Persona::Researcher] {
        for path in paths {
            let json = get(&house, persona, path, &[]).await;
            let xml = get(&house, persona, path, &[XML]).await;
            assert_eq!(xml.status, json.status, "{path}: {}", xml.text());
            assert_eq!(xml.header("content-type"), "application/fhir+xml; charset=utf-8", "{path}");
            assert!(xml.varies_by("Accept") && json.varies_by("Accept"));
            // The tag of a treated view is made of what is seen; that of an untouched one is the version's.
            assert_eq!(xml.headers.contains_key("etag"), json.headers.contains_key("etag"), "{path}");
            if persona == Persona::RecordsOfficer {
                assert_eq!(xml.headers.get("etag"), json.headers.get("etag"), "{path}");
            }
            let length =
                xml.headers.get("content-length").map(|v| v.to_str().unwrap().parse::<usize>().unwrap());
            assert!(length.is_none_or(|length| length == xml.body.len()), "{path}");
            let back = steady(xml_reader::read(xml.text()));
            let was = steady(xml_reader::letters(&json.body));
            assert_eq!(back, was, "{path}");
            compared += usize::from(json.status == 200);
        }
    }
    assert!(compared > 10, "{compared}");
    House::log_is_sound(house.folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withheld_record_and_an_unknown_one_answer_alike_in_xml_too() {
    let house = House::plain().await;
    for (persona, withheld, unknown) in [
        (Persona::Doctor, "Patient/p2", "Patient/nobody"),
        (Persona::Doctor, "Condition/c2", "Condition/nothing"),
        (Persona::Doctor, "Patient/p2/_history", "Patient/nobody/_history"),
        (Persona::Doctor, "Patient/p2/_history/1", "Patient/nobody/_history/1"),
        (Persona::Attacker, "Patient/p1", "Patient/nobody"),
    ] {
        let withheld = get(&house, persona, withheld, &[XML]).await;
        let unknown = get(&house, persona, unknown, &[XML]).await;
        assert_eq!(withheld.status, unknown.status, "{}", withheld.text());
        assert!(!withheld.status.is_success());
        let read = |raw: &Raw| steady(xml_reader::read(raw.text()));
        assert_eq!(read(&withheld), read(&unknown));
        let names = |raw: &Raw| raw.headers.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&withheld), names(&unknown));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_bundle_streams_as_xml() {
    let house = House::plain().await;
    let xml = get(&house, Persona::RecordsOfficer, "Observation?patient=p1&_count=100", &[XML]).await;
    assert!(xml.ended && !xml.headers.contains_key("content-length") && xml.body.len() > 200_000);
    assert_eq!(xml.text().matches("<entry>").count(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_form_is_chosen_by_parameter_header_or_form_and_pages_keep_it() {
    let house = House::plain().await;
    let officer = Persona::RecordsOfficer;
    // The description of the server is made behind the start.
    let described = async {
        while get(&house, officer, "metadata", &[]).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), described).await.expect("the server is described");
    let is_xml = |raw: &Raw| {
        raw.header("content-type").starts_with("application/fhir+xml") && raw.text().starts_with('<')
    };
    for (path, headers) in [
        ("Patient/p1?_format=xml", &[][..]),
        ("Patient/p1?_format=application/fhir%2Bxml", &[("accept", "application/json")]),
        ("Patient/p1?_format=text/xml&_pretty=true", &[]),
        ("Patient/p1", &[("accept", "application/xml")]),
        ("Patient/p1", &[("accept", "application/fhir+xml, */*;q=0.1")]),
        ("metadata", &[XML]),
        ("metadata?_format=xml", &[]),
    ] {
        let answer = get(&house, officer, path, headers).await;
        assert!(answer.status == 200 && is_xml(&answer), "{path}: {}", answer.text());
        xml_reader::read(answer.text());
    }
    for (path, headers) in [
        ("Patient/p1?_format=json", &[XML][..]),
        ("Patient/p1", &[("accept", "application/fhir+xml;q=0.5, application/fhir+json")]),
        ("Patient/p1", &[]),
        (".well-known/smart-configuration", &[XML]),
    ] {
        let answer = get(&house, officer, path, headers).await;
        assert!(answer.status == 200 && !is_xml(&answer), "{path}");
        serde_json::from_slice::<Value>(&answer.body).unwrap();
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let answer =
        raw(&house, Method::POST, officer, "Patient/_search", &form, "_format=xml&_id=p1".into()).await;
    assert!(answer.status == 200 && is_xml(&answer), "{}", answer.text());
    // The links of the first page lead to pages of the same form.
    let first = get(&house, officer, "Observation?patient=p1&_count=3&_format=xml", &[]).await;
    let value = xml_reader::read(first.text());
    let links = value["link"].as_array().unwrap();
    let next = links.iter().find(|l| l["relation"] == "next").unwrap()["url"].as_str().unwrap();
    let second = get(&house, officer, next.strip_prefix(&format!("{}/", house.base)).unwrap(), &[]).await;
    assert!(second.status == 200 && is_xml(&second), "{}", second.text());
    assert!(xml_reader::read(second.text())["entry"].as_array().is_some_and(|e| e.len() == 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_and_the_head_of_an_answer_have_the_form_that_was_asked_for() {
    let house = House::with(Wishes { tenant_more: "gzip: true", ..Wishes::default() }).await;
    let entry = |url: &str| json!({"request": {"method": "GET", "url": url}});
    let entries =
        [entry("Patient/p1"), entry("Condition/c1?_format=xml"), entry("Patient/nobody"), entry("Nobody/1")];
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": entries}).to_string();
    let post = async |headers: &[(&str, &str)]| {
        let headers = [&[JSON_BODY], headers].concat();
        raw(&house, Method::POST, Persona::Doctor, "", &headers, batch.clone().into()).await
    };
    let mut plain = xml_reader::letters(&post(&[]).await.body);
    let answer = post(&[XML]).await;
    assert_eq!(answer.header("content-type"), "application/fhir+xml; charset=utf-8");
    let mut read = xml_reader::read(answer.text());
    for value in [&mut plain, &mut read] {
        for outcome in value["entry"].as_array_mut().unwrap() {
            if let Some(issue) = outcome.pointer_mut("/response/outcome/issue/0") {
                nameless(issue);
            }
        }
    }
    assert_eq!(read, plain);
    assert_eq!(read["entry"][0]["resource"]["resourceType"], "Patient");
    assert_eq!(read["entry"][1]["resource"]["resourceType"], "Condition");
    for form in [&[][..], &[XML], &[GZIP], &[XML, GZIP]] {
        let get = get(&house, Persona::RecordsOfficer, "Observation/o1", form).await;
        let head =
            raw(&house, Method::HEAD, Persona::RecordsOfficer, "Observation/o1", form, Bytes::new()).await;
        assert!(head.body.is_empty());
        for name in ["content-type", "content-length", "content-encoding", "etag"] {
            assert_eq!(head.headers.get(name), get.headers.get(name), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_in_the_form_that_was_asked_for() {
    let house = House::plain().await;
    for (path, status) in
        [("Patient/nobody", 404), ("Nobody/1", 404), ("Patient?name=a;b", 400), ("Patient/p1/$x", 403)]
    {
        let answer = get(&house, Persona::Doctor, path, &[XML]).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        let outcome = xml_reader::read(answer.text());
        assert_eq!(outcome["resourceType"], "OperationOutcome");
        assert!(outcome["issue"][0]["diagnostics"].is_string());
    }
    let stranger = ask(Method::GET, &format!("{}/Patient/p1", house.base), None, &[XML], "").await;
    assert_eq!(stranger.status, 401);
    assert_eq!(xml_reader::read(&stranger.text)["issue"][0]["code"], "login");
    let neither = get(&house, Persona::Doctor, "Patient/p1", &[("accept", "application/fhir+turtle")]).await;
    assert_eq!(neither.status, 406);
    serde_json::from_slice::<Value>(&neither.body).unwrap();
    // XML is written and not read.
    let headers = [("content-type", "application/fhir+xml")];
    let sent =
        raw(&house, Method::POST, Persona::Doctor, "Observation", &headers, "<Observation/>".into()).await;
    assert_eq!(sent.status, 415, "{}", sent.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_06_what_r4_does_not_know_does_not_leave_as_xml_and_nothing_half_does() {
    let (upstream, _) = scripted(|path, _| match path.split('?').next().unwrap() {
        "/Basic/vendor" => fhir(r#"{"resourceType":"Basic","id":"vendor","canaryMember":"Canary-Value"}"#),
        "/Basic/narrative" => fhir(r#"{"resourceType":"Basic","id":"narrative","text":{"status":"generated","div":"<div>Canary-Open"}}"#),
        "/Basic/control" => fhir(r#"{"resourceType":"Basic","id":"control","code":{"text":"Canary-\u0001"}}"#),
        "/Basic" => fhir(bundle(4_000, r#","canaryMember":"Canary-Value""#)),
        _ => not_found(),
    })
    .await;
    let house = House::with(Wishes { upstream: Some(upstream), ..Wishes::default() }).await;
    for id in ["vendor", "narrative", "control"] {
        let path = format!("Basic/{id}");
        let json = get(&house, Persona::RecordsOfficer, &path, &[]).await;
        assert!(json.status == 200 && json.text().contains("Canary"), "{}", json.text());
        let xml = get(&house, Persona::RecordsOfficer, &path, &[XML]).await;
        assert_eq!(xml.status, 406, "{}", xml.text());
        assert!(
            xml.text().contains("ask for JSON") && !xml.text().to_lowercase().contains("canary"),
            "{}",
            xml.text()
        );
        assert_eq!(xml_reader::read(xml.text())["issue"][0]["code"], "not-supported");
    }
    // Of a long Bundle the first windows are out when the fault is met: it has no end then.
    let json = get(&house, Persona::RecordsOfficer, "Basic", &[]).await;
    assert!(json.ended && json.body.len() > 3_000_000);
    let xml = get(&house, Persona::RecordsOfficer, "Basic", &[XML]).await;
    assert!(!xml.ended && xml.body.len() > 100_000, "{}", xml.body.len());
    assert!(!xml.text().contains("</Bundle>") && !xml.text().contains("Canary-Value"));
    House::log_is_sound(house.folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strong_etag_of_the_server_is_weak_in_xml() {
    let (upstream, _) = scripted(|path, _| match path {
        "/Basic/b" => fhir(r#"{"resourceType":"Basic","id":"b"}"#),
        _ => not_found(),
    })
    .await;
    let house = House::with(Wishes { upstream: Some(upstream), ..Wishes::default() }).await;
    let json = get(&house, Persona::RecordsOfficer, "Basic/b", &[]).await;
    let xml = get(&house, Persona::RecordsOfficer, "Basic/b", &[XML]).await;
    assert_eq!((json.header("etag"), xml.header("etag")), ("\"7\"", "W/\"7\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_behind_may_compress_where_that_is_allowed() {
    for (allowed, expected) in [("gzip: true", StatusCode::OK), ("gzip: false", StatusCode::BAD_GATEWAY)] {
        let (upstream, heard) = scripted(|path, headers| match path.split('?').next().unwrap() {
            // It compresses whether it was asked to or not.
            "/Basic/b" => {
                coded(gzip(br#"{"resourceType":"Basic","id":"b","code":{"text":"Canary"}}"#), "gzip")
            }
            "/Basic" => coded(gzip(bundle(400, "").as_bytes()), "x-gzip"),
            "/metadata" => {
                assert!(headers.contains_key("accept-encoding"));
                not_found()
            }
            _ => not_found(),
        })
        .await;
        let more = format!("auth: {{ kind: none }}, {allowed}");
        let house =
            House::with(Wishes { upstream: Some(upstream), upstream_more: &more, ..Wishes::default() }).await;
        let read = get(&house, Persona::RecordsOfficer, "Basic/b", &[]).await;
        assert_eq!(read.status, expected, "{}", read.text());
        let long = get(&house, Persona::RecordsOfficer, "Basic", &[]).await;
        assert_eq!(long.status, expected);
        if expected == 200 {
            assert_eq!(serde_json::from_slice::<Value>(&read.body).unwrap()["code"]["text"], "Canary");
            assert!(read.headers.get("content-encoding").is_none());
            assert!(long.ended && long.text().matches("Canary-").count() == 400);
        }
        let asked = if allowed.ends_with("true") { "gzip" } else { "identity" };
        assert!(heard.lock().unwrap().iter().all(|(_, headers, _)| headers["accept-encoding"] == asked));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_dense_coding_of_the_server_is_a_fault_and_never_an_answer() {
    let whole = gzip(br#"{"resourceType":"Basic","id":"b","code":{"text":"Canary"}}"#);
    let long = gzip(bundle(400, "").as_bytes());
    let dense = gzip(format!(r#"{{"resourceType":"Basic","id":"b"{}}}"#, " ".repeat(64 << 20)).as_bytes());
    let (upstream, _) = scripted(move |path, _| match path.split('?').next().unwrap() {
        "/Basic/cut" => coded(whole[..whole.len() - 9].to_vec(), "gzip"),
        "/Basic/unended" => coded(whole[..whole.len() - 1].to_vec(), "gzip"),
        "/Basic/sum" => {
            let mut wrong = whole.clone();
            let place = wrong.len() - 6;
            wrong[place] ^= 1;
            coded(wrong, "gzip")
        }
        "/Basic/more" => coded([&whole[..], &whole[..]].concat(), "gzip"),
        "/Basic/plain" => coded(br#"{"resourceType":"Basic","id":"plain"}"#.to_vec(), "gzip"),
        "/Basic/twice" => coded(gzip(&whole), "gzip, gzip"),
        "/Basic/br" => coded(whole.clone(), "br"),
        "/Basic/dense" => coded(dense.clone(), "gzip"),
        "/Basic" => coded(long[..long.len() - 5].to_vec(), "gzip"),
        _ => not_found(),
    })
    .await;
    let house = House::with(Wishes {
        upstream: Some(upstream),
        upstream_more: "auth: { kind: none }, gzip: true",
        ..Wishes::default()
    })
    .await;
    for id in ["cut", "unended", "sum", "more", "plain", "twice", "br", "dense"] {
        let answer = get(&house, Persona::RecordsOfficer, &format!("Basic/{id}"), &[]).await;
        assert_eq!(answer.status, 502, "{id}: {}", answer.text());
        assert!(!answer.text().contains("Canary"), "{id}");
    }
    let answer = get(&house, Persona::RecordsOfficer, "Basic", &[]).await;
    assert!(answer.status == 200 && !answer.ended, "a body whose check sum never came was ended");
    House::log_is_sound(house.folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_43_answers_are_compressed_only_where_the_configuration_says_so() {
    let plain = House::plain().await;
    for headers in [&[GZIP][..], &[GZIP, XML]] {
        for path in ["Observation?patient=p1&_count=100", "Observation/o1", "metadata", "Nobody/1"] {
            let answer = get(&plain, Persona::RecordsOfficer, path, headers).await;
            assert!(answer.headers.get("content-encoding").is_none(), "{path}");
            assert!(!answer.varies_by("Accept-Encoding"), "{path}");
            assert!(std::str::from_utf8(&answer.body).is_ok(), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_under_gzip_are_what_they_were_without_it() {
    let house = House::with(Wishes { tenant_more: "gzip: true", ..Wishes::default() }).await;
    for persona in [Persona::RecordsOfficer, Persona::Doctor] {
        for path in [
            "Observation?patient=p1&_count=100",
            "Observation/o1",
            "Patient/p1",
            "Patient/nobody",
            "metadata",
        ] {
            for form in [&[][..], &[XML]] {
                let plain = get(&house, persona, path, form).await;
                let coded = get(&house, persona, path, &[form, &[GZIP]].concat()).await;
                assert_eq!(coded.status, plain.status);
                assert!(
                    plain.headers.get("content-encoding").is_none() && plain.varies_by("Accept-Encoding")
                );
                assert!(coded.varies_by("Accept-Encoding") && coded.ended);
                if plain.body.len() < 1_024 {
                    assert!(coded.headers.get("content-encoding").is_none(), "{path}");
                    continue;
                }
                assert_eq!(coded.header("content-encoding"), "gzip", "{path}");
                assert!(coded.body.len() < plain.body.len(), "{path}");
                let length = coded
                    .headers
                    .get("content-length")
                    .map(|v| v.to_str().unwrap().parse::<usize>().unwrap());
                assert_eq!(length.is_some(), plain.headers.contains_key("content-length"), "{path}");
                assert!(length.is_none_or(|length| length == coded.body.len()), "{path}");
                let text = String::from_utf8(gunzip(&coded.body).unwrap()).unwrap();
                let read = |text: &str| match form {
                    [] => steady(xml_reader::letters(text.as_bytes())),
                    _ => steady(xml_reader::read(text)),
                };
                assert_eq!(read(&text), read(plain.text()), "{path}");
            }
        }
    }
    let refused =
        get(&house, Persona::RecordsOfficer, "Observation/o1", &[("accept-encoding", "gzip;q=0, br")]).await;
    assert!(refused.headers.get("content-encoding").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_cut_off_under_gzip_has_no_valid_end() {
    let (upstream, _) = scripted(|path, _| match path.split('?').next().unwrap() {
        "/Basic" => {
            let whole = bundle(4_000, "");
            fhir(whole[..whole.len() - 3].to_owned())
        }
        _ => not_found(),
    })
    .await;
    let house =
        House::with(Wishes { upstream: Some(upstream), tenant_more: "gzip: true", ..Wishes::default() })
            .await;
    let answer = get(&house, Persona::RecordsOfficer, "Basic", &[GZIP]).await;
    assert!(answer.status == 200 && !answer.ended && answer.header("content-encoding") == "gzip");
    assert!(!answer.body.is_empty());
    assert_eq!(gunzip(&answer.body).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test(flavor = "multi_thread")]
async fn request_bodies_under_gzip_are_read_within_bounds() {
    let house =
        House::with(Wishes { more: "limits: { request_body_bytes_max: 100000 }", ..Wishes::default() }).await;
    let observation = |note: &str| {
        json!({
            "resourceType": "Observation", "status": "final", "subject": {"reference": "Patient/p1"},
            "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}, "note": [{"text": note}],
        })
        .to_string()
    };
    let post = async |body: Vec<u8>, coding: &str| {
        let headers = [JSON_BODY, ("content-encoding", coding)];
        raw(&house, Method::POST, Persona::Doctor, "Observation", &headers, body.into()).await
    };
    let made = post(gzip(observation("as it was sent").as_bytes()), "gzip").await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert!(made.text().contains("as it was sent"));
    let whole = gzip(observation("x").as_bytes());
    assert_eq!(post(whole[..whole.len() - 1].to_vec(), "gzip").await.status, 400);
    assert_eq!(post(observation("x").into_bytes(), "gzip").await.status, 400);
    assert_eq!(post(gzip(observation(&"x".repeat(200_000)).as_bytes()), "gzip").await.status, 413);
    let other = post(whole, "br").await;
    assert_eq!((other.status.as_u16(), other.header("accept-encoding")), (415, "gzip"));
    // A form is no longer than an address may be, however small it was sent.
    let form = [("content-type", "application/x-www-form-urlencoded"), ("content-encoding", "gzip")];
    let found = raw(
        &house,
        Method::POST,
        Persona::Doctor,
        "Observation/_search",
        &form,
        gzip(b"patient=p1&_count=1").into(),
    )
    .await;
    assert_eq!(found.status, 200, "{}", found.text());
    let long = gzip(format!("patient=p1&code={}", "I10,".repeat(20_000)).as_bytes());
    let found = raw(&house, Method::POST, Persona::Doctor, "Observation/_search", &form, long.into()).await;
    assert_eq!(found.status, 413, "{}", found.text());
}
