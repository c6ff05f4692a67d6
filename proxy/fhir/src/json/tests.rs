use super::*;
use proptest::prelude::*;
use struson::reader::{JsonReader as _, JsonStreamReader, ReaderSettings, ValueType};

fn whole(text: &[u8]) -> Result<Vec<Token>, JsonError> {
    let mut tokens = Tokens::new(text, Limits::default());
    let mut all = Vec::new();
    while let Some(token) = tokens.next_token()? {
        all.push(token);
    }
    Ok(all)
}

fn pieces<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Token>, JsonError> {
    let mut tokenizer = Tokenizer::new(Limits::default());
    let mut all = Vec::new();
    for part in parts {
        let mut at = 0;
        while let Some(token) = tokenizer.next_token(part, &mut at)? {
            all.push(token);
        }
    }
    while let Some(token) = tokenizer.finish()? {
        all.push(token);
    }
    Ok(all)
}

const ACCEPTED: &[&str] = &[
    "{}", "[]", "0", "-0", "1", "-1", "1.0", "1.00", "1.2E1", "1e+9", "1E-9", "123456789012345678901234567890",
    "true", "false", "null", "\"\"", "\"a\"", " [ 1 , 2 ] ", "\t{\"a\" :\n1}\r", "[[],{}]", "{\"a\":{\"a\":1}}",
    "[{\"a\":1},{\"a\":2}]", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\u0041\"", "\"\\ud83d\\ude00\"", "\"é😀\"",
    "\"\u{7f}\"", "{\"\":0}", "{\"a\":1,\"A\":2}", "\"\\u0000\"", "[1,\"x\",null,true,false,{\"k\":[]}]", "0.1e1",
    "1e999999", "\"\u{2028}\"",
];

const REFUSED: &[&str] = &[
    "", " ", "{", "}", "[", "]", "[1", "[1,", "[1,]", "[,1]", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}",
    "{,}", "{a:1}", "{'a':1}", "{\"a\" 1}", "{1:1}", "[1 2]", "[}", "{]", "01", "-01", "-", "+1", "1.", ".5", "1.e1",
    "1e", "1e+", "0x10", "NaN", "Infinity", "-Infinity", "1_000", "True", "nul", "nulll", "truefalse", "\"", "\"a",
    "\"\\\"", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\ud800\"", "\"\\ud800x\"", "\"\\ud800\\n\"", "\"\\udc00\"",
    "\"\\ud800\\ud800\"", "\"\n\"", "\"\t\"", "\u{feff}{}", "{} {}", "1 1", "[1]]", "// x\n1", "/* */1", "{\"a\":1,\"a\":2}",
    "{\"a\":1,\"\\u0061\":2}", "{\"\\u0061\":1,\"a\":2}", "{\"é\":1,\"\\u00e9\":2}", "[{\"b\":{\"a\":1,\"a\":1}}]", "\u{a0}1",
    "[1,,2]", "\"\\", "[\"a\" \"b\"]", "{\"a\":1 \"b\":2}", "\\u0031", "tru", "[nul]",
];

#[test]
fn the_grammar_is_kept_to_the_letter() {
    for text in ACCEPTED {
        assert!(whole(text.as_bytes()).is_ok(), "{text}: {:?}", whole(text.as_bytes()));
    }
    for text in REFUSED {
        assert!(whole(text.as_bytes()).is_err(), "{text}");
    }
    for bytes in [&b"\"\xff\""[..], b"\"\xc3\"", b"\"\xc0\xaf\"", b"\"\xed\xa0\x80\"", b"\"\xf4\x90\x80\x80\"", b"\xff", b"{\"\xe2\x82\":1}"] {
        assert!(whole(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn every_split_of_every_text_reads_the_same() {
    for text in ACCEPTED.iter().chain(REFUSED) {
        let expected = whole(text.as_bytes());
        for cut in 0..=text.len() {
            let (a, b) = text.as_bytes().split_at(cut);
            assert_eq!(pieces([a, b]), expected, "{text} cut at {cut}");
        }
        assert_eq!(pieces(text.as_bytes().chunks(1)), expected, "{text} byte by byte");
    }
}

#[test]
fn limits_are_faults_of_their_own() {
    let deep = "[".repeat(65) + &"]".repeat(65);
    assert_eq!(whole(deep.as_bytes()).unwrap_err().what, What::Depth(64));
    let wide: Vec<String> = (0..5_000).map(|n| format!("\"{n}\":0")).collect();
    assert_eq!(whole(format!("{{{}}}", wide.join(",")).as_bytes()).unwrap_err().what, What::Members(4_096));
    let long = format!("{{\"{}\":0}}", "k".repeat(2_000));
    assert_eq!(whole(long.as_bytes()).unwrap_err().what, What::KeyLength(1_024));
}

#[test]
fn spans_keys_and_skips_are_exact() {
    let text = br#" {"a" : [1.50, {"b":"x"}] , "c\n":null}"#;
    let mut tokens = Tokens::new(text, Limits::default());
    assert_eq!(tokens.next_token().unwrap().unwrap().kind, Kind::ObjectStart);
    tokens.next_token().unwrap().unwrap();
    assert_eq!(tokens.key(), "a");
    let list = tokens.next_token().unwrap().unwrap();
    let end = tokens.skip(&list).unwrap();
    assert_eq!(&text[list.start as usize..end as usize], br#"[1.50, {"b":"x"}]"#);
    let key = tokens.next_token().unwrap().unwrap();
    assert_eq!((tokens.key(), tokens.raw(&key), key.escaped), ("c\n", &br#""c\n""#[..], true));
}

/// The same document through a parser of another hand.
fn theirs(text: &[u8]) -> Result<Vec<String>, String> {
    let settings = ReaderSettings { restrict_number_values: false, ..ReaderSettings::default() };
    let mut reader = JsonStreamReader::new_custom(text, settings);
    let mut all = Vec::new();
    their_value(&mut reader, &mut all)?;
    reader.consume_trailing_whitespace().map_err(|e| e.to_string())?;
    Ok(all)
}

fn their_value(r: &mut JsonStreamReader<&[u8]>, all: &mut Vec<String>) -> Result<(), String> {
    let say = |e: struson::reader::ReaderError| e.to_string();
    match r.peek().map_err(say)? {
        ValueType::Object => {
            r.begin_object().map_err(say)?;
            all.push("{".into());
            while r.has_next().map_err(say)? {
                all.push(format!("k{}", r.next_name().map_err(say)?));
                their_value(r, all)?;
            }
            r.end_object().map_err(say)?;
            all.push("}".into());
        }
        ValueType::Array => {
            r.begin_array().map_err(say)?;
            all.push("[".into());
            while r.has_next().map_err(say)? {
                their_value(r, all)?;
            }
            r.end_array().map_err(say)?;
            all.push("]".into());
        }
        ValueType::String => all.push(format!("s{}", r.next_string().map_err(say)?)),
        ValueType::Number => all.push(format!("n{}", r.next_number_as_string().map_err(say)?)),
        ValueType::Boolean => all.push(r.next_bool().map_err(|e| e.to_string())?.to_string()),
        ValueType::Null => {
            r.next_null().map_err(say)?;
            all.push("null".into());
        }
    }
    Ok(())
}

fn ours(text: &[u8]) -> Result<Vec<String>, JsonError> {
    let tokens = whole(text)?;
    let raw = |t: &Token| &text[t.start as usize..t.end as usize];
    Ok(tokens
        .iter()
        .map(|t| match t.kind {
            Kind::Key => format!("k{}", unescape(raw(t))),
            Kind::String => format!("s{}", unescape(raw(t))),
            Kind::Number => format!("n{}", String::from_utf8_lossy(raw(t))),
            _ => String::from_utf8_lossy(raw(t)).into_owned(),
        })
        .collect())
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_filter_map("finite", |f| serde_json::Number::from_f64(f).map(Into::into)),
        ".{0,12}".prop_map(serde_json::Value::String),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            prop::collection::btree_map(".{0,6}", inner, 0..8)
                .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn well_formed_documents_read_as_another_parser_reads_them(value in json(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        prop_assert_eq!(ours(text.as_bytes()).unwrap(), theirs(text.as_bytes()).unwrap());
    }

    #[test]
    fn random_cuts_change_nothing(value in json(), cuts in prop::collection::vec(0usize..400, 0..6)) {
        let text = serde_json::to_vec(&value).unwrap();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).collect();
        cuts.sort_unstable();
        let mut parts = Vec::new();
        let mut from = 0;
        for cut in cuts {
            parts.push(&text[from..cut]);
            from = cut;
        }
        parts.push(&text[from..]);
        prop_assert_eq!(pieces(parts), whole(&text));
    }

    /// Whatever another strict parser refuses, we refuse; what it accepts and we refuse is a rule of ours.
    #[test]
    fn damaged_documents_are_never_accepted_more_freely(value in json(), place in 0usize..300, byte: u8) {
        let mut text = serde_json::to_vec(&value).unwrap();
        let place = place % text.len();
        text[place] = byte;
        match (ours(&text), theirs(&text)) {
            (Ok(a), Ok(b)) => prop_assert_eq!(a, b),
            (Ok(_), Err(e)) => prop_assert!(false, "we accept what the other refuses: {}", e),
            (Err(e), Ok(_)) => prop_assert!(matches!(e.what, What::DuplicateKey | What::Depth(_)), "{}", e),
            (Err(_), Err(_)) => {}
        }
    }

    #[test]
    fn written_strings_read_back(text in ".{0,40}") {
        let mut out = Vec::new();
        write_string(&text, &mut out);
        prop_assert!(whole(&out).is_ok());
        prop_assert_eq!(unescape(&out), text);
    }
}
