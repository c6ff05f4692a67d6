//! Bodies that are no JSON, or that parsers read differently: refused or passed on byte for byte, from the upstream and from
//! callers; and a body that breaks off, at whatever byte, never ends as a whole one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;
mod corpus;
mod scripted;
mod shielding;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::*;
use corpus::Fate;
use drape_demo::Persona;
use drape_fhir::json::{Limits, Tokens};
use drape_shield::Expect;
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use scripted::{Script, Scripted};

/// A reader whose answers may break off.
async fn read(url: &str, token: &str) -> (u16, Vec<u8>, bool) {
    let client =
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let request = http::Request::get(url).header("authorization", format!("Bearer {token}"));
    let answer = client.request(request.body(Full::<Bytes>::default()).unwrap());
    let answer =
        tokio::time::timeout(Duration::from_secs(30), answer).await.expect("an answer in time").unwrap();
    let (head, mut body) = answer.into_parts();
    let (mut whole, mut ended) = (Vec::new(), true);
    while let Some(frame) =
        tokio::time::timeout(Duration::from_secs(30), body.frame()).await.expect("in time")
    {
        match frame {
            Ok(frame) => whole.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
            Err(_) => ended = false,
        }
    }
    (head.status.as_u16(), whole, ended)
}

/// A house before an upstream that answers everything with what is put into it.
async fn house() -> (House, Arc<Mutex<Script>>, Scripted) {
    let script = Arc::new(Mutex::new(Script::Nothing));
    let held = Arc::clone(&script);
    let shelf = Scripted::open(move |_| held.lock().clone()).await;
    let house = House::with(Wishes { upstream: Some(shelf.base.clone()), ..Wishes::default() }).await;
    (house, script, shelf)
}

#[test]
fn the_tokenizer_and_the_shield_refuse_or_pass_each_text_of_the_corpus() {
    let persons = shielding::persons(shielding::PATIENT);
    let all = corpus::all();
    assert!(all.len() > 120 && all.iter().filter(|(_, _, fate)| *fate == Fate::Passed).count() > 8);
    for (name, text, fate) in all {
        let mut tokens = Tokens::new(&text, Limits::default());
        let sound = loop {
            match tokens.next_token() {
                Ok(Some(_)) => {}
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        // Some are JSON and still no Patient.
        let json = fate == Fate::Passed
            || matches!(text.first(), Some(b'[' | b'n' | b'"'))
            || name.contains("no text");
        assert_eq!(sound, json, "{name}");
        for person in &persons {
            let expect =
                Expect::Record { resource_type: "Patient".into(), id: Some("h1".into()), version: None };
            for seed in [1, 99] {
                let seen = person.look(expect.clone(), shielding::UP, &text, seed);
                match (fate, seen) {
                    (Fate::Refused, seen) => assert!(seen.is_err(), "{name}: {}", person.name),
                    (Fate::Passed, seen) if person.shows_all => assert_eq!(seen.unwrap().out, text, "{name}"),
                    (Fate::Passed, seen) => {
                        let out = seen.unwrap().out;
                        assert!(
                            out.is_empty() || serde_json::from_slice::<serde_json::Value>(&out).is_ok(),
                            "{name}"
                        );
                    }
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_sends_such_a_text_is_a_502_and_none_of_it_leaves() {
    let (house, script, _shelf) = house().await;
    let (all, doctor) = (house.token(Persona::RecordsOfficer), house.token(Persona::Doctor));
    for (name, text, fate) in corpus::all() {
        *script.lock() = Script::ok(text.clone());
        let url = format!("{}/Patient/h1", house.base);
        let (status, body, ended) = read(&url, &all).await;
        assert!(ended, "{name}");
        if fate == Fate::Passed {
            assert_eq!((status, &body), (200, &text), "{name}");
        } else {
            assert_eq!(status, 502, "{name}: {}", String::from_utf8_lossy(&body));
            assert!(!String::from_utf8_lossy(&body).contains("male"), "{name}");
        }
        let (status, body, _) = read(&url, &doctor).await;
        assert!([404, 502].contains(&status), "{name}: {}", String::from_utf8_lossy(&body));
    }
    House::log_is_sound(house.folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_sends_such_a_text_is_told_so_and_nothing_goes_upstream() {
    let (house, script, shelf) = house().await;
    let stored = r#"{"resourceType":"Patient","id":"h1","meta":{"versionId":"1"},"gender":"male"}"#;
    *script.lock() = Script::Json(200, vec![("ETag", "W/\"1\"".to_owned())], stored.into());
    let token = house.token(Persona::RecordsOfficer);
    let client =
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let mut written = 0;
    for (name, text, fate) in corpus::all() {
        let request = http::Request::put(format!("{}/Patient/h1", house.base))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/fhir+json")
            .body(Full::new(Bytes::from(text.clone())))
            .unwrap();
        let status = client.request(request).await.unwrap().status();
        let heard = shelf.heard();
        if fate == Fate::Refused {
            assert!(heard.iter().all(|h| h.method == "GET"), "{name}: {heard:?}");
            assert!([400, 413].contains(&status.as_u16()), "{name}: {status}");
        }
        written += heard.iter().filter(|h| h.method == "PUT").count();
    }
    assert!(written > 3, "what is sound is written: {written}");
    // Nor does a batch hide one.
    for (name, text, _) in
        corpus::all().into_iter().filter(|(n, _, f)| *f == Fate::Refused && !n.starts_with("cut"))
    {
        let entry = br#"{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"PUT","url":"Patient/h1"},"resource":"#;
        let request = http::Request::post(format!("{}/", house.base))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/fhir+json")
            .body(Full::new(Bytes::from([entry, &text[..], b"}]}"].concat())))
            .unwrap();
        client.request(request).await.unwrap();
        let heard = shelf.heard();
        assert!(heard.iter().all(|h| h.method == "GET"), "{name}: {heard:?}");
    }
}

/// Whatever the framing says: a length that is not reached, no last chunk, or an end in the middle of the text.
fn broken(part: &[u8], whole: &[u8]) -> [Script; 3] {
    [
        Script::Cut(part.to_vec(), whole.len() - part.len()),
        Script::Chunks(part.to_vec(), false),
        Script::Chunks(part.to_vec(), true),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_cut_off_at_any_byte_never_ends_as_valid_json() {
    let (house, script, _shelf) = house().await;
    let entry = |id: &str| {
        format!(
            r#"{{"fullUrl":"http://h/Patient/{id}","resource":{{"resourceType":"Patient","id":"{id}","gender":"male","birthDate":"1980-02-03"}},"search":{{"mode":"match"}}}}"#
        )
    };
    let whole = format!(
        r#"{{"resourceType":"Bundle","type":"searchset","total":2,"entry":[{},{}]}}"#,
        entry("p1"),
        entry("p2")
    );
    let tokens = [
        house.token(Persona::RecordsOfficer),
        house.token(Persona::Doctor),
        house.token(Persona::Researcher),
    ];
    for end in 0..whole.len() {
        for (n, broken) in broken(&whole.as_bytes()[..end], whole.as_bytes()).into_iter().enumerate() {
            *script.lock() = broken;
            let token = &tokens[(end + n) % tokens.len()];
            let (status, body, ended) = read(&format!("{}/Patient", house.base), token).await;
            let text = String::from_utf8_lossy(&body);
            assert!(status == 502 || !ended, "{end}: {status} {text}");
            assert!(
                !text.contains("searchset") || serde_json::from_slice::<serde_json::Value>(&body).is_err(),
                "{end}: {text}"
            );
        }
    }
    *script.lock() = Script::Chunks(whole.clone().into_bytes(), true);
    let (status, body, ended) = read(&format!("{}/Patient", house.base), &tokens[0]).await;
    assert!(status == 200 && ended && serde_json::from_slice::<serde_json::Value>(&body).is_ok());
    House::log_is_sound(house.folder.path());
}
