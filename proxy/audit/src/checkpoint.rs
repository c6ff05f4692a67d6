//! Signed tree heads: C2SP tlog-checkpoint as a signed note with Ed25519.

use std::path::Path;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::leaf::{array, hex};
use crate::seal::Randomness;
use crate::tiles::read_bounded;
use crate::tree::Hash;

/// The signature type byte of Ed25519 (signed-note).
const ED25519_TYPE: u8 = 0x01;

/// A checkpoint with witnesses' signatures is still far smaller.
pub(crate) const CHECKPOINT_BYTES_MAX: u64 = 256 * 1024;

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// How many leaves.
    pub size: u64,
    /// The Merkle tree hash at that size.
    pub root: Hash,
}

/// Why a checkpoint, a key or a proof is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteFault {
    /// The text is not a signed note with a checkpoint in it.
    #[error("it is not a checkpoint: {0}")]
    Malformed(&'static str),
    /// Its first line names another log.
    #[error("it is of the log `{found}`, not of `{wanted}`")]
    Origin {
        /// What it says.
        found: String,
        /// What was wanted.
        wanted: String,
    },
    /// It carries no signature by this key: replaced, or the wrong key.
    #[error("it is not signed by the key `{0}`")]
    Unsigned(String),
    /// It carries a signature by this key that does not fit: changed.
    #[error("its signature by the key `{0}` does not fit: it was changed")]
    Signature(String),
    /// A verifier key string cannot be read.
    #[error("`{0}` is no verifier key; help: it looks like `name+hash+base64`, and `{{log}}.pub` holds it")]
    Key(String),
    /// An origin that no note can carry.
    #[error(
        "`{0}` is no origin; help: use a URL without scheme, without spaces and `+`, like `audit.example.org/log`"
    )]
    Name(String),
    /// A key file cannot be read or made.
    #[error("the signing key `{path}`: {reason}")]
    File {
        /// Which file.
        path: String,
        /// Why.
        reason: String,
    },
}

impl Checkpoint {
    /// The note text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// Verifies a signed note and reads the checkpoint. Signatures by other keys are ignored (signed-note).
    pub fn verify(note: &str, key: &VerifierKey) -> Result<Self, NoteFault> {
        if note.chars().any(|c| c.is_ascii_control() && c != '\n') {
            return Err(NoteFault::Malformed("it has control characters"));
        }
        let split = note.rfind("\n\n").ok_or(NoteFault::Malformed("it has no signatures"))?;
        let (text, signatures) = (&note[..=split], &note[split + 2..]);
        if signatures.is_empty() || !signatures.ends_with('\n') {
            return Err(NoteFault::Malformed("it is cut short"));
        }
        let mut signed = false;
        for line in signatures.lines() {
            let fields = line.strip_prefix("— ").and_then(|rest| rest.split_once(' '));
            let (name, encoded) = fields.ok_or(NoteFault::Malformed("a signature line is malformed"))?;
            let bytes = STANDARD.decode(encoded);
            let bytes = bytes.map_err(|_| NoteFault::Malformed("a signature is not base64"))?;
            let (id, signature) =
                bytes.split_first_chunk::<4>().ok_or(NoteFault::Malformed("a signature is cut short"))?;
            if name != key.name || *id != key.id() {
                continue;
            }
            UnparsedPublicKey::new(&ED25519, &key.public)
                .verify(text.as_bytes(), signature)
                .map_err(|_| NoteFault::Signature(key.name.clone()))?;
            signed = true;
        }
        if !signed {
            return Err(NoteFault::Unsigned(key.name.clone()));
        }
        let checkpoint = Self::parse_text(text)?;
        if checkpoint.origin != key.name {
            return Err(NoteFault::Origin { found: checkpoint.origin, wanted: key.name.clone() });
        }
        Ok(checkpoint)
    }

    fn parse_text(text: &str) -> Result<Self, NoteFault> {
        let mut lines = text.lines();
        let origin = lines.next().filter(|line| !line.is_empty());
        let size = lines.next().filter(|line| {
            line.bytes().all(|b| b.is_ascii_digit()) && (*line == "0" || !line.starts_with('0'))
        });
        let root = lines.next().and_then(|line| STANDARD.decode(line).ok()).filter(|root| root.len() == 32);
        if lines.any(str::is_empty) {
            return Err(NoteFault::Malformed("an extension line is empty"));
        }
        Ok(Self {
            origin: origin.ok_or(NoteFault::Malformed("it has no origin"))?.to_owned(),
            size: size.and_then(|s| s.parse().ok()).ok_or(NoteFault::Malformed("it has no tree size"))?,
            root: array(&root.ok_or(NoteFault::Malformed("it has no root hash"))?),
        })
    }
}

/// The public half: `name+hash+base64` as verifiers of signed notes take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    public: [u8; 32],
}

impl VerifierKey {
    /// Reads `name+hash+base64`; the hash must fit.
    pub fn parse(text: &str) -> Result<Self, NoteFault> {
        let text = text.trim();
        let fault = || NoteFault::Key(text.to_owned());
        let mut parts = text.splitn(3, '+');
        let (name, id, encoded) = match (parts.next(), parts.next(), parts.next()) {
            (Some(name), Some(id), Some(encoded)) => (name, id, encoded),
            _ => return Err(fault()),
        };
        let bytes = STANDARD.decode(encoded).map_err(|_| fault())?;
        let (kind, public) = bytes.split_first().ok_or_else(fault)?;
        if *kind != ED25519_TYPE || public.len() != 32 || !is_key_name(name) {
            return Err(fault());
        }
        let key = Self { name: name.to_owned(), public: array(public) };
        if hex(&key.id()) == id { Ok(key) } else { Err(fault()) }
    }

    /// The name, which is the log's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256(name ‖ 0x0A ‖ type ‖ public key), first four bytes.
    fn id(&self) -> [u8; 4] {
        let digest = Sha256::new()
            .chain_update(self.name.as_bytes())
            .chain_update([b'\n', ED25519_TYPE])
            .chain_update(self.public)
            .finalize();
        array(&digest[..4])
    }
}

impl std::fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut key = vec![ED25519_TYPE];
        key.extend_from_slice(&self.public);
        write!(f, "{}+{}+{}", self.name, hex(&self.id()), STANDARD.encode(key))
    }
}

/// Signs checkpoints of one log.
pub struct NoteSigner {
    key: Ed25519KeyPair,
    verifier: VerifierKey,
}

impl NoteSigner {
    /// A signer for the log `origin` from a 32-byte Ed25519 seed (RFC 8032).
    pub fn from_seed(origin: &str, seed: &[u8; 32]) -> Result<Self, NoteFault> {
        if !is_key_name(origin) {
            return Err(NoteFault::Name(origin.to_owned()));
        }
        let key = Ed25519KeyPair::from_seed_unchecked(seed);
        let key = key.map_err(|_| NoteFault::Malformed("the seed is no Ed25519 seed"))?;
        let public = array(key.public_key().as_ref());
        Ok(Self { key, verifier: VerifierKey { name: origin.to_owned(), public } })
    }

    /// Reads the seed from a file: 32 raw bytes, or in hex, or in base64. It must exist.
    pub fn from_seed_file(origin: &str, path: &Path) -> Result<Self, NoteFault> {
        let fault = |reason: String| NoteFault::File { path: path.display().to_string(), reason };
        let bytes = read_bounded(path, 256).map_err(|error| fault(error.to_string()))?;
        let bytes = Zeroizing::new(bytes);
        let seed = parse_seed(&bytes)
            .ok_or_else(|| fault("it does not hold 32 bytes, raw, in hex or in base64".into()))?;
        Self::from_seed(origin, &seed)
    }

    /// Draws a seed and writes it, in hex, to a new file that only its owner may read. An existing file is an error.
    pub fn generate(origin: &str, path: &Path, randomness: &Randomness) -> Result<Self, NoteFault> {
        use std::io::Write as _;
        let fault = |error: std::io::Error| NoteFault::File {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        let mut seed = Zeroizing::new([0; 32]);
        randomness(seed.as_mut_slice()).map_err(fault)?;
        let signer = Self::from_seed(origin, &seed)?;
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let text = Zeroizing::new(format!("{}\n", hex(seed.as_slice())));
        let mut file = options.open(path).map_err(fault)?;
        file.write_all(text.as_bytes()).map_err(fault)?;
        file.sync_all().map_err(fault)?;
        Ok(signer)
    }

    /// The log's origin.
    pub fn origin(&self) -> &str {
        &self.verifier.name
    }

    /// The public half.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The signed note of a tree head.
    pub fn sign(&self, size: u64, root: Hash) -> String {
        let text = Checkpoint { origin: self.verifier.name.clone(), size, root }.text();
        let mut signature = self.verifier.id().to_vec();
        signature.extend_from_slice(self.key.sign(text.as_bytes()).as_ref());
        format!("{text}\n— {} {}\n", self.verifier.name, STANDARD.encode(signature))
    }
}

impl std::fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NoteSigner({})", self.verifier)
    }
}

fn is_key_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 256
        && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

fn parse_seed(bytes: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    if bytes.len() == 32 {
        return Some(Zeroizing::new(array(bytes)));
    }
    let text = std::str::from_utf8(bytes).ok()?.trim();
    if text.len() == 64 && text.is_ascii() {
        let mut seed = Zeroizing::new([0; 32]);
        for (byte, pair) in seed.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            if !pair.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        return Some(seed);
    }
    let decoded = Zeroizing::new(STANDARD.decode(text).ok()?);
    (decoded.len() == 32).then(|| Zeroizing::new(array(&decoded)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(seed: u8) -> NoteSigner {
        NoteSigner::from_seed("audit.example.org/log", &[seed; 32]).unwrap()
    }

    #[test]
    fn a_signed_checkpoint_verifies_and_reads_back() {
        let signer = signer(1);
        let note = signer.sign(12, [5; 32]);
        let checkpoint = Checkpoint::verify(&note, signer.verifier()).unwrap();
        assert_eq!((checkpoint.size, checkpoint.root), (12, [5; 32]));
        let key = VerifierKey::parse(&signer.verifier().to_string()).unwrap();
        assert_eq!(&key, signer.verifier());
    }

    #[test]
    fn the_published_example_key_and_note_verify() {
        // The verifier key and note that golang.org/x/mod/sumdb/note documents.
        let key =
            VerifierKey::parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
        let note = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
                    — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        // The signature fits, so the only fault left is that this text is no checkpoint.
        assert!(matches!(Checkpoint::verify(note, &key), Err(NoteFault::Malformed("it has no tree size"))));
        let changed = note.replace("answer", "answers");
        assert!(matches!(Checkpoint::verify(&changed, &key), Err(NoteFault::Signature(_))));
    }

    #[test]
    fn every_changed_byte_of_a_checkpoint_is_noticed() {
        let signer = signer(1);
        let note = signer.sign(12, [5; 32]);
        for at in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(Checkpoint::verify(&changed, signer.verifier()).is_err(), "byte {at}");
            }
            assert!(at == 0 || Checkpoint::verify(&note[..floor(&note, at)], signer.verifier()).is_err());
        }
    }

    fn floor(text: &str, mut at: usize) -> usize {
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }

    #[test]
    fn another_key_of_the_same_name_is_not_accepted_and_a_cosignature_is_ignored() {
        let (ours, theirs) = (signer(1), signer(2));
        let note = theirs.sign(12, [5; 32]);
        assert!(matches!(Checkpoint::verify(&note, ours.verifier()), Err(NoteFault::Unsigned(_))));
        let witness = NoteSigner::from_seed("witness.example.org", &[9; 32]).unwrap();
        let cosigned =
            format!("{}{}", ours.sign(1, [5; 32]), witness.sign(1, [5; 32]).split("\n\n").nth(1).unwrap());
        assert!(Checkpoint::verify(&cosigned, ours.verifier()).is_ok());
    }

    #[test]
    fn key_files_are_made_once_and_read_in_three_forms() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.key");
        let made = NoteSigner::generate("a.example/log", &path, &crate::seal::os_randomness()).unwrap();
        let read = NoteSigner::from_seed_file("a.example/log", &path).unwrap();
        assert_eq!(made.verifier(), read.verifier());
        assert!(NoteSigner::generate("a.example/log", &path, &crate::seal::os_randomness()).is_err());
        let seed = [42u8; 32];
        for form in [seed.to_vec(), hex(&seed).into_bytes(), STANDARD.encode(seed).into_bytes()] {
            std::fs::write(&path, form).unwrap();
            let read = NoteSigner::from_seed_file("a.example/log", &path).unwrap();
            assert_eq!(read.verifier(), NoteSigner::from_seed("a.example/log", &seed).unwrap().verifier());
        }
        std::fs::write(&path, "short").unwrap();
        let error = NoteSigner::from_seed_file("a.example/log", &path).unwrap_err().to_string();
        assert!(error.contains("does not hold 32 bytes"), "{error}");
        assert!(NoteSigner::from_seed("two words", &seed).is_err());
    }
}
