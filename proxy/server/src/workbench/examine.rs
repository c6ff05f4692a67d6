//! Everything that can be said of a policy set before it decides anything: faults, warnings, notes.

use std::collections::BTreeSet;
use std::path::Path;

use drape_policy::guarantees::Guarantees;
use drape_policy::{Surroundings, lint};
use drape_view::{Fault, Redaction};
use serde_json::Value;

use super::files::SetFiles;
use super::personas::{Personas, caller, noon};
use super::testing;
use crate::config::{Policies, PolicySource, Upstream};
use crate::parts::{Loaded, load_policies};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It cannot be used.
    Fault,
    /// It can, but somebody probably meant something else.
    Warning,
    /// Worth knowing; nothing to mend.
    Note,
}

impl Severity {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What it is.
    pub fault: Fault,
}

/// What a set is examined for.
#[derive(Debug, Default)]
pub struct Asked<'a> {
    /// The server behind, where a configuration names one.
    pub upstream: Option<&'a Upstream>,
    /// Purpose of use → roles, as the issuers of a configuration have it. Else as personas.yaml has it.
    pub purposes: Option<Vec<(String, Vec<String>)>>,
    /// The role that opens the officer pages.
    pub officer_role: Option<&'a str>,
    /// The types that the server has, where that is known.
    pub served: Option<&'a [String]>,
}

/// Loads a set and looks it over.
pub fn examine(policies: &Policies, asked: &Asked<'_>) -> (Vec<Finding>, Option<Loaded>) {
    let mut found = Vec::new();
    let mut add = |severity, faults: Vec<Fault>| {
        found.extend(
            faults.into_iter().map(|fault| Finding { severity, fault: placed(fault, &policies.source) }),
        );
    };
    let (mut faults, mut warnings) = (Vec::new(), Vec::new());
    let personas = SetFiles::of(&policies.source).map_err(|f| vec![f]).and_then(|files| personas(&files));
    let personas = personas.map_err(|f| faults.extend(f)).unwrap_or_default();
    of_personas(&personas, &policies.source, &mut faults, &mut warnings);
    of_guarantees(&policies.source, &mut faults);
    if let Ok(files) = SetFiles::of(&policies.source)
        && let Err(found) = testing::read_all(&files)
    {
        faults.extend(found.into_iter().map(|f| kept(f, "tests")));
    }
    let loaded = match load_policies(policies, asked.upstream) {
        Err(more) => {
            faults.extend(more);
            None
        }
        Ok(loaded) => {
            warnings.extend(loaded.set.warnings().iter().cloned());
            if loaded.redaction == Redaction::Silent {
                warnings.extend(loaded.set.permitting("encrypt").map(|(place, id)| {
                    let what =
                        format!("`{id}` permits to encrypt, which a silent view cannot show: it is left out");
                    let fault = Fault::new(place, what).code("silent-encrypt");
                    let help = "drop the permit, or write `redaction: declared`";
                    match loaded.set.span(id, &["Action::\"encrypt\""]) {
                        Some(span) => fault.help(help).at(span),
                        None => fault.help(help),
                    }
                }));
            }
            let lint = lint(&loaded.set, &surroundings(&loaded, policies, &personas, asked));
            warnings.extend(lint.warnings);
            warnings
                .extend(asked.served.and_then(|types| drape_policy::lint::unreached_of(&loaded.set, types)));
            // What the server has says it better than all that there could be.
            add(Severity::Note, if asked.served.is_some() { Vec::new() } else { lint.notes });
            Some(loaded)
        }
    };
    add(Severity::Fault, faults);
    add(Severity::Warning, warnings);
    found.sort_by_key(|f| f.severity);
    (found, loaded)
}

/// The personas of a set; none where it has no such file.
pub fn personas(files: &SetFiles) -> Result<Personas, Vec<Fault>> {
    const NAME: &str = "personas.yaml";
    match files.read(NAME).map_err(|f| vec![f])? {
        None => Ok(Personas::default()),
        Some(text) => {
            let path = files.path(NAME);
            Personas::parse(&path, &text).map_err(|mut faults| {
                drape_view::yaml::locate(&mut faults, &path, &text);
                faults.into_iter().map(|f| kept(f, "personas")).collect()
            })
        }
    }
}

/// Each persona must make a caller, and should act in some role.
fn of_personas(
    personas: &Personas,
    source: &PolicySource,
    faults: &mut Vec<Fault>,
    warnings: &mut Vec<Fault>,
) {
    let Ok(files) = SetFiles::of(source) else { return };
    let Ok(Some(text)) = files.read("personas.yaml") else { return };
    let path = files.path("personas.yaml");
    let (mut wrong, mut idle) = (Vec::new(), Vec::new());
    for (name, persona) in personas.iter() {
        let place = format!("{path} personas.{name}.claims");
        match caller(&persona.claims, &personas.purposes, noon(1_795_000_000_000)) {
            Err(what) => wrong.push(Fault::new(place, format!("make no caller: {what}")).code("personas")),
            Ok(made) if made.roles.is_empty() && !made.held_roles.is_empty() => {
                let roles: Vec<&str> = made.held_roles.iter().map(String::as_str).collect();
                let what = format!(
                    "act in no role: the purpose `{}` does not activate {}",
                    made.purpose,
                    roles.join(", ")
                );
                let help = "`purposes` of this file says which purpose activates which roles";
                idle.push(Fault::new(place, what).code("idle-persona").help(help));
            }
            Ok(_) => {}
        }
    }
    for found in [&mut wrong, &mut idle] {
        drape_view::yaml::locate(found, &path, &text);
    }
    faults.extend(wrong);
    warnings.extend(idle);
}

/// What must hold of the set must be readable; whether it holds is proved elsewhere.
fn of_guarantees(source: &PolicySource, faults: &mut Vec<Fault>) {
    const NAME: &str = "guarantees.yaml";
    let Ok(files) = SetFiles::of(source) else { return };
    let path = files.path(NAME);
    match files.read(NAME) {
        Ok(None) => {}
        Ok(Some(text)) => {
            if let Err(mut found) = Guarantees::parse(&path, &text) {
                drape_view::yaml::locate(&mut found, &path, &text);
                faults.extend(found.into_iter().map(|f| kept(f, "guarantees")));
            }
        }
        Err(fault) => faults.push(fault),
    }
}

/// With the kind of file that it is in, where it has no kind of its own.
fn kept(fault: Fault, kind: &'static str) -> Fault {
    if fault.code == Fault::INVALID { fault.code(kind) } else { fault }
}

/// What callers and records can be like here.
fn surroundings(
    loaded: &Loaded,
    policies: &Policies,
    personas: &Personas,
    asked: &Asked<'_>,
) -> Surroundings {
    let named = |list: &[&str]| -> BTreeSet<String> { list.iter().map(|w| (*w).to_owned()).collect() };
    let own = Some(&personas.purposes).filter(|p| !p.is_empty());
    let mut labels = named(&STANDARD_LABELS);
    labels.extend(loaded.labels.words());
    labels.extend(loaded.overrides.words());
    let mut relations = named(&RELATIONS);
    relations.extend(loaded.facts.relations.iter().map(|r| r.is.clone()));
    for (_, persona) in personas.iter() {
        let claimed = persona.claims.get("relations").and_then(Value::as_array).into_iter().flatten();
        let words = claimed.filter_map(|r| r["is"].as_array()).flatten();
        relations.extend(words.filter_map(Value::as_str).map(str::to_owned));
    }
    Surroundings {
        borrowed: asked.purposes.is_some() && matches!(policies.source, PolicySource::Shipped(_)),
        purposes: asked.purposes.clone().or_else(|| own.cloned()).filter(|all| !all.is_empty()),
        roles_elsewhere: named(&[asked.officer_role.unwrap_or("privacy-officer")]),
        labels: Some(labels),
        relations: Some(relations),
    }
}

/// Labels that servers and people may give besides those of labels.yaml: sensitivities of v3 ActCode, the codes of v3
/// Confidentiality, and Drape's own.
const STANDARD_LABELS: [&str; 45] = [
    "42CFRPart2",
    "ADOL",
    "B",
    "CEL",
    "CELEBRITY",
    "COGN",
    "DEMO",
    "DIA",
    "DOB",
    "DRGIS",
    "DVD",
    "EMOTDIS",
    "EMP",
    "EMPL",
    "ETH",
    "ETHUD",
    "GDIS",
    "GENDER",
    "HARMFUL",
    "HIV",
    "L",
    "LIVARG",
    "LOCIS",
    "M",
    "MARITAL",
    "MH",
    "MST",
    "N",
    "OPIOIDUD",
    "PATSFTY",
    "PRS",
    "PSY",
    "PSYTHPN",
    "R",
    "RACE",
    "REL",
    "SDV",
    "SEX",
    "SICKLE",
    "SPI",
    "STD",
    "SUD",
    "TBOO",
    "U",
    "VIP",
];

/// The relations that docs/policies.md names; others are known by facts.yaml and personas.yaml.
const RELATIONS: [&str; 5] = ["careTeam", "generalPractitioner", "guardian", "treating", "ward"];

/// Names a policy's file as it lies in the folder of its set.
fn placed(fault: Fault, source: &PolicySource) -> Fault {
    let PolicySource::Directory(folder) = source else { return fault };
    let cedar = |span: &&drape_view::Span| span.file().ends_with(".cedar") && !span.file().contains('/');
    match fault.span.as_deref().filter(cedar).cloned() {
        Some(span) => {
            let name = Path::new(folder).join(span.file()).display().to_string();
            fault.at(span.named(name))
        }
        None => fault,
    }
}
