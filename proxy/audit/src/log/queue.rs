//! What waits for the disk: bounded, with room reserved for the outcome of everything that was begun.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::LogError;
use crate::event::Class;

/// Answers with the leaf index once the entry is durable.
pub(super) type Ack = oneshot::Receiver<Result<u64, LogError>>;

/// A sealed event on its way to the disk.
pub(super) struct Job {
    pub(super) time_ms: u64,
    pub(super) class: Class,
    pub(super) commitment: [u8; 32],
    pub(super) body: Vec<u8>,
    pub(super) erase: Vec<(u64, u64)>,
    pub(super) acknowledge: Option<oneshot::Sender<Result<u64, LogError>>>,
}

impl Job {
    pub(super) fn answer(self, result: Result<u64, LogError>) {
        if let Some(acknowledge) = self.acknowledge {
            // Whoever asked may be gone; the entry stands all the same.
            let _ = acknowledge.send(result);
        }
    }
}

/// Waits until an entry is durable.
pub(super) async fn wait(ack: Ack) -> Result<u64, LogError> {
    ack.await.unwrap_or(Err(LogError::Closed))
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    bytes: usize,
    reserved: usize,
    closed: bool,
    fault: Option<Arc<str>>,
}

/// The queue before the writer thread.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    entries_max: usize,
    bytes_max: usize,
}

impl Queue {
    pub(super) fn new(entries_max: usize, bytes_max: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), entries_max, bytes_max }
    }

    /// Takes an intent and reserves room for its outcome.
    pub(super) fn open(&self, job: Job) -> Result<(), LogError> {
        self.admit(job, 1)
    }

    /// Takes an entry for which nothing was reserved.
    pub(super) fn push(&self, job: Job) -> Result<(), LogError> {
        self.admit(job, 0)
    }

    fn admit(&self, job: Job, reserve: usize) -> Result<(), LogError> {
        let mut state = self.state.lock();
        if let Some(fault) = &state.fault {
            return Err(LogError::Unhealthy(Arc::clone(fault)));
        }
        // Those whose intent stands may still say what they disclose; nothing new begins.
        if state.closed && (reserve > 0 || job.class != Class::Segment) {
            return Err(LogError::Closed);
        }
        let waiting = state.jobs.len() + state.reserved;
        let crowded = !state.jobs.is_empty() && state.bytes + job.body.len() > self.bytes_max;
        if waiting + 1 + reserve > self.entries_max || crowded {
            return Err(LogError::Full { waiting, limit: self.entries_max });
        }
        state.reserved += reserve;
        self.take_in(&mut state, job);
        Ok(())
    }

    /// Takes an outcome into the room reserved for it. Never full, never blocks.
    pub(super) fn push_reserved(&self, job: Job) -> Result<(), LogError> {
        let mut state = self.state.lock();
        state.reserved = state.reserved.saturating_sub(1);
        if let Some(fault) = &state.fault {
            let fault = Arc::clone(fault);
            self.changed.notify_all();
            return Err(LogError::Unhealthy(fault));
        }
        self.take_in(&mut state, job);
        Ok(())
    }

    /// Gives reserved room back.
    pub(super) fn release(&self) {
        let mut state = self.state.lock();
        state.reserved = state.reserved.saturating_sub(1);
        self.changed.notify_all();
    }

    fn take_in(&self, state: &mut State, job: Job) {
        state.bytes += job.body.len();
        state.jobs.push_back(job);
        self.changed.notify_all();
    }

    /// Waits for entries until the deadline; `None` once the queue is closed, empty and nothing is reserved any more
    /// (or the deadline of a closed queue has passed).
    pub(super) fn take(&self, deadline: Instant, entries_max: usize, bytes_max: usize) -> Option<Vec<Job>> {
        let mut state = self.state.lock();
        loop {
            if !state.jobs.is_empty() {
                break;
            }
            if state.fault.is_some() {
                return Some(Vec::new());
            }
            if state.closed && state.reserved == 0 {
                return None;
            }
            if self.changed.wait_until(&mut state, deadline).timed_out() && state.jobs.is_empty() {
                return Some(Vec::new());
            }
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(job) = state.jobs.pop_front() {
            bytes += job.body.len();
            state.bytes -= job.body.len();
            batch.push(job);
            let next = state.jobs.front().map_or(0, |next| next.body.len());
            if batch.len() >= entries_max || bytes + next > bytes_max {
                break;
            }
        }
        Some(batch)
    }

    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    pub(super) fn closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Refuses everything from now on, and all that waits. The first fault is kept.
    pub(super) fn poison(&self, fault: &str) {
        let (jobs, fault) = {
            let mut state = self.state.lock();
            let fault = Arc::clone(state.fault.get_or_insert_with(|| Arc::from(fault)));
            state.bytes = 0;
            (std::mem::take(&mut state.jobs), fault)
        };
        self.changed.notify_all();
        jobs.into_iter().for_each(|job| job.answer(Err(LogError::Unhealthy(Arc::clone(&fault)))));
    }

    pub(super) fn fault(&self) -> Option<String> {
        self.state.lock().fault.as_deref().map(str::to_owned)
    }

    /// Entries waiting, and outcomes reserved.
    pub(super) fn depth(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.jobs.len(), state.reserved)
    }
}
