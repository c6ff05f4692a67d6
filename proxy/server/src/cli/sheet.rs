//! `drape sheet`: a plain sheet of who is shown what, to be read and signed.

use std::path::PathBuf;
use std::process::ExitCode;

use super::source::Source;
use super::{Failure, say};
use crate::workbench::sheet::{Heading, Sheet};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Markdown, or one HTML page that can be printed.
    #[arg(long, value_enum, default_value_t = Format::Md)]
    format: Format,
    /// Where it is written; standard output where nothing is named.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Md,
    Html,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let sourced = arguments.source.load()?;
    let sheet = Sheet::of(&sourced.loaded, &sourced.personas);
    let made = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string();
    let heading = Heading { made, approvals: Vec::new() };
    let text = match arguments.format {
        Format::Md => sheet.markdown(&heading),
        Format::Html => sheet.html(&heading),
    };
    match &arguments.out {
        None => say(text.trim_end()),
        Some(file) => {
            std::fs::write(file, text)
                .map_err(|e| Failure::new(format!("cannot write `{}`: {e}", file.display())))?;
            say(format!("the sheet of {} is in `{}`", sourced.name, file.display()));
            say(format!("  policy digest {}", sheet.policy_digest()));
            say(format!("  sheet SHA-256 {}", sheet.hash()));
        }
    }
    Ok(ExitCode::SUCCESS)
}
