//! The words for single conditions, by the schema's attributes. What has no words here is told in Cedar.

use serde_json::Value;

use super::cond::{Cond, Known, Wordless, join};

/// `context.record.labels`, `principal.client`, `resource`: the way to something.
pub(crate) fn path(expr: &Value) -> Option<String> {
    if let Some(var) = expr.get("Var").and_then(Value::as_str) {
        return Some(var.to_owned());
    }
    let access = expr.get(".")?;
    Some(format!("{}.{}", path(&access["left"])?, access["attr"].as_str()?))
}

/// Numbers, as nouns.
const NOUNS: [(&str, &str); 8] = [
    ("context.env.hour", "the hour of the day"),
    ("context.env.minuteOfDay", "the time of day"),
    ("context.env.weekday", "the day of the week (Monday is 1)"),
    ("context.record.ageDays", "the record's age in days"),
    ("context.patient.ageYears", "the patient's age"),
    ("context.epsilon", "the privacy loss ε of the question"),
    ("principal.shiftStart", "the start of the caller's shift"),
    ("principal.shiftEnd", "the end of the caller's shift"),
];

/// Truths, and what is said where they are not.
const FLAGS: [(&str, &str, &str); 5] = [
    (
        "context.patient.known",
        "it is known whom the record is about",
        "it is not known whom the record is about",
    ),
    ("context.patient.isCaller", "the record is about the caller", "the record is not about the caller"),
    (
        "context.record.classified",
        "code lists could judge the record",
        "the record holds what no code list could judge",
    ),
    ("context.record.authoredByCaller", "the caller wrote the record", "the caller did not write the record"),
    ("context.env.breakGlass", "an emergency was declared", "no emergency was declared"),
];

/// What may be missing.
const OPTIONAL: [(&str, &str, &str); 9] = [
    ("context.record.ageDays", "the record has a date of its own", "the record has no date of its own"),
    ("context.record.status", "the record has a status", "the record has no status"),
    ("context.patient.ageYears", "the patient's age is known", "the patient's age is not known"),
    ("context.env.network", "the caller's address is known", "the caller's address is not known"),
    ("principal.organization", "the caller acts for an organization", "the caller acts for no organization"),
    ("principal.title", "the token names a title", "the token names no title"),
    ("principal.client", "the token names the app", "the token names no app"),
    ("principal.shiftStart", "the token names the start of a shift", "the token names no start of a shift"),
    ("principal.shiftEnd", "the token names the end of a shift", "the token names no end of a shift"),
];

/// Relations with words of their own.
const RELATIONS: [(&str, &str, &str); 4] = [
    ("treating", "the caller treats the patient", "the caller does not treat the patient"),
    ("careTeam", "the caller is on the patient's care team", "the caller is not on the patient's care team"),
    ("ward", "the patient is on the caller's ward", "the patient is not on the caller's ward"),
    ("guardian", "the caller is the patient's guardian", "the caller is not the patient's guardian"),
];

/// A purpose of use, with what its code stands for.
pub(crate) fn purpose(code: &str) -> String {
    let words = match code {
        "" => return "no stated purpose".into(),
        "TREAT" => "treatment",
        "ETREAT" => "emergency treatment",
        "BTG" => "break the glass",
        "HPAYMT" => "payment",
        "HRESCH" => "research",
        "PUBHLTH" => "public health",
        "PATRQT" => "the patient's own request",
        "FAMRQT" => "a family's request",
        "HOPERAT" => "healthcare operations",
        _ => return code.to_owned(),
    };
    format!("{words} ({code})")
}

fn about(cond: Cond, name: &str, presence: bool) -> Cond {
    match cond {
        Cond::Atom { yes, no, holds, .. } => {
            Cond::Atom { yes, no, about: Some(name.to_owned()), is_presence: presence, holds }
        }
        other => other,
    }
}

pub(crate) fn has(left: &Value, attr: &str) -> Result<Cond, Wordless> {
    let name = format!("{}.{attr}", path(left).ok_or(Wordless)?);
    let (_, yes, no) = OPTIONAL.iter().find(|(n, ..)| *n == name).ok_or(Wordless)?;
    Ok(about(Cond::atom(*yes, *no), &name, true))
}

pub(crate) fn flag(expr: &Value) -> Result<Cond, Wordless> {
    let name = path(expr).ok_or(Wordless)?;
    let (_, yes, no) = FLAGS.iter().find(|(n, ..)| *n == name).ok_or(Wordless)?;
    Ok(Cond::atom(*yes, *no))
}

pub(crate) fn equal(left: &Value, right: &Value, known: Known<'_>) -> Result<Cond, Wordless> {
    let (of, value) = match (path(left), path(right)) {
        (Some(of), None) => (of, right),
        (None, Some(of)) => (of, left),
        _ => return compare("==", left, right),
    };
    let Some(text) = value.get("Value").and_then(Value::as_str) else {
        return match value.get("Value").and_then(Value::as_bool) {
            Some(true) => flag(left),
            Some(false) => Ok(flag(left)?.not()),
            None => compare("==", left, right),
        };
    };
    let cond = match of.as_str() {
        "context.env.purpose" => match known.purpose {
            Some(purpose) => Cond::of(purpose == text),
            None => {
                let words = purpose(text);
                Cond::atom(format!("the purpose is {words}"), format!("the purpose is not {words}"))
            }
        },
        "context.record.status" => {
            Cond::atom(format!("the record's status is {text}"), format!("the record's status is not {text}"))
        }
        "principal.title" => {
            Cond::atom(format!("the caller's title is {text}"), format!("the caller's title is not {text}"))
        }
        _ => return Err(Wordless),
    };
    Ok(about(cond, &of, false))
}

/// Whether a set of the record's, the patient's or the caller's holds any of these.
pub(crate) fn contains(of: &Value, items: &[Value], _: Known<'_>) -> Result<Cond, Wordless> {
    let of = path(of).ok_or(Wordless)?;
    let names: Option<Vec<String>> =
        items.iter().map(|i| i.get("Value").unwrap_or(i).as_str().map(str::to_owned)).collect();
    let names = names.filter(|n| !n.is_empty()).ok_or(Wordless)?;
    let listed = join(&names, "or");
    // `is not labelled X`, `is labelled none of X and Y`.
    let none = |verb: &str, done: &str| match names.len() {
        1 => format!("{verb} not {done}{listed}"),
        _ => format!("{verb} {done}none of {}", join(&names, "and")),
    };
    Ok(match of.as_str() {
        "context.patient.relations" => {
            Cond::any(names.iter().map(|name| match RELATIONS.iter().find(|(n, ..)| n == name) {
                Some((_, yes, no)) => Cond::atom(*yes, *no),
                None => Cond::atom(
                    format!("the caller is {name} to the patient"),
                    format!("the caller is not {name} to the patient"),
                ),
            }))
        }
        "context.record.labels" => {
            Cond::atom(format!("the record is labelled {listed}"), none("the record is", "labelled "))
        }
        "context.patient.labels" => {
            Cond::atom(format!("the patient is labelled {listed}"), none("the patient is", "labelled "))
        }
        "context.record.categoryCodes" => Cond::atom(
            format!("the record's own category is {listed}"),
            none("the record's own category is", ""),
        ),
        "context.record.departments" => Cond::atom(
            format!("the record belongs to {listed}"),
            format!("the record does not belong to {listed}"),
        ),
        "context.record.insurers" => match names.as_slice() {
            [own] if own == "own" => Cond::atom(
                "the caller's own organization insures it",
                "the caller's own organization does not insure it",
            ),
            _ => Cond::atom(format!("it is insured by {listed}"), none("it is", "insured by ")),
        },
        "context.patient.consentReleases" => Cond::atom(
            format!("the patient consents to the release of {listed}"),
            format!("the patient does not consent to the release of {listed}"),
        ),
        "context.patient.consentDenies" => Cond::atom(
            format!("the patient denies the release of {listed}"),
            format!("the patient does not deny the release of {listed}"),
        ),
        "principal.departments" => Cond::atom(
            format!("the caller belongs to the department {listed}"),
            format!("the caller does not belong to the department {listed}"),
        ),
        _ => return Err(Wordless),
    })
}

/// Whether a set of the record's and one of its patient's have anything in common.
pub(crate) fn share(left: &Value, right: &Value) -> Result<Cond, Wordless> {
    let mut sets = [path(left).ok_or(Wordless)?, path(right).ok_or(Wordless)?];
    sets.sort();
    match [sets[0].as_str(), sets[1].as_str()] {
        ["context.patient.consentDenies", "context.record.labels"] => Ok(Cond::atom(
            "the patient denies the release of what the record is labelled",
            "the patient denies the release of nothing that the record is labelled",
        )),
        ["context.patient.consentReleases", "context.record.labels"] => Ok(Cond::atom(
            "the patient consents to the release of something that the record is labelled",
            "the patient consents to the release of nothing that the record is labelled",
        )),
        _ => Err(Wordless),
    }
}

/// The app or organization of the caller, the owner of a budget.
pub(crate) fn entity(asked: &str, kind: &str, id: &str) -> Result<Cond, Wordless> {
    let cond = match (asked, kind) {
        ("principal.client", "Client") => {
            Cond::atom(format!("the app is {id}"), format!("the app is not {id}"))
        }
        ("principal" | "principal.organization", "Organization") => {
            Cond::atom(format!("the caller acts for {id}"), format!("the caller does not act for {id}"))
        }
        ("resource", "Organization") => {
            Cond::atom(format!("the budget belongs to {id}"), format!("the budget does not belong to {id}"))
        }
        ("resource", "Budget") => {
            Cond::atom(format!("the budget is {id}"), format!("the budget is not {id}"))
        }
        _ => return Err(Wordless),
    };
    Ok(about(cond, asked, false))
}

pub(crate) fn compare(op: &str, left: &Value, right: &Value) -> Result<Cond, Wordless> {
    if op == "isInRange" {
        let (Some("context.env.network"), Some(range)) = (path(left).as_deref(), literal(right)) else {
            return Err(Wordless);
        };
        let (yes, no) = (
            format!("the caller's address is in {range}"),
            format!("the caller's address is not in {range}"),
        );
        return Ok(about(Cond::atom(yes, no), "context.env.network", false));
    }
    // Read from the side of what changes: `7 <= hour` is `hour >= 7`.
    let (op, left, right) = match literal(left) {
        Some(_) => (turned(op), right, left),
        None => (op, left, right),
    };
    let of = path(left).ok_or(Wordless)?;
    let noun = |name: &str| NOUNS.iter().find(|(n, _)| *n == name).map(|(_, noun)| (*noun).to_owned());
    let subject = noun(&of).ok_or(Wordless)?;
    let object = match literal(right) {
        Some(text) => text,
        None => noun(&path(right).ok_or(Wordless)?).ok_or(Wordless)?,
    };
    let number: Option<i64> = object.parse().ok();
    let days = |text: &str| match (of.as_str(), number) {
        ("context.record.ageDays", Some(n)) => {
            Some(format!("the record is {text} {n} {}", if n == 1 { "day" } else { "days" }) + " old")
        }
        _ => None,
    };
    let years = |text: &str| match (of.as_str(), number) {
        ("context.patient.ageYears", Some(_)) => Some(format!("the patient is {text}")),
        _ => None,
    };
    let (yes, no) = match op {
        "<" | "lessThan" => (
            years(&format!("younger than {object}"))
                .or(days("less than"))
                .unwrap_or(format!("{subject} is before {object}")),
            years(&format!("{object} or older"))
                .or(days("at least"))
                .unwrap_or(format!("{subject} is not before {object}")),
        ),
        "<=" | "lessThanOrEqual" => (
            years(&format!("at most {object} years old"))
                .or(days("at most"))
                .unwrap_or(format!("{subject} is at most {object}")),
            years(&format!("older than {object}"))
                .or(days("more than"))
                .unwrap_or(format!("{subject} is more than {object}")),
        ),
        ">" | "greaterThan" => {
            let Cond::Atom { yes, no, .. } = compare("<=", left, right)? else { return Err(Wordless) };
            (no, yes)
        }
        ">=" | "greaterThanOrEqual" => {
            let Cond::Atom { yes, no, .. } = compare("<", left, right)? else { return Err(Wordless) };
            (no, yes)
        }
        "==" => (format!("{subject} is {object}"), format!("{subject} is not {object}")),
        _ => return Err(Wordless),
    };
    Ok(about(Cond::atom(yes, no), &of, false))
}

fn turned(op: &str) -> &str {
    match op {
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        "lessThan" => "greaterThan",
        "lessThanOrEqual" => "greaterThanOrEqual",
        "greaterThan" => "lessThan",
        "greaterThanOrEqual" => "lessThanOrEqual",
        other => other,
    }
}

/// A number, a decimal or an address range that is written out.
fn literal(expr: &Value) -> Option<String> {
    if let Some(number) = expr.get("Value").and_then(Value::as_i64) {
        return Some(number.to_string());
    }
    for function in ["decimal", "ip"] {
        if let Some(argument) = expr.get(function).and_then(|a| a.get(0)) {
            return argument.get("Value").and_then(Value::as_str).map(str::to_owned);
        }
    }
    let value = expr.get("Value")?.get("__extn")?;
    value.get("arg").and_then(Value::as_str).map(str::to_owned)
}

/// Several alternatives of one kind in one sentence: `the record is a Patient or a Coverage`.
pub(crate) fn merged(cond: Cond) -> Cond {
    const SUBJECTS: [&str; 4] =
        ["the category is ", "the record is ", "what is asked for is ", "what is counted is "];
    let Cond::Any(parts) = &cond else { return cond };
    for subject in SUBJECTS {
        let rest: Option<Vec<String>> = parts
            .iter()
            .map(|part| match part {
                Cond::Atom { yes, holds: true, .. } => yes.strip_prefix(subject).map(str::to_owned),
                _ => None,
            })
            .collect();
        if let Some(rest) = rest {
            let yes = format!("{subject}{}", join(&rest, "or"));
            let no = format!("{subject}neither {}", join(&rest, "nor"));
            return Cond::atom(yes, no);
        }
    }
    cond
}
