//! Narrative: a `div` that came as a JSON string, checked to be well-formed XHTML before it stands as XML among XML.

use std::sync::OnceLock;

use super::text::is_char;
use crate::names::Names;

const NAMESPACE: &str = "http://www.w3.org/1999/xhtml";

/// Elements, attributes and texts that one narrative may have.
const NODES_MAX: u32 = 1 << 20;

/// The named characters of HTML 4, which XML does not know.
const ENTITIES: &str = include_str!("../../data/entities.tsv");

/// Writes the `div`. Its markup stays as it came, but for named characters, which XML does not know and which become
/// themselves, and the namespace, which is added where it is missing.
///
/// Processing instructions and document types have no place in a narrative: what they name would be read by whoever
/// reads the XML.
pub(super) fn write(div: &str, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let text = resolve(div.trim_matches([' ', '\t', '\r', '\n']))?;
    if !text.chars().all(is_char) {
        return Err("it holds a character that XML 1.0 cannot carry");
    }
    let options =
        roxmltree::ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..Default::default() };
    let document =
        roxmltree::Document::parse_with_options(&text, options).map_err(|_| "it is not well-formed")?;
    let root = document.root_element();
    if document.root().children().count() != 1 {
        return Err("something stands beside the `div`");
    }
    match (root.tag_name().name(), root.tag_name().namespace()) {
        ("div", Some(NAMESPACE)) => out.extend_from_slice(text.as_bytes()),
        ("div", None) if !root.namespaces().any(|n| n.name().is_none()) => {
            let Some(rest) = text.strip_prefix("<div") else {
                return Err("it does not begin with its `div`");
            };
            out.extend_from_slice(format!("<div xmlns=\"{NAMESPACE}\"").as_bytes());
            out.extend_from_slice(rest.as_bytes());
        }
        ("div", _) => return Err("its namespace is not that of XHTML"),
        _ => return Err("it is not a `div`"),
    }
    Ok(())
}

/// Puts characters in the place of their names, but for the five that XML knows, and not in comments and character
/// data, where a name is only text.
fn resolve(text: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr2(b'<', b'&', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let taken = if let Some(comment) = rest.strip_prefix("<!--") {
            comment.find("-->").ok_or("a comment does not end")? + 7
        } else if rest.starts_with("<![CDATA[") {
            rest.find("]]>").ok_or("character data does not end")? + 3
        } else if rest.starts_with("<!") || rest.starts_with("<?") {
            return Err("a declaration or processing instruction stands in it");
        } else if rest.starts_with('<') {
            1
        } else {
            let end = rest.bytes().take(40).position(|b| b == b';').ok_or("an entity does not end")?;
            let name = &rest[1..end];
            if let Some(digits) = name.strip_prefix('#') {
                numbered(digits).ok_or("a number that is no character of XML")?;
            }
            if !name.starts_with('#') && !matches!(name, "amp" | "lt" | "gt" | "quot" | "apos") {
                out.push(named(name).ok_or("an entity that XHTML does not have")?);
                rest = &rest[end + 1..];
                continue;
            }
            end + 1
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out.push_str(rest);
    Ok(out)
}

fn numbered(digits: &str) -> Option<char> {
    let (digits, radix) = digits.strip_prefix('x').map_or((digits, 10), |hex| (hex, 16));
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let code = u32::from_str_radix(digits, radix).ok().filter(|_| plain)?;
    char::from_u32(code).filter(|c| is_char(*c))
}

fn named(name: &str) -> Option<char> {
    static TABLE: OnceLock<Names<char>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        Names::new(ENTITIES.lines().skip(1).filter_map(|line| {
            let (name, code) = line.split_once('\t')?;
            Some((name.into(), char::from_u32(code.parse().ok()?)?))
        }))
    });
    table.get(name.as_bytes()).map(|(_, c)| *c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn div(text: &str) -> Result<String, &'static str> {
        let mut out = Vec::new();
        write(text, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn well_formed_xhtml_stays_as_it_came() {
        for inner in [
            "a &amp; b &lt; &#8364; &#x20AC;",
            "<p class='x'>a<br/>b</p>",
            "<!-- &nbsp; is text here --><![CDATA[<b>&nbsp;]]>",
            "<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
        ] {
            let text = format!("<div xmlns=\"{NAMESPACE}\">{inner}</div>");
            assert_eq!(div(&text), Ok(text.clone()));
        }
        let prefixed = format!("<x:div xmlns:x=\"{NAMESPACE}\">a</x:div>");
        assert_eq!(div(&prefixed), Ok(prefixed.clone()));
    }

    #[test]
    fn named_characters_become_themselves_and_a_missing_namespace_is_added() {
        assert_eq!(
            div(" <div title=\"&eacute;\">a&nbsp;&copy;</div>\n"),
            Ok(format!("<div xmlns=\"{NAMESPACE}\" title=\"é\">a\u{a0}©</div>"))
        );
        assert_eq!(div("<div/>"), Ok(format!("<div xmlns=\"{NAMESPACE}\"/>")));
        assert_eq!(ENTITIES.lines().count(), 249);
    }

    #[test]
    fn what_is_not_one_well_formed_div_is_refused() {
        for text in [
            "",
            "text",
            "<p/>",
            "<div>",
            "<div></div></div>",
            "</text><div/>",
            "<div/><div/>",
            "<div/><!-- after -->",
            "<!-- before --><div/>",
            "<div/>after",
            "<div>a & b</div>",
            "<div>a &bogus; b</div>",
            "<div>a &nbsp b</div>",
            "<div>&#0;</div>",
            "<div>&#xFFFE;</div>",
            "<div>&#xD800;</div>",
            "<div>&#x110000;</div>",
            "<div>&#+8;</div>",
            "<div>&#;</div>",
            "<div>\u{1}</div>",
            "<div>\u{ffff}</div>",
            "<div><p></div></p>",
            "<div><br></div>",
            "<div a='1' a='2'/>",
            "<div a=1/>",
            "<div a='<'/>",
            "<div><o:p/></div>",
            "<div>]]></div>",
            "<div><!-- a -- b --></div>",
            "<div><!-- a </div>",
            "<div><![CDATA[a</div>",
            "<div xmlns=\"\"/>",
            "<div xmlns=\"http://hl7.org/fhir\"/>",
            "<?xml version=\"1.0\"?><div/>",
            "<?php x ?><div/>",
            "<div><?php x ?></div>",
            "<!DOCTYPE div [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><div>&e;</div>",
            "\u{feff}<div/>",
            "<DIV/>",
        ] {
            assert!(div(text).is_err(), "{text:?} became {:?}", div(text));
        }
    }

    #[test]
    fn a_narrative_nested_without_end_is_bounded() {
        for deep in [1_000, 300_000] {
            let text = format!("<div>{}{}</div>", "<b>".repeat(deep), "</b>".repeat(deep));
            let written = div(&text);
            assert!(written.is_err() || written.unwrap().len() > text.len());
        }
    }
}
