use proptest::prelude::*;

use super::*;

mod grammar;
mod limits;
mod other_parsers;
mod pieces;
mod texts;

/// The tokens of a text that is known whole, and the fault that ended them.
fn read(text: &[u8], limits: Limits) -> (Vec<Token>, Option<JsonError>) {
    let mut tokens = Tokens::new(text, limits);
    let mut all = Vec::new();
    loop {
        match tokens.next_token() {
            Ok(Some(token)) => all.push(token),
            Ok(None) => return (all, None),
            Err(fault) => return (all, Some(fault)),
        }
    }
}

/// The same of a text that comes in pieces.
fn read_pieces<'a>(
    parts: impl IntoIterator<Item = &'a [u8]>,
    limits: Limits,
) -> (Vec<Token>, Option<JsonError>) {
    let mut tokenizer = Tokenizer::new(limits);
    let mut all = Vec::new();
    for part in parts {
        let mut at = 0;
        loop {
            match tokenizer.next_token(part, &mut at) {
                Ok(Some(token)) => all.push(token),
                Ok(None) => break,
                Err(fault) => return (all, Some(fault)),
            }
        }
    }
    loop {
        match tokenizer.finish() {
            Ok(Some(token)) => all.push(token),
            Ok(None) => return (all, None),
            Err(fault) => return (all, Some(fault)),
        }
    }
}

fn whole(text: &[u8]) -> Result<Vec<Token>, JsonError> {
    let (tokens, fault) = read(text, Limits::default());
    fault.map_or(Ok(tokens), Err)
}

/// What each token says: its kind and its text, unescaped where it is a key or string.
fn said(text: &[u8], tokens: &[Token]) -> Vec<String> {
    let raw = |t: &Token| &text[t.start as usize..t.end as usize];
    tokens
        .iter()
        .map(|t| match t.kind {
            Kind::Key => format!("k{}", unescape(raw(t))),
            Kind::String => format!("s{}", unescape(raw(t))),
            Kind::Number => format!("n{}", String::from_utf8_lossy(raw(t))),
            _ => String::from_utf8_lossy(raw(t)).into_owned(),
        })
        .collect()
}

/// Any JSON value, with the odd characters that parsers trip over.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_filter_map("finite", |f| serde_json::Number::from_f64(f).map(Into::into)),
        text().prop_map(serde_json::Value::String),
    ];
    leaf.prop_recursive(6, 48, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            prop::collection::btree_map(text(), inner, 0..8)
                .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    })
}

/// Any text, rich in what needs an escape and in characters at the edges of UTF-8's lengths.
fn text() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec![
        '"',
        '\\',
        '/',
        '\0',
        '\n',
        '\u{1f}',
        ' ',
        'u',
        '\u{7f}',
        '\u{80}',
        '\u{7ff}',
        '\u{800}',
        '\u{d7ff}',
        '\u{e000}',
        '\u{feff}',
        '\u{ffff}',
        '\u{10000}',
        '\u{10ffff}',
    ]);
    prop_oneof![".{0,12}", prop::collection::vec(odd, 0..12).prop_map(String::from_iter)]
}

/// The same text as a JSON string, with every character written in the way that its turn in `ways` says: as it is
/// where it may be, by its short escape, or by its number in either case.
fn spelt(text: &str, ways: &[u8]) -> String {
    let mut out = String::from("\"");
    for (n, c) in text.chars().enumerate() {
        let way = ways.get(n % ways.len().max(1)).copied().unwrap_or(0);
        let short = match c {
            '"' => Some('"'),
            '\\' => Some('\\'),
            '/' => Some('/'),
            '\u{8}' => Some('b'),
            '\u{c}' => Some('f'),
            '\n' => Some('n'),
            '\r' => Some('r'),
            '\t' => Some('t'),
            _ => None,
        };
        match (way % 4, short) {
            (0, _) if c >= ' ' && c != '"' && c != '\\' => out.push(c),
            (1, Some(short)) => out.extend(['\\', short]),
            (2, _) => out.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}"))),
            _ => out.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}"))),
        }
    }
    out.push('"');
    out
}
