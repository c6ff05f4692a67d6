//! What a persona sees of one patient, in short words for a table.

use drape_demo::Persona;
use serde_json::Value;

use super::stage::Stage;
use crate::cli::Failure;

/// One row of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) name: String,
    pub(super) born: String,
    pub(super) number: String,
    pub(super) phone: String,
    pub(super) zip: String,
    pub(super) diagnoses: String,
    pub(super) finding: String,
    pub(super) notes: String,
    pub(super) claims: String,
}

const NOTHING: &str = "-";

impl Look {
    /// The columns, in their order.
    pub(super) const HEADS: [(&'static str, usize); 9] = [
        ("name", 20),
        ("born", 10),
        ("MRN", 9),
        ("phone", 15),
        ("zip", 6),
        ("diagnoses", 9),
        ("finding", 16),
        ("notes", 7),
        ("claims", 6),
    ];

    pub(super) fn cells(&self) -> [&str; 9] {
        [
            &self.name,
            &self.born,
            &self.number,
            &self.phone,
            &self.zip,
            &self.diagnoses,
            &self.finding,
            &self.notes,
            &self.claims,
        ]
    }

    /// Asks through Drape, as `persona`, for the patient whom that persona knows as `id`.
    pub(super) async fn take(stage: &Stage, persona: Persona, id: &str) -> Result<Self, Failure> {
        let token = stage.token(persona)?;
        let base = &stage.public_base;
        let patient = stage.asker.get(&format!("{base}/Patient/{id}"), Some(&token)).await?.json();
        let mut look = Self::of_patient(&patient);
        let list = |kind: &str, more: &str| format!("{base}/{kind}?patient=Patient/{id}&_count=100{more}");
        let conditions = stage.asker.get(&list("Condition", ""), Some(&token)).await?.json();
        look.diagnoses = count(&conditions, "Condition");
        let observations = stage.asker.get(&list("Observation", ""), Some(&token)).await?.json();
        look.finding =
            records(&observations, "Observation").iter().find_map(|o| finding(o)).unwrap_or_else(dash);
        let notes = stage.asker.get(&list("DocumentReference", ""), Some(&token)).await?.json();
        let notes = records(&notes, "DocumentReference");
        let whole = notes.iter().filter(|n| n["content"][0]["attachment"]["data"].is_string()).count();
        look.notes = match (notes.len(), whole) {
            (0, _) => dash(),
            (all, whole) if all == whole => format!("{all} whole"),
            (all, _) => format!("{all} bare"),
        };
        let claims = stage.asker.get(&list("Claim", ""), Some(&token)).await?.json();
        look.claims = count(&claims, "Claim");
        Ok(look)
    }

    fn of_patient(patient: &Value) -> Self {
        let name = &patient["name"][0];
        let given = name["given"][0].as_str().unwrap_or_default();
        let name = match name["family"].as_str() {
            Some(family) => format!("{given} {family}").trim().to_owned(),
            None => sealed(&patient["name"], &patient["_name"]),
        };
        let number =
            patient["identifier"].as_array().and_then(|list| list.iter().find_map(|i| i["value"].as_str()));
        Self {
            name,
            born: patient["birthDate"].as_str().map_or_else(dash, str::to_owned),
            number: number.map_or_else(dash, str::to_owned),
            phone: match patient["telecom"][0]["value"].as_str() {
                Some(phone) => phone.to_owned(),
                None => sealed(&patient["telecom"], &patient["_telecom"]),
            },
            zip: patient["address"][0]["postalCode"].as_str().map_or_else(dash, str::to_owned),
            ..Self::default()
        }
    }
}

fn dash() -> String {
    NOTHING.to_owned()
}

/// Whether an element is there in a sealed form only.
fn sealed(value: &Value, sibling: &Value) -> String {
    let holds = |v: &Value| v.to_string().contains(drape_shield::ENCRYPTED_ELEMENT);
    if holds(value) || holds(sibling) { "sealed".to_owned() } else { dash() }
}

/// The records of a type in a Bundle.
pub(super) fn records<'a>(bundle: &'a Value, kind: &str) -> Vec<&'a Value> {
    let entries = bundle["entry"].as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().map(|e| &e["resource"]).filter(|r| r["resourceType"] == kind).collect()
}

fn count(bundle: &Value, kind: &str) -> String {
    match records(bundle, kind).len() {
        0 => dash(),
        n => n.to_string(),
    }
}

/// The first measured value, with its code.
fn finding(observation: &Value) -> Option<String> {
    let quantity = &observation["valueQuantity"];
    let value = quantity["value"].as_f64()?;
    let unit = quantity["unit"].as_str().or(quantity["code"].as_str()).unwrap_or_default();
    Some(format!("{value} {unit}").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_shown_sealed_and_gone_is_told_apart() {
        let shown = Look::of_patient(&json!({
            "name": [{"family": "Stone", "given": ["Ada"]}], "birthDate": "1970-01-02",
            "identifier": [{"value": "7"}], "telecom": [{"value": "555"}], "address": [{"postalCode": "03301"}],
        }));
        assert_eq!(shown.cells()[..5], ["Ada Stone", "1970-01-02", "7", "555", "03301"]);
        let hidden = Look::of_patient(&json!({
            "birthDate": "1970", "telecom": [{"extension": [{"url": drape_shield::ENCRYPTED_ELEMENT}]}],
        }));
        assert_eq!(hidden.cells()[..5], ["-", "1970", "-", "sealed", "-"]);
    }
}
