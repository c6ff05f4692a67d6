//! Whether something really happens in a state: asked of Drape's own decision, which no solver has a part in.

use std::sync::Arc;

use cedar_policy::{Authorizer, Decision, PolicySet as CedarSet, Schema};
use drape_policy::{Action, RecordJudge, Ruling, Standing};
use drape_view::{Category, CategorySet, Judge as _, Treatment, Verdict};
use serde_json::Value;

use crate::model::Model;
use crate::outcome::Event;
use crate::solver::as_policy;
use crate::state::State;

/// What one set does in a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Happening {
    /// Whether it happens.
    pub(crate) yes: bool,
    /// In words.
    pub(crate) what: String,
    /// The policies that made it so.
    pub(crate) policies: Vec<String>,
    /// Whether a policy erred.
    pub(crate) erred: bool,
}

/// The caller's standing, for some questions in one state.
pub(crate) fn standing(model: &Model, state: &State) -> Result<Arc<Standing>, String> {
    model.decider.standing(&Arc::new(state.caller.clone())).map(Arc::new)
}

/// Whether the event happens, by the decision that also serves requests.
pub(crate) fn happens(standing: &Arc<Standing>, event: &Event, asked: usize, state: &State) -> Happening {
    let of = |ruling: Ruling, what: String| {
        let erred = if ruling.erred { ", since a policy errs" } else { "" };
        let may = if ruling.allowed { "is permitted" } else { "is not permitted" };
        Happening {
            yes: ruling.allowed,
            what: format!("{what} {may}{erred}"),
            policies: ruling.policies,
            erred: ruling.erred,
        }
    };
    match event {
        Event::Receive => received(standing, state),
        Event::Treated(actions, category) => {
            treated(standing, state, *category, &|t| actions.contains(&t.name()))
        }
        Event::AtLeast(least, category) => treated(standing, state, *category, &|t| t <= *least),
        Event::Request(name) => {
            let kind = &state.asked[asked];
            let ruling = request(name).map(|action| standing.request(action, kind)).unwrap_or_default();
            of(ruling, format!("to {name} {kind}"))
        }
        Event::About(action, category) => {
            let ruling = match *action {
                "searchBy" => standing.may_search_by(*category),
                "countBy" => standing.count_by(*category),
                "change" => standing.may_change(&state.profile, only(*category)),
                "relate" => standing.may_relate(&state.profile, only(*category)),
                _ => Ruling { erred: true, ..Ruling::default() },
            };
            of(ruling, format!("to {action} `{category}`"))
        }
        Event::Aggregate => {
            let count = &state.count;
            let ruling =
                standing.aggregate(&count.budget, &count.owner, count.epsilon_nano, &count.resource_type);
            of(ruling, format!("to count {} under a budget of `{}`", count.resource_type, count.owner))
        }
    }
}

fn only(category: Category) -> CategorySet {
    CategorySet::EMPTY.with(category)
}

fn received(standing: &Arc<Standing>, state: &State) -> Happening {
    let verdict = RecordJudge::new(Arc::clone(standing)).judge(&state.profile);
    let ruling = standing.ruling("receive", None, &state.profile);
    match verdict {
        Verdict::Keep(_) => Happening {
            yes: true,
            what: "the record is received".into(),
            policies: ruling.policies,
            erred: ruling.erred,
        },
        Verdict::Withhold(reason) => Happening {
            yes: false,
            what: format!("the record is withheld ({})", reason.name()),
            policies: ruling.policies,
            erred: ruling.erred,
        },
    }
}

fn treated(
    standing: &Arc<Standing>,
    state: &State,
    category: Category,
    wanted: &dyn Fn(Treatment) -> bool,
) -> Happening {
    match RecordJudge::new(Arc::clone(standing)).judge(&state.profile) {
        Verdict::Withhold(_) => received(standing, state),
        Verdict::Keep(plan) => {
            let treatment = plan.treatment(category);
            let done = match treatment {
                Treatment::Show => "shown",
                Treatment::Generalize(_) => "generalized",
                Treatment::Pseudonymize => "pseudonymized",
                Treatment::Encrypt => "encrypted",
                Treatment::Redact => "left out",
            };
            // Left out: what forbids to show it, where anything does.
            let action = if treatment == Treatment::Redact { "show" } else { treatment.name() };
            let ruling = standing.ruling(action, Some(category), &state.profile);
            let yes = treatment != Treatment::Redact && wanted(treatment);
            Happening {
                yes,
                what: format!("`{category}` is {done}"),
                policies: ruling.policies,
                erred: ruling.erred,
            }
        }
    }
}

fn request(name: &str) -> Option<Action> {
    Some(match name {
        "read" => Action::Read,
        "vread" => Action::Vread,
        "history" => Action::History,
        "search" => Action::Search,
        "create" => Action::Create,
        "update" => Action::Update,
        "patch" => Action::Patch,
        "delete" => Action::Delete,
        "transaction" => Action::Transaction,
        "export" => Action::Export,
        "operation" => Action::Operation,
        _ => return None,
    })
}

/// Whether an expression holds in a state.
#[derive(Debug)]
pub(crate) struct Condition {
    policies: CedarSet,
}

impl Condition {
    pub(crate) fn new(expression: &Value) -> Result<Self, String> {
        let mut policies = CedarSet::new();
        policies.add(as_policy(expression)?).map_err(|e| e.to_string())?;
        Ok(Self { policies })
    }

    pub(crate) fn holds(&self, state: &State, schema: &Schema) -> bool {
        let Ok((request, entities)) = state.request(schema) else { return false };
        Authorizer::new().is_authorized(&request, &self.policies, &entities).decision() == Decision::Allow
    }
}
