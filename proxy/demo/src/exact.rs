//! JSON in which a decimal keeps its digits: `1.00` stays `1.00`, as FHIR demands of decimals.

use serde_json::Value;

/// Stands at the head of a string that is a number to be written as it is. A private-use character, refused in
/// what others send.
const MARK: char = '\u{F8FF}';

/// A decimal with the digits it is to be written with. What is no JSON number stays a string.
pub(crate) fn decimal(digits: &str) -> Value {
    Value::String(format!("{MARK}{digits}"))
}

/// The digits of a number, however it is held.
pub(crate) fn digits(value: &Value) -> Option<String> {
    match value {
        Value::Number(n) => Some(n.to_string()),
        Value::String(s) => s.strip_prefix(MARK).filter(|d| is_number(d)).map(str::to_owned),
        _ => None,
    }
}

/// Reads JSON. Numbers that are not plain integers are kept by their digits.
///
/// # Errors
/// A sentence on what is wrong with the text.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the body is not UTF-8".to_owned())?;
    let plain: Value = serde_json::from_str(text).map_err(|e| format!("the body is not JSON: {e}"))?;
    if has_mark(&plain) {
        return Err(
            "the body holds the private-use character U+F8FF, which this server keeps for itself".into()
        );
    }
    if !text.bytes().any(|b| b == b'.' || b == b'e' || b == b'E') {
        return Ok(plain);
    }
    serde_json::from_str(&quote_decimals(text)).map_err(|e| format!("the body is not JSON: {e}"))
}

/// Writes JSON without blanks, decimals by their digits, members in their order.
pub(crate) fn write(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    write_into(value, &mut out);
    out
}

fn write_into(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(members) => {
            out.push(b'{');
            for (i, (key, member)) in members.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_text(key, out);
                out.push(b':');
                write_into(member, out);
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_into(item, out);
            }
            out.push(b']');
        }
        Value::String(text) => match text.strip_prefix(MARK).filter(|d| is_number(d)) {
            Some(digits) => out.extend_from_slice(digits.as_bytes()),
            None => write_text(text, out),
        },
        Value::Number(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Value::Bool(b) => out.extend_from_slice(if *b { b"true" } else { b"false" }),
        Value::Null => out.extend_from_slice(b"null"),
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if (c as u32) < 0x20 => out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes()),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// The text with each number that has a point or an exponent put into marked quotes.
fn quote_decimals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len() + 64);
    let (mut at, mut copied) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let start = at;
                while at < bytes.len() && matches!(bytes[at], b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')
                {
                    at += 1;
                }
                if bytes[start..at].iter().any(|b| matches!(b, b'.' | b'e' | b'E')) {
                    out.push_str(&text[copied..start]);
                    out.push('"');
                    out.push(MARK);
                    out.push_str(&text[start..at]);
                    out.push('"');
                    copied = at;
                }
            }
            _ => at += 1,
        }
    }
    out.push_str(&text[copied..]);
    out
}

fn has_mark(value: &Value) -> bool {
    match value {
        Value::String(s) => s.contains(MARK),
        Value::Array(items) => items.iter().any(has_mark),
        Value::Object(members) => members.iter().any(|(k, v)| k.contains(MARK) || has_mark(v)),
        _ => false,
    }
}

/// RFC 8259 section 6.
fn is_number(text: &str) -> bool {
    let rest = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((m, e)) => (m, Some(e.strip_prefix(['+', '-']).unwrap_or(e))),
        None => (rest, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((w, f)) => (w, Some(f)),
        None => (mantissa, None),
    };
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_keep_their_digits_and_text_stays_text() {
        let text =
            r#"{"a":1.00,"b":[-0.50,1e3,2.5E-7,12],"c":"1.00 \"2.0\" \\","d":"é\n","e":null,"f":true}"#;
        assert_eq!(String::from_utf8(write(&parse(text.as_bytes()).unwrap())).unwrap(), text);
        assert_eq!(write(&decimal("01.0")), format!("\"{MARK}01.0\"").into_bytes());
        assert_eq!(digits(&decimal("7.10")).as_deref(), Some("7.10"));
    }

    #[test]
    fn the_private_mark_is_refused_in_what_others_send() {
        assert!(parse("{\"a\":\"\u{F8FF}1.0\"}".as_bytes()).unwrap_err().contains("U+F8FF"));
        assert!(parse(br#"{"a":"\uf8ff1.0"}"#).unwrap_err().contains("U+F8FF"));
        assert!(parse(b"{\"a\":01.0}").is_err());
        assert!(parse(b"\xff").is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(text in "\\PC{0,20}", n in any::<i64>(), d in "-?(0|[1-9][0-9]{0,5})\\.[0-9]{1,5}") {
            prop_assume!(!text.contains(MARK));
            let value = serde_json::json!({"t": text.clone(), "n": n, "d": decimal(&d), "a": [text]});
            prop_assert_eq!(parse(&write(&value)).unwrap(), value);
        }
    }
}
