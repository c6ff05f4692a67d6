//! Asks the questions, several at one time, and makes sure of every answer that would be printed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cedar_policy::Schema;
use drape_policy::guarantees::question_schema;

use super::questions::{Broken, ToAsk};
use super::{Counterexample, STACK_BYTES, Verdict};
use crate::assume::Assumptions;
use crate::concrete::{Condition, Happening, happens, standing};
use crate::errors::{Erring, could_err, errs};
use crate::expression::{and, attributes, truth};
use crate::model::{Job, Model};
use crate::outcome::Event;
use crate::shrink::smallest;
use crate::solver::{Found, Solver};
use crate::state::State;

/// The verdict on a guarantee from the answers to all its questions.
pub(super) fn all(
    job: &Job,
    assumptions: &Assumptions,
    questions: Vec<ToAsk<'_>>,
    solver: &Solver,
    jobs: usize,
) -> Verdict {
    let schema = match question_schema() {
        Ok(schema) => schema,
        Err(fault) => return Verdict::NotProved(fault.to_string()),
    };
    // A condition that erred would make its question look like one that nothing answers.
    let conditional: Vec<&ToAsk<'_>> = questions.iter().filter(|q| could_err(&q.guard)).collect();
    if !conditional.is_empty() {
        let mut session = match solver.session() {
            Ok(session) => session,
            Err(why) => return Verdict::NotProved(why),
        };
        let safe = conditional
            .iter()
            .all(|q| matches!(session.errs(&assumptions.under(q.guard.clone())), Found::Nothing));
        if !safe {
            let what = "its own conditions may err; compare instead of reckoning";
            return Verdict::NotProved(what.to_owned());
        }
    }
    let answers = answers(assumptions, &questions, solver, jobs);
    let (mut unclear, mut first, mut also) = (None, None, Vec::new());
    for (question, answer) in questions.iter().zip(answers) {
        match (&question.broken, answer) {
            (Broken::GuardHolds, Found::Nothing) => {
                let what = "nobody is ever in a state that it speaks of: its conditions exclude each other";
                return Verdict::SaysNothing(what.to_owned());
            }
            (Broken::GuardHolds, Found::Model(_)) | (_, Found::Nothing) => {}
            (_, Found::Unknown(why)) => unclear = unclear.or(Some(format!("{}: {why}", question.label))),
            (_, Found::Model(env)) => {
                let formula = assumptions.under(question.formula.clone());
                let state = State::of(&env, &attributes(&formula)).map(|mut state| {
                    state.caller.roles.retain(|role| assumptions.roles().contains(role));
                    state
                });
                let confirmed = state.and_then(|state| {
                    let check = Check::new(job, assumptions, question, &schema)?;
                    if check.broken(&state).is_some() {
                        Ok((check, state))
                    } else {
                        Err(disagree(&check, &state))
                    }
                });
                match confirmed {
                    Err(why) => unclear = unclear.or(Some(format!("{}: {why}", question.label))),
                    Ok(_) if first.is_some() => also.push(question.label.clone()),
                    Ok((check, state)) => {
                        let state = smallest(state, &|s| check.broken(s).is_some());
                        first = check.broken(&state).map(|happens| (question, state, happens));
                    }
                }
            }
        }
    }
    match (first, unclear) {
        (Some((question, state, happens)), _) => {
            Verdict::Refuted(Box::new(counterexample(job, question, state, &happens, also)))
        }
        (None, Some(why)) => Verdict::NotProved(why),
        (None, None) => Verdict::Proved,
    }
}

fn disagree(check: &Check<'_>, state: &State) -> String {
    let may_err: Vec<String> = check.model.may_err.iter().map(|id| format!("`{id}`")).collect();
    if !may_err.is_empty() {
        return format!("{} may err, which counts against it; mend that first", may_err.join(", "));
    }
    let looks = check.looks(state).map(|all| all.into_iter().map(|h| h.what).collect::<Vec<_>>().join(", "));
    let looks = looks.unwrap_or_else(|why| why);
    format!("solver and evaluator disagree: where the solver sees it broken, {looks}")
}

/// Whatever the solver says to each question, in their order.
fn answers(assumptions: &Assumptions, questions: &[ToAsk<'_>], solver: &Solver, jobs: usize) -> Vec<Found> {
    let next = AtomicUsize::new(0);
    let answers: Vec<Mutex<Found>> =
        questions.iter().map(|_| Mutex::new(Found::Unknown("it was not asked".to_owned()))).collect();
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, questions.len().max(1)) {
            let worker = std::thread::Builder::new().stack_size(STACK_BYTES);
            // A thread that cannot be had leaves its questions to the others; if there is none, they stay unanswered.
            let _ = worker.spawn_scoped(scope, || {
                let mut session = solver.session();
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(question), Some(answer)) = (questions.get(place), answers.get(place)) else {
                        break;
                    };
                    let found = match &mut session {
                        Ok(session) => session.holds(&assumptions.under(question.formula.clone())),
                        Err(why) => Found::Unknown(why.clone()),
                    };
                    if let Ok(mut answer) = answer.lock() {
                        *answer = found;
                    }
                }
            });
        }
    });
    let lost = || Found::Unknown("the answer was lost".to_owned());
    answers.into_iter().map(|answer| answer.into_inner().unwrap_or_else(|_| lost())).collect()
}

/// Looks at states, without the solver.
struct Check<'a> {
    model: &'a Model,
    broken: &'a Broken<'a>,
    guard: Condition,
    schema: &'a Schema,
}

impl<'a> Check<'a> {
    fn new(
        job: &'a Job,
        assumptions: &Assumptions,
        question: &'a ToAsk<'a>,
        schema: &'a Schema,
    ) -> Result<Self, String> {
        let guard = Condition::new(&and(assumptions.of_everything(), question.guard.clone()))?;
        Ok(Self { model: &job.model, broken: &question.broken, guard, schema })
    }

    /// What happens there that must not, if anything does.
    fn broken(&self, state: &State) -> Option<Vec<Happening>> {
        if !self.guard.holds(state, self.schema) {
            return None;
        }
        let looks = self.looks(state).ok()?;
        let yes = match self.broken {
            Broken::GuardHolds => false,
            Broken::Together(groups) => looks.len() == groups.len() && looks.iter().all(|h| h.yes),
            Broken::Missing(_) => looks.iter().all(|h| !h.yes),
            Broken::More(..) => matches!(looks.as_slice(), [here, there] if here.yes && !there.yes),
        };
        yes.then_some(looks)
    }

    fn looks(&self, state: &State) -> Result<Vec<Happening>, String> {
        let here = standing(self.model, state)?;
        let look = |event: &Event, asked: usize| happens(&here, event, asked, state);
        Ok(match self.broken {
            Broken::GuardHolds => Vec::new(),
            Broken::Together(groups) => {
                let one = |(asked, events): &(usize, Vec<Event>)| {
                    let all: Vec<Happening> = events.iter().map(|e| look(e, *asked)).collect();
                    all.iter().find(|h| h.yes).or(all.first()).cloned()
                };
                groups.iter().filter_map(one).collect()
            }
            Broken::Missing(event) => vec![look(event, 0)],
            Broken::More(event, other) => {
                let there = happens(&standing(other, state)?, event, 0, state);
                vec![
                    look(event, 0),
                    Happening { what: format!("in {}: {}", other.name, there.what), ..there },
                ]
            }
        })
    }
}

fn counterexample(
    job: &Job,
    question: &ToAsk<'_>,
    state: State,
    happens: &[Happening],
    also: Vec<String>,
) -> Counterexample {
    let events: Vec<(usize, &Event)> = match &question.broken {
        Broken::GuardHolds => Vec::new(),
        Broken::Together(groups) => groups.iter().flat_map(|(p, all)| all.iter().map(|e| (*p, e))).collect(),
        Broken::Missing(event) | Broken::More(event, _) => vec![(0, event)],
    };
    let mut requests: Vec<usize> =
        events.iter().filter(|(_, e)| matches!(e, Event::Request(_))).map(|(place, _)| *place).collect();
    requests.dedup();
    let of_record = |event: &Event| match event {
        Event::Receive | Event::Treated(..) | Event::AtLeast(..) => true,
        Event::About(action, _) => matches!(*action, "change" | "relate"),
        Event::Request(_) | Event::Aggregate => false,
    };
    Counterexample {
        has_record: events.iter().any(|(_, e)| of_record(e)),
        counts: events.iter().any(|(_, e)| matches!(e, Event::Aggregate)),
        requests,
        happens: happens.iter().map(|h| told(job, h)).collect(),
        also,
        state,
    }
}

/// What happens, with where the policies stand that make it so.
fn told(job: &Job, happening: &Happening) -> String {
    let of_other = |id: &str| job.others.iter().find_map(|(_, model)| model.set.place(id));
    let by: Vec<String> = happening
        .policies
        .iter()
        .map(|id| match job.model.set.place(id).or_else(|| of_other(id)) {
            Some(place) => format!("`{id}` ({place})"),
            None => format!("`{id}`"),
        })
        .collect();
    match by.as_slice() {
        [] if happening.yes => happening.what.clone(),
        [] => format!("{}: no policy permits it", happening.what),
        by => format!("{}: {}", happening.what, by.join(", ")),
    }
}

/// That no policy errs was looked into before everything else.
pub(super) fn no_policy_errs(job: &Job, erring: &[Erring]) -> Verdict {
    let Some(found) = erring.iter().find(|e| e.at.is_some()).or(erring.first()) else {
        return Verdict::Proved;
    };
    let Some((event, state)) = &found.at else {
        return Verdict::NotProved(format!("{}: `{}`: {}", found.place, found.id, found.why));
    };
    let state = smallest(state.clone(), &|s| errs(&job.model, event, s));
    let also = erring.iter().filter(|e| e.id != found.id && e.at.is_some());
    let also = also.map(|e| format!("`{}` ({})", e.id, e.place)).collect();
    let broken = Broken::Missing(event.clone());
    let (label, guard, formula) = (String::new(), truth(true), truth(true));
    let question = ToAsk { label, guard, formula, broken };
    let mut example = counterexample(job, &question, state, &[], also);
    example.happens = vec![format!("`{}` ({}) errs, which is a refusal", found.id, found.place)];
    Verdict::Refuted(Box::new(example))
}
