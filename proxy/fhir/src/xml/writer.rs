//! The stream: takes shielded JSON in pieces and gives XML, holding one entry of a Bundle at a time.

use super::XmlError;
use super::element;
use super::layout::{Layout, Slot};
use super::tree::Node;
use crate::json::{self, Kind, Token, Tokenizer, unescape};

/// Bounds on what is held.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How deep arrays and objects may nest.
    pub depth_max: usize,
    /// How many bytes of JSON may be held: a record, an entry, or a Bundle that cannot be streamed.
    pub held_bytes_max: usize,
    /// Bundles up to this size are held whole, so that their members may come in any order.
    pub ordered_bytes: usize,
}

/// Writes one document. A single record is held until it is whole. A Bundle is written as it comes once it is longer
/// than `ordered_bytes`, if what XML wants before its entries has come before them; else it is held on.
#[derive(Debug)]
pub struct XmlWriter {
    limits: Limits,
    tokenizer: Tokenizer,
    /// What was not written yet; `base` is the offset of its first byte in the document.
    held: Vec<u8>,
    base: u64,
    /// The member of the document that is being read.
    member: String,
    is_bundle: bool,
    /// Whether the Bundle's `type` has come, and whether it is one that has links.
    kind: Option<bool>,
    has_links: bool,
    /// The place of the key `entry`, and whether what every Bundle of its type has before it in XML had come then.
    entries_at: Option<u64>,
    orderly: bool,
    /// The entry that is being read, and the complete ones that were not written yet.
    entry_from: u64,
    entries: Vec<(u64, u64)>,
    /// Where the last entry, or the list of them, ended.
    done: u64,
    streams: bool,
}

impl XmlWriter {
    /// At the start of a document.
    pub fn new(limits: Limits) -> Self {
        let json = json::Limits { depth_max: limits.depth_max, ..json::Limits::default() };
        Self {
            limits,
            tokenizer: Tokenizer::new(json),
            held: Vec::new(),
            base: 0,
            member: String::new(),
            is_bundle: false,
            kind: None,
            has_links: false,
            entries_at: None,
            orderly: false,
            entry_from: 0,
            entries: Vec::new(),
            done: 0,
            streams: false,
        }
    }

    /// Whether nothing was fed: then there is no document to end.
    pub fn is_empty(&self) -> bool {
        self.base == 0 && self.held.is_empty()
    }

    /// How many bytes are held back.
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }

    /// Takes in a piece of any size, and writes what can be written.
    ///
    /// # Errors
    /// As [`XmlError`] tells. What was written before is the beginning of a document that must not be ended.
    pub fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), XmlError> {
        self.held.extend_from_slice(piece);
        let mut at = 0;
        while let Some(token) = self.tokenizer.next_token(piece, &mut at)? {
            self.token(&token)?;
        }
        if !self.streams && self.held.len() > self.limits.ordered_bytes && self.in_order() {
            self.begin(out)?;
        }
        if self.streams {
            self.write_entries(out)?;
        }
        if self.held.len() > self.limits.held_bytes_max {
            return Err(XmlError::Held(self.limits.held_bytes_max));
        }
        Ok(())
    }

    /// Ends the document: it must be complete.
    ///
    /// # Errors
    /// As [`Self::feed`].
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), XmlError> {
        self.tokenizer.finish()?;
        if !self.streams {
            let tree = Node::read(&self.held, self.limits.depth_max)?;
            return element::resource(&tree, true, out);
        }
        self.write_entries(out)?;
        let rest = self.raw(self.done, self.base + self.held.len() as u64).trim_ascii_start();
        let rest = rest.strip_prefix(b",").unwrap_or(rest);
        let tail = [b"{", rest].concat();
        let tree = Node::read(&tail, self.limits.depth_max)?;
        let (bundle, entry) = bundle()?;
        element::children(bundle, tree.members().unwrap_or_default(), true, Some(entry), out)?;
        element::close(bundle.path, out);
        Ok(())
    }

    fn token(&mut self, token: &Token) -> Result<(), XmlError> {
        let in_entries = self.member == "entry";
        match (token.depth, token.kind) {
            (1, Kind::Key) => {
                self.member = self.tokenizer.key().to_owned();
                match self.member.as_str() {
                    "entry" => {
                        self.entries_at = Some(token.start);
                        // A search or history has links, so that they are waited for.
                        self.orderly = self.kind.is_some_and(|linked| !linked || self.has_links);
                    }
                    "link" => self.has_links = true,
                    _ => {}
                }
            }
            (1, Kind::String) if self.member == "resourceType" => {
                self.is_bundle = unescape(self.raw(token.start, token.end)) == "Bundle";
            }
            (1, Kind::String) if self.member == "type" => {
                let kind = unescape(self.raw(token.start, token.end)).into_owned();
                self.kind = Some(matches!(kind.as_str(), "searchset" | "history"));
            }
            (1, Kind::ArrayEnd) if in_entries => self.done = token.end,
            (2, Kind::ObjectStart) if in_entries => self.entry_from = token.start,
            (2, Kind::ObjectEnd) if in_entries => self.entries.push((self.entry_from, token.end)),
            (2, _) if in_entries => {
                let (_, entry) = bundle()?;
                return Err(XmlError::Shape { within: "Bundle", name: entry.name, what: "no object" });
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a Bundle's entries were reached, and what stands before them in XML seems to have come before them.
    fn in_order(&self) -> bool {
        self.is_bundle && self.orderly && !self.entries.is_empty()
    }

    /// Writes what stands before the entries.
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), XmlError> {
        let Some(entries_at) = self.entries_at else { return Ok(()) };
        let head = self.raw(self.base, entries_at).trim_ascii_end();
        let head = [head.strip_suffix(b",").unwrap_or(head), b"}"].concat();
        let tree = Node::read(&head, self.limits.depth_max)?;
        let (bundle, entry) = bundle()?;
        element::open_resource(bundle, true, out);
        let members = tree.members().unwrap_or_default();
        // What stands behind the entries in XML would have to be kept until then; no server sends it first.
        if let Some((name, _)) = members
            .iter()
            .find(|(n, _)| bundle.slot(n.trim_start_matches('_')).is_some_and(|s| s.rank > entry.rank))
        {
            let name = bundle.slot(name.trim_start_matches('_')).map_or("signature", |slot| slot.name);
            return Err(XmlError::Late(name));
        }
        element::children(bundle, members, true, None, out)?;
        self.streams = true;
        Ok(())
    }

    /// Writes the entries that are complete and lets their bytes go.
    fn write_entries(&mut self, out: &mut Vec<u8>) -> Result<(), XmlError> {
        let Some(&(_, end)) = self.entries.last() else { return Ok(()) };
        let (_, slot) = bundle()?;
        let layout = Layout::of("Bundle.entry").ok_or(XmlError::NoResource("Bundle.entry"))?;
        for (from, to) in std::mem::take(&mut self.entries) {
            let tree = Node::read(self.raw(from, to), self.limits.depth_max)?;
            element::complex(layout, slot.name, tree.members().unwrap_or_default(), None, out)?;
        }
        let count = usize::try_from(end - self.base).unwrap_or(self.held.len()).min(self.held.len());
        self.held.drain(..count);
        self.base = end;
        Ok(())
    }

    fn raw(&self, from: u64, to: u64) -> &[u8] {
        let at =
            |offset: u64| usize::try_from(offset.saturating_sub(self.base)).unwrap_or(0).min(self.held.len());
        &self.held[at(from)..at(to)]
    }
}

fn bundle() -> Result<(&'static Layout, &'static Slot), XmlError> {
    let bundle = Layout::of("Bundle").ok_or(XmlError::NoResource("Bundle"))?;
    let entry = bundle.slot("entry").ok_or(XmlError::NoResource("Bundle"))?;
    Ok((bundle, entry))
}
