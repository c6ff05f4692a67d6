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
    coding: Option<(&'static str, &'static str)>,
}

impl Outcome {
    /// An error. `code` is an IssueType; anything else becomes `processing`.
    pub fn error(code: &str, diagnostics: &str, request_id: Option<&str>) -> Self {
        Self {
            severity: "error",
            code: known(code).unwrap_or("processing"),
            diagnostics: diagnostics.to_owned(),
            request_id: request_id.map(str::to_owned),
            coding: None,
        }
    }

    /// With a code of a system that says more exactly what it is about.
    #[must_use]
    pub fn coded(mut self, system: &'static str, code: &'static str) -> Self {
        self.coding = Some((system, code));
        self
    }

    /// That something was done.
    pub fn done(diagnostics: &str) -> Self {
        Self {
            severity: "information",
            code: "informational",
            diagnostics: diagnostics.to_owned(),
            request_id: None,
            coding: None,
        }
    }

    /// As FHIR JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = br#"{"resourceType":"OperationOutcome","issue":[{"severity":""#.to_vec();
        out.extend_from_slice(self.severity.as_bytes());
        out.extend_from_slice(br#"","code":""#);
        out.extend_from_slice(self.code.as_bytes());
        out.extend_from_slice(br#"","diagnostics":"#);
        match &self.request_id {
            Some(id) => write_string(&format!("{} (decision {id})", self.diagnostics), &mut out),
            None => write_string(&self.diagnostics, &mut out),
        }
        if let Some(id) = &self.request_id {
            out.extend_from_slice(br#","details":{"#);
            if let Some((system, code)) = self.coding {
                out.extend_from_slice(br#""coding":[{"system":"#);
                write_string(system, &mut out);
                out.extend_from_slice(br#","code":"#);
                write_string(code, &mut out);
                out.extend_from_slice(b"}],");
            }
            out.extend_from_slice(br#""text":"#);
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

/// Codes that speak of the body that was sent, and of nothing that is stored.
const OF_A_BODY: [&str; 10] = [
    "invalid",
    "structure",
    "required",
    "value",
    "invariant",
    "too-long",
    "code-invalid",
    "extension",
    "not-supported",
    "informational",
];

/// What somebody else's OperationOutcome says of a body that the caller sent: how bad, what kind, and where in the body.
/// Texts echo values and name stored records, and so do codes such as `not-found` and `duplicate`, which become
/// `processing`; a place is kept only where it is a path of elements (LV-42). `None` when it is no outcome.
pub fn of_a_body(outcome: &[u8]) -> Option<Vec<u8>> {
    use serde_json::{Value, json};
    let theirs: Value = serde_json::from_slice(outcome).ok()?;
    if theirs["resourceType"] != "OperationOutcome" {
        return None;
    }
    let mut issues = Vec::new();
    for issue in theirs["issue"].as_array().into_iter().flatten() {
        let severities = ["fatal", "error", "warning", "information"];
        let severity = severities.into_iter().find(|s| issue["severity"] == *s).unwrap_or("error");
        let code = OF_A_BODY.into_iter().find(|c| issue["code"] == *c).unwrap_or("processing");
        let mut ours = json!({ "severity": severity, "code": code });
        let places = issue["expression"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let places: Vec<&str> = places.filter(|p| crate::definitions::r4().is_path(p)).collect();
        if !places.is_empty() {
            ours["expression"] = json!(places);
        }
        issues.push(ours);
    }
    if issues.is_empty() {
        issues.push(json!({ "severity": "information", "code": "informational" }));
    }
    Some(json!({ "resourceType": "OperationOutcome", "issue": issues }).to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_json_whatever_it_says() {
        let body = Outcome::error("forbidden", "a \"quoted\"\nline", Some("r1"))
            .coded("https://drape.dev/fhir/CodeSystem/refusal", "scope")
            .to_json();
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["issue"][0]["diagnostics"], "a \"quoted\"\nline (decision r1)");
        assert_eq!(value["issue"][0]["code"], "forbidden");
        assert_eq!(value["issue"][0]["details"]["text"], "request r1");
        assert_eq!(value["issue"][0]["details"]["coding"][0]["code"], "scope");
    }

    #[test]
    fn only_the_issue_code_of_a_foreign_outcome_is_read() {
        let body = br#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"not-found","diagnostics":"Patient/123"}]}"#;
        assert_eq!(issue_code(body), Some("not-found"));
        assert_eq!(issue_code(br#"{"issue":[{"code":"Patient/123"}]}"#), None);
        assert_eq!(issue_code(b"<html>"), None);
    }

    #[test]
    fn a_verdict_on_a_body_says_how_bad_what_kind_and_where_and_nothing_else() {
        let theirs = br#"{"resourceType":"OperationOutcome","text":{"div":"Canary"},"issue":[
            {"severity":"error","code":"required","diagnostics":"Canary","details":{"text":"Canary"},"location":["Canary"],"expression":["Observation.code","Observation.where(Canary)"]},
            {"severity":"warning","code":"not-found","diagnostics":"Patient/Canary is not there"},
            {"severity":"Canary","code":"Canary","extension":[{"url":"Canary"}]}]}"#;
        let ours: serde_json::Value = serde_json::from_slice(&of_a_body(theirs).unwrap()).unwrap();
        assert_eq!(
            ours,
            serde_json::json!({"resourceType": "OperationOutcome", "issue": [
                {"severity": "error", "code": "required", "expression": ["Observation.code"]},
                {"severity": "warning", "code": "processing"},
                {"severity": "error", "code": "processing"},
            ]})
        );
        let empty = of_a_body(br#"{"resourceType":"OperationOutcome"}"#).unwrap();
        assert!(String::from_utf8(empty).unwrap().contains("informational"));
        assert_eq!(of_a_body(br#"{"resourceType":"Patient"}"#), None);
        assert_eq!(of_a_body(b"<html>"), None);
    }
}
