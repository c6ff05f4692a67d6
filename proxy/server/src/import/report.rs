//! How each rule was carried over: to the letter, by the nearest thing that is no laxer, or not at all, and why.

use std::collections::BTreeSet;
use std::fmt;

use drape_view::Treatment;

use super::elements::{Leaf, RECEIVED};
use super::plan::Plan;
use super::rules::{Method, RuleFile};

/// What became of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Every element that it decides is treated as it says.
    Exactly,
    /// By something else, which is no laxer.
    Stricter,
    /// It decides nothing.
    Nowhere,
}

/// One line of the report.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) place: String,
    pub(super) path: String,
    pub(super) method: Method,
    pub(super) outcome: Outcome,
    pub(super) remarks: Vec<String>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}` {}: {}", self.place, self.path, self.method.name(), self.remarks.join("; "))
    }
}

/// Examples of elements that a line names.
const EXAMPLES_MAX: usize = 4;

/// A line for each rule.
pub(super) fn rules(file: &RuleFile, leaves: &[Leaf], plan: &Plan) -> Vec<Line> {
    let line = |(number, rule): (usize, &super::rules::Rule)| {
        let mut remarks = Vec::new();
        let (mut decided, mut named) = (0, 0);
        let mut differ: Vec<(String, Treatment)> = Vec::new();
        for (leaf, fate) in leaves.iter().zip(&plan.fates) {
            let Some((_, wants)) = fate.by.iter().find(|(n, _)| *n == number) else {
                let hits = |s: &super::fhirpath::Selector| {
                    s.hits(leaf.resource_type, &leaf.nodes) != super::fhirpath::Hit::No
                };
                named += usize::from(rule.selectors.iter().any(hits));
                continue;
            };
            decided += 1;
            // The ids of elements lead nowhere from outside and are told of nowhere.
            if fate.is != *wants && !leaf.is_inner_id() {
                // One reference may lead to records of several kinds, which are not treated alike.
                let kind = if leaf.is_link() { format!(" ({})", leaf.category) } else { String::new() };
                differ.push((leaf.path() + &kind, fate.is));
            }
        }
        let mut outcome = Outcome::Exactly;
        if decided == 0 {
            outcome = Outcome::Nowhere;
            remarks.push(if named > 0 {
                "rules before it decide all that it names".to_owned()
            } else {
                format!("no record that recipients receive (the group `{RECEIVED}`) has such an element")
            });
        }
        for narrowed in rule.selectors.iter().filter_map(|s| s.narrowed.as_ref()) {
            outcome = outcome.worse();
            remarks.push(match rule.method {
                Method::Keep => format!("{narrowed}, which policies cannot ask; nothing is kept by it"),
                _ => format!("{narrowed}, which policies cannot ask; it is followed everywhere"),
            });
        }
        if let Some(what) = instead(rule.method).filter(|_| decided > 0) {
            outcome = outcome.worse();
            remarks.push(what.to_owned());
        }
        if rule.method == Method::Redact
            && file.parameters.partial_ages
            && leaves
                .iter()
                .zip(&plan.fates)
                .any(|(l, f)| l.within("Age") && f.by.iter().any(|(n, _)| *n == number))
        {
            outcome = outcome.worse();
            remarks.push("ages of up to 89 go too".to_owned());
        }
        if !rule.settings.is_empty() {
            outcome = outcome.worse();
            let names: Vec<String> = rule.settings.iter().map(|s| format!("`{s}`")).collect();
            remarks.push(match rule.method {
                Method::Pseudonymize => {
                    format!("{}: the pseudonyms are those of the tenant's `project`", names.join(", "))
                }
                _ => format!("{} was not carried over", names.join(", ")),
            });
        }
        if !differ.is_empty() {
            outcome = outcome.worse();
            remarks.push(differences(&differ));
        }
        Line { place: rule.place.clone(), path: rule.path.clone(), method: rule.method, outcome, remarks }
    };
    file.rules.iter().enumerate().map(line).collect()
}

impl Outcome {
    fn worse(self) -> Self {
        if self == Self::Nowhere { self } else { Self::Stricter }
    }
}

/// What stands for a method that Drape does not have.
fn instead(method: Method) -> Option<&'static str> {
    match method {
        Method::DateShift => Some("dates are not shifted: the year stays, of instants nothing"),
        Method::Substitute => Some("Drape puts nothing else in an element's place: it goes"),
        Method::Perturb => Some("Drape adds noise to counts alone: the element goes"),
        Method::Generalize => Some("its cases were not read: the element goes"),
        Method::Keep | Method::Redact | Method::CryptoHash | Method::Encrypt | Method::Pseudonymize => None,
    }
}

fn differences(differ: &[(String, Treatment)]) -> String {
    let mut told: Vec<String> = Vec::new();
    let mut treatments: Vec<Treatment> = differ.iter().map(|(_, t)| *t).collect();
    treatments.sort_unstable();
    treatments.dedup();
    for treatment in treatments {
        let paths: BTreeSet<&str> =
            differ.iter().filter(|(_, t)| *t == treatment).map(|(path, _)| path.as_str()).collect();
        // Those at the top of a record say most.
        let mut sorted: Vec<&&str> = paths.iter().collect();
        sorted.sort_by_key(|p| p.matches('.').count());
        let quoted = |p: &str| match p.split_once(' ') {
            Some((path, kind)) => format!("`{path}` {kind}"),
            None => format!("`{p}`"),
        };
        let some: Vec<String> = sorted.iter().take(EXAMPLES_MAX).map(|p| quoted(p)).collect();
        let more = match paths.len().saturating_sub(EXAMPLES_MAX) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        told.push(format!("{}{more} {}", some.join(", "), ends(treatment, paths.len() == 1)));
    }
    told.join("; ")
}

fn ends(treatment: Treatment, one: bool) -> String {
    let (go, are) = if one { ("goes", "is") } else { ("go", "are") };
    match treatment {
        Treatment::Redact => go.to_owned(),
        Treatment::Show => format!("{are} shown"),
        Treatment::Generalize(_) => format!("{are} generalised"),
        Treatment::Pseudonymize => format!("{are} pseudonymised"),
        Treatment::Encrypt => format!("{are} encrypted"),
    }
}
