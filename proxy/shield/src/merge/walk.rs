//! Members and objects of the three texts, one by one: what is taken, what is restored, what is refused.

use std::collections::HashMap;

use drape_fhir::json::{Kind as J, write_string};
use drape_view::catalogue::{Assigned, Edge, Kind, NodeId};
use drape_view::{Catalogue, Category, Plan, Pointer, Treatment, Verdict};

use super::align::Aligned;
use super::same::{Opener, same};
use super::{Doc, Stored};
use crate::Setup;
use crate::rewrite::shown_id;
use crate::treat::is_one_thing;

/// What the caller did that cannot be done, in her own terms.
#[derive(Debug)]
pub(super) struct Refused(pub(super) String);

/// A place in one of the texts, or nothing there.
pub(super) type At = Option<usize>;

/// The same place in S, in V and in N.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trio {
    pub(super) s: At,
    pub(super) v: At,
    pub(super) n: At,
}

pub(super) struct Walk<'a> {
    setup: &'a Setup,
    stored: &'a Stored<'a>,
    pub(super) s: &'a Doc<'a>,
    pub(super) v: &'a Doc<'a>,
    pub(super) n: &'a Doc<'a>,
    pub(super) of_s: Aligned,
    of_n: Aligned,
    /// The contained records of S among the facts.
    places: HashMap<usize, usize>,
    /// Where we are, as the caller would write it.
    pub(super) path: Vec<String>,
    /// The same without the type and without positions, within the record that is being merged.
    names: Vec<String>,
    resource_type: String,
    binding: String,
}

/// What stands at a name and at its `_` sibling.
type Pair = [At; 2];

/// The members of an object, each with its sibling, in their order.
#[derive(Default)]
struct Members {
    order: Vec<(String, Pair)>,
    at: HashMap<String, usize>,
}

impl Members {
    fn of(doc: &Doc<'_>, i: At) -> Self {
        let mut members = Self::default();
        for (key, value) in i.into_iter().flat_map(|i| doc.tape.members(i)) {
            let name = doc.tape.text(doc.text, key);
            let (base, sibling) = match name.strip_prefix('_') {
                Some(base) => (base, 1),
                None => (&*name, 0),
            };
            let place = *members.at.entry(base.to_owned()).or_insert_with(|| {
                members.order.push((base.to_owned(), [None, None]));
                members.order.len() - 1
            });
            members.order[place].1[sibling] = Some(value);
        }
        members
    }

    fn get(&self, base: &str) -> Pair {
        self.at.get(base).map(|place| self.order[*place].1).unwrap_or_default()
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        setup: &'a Setup,
        stored: &'a Stored<'a>,
        [s, v, n]: [&'a Doc<'a>; 3],
        of_s: Aligned,
        of_n: Aligned,
    ) -> Self {
        let contained = s.tape.member(s.text, 0, "contained");
        let items = contained.into_iter().flat_map(|list| s.tape.items(list));
        let places = items.enumerate().map(|(place, item)| (item, place + 1)).collect();
        Self {
            setup,
            stored,
            s,
            v,
            n,
            of_s,
            of_n,
            places,
            path: Vec::new(),
            names: Vec::new(),
            resource_type: String::new(),
            binding: String::new(),
        }
    }

    /// The whole record.
    pub(super) fn record(mut self) -> Result<Vec<u8>, Refused> {
        let kind = self.kind_of(self.s, 0);
        self.path.push(kind);
        self.resource(0, Trio { s: Some(0), v: Some(0), n: Some(0) })
    }

    fn kind_of(&self, doc: &Doc<'_>, i: usize) -> String {
        doc.tape.string(doc.text, i, "resourceType").unwrap_or_default().into_owned()
    }

    /// The record itself or one contained in it, which has a plan of its own.
    pub(super) fn resource(&mut self, place: usize, at: Trio) -> Result<Vec<u8>, Refused> {
        let kind = at.s.map(|s| self.kind_of(self.s, s)).unwrap_or_default();
        if at.n.is_some_and(|n| self.kind_of(self.n, n) != kind) {
            return Err(self.partly());
        }
        let (Some(Verdict::Keep(plan)), Some(node)) =
            (self.stored.answer.verdicts.get(place), self.setup.catalogue.root(&kind))
        else {
            return Err(self.hidden());
        };
        let id = self.stored.facts.records.get(place).and_then(|r| r.id.as_deref());
        let binding = shown_id(self.setup, plan, &kind, id)
            .unwrap_or_else(|| self.setup.pseudonyms.of(&kind, id.unwrap_or_default()));
        let outer = (
            std::mem::replace(&mut self.resource_type, kind),
            std::mem::replace(&mut self.binding, binding),
            std::mem::take(&mut self.names),
        );
        let merged = self.object(at, node, plan, if place == 0 { Of::Record } else { Of::Contained });
        (self.resource_type, self.binding, self.names) = outer;
        merged
    }

    fn object(&mut self, at: Trio, node: NodeId, plan: &Plan, of: Of) -> Result<Vec<u8>, Refused> {
        let (s, v, n) = (Members::of(self.s, at.s), Members::of(self.v, at.v), Members::of(self.n, at.n));
        let hidden_from = |(base, _): &&(String, Pair)| !n.at.contains_key(base);
        let mut out = vec![b'{'];
        for (base, _) in n.order.iter().chain(s.order.iter().filter(hidden_from)) {
            let (s, shown, n) = (s.get(base), v.get(base), n.get(base));
            // What the address says, and what is the server's.
            let fixed = match of {
                Of::Record => base == "resourceType" || base == "id" || base == "meta" && n[0].is_none(),
                Of::Contained => base == "resourceType",
                Of::Meta => base == "versionId" || base == "lastUpdated",
                Of::Element => false,
            };
            self.path.push(format!(".{base}"));
            self.names.push(base.clone());
            let merged = if fixed {
                Ok([self.restored(s[0]), self.restored(s[1])])
            } else if of == Of::Record && base == "meta" && (n[1], s[1]) == (None, None) {
                self.meta(Trio { s: s[0], v: shown[0], n: n[0] }, node, plan).map(|meta| [meta, None])
            } else {
                let other_form = n.iter().any(Option::is_some)
                    && shown == [None, None]
                    && self.has_hidden_form(base, node, plan, &v);
                if other_form { Err(self.hidden()) } else { self.member(base, [s, shown, n], node, plan) }
            };
            self.path.pop();
            self.names.pop();
            for (prefix, value) in ["", "_"].into_iter().zip(merged?) {
                let Some(value) = value else { continue };
                if out.len() > 1 {
                    out.push(b',');
                }
                write_string(&format!("{prefix}{base}"), &mut out);
                out.push(b':');
                out.extend(value);
            }
        }
        out.push(b'}');
        Ok(out)
    }

    /// `meta`, whose version and time are the server's.
    fn meta(&mut self, at: Trio, root: NodeId, plan: &Plan) -> Result<Option<Vec<u8>>, Refused> {
        let objects = [(self.s, at.s), (self.v, at.v), (self.n, at.n)];
        let all = objects.into_iter().all(|(doc, i)| i.is_none_or(|i| doc.kind(i) == J::ObjectStart));
        let (true, Some(edge)) = (all, self.setup.catalogue.edge(root, "meta")) else {
            return Err(self.partly());
        };
        let merged = self.object(at, edge.node, plan, Of::Meta)?;
        Ok((merged != b"{}").then_some(merged))
    }

    fn member(
        &mut self,
        base: &str,
        [s, v, n]: [Pair; 3],
        node: NodeId,
        plan: &Plan,
    ) -> Result<[Option<Vec<u8>>; 2], Refused> {
        let Some(edge) = self.setup.catalogue.edge(node, base).copied() else {
            // R4 knows no such element, so nobody is shown it who is not shown everything.
            if n != [None, None] {
                return Err(self.hidden());
            }
            return Ok([self.restored(s[0]), self.restored(s[1])]);
        };
        let of = |side: usize| Trio { s: s[side], v: v[side], n: n[side] };
        if edge.kind != Kind::Primitive {
            if n[1].is_some() {
                return Err(self.hidden());
            }
            let value = if self.is_list(&of(0)) {
                self.list([s[0], None], [v[0], None], [n[0], None], &edge, plan)?[0].take()
            } else {
                if v[0].is_none() && n[0].is_some() && self.may_hide(&edge, plan) {
                    return Err(self.hidden());
                }
                self.slot(of(0), &edge, plan)?
            };
            return Ok([value, self.restored(s[1])]);
        }
        let shown = matches!(edge.category, Assigned::Fixed(c) if plan.treatment(c) == Treatment::Show);
        if !shown {
            let same = self.same_at(v[0], n[0]) && self.same_at(v[1], n[1]);
            return match (same, v) {
                (true, _) => Ok([self.restored(s[0]), self.restored(s[1])]),
                (false, [None, None]) => Err(self.hidden()),
                (false, _) => Err(self.treated()),
            };
        }
        if self.is_list(&of(0)) || self.is_list(&of(1)) {
            return self.list(s, v, n, &edge, plan);
        }
        if v[0].is_none() && n[0].is_some() && self.may_hide(&edge, plan) {
            return Err(self.hidden());
        }
        self.pair([of(0), of(1)], &edge, plan)
    }

    /// A primitive with what stands beside it.
    pub(super) fn pair(
        &mut self,
        [value, beside]: [Trio; 2],
        edge: &Edge,
        plan: &Plan,
    ) -> Result<[Option<Vec<u8>>; 2], Refused> {
        let sibling = Edge {
            category: Assigned::Fixed(Category::Structure),
            node: self.setup.catalogue.primitive_node(),
            kind: Kind::Complex,
            type_name: "Element",
            ..*edge
        };
        Ok([self.slot(value, edge, plan)?, self.slot(beside, &sibling, plan)?])
    }

    /// One value, which is no list.
    pub(super) fn slot(&mut self, at: Trio, edge: &Edge, plan: &Plan) -> Result<Option<Vec<u8>>, Refused> {
        let Some(n) = at.n else {
            return match (at.v, at.s) {
                (None, s) => Ok(self.restored(s)),
                (Some(_), None) => Ok(None),
                (Some(_), Some(s)) if self.of_s.is_whole(s) => Ok(None),
                (Some(_), Some(_)) => Err(self.not_removed()),
            };
        };
        if at.v.is_none() || at.s.is_some_and(|s| self.of_s.is_whole(s)) {
            if self.same_at(at.v, at.n) {
                return Ok(self.restored(at.s));
            }
            // Before S is looked at: the answer is the same whether something is hidden here or not.
            self.writable(n)?;
        }
        match (at.s, at.v) {
            (None, None) => Ok(Some(self.n.raw(n))),
            (Some(s), _) if self.of_s.is_whole(s) => Ok(Some(self.n.raw(n))),
            (_, Some(_)) if self.same_at(at.v, at.n) => Ok(self.restored(at.s)),
            (None, Some(_)) => Err(self.treated()),
            (Some(_), _) => self.mixed(at, edge, plan).map(Some),
        }
    }

    /// A part of which some is hidden and that comes back changed.
    fn mixed(&mut self, at: Trio, edge: &Edge, plan: &Plan) -> Result<Vec<u8>, Refused> {
        let objects = [(self.s, at.s), (self.v, at.v), (self.n, at.n)];
        let all = objects.into_iter().all(|(doc, i)| i.is_none_or(|i| doc.kind(i) == J::ObjectStart));
        let one = match edge.category {
            Assigned::Fixed(category) => is_one_thing(edge, plan.treatment(category)),
            // A name that is hidden beside a link belongs to whom the link names.
            Assigned::Reference => true,
            Assigned::Extension(_) => false,
        };
        let Some(s) = at.s.filter(|_| all && !one) else {
            return Err(if at.v.is_none() { self.hidden() } else { self.partly() });
        };
        let node = match (edge.kind, edge.category) {
            (Kind::Primitive, _) => return Err(self.partly()),
            (Kind::Resource, _) => {
                let Some(place) = self.places.get(&s).copied() else { return Err(self.partly()) };
                return self.resource(place, at);
            }
            (Kind::Complex, Assigned::Extension(fallback)) => {
                let url = self.s.tape.string(self.s.text, s, "url").unwrap_or_default();
                let other = at.n.and_then(|n| self.n.tape.string(self.n.text, n, "url"));
                if other.as_deref() != Some(&*url) {
                    return Err(self.partly());
                }
                let category = self.setup.catalogue.extension(&url).or(fallback);
                self.setup.catalogue.extension_node(category.unwrap_or(Category::Unknown))
            }
            (Kind::Complex, _) => edge.node,
        };
        self.object(at, node, plan, Of::Element)
    }

    pub(super) fn restored(&self, s: At) -> Option<Vec<u8>> {
        s.map(|s| self.s.raw(s))
    }

    pub(super) fn same_at(&self, v: At, n: At) -> bool {
        match (v, n) {
            (None, None) => true,
            (Some(v), Some(n)) => {
                let mut opener = Some(Opener {
                    key: self.stored.answer.seal_key.as_deref(),
                    tenant: &self.setup.tenant,
                    resource_type: &self.resource_type,
                    binding: &self.binding,
                    path: self.names.clone(),
                });
                same((self.v, v), (self.n, n), &mut opener)
            }
            _ => false,
        }
    }

    fn is_list(&self, at: &Trio) -> bool {
        let mut any = [(self.s, at.s), (self.v, at.v), (self.n, at.n)].into_iter();
        any.any(|(doc, i)| i.is_some_and(|i| doc.kind(i) == J::ArrayStart))
    }

    /// Whether what stands at `n` may be written: all of it would be shown to the caller, and nothing in it says that
    /// something were hidden.
    pub(super) fn writable(&mut self, n: usize) -> Result<(), Refused> {
        if !self.of_n.is_whole(n) {
            let depth = self.path.len();
            self.step_to_hidden(n);
            let refused = self.hidden();
            self.path.truncate(depth);
            return Err(refused);
        }
        if self.is_marked(n) {
            return Err(Refused(format!(
                "{} says that something is hidden there; such marks are not yours to write",
                self.here()
            )));
        }
        Ok(())
    }

    /// Lengthens the path down to the first part of N that would not be shown.
    fn step_to_hidden(&mut self, n: usize) {
        let doc = self.n;
        match doc.kind(n) {
            J::ObjectStart => {
                let mut members = doc.tape.members(n);
                if let Some((key, value)) = members.find(|(_, value)| !self.of_n.is_whole(*value)) {
                    self.path.push(format!(".{}", doc.tape.text(doc.text, key).trim_start_matches('_')));
                    self.step_to_hidden(value);
                }
            }
            J::ArrayStart => {
                let found = doc.tape.items(n).enumerate().find(|(_, item)| !self.of_n.is_whole(*item));
                if let Some((place, item)) = found {
                    self.path.push(format!("[{place}]"));
                    self.step_to_hidden(item);
                }
            }
            _ => {}
        }
    }

    /// Whether `masked` stands anywhere in what is written: Drape's word for what it hid.
    fn is_marked(&self, n: usize) -> bool {
        let doc = self.n;
        let (close, _) = doc.tape.end(n);
        (n..=close).filter(|i| doc.kind(*i) == J::ObjectStart).any(|i| {
            let says = |name: &str, what: &str| doc.tape.string(doc.text, i, name).as_deref() == Some(what);
            says("url", crate::treat::ABSENT) && says("valueCode", "masked")
        })
    }

    /// Whether another form of the choice that `base` is one of could stand there unseen: there can be only one.
    fn has_hidden_form(&self, base: &str, node: NodeId, plan: &Plan, shown: &Members) -> bool {
        let catalogue = &self.setup.catalogue;
        let Some(stem) = catalogue.edge(node, base).and_then(|edge| stem(base, edge)) else { return false };
        let mut forms = catalogue.members(node).filter(|(name, edge)| {
            *name != base && self::stem(name, edge).is_some_and(|other| other == stem)
        });
        let any_shown = |name: &str| shown.get(name) != [None, None];
        let hidden: Vec<bool> =
            forms.by_ref().map(|(name, edge)| !any_shown(name) && self.may_hide(edge, plan)).collect();
        let seen = catalogue
            .members(node)
            .any(|(name, edge)| self::stem(name, edge).is_some_and(|other| other == stem) && any_shown(name));
        !seen && hidden.contains(&true)
    }

    /// Whether what stands at such an element could be hidden, whatever it is: by the plan, or for what it names.
    fn may_hide(&self, edge: &Edge, plan: &Plan) -> bool {
        may_hide(edge, plan) || self.may_conceal(edge, &mut Vec::new())
    }

    /// Whether a reference at such an element, or in it, could be left out for what it names. An object that is nothing
    /// without it goes with it.
    fn may_conceal(&self, edge: &Edge, seen: &mut Vec<NodeId>) -> bool {
        let Some(hide) = &self.stored.answer.hide else { return false };
        match (edge.category, edge.kind) {
            (Assigned::Reference, _) => {
                let mut targets = edge.targets.types().map(Some).peekable();
                let anything = targets.peek().is_none().then_some(None);
                targets
                    .chain(anything)
                    .any(|target| hide.hides(&Pointer { resource_type: target.map(str::to_owned), id: None }))
            }
            (Assigned::Fixed(_), Kind::Complex) if !seen.contains(&edge.node) => {
                seen.push(edge.node);
                let inner: Vec<Edge> =
                    self.setup.catalogue.members(edge.node).map(|(_, edge)| *edge).collect();
                inner.iter().any(|edge| self.may_conceal(edge, seen))
            }
            // A list of extensions stands in every object; nothing is said of them as a whole.
            _ => false,
        }
    }

    pub(super) fn here(&self) -> String {
        format!("`{}`", self.path.concat())
    }

    pub(super) fn hidden(&self) -> Refused {
        Refused(format!("{} is not shown to you, so it is not yours to write", self.here()))
    }

    pub(super) fn treated(&self) -> Refused {
        Refused(format!(
            "{} is not shown to you as it is stored; send back what you were shown, or leave the record as it is",
            self.here()
        ))
    }

    pub(super) fn partly(&self) -> Refused {
        Refused(format!("{} is shown to you in part only; send it back as you were shown it", self.here()))
    }

    pub(super) fn not_removed(&self) -> Refused {
        Refused(format!("{} is shown to you in part only, so it cannot be removed", self.here()))
    }
}

/// What an object is, for the members that are not the caller's affair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Record,
    Contained,
    Meta,
    Element,
}

/// The name of a choice without its type: `value` of `valueQuantity`.
fn stem<'n>(name: &'n str, edge: &Edge) -> Option<&'n str> {
    let stem = name.len().checked_sub(edge.type_name.len())?;
    let (stem, rest) = (name.get(..stem)?, name.get(stem..)?);
    (!stem.is_empty() && rest.eq_ignore_ascii_case(edge.type_name)).then_some(stem)
}

/// Whether the plan could hide what stands at such an element, whatever it is.
fn may_hide(edge: &Edge, plan: &Plan) -> bool {
    let hides = |category: Category| plan.treatment(category) != Treatment::Show;
    match edge.category {
        Assigned::Fixed(category) => {
            // An address may name a record, or hold a search.
            hides(category) || matches!(edge.type_name, "uri" | "url" | "canonical")
        }
        Assigned::Reference => match edge.target {
            Some(target) => hides(Catalogue::link_category(target)),
            None => [Category::PatientLink, Category::RecordLink, Category::Staff].into_iter().any(hides),
        },
        Assigned::Extension(_) => true,
    }
}
