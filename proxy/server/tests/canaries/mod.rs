//! Makes records of any type with every element filled in, each value a canary of its own, and finds canaries again in
//! whatever way they are written.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use drape_fhir::definitions::{Element, r4};
use drape_view::catalogue::{Assigned, Edge, Fact, Kind, NodeId};
use drape_view::{Catalogue, Category, Plan, Treatment};

use crate::shielding::{PATIENT, UP};

/// One value that can be told from all others.
pub(crate) struct Canary {
    /// It may be seen only where all of these are shown.
    pub(crate) needs: Vec<Category>,
    /// The data types it stands in, with the category by which each is treated as one thing.
    pub(crate) within: Vec<(Category, &'static str)>,
    /// Where it stands, for messages.
    pub(crate) path: String,
    /// Which of the entry's records it belongs to.
    pub(crate) place: usize,
    /// Whether it must be seen where its categories are shown; else it only must not be seen where they are not.
    pub(crate) certain: bool,
}

impl Canary {
    /// Whether `plan` lets it be seen.
    pub(crate) fn may_show(&self, plan: &Plan) -> bool {
        self.needs.iter().all(|c| plan.treatment(*c) == Treatment::Show)
    }

    /// Whether `plan` leaves it no way to be hidden.
    pub(crate) fn must_show(&self, plan: &Plan) -> bool {
        let whole = self.within.iter().all(|(category, kind)| match plan.treatment(*category) {
            Treatment::Show | Treatment::Redact => true,
            // Only some types are replaced as one thing.
            Treatment::Generalize(_) => *kind != "Age",
            Treatment::Pseudonymize => *kind != "Identifier",
            Treatment::Encrypt => false,
        });
        // What only gives shape goes with the content around it; an address goes with its `use`; a profile's claim with
        // whatever else goes. Without its codes from fixed lists no part of a record is valid.
        let shape = self.needs.contains(&Category::Structure) && !self.path.contains("(definition)");
        let address = self.within.iter().any(|(_, kind)| *kind == "Address");
        let profile = self.path.contains(".meta.profile");
        let part =
            self.path.matches('.').count() > 1 && plan.treatment(Category::Structure) != Treatment::Show;
        // The id of an element goes with the element.
        let numbered = self.path.ends_with(".id") && self.path.matches('.').count() > 1;
        self.certain
            && self.may_show(plan)
            && whole
            && !shape
            && !numbered
            && !profile
            && !part
            && (!address || plan.treatment(Category::Region) == Treatment::Show)
    }
}

/// A record as text, and its canaries.
pub(crate) struct Made {
    pub(crate) text: String,
    pub(crate) canaries: Vec<Canary>,
}

/// How a record is filled.
#[derive(Clone, Copy)]
pub(crate) struct Filling {
    /// Which of several choices is taken.
    pub(crate) turn: usize,
    /// The first canary's number, so that records in one Bundle share none.
    pub(crate) from: usize,
    /// Whether modifier extensions stand in it: then no reduced view may have it.
    pub(crate) modifiers: bool,
}

const DEPTH_MAX: usize = 3;
/// No canary is made beyond this many, so that the largest types stay within reason.
const CANARIES_MAX: usize = 1_200;

/// Elements that FHIR's rules allow only beside others.
const FRAGILE: [&str; 15] = [
    "Composition.section",
    "Condition.abatement",
    "Condition.evidence",
    "Condition.stage",
    "CoverageEligibilityResponse.insurance.item",
    "Goal.target",
    "Immunization.education",
    "MeasureReport.group.stratifier.stratum",
    "MedicationAdministration.dosage",
    "MolecularSequence.referenceSeq",
    "Observation.component.referenceRange",
    "Observation.referenceRange",
    "Patient.contact",
    "RequestGroup.action",
    "ServiceRequest.orderDetail",
];

struct Maker<'c> {
    catalogue: &'c Catalogue,
    listed: &'c [(String, Category)],
    filling: Filling,
    out: String,
    canaries: Vec<Canary>,
    path: Vec<String>,
    place: usize,
}

/// What the elements of an object inherit from where they stand.
#[derive(Clone)]
struct Around {
    needs: Vec<Category>,
    within: Vec<(Category, &'static str)>,
    /// The category of the innermost element; none in the record itself.
    element: Option<Category>,
    certain: bool,
    recent: bool,
    depth: usize,
}

/// The URLs of the listed extensions.
pub(crate) fn listed(yaml: &str) -> Vec<(String, Category)> {
    let lines = yaml.lines().skip_while(|l| *l != "extensions:").skip(1);
    let pairs = lines.filter_map(|l| l.trim().rsplit_once(": "));
    let all: Vec<_> = pairs.map(|(url, name)| (url.to_owned(), Category::parse(name).unwrap())).collect();
    assert!(all.len() > 5);
    all
}

/// How many fillings it takes until every choice of a type has had its turn; extensions, whose values can have any
/// type, do not count.
pub(crate) fn turns(resource_type: &'static str) -> usize {
    fn widest(path: &'static str, depth: usize) -> usize {
        let elements = r4().elements(path).iter().filter(|e| !e.types().any(|t| t == "Extension"));
        let of = |e: &Element| {
            let own = e.types().count();
            let inner = e
                .types()
                .next()
                .filter(|_| depth < DEPTH_MAX)
                .map_or(0, |t| widest(r4().children_of(e, t), depth + 1));
            own.max(inner)
        };
        elements.map(of).max().unwrap_or(1)
    }
    widest(resource_type, 0)
}

/// A record of that type with everything in it.
pub(crate) fn make(
    catalogue: &Catalogue,
    listed: &[(String, Category)],
    resource_type: &'static str,
    filling: Filling,
) -> Made {
    let mut maker = Maker {
        catalogue,
        listed,
        filling,
        out: String::new(),
        canaries: Vec::new(),
        path: Vec::new(),
        place: 0,
    };
    maker.resource(resource_type, None);
    Made { text: maker.out, canaries: maker.canaries }
}

impl Maker<'_> {
    fn space(&mut self) {
        // Some white space, here and there, so that byte-for-byte means something.
        match self.out.len() % 7 {
            0 => self.out.push(' '),
            1 => self.out.push_str("\n  "),
            _ => {}
        }
    }

    fn key(&mut self, name: &str) {
        if !self.out.ends_with('{') {
            self.out.push(',');
            self.space();
        }
        write!(self.out, "\"{name}\":").unwrap();
        self.space();
    }

    fn resource(&mut self, name: &'static str, contained: Option<&str>) {
        let place = self.place;
        write!(self.out, "{{\"resourceType\":\"{name}\"").unwrap();
        let note = if self.catalogue.is_definition(name) { "(definition)" } else { "" };
        self.path.push(format!("{name}{note}"));
        let node = self.catalogue.root(name).unwrap();
        let around = Around {
            needs: vec![],
            within: vec![],
            element: None,
            certain: contained.is_none(),
            recent: false,
            depth: 0,
        };
        if let Some(id) = contained {
            self.key("id");
            write!(self.out, "\"{id}\"").unwrap();
        }
        self.members(name, node, &around, contained.is_some());
        self.path.pop();
        self.place = place;
        self.out.push('}');
    }

    fn members(&mut self, path: &'static str, node: NodeId, around: &Around, contained: bool) {
        for (number, element) in r4().elements(path).iter().enumerate() {
            let names: Vec<_> = element.json_names().collect();
            let (name, data_type) = &names[(self.filling.turn + number) % names.len()];
            let Some(edge) = self.catalogue.edge(node, name).copied() else { continue };
            let coded = matches!(path, "CodeableConcept" | "Coding");
            let spent = self.canaries.len() > CANARIES_MAX && around.depth < 2;
            let deep = around.depth > DEPTH_MAX && *data_type == "Extension";
            if contained && (around.depth == 0 && name == "id" || around.depth > 1 && !coded) || spent || deep
            {
                continue;
            }
            self.path.push(name.clone());
            match edge.kind {
                Kind::Resource if name == "contained" && around.depth == 0 && !contained => self.contained(),
                Kind::Resource => {}
                Kind::Primitive if element.content_reference.is_none() => {
                    self.primitive(element, name, &edge, around)
                }
                _ if name == "modifierExtension" && !self.filling.modifiers => {}
                _ => self.complex(element, name, data_type, &edge, around, contained),
            }
            self.path.pop();
        }
    }

    /// Two contained records under ids of their own; the record itself refers to them where it refers to anything.
    fn contained(&mut self) {
        const TYPES: [&str; 5] = ["Patient", "Practitioner", "Medication", "Observation", "Organization"];
        self.key("contained");
        self.out.push('[');
        let outer = std::mem::take(&mut self.path);
        for n in 0..2 {
            if n > 0 {
                self.out.push(',');
            }
            self.place += 1;
            let place = self.place;
            self.resource(TYPES[(self.filling.turn + n) % TYPES.len()], Some(&format!("c{n}")));
            self.place = place;
        }
        self.place = 0;
        self.path = outer;
        self.out.push(']');
    }

    fn primitive(&mut self, element: &Element, name: &str, edge: &Edge, around: &Around) {
        let Assigned::Fixed(category) = edge.category else { return };
        let mut around = around.clone();
        around.certain &= !FRAGILE.iter().any(|b| self.path.join(".").starts_with(b));
        around.needs.push(category);
        around.recent |= matches!(edge.fact, Some(Fact::Date(_)));
        let list = element.list;
        self.key(name);
        if name == "id" && self.path.len() == 2 && self.path[0] == "Patient" {
            write!(self.out, "\"{PATIENT}\"").unwrap();
            return;
        }
        if list {
            self.out.push('[');
            self.leaf(edge, &around);
            self.out.push_str(", ");
            self.leaf(edge, &around);
            self.out.push(']');
        } else {
            self.leaf(edge, &around);
        }
        if name == "id" || !(self.canaries.len() + self.filling.turn).is_multiple_of(3) {
            return;
        }
        self.key(&format!("_{name}"));
        self.path.push("_".into());
        if list {
            self.out.push_str("[null,");
        }
        // A sibling goes with its value's category, whatever that does to an extension of another.
        self.out.push_str("{\"extension\":[");
        let number = self.canaries.len();
        self.extension(&around, None, number);
        self.out.push(',');
        self.extension(&around, Some(number), number);
        self.out.push_str("]}");
        if list {
            self.out.push(']');
        }
        self.path.pop();
    }

    fn complex(
        &mut self,
        element: &Element,
        name: &str,
        data_type: &'static str,
        edge: &Edge,
        around: &Around,
        contained: bool,
    ) {
        let mut inner = around.clone();
        inner.depth += 1;
        inner.recent |= matches!(edge.fact, Some(Fact::Date(_)));
        let bracket = matches!(edge.type_name, "BackboneElement" | "Element");
        if let Assigned::Fixed(category) = edge.category {
            inner.element = Some(category);
            if !bracket {
                inner.within.push((category, edge.type_name));
            }
        }
        // These go as a whole when what makes them valid is hidden.
        let path = self.path.join(".");
        inner.certain &= !FRAGILE.iter().any(|b| path.starts_with(b));
        let children = r4().children_of(element, data_type);
        // A concept without its codes would leave the record unclassified, and nobody would see it.
        let coded = matches!(data_type, "CodeableConcept" | "Coding");
        if inner.depth > DEPTH_MAX + usize::from(coded) * 2 || r4().elements(children).is_empty() {
            return;
        }
        let count = if element.list && !contained && inner.depth < 3 { 2 } else { 1 };
        self.key(name);
        if element.list {
            self.out.push('[');
        }
        for n in 0..count {
            if n > 0 {
                self.out.push(',');
            }
            match edge.category {
                Assigned::Extension(_) => {
                    let number = self.canaries.len();
                    let listed = (n == 0 && name != "modifierExtension").then_some(number);
                    self.extension(around, listed, number);
                }
                Assigned::Reference => self.reference(edge, element, around, n),
                Assigned::Fixed(_) => {
                    self.out.push('{');
                    self.members(children, edge.node, &inner, contained);
                    self.out.push('}');
                }
            }
        }
        if element.list {
            self.out.push(']');
        }
    }

    /// A listed extension or one that nobody knows; its value has one of many types in turn.
    fn extension(&mut self, around: &Around, listed: Option<usize>, number: usize) {
        let (url, category) = match listed {
            Some(n) => self.listed[n % self.listed.len()].clone(),
            None => (format!("http://vendor.example/{number}"), Category::Unknown),
        };
        let mut around = around.clone();
        around.needs.push(category);
        // An extension goes with the element that it extends.
        if self.path.last().is_none_or(|last| last != "_") {
            around.needs.extend(around.element);
        }
        around.recent = false;
        write!(self.out, "{{\"url\":\"{url}\",").unwrap();
        self.path.push("extension".into());
        if category == Category::Structure {
            // Its code is one of few; anything else in it is not let through.
            self.out.push_str("\"valueCode\":\"masked\"");
        } else {
            let parts = number.is_multiple_of(2);
            if parts {
                self.out.push_str("\"extension\":[{\"url\":\"text\",");
            }
            let shapes = [
                "valueString",
                "valueCode",
                "valueDateTime",
                "valueDecimal",
                "valueBase64Binary",
                "valueUri",
            ];
            let shape = shapes[(number / 2 + self.filling.turn) % shapes.len()];
            let node = self.catalogue.extension_node(category);
            let edge = self.catalogue.edge(node, shape).copied().unwrap();
            write!(self.out, "\"{shape}\":").unwrap();
            self.leaf(&edge, &around);
            if parts {
                self.out.push_str("}]");
            }
        }
        self.path.pop();
        self.out.push('}');
    }

    /// A Reference in one of the many ways there are, with display and identifier.
    fn reference(&mut self, edge: &Edge, element: &Element, around: &Around, n: usize) {
        let number = self.canaries.len();
        let targets: Vec<&str> = element.targets().collect();
        let subject = edge.fact == Some(Fact::Subject);
        let target = match targets.get((number + self.filling.turn) % targets.len().max(1)) {
            _ if subject || targets.is_empty() => "Patient",
            Some(target) => target,
            None => "Patient",
        };
        let (link, display) = (Catalogue::link_category(target), Catalogue::display_category(target));
        let way = if subject { 0 } else { (number + self.filling.turn) % 8 };
        let contained = !around.certain;
        self.out.push('{');
        let mut with = around.clone();
        // What leads elsewhere or says less of itself may be judged more strictly than its type.
        let plain = matches!(way, 0..=3);
        with.certain &= plain;
        with.needs.push(link);
        if subject {
            write!(self.out, "\"reference\":\"Patient/{PATIENT}\"").unwrap();
        } else if n == 1 && !contained && self.path.len() < 4 {
            self.out.push_str("\"reference\":\"#c1\"");
        } else {
            let (before, after) = match way {
                0 | 1 => (format!("{target}/"), ""),
                2 => (format!("{UP}/{target}/"), ""),
                3 => (format!("{target}/"), "/_history/2"),
                4 => (format!("https://elsewhere.example/fhir/{target}/"), ""),
                5 => (format!("{target}?identifier="), ""),
                6 => ("urn:uuid:".to_owned(), ""),
                _ => (format!("{UP}X/{target}/"), ""),
            };
            let id = self.name(&with);
            write!(self.out, "\"reference\":\"{before}{id}{after}\"").unwrap();
        }
        if n == 0 {
            let mut said = around.clone();
            said.certain &= plain;
            said.needs.push(display);
            self.out.push_str(",\"display\":\"");
            let text = self.name(&said);
            self.out.push_str(&text);
            self.out.push('"');
        }
        if around.depth < 2 {
            let mut named = around.clone();
            // In what is wholly staff or structure, identifiers are too.
            let inner = self.catalogue.edge(edge.node, "identifier").copied();
            if let Some(Edge { category: Assigned::Fixed(category), .. }) = inner {
                named.needs.push(category);
                named.within.push((category, "Identifier"));
                named.certain = false;
                self.out.push_str(",\"identifier\":{\"value\":\"");
                let text = self.name(&named);
                self.out.push_str(&text);
                self.out.push_str("\"}");
            }
        }
        self.out.push('}');
    }

    fn note(&mut self, around: &Around, certain: bool) -> usize {
        let number = self.filling.from + self.canaries.len();
        self.canaries.push(Canary {
            needs: around.needs.clone(),
            within: around.within.clone(),
            path: self.path.join("."),
            place: self.place,
            certain: around.certain && certain,
        });
        number
    }

    fn name(&mut self, around: &Around) -> String {
        format!("cnry{}q", self.note(around, true))
    }

    fn leaf(&mut self, edge: &Edge, around: &Around) {
        let last = self.path.last().map(String::as_str).unwrap_or_default();
        let within = around.within.last().map(|(_, t)| *t);
        let text = match edge.type_name {
            "boolean" => "true".to_owned(),
            "integer" | "positiveInt" | "unsignedInt" => number(self.note(around, true)),
            "decimal" => format!("{}.50", number(self.note(around, true))),
            // Records must be recent, or billing sees none.
            "date" if around.recent => "\"2026-10-02\"".to_owned(),
            "dateTime" | "instant" if around.recent => {
                let at = self.note(around, true) % 86_400;
                format!("\"2026-10-02T{}Z\"", time(at))
            }
            "date" => format!("\"{}\"", date(self.note(around, true))),
            "dateTime" => format!("\"{}T10:11:12+01:00\"", date(self.note(around, true))),
            "instant" => format!("\"{}T10:11:12.000Z\"", date(self.note(around, true))),
            "time" => format!("\"{}\"", time(self.note(around, true) % 86_400)),
            "base64Binary" => {
                let name = self.name(around);
                format!("\"{}\"", base64::engine::general_purpose::STANDARD.encode(name))
            }
            // Codes of a system that the label lists judge, or the record counts as unclassified.
            "uri" if last == "system" && within != Some("Identifier") => "\"http://loinc.org\"".to_owned(),
            "uri" | "url" | "canonical" => format!("\"http://uri.example/{}\"", self.name(around)),
            "xhtml" => {
                format!("\"<div xmlns=\\\"http://www.w3.org/1999/xhtml\\\">{}</div>\"", self.name(around))
            }
            _ => format!("\"{}\"", self.name(around)),
        };
        self.out.push_str(&text);
    }
}

fn number(n: usize) -> String {
    format!("97{n:05}79")
}

/// A day long ago, another for each number up to 36,000.
fn date(n: usize) -> String {
    format!("{:04}-{:02}-{:02}", 1700 + n / 336 % 100, n / 28 % 12 + 1, n % 28 + 1)
}

fn date_number(text: &str) -> Option<usize> {
    let mut parts = text.split('-').map(|p| p.parse::<usize>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    ((1700..1800).contains(&year)).then(|| (year - 1700) * 336 + (month - 1) * 28 + day - 1)
}

fn time(n: usize) -> String {
    format!("{:02}:{:02}:{:02}", n / 3_600, n / 60 % 60, n % 60)
}

fn time_number(text: &str) -> Option<usize> {
    let mut parts = text.split(':').map(|p| p.parse::<usize>().ok());
    Some(parts.next()?? * 3_600 + parts.next()?? * 60 + parts.next()??)
}

/// The numbers of all canaries in a JSON text: as they are, unescaped, percent-encoded, in base64 of either alphabet and
/// any alignment, and in hexadecimal.
pub(crate) fn find(text: &[u8]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    names(text, &mut found);
    let value: serde_json::Value = serde_json::from_slice(text).unwrap();
    let mut strings = Vec::new();
    leaves(&value, &mut strings, &mut found);
    for string in strings {
        names(string.as_bytes(), &mut found);
        if string.contains('%') {
            let plain: Vec<u8> = percent_encoding::percent_decode_str(&string).collect();
            names(&plain, &mut found);
        }
        for (place, _) in string.match_indices(['1', '2']) {
            let Some(day) = string.get(place..place + 10) else { continue };
            if day.as_bytes()[4] == b'-' && day.as_bytes()[7] == b'-' {
                found.extend(date_number(day));
                if let Some(at) = string.get(place + 11..place + 19).filter(|_| day == "2026-10-02") {
                    found.extend(time_number(at));
                }
            }
        }
        if string.len() == 8 && string.as_bytes()[2] == b':' {
            found.extend(time_number(&string));
        }
        encoded(&string, &mut found);
    }
    found
}

/// Canaries behind base64 and hexadecimal.
fn encoded(string: &str, found: &mut BTreeSet<usize>) {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/-_".contains(c);
    for run in string.split(|c| !is_base64(c)).filter(|run| run.len() >= 8) {
        let engines = if run.contains(['-', '_']) { [&URL_SAFE] } else { [&STANDARD] };
        for alphabet in engines {
            let engine = GeneralPurpose::new(alphabet, config);
            for skip in 0..4 {
                let part = &run[skip.min(run.len())..];
                let part = &part[..part.len() - usize::from(part.len() % 4 == 1)];
                if let Ok(plain) = engine.decode(part) {
                    names(&plain, found);
                }
            }
        }
        if run.to_ascii_lowercase().contains("636e7279") {
            for skip in 0..2 {
                let pairs = run.as_bytes()[skip..].as_chunks::<2>().0;
                let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
                let plain: Vec<u8> = pairs.iter().map(|pair| byte(pair).unwrap_or(0)).collect();
                names(&plain, found);
            }
        }
    }
}

/// `cnry…q` anywhere in some bytes.
fn names(text: &[u8], found: &mut BTreeSet<usize>) {
    for (place, _) in text.windows(4).enumerate().filter(|(_, w)| *w == b"cnry") {
        let digits = text[place + 4..].iter().take_while(|b| b.is_ascii_digit()).count();
        let number = std::str::from_utf8(&text[place + 4..place + 4 + digits]).unwrap();
        found.extend(number.parse::<usize>().ok());
    }
}

fn leaves(value: &serde_json::Value, strings: &mut Vec<String>, found: &mut BTreeSet<usize>) {
    match value {
        serde_json::Value::Object(map) => map.iter().for_each(|(key, value)| {
            strings.push(key.clone());
            leaves(value, strings, found);
        }),
        serde_json::Value::Array(items) => items.iter().for_each(|item| leaves(item, strings, found)),
        serde_json::Value::String(text) => {
            digits(text, found);
            strings.push(text.clone());
        }
        serde_json::Value::Number(number) => digits(&number.to_string(), found),
        _ => {}
    }
}

fn digits(text: &str, found: &mut BTreeSet<usize>) {
    for run in text.split(|c: char| !c.is_ascii_digit()).filter(|r| r.len() == 9) {
        if let Some(number) = run.strip_prefix("97").and_then(|r| r.strip_suffix("79")) {
            found.extend(number.parse::<usize>().ok());
        }
    }
}
