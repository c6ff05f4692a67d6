//! Whether a write may be made: by what it changes, before and after, and by what the caller may see of both.

use std::sync::Arc;

use drape_fhir::interaction::PatchForm;
use drape_fhir::patch;
use drape_policy::Standing;
use drape_shield::merge::{self, Changes, Unmerged};
use drape_view::{Category, CategorySet, Facts, Profile, Treatment, Verdict, View};
use http::StatusCode;
use serde_json::Value;

use super::stored::Stored;
use super::{Desk, bad};
use crate::facts::Written;
use crate::refusal::Refusal;
use crate::stages::decide::{Act, Write};
use crate::stages::protect::without_carriers;

impl Desk {
    /// The facts of a record that a caller sends, under either base.
    pub(super) fn facts_of(&self, write: &Write, text: &[u8]) -> Result<Facts, Refusal> {
        let tenant = &self.tenant;
        let bases = [tenant.public_base.as_str(), tenant.upstream.base_url()];
        let depth = tenant.limits.json_depth_max;
        drape_shield::facts_of(&tenant.catalogue, text, &write.resource_type, &bases, depth)
            .map_err(|e| bad(format!("the body cannot be read: {}", e.what)))
    }

    /// A new record: its author must be shown all of it. Gives it as the upstream knows it, and its patients.
    pub(super) async fn judge_new(
        self: &Arc<Self>,
        write: &Write,
        standing: &Standing,
    ) -> Result<(Vec<u8>, Vec<String>), Refusal> {
        let tenant = &self.tenant;
        let depth = tenant.limits.json_depth_max;
        let unread = |e: drape_shield::Fault| bad(format!("the body cannot be read: {}", e.what));
        let facts = self.facts_of(write, &write.body)?;
        searches_in(&write.body)?;
        if merge::is_forged(&write.body, depth).map_err(unread)? {
            let public =
                "the record carries marks by which this server says what it hid; they are not yours to write";
            return Err(Refusal::forbidden("forward", public));
        }
        let body = drape_shield::rebase(&write.body, &tenant.public_base, tenant.upstream.base_url(), depth)
            .map_err(unread)?;
        let (mut seen, facts) = self.seen(facts).await?;
        if let Some(ahead) = &mut seen.ahead {
            let written = Written { stored: None, hide: None, sent: &facts };
            written.check(ahead, tenant, &mut seen.view, self.durable).await?;
        }
        // What is contained has a patient and a plan of its own, and scopes may be for one patient only.
        let whole = is_whole(&seen.view.rule(&facts));
        if !whole {
            let public = "you may create only records that you are shown whole";
            return Err(Refusal::forbidden("forward", public));
        }
        let changes = self.changes(None, Some(&body))?;
        self.may_change(&changes, &[&facts], whole, (standing, &seen.view))?;
        Ok((body, patients(&facts)))
    }

    /// The record that a caller sends for a stored one, or what her patch makes of it as she is shown it: what a patch
    /// tests, copies or moves is there for her or it is not (LV-35).
    pub(super) fn sent(
        &self,
        write: &Write,
        id: &str,
        by_search: bool,
        stored: &Stored,
    ) -> Result<Vec<u8>, Refusal> {
        let depth = self.tenant.limits.json_depth_max;
        let sent = match &write.act {
            Act::Patch { form, .. } => {
                let bytes_max = self.tenant.limits.request_body_bytes_max;
                let patched = match form {
                    PatchForm::Json => patch::json(&stored.view, &write.body, depth, bytes_max),
                    PatchForm::FhirPath => patch::fhirpath(&stored.view, &write.body, depth, bytes_max),
                };
                patched.map_err(|fault| {
                    let status = match fault.unprocessable {
                        true => StatusCode::UNPROCESSABLE_ENTITY,
                        false => StatusCode::BAD_REQUEST,
                    };
                    Refusal::new("forward", status, "processing", fault.what)
                })?
            }
            _ => write.body.to_vec(),
        };
        searches_in(&sent)?;
        let facts = self.facts_of(write, &sent)?;
        match facts.main().and_then(|m| m.id.as_deref()) {
            Some(named) if named == id => Ok(sent),
            // Who names a record by a search need not know its id; who is not shown it cannot send it.
            None if by_search || !stored.is_whole() && matches!(write.act, Act::Patch { .. }) => {
                patch::with_id(&sent, id, depth).map_err(|fault| bad(fault.what))
            }
            _ if by_search => Err(bad("the body's id is not that of the record that is found".into())),
            _ => Err(bad("the body's id is not the address's".into())),
        }
    }

    /// A stored record and what the caller makes of it. Gives what they make together, and whom it is about.
    pub(super) async fn judge_change(
        self: &Arc<Self>,
        write: &Write,
        stored: &mut Stored,
        sent: &[u8],
        standing: &Standing,
    ) -> Result<(Vec<u8>, Vec<String>), Refusal> {
        self.check_names(stored, &self.facts_of(write, sent)?).await?;
        let stored = &*stored;
        let setup = self.one(&write.resource_type, None);
        let merged = merge::merge(&setup, &stored.beside(), sent).map_err(|unmerged| match unmerged {
            Unmerged::Refused(public) => Refusal::forbidden("forward", public),
            Unmerged::Malformed(what) => bad(format!("the body cannot be read: {what}")),
            Unmerged::Withheld(reason) => Refusal::unknown("forward", reason.name()),
            Unmerged::Fault(fault) => Refusal::upstream(fault.what),
        })?;
        let tenant = &self.tenant;
        let bases = [tenant.upstream.base_url()];
        let depth = tenant.limits.json_depth_max;
        let facts = drape_shield::facts_of(&tenant.catalogue, &merged, &write.resource_type, &bases, depth)
            .map_err(|e| bad(format!("the record cannot be read: {}", e.what)))?;
        let mut verdicts = stored.seen.view.rule(&facts);
        if stored.answer.hide.is_some() {
            without_carriers(&mut verdicts);
        }
        let changes = self.changes(Some(&stored.text), Some(&merged))?;
        self.shows_the_same(stored, &verdicts, changes.change)?;
        let whole = stored.is_whole() && is_whole(&verdicts);
        self.may_change(&changes, &[&stored.facts, &facts], whole, (standing, &stored.seen.view))?;
        Ok((merged, patients(&facts)))
    }

    /// Whether the caller receives what is named anew. From then on what is left out of the stored record is told of
    /// what is sent too.
    async fn check_names(self: &Arc<Self>, stored: &mut Stored, sent: &Facts) -> Result<(), Refusal> {
        let Stored { facts, answer, seen, .. } = stored;
        let Some(ahead) = &mut seen.ahead else { return Ok(()) };
        let beside = Some((&*facts, &answer.verdicts[..]));
        let written = Written { stored: beside, hide: answer.hide.as_ref(), sent };
        written.check(ahead, &self.tenant, &mut seen.view, self.durable).await?;
        let hide = written.hide(ahead, &seen.view);
        answer.hide = hide;
        Ok(())
    }

    /// A stored record that is to go: all of it must be shown, for all of it goes.
    pub(super) fn judge_removal(&self, stored: &Stored, standing: &Standing) -> Result<Vec<String>, Refusal> {
        if !stored.is_whole() {
            let public = "you may delete only records that you are shown whole";
            return Err(Refusal::forbidden("forward", public));
        }
        let changes = self.changes(Some(&stored.text), None)?;
        self.may_change(&changes, &[&stored.facts], true, (standing, &stored.seen.view))?;
        Ok(patients(&stored.facts))
    }

    fn changes(&self, old: Option<&[u8]>, new: Option<&[u8]>) -> Result<Changes, Refusal> {
        let tenant = &self.tenant;
        let (base, depth) = (tenant.upstream.base_url(), tenant.limits.json_depth_max);
        merge::changes(&tenant.catalogue, old, new, base, depth)
            .map_err(|e| Refusal::upstream(format!("what changes cannot be told: {}", e.what)))
    }

    /// Whoever writes must see what she has written, and must not come to see what she did not see before: a record
    /// cannot be written out of what hides it.
    fn shows_the_same(
        &self,
        stored: &Stored,
        after: &[Verdict],
        changed: CategorySet,
    ) -> Result<(), Refusal> {
        let refused = |reason: &str| {
            let public = "you would not be shown what you write as you are shown what is stored";
            Err(Refusal::forbidden("forward", public).because(reason))
        };
        let Some(Verdict::Keep(now)) = after.first() else {
            return refused("the record as it would be is withheld from the caller");
        };
        if stored.is_whole() && !is_whole(after) {
            return refused("the record as it would be is not shown whole");
        }
        if changed.iter().any(|c| now.treatment(c) != Treatment::Show) && !stored.is_whole() {
            return refused("what is written would not be shown");
        }
        let reveals = |(before, after): (&Verdict, &Verdict)| match (before, after) {
            (Verdict::Keep(before), Verdict::Keep(after)) => {
                Category::ALL.iter().any(|c| after.treatment(*c).rank() < before.treatment(*c).rank())
            }
            (before, _) => matches!(before, Verdict::Withhold(_)) && before != after,
        };
        let before = &stored.answer.verdicts;
        // Where contained records were taken out there is no telling which is which; nothing is hidden of them then.
        let alike = before.len() == after.len() || stored.is_whole();
        if !alike || before.iter().zip(after).any(reveals) {
            return refused("the record as it would be shows more of what is stored");
        }
        Ok(())
    }

    /// `change` on every category that changes, and `relate` on all that access rests on, for the record as it is and as
    /// it will be. What access rests on is never changed while anything is hidden: it could be what hides it.
    fn may_change(
        &self,
        changes: &Changes,
        records: &[&Facts],
        whole: bool,
        (standing, view): (&Standing, &View),
    ) -> Result<(), Refusal> {
        let profiles: Vec<Profile> = records.iter().map(|facts| view.profile(facts)).collect();
        for profile in &profiles {
            for category in changes.change.iter() {
                let one = [category].into_iter().collect();
                let ruling = standing.may_change(profile, one);
                if !ruling.allowed {
                    let public = format!("you may not write {category} of this record");
                    let reason =
                        format!("policy does not permit the change of {category} (erred: {})", ruling.erred);
                    return Err(Refusal::forbidden("forward", public).because(reason));
                }
            }
        }
        let mut relate = changes.relate;
        for (fact, categories) in &changes.read {
            if standing.is_read(*fact) {
                relate = relate.iter().chain(categories.iter()).collect();
            }
        }
        if relate.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = relate.iter().map(Category::name).collect();
        if !whole {
            let public = format!(
                "you may not write what access itself rests on ({}) while something of the record is hidden from you",
                names.join(", ")
            );
            return Err(Refusal::forbidden("forward", public));
        }
        for profile in &profiles {
            let ruling = standing.may_relate(profile, relate);
            if !ruling.allowed {
                let public = "you may not write what access itself rests on";
                let reason = format!("policy does not permit to relate: {}", names.join(", "));
                return Err(Refusal::forbidden("forward", public).because(reason));
            }
        }
        Ok(())
    }
}

fn is_whole(verdicts: &[Verdict]) -> bool {
    verdicts.iter().all(|v| matches!(v, Verdict::Keep(plan) if plan.shows_all()))
}

fn patients(facts: &Facts) -> Vec<String> {
    facts.main().map(|m| m.patients.clone()).unwrap_or_default()
}

/// A body may name records by a search (`Patient?identifier=…`), which the upstream would resolve: that is a search
/// nobody judged (LV-34).
fn searches_in(body: &[u8]) -> Result<(), Refusal> {
    fn walk(value: &Value) -> bool {
        match value {
            Value::Object(map) => map.iter().any(|(key, v)| {
                // Some servers take whatever stands before the type for a base, so its form does not matter.
                key == "reference" && v.as_str().is_some_and(|t| t.contains('?')) || walk(v)
            }),
            Value::Array(items) => items.iter().any(walk),
            _ => false,
        }
    }
    let value: Value = serde_json::from_slice(body).map_err(|_| bad("the body is not JSON".into()))?;
    if walk(&value) {
        let public = "references by search are not resolved; name the record";
        return Err(Refusal::new("forward", StatusCode::BAD_REQUEST, "not-supported", public));
    }
    Ok(())
}
