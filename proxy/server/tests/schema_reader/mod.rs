//! As much of JSON Schema 2020-12 as the schemas of `policies/json-schema` use, for tests. A keyword that is not known here
//! is a fault of the schema.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// One schema with the document that it stands in.
#[derive(Clone, Copy)]
pub struct Schema<'a> {
    document: &'a Value,
    here: &'a Value,
}

/// Words that say nothing about what is valid.
const SILENT: [&str; 7] = ["$schema", "$id", "$defs", "title", "description", "default", "format"];

impl<'a> Schema<'a> {
    pub fn new(document: &'a Value) -> Self {
        Self { document, here: document }
    }

    fn at(self, here: &'a Value) -> Self {
        Self { here, ..self }
    }

    /// Follows a reference; what stands beside it is only a description.
    fn followed(self) -> Self {
        match self.here.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                let pointer = reference.strip_prefix('#').expect("schemas refer to themselves alone");
                self.at(self.document.pointer(pointer).unwrap_or_else(|| panic!("{reference}"))).followed()
            }
            None => self,
        }
    }

    fn part(self, key: &str) -> Option<Self> {
        self.here.get(key).map(|here| self.at(here))
    }

    fn parts(self, key: &str) -> Vec<Self> {
        let all = self.here.get(key).and_then(Value::as_array).into_iter().flatten();
        all.map(|here| self.at(here)).collect()
    }

    /// What is wrong, each with its place.
    pub fn faults(self, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        self.check(value, "", &mut found);
        found
    }

    fn holds(self, value: &Value) -> bool {
        self.faults(value).is_empty()
    }

    fn check(self, value: &Value, path: &str, found: &mut Vec<String>) {
        if self.here == &Value::Bool(true) {
            return;
        }
        let schema = self.followed();
        let words = schema.here.as_object().unwrap_or_else(|| panic!("{path}: {} is no schema", schema.here));
        let mut no = |what: String| found.push(format!("{path}: {what}"));
        for (word, says) in words {
            let number = || says.as_f64().unwrap();
            match word.as_str() {
                "$ref"
                | "properties"
                | "additionalProperties"
                | "propertyNames"
                | "items"
                | "oneOf"
                | "anyOf" => {}
                "type" if !is_of(value, says.as_str().unwrap()) => {
                    no(format!("{value} is not of type {says}"))
                }
                "enum" if !says.as_array().unwrap().contains(value) => {
                    no(format!("{value} is not among {says}"))
                }
                "const" if says != value => no(format!("{value} is not {says}")),
                "minimum" if value.as_f64().is_some_and(|n| n < number()) => {
                    no(format!("{value} is too small"))
                }
                "maximum" if value.as_f64().is_some_and(|n| n > number()) => {
                    no(format!("{value} is too large"))
                }
                "minItems" if value.as_array().is_some_and(|a| (a.len() as f64) < number()) => {
                    no("has too few".into())
                }
                "maxItems" if value.as_array().is_some_and(|a| a.len() as f64 > number()) => {
                    no("has too many".into())
                }
                "minProperties" if value.as_object().is_some_and(|a| (a.len() as f64) < number()) => {
                    no("is empty".into())
                }
                "required" => {
                    let keys = says.as_array().unwrap().iter().filter_map(Value::as_str);
                    let missing = keys.filter(|key| value.is_object() && value.get(key).is_none());
                    missing.for_each(|key| no(format!("{key} is missing")));
                }
                "type" | "enum" | "const" | "minimum" | "maximum" | "minItems" | "maxItems"
                | "minProperties" => {}
                "dependentRequired" => {
                    let has = |key: &str| value.get(key).is_some();
                    for (key, others) in says.as_object().unwrap() {
                        let others = others.as_array().unwrap().iter().filter_map(Value::as_str);
                        others
                            .filter(|other| has(key) && !has(other))
                            .for_each(|o| no(format!("{o} is missing")));
                    }
                }
                word if SILENT.contains(&word) => {}
                word => panic!("{path}: the keyword {word} is not known here"),
            }
        }
        if let Some(of) = schema.here.get("oneOf").map(|_| schema.parts("oneOf")) {
            let fits = of.iter().filter(|s| s.holds(value)).count();
            if fits != 1 {
                no(format!("{value} fits {fits} of the alternatives"));
            }
        }
        if schema.here.get("anyOf").is_some() && !schema.parts("anyOf").iter().any(|s| s.holds(value)) {
            no(format!("{value} fits none of the alternatives"));
        }
        match value {
            Value::Array(items) => {
                for (place, item) in items.iter().enumerate() {
                    if let Some(items) = schema.part("items") {
                        items.check(item, &format!("{path}/{place}"), found);
                    }
                }
            }
            Value::Object(members) => schema.members(members, path, found),
            _ => {}
        }
    }

    fn members(self, members: &Map<String, Value>, path: &str, found: &mut Vec<String>) {
        for (key, value) in members {
            let path = format!("{path}/{key}");
            if let Some(names) = self.part("propertyNames") {
                names.check(&Value::String(key.clone()), &path, found);
            }
            let own = self.here.get("properties").and_then(|p| p.get(key));
            match own.or_else(|| self.here.get("additionalProperties")) {
                Some(Value::Bool(false)) => found.push(format!("{path}: is not a known key")),
                Some(schema) => self.at(schema).check(value, &path, found),
                None => {}
            }
        }
    }

    /// Every object of `value` whose keys the schema fixes: its JSON pointer, and those keys.
    pub fn tables(self, value: &Value) -> Vec<(String, BTreeSet<String>)> {
        let mut found = Vec::new();
        self.walk(value, "", &mut found);
        found
    }

    fn walk(self, value: &Value, path: &str, found: &mut Vec<(String, BTreeSet<String>)>) {
        let schema = self.followed();
        for alternative in schema.parts("oneOf").into_iter().chain(schema.parts("anyOf")) {
            // Those that only name what is required have no keys of their own.
            if alternative.holds(value)
                && alternative
                    .followed()
                    .here
                    .get("required")
                    .is_none_or(|_| alternative.here.get("type").is_some())
            {
                alternative.walk(value, path, found);
            }
        }
        match value {
            Value::Array(items) => {
                for (place, item) in items.iter().enumerate() {
                    if let Some(of) = schema.part("items") {
                        of.walk(item, &format!("{path}/{place}"), found);
                    }
                }
            }
            Value::Object(members) => {
                let own = schema.here.get("properties").and_then(Value::as_object);
                if let Some(own) = own.filter(|_| schema.here["additionalProperties"] == false) {
                    found.push((path.to_owned(), own.keys().cloned().collect()));
                }
                for (key, value) in members {
                    let of = own.and_then(|p| p.get(key)).or_else(|| schema.here.get("additionalProperties"));
                    if let Some(of) = of.filter(|of| of.is_object()) {
                        let key = key.replace('~', "~0").replace('/', "~1");
                        schema.at(of).walk(value, &format!("{path}/{key}"), found);
                    }
                }
            }
            _ => {}
        }
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("the type {other} is not known here"),
    }
}
