//! `drape import`: turn anonymisation rules of others into a policy set.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;

use super::{Failure, say};
use crate::config::{Policies, PolicySource};
use crate::import::{Unnamed, import};
use crate::parts::load_policies;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The rules: Microsoft's (JSON) or miracum's (YAML), with `fhirPathRules`.
    rules: PathBuf,
    /// The folder that the set goes to. It must be empty, or not there.
    #[arg(short, long, value_name = "FOLDER")]
    out: PathBuf,
    /// What becomes of elements that no rule names. The rules' own tool keeps them.
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Default::Redact)]
    default: Default,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Default {
    /// They are shown.
    Keep,
    /// They go.
    Redact,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let name = arguments.rules.display().to_string();
    let text = std::fs::read_to_string(&arguments.rules)
        .map_err(|e| Failure::new(format!("cannot read `{name}`: {e}")))?;
    empty(&arguments.out)?;
    let unnamed = match arguments.default {
        Default::Keep => Unnamed::Keep,
        Default::Redact => Unnamed::Redact,
    };
    let base = arguments.rules.file_name().map_or_else(|| name.clone(), |n| n.to_string_lossy().into_owned());
    let imported = import(&base, &text, unnamed).map_err(|faults| Failure::faults(&faults))?;
    for (file, text) in &imported.files {
        write(&arguments.out.join(file), text)?;
    }
    // What was made passes the same check as what people write.
    let policies = Policies::of(PolicySource::Directory(arguments.out.clone()));
    let loaded = load_policies(&policies, None).map_err(|faults| Failure::faults(&faults))?;
    let all = imported.exactly + imported.stricter + imported.nowhere;
    say(format!(
        "{all} rules: {} carried over to the letter, {} by something stricter, {} not at all",
        imported.exactly, imported.stricter, imported.nowhere
    ));
    imported.notes.iter().for_each(|note| say(format!("  {note}")));
    say(match unnamed {
        Unnamed::Keep => {
            "what no rule names is shown, as their tool would keep it; text, attachments and unlisted extensions never"
        }
        Unnamed::Redact => "theirs keep what no rule names: here it goes. `--default keep` shows it",
    });
    say(format!(
        "wrote {}: {} policies, digest {}; {} tells all of it",
        arguments.out.display(),
        loaded.set.len(),
        loaded.set.digest(),
        arguments.out.join("IMPORT.md").display()
    ));
    Ok(ExitCode::SUCCESS)
}

fn empty(folder: &Path) -> Result<(), Failure> {
    let what = |e: std::io::Error| Failure::new(format!("cannot use `{}`: {e}", folder.display()));
    match std::fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Failure::new(format!(
                "`{}` is not empty, and nothing is written over\n  help: name a new folder by `--out`",
                folder.display()
            ))),
        },
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => std::fs::create_dir_all(folder).map_err(what),
        Err(e) => Err(what(e)),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|e| Failure::new(format!("cannot write `{}`: {e}", path.display())))
}
