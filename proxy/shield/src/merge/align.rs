//! Of each part of a record: whether it is shown as it stands, in part, or not at all.

use std::collections::{HashMap, HashSet};

use drape_fhir::json::Kind as J;

use super::Doc;
use crate::rewrite::Trace;

/// How a part of a record reaches the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Not at all.
    Not,
    /// With parts hidden, added or treated.
    Partly,
    /// Just as it stands.
    Whole,
}

/// A record beside what is shown of it.
#[derive(Debug)]
pub(super) struct Aligned {
    shown: Vec<Shown>,
    /// From the items of lists in what is shown to those in the record.
    origins: HashMap<usize, usize>,
}

impl Aligned {
    pub(super) fn of(&self, i: usize) -> Shown {
        self.shown.get(i).copied().unwrap_or(Shown::Not)
    }

    pub(super) fn is_whole(&self, i: usize) -> bool {
        self.of(i) == Shown::Whole
    }

    /// The item of the record that an item of what is shown came from; `None` for one that Drape put there itself.
    pub(super) fn origin(&self, item: usize) -> Option<usize> {
        self.origins.get(&item).copied()
    }
}

/// Lays `record` beside what was made of it.
pub(super) fn align(record: &Doc<'_>, view: &Doc<'_>, trace: &Trace) -> Aligned {
    let (last, _) = record.tape.end(0);
    let origins = trace
        .items
        .iter()
        .filter_map(|(at, token)| Some((view.tape.starting_at(*at)?, *token)))
        .collect::<HashMap<_, _>>();
    let mut work = Work {
        record,
        view,
        treated: trace.treated.iter().copied().collect(),
        aligned: Aligned { shown: vec![Shown::Not; last + 1], origins },
    };
    work.value(0, 0);
    work.aligned
}

struct Work<'a> {
    record: &'a Doc<'a>,
    view: &'a Doc<'a>,
    treated: HashSet<usize>,
    aligned: Aligned,
}

impl Work<'_> {
    fn value(&mut self, r: usize, v: usize) -> bool {
        let alike = match (self.record.kind(r), self.view.kind(v)) {
            (J::ObjectStart, J::ObjectStart) => self.object(r, v),
            (J::ArrayStart, J::ArrayStart) => self.array(r, v),
            (J::String, J::String) => {
                self.record.tape.text(self.record.text, r) == self.view.tape.text(self.view.text, v)
            }
            _ => self.record.tape.raw(self.record.text, r) == self.view.tape.raw(self.view.text, v),
        };
        let whole = alike && !self.treated.contains(&r);
        self.aligned.shown[r] = if whole { Shown::Whole } else { Shown::Partly };
        whole
    }

    fn object(&mut self, r: usize, v: usize) -> bool {
        let (record, view) = (self.record, self.view);
        let there: HashMap<_, usize> =
            view.tape.members(v).map(|(key, value)| (view.tape.name(view.text, key), value)).collect();
        let mut whole = true;
        let mut count = 0;
        for (key, value) in record.tape.members(r) {
            count += 1;
            whole &= match there.get(&*record.tape.name(record.text, key)) {
                Some(shown) => self.value(value, *shown),
                None => false,
            };
        }
        whole && there.len() == count
    }

    fn array(&mut self, r: usize, v: usize) -> bool {
        let (record, view) = (self.record, self.view);
        let items: Vec<usize> = record.tape.items(r).collect();
        let shown: Vec<usize> = view.tape.items(v).collect();
        let mut whole = items.len() == shown.len();
        for (place, item) in shown.into_iter().enumerate() {
            whole &= match self.aligned.origin(item) {
                Some(origin) => self.value(origin, item) && items.get(place) == Some(&origin),
                // What stands for nothing in one of two lists.
                None => {
                    view.kind(item) == J::Null && items.get(place).is_some_and(|i| record.kind(*i) == J::Null)
                }
            };
        }
        whole
    }
}
