//! What the tests of the log share: a log in a temporary folder with fixed keys and a counting clock.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use drape_audit::disk::Disk;
use drape_audit::event::{Class, Decision, Event, OutcomeCode, Subject};
use drape_audit::log::{Closing, Log, Options};
use drape_audit::verify::{Check, Report, verify};
use drape_audit::{EventSecret, NoteSigner, os_randomness};

pub(crate) const ORIGIN: &str = "audit.example.org/log";
pub(crate) const SECRET: [u8; 32] = [7; 32];

pub(crate) fn signer() -> Arc<NoteSigner> {
    Arc::new(NoteSigner::from_seed(ORIGIN, &[1; 32]).unwrap())
}

pub(crate) fn secret() -> EventSecret {
    EventSecret::new(SECRET)
}

pub(crate) fn options(directory: &Path) -> Options {
    let ticks = AtomicU64::new(0);
    let clock = Arc::new(move || 1_772_714_096_000 + ticks.fetch_add(1, Ordering::Relaxed));
    let mut options = Options::new(directory, signer(), secret(), *b"replica1", clock, os_randomness());
    options.checkpoint_interval = Duration::from_millis(20);
    options.heartbeat_interval = Duration::from_secs(3_600);
    options.strangers_interval = Duration::from_secs(3_600);
    options
}

pub(crate) fn create(directory: &Path) -> Log {
    Log::create(&options(directory)).unwrap();
    Log::open(options(directory)).unwrap()
}

pub(crate) fn reopen(directory: &Path) -> Log {
    Log::open(options(directory)).unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
}

pub(crate) fn with_disk(directory: &Path, disk: Disk) -> Options {
    Options { disk, ..options(directory) }
}

pub(crate) fn intent(request: &str, patient: &str) -> Event {
    let mut event = Event::new(Class::Intent, 1_772_714_096_789, request, "north");
    event.subject = Some(Subject {
        issuer: "https://id.example.org".into(),
        id: "dr-1".into(),
        name: Some("Dr. Ada Stone".into()),
        roles: vec!["clinician".into()],
        token_id: None,
    });
    event.purpose = Some("TREAT".into());
    event.interaction = Some("read".into());
    event.query = Some(format!("/Patient/{patient}"));
    event.method = Some("GET".into());
    event.route = Some("/Patient/{id}".into());
    event.decision = Decision::Permit;
    event.policies = vec!["clinician-treats".into()];
    event.patients = vec![patient.into()];
    event
}

pub(crate) fn closing(patient: &str) -> Closing {
    Closing {
        patients: vec![patient.into()],
        records: vec![format!("Patient/{patient}")],
        ..Closing::new(OutcomeCode::Success, Some(200), None)
    }
}

/// Enters and closes requests one after the other; two entries each.
pub(crate) async fn fill(log: &Log, requests: std::ops::Range<usize>) {
    for i in requests {
        let patient = format!("p-{}", i % 3);
        let slot = log.enter(intent(&format!("req-{i}"), &patient)).await.unwrap();
        slot.outcome(closing(&patient)).await.unwrap();
    }
}

pub(crate) fn check(directory: &Path) -> Report {
    let (signer, secret) = (signer(), secret());
    verify(&Check { directory, key: signer.verifier(), secret: Some(&secret), remembered: None })
}

pub(crate) fn check_without_secret(directory: &Path) -> Report {
    let signer = signer();
    verify(&Check { directory, key: signer.verifier(), secret: None, remembered: None })
}

/// Copies a log so that what is copied later is never older: a state that a crash could have left.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in ["checkpoint", "tile", "events"] {
        copy_any(&from.join(name), &to.join(name));
    }
}

fn copy_any(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        let Ok(entries) = std::fs::read_dir(from) else { return };
        for entry in entries.flatten() {
            copy_any(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        // A temporary file may be renamed away meanwhile; a crash could have left it or not.
        let _ = std::fs::copy(from, to);
    }
}

pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.file_name().unwrap() != "lock" {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The files that the checkpoint rests on: of a tile that was published at several widths only the widest counts, the
/// narrower ones are left for readers of older checkpoints.
pub(crate) fn current_files(directory: &Path) -> Vec<PathBuf> {
    let all = files(directory);
    let width = |path: &PathBuf| -> Option<(PathBuf, u32)> {
        let folder = path.parent()?;
        let partial = folder.extension().is_some_and(|e| e == "p");
        partial.then(|| Some((folder.to_owned(), path.file_name()?.to_str()?.parse().ok()?)))?
    };
    let superseded = |path: &PathBuf| {
        width(path).is_some_and(|(folder, own)| {
            all.iter().filter_map(width).any(|(other, width)| other == folder && width > own)
        })
    };
    all.iter().filter(|path| !superseded(path)).cloned().collect()
}
