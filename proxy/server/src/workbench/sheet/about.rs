//! What categories, treatments and labels are, for readers who know neither FHIR nor Cedar.

use std::collections::BTreeMap;

use drape_view::treatment::Coarsening;
use drape_view::{Catalogue, Category, Treatment};

/// A treatment in the overview, and in a sentence.
pub(crate) const fn treatment(treatment: Treatment) -> (&'static str, &'static str) {
    match treatment {
        Treatment::Show => ("shown", "shown as it is"),
        Treatment::Generalize(Coarsening::Year) => ("year", "shown to the year"),
        Treatment::Generalize(Coarsening::City) => {
            ("town", "shown as town and postal code, without the street")
        }
        Treatment::Generalize(Coarsening::Zip3) => ("zip3", "shown as three digits of the postal code"),
        Treatment::Generalize(Coarsening::Flag) => ("whether", "shown only as whether, not when"),
        Treatment::Pseudonymize => ("pseudonym", "under a pseudonym"),
        Treatment::Encrypt => ("sealed", "sealed with the patient's key"),
        Treatment::Redact => ("left out", "left out"),
    }
}

/// The treatments, explained.
pub(crate) const TREATMENTS: [(&str, &str); 8] = [
    ("shown", "exactly as the FHIR server holds it"),
    ("year", "dates to the year; exact times leave; ages over 89 become \u{201c}90 or more\u{201d}"),
    ("town", "of an address the town, the postal code and what is larger, but no street"),
    ("zip3", "of an address only the first three digits of a US postal code, 000 for small areas"),
    ("whether", "of a death only whether it happened"),
    (
        "pseudonym",
        "a keyed name, the same wherever the same thing is named in this project, and opened only by Drape",
    ),
    ("sealed", "encrypted with the patient's own key; whoever holds that key can open it"),
    ("left out", "not in the answer at all"),
];

/// A category in words.
pub(crate) const fn category(category: Category) -> &'static str {
    match category {
        Category::PersonName => "names of patients and those related to them",
        Category::Identifier => "numbers by which a person, case or sample is known elsewhere",
        Category::Contact => "telephone, e-mail, fax of the patient's side",
        Category::Address => "street, city, district, full postal code",
        Category::Image => "photographs and other likenesses",
        Category::DeviceNetwork => "serial numbers of devices, network addresses",
        Category::Signature => "signatures",
        Category::RecordId => "the ids by which records are known on the server",
        Category::PatientLink => "references to patients and those related to them",
        Category::RecordLink => "references to other records",
        Category::BirthDate => "date of birth",
        Category::Death => "whether and when the patient died",
        Category::EventDate => "when something happened to the patient",
        Category::RecordedDate => "when something was written down",
        Category::Region => "state and country",
        Category::Demographics => "gender, marital status, language, race and ethnicity",
        Category::Diagnosis => "diagnoses and problems",
        Category::Service => "what was done or ordered",
        Category::Medication => "medicines and doses",
        Category::FindingCode => "what was measured or observed",
        Category::FindingValue => "the result of a measurement or observation",
        Category::Genomic => "genetic data",
        Category::Narrative => "the readable summary of a record",
        Category::Note => "remarks and other free text",
        Category::Document => "attached files",
        Category::Answer => "answers to questionnaires",
        Category::Financial => "money, coverage, claims",
        Category::Staff => "names and references of practitioners, organizations and places",
        Category::Structure => "what gives a record its shape: status, kind, versions",
        Category::Label => "sensitivity labels and tags of the server",
        Category::Unknown => "what the FHIR definitions do not know",
    }
}

/// Sensitivity labels, in words.
pub(crate) fn label(name: &str) -> &'static str {
    match name {
        "HIV" => "HIV and AIDS",
        "PSY" | "MH" => "mental health",
        "PSYTHPN" => "psychotherapy notes",
        "SUD" | "ETH" | "ETHUD" | "OPIOIDUD" => "substance use",
        "SEX" => "sexual and reproductive health",
        "STD" => "sexually transmitted diseases",
        "PREGNANT" => "pregnancy",
        "SDV" => "sexual assault and domestic violence",
        "VIO" => "violence",
        "GDIS" => "genetic disease",
        "BH" => "behavioural health",
        "COGN" => "cognitive disorders",
        "VIP" => "very important persons, by the officer's list",
        "HARMFUL" => "what an officer or clinician marked as harmful to read",
        _ => "a label of this set",
    }
}

/// Elements that readers may know, by the categories in which they mostly stand.
const KNOWN: [(&str, &str); 72] = [
    ("Patient", "name"),
    ("RelatedPerson", "name"),
    ("Patient", "identifier.value"),
    ("Coverage", "subscriberId"),
    ("Encounter", "identifier.value"),
    ("Patient", "telecom.value"),
    ("Patient", "address.line"),
    ("Patient", "address.city"),
    ("Patient", "address.postalCode"),
    ("Patient", "photo"),
    ("Media", "content"),
    ("Device", "serialNumber"),
    ("Device", "udiCarrier"),
    ("Patient", "meta.source"),
    ("Contract", "signer.signature"),
    ("Provenance", "signature"),
    ("Patient", "id"),
    ("Observation", "id"),
    ("Observation", "subject"),
    ("Claim", "patient"),
    ("Observation", "encounter"),
    ("Condition", "encounter"),
    ("Patient", "birthDate"),
    ("FamilyMemberHistory", "born"),
    ("Patient", "deceasedDateTime"),
    ("Patient", "deceasedBoolean"),
    ("Observation", "effectiveDateTime"),
    ("Condition", "onsetDateTime"),
    ("Encounter", "period"),
    ("Observation", "issued"),
    ("Patient", "meta.lastUpdated"),
    ("Condition", "recordedDate"),
    ("Patient", "address.state"),
    ("Patient", "address.country"),
    ("Patient", "gender"),
    ("Patient", "maritalStatus"),
    ("Condition", "code"),
    ("Encounter", "reasonCode"),
    ("Encounter", "diagnosis.use"),
    ("Procedure", "code"),
    ("ServiceRequest", "code"),
    ("Encounter", "type"),
    ("MedicationRequest", "medicationCodeableConcept"),
    ("MedicationRequest", "dosageInstruction.doseAndRate"),
    ("Observation", "code"),
    ("DiagnosticReport", "code"),
    ("Observation", "valueQuantity"),
    ("Observation", "interpretation"),
    ("MolecularSequence", "observedSeq"),
    ("MolecularSequence", "variant"),
    ("Patient", "text"),
    ("Observation", "text"),
    ("Observation", "note"),
    ("Condition", "note"),
    ("Patient", "maritalStatus.text"),
    ("DocumentReference", "content.attachment"),
    ("DiagnosticReport", "presentedForm"),
    ("QuestionnaireResponse", "item.answer.valueString"),
    ("QuestionnaireResponse", "item.answer.valueBoolean"),
    ("Claim", "total"),
    ("Coverage", "type"),
    ("Practitioner", "name"),
    ("Organization", "name"),
    ("Observation", "performer"),
    ("Patient", "active"),
    ("Observation", "status"),
    ("Patient", "meta.versionId"),
    ("Patient", "meta.security"),
    ("Patient", "meta.tag"),
    ("Patient", "meta.profile"),
    ("Condition", "verificationStatus"),
    ("Claim", "status"),
];
const EXAMPLES_MAX: usize = 3;

/// For each category a few elements that belong to it, by the catalogue of the set.
pub(crate) fn examples(catalogue: &Catalogue) -> BTreeMap<Category, Vec<String>> {
    let mut found: BTreeMap<Category, Vec<String>> = BTreeMap::new();
    for (resource_type, element) in KNOWN {
        let path = format!("{resource_type}.{element}");
        let categories = catalogue.category_at(resource_type, &path);
        // One that stands for several at once, or is not known there, is no example.
        let mut of = categories.iter();
        if let (Some(category), None) = (of.next(), of.next()) {
            let list = found.entry(category).or_default();
            if list.len() < EXAMPLES_MAX {
                list.push(path);
            }
        }
    }
    found
}
