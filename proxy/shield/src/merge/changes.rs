//! What a write changes, by category, and what of that policies, labels or relations read.

use std::collections::HashMap;

use drape_fhir::json::Kind as J;
use drape_fhir::reference::Reference;
use drape_view::catalogue::{Assigned, Edge, Fact, Kind, NodeId};
use drape_view::{Catalogue, Category, CategorySet};

use super::same::same;
use super::{Doc, ITEMS_MAX};
use crate::Fault;
use crate::tape::Tape;

/// The categories of all that a write adds, changes or takes away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Of everything that changes.
    pub change: CategorySet,
    /// Of what access rests on: whom the record is about, codes, labels, tags, and the links by which relations are
    /// made.
    pub relate: CategorySet,
    /// Of what access rests on where a policy reads it.
    pub read: Vec<(Fact, CategorySet)>,
}

/// Where relations come from, by type and top element; `*` is the whole type.
const RELATIONS: [(&str, &str); 17] = [
    ("CareTeam", "participant"),
    ("CareTeam", "status"),
    ("CareTeam", "period"),
    ("Consent", "*"),
    ("Encounter", "participant"),
    ("Encounter", "status"),
    ("Encounter", "period"),
    ("EpisodeOfCare", "*"),
    ("Group", "*"),
    ("Linkage", "*"),
    ("List", "*"),
    ("Patient", "generalPractitioner"),
    ("Patient", "managingOrganization"),
    ("Patient", "link"),
    ("Person", "link"),
    ("Provenance", "*"),
    ("RelatedPerson", "*"),
];

/// What changes from `old` to `new`, both under the upstream's base; all of the one where the other is not there.
pub fn changes(
    catalogue: &Catalogue,
    old: Option<&[u8]>,
    new: Option<&[u8]>,
    upstream_base: &str,
    depth_max: usize,
) -> Result<Changes, Fault> {
    let read = |text: Option<&[u8]>| text.map(|t| Tape::read(t, depth_max)).transpose();
    let (old_tape, new_tape) = (read(old)?, read(new)?);
    let doc = |text, tape: Option<Tape>| Doc { text, tape: tape.unwrap_or_default() };
    let (a, b) = (doc(old.unwrap_or_default(), old_tape), doc(new.unwrap_or_default(), new_tape));
    let mut work = Work { catalogue, a: &a, b: &b, upstream_base, found: Changes::default() };
    match (old, new) {
        (Some(_), Some(_)) => work.resources(0, 0),
        (Some(_), None) => work.whole_resource(&a, 0),
        (None, Some(_)) => work.whole_resource(&b, 0),
        (None, None) => {}
    }
    Ok(work.found)
}

/// Why an element counts as one that access rests on.
#[derive(Clone, Copy, Debug, Default)]
struct Why {
    relates: bool,
    fact: Option<Fact>,
}

struct Work<'a> {
    catalogue: &'a Catalogue,
    a: &'a Doc<'a>,
    b: &'a Doc<'a>,
    upstream_base: &'a str,
    found: Changes,
}

impl Why {
    /// What holds for a member, given what holds for the object that it stands in.
    fn then(self, resource: Option<&str>, name: &str, edge: &Edge) -> Self {
        let listed = resource.is_some_and(|kind| {
            let mut listed = RELATIONS.iter().filter(|(k, _)| *k == kind);
            name != "id" && name != "meta" && listed.any(|(_, element)| *element == "*" || *element == name)
        });
        let always = matches!(edge.fact, Some(Fact::Security | Fact::Tag | Fact::Subject));
        let read = match edge.fact {
            Some(Fact::Id | Fact::Version | Fact::FreeText) | None => self.fact,
            fact => fact,
        };
        Self { relates: self.relates || listed || always, fact: read }
    }

    /// A code alone, of a concept that is there before and after.
    fn code(self) -> Self {
        Self { relates: true, ..self }
    }
}

impl<'a> Work<'a> {
    fn note(&mut self, category: Category, why: Why) {
        self.found.change.insert(category);
        if why.relates {
            self.found.relate.insert(category);
        }
        if let Some(fact) = why.fact {
            let place = self.found.read.iter().position(|(f, _)| *f == fact).unwrap_or_else(|| {
                self.found.read.push((fact, CategorySet::EMPTY));
                self.found.read.len() - 1
            });
            self.found.read[place].1.insert(category);
        }
    }

    fn kind_of(doc: &Doc<'_>, i: usize) -> String {
        doc.tape.string(doc.text, i, "resourceType").unwrap_or_default().into_owned()
    }

    fn resources(&mut self, i: usize, j: usize) {
        let (kind, other) = (Self::kind_of(self.a, i), Self::kind_of(self.b, j));
        match self.catalogue.root(&kind).filter(|_| kind == other) {
            Some(node) => self.objects(i, j, node, Why::default(), Some(&kind), false),
            None => {
                self.whole_resource(self.a, i);
                self.whole_resource(self.b, j);
            }
        }
    }

    fn whole_resource(&mut self, doc: &Doc<'a>, i: usize) {
        let kind = Self::kind_of(doc, i);
        match self.catalogue.root(&kind) {
            Some(node) => self.whole_object(doc, i, node, Why::default(), Some(&kind), false),
            None => self.note(Category::Unknown, Why { relates: true, fact: None }),
        }
    }

    /// The edge of a member by its name, without `_`; `None` for what is no content of the caller's.
    fn edge(
        &self,
        node: NodeId,
        name: &str,
        resource: Option<&str>,
        meta: bool,
    ) -> Option<Result<Edge, Category>> {
        let top = resource.is_some();
        if top && name == "resourceType" || meta && ["versionId", "lastUpdated"].contains(&name) {
            return None;
        }
        let (base, sibling) = name.strip_prefix('_').map_or((name, false), |base| (base, true));
        let Some(edge) = self.catalogue.edge(node, base) else { return Some(Err(Category::Unknown)) };
        if sibling {
            let node = self.catalogue.primitive_node();
            return Some(Ok(Edge { node, kind: Kind::Complex, type_name: "Element", ..*edge }));
        }
        Some(Ok(*edge))
    }

    fn objects(&mut self, i: usize, j: usize, node: NodeId, why: Why, resource: Option<&str>, meta: bool) {
        let (a, b) = (self.a, self.b);
        let named = |doc: &Doc<'a>, i| -> HashMap<String, usize> {
            doc.tape.members(i).map(|(key, v)| (doc.tape.text(doc.text, key).into_owned(), v)).collect()
        };
        let (before, after) = (named(a, i), named(b, j));
        for (key, value) in a.tape.members(i) {
            let name = a.tape.text(a.text, key);
            match (self.edge(node, &name, resource, meta), after.get(&*name).copied()) {
                (None, _) => {}
                (Some(Err(category)), other) => {
                    if !other.is_some_and(|other| same((a, value), (b, other), &mut None)) {
                        self.note(category, why);
                    }
                }
                (Some(Ok(edge)), Some(other)) => self.values(value, other, &edge, (&name, resource), why),
                (Some(Ok(edge)), None) => self.whole(a, value, &edge, why.then(resource, &name, &edge)),
            }
        }
        for (key, value) in b.tape.members(j) {
            let name = b.tape.text(b.text, key);
            if before.contains_key(&*name) {
                continue;
            }
            match self.edge(node, &name, resource, meta) {
                None => {}
                Some(Err(category)) => self.note(category, why),
                Some(Ok(edge)) => self.whole(b, value, &edge, why.then(resource, &name, &edge)),
            }
        }
    }

    fn values(&mut self, i: usize, j: usize, edge: &Edge, (name, resource): (&str, Option<&str>), why: Why) {
        let (a, b) = (self.a, self.b);
        if same((a, i), (b, j), &mut None) {
            return;
        }
        let why = why.then(resource, name, edge);
        match (a.kind(i), b.kind(j)) {
            (J::ArrayStart, J::ArrayStart) => self.lists(i, j, edge, why),
            (J::ObjectStart, J::ObjectStart) => {
                self.inside(i, j, edge, why, name == "meta" && resource.is_some())
            }
            _ => {
                self.whole(a, i, edge, why);
                self.whole(b, j, edge, why);
            }
        }
    }

    /// Two objects that differ, at the same place.
    fn inside(&mut self, i: usize, j: usize, edge: &Edge, why: Why, meta: bool) {
        let (a, b) = (self.a, self.b);
        match (edge.kind, edge.category) {
            (Kind::Resource, _) => self.resources(i, j),
            (Kind::Complex, Assigned::Fixed(_)) => {
                let why =
                    if edge.type_name == "Coding" && self.codes_differ(i, j) { why.code() } else { why };
                self.objects(i, j, edge.node, why, None, meta);
            }
            _ => {
                self.whole(a, i, edge, why);
                self.whole(b, j, edge, why);
            }
        }
    }

    fn codes_differ(&self, i: usize, j: usize) -> bool {
        let (a, b) = (self.a, self.b);
        ["system", "code"].iter().any(|name| a.tape.string(a.text, i, name) != b.tape.string(b.text, j, name))
    }

    /// Items that equal each other are left alone; the others are compared in their order where both lists are as long.
    fn lists(&mut self, i: usize, j: usize, edge: &Edge, why: Why) {
        let (a, b) = (self.a, self.b);
        let (old, new): (Vec<usize>, Vec<usize>) = (a.tape.items(i).collect(), b.tape.items(j).collect());
        if old.len() == new.len() {
            for (i, j) in old.into_iter().zip(new) {
                if same((a, i), (b, j), &mut None) {
                    continue;
                }
                if (a.kind(i), b.kind(j)) == (J::ObjectStart, J::ObjectStart) {
                    self.inside(i, j, edge, why, false);
                } else {
                    self.whole(a, i, edge, why);
                    self.whole(b, j, edge, why);
                }
            }
            return;
        }
        let many = old.len().max(new.len()) > ITEMS_MAX;
        let mut left = new;
        for i in old {
            match left.iter().position(|j| !many && same((a, i), (b, *j), &mut None)) {
                Some(place) => drop(left.remove(place)),
                None => self.whole(a, i, edge, why),
            }
        }
        for j in left {
            self.whole(b, j, edge, why);
        }
    }

    /// All that stands at `i`.
    fn whole(&mut self, doc: &Doc<'a>, i: usize, edge: &Edge, why: Why) {
        match doc.kind(i) {
            J::ArrayStart => {
                for item in doc.tape.items(i) {
                    self.whole(doc, item, edge, why);
                }
            }
            J::ObjectStart => match (edge.kind, edge.category) {
                (Kind::Resource, _) => self.whole_resource(doc, i),
                (Kind::Complex, Assigned::Extension(fallback)) => {
                    let url = doc.tape.string(doc.text, i, "url").unwrap_or_default();
                    let category = self.catalogue.extension(&url).or(fallback).unwrap_or(Category::Unknown);
                    self.note(category, why);
                    self.whole_object(doc, i, self.catalogue.extension_node(category), why, None, false);
                }
                (Kind::Complex, Assigned::Reference) => self.reference(doc, i, edge, why),
                (Kind::Complex, Assigned::Fixed(category)) => {
                    let concept = matches!(edge.type_name, "CodeableConcept" | "Coding");
                    let why = if concept { why.code() } else { why };
                    if doc.tape.members(i).next().is_none() {
                        self.note(category, why);
                    }
                    self.whole_object(doc, i, edge.node, why, None, edge.type_name == "Meta");
                }
                (Kind::Primitive, _) => self.note(Category::Unknown, why),
            },
            J::Null => {}
            _ => match edge.category {
                Assigned::Fixed(category) => self.note(category, why),
                _ => self.note(Category::Unknown, why),
            },
        }
    }

    fn whole_object(
        &mut self,
        doc: &Doc<'a>,
        i: usize,
        node: NodeId,
        why: Why,
        resource: Option<&str>,
        meta: bool,
    ) {
        for (key, value) in doc.tape.members(i) {
            let name = doc.tape.text(doc.text, key);
            match self.edge(node, &name, resource, meta) {
                None => {}
                Some(Err(category)) => self.note(category, why),
                Some(Ok(edge)) => self.whole(doc, value, &edge, why.then(resource, &name, &edge)),
            }
        }
    }

    /// A link by what it names; where that is not known, by all that it may be.
    fn reference(&mut self, doc: &Doc<'a>, i: usize, edge: &Edge, why: Why) {
        let said = doc.tape.string(doc.text, i, "reference");
        let target = match said.as_deref().map(|text| Reference::parse(text, &[self.upstream_base])) {
            Some(Reference::Local { resource_type, .. }) => Some(resource_type),
            _ => edge.target,
        };
        match target {
            Some(target) => self.note(Catalogue::link_category(target), why),
            None => {
                for category in [Category::PatientLink, Category::RecordLink, Category::Staff] {
                    self.note(category, why);
                }
            }
        }
        for (key, value) in doc.tape.members(i) {
            let name = doc.tape.text(doc.text, key);
            match &*name {
                "reference" | "type" => {}
                "display" => match target {
                    Some(target) => self.note(Catalogue::display_category(target), why),
                    None => {
                        for category in [Category::PersonName, Category::Staff, Category::Note] {
                            self.note(category, why);
                        }
                    }
                },
                _ => match self.edge(edge.node, &name, None, false) {
                    Some(Ok(edge)) => self.whole(doc, value, &edge, why),
                    _ => self.note(Category::Unknown, why),
                },
            }
        }
    }
}
