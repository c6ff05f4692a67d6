//! The questions that a guarantee comes to: one for each category and action, with everything else left open.

use drape_policy::guarantees::{Act, Case, Claim, Guarantee, QUESTIONS, REQUESTS, Who};
use drape_view::Category;
use serde_json::Value;

use crate::assume::Assumptions;
use crate::expression::{all, and, any, given, not, truth};
use crate::model::{Job, Model};
use crate::outcome::{Event, Outcomes, Side};
use crate::question::NotUnderstood;

/// One question: is there a state in which `formula` holds? There must be none.
#[derive(Clone, Debug)]
pub(crate) struct ToAsk<'a> {
    /// What would be broken, in words.
    pub(crate) label: String,
    /// Who is meant, and under which conditions.
    pub(crate) guard: Value,
    /// The guard, and that the guarantee is broken.
    pub(crate) formula: Value,
    /// What to look at in a state to see it broken.
    pub(crate) broken: Broken<'a>,
}

/// How a state breaks the guarantee.
#[derive(Clone, Debug)]
pub(crate) enum Broken<'a> {
    /// It must be there at all: a guard that never holds guarantees nothing.
    GuardHolds,
    /// One of each group happens. With each group the place of the type that its requests name.
    Together(Vec<(usize, Vec<Event>)>),
    /// It does not happen.
    Missing(Event),
    /// It happens here and not there.
    More(Event, &'a Model),
}

/// The roles that a case is about.
pub(crate) fn roles_of(case: &Case) -> &[String] {
    match &case.who {
        Who::Roles(roles) | Who::Only(roles) => roles,
        Who::Anyone | Who::NoRole => &[],
    }
}

/// The types that a case names.
pub(crate) fn types_of(case: &Case) -> Option<&[String]> {
    match &case.act {
        Act::Receives(types) | Act::Request(_, types) if !types.is_empty() => Some(types),
        _ => None,
    }
}

/// All questions of a guarantee; those that are the same are asked once.
pub(crate) fn of<'a>(
    job: &'a Job,
    guarantee: &Guarantee,
    assumptions: &Assumptions,
) -> Result<Vec<ToAsk<'a>>, NotUnderstood> {
    let outcomes = Outcomes { model: &job.model, types: assumptions.types() };
    let everybody =
        if guarantee.by_purpose { assumptions.by_purpose(&job.guarantees.purposes) } else { truth(true) };
    let mut list = Vec::new();
    match &guarantee.claim {
        Claim::Never(case) => {
            let guard = and(everybody, assumptions.case(case, 0)?);
            list.push(applies(&guard));
            for event in events(&case.act) {
                let happens =
                    given(&outcomes.when(&event, 0, Side::Over)?, &|e| assumptions.known(&case.who, e));
                let formula = and(guard.clone(), happens);
                let (guard, label) = (guard.clone(), label(&event));
                list.push(ToAsk { label, guard, formula, broken: Broken::Together(vec![(0, vec![event])]) });
            }
        }
        Claim::Always(case) => {
            let guard = and(everybody, assumptions.case(case, 0)?);
            list.push(applies(&guard));
            // Each by itself: of several all must happen.
            for event in events(&case.act) {
                let happens =
                    given(&outcomes.when(&event, 0, Side::Under)?, &|e| assumptions.known(&case.who, e));
                let formula = and(guard.clone(), not(happens));
                let (guard, label) = (guard.clone(), label(&event));
                list.push(ToAsk { label, guard, formula, broken: Broken::Missing(event) });
            }
        }
        Claim::NeverTogether(cases) => {
            let (mut guards, mut parts, mut groups) = (vec![everybody], Vec::new(), Vec::new());
            for (place, case) in cases.iter().enumerate() {
                guards.push(assumptions.case(case, place)?);
                let events = events(&case.act);
                let one = events.iter().map(|e| outcomes.when(e, place, Side::Over));
                parts.push(any(one.collect::<Result<Vec<_>, _>>()?));
                groups.push((place, events));
            }
            let guard = all(guards);
            list.push(applies(&guard));
            let texts: Vec<&str> = cases.iter().map(|case| case.text.as_str()).collect();
            let (label, formula) = (texts.join(", and "), and(guard.clone(), all(parts)));
            list.push(ToAsk { label, guard, formula, broken: Broken::Together(groups) });
        }
        Claim::NowhereMorePermissive { than, except } => {
            // That it is there was found out when the job was made.
            let Some(other) = job.other(than) else { return Ok(list) };
            let before = Outcomes { model: other, types: assumptions.types() };
            for event in everything(&job.model) {
                let excused = except.iter().filter(|case| excuses(&case.act, &event));
                let excused = excused.map(|case| assumptions.case(case, 0)).collect::<Result<Vec<_>, _>>()?;
                let guard = and(everybody.clone(), not(any(excused)));
                let more =
                    and(outcomes.when(&event, 0, Side::Over)?, not(before.when(&event, 0, Side::Under)?));
                let (label, formula) = (label(&event), and(guard.clone(), more));
                list.push(ToAsk { label, guard, formula, broken: Broken::More(event, other) });
            }
        }
        Claim::NoPolicyErrs => {}
    }
    let mut asked: Vec<ToAsk<'a>> = Vec::new();
    for one in list {
        // Whether a guard ever holds is a question of its own, even where it reads like another.
        let same = |other: &&mut ToAsk<'a>| {
            let guards = [&other.broken, &one.broken].map(|b| matches!(b, Broken::GuardHolds));
            guards[0] == guards[1] && other.formula == one.formula
        };
        match asked.iter_mut().find(same) {
            Some(same) => same.label = format!("{}, {}", same.label, one.label),
            None => asked.push(one),
        }
    }
    Ok(asked)
}

fn applies<'a>(guard: &Value) -> ToAsk<'a> {
    let (label, guard) = ("it ever applies".to_owned(), guard.clone());
    ToAsk { label, formula: guard.clone(), guard, broken: Broken::GuardHolds }
}

/// What a case says that happens: of an element any of the treatments.
fn events(act: &Act) -> Vec<Event> {
    match act {
        Act::Receives(_) => vec![Event::Receive],
        Act::Is(actions, categories) => {
            categories.iter().map(|c| Event::Treated(actions.clone(), *c)).collect()
        }
        Act::Request(actions, _) => actions.iter().map(|a| Event::Request(a)).collect(),
        Act::About(actions, categories) => {
            actions.iter().flat_map(|a| categories.iter().map(|c| Event::About(a, *c))).collect()
        }
        Act::Aggregate => vec![Event::Aggregate],
    }
}

/// All that one set can be more permissive in than another.
fn everything(model: &Model) -> impl Iterator<Item = Event> {
    let rungs = Category::ALL.into_iter().flat_map(|category| {
        let rungs = model.set.treatments().rungs(category);
        // A carrier comes out shown or not at all.
        let rungs = if category.is_carrier() { &rungs[..rungs.len().min(1)] } else { rungs };
        rungs.iter().map(move |rung| Event::AtLeast(*rung, category))
    });
    let about =
        QUESTIONS.into_iter().flat_map(|a| Category::ALL.into_iter().map(move |c| Event::About(a, c)));
    std::iter::once(Event::Receive)
        .chain(rungs)
        .chain(REQUESTS.into_iter().map(Event::Request))
        .chain(about)
        .chain([Event::Aggregate])
}

/// Whether an exception speaks of the event. Who may be shown something may also be given it in a lesser form.
fn excuses(act: &Act, event: &Event) -> bool {
    match (act, event) {
        (Act::Receives(_), Event::Receive) | (Act::Aggregate, Event::Aggregate) => true,
        (Act::Is(actions, categories), Event::AtLeast(least, category)) => {
            const RANKS: [&str; 4] = ["show", "generalize", "pseudonymize", "encrypt"];
            let rank = |action: &&str| RANKS.iter().position(|r| r == action);
            categories.contains(category) && actions.iter().filter_map(rank).any(|rank| rank <= least.rank())
        }
        (Act::Request(actions, _), Event::Request(action)) => actions.contains(action),
        (Act::About(actions, categories), Event::About(action, category)) => {
            actions.contains(action) && categories.contains(category)
        }
        _ => false,
    }
}

fn label(event: &Event) -> String {
    match event {
        Event::Receive => "receive".to_owned(),
        Event::Treated(actions, category) => format!("{} `{category}`", actions.join(" or ")),
        Event::AtLeast(treatment, category) => format!("{} `{category}`", treatment.name()),
        Event::Request(action) => (*action).to_owned(),
        Event::About(action, category) => format!("{action} `{category}`"),
        Event::Aggregate => "aggregate".to_owned(),
    }
}
