//! The key table: a root key wraps tenant keys, a tenant key wraps one data key per patient.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::secret::{Secret, hmac, length_prefixed};
use crate::{KeyError, random, table, xaes};

/// Owner (a keyed hash, so that the file alone names no patient) → key id ‖ version ‖ wrapped key.
const KEYS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("keys/v1");
/// Tenant → wrapped tenant key.
const TENANTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("tenants/v1");

/// One patient's data key.
#[derive(Debug)]
pub struct DataKey {
    /// Random, never derived from the patient.
    pub id: [u8; 8],
    /// Counts rotations.
    pub version: u16,
    pub(crate) secret: Secret,
    /// What elements are sealed with, derived once: there may be many in one answer.
    pub(crate) enc: Secret,
}

impl DataKey {
    pub(crate) fn new(id: [u8; 8], version: u16, secret: Secret) -> Self {
        let enc = secret.derive("enc", &[]);
        Self { id, version, secret, enc }
    }
}

/// All keys of a process; one process at a time (the table is locked).
#[derive(Debug)]
pub struct Keyring {
    table: Database,
    root: Secret,
    tenants: Mutex<HashMap<String, Secret>>,
    cache: Mutex<HashMap<Vec<u8>, Recent>>,
}

/// A key in memory, and until when.
type Recent = (Arc<DataKey>, Instant);

/// The secrets that belong to one tenant.
#[derive(Clone, Debug)]
pub struct TenantKeys {
    name: String,
    secret: Secret,
}

const CACHE_LIFE: Duration = Duration::from_secs(300);
const CACHE_MAX: usize = 10_000;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under these locks, so a panicking holder spoils nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keyring {
    /// Opens or makes the table at `path`.
    pub fn open(path: &Path, root: Secret) -> Result<Self, KeyError> {
        let db = Database::create(path).map_err(table)?;
        let write = db.begin_write().map_err(table)?;
        write.open_table(KEYS).map_err(table)?;
        write.open_table(TENANTS).map_err(table)?;
        write.commit().map_err(table)?;
        Ok(Self { table: db, root, tenants: Mutex::default(), cache: Mutex::default() })
    }

    /// The secrets of a tenant, made on first use.
    pub fn tenant(&self, name: &str) -> Result<TenantKeys, KeyError> {
        Ok(TenantKeys { name: name.to_owned(), secret: self.tenant_key(name)? })
    }

    fn tenant_key(&self, name: &str) -> Result<Secret, KeyError> {
        let mut held = lock(&self.tenants);
        if let Some(key) = held.get(name) {
            return Ok(key.clone());
        }
        let wrap = self.root.derive("wrap", &["tenant"]);
        let aad = length_prefixed(&[b"tenant", name.as_bytes()]);
        let read = self.table.begin_read().map_err(table)?;
        let stored =
            read.open_table(TENANTS).map_err(table)?.get(name).map_err(table)?.map(|v| v.value().to_vec());
        let key = match stored {
            Some(wrapped) => unwrap(&wrap, &aad, &wrapped)?,
            None => {
                let key = Secret::new(random()?);
                let wrapped = xaes::seal_fresh(&wrap, &aad, key.expose())?;
                let write = self.table.begin_write().map_err(table)?;
                write.open_table(TENANTS).map_err(table)?.insert(name, wrapped.as_slice()).map_err(table)?;
                // Durable before first use: a key that is lost takes everything with it that it encrypted.
                write.commit().map_err(table)?;
                key
            }
        };
        held.insert(name.to_owned(), key.clone());
        Ok(key)
    }

    /// The data key of `owner` (`Patient/1`), made on first use and durable before it is returned. Blocks on the disk
    /// the first time.
    pub fn patient_key(&self, tenant: &str, owner: &str) -> Result<Arc<DataKey>, KeyError> {
        let tenant_key = self.tenant_key(tenant)?;
        let place = self.place(&tenant_key, owner);
        let now = Instant::now();
        if let Some((key, until)) = lock(&self.cache).get(&place)
            && now < *until
        {
            return Ok(Arc::clone(key));
        }
        let wrap = tenant_key.derive("wrap", &["patient"]);
        let write = self.table.begin_write().map_err(table)?;
        // Read within the writing transaction, so that two first uses cannot make two keys.
        let (key, new) = {
            let mut keys = write.open_table(KEYS).map_err(table)?;
            let stored = keys.get(place.as_slice()).map_err(table)?.map(|v| v.value().to_vec());
            match stored {
                Some(stored) if stored.is_empty() => return Err(KeyError::Gone),
                Some(stored) => (Self::read(&wrap, &place, &stored)?, false),
                None => {
                    let key = DataKey::new(random()?, 1, Secret::new(random()?));
                    let mut stored = key.id.to_vec();
                    stored.extend_from_slice(&key.version.to_be_bytes());
                    let aad = length_prefixed(&[b"patient", &place, &stored]);
                    stored.extend(xaes::seal_fresh(&wrap, &aad, key.secret.expose())?);
                    keys.insert(place.as_slice(), stored.as_slice()).map_err(table)?;
                    (key, true)
                }
            }
        };
        if new {
            write.commit().map_err(table)?;
        } else {
            write.abort().map_err(table)?;
        }
        let key = Arc::new(key);
        let mut cache = lock(&self.cache);
        if cache.len() >= CACHE_MAX {
            cache.retain(|_, (_, until)| now < *until);
        }
        if cache.len() < CACHE_MAX {
            cache.insert(place, (Arc::clone(&key), now + CACHE_LIFE));
        }
        Ok(key)
    }

    /// The data key of `owner` where it was used a moment ago. Never touches the disk, so that it may be asked anywhere;
    /// `None` says nothing about whether there is a key.
    pub fn recent_key(&self, tenant: &str, owner: &str) -> Option<Arc<DataKey>> {
        let tenant_key = lock(&self.tenants).get(tenant)?.clone();
        let place = self.place(&tenant_key, owner);
        let cache = lock(&self.cache);
        let (key, until) = cache.get(&place)?;
        (Instant::now() < *until).then(|| Arc::clone(key))
    }

    /// Destroys the data key of `owner`: whatever was encrypted with it is unreadable from then on, backups of the
    /// ciphertext included (GDPR Article 17). Copies of this table must be destroyed too.
    pub fn destroy(&self, tenant: &str, owner: &str) -> Result<(), KeyError> {
        let place = self.place(&self.tenant_key(tenant)?, owner);
        let write = self.table.begin_write().map_err(table)?;
        // An empty entry stays, so that no new key is made silently for somebody who was erased.
        write.open_table(KEYS).map_err(table)?.insert(place.as_slice(), &[][..]).map_err(table)?;
        write.commit().map_err(table)?;
        lock(&self.cache).remove(&place);
        Ok(())
    }

    fn place(&self, tenant_key: &Secret, owner: &str) -> Vec<u8> {
        hmac(&tenant_key.derive("owner", &[]), owner.as_bytes()).to_vec()
    }

    fn read(wrap: &Secret, place: &[u8], stored: &[u8]) -> Result<DataKey, KeyError> {
        let (head, wrapped) = stored.split_first_chunk::<10>().ok_or(KeyError::Format)?;
        let aad = length_prefixed(&[b"patient", place, head]);
        let mut id = [0; 8];
        id.copy_from_slice(&head[..8]);
        Ok(DataKey::new(id, u16::from_be_bytes([head[8], head[9]]), unwrap(wrap, &aad, wrapped)?))
    }
}

pub(crate) fn unwrap(wrap: &Secret, aad: &[u8], wrapped: &[u8]) -> Result<Secret, KeyError> {
    let plain = zeroize::Zeroizing::new(xaes::open_fresh(wrap, aad, wrapped).map_err(|_| KeyError::Unwrap)?);
    <[u8; 32]>::try_from(&plain[..]).map(Secret::new).map_err(|_| KeyError::Unwrap)
}

impl TenantKeys {
    /// A key for one purpose: `pseud`, `page`, `log`, `etag`, …
    pub fn derive(&self, purpose: &str, parts: &[&str]) -> Secret {
        let mut all = vec![self.name.as_str()];
        all.extend_from_slice(parts);
        self.secret.derive(purpose, &all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path, root: u8) -> Keyring {
        Keyring::open(&dir.join("keys.redb"), Secret::new([root; 32])).unwrap()
    }

    #[test]
    fn keys_survive_a_restart_and_differ_by_patient_and_tenant() {
        let dir = tempfile::tempdir().unwrap();
        let (first, page) = {
            let ring = open(dir.path(), 1);
            let key = ring.patient_key("a", "Patient/1").unwrap();
            assert_ne!(key.id, ring.patient_key("a", "Patient/2").unwrap().id);
            assert_ne!(key.id, ring.patient_key("b", "Patient/1").unwrap().id);
            (key, ring.tenant("a").unwrap().derive("page", &[]))
        };
        let ring = open(dir.path(), 1);
        let again = ring.patient_key("a", "Patient/1").unwrap();
        assert_eq!((first.id, first.secret.0), (again.id, again.secret.0));
        assert_eq!(page.0, ring.tenant("a").unwrap().derive("page", &[]).0);
    }

    #[test]
    fn another_root_key_opens_nothing() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path(), 1).patient_key("a", "Patient/1").unwrap());
        assert!(matches!(open(dir.path(), 2).tenant("a"), Err(KeyError::Unwrap)));
    }

    #[test]
    fn a_destroyed_key_stays_gone() {
        let dir = tempfile::tempdir().unwrap();
        let ring = open(dir.path(), 1);
        ring.patient_key("a", "Patient/1").unwrap();
        ring.destroy("a", "Patient/1").unwrap();
        assert!(matches!(ring.patient_key("a", "Patient/1"), Err(KeyError::Gone)));
        drop(ring);
        assert!(matches!(open(dir.path(), 1).patient_key("a", "Patient/1"), Err(KeyError::Gone)));
    }

    #[test]
    fn a_key_is_recent_once_it_was_used_and_until_it_is_destroyed() {
        let dir = tempfile::tempdir().unwrap();
        let ring = open(dir.path(), 1);
        assert!(ring.recent_key("a", "Patient/1").is_none());
        let key = ring.patient_key("a", "Patient/1").unwrap();
        assert_eq!(ring.recent_key("a", "Patient/1").unwrap().id, key.id);
        assert!(ring.recent_key("a", "Patient/2").is_none() && ring.recent_key("b", "Patient/1").is_none());
        ring.destroy("a", "Patient/1").unwrap();
        assert!(ring.recent_key("a", "Patient/1").is_none());
    }

    #[test]
    fn the_file_alone_names_no_patient() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), 1).patient_key("a", "Patient/very-recognisable").unwrap();
        let bytes = std::fs::read(dir.path().join("keys.redb")).unwrap();
        assert!(!bytes.windows(17).any(|w| w == b"very-recognisable"));
    }
}
