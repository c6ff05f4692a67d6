//! Bulk exports: how far one is, and its files.

use super::{Decided, Desk};
use crate::refusal::Refusal;

impl Desk<'_> {
    /// How far an export is; or the end of it.
    pub(super) fn export_status(&self, _handle: &str, _cancels: bool) -> Result<Decided, Refusal> {
        Err(Refusal::unknown("decide", "no export has been started"))
    }

    /// One file of an export.
    pub(super) fn export_file(&self, _handle: &str) -> Result<Decided, Refusal> {
        Err(Refusal::unknown("decide", "no export has been started"))
    }
}
