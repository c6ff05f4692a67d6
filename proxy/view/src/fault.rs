//! What is wrong with a file that somebody wrote: where, what, and what to do about it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where: a key path, or a file with a line.
    pub path: String,
    /// What, in lower case and without a full stop.
    pub what: String,
    /// What would help.
    pub help: Option<String>,
    /// The kind of fault, for machines; it never changes.
    pub code: &'static str,
    /// The text that it is about, where that is known.
    pub span: Option<Box<Span>>,
}

impl Fault {
    /// The code of a fault that has no kind of its own.
    pub const INVALID: &'static str = "invalid";

    /// Without a help line.
    pub fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self { path: path.into(), what: what.into(), help: None, code: Self::INVALID, span: None }
    }

    /// With one.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Of that kind.
    #[must_use]
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }

    /// About that piece of text.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(Box::new(span));
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

/// A piece of a text file.
#[derive(Clone, PartialEq, Eq)]
pub struct Span {
    file: String,
    text: Arc<str>,
    range: Range<usize>,
}

impl Span {
    /// `range` counts bytes; what lies outside the text is cut off.
    pub fn new(file: impl Into<String>, text: &Arc<str>, range: Range<usize>) -> Self {
        let inside = |place: usize| (0..=place.min(text.len())).rev().find(|p| text.is_char_boundary(*p));
        let start = inside(range.start).unwrap_or(0);
        let end = inside(range.end).unwrap_or(0).max(start);
        Self { file: file.into(), text: Arc::clone(text), range: start..end }
    }

    /// The file, as messages name it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The piece, in bytes.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Its first line, counted from 1.
    pub fn line(&self) -> usize {
        self.before().matches('\n').count() + 1
    }

    /// Its first character in that line, counted from 1.
    pub fn column(&self) -> usize {
        self.before().rsplit('\n').next().unwrap_or_default().chars().count() + 1
    }

    fn before(&self) -> &str {
        self.text.get(..self.range.start).unwrap_or_default()
    }

    /// The same piece of a file that goes by another name.
    #[must_use]
    pub fn named(mut self, file: impl Into<String>) -> Self {
        self.file = file.into();
        self
    }
}

/// Texts are long; where the piece lies says enough.
impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line(), self.column())
    }
}

/// What somebody who wrote `word` may have meant: the nearest of the candidates, if any is near.
pub fn near<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // One letter in three, at most two: `hiv` is no `sud`.
    let most = (word.chars().count() / 3).clamp(1, 2);
    let distances = candidates.into_iter().map(|c| (distance(c, word), c));
    distances.filter(|(d, _)| *d <= most).min_by_key(|(d, _)| *d).map(|(_, c)| c)
}

/// The help line for a word that is not known: what may have been meant, else what there is.
pub fn known<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match near(word, candidates.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known: {}", candidates.into_iter().collect::<Vec<_>>().join(", ")),
    }
}

/// How many letters were left out, added, changed or swapped with their neighbour, of either case; words are short.
pub fn distance(a: &str, b: &str) -> usize {
    let letters = |word: &str| -> Vec<char> { word.to_lowercase().chars().collect() };
    let (a, b) = (letters(a), letters(b));
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let mut least = (row[j] + usize::from(ca != cb)).min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *cb && b[j - 1] == *ca {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_text_knows_its_line_and_never_lies_outside_the_text() {
        let text: Arc<str> = "a: 1\nß: zwei\n".into();
        let span = Span::new("f.yaml", &text, 9..13);
        assert_eq!((span.line(), span.column(), &text[span.range()]), (2, 4, "zwei"));
        assert_eq!(format!("{span:?}"), "f.yaml:2:4");
        // Within a letter of two bytes, and behind the end.
        assert_eq!(Span::new("f", &text, 6..99).range(), 5..14);
        let (start, end) = (50, 40);
        assert_eq!(Span::new("f", &text, start..end).range(), 14..14);
    }

    #[test]
    fn a_misspelt_word_finds_what_was_meant_and_a_strange_one_nothing() {
        let words = ["HIV", "PSY", "SUD", "clinician"];
        assert_eq!(near("HIVV", words), Some("HIV"));
        assert_eq!(near("clinican", words), Some("clinician"));
        assert_eq!(near("Clinician", words), Some("clinician"));
        assert_eq!(near("XYZ", words), None);
        assert_eq!(near("nmae", ["note", "name"]), Some("name"));
        assert_eq!(["", "ab", "ba", "abc", "kitten"].map(|w| distance(w, "ab")), [2, 0, 1, 1, 6]);
        assert_eq!(known("clincian", words), "did you mean `clinician`?");
        assert_eq!(known("q", ["a1", "b1"]), "known: a1, b1");
    }
}
