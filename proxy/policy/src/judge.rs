//! Judges records: first whether one may reach the caller at all, then for each category the first permitted rung.

use std::collections::HashMap;
use std::sync::Arc;

use drape_view::{Caller, Category, Judge, Plan, Profile, Reason, Treatment, Verdict};
use parking_lot::Mutex;

use crate::decide::Standing;
use crate::entities::{self, uid};

/// The judge of one request.
#[derive(Debug)]
pub struct RecordJudge {
    standing: Arc<Standing>,
}

/// Verdicts by everything that they can depend on, compared in full.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    held: Mutex<HashMap<Key, Verdict>>,
}

/// What a verdict depends on besides the policies, which one decider never changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    who: Who,
    profile: Profile,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Who {
    /// Only where some policy names a user or reads more of the principal than roles.
    issuer: String,
    subject: String,
    roles: Vec<String>,
    organization: Option<String>,
    departments: Vec<String>,
    title: Option<String>,
    client: Option<String>,
    shift: Option<(u16, u16)>,
    purpose: String,
    break_glass: bool,
    /// Hour, minute, weekday and network: only where some policy reads them.
    moment: Option<(u8, u16, u8, Option<std::net::IpAddr>)>,
}

const CACHED_MAX: usize = 20_000;

impl Who {
    fn of(caller: &Caller, moment: bool) -> Self {
        let env = &caller.environment;
        Self {
            issuer: caller.issuer.clone(),
            subject: caller.subject.clone(),
            roles: caller.roles.iter().cloned().collect(),
            organization: caller.organization.clone(),
            departments: caller.departments.iter().cloned().collect(),
            title: caller.title.clone(),
            client: caller.client.clone(),
            shift: caller.shift,
            purpose: caller.purpose.clone(),
            break_glass: env.break_glass,
            moment: moment.then_some((env.hour, env.minute_of_day, env.weekday, env.network)),
        }
    }
}

impl RecordJudge {
    /// For one caller's standing.
    pub fn new(standing: Arc<Standing>) -> Self {
        Self { standing }
    }
}

impl Judge for RecordJudge {
    fn judge(&self, profile: &Profile) -> Verdict {
        self.standing.judge_cached(profile)
    }

    fn uniform(&self) -> bool {
        self.standing.uniform()
    }
}

impl Standing {
    pub(crate) fn judge_cached(&self, profile: &Profile) -> Verdict {
        let moment = self.decider.set.policies.iter().any(|p| p.reads.moment);
        let key = Key { who: Who::of(&self.caller, moment), profile: profile.clone() };
        if let Some(found) = self.decider.cache.held.lock().get(&key) {
            return found.clone();
        }
        let verdict = self.judge_uncached(profile);
        let mut held = self.decider.cache.held.lock();
        if held.len() >= CACHED_MAX {
            held.clear();
        }
        held.insert(key, verdict.clone());
        verdict
    }

    /// One call for each distinct slice: categories that the same policies reach, none of which asks which category it
    /// is, get the same answer.
    pub(crate) fn judge_uncached(&self, profile: &Profile) -> Verdict {
        let Ok(context) = entities::record_context(&self.caller, profile) else {
            return Verdict::Withhold(Reason::PolicyError);
        };
        let Ok(resource) = uid("ResourceType", &profile.resource_type) else {
            return Verdict::Withhold(Reason::PolicyError);
        };
        let received =
            self.ask(&self.places("receive", None), "receive", resource, context.clone(), Some(self.entities()));
        if received.erred {
            return Verdict::Withhold(Reason::PolicyError);
        }
        if !received.allowed {
            return Verdict::Withhold(Reason::NotReceived);
        }
        let mut determining = received.policies;
        let mut answers: HashMap<(&'static str, Vec<usize>), (bool, Vec<String>, bool)> = HashMap::new();
        let mut treatments = [Treatment::Redact; Category::COUNT];
        for category in Category::ALL {
            for rung in self.decider.set.treatments.rungs(category) {
                let places = self.places(rung.name(), Some(category));
                let alike = places.iter().all(|p| {
                    let reads = self.decider.set.policies[*p].reads;
                    !reads.resource && !reads.action
                });
                let ask = || {
                    let Ok(resource) = uid("Category", category.name()) else { return (false, Vec::new(), true) };
                    let ruling = self.ask(&places, rung.name(), resource, context.clone(), Some(self.entities()));
                    (ruling.allowed, ruling.policies, ruling.erred)
                };
                let (allowed, policies, erred) = if alike {
                    answers.entry((rung.name(), places.clone())).or_insert_with(ask).clone()
                } else {
                    ask()
                };
                // An error is a refusal of the category, not of this rung alone: a lesser treatment is no answer to it.
                if erred {
                    treatments[category.index()] = Treatment::Redact;
                    break;
                }
                if allowed {
                    treatments[category.index()] = *rung;
                    determining.extend(policies);
                    break;
                }
            }
        }
        determining.sort();
        determining.dedup();
        Verdict::Keep(Arc::new(Plan::new(treatments, determining)))
    }
}

#[cfg(test)]
mod tests;
