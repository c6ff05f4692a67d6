//! The conditions of a guarantee: key by key, or as a Cedar expression. Both become Cedar's JSON.

use std::sync::OnceLock;

use cedar_policy::{Policy, PolicySet, Schema, ValidationMode, Validator};
use drape_view::Fault;
use serde::Deserialize;
use serde_json::Value;

use super::words;
use crate::known;
use crate::set::SCHEMA;
use crate::types::TYPE_GROUPS;

/// How many types a question of [`question_schema`] can ask for at one time.
pub const ASKED_MAX: usize = 4;

/// The schema of policies with one more action, `ask`, whose context holds all that any question can be about: `env`,
/// `record` and `patient` as ever, `epsilon`, `type`, `budget` and its `owner` of a noisy count, and the types that requests name.
pub fn question_schema() -> Result<Schema, Fault> {
    // Cedar reads a schema with its whole grammar: once is enough.
    static READ: OnceLock<Result<Schema, Fault>> = OnceLock::new();
    READ.get_or_init(|| {
        let asked: String = (0..ASKED_MAX).map(|place| format!(", \"asked{place}\": ResourceType")).collect();
        let text = format!(
            "{SCHEMA}\naction ask appliesTo {{ principal: User, resource: Category, context: {{ \"env\": Environment, \
             \"record\": Profile, \"patient\": Subject, \"epsilon\": decimal, \"type\": ResourceType, \
             \"budget\": Budget, \"owner\": Organization{asked} }} }};\n"
        );
        Schema::from_cedarschema_str(&text)
            .map(|(schema, _)| schema)
            .map_err(|e| Fault::new("schema.cedarschema", format!("cannot be read: {e}")))
    })
    .clone()
}

/// Each key must hold; of a list, one of its words.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
struct Facts {
    roles: Option<Vec<String>>,
    purpose: Option<Vec<String>>,
    break_glass: Option<bool>,
    on_shift: Option<bool>,
    #[serde(rename = "type")]
    types: Option<Vec<String>>,
    labels: Option<Vec<String>>,
    classified: Option<bool>,
    status: Option<Vec<String>>,
    older_than_days: Option<i64>,
    patient_known: Option<bool>,
    patient_is_caller: Option<bool>,
    patient_labels: Option<Vec<String>>,
    relations: Option<Vec<String>>,
    releases: Option<Vec<String>>,
    denies: Option<Vec<String>>,
    age_under: Option<i64>,
    age_from: Option<i64>,
}

const KEYS: &str = "known: roles, purpose, break_glass, on_shift, type, labels, classified, status, \
                    older_than_days, patient_known, patient_is_caller, patient_labels, relations, releases, denies, \
                    age_under, age_from; or write a Cedar expression as text";

/// The body of a condition, in Cedar's JSON.
pub(super) fn read(value: &Value) -> Result<Value, Fault> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Object(_) => {
            let facts: Facts = serde_json::from_value(value.clone())
                .map_err(|e| Fault::new("", e.to_string()).help(KEYS))?;
            cedar(facts)?
        }
        _ => return Err(Fault::new("", "is no condition").help(KEYS)),
    };
    body(&text)
}

/// Parses an expression and checks it strictly, as policies are.
pub fn body(text: &str) -> Result<Value, Fault> {
    let fault = |what: String| {
        Fault::new("", format!("`{text}`: {what}"))
            .help("what can be asked for is listed in docs/policies.md")
    };
    let policy = format!("permit(principal, action == Action::\"ask\", resource) when {{ {text} }};");
    let policy = Policy::parse(None, policy).map_err(|e| fault(e.to_string()))?;
    let json = policy.to_json().map_err(|e| fault(e.to_string()))?;
    let conditions = json["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let [condition] = conditions else { return Err(fault("is not one expression".to_owned())) };
    let reads = known::reads(&json);
    if reads.resource || reads.action {
        return Err(fault("asks for `resource` or `action`, which the guarantee itself names".to_owned()));
    }
    let mut set = PolicySet::new();
    set.add(policy).map_err(|e| fault(e.to_string()))?;
    let result = Validator::new(question_schema()?).validate(&set, ValidationMode::Strict);
    if let Some(error) = result.validation_errors().next() {
        let error = error.to_string();
        let what = error.split_once(", ").map_or(error.as_str(), |(_, rest)| rest);
        return Err(fault(what.to_owned()));
    }
    Ok(condition["body"].clone())
}

/// Whether a condition asks for a record or a patient.
pub(super) fn reads_record(body: &Value) -> bool {
    known::reads(&serde_json::json!({ "conditions": [{ "kind": "when", "body": body }] })).record
}

fn cedar(facts: Facts) -> Result<String, Fault> {
    let mut parts: Vec<String> = Vec::new();
    let mut any_of = |what: &str, words: Option<Vec<String>>, each: &dyn Fn(&str) -> String| match words {
        None => Ok(()),
        Some(words) if words.is_empty() => {
            Err(Fault::new(what, "is an empty list").help("leave it out, or name some"))
        }
        Some(words) => {
            let any: Vec<String> = words.iter().map(|w| each(w)).collect();
            parts.push(format!("({})", any.join(" || ")));
            Ok(())
        }
    };
    let equals = |path: &'static str| move |word: &str| format!("{path} == {}", quoted(word));
    let holds = |path: &'static str| move |word: &str| format!("{path}.contains({})", quoted(word));
    any_of("roles", facts.roles, &|w| format!("principal in Role::{}", quoted(w)))?;
    any_of("purpose", facts.purpose, &equals("context.env.purpose"))?;
    words::types(facts.types.clone().unwrap_or_default())?;
    any_of("type", facts.types, &|w| {
        let op = if TYPE_GROUPS.iter().any(|(group, _)| *group == w) { "in" } else { "==" };
        format!("context.record.type {op} ResourceType::{}", quoted(w))
    })?;
    any_of("labels", facts.labels, &holds("context.record.labels"))?;
    any_of("status", facts.status, &|w| {
        format!("(context.record has status && context.record.status == {})", quoted(w))
    })?;
    any_of("patient_labels", facts.patient_labels, &holds("context.patient.labels"))?;
    any_of("relations", facts.relations, &holds("context.patient.relations"))?;
    any_of("releases", facts.releases, &holds("context.patient.consentReleases"))?;
    any_of("denies", facts.denies, &holds("context.patient.consentDenies"))?;
    let mut flag = |value: Option<bool>, text: &str| {
        parts.extend(value.map(|yes| if yes { format!("({text})") } else { format!("!({text})") }));
    };
    flag(facts.break_glass, "context.env.breakGlass");
    flag(
        facts.on_shift,
        "principal has shiftStart && principal has shiftEnd && \
         principal.shiftStart <= context.env.minuteOfDay && context.env.minuteOfDay < principal.shiftEnd",
    );
    flag(facts.classified, "context.record.classified");
    flag(facts.patient_known, "context.patient.known");
    flag(facts.patient_is_caller, "context.patient.isCaller");
    let mut number = |value: Option<i64>, of: &str, attr: &str, op: &str| {
        parts.extend(value.map(|n| format!("({of} has {attr} && {of}.{attr} {op} {n})")));
    };
    number(facts.older_than_days, "context.record", "ageDays", ">");
    number(facts.age_under, "context.patient", "ageYears", "<");
    number(facts.age_from, "context.patient", "ageYears", ">=");
    if parts.is_empty() {
        return Err(Fault::new("", "asks for nothing").help(KEYS));
    }
    Ok(parts.join(" && "))
}

/// A string as Cedar writes it.
fn quoted(word: &str) -> String {
    Value::String(word.to_owned()).to_string()
}
