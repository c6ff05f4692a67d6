//! Which types the store holds and by what they are searched: all of FHIR R4, from its definitions in `drape-fhir`.
//!
//! Composite, number and special parameters and those over the text of a record are left out: the store refuses them
//! as unknown, as many servers do.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use drape_fhir::definitions::{Definitions, r4};
use drape_fhir::search;

/// How a parameter's values are compared (FHIR R4, 3.1.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Date,
    /// `Patient.deceased`: whether, not when.
    Deceased,
    Quantity,
    Reference,
    Text,
    Token,
    Uri,
}

#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) code: &'static str,
    pub(super) kind: Kind,
    /// As the names stand in JSON, e.g. `component.valueQuantity` or `telecom[system=phone]`.
    pub(super) paths: Vec<String>,
    /// Empty: anything.
    pub(super) targets: Vec<&'static str>,
}

#[derive(Debug)]
pub(super) struct Type {
    pub(super) name: &'static str,
    /// JSON names of the elements it must have.
    pub(super) mandatory: Vec<String>,
    /// JSON names of the elements of its summary.
    pub(super) summary: Vec<String>,
    /// By code.
    pub(super) parameters: Vec<Parameter>,
}

impl Type {
    pub(super) fn parameter(&self, code: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|p| p.code == code)
    }
}

/// Every type the store holds.
pub(super) fn types() -> &'static BTreeMap<&'static str, Type> {
    static TYPES: OnceLock<BTreeMap<&'static str, Type>> = OnceLock::new();
    TYPES.get_or_init(|| {
        let definitions = r4();
        let mut types: BTreeMap<&'static str, Type> =
            definitions.resource_types().map(|name| (name, empty(definitions, name))).collect();
        for parameter in search::parameters() {
            if let (Some(owner), Some(parameter)) =
                (types.get_mut(parameter.base), read(definitions, parameter))
            {
                owner.parameters.push(parameter);
            }
        }
        for owner in types.values_mut() {
            owner.parameters.sort_by_key(|p| p.code);
        }
        types
    })
}

fn empty(definitions: &'static Definitions, name: &'static str) -> Type {
    let names = |wanted: fn(&drape_fhir::definitions::Element) -> bool| -> Vec<String> {
        let elements = definitions.elements(name).iter().filter(|e| wanted(e));
        elements.flat_map(|e| e.json_names()).map(|(name, _)| name).collect()
    };
    Type {
        name,
        mandatory: names(|e| e.min > 0),
        summary: names(|e| e.summary || e.min > 0),
        parameters: Vec::new(),
    }
}

fn read(definitions: &'static Definitions, parameter: &'static search::Parameter) -> Option<Parameter> {
    if !parameter.is_resolvable() {
        return None;
    }
    let kind = match parameter.kind {
        _ if parameter.base == "Patient" && parameter.code == "deceased" => Kind::Deceased,
        search::Kind::Date => Kind::Date,
        search::Kind::Quantity => Kind::Quantity,
        search::Kind::Reference => Kind::Reference,
        search::Kind::String => Kind::Text,
        search::Kind::Token => Kind::Token,
        search::Kind::Uri => Kind::Uri,
        search::Kind::Number | search::Kind::Composite | search::Kind::Special => return None,
    };
    let mut paths: Vec<String> = parameter.paths().flat_map(|path| json_paths(definitions, path)).collect();
    // The expressions narrow these two to one kind of ContactPoint; the paths do not say so.
    if let ("phone" | "email", "telecom") = (parameter.code, paths.first().map_or("", String::as_str)) {
        paths = vec![format!("telecom[system={}]", parameter.code)];
    }
    let targets = parameter.targets().collect();
    (!paths.is_empty()).then_some(Parameter { code: parameter.code, kind, paths, targets })
}

/// The ways in which an element path stands in JSON: a choice has one name for each type it may have.
fn json_paths(definitions: &'static Definitions, path: &'static str) -> Vec<String> {
    let (path, wanted) = path.split_once(':').map_or((path, None), |(p, t)| (p, Some(t)));
    let mut steps = path.split('.');
    let root = steps.next().unwrap_or_default();
    let mut found: Vec<(String, &'static str, &'static str)> = vec![(String::new(), root, root)];
    for step in steps {
        let mut next = Vec::new();
        for (so_far, at, _) in &found {
            for element in definitions.elements(at).iter().filter(|e| e.name == step) {
                for (name, data_type) in element.json_names() {
                    let dot = if so_far.is_empty() { "" } else { "." };
                    next.push((
                        format!("{so_far}{dot}{name}"),
                        definitions.children_of(element, data_type),
                        data_type,
                    ));
                }
            }
        }
        found = next;
    }
    found
        .into_iter()
        .filter(|(.., data_type)| wanted.is_none_or(|w| w == *data_type))
        .map(|(path, ..)| path)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_ordinary_parameters() {
        let types = types();
        assert_eq!(types.len(), r4().resource_types().count());
        for owner in types.values() {
            assert!(
                owner.parameter("_id").is_some() && owner.parameter("_lastUpdated").is_some(),
                "{}",
                owner.name
            );
            assert!(owner.parameter("_content").is_none());
        }
        let usable = search::parameters().filter(|p| p.is_resolvable()).filter(|p| {
            !matches!(p.kind, search::Kind::Number | search::Kind::Composite | search::Kind::Special)
        });
        let missing: Vec<_> =
            usable.filter(|p| types[p.base].parameter(p.code).is_none()).map(|p| (p.base, p.code)).collect();
        assert_eq!(missing, []);
    }

    #[test]
    fn paths_are_written_as_they_stand_in_json() {
        let paths = |kind: &str, code: &str| types()[kind].parameter(code).unwrap().paths.clone();
        assert_eq!(paths("Observation", "value-quantity"), ["valueQuantity", "valueSampledData"]);
        assert_eq!(paths("Observation", "combo-code"), ["code", "component.code"]);
        assert!(paths("Observation", "date").contains(&"effectivePeriod".to_owned()));
        assert_eq!(paths("Patient", "phone"), ["telecom[system=phone]"]);
        assert_eq!(paths("Patient", "_lastUpdated"), ["meta.lastUpdated"]);
        assert_eq!(
            types()["Claim"].mandatory,
            ["status", "type", "use", "patient", "created", "provider", "priority", "insurance"]
        );
    }
}
