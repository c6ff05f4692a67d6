//! Time, injected: everything that needs to know it asks here, so that tests can set it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({} ms)", self.now_ms())
    }
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(Arc::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        }))
    }

    /// A clock that stands until it is set.
    pub fn fixed(milliseconds: u64) -> (Self, Arc<AtomicU64>) {
        let hand = Arc::new(AtomicU64::new(milliseconds));
        let read = Arc::clone(&hand);
        (Self(Arc::new(move || read.load(Ordering::SeqCst))), hand)
    }

    /// Milliseconds since the epoch.
    pub fn now_ms(&self) -> u64 {
        (self.0)()
    }

    /// Seconds since the epoch.
    pub fn now_s(&self) -> u64 {
        self.now_ms() / 1_000
    }

    /// For crates that take a plain function.
    pub fn function(&self) -> Arc<dyn Fn() -> u64 + Send + Sync> {
        Arc::clone(&self.0)
    }
}
