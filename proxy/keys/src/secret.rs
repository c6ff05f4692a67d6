//! Derivation: HKDF-SHA-256 with length-prefixed parts, one purpose, one key.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// 32 bytes that are wiped when dropped and never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret(pub(crate) [u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// From its bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for keys of other crates.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// `HKDF(salt none, info = LP("fieldcrypt/v1", purpose, parts…))`.
    pub fn derive(&self, purpose: &str, parts: &[&str]) -> Secret {
        let mut all: Vec<&[u8]> = vec![b"fieldcrypt/v1", purpose.as_bytes()];
        all.extend(parts.iter().map(|p| p.as_bytes()));
        let mut out = [0; 32];
        // 32 bytes are far below HKDF's bound of 255 blocks, the only way this can fail.
        if Hkdf::<Sha256>::new(None, &self.0).expand(&length_prefixed(&all), &mut out).is_err() {
            out = [0; 32];
        }
        Secret(out)
    }
}

/// Each part behind its length as u32 big-endian, so that no two lists of parts look alike.
pub fn length_prefixed(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|p| p.len() + 4).sum());
    for part in parts {
        out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

pub(crate) fn hmac(key: &Secret, message: &[u8]) -> [u8; 32] {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    match Hmac::<Sha256>::new_from_slice(&key.0) {
        Ok(mut mac) => {
            mac.update(message);
            mac.finalize().into_bytes().into()
        }
        // HMAC takes keys of any length.
        Err(_) => [0; 32],
    }
}

/// The blind index of a searchable value: HMAC-SHA-256 under a key of the tenant and element path.
pub fn blind_index(root: &Secret, tenant: &str, path: &str, value: &str) -> [u8; 32] {
    hmac(&root.derive("blind", &[tenant, path]), value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn derivations_match_the_known_answers() {
        let dek = Secret::new([0x42; 32]);
        assert_eq!(
            hex(dek.derive("enc", &[]).expose()),
            "f1c77a67ce5791db368ab9a4c128d9a9e0ef21b95518dccd83370a535cda840d"
        );
        let root = Secret::new(std::array::from_fn(|i| u8::try_from(i).unwrap()));
        let key = hex(root.derive("blind", &["tenant-a", "Patient.identifier.value"]).expose());
        assert!(key.starts_with("71e9a9f4") && key.ends_with("20c7"), "{key}");
        let index = hex(&blind_index(&root, "tenant-a", "Patient.identifier.value", "MRN12345"));
        assert!(index.starts_with("0cd926ac") && index.ends_with("232e"), "{index}");
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", Secret::new([7; 32])), "Secret(…)");
    }
}
