//! Policies in the shadow: a candidate is asked what the live ones were asked, in a thread of its own. What it would have
//! decided otherwise is counted and listed; nothing is released or withheld by it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use drape_policy::compare::Difference;
use drape_policy::{Decider, Standing};
use drape_view::Redaction;
use parking_lot::Mutex;

use super::item::{Heard, who};
use super::silent;
use crate::metrics::Metrics;
use crate::parts::Loaded;
use crate::workbench::diff::lines::{Line, Lines};

/// Requests that wait to be compared.
const QUEUE_MAX: usize = 1_024;
/// Distinct differences that are listed; those met longest ago go first.
const LISTED_MAX: usize = 100;

/// A candidate beside the live policies of one tenant.
#[derive(Debug)]
pub struct Shadow {
    tenant: String,
    source: String,
    digest: String,
    policies: usize,
    sender: SyncSender<Arc<Heard>>,
    seen: Arc<Mutex<Seen>>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Seen {
    compared: u64,
    /// The latest met last.
    differences: VecDeque<(String, Difference, u64)>,
}

/// What is known of a candidate, for people.
#[derive(Clone, Debug, Default)]
pub struct ShadowView {
    /// Where it comes from.
    pub source: String,
    /// Its digest.
    pub digest: String,
    /// Requests compared since it was loaded.
    pub compared: u64,
    /// The distinct differences, the latest first, each with how often it was met.
    pub differences: Lines,
}

impl Shadow {
    pub(super) fn start(tenant: &str, loaded: Loaded, metrics: &Metrics) -> Result<Self, String> {
        let decider = Arc::new(Decider::new(Arc::clone(&loaded.set))?);
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let judge = Judge {
            decider,
            redaction: loaded.redaction,
            tenant: tenant.to_owned(),
            seen: Arc::clone(&seen),
            metrics: metrics.clone(),
        };
        std::thread::Builder::new()
            .name("shadow".to_owned())
            .spawn(move || judge.run(&receiver))
            .map_err(|e| e.to_string())?;
        Ok(Self {
            tenant: tenant.to_owned(),
            source: loaded.source,
            digest: loaded.set.digest().to_owned(),
            policies: loaded.set.len(),
            sender,
            seen,
            metrics: metrics.clone(),
        })
    }

    /// SHA-256 over everything that would decide.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// For the log.
    pub fn told(&self) -> String {
        format!("in the shadow: {}, {} policies, digest {}", self.source, self.policies, self.digest)
    }

    pub(super) fn take(&self, heard: Arc<Heard>) {
        if self.sender.try_send(heard).is_err() {
            self.metrics.shadow_dropped(&self.tenant);
        }
    }

    /// What it would have decided otherwise.
    pub fn view(&self) -> ShadowView {
        let seen = self.seen.lock();
        let mut differences = Lines::default();
        for (who, difference, count) in seen.differences.iter().rev() {
            differences.add(Line { count: Some(*count), ..Line::of(who, difference.clone()) });
        }
        ShadowView {
            source: self.source.clone(),
            digest: self.digest.clone(),
            compared: seen.compared,
            differences,
        }
    }
}

struct Judge {
    decider: Arc<Decider>,
    redaction: Redaction,
    tenant: String,
    seen: Arc<Mutex<Seen>>,
    metrics: Metrics,
}

impl Judge {
    fn run(&self, receiver: &Receiver<Arc<Heard>>) {
        for heard in receiver {
            let standing = match self.decider.standing(&heard.caller) {
                Ok(standing) => standing,
                Err(error) => {
                    tracing::debug!(tenant = self.tenant, error, "the shadow policies cannot be asked");
                    self.metrics.shadow_dropped(&self.tenant);
                    continue;
                }
            };
            self.compare(&heard, &standing);
        }
    }

    fn compare(&self, heard: &Heard, standing: &Standing) {
        let found = heard.against(standing, silent(self.redaction));
        let who = who(&heard.caller.roles, &heard.caller.purpose);
        for (difference, count) in &found {
            self.metrics.shadow_difference(&self.tenant, difference.kind.name(), *count);
        }
        self.metrics.shadow_compared(&self.tenant);
        let mut seen = self.seen.lock();
        seen.compared += 1;
        for (difference, count) in found {
            let same = |(of, known, _): &(String, Difference, u64)| *of == who && *known == difference;
            let before = seen.differences.iter().position(same).and_then(|n| seen.differences.remove(n));
            let met = before.map_or(0, |(_, _, met)| met);
            seen.differences.push_back((who.clone(), difference, met + count));
            if seen.differences.len() > LISTED_MAX {
                seen.differences.pop_front();
            }
        }
    }
}
