//! Tokens that were proved a moment ago, so that a busy client does not cost a signature check a request.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Map, Value};

/// Proved tokens by their SHA-256. Nothing of the token itself is kept.
#[derive(Debug, Default)]
pub struct Tokens {
    held: Mutex<HashMap<[u8; 32], Held>>,
}

#[derive(Debug)]
struct Held {
    claims: Arc<Map<String, Value>>,
    issuer: String,
    until_ms: u64,
}

/// How long a proof stands; a revoked key stops being honoured within this time.
const LIFE_MS: u64 = 60_000;
const HELD_MAX: usize = 10_000;

impl Tokens {
    /// What was proved of that token.
    pub fn find(&self, digest: &[u8; 32], now_ms: u64) -> Option<(Arc<Map<String, Value>>, String)> {
        let mut held = self.held.lock();
        let entry = held.get(digest)?;
        if now_ms < entry.until_ms {
            return Some((Arc::clone(&entry.claims), entry.issuer.clone()));
        }
        held.remove(digest);
        None
    }

    /// Keeps a proof until it is a minute old or the token expires.
    /// `life_ms`: where the issuer was asked, how long its answer may be kept instead.
    pub fn keep(
        &self,
        digest: [u8; 32],
        claims: &Arc<Map<String, Value>>,
        issuer: &str,
        now_ms: u64,
        life_ms: Option<u64>,
    ) {
        let expiry_ms = claims.get("exp").and_then(Value::as_f64).map_or(0.0, |s| s * 1_000.0);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "casts from floats saturate"
        )]
        let until_ms = (now_ms + life_ms.unwrap_or(LIFE_MS)).min(expiry_ms as u64);
        if until_ms <= now_ms {
            return;
        }
        let mut held = self.held.lock();
        if held.len() >= HELD_MAX {
            held.retain(|_, entry| now_ms < entry.until_ms);
        }
        if held.len() < HELD_MAX {
            held.insert(digest, Held { claims: Arc::clone(claims), issuer: issuer.to_owned(), until_ms });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_stands_for_a_minute_and_never_beyond_the_tokens_own_life() {
        let tokens = Tokens::default();
        let claims = |exp: u64| Arc::new(serde_json::json!({ "exp": exp }).as_object().unwrap().clone());
        tokens.keep([1; 32], &claims(1_000), "i", 0, None);
        assert!(tokens.find(&[1; 32], 59_999).is_some());
        assert!(tokens.find(&[1; 32], 60_000).is_none());
        tokens.keep([2; 32], &claims(30), "i", 0, None);
        assert!(tokens.find(&[2; 32], 29_999).is_some());
        assert!(tokens.find(&[2; 32], 30_000).is_none());
        tokens.keep([3; 32], &claims(1_000), "i", 0, Some(0));
        assert!(tokens.find(&[3; 32], 0).is_none());
    }
}
