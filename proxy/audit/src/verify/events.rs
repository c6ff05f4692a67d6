//! The event store against the leaves: every event is verified, sealed, erased with a tombstone, or missing.

use std::collections::HashMap;

use super::tree::{Chains, follow};
use super::{Check, Exit, OpenIntent, Report};
use crate::event::{Class, Event};
use crate::leaf::Leaf;
use crate::seal::{self, EventSecret, OpenFault};
use crate::store::{Found, Scan, Segment, Stored, segments, within};
use crate::tiles::{WIDTH, read_entries};
use crate::tree::leaf_hash;

/// What tombstones say. Without the secret only that there are some.
struct Tombstones {
    ranges: Vec<(u64, u64)>,
    /// The index of the last tombstone.
    last: Option<u64>,
}

pub(super) fn check(check: &Check<'_>, size: u64, chains: Chains, report: &mut Report) {
    let segments = match segments(check.directory) {
        Ok(segments) => segments,
        Err(error) => {
            if size > 0 {
                report.events.missing = size;
                report.fault(Exit::Incomplete, format!("the event store cannot be read: {error}"));
            }
            return;
        }
    };
    let tombstones = tombstones(&segments, check.secret);
    let mut walk = Walk {
        check,
        size,
        tombstones,
        chains,
        next: 0,
        bundle: None,
        open: HashMap::new(),
        changed: Vec::new(),
        gaps: Vec::new(),
        broken: None,
        ciphers_failed: 0,
    };
    for segment in &segments {
        match segment.read() {
            Ok(bytes) => Scan::new(&bytes).for_each(|found| walk.step(segment, found, report)),
            Err(error) => {
                report.fault(Exit::Unreadable, format!("`{}` cannot be read: {error}", segment.name()))
            }
        }
    }
    walk.finish(report);
}

fn tombstones(segments: &[Segment], secret: Option<&EventSecret>) -> Tombstones {
    let mut tombstones = Tombstones { ranges: Vec::new(), last: None };
    for segment in segments {
        let Ok(bytes) = segment.read() else { continue };
        for found in Scan::new(&bytes) {
            let Found::Record(stored) = found else { continue };
            let Ok(leaf) = Leaf::decode(stored.leaf) else { continue };
            if leaf.class != Class::Tombstone {
                continue;
            }
            tombstones.last = Some(stored.index);
            let opened = secret.and_then(|secret| seal::open(secret, &leaf, stored.body).ok());
            if let Some(event) = opened.and_then(|event| Event::from_canonical(&event).ok()) {
                // A tombstone speaks only of what stood before it.
                let before = event.erased.into_iter().filter(|(_, last)| *last < stored.index);
                tombstones.ranges.extend(before);
            }
        }
    }
    tombstones
}

struct Walk<'a> {
    check: &'a Check<'a>,
    size: u64,
    tombstones: Tombstones,
    chains: Chains,
    next: u64,
    bundle: Option<(u64, Vec<Vec<u8>>)>,
    open: HashMap<(String, String), u64>,
    changed: Vec<String>,
    gaps: Vec<String>,
    /// Damage beyond the checkpoint: the entry it stands at, and what to say if it turns out to be none of a crash's.
    broken: Option<(u64, String)>,
    ciphers_failed: u64,
}

impl Walk<'_> {
    fn step(&mut self, segment: &Segment, found: Found<'_>, report: &mut Report) {
        let stored = match found {
            Found::Record(stored) => stored,
            Found::Broken(offset) => {
                let text = format!("`{}` is damaged at byte {offset}, entry {}", segment.name(), self.next);
                if self.next < self.size {
                    self.changed.push(text);
                } else {
                    self.broken.get_or_insert((self.next, text));
                }
                return;
            }
        };
        if let Some((at, text)) = self.broken.take_if(|(at, _)| stored.batch > *at) {
            self.changed.push(format!("{text}, although entry {at} had been made durable"));
        }
        if self.broken.is_some() {
            // The rest of a torn batch.
            return;
        }
        if stored.index < self.next {
            self.changed.push(format!("`{}` holds entry {} twice", segment.name(), stored.index));
            return;
        }
        self.gap(stored.index, report);
        self.next = stored.index + 1;
        if stored.index < self.size {
            self.covered(segment, &stored, report);
        } else {
            self.uncovered(segment, &stored, report);
        }
    }

    /// Entries up to `index` of which the store holds nothing.
    fn gap(&mut self, index: u64, report: &mut Report) {
        if index <= self.next {
            return;
        }
        let covered = index.min(self.size).saturating_sub(self.next);
        report.events.missing += covered;
        self.gaps.push(match index - self.next {
            1 => format!("the event of entry {} is missing from the event store", self.next),
            _ => format!(
                "the events of entries {} to {} are missing from the event store",
                self.next,
                index - 1
            ),
        });
    }

    fn covered(&mut self, segment: &Segment, stored: &Stored<'_>, report: &mut Report) {
        let index = stored.index;
        if self.entry(index).is_some_and(|entry| entry != stored.leaf) {
            self.changed.push(format!(
                "the leaf of entry {index} is another in `{}` than in the tree",
                segment.name()
            ));
        }
        let Ok(leaf) = Leaf::decode(stored.leaf) else { return };
        match self.judge(&leaf, stored) {
            State::Verified(event) => {
                report.events.verified += 1;
                self.pair(index, *event);
            }
            State::Sealed => report.events.sealed += 1,
            State::Erased => report.events.erased += 1,
            State::Missing => report.events.missing += 1,
            State::Changed => {}
        }
    }

    fn uncovered(&mut self, segment: &Segment, stored: &Stored<'_>, report: &mut Report) {
        let excused = stored.intact || within(&self.tombstones.ranges, stored.index);
        if !excused && self.tombstones.last.is_none_or(|last| last < stored.index) {
            // Perhaps a torn batch: the next batch, if there is one, says otherwise.
            let text = format!("the event of entry {} in `{}` was changed", stored.index, segment.name());
            self.broken.get_or_insert((stored.index, text));
            return;
        }
        report.tail += 1;
        let hash = leaf_hash(stored.leaf);
        self.changed.extend(follow(&mut self.chains, stored.index, stored.leaf, hash, false));
        let Ok(leaf) = Leaf::decode(stored.leaf) else { return };
        if let State::Verified(event) = self.judge(&leaf, stored) {
            self.pair(stored.index, *event);
        }
    }

    fn judge(&mut self, leaf: &Leaf, stored: &Stored<'_>) -> State {
        let index = stored.index;
        let tombstoned = within(&self.tombstones.ranges, index) && leaf.class != Class::Tombstone;
        if stored.wiped() {
            // Without the secret a tombstone's range cannot be read; that there is a later one has to do.
            let unknown =
                self.check.secret.is_none() && self.tombstones.last.is_some_and(|last| last > index);
            if tombstoned || unknown {
                return State::Erased;
            }
            self.changed.push(format!("the event of entry {index} was erased without a tombstone"));
            return State::Missing;
        }
        let changed = format!("the event of entry {index} was changed");
        let Some(secret) = self.check.secret else {
            if stored.intact {
                return State::Sealed;
            }
            self.changed.push(changed);
            return State::Changed;
        };
        match seal::open(secret, leaf, stored.body) {
            Ok(_) if tombstoned => {
                self.gaps.push(format!(
                    "entry {index} has a tombstone, but its event can still be read: the erasure did not finish"
                ));
                State::Changed
            }
            Ok(event) => match Event::from_canonical(&event) {
                Ok(event) => State::Verified(Box::new(event)),
                Err(fault) => {
                    self.changed.push(format!("the event of entry {index} is not one of ours: {fault}"));
                    State::Changed
                }
            },
            Err(_) if tombstoned => {
                self.gaps.push(format!("the erasure of entry {index} did not finish"));
                State::Erased
            }
            Err(fault) => {
                self.ciphers_failed += u64::from(fault == OpenFault::Cipher && stored.intact);
                self.changed.push(format!("{changed}: {fault}"));
                State::Changed
            }
        }
    }

    /// Ties outcomes to their intents.
    fn pair(&mut self, index: u64, event: Event) {
        match event.class {
            Class::Intent => {
                self.open.insert((event.tenant, event.request), index);
            }
            Class::Outcome => {
                self.open.remove(&(event.tenant, event.request));
            }
            _ => {}
        }
    }

    /// The entry in the tree, from its bundle; bundles are read once, in order.
    fn entry(&mut self, index: u64) -> Option<&[u8]> {
        let number = index / WIDTH;
        if self.bundle.as_ref().is_none_or(|(at, _)| *at != number) {
            let width = (self.size - number * WIDTH).min(WIDTH);
            self.bundle =
                Some((number, read_entries(self.check.directory, number, width).unwrap_or_default()));
        }
        let (_, entries) = self.bundle.as_ref()?;
        entries.get((index % WIDTH) as usize).map(Vec::as_slice)
    }

    fn finish(mut self, report: &mut Report) {
        self.gap(self.size, report);
        if let Some((at, _)) = &self.broken {
            report.notes.push(format!(
                "the last batch is torn at entry {at}: a crash, or a write that is under way; nobody was told that it \
                 is durable"
            ));
        }
        if self.ciphers_failed > 0
            && report.events.verified == 0
            && self.changed.len() as u64 == self.ciphers_failed
        {
            report.fault(
                Exit::Unreadable,
                "no event opens under the secret that was given: it is not this log's",
            );
            self.changed.clear();
        }
        report.faults_of(Exit::Tampered, std::mem::take(&mut self.changed));
        report.faults_of(Exit::Incomplete, std::mem::take(&mut self.gaps));
        let open = self.open.into_iter();
        let mut open: Vec<OpenIntent> =
            open.map(|((tenant, request), index)| OpenIntent { index, tenant, request }).collect();
        open.sort();
        report.open_intents = open;
    }
}

enum State {
    Verified(Box<Event>),
    Sealed,
    Erased,
    Missing,
    Changed,
}
