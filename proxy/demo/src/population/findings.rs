//! What was measured: vital signs, laboratory results, scores, and the reports that gather them.

use serde_json::{Value, json};

use super::chart::Visit;
use super::people::Person;
use super::staff::Staff;
use super::terms::{
    CREATININE, Code, Course, GLUCOSE, HEMOGLOBIN, LEUKOCYTES, LOINC, Lab, POTASSIUM, SNOMED, SODIUM,
};
use super::writer::{Link, Writer, concept, later, moment, narrative, number, quantity};

/// Writes what was found at the visit; returns the reports.
pub(super) fn write(writer: &mut Writer, staff: &Staff, person: &Person, visit: &Visit<'_>) -> Vec<Link> {
    let days = if visit.open() { 2 } else { 1 };
    for day in 0..days {
        vitals(writer, person, visit, day);
    }
    if person.age >= 13 && visit.first && writer.random.chance(600) {
        smoking(writer, person, visit);
    }
    let mut reports = Vec::new();
    for course in &visit.courses {
        let results: Vec<Link> =
            course.labs.iter().map(|lab| measured(writer, staff, person, visit, lab, 700)).collect();
        if !results.is_empty() && course.labs.iter().any(|l| !l.survey) {
            reports.push(report(writer, staff, person, visit, Some(course), &results));
        }
    }
    if visit.open() {
        let panel = [&HEMOGLOBIN, &LEUKOCYTES, &SODIUM, &POTASSIUM, &CREATININE, &GLUCOSE];
        let results: Vec<Link> =
            panel.iter().map(|lab| measured(writer, staff, person, visit, lab, 200)).collect();
        reports.push(report(writer, staff, person, visit, None, &results));
    }
    reports
}

fn vitals(writer: &mut Writer, person: &Person, visit: &Visit<'_>, round: i64) {
    let day = later(visit.day, round).min(writer.days_ago(1));
    let at = moment(day, 9, 10);
    if person.age >= 3 {
        let (top, bottom) = (writer.random.between(98, 158), writer.random.between(58, 96));
        let mut value = observation(
            writer,
            person,
            visit,
            ("vital-signs", "Vital Signs"),
            ("85354-9", "Blood pressure panel with all children optional"),
            &at,
        );
        value["component"] = json!([
            {"code": concept(LOINC, ("8480-6", "Systolic blood pressure"), None),
             "valueQuantity": quantity(top, 0, ("mm[Hg]", "mmHg"))},
            {"code": concept(LOINC, ("8462-4", "Diastolic blood pressure"), None),
             "valueQuantity": quantity(bottom, 0, ("mm[Hg]", "mmHg"))},
        ]);
        writer.put(value);
    }
    let weight = match person.age {
        0..=1 => writer.random.between(55, 120),
        2..=12 => writer.random.between(120, 420),
        _ => writer.random.between(480, 1120),
    };
    let beats = writer.random.between(56, 108);
    one(writer, person, visit, &at, ("8867-4", "Heart rate"), (beats, 0), ("/min", "beats/minute"));
    if round == 0 {
        one(writer, person, visit, &at, ("29463-7", "Body weight"), (weight, 1), ("kg", "kg"));
    }
    if visit.open() || visit.courses.iter().any(|c| c.acute) {
        let heat = writer.random.between(364, 391);
        one(writer, person, visit, &at, ("8310-5", "Body temperature"), (heat, 1), ("Cel", "°C"));
        let air = writer.random.between(89, 100);
        one(
            writer,
            person,
            visit,
            &at,
            ("59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry"),
            (air, 0),
            ("%", "%"),
        );
    }
}

fn one(
    writer: &mut Writer,
    person: &Person,
    visit: &Visit<'_>,
    at: &str,
    code: Code,
    (value, decimals): (i64, u32),
    unit: Code,
) {
    let mut resource = observation(writer, person, visit, ("vital-signs", "Vital Signs"), code, at);
    resource["valueQuantity"] = quantity(value, decimals, unit);
    writer.put(resource);
}

fn smoking(writer: &mut Writer, person: &Person, visit: &Visit<'_>) {
    let answer = *writer.random.pick(&[
        ("266919005", "Never smoked tobacco"),
        ("266919005", "Never smoked tobacco"),
        ("8517006", "Ex-smoker"),
        ("449868002", "Smokes tobacco daily"),
    ]);
    let at = visit.moment(5);
    let mut value = observation(
        writer,
        person,
        visit,
        ("social-history", "Social History"),
        ("72166-2", "Tobacco smoking status"),
        &at,
    );
    value["valueCodeableConcept"] = concept(SNOMED, answer, None);
    writer.put(value);
}

/// One result, abnormal in about `ill` of 1000.
fn measured(
    writer: &mut Writer,
    staff: &Staff,
    person: &Person,
    visit: &Visit<'_>,
    lab: &Lab,
    ill: usize,
) -> Link {
    let category = if lab.survey { ("survey", "Survey") } else { ("laboratory", "Laboratory") };
    let at = visit.moment(15);
    let mut resource = observation(writer, person, visit, category, lab.code, &at);
    let id = resource["id"].as_str().unwrap_or_default().to_owned();
    if !lab.survey {
        resource["performer"] = json!([staff.laboratory.json()]);
    }
    let abnormal = writer.random.chance(ill);
    let flags = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation";
    if lab.qualitative {
        let (answer, flag) = if abnormal {
            (("10828004", "Positive"), ("POS", "Positive"))
        } else {
            (("260385009", "Negative"), ("NEG", "Negative"))
        };
        resource["valueCodeableConcept"] = concept(SNOMED, answer, None);
        resource["interpretation"] = json!([concept(flags, flag, None)]);
    } else {
        let (low, high) = if abnormal { lab.ill } else { (lab.low, lab.high) };
        let value = writer.random.between(low, high);
        resource["valueQuantity"] = quantity(value, lab.decimals, lab.unit);
        let flag = if value > lab.high {
            ("H", "High")
        } else if value < lab.low {
            ("L", "Low")
        } else {
            ("N", "Normal")
        };
        resource["interpretation"] = json!([concept(flags, flag, None)]);
    }
    if writer.random.chance(120) || (person.part.is_some() && abnormal) {
        let text = format!("Result telephoned to {} for {}.", visit.doctor.display, person.name());
        resource["note"] = json!([{"time": visit.moment(50), "text": text}]);
    }
    if !lab.qualitative {
        resource["referenceRange"] = json!([{
            "low": quantity(lab.low, lab.decimals, lab.unit),
            "high": quantity(lab.high, lab.decimals, lab.unit),
            "text": format!("{} - {} {}", plain(lab.low, lab.decimals), plain(lab.high, lab.decimals), lab.unit.1),
        }]);
    }
    writer.put(resource);
    Link::new("Observation", &id, lab.code.1)
}

fn report(
    writer: &mut Writer,
    staff: &Staff,
    person: &Person,
    visit: &Visit<'_>,
    course: Option<&'static Course>,
    results: &[Link],
) -> Link {
    let id = writer.id("d");
    let conclusion = match course {
        Some(course) => format!("{}: results consistent with known {}.", person.name(), course.icd.1),
        None => format!("{}: routine panel on admission.", person.name()),
    };
    let section = "http://terminology.hl7.org/CodeSystem/v2-0074";
    let number = writer.digits(8);
    let mut value = json!({
        "resourceType": "DiagnosticReport",
        "id": id,
        "meta": writer.meta(&visit.day, visit.hour + 2),
        "text": narrative(&[&conclusion]),
        "identifier": [{"system": "https://larkspur.example.org/accession", "value": format!("LAB-{number}")}],
        "status": "final",
        "category": [concept(section, ("LAB", "Laboratory"), None)],
        "code": concept(LOINC, ("11502-2", "Laboratory report"), None),
        "subject": person.subject_with_number(),
        "encounter": visit.link.bare(),
        "effectiveDateTime": visit.moment(15),
        "issued": visit.moment(55),
        "performer": [staff.laboratory.json()],
        "result": results.iter().map(Link::json).collect::<Vec<Value>>(),
        "conclusion": conclusion,
    });
    if let Some(course) = course {
        value["conclusionCode"] = json!([concept(SNOMED, course.snomed, None)]);
    }
    writer.put(value);
    Link::new("DiagnosticReport", &id, "Laboratory report")
}

fn observation(
    writer: &mut Writer,
    person: &Person,
    visit: &Visit<'_>,
    category: Code,
    code: Code,
    at: &str,
) -> Value {
    let id = writer.id("b");
    let day = later(visit.day, 1).min(writer.days_ago(1));
    json!({
        "resourceType": "Observation",
        "id": id,
        "meta": writer.meta(&day, 9),
        "status": "final",
        "category": [concept("http://terminology.hl7.org/CodeSystem/observation-category", category, None)],
        "code": concept(LOINC, code, None),
        "subject": person.subject(),
        "encounter": visit.link.bare(),
        "effectiveDateTime": at,
        "issued": at,
    })
}

fn plain(value: i64, decimals: u32) -> String {
    match number(value, decimals) {
        Value::Number(n) => n.to_string(),
        _ => super::writer::fixed(value, decimals),
    }
}
