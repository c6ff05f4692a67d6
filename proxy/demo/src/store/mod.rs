//! A small FHIR R4 server in memory that answers as the common ones do, HAPI above all; it protects nothing.
//!
//! It reads and writes no file and asks nobody for a token. Drape stands in front of it as it would stand in front of
//! any other. What it does: read, vread, history of an instance, create (with `If-None-Exist`), update (with
//! `If-Match`), search by GET and POST, paging, `/metadata`. What it does not do: delete, patch, batch, operations,
//! XML.

mod bundle;
mod capability;
mod criterion;
mod index;
mod message;
mod parameters;
mod search;
mod times;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde_json::{Map, Value, json};

use crate::ambient::Ambient;
use crate::exact;
use crate::population::Resource;
use index::{Index, index, target};
pub use message::{Fault, Request, Response};
use parameters::{Type, types};
use search::Snapshots;
use times::{Span, http_date, instant};

/// The server.
pub struct Store {
    ambient: Ambient,
    started: String,
    shelves: RwLock<Shelves>,
    snapshots: Mutex<Snapshots>,
}

/// What a resource could not be loaded for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("resource `{resource}` cannot be loaded: {why}")]
pub struct LoadFault {
    /// `Type/id`.
    pub resource: String,
    /// What is wrong with it.
    pub why: String,
}

#[derive(Default)]
struct Shelves {
    by_type: BTreeMap<&'static str, Shelf>,
    /// The last number given to a new resource.
    last_id: u64,
}

#[derive(Default)]
struct Shelf {
    /// In the order of their creation.
    records: Vec<Record>,
    by_id: HashMap<String, usize>,
}

struct Record {
    id: String,
    /// The oldest first; never empty.
    versions: Vec<Arc<Version>>,
    /// Of the newest version.
    index: Index,
}

/// One version as it is sent.
struct Version {
    number: u64,
    updated: i64,
    bytes: Vec<u8>,
}

impl Version {
    fn etag(&self) -> String {
        format!("W/\"{}\"", self.number)
    }
}

impl Record {
    fn newest(&self) -> Option<&Arc<Version>> {
        self.versions.last()
    }
}

impl Shelves {
    /// With these resources.
    fn filled(resources: Vec<Resource>, now: jiff::Timestamp) -> Result<Shelves, LoadFault> {
        let mut shelves = Shelves { by_type: BTreeMap::new(), last_id: 1000 };
        for resource in resources {
            let name = format!("{}/{}", resource.resource_type, resource.id);
            let fault = |why: String| LoadFault { resource: name.clone(), why };
            let kind = types()
                .get(resource.resource_type.as_str())
                .ok_or_else(|| fault("the store does not hold this type".into()))?;
            let value = exact::parse(&resource.json).map_err(fault)?;
            let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
            if text("resourceType") != kind.name || text("id") != resource.id || !is_id(&resource.id) {
                return Err(fault("its JSON says another type or id, or the id is no FHIR id".into()));
            }
            let number = shelves.record(kind.name, &resource.id).map_or(1, |r| r.versions.len() as u64 + 1);
            let updated = value.pointer("/meta/lastUpdated").and_then(Value::as_str);
            let updated = updated.and_then(Span::parse).map_or(now.as_millisecond(), |s| s.from);
            let stamped = stamp(kind, &value, &resource.id, number, value.pointer("/meta/lastUpdated"), now);
            let version = Version { number, updated, bytes: exact::write(&stamped) };
            shelves.keep(kind, &resource.id, version, &stamped);
        }
        Ok(shelves)
    }

    fn record(&self, kind: &str, id: &str) -> Option<&Record> {
        let shelf = self.by_type.get(kind)?;
        shelf.by_id.get(id).and_then(|at| shelf.records.get(*at))
    }

    /// Puts a version on its shelf; `resource` already says its id and version.
    fn keep(&mut self, kind: &'static Type, id: &str, version: Version, resource: &Value) -> Arc<Version> {
        let shelf = self.by_type.entry(kind.name).or_default();
        let version = Arc::new(version);
        let index = index(kind, resource);
        match shelf.by_id.get(id).and_then(|at| shelf.records.get_mut(*at)) {
            Some(record) => {
                record.versions.push(version.clone());
                record.index = index;
            }
            None => {
                shelf.by_id.insert(id.to_owned(), shelf.records.len());
                shelf.records.push(Record { id: id.to_owned(), versions: vec![version.clone()], index });
            }
        }
        version
    }
}

impl Store {
    /// A store with these resources, on the machine's clock.
    ///
    /// # Errors
    /// Where a resource is of a type the store does not hold, or its JSON is not that resource.
    pub fn new(resources: Vec<Resource>) -> Result<Store, LoadFault> {
        Self::with(resources, Ambient::system())
    }

    /// A store with these resources. Of resources with the same type and id the later ones are later versions.
    ///
    /// # Errors
    /// As [`Store::new`].
    pub fn with(resources: Vec<Resource>, ambient: Ambient) -> Result<Store, LoadFault> {
        let now = (ambient.now)();
        let shelves = RwLock::new(Shelves::filled(resources, now)?);
        Ok(Store { ambient, started: instant(now), shelves, snapshots: Mutex::new(Snapshots::default()) })
    }

    /// Holds these resources instead of what was held before.
    ///
    /// # Errors
    /// As [`Store::new`]; then everything stays as it was.
    pub fn refill(&self, resources: Vec<Resource>) -> Result<(), LoadFault> {
        let filled = Shelves::filled(resources, (self.ambient.now)())?;
        *self.shelves.write().unwrap_or_else(PoisonError::into_inner) = filled;
        *self.snapshots.lock().unwrap_or_else(PoisonError::into_inner) = Snapshots::default();
        Ok(())
    }

    /// Answers a request.
    pub fn handle(&self, request: &Request) -> Response {
        let mut response = self.route(request).unwrap_or_else(|fault| fault.response());
        if request.method == "HEAD" {
            response.body.clear();
        }
        response
    }

    /// How many resources of a type there are.
    pub fn count(&self, resource_type: &str) -> usize {
        self.read_shelves().by_type.get(resource_type).map_or(0, |s| s.records.len())
    }

    fn read_shelves(&self) -> std::sync::RwLockReadGuard<'_, Shelves> {
        self.shelves.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn route(&self, request: &Request) -> Result<Response, Fault> {
        let (path, query) = request.path_and_query.split_once('?').unwrap_or((&request.path_and_query, ""));
        let parameters = message::pairs(query)?;
        acceptable(request, &parameters)?;
        let path = percent_encoding::percent_decode_str(path)
            .decode_utf8()
            .map_err(|_| Fault::invalid("the path does not decode to UTF-8"))?;
        let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
        let method = if request.method == "HEAD" { "GET" } else { request.method.as_str() };
        match (method, segments.as_slice()) {
            ("GET", ["metadata"]) => {
                Ok(Response::json(200, &capability::statement(&request.base_url, &self.started)))
            }
            ("GET", []) if parameters.iter().any(|(n, _)| n == "_getpages") => {
                self.page(request, &parameters)
            }
            ("GET", [kind]) => self.search(request, known(kind)?, parameters),
            ("POST", [kind, "_search"]) => {
                let kind = known(kind)?;
                let form = request.header("content-type").unwrap_or_default();
                if !form.starts_with("application/x-www-form-urlencoded") {
                    return Err(unsupported(form));
                }
                let body = std::str::from_utf8(&request.body)
                    .map_err(|_| Fault::invalid("the form is not UTF-8"))?;
                let mut parameters = parameters;
                parameters.extend(message::pairs(body)?);
                self.search(request, kind, parameters)
            }
            ("GET", [kind, id]) => self.read(request, known(kind)?, id),
            ("GET", [kind, id, "_history"]) => self.history(request, known(kind)?, id, &parameters),
            ("GET", [kind, id, "_history", number]) => self.vread(known(kind)?, id, number),
            ("POST", [kind]) => self.create(request, known(kind)?),
            ("PUT", [kind, id]) => self.update(request, known(kind)?, id),
            _ => Err(Fault::new(
                405,
                "not-supported",
                format!("`{} /{}` is not supported", request.method, segments.join("/")),
            )),
        }
    }

    fn read(&self, request: &Request, kind: &Type, id: &str) -> Result<Response, Fault> {
        let shelves = self.read_shelves();
        let version =
            shelves.record(kind.name, id).and_then(Record::newest).ok_or_else(|| missing(kind, id))?;
        let unchanged = match (request.header("if-none-match"), request.header("if-modified-since")) {
            (Some(tags), _) => tags.split(',').any(|t| t.trim() == version.etag()),
            (None, Some(date)) => date == http_date(version.updated),
            (None, None) => false,
        };
        if unchanged {
            return Ok(Response::fhir(304, Vec::new()).with("etag", version.etag()));
        }
        Ok(answer(200, version))
    }

    fn vread(&self, kind: &Type, id: &str, number: &str) -> Result<Response, Fault> {
        let shelves = self.read_shelves();
        let record = shelves.record(kind.name, id).ok_or_else(|| missing(kind, id))?;
        let version = record.versions.iter().find(|v| v.number.to_string() == number).ok_or_else(|| {
            Fault::new(404, "not-found", format!("version `{number}` of `{}/{id}` is not known", kind.name))
        })?;
        Ok(answer(200, version))
    }

    fn create(&self, request: &Request, kind: &'static Type) -> Result<Response, Fault> {
        let value = body(request, kind)?;
        if let Some(condition) = request.header("if-none-exist") {
            let found = self.matches(kind, &message::pairs(condition.trim_start_matches('?'))?)?;
            match found.as_slice() {
                [] => {}
                [only] => return Ok(answer(200, only)),
                many => {
                    let what = format!("`If-None-Exist` matches {} resources, not one", many.len());
                    return Err(Fault::new(412, "multiple-matches", what));
                }
            }
        }
        let mut shelves = self.shelves.write().unwrap_or_else(PoisonError::into_inner);
        references_exist(&shelves, &value, kind.name)?;
        shelves.last_id += 1;
        let id = shelves.last_id.to_string();
        let version = self.write(&mut shelves, kind, &id, 1, &value);
        Ok(self.written(request, 201, kind, &id, &version))
    }

    fn update(&self, request: &Request, kind: &'static Type, id: &str) -> Result<Response, Fault> {
        let value = body(request, kind)?;
        if value.get("id").and_then(Value::as_str) != Some(id) {
            return Err(Fault::invalid(format!("the body must have the id `{id}` of the URL")));
        }
        if !is_id(id) {
            return Err(Fault::invalid(format!("`{id}` is not a FHIR id")));
        }
        let mut shelves = self.shelves.write().unwrap_or_else(PoisonError::into_inner);
        let stored = shelves.record(kind.name, id).and_then(Record::newest).cloned();
        if let Some(wanted) = request.header("if-match") {
            // 409 as HAPI says, where the standard has 412.
            let current = stored.as_ref().map(|v| v.etag());
            if current.as_deref() != Some(wanted) {
                let current = current.unwrap_or_else(|| "none".into());
                let what =
                    format!("`If-Match: {wanted}` does not name the current version, which is {current}");
                return Err(Fault::new(409, "conflict", what));
            }
        }
        references_exist(&shelves, &value, kind.name)?;
        match stored {
            None if id.bytes().all(|b| b.is_ascii_digit()) => {
                Err(Fault::invalid(format!("`{id}` is all digits: such ids are given by the server")))
            }
            None => {
                let version = self.write(&mut shelves, kind, id, 1, &value);
                Ok(self.written(request, 201, kind, id, &version))
            }
            Some(stored) => {
                let now = (self.ambient.now)();
                // Nothing new makes no new version.
                let before = exact::parse(&stored.bytes).unwrap_or(Value::Null);
                let updated = before.pointer("/meta/lastUpdated");
                let unchanged = before == stamp(kind, &value, id, stored.number, updated, now);
                let version = if unchanged {
                    stored
                } else {
                    self.write(&mut shelves, kind, id, stored.number + 1, &value)
                };
                Ok(self.written(request, 200, kind, id, &version))
            }
        }
    }

    fn write(
        &self,
        shelves: &mut Shelves,
        kind: &'static Type,
        id: &str,
        number: u64,
        value: &Value,
    ) -> Arc<Version> {
        let now = (self.ambient.now)();
        let stamped = stamp(kind, value, id, number, None, now);
        let version = Version { number, updated: now.as_millisecond(), bytes: exact::write(&stamped) };
        shelves.keep(kind, id, version, &stamped)
    }

    fn written(&self, request: &Request, status: u16, kind: &Type, id: &str, version: &Version) -> Response {
        let minimal = request
            .header("prefer")
            .is_some_and(|p| p.split(&[',', ';']).any(|p| p.trim() == "return=minimal"));
        let mut response = answer(status, version);
        if minimal {
            response.body.clear();
            response.headers.retain(|(name, _)| *name != "content-type");
        }
        response
            .with("location", format!("{}/{}/{id}/_history/{}", request.base_url, kind.name, version.number))
    }
}

fn answer(status: u16, version: &Version) -> Response {
    Response::fhir(status, version.bytes.clone())
        .with("etag", version.etag())
        .with("last-modified", http_date(version.updated))
}

/// The resource with its type, id and meta in front, the rest as it came.
fn stamp(
    kind: &Type,
    value: &Value,
    id: &str,
    number: u64,
    updated: Option<&Value>,
    now: jiff::Timestamp,
) -> Value {
    let mut stamped = Map::new();
    stamped.insert("resourceType".into(), json!(kind.name));
    stamped.insert("id".into(), json!(id));
    let mut meta = Map::new();
    meta.insert("versionId".into(), json!(number.to_string()));
    meta.insert("lastUpdated".into(), updated.cloned().unwrap_or_else(|| json!(instant(now))));
    if let Some(given) = value.get("meta").and_then(Value::as_object) {
        for (key, member) in given.iter().filter(|(k, _)| !["versionId", "lastUpdated"].contains(&k.as_str()))
        {
            meta.insert(key.clone(), member.clone());
        }
    }
    stamped.insert("meta".into(), Value::Object(meta));
    for (key, member) in value.as_object().into_iter().flatten() {
        if !["resourceType", "id", "meta"].contains(&key.as_str()) {
            stamped.insert(key.clone(), member.clone());
        }
    }
    Value::Object(stamped)
}

fn body(request: &Request, kind: &Type) -> Result<Value, Fault> {
    let form = request.header("content-type").unwrap_or_default();
    let media = form.split(';').next().unwrap_or_default().trim();
    if !["application/fhir+json", "application/json", "application/json+fhir"].contains(&media) {
        return Err(unsupported(form));
    }
    let value = exact::parse(&request.body).map_err(Fault::invalid)?;
    match value.get("resourceType").and_then(Value::as_str) {
        Some(name) if name == kind.name => Ok(value),
        Some(name) => Err(Fault::invalid(format!("the body is a `{name}`, the URL says `{}`", kind.name))),
        None => Err(Fault::invalid("the body has no `resourceType`")),
    }
}

fn known(name: &str) -> Result<&'static Type, Fault> {
    types()
        .get(name)
        .ok_or_else(|| Fault::new(404, "not-supported", format!("unknown resource type `{name}`")))
}

fn missing(kind: &Type, id: &str) -> Fault {
    Fault::new(404, "not-found", format!("resource `{}/{id}` is not known", kind.name))
}

fn unsupported(form: &str) -> Fault {
    Fault::new(415, "not-supported", format!("content type `{form}` is not supported here"))
}

fn acceptable(request: &Request, parameters: &[(String, String)]) -> Result<(), Fault> {
    let format = parameters.iter().find(|(n, _)| n == "_format").map(|(_, v)| v.as_str());
    let fits = match (format, request.header("accept")) {
        (Some(format), _) => format.contains("json"),
        (None, Some(accept)) => {
            accept.contains("json") || accept.contains("*/*") || accept.contains("application/*")
        }
        (None, None) => true,
    };
    if fits { Ok(()) } else { Err(Fault::new(406, "not-supported", "this server answers in JSON only")) }
}

/// Relative references must point to something, as HAPI demands.
fn references_exist(shelves: &Shelves, value: &Value, path: &str) -> Result<(), Fault> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|i| references_exist(shelves, i, path)),
        Value::Object(members) => {
            if let Some((kind, id)) = value
                .get("reference")
                .and_then(Value::as_str)
                .filter(|r| !r.contains(':') && !r.starts_with('#'))
                .and_then(target)
                && shelves.record(kind, id).is_none()
            {
                return Err(Fault::invalid(format!(
                    "resource `{kind}/{id}` is not known, referred to in `{path}`"
                )));
            }
            members
                .iter()
                .try_for_each(|(key, member)| references_exist(shelves, member, &format!("{path}.{key}")))
        }
        _ => Ok(()),
    }
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}
