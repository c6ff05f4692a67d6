//! The whole check of a log, by anybody who has its public key: what is wrong, where, in plain language.

mod events;
mod tree;

use std::fmt;
use std::io;
use std::path::Path;

use crate::checkpoint::{CHECKPOINT_BYTES_MAX, Checkpoint, NoteFault, VerifierKey};
use crate::disk::Disk;
use crate::leaf::hex;
use crate::seal::EventSecret;
use crate::tiles::read_bounded;

/// The result in one word, and the exit status of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// Everything fits: 0.
    Ok,
    /// Something was changed, replaced or dropped: 1.
    Tampered,
    /// Something is missing, and nothing shows that it was changed: 2.
    Incomplete,
    /// The log cannot be read at all: 3.
    Unreadable,
}

impl Exit {
    /// The process exit status.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Tampered => 1,
            Self::Incomplete => 2,
            Self::Unreadable => 3,
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How bad.
    pub exit: Exit,
    /// What and where.
    pub text: String,
}

/// What became of the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States {
    /// Opened, and what the leaf commits to.
    pub verified: u64,
    /// Stored, but no secret was given to open them.
    pub sealed: u64,
    /// Erased, with a tombstone.
    pub erased: u64,
    /// Not there, or erased without a tombstone.
    pub missing: u64,
}

/// A request whose end nobody wrote down. It counts as disclosed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenIntent {
    /// The leaf index of the intent.
    pub index: u64,
    /// The tenant.
    pub tenant: String,
    /// The request's id.
    pub request: String,
}

/// What the check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The checkpoint, where its signature fits.
    pub checkpoint: Option<Checkpoint>,
    /// The signed note, to be remembered with [`remember`].
    pub note: Option<String>,
    /// What is wrong, worst kinds not first but in the order of the check.
    pub faults: Vec<Fault>,
    /// What is worth knowing and not wrong.
    pub notes: Vec<String>,
    /// What became of the events that the checkpoint covers.
    pub events: States,
    /// Entries in the event store that no checkpoint covers yet.
    pub tail: u64,
    /// Intents without outcome, in the order of the log; known only with the secret.
    pub open_intents: Vec<OpenIntent>,
}

/// More faults of one kind than this are only counted.
const FAULTS_OF_A_KIND_MAX: usize = 20;

impl Report {
    /// The result: tampered outweighs unreadable, which outweighs incomplete.
    pub fn exit(&self) -> Exit {
        let has = |exit| self.faults.iter().any(|fault| fault.exit == exit);
        [Exit::Tampered, Exit::Unreadable, Exit::Incomplete]
            .into_iter()
            .find(|exit| has(*exit))
            .unwrap_or(Exit::Ok)
    }

    fn fault(&mut self, exit: Exit, text: impl Into<String>) {
        self.faults.push(Fault { exit, text: text.into() });
    }

    /// Adds faults of one kind, and beyond some only their number.
    fn faults_of(&mut self, exit: Exit, texts: Vec<String>) {
        let more = texts.len().saturating_sub(FAULTS_OF_A_KIND_MAX);
        for text in texts.into_iter().take(FAULTS_OF_A_KIND_MAX) {
            self.fault(exit, text);
        }
        if more > 0 {
            self.fault(exit, format!("and {more} more of this kind"));
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(checkpoint) = &self.checkpoint {
            writeln!(f, "log        {}", checkpoint.origin)?;
            writeln!(f, "entries    {} under checkpoint {}", checkpoint.size, hex(&checkpoint.root))?;
            writeln!(f, "           {} more not yet covered by a checkpoint", self.tail)?;
            let States { verified, sealed, erased, missing } = self.events;
            writeln!(
                f,
                "events     {verified} verified, {sealed} sealed, {erased} erased, {missing} missing"
            )?;
        }
        for note in &self.notes {
            writeln!(f, "note       {note}")?;
        }
        for open in self.open_intents.iter().take(FAULTS_OF_A_KIND_MAX) {
            let OpenIntent { index, request, .. } = open;
            writeln!(
                f,
                "note       entry {index}: the request `{request}` has no outcome; it counts as disclosed"
            )?;
        }
        if self.open_intents.len() > FAULTS_OF_A_KIND_MAX {
            let more = self.open_intents.len() - FAULTS_OF_A_KIND_MAX;
            writeln!(f, "note       and {more} more requests without outcome")?;
        }
        for fault in &self.faults {
            let word = match fault.exit {
                Exit::Tampered => "TAMPERED  ",
                Exit::Incomplete => "INCOMPLETE",
                Exit::Unreadable => "UNREADABLE",
                Exit::Ok => "ok        ",
            };
            writeln!(f, "{word} {}", fault.text)?;
        }
        match self.exit() {
            Exit::Ok => write!(f, "the log is whole and unchanged"),
            Exit::Tampered => write!(f, "the log was tampered with"),
            Exit::Incomplete => write!(f, "the log is incomplete"),
            Exit::Unreadable => write!(f, "the log cannot be read"),
        }
    }
}

/// What to check, and against what.
#[derive(Clone, Copy, Debug)]
pub struct Check<'a> {
    /// The log's directory.
    pub directory: &'a Path,
    /// The log's public key; its name is the origin.
    pub key: &'a VerifierKey,
    /// With it events are opened too.
    pub secret: Option<&'a EventSecret>,
    /// A checkpoint seen earlier and kept elsewhere, which the log must continue.
    pub remembered: Option<&'a Path>,
}

/// Checks a log, running or not: signature, tiles, entries, chains, events, tail.
pub fn verify(check: &Check<'_>) -> Report {
    let mut report = Report::default();
    let Some(checkpoint) = read_checkpoint(check, &mut report) else { return report };
    let remembered = read_remembered(check, &checkpoint, &mut report);
    let chains = tree::check(check.directory, &checkpoint, remembered.as_ref(), &mut report);
    events::check(check, checkpoint.size, chains, &mut report);
    report
}

/// Keeps a verified checkpoint for the next check; the file belongs on another machine than the log.
pub fn remember(path: &Path, note: &str) -> io::Result<()> {
    let disk = Disk::real();
    disk.replace(path, note.as_bytes())?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    disk.sync_directory(parent.unwrap_or_else(|| Path::new(".")))
}

fn read_checkpoint(check: &Check<'_>, report: &mut Report) -> Option<Checkpoint> {
    let bytes = match read_bounded(&check.directory.join("checkpoint"), CHECKPOINT_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound && check.directory.is_dir() => {
            report.fault(Exit::Incomplete, "`checkpoint` is missing: nothing says what the log should hold");
            return None;
        }
        Err(error) => {
            let text = format!("`{}` cannot be read: {error}", check.directory.display());
            report.fault(Exit::Unreadable, text);
            return None;
        }
    };
    let note = String::from_utf8(bytes).map_err(|_| NoteFault::Malformed("it is not UTF-8"));
    match note.and_then(|note| Checkpoint::verify(&note, check.key).map(|checkpoint| (checkpoint, note))) {
        Ok((checkpoint, note)) => {
            report.checkpoint = Some(checkpoint.clone());
            report.note = Some(note);
            Some(checkpoint)
        }
        Err(fault) => {
            report.fault(Exit::Tampered, format!("`checkpoint` was changed or replaced: {fault}"));
            None
        }
    }
}

fn read_remembered(check: &Check<'_>, now: &Checkpoint, report: &mut Report) -> Option<Checkpoint> {
    let path = check.remembered?;
    let bytes = match read_bounded(path, CHECKPOINT_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            report
                .notes
                .push("no checkpoint was remembered, so a replaced log cannot be told from this one".into());
            return None;
        }
        Err(error) => {
            report.fault(Exit::Unreadable, format!("the remembered checkpoint cannot be read: {error}"));
            return None;
        }
    };
    let text = String::from_utf8_lossy(&bytes);
    let before = match Checkpoint::verify(&text, check.key) {
        Ok(before) => before,
        Err(fault) => {
            report.fault(Exit::Unreadable, format!("the remembered checkpoint is not usable: {fault}"));
            return None;
        }
    };
    if before.size > now.size {
        let text = format!(
            "the checkpoint was replaced by an older one: the log had {} entries and now has {}",
            before.size, now.size
        );
        report.fault(Exit::Tampered, text);
        return None;
    }
    if before.size == now.size && before.root != now.root {
        let text =
            format!("the checkpoint was replaced: there are two different logs of {} entries", now.size);
        report.fault(Exit::Tampered, text);
        return None;
    }
    Some(before)
}
