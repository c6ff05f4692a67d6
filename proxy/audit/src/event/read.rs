//! A stored AuditEvent read back into the event that was entered.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::*;
use crate::time::parse_instant;

/// Why stored bytes are not an event of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventFault {
    /// Not JSON.
    #[error("the stored event is not JSON")]
    NotJson,
    /// An element we always write is absent or has a value we never write.
    #[error("the stored event has no valid `{0}`")]
    Element(&'static str),
}

impl Event {
    /// Reads what [`Event::canonical`] wrote.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, EventFault> {
        Self::from_json(&serde_json::from_slice(bytes).map_err(|_| EventFault::NotJson)?)
    }

    /// Reads what [`Event::to_json`] wrote; an AuditEvent of somebody else's making is refused.
    pub fn from_json(value: &Value) -> Result<Self, EventFault> {
        let entities = list(&value["entity"]);
        let details = entities
            .iter()
            .find(|entity| entity["name"] == RECORD)
            .map(|entity| list(&entity["detail"]))
            .ok_or(EventFault::Element("entity"))?;
        let all = |kind: &str| -> Vec<&str> {
            let of_kind = details.iter().filter(|detail| detail["type"] == kind);
            of_kind.filter_map(|detail| detail["valueString"].as_str()).collect()
        };
        let one = |kind: &str| all(kind).first().map(|value| (*value).to_owned());

        let class = one("class").and_then(|word| Class::from_word(&word));
        let recorded = value["recorded"].as_str().and_then(parse_instant);
        let mut event = Self::new(
            class.ok_or(EventFault::Element("class"))?,
            recorded.ok_or(EventFault::Element("recorded"))?,
            "",
            one("tenant").unwrap_or_default(),
        );
        event.organization = one("organization");
        event.stated_by = one("purpose-stated-by");
        event.emergency = one("emergency-to-be-reviewed");
        event.resource_type = one("resource-type");
        event.method = one("method");
        event.route = one("route");
        let decision = one("decision").and_then(|word| Decision::from_word(&word));
        event.decision = decision.ok_or(EventFault::Element("decision"))?;
        event.policy_digest = one("policy-digest");
        event.policies = all("policy").into_iter().map(str::to_owned).collect();
        for treated in all("treated") {
            event.treatments.push(read_treated(treated).ok_or(EventFault::Element("treated"))?);
        }
        if let Some(text) = one("trace") {
            event.trace = serde_json::from_str(&text).map_err(|_| EventFault::Element("trace"))?;
        }
        for text in all("determined") {
            event.determined.push(serde_json::from_str(text).map_err(|_| EventFault::Element("determined"))?);
        }
        if let Some(status) = one("status") {
            event.status = Some(status.parse().map_err(|_| EventFault::Element("status"))?);
        }
        for counted in all("strangers") {
            let read = counted
                .split_once(' ')
                .and_then(|(kind, count)| Some((Stranger::from_word(kind)?, count.parse().ok()?)));
            event.strangers.push(read.ok_or(EventFault::Element("strangers"))?);
        }
        for range in all("erased") {
            let read = range
                .split_once(' ')
                .and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
            event.erased.push(read.ok_or(EventFault::Element("erased"))?);
        }

        event.interaction = string(&value["subtype"][0]["code"]);
        event.purpose = string(&value["purposeOfEvent"][0]["coding"][0]["code"]);
        event.reason = string(&value["outcomeDesc"]);
        if let Some(code) = value["outcome"].as_str() {
            event.outcome = Some(OutcomeCode::from_code(code).ok_or(EventFault::Element("outcome"))?);
        }
        event.read_entities(entities)?;
        event.read_agents(list(&value["agent"]));
        event.server = string(&value["source"]["observer"]["display"]).filter(|name| name != OBSERVER);
        Ok(event)
    }

    fn read_entities(&mut self, entities: &[Value]) -> Result<(), EventFault> {
        for entity in entities {
            let role =
                if entity["role"]["system"] == OBJECT_ROLE { entity["role"]["code"].as_str() } else { None };
            match role {
                Some("4") => self.records.extend(what(&entity["what"])),
                Some("1") => {
                    let patient = what(&entity["what"]);
                    self.patients
                        .extend(patient.map(|p| p.strip_prefix("Patient/").map(str::to_owned).unwrap_or(p)));
                }
                Some("24") => {
                    let bytes = entity["query"].as_str().and_then(|query| STANDARD.decode(query).ok());
                    let query = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
                    self.query = Some(query.ok_or(EventFault::Element("query"))?);
                }
                _ if entity["type"]["system"] == BALP_ENTITY => {
                    self.request = string(&entity["what"]["identifier"]["value"]).unwrap_or_default();
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn read_agents(&mut self, agents: &[Value]) {
        let address = |agent: &Value, kind: &str| {
            if agent["network"]["type"] == kind { string(&agent["network"]["address"]) } else { None }
        };
        if let Some(client) = agents.first() {
            self.client = string(&client["who"]["identifier"]["value"]);
            self.network = address(client, "2");
        }
        if let Some(user) = agents.iter().find(|agent| agent["requestor"] == true) {
            let roles = list(&user["role"]).iter().filter_map(|role| string(&role["text"])).collect();
            self.subject = Some(Subject {
                issuer: string(&user["who"]["identifier"]["system"]).unwrap_or_default(),
                id: string(&user["who"]["identifier"]["value"]).unwrap_or_default(),
                name: string(&user["name"]),
                roles,
                token_id: user["policy"][0].as_str().and_then(|p| p.strip_prefix(JTI)).map(str::to_owned),
            });
        }
    }
}

fn read_treated(text: &str) -> Option<Treated> {
    let mut parts = text.split(' ');
    let treated = Treated {
        category: parts.next()?.to_owned(),
        treatment: parts.next()?.to_owned(),
        count: parts.next()?.parse().ok()?,
    };
    parts.next().is_none().then_some(treated)
}

/// `Type/id`, `Type/id/version`, or the identifier written instead.
fn what(value: &Value) -> Option<String> {
    match string(&value["reference"]) {
        Some(reference) => Some(reference.replace("/_history/", "/")),
        None => string(&value["identifier"]["value"]),
    }
}

fn string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
