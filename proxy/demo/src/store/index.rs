//! What a record can be found by: its values under each search parameter, made once when it is written.

use std::collections::BTreeMap;

use serde_json::Value;

use super::parameters::{Kind, Type};
use super::times::Span;
use crate::exact;

/// A value that can be searched for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Term {
    /// Folded for comparison, and as it stands.
    Text {
        folded: String,
        raw: String,
    },
    Token {
        system: Option<String>,
        code: String,
        words: String,
    },
    /// A reference: what it points to where it is relative or absolute, and its business identifier.
    Link {
        kind: String,
        id: String,
        raw: String,
        identifier: Option<(String, String)>,
    },
    When(Span),
    Amount {
        value: f64,
        system: String,
        code: String,
        unit: String,
    },
    Uri(String),
}

/// Values by parameter.
pub(super) type Index = BTreeMap<&'static str, Vec<Term>>;

/// Indexes a record.
pub(super) fn index(kind: &'static Type, resource: &Value) -> Index {
    let mut index = Index::new();
    for parameter in &kind.parameters {
        let mut terms = Vec::new();
        if parameter.kind == Kind::Deceased {
            let dead = resource.get("deceasedDateTime").is_some()
                || resource.get("deceasedBoolean").and_then(Value::as_bool).unwrap_or(false);
            terms.push(Term::Token { system: None, code: dead.to_string(), words: String::new() });
        } else {
            for path in &parameter.paths {
                let mut found = Vec::new();
                follow(resource, path, &mut found);
                for value in found {
                    read(parameter.kind, value, &mut terms);
                }
            }
        }
        if !terms.is_empty() {
            index.insert(parameter.code, terms);
        }
    }
    index
}

/// Lower case without accents, as FHIR R4 3.1.1.4.8 asks of strings.
pub(super) fn fold(text: &str) -> String {
    text.chars()
        .flat_map(char::to_lowercase)
        .map(|c| match c {
            'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' => 'a',
            'ç' => 'c',
            'è' | 'é' | 'ê' | 'ë' => 'e',
            'ì' | 'í' | 'î' | 'ï' => 'i',
            'ñ' => 'n',
            'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ø' => 'o',
            'ù' | 'ú' | 'û' | 'ü' => 'u',
            'ý' | 'ÿ' => 'y',
            other => other,
        })
        .collect()
}

/// Splits `…/Type/id[/_history/n]` into type and id.
pub(super) fn target(reference: &str) -> Option<(&str, &str)> {
    let reference = reference.split_once("/_history/").map_or(reference, |(head, _)| head);
    let mut parts = reference.rsplit('/');
    let (id, kind) = (parts.next()?, parts.next()?);
    (!id.is_empty() && kind.starts_with(|c: char| c.is_ascii_uppercase())).then_some((kind, id))
}

/// The values at a path such as `telecom[system=phone]` or `component.code`.
fn follow<'v>(value: &'v Value, path: &str, found: &mut Vec<&'v Value>) {
    if let Value::Array(items) = value {
        for item in items {
            follow(item, path, found);
        }
        return;
    }
    if path.is_empty() {
        found.push(value);
        return;
    }
    let (step, rest) = path.split_once('.').unwrap_or((path, ""));
    let (name, filter) = match step.split_once('[') {
        Some((name, filter)) => (name, filter.trim_end_matches(']').split_once('=')),
        None => (step, None),
    };
    let Some(member) = value.get(name) else { return };
    match filter {
        None => follow(member, rest, found),
        Some((key, wanted)) => {
            let items = member.as_array().map_or(std::slice::from_ref(member), Vec::as_slice);
            for item in items.iter().filter(|i| i.get(key).and_then(Value::as_str) == Some(wanted)) {
                follow(item, rest, found);
            }
        }
    }
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}

fn read(kind: Kind, value: &Value, terms: &mut Vec<Term>) {
    match kind {
        Kind::Text => strings(value, terms),
        Kind::Token | Kind::Deceased => tokens(value, terms),
        Kind::Uri => terms.extend(value.as_str().map(|u| Term::Uri(u.to_owned()))),
        Kind::Reference => terms.extend(link(value)),
        Kind::Quantity => terms.extend(amount(value)),
        Kind::Date => dates(value, terms),
    }
}

/// All strings within: a HumanName or an Address is searched by every part.
fn strings(value: &Value, terms: &mut Vec<Term>) {
    match value {
        Value::String(raw) => terms.push(Term::Text { folded: fold(raw), raw: raw.clone() }),
        Value::Array(items) => items.iter().for_each(|i| strings(i, terms)),
        Value::Object(members) => {
            for (_, member) in
                members.iter().filter(|(k, _)| !["use", "type", "period", "extension"].contains(&k.as_str()))
            {
                strings(member, terms);
            }
        }
        _ => {}
    }
}

fn tokens(value: &Value, terms: &mut Vec<Term>) {
    let token = |system: Option<&str>, code: &str, words: &str| Term::Token {
        system: system.map(str::to_owned),
        code: code.to_owned(),
        words: fold(words),
    };
    match value {
        Value::String(code) => terms.push(token(None, code, "")),
        Value::Bool(b) => terms.push(token(None, &b.to_string(), "")),
        Value::Object(_) => {
            if let Some(codings) = value.get("coding").and_then(Value::as_array) {
                let words = text(value, "text").unwrap_or_default();
                for coding in codings {
                    let words = format!("{words} {}", text(coding, "display").unwrap_or_default());
                    terms.push(token(
                        text(coding, "system"),
                        text(coding, "code").unwrap_or_default(),
                        words.trim(),
                    ));
                }
            } else if let Some(code) = text(value, "code") {
                terms.push(token(text(value, "system"), code, text(value, "display").unwrap_or_default()));
            } else if let Some(code) = text(value, "value") {
                // An Identifier has a URI as system; a ContactPoint only a word, which is no part of the token.
                let system = text(value, "system").filter(|s| s.contains(':'));
                terms.push(token(system, code, ""));
            } else if let Some(words) = text(value, "text") {
                terms.push(token(None, "", words));
            }
        }
        _ => {}
    }
}

fn link(value: &Value) -> Option<Term> {
    let raw = value.as_str().or_else(|| text(value, "reference")).unwrap_or_default();
    let identifier = value
        .get("identifier")
        .and_then(|i| Some((text(i, "system").unwrap_or_default().to_owned(), text(i, "value")?.to_owned())));
    if raw.is_empty() && identifier.is_none() {
        return None;
    }
    let (kind, id) = target(raw).unwrap_or(("", ""));
    Some(Term::Link { kind: kind.to_owned(), id: id.to_owned(), raw: raw.to_owned(), identifier })
}

fn amount(value: &Value) -> Option<Term> {
    // SampledData has its quantity as origin.
    let value = value.get("origin").unwrap_or(value);
    let number: f64 = exact::digits(value.get("value")?)?.parse().ok()?;
    let part = |key| text(value, key).unwrap_or_default().to_owned();
    Some(Term::Amount { value: number, system: part("system"), code: part("code"), unit: part("unit") })
}

fn dates(value: &Value, terms: &mut Vec<Term>) {
    let span = match value {
        Value::String(moment) => Span::parse(moment),
        Value::Object(_) => match value.get("event").and_then(Value::as_array) {
            Some(events) => return events.iter().for_each(|e| dates(e, terms)),
            None => Span::period(text(value, "start"), text(value, "end")),
        },
        _ => None,
    };
    terms.extend(span.map(Term::When));
}

#[cfg(test)]
mod tests {
    use super::super::parameters::types;
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patient_is_found_by_names_numbers_and_dates() {
        let patient = json!({
            "resourceType": "Patient", "id": "x", "birthDate": "2001-02",
            "name": [{"use": "official", "family": "Ekström", "given": ["Åsa"]}],
            "identifier": [{"system": "urn:n", "value": "7"}],
            "telecom": [{"system": "phone", "value": "1"}, {"system": "email", "value": "2"}],
            "generalPractitioner": [{"reference": "http://h/fhir/Practitioner/p/_history/2"}],
        });
        let index = index(&types()["Patient"], &patient);
        assert!(index["name"].iter().any(|t| matches!(t, Term::Text { folded, .. } if folded == "ekstrom")));
        assert!(
            !index["name"].iter().any(|t| matches!(t, Term::Text { folded, .. } if folded == "official"))
        );
        assert_eq!(index["phone"].len(), 1);
        assert!(
            matches!(&index["general-practitioner"][0], Term::Link { kind, id, .. } if kind == "Practitioner" && id == "p")
        );
        assert!(
            matches!(&index["identifier"][0], Term::Token { system: Some(s), code, .. } if s == "urn:n" && code == "7")
        );
        assert!(matches!(index["birthdate"][0], Term::When(_)));
        assert!(matches!(&index["deceased"][0], Term::Token { code, .. } if code == "false"));
        assert!(!index.contains_key("address"));
    }

    #[test]
    fn what_is_no_reference_to_a_resource_has_no_target() {
        assert_eq!(target("Patient/1"), Some(("Patient", "1")));
        assert_eq!(target("#a"), None);
        assert_eq!(target("urn:uuid:1"), None);
        assert_eq!(target("http://h/fhir/patient/1"), None);
    }
}
