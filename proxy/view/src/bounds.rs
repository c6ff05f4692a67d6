//! What the scopes of a token leave of the records of one type.

use crate::facts::RecordFacts;
use crate::granular::Condition;

/// The records of one type that scopes cover: those that any of them does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    covers: Vec<Cover>,
}

/// What one scope covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cover {
    /// Only records about the patient in context.
    pub patient: bool,
    /// All of these must be met.
    pub conditions: Vec<Condition>,
}

/// More alternatives than this are not kept apart: what two tokens' worth of scopes leave together is then nothing.
const COVERS_MAX: usize = 1_000;

impl Bounds {
    /// Everything.
    pub fn free() -> Self {
        Self { covers: vec![Cover { patient: false, conditions: Vec::new() }] }
    }

    /// All about the patient in context.
    pub fn patient() -> Self {
        Self { covers: vec![Cover { patient: true, conditions: Vec::new() }] }
    }

    /// What any of these covers; `None` where there is none.
    pub fn of(covers: impl IntoIterator<Item = Cover>) -> Option<Self> {
        let mut covers: Vec<Cover> = covers
            .into_iter()
            .map(|mut cover| {
                cover.conditions.sort();
                cover.conditions.dedup();
                cover
            })
            .collect();
        covers.sort();
        covers.dedup();
        let plain = |patient| move |c: &Cover| c.conditions.is_empty() && c.patient == patient;
        if covers.iter().any(plain(false)) {
            return Some(Self::free());
        }
        if covers.iter().any(plain(true)) {
            covers.retain(|c| !c.patient || c.conditions.is_empty());
        }
        (!covers.is_empty()).then_some(Self { covers })
    }

    /// What both cover. Where there are too many ways to be covered, nothing is.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        if self == other || other.is_free() {
            return self.clone();
        }
        if self.is_free() {
            return other.clone();
        }
        if self.covers.len().saturating_mul(other.covers.len()) > COVERS_MAX {
            return Self { covers: Vec::new() };
        }
        let both = self.covers.iter().flat_map(|a| {
            other.covers.iter().map(|b| Cover {
                patient: a.patient || b.patient,
                conditions: a.conditions.iter().chain(&b.conditions).cloned().collect(),
            })
        });
        Self::of(both).unwrap_or(Self { covers: Vec::new() })
    }

    /// Whether every record is covered, whatever it says.
    pub fn is_free(&self) -> bool {
        self.covers.iter().any(|c| !c.patient && c.conditions.is_empty())
    }

    /// Whether only records about the patient in context are.
    pub fn patient_only(&self) -> bool {
        !self.covers.is_empty() && self.covers.iter().all(|c| c.patient)
    }

    /// Whether it depends on codes in the record.
    pub fn is_granular(&self) -> bool {
        self.covers.iter().any(|c| !c.conditions.is_empty())
    }

    /// The bounds of the server's own words that come with such records: they have no codes of their own, and where
    /// some records are held back by theirs, so are the words.
    #[must_use]
    pub fn of_words(&self) -> Self {
        if self.is_granular() { Self { covers: Vec::new() } } else { self.clone() }
    }

    /// What every covered record meets, as far as a search can ask for it: a record that does not is not covered.
    pub fn shared(&self) -> Vec<Condition> {
        let [first, rest @ ..] = &self.covers[..] else { return Vec::new() };
        let mut shared = Vec::new();
        for condition in &first.conditions {
            let mut joined = condition.clone();
            let all = rest.iter().all(|cover| {
                let mut same = cover.conditions.iter().filter(|c| c.parameter == condition.parameter);
                match (same.next(), same.next()) {
                    (Some(one), None) => {
                        joined.any.extend(one.any.iter().cloned());
                        true
                    }
                    _ => false,
                }
            });
            let named_once =
                first.conditions.iter().filter(|c| c.parameter == condition.parameter).count() == 1;
            if all && (named_once || rest.is_empty()) {
                joined.any.sort();
                joined.any.dedup();
                shared.push(joined);
            }
        }
        shared
    }

    /// Whether a record is covered. `about_context`: all that it says of whom it is about is the patient in context.
    pub fn cover(&self, main: Option<&RecordFacts>, about_context: impl Fn() -> bool) -> bool {
        self.covers.iter().any(|cover| {
            (!cover.patient || about_context())
                && (cover.conditions.is_empty()
                    || main.is_some_and(|m| cover.conditions.iter().all(|c| c.is_met(&m.tokens))))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cover(patient: bool, conditions: &[(&str, &str)]) -> Cover {
        let conditions = conditions.iter().map(|(n, v)| Condition::parse(n, v).unwrap()).collect();
        Cover { patient, conditions }
    }

    #[test]
    fn a_plain_scope_makes_the_granular_ones_beside_it_needless() {
        let lab = cover(true, &[("category", "laboratory")]);
        assert_eq!(Bounds::of([lab.clone(), cover(true, &[])]), Some(Bounds::patient()));
        assert_eq!(Bounds::of([lab.clone(), cover(false, &[]), cover(true, &[])]), Some(Bounds::free()));
        let mixed = Bounds::of([cover(true, &[]), cover(false, &[("category", "laboratory")])]).unwrap();
        assert!(!mixed.patient_only() && mixed.is_granular() && !mixed.is_free());
        assert_eq!(Bounds::of([]), None);
    }

    #[test]
    fn a_search_is_asked_for_what_every_alternative_needs() {
        let shared = |covers: &[Cover]| -> Vec<String> {
            let bounds = Bounds::of(covers.iter().cloned()).unwrap();
            bounds.shared().iter().map(|c| format!("{}={}", c.parameter, c.value())).collect()
        };
        let lab = cover(true, &[("category", "laboratory")]);
        let vital = cover(false, &[("category", "vital-signs"), ("status", "final")]);
        assert_eq!(shared(std::slice::from_ref(&lab)), ["category=laboratory"]);
        assert_eq!(shared(&[lab.clone(), vital.clone()]), ["category=laboratory,vital-signs"]);
        assert!(shared(&[lab, cover(true, &[("code", "1")])]).is_empty());
        assert_eq!(
            shared(&[cover(false, &[("category", "a"), ("category", "b")])]),
            ["category=a", "category=b"]
        );
        assert!(shared(&[cover(false, &[])]).is_empty());
    }

    #[test]
    fn two_bounds_together_cover_what_both_do() {
        let lab = Bounds::of([cover(false, &[("category", "laboratory")])]).unwrap();
        assert_eq!(Bounds::free().and(&lab), lab);
        assert_eq!(lab.and(&Bounds::free()), lab);
        let both = lab.and(&Bounds::patient());
        assert_eq!(Some(both), Bounds::of([cover(true, &[("category", "laboratory")])]));
        let many =
            |name: &str| Bounds::of((0..100).map(|n| cover(false, &[(name, &n.to_string())]))).unwrap();
        let none = many("code").and(&many("category"));
        assert!(!none.cover(None, || true) && !none.is_free());
    }
}
