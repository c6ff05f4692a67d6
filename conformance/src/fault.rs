//! What went wrong in a check, in words for whoever reads the report.

use std::fmt;

/// A failed check or a harness that could not do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub String);

/// What a check gives.
pub type Outcome<T = ()> = Result<T, Fault>;

impl Fault {
    /// In these words.
    pub fn new(text: impl fmt::Display) -> Self {
        Self(text.to_string())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Fault {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Fails in these words unless `held`.
pub fn check(held: bool, text: impl FnOnce() -> String) -> Outcome {
    if held { Ok(()) } else { Err(Fault(text())) }
}

/// The first `max` characters of a text, for a report.
pub fn short(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Collects what fails, so that one report tells all of it.
#[derive(Clone, Debug, Default)]
pub struct Faults(Vec<String>);

impl Faults {
    /// Notes a check that failed.
    pub fn note(&mut self, outcome: Outcome) {
        if let Err(fault) = outcome {
            self.0.push(fault.0);
        }
    }

    /// Notes these words unless `held`.
    pub fn check(&mut self, held: bool, text: impl FnOnce() -> String) {
        self.note(check(held, text));
    }

    /// All of them, or nothing.
    pub fn outcome(self) -> Outcome {
        if self.0.is_empty() { Ok(()) } else { Err(Fault(self.0.join("\n"))) }
    }
}
