//! Opening: what the checkpoint says is checked first, then the event store is taken up from there.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::write::Chain;
use super::{Options, replica_name};
use crate::checkpoint::{CHECKPOINT_BYTES_MAX, Checkpoint, NoteFault};
use crate::event::{Class, Event};
use crate::leaf::{LEAF_BYTES, Leaf, array};
use crate::seal;
use crate::store::{FOLDER, Found, Scan, Segment, erase, segments, within};
use crate::tiles::{Edge, TileFault, WIDTH, read_bounded, read_entries};
use crate::tree::leaf_hash;

/// Why a log is not opened. Nothing was changed, except where the last batch, which nobody was told is durable, is torn.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no log.
    #[error(
        "`{0}` holds no audit log: `checkpoint` is missing; help: `Log::create` makes a new one, and a log that \
             has lost its checkpoint must be restored, not made anew"
    )]
    NotThere(String),
    /// There already is one.
    #[error("`{0}` already holds an audit log")]
    Exists(String),
    /// Another process has it open.
    #[error("`{0}` is open in another process")]
    Locked(String),
    /// The checkpoint is not this log's.
    #[error("the checkpoint: {0}")]
    Checkpoint(#[from] NoteFault),
    /// A tile of the edge is missing or unreadable.
    #[error("the log has lost a tile: {0}")]
    Tile(#[from] TileFault),
    /// What is stored contradicts the checkpoint or itself.
    #[error(
        "the log was changed: {0}; help: `drape audit verify` says where, and a backup is to be restored"
    )]
    Contradiction(String),
    /// The secret is not the one that the events were encrypted with.
    #[error("the event secret does not open the events of this log; help: it is derived from the root key")]
    Secret,
    /// The disk failed.
    #[error("`{0}`: {1}")]
    Disk(String, io::Error),
}

/// What a log goes on from.
pub(super) struct Recovered {
    pub(super) checkpoint: Checkpoint,
    pub(super) note: Vec<u8>,
    pub(super) edge: Edge,
    /// Leaves that are durable but not covered by the checkpoint.
    pub(super) tail: Vec<[u8; LEAF_BYTES]>,
    pub(super) size: u64,
    pub(super) chain: Chain,
    pub(super) last: Option<Segment>,
    /// Held while the log is open.
    pub(super) lock: File,
}

pub(super) fn recover(options: &Options) -> Result<Recovered, OpenError> {
    let log = options.directory.as_path();
    let disk_error = |error| OpenError::Disk(log.display().to_string(), error);
    let note = match read_bounded(&log.join("checkpoint"), CHECKPOINT_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(OpenError::NotThere(log.display().to_string()));
        }
        other => other.map_err(disk_error)?,
    };
    let text = String::from_utf8(note.clone()).map_err(|_| NoteFault::Malformed("it is not UTF-8"))?;
    let checkpoint = Checkpoint::verify(&text, options.signer.verifier())?;

    let lock = lock(log)?;
    let edge = Edge::load(log, checkpoint.size)?;
    if edge.root() != checkpoint.root {
        return Err(OpenError::Contradiction("the hash tiles do not give the root of the checkpoint".into()));
    }
    if !edge.entries_fit() {
        return Err(OpenError::Contradiction("the last entries are not those of the hash tiles".into()));
    }

    let store = Store::read(log, checkpoint.size).map_err(disk_error)?;
    let tail = store.tail(options, &checkpoint, &edge)?;
    let chain = chain(options.replica, log, checkpoint.size, &tail.leaves)?;
    if let Some((segment, bytes)) = &tail.cut {
        // A crash in here cuts again at the next opening, at the same place.
        let file = fs::OpenOptions::new().write(true).open(&segment.path).map_err(disk_error)?;
        file.set_len(*bytes).map_err(disk_error)?;
    }
    let last = store.segments.last().map(|(segment, _)| segment.clone());
    if let Some(segment) = &last {
        // What survived the crash may still be only in the page cache: it is published only after this.
        let file = fs::OpenOptions::new().write(true).open(&segment.path).map_err(disk_error)?;
        options.disk.sync(&file, &segment.path).map_err(disk_error)?;
    }
    if !tail.erased.is_empty() {
        erase(&options.disk, log, &tail.erased).map_err(disk_error)?;
    }
    let size = checkpoint.size + tail.leaves.len() as u64;
    Ok(Recovered { checkpoint, note, edge, tail: tail.leaves, size, chain, last, lock })
}

fn lock(log: &Path) -> Result<File, OpenError> {
    let path = log.join(FOLDER).join("lock");
    let disk_error = |error| OpenError::Disk(path.display().to_string(), error);
    let file =
        fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(disk_error)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(OpenError::Locked(log.display().to_string())),
        Err(fs::TryLockError::Error(error)) => Err(disk_error(error)),
    }
}

/// The segments from the one that the checkpoint ends in.
struct Store {
    segments: Vec<(Segment, Vec<u8>)>,
}

struct Tail {
    leaves: Vec<[u8; LEAF_BYTES]>,
    /// Where the last segment is torn.
    cut: Option<(Segment, u64)>,
    /// What tombstones of the tail erase.
    erased: Vec<(u64, u64)>,
}

impl Store {
    fn read(log: &Path, size: u64) -> io::Result<Self> {
        let all = segments(log)?;
        let start = all.iter().rposition(|segment| segment.first <= size).unwrap_or(0);
        let read = all.into_iter().skip(start).map(|segment| segment.read().map(|bytes| (segment, bytes)));
        Ok(Self { segments: read.collect::<io::Result<_>>()? })
    }

    /// Whether a later batch than the one that `index` would belong to was made durable: then `index` was, too.
    fn later_batch(&self, index: u64) -> bool {
        self.segments.iter().any(|(_, bytes)| {
            Scan::new(bytes).any(|found| matches!(found, Found::Record(stored) if stored.batch > index))
        })
    }

    fn tail(&self, options: &Options, checkpoint: &Checkpoint, edge: &Edge) -> Result<Tail, OpenError> {
        let contradiction = |text: String| Err(OpenError::Contradiction(text));
        let erased = self.tombstones(options, checkpoint.size)?;
        let entries = edge.entries();
        let bundle_first = checkpoint.size - checkpoint.size % WIDTH;
        let mut tail = Tail { leaves: Vec::new(), cut: None, erased };
        let mut next = self.segments.first().map_or(0, |(segment, _)| segment.first);
        if next > checkpoint.size {
            return contradiction(format!("the event store begins only at entry {next}"));
        }
        for (at, (segment, bytes)) in self.segments.iter().enumerate() {
            if tail.cut.is_some() || segment.first != next {
                return contradiction(format!("events are missing before entry {}", segment.first));
            }
            for found in Scan::new(bytes) {
                let (offset, torn) = match found {
                    Found::Broken(offset) => (offset, true),
                    // A body that was erased is no longer the one that was written; its tombstone says so.
                    Found::Record(stored) => {
                        let excused = stored.intact || within(&tail.erased, next) || next < checkpoint.size;
                        (stored.offset, !excused)
                    }
                };
                if torn {
                    let last = at + 1 == self.segments.len();
                    if next < checkpoint.size || self.later_batch(next) || !last {
                        return contradiction(format!("`{}` is damaged at entry {next}", segment.name()));
                    }
                    tail.cut = Some((segment.clone(), offset));
                    break;
                }
                let Found::Record(stored) = found else { continue };
                if stored.index != next {
                    return contradiction(format!(
                        "`{}` goes from entry {next} to {}",
                        segment.name(),
                        stored.index
                    ));
                }
                if next >= checkpoint.size {
                    tail.leaves.push(array(stored.leaf));
                } else if next >= bundle_first
                    && entries.get((next - bundle_first) as usize).is_none_or(|entry| *entry != stored.leaf)
                {
                    return contradiction(format!(
                        "the leaf of entry {next} is another in `{}`",
                        segment.name()
                    ));
                }
                next += 1;
            }
        }
        if next < checkpoint.size {
            return contradiction(format!(
                "the checkpoint covers {} entries, but the event store ends after {next}",
                checkpoint.size
            ));
        }
        Ok(tail)
    }

    /// The ranges that tombstones beyond the checkpoint erase. Also tries whether the secret fits at all.
    fn tombstones(&self, options: &Options, size: u64) -> Result<Vec<(u64, u64)>, OpenError> {
        let mut ranges = Vec::new();
        let mut opened = None;
        for (_, bytes) in &self.segments {
            for found in Scan::new(bytes) {
                let Found::Record(stored) = found else { continue };
                let Ok(leaf) = Leaf::decode(stored.leaf) else { continue };
                let tombstone = stored.index >= size && leaf.class == Class::Tombstone;
                if !stored.intact || (opened.is_some() && !tombstone) {
                    continue;
                }
                let event = seal::open(&options.secret, &leaf, stored.body);
                *opened.get_or_insert(false) |= event.is_ok();
                if tombstone {
                    let event = event.ok().and_then(|event| Event::from_canonical(&event).ok());
                    ranges.extend(event.ok_or(OpenError::Secret)?.erased);
                }
            }
        }
        if opened == Some(false) { Err(OpenError::Secret) } else { Ok(ranges) }
    }
}

/// Follows the replica's own chain to its end: over the tail, whose links are checked, and back through the entries.
fn chain(replica: [u8; 8], log: &Path, size: u64, tail: &[[u8; LEAF_BYTES]]) -> Result<Chain, OpenError> {
    let mut chain = published_chain(replica, log, size)?;
    for (bytes, index) in tail.iter().zip(size..) {
        let leaf = Leaf::decode(bytes).map_err(|fault| {
            OpenError::Contradiction(format!("the leaf of entry {index} cannot be read: {fault}"))
        })?;
        if leaf.replica != replica {
            continue;
        }
        if leaf.sequence != chain.sequence || leaf.previous != chain.previous {
            let name = replica_name(&replica);
            let text = format!("entry {index} does not follow the last one of the replica `{name}`");
            return Err(OpenError::Contradiction(text));
        }
        chain.sequence += 1;
        chain.previous = leaf_hash(bytes);
    }
    Ok(chain)
}

fn published_chain(replica: [u8; 8], log: &Path, size: u64) -> Result<Chain, OpenError> {
    let mut end = size;
    while end > 0 {
        let bundle = (end - 1) / WIDTH;
        let entries = read_entries(log, bundle, end - bundle * WIDTH)?;
        for entry in entries.iter().rev() {
            if let Ok(leaf) = Leaf::decode(entry)
                && leaf.replica == replica
            {
                return Ok(Chain { replica, sequence: leaf.sequence + 1, previous: leaf_hash(entry) });
            }
        }
        end = bundle * WIDTH;
    }
    Ok(Chain { replica, sequence: 0, previous: [0; 32] })
}
