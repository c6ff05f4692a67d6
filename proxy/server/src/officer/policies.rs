//! What officers do about policies: read the sheet of a set, and approve of it.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Response, StatusCode, header};
use hyper::body::Incoming;

use super::page::{self, CandidateRow, PolicyRow};
use super::{Office, bearer, form, html, look, plain, prove, see_other, when};
use crate::approvals;
use crate::body::OutBody;
use crate::parts::{Parts, Tenant};
use crate::workbench::sheet::{Heading, Sheet};

/// One tenant's policies for the overview. `form_key` is the session's; none where there is no session.
pub(super) async fn row(parts: &Arc<Parts>, tenant: &Arc<Tenant>, form_key: Option<&str>) -> PolicyRow {
    let zone = &tenant.time_zone;
    let required = tenant.approvals_required;
    let approvals = |digest: String| async move {
        match approvals::of_running(parts, tenant, &digest).await {
            Ok(found) => found.iter().map(|a| format!("{}, {}", a.name, when(a.time_ms, zone))).collect(),
            Err(error) => vec![format!("cannot be read: {error}")],
        }
    };
    let candidate = match parts.reloads.candidate(&tenant.name) {
        None => None,
        Some(candidate) => {
            let sheet = match candidate.loaded.clone().filter(|_| candidate.waits) {
                Some(loaded) => hash(loaded).await,
                None => None,
            };
            let approved = match &candidate.digest {
                Some(digest) => approvals(digest.clone()).await,
                None => Vec::new(),
            };
            Some(CandidateRow {
                waits: candidate.waits,
                digest: candidate.digest,
                found: when(candidate.found_ms, zone),
                faults: candidate.faults,
                approvals: approved,
                sheet,
            })
        }
    };
    let approved: Vec<String> = approvals(tenant.policy_digest.clone()).await;
    let lacks = required > 0 && (approved.len() as u64) < required;
    PolicyRow {
        tenant: tenant.name.clone(),
        source: tenant.loaded.source.clone(),
        digest: tenant.policy_digest.clone(),
        since: when(tenant.in_force_since_ms, zone),
        required,
        approvals: approved,
        sheet: if lacks { hash(Arc::clone(&tenant.loaded)).await } else { None },
        form_key: form_key.map(str::to_owned),
        candidate,
        shadow: tenant.watch.shadow().map(|shadow| shadow.view()),
    }
}

async fn hash(loaded: Arc<crate::parts::Loaded>) -> Option<String> {
    tokio::task::spawn_blocking(move || Sheet::of(&loaded, &loaded.personas).hash()).await.ok()
}

impl Office {
    /// The sheet of policies that are in force or waiting. Reading it is entered in the log like any look.
    pub(super) async fn sheet(
        &self,
        parts: &Arc<Parts>,
        head: &http::request::Parts,
        peer: SocketAddr,
    ) -> Response<OutBody> {
        let headers = match self.sessions.find(&head.headers, parts.clock.now_ms()) {
            Some(token) => bearer(&token),
            None => head.headers.clone(),
        };
        let officer = match prove(parts, &headers, peer).await {
            Ok(officer) => officer,
            Err(fault) => return html(StatusCode::UNAUTHORIZED, &page::sign_in(Some(&fault))),
        };
        let fields = Fields::of(head.uri.query().unwrap_or_default());
        let Some(tenant) = officer.tenants.iter().find(|t| Some(t.name.as_str()) == fields.get("tenant"))
        else {
            return plain(StatusCode::NOT_FOUND, "no such tenant\n");
        };
        let digest = fields.get("digest").unwrap_or(&tenant.policy_digest).to_owned();
        let loaded = match approvals::known(tenant, parts.reloads.candidate(&tenant.name), &digest) {
            Ok(loaded) => loaded,
            Err(fault) => return plain(StatusCode::NOT_FOUND, &format!("{fault}\n")),
        };
        let mut event = look(parts, tenant, &officer.caller, None, peer);
        event.route = Some("/officer/sheet".into());
        event.policy_digest = Some(digest.clone());
        if let Err(error) = tenant.log.record(event).await {
            tracing::error!(%error, "an officer's look cannot be entered; nothing is shown");
            return plain(StatusCode::SERVICE_UNAVAILABLE, "the audit log cannot be written at this time\n");
        }
        let approved = match approvals::of_running(parts, tenant, &digest).await {
            Ok(approved) => approved,
            Err(error) => return super::unreadable(&error),
        };
        let zone = tenant.time_zone.clone();
        let heading = Heading {
            made: when(parts.clock.now_ms(), &zone),
            approvals: approved.iter().map(|a| format!("{}, {}", a.name, when(a.time_ms, &zone))).collect(),
        };
        let made =
            tokio::task::spawn_blocking(move || Sheet::of(&loaded, &loaded.personas).html(&heading)).await;
        match made {
            Ok(text) => html(StatusCode::OK, &text),
            Err(error) => {
                tracing::error!(%error, "a sheet cannot be made");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "the sheet cannot be made\n")
            }
        }
    }

    /// Enters an approval: of a session, by its own form; or of whoever sends an officer's token, as `drape approve` does.
    pub(super) async fn approve(
        &self,
        parts: &Arc<Parts>,
        head: &http::request::Parts,
        body: Incoming,
        peer: SocketAddr,
    ) -> Response<OutBody> {
        let body = match form(parts, body).await {
            Ok(body) => body,
            Err(answer) => return *answer,
        };
        let fields = Fields::of(&String::from_utf8_lossy(&body));
        // A cookie goes along with whatever page makes the browser send a form; the key stands in Drape's own alone.
        let by_session = !head.headers.contains_key(header::AUTHORIZATION);
        let headers = match by_session {
            false => head.headers.clone(),
            true => {
                let found = self.sessions.find(&head.headers, parts.clock.now_ms());
                let key = self.sessions.form_key(&head.headers);
                match (found, key) {
                    (Some(token), Some(key)) if fields.get("key").is_some_and(|sent| same(sent, &key)) => {
                        bearer(&token)
                    }
                    _ => return plain(StatusCode::FORBIDDEN, "this form is not of an open session\n"),
                }
            }
        };
        let officer = match prove(parts, &headers, peer).await {
            Ok(officer) => officer,
            Err(fault) => return plain(StatusCode::UNAUTHORIZED, &format!("{fault}\n")),
        };
        let (Some(name), Some(digest), Some(sheet)) =
            (fields.get("tenant"), fields.get("digest"), fields.get("sheet"))
        else {
            return plain(StatusCode::BAD_REQUEST, "tenant, digest and sheet are needed\n");
        };
        let Some(tenant) = officer.tenants.iter().find(|t| t.name == name) else {
            return plain(StatusCode::NOT_FOUND, "no such tenant\n");
        };
        let entered =
            approvals::approve(parts, tenant, &officer.caller, digest, sheet, Some(peer.ip())).await;
        match entered {
            Err(fault @ approvals::ApprovalFault::Log(_)) => {
                tracing::error!(%fault, "an approval cannot be entered");
                plain(StatusCode::SERVICE_UNAVAILABLE, &format!("{fault}\n"))
            }
            Err(fault) => plain(StatusCode::CONFLICT, &format!("{fault}\n")),
            Ok(approvals) => {
                parts.reloads.look_again();
                match by_session {
                    true => see_other(),
                    false => plain(
                        StatusCode::OK,
                        &format!(
                            "approved; {} of {} needed: {}\n",
                            approvals.len(),
                            tenant.approvals_required,
                            approvals::names(&approvals)
                        ),
                    ),
                }
            }
        }
    }
}

/// Compared in a time that says nothing about where two keys differ.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// What a form or a query says, decoded; the first of each name.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn of(text: &str) -> Self {
        let decoded = |text: &str| {
            percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
        };
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(name, value)| (decoded(name), decoded(value))).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}
