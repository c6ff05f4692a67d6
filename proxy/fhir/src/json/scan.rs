//! The bytes of a string: how far its plain text reaches, eight bytes at a time, and whether they are UTF-8.

/// A stretch of a string without quotes, backslashes and control characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Its length; the byte after it, if any, is the first that is not plain.
    pub(super) len: usize,
    /// Whether all of it is below 0x80, so that it needs no look at UTF-8.
    pub(super) ascii: bool,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The plain text at the start of `text`.
pub(super) fn run(text: &[u8]) -> Run {
    let (words, tail) = text.as_chunks::<8>();
    let mut seen = 0_u64;
    for (n, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // In each of the three marks the lowest is exact; those above it may be wrong and are not looked at.
        let marks =
            zeros(word ^ (ONES * b'"' as u64)) | zeros(word ^ (ONES * b'\\' as u64)) | below_space(word);
        if marks != 0 {
            let before = marks.trailing_zeros() & !7;
            seen |= word & !(u64::MAX << before);
            return Run { len: n * 8 + before as usize / 8, ascii: seen & HIGHS == 0 };
        }
        seen |= word;
    }
    let plain = tail.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20)).unwrap_or(tail.len());
    let ascii = seen & HIGHS == 0 && tail[..plain].is_ascii();
    Run { len: words.len() * 8 + plain, ascii }
}

/// Marks the bytes that are zero.
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// Marks the bytes below 0x20.
fn below_space(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x20) & !word & HIGHS
}

/// Whether `text` is UTF-8 and ends with a whole character.
pub(super) fn is_utf8(text: &[u8]) -> bool {
    simdutf8::basic::from_utf8(text).is_ok()
}

/// An unfinished UTF-8 sequence: how many bytes are still needed, and the range of the next one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utf8 {
    needed: u8,
    low: u8,
    high: u8,
}

impl Utf8 {
    /// Whether no sequence is open.
    pub(super) fn complete(self) -> bool {
        self.needed == 0
    }

    /// Reads on through `text`, which may begin and end within a character. Fails with the place of the first byte
    /// that cannot stand there.
    pub(super) fn take(&mut self, text: &[u8]) -> Result<(), usize> {
        let mut from = 0;
        while self.needed > 0 {
            let Some(&byte) = text.get(from) else { return Ok(()) };
            *self = self.next(byte).ok_or(from)?;
            from += 1;
        }
        let Err(error) = simdutf8::compat::from_utf8(&text[from..]) else { return Ok(()) };
        from += error.valid_up_to();
        for (place, &byte) in text.iter().enumerate().skip(from) {
            *self = self.next(byte).ok_or(place)?;
        }
        Ok(())
    }

    /// After one more byte; the table of well-formed sequences is Unicode's, chapter 3, D92.
    fn next(self, byte: u8) -> Option<Self> {
        let open = |needed, low, high| Some(Self { needed, low, high });
        if self.needed > 0 {
            return if (self.low..=self.high).contains(&byte) {
                open(self.needed - 1, 0x80, 0xbf)
            } else {
                None
            };
        }
        match byte {
            0x00..=0x7f => open(0, 0, 0),
            0xc2..=0xdf => open(1, 0x80, 0xbf),
            0xe0 => open(2, 0xa0, 0xbf),
            0xe1..=0xec | 0xee..=0xef => open(2, 0x80, 0xbf),
            0xed => open(2, 0x80, 0x9f),
            0xf0 => open(3, 0x90, 0xbf),
            0xf1..=0xf3 => open(3, 0x80, 0xbf),
            0xf4 => open(3, 0x80, 0x8f),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one_by_one(text: &[u8]) -> Run {
        let len = text.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f)).unwrap_or(text.len());
        Run { len, ascii: text[..len].iter().all(|b| *b < 0x80) }
    }

    #[test]
    fn every_byte_in_every_place_of_a_word_is_told_apart() {
        for byte in 0..=255_u8 {
            for place in 0..20 {
                for filler in [b'a', b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xff] {
                    let mut text = [filler; 20];
                    text[place] = byte;
                    assert_eq!(run(&text), one_by_one(&text), "{byte:#x} at {place} among {filler:#x}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn eight_at_a_time_finds_what_one_by_one_finds(text in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(run(&text), one_by_one(&text));
        }

        #[test]
        fn plain_text_of_few_kinds_ends_at_the_same_byte(
            text in prop::collection::vec(prop::sample::select(&b"\"\\\x00\x1f\x20\x21\x23\x7f\x80\xff\x5b\x5d"[..]), 0..64),
        ) {
            prop_assert_eq!(run(&text), one_by_one(&text));
        }

        #[test]
        fn utf8_in_pieces_is_the_standard_librarys_utf8(
            text in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..12),
                ".{0,6}".prop_map(String::into_bytes),
                (".{0,6}", 0usize..24, any::<u8>()).prop_map(|(text, place, byte)| {
                    let mut text = text.into_bytes();
                    let length = text.len().max(1);
                    if let Some(there) = text.get_mut(place % length) { *there = byte; }
                    text
                }),
            ],
            piece in 1usize..5,
        ) {
            let mut state = Utf8::default();
            let mut found = None;
            for (n, part) in text.chunks(piece).enumerate() {
                if let Err(place) = state.take(part) {
                    found = Some(n * piece + place);
                    break;
                }
            }
            match std::str::from_utf8(&text) {
                Ok(_) => prop_assert!(found.is_none() && state.complete()),
                Err(error) => match (error.error_len(), found) {
                    (None, found) => prop_assert!(found.is_none() && !state.complete()),
                    (Some(wrong), found) => prop_assert_eq!(found, Some(error.valid_up_to() + if wrong == 1 {
                        // Either the first byte is wrong itself, or the one after it.
                        usize::from(Utf8::default().next(text[error.valid_up_to()]).is_some())
                    } else { wrong })),
                },
            }
        }
    }
}
