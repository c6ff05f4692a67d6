//! Our own JSON tokenizer: strict, streaming, without a tree; it tells where each value stands in the raw bytes.
//!
//! RFC 8259 to the letter, and stricter where parsers are known to differ: a member named twice in one object, a lone
//! surrogate, a byte order mark, over-deep nesting and over-wide objects are refused. Two parsers that read such a
//! text differently would let one decide about what the other shows.

mod keys;
mod lexeme;
mod scan;
mod text;
mod tokenizer;

pub use text::{unescape, write_string};
pub use tokenizer::{Kind, Limits, Token, Tokenizer};

/// What is wrong with a text, and at which byte from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct JsonError {
    /// What.
    pub what: What,
    /// Where, counted from 0.
    pub at: u64,
}

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum What {
    /// A byte that cannot stand there.
    #[error("unexpected byte {0:#04x}")]
    Unexpected(u8),
    /// The text ends in the middle.
    #[error("unexpected end")]
    Truncated,
    /// Something after the value.
    #[error("text after the end of the document")]
    Trailing,
    /// U+0000 to U+001F raw in a string.
    #[error("a control character in a string")]
    Control,
    /// Not UTF-8.
    #[error("invalid UTF-8")]
    Utf8,
    /// `\x` or a broken `\u`.
    #[error("an invalid escape")]
    Escape,
    /// Half of a surrogate pair.
    #[error("a lone surrogate")]
    Surrogate,
    /// `01`, `1.`, `.5`, `+1`.
    #[error("an invalid number")]
    Number,
    /// A member named twice in one object.
    #[error("a member stands twice in one object")]
    DuplicateKey,
    /// Nested deeper than the limit.
    #[error("nested deeper than {0}")]
    Depth(usize),
    /// More members than the limit.
    #[error("more than {0} members in one object")]
    Members(usize),
    /// A key longer than the limit.
    #[error("a key longer than {0} bytes")]
    KeyLength(usize),
    /// A string value longer than the limit.
    #[error("a string longer than {0} bytes")]
    StringLength(u64),
    /// A document longer than the limit.
    #[error("a document longer than {0} bytes")]
    Document(u64),
}

/// Pulls tokens from a text that is known whole. After the last token it checks that the document is complete.
#[derive(Debug)]
pub struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
    ended: bool,
    tokenizer: Tokenizer,
}

impl<'a> Tokens<'a> {
    /// Over `text`, with the given limits.
    pub fn new(text: &'a [u8], limits: Limits) -> Self {
        Self { text, at: 0, ended: false, tokenizer: Tokenizer::new(limits) }
    }

    /// The next token; `None` at the end of a complete document.
    ///
    /// # Errors
    /// The first fault in the document, again at every later call.
    pub fn next_token(&mut self) -> Result<Option<Token>, JsonError> {
        if !self.ended {
            if let Some(token) = self.tokenizer.next_token(self.text, &mut self.at)? {
                return Ok(Some(token));
            }
            self.ended = true;
        }
        self.tokenizer.finish()
    }

    /// The unescaped text of the last key that was read in the objects still open.
    pub fn key(&self) -> &str {
        self.tokenizer.key()
    }

    /// The raw bytes of a token.
    pub fn raw(&self, token: &Token) -> &'a [u8] {
        &self.text[token.start as usize..token.end as usize]
    }

    /// Reads on to the end of the value whose first token is `first`, the one just read, and gives the byte after it:
    /// the value stands at `first.start` up to there. Of a key, which is no value, it gives the key's own end.
    pub fn skip(&mut self, first: &Token) -> Result<u64, JsonError> {
        if !matches!(first.kind, Kind::ObjectStart | Kind::ArrayStart) {
            return Ok(first.end);
        }
        loop {
            let Some(token) = self.next_token()? else {
                return Err(JsonError { what: What::Truncated, at: self.text.len() as u64 });
            };
            if token.depth == first.depth && matches!(token.kind, Kind::ObjectEnd | Kind::ArrayEnd) {
                return Ok(token.end);
            }
        }
    }
}

#[cfg(test)]
mod tests;
