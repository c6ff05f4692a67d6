//! The public leaf of an entry: a salted commitment that says when and what kind, and nothing about anybody.

use crate::event::Class;
use crate::tree::Hash;

/// Bytes of a version 1 leaf.
pub const LEAF_BYTES: usize = 1 + 8 + 8 + 32 + 8 + 1 + 32;

/// The version written.
pub const VERSION: u8 = 1;

/// A leaf, version 1: `version u8 ‖ replica [8] ‖ sequence u64 ‖ previous [32] ‖ time_ms u64 ‖ class u8 ‖ commitment [32]`,
/// integers big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Which replica wrote it.
    pub replica: [u8; 8],
    /// The replica's own count, from 0, without gaps.
    pub sequence: u64,
    /// The RFC 6962 leaf hash of the replica's previous leaf; zeros for its first.
    pub previous: Hash,
    /// Milliseconds since the epoch.
    pub time_ms: u64,
    /// What kind of entry.
    pub class: Class,
    /// HMAC-SHA-256(k, canonical event), with a k of its own.
    pub commitment: [u8; 32],
}

/// Why bytes are not a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafFault {
    /// A version this program does not know.
    #[error("its version is {0}, and this program knows only version 1")]
    Version(u8),
    /// Another length.
    #[error("it has {0} bytes, not {LEAF_BYTES}")]
    Length(usize),
    /// A class this program does not know.
    #[error("its class is {0}, which is none")]
    Class(u8),
}

impl Leaf {
    /// The bytes that are hashed into the tree.
    pub fn encode(&self) -> [u8; LEAF_BYTES] {
        let mut bytes = [0; LEAF_BYTES];
        bytes[0] = VERSION;
        bytes[1..9].copy_from_slice(&self.replica);
        bytes[9..17].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[17..49].copy_from_slice(&self.previous);
        bytes[49..57].copy_from_slice(&self.time_ms.to_be_bytes());
        bytes[57] = self.class.byte();
        bytes[58..].copy_from_slice(&self.commitment);
        bytes
    }

    /// Reads a leaf of version 1.
    pub fn decode(bytes: &[u8]) -> Result<Self, LeafFault> {
        match bytes.first() {
            Some(&VERSION) => {}
            Some(&other) => return Err(LeafFault::Version(other)),
            None => return Err(LeafFault::Length(0)),
        }
        if bytes.len() != LEAF_BYTES {
            return Err(LeafFault::Length(bytes.len()));
        }
        let class = Class::from_byte(bytes[57]).ok_or(LeafFault::Class(bytes[57]))?;
        Ok(Self {
            replica: array(&bytes[1..9]),
            sequence: u64::from_be_bytes(array(&bytes[9..17])),
            previous: array(&bytes[17..49]),
            time_ms: u64::from_be_bytes(array(&bytes[49..57])),
            class,
            commitment: array(&bytes[58..]),
        })
    }
}

/// Copies a slice whose length the caller has just fixed; a shorter one would leave zeros.
pub(crate) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    for (to, from) in array.iter_mut().zip(bytes) {
        *to = *from;
    }
    array
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_reads_back_and_anything_else_is_refused() {
        let leaf = Leaf {
            replica: *b"replica1",
            sequence: 7,
            previous: [3; 32],
            time_ms: 1_772_714_096_789,
            class: Class::Segment,
            commitment: [9; 32],
        };
        let bytes = leaf.encode();
        assert_eq!(bytes.len(), 90);
        assert_eq!(Leaf::decode(&bytes), Ok(leaf));
        assert_eq!(Leaf::decode(&bytes[..89]), Err(LeafFault::Length(89)));
        assert_eq!(Leaf::decode(b""), Err(LeafFault::Length(0)));
        let mut other = bytes;
        other[0] = 2;
        assert_eq!(Leaf::decode(&other), Err(LeafFault::Version(2)));
        other[0] = 1;
        other[57] = 200;
        assert_eq!(Leaf::decode(&other), Err(LeafFault::Class(200)));
    }

    #[test]
    fn the_layout_of_version_1_is_fixed() {
        let leaf = Leaf {
            replica: [0xaa; 8],
            sequence: 1,
            previous: [0xbb; 32],
            time_ms: 2,
            class: Class::Intent,
            commitment: [0xcc; 32],
        };
        let expected = format!(
            "01{}0000000000000001{}000000000000000201{}",
            "aa".repeat(8),
            "bb".repeat(32),
            "cc".repeat(32)
        );
        assert_eq!(hex(&leaf.encode()), expected);
    }
}
