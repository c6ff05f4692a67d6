//! The outer frame: finds the records in the stream, holds one, and lets the rest of a Bundle through by allow-list.

use std::sync::Arc;

use drape_fhir::json::{Kind, Token, Tokenizer, write_string};
use drape_fhir::reference::Reference;
use drape_view::{Category, Facts, Plan, Reason, Treatment, Verdict};

mod lines;
mod pages;

use pages::Pages;

use crate::rewrite::{self, Effects, Part, Rewriter};
use crate::tape::{TEXT_BYTES_MAX, Tape, json_fault, limits};
use crate::{Answer, BundleKind, Expect, Fault, FaultKind, RecordSeen, Setup, Step, Summary, Treated, facts};

/// One answer of the upstream on its way through. Feed it bytes, answer what it asks, finish it.
#[derive(Debug)]
pub struct Shield {
    setup: Setup,
    tokenizer: Tokenizer,
    /// Bytes from the end of the last token that is done with; `base` is the first one's offset.
    held: Vec<u8>,
    base: u64,
    tape: Tape,
    place: Place,
    /// The end of the last value written or dropped: what follows up to the next one is the gap between them.
    gap_from: u64,
    member: Option<(u64, u64, String)>,
    wrote_member: bool,
    wrote_entry: bool,
    entry_opened: bool,
    resource_type_known: bool,
    type_known: bool,
    entry_gap: Option<Vec<u8>>,
    pages: Option<Pages>,
    asked: Option<Arc<Facts>>,
    summary: Summary,
    /// What an entry is written to before any of it is put out; kept for the next one.
    body: Vec<u8>,
    /// What was done under which plan since it was last told.
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the document's first byte.
    Start,
    /// Among the members of a Bundle.
    Members,
    /// In the value of a member other than `entry`.
    Value,
    /// Between the items of `entry`.
    Entries,
    /// In an entry, or in the single record.
    Held,
    /// A held record is complete and waits for its verdict.
    Asked,
    /// After the last byte.
    End,
}

/// Plans whose counts are kept apart; a page has a few.
const PARTS_MAX: usize = 64;

/// What was done under one plan, as the summary tells it.
fn tell(part: Part, summary: &mut Summary) {
    const NAMES: [&str; 5] = ["show", "generalize", "pseudonymize", "encrypt", "redact"];
    for category in Category::ALL {
        let why = part.plan.why(category);
        for (treatment, count) in NAMES.into_iter().zip(part.treated[category.index()]) {
            if count > 0 {
                summary.treated.push(Treated { category, treatment, count, why: why.cloned() });
            }
        }
    }
    if part.whole > 0 {
        summary.whole.push((part.plan, part.whole));
    }
}

impl Shield {
    /// At the start of an answer.
    pub fn new(mut setup: Setup) -> Self {
        setup.limits.entry_bytes_max = setup.limits.entry_bytes_max.min(TEXT_BYTES_MAX);
        let tokenizer = Tokenizer::new(limits(setup.limits.depth_max));
        let pages = setup.paging.map(Pages::new);
        Self {
            setup,
            tokenizer,
            held: Vec::new(),
            base: 0,
            tape: Tape::default(),
            place: Place::Start,
            gap_from: 0,
            member: None,
            wrote_member: false,
            wrote_entry: false,
            entry_opened: false,
            resource_type_known: false,
            type_known: false,
            entry_gap: None,
            pages,
            asked: None,
            summary: Summary::default(),
            body: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// How much memory is taken by what is held back.
    pub fn held_bytes(&self) -> usize {
        self.held.len() + self.tape.bytes() + self.pages.as_ref().map_or(0, Pages::held_bytes)
    }

    /// Takes in bytes up to the end of `chunk` or to the end of a record that must be judged first. Gives how many
    /// were taken.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(usize, Step), Fault> {
        if self.place == Place::Asked {
            return Err(Fault::internal("fed while a verdict is awaited"));
        }
        if self.line_type().is_some() {
            return self.feed_lines(chunk);
        }
        let (mut at, mut copied) = (0, 0);
        loop {
            let some = match self.tokenizer.advance(chunk, &mut at) {
                Ok(some) => some,
                Err(error) => return Err(json_fault(&error)),
            };
            let upto = if some { at } else { chunk.len() };
            if self.held.len() + (upto - copied) > self.setup.limits.entry_bytes_max {
                return Err(Fault {
                    kind: FaultKind::Limit,
                    what: "a record is larger than `entry_bytes_max`".into(),
                });
            }
            if some && self.place == Place::Held && !self.completes_held(self.tokenizer.token()) {
                // Nearly every token is one of these. Their bytes are taken over all at once, at the end.
                self.tape.push(self.tokenizer.token(), self.base);
                continue;
            }
            self.held.extend_from_slice(&chunk[copied..upto]);
            copied = upto;
            if !some {
                return Ok((upto, Step::Hungry));
            }
            let token = *self.tokenizer.token();
            self.token(&token, out)?;
            if self.place == Place::Asked {
                if self.pages.is_some() && !self.concerns() {
                    self.let_go();
                    continue;
                }
                self.tokenizer.pause(upto);
                let facts = Arc::new(self.facts()?);
                self.asked = Some(Arc::clone(&facts));
                return Ok((upto, Step::Ask(facts)));
            }
        }
    }

    /// Whether a token is the last one of the held entry or record.
    fn completes_held(&self, token: &Token) -> bool {
        let depth = if matches!(self.setup.expect, Expect::Record { .. }) { 0 } else { 2 };
        token.kind == Kind::ObjectEnd && token.depth == depth
    }

    /// The verdicts on what was asked for.
    pub fn answer(&mut self, answer: Answer, out: &mut Vec<u8>) -> Result<(), Fault> {
        let facts = self.asked.take().ok_or_else(|| Fault::internal("a verdict that nobody asked for"))?;
        if answer.verdicts.len() != facts.records.len() {
            return Err(Fault::internal("not one verdict a record"));
        }
        if self.pages.is_some() {
            self.entry_of_page(&facts, &answer, out)?;
            self.let_go();
            return Ok(());
        }
        let written = match self.setup.expect {
            Expect::Record { .. } => self.record(&facts, &answer, out)?,
            Expect::Bundle(_) => self.entry(&facts, &answer, out)?,
            Expect::Lines { .. } => self.write_line(&facts, &answer, out)?,
        };
        if let Err(reason) = written {
            *self.summary.withheld.entry(reason).or_default() += 1;
        } else if let Some(seen) = seen(&facts) {
            self.summary.records.push(seen);
        }
        self.let_go();
        Ok(())
    }

    /// Is done with the entry or record that is held.
    fn let_go(&mut self) {
        if self.line_type().is_some() {
            return self.next_line();
        }
        let (_, end) = self.tape.end(0);
        let end = self.base + end as u64;
        self.tape.clear();
        let single = matches!(self.setup.expect, Expect::Record { .. });
        self.place = if single { Place::End } else { Place::Entries };
        self.gap_from = end;
        self.discard(end);
    }

    /// Ends the answer: it must be complete.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<Summary, Fault> {
        if self.line_type().is_some() {
            return if self.lines_are_done() {
                Ok(self.drain())
            } else {
                Err(Fault::internal("ended while a verdict is awaited"))
            };
        }
        // A number at the very end is only known to be whole here; a body that is one is no record.
        let last = self.tokenizer.finish().map_err(|e| json_fault(&e))?;
        if last.is_some() || self.place != Place::End {
            return Err(Fault::upstream("the body ended in the middle"));
        }
        if self.pages.is_some() {
            return Err(Fault::internal("pages end by `end_page`"));
        }
        // White space after the last byte stays, for the caller who gets the body as it is.
        if self.setup.shows_all && self.summary.withheld.is_empty() {
            out.extend_from_slice(&self.held);
        }
        Ok(self.drain())
    }

    /// What happened since it was last asked.
    pub fn drain(&mut self) -> Summary {
        let mut summary = std::mem::take(&mut self.summary);
        self.parts.drain(..).for_each(|part| tell(part, &mut summary));
        summary
    }

    fn discard(&mut self, upto: u64) {
        let count = usize::try_from(upto.saturating_sub(self.base)).unwrap_or(0).min(self.held.len());
        self.held.drain(..count);
        self.base += count as u64;
    }

    fn raw(&self, from: u64, to: u64) -> &[u8] {
        let at =
            |offset: u64| usize::try_from(offset.saturating_sub(self.base)).unwrap_or(0).min(self.held.len());
        &self.held[at(from)..at(to)]
    }

    fn token(&mut self, token: &Token, out: &mut Vec<u8>) -> Result<(), Fault> {
        match self.place {
            Place::Start => {
                if token.kind != Kind::ObjectStart {
                    return Err(Fault::upstream("the body is not a JSON object"));
                }
                if matches!(self.setup.expect, Expect::Record { .. }) {
                    self.place = Place::Held;
                    self.hold_from(token, out);
                    self.tape.push(token, self.base);
                } else {
                    self.place = Place::Members;
                    if self.pages.is_some() {
                        self.gap_from = token.end;
                        self.discard(token.end);
                        return Ok(());
                    }
                    if self.setup.shows_all {
                        out.extend_from_slice(self.raw(0, token.start));
                    }
                    out.push(b'{');
                    self.gap_from = token.end;
                    self.discard(token.end);
                }
            }
            Place::Members => match token.kind {
                Kind::Key => {
                    let name = self.tokenizer.key().to_owned();
                    self.place = if name == "entry" { Place::Entries } else { Place::Value };
                    self.entry_opened = false;
                    self.member = Some((token.start, token.end, name));
                }
                Kind::ObjectEnd => {
                    if !self.resource_type_known || !self.type_known {
                        return Err(Fault::upstream("the body is not the Bundle that was asked for"));
                    }
                    if self.pages.is_none() {
                        if self.setup.shows_all {
                            out.extend_from_slice(self.raw(self.gap_from, token.start));
                        }
                        out.push(b'}');
                    }
                    self.discard(token.end);
                    self.place = Place::End;
                }
                _ => return Err(Fault::internal("an unexpected token among members")),
            },
            Place::Value => {
                if self.tape.is_empty() {
                    // Tape offsets count from the member's key on.
                    let from = self.member.as_ref().map_or(token.start, |m| m.0);
                    let from = from.min(self.gap_from);
                    self.discard(from);
                }
                self.tape.push(token, self.base);
                let whole = token.depth == 1 && !matches!(token.kind, Kind::ObjectStart | Kind::ArrayStart);
                if whole {
                    self.end_member(token.end, out)?;
                }
            }
            Place::Entries => self.between_entries(token, out)?,
            Place::Held => {
                self.tape.push(token, self.base);
                if self.completes_held(token) {
                    self.place = Place::Asked;
                }
            }
            Place::Asked | Place::End => return Err(Fault::internal("a token after the end")),
        }
        Ok(())
    }

    fn hold_from(&mut self, token: &Token, out: &mut Vec<u8>) {
        if self.setup.shows_all {
            out.extend_from_slice(self.raw(self.gap_from, token.start));
        }
        self.discard(token.start);
    }

    /// A member other than `entry` is complete.
    fn end_member(&mut self, end: u64, out: &mut Vec<u8>) -> Result<(), Fault> {
        let Some((start, key_end, name)) = self.member.take() else {
            return Err(Fault::internal("a value without a key"));
        };
        let string =
            || (self.tape.get(0).kind == Kind::String).then(|| self.tape.text(&self.held, 0).into_owned());
        let keep = match name.as_str() {
            "resourceType" => {
                if string().as_deref() != Some("Bundle") {
                    return Err(Fault::upstream("the body is not a Bundle"));
                }
                self.resource_type_known = true;
                true
            }
            "type" => {
                let expected = match self.setup.expect {
                    Expect::Bundle(BundleKind::History) => "history",
                    _ => "searchset",
                };
                if string().as_deref() != Some(expected) {
                    return Err(Fault::upstream(format!("the Bundle is not a {expected}")));
                }
                self.type_known = true;
                true
            }
            // A total is a number and nothing else, or it could say anything.
            "total" => self.setup.shows_all || self.setup.uniform && self.tape.get(0).kind == Kind::Number,
            "link" => true,
            _ => self.setup.shows_all,
        };
        if self.pages.is_some() {
            if name == "link" {
                self.links_of_page();
            }
            self.tape.clear();
            self.gap_from = end;
            self.discard(end);
            self.place = Place::Members;
            return Ok(());
        }
        let value_start = self.base + u64::from(self.tape.get(0).start);
        let links = if name == "link" { Some(self.links()) } else { None };
        if keep && links.as_ref().is_none_or(|l| !l.is_empty()) {
            self.write_key(start, key_end, value_start, out);
            match links {
                Some(links) => out.extend(links),
                None => rewrite::copy(&self.setup, &self.tape, &self.held, 0, out),
            }
        }
        self.tape.clear();
        self.gap_from = end;
        self.discard(end);
        self.place = Place::Members;
        Ok(())
    }

    /// The gap before a member, its key and what stands between key and value.
    fn write_key(&mut self, start: u64, key_end: u64, value_start: u64, out: &mut Vec<u8>) {
        let gap = self.raw(self.gap_from, start).to_vec();
        write_gap(&gap, self.wrote_member, out);
        out.extend_from_slice(self.raw(start, key_end));
        out.extend_from_slice(self.raw(key_end, value_start));
        self.wrote_member = true;
    }

    /// The Bundle's links, each rewritten or gone; empty when none is left.
    fn links(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.tape.get(0).kind != Kind::ArrayStart {
            return out;
        }
        for item in self.tape.items(0) {
            let relation = self.tape.string(&self.held, item, "relation");
            let url = self.tape.string(&self.held, item, "url");
            let (Some(relation), Some(url)) = (relation, url) else { continue };
            let Some(rewritten) = self.setup.links.rewrite(&relation, &url) else { continue };
            out.extend_from_slice(if out.is_empty() { b"[" } else { b"," });
            out.extend_from_slice(b"{\"relation\":");
            write_string(&relation, &mut out);
            out.extend_from_slice(b",\"url\":");
            write_string(&rewritten, &mut out);
            out.push(b'}');
        }
        if !out.is_empty() {
            out.push(b']');
        }
        out
    }

    fn between_entries(&mut self, token: &Token, out: &mut Vec<u8>) -> Result<(), Fault> {
        match token.kind {
            Kind::ArrayStart if token.depth == 1 && !self.entry_opened => {
                if !self.resource_type_known || !self.type_known {
                    return Err(Fault::upstream("entries before the Bundle says what it is"));
                }
                self.entry_opened = true;
                // The member is only written when there is an entry to show: an empty array is not valid FHIR.
                let Some((start, key_end, _)) = self.member.take() else {
                    return Err(Fault::internal("entries without a key"));
                };
                if self.pages.is_some() {
                    self.gap_from = token.end;
                    self.discard(token.end);
                    return Ok(());
                }
                let mut head = Vec::new();
                let gap = self.raw(self.gap_from, start).to_vec();
                write_gap(&gap, self.wrote_member, &mut head);
                head.extend_from_slice(self.raw(start, key_end));
                head.extend_from_slice(self.raw(key_end, token.end));
                if self.setup.shows_all {
                    out.extend_from_slice(&head);
                    self.wrote_member = true;
                } else {
                    self.entry_gap = Some(head);
                }
                self.gap_from = token.end;
                self.discard(token.end);
            }
            Kind::ObjectStart if token.depth == 2 && self.entry_opened => {
                self.place = Place::Held;
                // The gap before the entry stays with it: whether it is written depends on the verdict.
                self.discard(self.gap_from);
                self.tape.push(token, self.base);
            }
            Kind::ArrayEnd if token.depth == 1 && self.entry_opened => {
                if self.entry_gap.is_none() && self.pages.is_none() {
                    out.extend_from_slice(self.raw(self.gap_from, token.start));
                    out.push(b']');
                }
                self.entry_gap = None;
                self.gap_from = token.end;
                self.discard(token.end);
                self.place = Place::Members;
            }
            _ => return Err(Fault::upstream("`entry` is not a list of objects")),
        }
        Ok(())
    }

    fn bases(&self) -> [&str; 1] {
        [self.setup.upstream_base.as_str()]
    }

    /// The facts of what is held. An entry without a resource has none.
    fn facts(&self) -> Result<Facts, Fault> {
        let catalogue = &self.setup.catalogue;
        let bases = self.bases();
        let resource = match self.setup.expect {
            Expect::Record { .. } | Expect::Lines { .. } => Some(0),
            Expect::Bundle(_) => self.tape.member(&self.held, 0, "resource"),
        };
        let Some(i) = resource else { return Ok(Facts::default()) };
        let facts = facts::read(catalogue, &self.tape, &self.held, i, &bases, self.setup.pointers)?;
        let Some(main) = facts.main() else { return Err(Fault::internal("no record was read")) };
        if let Expect::Record { resource_type, id, version } = &self.setup.expect {
            let fits = main.resource_type == *resource_type
                && id.as_ref().is_none_or(|id| main.id.as_ref() == Some(id))
                && version
                    .as_ref()
                    .is_none_or(|v| main.version.is_none() || main.version.as_ref() == Some(v));
            if !fits {
                return Err(Fault::upstream("the record is not the one that was asked for"));
            }
        }
        Ok(facts)
    }

    fn record(
        &mut self,
        facts: &Facts,
        answer: &Answer,
        out: &mut Vec<u8>,
    ) -> Result<Result<(), Reason>, Fault> {
        let mark = out.len();
        let mut effects = Effects::default();
        let mut rewriter = Rewriter::new(&self.setup, &self.tape, &self.held, facts, answer, &mut effects);
        let written = rewriter.resource(0, out)?;
        if written.is_err() {
            out.truncate(mark);
        } else {
            self.take(effects);
        }
        Ok(written)
    }

    fn take(&mut self, effects: Effects) {
        for part in effects.parts {
            let alike = |known: &Part| Arc::ptr_eq(&known.plan, &part.plan) || known.plan == part.plan;
            let Some(place) = self.parts.iter().rposition(alike) else {
                if self.parts.len() < PARTS_MAX {
                    self.parts.push(part);
                } else {
                    tell(part, &mut self.summary);
                }
                continue;
            };
            let known = &mut self.parts[place];
            known.whole += part.whole;
            for (category, counts) in known.treated.iter_mut().zip(part.treated.iter()) {
                for (total, count) in category.iter_mut().zip(counts) {
                    *total += count;
                }
            }
        }
        self.summary.minted.extend(effects.minted);
    }

    /// An entry, its gap before it. Nothing of it is put out unless all of it is.
    fn entry(
        &mut self,
        facts: &Facts,
        answer: &Answer,
        out: &mut Vec<u8>,
    ) -> Result<Result<(), Reason>, Fault> {
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        let mut effects = Effects::default();
        let written = self.entry_body(facts, answer, &mut body, &mut effects)?;
        if written.is_err() {
            self.body = body;
            return Ok(written);
        }
        self.take(effects);
        if let Some(head) = self.entry_gap.take() {
            out.extend(head);
            self.wrote_member = true;
        }
        let start = u64::from(self.tape.get(0).start);
        write_gap(self.raw(self.gap_from, self.base + start), self.wrote_entry, out);
        out.extend_from_slice(&body);
        self.body = body;
        self.wrote_entry = true;
        Ok(Ok(()))
    }

    fn entry_body(
        &self,
        facts: &Facts,
        answer: &Answer,
        out: &mut Vec<u8>,
        effects: &mut Effects,
    ) -> Result<Result<(), Reason>, Fault> {
        let all = answer.hide.is_none()
            && answer.verdicts.iter().all(|v| matches!(v, Verdict::Keep(plan) if plan.shows_all()));
        let mut rewriter = Rewriter::new(&self.setup, &self.tape, &self.held, facts, answer, effects);
        if self.setup.shows_all && all {
            if facts.records.is_empty() || self.full_url_fits(facts) {
                rewriter.effects.whole(answer.verdicts.first());
                rewriter.copy(0, out);
                return Ok(Ok(()));
            }
            return Err(Fault::upstream("an entry's fullUrl names another record"));
        }
        // An entry without a record (a deletion in a history) says only that there was one.
        let (Some(main), Some(Verdict::Keep(plan))) = (facts.main(), answer.verdicts.first()) else {
            return Ok(Err(match answer.verdicts.first() {
                Some(Verdict::Withhold(reason)) => *reason,
                _ => Reason::NotReceived,
            }));
        };
        if !self.full_url_fits(facts) {
            return Err(Fault::upstream("an entry's fullUrl names another record"));
        }
        if self.is_elsewhere() {
            return Ok(Err(Reason::Elsewhere));
        }
        let Some(i) = self.tape.member(&self.held, 0, "resource") else {
            return Ok(Err(Reason::NotReceived));
        };
        let shown_id = rewriter.shown_id(plan, &main.resource_type, main.id.as_deref());
        out.push(b'{');
        let mark = out.len();
        if let Some(id) = &shown_id
            && self.tape.member(&self.held, 0, "fullUrl").is_some()
        {
            out.extend_from_slice(b"\"fullUrl\":");
            write_string(&[self.setup.public_base.as_str(), "/", &main.resource_type, "/", id].concat(), out);
            out.push(b',');
        }
        out.extend_from_slice(b"\"resource\":");
        if let Err(reason) = rewriter.resource(i, out)? {
            out.truncate(mark);
            return Ok(Err(reason));
        }
        if let Some(search) = self.tape.member(&self.held, 0, "search")
            && self.tape.get(search).kind == Kind::ObjectStart
            && let Some(mode) = self.tape.string(&self.held, search, "mode")
            && ["match", "include", "outcome"].contains(&mode.as_ref())
        {
            out.extend_from_slice(b",\"search\":{\"mode\":");
            write_string(&mode, out);
            out.push(b'}');
        }
        if self.setup.expect == Expect::Bundle(BundleKind::History) {
            let Some(id) = shown_id else { return Ok(Err(Reason::NotValid)) };
            self.history(&main.resource_type, &id, plan, out);
        }
        out.push(b'}');
        Ok(Ok(()))
    }

    /// `request` and `response` of a history entry, written anew from what of them is shown.
    fn history(&self, resource_type: &str, id: &str, plan: &Plan, out: &mut Vec<u8>) {
        let object = |name: &str| {
            self.tape.member(&self.held, 0, name).filter(|i| self.tape.get(*i).kind == Kind::ObjectStart)
        };
        if let Some(i) = object("request")
            && let Some(method) = self.tape.string(&self.held, i, "method")
            && ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"].contains(&method.as_ref())
        {
            out.extend_from_slice(b",\"request\":{\"method\":");
            write_string(&method, out);
            out.extend_from_slice(b",\"url\":");
            let url =
                if method == "POST" { resource_type.to_owned() } else { format!("{resource_type}/{id}") };
            write_string(&url, out);
            out.push(b'}');
        }
        if let Some(i) = object("response")
            && let Some(status) = self.tape.string(&self.held, i, "status")
            && let Some(status) = status.get(..3).filter(|s| s.bytes().all(|b| b.is_ascii_digit()))
        {
            out.extend_from_slice(b",\"response\":{\"status\":");
            write_string(status, out);
            if plan.treatment(Category::RecordedDate) == Treatment::Show
                && let Some(time) = self.tape.string(&self.held, i, "lastModified")
            {
                out.extend_from_slice(b",\"lastModified\":");
                write_string(&time, out);
            }
            out.push(b'}');
        }
    }

    /// Whether the entry's record lives on another server: its id and its references mean something else there, so
    /// nothing that is known of records here can judge it. What stands under our own base is ours, whatever it says
    /// (real servers put searches there), and is written anew.
    pub(crate) fn is_elsewhere(&self) -> bool {
        let Some(url) = self.tape.string(&self.held, 0, "fullUrl") else { return false };
        let rest = url.strip_prefix(self.setup.upstream_base.as_str());
        let ours = rest.is_some_and(|rest| rest.starts_with(['/', '?']));
        !ours && !matches!(Reference::parse(&url, &[]), Reference::Local { .. } | Reference::Urn(_))
    }

    /// A fullUrl that names a record on this server must name the record beside it (bdl-7 and common sense).
    fn full_url_fits(&self, facts: &Facts) -> bool {
        let Some(url) = self.tape.string(&self.held, 0, "fullUrl") else { return true };
        match (Reference::parse(&url, &self.bases()), facts.main()) {
            (Reference::Local { resource_type, id, .. }, Some(main)) => {
                main.resource_type == resource_type && main.id.as_deref().is_none_or(|own| own == id)
            }
            _ => true,
        }
    }
}

/// What the log is told of a record that reaches the caller.
fn seen(facts: &Facts) -> Option<RecordSeen> {
    facts.main().map(|main| RecordSeen {
        resource_type: main.resource_type.clone(),
        id: main.id.clone(),
        version: main.version.clone(),
        patients: main.patients.clone(),
    })
}

/// What stands between two values: kept as it is, but for a comma that has nothing before it any more.
fn write_gap(gap: &[u8], after_another: bool, out: &mut Vec<u8>) {
    if after_another {
        if !gap.contains(&b',') {
            out.push(b',');
        }
        out.extend_from_slice(gap);
    } else {
        out.extend(gap.iter().filter(|b| **b != b','));
    }
}
