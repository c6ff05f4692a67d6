//! What FHIR calls a request; everything that is not named here is refused, and the refusal says what it was.

use crate::definitions::r4;
use crate::query::Search;
use crate::reference::is_id;

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
    /// `GET /Type/id/_history`.
    History {
        /// The type.
        resource_type: String,
        /// The logical id.
        id: String,
        /// `_count`.
        count: Option<u32>,
    },
    /// `GET /Type?…`, `POST /Type/_search`.
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
    },
    /// `PUT /Type/id`.
    Update {
        /// The type.
        resource_type: String,
        /// The logical id.
        id: String,
    },
}

/// How much of a record is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// The query that goes on to the upstream, without `?`; empty for all of it.
    pub query: String,
}

impl Interaction {
    /// FHIR's code (`http://hl7.org/fhir/restful-interaction`).
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "read",
            Self::Vread { .. } => "vread",
            Self::History { .. } => "history-instance",
            Self::Search(_) | Self::Page { .. } => "search-type",
            Self::Create { .. } => "create",
            Self::Update { .. } => "update",
        }
    }

    /// The type asked for; a page tells only when its handle is opened.
    pub fn resource_type(&self) -> Option<&str> {
        match self {
            Self::Read { resource_type, .. }
            | Self::Vread { resource_type, .. }
            | Self::History { resource_type, .. }
            | Self::Create { resource_type }
            | Self::Update { resource_type, .. } => Some(resource_type),
            Self::Search(search) => Some(&search.resource_type),
            Self::Page { .. } => None,
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
    /// The HTTP method.
    pub method: &'a str,
    /// The path after the tenant's base, still encoded.
    pub path: &'a str,
    /// The query, still encoded.
    pub query: Option<&'a str>,
    /// Headers of [`HEADERS`], names in lower case, each once.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body, for POST and PUT.
    pub body: Option<&'a [u8]>,
}

/// Headers that change what a request means.
pub const HEADERS: &[&str] = &[
    "accept",
    "content-type",
    "prefer",
    "if-match",
    "if-none-exist",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

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

/// Says what FHIR calls the request.
pub fn parse(parts: &Parts<'_>) -> Result<Interaction, Misunderstood> {
    overrides(parts)?;
    let segments = segments(parts.path)?;
    let mut pairs = pairs(parts.query.unwrap_or_default())?;
    if pairs.iter().any(|(name, _)| name == "_method") {
        return Err(not_offered("the parameter `_method` would change what the request is"));
    }
    prefer(parts)?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    if let Some(operation) = segments.iter().find(|s| s.starts_with('$')) {
        return Err(not_offered(format!("the operation `{operation}` is not offered")));
    }
    let known = |name: &str| -> Result<String, Misunderstood> {
        if r4().is_resource(name) {
            Ok(name.to_owned())
        } else {
            Err(Misunderstood::new(404, "not-supported", format!("`{name}` is no FHIR R4 resource type")))
        }
    };
    let id = |text: &str| -> Result<String, Misunderstood> {
        if is_id(text) { Ok(text.to_owned()) } else { Err(bad(format!("`{text}` is no logical id"))) }
    };
    match (parts.method, segments.as_slice()) {
        ("GET", ["_page", handle]) => {
            if !pairs.is_empty() {
                return Err(bad("a page address takes no parameters"));
            }
            Ok(Interaction::Page { handle: (*handle).to_owned() })
        }
        ("GET", [name]) if !name.starts_with('_') => {
            let resource_type = known(name)?;
            format(parts, &mut pairs)?;
            Ok(Interaction::Search(Search::read(&resource_type, &pairs)?))
        }
        ("POST", [name, "_search"]) => {
            let resource_type = known(name)?;
            media(parts, &["application/x-www-form-urlencoded"])?;
            let body = parts.body.unwrap_or_default();
            let text = std::str::from_utf8(body).map_err(|_| bad("the form is not UTF-8"))?;
            pairs.extend(self::pairs(text)?);
            if pairs.iter().any(|(name, _)| name == "_method") {
                return Err(not_offered("the parameter `_method` would change what the request is"));
            }
            format(parts, &mut pairs)?;
            Ok(Interaction::Search(Search::read(&resource_type, &pairs)?))
        }
        ("GET", [name, text]) if *text != "_search" && *text != "_history" => {
            let (resource_type, id) = (known(name)?, id(text)?);
            format(parts, &mut pairs)?;
            Ok(Interaction::Read { shape: shape(&resource_type, &pairs)?, resource_type, id })
        }
        ("GET", [name, text, "_history"]) => {
            let (resource_type, id) = (known(name)?, id(text)?);
            format(parts, &mut pairs)?;
            let mut count = None;
            for (name, value) in &pairs {
                match name.as_str() {
                    "_count" if count.is_none() => {
                        count = Some(
                            value
                                .parse()
                                .map_err(|_| bad(format!("`_count={value}` is not a whole number")))?,
                        );
                    }
                    other => {
                        return Err(not_offered(format!(
                            "the parameter `{other}` is not offered for history"
                        )));
                    }
                }
            }
            Ok(Interaction::History { resource_type, id, count })
        }
        ("GET", [name, text, "_history", version]) => {
            let (resource_type, id, version) = (known(name)?, id(text)?, id(version)?);
            format(parts, &mut pairs)?;
            none(&pairs)?;
            Ok(Interaction::Vread { resource_type, id, version })
        }
        ("POST", [name]) if !name.starts_with('_') => {
            let resource_type = known(name)?;
            if parts.header("if-none-exist").is_some() {
                return Err(not_offered("conditional create (`If-None-Exist`) is not offered"));
            }
            writes(parts, &mut pairs)?;
            Ok(Interaction::Create { resource_type })
        }
        ("PUT", [name, text]) => {
            let (resource_type, id) = (known(name)?, id(text)?);
            writes(parts, &mut pairs)?;
            Ok(Interaction::Update { resource_type, id })
        }
        (method, segments) => Err(refuse(method, segments)),
    }
}

/// Names what was asked as well as it can be named.
fn refuse(method: &str, segments: &[&str]) -> Misunderstood {
    let what = match (method, segments) {
        ("GET", []) => "search over all types is not offered",
        ("POST", []) => "batch and transaction are not offered",
        ("POST", ["_search"]) => "search over all types is not offered",
        ("GET", ["_history"]) => "the history of the whole server is not offered",
        ("GET", [_, "_history"]) => "the history of a whole type is not offered",
        ("PUT", [_]) => "conditional update is not offered",
        ("PATCH", _) => "patch is not offered",
        ("DELETE", _) => "delete is not offered",
        ("HEAD", _) => "HEAD is not offered; use GET",
        ("GET", [_, _, _]) => "search in a compartment is not offered",
        ("GET", ["metadata", ..] | [".well-known", ..]) => "this address takes no more path",
        ("GET" | "POST" | "PUT", _) => "the address is not understood",
        _ => "the method is not offered",
    };
    let status = if matches!(method, "GET" | "POST" | "PUT") { 403 } else { 405 };
    Misunderstood::new(status, "not-supported", what.to_owned())
        .help("offered are read, vread, history of a record, search by type, create and update")
}

/// Headers by which the method or the address on the wire would not be what is meant.
fn overrides(parts: &Parts<'_>) -> Result<(), Misunderstood> {
    for name in
        ["x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"]
    {
        if parts.header(name).is_some() {
            return Err(not_offered(format!("the header `{name}` would change what the request is")));
        }
    }
    Ok(())
}

/// The decoded segments of a path. Anything that another reader could take for another path is refused.
fn segments(path: &str) -> Result<Vec<String>, Misunderstood> {
    let trimmed = path.strip_prefix('/').unwrap_or(path);
    if trimmed.is_empty() {
        return Ok(Vec::new());
    }
    trimmed
        .split('/')
        .map(|raw| {
            if raw.is_empty() {
                return Err(bad("the path has an empty segment"));
            }
            let decoded =
                decode(raw, false).ok_or_else(|| bad("the path is not valid percent-encoded UTF-8"))?;
            let ambiguous =
                decoded.contains(['/', '\\', ';', '?', '#', '%', '\0']) || decoded == "." || decoded == "..";
            if ambiguous || decoded.chars().any(char::is_control) {
                return Err(bad("the path has a segment that could be read in two ways"));
            }
            Ok(decoded)
        })
        .collect()
}

/// Name and value pairs of a query or form.
fn pairs(query: &str) -> Result<Vec<(String, String)>, Misunderstood> {
    if query.contains(['#', ';']) {
        return Err(bad("`;` and `#` do not part parameters; write them percent-encoded"));
    }
    let mut found = Vec::new();
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name, true).ok_or_else(|| bad("a parameter is not valid percent-encoded UTF-8"))?;
        let value =
            decode(value, true).ok_or_else(|| bad("a parameter is not valid percent-encoded UTF-8"))?;
        if name.is_empty() {
            return Err(bad("a parameter has no name"));
        }
        if name.chars().chain(value.chars()).any(char::is_control) {
            return Err(bad("a parameter holds a control character"));
        }
        found.push((name, value));
        if found.len() > 200 {
            return Err(bad("more than 200 parameters"));
        }
    }
    Ok(found)
}

fn decode(text: &str, form: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut raw = text.bytes();
    while let Some(byte) = raw.next() {
        match byte {
            b'%' => {
                let digit = |b: u8| char::from(b).to_digit(16);
                let (high, low) = (digit(raw.next()?)?, digit(raw.next()?)?);
                bytes.push(u8::try_from(high * 16 + low).ok()?);
            }
            b'+' if form => bytes.push(b' '),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

const JSON: [&str; 5] =
    ["application/fhir+json", "application/json", "json", "application/json+fhir", "text/json"];

/// `_format` decides before `Accept`; only JSON is made.
fn format(parts: &Parts<'_>, pairs: &mut Vec<(String, String)>) -> Result<(), Misunderstood> {
    let not_acceptable = || Misunderstood::new(406, "not-supported", "only JSON is offered".to_owned());
    let mut formats = pairs.iter().filter(|(n, _)| n == "_format").map(|(_, v)| essence(v));
    if let Some(wanted) = formats.next() {
        if formats.next().is_some() {
            return Err(bad("the parameter `_format` stands twice"));
        }
        if !JSON.contains(&wanted.as_str()) {
            return Err(not_acceptable());
        }
    } else if let Some(accept) = parts.header("accept") {
        let takes = |range: &str| {
            let refused = range
                .split(';')
                .skip(1)
                .any(|p| p.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f32)));
            let range = essence(range);
            !refused && (JSON.contains(&range.as_str()) || range == "*/*" || range == "application/*")
        };
        if !accept.trim().is_empty() && !accept.split(',').any(takes) {
            return Err(not_acceptable());
        }
    }
    pairs.retain(|(name, _)| name != "_format" && name != "_pretty");
    Ok(())
}

/// A media type without parameters; a `+` that a form turned into a space is put back.
fn essence(media: &str) -> String {
    media.split(';').next().unwrap_or_default().trim().replace(' ', "+").to_ascii_lowercase()
}

fn media(parts: &Parts<'_>, known: &[&str]) -> Result<(), Misunderstood> {
    let sent = essence(parts.header("content-type").unwrap_or_default());
    if known.contains(&sent.as_str()) {
        return Ok(());
    }
    let what = if sent.is_empty() {
        "the Content-Type is missing".to_owned()
    } else {
        format!("`{sent}` is not read here")
    };
    Err(Misunderstood::new(415, "not-supported", what).help(&format!("send {}", known[0])))
}

fn prefer(parts: &Parts<'_>) -> Result<(), Misunderstood> {
    for part in
        parts.header("prefer").unwrap_or_default().split([',', ';']).map(str::trim).filter(|p| !p.is_empty())
    {
        match part {
            "return=minimal"
            | "return=representation"
            | "return=OperationOutcome"
            | "handling=strict"
            | "handling=lenient" => {}
            "respond-async" => return Err(not_offered("asynchronous answers are not offered")),
            other => return Err(bad(format!("`Prefer: {other}` is not understood"))),
        }
    }
    Ok(())
}

fn writes(parts: &Parts<'_>, pairs: &mut Vec<(String, String)>) -> Result<(), Misunderstood> {
    media(parts, &["application/fhir+json", "application/json", "application/json+fhir"])?;
    format(parts, pairs)?;
    none(pairs)
}

fn none(pairs: &[(String, String)]) -> Result<(), Misunderstood> {
    match pairs.first() {
        None => Ok(()),
        Some((name, _)) => Err(not_offered(format!("the parameter `{name}` is not offered here"))),
    }
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
    Ok(Shape { query: search.to_query() })
}

#[cfg(test)]
mod tests;
