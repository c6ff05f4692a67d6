//! One held resource or entry as a tree over its bytes, since XML wants an order that JSON does not have.

use std::borrow::Cow;

use super::XmlError;
use crate::json::{Kind, Limits, Token, Tokens, What, unescape};

/// A JSON value; plain values keep their own text.
#[derive(Debug)]
pub(super) enum Node<'a> {
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
    Array(Vec<Node<'a>>),
    /// The characters within the quotes.
    Text(Cow<'a, str>),
    /// A number, `true` or `false`, to the letter.
    Bare(&'a str),
    Null,
}

impl<'a> Node<'a> {
    /// The tree of a whole text. Recursion is as deep as `depth_max`.
    pub(super) fn read(text: &'a [u8], depth_max: usize) -> Result<Self, XmlError> {
        let mut tokens = Tokens::new(text, Limits { depth_max, ..Limits::default() });
        let first = next(&mut tokens, text)?;
        let node = value(&mut tokens, text, &first)?;
        match tokens.next_token()? {
            None => Ok(node),
            Some(token) => Err(fault(What::Trailing, token.start)),
        }
    }

    /// The members, where it is an object.
    pub(super) fn members(&self) -> Option<&[(Cow<'a, str>, Self)]> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The characters of a plain value.
    pub(super) fn plain(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bare(text) => Some(text),
            Self::Object(_) | Self::Array(_) | Self::Null => None,
        }
    }
}

fn fault(what: What, at: u64) -> XmlError {
    XmlError::Json(crate::json::JsonError { what, at })
}

fn next(tokens: &mut Tokens<'_>, text: &[u8]) -> Result<Token, XmlError> {
    tokens.next_token()?.ok_or_else(|| fault(What::Truncated, text.len() as u64))
}

fn value<'a>(tokens: &mut Tokens<'a>, text: &'a [u8], first: &Token) -> Result<Node<'a>, XmlError> {
    let raw = tokens.raw(first);
    Ok(match first.kind {
        Kind::String => Node::Text(unescape(raw)),
        // The tokenizer has checked the letters of a number.
        Kind::Number | Kind::True | Kind::False => Node::Bare(std::str::from_utf8(raw).unwrap_or_default()),
        Kind::Null => Node::Null,
        Kind::ArrayStart => {
            let mut items = Vec::new();
            loop {
                let token = next(tokens, text)?;
                if token.kind == Kind::ArrayEnd {
                    break Node::Array(items);
                }
                items.push(value(tokens, text, &token)?);
            }
        }
        Kind::ObjectStart => {
            let mut members = Vec::new();
            loop {
                let token = next(tokens, text)?;
                if token.kind == Kind::ObjectEnd {
                    break Node::Object(members);
                }
                let name = unescape(tokens.raw(&token));
                let first = next(tokens, text)?;
                members.push((name, value(tokens, text, &first)?));
            }
        }
        Kind::Key | Kind::ObjectEnd | Kind::ArrayEnd => return Err(fault(What::Truncated, first.start)),
    })
}
