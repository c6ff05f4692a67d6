//! Every record judged and shielded as it streams by; nothing leaves that is not first named in the log.

use std::sync::Arc;

use bytes::Bytes;
use drape_fhir::media::Format;
use drape_fhir::xml::{self, XmlError, XmlWriter};
use drape_keys::DataKey;
use drape_shield::{Answer as Rulings, Fault as ShieldFault, FaultKind, PageEnd, Shield, Step, Summary};
use drape_view::{Category, Facts, Redaction, Treatment, Verdict, View};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

mod held;

pub use held::{Held, hold};
pub(super) use held::{Related, What};

use super::enter::Entered;
use super::forward::{Files, Pages};
use super::seal::{Outcome, Totals, seal};
use super::{Answer, Guard};
use crate::body::{OutBody, Piece};
use crate::facts::Ahead;
use crate::parts::Tenant;
use crate::refusal::Refusal;
use crate::trace::Part;
use crate::upstream::UpstreamBody;

/// Upstream records on their way to the caller, with everything that judges them. Only `forward` makes one.
pub struct Stream {
    pub(super) status: StatusCode,
    /// Already cut down to the allow-list.
    pub(super) headers: HeaderMap,
    pub(super) body: UpstreamBody,
    pub(super) shield: Box<Shield>,
    pub(super) guard: Guard,
    /// What is to be known of its records before they are judged.
    pub(super) ahead: Option<Ahead>,
    pub(super) deadline: Instant,
    /// Of a search or history: the pages behind this one.
    pub(super) pages: Option<Pages>,
    /// Of an export: the files that follow this one.
    pub(super) files: Option<Files>,
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
/// XML is made of the shielded bytes, before anything of them leaves.
pub async fn protect(tenant: &Arc<Tenant>, stream: Stream, mut entered: Entered, format: Format) -> Answer {
    entered.at("protect");
    let Stream { status, mut headers, body, shield, guard, ahead, deadline, pages, files } = stream;
    // The lines of an export have a form of their own.
    let format = if headers.contains_key(CONTENT_TYPE) { Format::Json } else { format };
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(format.media_type()));
    let mut pump = Pump {
        tenant: Arc::clone(tenant),
        body: Some(body),
        shield: Some(shield),
        guard,
        ahead,
        deadline,
        out: Vec::with_capacity(16 << 10),
        xml: (format == Format::Xml).then(|| Xml::new(tenant)),
        status,
        pending: Bytes::new(),
        received: 0,
        held: Vec::new(),
        totals: Totals::default(),
        pages,
        files,
        shown: 0,
        empty_pages: 0,
    };
    loop {
        match pump.turn(&entered).await {
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
            Err(fault) => {
                let refusal = pump.told(&fault);
                return seal(entered, Outcome::refused(refusal, pump.totals)).await;
            }
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
    body: Option<UpstreamBody>,
    shield: Option<Box<Shield>>,
    guard: Guard,
    ahead: Option<Ahead>,
    deadline: Instant,
    out: Vec<u8>,
    /// Where the caller wants XML.
    xml: Option<Xml>,
    status: StatusCode,
    pending: Bytes,
    received: u64,
    held: Vec<OwnedSemaphorePermit>,
    totals: Totals,
    pages: Option<Pages>,
    files: Option<Files>,
    /// Matches shown when the last page of the upstream ended.
    shown: u32,
    empty_pages: u32,
}

/// Shielded JSON on its way to becoming XML.
struct Xml {
    writer: XmlWriter,
    json: Vec<u8>,
}

impl Xml {
    fn new(tenant: &Tenant) -> Self {
        let limits = &tenant.limits;
        let writer = XmlWriter::new(xml::Limits {
            // The shield's own extensions nest a little deeper than what they stand for, and sealed elements are longer.
            depth_max: limits.json_depth_max.saturating_add(8),
            held_bytes_max: limits.entry_bytes_max.saturating_mul(2),
            ordered_bytes: WHOLE_BYTES_MAX,
        });
        Self { writer, json: Vec::new() }
    }

    fn held_bytes(&self) -> usize {
        self.writer.held_bytes() + self.json.len()
    }

    /// Writes what the shield gave.
    fn write(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.writer.feed(&self.json, out).map_err(Fault::Xml)?;
        self.json.clear();
        Ok(())
    }

    fn finish(mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.write(out)?;
        // A record that was withheld left nothing, and is answered as one that is not there in either form.
        if self.writer.is_empty() {
            return Ok(());
        }
        self.writer.finish(out).map_err(Fault::Xml)
    }
}

enum Turn {
    More,
    Done,
}

/// What stops a stream.
#[derive(Debug)]
pub(super) enum Fault {
    Shield(ShieldFault),
    Xml(XmlError),
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
            Self::Xml(error) => Refusal::new(
                "protect",
                StatusCode::NOT_ACCEPTABLE,
                "not-supported",
                "the answer cannot be written as FHIR XML; ask for JSON",
            )
            .because(error.to_string()),
            Self::Upstream(reason) => Refusal::upstream(reason.clone()),
        }
    }

    fn reason(&self) -> String {
        self.refusal().reason
    }
}

/// What `view` says of a record, with the key that seals where anything is to be sealed.
/// `ahead` says which references are left out; the carriers could repeat them, and go too.
pub(super) async fn rulings(
    tenant: &Arc<Tenant>,
    view: &View,
    facts: &Facts,
    ahead: Option<&Ahead>,
) -> Result<Rulings, Fault> {
    let mut verdicts = view.rule(facts);
    let hide = ahead.and_then(|ahead| ahead.hide(view, facts, &verdicts));
    if hide.is_some() {
        without_carriers(&mut verdicts);
    }
    // In silent mode nothing is sealed, so no key is made for it.
    let declared = tenant.redaction == Redaction::Declared;
    let seals = declared
        && verdicts.iter().any(|v| match v {
            Verdict::Keep(plan) => Category::ALL.into_iter().any(|c| plan.treatment(c) == Treatment::Encrypt),
            Verdict::Withhold(_) => false,
        });
    let seal_key = if seals { Some(seal_key(tenant, facts).await?) } else { None };
    Ok(Rulings { verdicts, seal_key, hide })
}

/// The carriers could repeat what a reference that is left out would tell.
pub(super) fn without_carriers(verdicts: &mut [Verdict]) {
    for verdict in verdicts {
        if let Verdict::Keep(plan) = verdict {
            *plan = Arc::new(plan.without_carriers());
        }
    }
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
    async fn turn(&mut self, entered: &Entered) -> Result<Turn, Fault> {
        if self.pending.is_empty() {
            match self.next_prepared(entered).await? {
                Some(chunk) => self.pending = chunk,
                None => return self.end(entered).await,
            }
        }
        let chunk = std::mem::take(&mut self.pending);
        let shield = self.shield.as_mut().ok_or_else(|| Fault::Own("the shield ended".into()))?;
        let sink = self.xml.as_mut().map_or(&mut self.out, |xml| &mut xml.json);
        let (consumed, step) = shield.feed(&chunk, sink).map_err(Fault::Shield)?;
        self.pending = chunk.slice(consumed..);
        self.account()?;
        self.answer(step, entered).await?;
        if let Some(xml) = &mut self.xml {
            xml.write(&mut self.out)?;
        }
        Ok(Turn::More)
    }

    /// The next piece, after what the records in it need was looked up for as many as were read ahead.
    async fn next_prepared(&mut self, entered: &Entered) -> Result<Option<Bytes>, Fault> {
        let enough = self.shield.as_ref().is_some_and(|s| s.has_enough());
        if enough || !self.ahead.as_ref().is_some_and(Ahead::reads) {
            return self.next_chunk().await;
        }
        let mut seen = Vec::new();
        if self.ahead.as_ref().is_some_and(Ahead::wants) {
            loop {
                let chunk = self.next_chunk().await?;
                let enough = self.ahead.as_mut().is_none_or(|ahead| ahead.read(chunk, &mut seen));
                self.account()?;
                if enough {
                    break;
                }
            }
        }
        self.prepare(&seen, entered).await?;
        Ok(self.ahead.as_mut().and_then(Ahead::take))
    }

    async fn prepare(&mut self, seen: &[Arc<Facts>], entered: &Entered) -> Result<(), Fault> {
        let Some(ahead) = self.ahead.as_mut().filter(|_| !seen.is_empty()) else { return Ok(()) };
        let ready = ahead.prepare(&self.tenant, &mut self.guard.view, seen, entered.durable());
        match timeout_at(self.deadline, ready).await {
            Ok(ready) => ready.map_err(Fault::Refused),
            Err(_) => Err(Fault::TimedOut),
        }
    }

    /// Judges what the shield asks about, if it asks.
    async fn answer(&mut self, step: Step, entered: &Entered) -> Result<(), Fault> {
        let Step::Ask(facts) = step else { return Ok(()) };
        let rulings = self.judge(&facts, entered).await?;
        let shield = self.shield.as_mut().ok_or_else(|| Fault::Own("the shield ended".into()))?;
        let sink = self.xml.as_mut().map_or(&mut self.out, |xml| &mut xml.json);
        shield.answer(rulings, sink).map_err(Fault::Shield)
    }

    /// Goes on to the next file of an export that is given as one.
    async fn next_file(&mut self) -> Result<bool, Fault> {
        let Some(files) = self.files.as_mut() else { return Ok(false) };
        let Some(next) = files.follow().await else { return Ok(false) };
        let next = next.map_err(Fault::Refused)?;
        (self.body, self.shield, self.deadline) = (Some(next.body), Some(next.shield), next.deadline);
        self.received = 0;
        Ok(true)
    }

    /// The last line of a file may want its end of line; then it is judged only now.
    async fn last_line(&mut self, entered: &Entered) -> Result<(), Fault> {
        let shield = self.shield.as_mut().ok_or_else(|| Fault::Own("the shield ended twice".into()))?;
        let step = shield.close().map_err(Fault::Shield)?;
        self.answer(step, entered).await
    }

    /// After the last byte of the upstream's body, or of as much of it as is wanted.
    async fn end(&mut self, entered: &Entered) -> Result<Turn, Fault> {
        self.last_line(entered).await?;
        let mut shield = self.shield.take().ok_or_else(|| Fault::Own("the shield ended twice".into()))?;
        let mut xml = self.xml.take();
        let sink = xml.as_mut().map_or(&mut self.out, |xml| &mut xml.json);
        let summary = if shield.fills_pages() {
            if shield.end_page(sink).map_err(Fault::Shield)? == PageEnd::More
                && self.next_page(&mut shield).await?
            {
                (self.shield, self.xml) = (Some(shield), xml);
                return Ok(Turn::More);
            }
            let sink = xml.as_mut().map_or(&mut self.out, |xml| &mut xml.json);
            shield.end(sink)
        } else {
            shield.finish(sink)
        };
        self.note(summary.map_err(Fault::Shield)?).await?;
        if let Some(xml) = xml {
            xml.finish(&mut self.out)?;
        }
        self.held.clear();
        if self.next_file().await? { Ok(Turn::More) } else { Ok(Turn::Done) }
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
        if let Some(ahead) = &mut self.ahead {
            ahead.begin(&self.tenant);
        }
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

    async fn judge(&mut self, facts: &Arc<Facts>, entered: &Entered) -> Result<Rulings, Fault> {
        self.guard.hold(&self.tenant).map_err(Fault::Own)?;
        if !self.ahead.as_ref().is_some_and(Ahead::covers) {
            self.prepare(std::slice::from_ref(facts), entered).await?;
        }
        let rulings = rulings(&self.tenant, &self.guard.view, facts, self.ahead.as_ref()).await?;
        entered.judged(Part::Answer, &self.guard.view, facts, &rulings);
        for verdict in &rulings.verdicts {
            if let Verdict::Keep(plan) = verdict {
                self.totals.determined(plan.policies());
            }
        }
        Ok(rulings)
    }

    /// Counts what the shield holds against the limit over all connections.
    fn account(&mut self) -> Result<(), Fault> {
        let ahead = self.ahead.as_ref().map_or(0, Ahead::held_bytes);
        let xml = self.xml.as_ref().map_or(0, Xml::held_bytes);
        let holding = self.shield.as_ref().map_or(0, |s| s.held_bytes()) + self.out.len() + xml + ahead;
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

    /// How a fault is told. A record that is too large or no record cannot be judged, and in a view that withholds some it
    /// answers as one that is not there: else the fault would tell that it is (LV-41). The officer reads what it was.
    fn told(&self, fault: &Fault) -> Refusal {
        let refusal = fault.refusal();
        let of_the_record = match fault {
            Fault::Shield(fault) => fault.kind != FaultKind::Internal,
            Fault::Limit(name) => *name == "response_bytes_max",
            _ => false,
        };
        // What comes back of a write is no read: its author knows that the record is there.
        let read = self.guard.single && self.pages.is_some();
        if !of_the_record || !read || self.guard.view.uniform() {
            return refusal;
        }
        self.tenant.metrics.upstream_error("body");
        Refusal::unknown("protect", format!("the record cannot be judged: {}", refusal.reason))
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
            match self.turn(&entered).await {
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
