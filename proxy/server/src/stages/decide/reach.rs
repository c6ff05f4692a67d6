//! Which types a search may read and bring, by the scopes and policies of each.

use std::collections::BTreeMap;

use drape_caller::Need;
use drape_fhir::query::Search;
use drape_policy::{Action, Criterion};
use drape_view::Bounds;
use drape_view::view::is_open;

use super::{Cleared, Desk};
use crate::refusal::{Lacks, Refusal};

impl Desk<'_> {
    /// A criterion that goes through other records reads their types as well, of whomever they are.
    pub(super) fn hops(&self, search: &Search) -> Result<(), Refusal> {
        for criterion in search.criteria.iter().filter(|c| c.hops) {
            for revealed in criterion.reveals.iter().filter(|r| r.elsewhere) {
                if !self.scope(Need::Search, &revealed.resource_type)?.is_free() {
                    let public = format!(
                        "`{}` reads records of others than the token's scopes cover: of others than the patient in context, or whatever their codes",
                        criterion.name
                    );
                    return Err(Refusal::forbidden("decide", public).lacking(Lacks::Scope));
                }
            }
        }
        Ok(())
    }

    /// The types that may come, each with what scopes leave of it. What is included is judged like
    /// anything else; its type must be one that the caller may read at all.
    pub(super) fn reach(
        &self,
        search: &Search,
        cleared: &Cleared,
    ) -> Result<BTreeMap<String, Bounds>, Refusal> {
        // The server's own words come with any search; who reads them is settled by their type.
        let mut reach = BTreeMap::from([("OperationOutcome".to_owned(), cleared.bounds.of_words())]);
        for include in &search.includes {
            let readable = |t: &String| {
                let open = is_open(t) || self.standing.shows_all();
                (open && self.standing.request(Action::Read, t).allowed)
                    .then(|| self.scope(Need::Read, t).ok())
                    .flatten()
            };
            let readable: Vec<(String, Bounds)> =
                include.brings.iter().filter_map(|t| Some((t.clone(), readable(t)?))).collect();
            let name = if include.reverse { "_revinclude" } else { "_include" };
            // A reverse include brings one type; a forward one may lead to several, each judged as it comes.
            if readable.is_empty() {
                let public = format!("you may not read what `{name}={}` would bring", include.value);
                return Err(Refusal::forbidden("decide", public).lacking(Lacks::Criterion));
            }
            let shown = format!("{name}={}", include.value);
            for revealed in &include.reveals {
                for category in
                    self.tenant.catalogue.category_at(&revealed.resource_type, revealed.path).iter()
                {
                    let answer = self.search_by(&shown, category, &revealed.resource_type);
                    // What comes along tells of the link that it came by: it must be one that the caller is shown,
                    // if not in every record then in each that is received.
                    let told = matches!(answer, Criterion::Open | Criterion::ByPseudonym)
                        || self.standing.shows_where_received(category, &revealed.resource_type);
                    if !told || answer == Criterion::Refused && category.is_link() {
                        return Err(self.refused(&shown, category, answer, false));
                    }
                }
            }
            reach.extend(readable);
        }
        reach.insert(search.resource_type.clone(), cleared.bounds.clone());
        Ok(reach)
    }
}
