//! Signed assertions: what stands in them, and which keys are not taken.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as B64};
use drape_caller::client_assertion::{AssertionAlgorithm, AssertionFault, AssertionKey, key_set};
use drape_caller::{Algorithm, KeySet, Peek, Rules, TokenFault};
use serde_json::Value;

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
}

fn rsa(size: KeySize) -> String {
    let key = aws_lc_rs::rsa::KeyPair::generate(size).unwrap();
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    pem(der.as_ref())
}

fn ec(algorithm: &'static aws_lc_rs::signature::EcdsaSigningAlgorithm) -> String {
    pem(EcdsaKeyPair::generate(algorithm).unwrap().to_pkcs8v1().unwrap().as_ref())
}

#[test]
fn an_assertion_says_who_for_whom_and_for_how_long_and_its_public_key_proves_it() {
    let cases = [
        (AssertionAlgorithm::Rs384, Algorithm::Rs384, rsa(KeySize::Rsa2048)),
        (AssertionAlgorithm::Es384, Algorithm::Es384, ec(&ECDSA_P384_SHA384_FIXED_SIGNING)),
    ];
    for (algorithm, verified, pem) in cases {
        let key = AssertionKey::parse(pem.as_bytes(), algorithm, None, Some("https://d/jwks")).unwrap();
        let token = key.sign("client", "https://as/token", "id-1", 1_000).unwrap();
        let header: Value =
            serde_json::from_slice(&B64.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
        assert_eq!(header["alg"], algorithm.name());
        assert_eq!(header["typ"], "JWT");
        assert_eq!(header["jku"], "https://d/jwks");
        assert_eq!(header["kid"], key.public()["kid"]);
        let claims: Value =
            serde_json::from_slice(&B64.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
        assert_eq!((claims["iss"].as_str(), claims["sub"].as_str()), (Some("client"), Some("client")));
        assert_eq!((claims["iat"].as_u64(), claims["exp"].as_u64()), (Some(1_000), Some(1_240)));
        assert_eq!(
            (claims["jti"].as_str(), claims["aud"].as_str()),
            (Some("id-1"), Some("https://as/token"))
        );
        // Its `jku` makes it no access token; without one it verifies under the key that is published.
        assert_eq!(Peek::read(&token, 4_096).unwrap_err(), TokenFault::Header("jku"));
        let plain = AssertionKey::parse(pem.as_bytes(), algorithm, Some("k"), None).unwrap();
        let token = plain.sign("client", "https://as/token", "id-1", 1_000).unwrap();
        let keys = KeySet::parse(key_set([plain.public(), plain.public()]).to_string().as_bytes()).unwrap();
        assert_eq!(keys.len(), 1);
        let audiences = ["https://as/token".to_owned()];
        let rules = Rules { issuer: "client", audiences: &audiences, algorithms: &[verified], skew: 0 };
        assert!(Peek::read(&token, 4_096).unwrap().verify(&token, &keys, &rules, 1_100).is_ok());
        let text = format!("{key:?} {}", key.public());
        assert!(!text.contains("\"d\"") && !text.contains("PRIVATE"), "{text}");
    }
}

#[test]
fn a_key_of_another_kind_curve_or_strength_is_not_taken() {
    use AssertionAlgorithm::{Es384, Rs384};
    let parse =
        |pem: &str, algorithm| AssertionKey::parse(pem.as_bytes(), algorithm, None, None).unwrap_err();
    let p256 = ec(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let p384 = ec(&ECDSA_P384_SHA384_FIXED_SIGNING);
    assert_eq!(parse(&p256, Es384), AssertionFault::Key("ES384"));
    assert_eq!(parse(&p384, Rs384), AssertionFault::Key("RS384"));
    assert_eq!(parse(&rsa(KeySize::Rsa2048), Es384), AssertionFault::Key("ES384"));
    assert_eq!(parse("", Rs384), AssertionFault::Key("RS384"));
    assert_eq!(
        parse("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", Es384),
        AssertionFault::Key("ES384")
    );
}
