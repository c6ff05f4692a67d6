//! The whole way of one request, on one screen.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::body::OutBody;
use crate::metrics::Ending;
use crate::parts::{Parts, Tenant};
use crate::refusal::Refusal;
use crate::stages::admit::admit;
use crate::stages::classify::{Asked, classify};
use crate::stages::decide::decide;
use crate::stages::enter::{Judged, enter};
use crate::stages::forward::{Upstream, forward};
use crate::stages::protect::{hold, protect};
use crate::stages::seal::{Outcome, seal};
use crate::stages::{Answer, Entered, Grant, Own};
use crate::{cors, discovery};

/// Answers one request.
pub async fn exchange(parts: Arc<Parts>, request: Request<Incoming>, peer: SocketAddr) -> Response<OutBody> {
    let id = parts.request_id();
    let (head, body) = request.into_parts();
    let Some((tenant, path)) = parts.tenant_of(&head) else {
        let refusal =
            Refusal::new("admit", http::StatusCode::NOT_FOUND, "not-found", "nothing is served here");
        return Answer::Refused(refusal).into_response(&id);
    };
    if let Some((status, headers)) = cors::preflight(&tenant.cors, &head.method, &head.headers) {
        return Answer::Own(Own { status, headers, body: Default::default() }).into_response(&id);
    }
    let timed = parts.metrics.begin();
    let mut response = match Arc::clone(&parts.room).try_acquire_owned() {
        Err(_) => {
            let refusal =
                Refusal::unavailable("admit", "too many requests are under way", "concurrent_requests_max");
            Answer::Refused(refusal).into_response(&id)
        }
        Ok(place) => {
            let limit = tenant.limits.request_timeout;
            let line = line(&tenant, &head, &path, body, peer, &id);
            let answer = tokio::time::timeout(limit, line).await.unwrap_or_else(|_| {
                Answer::Refused(Refusal::unavailable(
                    "forward",
                    "the request took too long",
                    "request_timeout_ms",
                ))
            });
            // Records are under way until their last byte. Drape's own words are not: who never takes a refusal must not
            // hold a place by it.
            match &answer {
                Answer::Shielded(_) => {
                    answer.into_response(&id).map(|body| body.with((place, timed.in_flight())))
                }
                Answer::Own(_) | Answer::Refused(_) => answer.into_response(&id),
            }
        }
    };
    cors::annotate(&tenant.cors, &head.headers, response.headers_mut());
    response
}

/// admit → classify → decide → enter → forward → protect → seal.
async fn line(
    tenant: &Arc<Tenant>,
    head: &http::request::Parts,
    path: &str,
    body: Incoming,
    peer: SocketAddr,
    id: &str,
) -> Answer {
    if let Some(answer) = discovery::answer(tenant, head, path).await {
        return answer;
    }
    let judged = judge(tenant, head, path, body, peer, id).await;
    // Durable before anything goes upstream; a refusal is written down just as well.
    match enter(tenant, judged).await {
        Err(refusal) => Answer::Refused(refusal),
        Ok((grant, entered)) if grant.writes() => {
            // Once begun, a write is ended and its outcome entered, though its client goes away meanwhile.
            let tenant = Arc::clone(tenant);
            tokio::spawn(async move { rest(&tenant, grant, entered).await }).await.unwrap_or_else(|e| {
                Answer::Refused(Refusal::unavailable("forward", "the write failed", e.to_string()))
            })
        }
        Ok((grant, entered)) => rest(tenant, grant, entered).await,
    }
}

/// forward → protect → seal.
async fn rest(tenant: &Arc<Tenant>, grant: Grant, mut entered: Entered) -> Answer {
    match forward(tenant, grant, &mut entered).await {
        Ok(Upstream::Records(stream)) => protect(tenant, *stream, entered).await,
        Ok(Upstream::Held(held)) => hold(tenant, *held, entered).await,
        Ok(Upstream::Own(own)) => seal(entered, Outcome::own(own)).await,
        Ok(Upstream::Written(own, totals)) => seal(entered, Outcome::written(own, totals)).await,
        Err(refusal) => seal(entered, Outcome::refused(refusal, Default::default())).await,
    }
}

/// Who asks, what is asked, and whether it may be asked. No record is in sight yet.
async fn judge(
    tenant: &Arc<Tenant>,
    head: &http::request::Parts,
    path: &str,
    body: Incoming,
    peer: SocketAddr,
    id: &str,
) -> Judged {
    let asked = Asked::of(head, path, id, peer);
    let admitted = match admit(tenant, &head.headers, Some(peer.ip())).await {
        Ok(admitted) => admitted,
        Err(refusal) => {
            tenant.metrics.request(asked.route, Ending::Stranger);
            return Judged { asked, caller: None, result: Err(refusal) };
        }
    };
    let caller = Arc::clone(&admitted.caller);
    let (asked, result) = match classify(tenant, head, path, body, asked).await {
        (asked, Ok(interaction)) => {
            let result = decide(tenant, &admitted, interaction, &asked);
            (asked, result)
        }
        (asked, Err(refusal)) => (asked, Err(refusal)),
    };
    Judged { asked, caller: Some(caller), result }
}
