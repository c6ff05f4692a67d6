//! Anonymisation rules of others (Microsoft's and miracum's FHIRPath rules), turned into a policy set that is never laxer.
//!
//! Theirs keep what no rule names, ours show only what a policy permits. Each rule is followed element by element over
//! the R4 definitions; then each category of each type gets the most revealing treatment that is no laxer than what the
//! rules want of any of its elements. What ends stricter than it was meant is told, rule by rule.

mod elements;
mod fhirpath;
mod plan;
mod report;
mod rules;
mod write;

use drape_view::Fault;

/// What becomes of elements that no rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unnamed {
    /// They are shown, as the rules' own tool would keep them.
    Keep,
    /// They go, as everything does in Drape that no policy permits.
    Redact,
}

/// A policy set with the report of how it was made.
#[derive(Debug)]
pub struct Imported {
    /// Name and text of each file of the set, `IMPORT.md` among them.
    pub files: Vec<(String, String)>,
    /// How many rules were carried over to the letter, more strictly, and not at all.
    pub exactly: usize,
    /// See `exactly`.
    pub stricter: usize,
    /// See `exactly`.
    pub nowhere: usize,
    /// One line for each rule that was not carried over to the letter.
    pub notes: Vec<String>,
}

/// Turns the text of a rules file into a set. `name` is for messages.
pub fn import(name: &str, text: &str, unnamed: Unnamed) -> Result<Imported, Vec<Fault>> {
    let file = rules::read(name, text)?;
    let leaves = elements::leaves();
    let plan = plan::make(&file, &leaves, unnamed);
    // It is made so that this cannot be; were it so all the same, nothing would be written.
    if let Some(leaf) = plan.laxer(&leaves) {
        let what = format!("`{}` cannot be carried over without showing more than the rules do", leaf.path());
        return Err(vec![Fault::new(name, what)]);
    }
    let lines = report::rules(&file, &leaves, &plan);
    let files = write::files(name, &file, &leaves, &plan, &lines, unnamed);
    let count = |outcome| lines.iter().filter(|l| l.outcome == outcome).count();
    let notes =
        lines.iter().filter(|l| l.outcome != report::Outcome::Exactly).map(ToString::to_string).collect();
    Ok(Imported {
        files,
        exactly: count(report::Outcome::Exactly),
        stricter: count(report::Outcome::Stricter),
        nowhere: count(report::Outcome::Nowhere),
        notes,
    })
}

#[cfg(test)]
mod tests;
