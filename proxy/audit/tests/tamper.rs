//! Every way to change a log quietly that we could think of, and the sentence that the check says about it.

mod common;

use std::path::{Path, PathBuf};

use common::*;
use drape_audit::event::{Class, Event};
use drape_audit::leaf::LEAF_BYTES;
use drape_audit::log::{Erasure, Log, OpenError};
use drape_audit::store::{Found, HEADER_BYTES, Scan, segments};
use drape_audit::tiles::{Edge, Row, read_entries, tile_path};
use drape_audit::verify::{Check, Exit, remember, verify};
use drape_audit::{NoteSigner, Report};

const SIZE: u64 = 300;

/// A log of 300 entries: one full tile, one partial, one partial above.
async fn log() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let log = create(folder.path());
    fill(&log, 0..SIZE as usize / 2).await;
    drop(log);
    assert_eq!(check(folder.path()).exit(), Exit::Ok);
    folder
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

fn said(report: &Report, exit: Exit, text: &str) {
    assert_eq!(report.exit(), exit, "{report}");
    assert!(report.faults.iter().any(|fault| fault.text.contains(text)), "`{text}` is not said in: {report}");
}

fn path_of(directory: &Path, row: Row, index: u64, width: u64) -> PathBuf {
    directory.join(tile_path(row, index, width))
}

#[tokio::test]
async fn a_flipped_byte_in_an_entry_names_the_entry() {
    let folder = log().await;
    // Entry 17, inside its commitment; entries are two bytes of length and a leaf.
    flip(&path_of(folder.path(), Row::Entries, 0, 256), 17 * (LEAF_BYTES + 2) + 2 + 70);
    said(&check(folder.path()), Exit::Tampered, "entry 17 was changed");
    said(&check_without_secret(folder.path()), Exit::Tampered, "entry 17 was changed");
    let faults = check_without_secret(folder.path()).faults.len();
    assert!(faults <= 2, "one flipped byte makes {faults} complaints");
}

#[tokio::test]
async fn a_flipped_byte_in_any_hash_tile_names_the_tile() {
    let folder = log().await;
    let tile = path_of(folder.path(), Row::Level(0), 0, 256);
    flip(&tile, 33 * 32);
    said(&check(folder.path()), Exit::Tampered, "hash tile `tile/0/000` was changed: its hash of entry 33");
    flip(&tile, 33 * 32);
    let above = path_of(folder.path(), Row::Level(1), 0, 1);
    flip(&above, 3);
    said(&check(folder.path()), Exit::Tampered, "hash tile `tile/1/000.p/1` was changed");
    assert!(matches!(Log::open(options(folder.path())), Err(OpenError::Contradiction(_))));
}

#[tokio::test]
async fn a_flipped_byte_anywhere_in_the_log_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let log = create(folder.path());
    fill(&log, 0..4).await;
    drop(log);
    for path in current_files(folder.path()) {
        let length = std::fs::metadata(&path).unwrap().len() as usize;
        for at in (0..length).step_by(7) {
            flip(&path, at);
            let report = check(folder.path());
            assert_eq!(report.exit(), Exit::Tampered, "byte {at} of {}: {report}", path.display());
            flip(&path, at);
        }
    }
    assert_eq!(check(folder.path()).exit(), Exit::Ok);
}

#[tokio::test]
async fn a_flipped_byte_in_the_event_store_names_the_event() {
    let folder = log().await;
    let segment = segments(folder.path()).unwrap().remove(0);
    let bytes = segment.read().unwrap();
    let offset = Scan::new(&bytes)
        .find_map(|found| match found {
            Found::Record(stored) if stored.index == 9 => Some(stored.offset as usize),
            _ => None,
        })
        .unwrap();
    flip(&segment.path, offset + HEADER_BYTES + 100);
    said(&check(folder.path()), Exit::Tampered, "the event of entry 9 was changed");
    said(&check_without_secret(folder.path()), Exit::Tampered, "the event of entry 9 was changed");
}

#[tokio::test]
async fn a_truncated_file_of_any_kind_is_noticed() {
    let folder = log().await;
    for path in current_files(folder.path()) {
        let bytes = std::fs::read(&path).unwrap();
        for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let report = check(folder.path());
            assert_ne!(report.exit(), Exit::Ok, "{} cut to {length}: {report}", path.display());
        }
        std::fs::write(&path, bytes).unwrap();
    }
    assert_eq!(check(folder.path()).exit(), Exit::Ok);
}

#[tokio::test]
async fn a_missing_file_of_any_kind_is_noticed() {
    let folder = log().await;
    for path in current_files(folder.path()) {
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let report = check(folder.path());
        assert_eq!(report.exit(), Exit::Incomplete, "{}: {report}", path.display());
        std::fs::write(&path, bytes).unwrap();
    }
    assert_eq!(check(&folder.path().join("nowhere")).exit(), Exit::Unreadable);
}

/// Puts another tree over the log, as somebody would who can write its directory.
fn rebuild(directory: &Path, keep: impl Fn(u64) -> bool) -> (u64, [u8; 32]) {
    let mut entries = read_entries(directory, 0, 256).unwrap();
    entries.extend(read_entries(directory, 1, SIZE - 256).unwrap());
    std::fs::remove_dir_all(directory.join("tile")).unwrap();
    let mut edge = Edge::empty();
    let mut tiles = Vec::new();
    for (entry, _) in entries.iter().zip(0..).filter(|(_, index)| keep(*index)) {
        tiles.extend(edge.push(entry));
    }
    tiles.extend(edge.partials());
    for tile in tiles {
        let path = directory.join(tile.path());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, tile.bytes).unwrap();
    }
    (edge.size(), edge.root())
}

#[tokio::test]
async fn an_entry_dropped_with_the_tree_computed_anew_contradicts_the_old_checkpoint() {
    let folder = log().await;
    rebuild(folder.path(), |index| index != 40);
    // The tiles are now of another size than the checkpoint; put the last entry twice to fit.
    assert_ne!(check(folder.path()).exit(), Exit::Ok);
    assert!(Log::open(options(folder.path())).is_err());

    let folder = log().await;
    let mut entries = read_entries(folder.path(), 0, 256).unwrap();
    entries.extend(read_entries(folder.path(), 1, SIZE - 256).unwrap());
    entries.remove(40);
    entries.push(entries[0].clone());
    let mut edge = Edge::empty();
    let mut tiles: Vec<_> = entries.iter().flat_map(|entry| edge.push(entry)).collect();
    tiles.extend(edge.partials());
    for tile in tiles {
        std::fs::write(folder.path().join(tile.path()), tile.bytes).unwrap();
    }
    said(&check_without_secret(folder.path()), Exit::Tampered, "the tree was computed anew");
    assert!(matches!(Log::open(options(folder.path())), Err(OpenError::Contradiction(_))));
}

#[tokio::test]
async fn an_insider_with_the_key_who_drops_an_entry_leaves_a_gap_in_the_replicas_sequence() {
    let folder = log().await;
    let (size, root) = rebuild(folder.path(), |index| index != 40);
    std::fs::write(folder.path().join("checkpoint"), signer().sign(size, root)).unwrap();
    let report = check_without_secret(folder.path());
    said(&report, Exit::Tampered, "1 entry of the replica `replica1` missing before entry 40");
}

#[tokio::test]
async fn a_checkpoint_of_another_key_is_a_replaced_one() {
    let folder = log().await;
    let (size, root) = rebuild(folder.path(), |_| true);
    let other = NoteSigner::from_seed(ORIGIN, &[2; 32]).unwrap();
    std::fs::write(folder.path().join("checkpoint"), other.sign(size, root)).unwrap();
    said(
        &check(folder.path()),
        Exit::Tampered,
        "`checkpoint` was changed or replaced: it is not signed by the key",
    );
    assert!(matches!(Log::open(options(folder.path())), Err(OpenError::Checkpoint(_))));
}

#[tokio::test]
async fn a_rollback_and_a_fork_are_told_by_a_remembered_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let kept = tempfile::tempdir().unwrap();
    let (signer, secret) = (signer(), secret());
    let remembered = kept.path().join("last-seen");
    let check = |directory: &Path| {
        verify(&Check {
            directory,
            key: signer.verifier(),
            secret: Some(&secret),
            remembered: Some(&remembered),
        })
    };

    let log = create(folder.path());
    fill(&log, 0..10).await;
    drop(log);
    let old = kept.path().join("old");
    copy(folder.path(), &old);
    let report = check(folder.path());
    assert_eq!(report.exit(), Exit::Ok);
    assert!(report.notes.iter().any(|note| note.contains("no checkpoint was remembered")));
    remember(&remembered, report.note.as_deref().unwrap()).unwrap();

    let log = reopen(folder.path());
    fill(&log, 10..150).await;
    drop(log);
    let report = check(folder.path());
    assert_eq!(report.exit(), Exit::Ok, "a log that has grown continues: {report}");
    remember(&remembered, report.note.as_deref().unwrap()).unwrap();

    // The same key, older: the whole directory was put back.
    said(
        &check(&old),
        Exit::Tampered,
        "the checkpoint was replaced by an older one: the log had 300 entries and now has 20",
    );
    // The same key, as long: a history of its own.
    let log = reopen(&old);
    fill(&log, 10..150).await;
    drop(log);
    said(
        &check(&old),
        Exit::Tampered,
        "the checkpoint was replaced: there are two different logs of 300 entries",
    );
    // The same key, longer: it goes on from there.
    let log = reopen(&old);
    fill(&log, 150..160).await;
    drop(log);
    said(&check(&old), Exit::Tampered, "the log does not continue the remembered one");
}

#[tokio::test]
async fn an_event_erased_without_a_tombstone_is_an_alarm() {
    let folder = log().await;
    let segment = segments(folder.path()).unwrap().remove(0);
    let mut bytes = segment.read().unwrap();
    let copy = bytes.clone();
    for found in Scan::new(&copy) {
        let Found::Record(stored) = found else { panic!("broken") };
        if stored.index == 12 {
            let start = stored.offset as usize + HEADER_BYTES;
            bytes[start..start + stored.body.len()].fill(0);
        }
    }
    std::fs::write(&segment.path, &bytes).unwrap();
    let report = check(folder.path());
    said(&report, Exit::Tampered, "the event of entry 12 was erased without a tombstone");
    assert_eq!((report.events.missing, report.events.verified), (1, 299));
    said(
        &check_without_secret(folder.path()),
        Exit::Tampered,
        "the event of entry 12 was erased without a tombstone",
    );
    // A tombstone for something else does not cover it.
    let log = reopen(folder.path());
    let order = Event::new(Class::Tombstone, 1, "order", "north");
    log.erase(Erasure { order, ranges: vec![(13, 13)] }).await.unwrap();
    drop(log);
    said(&check(folder.path()), Exit::Tampered, "the event of entry 12 was erased without a tombstone");
    assert_eq!(check(folder.path()).events.erased, 1);
}

#[tokio::test]
async fn an_event_put_back_after_its_erasure_is_noticed() {
    let folder = log().await;
    let segment = segments(folder.path()).unwrap().remove(0);
    let before = segment.read().unwrap();
    let log = reopen(folder.path());
    let order = Event::new(Class::Tombstone, 1, "order", "north");
    log.erase(Erasure { order, ranges: vec![(13, 13)] }).await.unwrap();
    drop(log);
    let mut bytes = segment.read().unwrap();
    bytes[..before.len()].copy_from_slice(&before);
    std::fs::write(&segment.path, bytes).unwrap();
    said(
        &check(folder.path()),
        Exit::Incomplete,
        "entry 13 has a tombstone, but its event can still be read",
    );
}

#[tokio::test]
async fn two_events_that_change_places_are_noticed() {
    let folder = log().await;
    let segment = segments(folder.path()).unwrap().remove(0);
    let bytes = segment.read().unwrap();
    let records: Vec<_> = Scan::new(&bytes)
        .filter_map(|found| match found {
            Found::Record(stored) => Some((stored.offset as usize, stored.body.len())),
            Found::Broken(_) => None,
        })
        .collect();
    let (one, two) = (0..records.len())
        .flat_map(|one| (one + 1..records.len()).map(move |two| (one, two)))
        .find(|(one, two)| records[*one].1 == records[*two].1)
        .unwrap();
    let mut swapped = bytes.clone();
    let (length, one, two) = (records[one].1, records[one].0 + HEADER_BYTES, records[two].0 + HEADER_BYTES);
    swapped[one..one + length].copy_from_slice(&bytes[two..two + length]);
    swapped[two..two + length].copy_from_slice(&bytes[one..one + length]);
    std::fs::write(&segment.path, swapped).unwrap();
    said(&check(folder.path()), Exit::Tampered, "was changed: it does not decrypt");
}

#[tokio::test]
async fn the_wrong_secret_is_not_mistaken_for_tampering() {
    let folder = log().await;
    let (signer, wrong) = (signer(), drape_audit::EventSecret::new([8; 32]));
    let directory = folder.path();
    let report = verify(&Check { directory, key: signer.verifier(), secret: Some(&wrong), remembered: None });
    said(&report, Exit::Unreadable, "no event opens under the secret that was given");
}
