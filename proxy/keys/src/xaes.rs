//! XAES-256-GCM (C2SP): AES-256-GCM with a 192-bit nonce, safe to draw at random for a lifetime of messages.

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};
use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead as _, Payload};

use crate::KeyError;
use crate::secret::Secret;

/// The nonce's length.
pub const NONCE_BYTES: usize = 24;

/// The key of one message: SP 800-108 in counter mode over CMAC, two blocks.
fn message_key(key: &Secret, nonce: &[u8; NONCE_BYTES]) -> Secret {
    let cipher = Aes256::new(&key.0.into());
    let mut l = [0_u8; 16].into();
    cipher.encrypt_block(&mut l);
    // CMAC's first subkey: L doubled in GF(2^128).
    let l: [u8; 16] = l.into();
    let mut k1 = (u128::from_be_bytes(l) << 1).to_be_bytes();
    if l[0] & 0x80 != 0 {
        k1[15] ^= 0x87;
    }
    let mut derived = [0; 32];
    for counter in 1..=2_u8 {
        let mut block = [0_u8; 16];
        block[1] = counter;
        block[2] = b'X';
        block[4..].copy_from_slice(&nonce[..12]);
        for (byte, k) in block.iter_mut().zip(k1) {
            *byte ^= k;
        }
        let mut block = block.into();
        cipher.encrypt_block(&mut block);
        let at = usize::from(counter - 1) * 16;
        derived[at..at + 16].copy_from_slice(&block);
    }
    Secret(derived)
}

fn gcm_nonce(nonce: &[u8; NONCE_BYTES]) -> [u8; 12] {
    let mut half = [0; 12];
    half.copy_from_slice(&nonce[12..]);
    half
}

/// Ciphertext ‖ tag.
pub fn seal(key: &Secret, nonce: &[u8; NONCE_BYTES], aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, KeyError> {
    let derived = message_key(key, nonce);
    let cipher = Aes256Gcm::new(&derived.0.into());
    cipher.encrypt(&gcm_nonce(nonce).into(), Payload { msg: plain, aad }).map_err(|_| KeyError::Format)
}

/// The plaintext, or an error when anything was changed.
pub fn open(key: &Secret, nonce: &[u8; NONCE_BYTES], aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
    let derived = message_key(key, nonce);
    let cipher = Aes256Gcm::new(&derived.0.into());
    cipher.decrypt(&gcm_nonce(nonce).into(), Payload { msg: sealed, aad }).map_err(|_| KeyError::Open)
}

/// Nonce ‖ ciphertext ‖ tag with a fresh nonce, for what carries no header of its own.
pub(crate) fn seal_fresh(key: &Secret, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, KeyError> {
    let nonce = crate::random::<NONCE_BYTES>()?;
    let mut out = nonce.to_vec();
    out.extend(seal(key, &nonce, aad, plain)?);
    Ok(out)
}

pub(crate) fn open_fresh(key: &Secret, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(KeyError::Format)?;
    open(key, nonce, aad, sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_printed_vectors_of_the_specification_are_reproduced() {
        let nonce = *b"ABCDEFGHIJKLMNOPQRSTUVWX";
        let hex = |b: Vec<u8>| b.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let one = seal(&Secret::new([1; 32]), &nonce, b"", b"XAES-256-GCM").unwrap();
        assert_eq!(hex(one), "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271");
        let two = seal(&Secret::new([3; 32]), &nonce, b"c2sp.org/XAES-256-GCM", b"XAES-256-GCM").unwrap();
        assert_eq!(hex(two), "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d");
    }
}
