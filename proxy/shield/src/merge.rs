//! A record that comes back changed from somebody who was shown a part of it: what she could not see stays as it is
//! stored, and she learns nothing of it from the answer.
//!
//! Three texts are walked together: S, the stored record; V, what the caller is shown of it; N, what she sends. A part
//! that she is shown as it stands is taken from N. A part that is hidden or treated must stand in N as it does in V,
//! and is restored from S. So `merge(S, V)` is S, and nothing that is hidden can be lost, moved or guessed at: what may
//! be written is told by the plan's treatment of each category, never by what stands in S.

mod align;
mod changes;
mod lists;
mod same;
mod walk;

use std::sync::Arc;

use drape_fhir::json::Kind as J;
use drape_view::{Facts, Reason, Verdict};

pub use changes::{Changes, changes};

use crate::rewrite::{Effects, Rewriter, Trace};
use crate::tape::Tape;
use crate::{Answer, Fault, Links, Setup, rebase};
use walk::Walk;

/// The stored record and the verdicts on it.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Its JSON, as the upstream sent it.
    pub text: &'a [u8],
    /// What was read from it.
    pub facts: &'a Facts,
    /// One verdict a record, and the key that seals.
    pub answer: &'a Answer,
}

/// Why nothing is merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmerged {
    /// The stored record does not reach the caller at all.
    Withheld(Reason),
    /// What the caller sends touches what she is not shown; said in her own terms.
    Refused(String),
    /// What the caller sends cannot be read.
    Malformed(String),
    /// The stored record cannot be read, or a key is missing.
    Fault(Fault),
}

impl From<Fault> for Unmerged {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Lists of more items than this are not compared item by item.
const ITEMS_MAX: usize = 2_000;

/// What of the extensions belongs to Drape: nobody else may write it.
const OWN_EXTENSIONS: &str = "https://drape.dev/fhir/StructureDefinition/";

/// The stored record as the caller is shown it.
pub fn view(setup: &Setup, stored: &Stored<'_>) -> Result<Vec<u8>, Unmerged> {
    let tape = Tape::read(stored.text, setup.limits.depth_max)?;
    let (out, _) = shielded(setup, &tape, stored.text, stored.facts, stored.answer)?;
    Ok(out)
}

/// Puts what `sent` says into the stored record, as far as the caller is shown it. `sent` is under the public base,
/// the merged record under the upstream's.
pub fn merge(setup: &Setup, stored: &Stored<'_>, sent: &[u8]) -> Result<Vec<u8>, Unmerged> {
    let depth = setup.limits.depth_max;
    let malformed = |fault: Fault| Unmerged::Malformed(fault.what);
    let new = rebase(sent, &setup.public_base, &setup.upstream_base, depth).map_err(malformed)?;
    let s = Doc { text: stored.text, tape: Tape::read(stored.text, depth)? };
    let n = Doc { text: &new, tape: Tape::read(&new, depth).map_err(malformed)? };
    if n.kind(0) != J::ObjectStart {
        return Err(Unmerged::Malformed("the body is not an object".into()));
    }
    let shown = |v: &Verdict| matches!(v, Verdict::Keep(plan) if plan.shows_all());
    let whole = stored.answer.hide.is_none() && stored.answer.verdicts.iter().all(shown);
    let merged = if whole { with_meta(&s, &n) } else { reduced(setup, stored, &s, &n)? };
    let tape = Tape::read(&merged, depth)?;
    let merged_doc = Doc { text: &merged, tape };
    if own_extensions(&merged_doc) > own_extensions(&s) {
        return Err(Unmerged::Refused(format!("extensions under `{OWN_EXTENSIONS}` are not yours to write")));
    }
    // Who is shown all of it has no copy that is reduced: one that says so was read when she was shown less, and
    // what it lacks would be lost.
    if labels(&merged_doc) > labels(&s) {
        let text =
            "the record is labelled as a copy of which something was hidden; read it again and change that";
        return Err(Unmerged::Refused(text.into()));
    }
    Ok(merged)
}

/// Whether a record that a caller makes herself carries extensions or labels of Drape's.
pub fn is_forged(text: &[u8], depth_max: usize) -> Result<bool, Fault> {
    let tape = Tape::read(text, depth_max)?;
    let doc = Doc { text, tape };
    Ok(own_extensions(&doc) > 0 || labels(&doc) > 0)
}

/// Labels by which Drape says what it did to a record.
const LABELS: [&str; 4] = ["REDACTED", "ABSTRED", "PSEUDED", "MASKED"];

/// How many of the labels that Drape gives stand in `meta.security`.
fn labels(doc: &Doc<'_>) -> usize {
    let list = |i: usize, name: &str| doc.tape.member(doc.text, i, name);
    let security = list(0, "meta").and_then(|meta| list(meta, "security"));
    security.into_iter().flat_map(|list| doc.tape.items(list)).filter(|item| doc.is_label(*item)).count()
}

fn reduced(setup: &Setup, stored: &Stored<'_>, s: &Doc<'_>, n: &Doc<'_>) -> Result<Vec<u8>, Unmerged> {
    let setup = inward(setup);
    let (text, trace) = shielded(&setup, &s.tape, s.text, stored.facts, stored.answer)?;
    let v = Doc { text: &text, tape: Tape::read(&text, setup.limits.depth_max)? };
    let of_s = align::align(s, &v, &trace);
    // What of N would be shown under the same plans: whatever would not is the caller's to send back, not to write.
    let bases = [setup.upstream_base.as_str()];
    let facts = crate::facts::read(&setup.catalogue, &n.tape, n.text, 0, &bases, false)
        .map_err(|fault| Unmerged::Malformed(fault.what))?;
    let answer = like(stored, &facts);
    let (shown, trace) = match shielded(&setup, &n.tape, n.text, &facts, &answer) {
        Ok(done) => done,
        Err(Unmerged::Withheld(_)) => {
            let text = "the record that you send holds something without which it means something else, and which \
                        is not shown to you";
            return Err(Unmerged::Refused(text.into()));
        }
        Err(other) => return Err(other),
    };
    let as_shown = Doc { text: &shown, tape: Tape::read(&shown, setup.limits.depth_max)? };
    let of_n = align::align(n, &as_shown, &trace);
    let walk = Walk::new(&setup, stored, [s, &v, n], of_s, of_n);
    walk.record().map_err(|refused| Unmerged::Refused(refused.0))
}

/// The verdicts of the stored record, for the records of what was sent: a contained one by its id. What is new is never
/// shown more of than its container.
fn like(stored: &Stored<'_>, facts: &Facts) -> Answer {
    let main = stored.answer.verdicts.first();
    let verdicts = facts.records.iter().enumerate().map(|(place, record)| {
        let same = stored.facts.records.iter().zip(&stored.answer.verdicts).skip(1);
        let own = same
            .filter(|(old, _)| place > 0 && old.id == record.id && old.resource_type == record.resource_type)
            .find_map(|(_, verdict)| match verdict {
                Verdict::Keep(plan) => Some(Verdict::Keep(Arc::clone(plan))),
                // Whether one of that name is withheld must not show.
                Verdict::Withhold(_) => None,
            });
        own.or_else(|| main.cloned()).unwrap_or(Verdict::Withhold(Reason::NotReceived))
    });
    Answer {
        verdicts: verdicts.collect(),
        seal_key: stored.answer.seal_key.clone(),
        hide: stored.answer.hide.clone(),
    }
}

fn shielded(
    setup: &Setup,
    tape: &Tape,
    text: &[u8],
    facts: &Facts,
    answer: &Answer,
) -> Result<(Vec<u8>, Trace), Unmerged> {
    let (mut out, mut effects) = (Vec::with_capacity(text.len()), Effects::default());
    let mut rewriter = Rewriter::new(setup, tape, text, facts, answer, &mut effects).traced();
    match rewriter.resource(0, &mut out)? {
        Ok(()) => Ok((out, rewriter.trace.take().unwrap_or_default())),
        Err(reason) => Err(Unmerged::Withheld(reason)),
    }
}

/// A setup under which addresses stay as they are stored.
fn inward(setup: &Setup) -> Setup {
    struct None_;
    impl Links for None_ {
        fn rewrite(&mut self, _: &str, _: &str) -> Option<String> {
            None
        }
    }
    Setup {
        catalogue: Arc::clone(&setup.catalogue),
        expect: setup.expect.clone(),
        upstream_base: setup.upstream_base.clone(),
        public_base: setup.upstream_base.clone(),
        limits: setup.limits,
        uniform: false,
        shows_all: false,
        declared: setup.declared,
        paging: None,
        links: Box::new(None_),
        pseudonyms: Arc::clone(&setup.pseudonyms),
        tenant: setup.tenant.clone(),
        today: setup.today.clone(),
        pointers: setup.pointers,
    }
}

/// N as it was sent, with the labels, tags and profiles of S where N has no `meta` at all: who leaves it out says
/// nothing about them.
fn with_meta(s: &Doc<'_>, n: &Doc<'_>) -> Vec<u8> {
    let kind = n.tape.member(n.text, 0, "resourceType");
    let (None, Some(meta), Some(kind)) =
        (n.tape.member(n.text, 0, "meta"), s.tape.member(s.text, 0, "meta"), kind)
    else {
        return n.text.to_vec();
    };
    let mut kept = Vec::new();
    for (key, value) in s.tape.members(meta) {
        if !["versionId", "lastUpdated", "source"].iter().any(|name| s.tape.says(s.text, key, name)) {
            kept.push([s.tape.raw(s.text, key), s.tape.raw(s.text, value)].join(&b':'));
        }
    }
    if kept.is_empty() {
        return n.text.to_vec();
    }
    let (_, end) = n.tape.end(kind);
    let meta = [b",\"meta\":{".to_vec(), kept.join(&b','), b"}".to_vec()].concat();
    [&n.text[..end], &meta, &n.text[end..]].concat()
}

fn own_extensions(doc: &Doc<'_>) -> usize {
    doc.strings().filter(|i| doc.tape.text(doc.text, *i).starts_with(OWN_EXTENSIONS)).count()
}

/// A text with its tape.
pub(crate) struct Doc<'a> {
    text: &'a [u8],
    tape: Tape,
}

impl Doc<'_> {
    fn kind(&self, i: usize) -> J {
        self.tape.get(i).kind
    }

    fn raw(&self, i: usize) -> Vec<u8> {
        self.tape.raw(self.text, i).to_vec()
    }

    /// Whether a coding is a label that Drape gives.
    fn is_label(&self, i: usize) -> bool {
        let says = |name: &str| self.tape.string(self.text, i, name).unwrap_or_default();
        says("system").ends_with("/v3-ObservationValue") && LABELS.contains(&&*says("code"))
    }

    /// Every string value; keys are not among them.
    fn strings(&self) -> impl Iterator<Item = usize> + use<'_> {
        let (last, _) = if self.tape.is_empty() { (0, 0) } else { self.tape.end(0) };
        (0..=last).filter(|i| self.kind(*i) == J::String)
    }
}
