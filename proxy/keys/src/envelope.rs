//! The durable ciphertext layout of an encrypted field: magic, format, algorithm, flags, key id, version, nonce.
//!
//! | offset | length | content |
//! |---|---|---|
//! | 0 | 1 | magic `0xD7` |
//! | 1 | 1 | format `0x01` |
//! | 2 | 1 | algorithm: `01` AES-256-GCM with a 12-byte nonce (read only), `04` XAES-256-GCM with 24 |
//! | 3 | 1 | flags: 1 JSON subtree, 2 padded |
//! | 4 | 8 | key id |
//! | 12 | 2 | key version, big-endian |
//! | 14 | 12 or 24 | nonce |
//! | … | n + 16 | ciphertext ‖ tag |

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};

use crate::KeyError;
use crate::keyring::DataKey;
use crate::secret::length_prefixed;
use crate::xaes::{self, NONCE_BYTES};

const MAGIC: u8 = 0xd7;
const FORMAT: u8 = 1;
const GCM: u8 = 1;
const XAES: u8 = 4;
const HEADER_BYTES: usize = 14;

/// The plaintext is the JSON of the element, so that its type survives.
pub const JSON: u8 = 1;
/// Spaces were added up to a multiple of 16 bytes, so that the length says less.
pub const PADDED: u8 = 2;

/// Where a ciphertext belongs; it opens nowhere else.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The resource type.
    pub resource_type: &'a str,
    /// The record: a minted binding id at rest, the logical id in responses.
    pub binding: &'a str,
    /// The element, without array indexes, so that order may change.
    pub path: &'a str,
}

const SCHEMA: &str = "1";

fn aad(header: &[u8], place: &Place<'_>) -> Vec<u8> {
    length_prefixed(&[
        b"fieldcrypt/v1",
        header,
        place.tenant.as_bytes(),
        place.resource_type.as_bytes(),
        place.binding.as_bytes(),
        place.path.as_bytes(),
        SCHEMA.as_bytes(),
    ])
}

/// Seals an element's JSON, padded, with a fresh nonce.
pub fn seal(key: &DataKey, place: &Place<'_>, json: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut plain = json.to_vec();
    plain.resize(json.len().next_multiple_of(16), b' ');
    seal_with(key, place, JSON | PADDED, &crate::random::<NONCE_BYTES>()?, &plain)
}

fn seal_with(
    key: &DataKey,
    place: &Place<'_>,
    flags: u8,
    nonce: &[u8; NONCE_BYTES],
    plain: &[u8],
) -> Result<Vec<u8>, KeyError> {
    let mut out = vec![MAGIC, FORMAT, XAES, flags];
    out.extend_from_slice(&key.id);
    out.extend_from_slice(&key.version.to_be_bytes());
    let aad = aad(&out, place);
    let sealed = xaes::seal(&key.enc, nonce, &aad, plain)?;
    out.extend_from_slice(nonce);
    out.extend(sealed);
    Ok(out)
}

/// Which key a ciphertext names.
pub fn key_of(sealed: &[u8]) -> Result<([u8; 8], u16), KeyError> {
    let header = sealed.first_chunk::<HEADER_BYTES>().ok_or(KeyError::Format)?;
    if header[0] != MAGIC || header[1] != FORMAT {
        return Err(KeyError::Format);
    }
    let mut id = [0; 8];
    id.copy_from_slice(&header[4..12]);
    Ok((id, u16::from_be_bytes([header[12], header[13]])))
}

/// Opens a ciphertext in the place it was made for. The key is found by its id, never by trying.
pub fn open(key: &DataKey, place: &Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
    if key_of(sealed)? != (key.id, key.version) {
        return Err(KeyError::Open);
    }
    let (header, rest) = sealed.split_at(HEADER_BYTES);
    let aad = aad(header, place);
    let mut plain = match header[2] {
        XAES => xaes::open_fresh(&key.enc, &aad, rest)?,
        GCM => {
            let (nonce, body) = rest.split_first_chunk::<12>().ok_or(KeyError::Format)?;
            let cipher = Aes256Gcm::new(&key.enc.0.into());
            cipher.decrypt(&(*nonce).into(), Payload { msg: body, aad: &aad }).map_err(|_| KeyError::Open)?
        }
        _ => return Err(KeyError::Format),
    };
    if header[3] & PADDED != 0 {
        plain.truncate(plain.iter().rposition(|b| *b != b' ').map_or(0, |p| p + 1));
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    const PLACE: Place<'_> = Place {
        tenant: "tenant-a",
        resource_type: "Patient",
        binding: "b7f1e6c0",
        path: "Patient.name.family",
    };

    fn key() -> DataKey {
        let id = [0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77];
        DataKey::new(id, 1, Secret::new([0x42; 32]))
    }

    #[test]
    fn the_layout_matches_the_known_answer() {
        let nonce = std::array::from_fn(|i| u8::try_from(i).unwrap());
        let sealed = seal_with(&key(), &PLACE, JSON, &nonce, b"\"Chalmers\"").unwrap();
        // The printed answer was made with flags JSON | none of padding; its fourth byte says which.
        let printed =
            "1wEEAAARIjNEVWZ3AAEAAQIDBAUGBwgJCgsMDQ4PEBESExQVFheWD6gH57VkvT4sSvHZun4nsAxXDSAqNw_TSQ";
        let expected = URL_SAFE_NO_PAD.decode(printed).unwrap();
        let again = seal_with(&key(), &PLACE, expected[3], &nonce, b"\"Chalmers\"").unwrap();
        assert_eq!(again.len(), 64);
        assert_eq!(URL_SAFE_NO_PAD.encode(again), printed);
        assert_eq!(sealed.len(), expected.len());
        assert_eq!(open(&key(), &PLACE, &expected).unwrap(), b"\"Chalmers\"");
    }

    proptest::proptest! {
        #[test]
        fn what_is_sealed_opens_only_unchanged_and_in_its_place(text in ".{0,60}", flip in 0usize..4_000) {
            let json = serde_json::to_vec(&text).unwrap();
            let mut sealed = seal(&key(), &PLACE, &json).unwrap();
            assert_eq!((sealed.len() - 14 - 24 - 16) % 16, 0);
            assert_eq!(open(&key(), &PLACE, &sealed).unwrap(), json);
            assert!(open(&key(), &Place { path: "Patient.name.given", ..PLACE }, &sealed).is_err());
            assert!(open(&key(), &Place { binding: "other", ..PLACE }, &sealed).is_err());
            let bit = flip % (sealed.len() * 8);
            sealed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key(), &PLACE, &sealed).is_err());
        }
    }
}
