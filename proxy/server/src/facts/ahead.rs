//! Reads a page before it is judged, so that what its records need to know is looked up for all of them at one time, and
//! says which references of a record would tell of one that the caller does not receive.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use drape_fhir::search::patient_parameter;
use drape_policy::Standing;
use drape_shield::{BundleKind, Expect, Hide, Scout};
use drape_view::view::is_open;
use drape_view::{Catalogue, Facts, Pointer, Treatment, Verdict, View};
use zeroize::Zeroizing;

use crate::parts::Tenant;
use crate::refusal::Refusal;
use crate::stages::enter::Durable;

/// How far is read ahead.
const AHEAD_BYTES: usize = 128 << 10;

/// Names of one answer that are remembered; beyond them they are looked up anew.
const NAMES_MAX: usize = 20_000;

/// What one answer needs to know beyond what its records say.
pub(crate) struct Ahead {
    pub(super) standing: Arc<Standing>,
    /// What judges records that are only named, as far as scopes go.
    pub(super) scopes: View,
    token: Zeroizing<String>,
    references: bool,
    ages: bool,
    /// Whether it is a searchset, which names many records; of a history every entry is of one.
    searchset: bool,
    scout: Option<Scout>,
    queue: VecDeque<Bytes>,
    queued: usize,
    ended: bool,
    /// Records of this very answer that the caller receives whole.
    here: HashSet<String>,
    /// Records that were looked up, `None` for those that are not there.
    named: HashMap<String, Option<Arc<Facts>>>,
    /// Names that were looked for, found or not.
    pub(super) tried: HashSet<String>,
}

impl Ahead {
    /// `None` where nothing needs to be known: the caller's view does not depend on the record, or nothing is looked up.
    pub(crate) fn new(
        tenant: &Tenant,
        standing: &Arc<Standing>,
        view: &View,
        token: &Zeroizing<String>,
        expect: &Expect,
    ) -> Option<Self> {
        let mut ahead = Self::of(tenant, standing, view, token)?;
        ahead.searchset = *expect == Expect::Bundle(BundleKind::Searchset);
        ahead.begin(tenant);
        Some(ahead)
    }

    /// For one record.
    pub(crate) fn of(
        tenant: &Tenant,
        standing: &Arc<Standing>,
        view: &View,
        token: &Zeroizing<String>,
    ) -> Option<Self> {
        let references = tenant.facts.references.is_some() && !view.uniform();
        let ages = tenant.facts.ages.is_some() && standing.reads_age();
        (references || ages).then(|| Self {
            standing: Arc::clone(standing),
            scopes: view.of_named(),
            token: token.clone(),
            references,
            ages,
            searchset: false,
            scout: None,
            queue: VecDeque::new(),
            queued: 0,
            ended: false,
            here: HashSet::new(),
            named: HashMap::new(),
            tried: HashSet::new(),
        })
    }

    /// At the start of a page of the upstream.
    pub(crate) fn begin(&mut self, tenant: &Tenant) {
        self.scout = self.searchset.then(|| {
            let (catalogue, pseudonyms) = (Arc::clone(&tenant.catalogue), Arc::clone(&tenant.pseudonymizer));
            let limits = drape_shield::Limits {
                entry_bytes_max: tenant.limits.entry_bytes_max,
                depth_max: tenant.limits.json_depth_max,
            };
            Scout::new(catalogue, pseudonyms, tenant.upstream.base_url(), limits)
        });
        self.queue.clear();
        (self.queued, self.ended) = (0, false);
    }

    /// Whether what references name is to be among the facts.
    pub(crate) fn references(&self) -> bool {
        self.references
    }

    /// Whether more is to be read before what was read is judged.
    pub(crate) fn wants(&self) -> bool {
        self.scout.is_some() && !self.ended && self.queue.is_empty()
    }

    /// Takes in bytes as they come, `None` for their end. The facts of records that are complete with them are added to
    /// `seen`; whether it is far enough ahead.
    pub(crate) fn read(&mut self, chunk: Option<Bytes>, seen: &mut Vec<Arc<Facts>>) -> bool {
        let Some(chunk) = chunk else {
            self.ended = true;
            return true;
        };
        // What is wrong with the answer is found by the shield in the same place. Records behind it are not judged.
        if let Some(scout) = &mut self.scout
            && scout.feed(&chunk, seen).is_err()
        {
            self.scout = None;
        }
        self.queued += chunk.len();
        self.queue.push_back(chunk);
        self.queued >= AHEAD_BYTES
    }

    /// The next bytes that were read ahead.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        let chunk = self.queue.pop_front()?;
        self.queued -= chunk.len();
        Some(chunk)
    }

    /// Whether bytes are still read ahead by it.
    pub(crate) fn reads(&self) -> bool {
        self.scout.is_some() || !self.queue.is_empty() || self.ended
    }

    /// Whether every record was read ahead before the shield comes upon it.
    pub(crate) fn covers(&self) -> bool {
        self.scout.is_some()
    }

    /// How much memory is taken by what is read ahead.
    pub(crate) fn held_bytes(&self) -> usize {
        self.queued + self.scout.as_ref().map_or(0, Scout::held_bytes)
    }

    /// Looks up what these records need, all at one time: first how old their patients are, since verdicts rest on it,
    /// then what they name.
    pub(crate) async fn prepare(
        &mut self,
        tenant: &Tenant,
        view: &mut View,
        seen: &[Arc<Facts>],
        durable: Durable,
    ) -> Result<(), Refusal> {
        if self.here.len() + self.tried.len() > NAMES_MAX {
            self.here.clear();
            self.named.clear();
            self.tried.clear();
        }
        self.find_ages(tenant, view, seen.iter(), durable).await?;
        if !self.references {
            return Ok(());
        }
        let mut wanted = BTreeSet::new();
        let mut judged = Vec::with_capacity(seen.len());
        let before = view.foreseeing();
        for facts in seen {
            let verdicts = before.rule(facts);
            let whole = |v: &Verdict| matches!(v, Verdict::Keep(plan) if plan.shows_all());
            // Of a record that is not shown whole it is only known later whether it can be shown at all.
            if self.scout.is_some() && !verdicts.is_empty() && verdicts.iter().all(whole) {
                self.here.extend(name(facts));
            }
            judged.push((facts, verdicts));
        }
        for (facts, verdicts) in &judged {
            for pointer in self.pointers(facts, verdicts) {
                if let Some(name) = pointer.name()
                    && !self.here.contains(&name)
                    && !self.tried.contains(&name)
                {
                    wanted.insert(name);
                }
            }
        }
        self.look_up(tenant, view, wanted, durable).await
    }

    /// Looks up records by their names, and how old the patients are whom they are about.
    pub(super) async fn look_up(
        &mut self,
        tenant: &Tenant,
        view: &mut View,
        wanted: BTreeSet<String>,
        durable: Durable,
    ) -> Result<(), Refusal> {
        if wanted.is_empty() {
            return Ok(());
        }
        self.tried.extend(wanted.iter().cloned());
        let found = tenant.facts.named(tenant, wanted, view.caller(), &self.token, durable).await?;
        let targets: Vec<Arc<Facts>> = found.values().flatten().cloned().collect();
        self.named.extend(found);
        self.find_ages(tenant, view, targets.iter(), durable).await
    }

    /// Looks up how old these records' patients are.
    pub(crate) async fn find_ages(
        &mut self,
        tenant: &Tenant,
        view: &mut View,
        seen: impl Iterator<Item = &Arc<Facts>>,
        durable: Durable,
    ) -> Result<(), Refusal> {
        if !self.ages {
            return Ok(());
        }
        // Her own record says itself when a patient was born.
        let others = seen.filter(|f| f.main().is_some_and(|m| m.resource_type != "Patient"));
        let patients =
            others.flat_map(|f| &f.records).flat_map(|r| &r.patients).filter(|p| !p.starts_with('#'));
        let patients: BTreeSet<String> =
            patients.filter(|p| self.tried.insert(format!("age of {p}"))).cloned().collect();
        if !patients.is_empty() {
            view.learn(tenant.facts.ages(tenant, patients, durable).await?);
        }
        Ok(())
    }

    /// What the shown parts of an entry name and policy may keep from the caller.
    fn pointers<'f>(&self, facts: &'f Facts, verdicts: &[Verdict]) -> Vec<&'f Pointer> {
        let mut found = Vec::new();
        let own = facts.main().map(|m| m.patients.as_slice()).unwrap_or_default();
        for (record, verdict) in facts.records.iter().zip(verdicts) {
            let Verdict::Keep(plan) = verdict else { continue };
            for pointer in &record.pointers {
                let Some(kind) = pointer.resource_type.as_deref() else {
                    found.push(pointer);
                    continue;
                };
                let link = plan.treatment(Catalogue::link_category(kind));
                let gone = !matches!(link, Treatment::Show | Treatment::Pseudonymize);
                let is_own = kind == "Patient" && pointer.id.as_ref().is_some_and(|id| own.contains(id));
                if !gone && !is_own && self.may_be_withheld(kind) {
                    found.push(pointer);
                }
            }
        }
        found
    }

    pub(super) fn may_be_withheld(&self, kind: &str) -> bool {
        may_be_withheld(&self.standing, &self.scopes, kind)
    }

    /// The references of an entry that are left out; `None` where all may stay.
    pub(crate) fn hide(&self, view: &View, facts: &Facts, verdicts: &[Verdict]) -> Option<Hide> {
        if !self.references {
            return None;
        }
        let named = view.of_named();
        let hidden: HashSet<Pointer> = self
            .pointers(facts, verdicts)
            .into_iter()
            .filter(|p| !self.receives(&named, p))
            .cloned()
            .collect();
        (!hidden.is_empty()).then(|| Hide::new(move |pointer| hidden.contains(pointer)))
    }

    /// Whether it was found out that the record would reach the caller.
    pub(super) fn receives(&self, named: &View, pointer: &Pointer) -> bool {
        let Some(name) = pointer.name() else { return false };
        self.here.contains(&name)
            || self
                .named
                .get(&name)
                .and_then(Option::as_ref)
                .is_some_and(|target| matches!(named.rule(target).first(), Some(Verdict::Keep(_))))
    }
}

/// Whether it says anything that a record of that type is there: those about patients, and those that are closed.
/// People at work, places and medicines are shown or hidden by their own category.
pub(super) fn may_be_withheld(standing: &Standing, scopes: &View, kind: &str) -> bool {
    (patient_parameter(kind).is_some() || !is_open(kind))
        && (standing.may_withhold(kind) || scopes.narrows(kind))
}

fn name(facts: &Facts) -> Option<String> {
    let main = facts.main()?;
    Some(format!("{}/{}", main.resource_type, main.id.as_deref()?))
}
