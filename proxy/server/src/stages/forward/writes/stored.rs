//! The stored record, as far as the caller may know of it, and the version to which a write is held.

use std::sync::Arc;

use bytes::Bytes;
use drape_shield::merge::{self, Stored as Beside, Unmerged};
use drape_shield::{Answer, Expect, Links};
use drape_view::{Category, Facts, Redaction, Treatment, Verdict, View};
use http::{StatusCode, header};
use sha2::Digest as _;

use super::{Desk, changed};
use crate::client::read_bounded;
use crate::facts::Ahead;
use crate::refusal::Refusal;
use crate::stages::decide::{Act, Write};
use crate::stages::protect::rulings;
use crate::stages::{marked, opaque};
use crate::trace::Part;
use crate::upstream::UpstreamRequest;

/// A stored record that reaches the caller.
pub(super) struct Stored {
    pub(super) text: Bytes,
    pub(super) facts: Facts,
    pub(super) answer: Answer,
    /// Its ETag, as the upstream says it.
    pub(super) version: String,
    /// It as the caller is shown it.
    pub(super) view: Vec<u8>,
    /// What judged it, and what was looked up for that.
    pub(super) seen: Seen,
}

/// A view with what was looked up.
pub(super) struct Seen {
    pub(super) view: View,
    pub(super) ahead: Option<Ahead>,
}

impl Stored {
    pub(super) fn beside(&self) -> Beside<'_> {
        Beside { text: &self.text, facts: &self.facts, answer: &self.answer }
    }

    /// Whether the caller is shown all of it.
    pub(super) fn is_whole(&self) -> bool {
        self.answer.verdicts.iter().all(|v| matches!(v, Verdict::Keep(plan) if plan.shows_all()))
    }

    fn is_sealed(&self) -> bool {
        self.answer.verdicts.iter().any(|v| match v {
            Verdict::Keep(plan) => Category::ALL.iter().any(|c| plan.treatment(*c) == Treatment::Encrypt),
            Verdict::Withhold(_) => false,
        })
    }
}

pub(super) struct NoLinks;

impl Links for NoLinks {
    fn rewrite(&mut self, _: &str, _: &str) -> Option<String> {
        None
    }
}

impl Desk {
    pub(super) fn one(&self, resource_type: &str, id: Option<&str>) -> drape_shield::Setup {
        let expect = Expect::Record {
            resource_type: resource_type.to_owned(),
            id: id.map(str::to_owned),
            version: None,
        };
        self.setup(expect, Box::new(NoLinks))
    }

    /// Reads the stored record. One that is not shown at all is as unknown as one that is not there.
    pub(super) async fn stored(self: &Arc<Self>, resource_type: &str, id: &str) -> Result<Stored, Refusal> {
        let tenant = &self.tenant;
        let get = UpstreamRequest::get(format!("/{resource_type}/{id}"));
        let response = self.check(self.send(&get).await?).await?;
        let etag = response.headers().get(header::ETAG).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let text = read_bounded(response.into_body(), tenant.limits.entry_bytes_max)
            .await
            .map_err(|e| Refusal::upstream(format!("the stored record cannot be read: {e}")))?;
        let bases = [tenant.upstream.base_url()];
        let depth = tenant.limits.json_depth_max;
        let facts = drape_shield::facts_of(&tenant.catalogue, &text, resource_type, &bases, depth)
            .map_err(|e| Refusal::upstream(e.what))?;
        if facts.main().and_then(|m| m.id.as_deref()) != Some(id) {
            return Err(Refusal::upstream("the stored record is not the one that was asked for"));
        }
        let withheld =
            |why: &str| Refusal::unknown("forward", format!("the stored record is withheld: {why}"));
        // As a read shows it: with what is looked up of its patient, and without what names a withheld record.
        let (seen, shared) = self.seen(facts).await?;
        let answer = rulings(tenant, &seen.view, &shared, seen.ahead.as_ref())
            .await
            .map_err(|fault| fault.refusal())?;
        let hides = answer.hide.is_some();
        let (id_of_request, witness) = &self.witness;
        witness.judged(id_of_request, Part::Stored, &seen.view, &shared, (&answer.verdicts, hides));
        let facts = Arc::unwrap_or_clone(shared);
        let beside = Beside { text: &text, facts: &facts, answer: &answer };
        let view =
            merge::view(&self.one(resource_type, Some(id)), &beside).map_err(|unmerged| match unmerged {
                Unmerged::Withheld(reason) => withheld(reason.name()),
                other => Refusal::upstream(format!("the stored record cannot be shielded: {other:?}")),
            })?;
        let version = etag.ok_or_else(|| {
            Refusal::upstream("the stored record comes without an ETag; a lost update could not be told")
        })?;
        Ok(Stored { text, facts, answer, version, view, seen })
    }

    /// What judges a record, after what it needs was looked up.
    pub(super) async fn seen(self: &Arc<Self>, facts: Facts) -> Result<(Seen, Arc<Facts>), Refusal> {
        let (tenant, shared) = (&self.tenant, Arc::new(facts));
        let mut view = self.view.clone();
        let mut ahead = Ahead::of(tenant, &self.standing, &self.view, &self.token);
        if let Some(ahead) = &mut ahead {
            ahead.prepare(tenant, &mut view, std::slice::from_ref(&shared), self.durable).await?;
        }
        Ok((Seen { view, ahead }, shared))
    }

    /// Holds a write to the version that the caller names, and to what she is shown of it: what she has since come to
    /// see must not be taken for what she took out (LV-36).
    pub(super) fn hold(&self, write: &Write, stored: &Stored) -> Result<(), Refusal> {
        let Some(wanted) = write.if_match.as_deref().map(str::trim) else {
            // What she came to see since she read it would be taken for what she took out. A patch says what it changes.
            let replaces = matches!(write.act, Act::Update { .. });
            if replaces && self.changes_with_time && !stored.is_whole() {
                let public =
                    "what you may see of the record changes with time; say by `If-Match` what you have read";
                return Err(Refusal::new("forward", StatusCode::PRECONDITION_REQUIRED, "required", public));
            }
            return Ok(());
        };
        let current = opaque(&stored.version);
        let named = opaque(wanted);
        // In silent mode whole records are marked as reduced ones are.
        let declared = self.tenant.redaction == Redaction::Declared;
        let fits = if stored.is_whole() && declared {
            named == current
        } else {
            let marks = [Some(&stored.view[..]), None].map(|seen| {
                let mut viewer = super::super::viewer(&self.tenant, self.view.caller());
                viewer.update(seen.unwrap_or_default());
                marked(current, viewer)
            });
            // Ciphertexts are never the same twice. The plain version was told where nothing was sent back.
            let resealed = declared
                && stored.is_sealed()
                && named.rsplit_once('-').is_some_and(|(version, _)| version == current);
            named == current || resealed || marks.iter().any(|mark| mark == named)
        };
        if fits { Ok(()) } else { Err(changed(true)) }
    }
}
