//! Policies that may err: found first, since an error is a refusal that no expression of Cedar's can speak of.

use drape_policy::guarantees::{QUESTIONS, REQUESTS};
use drape_policy::told::Told;
use drape_view::Category;
use serde_json::Value;

use crate::assume::Assumptions;
use crate::concrete::{happens, standing};
use crate::expression::{as_truth, attributes, visit};
use crate::model::Model;
use crate::outcome::{Event, asked_type};
use crate::question::{About, NotUnderstood, Question};
use crate::solver::{Found, Session};
use crate::state::State;

/// A policy that errs, or of which that could not be ruled out.
#[derive(Clone, Debug)]
pub(crate) struct Erring {
    /// The policy.
    pub(crate) id: String,
    /// `file:line`.
    pub(crate) place: String,
    /// Where it errs, confirmed by Drape's own decision.
    pub(crate) at: Option<(Event, State)>,
    /// Else why it is not known that it cannot.
    pub(crate) why: String,
}

/// All of them.
pub(crate) fn find(
    model: &Model,
    assumptions: &Assumptions,
    session: &mut Session,
) -> Result<Vec<Erring>, NotUnderstood> {
    let mut found = Vec::new();
    for policy in model.set.told().filter(|policy| could_err(&policy.json()["conditions"])) {
        found.extend(one(model, &policy, assumptions, session)?);
    }
    Ok(found)
}

fn one(
    model: &Model,
    policy: &Told<'_>,
    assumptions: &Assumptions,
    session: &mut Session,
) -> Result<Option<Erring>, NotUnderstood> {
    let mut asked: Vec<Value> = Vec::new();
    let mut unclear = None;
    for event in events() {
        let condition = question(&event).condition(policy.json(), assumptions.types())?;
        if as_truth(&condition).is_some() || asked.contains(&condition) {
            continue;
        }
        let guarded = assumptions.under(condition.clone());
        asked.push(condition);
        let erring =
            |at, why: String| Erring { id: policy.id().into(), place: policy.place().into(), at, why };
        match session.errs(&guarded) {
            Found::Nothing => {}
            Found::Unknown(why) => unclear = Some(erring(None, why)),
            Found::Model(env) => {
                let state = State::of(&env, &attributes(&guarded)).map(|mut state| {
                    state.caller.roles.retain(|role| assumptions.roles().contains(role));
                    state
                });
                let confirmed = state.ok().filter(|state| errs(model, &event, state));
                match confirmed {
                    Some(state) => return Ok(Some(erring(Some((event, state)), String::new()))),
                    None => unclear = Some(erring(None, "solver and evaluator disagree".into())),
                }
            }
        }
    }
    Ok(unclear)
}

/// Whether a policy really errs there.
pub(crate) fn errs(model: &Model, event: &Event, state: &State) -> bool {
    let Ok(standing) = standing(model, state) else { return false };
    match event {
        Event::Receive => standing.ruling("receive", None, &state.profile).erred,
        Event::Treated(actions, category) => {
            actions.iter().any(|action| standing.ruling(action, Some(*category), &state.profile).erred)
        }
        _ => happens(&standing, event, 0, state).erred,
    }
}

/// Every question there is, one by one.
fn events() -> impl Iterator<Item = Event> {
    let categories = || Category::ALL.into_iter();
    let rungs = ["show", "generalize", "pseudonymize", "encrypt"];
    std::iter::once(Event::Receive)
        .chain(rungs.into_iter().flat_map(move |a| categories().map(move |c| Event::Treated(vec![a], c))))
        .chain(REQUESTS.into_iter().map(Event::Request))
        .chain(QUESTIONS.into_iter().flat_map(move |a| categories().map(move |c| Event::About(a, c))))
        .chain([Event::Aggregate])
}

fn question(event: &Event) -> Question {
    let (action, about) = match event {
        Event::Receive => ("receive", About::Type(crate::expression::fact("record", "type"))),
        Event::Treated(actions, category) => {
            (actions.first().copied().unwrap_or("show"), About::Category(*category))
        }
        Event::AtLeast(treatment, category) => (treatment.name(), About::Category(*category)),
        Event::Request(action) => (*action, About::Type(asked_type(0))),
        Event::About(action, category) => (*action, About::Category(*category)),
        Event::Aggregate => ("aggregate", About::Budget),
    };
    Question { action, about }
}

/// Whether anything in it can err at all. Validated as strictly as policies are, only arithmetic and what extensions do
/// can; of anything not listed here it is not known.
pub(crate) fn could_err(expression: &Value) -> bool {
    const SAFE: [&str; 33] = [
        "Value",
        "Var",
        "Set",
        "Record",
        "!",
        "&&",
        "||",
        "==",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        "in",
        "is",
        "has",
        "like",
        ".",
        "contains",
        "containsAll",
        "containsAny",
        "isEmpty",
        "if-then-else",
        "left",
        "right",
        "arg",
        "attr",
        "pattern",
        "entity_type",
        "if",
        "then",
        "else",
        "kind",
    ];
    let mut could = false;
    visit(expression, &mut |node| {
        let Some(members) = node.as_object() else { return };
        could |= members.keys().any(|key| {
            !SAFE.contains(&key.as_str())
                && !["body", "__entity", "type", "id", "Wildcard", "Literal"].contains(&key.as_str())
        });
    });
    could
}
