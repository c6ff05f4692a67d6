//! Who approved of which policies: entries of the audit log, counted only where the signed tree holds them.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use drape_audit::proof::Receipt;
use drape_audit::{Class, Decision, Event, Query, Reader, VerifierKey};
use drape_view::Caller;

use crate::logs::Book;
use crate::metrics::Taken;
use crate::parts::{Loaded, Parts, StartError, Tenant};
use crate::reload::Candidate;
use crate::stages::enter::subject;
use crate::workbench::sheet::Sheet;

/// One officer's approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Who vouches for the officer.
    pub issuer: String,
    /// Who that is there.
    pub subject: String,
    /// By name, where the token said it.
    pub name: String,
    /// When, in milliseconds since the epoch.
    pub time_ms: u64,
    /// The entry.
    pub index: u64,
}

/// Why an approval is not entered.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalFault {
    /// Neither in force nor waiting.
    #[error(
        "no policies with the digest `{digest}` are in force or waiting in tenant `{tenant}`\n  help: {help}"
    )]
    Unknown {
        /// What was asked for.
        digest: String,
        /// Where.
        tenant: String,
        /// What there is.
        help: String,
    },
    /// The sheet is another one than that of the policies there.
    #[error(
        "the sheet that was read is not that of these policies\n  help: read it again, and approve of that one"
    )]
    Sheet,
    /// One officer counts once.
    #[error("`{0}` approved of these policies already\n  help: another officer must")]
    Twice(String),
    /// The log cannot be read or written.
    #[error("the audit log: {0}")]
    Log(String),
}

/// How long a new approval may take to come under a signed checkpoint.
const PUBLISHED_TRIES: u32 = 200;
const PUBLISHED_PAUSE: Duration = Duration::from_millis(50);

/// Those who approved of a digest in a tenant, each officer once, the first first. An entry that does not open, is not
/// the one that its leaf commits to, or does not stand in the tree that the checkpoint signs, is no approval. Blocking.
pub fn of(
    directory: &Path,
    key: &VerifierKey,
    reader: &Reader,
    tenant: &str,
    digest: &str,
) -> Result<Vec<Approval>, String> {
    let query = Query {
        tenant: Some(tenant.to_owned()),
        class: Some(Class::Approval),
        limit: usize::MAX,
        ..Query::default()
    };
    let mut found: Vec<Approval> = Vec::new();
    for opened in reader.search(&query).map_err(|e| e.to_string())?.iter().rev() {
        let Some(event) = opened.event() else { continue };
        let right = event.policy_digest.as_deref() == Some(digest)
            && event.tenant == tenant
            && event.decision == Decision::Permit;
        let Some(who) = event.subject.as_ref().filter(|_| right) else { continue };
        let proved = Receipt::make(directory, opened.index, key)
            .ok()
            .is_some_and(|receipt| receipt.proves(&opened.leaf.encode(), key) == Ok(true));
        if !proved || found.iter().any(|a| a.issuer == who.issuer && a.subject == who.id) {
            continue;
        }
        found.push(Approval {
            issuer: who.issuer.clone(),
            subject: who.id.clone(),
            name: who.name.clone().unwrap_or_else(|| who.id.clone()),
            time_ms: event.time_ms,
            index: opened.index,
        });
    }
    Ok(found)
}

/// The same of a running proxy's log.
pub(crate) async fn of_running(
    parts: &Parts,
    tenant: &Tenant,
    digest: &str,
) -> Result<Vec<Approval>, String> {
    let writes = |book: &&Book| Arc::ptr_eq(&book.log, &tenant.log);
    let book = parts.books.iter().find(writes).ok_or("the tenant has no log")?.clone();
    let (tenant, digest) = (tenant.name.clone(), digest.to_owned());
    let read = move || of(book.log.directory(), &book.key, &book.log.reader(), &tenant, &digest);
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|e| Err(e.to_string()))
}

/// Stops a start under policies that too few officers approved of.
pub(crate) async fn demand(parts: &Parts, tenant: &Tenant) -> Result<Option<String>, StartError> {
    let required = tenant.approvals_required;
    if required == 0 {
        return Ok(None);
    }
    let approvals = of_running(parts, tenant, &tenant.policy_digest)
        .await
        .map_err(|e| StartError::new(format!("tenant `{}`: approvals cannot be read: {e}", tenant.name)))?;
    match lacking(&approvals, required) {
        None => Ok(Some(names(&approvals))),
        Some(lack) => Err(StartError::new(format!(
            "tenant `{}`: the policies with the digest {} {lack}",
            tenant.name, tenant.policy_digest
        ))
        .help(format!(
            "`drape sheet` says what they mean; an officer approves by `drape approve --offline --tenant {} --digest {} \
             --token FILE`",
            tenant.name, tenant.policy_digest
        ))),
    }
}

/// What a candidate still lacks, if anything.
pub(crate) async fn lack(
    parts: &Parts,
    tenant: &Tenant,
    digest: &str,
    required: u64,
) -> Result<Option<String>, (String, Taken)> {
    if required == 0 {
        return Ok(None);
    }
    let approvals = of_running(parts, tenant, digest)
        .await
        .map_err(|e| (format!("approvals cannot be read: {e}"), Taken::Refused))?;
    Ok(lacking(&approvals, required))
}

fn lacking(approvals: &[Approval], required: u64) -> Option<String> {
    let have = approvals.len() as u64;
    let by = if approvals.is_empty() { String::new() } else { format!(": {}", names(approvals)) };
    (have < required).then(|| format!("need the approval of {required} officers and have {have}{by}"))
}

/// For people.
pub(crate) fn names(approvals: &[Approval]) -> String {
    approvals.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The policies of that digest, in force or waiting.
pub(crate) fn known(
    tenant: &Tenant,
    candidate: Option<Candidate>,
    digest: &str,
) -> Result<Arc<Loaded>, ApprovalFault> {
    if tenant.policy_digest == digest {
        return Ok(Arc::clone(&tenant.loaded));
    }
    let waiting = candidate.and_then(|c| c.loaded);
    if let Some(loaded) = waiting.as_ref().filter(|loaded| loaded.set.digest() == digest) {
        return Ok(Arc::clone(loaded));
    }
    let mut help = format!("in force: {}", tenant.policy_digest);
    if let Some(loaded) = waiting {
        help = format!("{help}; waiting: {}", loaded.set.digest());
    }
    Err(ApprovalFault::Unknown { digest: digest.to_owned(), tenant: tenant.name.clone(), help })
}

/// Enters the approval of an officer, who was proved and has the officer's role; `sheet` is the hash of what was read.
/// When this returns, the signed tree holds it.
pub(crate) async fn approve(
    parts: &Parts,
    tenant: &Tenant,
    officer: &Caller,
    digest: &str,
    sheet: &str,
    peer: Option<IpAddr>,
) -> Result<Vec<Approval>, ApprovalFault> {
    let loaded = known(tenant, parts.reloads.candidate(&tenant.name), digest)?;
    let made = tokio::task::spawn_blocking(move || Sheet::of(&loaded, &loaded.personas).hash())
        .await
        .map_err(|e| ApprovalFault::Log(e.to_string()))?;
    if made != sheet {
        return Err(ApprovalFault::Sheet);
    }
    let before = of_running(parts, tenant, digest).await.map_err(ApprovalFault::Log)?;
    if before.iter().any(|a| a.issuer == officer.issuer && a.subject == officer.subject) {
        let name = officer.name.clone().unwrap_or_else(|| officer.subject.clone());
        return Err(ApprovalFault::Twice(name));
    }
    let mut event =
        Event::new(Class::Approval, parts.clock.now_ms(), parts.request_id(), tenant.name.clone());
    event.subject = Some(subject(officer));
    event.client = officer.client.clone();
    event.purpose = Some(officer.purpose.clone()).filter(|p| !p.is_empty());
    event.decision = Decision::Permit;
    event.policy_digest = Some(digest.to_owned());
    event.reason = Some(format!("approved of the policies {digest}; sheet sha256 {sheet}"));
    event.network = peer.map(|ip| ip.to_string());
    event.server = Some(tenant.public_base.clone());
    let index = tenant.log.record(event).await.map_err(|e| ApprovalFault::Log(e.to_string()))?;
    for _ in 0..PUBLISHED_TRIES {
        if tenant.log.status().published > index {
            break;
        }
        tokio::time::sleep(PUBLISHED_PAUSE).await;
    }
    of_running(parts, tenant, digest).await.map_err(ApprovalFault::Log)
}
