//! Bundles written around resources whose bytes stay as they are, and the shortened forms of `_summary` and `_elements`.

use serde_json::{Map, Value, json};

use super::parameters::Type;
use crate::exact;

/// One entry, ready but for its resource.
pub(super) struct Entry {
    pub(super) full_url: String,
    pub(super) resource: Vec<u8>,
    /// `("search", {"mode": "match"})` or what a history says of a version.
    pub(super) beside: Vec<(&'static str, Value)>,
}

/// A Bundle: `head` holds what stands before the entries.
pub(super) fn write(head: &Value, entries: &[Entry]) -> Vec<u8> {
    let mut out = exact::write(head);
    if entries.is_empty() {
        return out;
    }
    out.pop();
    out.extend_from_slice(b",\"entry\":[");
    for (i, entry) in entries.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"fullUrl\":");
        out.extend(exact::write(&json!(entry.full_url)));
        out.extend_from_slice(b",\"resource\":");
        out.extend_from_slice(&entry.resource);
        for (name, value) in &entry.beside {
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            out.extend(exact::write(value));
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    out
}

/// Which elements are sent (FHIR R4 3.1.1.5.8, 3.1.1.5.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Whole,
    /// `_summary=true`.
    Summary,
    /// `_summary=text`.
    Text,
    /// `_summary=data`.
    Data,
    /// `_elements`.
    Elements(Vec<String>),
}

/// The resource in that shape, marked as incomplete unless it is whole.
pub(super) fn shape(kind: &Type, bytes: &[u8], shape: &Shape) -> Vec<u8> {
    if *shape == Shape::Whole {
        return bytes.to_vec();
    }
    let Ok(Value::Object(whole)) = exact::parse(bytes) else { return bytes.to_vec() };
    let always = |name: &str| {
        ["resourceType", "id", "meta"].contains(&name) || kind.mandatory.iter().any(|m| m == name)
    };
    let keep = |key: &str| {
        let name = key.strip_prefix('_').unwrap_or(key);
        always(name)
            || match shape {
                Shape::Whole => true,
                Shape::Summary => kind.summary.iter().any(|s| s == name),
                Shape::Text => name == "text",
                Shape::Data => name != "text",
                Shape::Elements(names) => {
                    let wanted = |n: &String| {
                        // `value` asks for `valueQuantity` too.
                        name == n
                            || name
                                .strip_prefix(n.as_str())
                                .is_some_and(|r| r.starts_with(|c: char| c.is_ascii_uppercase()))
                    };
                    names.iter().any(wanted)
                }
            }
    };
    let mut part: Map<String, Value> = whole.into_iter().filter(|(key, _)| keep(key)).collect();
    let subsetted = json!({
        "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
        "code": "SUBSETTED",
        "display": "Resource encoded in summary mode",
    });
    if let Some(Value::Object(meta)) = part.get_mut("meta") {
        match meta.get_mut("tag") {
            Some(Value::Array(tags)) => tags.push(subsetted),
            _ => {
                meta.insert("tag".into(), json!([subsetted]));
            }
        }
    }
    exact::write(&Value::Object(part))
}
