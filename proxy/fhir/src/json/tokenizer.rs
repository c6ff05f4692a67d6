//! The tokenizer proper: fed pieces of any size, it remembers where it was in the grammar, never what it has read.

use super::{JsonError, What};

/// Bounds on one document.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How deep arrays and objects may nest.
    pub depth_max: usize,
    /// How many members one object may have.
    pub members_max: usize,
    /// How long one key may be, unescaped.
    pub key_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth_max: 64, members_max: 4_096, key_bytes_max: 1_024 }
    }
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    ObjectStart,
    ObjectEnd,
    ArrayStart,
    ArrayEnd,
    Key,
    String,
    Number,
    True,
    False,
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

#[derive(Clone, Copy, Debug)]
enum Lexeme {
    None,
    String { start: u64, key: bool, escaped: bool, within: Within },
    Number { start: u64, state: Digits },
    Literal { start: u64, text: &'static [u8], matched: usize, kind: Kind },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    Text,
    Escape,
    Unicode { digits: u8, code: u32 },
    /// A high surrogate was read; a backslash must follow,
    LowBackslash { high: u32 },
    /// then a `u`,
    LowU { high: u32 },
    /// then four digits.
    LowUnicode { high: u32, digits: u8, code: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Digits {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

impl Digits {
    fn next(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus, b'1'..=b'9') | (Self::Whole, b'0'..=b'9') => Self::Whole,
            (Self::Zero | Self::Whole, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Whole | Self::Fraction, b'e' | b'E') => Self::E,
            (Self::E, b'+' | b'-') => Self::Sign,
            (Self::E | Self::Sign | Self::Exponent, b'0'..=b'9') => Self::Exponent,
            _ => return None,
        })
    }

    fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Whole | Self::Fraction | Self::Exponent)
    }
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    object: bool,
    /// Where this object's keys begin in `keys` and their bytes in `arena`.
    keys_from: usize,
    arena_from: usize,
}

#[derive(Clone, Copy, Debug)]
struct KeyAt {
    hash: u64,
    start: usize,
    end: usize,
}

/// The state between two pieces of a document.
#[derive(Debug)]
pub struct Tokenizer {
    limits: Limits,
    expect: Expect,
    lexeme: Lexeme,
    stack: Vec<Frame>,
    keys: Vec<KeyAt>,
    arena: Vec<u8>,
    /// Offset of the current piece's first byte.
    base: u64,
    /// An unfinished UTF-8 sequence: how many bytes are still needed and the range of the next one.
    utf8: (u8, u8, u8),
}

const DEFAULT_RANGE: (u8, u8) = (0x80, 0xbf);

impl Tokenizer {
    /// At the start of a document.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            expect: Expect::Value,
            lexeme: Lexeme::None,
            stack: Vec::new(),
            keys: Vec::new(),
            arena: Vec::new(),
            base: 0,
            utf8: (0, 0, 0),
        }
    }

    /// How many arrays and objects are open.
    pub fn depth(&self) -> usize {
        self.stack.len()
    }

    /// The unescaped text of the last key, until the object it stands in ends or the next key begins.
    pub fn key(&self) -> &str {
        let bytes = self.keys.last().map_or(&[][..], |k| &self.arena[k.start..k.end]);
        // Keys were checked to be UTF-8 while they were read.
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// The next token that is complete within `piece`, reading on from `*at`; `None` when the piece is used up. The
    /// next call then starts with the next piece and `*at == 0`.
    pub fn next_token(&mut self, piece: &[u8], at: &mut usize) -> Result<Option<Token>, JsonError> {
        loop {
            let token = match self.lexeme {
                Lexeme::None => {
                    let rest = &piece[*at..];
                    let Some(skip) = rest.iter().position(|b| !matches!(b, b' ' | b'\n' | b'\r' | b'\t')) else {
                        *at = piece.len();
                        break;
                    };
                    *at += skip;
                    self.begin(piece[*at], at)?
                }
                Lexeme::String { .. } => self.string(piece, at)?,
                Lexeme::Number { .. } => self.number(piece, at)?,
                Lexeme::Literal { .. } => self.literal(piece, at)?,
            };
            if token.is_some() {
                return Ok(token);
            }
            if *at >= piece.len() {
                break;
            }
        }
        self.base += piece.len() as u64;
        *at = 0;
        // A call after the piece is used up must not count it twice: callers pass an empty piece or the next one.
        Ok(None)
    }

    /// Tells that reading of the current piece stops after `taken` bytes, and that the next call brings what follows
    /// them as a new piece.
    pub fn pause(&mut self, taken: usize) {
        self.base += taken as u64;
    }

    /// Ends the document: a number that ran to its last byte is still a token; anything open is a fault.
    pub fn finish(&mut self) -> Result<Option<Token>, JsonError> {
        let at = self.base;
        if let Lexeme::Number { start, state } = self.lexeme
            && state.may_end()
            && self.stack.is_empty()
        {
            self.lexeme = Lexeme::None;
            self.expect = Expect::End;
            return Ok(Some(Token { kind: Kind::Number, start, end: at, depth: 0, escaped: false }));
        }
        if !matches!(self.lexeme, Lexeme::None) || self.expect != Expect::End {
            return Err(JsonError { what: What::Truncated, at });
        }
        Ok(None)
    }

    fn fault(&self, what: What, at: usize) -> JsonError {
        JsonError { what, at: self.base + at as u64 }
    }

    /// The first byte of a token, not white space.
    fn begin(&mut self, byte: u8, at: &mut usize) -> Result<Option<Token>, JsonError> {
        let start = self.base + *at as u64;
        let unexpected = Err(self.fault(What::Unexpected(byte), *at));
        let one = |kind, depth| Token { kind, start, end: start + 1, depth, escaped: false };
        match (self.expect, byte) {
            (Expect::End, _) => Err(self.fault(What::Trailing, *at)),
            (Expect::Colon, b':') => {
                self.expect = Expect::Value;
                *at += 1;
                Ok(None)
            }
            (Expect::CommaOrEnd, b',') => {
                let object = self.stack.last().is_some_and(|f| f.object);
                self.expect = if object { Expect::Key } else { Expect::Value };
                *at += 1;
                Ok(None)
            }
            (Expect::CommaOrEnd | Expect::KeyOrEnd, b'}') if self.stack.last().is_some_and(|f| f.object) => {
                *at += 1;
                let depth = self.close();
                Ok(Some(one(Kind::ObjectEnd, depth)))
            }
            (Expect::CommaOrEnd | Expect::ValueOrEnd, b']') if self.stack.last().is_some_and(|f| !f.object) => {
                *at += 1;
                let depth = self.close();
                Ok(Some(one(Kind::ArrayEnd, depth)))
            }
            (Expect::Key | Expect::KeyOrEnd, b'"') => {
                let from = self.arena.len();
                self.keys.push(KeyAt { hash: 0, start: from, end: from });
                self.lexeme = Lexeme::String { start, key: true, escaped: false, within: Within::Text };
                *at += 1;
                Ok(None)
            }
            (Expect::Value | Expect::ValueOrEnd, byte) => {
                *at += 1;
                match byte {
                    b'{' | b'[' => {
                        let depth = self.stack.len();
                        if depth >= self.limits.depth_max {
                            return Err(self.fault(What::Depth(self.limits.depth_max), *at - 1));
                        }
                        let object = byte == b'{';
                        let (keys_from, arena_from) = (self.keys.len(), self.arena.len());
                        self.stack.push(Frame { object, keys_from, arena_from });
                        self.expect = if object { Expect::KeyOrEnd } else { Expect::ValueOrEnd };
                        Ok(Some(one(if object { Kind::ObjectStart } else { Kind::ArrayStart }, depth)))
                    }
                    b'"' => {
                        self.lexeme = Lexeme::String { start, key: false, escaped: false, within: Within::Text };
                        Ok(None)
                    }
                    b'-' => self.number_from(start, Digits::Minus),
                    b'0' => self.number_from(start, Digits::Zero),
                    b'1'..=b'9' => self.number_from(start, Digits::Whole),
                    b't' => self.literal_from(start, b"true", Kind::True),
                    b'f' => self.literal_from(start, b"false", Kind::False),
                    b'n' => self.literal_from(start, b"null", Kind::Null),
                    _ => unexpected,
                }
            }
            _ => unexpected,
        }
    }

    fn number_from(&mut self, start: u64, state: Digits) -> Result<Option<Token>, JsonError> {
        self.lexeme = Lexeme::Number { start, state };
        Ok(None)
    }

    fn literal_from(&mut self, start: u64, text: &'static [u8], kind: Kind) -> Result<Option<Token>, JsonError> {
        self.lexeme = Lexeme::Literal { start, text, matched: 1, kind };
        Ok(None)
    }

    /// Ends the innermost container and forgets its keys; gives the depth it stood at.
    fn close(&mut self) -> usize {
        if let Some(frame) = self.stack.pop() {
            self.keys.truncate(frame.keys_from);
            self.arena.truncate(frame.arena_from);
        }
        self.after_value();
        self.stack.len()
    }

    fn after_value(&mut self) {
        self.lexeme = Lexeme::None;
        self.expect = if self.stack.is_empty() { Expect::End } else { Expect::CommaOrEnd };
    }

    fn number(&mut self, piece: &[u8], at: &mut usize) -> Result<Option<Token>, JsonError> {
        let Lexeme::Number { start, mut state } = self.lexeme else { return Ok(None) };
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
            return Ok(Some(Token { kind: Kind::Number, start, end, depth: self.stack.len(), escaped: false }));
        }
        self.lexeme = Lexeme::Number { start, state };
        Ok(None)
    }

    fn literal(&mut self, piece: &[u8], at: &mut usize) -> Result<Option<Token>, JsonError> {
        let Lexeme::Literal { start, text, mut matched, kind } = self.lexeme else { return Ok(None) };
        while let Some(&byte) = piece.get(*at) {
            if byte != text[matched] {
                return Err(self.fault(What::Unexpected(byte), *at));
            }
            *at += 1;
            matched += 1;
            if matched == text.len() {
                let end = self.base + *at as u64;
                self.after_value();
                return Ok(Some(Token { kind, start, end, depth: self.stack.len(), escaped: false }));
            }
        }
        self.lexeme = Lexeme::Literal { start, text, matched, kind };
        Ok(None)
    }

    fn string(&mut self, piece: &[u8], at: &mut usize) -> Result<Option<Token>, JsonError> {
        let Lexeme::String { start, key, mut escaped, mut within } = self.lexeme else { return Ok(None) };
        while *at < piece.len() {
            if within == Within::Text {
                let rest = &piece[*at..];
                let stop = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                self.plain(&rest[..stop], *at, key)?;
                *at += stop;
                let Some(&byte) = piece.get(*at) else { break };
                if self.utf8.0 > 0 {
                    return Err(self.fault(What::Utf8, *at));
                }
                *at += 1;
                if byte == b'\\' {
                    escaped = true;
                    within = Within::Escape;
                    continue;
                }
                let end = self.base + *at as u64;
                if key {
                    self.key_ended(*at)?;
                    self.lexeme = Lexeme::None;
                    self.expect = Expect::Colon;
                    return Ok(Some(Token { kind: Kind::Key, start, end, depth: self.stack.len(), escaped }));
                }
                self.after_value();
                return Ok(Some(Token { kind: Kind::String, start, end, depth: self.stack.len(), escaped }));
            }
            let byte = piece[*at];
            within = self.escape(within, byte, *at, key)?;
            *at += 1;
        }
        self.lexeme = Lexeme::String { start, key, escaped, within };
        Ok(None)
    }

    /// Text without quotes and backslashes: no control characters, valid UTF-8 across pieces.
    fn plain(&mut self, text: &[u8], at: usize, key: bool) -> Result<(), JsonError> {
        if text.is_empty() {
            return Ok(());
        }
        let mut worst = 0_u8;
        let mut lowest = 0xff_u8;
        for byte in text {
            worst |= byte;
            lowest = lowest.min(*byte);
        }
        if lowest < 0x20 {
            let place = text.iter().position(|b| *b < 0x20).unwrap_or(0);
            return Err(self.fault(What::Control, at + place));
        }
        if self.utf8.0 > 0 || worst >= 0x80 {
            self.check_utf8(text, at)?;
        }
        if key {
            self.key_bytes(text, at)?;
        }
        Ok(())
    }

    fn check_utf8(&mut self, text: &[u8], at: usize) -> Result<(), JsonError> {
        // Most text is complete within its piece and goes the fast way.
        if self.utf8.0 == 0 && simdutf8::basic::from_utf8(text).is_ok() {
            return Ok(());
        }
        for (place, &byte) in text.iter().enumerate() {
            let (needed, low, high) = self.utf8;
            if needed > 0 {
                if !(low..=high).contains(&byte) {
                    return Err(self.fault(What::Utf8, at + place));
                }
                self.utf8 = (needed - 1, DEFAULT_RANGE.0, DEFAULT_RANGE.1);
                continue;
            }
            // The table of well-formed sequences in Unicode, chapter 3, D92.
            self.utf8 = match byte {
                0x00..=0x7f => (0, 0, 0),
                0xc2..=0xdf => (1, 0x80, 0xbf),
                0xe0 => (2, 0xa0, 0xbf),
                0xe1..=0xec | 0xee..=0xef => (2, 0x80, 0xbf),
                0xed => (2, 0x80, 0x9f),
                0xf0 => (3, 0x90, 0xbf),
                0xf1..=0xf3 => (3, 0x80, 0xbf),
                0xf4 => (3, 0x80, 0x8f),
                _ => return Err(self.fault(What::Utf8, at + place)),
            };
        }
        Ok(())
    }

    fn escape(&mut self, within: Within, byte: u8, at: usize, key: bool) -> Result<Within, JsonError> {
        let digit = |byte: u8| char::from(byte).to_digit(16);
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
                if key {
                    self.key_bytes(&[plain], at)?;
                }
                Ok(Within::Text)
            }
            Within::Unicode { digits, code } => {
                let code = code << 4 | digit(byte).ok_or_else(|| self.fault(What::Escape, at))?;
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
                let code = code << 4 | digit(byte).ok_or_else(|| self.fault(What::Escape, at))?;
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

    fn decoded(&mut self, code: u32, at: usize, key: bool) -> Result<Within, JsonError> {
        let decoded = char::from_u32(code).ok_or_else(|| self.fault(What::Surrogate, at))?;
        if key {
            let mut buffer = [0; 4];
            self.key_bytes(decoded.encode_utf8(&mut buffer).as_bytes(), at)?;
        }
        Ok(Within::Text)
    }

    fn key_bytes(&mut self, bytes: &[u8], at: usize) -> Result<(), JsonError> {
        let start = self.keys.last().map_or(0, |k| k.start);
        if self.arena.len() - start + bytes.len() > self.limits.key_bytes_max {
            return Err(self.fault(What::KeyLength(self.limits.key_bytes_max), at));
        }
        self.arena.extend_from_slice(bytes);
        Ok(())
    }

    /// A key is complete: it must be new in its object. Compared unescaped, so that `"a"` and `"\u0061"` are one.
    fn key_ended(&mut self, at: usize) -> Result<(), JsonError> {
        let from = self.stack.last().map_or(0, |f| f.keys_from);
        let Some((last, earlier)) = self.keys[from..].split_last() else { return Ok(()) };
        if earlier.len() >= self.limits.members_max {
            return Err(self.fault(What::Members(self.limits.members_max), at));
        }
        let bytes = &self.arena[last.start..];
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let twice = earlier.iter().any(|k| k.hash == hash && self.arena[k.start..k.end] == *bytes);
        if twice {
            return Err(self.fault(What::DuplicateKey, at));
        }
        let end = self.arena.len();
        if let Some(last) = self.keys.last_mut() {
            last.hash = hash;
            last.end = end;
        }
        Ok(())
    }
}
