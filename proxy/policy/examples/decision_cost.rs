//! What a decision costs with the shipped set, cold and warm, in microseconds, as a Markdown table.
//!
//! `cargo run --release -p drape-policy --example decision_cost`
//!
//! Cold verdicts are asked for records that differ from all before them, so that nothing is found in the cache; warm
//! ones for a record that was judged a moment ago. Each number is the median of its runs.

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

const RUNS: usize = 2_000;

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
        "| caller | standing | request | may search by (3 categories) | shown all? | cold verdict | warm verdict |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    for (role, purpose) in [
        ("records-officer", "HOPERAT"),
        ("clinician", "TREAT"),
        ("billing", "HPAYMT"),
        ("researcher", "HRESCH"),
    ] {
        let caller = Arc::new(caller(role, purpose));
        let standing = decider.standing(&caller)?;
        let judge = RecordJudge::new(Arc::new(decider.standing(&caller)?));
        if !matches!(judge.judge(&profile(1)), Verdict::Keep(_))
            || !standing.request(Action::Read, "Observation").allowed
        {
            return Err(format!("the {role} should be shown something: this measures refusals").into());
        }
        // A caller who came before leaves the set's slices behind, as in a proxy that has been up for a while.
        let mut age = 1;
        let cold = median(|| {
            age += 1;
            black_box(judge.judge(&profile(age)));
        });
        let same = profile(1);
        let columns = [
            median(|| {
                let _ = black_box(decider.standing(&caller));
            }),
            median(|| {
                black_box(standing.request(Action::Read, "Observation"));
            }),
            median(|| searches(&standing)),
            median(|| {
                black_box(standing.shows_all());
            }),
            cold,
            median(|| {
                black_box(judge.judge(&same));
            }),
        ];
        let columns: Vec<String> = columns.iter().map(|us| format!("{us:.1}")).collect();
        writeln!(out, "| {role} | {} |", columns.join(" | "))?;
    }
    Ok(())
}

/// The median time of one call, in microseconds. Calls of less than the clock's own cost are counted with it.
fn median(mut call: impl FnMut()) -> f64 {
    (0..RUNS / 10).for_each(|_| call());
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let before = Instant::now();
            call();
            before.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

/// What `Observation?patient=…&code=…&date=…` reveals.
fn searches(standing: &Standing) {
    for category in [Category::PatientLink, Category::FindingCode, Category::EventDate] {
        black_box(standing.search_by(category));
    }
}

fn caller(role: &str, purpose: &str) -> Caller {
    let treating = Relation { is: BTreeSet::from(["treating".to_owned()]), birth_date: None };
    Caller {
        issuer: "https://id.example.org/realms/north".into(),
        subject: format!("{role}-1"),
        name: Some("Ada Stone".into()),
        roles: BTreeSet::from([role.to_owned()]),
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

/// An Observation of the patient, unlike all with another number: billing is shown the last year,
/// so the days run through it again and again with another status each time.
fn profile(number: usize) -> Profile {
    Profile {
        resource_type: "Observation".into(),
        labels: BTreeSet::new(),
        classified: true,
        category_codes: BTreeSet::from(["laboratory".to_owned()]),
        status: Some(format!("final-{}", number / 365)),
        age_days: i64::try_from(number % 365).ok(),
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
