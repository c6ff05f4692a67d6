//! The suite before a real HAPI server, with tokens of a real OpenID provider and patients of Synthea.
//!
//! One server serves all steps, so they are one test: each has a name, all failures are told at the end.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a suite that tells how it goes")]

mod attacks;
mod audit;
mod bundles;
mod clients;
mod counts;
mod crash;
mod credential;
mod demo;
mod exact;
mod export;
mod facts;
mod forms;
mod judged;
mod leaks;
mod transparent;
mod views;
mod world;
mod writes;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use drape_conformance::places::setting;
use drape_conformance::{Fault, Outcome};
use world::World;

type Step = (&'static str, fn(&World) -> Outcome);

/// In this order: what writes comes late, what spends the budget after it, then the log is searched, and what all of them
/// were answered is judged.
const STEPS: [Step; 51] = [
    ("views-of-a-patient", views::of_a_patient),
    ("views-of-an-observation", views::of_an_observation),
    ("views-of-sensitive-records", views::of_sensitive_records),
    ("views-of-a-researcher", views::of_a_researcher),
    ("exact-reads", exact::reads),
    ("exact-history", exact::history),
    ("exact-searches", exact::searches),
    ("exact-posted-search", exact::posted_search),
    ("exact-conditions", transparent::conditions),
    ("exact-operations", transparent::operations),
    ("exact-batches", transparent::batches),
    ("exact-exports", transparent::exports),
    ("xml-as-hapi-writes-it", forms::as_hapi_writes_it),
    ("no-canary-in-searches", leaks::searches),
    ("no-canary-in-reads", leaks::reads),
    ("attacks-on-tokens", attacks::tokens),
    ("credential-by-assertion", credential::by_assertion),
    ("attacks-by-criteria", attacks::criteria),
    ("attacks-on-the-interaction", attacks::interactions),
    ("attacks-in-bundles", bundles::attacks),
    ("attacks-on-paging", attacks::paging),
    ("attacks-by-raw-ids", attacks::raw_ids),
    ("withheld-is-unknown", attacks::withheld_is_unknown),
    ("export-of-a-cohort", export::of_a_cohort),
    ("export-of-everything", export::of_everything),
    ("everything-of-a-patient", export::everything_of_a_patient),
    ("codes-and-validation", export::codes_and_validation),
    ("exact-echoes-of-writes", transparent::echoes),
    ("create-lands-in-hapi", writes::create),
    ("update-needs-the-version", writes::update),
    ("others-cannot-write", writes::others),
    ("patches-are-updates", writes::patches),
    ("of-two-writers-one-is-late", writes::lost_update),
    ("conditional-writes-and-deletes", writes::conditional),
    ("client-fhirpy", clients::fhirpy),
    ("client-fhir-kit-client", clients::kit),
    ("client-smart-fhirclient", clients::smart),
    ("client-medplum-core", clients::medplum),
    ("client-python-fhirclient", clients::python_fhirclient),
    ("client-fhir-pyrate", clients::pyrate),
    ("client-hapi-java", clients::java),
    ("relations-and-ages-from-hapi", facts::looked_up),
    ("references-tell-of-nothing-withheld", facts::references),
    ("xml-as-hapi-reads-it", forms::as_hapi_reads_it),
    ("counts-cost-once", counts::once),
    ("counts-end", counts::exhausted),
    ("kill-9", crash::kill),
    ("demo-before-hapi", demo::tour),
    ("who-saw-this-patient", audit::search),
    ("events-are-audit-events", audit::events),
    ("judged-by-hapi", judged::all),
];

#[test]
fn drape_before_hapi() {
    if setting("DRAPE_CONFORMANCE").as_deref() != Some("1") {
        println!("left out: needs Java, Node and Python; `conformance/run` runs it (DRAPE_CONFORMANCE=1)");
        return;
    }
    let started = Instant::now();
    let world = World::build().unwrap_or_else(|fault| panic!("the suite cannot be set up: {fault}"));
    println!("set up in {:.0?}: {}", started.elapsed(), world.describe());
    let only = setting("DRAPE_STEP");
    let mut failures = Vec::new();
    for (name, step) in STEPS {
        if only.as_ref().is_some_and(|o| !name.contains(o.as_str())) {
            continue;
        }
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| step(&world)))
            .unwrap_or_else(|_| Err(Fault::new("panicked; see above")));
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("step {name} … {word} ({:.1?})", begun.elapsed());
        if let Err(fault) = outcome {
            println!("     {}", fault.0.replace('\n', "\n     "));
            failures.push(name);
        }
    }
    assert!(failures.is_empty(), "{} step(s) failed: {}", failures.len(), failures.join(", "));
}
