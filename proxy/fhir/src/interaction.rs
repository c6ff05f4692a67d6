//! What FHIR calls a request; everything that is not named here is refused, and the refusal says what it was.

use crate::definitions::r4;
use crate::media::Format;
use crate::query::{Compartment, Search};
use crate::reference::is_id;

pub mod export;
pub mod operation;
mod wire;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interaction {
    /// `GET /Type/id`.
    Read {
        /// The type.
        resource_type: String,
        /// The logical id.
        id: String,
        /// `_elements` or `_summary`, as the upstream should be asked.
        shape: Shape,
    },
    /// `GET /Type/id/_history/version`.
    Vread {
        /// The type.
        resource_type: String,
        /// The logical id.
        id: String,
        /// The version.
        version: String,
    },
    /// `GET /Type/id/_history`, `GET /Type/_history`, `GET /_history`.
    History(History),
    /// `GET /Type?…`, `POST /Type/_search`, `GET /Patient/id/Type?…`.
    Search(Search),
    /// `GET /_page/handle`: the next page of an answer of ours.
    Page {
        /// The sealed handle.
        handle: String,
    },
    /// `POST /Type`.
    Create {
        /// The type.
        resource_type: String,
        /// `If-None-Exist`: create only where this finds nothing.
        unless: Option<Search>,
    },
    /// `PUT /Type/id`, `PUT /Type?…`.
    Update {
        /// The type.
        resource_type: String,
        /// Which record.
        target: Target,
    },
    /// `PATCH /Type/id`, `PATCH /Type?…`.
    Patch {
        /// The type.
        resource_type: String,
        /// Which record.
        target: Target,
        /// How the body says what to change.
        form: PatchForm,
    },
    /// `DELETE /Type/id`, `DELETE /Type?…`.
    Delete {
        /// The type.
        resource_type: String,
        /// Which record.
        target: Target,
    },
    /// `POST /`: a batch or a transaction; the body tells which.
    Bundle,
    /// `/$name`, `/Type/$name`, `/Type/id/$name`.
    Operation(Operation),
    /// `/_export/handle`: how far an export of ours is, or its end.
    Export {
        /// The sealed handle.
        handle: String,
        /// By DELETE: it is given up.
        cancels: bool,
    },
    /// `GET /_export-file/handle`: one file of an export of ours.
    ExportFile {
        /// The sealed handle.
        handle: String,
    },
}

/// How much of a record is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// The query that goes on to the upstream, without `?`; empty for all of it.
    pub query: String,
    /// Of a Binary: its content in its own media type, not the resource.
    pub raw: bool,
}

/// A history: of one record, of a type, of the whole server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The type; `None` is the whole server.
    pub resource_type: Option<String>,
    /// The logical id.
    pub id: Option<String>,
    /// `_count`.
    pub count: Option<u32>,
    /// `_since`, an instant.
    pub since: Option<String>,
}

/// Which record is to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The one with this logical id.
    Id(String),
    /// The one that a search finds.
    Search(Box<Search>),
}

/// How a patch says what to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchForm {
    /// RFC 6902.
    Json,
    /// FHIRPath Patch: a `Parameters` resource.
    FhirPath,
}

/// An operation as it is called; whether it is offered is told later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operation {
    /// Its name without `$`.
    pub name: String,
    /// The type it is called on.
    pub resource_type: Option<String>,
    /// The record it is called on.
    pub id: Option<String>,
    /// Parameters of the query, in the order sent, without `_format` and `_pretty`.
    pub parameters: Vec<(String, String)>,
    /// Called by POST: the body holds a `Parameters` resource, or another one where the operation takes it.
    pub posted: bool,
    /// `Prefer: respond-async`.
    pub is_async: bool,
}

impl Interaction {
    /// FHIR's code (`http://hl7.org/fhir/restful-interaction`).
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "read",
            Self::Vread { .. } => "vread",
            Self::History(History { id: Some(_), .. }) => "history-instance",
            Self::History(History { resource_type: Some(_), .. }) => "history-type",
            Self::History(_) => "history-system",
            Self::Search(_) | Self::Page { .. } => "search-type",
            Self::Create { .. } => "create",
            Self::Update { .. } => "update",
            Self::Patch { .. } => "patch",
            Self::Delete { .. } => "delete",
            Self::Bundle => "transaction",
            Self::Operation(_) | Self::Export { .. } | Self::ExportFile { .. } => "operation",
        }
    }

    /// The type asked for; a page tells only when its handle is opened.
    pub fn resource_type(&self) -> Option<&str> {
        match self {
            Self::Read { resource_type, .. }
            | Self::Vread { resource_type, .. }
            | Self::Create { resource_type, .. }
            | Self::Update { resource_type, .. }
            | Self::Patch { resource_type, .. }
            | Self::Delete { resource_type, .. } => Some(resource_type),
            Self::History(History { resource_type, .. })
            | Self::Operation(Operation { resource_type, .. }) => resource_type.as_deref(),
            Self::Search(search) => Some(&search.resource_type),
            Self::Page { .. } | Self::Bundle | Self::Export { .. } | Self::ExportFile { .. } => None,
        }
    }

    /// Whether the request's body is a part of what is asked.
    pub const fn takes_body(&self) -> bool {
        match self {
            Self::Create { .. } | Self::Update { .. } | Self::Patch { .. } | Self::Bundle => true,
            Self::Operation(operation) => operation.posted,
            _ => false,
        }
    }
}

/// A request that is not understood, or understood and not offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misunderstood {
    /// The HTTP status.
    pub status: u16,
    /// The FHIR issue type.
    pub code: &'static str,
    what: String,
}

impl Misunderstood {
    pub(crate) fn new(status: u16, code: &'static str, what: String) -> Self {
        Self { status, code, what }
    }

    pub(crate) fn help(mut self, help: &str) -> Self {
        self.what = format!("{}; {help}", self.what);
        self
    }

    /// What the caller hears: what was not understood, and what would be.
    pub fn text(&self) -> &str {
        &self.what
    }
}

/// A request as far as classification looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The HTTP method; HEAD is asked as GET.
    pub method: &'a str,
    /// The path after the tenant's base, still encoded.
    pub path: &'a str,
    /// The query, still encoded.
    pub query: Option<&'a str>,
    /// Headers of [`HEADERS`], names in lower case, each once.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body, for POST, PUT and PATCH.
    pub body: Option<&'a [u8]>,
}

/// Headers that change what a request means.
pub const HEADERS: &[&str] = &[
    "accept",
    "content-type",
    "prefer",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-none-exist",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// Methods that some address takes.
pub const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

impl Parts<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
    }
}

fn bad(what: impl Into<String>) -> Misunderstood {
    Misunderstood::new(400, "structure", what.into())
}

fn not_offered(what: impl Into<String>) -> Misunderstood {
    Misunderstood::new(403, "not-supported", what.into())
}

fn known(name: &str) -> Result<String, Misunderstood> {
    if r4().is_resource(name) {
        Ok(name.to_owned())
    } else {
        Err(Misunderstood::new(404, "not-supported", format!("`{name}` is no FHIR R4 resource type")))
    }
}

fn id(text: &str) -> Result<String, Misunderstood> {
    if is_id(text) { Ok(text.to_owned()) } else { Err(bad(format!("`{text}` is no logical id"))) }
}

/// The form that the answer is wanted in, as [`parse`] reads it; for answers to what could not be parsed too.
///
/// # Errors
/// 406 where neither form will do, 400 where the parameters cannot be read.
pub fn format(parts: &Parts<'_>) -> Result<Format, Misunderstood> {
    let mut pairs = wire::pairs(parts.query.unwrap_or_default())?;
    if parts.body.is_some() && wire::media(parts, &[FORM]).is_ok() {
        pairs = form(parts, pairs)?;
    }
    wire::format(parts, &mut pairs)
}

/// Says what FHIR calls the request.
pub fn parse(parts: &Parts<'_>) -> Result<Interaction, Misunderstood> {
    wire::overrides(parts)?;
    let segments = wire::segments(parts.path)?;
    let mut pairs = wire::pairs(parts.query.unwrap_or_default())?;
    if pairs.iter().any(|(name, _)| name == "_method") {
        return Err(not_offered("the parameter `_method` would change what the request is"));
    }
    let is_async = wire::prefer(parts)?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    if let [before @ .., name] = segments.as_slice()
        && let Some(name) = name.strip_prefix('$')
    {
        return operation(parts, before, name, pairs, is_async);
    }
    if is_async {
        return Err(not_offered("asynchronous answers are offered for `$export` alone"));
    }
    if let Some(operation) = segments.iter().find(|s| s.starts_with('$')) {
        return Err(not_offered(format!("`{operation}` is not understood within an address")));
    }
    match (parts.method, segments.as_slice()) {
        ("GET", ["_page", handle]) => {
            wire::format(parts, &mut pairs)?;
            handle_alone(&pairs)?;
            Ok(Interaction::Page { handle: (*handle).to_owned() })
        }
        (method @ ("GET" | "DELETE"), ["_export", handle]) => {
            handle_alone(&pairs)?;
            Ok(Interaction::Export { handle: (*handle).to_owned(), cancels: method == "DELETE" })
        }
        ("GET", ["_export-file", handle]) => {
            handle_alone(&pairs)?;
            Ok(Interaction::ExportFile { handle: (*handle).to_owned() })
        }
        ("GET", ["_history"]) => history(parts, pairs, None, None),
        ("GET", [name, "_history"]) => history(parts, pairs, Some(known(name)?), None),
        ("GET", [name, text, "_history"]) => history(parts, pairs, Some(known(name)?), Some(id(text)?)),
        ("GET", [name, text, "_history", version]) => {
            let (resource_type, id, version) = (known(name)?, id(text)?, id(version)?);
            wire::format(parts, &mut pairs)?;
            wire::none(&pairs)?;
            Ok(Interaction::Vread { resource_type, id, version })
        }
        ("GET", [name]) if !name.starts_with('_') => search(parts, known(name)?, pairs, None),
        ("POST", [name, "_search"]) => {
            let resource_type = known(name)?;
            search(parts, resource_type, form(parts, pairs)?, None)
        }
        ("GET", [name, text]) if *text != "_search" => {
            let (resource_type, id) = (known(name)?, id(text)?);
            let raw = resource_type == "Binary" && wire::wants_content(parts, &pairs);
            if !raw {
                wire::format(parts, &mut pairs)?;
            }
            let shape = Shape { raw, ..shape(&resource_type, &pairs)? };
            Ok(Interaction::Read { shape, resource_type, id })
        }
        ("GET", [of, text, name]) if *name != "*" && !name.starts_with('_') => {
            let compartment = Compartment::new(&known(of)?, id(text)?, &known(name)?)?;
            search(parts, known(name)?, pairs, Some(compartment))
        }
        ("POST", [of, text, name, "_search"]) => {
            let compartment = Compartment::new(&known(of)?, id(text)?, &known(name)?)?;
            search(parts, known(name)?, form(parts, pairs)?, Some(compartment))
        }
        ("POST", []) => {
            wire::media(parts, &wire::FHIR_JSON)?;
            wire::format(parts, &mut pairs)?;
            wire::none(&pairs)?;
            Ok(Interaction::Bundle)
        }
        ("POST", [name]) if !name.starts_with('_') => {
            let resource_type = known(name)?;
            if resource_type == "Binary" && wire::media(parts, &wire::FHIR_JSON).is_err() {
                let what = "the bytes of a Binary are not taken as they are";
                return Err(not_offered(what).help("send a Binary resource with the bytes in `data`"));
            }
            let unless = match parts.header("if-none-exist") {
                Some(criteria) => Some(condition(&resource_type, criteria)?),
                None => None,
            };
            wire::media(parts, &wire::FHIR_JSON)?;
            wire::format(parts, &mut pairs)?;
            wire::none(&pairs)?;
            Ok(Interaction::Create { resource_type, unless })
        }
        ("PUT", [name, rest @ ..]) if rest.len() < 2 && !name.starts_with('_') => {
            let resource_type = known(name)?;
            wire::media(parts, &wire::FHIR_JSON)?;
            let target = target(parts, &resource_type, rest, pairs)?;
            Ok(Interaction::Update { resource_type, target })
        }
        ("PATCH", [name, rest @ ..]) if rest.len() < 2 && !name.starts_with('_') => {
            let resource_type = known(name)?;
            let form = match wire::media(parts, &["application/json-patch+json"]) {
                Ok(()) => PatchForm::Json,
                Err(fault) => {
                    wire::media(parts, &wire::FHIR_JSON).map_err(|_| fault)?;
                    PatchForm::FhirPath
                }
            };
            let target = target(parts, &resource_type, rest, pairs)?;
            Ok(Interaction::Patch { resource_type, target, form })
        }
        ("DELETE", [name, rest @ ..]) if rest.len() < 2 && !name.starts_with('_') => {
            let resource_type = known(name)?;
            let target = target(parts, &resource_type, rest, pairs)?;
            Ok(Interaction::Delete { resource_type, target })
        }
        (method, segments) => Err(refuse(method, segments)),
    }
}

/// Names what was asked as well as it can be named.
fn refuse(method: &str, segments: &[&str]) -> Misunderstood {
    let what = match (method, segments) {
        ("GET", []) | ("POST", ["_search"]) => "search over all types is not offered; search each type",
        ("GET" | "POST", [_, _, "*"] | [_, _, "*", "_search"]) => {
            "search over all types of a compartment is not offered; name a type, or use `$everything`"
        }
        ("GET", ["metadata", ..] | [".well-known", ..]) => "this address takes no more path",
        ("GET" | "POST" | "PUT" | "PATCH" | "DELETE", _) => "the address is not understood",
        _ => "the method is not offered",
    };
    let status = if METHODS.split(", ").any(|m| m == method) { 403 } else { 405 };
    Misunderstood::new(status, "not-supported", what.to_owned()).help(
        "offered are read, vread, history, search by type and compartment, create, update, patch, delete, \
         batch, transaction and some operations",
    )
}

fn handle_alone(pairs: &[(String, String)]) -> Result<(), Misunderstood> {
    if pairs.is_empty() { Ok(()) } else { Err(bad("an address that Drape gave out takes no parameters")) }
}

fn history(
    parts: &Parts<'_>,
    mut pairs: Vec<(String, String)>,
    resource_type: Option<String>,
    id: Option<String>,
) -> Result<Interaction, Misunderstood> {
    wire::format(parts, &mut pairs)?;
    let mut found = History { resource_type, id, count: None, since: None };
    for (name, value) in pairs {
        match name.as_str() {
            "_count" if found.count.is_none() => {
                let count =
                    value.parse().map_err(|_| bad(format!("`_count={value}` is not a whole number")))?;
                found.count = Some(count);
            }
            "_since" if found.since.is_none() => {
                if !wire::is_instant(&value) {
                    return Err(bad(format!("`_since={value}` is no instant")));
                }
                found.since = Some(value);
            }
            "_count" | "_since" => return Err(bad(format!("the parameter `{name}` stands twice"))),
            other => {
                return Err(not_offered(format!("the parameter `{other}` is not offered for history")));
            }
        }
    }
    Ok(Interaction::History(found))
}

const FORM: &str = "application/x-www-form-urlencoded";

/// The parameters of a form, behind those of the address.
fn form(parts: &Parts<'_>, mut pairs: Vec<(String, String)>) -> Result<Vec<(String, String)>, Misunderstood> {
    wire::media(parts, &[FORM])?;
    let text = std::str::from_utf8(parts.body.unwrap_or_default());
    pairs.extend(wire::pairs(text.map_err(|_| bad("the form is not UTF-8"))?)?);
    if pairs.iter().any(|(name, _)| name == "_method") {
        return Err(not_offered("the parameter `_method` would change what the request is"));
    }
    Ok(pairs)
}

fn search(
    parts: &Parts<'_>,
    resource_type: String,
    mut pairs: Vec<(String, String)>,
    compartment: Option<Compartment>,
) -> Result<Interaction, Misunderstood> {
    wire::format(parts, &mut pairs)?;
    let mut search = Search::read(&resource_type, &pairs)?;
    search.compartment = compartment;
    Ok(Interaction::Search(search))
}

/// The record that a write is for: by id, or by a search for it.
fn target(
    parts: &Parts<'_>,
    resource_type: &str,
    rest: &[&str],
    mut pairs: Vec<(String, String)>,
) -> Result<Target, Misunderstood> {
    wire::format(parts, &mut pairs)?;
    match rest {
        [text] => {
            wire::none(&pairs)?;
            Ok(Target::Id(id(text)?))
        }
        _ => Ok(Target::Search(Box::new(conditional(resource_type, &pairs)?))),
    }
}

/// `If-None-Exist`, which holds the query of a search.
fn condition(resource_type: &str, criteria: &str) -> Result<Search, Misunderstood> {
    let query = criteria.trim().trim_start_matches('?');
    conditional(resource_type, &wire::pairs(query)?)
}

/// A search for the one record that is meant: criteria alone, and at least one.
fn conditional(resource_type: &str, pairs: &[(String, String)]) -> Result<Search, Misunderstood> {
    let search = Search::read(resource_type, pairs)?;
    if search.criteria.is_empty() {
        return Err(bad("no record is named: add its id or criteria that find it"));
    }
    let criteria_alone = Search { criteria: search.criteria.clone(), ..Search::read(resource_type, &[])? };
    if search != criteria_alone {
        return Err(not_offered("criteria that name a record take no sorting, includes or paging"));
    }
    Ok(search)
}

fn operation(
    parts: &Parts<'_>,
    before: &[&str],
    name: &str,
    mut pairs: Vec<(String, String)>,
    is_async: bool,
) -> Result<Interaction, Misunderstood> {
    let posted = match parts.method {
        "GET" => false,
        "POST" => true,
        _ => {
            return Err(Misunderstood::new(
                405,
                "not-supported",
                "operations are called by GET or POST".into(),
            ));
        }
    };
    let mut found = Operation { name: name.to_owned(), posted, is_async, ..Operation::default() };
    match before {
        [] => {}
        [kind] => found.resource_type = Some(known(kind)?),
        [kind, text] => {
            found.resource_type = Some(known(kind)?);
            found.id = Some(id(text)?);
        }
        _ => return Err(not_offered(format!("the operation `${name}` is not offered there"))),
    }
    if posted {
        wire::media(parts, &wire::FHIR_JSON)?;
    }
    // An export answers in words of its own; what its files are in is a parameter.
    if name == "export" {
        pairs.retain(|(name, _)| name != "_format" && name != "_pretty");
    } else {
        wire::format(parts, &mut pairs)?;
    }
    found.parameters = pairs;
    Ok(Interaction::Operation(found))
}

/// `_elements` and `_summary` of a read; the record is judged and shielded after the upstream has cut it down.
fn shape(resource_type: &str, pairs: &[(String, String)]) -> Result<Shape, Misunderstood> {
    if let Some((name, _)) = pairs.iter().find(|(n, _)| n != "_elements" && n != "_summary") {
        return Err(not_offered(format!("the parameter `{name}` is not offered for a read")));
    }
    let search = Search::read(resource_type, pairs)?;
    if search.summary == Some(crate::query::Summary::Count) {
        return Err(bad("`_summary=count` counts a search, not a record"));
    }
    Ok(Shape { query: search.to_query(), raw: false })
}

#[cfg(test)]
mod tests;
