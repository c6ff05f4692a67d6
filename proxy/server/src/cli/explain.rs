//! `drape explain`: show the way of one request through every stage: who, what was asked, what each policy did.

use std::process::ExitCode;

use super::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

/// Runs the verb.
pub(super) fn run(_: &Arguments) -> Result<ExitCode, Failure> {
    Err(Failure::new("`drape explain` is not built yet"))
}
