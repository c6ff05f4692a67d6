//! The line behind classification, the same for a request by itself and for an entry of a batch: decide → enter →
//! forward → protect → seal.

use std::sync::Arc;

use drape_fhir::media::Format;

use crate::parts::Tenant;
use crate::refusal::Refusal;
use crate::stages::admit::Admitted;
use crate::stages::classify::{Asked, Classified};
use crate::stages::decide::decide;
use crate::stages::enter::{Judged, enter};
use crate::stages::forward::{Upstream, forward};
use crate::stages::protect::{hold, protect};
use crate::stages::seal::{Outcome, seal};
use crate::stages::{Answer, Entered, Grant};

/// Answers what was understood, or enters why it was not. No record is in sight before `enter`.
pub(crate) async fn one(
    tenant: &Arc<Tenant>,
    admitted: &Admitted,
    asked: Asked,
    classified: Result<Classified, Refusal>,
) -> Answer {
    let result = classified.and_then(|classified| decide(tenant, admitted, classified, &asked));
    let format = asked.format;
    let judged = Judged { asked, caller: Some(Arc::clone(&admitted.caller)), result };
    // Durable before anything goes upstream; a refusal is written down just as well.
    match enter(tenant, judged).await {
        Err(refusal) => Answer::Refused(refusal),
        Ok((grant, entered)) if grant.writes() => {
            // Once begun, a write is ended and its outcome entered, though its client goes away meanwhile.
            let tenant = Arc::clone(tenant);
            tokio::spawn(async move { rest(&tenant, grant, entered, format).await }).await.unwrap_or_else(
                |e| Answer::Refused(Refusal::unavailable("forward", "the write failed", e.to_string())),
            )
        }
        Ok((grant, entered)) => rest(tenant, grant, entered, format).await,
    }
}

/// Enters a refusal and gives it.
pub(crate) async fn refused(
    tenant: &Arc<Tenant>,
    asked: Asked,
    admitted: Option<&Admitted>,
    refusal: Refusal,
) -> Answer {
    let caller = admitted.map(|a| Arc::clone(&a.caller)).or_else(|| refusal.who.clone());
    match enter(tenant, Judged { asked, caller, result: Err(refusal) }).await {
        Err(refusal) => Answer::Refused(refusal),
        Ok(_) => {
            Answer::Refused(Refusal::unavailable("enter", "the request was refused", "entered as granted"))
        }
    }
}

/// forward → protect → seal.
pub(crate) async fn rest(tenant: &Arc<Tenant>, grant: Grant, mut entered: Entered, format: Format) -> Answer {
    // Writes and exports take many steps: kept by the side, they do not make every request's own state large.
    match Box::pin(forward(tenant, grant, &mut entered)).await {
        Ok(Upstream::Records(stream)) => Box::pin(protect(tenant, *stream, entered, format)).await,
        Ok(Upstream::Held(held)) => Box::pin(hold(tenant, *held, entered, format)).await,
        Ok(Upstream::Own(own)) => seal(entered, Outcome::own(own)).await,
        Ok(Upstream::Written(own, totals)) => seal(entered, Outcome::written(own, totals)).await,
        Err(refusal) => seal(entered, Outcome::refused(refusal, Default::default())).await,
    }
}
