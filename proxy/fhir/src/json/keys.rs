//! The member names of the objects that are open, so that no name can stand twice in one of them.

use std::collections::BTreeSet;

/// Up to this many names an object is searched one by one, which is faster than any index.
const NARROW_MAX: usize = 32;

/// The names read so far in every open object, unescaped.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// The bytes of all names, end to end; an object's names leave when it closes.
    arena: Vec<u8>,
    names: Vec<Name>,
    objects: Vec<Object>,
}

#[derive(Clone, Copy, Debug)]
struct Name {
    hash: u64,
    start: usize,
    end: usize,
}

#[derive(Debug)]
struct Object {
    /// Where its names begin in `names`, and their bytes in `arena`.
    names_from: usize,
    arena_from: usize,
    /// Only for objects of more than `NARROW_MAX` names. Ordered, not hashed: whoever writes the document chooses the
    /// names, and no choice of names makes a search in it slow.
    wide: Option<BTreeSet<Box<[u8]>>>,
}

/// Why a complete name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clash {
    Twice,
    TooMany,
}

impl Keys {
    pub(super) fn open_object(&mut self) {
        self.objects.push(Object { names_from: self.names.len(), arena_from: self.arena.len(), wide: None });
    }

    pub(super) fn close_object(&mut self) {
        if let Some(object) = self.objects.pop() {
            self.names.truncate(object.names_from);
            self.arena.truncate(object.arena_from);
        }
    }

    pub(super) fn begin(&mut self) {
        let start = self.arena.len();
        self.names.push(Name { hash: 0, start, end: start });
    }

    /// How many bytes of the name in progress were read.
    pub(super) fn progress(&self) -> usize {
        self.names.last().map_or(0, |name| self.arena.len() - name.start)
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.arena.extend_from_slice(bytes);
    }

    /// The last complete name; empty while one is being read.
    pub(super) fn last(&self) -> &[u8] {
        self.names.last().map_or(&[][..], |name| &self.arena[name.start..name.end])
    }

    /// The name in progress is complete: it must be new in its object. Names are compared unescaped, so that `"a"`
    /// and `"\u0061"` are one.
    pub(super) fn end(&mut self, members_max: usize) -> Result<(), Clash> {
        let Some(object) = self.objects.last_mut() else { return Ok(()) };
        let Some((last, earlier)) = self.names[object.names_from..].split_last_mut() else { return Ok(()) };
        if earlier.len() >= members_max {
            return Err(Clash::TooMany);
        }
        last.end = self.arena.len();
        let bytes = &self.arena[last.start..];
        if earlier.len() < NARROW_MAX {
            last.hash = hash(bytes);
            let twice = |n: &Name| n.hash == last.hash && self.arena[n.start..n.end] == *bytes;
            return if earlier.iter().any(twice) { Err(Clash::Twice) } else { Ok(()) };
        }
        let wide = object
            .wide
            .get_or_insert_with(|| earlier.iter().map(|n| self.arena[n.start..n.end].into()).collect());
        if wide.insert(bytes.into()) { Ok(()) } else { Err(Clash::Twice) }
    }
}

/// Tells most different names apart without looking at their bytes; nothing rests on its strength.
fn hash(bytes: &[u8]) -> u64 {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(SPREAD);
    let (words, tail) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(bytes.len() as u64, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    mix(hash, tail.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)))
}
