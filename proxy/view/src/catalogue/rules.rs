//! `categories.yaml`, read and held against the definitions: a rule that names nothing is a fault.

use std::collections::{BTreeMap, HashMap};

use drape_fhir::definitions::{Definitions, Element, TypeKind};
use serde::Deserialize;

use super::Why;
use crate::category::Category;
use crate::fault::{Fault, near};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    types: BTreeMap<String, String>,
    parts: BTreeMap<String, String>,
    names: BTreeMap<String, String>,
    elements: BTreeMap<String, String>,
    whole: BTreeMap<String, Vec<String>>,
    resources: BTreeMap<String, Vec<String>>,
    extensions: BTreeMap<String, String>,
}

/// The rules, by what they are looked up by.
#[derive(Debug)]
pub(super) struct Rules {
    types: HashMap<String, Category>,
    parts: HashMap<String, Category>,
    names: HashMap<String, Category>,
    elements: HashMap<String, Category>,
    pub(super) whole: HashMap<String, Category>,
    resources: HashMap<String, Category>,
    pub(super) extensions: HashMap<String, Category>,
}

impl Rules {
    pub(super) fn parse(yaml: &str, definitions: &Definitions) -> Result<Self, Vec<Fault>> {
        let file: File = crate::yaml::read("categories.yaml", yaml)?;
        let mut faults = Vec::new();
        if file.version != 1 {
            faults.push(
                Fault::new("categories.yaml version", format!("`{}` is not known", file.version))
                    .help("write 1"),
            );
        }
        let mut read = |section: &str, rules: BTreeMap<String, String>, known: &dyn Fn(&str) -> bool| {
            let mut found = HashMap::new();
            for (key, name) in rules {
                let path = format!("categories.yaml {section}.{key}");
                if !known(&key) {
                    faults.push(
                        Fault::new(&path, "names nothing in FHIR R4")
                            .help("check the spelling; names are case-sensitive"),
                    );
                }
                match Category::parse(&name) {
                    Some(category) => drop(found.insert(key, category)),
                    None => faults.push(
                        Fault::new(&path, format!("`{name}` is no category")).help(Category::meant(&name)),
                    ),
                }
            }
            found
        };
        let element = |path: &str| {
            let (path, chosen) = path.split_once(':').map_or((path, None), |(p, t)| (p, Some(t)));
            path.rsplit_once('.').is_some_and(|(parent, name)| {
                let mut elements = definitions.elements(parent).iter();
                elements.any(|e| e.name == name && chosen.is_none_or(|t| e.types().any(|x| x == t)))
            })
        };
        let named = |name: &str| {
            let mut types = definitions.type_names();
            types.any(|t| has_name(definitions, t, name, 0))
        };
        let types = read("types", file.types, &|t| definitions.kind(t).is_some());
        let parts = read("parts", file.parts, &|p| element(p));
        let names = read("names", file.names, &named);
        let elements = read("elements", file.elements, &|p| element(p));
        let extensions = read("extensions", file.extensions, &|url| url.contains(':'));
        let mut lists = |section: &str, rules: BTreeMap<String, Vec<String>>| {
            let mut found = HashMap::new();
            for (name, members) in rules {
                let path = format!("categories.yaml {section}.{name}");
                let Some(category) = Category::parse(&name) else {
                    faults.push(Fault::new(path, "is no category").help(Category::meant(&name)));
                    continue;
                };
                for member in members {
                    if !definitions.is_resource(&member) {
                        let fault = Fault::new(&path, format!("`{member}` is no resource type"));
                        faults.push(match near(&member, definitions.resource_types()) {
                            Some(near) => fault.help(format!("did you mean `{near}`?")),
                            None => fault,
                        });
                    }
                    if found.insert(member.clone(), category).is_some() {
                        faults.push(Fault::new(&path, format!("`{member}` stands in two lists")));
                    }
                }
            }
            found
        };
        let whole = lists("whole", file.whole);
        let resources = lists("resources", file.resources);
        for name in definitions.resource_types() {
            if whole.contains_key(name) == resources.contains_key(name) {
                let help = "name each resource type in exactly one of the two";
                let what = format!("`{name}` must stand under `whole` or under `resources`");
                faults.push(Fault::new("categories.yaml", what).help(help));
            }
        }
        if faults.is_empty() {
            Ok(Self { types, parts, names, elements, whole, resources, extensions })
        } else {
            Err(faults)
        }
    }

    /// The category of an element of a resource, and the rule that gives it.
    pub(super) fn element(
        &self,
        element: &Element,
        data_type: &str,
        resource: &str,
    ) -> Option<(Category, Why)> {
        let path = element.path.trim_end_matches("[x]");
        let top = path.matches('.').count() == 1;
        let found = |rules: &HashMap<String, Category>, key: &str, why: Why| Some((*rules.get(key)?, why));
        // Every resource has these, whatever it is.
        let common = || match element.name {
            "meta" | "text" if top && matches!(data_type, "Meta" | "Narrative") => {
                found(&self.types, data_type, Why::Common)
            }
            "implicitRules" | "language" if top => Some((Category::Structure, Why::Common)),
            _ => None,
        };
        let fixed = element.required_binding && data_type == "code" || data_type == "boolean";
        found(&self.elements, &format!("{path}:{data_type}"), Why::ElementOfType)
            .or_else(|| found(&self.elements, path, Why::Element))
            .or_else(common)
            .or_else(|| found(&self.whole, resource, Why::Whole))
            .or_else(|| found(&self.names, element.name, Why::Name))
            .or_else(|| fixed.then_some((Category::Structure, Why::Code)))
            .or_else(|| found(&self.types, data_type, Why::Type))
            .or_else(|| found(&self.resources, resource, Why::Resource))
    }

    /// The category of a member of a data type, where it has one of its own.
    pub(super) fn part(&self, element: &Element, data_type: &str) -> Option<(Category, Why)> {
        let path = element.path.trim_end_matches("[x]");
        let of_type = self.parts.get(&format!("{path}:{data_type}")).map(|c| (*c, Why::PartOfType));
        of_type.or_else(|| self.parts.get(path).map(|c| (*c, Why::Part)))
    }
}

fn has_name(definitions: &Definitions, path: &str, name: &str, depth: usize) -> bool {
    depth < 8
        && definitions.elements(path).iter().any(|e| {
            e.name == name
                || e.types().any(|t| matches!(t, "BackboneElement" | "Element"))
                    && e.content_reference.is_none()
                    && definitions.kind(e.path) != Some(TypeKind::Primitive)
                    && has_name(definitions, e.path, name, depth + 1)
        })
}
