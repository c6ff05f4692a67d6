//! Policy tests: files beside the policies that say who asks for what, and what must come of it.

mod coverage;
mod file;
mod observe;
mod run;

use std::sync::Arc;

use drape_view::fault::Fault;

pub use coverage::{Coverage, Covered};
pub use file::{Case, Expect, Request, TestFile, Treated, parse, read_all, reference};
pub use run::{Outcome, Report};

use super::files::SetFiles;
use super::personas::Personas;
use super::walk::Bench;
use crate::config;
use crate::parts::Loaded;

/// Runs all tests of a set: the files `tests/*.yaml`, and `tests/*.cedar.json` in the format of Cedar's own command line.
/// With a `filter`, only those whose file or name has it. A set without tests is a fault.
pub async fn run_all(
    loaded: Loaded,
    files: &SetFiles,
    personas: &Personas,
    tenant: Option<&config::Tenant>,
    now_ms: u64,
    filter: Option<&str>,
) -> Result<Report, Vec<Fault>> {
    let test_files = read_all(files)?;
    let cedar_files = files.list("tests/", ".cedar.json").map_err(|f| vec![f])?;
    if test_files.is_empty() && cedar_files.is_empty() {
        let help = "put `tests/*.yaml` beside the policies; docs/policies.md tells how";
        return Err(vec![Fault::new(files.path("tests"), "holds no tests").help(help)]);
    }
    let wanted = |file: &str, name: &str| filter.is_none_or(|f| file.contains(f) || name.contains(f));
    let (set, catalogue) = (Arc::clone(&loaded.set), Arc::clone(&loaded.catalogue));
    // The moments of the cases are meant as they are written, wherever the tenant is: a shift ends at the same hour.
    let tenant = tenant.map(|tenant| config::Tenant { time_zone: "UTC".to_owned(), ..tenant.clone() });
    let bench = Bench::new(loaded, tenant.as_ref(), now_ms)
        .await
        .map_err(|e| vec![Fault::new(files.path("tests"), e.to_string())])?;
    let choose = |file: &TestFile, case: &Case| wanted(&file.name, &case.name);
    let (mut results, mut coverage) =
        run::run(&bench, &test_files, personas, &catalogue, now_ms, choose).await;
    for name in cedar_files {
        let path = files.path(&name);
        let text = files.read(&name).map_err(|f| vec![f])?.unwrap_or_default();
        let outcomes = set.cedar_cases(&text).map_err(|what| vec![Fault::new(&path, what)])?;
        for outcome in outcomes.into_iter().filter(|o| wanted(&name, &o.name)) {
            coverage.determined(&outcome.policies);
            let (file, faults, policies) = (name.clone(), outcome.faults, outcome.policies);
            results.push(Outcome { file, name: outcome.name, faults, policies });
        }
    }
    if results.is_empty() {
        let what = format!("no case has `{}` in its name or file", filter.unwrap_or_default());
        return Err(vec![Fault::new(files.path("tests"), what)]);
    }
    Ok(Report { results, covered: coverage.of(&set) })
}
