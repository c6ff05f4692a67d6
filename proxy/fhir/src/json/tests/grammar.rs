use super::*;

pub(super) const ACCEPTED: &[&str] = &[
    // containers
    "{}",
    "[]",
    "[[],{}]",
    "[[[[[[]]]]]]",
    "{\"a\":{\"a\":1}}",
    "[{\"a\":1},{\"a\":2}]",
    "{\"a\":[],\"b\":[]}",
    "{\"a\":{\"b\":1},\"b\":{\"b\":1}}",
    "[1,\"x\",null,true,false,{\"k\":[]}]",
    // white space, all four and everywhere
    " [ 1 , 2 ] ",
    "\t{\"a\" :\n1}\r",
    "\r\n\t [\r\n\t ]\r\n\t ",
    "{ \"a\" : { } , \"b\" : [ ] }",
    "1 ",
    " \"a\"\n",
    // numbers
    "0",
    "-0",
    "1",
    "-1",
    "1.0",
    "1.00",
    "0.1e1",
    "-0.0",
    "-0e-0",
    "1.2E1",
    "1e+9",
    "1E-9",
    "0e1",
    "1e00",
    "1e999999",
    "123456789012345678901234567890",
    "0.00000000000000000000000000000000000001",
    "[0,-0,0.0]",
    // words
    "true",
    "false",
    "null",
    "[true]",
    "{\"a\":null}",
    // strings
    "\"\"",
    "\"a\"",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
    "\"\\u0041\"",
    "\"\\u0000\"",
    "\"\\u00e9\\u00E9\"",
    "\"\\ud83d\\ude00\"",
    "\"\\uD83D\\uDE00\"",
    "\"\\uffff\\ufdd0\"",
    "\"\\\\u0041\"",
    "\"é😀\"",
    "\"\u{7f}\u{80}\"",
    "\"\u{2028}\u{2029}\u{feff}\"",
    "\"\u{10ffff}\"",
    "\"[1,{:}] // no comment\"",
    "\"exactly8\"",
    "\"more than eight bytes, é among them, and \\n an escape\"",
    // keys
    "{\"\":0}",
    "{\"a\":1,\"A\":2}",
    "{\"a\":1,\"a \":2}",
    "{\"\":1,\"\\u0000\":2}",
    "{\"é\":1,\"e\u{301}\":2}",
    "{\"a\\\"b\":1}",
    "{\"resourceType\":\"Patient\",\"_birthDate\":{\"extension\":[]}}",
];

/// What is refused, why, and at which byte.
pub(super) const REFUSED: &[(&str, What, u64)] = &[
    // cut short
    ("", What::Truncated, 0),
    (" ", What::Truncated, 1),
    ("{", What::Truncated, 1),
    ("[", What::Truncated, 1),
    ("[1", What::Truncated, 2),
    ("[1,", What::Truncated, 3),
    ("[[]", What::Truncated, 3),
    ("{\"a\"", What::Truncated, 4),
    ("{\"a\":", What::Truncated, 5),
    ("{\"a\":1", What::Truncated, 6),
    ("{\"a\":1,", What::Truncated, 7),
    ("-", What::Truncated, 1),
    ("1.", What::Truncated, 2),
    ("1e", What::Truncated, 2),
    ("1e+", What::Truncated, 3),
    ("nul", What::Truncated, 3),
    ("tru", What::Truncated, 3),
    ("\"", What::Truncated, 1),
    ("\"a", What::Truncated, 2),
    ("\"\\", What::Truncated, 2),
    ("\"\\\"", What::Truncated, 3),
    ("\"\\u12", What::Truncated, 5),
    ("\"\\ud83d", What::Truncated, 7),
    ("\"\\ud83d\\ude0", What::Truncated, 12),
    // structure
    ("}", What::Unexpected(b'}'), 0),
    ("]", What::Unexpected(b']'), 0),
    (",", What::Unexpected(b','), 0),
    (":", What::Unexpected(b':'), 0),
    ("[1,]", What::Unexpected(b']'), 3),
    ("[,1]", What::Unexpected(b','), 1),
    ("[,]", What::Unexpected(b','), 1),
    ("[1,,2]", What::Unexpected(b','), 3),
    ("[1 2]", What::Unexpected(b'2'), 3),
    ("[1:2]", What::Number, 2),
    ("[\"a\":1]", What::Unexpected(b':'), 4),
    ("[\"a\" \"b\"]", What::Unexpected(b'"'), 5),
    ("[}", What::Unexpected(b'}'), 1),
    ("{]", What::Unexpected(b']'), 1),
    ("[1}", What::Unexpected(b'}'), 2),
    ("{\"a\":1]", What::Unexpected(b']'), 6),
    ("{,}", What::Unexpected(b','), 1),
    ("{\"a\":1,}", What::Unexpected(b'}'), 7),
    ("{\"a\":1,,\"b\":2}", What::Unexpected(b','), 7),
    ("{\"a\",\"b\"}", What::Unexpected(b','), 4),
    ("{\"a\" 1}", What::Unexpected(b'1'), 5),
    ("{\"a\"::1}", What::Unexpected(b':'), 5),
    ("{\"a\":}", What::Unexpected(b'}'), 5),
    ("{\"a\":1 \"b\":2}", What::Unexpected(b'"'), 7),
    ("{:1}", What::Unexpected(b':'), 1),
    // names that are no strings
    ("{a:1}", What::Unexpected(b'a'), 1),
    ("{'a':1}", What::Unexpected(b'\''), 1),
    ("{1:1}", What::Unexpected(b'1'), 1),
    ("{null:1}", What::Unexpected(b'n'), 1),
    ("{[]:1}", What::Unexpected(b'['), 1),
    ("{{}:1}", What::Unexpected(b'{'), 1),
    // after the end
    ("{} {}", What::Trailing, 3),
    ("1 1", What::Trailing, 2),
    ("[1]]", What::Trailing, 3),
    ("{}}", What::Trailing, 2),
    ("{},", What::Trailing, 2),
    ("\"a\"\"b\"", What::Trailing, 3),
    ("nulll", What::Trailing, 4),
    ("truefalse", What::Trailing, 4),
    ("{}\0", What::Trailing, 2),
    ("{} // end", What::Trailing, 3),
    // comments, marks, foreign white space
    ("// x\n1", What::Unexpected(b'/'), 0),
    ("/* */1", What::Unexpected(b'/'), 0),
    ("[1/**/]", What::Number, 2),
    ("[/**/1]", What::Unexpected(b'/'), 1),
    ("# x\n1", What::Unexpected(b'#'), 0),
    ("\u{feff}{}", What::Unexpected(0xef), 0),
    ("\u{a0}1", What::Unexpected(0xc2), 0),
    ("\u{2028}1", What::Unexpected(0xe2), 0),
    ("\u{b}1", What::Unexpected(0x0b), 0),
    ("\u{c}1", What::Unexpected(0x0c), 0),
    ("[\0]", What::Unexpected(0), 1),
    // numbers
    ("01", What::Number, 1),
    ("-01", What::Number, 2),
    ("00", What::Number, 1),
    ("--1", What::Number, 1),
    ("-a", What::Number, 1),
    ("[-]", What::Number, 2),
    ("+1", What::Unexpected(b'+'), 0),
    (".5", What::Unexpected(b'.'), 0),
    ("-.5", What::Number, 1),
    ("[1.]", What::Number, 3),
    ("1.e1", What::Number, 2),
    ("1.5.1", What::Number, 3),
    ("1e1.5", What::Number, 3),
    ("1ee1", What::Number, 2),
    ("[1e]", What::Number, 3),
    ("1e+-1", What::Number, 3),
    ("[1e+]", What::Number, 4),
    ("0x10", What::Number, 1),
    ("1_000", What::Number, 1),
    ("1f", What::Number, 1),
    ("1\"a\"", What::Number, 1),
    ("１", What::Unexpected(0xef), 0),
    // words
    ("NaN", What::Unexpected(b'N'), 0),
    ("nan", What::Unexpected(b'a'), 1),
    ("Infinity", What::Unexpected(b'I'), 0),
    ("-Infinity", What::Number, 1),
    ("True", What::Unexpected(b'T'), 0),
    ("nUll", What::Unexpected(b'U'), 1),
    ("[nul]", What::Unexpected(b']'), 4),
    ("undefined", What::Unexpected(b'u'), 0),
    ("'a'", What::Unexpected(b'\''), 0),
    ("\\u0031", What::Unexpected(b'\\'), 0),
    // escapes
    ("\"\\x\"", What::Escape, 2),
    ("\"\\a\"", What::Escape, 2),
    ("\"\\'\"", What::Escape, 2),
    ("\"\\0\"", What::Escape, 2),
    ("\"\\\n\"", What::Escape, 2),
    ("\"\\é\"", What::Escape, 2),
    ("\"\\U0041\"", What::Escape, 2),
    ("\"\\u12\"", What::Escape, 5),
    ("\"\\u12g4\"", What::Escape, 5),
    ("\"\\u+041\"", What::Escape, 3),
    ("\"\\u 041\"", What::Escape, 3),
    ("\"\\ud83d\\ude0g\"", What::Escape, 12),
    // surrogates
    ("\"\\ud800\"", What::Surrogate, 7),
    ("\"\\ud800x\"", What::Surrogate, 7),
    ("\"\\ud800é\"", What::Surrogate, 7),
    ("\"\\ud800\\n\"", What::Surrogate, 8),
    ("\"\\ud800\\u0041\"", What::Surrogate, 12),
    ("\"\\ud800\\ud800\"", What::Surrogate, 12),
    ("\"\\udc00\"", What::Surrogate, 6),
    ("\"\\udbff\\udc00\\udc00\"", What::Surrogate, 18),
    ("{\"\\ud800\":1}", What::Surrogate, 8),
    // control characters
    ("\"\n\"", What::Control, 1),
    ("\"\t\"", What::Control, 1),
    ("\"\0\"", What::Control, 1),
    ("\"12345678\u{1f}\"", What::Control, 9),
    ("\"é\r\"", What::Control, 3),
    ("{\"a\nb\":1}", What::Control, 3),
    // the same member twice
    ("{\"a\":1,\"a\":2}", What::DuplicateKey, 7),
    ("{\"a\":1,\"a\":1}", What::DuplicateKey, 7),
    ("{\"\":1,\"\":2}", What::DuplicateKey, 6),
    ("{\"a\":1,\"\\u0061\":2}", What::DuplicateKey, 7),
    ("{\"\\u0061\":1,\"a\":2}", What::DuplicateKey, 12),
    ("{\"é\":1,\"\\u00e9\":2}", What::DuplicateKey, 8),
    ("{\"\\u00E9\":1,\"\\u00e9\":2}", What::DuplicateKey, 12),
    ("{\"😀\":1,\"\\ud83d\\uDE00\":2}", What::DuplicateKey, 10),
    ("{\"a/b\":1,\"a\\/b\":2}", What::DuplicateKey, 9),
    ("{\"\\n\":1,\"\\u000a\":2}", What::DuplicateKey, 8),
    ("[{\"b\":{\"a\":1,\"a\":1}}]", What::DuplicateKey, 13),
    ("{\"a\":{\"b\":1,\"a\":[{\"b\":1}]},\"a\":2}", What::DuplicateKey, 27),
];

/// Bytes that are no UTF-8, and the fault.
pub(super) const BYTES: &[(&[u8], What, u64)] = &[
    (b"\xff", What::Unexpected(0xff), 0),
    (b"\"\xff\"", What::Utf8, 1),
    (b"\"\x80\"", What::Utf8, 1),
    (b"\"abcdefgh\xbf\"", What::Utf8, 9),
    (b"\"\xc3\"", What::Utf8, 2),
    (b"\"\xc3\xc3\"", What::Utf8, 2),
    (b"\"\xc3\\u0041\"", What::Utf8, 2),
    (b"\"\xc0\xaf\"", What::Utf8, 1),
    (b"\"\xc1\xbf\"", What::Utf8, 1),
    (b"\"\xe0\x80\xaf\"", What::Utf8, 2),
    (b"\"\xed\xa0\x80\"", What::Utf8, 2),
    (b"\"\xed\xa0\xbd\xed\xb8\x80\"", What::Utf8, 2),
    (b"\"\xe2\x82\"", What::Utf8, 3),
    (b"\"\xf0\x8f\xbf\xbf\"", What::Utf8, 2),
    (b"\"\xf0\x9f\x98\"", What::Utf8, 4),
    (b"\"\xf4\x90\x80\x80\"", What::Utf8, 2),
    (b"\"\xf5\x80\x80\x80\"", What::Utf8, 1),
    (b"{\"\xe2\x82\":1}", What::Utf8, 4),
    // Two faults in one string: the first is told, however the text is cut.
    (b"\"\xff\x01\"", What::Utf8, 1),
    (b"\"\xc3\x01\"", What::Utf8, 2),
    (b"\"\x01\xff\"", What::Control, 1),
    (b"\"\\x\xff\"", What::Escape, 2),
    // Other encodings.
    (b"\xff\xfe{\0}\0", What::Unexpected(0xff), 0),
    (b"{\0}\0", What::Unexpected(0), 1),
    (b"\0{\0}", What::Unexpected(0), 0),
];

/// All that is refused, as bytes.
pub(super) fn refused() -> impl Iterator<Item = (&'static [u8], JsonError)> {
    let texts = REFUSED.iter().map(|(text, what, at)| (text.as_bytes(), *what, *at));
    texts.chain(BYTES.iter().copied()).map(|(text, what, at)| (text, JsonError { what, at }))
}

#[test]
fn what_the_grammar_allows_is_accepted() {
    for text in ACCEPTED {
        assert!(whole(text.as_bytes()).is_ok(), "{text}: {:?}", whole(text.as_bytes()));
    }
}

#[test]
fn what_it_does_not_allow_is_refused_with_its_reason_and_place() {
    for (text, fault) in refused() {
        assert_eq!(whole(text), Err(fault), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn a_document_cut_anywhere_is_truncated() {
    for text in ACCEPTED.iter().filter(|t| t.starts_with(['{', '[', '"'])) {
        let end = text.trim_end().len();
        for cut in 0..end {
            let fault = JsonError { what: What::Truncated, at: cut as u64 };
            assert_eq!(whole(&text.as_bytes()[..cut]), Err(fault), "{text} cut at {cut}");
        }
    }
}

#[test]
fn spans_keys_depths_and_skips_are_exact() {
    let text = br#" {"a" : [1.50, {"b":"x"}] , "c\n":null}"#;
    let mut tokens = Tokens::new(text, Limits::default());
    let next = |tokens: &mut Tokens<'_>| tokens.next_token().unwrap().unwrap();
    let token = |kind, start, end, depth| Token { kind, start, end, depth, escaped: false };
    assert_eq!(next(&mut tokens), token(Kind::ObjectStart, 1, 2, 0));
    assert_eq!(next(&mut tokens), token(Kind::Key, 2, 5, 1));
    assert_eq!(tokens.key(), "a");
    let list = next(&mut tokens);
    assert_eq!(list, token(Kind::ArrayStart, 8, 9, 1));
    assert_eq!(&text[8..tokens.skip(&list).unwrap() as usize], br#"[1.50, {"b":"x"}]"#);
    assert_eq!(tokens.key(), "a", "the keys of what was skipped are forgotten");
    let key = next(&mut tokens);
    assert_eq!((tokens.key(), tokens.raw(&key), key.escaped), ("c\n", &br#""c\n""#[..], true));
    let null = next(&mut tokens);
    assert_eq!(null, token(Kind::Null, 34, 38, 1));
    assert_eq!(tokens.skip(&null), Ok(38));
    assert_eq!(next(&mut tokens), token(Kind::ObjectEnd, 38, 39, 0));
    assert_eq!((tokens.next_token(), tokens.next_token()), (Ok(None), Ok(None)));
}

#[test]
fn skipping_does_not_forgive_what_it_skips() {
    for (text, what, at) in [
        (r#"[{"a":1,"a":2}]"#, What::DuplicateKey, 8),
        (r#"[["\ud800"]]"#, What::Surrogate, 9),
        ("[[01]]", What::Number, 3),
        ("[[1", What::Truncated, 3),
    ] {
        let mut tokens = Tokens::new(text.as_bytes(), Limits::default());
        tokens.next_token().unwrap();
        let value = tokens.next_token().unwrap().unwrap();
        assert_eq!(tokens.skip(&value), Err(JsonError { what, at }), "{text}");
    }
}

#[test]
fn unescaping_what_is_no_json_string_gives_replacement_characters() {
    for (raw, text) in [
        (r#""\u+041""#, "\u{fffd}u+041"),
        (r#""\ud800""#, "\u{fffd}"),
        (r#""\x""#, "\u{fffd}x"),
        (r#""\u00""#, "\u{fffd}u00"),
        (r#""\\""#, "\\"),
        (r#""\/\"""#, "/\""),
    ] {
        assert_eq!(unescape(raw.as_bytes()), text, "{raw}");
    }
    assert_eq!(unescape(b"\"\\"), "\"\u{fffd}");
    assert!(matches!(unescape("\"plain é\"".as_bytes()), std::borrow::Cow::Borrowed("plain é")));
}

#[test]
fn strings_are_written_with_the_fewest_escapes() {
    let mut out = Vec::new();
    write_string("a\"b\\c/d\n\r\t\u{0}\u{1f}\u{7f}é\u{2028}😀", &mut out);
    let expected = "\"a\\\"b\\\\c/d\\n\\r\\t\\u0000\\u001f\u{7f}é\u{2028}😀\"";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn a_fault_names_what_and_where_in_plain_words() {
    let say = |text: &[u8]| whole(text).unwrap_err().to_string();
    assert_eq!(say(b"[1,]"), "unexpected byte 0x5d at byte 3");
    assert_eq!(say(br#"{"a":1,"a":2}"#), "a member stands twice in one object at byte 7");
    assert_eq!(say(b"[1"), "unexpected end at byte 2");
}
