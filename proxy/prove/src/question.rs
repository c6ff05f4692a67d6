//! One policy's answer to one question, as an expression over the caller and the context alone: the action and the
//! resource are put in, and with them the trees of actions, categories and types. Nothing of a tree is left to the solver.

use drape_policy::told::{above_action, above_category};
use drape_view::Category;
use serde_json::{Map, Value, json};

use crate::expression::{
    all, and, any, as_entity, as_truth, attribute, choice, entity, equal, is_variable, not, one_of, or,
    truth, variable,
};
use crate::types::Types;

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// The action's name.
    pub(crate) action: &'static str,
    /// About what.
    pub(crate) about: About,
}

/// The resource of a question.
#[derive(Clone, Debug)]
pub(crate) enum About {
    /// A leaf.
    Category(Category),
    /// A type, as an expression.
    Type(Value),
    /// `context.budget`, which belongs to `context.owner`.
    Budget,
}

/// Something in a policy that the prover does not know how to put in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is used in a way that the prover does not understand")]
pub(crate) struct NotUnderstood(String);

/// A condition of a guarantee, which names neither action nor resource, without groups.
pub(crate) fn plain(condition: &Value, types: &Types) -> Result<Value, NotUnderstood> {
    let question = Question { action: "ask", about: About::Budget };
    Putting { question: &question, types }.put(condition)
}

impl Question {
    /// When the policy holds, as an expression without `action`, `resource` and groups.
    pub(crate) fn condition(&self, policy: &Value, types: &Types) -> Result<Value, NotUnderstood> {
        let to = Putting { question: self, types };
        let mut parts = vec![
            to.scope(&policy["action"], variable("action"))?,
            to.scope(&policy["resource"], variable("resource"))?,
            to.scope(&policy["principal"], variable("principal"))?,
        ];
        // A policy that is about something else is never evaluated, so that its conditions do not matter.
        if parts.iter().any(|part| as_truth(part) == Some(false)) {
            return Ok(truth(false));
        }
        for condition in policy["conditions"].as_array().into_iter().flatten() {
            let body = to.put(&condition["body"])?;
            parts.push(if condition["kind"] == "unless" { not(body) } else { body });
        }
        Ok(all(parts))
    }

    /// Whether the context of this question has that part.
    fn has(&self, part: &str) -> bool {
        match (part, &self.about) {
            _ if self.action == "ask" => true,
            ("env", _) => true,
            ("record" | "patient", _) => {
                ["receive", "show", "generalize", "pseudonymize", "encrypt", "change", "relate"]
                    .contains(&self.action)
            }
            ("epsilon" | "type", About::Budget) => true,
            _ => false,
        }
    }
}

struct Putting<'a> {
    question: &'a Question,
    types: &'a Types,
}

impl Putting<'_> {
    fn scope(&self, constraint: &Value, var: Value) -> Result<Value, NotUnderstood> {
        let literal = |named: &Value| json!({ "Value": { "__entity": named.clone() } });
        let inside = |right: Value| self.put(&json!({ "in": { "left": var.clone(), "right": right } }));
        match constraint["op"].as_str() {
            Some("All") => Ok(truth(true)),
            Some("==") => {
                self.put(&json!({ "==": { "left": var, "right": literal(&constraint["entity"]) } }))
            }
            Some("in") => match constraint["entities"].as_array() {
                Some(many) => inside(json!({ "Set": many.iter().map(literal).collect::<Vec<_>>() })),
                None => inside(literal(&constraint["entity"])),
            },
            Some("is") => {
                let is =
                    self.put(&json!({ "is": { "left": var, "entity_type": constraint["entity_type"] } }))?;
                match constraint.get("in") {
                    Some(group) => Ok(and(is, inside(literal(&group["entity"]))?)),
                    None => Ok(is),
                }
            }
            _ => Err(NotUnderstood(constraint.to_string())),
        }
    }

    fn put(&self, value: &Value) -> Result<Value, NotUnderstood> {
        let Some((op, body)) = value.as_object().and_then(|map| map.iter().next()) else {
            return Err(NotUnderstood(value.to_string()));
        };
        let side = |side: &str| self.put(&body[side]);
        Ok(match op.as_str() {
            "Value" | "Slot" => value.clone(),
            "Var" => match body.as_str() {
                Some("action") => entity("Action", self.question.action),
                Some("resource") => self.resource(),
                _ => value.clone(),
            },
            "!" => not(side("arg")?),
            "&&" => and(side("left")?, side("right")?),
            "||" => or(side("left")?, side("right")?),
            "if-then-else" => choice(side("if")?, side("then")?, side("else")?),
            "==" => equal(side("left")?, side("right")?),
            "!=" => not(equal(side("left")?, side("right")?)),
            "contains" => {
                let (left, right) = (side("left")?, side("right")?);
                match left.get("Set").and_then(Value::as_array) {
                    Some(items)
                        if as_entity(&right).is_some() && items.iter().all(|i| as_entity(i).is_some()) =>
                    {
                        truth(items.contains(&right))
                    }
                    _ => json!({ "contains": { "left": left, "right": right } }),
                }
            }
            "in" => self.inside(side("left")?, &side("right")?)?,
            "is" => {
                let left = side("left")?;
                let is = self.is(&left, body["entity_type"].as_str().unwrap_or_default())?;
                match body.get("in") {
                    Some(group) => and(is, self.inside(left, &self.put(group)?)?),
                    None => is,
                }
            }
            "has" if is_variable(&body["left"], "context") => {
                truth(self.question.has(body["attr"].as_str().unwrap_or_default()))
            }
            "Set" => Value::Object(Map::from_iter([(op.clone(), self.list(body)?)])),
            "Record" => {
                let members = body.as_object().into_iter().flatten();
                let put =
                    members.map(|(k, v)| Ok((k.clone(), self.put(v)?))).collect::<Result<Map<_, _>, _>>()?;
                json!({ "Record": put })
            }
            // Binary and unary operators and attributes keep their shape; `attr` and `pattern` are no expressions.
            _ => match body {
                Value::Array(_) => Value::Object(Map::from_iter([(op.clone(), self.list(body)?)])),
                Value::Object(members) => {
                    let put = members.iter().map(|(key, v)| {
                        let inner = ["left", "right", "arg"].contains(&key.as_str());
                        Ok((key.clone(), if inner { self.put(v)? } else { v.clone() }))
                    });
                    let put = put.collect::<Result<Map<_, _>, NotUnderstood>>()?;
                    Value::Object(Map::from_iter([(op.clone(), Value::Object(put))]))
                }
                _ => return Err(NotUnderstood(value.to_string())),
            },
        })
    }

    fn list(&self, items: &Value) -> Result<Value, NotUnderstood> {
        let items = items.as_array().ok_or_else(|| NotUnderstood(items.to_string()))?;
        items.iter().map(|item| self.put(item)).collect()
    }

    fn resource(&self) -> Value {
        match &self.question.about {
            About::Category(category) => entity("Category", category.name()),
            About::Type(expression) => expression.clone(),
            About::Budget => attribute(variable("context"), "budget"),
        }
    }

    fn is(&self, left: &Value, kind: &str) -> Result<Value, NotUnderstood> {
        let of = if is_variable(left, "principal") {
            "User"
        } else if let Some((of, _)) = as_entity(left) {
            of
        } else if is_type(left) {
            "ResourceType"
        } else if *left == attribute(variable("context"), "budget") {
            "Budget"
        } else {
            return Ok(json!({ "is": { "left": left, "entity_type": kind } }));
        };
        Ok(truth(of == kind))
    }

    /// `left in right`, where `right` is a literal entity or a list of them.
    fn inside(&self, left: Value, right: &Value) -> Result<Value, NotUnderstood> {
        if let Some(items) = right.get("Set").and_then(Value::as_array) {
            let each = items.iter().map(|item| self.inside(left.clone(), item));
            return Ok(any(each.collect::<Result<Vec<_>, _>>()?));
        }
        let unclear = || NotUnderstood(json!({ "in": { "left": left, "right": right } }).to_string());
        let (kind, id) = as_entity(right).ok_or_else(unclear)?;
        if let Some((of, name)) = as_entity(&left) {
            let inside = match of {
                "Category" => {
                    kind == of
                        && Category::parse(name).is_some_and(|c| above_category(c).any(|above| above == id))
                }
                "Action" => kind == of && above_action(name).any(|above| above == id),
                "ResourceType" => kind == of && (name == id || self.types.members(id).contains(&name)),
                _ => (of, name) == (kind, id),
            };
            return Ok(truth(inside));
        }
        if is_variable(&left, "principal") {
            return Ok(match kind {
                "Role" => json!({ "in": { "left": left, "right": right } }),
                "Organization" => is_organization(id),
                "User" => equal(left, right.clone()),
                _ => truth(false),
            });
        }
        if is_type(&left) {
            let members = self.types.members(id);
            let named = members.iter().copied().chain((members.is_empty()).then_some(id));
            return Ok(if kind == "ResourceType" { one_of(left, kind, named) } else { truth(false) });
        }
        if left == attribute(variable("context"), "budget") {
            return Ok(match kind {
                "Organization" => equal(attribute(variable("context"), "owner"), right.clone()),
                "Budget" => equal(left, right.clone()),
                _ => truth(false),
            });
        }
        // Nothing else stands in anything: an organization or an app is in itself alone.
        match left.get(".").map(|access| (&access["left"], access["attr"].as_str())) {
            Some((of, Some("organization"))) if is_variable(of, "principal") && kind == "Organization" => {
                Ok(equal(left, right.clone()))
            }
            Some((of, Some("client"))) if is_variable(of, "principal") && kind == "Client" => {
                Ok(equal(left, right.clone()))
            }
            _ => Err(unclear()),
        }
    }
}

/// A caller is in the organization that her attribute names, and in no other.
fn is_organization(id: &str) -> Value {
    let has = json!({ "has": { "left": variable("principal"), "attr": "organization" } });
    and(has, equal(attribute(variable("principal"), "organization"), entity("Organization", id)))
}

/// `context.record.type`, `context.type` or `context.askedN`.
fn is_type(expression: &Value) -> bool {
    let Some(access) = expression.get(".") else { return false };
    let attr = access["attr"].as_str().unwrap_or_default();
    let of_context = is_variable(&access["left"], "context");
    of_context && (attr == "type" || attr.starts_with("asked"))
        || attr == "type" && access["left"] == attribute(variable("context"), "record")
}
