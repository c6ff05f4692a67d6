//! Second pass over an entry: raw ranges are copied, and only what the plan treats is replaced.

use std::collections::BTreeSet;

use drape_fhir::json::{Kind as J, write_string};
use drape_fhir::reference::Reference;
use drape_view::catalogue::{Assigned, Edge, Kind, NodeId};
use drape_view::{Catalogue, Category, Facts, Plan, Reason, Treatment, Verdict};

use crate::tape::Tape;
use crate::{Answer, Fault, Setup, treat};

/// What was done to one entry.
#[derive(Debug)]
pub(crate) struct Effects {
    pub(crate) treated: Box<[[u64; 5]; Category::COUNT]>,
    pub(crate) minted: Vec<(String, String, String)>,
}

impl Default for Effects {
    fn default() -> Self {
        Self { treated: Box::new([[0; 5]; Category::COUNT]), minted: Vec::new() }
    }
}

/// What was done to one record, for its security labels.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    redacted: bool,
    generalized: bool,
    pseudonymized: bool,
    encrypted: bool,
}

pub(crate) struct Rewriter<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) tape: &'a Tape,
    pub(crate) text: &'a [u8],
    facts: &'a Facts,
    answer: &'a Answer,
    pub(crate) effects: &'a mut Effects,
    /// The place of the next contained record among the facts.
    next: usize,
    done: Done,
    /// Contained records that are left out, and those that a reference still names.
    dropped: BTreeSet<String>,
    named: BTreeSet<String>,
    pub(crate) path: Vec<String>,
    /// What ciphertexts of the current record are bound to.
    pub(crate) binding: String,
    pub(crate) resource_type: String,
}

/// What became of a value.
pub(crate) enum Wrote {
    /// It stands there; whether it says anything by itself.
    Yes { substance: bool },
    /// It is gone.
    No,
    /// It is gone and a sealed form stands on the `_` sibling instead.
    Sibling(Vec<u8>),
}

const YES: Wrote = Wrote::Yes { substance: true };

/// Objects that are not valid with less than one of these members, by the path of their element.
const BRACKETS: [(&str, &[&str]); 2] = [
    // pat-1
    ("Patient.contact", &["name", "telecom", "address", "organization"]),
    // obs-3
    ("Observation.referenceRange", &["low", "high", "text"]),
];

impl<'a> Rewriter<'a> {
    pub(crate) fn new(
        setup: &'a Setup,
        tape: &'a Tape,
        text: &'a [u8],
        facts: &'a Facts,
        answer: &'a Answer,
        effects: &'a mut Effects,
    ) -> Self {
        Self {
            setup,
            tape,
            text,
            facts,
            answer,
            effects,
            next: 0,
            done: Done::default(),
            dropped: BTreeSet::new(),
            named: BTreeSet::new(),
            path: Vec::new(),
            binding: String::new(),
            resource_type: String::new(),
        }
    }

    /// The record at `i`, shielded; or the reason why it is withheld.
    pub(crate) fn resource(&mut self, i: usize, out: &mut Vec<u8>) -> Result<Result<(), Reason>, Fault> {
        if self.answer.verdicts.iter().all(|v| matches!(v, Verdict::Keep(plan) if plan.shows_all())) {
            self.copy(i, out);
            return Ok(Ok(()));
        }
        // Records nested deeper than `contained` (a Bundle in an entry) have no rules of their own yet.
        let contained = self.tape.member(self.text, i, "contained").filter(|c| self.tape.get(*c).kind == J::ArrayStart);
        if contained.map_or(0, |c| self.tape.items(c).count()) + 1 != self.facts.records.len() {
            return Ok(Err(Reason::ClosedType));
        }
        // Which contained records are left out decides which references stay, and the references that stay decide
        // which contained records do (dom-3): repeated until both agree, each round leaving out at least one more.
        let mark = out.len();
        loop {
            out.truncate(mark);
            *self.effects = Effects::default();
            self.next = 0;
            self.named.clear();
            self.done = Done::default();
            self.path.clear();
            let dropped = self.dropped.clone();
            match self.one(i, out, false)? {
                Err(reason) => {
                    out.truncate(mark);
                    return Ok(Err(reason));
                }
                Ok(()) => {
                    let kept = self.facts.records.iter().skip(1).filter_map(|r| r.id.clone());
                    let unnamed: Vec<String> =
                        kept.filter(|id| !self.dropped.contains(id) && !self.named.contains(id)).collect();
                    self.dropped.extend(unnamed);
                    if self.dropped == dropped {
                        return Ok(Ok(()));
                    }
                }
            }
        }
    }

    fn one(&mut self, i: usize, out: &mut Vec<u8>, contained: bool) -> Result<Result<(), Reason>, Fault> {
        let place = self.next;
        self.next += 1;
        let (Some(record), Some(verdict)) = (self.facts.records.get(place), self.answer.verdicts.get(place)) else {
            return Err(Fault::internal("a record without a verdict"));
        };
        let plan = match verdict {
            Verdict::Withhold(reason) => return Ok(Err(*reason)),
            Verdict::Keep(plan) => std::sync::Arc::clone(plan),
        };
        let node = self.setup.catalogue.root(&record.resource_type).ok_or_else(|| Fault::internal("an unknown type"))?;
        let outer = (
            std::mem::take(&mut self.done),
            std::mem::replace(&mut self.resource_type, record.resource_type.clone()),
            std::mem::take(&mut self.path),
            std::mem::take(&mut self.binding),
        );
        self.binding = self
            .shown_id(&plan, &record.resource_type, record.id.as_deref())
            .unwrap_or_else(|| self.setup.pseudonyms.of(&record.resource_type, record.id.as_deref().unwrap_or_default()));
        let mut head = Head { at: out.len() + 1, meta: None };
        let written = self.object(i, node, &plan, out, Some(&mut head), None)?;
        if written.is_ok() && !contained {
            self.label(&plan, head, out);
        }
        (self.done, self.resource_type, self.path, self.binding) = outer;
        Ok(written.map(drop))
    }

    /// The id under which the caller knows a record.
    pub(crate) fn shown_id(&self, plan: &Plan, resource_type: &str, id: Option<&str>) -> Option<String> {
        let id = id?;
        match plan.treatment(Category::RecordId) {
            Treatment::Show => Some(id.to_owned()),
            Treatment::Pseudonymize => Some(self.setup.pseudonyms.of(resource_type, id)),
            _ => None,
        }
    }

    /// `meta` with the labels of what was done, right behind the opening brace's first member.
    fn label(&mut self, plan: &Plan, head: Head, out: &mut Vec<u8>) {
        let mut members = Vec::new();
        let mut security = Vec::new();
        if let Some(i) = head.meta {
            for (key, value) in self.tape.members(i) {
                let name = self.tape.text(self.text, key);
                let shown = |category| plan.treatment(category) == Treatment::Show;
                let keep = match name.as_ref() {
                    "versionId" => shown(Category::Structure),
                    "lastUpdated" => shown(Category::RecordedDate),
                    "source" => shown(Category::DeviceNetwork),
                    "profile" | "tag" => shown(Category::Label),
                    "security" if shown(Category::Label) => {
                        if self.tape.get(value).kind == J::ArrayStart {
                            for item in self.tape.items(value) {
                                security.push(self.tape.raw(self.text, item).to_vec());
                            }
                        }
                        continue;
                    }
                    _ => false,
                };
                if keep && !matches!(self.tape.get(value).kind, J::Null) {
                    let mut member = self.tape.raw(self.text, key).to_vec();
                    member.push(b':');
                    self.copy(value, &mut member);
                    members.push(member);
                }
            }
        }
        if self.setup.declared {
            let codes = [
                (self.done.redacted, "REDACTED"),
                (self.done.generalized, "ABSTRED"),
                (self.done.pseudonymized, "PSEUDED"),
                (self.done.encrypted, "MASKED"),
            ];
            for (_, code) in codes.into_iter().filter(|(done, _)| *done) {
                const SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
                security.push(format!("{{\"system\":\"{SYSTEM}\",\"code\":\"{code}\"}}").into_bytes());
            }
        }
        if !security.is_empty() {
            let mut member = b"\"security\":[".to_vec();
            member.extend(security.join(&b","[..]));
            member.push(b']');
            members.push(member);
        }
        if members.is_empty() {
            return;
        }
        let mut meta = b",\"meta\":{".to_vec();
        meta.extend(members.join(&b","[..]));
        meta.push(b'}');
        out.splice(head.at..head.at, meta);
    }

    /// Copies the value at `i` as it is, but for addresses under the upstream's base, which become the public ones.
    pub(crate) fn copy(&self, i: usize, out: &mut Vec<u8>) {
        let (close, end) = self.tape.end(i);
        let mut from = self.tape.get(i).start as usize;
        for place in i..=close {
            let token = self.tape.get(place);
            if token.kind != J::String {
                continue;
            }
            let raw = &self.text[token.start as usize..token.end as usize];
            let Some(rewritten) = self.public(raw, token.escaped) else { continue };
            out.extend_from_slice(&self.text[from..token.start as usize]);
            write_string(&rewritten, out);
            from = token.end as usize;
        }
        out.extend_from_slice(&self.text[from..end]);
    }

    /// An absolute address on the upstream as the public one.
    fn public(&self, raw: &[u8], escaped: bool) -> Option<String> {
        let base = &self.setup.upstream_base;
        if !escaped && !raw.get(1..).is_some_and(|r| r.starts_with(base.as_bytes())) {
            return None;
        }
        let text = drape_fhir::json::unescape(raw);
        let rest = text.strip_prefix(base.as_str())?;
        (rest.is_empty() || rest.starts_with(['/', '?'])).then(|| format!("{}{rest}", self.setup.public_base))
    }

    pub(crate) fn count(&mut self, category: Category, treatment: Treatment) {
        self.effects.treated[category.index()][treatment.rank()] += 1;
        match treatment {
            Treatment::Show => {}
            Treatment::Generalize(_) => self.done.generalized = true,
            Treatment::Pseudonymize => self.done.pseudonymized = true,
            Treatment::Encrypt => self.done.encrypted = true,
            Treatment::Redact => self.done.redacted = true,
        }
    }

    /// The object at `i`, member by member. `Ok(Ok(wrote))`; `Ok(Err(reason))` withholds the whole record.
    fn object(
        &mut self,
        i: usize,
        node: NodeId,
        plan: &Plan,
        out: &mut Vec<u8>,
        mut head: Option<&mut Head>,
        extension_of: Option<Category>,
    ) -> Result<Result<Wrote, Reason>, Fault> {
        let mark = out.len();
        out.push(b'{');
        let mut any = false;
        let mut substance = false;
        let mut invalid = false;
        for (key, value) in self.tape.members(i) {
            let name = self.tape.text(self.text, key);
            let at_head = head.is_some();
            if at_head && name == "resourceType" {
                separate(&mut any, out);
                out.extend_from_slice(b"\"resourceType\":");
                out.extend_from_slice(self.tape.raw(self.text, value));
                if let Some(head) = head.as_deref_mut() {
                    head.at = out.len();
                }
                continue;
            }
            if at_head && name == "meta" {
                if let Some(head) = head.as_deref_mut()
                    && self.tape.get(value).kind == J::ObjectStart
                {
                    head.meta = Some(value);
                    self.count_meta(value, plan);
                }
                continue;
            }
            let (base, sibling) = match name.strip_prefix('_') {
                Some(base) => (base, true),
                None => (name.as_ref(), false),
            };
            let Some(edge) = self.setup.catalogue.edge(node, base).copied() else {
                self.count(Category::Unknown, Treatment::Redact);
                continue;
            };
            let before = out.len();
            let had = any;
            self.path.push(base.to_owned());
            let wrote = if sibling {
                self.sibling(i, key, value, &edge, plan, out, &mut any)?
            } else {
                self.member(key, value, &edge, plan, out, &mut any, extension_of)?
            };
            let wrote = match wrote {
                Ok(wrote) => wrote,
                Err(reason) => return Ok(Err(reason)),
            };
            match wrote {
                Wrote::Yes { substance: says } => substance |= says && base != "id",
                Wrote::Sibling(sealed) => {
                    out.truncate(before);
                    any = had;
                    separate(&mut any, out);
                    write_string(&format!("_{base}"), out);
                    out.push(b':');
                    out.extend(sealed);
                    substance = true;
                }
                Wrote::No => {
                    out.truncate(before);
                    any = had;
                    if edge.modifier && !sibling {
                        return Ok(Err(Reason::Modifier));
                    }
                    // A sibling of a value that stands there is never the whole of a mandatory element.
                    let alone = !sibling || self.tape.member(self.text, i, base).is_none();
                    if edge.mandatory && alone && extension_of.is_none() {
                        if edge.required_binding {
                            // Nothing can stand in its place; that matters only if the object around it stays.
                            invalid = true;
                        } else {
                            separate(&mut any, out);
                            treat::absent(base, &edge, self.setup.declared, out);
                        }
                    }
                    if !sibling {
                        self.after_drop(i, base, out, &mut any);
                    }
                }
            }
            self.path.pop();
        }
        if let Some((_, needed)) = BRACKETS.iter().find(|(path, _)| self.is_at(path)) {
            substance &= needed.iter().any(|n| member_written(&out[mark..], n));
        }
        if head.is_none() && !substance {
            out.truncate(mark);
            return Ok(Ok(Wrote::No));
        }
        if invalid {
            return Ok(Err(Reason::NotValid));
        }
        out.push(b'}');
        Ok(Ok(YES))
    }

    fn is_at(&self, path: &str) -> bool {
        let mut steps = path.split('.');
        steps.next() == Some(&self.resource_type) && steps.eq(self.path.iter().map(String::as_str))
    }

    fn count_meta(&mut self, i: usize, plan: &Plan) {
        for (key, _) in self.tape.members(i) {
            let category = match self.tape.text(self.text, key).as_ref() {
                "versionId" => Category::Structure,
                "lastUpdated" => Category::RecordedDate,
                "source" => Category::DeviceNetwork,
                "profile" | "tag" | "security" => Category::Label,
                _ => Category::Unknown,
            };
            let treatment = match plan.treatment(category) {
                Treatment::Show if category != Category::Unknown => Treatment::Show,
                _ => Treatment::Redact,
            };
            self.count(category, treatment);
        }
    }

    /// obs-6: a value that was hidden is said to be hidden.
    fn after_drop(&mut self, i: usize, name: &str, out: &mut Vec<u8>, any: &mut bool) {
        let observed = self.resource_type == "Observation"
            && name.starts_with("value")
            && matches!(self.path.as_slice(), [_] | [_, _])
            && (self.path.len() == 1 || self.path[0] == "component");
        if observed && self.setup.declared && self.tape.member(self.text, i, "dataAbsentReason").is_none() {
            separate(any, out);
            out.extend_from_slice(
                b"\"dataAbsentReason\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/data-absent-reason\",\"code\":\"masked\"}]}",
            );
        }
    }

    /// The object beside a primitive (`_birthDate`): it stays only where the primitive itself is shown.
    #[allow(clippy::too_many_arguments)]
    fn sibling(
        &mut self,
        _object: usize,
        key: usize,
        value: usize,
        edge: &Edge,
        plan: &Plan,
        out: &mut Vec<u8>,
        any: &mut bool,
    ) -> Result<Result<Wrote, Reason>, Fault> {
        let Assigned::Fixed(category) = edge.category else { return Ok(Ok(Wrote::No)) };
        if edge.kind != Kind::Primitive || plan.treatment(category) != Treatment::Show {
            self.count(category, Treatment::Redact);
            return Ok(Ok(Wrote::No));
        }
        separate(any, out);
        out.extend_from_slice(self.tape.raw(self.text, key));
        out.push(b':');
        let node = self.setup.catalogue.primitive_node();
        match self.tape.get(value).kind {
            J::ObjectStart => self.object(value, node, plan, out, None, None),
            J::ArrayStart => {
                // Positions must stay, or extensions would move to other values.
                out.push(b'[');
                let mut some = false;
                for (place, item) in self.tape.items(value).enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    let before = out.len();
                    let wrote = match self.tape.get(item).kind {
                        J::ObjectStart => match self.object(item, node, plan, out, None, None)? {
                            Ok(wrote) => wrote,
                            Err(reason) => return Ok(Err(reason)),
                        },
                        _ => Wrote::No,
                    };
                    if matches!(wrote, Wrote::Yes { .. }) {
                        some = true;
                    } else {
                        out.truncate(before);
                        out.extend_from_slice(b"null");
                    }
                }
                out.push(b']');
                Ok(Ok(if some { YES } else { Wrote::No }))
            }
            _ => Ok(Ok(Wrote::No)),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn member(
        &mut self,
        key: usize,
        value: usize,
        edge: &Edge,
        plan: &Plan,
        out: &mut Vec<u8>,
        any: &mut bool,
        extension_of: Option<Category>,
    ) -> Result<Result<Wrote, Reason>, Fault> {
        separate(any, out);
        let key_at = out.len();
        out.extend_from_slice(self.tape.raw(self.text, key));
        out.push(b':');
        if self.tape.get(value).kind != J::ArrayStart {
            let wrote = self.value(value, edge, plan, out, extension_of)?;
            if let Ok(Wrote::Yes { .. }) = wrote
                && edge.type_name == "dateTime"
                && self.tape.text(self.text, key) == "deceasedDateTime"
                && matches!(plan.treatment(Category::Death), Treatment::Generalize(_))
            {
                // Only whether, not when: the choice is another one then.
                out.truncate(key_at);
                out.extend_from_slice(b"\"deceasedBoolean\":true");
            }
            return Ok(wrote);
        }
        out.push(b'[');
        let mut sealed: Vec<Vec<u8>> = Vec::new();
        let mut some = false;
        let mut says = false;
        for item in self.tape.items(value) {
            let before = out.len();
            if some {
                out.push(b',');
            }
            match self.value(item, edge, plan, out, extension_of)? {
                Err(reason) => return Ok(Err(reason)),
                Ok(Wrote::Yes { substance }) => {
                    some = true;
                    says |= substance;
                }
                Ok(Wrote::Sibling(text)) => {
                    out.truncate(before);
                    sealed.push(text);
                }
                Ok(Wrote::No) => {
                    out.truncate(before);
                    // A modifier that stands in a list hides no less when it is one of several.
                    if edge.modifier {
                        return Ok(Err(Reason::Modifier));
                    }
                }
            }
        }
        if !some && !sealed.is_empty() {
            let mut list = b"[".to_vec();
            list.extend(sealed.join(&b","[..]));
            list.push(b']');
            return Ok(Ok(Wrote::Sibling(list)));
        }
        out.push(b']');
        Ok(Ok(if some { Wrote::Yes { substance: says } } else { Wrote::No }))
    }

    fn value(
        &mut self,
        i: usize,
        edge: &Edge,
        plan: &Plan,
        out: &mut Vec<u8>,
        extension_of: Option<Category>,
    ) -> Result<Result<Wrote, Reason>, Fault> {
        let kind = self.tape.get(i).kind;
        match (edge.kind, kind) {
            (Kind::Resource, J::ObjectStart) => return self.contained(i, out),
            (Kind::Complex, J::ObjectStart) => {}
            (Kind::Primitive, J::String | J::Number | J::True | J::False) => {
                let category = match edge.category {
                    Assigned::Fixed(category) => category,
                    _ => return Ok(Ok(Wrote::No)),
                };
                return treat::primitive(self, i, edge, category, plan, out).map(Ok);
            }
            // A null keeps the place of a value that has only extensions.
            (Kind::Primitive, J::Null) => {
                let Assigned::Fixed(category) = edge.category else { return Ok(Ok(Wrote::No)) };
                if plan.treatment(category) != Treatment::Show {
                    return Ok(Ok(Wrote::No));
                }
                out.extend_from_slice(b"null");
                return Ok(Ok(Wrote::Yes { substance: false }));
            }
            // Not the shape that the definitions give it: nothing says what it holds.
            _ => {
                self.count(Category::Unknown, Treatment::Redact);
                return Ok(Ok(Wrote::No));
            }
        }
        match edge.category {
            Assigned::Extension(fallback) => {
                let url = self.tape.string(self.text, i, "url").map(std::borrow::Cow::into_owned).unwrap_or_default();
                let listed = self.setup.catalogue.extension(&url);
                let category = match (listed, fallback.or(extension_of)) {
                    (Some(category), _) => category,
                    // A part of a listed extension has a bare name, not an address.
                    (None, Some(outer)) if !url.contains(':') => outer,
                    (None, _) => Category::Unknown,
                };
                if plan.treatment(category) != Treatment::Show {
                    self.count(category, Treatment::Redact);
                    return Ok(Ok(Wrote::No));
                }
                let node = self.setup.catalogue.extension_node(category);
                let wrote = self.object(i, node, plan, out, None, Some(category))?;
                // An extension is its url with a value; with the value hidden it says nothing.
                let hollow = !self
                    .tape
                    .members(i)
                    .any(|(k, _)| !matches!(self.tape.text(self.text, k).as_ref(), "url" | "id"));
                Ok(wrote.map(|w| if hollow { Wrote::No } else { w }))
            }
            Assigned::Reference if edge.type_name == "Reference" => {
                treat::reference(self, i, edge, plan, out)
            }
            Assigned::Reference => Ok(Ok(Wrote::No)),
            Assigned::Fixed(category) => {
                if let Some(wrote) = treat::complex(self, i, edge, category, plan, out)? {
                    return Ok(Ok(wrote));
                }
                self.object(i, edge.node, plan, out, None, None)
            }
        }
    }

    /// A contained record, under its own verdict and never shown more of than its container.
    fn contained(&mut self, i: usize, out: &mut Vec<u8>) -> Result<Result<Wrote, Reason>, Fault> {
        let place = self.next;
        let id = self.facts.records.get(place).and_then(|r| r.id.clone());
        let before = out.len();
        let skip = id.as_ref().is_none_or(|id| self.dropped.contains(id));
        let written = if skip {
            // Its own contained records must be stepped over too.
            let mut unused = Vec::new();
            let effects = std::mem::take(self.effects);
            let done = self.done;
            let _ = self.one(i, &mut unused, true)?;
            *self.effects = effects;
            self.done = done;
            Err(Reason::NotReceived)
        } else {
            self.one(i, out, true)?
        };
        if written.is_ok() {
            return Ok(Ok(YES));
        }
        out.truncate(before);
        self.done.redacted = true;
        if let Some(id) = id {
            self.dropped.insert(id);
        }
        Ok(Ok(Wrote::No))
    }

    /// A member of a Reference that is judged like any other: `identifier`, `extension`.
    pub(crate) fn plain_member(
        &mut self,
        key: usize,
        value: usize,
        edge: &Edge,
        plan: &Plan,
        out: &mut Vec<u8>,
        any: &mut bool,
    ) -> Result<Result<Wrote, Reason>, Fault> {
        self.member(key, value, edge, plan, out, any, None)
    }

    /// What a reference names, seen from this server.
    pub(crate) fn target<'t>(&self, text: &'t str) -> Reference<'t> {
        Reference::parse(text, &[&self.setup.upstream_base])
    }

    /// The type of a contained record that is not left out.
    pub(crate) fn contained_type(&self, id: &str) -> Option<&str> {
        if self.dropped.contains(id) {
            return None;
        }
        self.facts.records.iter().skip(1).find(|r| r.id.as_deref() == Some(id)).map(|r| r.resource_type.as_str())
    }

    /// A reference to a contained record stays.
    pub(crate) fn name_contained(&mut self, id: &str) {
        self.named.insert(id.to_owned());
    }

    pub(crate) fn mint(&mut self, kind: &str, id: &str) -> String {
        let pseudonym = self.setup.pseudonyms.of(kind, id);
        self.effects.minted.push((pseudonym.clone(), kind.to_owned(), id.to_owned()));
        pseudonym
    }

    pub(crate) fn catalogue(&self) -> &'a Catalogue {
        &self.setup.catalogue
    }

    pub(crate) fn seal_key(&self) -> Result<&'a drape_keys::DataKey, Fault> {
        self.answer.seal_key.as_deref().ok_or_else(|| Fault::internal("no key to seal with"))
    }

    /// Rewrites an address in a value that is shown.
    pub(crate) fn shown_address(&self, i: usize) -> Option<String> {
        let token = self.tape.get(i);
        self.public(&self.text[token.start as usize..token.end as usize], token.escaped)
    }
}

/// Where a record's `meta` goes, and what the upstream's said.
struct Head {
    at: usize,
    meta: Option<usize>,
}

pub(crate) fn separate(any: &mut bool, out: &mut Vec<u8>) {
    if *any {
        out.push(b',');
    }
    *any = true;
}

/// Whether a member of that name was written directly into the object that `text` begins; names are unique enough in
/// the few objects this is asked about.
fn member_written(text: &[u8], name: &str) -> bool {
    let needle = format!("\"{name}\":");
    text.windows(needle.len()).any(|w| w == needle.as_bytes())
}
