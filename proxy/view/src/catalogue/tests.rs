use super::*;

/// Walks a dotted JSON path.
fn at(path: &str) -> Option<Edge> {
    let catalogue = Catalogue::builtin();
    let mut steps = path.split('.');
    let mut node = catalogue.root(steps.next()?)?;
    let mut edge = None;
    for step in steps {
        let found = *catalogue.edge(node, step)?;
        node = found.node;
        edge = Some(found);
    }
    edge
}

#[test]
fn the_shipped_rules_reach_every_element_of_every_type() {
    if let Err(faults) = Catalogue::parse(crate::shipped::CATEGORIES, r4()) {
        panic!("{}", faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"));
    }
    let catalogue = Catalogue::builtin();
    assert_eq!(catalogue.roots.len(), 146);
    assert!(catalogue.nodes.len() < 20_000, "{} nodes", catalogue.nodes.len());
}

#[test]
fn well_known_elements_belong_where_an_officer_would_put_them() {
    for (path, category) in [
        ("Patient.id", "record-id"),
        ("Patient.name.id", "record-id"),
        ("Patient.contact.id", "record-id"),
        ("StructureDefinition.id", "record-id"),
        ("StructureDefinition.snapshot.element.id", "structure"),
        ("StructureDefinition.differential.element.id", "structure"),
        ("StructureDefinition.snapshot.element.type.id", "record-id"),
        ("Questionnaire.item.id", "record-id"),
        ("OperationOutcome.issue.code", "structure"),
        ("OperationOutcome.issue.diagnostics", "note"),
        ("OperationOutcome.issue.details.text", "note"),
        ("OperationOutcome.issue.details.coding.display", "note"),
        ("OperationOutcome.issue.expression", "note"),
        ("ImagingStudy.series.uid", "identifier"),
        ("ImagingStudy.series.instance.uid", "identifier"),
        ("DocumentManifest.source", "device-network"),
        ("Patient.meta.versionId", "structure"),
        ("Patient.meta.lastUpdated", "recorded-date"),
        ("Patient.meta.source", "device-network"),
        ("Patient.meta.security.code", "label"),
        ("Patient.text.div", "narrative"),
        ("Patient.name.family", "person-name"),
        ("Patient.identifier.value", "identifier"),
        ("Patient.telecom.value", "contact"),
        ("Patient.address.postalCode", "address"),
        ("Patient.address.city", "address"),
        ("Patient.address.state", "region"),
        ("Patient.birthDate", "birth-date"),
        ("Patient.deceasedBoolean", "death"),
        ("Patient.deceasedDateTime", "death"),
        ("Patient.gender", "demographics"),
        ("Patient.active", "structure"),
        ("Patient.photo.data", "image"),
        ("Patient.contact.name.given", "person-name"),
        ("Patient.contact.address.line", "address"),
        ("Patient.communication.language.coding.code", "demographics"),
        ("Observation.code.coding.code", "finding-code"),
        ("Observation.code.coding.display", "finding-code"),
        ("Observation.code.text", "note"),
        ("Observation.valueQuantity.value", "finding-value"),
        ("Observation.valueQuantity.unit", "finding-value"),
        ("Observation.valueCodeableConcept.coding.code", "finding-value"),
        ("Observation.valueString", "note"),
        ("Observation.component.valueQuantity.value", "finding-value"),
        ("Observation.effectiveDateTime", "event-date"),
        ("Observation.effectivePeriod.start", "event-date"),
        ("Observation.issued", "recorded-date"),
        ("Observation.status", "structure"),
        ("Observation.note.text", "note"),
        ("Observation.note.authorString", "staff"),
        ("Observation.note.time", "recorded-date"),
        ("Observation.referenceRange.low.value", "finding-value"),
        ("Observation.referenceRange.text", "note"),
        ("Condition.code.coding.code", "diagnosis"),
        ("Condition.clinicalStatus.coding.code", "diagnosis"),
        ("Condition.onsetAge.value", "event-date"),
        ("Condition.onsetDateTime", "event-date"),
        ("Condition.recordedDate", "recorded-date"),
        ("Procedure.code.coding.code", "service"),
        ("Encounter.reasonCode.coding.code", "diagnosis"),
        ("Encounter.class.code", "service"),
        ("Encounter.period.start", "event-date"),
        ("MedicationRequest.medicationCodeableConcept.coding.code", "medication"),
        ("MedicationRequest.dosageInstruction.text", "note"),
        ("MedicationRequest.dosageInstruction.doseAndRate.doseQuantity.value", "medication"),
        ("MedicationRequest.authoredOn", "recorded-date"),
        ("Immunization.lotNumber", "device-network"),
        ("Practitioner.name.family", "staff"),
        ("Practitioner.identifier.value", "staff"),
        ("Practitioner.telecom.value", "staff"),
        ("Practitioner.id", "record-id"),
        ("Practitioner.text.div", "narrative"),
        ("Organization.name", "staff"),
        ("Location.address.city", "staff"),
        ("Coverage.subscriberId", "identifier"),
        ("Claim.total.value", "financial"),
        ("Claim.diagnosis.diagnosisCodeableConcept.coding.code", "diagnosis"),
        ("Claim.item.productOrService.coding.code", "service"),
        ("ExplanationOfBenefit.total.amount.value", "financial"),
        ("DocumentReference.content.attachment.data", "document"),
        ("DocumentReference.content.attachment.title", "document"),
        ("DocumentReference.type.coding.code", "service"),
        ("DiagnosticReport.conclusion", "note"),
        ("DiagnosticReport.presentedForm.data", "document"),
        ("QuestionnaireResponse.item.text", "note"),
        ("QuestionnaireResponse.item.linkId", "structure"),
        ("QuestionnaireResponse.item.answer.valueCoding.code", "answer"),
        ("QuestionnaireResponse.item.answer.item.item.answer.valueString", "answer"),
        ("Device.udiCarrier.carrierHRF", "device-network"),
        ("ValueSet.compose.include.concept.code", "structure"),
        ("ValueSet.description", "structure"),
        ("MolecularSequence.observedSeq", "genomic"),
        ("Patient.identifier.assigner.identifier.value", "identifier"),
        ("Observation.subject.identifier.value", "identifier"),
    ] {
        let found = at(path).unwrap_or_else(|| panic!("{path} is not known"));
        assert_eq!(found.category, Assigned::Fixed(Category::parse(category).unwrap()), "{path}");
    }
    for path in [
        "Observation.subject",
        "Observation.subject.reference",
        "Observation.subject.display",
        "Patient.identifier.assigner",
    ] {
        assert_eq!(at(path).unwrap().category, Assigned::Reference, "{path}");
    }
    assert_eq!(at("Patient.extension").unwrap().category, Assigned::Extension(None));
    assert!(at("Patient.modifierExtension").unwrap().modifier);
    assert!(at("Patient.nonsense").is_none());
}

#[test]
fn no_rule_takes_the_id_of_a_record_out_of_its_category() {
    let yaml = crate::shipped::CATEGORIES
        .replace(
            "  ElementDefinition.id: structure\n",
            "  ElementDefinition.id: structure\n  Patient.id: structure\n",
        )
        .replace(
            "  Patient.gender: demographics\n",
            "  Patient.gender: demographics\n  Observation.id: note\n",
        );
    let catalogue = Catalogue::parse(&yaml, r4()).unwrap();
    for kind in ["Patient", "Observation"] {
        let edge = catalogue.edge(catalogue.root(kind).unwrap(), "id").unwrap();
        assert_eq!(edge.category, Assigned::Fixed(Category::RecordId), "{kind}");
    }
}

#[test]
fn searches_reveal_the_element_and_everything_in_it() {
    let catalogue = Catalogue::builtin();
    let at = |t: &str, p: &str| catalogue.categories_at(t, p);
    let only = |c: &[Category]| c.iter().copied().collect::<CategorySet>();
    assert_eq!(at("Patient", "Patient.birthDate"), only(&[Category::BirthDate]));
    assert!(at("Patient", "Patient.name").contains(Category::PersonName));
    assert!(!at("Patient", "Patient.name").contains(Category::Identifier));
    assert!(at("Patient", "Patient.address").contains(Category::Region));
    assert!(at("Patient", "Patient.address").contains(Category::Address));
    assert!(at("Observation", "Observation.code").contains(Category::Note), "`:text` searches the text");
    assert!(at("Observation", "Observation.value:Quantity").contains(Category::FindingValue));
    assert!(at("Observation", "Observation.subject").contains(Category::PatientLink));
    assert!(at("Condition", "Condition.subject").contains(Category::PatientLink));
    assert_eq!(at("Patient", "Patient.id"), only(&[Category::RecordId]));
    assert_eq!(at("Patient", "Patient.nonsense"), CategorySet::FULL);
    assert_eq!(at("Patient", "Patient"), CategorySet::FULL);
}

#[test]
fn every_search_parameter_of_the_standard_resolves_to_categories() {
    let catalogue = Catalogue::builtin();
    for p in drape_fhir::search::parameters().filter(|p| p.is_resolvable()) {
        for path in p.paths() {
            let found = catalogue.categories_at(p.base, path);
            assert!(!found.is_empty());
            // FULL means that the path was not found in the graph.
            assert!(found != CategorySet::FULL || path == p.base, "{} {}: {path}", p.base, p.code);
        }
    }
}

#[test]
fn faulty_rules_are_all_named() {
    let yaml = crate::shipped::CATEGORIES
        .replace("  HumanName: person-name\n", "  HumanName: person-nam\n")
        .replace("  Patient.gender: demographics\n", "  Patient.sex: demographics\n")
        .replace("genomic: [MolecularSequence]", "genomic: []");
    let faults = Catalogue::parse(&yaml, r4()).unwrap_err();
    let all = faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n");
    for part in [
        "`person-nam` is no category",
        "elements.Patient.sex: names nothing",
        "`MolecularSequence` must stand",
    ] {
        assert!(all.contains(part), "{part} not in {all}");
    }
    assert!(Catalogue::parse("version: 1\nextra: 1", r4()).is_err());
}

#[test]
fn every_element_is_listed_with_the_rule_that_decided() {
    let catalogue = Catalogue::builtin();
    let of = |path: &str| {
        let resource = path.split('.').next().unwrap();
        let rows = catalogue.rows(resource).unwrap();
        let row = rows.into_iter().find(|r| r.path == path).unwrap_or_else(|| panic!("{path}"));
        let categories: Vec<&str> = row.categories.iter().map(Category::name).collect();
        format!("{} by {}", categories.join("+"), row.rule)
    };
    for (path, expected) in [
        ("Patient.birthDate", "birth-date by elements: Patient.birthDate"),
        ("Observation.valueString", "note by elements: Observation.value:string"),
        ("Observation.valueQuantity", "finding-value by elements: Observation.value"),
        ("Practitioner.name", "staff by whole: Practitioner"),
        ("Patient.identifier", "identifier by names: identifier"),
        ("Patient.active", "structure by a boolean"),
        ("Observation.status", "structure by a code from a fixed list"),
        ("Patient.name", "person-name by types: HumanName"),
        ("Observation.code", "finding-code by resources: Observation"),
        ("Patient.address.state", "region by parts: Address.state"),
        ("Condition.note.authorString", "staff by parts: Annotation.author:string"),
        ("Patient.id", "record-id by an id"),
        ("Observation.subject", "patient-link+record-link+staff by by what the reference names"),
        ("Patient.extension", " by by the URL of the extension"),
        ("Patient.contact", " by only holds others together"),
        ("Patient.contained", " by a record of its own"),
        ("Patient.meta", "label by the same in every resource"),
        ("Patient.contact.name", "person-name by types: HumanName"),
    ] {
        assert_eq!(of(path), expected, "{path}");
    }
    // Parts that are as their whole are left out, but where that whole is asked for.
    let has = |rows: &[Row], path: &str| rows.iter().any(|r| r.path == path);
    let patient = catalogue.rows("Patient").unwrap();
    assert!(!has(&patient, "Patient.name.family") && !has(&patient, "Patient.contact.id"));
    let name = catalogue.rows("Patient.name").unwrap();
    assert!(has(&name, "Patient.name") && has(&name, "Patient.name.family"));
    assert!(catalogue.rows("Patient.nmae").is_none() && catalogue.rows("HumanName").is_none());
    assert!(catalogue.members_of("Patient").contains(&"name"));
}

#[test]
fn the_list_leaves_out_no_element_of_a_record_itself() {
    let catalogue = Catalogue::builtin();
    for name in r4().resource_types() {
        let rows = catalogue.rows(name).unwrap();
        for element in r4().elements(name) {
            for (json, _) in element.json_names() {
                let path = format!("{name}.{json}");
                assert_eq!(rows.iter().filter(|r| r.path == path).count(), 1, "{path}");
            }
        }
    }
}
