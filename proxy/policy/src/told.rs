//! What provers and explainers may see of a loaded set: each policy as it stands, the trees, and single questions.

use std::sync::Arc;

use cedar_policy::Effect;
use drape_view::{Caller, Category, Profile, Treatments};
use serde_json::Value;

use crate::check::ACTIONS;
use crate::decide::{Ruling, Standing};
use crate::entities::{self, uid};
use crate::set::PolicySet;
pub use crate::types::TYPE_GROUPS;

/// One policy.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// Its `@id`.
    pub id: &'a str,
    /// Where it stands, `file:line`.
    pub place: &'a str,
    /// Whether it permits; else it forbids.
    pub permits: bool,
    /// The policy in Cedar's JSON.
    pub json: &'a Value,
}

impl PolicySet {
    /// Every policy, in the order of its file.
    pub fn told(&self) -> impl Iterator<Item = Told<'_>> {
        self.policies.iter().map(|p| Told {
            id: &p.id,
            place: &p.place,
            permits: p.policy.effect() == Effect::Permit,
            json: &p.json,
        })
    }

    /// The rungs it was loaded with.
    pub fn treatments(&self) -> &Arc<Treatments> {
        &self.treatments
    }
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
    entities::category_ancestors(category)
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
