//! The same documents through two parsers of other hands. Where we refuse what they accept, it is on purpose and said.

use struson::reader::{JsonReader as _, JsonStreamReader, ReaderSettings, ValueType};

use super::grammar::{ACCEPTED, refused};
use super::*;

/// What `struson` reads: a streaming parser of strict grammar. It lets members repeat.
fn struson(text: &[u8]) -> Result<Vec<String>, String> {
    let settings = ReaderSettings {
        restrict_number_values: false,
        max_nesting_depth: None,
        ..ReaderSettings::default()
    };
    let mut reader = JsonStreamReader::new_custom(text, settings);
    let mut all = Vec::new();
    struson_value(&mut reader, &mut all)?;
    reader.consume_trailing_whitespace().map_err(|e| e.to_string())?;
    Ok(all)
}

fn struson_value(r: &mut JsonStreamReader<&[u8]>, all: &mut Vec<String>) -> Result<(), String> {
    let say = |e: struson::reader::ReaderError| e.to_string();
    match r.peek().map_err(say)? {
        ValueType::Object => {
            r.begin_object().map_err(say)?;
            all.push("{".into());
            while r.has_next().map_err(say)? {
                all.push(format!("k{}", r.next_name().map_err(say)?));
                struson_value(r, all)?;
            }
            r.end_object().map_err(say)?;
            all.push("}".into());
        }
        ValueType::Array => {
            r.begin_array().map_err(say)?;
            all.push("[".into());
            while r.has_next().map_err(say)? {
                struson_value(r, all)?;
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

/// What `serde_json` reads, as a tree in document order. Its numbers lose their spelling, so they are compared by
/// value, and numbers beyond a double are not compared at all.
fn serde(text: &[u8]) -> Result<serde_json::Value, String> {
    serde_json::from_slice(text).map_err(|e| e.to_string())
}

fn ours(text: &[u8]) -> Result<Vec<String>, JsonError> {
    whole(text).map(|tokens| said(text, &tokens))
}

/// The tree that our tokens tell of.
fn tree(text: &[u8], tokens: &mut std::iter::Peekable<std::slice::Iter<'_, Token>>) -> serde_json::Value {
    let token = tokens.next().unwrap();
    let raw = &text[token.start as usize..token.end as usize];
    match token.kind {
        Kind::ObjectStart => {
            let mut map = serde_json::Map::new();
            loop {
                let key = tokens.next().unwrap();
                if key.kind == Kind::ObjectEnd {
                    return map.into();
                }
                let name = unescape(&text[key.start as usize..key.end as usize]).into_owned();
                assert!(map.insert(name, tree(text, tokens)).is_none());
            }
        }
        Kind::ArrayStart => {
            let mut items = Vec::new();
            while tokens.peek().unwrap().kind != Kind::ArrayEnd {
                items.push(tree(text, tokens));
            }
            tokens.next();
            items.into()
        }
        Kind::String => unescape(raw).into_owned().into(),
        Kind::Number => serde_json::from_slice(raw).unwrap(),
        Kind::True => true.into(),
        Kind::False => false.into(),
        _ => serde_json::Value::Null,
    }
}

/// Rules of ours that go beyond RFC 8259, and the limits.
fn on_purpose(what: What) -> bool {
    matches!(what, What::DuplicateKey | What::Depth(_) | What::Members(_) | What::KeyLength(_))
}

/// Holds what we make of a text against both others.
fn compare(text: &[u8]) -> Result<(), TestCaseError> {
    let shown = String::from_utf8_lossy(text);
    match (ours(text), struson(text)) {
        (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs),
        (Ok(_), Err(e)) => prop_assert!(false, "struson refuses what we accept: {} {}", shown, e),
        (Err(e), Ok(_)) => {
            prop_assert!(on_purpose(e.what), "struson accepts what we refuse: {} {}", shown, e)
        }
        (Err(_), Err(_)) => {}
    }
    match (whole(text), serde(text)) {
        (Ok(tokens), Ok(theirs)) => prop_assert_eq!(tree(text, &mut tokens.iter().peekable()), theirs),
        // A double ends at about 1.8e308; JSON does not.
        (Ok(_), Err(e)) => {
            prop_assert!(e.contains("number out of range"), "serde_json refuses: {} {}", shown, e)
        }
        (Err(e), Ok(_)) => prop_assert!(on_purpose(e.what), "serde_json accepts: {} {}", shown, e),
        (Err(_), Err(_)) => {}
    }
    Ok(())
}

#[test]
fn what_we_accept_others_accept_and_read_alike() {
    for text in ACCEPTED {
        compare(text.as_bytes()).unwrap();
        assert!(struson(text.as_bytes()).is_ok(), "{text}");
    }
}

#[test]
fn what_we_refuse_others_refuse_unless_we_are_stricter_on_purpose() {
    let mut stricter = 0;
    for (text, fault) in refused() {
        compare(text).unwrap();
        stricter += usize::from(on_purpose(fault.what) && serde(text).is_ok());
    }
    assert!(stricter >= 10, "the repeated members are the difference, and they are there: {stricter}");
}

#[test]
fn repeated_members_are_where_the_others_differ_from_each_other() {
    // The reason for the rule: one keeps both, the other the last, so one could judge what the other shows.
    let text = br#"{"resourceType":"Patient","id":"1","id":"2"}"#;
    let both = struson(text).unwrap();
    assert!(both.contains(&"s1".to_owned()) && both.contains(&"s2".to_owned()));
    assert_eq!(serde(text).unwrap()["id"], "2");
    assert_eq!(whole(text).unwrap_err().what, What::DuplicateKey);
}

#[test]
fn lone_surrogates_and_byte_order_marks_are_refused_by_all_three() {
    for text in [&br#""\ud800""#[..], br#""\udc00""#, br#""\ud800\ud800""#, "\u{feff}{}".as_bytes()] {
        assert!(ours(text).is_err() && struson(text).is_err() && serde(text).is_err());
    }
}

#[test]
fn depth_is_our_own_bound() {
    let deep = "[".repeat(65) + &"]".repeat(65);
    assert_eq!(whole(deep.as_bytes()).unwrap_err().what, What::Depth(64));
    assert!(struson(deep.as_bytes()).is_ok() && serde(deep.as_bytes()).is_ok());
    compare(deep.as_bytes()).unwrap();
}

#[test]
fn very_long_and_very_deep_documents_are_read_alike() {
    let depth = 60;
    let texts = [
        format!("[{}]", (0..20_000).map(|n| n.to_string()).collect::<Vec<_>>().join(",")),
        format!(
            "{{{}}}",
            (0..4_000).map(|n| format!("\"k{n}\":[{n},\"{n}\"]")).collect::<Vec<_>>().join(" ,\n")
        ),
        "{\"a\":[".repeat(depth / 2) + "1" + &"]}".repeat(depth / 2),
        format!("\"{}\"", "é\\n\\ud83d\\ude00x".repeat(20_000)),
        format!("[0.{},{}e-2]", "1".repeat(5_000), "9".repeat(400)),
    ];
    for text in texts {
        compare(text.as_bytes()).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn random_documents_are_read_alike(value in json(), pretty: bool) {
        let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        prop_assert!(ours(&text).is_ok());
        compare(&text)?;
    }

    #[test]
    fn damaged_documents_are_refused_alike(
        value in json(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..3),
    ) {
        let mut text = serde_json::to_vec(&value).unwrap();
        for (place, byte, how) in damage {
            if text.is_empty() {
                break;
            }
            let place = place.index(text.len());
            match how {
                0 => text[place] = byte,
                1 => text.insert(place, byte),
                _ => drop(text.remove(place)),
            }
        }
        compare(&text)?;
    }

    #[test]
    fn texts_of_json_punctuation_are_refused_alike(
        text in prop::collection::vec(prop::sample::select(&b"{}[]:,\"\\u0018deE+-. \ntrufalsn\xc3\xa9\xed\xa0"[..]), 0..24),
    ) {
        compare(&text)?;
    }

    #[test]
    fn numbers_of_every_shape_are_refused_alike(text in "-?[0-9.eE+-]{0,8}") {
        compare(text.as_bytes())?;
        compare(format!("[{text}]").as_bytes())?;
    }

    #[test]
    fn escapes_of_every_shape_are_refused_alike(text in r#"(\\(u[dD][89a-fA-F][0-9a-f]{2}|u[0-9a-fA-F]{3,5}|["\\/bfnrtvx0])|[a-z\u{e9}]){0,5}"#) {
        compare(format!("\"{text}\"").as_bytes())?;
        compare(format!("{{\"{text}\":1}}").as_bytes())?;
    }
}
