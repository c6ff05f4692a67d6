//! For one who is shown everything no byte is changed either where it is not a read or a search: conditions, operations,
//! batches, exports, and what a write is answered.

use std::collections::BTreeMap;

use drape_conformance::bytes::{difference, items, member};
use drape_conformance::fault::{Faults, check};
use drape_conformance::http::{Call, Reply};
use drape_conformance::{Fault, Outcome};
use serde_json::{Value, json};

use crate::exact::{ALL_SEEING, over_pages};
use crate::export::export;
use crate::world::{TYPES, World, texts};

const MEDIA: &str = "application/fhir+json";

fn call(world: &World, method: &str, path: &str) -> Call {
    Call::new(method, world.url(path)).bearer(world.token(ALL_SEEING))
}

/// HEAD says what GET says; a version that is known is told as such, and no other.
pub(crate) fn conditions(world: &World) -> Outcome {
    let mut faults = Faults::default();
    for kind in ["Patient", "Observation", "Practitioner", "ExplanationOfBenefit"] {
        let id = world.held[kind].first().and_then(|r| r["id"].as_str()).unwrap_or_default();
        let path = format!("{kind}/{id}");
        let theirs = world.hapi.get(&path)?.expect(200)?;
        let get = call(world, "GET", &path).send()?.expect(200)?;
        let head = call(world, "HEAD", &path).send()?.expect(200)?;
        for name in ["content-type", "etag", "last-modified", "cache-control", "vary"] {
            faults.check(head.header(name).is_some() && head.header(name) == get.header(name), || {
                format!("{path}: HEAD has {name} {:?}, GET {:?}", head.header(name), get.header(name))
            });
        }
        let (etag, changed) = (theirs.header("etag"), theirs.header("last-modified"));
        let (etag, changed) = (etag.unwrap_or_default(), changed.unwrap_or_default());
        for (name, value, status) in [
            ("If-None-Match", etag, 304),
            ("If-None-Match", "W/\"nobody-has-it\"", 200),
            ("If-Modified-Since", changed, 304),
            ("If-Modified-Since", "Sat, 01 Jan 2000 00:00:00 GMT", 200),
        ] {
            let reply = call(world, "GET", &path).header(name, value).send()?;
            faults.check(reply.status == status, || format!("{path}, {name} {value}: {}", reply.status));
            let body: &[u8] = if status == 200 { &get.body } else { b"" };
            faults.check(reply.body == body, || format!("{path}, {name} {value}: {}", reply.text()));
            faults.check(reply.header("etag") == get.header("etag"), || format!("{path}: another ETag"));
        }
    }
    faults.outcome()
}

/// Operations that answer with records or a terminology's resource; answers about codes are Drape's own words, made of
/// the server's values.
pub(crate) fn operations(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let path = format!("Patient/{}/$everything?_count=40", world.lead);
    let everything = over_pages(world, &path)?;
    // Who leads depends on the day, and with it how much there is; more than a page must be.
    faults.check(everything > 40, || format!("$everything: only {everything} entries"));
    let set = "http://hl7.org/fhir/ValueSet/administrative-gender";
    let expand = format!("ValueSet/$expand?url={set}");
    let (ours, theirs) = (call(world, "GET", &expand).send()?.expect(200)?, world.direct(&expand)?);
    faults.note(same_expansion(&ours.body, &theirs));
    let system = "http://hl7.org/fhir/administrative-gender";
    for path in [
        format!("CodeSystem/$lookup?system={system}&code=male"),
        format!("ValueSet/$validate-code?url={set}&system={system}&code=male"),
        format!("ValueSet/$validate-code?url={set}&system={system}&code=none"),
        format!("CodeSystem/$validate-code?url={system}&code=male"),
    ] {
        let theirs = world.hapi.get(&path)?.expect(200).map_err(|e| Fault(format!("{path}: {e}")))?.json()?;
        let ours = call(world, "GET", &path).send()?.expect(200)?.json()?;
        let all = |of: &Value| of["parameter"].as_array().cloned().unwrap_or_default();
        let (ours, mut theirs) = (all(&ours), all(&theirs));
        theirs.retain(|p| p["name"] != "message");
        faults.check(!ours.is_empty() && ours.iter().all(|p| theirs.contains(p)), || {
            format!("{path}: {ours:?}, HAPI has {theirs:?}")
        });
        let left_out: Vec<&Value> = theirs.iter().filter(|p| !ours.contains(p)).collect();
        let unlisted = |p: &&Value| !["result", "display", "name", "version"].iter().any(|n| p["name"] == *n);
        faults.check(left_out.iter().all(unlisted), || format!("{path}: {left_out:?} is left out"));
    }
    faults.outcome()
}

/// A terminology server numbers and dates each expansion anew.
fn same_expansion(ours: &[u8], theirs: &[u8]) -> Outcome {
    let codes = |text: &[u8]| -> Outcome<Vec<u8>> {
        let expansion = member(text, "expansion")?.ok_or_else(|| Fault::new("$expand: no expansion"))?;
        let contains = member(expansion, "contains")?.ok_or_else(|| Fault::new("$expand: no code"))?;
        Ok(contains.to_vec())
    };
    let difference = difference(&codes(ours)?, &codes(theirs)?);
    check(difference.is_none(), || format!("$expand: {}", difference.unwrap_or_default()))?;
    let rest = |text: &[u8]| -> Outcome<Value> {
        let mut value: Value = serde_json::from_slice(text)?;
        for own in ["identifier", "timestamp"] {
            value["expansion"][own] = Value::Null;
        }
        Ok(value)
    };
    let (ours, theirs) = (rest(ours)?, rest(theirs)?);
    check(ours == theirs, || format!("$expand: {ours}, HAPI has {theirs}"))
}

/// Each entry of a batch is the record, byte for byte, as a read shows it.
pub(crate) fn batches(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let mut paths = Vec::new();
    for kind in TYPES {
        let ids = world.held[kind].iter().take(2).filter_map(|r| r["id"].as_str());
        paths.extend(ids.map(|id| format!("{kind}/{id}")));
    }
    paths.push(format!("Observation/{}/_history/1", "conf-observation-lead"));
    let entries: Vec<Value> = paths.iter().map(|p| json!({"request": {"method": "GET", "url": p}})).collect();
    for kind in ["batch", "transaction"] {
        let bundle = json!({"resourceType": "Bundle", "type": kind, "entry": entries}).to_string();
        let url = world.url("");
        let reply = Call::post(url.trim_end_matches('/'), MEDIA, bundle).bearer(world.token(ALL_SEEING));
        let reply = reply.send()?.expect(200)?;
        let answers = member(&reply.body, "entry")?.map(items).transpose()?.unwrap_or_default();
        faults.check(answers.len() == paths.len(), || format!("{} answers in a {kind}", answers.len()));
        for (path, answer) in paths.iter().zip(answers) {
            let ours = member(answer, "resource")?.unwrap_or_default();
            let theirs = world.direct(path)?;
            let differ = difference(ours, &theirs);
            faults.check(differ.is_none(), || format!("{path} in a {kind}: {}", differ.unwrap_or_default()));
        }
    }
    faults.outcome()
}

/// Each line of an export is the record, byte for byte, as HAPI sends it.
pub(crate) fn exports(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let files = export(world, ALL_SEEING, "$export")?;
    let mut compared = 0;
    for kind in TYPES {
        let mut held: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut next = Some(format!("{}/{kind}?_count=500", world.hapi.base));
        while let Some(url) = next {
            let page = Call::get(url).send()?.expect(200)?;
            for entry in member(&page.body, "entry")?.map(items).transpose()?.unwrap_or_default() {
                let resource = member(entry, "resource")?.unwrap_or_default();
                held.insert(id_of(resource)?, world.rewritten(resource));
            }
            next = crate::world::next_page(&page);
        }
        let mut lines = 0;
        for (_, url) in files.iter().filter(|(of, _)| of == kind) {
            let reply = Call::get(url).bearer(world.token(ALL_SEEING)).send()?.expect(200)?;
            for line in reply.body.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
                lines += 1;
                let id = id_of(line)?;
                let own = held.get(&id).map(Vec::as_slice).unwrap_or_default();
                let differ = difference(line, own);
                faults.check(differ.is_none(), || format!("{kind}/{id}: {}", differ.unwrap_or_default()));
            }
        }
        faults.check(lines == held.len(), || format!("{kind}: {lines} lines, HAPI holds {}", held.len()));
        compared += lines;
    }
    faults.check(compared > 500, || format!("only {compared} lines were compared"));
    faults.outcome()
}

fn id_of(resource: &[u8]) -> Outcome<String> {
    let id = member(resource, "id")?.unwrap_or_default();
    Ok(String::from_utf8_lossy(id).trim_matches('"').to_owned())
}

/// What a write is answered is what HAPI holds afterwards, and what a read shows.
pub(crate) fn echoes(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let body = format!(
        r#"{{"resourceType":"Observation","status":"final","code":{{"coding":[{{"system":"http://loinc.org","code":"8867-4"}}],"text":"puls \u00e9 \/ <b>"}},"subject":{{"reference":"Patient/{}"}},"effectiveDateTime":"2026-11-02T08:00:00+01:00","valueQuantity":{{"value":70.00,"unit":"/min"}},"note":[{{"text":"a  note\twith blanks"}}]}}"#,
        world.lead
    );
    let made = call(world, "POST", "Observation").body(MEDIA, body).send()?.expect(201)?;
    let id = id_of(&made.body)?;
    let path = format!("Observation/{id}");
    faults.note(echo(world, "create", &path, &made));
    let shown = call(world, "GET", &path).send()?.expect(200)?;
    let changed = shown.text().replace("70.00", "71.50");
    let updated = call(world, "PUT", &path).header("If-Match", "W/\"1\"").body(MEDIA, changed);
    faults.note(echo(world, "update", &path, &updated.send()?.expect(200)?));
    let change = r#"[{"op":"replace","path":"/valueQuantity/value","value":72.10}]"#;
    let patched = call(world, "PATCH", &path).body("application/json-patch+json", change);
    faults.note(echo(world, "patch", &path, &patched.send()?.expect(200)?));
    let stored = world.hapi.get(&path)?.expect(200)?.json()?;
    faults.check(texts(&stored, "note.*.text") == ["a  note\twith blanks"], || stored.to_string());
    let minimal = call(world, "PUT", &path).header("If-Match", "W/\"3\"").header("Prefer", "return=minimal");
    let shown = call(world, "GET", &path).send()?.expect(200)?.text().replace("72.10", "73.0");
    let minimal = minimal.body(MEDIA, shown).send()?.expect(200)?;
    faults.check(minimal.body.is_empty(), || format!("return=minimal: {}", minimal.text()));
    let gone = call(world, "DELETE", &path).header("If-Match", "W/\"4\"").send()?;
    faults.check(gone.status == 204 && gone.body.is_empty(), || format!("{}: {}", gone.status, gone.text()));
    let (ours, theirs) = (call(world, "GET", &path).send()?, world.hapi.get(&path)?);
    faults
        .check((ours.status, theirs.status) == (410, 410), || format!("{}, {}", ours.status, theirs.status));
    faults.outcome()
}

fn echo(world: &World, what: &str, path: &str, reply: &Reply) -> Outcome {
    let theirs = world.hapi.get(path)?.expect(200)?;
    let stored = world.rewritten(&theirs.body);
    let differ = difference(&reply.body, &stored);
    check(differ.is_none(), || format!("{what}: {}", differ.unwrap_or_default()))?;
    let read = call(world, "GET", path).send()?.expect(200)?;
    let differ = difference(&read.body, &stored);
    check(differ.is_none(), || format!("read after {what}: {}", differ.unwrap_or_default()))?;
    for name in ["etag", "last-modified"] {
        check(reply.header(name) == theirs.header(name), || {
            format!("{what}: {name} is {:?}, HAPI says {:?}", reply.header(name), theirs.header(name))
        })?;
    }
    Ok(())
}
