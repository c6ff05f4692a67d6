//! The JSON Schemas of the YAML files that people write, so that editors complete them and mark what is wrong.

/// One of them.
#[derive(Debug)]
pub struct JsonSchema {
    /// By which it is asked for.
    pub name: &'static str,
    /// The files that it is for.
    pub of: &'static str,
    /// JSON Schema 2020-12.
    pub text: &'static str,
}

impl JsonSchema {
    /// The name of its file.
    pub fn file_name(&self) -> String {
        format!("{}.schema.json", self.name)
    }
}

macro_rules! schema {
    ($name:literal, $of:literal) => {
        JsonSchema {
            name: $name,
            of: $of,
            text: include_str!(concat!("../../../policies/json-schema/", $name, ".schema.json")),
        }
    };
}

/// All of them; `policies/json-schema/` holds them too.
pub const SCHEMAS: &[JsonSchema] = &[
    schema!("configuration", "drape.yaml: the configuration"),
    schema!("categories", "categories.yaml: the category of each FHIR element"),
    schema!("treatments", "treatments.yaml: how far each category may be revealed"),
    schema!("labels", "labels.yaml: sensitivity labels by code"),
    schema!("facts", "facts.yaml: where facts about callers and patients come from"),
    schema!("overrides", "overrides_file: an officer's list of patients and corrected labels"),
    schema!("personas", "personas.yaml: the made-up callers of a set"),
    schema!("guarantees", "guarantees.yaml: what must hold of a set"),
    schema!("tests", "tests/*.yaml: the policy tests of a set"),
];
