//! The fuzz targets on every run of the tests: some thousands of damaged texts each, the same each time. `DRAPE_FUZZ=60`
//! goes on for so many seconds, from another start each time.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]
#![allow(clippy::print_stdout, reason = "how much was tried belongs to the result")]

#[path = "../../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, clippy::expect_used, reason = "a crate of its own elsewhere")]
mod targets;

use std::time::{Duration, Instant};

use targets::{HUSH, TARGETS, Target};

/// A small generator of chance, so that a run can be had again.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

/// What a text is damaged with: pieces that mean something to one target or another.
const PIECES: [&str; 58] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "\\ud83d\\ude00",
    "null",
    "true",
    "1e999",
    "-0.0",
    "01",
    "\u{feff}",
    "\0",
    "é",
    "?",
    "&",
    "=",
    "%",
    "%00",
    "%2C",
    "%c3%28",
    "+",
    ";",
    "_include=Patient:link",
    "_has:Condition:patient:code=x",
    "subject:Patient.name=x",
    ":missing=true",
    ":not",
    "$",
    "|",
    "_sort=-birthdate",
    "/..",
    "//",
    "/$everything",
    "_history",
    "\"resourceType\":\"Basic\"",
    "\"contained\":[{\"resourceType\":\"Patient\"}]",
    "\"id\":\"x\"",
    "\"_given\":[null]",
    "\"reference\":\"#c1\"",
    "\"entry\":[]",
    "\"modifierExtension\":[{}]",
    "POST ",
    "/-",
    "/0",
    "~1",
    "\"op\":\"test\"",
    "\"op\":\"copy\",\"from\":\"\"",
    "\"op\":\"move\",\"from\":\"/name\"",
    "\"value\":{\"a\":[[]]}",
    ".where(use='x')",
    "name[0]",
    "\n",
];

fn seeds(target: &str) -> Vec<String> {
    let patient = format!(
        r##"{{"resourceType":"Patient","id":"{HUSH}","meta":{{"versionId":"{HUSH}","profile":["http://p/{HUSH}"]}},"text":{{"status":"generated","div":"<div>{HUSH}</div>"}},"contained":[{{"resourceType":"Practitioner","id":"c1","name":[{{"family":"{HUSH}"}}]}}],"name":[{{"family":"{HUSH}","_family":{{"extension":[{{"url":"http://x/{HUSH}","valueString":"{HUSH}"}}]}},"given":["{HUSH}",null],"_given":[null,{{"id":"{HUSH}"}}]}}],"birthDate":"{HUSH}","generalPractitioner":[{{"reference":"#c1","display":"{HUSH}"}}],"link":[{{"other":{{"reference":"http://up.example/fhir/Patient/{HUSH}"}},"type":"seealso"}}]}}"##
    );
    let observation = format!(
        r##"{{"resourceType":"Observation","id":"{HUSH}","status":"final","code":{{"coding":[{{"system":"http://loinc.org","code":"{HUSH}","display":"{HUSH}"}}],"text":"{HUSH}"}},"subject":{{"reference":"Patient/p1","identifier":{{"value":"{HUSH}"}}}},"valueQuantity":{{"value":1.50,"unit":"{HUSH}"}},"component":[{{"code":{{"text":"{HUSH}"}},"valueString":"{HUSH}"}}]}}"##
    );
    let entry = |resource: &str| {
        format!(
            r#"{{"fullUrl":"http://up.example/fhir/X/{HUSH}","resource":{resource},"search":{{"mode":"match"}}}}"#
        )
    };
    let searchset = format!(
        r#"{{"resourceType":"Bundle","id":"{HUSH}","type":"searchset","total":2,"link":[{{"relation":"next","url":"http://up.example/fhir/{HUSH}"}}],"entry":[{},{}]}}"#,
        entry(&patient),
        entry(&observation)
    );
    match target {
        "url" => [
            "/Patient?name=x&birthdate=ge2020-01-02,lt1990&_sort=-birthdate,name&_count=5&_elements=name",
            "/Observation?subject:Patient.name:exact=a%2Cb&code=http://l%7Cx,y&_include=Observation:subject&_total=none",
            "/Patient?_has:Condition:patient:code=a&_has:Observation:patient:_has:Provenance:target:agent=Practitioner/1",
            "/Patient/p1/Condition?code:not=x&_summary=count",
            "POST /Patient?general-practitioner:Practitioner=1&_revinclude:iterate=Condition:subject",
            "/Observation?code-value-quantity=a$gt5&value-quantity=le5.4|http://u|mg&date:missing=true",
            "/Patient/p1/_history?_count=2",
        ]
        .map(str::to_owned)
        .to_vec(),
        "json" => vec![patient, searchset, r#"[1.0,-2E+3,"\u00e9\ud83d\ude00",{"a":{"b":[]}},true,null]"#.to_owned()],
        // Plan 0 (all hidden) or another; then what is expected, in which pieces.
        "shield" => {
            let marked = |mark: &str, text: &str| format!("{mark}{text}");
            let history = searchset.replace("searchset", "history");
            ["\0", "\u{5}", "\u{1}", "\u{1f}"]
                .iter()
                .flat_map(|plan| {
                    [
                        marked(&format!("{plan}\u{6}"), &patient),
                        marked(&format!("{plan}\u{47}"), &observation),
                        marked(&format!("{plan}\u{4}"), &searchset),
                        marked(&format!("{plan}\u{1d}"), &history),
                    ]
                })
                .collect()
        }
        "batch" => vec![
            format!(r#"{{"resourceType":"Bundle","type":"batch","entry":[{{"request":{{"method":"GET","url":"Patient/1"}}}},{{"fullUrl":"urn:uuid:1","resource":{patient},"request":{{"method":"PUT","url":"Patient/1","ifMatch":"W/\"1\""}}}}]}}"#),
        ],
        "patch" => {
            let pointers = [
                r#"[{"op":"test","path":"/name/0/family","value":"Umberfield"},{"op":"replace","path":"/birthDate","value":"1980"}]"#,
                r#"[{"op":"add","path":"/name/-","value":{"given":["x"]}},{"op":"remove","path":"/birthDate"}]"#,
                r#"[{"op":"copy","from":"/name/0","path":"/name/1"},{"op":"move","from":"/text","path":"/a~1b"}]"#,
                r#"[{"op":"test","path":"/resourceType","value":"Patient"}]"#,
            ];
            let operation = |kind: &str, path: &str, more: &str| {
                format!(
                    r#"{{"name":"operation","part":[{{"name":"type","valueCode":"{kind}"}},{{"name":"path","valueString":"{path}"}}{more}]}}"#
                )
            };
            let place = r#",{"name":"index","valueInteger":0}"#;
            let value = r#",{"name":"value","valueString":"x"}"#;
            let moved = r#",{"name":"source","valueInteger":0},{"name":"destination","valueInteger":1}"#;
            let paths = [
                operation("add", "Patient", &format!(r#",{{"name":"name","valueString":"gender"}}{value}"#)),
                operation("replace", "Patient.name.where(family = 'Umberfield').family", value),
                operation("insert", "Patient.name[0].given", &format!("{place}{value}")),
                operation("move", "Patient.name[0].given", moved),
                operation("delete", "Patient.birthDate", ""),
            ];
            let whole = format!(r#"{{"resourceType":"Parameters","parameter":[{}]}}"#, paths.join(","));
            let single = paths.iter().map(|one| format!(r#"{{"resourceType":"Parameters","parameter":[{one}]}}"#));
            let all = pointers.map(str::to_owned).into_iter().chain(single).chain([whole]);
            all.map(|patch| format!("{patient}\n{patch}")).collect()
        }
        // Plan 0 (all hidden) or another; then the type.
        "merge" => {
            let other = patient.replace("[null,{", "[{},{").replace("seealso", "refer");
            ["\0", "\u{5}", "\u{1}", "\u{1f}"]
                .iter()
                .flat_map(|plan| {
                    [
                        format!("{plan}\0{patient}\n{patient}"),
                        format!("{plan}\u{2}{patient}\n{other}"),
                        format!("{plan}\u{1}{observation}\n{observation}"),
                    ]
                })
                .collect()
        }
        _ => vec!["{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k\"}\n{\"sub\":\"a\",\"aud\":[\"x\"],\"exp\":1}".to_owned(), "patient/*.rs user/Observation.cruds?code=x launch".to_owned()],
    }
}

fn damaged(seeds: &[String], chance: &mut Chance) -> Vec<u8> {
    let mut text = seeds[chance.below(seeds.len())].clone().into_bytes();
    for _ in 0..chance.below(5) {
        let at = chance.below(text.len() + 1);
        match chance.below(7) {
            0 => text.truncate(at),
            1 if at < text.len() => text[at] ^= 1 << chance.below(8),
            2 if at < text.len() => drop(text.remove(at)),
            3 => {
                let end = (at + chance.below(40)).min(text.len());
                let part = text[at..end].to_vec();
                let to = chance.below(text.len() + 1);
                text.splice(to..to, part);
            }
            4 => {
                let end = (at + chance.below(20)).min(text.len());
                text.drain(at..end);
            }
            5 => text.insert(at, chance.below(256) as u8),
            _ => {
                let piece = PIECES[chance.below(PIECES.len())];
                text.splice(at..at, piece.bytes());
            }
        }
    }
    text
}

fn run(name: &str, target: Target, times: usize) {
    let long = std::env::var("DRAPE_FUZZ").ok().and_then(|s| s.parse::<u64>().ok()).map(Duration::from_secs);
    let start = Instant::now();
    let seed = if long.is_some() { std::process::id().into() } else { 7 };
    let (seeds, mut chance, mut tried) = (seeds(name), Chance(seed), 0);
    for seed in &seeds {
        target(seed.as_bytes());
    }
    while tried < times || long.is_some_and(|long| start.elapsed() < long) {
        let text = damaged(&seeds, &mut chance);
        let held = std::panic::catch_unwind(|| target(&text));
        assert!(held.is_ok(), "{name} does not hold for {:?}", String::from_utf8_lossy(&text));
        tried += 1;
    }
    println!("{name}: {tried} texts");
}

fn target(name: &str) -> Target {
    TARGETS.iter().find(|(n, _)| *n == name).unwrap().1
}

#[test]
fn a_search_that_is_rebuilt_reads_the_same_whatever_is_asked() {
    run("url", target("url"), 20_000);
}

#[test]
fn a_text_reads_the_same_whole_in_pieces_and_to_another_parser() {
    run("json", target("json"), 5_000);
}

#[test]
fn the_shield_never_falls_and_says_nothing_where_nothing_is_shown() {
    run("shield", target("shield"), 6_000);
}

#[test]
fn a_batch_of_any_bytes_is_read_or_refused() {
    run("batch", target("batch"), 3_000);
}

#[test]
fn a_token_of_any_bytes_is_read_or_refused() {
    run("token", target("token"), 5_000);
}

#[test]
fn a_patch_of_any_bytes_makes_a_record_within_its_bounds_or_none() {
    run("patch", target("patch"), 6_000);
}

#[test]
fn most_of_the_patches_that_are_damaged_are_sound_before() {
    let all = seeds("patch");
    let mut faults = Vec::new();
    for seed in &all {
        let (record, patch) = seed.split_once('\n').unwrap();
        let (record, patch) = (record.as_bytes(), patch.as_bytes());
        let json = drape_fhir::patch::json(record, patch, 24, 1 << 14);
        let fhirpath = drape_fhir::patch::fhirpath(record, patch, 24, 1 << 14);
        if let (Err(json), Err(fhirpath)) = (json, fhirpath) {
            faults.push(format!("{json}; {fhirpath}"));
        }
    }
    assert!(faults.len() * 3 < all.len(), "{} of {}: {faults:#?}", faults.len(), all.len());
}

#[test]
fn what_was_shown_goes_back_without_a_change_whatever_is_stored() {
    run("merge", target("merge"), 3_000);
}

#[test]
fn every_target_is_run_here_and_by_cargo_fuzz() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name}");
    }
}
