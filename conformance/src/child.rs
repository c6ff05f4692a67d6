//! A process that the suite starts, waits for with a time limit, and ends whatever happens.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::{Fault, Outcome};

/// A running process; ended when dropped.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: Process,
    log: PathBuf,
}

/// What a short-lived process did.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Between two looks at something that is waited for.
pub const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Child {
    /// Starts `command`; what it says goes into `log`.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Outcome<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        let err = out.try_clone()?;
        let process = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|e| Fault(format!("cannot start {name}: {e}")))?;
        Ok(Self { name: name.to_owned(), process, log: log.to_owned() })
    }

    /// Waits until `ready` says so. A process that ends before, or is not ready in time, is a fault with its last words.
    pub fn until(&mut self, limit: Duration, mut ready: impl FnMut() -> bool) -> Outcome {
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Err(Fault(format!("{} ended with {status}:\n{}", self.name, self.last_words())));
            }
            if ready() {
                return Ok(());
            }
            if started.elapsed() > limit {
                return Err(Fault(format!(
                    "{} is not ready after {limit:?}:\n{}",
                    self.name,
                    self.last_words()
                )));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// SIGKILL, as a power cut would.
    pub fn kill(&mut self) -> Outcome<ExitStatus> {
        self.process.kill()?;
        Ok(self.process.wait()?)
    }

    /// SIGTERM, and the exit status once it has ended; SIGKILL and a fault when it does not.
    pub fn stop(&mut self, limit: Duration) -> Outcome<ExitStatus> {
        run(Command::new("kill").arg(self.process.id().to_string()), Duration::from_secs(5))?;
        let started = Instant::now();
        while started.elapsed() < limit {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        self.kill()?;
        Err(Fault(format!("{} did not end within {limit:?} of SIGTERM", self.name)))
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The end of what it said.
    pub fn last_words(&self) -> String {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a short-lived process to its end; past the limit it is killed and that is a fault.
pub fn run(command: &mut Command, limit: Duration) -> Outcome<Ran> {
    let name = command.get_program().to_string_lossy().into_owned();
    let folder = tempfile::tempdir()?;
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let mut process = command
        .stdin(Stdio::null())
        .stdout(File::create(&out)?)
        .stderr(File::create(&err)?)
        .spawn()
        .map_err(|e| Fault(format!("cannot run `{name}`: {e}")))?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = process.try_wait()? {
            break status;
        }
        if started.elapsed() > limit {
            let _ = process.kill();
            let _ = process.wait();
            return Err(Fault(format!("`{name}` did not end within {limit:?}")));
        }
        std::thread::sleep(LOOK_AGAIN);
    };
    let read = |path: &Path| std::fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned());
    Ok(Ran { code: status.code(), out: read(&out)?, err: read(&err)? })
}

/// Waits until `ready` gives something.
pub fn wait_for<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> Outcome<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = ready() {
            return Ok(found);
        }
        if started.elapsed() > limit {
            return Err(Fault(format!("{what}: not within {limit:?}")));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}
