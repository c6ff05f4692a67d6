//! A cast for somebody else's server: the doctor who sees most patients, the ward, a patient, a parent, from its data.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use serde_json::Value;

use crate::cast::{Cast, Clerks, Figures, Member, Persona, Relation, age_on, subject};

/// The types to fetch for [`Cast::derive`], the most telling first. Patient alone will do.
pub const TYPES: [&str; 7] =
    ["Patient", "Encounter", "CareTeam", "RelatedPerson", "Practitioner", "Organization", "Condition"];

/// Why no cast can be made of a server's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeriveFault {
    /// There is no Patient among the resources.
    #[error("the server shows no patient, so there is nobody to play with")]
    NoPatients,
}

/// Tokens name every patient somebody has to do with, and must fit into a header.
const RELATIONS_MAX: usize = 40;

/// Relationships of a RelatedPerson (v3 RoleCode) that make a guardian of somebody under age.
const PARENTAL: [&str; 14] = [
    "PRN", "MTH", "FTH", "NMTH", "NFTH", "NPRN", "ADOPTP", "ADOPTM", "ADOPTF", "MTHFOST", "FTHFOST",
    "PRNFOST", "STPPRN", "GUARD",
];

/// Three-digit zones of 20,000 people or fewer, by the census of 2000 (guidance on 45 CFR 164.514(b)). Only for finding
/// somebody worth showing; what is generalized is settled by the treatments, not here.
const SMALL_ZONES: [&str; 17] = [
    "036", "059", "063", "102", "203", "556", "692", "790", "821", "823", "830", "831", "878", "879", "884",
    "890", "893",
];

impl Cast {
    /// Chooses a cast from resources of another server, in any order; those of other types are passed over. The same
    /// resources give the same cast. A part that the data has nobody for is left out: no practitioner, no doctor; no
    /// encounter with a place, no nurse; no child, no guardian.
    ///
    /// A child without a RelatedPerson is given a guardian by this issuer's word alone, which is what an issuer is for.
    ///
    /// # Errors
    /// [`DeriveFault::NoPatients`].
    pub fn derive(resources: &[Value], today: Date) -> Result<Cast, DeriveFault> {
        let data = Data::read(resources, today);
        if data.patients.is_empty() {
            return Err(DeriveFault::NoPatients);
        }
        let doctor = data.doctor();
        let lead = data.lead(doctor.as_ref().map(|(_, patients)| patients));
        let hospital = data.hospital();
        let mut members = Vec::new();
        if let Some((id, patients)) = &doctor {
            let name = data.practitioners.get(*id).cloned().unwrap_or_else(|| format!("Practitioner {id}"));
            // The lead first, then those whom the doctor knows best.
            let mut known: Vec<_> = patients.iter().collect();
            known.sort_by_key(|(patient, ties)| {
                (lead != Some(**patient), std::cmp::Reverse(ties.weight), **patient)
            });
            let relations = known
                .iter()
                .take(RELATIONS_MAX)
                .map(|(p, ties)| data.relation(p, ties.words.iter()))
                .collect();
            let fhir_user = Some(format!("Practitioner/{id}"));
            members.push(member(Persona::Doctor, &name, Some("physician"), hospital, fhir_user, relations));
        }
        if let Some((place, patients)) = lead.and_then(|lead| data.ward(lead)) {
            let relations =
                patients.iter().take(RELATIONS_MAX).map(|p| data.relation(p, ["ward"].iter())).collect();
            let nurse = member(
                Persona::Nurse,
                "Tobias Whitlock",
                Some("registered nurse"),
                hospital,
                None,
                relations,
            );
            members.push(Member { departments: vec![place.to_owned()], works_in_shifts: true, ..nurse });
        }
        members.extend(Cast::without_patients(hospital, None, Clerks::default()));
        if let Some(id) = lead {
            let name = data.patients.get(id).map_or_else(String::new, |p| p.name.clone());
            let user = Some(format!("Patient/{id}"));
            let patient = member(Persona::Patient, &name, None, None, user, Vec::new());
            members.push(Member { patient: Some(id.to_owned()), ..patient });
        }
        members.extend(data.guardian());
        members.sort_by_key(|m| m.persona);
        let figures = data.figures(lead, &members);
        Ok(Cast { members, figures })
    }
}

struct Patient {
    name: String,
    birth: Option<String>,
    age: Option<i64>,
    dead: bool,
    zone: Option<String>,
    doctors: Vec<String>,
}

#[derive(Default)]
struct Ties {
    words: BTreeSet<&'static str>,
    weight: usize,
}

struct Stay {
    patient: String,
    start: String,
    place: Option<String>,
}

struct Parent {
    link: String,
    name: String,
    child: String,
}

/// What the resources say, as far as it matters here. Everything is ordered, so that the choice does not depend on
/// the order in which the server answered.
#[derive(Default)]
struct Data {
    patients: BTreeMap<String, Patient>,
    practitioners: BTreeMap<String, String>,
    /// Practitioner → patient → ties.
    ties: BTreeMap<String, BTreeMap<String, Ties>>,
    stays: Vec<Stay>,
    parents: Vec<Parent>,
    /// Organization → how often it provided.
    providers: BTreeMap<String, usize>,
    substance: BTreeSet<String>,
    psychiatric: BTreeSet<String>,
}

impl Data {
    fn read(resources: &[Value], today: Date) -> Data {
        let mut data = Data::default();
        for resource in resources {
            let id = text(resource, "id").to_owned();
            if id.is_empty() {
                continue;
            }
            match text(resource, "resourceType") {
                "Patient" => data.patient(id, resource, today),
                "Practitioner" => {
                    data.practitioners.insert(id, name(resource));
                }
                "Encounter" => data.encounter(resource),
                "CareTeam" => data.care_team(resource),
                "RelatedPerson" => data.related(&id, resource),
                "Condition" => data.condition(resource),
                _ => {}
            }
        }
        data.stays.sort_by(|a, b| (&b.start, &a.patient, &a.place).cmp(&(&a.start, &b.patient, &b.place)));
        data.parents.sort_by(|a, b| a.link.cmp(&b.link));
        let known: Vec<(String, Vec<String>)> =
            data.patients.iter().map(|(id, p)| (id.clone(), p.doctors.clone())).collect();
        for (patient, doctors) in known {
            for doctor in doctors {
                data.tie(&doctor, &patient, "treating");
            }
        }
        // Relations to patients the server did not show would name nobody.
        for patients in data.ties.values_mut() {
            patients.retain(|id, _| data.patients.contains_key(id));
        }
        data
    }

    fn patient(&mut self, id: String, resource: &Value, today: Date) {
        let birth = Some(text(resource, "birthDate")).filter(|b| b.len() == 10).map(str::to_owned);
        let dead = resource.get("deceasedDateTime").is_some()
            || resource.get("deceasedBoolean") == Some(&Value::Bool(true));
        let patient = Patient {
            name: name(resource),
            age: birth.as_deref().and_then(|b| age_on(b, today)),
            birth,
            dead,
            zone: items(resource, "address").find_map(|a| text(a, "postalCode").get(..3).map(str::to_owned)),
            doctors: items(resource, "generalPractitioner")
                .filter_map(|r| target(r, "Practitioner"))
                .collect(),
        };
        self.patients.insert(id, patient);
    }

    fn encounter(&mut self, resource: &Value) {
        let Some(patient) = resource.get("subject").and_then(|s| target(s, "Patient")) else { return };
        for participant in items(resource, "participant") {
            if let Some(doctor) = participant.get("individual").and_then(|i| self.practitioner(i)) {
                self.tie(&doctor, &patient, "treating");
            }
        }
        let provider = resource.get("serviceProvider").and_then(|p| target(p, "Organization"));
        if let Some(provider) = &provider {
            *self.providers.entry(format!("Organization/{provider}")).or_default() += 1;
        }
        let room = items(resource, "location").find_map(|l| target(l.get("location")?, "Location"));
        let place = room.map(|r| format!("Location/{r}")).or(provider.map(|p| format!("Organization/{p}")));
        let start = resource.pointer("/period/start").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.stays.push(Stay { patient, start, place });
    }

    fn care_team(&mut self, resource: &Value) {
        let Some(patient) = resource.get("subject").and_then(|s| target(s, "Patient")) else { return };
        if !["", "active"].contains(&text(resource, "status")) {
            return;
        }
        for participant in items(resource, "participant") {
            if let Some(doctor) = participant.get("member").and_then(|m| self.practitioner(m)) {
                self.tie(&doctor, &patient, "careTeam");
            }
        }
    }

    fn related(&mut self, id: &str, resource: &Value) {
        let codes: Vec<&str> = items(resource, "relationship")
            .flat_map(|r| items(r, "coding"))
            .map(|c| text(c, "code"))
            .collect();
        let child = resource.get("patient").and_then(|p| target(p, "Patient"));
        if let Some(child) = child.filter(|_| codes.iter().any(|c| PARENTAL.contains(c)))
            && resource.get("active") != Some(&Value::Bool(false))
        {
            self.parents.push(Parent { link: format!("RelatedPerson/{id}"), name: name(resource), child });
        }
    }

    fn condition(&mut self, resource: &Value) {
        let Some(patient) = resource.get("subject").and_then(|s| target(s, "Patient")) else { return };
        for coding in resource.get("code").into_iter().flat_map(|c| items(c, "coding")) {
            match (text(coding, "system"), text(coding, "code")) {
                ("http://hl7.org/fhir/sid/icd-10-cm", code) if code.starts_with("F1") => {
                    self.substance.insert(patient.clone());
                }
                ("http://hl7.org/fhir/sid/icd-10-cm", code) if code.starts_with('F') => {
                    self.psychiatric.insert(patient.clone());
                }
                // Opioid, alcohol and other dependence and abuse; depression and anxiety as Synthea writes them.
                (
                    "http://snomed.info/sct",
                    "75544000" | "66590003" | "5602001" | "55680006" | "7200002" | "6525002",
                ) => {
                    self.substance.insert(patient.clone());
                }
                (
                    "http://snomed.info/sct",
                    "370143000" | "36923009" | "35489007" | "80583007" | "13746004",
                ) => {
                    self.psychiatric.insert(patient.clone());
                }
                _ => {}
            }
        }
    }

    /// The practitioner a reference names; where it has a display, that name is kept for want of the resource.
    fn practitioner(&mut self, reference: &Value) -> Option<String> {
        let id = target(reference, "Practitioner")?;
        let display = text(reference, "display");
        if !display.is_empty() {
            self.practitioners.entry(id.clone()).or_insert_with(|| display.to_owned());
        }
        Some(id)
    }

    fn tie(&mut self, doctor: &str, patient: &str, word: &'static str) {
        let ties = self.ties.entry(doctor.to_owned()).or_default().entry(patient.to_owned()).or_default();
        ties.words.insert(word);
        ties.weight += 1;
    }

    /// The practitioner with most patients, of equals the one with the least id.
    fn doctor(&self) -> Option<(&str, BTreeMap<&str, &Ties>)> {
        let (id, patients) = self
            .ties
            .iter()
            .filter(|(_, p)| !p.is_empty())
            .min_by_key(|(_, p)| std::cmp::Reverse(p.len()))?;
        Some((id, patients.iter().map(|(p, t)| (p.as_str(), t)).collect()))
    }

    /// The living adult whom the doctor knows best; without a doctor the first adult; else whoever is there.
    fn lead<'d>(&'d self, doctors: Option<&BTreeMap<&'d str, &Ties>>) -> Option<&'d str> {
        let adult = |id: &str| self.patients.get(id).is_some_and(|p| !p.dead && p.age >= Some(18));
        let of_doctor = doctors.and_then(|patients| {
            let adults = patients.iter().filter(|(id, _)| adult(id));
            adults.min_by_key(|(id, ties)| (std::cmp::Reverse(ties.weight), **id)).map(|(id, _)| *id)
        });
        let any = || self.patients.keys().map(String::as_str);
        of_doctor.or_else(|| any().find(|id| adult(id))).or_else(|| any().next())
    }

    /// The place of the lead's newest encounter, and who was seen there last; the lead is among them.
    fn ward<'d>(&'d self, lead: &'d str) -> Option<(&'d str, Vec<&'d str>)> {
        let place = self.stays.iter().filter(|s| s.patient == lead).find_map(|s| s.place.as_deref())?;
        let mut patients = vec![lead];
        for stay in self.stays.iter().filter(|s| s.place.as_deref() == Some(place)) {
            if !patients.contains(&stay.patient.as_str())
                && self.patients.get(&stay.patient).is_some_and(|p| !p.dead)
            {
                patients.push(&stay.patient);
            }
        }
        Some((place, patients))
    }

    fn hospital(&self) -> Option<&str> {
        self.providers.iter().min_by_key(|(_, n)| std::cmp::Reverse(**n)).map(|(id, _)| id.as_str())
    }

    fn minor(&self, id: &str, ages: std::ops::Range<i64>) -> bool {
        self.patients.get(id).is_some_and(|p| !p.dead && p.age.is_some_and(|a| ages.contains(&a)))
    }

    fn guardian(&self) -> Option<Member> {
        let of =
            |ages: std::ops::Range<i64>| self.parents.iter().find(|p| self.minor(&p.child, ages.clone()));
        if let Some(parent) = of(12..18).or_else(|| of(0..12)) {
            // The same person is another RelatedPerson for each child.
            let children: BTreeSet<&str> = self
                .parents
                .iter()
                .filter(|p| {
                    p.link == parent.link
                        || (p.name == parent.name && !p.name.is_empty() && self.same_home(p, parent))
                })
                .map(|p| p.child.as_str())
                .filter(|c| self.minor(c, 0..18))
                .collect();
            let relations = children.iter().map(|c| self.relation(c, ["guardian"].iter())).collect();
            return Some(member(
                Persona::Guardian,
                &parent.name,
                None,
                None,
                Some(parent.link.clone()),
                relations,
            ));
        }
        let first = |ages: std::ops::Range<i64>| self.patients.keys().find(|id| self.minor(id, ages.clone()));
        let children: Vec<&String> = [first(12..18), first(0..12)].into_iter().flatten().collect();
        if children.is_empty() {
            return None;
        }
        let relations = children.iter().map(|c| self.relation(c, ["guardian"].iter())).collect();
        Some(member(Persona::Guardian, "Imogen Thorne", None, None, None, relations))
    }

    /// Namesakes are many: only children of one family name are taken for siblings.
    fn same_home(&self, a: &Parent, b: &Parent) -> bool {
        let family = |p: &Parent| {
            self.patients.get(&p.child).and_then(|c| c.name.rsplit(' ').next().map(str::to_owned))
        };
        family(a) == family(b)
    }

    fn relation<'w>(&self, patient: &str, words: impl Iterator<Item = &'w &'static str>) -> Relation {
        Relation {
            patient: patient.to_owned(),
            is: words.map(|w| (*w).to_owned()).collect(),
            birth_date: self.patients.get(patient).and_then(|p| p.birth.clone()),
        }
    }

    fn figures(&self, lead: Option<&str>, members: &[Member]) -> Figures {
        let first = |test: &dyn Fn(&str, &Patient) -> bool| {
            self.patients.iter().find(|(id, p)| test(id, p)).map(|(id, _)| id.clone())
        };
        let of = |persona: Persona| {
            members.iter().find(|m| m.persona == persona).map_or(&[][..], |m| m.relations.as_slice())
        };
        let ward_or_team = |id: &str| of(Persona::Doctor).iter().any(|r| r.patient == id);
        let child = |ages: std::ops::Range<i64>| {
            of(Persona::Guardian).iter().map(|r| &r.patient).find(|p| self.minor(p, ages.clone())).cloned()
        };
        let known = |id: &str| {
            members
                .iter()
                .any(|m| m.patient.as_deref() == Some(id) || m.relations.iter().any(|r| r.patient == id))
        };
        let substance = |own: bool| first(&|id, _| self.substance.contains(id) && (ward_or_team(id) || !own));
        Figures {
            lead: lead.map(str::to_owned),
            adolescent: child(12..18),
            child: child(0..12),
            vip: None,
            substance_use: substance(true).or_else(|| substance(false)),
            psychiatric: first(&|id, _| self.psychiatric.contains(id) && !self.substance.contains(id)),
            elder: first(&|_, p| p.age > Some(89)),
            small_zone: first(&|_, p| p.zone.as_deref().is_some_and(|z| SMALL_ZONES.contains(&z))),
            deceased: first(&|_, p| p.dead),
            stranger: first(&|id, p| !p.dead && !known(id)),
        }
    }
}

fn member(
    persona: Persona,
    name: &str,
    title: Option<&str>,
    organization: Option<&str>,
    fhir_user: Option<String>,
    relations: Vec<Relation>,
) -> Member {
    Member {
        persona,
        subject: subject(persona, name),
        name: name.to_owned(),
        title: title.map(str::to_owned),
        organization: organization.map(str::to_owned),
        departments: Vec::new(),
        fhir_user,
        patient: None,
        works_in_shifts: false,
        relations,
    }
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn items<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// The id a reference has to a resource of that type, relative or absolute.
fn target(reference: &Value, kind: &str) -> Option<String> {
    let text = text(reference, "reference");
    let text = text.split_once("/_history/").map_or(text, |(head, _)| head);
    let mut parts = text.rsplit('/');
    let (id, found) = (parts.next()?, parts.next()?);
    let is_id = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    (found == kind && is_id).then(|| id.to_owned())
}

/// The official name, else the first.
fn name(resource: &Value) -> String {
    let names: Vec<&Value> = items(resource, "name").collect();
    let Some(name) = names.iter().find(|n| text(n, "use") == "official").or(names.first()) else {
        return String::new();
    };
    let given = items(name, "given").filter_map(Value::as_str).next().unwrap_or_default();
    let name = format!("{given} {}", text(name, "family"));
    name.trim().to_owned()
}
