//! Facts that the FHIR server knows: what a caller is to whom, how old a patient is, what a shown record names. Each is
//! looked up under an identity of its own, kept as long as it may, and missing where it cannot be had.

mod ahead;
mod relations;
mod source;
mod written;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use drape_shield::Scout;
use drape_view::{Caller, Facts, Known};
use futures_util::future::join_all;
use parking_lot::Mutex;

pub(crate) use ahead::Ahead;
use relations::Seen;
use source::{Failure, Source};
pub(crate) use written::Written;

use crate::config::facts::{FactRules, RelationLookup};
use crate::config::{self, UpstreamAuth};
use crate::metrics::Metrics;
use crate::parts::Tenant;
use crate::refusal::Refusal;
use crate::stages::enter::Durable;
use crate::upstream::SetupError;

/// The look-ups of one tenant and what they found.
#[derive(Debug)]
pub struct Lookups {
    rules: FactRules,
    relations: Vec<(RelationLookup, Source)>,
    ages: Option<Source>,
    references: Option<Source>,
    /// By look-up, issuer, subject and the caller's own record.
    related: Kept<(usize, String, String, String), Arc<BTreeSet<String>>>,
    /// By patient: the date of birth, or that there is none.
    births: Kept<String, Option<String>>,
    /// By whose token was shown (nobody's, where it is the proxy's own) and by name: the record, or that it is not there.
    named: Kept<(String, String), Option<Arc<Facts>>>,
}

/// Names, each with what was found of it.
type Found<V> = BTreeMap<String, V>;

/// Patients of one caller that are taken in from one look-up.
const RELATED_MAX: usize = 10_000;

/// Ids in one search; an address stays below two kilobytes or so.
const BATCH: usize = 50;

impl Lookups {
    /// Opens what the rules name. `upstream` has the credentials.
    pub fn new(
        rules: FactRules,
        upstream: &config::Upstream,
        connect_timeout: Duration,
        metrics: &Metrics,
    ) -> Result<Self, SetupError> {
        let source = |kind, lookup| Source::new(kind, lookup, upstream, connect_timeout, metrics);
        let mut relations = Vec::new();
        for lookup in &rules.relations {
            relations.push((lookup.clone(), source(lookup.kind.name(), &lookup.lookup)?));
        }
        let ages = rules.ages.as_ref().map(|lookup| source("age", lookup)).transpose()?;
        let references = rules.references.as_ref().map(|r| source("reference", &r.lookup)).transpose()?;
        Ok(Self {
            rules,
            relations,
            ages,
            references,
            related: Kept::new(),
            births: Kept::new(),
            named: Kept::new(),
        })
    }

    /// Forgets everything that was found.
    pub(crate) fn forget(&self) {
        self.related.0.lock().clear();
        self.births.0.lock().clear();
        self.named.0.lock().clear();
    }

    /// The caller with all that is known of his relations, or `None` where some must be looked up first. No I/O.
    pub(crate) fn known(&self, caller: &Arc<Caller>, now_ms: u64) -> Option<Arc<Caller>> {
        let Some(user) = self.asks_for(caller) else { return Some(self.believed(caller)) };
        let mut found = Vec::new();
        for (place, (lookup, _)) in self.relations.iter().enumerate() {
            found.push((lookup.is.as_str(), self.related.find(&key(place, caller, user), now_ms)?));
        }
        Some(self.related_to(caller, &found))
    }

    /// The same, looked up where it must be.
    pub(crate) async fn look_up(
        &self,
        tenant: &Tenant,
        caller: &Arc<Caller>,
        durable: Durable,
    ) -> Result<Arc<Caller>, Refusal> {
        let Some(user) = self.asks_for(caller) else { return Ok(self.believed(caller)) };
        let asked: Vec<_> = (0..self.relations.len())
            .map(|place| self.related(tenant, place, caller, user, durable))
            .collect();
        let mut found = Vec::new();
        for (answer, (lookup, source)) in join_all(asked).await.into_iter().zip(&self.relations) {
            match answer {
                Ok(patients) => found.push((lookup.is.as_str(), patients)),
                Err(failure) if source.rules.refuse => return Err(unknown(lookup.kind.name(), failure)),
                Err(_) => {}
            }
        }
        Ok(self.related_to(caller, &found))
    }

    /// The patients of one look-up.
    async fn related(
        &self,
        tenant: &Tenant,
        place: usize,
        caller: &Caller,
        user: &str,
        durable: Durable,
    ) -> Result<Arc<BTreeSet<String>>, Failure> {
        let now_ms = tenant.clock.now_ms();
        let key = key(place, caller, user);
        if let Some(found) = self.related.find(&key, now_ms) {
            return Ok(found);
        }
        let Some((lookup, source)) = self.relations.get(place) else { return Ok(Arc::default()) };
        let seen = Seen { user, base: tenant.upstream.base_url(), now_ms, zone: &tenant.time_zone };
        let today = caller.environment.today.parse().map_err(|_| Failure::Body)?;
        let mut patients = BTreeSet::new();
        for path in relations::paths(&lookup.kind, user, today) {
            let read = |body: &bytes::Bytes| {
                let next = relations::read(&lookup.kind, seen, body, &mut patients)?;
                if patients.len() > RELATED_MAX { Err(Failure::Limit) } else { Ok(next) }
            };
            source.pages(durable, path, "", read).await?;
        }
        let found = Arc::new(patients);
        self.related.keep(key, Arc::clone(&found), now_ms + lookup.lookup.max_age_ms, now_ms);
        Ok(found)
    }

    /// The caller's own record, where relations are looked up by it: those of staff alone, since a patient can stand in
    /// a care team as well.
    fn asks_for<'c>(&self, caller: &'c Caller) -> Option<&'c str> {
        let user = caller.fhir_user.as_deref().filter(|_| !self.relations.is_empty())?;
        user.split_once('/')
            .filter(|(kind, _)| ["Practitioner", "PractitionerRole"].contains(kind))
            .map(|_| user)
    }

    /// The caller with as much of the token's claims as is believed.
    fn believed(&self, caller: &Arc<Caller>) -> Arc<Caller> {
        if self.rules.relations_by_claim && self.rules.ages_by_claim {
            return Arc::clone(caller);
        }
        let mut believed = Caller::clone(caller);
        for relation in believed.relations.values_mut() {
            if !self.rules.relations_by_claim {
                relation.is.clear();
            }
            if !self.rules.ages_by_claim {
                relation.birth_date = None;
            }
        }
        Arc::new(believed)
    }

    fn related_to(&self, caller: &Arc<Caller>, found: &[(&str, Arc<BTreeSet<String>>)]) -> Arc<Caller> {
        let mut caller = Caller::clone(&self.believed(caller));
        for (is, patients) in found {
            for patient in patients.iter() {
                caller.relations.entry(patient.clone()).or_default().is.insert((*is).to_owned());
            }
        }
        Arc::new(caller)
    }

    /// Dates of birth of those of the patients who have one.
    async fn ages(
        &self,
        tenant: &Tenant,
        patients: BTreeSet<String>,
        durable: Durable,
    ) -> Result<Known, Refusal> {
        let Some(source) = &self.ages else { return Ok(Known::new()) };
        let now_ms = tenant.clock.now_ms();
        let mut known = Known::new();
        let mut missing = Vec::new();
        for patient in patients {
            match self.births.find(&patient, now_ms) {
                Some(Some(born)) => drop(known.insert(patient, born)),
                Some(None) => {}
                None => missing.push(patient),
            }
        }
        let asked: Vec<_> =
            missing.chunks(BATCH).map(|ids| records(tenant, source, "Patient", ids, "", durable)).collect();
        for answer in join_all(asked).await {
            match answer {
                Err(failure) if source.rules.refuse => return Err(unknown("age", failure)),
                Err(_) => {}
                Ok(found) => {
                    for (name, record) in found {
                        let id = name.rsplit('/').next().unwrap_or_default().to_owned();
                        let born = record.and_then(|r| r.main().and_then(|m| m.birth_date.clone()));
                        self.births.keep(id.clone(), born.clone(), now_ms + source.rules.max_age_ms, now_ms);
                        known.extend(born.map(|born| (id, born)));
                    }
                }
            }
        }
        Ok(known)
    }

    /// The records of these names; `None` for one that is not there. What could not be found out is left out.
    async fn named(
        &self,
        tenant: &Tenant,
        names: BTreeSet<String>,
        caller: &Caller,
        token: &str,
        durable: Durable,
    ) -> Result<Found<Option<Arc<Facts>>>, Refusal> {
        let (Some(source), Some(rules)) = (&self.references, &self.rules.references) else {
            return Ok(Found::new());
        };
        let now_ms = tenant.clock.now_ms();
        let whose = match source.by_caller {
            true => format!("{}#{}", caller.issuer, caller.subject),
            false => String::new(),
        };
        let mut known = Found::new();
        let mut missing: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut room = rules.targets_max;
        for name in names {
            let key = (whose.clone(), name);
            if let Some(found) = self.named.find(&key, now_ms) {
                known.insert(key.1, found);
            } else if let Some((kind, id)) = key.1.split_once('/').filter(|_| room > 0) {
                room -= 1;
                missing.entry(kind.to_owned()).or_default().push(id.to_owned());
            }
        }
        let mut asked = Vec::new();
        for (kind, ids) in &missing {
            asked.extend(ids.chunks(BATCH).map(|ids| records(tenant, source, kind, ids, token, durable)));
        }
        for answer in join_all(asked).await {
            match answer {
                Err(failure) if source.rules.refuse => return Err(unknown("reference", failure)),
                Err(_) => {}
                Ok(found) => {
                    for (name, record) in found {
                        let key = (whose.clone(), name.clone());
                        self.named.keep(key, record.clone(), now_ms + source.rules.max_age_ms, now_ms);
                        known.insert(name, record);
                    }
                }
            }
        }
        Ok(known)
    }
}

fn key(place: usize, caller: &Caller, user: &str) -> (usize, String, String, String) {
    (place, caller.issuer.clone(), caller.subject.clone(), user.to_owned())
}

fn unknown(kind: &str, failure: Failure) -> Refusal {
    let public = "what access rests on cannot be looked up at this time";
    Refusal::unavailable("forward", public, format!("look-up of {kind}: {}", failure.name()))
}

/// Reads records by their ids, as facts.
async fn records(
    tenant: &Tenant,
    source: &Source,
    kind: &str,
    ids: &[String],
    token: &str,
    durable: Durable,
) -> Result<Found<Option<Arc<Facts>>>, Failure> {
    let path = format!("/{kind}?_id={}&_count={}", ids.join(","), ids.len());
    let mut seen = Vec::new();
    let read = |body: &bytes::Bytes| {
        let limits = drape_shield::Limits {
            entry_bytes_max: tenant.limits.entry_bytes_max,
            depth_max: tenant.limits.json_depth_max,
        };
        let (catalogue, pseudonyms) = (Arc::clone(&tenant.catalogue), Arc::clone(&tenant.pseudonymizer));
        let mut scout = Scout::new(catalogue, pseudonyms, tenant.upstream.base_url(), limits);
        scout.feed(body, &mut seen).map_err(|_| Failure::Body)?;
        scout.finish().map_err(|_| Failure::Body)
    };
    source.pages(durable, path, token, read).await?;
    let mut found: Found<Option<Arc<Facts>>> = ids.iter().map(|id| (format!("{kind}/{id}"), None)).collect();
    for facts in seen {
        let name = facts.main().and_then(|m| Some(format!("{}/{}", m.resource_type, m.id.as_deref()?)));
        // What was not asked for is not taken in.
        if let Some(place) = name.and_then(|name| found.get_mut(&name)) {
            *place = Some(facts);
        }
    }
    Ok(found)
}

/// Whether the tenant's look-ups can go out with the credentials that there are; every fault at once.
pub(crate) fn check(rules: &FactRules, upstream: &config::Upstream) -> Vec<drape_view::fault::Fault> {
    let mut faults = Vec::new();
    for (place, identity) in rules.identities() {
        let path = format!("facts.yaml {place}");
        let help = "name one that stands under `identities` of the upstream";
        match identity {
            Some(name) if !upstream.identities.iter().any(|(n, _)| n == name) => {
                let fault = drape_view::fault::Fault::new(path, format!("`{name}` is no identity"));
                faults.push(fault.help(help));
            }
            // Whether a record that is named would come is asked as that record itself would be.
            None if matches!(upstream.auth, UpstreamAuth::CallerToken) && place != "references" => {
                let what = "would be looked up with the caller's own token";
                faults.push(drape_view::fault::Fault::new(path, what).help(help));
            }
            _ => {}
        }
    }
    faults
}

/// Findings, each until its time.
#[derive(Debug)]
struct Kept<K, V>(Mutex<HashMap<K, (V, u64)>>);

/// Findings of one kind that are kept.
const KEPT_MAX: usize = 10_000;

impl<K: Eq + Hash, V: Clone> Kept<K, V> {
    fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    fn find(&self, key: &K, now_ms: u64) -> Option<V> {
        self.0.lock().get(key).filter(|(_, until)| now_ms < *until).map(|(value, _)| value.clone())
    }

    fn keep(&self, key: K, value: V, until_ms: u64, now_ms: u64) {
        let mut held = self.0.lock();
        if held.len() >= KEPT_MAX && !held.contains_key(&key) {
            held.retain(|_, (_, until)| now_ms < *until);
            if held.len() >= KEPT_MAX {
                held.clear();
            }
        }
        held.insert(key, (value, until_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_kept_until_its_time_and_no_more_than_there_is_room_for() {
        let kept = Kept::new();
        kept.keep(1, "a", 100, 0);
        assert_eq!((kept.find(&1, 99), kept.find(&1, 100), kept.find(&2, 0)), (Some("a"), None, None));
        for key in 0..KEPT_MAX + 10 {
            kept.keep(key, "b", 1_000, 500);
        }
        assert!(kept.0.lock().len() <= KEPT_MAX);
        assert_eq!(kept.find(&(KEPT_MAX + 9), 999), Some("b"));
    }
}
