//! Asks an issuer about tokens that say nothing by themselves (RFC 7662): each at most once at a time, answers kept for a
//! short while and never longer than the token.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use drape_caller::client_assertion::AssertionKey;
use drape_caller::{TokenFault, opaque};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Uri};
use http_body_util::Full;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::client::Client;
use crate::clock::Clock;
use crate::config::callers::{ClientAuth, Introspection};
use crate::issuers::Rejected;

/// What is known of a token.
type Answer = Result<Arc<Map<String, Value>>, Rejected>;
type Asking = Shared<BoxFuture<'static, Answer>>;

/// One issuer's endpoint.
#[derive(Debug)]
pub struct Introspector {
    asker: Arc<Asker>,
    config: Introspection,
    clock: Clock,
    held: Mutex<Held>,
}

/// Questions under way, and the issuer's noes; its yeses are kept with all proved tokens.
#[derive(Default)]
struct Held {
    asking: HashMap<[u8; 32], Asking>,
    refused: HashMap<[u8; 32], u64>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("asking", &self.asking.len()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Asker {
    client: Client,
    url: Uri,
    proof: Proof,
    rules: Rules,
    clock: Clock,
    /// So that strangers who invent tokens cannot turn Drape against the issuer.
    room: Semaphore,
}

/// What an answer must satisfy.
#[derive(Debug)]
struct Rules {
    issuer: String,
    audiences: Vec<String>,
    skew: u64,
}

#[derive(Debug)]
enum Proof {
    Basic(HeaderValue),
    Assertion { key: Box<AssertionKey>, client_id: String, audience: String },
}

/// The value of `client_assertion_type` (RFC 7523).
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// Questions at one time; others wait for a place, and no longer than for an answer.
const ASKED_MAX: usize = 32;
const REFUSED_MAX: usize = 10_000;

impl Introspector {
    /// Reads the files of the credential.
    pub fn new(
        config: &Introspection,
        issuer: &crate::config::Issuer,
        client: Client,
        clock: Clock,
    ) -> Result<Self, String> {
        let url = config.url.parse().map_err(|_| format!("`{}` is not a usable address", config.url))?;
        let read = |file: &std::path::Path| {
            std::fs::read(file)
                .map(Zeroizing::new)
                .map_err(|e| format!("cannot read `{}`: {e}", file.display()))
        };
        let proof = match &config.auth {
            ClientAuth::Basic { client_id, client_secret_file } => {
                let bytes = read(client_secret_file)?;
                let unusable = || format!("`{}` does not hold a usable secret", client_secret_file.display());
                let secret =
                    std::str::from_utf8(&bytes).map_err(|_| unusable())?.trim_end_matches(['\r', '\n']);
                let pair = Zeroizing::new(format!("{}:{}", form(client_id), form(secret)));
                let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair.as_bytes())))
                    .map_err(|_| unusable())?;
                value.set_sensitive(true);
                Proof::Basic(value)
            }
            ClientAuth::PrivateKeyJwt { client_id, key_file, key_id, algorithm } => {
                let key = AssertionKey::parse(&read(key_file)?, *algorithm, key_id.as_deref(), None)
                    .map_err(|e| format!("cannot use `{}`: {e}", key_file.display()))?;
                let (client_id, audience) = (client_id.clone(), config.url.clone());
                Proof::Assertion { key: Box::new(key), client_id, audience }
            }
        };
        let rules = Rules {
            issuer: issuer.issuer.clone(),
            audiences: issuer.audiences.clone(),
            skew: issuer.clock_skew.as_secs(),
        };
        let room = Semaphore::new(ASKED_MAX);
        let asker = Arc::new(Asker { client, url, proof, rules, clock: clock.clone(), room });
        Ok(Self { asker, config: config.clone(), clock, held: Mutex::default() })
    }

    /// How long an answer stands, in milliseconds.
    pub fn cache_ms(&self) -> u64 {
        u64::try_from(self.config.cache.as_millis()).unwrap_or(0)
    }

    /// Whether a token may be this issuer's, by how it begins.
    pub fn prefix(&self) -> Option<&str> {
        self.config.token_prefix.as_deref()
    }

    /// What the issuer says of a token. Whoever asks about one that is being asked about waits for that answer.
    pub async fn ask(&self, token: &str) -> Answer {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let now_ms = self.clock.now_ms();
        let asking = {
            let mut held = self.held.lock();
            if held.refused.get(&digest).is_some_and(|until| now_ms < *until) {
                return Err(Rejected::Token(TokenFault::Inactive));
            }
            let begin = || {
                let (asker, token) = (Arc::clone(&self.asker), Zeroizing::new(token.to_owned()));
                async move { asker.ask(&token).await }.boxed().shared()
            };
            // Questions that nobody waits for any more are still there.
            if held.asking.len() >= REFUSED_MAX {
                held.asking.clear();
            }
            held.asking.entry(digest).or_insert_with(begin).clone()
        };
        let answer = asking.clone().await;
        let mut held = self.held.lock();
        // Only the question that was asked; another may have been begun since.
        if held.asking.get(&digest).is_some_and(|other| other.ptr_eq(&asking)) {
            held.asking.remove(&digest);
        }
        if matches!(answer, Err(Rejected::Token(_))) && self.cache_ms() > 0 {
            if held.refused.len() >= REFUSED_MAX {
                held.refused.clear();
            }
            held.refused.insert(digest, self.clock.now_ms().saturating_add(self.cache_ms()));
        }
        answer
    }
}

impl Asker {
    async fn ask(&self, token: &str) -> Answer {
        let asked = async {
            let _place = self.room.acquire().await.map_err(|e| e.to_string())?;
            let request = self.request(token)?;
            self.client.fetch_bounded(request, ANSWER_BYTES_MAX, TIMEOUT).await.map_err(|e| e.to_string())
        };
        let body = tokio::time::timeout(TIMEOUT, asked)
            .await
            .unwrap_or_else(|_| Err("the issuer did not answer in time".into()))
            .map_err(|e| Rejected::Keys(format!("the issuer cannot be asked about tokens: {e}")))?;
        let rules = drape_caller::Rules {
            issuer: &self.rules.issuer,
            audiences: &self.rules.audiences,
            algorithms: &[],
            skew: self.rules.skew,
        };
        match opaque::answered(&body, &rules, self.clock.now_s()) {
            Ok(claims) => Ok(Arc::new(claims)),
            // Not the token's fault: whatever answers there is no such endpoint.
            Err(TokenFault::Malformed(_)) => {
                Err(Rejected::Keys("the issuer's answer about a token is not JSON".into()))
            }
            Err(fault) => Err(Rejected::Token(fault)),
        }
    }

    fn request(&self, token: &str) -> Result<Request<Full<Bytes>>, String> {
        let mut body = format!("token={}&token_type_hint=access_token", form(token));
        let mut request = Request::post(self.url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json");
        match &self.proof {
            Proof::Basic(value) => request = request.header(AUTHORIZATION, value.clone()),
            Proof::Assertion { key, client_id, audience } => {
                let mut id = [0; 16];
                getrandom::fill(&mut id).map_err(|e| e.to_string())?;
                let id: String = id.iter().map(|b| format!("{b:02x}")).collect();
                let signed =
                    key.sign(client_id, audience, &id, self.clock.now_s()).map_err(|e| e.to_string())?;
                body.push_str(&format!(
                    "&client_id={}&client_assertion_type={}&client_assertion={signed}",
                    form(client_id),
                    form(ASSERTION)
                ));
            }
        }
        request.body(Full::new(Bytes::from(body))).map_err(|e| e.to_string())
    }
}

/// `application/x-www-form-urlencoded` for one value.
fn form(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
