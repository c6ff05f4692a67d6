//! Proofs from tiles: that an entry is in the log, and that a longer log continues a shorter one.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::checkpoint::{CHECKPOINT_BYTES_MAX, Checkpoint, NoteFault, VerifierKey};
use crate::leaf::array;
use crate::tiles::{TileFault, WIDTH, read_bounded, read_hashes};
use crate::tree::{Hash, leaf_hash, node_hash, root_of, split};

/// Why a proof could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProofFault {
    /// The index is not in the tree, or the smaller tree is not smaller.
    #[error("the log has {size} entries, so there is no proof for {asked}")]
    Range {
        /// What was asked for.
        asked: u64,
        /// The size of the tree.
        size: u64,
    },
    /// A tile could not be used.
    #[error(transparent)]
    Tile(#[from] TileFault),
    /// The checkpoint could not be used.
    #[error("the checkpoint: {0}")]
    Note(#[from] NoteFault),
    /// The checkpoint could not be read.
    #[error("the checkpoint cannot be read: {0}")]
    Read(#[from] std::io::Error),
}

/// The tree of `size` leaves under a log directory.
#[derive(Clone, Copy, Debug)]
pub struct Tree<'a> {
    /// The log's directory.
    pub log: &'a Path,
    /// How many leaves.
    pub size: u64,
}

impl Tree<'_> {
    /// The audit path of a leaf, from its sibling up (RFC 6962, 2.1.1).
    pub fn inclusion(&self, index: u64) -> Result<Vec<Hash>, ProofFault> {
        if index >= self.size {
            return Err(ProofFault::Range { asked: index, size: self.size });
        }
        let (mut low, mut high) = (0, self.size);
        let mut path = Vec::new();
        while high - low > 1 {
            let middle = low + split(high - low);
            if index < middle {
                path.push(self.range(middle, high)?);
                high = middle;
            } else {
                path.push(self.range(low, middle)?);
                low = middle;
            }
        }
        path.reverse();
        Ok(path)
    }

    /// The proof that this tree continues its own first `old` leaves (RFC 6962, 2.1.2); empty for the same size.
    pub fn consistency(&self, old: u64) -> Result<Vec<Hash>, ProofFault> {
        if old == 0 || old > self.size {
            return Err(ProofFault::Range { asked: old, size: self.size });
        }
        let mut proof = Vec::new();
        let (mut low, mut high, mut known) = (0, self.size, true);
        while old < high {
            let middle = low + split(high - low);
            if old <= middle {
                proof.push(self.range(middle, high)?);
                high = middle;
            } else {
                proof.push(self.range(low, middle)?);
                low = middle;
                known = false;
            }
        }
        if !known {
            proof.push(self.range(low, high)?);
        }
        proof.reverse();
        Ok(proof)
    }

    /// The hash over the leaves `low..high` of this tree.
    fn range(&self, low: u64, high: u64) -> Result<Hash, ProofFault> {
        let width = high - low;
        if width.is_power_of_two() && low.is_multiple_of(width) {
            let height = width.trailing_zeros();
            let (level, in_tile) = (height / 8, 1u64 << (height % 8));
            let first = low >> (8 * level);
            let tile_width = (self.size >> (8 * level)).saturating_sub(first / WIDTH * WIDTH).min(WIDTH);
            let hashes = read_hashes(self.log, level, first / WIDTH, tile_width)?;
            let at = (first % WIDTH) as usize;
            return Ok(root_of(&hashes[at..at + in_tile as usize]));
        }
        let middle = low + split(width);
        Ok(node_hash(&self.range(low, middle)?, &self.range(middle, high)?))
    }
}

/// Whether the path leads from the leaf to the root (RFC 9162, 2.1.3.2).
pub fn inclusion_holds(leaf: Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for step in path {
        if last == 0 {
            return false;
        }
        if at % 2 == 1 || at == last {
            hash = node_hash(step, &hash);
            while at % 2 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, step);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether the tree of `size` leaves continues the one of `old` leaves (RFC 9162, 2.1.4.2).
pub fn consistency_holds(old: u64, old_root: &Hash, size: u64, root: &Hash, proof: &[Hash]) -> bool {
    if old == size {
        return proof.is_empty() && old_root == root;
    }
    if old == 0 || old > size {
        return false;
    }
    let mut steps = proof.iter();
    let (mut at, mut last) = (old - 1, size - 1);
    while at % 2 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let first = if old.is_power_of_two() { Some(old_root) } else { steps.next() };
    let Some(first) = first else { return false };
    let (mut old_hash, mut hash) = (*first, *first);
    for step in steps {
        if last == 0 {
            return false;
        }
        if at % 2 == 1 || at == last {
            old_hash = node_hash(step, &old_hash);
            hash = node_hash(step, &hash);
            while at % 2 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, step);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && hash == *root
}

/// A disclosure receipt: that one entry is in the log, checkable offline (C2SP tlog-proof, version 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The entry's index.
    pub index: u64,
    /// Its audit path.
    pub path: Vec<Hash>,
    /// The signed checkpoint, as published.
    pub checkpoint: String,
}

const PROOF_HEADER: &str = "c2sp.org/tlog-proof@v1";

impl Receipt {
    /// Makes the receipt of an entry under the published checkpoint.
    pub fn make(log: &Path, index: u64, key: &VerifierKey) -> Result<Self, ProofFault> {
        let bytes = read_bounded(&log.join("checkpoint"), CHECKPOINT_BYTES_MAX)?;
        let checkpoint = String::from_utf8(bytes).map_err(|_| NoteFault::Malformed("it is not UTF-8"))?;
        let size = Checkpoint::verify(&checkpoint, key)?.size;
        Ok(Self { index, path: Tree { log, size }.inclusion(index)?, checkpoint })
    }

    /// The text form.
    pub fn to_text(&self) -> String {
        let path: String = self.path.iter().map(|hash| STANDARD.encode(hash) + "\n").collect();
        format!("{PROOF_HEADER}\nindex {}\n{path}\n{}", self.index, self.checkpoint)
    }

    /// Reads the text form; opaque extra data is skipped.
    pub fn parse(text: &str) -> Result<Self, NoteFault> {
        let fault = NoteFault::Malformed("it is no tlog-proof");
        let (head, checkpoint) = text.split_once("\n\n").ok_or(fault.clone())?;
        let mut lines = head.lines().peekable();
        if lines.next() != Some(PROOF_HEADER) {
            return Err(fault);
        }
        lines.next_if(|line| line.starts_with("extra "));
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).ok_or(fault.clone())?;
        let number: u64 = index.parse().map_err(|_| fault.clone())?;
        if number.to_string() != index {
            return Err(fault);
        }
        let mut path = Vec::new();
        for line in lines {
            let hash = STANDARD.decode(line).ok().filter(|hash| hash.len() == 32).ok_or(fault.clone())?;
            path.push(array(&hash));
        }
        Ok(Self { index: number, path, checkpoint: checkpoint.to_owned() })
    }

    /// Whether the receipt proves that the log of this key holds the entry.
    pub fn proves(&self, entry: &[u8], key: &VerifierKey) -> Result<bool, NoteFault> {
        let checkpoint = Checkpoint::verify(&self.checkpoint, key)?;
        Ok(inclusion_holds(leaf_hash(entry), self.index, checkpoint.size, &self.path, &checkpoint.root))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::NoteSigner;
    use crate::disk::Disk;
    use crate::leaf::hex;
    use crate::tiles::{Edge, write};
    use crate::tree::tests::{LEAVES, ROOTS};

    fn log_of(entries: impl Iterator<Item = Vec<u8>>) -> (tempfile::TempDir, Vec<Hash>) {
        let folder = tempfile::tempdir().unwrap();
        let mut edge = Edge::empty();
        let mut roots = vec![edge.root()];
        for entry in entries {
            let full = edge.push(&entry);
            write(&Disk::real(), folder.path(), &full).unwrap();
            roots.push(edge.root());
        }
        write(&Disk::real(), folder.path(), &edge.partials()).unwrap();
        (folder, roots)
    }

    #[test]
    fn proofs_over_the_known_vectors_are_the_known_ones() {
        let (folder, roots) = log_of(LEAVES.iter().map(|leaf| leaf.to_vec()));
        assert_eq!(roots.iter().map(|root| hex(root)).collect::<Vec<_>>(), ROOTS);
        let tree = Tree { log: folder.path(), size: 8 };
        let hexes = |hashes: Vec<Hash>| hashes.iter().map(|hash| hex(hash)).collect::<Vec<_>>();
        assert_eq!(
            hexes(tree.inclusion(0).unwrap()),
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ]
        );
        assert_eq!(
            hexes(tree.consistency(6).unwrap()),
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
    }

    #[test]
    fn every_proof_holds_and_no_proof_holds_for_anything_else() {
        let (folder, roots) = log_of((0u32..21).map(|i| i.to_be_bytes().to_vec()));
        for size in 1..=20u64 {
            let grown = Tree { log: folder.path(), size: 21 };
            let root = &roots[21];
            let proof = grown.consistency(size).unwrap();
            assert!(consistency_holds(size, &roots[size as usize], 21, root, &proof));
            assert!(!consistency_holds(size, &roots[size as usize - 1], 21, root, &proof));
            assert!(!consistency_holds(size, &roots[size as usize], 21, &[0; 32], &proof));
            let index = size;
            let path = grown.inclusion(index).unwrap();
            let leaf = leaf_hash(&(index as u32).to_be_bytes());
            assert!(inclusion_holds(leaf, index, 21, &path, root));
            assert!(!inclusion_holds(leaf, index - 1, 21, &path, root));
            assert!(!inclusion_holds([0; 32], index, 21, &path, root));
            assert!(!inclusion_holds(leaf, index, 21, &path[1..], root));
        }
        assert!(Tree { log: folder.path(), size: 21 }.inclusion(21).is_err());
    }

    #[test]
    fn proofs_across_tile_borders_hold() {
        let (folder, roots) = log_of((0u32..70_000).map(|i| i.to_be_bytes().to_vec()));
        let tree = Tree { log: folder.path(), size: 70_000 };
        let root = &roots[70_000];
        for index in [0u64, 1, 255, 256, 257, 65_535, 65_536, 69_887, 69_888, 69_999] {
            let path = tree.inclusion(index).unwrap();
            assert!(inclusion_holds(leaf_hash(&(index as u32).to_be_bytes()), index, 70_000, &path, root));
        }
        for old in [1u64, 255, 256, 257, 4_096, 65_535, 65_536, 65_537, 69_999, 70_000] {
            let proof = tree.consistency(old).unwrap();
            assert!(consistency_holds(old, &roots[old as usize], 70_000, root, &proof), "{old}");
        }
    }

    #[test]
    fn a_receipt_proves_its_entry_and_no_other() {
        let (folder, roots) = log_of((0u32..300).map(|i| i.to_be_bytes().to_vec()));
        let signer = NoteSigner::from_seed("a.example/log", &[1; 32]).unwrap();
        std::fs::write(folder.path().join("checkpoint"), signer.sign(300, roots[300])).unwrap();
        let receipt = Receipt::make(folder.path(), 277, signer.verifier()).unwrap();
        let read = Receipt::parse(&receipt.to_text()).unwrap();
        assert_eq!(read, receipt);
        assert_eq!(read.proves(&277u32.to_be_bytes(), signer.verifier()), Ok(true));
        assert_eq!(read.proves(&278u32.to_be_bytes(), signer.verifier()), Ok(false));
        let extra = receipt.to_text().replacen("index", "extra AAAA\nindex", 1);
        assert_eq!(Receipt::parse(&extra).unwrap(), receipt);
        assert!(Receipt::parse(&receipt.to_text().replace("index 277", "index 0277")).is_err());
    }
}
