//! What all steps share: the servers, the cast with its tokens, and what HAPI holds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use drape_conformance::bytes::{items, member};
use drape_conformance::drape::{Drape, Settings, executable};
use drape_conformance::hapi::Hapi;
use drape_conformance::http::{Call, Reply};
use drape_conformance::issuer::Own;
use drape_conformance::oidc::Provider;
use drape_conformance::places::free_port;
use drape_conformance::{Fault, Outcome, recorder, records, synthea};
use drape_demo::{Cast, Persona};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

/// Every type that is loaded.
pub(crate) const TYPES: [&str; 17] = [
    "Patient",
    "Observation",
    "Condition",
    "Encounter",
    "MedicationRequest",
    "Procedure",
    "Claim",
    "ExplanationOfBenefit",
    "CarePlan",
    "Immunization",
    "DiagnosticReport",
    "Goal",
    "Coverage",
    "RelatedPerson",
    "Practitioner",
    "Organization",
    "Location",
];

/// A client whose tokens live one second.
pub(crate) const BRIEF: &str = "brief";

pub(crate) struct World {
    pub(crate) hapi: Hapi,
    pub(crate) provider: Provider,
    pub(crate) drape: Drape,
    /// Signs what no honest issuer would; nobody trusts it.
    pub(crate) hostile: Own,
    /// The patient whom doctor, nurse and patient have to do with.
    pub(crate) lead: String,
    /// A patient with whom nobody of the cast has to do.
    pub(crate) stranger: String,
    /// What HAPI held when the suite began, by type.
    pub(crate) held: BTreeMap<&'static str, Vec<Value>>,
    /// The patients each persona has to do with.
    pub(crate) related: BTreeMap<Persona, BTreeSet<String>>,
    pub(crate) doctor_name: String,
    tokens: BTreeMap<Persona, String>,
    source: String,
    pub(crate) work: PathBuf,
}

pub(crate) fn subject() -> PathBuf {
    executable(env!("CARGO_BIN_EXE_drape-subject"))
}

/// The SMART scopes a persona asks the provider for.
fn scope(persona: Persona) -> &'static str {
    match persona {
        Persona::Doctor | Persona::RecordsOfficer => "user/*.cruds",
        Persona::Patient => "patient/*.rs",
        _ => "user/*.rs",
    }
}

/// What the provider puts into a persona's tokens.
fn claims(cast: &Cast, persona: Persona) -> Outcome<Map<String, Value>> {
    let member = cast.member(persona).ok_or_else(|| Fault(format!("nobody plays `{}`", persona.word())))?;
    let mut claims = member.claims();
    for set_by_the_provider in ["sub", "client_id", "scope"] {
        claims.remove(set_by_the_provider);
    }
    if member.works_in_shifts {
        let hour = Timestamp::now().to_zoned(TimeZone::get("America/New_York")?).hour();
        let clock = |hour: i8| format!("{:02}:00", hour % 24);
        claims.insert("shift".into(), json!({"start": clock(hour + 20), "end": clock(hour + 8)}));
    }
    Ok(claims)
}

impl World {
    pub(crate) fn build() -> Outcome<Self> {
        // It stays after the run, so that what the servers said can be read.
        let work = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("before-hapi");
        if work.exists() {
            std::fs::remove_dir_all(&work)?;
        }
        std::fs::create_dir_all(&work)?;
        let hapi = Hapi::start(&work)?;
        let source = synthea::load(&hapi, &work)?;
        let mut patients: Vec<String> = hapi
            .all("Patient?_sort=_id")?
            .iter()
            .filter_map(|p| p["id"].as_str().map(str::to_owned))
            .filter(|id| id != records::TEEN)
            .collect();
        patients.sort();
        let [lead, second, .., stranger] = &patients[..] else {
            return Err(Fault(format!("{} patients are too few", patients.len())));
        };
        hapi.transaction(records::transaction(lead, second, stranger).as_bytes())?;
        let mut held = BTreeMap::new();
        for kind in TYPES {
            held.insert(kind, hapi.all(kind)?);
        }
        let resources: Vec<Value> = held.values().flatten().cloned().collect();
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
        let cast = Cast::derive(&resources, today)?;
        let doctor = cast.member(Persona::Doctor).ok_or_else(|| Fault::new("no doctor in the data"))?;
        if doctor.fhir_user.as_deref() != Some(&format!("Practitioner/{}", records::DOCTOR)) {
            return Err(Fault(format!(
                "the data has another doctor than the suite's: {:?}",
                doctor.fhir_user
            )));
        }
        let doctor_name = doctor.name.clone();
        let lead = cast.figures.lead.clone().ok_or_else(|| Fault::new("no lead"))?;
        let mut related = BTreeMap::new();
        for member in &cast.members {
            let own = member.patient.iter().cloned();
            let all: BTreeSet<String> =
                member.relations.iter().map(|r| r.patient.clone()).chain(own).collect();
            related.insert(member.persona, all);
        }
        let known: BTreeSet<&String> = related.values().flatten().collect();
        let stranger = patients.iter().rev().find(|p| !known.contains(p)).cloned();
        let stranger = stranger.ok_or_else(|| Fault::new("everybody is known to somebody"))?;

        let port = free_port()?;
        let issuer = format!("http://127.0.0.1:{port}");
        let mut settings = Settings::new(&hapi.base, "hapi", &issuer, "RS256");
        settings.epsilon = ("0.5", "0.1");
        let mut drape = Drape::prepare(&subject(), &work.join("drape"), settings)?;
        let mut personas = Map::new();
        for persona in Persona::ALL {
            personas.insert(persona.word().into(), Value::Object(claims(&cast, persona)?));
        }
        let mut brief = claims(&cast, Persona::Doctor)?;
        brief.insert("ttl_s".into(), json!(1));
        personas.insert(BRIEF.into(), Value::Object(brief));
        let provider = Provider::start(&work, port, &personas, &drape.base)?;
        drape.serve()?;
        recorder::start(&drape.base);
        drape.described()?;
        let mut tokens = BTreeMap::new();
        for persona in Persona::ALL {
            tokens.insert(persona, provider.token(persona.word(), scope(persona), None)?);
        }
        let hostile = Own::start(&resources)?;
        Ok(Self {
            hapi,
            provider,
            drape,
            hostile,
            lead,
            stranger,
            held,
            related,
            doctor_name,
            tokens,
            source,
            work,
        })
    }

    pub(crate) fn describe(&self) -> String {
        let count: usize = self.held.values().map(Vec::len).sum();
        format!("{count} records of {} types; {}", self.held.len(), self.source)
    }

    pub(crate) fn token(&self, persona: Persona) -> &str {
        &self.tokens[&persona]
    }

    /// A token for another Drape than the suite's.
    pub(crate) fn token_for(&self, persona: Persona, audience: &str) -> Outcome<String> {
        self.provider.token(persona.word(), scope(persona), Some(audience))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.drape.base)
    }

    /// GET through Drape.
    pub(crate) fn get(&self, persona: Persona, path: &str) -> Outcome<Reply> {
        Call::get(self.url(path)).bearer(self.token(persona)).send()
    }

    /// All pages of a search, as text.
    pub(crate) fn over_pages(&self, persona: Persona, search: &str) -> Outcome<String> {
        let mut reply = self.get(persona, search)?.expect(200)?;
        let mut text = reply.text();
        while let Some(url) = next_page(&reply) {
            reply = Call::get(url).bearer(self.token(persona)).send()?.expect(200)?;
            text.push_str(&reply.text());
        }
        Ok(text)
    }

    /// What HAPI itself answers, its base URL put as Drape's.
    pub(crate) fn direct(&self, path: &str) -> Outcome<Vec<u8>> {
        Ok(self.rewritten(&self.hapi.get(path)?.expect(200)?.body))
    }

    pub(crate) fn rewritten(&self, body: &[u8]) -> Vec<u8> {
        drape_conformance::bytes::replace(body, &self.hapi.base, &self.drape.base)
    }

    pub(crate) fn patient(&self, id: &str) -> Outcome<&Value> {
        let found = self.held["Patient"].iter().find(|p| p["id"] == id);
        found.ok_or_else(|| Fault(format!("HAPI holds no Patient/{id}")))
    }
}

/// Strings at a place in a record; `*` stands for every item of a list.
pub(crate) fn texts(record: &Value, path: &str) -> Vec<String> {
    let mut found = vec![record];
    for part in path.split('.') {
        found = if part == "*" {
            found.into_iter().filter_map(Value::as_array).flatten().collect()
        } else {
            found.into_iter().filter_map(|v| v.get(part)).collect()
        };
    }
    found.into_iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The next page of a Bundle, where there is one.
pub(crate) fn next_page(reply: &Reply) -> Option<String> {
    let links = member(&reply.body, "link").ok()??;
    items(links).ok()?.iter().find_map(|link| {
        let link: Value = serde_json::from_slice(link).ok()?;
        (link["relation"] == "next").then(|| link["url"].as_str().map(str::to_owned)).flatten()
    })
}

/// The patient a record is about.
pub(crate) fn about(record: &Value) -> Option<String> {
    if record["resourceType"] == "Patient" {
        return record["id"].as_str().map(str::to_owned);
    }
    ["subject", "patient", "beneficiary"]
        .into_iter()
        .find_map(|name| record[name]["reference"].as_str()?.strip_prefix("Patient/").map(str::to_owned))
}
