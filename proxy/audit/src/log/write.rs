//! The one writer thread: takes what waits, makes it durable with one sync, and only then says so.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::publish::Publisher;
use super::queue::Job;
use super::recover::{OpenError, Recovered};
use super::{LogError, Options, Shared};
use crate::disk::Disk;
use crate::event::{Class, Event, OutcomeCode, Stranger};
use crate::leaf::{LEAF_BYTES, Leaf};
use crate::store::{Appender, HEADER_BYTES, encode, erase};
use crate::tree::{Hash, leaf_hash};

/// Batches that may wait for the publisher; beyond it the writer waits, then the queue fills, then callers are refused.
const UNPUBLISHED_BATCHES_MAX: usize = 256;

/// The replica's place in its own chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    pub(super) replica: [u8; 8],
    pub(super) sequence: u64,
    pub(super) previous: Hash,
}

impl Chain {
    fn next(&mut self, job: &Job) -> [u8; LEAF_BYTES] {
        let leaf = Leaf {
            replica: self.replica,
            sequence: self.sequence,
            previous: self.previous,
            time_ms: job.time_ms,
            class: job.class,
            commitment: job.commitment,
        };
        let leaf = leaf.encode();
        self.sequence += 1;
        self.previous = leaf_hash(&leaf);
        leaf
    }
}

/// Publishes what recovery found, then starts the writer and the publisher.
pub(super) fn start(
    shared: &Arc<Shared>,
    options: Options,
    recovered: Recovered,
) -> Result<Vec<JoinHandle<()>>, OpenError> {
    let fault = |error: io::Error| OpenError::Disk(options.directory.display().to_string(), error);
    let mut publisher = Publisher::new(Arc::clone(shared), &options, &recovered);
    publisher.absorb(&recovered.tail);
    publisher.publish().map_err(fault)?;
    let appender = Appender::open(
        options.disk.clone(),
        &options.directory,
        recovered.last.as_ref(),
        options.segment_bytes_max,
    );
    let (sender, receiver) = sync_channel(UNPUBLISHED_BATCHES_MAX);
    let now = Instant::now();
    let writer = Writer {
        shared: Arc::clone(shared),
        appender: appender.map_err(fault)?,
        chain: recovered.chain,
        next: recovered.size,
        published: sender,
        disk: options.disk.clone(),
        directory: options.directory.clone(),
        heartbeat: Pace { every: options.heartbeat_interval, due: now + options.heartbeat_interval },
        strangers: Pace { every: options.strangers_interval, due: now + options.strangers_interval },
        strangers_day: (0, 0),
        strangers_bytes_per_day_max: options.strangers_bytes_per_day_max,
        batch_entries_max: options.batch_entries_max.max(1),
        batch_bytes_max: options.batch_bytes_max,
        close_grace: options.close_grace,
    };
    // Held until the last checkpoint is published.
    let lock = Arc::new(recovered.lock);
    let held = Arc::clone(&lock);
    let name = |name: &str| thread::Builder::new().name(name.to_owned());
    let publishing = name("audit-publish").spawn(move || {
        publisher.run(receiver);
        drop(held);
    });
    let publishing = publishing.map_err(fault)?;
    let writing = name("audit-write").spawn(move || {
        writer.run();
        drop(lock);
    });
    Ok(vec![writing.map_err(fault)?, publishing])
}

struct Pace {
    every: Duration,
    due: Instant,
}

impl Pace {
    fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.due;
        if due {
            self.due = now + self.every;
        }
        due
    }
}

struct Writer {
    shared: Arc<Shared>,
    appender: Appender,
    chain: Chain,
    next: u64,
    published: SyncSender<Vec<[u8; LEAF_BYTES]>>,
    disk: Disk,
    directory: PathBuf,
    heartbeat: Pace,
    strangers: Pace,
    /// The day that is counted, and the bytes written on it.
    strangers_day: (u64, u64),
    strangers_bytes_per_day_max: u64,
    batch_entries_max: usize,
    batch_bytes_max: usize,
    close_grace: Duration,
}

impl Writer {
    fn run(mut self) {
        let mut grace: Option<Instant> = None;
        loop {
            if grace.is_none() && self.shared.queue.closed() {
                grace = Some(Instant::now() + self.close_grace);
            }
            let mut deadline = self.heartbeat.due.min(self.strangers.due);
            if let Some(grace) = grace {
                deadline = deadline.min(grace);
            }
            if self.shared.queue.fault().is_some() {
                return;
            }
            let taken = self.shared.queue.take(deadline, self.batch_entries_max, self.batch_bytes_max);
            let now = Instant::now();
            let ending = taken.is_none() || grace.is_some_and(|grace| now >= grace);
            let mut jobs = taken.unwrap_or_default();
            if self.heartbeat.is_due(now) {
                self.add(&mut jobs, Event::new(Class::Heartbeat, (self.shared.clock)(), "", ""));
            }
            if self.strangers.is_due(now) || ending {
                self.add_strangers(&mut jobs);
            }
            if let Err(fault) = self.commit(jobs) {
                // Never sync the same descriptor again: after a failed sync the kernel may call lost pages clean.
                self.shared.queue.poison(&fault);
                return;
            }
            // What came in meanwhile is written by the same rules before the last checkpoint.
            if ending && self.shared.queue.depth().0 == 0 {
                self.shared.queue.poison("it was closed");
                return;
            }
        }
    }

    fn add(&mut self, jobs: &mut Vec<Job>, event: Event) -> bool {
        match self.shared.seal(&event) {
            Ok((mut job, _)) => {
                job.acknowledge = None;
                jobs.push(job);
                true
            }
            Err(_) => false,
        }
    }

    /// Enters the counts of strangers, if there are any and the day's quota has room; else they go on counting.
    fn add_strangers(&mut self, jobs: &mut Vec<Job>) {
        let counted = || {
            let counts = Stranger::ALL.into_iter().zip(&self.shared.strangers);
            counts.map(|(kind, count)| (kind, count.load(Ordering::Relaxed))).filter(|(_, count)| *count > 0)
        };
        let strangers: Vec<(Stranger, u64)> = counted().collect();
        if strangers.is_empty() {
            return;
        }
        let time_ms = (self.shared.clock)();
        let day = time_ms / 86_400_000;
        if self.strangers_day.0 != day {
            self.strangers_day = (day, 0);
        }
        let mut event = Event::new(Class::Strangers, time_ms, "", "");
        event.outcome = Some(OutcomeCode::MinorFailure);
        event.reason = Some("callers without a valid token were refused".into());
        event.strangers = strangers.clone();
        let Ok((mut job, _)) = self.shared.seal(&event) else { return };
        let bytes = (HEADER_BYTES + job.body.len()) as u64;
        if self.strangers_day.1 + bytes > self.strangers_bytes_per_day_max {
            return;
        }
        self.strangers_day.1 += bytes;
        job.acknowledge = None;
        jobs.push(job);
        // Only what was entered is taken off; refusals counted meanwhile stay.
        for (kind, count) in strangers {
            if let Some(at) = Stranger::ALL.iter().position(|other| *other == kind) {
                self.shared.strangers[at].fetch_sub(count, Ordering::Relaxed);
            }
        }
    }

    /// Makes a batch durable, carries out erasures, acknowledges, and hands the leaves to the publisher.
    fn commit(&mut self, jobs: Vec<Job>) -> Result<(), String> {
        if jobs.is_empty() {
            return Ok(());
        }
        let first = self.next;
        let mut bytes = Vec::new();
        let mut leaves = Vec::with_capacity(jobs.len());
        let mut ranges = Vec::new();
        for (job, index) in jobs.iter().zip(first..) {
            let leaf = self.chain.next(job);
            encode(&mut bytes, index, first, &leaf, &job.body);
            leaves.push(leaf);
            ranges.extend_from_slice(&job.erase);
        }
        let done = self.appender.append(first, &bytes).and_then(|()| {
            // A crash here leaves a tombstone whose events are still there: the next opening erases them.
            if ranges.is_empty() { Ok(0) } else { erase(&self.disk, &self.directory, &ranges) }
        });
        if let Err(error) = done {
            let fault = format!("the disk failed: {error}");
            // Before anybody hears of it: who is told that the disk failed must not find a healthy log.
            self.shared.queue.poison(&fault);
            let shared: Arc<str> = Arc::from(fault.as_str());
            jobs.into_iter().for_each(|job| job.answer(Err(LogError::Unhealthy(Arc::clone(&shared)))));
            return Err(fault);
        }
        self.next += jobs.len() as u64;
        self.shared.size.store(self.next, Ordering::Release);
        self.shared.batches.fetch_add(1, Ordering::Relaxed);
        // A crash from here on loses nothing: the batch is in the event store, and opening takes it up from there.
        jobs.into_iter().zip(first..).for_each(|(job, index)| job.answer(Ok(index)));
        self.published.send(leaves).map_err(|_| "checkpoints cannot be published".to_owned())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_log_can_be_shared_between_tasks() {
        fn shared<T: Send + Sync>() {}
        shared::<crate::Log>();
        shared::<crate::Slot>();
    }
}
