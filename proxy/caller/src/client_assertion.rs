//! How Drape proves itself to a token endpoint without a shared secret: a short statement signed with a key of its own
//! (RFC 7523, as SMART Backend Services use it).

use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;
use serde_json::{Value, json};

/// A signature algorithm of SMART Backend Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AssertionAlgorithm {
    Rs384,
    Es384,
}

impl AssertionAlgorithm {
    /// The name in headers and key sets.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs384 => "RS384",
            Self::Es384 => "ES384",
        }
    }

    /// The algorithm of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Rs384, Self::Es384].into_iter().find(|a| a.name() == name)
    }

    const fn library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Rs384 => jsonwebtoken::Algorithm::RS384,
            Self::Es384 => jsonwebtoken::Algorithm::ES384,
        }
    }
}

/// Why a key cannot sign assertions. Nothing of the key is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionFault {
    /// Not a private key in PEM of the kind that the algorithm needs.
    #[error("it is no private key in PEM for {0}: an RSA key for RS384, one on the curve P-384 for ES384")]
    Key(&'static str),
    /// An RSA key that nobody should accept.
    #[error("its RSA key is shorter than 2048 bits")]
    Short,
    /// The signature failed.
    #[error("the assertion cannot be signed")]
    Signature,
}

/// A private key and what is said with it.
pub struct AssertionKey {
    key: EncodingKey,
    algorithm: AssertionAlgorithm,
    public: Value,
    header: Header,
}

impl std::fmt::Debug for AssertionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AssertionKey").field("kid", &self.header.kid).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: &'a str,
    iat: u64,
    exp: u64,
}

/// How long an assertion can be used. SMART allows five minutes; clocks that differ by less than four still agree.
const LIFE_S: u64 = 240;

impl AssertionKey {
    /// Reads a private key in PEM (PKCS#8; RSA in PKCS#1 too). Without `key_id` its name is its thumbprint (RFC 7638).
    /// `jku` is where the receiver finds the public key, if it wants to be told so.
    pub fn parse(
        pem: &[u8],
        algorithm: AssertionAlgorithm,
        key_id: Option<&str>,
        jku: Option<&str>,
    ) -> Result<Self, AssertionFault> {
        let fault = AssertionFault::Key(algorithm.name());
        let key = match algorithm {
            AssertionAlgorithm::Rs384 => EncodingKey::from_rsa_pem(pem),
            AssertionAlgorithm::Es384 => EncodingKey::from_ec_pem(pem),
        }
        .map_err(|_| fault)?;
        let jwk = Jwk::from_encoding_key(&key, algorithm.library()).map_err(|_| fault)?;
        let mut public = serde_json::to_value(&jwk).map_err(|_| fault)?;
        // 2048 bits are 342 letters in base64url.
        if public["n"].as_str().is_some_and(|n| n.len() < 342) {
            return Err(AssertionFault::Short);
        }
        let key_id = match key_id {
            Some(id) => id.to_owned(),
            None => jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| fault)?,
        };
        public["kid"] = json!(key_id);
        public["alg"] = json!(algorithm.name());
        public["use"] = json!("sig");
        let mut header = Header::new(algorithm.library());
        header.kid = Some(key_id);
        header.jku = jku.map(str::to_owned);
        let made = Self { key, algorithm, public, header };
        // A key on another curve is found out here and not at the first request.
        made.sign("probe", "probe", "probe", 0)?;
        Ok(made)
    }

    /// The statement that whoever sends it is `client`, for `audience` alone, at `now` (seconds since the epoch). `id`
    /// must never come twice.
    pub fn sign(&self, client: &str, audience: &str, id: &str, now: u64) -> Result<String, AssertionFault> {
        let exp = now.saturating_add(LIFE_S);
        let claims = Claims { iss: client, sub: client, aud: audience, jti: id, iat: now, exp };
        jsonwebtoken::encode(&self.header, &claims, &self.key).map_err(|_| match self.algorithm {
            AssertionAlgorithm::Es384 => AssertionFault::Key(self.algorithm.name()),
            AssertionAlgorithm::Rs384 => AssertionFault::Signature,
        })
    }

    /// The public key as a JWK (RFC 7517), for whoever checks.
    pub fn public(&self) -> &Value {
        &self.public
    }
}

/// A set of public keys (RFC 7517 section 5).
pub fn key_set<'a>(keys: impl IntoIterator<Item = &'a Value>) -> Value {
    let mut all: Vec<&Value> = Vec::new();
    for key in keys {
        if !all.contains(&key) {
            all.push(key);
        }
    }
    json!({ "keys": all })
}
