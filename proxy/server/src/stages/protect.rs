//! Every record judged and shielded as it streams by; nothing leaves that is not first named in the log.

use std::sync::Arc;

use bytes::Bytes;
use drape_keys::DataKey;
use drape_shield::{Answer as Rulings, Fault as ShieldFault, FaultKind, PageEnd, Shield, Step, Summary};
use drape_view::{Category, Facts, Redaction, Treatment, Verdict, View};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

use super::enter::Entered;
use super::forward::Pages;
use super::seal::{Outcome, Totals, seal};
use super::{Answer, Guard};
use crate::body::{OutBody, Piece};
use crate::parts::Tenant;
use crate::refusal::Refusal;

/// Upstream records on their way to the caller, with everything that judges them. Only `forward` makes one.
pub struct Stream {
    pub(super) status: StatusCode,
    /// Already cut down to the allow-list.
    pub(super) headers: HeaderMap,
    pub(super) body: Incoming,
    pub(super) shield: Box<Shield>,
    pub(super) guard: Guard,
    pub(super) deadline: Instant,
    /// Of a search or history: the pages behind this one.
    pub(super) pages: Option<Pages>,
}

/// Upstream data that was judged. Its fields are private and only [`protect`] makes one, so no upstream byte can
/// leave on another way.
///
/// ```compile_fail
/// use drape_server::stages::Shielded;
/// let forged = Shielded { status: http::StatusCode::OK, headers: http::HeaderMap::new(), body: todo!() };
/// ```
#[derive(Debug)]
pub struct Shielded {
    status: StatusCode,
    headers: HeaderMap,
    body: OutBody,
}

impl Shielded {
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn into_parts(self) -> (StatusCode, HeaderMap, OutBody) {
        (self.status, self.headers, self.body)
    }
}

/// Answers up to this size are held until they are whole: they get a real length and one log entry, and their
/// faults still become an error status. An ordinary page of fifty records fits.
const WHOLE_BYTES_MAX: usize = 128 << 10;

/// How much leaves between two log entries of a long answer.
const WINDOW_BYTES: usize = 256 << 10;

/// Pages withheld whole that are passed over in a row.
const EMPTY_PAGES_MAX: u32 = 200;

/// Held entries are accounted in steps of this size.
const HELD_STEP: usize = 64 << 10;

/// Judges and shields `stream`. The entry rides on it and is sealed with the last byte, an abort or a drop.
pub async fn protect(tenant: &Arc<Tenant>, stream: Stream, mut entered: Entered) -> Answer {
    entered.at("protect");
    let Stream { status, mut headers, body, shield, guard, deadline, pages } = stream;
    let mut pump = Pump {
        tenant: Arc::clone(tenant),
        body: Some(body),
        shield: Some(shield),
        guard,
        deadline,
        out: Vec::with_capacity(16 << 10),
        status,
        pending: Bytes::new(),
        received: 0,
        held: Vec::new(),
        totals: Totals::default(),
        pages,
        shown: 0,
        empty_pages: 0,
    };
    loop {
        match pump.turn().await {
            Ok(Turn::More) if pump.out.len() <= WHOLE_BYTES_MAX => {}
            Ok(Turn::More) => break,
            Ok(Turn::Done) => {
                if let Some(refusal) = pump.nothing_to_show() {
                    return seal(entered, Outcome::refused(refusal, pump.totals)).await;
                }
                pump.guard.finish_headers(&mut headers, &pump.totals, Some(&pump.out));
                let shielded = if status == StatusCode::OK && pump.guard.is_known(&headers) {
                    Shielded { status: StatusCode::NOT_MODIFIED, headers, body: OutBody::whole(Bytes::new()) }
                } else {
                    headers.insert(http::header::CONTENT_LENGTH, pump.out.len().into());
                    Shielded { status, headers, body: OutBody::whole(std::mem::take(&mut pump.out)) }
                };
                return seal(entered, Outcome::shielded(shielded, pump.totals)).await;
            }
            Err(fault) => return seal(entered, Outcome::refused(fault.refusal(), pump.totals)).await,
        }
    }
    // What was done to one record stands in the headers; it was all done before its first byte came out.
    if pump.guard.single
        && let Some(summary) = pump.shield.as_mut().map(|s| s.drain())
        && let Err(fault) = pump.note(summary).await
    {
        return seal(entered, Outcome::refused(fault.refusal(), pump.totals)).await;
    }
    // A long answer: the headers go out now, and from here on a fault can only cut the body off.
    pump.guard.finish_headers(&mut headers, &pump.totals, None);
    let (send, receive) = mpsc::channel(1);
    let shielded = Shielded { status, headers, body: OutBody::stream(receive) };
    tokio::spawn(pump.run(entered, send));
    Answer::Shielded(shielded)
}

struct Pump {
    tenant: Arc<Tenant>,
    body: Option<Incoming>,
    shield: Option<Box<Shield>>,
    guard: Guard,
    deadline: Instant,
    out: Vec<u8>,
    status: StatusCode,
    pending: Bytes,
    received: u64,
    held: Vec<OwnedSemaphorePermit>,
    totals: Totals,
    pages: Option<Pages>,
    /// Matches shown when the last page of the upstream ended.
    shown: u32,
    empty_pages: u32,
}

enum Turn {
    More,
    Done,
}

/// What stops a stream.
#[derive(Debug)]
pub(super) enum Fault {
    Shield(ShieldFault),
    Upstream(String),
    Limit(&'static str),
    Own(String),
    TimedOut,
    TooWide,
    Refused(Refusal),
}

impl Fault {
    pub(super) fn refusal(&self) -> Refusal {
        match self {
            Self::TimedOut => Refusal::new(
                "protect",
                StatusCode::GATEWAY_TIMEOUT,
                "timeout",
                "the FHIR server behind did not finish in time",
            ),
            Self::TooWide => Refusal::new(
                "protect",
                StatusCode::FORBIDDEN,
                "too-costly",
                "the search is too wide for what you may see; name more criteria",
            )
            .because(format!("{EMPTY_PAGES_MAX} pages in a row were withheld whole")),
            Self::Refused(refusal) => refusal.clone(),
            Self::Own(reason) => {
                Refusal::unavailable("protect", "the answer cannot be protected at this time", reason.clone())
            }
            Self::Limit("held_bytes_max") => Refusal::unavailable(
                "protect",
                "too many large records are under way; try again",
                "limit `held_bytes_max` reached",
            ),
            Self::Limit(name) => {
                let mut refusal = Refusal::upstream(format!("limit `{name}` reached"));
                refusal.code = "too-costly";
                refusal.public = "the record is too large to be protected".into();
                refusal
            }
            Self::Shield(fault) => match fault.kind {
                FaultKind::Internal => Refusal::unavailable(
                    "protect",
                    "the answer cannot be protected at this time",
                    fault.to_string(),
                ),
                FaultKind::Limit => {
                    let mut refusal = Refusal::upstream(fault.to_string());
                    refusal.code = "too-costly";
                    refusal.public = "the record is too large to be protected".into();
                    refusal
                }
                FaultKind::Upstream => Refusal::upstream(fault.to_string()),
            },
            Self::Upstream(reason) => Refusal::upstream(reason.clone()),
        }
    }

    fn reason(&self) -> String {
        self.refusal().reason
    }
}

/// What `view` says of a record, with the key that seals where anything is to be sealed.
pub(super) async fn rulings(tenant: &Arc<Tenant>, view: &View, facts: &Facts) -> Result<Rulings, Fault> {
    let verdicts = view.rule(facts);
    // In silent mode nothing is sealed, so no key is made for it.
    let declared = tenant.redaction == Redaction::Declared;
    let seals = declared
        && verdicts.iter().any(|v| match v {
            Verdict::Keep(plan) => Category::ALL.into_iter().any(|c| plan.treatment(c) == Treatment::Encrypt),
            Verdict::Withhold(_) => false,
        });
    let seal_key = if seals { Some(seal_key(tenant, facts).await?) } else { None };
    Ok(Rulings { verdicts, seal_key })
}

/// The data key of the one patient the record is about. It is on disk before anything is sealed with it.
async fn seal_key(tenant: &Arc<Tenant>, facts: &Facts) -> Result<Arc<DataKey>, Fault> {
    let main = facts.main().ok_or_else(|| Fault::Own("an entry without a record".into()))?;
    // A record about nobody in particular, or about several, has a key of its own.
    let owner = match (&main.patients[..], main.patients_complete) {
        ([one], true) => format!("Patient/{one}"),
        _ => format!("{}/{}", main.resource_type, main.id.as_deref().unwrap_or_default()),
    };
    // A page about one patient asks for the same key at each entry; only the first need go to the disk's threads.
    if let Some(key) = tenant.keyring.recent_key(&tenant.name, &owner) {
        return Ok(key);
    }
    let keyring = Arc::clone(&tenant.keyring);
    let name = tenant.name.clone();
    let key = tokio::task::spawn_blocking(move || keyring.patient_key(&name, &owner))
        .await
        .map_err(|e| Fault::Own(format!("the key task failed: {e}")))?;
    key.map_err(|e| Fault::Own(format!("no data key: {e}")))
}

impl Pump {
    /// One step: takes what the upstream sent, judges what is complete.
    async fn turn(&mut self) -> Result<Turn, Fault> {
        if self.pending.is_empty() {
            match self.next_chunk().await? {
                Some(chunk) => self.pending = chunk,
                None => return self.end().await,
            }
        }
        let chunk = std::mem::take(&mut self.pending);
        let shield = self.shield.as_mut().ok_or_else(|| Fault::Own("the shield ended".into()))?;
        let (consumed, step) = shield.feed(&chunk, &mut self.out).map_err(Fault::Shield)?;
        self.pending = chunk.slice(consumed..);
        self.account()?;
        if let Step::Ask(facts) = step {
            let rulings = self.judge(&facts).await?;
            let shield = self.shield.as_mut().ok_or_else(|| Fault::Own("the shield ended".into()))?;
            shield.answer(rulings, &mut self.out).map_err(Fault::Shield)?;
        }
        Ok(Turn::More)
    }

    /// After the last byte of the upstream's body, or of as much of it as is wanted.
    async fn end(&mut self) -> Result<Turn, Fault> {
        let mut shield = self.shield.take().ok_or_else(|| Fault::Own("the shield ended twice".into()))?;
        let summary = if shield.fills_pages() {
            if shield.end_page(&mut self.out).map_err(Fault::Shield)? == PageEnd::More {
                let wanted = self.next_page(&mut shield).await?;
                if wanted {
                    self.shield = Some(shield);
                    return Ok(Turn::More);
                }
            }
            shield.end(&mut self.out)
        } else {
            shield.finish(&mut self.out)
        };
        self.note(summary.map_err(Fault::Shield)?).await?;
        self.held.clear();
        Ok(Turn::Done)
    }

    /// Goes on to the upstream's next page: the caller's page is not full, or nobody knows yet whether there is more. A
    /// page with room and a link to another would say that something is there (LV-25).
    async fn next_page(&mut self, shield: &mut Shield) -> Result<bool, Fault> {
        let shown = shield.matches_shown();
        self.empty_pages = if shown > self.shown { 0 } else { self.empty_pages + 1 };
        self.shown = shown;
        if self.empty_pages > EMPTY_PAGES_MAX {
            if shown == 0 {
                return Err(Fault::TooWide);
            }
            shield.stop_short();
            return Ok(false);
        }
        let pages = self.pages.as_mut().ok_or_else(|| Fault::Own("no pages to follow".into()))?;
        let followed = timeout_at(self.deadline, pages.follow()).await.map_err(|_| Fault::TimedOut)?;
        let Some(body) = followed else { return Err(Fault::Own("the next page was lost".into())) };
        self.body = Some(body.map_err(Fault::Refused)?);
        Ok(true)
    }

    async fn next_chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        // What is not wanted any more is not waited for.
        if self.shield.as_ref().is_some_and(|s| s.has_enough()) {
            self.body = None;
        }
        loop {
            let Some(body) = &mut self.body else { return Ok(None) };
            let idle = self.tenant.limits.upstream_idle_timeout;
            let frame = match timeout_at(self.deadline, timeout(idle, body.frame())).await {
                Err(_) | Ok(Err(_)) => return Err(Fault::TimedOut),
                Ok(Ok(frame)) => frame,
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|e| Fault::Upstream(format!("the body broke off: {e}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if data.is_empty() {
                continue;
            }
            self.received += data.len() as u64;
            if self.received > self.tenant.limits.response_bytes_max {
                return Err(Fault::Limit("response_bytes_max"));
            }
            return Ok(Some(data));
        }
    }

    async fn judge(&mut self, facts: &Facts) -> Result<Rulings, Fault> {
        self.guard.hold(&self.tenant).map_err(Fault::Own)?;
        let rulings = rulings(&self.tenant, &self.guard.view, facts).await?;
        for verdict in &rulings.verdicts {
            if let Verdict::Keep(plan) = verdict {
                self.totals.determined(plan.policies());
            }
        }
        Ok(rulings)
    }

    /// Counts what the shield holds against the limit over all connections.
    fn account(&mut self) -> Result<(), Fault> {
        let holding = self.shield.as_ref().map_or(0, |s| s.held_bytes()) + self.out.len();
        let steps = holding.div_ceil(HELD_STEP);
        self.held.truncate(steps);
        while self.held.len() < steps {
            match Arc::clone(&self.tenant.held).try_acquire_owned() {
                Ok(permit) => self.held.push(permit),
                Err(_) => return Err(Fault::Limit("held_bytes_max")),
            }
        }
        Ok(())
    }

    /// Takes in what was seen, and makes every new pseudonym openable before it leaves.
    async fn note(&mut self, mut summary: Summary) -> Result<(), Fault> {
        let minted = std::mem::take(&mut summary.minted);
        self.totals.add(summary);
        if self.tenant.pseudonyms.recently(minted.iter().map(|m| m.0.as_str())) {
            return Ok(());
        }
        let map = Arc::clone(&self.tenant.pseudonyms);
        tokio::task::spawn_blocking(move || map.remember(minted.iter().map(|m| (&*m.0, &*m.1, &*m.2))))
            .await
            .map_err(|e| Fault::Own(format!("the pseudonym task failed: {e}")))?
            .map_err(|e| Fault::Own(format!("pseudonyms cannot be kept: {e}")))
    }

    /// A record that was withheld answers as one that is not there, and so does its history.
    fn nothing_to_show(&self) -> Option<Refusal> {
        (self.guard.names_one && self.totals.records.is_empty()).then(|| {
            let why: Vec<&str> = self.totals.withheld.keys().map(|r| r.name()).collect();
            Refusal::unknown("protect", format!("withheld: {}", why.join(", ")))
        })
    }

    /// The rest of a long answer.
    async fn run(mut self, entered: Entered, send: mpsc::Sender<Piece>) {
        let mut entered = entered;
        loop {
            if (self.out.len() >= WINDOW_BYTES || send.capacity() > 0 && self.out.len() > WHOLE_BYTES_MAX)
                && let Err(reason) = self.flush(&mut entered, &send).await
            {
                return entered.cut(reason, self.totals).await;
            }
            match self.turn().await {
                Ok(Turn::More) => {}
                Ok(Turn::Done) => break,
                // Typically: the upstream's body broke off. The client sees a body without an end.
                Err(fault) => return entered.cut(fault.reason(), self.totals).await,
            }
            if send.is_closed() {
                return entered.cut("the client went away".into(), self.totals).await;
            }
        }
        // The outcome names what is left and is durable before that leaves, so the last window needs no segment of its
        // own. A crash in between leaves an outcome whose last records may not have left, which is the side to err on.
        if entered.complete(self.status, self.totals).await.is_ok() {
            if self.out.is_empty() {
                let _ = send.send(Piece::End).await;
                return;
            }
            let rest = Piece::Data(Bytes::from(self.out));
            // A client that goes away now, or takes too long, never sees the end.
            if let Ok(Ok(())) = timeout_at(self.deadline, send.send(rest)).await {
                let _ = send.send(Piece::End).await;
            }
        }
    }

    /// Names the window's records in the log, durably, and only then lets its bytes go.
    async fn flush(&mut self, entered: &mut Entered, send: &mpsc::Sender<Piece>) -> Result<(), String> {
        if self.out.is_empty() {
            return Ok(());
        }
        if let Some(shield) = self.shield.as_mut() {
            let summary = shield.drain();
            self.note(summary).await.map_err(|f| f.reason())?;
        }
        entered.segment(&mut self.totals).await.map_err(|e| format!("the log refused a segment: {e}"))?;
        let room = self.out.capacity();
        let data = Bytes::from(std::mem::replace(&mut self.out, Vec::with_capacity(room)));
        self.account().map_err(|f| f.reason())?;
        let limit = self.deadline;
        match timeout_at(limit, send.send(Piece::Data(data))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("the client went away".into()),
            Err(_) => Err("the client did not take the answer in time".into()),
        }
    }
}
