//! What was done to an element, told from the record that was stored and the one that arrived, and from nothing else: a
//! test that asked the judge again would find what the judge says, not what left.

use drape_view::{Catalogue, Category};
use serde_json::Value;

use super::file::Treated;

const ABSENT: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";

/// What was done to the element at `path` (`Condition.code.coding`) of `stored`; `None` where it holds nothing there, so
/// that nothing could be told.
pub(super) fn observed(
    catalogue: &Catalogue,
    stored: &Value,
    arrived: &Value,
    path: &str,
) -> Option<Treated> {
    let steps: Vec<&str> = path.split('.').skip(1).collect();
    let (before, after) = (leaves(stored, &steps), leaves(arrived, &steps));
    if before.is_empty() {
        return None;
    }
    let sealed = at(arrived, &steps, true).iter().any(|v| mentions(v, drape_shield::ENCRYPTED_ELEMENT));
    let missing = before.iter().filter(|leaf| !after.contains(leaf)).count();
    let strange = after.iter().filter(|leaf| !before.contains(leaf)).count();
    Some(match (missing, strange, sealed) {
        (0, 0, _) => Treated::Show,
        (_, _, true) => Treated::Encrypt,
        (_, 0, _) if missing == before.len() => Treated::Redact,
        (_, 0, _) => Treated::Part,
        _ => {
            let kind = path.split('.').next().unwrap_or_default();
            let linked = |c: Category| c.is_link() || c == Category::Identifier;
            let links = Category::ALL.into_iter().filter(|c| linked(*c));
            let here = catalogue.categories_at(kind, path);
            if links.into_iter().any(|c| here.contains(c)) {
                Treated::Pseudonymize
            } else {
                Treated::Generalize
            }
        }
    })
}

/// Every primitive value at and below the path, with where it stands below it. Places in lists do not count: a list from
/// which an item went is a shorter list.
fn leaves(record: &Value, steps: &[&str]) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for value in at(record, steps, false) {
        collect(value, String::new(), &mut found);
    }
    found
}

fn collect(value: &Value, place: String, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, place.clone(), found)),
        Value::Object(members) => {
            for (name, member) in members {
                // What says that something is hidden or sealed is no content.
                let own = name == "extension" && is_mark(member);
                if !own && !name.starts_with('_') {
                    collect(member, format!("{place}.{name}"), found);
                }
            }
        }
        Value::Null => {}
        primitive => found.push((place, primitive.clone())),
    }
}

fn is_mark(extensions: &Value) -> bool {
    extensions.as_array().is_some_and(|all| {
        all.iter().all(|e| e["url"] == ABSENT || e["url"] == drape_shield::ENCRYPTED_ELEMENT)
    })
}

/// The values at a path, lists opened; with `beside` the `_name` members too. `value` finds `valueQuantity`.
fn at<'a>(record: &'a Value, steps: &[&str], beside: bool) -> Vec<&'a Value> {
    let mut found = vec![record];
    for (place, step) in steps.iter().enumerate() {
        let last = place + 1 == steps.len();
        found = found
            .into_iter()
            .flat_map(|value| match value {
                Value::Array(items) => items.iter().collect(),
                other => vec![other],
            })
            .filter_map(Value::as_object)
            .flat_map(|members| {
                members.iter().filter(move |(name, _)| {
                    let bare = name.strip_prefix('_').filter(|_| beside && last).unwrap_or(name);
                    bare == *step || is_choice(bare, step)
                })
            })
            .map(|(_, value)| value)
            .collect();
    }
    found
}

/// What a choice may be of; a longer name that ends otherwise (`statusReason`) is another element.
const CHOICES: [&str; 33] = [
    "Address",
    "Age",
    "Annotation",
    "Attachment",
    "Base64Binary",
    "Boolean",
    "Canonical",
    "Code",
    "CodeableConcept",
    "Coding",
    "ContactPoint",
    "Date",
    "DateTime",
    "Decimal",
    "Dosage",
    "Duration",
    "HumanName",
    "Id",
    "Identifier",
    "Instant",
    "Integer",
    "Markdown",
    "Money",
    "Period",
    "Quantity",
    "Range",
    "Ratio",
    "Reference",
    "SampledData",
    "String",
    "Time",
    "Timing",
    "Uri",
];

/// Whether `valueQuantity` is meant by `value`.
fn is_choice(name: &str, step: &str) -> bool {
    name.strip_prefix(step).is_some_and(|rest| CHOICES.contains(&rest))
}

fn mentions(value: &Value, url: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|v| mentions(v, url)),
        Value::Object(members) => members.iter().any(|(n, v)| (n == "url" && v == url) || mentions(v, url)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(stored: Value, arrived: Value, path: &str) -> Option<&'static str> {
        observed(Catalogue::builtin(), &stored, &arrived, path).map(Treated::name)
    }

    #[test]
    fn what_was_done_is_told_from_the_two_records_alone() {
        let stored = json!({"resourceType": "Patient", "id": "p1", "birthDate": "1980-02-03", "gender": "female",
            "name": [{"family": "Doe", "given": ["Ann", "B"]}], "telecom": [{"system": "phone", "value": "1"}]});
        let with = |change: &dyn Fn(&mut Value)| {
            let mut arrived = stored.clone();
            change(&mut arrived);
            arrived
        };
        assert_eq!(told(stored.clone(), stored.clone(), "Patient.birthDate"), Some("show"));
        let year = with(&|r| r["birthDate"] = json!("1980"));
        assert_eq!(told(stored.clone(), year, "Patient.birthDate"), Some("generalize"));
        let gone = with(&|r| {
            r.as_object_mut().unwrap().remove("birthDate");
            r["_birthDate"] = json!({"extension": [{"url": ABSENT, "valueCode": "masked"}]});
        });
        assert_eq!(told(stored.clone(), gone, "Patient.birthDate"), Some("redact"));
        let part = with(&|r| r["name"] = json!([{"family": "Doe"}]));
        assert_eq!(told(stored.clone(), part.clone(), "Patient.name"), Some("part"));
        assert_eq!(told(stored.clone(), part, "Patient.name.family"), Some("show"));
        let other = with(&|r| r["id"] = json!("x9"));
        assert_eq!(told(stored.clone(), other, "Patient.id"), Some("pseudonymize"));
        let sealed = with(&|r| {
            r["telecom"] =
                json!([{"extension": [{"url": drape_shield::ENCRYPTED_ELEMENT, "valueString": "…"}]}]);
        });
        assert_eq!(told(stored.clone(), sealed, "Patient.telecom"), Some("encrypt"));
        assert_eq!(told(stored.clone(), stored, "Patient.photo"), None, "nothing is there to be told about");
    }

    #[test]
    fn a_choice_is_found_by_its_name() {
        let stored = json!({"resourceType": "Observation", "id": "o", "valueQuantity": {"value": 1.5}});
        let bare = json!({"resourceType": "Observation", "id": "o"});
        assert_eq!(told(stored.clone(), bare, "Observation.value"), Some("redact"));
        assert_eq!(told(stored.clone(), stored, "Observation.valueQuantity.value"), Some("show"));
    }
}
