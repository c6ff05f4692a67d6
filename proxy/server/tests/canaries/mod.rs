//! Makes records of any type with every element filled in, each value a canary of its own, finds canaries again in
//! whatever way they are written, and keeps account of which elements of the definitions were ever filled.

#![allow(dead_code, unused_imports, reason = "each test binary uses its own part")]

mod find;
mod make;
pub(crate) mod valid;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use drape_fhir::definitions::{Element, TypeKind, r4};
use drape_view::{Category, Coarsening, Plan, Treatment};
use parking_lot::Mutex;

pub(crate) use find::find;
pub(crate) use make::make;

/// One value that can be told from all others.
pub(crate) struct Canary {
    /// It may be seen only where all of these are shown.
    pub(crate) needs: Vec<Category>,
    /// The data types it stands in, with the category by which each is treated as one thing.
    pub(crate) within: Vec<(Category, &'static str)>,
    /// Where it stands, for messages.
    pub(crate) path: String,
    /// Which of the entry's records it belongs to.
    pub(crate) place: usize,
    /// Whether it must be seen where its categories are shown; else it only must not be seen where they are not.
    pub(crate) certain: bool,
}

impl Canary {
    /// Whether `plan` lets it be seen.
    pub(crate) fn may_show(&self, plan: &Plan) -> bool {
        // Of an address that keeps its town, town and postal code are shown as they are.
        let town = self.path.ends_with(".city") || self.path.ends_with(".postalCode");
        let city = Treatment::Generalize(Coarsening::City);
        self.needs.iter().all(|c| {
            plan.treatment(*c) == Treatment::Show
                || town && *c == Category::Address && plan.treatment(*c) == city
        })
    }

    /// Whether `plan` leaves it no way to be hidden.
    pub(crate) fn must_show(&self, plan: &Plan) -> bool {
        let whole = self.within.iter().all(|(category, kind)| match plan.treatment(*category) {
            Treatment::Show | Treatment::Redact => true,
            // Only some types are replaced as one thing.
            Treatment::Generalize(_) => *kind != "Age",
            Treatment::Pseudonymize => *kind != "Identifier",
            Treatment::Encrypt => false,
        });
        // What only gives shape goes with the content around it; an address goes with its `use`; a profile's claim with
        // whatever else goes. Without its codes from fixed lists no part of a record is valid.
        let shape = self.needs.contains(&Category::Structure) && !self.path.contains("(definition)");
        let address = self.within.iter().any(|(_, kind)| *kind == "Address");
        let profile = self.path.contains(".meta.profile");
        let part =
            self.path.matches('.').count() > 1 && plan.treatment(Category::Structure) != Treatment::Show;
        // The id of an element goes with the element.
        let numbered = self.path.ends_with(".id") && self.path.matches('.').count() > 1;
        self.certain
            && self.may_show(plan)
            && whole
            && !shape
            && !numbered
            && !profile
            && !part
            && (!address || plan.treatment(Category::Region) == Treatment::Show)
    }
}

/// A record as text, and its canaries.
pub(crate) struct Made {
    pub(crate) text: String,
    pub(crate) canaries: Vec<Canary>,
}

/// How a record is filled.
#[derive(Clone, Copy)]
pub(crate) struct Filling {
    /// Which of several choices is taken.
    pub(crate) turn: usize,
    /// The first canary's number, so that records in one Bundle share none.
    pub(crate) from: usize,
    /// Whether modifier extensions stand in it: then no reduced view may have it.
    pub(crate) modifiers: bool,
}

/// The URLs of the listed extensions.
pub(crate) fn listed(yaml: &str) -> Vec<(String, Category)> {
    let lines = yaml.lines().skip_while(|l| *l != "extensions:").skip(1);
    let pairs = lines.filter_map(|l| l.trim().rsplit_once(": "));
    let all: Vec<_> = pairs.map(|(url, name)| (url.to_owned(), Category::parse(name).unwrap())).collect();
    assert!(all.len() > 5);
    all
}

/// An element with its names in JSON, each with the type that it implies.
pub(crate) struct Named {
    pub(crate) element: &'static Element,
    pub(crate) names: Vec<(String, &'static str)>,
}

/// The elements of a type or of an element nested in one.
#[derive(Default)]
pub(crate) struct Elements {
    pub(crate) list: Vec<Named>,
    /// Each name, and each with an underscore, with its element's place and its type.
    pub(crate) by_name: HashMap<String, (usize, &'static str)>,
}

/// The elements at a path, worked out once.
pub(crate) fn named(path: &'static str) -> Arc<Elements> {
    static ALL: Mutex<BTreeMap<&str, Arc<Elements>>> = Mutex::new(BTreeMap::new());
    let make = || {
        let mut elements = Elements::default();
        for (place, element) in r4().elements(path).iter().enumerate() {
            let names: Vec<_> = element.json_names().collect();
            for (name, data_type) in &names {
                elements.by_name.insert(format!("_{name}"), (place, data_type));
                elements.by_name.insert(name.clone(), (place, data_type));
            }
            elements.list.push(Named { element, names });
        }
        Arc::new(elements)
    };
    Arc::clone(ALL.lock().entry(path).or_insert_with(make))
}

/// Which elements were filled, each with each of its types, and how often; and whether a canary stood there.
#[derive(Default)]
pub(crate) struct Coverage {
    filled: HashMap<&'static str, Vec<(u32, bool)>>,
}

/// What of the definitions was filled.
#[derive(Debug, Default)]
pub(crate) struct Covered {
    /// Elements of types that are sent, a choice as many times as it has types.
    pub(crate) all: usize,
    /// With a canary at least once.
    pub(crate) canaries: usize,
    /// Filled without a canary, by why there can be none.
    pub(crate) without: BTreeMap<&'static str, usize>,
    /// Never filled.
    pub(crate) missing: Vec<String>,
}

impl Coverage {
    /// How often each type of an element was filled, in their order.
    fn counts(&self, path: &'static str) -> &[(u32, bool)] {
        self.filled.get(path).map(Vec::as_slice).unwrap_or_default()
    }

    /// The type that was filled least often, from `start` on, of those that fit.
    fn turn(&self, path: &'static str, of: usize, start: usize, fits: impl Fn(usize) -> bool) -> usize {
        let counts = self.counts(path);
        let turns = (0..of).map(|n| (start + n) % of).filter(|n| fits(*n));
        turns.min_by_key(|n| counts.get(*n).map_or(0, |(count, _)| *count)).unwrap_or(0)
    }

    fn note(&mut self, path: &'static str, turn: usize, canary: bool) {
        let counts = self.filled.entry(path).or_default();
        counts.resize(counts.len().max(turn + 1), (0, false));
        counts[turn].0 += 1;
        counts[turn].1 |= canary;
    }

    /// Whether every choice below a type had its turn.
    pub(crate) fn is_complete(&self, name: &'static str) -> bool {
        elements_below(name).all(|(path, data_type, n)| {
            let had = self.counts(path).get(n).copied().unwrap_or_default();
            // What had so many turns without a canary has no room for one.
            had.1 || had.0 > 0 && data_type == "boolean" || had.0 > 8
        })
    }

    /// Held against the definitions.
    pub(crate) fn covered(&self) -> Covered {
        let mut covered = Covered::default();
        let sent = |name: &&str| matches!(r4().kind(name), Some(TypeKind::Resource | TypeKind::Complex));
        // What the others inherit from these stands in each of them.
        let own = |name: &&str| !["Element", "BackboneElement"].contains(name);
        for name in r4().type_names().filter(sent).filter(own) {
            for (path, data_type, n) in elements_below(name) {
                covered.all += 1;
                match self.counts(path).get(n) {
                    Some((_, true)) => covered.canaries += 1,
                    Some((1.., _)) => match why_not(path, data_type) {
                        Some(why) => *covered.without.entry(why).or_default() += 1,
                        None => covered.missing.push(format!("{path} ({data_type}) never had a canary")),
                    },
                    _ => covered.missing.push(format!("{path} ({data_type})")),
                }
            }
        }
        covered
    }
}

/// Why an element that is filled has no canary in it.
fn why_not(path: &str, data_type: &str) -> Option<&'static str> {
    match path {
        _ if data_type == "boolean" => Some("a boolean is one of two"),
        "Patient.id" => Some("the patient in question is always the same"),
        "Extension.url" => Some("an extension's URL says which it is"),
        _ if data_type == "date" => Some("a record's own date is the same in all, so that all are recent"),
        _ => None,
    }
}

/// Every element of a type and of the elements nested in it, with each type that it may have and that type's place.
fn elements_below(path: &'static str) -> Box<dyn Iterator<Item = (&'static str, &'static str, usize)>> {
    Box::new(r4().elements(path).iter().flat_map(|element| {
        let own: Vec<_> = match element.content_reference {
            Some(_) => vec![(element.path, "its own kind", 0)],
            None => element.types().enumerate().map(|(n, t)| (element.path, t, n)).collect(),
        };
        let nested = element.types().any(|t| t == "BackboneElement" || t == "Element");
        own.into_iter().chain(elements_below(if nested { element.path } else { "" }))
    }))
}
