//! Remembers every FHIR body that Drape answers with, so that a judge who is not ours can look at all of them.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, OnceLock, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::http::Reply;

/// One body.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The subject of the token, or `nobody`.
    pub who: String,
    /// Method and URL.
    pub asked: String,
    /// The body as it came.
    pub body: Vec<u8>,
}

struct Recorder {
    base: String,
    known: HashSet<u64>,
    seen: Vec<Seen>,
    bytes: usize,
}

static RECORDER: OnceLock<Mutex<Recorder>> = OnceLock::new();

/// Beyond that nothing more is remembered, and `take` says so.
const BYTES_MAX: usize = 512 << 20;

/// From now on answers under `base` are remembered.
pub fn start(base: &str) {
    let recorder = Recorder { base: base.to_owned(), known: HashSet::new(), seen: Vec::new(), bytes: 0 };
    // A second start would be another suite in the same process: the first goes on.
    let _ = RECORDER.set(Mutex::new(recorder));
}

/// Takes note of an answer, if it is a whole FHIR body that was not seen before.
pub(crate) fn saw(method: &str, url: &str, headers: &[(String, String)], reply: &Reply) {
    let Some(recorder) = RECORDER.get() else { return };
    let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
    let media = reply.header("content-type").unwrap_or_default();
    if !url.starts_with(&recorder.base) || !reply.whole || !media.starts_with("application/fhir+json") {
        return;
    }
    let who = subject(headers).unwrap_or_else(|| "nobody".to_owned());
    let mut hash = DefaultHasher::new();
    (&who, &reply.body).hash(&mut hash);
    if recorder.bytes > BYTES_MAX || reply.body.is_empty() || !recorder.known.insert(hash.finish()) {
        return;
    }
    recorder.bytes += reply.body.len();
    recorder.seen.push(Seen { who, asked: format!("{method} {url}"), body: reply.body.clone() });
}

/// All bodies so far, each once for each who saw it; and whether there was room for all of them.
pub fn take() -> (Vec<Seen>, bool) {
    let Some(recorder) = RECORDER.get() else { return (Vec::new(), true) };
    let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
    (std::mem::take(&mut recorder.seen), recorder.bytes <= BYTES_MAX)
}

/// The subject that a bearer token names; nothing is proved here.
fn subject(headers: &[(String, String)]) -> Option<String> {
    let (_, value) = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization"))?;
    let claims = URL_SAFE_NO_PAD.decode(value.strip_prefix("Bearer ")?.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    claims["sub"].as_str().map(str::to_owned)
}
