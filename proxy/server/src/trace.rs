//! What the stages found out about one request: what was asked of policy and what it answered. No value of a record or
//! of a criterion stands in it.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::refusal::Refusal;

/// The way of one request, as facts.
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
    /// Why it was not answered as it was asked.
    pub refusal: Option<Refused>,
}

/// A no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The stage that said so.
    pub stage: &'static str,
    /// The HTTP status.
    pub status: u16,
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
            public: refusal.public.clone(),
            reason: refusal.reason.clone(),
        }
    }
}

/// Where the stages tell what they found, if anybody wants to know: on the workbench, never in service.
#[derive(Clone, Debug, Default)]
pub struct Witness(Option<Arc<Mutex<Vec<Trace>>>>);

impl Witness {
    /// One that takes everything in.
    pub(crate) fn attentive() -> Self {
        Self(Some(Arc::default()))
    }

    /// Tells something about the request of that id. `tell` is called only where somebody listens.
    pub(crate) fn tell(&self, id: &str, tell: impl FnOnce(&mut Trace)) {
        let Some(traces) = &self.0 else { return };
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

    /// Everything that was told, in the order in which requests were first spoken of.
    pub(crate) fn take(&self) -> Vec<Trace> {
        self.0.as_ref().map(|traces| std::mem::take(&mut *traces.lock())).unwrap_or_default()
    }
}
