//! The credential that the FHIR server is shown: none, a fixed one, the caller's own token, or one that Drape fetches from
//! a token endpoint and keeps to itself.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use drape_caller::client_assertion::{AssertionKey, key_set};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};
use zeroize::Zeroizing;

use super::SetupError;
use crate::client::{Client, ClientError, read_bounded};
use crate::clock::Clock;
use crate::config::{self, ClientProof, UpstreamAuth};

/// What stands in `Authorization`.
#[derive(Debug)]
pub(super) enum Credential {
    None,
    CallerToken,
    Fixed(HeaderValue),
    Fetched(Box<Fetched>),
}

/// A token of the client credentials grant (RFC 6749 section 4.4), and how it is got.
#[derive(Debug)]
pub(super) struct Fetched {
    token_url: Uri,
    client_id: String,
    proof: Proof,
    scope: Option<String>,
    held: ArcSwapOption<Held>,
    turn: Mutex<Turn>,
}

/// How the token endpoint knows that it is Drape that asks.
#[derive(Debug)]
enum Proof {
    /// `client_secret_basic`.
    Secret(HeaderValue),
    /// `private_key_jwt`, RFC 7523.
    Assertion { key: Box<AssertionKey>, audience: String },
    /// `tls_client_auth`, RFC 8705: the connection itself.
    Certificate,
}

#[derive(Debug)]
struct Held {
    value: HeaderValue,
    /// From here on whoever comes first asks for another one.
    renew_at: Instant,
    /// From here on it is not shown any more.
    until: Instant,
}

/// What the one who asks must know of those who asked before.
#[derive(Debug, Default)]
struct Turn {
    failed: Option<(Instant, String)>,
    refused: Option<Instant>,
}

/// After an attempt that failed; those who waited for it share its fault.
const PAUSE: Duration = Duration::from_secs(2);
/// A server that refuses a new token too is not asked for ever newer ones.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 64 << 10;
const LIFE_S_MAX: u64 = 3_600;
/// Where the answer does not say how long the token lives.
const LIFE_S_UNTOLD: u64 = 60;

impl Credential {
    /// Reads the files that `auth` names.
    pub(super) fn new(auth: &UpstreamAuth) -> Result<Self, SetupError> {
        Ok(match auth {
            UpstreamAuth::None => Self::None,
            UpstreamAuth::CallerToken => Self::CallerToken,
            UpstreamAuth::Basic { username, password_file } => {
                let pair = Zeroizing::new(format!("{username}:{}", *secret(password_file)?));
                Self::Fixed(basic(&pair, password_file)?)
            }
            UpstreamAuth::Header { value_file } => Self::Fixed(header(&secret(value_file)?, value_file)?),
            UpstreamAuth::ClientCredentials { token_url, client_id, proof, scope } => {
                let proof = match proof {
                    ClientProof::Secret(file) => {
                        let pair = Zeroizing::new(format!("{}:{}", form(client_id), form(&secret(file)?)));
                        Proof::Secret(basic(&pair, file)?)
                    }
                    ClientProof::Assertion(assertion) => Proof::Assertion {
                        key: Box::new(assertion_key(assertion)?),
                        audience: assertion.audience.clone().unwrap_or_else(|| token_url.clone()),
                    },
                    ClientProof::Certificate => Proof::Certificate,
                };
                Self::Fetched(Box::new(Fetched {
                    token_url: token_url.parse().map_err(|_| SetupError::Address(token_url.clone()))?,
                    client_id: client_id.clone(),
                    proof,
                    scope: scope.clone(),
                    held: ArcSwapOption::empty(),
                    turn: Mutex::default(),
                }))
            }
        })
    }

    /// What to show, if anything. Waits for a token where one must be fetched first.
    pub(super) async fn show(
        &self,
        client: &Client,
        caller_token: &str,
        timeout: Duration,
    ) -> Result<Option<HeaderValue>, ClientError> {
        match self {
            Self::None => Ok(None),
            // Drape's own questions, about what the server can do, have no caller.
            Self::CallerToken if caller_token.is_empty() => Ok(None),
            Self::CallerToken => bearer(caller_token).map(Some).ok_or_else(|| {
                ClientError::Unreachable("the caller's token cannot stand in a header".into())
            }),
            Self::Fixed(value) => Ok(Some(value.clone())),
            Self::Fetched(fetched) => fetched.token(client, timeout).await.map(Some),
        }
    }

    /// The server has refused `shown`: another one, where another can be had.
    pub(super) async fn again(
        &self,
        client: &Client,
        shown: &HeaderValue,
        timeout: Duration,
    ) -> Option<HeaderValue> {
        match self {
            Self::None | Self::CallerToken | Self::Fixed(_) => None,
            Self::Fetched(fetched) => fetched.again(client, shown, timeout).await,
        }
    }
}

impl Fetched {
    async fn token(&self, client: &Client, timeout: Duration) -> Result<HeaderValue, ClientError> {
        let now = Instant::now();
        match self.held.load_full() {
            Some(held) if now < held.renew_at => Ok(held.value.clone()),
            // It is still good: one asks for the next, and nobody waits for that but her.
            Some(held) if now < held.until => match self.turn.try_lock() {
                Ok(turn) => Ok(self.fetch_in(turn, client, timeout).await.unwrap_or(held.value.clone())),
                Err(_) => Ok(held.value.clone()),
            },
            _ => {
                let turn = self.wait(timeout).await?;
                // Whoever comes second finds the token that the first brought.
                match self.held.load_full() {
                    Some(held) if Instant::now() < held.renew_at => Ok(held.value.clone()),
                    _ => self.fetch_in(turn, client, timeout).await,
                }
            }
        }
    }

    async fn again(&self, client: &Client, shown: &HeaderValue, timeout: Duration) -> Option<HeaderValue> {
        let mut turn = self.wait(timeout).await.ok()?;
        if let Some(held) = self.held.load_full().filter(|held| held.value != *shown) {
            return Some(held.value.clone());
        }
        if turn.refused.is_some_and(|when| when.elapsed() < REFUSED_PAUSE) {
            return None;
        }
        turn.refused = Some(Instant::now());
        self.fetch_in(turn, client, timeout).await.ok()
    }

    async fn wait(&self, timeout: Duration) -> Result<MutexGuard<'_, Turn>, ClientError> {
        tokio::time::timeout(timeout, self.turn.lock()).await.map_err(|_| ClientError::TimedOut(timeout))
    }

    async fn fetch_in(
        &self,
        mut turn: MutexGuard<'_, Turn>,
        client: &Client,
        timeout: Duration,
    ) -> Result<HeaderValue, ClientError> {
        if let Some((when, fault)) = &turn.failed
            && when.elapsed() < PAUSE
        {
            return Err(ClientError::Unreachable(fault.clone()));
        }
        let fetched = tokio::time::timeout(timeout, self.fetch(client, timeout)).await;
        match fetched.unwrap_or(Err(ClientError::TimedOut(timeout))) {
            Ok(held) => {
                turn.failed = None;
                let value = held.value.clone();
                self.held.store(Some(Arc::new(held)));
                Ok(value)
            }
            Err(error) => {
                turn.failed = Some((Instant::now(), format!("no token for the FHIR server: {error}")));
                Err(error)
            }
        }
    }

    async fn fetch(&self, client: &Client, timeout: Duration) -> Result<Held, ClientError> {
        let unusable =
            |e: &dyn std::fmt::Display| ClientError::Unreachable(format!("cannot ask for a token: {e}"));
        let mut body = "grant_type=client_credentials".to_owned();
        if let Some(scope) = &self.scope {
            body.push_str(&format!("&scope={}", form(scope)));
        }
        let mut builder = Request::post(self.token_url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json");
        match &self.proof {
            Proof::Secret(basic) => builder = builder.header(AUTHORIZATION, basic.clone()),
            Proof::Assertion { key, audience } => {
                let mut id = [0; 16];
                getrandom::fill(&mut id).map_err(|e| unusable(&e))?;
                // The token endpoint looks at the world's clock, whatever clock Drape was given.
                let now = Clock::system().now_ms() / 1_000;
                let assertion = key
                    .sign(&self.client_id, audience, &URL_SAFE_NO_PAD.encode(id), now)
                    .map_err(|e| unusable(&e))?;
                const KIND: &str = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
                body.push_str(&format!("&client_assertion_type={KIND}&client_assertion={assertion}"));
            }
            Proof::Certificate => body.push_str(&format!("&client_id={}", form(&self.client_id))),
        }
        let request = builder.body(Full::new(Bytes::from(body))).map_err(|e| unusable(&e))?;
        let response = client.send(request, timeout).await?;
        let status = response.status();
        let body = Zeroizing::new(read_bounded(response.into_body(), ANSWER_BYTES_MAX).await?.to_vec());
        if status != StatusCode::OK {
            // RFC 6749 section 5.2: a word of a closed list. What else stands there is not repeated.
            let word = serde_json::from_slice::<Problem>(&body).map(|p| p.error).unwrap_or_default();
            let plain = !word.is_empty()
                && word.len() <= 40
                && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            let word = if plain { format!(" `{word}`") } else { String::new() };
            return Err(ClientError::Unreachable(format!("the token endpoint answers {status}{word}")));
        }
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|_| ClientError::Broken("the token endpoint's answer is not a token".into()))?;
        if !answer.token_type.eq_ignore_ascii_case("bearer") {
            return Err(ClientError::Broken("the token endpoint gave no bearer token".into()));
        }
        let value = bearer(&Zeroizing::new(answer.access_token))
            .ok_or_else(|| ClientError::Broken("the token endpoint's token is malformed".into()))?;
        let told = answer.expires_in.and_then(|v| v.as_u64().or_else(|| v.as_str()?.parse().ok()));
        let seconds = told.unwrap_or(LIFE_S_UNTOLD).min(LIFE_S_MAX);
        // It must not run out on the way.
        let margin = Duration::from_secs(10).min(Duration::from_secs(seconds) / 4);
        let (now, life) = (Instant::now(), Duration::from_secs(seconds) - margin);
        Ok(Held { value, renew_at: now + life * 3 / 4, until: now + life })
    }
}

#[derive(serde::Deserialize)]
struct Answer {
    access_token: String,
    token_type: String,
    // A number, but some servers put it in quotes.
    expires_in: Option<Value>,
}

#[derive(serde::Deserialize)]
struct Problem {
    error: String,
}

/// The public keys of all assertions that go to this server, as a JWK set; `None` where there are none.
pub(super) fn public_keys(config: &config::Upstream) -> Result<Option<Value>, SetupError> {
    let all = std::iter::once(&config.auth).chain(config.identities.iter().map(|(_, auth)| auth));
    let mut keys = Vec::new();
    for auth in all {
        if let UpstreamAuth::ClientCredentials { proof: ClientProof::Assertion(assertion), .. } = auth {
            keys.push(assertion_key(assertion)?);
        }
    }
    Ok((!keys.is_empty()).then(|| key_set(keys.iter().map(AssertionKey::public))))
}

fn assertion_key(config: &config::Assertion) -> Result<AssertionKey, SetupError> {
    let file = config.key_file.display().to_string();
    let pem = Zeroizing::new(std::fs::read(&config.key_file).map_err(|e| SetupError::File(file.clone(), e))?);
    AssertionKey::parse(&pem, config.algorithm, config.key_id.as_deref(), config.jku.as_deref())
        .map_err(|e| SetupError::Key(file, e.to_string()))
}

fn secret(path: &Path) -> Result<Zeroizing<String>, SetupError> {
    let text = std::fs::read_to_string(path).map_err(|e| SetupError::File(path.display().to_string(), e))?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn header(value: &str, path: &Path) -> Result<HeaderValue, SetupError> {
    let mut value =
        HeaderValue::from_str(value).map_err(|_| SetupError::Credential(path.display().to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn basic(pair: &str, path: &Path) -> Result<HeaderValue, SetupError> {
    header(&Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes()))), path)
}

/// Nothing where the token is empty or holds what RFC 6750 section 2.1 does not allow.
fn bearer(token: &str) -> Option<HeaderValue> {
    let plain = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
    let mut value =
        HeaderValue::from_str(&Zeroizing::new(format!("Bearer {token}"))).ok().filter(|_| plain)?;
    value.set_sensitive(true);
    Some(value)
}

/// `application/x-www-form-urlencoded` for one value.
fn form(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
