//! The shield: fed upstream bytes, it holds one record at a time, asks what may be seen of it, and lets through only
//! that. It does no I/O.

mod facts;
mod frame;
pub mod merge;
mod reference;
mod rewrite;
mod scout;
mod tape;
mod treat;

use std::collections::BTreeMap;
use std::sync::Arc;

use drape_keys::{DataKey, Pseudonymizer};
use drape_view::{Catalogue, Category, Facts, Plan, Pointer, Reason, Verdict, Why};

pub use frame::Shield;
pub use scout::Scout;

/// The URL of the extension that carries a sealed element.
pub const ENCRYPTED_ELEMENT: &str = "https://drape.dev/fhir/StructureDefinition/encrypted-element";

/// What the upstream was asked for; anything else is not passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// One record.
    Record {
        /// Its type.
        resource_type: String,
        /// Its logical id, where one was asked for.
        id: Option<String>,
        /// Its version, where one was asked for.
        version: Option<String>,
    },
    /// A Bundle.
    Bundle(BundleKind),
    /// A file of a bulk export (NDJSON): one record a line, all of one type.
    Lines {
        /// The type.
        resource_type: String,
    },
}

/// Which Bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleKind {
    /// `searchset`.
    Searchset,
    /// `history`.
    History,
}

/// Bounds on one answer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// One entry, held whole.
    pub entry_bytes_max: usize,
    /// How deep JSON may nest.
    pub depth_max: usize,
}

/// Everything a shield needs to know.
pub struct Setup {
    /// Which category each element belongs to.
    pub catalogue: Arc<Catalogue>,
    /// What was asked for.
    pub expect: Expect,
    /// The upstream's base URL, without a trailing slash.
    pub upstream_base: String,
    /// The base URL clients use, without a trailing slash.
    pub public_base: String,
    /// Bounds.
    pub limits: Limits,
    /// Whether totals may stay.
    pub uniform: bool,
    /// Whether the caller is shown everything, so that the Bundle passes as it is.
    pub shows_all: bool,
    /// Whether what was hidden is visible as hidden (security labels, `masked`).
    pub declared: bool,
    /// How a page is filled where some of what the server finds may be withheld; `None` lets the server's page be one.
    pub paging: Option<Paging>,
    /// Rewrites the links of a Bundle.
    pub links: Box<dyn Links + Send + Sync>,
    /// Makes pseudonyms.
    pub pseudonyms: Arc<Pseudonymizer>,
    /// The tenant, for ciphertexts.
    pub tenant: String,
    /// The local civil date, `YYYY-MM-DD`; ages are counted on it.
    pub today: String,
    /// Whether what references name is among the facts.
    pub pointers: bool,
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup").field("expect", &self.expect).finish_non_exhaustive()
    }
}

/// Where a page of ours begins, and how long it is. The server's pages have holes where records are withheld; the
/// caller's have none: as many records as the server would put on a page, and a link to more only where there is
/// something more to see (LV-25).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paging {
    /// Matches of the first page upstream that stood on pages before this one.
    pub skip: u32,
    /// Matches on a page; `None`: as many as the first page upstream holds.
    pub count: Option<u32>,
    /// Whether anything is included, which stays only beside what it hangs together with.
    pub includes: bool,
}

/// Where the caller's next page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceOfMore {
    /// On the page upstream that is being read, after so many matches.
    Here(u32),
    /// With the page upstream behind it.
    Next,
}

/// Whether an answer ends with the page upstream that was just read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageEnd {
    /// It does.
    Done,
    /// The page upstream behind it is wanted too.
    More,
}

/// Rewrites a Bundle's links.
pub trait Links {
    /// What stands in place of the upstream's link of that relation; `None` drops it.
    fn rewrite(&mut self, relation: &str, url: &str) -> Option<String>;

    /// The address of a page of ours of `count` matches that begins there. Where pages are filled, one that cannot be
    /// made is a fault.
    fn more(&mut self, _place: PlaceOfMore, _count: u32) -> Option<String> {
        None
    }
}

/// What the shield wants next.
#[derive(Debug)]
pub enum Step {
    /// More bytes.
    Hungry,
    /// A verdict on each of these records.
    Ask(Arc<Facts>),
}

/// The verdicts, in the order of the facts.
#[derive(Debug)]
pub struct Answer {
    /// One a record.
    pub verdicts: Vec<Verdict>,
    /// The key that seals, when any plan encrypts.
    pub seal_key: Option<Arc<DataKey>>,
    /// The references that are left out of the entry; `None` where none is.
    pub hide: Option<Hide>,
}

/// Which references of an entry are left out, because they would tell of records that the caller does not receive.
#[derive(Clone)]
pub struct Hide(Arc<dyn Fn(&Pointer) -> bool + Send + Sync>);

impl Hide {
    /// Leaves out what `hides` says of.
    pub fn new(hides: impl Fn(&Pointer) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(hides))
    }

    /// Whether such a reference is left out.
    pub fn hides(&self, pointer: &Pointer) -> bool {
        (self.0)(pointer)
    }
}

impl std::fmt::Debug for Hide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hide(…)")
    }
}

/// A record that reaches the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSeen {
    /// Its type.
    pub resource_type: String,
    /// Its logical id at the upstream.
    pub id: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Whom it is about.
    pub patients: Vec<String>,
}

/// What happened since the last summary.
#[derive(Debug, Default)]
pub struct Summary {
    /// Records that reach the caller.
    pub records: Vec<RecordSeen>,
    /// Records that do not.
    pub withheld: BTreeMap<Reason, u64>,
    /// Elements by category and treatment.
    pub treated: Vec<Treated>,
    /// Records that were let through whole, of which no element was looked at.
    pub whole: Vec<(Arc<Plan>, u64)>,
    /// Pseudonyms made, with the type and id each stands for.
    pub minted: Vec<(String, String, String)>,
}

/// Elements of one category that were treated in one way, for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Treated {
    /// The category.
    pub category: Category,
    /// The treatment's name.
    pub treatment: &'static str,
    /// How many elements.
    pub count: u64,
    /// Why.
    pub why: Option<Arc<Why>>,
}

/// Why the shield stops. What was put out before it must not be ended as if it were complete.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Fault {
    /// Whose fault.
    pub kind: FaultKind,
    /// What; names no value of the record.
    pub what: String,
}

/// Whose fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The upstream's: not FHIR, not what was asked for, broken off.
    Upstream,
    /// A limit was reached.
    Limit,
    /// Drape's own.
    Internal,
}

impl Fault {
    pub(crate) fn upstream(what: impl Into<String>) -> Self {
        Self { kind: FaultKind::Upstream, what: what.into() }
    }

    pub(crate) fn internal(what: impl Into<String>) -> Self {
        Self { kind: FaultKind::Internal, what: what.into() }
    }
}

/// Reads the facts of a record that a caller sends, for writes: it must be of that type.
pub fn facts_of(
    catalogue: &Catalogue,
    text: &[u8],
    resource_type: &str,
    bases: &[&str],
    depth_max: usize,
) -> Result<Facts, Fault> {
    let tape = tape::Tape::read(text, depth_max)?;
    let facts = facts::read(catalogue, &tape, text, 0, bases, true)?;
    match facts.main() {
        Some(main) if main.resource_type == resource_type => Ok(facts),
        _ => Err(Fault::upstream(format!("the body is no {resource_type}"))),
    }
}

/// A body that a caller sends, with addresses under `from` put under `to`: what an answer named by the public base
/// comes back as the server knows it. Everything else stays byte for byte.
pub fn rebase(text: &[u8], from: &str, to: &str, depth_max: usize) -> Result<Vec<u8>, Fault> {
    use drape_fhir::json::{Kind, Tokens, unescape, write_string};
    let mut tokens = Tokens::new(text, tape::limits(depth_max));
    let (mut out, mut copied) = (Vec::with_capacity(text.len()), 0);
    while let Some(token) = tokens.next_token().map_err(|e| tape::json_fault(&e))? {
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
        let (start, end) = (at(token.start), at(token.end));
        if token.kind != Kind::String {
            continue;
        }
        let said = unescape(&text[start..end]);
        let Some(rest) = said.strip_prefix(from) else { continue };
        if rest.is_empty() || rest.starts_with(['/', '?']) {
            out.extend_from_slice(&text[copied..start]);
            write_string(&format!("{to}{rest}"), &mut out);
            copied = end;
        }
    }
    out.extend_from_slice(&text[copied..]);
    Ok(out)
}

#[cfg(test)]
mod tests;
