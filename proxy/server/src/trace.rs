//! What the stages found out about one request: what was asked of policy and what it answered. No value of a record or
//! of a criterion is kept in service; the workbench hears more.

use std::collections::BTreeMap;
use std::sync::Arc;

use drape_audit::trace::{Determined, Trace as Asked};
use drape_policy::Question;
use drape_view::{Facts, Profile, Verdict, View};
use parking_lot::Mutex;

use crate::refusal::Refusal;

/// The way of one request, as facts, for the workbench.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trace {
    /// The request's id, which is that of its entry in the log.
    pub id: String,
    /// FHIR's word for the interaction, where it was understood.
    pub interaction: Option<&'static str>,
    /// The resource type.
    pub resource_type: Option<String>,
    /// Ids of the policies by which the request may be made.
    pub policies: Vec<String>,
    /// Scopes, questions to policy, criteria and what was rewritten, as the log has them.
    pub asked: Asked,
    /// What was sent to the server behind, in this order.
    pub sent: Vec<Sent>,
    /// Each record that was judged, in the order of judging.
    pub records: Vec<Judged>,
    /// By which policies what of the records was seen, as the log has it.
    pub determined: Vec<Determined>,
    /// Records that did not leave, by reason.
    pub withheld: BTreeMap<&'static str, u64>,
    /// Why it was not answered as it was asked.
    pub refusal: Option<Refused>,
}

/// What was sent to the server behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The method.
    pub method: String,
    /// What follows the base URL.
    pub target: String,
}

/// A record, and what policy says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// `Type/id`; of a contained record, after a `#`, its own id too.
    pub name: String,
    /// For what it was judged.
    pub part: Part,
    /// What policies could read of it.
    pub profile: Profile,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Ids of the policies that let it reach the caller, or keep it from her.
    pub received_by: Vec<String>,
    /// Whether references of it are left out, because they would tell of records that are withheld.
    pub hides_references: bool,
}

/// For what a record was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// To be answered with.
    Answer,
    /// As it is stored, to be written over.
    Stored,
    /// Since something else belongs to it.
    Owner,
}

/// A no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The stage that said so.
    pub stage: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The code of the precondition that failed.
    pub lacks: &'static str,
    /// What the caller hears.
    pub public: String,
    /// What the officer reads.
    pub reason: String,
}

impl From<&Refusal> for Refused {
    fn from(refusal: &Refusal) -> Self {
        Self {
            stage: refusal.stage,
            status: refusal.status.as_u16(),
            lacks: refusal.lacks.code(),
            public: refusal.public.clone(),
            reason: refusal.reason.clone(),
        }
    }
}

/// Where the stages tell what they found of one request. What the log wants to know is always taken in; the rest only
/// where the workbench listens.
#[derive(Clone, Debug, Default)]
pub struct Witness {
    asked: Arc<Mutex<Asked>>,
    bench: Option<Arc<Mutex<Vec<Trace>>>>,
}

impl Witness {
    /// One that takes everything in.
    pub(crate) fn attentive() -> Self {
        Self { asked: Arc::default(), bench: Some(Arc::default()) }
    }

    /// For another request within the same.
    pub(crate) fn within(&self) -> Self {
        Self { asked: Arc::default(), bench: self.bench.clone() }
    }

    /// What was needed of the scopes.
    pub(crate) fn scoped(&self, needs: &str, by: Vec<String>, (granted, patient_only): (bool, bool)) {
        self.asked.lock().scoped(needs, by, (granted, patient_only));
    }

    /// What was asked of policy.
    pub(crate) fn questions(&self, questions: Vec<Question>) {
        let mut asked = self.asked.lock();
        for Question { action, about, ruling } in questions {
            asked.asked(action, &about, (ruling.allowed, ruling.erred), ruling.policies);
        }
    }

    /// What was found of a criterion.
    pub(crate) fn ruled(&self, name: &str, category: &str, ruling: &str) {
        self.asked.lock().ruled(name, category, ruling);
    }

    /// What was changed of the request.
    pub(crate) fn rewrote(&self, what: impl Into<String>) {
        self.asked.lock().rewrote(what.into());
    }

    /// The precondition that failed.
    pub(crate) fn lacks(&self, refusal: &Refusal) {
        self.asked.lock().lacks = Some(refusal.lacks.code().to_owned());
    }

    /// What was asked since this was last called, for the log.
    pub(crate) fn take_asked(&self, id: &str) -> Asked {
        let asked = std::mem::take(&mut *self.asked.lock());
        self.tell(id, |trace| trace.asked.extend(&asked));
        asked
    }

    /// Tells the workbench about the request of that id.
    pub(crate) fn tell(&self, id: &str, tell: impl FnOnce(&mut Trace)) {
        let Some(traces) = &self.bench else { return };
        let mut traces = traces.lock();
        match traces.iter_mut().find(|trace| trace.id == id) {
            Some(trace) => tell(trace),
            None => {
                let mut trace = Trace { id: id.to_owned(), ..Trace::default() };
                tell(&mut trace);
                traces.push(trace);
            }
        }
    }

    /// Tells the workbench how the records of an entry were judged.
    pub(crate) fn judged(
        &self,
        id: &str,
        part: Part,
        view: &View,
        facts: &Facts,
        (verdicts, hides): (&[Verdict], bool),
    ) {
        if self.bench.is_none() {
            return;
        }
        let explained = view.explained(facts);
        let main = facts.main().map(|m| name(&m.resource_type, m.id.as_deref())).unwrap_or_default();
        self.tell(id, |trace| {
            for (place, (profile, received_by)) in explained.into_iter().enumerate() {
                let (Some(record), Some(verdict)) = (facts.records.get(place), verdicts.get(place)) else {
                    continue;
                };
                let name = match place {
                    0 => main.clone(),
                    _ => format!("{main}#{}", record.id.as_deref().unwrap_or_default()),
                };
                let verdict = verdict.clone();
                let hides_references = hides;
                trace.records.push(Judged { name, part, profile, verdict, received_by, hides_references });
            }
        });
    }

    /// Everything that the workbench was told, in the order in which requests were first spoken of.
    pub(crate) fn take(&self) -> Vec<Trace> {
        self.bench.as_ref().map(|traces| std::mem::take(&mut *traces.lock())).unwrap_or_default()
    }
}

fn name(resource_type: &str, id: Option<&str>) -> String {
    id.map_or_else(|| resource_type.to_owned(), |id| format!("{resource_type}/{id}"))
}
