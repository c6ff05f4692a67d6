//! Keyed pseudonyms: the same thing always gets the same one, and only the encrypted map leads back.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use redb::{Database, Durability, ReadableDatabase as _, TableDefinition};

use crate::keyring::{TenantKeys, lock};
use crate::secret::{Secret, hmac, length_prefixed};
use crate::{KeyError, table, xaes};

/// Makes the pseudonyms of one tenant and project. Another project's are unlinkable.
#[derive(Clone, Debug)]
pub struct Pseudonymizer {
    key: Secret,
}

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

impl Pseudonymizer {
    /// For a project of a tenant.
    pub fn new(keys: &TenantKeys, project: &str) -> Self {
        Self { key: keys.derive("pseud", &[project]) }
    }

    /// Of `kind` (a resource type) and `id`: 26 characters that are a legal FHIR id.
    pub fn of(&self, kind: &str, id: &str) -> String {
        let mac = hmac(&self.key, &length_prefixed(&[kind.as_bytes(), id.as_bytes()]));
        base32(&mac[..16])
    }
}

/// RFC 4648 in lower case without padding.
fn base32(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut buffer, mut bits) = (0_u32, 0);
    for byte in bytes {
        buffer = buffer << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(char::from(ALPHABET[(buffer >> bits) as usize & 31]));
        }
    }
    if bits > 0 {
        out.push(char::from(ALPHABET[(buffer << (5 - bits)) as usize & 31]));
    }
    out
}

/// Keyed hash of the pseudonym → sealed type and id.
const NAMES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pseudonyms/v1");

/// Leads from pseudonyms back to what they stand for.
#[derive(Debug)]
pub struct PseudonymMap {
    table: Database,
    place: Secret,
    seal: Secret,
    /// Pseudonyms that are in the table for certain; the clients know them, so they are no secret.
    recent: Mutex<HashSet<String>>,
    /// When the map was last forced to disk, and how often that is done while new pseudonyms come in.
    forced: Mutex<Option<Instant>>,
    every: Duration,
}

/// What a crash can lose of the map, and what forcing it to disk costs: one sync in this time.
const FORCED_EVERY: Duration = Duration::from_secs(1);

/// Pseudonyms kept in memory, some hundred bytes each; beyond it all are forgotten.
const RECENT_MAX: usize = 20_000;

impl PseudonymMap {
    /// Opens or makes the map at `path`.
    pub fn open(path: &Path, keys: &TenantKeys, project: &str) -> Result<Self, KeyError> {
        let db = Database::create(path).map_err(table)?;
        let write = db.begin_write().map_err(table)?;
        write.open_table(NAMES).map_err(table)?;
        write.commit().map_err(table)?;
        Ok(Self {
            table: db,
            place: keys.derive("pseud-place", &[project]),
            seal: keys.derive("pseud-seal", &[project]),
            recent: Mutex::default(),
            forced: Mutex::default(),
            every: FORCED_EVERY,
        })
    }

    fn at(&self, pseudonym: &str) -> [u8; 32] {
        hmac(&self.place, pseudonym.as_bytes())
    }

    /// Remembers pseudonyms with their type and id. Those that are known already cost one look-up. Losing the last
    /// ones in a crash only means that they cannot be opened until the record is seen again, so most of them do not
    /// wait for the disk; but a commit without a sync stays in memory until one with a sync follows, so one comes every
    /// second.
    pub fn remember<'a>(
        &self,
        names: impl Iterator<Item = (&'a str, &'a str, &'a str)>,
    ) -> Result<(), KeyError> {
        let read = self.table.begin_read().map_err(table)?;
        let known = read.open_table(NAMES).map_err(table)?;
        let mut new = Vec::new();
        let mut seen = HashSet::new();
        for (pseudonym, kind, id) in names {
            if !seen.insert(pseudonym.to_owned()) {
                continue;
            }
            let place = self.at(pseudonym);
            if known.get(place.as_slice()).map_err(table)?.is_none() {
                new.push((place, xaes::seal_fresh(&self.seal, &place, format!("{kind}/{id}").as_bytes())?));
            }
        }
        drop(known);
        if new.is_empty() {
            self.keep(seen);
            return Ok(());
        }
        let mut write = self.table.begin_write().map_err(table)?;
        // Held up to the commit: whoever comes meanwhile waits for the writing transaction anyway.
        let mut forced = self.forced.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let due = forced.is_none_or(|at| now.duration_since(at) >= self.every);
        let durability = if due { Durability::Immediate } else { Durability::None };
        write.set_durability(durability).map_err(|e| KeyError::Table(e.to_string()))?;
        {
            let mut names = write.open_table(NAMES).map_err(table)?;
            for (place, sealed) in &new {
                names.insert(place.as_slice(), sealed.as_slice()).map_err(table)?;
            }
        }
        write.commit().map_err(table)?;
        if due {
            *forced = Some(now);
        }
        self.keep(seen);
        Ok(())
    }

    /// Only what the table holds: a pseudonym that was given out must be openable.
    fn keep(&self, names: HashSet<String>) {
        let mut recent = lock(&self.recent);
        if recent.len() + names.len() > RECENT_MAX {
            recent.clear();
        }
        recent.extend(names);
    }

    /// Whether all of them were remembered a moment ago. Never touches the disk, so that it may be asked anywhere;
    /// no says nothing about whether they can be opened.
    pub fn recently<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> bool {
        let recent = lock(&self.recent);
        names.all(|name| recent.contains(name))
    }

    /// The type and id that a pseudonym stands for.
    pub fn lookup(&self, pseudonym: &str) -> Result<Option<(String, String)>, KeyError> {
        let place = self.at(pseudonym);
        let read = self.table.begin_read().map_err(table)?;
        let names = read.open_table(NAMES).map_err(table)?;
        let Some(sealed) = names.get(place.as_slice()).map_err(table)? else { return Ok(None) };
        let plain = xaes::open_fresh(&self.seal, &place, sealed.value())?;
        let text = String::from_utf8(plain).map_err(|_| KeyError::Format)?;
        Ok(text.split_once('/').map(|(kind, id)| (kind.to_owned(), id.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pseudonyms_match_the_known_answer() {
        let root = Secret::new(std::array::from_fn(|i| u8::try_from(i).unwrap()));
        let pseudonymizer = Pseudonymizer { key: root.derive("pseud", &["tenant-a", "project-42"]) };
        assert_eq!(pseudonymizer.of("Patient", "b7f1e6c0"), "e4vzde2q7l6lhbjdopkza3bqie");
        assert_ne!(pseudonymizer.of("Group", "b7f1e6c0"), "e4vzde2q7l6lhbjdopkza3bqie");
    }

    #[test]
    fn the_map_leads_back_and_its_file_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let ring = crate::Keyring::open(&dir.path().join("keys.redb"), Secret::new([1; 32])).unwrap();
        let keys = ring.tenant("a").unwrap();
        let path = dir.path().join("names.redb");
        let map = PseudonymMap::open(&path, &keys, "p").unwrap();
        let name = Pseudonymizer::new(&keys, "p").of("Patient", "recognisable");
        assert_eq!(map.lookup(&name).unwrap(), None);
        assert!(!map.recently([name.as_str()].into_iter()));
        map.remember([(name.as_str(), "Patient", "recognisable")].into_iter()).unwrap();
        map.remember([(name.as_str(), "Patient", "recognisable")].into_iter()).unwrap();
        assert_eq!(map.lookup(&name).unwrap(), Some(("Patient".into(), "recognisable".into())));
        assert_eq!(map.lookup("recognisable").unwrap(), None);
        assert!(
            map.recently([name.as_str()].into_iter()) && !map.recently([name.as_str(), "other"].into_iter())
        );
        drop(map);
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(12).any(|w| w == b"recognisable"));
        assert!(!bytes.windows(26).any(|w| w == name.as_bytes()));
    }

    #[test]
    fn a_crash_loses_no_pseudonym_but_those_of_the_last_moment() {
        let dir = tempfile::tempdir().unwrap();
        let ring = crate::Keyring::open(&dir.path().join("keys.redb"), Secret::new([1; 32])).unwrap();
        let keys = ring.tenant("a").unwrap();
        let path = dir.path().join("names.redb");
        let mut map = PseudonymMap::open(&path, &keys, "p").unwrap();
        let name = |id: &str| Pseudonymizer::new(&keys, "p").of("Patient", id);
        let remember =
            |map: &PseudonymMap, id: &str| map.remember([(&*name(id), "Patient", id)].into_iter()).unwrap();
        // What lies on disk at this moment, as a process that was killed leaves it.
        let after_a_crash = |id: &str| {
            let copy = dir.path().join(format!("{id}.redb"));
            std::fs::copy(&path, &copy).unwrap();
            PseudonymMap::open(&copy, &keys, "p").unwrap().lookup(&name(id)).unwrap()
        };
        remember(&map, "first");
        assert_eq!(after_a_crash("first"), Some(("Patient".into(), "first".into())));
        map.every = Duration::MAX;
        remember(&map, "second");
        assert_eq!(after_a_crash("second"), None);
        assert_eq!(map.lookup(&name("second")).unwrap(), Some(("Patient".into(), "second".into())));
        map.every = Duration::ZERO;
        remember(&map, "third");
        assert!(after_a_crash("third").is_some() && after_a_crash("second").is_some());
    }
}
