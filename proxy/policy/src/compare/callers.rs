//! What sets mention of those who ask, and which of their policies are not alike.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::Effect;

use super::literals::Mentions;
use crate::set::{Loaded, PolicySet};

/// What sets mention of those who ask: from it, whoever compares them finds callers to whom they could differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callers {
    /// Roles.
    pub roles: BTreeSet<String>,
    /// Purposes of use.
    pub purposes: BTreeSet<String>,
    /// Attributes of the principal (`departments`, `title`, `organization`, `client`), each with the words it is
    /// compared with.
    pub attributes: BTreeMap<String, BTreeSet<String>>,
    /// Whether a single user is named.
    pub users: bool,
}

impl PolicySet {
    /// What it mentions of callers. `only_in`: in policies that are not in the other set to the letter.
    pub fn callers(&self, only_in: Option<&PolicySet>) -> Callers {
        let others: BTreeSet<String> =
            only_in.map(|set| set.policies.iter().map(Loaded::rule).collect()).unwrap_or_default();
        let mut all = Mentions::default();
        for loaded in self.policies.iter().filter(|l| !others.contains(&l.rule())) {
            all.take(&Mentions::of(&loaded.json));
        }
        let mut attributes = all.principal;
        attributes.retain(|attr, words| {
            !words.is_empty() && ["departments", "title", "organization", "client"].contains(&attr.as_str())
        });
        Callers { roles: all.roles, purposes: all.purposes, attributes, users: all.users }
    }

    /// The ids of the policies that are not in the other set to the letter.
    pub fn not_in(&self, other: &PolicySet) -> Vec<&str> {
        let others: BTreeSet<String> = other.policies.iter().map(Loaded::rule).collect();
        self.policies.iter().filter(|l| !others.contains(&l.rule())).map(|l| l.id.as_str()).collect()
    }
}

impl Loaded {
    /// All of a policy that decides, to be compared to the letter: its effect, scope and conditions, not its name.
    pub(super) fn rule(&self) -> String {
        let effect = if self.policy.effect() == Effect::Permit { "permit" } else { "forbid" };
        let part = |name: &str| self.json[name].to_string();
        [effect.to_owned(), part("principal"), part("action"), part("resource"), part("conditions")].join(" ")
    }
}
