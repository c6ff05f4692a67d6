//! Somebody else's typed model of FHIR reads what Drape writes. (R4B: of these types the same as R4.)

use fhir_sdk::r4b::resources::{AuditEvent, OperationOutcome};

use crate::fault::short;
use crate::http::Reply;
use crate::{Fault, Outcome};

/// Reads an AuditEvent.
pub fn audit_event(text: &str) -> Outcome<AuditEvent> {
    serde_json::from_str(text).map_err(|e| Fault(format!("no AuditEvent ({e}): {}", short(text, 300))))
}

/// Reads an OperationOutcome; gives the codes of its issues. The model does not insist on `issue`, FHIR does (1..*).
pub fn outcome_codes(text: &str) -> Outcome<Vec<String>> {
    let outcome: OperationOutcome = serde_json::from_str(text)
        .map_err(|e| Fault(format!("no OperationOutcome ({e}): {}", short(text, 300))))?;
    let codes: Vec<String> = outcome
        .issue
        .iter()
        .flatten()
        .filter_map(|issue| serde_json::to_value(issue.code).ok()?.as_str().map(str::to_owned))
        .collect();
    if codes.is_empty() {
        Err(Fault(format!("an OperationOutcome without an issue: {text}")))
    } else {
        Ok(codes)
    }
}

/// The answer is a whole refusal of that status with an OperationOutcome; gives its issue codes.
pub fn refusal(reply: &Reply, status: u16) -> Outcome<Vec<String>> {
    if reply.status != status || !reply.whole {
        return Err(Fault(format!("expected {status}, got {}: {}", reply.status, short(&reply.text(), 300))));
    }
    let media = reply.header("content-type").unwrap_or_default();
    if !media.starts_with("application/fhir+json") {
        return Err(Fault(format!("a refusal of type `{media}`")));
    }
    outcome_codes(&reply.text())
}
