//! What is hidden from somebody appears in no answer to him: over searches of every type, includes, history, versions.

use std::collections::BTreeSet;

use drape_conformance::Outcome;
use drape_conformance::fault::{Faults, short};
use drape_conformance::http::{Call, Reply, encode};
use drape_conformance::records::{CONFIDENTIAL, NARRATIVE, NOTE, STRANGERS_NOTE, SUBSTANCE, TEEN};
use drape_demo::Persona;
use serde_json::Value;

use crate::world::{TYPES, World, about, next_page, texts};

const OTHERS: [Persona; 9] = [
    Persona::Doctor,
    Persona::Nurse,
    Persona::Billing,
    Persona::Researcher,
    Persona::Patient,
    Persona::Guardian,
    Persona::Analyst,
    Persona::Attacker,
    Persona::Officer,
];

/// What names somebody directly.
fn direct(patient: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for path in ["identifier.*.value", "telecom.*.value", "address.*.line.*"] {
        found.extend(texts(patient, path));
    }
    found.retain(|v| v.len() >= 8);
    found
}

/// What must never reach this persona, as HAPI has it.
pub(crate) fn canaries(world: &World, persona: Persona) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    let related = &world.related[&persona];
    let all = || world.held.values().flatten();
    // Everything of patients with whom the persona has nothing to do: who they are, and the ids of their records.
    let by_relation = !matches!(persona, Persona::Billing | Persona::Researcher);
    if by_relation {
        for record in all() {
            if about(record).is_some_and(|p| !related.contains(&p)) {
                found.extend(record["id"].as_str().map(str::to_owned));
            }
        }
        for patient in
            world.held["Patient"].iter().filter(|p| !related.contains(p["id"].as_str().unwrap_or_default()))
        {
            found.extend(direct(patient));
        }
        found.insert(STRANGERS_NOTE.into());
    }
    match persona {
        Persona::Doctor => found.extend([SUBSTANCE.into(), "conf-substance".into()]),
        Persona::Patient => found.extend([CONFIDENTIAL.into()]),
        Persona::Guardian => {
            found.extend([CONFIDENTIAL.into(), "conf-confidential".into(), NOTE.into(), NARRATIVE.into()])
        }
        Persona::Nurse => {
            found.extend(world.held["Patient"].iter().flat_map(direct));
            found.extend([NOTE, NARRATIVE, SUBSTANCE, "conf-substance", "SUB-90210-Q"].map(str::to_owned));
        }
        Persona::Billing => {
            found.extend(world.held["Patient"].iter().flat_map(|p| texts(p, "telecom.*.value")));
            let hidden = [
                NOTE,
                NARRATIVE,
                STRANGERS_NOTE,
                SUBSTANCE,
                CONFIDENTIAL,
                "98.60",
                "conf-substance",
                "conf-confidential",
            ];
            found.extend(hidden.map(str::to_owned));
        }
        Persona::Researcher => {
            for patient in &world.held["Patient"] {
                found.extend(direct(patient));
                found.extend(texts(patient, "birthDate"));
                found.extend(texts(patient, "name.*.family").into_iter().map(|n| format!("\"{n}\"")));
            }
            // Raw ids of whatever is about a patient: she knows pseudonyms only.
            found.extend(
                all().filter(|r| about(r).is_some()).filter_map(|r| r["id"].as_str().map(str::to_owned)),
            );
            found.extend([NOTE, NARRATIVE, STRANGERS_NOTE, SUBSTANCE].map(str::to_owned));
        }
        _ => found.extend([NOTE, NARRATIVE, SUBSTANCE, CONFIDENTIAL].map(str::to_owned)),
    }
    found
}

/// Notes each canary that an answer holds. What the caller sent himself and gets back in a link tells him nothing.
pub(crate) fn look(
    faults: &mut Faults,
    world: &World,
    persona: Persona,
    asked: &str,
    reply: &Reply,
    hidden: &BTreeSet<String>,
) {
    let text = reply.everything();
    for canary in hidden {
        if text.contains(canary.as_str()) && !asked.contains(canary.as_str()) {
            let at = text.find(canary.as_str()).unwrap_or_default();
            let from = text[..at].char_indices().rev().nth(80).map_or(0, |(i, _)| i);
            faults.check(false, || {
                format!("{} is shown `{canary}` by {asked}: …{}", persona.word(), short(&text[from..], 200))
            });
        }
    }
    let inner = world.hapi.base.trim_start_matches("http://").split('/').next().unwrap_or_default();
    faults.check(!text.contains(inner), || format!("{} learns where HAPI is by {asked}", persona.word()));
}

fn asked_for(world: &World) -> Vec<String> {
    let (lead, stranger) = (&world.lead, &world.stranger);
    let mut all = Vec::new();
    for kind in TYPES {
        all.push(format!("{kind}?_count=60"));
        all.push(format!("{kind}?_lastUpdated=gt2020-01-01&_count=20"));
        if !["Patient", "Practitioner", "Organization", "Location"].contains(&kind) {
            all.push(format!("{kind}?patient=Patient/{lead}"));
            all.push(format!("{kind}?patient=Patient/{stranger}"));
            all.push(format!("{kind}?_include={kind}:patient&_count=20"));
        }
    }
    let family = world.patient(stranger).ok().map(|p| texts(p, "name.*.family").join("")).unwrap_or_default();
    all.extend([
        format!("Patient?_id={stranger}"),
        format!("Patient?family={}", encode(&family)),
        "Patient?birthdate=gt1900-01-01".to_owned(),
        "Patient?gender=male,female".to_owned(),
        "Patient?_revinclude=Observation:patient&_count=10".to_owned(),
        "Patient?_revinclude=Condition:patient&_revinclude=Claim:patient".to_owned(),
        format!("Patient?_id={lead}&_revinclude=Condition:patient&_revinclude=Observation:patient"),
        format!("Patient?_id={TEEN}&_revinclude=Condition:patient"),
        "Condition?code=http%3A%2F%2Fsnomed.info%2Fsct%7C75544000".to_owned(),
        "Condition?code=http%3A%2F%2Fsnomed.info%2Fsct%7C35489007&_include=Condition:patient".to_owned(),
        "Observation?code=http%3A%2F%2Floinc.org%7C8310-5&_include=Observation:patient&_include=Observation:performer".to_owned(),
        "Encounter?_include=Encounter:patient&_include=Encounter:participant&_include=Encounter:location".to_owned(),
        "Observation?_sort=-date&_count=20".to_owned(),
        "Patient?_summary=true".to_owned(),
        "Patient?_summary=text".to_owned(),
        "Patient?_summary=data".to_owned(),
        "Patient?_elements=identifier,name,telecom,address".to_owned(),
        "Observation?_elements=note,text".to_owned(),
        format!("Patient/{lead}/_history"),
        format!("Patient/{stranger}/_history"),
        "Observation/conf-observation-lead/_history".to_owned(),
        format!("Patient/{lead}?_elements=identifier,name,telecom"),
        format!("Patient/{lead}?_summary=text"),
    ]);
    all
}

pub(crate) fn searches(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let asked = asked_for(world);
    for persona in OTHERS {
        let hidden = canaries(world, persona);
        faults.check(hidden.len() > 10, || format!("only {} canaries for {}", hidden.len(), persona.word()));
        let mut entries = 0;
        for path in &asked {
            let mut reply = world.get(persona, path)?;
            for page in 0..3 {
                look(&mut faults, world, persona, path, &reply, &hidden);
                faults.check(reply.whole && reply.status < 500, || {
                    format!(
                        "{}: {path} gives {}: {}",
                        persona.word(),
                        reply.status,
                        short(&reply.text(), 200)
                    )
                });
                if reply.status == 200 {
                    entries += reply.json()?["entry"].as_array().map_or(0, Vec::len);
                }
                match next_page(&reply) {
                    Some(url) if page < 2 => reply = Call::get(url).bearer(world.token(persona)).send()?,
                    _ => break,
                }
            }
        }
        // A check that never sees a record proves nothing.
        let least = match persona {
            Persona::Analyst | Persona::Attacker | Persona::Officer => 0,
            Persona::Guardian => 5,
            _ => 60,
        };
        faults.check(entries >= least, || {
            format!("{} saw only {entries} records in all searches", persona.word())
        });
        faults.check(least > 0 || entries == 0, || format!("{} saw {entries} records", persona.word()));
    }
    faults.outcome()
}

pub(crate) fn reads(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let form = "application/x-www-form-urlencoded";
    for persona in OTHERS {
        let hidden = canaries(world, persona);
        for (kind, records) in &world.held {
            // Of each type the first few, and all that the suite brought itself.
            let own = records.iter().filter(|r| r["id"].as_str().is_some_and(|i| i.starts_with("conf-")));
            for record in records.iter().take(2).chain(own) {
                let id = record["id"].as_str().unwrap_or_default();
                for path in [format!("{kind}/{id}"), format!("{kind}/{id}/_history/1")] {
                    let reply = world.get(persona, &path)?;
                    look(&mut faults, world, persona, &path, &reply, &hidden);
                }
            }
            let body = format!(
                "_count=10&_id={}",
                records.first().map(|r| r["id"].as_str().unwrap_or_default()).unwrap_or_default()
            );
            let url = world.url(&format!("{kind}/_search"));
            let reply = Call::post(url, form, body.clone()).bearer(world.token(persona)).send()?;
            look(&mut faults, world, persona, &format!("POST {kind}/_search {body}"), &reply, &hidden);
        }
    }
    faults.outcome()
}
