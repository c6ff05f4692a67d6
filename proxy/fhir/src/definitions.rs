//! Every element of every FHIR R4 type, from the official definitions (`data/elements.tsv`, made by `generate.py`).

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::names::Names;

const TABLE: &str = include_str!("../data/elements.tsv");

/// The R4 (4.0.1) definitions.
#[derive(Debug)]
pub struct Definitions {
    types: Names<TypeInfo>,
    /// Children of a type (`Patient`) or of a nested element (`Patient.contact`).
    children: HashMap<&'static str, Vec<Element>>,
    names: Vec<&'static str>,
}

/// What kind of type it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeKind {
    /// `Patient`.
    Resource,
    /// `Resource`, `DomainResource`: never sent as such.
    Abstract,
    /// `HumanName`.
    Complex,
    /// `date`.
    Primitive,
}

#[derive(Clone, Copy, Debug)]
struct TypeInfo {
    name: &'static str,
    kind: TypeKind,
}

/// One element of a type.
#[derive(Clone, Copy, Debug)]
pub struct Element {
    /// `Patient.contact.name`, `Observation.value[x]`.
    pub path: &'static str,
    /// The JSON name without `[x]`.
    pub name: &'static str,
    /// Whether it is a choice (`[x]`), whose JSON name carries the type.
    pub choice: bool,
    types: &'static str,
    /// The types a reference may lead to.
    pub targets: Targets,
    /// How often it must stand there at least.
    pub min: u8,
    /// Whether it is an array in JSON.
    pub list: bool,
    /// The path whose children it has, where it repeats another element's structure.
    pub content_reference: Option<&'static str>,
    /// Whether its code must come from a fixed list.
    pub required_binding: bool,
    /// Whether hiding it could reverse the record's meaning.
    pub modifier: bool,
    /// Whether it is part of the summary.
    pub summary: bool,
}

/// The types a reference may lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets(&'static str);

impl Targets {
    /// Each of them; none where it may be any.
    pub fn types(self) -> impl Iterator<Item = &'static str> + use<> {
        self.0.split('|').filter(|t| !t.is_empty() && *t != "Resource")
    }
}

impl Element {
    /// The data types it may have: `HumanName`, `BackboneElement`, `Reference`, …
    pub fn types(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.types.split('|').filter(|t| !t.is_empty())
    }

    /// The types a reference may lead to; empty for any.
    pub fn targets(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.targets.types()
    }

    /// Its names in JSON with the type each implies: one for ordinary elements, one a type for choices.
    pub fn json_names(&self) -> impl Iterator<Item = (String, &'static str)> + use<'_> {
        let first = self.types().next().unwrap_or("Element");
        let plain = (!self.choice).then(|| (self.name.to_owned(), first));
        let chosen =
            self.types().filter(|_| self.choice).map(|t| (format!("{}{}", self.name, capitalised(t)), t));
        plain.into_iter().chain(chosen)
    }
}

fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|c| c.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}

/// The R4 definitions, read once.
pub fn r4() -> &'static Definitions {
    static R4: OnceLock<Definitions> = OnceLock::new();
    R4.get_or_init(|| Definitions::read(TABLE))
}

impl Definitions {
    fn read(table: &'static str) -> Self {
        let mut types = Vec::new();
        let mut children: HashMap<&'static str, Vec<Element>> = HashMap::new();
        for line in table.lines().skip(1) {
            let mut columns = line.split('\t');
            let mut column = || columns.next().unwrap_or_default();
            let (path, kinds, min, max) = (column(), column(), column(), column());
            let (targets, reference, binding, flags) = (column(), column(), column(), column());
            let Some((parent, name)) = path.rsplit_once('.') else {
                let kind = match kinds {
                    "(resource)" => TypeKind::Resource,
                    "(complex-type)" | "(complex-type/abstract)" => TypeKind::Complex,
                    "(primitive)" => TypeKind::Primitive,
                    _ => TypeKind::Abstract,
                };
                types.push((path.into(), TypeInfo { name: path, kind }));
                continue;
            };
            let (name, choice) = match name.strip_suffix("[x]") {
                Some(name) => (name, true),
                None => (name, false),
            };
            children.entry(parent).or_default().push(Element {
                path,
                name,
                choice,
                types: kinds,
                targets: Targets(targets),
                min: min.parse().unwrap_or(0),
                list: max != "1" && max != "0",
                content_reference: Some(reference).filter(|r| !r.is_empty()),
                required_binding: binding == "required",
                modifier: flags.contains('m'),
                summary: flags.contains('s'),
            });
        }
        let types = Names::new(types);
        let mut names: Vec<&'static str> = types.iter().map(|(_, info)| info.name).collect();
        names.sort_unstable();
        Self { types, children, names }
    }

    /// The kind of a type, if R4 knows it.
    pub fn kind(&self, name: &str) -> Option<TypeKind> {
        self.types.get(name.as_bytes()).map(|(_, info)| info.kind)
    }

    /// Whether `name` is a resource type that can be sent.
    pub fn is_resource(&self, name: &str) -> bool {
        self.kind(name) == Some(TypeKind::Resource)
    }

    /// The definitions' own copy of a resource type's name, if it is one.
    pub fn resource_type(&self, name: &str) -> Option<&'static str> {
        let (_, info) = self.types.get(name.as_bytes())?;
        (info.kind == TypeKind::Resource).then_some(info.name)
    }

    /// Every resource type, sorted.
    pub fn resource_types(&self) -> impl Iterator<Item = &'static str> {
        self.names.iter().copied().filter(|n| self.is_resource(n))
    }

    /// Every type, sorted.
    pub fn type_names(&self) -> impl Iterator<Item = &'static str> {
        self.names.iter().copied()
    }

    /// The elements directly under a type or a nested element, by its path; content references are followed.
    pub fn elements(&self, path: &str) -> &[Element] {
        self.children.get(path).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether a FHIRPath expression is a path of elements and nothing else, as validators name places in a record:
    /// `Observation.component[0].value.ofType(Quantity).code`.
    pub fn is_path(&self, expression: &str) -> bool {
        let mut parts = expression.split('.');
        let Some(root) = parts.next().and_then(|name| self.resource_type(name)) else { return false };
        let mut under = vec![root];
        // The types of the last element, for `ofType`.
        let mut types: Vec<&'static str> = Vec::new();
        for part in parts {
            if let Some(kind) = part.strip_prefix("ofType(").and_then(|rest| rest.strip_suffix(')')) {
                let Some(kind) = types.iter().copied().find(|t| *t == kind) else { return false };
                (under, types) = (vec![kind], Vec::new());
                continue;
            }
            let name = match part.split_once('[') {
                None => part,
                Some((name, place)) => match place.strip_suffix(']') {
                    Some(place) if !place.is_empty() && place.bytes().all(|b| b.is_ascii_digit()) => name,
                    _ => return false,
                },
            };
            let found: Vec<&Element> =
                under.iter().flat_map(|u| self.elements(u)).filter(|e| e.name == name).collect();
            if found.is_empty() {
                return false;
            }
            types = found.iter().flat_map(|e| e.types()).collect();
            under = found.iter().flat_map(|e| e.types().map(|t| self.children_of(e, t))).collect();
            under.extend(found.iter().filter_map(|e| e.content_reference));
            under.dedup();
        }
        true
    }

    /// Where the children of `element` stand: its own path for nested elements, the referenced one for content
    /// references, the type's name otherwise.
    pub fn children_of(&self, element: &Element, data_type: &'static str) -> &'static str {
        if let Some(reference) = element.content_reference {
            reference
        } else if data_type == "BackboneElement" || data_type == "Element" {
            element.path
        } else {
            data_type
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_r4_is_there() {
        let defs = r4();
        assert_eq!(defs.resource_types().count(), 146);
        assert!(
            defs.is_resource("Patient") && !defs.is_resource("HumanName") && !defs.is_resource("Resource")
        );
        assert_eq!(defs.kind("date"), Some(TypeKind::Primitive));
        assert_eq!((defs.resource_type("Patient"), defs.resource_type("HumanName")), (Some("Patient"), None));
        let rows: usize = defs.children.values().map(Vec::len).sum();
        assert_eq!(rows + defs.types.iter().count(), TABLE.lines().count() - 1);
    }

    #[test]
    fn every_element_has_a_known_type_or_refers_to_one_that_has() {
        let defs = r4();
        for element in defs.children.values().flatten() {
            match element.content_reference {
                Some(path) => assert!(!defs.elements(path).is_empty(), "{}", element.path),
                None => {
                    assert!(element.types().count() > 0, "{}", element.path);
                    for t in element.types() {
                        assert!(defs.kind(t).is_some(), "{}: {t}", element.path);
                    }
                }
            }
        }
    }

    #[test]
    fn a_place_in_a_record_is_told_from_everything_else() {
        for path in [
            "Patient",
            "Patient.name[0].family",
            "Observation.code.coding[12].system",
            "Observation.value.ofType(Quantity).value",
            "Observation.component[0].value.ofType(CodeableConcept).coding[0]",
            "Observation.component[0].referenceRange[0].low.value",
            "Questionnaire.item[0].item[1].linkId",
        ] {
            assert!(r4().is_path(path), "{path}");
        }
        for other in [
            "",
            "Nobody.name",
            "HumanName.family",
            "Patient.name[0].nothing",
            "Patient.name[x]",
            "Patient.name[]",
            "Patient.name[0",
            "Patient.name.where(family='Canary')",
            "Bundle.entry[0].resource/*Patient/1*/.name",
            "Observation.value.ofType(Canary)",
            "Patient.name Canary",
        ] {
            assert!(!r4().is_path(other), "{other}");
        }
    }

    #[test]
    fn choices_carry_their_type_in_the_json_name() {
        let value = r4().elements("Observation").iter().find(|e| e.name == "value").unwrap();
        let names: Vec<String> = value.json_names().map(|n| n.0).collect();
        assert!(
            value.choice
                && names.contains(&"valueQuantity".into())
                && names.contains(&"valueDateTime".into())
        );
        let status = r4().elements("Observation").iter().find(|e| e.name == "status").unwrap();
        assert!(status.required_binding && status.modifier && status.min == 1 && !status.list);
    }
}
