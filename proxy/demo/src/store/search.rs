//! Searching: controls, matches, order, inclusion, and pages that go on from a kept result.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, PoisonError};

use serde_json::json;

use super::bundle::{self, Entry, Shape};
use super::criterion::{Criterion, Test, reference, unknown};
use super::index::Term;
use super::message::{Fault, Request, Response};
use super::parameters::{Kind, Parameter, Type, types};
use super::times::{http_date, instant};
use super::{Record, Shelves, Store, Version, missing};
use crate::ambient::uuid;

/// A kept result: what later pages are cut from.
#[derive(Clone)]
pub(super) struct Snapshot {
    matches: Vec<(&'static str, String)>,
    kind: Kinds,
    shape: Shape,
    includes: Vec<Include>,
    total: bool,
    bundle: &'static str,
}

/// Kept results, the oldest first; the oldest go when there are too many.
#[derive(Default)]
pub(super) struct Snapshots {
    by_id: HashMap<String, Arc<Snapshot>>,
    order: VecDeque<String>,
}

/// What the entries of a result are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kinds {
    Matches,
    /// The versions of one record: ids are version numbers.
    Versions,
}

#[derive(Clone)]
struct Include {
    reverse: bool,
    iterate: bool,
    source: &'static Type,
    /// `None` for `*`.
    parameter: Option<&'static Parameter>,
    target: Option<&'static Type>,
}

struct Controls {
    count: usize,
    only_count: bool,
    total: bool,
    shape: Shape,
    sort: Vec<(&'static Parameter, bool)>,
    includes: Vec<Include>,
}

const PAGE_DEFAULT: usize = 20;
const PAGE_MAX: usize = 500;
const SNAPSHOTS_MAX: usize = 1000;
const INCLUDES_MAX: usize = 2000;

impl Store {
    pub(super) fn search(
        &self,
        request: &Request,
        kind: &'static Type,
        parameters: Vec<(String, String)>,
    ) -> Result<Response, Fault> {
        let (controls, criteria) = controls(kind, &parameters)?;
        let shelves = self.read_shelves();
        let records = self.find(&shelves, kind, &criteria, &controls.sort);
        let matches: Vec<(&'static str, String)> =
            records.iter().map(|r| (kind.name, r.id.clone())).collect();
        let query: String = parameters
            .iter()
            .map(|(n, v)| format!("{}={}", encode(n), encode(v)))
            .collect::<Vec<_>>()
            .join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        let own = format!("{}/{}{mark}{query}", request.base_url, kind.name);
        if controls.only_count || controls.count == 0 {
            let head = json!({
                "resourceType": "Bundle",
                "id": self.uuid()?,
                "meta": {"lastUpdated": instant((self.ambient.now)())},
                "type": "searchset",
                "total": matches.len(),
                "link": [{"relation": "self", "url": own}],
            });
            return Ok(Response::json(200, &head));
        }
        let snapshot = Snapshot {
            matches,
            kind: Kinds::Matches,
            shape: controls.shape,
            includes: controls.includes,
            total: controls.total,
            bundle: "searchset",
        };
        self.first_page(request, &shelves, snapshot, controls.count, own)
    }

    pub(super) fn history(
        &self,
        request: &Request,
        kind: &'static Type,
        id: &str,
        parameters: &[(String, String)],
    ) -> Result<Response, Fault> {
        let mut count = PAGE_DEFAULT;
        for (name, value) in parameters {
            match name.as_str() {
                "_count" => count = page_size(value)?.max(1),
                "_format" | "_pretty" => {}
                _ => return Err(Fault::invalid(format!("unknown parameter `{name}` for a history"))),
            }
        }
        let shelves = self.read_shelves();
        let record = shelves.record(kind.name, id).ok_or_else(|| missing(kind, id))?;
        let versions = record.versions.iter().rev();
        let snapshot = Snapshot {
            matches: versions.map(|v| (kind.name, format!("{id}/_history/{}", v.number))).collect(),
            kind: Kinds::Versions,
            shape: Shape::Whole,
            includes: Vec::new(),
            total: true,
            bundle: "history",
        };
        let own = format!("{}/{}/{id}/_history", request.base_url, kind.name);
        self.first_page(request, &shelves, snapshot, count, own)
    }

    /// The current versions of what matches, for a conditional create.
    pub(super) fn matches(
        &self,
        kind: &'static Type,
        parameters: &[(String, String)],
    ) -> Result<Vec<Arc<Version>>, Fault> {
        let (_, criteria) = controls(kind, parameters)?;
        let shelves = self.read_shelves();
        let found = self.find(&shelves, kind, &criteria, &[]);
        Ok(found.into_iter().filter_map(|r| r.newest().cloned()).collect())
    }

    pub(super) fn page(&self, request: &Request, parameters: &[(String, String)]) -> Result<Response, Fault> {
        let get = |name: &str| parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let id = get("_getpages").unwrap_or_default();
        let number = |name: &str, default: usize| match get(name) {
            None => Ok(default),
            Some(v) => v.parse().map_err(|_| Fault::invalid(format!("`{v}` is not a number for `{name}`"))),
        };
        let offset = number("_getpagesoffset", 0)?;
        let count = number("_count", PAGE_DEFAULT)?.clamp(1, PAGE_MAX);
        let snapshot = {
            let kept = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
            kept.by_id.get(id).cloned()
        };
        let snapshot = snapshot.ok_or_else(|| {
            Fault::new(410, "processing", format!("search `{id}` does not exist and may have expired"))
        })?;
        let own = page_link(request, id, offset, count, snapshot.bundle);
        self.cut(request, &self.read_shelves(), &snapshot, id, offset, count, own)
    }

    fn first_page(
        &self,
        request: &Request,
        shelves: &Shelves,
        snapshot: Snapshot,
        count: usize,
        own: String,
    ) -> Result<Response, Fault> {
        let id = self.uuid()?;
        let snapshot = Arc::new(snapshot);
        if snapshot.matches.len() > count {
            let mut kept = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
            kept.by_id.insert(id.clone(), snapshot.clone());
            kept.order.push_back(id.clone());
            if kept.order.len() > SNAPSHOTS_MAX
                && let Some(oldest) = kept.order.pop_front()
            {
                kept.by_id.remove(&oldest);
            }
        }
        self.cut(request, shelves, &snapshot, &id, 0, count, own)
    }

    #[allow(clippy::too_many_arguments)]
    fn cut(
        &self,
        request: &Request,
        shelves: &Shelves,
        snapshot: &Snapshot,
        id: &str,
        offset: usize,
        count: usize,
        own: String,
    ) -> Result<Response, Fault> {
        let mut links = vec![json!({"relation": "self", "url": own})];
        let link = |relation: &str, offset: usize| json!({"relation": relation, "url": page_link(request, id, offset, count, snapshot.bundle)});
        if offset.saturating_add(count) < snapshot.matches.len() {
            links.push(link("next", offset + count));
        }
        if offset > 0 {
            links.push(link("previous", offset.saturating_sub(count)));
        }
        let page = snapshot.matches.iter().skip(offset).take(count);
        let entries = match snapshot.kind {
            Kinds::Matches => matched(request, shelves, snapshot, page),
            Kinds::Versions => versions(request, shelves, page),
        };
        let mut head = json!({
            "resourceType": "Bundle",
            "id": id,
            "meta": {"lastUpdated": instant((self.ambient.now)())},
            "type": snapshot.bundle,
        });
        if snapshot.total {
            head["total"] = json!(snapshot.matches.len());
        }
        head["link"] = json!(links);
        Ok(Response::fhir(200, bundle::write(&head, &entries)))
    }

    fn uuid(&self) -> Result<String, Fault> {
        (self.ambient.random)()
            .map(uuid)
            .ok_or_else(|| Fault::new(500, "exception", "the random source fails"))
    }

    fn find<'s>(
        &self,
        shelves: &'s Shelves,
        kind: &'static Type,
        criteria: &[Criterion],
        sort: &[(&'static Parameter, bool)],
    ) -> Vec<&'s Record> {
        let now = (self.ambient.now)().as_millisecond();
        let mut found = find(shelves, kind, criteria, now);
        if !sort.is_empty() {
            // Stable, so that equals stay in the order of their creation; what has no value comes last.
            found.sort_by(|a, b| {
                for (parameter, descending) in sort {
                    let (a, b) = (sort_key(a, parameter, *descending), sort_key(b, parameter, *descending));
                    let order = match (&a, &b) {
                        (Some(a), Some(b)) if *descending => b.partial_cmp(a),
                        (Some(a), Some(b)) => a.partial_cmp(b),
                        (a, b) => Some(b.is_some().cmp(&a.is_some())),
                    };
                    match order {
                        None | Some(std::cmp::Ordering::Equal) => {}
                        Some(order) => return order,
                    }
                }
                std::cmp::Ordering::Equal
            });
        }
        found
    }
}

fn find<'s>(shelves: &'s Shelves, kind: &'static Type, criteria: &[Criterion], now: i64) -> Vec<&'s Record> {
    let Some(shelf) = shelves.by_type.get(kind.name) else { return Vec::new() };
    let inner = |kind: &'static Type, criterion: &Criterion| -> BTreeSet<String> {
        find(shelves, kind, std::slice::from_ref(criterion), now)
            .into_iter()
            .map(|r| format!("{}/{}", kind.name, r.id))
            .collect()
    };
    let links = |record: &str, code: &str| -> Vec<String> {
        let terms =
            record.split_once('/').and_then(|(k, id)| shelves.record(k, id)).and_then(|r| r.index.get(code));
        terms.into_iter().flatten().filter_map(pointed).collect()
    };
    let tests: Vec<Test<'_>> = criteria.iter().map(|c| c.prepare(kind, &inner, &links)).collect();
    shelf
        .records
        .iter()
        .filter(|r| {
            let name = format!("{}/{}", kind.name, r.id);
            tests.iter().all(|t| t.meets(&name, &r.index, now))
        })
        .collect()
}

fn pointed(term: &Term) -> Option<String> {
    match term {
        Term::Link { kind, id, .. } if !id.is_empty() => Some(format!("{kind}/{id}")),
        _ => None,
    }
}

#[derive(PartialEq, PartialOrd)]
enum SortKey {
    Words(String),
    Number(f64),
    Moment(i64),
}

/// The least value of several, the greatest when descending.
fn sort_key(record: &Record, parameter: &Parameter, descending: bool) -> Option<SortKey> {
    let keys = record.index.get(parameter.code)?.iter().map(|term| match term {
        Term::Text { folded, .. } => SortKey::Words(folded.clone()),
        Term::Token { code, .. } => SortKey::Words(code.clone()),
        Term::Link { raw, .. } | Term::Uri(raw) => SortKey::Words(raw.clone()),
        Term::When(span) => SortKey::Moment(span.from),
        Term::Amount { value, .. } => SortKey::Number(*value),
    });
    keys.reduce(|a, b| if (b < a) == descending { a } else { b })
}

fn matched<'p>(
    request: &Request,
    shelves: &Shelves,
    snapshot: &Snapshot,
    page: impl Iterator<Item = &'p (&'static str, String)>,
) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut seen = BTreeSet::new();
    let mut fresh: Vec<(&'static str, String)> = Vec::new();
    let mut push = |kind: &'static str, id: &str, mode: &str| -> bool {
        if !seen.insert((kind, id.to_owned())) {
            return false;
        }
        let (Some(meta), Some(version)) =
            (types().get(kind), shelves.record(kind, id).and_then(Record::newest))
        else {
            return false;
        };
        entries.push(Entry {
            full_url: format!("{}/{kind}/{id}", request.base_url),
            resource: bundle::shape(meta, &version.bytes, &snapshot.shape),
            beside: vec![("search", json!({"mode": mode}))],
        });
        true
    };
    for (kind, id) in page {
        if push(kind, id, "match") {
            fresh.push((kind, id.clone()));
        }
    }
    let mut first = true;
    let mut left = INCLUDES_MAX;
    while !fresh.is_empty() && left > 0 {
        let mut next = Vec::new();
        for include in snapshot.includes.iter().filter(|i| first || i.iterate) {
            for (kind, id) in included(shelves, include, &fresh) {
                if left > 0 && push(kind, &id, "include") {
                    left -= 1;
                    next.push((kind, id));
                }
            }
        }
        fresh = next;
        first = false;
    }
    entries
}

fn included(
    shelves: &Shelves,
    include: &Include,
    from: &[(&'static str, String)],
) -> Vec<(&'static str, String)> {
    let codes: Vec<&Parameter> = match include.parameter {
        Some(parameter) => vec![parameter],
        None => include.source.parameters.iter().filter(|p| p.kind == Kind::Reference).collect(),
    };
    let links = |record: &Record| -> Vec<(&'static str, String)> {
        codes
            .iter()
            .flat_map(|p| record.index.get(p.code).into_iter().flatten())
            .filter_map(|term| match term {
                Term::Link { kind, id, .. } => types().get(kind.as_str()).map(|t| (t.name, id.clone())),
                _ => None,
            })
            .filter(|(kind, _)| include.target.is_none_or(|t| t.name == *kind))
            .collect()
    };
    if include.reverse {
        let Some(shelf) = shelves.by_type.get(include.source.name) else { return Vec::new() };
        let wanted: BTreeSet<&(&'static str, String)> = from.iter().collect();
        let points = |record: &&Record| links(record).iter().any(|l| wanted.contains(l));
        shelf.records.iter().filter(points).map(|r| (include.source.name, r.id.clone())).collect()
    } else {
        let sources = from.iter().filter(|(kind, _)| *kind == include.source.name);
        sources.filter_map(|(kind, id)| shelves.record(kind, id)).flat_map(links).collect()
    }
}

fn versions<'p>(
    request: &Request,
    shelves: &Shelves,
    page: impl Iterator<Item = &'p (&'static str, String)>,
) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (kind, place) in page {
        let Some((id, number)) = place.split_once("/_history/") else { continue };
        let record = shelves.record(kind, id);
        let Some(version) = record.and_then(|r| r.versions.iter().find(|v| v.number.to_string() == number))
        else {
            continue;
        };
        let (method, status) = if version.number == 1 { ("POST", "201 Created") } else { ("PUT", "200 OK") };
        let url = if version.number == 1 { (*kind).to_owned() } else { format!("{kind}/{id}") };
        entries.push(Entry {
            full_url: format!("{}/{kind}/{id}", request.base_url),
            resource: version.bytes.clone(),
            beside: vec![
                ("request", json!({"method": method, "url": url})),
                (
                    "response",
                    json!({"status": status, "etag": version.etag(), "lastModified": iso(version.updated)}),
                ),
            ],
        });
    }
    entries
}

fn iso(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| http_date(millis), instant)
}

fn controls(
    kind: &'static Type,
    parameters: &[(String, String)],
) -> Result<(Controls, Vec<Criterion>), Fault> {
    let mut controls = Controls {
        count: PAGE_DEFAULT,
        only_count: false,
        total: true,
        shape: Shape::Whole,
        sort: Vec::new(),
        includes: Vec::new(),
    };
    let mut criteria = Vec::new();
    for (name, value) in parameters {
        let wrong = || Fault::invalid(format!("`{value}` is not understood for `{name}`"));
        match name.as_str() {
            "_format" | "_pretty" => {}
            "_count" => controls.count = page_size(value)?,
            "_total" => match value.as_str() {
                "none" => controls.total = false,
                "estimate" | "accurate" => {}
                _ => return Err(wrong()),
            },
            "_summary" => match value.as_str() {
                "count" => controls.only_count = true,
                "false" => {}
                "true" => controls.shape = Shape::Summary,
                "text" => controls.shape = Shape::Text,
                "data" => controls.shape = Shape::Data,
                _ => return Err(wrong()),
            },
            "_elements" => {
                let names =
                    value.split(',').map(|n| n.trim().rsplit('.').next().unwrap_or_default().to_owned());
                controls.shape = Shape::Elements(names.filter(|n| !n.is_empty()).collect());
            }
            "_sort" => {
                for key in value.split(',') {
                    let (code, descending) = key.strip_prefix('-').map_or((key, false), |k| (k, true));
                    controls
                        .sort
                        .push((kind.parameter(code).ok_or_else(|| unknown(kind, code))?, descending));
                }
            }
            _ if name.starts_with("_include") || name.starts_with("_revinclude") => {
                controls.includes.push(include(kind, name, value)?);
            }
            _ => criteria.push(Criterion::parse(kind, name, value)?),
        }
    }
    Ok((controls, criteria))
}

fn include(kind: &'static Type, name: &str, value: &str) -> Result<Include, Fault> {
    let (word, modifier) = name.split_once(':').map_or((name, None), |(w, m)| (w, Some(m)));
    let iterate = match modifier {
        None => false,
        Some("iterate" | "recurse") => true,
        Some(other) => return Err(Fault::invalid(format!("modifier `:{other}` does not go with `{word}`"))),
    };
    let reverse = match word {
        "_include" => false,
        "_revinclude" => true,
        _ => return Err(unknown(kind, word)),
    };
    let type_of = |name: &str| {
        types().get(name).ok_or_else(|| Fault::invalid(format!("unknown type `{name}` in `{value}`")))
    };
    if value == "*" && !reverse {
        return Ok(Include { reverse, iterate, source: kind, parameter: None, target: None });
    }
    let mut parts = value.split(':');
    let (source, code) = match (parts.next(), parts.next()) {
        (Some(source), Some(code)) => (type_of(source)?, code),
        _ => {
            return Err(Fault::invalid(format!(
                "`{value}` is not of the form `<type>:<reference>` for `{word}`"
            )));
        }
    };
    let parameter = if code == "*" { None } else { Some(reference(source, code)?) };
    let target = parts.next().map(type_of).transpose()?;
    Ok(Include { reverse, iterate, source, parameter, target })
}

fn page_size(value: &str) -> Result<usize, Fault> {
    value
        .parse::<usize>()
        .map(|n| n.min(PAGE_MAX))
        .map_err(|_| Fault::invalid(format!("`{value}` is not a number for `_count`")))
}

fn page_link(request: &Request, id: &str, offset: usize, count: usize, bundle: &str) -> String {
    format!(
        "{}?_getpages={id}&_getpagesoffset={offset}&_count={count}&_bundletype={bundle}",
        request.base_url
    )
}

/// Percent-encodes what does not stand for itself in a query.
fn encode(text: &str) -> String {
    const KEEP: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~')
        .remove(b':')
        .remove(b',')
        .remove(b'/');
    percent_encoding::utf8_percent_encode(text, KEEP).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inclusion_is_written_as_type_and_reference() {
        let patient = &types()["Patient"];
        assert!(include(patient, "_include", "Patient").is_err());
        assert!(include(patient, "_include", "Patient:name").is_err());
        assert!(include(patient, "_include:always", "Patient:link").is_err());
        assert!(include(patient, "_revinclude", "*").is_err());
        assert!(include(patient, "_revinclude:iterate", "Observation:patient:Patient").unwrap().iterate);
    }

    #[test]
    fn links_encode_what_would_end_a_value() {
        assert_eq!(encode("a&b=c d|é"), "a%26b%3Dc%20d%7C%C3%A9");
        assert_eq!(encode("Patient/x,y:z"), "Patient/x,y:z");
    }
}
