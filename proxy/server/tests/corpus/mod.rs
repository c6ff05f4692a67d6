//! Texts that are no JSON, or JSON that parsers are known to read differently, each with what must come of it. Made here.

/// What must come of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nobody gets any of it.
    Refused,
    /// Who sees everything gets it byte for byte.
    Passed,
}
use Fate::{Passed, Refused};

/// A Patient with something odd in the place of its birth date's value, or anywhere.
fn patient(value: &str) -> Vec<u8> {
    format!(r#"{{"resourceType":"Patient","id":"h1","gender":"male","birthDate":{value}}}"#).into_bytes()
}

fn name(inside: &[u8]) -> Vec<u8> {
    [br#"{"resourceType":"Patient","id":"h1","gender":"male","name":[{"family":""#, inside, br#""}]}"#]
        .concat()
}

fn around(before: &[u8], after: &[u8]) -> Vec<u8> {
    [before, &patient("\"1980-01-01\""), after].concat()
}

/// Each with a name, the text of a Patient `h1`, and its fate.
pub(crate) fn all() -> Vec<(String, Vec<u8>, Fate)> {
    let mut all: Vec<(&str, Vec<u8>, Fate)> = vec![
        // What stands twice.
        ("a member twice", around(b"", b"")[..].replace_end(b",\"gender\":\"female\"}"), Refused),
        (
            "a member twice, once by escapes",
            around(b"", b"").replace_end(br#","gend\u0065r":"female"}"#),
            Refused,
        ),
        ("an id twice, the other by escapes", around(b"", b"").replace_end(br#","\u0069d":"h2"}"#), Refused),
        ("a type twice", around(b"", b"").replace_end(br#","resourceType":"Basic"}"#), Refused),
        (
            "a member of a member twice",
            patient(r#""1980-01-01","meta":{"versionId":"1","versionId":"2"}"#),
            Refused,
        ),
        // Depth.
        ("nested 60 deep", patient(&nested(60)), Passed),
        ("nested 2,000 deep", patient(&nested(2_000)), Refused),
        ("brackets of 100,000", patient(&"[".repeat(100_000)), Refused),
        // Numbers.
        ("a number of 1,000 digits", patient(&"1".repeat(1_000)), Passed),
        ("an exponent of 999999", patient("1e999999"), Passed),
        ("a negative zero with an exponent", patient("-0.0E-00"), Passed),
        ("a number that begins with zero", patient("01"), Refused),
        ("a number with a plus", patient("+1"), Refused),
        ("a number without a whole part", patient(".5"), Refused),
        ("a number that ends in a point", patient("5."), Refused),
        ("an empty exponent", patient("5e"), Refused),
        ("a hexadecimal number", patient("0x10"), Refused),
        ("not a number", patient("NaN"), Refused),
        ("infinity", patient("-Infinity"), Refused),
        // Texts.
        ("a pair of surrogates", name(br"\ud83d\ude00"), Passed),
        ("a lone high surrogate", name(br"\ud83d"), Refused),
        ("a lone low surrogate", name(br"\ude00"), Refused),
        ("surrogates the wrong way round", name(br"\ude00\ud83d"), Refused),
        ("a null character by escape", name(br"a\u0000b"), Passed),
        ("a null character", name(b"a\0b"), Refused),
        ("a raw tab", name(b"a\tb"), Refused),
        ("a raw line feed", name(b"a\nb"), Refused),
        ("an unknown escape", name(br"a\x41b"), Refused),
        ("a short escape", name(br"a\u41b"), Refused),
        ("an overlong slash", name(b"\xc0\xaf"), Refused),
        ("a surrogate in UTF-8", name(b"\xed\xa0\x80"), Refused),
        ("a bare continuation byte", name(b"\x80"), Refused),
        ("a lead byte without its continuation", name(b"\xe2\x82"), Refused),
        ("beyond the last character", name(b"\xf4\x90\x80\x80"), Refused),
        ("a byte that UTF-8 never has", name(b"\xff"), Refused),
        ("Latin-1", name(b"M\xfcller"), Refused),
        ("the last character", name("\u{10ffff}".as_bytes()), Passed),
        ("a noncharacter", name("\u{fffe}".as_bytes()), Passed),
        // Around.
        ("white space around", around(b" \r\n\t", b"\n \t\r"), Passed),
        ("a byte order mark", around(b"\xef\xbb\xbf", b""), Refused),
        ("UTF-16", around(b"", b"").iter().flat_map(|b| [*b, 0]).collect(), Refused),
        ("a vertical tab before", around(b"\x0b", b""), Refused),
        ("a no-break space before", around(b"\xc2\xa0", b""), Refused),
        ("a second document", around(b"", b"{}"), Refused),
        ("a bracket too many", around(b"", b"}"), Refused),
        ("a comma behind", around(b"", b","), Refused),
        ("a null byte behind", around(b"", b"\0"), Refused),
        ("script behind", around(b"", b";alert(1)"), Refused),
        ("a guard before", around(b")]}',\n", b""), Refused),
        ("a call around", around(b"f(", b")"), Refused),
        // Beyond the grammar.
        ("a comment", patient("/* none */ \"1980-01-01\""), Refused),
        ("a comment to the end of the line", around(b"// none\n", b""), Refused),
        ("a trailing comma", patient("\"1980-01-01\","), Refused),
        ("single quotes", patient("'1980-01-01'"), Refused),
        ("a bare name", patient("\"1980-01-01\",active:true"), Refused),
        ("a word in capitals", patient("\"1980-01-01\",\"active\":True"), Refused),
        ("a half word", patient("\"1980-01-01\",\"active\":tru"), Refused),
        ("nothing", Vec::new(), Refused),
        ("white space alone", b" \n".to_vec(), Refused),
        ("a list around", around(b"[", b"]"), Refused),
        ("a text", b"\"Patient\"".to_vec(), Refused),
        ("null", b"null".to_vec(), Refused),
    ];
    // A name of any type of value but a text is no type.
    for kind in ["7", "null", "true", "[\"Patient\"]", "{}"] {
        let text = format!(r#"{{"resourceType":{kind},"id":"h1","gender":"male"}}"#);
        all.push(("a type that is no text", text.into_bytes(), Refused));
    }
    let whole = around(b"", b"");
    let mut named: Vec<_> = all.into_iter().map(|(name, text, fate)| (name.to_owned(), text, fate)).collect();
    for end in 0..whole.len() {
        named.push((format!("cut off after {end} bytes"), whole[..end].to_vec(), Refused));
    }
    named.push(("whole".into(), whole, Passed));
    named
}

fn nested(depth: usize) -> String {
    format!("{}1{}", "[".repeat(depth), "]".repeat(depth))
}

trait ReplaceEnd {
    fn replace_end(&self, end: &[u8]) -> Vec<u8>;
}

impl ReplaceEnd for [u8] {
    fn replace_end(&self, end: &[u8]) -> Vec<u8> {
        [&self[..self.len() - 1], end].concat()
    }
}
