//! Runs policy tests: each case goes through the real stages, and what left is compared with what is expected.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use drape_view::{Catalogue, Category, Verdict};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::Value;

use super::coverage::{Coverage, Covered};
use super::file::{Case, Expect, TestFile, reference};
use super::observe::observed;
use crate::trace::Part;
use crate::workbench::personas::Personas;
use crate::workbench::walk::{Bench, Circumstances, Walk};

/// What came of all tests of a set.
#[derive(Clone, Debug)]
pub struct Report {
    /// One for each case.
    pub results: Vec<Outcome>,
    /// What they touched.
    pub covered: Covered,
}

/// What came of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The file.
    pub file: String,
    /// The case.
    pub name: String,
    /// What differs from what is expected; empty where nothing does.
    pub faults: Vec<String>,
    /// The policies that determined it.
    pub policies: Vec<String>,
}

impl Report {
    /// How many cases passed.
    pub fn passed(&self) -> usize {
        self.results.iter().filter(|r| r.faults.is_empty()).count()
    }
}

/// Runs the cases of which `wanted` says so. `now_ms` is the moment of cases that name none.
pub(super) async fn run(
    bench: &Bench,
    files: &[TestFile],
    personas: &Personas,
    catalogue: &Catalogue,
    now_ms: u64,
    wanted: impl Fn(&TestFile, &Case) -> bool,
) -> (Vec<Outcome>, Coverage) {
    let (mut results, mut coverage) = (Vec::new(), Coverage::default());
    for file in files {
        for case in file.cases.iter().filter(|case| wanted(file, case)) {
            let walk = ask(bench, file, case, personas, now_ms).await;
            let (faults, policies) = match walk {
                Err(what) => (vec![what], Vec::new()),
                Ok(walk) => {
                    let policies = determining(&walk);
                    coverage.determined(&policies);
                    let held: BTreeMap<String, &Value> =
                        file.records.iter().filter_map(|r| Some((reference(r)?, r))).collect();
                    for record in walk.trace.records.iter().filter_map(|r| held.get(&r.name)) {
                        coverage.judged(catalogue, record);
                    }
                    (compare(catalogue, &case.expect, &held, &walk, &policies), policies)
                }
            };
            results.push(Outcome { file: file.name.clone(), name: case.name.clone(), faults, policies });
        }
    }
    (results, coverage)
}

async fn ask(
    bench: &Bench,
    file: &TestFile,
    case: &Case,
    personas: &Personas,
    now_ms: u64,
) -> Result<Walk, String> {
    let now_ms = case.at.map_or(now_ms, |at| u64::try_from(at.as_millisecond()).unwrap_or(0));
    bench.set_time(now_ms);
    // What one case writes is not there for the next.
    bench.hold(file.records.clone()).map_err(|e| e.to_string())?;
    let mut claims = match &case.persona {
        None => serde_json::Map::new(),
        Some(name) => personas.find("as", name).map_err(|f| f.to_string())?.claims.clone(),
    };
    claims.extend(case.claims.clone());
    let circumstances = Circumstances { break_glass: case.break_glass, ..Circumstances::default() };
    let admitted = bench.caller(&claims, &personas.purposes, circumstances).map_err(|e| e.to_string())?;
    let (headers, body) = sent(case)?;
    let request = &case.request;
    bench.ask(&admitted, &request.method, &request.target, &headers, body).await.map_err(|e| e.to_string())
}

/// Headers and body; the media type of the body is told from what it is.
fn sent(case: &Case) -> Result<(HeaderMap, Bytes), String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &case.request.headers {
        let fault = || format!("`{name}: {value}` is no header");
        let name = HeaderName::try_from(name).map_err(|_| fault())?;
        headers.insert(name, HeaderValue::try_from(value).map_err(|_| fault())?);
    }
    let (media, body) = match &case.request.body {
        None => return Ok((headers, Bytes::new())),
        Some(Value::String(form)) => ("application/x-www-form-urlencoded", form.clone().into_bytes()),
        Some(json) => ("application/fhir+json", json.to_string().into_bytes()),
    };
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(media));
    Ok((headers, body.into()))
}

/// What differs.
fn compare(
    catalogue: &Catalogue,
    expect: &Expect,
    held: &BTreeMap<String, &Value>,
    walk: &Walk,
    policies: &[String],
) -> Vec<String> {
    let mut faults = Vec::new();
    if walk.cut {
        faults.push("the answer was broken off".to_owned());
    }
    let body: Value = serde_json::from_slice(&walk.body).unwrap_or(Value::Null);
    let status = walk.status.as_u16();
    if let Some(wanted) = expect.status.filter(|wanted| *wanted != status) {
        faults.push(format!("the status is {status}, not {wanted}{}", why(walk)));
    }
    let came = arrived(&body, walk);
    if let Some(wanted) = expect.count
        && wanted != came.len()
    {
        faults.push(format!("{} records arrive, not {wanted}: {}", came.len(), names(&came)));
    }
    for (name, elements) in &expect.records {
        let Some((_, record)) = came.iter().find(|(n, _)| n == name) else {
            faults.push(format!("`{name}` does not arrive{}", why_not(walk, name)));
            continue;
        };
        let Some(stored) = held.get(name) else { continue };
        for (path, wanted) in elements {
            match observed(catalogue, stored, record, path) {
                None => {
                    faults.push(format!("`{name}` holds nothing at `{path}`, so that nothing can be told"))
                }
                Some(seen) if seen == *wanted => {}
                Some(seen) => {
                    faults.push(format!(
                        "`{name}`: `{path}` is to {}, but is {}",
                        wanted.name(),
                        seen.done()
                    ));
                }
            }
        }
    }
    for name in &expect.withheld {
        if came.iter().any(|(n, _)| n == name) {
            faults.push(format!("`{name}` arrives"));
        }
    }
    for policy in expect.policies.iter().filter(|p| !policies.contains(p)) {
        faults.push(format!("`{policy}` has no part in it; determined by: {}", list(policies)));
    }
    if let Some(words) = &expect.says {
        let said = String::from_utf8_lossy(&walk.body);
        if !said.contains(words.as_str()) {
            faults.push(format!("the answer does not say `{words}`{}", why(walk)));
        }
    }
    if let Some(wanted) = &expect.body
        && *wanted != body
    {
        faults.push(format!("the body is {body}, not {wanted}"));
    }
    faults
}

/// Ids of all policies that had a part in it: for the request, for each record, for each category of it.
fn determining(walk: &Walk) -> Vec<String> {
    let mut all: BTreeSet<String> = BTreeSet::new();
    for trace in walk.entries.iter().chain([&walk.trace]) {
        all.extend(trace.policies.iter().cloned());
        all.extend(trace.asked.questions.iter().flat_map(|question| question.policies.iter().cloned()));
        for record in &trace.records {
            all.extend(record.received_by.iter().cloned());
            if let Verdict::Keep(plan) = &record.verdict {
                for why in Category::ALL.into_iter().filter_map(|c| plan.why(c)) {
                    all.extend(why.policies.iter().cloned());
                    all.extend(why.refused.iter().flat_map(|rung| rung.policies.iter().cloned()));
                }
            }
        }
    }
    all.into_iter().collect()
}

/// The records that arrived, by the names under which they are stored. Their ids may be pseudonyms, but they stand in the
/// order in which they were judged; one that was kept and could not be made valid FHIR is left out of it, which the types
/// and a name that is no pseudonym tell.
fn arrived<'a>(body: &'a Value, walk: &Walk) -> Vec<(String, &'a Value)> {
    let records: Vec<&Value> = match body["resourceType"].as_str() {
        _ if !walk.status.is_success() => Vec::new(),
        Some("Bundle") => {
            body["entry"].as_array().into_iter().flatten().filter_map(|e| e.get("resource")).collect()
        }
        Some("OperationOutcome") | None => Vec::new(),
        Some(_) => vec![body],
    };
    let kept =
        walk.trace.records.iter().filter(|r| {
            r.part == Part::Answer && !r.name.contains('#') && matches!(r.verdict, Verdict::Keep(_))
        });
    let mut kept = kept.map(|r| r.name.clone()).collect::<Vec<_>>().into_iter().peekable();
    let mut came = Vec::new();
    for record in records {
        let own = reference(record).unwrap_or_default();
        let kind = own.split('/').next().unwrap_or_default();
        let known = kept.clone().any(|name| name == own);
        // What stands before it in the order of judging did not leave.
        while kept
            .next_if(|name| {
                let of_kind = name.split('/').next() == Some(kind);
                if known { *name != own } else { !of_kind }
            })
            .is_some()
        {}
        let name = kept.next().unwrap_or(own);
        came.push((name, record));
    }
    came
}

fn names(came: &[(String, &Value)]) -> String {
    list(&came.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>())
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn why(walk: &Walk) -> String {
    walk.trace.refusal.as_ref().map_or_else(String::new, |r| format!(" ({}: {})", r.stage, r.reason))
}

fn why_not(walk: &Walk, name: &str) -> String {
    match walk.trace.records.iter().find(|r| r.name == name).map(|r| &r.verdict) {
        Some(Verdict::Withhold(reason)) => format!(": withheld, {}", reason.name()),
        None => format!(": it was not found{}", why(walk)),
        Some(Verdict::Keep(_)) => why(walk),
    }
}
