//! Where the root key comes from: a file at first; a key service can follow behind the same trait.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::KeyError;
use crate::secret::Secret;

/// Gives the root key.
pub trait RootKeySource {
    /// Fetches it.
    fn load(&self) -> Result<Secret, KeyError>;
}

/// A file of 32 bytes, raw, as 64 hex digits or in base64.
#[derive(Clone, Debug)]
pub struct FileSource {
    path: PathBuf,
}

impl FileSource {
    /// The file at `path`.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Writes a new random key, readable by its owner alone. An existing file is never replaced: it may be the only
    /// way to everything that was encrypted.
    pub fn create(path: &Path) -> Result<(), KeyError> {
        let fault = |e| KeyError::Unreadable(path.display().to_string(), e);
        let key = Zeroizing::new(crate::random::<32>()?);
        let text = Zeroizing::new(key.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(fault)?;
        std::io::Write::write_all(&mut file, text.as_bytes()).map_err(fault)?;
        file.sync_all().map_err(fault)
    }
}

impl RootKeySource for FileSource {
    fn load(&self) -> Result<Secret, KeyError> {
        let name = self.path.display().to_string();
        let unreadable = |e| KeyError::Unreadable(name.clone(), e);
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(
                &std::fs::metadata(&self.path).map_err(unreadable)?.permissions(),
            );
            // Kubernetes mounts secrets readable by a group; by everybody is never right.
            if mode & 0o007 != 0 {
                return Err(KeyError::Exposed(name));
            }
        }
        let bytes = Zeroizing::new(std::fs::read(&self.path).map_err(unreadable)?);
        if let Ok(raw) = <[u8; 32]>::try_from(&bytes[..]) {
            return Ok(Secret::new(raw));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| KeyError::NotAKey(name.clone()))?.trim();
        let decoded = if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            (0..32).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()).collect::<Option<Vec<u8>>>()
        } else {
            STANDARD.decode(text).ok()
        };
        let decoded = Zeroizing::new(decoded.ok_or_else(|| KeyError::NotAKey(name.clone()))?);
        <[u8; 32]>::try_from(&decoded[..]).map(Secret::new).map_err(|_| KeyError::NotAKey(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_back_in_every_form() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root.key");
        FileSource::create(&path).unwrap();
        assert!(FileSource::create(&path).is_err(), "an existing key is never replaced");
        let key = FileSource::new(&path).load().unwrap();
        for form in [key.0.to_vec(), STANDARD.encode(key.0).into_bytes()] {
            std::fs::write(&path, form).unwrap();
            assert_eq!(FileSource::new(&path).load().unwrap().0, key.0);
        }
        std::fs::write(&path, "too short").unwrap();
        assert!(matches!(FileSource::new(&path).load(), Err(KeyError::NotAKey(_))));
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_everybody_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root.key");
        FileSource::create(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(FileSource::new(&path).load(), Err(KeyError::Exposed(_))));
    }
}
