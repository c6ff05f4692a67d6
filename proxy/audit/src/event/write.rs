//! An event as AuditEvent JSON: base R4 always, and the BALP profile named only where it is met.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::*;
use crate::time::instant;

impl Event {
    /// The stored AuditEvent (FHIR R4 JSON).
    ///
    /// `meta.profile` names a BALP profile only for a success that names at most one patient; a denial never has one.
    pub fn to_json(&self) -> Value {
        let pattern = Pattern::of(self.interaction.as_deref());
        let mut event = Map::new();
        event.insert("resourceType".into(), json!("AuditEvent"));
        if let Some(profile) = self.profile(pattern) {
            event.insert("meta".into(), json!({ "profile": [profile] }));
        }
        event.insert("type".into(), self.event_type());
        if let Some(code) = text(self.interaction.as_deref()) {
            event.insert("subtype".into(), json!([{ "system": INTERACTION, "code": code }]));
        }
        event.insert("action".into(), json!(pattern.action(self.interaction.as_deref())));
        event.insert("recorded".into(), json!(instant(self.time_ms)));
        if let Some(outcome) = self.outcome {
            event.insert("outcome".into(), json!(outcome.code()));
        }
        if let Some(reason) = text(self.reason.as_deref()) {
            event.insert("outcomeDesc".into(), json!(reason));
        }
        if let Some(purpose) = self.purpose() {
            event.insert("purposeOfEvent".into(), json!([purpose]));
        }
        event.insert("agent".into(), Value::Array(self.agents(pattern)));
        event.insert("source".into(), self.source());
        event.insert("entity".into(), Value::Array(self.entities()));
        Value::Object(event)
    }

    /// The bytes that are committed to and stored: compact JSON of [`Event::to_json`], members in its order.
    pub fn canonical(&self) -> Vec<u8> {
        self.to_json().to_string().into_bytes()
    }

    /// The event as BALP wants it exported: one AuditEvent per patient named, or one where none is.
    ///
    /// An event about several patients does not say which record is whose, so the parts of a split name no records.
    pub fn to_balp_events(&self) -> Vec<Value> {
        if self.patients.len() <= 1 {
            return vec![self.to_json()];
        }
        self.patients
            .iter()
            .map(|patient| {
                Self { patients: vec![patient.clone()], records: Vec::new(), ..self.clone() }.to_json()
            })
            .collect()
    }

    fn profile(&self, pattern: Pattern) -> Option<String> {
        let disclosed = matches!(self.class, Class::Segment | Class::Outcome);
        let name = pattern.profile_name()?;
        // Each BALP slice that is 1..1 must be there: the user's data, the query, the patient.
        let one_record = self.records.len() == 1;
        let shaped = match pattern {
            Pattern::Query => text(self.query.as_deref()).is_some(),
            _ => one_record,
        };
        let success = self.outcome == Some(OutcomeCode::Success) && self.decision != Decision::Deny;
        if !disclosed || !success || !shaped || self.subject.is_none() || self.patients.len() > 1 {
            return None;
        }
        let patient = if self.patients.is_empty() { "" } else { "Patient" };
        Some(format!("{BALP_PROFILE}{patient}{name}"))
    }

    fn event_type(&self) -> Value {
        let (system, code, display) = match self.class {
            Class::Intent | Class::Segment | Class::Outcome | Class::Refusal => {
                (EVENT_TYPE, "rest", "RESTful Operation")
            }
            Class::Strangers => (DCM, "110114", "User Authentication"),
            Class::Officer => (DCM, "110101", "Audit Log Used"),
            Class::Config | Class::Heartbeat => (DCM, "110100", "Application Activity"),
            Class::Tombstone => (LIFECYCLE, "destroy", "Destroy/Delete Record Lifecycle Event"),
            Class::Approval => (LIFECYCLE, "attest", "Attest Record Lifecycle Event"),
        };
        json!({ "system": system, "code": code, "display": display })
    }

    fn purpose(&self) -> Option<Value> {
        let code = text(self.purpose.as_deref())?;
        Some(json!({ "coding": [{ "system": ACT_REASON, "code": code }] }))
    }

    /// Client, server, user, in that order; the proxy alone where nobody asked.
    fn agents(&self, pattern: Pattern) -> Vec<Value> {
        let Some(subject) = &self.subject else {
            let mut proxy = agent_type(DCM, "110150", "Application");
            proxy.insert("who".into(), json!({ "display": OBSERVER }));
            proxy.insert("requestor".into(), json!(false));
            if let Some(address) = text(self.network.as_deref()) {
                proxy.insert("network".into(), json!({ "address": address, "type": "2" }));
            }
            return vec![Value::Object(proxy)];
        };
        let source = (DCM, "110153", "Source Role ID");
        let destination = (DCM, "110152", "Destination Role ID");
        let (client_type, server_type, user_type) = match pattern {
            Pattern::Read => (destination, source, "IRCP"),
            Pattern::Create | Pattern::Update => (source, destination, "AUT"),
            Pattern::Delete => {
                ((DCM, "110150", "Application"), (PROVENANCE_PARTICIPANT, "custodian", "Custodian"), "AUT")
            }
            Pattern::Query | Pattern::Other => (source, destination, "IRCP"),
        };

        let mut client = agent_type(client_type.0, client_type.1, client_type.2);
        client.insert(
            "who".into(),
            match text(self.client.as_deref()) {
                Some(id) => json!({ "identifier": { "value": id } }),
                None => json!({ "display": "unnamed client" }),
            },
        );
        client.insert("requestor".into(), json!(false));
        client.insert(
            "network".into(),
            match text(self.network.as_deref()) {
                Some(address) => json!({ "address": address, "type": "2" }),
                None => json!({ "address": "unknown", "type": "1" }),
            },
        );

        let mut server = agent_type(server_type.0, server_type.1, server_type.2);
        server.insert("who".into(), json!({ "display": OBSERVER }));
        server.insert("requestor".into(), json!(false));
        server.insert(
            "network".into(),
            match text(self.server.as_deref()) {
                Some(url) => json!({ "address": url, "type": "5" }),
                None => json!({ "address": "unknown", "type": "1" }),
            },
        );

        let display = if user_type == "AUT" { "author (originator)" } else { "information recipient" };
        let mut user = agent_type(PARTICIPATION, user_type, display);
        let roles: Vec<Value> =
            subject.roles.iter().filter_map(|role| text(Some(role))).map(|r| json!({ "text": r })).collect();
        if !roles.is_empty() {
            user.insert("role".into(), Value::Array(roles));
        }
        let mut identifier = Map::new();
        if let Some(issuer) = text(Some(&subject.issuer)) {
            identifier.insert("system".into(), json!(issuer));
        }
        identifier.insert("value".into(), json!(text(Some(&subject.id)).unwrap_or_else(|| "unnamed".into())));
        user.insert("who".into(), json!({ "identifier": identifier }));
        if let Some(name) = text(subject.name.as_deref()) {
            user.insert("name".into(), json!(name));
        }
        user.insert("requestor".into(), json!(true));
        if let Some(id) = text(subject.token_id.as_deref()) {
            user.insert("policy".into(), json!([format!("{JTI}{id}")]));
        }
        if let Some(purpose) = self.purpose() {
            user.insert("purposeOfUse".into(), json!([purpose]));
        }
        vec![Value::Object(client), Value::Object(server), Value::Object(user)]
    }

    fn source(&self) -> Value {
        let observer = text(self.server.as_deref()).unwrap_or_else(|| OBSERVER.into());
        json!({
            "observer": { "display": observer },
            "type": [{ "system": SOURCE_TYPE, "code": "4", "display": "Application Server" }],
        })
    }

    fn entities(&self) -> Vec<Value> {
        let mut entities = Vec::new();
        for record in &self.records {
            if let Some(what) = reference(record) {
                entities.push(entity("2", "System Object", "4", "Domain Resource", what));
            }
        }
        for patient in &self.patients {
            if let Some(what) = reference(&format!("Patient/{patient}")) {
                entities.push(entity("1", "Person", "1", "Patient", what));
            }
        }
        if let Some(query) = self.query.as_deref().filter(|query| !query.is_empty()) {
            let mut asked = entity_type("2", "System Object", "24", "Query");
            // sev-1: `name` and `query` exclude each other; the description holds no values (BALP).
            let description = match (text(self.method.as_deref()), text(self.route.as_deref())) {
                (Some(method), Some(route)) => Some(format!("{method} {route}")),
                _ => None,
            };
            if let Some(description) = description {
                asked.insert("description".into(), json!(description));
            }
            asked.insert("query".into(), json!(STANDARD.encode(query)));
            entities.push(Value::Object(asked));
        }
        if let Some(request) = text(Some(&self.request)) {
            entities.push(json!({
                "what": { "identifier": { "value": request } },
                "type": { "system": BALP_ENTITY, "code": "XrequestId" },
            }));
        }
        let mut record = entity_type("4", "Other", "13", "Security Resource");
        record.insert("name".into(), json!(RECORD));
        record.insert("detail".into(), Value::Array(self.details()));
        entities.push(Value::Object(record));
        entities
    }

    fn details(&self) -> Vec<Value> {
        let mut details = Vec::new();
        let mut add = |kind: &str, value: Option<String>| {
            if let Some(value) = value {
                details.push(json!({ "type": kind, "valueString": value }));
            }
        };
        add("class", Some(self.class.word().into()));
        add("tenant", text(Some(&self.tenant)));
        add("organization", text(self.organization.as_deref()));
        add("purpose-stated-by", text(self.stated_by.as_deref()));
        add("emergency-to-be-reviewed", text(self.emergency.as_deref()));
        add("resource-type", text(self.resource_type.as_deref()));
        add("method", text(self.method.as_deref()));
        add("route", text(self.route.as_deref()));
        add("decision", Some(self.decision.word().into()));
        add("policy-digest", text(self.policy_digest.as_deref()));
        for policy in &self.policies {
            add("policy", text(Some(policy)));
        }
        for treated in &self.treatments {
            add("treated", Some(format!("{} {} {}", treated.category, treated.treatment, treated.count)));
        }
        // JSON in a string: an AuditEvent has no place for what hangs together.
        if !self.trace.is_empty() {
            add("trace", serde_json::to_string(&self.trace).ok());
        }
        for determined in &self.determined {
            add("determined", serde_json::to_string(determined).ok());
        }
        add("status", self.status.map(|status| status.to_string()));
        for (kind, count) in &self.strangers {
            add("strangers", Some(format!("{} {count}", kind.word())));
        }
        for (first, last) in &self.erased {
            add("erased", Some(format!("{first} {last}")));
        }
        details
    }
}

fn agent_type(system: &str, code: &str, display: &str) -> Map<String, Value> {
    let mut agent = Map::new();
    agent
        .insert("type".into(), json!({ "coding": [{ "system": system, "code": code, "display": display }] }));
    agent
}

fn entity_type(kind: &str, kind_display: &str, role: &str, role_display: &str) -> Map<String, Value> {
    let mut entity = Map::new();
    entity.insert("type".into(), json!({ "system": ENTITY_TYPE, "code": kind, "display": kind_display }));
    entity.insert("role".into(), json!({ "system": OBJECT_ROLE, "code": role, "display": role_display }));
    entity
}

fn entity(kind: &str, kind_display: &str, role: &str, role_display: &str, what: Value) -> Value {
    let mut entity = Map::new();
    entity.insert("what".into(), what);
    entity.append(&mut entity_type(kind, kind_display, role, role_display));
    Value::Object(entity)
}

/// A reference, or an identifier where the parts are not what FHIR allows in a reference: it is still written down.
fn reference(record: &str) -> Option<Value> {
    let parts: Vec<&str> = record.split('/').collect();
    let is_id = |part: &&str| {
        (1..=64).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
    };
    if parts.iter().all(is_id) {
        match parts.as_slice() {
            [kind, id] => return Some(json!({ "reference": format!("{kind}/{id}") })),
            [kind, id, version] => {
                return Some(json!({ "reference": format!("{kind}/{id}/_history/{version}") }));
            }
            _ => {}
        }
    }
    text(Some(record)).map(|value| json!({ "identifier": { "value": value } }))
}

/// A FHIR string: not empty, no control characters (they become U+FFFD), or nothing.
fn text(value: Option<&str>) -> Option<String> {
    let value = value?;
    if value.trim().is_empty() {
        return None;
    }
    let allowed = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r');
    Some(value.chars().map(|c| if allowed(c) { c } else { '\u{fffd}' }).collect())
}
