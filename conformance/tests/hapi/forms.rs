//! XML judged by HAPI: what Drape writes is what HAPI writes, and HAPI reads it as it reads the JSON.

use drape_conformance::fault::Faults;
use drape_conformance::http::{Call, Reply};
use drape_conformance::{Fault, Outcome};
use drape_demo::Persona;
use serde_json::Value;

use crate::world::{TYPES, World};

const XML: &str = "application/fhir+xml";

/// GET through Drape as XML.
fn xml(world: &World, persona: Persona, path: &str) -> Outcome<Reply> {
    Call::get(world.url(path)).bearer(world.token(persona)).header("Accept", XML).send()
}

/// For one who is shown everything: element by element and attribute by attribute as HAPI writes it.
pub(crate) fn as_hapi_writes_it(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let mut paths = Vec::new();
    for (kind, records) in &world.held {
        for record in records.iter().take(3) {
            paths.push(format!("{kind}/{}", record["id"].as_str().unwrap_or_default()));
        }
    }
    let reads = paths.len();
    paths.extend([
        "Observation?_count=60".to_owned(),
        "Encounter?_count=9&_include=Encounter:patient&_include=Encounter:participant".to_owned(),
        "ExplanationOfBenefit?_count=20".to_owned(),
        format!("Patient/{}/_history", world.lead),
        "Patient?family=Nobody-Of-That-Name".to_owned(),
    ]);
    for (place, path) in paths.iter().enumerate() {
        let ours = xml(world, Persona::RecordsOfficer, path)?.expect(200)?;
        faults.check(ours.header("content-type").is_some_and(|t| t.starts_with(XML)), || {
            format!("{path}: {:?}", ours.header("content-type"))
        });
        let theirs =
            Call::get(format!("{}/{path}", world.hapi.base)).header("Accept", XML).send()?.expect(200)?;
        let theirs = String::from_utf8_lossy(&world.rewritten(&theirs.body)).into_owned();
        faults.note(same(path, &ours.text(), &theirs, place >= reads));
    }
    faults.check(reads > 40, || format!("only {reads} records were compared"));
    faults.outcome()
}

/// The same elements with the same attributes and text; of a Bundle without what each answer has of its own.
fn same(what: &str, ours: &str, theirs: &str, bundle: bool) -> Outcome {
    let read = |text: &str| -> Outcome<Vec<String>> {
        let document = roxmltree::Document::parse(text).map_err(|e| Fault(format!("{what}: {e}")))?;
        let mut lines = Vec::new();
        for child in document.root_element().children() {
            if !(bundle && matches!(child.tag_name().name(), "id" | "meta" | "link")) {
                lines_of(child, 1, &mut lines);
            }
        }
        lines.push(format!("{:?}", document.root_element().tag_name()));
        Ok(lines)
    };
    let (ours, theirs) = (read(ours)?, read(theirs)?);
    match ours.iter().zip(&theirs).find(|(a, b)| a != b) {
        Some((a, b)) => Err(Fault(format!("{what}: `{a}`, HAPI has `{b}`"))),
        None if ours.len() == theirs.len() => Ok(()),
        None => Err(Fault(format!("{what}: {} lines, HAPI has {}", ours.len(), theirs.len()))),
    }
}

fn lines_of(node: roxmltree::Node<'_, '_>, depth: usize, lines: &mut Vec<String>) {
    if node.is_text() {
        // A narrative's line breaks say nothing.
        let words: Vec<&str> = node.text().unwrap_or_default().split_whitespace().collect();
        if !words.is_empty() {
            lines.push(format!("{depth} {}", words.join(" ")));
        }
    }
    if node.is_element() {
        let mut attributes: Vec<String> =
            node.attributes().map(|a| format!("{}={:?}", a.name(), a.value())).collect();
        attributes.sort();
        let name = node.tag_name();
        lines.push(format!("{depth} {:?} {} {}", name.namespace(), name.name(), attributes.join(" ")));
    }
    node.children().for_each(|child| lines_of(child, depth + 1, lines));
}

/// For whoever is shown a part of it: HAPI takes the XML for the same record as the JSON.
pub(crate) fn as_hapi_reads_it(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let mut judged = 0;
    for persona in
        [Persona::RecordsOfficer, Persona::Doctor, Persona::Billing, Persona::Researcher, Persona::Patient]
    {
        for kind in TYPES {
            for record in world.held[kind].iter().take(2) {
                let path = format!("{kind}/{}", record["id"].as_str().unwrap_or_default());
                let json = world.get(persona, &path)?;
                let as_xml = xml(world, persona, &path)?;
                faults.check(json.status == as_xml.status, || {
                    format!("{path} for {persona:?}: {} as JSON, {} as XML", json.status, as_xml.status)
                });
                if json.status != 200 || as_xml.status != 200 {
                    continue;
                }
                let from_json = taken(world, kind, "application/fhir+json", &json)?;
                let from_xml = taken(world, kind, XML, &as_xml)?;
                judged += 1;
                faults.check(from_json == from_xml, || {
                    format!(
                        "{path} for {persona:?}: HAPI reads\n{from_xml}\nfrom XML, and from JSON\n{from_json}"
                    )
                });
            }
        }
    }
    faults.check(judged > 40, || format!("only {judged} records were judged"));
    faults.outcome()
}

/// What HAPI makes of a body: it is created there, read back and taken away again.
fn taken(world: &World, kind: &str, media: &str, reply: &Reply) -> Outcome<Value> {
    let made = Call::post(format!("{}/{kind}", world.hapi.base), media, reply.body.clone())
        .header("Accept", "application/fhir+json")
        .send()?
        .expect(201)
        .map_err(|e| Fault(format!("HAPI does not take {media}: {e}")))?;
    let mut record: Value = serde_json::from_slice(&made.body)?;
    let id = record["id"].as_str().unwrap_or_default();
    Call::new("DELETE", format!("{}/{kind}/{id}", world.hapi.base)).send()?.expect(200)?;
    record["id"] = Value::Null;
    for own in ["versionId", "lastUpdated", "source"] {
        record["meta"][own] = Value::Null;
    }
    unsealed(&mut record);
    Ok(record)
}

/// Takes sealed elements out: each answer seals anew.
fn unsealed(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove("valueBase64Binary");
            members.values_mut().for_each(unsealed);
        }
        Value::Array(items) => items.iter_mut().for_each(unsealed),
        _ => {}
    }
}
