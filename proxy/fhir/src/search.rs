//! Search parameters and the elements they reveal, and compartments (`data/search.tsv`, `data/compartments.tsv`, made
//! by `generate.py`).

use std::collections::HashMap;
use std::sync::OnceLock;

const TABLE: &str = include_str!("../data/search.tsv");
const COMPARTMENTS: &str = include_str!("../data/compartments.tsv");

/// What a parameter searches by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    Number,
    Date,
    String,
    Token,
    Reference,
    Composite,
    Quantity,
    Uri,
    Special,
}

/// One search parameter of one resource type.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// The type it is defined on.
    pub base: &'static str,
    /// Its name in a query.
    pub code: &'static str,
    /// What it searches by.
    pub kind: Kind,
    paths: &'static str,
    targets: &'static str,
    components: &'static str,
    unresolvable: &'static str,
}

fn list(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.split('|').filter(|t| !t.is_empty())
}

impl Parameter {
    /// The element paths it reads; a choice narrowed to one type is written `Observation.value:Quantity`. What it
    /// reveals is these elements with all their descendants. Empty when [`Parameter::is_resolvable`] is false.
    pub fn paths(&self) -> impl Iterator<Item = &'static str> + use<> {
        list(self.paths)
    }

    /// For references: the types it leads to.
    pub fn targets(&self) -> impl Iterator<Item = &'static str> + use<> {
        list(self.targets)
    }

    /// For composites: the codes of the parts.
    pub fn components(&self) -> impl Iterator<Item = &'static str> + use<> {
        list(self.components)
    }

    /// Whether the elements it reads are known. `_text`, `_content`, `near` and the like read anything.
    pub fn is_resolvable(&self) -> bool {
        self.unresolvable.is_empty() && !self.paths.is_empty()
    }
}

type Table = HashMap<&'static str, HashMap<&'static str, Parameter>>;

fn table() -> &'static Table {
    static PARAMETERS: OnceLock<Table> = OnceLock::new();
    PARAMETERS.get_or_init(|| {
        let mut found = Table::new();
        for line in TABLE.lines().skip(1) {
            let mut columns = line.split('\t');
            let mut column = || columns.next().unwrap_or_default();
            let (base, code, kind) = (column(), column(), column());
            let kind = match kind {
                "number" => Kind::Number,
                "date" => Kind::Date,
                "string" => Kind::String,
                "token" => Kind::Token,
                "reference" => Kind::Reference,
                "composite" => Kind::Composite,
                "quantity" => Kind::Quantity,
                "uri" => Kind::Uri,
                _ => Kind::Special,
            };
            let (paths, targets, components, unresolvable) = (column(), column(), column(), column());
            let parameter = Parameter { base, code, kind, paths, targets, components, unresolvable };
            found.entry(base).or_default().insert(code, parameter);
        }
        found
    })
}

/// The parameter called `code` on `resource_type`.
pub fn parameter(resource_type: &str, code: &str) -> Option<&'static Parameter> {
    table().get(resource_type)?.get(code)
}

/// All parameters, in no particular order.
pub fn parameters() -> impl Iterator<Item = &'static Parameter> {
    table().values().flat_map(HashMap::values)
}

/// The parameters of `searched` by any of which a record belongs to the compartment of a record of `resource_type`;
/// empty where none does (R4, CompartmentDefinition).
pub fn compartment(resource_type: &str, searched: &str) -> Vec<&'static str> {
    let mut rows = COMPARTMENTS.lines().skip(1).map(|line| line.splitn(3, '\t'));
    rows.find_map(|mut row| (row.next()? == resource_type && row.next()? == searched).then(|| row.next()))
        .flatten()
        .map(|codes| list(codes).collect())
        .unwrap_or_default()
}

/// The subject-like parameter of a type: the one whose elements name the patient the record is about, never its
/// author or performer (FHIR's patient compartment joins both). `_id` for Patient itself.
pub fn patient_parameter(resource_type: &str) -> Option<&'static str> {
    if resource_type == "Patient" {
        return Some("_id");
    }
    ["patient", "subject", "beneficiary"].into_iter().find(|code| {
        parameter(resource_type, code).is_some_and(|p| {
            p.is_resolvable()
                && p.kind == Kind::Reference
                && p.targets().any(|t| t == "Patient")
                && is_subject(p)
        })
    })
}

/// The element paths that name the patient a record of that type is about.
pub fn subject_paths(resource_type: &str) -> impl Iterator<Item = &'static str> {
    patient_parameter(resource_type)
        .filter(|code| *code != "_id")
        .and_then(|code| parameter(resource_type, code))
        .into_iter()
        .flat_map(|p| p.paths())
}

/// AuditEvent's and Provenance's `patient` reads agents and targets: who did it, or what was touched.
fn is_subject(p: &Parameter) -> bool {
    !matches!(p.base, "AuditEvent" | "Provenance")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_resolve_to_the_elements_of_their_own_type_only() {
        let code = parameter("Condition", "code").unwrap();
        assert_eq!(code.paths().collect::<Vec<_>>(), ["Condition.code"]);
        let name = parameter("Patient", "name").unwrap();
        assert_eq!(name.paths().collect::<Vec<_>>(), ["Patient.name"]);
        let patient = parameter("Observation", "patient").unwrap();
        assert_eq!(patient.targets().collect::<Vec<_>>(), ["Patient"]);
        for p in parameters().filter(|p| p.is_resolvable()) {
            assert!(p.paths().all(|path| path.starts_with(p.base)), "{} {}", p.base, p.code);
        }
    }

    #[test]
    fn parameters_that_read_anything_are_not_resolvable() {
        for code in ["_text", "_content", "_query"] {
            assert!(!parameter("Patient", code).unwrap().is_resolvable(), "{code}");
        }
        assert!(!parameter("Location", "near").unwrap().is_resolvable());
    }

    #[test]
    fn composites_reveal_all_their_parts() {
        let p = parameter("Observation", "code-value-quantity").unwrap();
        let paths: Vec<_> = p.paths().collect();
        assert!(paths.contains(&"Observation.code") && paths.contains(&"Observation.value:Quantity"));
    }

    #[test]
    fn the_patient_of_a_record_is_its_subject_not_its_author() {
        assert_eq!(patient_parameter("Observation"), Some("patient"));
        assert_eq!(patient_parameter("Coverage"), Some("patient"));
        assert_eq!(patient_parameter("Patient"), Some("_id"));
        assert_eq!(patient_parameter("Practitioner"), None);
        assert_eq!(patient_parameter("AuditEvent"), None);
        assert_eq!(subject_paths("Claim").collect::<Vec<_>>(), ["Claim.patient"]);
    }
}
