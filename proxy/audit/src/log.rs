//! The log: events go in, and are durable when the call returns; leaves and signed checkpoints come out.

mod publish;
mod queue;
mod recover;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::checkpoint::NoteSigner;
use crate::disk::Disk;
use crate::event::trace::{Determined, Trace};
use crate::event::{Class, Event, OutcomeCode, Stranger, Treated};
use crate::leaf::hex;
use crate::reader::Reader;
use crate::seal::{EventSecret, Randomness, SealFault, seal};
use crate::store::FOLDER;
use crate::tree::Hash;
use queue::{Ack, Job, Queue};

pub use recover::OpenError;

/// Milliseconds since the epoch.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How a log is opened. [`Options::new`] takes what has no sensible default.
#[derive(Clone)]
pub struct Options {
    /// Holds `checkpoint`, `tile/` and `events/`.
    pub directory: PathBuf,
    /// Signs checkpoints; its name is the log's origin.
    pub signer: Arc<NoteSigner>,
    /// Encrypts events.
    pub secret: EventSecret,
    /// Which replica writes; each has its own gapless sequence.
    pub replica: [u8; 8],
    /// Stamps events.
    pub clock: Clock,
    /// Draws commitment keys and nonces.
    pub randomness: Randomness,
    /// Durable steps, with a hook for tests and metrics.
    pub disk: Disk,
    /// How long entries may stand in the event store before a checkpoint covers them.
    pub checkpoint_interval: Duration,
    /// A checkpoint is published at the latest after this many entries.
    pub checkpoint_entries_max: u64,
    /// How often a heartbeat is entered; it bounds how much of the tail can vanish unseen.
    pub heartbeat_interval: Duration,
    /// How often refusals of strangers are entered, at most.
    pub strangers_interval: Duration,
    /// What entries about strangers may take of the disk in a day (UTC); beyond it they are only counted.
    pub strangers_bytes_per_day_max: u64,
    /// Entries waiting and reserved, at most.
    pub queue_entries_max: usize,
    /// Bytes waiting, at most; reserved outcomes are let in beyond it.
    pub queue_bytes_max: usize,
    /// Entries made durable by one sync, at most.
    pub batch_entries_max: usize,
    /// Bytes made durable by one sync, at most (a single larger event still goes).
    pub batch_bytes_max: usize,
    /// One sealed event, at most.
    pub event_bytes_max: usize,
    /// A segment of the event store is closed once it holds this much.
    pub segment_bytes_max: u64,
    /// How long closing waits for open slots.
    pub close_grace: Duration,
}

impl Options {
    /// The defaults: checkpoints each second, heartbeats and strangers each minute, 16,384 entries waiting.
    pub fn new(
        directory: impl Into<PathBuf>,
        signer: Arc<NoteSigner>,
        secret: EventSecret,
        replica: [u8; 8],
        clock: Clock,
        randomness: Randomness,
    ) -> Self {
        Self {
            directory: directory.into(),
            signer,
            secret,
            replica,
            clock,
            randomness,
            disk: Disk::real(),
            checkpoint_interval: Duration::from_secs(1),
            checkpoint_entries_max: 4_096,
            heartbeat_interval: Duration::from_secs(60),
            strangers_interval: Duration::from_secs(60),
            strangers_bytes_per_day_max: 8 << 20,
            queue_entries_max: 16_384,
            queue_bytes_max: 64 << 20,
            batch_entries_max: 1_024,
            batch_bytes_max: 4 << 20,
            event_bytes_max: 4 << 20,
            segment_bytes_max: 16 << 20,
            close_grace: Duration::from_secs(5),
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// Why an entry was not made. The request must then not be made either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Too much is waiting: try again later.
    #[error("the audit log is busy: {waiting} entries are waiting or reserved, the limit is {limit}")]
    Full {
        /// How many wait.
        waiting: usize,
        /// The limit.
        limit: usize,
    },
    /// The disk or a key failed; the log takes nothing more until it is opened again.
    #[error("the audit log takes no entries: {0}")]
    Unhealthy(Arc<str>),
    /// The event is larger than the limit.
    #[error("the audit event has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The log was closed.
    #[error("the audit log is closed")]
    Closed,
    /// The event could not be encrypted.
    #[error("the audit event: {0}")]
    Seal(#[from] SealFault),
    /// An erasure names entries that are not there.
    #[error("the log has {size} entries, so entry {asked} cannot be erased")]
    NoSuchEntry {
        /// What was asked for.
        asked: u64,
        /// The size of the log.
        size: u64,
    },
}

/// How the log is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Entries that are durable.
    pub size: u64,
    /// Entries that the last checkpoint covers.
    pub published: u64,
    /// The root of the last checkpoint.
    pub root: Hash,
    /// When it was published, in milliseconds since the epoch.
    pub checkpoint_time_ms: u64,
    /// Whether entries are taken.
    pub healthy: bool,
    /// Why not.
    pub fault: Option<String>,
    /// Entries waiting for the disk.
    pub queue_depth: usize,
    /// Requests that are under way: intents whose outcome is still to come.
    pub open_slots: usize,
    /// How often a batch was forced to disk.
    pub batches: u64,
    /// Strangers refused but not entered yet.
    pub strangers_waiting: u64,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The outcome's code.
    pub outcome: OutcomeCode,
    /// The HTTP status answered.
    pub status: Option<u16>,
    /// Why it was refused or failed.
    pub reason: Option<String>,
    /// Logical ids of patients named since the last segment.
    pub patients: Vec<String>,
    /// Records named since the last segment: `Type/id` or `Type/id/version`.
    pub records: Vec<String>,
    /// Ids of the policies that determined what of these records was seen, besides those that permitted the request.
    pub policies: Vec<String>,
    /// What was done to which categories.
    pub treatments: Vec<Treated>,
    /// What was asked of policy about the request since the intent.
    pub trace: Trace,
    /// By which policies what of the records was seen.
    pub determined: Vec<Determined>,
}

impl Closing {
    /// An outcome that names nobody.
    pub fn new(outcome: OutcomeCode, status: Option<u16>, reason: Option<String>) -> Self {
        let (patients, records, policies, treatments, trace, determined) = Default::default();
        Self { outcome, status, reason, patients, records, policies, treatments, trace, determined }
    }
}

/// What is to be erased, and by what right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// Who orders it, in which tenant, with the legal basis as `reason`; class and ranges are filled in.
    pub order: Event,
    /// Ranges of leaf indices, both ends included.
    pub ranges: Vec<(u64, u64)>,
}

/// What all handles of a log share.
struct Shared {
    queue: Queue,
    secret: EventSecret,
    randomness: Randomness,
    clock: Clock,
    event_bytes_max: usize,
    strangers: [AtomicU64; Stranger::ALL.len()],
    size: AtomicU64,
    batches: AtomicU64,
    published: Mutex<Published>,
}

#[derive(Clone, Copy)]
struct Published {
    size: u64,
    root: Hash,
    time_ms: u64,
}

impl Shared {
    /// Seals an event; costs some ten microseconds and no I/O.
    fn seal(&self, event: &Event) -> Result<(Job, Ack), LogError> {
        let canonical = event.canonical();
        let mut tags = Vec::with_capacity(event.patients.len());
        for patient in &event.patients {
            let tag = self.secret.tag(&event.tenant, patient).ok_or(SealFault::Cipher)?;
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        let sealed = seal(&self.secret, &self.randomness, event.time_ms, event.class, &canonical, &tags)?;
        if sealed.body.len() > self.event_bytes_max {
            return Err(LogError::TooLarge { bytes: sealed.body.len(), limit: self.event_bytes_max });
        }
        let (acknowledge, ack) = oneshot::channel();
        let job = Job {
            time_ms: event.time_ms,
            class: event.class,
            commitment: sealed.commitment,
            body: sealed.body,
            erase: event.erased.clone(),
            acknowledge: Some(acknowledge),
        };
        Ok((job, ack))
    }
}

/// The audit log of one replica. Dropping it closes it, which waits for the disk: do so off the async threads.
pub struct Log {
    shared: Arc<Shared>,
    directory: PathBuf,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Log {
    /// Makes a new, empty log with a checkpoint over nothing. An existing one is an error, never overwritten.
    pub fn create(options: &Options) -> Result<(), OpenError> {
        let disk = &options.disk;
        let directory = &options.directory;
        let io = |error| OpenError::Disk(directory.display().to_string(), error);
        if directory.join("checkpoint").exists() || directory.join(FOLDER).exists() {
            return Err(OpenError::Exists(directory.display().to_string()));
        }
        disk.make_directories(&directory.join(FOLDER)).map_err(io)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let owner_only = std::fs::Permissions::from_mode(0o700);
            std::fs::set_permissions(directory.join(FOLDER), owner_only).map_err(io)?;
        }
        let note = options.signer.sign(0, crate::tree::empty_root());
        disk.replace(&directory.join("checkpoint"), note.as_bytes()).map_err(io)?;
        disk.sync_directory(directory).map_err(io)
    }

    /// Opens a log: checks the checkpoint and the edge of the tree, takes up what the event store holds beyond the
    /// checkpoint, publishes it, and starts writing. Whatever contradicts the checkpoint is refused.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let recovered = recover::recover(&options)?;
        let published = Published {
            size: recovered.checkpoint.size,
            root: recovered.checkpoint.root,
            time_ms: (options.clock)(),
        };
        let shared = Arc::new(Shared {
            queue: Queue::new(options.queue_entries_max, options.queue_bytes_max),
            secret: options.secret.clone(),
            randomness: Arc::clone(&options.randomness),
            clock: Arc::clone(&options.clock),
            event_bytes_max: options.event_bytes_max,
            strangers: Default::default(),
            size: AtomicU64::new(recovered.size),
            batches: AtomicU64::new(0),
            published: Mutex::new(published),
        });
        let directory = options.directory.clone();
        let threads = write::start(&shared, options, recovered)?;
        Ok(Self { shared, directory, threads: Mutex::new(threads) })
    }

    /// Enters an intent; it is durable when this returns. Room for the outcome is reserved with it.
    ///
    /// Dropping the future before it returns leaves the intent in the log, closed as abandoned.
    pub async fn enter(&self, mut event: Event) -> Result<Slot, LogError> {
        event.class = Class::Intent;
        let (job, ack) = self.shared.seal(&event)?;
        self.shared.queue.open(job)?;
        let mut slot =
            Slot { shared: Arc::clone(&self.shared), base: event, stage: "enter", index: 0, open: true };
        match queue::wait(ack).await {
            Ok(index) => slot.index = index,
            Err(error) => {
                slot.open = false;
                self.shared.queue.release();
                return Err(error);
            }
        }
        Ok(slot)
    }

    /// Enters an event that stands alone (a refusal, an officer's look, a change of configuration) and gives its index.
    pub async fn record(&self, event: Event) -> Result<u64, LogError> {
        let (job, ack) = self.shared.seal(&event)?;
        self.shared.queue.push(job)?;
        queue::wait(ack).await
    }

    /// Counts a refused stranger. Never blocks, never writes: the counts are entered from time to time, and a crash
    /// loses those of the current interval.
    pub fn strangers(&self, kind: Stranger) {
        if let Some(at) = Stranger::ALL.iter().position(|other| *other == kind) {
            self.shared.strangers[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Erases events: the tombstone is durable first, then the events are overwritten; both are done when this returns.
    pub async fn erase(&self, erasure: Erasure) -> Result<u64, LogError> {
        let size = self.shared.size.load(Ordering::Acquire);
        for (first, last) in &erasure.ranges {
            if *last >= size || first > last {
                return Err(LogError::NoSuchEntry { asked: *last, size });
            }
        }
        let mut event = erasure.order;
        event.class = Class::Tombstone;
        event.erased = erasure.ranges;
        self.record(event).await
    }

    /// Whether entries are taken.
    pub fn healthy(&self) -> bool {
        self.shared.queue.fault().is_none()
    }

    /// How the log is doing.
    pub fn status(&self) -> Status {
        let published = *self.shared.published.lock();
        let (queue_depth, open_slots) = self.shared.queue.depth();
        let fault = self.shared.queue.fault();
        Status {
            size: self.shared.size.load(Ordering::Acquire),
            published: published.size,
            root: published.root,
            checkpoint_time_ms: published.time_ms,
            healthy: fault.is_none(),
            fault,
            queue_depth,
            open_slots,
            batches: self.shared.batches.load(Ordering::Relaxed),
            strangers_waiting: self.shared.strangers.iter().map(|count| count.load(Ordering::Relaxed)).sum(),
        }
    }

    /// Reads the log's events; blocking.
    pub fn reader(&self) -> Reader {
        Reader::new(&self.directory, self.shared.secret.clone())
    }

    /// The log's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Takes no more entries, waits for open slots (at most the grace), writes and publishes the rest. Blocking.
    pub fn close(&self) {
        self.shared.queue.close();
        for thread in self.threads.lock().drain(..) {
            // A thread that panicked has left the queue closed; nothing is acknowledged any more.
            let _ = thread.join();
        }
        self.shared.queue.poison("it was closed");
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// An intent that is durable, and the reserved room for its outcome. Dropped without one, it is closed as abandoned.
#[must_use = "dropping a slot closes the entry as abandoned"]
pub struct Slot {
    shared: Arc<Shared>,
    base: Event,
    stage: &'static str,
    index: u64,
    open: bool,
}

impl Slot {
    /// The leaf index of the intent.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The request's id.
    pub fn request(&self) -> &str {
        &self.base.request
    }

    /// Says how far the request has come, for the entry that a drop writes.
    pub fn at(&mut self, stage: &'static str) {
        self.stage = stage;
    }

    /// Enters patients and records that are about to leave; durable when this returns. After an error they must not.
    pub async fn segment(
        &self,
        patients: Vec<String>,
        records: Vec<String>,
        policies: Vec<String>,
        treatments: Vec<Treated>,
    ) -> Result<u64, LogError> {
        let success = Closing::new(OutcomeCode::Success, None, None);
        let closing = Closing { patients, records, policies, treatments, ..success };
        let (job, ack) = self.shared.seal(&self.event(Class::Segment, closing))?;
        self.shared.queue.push(job)?;
        queue::wait(ack).await
    }

    /// Enters the outcome; durable when this returns. If it fails, the entry stands as an intent without outcome
    /// or as abandoned, and counts as disclosed.
    pub async fn outcome(mut self, closing: Closing) -> Result<u64, LogError> {
        let (job, ack) = self.shared.seal(&self.event(Class::Outcome, closing))?;
        self.open = false;
        self.shared.queue.push_reserved(job)?;
        queue::wait(ack).await
    }

    fn event(&self, class: Class, closing: Closing) -> Event {
        let mut policies = self.base.policies.clone();
        policies.extend(closing.policies.into_iter().filter(|p| !self.base.policies.contains(p)));
        Event {
            class,
            time_ms: (self.shared.clock)(),
            patients: closing.patients,
            records: closing.records,
            policies,
            treatments: closing.treatments,
            trace: closing.trace,
            determined: closing.determined,
            status: closing.status,
            outcome: Some(closing.outcome),
            reason: closing.reason,
            ..self.base.clone()
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let reason = Some(format!("abandoned at {}", self.stage));
        let event = self.event(Class::Outcome, Closing::new(OutcomeCode::SeriousFailure, None, reason));
        match self.shared.seal(&event) {
            Ok((mut job, _)) => {
                job.acknowledge = None;
                // Refused only by a log that takes nothing any more; the intent without outcome then says it all.
                let _ = self.shared.queue.push_reserved(job);
            }
            Err(_) => self.shared.queue.release(),
        }
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("index", &self.index).field("stage", &self.stage).finish_non_exhaustive()
    }
}

/// A replica id in reports.
pub(crate) fn replica_name(replica: &[u8; 8]) -> String {
    if replica.iter().all(|byte| byte.is_ascii_graphic()) {
        replica.iter().map(|byte| char::from(*byte)).collect()
    } else {
        hex(replica)
    }
}
