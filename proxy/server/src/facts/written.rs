//! What a caller writes may name no record that she does not receive: or the server would tell her whether it is there.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use drape_shield::Hide;
use drape_view::{Catalogue, Facts, Pointer, Treatment, Verdict, View};

use super::ahead::{Ahead, may_be_withheld};
use crate::parts::Tenant;
use crate::refusal::Refusal;
use crate::stages::enter::Durable;

/// A stored record beside what is sent for it; nothing is stored of a new one.
#[derive(Clone, Copy)]
pub(crate) struct Written<'a> {
    /// What is stored, and the verdicts on it.
    pub(crate) stored: Option<(&'a Facts, &'a [Verdict])>,
    /// Which of its references are left out.
    pub(crate) hide: Option<&'a Hide>,
    /// What is sent.
    pub(crate) sent: &'a Facts,
}

impl Written<'_> {
    /// Names in what is sent that the caller was not shown in what is stored, and that say something.
    fn names<'f>(&'f self, ahead: &'f Ahead) -> impl Iterator<Item = &'f Pointer> + 'f {
        let stored: HashSet<&Pointer> = self.stored.iter().flat_map(|(facts, _)| pointers(facts)).collect();
        let own = self.sent.main().map(|m| m.patients.as_slice()).unwrap_or_default();
        pointers(self.sent).filter(move |pointer| {
            let Some((kind, id)) = pointer.resource_type.as_deref().zip(pointer.id.as_ref()) else {
                return false;
            };
            // Pseudonyms stand for what is stored; the merge holds them to it.
            let plain = self.stored.is_none_or(|(_, verdicts)| match verdicts.first() {
                Some(Verdict::Keep(plan)) => {
                    plan.treatment(Catalogue::link_category(kind)) == Treatment::Show
                }
                _ => false,
            });
            let shown = stored.contains(pointer) && self.hide.is_none_or(|hide| !hide.hides(pointer));
            plain && !shown && !(kind == "Patient" && own.contains(id)) && ahead.may_be_withheld(kind)
        })
    }

    /// Looks up what is named anew, and refuses what the caller would not receive: alike whether it is there or not,
    /// and whether the stored record names it or not.
    pub(crate) async fn check(
        self,
        ahead: &mut Ahead,
        tenant: &Tenant,
        view: &mut View,
        durable: Durable,
    ) -> Result<(), Refusal> {
        if !ahead.references() {
            return Ok(());
        }
        let wanted: BTreeSet<String> = self.names(ahead).filter_map(Pointer::name).collect();
        let unknown = wanted.iter().filter(|name| ahead.tried.insert((*name).clone())).cloned().collect();
        ahead.look_up(tenant, view, unknown, durable).await?;
        let named = view.of_named();
        match self.names(ahead).find(|pointer| !ahead.receives(&named, pointer)) {
            None => Ok(()),
            Some(pointer) => {
                let name = pointer.name().unwrap_or_default();
                let public = format!("`{name}` is not shown to you, so you may not write a reference to it");
                Err(Refusal::forbidden("forward", public))
            }
        }
    }

    /// Which references are left out of what is sent: those that are left out of what is stored, and every other that
    /// would be if it stood there, so that the answer to a guess does not tell whether it does. To be asked after
    /// `check`, which has looked them up.
    pub(crate) fn hide(self, ahead: &Ahead, view: &View) -> Option<Hide> {
        let hide = self.hide?.clone();
        let stored: HashSet<Pointer> =
            self.stored.iter().flat_map(|(facts, _)| pointers(facts)).cloned().collect();
        let named = view.of_named();
        let received: HashSet<Pointer> =
            pointers(self.sent).filter(|pointer| ahead.receives(&named, pointer)).cloned().collect();
        let own: Vec<String> =
            self.stored.and_then(|(facts, _)| facts.main()).map(|m| m.patients.clone()).unwrap_or_default();
        let (standing, scopes) = (Arc::clone(&ahead.standing), ahead.scopes.clone());
        Some(Hide::new(move |pointer| {
            if stored.contains(pointer) {
                return hide.hides(pointer);
            }
            let Some(kind) = pointer.resource_type.as_deref() else { return true };
            let is_own = kind == "Patient" && pointer.id.as_ref().is_some_and(|id| own.contains(id));
            !is_own && may_be_withheld(&standing, &scopes, kind) && !received.contains(pointer)
        }))
    }
}

fn pointers(facts: &Facts) -> impl Iterator<Item = &Pointer> {
    facts.records.iter().flat_map(|record| &record.pointers)
}
