//! Writing: who treats a patient writes about her, against the version that was read; nobody else does.

use drape_conformance::fault::Faults;
use drape_conformance::http::{Call, Reply};
use drape_conformance::judge::refusal;
use drape_conformance::{Fault, Outcome};
use drape_demo::Persona;

use crate::world::World;

const MEDIA: &str = "application/fhir+json";

/// An Observation about somebody; the value keeps its trailing zero.
fn observation(patient: &str, id: Option<&str>, value: &str) -> String {
    let id = id.map(|id| format!(r#""id":"{id}","#)).unwrap_or_default();
    format!(
        r#"{{"resourceType":"Observation",{id}"status":"final","code":{{"coding":[{{"system":"http://loinc.org","code":"8867-4","display":"Heart rate"}}]}},"subject":{{"reference":"Patient/{patient}"}},"effectiveDateTime":"2026-11-01T08:00:00Z","valueQuantity":{{"value":{value},"unit":"/min","system":"http://unitsofmeasure.org","code":"/min"}}}}"#
    )
}

fn post(world: &World, persona: Persona, body: &str) -> Outcome<Reply> {
    Call::post(world.url("Observation"), MEDIA, body).bearer(world.token(persona)).send()
}

fn put(world: &World, persona: Persona, id: &str, body: &str, version: Option<&str>) -> Outcome<Reply> {
    let call = Call::new("PUT", world.url(&format!("Observation/{id}")))
        .body(MEDIA, body)
        .bearer(world.token(persona));
    match version {
        Some(version) => call.header("If-Match", version).send(),
        None => call.send(),
    }
}

/// Creates one as the doctor; gives its id.
fn created(world: &World, value: &str) -> Outcome<(Reply, String)> {
    let reply = post(world, Persona::Doctor, &observation(&world.lead, None, value))?.expect(201)?;
    let location = reply.header("location").unwrap_or_default().to_owned();
    let id = location
        .strip_prefix(&format!("{}/Observation/", world.drape.base))
        .and_then(|rest| rest.split('/').next())
        .ok_or_else(|| Fault(format!("the Location is `{location}`")))?
        .to_owned();
    Ok((reply, id))
}

fn number_of_observations(world: &World) -> Outcome<u64> {
    let count = world.hapi.get("Observation?_summary=count")?.json()?;
    count["total"].as_u64().ok_or_else(|| Fault(format!("no total: {count}")))
}

pub(crate) fn create(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let (reply, id) = created(world, "72.50")?;
    let (answered, stored) =
        (reply.text(), world.hapi.get(&format!("Observation/{id}"))?.expect(200)?.text());
    faults.check(stored.contains("72.50"), || format!("HAPI holds {stored}"));
    faults.check(answered == stored, || format!("answered {answered}, stored {stored}"));
    faults
        .check(reply.header("etag") == Some("W/\"1\""), || format!("the ETag is {:?}", reply.header("etag")));
    let read = world.get(Persona::Doctor, &format!("Observation/{id}"))?.expect(200)?;
    faults.check(read.text() == stored, || "the doctor reads something else".into());
    faults.outcome()
}

pub(crate) fn update(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let (_, id) = created(world, "73.0")?;
    let changed = observation(&world.lead, Some(&id), "74.10");
    let reply = put(world, Persona::Doctor, &id, &changed, Some("W/\"1\""))?.expect(200)?;
    faults
        .check(reply.header("etag") == Some("W/\"2\""), || format!("the ETag is {:?}", reply.header("etag")));
    // Somebody who read version 1 comes too late.
    let stale =
        put(world, Persona::Doctor, &id, &observation(&world.lead, Some(&id), "75"), Some("W/\"1\""))?;
    faults.note(refusal(&stale, 412).map(drop));
    let stored = world.hapi.get(&format!("Observation/{id}"))?.expect(200)?;
    faults.check(stored.text().contains("74.10"), || format!("HAPI holds {}", stored.text()));
    faults.check(stored.header("etag") == Some("W/\"2\""), || {
        format!("the stored ETag is {:?}", stored.header("etag"))
    });
    // The address and the body must mean the same record.
    let other =
        put(world, Persona::Doctor, &id, &observation(&world.lead, Some("another"), "1"), Some("W/\"2\""))?;
    faults.note(refusal(&other, 400).map(drop));
    // A record must not be carried off to a patient whom the doctor does not treat, nor hers be taken.
    let away =
        put(world, Persona::Doctor, &id, &observation(&world.stranger, Some(&id), "1"), Some("W/\"2\""))?;
    faults.note(refusal(&away, 403).map(drop));
    let taken = "conf-observation-stranger";
    let body = observation(&world.lead, Some(taken), "1");
    let reply = put(world, Persona::Doctor, taken, &body, Some("W/\"1\""))?;
    faults.note(refusal(&reply, 404).map(drop));
    let untouched = world.hapi.get(&format!("Observation/{taken}"))?.expect(200)?.text();
    faults.check(untouched.contains(&world.stranger), || "the stranger's record was taken".into());
    faults.outcome()
}

pub(crate) fn others(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let before = number_of_observations(world)?;
    let body = observation(&world.lead, None, "66");
    let everybody_else = [
        Persona::Nurse,
        Persona::Billing,
        Persona::Researcher,
        Persona::Patient,
        Persona::Guardian,
        Persona::Analyst,
        Persona::Attacker,
        Persona::Officer,
    ];
    for persona in everybody_else {
        let reply = post(world, persona, &body)?;
        faults.note(refusal(&reply, 403).map(drop).map_err(|e| Fault(format!("{}: {e}", persona.word()))));
        let reply = put(
            world,
            persona,
            "conf-observation-lead",
            &observation(&world.lead, Some("conf-observation-lead"), "66"),
            None,
        )?;
        faults.note(
            refusal(&reply, 403).map(drop).map_err(|e| Fault(format!("{} updates: {e}", persona.word()))),
        );
    }
    let about_a_stranger = post(world, Persona::Doctor, &observation(&world.stranger, None, "66"))?;
    faults.note(refusal(&about_a_stranger, 403).map(drop));
    let nobody = Call::post(world.url("Observation"), MEDIA, body).send()?;
    faults.note(refusal(&nobody, 401).map(drop));
    // What access itself rests on is not the doctor's to write.
    let relation = format!(
        r#"{{"resourceType":"Encounter","status":"finished","class":{{"code":"AMB"}},"subject":{{"reference":"Patient/{}"}}}}"#,
        world.lead
    );
    let reply =
        Call::post(world.url("Encounter"), MEDIA, relation).bearer(world.token(Persona::Doctor)).send()?;
    faults.note(refusal(&reply, 403).map(drop));
    // A reference that HAPI would resolve by a search is a search that nobody judged.
    let probing = observation(&world.lead, None, "66")
        .replace(&format!("Patient/{}", world.lead), "Patient?identifier=TEEN-55120");
    let reply = post(world, Persona::Doctor, &probing)?;
    faults
        .check(matches!(reply.status, 400 | 403), || format!("a reference by search gives {}", reply.status));
    let after = number_of_observations(world)?;
    faults.check(after == before, || format!("{before} observations became {after}"));
    faults.outcome()
}

fn patch(world: &World, persona: Persona, at: &str, patch: &str, version: Option<&str>) -> Outcome<Reply> {
    let call = Call::new("PATCH", world.url(at))
        .body("application/json-patch+json", patch)
        .bearer(world.token(persona));
    match version {
        Some(version) => call.header("If-Match", version).send(),
        None => call.send(),
    }
}

pub(crate) fn patches(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let (_, id) = created(world, "80.10")?;
    let at = format!("Observation/{id}");
    let change = r#"[{"op":"test","path":"/status","value":"final"},{"op":"replace","path":"/valueQuantity/value","value":81.20}]"#;
    patch(world, Persona::Doctor, &at, change, Some("W/\"1\""))?.expect(200)?;
    let stored = world.hapi.get(&at)?.expect(200)?.text();
    faults.check(stored.contains("81.20"), || format!("HAPI holds {stored}"));
    faults.note(refusal(&patch(world, Persona::Doctor, &at, change, Some("W/\"1\""))?, 412).map(drop));
    let failing = r#"[{"op":"test","path":"/status","value":"amended"}]"#;
    faults.note(refusal(&patch(world, Persona::Doctor, &at, failing, None)?, 422).map(drop));
    faults.note(refusal(&patch(world, Persona::Nurse, &at, change, None)?, 403).map(drop));
    let parameters = r#"{"resourceType":"Parameters","parameter":[{"name":"operation","part":[{"name":"type","valueCode":"replace"},{"name":"path","valueString":"Observation.value.unit"},{"name":"value","valueString":"beats/min"}]}]}"#;
    let call =
        Call::new("PATCH", world.url(&at)).body(MEDIA, parameters).bearer(world.token(Persona::Doctor));
    call.send()?.expect(200)?;
    let stored = world.hapi.get(&at)?.expect(200)?.text();
    faults.check(stored.contains("beats/min") && stored.contains("81.20"), || format!("HAPI holds {stored}"));
    faults.outcome()
}

/// Two who read the same version write at the same time: HAPI takes one of them, and the other is told so.
pub(crate) fn lost_update(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let (_, id) = created(world, "90.1")?;
    for round in 1..=5 {
        let version = format!("W/\"{round}\"");
        // What is there already would be no change, and no new version, to the one who comes first.
        let write = |tenths: &str| {
            let body = observation(&world.lead, Some(&id), &format!("{}.{tenths}", 100 + round));
            put(world, Persona::Doctor, &id, &body, Some(&version))
        };
        let (one, two) = std::thread::scope(|scope| {
            let one = scope.spawn(|| write("1"));
            let two = scope.spawn(|| write("2"));
            (one.join(), two.join())
        });
        let ended = |reply: std::thread::Result<Outcome<Reply>>| {
            reply.unwrap_or_else(|_| Err(Fault("a writer panicked".into()))).map(|r| r.status)
        };
        let mut statuses = [ended(one)?, ended(two)?];
        statuses.sort_unstable();
        faults.check(statuses == [200, 412], || format!("round {round} ended with {statuses:?}"));
    }
    faults.outcome()
}

pub(crate) fn conditional(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let marked = |value: &str| {
        observation(&world.lead, None, value).replace(
            r#""status""#,
            r#""identifier":[{"system":"urn:conformance","value":"conditional-1"}],"status""#,
        )
    };
    let criteria = format!("patient=Patient/{}&identifier=urn:conformance|conditional-1", world.lead);
    let create = |value: &str| {
        Call::post(world.url("Observation"), MEDIA, marked(value))
            .header("If-None-Exist", &criteria)
            .bearer(world.token(Persona::Doctor))
            .send()
    };
    let first = create("60.1")?.expect(201)?.json()?;
    let again = create("61.1")?.expect(200)?.json()?;
    faults.check(first["id"] == again["id"], || format!("{} became {}", first["id"], again["id"]));
    let at = format!("Observation?{}", criteria.replace('|', "%7C"));
    let call =
        Call::new("PUT", world.url(&at)).body(MEDIA, marked("62.1")).bearer(world.token(Persona::Doctor));
    call.send()?.expect(200)?;
    let id = first["id"].as_str().unwrap_or_default();
    let stored = world.hapi.get(&format!("Observation/{id}"))?.expect(200)?.text();
    faults.check(stored.contains("62.1"), || format!("HAPI holds {stored}"));
    // Clinicians delete nothing; the records officer does, in the version that was read.
    let delete = |persona, version: &str| {
        Call::new("DELETE", world.url(&format!("Observation/{id}")))
            .header("If-Match", version)
            .bearer(world.token(persona))
            .send()
    };
    faults.note(refusal(&delete(Persona::Doctor, "W/\"2\"")?, 403).map(drop));
    faults.note(refusal(&delete(Persona::RecordsOfficer, "W/\"1\"")?, 412).map(drop));
    delete(Persona::RecordsOfficer, "W/\"2\"")?.expect(204)?;
    let gone = world.hapi.get(&format!("Observation/{id}"))?;
    faults.check(gone.status == 410, || format!("HAPI answers {}", gone.status));
    let twice = delete(Persona::RecordsOfficer, "W/\"2\"")?;
    faults.check(twice.status == 410, || format!("deleted twice: {}", twice.status));
    faults.outcome()
}
