//! What was ordered and given: medicines, procedures, vaccines; and what the patient must not be given.

use serde_json::json;

use super::chart::Visit;
use super::people::Person;
use super::staff::Staff;
use super::terms::{ALLERGIES, CVX, Course, Medicine, PROCEDURES, RXNORM, SNOMED, VACCINES};
use super::writer::{Link, Writer, concept, concepts, later, moment, narrative};

/// Writes the prescriptions for a disease.
pub(super) fn medicines(
    writer: &mut Writer,
    person: &Person,
    visit: &Visit<'_>,
    course: &Course,
    condition: &Link,
) {
    for medicine in course.medicines {
        prescription(writer, person, visit, course, medicine, condition);
    }
}

fn prescription(
    writer: &mut Writer,
    person: &Person,
    visit: &Visit<'_>,
    course: &Course,
    medicine: &Medicine,
    condition: &Link,
) {
    let id = writer.id("m");
    let over = course.acute || person.died.is_some();
    let mut codings = vec![(RXNORM, medicine.product)];
    if medicine.product != medicine.ingredient {
        codings.push((RXNORM, medicine.ingredient));
    }
    let drug = concepts(&codings, Some(medicine.product.1));
    let inside = person.part.is_some() || writer.random.chance(300);
    let outside = writer.random.chance(100);
    let mut contained = Vec::new();
    if inside {
        contained.push(json!({"resourceType": "Medication", "id": "drug", "code": drug, "status": "active"}));
    }
    if outside {
        contained.push(json!({
            "resourceType": "Practitioner",
            "id": "outside",
            "name": [{"family": "Quackenbush", "given": ["Edwina"], "prefix": ["Dr."]}],
            "telecom": [{"system": "phone", "value": "(603) 555-0199", "use": "work"}],
        }));
    }
    let mut value = json!({"resourceType": "MedicationRequest", "id": id, "meta": writer.meta(&visit.day, visit.hour + 1)});
    if !contained.is_empty() {
        value["contained"] = json!(contained);
    }
    value["status"] = json!(if over { "completed" } else { "active" });
    value["intent"] = json!("order");
    let category = "http://terminology.hl7.org/CodeSystem/medicationrequest-category";
    let place = if visit.open() { ("inpatient", "Inpatient") } else { ("community", "Community") };
    value["category"] = json!([concept(category, place, None)]);
    if inside {
        value["medicationReference"] = json!({"reference": "#drug", "display": medicine.product.1});
    } else {
        value["medicationCodeableConcept"] = drug;
    }
    value["subject"] = person.subject();
    value["encounter"] = visit.link.bare();
    value["authoredOn"] = json!(visit.moment(25));
    value["requester"] = if outside {
        json!({"reference": "#outside", "display": "Dr. Edwina Quackenbush"})
    } else {
        visit.doctor.json()
    };
    value["reasonReference"] = json!([condition.json()]);
    if person.part.is_some() {
        let text = format!("Told {} to bring the box to the next visit.", person.name());
        value["note"] = json!([{"text": text}]);
    }
    value["dosageInstruction"] = json!([{
        "sequence": 1,
        "text": medicine.dose,
        "timing": {"repeat": {"frequency": medicine.per_day, "period": 1, "periodUnit": "d"}},
        "route": concept(SNOMED, ("26643006", "Oral route"), None),
    }]);
    value["dispenseRequest"] = json!({
        "numberOfRepeatsAllowed": if course.acute { 0 } else { 3 },
        "quantity": {"value": 30 * i64::from(medicine.per_day), "unit": "dose"},
    });
    writer.put(value);
}

/// Perhaps a procedure.
pub(super) fn procedure(writer: &mut Writer, person: &Person, visit: &Visit<'_>) {
    if person.age < 18 || visit.courses.is_empty() || !writer.random.chance(220) {
        return;
    }
    let code = *writer.random.pick(PROCEDURES);
    let id = writer.id("x");
    let words = format!("{} for {}.", code.1, person.name());
    writer.put(json!({
        "resourceType": "Procedure",
        "id": id,
        "meta": writer.meta(&visit.day, visit.hour + 1),
        "text": narrative(&[&words]),
        "status": "completed",
        "code": concept(SNOMED, code, None),
        "subject": person.subject(),
        "encounter": visit.link.bare(),
        "performedPeriod": {"start": visit.moment(10), "end": visit.moment(30)},
        "performer": [{"actor": visit.doctor.json()}],
        "location": visit.place.json(),
        "note": [{"text": format!("{} tolerated it well.", person.name())}],
    }));
}

/// The vaccines somebody of that age has had.
pub(super) fn vaccines(writer: &mut Writer, staff: &Staff, person: &Person) {
    for &(code, from_age) in VACCINES {
        if person.age < from_age || !writer.random.chance(420) {
            continue;
        }
        let id = writer.id("v");
        let days = writer.random.between(90, 800);
        let day = person
            .died
            .map_or_else(|| writer.days_ago(days), |died| later(died, -days))
            .max(later(person.born, 20));
        let lot = writer.digits(5);
        let nurse = writer.random.pick(&staff.nurses).json();
        writer.put(json!({
            "resourceType": "Immunization",
            "id": id,
            "meta": writer.meta(&day, 12),
            "status": "completed",
            "vaccineCode": concept(CVX, code, Some(code.1)),
            "patient": person.subject(),
            "occurrenceDateTime": moment(day, 11, 20),
            "recorded": day.to_string(),
            "primarySource": true,
            "location": staff.emergency.json(),
            "lotNumber": format!("LG{lot}"),
            "performer": [{"actor": nurse}],
        }));
    }
}

/// What the patient must not be given; or that nothing is known.
pub(super) fn allergies(writer: &mut Writer, person: &Person, doctor: &Link) {
    let draw = writer.random.below(1000);
    let base = "http://terminology.hl7.org/CodeSystem";
    let id = writer.id("a");
    let day = writer.days_ago(210).max(later(person.born, 15)).min(person.died.unwrap_or(writer.today));
    let mut value = json!({
        "resourceType": "AllergyIntolerance",
        "id": id,
        "meta": writer.meta(&day, 13),
        "clinicalStatus": concept(&format!("{base}/allergyintolerance-clinical"), ("active", "Active"), None),
        "verificationStatus": concept(&format!("{base}/allergyintolerance-verification"), ("confirmed", "Confirmed"), None),
    });
    if draw < 180 || person.part.is_some() {
        let (code, reaction, category) = *writer.random.pick(ALLERGIES);
        value["type"] = json!("allergy");
        value["category"] = json!([category]);
        value["criticality"] = json!(if reaction.0 == "39579001" { "high" } else { "low" });
        value["code"] = concept(SNOMED, code, Some(code.1));
        value["patient"] = person.subject();
        value["recordedDate"] = json!(moment(day, 10, 0));
        value["recorder"] = doctor.json();
        let text = format!("{} was told to wear a bracelet.", person.name());
        value["note"] = json!([{"text": text}]);
        value["reaction"] =
            json!([{"manifestation": [concept(SNOMED, reaction, None)], "severity": "moderate"}]);
    } else if draw < 520 {
        value["code"] = concept(SNOMED, ("716186003", "No known allergy"), None);
        value["patient"] = person.subject();
        value["recordedDate"] = json!(moment(day, 10, 0));
        value["recorder"] = doctor.json();
    } else {
        return;
    }
    writer.put(value);
}
