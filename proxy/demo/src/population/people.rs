//! Households and the people in them: names, births, homes, parents, and the Patient and RelatedPerson resources.

use jiff::ToSpan;
use jiff::civil::Date;
use serde_json::{Value, json};

use super::names::{FAMILY, FEMALE, LANGUAGES, MALE, RACES, STREETS, TOWNS};
use super::staff::Staff;
use super::terms::{Clinic, ROLE};
use super::writer::{Link, Writer, concept, moment, narrative};
use crate::exact::decimal;

/// The patients whom the tour looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Part {
    Lead,
    Guardian,
    Adolescent,
    Child,
    Vip,
    SubstanceUse,
    Psychiatric,
    Elder,
    Deceased,
}

/// A patient.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) link: Link,
    pub(super) given: String,
    pub(super) family: String,
    pub(super) maiden: Option<&'static str>,
    pub(super) female: bool,
    pub(super) born: Date,
    pub(super) age: i64,
    pub(super) died: Option<Date>,
    pub(super) mrn: String,
    pub(super) town: usize,
    pub(super) street: String,
    pub(super) phone: String,
    pub(super) married: (&'static str, &'static str),
    /// Index into the doctors.
    pub(super) doctor: usize,
    /// Index into the payers.
    pub(super) payer: usize,
    /// Indices into the people.
    pub(super) parents: Vec<usize>,
    /// RelatedPerson resources about this patient, the parents first; each with the index of who it is.
    pub(super) relatives: Vec<(usize, Link)>,
    pub(super) part: Option<Part>,
}

impl Person {
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.given, self.family)
    }

    pub(super) fn gender(&self) -> &'static str {
        if self.female { "female" } else { "male" }
    }

    /// The subject as most records name it: reference and display.
    pub(super) fn subject(&self) -> Value {
        self.link.json()
    }

    /// The subject as some systems name it, with the medical record number beside.
    pub(super) fn subject_with_number(&self) -> Value {
        json!({
            "reference": self.link.target,
            "type": "Patient",
            "identifier": {"system": MRN, "value": self.mrn},
            "display": self.name(),
        })
    }
}

/// The hospital's medical record numbers.
pub(super) const MRN: &str = "https://larkspur.example.org/mrn";

/// Makes the people, household by household, until there are enough.
pub(super) fn people(writer: &mut Writer, count: usize) -> Vec<Person> {
    let mut maker = Maker { writer, people: Vec::with_capacity(count + 4) };
    maker.cast();
    while maker.people.len() < count {
        maker.household();
    }
    maker.people
}

struct Maker<'a> {
    writer: &'a mut Writer,
    people: Vec<Person>,
}

/// Where a household lives and what it is called.
#[derive(Clone)]
struct Home {
    family: String,
    town: usize,
    street: String,
}

impl Maker<'_> {
    fn cast(&mut self) {
        let lead = self.home("Achterberg", 0);
        self.add(&lead, Some("Rosalind"), true, 47, &[], Some(Part::Lead));
        let thorne = self.home("Thorne", 1);
        let mother = self.add(&thorne, Some("Imogen"), true, 41, &[], Some(Part::Guardian));
        self.add(&thorne, Some("Calla"), true, 15, &[mother], Some(Part::Adolescent));
        self.add(&thorne, Some("Otis"), false, 7, &[mother], Some(Part::Child));
        let vip = self.home("Lindqvist", 1);
        self.add(&vip, Some("Thaddeus"), false, 58, &[], Some(Part::Vip));
        let kessler = self.home("Kessler", 3);
        self.add(&kessler, Some("Dorian"), false, 34, &[], Some(Part::SubstanceUse));
        let abernathy = self.home("Abernathy", 0);
        self.add(&abernathy, Some("Soren"), false, 29, &[], Some(Part::Psychiatric));
        let elder = self.home("Oyelaran", 6);
        self.add(&elder, Some("Philippa"), true, 93, &[], Some(Part::Elder));
        let dead = self.home("Hollingworth", 5);
        self.add(&dead, Some("Barnaby"), false, 81, &[], Some(Part::Deceased));
    }

    fn household(&mut self) {
        let family = *self.writer.random.pick(FAMILY);
        let town = weighted(self.writer, TOWNS.iter().map(|t| t.weight));
        let home = self.home(family, town);
        match self.writer.random.below(10) {
            0 | 1 => {
                let age = self.writer.random.between(66, 97);
                let female = self.writer.random.chance(580);
                self.add(&home, None, female, age, &[], None);
            }
            2 => {
                let age = self.writer.random.between(60, 88);
                self.add(&home, None, true, age, &[], None);
                self.add(&home, None, false, age + 2, &[], None);
            }
            3 | 4 => {
                let age = self.writer.random.between(20, 59);
                let female = self.writer.random.chance(500);
                self.add(&home, None, female, age, &[], None);
            }
            5 => {
                let age = self.writer.random.between(27, 44);
                let parent = self.add(&home, None, true, age, &[], None);
                self.children(&home, age, &[parent]);
            }
            _ => {
                let age = self.writer.random.between(26, 48);
                let mother = self.add(&home, None, true, age, &[], None);
                let father = self.add(&home, None, false, age + 1, &[], None);
                self.children(&home, age, &[mother, father]);
            }
        }
    }

    fn children(&mut self, home: &Home, mother_age: i64, parents: &[usize]) {
        for _ in 0..=self.writer.random.below(2) {
            let age = self.writer.random.between(0, (mother_age - 20).min(17));
            let female = self.writer.random.chance(490);
            self.add(home, None, female, age, parents, None);
        }
    }

    fn home(&mut self, family: &str, town: usize) -> Home {
        let number = self.writer.random.between(2, 240);
        let street = format!("{number} {}", self.writer.random.pick(STREETS));
        Home { family: family.to_owned(), town, street }
    }

    fn add(
        &mut self,
        home: &Home,
        given: Option<&str>,
        female: bool,
        age: i64,
        parents: &[usize],
        part: Option<Part>,
    ) -> usize {
        let writer = &mut *self.writer;
        let given = given.map_or_else(
            || (*writer.random.pick(if female { FEMALE } else { MALE })).to_owned(),
            str::to_owned,
        );
        let days = writer.random.between(25, 330);
        let born = writer.today.saturating_sub(age.years()).saturating_sub(days.days());
        let married = match age {
            0..18 => ("S", "Never Married"),
            85.. => ("W", "Widowed"),
            _ => *writer.random.pick(&[
                ("M", "Married"),
                ("M", "Married"),
                ("S", "Never Married"),
                ("D", "Divorced"),
            ]),
        };
        let died = match part {
            Some(Part::Deceased) => Some(writer.days_ago(64)),
            None if age > 74 && writer.random.chance(90) => {
                let days = writer.random.between(20, 700);
                Some(writer.days_ago(days))
            }
            _ => None,
        };
        let maiden = (female && age >= 25 && married.0 != "S").then(|| *writer.random.pick(FAMILY));
        let payer = if age >= 65 { 2 } else { writer.random.below(2) };
        let doctor = match part {
            Some(Part::Lead | Part::SubstanceUse | Part::Elder) => 0,
            Some(Part::Vip) => 1,
            // Enough patients for the doctor of the cast, few enough for a token that names them all.
            None if age >= 18 && writer.random.chance(75) => 0,
            _ if age < 18 => 6 + writer.random.below(2),
            _ => 1 + writer.random.below(4),
        };
        let id = writer.id("p");
        let link = Link::new("Patient", &id, &format!("{given} {}", home.family));
        self.people.push(Person {
            link,
            given,
            family: home.family.clone(),
            maiden,
            female,
            born,
            age,
            died,
            mrn: format!("7{}", writer.digits(7)),
            town: home.town,
            street: home.street.clone(),
            phone: writer.phone(),
            married,
            doctor,
            payer,
            parents: parents.to_vec(),
            relatives: Vec::new(),
            part,
        });
        self.people.len() - 1
    }
}

/// Writes the Patient resources, then the RelatedPerson resources.
pub(super) fn write(writer: &mut Writer, staff: &Staff, people: &mut [Person]) {
    for person in people.iter() {
        patient(writer, staff, person);
    }
    for index in 0..people.len() {
        let parents = people[index].parents.clone();
        for parent in parents {
            let link = related(writer, &people[index], &people[parent]);
            people[index].relatives.push((parent, link));
        }
    }
}

fn patient(writer: &mut Writer, staff: &Staff, person: &Person) {
    let town = &TOWNS[person.town];
    let (race, ethnicity) = {
        let (race, ethnicity, _) = &RACES[weighted(writer, RACES.iter().map(|r| r.2))];
        (*race, *ethnicity)
    };
    let language = LANGUAGES[weighted(writer, LANGUAGES.iter().map(|l| l.1))].0;
    let doctor = &staff.doctors[person.doctor].link;
    let kin = *writer.random.pick(if person.female { MALE } else { FEMALE });
    let ssn = format!("999-{}-{}", writer.digits(2), writer.digits(4));
    let mail = format!(
        "{}.{}@mail.example.org",
        person.given.to_lowercase(),
        person.family.to_lowercase().replace('\'', "")
    );
    let (kin_phone, minute) = (writer.phone(), writer.random.below(60) as u8);
    let hour = writer.random.below(24) as u8;
    let latitude = writer.random.between(4_330_000, 4_380_000);
    let longitude = writer.random.between(-7_240_000, -7_210_000);
    let written = person.died.unwrap_or_else(|| writer.days_ago(40));
    let mut meta = writer.meta(&written, 9);
    // As interface engines do: the source names the feed, and with it the record number.
    meta["source"] = json!(format!("https://adt.larkspur.example.org/feed/{}", person.mrn));
    let omb = "urn:oid:2.16.840.1.113883.6.238";
    let us_core = "http://hl7.org/fhir/us/core/StructureDefinition";
    let mut extension = vec![
        json!({"url": format!("{us_core}/us-core-race"), "extension": [
            {"url": "ombCategory", "valueCoding": {"system": omb, "code": race.0, "display": race.1}},
            {"url": "text", "valueString": race.1},
        ]}),
        json!({"url": format!("{us_core}/us-core-ethnicity"), "extension": [
            {"url": "ombCategory", "valueCoding": {"system": omb, "code": ethnicity.0, "display": ethnicity.1}},
            {"url": "text", "valueString": ethnicity.1},
        ]}),
        json!({"url": format!("{us_core}/us-core-birthsex"), "valueCode": if person.female { "F" } else { "M" }}),
    ];
    if person.age < 18 {
        let maiden = *writer.random.pick(FAMILY);
        let url = "http://hl7.org/fhir/StructureDefinition/patient-mothersMaidenName";
        extension.push(json!({"url": url, "valueString": maiden}));
    }
    if person.part.is_some() || writer.random.chance(250) {
        // What no definition knows, and what vendors put there: free words about a person.
        extension.push(json!({
            "url": "https://ehr.larkspur.example.org/fhir/StructureDefinition/front-desk-remark",
            "valueString": format!("{} prefers calls to {} after six; ask for {kin}.", person.name(), person.phone),
        }));
    }
    let mut names = vec![json!({
        "use": "official",
        "text": person.name(),
        "family": person.family,
        "given": [person.given, kin_initial(kin)],
    })];
    if let Some(maiden) = person.maiden {
        names.push(json!({"use": "maiden", "family": maiden, "given": [person.given]}));
    }
    let story = format!(
        "{}, {}, born {}, record number {}, lives at {} in {}.",
        person.name(),
        person.gender(),
        person.born,
        person.mrn,
        person.street,
        town.city
    );
    let identifier_type = "http://terminology.hl7.org/CodeSystem/v2-0203";
    let mut value = json!({
        "resourceType": "Patient",
        "id": person.link.id(),
        "meta": meta,
        "text": narrative(&[&story]),
        "extension": extension,
        "identifier": [
            {"use": "usual", "type": concept(identifier_type, ("MR", "Medical record number"), None), "system": MRN,
             "value": person.mrn, "assigner": {"display": "Larkspur General Hospital"}},
            {"use": "official", "type": concept(identifier_type, ("SS", "Social Security number"), None),
             "system": "http://hl7.org/fhir/sid/us-ssn", "value": ssn},
        ],
        "active": person.died.is_none(),
        "name": names,
        "telecom": [
            {"system": "phone", "value": person.phone, "use": if person.age < 16 { "home" } else { "mobile" }},
            {"system": "email", "value": mail},
        ],
        "gender": person.gender(),
        "birthDate": person.born.to_string(),
        "_birthDate": {"extension": [{
            "url": "http://hl7.org/fhir/StructureDefinition/patient-birthTime",
            "valueDateTime": moment(person.born, hour, minute),
        }]},
    });
    if let Some(died) = person.died {
        value["deceasedDateTime"] = json!(moment(died, 4, 35));
    }
    value["address"] = json!([{
        "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/geolocation", "extension": [
            {"url": "latitude", "valueDecimal": decimal(&super::writer::fixed(latitude, 5))},
            {"url": "longitude", "valueDecimal": decimal(&super::writer::fixed(longitude, 5))},
        ]}],
        "use": "home",
        "type": "both",
        "text": format!("{}, {}, {} {}", person.street, town.city, town.state, town.zip),
        "line": [person.street],
        "city": town.city,
        "district": town.district,
        "state": town.state,
        "postalCode": town.zip,
        "country": "US",
    }]);
    let marital = "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus";
    value["maritalStatus"] = concept(marital, person.married, None);
    value["multipleBirthBoolean"] = json!(false);
    if person.part == Some(Part::Lead) {
        let title = format!("Badge photo of {}", person.name());
        value["photo"] = json!([{"contentType": "image/png", "data": PIXEL, "title": title}]);
    }
    value["contact"] = json!([{
        "relationship": [concept("http://terminology.hl7.org/CodeSystem/v2-0131", ("N", "Next-of-Kin"), None)],
        "name": {"family": person.family, "given": [kin]},
        "telecom": [{"system": "phone", "value": kin_phone}],
    }]);
    value["communication"] =
        json!([{"language": concept("urn:ietf:bcp:47", language, None), "preferred": true}]);
    value["generalPractitioner"] = json!([doctor.json()]);
    value["managingOrganization"] = staff.hospital.json();
    if person.part == Some(Part::Lead) {
        let mut earlier = value.clone();
        earlier["meta"] = writer.meta(&writer.days_ago(400), 9);
        earlier["address"][0]["line"] = json!(["9 Formerly Lane"]);
        earlier["address"][0]["text"] =
            json!(format!("9 Formerly Lane, {}, {} {}", town.city, town.state, town.zip));
        writer.put(earlier);
        value["meta"]["versionId"] = json!("2");
    }
    writer.put(value);
}

/// `person` is a parent, as the record of `child` knows it.
fn related(writer: &mut Writer, child: &Person, parent: &Person) -> Link {
    let id = writer.id("k");
    let town = &TOWNS[parent.town];
    let code = if parent.female { ("MTH", "mother") } else { ("FTH", "father") };
    writer.put(json!({
        "resourceType": "RelatedPerson",
        "id": id,
        "meta": writer.meta(&writer.days_ago(40), 10),
        "active": true,
        "patient": child.subject(),
        "relationship": [concept(ROLE, code, None), concept(ROLE, ("GUARD", "guardian"), None)],
        "name": [{"use": "official", "family": parent.family, "given": [parent.given]}],
        "telecom": [{"system": "phone", "value": parent.phone, "use": "mobile"}],
        "gender": parent.gender(),
        "birthDate": parent.born.to_string(),
        "address": [{"line": [parent.street], "city": town.city, "state": town.state, "postalCode": town.zip, "country": "US"}],
    }));
    Link::new("RelatedPerson", &id, &parent.name())
}

/// The clinic where somebody of that age is seen for ordinary things.
pub(super) fn family_clinic(age: i64) -> Clinic {
    if age < 18 { Clinic::Pediatrics } else { Clinic::Medicine }
}

fn weighted(writer: &mut Writer, weights: impl Iterator<Item = usize> + Clone) -> usize {
    let mut draw = writer.random.below(weights.clone().sum());
    for (index, weight) in weights.enumerate() {
        if draw < weight {
            return index;
        }
        draw -= weight;
    }
    0
}

fn kin_initial(name: &str) -> String {
    name.chars().take(1).chain(['.']).collect()
}

/// A picture of one grey point, as PNG in base64.
const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg==";
