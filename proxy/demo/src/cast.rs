//! The people who ask: a doctor, a nurse, a billing clerk and others, with what an issuer would say of each.

use jiff::civil::Date;
use serde_json::{Map, Value, json};

/// One of the parts in the demonstration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Persona {
    /// Treats some of the patients.
    Doctor,
    /// Works on one ward, in shifts.
    Nurse,
    /// Bills; has no relation to any patient.
    Billing,
    /// Studies the population for a purpose of research.
    Researcher,
    /// Is a patient.
    Patient,
    /// Is the parent of an adolescent and of a younger child.
    Guardian,
    /// Counts, for public health, and reads no record.
    Analyst,
    /// Has a valid login and no rights.
    Attacker,
    /// The privacy officer: sees the log, not the records.
    Officer,
    /// Keeps the records and sees them whole; used to show that nothing is changed for one who may see everything.
    RecordsOfficer,
}

impl Persona {
    /// All parts, in the order in which the tour shows them.
    pub const ALL: [Persona; 10] = [
        Persona::Doctor,
        Persona::Nurse,
        Persona::Billing,
        Persona::Researcher,
        Persona::Patient,
        Persona::Guardian,
        Persona::Analyst,
        Persona::Attacker,
        Persona::Officer,
        Persona::RecordsOfficer,
    ];

    /// The word for it in a shell, lower case: `doctor`, `records-officer`.
    pub fn word(self) -> &'static str {
        match self {
            Persona::Doctor => "doctor",
            Persona::Nurse => "nurse",
            Persona::Billing => "billing",
            Persona::Researcher => "researcher",
            Persona::Patient => "patient",
            Persona::Guardian => "guardian",
            Persona::Analyst => "analyst",
            Persona::Attacker => "attacker",
            Persona::Officer => "officer",
            Persona::RecordsOfficer => "records-officer",
        }
    }

    /// The part of that word, see [`Persona::word`].
    pub fn from_word(word: &str) -> Option<Persona> {
        Persona::ALL.into_iter().find(|p| p.word() == word)
    }

    /// The roles its token carries (claim `roles`).
    pub fn roles(self) -> &'static [&'static str] {
        match self {
            Persona::Doctor => &["clinician"],
            Persona::Nurse => &["nurse"],
            Persona::Billing => &["billing"],
            Persona::Researcher => &["researcher"],
            Persona::Patient => &["patient"],
            Persona::Guardian => &["guardian"],
            Persona::Analyst => &["analyst"],
            Persona::Attacker => &[],
            Persona::Officer => &["privacy-officer"],
            Persona::RecordsOfficer => &["records-officer"],
        }
    }

    /// Its purpose of use, a v3 PurposeOfUse code (claim `purpose_of_use`).
    pub fn purpose(self) -> &'static str {
        match self {
            Persona::Doctor | Persona::Nurse | Persona::Attacker => "TREAT",
            Persona::Billing => "HPAYMT",
            Persona::Researcher => "HRESCH",
            Persona::Patient => "PATRQT",
            Persona::Guardian => "FAMRQT",
            Persona::Analyst => "PUBHLTH",
            Persona::Officer | Persona::RecordsOfficer => "HOPERAT",
        }
    }

    /// Its SMART scopes (claim `scope`).
    pub fn scope(self) -> &'static str {
        match self {
            Persona::Doctor | Persona::RecordsOfficer => "openid fhirUser user/*.cruds",
            Persona::Patient => "openid fhirUser launch/patient patient/*.rs",
            Persona::Officer => "openid",
            Persona::Nurse
            | Persona::Billing
            | Persona::Researcher
            | Persona::Guardian
            | Persona::Analyst
            | Persona::Attacker => "openid fhirUser user/*.rs",
        }
    }
}

/// What a member of the cast is to one patient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// The patient's logical id, without the type.
    pub patient: String,
    /// `treating`, `careTeam`, `ward`, `guardian`.
    pub is: Vec<String>,
    /// The patient's date of birth, `YYYY-MM-DD`, where it is known to the day.
    pub birth_date: Option<String>,
}

/// One person of the cast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The part.
    pub persona: Persona,
    /// The subject at the issuer.
    pub subject: String,
    /// The name, as the audit log shows it.
    pub name: String,
    /// The job title, where there is one.
    pub title: Option<String>,
    /// The organization acted for, `Organization/<id>`.
    pub organization: Option<String>,
    /// Departments and wards, `Organization/<id>` or `Location/<id>`.
    pub departments: Vec<String>,
    /// The FHIR resource that the person is, `Type/<id>`.
    pub fhir_user: Option<String>,
    /// The patient in context for `patient/` scopes, a bare logical id.
    pub patient: Option<String>,
    /// Whether the person works in shifts.
    pub works_in_shifts: bool,
    /// What the person is to which patients.
    pub relations: Vec<Relation>,
}

impl Member {
    /// The claims that do not depend on time or issuer: who the person is, in which role, for what.
    pub fn claims(&self) -> Map<String, Value> {
        let mut claims = Map::new();
        claims.insert("sub".into(), json!(self.subject));
        claims.insert("name".into(), json!(self.name));
        claims.insert("client_id".into(), json!(format!("demo-{}", self.persona.word())));
        claims.insert("scope".into(), json!(self.persona.scope()));
        claims.insert("roles".into(), json!(self.persona.roles()));
        claims.insert("purpose_of_use".into(), json!(self.persona.purpose()));
        if let Some(organization) = &self.organization {
            claims.insert("organization".into(), json!(organization));
        }
        claims.insert("departments".into(), json!(self.departments));
        for (name, value) in
            [("title", &self.title), ("fhirUser", &self.fhir_user), ("patient", &self.patient)]
        {
            if let Some(value) = value {
                claims.insert(name.into(), json!(value));
            }
        }
        let relations = self.relations.iter().map(|relation| {
            let mut item = Map::new();
            item.insert("patient".into(), json!(format!("Patient/{}", relation.patient)));
            item.insert("is".into(), json!(relation.is));
            if let Some(date) = &relation.birth_date {
                item.insert("birthDate".into(), json!(date));
            }
            Value::Object(item)
        });
        claims.insert("relations".into(), Value::Array(relations.collect()));
        claims
    }
}

/// Patients worth looking at, by logical id. None of them carries a label: what is sensitive is told by codes alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// The patient whom the doctor treats, the nurse has on her ward and billing bills; and who asks herself.
    pub lead: Option<String>,
    /// An adolescent with confidential records.
    pub adolescent: Option<String>,
    /// A child under twelve.
    pub child: Option<String>,
    /// A very important person; whoever runs the demonstration lists the id in the officer's overrides.
    pub vip: Option<String>,
    /// A patient of the doctor in treatment for a substance use disorder (42 CFR Part 2).
    pub substance_use: Option<String>,
    /// A patient with a psychiatric record only.
    pub psychiatric: Option<String>,
    /// Over 89 years old.
    pub elder: Option<String>,
    /// Lives in a three-digit zone with fewer than 20,000 people.
    pub small_zone: Option<String>,
    /// Has died.
    pub deceased: Option<String>,
    /// Has no relation to any member of the cast.
    pub stranger: Option<String>,
}

/// The cast and the patients worth looking at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cast {
    /// At most one of each part. A population without children has no guardian.
    pub members: Vec<Member>,
    /// The patients worth looking at.
    pub figures: Figures,
}

impl Cast {
    /// The member who plays that part.
    pub fn member(&self, persona: Persona) -> Option<&Member> {
        self.members.iter().find(|m| m.persona == persona)
    }

    /// The members whose part needs no patient: they are the same in front of every server.
    pub(crate) fn without_patients(
        hospital: Option<&str>,
        health_unit: Option<&str>,
        clerk: Clerks<'_>,
    ) -> Vec<Member> {
        let member =
            |persona: Persona, name: &str, title: &str, organization: Option<&str>, user: Option<&str>| {
                Member {
                    persona,
                    subject: subject(persona, name),
                    name: name.to_owned(),
                    title: Some(title.to_owned()),
                    organization: organization.map(str::to_owned),
                    departments: Vec::new(),
                    fhir_user: user.map(str::to_owned),
                    patient: None,
                    works_in_shifts: false,
                    relations: Vec::new(),
                }
            };
        vec![
            member(Persona::Billing, "Henrietta Boggs", "billing clerk", hospital, clerk.billing),
            member(Persona::Researcher, "Anselm Park", "epidemiologist", hospital, clerk.researcher),
            member(
                Persona::Analyst,
                "Yuki Brandvold",
                "public health analyst",
                health_unit.or(hospital),
                None,
            ),
            Member { title: None, ..member(Persona::Attacker, "Victor Malvern", "", None, None) },
            member(Persona::Officer, "Constance Avery", "privacy officer", hospital, None),
            member(Persona::RecordsOfficer, "Percival Ode", "health information manager", hospital, None),
        ]
    }
}

/// The FHIR resources that members without patients are, where the server has them.
#[derive(Clone, Copy, Default)]
pub(crate) struct Clerks<'a> {
    pub(crate) billing: Option<&'a str>,
    pub(crate) researcher: Option<&'a str>,
}

/// A subject that reads well in a log: `doctor-miriam-castellanos`.
pub(crate) fn subject(persona: Persona, name: &str) -> String {
    let mut subject = persona.word().to_owned();
    for word in name.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
        subject.push('-');
        subject.extend(word.chars().flat_map(char::to_lowercase));
    }
    subject
}

/// Whole years from a birth to a day; `None` where the birth date is not known to the day.
pub(crate) fn age_on(birth: &str, today: Date) -> Option<i64> {
    let born: Date = birth.parse().ok().filter(|_| birth.len() == 10)?;
    let before_birthday = (today.month(), today.day()) < (born.month(), born.day());
    Some(i64::from(today.year() - born.year()) - i64::from(before_birthday))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_found_by_its_word() {
        for persona in Persona::ALL {
            assert_eq!(Persona::from_word(persona.word()), Some(persona));
        }
        assert_eq!(Persona::from_word("root"), None);
    }

    #[test]
    fn the_attacker_has_a_name_and_no_right() {
        let members = Cast::without_patients(Some("Organization/x"), None, Clerks::default());
        let attacker = members.iter().find(|m| m.persona == Persona::Attacker).unwrap().claims();
        assert_eq!(attacker["roles"], json!([]));
        assert_eq!(attacker["relations"], json!([]));
        assert!(!attacker.contains_key("organization"));
    }

    #[test]
    fn ages_turn_on_the_birthday_and_need_the_whole_date() {
        let today = "2026-03-01".parse().unwrap();
        assert_eq!(age_on("2011-03-01", today), Some(15));
        assert_eq!(age_on("2011-03-02", today), Some(14));
        assert_eq!(age_on("2012-02-29", today), Some(14));
        assert_eq!(age_on("2011-03", today), None);
    }
}
