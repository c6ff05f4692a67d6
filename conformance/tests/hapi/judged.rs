//! HAPI's validator looks at every FHIR body that the suite was answered: none may have an error that it had not before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use drape_conformance::bytes::{items, member};
use drape_conformance::child::run;
use drape_conformance::fault::{check, short};
use drape_conformance::places::setting;
use drape_conformance::recorder::{Seen, take};
use drape_conformance::{Fault, Outcome};
use serde_json::{Value, json};

use crate::world::{TYPES, World};

/// Of one kind, so many distinct records are judged for each persona, and so many whole Bundles of at most that size.
const RECORDS_MAX: usize = 30;
const BUNDLES_MAX: usize = 6;
const BUNDLE_BYTES_MAX: usize = 48 << 10;
/// Of each type, so many records as HAPI has them, for those whose id is a pseudonym.
const KNOWN_MAX: usize = 25;

const JUDGED_WITHIN: Duration = Duration::from_secs(600);

/// The filled TestScript asserts everything at once, which FHIR's rules tst-5 and tst-6 excuse where any extension stands
/// beside it: unknown ones are left out, and what was wrong with it all along is told.
fn excused(line: &str) -> bool {
    line.starts_with("NEW filled TestScript,")
        && ["TestScript#tst-5 ", "TestScript#tst-6 "].iter().any(|rule| line.contains(rule))
}

/// What is handed to the judge.
#[derive(Default)]
struct Docket {
    lines: Vec<String>,
    known: BTreeSet<String>,
    often: BTreeMap<(String, String), usize>,
    tally: Tally,
}

/// What came of the bodies.
#[derive(Debug, Default)]
struct Tally {
    bodies: usize,
    records: usize,
    same: usize,
    subsetted: usize,
    beyond: usize,
    judged: BTreeMap<String, usize>,
}

impl Docket {
    fn line(&mut self, name: &str, kind: &str, unshielded: Option<&str>, shielded: Option<&str>) {
        let mut line = json!({"name": name, "kind": kind});
        for (key, body) in [("unshielded", unshielded), ("shielded", shielded)] {
            if let Some(body) = body {
                line[key] = body.into();
            }
        }
        self.lines.push(line.to_string());
    }

    fn body(&mut self, world: &World, seen: &Seen) -> Outcome {
        self.tally.bodies += 1;
        let value = parsed(&seen.body)?;
        if value["resourceType"] != "Bundle" {
            return self.record(world, seen, &seen.body, &value);
        }
        if seen.body.len() <= BUNDLE_BYTES_MAX && self.room(&seen.who, "Bundle", BUNDLES_MAX) {
            let text = String::from_utf8_lossy(&seen.body);
            self.line(&format!("{}, {}", seen.who, seen.asked), "Bundle", None, Some(&text));
        }
        let entries = member(&seen.body, "entry")?.map(items).transpose()?.unwrap_or_default();
        for entry in entries {
            if let Some(resource) = member(entry, "resource")? {
                self.record(world, seen, resource, &parsed(resource)?)?;
            }
        }
        Ok(())
    }

    fn record(&mut self, world: &World, seen: &Seen, text: &[u8], value: &Value) -> Outcome {
        let kind = value["resourceType"].as_str().ok_or_else(|| Fault::new("a record without a type"))?;
        self.tally.records += 1;
        let text = String::from_utf8_lossy(text);
        if !self.known.insert(text.clone().into_owned()) {
            return Ok(());
        }
        // FHIR itself says that these are not whole.
        if text.contains("\"SUBSETTED\"") {
            self.tally.subsetted += 1;
            return Ok(());
        }
        let before = unshielded(world, kind, value, &seen.asked)?;
        if before.as_ref().is_some_and(|before| before == value) {
            self.tally.same += 1;
            return Ok(());
        }
        if self.room(&seen.who, kind, RECORDS_MAX) {
            let name = format!("{}, {}", seen.who, seen.asked);
            self.line(&name, kind, before.map(|b| b.to_string()).as_deref(), Some(&text));
            *self.tally.judged.entry(seen.who.clone()).or_default() += 1;
        } else {
            self.tally.beyond += 1;
        }
        Ok(())
    }

    fn room(&mut self, who: &str, kind: &str, max: usize) -> bool {
        let count = self.often.entry((who.to_owned(), kind.to_owned())).or_default();
        *count += 1;
        *count <= max
    }
}

fn parsed(text: &[u8]) -> Outcome<Value> {
    serde_json::from_slice(text)
        .map_err(|e| Fault(format!("{e}: {}", short(&String::from_utf8_lossy(text), 200))))
}

/// The same record as HAPI has it, in the version that was shown; none for Drape's own words and for pseudonyms.
fn unshielded(world: &World, kind: &str, shown: &Value, asked: &str) -> Outcome<Option<Value>> {
    // An expansion is made for the answer and has no id.
    if let Some(path) = asked.strip_prefix(&format!("GET {}/ValueSet/$expand", world.drape.base)) {
        return world.hapi.read(&format!("ValueSet/$expand{path}")).map(Some);
    }
    let Some(id) = shown["id"].as_str().filter(|_| kind != "CapabilityStatement") else { return Ok(None) };
    let version = shown["meta"]["versionId"].as_str();
    let held = world.held.get(kind).into_iter().flatten().find(|r| r["id"] == id);
    if let Some(held) = held.filter(|h| version.is_none_or(|v| h["meta"]["versionId"] == v)) {
        return Ok(Some(held.clone()));
    }
    let path = match version {
        Some(version) => format!("{kind}/{id}/_history/{version}"),
        None => format!("{kind}/{id}"),
    };
    let reply = world.hapi.get(&path)?;
    if reply.status == 200 { reply.json().map(Some) } else { Ok(None) }
}

/// Bodies that other tests wrote down before (`DRAPE_PAIRS`): filled records of every type, HL7's and vendors'.
fn others() -> Vec<PathBuf> {
    let Some(folder) = setting("DRAPE_PAIRS") else { return Vec::new() };
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|f| f.path());
    let mut files: Vec<PathBuf> = files.filter(|f| f.extension().is_some_and(|e| e == "jsonl")).collect();
    files.sort();
    files
}

/// Hands it all to the judge; gives his last line.
fn verdict(world: &World, files: &[PathBuf]) -> Outcome<String> {
    let mut command = world.hapi.java("judge.Main");
    command.args(files);
    let ran = run(&mut command, JUDGED_WITHIN)?;
    let summary = ran.out.lines().rfind(|l| l.starts_with("JUDGED ")).map(str::to_owned);
    let summary = summary.ok_or_else(|| Fault(format!("the judge says {:?}: {}", ran.code, ran.err)))?;
    let found: Vec<&str> = ran.out.lines().filter(|l| l.starts_with("NEW ") && !excused(l)).collect();
    check(found.is_empty(), || {
        let some: Vec<String> = found.iter().take(40).map(|l| short(l, 400)).collect();
        format!("{summary}\n{}", some.join("\n"))
    })?;
    Ok(summary)
}

pub(crate) fn all(world: &World) -> Outcome {
    let (seen, whole) = take();
    check(whole, || "there was no room to remember every body".into())?;
    let mut docket = Docket::default();
    for kind in TYPES {
        for record in world.held[kind].iter().take(KNOWN_MAX) {
            docket.line("held", kind, Some(&record.to_string()), None);
        }
    }
    for seen in &seen {
        docket.body(world, seen).map_err(|e| Fault(format!("{}: {e}", seen.asked)))?;
    }
    let file: &Path = &world.work.join("pairs.jsonl");
    std::fs::write(file, docket.lines.join("\n"))?;
    println!("     {:?}", docket.tally);
    // A judge who is shown nothing finds nothing.
    if setting("DRAPE_STEP").is_none() {
        for who in ["doctor", "nurse", "billing", "researcher", "patient", "guardian"] {
            let judged = docket.tally.judged.get(who).copied().unwrap_or_default();
            check(judged > 0, || format!("no body of {who} was judged"))?;
        }
    }
    let mut files = vec![file.to_owned()];
    files.extend(others());
    println!("     {} of {} file(s)", verdict(world, &files)?, files.len());
    Ok(())
}
