//! One key in a file of its own, wrapped by the root key: it can be read while the key table is locked by a running
//! proxy.

use std::path::Path;

use zeroize::Zeroizing;

use crate::keyring::unwrap;
use crate::secret::{Secret, length_prefixed};
use crate::{KeyError, random, xaes};

fn aad(purpose: &str) -> Vec<u8> {
    length_prefixed(&[b"file", purpose.as_bytes()])
}

/// Draws a key and writes it, wrapped, to a new file. An existing one is never replaced.
pub fn create(path: &Path, root: &Secret, purpose: &str) -> Result<(), KeyError> {
    let fault = |e| KeyError::Unreadable(path.display().to_string(), e);
    let key = Zeroizing::new(random::<32>()?);
    let wrapped = xaes::seal_fresh(&root.derive("wrap", &["file"]), &aad(purpose), key.as_slice())?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(fault)?;
    std::io::Write::write_all(&mut file, &wrapped).map_err(fault)?;
    file.sync_all().map_err(fault)
}

/// Reads the key back. Another root key or another purpose opens nothing.
pub fn open(path: &Path, root: &Secret, purpose: &str) -> Result<Secret, KeyError> {
    let wrapped = std::fs::read(path).map_err(|e| KeyError::Unreadable(path.display().to_string(), e))?;
    unwrap(&root.derive("wrap", &["file"]), &aad(purpose), &wrapped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_key_opens_under_its_root_and_purpose_alone_and_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.key");
        let root = Secret::new([1; 32]);
        create(&path, &root, "log").unwrap();
        assert!(create(&path, &root, "log").is_err(), "an existing key is never replaced");
        let first = open(&path, &root, "log").unwrap();
        assert_eq!(first.0, open(&path, &root, "log").unwrap().0);
        assert!(matches!(open(&path, &root, "other"), Err(KeyError::Unwrap)));
        assert!(matches!(open(&path, &Secret::new([2; 32]), "log"), Err(KeyError::Unwrap)));
    }
}
