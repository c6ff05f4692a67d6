//! The public directory of the log: hash tiles and entry bundles as C2SP tlog-tiles lays them out.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::tree::{Hash, leaf_hash, root_of};

/// Hashes in a full tile, entries in a full bundle.
pub const WIDTH: u64 = 256;

/// Levels a tree of up to 2^64 leaves can have.
const LEVELS_MAX: u32 = 8;

/// No tile or bundle is larger: 256 entries of 65,535 bytes with their prefixes.
const FILE_BYTES_MAX: u64 = WIDTH * (65_535 + 2);

/// One row of the tree directory: a hash level, or the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// `tile/entries/…`
    Entries,
    /// `tile/<L>/…`
    Level(u32),
}

/// The path of a tile, relative to the log: index in groups of three digits, all but the last marked `x`.
pub fn tile_path(row: Row, index: u64, width: u64) -> String {
    let row = match row {
        Row::Entries => "entries".to_owned(),
        Row::Level(level) => level.to_string(),
    };
    let mut groups = vec![format!("{:03}", index % 1_000)];
    let mut rest = index / 1_000;
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1_000));
        rest /= 1_000;
    }
    groups.reverse();
    let partial = if width < WIDTH { format!(".p/{width}") } else { String::new() };
    format!("tile/{row}/{}{partial}", groups.join("/"))
}

/// Why a tile could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TileFault {
    /// Neither the partial nor the full tile is there.
    #[error("`{0}` is missing")]
    Missing(String),
    /// The file is not of the length that its width asks for.
    #[error("`{0}` is cut short or has something appended")]
    Length(String),
    /// It could not be read.
    #[error("`{0}` cannot be read: {1}")]
    Read(String, io::Error),
}

/// Reads the file of a tile, or of the full tile where the partial one is gone.
fn read(log: &Path, row: Row, index: u64, width: u64) -> Result<(String, bool, Vec<u8>), TileFault> {
    let path = tile_path(row, index, width);
    match read_bounded(&log.join(&path), FILE_BYTES_MAX) {
        Ok(bytes) => return Ok((path, false, bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && width < WIDTH => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(TileFault::Missing(path)),
        Err(error) => return Err(TileFault::Read(path, error)),
    }
    let full = tile_path(row, index, WIDTH);
    match read_bounded(&log.join(&full), FILE_BYTES_MAX) {
        Ok(bytes) => Ok((full, true, bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(TileFault::Missing(path)),
        Err(error) => Err(TileFault::Read(full, error)),
    }
}

/// The first `width` hashes of a tile.
pub fn read_hashes(log: &Path, level: u32, index: u64, width: u64) -> Result<Vec<Hash>, TileFault> {
    let (path, full, bytes) = read(log, Row::Level(level), index, width)?;
    let expected = if full { WIDTH } else { width } * 32;
    let (hashes, rest) = bytes.as_chunks::<32>();
    if bytes.len() as u64 != expected || !rest.is_empty() {
        return Err(TileFault::Length(path));
    }
    Ok(hashes.iter().take(width as usize).copied().collect())
}

/// The first `width` entries of a bundle.
pub fn read_entries(log: &Path, index: u64, width: u64) -> Result<Vec<Vec<u8>>, TileFault> {
    let (path, full, bytes) = read(log, Row::Entries, index, width)?;
    let (entries, rest) = split_entries(&bytes);
    let expected = if full { WIDTH } else { width };
    if !rest.is_empty() || entries.len() as u64 != expected {
        return Err(TileFault::Length(path));
    }
    Ok(entries.into_iter().take(width as usize).map(<[u8]>::to_vec).collect())
}

/// Reads a whole file of at most `bytes_max` bytes; a larger one is an error.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// A tile to be written, or to be compared with what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Which row.
    pub row: Row,
    /// Its index in the row.
    pub index: u64,
    /// How many hashes or entries.
    pub width: u64,
    /// The file's bytes.
    pub bytes: Vec<u8>,
}

impl Tile {
    /// Relative to the log.
    pub fn path(&self) -> String {
        tile_path(self.row, self.index, self.width)
    }
}

/// The hashes on the right edge of a tree: the partial tiles of every level.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Levels {
    size: u64,
    rows: Vec<Vec<Hash>>,
}

impl Levels {
    /// Reads the partial hash tiles of a tree of `size` leaves.
    pub fn load(log: &Path, size: u64) -> Result<Self, TileFault> {
        let mut rows = Vec::new();
        for level in 0..LEVELS_MAX {
            let hashes = size >> (8 * level);
            if hashes == 0 {
                break;
            }
            let width = hashes % WIDTH;
            rows.push(if width == 0 { Vec::new() } else { read_hashes(log, level, hashes / WIDTH, width)? });
        }
        Ok(Self { size, rows })
    }

    /// How many leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The Merkle tree hash (RFC 6962, 2.1).
    pub fn root(&self) -> Hash {
        // What is left over on a level stands, as one node, to the right of the whole tiles on the next.
        let mut below: Option<Hash> = None;
        for row in &self.rows {
            let mut row = row.clone();
            row.extend(below);
            below = if row.is_empty() { None } else { Some(root_of(&row)) };
        }
        below.unwrap_or_else(crate::tree::empty_root)
    }

    /// Adds a leaf hash and gives the hash tiles it filled.
    pub fn push(&mut self, leaf: Hash) -> Vec<Tile> {
        let mut filled = Vec::new();
        self.size += 1;
        let mut hash = leaf;
        for level in 0u32.. {
            let at = level as usize;
            if self.rows.len() <= at {
                self.rows.push(Vec::new());
            }
            self.rows[at].push(hash);
            if (self.rows[at].len() as u64) < WIDTH {
                break;
            }
            let row = std::mem::take(&mut self.rows[at]);
            hash = root_of(&row);
            let index = (self.size >> (8 * (level + 1))) - 1;
            filled.push(Tile { row: Row::Level(level), index, width: WIDTH, bytes: row.concat() });
        }
        filled
    }

    /// The partial hash tiles of this size.
    pub fn partials(&self) -> Vec<Tile> {
        let rows = self.rows.iter().zip(0u32..).filter(|(row, _)| !row.is_empty());
        rows.map(|(row, level)| Tile {
            row: Row::Level(level),
            index: self.size >> (8 * (level + 1)),
            width: row.len() as u64,
            bytes: row.concat(),
        })
        .collect()
    }
}

/// The right edge of the log: what is needed to go on writing, and nothing more.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Edge {
    levels: Levels,
    bundle: Vec<u8>,
}

impl Edge {
    /// The edge of the empty tree.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads the edge of a tree of `size` leaves from its partial tiles.
    pub fn load(log: &Path, size: u64) -> Result<Self, TileFault> {
        let levels = Levels::load(log, size)?;
        let mut bundle = Vec::new();
        if !size.is_multiple_of(WIDTH) {
            for entry in read_entries(log, size / WIDTH, size % WIDTH)? {
                push_entry(&mut bundle, &entry);
            }
        }
        Ok(Self { levels, bundle })
    }

    /// How many leaves.
    pub fn size(&self) -> u64 {
        self.levels.size
    }

    /// The Merkle tree hash (RFC 6962, 2.1).
    pub fn root(&self) -> Hash {
        self.levels.root()
    }

    /// The entries of the partial bundle: the last `size % 256`.
    pub fn entries(&self) -> Vec<&[u8]> {
        split_entries(&self.bundle).0
    }

    /// Whether the entries of the edge are those that its hashes stand for.
    pub fn entries_fit(&self) -> bool {
        let hashes: Vec<Hash> = self.entries().into_iter().map(leaf_hash).collect();
        hashes.as_slice() == self.levels.rows.first().map_or(&[][..], Vec::as_slice)
    }

    /// Adds an entry (at most 65,535 bytes, which a [`crate::leaf::Leaf`] always is) and gives the tiles it filled.
    pub fn push(&mut self, entry: &[u8]) -> Vec<Tile> {
        push_entry(&mut self.bundle, entry);
        let mut filled = self.levels.push(leaf_hash(entry));
        if self.size().is_multiple_of(WIDTH) {
            let bytes = std::mem::take(&mut self.bundle);
            let index = self.size() / WIDTH - 1;
            filled.insert(0, Tile { row: Row::Entries, index, width: WIDTH, bytes });
        }
        filled
    }

    /// The partial tiles of this size.
    pub fn partials(&self) -> Vec<Tile> {
        let mut tiles = Vec::new();
        if !self.bundle.is_empty() {
            let (index, width) = (self.size() / WIDTH, self.size() % WIDTH);
            tiles.push(Tile { row: Row::Entries, index, width, bytes: self.bundle.clone() });
        }
        tiles.extend(self.levels.partials());
        tiles
    }
}

/// The entries of a bundle, and what follows them that is none.
fn split_entries(bundle: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut entries = Vec::new();
    let mut rest = bundle;
    while let Some((prefix, tail)) = rest.split_first_chunk::<2>() {
        let Some((entry, tail)) = tail.split_at_checked(usize::from(u16::from_be_bytes(*prefix))) else {
            break;
        };
        entries.push(entry);
        rest = tail;
    }
    (entries, rest)
}

fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) {
    // An entry that is too long cannot come from a leaf; cutting it keeps the framing readable and fails verification.
    let length = u16::try_from(entry.len()).unwrap_or(u16::MAX);
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(&entry[..usize::from(length)]);
}

/// Writes tiles durably. They mean nothing until a checkpoint covers them, so a crash in between is harmless:
/// the next run computes the same bytes from the same leaves and writes them again.
pub(crate) fn write(disk: &Disk, log: &Path, tiles: &[Tile]) -> io::Result<()> {
    let mut directories: BTreeSet<PathBuf> = BTreeSet::new();
    for tile in tiles {
        let path = log.join(tile.path());
        if let Some(directory) = path.parent() {
            disk.make_directories(directory)?;
            directories.insert(directory.to_owned());
        }
        disk.replace(&path, &tile.bytes)?;
    }
    directories.iter().try_for_each(|directory| disk.sync_directory(directory))
}

/// Removes the partial tiles whose full tile is now published (tlog-tiles allows it); a leftover does no harm.
pub(crate) fn remove_partials(disk: &Disk, log: &Path, full: &[Tile]) -> io::Result<()> {
    full.iter()
        .filter(|tile| tile.width == WIDTH)
        .try_for_each(|tile| disk.remove_directory(&log.join(format!("{}.p", tile.path()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tile_paths_are_those_of_the_specification() {
        assert_eq!(tile_path(Row::Level(0), 1_234_067, WIDTH), "tile/0/x001/x234/067");
        assert_eq!(tile_path(Row::Level(2), 0, 1), "tile/2/000.p/1");
        assert_eq!(tile_path(Row::Entries, 999, 255), "tile/entries/999.p/255");
        assert_eq!(tile_path(Row::Entries, 1_000, WIDTH), "tile/entries/x001/000");
    }

    #[test]
    fn the_edge_has_the_root_of_the_whole_tree_at_every_size() {
        let mut edge = Edge::empty();
        let mut row = Vec::new();
        assert_eq!(edge.root(), root_of(&row));
        for i in 0u32..1_300 {
            edge.push(&i.to_be_bytes());
            row.push(leaf_hash(&i.to_be_bytes()));
            if i % 97 == 0 || (i + 1) % 256 < 2 {
                assert_eq!(edge.root(), root_of(&row), "size {}", i + 1);
                assert!(edge.entries_fit());
            }
        }
    }

    #[test]
    fn a_tree_of_70000_has_the_tiles_that_the_specification_counts() {
        let mut edge = Edge::empty();
        let mut full = [0; 3];
        for i in 0u32..70_000 {
            for tile in edge.push(&i.to_be_bytes()) {
                if let Row::Level(level) = tile.row {
                    assert_eq!(tile.index, full[level as usize]);
                    full[level as usize] += 1;
                }
            }
        }
        assert_eq!(full, [273, 1, 0]);
        let widths: Vec<(Row, u64)> = edge.partials().iter().map(|tile| (tile.row, tile.width)).collect();
        let expected = [(Row::Entries, 112), (Row::Level(0), 112), (Row::Level(1), 17), (Row::Level(2), 1)];
        assert_eq!(widths, expected);
    }

    #[test]
    fn a_written_edge_reads_back_and_a_cut_tile_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::real();
        let mut edge = Edge::empty();
        for i in 0u32..600 {
            let full = edge.push(&i.to_be_bytes());
            write(&disk, folder.path(), &full).unwrap();
        }
        write(&disk, folder.path(), &edge.partials()).unwrap();
        assert_eq!(Edge::load(folder.path(), 600).unwrap(), edge);
        let path = folder.path().join(tile_path(Row::Level(0), 2, 88));
        std::fs::write(&path, [0; 31]).unwrap();
        assert!(matches!(Edge::load(folder.path(), 600), Err(TileFault::Length(_))));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Edge::load(folder.path(), 600), Err(TileFault::Missing(_))));
    }
}
