//! Records what was heard in a thread of its own: requests hand it over and go on; what there is no room for is dropped.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use drape_keys::secret::Secret;
use parking_lot::Mutex;

use super::item::{Captured, Heard};
use super::recording::{RecordingError, Writer};
use crate::config;
use crate::metrics::Metrics;

/// Requests that wait to be written down.
const QUEUE_MAX: usize = 1_024;

/// The recording of one tenant.
#[derive(Debug)]
pub(super) struct Recorder {
    sample_per_million: u64,
    tenant: String,
    metrics: Metrics,
    sender: Mutex<Option<SyncSender<Arc<Heard>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Recorder {
    pub(super) fn open(
        capture: &config::Capture,
        tenant: &str,
        secret: &Secret,
        metrics: &Metrics,
    ) -> Result<Self, RecordingError> {
        let disk = |e| RecordingError::Disk(capture.file.display().to_string(), e);
        if let Some(folder) = capture.file.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(disk)?;
        }
        let writer = Writer::open(&capture.file, tenant, secret)?;
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let scribe = Scribe {
            writer,
            bytes_max: capture.bytes_max,
            tenant: tenant.to_owned(),
            secret: secret.clone(),
            metrics: metrics.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || scribe.run(&receiver))
            .map_err(disk)?;
        Ok(Self {
            sample_per_million: capture.sample_per_million,
            tenant: tenant.to_owned(),
            metrics: metrics.clone(),
            sender: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Whether chance takes this request. Without randomness none is taken.
    pub(super) fn takes_this_one(&self) -> bool {
        const ALL: u64 = 1_000_000;
        if self.sample_per_million >= ALL {
            return true;
        }
        let mut drawn = [0; 8];
        getrandom::fill(&mut drawn).is_ok() && u64::from_be_bytes(drawn) % ALL < self.sample_per_million
    }

    pub(super) fn take(&self, heard: Arc<Heard>) {
        let sent = match &*self.sender.lock() {
            Some(sender) => sender.try_send(heard),
            None => Err(TrySendError::Disconnected(heard)),
        };
        if sent.is_err() {
            self.metrics.captured(&self.tenant, "dropped");
        }
    }

    pub(super) fn close(&self) {
        drop(self.sender.lock().take());
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!(tenant = self.tenant, "the recording was not closed: its thread failed");
        }
    }
}

struct Scribe {
    writer: Writer,
    bytes_max: u64,
    tenant: String,
    secret: Secret,
    metrics: Metrics,
}

impl Scribe {
    fn run(mut self, receiver: &Receiver<Arc<Heard>>) {
        let mut told = "";
        for heard in receiver {
            let outcome = self.write(&heard);
            // Each kind of trouble is told once in a row, and counted every time.
            if outcome != "written" && outcome != told {
                tracing::error!(tenant = self.tenant, outcome, "requests are not recorded any more");
            }
            told = outcome;
            self.metrics.captured(&self.tenant, outcome);
        }
        if let Err(error) = self.writer.close() {
            tracing::error!(tenant = self.tenant, %error, "the recording cannot be closed");
        }
    }

    fn write(&mut self, heard: &Heard) -> &'static str {
        let Ok(json) = serde_json::to_vec(&Captured::of(heard, &self.tenant, &self.secret)) else {
            return "failed";
        };
        if self.writer.bytes_with(&json) > self.bytes_max {
            return "full";
        }
        match self.writer.add(&json) {
            Ok(()) => "written",
            Err(error) => {
                tracing::debug!(tenant = self.tenant, %error, "an item is lost");
                "failed"
            }
        }
    }
}
