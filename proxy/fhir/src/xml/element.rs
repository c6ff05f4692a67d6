//! One resource, data type or value as XML elements, in the order of the definitions.

use std::borrow::Cow;

use super::XmlError;
use super::layout::{Form, Layout, Slot};
use super::tree::Node;
use super::{text, xhtml};
use crate::definitions::r4;

/// FHIR's namespace; it stands on the outermost element and holds for all within it but XHTML.
const NAMESPACE: &str = "http://hl7.org/fhir";

/// A member to be written: its value, its `_` sibling, or both.
struct Member<'n, 'a> {
    slot: &'static Slot,
    value: Option<&'n Node<'a>>,
    sibling: Option<&'n Node<'a>>,
}

/// Writes a resource. `outermost` is for the one that carries the namespace.
pub(super) fn resource(node: &Node<'_>, outermost: bool, out: &mut Vec<u8>) -> Result<(), XmlError> {
    let layout = type_of(node)?;
    let members = node.members().unwrap_or_default();
    open_resource(layout, outermost, out);
    children(layout, members, true, None, out)?;
    close(layout.path, out);
    Ok(())
}

/// The layout of a resource's type.
pub(super) fn type_of(node: &Node<'_>) -> Result<&'static Layout, XmlError> {
    let named = node.members().unwrap_or_default().iter().find(|(name, _)| name == "resourceType");
    match named {
        Some((_, Node::Text(name))) if r4().is_resource(name) => {
            Layout::of(name).ok_or(XmlError::NoResource("resourceType"))
        }
        _ => Err(XmlError::NoResource("resourceType")),
    }
}

pub(super) fn open_resource(layout: &Layout, outermost: bool, out: &mut Vec<u8>) {
    if outermost {
        out.extend_from_slice(format!("<{} xmlns=\"{NAMESPACE}\">", layout.path).as_bytes());
    } else {
        open(layout.path, out);
        out.push(b'>');
    }
}

/// Writes the members that become elements, in order. Where `after` is given, all of them must stand behind that one
/// in the order of the definitions.
pub(super) fn children(
    layout: &'static Layout,
    members: &[(Cow<'_, str>, Node<'_>)],
    is_resource: bool,
    after: Option<&Slot>,
    out: &mut Vec<u8>,
) -> Result<(), XmlError> {
    let mut sorted = sort(layout, members, is_resource)?;
    if let Some(early) = sorted.iter().find(|m| after.is_some_and(|slot| m.slot.rank <= slot.rank)) {
        return Err(XmlError::Late(early.slot.name));
    }
    sorted.retain(|m| m.slot.form != Form::Attribute);
    for member in sorted {
        if member.slot.list {
            list(layout, &member, out)?;
        } else {
            one(layout, member.slot, member.value, member.sibling, out)?;
        }
    }
    Ok(())
}

/// Finds the place of every member; a member without one is a fault.
fn sort<'n, 'a>(
    layout: &'static Layout,
    members: &'n [(Cow<'a, str>, Node<'a>)],
    is_resource: bool,
) -> Result<Vec<Member<'n, 'a>>, XmlError> {
    let mut found: Vec<Member<'n, 'a>> = Vec::with_capacity(members.len());
    for (name, node) in members {
        // Comments of an older JSON form; XML comments say nothing in FHIR.
        if name == "fhir_comments" || is_resource && name == "resourceType" {
            continue;
        }
        let (plain, is_sibling) = match name.strip_prefix('_') {
            Some(plain) => (plain, true),
            None => (&**name, false),
        };
        let slot = layout.slot(plain).filter(|slot| !is_sibling || slot.form == Form::Primitive);
        let Some(slot) = slot else {
            return Err(XmlError::Unknown { within: layout.path, name: name.chars().take(64).collect() });
        };
        let place = match found.iter().position(|m| m.slot.rank == slot.rank) {
            Some(place) if found[place].slot.name != slot.name => {
                return Err(shape(layout, slot, "a second type of one choice"));
            }
            Some(place) => place,
            None => {
                found.push(Member { slot, value: None, sibling: None });
                found.len() - 1
            }
        };
        *if is_sibling { &mut found[place].sibling } else { &mut found[place].value } = Some(node);
    }
    found.sort_by_key(|m| m.slot.rank);
    Ok(found)
}

fn shape(layout: &Layout, slot: &Slot, what: &'static str) -> XmlError {
    XmlError::Shape { within: layout.path, name: slot.name, what }
}

/// A repeating element: values and siblings stand side by side, `null` where one of them has nothing. A list of nothing,
/// which R4 forbids, is nothing.
fn list(layout: &'static Layout, member: &Member<'_, '_>, out: &mut Vec<u8>) -> Result<(), XmlError> {
    let slot = member.slot;
    let items = |node: Option<&Node<'_>>| match node {
        None => Ok(0),
        Some(Node::Array(items)) => Ok(items.len()),
        Some(_) => Err(shape(layout, slot, "no list")),
    };
    let count = items(member.value)?.max(items(member.sibling)?);
    fn item<'n, 'a>(node: Option<&'n Node<'a>>, n: usize) -> Option<&'n Node<'a>> {
        match node? {
            Node::Array(items) => items.get(n).filter(|item| !matches!(item, Node::Null)),
            _ => None,
        }
    }
    for n in 0..count {
        one(layout, slot, item(member.value, n), item(member.sibling, n), out)?;
    }
    Ok(())
}

/// One element.
fn one(
    layout: &'static Layout,
    slot: &'static Slot,
    value: Option<&Node<'_>>,
    sibling: Option<&Node<'_>>,
    out: &mut Vec<u8>,
) -> Result<(), XmlError> {
    match (slot.form, value) {
        (Form::Attribute, _) => Err(shape(layout, slot, "an attribute")),
        (Form::Primitive, value) => primitive(layout, slot, value, sibling, out),
        (Form::Xhtml, Some(Node::Text(text))) => xhtml::write(text, out).map_err(XmlError::Narrative),
        (Form::Xhtml, _) => Err(shape(layout, slot, "no string")),
        (Form::Complex(path), Some(Node::Object(members))) => {
            let inner = Layout::of(path).ok_or(XmlError::NoResource(path))?;
            complex(inner, slot.name, members, None, out)
        }
        (Form::Resource, Some(node @ Node::Object(_))) => {
            open(slot.name, out);
            out.push(b'>');
            resource(node, false, out)?;
            close(slot.name, out);
            Ok(())
        }
        (Form::Complex(_) | Form::Resource, _) => Err(shape(layout, slot, "no object")),
    }
}

/// An element with attributes and children; of a primitive, `value` is its value. An empty object, which R4 forbids in
/// either form, is an empty element.
pub(super) fn complex(
    layout: &'static Layout,
    name: &'static str,
    members: &[(Cow<'_, str>, Node<'_>)],
    value: Option<&str>,
    out: &mut Vec<u8>,
) -> Result<(), XmlError> {
    open(name, out);
    for (own, node) in members {
        let Some(slot) = layout.slot(own).filter(|slot| slot.form == Form::Attribute) else { continue };
        let Node::Text(text) = node else { return Err(shape(layout, slot, "no string")) };
        text::attribute(slot.name, text, out)
            .ok_or(XmlError::Character { within: layout.path, name: slot.name })?;
    }
    if let Some(value) = value {
        text::attribute("value", value, out).ok_or(XmlError::Character { within: layout.path, name })?;
    }
    let start = out.len();
    out.push(b'>');
    children(layout, members, false, None, out)?;
    if out.len() == start + 1 {
        out.truncate(start);
        out.extend_from_slice(b"/>");
    } else {
        close(name, out);
    }
    Ok(())
}

/// A plain value with its id and extensions.
fn primitive(
    layout: &'static Layout,
    slot: &'static Slot,
    value: Option<&Node<'_>>,
    sibling: Option<&Node<'_>>,
    out: &mut Vec<u8>,
) -> Result<(), XmlError> {
    let value = match value {
        None => None,
        Some(node) => Some(node.plain().ok_or_else(|| shape(layout, slot, "no plain value"))?),
    };
    let members = match sibling {
        None => &[][..],
        Some(node) => node.members().ok_or_else(|| shape(layout, slot, "a sibling that is no object"))?,
    };
    if value.is_none() && members.is_empty() {
        return Err(shape(layout, slot, "empty"));
    }
    let element = Layout::of("Element").ok_or(XmlError::NoResource("Element"))?;
    complex(element, slot.name, members, value, out).map_err(|error| match error {
        XmlError::Character { within: "Element", name } if name == slot.name => {
            XmlError::Character { within: layout.path, name }
        }
        other => other,
    })
}

fn open(name: &str, out: &mut Vec<u8>) {
    out.push(b'<');
    out.extend_from_slice(name.as_bytes());
}

pub(super) fn close(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"</");
    out.extend_from_slice(name.as_bytes());
    out.push(b'>');
}
