//! stub
use crate::cli::Failure;
/// a
#[derive(Debug, clap::Args)]
pub struct Arguments {}
pub(crate) fn run(_: &Arguments) -> Result<(), Failure> { Ok(()) }
