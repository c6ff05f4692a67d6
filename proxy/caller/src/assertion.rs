//! A signed assertion by which a client proves itself to an authorization server (RFC 7523, `private_key_jwt`).

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use crate::token::Algorithm;

/// The value of `client_assertion_type`.
pub const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How long an assertion is good for, in seconds. SMART backend services allow five minutes at most.
const LIFE_S: u64 = 120;

/// A client's key.
#[derive(Clone)]
pub struct AssertionKey {
    client_id: String,
    header: Header,
    key: EncodingKey,
}

impl std::fmt::Debug for AssertionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AssertionKey").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

impl AssertionKey {
    /// Reads a private key in PEM (PKCS #8; RSA also PKCS #1). An error says what is wrong and nothing of the key.
    pub fn read(
        pem: &[u8],
        algorithm: Algorithm,
        client_id: &str,
        key_id: Option<&str>,
    ) -> Result<Self, String> {
        let key = match algorithm {
            Algorithm::Rs256 | Algorithm::Rs384 => EncodingKey::from_rsa_pem(pem),
            Algorithm::Es256 | Algorithm::Es384 => EncodingKey::from_ec_pem(pem),
        };
        let key = key.map_err(|_| format!("it holds no private key for {} in PEM", algorithm.name()))?;
        let mut header = Header::new(algorithm.library());
        header.kid = key_id.map(str::to_owned);
        let key = Self { client_id: client_id.to_owned(), header, key };
        // A key of another curve shows only when it signs.
        key.sign("https://audience.invalid", "0", 0)?;
        Ok(key)
    }

    /// The client that it proves.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// An assertion for the endpoint at `audience`, once: `id` is never used again.
    pub fn sign(&self, audience: &str, id: &str, now_s: u64) -> Result<String, String> {
        let claims = json!({
            "iss": self.client_id, "sub": self.client_id, "aud": audience, "jti": id, "iat": now_s, "exp": now_s + LIFE_S,
        });
        jsonwebtoken::encode(&self.header, &claims, &self.key).map_err(|_| "the key cannot sign".to_owned())
    }
}
