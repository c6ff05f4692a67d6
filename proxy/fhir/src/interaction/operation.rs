//! Operations by name: which are offered, on what, with which parameters. Every other one is refused with its reason.

use std::fmt::Write as _;

use serde_json::Value;

use super::export::{Export, Level};
use super::{Misunderstood, Operation, bad, known, not_offered, wire};
use crate::query::{Search, encode};

/// An operation that Drape understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offered {
    /// `$export`.
    Export(Export),
    /// `$everything` of a patient or an encounter.
    Everything(Everything),
    /// `$expand`, `$lookup`, `$validate-code`, `$translate`, `$subsumes`: about codes, not about patients.
    Terminology(Terminology),
    /// `$validate`: the body is judged like one that is created.
    Validate {
        /// The type.
        resource_type: String,
    },
    /// `Observation/$lastn`.
    LastN(LastN),
}

/// `Patient/id/$everything`, `Encounter/id/$everything`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Everything {
    /// Patient or Encounter.
    pub resource_type: String,
    /// The logical id, as the caller knows it.
    pub id: String,
    /// `start` and `end`: dates of care.
    pub start: Option<String>,
    /// See `start`.
    pub end: Option<String>,
    /// `_since`, an instant.
    pub since: Option<String>,
    /// `_type`; empty for all.
    pub types: Vec<String>,
    /// `_count`.
    pub count: Option<u32>,
}

/// A question about codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminology {
    /// `expand`, `lookup`, ….
    pub name: String,
    /// ValueSet, CodeSystem or ConceptMap.
    pub resource_type: String,
    /// The stored definition, where one is named.
    pub id: Option<String>,
    /// Listed parameters alone.
    pub parameters: Vec<(String, String)>,
}

/// The latest observations of each kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastN {
    /// Which observations.
    pub search: Search,
    /// `max`: how many of each.
    pub max: Option<u32>,
}

/// The parameters of an operation, wherever they stood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) pairs: Vec<(String, String)>,
    /// They stood in a body.
    pub(super) posted: bool,
}

const EXPAND: &[&str] = &[
    "url",
    "valueSetVersion",
    "filter",
    "date",
    "offset",
    "count",
    "includeDesignations",
    "designation",
    "includeDefinition",
    "activeOnly",
    "excludeNested",
    "excludeNotForUI",
    "excludePostCoordinated",
    "displayLanguage",
    "exclude-system",
    "system-version",
    "check-system-version",
    "force-system-version",
];
const LOOKUP: &[&str] = &["code", "system", "version", "date", "displayLanguage", "property"];
const OF_VALUE_SET: &[&str] = &[
    "url",
    "valueSetVersion",
    "code",
    "system",
    "systemVersion",
    "display",
    "date",
    "abstract",
    "displayLanguage",
];
const OF_CODE_SYSTEM: &[&str] = &["url", "code", "version", "display", "date", "abstract", "displayLanguage"];
const TRANSLATE: &[&str] =
    &["url", "conceptMapVersion", "code", "system", "version", "source", "target", "targetsystem", "reverse"];
const SUBSUMES: &[&str] = &["codeA", "codeB", "system", "version"];

/// Parameters that may stand more than once.
const REPEATED: &[&str] = &[
    "property",
    "designation",
    "exclude-system",
    "system-version",
    "check-system-version",
    "force-system-version",
];

impl Offered {
    /// The parameters, rebuilt from what was understood; those of a posted operation stand nowhere else.
    pub fn to_query(&self) -> String {
        match self {
            Self::Export(asked) => asked.to_query(),
            Self::Everything(asked) => asked.to_query(),
            Self::Terminology(asked) => asked.to_query(),
            Self::LastN(asked) => asked.to_query(),
            Self::Validate { .. } => String::new(),
        }
    }
}

impl Operation {
    /// What is asked, if it is offered; `body` is that of a POST.
    pub fn offered(&self, body: Option<&[u8]>) -> Result<Offered, Misunderstood> {
        let on = self.resource_type.as_deref();
        if self.is_async && self.name != "export" {
            return Err(not_offered("asynchronous answers are offered for `$export` alone"));
        }
        match (self.name.as_str(), on, self.id.as_deref()) {
            ("export", None, None) => self.export(Level::System, body),
            ("export", Some("Patient"), None) => self.export(Level::Patient, body),
            ("export", Some("Group"), Some(id)) => self.export(Level::Group(id.to_owned()), body),
            ("everything", Some(kind @ ("Patient" | "Encounter")), Some(id)) => self.everything(kind, id),
            ("expand", Some("ValueSet"), _) => self.terminology(EXPAND, body),
            ("lookup", Some("CodeSystem"), None) => self.terminology(LOOKUP, body),
            ("validate-code", Some("ValueSet"), _) => self.terminology(OF_VALUE_SET, body),
            ("validate-code", Some("CodeSystem"), _) => self.terminology(OF_CODE_SYSTEM, body),
            ("translate", Some("ConceptMap"), _) => self.terminology(TRANSLATE, body),
            ("subsumes", Some("CodeSystem"), _) => self.terminology(SUBSUMES, body),
            ("validate", Some(kind), None) => {
                if !self.posted {
                    return Err(not_offered("`$validate` is called by POST, with the record as the body"));
                }
                wire::none(&self.parameters)?;
                Ok(Offered::Validate { resource_type: kind.to_owned() })
            }
            ("lastn", Some("Observation"), None) => self.last_n(),
            (name, _, _) => Err(refused(name)),
        }
    }

    /// A call that takes no body.
    fn by_get(&self) -> Result<&[(String, String)], Misunderstood> {
        if self.posted {
            return Err(not_offered(format!("`${}` is called by GET", self.name)));
        }
        Ok(&self.parameters)
    }

    fn parameters(&self, body: Option<&[u8]>) -> Result<Parameters, Misunderstood> {
        if !self.posted {
            return Ok(Parameters { pairs: self.parameters.clone(), posted: false });
        }
        if !self.parameters.is_empty() {
            return Err(bad("parameters of a posted operation stand in its body, not in the address too"));
        }
        Ok(Parameters { pairs: posted(body.unwrap_or_default())?, posted: true })
    }

    fn export(&self, level: Level, body: Option<&[u8]>) -> Result<Offered, Misunderstood> {
        if !self.is_async {
            let what = "an export answers asynchronously";
            return Err(bad(what).help("send `Prefer: respond-async`"));
        }
        Ok(Offered::Export(Export::read(level, &self.parameters(body)?)?))
    }

    fn everything(&self, kind: &str, id: &str) -> Result<Offered, Misunderstood> {
        let pairs = self.by_get()?;
        Everything::read(kind, id, pairs).map(Offered::Everything)
    }

    fn terminology(&self, allowed: &[&str], body: Option<&[u8]>) -> Result<Offered, Misunderstood> {
        let parameters = self.parameters(body)?.pairs;
        for (place, (name, _)) in parameters.iter().enumerate() {
            if !allowed.contains(&name.as_str()) {
                let what = format!("the parameter `{name}` of `${}` is not offered", self.name);
                let help = match name.as_str() {
                    "context" | "contextDirection" => "what it stands for depends on records".to_owned(),
                    "valueSet" | "codeSystem" | "conceptMap" => "name a definition by its url".to_owned(),
                    "coding" | "codeableConcept" | "codingA" | "codingB" => {
                        "send the code and its system as they are".to_owned()
                    }
                    _ => format!("known: {}", allowed.join(", ")),
                };
                return Err(not_offered(what).help(&help));
            }
            let repeats = parameters[..place].iter().any(|(n, _)| n == name);
            if repeats && !REPEATED.contains(&name.as_str()) {
                return Err(bad(format!("the parameter `{name}` stands twice")));
            }
        }
        Ok(Offered::Terminology(Terminology {
            name: self.name.clone(),
            resource_type: self.resource_type.clone().unwrap_or_default(),
            id: self.id.clone(),
            parameters,
        }))
    }

    fn last_n(&self) -> Result<Offered, Misunderstood> {
        LastN::read(self.by_get()?).map(Offered::LastN)
    }
}

impl LastN {
    fn read(pairs: &[(String, String)]) -> Result<Self, Misunderstood> {
        let mut max = None;
        let mut rest = Vec::new();
        for (name, value) in pairs {
            if name != "max" {
                rest.push((name.clone(), value.clone()));
            } else if max.is_some() {
                return Err(bad("the parameter `max` stands twice"));
            } else {
                let number = value.parse().map_err(|_| bad(format!("`max={value}` is no whole number")))?;
                max = Some(number);
            }
        }
        Ok(Self { search: Search::read("Observation", &rest)?, max })
    }

    /// The parameters, rebuilt from what was understood.
    pub fn to_query(&self) -> String {
        let mut query = self.search.to_query();
        if let Some(max) = self.max {
            let _ = write!(query, "{}max={max}", if query.is_empty() { "" } else { "&" });
        }
        query
    }

    /// Reads again what [`Self::to_query`] wrote.
    pub fn reread(query: &str) -> Result<Self, Misunderstood> {
        Self::read(&wire::pairs(query)?)
    }
}

impl Everything {
    fn read(resource_type: &str, id: &str, pairs: &[(String, String)]) -> Result<Self, Misunderstood> {
        let mut found = Self { resource_type: resource_type.into(), id: id.into(), ..Self::default() };
        for (name, value) in pairs {
            let slot = match name.as_str() {
                "start" if resource_type == "Patient" => &mut found.start,
                "end" if resource_type == "Patient" => &mut found.end,
                "_since" => &mut found.since,
                "_type" => {
                    for name in value.split(',').map(str::trim) {
                        found.types.push(known(name)?);
                    }
                    continue;
                }
                "_count" if found.count.is_none() => {
                    let count = value.parse();
                    found.count =
                        Some(count.map_err(|_| bad(format!("`_count={value}` is no whole number")))?);
                    continue;
                }
                "_count" => return Err(bad("the parameter `_count` stands twice")),
                other => {
                    let what = format!("the parameter `{other}` of `$everything` is not offered");
                    return Err(not_offered(what).help("known: start, end, _since, _type, _count"));
                }
            };
            if !wire::is_instant(value) {
                return Err(bad(format!("`{name}={value}` is no date")));
            }
            if slot.replace(value.clone()).is_some() {
                return Err(bad(format!("the parameter `{name}` stands twice")));
            }
        }
        Ok(found)
    }

    /// The parameters, rebuilt from what was understood.
    pub fn to_query(&self) -> String {
        let mut query = String::new();
        let mut add = |name: &str, value: &str| {
            let _ = write!(query, "{}{name}={}", if query.is_empty() { "" } else { "&" }, encode(value));
        };
        for (name, value) in [("start", &self.start), ("end", &self.end), ("_since", &self.since)] {
            if let Some(value) = value {
                add(name, value);
            }
        }
        if !self.types.is_empty() {
            add("_type", &self.types.join(","));
        }
        if let Some(count) = self.count {
            add("_count", &count.to_string());
        }
        query
    }

    /// Reads again what [`Self::to_query`] wrote.
    pub fn reread(resource_type: &str, id: &str, query: &str) -> Result<Self, Misunderstood> {
        Self::read(resource_type, id, &wire::pairs(query)?)
    }
}

impl Terminology {
    /// The parameters for the server, rebuilt.
    pub fn to_query(&self) -> String {
        let parts: Vec<String> =
            self.parameters.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        parts.join("&")
    }
}

/// The parameters of a posted `Parameters` resource: names with one plain value each. A `patient` is a reference.
fn posted(body: &[u8]) -> Result<Vec<(String, String)>, Misunderstood> {
    let value: Value = serde_json::from_slice(body).map_err(|_| bad("the body is not JSON"))?;
    if value["resourceType"] != "Parameters" {
        return Err(bad("the body is no Parameters resource"));
    }
    let none = Vec::new();
    let list = match value.get("parameter") {
        None => &none,
        Some(list) => list.as_array().ok_or_else(|| bad("`parameter` is no list"))?,
    };
    let mut found = Vec::new();
    for item in list {
        let name = item["name"].as_str().ok_or_else(|| bad("a parameter has no name"))?;
        let members = item.as_object().into_iter().flatten();
        let values: Vec<(&String, &Value)> = members.filter(|(key, _)| *key != "name").collect();
        let [(kind, value)] = values.as_slice() else {
            return Err(not_offered(format!("the parameter `{name}` does not hold one plain value")));
        };
        let text = match (kind.as_str(), value) {
            ("valueReference", Value::Object(reference)) => {
                let text = reference.get("reference").and_then(Value::as_str);
                text.filter(|t| t.starts_with("Patient/")).map(str::to_owned)
            }
            (
                "valueString" | "valueUri" | "valueUrl" | "valueCanonical" | "valueCode" | "valueId"
                | "valueDate" | "valueDateTime" | "valueInstant",
                Value::String(text),
            ) => Some(text.clone()),
            ("valueBoolean", Value::Bool(flag)) => Some(flag.to_string()),
            ("valueInteger" | "valuePositiveInt" | "valueUnsignedInt", Value::Number(number)) => {
                Some(number.to_string())
            }
            _ => None,
        };
        let text = text.filter(|t| !t.chars().any(char::is_control));
        let Some(text) = text else {
            let what = format!("the parameter `{name}` holds a `{kind}` that is not taken");
            let help = match name {
                "coding" | "codeableConcept" => "send the code and its system as they are",
                "valueSet" | "codeSystem" | "conceptMap" => "name a definition by its url",
                _ => "plain values are taken, and for `patient` a reference `Patient/id`",
            };
            return Err(not_offered(what).help(help));
        };
        found.push((name.to_owned(), text));
        if found.len() > 1_000 {
            return Err(bad("more than 1,000 parameters"));
        }
    }
    Ok(found)
}

/// Why an operation is not offered, and what to do instead.
fn refused(name: &str) -> Misunderstood {
    let help = match name {
        "match" | "member-match" => {
            "its scores tell how near a guess comes to a record that is hidden; search by what you may search by"
        }
        "stats" | "evaluate-measure" | "care-gaps" | "collect-data" => {
            "it tells exact figures of small groups; counts are given with noise: `Patient?…&_summary=count`"
        }
        "document" | "docref" | "graph" | "find" | "summary" => {
            "it gathers records whose number and kinds cannot be told beforehand; search them, or call `$everything`"
        }
        "meta" | "meta-add" | "meta-delete" => "it tells of tags over all records; read the record itself",
        "convert" | "process-message" | "submit" | "transform" => {
            "it carries records in forms that are not judged; send them one by one"
        }
        "graphql" => "its queries are not read as a whole; search with `_include`",
        "export" => "offered are `/$export`, `/Patient/$export` and `/Group/id/$export`",
        "everything" => "offered are `/Patient/id/$everything` and `/Encounter/id/$everything`",
        "validate" => "offered is `POST /Type/$validate`, without an id: it would read what is stored",
        "lastn" => "offered is `/Observation/$lastn`",
        _ => {
            "offered are $export, $everything, $validate, $lastn, $expand, $lookup, $validate-code, $translate \
             and $subsumes"
        }
    };
    not_offered(format!("the operation `${name}` is not offered here")).help(help)
}

#[cfg(test)]
mod tests;
