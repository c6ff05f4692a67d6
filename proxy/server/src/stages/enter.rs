//! The log entry is durable before anything goes upstream, for a refusal just as for a grant.

use std::sync::Arc;

use drape_audit::{Class, Closing, Decision, Event, OutcomeCode, Slot, Stranger, Subject};
use drape_policy::Standing;
use drape_shield::Answer as Rulings;
use drape_view::{Caller, Facts, View};
use http::StatusCode;

use super::classify::Asked;
use super::decide::Grant;
use super::seal::Totals;
use crate::metrics::Ending;
use crate::parts::Tenant;
use crate::refusal::Refusal;
use crate::trace::{Part, Witness};

/// What the first three stages found.
#[derive(Debug)]
pub struct Judged {
    /// What was asked, as far as it was understood.
    pub asked: Asked,
    /// Who asked, where anybody was proved.
    pub caller: Option<Arc<Caller>>,
    /// Leave to make one request, or no.
    pub result: Result<Grant, Refusal>,
}

/// A durable log entry that waits for its outcome. Its fields are private and only [`enter`] makes one. Dropped
/// without an outcome it is written down as abandoned.
///
/// ```compile_fail
/// use drape_server::stages::Entered;
/// fn forge() -> Entered { Entered { slot: todo!(), tenant: todo!(), route: "" } }
/// ```
pub struct Entered {
    slot: Slot,
    tenant: Arc<Tenant>,
    route: &'static str,
    id: String,
    witness: Witness,
    /// Of whom everything about the request is asked.
    standing: Arc<Standing>,
}

/// Proof that an entry was made durable, for what is asked of the upstream beside the request itself. Its field is private
/// and only an [`Entered`] gives one.
///
/// ```compile_fail
/// use drape_server::stages::enter::Durable;
/// fn forge() -> Durable { Durable(()) }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Durable(());
impl std::fmt::Debug for Entered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entered").field("route", &self.route).finish_non_exhaustive()
    }
}

/// Writes down what was judged. A crash right after this leaves an intent without an outcome, which accounting counts
/// as a disclosure.
pub async fn enter(tenant: &Arc<Tenant>, judged: Judged) -> Result<(Grant, Entered), Refusal> {
    let Judged { asked, caller, result } = judged;
    let mut event = describe(tenant, &asked, caller.as_deref());
    asked.witness.tell(&asked.id, |trace| {
        trace.interaction = asked.interaction;
        trace.resource_type.clone_from(&asked.resource_type);
        match &result {
            Ok(grant) => trace.policies = grant.policies().to_vec(),
            Err(refusal) => trace.refusal = Some(refusal.into()),
        }
    });
    if let Err(refusal) = &result {
        asked.witness.lacks(refusal);
    }
    event.trace = asked.witness.take_asked(&asked.id);
    match result {
        Ok(grant) => {
            event.class = Class::Intent;
            event.decision = Decision::Permit;
            event.policies = grant.policies().to_vec();
            event.records = grant.names().to_vec();
            match tenant.log.enter(event).await {
                Ok(slot) => {
                    let Asked { id, route, witness, .. } = asked;
                    let (tenant, standing) = (Arc::clone(tenant), Arc::clone(&grant.standing));
                    let entered = Entered { slot, tenant, route, id, witness, standing };
                    Ok((grant, entered))
                }
                Err(error) => Err(unwritable(tenant, asked.route, &error)),
            }
        }
        Err(refusal) if refusal.stranger => {
            tenant.log.strangers(kind(&refusal));
            tenant.metrics.stranger(&tenant.name);
            Err(refusal)
        }
        Err(refusal) => {
            event.class = Class::Refusal;
            event.decision = Decision::Deny;
            event.status = Some(refusal.status.as_u16());
            event.outcome = Some(OutcomeCode::MinorFailure);
            event.reason = Some(format!("{}: {}", refusal.stage, refusal.reason));
            tenant.metrics.request(asked.route, Ending::Refused);
            match tenant.log.record(event).await {
                Ok(_) => Err(refusal),
                Err(error) => Err(unwritable(tenant, asked.route, &error)),
            }
        }
    }
}

fn unwritable(tenant: &Tenant, route: &'static str, error: &drape_audit::LogError) -> Refusal {
    tenant.metrics.request(route, Ending::Failed);
    tracing::error!(%error, "the log does not accept entries; requests are refused");
    Refusal::unavailable("enter", "the audit log cannot be written at this time", error.to_string())
}

fn kind(refusal: &Refusal) -> Stranger {
    match refusal.reason.as_str() {
        "no credential" => Stranger::NoToken,
        "the token has expired" | "the token is not valid yet" => Stranger::Expired,
        "the issuer is not configured" | "the token is for another audience" => Stranger::Foreign,
        _ => Stranger::BadToken,
    }
}

/// Who asked, as the log names them; never the token.
pub(crate) fn subject(caller: &Caller) -> Subject {
    Subject {
        issuer: caller.issuer.clone(),
        id: caller.subject.clone(),
        name: caller.name.clone(),
        roles: caller.roles.iter().cloned().collect(),
        token_id: caller.proof.token_id.clone(),
    }
}

fn describe(tenant: &Tenant, asked: &Asked, caller: Option<&Caller>) -> Event {
    let mut event = Event::new(Class::Refusal, tenant.clock.now_ms(), asked.id.clone(), tenant.name.clone());
    if let Some(caller) = caller {
        event.subject = Some(subject(caller));
        event.client = caller.client.clone();
        event.organization = caller.organization.clone();
        event.purpose = Some(caller.purpose.clone()).filter(|p| !p.is_empty());
        event.stated_by = caller.statement.by.map(|by| by.name().to_owned());
        event.emergency = caller.statement.emergency.as_ref().map(|e| e.reason.clone());
    }
    event.interaction = asked.interaction.map(str::to_owned);
    event.resource_type = asked.resource_type.clone();
    event.method = Some(asked.method.clone());
    event.route = Some(asked.route.to_owned());
    event.query = Some(asked.target.clone());
    event.policy_digest = Some(tenant.policy_digest.clone());
    event.network = Some(asked.peer.ip().to_string());
    event.server = Some(tenant.public_base.clone());
    event
}

impl Entered {
    /// Proof for look-ups.
    pub(crate) fn durable(&self) -> Durable {
        Durable(())
    }

    /// The request was decided once more: the rest is asked of that standing.
    pub(super) fn decided_again(&mut self, grant: &Grant) {
        self.standing = Arc::clone(&grant.standing);
    }

    /// Tells the workbench how the records of an entry were judged.
    pub(super) fn judged(&self, part: Part, view: &View, facts: &Facts, rulings: &Rulings) {
        let hides = rulings.hide.is_some();
        self.witness.judged(&self.id, part, view, facts, (&rulings.verdicts, hides));
    }

    /// What was asked since the intent, for the outcome.
    fn close(&self, closing: &mut Closing, totals: &Totals) {
        self.witness.questions(self.standing.take_asked());
        closing.trace = self.witness.take_asked(&self.id);
        totals.describe(closing);
        self.witness.tell(&self.id, |trace| {
            trace.determined.clone_from(&closing.determined);
            trace.withheld = totals.withheld.iter().map(|(reason, n)| (reason.name(), *n)).collect();
        });
    }

    /// Says how far the request has come, for the entry that is written if everything is dropped.
    pub(super) fn at(&mut self, stage: &'static str) {
        self.slot.at(stage);
    }

    /// Names what leaves in the next window, durably, before it leaves.
    pub(super) async fn segment(&mut self, totals: &mut Totals) -> Result<(), drape_audit::LogError> {
        let window = totals.take_window();
        self.slot.segment(window.patients, window.records, window.policies, Vec::new()).await.map(drop)
    }

    /// The outcome, durable before the end of the stream.
    pub(super) async fn complete(
        self,
        status: StatusCode,
        mut totals: Totals,
    ) -> Result<(), drape_audit::LogError> {
        self.count(Ending::Answered, &totals);
        let mut closing = Closing::new(OutcomeCode::Success, Some(status.as_u16()), None);
        let window = totals.take_window();
        (closing.patients, closing.records, closing.policies) =
            (window.patients, window.records, window.policies);
        self.close(&mut closing, &totals);
        self.slot.outcome(closing).await.map(drop)
    }

    /// The outcome of a request that was refused or failed. Nothing left, so nothing is named as disclosed; the counts
    /// say what was withheld.
    pub(super) async fn refuse(self, refusal: &Refusal, totals: Totals) -> Result<(), drape_audit::LogError> {
        let (ending, code) = if refusal.status.is_server_error() {
            (Ending::Failed, OutcomeCode::SeriousFailure)
        } else {
            (Ending::Refused, OutcomeCode::MinorFailure)
        };
        self.count(ending, &totals);
        self.witness.tell(&self.id, |trace| trace.refusal = Some(refusal.into()));
        let reason = format!("{}: {}", refusal.stage, refusal.reason);
        let mut closing = Closing::new(code, Some(refusal.status.as_u16()), Some(reason));
        self.witness.lacks(refusal);
        self.close(&mut closing, &totals);
        self.slot.outcome(closing).await.map(drop)
    }

    /// The outcome of a stream that was broken off after some of it left. The segments say what did.
    pub(super) async fn cut(self, reason: String, totals: Totals) {
        self.count(Ending::Cut, &totals);
        let mut closing =
            Closing::new(OutcomeCode::SeriousFailure, Some(200), Some(format!("cut: {reason}")));
        self.close(&mut closing, &totals);
        if let Err(error) = self.slot.outcome(closing).await {
            tracing::error!(%error, "the outcome of a cut answer cannot be written");
        }
    }

    fn count(&self, ending: Ending, totals: &Totals) {
        let metrics = &self.tenant.metrics;
        metrics.request(self.route, ending);
        for (reason, count) in &totals.withheld {
            metrics.withheld(*reason, *count);
        }
        for treated in totals.treated() {
            metrics.treated(treated.0, treated.1, treated.2);
        }
    }
}
