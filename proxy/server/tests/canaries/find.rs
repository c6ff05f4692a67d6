//! Finds canaries in any bytes, in whatever way they are written: as they are, escaped as JSON does it, percent-encoded, in
//! base64 of either alphabet at each of its three alignments, and in hexadecimal.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use memchr::memmem;

/// Digits around a canary's number where it stands in a number: `970000779` is the seventh.
pub(crate) fn number(n: usize) -> String {
    format!("97{n:05}79")
}

/// A day long ago, another for each number up to 33,600.
pub(crate) fn date(n: usize) -> String {
    format!("{:04}-{:02}-{:02}", 1700 + n / 336 % 100, n / 28 % 12 + 1, n % 28 + 1)
}

/// The one day of records that must be recent; the time of day tells them apart.
pub(crate) const RECENT: &str = "2026-10-02";

pub(crate) fn time(n: usize) -> String {
    format!("{:02}:{:02}:{:02}", n / 3_600 % 24, n / 60 % 60, n % 60)
}

/// The numbers of all canaries in some bytes.
pub(crate) fn find(text: &[u8]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    plain(text, &mut found);
    if memchr::memchr(b'\\', text).is_some() {
        plain(&unescaped(text), &mut found);
    }
    if memchr::memchr(b'%', text).is_some() {
        let decoded: Vec<u8> = percent_encoding::percent_decode(text).collect();
        plain(&decoded, &mut found);
    }
    base64(text, &mut found);
    hexadecimal(text, &mut found);
    found
}

fn plain(text: &[u8], found: &mut BTreeSet<usize>) {
    names(text, found);
    numbers(text, found);
    dates(text, found);
    times(text, found);
}

fn digits(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `cnry…q`.
fn names(text: &[u8], found: &mut BTreeSet<usize>) {
    for place in memmem::find_iter(text, "cnry") {
        let rest = &text[place + 4..];
        let length = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        found.extend(digits(&rest[..length]));
    }
}

/// `97…79`, nine digits.
fn numbers(text: &[u8], found: &mut BTreeSet<usize>) {
    let is_digit = |place: usize| text.get(place).is_some_and(u8::is_ascii_digit);
    for place in memmem::find_iter(text, "97") {
        let nine = text.get(place..place + 9).filter(|n| n.iter().all(u8::is_ascii_digit));
        let alone = place.checked_sub(1).is_none_or(|p| !is_digit(p)) && !is_digit(place + 9);
        if let Some(nine) = nine.filter(|n| alone && n.ends_with(b"79")) {
            found.extend(digits(&nine[2..7]));
        }
    }
}

fn dates(text: &[u8], found: &mut BTreeSet<usize>) {
    for place in memmem::find_iter(text, "17") {
        let Some(day) = text.get(place..place + 10).filter(|d| d[4] == b'-' && d[7] == b'-') else {
            continue;
        };
        if let (Some(year), Some(month), Some(day)) =
            (digits(&day[2..4]), digits(&day[5..7]), digits(&day[8..]))
            && (1..=12).contains(&month)
            && (1..=28).contains(&day)
        {
            found.insert(year * 336 + (month - 1) * 28 + day - 1);
        }
    }
}

fn times(text: &[u8], found: &mut BTreeSet<usize>) {
    let at = |place: usize| {
        let time = text.get(place..place + 8).filter(|t| t[2] == b':' && t[5] == b':')?;
        Some(digits(&time[..2])? * 3_600 + digits(&time[3..5])? * 60 + digits(&time[6..])?)
    };
    for place in memmem::find_iter(text, RECENT) {
        found.extend(at(place + RECENT.len() + 1));
    }
    // A time by itself: `"10:20:30"`.
    for place in memchr::memchr_iter(b'"', text) {
        if text.get(place + 9) == Some(&b'"') {
            found.extend(at(place + 1));
        }
    }
}

/// Every `\uXXXX` of one ASCII character in its place; the other escapes hide nothing of a canary.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let (mut out, mut from) = (Vec::with_capacity(text.len()), 0);
    for place in memmem::find_iter(text, "\\u00") {
        let code = text
            .get(place + 4..place + 6)
            .and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        if let Some(code) = code.filter(|_| place >= from) {
            out.extend_from_slice(&text[from..place]);
            out.push(code);
            from = place + 6;
        }
    }
    out.extend_from_slice(&text[from..]);
    out
}

fn base64(text: &[u8], found: &mut BTreeSet<usize>) {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let engine = GeneralPurpose::new(&STANDARD, config);
    for (core, before) in cores() {
        for place in memmem::find_iter(text, &core) {
            let Some(start) = place.checked_sub(before) else { continue };
            // What stands before the core in its group may be of the other alphabet.
            let group = text[start..].iter().map(|b| match b {
                b'-' => b'+',
                b'_' => b'/',
                b => *b,
            });
            let is_base64 = |b: &u8| b.is_ascii_alphanumeric() || *b == b'+' || *b == b'/';
            let mut run: Vec<u8> = group.take_while(is_base64).take(24).collect();
            run.truncate(run.len() - usize::from(run.len() % 4 == 1));
            if let Ok(decoded) = engine.decode(&run) {
                names(&decoded, found);
            }
        }
    }
}

/// The characters that `cnry` and a digit leave in base64 whatever stands around them, for each of the three alignments,
/// and how many characters before them their group of four begins. Both alphabets write them alike.
fn cores() -> [(String, usize); 3] {
    let encode = |text: &[u8]| base64::engine::general_purpose::STANDARD_NO_PAD.encode(text);
    // A digit's two highest bits are 00, its four highest 0011.
    [
        (encode(b"cnry0")[..6].to_owned(), 0),
        (encode(b"?cnry0")[2..7].to_owned(), 2),
        (encode(b"??cnry")[3..8].to_owned(), 3),
    ]
}

fn hexadecimal(text: &[u8], found: &mut BTreeSet<usize>) {
    for core in ["636e7279", "636E7279"] {
        for place in memmem::find_iter(text, core) {
            let pairs = text[place..].as_chunks::<2>().0.iter().take(16);
            let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            let decoded: Vec<u8> = pairs.map_while(byte).collect();
            names(&decoded, found);
        }
    }
}
