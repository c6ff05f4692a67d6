//! What is heard of one request, counted while it lasts and passed on when it is over.

use std::collections::HashMap;
use std::sync::Arc;

use drape_policy::{Inquiry, Listener};
use drape_view::{Caller, Profile, Verdict};
use parking_lot::Mutex;

use super::item::{Answered, Heard, Judged};
use super::{Watch, silent};
use crate::tenant::Tenant;

/// Distinct profiles and questions kept of one request; others are counted.
const DISTINCT_MAX: usize = 256;

/// Listens to one request.
#[derive(Debug)]
pub(super) struct Notes {
    watch: Arc<Watch>,
    recorded: bool,
    silent: bool,
    caller: Arc<Caller>,
    route: &'static str,
    digest: String,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    questions: HashMap<Inquiry, (&'static str, Vec<String>)>,
    records: HashMap<Profile, (Verdict, u64)>,
    more: u64,
}

impl Notes {
    pub(super) fn new(tenant: &Tenant, caller: Arc<Caller>, route: &'static str, recorded: bool) -> Self {
        Self {
            watch: Arc::clone(&tenant.watch),
            recorded,
            silent: silent(tenant.redaction),
            caller,
            route,
            digest: tenant.policy_digest.clone(),
            taken: Mutex::default(),
        }
    }
}

impl Listener for Notes {
    fn ruled(&self, question: Inquiry, answer: &'static str, policies: &[String]) {
        let mut taken = self.taken.lock();
        if taken.questions.len() < DISTINCT_MAX {
            taken.questions.entry(question).or_insert_with(|| (answer, policies.to_vec()));
        }
    }

    fn judged(&self, profile: &Profile, verdict: &Verdict) {
        let mut taken = self.taken.lock();
        if let Some((_, count)) = taken.records.get_mut(profile) {
            *count += 1;
        } else if taken.records.len() < DISTINCT_MAX {
            taken.records.insert(profile.clone(), (verdict.clone(), 1));
        } else {
            taken.more += 1;
        }
    }

    fn forget(&self) {
        *self.taken.lock() = Taken::default();
    }
}

/// The request is over when nobody holds its standing any more.
impl Drop for Notes {
    fn drop(&mut self) {
        let taken = std::mem::take(&mut *self.taken.lock());
        if taken.questions.is_empty() && taken.records.is_empty() {
            return;
        }
        let heard = Heard {
            digest: std::mem::take(&mut self.digest),
            route: self.route.to_owned(),
            caller: Arc::clone(&self.caller),
            silent: self.silent,
            answers: taken
                .questions
                .into_iter()
                .map(|(question, (answer, policies))| Answered {
                    question,
                    answer: answer.to_owned(),
                    policies,
                })
                .collect(),
            records: taken
                .records
                .into_iter()
                .map(|(profile, (verdict, count))| Judged { profile, verdict, count })
                .collect(),
            more: taken.more,
        };
        self.watch.heard(heard, self.recorded);
    }
}
