//! A scripted FHIR server that takes only the tokens of Drape itself, and remembers whose it was shown.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::stub::{Script, Stub};
use crate::{Fault, Outcome};

/// The server; it stops when dropped.
pub struct Backend {
    stub: Stub,
    shown: Arc<Mutex<Vec<Value>>>,
}

impl Backend {
    /// With two patients.
    pub fn start() -> Outcome<Self> {
        let shown: Arc<Mutex<Vec<Value>>> = Arc::default();
        let seen = Arc::clone(&shown);
        let stub = Stub::start(move |asked| {
            if asked.target.ends_with("/metadata") {
                let statement = json!({"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "status": "active"});
                return Script::json(statement.to_string());
            }
            let token =
                asked.header("authorization").and_then(|v| v.strip_prefix("Bearer ")).unwrap_or_default();
            let claims = token.split('.').nth(1).and_then(|p| URL_SAFE_NO_PAD.decode(p).ok());
            let claims: Value = claims.and_then(|c| serde_json::from_slice(&c).ok()).unwrap_or_default();
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(claims.clone());
            if claims["azp"] != "drape" && claims["client_id"] != "drape" {
                return Script::typed(401, "application/fhir+json", "{}");
            }
            let patient = |id: &str| {
                json!({"resourceType": "Patient", "id": id, "meta": {"versionId": "1"},
                    "name": [{"family": format!("Canary-{id}")}], "gender": "female", "birthDate": "1980-02-03"})
            };
            let path = asked.target.split('?').next().unwrap_or_default();
            match path.rsplit('/').next().unwrap_or_default() {
                id @ ("p1" | "p2") => Script::json(patient(id).to_string()),
                "Patient" => Script::json(
                    json!({"resourceType": "Bundle", "type": "searchset", "total": 2,
                        "entry": [{"resource": patient("p1"), "search": {"mode": "match"}}, {"resource": patient("p2"), "search": {"mode": "match"}}]})
                    .to_string(),
                ),
                _ => Script::typed(404, "application/fhir+json", r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"not-found"}]}"#),
            }
        })?;
        Ok(Self { stub, shown })
    }

    /// Its FHIR base.
    pub fn base(&self) -> String {
        self.stub.url().to_owned()
    }

    /// Whose tokens it was shown, all of which must be Drape's own.
    pub fn saw_drape_alone(&self) -> Outcome<usize> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let other = shown.iter().find(|c| c["azp"] != "drape" && c["client_id"] != "drape");
        match other {
            None => Ok(shown.len()),
            Some(claims) => Err(Fault(format!("the server behind was shown another token: {claims}"))),
        }
    }
}
