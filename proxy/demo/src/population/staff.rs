//! The hospital before any patient comes: its organizations, wards, clinics, practitioners and payers.

use std::collections::BTreeMap;

use serde_json::json;

use super::terms::{Clinic, Code, ROLE, SNOMED};
use super::writer::{Link, Writer, concept};

/// A practitioner.
#[derive(Clone, Debug)]
pub(super) struct Doctor {
    pub(super) link: Link,
    pub(super) clinic: Clinic,
    /// Works in the surgery or intensive care, and is nobody's general practitioner.
    pub(super) inpatient_only: bool,
}

/// A ward with its beds.
#[derive(Clone, Debug)]
pub(super) struct Ward {
    pub(super) link: Link,
    pub(super) clinic: Clinic,
    pub(super) beds: Vec<Link>,
}

/// Everyone and everything that patients meet.
#[derive(Clone, Debug)]
pub(super) struct Staff {
    pub(super) hospital: Link,
    pub(super) health_unit: Link,
    pub(super) laboratory: Link,
    pub(super) payers: Vec<Link>,
    pub(super) departments: BTreeMap<&'static str, Link>,
    pub(super) clinics: BTreeMap<&'static str, Link>,
    pub(super) emergency: Link,
    /// The first is the doctor of the cast.
    pub(super) doctors: Vec<Doctor>,
    /// The first is the nurse of the cast.
    pub(super) nurses: Vec<Link>,
    pub(super) billing: Link,
    pub(super) researcher: Link,
    /// The first is the ward of the cast's nurse.
    pub(super) wards: Vec<Ward>,
}

impl Staff {
    pub(super) fn department(&self, clinic: Clinic) -> &Link {
        self.departments.get(key(clinic)).unwrap_or(&self.hospital)
    }

    pub(super) fn clinic(&self, clinic: Clinic) -> &Link {
        self.clinics.get(key(clinic)).unwrap_or(&self.emergency)
    }

    /// A doctor of that clinic: which of them is told by `turn`.
    pub(super) fn doctor(&self, clinic: Clinic, turn: usize) -> &Doctor {
        let of_clinic: Vec<&Doctor> =
            self.doctors.iter().filter(|d| d.clinic == clinic && !d.inpatient_only).collect();
        of_clinic[turn % of_clinic.len()]
    }

    /// Writes organizations, locations, practitioners and their roles.
    pub(super) fn write(writer: &mut Writer) -> Staff {
        let hospital = organization(writer, "Larkspur General Hospital", "prov", None);
        let health_unit = organization(writer, "Upper Valley Public Health Unit", "govt", None);
        let laboratory = organization(writer, "Larkspur Laboratory", "dept", Some(&hospital));
        let payers = vec![
            organization(writer, "Granite Mutual Health Plan", "pay", None),
            organization(writer, "Connecticut River Care", "pay", None),
            organization(writer, "Federal Senior Plan", "pay", None),
        ];
        let building =
            location(writer, "Larkspur General Hospital, main building", "HOSP", "bu", None, &hospital);
        let mut departments = BTreeMap::new();
        let mut clinics = BTreeMap::new();
        for clinic in CLINICS {
            let (name, room) = names(clinic);
            let department = organization(writer, name, "dept", Some(&hospital));
            let rooms = location(writer, room, "OF", "wi", Some(&building), &department);
            departments.insert(key(clinic), department);
            clinics.insert(key(clinic), rooms);
        }
        let emergency = location(writer, "Emergency Department", "ER", "wi", Some(&building), &hospital);
        let mut wards = Vec::new();
        for (name, clinic, code) in WARDS {
            let department = departments.get(key(clinic)).unwrap_or(&hospital).clone();
            let link = location(writer, name, code, "wa", Some(&building), &department);
            let beds = (1..=12)
                .map(|n| location(writer, &format!("{name}, bed {n}"), code, "bd", Some(&link), &department))
                .collect();
            wards.push(Ward { link, clinic, beds });
        }
        let mut doctors = Vec::new();
        for &(given, family, gender, clinic, inpatient_only) in DOCTORS {
            let department = departments.get(key(clinic)).unwrap_or(&hospital).clone();
            let place = clinics.get(key(clinic)).unwrap_or(&emergency).clone();
            let specialty = specialty(clinic, inpatient_only);
            let code = (PRACTITIONER_ROLE, ("doctor", "Doctor"));
            let job = Job { prefix: "Dr.", suffix: "MD", code, specialty: Some(specialty) };
            let link = practitioner(writer, (given, family, gender), &job, &department, &place);
            doctors.push(Doctor { link, clinic, inpatient_only });
        }
        let mut nurses = Vec::new();
        for (n, &(given, family, gender)) in NURSES.iter().enumerate() {
            let ward = wards[n % wards.len()].clone();
            let department = departments.get(key(ward.clinic)).unwrap_or(&hospital).clone();
            let job = Job {
                prefix: "",
                suffix: "RN",
                code: (PRACTITIONER_ROLE, ("nurse", "Nurse")),
                specialty: None,
            };
            nurses.push(practitioner(writer, (given, family, gender), &job, &department, &ward.link));
        }
        let office = location(writer, "Patient Accounts", "OF", "wi", Some(&building), &hospital);
        let clerk = |code| Job { prefix: "", suffix: "", code, specialty: None };
        let administrator = clerk((SNOMED, ("224608005", "Administrative healthcare staff")));
        let billing =
            practitioner(writer, ("Henrietta", "Boggs", "female"), &administrator, &hospital, &office);
        let scientist = clerk((PRACTITIONER_ROLE, ("researcher", "Researcher")));
        let researcher = practitioner(writer, ("Anselm", "Park", "male"), &scientist, &hospital, &office);
        Staff {
            hospital,
            health_unit,
            laboratory,
            payers,
            departments,
            clinics,
            emergency,
            doctors,
            nurses,
            billing,
            researcher,
            wards,
        }
    }
}

fn organization(writer: &mut Writer, name: &str, kind: &str, parent: Option<&Link>) -> Link {
    let id = writer.id("o");
    let words = match kind {
        "prov" => "Healthcare Provider",
        "dept" => "Hospital Department",
        "pay" => "Payer",
        _ => "Government",
    };
    let kind = concept("http://terminology.hl7.org/CodeSystem/organization-type", (kind, words), None);
    let digits = writer.digits(7);
    let phone = writer.phone();
    let mut value = json!({
        "resourceType": "Organization",
        "id": id,
        "meta": writer.meta_old(),
        "identifier": [{"system": "urn:oid:2.16.840.1.113883.4.4", "value": format!("98-{digits}")}],
        "active": true,
        "type": [kind],
        "name": name,
        "telecom": [{"system": "phone", "value": phone, "use": "work"}],
        "address": [{"line": ["1 Larkspur Way"], "city": "Lebanon", "state": "NH", "postalCode": "03766", "country": "US"}],
    });
    if let Some(parent) = parent {
        value["partOf"] = parent.json();
    }
    writer.put(value);
    Link::new("Organization", &id, name)
}

fn location(
    writer: &mut Writer,
    name: &str,
    role: &str,
    form: &str,
    parent: Option<&Link>,
    owner: &Link,
) -> Link {
    let id = writer.id("l");
    let words = match role {
        "HOSP" => "Hospital",
        "OF" => "Outpatient facility",
        "ER" => "Emergency room",
        "ICU" => "Intensive care unit",
        "PEDU" => "Pediatric unit",
        "PHU" => "Psychiatric hospital unit",
        _ => "Hospital unit",
    };
    let form_words = match form {
        "bu" => "Building",
        "wi" => "Wing",
        "wa" => "Ward",
        _ => "Bed",
    };
    let mut value = json!({
        "resourceType": "Location",
        "id": id,
        "meta": writer.meta_old(),
        "status": "active",
        "name": name,
        "mode": "instance",
        "type": [concept(ROLE, (role, words), None)],
        "physicalType": concept("http://terminology.hl7.org/CodeSystem/location-physical-type", (form, form_words), None),
        "managingOrganization": owner.json(),
    });
    if let Some(parent) = parent {
        value["partOf"] = parent.json();
    }
    writer.put(value);
    Link::new("Location", &id, name)
}

struct Job {
    prefix: &'static str,
    suffix: &'static str,
    code: (&'static str, Code),
    specialty: Option<Code>,
}

fn practitioner(
    writer: &mut Writer,
    (given, family, gender): (&str, &str, &str),
    job: &Job,
    department: &Link,
    place: &Link,
) -> Link {
    let id = writer.id("s");
    let mut name = json!({"use": "official", "family": family, "given": [given]});
    if !job.prefix.is_empty() {
        name["prefix"] = json!([job.prefix]);
    }
    if !job.suffix.is_empty() {
        name["suffix"] = json!([job.suffix]);
    }
    let display = format!("{} {given} {family}", job.prefix).trim().to_owned();
    let identifier = if job.suffix.is_empty() {
        let digits = writer.digits(5);
        json!({"system": "https://larkspur.example.org/staff", "value": format!("E{digits}")})
    } else {
        json!({"system": "http://hl7.org/fhir/sid/us-npi", "value": npi(writer)})
    };
    let phone = writer.phone();
    let mail = format!("{}.{}@larkspur.example.org", given.to_lowercase(), family.to_lowercase());
    writer.put(json!({
        "resourceType": "Practitioner",
        "id": id,
        "meta": writer.meta_old(),
        "identifier": [identifier],
        "active": true,
        "name": [name],
        "telecom": [
            {"system": "phone", "value": phone, "use": "work"},
            {"system": "email", "value": mail, "use": "work"},
        ],
        "gender": gender,
    }));
    let link = Link::new("Practitioner", &id, &display);
    let role = writer.id("r");
    let mut value = json!({
        "resourceType": "PractitionerRole",
        "id": role,
        "meta": writer.meta_old(),
        "active": true,
        "practitioner": link.json(),
        "organization": department.json(),
        "code": [concept(job.code.0, job.code.1, None)],
        "location": [place.json()],
    });
    if let Some(specialty) = job.specialty {
        value["specialty"] = json!([concept(SNOMED, specialty, None)]);
    }
    writer.put(value);
    link
}

/// A national provider identifier with its right check digit (ISO/IEC 7812 over the prefix 80840).
fn npi(writer: &mut Writer) -> String {
    let body = format!("19{}", writer.digits(7));
    // 24 is what the prefix 80840 adds to the sum.
    let sum: u32 = body
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, b)| {
            let digit = u32::from(b - b'0') * if i % 2 == 0 { 2 } else { 1 };
            digit / 10 + digit % 10
        })
        .sum::<u32>()
        + 24;
    format!("{body}{}", (10 - sum % 10) % 10)
}

fn key(clinic: Clinic) -> &'static str {
    match clinic {
        Clinic::Medicine => "medicine",
        Clinic::Pediatrics => "pediatrics",
        Clinic::Psychiatry => "psychiatry",
        Clinic::Infection => "infection",
        Clinic::Women => "women",
    }
}

fn names(clinic: Clinic) -> (&'static str, &'static str) {
    match clinic {
        Clinic::Medicine => ("Department of Internal Medicine", "Internal Medicine Clinic"),
        Clinic::Pediatrics => ("Department of Pediatrics", "Pediatric Clinic"),
        Clinic::Psychiatry => ("Department of Psychiatry", "Psychiatric Outpatient Clinic"),
        Clinic::Infection => ("Department of Infectious Diseases", "Infectious Disease Clinic"),
        Clinic::Women => ("Department of Obstetrics and Gynecology", "Clinic of Obstetrics and Gynecology"),
    }
}

fn specialty(clinic: Clinic, inpatient_only: bool) -> (&'static str, &'static str) {
    match clinic {
        Clinic::Medicine if inpatient_only => ("394609007", "General surgery"),
        Clinic::Medicine => ("419192003", "Internal medicine"),
        Clinic::Pediatrics => ("394537008", "Pediatric specialty"),
        Clinic::Psychiatry => ("394587001", "Psychiatry"),
        Clinic::Infection => ("394807007", "Infectious diseases (specialty)"),
        Clinic::Women => ("394585009", "Obstetrics and gynecology"),
    }
}

const PRACTITIONER_ROLE: &str = "http://terminology.hl7.org/CodeSystem/practitioner-role";

const CLINICS: [Clinic; 5] =
    [Clinic::Medicine, Clinic::Pediatrics, Clinic::Psychiatry, Clinic::Infection, Clinic::Women];

const WARDS: [(&str, Clinic, &str); 5] = [
    ("4 West", Clinic::Medicine, "HU"),
    ("3 East", Clinic::Medicine, "HU"),
    ("2 North", Clinic::Pediatrics, "PEDU"),
    ("5 South", Clinic::Psychiatry, "PHU"),
    ("Intensive Care", Clinic::Medicine, "ICU"),
];

const DOCTORS: &[(&str, &str, &str, Clinic, bool)] = &[
    ("Miriam", "Castellanos", "female", Clinic::Medicine, false),
    ("Reuben", "Strandberg", "male", Clinic::Medicine, false),
    ("Ottoline", "Feathers", "female", Clinic::Medicine, false),
    ("Babajide", "Ogunleye", "male", Clinic::Medicine, false),
    ("Marguerite", "Lindholm", "female", Clinic::Medicine, false),
    ("Cassius", "Vroom", "male", Clinic::Medicine, true),
    ("Philomena", "Tarrant", "female", Clinic::Pediatrics, false),
    ("Lucjan", "Sobol", "male", Clinic::Pediatrics, false),
    ("Hedwig", "Marlowe", "female", Clinic::Psychiatry, false),
    ("Ptolemy", "Graves", "male", Clinic::Psychiatry, false),
    ("Ifeoma", "Chukwu", "female", Clinic::Infection, false),
    ("Zsofia", "Barany", "female", Clinic::Women, false),
    ("Clementine", "Roux", "female", Clinic::Women, false),
];

const NURSES: &[(&str, &str, &str)] = &[
    ("Tobias", "Whitlock", "male"),
    ("Prudence", "Achebe", "female"),
    ("Marisol", "Egeland", "female"),
    ("Lorcan", "Byrne", "male"),
    ("Sunniva", "Haugen", "female"),
];
