//! Batches and transactions: each entry goes the line by itself, with a grant and a log entry of its own; of a
//! transaction all or none.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use drape_fhir::bundle::{Entry, Misread, Requests};
use drape_fhir::interaction::Interaction;
use drape_fhir::json::{Limits, write_string};
use drape_fhir::media::Format;
use http::{HeaderMap, StatusCode, header};

use crate::body::Ungathered;
use crate::line::{one, refused, rest};
use crate::parts::Tenant;
use crate::refusal::Refusal;
use crate::stages::admit::Admitted;
use crate::stages::classify::{Asked, Classified, Sent, classify};
use crate::stages::decide::{decide, may_transact};
use crate::stages::enter::{Judged, enter};
use crate::stages::forward::{Member, in_entry, transact};
use crate::stages::seal::{Outcome, Totals, seal};
use crate::stages::{Answer, Own};

/// More entries than this are not taken in one Bundle.
pub const ENTRIES_MAX: usize = 500;

/// Answers a batch entry by entry, in the order sent. What one entry is refused says nothing about another.
pub(crate) async fn batch(tenant: &Arc<Tenant>, admitted: &Admitted, asked: Asked, body: Bytes) -> Answer {
    let limits = Limits { depth_max: tenant.limits.json_depth_max, ..Limits::default() };
    let requests = match Requests::read(&body, limits, ENTRIES_MAX) {
        Ok(requests) => requests,
        Err(misread) => return refused(tenant, asked, Some(admitted), unread(&misread)).await,
    };
    if requests.is_transaction {
        return transaction(tenant, admitted, asked, requests).await;
    }
    let mut told = Told::new(tenant, "batch-response");
    for (place, entry) in requests.entries.iter().enumerate() {
        let asked = within(tenant, &asked, entry, place);
        let id = asked.id.clone();
        let answer = match sent(tenant, entry) {
            Ok(sent) => {
                let (mut asked, classified) = understood(&sent, asked);
                // The Bundle around it is put into the wanted form as one.
                asked.format = Format::Json;
                one(tenant, admitted, asked, classified).await
            }
            Err(refusal) => refused(tenant, asked, Some(admitted), refusal).await,
        };
        if !told.add(answer, &id, entry).await {
            break;
        }
    }
    told.end()
}

/// Answers a transaction. Everything is judged before anything is done: one no is the no of all. The writes go upstream
/// as one; what is read is read when they are done.
async fn transaction(
    tenant: &Arc<Tenant>,
    admitted: &Admitted,
    asked: Asked,
    requests: Requests<'_>,
) -> Answer {
    let mut judged = Vec::with_capacity(requests.entries.len());
    for (place, entry) in requests.entries.iter().enumerate() {
        let asked = within(tenant, &asked, entry, place);
        let (asked, grant) = match sent(tenant, entry) {
            Ok(sent) => {
                let (asked, classified) = understood(&sent, asked);
                let grant = classified.and_then(|c| decide(tenant, admitted, c, &asked));
                let resource_type = asked.resource_type.clone().unwrap_or_default();
                let grant = grant.and_then(|grant| match grant.writes() {
                    true => may_transact(tenant, &admitted.caller, &resource_type).map(|()| grant),
                    false => Ok(grant),
                });
                (asked, grant)
            }
            Err(refusal) => (asked, Err(refusal)),
        };
        match grant {
            Ok(grant) => judged.push((asked, grant)),
            Err(refusal) => {
                return refused(tenant, asked, Some(admitted), in_entry(place + 1, refusal)).await;
            }
        }
    }
    let (mut members, mut reads, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    for (place, (asked, grant)) in judged.into_iter().enumerate() {
        ids.push(asked.id.clone());
        let judged = Judged { asked, caller: Some(Arc::clone(&admitted.caller)), result: Ok(grant) };
        match enter(tenant, judged).await {
            Ok((grant, entered)) if grant.writes() => {
                let full_url = requests.entries[place].full_url.clone();
                members.push(Member { grant, entered, full_url, number: place + 1 });
            }
            Ok((grant, entered)) => reads.push((place, grant, entered)),
            // What was entered before is entered as abandoned: it was not done.
            Err(refusal) => return Answer::Refused(refusal),
        }
    }
    let places: Vec<usize> = members.iter().map(|m| m.number - 1).collect();
    // Once begun it is ended and its outcomes entered, though its client goes away meanwhile.
    let of = Arc::clone(tenant);
    let done = tokio::spawn(async move { transact(&of, members).await })
        .await
        .unwrap_or_else(|e| Err(Refusal::unavailable("forward", "the transaction failed", e.to_string())));
    let written = match done {
        Ok(written) => written,
        Err(refusal) => {
            for (_, _, entered) in reads {
                seal(entered, Outcome::refused(refusal.clone(), Totals::default())).await;
            }
            return Answer::Refused(refusal);
        }
    };
    let mut answers: Vec<(usize, Answer)> = places.into_iter().zip(written).collect();
    for (place, grant, entered) in reads {
        answers.push((place, rest(tenant, grant, entered, Format::Json).await));
    }
    answers.sort_by_key(|(place, _)| *place);
    let mut told = Told::new(tenant, "transaction-response");
    for (place, answer) in answers {
        if !told.add(answer, &ids[place], &requests.entries[place]).await {
            break;
        }
    }
    told.end()
}

/// Where an entry leads, below the base: as FHIR has it, or written with the base or a slash before it.
fn below_base<'a>(tenant: &Tenant, entry: &'a Entry<'_>) -> &'a str {
    let url = entry.url.strip_prefix(&tenant.public_base).unwrap_or(&entry.url);
    url.strip_prefix('/').unwrap_or(url)
}

/// What is asked by an entry, for the log.
fn within(tenant: &Tenant, asked: &Asked, entry: &Entry<'_>, place: usize) -> Asked {
    Asked {
        id: format!("{}.{}", asked.id, place + 1),
        method: entry.method.clone(),
        target: format!("/{}", below_base(tenant, entry)),
        route: "unknown",
        interaction: None,
        witness: asked.witness.within(),
        ..asked.clone()
    }
}

fn unread(misread: &Misread) -> Refusal {
    Refusal::new("classify", StatusCode::BAD_REQUEST, "structure", misread.to_string())
}

/// What FHIR calls an entry. Neither the manifest of an export nor a file of it is a resource that could stand in a
/// Bundle.
fn understood(sent: &Sent, asked: Asked) -> (Asked, Result<Classified, Refusal>) {
    let (asked, classified) = classify(sent, asked);
    let classified = classified.and_then(|classified| match classified.interaction {
        Interaction::Export { .. } | Interaction::ExportFile { .. } => {
            let public = "an export is not asked about in a batch";
            Err(Refusal::new("classify", StatusCode::FORBIDDEN, "not-supported", public))
        }
        _ => Ok(classified),
    });
    (asked, classified)
}

/// An entry as if it had been sent by itself.
fn sent(tenant: &Tenant, entry: &Entry<'_>) -> Result<Sent, Refusal> {
    let url = below_base(tenant, entry);
    let (path, query) = url.split_once('?').map_or((url, None), |(p, q)| (p, Some(q.to_owned())));
    let mut sent = Sent {
        method: if entry.method == "HEAD" { "GET".into() } else { entry.method.clone() },
        path: format!("/{path}"),
        query,
        headers: Vec::new(),
        body: entry.resource.map(Bytes::copy_from_slice),
    };
    for (name, value) in [
        ("if-match", &entry.if_match),
        ("if-none-match", &entry.if_none_match),
        ("if-modified-since", &entry.if_modified_since),
        ("if-none-exist", &entry.if_none_exist),
    ] {
        if let Some(value) = value {
            sent.headers.push((name, value.clone()));
        }
    }
    match sent.method.as_str() {
        "GET" | "DELETE" if sent.body.is_some() => {
            let public = format!("an entry that is a {} carries no resource", entry.method);
            return Err(Refusal::new("classify", StatusCode::BAD_REQUEST, "structure", public));
        }
        "PATCH" => {
            if let Some(patch) = patch_in(entry)? {
                sent.body = Some(patch);
                sent.headers.push(("content-type", "application/json-patch+json".into()));
            } else {
                sent.headers.push(("content-type", "application/fhir+json".into()));
            }
        }
        "POST" | "PUT" => sent.headers.push(("content-type", "application/fhir+json".into())),
        _ => {}
    }
    Ok(sent)
}

/// A JSON Patch travels in a Bundle as a Binary (R4 http, 3.1.0.9.2).
fn patch_in(entry: &Entry<'_>) -> Result<Option<Bytes>, Refusal> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Binary {
        resource_type: String,
        content_type: Option<String>,
        data: Option<String>,
    }
    let bad = |what: &str| Refusal::new("classify", StatusCode::BAD_REQUEST, "structure", what.to_owned());
    let resource = entry.resource.ok_or_else(|| bad("an entry that is a PATCH carries no resource"))?;
    let Ok(binary) = serde_json::from_slice::<Binary>(resource) else { return Ok(None) };
    if binary.resource_type != "Binary" {
        return Ok(None);
    }
    let media = binary.content_type.unwrap_or_default();
    if media.split(';').next().unwrap_or_default().trim() != "application/json-patch+json" {
        return Err(bad("the Binary of a PATCH holds no JSON Patch"));
    }
    let data: String = binary.data.unwrap_or_default().split_ascii_whitespace().collect();
    STANDARD.decode(data).map(|d| Some(d.into())).map_err(|_| bad("the Binary of a PATCH is not base64"))
}

/// The answer as it grows.
struct Told {
    out: Vec<u8>,
    bytes_max: usize,
    entries: usize,
}

impl Told {
    fn new(tenant: &Tenant, kind: &str) -> Self {
        let out = format!("{{\"resourceType\":\"Bundle\",\"type\":\"{kind}\"").into_bytes();
        Self { out, bytes_max: tenant.limits.entry_bytes_max, entries: 0 }
    }

    /// One entry more. A body that is cut or does not fit becomes an error of that entry alone. False when there is no
    /// room for another.
    async fn add(&mut self, answer: Answer, id: &str, entry: &Entry<'_>) -> bool {
        let refused = matches!(answer, Answer::Refused(_));
        let (head, body) = answer.into_response(id, Format::Json).into_parts();
        let body = if entry.method == "HEAD" { body.silence().0 } else { body };
        self.out.extend_from_slice(if self.entries == 0 { b",\"entry\":[" } else { b"," });
        self.entries += 1;
        match body.gather(self.bytes_max.saturating_sub(self.out.len())).await {
            Ok(body) if refused => response(head.status, &head.headers, None, Some(&body), &mut self.out),
            Ok(body) => response(head.status, &head.headers, Some(&body), None, &mut self.out),
            Err(fault) => {
                let what = match fault {
                    Ungathered::Cut => "the FHIR server behind gave no usable answer",
                    Ungathered::TooLarge => "the answers together are too large; ask for less at a time",
                };
                let outcome = drape_fhir::outcome::Outcome::error("incomplete", what, Some(id)).to_json();
                response(StatusCode::BAD_GATEWAY, &HeaderMap::new(), None, Some(&outcome), &mut self.out);
            }
        }
        self.out.len() <= self.bytes_max
    }

    fn end(mut self) -> Answer {
        if self.out.len() > self.bytes_max {
            let public = "the answers together are too large; ask for less at a time";
            return Answer::Refused(
                Refusal::new("protect", StatusCode::FORBIDDEN, "too-costly", public)
                    .because("limit `entry_bytes_max` reached by a batch"),
            );
        }
        self.out.extend_from_slice(if self.entries == 0 { b"}" } else { b"]}" });
        Answer::Own(Own::ok(self.out))
    }
}

fn response(
    status: StatusCode,
    headers: &HeaderMap,
    resource: Option<&[u8]>,
    outcome: Option<&[u8]>,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    if let Some(resource) = resource.filter(|r| !r.is_empty()) {
        out.extend_from_slice(b"\"resource\":");
        out.extend_from_slice(resource.trim_ascii());
        out.push(b',');
    }
    out.extend_from_slice(b"\"response\":{\"status\":");
    let reason = status.canonical_reason().unwrap_or_default();
    write_string(format!("{} {reason}", status.as_u16()).trim_end(), out);
    for (name, member) in [(header::LOCATION, "location"), (header::ETAG, "etag")] {
        if let Some(value) = headers.get(name).and_then(|v| v.to_str().ok()) {
            out.extend_from_slice(format!(",\"{member}\":").as_bytes());
            write_string(value, out);
        }
    }
    if let Some(outcome) = outcome.filter(|o| !o.is_empty()) {
        out.extend_from_slice(b",\"outcome\":");
        out.extend_from_slice(outcome.trim_ascii());
    }
    out.extend_from_slice(b"}}");
}
