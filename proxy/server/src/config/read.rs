//! Reads a strict YAML document: every fault is found in one pass, each with its path and a help line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use drape_view::fault::{Fault, near};
use serde_json::{Map, Value};

/// The faults found so far.
#[derive(Debug, Default)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl Faults {
    pub(crate) fn add(&mut self, path: &str, what: impl Into<String>, help: impl Into<Option<String>>) {
        let fault = Fault::new(path, what);
        self.0.push(match help.into() {
            Some(help) => fault.help(help),
            None => fault,
        });
    }
}

/// One mapping of the document. Each key is taken once; what is left over at the end is unknown.
#[derive(Debug)]
pub(crate) struct Table {
    path: String,
    members: Map<String, Value>,
    known: Vec<&'static str>,
}

impl Table {
    pub(crate) fn root(members: Map<String, Value>) -> Self {
        Self { path: String::new(), members, known: Vec::new() }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        match self.members.remove(key) {
            Some(Value::Null) | None => None,
            Some(value) => Some(value),
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.members.get(key).is_some_and(|v| !v.is_null())
    }

    fn missing(&self, key: &str, faults: &mut Faults, help: &str) {
        faults.add(&self.at(key), "is required", Some(help.to_owned()));
    }

    pub(crate) fn string(&mut self, key: &'static str, faults: &mut Faults) -> Option<String> {
        match self.take(key)? {
            Value::String(s) if !s.trim().is_empty() => Some(s),
            Value::String(_) => {
                faults.add(&self.at(key), "is empty", None);
                None
            }
            other => {
                let help = "put the value in quotes".to_owned();
                faults.add(&self.at(key), format!("must be a string, not {}", kind(&other)), help);
                None
            }
        }
    }

    pub(crate) fn required(&mut self, key: &'static str, help: &str, faults: &mut Faults) -> String {
        if !self.has(key) {
            self.known.push(key);
            self.members.remove(key);
            self.missing(key, faults, help);
            return String::new();
        }
        self.string(key, faults).unwrap_or_default()
    }

    pub(crate) fn flag(&mut self, key: &'static str, default: bool, faults: &mut Faults) -> bool {
        match self.take(key) {
            None => default,
            Some(Value::Bool(b)) => b,
            Some(other) => {
                let what = format!("must be true or false, not {}", kind(&other));
                faults.add(&self.at(key), what, None);
                default
            }
        }
    }

    pub(crate) fn whole(
        &mut self,
        key: &'static str,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
        faults: &mut Faults,
    ) -> u64 {
        let Some(value) = self.take(key) else { return default };
        match value.as_u64() {
            Some(n) if range.contains(&n) => n,
            Some(n) => {
                let help = format!("choose a number from {} to {}", range.start(), range.end());
                faults.add(&self.at(key), format!("`{n}` is out of range"), help);
                default
            }
            None => {
                faults.add(&self.at(key), format!("must be a whole number, not {}", kind(&value)), None);
                default
            }
        }
    }

    pub(crate) fn millis(
        &mut self,
        key: &'static str,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
        faults: &mut Faults,
    ) -> Duration {
        Duration::from_millis(self.whole(key, default, range, faults))
    }

    pub(crate) fn strings(&mut self, key: &'static str, faults: &mut Faults) -> Option<Vec<String>> {
        let value = self.take(key)?;
        let path = self.at(key);
        let Value::Array(items) = value else {
            let help = "write `[one, two]` or one `- item` a line".to_owned();
            faults.add(&path, format!("must be a list of strings, not {}", kind(&value)), help);
            return None;
        };
        let mut found = Vec::new();
        for (place, item) in items.into_iter().enumerate() {
            match item {
                Value::String(s) if !s.is_empty() => found.push(s),
                other => {
                    let what = format!("must be a string, not {}", kind(&other));
                    faults.add(&format!("{path}[{place}]"), what, None);
                }
            }
        }
        Some(found)
    }

    pub(crate) fn table(&mut self, key: &'static str, faults: &mut Faults) -> Option<Table> {
        let value = self.take(key)?;
        let path = self.at(key);
        match value {
            Value::Object(members) => Some(Table { path, members, known: Vec::new() }),
            other => {
                faults.add(&path, format!("must be a mapping, not {}", kind(&other)), None);
                None
            }
        }
    }

    pub(crate) fn required_table(
        &mut self,
        key: &'static str,
        help: &str,
        faults: &mut Faults,
    ) -> Option<Table> {
        if !self.has(key) {
            self.known.push(key);
            self.members.remove(key);
            self.missing(key, faults, help);
            return None;
        }
        self.table(key, faults)
    }

    pub(crate) fn tables(&mut self, key: &'static str, faults: &mut Faults) -> Vec<Table> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let path = self.at(key);
        let Value::Array(items) = value else {
            faults.add(&path, format!("must be a list, not {}", kind(&value)), None);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (place, item) in items.into_iter().enumerate() {
            let path = format!("{path}[{place}]");
            match item {
                Value::Object(members) => tables.push(Table { path, members, known: Vec::new() }),
                other => faults.add(&path, format!("must be a mapping, not {}", kind(&other)), None),
            }
        }
        tables
    }

    /// A mapping from free names to mappings.
    pub(crate) fn named_tables(&mut self, key: &'static str, faults: &mut Faults) -> Vec<(String, Table)> {
        let Some(table) = self.table(key, faults) else { return Vec::new() };
        let mut found = Vec::new();
        for (name, value) in table.members {
            let path = format!("{}.{name}", table.path);
            match value {
                Value::Object(members) => found.push((name, Table { path, members, known: Vec::new() })),
                other => faults.add(&path, format!("must be a mapping, not {}", kind(&other)), None),
            }
        }
        found
    }

    /// A mapping from free names to lists of strings.
    pub(crate) fn lists(
        &mut self,
        key: &'static str,
        faults: &mut Faults,
    ) -> Option<Vec<(String, Vec<String>)>> {
        let table = self.table(key, faults)?;
        let mut found = Vec::new();
        for (name, value) in table.members {
            let path = format!("{}.{name}", table.path);
            let items = match value {
                Value::Array(items) => items,
                other => {
                    faults.add(&path, format!("must be a list of strings, not {}", kind(&other)), None);
                    continue;
                }
            };
            let mut list = Vec::new();
            for item in items {
                match item {
                    Value::String(s) => list.push(s),
                    other => faults.add(&path, format!("must hold strings, not {}", kind(&other)), None),
                }
            }
            found.push((name, list));
        }
        Some(found)
    }

    /// A mapping from free names to strings.
    pub(crate) fn pairs(&mut self, key: &'static str, faults: &mut Faults) -> Vec<(String, String)> {
        let Some(table) = self.table(key, faults) else { return Vec::new() };
        let mut found = Vec::new();
        for (name, value) in table.members {
            match value {
                Value::String(s) if !s.is_empty() => found.push((name, s)),
                other => {
                    let what = format!("must be a string, not {}", kind(&other));
                    faults.add(&format!("{}.{name}", table.path), what, None);
                }
            }
        }
        found
    }

    /// A file or directory, taken from the folder the configuration stands in when it is relative.
    pub(crate) fn file(&mut self, key: &'static str, base: &Path, faults: &mut Faults) -> Option<PathBuf> {
        self.string(key, faults).map(|s| base.join(s))
    }

    /// Reports every key that nobody asked for.
    pub(crate) fn finish(self, faults: &mut Faults) {
        for key in self.members.keys() {
            let help = match near(key, self.known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            faults.add(&self.at(key), "is not a known key", help);
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}
