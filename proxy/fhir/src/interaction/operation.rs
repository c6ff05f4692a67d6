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
const OF_CODE_SYSTEM: &[&str] =
    &["url", "code", "version", "display", "date", "abstract", "displayLanguage"];
const TRANSLATE: &[&str] = &[
    "url",
    "conceptMapVersion",
    "code",
    "system",
    "version",
    "source",
    "target",
    "targetsystem",
    "reverse",
];
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
            if !is_date_time(value) {
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

/// Whether a text is a date or an instant as FHIR writes them, as far as its characters go.
pub(super) fn is_date_time(text: &str) -> bool {
    (4..=40).contains(&text.len())
        && text.bytes().take(4).all(|b| b.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || b"-:TZ.+".contains(&b))
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
mod tests {
    use super::*;

    fn call(target: &str) -> Operation {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        let name = parts.pop().unwrap().trim_start_matches('$').to_owned();
        Operation {
            name,
            resource_type: parts.first().map(|t| (*t).to_owned()),
            id: parts.get(1).map(|i| (*i).to_owned()),
            parameters: wire::pairs(query).unwrap(),
            posted: false,
            is_async: target.contains("$export"),
        }
    }

    fn post(target: &str, body: &str) -> Result<Offered, Misunderstood> {
        Operation { posted: true, ..call(target) }.offered(Some(body.as_bytes()))
    }

    fn refusal(target: &str) -> String {
        call(target).offered(None).unwrap_err().text().to_owned()
    }

    #[test]
    fn lv_37_38_39_40_what_gathers_counts_or_matches_is_refused_by_name_with_what_to_do_instead() {
        for (target, says) in [
            ("Patient/$match", "near a guess"),
            ("Patient/$member-match", "near a guess"),
            ("Observation/$stats", "with noise"),
            ("Measure/1/$evaluate-measure", "with noise"),
            ("Composition/1/$document", "$everything"),
            ("Patient/1/$docref", "$everything"),
            ("Patient/1/$graph", "$everything"),
            ("Patient/$meta", "read the record"),
            ("$convert", "one by one"),
            ("$process-message", "one by one"),
            ("$graphql?query=x", "_include"),
            ("Patient/1/$graphql?query=x", "_include"),
            ("Group/1/$everything", "Patient/id"),
            ("Patient/$everything", "Patient/id"),
            ("Observation/$export", "/Patient/$export"),
            ("Patient/1/$export", "/Patient/$export"),
            ("$whatever", "offered are"),
        ] {
            let text = refusal(target);
            let name = target.split('$').nth(1).unwrap().split('?').next().unwrap();
            assert!(text.contains(&format!("`${name}`")) && text.contains(says), "{target}: {text}");
        }
    }

    #[test]
    fn an_export_is_read_whole_and_means_the_same_when_it_is_read_again() {
        let target = "Patient/$export?_outputFormat=ndjson&_type=Patient,Condition&_type=Condition&_since=2026-01-01T00:00:00Z&_elements=id,Patient.name&_typeFilter=Condition%3Fcode%3Dx%257Cy%26clinical-status%3Dactive&_typeFilter=Condition%3Fcode%3Dz";
        let Offered::Export(export) = call(target).offered(None).unwrap() else { panic!() };
        assert_eq!(export.types, ["Patient", "Condition"]);
        assert_eq!(export.filters[0].to_query(), "code=x|y&clinical-status=active".replace('|', "|"));
        assert_eq!(Export::reread(export.level.clone(), &export.to_query()).unwrap(), export);
        let body = r#"{"resourceType":"Parameters","parameter":[
            {"name":"patient","valueReference":{"reference":"Patient/a"}},
            {"name":"patient","valueReference":{"reference":"Patient/b"}},
            {"name":"_type","valueString":"Observation"}]}"#;
        let Offered::Export(export) = post("Patient/$export", body).unwrap() else { panic!() };
        assert_eq!(export.patients, ["a", "b"]);
        assert_eq!(Export::reread(export.level.clone(), &export.to_query()).unwrap(), export);
    }

    #[test]
    fn what_of_an_export_is_not_understood_is_refused() {
        for target in [
            "$export?_outputFormat=application/fhir%2Bxml",
            "$export?_type=Nobody",
            "$export?_since=yesterday",
            "$export?_since=2026",
            "$export?_elements=nothing",
            "$export?_elements=Patient.name.family",
            "$export?whatever=1",
            "$export?includeAssociatedData=LatestProvenanceResources",
            "$export?patient=Patient/1",
            "$export?_typeFilter=Patient",
            "$export?_typeFilter=Patient%3F_include%3DPatient:organization",
            "$export?_typeFilter=Patient%3F_count%3D1",
            "$export?_typeFilter=Patient%3F_elements%3Did",
            "$export?_typeFilter=Patient%3F",
            "$export?_typeFilter=Condition%3Fcode%3Da,Patient%3Fname%3Dx",
            "$export?_typeFilter=Condition%3Fcode%3Da%252CPatient",
            "$export?_type=Patient&_typeFilter=Condition%3Fcode%3Da",
        ] {
            assert!(call(target).offered(None).is_err(), "{target}");
        }
        let mut sync = call("$export");
        sync.is_async = false;
        assert!(sync.offered(None).unwrap_err().text().contains("respond-async"));
        for body in [
            "",
            "[]",
            r#"{"resourceType":"Patient"}"#,
            r#"{"resourceType":"Parameters","parameter":{}}"#,
            r#"{"resourceType":"Parameters","parameter":[{"name":"patient","valueReference":{"reference":"Group/1"}}]}"#,
            r#"{"resourceType":"Parameters","parameter":[{"name":"patient","valueReference":{"reference":"Patient?name=x"}}]}"#,
            r#"{"resourceType":"Parameters","parameter":[{"name":"_type","valueString":"Patient","valueCode":"Patient"}]}"#,
            r#"{"resourceType":"Parameters","parameter":[{"name":"_type","part":[]}]}"#,
            r#"{"resourceType":"Parameters","parameter":[{"valueString":"Patient"}]}"#,
        ] {
            assert!(post("Patient/$export", body).is_err(), "{body}");
        }
        let patient = r#"{"resourceType":"Parameters","parameter":[{"name":"patient","valueReference":{"reference":"Patient/a"}}]}"#;
        assert!(post("$export", patient).is_err(), "`patient` has no place at the level of the system");
        assert!(post("Patient/$export?_type=Patient", patient).is_err(), "parameters in both places");
    }

    #[test]
    fn questions_about_codes_take_listed_parameters_alone() {
        let target = "ValueSet/$expand?url=http://x/vs&filter=a%26b&count=10";
        let Offered::Terminology(asked) = call(target).offered(None).unwrap() else { panic!() };
        assert_eq!(asked.to_query(), "url=http://x/vs&filter=a%26b&count=10");
        for target in [
            "ValueSet/$expand?context=x",
            "ValueSet/$expand?contextDirection=incoming",
            "ValueSet/$expand?valueSet=x",
            "ValueSet/$expand?url=a&url=b",
            "ValueSet/$lookup?code=x",
            "Patient/$expand?url=a",
            "CodeSystem/$lookup?coding=x",
        ] {
            assert!(call(target).offered(None).is_err(), "{target}");
        }
        let body = r#"{"resourceType":"Parameters","parameter":[{"name":"code","valueCode":"1"},{"name":"system","valueUri":"http://s"}]}"#;
        assert!(post("CodeSystem/$lookup", body).is_ok());
        for (name, value) in [
            ("valueSet", r#""resource":{"resourceType":"ValueSet"}"#),
            ("coding", r#""valueCoding":{"code":"1"}"#),
            ("context", r#""valueUri":"x""#),
        ] {
            let body = format!(
                r#"{{"resourceType":"Parameters","parameter":[{{"name":"{name}",{value}}}]}}"#
            );
            assert!(post("ValueSet/$expand", &body).is_err(), "{name}");
        }
    }

    #[test]
    fn everything_validation_and_the_latest_take_what_is_theirs() {
        let target = "Patient/1/$everything?start=2020-01-01&_type=Condition,Observation&_count=20";
        let Offered::Everything(asked) = call(target).offered(None).unwrap() else { panic!() };
        assert_eq!(asked.types, ["Condition", "Observation"]);
        assert_eq!(Everything::reread("Patient", "1", &asked.to_query()).unwrap(), asked);
        for target in [
            "Patient/1/$everything?_filter=x",
            "Patient/1/$everything?start=x",
            "Patient/1/$everything?start=2020&start=2021",
            "Patient/1/$everything?_content=x",
            "Encounter/1/$everything?start=2020",
            "Patient/$validate",
            "Observation/$lastn?max=x",
            "Observation/$lastn?_content=x",
        ] {
            assert!(call(target).offered(None).is_err(), "{target}");
        }
        assert!(post("Patient/1/$everything", "{}").is_err());
        assert!(post("Patient/$validate", "{}").is_ok());
        assert!(post("Patient/1/$validate", "{}").unwrap_err().text().contains("stored"));
        let Offered::LastN(asked) = call("Observation/$lastn?max=2&patient=1").offered(None).unwrap()
        else {
            panic!()
        };
        assert_eq!(LastN::reread(&asked.to_query()).unwrap(), asked);
    }
}
