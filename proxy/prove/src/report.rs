//! What was proved and what was not, for people and for machines.

use serde_json::{Map, Value, json};

use crate::claims::{Counterexample, Proof, Verdict};
use crate::state::{State, TODAY};

/// For people.
pub fn text(name: &str, proofs: &[Proof]) -> String {
    let mut lines = Vec::new();
    let width = proofs.iter().map(|p| p.id.len()).max().unwrap_or_default();
    for proof in proofs {
        let word = word(&proof.verdict);
        let took = proof.took.as_secs_f64();
        let questions = if proof.questions == 1 { "question" } else { "questions" };
        lines.push(format!(
            "{word:<12} {:<width$}  {} ({} {questions}, {took:.1} s)",
            proof.id, proof.says, proof.questions
        ));
        match &proof.verdict {
            Verdict::Proved => {}
            Verdict::SaysNothing(why) | Verdict::NotProved(why) => lines.push(format!("    {why}")),
            Verdict::Refuted(example) => {
                lines.push("    broken here, as Drape's own decision confirms:".to_owned());
                lines.extend(example.happens.iter().map(|h| format!("      {h}")));
                lines.extend(yaml(&shown(example), 6));
                if !example.also.is_empty() {
                    lines.push(format!("    broken elsewhere: {}", example.also.join(", ")));
                }
            }
        }
    }
    let proved = proofs.iter().filter(|p| matches!(p.verdict, Verdict::Proved)).count();
    lines.push(format!("{name}: {proved} of {} guarantees proved", proofs.len()));
    lines.join("\n")
}

/// For machines.
pub fn json(name: &str, digest: Option<&str>, proofs: &[Proof]) -> Value {
    let each = proofs.iter().map(|proof| {
        let mut one = json!({
            "id": proof.id, "says": proof.says, "verdict": word(&proof.verdict),
            "questions": proof.questions, "ms": u64::try_from(proof.took.as_millis()).unwrap_or(u64::MAX),
        });
        match &proof.verdict {
            Verdict::Proved => {}
            Verdict::SaysNothing(why) | Verdict::NotProved(why) => one["why"] = why.as_str().into(),
            Verdict::Refuted(example) => {
                one["happens"] = json!(example.happens);
                one["counterexample"] = shown(example);
                one["also"] = json!(example.also);
            }
        }
        one
    });
    json!({ "version": 1, "set": name.replace('`', ""), "digest": digest, "guarantees": each.collect::<Vec<_>>() })
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Proved => "proved",
        Verdict::Refuted(_) => "refuted",
        Verdict::SaysNothing(_) => "says nothing",
        Verdict::NotProved(_) => "not proved",
    }
}

/// The counterexample: claims as a token has them, the moment, the record, the request. What is ordinary is left out.
fn shown(example: &Counterexample) -> Value {
    let state = &example.state;
    let mut all = Map::new();
    all.insert("claims".to_owned(), claims(state));
    let moment = moment(state);
    if moment.as_object().is_some_and(|m| !m.is_empty()) {
        all.insert("moment".to_owned(), moment);
    }
    if !example.requests.is_empty() {
        let types: Vec<&String> =
            example.requests.iter().filter_map(|place| state.asked.get(*place)).collect();
        all.insert("asks_for".to_owned(), json!(types));
    }
    if example.has_record {
        all.insert("record".to_owned(), record(state));
        all.insert("patient".to_owned(), patient(state));
    }
    if example.counts {
        let count = &state.count;
        let epsilon = count.epsilon_nano as f64 / 1e9;
        all.insert(
            "count".to_owned(),
            json!({ "type": count.resource_type, "epsilon": epsilon, "budget_of": count.owner }),
        );
    }
    Value::Object(all)
}

fn claims(state: &State) -> Value {
    let (caller, patient) = (&state.caller, &state.profile.patient);
    let mut claims = json!({ "sub": caller.subject, "roles": caller.roles });
    let mut put = |key: &str, value: Value| {
        if let Some(claims) = claims.as_object_mut() {
            claims.insert(key.to_owned(), value);
        }
    };
    if caller.issuer != State::ordinary().caller.issuer {
        put("iss", caller.issuer.as_str().into());
    }
    if !caller.purpose.is_empty() {
        put("purpose_of_use", caller.purpose.as_str().into());
    }
    if let Some((start, end)) = caller.shift {
        let clock = |m: u16| format!("{:02}:{:02}", m / 60, m % 60);
        put("shift", json!({ "start": clock(start), "end": clock(end) }));
    }
    for (key, value) in
        [("organization", &caller.organization), ("title", &caller.title), ("client_id", &caller.client)]
    {
        if let Some(value) = value {
            put(key, value.as_str().into());
        }
    }
    if !caller.departments.is_empty() {
        put("departments", json!(caller.departments));
    }
    if patient.is_caller {
        put("fhirUser", "Patient/p1".into());
    }
    if !patient.relations.is_empty() || patient.age_years.is_some() {
        let mut relation = json!({ "patient": "Patient/p1", "is": patient.relations });
        if let Some(date) = patient.age_years.and_then(born) {
            relation["birthDate"] = date.into();
        }
        put("relations", json!([relation]));
    }
    claims
}

/// A date of birth that makes somebody so old on the day of the counterexample.
fn born(years: i64) -> Option<String> {
    let (year, rest) = TODAY.split_once('-')?;
    let year = year.parse::<i64>().ok()? - years;
    (0..=9_999).contains(&year).then(|| format!("{year:04}-{rest}"))
}

fn moment(state: &State) -> Value {
    let (now, usual) = (&state.caller.environment, State::ordinary().caller.environment);
    let mut moment = Map::new();
    if state.caller.shift.is_some() || now.minute_of_day != usual.minute_of_day {
        moment.insert(
            "time".into(),
            format!("{:02}:{:02}", now.minute_of_day / 60, now.minute_of_day % 60).into(),
        );
    }
    if now.weekday != usual.weekday {
        moment.insert("weekday".into(), now.weekday.into());
    }
    if now.break_glass {
        moment.insert("break_glass".into(), true.into());
    }
    if let Some(address) = now.network {
        moment.insert("network".into(), address.to_string().into());
    }
    Value::Object(moment)
}

fn record(state: &State) -> Value {
    let record = &state.profile;
    let mut shown = json!({ "type": record.resource_type });
    let mut put = |key: &str, value: Value, there: bool| {
        if let Some(shown) = shown.as_object_mut().filter(|_| there) {
            shown.insert(key.to_owned(), value);
        }
    };
    put("labels", json!(record.labels), !record.labels.is_empty());
    put("classified", false.into(), !record.classified);
    put("categoryCodes", json!(record.category_codes), !record.category_codes.is_empty());
    put("status", json!(record.status), record.status.is_some());
    put("ageDays", json!(record.age_days), record.age_days.is_some());
    put("departments", json!(record.departments), !record.departments.is_empty());
    put("insurers", json!(record.insurers), !record.insurers.is_empty());
    put("authoredByCaller", true.into(), record.authored_by_caller);
    shown
}

fn patient(state: &State) -> Value {
    let patient = &state.profile.patient;
    if !patient.known {
        return json!({ "known": false, "labels": patient.labels, "consentDenies": patient.consent_denies });
    }
    let mut shown = json!({ "id": "p1" });
    let mut put = |key: &str, value: Value, there: bool| {
        if let Some(shown) = shown.as_object_mut().filter(|_| there) {
            shown.insert(key.to_owned(), value);
        }
    };
    put("ageYears", json!(patient.age_years), patient.age_years.is_some());
    put("labels", json!(patient.labels), !patient.labels.is_empty());
    put("consentReleases", json!(patient.consent_releases), !patient.consent_releases.is_empty());
    put("consentDenies", json!(patient.consent_denies), !patient.consent_denies.is_empty());
    shown
}

/// A mapping as YAML: what is small on one line, as JSON, which YAML holds.
fn yaml(value: &Value, indent: usize) -> Vec<String> {
    let pad = " ".repeat(indent);
    let mut lines = Vec::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        match value {
            Value::Object(inner) if key == "claims" && !inner.is_empty() => {
                lines.push(format!("{pad}{key}:"));
                lines.extend(yaml(value, indent + 2));
            }
            _ => lines.push(format!("{pad}{key}: {value}")),
        }
    }
    lines
}
