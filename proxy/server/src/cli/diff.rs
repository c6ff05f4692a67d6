//! `drape diff`: what a change of policies changes, for each persona, type and category.

use std::process::ExitCode;

use super::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

/// Runs the verb.
pub(super) fn run(_: &Arguments) -> Result<ExitCode, Failure> {
    Err(Failure::new("`drape diff` is not built yet"))
}
