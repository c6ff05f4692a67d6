//! Where things are: the repository, a folder of sample data where present, free ports.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use crate::{Fault, Outcome};

/// The repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The folder of sample data, where there is one: `DRAPE_SHARED`, else `../shared` beside the repository.
pub fn shared() -> Option<PathBuf> {
    let folder = match std::env::var_os("DRAPE_SHARED") {
        Some(folder) => PathBuf::from(folder),
        None => root().parent()?.join("shared"),
    };
    folder.is_dir().then_some(folder)
}

/// A port of the loopback interface that nobody holds right now.
pub fn free_port() -> Outcome<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}

/// A setting of `conformance/run`, where it is set and not empty.
pub fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// A file that must be there.
pub fn existing(path: PathBuf, help: &str) -> Outcome<PathBuf> {
    if path.exists() { Ok(path) } else { Err(Fault(format!("`{}` does not exist; {help}", path.display()))) }
}
