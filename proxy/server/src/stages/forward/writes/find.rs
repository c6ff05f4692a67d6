//! The search for the record that a conditional write means: what is withheld from the caller is not found.

use std::sync::Arc;

use drape_shield::{BundleKind, Expect, Links, Shield, Step};
use http::StatusCode;

use super::Desk;
use crate::client::read_bounded;
use crate::facts::Ahead;
use crate::page::relative;
use crate::parts::Tenant;
use crate::refusal::Refusal;
use crate::stages::decide::Finding;
use crate::stages::protect::rulings;
use crate::upstream::{UpstreamBody, UpstreamRequest};

/// What a search for one record finds.
pub(in crate::stages) enum Found {
    /// Nothing that the caller may see.
    Nothing {
        /// Whether something was withheld; nobody may be told.
        withheld: bool,
    },
    /// The record of this id.
    One(String),
    /// More than one.
    Several,
}

/// Pages that are looked through. Whoever meets more withheld records than stand on these is asked for closer criteria.
const PAGES_MAX: usize = 10;

impl Desk {
    /// Looks through all that matches until two records are found that the caller may see: stopping at two that match
    /// would tell how many stand before them that she may not.
    pub(super) async fn find(self: &Arc<Self>, finding: &Finding) -> Result<Found, Refusal> {
        let Some(path) = &finding.path else { return Ok(Found::Nothing { withheld: false }) };
        let (mut ids, mut withheld) = (Vec::new(), false);
        let mut next = Some(path.clone());
        for _ in 0..PAGES_MAX {
            let Some(path) = next.take() else { break };
            let response = self.check(self.send(&UpstreamRequest::get(path)).await?).await?;
            if response.status() != StatusCode::OK {
                return Err(Refusal::upstream("the upstream gives no searchset"));
            }
            let (found, hidden, link) = self.page(response.into_body(), finding).await?;
            ids.extend(found);
            withheld |= hidden;
            next = link;
            if ids.len() > 1 {
                return Ok(Found::Several);
            }
        }
        if next.is_some() {
            let public = "the criteria are too wide; name more of them";
            return Err(Refusal::new("forward", StatusCode::PRECONDITION_FAILED, "too-costly", public));
        }
        Ok(match ids.pop() {
            Some(id) => Found::One(id),
            None => Found::Nothing { withheld },
        })
    }

    /// The records of a page that the caller may see, whether any was withheld, and the next page.
    async fn page(
        self: &Arc<Self>,
        body: UpstreamBody,
        finding: &Finding,
    ) -> Result<(Vec<String>, bool, Option<String>), Refusal> {
        let tenant = &self.tenant;
        let text = read_bounded(body, tenant.limits.entry_bytes_max)
            .await
            .map_err(|e| Refusal::upstream(format!("the matches cannot be read: {e}")))?;
        let mut view = self.view.clone().only(finding.reach.clone());
        // What a record names decides nothing about whether it is found; how old its patient is may.
        let mut ahead = Ahead::of(tenant, &self.standing, &view, &self.token);
        let next = NextPage::default();
        let links = Next { tenant: Arc::clone(tenant), next: next.clone() };
        let mut setup = self.setup(Expect::Bundle(BundleKind::Searchset), Box::new(links));
        setup.shows_all = false;
        let mut shield = Shield::new(setup);
        let fault = |e: drape_shield::Fault| Refusal::upstream(e.to_string());
        let (mut out, mut rest) = (Vec::new(), &text[..]);
        loop {
            let (taken, step) = shield.feed(rest, &mut out).map_err(fault)?;
            rest = &rest[taken..];
            match step {
                Step::Hungry => break,
                Step::Ask(facts) => {
                    if let Some(ahead) = &mut ahead {
                        ahead.find_ages(tenant, &mut view, [&facts].into_iter(), self.durable).await?;
                    }
                    let answer =
                        rulings(tenant, &view, &facts, None).await.map_err(|fault| fault.refusal())?;
                    shield.answer(answer, &mut out).map_err(fault)?;
                }
            }
        }
        let summary = shield.finish(&mut out).map_err(fault)?;
        let ours = summary.records.into_iter().filter(|r| finding.reach.contains_key(&r.resource_type));
        let ids = ours.filter_map(|record| record.id).collect();
        let link = next.lock().take();
        Ok((ids, !summary.withheld.is_empty(), link))
    }
}

/// The upstream's link to its next page, once it was seen.
type NextPage = Arc<parking_lot::Mutex<Option<String>>>;

struct Next {
    tenant: Arc<Tenant>,
    next: NextPage,
}

impl Links for Next {
    fn rewrite(&mut self, relation: &str, url: &str) -> Option<String> {
        if relation == "next"
            && let Some(upstream) = relative(&self.tenant, url)
        {
            *self.next.lock() = Some(upstream.to_owned());
        }
        None
    }
}
