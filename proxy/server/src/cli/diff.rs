//! `drape diff`: what a change of policies changes, for each persona, type and category.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::source::{Sourced, either};
use super::{Failure, say};
use crate::clock::Clock;
use crate::workbench::diff::callers::cast;
use crate::workbench::diff::{Report, Set, corpus, everything};
use crate::workbench::personas::{Personas, noon};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What is in force: a shipped set by its name, a folder of `*.cedar` files, or `drape.yaml#tenant`.
    old: String,
    /// What it is to be replaced by, named in the same way.
    new: String,
    /// Callers to compare for, instead of the personas of both sets.
    #[arg(long, value_name = "FILE")]
    personas: Option<PathBuf>,
    /// A corpus: NDJSON, Bundles or single resources. Without it, all that the policies can tell from another is tried.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    records: Vec<PathBuf>,
    /// How it is told.
    #[arg(long, value_name = "text|json", default_value = "text")]
    format: Format,
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Json,
}

impl std::str::FromStr for Format {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("known: text, json"),
        }
    }
}

/// What went wrong is no difference: another exit status.
pub(super) const UNUSABLE: u8 = 2;

/// Runs the verb.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let report = compare(arguments).map_err(|failure| failure.code(UNUSABLE))?;
    match arguments.format {
        Format::Text => tell(arguments, &report),
        Format::Json => say(json!({
            "old": arguments.old,
            "new": arguments.new,
            "summary": report.lines.summary(),
            "differences": report.lines.json(),
            "files": report.files.iter().map(|f| f.json()).collect::<Vec<_>>(),
            "policies": { "only_old": report.only_old, "only_new": report.only_new },
            "callers": report.callers,
            "cases": report.cases,
            "notes": report.notes,
        })),
    }
    Ok(if report.differs() { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn compare(arguments: &Arguments) -> Result<Report, Failure> {
    let side = |name: &str| -> Result<Set, Failure> {
        let Sourced { name, loaded, personas, .. } = either(name)?;
        Set::new(name, loaded, personas).map_err(Failure::new)
    };
    let (old, new) = (side(&arguments.old)?, side(&arguments.new)?);
    let own = match &arguments.personas {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|e| Failure::new(format!("cannot read the personas `{}`: {e}", path.display())))?;
            Some(Personas::parse(&path.display().to_string(), &text).map_err(|f| Failure::faults(&f))?)
        }
    };
    let environment = noon(Clock::system().now_ms());
    let cast = cast(&old, &new, own.as_ref(), &environment).map_err(Failure::new)?;
    if cast.is_empty() {
        let help = "give callers by `--personas FILE`, or a `personas.yaml` beside the policies";
        return Err(Failure::new(format!("neither set has personas or speaks of a role\n  help: {help}")));
    }
    if arguments.records.is_empty() {
        return everything(&old, &new, &cast).map_err(Failure::new);
    }
    let mut records = Vec::new();
    for path in &arguments.records {
        records.extend(corpus::read(path).map_err(Failure::new)?);
    }
    corpus::corpus(&old, &new, &cast, &records).map_err(Failure::new)
}

fn tell(arguments: &Arguments, report: &Report) {
    say(format!("{} → {}: {}", arguments.old, arguments.new, report.lines.summary()));
    for (what, ids) in [("only in the old set", &report.only_old), ("only in the new set", &report.only_new)]
    {
        if !ids.is_empty() {
            say(format!("policies {what}, or changed: {}", ids.join(", ")));
        }
    }
    for line in report.lines.text() {
        say(line);
    }
    for line in report.files.iter().flat_map(|file| file.text()) {
        say(line);
    }
    let what = if arguments.records.is_empty() { "cases" } else { "judgements of records" };
    say(format!("\nlooked at: {} callers, {} {what}", report.callers, report.cases));
    for note in &report.notes {
        say(format!("note: {note}"));
    }
}
