//! For one who is shown everything no byte is changed: read, version, history, search over all pages, includes.
//! `docs/transparency.md` lists what is another's than the server's even then.

use drape_conformance::bytes::{difference, items, members};
use drape_conformance::fault::Faults;
use drape_conformance::http::{Call, Reply, encode};
use drape_conformance::{Fault, Outcome};
use drape_demo::Persona;

use crate::world::{World, next_page};

pub(crate) const ALL_SEEING: Persona = Persona::RecordsOfficer;

pub(crate) fn reads(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let mut compared = 0;
    for (kind, records) in &world.held {
        for record in records.iter().take(4) {
            let id = record["id"].as_str().unwrap_or_default();
            for path in [format!("{kind}/{id}"), format!("{kind}/{id}/_history/1")] {
                let theirs = world.hapi.get(&path)?;
                let ours = world.get(ALL_SEEING, &path)?.expect(200)?;
                compared += 1;
                let same = difference(&ours.body, &world.rewritten(&theirs.body));
                faults.check(same.is_none(), || format!("{path}: {}", same.unwrap_or_default()));
                for name in ["etag", "last-modified"] {
                    faults.check(ours.header(name) == theirs.header(name), || {
                        format!(
                            "{path}: {name} is {:?}, HAPI says {:?}",
                            ours.header(name),
                            theirs.header(name)
                        )
                    });
                }
                for inner in ["x-powered-by", "server", "content-location"] {
                    faults
                        .check(ours.header(inner).is_none(), || format!("{path}: the header {inner} passes"));
                }
            }
        }
    }
    faults.check(compared > 80, || format!("only {compared} records were compared"));
    faults.outcome()
}

/// Two Bundles: the same members in the same order, each the same bytes, but for what differs by design (links, and
/// what HAPI makes anew for each answer). Gives how many entries were compared.
pub(crate) fn same_bundle(world: &World, what: &str, ours: &Reply, theirs: &Reply) -> Outcome<usize> {
    let theirs = world.rewritten(&theirs.body);
    let (ours_all, theirs_all) = (members(&ours.body)?, members(&theirs)?);
    let names = |all: &[(String, &[u8])]| all.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
    if names(&ours_all) != names(&theirs_all) {
        return Err(Fault(format!(
            "{what}: members {:?}, HAPI has {:?}",
            names(&ours_all),
            names(&theirs_all)
        )));
    }
    let mut entries = 0;
    for ((name, a), (_, b)) in ours_all.iter().zip(&theirs_all) {
        match name.as_str() {
            "id" | "meta" | "link" => {}
            "entry" => {
                let (a, b) = (items(a)?, items(b)?);
                entries = a.len();
                if a.len() != b.len() {
                    return Err(Fault(format!("{what}: {} entries, HAPI has {}", a.len(), b.len())));
                }
                for (index, (a, b)) in a.iter().zip(&b).enumerate() {
                    if let Some(where_) = difference(a, b) {
                        return Err(Fault(format!("{what}: entry {index}: {where_}")));
                    }
                }
            }
            _ => {
                if let Some(where_) = difference(a, b) {
                    return Err(Fault(format!("{what}: member `{name}`: {where_}")));
                }
            }
        }
    }
    Ok(entries)
}

pub(crate) fn history(world: &World) -> Outcome {
    let mut faults = Faults::default();
    for path in [
        format!("Patient/{}/_history", world.lead),
        "Observation/conf-observation-lead/_history?_count=5".into(),
        "Condition/_history?_count=50".into(),
        "_history?_count=200".into(),
    ] {
        match over_pages(world, &path) {
            Ok(entries) => faults.check(entries > 0, || format!("{path}: no entry")),
            Err(fault) => faults.note(Err(fault)),
        }
    }
    faults.outcome()
}

pub(crate) fn searches(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let lead = &world.lead;
    let code = encode("http://loinc.org|8310-5");
    let searches = [
        "Observation?_count=37".to_owned(),
        "Patient?_count=2".to_owned(),
        "Patient?_count=3&_revinclude=Condition:patient&_revinclude=Encounter:patient".to_owned(),
        "Encounter?_count=9&_include=Encounter:patient&_include=Encounter:participant&_include=Encounter:service-provider".to_owned(),
        "Condition?_sort=-recorded-date,_id&_count=7".to_owned(),
        "ExplanationOfBenefit?_count=20".to_owned(),
        "Claim?_count=25&_include=Claim:patient".to_owned(),
        "DiagnosticReport?_count=10&_include=DiagnosticReport:result".to_owned(),
        "Practitioner?_count=50".to_owned(),
        format!("Observation?subject=Patient/{lead}&_count=20&_sort=date,_id"),
        format!("Observation?code={code}"),
        format!("Patient?_has:Observation:patient:code={code}"),
        "Observation?subject:Patient.gender=female&code:text=e&_count=40".to_owned(),
        "Encounter?service-provider:Organization.name=a&_count=30".to_owned(),
        "Condition?_include=Condition:encounter&_include:iterate=Encounter:service-provider&_count=15".to_owned(),
        "Observation?patient.gender=female&_count=20".to_owned(),
        "Patient?_summary=true&_count=4".to_owned(),
        "Patient?_summary=data&_count=4".to_owned(),
        "Patient?_summary=text&_count=4".to_owned(),
        "Observation?_elements=code,status&_count=40".to_owned(),
        "Patient?identifier=TEEN-55120".to_owned(),
        "Patient?_summary=count".to_owned(),
        "Patient?family=Nobody-Of-That-Name".to_owned(),
    ];
    for search in searches {
        faults.note(over_pages(world, &search).map(drop));
    }
    // This HAPI searches no compartments, and one who is shown everything is told as much.
    for kind in ["Condition", "Observation"] {
        let path = format!("Patient/{lead}/{kind}?_count=20");
        match (world.hapi.get(&path)?.status, world.get(ALL_SEEING, &path)?.status) {
            (200, 200) => faults.note(over_pages(world, &path).map(drop)),
            (theirs, ours) => faults.check(theirs == ours, || format!("{path}: {ours}, HAPI has {theirs}")),
        }
    }
    faults.outcome()
}

/// Page by page to the end, through Drape and at HAPI. Gives how many entries were compared.
pub(crate) fn over_pages(world: &World, search: &str) -> Outcome<usize> {
    let mut entries = 0;
    let mut theirs =
        world.hapi.get(search)?.expect(200).map_err(|e| Fault(format!("{search} at HAPI: {e}")))?;
    let mut ours = world.get(ALL_SEEING, search)?.expect(200).map_err(|e| Fault(format!("{search}: {e}")))?;
    for page in 1..=60 {
        entries += same_bundle(world, &format!("{search}, page {page}"), &ours, &theirs)?;
        let text = ours.text();
        for inner in [world.hapi.base.as_str(), "_getpages"] {
            if text.contains(inner) {
                return Err(Fault(format!("{search}, page {page}: `{inner}` is shown")));
            }
        }
        match (next_page(&ours), next_page(&theirs)) {
            (None, None) => return Ok(entries),
            (Some(a), Some(b)) => {
                ours = Call::get(a).bearer(world.token(ALL_SEEING)).send()?.expect(200)?;
                theirs = Call::get(b).send()?.expect(200)?;
            }
            (a, b) => return Err(Fault(format!("{search}, page {page}: next is {a:?}, HAPI has {b:?}"))),
        }
    }
    Err(Fault(format!("{search}: pages without end")))
}

pub(crate) fn posted_search(world: &World) -> Outcome {
    let form = format!("subject={}&_count=30", encode(&format!("Patient/{}", world.lead)));
    let media = "application/x-www-form-urlencoded";
    let ours = Call::post(world.url("Observation/_search"), media, form.clone())
        .bearer(world.token(ALL_SEEING))
        .send()?
        .expect(200)?;
    let theirs =
        Call::post(format!("{}/Observation/_search", world.hapi.base), media, form).send()?.expect(200)?;
    let entries = same_bundle(world, "Observation/_search", &ours, &theirs)?;
    if entries > 0 { Ok(()) } else { Err(Fault::new("nothing was found to compare")) }
}
