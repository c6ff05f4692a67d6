//! A loaded set as the prover sees it, and what is to be proved of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use drape_policy::guarantees::{Case, Claim, Guarantees, Other};
use drape_policy::{Decider, PolicySet};
use drape_view::Fault;
use serde_json::Value;

/// One set with its own decider, which has the last word on every counterexample.
#[derive(Debug)]
pub struct Model {
    /// How reports name it.
    pub name: String,
    pub(crate) set: Arc<PolicySet>,
    pub(crate) decider: Arc<Decider>,
    /// Ids of policies that may err; found before anything else is proved.
    pub(crate) may_err: BTreeSet<String>,
}

impl Model {
    /// Of a set that passed every check.
    pub fn new(name: impl Into<String>, set: PolicySet) -> Result<Self, Fault> {
        let (name, set) = (name.into(), Arc::new(set));
        let decider = Decider::new(Arc::clone(&set)).map_err(|e| Fault::new(&name, e))?;
        Ok(Self { name, set, decider: Arc::new(decider), may_err: BTreeSet::new() })
    }

    /// Its policies in Cedar's JSON.
    pub(crate) fn policies(&self) -> impl Iterator<Item = &Value> {
        self.set.told().map(|policy| policy.json())
    }
}

/// A set and what must hold of it.
#[derive(Debug)]
pub struct Job {
    /// The set.
    pub model: Model,
    /// What must hold.
    pub guarantees: Guarantees,
    /// Labels that bring others, by `labels.yaml`.
    pub closures: BTreeMap<String, BTreeSet<String>>,
    /// The sets that guarantees compare with, by how they name them.
    pub others: Vec<(Other, Model)>,
}

impl Job {
    /// The other set of that name.
    pub(crate) fn other(&self, name: &Other) -> Option<&Model> {
        self.others.iter().find(|(known, _)| known == name).map(|(_, model)| model)
    }

    /// All cases that the guarantees speak of.
    pub(crate) fn cases(&self) -> impl Iterator<Item = &Case> {
        self.guarantees.list.iter().flat_map(|guarantee| cases_of(&guarantee.claim))
    }

    /// The policies of all sets.
    pub(crate) fn policies(&self) -> impl Iterator<Item = &Value> {
        self.others.iter().map(|(_, model)| model).chain([&self.model]).flat_map(Model::policies)
    }

    /// All policies and conditions there are.
    pub(crate) fn expressions(&self) -> Vec<&Value> {
        let conditions = self.guarantees.list.iter().flat_map(|guarantee| conditions_of(&guarantee.claim));
        self.policies().chain(conditions).collect()
    }
}

/// The conditions of one claim.
pub(crate) fn conditions_of(claim: &Claim) -> impl Iterator<Item = &Value> {
    cases_of(claim).iter().flat_map(|case| case.when.iter().chain(&case.unless))
}

/// The cases of one claim.
pub(crate) fn cases_of(claim: &Claim) -> &[Case] {
    match claim {
        Claim::Never(case) | Claim::Always(case) => std::slice::from_ref(case),
        Claim::NeverTogether(cases) | Claim::NowhereMorePermissive { except: cases, .. } => cases,
        Claim::NoPolicyErrs => &[],
    }
}
