//! The tokenizer proper: fed pieces of any size, it remembers where it was in the grammar, never what it has read.

use super::keys::{Clash, Keys};
use super::lexeme::{Digits, Lexeme, Within};
use super::scan::{self, Utf8};
use super::{JsonError, What};

/// Bounds on one document.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How deep arrays and objects may nest.
    pub depth_max: usize,
    /// How many members one object may have.
    pub members_max: usize,
    /// How long one key may be, unescaped, in bytes.
    pub key_bytes_max: usize,
    /// How long one string value may be between its quotes, as it stands in the document, in bytes.
    pub string_bytes_max: u64,
    /// How long the whole document may be, white space around it included, in bytes.
    pub document_bytes_max: u64,
}

impl Default for Limits {
    /// Strings and documents have no bound of their own: the tokenizer keeps neither, so whoever does keep them sets
    /// the bound. What costs the tokenizer memory (open containers and their keys) is always bounded.
    fn default() -> Self {
        Self {
            depth_max: 64,
            members_max: 4_096,
            key_bytes_max: 1_024,
            string_bytes_max: u64::MAX,
            document_bytes_max: u64::MAX,
        }
    }
}

/// What a token is (RFC 8259 section 2). Commas and colons are checked and not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{`
    ObjectStart,
    /// `}`
    ObjectEnd,
    /// `[`
    ArrayStart,
    /// `]`
    ArrayEnd,
    /// The name of a member, quotes included; its value is the next token.
    Key,
    /// A string that is a value, quotes included.
    String,
    /// A number; its text is kept as it stands.
    Number,
    /// `true`
    True,
    /// `false`
    False,
    /// `null`
    Null,
}

/// One token and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What.
    pub kind: Kind,
    /// Byte offset of its first byte from the start of the document, quotes included.
    pub start: u64,
    /// Byte offset after its last byte.
    pub end: u64,
    /// How many arrays and objects are open around it; a container's start and end stand at the same depth.
    pub depth: usize,
    /// Whether a string or key holds an escape.
    pub escaped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    Object,
    Array,
}

/// The state between two pieces of a document.
#[derive(Debug)]
pub struct Tokenizer {
    limits: Limits,
    expect: Expect,
    lexeme: Lexeme,
    stack: Vec<Container>,
    keys: Keys,
    /// Offset of the current piece's first byte.
    base: u64,
    utf8: Utf8,
    /// The last token that was read. It is kept here, and what reads it tells only that it is there: a token passed up
    /// through every call costs more than reading it.
    token: Token,
}

impl Tokenizer {
    /// At the start of a document.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            expect: Expect::Value,
            lexeme: Lexeme::None,
            stack: Vec::new(),
            keys: Keys::default(),
            base: 0,
            utf8: Utf8::default(),
            token: Token { kind: Kind::Null, start: 0, end: 0, depth: 0, escaped: false },
        }
    }

    /// How many arrays and objects are open.
    pub fn depth(&self) -> usize {
        self.stack.len()
    }

    /// The unescaped text of the last key that was read in the objects still open.
    pub fn key(&self) -> &str {
        // Keys were checked to be UTF-8 while they were read.
        std::str::from_utf8(self.keys.last()).unwrap_or_default()
    }

    /// The next token that is complete within `piece`, reading on from `*at`, which comes to stand after it; `None`
    /// when the piece is used up. The next call then starts with the next piece and `*at == 0`. Tokens and faults do
    /// not depend on how a document is cut into pieces.
    ///
    /// # Errors
    /// The first fault in the document. It stays: every later call gives it again.
    pub fn next_token(&mut self, piece: &[u8], at: &mut usize) -> Result<Option<Token>, JsonError> {
        Ok(self.advance(piece, at)?.then_some(self.token))
    }

    /// As [`Self::next_token`], but the token stays here for [`Self::token`]: for those who read very many.
    ///
    /// # Errors
    /// The same.
    pub fn advance(&mut self, piece: &[u8], at: &mut usize) -> Result<bool, JsonError> {
        let room = self.limits.document_bytes_max.saturating_sub(self.base);
        let readable = usize::try_from(room).map_or(piece, |room| &piece[..room.min(piece.len())]);
        let fault = match self.read(readable, at) {
            Ok(true) => return Ok(true),
            Ok(false) if readable.len() == piece.len() => {
                self.base += piece.len() as u64;
                *at = 0;
                return Ok(false);
            }
            Ok(false) => self.fault(What::Document(self.limits.document_bytes_max), readable.len()),
            Err(fault) => fault,
        };
        self.lexeme = Lexeme::Failed(fault);
        Err(fault)
    }

    /// The last token that was read.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Tells that reading of the current piece stops after `taken` bytes, and that the next call brings what follows
    /// them as a new piece.
    pub fn pause(&mut self, taken: usize) {
        self.base += taken as u64;
    }

    /// Ends the document, after the last piece gave `None`: a number that ran to its last byte is still a token;
    /// anything open is a fault.
    ///
    /// # Errors
    /// [`What::Truncated`], or the fault that was found before.
    pub fn finish(&mut self) -> Result<Option<Token>, JsonError> {
        let at = self.base;
        match self.lexeme {
            Lexeme::Failed(fault) => return Err(fault),
            Lexeme::Number { start, state } if state.may_end() && self.stack.is_empty() => {
                self.after_value();
                return Ok(Some(Token { kind: Kind::Number, start, end: at, depth: 0, escaped: false }));
            }
            Lexeme::None if self.expect == Expect::End => return Ok(None),
            _ => {}
        }
        let fault = JsonError { what: What::Truncated, at };
        self.lexeme = Lexeme::Failed(fault);
        Err(fault)
    }

    fn fault(&self, what: What, at: usize) -> JsonError {
        JsonError { what, at: self.base + at as u64 }
    }

    fn read(&mut self, piece: &[u8], at: &mut usize) -> Result<bool, JsonError> {
        loop {
            let whole = match self.lexeme {
                Lexeme::None => {
                    let Some(&(mut byte)) = piece.get(*at) else { return Ok(false) };
                    while matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                        *at += 1;
                        let Some(&next) = piece.get(*at) else { return Ok(false) };
                        byte = next;
                    }
                    self.begin(byte, piece, at)?
                }
                Lexeme::String { .. } => self.string(piece, at)?,
                Lexeme::Number { .. } => self.number(piece, at)?,
                Lexeme::Literal { .. } => self.literal(piece, at)?,
                Lexeme::Failed(fault) => return Err(fault),
            };
            if whole || *at >= piece.len() {
                return Ok(whole);
            }
        }
    }

    /// The first byte of a token, not white space.
    fn begin(&mut self, byte: u8, piece: &[u8], at: &mut usize) -> Result<bool, JsonError> {
        let innermost = self.stack.last();
        match (self.expect, byte) {
            (Expect::End, _) => Err(self.fault(What::Trailing, *at)),
            (Expect::Colon, b':') => {
                self.expect = Expect::Value;
                *at += 1;
                Ok(false)
            }
            (Expect::CommaOrEnd, b',') => {
                let object = innermost == Some(&Container::Object);
                self.expect = if object { Expect::Key } else { Expect::Value };
                *at += 1;
                Ok(false)
            }
            (Expect::CommaOrEnd | Expect::KeyOrEnd, b'}') if innermost == Some(&Container::Object) => {
                self.keys.close_object();
                Ok(self.close(Kind::ObjectEnd, at))
            }
            (Expect::CommaOrEnd | Expect::ValueOrEnd, b']') if innermost == Some(&Container::Array) => {
                Ok(self.close(Kind::ArrayEnd, at))
            }
            (Expect::Key | Expect::KeyOrEnd, b'"') => self.open_string(true, piece, at),
            (Expect::Value | Expect::ValueOrEnd, _) => self.value(byte, piece, at),
            _ => Err(self.fault(What::Unexpected(byte), *at)),
        }
    }

    fn value(&mut self, byte: u8, piece: &[u8], at: &mut usize) -> Result<bool, JsonError> {
        let start = self.base + *at as u64;
        let literal = |text: &'static [u8], kind| Lexeme::Literal { start, text, matched: 1, kind };
        self.lexeme = match byte {
            b'"' => return self.open_string(false, piece, at),
            b'{' => return self.open(Container::Object, at),
            b'[' => return self.open(Container::Array, at),
            b'-' => Lexeme::Number { start, state: Digits::Minus },
            b'0' => Lexeme::Number { start, state: Digits::Zero },
            b'1'..=b'9' => Lexeme::Number { start, state: Digits::Whole },
            b't' => literal(b"true", Kind::True),
            b'f' => literal(b"false", Kind::False),
            b'n' => literal(b"null", Kind::Null),
            _ => return Err(self.fault(What::Unexpected(byte), *at)),
        };
        *at += 1;
        Ok(false)
    }

    fn open(&mut self, container: Container, at: &mut usize) -> Result<bool, JsonError> {
        let depth = self.stack.len();
        if depth >= self.limits.depth_max {
            return Err(self.fault(What::Depth(self.limits.depth_max), *at));
        }
        self.stack.push(container);
        let kind = match container {
            Container::Object => {
                self.keys.open_object();
                self.expect = Expect::KeyOrEnd;
                Kind::ObjectStart
            }
            Container::Array => {
                self.expect = Expect::ValueOrEnd;
                Kind::ArrayStart
            }
        };
        Ok(self.one_byte(kind, depth, at))
    }

    /// Ends the innermost container.
    fn close(&mut self, kind: Kind, at: &mut usize) -> bool {
        self.stack.pop();
        self.after_value();
        self.one_byte(kind, self.stack.len(), at)
    }

    fn one_byte(&mut self, kind: Kind, depth: usize, at: &mut usize) -> bool {
        let start = self.base + *at as u64;
        *at += 1;
        self.tell(Token { kind, start, end: start + 1, depth, escaped: false })
    }

    /// A token is complete.
    fn tell(&mut self, token: Token) -> bool {
        self.token = token;
        true
    }

    fn after_value(&mut self) {
        self.lexeme = Lexeme::None;
        self.expect = if self.stack.is_empty() { Expect::End } else { Expect::CommaOrEnd };
    }

    fn number(&mut self, piece: &[u8], at: &mut usize) -> Result<bool, JsonError> {
        let Lexeme::Number { start, mut state } = self.lexeme else { return Ok(false) };
        while let Some(&byte) = piece.get(*at) {
            if let Some(next) = state.next(byte) {
                state = next;
                *at += 1;
                continue;
            }
            let ends = matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t');
            if !ends || !state.may_end() {
                return Err(self.fault(What::Number, *at));
            }
            let end = self.base + *at as u64;
            self.after_value();
            let depth = self.stack.len();
            return Ok(self.tell(Token { kind: Kind::Number, start, end, depth, escaped: false }));
        }
        self.lexeme = Lexeme::Number { start, state };
        Ok(false)
    }

    fn literal(&mut self, piece: &[u8], at: &mut usize) -> Result<bool, JsonError> {
        let Lexeme::Literal { start, text, mut matched, kind } = self.lexeme else { return Ok(false) };
        while let Some(&byte) = piece.get(*at) {
            if byte != text[matched] {
                return Err(self.fault(What::Unexpected(byte), *at));
            }
            *at += 1;
            matched += 1;
            if matched == text.len() {
                let end = self.base + *at as u64;
                self.after_value();
                let depth = self.stack.len();
                return Ok(self.tell(Token { kind, start, end, depth, escaped: false }));
            }
        }
        self.lexeme = Lexeme::Literal { start, text, matched, kind };
        Ok(false)
    }

    /// A string begins. Nearly every string is whole within its piece and has no escape: it is read at once.
    fn open_string(&mut self, key: bool, piece: &[u8], at: &mut usize) -> Result<bool, JsonError> {
        let start = self.base + *at as u64;
        *at += 1;
        if key {
            self.keys.begin();
        }
        let rest = &piece[*at..];
        let run = scan::run(rest);
        let (text, next) = (&rest[..run.len], rest.get(run.len));
        let fits = if key {
            text.len() <= self.limits.key_bytes_max
        } else {
            text.len() as u64 <= self.limits.string_bytes_max
        };
        if next == Some(&b'"') && fits && (run.ascii || scan::is_utf8(text)) {
            if key {
                self.keys.push(text);
            }
            *at += run.len + 1;
            return self.close_string(key, start, false, *at);
        }
        self.lexeme = Lexeme::String { start, key, escaped: false, within: Within::Text };
        Ok(false)
    }

    /// A string is complete; `at` is after its closing quote.
    fn close_string(&mut self, key: bool, start: u64, escaped: bool, at: usize) -> Result<bool, JsonError> {
        let (depth, end) = (self.stack.len(), self.base + at as u64);
        if !key {
            self.after_value();
            return Ok(self.tell(Token { kind: Kind::String, start, end, depth, escaped }));
        }
        self.keys.end(self.limits.members_max).map_err(|clash| match clash {
            Clash::Twice => JsonError { what: What::DuplicateKey, at: start },
            Clash::TooMany => JsonError { what: What::Members(self.limits.members_max), at: start },
        })?;
        self.lexeme = Lexeme::None;
        self.expect = Expect::Colon;
        Ok(self.tell(Token { kind: Kind::Key, start, end, depth, escaped }))
    }

    fn string(&mut self, piece: &[u8], at: &mut usize) -> Result<bool, JsonError> {
        let Lexeme::String { start, key, mut escaped, mut within } = self.lexeme else { return Ok(false) };
        while let Some(&byte) = piece.get(*at) {
            if within != Within::Text {
                self.string_room(key, start, *at)?;
                within = self.escape(within, byte, *at, key)?;
                *at += 1;
                continue;
            }
            let rest = &piece[*at..];
            let run = scan::run(rest);
            if run.len > 0 {
                self.plain(&rest[..run.len], run.ascii, key, start, *at)?;
                *at += run.len;
                continue;
            }
            if !self.utf8.complete() {
                return Err(self.fault(What::Utf8, *at));
            }
            match byte {
                b'"' => {
                    *at += 1;
                    return self.close_string(key, start, escaped, *at);
                }
                b'\\' => {
                    self.string_room(key, start, *at)?;
                    escaped = true;
                    within = Within::Escape;
                    *at += 1;
                }
                _ => return Err(self.fault(What::Control, *at)),
            }
        }
        self.lexeme = Lexeme::String { start, key, escaped, within };
        Ok(false)
    }

    /// Plain text of a string: UTF-8 across pieces, within its limit.
    fn plain(&mut self, text: &[u8], ascii: bool, key: bool, start: u64, at: usize) -> Result<(), JsonError> {
        // The fault is told at the first byte too many, wherever the piece began.
        let room = if key {
            self.limits.key_bytes_max.saturating_sub(self.keys.progress())
        } else {
            usize::try_from(self.string_left(start, at)).unwrap_or(usize::MAX)
        };
        let fits = &text[..room.min(text.len())];
        if !ascii || !self.utf8.complete() {
            self.utf8.take(fits).map_err(|place| self.fault(What::Utf8, at + place))?;
        }
        if key {
            self.keys.push(fits);
        }
        match (fits.len() == text.len(), key) {
            (true, _) => Ok(()),
            (false, true) => Err(self.fault(What::KeyLength(self.limits.key_bytes_max), at + fits.len())),
            (false, false) => {
                Err(self.fault(What::StringLength(self.limits.string_bytes_max), at + fits.len()))
            }
        }
    }

    /// How many more bytes the string value that began at `start` may have, from `at` on.
    fn string_left(&self, start: u64, at: usize) -> u64 {
        self.limits.string_bytes_max.saturating_sub(self.base + at as u64 - start - 1)
    }

    /// A string value may have one more byte at `at`. Keys are measured unescaped, in `key_bytes`.
    fn string_room(&self, key: bool, start: u64, at: usize) -> Result<(), JsonError> {
        if key || self.string_left(start, at) > 0 {
            return Ok(());
        }
        Err(self.fault(What::StringLength(self.limits.string_bytes_max), at))
    }

    fn escape(&mut self, within: Within, byte: u8, at: usize, key: bool) -> Result<Within, JsonError> {
        let digit = || char::from(byte).to_digit(16).ok_or_else(|| self.fault(What::Escape, at));
        match within {
            Within::Text => Ok(Within::Text),
            Within::Escape => {
                let plain = match byte {
                    b'"' | b'\\' | b'/' => byte,
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'u' => return Ok(Within::Unicode { digits: 0, code: 0 }),
                    _ => return Err(self.fault(What::Escape, at)),
                };
                self.decoded(u32::from(plain), at, key)
            }
            Within::Unicode { digits, code } => {
                let code = code << 4 | digit()?;
                if digits < 3 {
                    return Ok(Within::Unicode { digits: digits + 1, code });
                }
                match code {
                    0xd800..=0xdbff => Ok(Within::LowBackslash { high: code }),
                    0xdc00..=0xdfff => Err(self.fault(What::Surrogate, at)),
                    _ => self.decoded(code, at, key),
                }
            }
            Within::LowBackslash { high } if byte == b'\\' => Ok(Within::LowU { high }),
            Within::LowU { high } if byte == b'u' => Ok(Within::LowUnicode { high, digits: 0, code: 0 }),
            Within::LowBackslash { .. } | Within::LowU { .. } => Err(self.fault(What::Surrogate, at)),
            Within::LowUnicode { high, digits, code } => {
                let code = code << 4 | digit()?;
                if digits < 3 {
                    return Ok(Within::LowUnicode { high, digits: digits + 1, code });
                }
                if !(0xdc00..=0xdfff).contains(&code) {
                    return Err(self.fault(What::Surrogate, at));
                }
                self.decoded(0x10000 + ((high - 0xd800) << 10) + (code - 0xdc00), at, key)
            }
        }
    }

    /// An escape is complete; of a key its character is kept.
    fn decoded(&mut self, code: u32, at: usize, key: bool) -> Result<Within, JsonError> {
        let decoded = char::from_u32(code).ok_or_else(|| self.fault(What::Surrogate, at))?;
        if key {
            let mut buffer = [0; 4];
            let bytes = decoded.encode_utf8(&mut buffer).as_bytes();
            if self.keys.progress() + bytes.len() > self.limits.key_bytes_max {
                return Err(self.fault(What::KeyLength(self.limits.key_bytes_max), at));
            }
            self.keys.push(bytes);
        }
        Ok(Within::Text)
    }
}
