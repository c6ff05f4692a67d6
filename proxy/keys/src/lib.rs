//! Keys and what is done with them: root key, tenant and patient keys, field encryption, pseudonyms, sealed handles.

pub mod envelope;
pub mod handle;
pub mod keyring;
pub mod pseudonym;
pub mod secret;
pub mod source;
pub mod wrapped;
pub mod xaes;

pub use keyring::{DataKey, Keyring, TenantKeys};
pub use pseudonym::{PseudonymMap, Pseudonymizer};

/// Why a key could not be had or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Typically: the root key's file does not exist or may not be read.
    #[error("cannot use the key file `{0}`: {1}")]
    Unreadable(String, std::io::Error),
    /// It is not 32 bytes, raw, in hex or in base64.
    #[error("`{0}` does not hold a key of 32 bytes (raw, hex or base64)")]
    NotAKey(String),
    /// Others than the owner may read it.
    #[error("`{0}` can be read by others than its owner; `chmod 600` it")]
    Exposed(String),
    /// The key table cannot be opened, read or written.
    #[error("the key table cannot be used: {0}")]
    Table(String),
    /// A wrapped key does not open: typically the root key is not the one the table was made with.
    #[error("a stored key does not open under this root key")]
    Unwrap,
    /// The key was destroyed (crypto-shredding) or never existed.
    #[error("there is no such key")]
    Gone,
    /// The operating system gives no randomness.
    #[error("no randomness: {0}")]
    Random(String),
    /// The ciphertext was made under another key or for another place, or was changed.
    #[error("the ciphertext does not open")]
    Open,
    /// Not a ciphertext of this format.
    #[error("not a ciphertext of a known format")]
    Format,
}

impl From<redb::Error> for KeyError {
    fn from(error: redb::Error) -> Self {
        Self::Table(error.to_string())
    }
}

pub(crate) fn table(error: impl Into<redb::Error>) -> KeyError {
    KeyError::from(error.into())
}

/// Fills with the operating system's randomness, which a restored snapshot does not repeat.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| KeyError::Random(e.to_string()))?;
    Ok(bytes)
}
