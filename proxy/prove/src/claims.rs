//! From guarantees to questions for the solver, and from its answers to proofs and counterexamples.

mod ask;
mod questions;

use std::time::{Duration, Instant};

use drape_policy::guarantees::Claim;
use drape_view::Fault;

use crate::assume::{Assumptions, roles_in};
use crate::errors;
use crate::model::{Job, cases_of, conditions_of};
use crate::solver::Solver;
use crate::state::State;
use crate::types::Types;

/// What became of one guarantee.
#[derive(Clone, Debug)]
pub struct Proof {
    /// Its id.
    pub id: String,
    /// What it says to people.
    pub says: String,
    /// What was found.
    pub verdict: Verdict,
    /// How many different questions that took.
    pub questions: usize,
    /// How long the solver and all else took for them.
    pub took: Duration,
}

/// What was found.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It holds in every state.
    Proved,
    /// It does not hold in this one.
    Refuted(Box<Counterexample>),
    /// It could not fail, whatever the policies.
    SaysNothing(String),
    /// Neither is known, and why.
    NotProved(String),
}

/// A state that breaks a guarantee, confirmed by Drape's own decision.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// Who asks, when, and for which record.
    pub state: State,
    /// What happens there, each with the policies that make it so.
    pub happens: Vec<String>,
    /// What else of the guarantee is broken, each in some state of its own.
    pub also: Vec<String>,
    /// Whether a record has a part in it.
    pub has_record: bool,
    /// The place of each type that a request names.
    pub requests: Vec<usize>,
    /// Whether it is about a noisy count.
    pub counts: bool,
}

/// Proves or refutes each guarantee of a job whose id `wanted` accepts. `jobs` questions are asked at one time.
pub fn prove(
    job: Job,
    solver: &Solver,
    jobs: usize,
    wanted: &(dyn Fn(&str) -> bool + Sync),
) -> Result<Vec<Proof>, Fault> {
    let name = job.model.name.clone();
    let work = || each(job, solver, jobs, wanted);
    // Expressions are walked step by step down, by Cedar too.
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work);
        let worker = worker.map_err(|e| Fault::new(&name, format!("no thread: {e}")))?;
        worker.join().unwrap_or_else(|_| Err(Fault::new(&name, "the prover stopped in the middle")))
    })
}

/// Of each thread that handles expressions; only what is used of it costs memory.
const STACK_BYTES: usize = 256 << 20;

fn each(
    mut job: Job,
    solver: &Solver,
    jobs: usize,
    wanted: &(dyn Fn(&str) -> bool + Sync),
) -> Result<Vec<Proof>, Fault> {
    let fault = |what: String| Fault::new(&job.model.name, what);
    let expressions = job.expressions();
    let mut roles = roles_in(expressions.iter().copied());
    for case in job.cases() {
        roles.extend(questions::roles_of(case).iter().cloned());
    }
    let assumptions = Assumptions::new(job.closures.clone(), roles, Types::told_apart(job.policies(), &[]))?;
    // An error is a refusal, so policies that may err are found before anything is said about the others.
    let started = Instant::now();
    let mut session = solver.session().map_err(fault)?;
    let unclear = |e: crate::question::NotUnderstood| Fault::new("policies", e.to_string());
    let erring = errors::find(&job.model, &assumptions, &mut session).map_err(unclear)?;
    job.model.may_err = erring.iter().map(|e| e.id.clone()).collect();
    for (_, other) in &mut job.others {
        let found = errors::find(other, &assumptions, &mut session).map_err(unclear)?;
        other.may_err = found.into_iter().map(|e| e.id).collect();
    }
    let errors_took = started.elapsed();
    let list: Vec<_> = job.guarantees.list.iter().filter(|g| wanted(&g.id)).collect();
    let mut proofs = Vec::new();
    for guarantee in list {
        let started = Instant::now();
        let (verdict, questions, extra) = match &guarantee.claim {
            Claim::NoPolicyErrs => (ask::no_policy_errs(&job, &erring), erring.len(), errors_took),
            claim => {
                let (verdict, questions) = match vacuous(&job, claim) {
                    Some(why) => (Verdict::SaysNothing(why), 0),
                    None => {
                        // Types that only other guarantees tell apart make no difference here.
                        let types =
                            Types::told_apart(job.policies().chain(conditions_of(claim)), &lists_of(claim));
                        let assumptions = assumptions.with(types);
                        match questions::of(&job, guarantee, &assumptions) {
                            Err(e) => (Verdict::NotProved(e.to_string()), 0),
                            Ok(questions) => {
                                let count = questions.len();
                                (ask::all(&job, &assumptions, questions, solver, jobs), count)
                            }
                        }
                    }
                };
                (verdict, questions, Duration::ZERO)
            }
        };
        let took = started.elapsed() + extra;
        let (id, says) = (guarantee.id.clone(), guarantee.says.clone());
        proofs.push(Proof { id, says, verdict, questions, took });
    }
    Ok(proofs)
}

fn lists_of(claim: &Claim) -> Vec<&[String]> {
    cases_of(claim).iter().filter_map(questions::types_of).collect()
}

/// A role that no policy names: whatever is guaranteed of it, nothing is said about the set.
fn vacuous(job: &Job, claim: &Claim) -> Option<String> {
    let named = roles_in(job.policies());
    let roles = cases_of(claim).iter().flat_map(questions::roles_of);
    let unknown = roles.into_iter().find(|role| !named.contains(role.as_str()))?;
    Some(format!("no policy names the role `{unknown}`"))
}
