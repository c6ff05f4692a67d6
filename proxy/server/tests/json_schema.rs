//! The JSON Schemas that editors use are true: they take what ships, refuse what is misspelt, and know the keys that the
//! readers know, no more and no fewer.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod schema_reader;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use drape_policy::guarantees::Guarantees;
use drape_server::config::Config;
use drape_server::config::facts::FactRules;
use drape_server::schemas::SCHEMAS;
use drape_server::workbench::personas::Personas;
use drape_server::workbench::testing;
use drape_view::{Catalogue, Category, Fault, Labels, Overrides, Treatments};
use schema_reader::Schema;
use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn schema(name: &str) -> Value {
    let schema = SCHEMAS.iter().find(|s| s.name == name).unwrap_or_else(|| panic!("{name}"));
    serde_json::from_str(schema.text).unwrap()
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// Every YAML file of that name that ships, wherever it stands.
fn shipped(folder: &str, fits: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![root().join(folder)];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if fits(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The schema for a file, by its name and folder.
fn of_file(path: &Path) -> &'static str {
    let name = path.file_stem().unwrap().to_str().unwrap();
    let folder = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
    match (folder, name) {
        ("config", _) => "configuration",
        ("tests", _) => "tests",
        _ => SCHEMAS
            .iter()
            .map(|s| s.name)
            .find(|n| *n == name)
            .unwrap_or_else(|| panic!("{}", path.display())),
    }
}

/// An example of each that uses every key there is.
fn whole(name: &str) -> Value {
    let read = |path: &str| yaml(&std::fs::read_to_string(root().join(path)).unwrap());
    match name {
        "configuration" => {
            let mut config = read("config/hapi.yaml");
            let tenant = &mut config["tenants"][0];
            tenant["upstream"]["base_url"] = "https://ehr.example.org/fhir".into();
            tenant["upstream"]["tls"] = json!({ "ca_file": "ca.crt", "client_certificate_file": "c.crt", "client_key_file": "c.key" });
            tenant["audit"] = json!({ "directory": "own", "origin": "own", "signing_key_file": "own.key" });
            tenant["capture"] =
                json!({ "file": "c.drapecap", "sample_per_million": 1, "bytes_max": 1_048_576 });
            tenant["policies"]["shadow"] = json!({ "set": "hospital" });
            let issuer = &mut tenant["issuers"][0];
            issuer["authorize_audience"] = "https://ehr.example.org/fhir".into();
            issuer["tokens"] = "both".into();
            issuer["introspection"] = json!({
                "url": "https://login.example.org/i",
                "auth": { "client_id": "d", "key_file": "k", "key_id": "k1", "algorithm": "ES384" },
                "cache_ms": 1,
                "token_prefix": "a",
                "may_see_foreign_tokens": false,
            });
            issuer["purpose_header"]["clients"] = json!(["a"]);
            issuer["break_glass"]["clients"] = json!(["a"]);
            let with = |name: &str, value: &str| {
                json!({ "match": { name: value, "ca_fingerprint": "00".repeat(32) }, "caller": {
                "sub": "lab", "name": "Lab", "client": "c", "organization": "o", "departments": ["d"],
                "purposes": { "TREAT": ["clinician"] }, "scopes": ["system/*.rs"], "purpose_header": { "allowed": ["TREAT"] },
            } })
            };
            tenant["certificates"] = json!([
                with("san_dns", "a.example"),
                with("san_uri", "urn:a"),
                with("subject_cn", "a"),
                with("spiffe", "spiffe://a/b"),
            ]);
            config["listen"]["tls"]["client_ca_file"] = "ca.crt".into();
            config["listen"]["tls"]["client_certificates"] = "optional".into();
            let tenant = &mut config["tenants"][0];
            let auth = |kind: &str, rest: Value| {
                let mut auth = rest;
                auth["kind"] = kind.into();
                auth
            };
            tenant["upstream"]["identities"] = json!({
                "e": auth("client-credentials", json!({
                    "token_url": "https://a.example/t",
                    "client_id": "c",
                    "assertion": { "key_file": "k", "algorithm": "RS384", "kid": "k", "audience": "a", "jku": "https://a.example/k" },
                })),
                "a": auth("none", json!({})),
                "b": auth("basic", json!({ "username": "u", "password_file": "f" })),
                "c": auth("header", json!({ "value_file": "f" })),
                "d": auth("client-credentials", json!({ "token_url": "https://a.example/t", "client_id": "c", "client_secret_file": "f", "scope": "s" })),
            });
            config
        }
        "categories" | "treatments" | "labels" => read(&format!("policies/{name}.yaml")),
        "facts" => {
            let look = json!({ "identity": "f", "max_age_s": 1, "deadline_ms": 1, "concurrency_max": 1, "response_bytes_max": 1, "pages_max": 1, "on_failure": "refuse" });
            let with = |more: Value| {
                let mut all = look.clone();
                all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                all
            };
            json!({
                "version": 1,
                "relations": {
                    "claim": true,
                    "care_team": with(json!({ "is": "a" })),
                    "encounter": with(json!({ "is": "a", "status": ["arrived"], "ended_within_h": 1 })),
                    "general_practitioner": with(json!({ "is": "a" })),
                },
                "ages": { "claim": true, "patient": look },
                "references": with(json!({ "mode": "check", "targets_max": 1 })),
            })
        }
        "overrides" => json!({
            "version": 1,
            "patients": { "p1": { "labels": ["VIP"], "releases": ["SUD"], "denies": ["SEX"] } },
            "corrections": [
                { "record": "Observation/o1", "add": ["HIV"], "remove": ["SUD"], "on": "2026-11-20", "by": "A", "why": "b" },
                { "code": "s|c", "add": ["HIV"], "on": "2026-11-20", "by": "A", "why": "b" },
                { "document": "s|c", "add": ["HIV"], "on": "2026-11-20", "by": "A", "why": "b" },
                { "department": "Location/l1", "add": ["HIV"], "on": "2026-11-20", "by": "A", "why": "b" },
            ],
        }),
        "personas" => {
            let mut personas = read("policies/hospital/personas.yaml");
            let claims = personas["personas"]["doctor"]["claims"].as_object_mut().unwrap();
            claims.insert("departments".into(), json!(["cardiology"]));
            claims.insert("title".into(), "attending".into());
            claims.insert("client_id".into(), "chart".into());
            personas
        }
        "guarantees" => {
            let facts = json!({ "roles": ["a"], "purpose": ["TREAT"], "break_glass": false, "on_shift": true, "type": ["Patient"], "labels": ["HIV"], "classified": true, "status": ["final"], "older_than_days": 1, "patient_known": true, "patient_is_caller": false, "patient_labels": ["VIP"], "relations": ["ward"], "releases": ["SUD"], "denies": ["SEX"], "age_under": 12, "age_from": 1 });
            let shown = json!({ "who": ["a"], "only": true, "is": ["shown"], "category": "note", "when": facts, "unless": "context.patient.known" });
            json!({
                "version": 1,
                "purposes": { "TREAT": ["a"] },
                "baseline": { "except": ["a is shown note"] },
                "guarantees": [
                    { "id": "a", "says": "b", "never": shown, "by_purpose": true },
                    { "id": "c", "says": "b", "always": { "who": "a", "receives": ["Patient"] }, "when": facts, "unless": facts },
                    { "id": "d", "says": "b", "never_together": ["anyone may aggregate", { "who": "a", "may": "read", "type": "Patient" }] },
                    { "id": "e", "says": "b", "no_policy_errs": true },
                    { "id": "f", "says": "b", "nowhere_more_permissive_than": { "set": "hospital", "except": ["a is shown note"] } },
                    { "id": "g", "says": "b", "nowhere_more_permissive_than": { "directory": "../ours" } },
                ],
            })
        }
        "tests" => json!({
            "version": 1,
            "at": "2026-11-25T10:00:00Z",
            "records": [{ "resourceType": "Condition", "id": "c1" }],
            "files": [],
            "cases": [{
                "name": "a",
                "at": "2026-11-25T10:00:00Z",
                "as": "doctor",
                "claims": { "sub": "x" },
                "break_glass": true,
                "request": "GET Condition/c1",
                "headers": { "prefer": "return=minimal" },
                "body": "a=b",
                "expect": {
                    "status": 200,
                    "records": { "Condition/c1": { "Condition.code": "show" } },
                    "withheld": ["Condition/c1"],
                    "policies": ["a"],
                    "count": 1,
                    "says": "a",
                    "body": {},
                },
            }],
        }),
        other => panic!("there is no example of {other}"),
    }
}

/// What the reader of that file says.
fn parsed(name: &str, text: &str) -> Result<(), String> {
    let told = |faults: Vec<Fault>| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    match name {
        "configuration" => Config::parse(text, Path::new("")).map(drop).map_err(|e| e.to_string()),
        "categories" => Catalogue::parse(text, drape_fhir::definitions::r4()).map(drop).map_err(told),
        "treatments" => Treatments::parse(text).map(drop).map_err(told),
        "labels" => Labels::parse(text).map(drop).map_err(told),
        "facts" => FactRules::parse(text).map(drop).map_err(told),
        "overrides" => Overrides::parse(text).map(drop).map_err(told),
        "personas" => Personas::parse("personas.yaml", text).map(drop).map_err(told),
        "guarantees" => Guarantees::parse("guarantees.yaml", text).map(drop).map_err(told),
        "tests" => testing::parse("tests/a.yaml", "a.yaml", text, |_| Ok(None)).map(drop).map_err(told),
        other => panic!("nothing reads {other}"),
    }
}

#[test]
fn every_yaml_file_that_ships_is_valid() {
    // Dated data of the census, compiled in: nobody writes it by hand.
    let is_yaml =
        |path: &Path| path.extension().is_some_and(|e| e == "yaml") && !path.ends_with("small-areas.yaml");
    let mut files = shipped("policies", &is_yaml);
    files.extend(shipped("config", &is_yaml));
    assert!(files.len() >= 9, "{files:?}");
    for path in files {
        let name = of_file(&path);
        let document = schema(name);
        let faults = Schema::new(&document).faults(&yaml(&std::fs::read_to_string(&path).unwrap()));
        assert!(faults.is_empty(), "{}: {faults:#?}", path.display());
    }
}

#[test]
fn the_examples_with_every_key_are_valid_and_can_be_read() {
    for schema_ in SCHEMAS {
        let (name, document) = (schema_.name, schema(schema_.name));
        let example = whole(name);
        assert_eq!(Schema::new(&document).faults(&example), Vec::<String>::new(), "{name}");
        parsed(name, &example.to_string()).unwrap_or_else(|e| panic!("{name}: {e}"));
        // Nothing in the schema is left out of the example, so that nothing is left out of the tests below.
        let used: BTreeSet<String> = keys(&example);
        let named = properties(&document);
        let missing: Vec<_> = named.difference(&used).filter(|k| !OPEN.contains(&k.as_str())).collect();
        assert!(missing.is_empty(), "the example of {name} does not use {missing:?}");
    }
}

/// Keys that exclude what the example has, or that stand where any key may.
const OPEN: [&str; 14] = [
    "client_secret_file",
    "plaintext",
    "directory",
    "jwks_url",
    "ca_file",
    "unsearchable_identifier_systems",
    "export_hosts",
    "overrides_file",
    "categories_file",
    "treatments_file",
    "labels_file",
    "facts_file",
    "redaction",
    "scope",
];

fn keys(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(keys).collect(),
        Value::Object(members) => {
            members.iter().flat_map(|(k, v)| keys(v).into_iter().chain([k.clone()])).collect()
        }
        _ => BTreeSet::new(),
    }
}

fn properties(schema: &Value) -> BTreeSet<String> {
    match schema {
        Value::Array(items) => items.iter().flat_map(properties).collect(),
        Value::Object(members) => {
            let own = members.get("properties").and_then(Value::as_object).into_iter().flatten();
            let own: BTreeSet<String> = own.map(|(k, _)| k.clone()).collect();
            members.iter().flat_map(|(_, v)| properties(v)).chain(own).collect()
        }
        _ => BTreeSet::new(),
    }
}

#[test]
fn a_misspelt_key_is_refused_wherever_it_stands() {
    let mut tried = 0;
    for schema_ in SCHEMAS {
        let (name, document) = (schema_.name, schema(schema_.name));
        let example = whole(name);
        for (place, known) in Schema::new(&document).tables(&example) {
            let here = example.pointer(&place).unwrap().as_object().unwrap();
            for key in here.keys().filter(|key| known.contains(*key)) {
                let mut wrong = example.clone();
                let table = wrong.pointer_mut(&place).unwrap().as_object_mut().unwrap();
                let value = table.remove(key).unwrap();
                table.insert(format!("{key}x"), value);
                assert!(!Schema::new(&document).faults(&wrong).is_empty(), "{name} {place}/{key}x is taken");
                tried += 1;
            }
        }
    }
    assert!(tried > 250, "{tried}");
}

#[test]
fn schemas_and_readers_know_the_same_keys() {
    let mut compared = 0;
    for schema_ in SCHEMAS {
        let (name, document) = (schema_.name, schema(schema_.name));
        let example = whole(name);
        for (place, known) in Schema::new(&document).tables(&example) {
            // Tokens may claim more than Drape reads; that the schema is stricter there marks what is misspelt.
            if name == "personas" && place.contains("/claims") {
                continue;
            }
            let with = |value: Value| {
                let mut wrong = example.clone();
                let table = wrong.pointer_mut(&place).unwrap().as_object_mut().unwrap();
                table.insert("zzzzzzzz".into(), value);
                parsed(name, &wrong.to_string()).err()
            };
            // Where values are lists, the key is looked at only if its value is one.
            let said = with(1.into()).filter(|said| !said.contains("expected sequence"));
            let Some(said) = said.or_else(|| with(json!([]))) else {
                panic!("{name}: the reader takes any key at {place}, the schema does not");
            };
            let Some(told) = told_keys(&said) else {
                // What may be one of several forms, or is looked up in a catalogue, is refused without a list of keys.
                let refused = said.contains("did not match any variant") || said.contains("zzzzzzzz");
                assert!(refused, "{name} {place}: {said}");
                continue;
            };
            assert_eq!(known, told, "{name} at {place}");
            compared += 1;
        }
    }
    assert!(compared > 40, "{compared}");
}

/// The keys that a reader says it knows: `known here: a, b`, or serde_json's ``expected one of `a`, `b` ``.
fn told_keys(said: &str) -> Option<BTreeSet<String>> {
    if let Some((_, rest)) = said.split_once("known here: ") {
        return Some(rest.lines().next()?.split(", ").map(|k| k.trim().to_owned()).collect());
    }
    let (_, rest) = said.split_once("unknown field `zzzzzzzz`, expected ")?;
    Some(rest.lines().next()?.split('`').skip(1).step_by(2).map(str::to_owned).collect())
}

#[test]
fn the_lists_for_completion_are_those_of_the_catalogue() {
    let names = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
    };
    let categories: Vec<String> = Category::ALL.into_iter().map(|c| c.name().to_owned()).collect();
    let document = schema("categories");
    assert_eq!(names(&document["$defs"]["category"]["enum"]), categories);
    let types: Vec<String> = drape_fhir::definitions::r4().resource_types().map(str::to_owned).collect();
    assert_eq!(names(&document["$defs"]["type"]["enum"]), types);
    let treatments = schema("treatments");
    assert_eq!(names(&treatments["properties"]["treatments"]["required"]), categories);
}

fn drape(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_drape")).current_dir(folder).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn schemas_are_listed_printed_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, _) = drape(folder.path(), &["schema"]);
    assert_eq!(code, Some(0));
    assert!(SCHEMAS.iter().all(|s| out.lines().any(|l| l.starts_with(s.name))), "{out}");
    for name in ["treatments", "treatments.yaml"] {
        let (_, out, _) = drape(folder.path(), &["schema", name]);
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), schema("treatments"));
    }
    let (code, out, _) = drape(folder.path(), &["schema", "--write", "schemas"]);
    assert_eq!((code, out.lines().count()), (Some(0), SCHEMAS.len()));
    for schema in SCHEMAS {
        let path = folder.path().join("schemas").join(schema.file_name());
        assert_eq!(std::fs::read_to_string(path).unwrap(), schema.text);
        assert!(
            serde_json::from_str::<Value>(schema.text).unwrap()["$id"]
                .as_str()
                .unwrap()
                .ends_with(&schema.file_name())
        );
    }
    let (code, _, err) = drape(folder.path(), &["schema", "treatment"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("there is no schema `treatment`\n  help: did you mean `treatments`?"), "{err}");
    let (code, _, err) = drape(folder.path(), &["schema", "--write", "schemas/facts.schema.json"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("cannot write into"), "{err}");
}
