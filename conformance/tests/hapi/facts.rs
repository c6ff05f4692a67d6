//! Facts that HAPI tells: a care team opens a record, a Patient record says an age, a reference tells of nothing withheld.

use drape_conformance::drape::{Drape, Settings};
use drape_conformance::fault::Faults;
use drape_conformance::http::{Call, Reply};
use drape_conformance::records::{DOCTOR, STRANGERS_NOTE, SUBSTANCE};
use drape_conformance::{Fault, Outcome};
use drape_demo::Persona;
use serde_json::{Value, json};

use crate::world::{World, subject, texts};

/// What the token says of relations is not believed here: only what HAPI holds.
const FACTS: &str = "version: 1
relations:
  claim: false
  care_team: { is: careTeam, deadline_ms: 20000 }
  general_practitioner: { is: generalPractitioner, deadline_ms: 20000 }
ages: { claim: false, patient: { deadline_ms: 20000 } }
references: { mode: check, deadline_ms: 20000 }
";

fn put(world: &World, records: &[Value]) -> Outcome {
    let entry: Vec<Value> = records
        .iter()
        .map(|record| {
            let url = texts(record, "resourceType").join("") + "/" + &texts(record, "id").join("");
            json!({"resource": record, "request": {"method": "PUT", "url": url}})
        })
        .collect();
    world.hapi.transaction(
        json!({"resourceType": "Bundle", "type": "transaction", "entry": entry}).to_string().as_bytes(),
    )
}

pub(crate) fn looked_up(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let team = |id: &str, status: &str, patient: &str| {
        json!({"resourceType": "CareTeam", "id": id, "status": status,
            "subject": {"reference": format!("Patient/{patient}")},
            "participant": [{"member": {"reference": format!("Practitioner/{DOCTOR}")}}]})
    };
    put(
        world,
        &[team("conf-team", "active", &world.stranger), team("conf-team-over", "inactive", &world.lead)],
    )?;
    let mut settings = Settings::new(&world.hapi.base, "hapi", &world.provider.url, "RS256");
    settings.facts = Some(FACTS);
    let mut drape = Drape::start(&subject(), &world.work.join("facts"), settings)?;
    drape.described()?;
    let get = |persona: Persona, path: &str| -> Outcome<Reply> {
        let token = world.token_for(persona, &drape.base)?;
        Call::get(format!("{}/{path}", drape.base)).bearer(&token).send()
    };
    // By the token she has nothing to do with the stranger, by HAPI's care team she has; and the other way about.
    let other = world.get(Persona::Doctor, "Observation/conf-observation-stranger")?;
    faults.check(other.status == 404, || format!("by the token the stranger's record is {}", other.status));
    let opened = get(Persona::Doctor, "Observation/conf-observation-stranger")?.expect(200)?;
    faults.check(opened.text().contains(STRANGERS_NOTE), || "the care team's record is not whole".into());
    let lead = get(Persona::Doctor, "Observation/conf-observation-lead")?;
    faults.check(lead.status == 404, || format!("a care team that is over opens a record: {}", lead.status));
    let found = get(Persona::Doctor, "Observation?code=8310-5")?.expect(200)?.json()?;
    let subjects = texts(&found, "entry.*.resource.subject.reference");
    let own = format!("Patient/{}", world.stranger);
    faults.check(!subjects.is_empty() && subjects.iter().all(|s| *s == own), || {
        format!("a search is narrowed to {subjects:?}")
    });
    let asked = drape.metric("drape_fact_lookups_total{fact=\"care-team\",outcome=\"answered\"}")?;
    faults.check(asked == 1, || format!("the care teams of one caller were asked for {asked} times"));
    // A guardian by claim is none here, since claims are not believed.
    let child = get(Persona::Guardian, "Condition/conf-asthma")?;
    faults.check(child.status == 404, || format!("a claim is believed: {}", child.status));
    drape.stop()?;
    drape.verify()?;
    faults.outcome()
}

pub(crate) fn references(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let name =
        |id: &str| json!({"condition": {"reference": format!("Condition/{id}"), "display": SUBSTANCE}});
    let shown = json!({"resourceType": "Condition", "id": "conf-cold",
        "clinicalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]},
        "code": {"coding": [{"system": "http://snomed.info/sct", "code": "82272006"}]},
        "subject": {"reference": format!("Patient/{}", world.lead)}});
    let mut shown_name = name("conf-cold");
    shown_name["condition"]["display"] = json!("Common cold");
    let visit = json!({"resourceType": "Encounter", "id": "conf-visit", "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "subject": {"reference": format!("Patient/{}", world.lead)},
        "diagnosis": [shown_name, name("conf-substance")],
        "reasonReference": [{"reference": "Condition/conf-substance"}]});
    put(world, &[shown, visit])?;
    for path in [
        "Encounter/conf-visit".to_owned(),
        format!("Encounter?patient=Patient/{}&_id=conf-visit", world.lead),
    ] {
        let text = world.get(Persona::Doctor, &path)?.expect(200)?.everything();
        faults.check(text.contains("Condition/conf-cold"), || {
            format!("{path}: a reference to a shown record is lost")
        });
        for hidden in ["conf-substance", SUBSTANCE] {
            faults.check(!text.contains(hidden), || format!("{path}: `{hidden}` tells of a withheld record"));
        }
        let all = world.get(Persona::Patient, &path)?.expect(200)?.everything();
        faults.check(all.contains("conf-substance"), || {
            format!("{path}: the patient misses her own diagnosis")
        });
    }
    let written = world.get(Persona::Doctor, "Condition/conf-substance")?;
    if written.status != 404 {
        return Err(Fault(format!("the diagnosis itself is {}", written.status)));
    }
    faults.outcome()
}
