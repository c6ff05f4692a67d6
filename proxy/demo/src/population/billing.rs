//! Who pays: coverage, claims and the payer's explanations, which name diagnoses as plainly as the chart does.

use serde_json::{Value, json};

use super::chart::Visit;
use super::people::Person;
use super::staff::Staff;
use super::terms::{Code, HCPCS, ICD10};
use super::writer::{Link, Writer, concept, money};

/// The patient's insurance.
pub(super) fn coverage(writer: &mut Writer, staff: &Staff, person: &Person) -> Link {
    let id = writer.id("g");
    let member = format!("W{}", writer.digits(9));
    let payer = &staff.payers[person.payer];
    let class = "http://terminology.hl7.org/CodeSystem/coverage-class";
    let relationship = "http://terminology.hl7.org/CodeSystem/subscriber-relationship";
    let group = writer.digits(4);
    let (subscriber, code) = match person.relatives.first() {
        Some((_, parent)) => (parent.json(), ("child", "Child")),
        None => (person.subject(), ("self", "Self")),
    };
    writer.put(json!({
        "resourceType": "Coverage",
        "id": id,
        "meta": writer.meta(&writer.days_ago(35), 14),
        "identifier": [{"system": "https://payers.example.org/member", "value": member}],
        "status": if person.died.is_some() { "cancelled" } else { "active" },
        "type": concept(super::terms::ACT, ("HIP", "health insurance plan policy"), None),
        "policyHolder": subscriber,
        "subscriber": subscriber,
        "subscriberId": member,
        "beneficiary": person.subject(),
        "relationship": concept(relationship, code, None),
        "payor": [payer.json()],
        "class": [{"type": concept(class, ("group", "Group"), None), "value": format!("G{group}"), "name": "Upper Valley Employers"}],
    }));
    Link::new("Coverage", &id, &payer.display)
}

/// The claim for a visit and the payer's answer.
pub(super) fn bill(writer: &mut Writer, staff: &Staff, person: &Person, visit: &Visit<'_>, coverage: &Link) {
    let claim = writer.id("f");
    let answer = writer.id("w");
    let mut services: Vec<(Code, i64)> = vec![(
        ("G0463", "Hospital outpatient clinic visit for assessment and management of a patient"),
        14_150,
    )];
    for course in &visit.courses {
        match course.key {
            "opioid" => services.push((("G0480", "Drug test(s), definitive"), 11_443)),
            "hiv" => services.push((("G0475", "HIV antigen/antibody, combination assay, screening"), 3_308)),
            "depression" => services.push((("G0444", "Annual depression screening, 15 minutes"), 1_900)),
            _ if !course.labs.is_empty() => {
                services.push((("P9604", "Travel allowance, one way, for specimen collection"), 1_060));
            }
            _ => {}
        }
    }
    let kind =
        concept("http://terminology.hl7.org/CodeSystem/claim-type", ("professional", "Professional"), None);
    let total: i64 = services.iter().map(|(_, cents)| cents).sum();
    let diagnosis: Vec<Value> = visit
        .courses
        .iter()
        .enumerate()
        .map(|(i, c)| json!({"sequence": i + 1, "diagnosisCodeableConcept": concept(ICD10, c.icd, None)}))
        .collect();
    let number = writer.digits(8);
    let insurer = &staff.payers[person.payer];
    let created = visit.moment(59);
    let mut value = json!({
        "resourceType": "Claim",
        "id": claim,
        "meta": writer.meta(&visit.day, visit.hour + 4),
        "identifier": [{"system": "https://larkspur.example.org/claim", "value": number}],
        "status": "active",
        "type": kind,
        "use": "claim",
        "patient": person.subject_with_number(),
        "billablePeriod": {"start": visit.moment(0), "end": visit.moment(40)},
        "created": created,
        "insurer": insurer.json(),
        "provider": staff.hospital.json(),
        "priority": concept("http://terminology.hl7.org/CodeSystem/processpriority", ("normal", "Normal"), None),
        "careTeam": [{"sequence": 1, "provider": visit.doctor.json()}],
    });
    if !diagnosis.is_empty() {
        value["diagnosis"] = json!(diagnosis);
    }
    value["insurance"] = json!([{"sequence": 1, "focal": true, "coverage": coverage.json()}]);
    value["item"] = services
        .iter()
        .enumerate()
        .map(|(i, (code, cents))| {
            let mut item = json!({"sequence": i + 1});
            if !diagnosis.is_empty() {
                item["diagnosisSequence"] = json!([i.min(diagnosis.len() - 1) + 1]);
            }
            item["productOrService"] = concept(HCPCS, *code, None);
            item["servicedDate"] = json!(visit.day.to_string());
            item["unitPrice"] = money(*cents);
            item["net"] = money(*cents);
            item["encounter"] = json!([visit.link.bare()]);
            item
        })
        .collect();
    value["total"] = money(total);
    writer.put(value);

    let adjudication = "http://terminology.hl7.org/CodeSystem/adjudication";
    let paid = total * 8 / 10;
    let amount = |code: Code, cents: i64| json!({"category": concept(adjudication, code, None), "amount": money(cents)});
    let number = writer.digits(8);
    let mut value = json!({
        "resourceType": "ExplanationOfBenefit",
        "id": answer,
        "meta": writer.meta(&visit.day, visit.hour + 5),
        "identifier": [{"system": "https://payers.example.org/eob", "value": number}],
        "status": "active",
        "type": kind,
        "use": "claim",
        "patient": person.subject(),
        "billablePeriod": {"start": visit.moment(0), "end": visit.moment(40)},
        "created": created,
        "insurer": insurer.json(),
        "provider": staff.hospital.json(),
        "claim": {"reference": format!("Claim/{claim}")},
        "outcome": "complete",
        "disposition": format!("Settled for {}.", person.name()),
        "careTeam": [{"sequence": 1, "provider": visit.doctor.json()}],
    });
    if !diagnosis.is_empty() {
        value["diagnosis"] = json!(diagnosis);
    }
    value["insurance"] = json!([{"focal": true, "coverage": coverage.json()}]);
    value["item"] = services
        .iter()
        .enumerate()
        .map(|(i, (code, cents))| {
            json!({
                "sequence": i + 1,
                "productOrService": concept(HCPCS, *code, None),
                "servicedDate": visit.day.to_string(),
                "net": money(*cents),
                "adjudication": [amount(("benefit", "Benefit Amount"), cents * 8 / 10)],
            })
        })
        .collect();
    value["total"] = json!([
        amount(("submitted", "Submitted Amount"), total),
        amount(("benefit", "Benefit Amount"), paid),
    ]);
    value["payment"] = json!({"amount": money(paid)});
    writer.put(value);
}
