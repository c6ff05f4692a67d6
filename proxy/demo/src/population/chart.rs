//! Each patient's chart: which diseases, which visits and stays, and the order in which its records are written.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use serde_json::{Value, json};

use super::people::{Part, Person, family_clinic};
use super::staff::{Staff, Ward};
use super::terms::{ACT, COURSES, Clinic, Course, ICD10, PARTICIPATION, SNOMED, course_of};
use super::writer::{Link, Writer, concept, later, moment, narrative};
use super::{billing, findings, notes, orders};

/// A visit or a stay.
pub(super) struct Visit<'a> {
    pub(super) link: Link,
    pub(super) day: Date,
    pub(super) hour: u8,
    pub(super) doctor: Link,
    pub(super) courses: Vec<&'static Course>,
    pub(super) stay: Option<Stay<'a>>,
    pub(super) place: Link,
    pub(super) department: Link,
    /// The visit at which its chronic diseases were first written down.
    pub(super) first: bool,
}

/// A stay on a ward.
#[derive(Clone, Copy)]
pub(super) struct Stay<'a> {
    pub(super) ward: &'a Ward,
    pub(super) bed: usize,
}

impl Visit<'_> {
    pub(super) fn moment(&self, minute: u8) -> String {
        moment(self.day, self.hour, minute)
    }

    /// Whether the patient is still there.
    pub(super) fn open(&self) -> bool {
        self.stay.is_some()
    }
}

/// What the charts tell of the members of the cast.
#[derive(Debug, Default)]
pub(super) struct Ties {
    /// Patient id → what the doctor of the cast is to the patient.
    pub(super) doctor: BTreeMap<String, BTreeSet<&'static str>>,
    /// Patients on the ward of the nurse of the cast.
    pub(super) ward: BTreeSet<String>,
}

/// Writes everybody's chart.
pub(super) fn write(writer: &mut Writer, staff: &Staff, people: &[Person]) -> Ties {
    let mut charts = Charts { staff, beds: vec![0; staff.wards.len()], ties: Ties::default() };
    for person in people {
        charts.chart(writer, person);
    }
    charts.ties
}

struct Charts<'a> {
    staff: &'a Staff,
    /// Beds taken, by ward.
    beds: Vec<usize>,
    ties: Ties,
}

impl<'a> Charts<'a> {
    fn chart(&mut self, writer: &mut Writer, person: &Person) {
        let courses = diseases(writer, person);
        let mut visits = self.visits(writer, person, &courses);
        visits.extend(self.stay(writer, person, &courses));
        let coverage = billing::coverage(writer, self.staff, person);
        let mut written: BTreeMap<&str, Link> = BTreeMap::new();
        for visit in &visits {
            encounter(writer, self.staff, person, visit);
            for course in visit.courses.iter().copied() {
                if !written.contains_key(course.key) {
                    written.insert(course.key, condition(writer, person, visit, course));
                }
            }
            let reports = findings::write(writer, self.staff, person, visit);
            for course in visit.courses.iter().copied().filter(|c| visit.first || c.acute) {
                if let Some(condition) = written.get(course.key) {
                    orders::medicines(writer, person, visit, course, condition);
                }
            }
            orders::procedure(writer, person, visit);
            notes::write(writer, self.staff, person, visit, &reports);
            if !visit.open() {
                billing::bill(writer, self.staff, person, visit, &coverage);
            }
        }
        orders::vaccines(writer, self.staff, person);
        orders::allergies(writer, person, &self.staff.doctors[person.doctor].link);
        self.tie(writer, person, &visits, &courses);
    }

    fn visits(&self, writer: &mut Writer, person: &Person, courses: &[&'static Course]) -> Vec<Visit<'a>> {
        let mut groups: Vec<(Clinic, bool, Vec<&'static Course>)> = Vec::new();
        for &course in courses {
            let clinic = clinic_for(course, person.age);
            match groups.iter_mut().find(|(c, acute, _)| *c == clinic && !*acute && !course.acute) {
                Some((.., group)) => group.push(course),
                None => groups.push((clinic, course.acute, vec![course])),
            }
        }
        if groups.is_empty() {
            groups.push((family_clinic(person.age), true, Vec::new()));
        }
        let mut visits = Vec::new();
        for (clinic, acute, courses) in groups {
            let doctor = self.physician(writer, person, clinic);
            let again = usize::from(!acute && (person.part.is_some() || writer.random.chance(450)));
            let mut ago = writer.random.between(if again == 1 { 260 } else { 12 }, 690);
            for round in 0..=again {
                let day = clamp(writer, person, ago);
                visits.push(Visit {
                    link: Link::new("Encounter", &writer.id("e"), ""),
                    day,
                    hour: writer.random.between(8, 16) as u8,
                    doctor: doctor.clone(),
                    courses: courses.clone(),
                    stay: None,
                    place: self.staff.clinic(clinic).clone(),
                    department: self.staff.department(clinic).clone(),
                    first: round == 0,
                });
                ago = writer.random.between(8, 200);
            }
        }
        visits.sort_by_key(|v| v.day);
        visits
    }

    fn physician(&self, writer: &mut Writer, person: &Person, clinic: Clinic) -> Link {
        let own = &self.staff.doctors[person.doctor];
        if own.clinic == clinic {
            return own.link.clone();
        }
        let turn = writer.random.below(6);
        self.staff.doctor(clinic, turn).link.clone()
    }

    /// The stay on a ward from which the patient has not yet gone home.
    fn stay(
        &mut self,
        writer: &mut Writer,
        person: &Person,
        courses: &[&'static Course],
    ) -> Option<Visit<'a>> {
        if person.died.is_some() {
            return None;
        }
        let mind = courses.iter().any(|c| c.clinic == Clinic::Psychiatry);
        let ward = match person.part {
            Some(Part::Lead | Part::Vip | Part::Elder) => 0,
            Some(_) => return None,
            None if person.age < 1 => return None,
            None if person.age < 18 => 2,
            None if mind && writer.random.chance(250) => 3,
            None => *writer.random.pick(&[0, 0, 0, 1, 1, 4]),
        };
        let limit = [10, 8, 5, 5, 3][ward];
        if person.part.is_none() && (self.beds[ward] >= limit || !writer.random.chance(130)) {
            return None;
        }
        self.beds[ward] += 1;
        let staff = self.staff;
        let place = &staff.wards[ward];
        let doctor = match ward {
            1 => staff.doctors[5].link.clone(),
            3 => staff.doctor(Clinic::Psychiatry, 0).link.clone(),
            _ => staff.doctors[person.doctor].link.clone(),
        };
        let reason = courses
            .iter()
            .copied()
            .find(|c| if ward == 3 { c.clinic == Clinic::Psychiatry } else { c.clinic == place.clinic });
        let days = writer.random.between(1, 6);
        Some(Visit {
            link: Link::new("Encounter", &writer.id("e"), ""),
            day: writer.days_ago(days),
            hour: 15,
            doctor,
            courses: vec![reason.unwrap_or_else(|| course_of("pneumonia"))],
            stay: Some(Stay { ward: place, bed: self.beds[ward] - 1 }),
            place: place.link.clone(),
            department: staff.department(place.clinic).clone(),
            first: false,
        })
    }

    /// Who of the cast has to do with the patient; and the care team, where there is one.
    fn tie(&mut self, writer: &mut Writer, person: &Person, visits: &[Visit<'_>], courses: &[&Course]) {
        let cast = &self.staff.doctors[0].link;
        let id = person.link.id();
        let own = &self.staff.doctors[person.doctor].link;
        let stay = visits.iter().find_map(|v| v.stay);
        let team = stay.is_some()
            || person.part.is_some()
            || (courses.iter().any(|c| !c.acute) && writer.random.chance(350));
        if own == cast || visits.iter().any(|v| v.doctor == *cast) {
            self.ties.doctor.entry(id.to_owned()).or_default().insert("treating");
        }
        if stay.is_some_and(|s| s.ward.link == self.staff.wards[0].link) {
            self.ties.ward.insert(id.to_owned());
        }
        if team {
            let ward = stay.and_then(|s| self.staff.wards.iter().position(|w| w.link == s.ward.link));
            let nurse = ward.map(|w| &self.staff.nurses[w % self.staff.nurses.len()]);
            care_team(writer, self.staff, person, own, nurse);
            if own == cast {
                self.ties.doctor.entry(id.to_owned()).or_default().insert("careTeam");
            }
        }
    }
}

/// Psychiatric and other courses go to their own clinic; the rest to the doctors of that age.
fn clinic_for(course: &Course, age: i64) -> Clinic {
    match course.clinic {
        Clinic::Medicine | Clinic::Pediatrics => family_clinic(age),
        other => other,
    }
}

fn diseases(writer: &mut Writer, person: &Person) -> Vec<&'static Course> {
    let keys: &[&str] = match person.part {
        Some(Part::Lead) => &["hypertension", "diabetes", "lipids", "hiv"],
        Some(Part::Guardian) => &["migraine", "urinary"],
        Some(Part::Adolescent) => &["asthma", "depression", "chlamydia", "contraception"],
        Some(Part::Child) => &["asthma", "otitis"],
        Some(Part::Vip) => &["hypertension", "fibrillation"],
        Some(Part::SubstanceUse) => &["opioid", "reflux"],
        Some(Part::Psychiatric) => &["bipolar", "anxiety"],
        Some(Part::Elder) => &["heart-failure", "kidney", "hypertension"],
        Some(Part::Deceased) => &["copd", "heart-failure"],
        None => {
            let fits = |c: &&Course| {
                (c.ages.0..=c.ages.1).contains(&person.age) && (c.sex.is_empty() || c.sex == person.gender())
            };
            let of_age: Vec<&'static Course> = COURSES.iter().filter(fits).collect();
            return of_age.into_iter().filter(|c| writer.random.chance(c.per_mille)).collect();
        }
    };
    keys.iter().map(|key| course_of(key)).collect()
}

/// A day so long ago, but after birth and before death.
fn clamp(writer: &Writer, person: &Person, days_ago: i64) -> Date {
    let end = person.died.map_or_else(|| writer.days_ago(1), |d| later(d, -9));
    let shift = person.died.map_or(0, |d| i64::from((writer.today - d).get_days()).max(0));
    writer.days_ago(days_ago + shift).max(later(person.born, 14)).min(end)
}

fn encounter(writer: &mut Writer, staff: &Staff, person: &Person, visit: &Visit<'_>) {
    let class = if visit.open() { ("IMP", "inpatient encounter") } else { ("AMB", "ambulatory") };
    let kind = match (visit.open(), visit.courses.is_empty()) {
        (true, _) => ("32485007", "Hospital admission"),
        (false, true) => ("185349003", "Encounter for check up"),
        (false, false) => ("185345009", "Encounter for symptom"),
    };
    let number = writer.digits(9);
    let words = format!("{} was seen by {} on {}.", person.name(), visit.doctor.display, visit.day);
    let mut period = json!({"start": visit.moment(0)});
    if !visit.open() {
        period["end"] = json!(visit.moment(40));
    }
    let reasons: Vec<Value> = visit.courses.iter().map(|c| concept(ICD10, c.icd, None)).collect();
    let role = if visit.open() { ("ATND", "attender") } else { ("PPRF", "primary performer") };
    let mut value = json!({
        "resourceType": "Encounter",
        "id": visit.link.id(),
        "meta": writer.meta(&visit.day, visit.hour),
        "text": narrative(&[&words]),
        "identifier": [{"use": "official", "system": "https://larkspur.example.org/visit", "value": number}],
        "status": if visit.open() { "in-progress" } else { "finished" },
        "class": {"system": ACT, "code": class.0, "display": class.1},
        "type": [concept(SNOMED, kind, None)],
        "subject": person.subject(),
        "participant": [{
            "type": [concept(PARTICIPATION, role, None)],
            "individual": visit.doctor.json(),
        }],
        "period": period,
    });
    if !reasons.is_empty() {
        value["reasonCode"] = Value::Array(reasons);
    }
    match visit.stay {
        Some(stay) => {
            let source = "http://terminology.hl7.org/CodeSystem/admit-source";
            value["hospitalization"] =
                json!({"admitSource": concept(source, ("emd", "From accident/emergency department"), None)});
            if person.part == Some(Part::Vip) {
                let courtesy = "http://terminology.hl7.org/CodeSystem/v3-EncounterSpecialCourtesy";
                value["hospitalization"]["specialCourtesy"] =
                    json!([concept(courtesy, ("VIP", "very important person"), None)]);
            }
            let bed = &stay.ward.beds[stay.bed % stay.ward.beds.len()];
            value["location"] = json!([
                {"location": stay.ward.link.json(), "status": "active", "period": {"start": visit.moment(0)}},
                {"location": bed.json(), "status": "active", "period": {"start": visit.moment(20)}},
            ]);
        }
        None => value["location"] = json!([{"location": visit.place.json(), "status": "completed"}]),
    }
    value["serviceProvider"] = if visit.open() { staff.hospital.json() } else { visit.department.json() };
    writer.put(value);
}

fn condition(writer: &mut Writer, person: &Person, visit: &Visit<'_>, course: &'static Course) -> Link {
    let id = writer.id("c");
    let over = course.acute && !visit.open();
    let days = if course.acute { 2 } else { writer.random.between(40, 2400) };
    let onset = later(visit.day, -days).max(person.born);
    let words = format!("{} ({}) has: {}. {}", person.name(), person.mrn, course.icd.1, course.note);
    let status = if over { ("resolved", "Resolved") } else { ("active", "Active") };
    let category = if visit.open() {
        ("encounter-diagnosis", "Encounter Diagnosis")
    } else {
        ("problem-list-item", "Problem List Item")
    };
    let base = "http://terminology.hl7.org/CodeSystem";
    let mut value = json!({
        "resourceType": "Condition",
        "id": id,
        "meta": writer.meta(&visit.day, visit.hour + 1),
        "text": narrative(&[&words]),
        "clinicalStatus": concept(&format!("{base}/condition-clinical"), status, None),
        "verificationStatus": concept(&format!("{base}/condition-ver-status"), ("confirmed", "Confirmed"), None),
        "category": [concept(&format!("{base}/condition-category"), category, None)],
        "code": super::writer::concepts(&[(ICD10, course.icd), (SNOMED, course.snomed)], Some(course.icd.1)),
        "subject": person.subject(),
        "encounter": visit.link.bare(),
        "onsetDateTime": onset.to_string(),
    });
    if over {
        value["abatementDateTime"] = json!(later(visit.day, 12).min(later(writer.today, -1)).to_string());
    }
    value["recordedDate"] = json!(visit.moment(30));
    value["recorder"] = visit.doctor.json();
    if person.part.is_some() || writer.random.chance(400) {
        value["note"] = json!([{
            "authorReference": visit.doctor.json(),
            "time": visit.moment(35),
            "text": format!("{}: {}", person.name(), course.note),
        }]);
    }
    writer.put(value);
    Link::new("Condition", &id, course.icd.1)
}

fn care_team(writer: &mut Writer, staff: &Staff, person: &Person, doctor: &Link, nurse: Option<&Link>) {
    let id = writer.id("t");
    let day = writer.days_ago(30).max(later(person.born, 1));
    let member = |role: super::terms::Code, link: &Link| json!({"role": [concept(SNOMED, role, None)], "member": link.json()});
    let mut participants = vec![member(("309343006", "Physician"), doctor)];
    participants.extend(nurse.map(|n| member(("106292003", "Professional nurse"), n)));
    participants.extend(person.relatives.iter().map(|(_, link)| member(("133932002", "Caregiver"), link)));
    writer.put(json!({
        "resourceType": "CareTeam",
        "id": id,
        "meta": writer.meta(&day.min(writer.days_ago(1)), 11),
        "status": if person.died.is_some() { "inactive" } else { "active" },
        "name": format!("Team of {}", person.name()),
        "subject": person.subject(),
        "period": {"start": day.to_string()},
        "participant": participants,
        "managingOrganization": [staff.hospital.json()],
    }));
}
