//! What is written: found, judged as it is stored and as it will be, merged, held to the version that was judged, and
//! then sent.
//!
//! [`Desk::prepare`] does all that can be refused; what it gives needs only to be sent.

use std::sync::Arc;

use bytes::Bytes;
use drape_fhir::outcome::Outcome;
use drape_fhir::reference::Reference;
use drape_policy::Standing;
use drape_shield::Expect;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

mod find;
mod judge;
mod stored;

use super::{Desk, Upstream, is_empty};
use crate::refusal::Refusal;
use crate::stages::Own;
use crate::stages::classify::Return;
use crate::stages::decide::{Act, At, Finding, Write};
use crate::stages::seal::Totals;
use crate::upstream::{UpstreamBody, UpstreamRequest};
pub(super) use find::Found;

/// What came of judging a write.
pub(in crate::stages) enum Ready {
    /// It may be sent.
    Send(Prepared),
    /// A conditional create whose record is there already.
    There {
        /// Its id.
        id: String,
    },
}

/// A write that was judged, and whose record the caller may see as it will be.
pub(in crate::stages) struct Prepared {
    /// What goes upstream.
    pub(in crate::stages) request: UpstreamRequest,
    pub(super) resource_type: String,
    /// `None` where the upstream will give one.
    pub(super) id: Option<String>,
    /// Whom the record is about, for the log.
    pub(super) patients: Vec<String>,
    /// Whether the caller named the version.
    held: bool,
}

impl Desk {
    /// Judges a write and sends it.
    pub(super) async fn write(
        self: &Arc<Self>,
        write: Write,
        standing: &Standing,
    ) -> Result<Upstream, Refusal> {
        let (resource_type, prefer) = (write.resource_type.clone(), write.prefer);
        match self.prepare(write, standing).await? {
            Ready::Send(prepared) => {
                let response = self.send(&prepared.request).await?;
                let response = self.check_written(response, &prepared).await?;
                self.written(response, prepared, prefer)
            }
            Ready::There { id } => self.there(resource_type, id, prefer).await,
        }
    }

    /// All that is to be judged about a write, and the request that may then be sent.
    pub(in crate::stages) async fn prepare(
        self: &Arc<Self>,
        write: Write,
        standing: &Standing,
    ) -> Result<Ready, Refusal> {
        let (at, creates) = match &write.act {
            Act::Create { unless: None } => {
                return self.create(&write, standing, None).await.map(Ready::Send);
            }
            Act::Create { unless: Some(finding) } => {
                return match self.find(finding).await? {
                    Found::One(id) => Ok(Ready::There { id }),
                    Found::Several => Err(several()),
                    Found::Nothing { withheld } => {
                        self.create(&write, standing, unless(finding, withheld)).await.map(Ready::Send)
                    }
                };
            }
            Act::Update { at, creates } => (at, *creates),
            Act::Patch { at, .. } | Act::Delete { at } => (at, false),
        };
        let (id, finding) = match at {
            At::Id(id) => (id.clone(), None),
            At::Found(finding) => match self.find(finding).await? {
                Found::One(id) => (id, Some(finding)),
                Found::Several => return Err(several()),
                Found::Nothing { withheld } => {
                    let created = self.not_found(&write, standing, finding, creates, withheld);
                    return created.await.map(Ready::Send);
                }
            },
        };
        match &write.act {
            Act::Delete { .. } => self.delete(&write, &id, standing).await.map(Ready::Send),
            _ => self.update(&write, &id, finding.is_some(), standing).await.map(Ready::Send),
        }
    }

    /// The same for a member of a transaction, whose conditional create was searched for already (`found`) and is sent
    /// whether its record is there or not: the upstream finds it anew.
    pub(super) async fn prepare_member(
        self: &Arc<Self>,
        write: Write,
        found: Option<Found>,
        standing: &Standing,
    ) -> Result<Prepared, Refusal> {
        if let (Act::Create { unless: Some(finding) }, Some(found)) = (&write.act, found) {
            let criteria = match found {
                // By its id: the criteria may find others, which are withheld from the caller.
                Found::One(id) => Some(format!("_id={id}")),
                Found::Several => return Err(several()),
                Found::Nothing { withheld } => unless(finding, withheld),
            };
            return self.create(&write, standing, criteria).await;
        }
        match self.prepare(write, standing).await? {
            Ready::Send(prepared) => Ok(prepared),
            Ready::There { .. } => Err(changed(false)),
        }
    }

    /// What the search of a conditional create finds; nothing is searched for by other writes.
    pub(super) async fn found(self: &Arc<Self>, write: &Write) -> Result<Option<Found>, Refusal> {
        match &write.act {
            Act::Create { unless: Some(finding) } => match self.find(finding).await? {
                Found::Several => Err(several()),
                found => Ok(Some(found)),
            },
            _ => Ok(None),
        }
    }

    /// A conditional write whose search finds nothing: an update creates (R4 http, 3.1.0.7.1), all else is unknown.
    async fn not_found(
        self: &Arc<Self>,
        write: &Write,
        standing: &Standing,
        finding: &Finding,
        creates: bool,
        withheld: bool,
    ) -> Result<Prepared, Refusal> {
        if !matches!(write.act, Act::Update { .. }) {
            return Err(Refusal::unknown("forward", "nothing is found that the caller may see"));
        }
        if !creates {
            let public = "no record is found, and you may not create one";
            return Err(Refusal::forbidden("forward", public));
        }
        if self.facts_of(write, &write.body)?.main().is_some_and(|m| m.id.is_some()) {
            return Err(bad("no record is found, and one with an id of your choice is not created".into()));
        }
        self.create(write, standing, unless(finding, withheld)).await
    }

    async fn create(
        self: &Arc<Self>,
        write: &Write,
        standing: &Standing,
        if_none_exist: Option<String>,
    ) -> Result<Prepared, Refusal> {
        let (body, patients) = self.judge_new(write, standing).await?;
        let request = UpstreamRequest {
            method: Method::POST,
            path_and_query: format!("/{}", write.resource_type),
            body: Some(body.into()),
            if_match: None,
            if_none_exist,
        };
        Ok(Prepared { request, resource_type: write.resource_type.clone(), id: None, patients, held: false })
    }

    async fn update(
        self: &Arc<Self>,
        write: &Write,
        id: &str,
        by_search: bool,
        standing: &Standing,
    ) -> Result<Prepared, Refusal> {
        let mut stored = self.stored(&write.resource_type, id).await?;
        self.hold(write, &stored)?;
        let sent = self.sent(write, id, by_search, &stored)?;
        let (merged, patients) = self.judge_change(write, &mut stored, &sent, standing).await?;
        let request = UpstreamRequest {
            method: Method::PUT,
            path_and_query: format!("/{}/{id}", write.resource_type),
            body: Some(merged.into()),
            if_match: Some(stored.version),
            if_none_exist: None,
        };
        let held = write.if_match.is_some();
        let id = Some(id.to_owned());
        Ok(Prepared { request, resource_type: write.resource_type.clone(), id, patients, held })
    }

    async fn delete(
        self: &Arc<Self>,
        write: &Write,
        id: &str,
        standing: &Standing,
    ) -> Result<Prepared, Refusal> {
        let stored = self.stored(&write.resource_type, id).await?;
        self.hold(write, &stored)?;
        let patients = self.judge_removal(&stored, standing)?;
        let request = UpstreamRequest {
            method: Method::DELETE,
            path_and_query: format!("/{}/{id}", write.resource_type),
            body: None,
            if_match: Some(stored.version),
            if_none_exist: None,
        };
        let held = write.if_match.is_some();
        let id = Some(id.to_owned());
        Ok(Prepared { request, resource_type: write.resource_type.clone(), id, patients, held })
    }

    /// What the upstream says to a write. Servers tell a version that is not the current one by 412 or by 409, which
    /// says other things too; the version tells which.
    async fn check_written(
        self: &Arc<Self>,
        response: Response<UpstreamBody>,
        prepared: &Prepared,
    ) -> Result<Response<UpstreamBody>, Refusal> {
        let status = response.status();
        let raced = matches!(status, StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED);
        // The end of a delete has no body that anybody needs, whatever it is written in.
        if prepared.request.method == Method::DELETE && status.is_success() {
            return Ok(response);
        }
        let checked = self.check(response).await;
        if raced
            && let Some(id) = &prepared.id
            && let Some(version) = &prepared.request.if_match
        {
            let now = self.stored(&prepared.resource_type, id).await?;
            if now.version != *version {
                return Err(changed(prepared.held));
            }
        }
        checked
    }

    /// The answer to a write.
    fn written(
        self: &Arc<Self>,
        response: Response<UpstreamBody>,
        prepared: Prepared,
        prefer: Return,
    ) -> Result<Upstream, Refusal> {
        let Prepared { request, resource_type, id, patients, .. } = prepared;
        let tenant = &self.tenant;
        let deleted = request.method == Method::DELETE;
        let mut status = response.status();
        let mut headers = HeaderMap::new();
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            let Some(value) = response.headers().get(&name).and_then(|v| v.to_str().ok()) else { continue };
            if let Some(rest) = value.strip_prefix(tenant.upstream.base_url())
                && matches!(Reference::parse(rest.trim_start_matches('/'), &[]), Reference::Local { .. })
                && let Ok(value) = HeaderValue::from_str(&format!("{}{rest}", tenant.public_base))
            {
                headers.insert(name, value);
            }
        }
        if prefer == Return::Representation && !deleted && !is_empty(&response) {
            // It passes the shield as a read does: nothing comes back that the caller would not be shown (LV-63).
            let expect = Expect::Record { resource_type, id, version: None };
            return Ok(Upstream::Records(Box::new(self.stream(response, expect, None, status, headers))));
        }
        if let Some(etag) = response.headers().get(header::ETAG).filter(|_| !deleted) {
            headers.insert(header::ETAG, etag.clone());
        }
        // The server names a new record in `Location`, with its version.
        let named = headers.get(header::LOCATION).and_then(|v| v.to_str().ok());
        let named = named.and_then(|l| l.strip_prefix(&tenant.public_base)?.strip_prefix('/'));
        let record = match (named, id) {
            (Some(named), _) => named.replace("/_history/", "/"),
            (None, Some(id)) => format!("{resource_type}/{id}"),
            (None, None) => resource_type,
        };
        let body = match (prefer, deleted) {
            // In words of Drape's own: what a server warns of can tell of what is hidden.
            (Return::Outcome, _) => Outcome::done(if deleted { "deleted" } else { "stored" }).to_json(),
            _ => Vec::new(),
        };
        if deleted {
            status = if body.is_empty() { StatusCode::NO_CONTENT } else { StatusCode::OK };
        }
        let mut totals = Totals::default();
        totals.written(record, &patients);
        Ok(Upstream::Written(Own { status, headers, body: Bytes::from(body) }, totals))
    }

    /// The answer to a conditional create whose record is there: 200, and what is sent is passed over (R4 http,
    /// 3.1.0.8.1).
    async fn there(
        self: &Arc<Self>,
        resource_type: String,
        id: String,
        prefer: Return,
    ) -> Result<Upstream, Refusal> {
        let path = format!("/{resource_type}/{id}");
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(&format!("{}{path}", self.tenant.public_base)) {
            headers.insert(header::LOCATION, value);
        }
        if prefer != Return::Representation {
            let body = match prefer {
                Return::Outcome => Outcome::done("a record is there already").to_json(),
                _ => Vec::new(),
            };
            let own = Own { status: StatusCode::OK, headers, body: Bytes::from(body) };
            return Ok(Upstream::Own(own));
        }
        let response = self.check(self.send(&UpstreamRequest::get(path)).await?).await?;
        let expect = Expect::Record { resource_type, id: Some(id), version: None };
        Ok(Upstream::Records(Box::new(self.stream(response, expect, None, StatusCode::OK, headers))))
    }
}

fn bad(what: String) -> Refusal {
    Refusal::new("forward", StatusCode::BAD_REQUEST, "structure", what)
}

/// `If-None-Exist` of what was not found. What is withheld is as if it were not there; the upstream would not take it so.
fn unless(finding: &Finding, withheld: bool) -> Option<String> {
    if withheld { None } else { finding.criteria() }
}

fn several() -> Refusal {
    let public = "the criteria find more than one record";
    Refusal::new("forward", StatusCode::PRECONDITION_FAILED, "multiple-matches", public)
}

/// A record that somebody else has changed meanwhile.
fn changed(held: bool) -> Refusal {
    if held {
        let public = "the record, or what you may see of it, has changed since you read it; read it again";
        return Refusal::new("forward", StatusCode::PRECONDITION_FAILED, "conflict", public);
    }
    let public = "the record was changed by somebody else at the same time; read it again";
    Refusal::new("forward", StatusCode::CONFLICT, "conflict", public)
}
