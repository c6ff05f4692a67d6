//! Watches what policy is asked and answers, beside the requests: records it for later, and asks a candidate the same.
//! Nothing here can delay, change or fail a request: what there is no room for is dropped and counted.

mod item;
mod notes;
mod recorder;
pub mod recording;
mod shadow;

use std::sync::Arc;

use drape_keys::secret::Secret;
use drape_policy::{Listener, Standing};
use drape_view::Redaction;
use drape_view::fault::Fault;
use parking_lot::RwLock;

pub use item::{Captured, Heard};
pub use shadow::{Shadow, ShadowView};

use crate::config;
use crate::metrics::Metrics;
use crate::parts::{StartError, load_policies};
use crate::tenant::Tenant;
use notes::Notes;
use recorder::Recorder;

/// What watches one tenant; it outlives the tenant when another takes its place.
#[derive(Debug, Default)]
pub struct Watch {
    recorder: Option<Recorder>,
    shadow: RwLock<Option<Arc<Shadow>>>,
}

impl Watch {
    /// Opens the recording and loads the candidate, as far as the configuration wants them. `secret` is that of
    /// recordings, [`secret`].
    pub(crate) fn open(
        tenant: &config::Tenant,
        secret: &Secret,
        metrics: &Metrics,
    ) -> Result<Arc<Self>, StartError> {
        let recorder = match &tenant.capture {
            None => None,
            Some(capture) => Some(Recorder::open(capture, &tenant.name, secret, metrics).map_err(|e| {
                StartError::new(format!("tenant `{}`: {e}", tenant.name))
                    .help("move the recording away; a new one is begun")
            })?),
        };
        let shadow = candidate(tenant, metrics).map_err(|faults| {
            let list: Vec<String> = faults.iter().map(|f| format!("  {f}")).collect();
            let what =
                format!("tenant `{}`: the shadow policies cannot be used:\n{}", tenant.name, list.join("\n"));
            StartError::new(what).help("`drape check` shows this without starting anything")
        })?;
        Ok(Arc::new(Self { recorder, shadow: RwLock::new(shadow.map(Arc::new)) }))
    }

    /// Takes up another candidate, where the configuration or a file of it changed; tells what was done. One that cannot
    /// be loaded leaves the former where it is.
    pub(crate) fn take_up(
        &self,
        tenant: &config::Tenant,
        metrics: &Metrics,
    ) -> Result<Option<String>, Vec<Fault>> {
        let next = candidate(tenant, metrics)?;
        let mut held = self.shadow.write();
        let digest = |shadow: &Shadow| shadow.digest().to_owned();
        if held.as_deref().map(digest) == next.as_ref().map(digest) {
            return Ok(None);
        }
        let told = next.as_ref().map_or_else(|| "no shadow policies any more".to_owned(), Shadow::told);
        *held = next.map(Arc::new);
        Ok(Some(told))
    }

    /// The candidate beside the live policies.
    pub fn shadow(&self) -> Option<Arc<Shadow>> {
        self.shadow.read().clone()
    }

    /// The standing, with somebody who listens if this request is watched.
    pub(crate) fn attend(tenant: &Tenant, standing: Standing, route: &'static str) -> Standing {
        let watch = &tenant.watch;
        let recorded = watch.recorder.as_ref().is_some_and(Recorder::takes_this_one);
        if !recorded && watch.shadow.read().is_none() {
            return standing;
        }
        let notes = Notes::new(tenant, Arc::clone(standing.caller()), route, recorded);
        standing.heard_by(Arc::new(notes) as Arc<dyn Listener>)
    }

    /// What was heard of one request goes to whoever wants it.
    fn heard(&self, heard: Heard, recorded: bool) {
        let heard = Arc::new(heard);
        if let Some(shadow) = self.shadow() {
            shadow.take(Arc::clone(&heard));
        }
        if let Some(recorder) = self.recorder.as_ref().filter(|_| recorded) {
            recorder.take(heard);
        }
    }

    /// Writes down what is on its way to the recording and closes it. Waits for the disk.
    pub(crate) fn close(&self) {
        if let Some(recorder) = &self.recorder {
            recorder.close();
        }
    }
}

/// The candidate of a configuration, loaded and checked.
fn candidate(tenant: &config::Tenant, metrics: &Metrics) -> Result<Option<Shadow>, Vec<Fault>> {
    let Some(policies) = tenant.policies.in_shadow() else { return Ok(None) };
    let loaded = load_policies(&policies, Some(&tenant.upstream))?;
    let shadow = Shadow::start(&tenant.name, loaded, metrics);
    shadow.map(Some).map_err(|e| vec![Fault::new("policies.shadow", e)])
}

/// The secret from which the keys of all recordings are derived.
pub fn secret(root: &Secret) -> Secret {
    root.derive("capture", &[])
}

fn silent(redaction: Redaction) -> bool {
    redaction == Redaction::Silent
}
