//! Objects, members and values: each by its category, and what stands where something had to go.

use drape_fhir::json::{Kind as J, write_string};
use drape_view::catalogue::{Assigned, Edge, Kind, NodeId};
use drape_view::{Category, Coarsening, Plan, Reason, Treatment};

use super::invariants::{self, Rule};
use super::{Head, Rewriter, Stop, Wrote, YES, separate};
use crate::{reference, treat};

/// What an object is, for the extensions in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// Part of a record, or of an element that is shown.
    Shown,
    /// Part of an element whose own category is not shown: its extensions go with it, as those beside a primitive do.
    Hidden,
    /// An extension of that category.
    Extension(Category),
}

/// One position of two lists that belong together.
struct Half {
    text: Vec<u8>,
    came_from: Vec<(usize, usize)>,
}

/// What of an object is known only when all its members were seen.
#[derive(Default)]
struct Kept<'a> {
    /// Where the members that stand there, or whose sibling does, begin among the names of the rewriter.
    names_from: usize,
    /// Mandatory members that do not.
    missing: Vec<(&'a str, &'a Edge)>,
    /// Whether any of them says something by itself.
    substance: bool,
    /// Whether anything of the object is gone.
    reduced: bool,
    /// An Observation's value was hidden.
    value_hidden: bool,
}

/// Where an object stands, as far as it decides whether it stays.
#[derive(Clone, Copy)]
struct Standing<'a> {
    node: NodeId,
    of: Of,
    /// The record itself.
    record: bool,
    /// The element that it is a value of, where that is one of the record's own.
    element: Option<&'a Edge>,
}

impl<'a> Rewriter<'a> {
    /// The object at `i`, member by member.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn object(
        &mut self,
        i: usize,
        node: NodeId,
        plan: &Plan,
        out: &mut Vec<u8>,
        mut head: Option<&mut Head>,
        of: Of,
        element: Option<&Edge>,
    ) -> Result<Wrote, Stop> {
        let mark = out.len();
        let standing = Standing { node, of, record: head.is_some(), element };
        out.push(b'{');
        let mut any = false;
        let mut kept = Kept { names_from: self.names.len(), ..Kept::default() };
        for (key, value) in self.tape.members(i) {
            let name = self.tape.name(self.text, key);
            if let Some(head) = head.as_deref_mut() {
                if *name == *b"resourceType" {
                    separate(&mut any, out);
                    out.extend_from_slice(b"\"resourceType\":");
                    out.extend_from_slice(self.tape.raw(self.text, value));
                    head.at = Some(out.len());
                    continue;
                }
                if *name == *b"meta" {
                    // It stays where it stood, so that its place tells nothing.
                    head.at = head.at.map(|_| out.len());
                    head.meta = Some(value);
                    continue;
                }
            }
            let (base, sibling) = without_mark(&name);
            let Some((base, edge)) = self.catalogue().named_edge(node, base) else {
                self.count(Category::Unknown, Treatment::Redact);
                kept.reduced = true;
                continue;
            };
            if base == "deceasedDateTime" && self.contradicts(i, plan) {
                return Err(Stop::Withhold(Reason::NotValid));
            }
            if self.suppressed.contains(&value) {
                let category = match edge.category {
                    Assigned::Fixed(category) => category,
                    Assigned::Reference | Assigned::Extension(_) => Category::Unknown,
                };
                self.count(category, Treatment::Redact);
                kept.reduced = true;
                continue;
            }
            // Sealed it is no less hidden than left out.
            if edge.modifier && is_sealed(edge, plan) {
                return Err(Stop::Withhold(Reason::Modifier));
            }
            let (before, had) = (out.len(), any);
            self.path.push(base);
            let wrote = match self.paired(i, base, value, edge, plan, sibling) {
                // Both were written with the first of them.
                Some(_) if sibling => {
                    self.path.pop();
                    continue;
                }
                Some(other) => self.pair(key, (value, other), edge, plan, out, &mut any)?,
                None if sibling => self.sibling(i, key, value, edge, plan, out, &mut any)?,
                None => self.member(key, value, edge, plan, out, &mut any, of)?,
            };
            if edge.modifier && !sibling && matches!(wrote, Wrote::No) {
                return Err(Stop::Withhold(Reason::Modifier));
            }
            // A sealed code from a fixed list needs one of the list beside it.
            let unknown = matches!(wrote, Wrote::Sibling(_)) && edge.required_binding;
            let wrote = if unknown && !self.has_unknown(base) { Wrote::No } else { wrote };
            let unknown = unknown && matches!(wrote, Wrote::Sibling(_));
            match self.settle(wrote, base, before, had, out, &mut any) {
                Some(substance) => {
                    kept.substance |= substance && base != "id";
                    self.names.push(base);
                    if unknown {
                        write_unknown(base, out, &mut any);
                    }
                }
                None => {
                    kept.reduced = true;
                    // What is nothing without its reference would tell of the record just as well: it goes as a whole.
                    if edge.mandatory && edge.type_name == "Reference" && self.concealed && head.is_none() {
                        self.path.pop();
                        self.names.truncate(kept.names_from);
                        self.cut(mark, out);
                        return Ok(Wrote::No);
                    }
                    if edge.mandatory && !matches!(of, Of::Extension(_)) {
                        kept.missing.push((base, edge));
                    }
                    kept.value_hidden |= !sibling && self.is_observed_value(base);
                }
            }
            self.path.pop();
        }
        let names_from = kept.names_from;
        let closed = self.close_object(i, mark, kept, standing, plan, out, any);
        self.names.truncate(names_from);
        closed
    }

    /// What an object needs beyond its members: something that stands for those that are mandatory and hidden, and
    /// enough of them to mean anything.
    #[allow(clippy::too_many_arguments)]
    fn close_object(
        &mut self,
        i: usize,
        mark: usize,
        mut kept: Kept<'a>,
        standing: Standing<'_>,
        plan: &Plan,
        out: &mut Vec<u8>,
        mut any: bool,
    ) -> Result<Wrote, Stop> {
        // What must stand there and cannot be said to be absent as a whole, since parts of it must too.
        let bracket = standing.element.is_some_and(Edge::is_bracket);
        let must = standing.record || bracket && standing.element.is_some_and(|e| e.mandatory);
        let mut stays = must || self.stays(&kept, standing, plan);
        kept.substance |= stays && matches!(standing.of, Of::Extension(_));
        let declared = self.setup.declared;
        let names = self.names.get(kept.names_from..).unwrap_or_default();
        let mut stand_ins: Vec<(&'a str, &'a Edge)> = Vec::new();
        for (place, (name, edge)) in kept.missing.iter().enumerate() {
            let again = kept.missing[..place].iter().any(|(n, _)| n == name);
            if again || names.contains(name) {
                continue;
            }
            let silenced = !declared && is_carrier(edge);
            // Without what it cannot be without, it goes; a text that must not be spoken of goes with what it stands in.
            stays &= must
                || !silenced
                    && (treat::can_be_absent(self.catalogue(), edge) || self.has_unknown_code(name, edge));
            stand_ins.push((name, edge));
        }
        if stays && (standing.record || bracket) {
            stays = self.holds(i, kept.names_from, must, standing, &mut stand_ins);
        }
        // What holds nothing at all is no element (ele-1).
        if !stays || !standing.record && !any && stand_ins.is_empty() {
            self.cut(mark, out);
            return Ok(Wrote::No);
        }
        for (name, edge) in stand_ins {
            if self.has_unknown_code(name, edge) {
                write_unknown(name, out, &mut any);
                if !declared {
                    continue;
                }
            } else if !treat::can_be_absent(self.catalogue(), edge) {
                // Nothing can stand in its place.
                return Err(Stop::Withhold(Reason::NotValid));
            }
            separate(&mut any, out);
            treat::absent(self.catalogue(), name, edge, declared, out);
        }
        // obs-6: a value that was hidden is said to be hidden.
        let names = self.names.get(kept.names_from..).unwrap_or_default();
        if kept.value_hidden
            && declared
            && self.tape.member(self.text, i, "dataAbsentReason").is_none()
            && !names.iter().any(|n| n.starts_with("value"))
        {
            separate(&mut any, out);
            out.extend_from_slice(
                b"\"dataAbsentReason\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/data-absent-reason\",\"code\":\"masked\"}]}",
            );
        }
        out.push(b'}');
        Ok(Wrote::Yes { substance: kept.substance })
    }

    /// Whether what is left of an object that may go is worth its place.
    fn stays(&self, kept: &Kept<'_>, standing: Standing<'_>, plan: &Plan) -> bool {
        let names = self.names.get(kept.names_from..).unwrap_or_default();
        if matches!(standing.of, Of::Extension(_)) {
            // An extension is its url with something else (ext-1).
            return names.contains(&"url") && names.iter().any(|n| *n != "url" && *n != "id");
        }
        if kept.substance {
            return true;
        }
        // What only gives shape keeps no object alive whose content is gone; an object that is whole stays whole. Where
        // nothing may tell the one from the other, what the object could hold decides.
        if self.setup.declared {
            !kept.reduced && !names.is_empty()
        } else if standing.node == self.catalogue().primitive_node() {
            !names.is_empty()
        } else {
            names.iter().any(|n| *n != "id") && plan.shown().holds(self.catalogue().contents(standing.node))
        }
    }

    /// Whether an object keeps the rules of its type over several of its elements, or can be made to: by what stands in
    /// for one of them, or by leaving out another when the record is written anew.
    fn holds(
        &mut self,
        i: usize,
        names_from: usize,
        must: bool,
        standing: Standing<'_>,
        stand_ins: &mut Vec<(&'a str, &'a Edge)>,
    ) -> bool {
        let here = if standing.record { "" } else { self.path.last().copied().unwrap_or_default() };
        let names = self.names.get(names_from..).unwrap_or_default();
        let stood = |stand_ins: &[(&str, &Edge)], rule: &str| {
            names.iter().chain(stand_ins.iter().map(|(n, _)| n)).any(|n| invariants::names(rule, n))
        };
        for rule in self.rules {
            match rule {
                Rule::OneOf(element, needed) if *element == here => {
                    if needed.iter().any(|n| stood(stand_ins, n)) {
                        continue;
                    }
                    let last = needed.last().filter(|_| must);
                    let Some(edge) =
                        last.and_then(|n| self.catalogue().named_edge(standing.node, n.as_bytes()))
                    else {
                        return false;
                    };
                    stand_ins.push(edge);
                }
                Rule::Needs(element, first, second) if *element == here => {
                    if !stood(stand_ins, first) || stood(stand_ins, second) {
                        continue;
                    }
                    for (key, value) in self.tape.members(i) {
                        let name = self.tape.name(self.text, key);
                        let name = std::str::from_utf8(without_mark(&name).0).unwrap_or_default();
                        if invariants::names(first, name) {
                            self.suppressed.insert(value);
                        }
                    }
                }
                Rule::Unless(statuses, needed) if standing.record => {
                    let status = self.tape.string(self.text, i, "status").unwrap_or_default();
                    if statuses.contains(&status.as_ref()) {
                        continue;
                    }
                    for name in needed.iter().filter(|n| !stood(stand_ins, n)).collect::<Vec<_>>() {
                        stand_ins.extend(self.catalogue().named_edge(standing.node, name.as_bytes()));
                    }
                }
                Rule::OneOf(..) | Rule::Needs(..) | Rule::Unless(..) => {}
            }
        }
        true
    }

    fn has_unknown_code(&self, name: &str, edge: &Edge) -> bool {
        edge.required_binding && !edge.list && self.has_unknown(name)
    }

    fn has_unknown(&self, name: &str) -> bool {
        invariants::has_unknown(self.resource_type, name)
    }

    /// Whether a time of death that is about to become a mere yes stands beside such a yes or no.
    fn contradicts(&self, i: usize, plan: &Plan) -> bool {
        is_flag(plan) && self.tape.member(self.text, i, "deceasedBoolean").is_some()
    }

    /// What a member's outcome means for the text around it; whether it says anything, where it stands at all.
    pub(super) fn settle(
        &mut self,
        wrote: Wrote,
        base: &str,
        before: usize,
        had: bool,
        out: &mut Vec<u8>,
        any: &mut bool,
    ) -> Option<bool> {
        match wrote {
            Wrote::Yes { substance } => Some(substance),
            Wrote::Sibling(sealed) => {
                self.cut(before, out);
                *any = had;
                separate(any, out);
                write_string(&format!("_{base}"), out);
                out.push(b':');
                out.extend(sealed);
                Some(true)
            }
            Wrote::No => {
                self.cut(before, out);
                *any = had;
                None
            }
        }
    }

    fn is_observed_value(&self, name: &str) -> bool {
        let place = match self.path.as_slice() {
            [_] => true,
            [outer, _] => *outer == "component",
            _ => false,
        };
        place && self.resource_type == "Observation" && name.starts_with("value")
    }

    /// The other half of a list of primitives, where values and extensions stand in two arrays by position and both
    /// are shown.
    pub(super) fn paired(
        &self,
        i: usize,
        base: &str,
        value: usize,
        edge: &Edge,
        plan: &Plan,
        sibling: bool,
    ) -> Option<usize> {
        let Assigned::Fixed(category) = edge.category else { return None };
        let list = edge.kind == Kind::Primitive && self.tape.get(value).kind == J::ArrayStart;
        if !list || plan.treatment(category) != Treatment::Show {
            return None;
        }
        let other = match sibling {
            true => self.tape.member(self.text, i, base),
            false => self.tape.member(self.text, i, &format!("_{base}")),
        };
        other.filter(|other| self.tape.get(*other).kind == J::ArrayStart)
    }

    /// A list of primitives with the list of what stands beside each. A position stays in both or in neither, or an
    /// extension would move to another value.
    pub(super) fn pair(
        &mut self,
        key: usize,
        (values, others): (usize, usize),
        edge: &Edge,
        plan: &Plan,
        out: &mut Vec<u8>,
        any: &mut bool,
    ) -> Result<Wrote, Stop> {
        let (mark, had) = (out.len(), *any);
        let node = self.setup.catalogue.primitive_node();
        let mut others = self.tape.items(others);
        let mut left = self.tape.items(values);
        let mut lists: [Vec<Option<Half>>; 2] = Default::default();
        let mut says = false;
        loop {
            let (value, other) = (left.next(), others.next());
            if value.is_none() && other.is_none() {
                break;
            }
            let mut halves = [None, None];
            if let Some(item) = value.filter(|v| self.tape.get(*v).kind != J::Null) {
                self.begins(item, out);
                let wrote = self.value(item, edge, plan, out, Of::Shown)?;
                halves[0] = self.taken(mark, wrote, out, &mut says);
                if edge.modifier && halves[0].is_none() {
                    return Err(Stop::Withhold(Reason::Modifier));
                }
            }
            if let Some(item) = other.filter(|o| self.tape.get(*o).kind == J::ObjectStart) {
                self.begins(item, out);
                let wrote = self.beside(item, node, plan, out, halves[0].is_some())?;
                halves[1] = self.taken(mark, wrote, out, &mut says);
            }
            if halves.iter().any(Option::is_some) {
                let [value, other] = halves;
                lists[0].push(value);
                lists[1].push(other);
            }
        }
        let name = self.tape.text(self.text, key).into_owned();
        for (prefix, list) in ["", "_"].into_iter().zip(lists) {
            if list.iter().all(Option::is_none) {
                continue;
            }
            separate(any, out);
            write_string(&format!("{prefix}{name}"), out);
            out.extend_from_slice(b":[");
            for (place, half) in list.into_iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                let Some(half) = half else {
                    out.extend_from_slice(b"null");
                    continue;
                };
                if let Some(trace) = &mut self.trace {
                    trace.put(out.len(), half.came_from);
                }
                out.extend(half.text);
            }
            out.push(b']');
        }
        if out.len() == mark {
            *any = had;
            return Ok(Wrote::No);
        }
        Ok(Wrote::Yes { substance: says })
    }

    fn taken(&mut self, mark: usize, wrote: Wrote, out: &mut Vec<u8>, says: &mut bool) -> Option<Half> {
        if let Wrote::Yes { substance } = wrote {
            *says |= substance;
            let came_from = self.trace.as_mut().map(|t| t.split_off(mark)).unwrap_or_default();
            return Some(Half { text: out.split_off(mark), came_from });
        }
        self.cut(mark, out);
        None
    }

    /// The object beside a primitive (`_birthDate`): it stays only where the primitive itself is shown.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn sibling(
        &mut self,
        object: usize,
        key: usize,
        value: usize,
        edge: &Edge,
        plan: &Plan,
        out: &mut Vec<u8>,
        any: &mut bool,
    ) -> Result<Wrote, Stop> {
        let Assigned::Fixed(category) = edge.category else { return Ok(Wrote::No) };
        if edge.kind != Kind::Primitive || plan.treatment(category) != Treatment::Show {
            self.count(category, Treatment::Redact);
            return Ok(Wrote::No);
        }
        let name = self.tape.text(self.text, key);
        let beside = self.tape.member(self.text, object, name.trim_start_matches('_'));
        let beside = beside.map(|b| self.tape.get(b).kind).filter(|kind| *kind != J::Null);
        separate(any, out);
        out.extend_from_slice(self.tape.raw(self.text, key));
        out.push(b':');
        let node = self.setup.catalogue.primitive_node();
        match (self.tape.get(value).kind, beside) {
            (J::ObjectStart, beside) if beside != Some(J::ArrayStart) => {
                self.beside(value, node, plan, out, beside.is_some())
            }
            // Values that have only extensions; where there are values too, both are written together.
            (J::ArrayStart, None) => {
                out.push(b'[');
                let mut some = false;
                for item in self.tape.items(value) {
                    let before = out.len();
                    if some {
                        out.push(b',');
                    }
                    self.begins(item, out);
                    let stays = self.tape.get(item).kind == J::ObjectStart
                        && matches!(self.beside(item, node, plan, out, false)?, Wrote::Yes { .. });
                    if stays {
                        some = true;
                    } else {
                        self.cut(before, out);
                    }
                }
                out.push(b']');
                Ok(if some { YES } else { Wrote::No })
            }
            // One thing beside a list, or a list beside one thing: nothing says what belongs to what.
            _ => {
                self.count(Category::Unknown, Treatment::Redact);
                Ok(Wrote::No)
            }
        }
    }

    /// One object beside a primitive. An id alone needs the value that it is the id of (ele-1).
    fn beside(
        &mut self,
        i: usize,
        node: NodeId,
        plan: &Plan,
        out: &mut Vec<u8>,
        value: bool,
    ) -> Result<Wrote, Stop> {
        let mark = out.len();
        let wrote = self.object(i, node, plan, out, None, Of::Shown, None)?;
        if !value && matches!(wrote, Wrote::Yes { substance: false }) {
            self.cut(mark, out);
            return Ok(Wrote::No);
        }
        Ok(wrote)
    }

    #[allow(clippy::too_many_arguments)]
    pub(crate) fn member(
        &mut self,
        key: usize,
        value: usize,
        edge: &Edge,
        plan: &Plan,
        out: &mut Vec<u8>,
        any: &mut bool,
        of: Of,
    ) -> Result<Wrote, Stop> {
        separate(any, out);
        let key_at = out.len();
        out.extend_from_slice(self.tape.raw(self.text, key));
        out.push(b':');
        if self.tape.get(value).kind != J::ArrayStart {
            let wrote = self.value(value, edge, plan, out, of)?;
            // Only whether somebody died, not when: the choice is another one then.
            if is_flag(plan)
                && matches!(wrote, Wrote::Yes { .. })
                && self.tape.says(self.text, key, "deceasedDateTime")
            {
                self.cut(key_at, out);
                out.extend_from_slice(b"\"deceasedBoolean\":true");
            }
            return Ok(wrote);
        }
        out.push(b'[');
        let mut sealed: Vec<Vec<u8>> = Vec::new();
        let mut some = false;
        let mut says = false;
        for item in self.tape.items(value) {
            // Without extensions beside it, which `pair` looks after, a null stands for nothing.
            if self.tape.get(item).kind == J::Null {
                continue;
            }
            let before = out.len();
            if some {
                out.push(b',');
            }
            self.begins(item, out);
            match self.value(item, edge, plan, out, of)? {
                Wrote::Yes { substance } => {
                    some = true;
                    says |= substance;
                }
                Wrote::Sibling(text) => {
                    self.cut(before, out);
                    sealed.push(text);
                }
                Wrote::No => {
                    self.cut(before, out);
                    // A modifier that stands in a list hides no less when it is one of several.
                    if edge.modifier {
                        return Err(Stop::Withhold(Reason::Modifier));
                    }
                }
            }
        }
        if !some && !sealed.is_empty() {
            let mut list = b"[".to_vec();
            list.extend(sealed.join(&b","[..]));
            list.push(b']');
            return Ok(Wrote::Sibling(list));
        }
        out.push(b']');
        Ok(if some { Wrote::Yes { substance: says } } else { Wrote::No })
    }

    pub(super) fn value(
        &mut self,
        i: usize,
        edge: &Edge,
        plan: &Plan,
        out: &mut Vec<u8>,
        of: Of,
    ) -> Result<Wrote, Stop> {
        match (edge.kind, self.tape.get(i).kind) {
            (Kind::Resource, J::ObjectStart) => return self.contained(i, out),
            (Kind::Complex, J::ObjectStart) => {}
            (Kind::Primitive, kind) if is_of(edge.type_name, kind) => {
                let Assigned::Fixed(category) = edge.category else { return Ok(Wrote::No) };
                return Ok(treat::primitive(self, i, edge, category, plan, out)?);
            }
            (_, J::Null) => return Ok(Wrote::No),
            // Not the shape that the definitions give it: nothing says what it holds.
            _ => {
                self.count(Category::Unknown, Treatment::Redact);
                return Ok(Wrote::No);
            }
        }
        match edge.category {
            Assigned::Extension(fallback) => {
                let url = self.tape.string(self.text, i, "url").unwrap_or_default();
                let outer = match of {
                    Of::Extension(outer) => Some(outer),
                    Of::Shown | Of::Hidden => None,
                };
                let category = match (self.setup.catalogue.extension(&url), fallback.or(outer)) {
                    (Some(category), _) => category,
                    // A part of a listed extension has a bare name, not an address.
                    (None, Some(outer)) if !url.contains(':') => outer,
                    (None, _) => Category::Unknown,
                };
                let shapeless = category == Category::Structure && !self.is_coded(i);
                if plan.treatment(category) != Treatment::Show || of == Of::Hidden || shapeless {
                    self.count(category, Treatment::Redact);
                    return Ok(Wrote::No);
                }
                let node = self.setup.catalogue.extension_node(category);
                self.object(i, node, plan, out, None, Of::Extension(category), None)
            }
            Assigned::Reference if edge.type_name == "Reference" => {
                reference::reference(self, i, edge, plan, out)
            }
            Assigned::Reference => Ok(Wrote::No),
            Assigned::Fixed(category) => {
                if edge.type_name == "Address" && self.misleading_address(i, edge, plan) {
                    self.count(category, Treatment::Redact);
                    return Ok(Wrote::No);
                }
                if let Some(wrote) = treat::complex(self, i, edge, category, plan, out)? {
                    return Ok(wrote);
                }
                let hidden = plan.treatment(category) != Treatment::Show;
                let of = if hidden { Of::Hidden } else { Of::Shown };
                self.object(i, edge.node, plan, out, None, of, Some(edge))
            }
        }
    }

    /// Whether an extension holds nothing but a code: one that only gives shape must have no room for anything else.
    fn is_coded(&self, i: usize) -> bool {
        self.tape.members(i).all(|(key, value)| {
            let name = self.tape.name(self.text, key);
            matches!(&*name, b"url" | b"id" | b"valueCode" | b"valueBoolean")
                && !matches!(self.tape.get(value).kind, J::ObjectStart | J::ArrayStart)
        })
    }

    /// Whether an address is not the current one and that could not be seen (`use` modifies it).
    fn misleading_address(&self, i: usize, edge: &Edge, plan: &Plan) -> bool {
        let hidden = self.setup.catalogue.edge(edge.node, "use").is_some_and(|e| match e.category {
            Assigned::Fixed(category) => plan.treatment(category) != Treatment::Show,
            _ => true,
        });
        let how = self.tape.string(self.text, i, "use");
        hidden && how.is_some_and(|how| !["home", "work", "billing"].contains(&how.as_ref()))
    }
}

/// The name of a member without the mark of what stands beside a primitive, and whether it had the mark.
pub(super) fn without_mark(name: &[u8]) -> (&[u8], bool) {
    match name {
        [b'_', base @ ..] => (base, true),
        _ => (name, false),
    }
}

/// A code that says nothing, from a list that has one.
fn write_unknown(name: &str, out: &mut Vec<u8>, any: &mut bool) {
    separate(any, out);
    write_string(name, out);
    out.extend_from_slice(b":\"unknown\"");
}

fn is_sealed(edge: &Edge, plan: &Plan) -> bool {
    matches!(edge.category, Assigned::Fixed(c) if plan.treatment(c) == Treatment::Encrypt)
}

fn is_carrier(edge: &Edge) -> bool {
    matches!(edge.category, Assigned::Fixed(c) if c.is_carrier())
}

/// Whether of a death only whether is shown.
fn is_flag(plan: &Plan) -> bool {
    plan.treatment(Category::Death) == Treatment::Generalize(Coarsening::Flag)
}

/// Whether a primitive of that type is written so in JSON.
fn is_of(type_name: &str, kind: J) -> bool {
    match type_name {
        "boolean" => matches!(kind, J::True | J::False),
        "integer" | "decimal" | "positiveInt" | "unsignedInt" => kind == J::Number,
        _ => kind == J::String,
    }
}
