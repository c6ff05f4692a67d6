//! How fast the log is: entries per second and latency, for some numbers of requests at once.
//!
//! `cargo run --release -p drape-audit --example log_speed [directory]`; without a directory, a temporary one.

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use drape_audit::event::{Class, Decision, Event, OutcomeCode, Subject};
use drape_audit::log::{Closing, Log, LogError, Options};
use drape_audit::{EventSecret, NoteSigner, os_randomness};

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let temporary = tempfile::tempdir()?;
    let base = std::env::args().nth(1).map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:>8} {:>12} {:>8} {:>10} {:>10}", "at once", "entries/s", "syncs", "p50 ms", "p99 ms")?;
    for at_once in [1usize, 16, 128, 1_024] {
        let directory = base.join(format!("log-{at_once}"));
        let clock = Arc::new(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
        });
        let signer = Arc::new(NoteSigner::from_seed("speed.example.org/log", &[1; 32])?);
        let options =
            Options::new(directory, signer, EventSecret::new([2; 32]), *b"replica1", clock, os_randomness());
        Log::create(&options)?;
        let log = Arc::new(Log::open(options)?);
        let (seconds, mut latencies) = runtime.block_on(run(&log, at_once))?;
        latencies.sort();
        let at = |part: usize| latencies.get(latencies.len() * part / 100).map_or(0.0, Duration::as_secs_f64);
        let status = log.status();
        writeln!(
            out,
            "{at_once:>8} {:>12.0} {:>8} {:>10.2} {:>10.2}",
            status.size as f64 / seconds,
            status.batches,
            at(50) * 1e3,
            at(99) * 1e3
        )?;
        log.close();
    }
    Ok(())
}

/// Three seconds of requests, two entries each; gives the seconds and the time that each entry took to be durable.
async fn run(log: &Arc<Log>, at_once: usize) -> Result<(f64, Vec<Duration>), Failure> {
    let start = Instant::now();
    let mut tasks = Vec::new();
    for task in 0..at_once {
        let log = Arc::clone(log);
        tasks.push(tokio::spawn(async move {
            let mut latencies = Vec::new();
            for i in 0.. {
                if start.elapsed() > Duration::from_secs(3) {
                    break;
                }
                let before = Instant::now();
                let slot = log.enter(event(task, i)).await?;
                latencies.push(before.elapsed());
                let closing = Closing {
                    patients: vec![format!("patient-{task}")],
                    records: vec![format!("Observation/o-{i}/1")],
                    ..Closing::new(OutcomeCode::Success, Some(200), None)
                };
                let before = Instant::now();
                slot.outcome(closing).await?;
                latencies.push(before.elapsed());
            }
            Ok::<_, LogError>(latencies)
        }));
    }
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    Ok((start.elapsed().as_secs_f64(), latencies))
}

fn event(task: usize, i: u64) -> Event {
    let mut event = Event::new(Class::Intent, 1_772_714_096_789, format!("request-{task}-{i}"), "north");
    event.subject = Some(Subject {
        issuer: "https://id.example.org/realms/north".into(),
        id: format!("user-{task}"),
        name: Some("Dr. Ada Stone".into()),
        roles: vec!["clinician".into()],
        token_id: Some("0d2b6b0e-6a3c-4f0e-9a54-7b8f4a1c2d3e".into()),
    });
    event.purpose = Some("TREAT".into());
    event.interaction = Some("read".into());
    event.resource_type = Some("Observation".into());
    event.method = Some("GET".into());
    event.route = Some("/Observation/{id}".into());
    event.query = Some(format!("/Observation/o-{i}"));
    event.decision = Decision::Permit;
    event.policies = vec!["clinician-treats".into(), "hospital-base".into()];
    event.patients = vec![format!("patient-{task}")];
    event
}
