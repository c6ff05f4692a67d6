//! The one place from which anything goes upstream: it takes a grant and a durable entry, and sends what was judged.

use std::sync::Arc;

use drape_policy::Standing;
use drape_shield::{Expect, Links, Setup, Shield};
use drape_view::Redaction;
use http::{HeaderMap, Response, StatusCode, header};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

mod counts;
mod exports;
mod links;
mod operations;
mod transaction;
mod writes;

pub(crate) use counts::epsilon;
pub(super) use exports::Files;
pub(super) use links::Pages;
use links::{Cursor, PageLinks, Reading};
pub(crate) use transaction::in_entry;
pub use transaction::{Member, transact};

use super::classify::Unless;
use super::decide::{Grant, Records, Way, decide_later};
use super::enter::{Durable, Entered};
use super::protect::{Held, Stream};
use super::seal::Totals;
use super::{Guard, Own};
use crate::client::{ClientError, read_bounded};
use crate::facts::Ahead;
use crate::parts::Tenant;
use crate::refusal::{Lacks, Refusal};
use crate::trace::{Sent, Witness};
use crate::upstream::{UpstreamBody, UpstreamRequest, error_status, is_fhir_json};

/// What came of the grant.
pub enum Upstream {
    /// Records, still to be judged.
    Records(Box<Stream>),
    /// Drape's own words.
    Own(Own),
    /// Drape's own words about a record that was written, and its name and patients for the log.
    Written(Own, Totals),
    /// A small answer that is known whole, still to be judged.
    Held(Box<Held>),
}

/// Sends the granted request. Without an entry it cannot be called, so nothing goes upstream that is not in the log.
pub async fn forward(tenant: &Arc<Tenant>, grant: Grant, entered: &mut Entered) -> Result<Upstream, Refusal> {
    entered.at("forward");
    let durable = entered.durable();
    let (desk, way, standing) = Desk::of(tenant, settled(tenant, grant, entered).await?, durable);
    match way {
        Way::Nothing { address } => Ok(Upstream::Own(desk.nothing(&address))),
        Way::Records(records) => {
            desk.records(records).await.map(|stream| Upstream::Records(Box::new(stream)))
        }
        Way::Write(write) => desk.write(write, &standing).await,
        Way::Aggregate(aggregate) => desk.aggregate(aggregate).await.map(Upstream::Own),
        Way::Everything { records, resource_type, id } => {
            desk.everything(records, &resource_type, &id).await.map(|s| Upstream::Records(Box::new(s)))
        }
        Way::Export(step) => desk.export(*step).await,
        Way::Words(words) => desk.words(words, &standing).await,
        Way::Binary(binary) => desk.binary(binary).await,
        Way::Later(_) => {
            let public = "the request cannot be decided at this time";
            Err(Refusal::unavailable("forward", public, "it waits for relations that were looked up"))
        }
    }
}

/// The grant for good: one that waits to know what the caller is to whom is decided once more, before anything else is
/// asked of the upstream.
async fn settled(tenant: &Tenant, mut grant: Grant, entered: &mut Entered) -> Result<Grant, Refusal> {
    if let Way::Later(later) = grant.way {
        let caller = tenant.facts.look_up(tenant, grant.view.caller(), entered.durable()).await?;
        grant = decide_later(tenant, &caller, &grant.token, *later)?;
        entered.decided_again(&grant);
    }
    Ok(grant)
}

/// What asks the upstream on behalf of one grant.
pub(super) struct Desk {
    tenant: Arc<Tenant>,
    view: drape_view::View,
    standing: Arc<drape_policy::Standing>,
    shows_all: bool,
    changes_with_time: bool,
    unless: Unless,
    durable: Durable,
    token: zeroize::Zeroizing<String>,
    witness: (String, Witness),
}

const OUTCOME_BYTES_MAX: usize = 64 << 10;

impl Desk {
    /// The desk of a grant, what it is for, and how its caller stands.
    fn of(tenant: &Arc<Tenant>, grant: Grant, durable: Durable) -> (Arc<Self>, Way, Arc<Standing>) {
        let Grant { way, view, standing, token, unless, witness, .. } = grant;
        let desk = Self {
            tenant: Arc::clone(tenant),
            view,
            standing: Arc::clone(&standing),
            shows_all: standing.shows_all(),
            changes_with_time: standing.changes_with_time(),
            unless,
            durable,
            token,
            witness,
        };
        (Arc::new(desk), way, standing)
    }

    async fn send(&self, request: &UpstreamRequest) -> Result<Response<UpstreamBody>, Refusal> {
        self.witness.1.tell(&self.witness.0, |trace| {
            let (method, target) = (request.method.to_string(), request.path_and_query.clone());
            trace.sent.push(Sent { method, target });
        });
        let sent = self.tenant.upstream.send(request, &self.token, self.tenant.limits.upstream_timeout).await;
        sent.map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &ClientError) -> Refusal {
        let (kind, refusal) = match error {
            ClientError::TimedOut(_) => {
                let public = "the FHIR server behind did not answer in time";
                ("timeout", Refusal::new("forward", StatusCode::GATEWAY_TIMEOUT, "timeout", public))
            }
            _ => ("unreachable", Refusal::upstream("")),
        };
        self.tenant.metrics.upstream_error(kind);
        refusal.because(error.to_string())
    }

    /// An upstream error becomes one of Drape's: the status, the issue code and `Retry-After` stay, nothing else.
    async fn check(&self, response: Response<UpstreamBody>) -> Result<Response<UpstreamBody>, Refusal> {
        let status = response.status();
        let Some(ours) = error_status(status) else {
            if !is_fhir_json(&response) && !is_empty(&response) {
                self.tenant.metrics.upstream_error("body");
                return Err(Refusal::upstream("the answer is not FHIR JSON"));
            }
            return Ok(response);
        };
        self.tenant.metrics.upstream_error("status");
        if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
            if status == StatusCode::GONE && self.shows_all {
                return Err(Refusal::new("forward", StatusCode::GONE, "deleted", "the record was deleted"));
            }
            return Err(Refusal::unknown("forward", format!("the upstream answers {status}")));
        }
        let retry =
            response.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let body = read_bounded(response.into_body(), OUTCOME_BYTES_MAX).await.unwrap_or_default();
        let code = drape_fhir::outcome::issue_code(&body).unwrap_or("processing");
        let public = format!("the FHIR server behind answered {}", ours.as_u16());
        let mut refusal = Refusal::new("forward", ours, code, public)
            .lacking(Lacks::Upstream)
            .because(format!("the upstream answers {status} ({code})"));
        if let Some(retry) = retry.filter(|r| r.bytes().all(|b| b.is_ascii_digit())) {
            refusal = refusal.with(header::RETRY_AFTER, &retry);
        }
        Err(refusal)
    }

    /// Sends a granted read or search.
    async fn records(self: &Arc<Self>, records: Records) -> Result<Stream, Refusal> {
        let response = self.fetch(&records.request).await?;
        Ok(self.stream(response, records.expect.clone(), Some(records), StatusCode::OK, HeaderMap::new()))
    }

    /// What a read or search is answered with, if it is 200.
    async fn fetch(&self, request: &UpstreamRequest) -> Result<Response<UpstreamBody>, Refusal> {
        let response = self.check(self.send(request).await?).await?;
        if response.status() != StatusCode::OK {
            return Err(Refusal::upstream(format!("the upstream answers {} to a read", response.status())));
        }
        Ok(response)
    }

    fn stream(
        self: &Arc<Self>,
        response: Response<UpstreamBody>,
        expect: Expect,
        records: Option<Records>,
        status: StatusCode,
        headers: HeaderMap,
    ) -> Stream {
        let tenant = &self.tenant;
        let caller = self.view.caller();
        let reading =
            records.as_ref().map(|r| Reading { here: r.request.path_and_query.clone(), next: None });
        let cursor: Cursor = Arc::new(parking_lot::Mutex::new(reading.unwrap_or_default()));
        let single = matches!(expect, Expect::Record { .. });
        let links = PageLinks {
            tenant: Arc::clone(tenant),
            caller: Arc::clone(caller),
            uniform: self.view.uniform(),
            address: records.as_ref().map(|r| r.address.clone()).unwrap_or_default(),
            own_link: records.as_ref().map(|r| r.own_link.clone()).unwrap_or_default(),
            cursor: Arc::clone(&cursor),
        };
        let ahead = Ahead::new(tenant, &self.standing, &self.view, &self.token, &expect);
        let mut setup = self.setup(expect, Box::new(links));
        setup.pointers = ahead.as_ref().is_some_and(Ahead::references);
        // Where every record is judged alike, none is withheld but all are, and the server's pages have no holes.
        setup.paging = records.as_ref().filter(|_| !single && !self.view.uniform()).map(|r| r.paging);
        let shield = Shield::new(setup);
        let text = |name: header::HeaderName| {
            response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
        };
        let etag = text(header::ETAG).filter(|e| e.len() < 128);
        let last_modified = response.headers().get(header::LAST_MODIFIED).cloned();
        let emergency = caller.statement.emergency.as_ref().map_or(u64::MAX, |e| e.until_ms);
        let guard = Guard {
            view: self.view.clone(),
            single,
            until_ms: caller.proof.expires_at.saturating_mul(1_000).saturating_add(60_000).min(emergency),
            view_until_ms: Guard::view_until(self.changes_with_time, tenant.clock.now_ms()),
            names_one: single || records.as_ref().is_some_and(|r| r.names_one) && !self.view.uniform(),
            viewer: viewer(tenant, caller),
            always_marked: tenant.redaction == Redaction::Silent && !(self.shows_all && self.view.uniform()),
            unless: self.unless.clone(),
            etag,
            last_modified,
        };
        Stream {
            status,
            headers,
            body: response.into_body(),
            shield: Box::new(shield),
            guard,
            ahead,
            deadline: Instant::now() + tenant.limits.request_timeout,
            pages: records.map(|records| Pages { desk: Arc::clone(self), records, cursor }),
            files: None,
        }
    }

    fn setup(&self, expect: Expect, links: Box<dyn Links + Send + Sync>) -> Setup {
        let tenant = &self.tenant;
        Setup {
            paging: None,
            catalogue: Arc::clone(&tenant.catalogue),
            expect,
            upstream_base: tenant.upstream.base_url().to_owned(),
            public_base: tenant.public_base.clone(),
            limits: drape_shield::Limits {
                entry_bytes_max: tenant.limits.entry_bytes_max,
                depth_max: tenant.limits.json_depth_max,
            },
            uniform: self.view.uniform(),
            shows_all: self.shows_all && self.view.uniform(),
            declared: tenant.redaction == Redaction::Declared,
            links,
            pseudonyms: Arc::clone(&tenant.pseudonymizer),
            tenant: tenant.name.clone(),
            today: self.view.caller().environment.today.clone(),
            pointers: false,
        }
    }

    /// A searchset in which nothing matched.
    fn nothing(&self, address: &str) -> Own {
        let link = json!([{"relation": "self", "url": format!("{}{address}", self.tenant.public_base)}]);
        Own::ok(json!({"resourceType": "Bundle", "type": "searchset", "link": link}).to_string())
    }
}

fn is_empty(response: &Response<UpstreamBody>) -> bool {
    response.status() == StatusCode::NO_CONTENT || hyper::body::Body::is_end_stream(response.body())
}

/// Begins the mark of this caller's views: two views of one version are not the same bytes, and whoever knows the bytes
/// of one cannot tell the mark of another.
fn viewer(tenant: &Tenant, caller: &drape_view::Caller) -> Sha256 {
    let mut hash = Sha256::new();
    hash.update(tenant.etag_secret.expose());
    hash.update(tenant.policy_digest.as_bytes());
    hash.update([u8::from(caller.environment.break_glass)]);
    for part in [&caller.issuer, &caller.subject, &caller.purpose] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash
}
