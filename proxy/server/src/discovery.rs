//! What anyone may know without a token: the capability statement and the SMART configuration, both rewritten to what
//! Drape really offers; and to whoever sends a token, what of it is offered to her.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use drape_fhir::interaction;
use drape_fhir::search::Kind;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::authorize;
use crate::parts::Tenant;
use crate::refusal::Refusal;
use crate::stages::admit::{Peer, known};
use crate::stages::decide::offered;
use crate::stages::{Answer, Own};
use crate::upstream::{Upstream, UpstreamRequest, is_fhir_json};

/// The two documents, made by [`refresh`] and never by a stranger's request: nothing goes upstream for somebody whom
/// nobody has proved.
#[derive(Debug, Default)]
pub struct Discovery {
    capabilities: ArcSwapOption<Bytes>,
    statement: ArcSwapOption<Value>,
    /// By the digest of the token: what is offered to whom it proves.
    offered: Mutex<HashMap<[u8; 32], Bytes>>,
    types: ArcSwapOption<Vec<String>>,
    smart: ArcSwapOption<Bytes>,
    authorization: ArcSwapOption<String>,
}

impl Discovery {
    /// The authorization endpoint of the first issuer itself, once it has been read.
    pub(crate) fn authorization_endpoint(&self) -> Option<Arc<String>> {
        self.authorization.load_full()
    }

    /// The same documents for whoever takes a tenant's place, but for what was made for single callers.
    pub(crate) fn carried(&self) -> Self {
        Self {
            capabilities: ArcSwapOption::new(self.capabilities.load_full()),
            statement: ArcSwapOption::new(self.statement.load_full()),
            offered: Mutex::default(),
            types: ArcSwapOption::new(self.types.load_full()),
            smart: ArcSwapOption::new(self.smart.load_full()),
            authorization: ArcSwapOption::new(self.authorization.load_full()),
        }
    }

    /// Whether the upstream serves that type, as far as it has said so.
    pub(crate) fn serves(&self, resource_type: &str) -> bool {
        self.types.load().as_ref().is_none_or(|types| types.iter().any(|t| t == resource_type))
    }
}

/// Where token endpoints find the keys that Drape signs assertions with, below the public base URL.
const KEYS_PATH: &str = "/.well-known/jwks.json";

const CAPABILITIES_BYTES_MAX: usize = 16 << 20;

/// Statements made for one caller that are kept, each some hundred kilobytes, until the next refresh.
const OFFERED_MAX: usize = 32;

/// Answers the open addresses; `None` when the request is for something else.
pub async fn answer(
    tenant: &Arc<Tenant>,
    head: &http::request::Parts,
    path: &str,
    peer: &Peer,
) -> Option<Answer> {
    let document = match path {
        "/metadata" => tenant.discovery.capabilities.load_full(),
        "/.well-known/smart-configuration" => tenant.discovery.smart.load_full(),
        KEYS_PATH => Some(Arc::new(tenant.upstream.public_keys()?.clone())),
        authorize::PATH => return authorize::relay(tenant, head, path),
        _ => return None,
    };
    if head.method != Method::GET && head.method != Method::HEAD {
        let public = format!("`{path}` is read by GET");
        let refusal = Refusal::new("classify", StatusCode::METHOD_NOT_ALLOWED, "not-supported", public)
            .with(header::ALLOW, "GET, HEAD");
        return Some(Answer::Refused(refusal));
    }
    if path == "/metadata"
        && let Err(refusal) = understood(head)
    {
        return Some(Answer::Refused(refusal));
    }
    let own = match path {
        "/metadata" => offered_to(tenant, head, peer).await,
        _ => None,
    };
    match own.map(Arc::new).or(document) {
        Some(body) => {
            let mut own = Own { status: StatusCode::OK, headers: HeaderMap::new(), body: (*body).clone() };
            if path != "/metadata" {
                own.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            Some(Answer::Own(own))
        }
        None => {
            let public = "the description of this server is not ready yet; try again";
            Some(Answer::Refused(Refusal::unavailable("classify", public, "no discovery document yet")))
        }
    }
}

/// The statement for whoever sends a token that proves somebody: what she may ask for. A token that does not is no
/// reason to keep from her what anyone may know.
async fn offered_to(tenant: &Arc<Tenant>, head: &http::request::Parts, peer: &Peer) -> Option<Bytes> {
    if !head.headers.contains_key(header::AUTHORIZATION) {
        return None;
    }
    let statement = tenant.discovery.statement.load_full()?;
    // What she states besides changes nothing: an emergency is declared by who asks for a record.
    let caller = known(tenant, &head.headers, peer).await.ok()?.caller;
    let key = caller.proof.token_digest;
    if let Some(known) = tenant.discovery.offered.lock().get(&key) {
        return Some(known.clone());
    }
    let of = Arc::clone(tenant);
    // Every type and parameter is asked for: too long for a thread that others wait for.
    let made = tokio::task::spawn_blocking(move || offered(&of, &caller, &statement)).await.ok()?.ok()?;
    let made = bytes(&made);
    let mut kept = tenant.discovery.offered.lock();
    if kept.len() >= OFFERED_MAX {
        kept.clear();
    }
    kept.insert(key, made.clone());
    Some(made)
}

/// Only `mode=full` and the form of the answer are understood.
fn understood(head: &http::request::Parts) -> Result<(), Refusal> {
    let query = head.uri.query().unwrap_or_default();
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let name = pair.split('=').next().unwrap_or_default();
        if pair != "mode=full" && !matches!(name, "_format" | "_pretty") {
            let public = format!("the parameter `{name}` is not understood here");
            return Err(Refusal::new("classify", StatusCode::BAD_REQUEST, "not-supported", public));
        }
    }
    let accept = head.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let headers = [("accept", accept)];
    let parts = interaction::Parts {
        method: "GET",
        path: head.uri.path(),
        query: head.uri.query(),
        headers: &headers,
        body: None,
    };
    interaction::format(&parts).map(drop).map_err(|misunderstood| {
        let status = StatusCode::from_u16(misunderstood.status).unwrap_or(StatusCode::NOT_ACCEPTABLE);
        Refusal::new("classify", status, misunderstood.code, misunderstood.text())
    })
}

/// Makes both documents anew. Called at start and every few minutes; what cannot be made leaves the last one standing.
pub async fn refresh(tenant: &Arc<Tenant>) -> Result<(), String> {
    let smart = smart(tenant).await;
    if let Ok(document) = &smart {
        tenant.discovery.smart.store(Some(Arc::new(bytes(document))));
    }
    let statement = capabilities(tenant, smart.as_ref().ok()).await?;
    tenant.discovery.types.store(Some(Arc::new(types_of(&statement))));
    tenant.discovery.capabilities.store(Some(Arc::new(bytes(&statement))));
    tenant.discovery.statement.store(Some(Arc::new(statement)));
    tenant.discovery.offered.lock().clear();
    smart.map(drop)
}

fn bytes(document: &Value) -> Bytes {
    Bytes::from(document.to_string())
}

async fn capabilities(tenant: &Tenant, smart: Option<&Value>) -> Result<Value, String> {
    let theirs = statement(&tenant.upstream, tenant.limits.upstream_timeout).await?;
    rewrite(&theirs, &tenant.public_base, smart)
}

/// The types that a capability statement names.
pub(crate) fn types_of(statement: &Value) -> Vec<String> {
    let resources = statement["rest"][0]["resource"].as_array().into_iter().flatten();
    resources.filter_map(|r| r["type"].as_str()).map(str::to_owned).collect()
}

/// What a server says of itself.
pub(crate) async fn statement(upstream: &Upstream, timeout: Duration) -> Result<Value, String> {
    let request = UpstreamRequest::get("/metadata".into());
    // The proxy's own question: a caller's token is not at hand and not needed, every server tells this freely.
    let response = upstream
        .send(&request, "", timeout)
        .await
        .map_err(|e| format!("the upstream's capability statement cannot be read: {e}"))?;
    if response.status() != StatusCode::OK || !is_fhir_json(&response) {
        return Err(format!("the upstream answers {} to /metadata", response.status()));
    }
    let body = crate::client::read_bounded(response.into_body(), CAPABILITIES_BYTES_MAX)
        .await
        .map_err(|e| format!("the upstream's capability statement cannot be read: {e}"))?;
    serde_json::from_slice(&body).map_err(|_| "the capability statement is not JSON".to_owned())
}

/// Interactions that Drape lets through, where the upstream has them.
const INTERACTIONS: [&str; 8] =
    ["read", "vread", "history-instance", "history-type", "search-type", "create", "update", "delete"];

/// Includes of the upstream's list that Drape resolves.
fn includes(list: &Value) -> Vec<Value> {
    let resolved = |text: &str| {
        let mut parts = text.split(':');
        let (Some(kind), Some(code)) = (parts.next(), parts.next()) else { return false };
        drape_fhir::search::parameter(kind, code)
            .is_some_and(|p| p.is_resolvable() && p.kind == Kind::Reference)
    };
    let named = list.as_array().into_iter().flatten();
    named.filter(|i| i.as_str().is_some_and(resolved)).cloned().collect()
}

/// Operations that Drape lets through, where the upstream has them: on what (nothing for the whole server, `*` for any
/// type), by which name, and where they are defined. What they are to whom, policy says.
const OPERATIONS: [(&str, &str, &str); 13] = [
    ("", "export", "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export"),
    ("Patient", "export", "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/patient-export"),
    ("Group", "export", "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/group-export"),
    ("Patient", "everything", "http://hl7.org/fhir/OperationDefinition/Patient-everything"),
    ("Encounter", "everything", "http://hl7.org/fhir/OperationDefinition/Encounter-everything"),
    ("Observation", "lastn", "http://hl7.org/fhir/OperationDefinition/Observation-lastn"),
    ("ValueSet", "expand", "http://hl7.org/fhir/OperationDefinition/ValueSet-expand"),
    ("ValueSet", "validate-code", "http://hl7.org/fhir/OperationDefinition/ValueSet-validate-code"),
    ("CodeSystem", "lookup", "http://hl7.org/fhir/OperationDefinition/CodeSystem-lookup"),
    ("CodeSystem", "validate-code", "http://hl7.org/fhir/OperationDefinition/CodeSystem-validate-code"),
    ("CodeSystem", "subsumes", "http://hl7.org/fhir/OperationDefinition/CodeSystem-subsumes"),
    ("ConceptMap", "translate", "http://hl7.org/fhir/OperationDefinition/ConceptMap-translate"),
    ("*", "validate", "http://hl7.org/fhir/OperationDefinition/Resource-validate"),
];

/// Those of the listed operations that the upstream names as well.
fn operations(on: &str, theirs: &Value) -> Vec<Value> {
    let named = |name: &str| {
        let list = theirs["operation"].as_array().into_iter().flatten();
        list.filter_map(|o| o["name"].as_str()).any(|n| n.trim_start_matches('$') == name)
    };
    OPERATIONS
        .iter()
        .filter(|(of, name, _)| (*of == on || *of == "*" && !on.is_empty()) && named(name))
        .map(|(_, name, definition)| json!({ "name": name, "definition": definition }))
        .collect()
}

/// The upstream's statement cut down to what Drape offers: listed interactions and operations, parameters whose elements
/// are known. Patches and conditional forms are Drape's own, made of what the upstream has.
pub(crate) fn rewrite(theirs: &Value, public_base: &str, smart: Option<&Value>) -> Result<Value, String> {
    if theirs["resourceType"] != "CapabilityStatement" {
        return Err("the upstream's /metadata is no CapabilityStatement".into());
    }
    let version = theirs["fhirVersion"].as_str().unwrap_or_default();
    if !version.starts_with("4.0") {
        return Err(format!("the upstream speaks FHIR `{version}`, Drape stands in front of R4 (4.0)"));
    }
    let none = Vec::new();
    let rest = theirs["rest"].as_array().unwrap_or(&none).iter().find(|r| r["mode"] == "server");
    let mut resources = Vec::new();
    for resource in rest.and_then(|r| r["resource"].as_array()).unwrap_or(&none) {
        let Some(name) = resource["type"].as_str() else { continue };
        if !drape_fhir::definitions::r4().is_resource(name) {
            continue;
        }
        let mut codes: Vec<&str> = resource["interaction"]
            .as_array()
            .unwrap_or(&none)
            .iter()
            .filter_map(|i| i["code"].as_str())
            .filter(|code| INTERACTIONS.contains(code))
            .collect();
        if codes.is_empty() {
            continue;
        }
        if codes.contains(&"update") {
            codes.push("patch");
        }
        let finds = |code: &str| codes.contains(&code) && codes.contains(&"search-type");
        let interactions: Vec<Value> = codes.iter().map(|code| json!({ "code": code })).collect();
        let parameters: Vec<Value> = resource["searchParam"]
            .as_array()
            .unwrap_or(&none)
            .iter()
            .filter_map(|p| Some((p["name"].as_str()?, p["type"].as_str()?)))
            .filter(|(code, _)| drape_fhir::search::parameter(name, code).is_some_and(|p| p.is_resolvable()))
            .map(|(code, kind)| json!({ "name": code, "type": kind }))
            .collect();
        let mut ours = Map::new();
        ours.insert("type".into(), json!(name));
        ours.insert("interaction".into(), Value::Array(interactions));
        ours.insert("versioning".into(), resource.get("versioning").cloned().unwrap_or(json!("versioned")));
        ours.insert("updateCreate".into(), json!(false));
        ours.insert("conditionalCreate".into(), json!(finds("create")));
        ours.insert("conditionalUpdate".into(), json!(finds("update")));
        let deletes = if finds("delete") { "single" } else { "not-supported" };
        ours.insert("conditionalDelete".into(), json!(deletes));
        ours.insert("conditionalRead".into(), json!("full-support"));
        for member in ["searchInclude", "searchRevInclude"] {
            let listed = includes(&resource[member]);
            if !listed.is_empty() {
                ours.insert(member.into(), Value::Array(listed));
            }
        }
        if !parameters.is_empty() {
            ours.insert("searchParam".into(), Value::Array(parameters));
        }
        let operations = operations(name, resource);
        if !operations.is_empty() {
            ours.insert("operation".into(), Value::Array(operations));
        }
        resources.push(Value::Object(ours));
    }
    let mut security = json!({
        "cors": true,
        "service": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/restful-security-service", "code": "SMART-on-FHIR"}]}],
        "description": "Every request but this one needs a bearer token of a configured issuer.",
    });
    if let Some(smart) = smart {
        let mut uris = Vec::new();
        for (name, member) in [("token", "token_endpoint"), ("authorize", "authorization_endpoint")] {
            if let Some(uri) = smart[member].as_str() {
                uris.push(json!({ "url": name, "valueUri": uri }));
            }
        }
        if !uris.is_empty() {
            let url = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris";
            security["extension"] = json!([{ "url": url, "extension": uris }]);
        }
    }
    let mut ours = json!({ "mode": "server", "security": security, "resource": resources });
    // A batch is taken apart; only a transaction needs the upstream's own.
    let mut whole = vec![json!({ "code": "batch" })];
    for code in ["transaction", "history-system"] {
        let theirs = rest.and_then(|r| r["interaction"].as_array()).unwrap_or(&none);
        if theirs.iter().any(|i| i["code"] == code) {
            whole.push(json!({ "code": code }));
        }
    }
    ours["interaction"] = Value::Array(whole);
    let operations = operations("", rest.unwrap_or(&Value::Null));
    if !operations.is_empty() {
        ours["operation"] = Value::Array(operations);
    }
    Ok(json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": theirs["date"].as_str().unwrap_or("2026-01-01"),
        "kind": "instance",
        "software": { "name": "Drape", "version": env!("CARGO_PKG_VERSION") },
        "implementation": { "description": "FHIR R4 behind Drape: each caller is shown what policy permits", "url": public_base },
        "fhirVersion": "4.0.1",
        "patchFormat": ["application/json-patch+json", "application/fhir+json"],
        "format": ["application/fhir+json", "json", "application/fhir+xml", "xml"],
        "rest": [ours],
    }))
}

async fn smart(tenant: &Tenant) -> Result<Value, String> {
    let issuer = tenant.issuers.first().ok_or("no issuer is configured")?;
    let theirs = issuer
        .document()
        .await
        .map_err(|e| format!("the issuer's discovery document cannot be read: {e}"))?;
    let mut ours = Map::new();
    for member in [
        "issuer",
        "jwks_uri",
        "authorization_endpoint",
        "token_endpoint",
        "introspection_endpoint",
        "revocation_endpoint",
        "registration_endpoint",
        "token_endpoint_auth_methods_supported",
        "response_types_supported",
    ] {
        if let Some(value) = theirs.get(member) {
            ours.insert(member.into(), value.clone());
        }
    }
    if let Some(endpoint) = theirs.get("authorization_endpoint").and_then(Value::as_str) {
        tenant.discovery.authorization.store(Some(Arc::new(endpoint.to_owned())));
        // Apps name Drape as their audience; where that would be refused there, they come by here.
        if issuer.config().authorize_audience.is_some() {
            let ours_instead = format!("{}{}", tenant.public_base, authorize::PATH);
            ours.insert("authorization_endpoint".into(), json!(ours_instead));
        }
    }
    let grants = theirs.get("grant_types_supported").cloned().unwrap_or(json!(["authorization_code"]));
    ours.insert("grant_types_supported".into(), grants);
    ours.insert("code_challenge_methods_supported".into(), json!(["S256"]));
    let scopes = json!(["openid", "fhirUser", "launch/patient", "patient/*.rs", "user/*.rs", "system/*.rs"]);
    ours.insert("scopes_supported".into(), scopes);
    // What scopes are held to is Drape's to say; how an app comes by a patient is the issuer's, where it says so.
    let listed = theirs.get("capabilities").and_then(Value::as_array);
    let by_issuer = |name: &str| listed.is_none_or(|all| all.iter().any(|c| c == name));
    let held = ["permission-patient", "permission-user", "permission-v1", "permission-v2"];
    let given = ["launch-standalone", "launch-ehr", "context-standalone-patient", "context-ehr-patient"];
    // An issuer that lists nothing is not said to open apps.
    let given = given
        .into_iter()
        .filter(|name| by_issuer(name) && (listed.is_some() || *name == "context-standalone-patient"));
    let capabilities: Vec<&str> = held.into_iter().chain(given).collect();
    let capabilities = json!(capabilities);
    ours.insert("capabilities".into(), capabilities);
    Ok(Value::Object(ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_statement_offers_only_what_gets_through() {
        let theirs = json!({
            "resourceType": "CapabilityStatement", "fhirVersion": "4.0.1",
            "implementation": {"url": "http://internal:8090/fhir"},
            "rest": [{"mode": "server", "operation": [{"name": "export", "definition": "http://internal/export"}, {"name": "graphql"}], "resource": [{
                "type": "Patient", "interaction": [{"code": "read"}, {"code": "delete"}, {"code": "search-type"}],
                "searchParam": [{"name": "birthdate", "type": "date"}, {"name": "_text", "type": "string"}, {"name": "vendor", "type": "token"}],
                "operation": [{"name": "everything", "definition": "http://internal/everything"}, {"name": "match"}, {"name": "lastn"}],
                "conditionalCreate": true,
            }]}],
        });
        let ours = rewrite(&theirs, "https://fhir.example.org", None).unwrap();
        let text = ours.to_string();
        for gone in ["internal", "patch\"", "graphql", "match", "lastn", "_text", "vendor"] {
            assert!(!text.contains(gone), "{gone} in {text}");
        }
        assert_eq!(ours["rest"][0]["resource"][0]["searchParam"][0]["name"], "birthdate");
        let everything = &ours["rest"][0]["resource"][0]["operation"][0];
        assert_eq!(everything["definition"], "http://hl7.org/fhir/OperationDefinition/Patient-everything");
        assert_eq!(ours["rest"][0]["operation"][0]["name"], "export");
        assert_eq!(ours["rest"][0]["resource"][0]["conditionalCreate"], false);
        assert_eq!(ours["rest"][0]["resource"][0]["conditionalDelete"], "single");
        assert_eq!(ours["implementation"]["url"], "https://fhir.example.org");
    }

    #[test]
    fn another_fhir_version_is_refused() {
        let theirs = json!({"resourceType": "CapabilityStatement", "fhirVersion": "5.0.0"});
        assert!(rewrite(&theirs, "", None).unwrap_err().contains("5.0.0"));
    }
}
