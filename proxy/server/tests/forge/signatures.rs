//! Attacks by the signature itself.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256};
use serde_json::json;

use super::{Attack, Forge, b64, ec_header, rsa_header};

/// The order of P-256.
const N: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// a - b, for a ≥ b.
fn minus(a: &[u8; 32], b: &[u8]) -> [u8; 32] {
    let (mut out, mut borrow) = ([0; 32], 0);
    for place in (0..32).rev() {
        let difference = i16::from(a[place]) - i16::from(b[place]) - borrow;
        borrow = i16::from(difference < 0);
        out[place] = u8::try_from(difference + 256 * borrow).unwrap();
    }
    out
}

/// An integer of DER.
fn integer(number: &[u8]) -> Vec<u8> {
    let first = number.iter().position(|b| *b != 0).unwrap_or(31);
    let mut value = number[first..].to_vec();
    if value[0] > 127 {
        value.insert(0, 0);
    }
    let mut out = vec![2, u8::try_from(value.len()).unwrap()];
    out.extend(value);
    out
}

impl Forge {
    fn message(&self, header: &serde_json::Value) -> String {
        format!("{}.{}", b64(header.to_string()), b64(self.claims().to_string()))
    }

    /// The same token with its signature (r, s) and with (r, n - s).
    pub(crate) fn mirrored(&self) -> (String, String) {
        let message = self.message(&ec_header());
        let mut signature = self.keys.ec_sign(&message);
        let plain = format!("{message}.{}", b64(&signature));
        let other = minus(&N, &signature[32..]);
        signature[32..].copy_from_slice(&other);
        (plain, format!("{message}.{}", b64(signature)))
    }

    pub(super) fn elliptic(&self) -> Vec<Attack> {
        let message = self.message(&ec_header());
        let good = self.keys.ec_sign(&message);
        let (r, s) = good.split_at(32);
        let body = [integer(r), integer(s)].concat();
        let der = [&[0x30, u8::try_from(body.len()).unwrap()][..], &body].concat();
        let zero = [0; 32];
        let one = minus(
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
            &{
                let mut one = [0; 32];
                one[31] = 1;
                one
            },
        );
        let cases: Vec<(&str, Vec<u8>)> = vec![
            ("nothing at all", vec![]),
            ("r and s are 0 (psychic signature)", [zero, zero].concat()),
            ("r is 0", [&zero, s].concat()),
            ("s is 0", [r, &zero].concat()),
            ("r and s are 1", [one, one].concat()),
            ("r is the order of the curve", [&N, s].concat()),
            ("s is the order of the curve", [r, &N].concat()),
            ("r and s are the order of the curve", [N, N].concat()),
            ("r and s of all ones", vec![0xff; 64]),
            ("r and s change places", [s, r].concat()),
            ("in DER", der),
            ("one byte short", good[..63].to_vec()),
            ("one byte more", [&good[..], &[0]].concat()),
            ("a zero before each number", [&[0], r, &[0], s].concat()),
            ("of another message", self.keys.ec_sign("another")),
            ("of P-384's length", [&[0; 16], r, &[0; 16], s].concat()),
        ];
        let mut all: Vec<Attack> = cases
            .into_iter()
            .map(|(name, signature)| {
                (format!("ES256 signature: {name}"), format!("{message}.{}", b64(signature)))
            })
            .collect();
        let raised = b64(self.with(json!({"sub": "director"})).to_string());
        let header = b64(ec_header().to_string());
        all.push((
            "another sub under a good ES256 signature".into(),
            format!("{header}.{raised}.{}", b64(&good)),
        ));
        all
    }

    pub(super) fn rsa(&self) -> Vec<Attack> {
        let message = self.message(&rsa_header());
        let good = self.keys.rsa_sign(&aws_lc_rs::signature::RSA_PKCS1_SHA256, &message);
        let mut flipped = good.clone();
        flipped[200] ^= 1;
        let cases: Vec<(&str, Vec<u8>)> = vec![
            ("nothing at all", vec![]),
            ("zeros", vec![0; 256]),
            ("one", [vec![0; 255], vec![1]].concat()),
            ("the padded digest itself", padded(&message, 256)),
            ("one byte short", good[1..].to_vec()),
            ("a zero before it", [vec![0], good.clone()].concat()),
            ("one bit changed", flipped),
            ("over SHA-384", self.keys.rsa_sign(&RSA_PKCS1_SHA384, &message)),
            ("over SHA-512", self.keys.rsa_sign(&RSA_PKCS1_SHA512, &message)),
            ("PSS", self.keys.rsa_sign(&RSA_PSS_SHA256, &message)),
            ("of another message", self.keys.rsa_sign(&aws_lc_rs::signature::RSA_PKCS1_SHA256, "another")),
        ];
        let mut all: Vec<Attack> = cases
            .into_iter()
            .map(|(name, signature)| {
                (format!("RS256 signature: {name}"), format!("{message}.{}", b64(signature)))
            })
            .collect();
        // RS384 is good elsewhere, but not allowed to this issuer.
        let message = self.message(&json!({"alg": "RS384", "kid": "rsa"}));
        let signature = b64(self.keys.rsa_sign(&RSA_PKCS1_SHA384, &message));
        all.push(("RS384, which this issuer does not use".into(), format!("{message}.{signature}")));
        let header = b64(rsa_header().to_string());
        for (name, changes) in [
            ("sub", json!({"sub": "director"})),
            ("roles", json!({"roles": ["records-officer", "privacy-officer"]})),
            ("exp", json!({"exp": self.now + 1_000_000})),
            ("aud", json!({"aud": [crate::AUDIENCE, "https://b.example.org/fhir"]})),
        ] {
            let raised = b64(self.with(changes).to_string());
            all.push((
                format!("another {name} under a good RS256 signature"),
                format!("{header}.{raised}.{}", b64(&good)),
            ));
        }
        all
    }
}

/// EMSA-PKCS1-v1_5 of SHA-256: what an RSA signature gives back, and what it is under an exponent of 1.
pub(super) fn padded(message: &str, length: usize) -> Vec<u8> {
    const INFO: [u8; 19] = [
        0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
        0x04, 0x20,
    ];
    let digest = digest::digest(&digest::SHA256, message.as_bytes());
    let fill = vec![0xff; length - 3 - INFO.len() - 32];
    [&[0, 1][..], &fill, &[0], &INFO, digest.as_ref()].concat()
}
