//! The FHIR server behind: its address, the credential it is shown, and what of its answers is understood.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, IF_MATCH,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

mod exports;

pub(crate) use exports::{NDJSON, Place};

use crate::client::{Client, ClientError};
use crate::config::{self, Dialect, UpstreamAuth};
use crate::inflate::{Inflated, is_gzip};

/// A FHIR server and the way to it.
#[derive(Debug)]
pub struct Upstream {
    client: Client,
    base_url: String,
    credential: Credential,
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

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one a tenant")]
enum Credential {
    None,
    CallerToken,
    Fixed(HeaderValue),
    ClientCredentials {
        token_url: http::Uri,
        basic: HeaderValue,
        form: String,
        held: Mutex<Option<(HeaderValue, Instant)>>,
    },
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
    /// The client could not be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An address could not be read.
    #[error("`{0}` is not a usable address")]
    Address(String),
}

fn secret(path: &std::path::Path) -> Result<Zeroizing<String>, SetupError> {
    let text = std::fs::read_to_string(path).map_err(|e| SetupError::File(path.display().to_string(), e))?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn header(value: &str, path: &std::path::Path) -> Result<HeaderValue, SetupError> {
    let mut value =
        HeaderValue::from_str(value).map_err(|_| SetupError::Credential(path.display().to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}

impl Upstream {
    /// Reads the credential files and makes the client.
    pub fn new(config: &config::Upstream, connect_timeout: Duration) -> Result<Self, SetupError> {
        let credential = match &config.auth {
            UpstreamAuth::None => Credential::None,
            UpstreamAuth::CallerToken => Credential::CallerToken,
            UpstreamAuth::Basic { username, password_file } => {
                let password = secret(password_file)?;
                let pair = Zeroizing::new(format!("{username}:{}", *password));
                Credential::Fixed(header(
                    &format!("Basic {}", STANDARD.encode(pair.as_bytes())),
                    password_file,
                )?)
            }
            UpstreamAuth::Header { value_file } => {
                Credential::Fixed(header(&secret(value_file)?, value_file)?)
            }
            UpstreamAuth::ClientCredentials { token_url, client_id, client_secret_file, scope } => {
                let secret = secret(client_secret_file)?;
                let pair = Zeroizing::new(format!("{}:{}", form(client_id), form(&secret)));
                let mut body = "grant_type=client_credentials".to_owned();
                if let Some(scope) = scope {
                    body.push_str(&format!("&scope={}", form(scope)));
                }
                Credential::ClientCredentials {
                    token_url: token_url.parse().map_err(|_| SetupError::Address(token_url.clone()))?,
                    basic: header(
                        &format!("Basic {}", STANDARD.encode(pair.as_bytes())),
                        client_secret_file,
                    )?,
                    form: body,
                    held: Mutex::new(None),
                }
            }
        };
        let client = Client::new(config.ca_file.as_deref(), connect_timeout)?;
        Ok(Self {
            client,
            base_url: config.base_url.clone(),
            credential,
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

    /// Sends `request`. `caller_token` goes along only where the tenant is configured so.
    pub async fn send(
        &self,
        request: &UpstreamRequest,
        caller_token: &str,
        timeout: Duration,
    ) -> Result<Response<UpstreamBody>, ClientError> {
        let unusable =
            |e: &dyn std::fmt::Display| ClientError::Unreachable(format!("cannot build the request: {e}"));
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
        if let Some(authorization) = self.authorization(caller_token, timeout).await? {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        if let Some(version) = &request.if_match {
            builder = builder.header(IF_MATCH, version);
        }
        if let Some(criteria) = &request.if_none_exist {
            builder = builder.header("if-none-exist", criteria);
        }
        if request.body.is_some() {
            builder = builder.header(CONTENT_TYPE, "application/fhir+json; charset=utf-8");
        }
        let body = Full::new(request.body.clone().unwrap_or_default());
        let built = builder.body(body).map_err(|e| unusable(&e))?;
        let (mut head, body) = self.client.send(built, timeout).await?.into_parts();
        // A coding that was not asked for stays in the headers, and the answer is not taken.
        if self.gzip && is_gzip(&head.headers) == Some(true) {
            head.headers.remove(CONTENT_ENCODING);
            head.headers.remove(CONTENT_LENGTH);
            return Ok(Response::from_parts(head, Inflated::gzip(body)));
        }
        Ok(Response::from_parts(head, Inflated::plain(body)))
    }

    async fn authorization(
        &self,
        caller_token: &str,
        timeout: Duration,
    ) -> Result<Option<HeaderValue>, ClientError> {
        match &self.credential {
            Credential::None => Ok(None),
            Credential::CallerToken => {
                let mut value = HeaderValue::from_str(&format!("Bearer {caller_token}")).map_err(|_| {
                    ClientError::Unreachable("the caller's token cannot stand in a header".into())
                })?;
                value.set_sensitive(true);
                Ok(Some(value))
            }
            Credential::Fixed(value) => Ok(Some(value.clone())),
            Credential::ClientCredentials { token_url, basic, form, held } => {
                // One fetch at a time: whoever comes second finds the token that the first brought.
                let mut held = held.lock().await;
                if let Some((value, until)) = &*held
                    && Instant::now() < *until
                {
                    return Ok(Some(value.clone()));
                }
                let request = Request::post(token_url.clone())
                    .header(AUTHORIZATION, basic.clone())
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .header(ACCEPT, "application/json")
                    .body(Full::new(Bytes::from(form.clone())))
                    .map_err(|e| ClientError::Unreachable(e.to_string()))?;
                let body = self.client.fetch_bounded(request, 64 << 10, timeout).await?;
                let answer: TokenAnswer = serde_json::from_slice(&body)
                    .map_err(|_| ClientError::Broken("the token endpoint's answer is not a token".into()))?;
                if !answer.token_type.eq_ignore_ascii_case("bearer") {
                    return Err(ClientError::Broken("the token endpoint gave no bearer token".into()));
                }
                let mut value = HeaderValue::from_str(&format!("Bearer {}", answer.access_token))
                    .map_err(|_| ClientError::Broken("the token endpoint's token is malformed".into()))?;
                value.set_sensitive(true);
                // Renewed a little early, so that it does not run out on the way.
                let life = Duration::from_secs(answer.expires_in.unwrap_or(60).saturating_sub(10).min(3_600));
                *held = Some((value.clone(), Instant::now() + life));
                Ok(Some(value))
            }
        }
    }
}

#[derive(serde::Deserialize)]
struct TokenAnswer {
    access_token: String,
    token_type: String,
    expires_in: Option<u64>,
}

/// `application/x-www-form-urlencoded` for one value.
fn form(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
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
