//! A recording on disk: an append-only file of encrypted items, each bound to its place, so that none can be taken out,
//! put in, changed or moved unseen.
//!
//! `DRAPECAP` ‖ version (1) ‖ id (16 bytes), then for each item: length as u32 big-endian ‖ nonce (24) ‖ XAES-256-GCM of
//! kind (1) ‖ JSON. The associated data is the header and the item's number. A recording that was closed ends with an
//! item of its own; one that does not is still written, was broken off by a crash, or lost its tail.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use drape_keys::secret::{Secret, length_prefixed};
use drape_keys::xaes::{self, NONCE_BYTES};

use super::item::Captured;

const MAGIC: &[u8; 8] = b"DRAPECAP";
const VERSION: u8 = 1;
const ID_BYTES: usize = 16;
const HEADER_BYTES: usize = MAGIC.len() + 1 + ID_BYTES;
/// No item is longer.
const ITEM_BYTES_MAX: u32 = 4 << 20;
const TAG_BYTES: u32 = 16;
const ITEM: u8 = 0;
const END: u8 = 1;

/// What is wrong with a recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// It cannot be read or written.
    #[error("the recording `{0}`: {1}")]
    Disk(String, std::io::Error),
    /// Another file, or another version.
    #[error("`{0}` is no recording of this version")]
    Foreign(String),
    /// Broken in itself, or another key.
    #[error(
        "the recording `{0}`: item {1} was changed, is missing or out of order, or belongs to another tenant"
    )]
    Changed(String, u64),
    /// Cannot be encrypted.
    #[error("the recording `{0}`: an item cannot be encrypted")]
    Sealing(String),
}

/// How a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was closed.
    Closed,
    /// It is still written, or whatever followed the last item is gone.
    Open,
    /// In the middle of an item.
    Torn,
}

fn key(secret: &Secret, tenant: &str, id: &[u8]) -> Secret {
    let id: String = id.iter().map(|b| format!("{b:02x}")).collect();
    secret.derive("recording", &[tenant, &id])
}

fn aad(header: &[u8], number: u64) -> Vec<u8> {
    length_prefixed(&[header, &number.to_be_bytes()])
}

/// Writes a recording.
#[derive(Debug)]
pub(super) struct Writer {
    name: String,
    file: File,
    header: [u8; HEADER_BYTES],
    key: Secret,
    next: u64,
    bytes: u64,
}

impl Writer {
    /// Goes on with a recording, or begins one. What a crash left of an item is cut off: it was never whole.
    pub(super) fn open(path: &Path, tenant: &str, secret: &Secret) -> Result<Self, RecordingError> {
        let name = path.display().to_string();
        let disk = |e| RecordingError::Disk(name.clone(), e);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(disk)?;
        let length = file.metadata().map_err(disk)?.len();
        let mut header = [0; HEADER_BYTES];
        // A crash within the header leaves a file without an item: it is begun anew.
        if length < HEADER_BYTES as u64 {
            header[..MAGIC.len()].copy_from_slice(MAGIC);
            header[MAGIC.len()] = VERSION;
            getrandom::fill(&mut header[MAGIC.len() + 1..])
                .map_err(|_| RecordingError::Sealing(name.clone()))?;
            file.set_len(0).map_err(disk)?;
            file.rewind().map_err(disk)?;
            file.write_all(&header).map_err(disk)?;
            file.sync_all().map_err(disk)?;
        } else {
            file.read_exact(&mut header).map_err(disk)?;
        }
        if &header[..MAGIC.len()] != MAGIC || header[MAGIC.len()] != VERSION {
            return Err(RecordingError::Foreign(name));
        }
        let key = key(secret, tenant, &header[MAGIC.len() + 1..]);
        let (mut next, mut bytes) = (0, HEADER_BYTES as u64);
        loop {
            let mut size = [0; 4];
            if bytes + 4 > length || file.read_exact(&mut size).is_err() {
                break;
            }
            let size = u32::from_be_bytes(size);
            if size > ITEM_BYTES_MAX {
                return Err(RecordingError::Changed(name, next));
            }
            let end = bytes + 4 + u64::from(size);
            if end > length {
                break;
            }
            file.seek(SeekFrom::Start(end)).map_err(disk)?;
            (next, bytes) = (next + 1, end);
        }
        file.set_len(bytes).map_err(disk)?;
        file.seek(SeekFrom::Start(bytes)).map_err(disk)?;
        Ok(Self { name, file, header, key, next, bytes })
    }

    /// How long the file would be with an item of that JSON in it.
    pub(super) fn bytes_with(&self, json: &[u8]) -> u64 {
        self.bytes + 4 + NONCE_BYTES as u64 + 1 + json.len() as u64 + u64::from(TAG_BYTES)
    }

    /// Adds an item. A crash here leaves a part of it, which the next start cuts off.
    pub(super) fn add(&mut self, json: &[u8]) -> Result<(), RecordingError> {
        self.write(ITEM, json)
    }

    /// Says that nothing is missing up to here, and waits for the disk.
    pub(super) fn close(&mut self) -> Result<(), RecordingError> {
        self.write(END, b"")?;
        self.file.sync_all().map_err(|e| RecordingError::Disk(self.name.clone(), e))
    }

    fn write(&mut self, kind: u8, json: &[u8]) -> Result<(), RecordingError> {
        let sealing = || RecordingError::Sealing(self.name.clone());
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| sealing())?;
        let plain = [&[kind], json].concat();
        let sealed =
            xaes::seal(&self.key, &nonce, &aad(&self.header, self.next), &plain).map_err(|_| sealing())?;
        let size = u32::try_from(NONCE_BYTES + sealed.len()).map_err(|_| sealing())?;
        if size > ITEM_BYTES_MAX {
            return Err(sealing());
        }
        let whole = [&size.to_be_bytes()[..], &nonce, &sealed].concat();
        if let Err(error) = self.file.write_all(&whole) {
            // A part of it may stand there: what follows would be unreadable behind it.
            let _ = self.file.set_len(self.bytes).and_then(|()| self.file.seek(SeekFrom::Start(self.bytes)));
            return Err(RecordingError::Disk(self.name.clone(), error));
        }
        self.next += 1;
        self.bytes += whole.len() as u64;
        Ok(())
    }
}

/// Reads a recording item by item, also while it is written.
#[derive(Debug)]
pub struct Reader {
    name: String,
    file: BufReader<File>,
    header: [u8; HEADER_BYTES],
    key: Secret,
    number: u64,
    ending: Ending,
    failed: bool,
}

impl Reader {
    /// `secret` is that of recordings, [`super::secret`].
    pub fn open(path: &Path, tenant: &str, secret: &Secret) -> Result<Self, RecordingError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|e| RecordingError::Disk(name.clone(), e))?;
        let mut file = BufReader::new(file);
        let mut header = [0; HEADER_BYTES];
        file.read_exact(&mut header).map_err(|_| RecordingError::Foreign(name.clone()))?;
        if &header[..MAGIC.len()] != MAGIC || header[MAGIC.len()] != VERSION {
            return Err(RecordingError::Foreign(name));
        }
        let key = key(secret, tenant, &header[MAGIC.len() + 1..]);
        Ok(Self { name, file, header, key, number: 0, ending: Ending::Open, failed: false })
    }

    /// How it ends; known when every item was read.
    pub fn ending(&self) -> Ending {
        self.ending
    }

    fn read(&mut self) -> Result<Option<Captured>, RecordingError> {
        loop {
            let mut size = [0; 4];
            match fill(&mut self.file, &mut size) {
                Ok(0) => return Ok(None),
                Ok(4) => {}
                Ok(_) => {
                    self.ending = Ending::Torn;
                    return Ok(None);
                }
                Err(e) => return Err(RecordingError::Disk(self.name.clone(), e)),
            }
            let changed = || RecordingError::Changed(self.name.clone(), self.number);
            let size = u32::from_be_bytes(size);
            if size > ITEM_BYTES_MAX {
                return Err(changed());
            }
            let mut whole = vec![0; usize::try_from(size).unwrap_or(0)];
            match fill(&mut self.file, &mut whole) {
                Ok(read) if read == whole.len() => {}
                Ok(_) => {
                    self.ending = Ending::Torn;
                    return Ok(None);
                }
                Err(e) => return Err(RecordingError::Disk(self.name.clone(), e)),
            }
            let (nonce, sealed) = whole.split_first_chunk::<NONCE_BYTES>().ok_or_else(changed)?;
            let plain = xaes::open(&self.key, nonce, &aad(&self.header, self.number), sealed)
                .map_err(|_| changed())?;
            let item = match plain.split_first() {
                Some((&END, [])) => None,
                Some((&ITEM, json)) => Some(serde_json::from_slice(json).map_err(|_| changed())?),
                _ => return Err(changed()),
            };
            self.number += 1;
            match item {
                None => self.ending = Ending::Closed,
                Some(item) => {
                    self.ending = Ending::Open;
                    return Ok(Some(item));
                }
            }
        }
    }
}

impl Iterator for Reader {
    type Item = Result<Captured, RecordingError>;

    /// Nothing more comes after a fault.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let read = self.read().transpose();
        self.failed = matches!(read, Some(Err(_)));
        read
    }
}

/// Reads as much as there is.
fn fill(file: &mut BufReader<File>, into: &mut [u8]) -> std::io::Result<usize> {
    let mut read = 0;
    while read < into.len() {
        match file.read(&mut into[read..])? {
            0 => break,
            n => read += n,
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests;
