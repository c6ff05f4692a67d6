//! `drape prove`: prove the guarantees of a set, or show what breaks them. The prover is a program of its own, so that the
//! proxy carries no symbolic compiler; this finds the policies and hands everything on to it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use super::Failure;
use super::source::{Source, Sourced};
use crate::workbench::files::SetFiles;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Instead of the set's own `guarantees.yaml`.
    #[arg(long, value_name = "FILE")]
    guarantees: Option<PathBuf>,
    /// Another set, than which this one must be nowhere more permissive.
    #[arg(long, value_name = "SET|FOLDER")]
    baseline: Option<String>,
    /// But for this, as `billing is shown finding-value`; may be repeated.
    #[arg(long, value_name = "SENTENCE", requires = "baseline")]
    except: Vec<String>,
    /// Only the guarantee of that id; may be repeated.
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// `text` or `json`.
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
    /// How long the solver may think about one question, in seconds.
    #[arg(long, value_name = "SECONDS")]
    timeout_s: Option<u64>,
    /// How many questions are asked at one time.
    #[arg(long, value_name = "NUMBER")]
    jobs: Option<u16>,
}

/// What was given cannot be used.
const USAGE: u8 = 2;
/// No answer can be had.
const UNANSWERED: u8 = 3;
const PROVER: &str = "drape-prove";

/// Runs the verb; the exit status is the prover's.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let sourced = arguments.source.load().map_err(|failure| failure.code(USAGE))?;
    let handed_on = handed_on(arguments, &sourced);
    let beside = std::env::current_exe().ok().and_then(|me| Some(me.parent()?.join(PROVER)));
    let prover = beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(PROVER));
    let status = Command::new(&prover).args(handed_on).status().map_err(|error| missing(&prover, &error))?;
    // Ended by a signal: no answer either.
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(UNANSWERED);
    Ok(ExitCode::from(code))
}

fn missing(prover: &Path, error: &std::io::Error) -> Failure {
    let help = format!(
        "it is a program of its own: `cargo build -p {PROVER}` puts it beside `drape`; it may also stand on the PATH"
    );
    Failure::new(format!("`{}` cannot be started: {error}\n  help: {help}", prover.display()))
        .code(UNANSWERED)
}

fn handed_on(arguments: &Arguments, sourced: &Sourced) -> Vec<OsString> {
    let mut all: Vec<OsString> = Vec::new();
    let mut put = |name: &str, value: Option<OsString>| {
        if let Some(value) = value {
            all.extend([OsString::from(name), value]);
        }
    };
    let policies = match &sourced.files {
        SetFiles::Shipped(set) => OsString::from(set.name),
        SetFiles::Folder(folder) => folder.clone().into_os_string(),
    };
    let files = sourced.tenant.as_ref().map(|tenant| &tenant.policies);
    let path = |file: Option<&PathBuf>| file.map(|path| path.clone().into_os_string());
    put("--policies", Some(policies));
    put("--name", Some(sourced.name.clone().into()));
    put("--digest", Some(sourced.loaded.set.digest().into()));
    put("--treatments", path(files.and_then(|f| f.treatments_file.as_ref())));
    put("--labels", path(files.and_then(|f| f.labels_file.as_ref())));
    put("--guarantees", path(arguments.guarantees.as_ref()));
    put("--baseline", arguments.baseline.as_ref().map(OsString::from));
    arguments.except.iter().for_each(|sentence| put("--except", Some(sentence.into())));
    arguments.only.iter().for_each(|id| put("--only", Some(id.into())));
    put("--format", Some((&arguments.format).into()));
    put("--timeout-s", arguments.timeout_s.map(|n| n.to_string().into()));
    put("--jobs", arguments.jobs.map(|n| n.to_string().into()));
    all
}
