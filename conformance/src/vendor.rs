//! Scripted servers that behave as Epic's and Oracle Health's (Millennium) FHIR interfaces are documented to, with bodies
//! of our own: required parameters, unknown ones passed over, opaque pages, long ids, errors in the vendor's words.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::Outcome;
use crate::stub::{Asked, Script, Stub};

/// Whose ways it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// Epic.
    Epic,
    /// Oracle Health Millennium.
    OracleHealth,
}

/// Beyond the 64 characters that FHIR allows, with the marks that Epic's ids have.
pub const PATIENT: &str = "eVendor.Patient-0123456789.abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ3";
/// Somebody with whom nobody has to do.
pub const STRANGER: &str = "eVendor.Stranger-1";
/// A patient who was merged into [`PATIENT`].
pub const MERGED: &str = "eVendor.Merged-2";
/// Stands in every error of the server, and in whatever must not leave.
pub const SAID: &str = "Vendor-Diagnostics-4417";
/// Known to the server, searched through, and in no record that it returns.
pub const SSN: &str = "900-55-0123";
/// Where the numbers above belong.
pub const SSN_SYSTEM: &str = "http://hl7.org/fhir/sid/us-ssn";
/// Where the hospital's own numbers belong.
pub const MRN_SYSTEM: &str = "urn:oid:1.2.3.4.5";
/// How many observations the patient has.
pub const OBSERVATIONS: usize = 5;

const PAGE: usize = 3;
const CODINGS: &str = "urn:oid:1.2.3.999";

/// The server.
pub struct Server {
    stub: Stub,
    vendor: Vendor,
}

struct State {
    vendor: Vendor,
    /// By `Type/id`: version and record.
    records: BTreeMap<String, (u64, Value)>,
    elsewhere: String,
}

impl Server {
    /// Starts one. `elsewhere` is the foreign host to which it redirects.
    pub fn start(vendor: Vendor, elsewhere: &str) -> Outcome<Self> {
        let state = State { vendor, records: records(vendor), elsewhere: elsewhere.to_owned() };
        let state = Mutex::new(state);
        let stub =
            Stub::start(move |asked| state.lock().unwrap_or_else(PoisonError::into_inner).answer(asked))?;
        Ok(Self { stub, vendor })
    }

    /// Its dialect in a configuration.
    pub fn dialect(&self) -> &'static str {
        match self.vendor {
            Vendor::Epic => "epic",
            Vendor::OracleHealth => "oracle-health",
        }
    }

    /// Its address; `/fhir` follows.
    pub fn url(&self) -> &str {
        self.stub.url()
    }

    /// What it was asked below `/fhir`, the statement left out.
    pub fn asked(&self) -> Vec<Asked> {
        self.stub.asked().into_iter().filter(|a| a.target != "/fhir/metadata").collect()
    }
}

fn records(vendor: Vendor) -> BTreeMap<String, (u64, Value)> {
    let rank = if vendor == Vendor::OracleHealth { json!("1") } else { json!(1) };
    let patient = |id: &str, family: &str| {
        json!({
            "resourceType": "Patient", "id": id, "active": true,
            "identifier": [{"use": "usual", "system": MRN_SYSTEM, "value": format!("     {family}-Z6129")}],
            "name": [{"use": "official", "family": family, "given": ["Quillon"]}],
            "telecom": [{"system": "phone", "value": "555-013-2244", "use": "home", "rank": rank}],
            "gender": "male", "birthDate": "1971-04-05",
            "generalPractitioner": [{"reference": if id == PATIENT { "Practitioner/d" } else { "Practitioner/nobody" }}],
        })
    };
    let mut all = vec![patient(PATIENT, "Vantongeren"), patient(STRANGER, "Strangerson")];
    for number in 0..OBSERVATIONS {
        all.push(json!({
            "resourceType": "Observation", "id": format!("{PATIENT}.obs-{number}"), "meta": {"versionId": "1"}, "status": "final",
            "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}]}],
            "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}], "text": "Heart rate"},
            "subject": {"reference": format!("Patient/{PATIENT}")}, "effectiveDateTime": "2026-10-01T08:00:00Z",
            "valueQuantity": {"value": 60 + number, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"},
        }));
    }
    let name = |r: &Value| {
        format!("{}/{}", r["resourceType"].as_str().unwrap_or(""), r["id"].as_str().unwrap_or(""))
    };
    all.into_iter().map(|record| (name(&record), (1, record))).collect()
}

/// An OperationOutcome in the vendor's words.
fn outcome(severity: &str, code: &str, number: &str) -> Value {
    json!({"resourceType": "OperationOutcome", "issue": [{
        "severity": severity, "code": code,
        "details": {"coding": [{"system": CODINGS, "code": number, "display": SAID}], "text": SAID},
        "diagnostics": format!("{SAID} about {PATIENT}"), "location": [format!("/f:{SAID}")],
    }]})
}

impl State {
    fn script(&self, status: u16, body: &Value, more: &[(&'static str, String)]) -> Script {
        let mut headers = vec![
            ("Content-Type", "application/fhir+json;charset=utf-8".to_owned()),
            ("Set-Cookie", format!("SESSION={SAID}; HttpOnly")),
            ("X-Request-Id", SAID.to_owned()),
            ("opc-request-id", SAID.to_owned()),
            ("Server", SAID.to_owned()),
        ];
        headers.extend(more.iter().cloned());
        Script::Answer {
            status,
            headers,
            body: if body.is_null() { Vec::new() } else { body.to_string().into_bytes() },
        }
    }

    fn fault(&self, status: u16, code: &str, number: &str) -> Script {
        self.script(status, &outcome("error", code, number), &[])
    }

    fn plain(&self, status: u16, more: &[(&'static str, String)]) -> Script {
        let mut headers = vec![("Content-Type", "text/plain".to_owned())];
        headers.extend(more.iter().cloned());
        Script::Answer { status, headers, body: format!("{SAID}: bad request").into_bytes() }
    }

    fn answer(&mut self, asked: &Asked) -> Script {
        let target = asked.target.strip_prefix("/fhir").unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let pairs: Vec<(String, String)> = query
            .split('&')
            .filter(|p| !p.is_empty())
            .map(|p| p.split_once('=').unwrap_or((p, "")))
            .map(|(n, v)| (decode(n), decode(v)))
            .collect();
        // Both take another method's word for it, from a header or a parameter.
        let overridden = pairs.iter().find(|(n, _)| n == "_method").map(|(_, v)| v.clone());
        let method = asked.header("x-http-method-override").map(str::to_owned).or(overridden);
        let method = method.unwrap_or_else(|| asked.method.clone());
        let parts: Vec<String> = path.split('/').filter(|p| !p.is_empty()).map(decode).collect();
        let base = format!("http://{}/fhir", asked.header("host").unwrap_or_default());
        match (method.as_str(), parts.as_slice()) {
            ("GET", [only]) if only == "metadata" => self.script(200, &statement(), &[]),
            ("GET", [kind, id]) => self.read(kind, id, &base),
            ("GET", [kind]) => self.search(kind, &pairs, &base),
            ("POST", [kind]) => self.create(kind, &asked.body, &base),
            ("PUT", [kind, id]) => self.update(kind, id, asked),
            ("DELETE", [kind, id]) => {
                self.records.remove(&format!("{kind}/{id}"));
                self.script(204, &Value::Null, &[])
            }
            _ => self.plain(400, &[]),
        }
    }

    fn read(&self, kind: &str, id: &str, base: &str) -> Script {
        match id {
            MERGED => {
                let to = format!("{base}/Patient/{PATIENT}");
                self.script(302, &outcome("warning", "processing", "4107"), &[("Location", to)])
            }
            "moved" => self.plain(307, &[("Location", format!("{}/signed?{SAID}", self.elsewhere))]),
            "busy" => self.script(429, &outcome("error", "throttled", "1"), &[("Retry-After", "120".into())]),
            "busy-until" => self.script(
                429,
                &outcome("error", "throttled", "1"),
                &[("Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT".into())],
            ),
            "plain" => self.plain(400, &[]),
            "unsigned" => self.script(
                401,
                &outcome("error", "login", "4118"),
                &[("WWW-Authenticate", format!("Bearer {SAID}"))],
            ),
            "glass" => self.fault(403, "suppressed", "4130"),
            _ => match self.records.get(&format!("{kind}/{id}")) {
                Some((version, record)) => self.script(200, record, &[("ETag", format!("W/\"{version}\""))]),
                None => self.fault(404, "not-found", "4102"),
            },
        }
    }

    fn search(&self, kind: &str, pairs: &[(String, String)], base: &str) -> Script {
        let value =
            |names: &[&str]| pairs.iter().find(|(n, _)| names.contains(&n.as_str())).map(|(_, v)| v.as_str());
        if let Some(session) = value(&["sessionID", "pageContext"]) {
            return match session {
                "17-8A3C" => self.second_page(),
                // The session was kept for a while only.
                _ => self.fault(400, "expired", "4113"),
            };
        }
        let patient = value(&["patient", "subject"]).map(|v| v.trim_start_matches("Patient/").to_owned());
        let known: &[&str] =
            &["_id", "_count", "patient", "subject", "category", "code", "identifier", "family"];
        let unknown: Vec<&str> =
            pairs.iter().map(|(n, _)| n.as_str()).filter(|n| !known.contains(n)).collect();
        if self.vendor == Vendor::OracleHealth && !unknown.is_empty() {
            return self.plain(400, &[]);
        }
        if kind == "Observation" {
            if patient.is_none() && value(&["_id"]).is_none() {
                return self.fault(400, "required", "59159");
            }
            if self.vendor == Vendor::Epic && value(&["category", "code", "_id"]).is_none() {
                return self.fault(400, "required", "59111");
            }
        }
        let number = |v: &str| v.split_once('|').map_or(v.to_owned(), |(_, number)| number.to_owned());
        let mut found: Vec<&Value> = self.records.values().map(|(_, r)| r).collect();
        found.retain(|r| {
            let about = if kind == "Patient" { r["id"].as_str().unwrap_or("") } else { "" };
            r["resourceType"] == kind
                && patient.as_ref().is_none_or(|p| r["subject"]["reference"] == format!("Patient/{p}"))
                && value(&["_id"]).is_none_or(|ids| ids.split(',').any(|id| r["id"] == id))
                && value(&["code"]).is_none_or(|c| c.ends_with("8867-4"))
                && value(&["family"]).is_none_or(|f| r["name"][0]["family"] == f)
                // The number is matched, and stands in no record.
                && value(&["identifier"]).is_none_or(|i| {
                    number(i) == SSN && about == PATIENT
                        || r["identifier"][0]["value"].as_str().is_some_and(|v| v.trim() == number(i).trim())
                })
        });
        let mut entries: Vec<Value> = Vec::new();
        if !unknown.is_empty() {
            entries.push(told(&outcome("warning", "processing", "59100")));
        }
        if found.is_empty() {
            // Nothing found is a warning, with a total of nothing.
            entries.push(told(&outcome("warning", "not-found", "4101")));
            let bundle = json!({"resourceType": "Bundle", "type": "searchset", "total": 0, "entry": entries});
            return self.script(200, &bundle, &[]);
        }
        let more = found.len() > PAGE;
        let total = found.len();
        entries.extend(found.into_iter().take(PAGE).map(|r| matched(base, r)));
        let mut link = vec![json!({"relation": "self", "url": format!("{base}/{kind}?{SAID}")})];
        if more {
            let next = match self.vendor {
                Vendor::Epic => format!("{base}/{kind}?sessionID=17-8A3C"),
                Vendor::OracleHealth => format!("{base}/{kind}?pageContext=17-8A3C&direction=NEXT"),
            };
            link.push(json!({"relation": "next", "url": next}));
        }
        let bundle = json!({"resourceType": "Bundle", "type": "searchset", "total": total, "link": link, "entry": entries});
        self.script(200, &bundle, &[])
    }

    /// What is left, and the last one of the first page once more.
    fn second_page(&self) -> Script {
        let all: Vec<&Value> =
            self.records.values().map(|(_, r)| r).filter(|r| r["resourceType"] == "Observation").collect();
        let entries: Vec<Value> = all.into_iter().skip(PAGE - 1).map(|r| matched("", r)).collect();
        self.script(200, &json!({"resourceType": "Bundle", "type": "searchset", "entry": entries}), &[])
    }

    fn create(&mut self, kind: &str, body: &[u8], base: &str) -> Script {
        let Ok(mut record) = serde_json::from_slice::<Value>(body) else {
            return self.fault(400, "structure", "1");
        };
        let same = |r: &Value| {
            r["valueQuantity"] == record["valueQuantity"] && r["code"]["coding"] == record["code"]["coding"]
        };
        if self.records.values().any(|(_, r)| r["resourceType"] == kind && same(r)) {
            return self.fault(422, "duplicate", "59141");
        }
        let id = format!("eVendor.new-{}", self.records.len());
        record["id"] = json!(id);
        self.records.insert(format!("{kind}/{id}"), (1, record));
        // Where it is, and no body.
        self.script(
            201,
            &Value::Null,
            &[("Location", format!("{base}/{kind}/{id}")), ("ETag", "W/\"1\"".into())],
        )
    }

    fn update(&mut self, kind: &str, id: &str, asked: &Asked) -> Script {
        let key = format!("{kind}/{id}");
        let Some(version) = self.records.get(&key).map(|(v, _)| *v) else {
            return self.fault(404, "not-found", "4102");
        };
        match asked.header("if-match") {
            None => self.fault(412, "required", "59204"),
            Some(held) if held != format!("W/\"{version}\"") => self.stale(),
            // Somebody else was faster, after the version was read and before this arrived.
            Some(_) if String::from_utf8_lossy(&asked.body).contains("\"value\":499") => {
                if let Some((version, _)) = self.records.get_mut(&key) {
                    *version += 1;
                }
                self.stale()
            }
            Some(_) => {
                let Ok(record) = serde_json::from_slice(&asked.body) else {
                    return self.fault(400, "structure", "1");
                };
                self.records.insert(key, (version + 1, record));
                self.script(200, &Value::Null, &[("ETag", format!("W/\"{}\"", version + 1))])
            }
        }
    }

    fn stale(&self) -> Script {
        self.fault(if self.vendor == Vendor::OracleHealth { 409 } else { 412 }, "conflict", "4109")
    }
}

fn matched(base: &str, record: &Value) -> Value {
    let (kind, id) = (record["resourceType"].as_str().unwrap_or(""), record["id"].as_str().unwrap_or(""));
    let mut entry = json!({"resource": record, "search": {"mode": "match"}});
    if !base.is_empty() {
        entry["fullUrl"] = json!(format!("{base}/{kind}/{id}"));
    }
    entry
}

fn told(outcome: &Value) -> Value {
    json!({"resource": outcome, "search": {"mode": "outcome"}})
}

fn statement() -> Value {
    let resource = |kind: &str| {
        let codes = ["read", "search-type", "create", "update"].map(|code| json!({"code": code}));
        json!({"type": kind, "interaction": codes})
    };
    json!({
        "resourceType": "CapabilityStatement", "status": "active", "date": "2026-01-01", "kind": "instance",
        "fhirVersion": "4.0.1", "format": ["json"],
        "rest": [{"mode": "server", "resource": [resource("Patient"), resource("Observation")]}],
    })
}
