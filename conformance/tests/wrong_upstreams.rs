//! Drape before servers that are down, broken, lying or too large, and with a log that cannot be written.
//!
//! None of this needs Java, Node or Python.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use drape_conformance::child::run;
use drape_conformance::drape::{Drape, Settings, executable};
use drape_conformance::http::{Call, Reply};
use drape_conformance::issuer::Own;
use drape_conformance::judge::refusal;
use drape_conformance::stub::{Script, Stub};
use drape_demo::Persona;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Stands in everything that the stub holds, and must never leave where the answer is a refusal.
const CANARY: &str = "Canary-Umberfield-7741";

fn patient(id: &str, extra: usize) -> String {
    let filler = "x".repeat(extra);
    format!(
        r#"{{"resourceType":"Patient","id":"{id}","meta":{{"versionId":"1"}},"name":[{{"family":"{CANARY}"}}],"contact":[{{"name":{{"text":"{filler}"}}}}]}}"#
    )
}

fn bundle(entries: usize, filler: usize) -> String {
    let entries: Vec<String> = (0..entries)
        .map(|i| {
            format!(
                r#"{{"fullUrl":"http://h/Patient/p{i}","resource":{}}}"#,
                patient(&format!("p{i}"), filler)
            )
        })
        .collect();
    format!(r#"{{"resourceType":"Bundle","type":"searchset","entry":[{}]}}"#, entries.join(","))
}

const CAPABILITIES: &str = r#"{"resourceType":"CapabilityStatement","status":"active","fhirVersion":"4.0.1","rest":[{"mode":"server","resource":[{"type":"Patient","interaction":[{"code":"read"},{"code":"search-type"}]}]}]}"#;

/// Answers a path below the base; the capability statement is always good.
fn stub(script: impl Fn(&str) -> Script + Send + Sync + 'static) -> Stub {
    Stub::start(move |asked| match asked.target.strip_prefix("/fhir").unwrap_or_default() {
        "/metadata" => Script::json(CAPABILITIES),
        path => script(path),
    })
    .unwrap()
}

struct Bench {
    drape: Drape,
    issuer: Own,
    folder: TempDir,
}

impl Bench {
    fn before(upstream: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let doctor = json!({"resourceType": "Practitioner", "id": "d"});
        let patient = json!({"resourceType": "Patient", "id": "p0", "birthDate": "1980-01-01", "generalPractitioner": [{"reference": "Practitioner/d"}]});
        let issuer = Own::start(&[doctor, patient]).unwrap();
        let mut settings = Settings::new(&format!("{upstream}/fhir"), "generic", issuer.url(), "ES256");
        change(&mut settings);
        let drape = Drape::start(&subject(), folder.path(), settings).unwrap();
        Self { drape, issuer, folder }
    }

    fn get(&self, path: &str) -> Reply {
        let token = self.issuer.token(Persona::RecordsOfficer, &self.drape.base).unwrap();
        Call::get(format!("{}/{path}", self.drape.base)).bearer(&token).send().unwrap()
    }

    /// Refused with that status and an OperationOutcome that says nothing of the upstream; gives its issue codes.
    fn refused(&self, path: &str, status: u16) -> Vec<String> {
        let reply = self.get(path);
        let codes = refusal(&reply, status).unwrap();
        let all = reply.everything();
        assert!(!all.contains(CANARY) && !all.contains("<html"), "{all}");
        codes
    }

    fn sound(&self) {
        self.drape.verify().unwrap();
    }
}

fn subject() -> PathBuf {
    executable(env!("CARGO_BIN_EXE_drape-subject"))
}

#[test]
fn a_sound_upstream_is_passed_on_byte_for_byte_so_that_the_refusals_below_mean_something() {
    let stub = stub(|path| match path {
        "/Patient/p0" => Script::json(patient("p0", 10)),
        _ => Script::Chunks { body: bundle(40, 20_000).into_bytes(), end: true },
    });
    let bench = Bench::before(stub.url(), |_| {});
    let read = bench.get("Patient/p0").expect(200).unwrap();
    assert_eq!(read.text(), patient("p0", 10));
    let search = bench.get("Patient").expect(200).unwrap();
    let found: Value = search.json().unwrap();
    assert_eq!(found["entry"].as_array().unwrap().len(), 40);
    assert_eq!(found["entry"][39]["resource"].to_string(), patient("p39", 20_000));
    bench.sound();
}

#[test]
fn an_upstream_that_is_down_is_a_502_with_an_outcome() {
    let gone = stub(|_| Script::Nothing).url().to_owned();
    let bench = Bench::before(&gone, |_| {});
    bench.refused("Patient/p0", 502);
    bench.refused("Patient", 502);
    assert_eq!(Call::get(format!("{}/metadata", bench.drape.base)).send().unwrap().status, 503);
    bench.sound();
}

#[test]
fn an_upstream_that_hangs_up_is_a_502() {
    let stub = stub(|_| Script::Nothing);
    let bench = Bench::before(stub.url(), |_| {});
    bench.refused("Patient/p0", 502);
    bench.sound();
}

#[test]
fn html_is_not_fhir_whatever_its_status_and_whatever_it_calls_itself() {
    let page = format!("<html><body>{CANARY}</body></html>");
    let stub = stub(move |path| match path {
        "/Patient/typed" => Script::typed(200, "text/html", page.clone()),
        "/Patient/lying" => Script::typed(200, "application/fhir+json", page.clone()),
        "/Patient/xml" => {
            Script::typed(200, "application/fhir+xml", format!("<Patient><id value=\"{CANARY}\"/></Patient>"))
        }
        _ => Script::typed(500, "text/html", page.clone()),
    });
    let bench = Bench::before(stub.url(), |_| {});
    for path in ["Patient/typed", "Patient/lying", "Patient/xml", "Patient/broken"] {
        bench.refused(path, 502);
    }
    bench.sound();
}

#[test]
fn an_error_of_the_upstream_keeps_its_status_and_loses_its_words() {
    let said = format!(
        r#"{{"resourceType":"OperationOutcome","issue":[{{"severity":"error","code":"business-rule","diagnostics":"{CANARY}"}}]}}"#
    );
    let stub = stub(move |_| Script::typed(422, "application/fhir+json", said.clone()));
    let bench = Bench::before(stub.url(), |_| {});
    assert_eq!(bench.refused("Patient/p0", 422), ["business-rule"]);
    bench.sound();
}

#[test]
fn a_single_record_that_breaks_off_is_a_502() {
    let stub = stub(|path| {
        let whole = patient("p0", 200).into_bytes();
        let half = whole[..whole.len() / 2].to_vec();
        match path {
            "/Patient/length" => Script::Cut { body: half, announced: whole.len() },
            "/Patient/chunks" => Script::Chunks { body: half, end: false },
            // Well framed, and still only half a record.
            _ => Script::Chunks { body: half, end: true },
        }
    });
    let bench = Bench::before(stub.url(), |_| {});
    for path in ["Patient/length", "Patient/chunks", "Patient/half"] {
        bench.refused(path, 502);
    }
    bench.sound();
}

#[test]
fn a_short_bundle_that_breaks_off_is_a_502() {
    let stub = stub(|_| {
        let whole = bundle(3, 100).into_bytes();
        Script::Cut { body: whole[..whole.len() - 10].to_vec(), announced: whole.len() }
    });
    let bench = Bench::before(stub.url(), |_| {});
    bench.refused("Patient", 502);
    bench.sound();
}

#[test]
fn a_long_bundle_that_breaks_off_never_looks_complete() {
    let stub = stub(|path| {
        let whole = bundle(60, 20_000).into_bytes();
        let part = whole[..whole.len() * 3 / 4].to_vec();
        match path {
            "/Patient?_count=1" => Script::Cut { body: part, announced: whole.len() },
            "/Patient?_count=2" => Script::Chunks { body: part, end: false },
            // Well framed, and broken off between two entries.
            _ => {
                let at = part.windows(2).rposition(|w| w == b"},").unwrap();
                Script::Chunks { body: part[..=at].to_vec(), end: true }
            }
        }
    });
    let bench = Bench::before(stub.url(), |_| {});
    for path in ["Patient?_count=1", "Patient?_count=2", "Patient?_count=3"] {
        let reply = bench.get(path);
        assert_eq!(reply.status, 200, "{path}");
        assert!(!reply.whole, "{path}: the broken body came with a proper end");
        assert!(
            serde_json::from_slice::<Value>(&reply.body).is_err(),
            "{path}: the broken body is valid JSON"
        );
    }
    bench.sound();
    let text = bench.drape.command(&["audit", "search"]).unwrap().out;
    assert_eq!(text.matches("cut: ").count(), 3, "{text}");
}

#[test]
fn a_record_of_20_mb_is_refused_as_too_costly_and_nothing_of_it_leaves() {
    const RECORD: usize = 20 << 20;
    let stub = stub(|path| match path {
        "/Patient/p0" => Script::json(patient("p0", RECORD)),
        _ => Script::json(bundle(1, RECORD)),
    });
    let bench = Bench::before(stub.url(), |_| {});
    assert_eq!(bench.refused("Patient/p0", 502), ["too-costly"]);
    assert_eq!(bench.refused("Patient", 502), ["too-costly"]);
    // With room for it the same record passes: the limit is what stopped it.
    let roomy = Bench::before(stub.url(), |s| s.limits = json!({"entry_bytes_max": 64 << 20}));
    let reply = roomy.get("Patient/p0").expect(200).unwrap();
    assert!(reply.body.len() > RECORD);
    bench.sound();
}

#[test]
fn a_redirect_is_neither_followed_nor_passed_on() {
    let stub = stub(|path| match path {
        "/Patient/p1" => Script::json(patient("p1", 0)),
        _ => Script::Answer {
            status: 302,
            headers: vec![
                ("Location", "/fhir/Patient/p1".to_owned()),
                ("Content-Type", "application/fhir+json".to_owned()),
            ],
            body: patient("p0", 0).into_bytes(),
        },
    });
    let bench = Bench::before(stub.url(), |_| {});
    bench.refused("Patient/p0", 502);
    assert!(stub.asked().iter().all(|a| a.target != "/fhir/Patient/p1"), "the redirect was followed");
    bench.sound();
}

#[test]
fn another_record_than_was_asked_for_is_a_502() {
    let stub = stub(|path| match path {
        "/Patient/p0" => Script::json(patient("p1", 0)),
        "/Patient/p0/_history/2" => Script::json(patient("p0", 0)),
        "/Patient/p3" => {
            Script::json(format!(r#"{{"resourceType":"Observation","id":"p3","valueString":"{CANARY}"}}"#))
        }
        "/Patient/p4" => Script::json(bundle(2, 0)),
        "/Patient/p5" => {
            Script::json(format!(r#"{{"resourceType":"Patient","id":"p5","id":"p6","gender":"{CANARY}"}}"#))
        }
        _ => Script::json(patient("p0", 0)),
    });
    let bench = Bench::before(stub.url(), |_| {});
    for path in ["Patient/p0", "Patient/p0/_history/2", "Patient/p3", "Patient/p4", "Patient/p5", "Patient"] {
        bench.refused(path, 502);
    }
    bench.sound();
}

/// A file system of its own that is really full, where this user may mount one; else a limit on the size of files.
enum Disk {
    Mounted(PathBuf),
    Limited,
}

impl Disk {
    fn small(folder: &Path) -> Self {
        let at = folder.join("disk");
        std::fs::create_dir_all(&at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(&at);
        match run(&mut mount, Duration::from_secs(10)) {
            Ok(ran) if ran.code == Some(0) => Self::Mounted(at),
            _ => Self::Limited,
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Self::Mounted(at) = self {
            let _ = run(Command::new("umount").arg("-l").arg(&*at), Duration::from_secs(10));
        }
    }
}

#[test]
fn with_a_full_disk_for_the_log_nothing_is_answered_and_nothing_asked_of_the_upstream() {
    let stub = stub(|_| Script::json(patient("p0", 10)));
    let place = tempfile::tempdir().unwrap();
    let disk = Disk::small(place.path());
    let bench = Bench::before(stub.url(), |settings| match &disk {
        Disk::Mounted(at) => settings.log = Some(at.join("log")),
        // More than the key table and the ledger need, which do not grow here.
        Disk::Limited => settings.file_bytes_max = Some(2 << 20),
    });
    let asked = || stub.asked().iter().filter(|a| a.target.starts_with("/fhir/Patient")).count();
    let (mut answered, mut stopped) = (0, None);
    // Each request enters more than a kilobyte: the disk is full long before so many.
    for _ in 0..5_000 {
        let before = asked();
        let reply = bench.get("Patient/p0");
        if reply.status == 200 {
            answered += 1;
            continue;
        }
        assert!(!reply.text().contains(CANARY), "{}", reply.text());
        refusal(&reply, 503).unwrap();
        stopped = Some(before);
        break;
    }
    assert!(answered > 10, "only {answered} were answered before the disk was full");
    stopped.expect("the disk never filled");
    // It stays so: no intent, no question to the upstream.
    let before = asked();
    for _ in 0..5 {
        let reply = bench.get("Patient/p0");
        refusal(&reply, 503).unwrap();
        assert!(!reply.text().contains(CANARY));
    }
    assert_eq!(asked(), before, "the upstream was asked though nothing could be entered");
    let ready = Call::get(format!("{}/readyz", bench.drape.admin)).send().unwrap();
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert_eq!(bench.drape.metric("drape_audit_log_healthy").unwrap(), 0);
    // What was entered before is sound.
    bench.sound();
    drop(bench.folder);
}
