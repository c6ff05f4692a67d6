//! What each JSON member becomes in XML, and in which order, for every type and nested element of R4.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::definitions::{Element, TypeKind, r4};
use crate::names::Names;

/// How a member is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// An attribute of the element around it: `Element.id`, `Extension.url` (R4's `xmlAttr`).
    Attribute,
    /// An element with `@value`.
    Primitive,
    /// XHTML in its own namespace.
    Xhtml,
    /// An element with the children of this path.
    Complex(&'static str),
    /// An element around an element of the resource's type.
    Resource,
}

/// One member of a type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// Its place among its siblings. The types of a choice share one.
    pub(super) rank: u16,
    /// Its name in JSON and in XML.
    pub(super) name: &'static str,
    pub(super) form: Form,
    /// Whether it is an array in JSON.
    pub(super) list: bool,
}

/// The members of a type or a nested element.
#[derive(Debug)]
pub(super) struct Layout {
    /// The path: `Patient`, `Patient.contact`.
    pub(super) path: &'static str,
    slots: Names<Slot>,
}

impl Layout {
    /// Of a type or nested element that R4 has.
    pub(super) fn of(path: &str) -> Option<&'static Self> {
        static ALL: OnceLock<HashMap<&'static str, Layout>> = OnceLock::new();
        ALL.get_or_init(all).get(path)
    }

    pub(super) fn slot(&self, name: &str) -> Option<&Slot> {
        self.slots.get(name.as_bytes()).map(|(_, slot)| slot)
    }
}

fn all() -> HashMap<&'static str, Layout> {
    let mut found = HashMap::new();
    for name in r4().type_names() {
        add(name, r4().kind(name) == Some(TypeKind::Resource), &mut found);
    }
    found
}

fn add(path: &'static str, resource: bool, found: &mut HashMap<&'static str, Layout>) {
    let elements = r4().elements(path);
    if elements.is_empty() {
        return;
    }
    let slots = (0_u16..).zip(elements).flat_map(|(rank, element)| {
        element.json_names().map(move |(name, data_type)| {
            // R4 has a few thousand of them, made once.
            let name: &'static str = if element.choice { name.leak() } else { element.name };
            let form = form(path, resource, element, data_type);
            (name.into(), Slot { rank, name, form, list: element.list })
        })
    });
    found.insert(path, Layout { path, slots: Names::new(slots) });
    for element in elements {
        add(element.path, false, found);
    }
}

fn form(path: &str, resource: bool, element: &Element, data_type: &'static str) -> Form {
    let attribute = !resource && element.name == "id" || path == "Extension" && element.name == "url";
    match r4().kind(data_type) {
        _ if element.content_reference.is_some() => Form::Complex(r4().children_of(element, data_type)),
        Some(TypeKind::Primitive) if attribute => Form::Attribute,
        Some(TypeKind::Primitive) if data_type == "xhtml" => Form::Xhtml,
        Some(TypeKind::Primitive) => Form::Primitive,
        Some(TypeKind::Abstract | TypeKind::Resource) => Form::Resource,
        Some(TypeKind::Complex) | None => Form::Complex(r4().children_of(element, data_type)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_of_r4_has_a_form_and_every_form_leads_somewhere() {
        let mut seen = 0;
        for name in r4().type_names().filter(|n| r4().kind(n) != Some(TypeKind::Primitive)) {
            let Some(layout) = Layout::of(name) else { panic!("{name}") };
            for (_, slot) in layout.slots.iter() {
                seen += 1;
                if let Form::Complex(path) = slot.form {
                    assert!(Layout::of(path).is_some(), "{name}.{}: {path}", slot.name);
                }
            }
        }
        assert!(seen > 3_000, "{seen}");
    }

    #[test]
    fn only_element_ids_and_extension_urls_are_attributes() {
        let form = |path: &str, name: &str| Layout::of(path).unwrap().slot(name).unwrap().form;
        assert_eq!(form("Patient", "id"), Form::Primitive);
        assert_eq!(form("Patient.contact", "id"), Form::Attribute);
        assert_eq!(form("HumanName", "id"), Form::Attribute);
        assert_eq!(form("Extension", "url"), Form::Attribute);
        assert_eq!(form("ValueSet", "url"), Form::Primitive);
        assert_eq!(form("Attachment", "url"), Form::Primitive);
        assert_eq!(form("Narrative", "div"), Form::Xhtml);
        assert_eq!(form("Bundle.entry", "resource"), Form::Resource);
        assert_eq!(form("Bundle.entry", "link"), Form::Complex("Bundle.link"));
        assert_eq!(form("Observation", "valueQuantity"), Form::Complex("Quantity"));
    }

    #[test]
    fn the_types_of_a_choice_share_one_place() {
        let layout = Layout::of("Patient").unwrap();
        let rank = |name| layout.slot(name).unwrap().rank;
        assert_eq!(rank("deceasedBoolean"), rank("deceasedDateTime"));
        assert!(rank("id") < rank("meta") && rank("birthDate") < rank("deceasedBoolean"));
        assert!(layout.slot("deceased").is_none() && layout.slot("resourceType").is_none());
    }
}
