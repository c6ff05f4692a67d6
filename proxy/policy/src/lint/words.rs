//! Words in policies that nothing can produce: roles, purposes, labels, relations.

use std::collections::{BTreeMap, BTreeSet};

use drape_view::Fault;
use drape_view::fault::{known, near};
use serde_json::Value;

use super::logic::{Atom, Formula, PURPOSE, list, literal, path, role};
use super::{Lint, Surroundings, listed};
use crate::set::Loaded;

/// Something that a condition asks about.
pub(super) struct Word {
    /// As messages tell it.
    pub(super) told: String,
    /// A piece of the policy's text that stands for it.
    pub(super) written: String,
}

/// What a condition asks about, the first first.
pub(super) fn of_formula(formula: &Formula) -> Vec<Word> {
    let mut atoms = Vec::new();
    formula.atoms(&mut atoms);
    let word = |atom: &&Atom| match atom {
        Atom::Among(thing, _) | Atom::AtMost(thing, _) => {
            Some(Word { told: format!("`{thing}`"), written: thing.clone() })
        }
        Atom::Whether(text) if !text.starts_with('{') => {
            // `context.record.labels contains HIV`, `principal in Role::"x"`, `context.patient.known`.
            let written = text.rsplit(' ').next().unwrap_or_default().to_owned();
            Some(Word { told: format!("`{}`", text.split(' ').next().unwrap_or_default()), written })
        }
        Atom::Whether(_) => None,
    };
    atoms.iter().filter_map(word).collect()
}

/// The roles that a policy names.
pub(super) fn roles_of(formula: &Formula) -> BTreeSet<String> {
    let mut atoms = Vec::new();
    formula.atoms(&mut atoms);
    atoms.into_iter().filter_map(role).map(str::to_owned).collect()
}

/// The purposes that a policy names.
pub(super) fn purposes_of(formula: &Formula) -> BTreeSet<String> {
    let mut atoms = Vec::new();
    formula.atoms(&mut atoms);
    let values = atoms.into_iter().filter_map(|atom| match atom {
        Atom::Among(thing, values) if thing == PURPOSE => Some(values),
        _ => None,
    });
    values.flatten().cloned().collect()
}

/// Tells of every such word, once for each, with the policies that use it.
pub(super) fn look(policies: &[Loaded], around: &Surroundings, found: &mut Lint) {
    let mut named = BTreeSet::new();
    let (mut roles, mut purposes) = (Uses::default(), Uses::default());
    let (mut labels, mut relations) = (Uses::default(), Uses::default());
    for loaded in policies {
        let formula = Formula::of(&loaded.json);
        for role in roles_of(&formula) {
            named.insert(role.clone());
            roles.entry(role).or_default().push(loaded);
        }
        for purpose in purposes_of(&formula) {
            purposes.entry(purpose).or_default().push(loaded);
        }
        contained(&loaded.json["conditions"], &mut |set, word| {
            let uses = match set {
                "context.record.labels"
                | "context.patient.labels"
                | "context.patient.consentReleases"
                | "context.patient.consentDenies" => &mut labels,
                "context.patient.relations" => &mut relations,
                _ => return,
            };
            let of = uses.entry(word.to_owned()).or_default();
            if !of.iter().any(|l: &&Loaded| l.id == loaded.id) {
                of.push(loaded);
            }
        });
    }
    if let Some(all) = &around.purposes {
        of_roles(all, &named, &roles, around, found);
        let here: Vec<&str> = all.iter().map(|(p, _)| p.as_str()).collect();
        for (word, uses) in &purposes {
            if word.is_empty() || here.contains(&word.as_str()) || PURPOSES.contains(&word.as_str()) {
                continue;
            }
            let what = format!("{} for the purpose `{word}`, which is no purpose of use", ask(uses));
            let codes = here.iter().copied().chain(PURPOSES);
            let help = match near(word, codes) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("here: {}; others are codes of v3 PurposeOfUse", here.join(", ")),
            };
            found.warnings.extend(at(uses, "unknown-purpose", what, word).map(|f| f.help(help)));
        }
    }
    if let Some(all) = &around.labels {
        for (word, uses) in labels.iter().filter(|(word, _)| !all.contains(*word)) {
            let what =
                format!("{} for the label `{word}`, which nothing gives to a record or patient", ask(uses));
            let help = match near(word, all.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "name it in labels.yaml or the overrides; where the server itself says it, under `closure`: `{word}: []`"
                ),
            };
            found.warnings.extend(at(uses, "unknown-label", what, word).map(|f| f.help(help)));
        }
    }
    if let Some(all) = &around.relations {
        for (word, uses) in relations.iter().filter(|(word, _)| !all.contains(*word)) {
            let what = format!("{} for the relation `{word}`, which nobody has to a patient", ask(uses));
            let help = match near(word, all.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    "name it in facts.yaml (`is`), or give it to a persona whose token claims it".to_owned()
                }
            };
            found.warnings.extend(at(uses, "unknown-relation", what, word).map(|f| f.help(help)));
        }
    }
}

type Uses<'a> = BTreeMap<String, Vec<&'a Loaded>>;

/// Roles that no purpose activates, and roles that are activated for nothing.
fn of_roles(
    purposes: &[(String, Vec<String>)],
    named: &BTreeSet<String>,
    roles: &Uses<'_>,
    around: &Surroundings,
    found: &mut Lint,
) {
    let active: BTreeSet<&str> = purposes.iter().flat_map(|(_, roles)| roles).map(String::as_str).collect();
    for (role, uses) in roles {
        if active.contains(role.as_str()) || around.borrowed {
            continue;
        }
        let verb = if uses.len() == 1 { "speaks" } else { "speak" };
        let what = format!("{} {verb} of the role `{role}`, which no purpose activates", by(uses));
        let help = known(role, active.iter().copied().collect::<Vec<_>>());
        found.warnings.extend(at(uses, "unknown-role", what, role).map(|f| f.help(help)));
    }
    let mut idle: Vec<&str> = active.into_iter().filter(|r| !named.contains(*r)).collect();
    idle.retain(|role| !around.roles_elsewhere.contains(*role));
    for role in &idle {
        // Roles without policies are common; one that is nearly a policy's own is not.
        if let Some(meant) = near(role, named.iter().map(String::as_str)) {
            let of: Vec<&str> = purposes
                .iter()
                .filter(|(_, r)| r.iter().any(|r| r == role))
                .map(|(p, _)| p.as_str())
                .collect();
            let what = format!("{} activates the role `{role}`, of which no policy speaks", listed(&of));
            let fault = Fault::new("purposes", what).code("unknown-role");
            found.warnings.push(fault.help(format!("did you mean `{meant}`?")));
        }
    }
    idle.retain(|role| near(role, named.iter().map(String::as_str)).is_none());
    if !idle.is_empty() {
        let what = format!("no policy speaks of the roles {}", listed(&idle));
        let fault = Fault::new("purposes", what).code("idle-role");
        found.notes.push(fault.help("who acts in them alone is permitted what everybody is"));
    }
}

/// A warning at the first policy that uses the word.
fn at(uses: &[&Loaded], code: &'static str, what: String, word: &str) -> Option<Fault> {
    Some(uses.first()?.fault(code, what, &[&format!("\"{word}\"")]))
}

fn by(uses: &[&Loaded]) -> String {
    let ids: Vec<&str> = uses.iter().map(|l| l.id.as_str()).collect();
    match ids.len() {
        0..=4 => listed(&ids),
        more => format!("{} and {} more", listed(&ids[..3]), more - 3),
    }
}

fn ask(uses: &[&Loaded]) -> String {
    format!("{} {}", by(uses), if uses.len() == 1 { "asks" } else { "ask" })
}

/// Every `set.contains("word")`, `containsAny`, `containsAll`.
fn contained<'a>(value: &'a Value, found: &mut impl FnMut(&str, &'a str)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| contained(item, found)),
        Value::Object(map) => {
            for (op, body) in map {
                if matches!(op.as_str(), "contains" | "containsAny" | "containsAll")
                    && let Some(set) = path(&body["left"])
                {
                    let right = &body["right"];
                    let items = list(right).map_or_else(|| vec![right], |items| items.iter().collect());
                    items.into_iter().filter_map(literal).for_each(|word| found(&set, word));
                }
                contained(body, found);
            }
        }
        _ => {}
    }
}

/// The codes of HL7 v3 PurposeOfUse, R4's value set.
const PURPOSES: [&str; 62] = [
    "BIORCH",
    "BTG",
    "CAREMGT",
    "CLINTRCH",
    "CLINTRCHNPC",
    "CLINTRCHPC",
    "CLINTRL",
    "CLMATTCH",
    "COC",
    "COVAUTH",
    "COVERAGE",
    "DISASTER",
    "DONAT",
    "DSRCH",
    "ELIGDTRM",
    "ELIGVER",
    "ENROLLM",
    "ERTREAT",
    "ETREAT",
    "FAMRQT",
    "FRAUD",
    "GOV",
    "HACCRED",
    "HCOMPL",
    "HDECD",
    "HDIRECT",
    "HDM",
    "HLEGAL",
    "HMARKT",
    "HOPERAT",
    "HOUTCOMS",
    "HPAYMT",
    "HPRGRP",
    "HQUALIMP",
    "HRESCH",
    "HSYSADMIN",
    "LABELING",
    "LEGAL",
    "MEMADMIN",
    "METAMGT",
    "MILCDM",
    "MILDCRG",
    "PATADMIN",
    "PATRQT",
    "PATSFTY",
    "PERFMSR",
    "POARCH",
    "POPHLTH",
    "PRECLINTRCH",
    "PUBHLTH",
    "PWATRNY",
    "RECORDMGT",
    "REMITADV",
    "SUPNWK",
    "SYSDEV",
    "THREAT",
    "TRAIN",
    "TRANSRCH",
    "TREAT",
    "TREATDS",
    "VALDTN",
    "WELLNESS",
];
