//! A transaction: every write of it judged and prepared before any is sent, and all of them sent as one Bundle, so that
//! the upstream carries out all or none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use drape_fhir::reference::Reference;
use drape_policy::Standing;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;

use super::writes::{Found, Prepared};
use super::{Desk, settled};
use crate::client::read_bounded;
use crate::parts::Tenant;
use crate::refusal::Refusal;
use crate::stages::decide::{Act, At, Grant, Way, Write};
use crate::stages::enter::Entered;
use crate::stages::seal::{Outcome, Totals, seal};
use crate::stages::{Answer, Own};
use crate::upstream::UpstreamRequest;

/// One write of a transaction, granted and entered.
#[derive(Debug)]
pub struct Member {
    /// Leave to make it.
    pub grant: Grant,
    /// Its own log entry.
    pub entered: Entered,
    /// How the other entries name what it makes.
    pub full_url: Option<String>,
    /// Its place in the Bundle that was sent, from 1.
    pub number: usize,
}

struct Work {
    desk: Arc<Desk>,
    write: Write,
    standing: Arc<Standing>,
    entered: Entered,
    full_url: Option<String>,
    number: usize,
}

/// What the upstream says of a transaction; more than this is not read.
const RESPONSE_BYTES_MAX: usize = 16 << 20;

/// Carries out the writes of a transaction, all or none. Gives one answer a member, in their order, each sealed.
///
/// # Errors
/// The first refusal. It is entered for all members, since none was carried out.
pub async fn transact(tenant: &Arc<Tenant>, members: Vec<Member>) -> Result<Vec<Answer>, Refusal> {
    let mut works = Vec::with_capacity(members.len());
    let (mut undecided, mut refused) = (Vec::new(), None);
    for Member { grant, mut entered, full_url, number } in members {
        entered.at("forward");
        let durable = entered.durable();
        let grant = match (&refused, settled(tenant, grant, &mut entered).await) {
            (None, Ok(grant)) => grant,
            (_, settled) => {
                refused = refused.or(settled.err().map(|refusal| in_entry(number, refusal)));
                undecided.push(entered);
                continue;
            }
        };
        let (desk, way, standing) = Desk::of(tenant, grant, durable);
        let Way::Write(write) = way else { continue };
        works.push(Work { desk, write, standing, entered, full_url, number });
    }
    let sent = match refused {
        Some(refusal) => Err(refusal),
        None => match prepare(tenant, &mut works).await {
            Ok(prepared) => send(tenant, &works, &prepared).await.map(|told| (prepared, told)),
            Err(refusal) => Err(refusal),
        },
    };
    match sent {
        Ok((prepared, told)) => {
            let mut answers = Vec::with_capacity(works.len());
            for ((work, prepared), told) in works.into_iter().zip(prepared).zip(told) {
                let (own, record) = answer(tenant, &prepared, &told);
                let mut totals = Totals::default();
                totals.written(record, &prepared.patients);
                answers.push(seal(work.entered, Outcome::written(own, totals)).await);
            }
            Ok(answers)
        }
        Err(refusal) => {
            for entered in works.into_iter().map(|work| work.entered).chain(undecided) {
                seal(entered, Outcome::refused(refusal.clone(), Totals::default())).await;
            }
            Err(refusal)
        }
    }
}

/// Says which entry of the Bundle is meant, to both readers.
pub(crate) fn in_entry(number: usize, mut refusal: Refusal) -> Refusal {
    refusal.public = format!("entry {number}: {}; nothing of the transaction was done", refusal.public);
    refusal.reason = format!("entry {number}: {}", refusal.reason);
    refusal
}

async fn prepare(tenant: &Arc<Tenant>, works: &mut [Work]) -> Result<Vec<Prepared>, Refusal> {
    // What others name by a `urn:` of the Bundle and what is there already is known by its own name, so that whoever
    // writes about a patient is judged by that patient.
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut searched = Vec::with_capacity(works.len());
    for work in works.iter() {
        let resource_type = &work.write.resource_type;
        let found = work.desk.found(&work.write).await.map_err(|refusal| in_entry(work.number, refusal))?;
        let id = match (&found, &work.write.act) {
            (Some(Found::One(id)), _)
            | (_, Act::Update { at: At::Id(id), .. } | Act::Patch { at: At::Id(id), .. }) => Some(id.clone()),
            _ => None,
        };
        searched.push(found);
        if let (Some(id), Some(url)) = (id, &work.full_url)
            && url.starts_with("urn:")
        {
            known.insert(url.clone(), format!("{resource_type}/{id}"));
        }
    }
    let depth = tenant.limits.json_depth_max;
    let mut prepared: Vec<Prepared> = Vec::with_capacity(works.len());
    let mut touched = BTreeSet::new();
    for (work, found) in works.iter_mut().zip(searched) {
        let number = work.number;
        // A delete has no body.
        let has_body = !work.write.body.is_empty();
        for (urn, name) in known.iter().filter(|_| has_body) {
            let body = drape_shield::rebase(&work.write.body, urn, name, depth).map_err(|e| {
                let public = format!("the body cannot be read: {}", e.what);
                in_entry(number, Refusal::new("forward", StatusCode::BAD_REQUEST, "structure", public))
            })?;
            work.write.body = body.into();
        }
        let write = std::mem::replace(&mut work.write, Write::nothing());
        let one = work
            .desk
            .prepare_member(write, found, &work.standing)
            .await
            .map_err(|refusal| in_entry(number, refusal))?;
        if one.request.method != Method::POST && !touched.insert(one.request.path_and_query.clone()) {
            let public = "a record is changed twice in one transaction";
            let refusal = Refusal::new("forward", StatusCode::BAD_REQUEST, "business-rule", public);
            return Err(in_entry(number, refusal));
        }
        prepared.push(one);
    }
    Ok(prepared)
}

/// What the upstream says of each entry.
struct Told {
    status: StatusCode,
    location: Option<String>,
    etag: Option<String>,
}

async fn send(tenant: &Tenant, works: &[Work], prepared: &[Prepared]) -> Result<Vec<Told>, Refusal> {
    let Some(first) = works.first() else { return Ok(Vec::new()) };
    let request = UpstreamRequest {
        method: Method::POST,
        path_and_query: String::new(),
        body: Some(bundle(works, prepared).into()),
        if_match: None,
        if_none_exist: None,
    };
    let response = first.desk.send(&request).await?;
    let status = response.status();
    let response = first.desk.check(response).await.map_err(|mut refusal| {
        // A version that is not the current one is told by 412 or by 409.
        if matches!(status, StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED) {
            refusal.public =
                "something of the transaction was changed by somebody else at the same time, or stands \
                              in its way; nothing of it was done"
                    .into();
        }
        refusal
    })?;
    let body = read_bounded(response.into_body(), RESPONSE_BYTES_MAX).await;
    let unread = |why: &str| {
        tracing::error!(
            tenant = tenant.name,
            why,
            "a transaction was carried out and its answer cannot be read"
        );
        Refusal::upstream(format!(
            "the transaction may have been carried out, its answer is not understood: {why}"
        ))
    };
    let body = body.map_err(|e| unread(&e.to_string()))?;
    let answer: Value = serde_json::from_slice(&body).map_err(|_| unread("no JSON"))?;
    if answer["resourceType"] != "Bundle" || answer["type"] != "transaction-response" {
        return Err(unread("no transaction-response"));
    }
    let entries = answer["entry"].as_array().map(Vec::as_slice).unwrap_or_default();
    if entries.len() != prepared.len() {
        return Err(unread("another number of entries"));
    }
    entries
        .iter()
        .map(|entry| {
            let response = &entry["response"];
            let text = |name: &str| response[name].as_str().map(str::to_owned);
            let status = text("status").and_then(|s| s.get(..3)?.parse::<u16>().ok());
            let status = status.and_then(|s| StatusCode::from_u16(s).ok()).filter(StatusCode::is_success);
            let status = status.ok_or_else(|| unread("an entry that is no success"))?;
            Ok(Told { status, location: text("location"), etag: text("etag") })
        })
        .collect()
}

/// The Bundle as it goes upstream: the requests that were judged, and nothing else of what was sent.
fn bundle(works: &[Work], prepared: &[Prepared]) -> Vec<u8> {
    let mut out = br#"{"resourceType":"Bundle","type":"transaction","entry":["#.to_vec();
    for (place, (work, prepared)) in works.iter().zip(prepared).enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.push(b'{');
        let member = |out: &mut Vec<u8>, name: &str, value: &str| {
            if !out.ends_with(b"{") {
                out.push(b',');
            }
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            drape_fhir::json::write_string(value, out);
        };
        if let Some(url) = work.full_url.as_deref().filter(|url| url.starts_with("urn:")) {
            member(&mut out, "fullUrl", url);
        }
        if let Some(body) = &prepared.request.body {
            if !out.ends_with(b"{") {
                out.push(b',');
            }
            out.extend_from_slice(b"\"resource\":");
            out.extend_from_slice(body.trim_ascii());
        }
        if !out.ends_with(b"{") {
            out.push(b',');
        }
        out.extend_from_slice(b"\"request\":{");
        let UpstreamRequest { method, path_and_query, if_match, if_none_exist, .. } = &prepared.request;
        member(&mut out, "method", method.as_str());
        member(&mut out, "url", path_and_query.trim_start_matches('/'));
        for (name, value) in [("ifMatch", if_match), ("ifNoneExist", if_none_exist)] {
            if let Some(value) = value {
                member(&mut out, name, value);
            }
        }
        out.extend_from_slice(b"}}");
    }
    out.extend_from_slice(b"]}");
    out
}

/// The answer to one write, and the record's name for the log. The record itself is not sent back: what the caller may
/// see of it, she reads.
fn answer(tenant: &Tenant, prepared: &Prepared, told: &Told) -> (Own, String) {
    let mut headers = HeaderMap::new();
    let named = told.location.as_deref().map(|location| {
        let base = tenant.upstream.base_url();
        location.strip_prefix(base).unwrap_or(location).trim_start_matches('/')
    });
    let named = named.filter(|name| matches!(Reference::parse(name, &[]), Reference::Local { .. }));
    let record = match (named, &prepared.id) {
        (Some(name), _) => name.replace("/_history/", "/"),
        (None, Some(id)) => format!("{}/{id}", prepared.resource_type),
        (None, None) => prepared.resource_type.clone(),
    };
    if let Some(name) = named
        && let Ok(value) = HeaderValue::from_str(&format!("{}/{name}", tenant.public_base))
    {
        headers.insert(header::LOCATION, value);
    }
    if prepared.request.method != Method::DELETE
        && let Some(value) = told.etag.as_deref().and_then(|etag| HeaderValue::from_str(etag).ok())
    {
        headers.insert(header::ETAG, value);
    }
    (Own { status: told.status, headers, body: Default::default() }, record)
}
