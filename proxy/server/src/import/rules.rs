//! The rules file: JSON or YAML, read strictly, each rule with the line that it stands in.

use std::collections::BTreeMap;

use drape_view::Fault;
use drape_view::small_areas::SmallAreas;
use serde::Deserialize;
use serde_json::Value;

use super::fhirpath::Selector;

/// A rules file, read.
#[derive(Debug)]
pub(super) struct RuleFile {
    pub(super) rules: Vec<Rule>,
    pub(super) parameters: Parameters,
}

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    /// `line 12`, or where lines cannot be told, `rule 3`.
    pub(super) place: String,
    /// The path as it is written.
    pub(super) path: String,
    pub(super) selectors: Vec<Selector>,
    pub(super) method: Method,
    /// Settings beside path and method, which Drape does not know.
    pub(super) settings: Vec<String>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Keep,
    Redact,
    DateShift,
    CryptoHash,
    Encrypt,
    Substitute,
    Perturb,
    Generalize,
    Pseudonymize,
}

const METHODS: [(&str, Method); 9] = [
    ("keep", Method::Keep),
    ("redact", Method::Redact),
    ("dateShift", Method::DateShift),
    ("cryptoHash", Method::CryptoHash),
    ("encrypt", Method::Encrypt),
    ("substitute", Method::Substitute),
    ("perturb", Method::Perturb),
    ("generalize", Method::Generalize),
    ("pseudonymize", Method::Pseudonymize),
];

impl Method {
    pub(super) fn name(self) -> &'static str {
        METHODS.iter().find(|(_, m)| *m == self).map_or("", |(name, _)| name)
    }
}

/// What of the parameters changes what a rule does.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    pub(super) partial_dates: bool,
    pub(super) partial_ages: bool,
    pub(super) partial_zips: bool,
    /// Areas that the rules hold back and Drape's list does not.
    pub(super) areas_unknown: Vec<String>,
    /// Parameters that are named and not carried over, keys among them: their names alone.
    pub(super) left: Vec<String>,
}

/// Only for the lines.
#[derive(Deserialize)]
struct Lines {
    #[serde(rename = "fhirPathRules")]
    rules: Vec<serde_saphyr::Spanned<serde::de::IgnoredAny>>,
}

const TOP: [&str; 4] = ["fhirVersion", "processingErrors", "fhirPathRules", "parameters"];

/// Reads the file; every fault at once.
pub(super) fn read(name: &str, text: &str) -> Result<RuleFile, Vec<Fault>> {
    let text = text.trim_start_matches('\u{feff}');
    let one = |what: String, help: &str| vec![Fault::new(name, what).help(help)];
    const SHAPE: &str = "a JSON or YAML object with `fhirPathRules`, a list of {\"path\": …, \"method\": …}";
    let file: Value = if text.trim_start().starts_with(['{', '[']) {
        serde_json::from_str(text).map_err(|e| one(format!("is no JSON: {e}"), SHAPE))?
    } else {
        serde_saphyr::from_str(text).map_err(|e| one(format!("is neither JSON nor YAML: {e}"), SHAPE))?
    };
    let Value::Object(file) = file else { return Err(one("is no object".into(), SHAPE)) };
    let mut faults = Vec::new();
    for key in file.keys().filter(|k| !TOP.contains(&k.as_str()) && !k.starts_with('_')) {
        faults.push(
            Fault::new(name, format!("`{key}` is not known")).help(format!("known: {}", TOP.join(", "))),
        );
    }
    match file.get("fhirVersion").and_then(Value::as_str) {
        None | Some("" | "R4" | "r4") => {}
        Some(version) => faults.push(
            Fault::new(name, format!("fhirVersion `{version}` is not R4"))
                .help("Drape knows FHIR R4 alone; paths of another version would name other elements"),
        ),
    }
    let Some(Value::Array(list)) = file.get("fhirPathRules") else {
        faults.push(Fault::new(name, "has no list `fhirPathRules`").help(SHAPE));
        return Err(faults);
    };
    if list.is_empty() {
        faults.push(Fault::new(name, "`fhirPathRules` is empty").help(SHAPE));
    }
    // Tabs indent JSON and nothing in YAML; lines stay where they are.
    let spaced = text.replace('\t', " ");
    let lines = serde_saphyr::from_str::<Lines>(&spaced).map(|l| l.rules).unwrap_or_default();
    let mut rules = Vec::new();
    for (number, value) in list.iter().enumerate() {
        let line = lines.get(number).map(|l| l.referenced.line()).filter(|l| *l > 0);
        let place = line.map_or_else(|| format!("rule {}", number + 1), |l| format!("line {l}"));
        match rule(&place, value) {
            Ok(rule) => rules.push(rule),
            Err(fault) => faults.push(Fault { path: format!("{name} {place}"), ..fault }),
        }
    }
    let parameters = match file.get("parameters") {
        None | Some(Value::Null) => Parameters::default(),
        Some(Value::Object(map)) => parameters(map.iter().map(|(k, v)| (k.clone(), v.clone())).collect()),
        Some(_) => {
            faults.push(Fault::new(name, "`parameters` is no object"));
            Parameters::default()
        }
    };
    if faults.is_empty() { Ok(RuleFile { rules, parameters }) } else { Err(faults) }
}

fn rule(place: &str, value: &Value) -> Result<Rule, Fault> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::trim).filter(|t| !t.is_empty());
    let Some(path) = text("path") else {
        return Err(
            Fault::new(place, "has no `path`").help("{\"path\": \"Patient.name\", \"method\": \"redact\"}")
        );
    };
    let known = || METHODS.map(|(name, _)| name).join(", ");
    let Some(word) = text("method") else {
        return Err(
            Fault::new(place, format!("`{path}` has no `method`")).help(format!("known: {}", known()))
        );
    };
    let method = METHODS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, m)| *m);
    let Some(method) = method else {
        return Err(Fault::new(place, format!("`{word}` is no method")).help(format!("known: {}", known())));
    };
    let selectors = Selector::parse(path).map_err(|fault| Fault { path: place.to_owned(), ..fault })?;
    let settings = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key.clone())
        .filter(|key| !["path", "method"].contains(&key.as_str()) && !is_comment(key))
        .collect();
    Ok(Rule { place: place.to_owned(), path: path.to_owned(), selectors, method, settings })
}

fn is_comment(key: &str) -> bool {
    key.starts_with('_') || key.contains("comment") || key.contains("remark")
}

fn parameters(map: BTreeMap<String, Value>) -> Parameters {
    let flag = |name: &str| match map.get(name) {
        Some(Value::Bool(yes)) => *yes,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    };
    let areas = map.get("restrictedZipCodeTabulationAreas").and_then(Value::as_array);
    let ours = SmallAreas::shipped();
    let areas_unknown = areas
        .into_iter()
        .flatten()
        // A number loses the zero that it begins with.
        .map(|a| a.as_str().map_or_else(|| format!("{:0>3}", a.to_string()), str::to_owned))
        .filter(|a| !ours.is_some_and(|list| list.contains(a)))
        .collect();
    const TAKEN: [&str; 4] = [
        "enablePartialDatesForRedact",
        "enablePartialAgesForRedact",
        "enablePartialZipCodesForRedact",
        "restrictedZipCodeTabulationAreas",
    ];
    let empty = |v: &Value| v.is_null() || v.as_str() == Some("");
    let left = map.iter().filter(|(k, v)| !TAKEN.contains(&k.as_str()) && !empty(v)).map(|(k, _)| k.clone());
    Parameters {
        partial_dates: flag(TAKEN[0]),
        partial_ages: flag(TAKEN[1]),
        partial_zips: flag(TAKEN[2]),
        areas_unknown,
        left: left.collect(),
    }
}
