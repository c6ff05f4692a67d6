//! Where each token of the held entry stands, so that both passes read it once.

use drape_fhir::json::{self, Kind, Limits, Token, Tokens};

use crate::{Fault, FaultKind};

/// One token within the held text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tok {
    pub(crate) kind: Kind,
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) escaped: bool,
    /// For a container's start: the place of its end on the tape.
    pub(crate) close: u32,
}

/// Places within a text are 32 bits wide.
pub(crate) const TEXT_BYTES_MAX: usize = u32::MAX as usize - 1;

/// The tokens of one value, in order.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    toks: Vec<Tok>,
    open: Vec<u32>,
    /// The places of the strings and keys with an escape in them.
    escaped: Vec<u32>,
}

pub(crate) fn json_fault(error: &json::JsonError) -> Fault {
    let kind = match error.what {
        json::What::Depth(_)
        | json::What::Members(_)
        | json::What::KeyLength(_)
        | json::What::StringLength(_)
        | json::What::Document(_) => FaultKind::Limit,
        _ => FaultKind::Upstream,
    };
    Fault { kind, what: format!("the body is not acceptable JSON: {error}") }
}

pub(crate) fn limits(depth_max: usize) -> Limits {
    Limits { depth_max, ..Limits::default() }
}

impl Tape {
    /// The tape of a whole text.
    pub(crate) fn read(text: &[u8], depth_max: usize) -> Result<Self, Fault> {
        let mut tape = Self::default();
        tape.fill(text, depth_max)?;
        Ok(tape)
    }

    /// The tape of a whole text, in place of what stood on this one.
    pub(crate) fn fill(&mut self, text: &[u8], depth_max: usize) -> Result<(), Fault> {
        self.clear();
        if text.len() > TEXT_BYTES_MAX {
            return Err(Fault { kind: FaultKind::Limit, what: "a record is too large".into() });
        }
        let mut tokens = Tokens::new(text, limits(depth_max));
        while let Some(token) = tokens.next_token().map_err(|e| json_fault(&e))? {
            self.push(&token, 0);
        }
        Ok(())
    }

    /// Adds a token; `base` is the document offset at which the held text begins.
    pub(crate) fn push(&mut self, token: &Token, base: u64) {
        let place = u32::try_from(self.toks.len()).unwrap_or(u32::MAX);
        let at = |offset: u64| u32::try_from(offset.saturating_sub(base)).unwrap_or(u32::MAX);
        match token.kind {
            Kind::ObjectStart | Kind::ArrayStart => self.open.push(place),
            Kind::ObjectEnd | Kind::ArrayEnd => {
                if let Some(start) = self.open.pop() {
                    self.toks[start as usize].close = place;
                }
            }
            _ if token.escaped => self.escaped.push(place),
            _ => {}
        }
        self.toks.push(Tok {
            kind: token.kind,
            start: at(token.start),
            end: at(token.end),
            escaped: token.escaped,
            close: place,
        });
    }

    pub(crate) fn clear(&mut self) {
        self.toks.clear();
        self.open.clear();
        self.escaped.clear();
    }

    pub(crate) fn get(&self, i: usize) -> Tok {
        self.toks[i]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.toks.is_empty()
    }

    /// Where the value at `i` ends: its last token's place and the byte after it.
    pub(crate) fn end(&self, i: usize) -> (usize, usize) {
        let close = self.toks[i].close as usize;
        (close, self.toks[close].end as usize)
    }

    /// How many bytes the tape itself takes.
    pub(crate) fn bytes(&self) -> usize {
        self.toks.len() * size_of::<Tok>() + self.escaped.len() * size_of::<u32>()
    }

    /// The place of the token whose first byte is at `start`.
    pub(crate) fn starting_at(&self, start: usize) -> Option<usize> {
        self.toks.binary_search_by_key(&start, |tok| tok.start as usize).ok()
    }

    /// The strings and keys with an escape in them, from one place to another.
    pub(crate) fn escaped(&self, from: usize, to: usize) -> impl Iterator<Item = usize> + use<'_> {
        let first = self.escaped.partition_point(|place| (*place as usize) < from);
        self.escaped[first..].iter().map(|place| *place as usize).take_while(move |place| *place <= to)
    }

    /// The place of the last token of the container at `i`, if it is one of that kind; else there is nothing in it.
    fn close(&self, i: usize, kind: Kind) -> usize {
        if self.toks[i].kind == kind { self.toks[i].close as usize } else { i }
    }

    /// The members of the object at `i`: the places of each key and its value.
    pub(crate) fn members(&self, i: usize) -> impl Iterator<Item = (usize, usize)> + use<'_> {
        let end = self.close(i, Kind::ObjectStart);
        let mut at = i + 1;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let found = (at, at + 1);
            at = self.toks[at + 1].close as usize + 1;
            Some(found)
        })
    }

    /// The items of the array at `i`.
    pub(crate) fn items(&self, i: usize) -> impl Iterator<Item = usize> + use<'_> {
        let end = self.close(i, Kind::ArrayStart);
        let mut at = i + 1;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let found = at;
            at = self.toks[at].close as usize + 1;
            Some(found)
        })
    }

    /// The raw bytes of the value at `i`.
    pub(crate) fn raw<'t>(&self, text: &'t [u8], i: usize) -> &'t [u8] {
        &text[self.toks[i].start as usize..self.end(i).1]
    }

    /// The text of the string or key at `i`.
    pub(crate) fn text<'t>(&self, text: &'t [u8], i: usize) -> std::borrow::Cow<'t, str> {
        let tok = &self.toks[i];
        if !tok.escaped
            && let Some(inner) = text.get(tok.start as usize + 1..tok.end as usize - 1)
            && let Ok(plain) = std::str::from_utf8(inner)
        {
            return std::borrow::Cow::Borrowed(plain);
        }
        json::unescape(&text[self.toks[i].start as usize..self.toks[i].end as usize])
    }

    /// The same as bytes, which the tokenizer has found to be UTF-8: to compare and to look up, not to keep.
    pub(crate) fn name<'t>(&self, text: &'t [u8], i: usize) -> std::borrow::Cow<'t, [u8]> {
        let tok = &self.toks[i];
        if tok.escaped {
            return std::borrow::Cow::Owned(self.text(text, i).into_owned().into_bytes());
        }
        // Between the quotes.
        std::borrow::Cow::Borrowed(text.get(tok.start as usize + 1..tok.end as usize - 1).unwrap_or_default())
    }

    /// Whether the string or key at `i` says `what`.
    pub(crate) fn says(&self, text: &[u8], i: usize, what: &str) -> bool {
        let tok = &self.toks[i];
        if tok.escaped {
            return self.text(text, i) == what;
        }
        // Two quotes around it; most others differ in length, and their bytes need no look.
        (tok.end - tok.start) as usize == what.len() + 2
            && text.get(tok.start as usize + 1..tok.end as usize - 1) == Some(what.as_bytes())
    }

    /// The value of the member called `name` of the object at `i`.
    pub(crate) fn member(&self, text: &[u8], i: usize, name: &str) -> Option<usize> {
        self.members(i).find(|(key, _)| self.says(text, *key, name)).map(|(_, value)| value)
    }

    /// The text of a string member.
    pub(crate) fn string<'t>(
        &self,
        text: &'t [u8],
        i: usize,
        name: &str,
    ) -> Option<std::borrow::Cow<'t, str>> {
        let value = self.member(text, i, name)?;
        (self.toks[value].kind == Kind::String).then(|| self.text(text, value))
    }
}
