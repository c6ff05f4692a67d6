//! Second pass over an entry: raw ranges are copied, and only what the plan treats is replaced.

mod invariants;
mod meta;
mod object;
mod trace;

pub(crate) use object::Of;
pub(crate) use trace::Trace;

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use drape_fhir::json::{Kind as J, write_string};
use drape_fhir::reference::Reference;
use drape_view::{Catalogue, Category, Facts, Plan, Reason, Treatment, Verdict};

use crate::tape::Tape;
use crate::{Answer, Fault, Setup, reference};

/// What was done to one entry.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) parts: Vec<Part>,
    /// The part of the record that is being written.
    current: usize,
    pub(crate) minted: Vec<(String, String, String)>,
}

/// What was done under one plan.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) plan: Arc<Plan>,
    /// Elements by category and by the rank of their treatment.
    pub(crate) treated: [[u64; 5]; Category::COUNT],
    /// Records that were let through whole, of which no element was looked at.
    pub(crate) whole: u64,
}

impl Part {
    pub(crate) fn of(plan: &Arc<Plan>) -> Self {
        Self { plan: Arc::clone(plan), treated: [[0; 5]; Category::COUNT], whole: 0 }
    }
}

impl Effects {
    /// What follows is done under that plan; gives the part before it.
    fn begin(&mut self, plan: &Arc<Plan>) -> usize {
        let known = self.parts.iter().position(|part| Arc::ptr_eq(&part.plan, plan));
        let place = known.unwrap_or_else(|| {
            self.parts.push(Part::of(plan));
            self.parts.len() - 1
        });
        std::mem::replace(&mut self.current, place)
    }

    /// The record was let through whole.
    pub(crate) fn whole(&mut self, verdict: Option<&Verdict>) {
        if let Some(Verdict::Keep(plan)) = verdict {
            self.begin(plan);
            if let Some(part) = self.parts.get_mut(self.current) {
                part.whole += 1;
            }
        }
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

impl Done {
    fn any(self) -> bool {
        self.redacted || self.generalized || self.pseudonymized || self.encrypted
    }

    /// What was done to a contained record was done to its container.
    fn add(&mut self, other: Self) {
        self.redacted |= other.redacted;
        self.generalized |= other.generalized;
        self.pseudonymized |= other.pseudonymized;
        self.encrypted |= other.encrypted;
    }
}

pub(crate) struct Rewriter<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) tape: &'a Tape,
    pub(crate) text: &'a [u8],
    facts: &'a Facts,
    answer: &'a Answer,
    pub(crate) effects: &'a mut Effects,
    /// The place of the next contained record among the facts, and of the record being written.
    next: usize,
    current: usize,
    done: Done,
    /// Where the contained records stand among the facts, by their ids.
    places: HashMap<&'a str, usize>,
    /// Two contained records have the same id, so that a reference could mean either.
    ambiguous: bool,
    /// Contained records that are left out, by their places.
    dropped: BTreeSet<usize>,
    /// Members that cannot stay without another one that is hidden, by the places of their values on the tape.
    suppressed: BTreeSet<usize>,
    /// The rules of the current record's type over several elements.
    rules: &'static [invariants::Rule],
    /// References within the record that stand in the output, in its order.
    links: Vec<Link>,
    /// The names of the members that stand there, of every object that is being written; the innermost's last.
    names: Vec<&'a str>,
    pub(crate) path: Vec<&'a str>,
    /// What ciphertexts of the current record are bound to, once there is one.
    binding: Option<String>,
    pub(crate) resource_type: &'a str,
    /// Whether the current record is a definition.
    pub(crate) is_definition: bool,
    /// Whether the reference that was last looked at is left out for what it names.
    pub(crate) concealed: bool,
    /// What came from where, if somebody wants to know.
    pub(crate) trace: Option<Trace>,
}

/// `#id` or `#`, as it was written.
#[derive(Clone, Copy, Debug)]
struct Link {
    at: usize,
    from: usize,
    /// 0 is the container.
    to: usize,
}

/// What became of a value.
#[derive(Debug)]
pub(crate) enum Wrote {
    /// It stands there; whether it says anything by itself.
    Yes { substance: bool },
    /// It is gone.
    No,
    /// It is gone and a sealed form stands on the `_` sibling instead.
    Sibling(Vec<u8>),
}

pub(crate) const YES: Wrote = Wrote::Yes { substance: true };

/// Why a record is not written to its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It is withheld.
    Withhold(Reason),
    /// The whole answer ends here.
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// How often a record is written anew because something contained in it turned out to be hidden. Each time is one pass
/// over the record, so this bounds the work; real records need two or three.
const ROUNDS_MAX: usize = 8;

impl<'a> Rewriter<'a> {
    pub(crate) fn new(
        setup: &'a Setup,
        tape: &'a Tape,
        text: &'a [u8],
        facts: &'a Facts,
        answer: &'a Answer,
        effects: &'a mut Effects,
    ) -> Self {
        let mut places = HashMap::new();
        let mut ambiguous = false;
        let mut dropped = BTreeSet::new();
        for (place, record) in facts.records.iter().enumerate().skip(1) {
            if let Some(id) = &record.id {
                ambiguous |= places.insert(id.as_str(), place).is_some();
            }
            // What nothing can name cannot stay (dom-3).
            if record.id.is_none() || matches!(answer.verdicts.get(place), Some(Verdict::Withhold(_))) {
                dropped.insert(place);
            }
        }
        Self {
            setup,
            tape,
            text,
            facts,
            answer,
            effects,
            next: 0,
            current: 0,
            done: Done::default(),
            places,
            ambiguous,
            dropped,
            suppressed: BTreeSet::new(),
            rules: &[],
            links: Vec::new(),
            names: Vec::with_capacity(32),
            path: Vec::with_capacity(8),
            binding: None,
            resource_type: "",
            is_definition: false,
            concealed: false,
            trace: None,
        }
    }

    /// Notes from now on what came from where.
    pub(crate) fn traced(mut self) -> Self {
        self.trace = Some(Trace::default());
        self
    }

    /// An item of a list is about to be written.
    pub(super) fn begins(&mut self, item: usize, out: &[u8]) {
        if let Some(trace) = &mut self.trace {
            trace.items.push((out.len(), item));
        }
    }

    /// The value at `i` was treated in its place.
    pub(crate) fn treated(&mut self, i: usize) {
        if let Some(trace) = &mut self.trace {
            trace.treated.push(i);
        }
    }

    /// The record at `i`, shielded; or the reason why it is withheld.
    pub(crate) fn resource(&mut self, i: usize, out: &mut Vec<u8>) -> Result<Result<(), Reason>, Fault> {
        let all = self.answer.verdicts.iter().all(|v| matches!(v, Verdict::Keep(plan) if plan.shows_all()));
        if all && self.answer.hide.is_none() {
            self.effects.whole(self.answer.verdicts.first());
            // White space would tell a whole record from a reduced one.
            if self.setup.declared || self.setup.shows_all {
                self.copy(i, out)
            } else {
                self.compact(i, out)
            }
            return Ok(Ok(()));
        }
        // Records nested deeper than `contained` (a Bundle in an entry) have no rules of their own yet.
        let contained = self.tape.member(self.text, i, "contained");
        if contained.map_or(0, |c| self.tape.items(c).count()) + 1 != self.facts.records.len() {
            return Ok(Err(Reason::ClosedType));
        }
        if self.ambiguous {
            return Ok(Err(Reason::NotValid));
        }
        let mark = out.len();
        for _ in 0..ROUNDS_MAX {
            self.cut(mark, out);
            *self.effects = Effects::default();
            if let Some(trace) = &mut self.trace {
                trace.treated.clear();
            }
            self.next = 0;
            let before = (self.dropped.len(), self.suppressed.len());
            match self.one(i, out, false) {
                Err(Stop::Withhold(reason)) => {
                    self.cut(mark, out);
                    return Ok(Err(reason));
                }
                Err(Stop::Fault(fault)) => return Err(fault),
                Ok(()) => {}
            }
            // A contained record that could not be written: references to it must not be left dangling (ref-1). A member
            // that is not valid without another one: it goes too.
            if (self.dropped.len(), self.suppressed.len()) != before {
                continue;
            }
            let unreached = self.unreached();
            if unreached.is_empty() {
                return Ok(Ok(()));
            }
            self.dropped.extend(unreached);
        }
        self.cut(mark, out);
        Ok(Err(Reason::NotValid))
    }

    /// Contained records that stand there although nothing that is left leads to them, nor they to their container
    /// (dom-3).
    fn unreached(&self) -> Vec<usize> {
        let count = self.facts.records.len();
        let mut leads: Vec<Vec<usize>> = vec![Vec::new(); count];
        let mut reached = vec![false; count];
        let mut next = vec![0];
        for link in &self.links {
            leads[link.from].push(link.to);
            if link.to == 0 {
                next.push(link.from);
            }
        }
        while let Some(place) = next.pop() {
            if !std::mem::replace(&mut reached[place], true) {
                next.extend(&leads[place]);
            }
        }
        (1..count).filter(|place| !reached[*place] && !self.dropped.contains(place)).collect()
    }

    /// Takes back what was written from `to` on.
    pub(crate) fn cut(&mut self, to: usize, out: &mut Vec<u8>) {
        out.truncate(to);
        while self.links.last().is_some_and(|link| link.at >= to) {
            self.links.pop();
        }
        if let Some(trace) = &mut self.trace {
            while trace.items.last().is_some_and(|(at, _)| *at >= to) {
                trace.items.pop();
            }
        }
    }

    fn one(&mut self, i: usize, out: &mut Vec<u8>, contained: bool) -> Result<(), Stop> {
        let place = self.next;
        self.next += 1;
        let (Some(record), Some(verdict)) = (self.facts.records.get(place), self.answer.verdicts.get(place))
        else {
            return Err(Fault::internal("a record without a verdict").into());
        };
        let plan = match verdict {
            Verdict::Withhold(reason) => return Err(Stop::Withhold(*reason)),
            // A sealed element would say that something is there.
            Verdict::Keep(plan) => match plan.unsealed().filter(|_| !self.setup.declared) {
                Some(plan) => Arc::new(plan),
                None => Arc::clone(plan),
            },
        };
        let node = self
            .setup
            .catalogue
            .root(&record.resource_type)
            .ok_or_else(|| Fault::internal("an unknown type"))?;
        let part = self.effects.begin(&plan);
        let outer = (
            std::mem::replace(&mut self.current, place),
            std::mem::take(&mut self.done),
            std::mem::replace(&mut self.resource_type, &record.resource_type),
            std::mem::replace(&mut self.path, Vec::with_capacity(8)),
            self.binding.take(),
            self.is_definition,
            std::mem::replace(&mut self.rules, invariants::of(&record.resource_type)),
            self.names.len(),
        );
        self.is_definition = self.catalogue().is_definition(&record.resource_type);
        let mut head = Head { at: None, meta: None };
        let mut written = self.object(i, node, &plan, out, Some(&mut head), Of::Shown, None).map(drop);
        if written.is_ok() {
            written = self.meta(node, &plan, &head, contained, out);
        }
        let inner = self.done;
        self.effects.current = part;
        let names;
        (
            self.current,
            self.done,
            self.resource_type,
            self.path,
            self.binding,
            self.is_definition,
            self.rules,
            names,
        ) = outer;
        // A record that was not written to its end leaves the names of its open objects.
        self.names.truncate(names);
        self.done.add(inner);
        written
    }

    /// A contained record, under its own verdict and never shown more of than its container.
    fn contained(&mut self, i: usize, out: &mut Vec<u8>) -> Result<Wrote, Stop> {
        let place = self.next;
        if self.dropped.contains(&place) {
            self.next += 1;
            self.done.redacted = true;
            return Ok(Wrote::No);
        }
        let before = out.len();
        match self.one(i, out, true) {
            Ok(()) => Ok(YES),
            Err(Stop::Withhold(_)) => {
                self.cut(before, out);
                self.done.redacted = true;
                self.dropped.insert(place);
                Ok(Wrote::No)
            }
            Err(fault) => Err(fault),
        }
    }

    /// The id under which the caller knows a record.
    pub(crate) fn shown_id(&self, plan: &Plan, resource_type: &str, id: Option<&str>) -> Option<String> {
        shown_id(self.setup, plan, resource_type, id)
    }

    /// What ciphertexts of the record that is being written are bound to: the id under which the caller knows it.
    pub(crate) fn binding(&mut self, plan: &Plan) -> &str {
        let id = self.facts.records.get(self.current).and_then(|record| record.id.as_deref());
        let binding = self.binding.take().unwrap_or_else(|| {
            self.shown_id(plan, self.resource_type, id)
                .unwrap_or_else(|| self.setup.pseudonyms.of(self.resource_type, id.unwrap_or_default()))
        });
        self.binding.insert(binding)
    }

    /// The pseudonym of the id of the record that is being written.
    pub(crate) fn own_pseudonym(&mut self, id: &str) -> String {
        if self.current == 0 {
            return self.mint(self.resource_type, id);
        }
        self.setup.pseudonyms.of("#", id)
    }

    /// Copies the value at `i` as it is, but for addresses under the upstream's base, which become the public ones.
    pub(crate) fn copy(&self, i: usize, out: &mut Vec<u8>) {
        copy(self.setup, self.tape, self.text, i, out);
    }

    /// The same without white space, as a record that is written anew has none.
    fn compact(&self, i: usize, out: &mut Vec<u8>) {
        let mut any = false;
        match self.tape.get(i).kind {
            J::ObjectStart => {
                out.push(b'{');
                for (key, value) in self.tape.members(i) {
                    separate(&mut any, out);
                    out.extend_from_slice(self.tape.raw(self.text, key));
                    out.push(b':');
                    self.compact(value, out);
                }
                out.push(b'}');
            }
            J::ArrayStart => {
                out.push(b'[');
                for item in self.tape.items(i) {
                    separate(&mut any, out);
                    self.compact(item, out);
                }
                out.push(b']');
            }
            _ => self.copy(i, out),
        }
    }

    pub(crate) fn count(&mut self, category: Category, treatment: Treatment) {
        let current = self.effects.current;
        if let Some(part) = self.effects.parts.get_mut(current) {
            part.treated[category.index()][treatment.rank()] += 1;
        }
        match treatment {
            Treatment::Show => {}
            Treatment::Generalize(_) => self.done.generalized = true,
            Treatment::Pseudonymize => self.done.pseudonymized = true,
            Treatment::Encrypt => self.done.encrypted = true,
            Treatment::Redact => self.done.redacted = true,
        }
    }

    /// Whether the Reference at `i` would tell of a record that the caller does not receive.
    pub(crate) fn hides(&self, i: usize, edge: &drape_view::catalogue::Edge) -> bool {
        let Some(hide) = &self.answer.hide else { return false };
        reference::pointers(self.tape, self.text, i, edge, &[&self.setup.upstream_base])
            .iter()
            .any(|pointer| hide.hides(pointer))
    }

    /// What a reference names, seen from this server.
    pub(crate) fn target<'t>(&self, text: &'t str) -> Reference<'t> {
        Reference::parse(text, &[&self.setup.upstream_base])
    }

    /// The type of a contained record that is not left out.
    pub(crate) fn contained_type(&self, id: &str) -> Option<&'a str> {
        let place = self.places.get(id).filter(|place| !self.dropped.contains(place))?;
        self.facts.records.get(*place).map(|r| r.resource_type.as_str())
    }

    /// A reference to a contained record, or with an empty id to the container, is about to be written.
    pub(crate) fn name_contained(&mut self, id: &str, out: &[u8]) {
        let to = if id.is_empty() { Some(0) } else { self.places.get(id).copied() };
        self.links.extend(to.map(|to| Link { at: out.len(), from: self.current, to }));
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
        public(self.setup, &self.text[token.start as usize..token.end as usize], token.escaped)
    }
}

/// The id under which a caller knows a record.
pub(crate) fn shown_id(setup: &Setup, plan: &Plan, resource_type: &str, id: Option<&str>) -> Option<String> {
    let id = id?;
    match plan.treatment(Category::RecordId) {
        Treatment::Show => Some(id.to_owned()),
        Treatment::Pseudonymize => Some(setup.pseudonyms.of(resource_type, id)),
        _ => None,
    }
}

/// Copies the value at `i` as it is, but for addresses under the upstream's base, which become the public ones.
pub(crate) fn copy(setup: &Setup, tape: &Tape, text: &[u8], i: usize, out: &mut Vec<u8>) {
    let (close, end) = tape.end(i);
    let mut from = tape.get(i).start as usize;
    for place in addresses(setup, tape, text, (i, close), from..end) {
        let token = tape.get(place);
        if token.kind != J::String {
            continue;
        }
        let raw = &text[token.start as usize..token.end as usize];
        let Some(rewritten) = public(setup, raw, token.escaped) else { continue };
        out.extend_from_slice(&text[from..token.start as usize]);
        write_string(&rewritten, out);
        from = token.end as usize;
    }
    out.extend_from_slice(&text[from..end]);
}

/// The places of the tokens that can begin with the upstream's base: those where it stands as it is, which the fast
/// search finds (a base holds no quotation mark, so no hit hides the next string's start), and those where an escape
/// can hide it.
fn addresses(
    setup: &Setup,
    tape: &Tape,
    text: &[u8],
    (first, last): (usize, usize),
    range: Range<usize>,
) -> Vec<usize> {
    if setup.upstream_base.is_empty() {
        return Vec::new();
    }
    let from = range.start;
    let hits = memchr::memmem::find_iter(&text[range], &setup.upstream_base);
    // The hit is behind the string's opening quote.
    let mut places: Vec<usize> =
        hits.filter_map(|at| tape.starting_at((from + at).checked_sub(1)?)).collect();
    places.extend(tape.escaped(first, last));
    places.sort_unstable();
    places.dedup();
    places
}

/// An absolute address on the upstream as the public one.
fn public(setup: &Setup, raw: &[u8], escaped: bool) -> Option<String> {
    let base = &setup.upstream_base;
    let begins = match raw.get(1..) {
        // Nearly every text with an escape somewhere begins with another letter.
        Some(inner) if escaped => inner.first() == Some(&b'\\') || inner.first() == base.as_bytes().first(),
        Some(inner) => inner.starts_with(base.as_bytes()),
        None => false,
    };
    if base.is_empty() || !begins {
        return None;
    }
    let text = drape_fhir::json::unescape(raw);
    let rest = text.strip_prefix(base.as_str())?;
    (rest.is_empty() || rest.starts_with(['/', '?', '#'])).then(|| format!("{}{rest}", setup.public_base))
}

/// Where a record's `meta` goes, and what the upstream's said.
struct Head {
    at: Option<usize>,
    meta: Option<usize>,
}

pub(crate) fn separate(any: &mut bool, out: &mut Vec<u8>) {
    if *any {
        out.push(b',');
    }
    *any = true;
}
