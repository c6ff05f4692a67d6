//! Integration: leaves become tiles, tiles become a signed checkpoint; behind the writer, never in its way.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::recover::Recovered;
use super::{Options, Published, Shared};
use crate::checkpoint::{CHECKPOINT_BYTES_MAX, NoteSigner};
use crate::disk::Disk;
use crate::leaf::LEAF_BYTES;
use crate::tiles::{Edge, Tile, read_bounded, remove_partials, write};

pub(super) struct Publisher {
    shared: Arc<Shared>,
    directory: PathBuf,
    disk: Disk,
    signer: Arc<NoteSigner>,
    edge: Edge,
    filled: Vec<Tile>,
    /// The published checkpoint, byte for byte.
    note: Vec<u8>,
    published: u64,
    interval: Duration,
    entries_max: u64,
}

impl Publisher {
    pub(super) fn new(shared: Arc<Shared>, options: &Options, recovered: &Recovered) -> Self {
        Self {
            shared,
            directory: options.directory.clone(),
            disk: options.disk.clone(),
            signer: Arc::clone(&options.signer),
            edge: recovered.edge.clone(),
            filled: Vec::new(),
            note: recovered.note.clone(),
            published: recovered.checkpoint.size,
            interval: options.checkpoint_interval,
            entries_max: options.checkpoint_entries_max.max(1),
        }
    }

    /// Publishes on the interval, after many entries, and when the writer has ended.
    pub(super) fn run(mut self, leaves: Receiver<Vec<[u8; LEAF_BYTES]>>) {
        let mut due = Instant::now() + self.interval;
        loop {
            let waiting = self.edge.size() - self.published;
            let wait =
                if waiting == 0 { self.interval } else { due.saturating_duration_since(Instant::now()) };
            let ended = match leaves.recv_timeout(wait) {
                Ok(batch) => {
                    if waiting == 0 {
                        due = Instant::now() + self.interval;
                    }
                    self.absorb(&batch);
                    false
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            let waiting = self.edge.size() - self.published;
            if waiting > 0 && (ended || waiting >= self.entries_max || Instant::now() >= due) {
                if let Err(error) = self.publish() {
                    self.shared.queue.poison(&format!("the checkpoint cannot be published: {error}"));
                    return;
                }
                due = Instant::now() + self.interval;
            }
            if ended {
                return;
            }
        }
    }

    pub(super) fn absorb(&mut self, leaves: &[[u8; LEAF_BYTES]]) {
        leaves.iter().for_each(|leaf| self.filled.extend(self.edge.push(leaf)));
    }

    /// Tiles first, durable; then the checkpoint that covers them; then what it makes superfluous goes.
    ///
    /// A crash before the rename leaves the old checkpoint with its own tiles untouched, and the next opening writes
    /// the same new tiles again from the event store.
    pub(super) fn publish(&mut self) -> io::Result<()> {
        let size = self.edge.size();
        if size == self.published {
            return Ok(());
        }
        let mut tiles = std::mem::take(&mut self.filled);
        let full = tiles.len();
        tiles.extend(self.edge.partials());
        write(&self.disk, &self.directory, &tiles)?;

        let path = self.directory.join("checkpoint");
        if read_bounded(&path, CHECKPOINT_BYTES_MAX)? != self.note {
            // Somebody else writes here. To sign over it would be to sign two histories.
            return Err(io::Error::other("`checkpoint` was replaced by somebody else"));
        }
        let root = self.edge.root();
        let note = self.signer.sign(size, root).into_bytes();
        self.disk.replace(&path, &note)?;
        self.disk.sync_directory(&self.directory)?;
        self.note = note;
        self.published = size;
        *self.shared.published.lock() = Published { size, root, time_ms: (self.shared.clock)() };
        remove_partials(&self.disk, &self.directory, &tiles[..full])
    }
}
