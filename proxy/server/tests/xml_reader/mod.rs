//! Reads FHIR XML back to JSON by the definitions alone, strictly: it knows nothing of what wrote it.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use drape_fhir::definitions::{Element, TypeKind, r4};
use drape_fhir::json::{Kind, Limits, Tokens};
use roxmltree::{Document, Node};
use serde_json::{Map, Value};

const FHIR: &str = "http://hl7.org/fhir";
const XHTML: &str = "http://www.w3.org/1999/xhtml";

/// The JSON of an XML document, every plain value as a string of its letters.
pub(crate) fn read(xml: &str) -> Value {
    let document = Document::parse(xml).unwrap_or_else(|e| panic!("{e}: {xml}"));
    assert_eq!(document.root().children().count(), 1);
    resource(document.root_element(), xml)
}

/// A JSON text with every number and `true` or `false` as a string of its letters, for comparison with [`read`].
pub(crate) fn letters(json: &[u8]) -> Value {
    let mut tokens = Tokens::new(json, Limits::default());
    let (mut out, mut copied) = (Vec::new(), 0);
    while let Some(token) = tokens.next_token().unwrap() {
        if matches!(token.kind, Kind::Number | Kind::True | Kind::False) {
            out.extend_from_slice(&json[copied..token.start as usize]);
            out.push(b'"');
            out.extend_from_slice(tokens.raw(&token));
            out.push(b'"');
            copied = token.end as usize;
        }
    }
    out.extend_from_slice(&json[copied..]);
    serde_json::from_slice(&out).unwrap()
}

fn resource(node: Node<'_, '_>, xml: &str) -> Value {
    let name = node.tag_name().name();
    assert_eq!(node.tag_name().namespace(), Some(FHIR), "{name}");
    let kind = r4().resource_type(name).unwrap_or_else(|| panic!("`{name}` is no resource type"));
    assert_eq!(node.attributes().count(), 0, "{name}");
    let mut object = Map::new();
    object.insert("resourceType".into(), Value::String(name.to_owned()));
    object.extend(children(node, kind, xml));
    Value::Object(object)
}

fn attributes(node: Node<'_, '_>, allowed: &[&str]) -> Map<String, Value> {
    let mut object = Map::new();
    for attribute in node.attributes() {
        assert!(
            allowed.contains(&attribute.name()) && attribute.namespace().is_none(),
            "{}",
            attribute.name()
        );
        object.insert(attribute.name().to_owned(), Value::String(attribute.value().to_owned()));
    }
    object
}

fn children(node: Node<'_, '_>, path: &'static str, xml: &str) -> Map<String, Value> {
    let mut object = Map::new();
    let mut reached = 0;
    for child in node.children() {
        assert!(child.is_element(), "text or a comment in `{path}`");
        let name = child.tag_name().name();
        let (place, element, kind) = defined(path, name);
        assert!(place >= reached, "`{name}` stands too late in `{path}`");
        reached = place;
        let namespace = if kind == "xhtml" { XHTML } else { FHIR };
        assert_eq!(child.tag_name().namespace(), Some(namespace), "{path}.{name}");
        let primitive = element.content_reference.is_none() && r4().kind(kind) == Some(TypeKind::Primitive);
        let mut sibling = Value::Null;
        let value;
        if kind == "xhtml" {
            value = Value::String(xml[child.range()].to_owned());
        } else if primitive {
            let mut own = attributes(child, &["id", "value"]);
            value = own.remove("value").unwrap_or_default();
            own.extend(children(child, "Element", xml));
            if !own.is_empty() {
                sibling = Value::Object(own);
            }
        } else if matches!(r4().kind(kind), Some(TypeKind::Abstract | TypeKind::Resource)) {
            let inner: Vec<_> = child.children().collect();
            assert_eq!((inner.len(), child.attributes().count()), (1, 0));
            value = resource(inner[0], xml);
        } else {
            let mut own = attributes(child, if kind == "Extension" { &["id", "url"] } else { &["id"] });
            own.extend(children(child, r4().children_of(&element, kind), xml));
            value = Value::Object(own);
        }
        assert!(!value.is_null() || !sibling.is_null(), "`{path}.{name}` is empty");
        put(&mut object, name, &element, value);
        if primitive && kind != "xhtml" {
            put(&mut object, &format!("_{name}"), &element, sibling);
        }
    }
    // Lists of nothing but `null` are none.
    object.retain(|_, v| !v.is_null() && !v.as_array().is_some_and(|items| items.iter().all(Value::is_null)));
    for (name, items) in &mut object {
        if let (true, Value::Array(items)) = (name.starts_with('_'), items) {
            while items.last().is_some_and(Value::is_null) {
                items.pop();
            }
        }
    }
    object
}

fn put(object: &mut Map<String, Value>, name: &str, element: &Element, value: Value) {
    if element.list {
        let items = object.entry(name.to_owned()).or_insert_with(|| Value::Array(Vec::new()));
        items.as_array_mut().unwrap().push(value);
    } else {
        assert!(object.insert(name.to_owned(), value).is_none(), "`{name}` stands twice");
    }
}

fn defined(path: &'static str, name: &str) -> (usize, Element, &'static str) {
    type Found = (usize, Element, &'static str);
    static KNOWN: OnceLock<Mutex<HashMap<(&'static str, String), Found>>> = OnceLock::new();
    let known = KNOWN.get_or_init(Default::default);
    if let Some(found) = known.lock().unwrap().get(&(path, name.to_owned())) {
        return *found;
    }
    let found = search(path, name);
    known.lock().unwrap().insert((path, name.to_owned()), found);
    found
}

fn search(path: &str, name: &str) -> (usize, Element, &'static str) {
    for (place, element) in r4().elements(path).iter().enumerate() {
        if let Some((_, kind)) = element.json_names().find(|(n, _)| n == name) {
            return (place, *element, kind);
        }
    }
    panic!("R4 has no `{name}` in `{path}`")
}
