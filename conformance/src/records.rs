//! Records of the suite's own, put beside those of Synthea: recent ones, sensitive ones, and texts that must not get out.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The practitioner who treats the lead, a second patient and the adolescent.
pub const DOCTOR: &str = "conf-doctor";
/// The adolescent.
pub const TEEN: &str = "conf-teen";
/// What stands in a note about the lead, and nowhere else.
pub const NOTE: &str = "Zinnia keeps bees behind the old waterworks";
/// What stands in a narrative about the lead, and nowhere else.
pub const NARRATIVE: &str = "Prefers to be called Quillfeather";
/// What stands in a note about somebody whom nobody of the cast knows.
pub const STRANGERS_NOTE: &str = "Sold the sloop Halcyon to pay for it";
/// What is diagnosed in the adolescent and confidential.
pub const CONFIDENTIAL: &str = "Depressive episode told in confidence";
/// A 42 CFR Part 2 diagnosis of the lead.
pub const SUBSTANCE: &str = "Opioid dependence in treatment";

/// A transaction that puts them; whoever puts them again changes nothing. Numbers keep their trailing zeros.
pub fn transaction(lead: &str, second: &str, stranger: &str) -> String {
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    let today = now.date().to_string();
    let born = format!("{}-02-03", now.year() - 15);
    // The hour is fixed so that a second run of the same day puts the same bytes.
    let at = format!("{today}T00:10:00Z");
    let encounter = |id: &str, patient: &str| {
        format!(
            r#"{{"resourceType":"Encounter","id":"{id}","status":"finished","class":{{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"AMB"}},"type":[{{"coding":[{{"system":"http://snomed.info/sct","code":"185349003","display":"Encounter for check up"}}]}}],"subject":{{"reference":"Patient/{patient}"}},"participant":[{{"individual":{{"reference":"Practitioner/{DOCTOR}"}}}}],"period":{{"start":"{at}"}},"location":[{{"location":{{"reference":"Location/conf-ward"}}}}],"serviceProvider":{{"reference":"Organization/conf-hospital"}}}}"#
        )
    };
    let condition = |id: &str, patient: &str, code: &str, display: &str| {
        format!(
            r#"{{"resourceType":"Condition","id":"{id}","clinicalStatus":{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/condition-clinical","code":"active"}}]}},"verificationStatus":{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/condition-ver-status","code":"confirmed"}}]}},"code":{{"coding":[{{"system":"http://snomed.info/sct","code":"{code}","display":"{display}"}}]}},"subject":{{"reference":"Patient/{patient}"}},"recordedDate":"{at}"}}"#
        )
    };
    let observation = |id: &str, patient: &str, note: &str, narrative: &str| {
        format!(
            r#"{{"resourceType":"Observation","id":"{id}","text":{{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">{narrative}</div>"}},"status":"final","category":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}}]}}],"code":{{"coding":[{{"system":"http://loinc.org","code":"8310-5","display":"Body temperature"}}]}},"subject":{{"reference":"Patient/{patient}"}},"effectiveDateTime":"{at}","performer":[{{"reference":"Practitioner/{DOCTOR}"}}],"valueQuantity":{{"value":98.60,"unit":"degF","system":"http://unitsofmeasure.org","code":"[degF]"}},"note":[{{"text":"{note}"}}]}}"#
        )
    };
    let records = [
        r#"{"resourceType":"Organization","id":"conf-hospital","name":"Conformance General"}"#.to_owned(),
        r#"{"resourceType":"Location","id":"conf-ward","name":"Ward Seven"}"#.to_owned(),
        format!(
            r#"{{"resourceType":"Practitioner","id":"{DOCTOR}","name":[{{"family":"Quist","given":["Ottoline"]}}]}}"#
        ),
        format!(
            r#"{{"resourceType":"Patient","id":"{TEEN}","identifier":[{{"system":"http://conformance.example/mrn","value":"TEEN-55120"}}],"name":[{{"family":"Umberfield","given":["Perpetua"]}}],"telecom":[{{"system":"phone","value":"555-010-7788"}}],"gender":"female","birthDate":"{born}","address":[{{"line":["77 Wickerwork Lane"],"city":"Lowell","state":"Massachusetts","postalCode":"01854","country":"US"}}]}}"#
        ),
        format!(
            r#"{{"resourceType":"RelatedPerson","id":"conf-mother","active":true,"patient":{{"reference":"Patient/{TEEN}"}},"relationship":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/v3-RoleCode","code":"MTH"}}]}}],"name":[{{"family":"Umberfield","given":["Ursula"]}}]}}"#
        ),
        encounter("conf-encounter-lead-1", lead),
        encounter("conf-encounter-lead-2", lead),
        encounter("conf-encounter-second", second),
        encounter("conf-encounter-teen", TEEN),
        condition("conf-asthma", TEEN, "195967001", "Asthma"),
        condition("conf-confidential", TEEN, "35489007", CONFIDENTIAL),
        condition("conf-substance", lead, "75544000", SUBSTANCE),
        observation("conf-observation-lead", lead, NOTE, NARRATIVE),
        observation("conf-observation-stranger", stranger, STRANGERS_NOTE, "Nothing else"),
        format!(
            r#"{{"resourceType":"Coverage","id":"conf-coverage","status":"active","subscriberId":"SUB-90210-Q","beneficiary":{{"reference":"Patient/{lead}"}},"payor":[{{"reference":"Organization/conf-hospital"}}]}}"#
        ),
        format!(
            r#"{{"resourceType":"Claim","id":"conf-claim","status":"active","type":{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/claim-type","code":"professional"}}]}},"use":"claim","patient":{{"reference":"Patient/{lead}"}},"created":"{at}","provider":{{"reference":"Organization/conf-hospital"}},"priority":{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/processpriority","code":"normal"}}]}},"insurance":[{{"sequence":1,"focal":true,"coverage":{{"reference":"Coverage/conf-coverage"}}}}],"item":[{{"sequence":1,"productOrService":{{"coding":[{{"system":"http://snomed.info/sct","code":"185349003"}}]}},"net":{{"value":129.10,"currency":"USD"}}}}]}}"#
        ),
    ];
    let entries: Vec<String> = records
        .iter()
        .map(|record| {
            let part = |name: &str| {
                let from = record.find(&format!("\"{name}\":\"")).map_or(0, |at| at + name.len() + 4);
                record[from..].split('"').next().unwrap_or_default()
            };
            let url = format!("{}/{}", part("resourceType"), part("id"));
            format!(r#"{{"fullUrl":"http://conformance.example/{url}","resource":{record},"request":{{"method":"PUT","url":"{url}"}}}}"#)
        })
        .collect();
    format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{}]}}"#, entries.join(","))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_transaction_is_json_and_every_entry_puts_its_own_record() {
        let text = super::transaction("a", "b", "c");
        let bundle: serde_json::Value = serde_json::from_str(&text).unwrap();
        let entries = bundle["entry"].as_array().unwrap();
        assert_eq!(entries.len(), 16);
        for entry in entries {
            let record = &entry["resource"];
            let url =
                format!("{}/{}", record["resourceType"].as_str().unwrap(), record["id"].as_str().unwrap());
            assert_eq!(entry["request"]["url"], url);
        }
        assert!(text.contains("98.60"));
    }
}
