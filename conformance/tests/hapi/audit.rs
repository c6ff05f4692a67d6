//! Who saw this patient, why, under which policy; and the events as FHIR AuditEvents.

use drape_conformance::fault::Faults;
use drape_conformance::judge::audit_event;
use drape_conformance::{Fault, Outcome};
use drape_demo::Persona;

use crate::world::World;

pub(crate) fn search(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let patient = format!("Patient/{}", world.lead);
    // By whatever step before, or by none, the doctor has seen this patient now.
    world.get(Persona::Doctor, &patient)?.expect(200)?;
    let ran = world.drape.command(&["audit", "search", "--patient", &patient])?;
    faults.check(ran.code == Some(0), || format!("exit {:?}: {}", ran.code, ran.err));
    let line = ran.out.lines().find(|l| l.contains(&world.doctor_name)).unwrap_or_default().to_owned();
    for word in ["as clinician", "for TREAT", "read Patient", "clinician-requests", "200"] {
        faults.check(line.contains(word), || format!("`{word}` is not in `{line}`"));
    }
    // The attempt of somebody who was refused names the query, not a disclosure to her.
    let strangers =
        world.drape.command(&["audit", "search", "--patient", &format!("Patient/{}", world.stranger)])?;
    let saw = strangers
        .out
        .lines()
        .any(|l| l.contains(&world.doctor_name) && l.contains("outcome") && l.ends_with("200"));
    faults.check(!saw, || format!("the log says that the doctor saw the stranger: {}", strangers.out));
    let bad = world.drape.command(&["audit", "search", "--patient", "Observation/x"])?;
    faults.check(bad.code == Some(1) && bad.err.contains("names no patient"), || {
        format!("{:?} {}", bad.code, bad.err)
    });
    faults.note(world.drape.verify().map(drop));
    faults.outcome()
}

pub(crate) fn events(world: &World) -> Outcome {
    let mut faults = Faults::default();
    world.get(Persona::Doctor, &format!("Patient/{}", world.lead))?.expect(200)?;
    world.get(Persona::Attacker, &format!("Patient/{}", world.lead))?;
    let ran = world.drape.command(&["audit", "search", "--limit", "3000", "--json"])?;
    faults.check(ran.code == Some(0), || format!("exit {:?}: {}", ran.code, ran.err));
    let (mut read, mut refusals) = (0, 0);
    for line in ran.out.lines() {
        match audit_event(line) {
            Ok(event) => {
                read += 1;
                faults.check(!event.agent.is_empty(), || format!("nobody acted: {line}"));
                // The model knows what FHIR knows: what it does not write again it did not understand.
                let again = serde_json::to_value(&event)?;
                let given: serde_json::Value = serde_json::from_str(line)?;
                for name in given.as_object().into_iter().flat_map(|o| o.keys()) {
                    faults.check(again.get(name).is_some(), || {
                        format!("`{name}` is unknown to the model: {line}")
                    });
                }
                refusals += usize::from(given["outcome"] == "4");
            }
            Err(fault) => faults.note(Err(fault)),
        }
    }
    faults.check(read > 1 && refusals > 0, || format!("only {read} events, {refusals} refusals"));
    faults.outcome().map_err(|Fault(text)| Fault(text.lines().take(10).collect::<Vec<_>>().join("\n")))
}
