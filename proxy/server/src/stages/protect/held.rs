//! Small answers that are known whole before anything of them leaves: a Binary by what it belongs to, and answers about
//! codes, rebuilt from what may stand in them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use drape_fhir::media::Format;
use drape_view::{Verdict, View};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::{Shielded, rulings};
use crate::body::OutBody;
use crate::facts::Ahead;
use crate::parts::Tenant;
use crate::refusal::Refusal;
use crate::stages::Answer;
use crate::stages::enter::Entered;
use crate::stages::seal::{Outcome, Totals, seal};
use crate::trace::Part;

/// An answer that is held whole, with what judges it. Only `forward` makes one.
pub struct Held {
    pub(in crate::stages) view: View,
    /// What verdicts rest on beyond what the records say.
    pub(in crate::stages) ahead: Option<Ahead>,
    pub(in crate::stages) what: What,
    /// Room among everything that is held; given back with the last byte.
    pub(in crate::stages) room: Vec<OwnedSemaphorePermit>,
}

/// What is held.
pub(in crate::stages) enum What {
    /// A Binary.
    Binary {
        /// Its logical id.
        id: String,
        /// The resource.
        text: Bytes,
        /// Its content is asked for, not the resource.
        raw: bool,
        /// It passes whatever it belongs to.
        unbound: bool,
        /// The records whose rules apply to it.
        related: Vec<Related>,
    },
    /// An answer about codes.
    Parameters(Bytes),
}

/// A record that a Binary belongs to.
pub(in crate::stages) struct Related {
    pub(in crate::stages) resource_type: String,
    pub(in crate::stages) id: Option<String>,
    pub(in crate::stages) text: Bytes,
}

/// Judges what is held, and lets it go or answers as if it were not there.
pub async fn hold(tenant: &Arc<Tenant>, held: Held, mut entered: Entered, format: Format) -> Answer {
    entered.at("protect");
    let Held { view, ahead, what, room } = held;
    let mut totals = Totals::default();
    let judged = match what {
        What::Binary { id, text, raw, unbound, related } => {
            belongs(tenant, view, ahead, &related, unbound, &mut totals, &entered)
                .await
                .and_then(|()| binary(tenant, &id, &text, raw, &mut totals))
        }
        What::Parameters(text) => parameters(tenant, &text),
    };
    match judged.and_then(|(headers, body)| formed(tenant, headers, body, format)) {
        Ok((mut headers, body)) => {
            headers.insert(header::CONTENT_LENGTH, body.len().into());
            let body = OutBody::whole(body).with(room);
            let shielded = Shielded { status: StatusCode::OK, headers, body };
            seal(entered, Outcome::shielded(shielded, totals)).await
        }
        Err(refusal) => seal(entered, Outcome::refused(refusal, Totals::default())).await,
    }
}

/// A resource in the form that is wanted; content in a media type of its own stays as it is.
fn formed(
    tenant: &Tenant,
    mut headers: HeaderMap,
    body: Bytes,
    format: Format,
) -> Result<(HeaderMap, Bytes), Refusal> {
    if headers.contains_key(header::CONTENT_TYPE) {
        return Ok((headers, body));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    if format == Format::Json {
        return Ok((headers, body));
    }
    let xml = drape_fhir::xml::to_xml(&body, tenant.limits.json_depth_max).map_err(|e| {
        let public = "the answer cannot be written as XML; ask for JSON";
        Refusal::new("protect", StatusCode::NOT_ACCEPTABLE, "not-supported", public).because(e.to_string())
    })?;
    Ok((headers, xml.into()))
}

fn unknown(reason: &str) -> Refusal {
    Refusal::unknown("protect", format!("Binary: {reason}"))
}

/// Every record that a Binary belongs to must be shown whole: its document is a part of it (LV-45).
async fn belongs(
    tenant: &Arc<Tenant>,
    mut view: View,
    mut ahead: Option<Ahead>,
    related: &[Related],
    unbound: bool,
    totals: &mut Totals,
    entered: &Entered,
) -> Result<(), Refusal> {
    if related.is_empty() && !unbound {
        return Err(unknown("it belongs to no record"));
    }
    for record in related {
        let facts = drape_shield::facts_of(
            &tenant.catalogue,
            &record.text,
            &record.resource_type,
            &[tenant.upstream.base_url()],
            tenant.limits.json_depth_max,
        )
        .map_err(|e| unknown(&format!("what it belongs to cannot be read: {}", e.what)))?;
        let facts = Arc::new(facts);
        let main = facts.main().ok_or_else(|| unknown("what it belongs to is no record"))?;
        if record.id.is_none() || main.id != record.id {
            return Err(unknown("what it belongs to is not the record that was asked for"));
        }
        // As a read judges it; a reference that is left out leaves a record that is not whole.
        if let Some(ahead) = &mut ahead {
            let looked =
                ahead.prepare(tenant, &mut view, std::slice::from_ref(&facts), entered.durable()).await;
            looked.map_err(|r| unknown(&format!("what it belongs to cannot be judged: {}", r.reason)))?;
        }
        let ruled = rulings(tenant, &view, &facts, ahead.as_ref()).await;
        let ruled = ruled.map_err(|_| unknown("what it belongs to cannot be judged"))?;
        entered.judged(Part::Owner, &view, &facts, &ruled);
        let verdicts = ruled.verdicts;
        if ruled.hide.is_some()
            || !verdicts.iter().all(|v| matches!(v, Verdict::Keep(plan) if plan.shows_all()))
        {
            return Err(unknown("what it belongs to is not shown whole"));
        }
        for verdict in &verdicts {
            if let Verdict::Keep(plan) = verdict {
                totals.determined(plan.policies());
            }
        }
        let name = format!("{}/{}", record.resource_type, record.id.as_deref().unwrap_or_default());
        totals.named(name, &main.patients);
    }
    Ok(())
}

fn binary(
    tenant: &Tenant,
    id: &str,
    text: &[u8],
    raw: bool,
    totals: &mut Totals,
) -> Result<(HeaderMap, Bytes), Refusal> {
    // Read strictly first, so that no two readers see two records in it.
    let (own, public) = (tenant.upstream.base_url(), tenant.public_base.as_str());
    let resource = drape_shield::rebase(text, own, public, tenant.limits.json_depth_max)
        .map_err(|e| unknown(&format!("it cannot be read: {}", e.what)))?;
    let value: Value = serde_json::from_slice(text).map_err(|_| unknown("it is not JSON"))?;
    if value["resourceType"] != "Binary" || value["id"] != *id {
        return Err(unknown("it is not the record that was asked for"));
    }
    totals.named(format!("Binary/{id}"), &[]);
    let mut headers = HeaderMap::new();
    if !raw {
        return Ok((headers, resource.into()));
    }
    let media = value["contentType"].as_str().filter(|m| is_media(m)).unwrap_or("application/octet-stream");
    let data = value["data"].as_str().unwrap_or_default();
    let packed: Vec<u8> = data.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let content = STANDARD.decode(packed).map_err(|_| unknown("its data is not base64"))?;
    // Typically a page that would run scripts in the name of whoever serves it: it is only ever saved.
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    let media = HeaderValue::from_str(media).map_err(|_| unknown("its media type is none"))?;
    headers.insert(header::CONTENT_TYPE, media);
    Ok((headers, content.into()))
}

/// `type/subtype; parameter=value`, as RFC 9110 writes it, as far as its characters go.
fn is_media(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$&^_.+-/;= \"".contains(&b);
    text.len() <= 200
        && text.split(';').next().is_some_and(|t| t.matches('/').count() == 1)
        && text.bytes().all(plain)
}

/// What may stand in an answer about codes, by name, each with the kinds of value it may have. `message` is not among
/// them: it is free text, and nobody has looked at it.
const LISTED: [(&str, &[&str]); 22] = [
    ("result", &["valueBoolean"]),
    ("outcome", &["valueCode"]),
    ("code", &["valueCode", "valueString"]),
    ("system", &["valueUri", "valueString"]),
    ("version", &["valueString"]),
    ("name", &["valueString"]),
    ("display", &["valueString"]),
    ("abstract", &["valueBoolean"]),
    ("inactive", &["valueBoolean"]),
    ("definition", &["valueString"]),
    ("designation", &[]),
    ("language", &["valueCode"]),
    ("use", &["valueCoding"]),
    ("value", &["valueCode", "valueString", "valueCoding", "valueBoolean", "valueInteger", "valueDateTime"]),
    ("property", &[]),
    ("subproperty", &[]),
    ("description", &["valueString"]),
    ("match", &[]),
    ("equivalence", &["valueCode"]),
    ("concept", &["valueCoding"]),
    ("source", &["valueUri", "valueString"]),
    ("product", &[]),
];

fn parameters(tenant: &Tenant, text: &[u8]) -> Result<(HeaderMap, Bytes), Refusal> {
    let fault = |what: &str| Refusal::upstream(format!("the answer about codes {what}"));
    let theirs: Value = serde_json::from_slice(text).map_err(|_| fault("is not JSON"))?;
    if theirs["resourceType"] != "Parameters" {
        return Err(fault("is no Parameters resource"));
    }
    let ours = json!({ "resourceType": "Parameters", "parameter": list(theirs.get("parameter"), 0) });
    let (own, public) = (tenant.upstream.base_url(), tenant.public_base.as_str());
    let body = drape_shield::rebase(ours.to_string().as_bytes(), own, public, tenant.limits.json_depth_max)
        .map_err(|e| fault(&e.what))?;
    Ok((HeaderMap::new(), body.into()))
}

/// More levels than a property of a property has.
const PARTS_MAX: usize = 4;

fn list(theirs: Option<&Value>, depth: usize) -> Vec<Value> {
    let mut ours = Vec::new();
    for item in theirs.and_then(Value::as_array).into_iter().flatten() {
        let Some((name, kinds)) = LISTED.iter().find(|(name, _)| item["name"] == *name) else { continue };
        let mut kept = Map::from_iter([("name".to_owned(), json!(name))]);
        for kind in *kinds {
            if let Some(value) = item.get(*kind).and_then(|v| plain(kind, v)) {
                kept.insert((*kind).to_owned(), value);
            }
        }
        if item.get("part").is_some() && depth < PARTS_MAX {
            let parts = list(item.get("part"), depth + 1);
            if !parts.is_empty() {
                kept.insert("part".to_owned(), Value::Array(parts));
            }
        }
        // A name alone says nothing.
        if kept.len() > 1 {
            ours.push(Value::Object(kept));
        }
    }
    ours
}

/// The value as it may stand there; a Coding without anything but itself.
fn plain(kind: &str, value: &Value) -> Option<Value> {
    match kind {
        "valueBoolean" => value.is_boolean().then(|| value.clone()),
        "valueInteger" => value.is_i64().then(|| value.clone()),
        "valueCoding" => {
            let mut kept = Map::new();
            for member in ["system", "version", "code", "display"] {
                if let Some(text) = value.get(member).filter(|v| v.is_string()) {
                    kept.insert(member.to_owned(), text.clone());
                }
            }
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        _ => value.is_string().then(|| value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_about_codes_holds_nothing_that_is_not_listed() {
        let theirs = json!([
            {"name": "result", "valueBoolean": true, "extension": [{"url": "Canary"}]},
            {"name": "message", "valueString": "Canary is not in the value set"},
            {"name": "display", "valueString": "hypertension", "id": "Canary"},
            {"name": "Canary", "valueString": "Canary"},
            {"name": "code", "resource": {"resourceType": "Patient", "id": "Canary"}},
            {"name": "property", "part": [
                {"name": "code", "valueCode": "parent"},
                {"name": "value", "valueCoding": {"code": "1", "display": "d", "extension": [{"url": "Canary"}]}},
                {"name": "note", "valueString": "Canary"}]},
            {"name": "match", "part": [{"name": "concept", "valueCoding": "Canary"}, {"name": "equivalence", "valueCode": "equal"}]},
        ]);
        let ours = list(Some(&theirs), 0);
        assert_eq!(
            Value::Array(ours),
            json!([
                {"name": "result", "valueBoolean": true},
                {"name": "display", "valueString": "hypertension"},
                {"name": "property", "part": [
                    {"name": "code", "valueCode": "parent"},
                    {"name": "value", "valueCoding": {"code": "1", "display": "d"}}]},
                {"name": "match", "part": [{"name": "equivalence", "valueCode": "equal"}]},
            ])
        );
    }

    #[test]
    fn a_media_type_is_one_or_bytes() {
        for good in ["image/png", "application/pdf", "text/plain; charset=utf-8", "application/dicom+json"] {
            assert!(is_media(good), "{good}");
        }
        for bad in ["", "png", "image/png\r\nset-cookie: x", "a/b/c", "text/plain, text/html", "tëxt/plain"]
        {
            assert!(!is_media(bad), "{bad}");
        }
    }
}
