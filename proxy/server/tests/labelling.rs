//! How well records are labelled: the shipped lists over sample data of others, judged by what the records' names say in words.
//! The data is not part of the repository (`DRAPE_SHARED`, or `shared` beside it); the test says so where there is none.
//!
//! `cargo test -p drape-server --test labelling -- --nocapture` prints the tables of docs/labels.md.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]
#![allow(clippy::print_stdout, reason = "the tables are what it is for")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use drape_view::{Catalogue, Labels, Overrides, shipped};
use serde_json::Value;

/// Words in the names of codes, in small letters, and the label that whoever reads them would expect.
const WORDS: [(&str, &[&str]); 7] = [
    ("HIV", &["hiv ", "hiv-", "human immunodeficiency", "antiretroviral"]),
    (
        "SUD",
        &[
            "opioid abuse",
            "opioid depend",
            "opioid use disorder",
            "heroin",
            "cocaine",
            "drug abuse",
            "drug misuse",
            "addiction",
            "detoxification",
            "drug overdose",
            "substance abuse",
            "substance use",
            "alcoholism",
            "alcohol abuse",
            "alcohol depend",
            "alcohol withdrawal",
            "alcohol drinking behavior",
            "buprenorphine",
            "methadone",
            "disulfiram",
            "acamprosate",
            "naltrexone",
        ],
    ),
    (
        "PSY",
        &[
            "depressi",
            "anxiety",
            "schizo",
            "bipolar",
            "psychos",
            "psychiat",
            "psychother",
            "psycholog",
            "suicid",
            "mental health",
            "mental disorder",
            "autis",
            "attention deficit",
            "posttraumatic",
            "post-traumatic",
            "panic disorder",
            "phq-",
            "gad-7",
        ],
    ),
    (
        "SEX",
        &[
            "pregnan",
            "prenatal",
            "contracep",
            "intrauterine system",
            "intrauterine device",
            "abortion",
            "miscarriage",
            "sexual",
            "chlamyd",
            "gonorr",
            "syphil",
            "fetal",
            "obstetric",
            "etonogestrel",
            "levora",
            "gestational",
        ],
    ),
    ("SDV", &["domestic violence", "sexual assault", "abuse status", "child abuse", "partner abuse"]),
    ("COGN", &["alzheimer", "dementia"]),
    ("GDIS", &["cystic fibrosis", "down syndrome", "huntington", "sickle", "genetic"]),
];

#[derive(Default)]
struct Row {
    records: usize,
    labelled: usize,
    classified: usize,
    unclassified: usize,
    expected: usize,
    missed: usize,
    held_back: usize,
}

#[derive(Default)]
struct Table {
    rows: BTreeMap<String, Row>,
    missed: BTreeSet<String>,
    /// Labelled by codes although no word says so: the codes to look at first when the lists are reviewed.
    unnamed: BTreeSet<String>,
    unreadable: usize,
}

struct Measure {
    catalogue: &'static Catalogue,
    labels: Labels,
}

impl Measure {
    fn record(&self, resource: &Value, table: &mut Table) {
        let Some(kind) = resource["resourceType"].as_str() else { return };
        let text = serde_json::to_vec(resource).unwrap();
        let Ok(facts) = drape_shield::facts_of(self.catalogue, &text, kind, &[], 64) else {
            table.unreadable += 1;
            return;
        };
        let (mut labels, mut classified) = (BTreeSet::new(), true);
        for record in &facts.records {
            let found = self.labels.judge(record, &Overrides::default(), true);
            labels.extend(found.labels);
            classified &= found.classified;
        }
        let mut names = BTreeSet::new();
        spoken(resource, &mut names);
        let row = table.rows.entry(kind.to_owned()).or_default();
        row.records += 1;
        match (labels.is_empty(), classified) {
            (false, _) => row.labelled += 1,
            (true, true) => row.classified += 1,
            (true, false) => row.unclassified += 1,
        }
        let mut expected = false;
        for (label, words) in WORDS {
            let said: Vec<&String> = names.iter().filter(|n| words.iter().any(|w| n.contains(w))).collect();
            expected |= !said.is_empty();
            if said.is_empty() || labels.contains(label) {
                continue;
            }
            // What no list can judge is closed to restricted callers as what is labelled.
            if classified {
                row.missed += 1;
                table.missed.extend(said.iter().map(|name| format!("{kind} {label}: {name}")));
            } else {
                row.held_back += 1;
            }
        }
        row.expected += usize::from(expected);
        if !expected && !labels.is_empty() {
            table.unnamed.insert(format!("{kind} {labels:?}: {names:?}"));
        }
    }
}

/// The names of concepts, in small letters.
fn spoken(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            let coded = map.contains_key("coding") || map.contains_key("code") && map.contains_key("display");
            for key in ["display", "text"].into_iter().filter(|_| coded) {
                names.extend(map.get(key).and_then(Value::as_str).map(str::to_lowercase));
            }
            map.values().for_each(|v| spoken(v, names));
        }
        Value::Array(items) => items.iter().for_each(|v| spoken(v, names)),
        _ => {}
    }
}

impl Table {
    fn print(&self, name: &str) {
        println!("\n{name}\n");
        println!(
            "| type | records | labelled | nothing sensitive | cannot be judged | named sensitive | missed | held back |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        let mut all = Row::default();
        for (kind, r) in &self.rows {
            if r.labelled + r.unclassified + r.expected > 0 {
                println!(
                    "| {kind} | {} | {} | {} | {} | {} | {} | {} |",
                    r.records, r.labelled, r.classified, r.unclassified, r.expected, r.missed, r.held_back
                );
            }
            all.records += r.records;
            all.labelled += r.labelled;
            all.classified += r.classified;
            all.unclassified += r.unclassified;
            all.expected += r.expected;
            all.missed += r.missed;
            all.held_back += r.held_back;
        }
        println!(
            "| all types | {} | {} | {} | {} | {} | {} | {} |",
            all.records,
            all.labelled,
            all.classified,
            all.unclassified,
            all.expected,
            all.missed,
            all.held_back
        );
        self.missed.iter().for_each(|name| println!("missed: {name}"));
        self.unnamed.iter().for_each(|record| println!("labelled by code alone: {record}"));
        if self.unreadable > 0 {
            println!("not FHIR R4: {}", self.unreadable);
        }
    }
}

fn data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = std::env::var_os("DRAPE_SHARED").map_or(beside, PathBuf::from).join("data");
    folder.is_dir().then_some(folder)
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = files.map(|f| f.unwrap().path()).collect();
    files.retain(|f| f.to_string_lossy().ends_with(ending));
    files.sort_by_key(|f| (f.metadata().unwrap().len(), f.clone()));
    files
}

#[test]
fn hardly_anything_that_is_named_sensitive_goes_without_its_label() {
    let Some(folder) = data() else {
        eprintln!("LEFT OUT: there is no folder of sample data (set DRAPE_SHARED to one)");
        return;
    };
    let measure =
        Measure { catalogue: Catalogue::builtin(), labels: Labels::parse(shipped::LABELS).unwrap() };
    println!("The lists are as of {}.", measure.labels.as_of());
    let mut synthea = Table::default();
    let transactions = files(&folder.join("synthea/r4-transactions"), ".json.gz");
    for file in &transactions {
        let unpacked = std::process::Command::new("gzip").arg("-dc").arg(file).output().unwrap();
        assert!(unpacked.status.success(), "gzip cannot unpack {}", file.display());
        let transaction: Value = serde_json::from_slice(&unpacked.stdout).unwrap();
        for entry in transaction["entry"].as_array().into_iter().flatten() {
            measure.record(&entry["resource"], &mut synthea);
        }
    }
    synthea.print("Synthea");
    let bodies = |name: &str, sources: &[&str]| {
        let mut table = Table::default();
        for file in sources.iter().flat_map(|source| files(&folder.join(source), ".json")) {
            let Ok(value) = serde_json::from_slice::<Value>(&std::fs::read(file).unwrap()) else { continue };
            match value["entry"].as_array() {
                Some(entries) => entries.iter().for_each(|e| measure.record(&e["resource"], &mut table)),
                None => measure.record(&value, &mut table),
            }
        }
        table.print(name);
        table
    };
    let vendors =
        bodies("Oracle Health's documented bodies and Epic's sandbox", &["cerner-millennium-r4", "epic-r4"]);
    let examples = bodies("Examples of the specification", &["hl7-r4-examples"]);
    let sum = |of: fn(&Row) -> usize| -> usize {
        [&synthea, &vendors, &examples].iter().flat_map(|t| t.rows.values()).map(of).sum()
    };
    let (expected, missed) = (sum(|r| r.expected), sum(|r| r.missed));
    assert!(expected >= 100, "only {expected} records are named sensitive: is the data there?");
    assert!(missed * 20 <= expected, "{missed} of {expected} were missed");
    assert!(sum(|r| r.labelled) >= 100);
}
