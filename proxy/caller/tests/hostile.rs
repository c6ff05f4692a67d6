//! Hostile and broken tokens: none is accepted, and each is refused for its own reason.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use drape_caller::{Algorithm, KeySet, Peek, Rules, TokenFault};
use jsonwebtoken::{EncodingKey, jwk::Jwk};
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000;

struct Issuer {
    ec: EncodingKey,
    keys: Vec<u8>,
}

fn issuer() -> Issuer {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    let pair =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &aws_lc_rs::rand::SystemRandom::new());
    let ec = EncodingKey::from_ec_der(pair.unwrap().as_ref());
    let mut jwk =
        serde_json::to_value(Jwk::from_encoding_key(&ec, jsonwebtoken::Algorithm::ES256).unwrap()).unwrap();
    jwk["kid"] = json!("k1");
    jwk["use"] = json!("sig");
    Issuer { ec, keys: serde_json::to_vec(&json!({ "keys": [jwk] })).unwrap() }
}

fn claims() -> Value {
    json!({"iss": "https://issuer", "sub": "s", "aud": ["x", "https://drape"], "exp": NOW + 60, "nbf": NOW - 60, "iat": NOW - 60})
}

impl Issuer {
    fn raw(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", B64.encode(header), B64.encode(claims));
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.ec, jsonwebtoken::Algorithm::ES256).unwrap();
        format!("{message}.{signature}")
    }

    fn token(&self, header: Value, claims: Value) -> String {
        self.raw(&header.to_string(), &claims.to_string())
    }

    fn verify(&self, token: &str) -> Result<(), TokenFault> {
        let audiences = ["https://drape".to_owned()];
        let algorithms = [Algorithm::Es256, Algorithm::Rs256];
        let rules =
            Rules { issuer: "https://issuer", audiences: &audiences, algorithms: &algorithms, skew: 30 };
        let keys = KeySet::parse(&self.keys).unwrap();
        Peek::read(token, 4096)?.verify(token, &keys, &rules, NOW).map(drop)
    }
}

fn header() -> Value {
    json!({"alg": "ES256", "kid": "k1", "typ": "JWT"})
}

#[test]
fn an_honest_token_is_accepted() {
    let issuer = issuer();
    assert_eq!(issuer.verify(&issuer.token(header(), claims())), Ok(()));
    assert_eq!(issuer.verify(&issuer.token(json!({"alg": "ES256", "typ": "at+jwt"}), claims())), Ok(()));
}

#[test]
fn hostile_headers_are_refused() {
    let issuer = issuer();
    let with = |name: &str, value: Value| {
        let mut h = header();
        h[name] = value;
        issuer.verify(&issuer.token(h, claims()))
    };
    assert_eq!(with("alg", json!("none")), Err(TokenFault::Algorithm));
    assert_eq!(with("alg", json!("HS256")), Err(TokenFault::Algorithm));
    assert_eq!(with("alg", json!("RS256")), Err(TokenFault::Key));
    assert_eq!(with("alg", json!("ES384")), Err(TokenFault::Algorithm));
    assert_eq!(with("kid", json!("../../etc/passwd")), Err(TokenFault::Key));
    assert!(matches!(with("kid", json!(7)), Err(TokenFault::Malformed(_))));
    assert_eq!(with("typ", json!("logout+jwt")), Err(TokenFault::Type));
    for name in ["jku", "jwk", "x5u", "x5c", "crit", "b64"] {
        assert_eq!(with(name, json!("x")), Err(TokenFault::Header(name)), "{name}");
    }
}

#[test]
fn a_public_key_used_as_a_shared_secret_proves_nothing() {
    let issuer = issuer();
    let message =
        format!("{}.{}", B64.encode(r#"{"alg":"HS256","kid":"k1"}"#), B64.encode(claims().to_string()));
    let secret = EncodingKey::from_secret(&issuer.keys);
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &secret, jsonwebtoken::Algorithm::HS256).unwrap();
    assert_eq!(issuer.verify(&format!("{message}.{signature}")), Err(TokenFault::Algorithm));
}

#[test]
fn claims_that_do_not_fit_are_refused() {
    let issuer = issuer();
    let with = |name: &str, value: Value| {
        let mut c = claims();
        c[name] = value;
        issuer.verify(&issuer.token(header(), c))
    };
    assert_eq!(with("iss", json!("https://other")), Err(TokenFault::Issuer));
    assert_eq!(with("iss", json!("https://issuer/")), Err(TokenFault::Issuer));
    assert_eq!(with("aud", json!("https://other")), Err(TokenFault::Audience));
    assert_eq!(with("aud", Value::Null), Err(TokenFault::Audience));
    assert_eq!(with("exp", json!(NOW - 31)), Err(TokenFault::Expired));
    assert_eq!(with("exp", json!("tomorrow")), Err(TokenFault::Claim("exp".into())));
    assert_eq!(with("exp", json!(-1)), Err(TokenFault::Claim("exp".into())));
    assert_eq!(with("nbf", json!(NOW + 31)), Err(TokenFault::NotYet));
    assert_eq!(with("iat", json!(NOW + 31)), Err(TokenFault::NotYet));
    let mut without = claims();
    without.as_object_mut().unwrap().remove("exp");
    assert_eq!(issuer.verify(&issuer.token(header(), without)), Err(TokenFault::NoExpiry));
}

#[test]
fn members_named_twice_are_refused_in_header_and_claims() {
    let issuer = issuer();
    let twice = r#"{"alg":"none","alg":"ES256","kid":"k1"}"#;
    assert_eq!(issuer.verify(&issuer.raw(twice, &claims().to_string())), Err(TokenFault::Duplicate));
    let body = claims().to_string().replace("\"sub\":\"s\"", "\"sub\":\"s\",\"sub\":\"admin\"");
    assert_eq!(issuer.verify(&issuer.raw(&header().to_string(), &body)), Err(TokenFault::Duplicate));
}

#[test]
fn broken_tokens_are_refused_without_panic() {
    let issuer = issuer();
    let good = issuer.token(header(), claims());
    for cut in 0..good.len() {
        assert!(issuer.verify(&good[..cut]).is_err(), "cut at {cut}");
    }
    for extra in
        ["", ".", "..", "...", "a.b.c", &format!("{good} "), &format!("{good}="), &format!("{good}.x")]
    {
        assert!(issuer.verify(extra).is_err(), "{extra}");
    }
    assert_eq!(issuer.verify(&"a".repeat(5000)), Err(TokenFault::Oversize(4096)));
}

#[test]
fn any_changed_byte_of_the_signed_part_is_noticed() {
    let issuer = issuer();
    let good = issuer.token(header(), claims());
    let end = good.rfind('.').unwrap();
    for place in 0..end {
        let mut bytes = good.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        assert!(issuer.verify(std::str::from_utf8(&bytes).unwrap()).is_err(), "byte {place}");
    }
}

#[test]
fn weak_encrypting_and_ambiguous_keys_are_not_taken() {
    let short = json!({"keys": [{"kty": "RSA", "kid": "a", "n": B64.encode([0xff_u8; 128]), "e": "AQAB"}]});
    assert!(KeySet::parse(short.to_string().as_bytes()).unwrap().is_empty());
    let mut set: Value = serde_json::from_slice(&issuer().keys).unwrap();
    set["keys"][0]["use"] = json!("enc");
    assert!(KeySet::parse(set.to_string().as_bytes()).unwrap().is_empty());
    let mut set: Value = serde_json::from_slice(&issuer().keys).unwrap();
    let key = set["keys"][0].clone();
    set["keys"].as_array_mut().unwrap().push(key);
    assert!(KeySet::parse(set.to_string().as_bytes()).is_err());
}
