//! A token that the end of a piece has cut: what was read of it, without its bytes.

use super::{JsonError, Kind};

/// Where in a token the reading stopped.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lexeme {
    /// Between tokens.
    None,
    String {
        start: u64,
        key: bool,
        escaped: bool,
        within: Within,
    },
    Number {
        start: u64,
        state: Digits,
    },
    Literal {
        start: u64,
        text: &'static [u8],
        matched: usize,
        kind: Kind,
    },
    /// A fault was found. It stays: no later byte can make the document whole again.
    Failed(JsonError),
}

/// Where in a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    Text,
    Escape,
    Unicode {
        digits: u8,
        code: u32,
    },
    /// A high surrogate was read; a backslash must follow,
    LowBackslash {
        high: u32,
    },
    /// then a `u`,
    LowU {
        high: u32,
    },
    /// then four digits.
    LowUnicode {
        high: u32,
        digits: u8,
        code: u32,
    },
}

/// Where in a number (RFC 8259 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digits {
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
    pub(super) fn next(self, byte: u8) -> Option<Self> {
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

    pub(super) fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Whole | Self::Fraction | Self::Exponent)
    }
}
