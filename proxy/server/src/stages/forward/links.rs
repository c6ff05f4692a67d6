//! A Bundle's links: `self` is what the caller asked, pages become sealed handles.

use std::sync::Arc;

use drape_shield::{Links, PlaceOfMore};
use http::Response;

use super::Desk;
use crate::page::{Page, relative};
use crate::parts::Tenant;
use crate::refusal::Refusal;
use crate::stages::decide::Records;
use crate::upstream::UpstreamBody;

/// Rewrites a Bundle's links: `self` is what the caller asked, pages become sealed handles.
pub(super) struct PageLinks {
    pub(super) tenant: Arc<Tenant>,
    pub(super) caller: Arc<drape_view::Caller>,
    pub(super) uniform: bool,
    pub(super) address: String,
    pub(super) own_link: String,
    pub(super) cursor: Cursor,
}

/// Where in the upstream's pages an answer is: the page that is read, and the link to the next one once it was seen.
/// Both are relative to the upstream's base.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) here: String,
    pub(super) next: Option<String>,
}

/// Shared between the shield, which sees the links, and what follows them.
pub(super) type Cursor = Arc<parking_lot::Mutex<Reading>>;

/// The pages of one search that are still to come.
pub(in crate::stages) struct Pages {
    pub(super) desk: Arc<Desk>,
    pub(super) records: Records,
    pub(super) cursor: Cursor,
}

impl Pages {
    /// The body of the next page, if there is one.
    pub(in crate::stages) async fn follow(&mut self) -> Option<Result<UpstreamBody, Refusal>> {
        let link = {
            let mut reading = self.cursor.lock();
            let link = reading.next.take()?;
            reading.here.clone_from(&link);
            link
        };
        self.records.request.path_and_query = link;
        Some(self.desk.fetch(&self.records.request).await.map(Response::into_body))
    }
}

impl PageLinks {
    fn seal(&self, upstream: String, skip: u32, count: Option<u32>) -> Option<String> {
        let page = Page { upstream, address: self.address.clone(), skip, count };
        let mut link = self.tenant.pages.seal(&page, &self.caller, self.tenant.clock.now_ms())?;
        // A form that was asked for by parameter holds for the pages that follow.
        let format = self.own_link.split(['?', '&']).skip(1).find(|pair| pair.starts_with("_format="));
        if let Some(format) = format {
            link.push('?');
            link.push_str(format);
        }
        Some(link)
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
            self.cursor.lock().next = Some(upstream.clone());
        }
        self.seal(upstream, 0, None)
    }

    fn more(&mut self, place: PlaceOfMore, count: u32) -> Option<String> {
        let (upstream, skip) = {
            let reading = self.cursor.lock();
            match place {
                PlaceOfMore::Here(skip) => (reading.here.clone(), skip),
                PlaceOfMore::Next => (reading.next.clone()?, 0),
            }
        };
        self.seal(upstream, skip, Some(count))
    }
}
