//! What provers, explainers and sheets may see of a loaded set: each policy as it stands, the trees, and single questions.

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::Effect;
use drape_view::{Caller, Category, Profile, Treatments};
use serde_json::Value;

use crate::check::{ACTIONS, covers_action};
use crate::decide::{Ruling, Standing};
use crate::entities::{self, category_ancestors, uid};
use crate::set::{Loaded, PolicySet};
pub use crate::types::TYPE_GROUPS;

/// One policy of a set.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a>(&'a Loaded);

impl PolicySet {
    /// Every policy, in the order of the files.
    pub fn told(&self) -> impl Iterator<Item = Told<'_>> {
        self.policies.iter().map(Told)
    }

    /// The rungs it was loaded with.
    pub fn treatments(&self) -> &Arc<Treatments> {
        &self.treatments
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

impl Standing {
    /// The answer to one question about a record: `receive` for its type, anything else for a category.
    pub fn ruling(&self, action: &str, category: Option<Category>, profile: &Profile) -> Ruling {
        let resource = match category {
            Some(category) => uid("Category", category.name()),
            None => uid("ResourceType", &profile.resource_type),
        };
        match (resource, entities::record_context(&self.caller, profile)) {
            (Ok(resource), Ok(context)) => {
                self.ask(&self.places(action, category), action, resource, context, None)
            }
            _ => Ruling { erred: true, ..Ruling::default() },
        }
    }

    /// Whether policies let the category be a criterion at all; what else that takes is [`Standing::search_by`]'s.
    pub fn may_search_by(&self, category: Category) -> Ruling {
        self.of_category("searchBy", category)
    }
}

/// The category and every group above it.
pub fn above_category(category: Category) -> impl Iterator<Item = &'static str> {
    category_ancestors(category)
}

/// The action and every group above it.
pub fn above_action(action: &str) -> impl Iterator<Item = &str> {
    let groups = ACTIONS.iter().filter(move |(_, below)| below.contains(&action)).map(|(group, _)| *group);
    // `release` stands in `observe`; what stands below it does too.
    std::iter::once(action).chain(groups).chain((action == "release").then_some("observe"))
}

/// The caller's shift as policies see it, turned around the present minute.
pub fn turned_shift(caller: &Caller) -> Option<(i64, i64)> {
    entities::turned_shift(caller)
}
