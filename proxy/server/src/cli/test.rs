//! `drape test`: runs the policy tests of a set, with coverage.

use std::process::ExitCode;

use serde_json::json;

use super::source::Source;
use super::{Failure, prepare, runtime, say};
use crate::clock::Clock;
use crate::workbench::testing::{Covered, Outcome, Report, run_all};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Only the cases whose file or name has this in it. Coverage is told of these alone.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// The least share of policies that must determine something, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    coverage_min: u8,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Runs the tests. Exit status: 0 all passed, 1 some failed, cannot be read, or touch too few policies.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let sourced = arguments.source.load()?;
    prepare();
    let now_ms = Clock::system().now_ms();
    let name = sourced.name.clone();
    let tenant = sourced.tenant.as_ref();
    let filter = arguments.filter.as_deref();
    let report = runtime()?
        .block_on(run_all(sourced.loaded, &sourced.files, &sourced.personas, tenant, now_ms, filter))
        .map_err(|faults| Failure::faults(&faults))?;
    match arguments.format {
        Format::Text => tell(&name, &report),
        Format::Json => say(as_json(&name, &report)),
    }
    let (hit, all) = report.covered.policies;
    let enough = hit * 100 >= usize::from(arguments.coverage_min) * all;
    if !enough {
        say(format!("fewer than {} % of the policies are touched", arguments.coverage_min));
    }
    let passed = report.passed() == report.results.len();
    Ok(if passed && enough { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn tell(name: &str, report: &Report) {
    let mut file = "";
    for Outcome { file: of, name, faults, .. } in &report.results {
        if of != file {
            say(of);
            file = of;
        }
        say(format!("  {:<7} {name}", if faults.is_empty() { "ok" } else { "FAILED" }));
        for fault in faults {
            say(format!("          {}", fault.replace('\n', "\n          ")));
        }
    }
    let (passed, all) = (report.passed(), report.results.len());
    say(format!("\n{name}: {all} cases, {passed} passed, {} failed", all - passed));
    let Covered { policies, missed_policies, categories, missed_categories } = &report.covered;
    say(format!(
        "touched: {} of {} policies, {} of {} categories",
        policies.0, policies.1, categories.0, categories.1
    ));
    if !missed_policies.is_empty() {
        let missed: Vec<String> =
            missed_policies.iter().map(|(id, place)| format!("{id} ({place})")).collect();
        say(format!("  no case turns on: {}", missed.join(", ")));
    }
    if !missed_categories.is_empty() {
        say(format!("  no judged record has any: {}", missed_categories.join(", ")));
    }
}

fn as_json(name: &str, report: &Report) -> serde_json::Value {
    let cases = report.results.iter().map(|r| {
        json!({"file": r.file, "name": r.name, "passed": r.faults.is_empty(), "faults": r.faults, "policies": r.policies})
    });
    let covered = &report.covered;
    let missed = covered.missed_policies.iter().map(|(id, place)| json!({"id": id, "place": place}));
    json!({
        "policies": name,
        "cases": cases.collect::<Vec<_>>(),
        "passed": report.passed(),
        "failed": report.results.len() - report.passed(),
        "coverage": {
            "policies": {"touched": covered.policies.0, "all": covered.policies.1, "missed": missed.collect::<Vec<_>>()},
            "categories": {"touched": covered.categories.0, "all": covered.categories.1,
                "missed": covered.missed_categories},
        },
    })
}
