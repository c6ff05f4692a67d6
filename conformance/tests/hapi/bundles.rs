//! Attempts to get in by a batch or a transaction: what is refused by itself is refused in a Bundle too.

use drape_conformance::Outcome;
use drape_conformance::fault::Faults;
use drape_conformance::http::Call;
use drape_demo::Persona;
use serde_json::{Value, json};

use crate::attacks::refused;
use crate::leaks::{canaries, look};
use crate::world::{World, texts};

/// Entry by entry; of a transaction nothing is done.
pub(crate) fn attacks(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let (lead, stranger) = (format!("Patient/{}", world.lead), format!("Patient/{}", world.stranger));
    let moved = json!({"resourceType": "Observation", "id": "conf-observation-lead", "status": "final",
        "code": {"text": "x"}, "subject": {"reference": stranger}});
    let attacks = [
        json!({"request": {"method": "GET", "url": stranger}}),
        json!({"request": {"method": "GET", "url": format!("{}/{stranger}", world.hapi.base)}}),
        json!({"request": {"method": "GET", "url": "_history"}}),
        json!({"request": {"method": "GET", "url": "Patient/$export"}}),
        json!({"request": {"method": "GET", "url": "?_getpages=x"}}),
        json!({"request": {"method": "GET", "url": "Condition/conf-substance"}}),
        json!({"request": {"method": "DELETE", "url": lead}}),
        json!({"request": {"method": "DELETE", "url": format!("Observation?patient={stranger}")}}),
        json!({"request": {"method": "PUT", "url": "Observation/conf-observation-lead"}, "resource": moved}),
        json!({"request": {"method": "POST", "url": "Patient/$match"}, "resource": {"resourceType": "Parameters"}}),
        json!({"request": {"method": "POST", "url": "/"}, "resource": {"resourceType": "Bundle", "type": "batch"}}),
        json!({"request": {"method": "POST", "url": "Bundle"}, "resource": {"resourceType": "Bundle", "type": "batch"}}),
    ];
    let hidden = canaries(world, Persona::Doctor);
    let allowed = json!({"request": {"method": "GET", "url": lead}});
    let send = |kind: &str, entries: &[Value]| {
        let bundle = json!({"resourceType": "Bundle", "type": kind, "entry": entries}).to_string();
        let call = Call::post(&world.drape.base, "application/fhir+json", bundle);
        call.bearer(world.token(Persona::Doctor)).send()
    };
    let entries: Vec<Value> = std::iter::once(&allowed).chain(&attacks).cloned().collect();
    let reply = send("batch", &entries)?.expect(200)?;
    look(&mut faults, world, Persona::Doctor, "a batch", &reply, &hidden);
    let statuses = texts(&reply.json()?, "entry.*.response.status");
    faults.check(statuses.len() == entries.len(), || format!("{} answers", statuses.len()));
    for (status, entry) in statuses.iter().zip(&entries) {
        let refused = ["400", "403", "404", "405"].iter().any(|s| status.starts_with(s));
        faults.check(refused != (*entry == allowed), || format!("{status} for {entry}"));
    }
    for attack in &attacks {
        let reply = send("transaction", &[allowed.clone(), attack.clone()])?;
        let what = format!("a transaction with {attack}");
        // What is read is read when all is done: a record that is withheld is not there then, and stops nothing.
        if reply.status == 200 && attack["request"]["method"] == "GET" {
            look(&mut faults, world, Persona::Doctor, &what, &reply, &hidden);
            let statuses = texts(&reply.json()?, "entry.*.response.status");
            faults.check(statuses == ["200 OK", "404 Not Found"], || format!("{what}: {statuses:?}"));
        } else {
            refused(&mut faults, world, Persona::Doctor, &what, &reply, &[400, 403, 404, 405]);
        }
    }
    faults.outcome()
}
