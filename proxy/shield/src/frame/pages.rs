//! Pages without holes: filled from as many pages upstream as it takes, with a link to more only where more is shown.
//!
//! The Bundle around the entries is written anew: what the upstream says of its own page (total, links, number of
//! entries) counts what is withheld too.

use std::collections::BTreeSet;

use drape_fhir::json::{Kind, Tokens, unescape, write_string};
use drape_view::{Facts, Reason};

use super::{Place, Shield, seen};
use crate::rewrite::Effects;
use crate::tape::limits;
use crate::{
    Answer, BundleKind, Expect, Fault, FaultKind, PageEnd, Paging, PlaceOfMore, RecordSeen, Summary,
};

/// How far the caller's page and the upstream's are.
#[derive(Debug)]
pub(super) struct Pages {
    paging: Paging,
    /// Matches of the upstream's page, withheld ones too.
    matches: u32,
    /// Matches of it that are shown.
    shown_here: u32,
    /// Matches shown on the caller's page.
    shown: u32,
    /// Where the first match stands that the caller's page has no room for.
    more: Option<PlaceOfMore>,
    has_next: bool,
    opened: bool,
    /// What is shown of the upstream's page.
    names: BTreeSet<String>,
    /// What that refers to.
    referred: BTreeSet<String>,
    included: Vec<Included>,
    included_bytes: usize,
}

/// An included record that waits for the end of the page: it stays only beside what it hangs together with.
#[derive(Debug)]
struct Included {
    body: Vec<u8>,
    effects: Effects,
    seen: Option<RecordSeen>,
    name: String,
    references: BTreeSet<String>,
}

/// What an entry is to the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Match,
    Include,
    Outcome,
}

impl Pages {
    pub(super) fn new(paging: Paging) -> Self {
        Self {
            paging,
            matches: 0,
            shown_here: 0,
            shown: 0,
            more: None,
            has_next: false,
            opened: false,
            names: BTreeSet::new(),
            referred: BTreeSet::new(),
            included: Vec::new(),
            included_bytes: 0,
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.included_bytes
    }

    fn is_full(&self) -> bool {
        self.paging.count.is_some_and(|count| self.shown >= count)
    }
}

impl Shield {
    fn mode(&self) -> Mode {
        let search = self.tape.member(&self.held, 0, "search");
        match search.and_then(|i| self.tape.string(&self.held, i, "mode")).as_deref() {
            Some("include") => Mode::Include,
            Some("outcome") => Mode::Outcome,
            _ => Mode::Match,
        }
    }

    /// Whether the entry just read must be judged at all: not what stood on earlier pages, nor what comes after the
    /// caller's page is full.
    pub(super) fn concerns(&mut self) -> bool {
        let mode = self.mode();
        let Some(pages) = &mut self.pages else { return true };
        match mode {
            Mode::Match => {
                pages.matches += 1;
                pages.matches > pages.paging.skip && pages.more.is_none()
            }
            Mode::Include => pages.paging.includes,
            Mode::Outcome => true,
        }
    }

    /// An entry with its verdict: written, kept until the page's end, or known as the one for which there is no room.
    pub(super) fn entry_of_page(
        &mut self,
        facts: &Facts,
        answer: &Answer,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let mode = self.mode();
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        let mut effects = Effects::default();
        if let Err(reason) = self.entry_body(facts, answer, &mut body, &mut effects)? {
            *self.summary.withheld.entry(reason).or_default() += 1;
            self.body = body;
            return Ok(());
        }
        let depth_max = self.setup.limits.depth_max;
        let bytes_max = self.setup.limits.entry_bytes_max;
        let Some(pages) = &mut self.pages else { return Err(Fault::internal("no pages")) };
        match mode {
            Mode::Match if pages.is_full() => pages.more = Some(PlaceOfMore::Here(pages.matches - 1)),
            Mode::Include => {
                let (name, references) = names(&body, depth_max)?;
                pages.included_bytes += body.len();
                if pages.included_bytes > bytes_max {
                    let what = "what a page includes is larger than `entry_bytes_max`".into();
                    return Err(Fault { kind: FaultKind::Limit, what });
                }
                pages.included.push(Included {
                    body: body.clone(),
                    effects,
                    seen: seen(facts),
                    name,
                    references,
                });
            }
            Mode::Match | Mode::Outcome => {
                if mode == Mode::Match {
                    pages.shown += 1;
                    pages.shown_here += 1;
                    if pages.paging.includes {
                        let (name, references) = names(&body, depth_max)?;
                        pages.referred.extend(references);
                        pages.names.insert(name);
                    }
                }
                self.put(&body, effects, seen(facts), out);
            }
        }
        self.body = body;
        Ok(())
    }

    fn put(&mut self, body: &[u8], effects: Effects, seen: Option<RecordSeen>, out: &mut Vec<u8>) {
        self.take(effects);
        self.summary.records.extend(seen);
        if self.pages.as_mut().is_some_and(|p| std::mem::replace(&mut p.opened, true)) {
            out.push(b',');
        } else {
            self.open(out);
            out.extend_from_slice(b",\"entry\":[");
        }
        out.extend_from_slice(body);
    }

    fn open(&self, out: &mut Vec<u8>) {
        let kind = match self.setup.expect {
            Expect::Bundle(BundleKind::History) => "history",
            _ => "searchset",
        };
        out.extend_from_slice(b"{\"resourceType\":\"Bundle\",\"type\":");
        write_string(kind, out);
    }

    /// Remembers where the upstream's next page is.
    pub(super) fn links_of_page(&mut self) {
        if self.tape.get(0).kind != Kind::ArrayStart {
            return;
        }
        for item in self.tape.items(0) {
            let relation = self.tape.string(&self.held, item, "relation");
            let url = self.tape.string(&self.held, item, "url");
            if let (Some("next"), Some(url)) = (relation.as_deref(), url)
                && self.setup.links.rewrite("next", &url).is_some()
                && let Some(pages) = &mut self.pages
            {
                pages.has_next = true;
            }
        }
    }

    /// Whether nothing more of the upstream's page is wanted: the caller's page is full, there is more, and nothing
    /// that is still to come can hang together with what is shown of it.
    pub fn has_enough(&self) -> bool {
        self.pages.as_ref().is_some_and(|p| p.more.is_some() && (!p.paging.includes || p.shown_here == 0))
    }

    /// How many matches are shown so far; what a page without any is passed over by.
    pub fn matches_shown(&self) -> u32 {
        self.pages.as_ref().map_or(0, |p| p.shown)
    }

    /// Whether pages are filled, so that [`Shield::end_page`] and not [`Shield::finish`] ends the answer.
    pub fn fills_pages(&self) -> bool {
        self.pages.is_some()
    }

    /// Ends the upstream's page: writes what it includes that hangs together with what is shown, and tells whether the
    /// next one is wanted; then it is fed that one.
    pub fn end_page(&mut self, out: &mut Vec<u8>) -> Result<PageEnd, Fault> {
        let whole = self.place == Place::End && self.tokenizer.finish().is_ok_and(|last| last.is_none());
        if !whole && !self.has_enough() {
            return Err(Fault::upstream("the body ended in the middle"));
        }
        self.write_included(out);
        let Some(pages) = &mut self.pages else { return Err(Fault::internal("no pages")) };
        if pages.more.is_some() || !pages.has_next {
            return Ok(PageEnd::Done);
        }
        if pages.paging.count.is_none() && pages.matches > 0 {
            pages.paging.count = Some(pages.matches);
        }
        pages.paging.skip = 0;
        (pages.matches, pages.shown_here, pages.has_next) = (0, 0, false);
        self.tokenizer = drape_fhir::json::Tokenizer::new(limits(self.setup.limits.depth_max));
        self.held.clear();
        self.tape.clear();
        (self.base, self.gap_from, self.place) = (0, 0, Place::Start);
        (self.member, self.resource_type_known, self.type_known) = (None, false, false);
        Ok(PageEnd::More)
    }

    /// Goes no further, though nobody knows whether more would be shown: the link to more leads on from here.
    pub fn stop_short(&mut self) {
        if let Some(pages) = &mut self.pages {
            pages.more = Some(PlaceOfMore::Next);
        }
    }

    /// Ends the answer after the last page.
    pub fn end(mut self, out: &mut Vec<u8>) -> Result<Summary, Fault> {
        let Some(pages) = self.pages.take() else { return Err(Fault::internal("no pages")) };
        if pages.opened {
            out.push(b']');
        } else {
            self.open(out);
        }
        let count = pages.paging.count.unwrap_or(pages.shown).max(1);
        let own = self.setup.links.rewrite("self", "").map(|url| ("self", url));
        let more = pages.more.and_then(|place| self.setup.links.more(place, count)).map(|url| ("next", url));
        if pages.more.is_some() && more.is_none() {
            return Err(Fault::internal("no link to the next page could be made"));
        }
        let mut open = false;
        for (relation, url) in own.into_iter().chain(more) {
            let before: &[u8] = if std::mem::replace(&mut open, true) {
                b",{\"relation\":"
            } else {
                b",\"link\":[{\"relation\":"
            };
            out.extend_from_slice(before);
            write_string(relation, out);
            out.extend_from_slice(b",\"url\":");
            write_string(&url, out);
            out.push(b'}');
        }
        out.extend_from_slice(if open { b"]}" } else { b"}" });
        Ok(self.drain())
    }

    fn write_included(&mut self, out: &mut Vec<u8>) {
        let Some(pages) = &mut self.pages else { return };
        let mut names = std::mem::take(&mut pages.names);
        let mut referred = std::mem::take(&mut pages.referred);
        let mut waiting = std::mem::take(&mut pages.included);
        pages.included_bytes = 0;
        let mut stays = Vec::new();
        // What is included by what is included (`:iterate`) stays with it.
        loop {
            let before = stays.len();
            let mut left = Vec::new();
            for one in waiting {
                if referred.contains(&one.name) || one.references.iter().any(|r| names.contains(r)) {
                    names.insert(one.name.clone());
                    referred.extend(one.references.iter().cloned());
                    stays.push(one);
                } else {
                    left.push(one);
                }
            }
            waiting = left;
            if stays.len() == before {
                break;
            }
        }
        if !waiting.is_empty() {
            *self.summary.withheld.entry(Reason::NotReceived).or_default() += waiting.len() as u64;
        }
        for one in stays {
            self.put(&one.body, one.effects, one.seen, out);
        }
    }
}

/// What a written entry is called and what it refers to, each as `Type/id` in the caller's own terms: two records hang
/// together only by links that the caller is shown.
fn names(entry: &[u8], depth_max: usize) -> Result<(String, BTreeSet<String>), Fault> {
    let own = || Fault::internal("a written entry cannot be read");
    let mut tokens = Tokens::new(entry, limits(depth_max));
    let (mut kind, mut id, mut references) = (String::new(), String::new(), BTreeSet::new());
    let mut key = String::new();
    while let Some(token) = tokens.next_token().map_err(|_| own())? {
        match token.kind {
            Kind::Key => {
                key.clear();
                key.push_str(tokens.key());
            }
            Kind::String => {
                let text = || unescape(tokens.raw(&token)).into_owned();
                // The record stands in `resource`: its own members are two deep.
                match key.as_str() {
                    "resourceType" if token.depth == 2 => kind = text(),
                    "id" if token.depth == 2 => id = text(),
                    "reference" => references.extend(local(&text())),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    Ok((format!("{kind}/{id}"), references))
}

/// `Type/id` of a reference, whatever base or version it is written with.
fn local(reference: &str) -> Option<String> {
    let reference = reference.split("/_history/").next().unwrap_or_default();
    let mut parts = reference.rsplit('/');
    let (id, kind) = (parts.next()?, parts.next()?);
    drape_fhir::definitions::r4().is_resource(kind).then(|| format!("{kind}/{id}"))
}
