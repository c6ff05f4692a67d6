//! What was acknowledged survives a crash at any point, and a disk that fails stops the log instead of fooling it.

mod common;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::*;
use drape_audit::disk::{Disk, Step};
use drape_audit::event::{Class, Event};
use drape_audit::log::{Erasure, Log, LogError, OpenError, Options};
use drape_audit::reader::Content;
use drape_audit::store::segments;
use drape_audit::verify::Exit;
use parking_lot::Mutex;

type Acknowledged = Arc<Mutex<Vec<(u64, String)>>>;

/// Opens a copy as after a crash and checks that all that was acknowledged is there, then goes on writing.
async fn assert_recovers(directory: &Path, acknowledged: &[(u64, String)]) {
    let log = reopen(directory);
    for (index, request) in acknowledged {
        let opened = log.reader().get(*index).unwrap();
        let opened = opened.unwrap_or_else(|| panic!("entry {index} was acknowledged and is lost"));
        assert_eq!(opened.event().map(|event| event.request.as_str()), Some(request.as_str()));
    }
    let size = log.status().size;
    assert_eq!(log.status().published, size, "opening publishes what it found");
    fill(&log, 900..902).await;
    log.close();
    let report = check(directory);
    assert_eq!(report.exit(), Exit::Ok, "{}: {report}", directory.display());
    assert_eq!(report.checkpoint.unwrap().size, size + 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_durable_step_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let copies = tempfile::tempdir().unwrap();
    let acknowledged: Acknowledged = Arc::default();
    let snapshots: Arc<Mutex<Vec<(Step, Vec<(u64, String)>)>>> = Arc::default();
    Log::create(&options(folder.path())).unwrap();
    // 120 requests of two entries fill the first tile up to the last 16 entries.
    let log = reopen(folder.path());
    fill(&log, 0..120).await;
    drop(log);

    let hook = {
        let (from, to) = (folder.path().to_owned(), copies.path().to_owned());
        let (acknowledged, snapshots) = (Arc::clone(&acknowledged), Arc::clone(&snapshots));
        Arc::new(move |step: Step, _: &Path| -> io::Result<()> {
            let known = acknowledged.lock().clone();
            let mut snapshots = snapshots.lock();
            copy(&from, &to.join(snapshots.len().to_string()));
            snapshots.push((step, known));
            Ok(())
        })
    };
    let mut crashing = with_disk(folder.path(), Disk::hooked(hook));
    crashing.checkpoint_interval = Duration::from_millis(1);
    crashing.segment_bytes_max = 20_000;
    let log = Log::open(crashing).unwrap();
    for i in 200..212 {
        let request = format!("req-{i}");
        let slot = log.enter(intent(&request, "p-1")).await.unwrap();
        acknowledged.lock().push((slot.index(), request.clone()));
        let index = slot.outcome(closing("p-1")).await.unwrap();
        acknowledged.lock().push((index, request));
    }
    log.close();
    let snapshots = snapshots.lock().clone();
    for step in [Step::Append, Step::Sync, Step::Rename, Step::SyncDirectory, Step::Create, Step::Remove] {
        assert!(snapshots.iter().any(|(taken, _)| *taken == step), "no copy before {step:?}");
    }
    for (at, (_, known)) in snapshots.iter().enumerate() {
        assert_recovers(&copies.path().join(at.to_string()), known).await;
    }
}

#[tokio::test]
async fn a_store_cut_at_every_byte_of_the_last_batch_opens_with_all_earlier_ones() {
    let folder = tempfile::tempdir().unwrap();
    let log = create(folder.path());
    fill(&log, 0..2).await;
    drop(log);
    // From here on no checkpoint is published, as if the crash came before it.
    let quiet = Options { checkpoint_interval: Duration::from_secs(3_600), ..options(folder.path()) };
    let log = Log::open(quiet).unwrap();
    let mut acknowledged = Vec::new();
    let segment = segments(folder.path()).unwrap().remove(0);
    let slot = log.enter(intent("req-tail", "p-1")).await.unwrap();
    acknowledged.push((slot.index(), "req-tail".to_owned()));
    let before = std::fs::metadata(&segment.path).unwrap().len();
    slot.outcome(closing("p-1")).await.unwrap();
    let after = std::fs::metadata(&segment.path).unwrap().len();
    let copy_folder = tempfile::tempdir().unwrap();
    let crashed = copy_folder.path().join("crashed");
    copy(folder.path(), &crashed);
    drop(log);
    for (at, bytes) in (before..=after).enumerate() {
        // The cut is tried at every byte; going on afterwards, with all its syncs, at a sample of them.
        let copied = copy_folder.path().join(bytes.to_string());
        copy(&crashed, &copied);
        let path = copied.join("events").join(segment.path.file_name().unwrap());
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
        if at % 50 == 0 {
            assert_recovers(&copied, &acknowledged).await;
        } else {
            let log = reopen(&copied);
            assert_eq!(log.status().size, if bytes == after { 6 } else { 5 });
            let event = log.reader().get(4).unwrap().unwrap();
            assert_eq!(event.event().unwrap().request, "req-tail");
        }
        std::fs::remove_dir_all(&copied).unwrap();
    }
}

#[tokio::test]
async fn an_acknowledged_entry_that_was_damaged_is_not_taken_for_a_torn_batch() {
    let folder = tempfile::tempdir().unwrap();
    let log = create(folder.path());
    fill(&log, 0..1).await;
    drop(log);
    let quiet = Options { checkpoint_interval: Duration::from_secs(3_600), ..options(folder.path()) };
    let log = Log::open(quiet).unwrap();
    let path = segments(folder.path()).unwrap().remove(0).path;
    let start = std::fs::metadata(&path).unwrap().len() as usize;
    fill(&log, 1..2).await;
    let copy_folder = tempfile::tempdir().unwrap();
    for at in [start, start + 20, start + 60, start + 300] {
        let copied = copy_folder.path().join(at.to_string());
        copy(folder.path(), &copied);
        let path = copied.join("events").join(path.file_name().unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = Log::open(options(&copied)).unwrap_err();
        assert!(matches!(&error, OpenError::Contradiction(_)), "{error}");
        let report = check(&copied);
        assert_eq!(report.exit(), Exit::Tampered, "{report}");
    }
}

#[tokio::test]
async fn an_erasure_that_a_crash_cut_short_is_finished_at_the_next_opening() {
    let folder = tempfile::tempdir().unwrap();
    let copies = tempfile::tempdir().unwrap();
    let log = create(folder.path());
    fill(&log, 0..3).await;
    drop(log);
    let (from, to) = (folder.path().to_owned(), copies.path().to_owned());
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let hook = Arc::new(move |step: Step, _: &Path| {
        if step == Step::Erase {
            copy(&from, &to.join(counter.fetch_add(1, Ordering::SeqCst).to_string()));
        }
        Ok(())
    });
    let log = Log::open(with_disk(folder.path(), Disk::hooked(hook))).unwrap();
    let order = Event::new(Class::Tombstone, 1, "order", "north");
    log.erase(Erasure { order, ranges: vec![(1, 3)] }).await.unwrap();
    drop(log);
    assert_eq!(taken.load(Ordering::SeqCst), 3);
    for at in 0..3 {
        let copied = copies.path().join(at.to_string());
        let log = reopen(&copied);
        for index in 1..=3 {
            assert_eq!(log.reader().get(index).unwrap().unwrap().content, Content::Erased);
        }
        drop(log);
        let report = check(&copied);
        assert_eq!((report.exit(), report.events.erased), (Exit::Ok, 3), "{report}");
    }
}

#[tokio::test]
async fn a_full_disk_or_a_failed_sync_stops_the_log_and_nothing_is_acknowledged() {
    for failing in [Step::Append, Step::Sync] {
        let folder = tempfile::tempdir().unwrap();
        drop(create(folder.path()));
        let armed = Arc::new(AtomicUsize::new(0));
        let failures = Arc::new(AtomicUsize::new(0));
        let hook = {
            let (armed, failures) = (Arc::clone(&armed), Arc::clone(&failures));
            Arc::new(move |step: Step, path: &Path| {
                let segment = path.extension().is_some_and(|extension| extension == "events");
                if armed.load(Ordering::SeqCst) == 1 && step == failing && segment {
                    failures.fetch_add(1, Ordering::SeqCst);
                    return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device"));
                }
                Ok(())
            })
        };
        let log = Log::open(with_disk(folder.path(), Disk::hooked(hook))).unwrap();
        fill(&log, 0..2).await;
        let slot = log.enter(intent("req-open", "p-1")).await.unwrap();
        armed.store(1, Ordering::SeqCst);
        let error = log.enter(intent("req-full", "p-1")).await.unwrap_err();
        assert!(matches!(&error, LogError::Unhealthy(text) if text.contains("no space left")), "{error}");
        assert!(!log.healthy());
        assert!(log.status().fault.unwrap().contains("the disk failed"));
        // Space has come back, but the log does not trust that descriptor again.
        armed.store(0, Ordering::SeqCst);
        assert!(log.enter(intent("req-late", "p-1")).await.is_err());
        assert!(slot.segment(vec![], vec![], vec![], vec![]).await.is_err());
        assert!(slot.outcome(closing("p-1")).await.is_err());
        assert_eq!(failures.load(Ordering::SeqCst), 1, "the sync was tried again");
        drop(log);
        let log = reopen(folder.path());
        assert!(log.healthy());
        // An entry that was written but not synced may stand: it then is an intent that was never acted upon.
        assert!((5..=6).contains(&log.status().size));
        drop(log);
        let report = check(folder.path());
        assert_eq!(report.exit(), Exit::Ok, "{report}");
        assert!(report.open_intents.iter().any(|open| open.request == "req-open"));
    }
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_published_stops_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = create(folder.path());
    fill(&log, 0..1).await;
    while log.status().published < 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // Somebody puts another checkpoint there while the log runs.
    std::fs::write(folder.path().join("checkpoint"), signer().sign(0, [0; 32])).unwrap();
    let _ = log.enter(intent("req-1", "p-1")).await;
    while log.healthy() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(log.status().fault.unwrap().contains("replaced by somebody else"));
    assert!(log.enter(intent("req-2", "p-1")).await.is_err());
}
