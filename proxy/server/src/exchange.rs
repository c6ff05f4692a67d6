//! The whole way of one request, on one screen.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use drape_fhir::interaction::Interaction;
use drape_fhir::media::Format;
use http::{Request, Response, header};
use hyper::body::{Body, Incoming};

use crate::batch::batch;
use crate::body::OutBody;
use crate::line::{one, refused};
use crate::metrics::Ending;
use crate::parts::{Parts, Tenant};
use crate::refusal::Refusal;
use crate::stages::admit::{Admitted, Peer, admit};
use crate::stages::classify::{Asked, Classified, classify, format_of, receive};
use crate::stages::{Answer, Own};
use crate::{cors, deflate, discovery};

/// Answers one request.
pub async fn exchange(parts: Arc<Parts>, request: Request<Incoming>, peer: SocketAddr) -> Response<OutBody> {
    let id = parts.request_id();
    let (head, body) = request.into_parts();
    let wanted = format_of(&head);
    let Some((tenant, path)) = parts.tenant_of(&head) else {
        let refusal =
            Refusal::new("admit", http::StatusCode::NOT_FOUND, "not-found", "nothing is served here");
        return Answer::Refused(refusal).into_response(&id, wanted);
    };
    if let Some((status, headers)) = cors::preflight(&tenant.cors, &head.method, &head.headers) {
        return Answer::Own(Own { status, headers, body: Default::default() }).into_response(&id, wanted);
    }
    let timed = parts.metrics.begin();
    let quiet = head.method == http::Method::HEAD;
    let mut response = match Arc::clone(&parts.room).try_acquire_owned() {
        Err(_) => {
            let refusal =
                Refusal::unavailable("admit", "too many requests are under way", "concurrent_requests_max");
            Answer::Refused(refusal).into_response(&id, wanted)
        }
        Ok(place) => {
            let limit = tenant.limits.request_timeout;
            let answer = answer(&tenant, &head, &path, body, peer, &id);
            let (answer, format) = tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
                let refusal =
                    Refusal::unavailable("forward", "the request took too long", "request_timeout_ms");
                (Answer::Refused(refusal), wanted)
            });
            // Records are under way until their last byte. Drape's own words are not: who never takes a refusal must not
            // hold a place by it.
            match &answer {
                Answer::Shielded(_) => {
                    answer.into_response(&id, format).map(|body| body.with((place, timed.in_flight())))
                }
                Answer::Own(_) | Answer::Refused(_) => answer.into_response(&id, format),
            }
        }
    };
    if tenant.gzip {
        response = deflate::encode(&head.headers, response);
    }
    if quiet {
        response = headers_alone(response);
    }
    cors::annotate(&tenant.cors, &head.headers, response.headers_mut());
    response
}

/// The answer to HEAD: all of GET's but the body.
fn headers_alone(response: Response<OutBody>) -> Response<OutBody> {
    let (mut head, body) = response.into_parts();
    let (body, length) = body.silence();
    if let Some(length) = length.filter(|_| !head.headers.contains_key(header::CONTENT_LENGTH)) {
        head.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Response::from_parts(head, body)
}

/// admit → classify, and then the line: decide → enter → forward → protect → seal; of a batch for each entry. Tells the
/// form in which the answer is wanted as well.
async fn answer(
    tenant: &Arc<Tenant>,
    head: &http::request::Parts,
    path: &str,
    body: Incoming,
    peer: SocketAddr,
    id: &str,
) -> (Answer, Format) {
    let asked = Asked::of(head, path, id, peer);
    let wanted = asked.format;
    let peer = Peer::of(head, peer.ip());
    if let Some(answer) = discovery::answer(tenant, head, path, &peer).await {
        return (answer, wanted);
    }
    let admitted = match admit(tenant, &head.headers, &peer).await {
        Ok(admitted) => admitted,
        Err(refusal) => {
            if refusal.stranger {
                tenant.metrics.request(asked.route, Ending::Stranger);
            }
            return (refused(tenant, asked, None, refusal).await, wanted);
        }
    };
    admitted_answer(tenant, &admitted, asked, head, path, body).await
}

/// The same of somebody who was admitted.
pub(crate) async fn admitted_answer<B>(
    tenant: &Arc<Tenant>,
    admitted: &Admitted,
    asked: Asked,
    head: &http::request::Parts,
    path: &str,
    body: B,
) -> (Answer, Format)
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let wanted = asked.format;
    let sent = match receive(tenant, head, path, body).await {
        Ok(sent) => sent,
        Err(refusal) => return (refused(tenant, asked, Some(admitted), refusal).await, wanted),
    };
    let (asked, classified) = classify(&sent, asked);
    let format = asked.format;
    let answer = match classified {
        Ok(Classified { interaction: Interaction::Bundle, body, .. }) => {
            batch(tenant, admitted, asked, body.unwrap_or_default()).await
        }
        classified => one(tenant, admitted, asked, classified).await,
    };
    (answer, format)
}
