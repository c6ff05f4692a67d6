//! The made-up patients of Larkspur General Hospital: the same seed and day give the same bytes.

mod billing;
mod chart;
mod findings;
mod names;
mod notes;
mod orders;
mod people;
mod staff;
mod terms;
mod writer;

use jiff::civil::Date;

use crate::cast::{Cast, Clerks, Figures, Member, Persona, Relation, age_on, subject};
use chart::Ties;
use people::{Part, Person};
use staff::Staff;
use writer::Writer;

/// One version of one FHIR R4 resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// `resourceType`.
    pub resource_type: String,
    /// The logical id.
    pub id: String,
    /// The resource as JSON, decimals with all their digits.
    pub json: Vec<u8>,
}

/// The hospital's records and the people who ask for them.
#[derive(Clone, Debug)]
pub struct Population {
    /// Every resource. One that stands here twice has two versions, the older first. A resource comes after those
    /// it refers to.
    pub resources: Vec<Resource>,
    /// Who asks.
    pub cast: Cast,
}

/// How many patients there are at least; the last household is not torn apart.
const PATIENTS: usize = 300;

impl Population {
    /// Makes the population as it stands on the morning of `today`, the hospital's civil date. Nothing in it is dated
    /// later than the day before.
    pub fn generate(seed: u64, today: Date) -> Population {
        let mut writer = Writer::new(seed, today);
        let staff = Staff::write(&mut writer);
        let mut people = people::people(&mut writer, PATIENTS);
        people::write(&mut writer, &staff, &mut people);
        let ties = chart::write(&mut writer, &staff, &people);
        let cast = cast(&staff, &people, &ties, today);
        Population { resources: writer.finish(), cast }
    }
}

fn cast(staff: &Staff, people: &[Person], ties: &Ties, today: Date) -> Cast {
    let part = |part: Part| people.iter().find(|p| p.part == Some(part));
    let id = |wanted: Part| part(wanted).map(|p| p.link.id().to_owned());
    let birth = |id: &str| people.iter().find(|p| p.link.id() == id).map(|p| p.born.to_string());
    let relation = |patient: &str, is: Vec<String>| Relation {
        patient: patient.to_owned(),
        is,
        birth_date: birth(patient),
    };
    let hospital = Some(staff.hospital.target.as_str());

    let mut members = Vec::new();
    let ward = &staff.wards[0];
    members.push(Member {
        persona: Persona::Doctor,
        subject: subject(Persona::Doctor, "Miriam Castellanos"),
        name: staff.doctors[0].link.display.clone(),
        title: Some("attending physician".into()),
        organization: hospital.map(str::to_owned),
        departments: vec![
            staff.department(ward.clinic).target.clone(),
            staff.clinic(ward.clinic).target.clone(),
        ],
        fhir_user: Some(staff.doctors[0].link.target.clone()),
        patient: None,
        works_in_shifts: false,
        relations: ties
            .doctor
            .iter()
            .map(|(patient, is)| relation(patient, is.iter().map(|w| (*w).to_owned()).collect()))
            .collect(),
    });
    members.push(Member {
        persona: Persona::Nurse,
        subject: subject(Persona::Nurse, "Tobias Whitlock"),
        name: staff.nurses[0].display.clone(),
        title: Some("registered nurse".into()),
        organization: hospital.map(str::to_owned),
        departments: vec![ward.link.target.clone()],
        fhir_user: Some(staff.nurses[0].target.clone()),
        patient: None,
        works_in_shifts: true,
        relations: ties.ward.iter().map(|patient| relation(patient, vec!["ward".into()])).collect(),
    });
    let clerks = Clerks { billing: Some(&staff.billing.target), researcher: Some(&staff.researcher.target) };
    members.extend(Cast::without_patients(hospital, Some(&staff.health_unit.target), clerks));
    if let Some(lead) = part(Part::Lead) {
        members.push(Member {
            persona: Persona::Patient,
            subject: subject(Persona::Patient, &lead.name()),
            name: lead.name(),
            title: None,
            organization: None,
            departments: Vec::new(),
            fhir_user: Some(lead.link.target.clone()),
            patient: Some(lead.link.id().to_owned()),
            works_in_shifts: false,
            relations: Vec::new(),
        });
    }
    if let Some((index, guardian)) = people.iter().enumerate().find(|(_, p)| p.part == Some(Part::Guardian)) {
        let children: Vec<&Person> = people.iter().filter(|p| p.parents.contains(&index)).collect();
        let user = children.first().and_then(|c| c.relatives.first()).map(|(_, link)| link.target.clone());
        members.push(Member {
            persona: Persona::Guardian,
            subject: subject(Persona::Guardian, &guardian.name()),
            name: guardian.name(),
            title: None,
            organization: None,
            departments: Vec::new(),
            fhir_user: user,
            patient: None,
            works_in_shifts: false,
            relations: children.iter().map(|c| relation(c.link.id(), vec!["guardian".into()])).collect(),
        });
    }
    members.sort_by_key(|m| m.persona);

    let known = |id: &str| members.iter().any(|m| m.relations.iter().any(|r| r.patient == id));
    let other = |test: &dyn Fn(&Person) -> bool| {
        people.iter().find(|p| p.part.is_none() && test(p)).map(|p| p.link.id().to_owned())
    };
    let figures = Figures {
        lead: id(Part::Lead),
        adolescent: id(Part::Adolescent),
        child: id(Part::Child),
        vip: id(Part::Vip),
        substance_use: id(Part::SubstanceUse),
        psychiatric: id(Part::Psychiatric),
        elder: id(Part::Elder),
        small_zone: other(&|p| names::TOWNS[p.town].zip == "03603" && p.died.is_none()),
        deceased: id(Part::Deceased),
        stranger: other(&|p| {
            !known(p.link.id()) && p.died.is_none() && age_on(&p.born.to_string(), today) >= Some(30)
        }),
    };
    Cast { members, figures }
}
