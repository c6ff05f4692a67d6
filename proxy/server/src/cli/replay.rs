//! `drape replay`: ask a recording of other policies.

use std::process::ExitCode;

use super::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

/// Runs the verb.
pub(super) fn run(_: &Arguments) -> Result<ExitCode, Failure> {
    Err(Failure::new("`drape replay` is not built yet"))
}
