//! Bulk exports, `$everything` and other operations as HAPI really answers them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use drape_conformance::fault::Faults;
use drape_conformance::http::{Call, Reply};
use drape_conformance::{Fault, Outcome};
use drape_demo::Persona;
use serde_json::{Value, json};

use crate::world::{World, about, next_page, texts};

/// HAPI needs some seconds; far more is a failure.
const PATIENCE: Duration = Duration::from_secs(120);

/// Begins an export and waits until its files are there: type and address of each.
pub(crate) fn export(world: &World, persona: Persona, path: &str) -> Outcome<Vec<(String, String)>> {
    let token = world.token(persona);
    let begun =
        Call::get(world.url(path)).bearer(token).header("prefer", "respond-async").send()?.expect(202)?;
    let status =
        begun.header("content-location").ok_or_else(|| Fault::new("no Content-Location"))?.to_owned();
    let started = Instant::now();
    let manifest = loop {
        let reply = Call::get(&status).bearer(token).send()?;
        if reply.status != 202 {
            break reply.expect(200)?.json()?;
        }
        if reply.header("retry-after").is_none() || started.elapsed() > PATIENCE {
            return Err(Fault(format!("still under way: {}", reply.everything())));
        }
        std::thread::sleep(Duration::from_secs(1));
    };
    if manifest.to_string().contains(&world.hapi.base) || manifest["requiresAccessToken"] != true {
        return Err(Fault(format!("not a manifest of Drape's own: {manifest}")));
    }
    let outputs = manifest["output"].as_array().into_iter().flatten();
    let text = |output: &Value, name: &str| output[name].as_str().unwrap_or_default().to_owned();
    Ok(outputs.map(|o| (text(o, "type"), text(o, "url"))).collect())
}

fn file(world: &World, persona: Persona, url: &str) -> Outcome<(Reply, Vec<Value>)> {
    let reply = Call::get(url).bearer(world.token(persona)).send()?.expect(200)?;
    let lines = reply.text().lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
    let lines = lines.map_err(|e| Fault(format!("a line is no JSON: {e}")))?;
    Ok((reply, lines))
}

fn ids(records: &[Value]) -> BTreeSet<String> {
    records.iter().filter_map(|r| r["id"].as_str().map(str::to_owned)).collect()
}

/// The ids that a search shows, over all its pages.
fn found(world: &World, persona: Persona, search: &str) -> Outcome<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    let mut reply = world.get(persona, search)?.expect(200)?;
    loop {
        all.extend(texts(&reply.json()?, "entry.*.resource.id"));
        let Some(url) = next_page(&reply) else { return Ok(all) };
        reply = Call::get(url).bearer(world.token(persona)).send()?.expect(200)?;
    }
}

pub(crate) fn of_a_cohort(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let kinds = ["Condition", "Observation", "Patient", "VisionPrescription"];
    let path = format!("Patient/$export?_type={}", kinds.join(","));
    let files = export(world, Persona::Researcher, &path)?;
    let named: Vec<&str> = files.iter().map(|(kind, _)| kind.as_str()).collect();
    faults.check(named == kinds, || format!("one file a type, whatever there is: {named:?}"));
    for (kind, url) in &files {
        let (reply, lines) = file(world, Persona::Researcher, url)?;
        faults.check(reply.header("content-type") == Some("application/fhir+ndjson"), || {
            format!("{kind}: {:?}", reply.header("content-type"))
        });
        faults.check(lines.iter().all(|l| l["resourceType"] == **kind), || format!("{kind}: other types"));
        let searched = found(world, Persona::Researcher, &format!("{kind}?_count=100"))?;
        faults.check(ids(&lines) == searched && lines.len() == searched.len(), || {
            format!("{kind}: {} lines, {} by search", lines.len(), searched.len())
        });
        for patient in &world.held["Patient"] {
            let id = patient["id"].as_str().unwrap_or_default();
            let family = texts(patient, "name.*.family");
            for hidden in family.iter().map(String::as_str).chain([id]) {
                faults.check(!reply.text().contains(&format!("\"{hidden}\"")), || {
                    format!("{kind}: the researcher is shown `{hidden}`")
                });
            }
        }
    }
    // Others may not, and the links are nobody else's.
    let refused = Call::get(world.url(&path)).bearer(world.token(Persona::Doctor));
    refused.header("prefer", "respond-async").send()?.expect(403)?;
    for (_, url) in &files {
        Call::get(url).bearer(world.token(Persona::RecordsOfficer)).send()?.expect(404)?;
    }
    faults.outcome()
}

pub(crate) fn of_everything(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let files = export(world, Persona::RecordsOfficer, "$export")?;
    for kind in ["Patient", "Condition", "Practitioner", "Claim"] {
        let mut lines = Vec::new();
        for (_, url) in files.iter().filter(|(of, _)| of == kind) {
            lines.extend(file(world, Persona::RecordsOfficer, url)?.1);
        }
        let held = ids(&world.held[kind]);
        faults.check(ids(&lines) == held, || format!("{kind}: {} lines, {} held", lines.len(), held.len()));
        for line in &lines {
            let own = world.held[kind].iter().find(|r| r["id"] == line["id"]);
            let own: Option<Value> =
                own.and_then(|r| serde_json::from_slice(&world.rewritten(r.to_string().as_bytes())).ok());
            faults.check(own.as_ref() == Some(line), || {
                format!("{kind}/{} is not what HAPI holds", line["id"])
            });
        }
    }
    faults.outcome()
}

pub(crate) fn everything_of_a_patient(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let path = format!("Patient/{}/$everything?_count=50", world.lead);
    let mut reply = world.get(Persona::Doctor, &path)?.expect(200)?;
    let mut records: Vec<Value> = Vec::new();
    loop {
        let bundle = reply.json()?;
        faults.check(bundle.get("total").is_none(), || "a total tells what is withheld".into());
        faults.check(!reply.text().contains(&world.hapi.base), || "HAPI's own address is shown".into());
        records.extend(bundle["entry"].as_array().into_iter().flatten().map(|e| e["resource"].clone()));
        let Some(url) = next_page(&reply) else { break };
        reply = Call::get(url).bearer(world.token(Persona::Doctor)).send()?.expect(200)?;
    }
    let kinds: BTreeSet<&str> = records.iter().filter_map(|r| r["resourceType"].as_str()).collect();
    for kind in ["Patient", "Observation", "Encounter"] {
        faults.check(kinds.contains(kind), || format!("no {kind} among {kinds:?}"));
    }
    for record in &records {
        faults.check(about(record).is_none_or(|of| of == world.lead), || {
            format!("{}/{} is about somebody else", record["resourceType"], record["id"])
        });
    }
    faults.check(!ids(&records).contains("conf-substance"), || "a withheld diagnosis is shown".into());
    for id in [world.stranger.as_str(), "nobody"] {
        let reply = world.get(Persona::Doctor, &format!("Patient/{id}/$everything"))?;
        faults.check(reply.status == 404, || format!("{id}: {}", reply.status));
    }
    faults.outcome()
}

pub(crate) fn codes_and_validation(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let gender = "http://hl7.org/fhir/administrative-gender";
    let path = format!("CodeSystem/$lookup?system={gender}&code=male");
    let looked = world.get(Persona::Doctor, &path)?.expect(200)?.json()?;
    faults
        .check(texts(&looked, "parameter.*.valueString").contains(&"Male".to_owned()), || looked.to_string());
    let set = "http://hl7.org/fhir/ValueSet/administrative-gender";
    let path = format!("ValueSet/$validate-code?url={set}&system={gender}&code=male");
    let told = world.get(Persona::Doctor, &path)?.expect(200)?.json()?;
    faults
        .check(told["parameter"][0] == json!({"name": "result", "valueBoolean": true}), || told.to_string());
    let expanded = world.get(Persona::Doctor, &format!("ValueSet/$expand?url={set}"))?.expect(200)?.json()?;
    let codes = texts(&expanded, "expansion.contains.*.code");
    faults.check(codes.contains(&"female".to_owned()), || expanded.to_string());
    let body = json!({"resourceType": "Observation", "status": "final",
        "subject": {"reference": format!("Patient/{}", world.lead)},
        "code": {"coding": [{"system": "http://loinc.org", "code": "8310-5"}]}});
    let validate = |body: &Value| {
        let url = world.url("Observation/$validate");
        Call::post(url, "application/fhir+json", body.to_string()).bearer(world.token(Persona::Doctor)).send()
    };
    let outcome = validate(&body)?.expect(200)?;
    faults.check(outcome.json()?["resourceType"] == "OperationOutcome", || outcome.text());
    faults.check(!outcome.text().contains("diagnostics"), || outcome.text());
    let mut other = body;
    other["subject"]["reference"] = json!(format!("Patient/{}", world.stranger));
    let refused = validate(&other)?;
    faults.check(refused.status == 403, || format!("about a stranger: {}", refused.status));
    faults.outcome()
}
