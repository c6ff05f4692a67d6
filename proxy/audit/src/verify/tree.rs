//! Entries, hash tiles and checkpoint against each other, and the chain of each replica.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Exit, Report};
use crate::checkpoint::Checkpoint;
use crate::leaf::{Leaf, hex};
use crate::log::replica_name;
use crate::tiles::{Levels, Row, Tile, TileFault, WIDTH, read_entries, read_hashes, tile_path};
use crate::tree::{Hash, leaf_hash};

/// Where the chain of each replica has come to.
#[derive(Default)]
pub(super) struct Chains {
    ends: BTreeMap<[u8; 8], (u64, Hash)>,
    /// Some entry could not be read, so a replica may begin in the middle of its chain.
    hidden: bool,
}

impl Chains {
    fn hide(&mut self) {
        self.ends.clear();
        self.hidden = true;
    }
}

/// A tree computed from one source, and the stored upper tiles that differ from it.
struct Track {
    levels: Levels,
    whole: bool,
    /// What they differ in, and how bad that is: one that is not there shows nothing of a change.
    upper: Vec<(Exit, String)>,
    at_remembered: Option<Hash>,
}

impl Track {
    fn new(remembered: Option<&Checkpoint>) -> Self {
        let levels = Levels::default();
        let at_remembered = remembered.filter(|before| before.size == 0).map(|_| levels.root());
        Self { levels, whole: true, upper: Vec::new(), at_remembered }
    }

    fn push(&mut self, log: &Path, hash: Hash, remembered: Option<&Checkpoint>) {
        if !self.whole {
            return;
        }
        for tile in self.levels.push(hash) {
            self.compare(log, &tile);
        }
        if remembered.is_some_and(|before| before.size == self.levels.size()) {
            self.at_remembered = Some(self.levels.root());
        }
    }

    fn finish(&mut self, log: &Path) {
        if self.whole {
            self.levels.partials().iter().for_each(|tile| self.compare(log, tile));
        }
    }

    /// Compares a tile above level 0; level 0 is compared hash by hash.
    fn compare(&mut self, log: &Path, tile: &Tile) {
        let Row::Level(level @ 1..) = tile.row else { return };
        match read_hashes(log, level, tile.index, tile.width) {
            Ok(stored) if stored.concat() == tile.bytes => {}
            Ok(_) => self.upper.push((Exit::Tampered, format!("hash tile `{}` was changed", tile.path()))),
            Err(fault @ TileFault::Missing(_)) => {
                self.upper.push((Exit::Incomplete, format!("hash tile: {fault}")))
            }
            Err(fault) => self.upper.push((Exit::Tampered, format!("hash tile: {fault}"))),
        }
    }

    fn root(&self) -> Option<Hash> {
        self.whole.then(|| self.levels.root())
    }
}

pub(super) fn check(
    log: &Path,
    checkpoint: &Checkpoint,
    remembered: Option<&Checkpoint>,
    report: &mut Report,
) -> Chains {
    let mut from_entries = Track::new(remembered);
    let mut from_tiles = Track::new(remembered);
    let mut differ: Vec<(u64, String)> = Vec::new();
    let mut chains = Chains::default();
    let mut chain_faults = Vec::new();
    for bundle in 0..checkpoint.size.div_ceil(WIDTH) {
        let first = bundle * WIDTH;
        let width = (checkpoint.size - first).min(WIDTH);
        let entries = read_entries(log, bundle, width);
        let hashes = read_hashes(log, 0, bundle, width);
        let tile = tile_path(Row::Level(0), bundle, width);
        let entries = usable(entries, "entry tile", first, width, report);
        let hashes = usable(hashes, "hash tile", first, width, report);
        from_entries.whole &= entries.is_some();
        from_tiles.whole &= hashes.is_some();
        for at in 0..width as usize {
            let index = first + at as u64;
            let entry = entries.as_ref().and_then(|entries| entries.get(at));
            let stored = hashes.as_ref().and_then(|hashes| hashes.get(at));
            let computed = entry.map(|entry| leaf_hash(entry));
            if let Some(hash) = computed {
                from_entries.push(log, hash, remembered);
            }
            if let Some(hash) = stored {
                from_tiles.push(log, *hash, remembered);
            }
            let differs = computed.is_some() && stored.is_some() && computed.as_ref() != stored;
            if differs {
                differ.push((index, tile.clone()));
            }
            match (entry, computed) {
                (Some(entry), Some(hash)) => {
                    chain_faults.extend(follow(&mut chains, index, entry, hash, differs));
                }
                // An entry that cannot be read hides whose it was.
                _ => chains.hide(),
            }
        }
    }
    from_entries.finish(log);
    from_tiles.finish(log);
    judge(checkpoint, &from_entries, &from_tiles, &differ, report);
    report.faults_of(Exit::Tampered, chain_faults);
    if let Some(before) = remembered {
        let good = if from_tiles.root() == Some(checkpoint.root) { &from_tiles } else { &from_entries };
        match good.at_remembered {
            Some(root) if root == before.root => {}
            Some(_) => report.fault(
                Exit::Tampered,
                format!(
                    "the log does not continue the remembered one: its first {} entries are others",
                    before.size
                ),
            ),
            None => {
                report.fault(Exit::Incomplete, "whether the log continues the remembered one cannot be told")
            }
        }
    }
    chains
}

fn usable<T>(
    read: Result<T, TileFault>,
    what: &str,
    first: u64,
    width: u64,
    report: &mut Report,
) -> Option<T> {
    let span = format!("entries {first} to {}", first + width - 1);
    match read {
        Ok(value) => return Some(value),
        Err(TileFault::Missing(path)) => {
            report.fault(Exit::Incomplete, format!("{what} `{path}` is missing ({span})"));
        }
        Err(TileFault::Length(path)) => {
            report.fault(
                Exit::Tampered,
                format!("{what} `{path}` is cut short or has something appended ({span})"),
            );
        }
        Err(TileFault::Read(path, error)) => {
            report.fault(Exit::Unreadable, format!("{what} `{path}` cannot be read: {error} ({span})"));
        }
    }
    None
}

/// Says which of entries, hash tiles and checkpoint is the odd one out.
fn judge(
    checkpoint: &Checkpoint,
    from_entries: &Track,
    from_tiles: &Track,
    differ: &[(u64, String)],
    report: &mut Report,
) {
    let entries_fit = from_entries.root() == Some(checkpoint.root);
    let tiles_fit = from_tiles.root() == Some(checkpoint.root);
    let texts = differ.iter().map(|(index, tile)| match (entries_fit, tiles_fit) {
        (true, _) => format!("hash tile `{tile}` was changed: its hash of entry {index} is not that of the entry"),
        (false, true) => format!(
            "entry {index} was changed: its hash is not the one in `{tile}`, which the signed checkpoint covers"
        ),
        (false, false) => format!("entry {index} or its hash in `{tile}` was changed: they do not fit each other"),
    });
    report.faults_of(Exit::Tampered, texts.collect());
    let upper = match (entries_fit, tiles_fit) {
        (true, _) => &from_entries.upper,
        (false, true) => &from_tiles.upper,
        (false, false) => &Vec::new(),
    };
    for exit in [Exit::Tampered, Exit::Incomplete] {
        let texts = upper.iter().filter(|(how_bad, _)| *how_bad == exit).map(|(_, text)| text.clone());
        report.faults_of(exit, texts.collect());
    }
    if !entries_fit && !tiles_fit && (from_entries.whole || from_tiles.whole) {
        let text = format!(
            "the entries do not give the root {} of the signed checkpoint: entries were added, dropped or changed \
             and the tree was computed anew, or the checkpoint was replaced",
            hex(&checkpoint.root)
        );
        report.fault(Exit::Tampered, text);
    }
}

/// Follows the chain of the entry's replica by one, and says what does not fit.
pub(super) fn follow(
    chains: &mut Chains,
    index: u64,
    entry: &[u8],
    hash: Hash,
    damaged: bool,
) -> Option<String> {
    if damaged {
        // It is reported already; whose it was is no longer known.
        chains.hide();
        return None;
    }
    let leaf = match Leaf::decode(entry) {
        Ok(leaf) => leaf,
        Err(fault) => {
            chains.hide();
            return Some(format!("entry {index} cannot be read: {fault}"));
        }
    };
    let name = replica_name(&leaf.replica);
    let end = chains.ends.insert(leaf.replica, (leaf.sequence, hash));
    let (sequence, previous) = match end {
        Some((sequence, hash)) => (sequence + 1, hash),
        None if chains.hidden => return None,
        // The first entry seen of this replica must be its first of all.
        None => (0, [0; 32]),
    };
    if leaf.sequence > sequence {
        let missing = leaf.sequence - sequence;
        let entries = if missing == 1 { "entry" } else { "entries" };
        return Some(format!("{missing} {entries} of the replica `{name}` missing before entry {index}"));
    }
    if leaf.sequence < sequence {
        return Some(format!("entry {index} repeats number {} of the replica `{name}`", leaf.sequence));
    }
    if leaf.previous != previous {
        return Some(format!("entry {index} does not follow the entry before it of the replica `{name}`"));
    }
    None
}
