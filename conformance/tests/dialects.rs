//! Drape before servers that behave as Epic and Oracle Health document it: what differs is borne, nothing of the
//! vendor's own words leaves, and no vendor's habit opens a way around the shield.
//!
//! None of this needs Java, Node or Python.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::collections::BTreeSet;

use drape_conformance::drape::{Drape, Settings, executable};
use drape_conformance::http::{Call, Reply, encode};
use drape_conformance::issuer::Own;
use drape_conformance::judge::refusal;
use drape_conformance::stub::{Script, Stub};
use drape_conformance::vendor::{
    MERGED, MRN_SYSTEM, OBSERVATIONS, PATIENT, SAID, SSN, SSN_SYSTEM, STRANGER, Server, Vendor,
};
use drape_demo::Persona;
use serde_json::{Value, json};
use tempfile::TempDir;

const BOTH: [Vendor; 2] = [Vendor::Epic, Vendor::OracleHealth];
const MEDIA: &str = "application/fhir+json";

struct Bench {
    server: Server,
    elsewhere: Stub,
    drape: Drape,
    issuer: Own,
    _folder: TempDir,
}

impl Bench {
    fn before(vendor: Vendor) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = Stub::start(|_| Script::json(format!("{{\"resourceType\":\"{SAID}\"}}"))).unwrap();
        let server = Server::start(vendor, elsewhere.url()).unwrap();
        let doctor = json!({"resourceType": "Practitioner", "id": "d"});
        let practitioner = json!([{"reference": "Practitioner/d"}]);
        let patient = json!({"resourceType": "Patient", "id": PATIENT, "birthDate": "1971-04-05", "generalPractitioner": practitioner});
        let issuer = Own::start(&[doctor, patient]).unwrap();
        let upstream = format!("{}/fhir", server.url());
        let settings = Settings::new(&upstream, server.dialect(), issuer.url(), "ES256");
        let drape =
            Drape::start(&executable(env!("CARGO_BIN_EXE_drape-subject")).clone(), folder.path(), settings)
                .unwrap();
        Self { server, elsewhere, drape, issuer, _folder: folder }
    }

    fn call(&self, persona: Persona, call: Call) -> Reply {
        call.bearer(&self.issuer.token(persona, &self.drape.base).unwrap()).send().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.drape.base)
    }

    fn get(&self, persona: Persona, path: &str) -> Reply {
        self.call(persona, Call::get(self.url(path)))
    }

    /// Refused with that status; nothing of what the server said is in it. Gives the issue codes.
    fn refused(&self, persona: Persona, path: &str, status: u16) -> Vec<String> {
        self.silent(&self.get(persona, path), status)
    }

    fn silent(&self, reply: &Reply, status: u16) -> Vec<String> {
        let codes = refusal(reply, status).unwrap();
        let all = reply.everything();
        assert!(!all.contains(SAID) && !all.contains("1.2.3.999"), "{all}");
        codes
    }

    fn put(&self, id: &str, body: &Value, version: Option<&str>) -> Reply {
        let mut call = Call::new("PUT", self.url(&format!("Observation/{id}"))).body(MEDIA, body.to_string());
        if let Some(version) = version {
            call = call.header("If-Match", version);
        }
        self.call(Persona::Doctor, call)
    }
}

fn entries(reply: &Reply) -> Vec<Value> {
    reply.json().unwrap()["entry"].as_array().cloned().unwrap_or_default()
}

fn next(reply: &Reply) -> Option<String> {
    let bundle = reply.json().unwrap();
    let links = bundle["link"].as_array().cloned().unwrap_or_default();
    links.iter().find(|l| l["relation"] == "next").and_then(|l| l["url"].as_str().map(str::to_owned))
}

fn observation(id: Option<&str>, value: u32) -> Value {
    let mut body = json!({
        "resourceType": "Observation", "status": "final", "subject": {"reference": format!("Patient/{PATIENT}")},
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "valueQuantity": {"value": value, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"},
    });
    if let Some(id) = id {
        body["id"] = json!(id);
    }
    body
}

fn search() -> String {
    format!("Observation?patient=Patient/{PATIENT}&category=laboratory")
}

#[test]
fn long_ids_leading_blanks_and_ranks_that_are_strings_pass_as_they_are() {
    for vendor in BOTH {
        let bench = Bench::before(vendor);
        let whole = bench.get(Persona::RecordsOfficer, &format!("Patient/{PATIENT}")).expect(200).unwrap();
        let record = whole.json().unwrap();
        assert_eq!(record["id"], PATIENT);
        assert!(PATIENT.len() > 64);
        assert_eq!(record["identifier"][0]["value"], "     Vantongeren-Z6129");
        assert_eq!(record["telecom"][0]["rank"].is_string(), vendor == Vendor::OracleHealth);
        let doctors = bench.get(Persona::Doctor, &format!("Patient/{PATIENT}")).expect(200).unwrap();
        assert_eq!(doctors.json().unwrap()["name"][0]["family"], "Vantongeren");
        bench.refused(Persona::Doctor, &format!("Patient/{STRANGER}"), 404);
        let nobody = bench.get(Persona::Attacker, &format!("Patient/{PATIENT}"));
        assert!(!nobody.text().contains("Vantongeren"), "{}", nobody.text());
        for reply in [&whole, &doctors] {
            for name in ["set-cookie", "x-request-id", "opc-request-id", "server"] {
                assert!(reply.header(name).is_none_or(|v| !v.contains(SAID)), "{name}");
            }
        }
        bench.drape.verify().unwrap();
    }
}

#[test]
fn pages_are_followed_through_sealed_links_to_the_end_with_their_duplicates() {
    for vendor in BOTH {
        let bench = Bench::before(vendor);
        let mut reply = bench.get(Persona::Doctor, &search()).expect(200).unwrap();
        let mut found = Vec::new();
        loop {
            for opaque in ["sessionID", "pageContext", "direction", SAID] {
                assert!(!reply.text().contains(opaque), "{opaque} in {}", reply.text());
            }
            found.extend(entries(&reply).iter().map(|e| e["resource"]["id"].as_str().unwrap().to_owned()));
            let Some(url) = next(&reply) else { break };
            // It opens to nobody else.
            let stolen = bench.call(Persona::RecordsOfficer, Call::get(&url));
            assert_eq!(stolen.status, 410, "{}", stolen.text());
            reply = bench.call(Persona::Doctor, Call::get(url)).expect(200).unwrap();
        }
        assert_eq!(found.len(), OBSERVATIONS + 1, "{vendor:?}: {found:?}");
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), OBSERVATIONS);
        bench.drape.verify().unwrap();
    }
}

#[test]
fn what_the_server_insists_on_is_asked_for_before_anything_is_sent() {
    let epic = Bench::before(Vendor::Epic);
    for persona in [Persona::Doctor, Persona::RecordsOfficer] {
        let reply = epic.get(persona, &format!("Observation?patient=Patient/{PATIENT}"));
        assert_eq!(epic.silent(&reply, 400), ["required"]);
        assert!(reply.text().contains("`category` or `code`"), "{}", reply.text());
    }
    let oracle = Bench::before(Vendor::OracleHealth);
    for bench in [&epic, &oracle] {
        let reply = bench.get(Persona::RecordsOfficer, "Observation?code=8867-4");
        assert_eq!(bench.silent(&reply, 400), ["required"]);
        assert!(reply.text().contains("`patient`, `subject` or `_id`"), "{}", reply.text());
        assert!(bench.server.asked().is_empty());
        // Where policy holds a search to somebody's patients, they are named without the caller doing it.
        let narrowed = bench.get(Persona::Doctor, "Observation?code=8867-4").expect(200).unwrap();
        assert!(
            entries(&narrowed).iter().all(|e| e["resource"]["id"].as_str().unwrap().starts_with(PATIENT))
        );
    }
    oracle.refused(Persona::RecordsOfficer, "Patient", 400);
    oracle.get(Persona::Doctor, &format!("Observation?patient=Patient/{PATIENT}")).expect(200).unwrap();
}

#[test]
fn a_parameter_that_the_server_passes_over_widens_nothing_and_its_warning_reaches_only_those_who_see_everything()
 {
    let bench = Bench::before(Vendor::Epic);
    // `status` is FHIR's, and this server does not know it.
    let asked = format!("{}&status=cancelled", search());
    let doctors = bench.get(Persona::Doctor, &asked).expect(200).unwrap();
    assert!(!doctors.text().contains(SAID), "{}", doctors.text());
    assert!(
        entries(&doctors)
            .iter()
            .all(|e| e["resource"]["subject"]["reference"] == format!("Patient/{PATIENT}"))
    );
    let officers = bench.get(Persona::RecordsOfficer, &asked).expect(200).unwrap();
    assert_eq!(entries(&officers)[0]["search"]["mode"], "outcome");
    // Of a search over people a doctor is shown her own patients, whatever the server makes of it.
    let everybody = bench.get(Persona::Doctor, "Patient?gender=female").expect(200).unwrap();
    assert!(
        !everybody.text().contains("Strangerson") && everybody.text().contains("Vantongeren"),
        "{}",
        everybody.text()
    );
    // What FHIR does not define is never sent.
    let before = bench.server.asked().len();
    bench.refused(Persona::Doctor, &format!("{}&no-such-parameter=1", search()), 400);
    assert_eq!(bench.server.asked().len(), before);
    // Nor is what only changes how the answer looks.
    bench
        .get(Persona::RecordsOfficer, &format!("{}&_elements=code&_total=accurate", search()))
        .expect(200)
        .unwrap();
    let sent = bench.server.asked().pop().unwrap().target;
    assert!(!sent.contains("_elements") && !sent.contains("_total"), "{sent}");
}

#[test]
fn nothing_found_is_an_empty_page_without_the_servers_words() {
    for vendor in BOTH {
        let bench = Bench::before(vendor);
        let reply = bench.get(Persona::Doctor, "Patient?family=Nobody-Of-That-Name").expect(200).unwrap();
        assert!(entries(&reply).is_empty(), "{}", reply.text());
        assert!(!reply.text().contains(SAID));
    }
}

#[test]
fn lv_10_error_bodies_of_the_vendor_are_replaced_whatever_they_are_written_in() {
    for vendor in BOTH {
        let bench = Bench::before(vendor);
        let busy = bench.get(Persona::Doctor, "Patient/busy");
        assert_eq!(bench.silent(&busy, 429), ["throttled"]);
        assert_eq!(busy.header("retry-after"), Some("120"));
        // A date would tell the server's clock and whatever else it likes to write there.
        let until = bench.get(Persona::Doctor, "Patient/busy-until");
        bench.silent(&until, 429);
        assert_eq!(until.header("retry-after"), None);
        bench.refused(Persona::Doctor, "Patient/plain", 400);
        // What the server thinks of Drape's own credential is no answer to the caller.
        for path in ["Patient/unsigned", "Patient/glass"] {
            let reply = bench.get(Persona::Doctor, path);
            bench.silent(&reply, 502);
            assert_eq!(reply.header("www-authenticate"), None, "{path}");
        }
        // Gone and never there are one.
        assert_eq!(bench.refused(Persona::Doctor, "Patient/nobody-knows", 404), ["not-found"]);
        bench.drape.verify().unwrap();
    }
}

#[test]
fn redirects_to_a_merged_patient_and_to_a_foreign_host_are_neither_followed_nor_passed_on() {
    for vendor in BOTH {
        let bench = Bench::before(vendor);
        for id in [MERGED, "moved"] {
            let reply = bench.get(Persona::Doctor, &format!("Patient/{id}"));
            bench.silent(&reply, 502);
            assert_eq!(reply.header("location"), None);
        }
        assert!(bench.elsewhere.asked().is_empty(), "the redirect was followed");
        let followed = bench.server.asked().iter().any(|a| a.target.ends_with(PATIENT));
        assert!(!followed, "the merged patient was looked up");
    }
}

#[test]
fn lv_58_nothing_says_another_method_or_format_than_the_request_itself() {
    for vendor in BOTH {
        let bench = Bench::before(vendor);
        let own = format!("Patient/{PATIENT}");
        for name in [
            "X-HTTP-Method-Override",
            "X-HTTP-Method",
            "X-Method-Override",
            "X-Original-URL",
            "X-Rewrite-URL",
        ] {
            let reply = bench.call(Persona::Doctor, Call::get(bench.url(&own)).header(name, "DELETE"));
            bench.silent(&reply, 403);
        }
        for path in [
            format!("{own}?_method=DELETE"),
            format!("{}&_method=DELETE", search()),
            format!("{own}?_format=json&_format=xml"),
            format!("{}&_format=xml&_format=json", search()),
            format!("{own}?%5fmethod=DELETE"),
        ] {
            let reply = bench.get(Persona::Doctor, &path);
            assert!(matches!(reply.status, 400 | 403 | 406), "{path}: {}", reply.status);
        }
        bench.refused(Persona::Doctor, &format!("{own}?_format=text/turtle"), 406);
        let posted = Call::post(
            bench.url("Observation/_search"),
            "application/x-www-form-urlencoded",
            format!("patient={PATIENT}&_method=DELETE"),
        );
        let reply = bench.call(Persona::Doctor, posted);
        assert!(matches!(reply.status, 400 | 403), "{}", reply.status);
        assert!(bench.server.asked().is_empty(), "{:?}", bench.server.asked());
        // A parameter that stands once or twice is either one thing to everybody or refused.
        bench.refused(Persona::Doctor, &format!("{}&_count=1&_count=1000", search()), 400);
        let both = format!("{}&patient=Patient/{STRANGER}", search());
        let reply = bench.get(Persona::Doctor, &both);
        assert!(!reply.text().contains("Strangerson"), "{}", reply.text());
        // Afterwards the patient is still there, and no request had a method but its own.
        bench.get(Persona::Doctor, &own).expect(200).unwrap();
        let asked = bench.server.asked();
        assert!(!asked.is_empty());
        // Asked directly, the server takes the header's word for it.
        let direct = Call::get(format!("{}/fhir/{own}", bench.server.url()))
            .header("X-HTTP-Method-Override", "DELETE");
        assert_eq!(direct.send().unwrap().status, 204);
        bench.refused(Persona::Doctor, &own, 404);
        for asked in asked {
            assert_eq!(asked.method, "GET");
            assert!(asked.headers.iter().all(|(n, _)| !n.contains("override") && !n.contains("original")));
            assert!(
                !asked.target.contains("_method") && !asked.target.contains("_format"),
                "{}",
                asked.target
            );
        }
    }
}

#[test]
fn lv_64_numbers_that_are_matched_and_never_returned_cannot_be_guessed() {
    for vendor in BOTH {
        let bench = Bench::before(vendor);
        let mut guesses = vec![
            format!("Patient?identifier={}", encode(&format!("{SSN_SYSTEM}|{SSN}"))),
            format!("Patient?identifier={SSN}"),
            format!("Patient?identifier={}", encode(&format!("|{SSN}"))),
            format!("Patient?identifier={}", encode(&format!("{MRN_SYSTEM}|1,{SSN_SYSTEM}|{SSN}"))),
            format!("Patient?identifier={}", encode(&format!("urn:oid:2.16.840.1.113883.4.1|{SSN}"))),
            format!(
                "Patient?identifier:of-type={}",
                encode(&format!("http://terminology.hl7.org/CodeSystem/v2-0203|SS|{SSN}"))
            ),
            format!("Patient?_id={PATIENT}&identifier={SSN}"),
            format!("Observation?patient.identifier={SSN}&category=laboratory"),
            format!(
                "Observation?patient:identifier={}&category=laboratory",
                encode(&format!("{SSN_SYSTEM}|{SSN}"))
            ),
        ];
        guesses.push(guesses[0].replace("us-ssn", "US-SSN"));
        for persona in [Persona::Doctor, Persona::RecordsOfficer] {
            for guess in &guesses {
                let reply = bench.get(persona, guess);
                // Right or wrong, the guess is answered alike.
                let wrong = bench.get(persona, &guess.replace(SSN, "900-55-9999"));
                bench.silent(&reply, 403);
                assert_eq!(wrong.status, 403, "{guess}");
            }
        }
        assert!(bench.server.asked().is_empty(), "{:?}", bench.server.asked());
        // Asked directly, the server gives each of these numbers away.
        for guess in guesses.iter().filter(|g| g.starts_with("Patient?identifier=") && !g.contains("%2C")) {
            let direct = Call::get(format!("{}/fhir/{guess}", bench.server.url())).send().unwrap();
            assert_eq!(entries(&direct).len(), 1, "{guess}: {}", direct.text());
        }
        // The hospital's own number finds the patient.
        let mrn = format!("Patient?identifier={}", encode(&format!("{MRN_SYSTEM}|Vantongeren-Z6129")));
        let found = bench.get(Persona::Doctor, &mrn).expect(200).unwrap();
        assert_eq!(entries(&found).len(), 1, "{}", found.text());
        assert!(!found.text().contains(SSN));
    }
}

#[test]
fn a_create_is_answered_with_its_place_and_needs_no_body() {
    for vendor in BOTH {
        let bench = Bench::before(vendor);
        let body = observation(None, 91).to_string();
        let reply = bench
            .call(Persona::Doctor, Call::post(bench.url("Observation"), MEDIA, body))
            .expect(201)
            .unwrap();
        let location = reply.header("location").unwrap();
        let id = location.strip_prefix(&bench.url("Observation/")).unwrap();
        assert_eq!(reply.header("etag"), Some("W/\"1\""));
        assert!(reply.body.is_empty());
        let read = bench.get(Persona::Doctor, &format!("Observation/{id}")).expect(200).unwrap();
        assert_eq!(read.json().unwrap()["valueQuantity"]["value"], 91);
        bench.drape.verify().unwrap();
    }
}

#[test]
fn lv_42_duplicates_and_stale_versions_are_told_by_status_and_code_alone() {
    for vendor in BOTH {
        let bench = Bench::before(vendor);
        let twice = observation(None, 60).to_string();
        let reply = bench.call(Persona::Doctor, Call::post(bench.url("Observation"), MEDIA, twice));
        assert_eq!(bench.silent(&reply, 422), ["duplicate"]);
        assert!(!reply.everything().contains(PATIENT), "{}", reply.everything());

        let id = format!("{PATIENT}.obs-0");
        bench.put(&id, &observation(Some(&id), 71), Some("W/\"1\"")).expect(200).unwrap();
        let sent = bench.server.asked().into_iter().find(|a| a.method == "PUT").unwrap();
        assert_eq!(sent.header("if-match"), Some("W/\"1\""));
        // Drape compares the version itself, so that the server's ways do not matter …
        let stale = bench.put(&id, &observation(Some(&id), 72), Some("W/\"1\""));
        bench.silent(&stale, 412);
        let puts = bench.server.asked().iter().filter(|a| a.method == "PUT").count();
        assert_eq!(puts, 1, "a stale version was sent on");
        // … but for what happens between its look and the write.
        let raced = bench.put(&id, &observation(Some(&id), 499), Some("W/\"2\""));
        assert!(matches!(raced.status, 409 | 412), "{}", raced.status);
        let status = raced.status;
        bench.silent(&raced, status);
        // Without a version the one that was judged is held to.
        bench.put(&id, &observation(Some(&id), 73), None).expect(200).unwrap();
        let sent = bench.server.asked().into_iter().rfind(|a| a.method == "PUT").unwrap();
        assert_eq!(sent.header("if-match"), Some("W/\"3\""));
        bench.drape.verify().unwrap();
    }
}
