//! Operations: each by name, and all others refused by name.

use bytes::Bytes;
use drape_fhir::interaction::Operation;
use http::StatusCode;

use super::{Decided, Desk};
use crate::page::Page;
use crate::refusal::Refusal;

impl Desk<'_> {
    /// An operation, or a further page of what one answered.
    pub(super) fn operation(
        &self,
        operation: Operation,
        _body: Option<Bytes>,
        _page: Option<Page>,
    ) -> Result<Decided, Refusal> {
        let public = format!("the operation `${}` is not offered", operation.name);
        Err(Refusal::new("decide", StatusCode::FORBIDDEN, "not-supported", public))
    }
}
