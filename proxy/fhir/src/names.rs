//! A fixed set of names with what belongs to each, looked up by the bytes that stand in a document.

/// Names that are known from the start and never change. Whoever writes a document chooses what is looked up but not
/// what is in here, so the hash needs no secret: no choice of names makes a look-up longer than the longest run of
/// neighbours, which the table's own names decide.
#[derive(Clone, Debug)]
pub struct Names<T> {
    entries: Vec<(Box<str>, T)>,
    /// The place of each name plus one, at its hash or behind it; 0 where there is none. Half of them are free.
    slots: Box<[u16]>,
}

impl<T> Names<T> {
    /// Of all these names. Of a name given twice the last is kept, in the place of the first; more names than
    /// [`NAMES_MAX`] are not taken in.
    pub fn new(names: impl IntoIterator<Item = (Box<str>, T)>) -> Self {
        let mut entries: Vec<(Box<str>, T)> = names.into_iter().take(NAMES_MAX).collect();
        let mut table =
            Self { slots: vec![0; (entries.len() * 2).next_power_of_two()].into(), entries: Vec::new() };
        for (name, value) in entries.drain(..) {
            match table.find(name.as_bytes()) {
                Ok(place) => table.entries[place].1 = value,
                Err(slot) => {
                    table.entries.push((name, value));
                    table.slots[slot] = u16::try_from(table.entries.len()).unwrap_or(u16::MAX);
                }
            }
        }
        table
    }

    /// What belongs to `name`, and the table's own copy of it.
    pub fn get(&self, name: &[u8]) -> Option<(&str, &T)> {
        let (own, value) = self.entries.get(self.find(name).ok()?)?;
        Some((own, value))
    }

    /// All of them, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.entries.iter().map(|(name, value)| (&**name, value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Where `name` stands, or the slot where it would.
    fn find(&self, name: &[u8]) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = hash(name) & mask;
        loop {
            match usize::from(self.slots[slot]) {
                0 => return Err(slot),
                place if self.entries[place - 1].0.as_bytes() == name => return Ok(place - 1),
                _ => slot = (slot + 1) & mask,
            }
        }
    }
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self::new([])
    }
}

/// The most names that one table holds.
pub const NAMES_MAX: usize = u16::MAX as usize - 1;

/// The length, the beginning and the end: element names differ in one of them nearly always.
fn hash(name: &[u8]) -> usize {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (head, tail) = match (name.first_chunk::<8>(), name.first_chunk::<4>()) {
        (Some(head), _) => {
            (u64::from_le_bytes(*head), name.last_chunk().map_or(0, |t| u64::from_le_bytes(*t)))
        }
        (None, Some(head)) => (
            u64::from(u32::from_le_bytes(*head)),
            name.last_chunk().map_or(0, |t| u64::from(u32::from_le_bytes(*t))),
        ),
        (None, None) => (name.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0),
    };
    let mixed = (head ^ tail.rotate_left(29) ^ name.len() as u64).wrapping_mul(SPREAD);
    // The upper half depends on all bits.
    (mixed >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::r4;

    #[test]
    fn every_name_of_r4_is_found_and_no_other() {
        let names: Vec<String> = r4()
            .type_names()
            .flat_map(|t| r4().elements(t).iter().flat_map(|e| e.json_names().map(|n| n.0)))
            .chain(r4().type_names().map(str::to_owned))
            .collect();
        let table = Names::new(names.iter().enumerate().map(|(n, name)| (name.as_str().into(), n)));
        for name in &names {
            let (own, place) = table.get(name.as_bytes()).unwrap();
            assert_eq!((own, &names[*place]), (name.as_str(), name));
            for other in [format!("{name}x"), format!("_{name}"), name.to_uppercase(), name[1..].to_owned()] {
                assert_eq!(table.get(other.as_bytes()).is_some(), names.contains(&other), "{other}");
            }
        }
        assert_eq!(Names::<()>::default().get(b"id"), None);
    }

    #[test]
    fn a_name_given_twice_has_the_last_value_and_the_first_place() {
        let table = Names::new([("a", 1), ("b", 2), ("a", 3)].map(|(name, n)| (name.into(), n)));
        assert_eq!(table.iter().collect::<Vec<_>>(), [("a", &3), ("b", &2)]);
    }

    #[test]
    fn names_alike_at_both_ends_are_told_apart() {
        let names: Vec<String> = (0..500).map(|n| format!("beginning-{n:04}-endendend")).collect();
        let table = Names::new(names.iter().enumerate().map(|(n, name)| (name.as_str().into(), n)));
        for (n, name) in names.iter().enumerate() {
            assert_eq!(table.get(name.as_bytes()), Some((name.as_str(), &n)));
        }
    }
}
