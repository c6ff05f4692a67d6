//! A bulk export as it is asked for (HL7 Bulk Data Access 2.0, kick-off): whose records, which types, by which criteria.

use std::fmt::Write as _;

use super::operation::Parameters;
use super::{Misunderstood, bad, id, known, not_offered, wire};
use crate::definitions::r4;
use crate::query::{Search, encode};

/// What a caller wishes to export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Whose records.
    pub level: Level,
    /// `_type`; empty where none is named.
    pub types: Vec<String>,
    /// `_since`, an instant.
    pub since: Option<String>,
    /// `_elements`: each a name, with or without a type before it.
    pub elements: Vec<String>,
    /// `_typeFilter`: each a search of its own.
    pub filters: Vec<Search>,
    /// `patient`: the logical ids, as the caller knows them.
    pub patients: Vec<String>,
}

/// Whose records are exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Level {
    /// `/$export`: everybody's and everything else.
    System,
    /// `/Patient/$export`: what is about patients.
    Patient,
    /// `/Group/id/$export`: what is about the members of a group.
    Group(String),
}

impl Level {
    /// The address, below the base.
    pub fn path(&self) -> String {
        match self {
            Self::System => "/$export".to_owned(),
            Self::Patient => "/Patient/$export".to_owned(),
            Self::Group(id) => format!("/Group/{id}/$export"),
        }
    }
}

/// More filters than this are not put into one export.
const FILTERS_MAX: usize = 50;

impl Export {
    /// Reads a kick-off.
    pub(super) fn read(level: Level, parameters: &Parameters) -> Result<Self, Misunderstood> {
        let mut export = Self {
            level,
            types: Vec::new(),
            since: None,
            elements: Vec::new(),
            filters: Vec::new(),
            patients: Vec::new(),
        };
        let mut format = None;
        for (name, value) in &parameters.pairs {
            match name.as_str() {
                "_outputFormat" if format.is_none() => {
                    if !["application/fhir+ndjson", "application/ndjson", "ndjson"].contains(&value.as_str())
                    {
                        let what = format!("`_outputFormat={value}` is not made");
                        return Err(bad(what).help("only `application/fhir+ndjson` is"));
                    }
                    format = Some(value);
                }
                "_since" if export.since.is_none() => {
                    if !wire::is_instant(value) || !value.contains('T') {
                        return Err(bad(format!("`_since={value}` is no instant")));
                    }
                    export.since = Some(value.clone());
                }
                "_outputFormat" | "_since" => {
                    return Err(bad(format!("the parameter `{name}` stands twice")));
                }
                "_type" => {
                    for name in value.split(',').map(str::trim) {
                        let name = known(name)?;
                        if !export.types.contains(&name) {
                            export.types.push(name);
                        }
                    }
                }
                "_elements" => {
                    for name in value.split(',').map(str::trim) {
                        export.elements.push(element(name)?);
                    }
                }
                "_typeFilter" => {
                    if export.filters.len() >= FILTERS_MAX {
                        return Err(bad(format!("more than {FILTERS_MAX} filters")));
                    }
                    export.filters.push(filter(value)?);
                }
                "patient" if parameters.posted => {
                    let text = value.strip_prefix("Patient/").unwrap_or(value);
                    export.patients.push(id(text)?);
                }
                "patient" => {
                    let what = "`patient` is taken in a posted `Parameters` resource alone";
                    return Err(not_offered(what));
                }
                "includeAssociatedData" | "organizeOutputBy" | "allowPartialManifests" => {
                    return Err(not_offered(format!("the parameter `{name}` is not offered")));
                }
                other => {
                    let what = format!("the parameter `{other}` is not understood");
                    return Err(bad(what).help(
                        "known: _outputFormat, _since, _type, _elements, _typeFilter, and patient by POST",
                    ));
                }
            }
        }
        if !export.patients.is_empty() && export.level == Level::System {
            let what = "`patient` is taken by `/Patient/$export` and `/Group/id/$export`";
            return Err(bad(what));
        }
        for filter in &export.filters {
            if !export.types.is_empty() && !export.types.contains(&filter.resource_type) {
                let what = format!("`_typeFilter` names {}, which `_type` leaves out", filter.resource_type);
                return Err(bad(what));
            }
        }
        Ok(export)
    }

    /// The parameters, rebuilt from what was understood; read again they mean the same.
    pub fn to_query(&self) -> String {
        let mut query = format!("_outputFormat={}", encode("application/fhir+ndjson"));
        let mut add = |name: &str, value: &str| {
            let _ = write!(query, "&{name}={}", encode(value));
        };
        if !self.types.is_empty() {
            add("_type", &self.types.join(","));
        }
        if let Some(since) = &self.since {
            add("_since", since);
        }
        if !self.elements.is_empty() {
            add("_elements", &self.elements.join(","));
        }
        for filter in &self.filters {
            add("_typeFilter", &format!("{}?{}", filter.resource_type, filter.to_query()));
        }
        for patient in &self.patients {
            add("patient", &format!("Patient/{patient}"));
        }
        query
    }

    /// The kick-off, path and query below the base.
    pub fn address(&self) -> String {
        format!("{}?{}", self.level.path(), self.to_query())
    }

    /// Reads again what [`Self::address`] wrote, for Drape's own links.
    pub fn reread(address: &str) -> Result<Self, Misunderstood> {
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let level = match path.split('/').collect::<Vec<_>>().as_slice() {
            ["", "$export"] => Level::System,
            ["", "Patient", "$export"] => Level::Patient,
            ["", "Group", text, "$export"] => Level::Group(id(text)?),
            _ => return Err(bad("no kick-off of an export")),
        };
        Self::read(level, &Parameters { pairs: wire::pairs(query)?, posted: true })
    }
}

/// `id`, `Patient.name`: of the type itself, never deeper.
fn element(text: &str) -> Result<String, Misunderstood> {
    let has = |kind: &str, name: &str| r4().elements(kind).iter().any(|e| e.name == name);
    let exists = match text.split_once('.') {
        Some((kind, name)) => r4().is_resource(kind) && has(kind, name),
        None => r4().resource_types().any(|kind| has(kind, text)),
    };
    if exists { Ok(text.to_owned()) } else { Err(bad(format!("`_elements`: `{text}` is no element"))) }
}

/// One search. A comma could part values as well as searches, and servers differ, so that none may stand there.
fn filter(text: &str) -> Result<Search, Misunderstood> {
    let Some((kind, query)) = text.split_once('?') else {
        return Err(bad(format!("`_typeFilter={text}` is no search")).help("write `Type?parameter=value`"));
    };
    let resource_type = known(kind)?;
    let pairs = wire::pairs(query)?;
    if pairs.iter().any(|(name, value)| name.contains(',') || value.contains(',')) {
        let what = "a comma in a `_typeFilter` can be read in two ways";
        return Err(not_offered(what).help("repeat the parameter, one search each; alternatives join up"));
    }
    let search = Search::read(&resource_type, &pairs)?;
    let plain = Search { criteria: search.criteria.clone(), ..Search::read(&resource_type, &[])? };
    if search != plain || search.criteria.is_empty() {
        return Err(not_offered(
            "a `_typeFilter` holds criteria, no sorting, includes, paging or projection",
        ));
    }
    Ok(search)
}
