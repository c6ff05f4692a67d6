//! Every durable step in one place, so that tests can fail it, count it, or look at the disk just before it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

/// A durable step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A file or directory is about to be made.
    Create,
    /// Bytes are about to be appended to an event segment.
    Append,
    /// A file's data is about to be forced to disk.
    Sync,
    /// A finished temporary file is about to take its place.
    Rename,
    /// A directory is about to be forced to disk.
    SyncDirectory,
    /// An event is about to be overwritten.
    Erase,
    /// A file that is no longer needed is about to be removed.
    Remove,
}

/// Called before each step; an error stands for the step's own failure.
pub type Hook = Arc<dyn Fn(Step, &Path) -> io::Result<()> + Send + Sync>;

/// The disk, with an optional hook.
#[derive(Clone, Default)]
pub struct Disk {
    hook: Option<Hook>,
}

impl Disk {
    /// The disk as it is.
    pub fn real() -> Self {
        Self::default()
    }

    /// The disk with a hook before each durable step: fault injection and metrics.
    pub fn hooked(hook: Hook) -> Self {
        Self { hook: Some(hook) }
    }

    fn before(&self, step: Step, path: &Path) -> io::Result<()> {
        self.hook.as_ref().map_or(Ok(()), |hook| hook(step, path))
    }

    /// Appends to an open file.
    pub(crate) fn append(&self, file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.before(Step::Append, path)?;
        file.write_all(bytes)
    }

    /// fdatasync. After an error the descriptor must not be synced again: the kernel may have dropped the pages.
    pub(crate) fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        self.before(Step::Sync, path)?;
        file.sync_data()
    }

    /// Makes directories down to `directory` and forces each new name to disk.
    pub(crate) fn make_directories(&self, directory: &Path) -> io::Result<()> {
        if directory.is_dir() {
            return Ok(());
        }
        let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent {
            self.make_directories(parent)?;
        }
        self.before(Step::Create, directory)?;
        match fs::create_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.sync_directory(parent.unwrap_or_else(|| Path::new(".")))
    }

    /// Opens a new file for appending; an existing one is an error. The name is durable when this returns.
    pub(crate) fn create(&self, path: &Path) -> io::Result<File> {
        self.before(Step::Create, path)?;
        let file = fs::OpenOptions::new().append(true).create_new(true).open(path)?;
        self.sync_directory(path.parent().unwrap_or_else(|| Path::new(".")))?;
        Ok(file)
    }

    /// Writes a whole file beside its place, forces it to disk and renames it there; the caller syncs the directory.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".tmp");
        let temporary = path.with_file_name(name);
        self.before(Step::Create, &temporary)?;
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        self.before(Step::Sync, &temporary)?;
        file.sync_all()?;
        drop(file);
        self.before(Step::Rename, path)?;
        fs::rename(&temporary, path)
    }

    /// Forces the names in a directory to disk.
    pub(crate) fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.before(Step::SyncDirectory, directory)?;
        File::open(directory)?.sync_all()
    }

    /// Announces an overwrite in place.
    pub(crate) fn before_erase(&self, path: &Path) -> io::Result<()> {
        self.before(Step::Erase, path)
    }

    /// Removes a directory and what is in it, if it is there.
    pub(crate) fn remove_directory(&self, path: &Path) -> io::Result<()> {
        if !path.is_dir() {
            return Ok(());
        }
        self.before(Step::Remove, path)?;
        fs::remove_dir_all(path)
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.hook.is_some() { "Disk(hooked)" } else { "Disk(real)" })
    }
}
