//! What judges every record of one granted request.

use std::sync::Arc;

use crate::caller::Caller;
use crate::facts::{Facts, RecordFacts};
use crate::plan::{Judge, Plan, Reason, Verdict};
use crate::profiler::{Profiler, Shared};

/// The view of one caller for one request.
#[derive(Clone)]
pub struct View {
    judge: Arc<dyn Judge>,
    caller: Arc<Caller>,
    profiler: Arc<Profiler>,
    patient_only: bool,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("patient_only", &self.patient_only).finish_non_exhaustive()
    }
}

/// Types whose content is about other records or anything at all. Until each has rules of its own they reach only
/// callers who are shown everything.
const CLOSED: [&str; 12] = [
    "AuditEvent", "Basic", "Binary", "Bundle", "Group", "Linkage", "List", "MessageHeader", "Parameters", "Provenance",
    "Subscription", "VerificationResult",
];

/// Whether a type is open to callers who are not shown everything.
pub fn is_open(resource_type: &str) -> bool {
    !CLOSED.contains(&resource_type)
}

impl View {
    /// `patient_only`: the request rests on `patient/` scopes alone, so every record must be about the patient in
    /// context.
    pub fn new(judge: Arc<dyn Judge>, caller: Arc<Caller>, profiler: Arc<Profiler>, patient_only: bool) -> Self {
        Self { judge, caller, profiler, patient_only }
    }

    /// Who looks.
    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// One verdict for each record of the entry, in their order. When the record itself is withheld, so is everything
    /// in it; a contained record is never shown more of than its container.
    pub fn rule(&self, facts: &Facts) -> Vec<Verdict> {
        let Some(main) = facts.main() else { return Vec::new() };
        let shared = self.profiler.shared(facts, &self.caller);
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
        let profile = self.profiler.profile_in(shared, facts, index, &self.caller);
        if self.patient_only {
            let main = facts.main();
            let context = self.caller.patient.as_deref();
            let covered = profile.patient.known
                && main.is_some_and(|m| m.patients.iter().all(|p| Some(p.as_str()) == context))
                && record.patients.iter().all(|p| Some(p.as_str()) == context);
            if !covered {
                return Verdict::Withhold(Reason::OutOfScope);
            }
        }
        match self.judge.judge(&profile) {
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
    fn judge(&self, _: &crate::profile::Profile) -> Verdict {
        self.0.clone()
    }

    fn uniform(&self) -> bool {
        true
    }
}
