//! A search as FHIR R4 defines it, each criterion resolved to the elements it reveals.

use std::fmt::Write as _;

use crate::definitions::r4;
use crate::interaction::Misunderstood;
use crate::search::{Kind, Parameter, parameter};

/// A type-level search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// The type searched.
    pub resource_type: String,
    /// What must hold.
    pub criteria: Vec<Criterion>,
    /// `_include` and `_revinclude`.
    pub includes: Vec<Include>,
    /// `_sort`, in order.
    pub sort: Vec<SortKey>,
    /// `_count`.
    pub count: Option<u32>,
    /// `_summary`.
    pub summary: Option<Summary>,
    /// `_elements`.
    pub elements: Vec<String>,
    /// `_total` as sent: none, estimate or accurate.
    pub total: Option<String>,
    /// `/Patient/1/Observation`: only records of this compartment.
    pub compartment: Option<Compartment>,
}

/// A compartment: what belongs to one record (R4, CompartmentDefinition).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compartment {
    /// `Patient`, `Encounter`, `Practitioner`, `RelatedPerson` or `Device`.
    pub resource_type: String,
    /// The logical id.
    pub id: String,
    /// The parameters of the searched type by any of which a record belongs to it.
    pub parameters: Vec<&'static str>,
}

impl Compartment {
    /// Records of `searched` that belong to a record.
    pub fn new(resource_type: &str, id: String, searched: &str) -> Result<Self, Misunderstood> {
        let parameters = crate::search::compartment(resource_type, searched);
        if parameters.is_empty() {
            let what = format!("{searched} does not belong to a compartment of {resource_type}");
            return Err(not_understood(what, "search the type itself"));
        }
        Ok(Self { resource_type: resource_type.to_owned(), id, parameters })
    }

    /// What is read to tell whether a record of `searched` belongs to it, as criteria that are not sent.
    pub fn criteria(&self, searched: &str) -> Result<Vec<Criterion>, Misunderstood> {
        let value = format!("{}/{}", self.resource_type, self.id);
        self.parameters.iter().map(|code| criterion(searched, code, &value)).collect()
    }
}

/// One criterion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Criterion {
    /// The name as sent, modifiers and chain included.
    pub name: String,
    /// The value as sent, OR-list included.
    pub value: String,
    /// What it searches by in the end.
    pub kind: Kind,
    /// The parameter in the end: `birthdate` of `subject:Patient.birthdate`.
    pub code: String,
    /// The modifier of the last part.
    pub modifier: Option<String>,
    /// Whether it goes through another record (chain or `_has`).
    pub hops: bool,
    /// For references: the types it may lead to.
    pub targets: Vec<&'static str>,
    /// What a caller learns by its answer.
    pub reveals: Vec<Revealed>,
}

/// An element that a criterion, a sort key or an include reads, with all its descendants.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revealed {
    /// The type it stands in.
    pub resource_type: String,
    /// `Observation.value:Quantity`, `Patient.name`.
    pub path: &'static str,
    /// Read in another record than the one searched for, whose patient nobody has proved.
    pub elsewhere: bool,
    /// Only leads from record to record.
    pub link: bool,
}

/// `_include` or `_revinclude`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Include {
    /// `_revinclude`.
    pub reverse: bool,
    /// `:iterate`.
    pub iterate: bool,
    /// The value as sent.
    pub value: String,
    /// The types of the records it brings.
    pub brings: Vec<String>,
    /// The reference it follows.
    pub reveals: Vec<Revealed>,
}

/// One part of `_sort`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortKey {
    /// As sent, `-` included.
    pub text: String,
    /// What the order tells.
    pub reveals: Vec<Revealed>,
}

/// `_summary`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Summary {
    True,
    False,
    Text,
    Data,
    Count,
}

impl Summary {
    const fn text(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::False => "false",
            Self::Text => "text",
            Self::Data => "data",
            Self::Count => "count",
        }
    }
}

/// Modifiers whose effect on what is revealed is known: they read the same elements.
const MODIFIERS: [&str; 13] = [
    "missing",
    "exact",
    "contains",
    "not",
    "text",
    "in",
    "not-in",
    "below",
    "above",
    "identifier",
    "of-type",
    "ofType",
    "type",
];

/// More hops than any sensible chain has.
const HOPS_MAX: usize = 4;

fn not_understood(what: String, help: &str) -> Misunderstood {
    Misunderstood::new(400, "not-supported", what).help(help)
}

fn closed(what: String, help: &str) -> Misunderstood {
    Misunderstood::new(403, "not-supported", what).help(help)
}

impl Search {
    /// From decoded name and value pairs, in the order they were sent.
    pub fn read(resource_type: &str, pairs: &[(String, String)]) -> Result<Self, Misunderstood> {
        let mut search = Self {
            resource_type: resource_type.to_owned(),
            criteria: Vec::new(),
            includes: Vec::new(),
            sort: Vec::new(),
            count: None,
            summary: None,
            elements: Vec::new(),
            total: None,
            compartment: None,
        };
        let mut seen: Vec<&str> = Vec::new();
        for (name, value) in pairs {
            let control = name.split(':').next().unwrap_or_default();
            let single = matches!(
                control,
                "_count"
                    | "_summary"
                    | "_elements"
                    | "_total"
                    | "_totalMethod"
                    | "_sort"
                    | "_format"
                    | "_pretty"
            );
            if single {
                if seen.contains(&control) {
                    return Err(not_understood(
                        format!("the parameter `{control}` stands twice"),
                        "send it once",
                    ));
                }
                if name != control {
                    return Err(not_understood(format!("`{name}` has a modifier"), "it takes none"));
                }
                seen.push(control);
            }
            match control {
                "_format" | "_pretty" => {}
                "_count" => {
                    let count = value.parse().map_err(|_| {
                        not_understood(format!("`_count={value}` is not a whole number"), "e.g. `_count=50`")
                    })?;
                    search.count = Some(count);
                }
                "_summary" => {
                    search.summary = Some(match value.as_str() {
                        "true" => Summary::True,
                        "false" => Summary::False,
                        "text" => Summary::Text,
                        "data" => Summary::Data,
                        "count" => Summary::Count,
                        _ => {
                            return Err(not_understood(
                                format!("`_summary={value}`"),
                                "true, false, text, data or count",
                            ));
                        }
                    });
                }
                "_elements" => search.elements = elements(resource_type, value)?,
                "_total" => {
                    if !matches!(value.as_str(), "none" | "estimate" | "accurate") {
                        return Err(not_understood(
                            format!("`_total={value}`"),
                            "none, estimate or accurate",
                        ));
                    }
                    search.total = Some(value.clone());
                }
                // Aidbox's way of asking for a total, which fhirpy sends to every server. It is understood and not sent
                // on: a total comes, or not, by the rules for `_count=0` and `_total`.
                "_totalMethod" => {
                    if !matches!(value.as_str(), "count" | "estimate" | "none") {
                        return Err(not_understood(
                            format!("`_totalMethod={value}`"),
                            "count, estimate or none",
                        ));
                    }
                }
                "_sort" => {
                    for key in value.split(',') {
                        search.sort.push(sort_key(resource_type, key)?);
                    }
                }
                "_include" | "_revinclude" => search.includes.push(include(resource_type, name, value)?),
                _ => search.criteria.push(criterion(resource_type, name, value)?),
            }
        }
        Ok(search)
    }

    /// The address for the upstream, rebuilt from what was understood: path and query.
    pub fn to_target(&self) -> String {
        let query = self.to_query();
        let mark = if query.is_empty() { "" } else { "?" };
        let within = self.compartment.as_ref().map(|c| format!("/{}/{}", c.resource_type, c.id));
        format!("{}/{}{mark}{query}", within.unwrap_or_default(), self.resource_type)
    }

    /// The query for the upstream, rebuilt from what was understood; the caller's own bytes are never sent on.
    pub fn to_query(&self) -> String {
        let mut query = String::new();
        let mut add = |name: &str, value: &str| {
            let separator = if query.is_empty() { "" } else { "&" };
            let _ = write!(query, "{separator}{}={}", encode(name), encode(value));
        };
        for criterion in &self.criteria {
            add(&criterion.name, &criterion.value);
        }
        for include in &self.includes {
            let name = if include.reverse { "_revinclude" } else { "_include" };
            let name = if include.iterate { format!("{name}:iterate") } else { name.to_owned() };
            add(&name, &include.value);
        }
        if !self.sort.is_empty() {
            let keys: Vec<&str> = self.sort.iter().map(|k| k.text.as_str()).collect();
            add("_sort", &keys.join(","));
        }
        if let Some(count) = self.count {
            add("_count", &count.to_string());
        }
        if let Some(summary) = self.summary {
            add("_summary", summary.text());
        }
        if !self.elements.is_empty() {
            add("_elements", &self.elements.join(","));
        }
        if let Some(total) = &self.total {
            add("_total", total);
        }
        query
    }

    /// Whether the upstream is asked for less than whole records.
    pub fn is_projected(&self) -> bool {
        !self.elements.is_empty()
            || matches!(self.summary, Some(Summary::True | Summary::Text | Summary::Data))
    }

    /// Asks for whole records. A server need not honour `_elements` and `_summary` (R4 search, 3.1.1.5.8), and a
    /// record that was cut down could have lost the very code that makes it sensitive.
    pub fn without_projection(&mut self) {
        if self.is_projected() {
            self.elements.clear();
            self.summary = None;
        }
    }

    /// The question itself, without how the answer is to be presented: equal questions have equal canonical forms.
    pub fn canonical(&self) -> String {
        let mut parts: Vec<String> = self
            .criteria
            .iter()
            .map(|c| {
                let mut values: Vec<&str> = split_or(&c.value);
                values.sort_unstable();
                values.dedup();
                format!("{}={}", encode(&c.name), encode(&values.join(",")))
            })
            .collect();
        parts.sort_unstable();
        parts.dedup();
        format!("{}?{}", self.resource_type, parts.join("&"))
    }

    /// Everything the search reveals besides the records themselves.
    pub fn reveals(&self) -> impl Iterator<Item = &Revealed> {
        let criteria = self.criteria.iter().flat_map(|c| &c.reveals);
        let sort = self.sort.iter().flat_map(|k| &k.reveals);
        let includes = self.includes.iter().flat_map(|i| &i.reveals);
        criteria.chain(sort).chain(includes)
    }
}

/// The parts of an OR-list; `\,` does not part.
pub fn split_or(value: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut from, mut escaped) = (0, false);
    for (place, c) in value.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&value[from..place]);
                from = place + 1;
            }
            _ => {}
        }
    }
    parts.push(&value[from..]);
    parts
}

/// Percent-encoding that leaves readable what may stand in a query.
pub fn encode(text: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~')
        .remove(b':')
        .remove(b'/')
        .remove(b',')
        .remove(b'|')
        .remove(b'$')
        .remove(b'*');
    percent_encoding::utf8_percent_encode(text, KEPT).to_string()
}

fn elements(resource_type: &str, value: &str) -> Result<Vec<String>, Misunderstood> {
    let known = r4().elements(resource_type);
    value
        .split(',')
        .map(|name| {
            if known.iter().any(|e| e.name == name) {
                Ok(name.to_owned())
            } else {
                let help = "name elements of the type itself, e.g. `_elements=code,subject`";
                Err(not_understood(format!("`{name}` is no element of {resource_type}"), help))
            }
        })
        .collect()
}

fn revealed(p: &Parameter, elsewhere: bool, link: bool) -> impl Iterator<Item = Revealed> {
    p.paths().map(move |path| Revealed { resource_type: p.base.to_owned(), path, elsewhere, link })
}

fn find(resource_type: &str, code: &str) -> Result<&'static Parameter, Misunderstood> {
    let Some(p) = parameter(resource_type, code) else {
        let what = format!("`{code}` is no search parameter of {resource_type} in FHIR R4");
        return Err(not_understood(what, "check the spelling; names are case-sensitive"));
    };
    if !p.is_resolvable() {
        let what = format!("`{code}` reads elements that cannot be told beforehand");
        return Err(closed(what, "search by parameters that name their elements"));
    }
    Ok(p)
}

fn sort_key(resource_type: &str, text: &str) -> Result<SortKey, Misunderstood> {
    let p = find(resource_type, text.strip_prefix('-').unwrap_or(text))?;
    Ok(SortKey { text: text.to_owned(), reveals: revealed(p, false, false).collect() })
}

fn include(resource_type: &str, name: &str, value: &str) -> Result<Include, Misunderstood> {
    let (control, modifier) = name.split_once(':').map_or((name, None), |(c, m)| (c, Some(m)));
    let iterate = match modifier {
        None => false,
        Some("iterate") => true,
        Some(_) => return Err(not_understood(format!("`{name}`"), "only `:iterate` is known")),
    };
    let reverse = control == "_revinclude";
    let mut parts = value.split(':');
    let (source, code, target) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    if parts.next().is_some() || value.contains('*') || code.is_none() || !r4().is_resource(source) {
        let help = "write `Type:parameter` or `Type:parameter:Target`; `*` is not taken";
        return Err(closed(format!("`{name}={value}`"), help));
    }
    let p = find(source, code.unwrap_or_default())?;
    if p.kind != Kind::Reference {
        return Err(not_understood(format!("`{value}` is no reference"), "include follows references"));
    }
    if target.is_some_and(|t| !p.targets().any(|known| known == t)) {
        return Err(not_understood(format!("`{value}` never leads there"), "check the target type"));
    }
    let brings: Vec<String> = if reverse {
        vec![source.to_owned()]
    } else {
        target.map_or_else(|| p.targets().map(str::to_owned).collect(), |t| vec![t.to_owned()])
    };
    if !iterate && !reverse && source != resource_type {
        return Err(not_understood(
            format!("`{value}` starts from another type"),
            "start from the type searched",
        ));
    }
    // What is included stands in the answer and is judged there; the link itself is what the request reveals.
    let elsewhere = source != resource_type;
    Ok(Include {
        reverse,
        iterate,
        value: value.to_owned(),
        brings,
        reveals: revealed(p, elsewhere, true).collect(),
    })
}

fn criterion(resource_type: &str, name: &str, value: &str) -> Result<Criterion, Misunderstood> {
    let mut found = Criterion {
        name: name.to_owned(),
        value: value.to_owned(),
        kind: Kind::Special,
        code: String::new(),
        modifier: None,
        hops: false,
        targets: Vec::new(),
        reveals: Vec::new(),
    };
    resolve(vec![resource_type.to_owned()], name, &mut found, 0)?;
    if found.value.is_empty() {
        return Err(not_understood(format!("`{name}` has no value"), "leave it out or give it one"));
    }
    check_value(&found)?;
    found.reveals.sort();
    found.reveals.dedup();
    Ok(found)
}

/// Follows a name through its hops. `bases` are the types it may stand on; all that know it are meant.
fn resolve(bases: Vec<String>, name: &str, found: &mut Criterion, depth: usize) -> Result<(), Misunderstood> {
    if depth > HOPS_MAX {
        return Err(closed(format!("`{}` has too many hops", found.name), "shorten the chain"));
    }
    if let Some(rest) = name.strip_prefix("_has:") {
        return reverse_chain(&bases, rest, found, depth);
    }
    if let Some((link, rest)) = name.split_once('.') {
        let (code, target) = link.split_once(':').map_or((link, None), |(c, t)| (c, Some(t)));
        let mut targets: Vec<String> = Vec::new();
        for base in &bases {
            let Ok(p) = find(base, code) else { continue };
            if p.kind != Kind::Reference {
                continue;
            }
            found.reveals.extend(revealed(p, depth > 0, true));
            targets.extend(p.targets().filter(|t| target.is_none_or(|want| want == *t)).map(str::to_owned));
        }
        if targets.is_empty() {
            let what = format!("`{}`: `{link}` is no reference that can be followed", found.name);
            return Err(not_understood(
                what,
                "name the reference and, where several types are possible, its target",
            ));
        }
        targets.sort_unstable();
        targets.dedup();
        found.hops = true;
        return resolve(targets, rest, found, depth + 1);
    }
    let (code, modifier) = name.split_once(':').map_or((name, None), |(c, m)| (c, Some(m)));
    if code.is_empty() || code.contains(['*', '[', ']', ';']) {
        return Err(not_understood(format!("`{}` is no parameter name", found.name), "check the spelling"));
    }
    let mut first = None;
    let mut fault = None;
    for base in &bases {
        match find(base, code) {
            Ok(p) => {
                found.reveals.extend(revealed(p, depth > 0, false));
                found.targets.extend(p.targets());
                first.get_or_insert(p);
            }
            Err(f) => {
                // In an ambiguous chain a type that does not know the parameter is not meant; one that knows it but
                // reads anything closes the whole.
                if f.status == 403 {
                    return Err(f);
                }
                fault.get_or_insert(f);
            }
        }
    }
    let Some(p) = first else {
        return Err(
            fault.unwrap_or_else(|| not_understood(format!("`{}`", found.name), "check the spelling"))
        );
    };
    if let Some(m) = modifier {
        let is_type = p.kind == Kind::Reference && p.targets().any(|t| t == m);
        if !is_type && (!MODIFIERS.contains(&m) || m == "type") {
            let what = format!("the modifier `:{m}` of `{}` is not understood", found.name);
            return Err(closed(
                what,
                "known: missing, exact, contains, not, text, in, not-in, below, above, identifier, of-type",
            ));
        }
        if is_type {
            found.targets.retain(|t| *t == m);
        }
        if m == "in" || m == "not-in" {
            return Err(closed(format!("the modifier `:{m}` is not offered"), "name the codes themselves"));
        }
    }
    found.targets.sort_unstable();
    found.targets.dedup();
    found.kind = p.kind;
    found.code = code.to_owned();
    found.modifier = modifier.map(str::to_owned);
    Ok(())
}

/// `_has:Type:reference:rest`.
fn reverse_chain(
    bases: &[String],
    rest: &str,
    found: &mut Criterion,
    depth: usize,
) -> Result<(), Misunderstood> {
    let mut parts = rest.splitn(3, ':');
    let (source, link, rest) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let (Some(link), Some(rest)) = (link, rest) else {
        return Err(not_understood(format!("`{}`", found.name), "write `_has:Type:reference:parameter`"));
    };
    if !r4().is_resource(source) {
        return Err(not_understood(
            format!("`{}`: `{source}` is no resource type", found.name),
            "check the spelling",
        ));
    }
    let p = find(source, link)?;
    if p.kind != Kind::Reference || !p.targets().any(|t| bases.iter().any(|b| b == t)) {
        let what = format!("`{}`: `{link}` of {source} does not lead here", found.name);
        return Err(not_understood(what, "name a reference to the type searched"));
    }
    found.reveals.extend(revealed(p, true, true));
    found.hops = true;
    resolve(vec![source.to_owned()], rest, found, depth + 1)
}

fn check_value(c: &Criterion) -> Result<(), Misunderstood> {
    let fault =
        |v: &str| not_understood(format!("`{}={v}` is no value of that kind", c.name), "check the format");
    if c.modifier.as_deref() == Some("missing") {
        return if matches!(c.value.as_str(), "true" | "false") { Ok(()) } else { Err(fault(&c.value)) };
    }
    for value in split_or(&c.value) {
        let rest = value
            .strip_prefix(['e', 'n', 'g', 'l', 's', 'a'])
            .and_then(|_| {
                ["eq", "ne", "gt", "ge", "lt", "le", "sa", "eb", "ap"]
                    .iter()
                    .find_map(|p| value.strip_prefix(p))
            })
            .unwrap_or(value);
        let good = match c.kind {
            Kind::Date => {
                rest.len() >= 4
                    && rest.bytes().take(4).all(|b| b.is_ascii_digit())
                    && rest.bytes().all(|b| b.is_ascii_digit() || b"-:TZ.+".contains(&b))
            }
            Kind::Number => rest.parse::<f64>().is_ok_and(f64::is_finite),
            Kind::Quantity => {
                rest.split('|').next().is_some_and(|n| n.parse::<f64>().is_ok_and(f64::is_finite))
            }
            _ => true,
        };
        if !good {
            return Err(fault(value));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
