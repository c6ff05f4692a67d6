//! What goes into the store and what comes out: plain values, no socket.

use serde_json::{Value, json};

use crate::exact;

/// A request, told apart from its transport.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET`, `POST`, `PUT`, …
    pub method: String,
    /// What follows the base URL, as sent: `/Patient/x?y=z`, or `?_getpages=…`.
    pub path_and_query: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; empty where there is none.
    pub body: Vec<u8>,
    /// The base URL as the client knows it, without a trailing slash; links are built from it.
    pub base_url: String,
}

impl Request {
    /// A request without headers or body.
    pub fn get(base_url: &str, path_and_query: &str) -> Self {
        Self {
            method: "GET".into(),
            path_and_query: path_and_query.into(),
            base_url: base_url.into(),
            ..Self::default()
        }
    }

    /// The first header of that lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body; empty where there is none.
    pub body: Vec<u8>,
}

impl Response {
    pub(super) fn fhir(status: u16, body: Vec<u8>) -> Self {
        let headers = if body.is_empty() { Vec::new() } else { vec![("content-type", FHIR_JSON.to_owned())] };
        Self { status, headers, body }
    }

    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self::fhir(status, exact::write(value))
    }

    pub(super) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The first header of that lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }
}

const FHIR_JSON: &str = "application/fhir+json;charset=UTF-8";

/// Why a request is not answered as asked; becomes an OperationOutcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{diagnostics}")]
pub struct Fault {
    /// The HTTP status.
    pub status: u16,
    /// An IssueType code.
    pub code: &'static str,
    /// What is wrong, for the client.
    pub diagnostics: String,
}

impl Fault {
    pub(super) fn new(status: u16, code: &'static str, diagnostics: impl Into<String>) -> Self {
        Self { status, code, diagnostics: diagnostics.into() }
    }

    pub(super) fn invalid(diagnostics: impl Into<String>) -> Self {
        Self::new(400, "processing", diagnostics)
    }

    pub(super) fn response(&self) -> Response {
        Response::json(
            self.status,
            &json!({
                "resourceType": "OperationOutcome",
                "issue": [{"severity": "error", "code": self.code, "diagnostics": self.diagnostics}],
            }),
        )
    }
}

/// Splits a query or form into decoded pairs.
pub(super) fn pairs(query: &str) -> Result<Vec<(String, String)>, Fault> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced)
            .decode_utf8()
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| Fault::invalid(format!("`{text}` does not decode to UTF-8")))
    };
    query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}
