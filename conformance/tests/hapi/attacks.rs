//! Attempts to get in: each is refused with an OperationOutcome, and no canary comes with the refusal.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use drape_conformance::child::wait_for;
use drape_conformance::fault::Faults;
use drape_conformance::forge::forged;
use drape_conformance::http::{Call, Reply, encode};
use drape_conformance::judge::refusal;
use drape_conformance::{Fault, Outcome};
use drape_demo::Persona;
use serde_json::json;

use crate::leaks::{canaries, look};
use crate::world::{BRIEF, World, texts};

/// Refused with one of these statuses, an OperationOutcome, and nothing that is hidden from that persona.
pub(crate) fn refused(
    faults: &mut Faults,
    world: &World,
    persona: Persona,
    asked: &str,
    reply: &Reply,
    statuses: &[u16],
) {
    let hidden = canaries(world, persona);
    look(faults, world, persona, asked, reply, &hidden);
    if statuses.contains(&reply.status) {
        faults.note(refusal(reply, reply.status).map(drop).map_err(|e| Fault(format!("{asked}: {e}"))));
    } else {
        faults.check(false, || {
            format!(
                "{}: {asked} gives {}, not one of {statuses:?}: {}",
                persona.word(),
                reply.status,
                reply.text()
            )
        });
    }
}

pub(crate) fn tokens(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let url = world.url(&format!("Patient/{}", world.lead));
    let nothing: BTreeSet<String> = canaries(world, Persona::Attacker);
    let mut strangers = |what: &str, reply: &Reply| {
        look(&mut faults, world, Persona::Attacker, what, reply, &nothing);
        faults.note(refusal(reply, 401).map(drop).map_err(|e| Fault(format!("{what}: {e}"))));
        let challenge = reply.header("www-authenticate").unwrap_or_default();
        faults.check(challenge.starts_with("Bearer "), || format!("{what}: the challenge is `{challenge}`"));
    };
    strangers("no token", &Call::get(&url).send()?);
    strangers("basic", &Call::get(&url).header("Authorization", "Basic ZG9jdG9yOmRvY3Rvcg==").send()?);
    let doctor = world.token(Persona::Doctor);
    strangers("two tokens", &Call::get(&url).bearer(doctor).bearer(doctor).send()?);
    strangers("a token in the query", &Call::get(format!("{url}?access_token={doctor}")).send()?);
    let elsewhere = world.token_for(Persona::Doctor, "https://elsewhere.example/fhir")?;
    strangers("another audience", &Call::get(&url).bearer(&elsewhere).send()?);

    // The doctor's own claims, under a header that asks for no signature, and under a signature cut short.
    let parts: Vec<&str> = doctor.split('.').collect();
    let none = URL_SAFE_NO_PAD.encode(json!({"alg": "none", "typ": "at+jwt"}).to_string());
    strangers("alg none", &Call::get(&url).bearer(&format!("{none}.{}.", parts[1])).send()?);
    strangers(
        "alg none, signed",
        &Call::get(&url).bearer(&format!("{none}.{}.{}", parts[1], parts[2])).send()?,
    );
    let shared = URL_SAFE_NO_PAD.encode(json!({"alg": "HS256", "typ": "at+jwt"}).to_string());
    strangers("alg HS256", &Call::get(&url).bearer(&format!("{shared}.{}.{}", parts[1], parts[2])).send()?);
    let payload = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1])?)?;
    let raised = URL_SAFE_NO_PAD.encode(payload.replace("clinician", "records-officer"));
    strangers(
        "raised roles",
        &Call::get(&url).bearer(&format!("{}.{raised}.{}", parts[0], parts[2])).send()?,
    );
    strangers("cut", &Call::get(&url).bearer(&doctor[..doctor.len() - 8]).send()?);

    let keys = Call::get(format!("{}/jwks", world.provider.url)).send()?.expect(200)?.json()?;
    let forged = forged(doctor, &keys, "http://127.0.0.1:9")?;
    for (name, token) in &forged {
        strangers(name, &Call::get(&url).bearer(token).send()?);
    }

    // Well signed, by somebody whom nobody trusts; and in the name of the issuer who is trusted.
    let own = world.hostile.token(Persona::RecordsOfficer, &world.drape.base)?;
    strangers("an unknown issuer", &Call::get(&url).bearer(&own).send()?);
    let mut claims = world.hostile.claims(Persona::RecordsOfficer, &world.drape.base)?;
    claims.insert("iss".into(), world.provider.url.clone().into());
    strangers("another's name", &Call::get(&url).bearer(&world.hostile.sign(&claims)?).send()?);

    // Good while it lives, and not a moment longer.
    let brief = world.provider.token(BRIEF, "user/*.rs", None)?;
    let expired = wait_for("a token of one second expires", Duration::from_secs(10), || {
        Call::get(&url).bearer(&brief).send().ok().filter(|r| r.status != 200)
    })?;
    strangers("expired", &expired);
    faults.outcome()
}

pub(crate) fn criteria(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let patient = world.patient(&world.lead)?;
    let ssn = texts(patient, "identifier.*.value").join("|");
    let ssn = ssn.split('|').find(|v| v.len() > 8).unwrap_or_default().to_owned();
    let family = encode(&texts(patient, "name.*.family").join(""));
    let line = encode(&texts(patient, "address.*.line.*").join(""));
    for asked in [
        format!("Patient?identifier={ssn}"),
        format!("Patient?family={family}"),
        format!("Patient?name:contains={family}"),
        format!("Patient?address={line}"),
        "Patient?phone=555".to_owned(),
        "Patient?birthdate=1984-07-02".to_owned(),
        "Patient?_sort=family".to_owned(),
        "Patient?_sort=birthdate".to_owned(),
        format!("Observation?patient.identifier={ssn}"),
        format!("Observation?patient.family={family}"),
        format!("Observation?subject:Patient.name={family}"),
        format!("Observation?patient:identifier={ssn}"),
        format!("Practitioner?_has:Encounter:practitioner:patient.identifier={ssn}"),
        "Patient?_text=bees".to_owned(),
        "Patient?_content=bees".to_owned(),
        "Patient?_filter=name%20eq%20%22x%22".to_owned(),
        "Patient?_query=everyone".to_owned(),
        "Patient?colour=blue".to_owned(),
        "Patient?_security=R".to_owned(),
        "Observation?note=bees".to_owned(),
        "Patient?_summary=count".to_owned(),
        "Patient?_count=0".to_owned(),
        "Patient?gender=female&_summary=count".to_owned(),
    ] {
        let reply = world.get(Persona::Researcher, &asked)?;
        refused(&mut faults, world, Persona::Researcher, &asked, &reply, &[400, 403]);
    }
    // A reverse chain through what she may not read, and through the ids that she does not know.
    for asked in [
        format!("Patient?_has:Coverage:beneficiary:subscriber-id={ssn}"),
        format!("Patient?_has:Claim:patient:identifier={ssn}"),
        format!("Patient?_has:RelatedPerson:patient:name={family}"),
    ] {
        let reply = world.get(Persona::Researcher, &asked)?;
        refused(&mut faults, world, Persona::Researcher, &asked, &reply, &[400, 403]);
    }
    // What even the all-seeing may not ask for, since nobody could say what it reveals.
    for asked in ["Patient?_text=bees", "Patient?_content=bees", "Patient?_filter=x", "Patient?colour=blue"] {
        let reply = world.get(Persona::RecordsOfficer, asked)?;
        faults.check(matches!(reply.status, 400 | 403), || format!("{asked} gives {}", reply.status));
    }
    // Nobody searches by an identifier who is not shown it.
    for persona in [Persona::Nurse, Persona::Attacker, Persona::Analyst] {
        let asked = format!("Patient?identifier={ssn}");
        let reply = world.get(persona, &asked)?;
        refused(&mut faults, world, persona, &asked, &reply, &[403]);
    }
    faults.outcome()
}

pub(crate) fn interactions(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let (lead, stranger) = (format!("Patient/{}", world.lead), format!("Patient/{}", world.stranger));
    let json = "application/fhir+json";
    let patch = json!([{"op": "replace", "path": "/gender", "value": "other"}]).to_string();
    let base = world.drape.base.clone();
    let calls = [
        ("method override to DELETE", Call::get(world.url(&lead)).header("X-HTTP-Method-Override", "DELETE")),
        (
            "method override on POST",
            Call::post(world.url("Patient/_search"), "application/x-www-form-urlencoded", "")
                .header("X-HTTP-Method", "GET"),
        ),
        ("rewritten address", Call::get(world.url(&lead)).header("X-Original-URL", "/fhir/Patient")),
        ("_method", Call::get(world.url(&format!("{lead}?_method=DELETE")))),
        ("_method in a search", Call::get(world.url("Patient?_method=POST"))),
        ("$everything of a stranger", Call::get(world.url(&format!("{stranger}/$everything")))),
        ("the same, encoded", Call::get(world.url(&format!("{stranger}/%24everything")))),
        ("$export", Call::get(world.url("$export")).header("Prefer", "respond-async")),
        ("$match", Call::post(world.url("Patient/$match"), json, r#"{"resourceType":"Parameters"}"#)),
        ("$graphql", Call::get(world.url("$graphql?query=%7BPatientList%7Bname%7Bfamily%7D%7D%7D"))),
        ("server history", Call::get(world.url("_history"))),
        ("type history", Call::get(world.url("Patient/_history"))),
        ("search over all types", Call::get(format!("{base}?_id={}", world.lead))),
        ("HAPI's own paging", Call::get(format!("{base}?_getpages=x&_getpagesoffset=0"))),
        ("compartment of a stranger", Call::get(world.url(&format!("{stranger}/Observation")))),
        (
            "patch of a stranger",
            Call::new("PATCH", world.url(&stranger)).body("application/json-patch+json", patch),
        ),
        ("delete", Call::new("DELETE", world.url(&lead))),
        ("HEAD", Call::new("HEAD", world.url(&stranger))),
        ("conditional update", Call::new("PUT", world.url("Patient?identifier=x")).body(json, "{}")),
        (
            "conditional create",
            Call::post(world.url("Observation"), json, "{}").header("If-None-Exist", "identifier=x"),
        ),
        ("Turtle", Call::get(world.url(&lead)).header("Accept", "application/fhir+turtle")),
        ("HTML by _format", Call::get(world.url(&format!("{lead}?_format=html")))),
        ("a body in XML", Call::post(world.url("Patient"), "application/fhir+xml", "<Patient/>")),
        ("two segments in one", Call::get(world.url("Patient%2F..%2FObservation"))),
        ("dots", Call::get(world.url("Patient/../Observation"))),
        ("asynchronous", Call::get(world.url("Patient")).header("Prefer", "respond-async")),
        ("another type", Call::get(world.url("Nonsense/1"))),
        ("closed type", Call::get(world.url("AuditEvent"))),
    ];
    for (what, call) in calls {
        let reply = call.bearer(world.token(Persona::Doctor)).send()?;
        let hidden = canaries(world, Persona::Doctor);
        look(&mut faults, world, Persona::Doctor, what, &reply, &hidden);
        faults.check(matches!(reply.status, 400 | 403 | 404 | 405 | 406 | 415), || {
            format!("{what} gives {}: {}", reply.status, reply.text())
        });
        if what != "HEAD" {
            faults.note(refusal(&reply, reply.status).map(drop).map_err(|e| Fault(format!("{what}: {e}"))));
        }
    }
    for patient in [lead, stranger] {
        let still = world.hapi.get(&patient)?;
        faults.check(still.status == 200 && still.header("etag") == Some("W/\"1\""), || {
            format!("{patient} was changed")
        });
    }
    faults.outcome()
}

fn next_link(world: &World, persona: Persona, search: &str) -> Outcome<String> {
    let bundle = world.get(persona, search)?.expect(200)?.json()?;
    let links = bundle["link"].as_array().into_iter().flatten();
    let next = links.filter(|l| l["relation"] == "next").find_map(|l| l["url"].as_str().map(str::to_owned));
    next.ok_or_else(|| Fault(format!("{search} has no next page for {}", persona.word())))
}

pub(crate) fn paging(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let link = next_link(world, Persona::Doctor, "Observation?_count=10")?;
    let by = |persona: Persona, url: &str| Call::get(url).bearer(world.token(persona)).send();
    by(Persona::Doctor, &link)?.expect(200)?;
    let (head, handle) = link.rsplit_once('/').ok_or_else(|| Fault(format!("an odd link: {link}")))?;
    let mut altered = handle.as_bytes().to_vec();
    let middle = altered.len() / 2;
    altered[middle] = if altered[middle] == b'A' { b'B' } else { b'A' };
    let altered = String::from_utf8(altered)?;
    for (what, url) in [
        ("a cut handle", format!("{head}/{}", &handle[..handle.len() - 5])),
        ("half a handle", format!("{head}/{}", &handle[..handle.len() / 2])),
        ("an altered handle", format!("{head}/{altered}")),
        ("an invented handle", format!("{head}/{}", "QUJD".repeat(40))),
    ] {
        let reply = by(Persona::Doctor, &url)?;
        refused(&mut faults, world, Persona::Doctor, what, &reply, &[400, 403, 404, 410]);
    }
    let with_more = by(Persona::Doctor, &format!("{link}?_count=500"))?;
    refused(&mut faults, world, Persona::Doctor, "a handle with parameters", &with_more, &[400, 403]);
    // Somebody else's page, in both directions: down from the all-seeing, and across.
    let all_seeing = next_link(world, Persona::RecordsOfficer, "Patient?_count=2")?;
    for persona in [Persona::Doctor, Persona::Nurse, Persona::Researcher, Persona::Attacker, Persona::Analyst]
    {
        let reply = by(persona, &all_seeing)?;
        refused(&mut faults, world, persona, "the all-seeing caller's page", &reply, &[403, 404, 410]);
    }
    let reply = by(Persona::RecordsOfficer, &link)?;
    faults.check(reply.status == 410, || format!("another caller's page gives {}", reply.status));
    let nobody = Call::get(&all_seeing).send()?;
    faults.check(nobody.status == 401, || format!("a page without a token gives {}", nobody.status));
    faults.outcome()
}

pub(crate) fn raw_ids(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let persona = Persona::Researcher;
    for asked in [
        format!("Patient/{}", world.lead),
        "Observation/conf-observation-lead".to_owned(),
        format!("Patient/{}/_history/1", world.lead),
        // May lead to devices and places as well, whose names she does not know either.
        format!("Observation?subject={}", world.lead),
    ] {
        let reply = world.get(persona, &asked)?;
        refused(&mut faults, world, persona, &asked, &reply, &[403, 404]);
    }
    // As a criterion a raw id is a name that nobody was given: nothing is found by it.
    for asked in
        [format!("Observation?patient=Patient/{}", world.lead), format!("Patient?_id={}", world.lead)]
    {
        let reply = world.get(persona, &asked)?.expect(200)?;
        let found = reply.json()?["entry"].as_array().map_or(0, Vec::len);
        faults.check(found == 0, || format!("{asked} finds {found} records"));
        look(&mut faults, world, persona, &asked, &reply, &canaries(world, persona));
    }
    faults.outcome()
}

/// Status, body and header names of an answer, without what is new each time.
fn shape(reply: &Reply) -> Outcome<(u16, String, Vec<String>)> {
    let id = reply.header("x-request-id").unwrap_or_default().to_owned();
    let text = if id.is_empty() { reply.text() } else { reply.text().replace(&id, "ID") };
    let names = reply.headers.iter().map(|(n, _)| n.clone()).filter(|n| n != "date").collect();
    Ok((reply.status, text, names))
}

pub(crate) fn withheld_is_unknown(world: &World) -> Outcome {
    let mut faults = Faults::default();
    for (persona, withheld) in [
        (Persona::Doctor, "Condition/conf-substance".to_owned()),
        (Persona::Doctor, format!("Patient/{}", world.stranger)),
        (Persona::Nurse, "Observation/conf-observation-stranger".to_owned()),
        (Persona::Guardian, "Condition/conf-confidential".to_owned()),
        (Persona::Researcher, "Observation/conf-observation-lead".to_owned()),
    ] {
        let kind = withheld.split('/').next().unwrap_or_default();
        let (there, not) =
            (world.get(persona, &withheld)?, world.get(persona, &format!("{kind}/no-such-record"))?);
        let (there, not) = (shape(&there)?, shape(&not)?);
        faults.check(there == not, || {
            format!("{}: {withheld} answers {there:?}, an unknown one {not:?}", persona.word())
        });
        faults.check(there.0 == 404, || format!("{}: {withheld} gives {}", persona.word(), there.0));
    }
    faults.outcome()
}
