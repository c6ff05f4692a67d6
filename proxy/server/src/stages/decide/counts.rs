//! Noisy counts: for callers who may aggregate and may not look at the same population record by record.

use std::sync::Arc;

use drape_caller::Need;
use drape_fhir::query::Search;
use drape_fhir::search::patient_parameter;
use drape_policy::Action;
use drape_view::{Bounds, Caller};
use http::StatusCode;

use super::{Aggregate, Decided, Desk, Way};
use crate::refusal::{Lacks, Refusal};

impl Desk<'_> {
    /// Whether the caller may look at patients or what is about them record by record, in any role that the token
    /// holds, under any purpose that activates it. Who may gets no noisy answers about the same population: exact and
    /// noisy answers side by side would take the noise off.
    pub(super) fn reads_exactly(&self) -> Result<bool, Refusal> {
        for (purpose, activated) in self.tenant.purposes_of(self.caller) {
            let mut caller = Caller::clone(self.caller);
            caller.roles = caller.held_roles.iter().filter(|r| activated.contains(r)).cloned().collect();
            caller.purpose.clone_from(purpose);
            let standing = self
                .tenant
                .decider
                .standing(&Arc::new(caller))
                .map_err(|e| Refusal::unavailable("decide", "policy cannot be asked at this time", e))?;
            let about_patients =
                drape_fhir::definitions::r4().resource_types().filter(|t| patient_parameter(t).is_some());
            for resource_type in about_patients {
                for action in [Action::Search, Action::Read, Action::History] {
                    if standing.request(action, resource_type).allowed {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    /// A noisy count: for callers who may aggregate and may not search the same population.
    pub(super) fn aggregate(&self, search: Search) -> Result<Decided, Refusal> {
        let Some(budget) = &self.tenant.budget else {
            return Err(Refusal::forbidden("decide", "no budget is kept for counts").lacking(Lacks::Budget));
        };
        if !self.scope(Need::Search, &search.resource_type)?.is_free() {
            let public = "the token's scopes cover only a part of such records";
            return Err(Refusal::forbidden("decide", public).lacking(Lacks::Scope));
        }
        self.guesses(&search)?;
        self.hops(&search)?;
        let cost = budget.config.per_query_nano;
        let config = &budget.config;
        let ruling = self.standing.aggregate(&config.name, &config.organization, cost, &search.resource_type);
        if !ruling.allowed {
            let public = format!("policy does not let you search {}", search.resource_type);
            return Err(
                Refusal::forbidden("decide", public).because("neither search nor aggregate is permitted")
            );
        }
        if search.resource_type != "Patient" {
            let public =
                "only patients are counted; ask e.g. `Patient?_has:Condition:patient:code=…&_summary=count`";
            return Err(Refusal::new("decide", StatusCode::FORBIDDEN, "not-supported", public));
        }
        if !search.includes.is_empty() || !search.sort.is_empty() {
            return Err(Refusal::new(
                "decide",
                StatusCode::FORBIDDEN,
                "not-supported",
                "a count takes neither includes nor sorting",
            ));
        }
        let mut policies = ruling.policies;
        for criterion in &search.criteria {
            for revealed in criterion.reveals.iter().filter(|r| !r.link) {
                for category in self.categories(criterion, revealed).iter() {
                    let ruling = self.standing.count_by(category);
                    let word = if ruling.allowed { "counted" } else { "refused" };
                    self.witness.ruled(&criterion.name, category.name(), word);
                    if !ruling.allowed {
                        let public = format!("you may not count by `{}`", criterion.name);
                        let reason =
                            format!("`{}` reveals {category}, which may not be counted by", criterion.name);
                        return Err(Refusal::forbidden("decide", public)
                            .lacking(Lacks::Criterion)
                            .because(reason));
                    }
                    policies.extend(ruling.policies);
                }
            }
        }
        policies.sort();
        policies.dedup();
        let caller_name = format!("{}#{}", self.caller.issuer, self.caller.subject);
        Ok(Decided {
            way: Way::Aggregate(Aggregate { search, caller_name }),
            bounds: Bounds::free(),
            reach: None,
            policies,
            names: Vec::new(),
        })
    }
}
