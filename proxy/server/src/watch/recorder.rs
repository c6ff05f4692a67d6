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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::recording::Reader;

    fn heard() -> Arc<Heard> {
        let caller = crate::workbench::personas::caller(
            &serde_json::Map::new(),
            &[],
            crate::workbench::personas::noon(1_795_000_000_000),
        );
        Arc::new(Heard {
            digest: "d".into(),
            route: "read".into(),
            caller: Arc::new(caller.unwrap()),
            silent: false,
            answers: Vec::new(),
            records: Vec::new(),
            more: 1,
        })
    }

    fn count(metrics: &Metrics, outcome: &str) -> bool {
        let text = String::from_utf8(metrics.render(0, true)).unwrap();
        text.contains(&format!("drape_capture_items_total{{outcome=\"{outcome}\",tenant=\"main\"}} 1"))
    }

    #[test]
    fn a_recording_that_is_full_or_closed_takes_nothing_more_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rec/a");
        let (metrics, secret) = (Metrics::new().unwrap(), Secret::new([1; 32]));
        let one = serde_json::to_vec(&Captured::of(&heard(), "main", &secret)).unwrap().len() as u64;
        // Room for one and a half.
        let capture = config::Capture {
            file: file.clone(),
            sample_per_million: 1_000_000,
            bytes_max: one * 3 / 2 + 100,
        };
        let recorder = Recorder::open(&capture, "main", &secret, &metrics).unwrap();
        assert!(recorder.takes_this_one());
        recorder.take(heard());
        recorder.take(heard());
        recorder.close();
        recorder.take(heard());
        for outcome in ["written", "full", "dropped"] {
            assert!(count(&metrics, outcome), "{outcome}");
        }
        let read: Result<Vec<_>, _> = Reader::open(&file, "main", &secret).unwrap().collect();
        assert_eq!(read.unwrap().len(), 1);
    }

    #[test]
    fn chance_takes_about_as_many_as_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let capture = config::Capture { file, sample_per_million: 250_000, bytes_max: 1 << 20 };
        let metrics = Metrics::new().unwrap();
        let recorder = Recorder::open(&capture, "main", &Secret::new([1; 32]), &metrics).unwrap();
        let taken = (0..4_000).filter(|_| recorder.takes_this_one()).count();
        // Seven standard deviations around a thousand.
        assert!((800..1_200).contains(&taken), "{taken}");
        recorder.close();
    }
}
