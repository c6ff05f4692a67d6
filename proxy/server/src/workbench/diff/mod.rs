//! What a change of policies changes: for each persona, type and category, over all records or over a corpus.

pub mod callers;
pub mod corpus;
pub mod lines;
pub mod texts;

use std::sync::Arc;

use drape_policy::compare::{self, CASES_MAX, Side};
use drape_policy::{Decider, Standing};
use drape_view::{Caller, Redaction};

use crate::parts::Loaded;
use crate::workbench::personas::Personas;
use lines::{Line, Lines};
use texts::FileChange;

/// One of the two that are compared.
#[derive(Debug)]
pub struct Set {
    /// How it is called.
    pub name: String,
    /// What decides.
    pub loaded: Loaded,
    /// Its personas.
    pub personas: Personas,
    decider: Arc<Decider>,
}

impl Set {
    /// Ready to be asked.
    pub fn new(name: String, loaded: Loaded, personas: Personas) -> Result<Self, String> {
        let decider = Arc::new(Decider::new(Arc::clone(&loaded.set))?);
        Ok(Self { name, loaded, personas, decider })
    }

    /// The caller before this set.
    pub fn standing(&self, caller: &Arc<Caller>) -> Result<Standing, String> {
        self.decider.standing(caller)
    }

    fn silent(&self) -> bool {
        self.loaded.redaction == Redaction::Silent
    }
}

/// Everything that differs between two sets.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What callers gain and lose, and what they are shown otherwise.
    pub lines: Lines,
    /// What differs in the files beside the policies.
    pub files: Vec<FileChange>,
    /// Ids of policies that only the old set has as they are.
    pub only_old: Vec<String>,
    /// Ids of policies that only the new set has as they are.
    pub only_new: Vec<String>,
    /// How many callers were compared.
    pub callers: usize,
    /// How many cases, or records of a corpus, over all callers.
    pub cases: usize,
    /// What was not looked at in full, in words.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether anything was found that differs for anybody. Policies that are written otherwise and say the same are
    /// no difference.
    pub fn differs(&self) -> bool {
        !self.lines.is_empty() || !self.files.is_empty()
    }

    fn policies_differ(&self) -> bool {
        !self.only_old.is_empty() || !self.only_new.is_empty()
    }
}

/// Compares over every record that the policies of both sets can tell from another.
pub fn everything(old: &Set, new: &Set, cast: &[(String, Caller)]) -> Result<Report, String> {
    let types: Vec<&str> = drape_fhir::definitions::r4().resource_types().collect();
    let mut report = beside(old, new);
    let mut cut = Vec::new();
    for (who, caller) in cast {
        let caller = Arc::new(caller.clone());
        let (before, after) = (old.standing(&caller)?, new.standing(&caller)?);
        let (before, after) = (
            Side { standing: &before, silent: old.silent() },
            Side { standing: &after, silent: new.silent() },
        );
        for compared in [compare::requests(before, after, &types), compare::records(before, after, &types)] {
            report.cases += compared.cases;
            if compared.cut && !cut.contains(&who.as_str()) {
                cut.push(who);
            }
            for difference in compared.differences {
                report.lines.add(Line::of(who, difference));
            }
        }
    }
    if !cut.is_empty() {
        report.notes.push(format!(
            "for {} there are more than {CASES_MAX} cases; there the changed policies were tried with each other one, in \
             pairs, and not all facts together",
            cut.join(", ")
        ));
    }
    report.callers = cast.len();
    if report.lines.is_empty() && report.policies_differ() {
        report
            .notes
            .push("the policies that differ made no difference to any caller that was tried".to_owned());
    }
    report.lines.sort();
    Ok(report)
}

/// What differs beside the callers.
fn beside(old: &Set, new: &Set) -> Report {
    let ids = |ids: Vec<&str>| ids.into_iter().map(str::to_owned).collect();
    Report {
        files: texts::changes(&old.loaded, &new.loaded),
        only_old: ids(old.loaded.set.not_in(&new.loaded.set)),
        only_new: ids(new.loaded.set.not_in(&old.loaded.set)),
        ..Report::default()
    }
}
