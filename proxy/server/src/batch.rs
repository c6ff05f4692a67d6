//! A batch: each entry goes the whole line by itself, with a grant and a log entry of its own.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use drape_fhir::bundle::{Entry, Misread, Requests};
use drape_fhir::json::{Limits, write_string};
use http::{HeaderMap, StatusCode, header};

use crate::body::Ungathered;
use crate::line::{one, refused};
use crate::parts::Tenant;
use crate::refusal::Refusal;
use crate::stages::admit::Admitted;
use crate::stages::classify::{Asked, Sent, classify};
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
        let public = "transactions are not offered; send a batch";
        let refusal = Refusal::new("classify", StatusCode::FORBIDDEN, "not-supported", public);
        return refused(tenant, asked, Some(admitted), refusal).await;
    }
    let mut out = br#"{"resourceType":"Bundle","type":"batch-response""#.to_vec();
    for (place, entry) in requests.entries.iter().enumerate() {
        out.extend_from_slice(if place == 0 { b",\"entry\":[" } else { b"," });
        let id = format!("{}.{}", asked.id, place + 1);
        let asked = Asked { id: id.clone(), ..asked.clone() };
        let answer = answer(tenant, admitted, asked, entry).await;
        if out.len() > tenant.limits.entry_bytes_max {
            break;
        }
        let room = tenant.limits.entry_bytes_max - out.len();
        write(answer, &id, entry.method == "HEAD", room, &mut out).await;
    }
    if out.len() > tenant.limits.entry_bytes_max {
        let public = "the answers of the batch together are too large; ask in smaller ones";
        return Answer::Refused(
            Refusal::new("protect", StatusCode::FORBIDDEN, "too-costly", public)
                .because("limit `entry_bytes_max` reached by a batch"),
        );
    }
    out.extend_from_slice(if requests.entries.is_empty() { b"}" } else { b"]}" });
    Answer::Own(Own::ok(out))
}

fn unread(misread: &Misread) -> Refusal {
    Refusal::new("classify", StatusCode::BAD_REQUEST, "structure", misread.to_string())
}

async fn answer(tenant: &Arc<Tenant>, admitted: &Admitted, mut asked: Asked, entry: &Entry<'_>) -> Answer {
    let sent = match sent(tenant, entry) {
        Ok(sent) => sent,
        Err(refusal) => return refused(tenant, asked, Some(admitted), refusal).await,
    };
    asked.method.clone_from(&entry.method);
    asked.target.clone_from(&sent.path);
    if let Some(query) = &sent.query {
        asked.target.push('?');
        asked.target.push_str(query);
    }
    let (asked, classified) = classify(&sent, asked);
    one(tenant, admitted, asked, classified).await
}

/// An entry as if it had been sent by itself.
pub(crate) fn sent(tenant: &Tenant, entry: &Entry<'_>) -> Result<Sent, Refusal> {
    let url = entry.url.strip_prefix(&tenant.public_base).unwrap_or(&entry.url);
    let url = url.strip_prefix('/').unwrap_or(url);
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

/// One entry of the answer. A body that is cut or does not fit becomes an error of that entry alone.
async fn write(answer: Answer, id: &str, quiet: bool, room: usize, out: &mut Vec<u8>) {
    let refused = matches!(answer, Answer::Refused(_));
    let (head, body) = answer.into_response(id).into_parts();
    let body = if quiet { body.silence().0 } else { body };
    match body.gather(room).await {
        Ok(body) if refused => response(head.status, &head.headers, None, Some(&body), out),
        Ok(body) => response(head.status, &head.headers, Some(&body), None, out),
        Err(fault) => {
            let what = match fault {
                Ungathered::Cut => "the FHIR server behind gave no usable answer",
                Ungathered::TooLarge => "the answers of the batch together are too large",
            };
            let outcome = drape_fhir::outcome::Outcome::error("incomplete", what, None).to_json();
            response(StatusCode::BAD_GATEWAY, &HeaderMap::new(), None, Some(&outcome), out);
        }
    }
}

pub(crate) fn response(
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
