//! However a document is cut into pieces, its tokens and its fault are the same.

use super::grammar::{ACCEPTED, refused};
use super::*;

/// Texts whose state between two bytes is the hardest to keep.
fn hostile() -> Vec<Vec<u8>> {
    let texts = [
        r#" {"a\u0062\ud83d\ude00" : -0.10e+05 , "é😀" : [ true,false , null ], "": {} , "x":"\\\"\/\b\f\n\r\t" } "#,
        r#"[[[[]]],{"a":{"a":{"a":[{"a":1},{"a":2}]}}}]"#,
        "[-0,-1.5E-10,0.0,1e1,123456789012345678901234567890,10,1.0]",
        r#"{"resourceType":"Patient","_given":[null,{"id":"é"}],"given":["Ann\u0000",null],"n":1}"#,
        "\"\u{10ffff}\u{800}\u{7ff}\u{80}\u{7f}exactly8exactly16bytes!\\u00e9\"",
        r#"{"k1":1,"k2":2,"k3":3,"k\u0031":4}"#,
        r#"["\ud83d\ude00\ud83d"]"#,
        r#"["\udbff\udfff\ude00"]"#,
        r#"{"a":1}{"#,
        "[1.5.5]",
        "[nulL]",
        "{\"a\":\"b\u{1}\"}",
        "\u{feff}{}",
    ];
    let mut all: Vec<Vec<u8>> = texts.iter().map(|t| t.as_bytes().to_vec()).collect();
    all.push(b"[\"\xf0\x9f\x98\x80\xed\xa0\x80\"]".to_vec());
    all.push(b"{\"\xe2\x82\xac\xe2\x82\":1}".to_vec());
    all.push([b"{\"", &b"k".repeat(40)[..], b"\\u00e9\":\"", "é".repeat(20).as_bytes(), b"\"}"].concat());
    // More members than the narrow search takes, the last one a repetition of the first, spelt differently.
    let many: Vec<String> = (0..40).map(|n| format!("\"m{n}\":{n}")).collect();
    all.push(format!("{{{},\"\\u006d0\":0}}", many.join(",")).into_bytes());
    all.extend(ACCEPTED.iter().map(|t| t.as_bytes().to_vec()));
    all.extend(refused().map(|(text, _)| text.to_vec()));
    all
}

#[test]
fn every_text_reads_the_same_cut_at_any_two_places() {
    for text in hostile() {
        let expected = read(&text, Limits::default());
        for first in 0..=text.len() {
            // Every pair of cuts costs the square; long texts are cut at every place and at two places near by.
            let last = if text.len() <= 48 { text.len() } else { text.len().min(first + 6) };
            for second in first..=last {
                let parts = [&text[..first], &text[first..second], &text[second..]];
                let found = read_pieces(parts, Limits::default());
                assert_eq!(found, expected, "{} cut at {first} and {second}", String::from_utf8_lossy(&text));
            }
        }
    }
}

#[test]
fn pieces_of_every_size_and_empty_pieces_change_nothing() {
    for text in hostile() {
        let expected = read(&text, Limits::default());
        for size in 1..=text.len().max(1) {
            assert_eq!(read_pieces(text.chunks(size), Limits::default()), expected, "pieces of {size}");
        }
        let empties = text.chunks(1).flat_map(|byte| [&[][..], byte, &[][..]]);
        assert_eq!(read_pieces(empties, Limits::default()), expected, "empty pieces between all bytes");
    }
}

#[test]
fn a_reader_that_pauses_after_each_token_sees_what_one_that_does_not_sees() {
    for text in hostile() {
        let expected = read(&text, Limits::default());
        let mut tokenizer = Tokenizer::new(Limits::default());
        let (mut all, mut rest) = (Vec::new(), &text[..]);
        let found = loop {
            let mut at = 0;
            match tokenizer.next_token(rest, &mut at) {
                Ok(Some(token)) => {
                    all.push(token);
                    tokenizer.pause(at);
                    rest = &rest[at..];
                }
                Ok(None) => match tokenizer.finish() {
                    Ok(Some(token)) => {
                        all.push(token);
                        rest = &[];
                    }
                    Ok(None) => break (all, None),
                    Err(fault) => break (all, Some(fault)),
                },
                Err(fault) => break (all, Some(fault)),
            }
        };
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn a_fault_stays_whatever_follows() {
    for (text, fault) in refused().filter(|(_, fault)| fault.what != What::Truncated) {
        let mut tokenizer = Tokenizer::new(Limits::default());
        let mut at = 0;
        let found = loop {
            match tokenizer.next_token(text, &mut at) {
                Ok(Some(_)) => {}
                Ok(None) => break tokenizer.finish().unwrap_err(),
                Err(found) => break found,
            }
        };
        assert_eq!(found, fault);
        assert_eq!(tokenizer.next_token(b"{}", &mut 0), Err(fault));
        assert_eq!(tokenizer.finish(), Err(fault));
    }
}

#[test]
fn a_number_at_the_very_end_is_told_by_finish_and_only_once() {
    let mut tokenizer = Tokenizer::new(Limits::default());
    let mut at = 0;
    assert_eq!(tokenizer.next_token(b" 12", &mut at), Ok(None));
    let token = Token { kind: Kind::Number, start: 1, end: 3, depth: 0, escaped: false };
    assert_eq!(tokenizer.finish(), Ok(Some(token)));
    assert_eq!(tokenizer.finish(), Ok(None));
}

proptest! {
    #[test]
    fn random_cuts_of_random_documents_change_nothing(
        value in json(),
        pretty: bool,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        if let Some((place, byte)) = damage {
            let place = place.index(text.len());
            text[place] = byte;
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        let ends = cuts.iter().copied().chain([text.len()]);
        let starts = [0].into_iter().chain(cuts.iter().copied());
        let parts: Vec<&[u8]> = starts.zip(ends).map(|(from, to)| &text[from..to]).collect();
        prop_assert_eq!(read_pieces(parts, Limits::default()), read(&text, Limits::default()));
    }
}
