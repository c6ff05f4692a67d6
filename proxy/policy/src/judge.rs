//! Judges records: first whether one may reach the caller at all, then for each category the first permitted rung.

use std::collections::HashMap;
use std::sync::Arc;

use drape_view::{Basis, Category, Judge, Plan, Profile, Reason, RefusedRung, Treatment, Verdict, Why, Whys};

use crate::decide::{Ruling, Standing};
use crate::entities::{self, uid};

/// The judge of one request.
#[derive(Debug)]
pub struct RecordJudge {
    standing: Arc<Standing>,
}

impl RecordJudge {
    /// For one caller's standing.
    pub fn new(standing: Arc<Standing>) -> Self {
        Self { standing }
    }
}

impl Judge for RecordJudge {
    fn judge(&self, profile: &Profile) -> Verdict {
        let verdict = self.standing.judge_cached(profile);
        if let Some(listener) = &self.standing.listener {
            listener.judged(profile, &verdict);
        }
        verdict
    }

    fn foresee(&self, profile: &Profile) -> Verdict {
        self.standing.judge_cached(profile)
    }

    fn uniform(&self) -> bool {
        self.standing.uniform()
    }

    fn received_by(&self, profile: &Profile) -> Vec<String> {
        let (Ok(context), Ok(resource)) = (
            entities::record_context(&self.standing.caller, profile),
            uid("ResourceType", &profile.resource_type),
        ) else {
            return Vec::new();
        };
        let places = self.standing.places("receive", None);
        self.standing.ask(&places, "receive", resource, context, None).policies
    }
}

impl Standing {
    /// The verdict on records of that profile; nobody is told that it was asked.
    pub fn verdict(&self, profile: &Profile) -> Verdict {
        self.judge_cached(profile)
    }

    /// The policies that decide on one category of such a record, or on the record itself where none is named: those that
    /// permit what is done, and those that forbid what reveals more.
    pub fn deciding(&self, profile: &Profile, category: Option<Category>) -> Vec<String> {
        let Ok(context) = entities::record_context(&self.caller, profile) else { return Vec::new() };
        let rule = |action: &'static str, resource: Result<_, entities::CedarError>| match resource {
            Ok(resource) => {
                let places = self.places(action, category);
                self.ask(&places, action, resource, context.clone(), Some(self.entities()))
            }
            Err(_) => Ruling { erred: true, ..Ruling::default() },
        };
        let Some(category) = category else {
            return rule("receive", uid("ResourceType", &profile.resource_type)).policies;
        };
        let mut policies = Vec::new();
        for rung in self.decider.set.treatments.rungs(category) {
            let ruling = rule(rung.name(), uid("Category", category.name()));
            policies.extend(ruling.policies);
            if ruling.allowed || ruling.erred {
                break;
            }
        }
        policies.sort();
        policies.dedup();
        policies
    }

    pub(crate) fn judge_cached(&self, profile: &Profile) -> Verdict {
        let read = self.footing.attributes.of_profile(profile);
        self.decider.cache.verdict(self, read, || self.judge_uncached(profile))
    }

    /// One call for each distinct slice: categories that the same policies reach, and that none of them tells apart, get
    /// the same answer.
    pub(crate) fn judge_uncached(&self, profile: &Profile) -> Verdict {
        let Ok(context) = entities::record_context(&self.caller, profile) else {
            return Verdict::Withhold(Reason::PolicyError);
        };
        let Ok(resource) = uid("ResourceType", &profile.resource_type) else {
            return Verdict::Withhold(Reason::PolicyError);
        };
        let received = self.ask(
            &self.places("receive", None),
            "receive",
            resource,
            context.clone(),
            Some(self.entities()),
        );
        if received.erred {
            return Verdict::Withhold(Reason::PolicyError);
        }
        if !received.allowed {
            return Verdict::Withhold(Reason::NotReceived);
        }
        let mut determining = received.policies;
        let mut answers: HashMap<(&'static str, Vec<usize>, Vec<u64>), Ruling> = HashMap::new();
        let mut treatments = [Treatment::Redact; Category::COUNT];
        let mut whys = Whys::default();
        for category in Category::ALL {
            let mut why = Why::default();
            for rung in self.decider.set.treatments.rungs(category) {
                let places = self.places(rung.name(), Some(category));
                // Policies that ask for the action, or for the resource in a way that is not understood, are always asked.
                let told_apart: Option<Vec<u64>> = places
                    .iter()
                    .map(|p| {
                        let policy = &self.decider.set.policies[*p];
                        let bits = policy.told_apart.as_ref().filter(|_| !policy.reads.action)?;
                        bits.get(category.index()).copied()
                    })
                    .collect();
                let ask = || {
                    let Ok(resource) = uid("Category", category.name()) else {
                        return Ruling { erred: true, ..Ruling::default() };
                    };
                    self.ask(&places, rung.name(), resource, context.clone(), Some(self.entities()))
                };
                let Ruling { allowed, policies, erred } = match told_apart {
                    Some(bits) => {
                        answers.entry((rung.name(), places.clone(), bits)).or_insert_with(ask).clone()
                    }
                    None => ask(),
                };
                // An error is a refusal of the category, not of this rung alone: a lesser treatment is no answer to it.
                if erred {
                    treatments[category.index()] = Treatment::Redact;
                    why.basis = Basis::Erred;
                    why.refused.push(RefusedRung { rung: *rung, policies, erred });
                    break;
                }
                if allowed {
                    treatments[category.index()] = *rung;
                    determining.extend(policies.iter().cloned());
                    (why.basis, why.policies) = (Basis::Permitted, policies);
                    break;
                }
                why.refused.push(RefusedRung { rung: *rung, policies, erred });
            }
            whys.set(category, why);
        }
        determining.sort();
        determining.dedup();
        Verdict::Keep(Arc::new(Plan::reasoned(treatments, determining, whys)))
    }
}

#[cfg(test)]
mod sets;
#[cfg(test)]
mod tests;
