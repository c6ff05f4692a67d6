//! Looks for the differences of verdicts, and for the least that each of them rests on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::space::{Case, Space};
use super::table::Table;
use super::words::{REASONS_MAX, told};
use super::{Difference, Key, What, differing, merge};

/// The type and what the policies of both sides say.
type Signatures = (u16, Vec<usize>, Vec<usize>);

/// Two sets before one caller, over every case.
pub(super) struct Search<'s, 'a> {
    pub(super) space: &'s Space,
    pub(super) tables: [Table<'a>; 2],
    keys: Vec<Key>,
    by_key: HashMap<Key, usize>,
    /// The differences of cases that both sides have met alike: their type and what the policies of both say.
    seen: HashMap<Signatures, Rc<[usize]>>,
}

impl<'s, 'a> Search<'s, 'a> {
    pub(super) fn new(space: &'s Space, tables: [Table<'a>; 2]) -> Self {
        Self { space, tables, keys: Vec::new(), by_key: HashMap::new(), seen: HashMap::new() }
    }

    /// All differences. `whole`: the cases are all that there are.
    pub(super) fn run(mut self, mut cases: Vec<Case>, whole: bool) -> Vec<Difference> {
        // From the plainest on, so that few have to be made plain.
        cases.sort_by_cached_key(|case| case.iter().skip(1).filter(|v| **v != 0).count());
        let mut met: BTreeMap<(usize, u16), Vec<usize>> = BTreeMap::new();
        let mut of_type: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (number, case) in cases.iter().enumerate() {
            of_type.entry(case[0]).or_default().push(number);
            for key in self.differing(case).iter() {
                met.entry((*key, case[0])).or_default().push(number);
            }
        }
        let mut found: Vec<Difference> = Vec::new();
        let mut known: HashMap<Vec<usize>, Why> = HashMap::new();
        for ((key, class), places) in met {
            // Where every case was looked at, what differs in the same cases rests on the same.
            let why = match known.get(&places).filter(|_| whole) {
                Some(why) => why.clone(),
                None => self.why(key, class, &places, &of_type[&class], &cases),
            };
            let difference = self.difference(key, class, &why);
            known.insert(places, why);
            merge(&mut found, difference);
        }
        found
    }

    /// The numbers of the differences in one case.
    fn differing(&mut self, case: &Case) -> Rc<[usize]> {
        let [old, new] = &mut self.tables;
        let seen = (case[0], old.signature(self.space, case), new.signature(self.space, case));
        if let Some(found) = self.seen.get(&seen) {
            return Rc::clone(found);
        }
        let (was, is) = (old.outcome(self.space, case), new.outcome(self.space, case));
        let mut found = Vec::new();
        for key in if was == is { Vec::new() } else { differing(&was, &is) } {
            let next = self.keys.len();
            let number = *self.by_key.entry(key.clone()).or_insert(next);
            if number == next {
                self.keys.push(key);
            }
            found.push(number);
        }
        let found: Rc<[usize]> = found.into();
        self.seen.insert(seen, Rc::clone(&found));
        found
    }

    fn why(&mut self, key: usize, class: u16, met: &[usize], all: &[usize], cases: &[Case]) -> Why {
        let (given, more) =
            self.reasons(cases, met, &mut |search, case| search.differing(case).contains(&key));
        let mut plain = vec![0; self.space.axes.len()];
        plain[0] = class;
        if !given.contains(&plain) {
            let example = given.first().cloned().unwrap_or(plain);
            return Why { example, given, unless: Vec::new(), more };
        }
        let mut unless = Vec::new();
        if met.len() < all.len() {
            let inside: BTreeSet<usize> = met.iter().copied().collect();
            let outside: Vec<usize> = all.iter().copied().filter(|n| !inside.contains(n)).collect();
            let spared = &mut |search: &mut Self, case: &Case| !search.differing(case).contains(&key);
            unless = self.reasons(cases, &outside, spared).0;
        }
        Why { example: plain, given: Vec::new(), unless, more: false }
    }

    /// The least that must be so for each of these cases to be as it is: every fact that can be plain is made plain.
    fn reasons(
        &mut self,
        cases: &[Case],
        met: &[usize],
        holds: &mut dyn FnMut(&mut Self, &Case) -> bool,
    ) -> (Vec<Case>, bool) {
        let mut found: Vec<Case> = Vec::new();
        for case in met.iter().map(|number| &cases[*number]) {
            let covers = |known: &Case| known.iter().zip(case).skip(1).all(|(k, v)| *k == 0 || k == v);
            if found.iter().any(covers) {
                continue;
            }
            if found.len() == REASONS_MAX * 4 {
                return (found, true);
            }
            let mut least = case.clone();
            for axis in 1..least.len() {
                let was = std::mem::take(&mut least[axis]);
                if was != 0 && !holds(self, &least) {
                    least[axis] = was;
                }
            }
            if !found.contains(&least) {
                found.push(least);
            }
        }
        (found, false)
    }

    fn difference(&mut self, key: usize, class: u16, why: &Why) -> Difference {
        let Key { what, from, to, kind } = self.keys[key].clone();
        let about = match what {
            What::Category(category) => Some(("show", category)),
            What::Change(category) => Some(("change", category)),
            What::Relate(category) => Some(("relate", category)),
            _ => None,
        };
        let mut example = why.example.clone();
        example[0] = class;
        let [old_policies, new_policies] =
            [0, 1].map(|side| self.tables[side].deciding(self.space, &example, about));
        Difference {
            what,
            types: self.space.types(class),
            from,
            to,
            kind,
            more: why.more || why.given.len() > REASONS_MAX,
            given: told(self.space, &why.given),
            unless: told(self.space, &why.unless),
            old_policies,
            new_policies,
        }
    }
}

/// What one difference rests on.
#[derive(Clone, Debug)]
struct Why {
    example: Case,
    given: Vec<Case>,
    unless: Vec<Case>,
    more: bool,
}
