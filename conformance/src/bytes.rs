//! Cuts JSON text into its members and items without reading their values, so that bytes can be compared with bytes.

use crate::{Fault, Outcome};

/// The members of an object: each key and the raw text of its value.
pub fn members(object: &[u8]) -> Outcome<Vec<(String, &[u8])>> {
    let mut found = Vec::new();
    for part in parts(object, b'{', b'}')? {
        let colon = outside(part, b':').next().ok_or_else(|| Fault::new("a member without a colon"))?;
        let key = String::from_utf8_lossy(trim(&part[..colon])).trim_matches('"').to_owned();
        found.push((key, trim(&part[colon + 1..])));
    }
    Ok(found)
}

/// The raw texts of an array's items.
pub fn items(array: &[u8]) -> Outcome<Vec<&[u8]>> {
    parts(array, b'[', b']')
}

/// The raw text of one member.
pub fn member<'a>(object: &'a [u8], name: &str) -> Outcome<Option<&'a [u8]>> {
    Ok(members(object)?.into_iter().find(|(key, _)| key == name).map(|(_, value)| value))
}

fn parts(text: &[u8], open: u8, close: u8) -> Outcome<Vec<&[u8]>> {
    let text = trim(text);
    let inner = match text {
        [first, inner @ .., last] if *first == open && *last == close => inner,
        _ => return Err(Fault(format!("no JSON from `{}` to `{}`", char::from(open), char::from(close)))),
    };
    if trim(inner).is_empty() {
        return Ok(Vec::new());
    }
    let mut from = 0;
    let mut found = Vec::new();
    for comma in outside(inner, b',') {
        found.push(trim(&inner[from..comma]));
        from = comma + 1;
    }
    found.push(trim(&inner[from..]));
    Ok(found)
}

/// Where `wanted` stands outside of strings, objects and arrays.
fn outside(text: &[u8], wanted: u8) -> impl Iterator<Item = usize> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    text.iter().enumerate().filter_map(move |(at, byte)| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ if depth == 0 && *byte == wanted => return Some(at),
            _ => {}
        }
        None
    })
}

fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}

/// `text` with every `from` put as `to`.
pub fn replace(text: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(from.len()).position(|w| w == from.as_bytes()) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to.as_bytes());
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// Says where two texts first differ, with a little around it.
pub fn difference(a: &[u8], b: &[u8]) -> Option<String> {
    if a == b {
        return None;
    }
    let at = a.iter().zip(b).position(|(x, y)| x != y).unwrap_or_else(|| a.len().min(b.len()));
    let around = |text: &[u8]| {
        let (from, to) = (at.saturating_sub(60).min(text.len()), (at + 60).min(text.len()));
        String::from_utf8_lossy(&text[from..to]).into_owned()
    };
    Some(format!("byte {at}: {:?} and {:?}", around(a), around(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_items_keep_their_bytes() {
        let text = br#" {"a": 1.00, "b,\"": [ {"c":"},{"} , 2 ], "d":{}} "#;
        let found = members(text).unwrap();
        let values: Vec<&str> = found.iter().map(|(_, v)| std::str::from_utf8(v).unwrap()).collect();
        assert_eq!(values, ["1.00", r#"[ {"c":"},{"} , 2 ]"#, "{}"]);
        assert_eq!(items(found[1].1).unwrap(), [br#"{"c":"},{"}"#.as_slice(), b"2"]);
        assert!(items(b"[]").unwrap().is_empty());
        assert!(items(b"{}").is_err());
    }

    #[test]
    fn a_difference_is_found_and_equality_is_none() {
        assert_eq!(difference(b"abc", b"abc"), None);
        assert!(difference(b"abc", b"abd").unwrap().starts_with("byte 2"));
        assert!(difference(b"abc", b"ab").unwrap().starts_with("byte 2"));
        assert_eq!(replace(b"x/y x/z", "x/", "w/"), b"w/y w/z");
    }
}
