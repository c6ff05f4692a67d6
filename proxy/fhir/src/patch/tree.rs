//! A JSON value that can be changed and keeps the digits of its numbers and the order of its members.

use super::{PatchFault, misread};
use crate::json::{Kind, Limits, Token, Tokens, unescape, write_string};

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    Object(Vec<(String, Tree)>),
    Array(Vec<Tree>),
    String(String),
    /// A number, `true`, `false` or `null`, as it was written.
    Word(String),
}

impl Tree {
    /// Reads a whole text, strictly.
    pub(super) fn read(text: &[u8], depth_max: usize) -> Result<Self, PatchFault> {
        let mut tokens = Tokens::new(text, Limits { depth_max, ..Limits::default() });
        let first = next(&mut tokens)?;
        let tree = Self::value(&mut tokens, &first)?;
        match tokens.next_token() {
            Ok(None) => Ok(tree),
            Ok(Some(_)) => Err(misread("something follows the body's end")),
            Err(error) => Err(misread(format!("the body cannot be read: {error}"))),
        }
    }

    /// `depth_max` bounds the recursion: the tokenizer refuses what nests deeper.
    fn value(tokens: &mut Tokens<'_>, token: &Token) -> Result<Self, PatchFault> {
        Ok(match token.kind {
            Kind::ObjectStart => {
                let mut members = Vec::new();
                loop {
                    let key = next(tokens)?;
                    if key.kind == Kind::ObjectEnd {
                        break Self::Object(members);
                    }
                    let name = tokens.key().to_owned();
                    let first = next(tokens)?;
                    members.push((name, Self::value(tokens, &first)?));
                }
            }
            Kind::ArrayStart => {
                let mut items = Vec::new();
                loop {
                    let first = next(tokens)?;
                    if first.kind == Kind::ArrayEnd {
                        break Self::Array(items);
                    }
                    items.push(Self::value(tokens, &first)?);
                }
            }
            Kind::String => Self::String(unescape(tokens.raw(token)).into_owned()),
            _ => Self::Word(String::from_utf8_lossy(tokens.raw(token)).into_owned()),
        })
    }

    pub(super) fn string(text: &str) -> Self {
        Self::String(text.to_owned())
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(n, _)| n == name).map(|(_, value)| value),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Self> {
        match self {
            Self::Object(members) => members.iter_mut().find(|(n, _)| n == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Puts a member in the place of the one of that name, or at the end.
    pub(super) fn set(&mut self, name: &str, value: Self) {
        if let Some(old) = self.get_mut(name) {
            *old = value;
        } else if let Self::Object(members) = self {
            members.push((name.to_owned(), value));
        }
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Self> {
        let Self::Object(members) = self else { return None };
        let place = members.iter().position(|(n, _)| n == name)?;
        Some(members.remove(place).1)
    }

    pub(super) fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    /// Equality as RFC 6902 section 4.6 has it: members in any order, numbers by their value.
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Object(a), Self::Object(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(name, value)| other.get(name).is_some_and(|o| value.equals(o)))
            }
            (Self::Array(a), Self::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equals(b))
            }
            (Self::Word(a), Self::Word(b)) => {
                let number = |text: &str| text.parse::<f64>().ok();
                a == b || number(a).is_some_and(|n| number(b) == Some(n))
            }
            _ => self == other,
        }
    }

    /// About how many bytes it takes as JSON.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Object(members) => members.iter().map(|(name, value)| name.len() + 4 + value.bytes()).sum(),
            Self::Array(items) => items.iter().map(|item| item.bytes() + 1).sum(),
            Self::String(text) | Self::Word(text) => text.len() + 2,
        }
    }

    pub(super) fn depth(&self) -> usize {
        match self {
            Self::Object(members) => 1 + members.iter().map(|(_, v)| v.depth()).max().unwrap_or_default(),
            Self::Array(items) => 1 + items.iter().map(Self::depth).max().unwrap_or_default(),
            _ => 0,
        }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes());
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Object(members) => {
                out.push(b'{');
                for (place, (name, value)) in members.iter().enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    write_string(name, out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
            Self::Array(items) => {
                out.push(b'[');
                for (place, item) in items.iter().enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::String(text) => write_string(text, out),
            Self::Word(word) => out.extend_from_slice(word.as_bytes()),
        }
    }
}

fn next(tokens: &mut Tokens<'_>) -> Result<Token, PatchFault> {
    match tokens.next_token() {
        Ok(Some(token)) => Ok(token),
        Ok(None) => Err(misread("the body is empty")),
        Err(error) => Err(misread(format!("the body cannot be read: {error}"))),
    }
}
