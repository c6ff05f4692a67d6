//! Where in a YAML file a fault stands: parsers name keys, people look for lines.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use crate::fault::{Fault, Span, near};

/// Reads a file; `name` is for messages.
pub fn read<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, Vec<Fault>> {
    serde_saphyr::from_str(text).map_err(|error| vec![unreadable(name, text, &error)])
}

/// What the parser says, at the place it says it of.
pub fn unreadable(name: &str, text: &str, error: &serde_saphyr::Error) -> Fault {
    // The place stands in the span; the parser's own picture of it would be a second one.
    let said = error.without_snippet().to_string();
    let fault = match unknown_key(&said) {
        Some((key, keys)) => {
            let help = match near(key, keys.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", keys.join(", ")),
            };
            Fault::new(name, format!("`{key}` is not a known key")).help(help)
        }
        None => Fault::new(name, format!("cannot be read: {said}")),
    };
    let fault = fault.code("yaml");
    let Some(place) = error.location().filter(|l| l.line() > 0) else { return fault };
    let start = offset(text, &place);
    // An unknown or doubled key is told at the mapping: its own name is nearer.
    let word = said.split('`').nth(1).filter(|word| word.len() > 1);
    let key = word.and_then(|word| Some(start + text.get(start..)?.find(&format!("{word}:"))?));
    let length = match (key, word) {
        (Some(_), Some(word)) => word.len(),
        _ => text[start..].find('\n').unwrap_or(text.len() - start).max(1),
    };
    let start = key.unwrap_or(start);
    fault.at(Span::new(name, &Arc::from(text), start..start + length))
}

/// ``unknown field `x`, expected one of a, b``, as the parser says it.
fn unknown_key(said: &str) -> Option<(&str, Vec<&str>)> {
    let (_, rest) = said.split_once("unknown field `")?;
    let (key, rest) = rest.split_once("`, expected one of ")?;
    let keys = rest.lines().next()?.split(" at line").next()?;
    Some((key, keys.split(", ").collect()))
}

/// Puts each fault of a file at the line that its key path names.
pub fn locate(faults: &mut [Fault], file: &str, text: &str) {
    let tree = serde_saphyr::from_str::<Spanned<Shape>>(text).ok().map(|root| Node::of(text, root, 0));
    let text: Arc<str> = text.into();
    for fault in faults {
        fault.span = match fault.span.take() {
            Some(span) => Some(span.named(file)),
            None => tree
                .as_ref()
                .and_then(|tree| place(tree, &text, fault))
                .map(|range| Span::new(file, &text, range)),
        };
    }
}

/// A document with the place of everything in it.
struct Node {
    at: Range<usize>,
    shape: Members,
}

enum Members {
    /// Each key with its place.
    Map(Vec<(String, Range<usize>, Node)>),
    List(Vec<Node>),
    Scalar,
}

/// What the parser gives: values with their places; keys have none of their own.
enum Shape {
    Map(Vec<(String, Spanned<Shape>)>),
    List(Vec<Spanned<Shape>>),
    Scalar,
}

impl Node {
    /// `from` is where its key may stand at the earliest.
    fn of(text: &str, shape: Spanned<Shape>, from: usize) -> Self {
        let start = offset(text, &shape.referenced).max(from);
        match shape.value {
            Shape::Scalar => {
                let length = usize::try_from(shape.referenced.span().byte_len().unwrap_or(0)).unwrap_or(0);
                Self { at: start..start + length, shape: Members::Scalar }
            }
            Shape::List(items) => {
                let items: Vec<Node> = items.into_iter().map(|item| Self::of(text, item, start)).collect();
                let end = items.last().map_or(start, |last| last.at.end);
                Self { at: start..end, shape: Members::List(items) }
            }
            Shape::Map(members) => {
                let (mut all, mut end) = (Vec::new(), from);
                for (key, value) in members {
                    let node = Self::of(text, value, end);
                    // The last time that it stands before its value.
                    let place = text.get(end..node.at.start).and_then(|t| t.rfind(&key)).map(|p| end + p);
                    let place = place.unwrap_or(node.at.start);
                    end = node.at.end.max(place + key.len());
                    all.push((key.clone(), place..place + key.len(), node));
                }
                let start = all.first().map_or(start, |(_, key, _)| key.start);
                Self { at: start..end.max(start), shape: Members::Map(all) }
            }
        }
    }
}

/// The piece of text that a fault is about: the word that it quotes where that stands in the value, else the key.
fn place(root: &Node, text: &str, fault: &Fault) -> Option<Range<usize>> {
    let bare = fault.path.split_once(' ').map(|(_, rest)| rest);
    let mut best: Option<Found<'_>> = None;
    let below = match &root.shape {
        Members::Map(members) => members.iter().map(|(_, _, node)| node).collect(),
        _ => Vec::new(),
    };
    // The whole path, the path without the file's name, and the same under any of the document's first keys.
    for path in [Some(fault.path.as_str()), bare].into_iter().flatten() {
        for start in std::iter::once(root).chain(below.iter().copied()) {
            let found = walk(start, path, text);
            if found.key.is_some() && best.as_ref().is_none_or(|b| found.left < b.left) {
                best = Some(found);
            }
        }
    }
    let found = best?;
    let value = found.node.at.clone();
    let quoted = fault.what.split('`').skip(1).step_by(2).filter(|word| !word.is_empty());
    let word = |word: &str| {
        let place = text.get(value.clone())?.find(word)? + value.start;
        Some(place..place + word.len())
    };
    quoted.filter_map(word).next().filter(|_| found.left == 0).or(found.key)
}

struct Found<'a> {
    key: Option<Range<usize>>,
    node: &'a Node,
    /// How much of the path leads nowhere: the key is missing.
    left: usize,
}

fn walk<'a>(mut node: &'a Node, path: &str, text: &str) -> Found<'a> {
    let (mut rest, mut key) = (path, None);
    loop {
        rest = rest.trim_start_matches(['.', ' ']);
        let next = match &node.shape {
            Members::Map(members) => {
                let ends = |after: &str| after.is_empty() || after.starts_with(['.', ' ', '[']);
                let fits = |name: &str| rest.strip_prefix(name).is_some_and(ends);
                let longest = members.iter().filter(|(name, ..)| fits(name)).max_by_key(|(n, ..)| n.len());
                longest.map(|(name, at, inner)| (at.clone(), inner, &rest[name.len()..]))
            }
            // `[2]`, `[its-id]`, or its name in backticks.
            Members::List(items) => rest
                .strip_prefix('[')
                .and_then(|r| r.split_once(']'))
                .or_else(|| rest.strip_prefix('`')?.split_once('`'))
                .and_then(|(place, after)| Some((item(items, place, text)?, after)))
                .map(|(inner, after)| (inner.at.clone(), inner, after)),
            Members::Scalar => None,
        };
        match next {
            Some((at, inner, after)) => (key, node, rest) = (Some(at), inner, after),
            None => return Found { key, node, left: rest.len() },
        }
    }
}

/// An item of a list by its number, or by its own `id` or `name`.
fn item<'a>(items: &'a [Node], place: &str, text: &str) -> Option<&'a Node> {
    if let Ok(number) = place.parse::<usize>() {
        return items.get(number);
    }
    let id = |node: &Node| match &node.shape {
        Members::Map(members) => {
            let named = members.iter().find(|(name, ..)| name == "id" || name == "name");
            let id = named.map(|(_, _, value)| value.at.clone());
            text.get(id?).map(|id| id.trim_matches(['"', '\'']) == place)
        }
        _ => None,
    };
    items.iter().find(|node| id(node) == Some(true))
}

/// In bytes.
fn offset(text: &str, place: &Location) -> usize {
    if let Some(bytes) = place.span().byte_offset() {
        return usize::try_from(bytes).unwrap_or(usize::MAX).min(text.len());
    }
    let line = usize::try_from(place.line().saturating_sub(1)).unwrap_or(usize::MAX);
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let column = usize::try_from(place.column().saturating_sub(1)).unwrap_or(usize::MAX);
    text[start..].char_indices().nth(column).map_or(text.len(), |(within, _)| start + within)
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Shape::Map(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shape, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Shape::List(items))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_none<E>(self) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        Deserialize::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Shape::Scalar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# a comment about zone\nversion: 1\ntenants:\n  - name: main\n    zone: \"Mars/Olympus\"\n    \
                        list: [show, shwo]\n  - name: two\ntreatments:\n  region: [show]\n  Patient.name: x\n\
                        guarantees:\n- { id: first, never: a }\n- { id: \"second\", never: b }\ncases:\n- \
                        name: who asks is told\n  at: noon\n";

    fn at(path: &str, what: &str) -> Option<String> {
        let mut faults = [Fault::new(path, what)];
        locate(&mut faults, "f.yaml", TEXT);
        faults[0].span.as_ref().map(|s| format!("{}:{}", s.line(), &s.text()[s.range()]))
    }

    #[test]
    fn a_fault_stands_at_the_word_that_it_quotes_else_at_its_key() {
        let at = |path, what| at(path, what).unwrap();
        assert_eq!(at("tenants[0].zone", "`Mars/Olympus` is no zone"), "5:Mars/Olympus");
        assert_eq!(at("tenants[0].zone", "is wrong"), "5:zone");
        assert_eq!(at("tenants[0].list", "`shwo` is no treatment"), "6:shwo");
        assert_eq!(at("f.yaml version", "is not known"), "2:version");
        assert_eq!(at("f.yaml region", "is not in order"), "9:region");
        assert_eq!(at("f.yaml treatments.Patient.name", "`x` is no category"), "10:x");
        assert_eq!(at("f.yaml guarantees[second].never", "`b` has no verb"), "13:b");
        assert_eq!(at("f.yaml `who asks is told` at", "`noon` is no moment"), "16:noon");
        // What is missing is told at what should hold it.
        assert_eq!(at("tenants[1].zone", "is required"), "7:name: two");
        assert_eq!(at("f.yaml treatments nothing", "is missing"), "8:treatments");
    }

    #[test]
    fn what_is_nowhere_has_no_place() {
        assert_eq!(at("listen", "is required"), None);
        let mut faults = [Fault::new("a", "b")];
        locate(&mut faults, "f.yaml", "a: [");
        assert_eq!(faults[0].span, None);
    }

    #[test]
    fn text_that_cannot_be_read_says_where() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(dead_code, reason = "only read")]
        struct File {
            version: u32,
            inner: Inner,
        }
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(dead_code, reason = "only read")]
        struct Inner {
            a: u32,
        }
        let said = |text: &str| {
            let fault = read::<File>("f.yaml", text).unwrap_err().remove(0);
            let span = fault.span.unwrap();
            format!("{}:{} {}", span.line(), &text[span.range()], fault.what)
        };
        let unknown = said("version: 1\ninner:\n  a: 1\n  zone: 2\n");
        assert_eq!(unknown, "4:zone `zone` is not a known key");
        let missed = read::<File>("f.yaml", "version: 1\niner: {}\n").unwrap_err().remove(0);
        assert_eq!(missed.help.as_deref(), Some("did you mean `inner`?"));
        let wrong = said("version: 1\ninner:\n  a: word\n");
        assert!(wrong.starts_with("3:"), "{wrong}");
        let broken = said("version: 1\ninner: [\n");
        assert!(broken.contains("cannot be read"), "{broken}");
    }
}
