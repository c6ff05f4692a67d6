//! FHIR's rules over several elements of one object, as far as leaving one of them out can break them (R4 invariants),
//! and the fixed lists of codes that have a word for what is not known.

/// One rule, for the objects under an element of that name; an empty name is the record itself. A member's name that ends
/// in `[x]` stands for every choice.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    /// One of these must stand there. Where the object itself has to stay, the last stands in, said to be absent.
    OneOf(&'static str, &'static [&'static str]),
    /// The first may stand there only beside the second.
    Needs(&'static str, &'static str, &'static str),
    /// Both must stand there unless the record's status is one of these.
    Unless(&'static [&'static str], &'static [&'static str]),
}

use Rule::{Needs, OneOf, Unless};

/// The rules of a resource type. What no element that can be hidden takes part in is not among them, nor what concerns the
/// parts of one data type, which are hidden together.
pub(crate) fn of(resource_type: &str) -> &'static [Rule] {
    match resource_type {
        // app-1, app-2, app-3
        "Appointment" => &[
            OneOf("participant", &["type", "actor"]),
            Needs("", "start", "end"),
            Needs("", "end", "start"),
            Unless(&["proposed", "cancelled", "waitlist"], &["start", "end"]),
        ],
        // apr-1
        "AppointmentResponse" => &[OneOf("", &["participantType", "actor"])],
        // cmp-1
        "Composition" => &[OneOf("section", &["text", "entry", "section"])],
        // con-1, con-2, con-4
        "Condition" => &[
            OneOf("stage", &["summary", "assessment"]),
            OneOf("evidence", &["code", "detail"]),
            Needs("", "abatement[x]", "clinicalStatus"),
        ],
        // ppc-1
        "Consent" => &[OneOf("", &["policy", "policyRule"])],
        // ces-1
        "CoverageEligibilityResponse" => &[OneOf("item", &["category", "productOrService"])],
        // fhs-2
        "FamilyMemberHistory" => &[Needs("", "estimatedAge", "age[x]")],
        // gol-1
        "Goal" => &[Needs("target", "detail[x]", "measure")],
        // imm-1
        "Immunization" => &[OneOf("education", &["documentType", "reference"])],
        // imr-1
        "ImmunizationRecommendation" => &[OneOf("recommendation", &["targetDisease", "vaccineCode"])],
        // ipn-1, org-1
        "InsurancePlan" | "Organization" => &[OneOf("", &["identifier", "name"])],
        // mrp-2
        "MeasureReport" => &[OneOf("stratum", &["value", "component"])],
        // mad-1
        "MedicationAdministration" => &[OneOf("dosage", &["dose", "rate[x]"])],
        // msq-5, msq-6
        "MolecularSequence" => &[
            OneOf(
                "referenceSeq",
                &["genomeBuild", "referenceSeqId", "referenceSeqPointer", "referenceSeqString"],
            ),
            Needs("referenceSeq", "chromosome", "genomeBuild"),
            Needs("referenceSeq", "genomeBuild", "chromosome"),
        ],
        // obs-3
        "Observation" => &[OneOf("referenceRange", &["low", "high", "text"])],
        // pat-1
        "Patient" => &[OneOf("contact", &["name", "telecom", "address", "organization"])],
        // rqg-1
        "RequestGroup" => &[OneOf("action", &["resource", "action"])],
        // prr-1
        "ServiceRequest" => &[Needs("", "orderDetail", "code")],
        _ => &[],
    }
}

/// Whether a member is the one that a rule names.
pub(crate) fn names(rule: &str, member: &str) -> bool {
    match rule.strip_suffix("[x]") {
        Some(base) => member.strip_prefix(base).is_some_and(|rest| rest.starts_with(char::is_uppercase)),
        None => rule == member,
    }
}

/// Whether the fixed list to which an element's code is bound has the code `unknown`.
pub(crate) fn has_unknown(resource_type: &str, element: &str) -> bool {
    matches!(
        (resource_type, element),
        ("Patient" | "Person" | "Practitioner" | "RelatedPerson", "gender")
            | ("Encounter" | "RiskAssessment", "status")
            | ("Task", "intent")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use drape_fhir::definitions::{Element, r4};

    /// Every element of that name below a resource type, by its path; an empty name is the resource itself.
    fn paths(resource_type: &'static str, name: &str) -> Vec<&'static str> {
        fn walk(at: &'static str, name: &str, found: &mut Vec<&'static str>) {
            for element in r4().elements(at) {
                if r4().elements(element.path).is_empty() {
                    continue;
                }
                found.extend((element.name == name).then_some(element.path));
                walk(element.path, name, found);
            }
        }
        let mut found = if name.is_empty() { vec![resource_type] } else { Vec::new() };
        walk(resource_type, name, &mut found);
        found
    }

    #[test]
    fn every_rule_names_elements_that_the_definitions_have() {
        let there = |path: &str, member: &str| {
            let fits =
                |e: &Element| names(member, &format!("{}{}", e.name, if e.choice { "Any" } else { "" }));
            r4().elements(path).iter().any(fits)
        };
        let mut rules = 0;
        for name in r4().resource_types() {
            for rule in of(name) {
                let (element, members) = match rule {
                    OneOf(element, members) => (*element, members.to_vec()),
                    Needs(element, first, second) => (*element, vec![*first, *second]),
                    Unless(_, members) => ("", members.to_vec()),
                };
                let paths = paths(name, element);
                assert_eq!(paths.len(), 1, "{name}.{element}");
                for member in members {
                    assert!(there(paths[0], member), "{} has no {member}", paths[0]);
                }
                rules += 1;
            }
        }
        assert!(rules > 25, "{rules}");
    }
}
