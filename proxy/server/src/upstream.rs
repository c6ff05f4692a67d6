//! The FHIR server behind: its address, the credential it is shown, and what of its answers is understood.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, IF_MATCH,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

mod credential;
mod exports;

pub(crate) use exports::{NDJSON, Place};

use crate::client::{Client, ClientError};
use crate::config::{self, Dialect};
use crate::inflate::{Inflated, is_gzip};
use credential::Credential;

/// A FHIR server and the way to it.
#[derive(Debug)]
pub struct Upstream {
    client: Client,
    base_url: String,
    credential: Credential,
    public_keys: Option<Bytes>,
    /// How it pages and answers.
    pub dialect: Dialect,
    export_hosts: Vec<String>,
    /// Whether it may compress its answers.
    gzip: bool,
    /// Systems of identifiers that nobody may search by.
    pub unsearchable: Vec<String>,
}

/// The body of an answer, any coding undone.
pub type UpstreamBody = Inflated<Incoming>;

/// What is sent to it, already rebuilt from what was judged.
#[derive(Clone, Debug)]
pub struct UpstreamRequest {
    /// GET, POST, PUT or DELETE.
    pub method: Method,
    /// What follows the base URL: `/Patient/1`, `?_getpages=…`.
    pub path_and_query: String,
    /// The body of a create or update; a patch goes on as an update.
    pub body: Option<Bytes>,
    /// For updates and deletes: the version that was judged.
    pub if_match: Option<String>,
    /// For creates: criteria that were judged and found nothing.
    pub if_none_exist: Option<String>,
}

impl UpstreamRequest {
    /// A read.
    pub fn get(path_and_query: String) -> Self {
        Self { method: Method::GET, path_and_query, body: None, if_match: None, if_none_exist: None }
    }
}

/// Why an upstream cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file named in the configuration cannot be read.
    #[error("cannot read `{0}`: {1}")]
    File(String, std::io::Error),
    /// It holds nothing that can stand in a header.
    #[error("`{0}` does not hold a usable credential")]
    Credential(String),
    /// A private key that cannot sign what it is for.
    #[error("the key in `{0}` cannot be used: {1}")]
    Key(String, String),
    /// The client could not be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An address could not be read.
    #[error("`{0}` is not a usable address")]
    Address(String),
}

impl Upstream {
    /// Reads the credential files and makes the client.
    pub fn new(config: &config::Upstream, connect_timeout: Duration) -> Result<Self, SetupError> {
        Ok(Self {
            client: Client::with(config.ca_file.as_deref(), config.identity.as_ref(), connect_timeout)?,
            base_url: config.base_url.clone(),
            credential: Credential::new(&config.auth)?,
            public_keys: credential::public_keys(config)?.map(|keys| Bytes::from(keys.to_string())),
            dialect: config.dialect,
            export_hosts: config.export_hosts.clone(),
            gzip: config.gzip,
            unsearchable: config.unsearchable_identifier_systems.clone(),
        })
    }

    /// The base URL, without a trailing slash.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The keys by which token endpoints know Drape, as a JWK set; `None` where it signs no assertions.
    pub fn public_keys(&self) -> Option<&Bytes> {
        self.public_keys.as_ref()
    }

    /// Sends `request`. `caller_token` goes along only where the tenant is configured so.
    pub async fn send(
        &self,
        request: &UpstreamRequest,
        caller_token: &str,
        timeout: Duration,
    ) -> Result<Response<UpstreamBody>, ClientError> {
        let mut builder = Request::builder()
            .method(request.method.clone())
            .uri(format!("{}{}", self.base_url, request.path_and_query))
            .header(ACCEPT, "application/fhir+json")
            .header(ACCEPT_ENCODING, if self.gzip { "gzip" } else { "identity" })
            // Unknown parameters must fail rather than be dropped, which would widen what comes back (LV-22).
            .header(
                "prefer",
                if request.body.is_some() { "return=representation" } else { "handling=strict" },
            );
        if let Some(version) = &request.if_match {
            builder = builder.header(IF_MATCH, version);
        }
        if let Some(criteria) = &request.if_none_exist {
            builder = builder.header("if-none-exist", criteria);
        }
        if request.body.is_some() {
            builder = builder.header(CONTENT_TYPE, "application/fhir+json; charset=utf-8");
        }
        let built = builder.body(Full::new(request.body.clone().unwrap_or_default())).map_err(unusable)?;
        let (mut head, body) = self.show_and_send(built, caller_token, timeout).await?.into_parts();
        // A coding that was not asked for stays in the headers, and the answer is not taken.
        if self.gzip && is_gzip(&head.headers) == Some(true) {
            head.headers.remove(CONTENT_ENCODING);
            head.headers.remove(CONTENT_LENGTH);
            return Ok(Response::from_parts(head, Inflated::gzip(body)));
        }
        Ok(Response::from_parts(head, Inflated::plain(body)))
    }

    /// Sends `request` with the credential. A server that refuses a fetched token (it was revoked, or the server was set
    /// up anew) is shown another one, once: 401 says that nothing was done, so a write may be sent again too.
    async fn show_and_send(
        &self,
        mut request: Request<Full<Bytes>>,
        caller_token: &str,
        timeout: Duration,
    ) -> Result<Response<Incoming>, ClientError> {
        let Some(shown) = self.credential.show(&self.client, caller_token, timeout).await? else {
            return self.client.send(request, timeout).await;
        };
        request.headers_mut().insert(AUTHORIZATION, shown.clone());
        let response = self.client.send(request.clone(), timeout).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        match self.credential.again(&self.client, &shown, timeout).await {
            None => Ok(response),
            Some(other) => {
                request.headers_mut().insert(AUTHORIZATION, other);
                self.client.send(request, timeout).await
            }
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn unusable(error: http::Error) -> ClientError {
    ClientError::Unreachable(format!("cannot build the request: {error}"))
}

/// Whether the upstream's answer is FHIR JSON that came without a coding.
pub(crate) fn is_fhir_json<B>(response: &Response<B>) -> bool {
    let media = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let coded = is_gzip(response.headers()) != Some(false);
    let charset = media.to_ascii_lowercase();
    let utf8 = !charset.contains("charset=")
        || charset.contains("charset=utf-8")
        || charset.contains("charset=\"utf-8\"");
    matches!(essence.as_str(), "application/fhir+json" | "application/json" | "application/json+fhir")
        && !coded
        && utf8
}

/// What an upstream's error status becomes; `None` for success.
pub(crate) fn error_status(status: StatusCode) -> Option<StatusCode> {
    match status.as_u16() {
        200 | 201 => None,
        // Redirects are never followed and never passed on; 401 and 403 speak of Drape's credential.
        100..=399 | 401 | 403 | 407 => Some(StatusCode::BAD_GATEWAY),
        400..=499 => Some(status),
        503 | 504 => Some(status),
        _ => Some(StatusCode::BAD_GATEWAY),
    }
}

/// Shared by all requests of a tenant.
pub type SharedUpstream = Arc<Upstream>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_in_utf8_without_a_coding_is_taken() {
        let response = |media: &str| Response::builder().header(CONTENT_TYPE, media).body(()).unwrap();
        assert!(is_fhir_json(&response("application/fhir+json;charset=UTF-8")));
        assert!(is_fhir_json(&response("application/json")));
        assert!(!is_fhir_json(&response("text/html")));
        assert!(!is_fhir_json(&response("application/fhir+xml")));
        assert!(!is_fhir_json(&response("application/fhir+json; charset=latin1")));
        assert!(!is_fhir_json(&Response::builder().body(()).unwrap()));
        let coded = Response::builder()
            .header(CONTENT_TYPE, "application/fhir+json")
            .header(http::header::CONTENT_ENCODING, "gzip")
            .body(())
            .unwrap();
        assert!(!is_fhir_json(&coded));
    }

    #[test]
    fn a_refused_credential_is_the_proxys_problem_not_the_callers() {
        assert_eq!(error_status(StatusCode::UNAUTHORIZED), Some(StatusCode::BAD_GATEWAY));
        assert_eq!(error_status(StatusCode::FOUND), Some(StatusCode::BAD_GATEWAY));
        assert_eq!(error_status(StatusCode::NOT_FOUND), Some(StatusCode::NOT_FOUND));
        assert_eq!(error_status(StatusCode::OK), None);
    }
}
