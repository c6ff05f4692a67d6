//! Sessions of officers: a random cookie stands for a token that stays here, so that nothing of it lies in a browser.

use std::collections::HashMap;

use http::{HeaderMap, HeaderValue, header};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

const COOKIE: &str = "drape-officer";
/// More officers than this do not look at one time; the session that ends first makes room.
const SESSIONS_MAX: usize = 256;

/// The open sessions, by the hash of their cookie.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    held: Mutex<HashMap<[u8; 32], Session>>,
}

struct Session {
    token: Zeroizing<String>,
    until_ms: u64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("until_ms", &self.until_ms).finish_non_exhaustive()
    }
}

impl Sessions {
    /// Opens a session for a proved token; it ends with the token. `None` where no randomness can be had.
    pub(crate) fn begin(&self, token: Zeroizing<String>, until_ms: u64, secure: bool) -> Option<HeaderValue> {
        let mut id = [0_u8; 32];
        getrandom::fill(&mut id).ok()?;
        let id: String = id.iter().map(|b| format!("{b:02x}")).collect();
        let mut held = self.held.lock();
        if held.len() >= SESSIONS_MAX
            && let Some(first) = held.iter().min_by_key(|(_, s)| s.until_ms).map(|(k, _)| *k)
        {
            held.remove(&first);
        }
        held.insert(key(&id), Session { token, until_ms });
        let secure = if secure { "; Secure" } else { "" };
        HeaderValue::from_str(&format!("{COOKIE}={id}; Path=/officer; HttpOnly; SameSite=Strict{secure}"))
            .ok()
    }

    /// The token of the request's session, while it lives.
    pub(crate) fn find(&self, headers: &HeaderMap, now_ms: u64) -> Option<Zeroizing<String>> {
        let key = key(&cookie(headers)?);
        let mut held = self.held.lock();
        let session = held.get(&key)?;
        if now_ms < session.until_ms {
            return Some(session.token.clone());
        }
        held.remove(&key);
        None
    }

    /// What forms of the request's session carry: nobody else's page can know it. `None` where there is no session.
    pub(crate) fn form_key(&self, headers: &HeaderMap) -> Option<String> {
        let id = cookie(headers)?;
        self.held.lock().contains_key(&key(&id)).then(|| {
            let digest = Sha256::new().chain_update("drape officer form").chain_update([0]).chain_update(id);
            digest.finalize().iter().map(|b| format!("{b:02x}")).collect()
        })
    }

    /// Ends the request's session.
    pub(crate) fn end(&self, headers: &HeaderMap) {
        if let Some(id) = cookie(headers) {
            self.held.lock().remove(&key(&id));
        }
    }
}

/// Takes the cookie back.
pub(crate) fn expired() -> HeaderValue {
    HeaderValue::from_static("drape-officer=; Path=/officer; HttpOnly; SameSite=Strict; Max-Age=0")
}

/// Looked up by hash, so that the time a look-up takes says nothing about other cookies.
fn key(id: &str) -> [u8; 32] {
    Sha256::digest(id.as_bytes()).into()
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let mut pairs =
        headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('=').map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(cookie: &HeaderValue) -> HeaderMap {
        let pair = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_str(&format!("other=1; {pair}")).unwrap());
        headers
    }

    #[test]
    fn a_session_ends_with_its_token_or_by_hand() {
        let sessions = Sessions::default();
        let cookie = sessions.begin(Zeroizing::new("t".into()), 1_000, true).unwrap();
        assert!(cookie.to_str().unwrap().contains("HttpOnly; SameSite=Strict; Secure"));
        assert!(!cookie.to_str().unwrap().contains("=t;"));
        assert_eq!(sessions.find(&with(&cookie), 999).unwrap().as_str(), "t");
        assert!(sessions.find(&with(&cookie), 1_000).is_none());
        let cookie = sessions.begin(Zeroizing::new("t".into()), 1_000, false).unwrap();
        sessions.end(&with(&cookie));
        assert!(sessions.find(&with(&cookie), 0).is_none());
    }

    #[test]
    fn the_number_of_sessions_is_bounded() {
        let sessions = Sessions::default();
        for _ in 0..SESSIONS_MAX + 10 {
            sessions.begin(Zeroizing::new("t".into()), 1_000, true).unwrap();
        }
        assert_eq!(sessions.held.lock().len(), SESSIONS_MAX);
    }
}
