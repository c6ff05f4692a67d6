//! Makes records of any type with every element filled in, each value a canary of its own.

use std::fmt::Write as _;

use base64::Engine as _;
use drape_fhir::definitions::{Element, r4};
use drape_view::catalogue::{Assigned, Edge, Fact, Kind, NodeId};
use drape_view::{Catalogue, Category};

use super::find::{RECENT, date, number, time};
use super::{Canary, Coverage, Filling, Made, Named, named};
use crate::shielding::{PATIENT, UP};

/// Data types within data types, deeper than which nothing is filled but codes. Elements nested in a record do not count.
const DEPTH_MAX: usize = 3;
/// Types with more elements than this are filled more sparsely where they use data types.
const WIDE: usize = 90;

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
    coverage: &'c mut Coverage,
    /// The elements that one is in, by the paths of the definitions: none stands in itself more than once.
    open: Vec<&'static str>,
    wide: bool,
    ticks: usize,
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
    /// Data types within data types.
    depth: usize,
    /// Objects within objects.
    nest: usize,
}

/// A record of that type with everything in it.
pub(crate) fn make(
    catalogue: &Catalogue,
    listed: &[(String, Category)],
    coverage: &mut Coverage,
    resource_type: &'static str,
    filling: Filling,
) -> Made {
    let mut maker = Maker {
        catalogue,
        listed,
        filling,
        coverage,
        open: Vec::new(),
        wide: super::elements_below(resource_type).count() > WIDE,
        ticks: filling.turn,
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

    fn is_fragile(&self) -> bool {
        let kind = self.path.first().map(String::as_str).unwrap_or_default();
        let of_type = |f: &&&str| f.strip_prefix(kind).is_some_and(|rest| rest.starts_with('.'));
        let mut fragile = FRAGILE.iter().filter(of_type).peekable();
        fragile.peek().is_some() && {
            let path = self.path.join(".");
            fragile.any(|f| path.starts_with(f))
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
            nest: 0,
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
        for Named { element, names } in &named(path).list {
            // The type whose turn it is: the one that was filled least often.
            let turn = self.coverage.turn(element.path, names.len(), self.filling.turn, |_| true);
            let (name, data_type) = &names[turn];
            let Some(edge) = self.catalogue.edge(node, name).copied() else { continue };
            if contained && around.depth == 0 && name == "id"
                || !self.wanted(path, element, around, contained)
            {
                continue;
            }
            self.path.push(name.clone());
            let (length, canaries) = (self.out.len(), self.canaries.len());
            match edge.kind {
                Kind::Resource if name == "contained" && around.nest == 0 && !contained => self.contained(),
                Kind::Resource if name == "contained" => {}
                Kind::Resource => self.nested(name, around),
                Kind::Primitive if element.content_reference.is_none() => {
                    self.primitive(element, name, &edge, around)
                }
                _ if name == "modifierExtension" && !self.filling.modifiers => {}
                _ => self.complex(element, name, data_type, &edge, around, contained),
            }
            if self.out.len() > length {
                self.coverage.note(element.path, turn, self.canaries.len() > canaries);
            }
            self.path.pop();
        }
    }

    /// Whether an element is filled: those of the record always; deeper down now and then, and those that never were.
    fn wanted(&mut self, path: &str, element: &Element, around: &Around, contained: bool) -> bool {
        let coded = matches!(path, "CodeableConcept" | "Coding");
        if contained && around.nest > 1 && !coded || around.nest > 12 {
            return false;
        }
        let sparse = around.depth > 1 || around.depth == 1 && self.wide || self.ticks > 40 * WIDE;
        let plain = matches!(element.name, "coding" | "code" | "system" | "reference") || element.min > 0;
        if !sparse || plain || self.coverage.counts(element.path).first().is_none_or(|(count, _)| *count < 2)
        {
            return true;
        }
        self.ticks += 1;
        self.ticks.is_multiple_of(4)
    }

    /// A record within an element of another: it reaches only those who are shown everything.
    fn nested(&mut self, name: &str, around: &Around) {
        let mut around = around.clone();
        around.needs.extend(Category::ALL);
        around.certain = false;
        self.key(name);
        let (id, family) = (self.name(&around), self.name(&around));
        write!(
            self.out,
            "{{\"resourceType\":\"Patient\",\"id\":\"{id}\",\"name\":[{{\"family\":\"{family}\"}}]}}"
        )
        .unwrap();
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
        around.certain &= !self.is_fragile();
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
        let bracket = matches!(edge.type_name, "BackboneElement" | "Element");
        let mut inner = around.clone();
        inner.nest += 1;
        inner.depth += usize::from(!bracket);
        inner.recent |= matches!(edge.fact, Some(Fact::Date(_)));
        if let Assigned::Fixed(category) = edge.category {
            inner.element = Some(category);
            if !bracket {
                inner.within.push((category, edge.type_name));
            }
        }
        // These go as a whole when what makes them valid is hidden.
        inner.certain &= !self.is_fragile();
        let children = r4().children_of(element, data_type);
        // A concept without its codes would leave the record unclassified, and nobody would see it.
        let coded = matches!(data_type, "CodeableConcept" | "Coding");
        let again = self.open.iter().filter(|p| **p == children).count();
        if inner.depth > DEPTH_MAX + usize::from(coded) * 2
            || again > usize::from(element.content_reference.is_some())
            || r4().elements(children).is_empty()
        {
            return;
        }
        let count = if element.list && !contained && inner.nest < 3 && !self.wide { 2 } else { 1 };
        let mark = (self.out.len(), self.canaries.len());
        self.open.push(children);
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
        self.open.pop();
        if self.out[mark.0..].contains("{}") {
            // Nothing of it was wanted.
            self.out.truncate(mark.0);
            self.canaries.truncate(mark.1);
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
        if number % 16 == 3 {
            let mut numbered = around.clone();
            numbered.certain = false;
            if let Some(Edge { category: Assigned::Fixed(category), .. }) =
                self.catalogue.edge(self.catalogue.extension_node(category), "id")
            {
                numbered.needs.push(*category);
            }
            let id = self.name(&numbered);
            write!(self.out, "\"id\":\"{id}\",").unwrap();
            self.coverage.note("Extension.id", 0, true);
        }
        if category == Category::Structure {
            // Its code is one of few; anything else in it is not let through.
            self.out.push_str("\"valueCode\":\"masked\"");
        } else {
            let parts = number.is_multiple_of(2);
            let all = named("Extension");
            let Named { element, names } = all.list.iter().find(|n| n.element.name == "value").unwrap();
            let node = self.catalogue.extension_node(category);
            let simple = |n: usize| {
                let edge = self.catalogue.edge(node, &names[n].0);
                edge.is_some_and(|e| e.kind == Kind::Primitive && e.type_name != "boolean")
            };
            // A part of an extension has a text or code; elsewhere any type, in turn.
            let modifier = self.path.iter().any(|p| p == "modifierExtension");
            let deep = parts || around.depth > 0 || around.nest > 1 || !around.certain || modifier;
            let turn =
                self.coverage.turn(element.path, names.len(), self.filling.turn, |n| !deep || simple(n));
            let (shape, data_type) = &names[turn];
            let edge = self.catalogue.edge(node, shape).copied().unwrap();
            let canaries = self.canaries.len();
            if parts {
                self.out.push_str("\"extension\":[{\"url\":\"text\",");
                self.coverage.note("Extension.extension", 0, true);
            }
            if edge.kind == Kind::Primitive {
                write!(self.out, "\"{shape}\":").unwrap();
                self.leaf(&edge, &around);
            } else {
                // `complex` writes a comma before its key.
                self.out.truncate(self.out.len() - 1);
                self.complex(element, shape, data_type, &edge, &around, false);
            }
            self.coverage.note(element.path, turn, self.canaries.len() > canaries);
            self.coverage.note("Extension.url", 0, false);
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
        // What a reference says of itself besides; then it may be judged more strictly.
        let more = !subject && number % 8 == 5;
        if more {
            let mut said = around.clone();
            said.certain = false;
            said.needs.push(link);
            let mut numbered = around.clone();
            numbered.certain = false;
            if let Some(Edge { category: Assigned::Fixed(category), .. }) =
                self.catalogue.edge(edge.node, "id")
            {
                numbered.needs.push(*category);
            }
            let (id, kind) = (self.name(&numbered), self.name(&said));
            write!(self.out, "\"id\":\"{id}\",\"type\":\"http://uri.example/{kind}\",\"extension\":[")
                .unwrap();
            self.extension(&said, None, number);
            self.out.push_str("],");
            for path in ["Reference.id", "Reference.type", "Reference.extension"] {
                self.coverage.note(path, 0, true);
            }
        }
        self.coverage.note("Reference.reference", 0, true);
        let mut with = around.clone();
        // What leads elsewhere or says less of itself may be judged more strictly than its type.
        let plain = matches!(way, 0..=3) && !more;
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
            self.coverage.note("Reference.display", 0, true);
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
                self.coverage.note("Reference.identifier", 0, true);
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
            "date" if around.recent => format!("\"{RECENT}\""),
            "dateTime" | "instant" if around.recent => {
                let at = self.note(around, true) % 86_400;
                format!("\"{RECENT}T{}Z\"", time(at))
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
