//! What differs in the files beside the policies: an element that moves to another category is a change of policy.

use std::collections::{BTreeMap, BTreeSet};

use drape_fhir::definitions::r4;
use drape_policy::compare::treatment;
use drape_view::catalogue::{Assigned, NodeId};
use drape_view::{Catalogue, Category};
use serde_json::{Value, json};

use crate::parts::Loaded;

/// The changes of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// `treatments.yaml` and the like.
    pub file: &'static str,
    /// Where, with what stands there in the old and the new file.
    pub changes: Vec<(String, String, String)>,
    /// How many more there are.
    pub more: usize,
}

/// Changes told of one file.
const TOLD_MAX: usize = 60;

impl FileChange {
    fn of(file: &'static str, mut changes: Vec<(String, String, String)>) -> Option<Self> {
        let more = changes.len().saturating_sub(TOLD_MAX);
        changes.truncate(TOLD_MAX);
        (!changes.is_empty()).then_some(Self { file, changes, more })
    }

    /// As people read it.
    pub fn text(&self) -> Vec<String> {
        let mut said = vec![String::new(), self.file.to_owned()];
        said.extend(self.changes.iter().map(|(place, old, new)| format!("  {place}: {old} → {new}")));
        if self.more > 0 {
            said.push(format!("  and {} more", self.more));
        }
        said
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let changes =
            self.changes.iter().map(|(place, old, new)| json!({"at": place, "old": old, "new": new}));
        json!({"file": self.file, "changes": changes.collect::<Vec<_>>(), "more": self.more})
    }
}

/// What differs between the files of two sets.
pub fn changes(old: &Loaded, new: &Loaded) -> Vec<FileChange> {
    let mut rungs = Vec::new();
    if old.redaction != new.redaction {
        rungs.push((
            "redaction".to_owned(),
            old.redaction.name().to_owned(),
            new.redaction.name().to_owned(),
        ));
    }
    for category in Category::ALL {
        let told = |loaded: &Loaded| {
            let list: Vec<String> = loaded.treatments.rungs(category).iter().map(|t| treatment(*t)).collect();
            format!("[{}]", list.join(", "))
        };
        if told(old) != told(new) {
            rungs.push((category.name().to_owned(), told(old), told(new)));
        }
    }
    // The rules of categories.yaml say the same in many ways: what counts is where elements end up.
    let mut moved = elements(&old.catalogue, &new.catalogue);
    moved.extend(yaml(&old.texts.categories.text, &new.texts.categories.text, &["extensions"]));
    [
        FileChange::of("treatments.yaml", rungs),
        FileChange::of("categories.yaml", moved),
        FileChange::of("labels.yaml", yaml(&old.texts.labels.text, &new.texts.labels.text, &[])),
        FileChange::of("facts.yaml", yaml(&old.texts.facts.text, &new.texts.facts.text, &[])),
        FileChange::of("overrides", officer(&old.texts.overrides.text, &new.texts.overrides.text)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Elements whose category differs, each by its path in the first type that has it; what is below it moves with it.
fn elements(old: &Catalogue, new: &Catalogue) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let mut seen: BTreeSet<[String; 2]> = BTreeSet::new();
    for name in r4().resource_types() {
        if let (Some(was), Some(is)) = (old.root(name), new.root(name)) {
            below(old, new, [was, is], name.to_owned(), &mut seen, &mut found);
        }
    }
    found
}

fn below(
    old: &Catalogue,
    new: &Catalogue,
    [was, is]: [NodeId; 2],
    path: String,
    seen: &mut BTreeSet<[String; 2]>,
    found: &mut Vec<(String, String, String)>,
) {
    if !seen.insert([format!("{was:?}"), format!("{is:?}")]) {
        return;
    }
    for (name, edge) in old.members(was) {
        let Some(other) = new.edge(is, name) else { continue };
        let path = format!("{path}.{name}");
        if edge.category == other.category {
            below(old, new, [edge.node, other.node], path, seen, found);
        } else {
            found.push((path, assigned(edge.category), assigned(other.category)));
        }
    }
}

fn assigned(category: Assigned) -> String {
    match category {
        Assigned::Fixed(category) => category.name().to_owned(),
        Assigned::Reference => "by the record that it names".to_owned(),
        Assigned::Extension(_) => "by the URL of the extension".to_owned(),
    }
}

/// Where two YAML documents differ, lists taken for sets; below these keys alone, where any are given.
fn yaml(old: &str, new: &str, keys: &[&str]) -> Vec<(String, String, String)> {
    if old == new {
        return Vec::new();
    }
    let read = |text: &str| -> Value { serde_saphyr::from_str(text).unwrap_or(Value::Null) };
    let cut = |mut value: Value| {
        if let Value::Object(map) = &mut value {
            map.retain(|key, _| keys.is_empty() || keys.contains(&key.as_str()));
        }
        value
    };
    let mut leaves: BTreeMap<String, [Vec<String>; 2]> = BTreeMap::new();
    for (side, text) in [old, new].into_iter().enumerate() {
        leaf("", &cut(read(text)), &mut |path, value| {
            leaves.entry(path).or_default()[side].push(value);
        });
    }
    let mut found = Vec::new();
    for (path, [was, is]) in leaves {
        let only = |a: &[String], b: &[String]| {
            let list: Vec<&str> = a.iter().filter(|v| !b.contains(v)).map(String::as_str).collect();
            if list.is_empty() { "–".to_owned() } else { list.join(", ") }
        };
        if was != is {
            found.push((path, only(&was, &is), only(&is, &was)));
        }
    }
    // An order that changed and nothing else tells nothing.
    found.retain(|(_, was, is)| was != is);
    found
}

fn leaf(path: &str, value: &Value, take: &mut dyn FnMut(String, String)) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| leaf(&below(key), value, take)),
        Value::Array(items) if items.iter().all(|i| !i.is_array() && !i.is_object()) => {
            items.iter().for_each(|item| leaf(path, item, take));
        }
        Value::Array(items) => items.iter().for_each(|item| take(path.to_owned(), item.to_string())),
        Value::String(text) => take(path.to_owned(), text.clone()),
        Value::Null => {}
        other => take(path.to_owned(), other.to_string()),
    }
}

/// The officer's list names patients: how much of it differs is told, not what.
fn officer(old: &str, new: &str) -> Vec<(String, String, String)> {
    if old == new {
        return Vec::new();
    }
    let count = |text: &str, key: &str| {
        let read: Value = serde_saphyr::from_str(text).unwrap_or(Value::Null);
        match &read[key] {
            Value::Object(map) => map.len(),
            Value::Array(items) => items.len(),
            _ => 0,
        }
    };
    let told = |text: &str| {
        format!("{} patients, {} corrections", count(text, "patients"), count(text, "corrections"))
    };
    vec![("the list differs".to_owned(), told(old), told(new))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_compared_as_sets_and_words_by_their_place() {
        let old = "version: 1\nlabels: { HIV: [a, b], PSY: [c] }";
        let new = "version: 1\nlabels: { HIV: [b, d], PSY: [c] }";
        assert_eq!(yaml(old, new, &[]), [("labels.HIV".to_owned(), "a".to_owned(), "d".to_owned())]);
        assert!(yaml(old, &old.replace("[a, b]", "[b, a]"), &[]).is_empty());
    }

    #[test]
    fn the_officers_list_is_counted_and_nobody_in_it_is_named() {
        let new = "version: 1\npatients: { \"8c1f\": { labels: [VIP] } }";
        let told = officer("", new);
        assert_eq!(told[0].2, "1 patients, 0 corrections");
        assert!(!format!("{told:?}").contains("8c1f"));
    }

    #[test]
    fn an_element_that_moves_is_told_by_its_path() {
        let text = drape_view::shipped::CATEGORIES;
        let line = text.lines().find(|l| l.trim_start().starts_with("Patient.birthDate:")).unwrap();
        let moved = text.replace(line, &line.replace("birth-date", "demographics"));
        assert_ne!(text, moved);
        let new = Catalogue::parse(&moved, r4()).unwrap();
        let found = elements(Catalogue::builtin(), &new);
        let told = ("Patient.birthDate".to_owned(), "birth-date".to_owned(), "demographics".to_owned());
        assert!(found.contains(&told), "{found:?}");
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
