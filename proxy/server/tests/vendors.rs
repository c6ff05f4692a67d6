//! Bodies as vendors, HL7 and Synthea wrote them, before every person of the hospital: byte for byte to the one who sees
//! everything, without a fault and without a hidden value to the others.
//!
//! The bodies are no part of the repository: they are read from a folder of sample data where there is one
//! (`DRAPE_SHARED`, or `shared` beside the repository), and the test says so where there is none.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]
#![allow(clippy::print_stdout, reason = "how much was looked at belongs to the result")]
#![allow(clippy::print_stderr)]

mod shielding;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use drape_fhir::definitions::r4;
use drape_shield::{BundleKind, Expect};
use drape_view::catalogue::{Assigned, Kind, NodeId};
use drape_view::{Catalogue, Category, Plan, Treatment, Verdict};
use serde_json::Value;
use shielding::{Person, catalogue, pair, persons, rebased, record, resource_type};

/// Bodies that the shield refuses, and why. A new refusal fails the test, and so does one that went away.
/// The first two are Bundles in whose documentation an entry's fullUrl has another id than the record beside it; in the
/// others the vendor shows entries without any `resourceType`.
const REFUSED: [(&str, &str); 5] = [
    ("cerner-millennium-r4/care_plan_patient_bundle.json", "an entry's fullUrl names another record"),
    ("cerner-millennium-r4/care_team_revinclude_bundle.json", "an entry's fullUrl names another record"),
    ("cerner-millennium-r4/location_address_bundle.json", "a resource without `resourceType`"),
    ("cerner-millennium-r4/location_address_city_state_bundle.json", "a resource without `resourceType`"),
    ("cerner-millennium-r4/location_address_organization_bundle.json", "a resource without `resourceType`"),
];

fn data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = std::env::var_os("DRAPE_SHARED").map_or(beside, PathBuf::from).join("data");
    folder.is_dir().then_some(folder)
}

/// One body: its name for messages, its text, and the base that its own addresses stand under.
struct Body {
    name: String,
    text: Vec<u8>,
    value: Value,
    base: String,
}

/// The base of the server that a Bundle comes from: what stands before `Type/id` in its first fullUrl, or before the
/// type in its link.
fn base_of(value: &Value) -> String {
    let urls = value["entry"].as_array().into_iter().flatten().filter_map(|e| e["fullUrl"].as_str());
    let links = value["link"].as_array().into_iter().flatten().filter_map(|l| l["url"].as_str());
    for url in urls.chain(links) {
        let path = url.split('?').next().unwrap_or_default();
        let mut end = path.len();
        while let Some(slash) = path[..end].rfind('/') {
            if r4().is_resource(path[slash + 1..].split('/').next().unwrap_or_default()) {
                return path[..slash].to_owned();
            }
            end = slash;
        }
    }
    "https://upstream.example/fhir".into()
}

fn bodies(folder: &Path) -> Vec<Body> {
    let mut all = Vec::new();
    for source in ["epic-r4", "cerner-millennium-r4", "hl7-r4-examples"] {
        let Ok(files) = std::fs::read_dir(folder.join(source)) else { continue };
        let mut files: Vec<PathBuf> = files.map(|f| f.unwrap().path()).collect();
        files.sort();
        for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "json")) {
            let text = std::fs::read(file).unwrap();
            let name = format!("{source}/{}", file.file_name().unwrap().to_string_lossy());
            let value: Value = serde_json::from_slice(&text).unwrap_or_default();
            all.push(Body { name, base: base_of(&value), text, value });
        }
    }
    all
}

/// Every string of a record with its category; none for those of references and extensions, where what is named decides.
fn strings(catalogue: &Catalogue, value: &Value, node: NodeId, found: &mut Vec<(Option<Category>, String)>) {
    let Value::Object(map) = value else { return };
    for (name, value) in map {
        let Some(edge) = catalogue.edge(node, name) else { continue };
        let items: Vec<&Value> = match value {
            Value::Array(items) => items.iter().collect(),
            one => vec![one],
        };
        for item in items {
            match (edge.category, edge.kind, item) {
                (Assigned::Fixed(category), Kind::Primitive, Value::String(text)) => {
                    found.push((Some(category), text.clone()))
                }
                (Assigned::Fixed(_), Kind::Complex, Value::Object(_)) => {
                    strings(catalogue, item, edge.node, found)
                }
                (Assigned::Reference | Assigned::Extension(_), ..) => {
                    let mut inside = BTreeSet::new();
                    leaves(item, &mut inside);
                    found.extend(inside.into_iter().map(|text| (None, text)));
                }
                _ => {}
            }
        }
    }
}

fn leaves(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => drop(found.insert(text.clone())),
        Value::Array(items) => items.iter().for_each(|v| leaves(v, found)),
        Value::Object(map) => map.values().for_each(|v| leaves(v, found)),
        _ => {}
    }
}

/// Whether a string names somebody or something by itself: short words and codes stand in many places at once.
fn telling(text: &str) -> bool {
    text.len() >= 6 && !text.starts_with("http") && !text.starts_with("urn:")
}

/// The strings of a shown record that only hidden categories have.
fn hidden(catalogue: &Catalogue, resource: &Value, plan: &Plan) -> BTreeSet<String> {
    let Some(node) = resource["resourceType"].as_str().and_then(|t| catalogue.root(t)) else {
        return BTreeSet::new();
    };
    let mut all = Vec::new();
    strings(catalogue, resource, node, &mut all);
    let is_hidden = |c: &Option<Category>| c.is_some_and(|c| plan.treatment(c) != Treatment::Show);
    let shown: Vec<&str> = all.iter().filter(|(c, _)| !is_hidden(c)).map(|(_, text)| text.as_str()).collect();
    let texts = all.iter().filter(|(c, _)| is_hidden(c)).map(|(_, text)| text);
    // What a shown string says anyway is no leak: a concept's text often repeats its coding's display.
    let hidden = texts.filter(|text| telling(text) && !shown.iter().any(|s| s.contains(text.as_str())));
    hidden.cloned().collect()
}

#[derive(Default, Debug)]
struct Tally {
    bodies: usize,
    records: usize,
    whole: usize,
    reduced: usize,
    withheld: BTreeMap<&'static str, u64>,
    hidden_strings: usize,
}

/// Shows one body to one person. Gives why it was refused, if it was.
fn show(person: &Person, body: &Body, seed: u64, tally: &mut Tally) -> Result<(), String> {
    let bundle = body.value["resourceType"] == "Bundle" && body.value["type"] == "searchset";
    let kind = body.value["resourceType"].as_str().unwrap_or_default();
    let expect = if bundle { Expect::Bundle(BundleKind::Searchset) } else { record(kind) };
    let seen = person.look(expect, &body.base, &body.text, seed).map_err(|fault| fault.what)?;
    tally.bodies += 1;
    for (reason, count) in &seen.summary.withheld {
        *tally.withheld.entry(reason.name()).or_default() += count;
    }
    let resources: Vec<&Value> = match bundle {
        true => body.value["entry"].as_array().into_iter().flatten().map(|e| &e["resource"]).collect(),
        false => vec![&body.value],
    };
    tally.records += resources.len();
    if seen.out.is_empty() {
        return Ok(());
    }
    assert_eq!(resource_type(&seen.out).as_deref(), Some(kind), "{}", body.name);
    pair(&format!("{}, {}", body.name, person.name), kind, &body.base, &body.text, &seen.out);
    if person.shows_all {
        tally.whole += resources.len();
        let expected = rebased(&body.text, &body.base);
        // The links of a Bundle are written anew; everything else is byte for byte.
        let same = if bundle && body.value.get("link").is_some() {
            without_links(&seen.out) == without_links(&expected)
        } else {
            seen.out == expected
        };
        assert!(same, "{}: not byte for byte", body.name);
        return Ok(());
    }
    let catalogue = catalogue();
    let out: Value = serde_json::from_slice(&seen.out).unwrap();
    let entries: Vec<&Value> = match bundle {
        true => out["entry"].as_array().into_iter().flatten().collect(),
        false => vec![&out],
    };
    let mut entries = entries.into_iter();
    for (resource, verdicts) in resources.into_iter().zip(&seen.verdicts) {
        let Some(Verdict::Keep(plan)) = verdicts.first() else { continue };
        if plan.shows_all() && verdicts.iter().all(|v| matches!(v, Verdict::Keep(p) if p.shows_all())) {
            tally.whole += 1;
            entries.next();
            continue;
        }
        // Withheld on the way: nothing to look at.
        let came = entries.clone().next().map(|e| if bundle { &e["resource"] } else { e });
        if came.is_none_or(|r| r["resourceType"] != resource["resourceType"]) {
            continue;
        }
        let came = entries.next().unwrap_or(&Value::Null);
        tally.reduced += 1;
        let mut left = BTreeSet::new();
        leaves(came, &mut left);
        let hidden = hidden(&catalogue, resource, plan);
        tally.hidden_strings += hidden.len();
        // Values stay out of the message: they are not ours to print.
        let leaked = hidden.iter().filter(|text| left.iter().any(|l| l.contains(text.as_str()))).count();
        assert_eq!(leaked, 0, "{}, {}: {leaked} hidden strings came out", body.name, person.name);
    }
    Ok(())
}

/// A Bundle's text without its `link` member and the gap before it.
fn without_links(text: &[u8]) -> Vec<u8> {
    use drape_fhir::json::{Kind as J, Limits, Tokens};
    let mut tokens = Tokens::new(text, Limits::default());
    let mut previous = 0;
    while let Some(token) = tokens.next_token().unwrap() {
        if token.depth == 1 && token.kind == J::Key && tokens.key() == "link" {
            let first = tokens.next_token().unwrap().unwrap();
            let end = tokens.skip(&first).unwrap();
            return [&text[..previous as usize], &text[end as usize..]].concat();
        }
        previous = token.end;
    }
    text.to_vec()
}

#[test]
fn vendors_bodies_pass_whole_or_reduced_and_give_nothing_hidden_away() {
    let Some(folder) = data() else {
        eprintln!("LEFT OUT: there is no folder of sample data (set DRAPE_SHARED to one)");
        return;
    };
    let bodies = bodies(&folder);
    assert!(bodies.len() > 250, "the folder is there but holds only {} bodies", bodies.len());
    let mut refused = BTreeMap::new();
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for (number, body) in bodies.iter().enumerate() {
        let patients = patients(&body.value);
        for person in persons(patients.first().map_or("nobody", String::as_str)) {
            let tally = tallies.entry(person.name).or_default();
            if let Err(why) = show(&person, body, number as u64, tally) {
                refused.insert(body.name.as_str(), why);
            }
        }
    }
    report(&tallies);
    let found: Vec<(&str, &str)> = refused.iter().map(|(name, why)| (*name, why.as_str())).collect();
    assert_eq!(found, REFUSED);
    for (name, reduced, strings) in [("nurse", 150, 700), ("billing", 15, 50), ("researcher", 150, 900)] {
        let tally = &tallies[name];
        assert!(tally.reduced >= reduced && tally.hidden_strings >= strings, "{name}: {tally:?}");
    }
    assert!(tallies["clinician"].whole > 50);
}

#[test]
fn syntheas_records_pass_whole_or_reduced_and_give_nothing_hidden_away() {
    let Some(folder) = data().map(|f| f.join("synthea/r4-transactions")).filter(|f| f.is_dir()) else {
        eprintln!("LEFT OUT: there is no folder of Synthea transactions (set DRAPE_SHARED to one)");
        return;
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.retain(|f| {
        let name = f.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".json.gz") && !name.starts_with("hospital") && !name.starts_with("practitioner")
    });
    files.sort_by_key(|f| f.metadata().unwrap().len());
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    // The smallest are as varied as the others, and enough for a run of every day.
    for file in files.iter().take(3) {
        let unpacked = std::process::Command::new("gzip").arg("-dc").arg(file).output().unwrap();
        assert!(unpacked.status.success(), "gzip cannot unpack {}", file.display());
        let transaction: Value = serde_json::from_slice(&unpacked.stdout).unwrap();
        // As a server would answer with them: urn references become those of the records that they name.
        let mut text = String::from_utf8(unpacked.stdout).unwrap();
        for entry in transaction["entry"].as_array().unwrap() {
            let resource = &entry["resource"];
            let kind = resource["resourceType"].as_str().unwrap();
            if let (Some(urn), Some(id)) = (entry["fullUrl"].as_str(), resource["id"].as_str())
                && kind == "Patient"
            {
                text = text.replace(urn, &format!("{kind}/{id}"));
            }
        }
        let transaction: Value = serde_json::from_str(&text).unwrap();
        let resources: Vec<&Value> =
            transaction["entry"].as_array().unwrap().iter().map(|e| &e["resource"]).collect();
        let patient =
            resources.iter().find(|r| r["resourceType"] == "Patient").and_then(|r| r["id"].as_str());
        let persons = persons(patient.unwrap_or("nobody"));
        for (number, resource) in resources.iter().enumerate() {
            let text = serde_json::to_vec_pretty(resource).unwrap();
            let name = format!("{} {number}", file.file_name().unwrap().to_string_lossy());
            let body = Body { name, base: base_of(resource), text, value: (*resource).clone() };
            for person in &persons {
                show(person, &body, number as u64, tallies.entry(person.name).or_default()).unwrap();
            }
        }
    }
    report(&tallies);
    assert!(tallies["researcher"].reduced > 100 && tallies["researcher"].hidden_strings > 500);
    assert!(tallies["clinician"].whole > 100 && tallies["nurse"].reduced > 100);
}

/// The patients that a body is about, most often named first.
fn patients(value: &Value) -> Vec<String> {
    fn walk(value: &Value, found: &mut BTreeMap<String, usize>) {
        match value {
            Value::Object(map) => {
                if let (Some("Patient"), Some(id)) =
                    (map.get("resourceType").and_then(Value::as_str), map.get("id").and_then(Value::as_str))
                {
                    *found.entry(id.to_owned()).or_default() += 1;
                }
                if let Some(reference) = map.get("reference").and_then(Value::as_str)
                    && let Some((_, id)) = reference.rsplit_once("Patient/")
                {
                    *found.entry(id.to_owned()).or_default() += 1;
                }
                map.values().for_each(|v| walk(v, found));
            }
            Value::Array(items) => items.iter().for_each(|v| walk(v, found)),
            _ => {}
        }
    }
    let mut found = BTreeMap::new();
    walk(value, &mut found);
    let mut all: Vec<(String, usize)> = found.into_iter().collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    all.into_iter().map(|(id, _)| id).collect()
}

fn report(tallies: &BTreeMap<&str, Tally>) {
    for (name, tally) in tallies {
        eprintln!("{name}: {tally:?}");
    }
}
