//! Characters in XML: which of them it can carry, and how a value is written as an attribute.

/// Whether XML 1.0 can carry `c` (section 2.2), be it raw or as a reference.
pub(super) fn is_char(c: char) -> bool {
    !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

/// Writes ` name="text"`. Tabs and line ends become references, or a reader would make them spaces (section 3.3.3).
/// Fails at a character that XML cannot carry, after which `out` is of no use.
pub(super) fn attribute(name: &str, text: &str, out: &mut Vec<u8>) -> Option<()> {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let written: &[u8] = match byte {
            b'&' => b"&amp;",
            b'<' => b"&lt;",
            b'>' => b"&gt;",
            b'"' => b"&quot;",
            b'\t' => b"&#9;",
            b'\n' => b"&#10;",
            b'\r' => b"&#13;",
            0..0x20 => return None,
            // The first byte of U+F000 to U+FFFF.
            0xef if !text[at..].chars().next().is_some_and(is_char) => return None,
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[from..at]);
        out.extend_from_slice(written);
        from = at + 1;
    }
    out.extend_from_slice(&text.as_bytes()[from..]);
    out.push(b'"');
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str) -> Option<String> {
        let mut out = b"<a".to_vec();
        attribute("v", text, &mut out)?;
        out.extend_from_slice(b"/>");
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_xml_cannot_carry_is_not_written() {
        for c in ['\0', '\u{1}', '\u{8}', '\u{b}', '\u{c}', '\u{e}', '\u{1f}', '\u{fffe}', '\u{ffff}'] {
            assert_eq!(written(&format!("a{c}b")), None, "{c:?}");
        }
    }

    proptest! {
        #[test]
        fn an_xml_reader_reads_what_was_written(text in prop::collection::vec(any::<char>(), 0..40)) {
            let text: String = text.into_iter().collect();
            match written(&text) {
                None => prop_assert!(text.chars().any(|c| !is_char(c))),
                Some(xml) => {
                    let document = roxmltree::Document::parse(&xml).unwrap();
                    prop_assert_eq!(document.root_element().attribute("v"), Some(text.as_str()));
                }
            }
        }

        #[test]
        fn markup_and_line_ends_come_back_as_they_were(text in "[<>&\"'\t\n\r ;#a-c]{0,30}") {
            let xml = written(&text).unwrap();
            let document = roxmltree::Document::parse(&xml).unwrap();
            prop_assert_eq!(document.root_element().attribute("v"), Some(text.as_str()));
        }
    }
}
