//! Forged tokens, made of a good one and of what its issuer publishes: nobody who has not the issuer's key can do more.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::encoding::PublicKeyX509Der;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{Fault, Outcome};

/// A name and a token.
pub type Forged = (String, String);

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Every one of them; `elsewhere` is an address that nobody must ask for a key.
pub fn forged(good: &str, keys: &Value, elsewhere: &str) -> Outcome<Vec<Forged>> {
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        return Err(Fault::new("the good token has not three parts"));
    };
    let read = |part: &str| -> Outcome<Value> { Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?) };
    let (head, claims) = (read(header)?, read(payload)?);
    let thief = Thief::new()?;
    let mut all: Vec<Forged> = Vec::new();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let unsigned = b64(json!({"alg": alg, "typ": "JWT"}).to_string());
        all.push((format!("alg `{alg}`, no signature"), format!("{unsigned}.{payload}.")));
        all.push((format!("alg `{alg}`, the good signature"), format!("{unsigned}.{payload}.{signature}")));
    }
    let key = keys["keys"].as_array().into_iter().flatten().find(|k| k["kid"] == head["kid"]);
    let key = key.ok_or_else(|| Fault(format!("the issuer does not publish {}", head["kid"])))?;
    let mut secrets = vec![
        ("key as JWK", key.to_string()),
        ("key set", keys.to_string()),
        ("modulus", key["n"].as_str().unwrap_or_default().to_owned()),
        ("empty secret", String::new()),
    ];
    if let Some(certificate) = key["x5c"][0].as_str() {
        secrets.push(("certificate", certificate.to_owned()));
        secrets.push((
            "certificate in PEM",
            format!("-----BEGIN CERTIFICATE-----\n{certificate}\n-----END CERTIFICATE-----\n"),
        ));
    }
    for (name, secret) in secrets {
        let shared = b64(json!({"alg": "HS256", "typ": "JWT", "kid": head["kid"]}).to_string());
        let message = format!("{shared}.{payload}");
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), message.as_bytes());
        all.push((format!("HS256 with the issuer's {name}"), format!("{message}.{}", b64(tag.as_ref()))));
    }
    let signed = |changes: Value| -> Outcome<String> {
        let mut forged = json!({"alg": "RS256", "typ": "JWT", "kid": head["kid"]});
        for (name, value) in changes.as_object().into_iter().flatten() {
            forged[name] = value.clone();
        }
        thief.sign(&format!("{}.{payload}", b64(forged.to_string())))
    };
    all.push(("another key under the issuer's kid".into(), signed(json!({}))?));
    for (name, changes) in [
        ("jwk", json!({"jwk": thief.jwk()})),
        ("jku", json!({"jku": format!("{elsewhere}/jwks")})),
        ("x5u", json!({"x5u": format!("{elsewhere}/x5u")})),
        ("x5c", json!({"x5c": [STANDARD.encode(thief.spki()?)]})),
        ("a path as kid", json!({"kid": "../../../../dev/null"})),
        ("SQL as kid", json!({"kid": "x' OR '1'='1"})),
        ("no kid", json!({"kid": null})),
        ("crit", json!({"crit": ["exp"]})),
        ("zip", json!({"zip": "DEF"})),
        ("typ logout+jwt", json!({"typ": "logout+jwt"})),
    ] {
        all.push((format!("{name}, signed with another key"), signed(changes)?));
    }
    for (name, changes) in [
        ("roles", json!({"roles": ["records-officer"]})),
        ("sub", json!({"sub": "somebody-else"})),
        ("exp", json!({"exp": 4_102_444_800_u64})),
        ("aud", json!({"aud": ["x"]})),
        ("scope", json!({"scope": "system/*.cruds"})),
    ] {
        let mut raised = claims.clone();
        for (member, value) in changes.as_object().into_iter().flatten() {
            raised[member] = value.clone();
        }
        all.push((
            format!("another {name} under the good signature"),
            format!("{header}.{}.{signature}", b64(raised.to_string())),
        ));
    }
    let bytes = URL_SAFE_NO_PAD.decode(signature)?;
    let mut flipped = bytes.clone();
    flipped[0] ^= 1;
    for (name, other) in [
        ("nothing", Vec::new()),
        ("zeros", vec![0; bytes.len()]),
        ("one bit changed", flipped),
        ("one byte short", bytes[1..].to_vec()),
        ("a zero more", [vec![0], bytes.clone()].concat()),
    ] {
        all.push((format!("signature: {name}"), format!("{header}.{payload}.{}", b64(other))));
    }
    all.extend([
        ("padding".to_owned(), format!("{good}=")),
        ("two parts".to_owned(), format!("{header}.{payload}")),
        ("four parts".to_owned(), format!("{good}.{signature}")),
        ("five parts".to_owned(), format!("{header}.{payload}.{signature}.{payload}.{signature}")),
    ]);
    Ok(all)
}

/// Somebody with a key of her own.
struct Thief(KeyPair);

impl Thief {
    fn new() -> Outcome<Self> {
        KeyPair::generate(KeySize::Rsa2048).map(Self).map_err(|_| Fault::new("no key can be made"))
    }

    fn sign(&self, message: &str) -> Outcome<String> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        let signed = self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature);
        signed.map_err(|_| Fault::new("cannot sign"))?;
        Ok(format!("{message}.{}", b64(signature)))
    }

    fn spki(&self) -> Outcome<Vec<u8>> {
        let der: PublicKeyX509Der<'_> =
            self.0.public_key().as_der().map_err(|_| Fault::new("the public key cannot be written"))?;
        Ok(der.as_ref().to_vec())
    }

    fn jwk(&self) -> Value {
        // RSAPublicKey of RFC 8017, of a key of 2048 bits: two heads and a zero before the modulus.
        let modulus = &self.0.public_key().as_ref()[9..265];
        json!({"kty": "RSA", "use": "sig", "alg": "RS256", "n": b64(modulus), "e": "AQAB"})
    }
}
