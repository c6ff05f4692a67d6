//! The officer pages: who saw what and why, what was refused, what was spent, whether the log verifies. Opening one
//! needs an officer's token, and is itself entered in the log before anything is shown.

pub mod page;
mod policies;
mod session;
mod shadow;
mod table;

pub(crate) use table::when;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use drape_audit::verify::{Check, Exit};
use drape_audit::{Class, Decision, Event, Opened, OutcomeCode, Query, Report};
use drape_view::Caller;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use hyper::body::Incoming;
use sha2::{Digest as _, Sha256};

use crate::body::OutBody;
use crate::client::read_bounded;
use crate::logs::Book;
use crate::parts::{Parts, Tenant};
use crate::stages::admit::{Peer, known};
use crate::stages::enter::subject;
use page::{BudgetRow, Integrity, Page};
use session::Sessions;

/// The officer pages of a process.
#[derive(Debug, Default)]
pub struct Office {
    sessions: Sessions,
    /// The last verification of each log and when it was made; whoever finds it fresh need not make another.
    verified: tokio::sync::Mutex<HashMap<PathBuf, (Instant, Integrity)>>,
}

/// A verification this old is made anew when somebody looks.
const FRESH: Duration = Duration::from_secs(10);
/// How many entries one page reads.
const ENTRIES_MAX: usize = 4_000;
/// The form that carries a token.
const FORM_BYTES_MAX: usize = 64 << 10;

/// An officer and the tenants whose issuers vouch for the role.
struct Officer {
    caller: Arc<Caller>,
    tenants: Vec<Arc<Tenant>>,
}

impl Office {
    /// Answers what lies under `/officer`.
    pub async fn answer(
        &self,
        parts: &Arc<Parts>,
        head: &http::request::Parts,
        body: Incoming,
        peer: SocketAddr,
    ) -> Response<OutBody> {
        match (&head.method, head.uri.path()) {
            (&Method::GET, "/officer") => self.overview(parts, head, peer).await,
            (&Method::GET, "/officer/shadow") => self.shadow(parts, head, peer).await,
            (&Method::POST, "/officer/session") => self.sign_in(parts, head, body, peer).await,
            (&Method::POST, "/officer/sign-out") => {
                self.sessions.end(&head.headers);
                let mut answer = see_other();
                answer.headers_mut().append(header::SET_COOKIE, session::expired());
                answer
            }
            (&Method::GET, "/officer/sheet") => self.sheet(parts, head, peer).await,
            (&Method::POST, "/officer/approve") => self.approve(parts, head, body, peer).await,
            (
                _,
                "/officer" | "/officer/session" | "/officer/sign-out" | "/officer/sheet" | "/officer/approve"
                | "/officer/shadow",
            ) => plain(StatusCode::METHOD_NOT_ALLOWED, "this method does nothing here\n"),
            _ => plain(StatusCode::NOT_FOUND, "nothing is here\n"),
        }
    }

    async fn overview(
        &self,
        parts: &Arc<Parts>,
        head: &http::request::Parts,
        peer: SocketAddr,
    ) -> Response<OutBody> {
        let officer = match self.officer(parts, head, peer).await {
            Ok(officer) => officer,
            Err(answer) => return *answer,
        };
        let patient = match asked_patient(head.uri.query().unwrap_or_default()) {
            Ok(patient) => patient,
            Err(fault) => return plain(StatusCode::BAD_REQUEST, fault),
        };
        if let Err(answer) = entered(parts, &officer, patient.as_deref(), peer).await {
            return *answer;
        }
        // The logs that the officer's tenants write to, each read for those who write there.
        let mut table = table::Table::default();
        let mut integrity = Vec::new();
        for book in &parts.books {
            let writes = |t: &&Arc<Tenant>| Arc::ptr_eq(&t.log, &book.log);
            let tenants: Vec<Arc<Tenant>> = officer.tenants.iter().filter(writes).cloned().collect();
            if tenants.is_empty() {
                continue;
            }
            integrity.push(self.integrity(book, parts.clock.now_ms()).await);
            match read(book, &tenants, patient.clone()).await {
                Ok(entries) => table.add(table::Table::of(&entries, &tenants)),
                Err(error) => return unreadable(&error),
            }
        }
        let held = self.sessions.find(&head.headers, parts.clock.now_ms());
        let form_key = held.and_then(|_| self.sessions.form_key(&head.headers));
        let sets = officer.tenants.iter().map(|tenant| policies::row(parts, tenant, form_key.as_deref()));
        let page = Page {
            officer: officer.caller.name.clone().unwrap_or_else(|| officer.caller.subject.clone()),
            integrity,
            rows: table.rows,
            emergencies: table.emergencies,
            purposes: table.purposes,
            refusals: table.refusals,
            budgets: budgets(&officer.tenants),
            patient: patient.map(|p| format!("Patient/{p}")),
            policies: join_all(sets).await,
            restart: parts.reloads.restart_needed(),
        };
        html(StatusCode::OK, &page::render(&page))
    }

    /// What shadow policies would have decided otherwise, for programs.
    async fn shadow(
        &self,
        parts: &Arc<Parts>,
        head: &http::request::Parts,
        peer: SocketAddr,
    ) -> Response<OutBody> {
        let officer = match self.officer(parts, head, peer).await {
            Ok(officer) => officer,
            Err(answer) => return *answer,
        };
        if let Err(answer) = entered(parts, &officer, None, peer).await {
            return *answer;
        }
        let tenants = officer.tenants.iter().filter_map(|tenant| {
            let view = tenant.watch.shadow()?.view();
            Some(serde_json::json!({
                "tenant": tenant.name,
                "source": view.source,
                "digest": view.digest,
                "live": tenant.policy_digest,
                "compared": view.compared,
                "differences": view.differences.json(),
            }))
        });
        let text = serde_json::Value::from(tenants.collect::<Vec<_>>()).to_string();
        finish(StatusCode::OK, "application/json", text, "default-src 'none'; frame-ancestors 'none'")
    }

    /// Who asks, by a session or a token; else the answer that asks for one.
    async fn officer(
        &self,
        parts: &Arc<Parts>,
        head: &http::request::Parts,
        peer: SocketAddr,
    ) -> Result<Officer, Box<Response<OutBody>>> {
        let held = self.sessions.find(&head.headers, parts.clock.now_ms());
        let headers = match &held {
            Some(token) => bearer(token),
            None => head.headers.clone(),
        };
        if held.is_none() && !headers.contains_key(header::AUTHORIZATION) {
            return Err(Box::new(html(StatusCode::OK, &page::sign_in(None))));
        }
        let proved = prove(parts, &headers, peer).await;
        proved.map_err(|fault| Box::new(html(StatusCode::UNAUTHORIZED, &page::sign_in(Some(&fault)))))
    }

    async fn sign_in(
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
        let Some(token) = form_token(&body) else {
            return html(StatusCode::BAD_REQUEST, &page::sign_in(Some("No token was sent.")));
        };
        match prove(parts, &bearer(&token), peer).await {
            Err(fault) => html(StatusCode::UNAUTHORIZED, &page::sign_in(Some(&fault))),
            Ok(officer) => {
                let until_ms = officer.caller.proof.expires_at.saturating_mul(1_000);
                let Some(cookie) = self.sessions.begin(token, until_ms, is_tls(parts)) else {
                    return plain(StatusCode::SERVICE_UNAVAILABLE, "no session can be opened at this time\n");
                };
                self.sessions.end(&head.headers);
                let mut answer = see_other();
                answer.headers_mut().append(header::SET_COOKIE, cookie);
                answer
            }
        }
    }

    /// The state of the log in words. Verifying reads all of it, so it is done at most every few seconds, by one
    /// request at a time.
    async fn integrity(&self, book: &Book, now_ms: u64) -> Integrity {
        let directory = book.log.directory().to_owned();
        let mut held = self.verified.lock().await;
        if let Some((made, integrity)) = held.get(&directory)
            && made.elapsed() < FRESH
        {
            return integrity.clone();
        }
        let of = book.clone();
        let report = tokio::task::spawn_blocking(move || {
            drape_audit::verify(&Check {
                directory: of.log.directory(),
                key: &of.key,
                secret: Some(&of.secret),
                remembered: None,
            })
        })
        .await;
        let mut integrity = match report {
            Ok(report) => describe(&report, now_ms),
            Err(error) => {
                Integrity { summary: format!("The verification failed: {error}"), ..Integrity::default() }
            }
        };
        if let Some(tenant) = &book.tenant {
            integrity.summary = format!("The log of `{tenant}`: {}", integrity.summary);
        }
        held.insert(directory, (Instant::now(), integrity.clone()));
        integrity
    }
}

/// The newest entries of a log, newest first; of one patient of those tenants where one is asked for.
async fn read(book: &Book, tenants: &[Arc<Tenant>], patient: Option<String>) -> Result<Vec<Opened>, String> {
    let reader = book.log.reader();
    let names: Vec<String> = tenants.iter().map(|t| t.name.clone()).collect();
    let read = tokio::task::spawn_blocking(move || match patient {
        None => reader.tail(ENTRIES_MAX),
        Some(patient) => {
            let mut found = Vec::new();
            for tenant in names {
                let query = Query {
                    patient: Some((tenant, patient.clone())),
                    limit: ENTRIES_MAX,
                    ..Query::default()
                };
                found.extend(reader.search(&query)?);
            }
            found.sort_by_key(|e| std::cmp::Reverse(e.index));
            Ok(found)
        }
    })
    .await;
    read.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
}

fn describe(report: &Report, now_ms: u64) -> Integrity {
    let exit = report.exit();
    let size = report.checkpoint.as_ref().map_or(0, |c| c.size);
    let summary = match exit {
        Exit::Ok => format!(
            "Every entry under the signed checkpoint was recomputed: {} events fit their leaves, {} were erased under a tombstone.",
            report.events.verified, report.events.erased
        ),
        Exit::Tampered => "The log was changed after it was written. Secure a copy of it now.".to_owned(),
        Exit::Incomplete => {
            "Something is missing from the log, and nothing shows that it was changed.".to_owned()
        }
        Exit::Unreadable => "The log cannot be read.".to_owned(),
    };
    let open = report.open_intents.len();
    let summary = match open {
        0 => summary,
        n => format!("{summary} {n} request(s) have no outcome yet; until they do they count as disclosed."),
    };
    Integrity {
        sound: exit == Exit::Ok,
        summary,
        faults: report.faults.iter().map(|f| f.text.clone()).collect(),
        size,
        root: report.checkpoint.as_ref().map(|c| STANDARD.encode(c.root)).unwrap_or_default(),
        checked: table::when(now_ms, &jiff::tz::TimeZone::UTC),
    }
}

/// The tenants that accept the token with the officer's role. The role counts only where the purpose activates it.
async fn prove(parts: &Arc<Parts>, headers: &HeaderMap, peer: SocketAddr) -> Result<Officer, String> {
    let mut found: Option<Officer> = None;
    let mut fault = "The token is not accepted.".to_owned();
    let mut others = Vec::new();
    let tenants = parts.tenants();
    for tenant in tenants.iter() {
        match known(tenant, headers, &Peer { address: Some(peer.ip()), certificate: None }).await {
            Ok(admitted) if admitted.caller.roles.contains(&parts.config.admin.officer_role) => {
                match &mut found {
                    Some(officer) => officer.tenants.push(Arc::clone(tenant)),
                    None => {
                        found = Some(Officer { caller: admitted.caller, tenants: vec![Arc::clone(tenant)] })
                    }
                }
            }
            Ok(admitted) => {
                fault = "The token is valid, but not a privacy officer's.".to_owned();
                others.push((tenant, admitted.caller));
            }
            Err(refusal) => {
                tenant.metrics.stranger(&tenant.name);
                if tenants.len() == 1 {
                    fault = format!("The token is not accepted: {}.", refusal.public);
                }
            }
        }
    }
    if found.is_none() {
        for (tenant, caller) in others {
            let mut event = look(parts, tenant, &caller, None, peer);
            event.class = Class::Refusal;
            event.decision = Decision::Deny;
            event.status = Some(StatusCode::UNAUTHORIZED.as_u16());
            event.outcome = Some(OutcomeCode::MinorFailure);
            event.reason = Some("officer: not a privacy officer".to_owned());
            if let Err(error) = tenant.log.record(event).await {
                tracing::error!(%error, "a refused look cannot be entered");
            }
        }
    }
    found.ok_or(fault)
}

/// Durable before anything is shown: an officer's look is an access like any other.
async fn entered(
    parts: &Parts,
    officer: &Officer,
    patient: Option<&str>,
    peer: SocketAddr,
) -> Result<(), Box<Response<OutBody>>> {
    for tenant in &officer.tenants {
        if let Err(error) = tenant.log.record(look(parts, tenant, &officer.caller, patient, peer)).await {
            tracing::error!(%error, "an officer's look cannot be entered; nothing is shown");
            let text = "the audit log cannot be written at this time\n";
            return Err(Box::new(plain(StatusCode::SERVICE_UNAVAILABLE, text)));
        }
    }
    Ok(())
}

fn look(parts: &Parts, tenant: &Tenant, caller: &Caller, patient: Option<&str>, peer: SocketAddr) -> Event {
    let mut event = Event::new(Class::Officer, parts.clock.now_ms(), parts.request_id(), tenant.name.clone());
    event.subject = Some(subject(caller));
    event.client = caller.client.clone();
    event.purpose = Some(caller.purpose.clone()).filter(|p| !p.is_empty());
    event.method = Some("GET".into());
    event.route = Some("/officer".into());
    event.patients = patient.map(str::to_owned).into_iter().collect();
    event.network = Some(peer.ip().to_string());
    event.server = Some(tenant.public_base.clone());
    event.policy_digest = Some(tenant.policy_digest.clone());
    event
}

fn budgets(tenants: &[Arc<Tenant>]) -> Vec<BudgetRow> {
    #[allow(clippy::cast_precision_loss, reason = "two decimals are shown")]
    let epsilon = |nano: u64| nano as f64 / 1e9;
    let mut rows = Vec::new();
    for budget in tenants.iter().filter_map(|t| t.budget.as_ref()) {
        match budget.ledger.spent(&budget.config.name) {
            Ok(spent) => rows.push(BudgetRow {
                name: budget.config.name.clone(),
                spent: epsilon(spent.nano),
                total: epsilon(budget.config.total_nano),
            }),
            Err(error) => rows.push(BudgetRow {
                name: format!("{} ({error})", budget.config.name),
                ..BudgetRow::default()
            }),
        }
    }
    rows
}

/// `patient=Patient/id`, form-encoded.
fn asked_patient(query: &str) -> Result<Option<String>, &'static str> {
    let fault = "write the patient as `Patient/id`\n";
    if let Some(pair) = query.split('&').find(|p| !p.is_empty()) {
        let Some(("patient", value)) = pair.split_once('=') else { return Err(fault) };
        let spaced = value.replace('+', " ");
        let text = percent_encoding::percent_decode_str(&spaced).decode_utf8().map_err(|_| fault)?;
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        return match text.strip_prefix("Patient/") {
            Some(id) if !id.is_empty() && !id.contains('/') => Ok(Some(id.to_owned())),
            _ => Err(fault),
        };
    }
    Ok(None)
}

/// The body of a form, within bounds of size and time.
async fn form(parts: &Parts, body: Incoming) -> Result<bytes::Bytes, Box<Response<OutBody>>> {
    let refused = |status, text| Err(Box::new(plain(status, text)));
    match tokio::time::timeout(parts.config.limits.header_timeout, read_bounded(body, FORM_BYTES_MAX)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => refused(StatusCode::PAYLOAD_TOO_LARGE, "the form is too large\n"),
        Err(_) => refused(StatusCode::REQUEST_TIMEOUT, "the form did not come in time\n"),
    }
}

fn form_token(body: &[u8]) -> Option<zeroize::Zeroizing<String>> {
    let text = std::str::from_utf8(body).ok()?;
    let value = text.split('&').find_map(|p| p.strip_prefix("token="))?.replace('+', " ");
    let token = percent_encoding::percent_decode_str(&value).decode_utf8().ok()?;
    let token = token.trim();
    (!token.is_empty()).then(|| zeroize::Zeroizing::new(token.to_owned()))
}

fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {token}")) {
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    headers
}

fn is_tls(parts: &Parts) -> bool {
    parts.config.admin.listen.tls.is_some()
}

fn see_other() -> Response<OutBody> {
    let mut answer = plain(StatusCode::SEE_OTHER, "");
    answer.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/officer"));
    answer
}

fn unreadable(error: &str) -> Response<OutBody> {
    tracing::error!(error, "the audit log cannot be read");
    plain(StatusCode::INTERNAL_SERVER_ERROR, "the audit log cannot be read\n")
}

/// A short text.
pub(crate) fn plain(status: StatusCode, text: &str) -> Response<OutBody> {
    finish(status, "text/plain; charset=utf-8", text.to_owned(), "default-src 'none'; frame-ancestors 'none'")
}

fn html(status: StatusCode, text: &str) -> Response<OutBody> {
    // The one style sheet is allowed by its hash; scripts, foreign resources and frames are not.
    let style = STANDARD.encode(Sha256::digest(page::STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    finish(status, "text/html; charset=utf-8", text.to_owned(), &policy)
}

fn finish(status: StatusCode, media: &'static str, body: String, policy: &str) -> Response<OutBody> {
    let mut answer = Response::new(OutBody::whole(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::VARY, HeaderValue::from_static("Cookie, Authorization"));
    if let Ok(policy) = HeaderValue::from_str(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patient_is_asked_for_by_type_and_id_alone() {
        assert_eq!(asked_patient(""), Ok(None));
        assert_eq!(asked_patient("patient="), Ok(None));
        assert_eq!(asked_patient("patient=Patient%2Fp-1"), Ok(Some("p-1".into())));
        for wrong in ["patient=p-1", "patient=Patient%2F", "patient=Patient%2Fa%2Fb", "other=1"] {
            assert!(asked_patient(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_token_is_read_from_the_form() {
        assert_eq!(form_token(b"token=a.b%2Ec+").unwrap().as_str(), "a.b.c");
        assert!(form_token(b"token=").is_none());
        assert!(form_token(b"other=x").is_none());
    }
}
