//! How an event is hidden: fresh commitment keys, encryption under a monthly key, blind index tags.

use std::sync::Arc;

use aes::Aes256;
use aes::cipher::{Block, BlockCipherEncrypt};
use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead, KeyInit, Nonce, Payload};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::event::Class;
use crate::leaf::{Leaf, array};
use crate::time::period;

/// Fills a buffer with randomness, or says why it cannot; injected so that tests are repeatable.
pub type Randomness = Arc<dyn Fn(&mut [u8]) -> std::io::Result<()> + Send + Sync>;

/// The operating system's randomness.
pub fn os_randomness() -> Randomness {
    Arc::new(|bytes| getrandom::fill(bytes).map_err(|error| std::io::Error::other(error.to_string())))
}

/// Bytes of a blind index tag.
pub const TAG_BYTES: usize = 16;

/// A blind index tag of one patient of one tenant.
pub type Tag = [u8; TAG_BYTES];

/// The log's secret, 32 bytes: event keys and blind index keys are derived from it.
///
/// Whoever holds it can read every event that was not erased. Without it the log can still be verified.
#[derive(Clone)]
pub struct EventSecret(Zeroizing<[u8; 32]>);

impl EventSecret {
    /// Takes the secret over; the caller's copy is the caller's to wipe.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// HKDF-SHA-256 (RFC 5869) without salt; `info` is the length-prefixed purpose and part.
    fn derive(&self, purpose: &str, part: &str) -> Option<Zeroizing<[u8; 32]>> {
        let mut info = Vec::new();
        for text in ["drape-audit/v1", purpose, part] {
            info.extend_from_slice(&u32::try_from(text.len()).ok()?.to_be_bytes());
            info.extend_from_slice(text.as_bytes());
        }
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, self.0.as_slice()).expand(&info, key.as_mut_slice()).ok()?;
        Some(key)
    }

    /// The blind index tag of a patient: HMAC-SHA-256 under a key of its own, cut to 16 bytes.
    pub fn tag(&self, tenant: &str, patient: &str) -> Option<Tag> {
        let key = self.derive("index", "")?;
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_slice()).ok()?;
        mac.update(&(tenant.len() as u64).to_be_bytes());
        mac.update(tenant.as_bytes());
        mac.update(patient.as_bytes());
        Some(array(&mac.finalize().into_bytes()))
    }
}

impl std::fmt::Debug for EventSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventSecret(…)")
    }
}

/// Why an event could not be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealFault {
    /// No randomness.
    #[error("the source of randomness failed")]
    Randomness,
    /// More than 65,535 patients, or a cipher refused.
    #[error("the event cannot be encrypted")]
    Cipher,
}

/// Why a stored event does not open. Which of the two it is decides between "sealed" and "changed".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenFault {
    /// Cut short or not of our layout.
    #[error("its layout is not ours")]
    Layout,
    /// The authentication tag does not fit: changed, or another secret.
    #[error("it does not decrypt under this log's secret")]
    Cipher,
    /// It decrypts, but is not what the leaf commits to.
    #[error("it is not the event that its leaf commits to")]
    Commitment,
}

/// A sealed event: what goes into the leaf, and the body for the event store.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// For the leaf.
    pub commitment: [u8; 32],
    /// `tag count u16 ‖ tags ‖ nonce [24] ‖ XAES-256-GCM(k ‖ canonical event)`.
    pub body: Vec<u8>,
}

/// Seals one event: a fresh k, the commitment, and the ciphertext bound to time, class, commitment and tags.
pub fn seal(
    secret: &EventSecret,
    randomness: &Randomness,
    time_ms: u64,
    class: Class,
    canonical: &[u8],
    tags: &[Tag],
) -> Result<Sealed, SealFault> {
    let mut drawn = Zeroizing::new([0; 56]);
    randomness(drawn.as_mut_slice()).map_err(|_| SealFault::Randomness)?;
    let (k, nonce) = drawn.split_at(32);
    let commitment = commit(k, canonical).ok_or(SealFault::Cipher)?;

    let mut body = Vec::with_capacity(2 + tags.len() * TAG_BYTES + 24 + 32 + canonical.len() + 16);
    body.extend_from_slice(&u16::try_from(tags.len()).map_err(|_| SealFault::Cipher)?.to_be_bytes());
    tags.iter().for_each(|tag| body.extend_from_slice(tag));
    let aad = associated(time_ms, class, &commitment, &body);
    let mut plaintext = Zeroizing::new(Vec::with_capacity(32 + canonical.len()));
    plaintext.extend_from_slice(k);
    plaintext.extend_from_slice(canonical);
    let key = secret.derive("event", &period(time_ms)).ok_or(SealFault::Cipher)?;
    let ciphertext = xaes_seal(&key, nonce, &plaintext, &aad).ok_or(SealFault::Cipher)?;
    body.extend_from_slice(nonce);
    body.extend_from_slice(&ciphertext);
    Ok(Sealed { commitment, body })
}

/// Opens a stored body and checks it against its leaf; gives the canonical event.
pub fn open(secret: &EventSecret, leaf: &Leaf, body: &[u8]) -> Result<Vec<u8>, OpenFault> {
    let (tags, rest) = split_tags(body).ok_or(OpenFault::Layout)?;
    let (nonce, ciphertext) = rest.split_at_checked(24).ok_or(OpenFault::Layout)?;
    let head = &body[..2 + tags.len()];
    let aad = associated(leaf.time_ms, leaf.class, &leaf.commitment, head);
    let key = secret.derive("event", &period(leaf.time_ms)).ok_or(OpenFault::Cipher)?;
    let plaintext = Zeroizing::new(xaes_open(&key, nonce, ciphertext, &aad).ok_or(OpenFault::Cipher)?);
    let (k, canonical) = plaintext.split_at_checked(32).ok_or(OpenFault::Layout)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(k).map_err(|_| OpenFault::Cipher)?;
    mac.update(canonical);
    mac.verify_slice(&leaf.commitment).map_err(|_| OpenFault::Commitment)?;
    Ok(canonical.to_vec())
}

/// The blind index tags of a stored body, as bytes one after the other, and what follows them.
pub(crate) fn split_tags(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (count, rest) = body.split_at_checked(2)?;
    let bytes = usize::from(u16::from_be_bytes(array(count))) * TAG_BYTES;
    rest.split_at_checked(bytes)
}

fn commit(k: &[u8], canonical: &[u8]) -> Option<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(k).ok()?;
    mac.update(canonical);
    Some(mac.finalize().into_bytes().into())
}

fn associated(time_ms: u64, class: Class, commitment: &[u8; 32], head: &[u8]) -> Vec<u8> {
    let mut aad = b"drape-audit/v1".to_vec();
    aad.extend_from_slice(&time_ms.to_be_bytes());
    aad.push(class.byte());
    aad.extend_from_slice(commitment);
    aad.extend_from_slice(head);
    aad
}

/// The one-message AES-256-GCM cipher of C2SP XAES-256-GCM: a key derived from the first half of a 24-byte nonce.
fn xaes_cipher(key: &[u8; 32], nonce: &[u8]) -> Option<Aes256Gcm> {
    let aes = <Aes256 as aes::cipher::KeyInit>::new_from_slice(key).ok()?;
    // The subkey K1 of CMAC (SP 800-38B): double the encryption of zero in GF(2^128).
    let mut k1 = Block::<Aes256>::default();
    aes.encrypt_block(&mut k1);
    let carry = k1[0] >> 7;
    let mut next = 0;
    for byte in k1.iter_mut().rev() {
        let top = *byte >> 7;
        *byte = (*byte << 1) | next;
        next = top;
    }
    k1[15] ^= carry * 0x87;

    let mut derived = Zeroizing::new([0u8; 32]);
    for (half, counter) in derived.chunks_exact_mut(16).zip([1u8, 2]) {
        // SP 800-108 in counter mode, r = 16, label `X`, context the first 12 bytes of the nonce.
        let mut block = Block::<Aes256>::default();
        block[..4].copy_from_slice(&[0, counter, b'X', 0]);
        block[4..].copy_from_slice(&nonce[..12]);
        block.iter_mut().zip(k1.iter()).for_each(|(a, b)| *a ^= b);
        aes.encrypt_block(&mut block);
        half.copy_from_slice(&block);
        block.as_mut_slice().zeroize();
    }
    Aes256Gcm::new_from_slice(derived.as_slice()).ok()
}

fn xaes_seal(key: &[u8; 32], nonce: &[u8], msg: &[u8], aad: &[u8]) -> Option<Vec<u8>> {
    let cipher = xaes_cipher(key, nonce)?;
    cipher.encrypt(&Nonce::<Aes256Gcm>::try_from(&nonce[12..]).ok()?, Payload { msg, aad }).ok()
}

fn xaes_open(key: &[u8; 32], nonce: &[u8], msg: &[u8], aad: &[u8]) -> Option<Vec<u8>> {
    let cipher = xaes_cipher(key, nonce)?;
    cipher.decrypt(&Nonce::<Aes256Gcm>::try_from(&nonce[12..]).ok()?, Payload { msg, aad }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaf::hex;

    fn leaf(commitment: [u8; 32]) -> Leaf {
        Leaf { replica: [0; 8], sequence: 0, previous: [0; 32], time_ms: 5, class: Class::Intent, commitment }
    }

    #[test]
    fn xaes_gives_the_vectors_of_its_specification() {
        let nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX";
        let sealed = xaes_seal(&[1; 32], nonce, b"XAES-256-GCM", b"").unwrap();
        assert_eq!(hex(&sealed), "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271");
        let sealed = xaes_seal(&[3; 32], nonce, b"XAES-256-GCM", b"c2sp.org/XAES-256-GCM").unwrap();
        assert_eq!(hex(&sealed), "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d");
    }

    #[test]
    fn a_sealed_event_opens_only_unchanged_under_its_leaf_and_secret() {
        let secret = EventSecret::new([7; 32]);
        let tag = secret.tag("north", "p-1").unwrap();
        let sealed = seal(&secret, &os_randomness(), 5, Class::Intent, b"event", &[tag]).unwrap();
        let leaf = leaf(sealed.commitment);
        assert_eq!(open(&secret, &leaf, &sealed.body).unwrap(), b"event");
        assert_eq!(split_tags(&sealed.body).unwrap().0, tag);
        for at in 0..sealed.body.len() {
            let mut changed = sealed.body.clone();
            changed[at] ^= 1;
            assert!(open(&secret, &leaf, &changed).is_err(), "byte {at} is not authenticated");
        }
        assert_eq!(open(&EventSecret::new([8; 32]), &leaf, &sealed.body), Err(OpenFault::Cipher));
        assert!(open(&secret, &Leaf { class: Class::Outcome, ..leaf }, &sealed.body).is_err());
        assert!(open(&secret, &Leaf { time_ms: 6, ..leaf }, &sealed.body).is_err());
    }

    #[test]
    fn the_same_event_never_gives_the_same_commitment_twice() {
        let secret = EventSecret::new([7; 32]);
        let one = seal(&secret, &os_randomness(), 5, Class::Intent, b"event", &[]).unwrap();
        let two = seal(&secret, &os_randomness(), 5, Class::Intent, b"event", &[]).unwrap();
        assert_ne!(one.commitment, two.commitment);
        assert_ne!(one.body, two.body);
    }

    #[test]
    fn tags_differ_between_tenants_patients_and_secrets() {
        let secret = EventSecret::new([7; 32]);
        let tags = [
            secret.tag("a", "bc").unwrap(),
            secret.tag("ab", "c").unwrap(),
            secret.tag("a", "bd").unwrap(),
            EventSecret::new([8; 32]).tag("a", "bc").unwrap(),
        ];
        for (i, one) in tags.iter().enumerate() {
            assert!(tags[i + 1..].iter().all(|other| one != other));
        }
    }

    #[test]
    fn failing_randomness_is_an_error_and_never_a_weak_key() {
        let broken: Randomness = Arc::new(|_| Err(std::io::Error::other("no entropy")));
        let sealed = seal(&EventSecret::new([7; 32]), &broken, 5, Class::Intent, b"event", &[]);
        assert_eq!(sealed.unwrap_err(), SealFault::Randomness);
    }
}
