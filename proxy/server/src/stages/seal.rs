//! The outcome is durable before the last byte leaves; what cannot be written down does not leave.

use std::collections::BTreeMap;

use drape_audit::Closing;
use drape_audit::trace::Determined;
use drape_shield::{Summary, Treated};
use drape_view::{Basis, Category, Reason};

use super::enter::Entered;
use super::{Answer, Own, Shielded};
use crate::refusal::Refusal;

/// What was done to the records of one answer.
#[derive(Debug, Default)]
pub struct Totals {
    window: Window,
    /// All records that reached the caller.
    pub records: Records,
    /// Records withheld, by reason.
    pub withheld: BTreeMap<Reason, u64>,
    treated: BTreeMap<(Category, &'static str), u64>,
    determined: Vec<Determined>,
}

/// What reached the caller since the last log entry.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// `Type/id/version`.
    pub(super) records: Vec<String>,
    /// Patients they are about.
    pub(super) patients: Vec<String>,
    /// Ids of the policies that determined what of them was seen.
    pub(super) policies: Vec<String>,
}

/// How many records reached the caller.
#[derive(Clone, Copy, Debug, Default)]
pub struct Records(u64);

impl Records {
    /// Whether none did.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Reasons that are told apart in one answer; there are as many as policies speak differently of categories.
const DETERMINED_MAX: usize = 200;

impl Totals {
    /// Takes in what the shield saw since it was last asked.
    pub(super) fn add(&mut self, summary: Summary) {
        for record in summary.records {
            self.records.0 += 1;
            let mut name = record.resource_type;
            for part in [record.id, record.version].into_iter().flatten() {
                name.push('/');
                name.push_str(&part);
            }
            self.window.records.push(name);
            for patient in record.patients {
                if !self.window.patients.contains(&patient) {
                    self.window.patients.push(patient);
                }
            }
        }
        for (reason, count) in summary.withheld {
            *self.withheld.entry(reason).or_default() += count;
        }
        for treated in summary.treated {
            let Treated { category, treatment, count, why } = treated;
            *self.treated.entry((category, treatment)).or_default() += count;
            let why = why.unwrap_or_default();
            let policies = match why.basis {
                Basis::Permitted => why.policies.clone(),
                // What would show more and was not to be.
                _ => {
                    let mut forbids: Vec<String> =
                        why.refused.iter().flat_map(|rung| rung.policies.iter().cloned()).collect();
                    forbids.sort();
                    forbids.dedup();
                    forbids
                }
            };
            self.reasoned(treatment, why.basis, policies, category.name(), count);
        }
        for (plan, count) in summary.whole {
            self.reasoned("show", Basis::Permitted, plan.policies().to_vec(), "all", count);
        }
    }

    /// So many elements were treated so, for that reason.
    fn reasoned(&mut self, treatment: &str, basis: Basis, policies: Vec<String>, category: &str, count: u64) {
        let alike = |known: &&mut Determined| {
            known.treatment == treatment && known.basis == basis.name() && known.policies == policies
        };
        if let Some(known) = self.determined.iter_mut().find(alike) {
            *known.categories.entry(category.to_owned()).or_default() += count;
        } else if self.determined.len() < DETERMINED_MAX {
            let categories = BTreeMap::from([(category.to_owned(), count)]);
            let (treatment, basis) = (treatment.to_owned(), basis.name().to_owned());
            self.determined.push(Determined { treatment, basis, policies, categories });
        }
    }

    /// Whether nothing was withheld or treated.
    pub fn untouched(&self) -> bool {
        self.withheld.is_empty() && self.treated.keys().all(|(_, treatment)| *treatment == "show")
    }

    /// Elements treated otherwise than by showing them.
    pub fn treated(&self) -> impl Iterator<Item = (Category, &'static str, u64)> {
        self.treated.iter().filter(|((_, t), _)| *t != "show").map(|((c, t), n)| (*c, *t, *n))
    }

    /// Takes in a record that was written and is not sent back.
    pub(super) fn written(&mut self, record: String, patients: &[String]) {
        self.window.records.push(record);
        self.window.patients.extend_from_slice(patients);
    }

    /// Takes in a record that reached the caller whole, or by which another one did.
    pub(super) fn named(&mut self, record: String, patients: &[String]) {
        self.records.0 += 1;
        self.window.records.push(record);
        for patient in patients {
            if !self.window.patients.contains(patient) {
                self.window.patients.push(patient.clone());
            }
        }
    }

    /// Takes in which policies determined what of a record is seen.
    pub(super) fn determined(&mut self, policies: &[String]) {
        for policy in policies {
            if !self.window.policies.contains(policy) {
                self.window.policies.push(policy.clone());
            }
        }
    }

    /// What reached the caller since the last log entry.
    pub(super) fn take_window(&mut self) -> Window {
        std::mem::take(&mut self.window)
    }

    pub(super) fn describe(&self, closing: &mut Closing) {
        closing.determined.clone_from(&self.determined);
        closing.treatments = self
            .treated()
            .map(|(category, treatment, count)| drape_audit::Treated {
                category: category.name().to_owned(),
                treatment: treatment.to_owned(),
                count,
            })
            .collect();
        if !self.withheld.is_empty() {
            let withheld: Vec<String> =
                self.withheld.iter().map(|(r, n)| format!("{} {}", n, r.name())).collect();
            let note = format!("withheld: {}", withheld.join(", "));
            closing.reason = Some(match closing.reason.take() {
                Some(reason) if reason.contains("withheld:") => reason,
                Some(reason) => format!("{reason}; {note}"),
                None => note,
            });
        }
    }
}

/// How a request ended.
#[derive(Debug)]
pub struct Outcome {
    answer: Answer,
    totals: Totals,
}

impl Outcome {
    /// With shielded upstream data, known whole.
    pub(super) fn shielded(shielded: Shielded, totals: Totals) -> Self {
        Self { answer: Answer::Shielded(shielded), totals }
    }

    /// With Drape's own words.
    pub fn own(own: Own) -> Self {
        Self { answer: Answer::Own(own), totals: Totals::default() }
    }

    /// With Drape's own words about a record that was written.
    pub fn written(own: Own, totals: Totals) -> Self {
        Self { answer: Answer::Own(own), totals }
    }

    /// With a no.
    pub fn refused(refusal: Refusal, totals: Totals) -> Self {
        Self { answer: Answer::Refused(refusal), totals }
    }
}

/// Writes the outcome and lets the answer go. If it cannot be written the answer stays here: the intent says that it
/// may have left, which is the side to err on.
pub async fn seal(entered: Entered, outcome: Outcome) -> Answer {
    let Outcome { answer, totals } = outcome;
    let written = match &answer {
        Answer::Refused(refusal) => entered.refuse(refusal, totals).await,
        Answer::Shielded(shielded) => entered.complete(shielded.status(), totals).await,
        Answer::Own(own) => entered.complete(own.status, totals).await,
    };
    match written {
        Ok(()) => answer,
        Err(error) => {
            tracing::error!(%error, "an outcome cannot be written; the answer is held back");
            let public = "the audit log cannot be written at this time";
            Answer::Refused(Refusal::unavailable("seal", public, error.to_string()))
        }
    }
}
