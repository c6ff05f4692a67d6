//! OperationOutcomes of our own, and the little of somebody else's that may be passed on.

use crate::json::{Kind, Limits, Tokens, unescape, write_string};

/// `IssueType` codes Drape uses or passes on (required binding).
pub const ISSUE_CODES: [&str; 31] = [
    "invalid",
    "structure",
    "required",
    "value",
    "invariant",
    "security",
    "login",
    "unknown",
    "expired",
    "forbidden",
    "suppressed",
    "processing",
    "not-supported",
    "duplicate",
    "multiple-matches",
    "not-found",
    "deleted",
    "too-long",
    "code-invalid",
    "extension",
    "too-costly",
    "business-rule",
    "conflict",
    "transient",
    "lock-error",
    "no-store",
    "exception",
    "timeout",
    "incomplete",
    "throttled",
    "informational",
];

/// One issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    severity: &'static str,
    code: &'static str,
    diagnostics: String,
    request_id: Option<String>,
}

impl Outcome {
    /// An error. `code` is an IssueType; anything else becomes `processing`.
    pub fn error(code: &str, diagnostics: &str, request_id: Option<&str>) -> Self {
        Self {
            severity: "error",
            code: known(code).unwrap_or("processing"),
            diagnostics: diagnostics.to_owned(),
            request_id: request_id.map(str::to_owned),
        }
    }

    /// That something was done.
    pub fn done(diagnostics: &str) -> Self {
        Self {
            severity: "information",
            code: "informational",
            diagnostics: diagnostics.to_owned(),
            request_id: None,
        }
    }

    /// As FHIR JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = br#"{"resourceType":"OperationOutcome","issue":[{"severity":""#.to_vec();
        out.extend_from_slice(self.severity.as_bytes());
        out.extend_from_slice(br#"","code":""#);
        out.extend_from_slice(self.code.as_bytes());
        out.extend_from_slice(br#"","diagnostics":"#);
        write_string(&self.diagnostics, &mut out);
        if let Some(id) = &self.request_id {
            out.extend_from_slice(br#","details":{"text":"#);
            write_string(&format!("request {id}"), &mut out);
            out.push(b'}');
        }
        out.extend_from_slice(b"}]}");
        out
    }
}

/// The code as a constant, if it is one of R4's.
pub fn known(code: &str) -> Option<&'static str> {
    ISSUE_CODES.into_iter().find(|c| *c == code)
}

/// The issue type of somebody else's OperationOutcome: the first known code, and nothing else of it, since
/// diagnostics echo values and ids (LV-10).
pub fn issue_code(body: &[u8]) -> Option<&'static str> {
    let mut tokens = Tokens::new(body, Limits::default());
    let mut key = String::new();
    while let Ok(Some(token)) = tokens.next_token() {
        match token.kind {
            Kind::Key => key = tokens.key().to_owned(),
            Kind::String if key == "code" && token.depth == 3 => {
                if let Some(code) = known(&unescape(tokens.raw(&token))) {
                    return Some(code);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_json_whatever_it_says() {
        let body = Outcome::error("forbidden", "a \"quoted\"\nline", Some("r1")).to_json();
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["issue"][0]["diagnostics"], "a \"quoted\"\nline");
        assert_eq!(value["issue"][0]["code"], "forbidden");
        assert_eq!(value["issue"][0]["details"]["text"], "request r1");
    }

    #[test]
    fn only_the_issue_code_of_a_foreign_outcome_is_read() {
        let body = br#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"not-found","diagnostics":"Patient/123"}]}"#;
        assert_eq!(issue_code(body), Some("not-found"));
        assert_eq!(issue_code(br#"{"issue":[{"code":"Patient/123"}]}"#), None);
        assert_eq!(issue_code(b"<html>"), None);
    }
}
