//! JSON Web Tokens as strictly as RFC 8725 advises: the issuer's rules choose the key and algorithm, never the token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::fault::TokenFault;
use crate::jwks::KeySet;
use crate::strict;

/// A signature algorithm of RFC 7518. Others do not exist for Drape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Es256,
    Es384,
}

impl Algorithm {
    /// The name in headers and key sets.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Rs256, Self::Rs384, Self::Es256, Self::Es384].into_iter().find(|a| a.name() == name)
    }

    pub(crate) const fn library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Rs384 => jsonwebtoken::Algorithm::RS384,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Es384 => jsonwebtoken::Algorithm::ES384,
        }
    }
}

/// What a token claims before anything is proved: enough to find the issuer's rules and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peek {
    /// `iss`.
    pub issuer: String,
    /// `kid`.
    pub key_id: Option<String>,
    /// `alg`.
    pub algorithm: Algorithm,
    claims: Map<String, Value>,
}

/// What an issuer's tokens must satisfy.
#[derive(Clone, Debug)]
pub struct Rules<'a> {
    /// `iss`, to the letter.
    pub issuer: &'a str,
    /// `aud` must name one of these.
    pub audiences: &'a [String],
    /// Accepted algorithms.
    pub algorithms: &'a [Algorithm],
    /// Leeway in seconds.
    pub skew: u64,
}

/// Header members by which a token would bring its own key, change the rules, or be something else than a signed token:
/// encrypted, compressed, one token in another. `x5t` and `x5t#S256`, which some servers send, name a certificate and
/// bring none; nobody looks at them.
const REFUSED_HEADERS: [&str; 16] = [
    "jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc", "epk", "apu", "apv", "cty", "p2s", "p2c", "iv",
    "tag",
];

/// Claims that access tokens do not have: of ID tokens (OpenID Connect Core 2 and 3.3.2.11), of logout tokens and
/// security events.
const FOREIGN_CLAIMS: [&str; 5] = ["nonce", "at_hash", "c_hash", "s_hash", "events"];

/// Who is to be believed that a token lives longer than this (the year 9999) is not.
const EXPIRY_MAX_S: u64 = 253_402_300_799;

impl Peek {
    /// Reads a compact JWS of at most `bytes_max` bytes. Nothing in it is proved yet.
    pub fn read(token: &str, bytes_max: usize) -> Result<Self, TokenFault> {
        if token.len() > bytes_max {
            return Err(TokenFault::Oversize(bytes_max));
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenFault::Malformed("a token has three parts"));
        };
        let decode = |part: &str| {
            URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenFault::Malformed("a part is not base64url"))
        };
        let header = strict::object(&decode(header)?)?;
        decode(signature)?;
        for name in REFUSED_HEADERS {
            if header.contains_key(name) {
                return Err(TokenFault::Header(name));
            }
        }
        let algorithm = header
            .get("alg")
            .and_then(Value::as_str)
            .and_then(Algorithm::parse)
            .ok_or(TokenFault::Algorithm)?;
        match header.get("typ") {
            None => {}
            Some(Value::String(t))
                if ["JWT", "at+jwt", "application/at+jwt"]
                    .iter()
                    .any(|known| t.eq_ignore_ascii_case(known)) => {}
            Some(_) => return Err(TokenFault::Type),
        }
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(TokenFault::Malformed("`kid` is not a string")),
        };
        let claims = strict::object(&decode(payload)?)?;
        let issuer = claims.get("iss").and_then(Value::as_str).ok_or(TokenFault::Issuer)?.to_owned();
        Ok(Self { issuer, key_id, algorithm, claims })
    }

    /// Proves the token with one of the issuer's keys at `now` (seconds since the epoch) and gives its claims.
    pub fn verify(
        self,
        token: &str,
        keys: &KeySet,
        rules: &Rules<'_>,
        now: u64,
    ) -> Result<Map<String, Value>, TokenFault> {
        if self.issuer != rules.issuer {
            return Err(TokenFault::Issuer);
        }
        if !rules.algorithms.contains(&self.algorithm) {
            return Err(TokenFault::Algorithm);
        }
        let key = keys.find(self.key_id.as_deref(), self.algorithm).ok_or(TokenFault::Key)?;
        let (message, signature) =
            token.rsplit_once('.').ok_or(TokenFault::Malformed("a token has three parts"))?;
        let verified =
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, self.algorithm.library());
        if !matches!(verified, Ok(true)) {
            return Err(TokenFault::Signature);
        }
        check(&self.claims, rules, now)?;
        Ok(self.claims)
    }
}

/// Whether the claims of a token are those of one that is good now, and meant for this service.
pub(crate) fn check(claims: &Map<String, Value>, rules: &Rules<'_>, now: u64) -> Result<(), TokenFault> {
    if FOREIGN_CLAIMS.iter().any(|name| claims.contains_key(*name)) {
        return Err(TokenFault::Type);
    }
    // Keycloak and others say in a claim what the header's `typ` does not.
    for name in ["typ", "token_use"] {
        match claims.get(name) {
            None => {}
            Some(Value::String(t))
                if ["Bearer", "access", "JWT", "at+jwt"]
                    .iter()
                    .any(|known| t.eq_ignore_ascii_case(known)) => {}
            Some(_) => return Err(TokenFault::Type),
        }
    }
    let expiry = instant(claims, "exp")?.ok_or(TokenFault::NoExpiry)?;
    if expiry > EXPIRY_MAX_S {
        return Err(TokenFault::Claim("exp".into()));
    }
    if expiry.saturating_add(rules.skew) <= now {
        return Err(TokenFault::Expired);
    }
    for name in ["nbf", "iat"] {
        if instant(claims, name)?.is_some_and(|t| t > now.saturating_add(rules.skew)) {
            return Err(TokenFault::NotYet);
        }
    }
    let accepted = |aud: &Value| aud.as_str().is_some_and(|a| rules.audiences.iter().any(|r| r == a));
    let meant = match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(accepted),
        Some(one) => accepted(one),
        None => false,
    };
    if meant { Ok(()) } else { Err(TokenFault::Audience) }
}

/// NumericDate (RFC 7519 section 2): seconds, possibly with a fraction.
pub(crate) fn instant(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, TokenFault> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(n)) => match (n.as_u64(), n.as_f64()) {
            (Some(whole), _) => Ok(Some(whole)),
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded just before")]
            (None, Some(f)) if (0.0..9_007_199_254_740_992.0).contains(&f) => Ok(Some(f as u64)),
            _ => Err(TokenFault::Claim(name.to_owned())),
        },
        Some(_) => Err(TokenFault::Claim(name.to_owned())),
    }
}
