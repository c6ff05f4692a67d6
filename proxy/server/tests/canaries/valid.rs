//! A judge of structure, made from the definitions alone: what must stand there does, nothing is empty, nothing is null
//! but where a sibling stands for it.

use drape_fhir::definitions::{Element, r4};
use serde_json::Value;

use super::named;

/// What is wrong with a record, by path; empty for one that holds.
pub(crate) fn faults(record: &Value) -> Vec<String> {
    let mut judge = Judge::default();
    judge.resource(record);
    judge.faults
}

#[derive(Default)]
struct Judge<'a> {
    at: Vec<&'a str>,
    faults: Vec<String>,
}

impl<'a> Judge<'a> {
    fn say(&mut self, what: &str) {
        self.faults.push(format!("{}{what}", self.at.join(".")));
    }

    fn resource(&mut self, record: &'a Value) {
        match record["resourceType"].as_str().and_then(|t| r4().resource_type(t)) {
            Some(name) => {
                self.at.push(name);
                self.object(record, name);
                self.at.pop();
            }
            None => self.say(": a resource without type"),
        }
    }

    fn object(&mut self, value: &'a Value, path: &'static str) {
        let Some(map) = value.as_object() else { return self.say(" is no object") };
        if map.is_empty() {
            self.say(" is empty");
        }
        let known = named(path);
        // How many types of each element stand there: by itself, beside its sibling, or only the sibling.
        let mut there = vec![0; known.list.len()];
        for (name, value) in map {
            let Some((place, data_type)) = known.by_name.get(name).copied() else { continue };
            let own = name.strip_prefix('_');
            there[place] += usize::from(own.is_none_or(|own| !map.contains_key(own)));
            if own.is_none() {
                self.at.push(name);
                let sibling = || map.get(&format!("_{name}"));
                self.member(value, known.list[place].element, data_type, &sibling);
                self.at.pop();
            }
        }
        for (named, there) in known.list.iter().zip(there) {
            if there == 0 && named.element.min > 0 {
                self.say(&format!(".{} is missing", named.element.name));
            }
            if there > 1 {
                self.say(&format!(".{} stands there as two types", named.element.name));
            }
        }
    }

    fn member(
        &mut self,
        value: &'a Value,
        element: &'static Element,
        data_type: &'static str,
        sibling: &dyn Fn() -> Option<&'a Value>,
    ) {
        let items = match value {
            Value::Array(items) if element.list => items.as_slice(),
            one if !element.list => std::slice::from_ref(one),
            _ => return self.say(" is no list where it should be one"),
        };
        if items.is_empty() {
            self.say(" is an empty list");
        }
        let children = r4().children_of(element, data_type);
        for (n, item) in items.iter().enumerate() {
            match item {
                Value::Null if sibling().is_some_and(|s| s[n].is_object()) => {}
                Value::Null => self.say(" is null"),
                Value::Object(_) if data_type == "Resource" => self.resource(item),
                Value::Object(_) => self.object(item, children),
                Value::String(text) if text.is_empty() => self.say(" is an empty text"),
                _ => {}
            }
        }
    }
}
