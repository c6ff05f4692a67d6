//! Makes tokens: honest ones, and every kind of forged one, with control over each byte.

mod claims;
mod headers;
mod keys;
mod signatures;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as Rsa, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaEncoding,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use drape_caller::client_assertion::{AssertionAlgorithm, AssertionKey};
use serde_json::{Value, json};

use crate::{AUDIENCE, ISSUER};

/// An issuer's keys.
pub(crate) struct Keys {
    rsa: Rsa,
    /// As base64url.
    modulus: String,
    ec: EcdsaKeyPair,
}

pub(crate) struct Forge {
    pub(crate) keys: Keys,
    /// Seconds since the epoch.
    pub(crate) now: u64,
}

/// A name and a token.
pub(crate) type Attack = (String, String);

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Keys {
    pub(crate) fn make() -> Self {
        let rsa = Rsa::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = rsa.as_der().unwrap();
        let pem = pem("PRIVATE KEY", der.as_ref());
        let public = AssertionKey::parse(pem.as_bytes(), AssertionAlgorithm::Rs384, None, None).unwrap();
        let modulus = public.public()["n"].as_str().unwrap().to_owned();
        Self { rsa, modulus, ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap() }
    }

    pub(crate) fn rsa_jwk(&self) -> Value {
        json!({"kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256", "n": self.modulus, "e": "AQAB"})
    }

    pub(crate) fn ec_jwk(&self) -> Value {
        let point = self.ec.public_key().as_ref();
        json!({"kty": "EC", "crv": "P-256", "kid": "ec", "use": "sig", "alg": "ES256",
            "x": b64(&point[1..33]), "y": b64(&point[33..])})
    }

    pub(crate) fn jwks(&self) -> Value {
        json!({"keys": [self.rsa_jwk(), self.ec_jwk()]})
    }

    fn spki(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = self.rsa.public_key().as_der().unwrap();
        der.as_ref().to_vec()
    }

    fn rsa_sign(&self, padding: &'static dyn RsaEncoding, message: &str) -> Vec<u8> {
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        self.rsa.sign(padding, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        signature
    }

    fn ec_sign(&self, message: &str) -> Vec<u8> {
        self.ec.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec()
    }

    /// Signs these very texts with RS256, whatever the header says.
    fn rs(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", b64(header), b64(payload));
        let signature = b64(self.rsa_sign(&RSA_PKCS1_SHA256, &message));
        format!("{message}.{signature}")
    }

    /// The same with ES256.
    fn es(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", b64(header), b64(payload));
        let signature = b64(self.ec_sign(&message));
        format!("{message}.{signature}")
    }
}

fn pem(kind: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).unwrap()).collect();
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}

impl Forge {
    /// What an honest access token claims.
    pub(crate) fn claims(&self) -> Value {
        json!({
            "iss": ISSUER, "sub": "officer", "aud": AUDIENCE, "iat": self.now, "exp": self.now + 600, "jti": "j",
            "client_id": "app", "scope": "user/*.cruds", "roles": ["records-officer"], "purpose_of_use": "HOPERAT",
        })
    }

    /// With some of them changed; `null` takes one away.
    fn with(&self, changes: Value) -> Value {
        let mut claims = self.claims();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                other => claims[name] = other.clone(),
            }
        }
        claims
    }

    pub(crate) fn rs256(&self, header: &Value, claims: &Value) -> String {
        self.keys.rs(&header.to_string(), &claims.to_string())
    }

    pub(crate) fn es256(&self, header: &Value, claims: &Value) -> String {
        self.keys.es(&header.to_string(), &claims.to_string())
    }

    /// An honest token.
    pub(crate) fn good(&self) -> String {
        self.rs256(&rsa_header(), &self.claims())
    }

    /// Every attack that needs nothing but a token; `url` is where the issuer is, for headers that point elsewhere.
    pub(crate) fn attacks(&self, url: &str) -> Vec<Attack> {
        let mut all = self.unsigned();
        all.extend(self.shared_secrets());
        all.extend(self.own_keys(url));
        all.extend(self.names_of_keys());
        all.extend(self.kinds());
        all.extend(self.rules());
        all.extend(self.for_others());
        all.extend(self.times());
        all.extend(self.twice());
        all.extend(self.shapes());
        all.extend(self.elliptic());
        all.extend(self.rsa());
        all
    }
}

pub(crate) fn rsa_header() -> Value {
    json!({"alg": "RS256", "kid": "rsa", "typ": "at+jwt"})
}

pub(crate) fn ec_header() -> Value {
    json!({"alg": "ES256", "kid": "ec", "typ": "at+jwt"})
}
