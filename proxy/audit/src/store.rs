//! The encrypted event store: append-only segments that hold every event, and are the write-ahead log of the tree.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::disk::Disk;
use crate::event::Class;
use crate::leaf::{LEAF_BYTES, Leaf, array};
use crate::tiles::read_bounded;

/// Opens every record. The last character is the version of the layout.
const MAGIC: [u8; 4] = *b"DEV1";

/// `magic [4] ‖ body length u32 ‖ index u64 ‖ batch u64 ‖ leaf [90] ‖ SHA-256(body) [32] ‖ check [8]`, integers
/// big-endian; the check is the start of SHA-256 over what stands before it.
pub const HEADER_BYTES: usize = 4 + 4 + 8 + 8 + LEAF_BYTES + 32 + 8;

/// No segment is larger; a larger file is not ours.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// The folder of the event store in the log's directory.
pub const FOLDER: &str = "events";

/// A record of the store, as it lies in a segment.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// The leaf's index in the tree.
    pub index: u64,
    /// The index of the first record of the batch that was made durable at once.
    pub batch: u64,
    /// The leaf.
    pub leaf: &'a [u8],
    /// The sealed event (see [`crate::seal`]), or zeros where it was erased.
    pub body: &'a [u8],
    /// Whether the body is the one that was written.
    pub intact: bool,
    /// Where the record starts in its segment.
    pub offset: u64,
}

impl Stored<'_> {
    /// Whether the body was overwritten.
    pub fn wiped(&self) -> bool {
        self.body.iter().all(|byte| *byte == 0)
    }
}

/// What stands at a place in a segment.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// A record.
    Record(Stored<'a>),
    /// Bytes from this offset on that are no whole record; reading goes on at the next record that is one.
    Broken(u64),
}

/// Appends a record's bytes.
pub(crate) fn encode(out: &mut Vec<u8>, index: u64, batch: u64, leaf: &[u8; LEAF_BYTES], body: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&index.to_be_bytes());
    out.extend_from_slice(&batch.to_be_bytes());
    out.extend_from_slice(leaf);
    out.extend_from_slice(&Sha256::digest(body));
    let check = Sha256::digest(&out[start..]);
    out.extend_from_slice(&check[..8]);
    out.extend_from_slice(body);
}

/// Walks over the records of a segment.
#[derive(Debug)]
pub struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    /// Over the bytes of a whole segment.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn record(&self, at: usize) -> Option<(Stored<'a>, usize)> {
        let rest = self.bytes.get(at..)?;
        let (header, rest) = rest.split_at_checked(HEADER_BYTES)?;
        let (said, check) = header.split_at(HEADER_BYTES - 8);
        if header[..4] != MAGIC || Sha256::digest(said)[..8] != *check {
            return None;
        }
        let length = u32::from_be_bytes(array(&header[4..8])) as usize;
        let body = rest.get(..length)?;
        let digest = &header[24 + LEAF_BYTES..56 + LEAF_BYTES];
        let stored = Stored {
            index: u64::from_be_bytes(array(&header[8..16])),
            batch: u64::from_be_bytes(array(&header[16..24])),
            leaf: &header[24..24 + LEAF_BYTES],
            body,
            intact: Sha256::digest(body).as_slice() == digest,
            offset: at as u64,
        };
        Some((stored, at + HEADER_BYTES + length))
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        if self.at >= self.bytes.len() {
            return None;
        }
        if let Some((stored, end)) = self.record(self.at) {
            self.at = end;
            return Some(Found::Record(stored));
        }
        let broken = self.at;
        let next = (broken + 1..self.bytes.len())
            .find(|at| self.bytes[*at..].starts_with(&MAGIC) && self.record(*at).is_some());
        self.at = next.unwrap_or(self.bytes.len());
        Some(Found::Broken(broken as u64))
    }
}

/// A segment of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The index of its first record; the file is named for it.
    pub first: u64,
    /// The file.
    pub path: PathBuf,
}

impl Segment {
    /// The file's name in reports, relative to the log.
    pub fn name(&self) -> String {
        format!("{FOLDER}/{}", segment_name(self.first))
    }

    /// The whole segment.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        read_bounded(&self.path, SEGMENT_BYTES_MAX)
    }
}

fn segment_name(first: u64) -> String {
    format!("{first:020}.events")
}

/// The segments of a log, in order. Files of other names are ignored.
pub fn segments(log: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(log.join(FOLDER))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let digits = name.strip_suffix(".events").filter(|digits| digits.len() == 20);
        if let Some(first) = digits.and_then(|digits| digits.parse().ok()) {
            segments.push(Segment { first, path });
        }
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments)
}

/// Appends batches to the last segment.
#[derive(Debug)]
pub(crate) struct Appender {
    disk: Disk,
    folder: PathBuf,
    open: Option<(File, PathBuf, u64)>,
    segment_bytes_max: u64,
}

impl Appender {
    /// Goes on after the last segment, which recovery has cut to whole records.
    pub(crate) fn open(
        disk: Disk,
        log: &Path,
        last: Option<&Segment>,
        segment_bytes_max: u64,
    ) -> io::Result<Self> {
        let open = match last {
            None => None,
            Some(segment) => {
                let file = fs::OpenOptions::new().append(true).open(&segment.path)?;
                let bytes = file.metadata()?.len();
                Some((file, segment.path.clone(), bytes))
            }
        };
        Ok(Self { disk, folder: log.join(FOLDER), open, segment_bytes_max })
    }

    /// Writes a batch that starts at leaf `first` and forces it to disk: one write, one fdatasync.
    ///
    /// A crash before the sync returns may leave any part of the batch, in any order of pages. Nobody was told that
    /// it is durable, so recovery cuts it at the first record that is not whole.
    pub(crate) fn append(&mut self, first: u64, batch: &[u8]) -> io::Result<()> {
        if self.open.as_ref().is_none_or(|(_, _, bytes)| *bytes >= self.segment_bytes_max) {
            // The name is durable before the first record: a crash here leaves an empty segment, which is harmless.
            let path = self.folder.join(segment_name(first));
            let file = self.disk.create(&path)?;
            self.open = Some((file, path, 0));
        }
        let Some((file, path, bytes)) = &mut self.open else { return Err(io::Error::other("no segment")) };
        self.disk.append(file, path, batch)?;
        self.disk.sync(file, path)?;
        *bytes += batch.len() as u64;
        Ok(())
    }
}

/// Overwrites the events of these leaves with zeros and forces that to disk; gives how many records it found.
///
/// Tombstones are spared, because they say what was erased. Doing it twice does no harm, and a crash in between is
/// mended at the next opening, because the tombstone is durable before this starts.
pub(crate) fn erase(disk: &Disk, log: &Path, ranges: &[(u64, u64)]) -> io::Result<u64> {
    let segments = segments(log)?;
    let mut erased = 0;
    for (at, segment) in segments.iter().enumerate() {
        let end = segments.get(at + 1).map_or(u64::MAX, |next| next.first);
        let touched = |range: &&(u64, u64)| range.0 < end && range.1 >= segment.first;
        if !ranges.iter().any(|range| touched(&range)) {
            continue;
        }
        let bytes = segment.read()?;
        let mut file = fs::OpenOptions::new().write(true).open(&segment.path)?;
        for found in Scan::new(&bytes) {
            let Found::Record(stored) = found else { continue };
            let tombstone = Leaf::decode(stored.leaf).is_ok_and(|leaf| leaf.class == Class::Tombstone);
            if tombstone || !within(ranges, stored.index) {
                continue;
            }
            disk.before_erase(&segment.path)?;
            file.seek(SeekFrom::Start(stored.offset + HEADER_BYTES as u64))?;
            file.write_all(&vec![0; stored.body.len()])?;
            erased += 1;
        }
        disk.sync(&file, &segment.path)?;
    }
    Ok(erased)
}

/// Whether an index lies in one of the ranges, both ends included.
pub(crate) fn within(ranges: &[(u64, u64)], index: u64) -> bool {
    ranges.iter().any(|(first, last)| (*first..=*last).contains(&index))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(class: Class) -> [u8; LEAF_BYTES] {
        Leaf { replica: [1; 8], sequence: 0, previous: [0; 32], time_ms: 1, class, commitment: [2; 32] }
            .encode()
    }

    fn three() -> Vec<u8> {
        let mut bytes = Vec::new();
        for index in 0..3 {
            encode(&mut bytes, index, 0, &leaf(Class::Intent), &[index as u8 + 1; 40]);
        }
        bytes
    }

    #[test]
    fn records_read_back_and_a_changed_body_is_told_from_a_broken_header() {
        let bytes = three();
        let whole = Scan::new(&bytes)
            .filter(|found| matches!(found, Found::Record(Stored { intact: true, .. })))
            .count();
        assert_eq!(whole, 3);

        let record = HEADER_BYTES + 40;
        let mut changed = bytes.clone();
        changed[record + HEADER_BYTES + 3] ^= 1;
        let intact: Vec<bool> = Scan::new(&changed)
            .map(|found| matches!(found, Found::Record(Stored { intact: true, .. })))
            .collect();
        assert_eq!(intact, [true, false, true]);

        for at in 0..HEADER_BYTES {
            let mut broken = bytes.clone();
            broken[record + at] ^= 1;
            let found: Vec<Found<'_>> = Scan::new(&broken).collect();
            assert!(matches!(found[1], Found::Broken(offset) if offset == record as u64), "byte {at}");
            assert!(matches!(found[2], Found::Record(Stored { index: 2, .. })));
        }
    }

    #[test]
    fn erasing_spares_tombstones_and_everything_outside_the_ranges() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::real();
        disk.make_directories(&folder.path().join(FOLDER)).unwrap();
        let mut appender = Appender::open(disk.clone(), folder.path(), None, 300).unwrap();
        for index in 0..6u64 {
            let class = if index == 2 { Class::Tombstone } else { Class::Intent };
            let mut bytes = Vec::new();
            encode(&mut bytes, index, index, &leaf(class), &[9; 40]);
            appender.append(index, &bytes).unwrap();
        }
        assert!(segments(folder.path()).unwrap().len() > 1, "the store rolls over");
        assert_eq!(erase(&disk, folder.path(), &[(1, 3), (5, 5)]).unwrap(), 3);
        let mut wiped = Vec::new();
        for segment in segments(folder.path()).unwrap() {
            for found in Scan::new(&segment.read().unwrap()) {
                let Found::Record(stored) = found else { panic!("broken") };
                wiped.push(stored.wiped());
            }
        }
        assert_eq!(wiped, [false, true, false, true, false, true]);
    }
}
