//! Who looked at this patient, why, and under which policy: reading the event store.

use std::io;
use std::path::{Path, PathBuf};

use crate::event::{Class, Event, EventFault};
use crate::leaf::{Leaf, LeafFault};
use crate::seal::{EventSecret, OpenFault, TAG_BYTES, open, split_tags};
use crate::store::{Found, Scan, Segment, Stored, segments};

/// An entry, opened as far as it can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its leaf index.
    pub index: u64,
    /// Its leaf.
    pub leaf: Leaf,
    /// What it holds.
    pub content: Content,
}

impl Opened {
    /// The event, where there is one to read.
    pub fn event(&self) -> Option<&Event> {
        match &self.content {
            Content::Event(event) => Some(event),
            Content::Erased | Content::Unreadable(_) => None,
        }
    }
}

/// What is left of an entry's event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The event, which is the one that its leaf commits to.
    Event(Box<Event>),
    /// Nothing: it was overwritten.
    Erased,
    /// Something that does not open; verification says more.
    Unreadable(String),
}

/// Why the store cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk failed or the store is not there.
    #[error("the event store `{0}`: {1}")]
    Disk(String, io::Error),
}

/// What to search for. Every part that is given must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The tenant and the patient's logical id: found by blind index, without decrypting anything else.
    pub patient: Option<(String, String)>,
    /// Only of this tenant; heartbeats are nobody's.
    pub tenant: Option<String>,
    /// Only of this subject (`sub`).
    pub subject: Option<String>,
    /// Only of this request.
    pub request: Option<String>,
    /// Only of this class: told by the leaf, without decrypting anything else.
    pub class: Option<Class>,
    /// Not before, in milliseconds since the epoch.
    pub from_ms: Option<u64>,
    /// Before.
    pub until_ms: Option<u64>,
    /// At most so many, the newest first.
    pub limit: usize,
}

/// Reads the events of a log, running or not. Blocking: use it off the async threads.
#[derive(Clone, Debug)]
pub struct Reader {
    directory: PathBuf,
    secret: EventSecret,
}

impl Reader {
    /// A reader for a log directory.
    pub fn new(directory: &Path, secret: EventSecret) -> Self {
        Self { directory: directory.to_owned(), secret }
    }

    /// The newest entries, newest first.
    pub fn tail(&self, limit: usize) -> Result<Vec<Opened>, ReadError> {
        self.search(&Query { limit, ..Query::default() })
    }

    /// One entry, if it is there.
    pub fn get(&self, index: u64) -> Result<Option<Opened>, ReadError> {
        let segments = self.segments()?;
        let Some(segment) = segments.iter().rfind(|segment| segment.first <= index) else { return Ok(None) };
        let bytes = self.bytes(segment)?;
        let found = Scan::new(&bytes).find_map(|found| match found {
            Found::Record(stored) if stored.index == index => Some(stored),
            _ => None,
        });
        Ok(found.and_then(|stored| self.open(&stored)))
    }

    /// The entries that fit, newest first.
    pub fn search(&self, query: &Query) -> Result<Vec<Opened>, ReadError> {
        let tag = match &query.patient {
            None => None,
            Some((tenant, patient)) => match self.secret.tag(tenant, patient) {
                Some(tag) => Some(tag),
                None => return Ok(Vec::new()),
            },
        };
        let mut hits = Vec::new();
        for segment in self.segments()?.iter().rev() {
            let bytes = self.bytes(segment)?;
            let stored: Vec<Stored<'_>> = Scan::new(&bytes)
                .filter_map(|found| match found {
                    Found::Record(stored) => Some(stored),
                    // The end of a segment that is being written, or damage: verification tells them apart.
                    Found::Broken(_) => None,
                })
                .collect();
            for stored in stored.iter().rev() {
                if hits.len() >= query.limit {
                    return Ok(hits);
                }
                let tagged = |tag: &[u8; TAG_BYTES]| {
                    split_tags(stored.body)
                        .is_some_and(|(tags, _)| tags.as_chunks::<TAG_BYTES>().0.contains(tag))
                };
                let of_class = |class| Leaf::decode(stored.leaf).is_ok_and(|leaf| leaf.class == class);
                if tag.as_ref().is_none_or(tagged)
                    && query.class.is_none_or(of_class)
                    && let Some(opened) = self.open(stored)
                    && fits(query, &opened)
                {
                    hits.push(opened);
                }
            }
        }
        Ok(hits)
    }

    fn segments(&self) -> Result<Vec<Segment>, ReadError> {
        segments(&self.directory).map_err(|error| self.error(error))
    }

    fn bytes(&self, segment: &Segment) -> Result<Vec<u8>, ReadError> {
        segment.read().map_err(|error| self.error(error))
    }

    fn error(&self, error: io::Error) -> ReadError {
        ReadError::Disk(self.directory.display().to_string(), error)
    }

    /// Opens a record; `None` where not even the leaf can be read.
    fn open(&self, stored: &Stored<'_>) -> Option<Opened> {
        let leaf: Result<Leaf, LeafFault> = Leaf::decode(stored.leaf);
        let leaf = leaf.ok()?;
        let content = if stored.wiped() {
            Content::Erased
        } else {
            match open(&self.secret, &leaf, stored.body) {
                Ok(canonical) => match Event::from_canonical(&canonical) {
                    Ok(event) => Content::Event(Box::new(event)),
                    Err(fault @ (EventFault::NotJson | EventFault::Element(_))) => {
                        Content::Unreadable(fault.to_string())
                    }
                },
                Err(fault @ (OpenFault::Layout | OpenFault::Cipher | OpenFault::Commitment)) => {
                    Content::Unreadable(fault.to_string())
                }
            }
        };
        Some(Opened { index: stored.index, leaf, content })
    }
}

fn fits(query: &Query, opened: &Opened) -> bool {
    let in_time = query.from_ms.is_none_or(|from| opened.leaf.time_ms >= from)
        && query.until_ms.is_none_or(|until| opened.leaf.time_ms < until);
    if !in_time {
        return false;
    }
    let Some(event) = opened.event() else {
        // Without an event nobody can say whose it was; it is shown only where nobody in particular is asked for, and to
        // every tenant, since what cannot be opened concerns them all.
        return query.patient.is_none() && query.subject.is_none() && query.request.is_none();
    };
    let subject = event.subject.as_ref().map(|subject| subject.id.as_str());
    // The tag only narrows: what counts is what the event says.
    query
        .patient
        .as_ref()
        .is_none_or(|(tenant, patient)| event.tenant == *tenant && event.patients.contains(patient))
        && query.tenant.as_deref().is_none_or(|wanted| event.tenant == wanted)
        && query.subject.as_deref().is_none_or(|wanted| subject == Some(wanted))
        && query.request.as_deref().is_none_or(|wanted| event.request == wanted)
}
