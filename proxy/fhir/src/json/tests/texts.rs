//! Strings in and out: what is written reads back, and every spelling of a text is that text.

use super::*;

proptest! {
    #[test]
    fn what_is_written_reads_back_here_and_elsewhere(text in text()) {
        let mut out = Vec::new();
        write_string(&text, &mut out);
        let tokens = whole(&out).unwrap();
        prop_assert_eq!((tokens.len(), tokens[0].kind, tokens[0].end), (1, Kind::String, out.len() as u64));
        prop_assert_eq!(unescape(&out), text.as_str());
        prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text.as_str());
        prop_assert!(out.len() <= 2 + text.len() * 6);
    }

    #[test]
    fn every_spelling_of_a_text_is_that_text(text in text(), ways in prop::collection::vec(any::<u8>(), 1..6)) {
        let spelt = spelt(&text, &ways);
        let tokens = whole(spelt.as_bytes()).unwrap();
        prop_assert_eq!(unescape(spelt.as_bytes()), text.as_str());
        prop_assert_eq!(tokens[0].escaped, spelt[1..spelt.len() - 1].contains('\\'));
    }

    #[test]
    fn a_key_is_known_by_its_text_and_not_by_its_spelling(
        text in text(),
        ways in prop::collection::vec(any::<u8>(), 1..6),
        others in prop::collection::vec(any::<u8>(), 1..6),
    ) {
        let (one, two) = (spelt(&text, &ways), spelt(&text, &others));
        let object = format!("{{{one}:1}}");
        let mut tokens = Tokens::new(object.as_bytes(), Limits::default());
        tokens.next_token().unwrap();
        tokens.next_token().unwrap();
        prop_assert_eq!(tokens.key(), text.as_str());
        let twice = format!("{{{one}:1,{two}:2}}");
        let fault = JsonError { what: What::DuplicateKey, at: one.len() as u64 + 4 };
        prop_assert_eq!(whole(twice.as_bytes()), Err(fault));
    }

    #[test]
    fn two_different_keys_never_clash(one in text(), two in text(), ways in prop::collection::vec(any::<u8>(), 1..6)) {
        prop_assume!(one != two);
        let object = format!("{{{}:1,{}:2}}", spelt(&one, &ways), spelt(&two, &ways));
        prop_assert!(whole(object.as_bytes()).is_ok());
    }

    #[test]
    fn no_bytes_make_unescape_fail(raw in prop::collection::vec(any::<u8>(), 0..24)) {
        let found = unescape(&raw).into_owned();
        let mut out = Vec::new();
        write_string(&found, &mut out);
        prop_assert_eq!(unescape(&out), found);
    }

    /// A string that the tokenizer refuses never unescapes to a text that some other string has by right, unless it
    /// only lacks what the tokenizer would have asked for around it.
    #[test]
    fn a_string_that_is_refused_for_its_escapes_shows_a_replacement_character(
        before in "[a-z]{0,4}",
        bad in prop::sample::select(vec![r"\x", r"\u12", r"\ud800", r"\udc00x", r"\ud800\u0041", r"\U0041", r"\'"]),
    ) {
        let raw = format!("\"{before}{bad}\"");
        prop_assert!(whole(raw.as_bytes()).is_err());
        let replaced = unescape(raw.as_bytes()).contains(char::REPLACEMENT_CHARACTER);
        prop_assert!(replaced);
    }
}

#[test]
fn every_character_below_the_space_is_escaped_and_nothing_above_it_but_two() {
    for c in (0..=0x10ffff).filter_map(char::from_u32) {
        let mut out = Vec::new();
        write_string(c.encode_utf8(&mut [0; 4]), &mut out);
        let escaped = out[1] == b'\\';
        assert_eq!(escaped, c < ' ' || c == '"' || c == '\\', "{:x}", u32::from(c));
        let mut buffer = [0; 4];
        assert_eq!(unescape(&out), *c.encode_utf8(&mut buffer));
    }
}
