//! What is asked, in FHIR's words; whatever is not understood is refused by name.

use std::net::SocketAddr;

use bytes::Bytes;
use drape_fhir::interaction::{self, Interaction};
use drape_fhir::media::Format;
use http::{Method, StatusCode, header};
use hyper::body::Body;

use crate::client::{ClientError, read_steadily};
use crate::inflate::{Inflated, is_gzip};
use crate::parts::Tenant;
use crate::refusal::Refusal;
use crate::trace::Witness;

/// What was asked, as far as it was understood; for the log.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Names the request in the log, in the answer and in an OperationOutcome.
    pub id: String,
    /// The HTTP method.
    pub method: String,
    /// A template, never a path: `read`, `search-type`, …; `unknown` before it is classified.
    pub route: &'static str,
    /// FHIR's word for the interaction.
    pub interaction: Option<&'static str>,
    /// The resource type.
    pub resource_type: Option<String>,
    /// The raw request target; goes into the encrypted event only.
    pub target: String,
    /// Who is connected.
    pub peer: SocketAddr,
    /// The form of the answer, be it a refusal.
    pub format: Format,
    /// Where the stages tell what they found.
    pub witness: Witness,
}

/// An interaction with the request's body.
#[derive(Clone, Debug)]
pub struct Classified {
    /// What FHIR calls it.
    pub interaction: Interaction,
    /// The body, where it is a part of what is asked.
    pub body: Option<Bytes>,
    /// `If-Match` of an update.
    pub if_match: Option<String>,
    /// `If-None-Match` and `If-Modified-Since` of a read.
    pub unless: Unless,
    /// `Prefer: return=…` as the caller wishes it.
    pub prefer: Return,
}

/// A conditional read (R4 http, 3.1.0.5.1): what the caller has already. It is compared with the caller's own view and
/// never sent on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unless {
    /// `If-None-Match`.
    pub none_match: Option<String>,
    /// `If-Modified-Since`.
    pub modified_since: Option<String>,
}

/// What the caller wishes to get back of a write (R4 http, 3.1.0.1.9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Return {
    /// The record as it now is.
    #[default]
    Representation,
    /// Nothing.
    Minimal,
    /// An OperationOutcome.
    Outcome,
}

impl Asked {
    /// Before anything is understood.
    pub fn of(head: &http::request::Parts, path: &str, id: &str, peer: SocketAddr) -> Self {
        let mut target = path.to_owned();
        if let Some(query) = head.uri.query() {
            target.push('?');
            target.push_str(query);
        }
        Self {
            id: id.to_owned(),
            method: head.method.as_str().to_owned(),
            route: "unknown",
            interaction: None,
            resource_type: None,
            target,
            peer,
            format: format_of(head),
            witness: Witness::default(),
        }
    }
}

/// The form that the head of a request asks for; who wants neither is told so in JSON.
pub fn format_of(head: &http::request::Parts) -> Format {
    let accept = head.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let parts = interaction::Parts {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query(),
        headers: &[("accept", accept)],
        body: None,
    };
    // Of parameters that cannot be read `Accept` is left.
    interaction::format(&parts).ok().or_else(|| Format::accepted(accept)).unwrap_or_default()
}

/// A request as it was sent: by itself, or as an entry of a batch.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// The method; HEAD is asked as GET.
    pub method: String,
    /// The path below the tenant's base, still encoded.
    pub path: String,
    /// The query, still encoded.
    pub query: Option<String>,
    /// Headers that change what is meant ([`interaction::HEADERS`]), each once.
    pub headers: Vec<(&'static str, String)>,
    /// The body, of a method that has one.
    pub body: Option<Bytes>,
}

/// Takes the request in whole: headers that could mean two things and bodies that are too long are refused.
pub async fn receive<B>(
    tenant: &Tenant,
    head: &http::request::Parts,
    path: &str,
    body: B,
) -> Result<Sent, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let body = body_of(tenant, head, body).await?;
    let method = if head.method == Method::HEAD { &Method::GET } else { &head.method };
    let mut sent = Sent {
        method: method.as_str().to_owned(),
        path: path.to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: Vec::new(),
        body,
    };
    for name in interaction::HEADERS {
        let mut values = head.headers.get_all(*name).iter();
        let Some(first) = values.next() else { continue };
        if values.next().is_some() && *name != "accept" {
            let public = format!("the header `{name}` stands twice");
            return Err(Refusal::new("classify", StatusCode::BAD_REQUEST, "structure", public));
        }
        let text = first.to_str().map_err(|_| {
            let public = format!("the header `{name}` is not readable text");
            Refusal::new("classify", StatusCode::BAD_REQUEST, "structure", public)
        })?;
        sent.headers.push((*name, text.to_owned()));
    }
    Ok(sent)
}

/// Says what FHIR calls the request.
pub fn classify(sent: &Sent, mut asked: Asked) -> (Asked, Result<Classified, Refusal>) {
    let headers: Vec<(&str, &str)> = sent.headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let request = interaction::Parts {
        method: &sent.method,
        path: &sent.path,
        query: sent.query.as_deref(),
        headers: &headers,
        body: sent.body.as_deref(),
    };
    // A form may hold `_format` too.
    asked.format = interaction::format(&request).unwrap_or(asked.format);
    let interaction = match interaction::parse(&request) {
        Ok(interaction) => interaction,
        Err(misunderstood) => {
            let status = StatusCode::from_u16(misunderstood.status).unwrap_or(StatusCode::FORBIDDEN);
            let mut refusal = Refusal::new("classify", status, misunderstood.code, misunderstood.text());
            if status == StatusCode::METHOD_NOT_ALLOWED {
                refusal = refusal.with(header::ALLOW, interaction::METHODS);
            }
            return (asked, Err(refusal));
        }
    };
    asked.route = interaction.code();
    asked.interaction = Some(interaction.code());
    asked.resource_type = interaction.resource_type().map(str::to_owned);
    if let (Interaction::Search(_), Some(form)) = (&interaction, &sent.body) {
        // The search as a whole, wherever the caller put it.
        asked.target.push_str(if sent.query.is_some() { "&" } else { "?" });
        asked.target.push_str(&String::from_utf8_lossy(form));
    }
    if let Interaction::Operation(operation) = &interaction
        && operation.posted
        && let Ok(offered) = operation.offered(sent.body.as_deref())
    {
        // What was asked by a body, but for a record that is only looked at.
        let query = offered.to_query();
        asked.target.push_str(if query.is_empty() { "" } else { "?" });
        asked.target.push_str(&query);
    }
    let takes_body = interaction.takes_body();
    let found = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    let classified = Classified {
        interaction,
        body: sent.body.clone().filter(|_| takes_body),
        if_match: found("if-match"),
        unless: Unless { none_match: found("if-none-match"), modified_since: found("if-modified-since") },
        prefer: match found("prefer") {
            Some(p) if p.contains("return=minimal") => Return::Minimal,
            Some(p) if p.contains("return=OperationOutcome") => Return::Outcome,
            _ => Return::Representation,
        },
    };
    (asked, Ok(classified))
}

async fn body_of<B>(tenant: &Tenant, head: &http::request::Parts, body: B) -> Result<Option<Bytes>, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    if ![Method::POST, Method::PUT, Method::PATCH].contains(&head.method) {
        // A body where none belongs is refused rather than passed over: something meant it.
        if !body.is_end_stream() {
            let public = format!("a {} request carries no body", head.method);
            return Err(Refusal::new("classify", StatusCode::BAD_REQUEST, "structure", public));
        }
        return Ok(None);
    }
    let body = match is_gzip(&head.headers) {
        Some(false) => Inflated::plain(body),
        Some(true) => Inflated::gzip(body),
        None => {
            let public = "of the codings of request bodies only gzip is read";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Refusal::new("classify", status, "not-supported", public)
                .with(header::ACCEPT_ENCODING, "gzip"));
        }
    };
    // A form stands for an address, goes on as one and is entered in the log, and so is no longer than one may be.
    let media = head.headers.get(header::CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let is_form = !media.to_ascii_lowercase().windows(4).any(|w| w == b"json");
    let (limit, name) = if is_form && tenant.limits.header_bytes_max < tenant.limits.request_body_bytes_max {
        (tenant.limits.header_bytes_max, "header_bytes_max")
    } else {
        (tenant.limits.request_body_bytes_max, "request_body_bytes_max")
    };
    match read_steadily(body, limit, tenant.limits.header_timeout).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(ClientError::TooLarge(limit)) => {
            let public = format!("the body is larger than {limit} bytes");
            Err(Refusal::new("classify", StatusCode::PAYLOAD_TOO_LARGE, "too-long", public)
                .because(format!("limit `{name}` reached")))
        }
        Err(ClientError::TimedOut(_)) => {
            let public = "the request's body did not come in time";
            Err(Refusal::new("classify", StatusCode::REQUEST_TIMEOUT, "timeout", public))
        }
        Err(error) => {
            let public = "the request's body broke off";
            Err(Refusal::new("classify", StatusCode::BAD_REQUEST, "incomplete", public)
                .because(error.to_string()))
        }
    }
}
