//! `guarantees.yaml`: what must hold of a policy set, whoever asks for whatever record. Read strictly; proved elsewhere.

mod conditions;
mod words;

use std::collections::BTreeMap;

use drape_view::{Category, Fault};
use serde::Deserialize;
use serde_json::Value;

pub use conditions::{ASKED_MAX, body, question_schema};
pub use words::{QUESTIONS, REQUESTS};

/// The guarantees of a set.
#[derive(Clone, Debug, Default)]
pub struct Guarantees {
    /// In the order of the file.
    pub list: Vec<Guarantee>,
    /// Which purpose of use activates which roles, for guarantees that say `by_purpose`.
    pub purposes: BTreeMap<String, Vec<String>>,
    /// Where a set may be more permissive than the one that `--baseline` names.
    pub baseline_except: Vec<Case>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Guarantee {
    /// Its name, unique in the file.
    pub id: String,
    /// What it means to people, in one line.
    pub says: String,
    /// What must hold.
    pub claim: Claim,
    /// Whether only callers are meant whose roles are those that their purpose activates.
    pub by_purpose: bool,
}

/// What must hold.
#[derive(Clone, Debug)]
pub enum Claim {
    /// In no state does this happen.
    Never(Case),
    /// In every state this happens.
    Always(Case),
    /// In no state do all of these happen, for one caller at one moment.
    NeverTogether(Vec<Case>),
    /// No policy errs, whatever it is asked.
    NoPolicyErrs,
    /// Wherever this set lets something happen, the other one does too.
    NowhereMorePermissive {
        /// The other set.
        than: Other,
        /// But for these.
        except: Vec<Case>,
    },
}

/// Another set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Other {
    /// One that ships with Drape.
    Set(String),
    /// A folder; relative to the file that names it.
    Directory(String),
}

/// Somebody, something that happens, and under which conditions.
#[derive(Clone, Debug)]
pub struct Case {
    /// Who.
    pub who: Who,
    /// What happens.
    pub act: Act,
    /// A Cedar expression in JSON that must hold as well.
    pub when: Option<Value>,
    /// One that must not.
    pub unless: Option<Value>,
    /// How it reads.
    pub text: String,
}

/// Who is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Whoever it is.
    Anyone,
    /// Whoever acts in no role at all.
    NoRole,
    /// Whoever acts in one of these roles, whatever other roles she has.
    Roles(Vec<String>),
    /// Whoever acts in one of these roles and in no other.
    Only(Vec<String>),
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A record of one of these types reaches the caller in whatever form; of any type where none are named.
    Receives(Vec<String>),
    /// An element of one of these categories comes out in one of these treatments, by the names of the actions.
    Is(Vec<&'static str>, Vec<Category>),
    /// A request is permitted, for one of these types; for any where none are named.
    Request(Vec<&'static str>, Vec<String>),
    /// A question about a category is permitted: `searchBy`, `countBy`, `change`, `relate`.
    About(Vec<&'static str>, Vec<Category>),
    /// A noisy count is permitted.
    Aggregate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    purposes: Option<BTreeMap<String, Vec<String>>>,
    #[serde(default)]
    baseline: Baseline,
    #[serde(default)]
    guarantees: Vec<Value>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Baseline {
    #[serde(default)]
    except: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    id: String,
    says: String,
    never: Option<Value>,
    always: Option<Value>,
    never_together: Option<Vec<Value>>,
    no_policy_errs: Option<bool>,
    nowhere_more_permissive_than: Option<RawOther>,
    when: Option<Value>,
    unless: Option<Value>,
    #[serde(default)]
    by_purpose: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOther {
    set: Option<String>,
    directory: Option<String>,
    #[serde(default)]
    except: Vec<Value>,
}

const KINDS: &str =
    "one of: never, always, never_together, no_policy_errs: true, nowhere_more_permissive_than";

impl Guarantees {
    /// Reads the file; `path` is for messages. Every fault at once.
    pub fn parse(path: &str, yaml: &str) -> Result<Self, Vec<Fault>> {
        let file: File = drape_view::yaml::read(path, yaml)?;
        let mut faults = Vec::new();
        if file.version != 1 {
            let what = format!("`{}` is not known", file.version);
            faults.push(Fault::new(format!("{path} version"), what).help("write 1"));
        }
        let mut list: Vec<Guarantee> = Vec::new();
        for (place, value) in file.guarantees.into_iter().enumerate() {
            let name =
                value.get("id").and_then(Value::as_str).map_or_else(|| place.to_string(), str::to_owned);
            let path = format!("{path} guarantees[{name}]");
            match one(&path, value) {
                Ok(one) if list.iter().any(|g| g.id == one.id) => {
                    faults.push(Fault::new(path, "the id is taken").help("give each guarantee its own"));
                }
                Ok(one) if one.by_purpose && file.purposes.is_none() => {
                    let help = "list under `purposes` which roles each purpose of use activates";
                    faults.push(
                        Fault::new(path, "says `by_purpose`, but the file has no `purposes`").help(help),
                    );
                }
                Ok(one) => list.push(one),
                Err(found) => faults.extend(found),
            }
        }
        let baseline_except = cases(&format!("{path} baseline.except"), file.baseline.except, &mut faults);
        if list.is_empty() && faults.is_empty() && baseline_except.is_empty() {
            faults.push(Fault::new(path, "guarantees nothing").help("list at least one under `guarantees`"));
        }
        if faults.is_empty() {
            Ok(Self { list, purposes: file.purposes.unwrap_or_default(), baseline_except })
        } else {
            Err(faults)
        }
    }
}

impl Case {
    /// From a sentence such as `researcher is shown direct-identifier`.
    pub fn sentence(text: &str) -> Result<Self, Fault> {
        words::case(&Value::String(text.to_owned()))
            .map_err(|fault| Fault { path: format!("`{text}`"), ..fault })
    }

    /// Whether what happens happens to a record, so that conditions may speak of one.
    pub fn has_record(&self) -> bool {
        match &self.act {
            Act::Receives(_) | Act::Is(..) => true,
            Act::About(actions, _) => actions.iter().all(|a| matches!(*a, "change" | "relate")),
            Act::Request(..) | Act::Aggregate => false,
        }
    }
}

fn one(path: &str, value: Value) -> Result<Guarantee, Vec<Fault>> {
    let raw: Raw = serde_json::from_value(value)
        .map_err(|e| vec![Fault::new(path, e.to_string()).help(format!("it needs id, says, and {KINDS}"))])?;
    let mut faults = Vec::new();
    if !is_name(&raw.id) {
        faults.push(Fault::new(format!("{path} id"), "is no name").help("use small letters, digits and `-`"));
    }
    if raw.says.trim().is_empty() || raw.says.contains('\n') {
        faults.push(Fault::new(format!("{path} says"), "is not one line of text"));
    }
    let (when, unless) = (raw.when, raw.unless);
    let conditional = when.is_some() || unless.is_some();
    let with = |key: &str, value: Value, faults: &mut Vec<Fault>| {
        let mut case = word_case(&format!("{path} {key}"), &value, faults)?;
        for (key, given, kept) in [("when", &when, &mut case.when), ("unless", &unless, &mut case.unless)] {
            let Some(given) = given else { continue };
            if kept.is_some() {
                faults.push(Fault::new(format!("{path} {key}"), "is given twice").help("keep one"));
            }
            match conditions::read(given) {
                Ok(condition) => *kept = Some(condition),
                Err(fault) => faults.push(placed(&format!("{path} {key}"), fault)),
            }
        }
        fits(&format!("{path} {key}"), &case, faults);
        Some(case)
    };
    let mut claims: Vec<Claim> = Vec::new();
    let mut given = 0;
    if let Some(value) = raw.never {
        given += 1;
        claims.extend(with("never", value, &mut faults).map(Claim::Never));
    }
    if let Some(value) = raw.always {
        given += 1;
        claims.extend(with("always", value, &mut faults).map(Claim::Always));
    }
    let plain = raw.never_together.is_some()
        || raw.no_policy_errs.is_some()
        || raw.nowhere_more_permissive_than.is_some();
    if let Some(list) = raw.never_together {
        given += 1;
        let path = format!("{path} never_together");
        if !(2..=ASKED_MAX).contains(&list.len()) {
            faults.push(Fault::new(&path, format!("needs two to {ASKED_MAX} cases")));
        }
        claims.push(Claim::NeverTogether(cases(&path, list, &mut faults)));
    }
    match raw.no_policy_errs {
        None => {}
        Some(true) => {
            given += 1;
            claims.push(Claim::NoPolicyErrs);
        }
        Some(false) => {
            faults.push(Fault::new(format!("{path} no_policy_errs"), "says nothing").help("write true"));
        }
    }
    if let Some(other) = raw.nowhere_more_permissive_than {
        given += 1;
        let path = format!("{path} nowhere_more_permissive_than");
        let except = cases(&format!("{path}.except"), other.except, &mut faults);
        match (other.set, other.directory) {
            (Some(set), None) => {
                claims.push(Claim::NowhereMorePermissive { than: Other::Set(set), except });
            }
            (None, Some(folder)) => {
                claims.push(Claim::NowhereMorePermissive { than: Other::Directory(folder), except });
            }
            _ => faults.push(Fault::new(path, "needs `set` or `directory`, and not both")),
        }
    }
    if given != 1 {
        faults.push(Fault::new(path, format!("says {given} things that must hold")).help(KINDS));
    }
    if plain && conditional {
        let help = "put them into the cases themselves";
        faults.push(Fault::new(path, "`when` and `unless` belong to `never` and `always`").help(help));
    }
    match claims.pop() {
        Some(claim) if faults.is_empty() => {
            Ok(Guarantee { id: raw.id, says: raw.says, claim, by_purpose: raw.by_purpose })
        }
        _ => Err(faults),
    }
}

fn cases(path: &str, list: Vec<Value>, faults: &mut Vec<Fault>) -> Vec<Case> {
    let mut all = Vec::new();
    for (place, value) in list.iter().enumerate() {
        let path = format!("{path}[{place}]");
        if let Some(case) = word_case(&path, value, faults) {
            fits(&path, &case, faults);
            all.push(case);
        }
    }
    all
}

fn word_case(path: &str, value: &Value, faults: &mut Vec<Fault>) -> Option<Case> {
    words::case(value).map_err(|fault| faults.push(placed(path, fault))).ok()
}

fn placed(path: &str, fault: Fault) -> Fault {
    let at = if fault.path.is_empty() { path.to_owned() } else { format!("{path} {}", fault.path) };
    Fault { path: at, ..fault }
}

/// A condition on a record says nothing about a request for which there is none yet.
fn fits(path: &str, case: &Case, faults: &mut Vec<Fault>) {
    let conditions = [&case.when, &case.unless];
    if !case.has_record() && conditions.into_iter().flatten().any(conditions::reads_record) {
        let what = "asks for a record or a patient, but there is none yet when this is decided";
        faults
            .push(Fault::new(path, what).help("ask for purpose, roles, time of day, network or the caller"));
    }
}

fn is_name(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests;
