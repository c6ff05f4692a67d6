//! What a decision costs with the shipped set, cold and warm, in microseconds, as a Markdown table.
//!
//! `cargo run --release -p drape-policy --example decision_cost`
//!
//! A second table has sets of 5, 50 and 500 made-up policies, one in ten of which reaches the caller, and beside it what
//! Cedar alone takes when each category and treatment is asked of the whole set.
//!
//! Cold is what a caller costs who was never seen before: the set is loaded, but nothing is known of the caller. Warm
//! is the same question asked again. Each number is the median of its runs.

mod scale;

use std::collections::BTreeSet;
use std::error::Error;
use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use drape_policy::{Action, Decider, PolicySet, RecordJudge, Standing};
use drape_view::{
    Caller, Category, Environment, Judge as _, Profile, Proof, Relation, Subject, Treatments, Verdict,
};

const RUNS: usize = 1_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    let faults = |faults: Vec<drape_view::Fault>| {
        let list: Vec<String> = faults.iter().map(ToString::to_string).collect();
        list.join("\n")
    };
    let treatments = Arc::new(Treatments::parse(drape_view::shipped::TREATMENTS).map_err(faults)?);
    let before = Instant::now();
    let set = PolicySet::shipped("hospital", &treatments, &[]).map_err(faults)?;
    let policies = set.len();
    let decider = Arc::new(Decider::new(Arc::new(set))?);
    writeln!(out, "{policies} policies, loaded and checked in {} ms", before.elapsed().as_millis())?;
    writeln!(out)?;
    writeln!(
        out,
        "| caller | standing cold | warm | request cold | warm | search cold | warm | verdict cold | warm |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|")?;
    for (role, purpose) in [
        ("records-officer", "HOPERAT"),
        ("clinician", "TREAT"),
        ("billing", "HPAYMT"),
        ("researcher", "HRESCH"),
    ] {
        let one = Arc::new(caller(role, 0, purpose));
        let standing = Arc::new(decider.standing(&one)?);
        let profile = profile();
        let shown = RecordJudge::new(Arc::clone(&standing)).judge(&profile);
        if !matches!(shown, Verdict::Keep(_)) || !standing.request(Action::Read, "Observation").allowed {
            return Err(format!("the {role} should be shown something: this measures refusals").into());
        }
        let strangers: Vec<Arc<Caller>> = (1..=RUNS).map(|n| Arc::new(caller(role, n, purpose))).collect();
        let mut unknown = Vec::with_capacity(RUNS);
        let mut next = strangers.iter();
        let standing_cold =
            median(|| unknown.extend(next.next().and_then(|c| decider.standing(c).ok()).map(Arc::new)));
        if unknown.len() != RUNS {
            return Err(format!("no standing for the {role}").into());
        }
        let (for_request, rest) = unknown.split_at(RUNS / 3);
        let (for_search, for_verdict) = rest.split_at(RUNS / 3);
        let columns = [
            standing_cold,
            median(|| drop(black_box(decider.standing(&one)))),
            // Each of these is asked of callers of whom nothing else was asked: one answer is part of another.
            cold(for_request, request),
            median(|| request(&standing)),
            cold(for_search, search),
            median(|| search(&standing)),
            cold(for_verdict, |s| verdict(s, &profile)),
            median(|| verdict(&standing, &profile)),
        ];
        let columns: Vec<String> = columns.iter().map(|us| format!("{us:.1}")).collect();
        writeln!(out, "| {role} | {} |", columns.join(" | "))?;
    }
    scale::table(&mut out, &treatments)
}

fn request(standing: &Arc<Standing>) {
    black_box(standing.request(Action::Read, "Observation"));
}

/// What `Observation?patient=…&code=…&date=…` reveals.
fn search(standing: &Arc<Standing>) {
    for category in [Category::PatientLink, Category::FindingCode, Category::EventDate] {
        black_box(standing.search_by(category, "Observation"));
    }
}

fn verdict(standing: &Arc<Standing>, profile: &Profile) {
    black_box(RecordJudge::new(Arc::clone(standing)).judge(profile));
}

/// The median time of one call, in microseconds. What costs less than the clock itself is counted with it.
fn median(mut call: impl FnMut()) -> f64 {
    middle((0..RUNS).map(|_| timed(&mut call)).collect())
}

/// The median over callers, each asked once.
fn cold(callers: &[Arc<Standing>], ask: impl Fn(&Arc<Standing>)) -> f64 {
    middle(callers.iter().map(|caller| timed(|| ask(caller))).collect())
}

fn timed(call: impl FnOnce()) -> f64 {
    let before = Instant::now();
    call();
    before.elapsed().as_secs_f64() * 1e6
}

fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn caller(role: &str, number: usize, purpose: &str) -> Caller {
    let treating = Relation { is: BTreeSet::from(["treating".to_owned()]), birth_date: None };
    Caller {
        issuer: "https://id.example.org/realms/north".into(),
        subject: format!("{role}-{number}"),
        name: Some("Ada Stone".into()),
        roles: BTreeSet::from([role.to_owned()]),
        held_roles: BTreeSet::from([role.to_owned()]),
        organization: Some("Organization/north".into()),
        departments: BTreeSet::from(["Location/ward-3".to_owned()]),
        title: Some("attending".into()),
        client: Some("chart".into()),
        shift: None,
        fhir_user: Some(format!("Practitioner/{role}")),
        patient: None,
        scopes: Vec::new(),
        relations: [("p1".to_owned(), treating)].into(),
        purpose: purpose.to_owned(),
        statement: Default::default(),
        proof: Proof { token_id: None, token_digest: [0; 32], expires_at: 4_000_000_000 },
        environment: Environment {
            now_ms: 1_790_000_000_000,
            today: "2026-09-21".into(),
            hour: 12,
            minute_of_day: 720,
            weekday: 1,
            network: None,
            break_glass: false,
        },
    }
}

/// A laboratory result of a patient whom the clinician treats.
fn profile() -> Profile {
    Profile {
        resource_type: "Observation".into(),
        labels: BTreeSet::new(),
        classified: true,
        category_codes: BTreeSet::from(["laboratory".to_owned()]),
        status: Some("final".into()),
        age_days: Some(30),
        departments: BTreeSet::new(),
        insurers: BTreeSet::new(),
        authored_by_caller: false,
        patient: Subject {
            known: true,
            relations: BTreeSet::from(["treating".to_owned()]),
            ..Subject::default()
        },
    }
}
