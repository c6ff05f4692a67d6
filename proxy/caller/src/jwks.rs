//! An issuer's public keys (RFC 7517), of which only signature keys of sufficient strength are taken.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use crate::fault::TokenFault;
use crate::strict;
use crate::token::Algorithm;

/// The usable keys of one issuer.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

/// More keys than any issuer publishes.
const KEYS_MAX: usize = 100;

impl KeySet {
    /// Reads a JWK set. Keys of unknown kinds, for encryption, or too weak (RSA under 2048 bits) are passed over; two
    /// usable keys with one `kid` make the whole set unusable, since nobody could say which was meant.
    pub fn parse(bytes: &[u8]) -> Result<Self, TokenFault> {
        let document = strict::object(bytes)?;
        let Some(Value::Array(items)) = document.get("keys") else {
            return Err(TokenFault::Malformed("the key set has no list `keys`"));
        };
        if items.len() > KEYS_MAX {
            return Err(TokenFault::Malformed("the key set has too many keys"));
        }
        let mut set = Self::default();
        for item in items {
            let Value::Object(item) = item else { continue };
            let Some(key) = usable(item) else { continue };
            if key.id.is_some() && set.keys.iter().any(|k| k.id == key.id) {
                return Err(TokenFault::Malformed("the key set names a key twice"));
            }
            set.keys.push(key);
        }
        Ok(set)
    }

    /// The key for a token. Without a `kid` exactly one key must fit the algorithm.
    pub fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&DecodingKey> {
        let mut fitting = self.keys.iter().filter(|k| k.algorithms.contains(&algorithm));
        match id {
            Some(id) => fitting.find(|k| k.id.as_deref() == Some(id)).map(|k| &k.key),
            None => {
                let only = fitting.next()?;
                fitting.next().is_none().then_some(&only.key)
            }
        }
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none can.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// How long a big-endian number is without its leading zeros. Exponents below 65537 have been the way into many a lax
/// verifier, and no issuer needs them.
fn bits(number: &[u8]) -> usize {
    let significant = number.iter().position(|b| *b != 0).map_or(&[][..], |first| &number[first..]);
    match significant.first() {
        None => 0,
        Some(first) => significant.len() * 8 - first.leading_zeros() as usize,
    }
}

fn usable(item: &Map<String, Value>) -> Option<Key> {
    let text = |name: &str| item.get(name).and_then(Value::as_str);
    // A member of another shape than the standard's says something that nobody can follow.
    if ["use", "alg", "kid"].iter().any(|name| item.get(*name).is_some_and(|v| !v.is_string())) {
        return None;
    }
    // A private key that is published proves nothing about who signs with it.
    if item.contains_key("d") || text("use").is_some_and(|u| u != "sig") {
        return None;
    }
    match item.get("key_ops") {
        None => {}
        Some(Value::Array(operations)) if operations.iter().any(|o| o == "verify") => {}
        Some(_) => return None,
    }
    let (mut algorithms, key) = match text("kty")? {
        "RSA" => {
            let modulus = URL_SAFE_NO_PAD.decode(text("n")?).ok()?;
            let exponent = URL_SAFE_NO_PAD.decode(text("e")?).ok()?;
            if bits(&modulus) < 2_048 || bits(&exponent) < 17 {
                return None;
            }
            let key = DecodingKey::from_rsa_components(text("n")?, text("e")?).ok()?;
            (vec![Algorithm::Rs256, Algorithm::Rs384], key)
        }
        "EC" => {
            let algorithm = match text("crv")? {
                "P-256" => Algorithm::Es256,
                "P-384" => Algorithm::Es384,
                _ => return None,
            };
            (vec![algorithm], DecodingKey::from_ec_components(text("x")?, text("y")?).ok()?)
        }
        _ => return None,
    };
    if let Some(name) = text("alg") {
        algorithms.retain(|a| a.name() == name);
    }
    if algorithms.is_empty() {
        return None;
    }
    Some(Key { id: text("kid").map(str::to_owned), algorithms, key })
}
