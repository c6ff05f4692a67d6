//! Paging links as sealed, stateless handles: bound to the caller and the search that made them, and expiring.

use drape_keys::handle::{self, HandleError, HandleKey};
use drape_view::Caller;
use serde::{Deserialize, Serialize};

use crate::parts::Tenant;

/// What stands in a handle: everything needed to judge the next page afresh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The upstream's own link, relative to its base.
    #[serde(rename = "u")]
    pub upstream: String,
    /// The search or history as the caller asked it, path and query below the base; it is read, resolved and judged
    /// anew on each page.
    #[serde(rename = "a")]
    pub address: String,
    /// How many matches of the upstream's page stood on pages before this one.
    #[serde(rename = "s", skip_serializing_if = "is_zero", default)]
    pub skip: u32,
    /// How many matches a page has, where pages are filled.
    #[serde(rename = "n", skip_serializing_if = "Option::is_none", default)]
    pub count: Option<u32>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it by reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// Seals and opens handles of one tenant.
#[derive(Debug)]
pub struct Pages {
    key: HandleKey,
    public_base: String,
    lifetime_ms: u64,
}

/// Who a handle belongs to: the same subject, client and purpose, or it does not open. What was made in an emergency opens in
/// one only.
pub(crate) fn owner(caller: &Caller) -> [&[u8]; 5] {
    [
        caller.issuer.as_bytes(),
        caller.subject.as_bytes(),
        caller.client.as_deref().unwrap_or_default().as_bytes(),
        caller.purpose.as_bytes(),
        if caller.environment.break_glass { b"emergency" } else { b"" },
    ]
}

impl Pages {
    /// With the tenant's key for handles; replicas that share the root key open each other's.
    pub fn new(key: HandleKey, public_base: &str, lifetime_ms: u64) -> Self {
        Self { key, public_base: public_base.to_owned(), lifetime_ms }
    }

    /// The public link that stands for `page`.
    pub fn seal(&self, page: &Page, caller: &Caller, now_ms: u64) -> Option<String> {
        let plain = serde_json::to_vec(page).ok()?;
        let sealed = handle::seal(&self.key, &owner(caller), &plain, now_ms, self.lifetime_ms).ok()?;
        Some(format!("{}/_page/{sealed}", self.public_base))
    }

    /// What a handle stands for, if it is this caller's and has not expired.
    pub fn open(&self, text: &str, caller: &Caller, now_ms: u64) -> Result<Page, HandleError> {
        let plain = handle::open(&self.key, &owner(caller), text, now_ms)?;
        serde_json::from_slice(&plain).map_err(|_| HandleError::Forged)
    }
}

/// The upstream's link relative to its base, if it is on the configured server at all. A link that leads elsewhere
/// is never followed and never passed on.
pub fn relative<'a>(tenant: &Tenant, link: &'a str) -> Option<&'a str> {
    relative_to(tenant.upstream.base_url(), link)
}

/// The same for a server's base URL.
pub(crate) fn relative_to<'a>(base: &str, link: &'a str) -> Option<&'a str> {
    let rest = match link.strip_prefix(base) {
        Some(rest) => rest,
        // HAPI and others build links from the host they were called by; a server may answer with relative ones.
        None if link.starts_with('?') => link,
        None => return None,
    };
    let starts_well = rest.starts_with('?') || rest.starts_with('/');
    let ends_well = !rest.contains('#') && !rest.contains("/../") && !rest.contains("//");
    (starts_well && ends_well).then_some(rest)
}
