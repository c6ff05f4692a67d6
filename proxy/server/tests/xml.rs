//! FHIR XML against a reader that knows only the definitions: every element of every type comes back as it was.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]
#![allow(clippy::print_stdout, reason = "how much was looked at belongs to the result")]
#![allow(clippy::print_stderr)]

mod canaries;
mod shielding;
mod xml_reader;

use std::path::{Path, PathBuf};

use canaries::{Coverage, Filling, listed, make};
use drape_fhir::definitions::r4;
use drape_fhir::json::{Kind, Limits, Tokens};
use drape_fhir::xml::to_xml;
use drape_view::shipped;
use serde_json::Value;
use shielding::{PATIENT, UP, catalogue, persons, record};

const DEPTH: usize = 64;

/// A filled record as R4 allows it: without `_div`, since xhtml has no extensions, and with a type for the records in a
/// Bundle or Parameters.
fn valid(resource_type: &str, json: &[u8]) -> Vec<u8> {
    let mut tokens = Tokens::new(json, Limits::default());
    let (mut out, mut copied) = (Vec::new(), 0);
    while let Some(token) = tokens.next_token().unwrap() {
        if token.kind != Kind::Key {
            continue;
        }
        if tokens.key() == "_div" {
            let kept = json[copied..token.start as usize].trim_ascii_end();
            out.extend_from_slice(kept.strip_suffix(b",").unwrap());
            let first = tokens.next_token().unwrap().unwrap();
            copied = usize::try_from(tokens.skip(&first).unwrap()).unwrap();
        } else if matches!((resource_type, tokens.key()), ("Bundle", "outcome") | ("Parameters", "resource"))
        {
            let first = tokens.next_token().unwrap().unwrap();
            let typed = |at: u64| json[at as usize..].starts_with(br#""resourceType""#);
            if first.kind != Kind::ObjectStart || typed(first.end) {
                continue;
            }
            out.extend_from_slice(&json[copied..first.end as usize]);
            out.extend_from_slice(br#""resourceType":"OperationOutcome""#);
            if json[first.end as usize] != b'}' {
                out.push(b',');
            }
            copied = first.end as usize;
        }
    }
    out.extend_from_slice(&json[copied..]);
    out
}

fn returns(json: &[u8], name: &str) {
    let xml = to_xml(json, DEPTH).unwrap_or_else(|e| panic!("{name}: {e}"));
    let back = xml_reader::read(std::str::from_utf8(&xml).unwrap());
    assert_eq!(back, xml_reader::letters(json), "{name}");
}

#[test]
fn every_element_of_every_type_comes_back_from_xml_as_it_was() {
    let extensions = listed(shipped::CATEGORIES);
    let (mut made, mut coverage) = (0, Coverage::default());
    for resource_type in r4().resource_types() {
        for turn in 0..60 {
            if turn >= 2 && coverage.is_complete(resource_type) {
                break;
            }
            let filling = Filling { turn, from: 1, modifiers: turn % 2 == 1 };
            let text = make(&catalogue(), &extensions, &mut coverage, resource_type, filling).text;
            returns(&valid(resource_type, text.as_bytes()), resource_type);
            made += 1;
        }
    }
    println!("{made} filled records of 146 types");
    assert!(made > 146);
}

#[test]
fn what_each_person_is_shown_comes_back_from_xml_as_it_was_shown() {
    let extensions = listed(shipped::CATEGORIES);
    let (mut shown, everyone, mut coverage) = (0, persons(PATIENT), Coverage::default());
    for (turn, resource_type) in r4().resource_types().enumerate() {
        let filling = Filling { turn, from: 1, modifiers: false };
        let text = make(&catalogue(), &extensions, &mut coverage, resource_type, filling).text;
        let text = valid(resource_type, text.as_bytes());
        for person in &everyone {
            let seen = person.look(record(resource_type), UP, &text, turn as u64).unwrap();
            if !seen.out.is_empty() {
                returns(&seen.out, &format!("{resource_type} for the {}", person.name));
                shown += 1;
            }
        }
    }
    println!("{shown} shielded records");
    assert!(shown > 300, "{shown}");
}

/// The examples of the standard that cannot be written as XML, and why. A new one fails the test, and so does one that
/// went away.
const REFUSED: [(&str, &str); 0] = [];

#[test]
fn the_standards_own_examples_come_back_from_xml_as_they_were() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = std::env::var_os("DRAPE_SHARED").map_or(beside, PathBuf::from).join("data/hl7-r4-examples");
    if !folder.is_dir() {
        eprintln!("LEFT OUT: there is no folder of the standard's examples (set DRAPE_SHARED to one)");
        return;
    }
    let (mut whole, mut refused) = (0, Vec::new());
    for file in std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".json") {
            continue;
        }
        let json = std::fs::read(&file).unwrap();
        let xml = match to_xml(&json, DEPTH) {
            Ok(xml) => String::from_utf8(xml).unwrap(),
            Err(error) => {
                refused.push((name, error.to_string()));
                continue;
            }
        };
        let (mut back, mut was) = (xml_reader::read(&xml), xml_reader::letters(&json));
        narratives(&mut back);
        narratives(&mut was);
        assert_eq!(back, was, "{name}");
        whole += 1;
    }
    refused.sort();
    println!("{whole} examples, {} refused", refused.len());
    let known: Vec<_> = REFUSED.iter().map(|(n, e)| ((*n).to_owned(), (*e).to_owned())).collect();
    assert_eq!(refused, known);
    assert!(whole > 50, "{whole}");
}

/// Compares narratives by what an XML reader sees in them: names, attributes, text.
fn narratives(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if name == "div" && text.trim_start().starts_with('<') => {
                        let document = roxmltree::Document::parse(text.trim()).unwrap();
                        let seen = document.descendants().map(|n| {
                            let attributes: Vec<_> = n.attributes().map(|a| (a.name(), a.value())).collect();
                            format!("{:?} {:?} {:?}", n.tag_name(), n.text(), attributes)
                        });
                        *text = seen.collect();
                    }
                    other => narratives(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(narratives),
        _ => {}
    }
}
