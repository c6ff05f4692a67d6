//! The way of a request, one file a stage: admit, classify, decide, enter, forward, protect, seal. Their names sort in
//! the order of the request.
//!
//! Three proofs hold the line together. [`Grant`] is made by `decide` alone, [`Entered`] by `enter` alone,
//! [`Shielded`] by `protect` alone; `forward` takes a grant and an entry, and only an [`Answer`] leaves. Forgetting
//! a stage does not compile.

pub mod admit;
pub mod classify;
pub mod decide;
pub mod enter;
pub mod forward;
pub mod protect;
pub mod seal;

use std::sync::Arc;

use bytes::Bytes;
use drape_fhir::media::Format;
use drape_policy::RecordJudge;
use drape_view::{Caller, View};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use sha2::{Digest as _, Sha256};

use classify::Unless;

pub use decide::Grant;
pub use enter::Entered;
pub use protect::Shielded;

use crate::body::OutBody;
use crate::parts::Tenant;
use crate::refusal::{LACKS, Refusal};
use crate::watch::Watch;
use seal::Totals;

/// The only thing that can leave.
#[derive(Debug)]
pub enum Answer {
    /// Upstream data, judged and shielded.
    Shielded(Shielded),
    /// Drape's own words: a capability statement, an aggregate, an empty Bundle.
    Own(Own),
    /// No.
    Refused(Refusal),
}

/// A body that Drape wrote itself; no upstream byte is in it.
#[derive(Clone, Debug)]
pub struct Own {
    /// The status.
    pub status: StatusCode,
    /// `ETag`, `Location` and the like.
    pub headers: HeaderMap,
    /// FHIR JSON.
    pub body: Bytes,
}

impl Own {
    /// 200 with a FHIR body.
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, headers: HeaderMap::new(), body: body.into() }
    }
}

/// What watches over one stream of records: who judges, until when, and what of the headers may stay.
#[derive(Debug)]
pub struct Guard {
    /// Judges each record.
    pub view: View,
    /// Whether the answer is one record rather than a Bundle.
    pub single: bool,
    /// When what the request rests on has run out for good, the token or an emergency, in milliseconds since the epoch.
    pub until_ms: u64,
    /// When the view must be made anew, because policies read the hour.
    pub view_until_ms: u64,
    /// Whether the request names a record that is unknown to the caller where nothing of it may be shown.
    pub names_one: bool,
    /// Makes the ETag of a treated view, which is not the upstream's.
    pub viewer: Sha256,
    /// Whether whole records are marked too: where nothing may say that a record is reduced, its ETag may not either.
    pub always_marked: bool,
    /// What the caller has already.
    pub unless: Unless,
    /// The upstream's ETag and Last-Modified, for single records.
    pub etag: Option<String>,
    /// The upstream's `Last-Modified`.
    pub last_modified: Option<HeaderValue>,
}

impl Guard {
    /// Policies are offered minutes, so a view that reads the time holds until the next one begins.
    pub(crate) fn view_until(changes_with_time: bool, now_ms: u64) -> u64 {
        const MINUTE_MS: u64 = 60_000;
        if changes_with_time { (now_ms / MINUTE_MS + 1) * MINUTE_MS } else { u64::MAX }
    }

    /// Sees to it that the view holds now: where the hour has changed, the rest of the answer is judged anew. An error
    /// when that on which it rests has run out.
    pub(crate) fn hold(&mut self, tenant: &Tenant) -> Result<(), String> {
        let now_ms = tenant.clock.now_ms();
        if now_ms >= self.until_ms {
            return Err("the token or the emergency ran out while the answer was streaming".into());
        }
        // Under the policies it began with, to its end or for a stated time: an answer under two sets would be neither's.
        if tenant.is_over(now_ms) {
            return Err(
                "the policies were replaced, and the answer was still streaming when its time ended".into()
            );
        }
        if now_ms < self.view_until_ms {
            return Ok(());
        }
        let before = self.view.caller();
        let mut caller = Caller::clone(before);
        let network = before.environment.network;
        caller.environment = admit::environment(tenant, now_ms, network).map_err(|refusal| refusal.reason)?;
        // It goes on until `until_ms`.
        caller.environment.break_glass = before.environment.break_glass;
        let caller = Arc::new(caller);
        let standing = tenant.decider.standing(&caller)?;
        let standing = Arc::new(Watch::attend(tenant, standing, "continued"));
        self.view_until_ms = Self::view_until(standing.changes_with_time(), now_ms);
        self.view = self.view.renewed(Arc::new(RecordJudge::new(standing)), caller);
        Ok(())
    }

    /// Adds the headers that depend on what was done to the record: an ETag of a treated view is marked by who looks
    /// and, where it is known whole, by what is seen, so that a view that changes without its version is not taken for
    /// the old one. The time of the last change is told only where nothing was hidden. In silent mode neither hangs on the
    /// record: both are as for a treated one, whatever was done.
    pub(crate) fn finish_headers(&self, headers: &mut HeaderMap, totals: &Totals, whole: Option<&[u8]>) {
        if !self.single {
            return;
        }
        let plain = totals.untouched() && !self.always_marked;
        if let Some(etag) = &self.etag {
            let value = if plain {
                etag.clone()
            } else {
                let mut mark = self.viewer.clone();
                mark.update(whole.unwrap_or_default());
                format!("W/\"{}\"", marked(opaque(etag), mark))
            };
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(header::ETAG, value);
            }
        }
        if plain && let Some(value) = &self.last_modified {
            headers.insert(header::LAST_MODIFIED, value.clone());
        }
    }

    /// Whether the caller has this very view already (RFC 9110, 13.1.2 and 13.1.3). It is asked of the headers that
    /// the answer would carry, so that a 304 tells nothing that the whole answer would not.
    pub(crate) fn is_known(&self, headers: &HeaderMap) -> bool {
        if !self.single {
            return false;
        }
        let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
        if let Some(known) = &self.unless.none_match {
            let Some(etag) = text(header::ETAG) else { return false };
            return known.split(',').any(|k| opaque(k.trim()) == opaque(etag) && !opaque(etag).is_empty());
        }
        // Both are dates of one format that the server wrote and the client sends back.
        self.unless.modified_since.is_some()
            && self.unless.modified_since.as_deref() == text(header::LAST_MODIFIED)
    }
}

/// The version of a treated view: the upstream's with a mark of who looks at what.
pub(crate) fn marked(version: &str, view: Sha256) -> String {
    let mark: String = view.finalize()[..4].iter().map(|b| format!("{b:02x}")).collect();
    format!("{version}-{mark}")
}

/// An entity tag without `W/` and quotes.
pub(crate) fn opaque(etag: &str) -> &str {
    etag.trim_start_matches("W/").trim_matches('"')
}

impl Answer {
    /// The HTTP answer, with the headers that every answer carries. Drape's own words are put into the wanted form here;
    /// shielded records came in it.
    pub fn into_response(self, request_id: &str, format: Format) -> http::Response<OutBody> {
        let (status, mut headers, body) = match self {
            Self::Shielded(shielded) => shielded.into_parts(),
            Self::Own(own) => {
                let is_fhir = !own.headers.contains_key(header::CONTENT_TYPE);
                words(own.status, own.headers, own.body, format, is_fhir)
            }
            Self::Refused(refusal) => {
                let body =
                    drape_fhir::outcome::Outcome::error(refusal.code, &refusal.public, Some(request_id))
                        .coded(LACKS, refusal.lacks.code());
                let headers = refusal.headers.into_iter().collect();
                words(refusal.status, headers, body.to_json().into(), format, true)
            }
        };
        // The same version in another form is not the same bytes.
        if format == Format::Xml {
            crate::deflate::weaken(&mut headers);
        }
        if !hyper::body::Body::is_end_stream(&body) && !headers.contains_key(header::CONTENT_TYPE) {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(Format::Json.media_type()));
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.append(header::VARY, HeaderValue::from_static("Accept, Authorization"));
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert("x-request-id", id);
        }
        let mut response = http::Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// Words of Drape's own in the wanted form. They stay JSON where they quote a character that XML cannot carry.
fn words(
    status: StatusCode,
    mut headers: HeaderMap,
    body: Bytes,
    format: Format,
    is_fhir: bool,
) -> (StatusCode, HeaderMap, OutBody) {
    if format == Format::Xml
        && is_fhir
        && !body.is_empty()
        && let Ok(xml) = drape_fhir::xml::to_xml(&body, OWN_DEPTH_MAX)
    {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(Format::Xml.media_type()));
        return (status, headers, OutBody::whole(xml));
    }
    (status, headers, OutBody::whole(body))
}

/// How deep Drape's own words nest at most; a batch's answer holds whole records.
const OWN_DEPTH_MAX: usize = 128;
