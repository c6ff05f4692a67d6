//! What the tests of the catalogue share: a doctor from whom some categories are hidden, before an upstream of a few records.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::sync::Arc;

use drape_demo::Persona;
use serde_json::{Value, json};

use crate::common::*;
use crate::scripted::{Heard, Script, Scripted};

/// Stands in everything that must not arrive.
pub(crate) const HUSH: &str = "Umberfield";

/// A house whose doctor is shown everything but some categories, before an upstream with these records.
pub(crate) struct Scene {
    pub(crate) house: House,
    pub(crate) shelf: Scripted,
}

impl Scene {
    /// `instead`: a treatment that is permitted for what is hidden.
    pub(crate) async fn new(hidden: &[&str], instead: Option<&str>, records: Vec<Value>) -> Self {
        let held = Arc::new(records);
        let shelf = Scripted::open(move |heard| answer(&held, heard)).await;
        let list: Vec<String> = hidden.iter().map(|c| format!("Category::\"{c}\"")).collect();
        let list = list.join(", ");
        let role = "principal in Role::\"clinician\"";
        let mut policy = format!(
            "@id(\"ask\") permit({role}, action in Action::\"access\", resource);
             @id(\"by\") permit({role}, action == Action::\"searchBy\", resource);
             @id(\"receive\") permit({role}, action == Action::\"receive\", resource);
             @id(\"show\") permit({role}, action == Action::\"show\", resource) unless {{ [{list}].contains(resource) }};
             @id(\"all\") permit(principal in Role::\"records-officer\", action, resource);"
        );
        if let Some(instead) = instead {
            policy += &format!(
                "@id(\"instead\") permit({role}, action == Action::\"{instead}\", resource) when {{ [{list}].contains(resource) }};"
            );
        }
        let house = House::with(Wishes {
            upstream: Some(shelf.base.clone()),
            policy: Some(&policy),
            ..Wishes::default()
        })
        .await;
        Self { house, shelf }
    }

    /// What the doctor gets of a path: nothing of it holds what is hidden, and the one who sees all gets all of it.
    pub(crate) async fn doctor(&self, path: &str) -> Reply {
        let reply = self.house.get(Persona::Doctor, path).await;
        let all = everything(&reply);
        assert!(!all.contains(HUSH), "{path}: {all}");
        let whole = self.house.get(Persona::RecordsOfficer, path).await;
        assert!(whole.status == 200 && whole.text.contains(HUSH), "{path}: {} {}", whole.status, whole.text);
        reply
    }
}

pub(crate) fn everything(reply: &Reply) -> String {
    let headers: String =
        reply.headers.iter().map(|(n, v)| format!("{n}: {}\n", v.to_str().unwrap())).collect();
    format!("{headers}\n{}", reply.text)
}

/// An upstream of these records; several with one id are its versions, the last of them the one that is read.
pub(crate) fn answer(records: &[Value], heard: &Heard) -> Script {
    let path = heard.target.split('?').next().unwrap_or_default().trim_start_matches('/');
    let host = heard.headers.iter().find(|(n, _)| n == "host").map(|(_, v)| v.as_str()).unwrap_or_default();
    let entry = |r: &&Value| {
        let url = format!(
            "http://{host}/fhir/{}/{}",
            r["resourceType"].as_str().unwrap(),
            r["id"].as_str().unwrap()
        );
        json!({"fullUrl": url, "resource": r, "search": {"mode": "match"}})
    };
    let versions = |kind: &str, id: &str| -> Vec<&Value> {
        records.iter().filter(|r| r["resourceType"] == kind && r["id"] == id).collect()
    };
    match path.split('/').collect::<Vec<_>>().as_slice() {
        [kind] => {
            let entries: Vec<Value> =
                records.iter().filter(|r| r["resourceType"] == *kind).map(|r| entry(&r)).collect();
            let bundle = json!({"resourceType": "Bundle", "type": "searchset", "total": entries.len(), "entry": entries});
            Script::ok(bundle.to_string())
        }
        [kind, id, "_history", number] => {
            let all = versions(kind, id);
            one(all.into_iter().find(|r| r["meta"]["versionId"] == *number))
        }
        [kind, id, ..] => one(versions(kind, id).last().copied()),
        [] => Script::unknown(),
    }
}

/// One version, with the headers that a server sends with it.
fn one(record: Option<&Value>) -> Script {
    let Some(record) = record else { return Script::unknown() };
    let headers = record["meta"]["versionId"].as_str().map(|version| {
        let changed = ("Last-Modified", "Tue, 27 Oct 2026 10:00:00 GMT".to_owned());
        vec![("ETag", format!("W/\"{version}\"")), changed]
    });
    Script::Json(200, headers.unwrap_or_default(), record.to_string().into_bytes())
}
