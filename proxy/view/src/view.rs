//! What judges every record of one granted request.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bounds::Bounds;
use crate::caller::Caller;
use crate::facts::{Facts, RecordFacts};
use crate::plan::{Judge, Plan, Reason, Verdict};
use crate::profile::Profile;
use crate::profiler::{Known, Profiler, Shared};

/// The view of one caller for one request.
#[derive(Clone)]
pub struct View {
    judge: Arc<dyn Judge>,
    caller: Arc<Caller>,
    profiler: Arc<Profiler>,
    foresees: bool,
    bounds: Bounds,
    only: Option<Arc<BTreeMap<String, Bounds>>>,
    named: Arc<BTreeMap<String, Bounds>>,
    /// Whether it judges what is only named.
    by_name: bool,
    known: Arc<Known>,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

/// Types whose content is about other records or anything at all. Until each has rules of its own they reach only
/// callers who are shown everything.
const CLOSED: [&str; 13] = [
    "AuditEvent",
    "Basic",
    "Binary",
    "Bundle",
    "Group",
    "Linkage",
    "List",
    "MessageHeader",
    "OperationOutcome",
    "Parameters",
    "Provenance",
    "Subscription",
    "VerificationResult",
];

/// Whether a type is open to callers who are not shown everything.
pub fn is_open(resource_type: &str) -> bool {
    !CLOSED.contains(&resource_type)
}

impl View {
    /// `bounds`: what the token's scopes leave of what the request brings.
    pub fn new(judge: Arc<dyn Judge>, caller: Arc<Caller>, profiler: Arc<Profiler>, bounds: Bounds) -> Self {
        let (named, known) = Default::default();
        Self { judge, caller, profiler, bounds, only: None, named, by_name: false, foresees: false, known }
    }

    /// Lets nothing pass but records of these types, each within its own bounds: scopes and policies speak of what is
    /// included by its own type, not by that of what it is included with.
    #[must_use]
    pub fn only(mut self, types: BTreeMap<String, Bounds>) -> Self {
        self.only = Some(Arc::new(types));
        self
    }

    /// What scopes leave of records that are only named, of those types of which they leave less than all.
    #[must_use]
    pub fn naming(mut self, types: BTreeMap<String, Bounds>) -> Self {
        self.named = Arc::new(types);
        self
    }

    /// The same view of the same caller, judged by what holds now.
    #[must_use]
    pub fn renewed(&self, judge: Arc<dyn Judge>, caller: Arc<Caller>) -> Self {
        Self { judge, caller, ..self.clone() }
    }

    /// The view that tells whether a record would reach this caller at all, asked for by itself; for records that are
    /// only named. Where anything is held to the patient in context, so are they.
    #[must_use]
    pub fn of_named(&self) -> Self {
        let all = self.only.iter().flat_map(|types| types.values()).chain([&self.bounds]);
        let held = all.into_iter().any(|b| b.patient_only());
        let bounds = if held { Bounds::patient() } else { Bounds::free() };
        Self { only: None, bounds, by_name: true, foresees: true, ..self.clone() }
    }

    /// The same view for records that it judges once more when they are shown.
    #[must_use]
    pub fn foreseeing(&self) -> Self {
        Self { foresees: true, ..self.clone() }
    }

    /// Whether scopes leave less than all of the records of that type that are named; asked of [`View::of_named`].
    pub fn narrows(&self, resource_type: &str) -> bool {
        !self.bounds.is_free() || self.named.get(resource_type).is_some_and(|own| !own.is_free())
    }

    /// The bounds of a record of that type; `None` where none of the type may come.
    fn bounds_of(&self, resource_type: &str) -> Option<&Bounds> {
        match &self.only {
            Some(types) => types.get(resource_type),
            None => Some(&self.bounds),
        }
    }

    /// Takes in what was looked up of patients.
    pub fn learn(&mut self, known: impl IntoIterator<Item = (String, String)>) {
        let mut known = known.into_iter().peekable();
        if known.peek().is_some() {
            Arc::make_mut(&mut self.known).extend(known);
        }
    }

    /// Who looks.
    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// What policies can read of a record, with what was looked up.
    pub fn profile(&self, facts: &Facts) -> Profile {
        let shared = self.profiler.shared(facts, &self.caller, &self.known);
        self.profiler.profile_in(&shared, facts, 0, &self.caller, &self.known)
    }

    /// The profile of each record of the entry, in their order, with the policies that let it through or kept it back; for
    /// those who want to know why.
    pub fn explained(&self, facts: &Facts) -> Vec<(Profile, Vec<String>)> {
        let shared = self.profiler.shared(facts, &self.caller, &self.known);
        let profile = |index| self.profiler.profile_in(&shared, facts, index, &self.caller, &self.known);
        (0..facts.records.len())
            .map(profile)
            .map(|profile| {
                let by = self.judge.received_by(&profile);
                (profile, by)
            })
            .collect()
    }

    /// One verdict for each record of the entry, in their order. When the record itself is withheld, so is everything
    /// in it; a contained record is never shown more of than its container.
    pub fn rule(&self, facts: &Facts) -> Vec<Verdict> {
        let Some(main) = facts.main() else { return Vec::new() };
        let shared = self.profiler.shared(facts, &self.caller, &self.known);
        let container = self.one(facts, &shared, 0, main);
        let mut verdicts = Vec::with_capacity(facts.records.len());
        for (index, record) in facts.records.iter().enumerate().skip(1) {
            verdicts.push(match &container {
                Verdict::Withhold(reason) => Verdict::Withhold(*reason),
                Verdict::Keep(outer) => match self.one(facts, &shared, index, record) {
                    Verdict::Keep(inner) => Verdict::Keep(Arc::new(inner.stricter(outer))),
                    withheld => withheld,
                },
            });
        }
        verdicts.insert(0, container);
        verdicts
    }

    fn one(&self, facts: &Facts, shared: &Shared, index: usize, record: &RecordFacts) -> Verdict {
        let profile = self.profiler.profile_in(shared, facts, index, &self.caller, &self.known);
        let main = facts.main();
        let Some(bounds) = main.and_then(|m| self.bounds_of(&m.resource_type)) else {
            return Verdict::Withhold(Reason::OutOfScope);
        };
        let context = self.caller.patient.as_deref();
        let about_context = || {
            profile.patient.known
                && main.is_some_and(|m| m.patients.iter().all(|p| Some(p.as_str()) == context))
                && record.patients.iter().all(|p| Some(p.as_str()) == context)
        };
        if !bounds.cover(main, about_context) {
            return Verdict::Withhold(Reason::OutOfScope);
        }
        // Set only on the view of what is named.
        if self.by_name
            && let Some(own) = main.and_then(|m| self.named.get(&m.resource_type))
            && !own.cover(main, about_context)
        {
            return Verdict::Withhold(Reason::OutOfScope);
        }
        let verdict = if self.foresees { self.judge.foresee(&profile) } else { self.judge.judge(&profile) };
        match verdict {
            Verdict::Keep(plan) if !plan.shows_all() && !is_open(&record.resource_type) => {
                Verdict::Withhold(Reason::ClosedType)
            }
            verdict => verdict,
        }
    }

    /// Whether totals and last-page links say nothing that the records themselves would not.
    pub fn uniform(&self) -> bool {
        self.judge.uniform()
            && self.bounds.is_free()
            && self.only.iter().flat_map(|types| types.values()).all(Bounds::is_free)
    }
}

/// A judge with one answer, for tests and for records of Drape's own making.
#[derive(Clone, Debug)]
pub struct Always(pub Verdict);

impl Always {
    /// Shows everything.
    pub fn show() -> Self {
        Self(Verdict::Keep(Arc::new(Plan::show_all(Vec::new()))))
    }
}

impl Judge for Always {
    fn judge(&self, _: &Profile) -> Verdict {
        self.0.clone()
    }

    fn uniform(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::category::Category;
    use crate::treatment::Treatment;
    use crate::{Environment, Labels, Overrides, Proof};

    fn caller() -> Caller {
        Caller {
            issuer: "i".into(),
            subject: "s".into(),
            name: None,
            roles: Default::default(),
            held_roles: Default::default(),
            organization: None,
            departments: Default::default(),
            title: None,
            client: None,
            shift: None,
            fhir_user: None,
            patient: None,
            scopes: Vec::new(),
            relations: Default::default(),
            purpose: String::new(),
            statement: Default::default(),
            proof: Proof { token_id: None, token_digest: [0; 32], expires_at: 0 },
            environment: Environment {
                now_ms: 0,
                today: "2026-11-01".into(),
                hour: 12,
                minute_of_day: 720,
                weekday: 1,
                network: None,
                break_glass: false,
            },
        }
    }

    #[test]
    fn the_servers_own_words_in_a_search_reach_only_those_who_are_shown_everything() {
        let mut treatments = [Treatment::Show; Category::COUNT];
        treatments[Category::Identifier.index()] = Treatment::Redact;
        let reduced = Always(Verdict::Keep(Arc::new(Plan::new(treatments, Vec::new()))));
        let profiler = Arc::new(Profiler::new(Arc::new(Labels::default()), Arc::new(Overrides::default())));
        let ruled = |judge: Always, resource_type: &str| {
            let record = RecordFacts { resource_type: resource_type.to_owned(), ..RecordFacts::default() };
            let view = View::new(Arc::new(judge), Arc::new(caller()), Arc::clone(&profiler), Bounds::free());
            view.rule(&Facts { records: vec![record] }).remove(0)
        };
        for closed in ["OperationOutcome", "Provenance", "AuditEvent", "Binary"] {
            assert_eq!(ruled(reduced.clone(), closed), Verdict::Withhold(Reason::ClosedType), "{closed}");
            assert!(matches!(ruled(Always::show(), closed), Verdict::Keep(_)), "{closed}");
        }
        assert!(matches!(ruled(reduced, "Condition"), Verdict::Keep(_)));
    }
}
