//! A Bundle's links: `self` is what the caller asked, pages become sealed handles.

use std::sync::Arc;

use drape_shield::Links;

use super::{Desk, Stream};
use crate::page::{Page, relative};
use crate::parts::Tenant;
use crate::refusal::Refusal;
use crate::stages::decide::Records;

/// Rewrites a Bundle's links: `self` is what the caller asked, pages become sealed handles.
pub(super) struct PageLinks {
    pub(super) tenant: Arc<Tenant>,
    pub(super) caller: Arc<drape_view::Caller>,
    pub(super) uniform: bool,
    pub(super) address: String,
    pub(super) own_link: String,
    pub(super) next: NextPage,
}

/// The upstream's own link to the next page, once it was seen.
pub(super) type NextPage = Arc<parking_lot::Mutex<Option<String>>>;

/// The pages of one search that are still to come.
pub(in crate::stages) struct Pages {
    pub(super) desk: Arc<Desk>,
    pub(super) records: Records,
    pub(super) next: NextPage,
}

impl Pages {
    /// The next page, if there is one.
    pub(in crate::stages) async fn follow(self) -> Option<Result<Stream, Refusal>> {
        let link = self.next.lock().take()?;
        let mut records = self.records;
        records.request.path_and_query = link;
        Some(self.desk.records(records).await)
    }
}

impl Links for PageLinks {
    fn rewrite(&mut self, relation: &str, url: &str) -> Option<String> {
        match relation {
            "self" => return Some(format!("{}{}", self.tenant.public_base, self.own_link)),
            "next" => {}
            // The last page's address tells how many there are, and one before the first that is shown that there was
            // something to pass over.
            "previous" | "prev" | "first" | "last" if self.uniform => {}
            _ => return None,
        }
        let upstream = relative(&self.tenant, url)?.to_owned();
        if relation == "next" {
            *self.next.lock() = Some(upstream.clone());
        }
        let page = Page { upstream, address: self.address.clone(), skip: 0 };
        self.tenant.pages.seal(&page, &self.caller, self.tenant.clock.now_ms())
    }
}
