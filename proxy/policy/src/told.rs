//! Policies as they are told to people: what each reaches and under which conditions, without asking Cedar anything.

use std::collections::BTreeSet;

use cedar_policy::Effect;
use drape_view::Category;
use serde_json::Value;

use crate::check::covers_action;
use crate::entities::category_ancestors;
use crate::set::{Loaded, PolicySet};
use crate::types::TYPE_GROUPS;

/// One policy of a set.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a>(&'a Loaded);

impl PolicySet {
    /// Every policy, in the order of the files.
    pub fn told(&self) -> impl Iterator<Item = Told<'_>> {
        self.policies.iter().map(Told)
    }
}

impl<'a> Told<'a> {
    /// Its id.
    pub fn id(self) -> &'a str {
        &self.0.id
    }

    /// Where it stands, `file:line`.
    pub fn place(self) -> &'a str {
        &self.0.place
    }

    /// Whether it permits; else it forbids.
    pub fn permits(self) -> bool {
        self.0.policy.effect() == Effect::Permit
    }

    /// Cedar's JSON form.
    pub fn json(self) -> &'a Value {
        &self.0.json
    }

    /// As it is written in Cedar.
    pub fn cedar(self) -> String {
        self.0.policy.to_string()
    }

    /// Whether its scope names that action, or one above it.
    pub fn covers_action(self, action: &str) -> bool {
        covers_action(&self.0.policy.action_constraint(), action)
    }

    /// The entities of that kind that stand anywhere in it.
    pub fn names(self, kind: &str) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        collect(&self.0.json, kind, &mut found);
        found
    }
}

fn collect<'a>(value: &'a Value, kind: &str, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|v| collect(v, kind, found)),
        Value::Object(map) => {
            if map.get("type").and_then(Value::as_str) == Some(kind)
                && let Some(id) = map.get("id").and_then(Value::as_str)
            {
                found.insert(id);
            }
            map.values().for_each(|v| collect(v, kind, found));
        }
        _ => {}
    }
}

/// Whether the category is that one, or stands in the group of that name.
pub fn category_in(category: Category, name: &str) -> bool {
    category_ancestors(category).any(|n| n == name)
}

/// The groups of resource types that policies may name, each with its members.
pub fn type_groups() -> &'static [(&'static str, &'static [&'static str])] {
    &TYPE_GROUPS
}
