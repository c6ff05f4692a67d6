//! The files of a policy set, wherever it lies: compiled in, or a folder.

use std::path::PathBuf;

use drape_policy::shipped::{self, ShippedSet};
use drape_view::fault::Fault;

use crate::config::PolicySource;

/// A policy set's folder: `*.cedar`, `personas.yaml`, `guarantees.yaml`, `treatments.yaml` and `categories.yaml` (instead
/// of the shared ones), `tests/`.
#[derive(Clone, Debug)]
pub enum SetFiles {
    /// One that ships with Drape.
    Shipped(&'static ShippedSet),
    /// A folder.
    Folder(PathBuf),
}

impl SetFiles {
    /// The files that belong to the policies of a configuration.
    pub fn of(source: &PolicySource) -> Result<Self, Fault> {
        match source {
            PolicySource::Shipped(name) => shipped::find(name)
                .map(Self::Shipped)
                .ok_or_else(|| Fault::new(name, "is no shipped policy set").help(shipped::names())),
            PolicySource::Directory(folder) => Ok(Self::Folder(folder.clone())),
        }
    }

    /// Where a file stands, as messages name it.
    pub fn path(&self, name: &str) -> String {
        match self {
            Self::Shipped(set) => format!("{}/{name}", set.name),
            Self::Folder(folder) => folder.join(name).display().to_string(),
        }
    }

    /// The text of a file, where there is one.
    pub fn read(&self, name: &str) -> Result<Option<String>, Fault> {
        match self {
            Self::Shipped(set) => Ok(set.file(name).map(str::to_owned)),
            Self::Folder(folder) => match std::fs::read_to_string(folder.join(name)) {
                Ok(text) => Ok(Some(text)),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(Fault::new(self.path(name), format!("cannot be read: {e}"))),
            },
        }
    }

    /// The names of the files below `folder` that end in `ending`, sorted; `folder` is empty or ends in `/`.
    pub fn list(&self, folder: &str, ending: &str) -> Result<Vec<String>, Fault> {
        let mut names = Vec::new();
        match self {
            Self::Shipped(set) => names.extend(set.files.iter().map(|(name, _)| (*name).to_owned())),
            Self::Folder(root) => {
                let entries = match std::fs::read_dir(root.join(folder)) {
                    Ok(entries) => entries,
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(names),
                    Err(e) => return Err(Fault::new(self.path(folder), format!("cannot be read: {e}"))),
                };
                for entry in entries {
                    let entry =
                        entry.map_err(|e| Fault::new(self.path(folder), format!("cannot be read: {e}")))?;
                    names.push(format!("{folder}{}", entry.file_name().to_string_lossy()));
                }
            }
        }
        names.retain(|name| {
            name.ends_with(ending) && name.strip_prefix(folder).is_some_and(|rest| !rest.contains('/'))
        });
        names.sort();
        Ok(names)
    }
}
