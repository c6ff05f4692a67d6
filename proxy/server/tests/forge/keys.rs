//! Keys that an issuer should not publish, each with a token that would be good under it.

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::signatures::padded;
use super::{Forge, Keys, b64};

/// An RSA key of 1024 bits, and a token that it signed: libraries of today neither make nor sign with such a key.
const WEAK_MODULUS: &str = "6yDPMDxvA8a-nxal9AW51KfUQuxhZzff97VqOZUY14XnLBIEI7g0fsJl5iXqXrclv-ZiO0oUQX9fLw8YDoWyVvyf9JdQ8q4dyKcvfSubIfoZuXwiYdVcwlzRxwQQIXrzqRN0-ob-OgP93U4zXwEE4zxJZAOO1SRNgTtnbjfrHac";
const WEAK_TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6IndlYWsiLCJ0eXAiOiJhdCtqd3QifQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLm9yZyIsInN1YiI6InMiLCJhdWQiOiJodHRwczovL2EuZXhhbXBsZS5vcmcvZmhpciIsImlhdCI6MTcwMDAwMDAwMCwiZXhwIjo0MTAyNDQ0ODAwLCJjbGllbnRfaWQiOiJjIiwic2NvcGUiOiJ1c2VyLyouY3J1ZHMiLCJyb2xlcyI6WyJyZWNvcmRzLW9mZmljZXIiXSwicHVycG9zZV9vZl91c2UiOiJIT1BFUkFUIn0.f41clAuGbQ9t-KT7RPwn4qJhHa7S_lqhU0mp-2mg-AQNgG1YAMOzAQks9c3sHEaJDhwlGUlRnC-yjh3zpTqoP2HT7VjPPAK0GwQIKJE7islw-BonYkvGXvYoRShAA9C4Aam8z_hLjyqTGvee27dLtp2pdX-OKiiFvoLgyqQLmWo";

impl Forge {
    /// A name, a key set, and a token.
    pub(crate) fn key_attacks(&self) -> Vec<(String, Value, String)> {
        let mut claims = self.claims();
        claims["exp"] = json!(self.now + 1_000_000);
        let thief = Keys::make();
        let named = |kid: &str| json!({"alg": "RS256", "kid": kid, "typ": "at+jwt"});
        let honest = |kid: &str| self.rs256(&named(kid), &claims);
        let beside = |key: Value| json!({"keys": [self.keys.ec_jwk(), key]});
        let mut changed = Vec::new();
        for (name, changes) in [
            ("for encryption", json!({"use": "enc"})),
            ("for something unknown", json!({"use": "ver"})),
            ("with `use` as a list", json!({"use": ["enc"]})),
            ("for signing alone", json!({"key_ops": ["sign"]})),
            ("for nothing", json!({"key_ops": []})),
            ("with `key_ops` as text", json!({"key_ops": "encrypt"})),
            ("for another algorithm", json!({"alg": "RS384"})),
            ("for an algorithm that is not taken", json!({"alg": "PS256"})),
            ("with `alg` as a list", json!({"alg": ["PS256"]})),
            ("with its private half", json!({"d": "AQAB"})),
        ] {
            let mut key = self.keys.rsa_jwk();
            key["kid"] = json!("odd");
            for (member, value) in changes.as_object().unwrap() {
                key[member] = value.clone();
            }
            changed.push((format!("a published key {name}"), beside(key), honest("odd")));
        }
        let message = format!("{}.{}", b64(named("one").to_string()), b64(claims.to_string()));
        let forged = format!("{message}.{}", b64(padded(&message, 256)));
        let one = json!({"kty": "RSA", "kid": "one", "n": self.keys.modulus, "e": "AQ"});
        changed.push(("a published RSA key with exponent 1".into(), beside(one), forged));
        let weak = json!({"kty": "RSA", "kid": "weak", "use": "sig", "n": WEAK_MODULUS, "e": "AQAB"});
        changed.push(("a published RSA key of 1024 bits".into(), beside(weak), WEAK_TOKEN.into()));
        let secret = json!({"kty": "oct", "kid": "oct", "alg": "HS256", "k": b64("secret")});
        let message =
            format!("{}.{}", b64(json!({"alg": "HS256", "kid": "oct"}).to_string()), b64(claims.to_string()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"secret"), message.as_bytes());
        changed.push((
            "a published shared secret".into(),
            beside(secret),
            format!("{message}.{}", b64(tag.as_ref())),
        ));
        let off = json!({"kty": "EC", "crv": "P-256", "kid": "off", "x": b64([1; 32]), "y": b64([1; 32])});
        let message =
            format!("{}.{}", b64(json!({"alg": "ES256", "kid": "off"}).to_string()), b64(claims.to_string()));
        changed.push((
            "a published point that is not on the curve".into(),
            beside(off),
            format!("{message}.{}", b64([1; 64])),
        ));
        let mut own = self.keys.rsa_jwk();
        own["kid"] = json!("both");
        let mut other = thief.rsa_jwk();
        other["kid"] = json!("both");
        let stolen = thief.rs(&named("both").to_string(), &claims.to_string());
        changed.push(("two published keys of one name".into(), json!({"keys": [own, other]}), stolen));
        let mut second = thief.rsa_jwk();
        second["kid"] = json!("second");
        let nameless = self.keys.rs(r#"{"alg":"RS256"}"#, &claims.to_string());
        let two = json!({"keys": [self.keys.rsa_jwk(), second]});
        changed.push(("no kid where two keys would fit".into(), two, nameless));
        changed.push(("no published key at all".into(), json!({"keys": []}), honest("gone")));
        changed
    }
}
