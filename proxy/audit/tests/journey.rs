//! A request's entries from intent to outcome, what an officer finds, and what stays true when things go wrong.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use drape_audit::event::{Class, Event, OutcomeCode, Stranger, Treated};
use drape_audit::leaf::Leaf;
use drape_audit::log::{Closing, Erasure, Log, LogError, OpenError, Options};
use drape_audit::proof::Receipt;
use drape_audit::reader::{Content, Query};
use drape_audit::tiles::read_entries;
use drape_audit::verify::Exit;
use drape_audit::{NoteSigner, VerifierKey};

fn patient(id: &str) -> Query {
    Query { patient: Some(("north".into(), id.into())), limit: 100, ..Query::default() }
}

#[tokio::test]
async fn who_saw_this_patient_is_answered_with_why_and_under_which_policy() {
    let folder = tempfile::tempdir().unwrap();
    let log = create(folder.path());
    fill(&log, 0..9).await;
    let mut search = intent("req-search", "p-77");
    search.patients.clear();
    search.interaction = Some("search-type".into());
    let slot = log.enter(search).await.unwrap();
    let redacted = Treated { category: "note".into(), treatment: "redact".into(), count: 4 };
    slot.segment(
        vec!["p-1".into(), "p-77".into()],
        vec!["Patient/p-77/2".into()],
        vec!["show-all".into()],
        vec![redacted.clone()],
    )
    .await
    .unwrap();
    slot.outcome(Closing::new(OutcomeCode::Success, Some(200), None)).await.unwrap();

    let hits = log.reader().search(&patient("p-77")).unwrap();
    assert_eq!(hits.len(), 1);
    let event = hits[0].event().unwrap();
    assert_eq!(event.class, Class::Segment);
    assert_eq!(event.subject.as_ref().unwrap().name.as_deref(), Some("Dr. Ada Stone"));
    assert_eq!(event.purpose.as_deref(), Some("TREAT"));
    assert_eq!(event.policies, ["clinician-treats", "show-all"]);
    assert_eq!(event.treatments, [redacted]);
    assert_eq!(event.records, ["Patient/p-77/2"]);
    // Three requests about p-1, two entries each, and the segment.
    assert_eq!(log.reader().search(&patient("p-1")).unwrap().len(), 7);
    let other_tenant =
        Query { patient: Some(("south".into(), "p-1".into())), limit: 100, ..Query::default() };
    assert!(log.reader().search(&other_tenant).unwrap().is_empty());
    let newest = log.reader().tail(2).unwrap();
    assert_eq!(newest.iter().map(|opened| opened.index).collect::<Vec<_>>(), [20, 19]);
    assert_eq!(newest[0].leaf.class, Class::Outcome);
    let of_request = Query { request: Some("req-4".into()), limit: 100, ..Query::default() };
    assert_eq!(log.reader().search(&of_request).unwrap().len(), 2);
    assert_eq!(log.reader().search(&Query { limit: 1, ..patient("p-1") }).unwrap().len(), 1);
    // What others did last does not use up the limit.
    let of_north = Query { tenant: Some("north".into()), limit: 1, ..Query::default() };
    assert_eq!(log.reader().search(&of_north).unwrap().len(), 1);
    let of_south = Query { tenant: Some("south".into()), limit: 1, ..Query::default() };
    assert!(log.reader().search(&of_south).unwrap().is_empty());
    log.record(Event::new(Class::Config, 1_772_714_096_789, "req-south", "south")).await.unwrap();
    assert_eq!(log.reader().search(&of_north).unwrap()[0].index, 20);
    assert_eq!(log.reader().search(&of_south).unwrap()[0].index, 21);
    log.close();

    let report = check(folder.path());
    assert_eq!(report.exit(), Exit::Ok, "{report}");
    assert_eq!(report.events.verified, 22);
    assert!(report.open_intents.is_empty() && report.tail == 0);
    let sealed = check_without_secret(folder.path());
    assert_eq!((sealed.exit(), sealed.events.sealed), (Exit::Ok, 22));
}

#[tokio::test]
async fn nothing_on_disk_names_a_person() {
    let folder = tempfile::tempdir().unwrap();
    let log = create(folder.path());
    let slot = log.enter(intent("req-canary", "patient-canary")).await.unwrap();
    slot.outcome(closing("patient-canary")).await.unwrap();
    log.close();
    for path in files(folder.path()) {
        let bytes = std::fs::read(&path).unwrap();
        for canary in ["canary", "Ada", "dr-1", "clinician"] {
            let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!found, "`{canary}` stands in {}", path.display());
        }
    }
}

#[tokio::test]
async fn a_dropped_slot_is_closed_as_abandoned_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let log = create(folder.path());
    let mut slot = log.enter(intent("req-1", "p-1")).await.unwrap();
    slot.at("forward");
    assert_eq!(log.status().open_slots, 1);
    drop(slot);
    log.close();
    let newest = log.reader().tail(1).unwrap();
    let event = newest[0].event().unwrap();
    assert_eq!(event.class, Class::Outcome);
    assert_eq!(event.outcome, Some(OutcomeCode::SeriousFailure));
    assert_eq!(event.reason.as_deref(), Some("abandoned at forward"));
    assert!(check(folder.path()).open_intents.is_empty());
}

#[tokio::test]
async fn a_caller_who_gives_up_while_the_intent_is_written_leaves_no_open_slot() {
    let folder = tempfile::tempdir().unwrap();
    let log = create(folder.path());
    for i in 0..20 {
        let mut entering = Box::pin(log.enter(intent(&format!("req-{i}"), "p-1")));
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::future::Future::poll(entering.as_mut(), context).is_ready())
        });
        let _ = polled.await;
        drop(entering);
    }
    log.close();
    assert_eq!(log.status().open_slots, 0);
    let report = check(folder.path());
    assert_eq!(
        (report.exit(), report.open_intents.len(), report.events.verified),
        (Exit::Ok, 0, 40),
        "{report}"
    );
}

#[tokio::test]
async fn an_intent_whose_outcome_was_lost_is_listed_as_disclosed() {
    let folder = tempfile::tempdir().unwrap();
    let copy_folder = tempfile::tempdir().unwrap();
    let log = create(folder.path());
    fill(&log, 0..2).await;
    let slot = log.enter(intent("req-open", "p-1")).await.unwrap();
    copy(folder.path(), copy_folder.path());
    reopen(copy_folder.path()).close();
    let report = check(copy_folder.path());
    assert_eq!(report.exit(), Exit::Ok, "{report}");
    assert_eq!(report.open_intents.len(), 1);
    assert_eq!((report.open_intents[0].index, report.open_intents[0].request.as_str()), (4, "req-open"));
    assert!(report.to_string().contains("it counts as disclosed"));
    slot.outcome(closing("p-1")).await.unwrap();
}

#[tokio::test]
async fn strangers_are_counted_in_one_entry_and_kept_within_their_quota() {
    let folder = tempfile::tempdir().unwrap();
    Log::create(&options(folder.path())).unwrap();
    let mut quick = options(folder.path());
    quick.strangers_interval = Duration::from_millis(200);
    // Room for one entry a day: such an entry takes between half of this and all of it.
    quick.strangers_bytes_per_day_max = 2_400;
    let log = Log::open(quick).unwrap();
    for _ in 0..1_000 {
        log.strangers(Stranger::NoToken);
    }
    log.strangers(Stranger::Expired);
    let entered = async {
        while log.status().size == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), entered).await.expect("the counts fit into the quota");
    for _ in 0..50 {
        log.strangers(Stranger::BadToken);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(log.status().size, 1);
    assert_eq!(log.status().strangers_waiting, 50);
    let event = log.reader().get(0).unwrap().unwrap();
    let strangers = &event.event().unwrap().strangers;
    assert_eq!(strangers.as_slice(), [(Stranger::NoToken, 1_000), (Stranger::Expired, 1)]);
}

#[tokio::test]
async fn a_heartbeat_is_entered_when_nothing_happens() {
    let folder = tempfile::tempdir().unwrap();
    Log::create(&options(folder.path())).unwrap();
    let mut quick = options(folder.path());
    quick.heartbeat_interval = Duration::from_millis(10);
    let log = Log::open(quick).unwrap();
    while log.status().published < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    log.close();
    assert!(log.reader().tail(3).unwrap().iter().all(|opened| opened.leaf.class == Class::Heartbeat));
    assert_eq!(check(folder.path()).exit(), Exit::Ok);
}

#[tokio::test]
async fn an_erased_event_is_gone_and_the_log_still_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let log = create(folder.path());
    fill(&log, 0..5).await;
    let mut order = Event::new(Class::Tombstone, 1_772_714_100_000, "order-1", "north");
    order.reason = Some("GDPR Art. 17(1)(d), order of 3 March".into());
    let erasure = Erasure { order, ranges: vec![(2, 3), (6, 6)] };
    let tombstone = log.erase(erasure.clone()).await.unwrap();
    assert_eq!(tombstone, 10);
    let beyond = log.erase(Erasure { ranges: vec![(3, 99)], ..erasure }).await;
    assert_eq!(beyond, Err(LogError::NoSuchEntry { asked: 99, size: 11 }));
    log.close();
    assert_eq!(log.reader().get(3).unwrap().unwrap().content, Content::Erased);
    assert!(log.reader().search(&patient("p-1")).unwrap().iter().all(|opened| opened.index != 2));
    let report = check(folder.path());
    assert_eq!(report.exit(), Exit::Ok, "{report}");
    assert_eq!((report.events.verified, report.events.erased), (8, 3));
    let sealed = check_without_secret(folder.path());
    assert_eq!((sealed.exit(), sealed.events.sealed, sealed.events.erased), (Exit::Ok, 8, 3));
    reopen(folder.path());
}

#[tokio::test]
async fn a_full_queue_refuses_new_requests_but_never_an_outcome() {
    let folder = tempfile::tempdir().unwrap();
    Log::create(&options(folder.path())).unwrap();
    let log = Log::open(Options { queue_entries_max: 4, ..options(folder.path()) }).unwrap();
    let slots = [
        log.enter(intent("req-1", "p-1")).await.unwrap(),
        log.enter(intent("req-2", "p-1")).await.unwrap(),
        log.enter(intent("req-3", "p-1")).await.unwrap(),
    ];
    let refused = log.enter(intent("req-4", "p-1")).await.unwrap_err();
    assert_eq!(refused, LogError::Full { waiting: 3, limit: 4 });
    for slot in slots {
        slot.outcome(closing("p-1")).await.unwrap();
    }
    assert!(log.enter(intent("req-5", "p-1")).await.is_ok());
    assert!(log.healthy());
}

#[tokio::test]
async fn an_event_that_is_too_large_is_refused_and_its_request_stays_accounted_for() {
    let folder = tempfile::tempdir().unwrap();
    Log::create(&options(folder.path())).unwrap();
    let log = Log::open(Options { event_bytes_max: 8_000, ..options(folder.path()) }).unwrap();
    let slot = log.enter(intent("req-1", "p-1")).await.unwrap();
    let many: Vec<String> = (0..500).map(|i| format!("patient-{i}")).collect();
    assert!(matches!(
        slot.segment(many.clone(), vec![], vec![], vec![]).await,
        Err(LogError::TooLarge { .. })
    ));
    let closing = Closing { patients: many, ..closing("p-1") };
    assert!(matches!(slot.outcome(closing).await, Err(LogError::TooLarge { limit: 8_000, .. })));
    log.close();
    let newest = log.reader().tail(1).unwrap();
    assert_eq!(newest[0].event().unwrap().reason.as_deref(), Some("abandoned at enter"));
}

#[tokio::test]
async fn a_receipt_of_a_published_entry_holds_offline() {
    let folder = tempfile::tempdir().unwrap();
    let log = create(folder.path());
    fill(&log, 0..200).await;
    log.close();
    let key = VerifierKey::parse(&signer().verifier().to_string()).unwrap();
    let receipt = Receipt::parse(&Receipt::make(folder.path(), 300, &key).unwrap().to_text()).unwrap();
    let entry = &read_entries(folder.path(), 1, 144).unwrap()[44];
    assert_eq!(receipt.proves(entry, &key), Ok(true));
    assert_eq!(Leaf::decode(entry).unwrap().sequence, 300);
}

#[tokio::test]
async fn opening_is_refused_where_there_is_no_log_or_a_wrong_key_or_another_writer() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Log::open(options(folder.path())), Err(OpenError::NotThere(_))));
    let log = create(folder.path());
    assert!(matches!(Log::create(&options(folder.path())), Err(OpenError::Exists(_))));
    assert!(matches!(Log::open(options(folder.path())), Err(OpenError::Locked(_))));
    fill(&log, 0..3).await;
    drop(log);
    let other = Arc::new(NoteSigner::from_seed(ORIGIN, &[2; 32]).unwrap());
    let wrong = Options { signer: other, ..options(folder.path()) };
    assert!(matches!(Log::open(wrong), Err(OpenError::Checkpoint(_))));
    let wrong = Options { secret: drape_audit::EventSecret::new([8; 32]), ..options(folder.path()) };
    assert!(matches!(Log::open(wrong), Err(OpenError::Secret)));
    std::fs::remove_file(folder.path().join("checkpoint")).unwrap();
    assert!(matches!(Log::open(options(folder.path())), Err(OpenError::NotThere(_))));
    assert!(matches!(Log::create(&options(folder.path())), Err(OpenError::Exists(_))));
}

#[tokio::test]
async fn two_replicas_in_turn_keep_their_own_chains() {
    let folder = tempfile::tempdir().unwrap();
    let log = create(folder.path());
    fill(&log, 0..140).await;
    drop(log);
    let log = Log::open(Options { replica: *b"replica2", ..options(folder.path()) }).unwrap();
    fill(&log, 140..143).await;
    drop(log);
    let log = reopen(folder.path());
    fill(&log, 143..145).await;
    let newest = log.reader().tail(1).unwrap();
    assert_eq!((newest[0].index, newest[0].leaf.sequence), (289, 283));
    drop(log);
    let report = check(folder.path());
    assert_eq!(report.exit(), Exit::Ok, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_tasks_share_syncs_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(create(folder.path()));
    let mut tasks = Vec::new();
    for i in 0..100 {
        let log = Arc::clone(&log);
        tasks.push(tokio::spawn(async move {
            let request = format!("req-{i}");
            let slot = log.enter(intent(&request, "p-1")).await.unwrap();
            let first = slot.index();
            let segment = slot.segment(vec!["p-2".into()], vec![], vec![], vec![]).await.unwrap();
            let last = slot.outcome(closing("p-1")).await.unwrap();
            assert!(first < segment && segment < last);
            (request, [first, segment, last])
        }));
    }
    let mut seen = std::collections::BTreeSet::new();
    for task in tasks {
        let (request, indices) = task.await.unwrap();
        for index in indices {
            assert!(seen.insert(index));
            assert_eq!(log.reader().get(index).unwrap().unwrap().event().unwrap().request, request);
        }
    }
    let status = log.status();
    assert_eq!((seen.len(), status.size), (300, 300));
    assert!(status.batches < 300, "{} syncs for 300 entries", status.batches);
    log.close();
    let report = check(folder.path());
    assert_eq!((report.exit(), report.events.verified), (Exit::Ok, 300), "{report}");
}
