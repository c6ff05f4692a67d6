//! What was written in words: progress and admission notes, which say again who the patient is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::chart::Visit;
use super::people::Person;
use super::staff::Staff;
use super::terms::LOINC;
use super::writer::{Link, Writer, concept, narrative};

/// Perhaps a note on the visit; always for a stay and for the patients of the tour.
pub(super) fn write(
    writer: &mut Writer,
    staff: &Staff,
    person: &Person,
    visit: &Visit<'_>,
    reports: &[Link],
) {
    if !(visit.open() || person.part.is_some() || writer.random.chance(450)) {
        return;
    }
    let id = writer.id("n");
    let (code, title) = if visit.open() {
        (("34117-2", "History and physical note"), "Admission note")
    } else {
        (("11506-3", "Progress note"), "Progress note")
    };
    let mut text = format!(
        "{title}\nPatient: {} (MRN {}), born {}\nTelephone: {}\nDate: {}\n\n",
        person.name(),
        person.mrn,
        person.born,
        person.phone,
        visit.day
    );
    let pronoun = if person.female { "She" } else { "He" };
    text.push_str(&format!("{} {} came to {}.", person.given, person.family, visit.place.display));
    for course in &visit.courses {
        text.push_str(&format!(" {pronoun} is known for {}. {}", course.icd.1, course.note));
    }
    if visit.courses.is_empty() {
        text.push_str(&format!(" {pronoun} is well and has no complaint."));
    }
    text.push_str(&format!("\n\nSigned: {}\n", visit.doctor.display));
    let mut related: Vec<Value> = reports.iter().map(Link::json).collect();
    let mut context = json!({"encounter": [visit.link.bare()], "period": {"start": visit.moment(0), "end": visit.moment(40)}});
    if !related.is_empty() {
        related.truncate(3);
        context["related"] = Value::Array(related);
    }
    let words = format!("{title} on {} of {}.", person.name(), visit.day);
    let master = format!("urn:oid:2.25.{}", writer.random.next() >> 8);
    let category = "http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category";
    writer.put(json!({
        "resourceType": "DocumentReference",
        "id": id,
        "meta": writer.meta(&visit.day, visit.hour + 3),
        "text": narrative(&[&words]),
        "masterIdentifier": {"system": "urn:ietf:rfc:3986", "value": master},
        "status": "current",
        "docStatus": "final",
        "type": concept(LOINC, code, Some(title)),
        "category": [concept(category, ("clinical-note", "Clinical Note"), None)],
        "subject": person.subject_with_number(),
        "date": visit.moment(58),
        "author": [visit.doctor.json()],
        "custodian": staff.hospital.json(),
        "description": words,
        "content": [{
            "attachment": {
                "contentType": "text/plain; charset=utf-8",
                "language": "en-US",
                "data": STANDARD.encode(&text),
                "size": text.len(),
                "title": format!("{title}, {}", person.name()),
                "creation": visit.moment(58),
            },
        }],
        "context": context,
    }));
}
