//! The keys of the configured issuers: fetched when first needed, kept, renewed by one request at a time.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use drape_caller::{Algorithm, ClaimNames, KeySet, Peek, TokenFault, opaque};
use http::Uri;
use serde_json::{Map, Value};
use tokio::sync::{Mutex, MutexGuard};

use crate::client::{Client, ClientError};
use crate::clock::Clock;
use crate::config;
use crate::config::callers::TokenKinds;
use crate::introspect::Introspector;

/// All issuers of one tenant.
#[derive(Debug)]
pub struct Issuers {
    list: Vec<Issuer>,
}

/// One issuer with its rules and keys.
#[derive(Debug)]
pub struct Issuer {
    config: config::Issuer,
    /// Which claim says what.
    pub names: ClaimNames,
    algorithms: Vec<Algorithm>,
    client: Client,
    clock: Clock,
    keys: ArcSwapOption<Held>,
    turn: Mutex<Turn>,
    introspector: Option<Introspector>,
}

#[derive(Debug)]
struct Held {
    keys: KeySet,
    fetched_ms: u64,
}

/// When the keys were last asked for, whether or not they came.
#[derive(Debug, Default)]
struct Turn {
    asked_ms: Option<u64>,
}

/// Why a token is not accepted.
#[derive(Clone, Debug)]
pub enum Rejected {
    /// The token's fault.
    Token(TokenFault),
    /// The issuer's keys cannot be had, or it cannot be asked; typically it is down.
    Keys(String),
}

/// Keys older than this are renewed: a key that its issuer takes back counts for no longer than this and the life of a
/// proof (`tokens.rs`).
const FRESH_MS: u64 = 300_000;
/// Keys older than this are not used any more, even while the issuer is down.
const STALE_MS: u64 = 24 * 3_600_000;
/// Between two fetches, so that invented `kid`s cannot turn Drape against its issuer.
const PAUSE_MS: u64 = 10_000;
const DOCUMENT_BYTES_MAX: usize = 1 << 20;
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

impl Issuers {
    /// Nothing is fetched yet.
    pub fn new(
        configs: &[config::Issuer],
        connect_timeout: Duration,
        clock: &Clock,
    ) -> Result<Self, ClientError> {
        let list = configs
            .iter()
            .map(|c| Issuer::new(c, connect_timeout, clock.clone()))
            .collect::<Result<_, _>>()?;
        Ok(Self { list })
    }

    /// Fetches what can be fetched, so that the first caller need not wait. Failures are told, not fatal: the issuer
    /// may come up later.
    pub async fn prefetch(&self) {
        for issuer in self.list.iter().filter(|i| i.config.tokens != TokenKinds::Opaque) {
            if let Err(error) = issuer.renew(None).await {
                tracing::warn!(issuer = issuer.config.issuer, error, "cannot fetch the issuer's keys yet");
            }
        }
    }

    /// Where no keys could be fetched: those that `before`, made from the same configuration, holds.
    pub(crate) fn inherit(&self, before: &Self) {
        for (now, before) in self.list.iter().zip(&before.list) {
            if now.keys.load().is_none() {
                now.keys.store(before.keys.load_full());
            }
        }
    }

    /// The issuer that signs `iss` so.
    pub fn find(&self, issuer: &str) -> Option<&Issuer> {
        self.list.iter().find(|i| i.config.issuer == issuer)
    }

    /// The first one; discovery documents name it.
    pub fn first(&self) -> Option<&Issuer> {
        self.list.first()
    }

    /// Proves a token: its claims and the issuer that vouches. A token that names its issuer is shown to nobody else; one
    /// that names none is shown to issuers that take such tokens, and by its prefix to one of them.
    pub async fn verify(&self, token: &str, bytes_max: usize) -> Result<(Arc<Claims>, &Issuer), Rejected> {
        if token.len() > bytes_max {
            return Err(Rejected::Token(TokenFault::Oversize(bytes_max)));
        }
        let takes_opaque = self.list.iter().any(|i| i.introspector.is_some());
        if !opaque::is_jwt(token) && takes_opaque {
            return self.ask(token).await;
        }
        if takes_opaque
            && let Ok(named) = opaque::named_issuer(token)
            && let Some(issuer) = self.find(&named)
            && issuer.config.tokens == TokenKinds::Opaque
        {
            let introspector = issuer.introspector.as_ref().ok_or(Rejected::Token(TokenFault::Issuer))?;
            return introspector.ask(token).await.map(|claims| (claims, issuer));
        }
        let peek = Peek::read(token, bytes_max).map_err(Rejected::Token)?;
        let issuer = self.find(&peek.issuer).ok_or(Rejected::Token(TokenFault::Issuer))?;
        if issuer.config.tokens == TokenKinds::Opaque {
            return Err(Rejected::Token(TokenFault::Issuer));
        }
        let claims = issuer.verify(token, peek).await?;
        Ok((Arc::new(claims), issuer))
    }

    /// Asks about a token that names nobody. Of several issuers those are asked whose prefix it has; where none is, those
    /// without one, in their order, until one of them knows the token. One that cannot be asked ends it: whether the token
    /// is good is then not known.
    async fn ask(&self, token: &str) -> Result<(Arc<Claims>, &Issuer), Rejected> {
        let asked = |i: &&Issuer| i.introspector.is_some();
        let prefix = |i: &Issuer| i.introspector.as_ref().and_then(|x| x.prefix().map(str::to_owned));
        let by_prefix = self
            .list
            .iter()
            .filter(asked)
            .filter(|i| prefix(i).is_some_and(|p| token.starts_with(&p)))
            .max_by_key(|i| prefix(i).map_or(0, |p| p.len()));
        let meant: Vec<&Issuer> = match by_prefix {
            Some(one) => vec![one],
            None => self.list.iter().filter(asked).filter(|i| prefix(i).is_none()).collect(),
        };
        let mut fault = TokenFault::Issuer;
        for issuer in meant {
            let Some(introspector) = &issuer.introspector else { continue };
            match introspector.ask(token).await {
                Ok(claims) => return Ok((claims, issuer)),
                // It is not this issuer's token, or no more.
                Err(Rejected::Token(TokenFault::Inactive)) => fault = TokenFault::Inactive,
                Err(rejected) => return Err(rejected),
            }
        }
        Err(Rejected::Token(fault))
    }
}

/// What a proved token says.
type Claims = Map<String, Value>;

/// The algorithm of that name in a configuration.
pub(crate) fn algorithm(name: config::Algorithm) -> Algorithm {
    match name {
        config::Algorithm::Rs256 => Algorithm::Rs256,
        config::Algorithm::Rs384 => Algorithm::Rs384,
        config::Algorithm::Es256 => Algorithm::Es256,
        config::Algorithm::Es384 => Algorithm::Es384,
    }
}

impl Issuer {
    fn new(config: &config::Issuer, connect_timeout: Duration, clock: Clock) -> Result<Self, ClientError> {
        let algorithms = config.algorithms.iter().map(|a| algorithm(*a)).collect();
        let client = Client::new(config.ca_file.as_deref(), connect_timeout)?;
        let introspector = config.introspection.as_ref().map(|rules| {
            Introspector::new(rules, config, client.clone(), clock.clone()).map_err(ClientError::Credential)
        });
        Ok(Self {
            config: config.clone(),
            names: config.claims.clone(),
            algorithms,
            client,
            clock,
            keys: ArcSwapOption::empty(),
            turn: Mutex::default(),
            introspector: introspector.transpose()?,
        })
    }

    /// How long what was proved of one of its tokens stands, in milliseconds; `None` for a signed one.
    pub fn cache_ms(&self, token: &str) -> Option<u64> {
        let signed = self.config.tokens != TokenKinds::Opaque && opaque::is_jwt(token);
        self.introspector.as_ref().filter(|_| !signed).map(Introspector::cache_ms)
    }

    /// Its configuration.
    pub fn config(&self) -> &config::Issuer {
        &self.config
    }

    async fn verify(&self, token: &str, peek: Peek) -> Result<Map<String, Value>, Rejected> {
        let rules = drape_caller::Rules {
            issuer: &self.config.issuer,
            audiences: &self.config.audiences,
            algorithms: &self.algorithms,
            skew: self.config.clock_skew.as_secs(),
        };
        if !self.algorithms.contains(&peek.algorithm) {
            return Err(Rejected::Token(TokenFault::Algorithm));
        }
        let now_ms = self.clock.now_ms();
        let mut held = self.keys.load_full();
        let lacks = |held: &Option<Arc<Held>>| {
            held.as_ref().is_none_or(|h| h.keys.find(peek.key_id.as_deref(), peek.algorithm).is_none())
        };
        let old = held.as_ref().is_none_or(|h| now_ms.saturating_sub(h.fetched_ms) > FRESH_MS);
        if !lacks(&held) {
            // A key that is at hand is good for a day: whoever finds it old has it renewed, or knows that somebody does.
            if old && let Ok(turn) = self.turn.try_lock() {
                let _ = self.renew_in(turn, held.as_ref().map(|h| h.fetched_ms)).await;
                held = self.keys.load_full();
            }
        } else {
            let outcome = self.renew(held.as_ref().map(|h| h.fetched_ms)).await;
            held = self.keys.load_full();
            if held.is_none() {
                return Err(Rejected::Keys(outcome.err().unwrap_or_else(|| "no keys".into())));
            }
        }
        match held {
            Some(h) if now_ms.saturating_sub(h.fetched_ms) <= STALE_MS => {
                peek.verify(token, &h.keys, &rules, now_ms / 1_000).map_err(Rejected::Token)
            }
            _ => Err(Rejected::Keys("the issuer's keys are too old and cannot be renewed".into())),
        }
    }

    /// Fetches the keys unless somebody did since `seen_ms`, or it was tried a moment ago.
    async fn renew(&self, seen_ms: Option<u64>) -> Result<(), String> {
        self.renew_in(self.turn.lock().await, seen_ms).await
    }

    async fn renew_in(&self, mut turn: MutexGuard<'_, Turn>, seen_ms: Option<u64>) -> Result<(), String> {
        if self.keys.load().as_ref().is_some_and(|h| Some(h.fetched_ms) != seen_ms) && seen_ms.is_some() {
            return Ok(());
        }
        let now = self.clock.now_ms();
        if turn.asked_ms.is_some_and(|asked| now.saturating_sub(asked) < PAUSE_MS) {
            return Err("the issuer's keys were asked for a moment ago".into());
        }
        turn.asked_ms = Some(now);
        let fetched = self.fetch().await;
        // An issuer that hangs is asked again a pause after it was given up, not by each who waited for the last attempt.
        turn.asked_ms = Some(self.clock.now_ms());
        let keys = fetched?;
        if keys.is_empty() {
            return Err("the issuer publishes no usable key".into());
        }
        self.keys.store(Some(Arc::new(Held { keys, fetched_ms: now })));
        Ok(())
    }

    async fn fetch(&self) -> Result<KeySet, String> {
        let address = match &self.config.jwks_url {
            Some(url) => url.clone(),
            None => self.discover("jwks_uri").await?,
        };
        let uri: Uri = address.parse().map_err(|_| "the address of the keys is not usable".to_owned())?;
        let bytes = self
            .client
            .get_bounded(&uri, DOCUMENT_BYTES_MAX, FETCH_TIMEOUT)
            .await
            .map_err(|e| e.to_string())?;
        KeySet::parse(&bytes).map_err(|e| e.to_string())
    }

    /// The issuer's own description (OpenID Connect Discovery 1.0 section 4).
    pub async fn document(&self) -> Result<Map<String, Value>, String> {
        let url = format!("{}/.well-known/openid-configuration", self.config.issuer.trim_end_matches('/'));
        let uri: Uri = url.parse().map_err(|_| "the issuer is not a usable address".to_owned())?;
        let bytes = self
            .client
            .get_bounded(&uri, DOCUMENT_BYTES_MAX, FETCH_TIMEOUT)
            .await
            .map_err(|e| e.to_string())?;
        let document = drape_caller::strict::object(&bytes).map_err(|e| e.to_string())?;
        // Section 4.3: it must name itself to the letter, or it speaks for somebody else.
        if document.get("issuer").and_then(Value::as_str) != Some(&self.config.issuer) {
            return Err("the discovery document names another issuer".into());
        }
        Ok(document)
    }

    async fn discover(&self, member: &str) -> Result<String, String> {
        let document = self.document().await?;
        let address = document
            .get(member)
            .and_then(Value::as_str)
            .ok_or_else(|| format!("the discovery document has no `{member}`"))?;
        if self.config.issuer.starts_with("https://") && !address.starts_with("https://") {
            return Err(format!("`{member}` is plain HTTP while the issuer is not"));
        }
        Ok(address.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use drape_demo::{Ambient, Cast, Figures, Member, Persona};
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn member() -> Member {
        Member {
            persona: Persona::Doctor,
            subject: "doctor".into(),
            name: "doctor".into(),
            title: None,
            organization: None,
            departments: Vec::new(),
            fhir_user: None,
            patient: None,
            works_in_shifts: false,
            relations: Vec::new(),
        }
    }

    /// An issuer that gives its keys, or takes connections and says nothing.
    async fn moody(listener: tokio::net::TcpListener, keys: String, silent: Arc<AtomicBool>) {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request).await;
            if !silent.load(Ordering::SeqCst) {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length";
                let _ = stream.write_all(format!("{head}: {}\r\n\r\n{keys}", keys.len()).as_bytes()).await;
                continue;
            }
            held.push(stream);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_issuer_that_hangs_holds_up_nobody_whose_key_is_known() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let cast = Cast { members: vec![member()], figures: Figures::default() };
        let issuer =
            drape_demo::Issuer::new(&url, &["urn:test"], cast, jiff::tz::TimeZone::UTC, Ambient::system())
                .unwrap();
        let silent = Arc::new(AtomicBool::new(false));
        tokio::spawn(moody(listener, issuer.jwks().unwrap().to_string(), Arc::clone(&silent)));
        let (clock, hand) = Clock::fixed(Clock::system().now_ms());
        let text = format!(
            r#"
listen: {{ address: "127.0.0.1:0", plaintext: true }}
admin: {{ address: "127.0.0.1:0", plaintext: true }}
keys: {{ root_file: root.key, directory: keys }}
audit: {{ directory: log, origin: drape.example.org/audit, signing_key_file: log.key }}
tenants:
  - name: main
    public_base_url: http://localhost:8080/fhir
    time_zone: UTC
    upstream: {{ base_url: "{url}/fhir", plaintext: true, auth: {{ kind: none }} }}
    issuers: [{{ issuer: "{url}", plaintext: true, audiences: ["urn:test"], algorithms: [ES256], jwks_url: "{url}/jwks", purposes: {{ TREAT: [clinician] }} }}]
    policies: {{ set: hospital }}
"#
        );
        let config =
            config::Config::parse(&text, std::path::Path::new("/")).unwrap_or_else(|e| panic!("{e}"));
        let config = config.tenants[0].issuers[0].clone();
        let issuers = Arc::new(Issuers::new(&[config], Duration::from_secs(5), &clock).unwrap());
        let token = issuer.token(Persona::Doctor, Duration::from_secs(20_000)).unwrap();
        assert!(issuers.verify(&token, 16 << 10).await.is_ok());
        silent.store(true, Ordering::SeqCst);
        hand.fetch_add(2 * FRESH_MS, Ordering::SeqCst);
        let verify = || {
            let (issuers, token) = (Arc::clone(&issuers), token.clone());
            tokio::spawn(async move { issuers.verify(&token, 16 << 10).await.is_ok() })
        };
        // One of them asks the issuer, in vain; the others do not wait for that.
        let mut all: Vec<_> = (0..4).map(|_| verify()).collect();
        let others = async {
            for _ in 0..3 {
                let (proved, _, rest) = futures_util::future::select_all(std::mem::take(&mut all)).await;
                assert!(proved.unwrap());
                all = rest;
            }
        };
        tokio::time::timeout(FETCH_TIMEOUT / 2, others).await.expect("three of four are proved at once");
        // Nor does it when the first has given up: the next attempt is a pause away.
        hand.fetch_add(PAUSE_MS, Ordering::SeqCst);
        assert!(all.remove(0).await.unwrap());
        let late = tokio::time::timeout(FETCH_TIMEOUT / 2, verify()).await;
        assert!(late.expect("proved at once").unwrap());
    }
}
