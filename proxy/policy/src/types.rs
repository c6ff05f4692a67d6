//! The groups of resource types that policies may name.

/// A group and its members.
pub(crate) const TYPE_GROUPS: [(&str, &[&str]); 6] = [
    (
        "clinical",
        &[
            "AdverseEvent", "AllergyIntolerance", "CarePlan", "CareTeam", "ClinicalImpression", "Communication",
            "Composition", "Condition", "Consent", "DetectedIssue", "Device", "DeviceRequest", "DeviceUseStatement",
            "DiagnosticReport", "DocumentReference", "Encounter", "EpisodeOfCare", "FamilyMemberHistory", "Flag", "Goal",
            "ImagingStudy", "Immunization", "ImmunizationRecommendation", "Media", "Medication",
            "MedicationAdministration", "MedicationDispense", "MedicationRequest", "MedicationStatement",
            "MolecularSequence", "NutritionOrder", "Observation", "Patient", "Procedure", "QuestionnaireResponse",
            "RelatedPerson", "RiskAssessment", "ServiceRequest", "Specimen", "Task", "VisionPrescription",
        ],
    ),
    (
        "claims",
        &[
            "Account", "ChargeItem", "Claim", "ClaimResponse", "Coverage", "CoverageEligibilityRequest",
            "CoverageEligibilityResponse", "ExplanationOfBenefit", "Invoice", "PaymentNotice", "PaymentReconciliation",
        ],
    ),
    ("notes", &["ClinicalImpression", "Communication", "Composition", "DiagnosticReport", "DocumentReference"]),
    ("scheduling", &["Appointment", "AppointmentResponse", "Schedule", "Slot"]),
    (
        "directory",
        &[
            "Endpoint", "HealthcareService", "Location", "Organization", "OrganizationAffiliation", "Practitioner",
            "PractitionerRole",
        ],
    ),
    (
        "definitions",
        &["ActivityDefinition", "CodeSystem", "ConceptMap", "Measure", "PlanDefinition", "Questionnaire", "ValueSet"],
    ),
];
