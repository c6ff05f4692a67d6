//! Tells whether a configuration, or a file that it names, has changed: by contents, never by the time of a change.

use std::path::Path;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::config::Config;

/// SHA-256 over a part of a configuration and the contents of every file that it names.
pub(crate) type Fingerprint = [u8; 32];

/// What a tenant was made from, part by part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprints {
    pub(crate) policies: Fingerprint,
    pub(crate) issuers: Fingerprint,
    pub(crate) upstream: Fingerprint,
    /// All but the policies.
    pub(crate) rest: Fingerprint,
}

/// Files larger than this are told apart by their size alone; nothing that Drape reads is.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Folders in folders, at most: a policy set has `tests/`.
const DEPTH_MAX: usize = 4;
/// Sections whose folders and files Drape itself writes, or that are read at the start alone.
const OWN: [&str; 3] = ["keys", "audit", "budgets"];

impl Fingerprints {
    /// Of the tenant of that name.
    pub(crate) fn of(config: &Config, name: &str) -> Self {
        let tenants = config.origin.document["tenants"].as_array();
        let tenant = tenants.into_iter().flatten().find(|t| t["name"] == name).unwrap_or(&Value::Null);
        let part = |value: &Value| fingerprint(value, &config.origin.base);
        let mut rest = tenant.clone();
        if let Some(members) = rest.as_object_mut() {
            members.remove("policies");
            // Drape writes there itself.
            members.remove("audit");
        }
        Self {
            rest: part(&rest),
            policies: part(&tenant["policies"]),
            issuers: part(&tenant["issuers"]),
            upstream: part(&tenant["upstream"]),
        }
    }
}

/// Of everything that can be taken up while running: the configuration's own file, and what it names.
pub(crate) fn of_all(config: &Config) -> Fingerprint {
    let mut hash = Sha256::new();
    let mut document = config.origin.document.clone();
    if let Some(path) = &config.origin.file {
        file(&mut hash, path);
        // Files that are named only since the last reading are watched at once.
        if let Some(read) = std::fs::read_to_string(path).ok().and_then(|t| serde_saphyr::from_str(&t).ok()) {
            document = read;
        }
    }
    for (key, value) in document.as_object().into_iter().flatten() {
        hash.update(key.as_bytes());
        match OWN.contains(&key.as_str()) {
            true => hash.update(value.to_string()),
            false => add(&mut hash, value, &config.origin.base),
        }
    }
    hash.finalize().into()
}

/// Of one part of a configuration. Files stand under keys that end in `_file`, folders under `directory`.
pub(crate) fn fingerprint(value: &Value, base: &Path) -> Fingerprint {
    let mut hash = Sha256::new();
    add(&mut hash, value, base);
    hash.finalize().into()
}

fn add(hash: &mut Sha256, value: &Value, base: &Path) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                hash.update(key.as_bytes());
                hash.update([0]);
                // A tenant's own log: Drape writes there itself, and it is read at the start alone.
                if key == "audit" {
                    hash.update(value.to_string());
                    continue;
                }
                match value.as_str() {
                    Some(name) if key.ends_with("_file") => file(hash, &base.join(name)),
                    Some(name) if key == "directory" => folder(hash, &base.join(name), DEPTH_MAX),
                    _ => {}
                }
                add(hash, value, base);
            }
            hash.update([1]);
        }
        Value::Array(items) => {
            items.iter().for_each(|item| add(hash, item, base));
            hash.update([2]);
        }
        other => hash.update(other.to_string()),
    }
}

fn file(hash: &mut Sha256, path: &Path) {
    let read = || -> std::io::Result<[u8; 32]> {
        let length = std::fs::metadata(path)?.len();
        if length > FILE_BYTES_MAX {
            return Ok(Sha256::digest(length.to_be_bytes()).into());
        }
        Ok(Sha256::digest(std::fs::read(path)?).into())
    };
    match read() {
        Ok(digest) => hash.update(digest),
        Err(error) => hash.update(format!("{:?}", error.kind())),
    }
}

/// Names and contents. Kubernetes mounts keep versions in folders that begin with `..`: their names say nothing.
fn folder(hash: &mut Sha256, path: &Path, depth: usize) {
    let Ok(entries) = std::fs::read_dir(path) else { return hash.update("unreadable") };
    let mut paths: Vec<_> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("..") {
            continue;
        }
        hash.update(name.as_bytes());
        hash.update([0]);
        if !path.is_dir() {
            file(hash, &path);
        } else if depth > 0 {
            folder(hash, &path, depth - 1);
        }
    }
    hash.update([3]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_named_file_counts_and_when_it_was_written_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        std::fs::create_dir_all(folder.path().join("set/tests")).unwrap();
        put("set/a.cedar", "a");
        put("set/tests/one.yaml", "1");
        put("key", "k");
        let value =
            serde_json::json!({ "policies": { "directory": "set" }, "auth": [{ "value_file": "key" }] });
        let of = || fingerprint(&value, folder.path());
        let first = of();
        put("set/a.cedar", "a");
        put("other", "x");
        assert_eq!(of(), first);
        for (name, before, after) in
            [("set/a.cedar", "a", "b"), ("set/tests/one.yaml", "1", "2"), ("key", "k", "l")]
        {
            put(name, after);
            assert_ne!(of(), first, "{name}");
            put(name, before);
            assert_eq!(of(), first, "{name}");
        }
        std::fs::remove_file(folder.path().join("key")).unwrap();
        assert_ne!(of(), first);
    }

    #[cfg(unix)]
    #[test]
    fn a_mount_whose_link_leads_to_other_files_has_changed_and_one_that_was_only_moved_has_not() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("..1", "old"), ("..2", "old"), ("..3", "new")] {
            std::fs::create_dir_all(at(version)).unwrap();
            std::fs::write(at(version).join("tls.crt"), text).unwrap();
        }
        symlink(at("..1"), at("..data")).unwrap();
        symlink("..data/tls.crt", at("tls.crt")).unwrap();
        let of = || fingerprint(&serde_json::json!({ "directory": "." }), folder.path());
        let first = of();
        let lead = |to: &str| {
            std::fs::remove_file(at("..data")).unwrap();
            symlink(at(to), at("..data")).unwrap();
        };
        lead("..2");
        assert_eq!(of(), first);
        lead("..3");
        assert_ne!(of(), first);
    }
}
