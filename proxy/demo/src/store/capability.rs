//! What the store says it can do (`/metadata`).

use serde_json::{Value, json};

use super::parameters::{Kind, Type, types};

/// A CapabilityStatement of this instance.
pub(super) fn statement(base_url: &str, started: &str) -> Value {
    let resources: Vec<Value> = types().values().map(resource).collect();
    json!({
        "resourceType": "CapabilityStatement",
        "id": "larkspur",
        "status": "active",
        "date": started,
        "publisher": "Larkspur General Hospital",
        "kind": "instance",
        "software": {"name": "Larkspur demonstration store", "version": env!("CARGO_PKG_VERSION")},
        "implementation": {"description": "records of people who do not exist", "url": base_url},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [{
            "mode": "server",
            "resource": resources,
        }],
    })
}

fn resource(kind: &Type) -> Value {
    let interactions: Vec<Value> = ["read", "vread", "history-instance", "create", "update", "search-type"]
        .iter()
        .map(|code| json!({"code": code}))
        .collect();
    let includes: Vec<String> = references(kind).map(|code| format!("{}:{code}", kind.name)).collect();
    let reverse: Vec<String> = types()
        .values()
        .flat_map(|other| {
            other
                .parameters
                .iter()
                .filter(|p| p.kind == Kind::Reference && p.targets.contains(&kind.name))
                .map(move |p| format!("{}:{}", other.name, p.code))
        })
        .collect();
    let parameters: Vec<Value> = kind
        .parameters
        .iter()
        .map(|p| {
            let word = match p.kind {
                Kind::Date => "date",
                Kind::Quantity => "quantity",
                Kind::Reference => "reference",
                Kind::Text => "string",
                Kind::Token | Kind::Deceased => "token",
                Kind::Uri => "uri",
            };
            json!({"name": p.code, "type": word})
        })
        .collect();
    let mut value = json!({
        "type": kind.name,
        "interaction": interactions,
        "versioning": "versioned-update",
        "readHistory": true,
        "updateCreate": true,
        "conditionalCreate": true,
        "conditionalRead": "full-support",
        "conditionalUpdate": false,
        "conditionalDelete": "not-supported",
    });
    if !includes.is_empty() {
        value["searchInclude"] = json!(includes);
    }
    if !reverse.is_empty() {
        value["searchRevInclude"] = json!(reverse);
    }
    value["searchParam"] = json!(parameters);
    value
}

fn references(kind: &Type) -> impl Iterator<Item = &'static str> {
    kind.parameters.iter().filter(|p| p.kind == Kind::Reference).map(|p| p.code)
}
