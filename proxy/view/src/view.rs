//! What judges every record of one granted request.

use std::collections::BTreeMap;
use std::sync::Arc;

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
    patient_only: bool,
    foresees: bool,
    only: Option<Arc<BTreeMap<String, bool>>>,
    known: Arc<Known>,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("patient_only", &self.patient_only).finish_non_exhaustive()
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
    /// `patient_only`: the request rests on `patient/` scopes alone, so every record must be about the patient in
    /// context.
    pub fn new(
        judge: Arc<dyn Judge>,
        caller: Arc<Caller>,
        profiler: Arc<Profiler>,
        patient_only: bool,
    ) -> Self {
        Self { judge, caller, profiler, patient_only, foresees: false, only: None, known: Arc::default() }
    }

    /// Lets nothing pass but records of these types, each with whether only those about the patient in context: scopes
    /// and policies speak of what is included by its own type, not by that of what it is included with.
    #[must_use]
    pub fn only(mut self, types: BTreeMap<String, bool>) -> Self {
        self.only = Some(Arc::new(types));
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
        let held = self.only.as_ref().is_some_and(|types| types.values().any(|held| *held));
        Self { only: None, patient_only: self.patient_only || held, foresees: true, ..self.clone() }
    }

    /// The same view for records that it judges once more when they are shown.
    #[must_use]
    pub fn foreseeing(&self) -> Self {
        Self { foresees: true, ..self.clone() }
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
        let patient_only = match &self.only {
            None => self.patient_only,
            Some(types) => match main.and_then(|m| types.get(&m.resource_type)) {
                None => return Verdict::Withhold(Reason::OutOfScope),
                Some(patient_only) => *patient_only,
            },
        };
        if patient_only {
            let context = self.caller.patient.as_deref();
            let covered = profile.patient.known
                && main.is_some_and(|m| m.patients.iter().all(|p| Some(p.as_str()) == context))
                && record.patients.iter().all(|p| Some(p.as_str()) == context);
            if !covered {
                return Verdict::Withhold(Reason::OutOfScope);
            }
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
        self.judge.uniform() && !self.patient_only
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
            let view = View::new(Arc::new(judge), Arc::new(caller()), Arc::clone(&profiler), false);
            view.rule(&Facts { records: vec![record] }).remove(0)
        };
        for closed in ["OperationOutcome", "Provenance", "AuditEvent", "Binary"] {
            assert_eq!(ruled(reduced.clone(), closed), Verdict::Withhold(Reason::ClosedType), "{closed}");
            assert!(matches!(ruled(Always::show(), closed), Verdict::Keep(_)), "{closed}");
        }
        assert!(matches!(ruled(reduced, "Condition"), Verdict::Keep(_)));
    }
}
