//! A small FHIR server for tests of writes: versions, `If-Match`, deletes, searches by what stands in a record, and a
//! memory of what it was asked.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Barrier;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub method: Method,
    pub target: String,
    pub if_match: Option<String>,
    pub if_none_exist: Option<String>,
    pub body: Value,
}

#[derive(Default)]
struct State {
    /// By `Type/id`: the number of the version, and the record unless it was deleted.
    records: BTreeMap<String, (u64, Option<Value>)>,
    asked: Vec<Asked>,
    made: u64,
    /// Reads of that record wait for each other.
    meet: Option<(String, Arc<Barrier>)>,
}

/// The server; clones share what it holds.
#[derive(Clone, Default)]
pub(crate) struct Shelf {
    state: Arc<Mutex<State>>,
    pub url: String,
}

impl Shelf {
    pub(crate) async fn of(records: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/fhir", listener.local_addr().unwrap());
        let shelf = Self { state: Arc::default(), url };
        for record in records {
            shelf.put(record);
        }
        let served = shelf.clone();
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let shelf = served.clone();
                let service = hyper::service::service_fn(move |request| {
                    let shelf = shelf.clone();
                    async move { Ok::<_, std::convert::Infallible>(shelf.answer(request).await) }
                });
                tokio::spawn(async move {
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        shelf
    }

    /// Stores a record as its next version.
    pub(crate) fn put(&self, mut record: Value) -> (u64, Value) {
        let key = format!("{}/{}", record["resourceType"].as_str().unwrap(), record["id"].as_str().unwrap());
        let mut state = self.state.lock();
        let version = state.records.get(&key).map_or(0, |(version, _)| *version) + 1;
        record["meta"]["versionId"] = json!(version.to_string());
        state.records.insert(key, (version, Some(record.clone())));
        (version, record)
    }

    pub(crate) fn get(&self, key: &str) -> Option<Value> {
        self.state.lock().records.get(key).and_then(|(_, record)| record.clone())
    }

    pub(crate) fn count(&self, kind: &str) -> usize {
        let state = self.state.lock();
        state
            .records
            .iter()
            .filter(|(key, (_, r))| key.starts_with(&format!("{kind}/")) && r.is_some())
            .count()
    }

    /// What it was asked since this was last asked.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().asked)
    }

    /// The writes among them.
    pub(crate) fn writes(&self) -> Vec<Asked> {
        self.asked().into_iter().filter(|a| a.method != Method::GET).collect()
    }

    /// The next two reads of a record get their answers at the same time.
    pub(crate) fn meet_at(&self, key: &str) {
        self.state.lock().meet = Some((key.to_owned(), Arc::new(Barrier::new(2))));
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let mut bytes = Vec::new();
        let mut body = body;
        while let Some(frame) = body.frame().await {
            bytes.extend_from_slice(frame.unwrap().data_ref().unwrap_or(&Bytes::new()));
        }
        let text = |name: &str| head.headers.get(name).map(|v| v.to_str().unwrap().to_owned());
        let target = head.uri.path_and_query().unwrap().as_str().strip_prefix("/fhir").unwrap();
        let target = target.trim_start_matches('/').to_owned();
        let asked = Asked {
            method: head.method,
            target: target.clone(),
            if_match: text("if-match"),
            if_none_exist: text("if-none-exist"),
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
        };
        self.state.lock().asked.push(asked.clone());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let (kind, id) = path.split_once('/').unwrap_or((path, ""));
        match (asked.method.clone(), id) {
            (Method::POST, "") if kind.is_empty() => self.transaction(&asked.body),
            (Method::GET, "") => self.search(kind, query),
            (Method::GET, _) => {
                let found = self.state.lock().records.get(path).cloned();
                let meet = self.state.lock().meet.clone().filter(|(key, _)| key == path);
                if let Some((_, barrier)) = meet {
                    barrier.wait().await;
                    self.state.lock().meet = None;
                }
                match found {
                    Some((version, Some(record))) => whole(200, version, &record),
                    Some((_, None)) => error(410),
                    None => error(404),
                }
            }
            (Method::POST, "") => {
                let id = {
                    let mut state = self.state.lock();
                    state.made += 1;
                    format!("made{}", state.made)
                };
                let mut record = asked.body;
                record["id"] = json!(id);
                let (version, record) = self.put(record);
                let mut answer = whole(201, version, &record);
                let location = format!("{}/{kind}/{id}/_history/{version}", self.url);
                answer.headers_mut().insert("location", location.parse().unwrap());
                answer
            }
            (method, _) => {
                let current = self.state.lock().records.get(path).cloned();
                let Some((version, Some(_))) = current else { return error(404) };
                // As HAPI says it.
                if asked.if_match.is_some_and(|wanted| wanted != format!("W/\"{version}\"")) {
                    return error(409);
                }
                if method == Method::DELETE {
                    self.state.lock().records.insert(path.to_owned(), (version + 1, None));
                    return Response::builder().status(204).body(Full::default()).unwrap();
                }
                let (version, record) = self.put(asked.body);
                whole(200, version, &record)
            }
        }
    }

    /// All of it or nothing.
    fn transaction(&self, bundle: &Value) -> Response<Full<Bytes>> {
        let entries = bundle["entry"].as_array().unwrap();
        for entry in entries {
            let request = &entry["request"];
            let current = self.state.lock().records.get(request["url"].as_str().unwrap()).map(|(v, _)| *v);
            if request["ifMatch"].is_string()
                && current.map(|v| json!(format!("W/\"{v}\""))) != Some(request["ifMatch"].clone())
            {
                return error(409);
            }
        }
        let mut text = bundle.to_string();
        let mut ids = Vec::new();
        for entry in entries.iter().filter(|e| e["request"]["method"] == "POST") {
            let mut state = self.state.lock();
            state.made += 1;
            let id = format!("made{}", state.made);
            if let Some(urn) = entry["fullUrl"].as_str() {
                let name = format!("{}/{id}", entry["request"]["url"].as_str().unwrap());
                text =
                    text.replace(&format!("\"reference\":\"{urn}\""), &format!("\"reference\":\"{name}\""));
            }
            ids.push(id);
        }
        let bundle: Value = serde_json::from_str(&text).unwrap();
        let mut ids = ids.into_iter();
        let told: Vec<Value> = bundle["entry"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                let mut record = entry["resource"].clone();
                let url = entry["request"]["url"].as_str().unwrap();
                match entry["request"]["method"].as_str().unwrap() {
                    "DELETE" => {
                        self.state.lock().records.insert(url.to_owned(), (9, None));
                        return json!({"response": {"status": "204"}});
                    }
                    "POST" => record["id"] = json!(ids.next().unwrap()),
                    _ => {}
                }
                let (version, record) = self.put(record);
                let name = format!("{}/{}/_history/{version}", record["resourceType"].as_str().unwrap(), record["id"].as_str().unwrap());
                json!({"response": {"status": "201 Created", "location": name, "etag": format!("W/\"{version}\"")}})
            })
            .collect();
        whole(200, 1, &json!({"resourceType": "Bundle", "type": "transaction-response", "entry": told}))
    }

    /// Records that hold every value that is asked for, somewhere.
    fn search(&self, kind: &str, query: &str) -> Response<Full<Bytes>> {
        let pairs: Vec<(&str, &str)> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let number = |name: &str| pairs.iter().find(|(n, _)| *n == name).and_then(|(_, v)| v.parse().ok());
        let (count, offset): (usize, usize) =
            (number("_count").unwrap_or(50), number("_offset").unwrap_or(0));
        let state = self.state.lock();
        let found: Vec<&Value> = state
            .records
            .iter()
            .filter(|(key, _)| key.starts_with(&format!("{kind}/")))
            .filter_map(|(_, (_, record))| record.as_ref())
            .filter(|record| {
                let text = record.to_string();
                let criteria = pairs.iter().filter(|(name, _)| !["_count", "_offset"].contains(name));
                criteria.into_iter().all(|(_, value)| {
                    let value = value.replace("%2F", "/").replace("%7C", "|").replace("%2C", ",");
                    value.split(',').any(|v| text.contains(v.rsplit('|').next().unwrap_or(v)))
                })
            })
            .collect();
        let entries: Vec<Value> = found
            .iter()
            .skip(offset)
            .take(count)
            .map(|r| json!({"resource": r, "search": {"mode": "match"}}))
            .collect();
        let mut bundle =
            json!({"resourceType": "Bundle", "type": "searchset", "total": found.len(), "entry": entries});
        if found.len() > offset + count {
            let rest: Vec<String> =
                pairs.iter().filter(|(n, _)| *n != "_offset").map(|(n, v)| format!("{n}={v}")).collect();
            let next = format!("{}/{kind}?{}&_offset={}", self.url, rest.join("&"), offset + count);
            bundle["link"] = json!([{"relation": "next", "url": next}]);
        }
        whole(200, 1, &bundle)
    }
}

fn whole(status: u16, version: u64, body: &Value) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", "application/fhir+json")
        .header("etag", format!("W/\"{version}\""))
        .body(Full::from(body.to_string()))
        .unwrap()
}

fn error(status: u16) -> Response<Full<Bytes>> {
    let body = json!({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "processing",
        "diagnostics": "Canary-Upstream-Words"}]});
    let mut response = whole(200, 1, &body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}
