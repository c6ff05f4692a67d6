//! Resource types as far as anything tells them apart: of those that no policy and no guarantee can, one stands for all.

use std::collections::{BTreeMap, BTreeSet};

use drape_policy::told::TYPE_GROUPS;
use serde_json::Value;

use crate::expression::ids_of;

/// The types that stand for all.
#[derive(Clone, Debug)]
pub(crate) struct Types {
    all: Vec<&'static str>,
}

/// Names that people know, tried first.
const KNOWN: [&str; 8] = [
    "Observation",
    "Condition",
    "Patient",
    "MedicationRequest",
    "Claim",
    "Practitioner",
    "Appointment",
    "Questionnaire",
];

/// What tells a type apart: its own name, groups, and lists of guarantees.
type Apart<'a> = (Option<&'a str>, Vec<&'static str>, Vec<bool>);

impl Types {
    /// For policies and conditions that name types, and lists of types that guarantees name.
    pub(crate) fn told_apart<'a>(
        expressions: impl IntoIterator<Item = &'a Value>,
        lists: &[&'a [String]],
    ) -> Self {
        let named: BTreeSet<&str> = expressions.into_iter().flat_map(|e| ids_of(e, "ResourceType")).collect();
        let types: BTreeSet<&'static str> = drape_fhir::definitions::r4().resource_types().collect();
        let ordered = KNOWN.into_iter().chain(types.iter().copied().filter(|t| !KNOWN.contains(t)));
        // By whether the type is named itself, and which named groups and lists it stands in.
        let mut found: BTreeMap<Apart<'_>, &'static str> = BTreeMap::new();
        for name in ordered {
            let groups = TYPE_GROUPS
                .iter()
                .filter(|(group, members)| named.contains(group) && members.contains(&name));
            let listed = lists.iter().map(|list| list.iter().any(|t| t == name)).collect();
            let key =
                (named.contains(name).then_some(name), groups.map(|(group, _)| *group).collect(), listed);
            found.entry(key).or_insert(name);
        }
        Self { all: found.into_values().collect() }
    }

    /// All that stand for others.
    pub(crate) fn all(&self) -> &[&'static str] {
        &self.all
    }

    /// Those of them that stand in a group; none where it is no group.
    pub(crate) fn members(&self, group: &str) -> Vec<&'static str> {
        let members = TYPE_GROUPS.iter().find(|(name, _)| *name == group).map(|(_, members)| *members);
        self.all.iter().copied().filter(|t| members.is_some_and(|m| m.contains(t))).collect()
    }
}
