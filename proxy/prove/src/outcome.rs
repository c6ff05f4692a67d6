//! What happens, as an expression: a request permitted, a record received, a category that comes out in some treatment.
//! The rules of Drape above Cedar are written here once more: the first permitted rung wins, an error is a no, carriers
//! are shown only where everything is.

use drape_view::{Category, Treatment};
use serde_json::Value;

use crate::expression::{all, and, any, fact, not, truth};
use crate::model::Model;
use crate::question::{About, NotUnderstood, Question};
use crate::types::Types;

/// One thing that happens or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The record reaches the caller.
    Receive,
    /// The category comes out in one of these treatments, by the names of their actions.
    Treated(Vec<&'static str>, Category),
    /// The category comes out at least as revealing as that.
    AtLeast(Treatment, Category),
    /// A request of the type `context.askedN`.
    Request(&'static str),
    /// A question about a category.
    About(&'static str, Category),
    /// A noisy count.
    Aggregate,
}

/// Policies that may err make an expression inexact; it then errs on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Holds at least wherever it happens.
    Over,
    /// Holds at most where it happens.
    Under,
}

/// The events of one set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcomes<'a> {
    pub(crate) model: &'a Model,
    pub(crate) types: &'a Types,
}

impl Outcomes<'_> {
    /// When the event happens. `asked` is the place of the type that a request names.
    pub(crate) fn when(&self, event: &Event, asked: usize, side: Side) -> Result<Value, NotUnderstood> {
        match event {
            Event::Receive => self.received(side),
            Event::Treated(actions, category) => {
                self.treated(*category, side, &|t| actions.contains(&t.name()))
            }
            Event::AtLeast(least, category) => self.treated(*category, side, &|t| t <= *least),
            Event::Request(action) => self.allowed(action, About::Type(asked_type(asked)), side),
            Event::About(action, category) => self.allowed(action, About::Category(*category), side),
            Event::Aggregate => self.allowed("aggregate", About::Budget, side),
        }
    }

    fn received(&self, side: Side) -> Result<Value, NotUnderstood> {
        self.allowed("receive", About::Type(fact("record", "type")), side)
    }

    /// The record is received, and the first rung that is permitted is a wanted one.
    fn treated(
        &self,
        category: Category,
        side: Side,
        wanted: &dyn Fn(Treatment) -> bool,
    ) -> Result<Value, NotUnderstood> {
        let received = self.received(side)?;
        if category.is_carrier() {
            // Whatever is permitted of it: it is shown where everything is shown, and else it is left out.
            if !wanted(Treatment::Show) {
                return Ok(truth(false));
            }
            let mut shown = Vec::new();
            for category in Category::ALL {
                if self.model.set.treatments().rungs(category).first() != Some(&Treatment::Show) {
                    return Ok(truth(false));
                }
                let one = self.allowed("show", About::Category(category), side)?;
                if !shown.contains(&one) {
                    shown.push(one);
                }
            }
            return Ok(and(received, all(shown)));
        }
        let mut outcomes = Vec::new();
        let mut none_before = truth(true);
        let mut may_err_before = false;
        for rung in self.model.set.treatments().rungs(category) {
            let ask = |side| self.allowed(rung.name(), About::Category(category), side);
            if wanted(*rung) && !(side == Side::Under && may_err_before) {
                outcomes.push(and(none_before.clone(), ask(side)?));
            }
            // For "not permitted" the other side is the safe one.
            none_before = and(none_before, not(ask(other(side))?));
            may_err_before |= self.may_err(rung.name(), &About::Category(category))?;
        }
        Ok(and(received, any(outcomes)))
    }

    /// Some permit holds, no forbid does, and nothing errs.
    fn allowed(&self, action: &'static str, about: About, side: Side) -> Result<Value, NotUnderstood> {
        let question = Question { action, about };
        let (mut permits, mut forbids) = (Vec::new(), Vec::new());
        for policy in self.model.set.told() {
            let mut holds = question.condition(policy.json(), self.types)?;
            if crate::expression::as_truth(&holds) == Some(false) {
                continue;
            }
            if self.model.may_err.contains(policy.id()) {
                // Where it errs the answer is no. Where that is cannot be said in Cedar: so it is taken for whatever
                // makes least of the answer that is hoped for.
                holds = truth(policy.permits() == (side == Side::Over));
                if side == Side::Under {
                    return Ok(truth(false));
                }
            }
            if policy.permits() { permits.push(holds) } else { forbids.push(holds) }
        }
        Ok(and(any(permits), not(any(forbids))))
    }

    fn may_err(&self, action: &'static str, about: &About) -> Result<bool, NotUnderstood> {
        let question = Question { action, about: about.clone() };
        for policy in self.model.set.told().filter(|p| self.model.may_err.contains(p.id())) {
            if crate::expression::as_truth(&question.condition(policy.json(), self.types)?) != Some(false) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn other(side: Side) -> Side {
    match side {
        Side::Over => Side::Under,
        Side::Under => Side::Over,
    }
}

/// `context.askedN`.
pub(crate) fn asked_type(place: usize) -> Value {
    crate::expression::attribute(crate::expression::variable("context"), &format!("asked{place}"))
}
