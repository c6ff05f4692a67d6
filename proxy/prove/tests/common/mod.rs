//! What the tests share: the solver, and jobs from texts.
#![allow(dead_code, reason = "each test takes what it needs")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on stops")]

use std::sync::Arc;
use std::time::Duration;

use drape_policy::PolicySet;
use drape_policy::guarantees::{Guarantees, Other};
use drape_prove::{Job, Model, Proof, Solver};
use drape_view::{Labels, Treatments};

/// The solver. Where it is missing the test is left out, which the suite does not take for an answer.
pub(crate) fn solver() -> Option<Solver> {
    match Solver::find(Duration::from_secs(60)) {
        Ok(solver) => Some(solver),
        Err(fault) => {
            let wanted = ["CI", "DRAPE_CONFORMANCE", "DRAPE_PROVE"]
                .iter()
                .any(|name| std::env::var_os(name).is_some());
            assert!(!wanted, "{fault}");
            eprintln!("left out: {fault}");
            None
        }
    }
}

pub(crate) fn model(name: &str, files: &[(&str, &str)], treatments: Option<&str>) -> Model {
    let treatments = Treatments::parse(treatments.unwrap_or(drape_view::shipped::TREATMENTS)).unwrap();
    match PolicySet::read(files, &Arc::new(treatments), &[]) {
        Ok(set) => Model::new(name, set).unwrap(),
        Err(faults) => panic!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

pub(crate) fn job(name: &str, files: &[(&str, &str)], treatments: Option<&str>, guarantees: &str) -> Job {
    let labels = Labels::parse(drape_view::shipped::LABELS).unwrap();
    let closures = labels.closures().into_iter().map(|(label, above)| (label.to_owned(), above)).collect();
    let guarantees = match Guarantees::parse(name, guarantees) {
        Ok(guarantees) => guarantees,
        Err(faults) => panic!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    };
    Job { model: model(name, files, treatments), guarantees, closures, others: Vec::new() }
}

/// The proof of one guarantee about one text of policies; `old` is the set named `old`, if any.
pub(crate) fn proof(solver: &Solver, policies: &str, old: Option<&str>, guarantee: &str) -> Proof {
    let text = format!(
        "version: 1\npurposes: {{ TREAT: [a], HRESCH: [b] }}\nguarantees:\n  - {{ id: it, says: so, {guarantee} }}"
    );
    let mut job = job("new", &[("new.cedar", policies)], None, &text);
    if let Some(old) = old {
        job.others.push((Other::Set("old".into()), model("old", &[("old.cedar", old)], None)));
    }
    drape_prove::prove(job, solver, 2, &|_| true).unwrap().remove(0)
}

/// A file of policies without one of them.
pub(crate) fn without(text: &str, id: &str) -> String {
    let Some(start) = text.find(&format!("@id(\"{id}\")")) else { return text.to_owned() };
    let end = start + text[start..].find(';').unwrap() + 1;
    format!("{}{}", &text[..start], &text[end..])
}
