//! Cedar expressions in Cedar's own JSON: built, and made smaller where that changes neither value nor error.

use serde_json::{Value, json};

/// A literal truth value.
pub(crate) fn truth(value: bool) -> Value {
    json!({ "Value": value })
}

/// What it is, where it is a literal truth value.
pub(crate) fn as_truth(expression: &Value) -> Option<bool> {
    expression.get("Value").and_then(Value::as_bool)
}

/// `!a`.
pub(crate) fn not(a: Value) -> Value {
    if let Some(value) = as_truth(&a) {
        return truth(!value);
    }
    match a.get("!") {
        Some(inner) => inner["arg"].clone(),
        None => json!({ "!": { "arg": a } }),
    }
}

/// `a && b`. Cedar stops at the first that is false, so a false on the right takes no error away from the left.
pub(crate) fn and(a: Value, b: Value) -> Value {
    match (as_truth(&a), as_truth(&b)) {
        (Some(false), _) => a,
        (Some(true), _) => b,
        (None, Some(true)) => a,
        _ => json!({ "&&": { "left": a, "right": b } }),
    }
}

/// `a || b`.
pub(crate) fn or(a: Value, b: Value) -> Value {
    match (as_truth(&a), as_truth(&b)) {
        (Some(true), _) => a,
        (Some(false), _) => b,
        (None, Some(false)) => a,
        _ => json!({ "||": { "left": a, "right": b } }),
    }
}

/// All of them, the first one first.
pub(crate) fn all(parts: impl IntoIterator<Item = Value>) -> Value {
    joined(parts.into_iter().collect(), &truth(true), and)
}

/// Any of them.
pub(crate) fn any(parts: impl IntoIterator<Item = Value>) -> Value {
    joined(parts.into_iter().collect(), &truth(false), or)
}

/// In the same order, but as a tree: whoever reads it goes down step by step, and steps need stack.
fn joined(mut parts: Vec<Value>, none: &Value, join: fn(Value, Value) -> Value) -> Value {
    parts.retain(|part| part != none);
    match parts.len() {
        0 => none.clone(),
        1 => parts.remove(0),
        len => {
            let right = parts.split_off(len / 2);
            join(joined(parts, none, join), joined(right, none, join))
        }
    }
}

/// `if a then b else c`.
pub(crate) fn choice(a: Value, b: Value, c: Value) -> Value {
    match as_truth(&a) {
        Some(true) => b,
        Some(false) => c,
        None => json!({ "if-then-else": { "if": a, "then": b, "else": c } }),
    }
}

/// The same where some parts have a known value. Only for what cannot err: a false on the right takes all with it.
pub(crate) fn given(expression: &Value, known: &dyn Fn(&Value) -> Option<bool>) -> Value {
    if let Some(value) = known(expression) {
        return truth(value);
    }
    let sides = |body: &Value| (given(&body["left"], known), given(&body["right"], known));
    let Some((op, body)) = expression.as_object().and_then(|map| map.iter().next()) else {
        return expression.clone();
    };
    match op.as_str() {
        "!" => not(given(&body["arg"], known)),
        "&&" => match sides(body) {
            (_, right) if as_truth(&right) == Some(false) => right,
            (left, right) => and(left, right),
        },
        "||" => match sides(body) {
            (_, right) if as_truth(&right) == Some(true) => right,
            (left, right) => or(left, right),
        },
        "if-then-else" => {
            choice(given(&body["if"], known), given(&body["then"], known), given(&body["else"], known))
        }
        _ => expression.clone(),
    }
}

/// `kind::"id"`.
pub(crate) fn entity(kind: &str, id: &str) -> Value {
    json!({ "Value": { "__entity": { "type": kind, "id": id } } })
}

/// Kind and id of a literal entity.
pub(crate) fn as_entity(expression: &Value) -> Option<(&str, &str)> {
    let entity = expression.get("Value")?.get("__entity")?;
    Some((entity["type"].as_str()?, entity["id"].as_str()?))
}

/// `principal`, `context`, …
pub(crate) fn variable(name: &str) -> Value {
    json!({ "Var": name })
}

/// Whether it is that variable.
pub(crate) fn is_variable(expression: &Value, name: &str) -> bool {
    expression.get("Var").and_then(Value::as_str) == Some(name)
}

/// `of.attr`.
pub(crate) fn attribute(of: Value, attr: &str) -> Value {
    json!({ ".": { "left": of, "attr": attr } })
}

/// `context.part.attr`.
pub(crate) fn fact(part: &str, attr: &str) -> Value {
    attribute(attribute(variable("context"), part), attr)
}

/// `a == b`, worked out where both are literal.
pub(crate) fn equal(a: Value, b: Value) -> Value {
    match (as_entity(&a), as_entity(&b)) {
        (Some(left), Some(right)) => truth(left == right),
        _ => json!({ "==": { "left": a, "right": b } }),
    }
}

/// `principal in Role::"role"`.
pub(crate) fn in_role(role: &str) -> Value {
    json!({ "in": { "left": variable("principal"), "right": entity("Role", role) } })
}

/// Whether `of` is one of these literal entities.
pub(crate) fn one_of<'a>(of: Value, kind: &str, ids: impl IntoIterator<Item = &'a str>) -> Value {
    let members: Vec<Value> = ids.into_iter().map(|id| entity(kind, id)).collect();
    match (members.as_slice(), as_entity(&of)) {
        ([], _) => truth(false),
        (_, Some(_)) => truth(members.contains(&of)),
        ([only], None) => equal(of, only.clone()),
        _ => json!({ "contains": { "left": { "Set": members }, "right": of } }),
    }
}

/// Calls `each` with every node, outer ones first.
pub(crate) fn visit<'a>(expression: &'a Value, each: &mut impl FnMut(&'a Value)) {
    each(expression);
    match expression {
        Value::Array(items) => items.iter().for_each(|item| visit(item, each)),
        Value::Object(members) => members.values().for_each(|value| visit(value, each)),
        _ => {}
    }
}

/// The ids of all literal entities of a kind.
pub(crate) fn ids_of<'a>(expression: &'a Value, kind: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    visit(expression, &mut |node| {
        if let (Some(of), Some(id)) =
            (node.get("type").and_then(Value::as_str), node.get("id").and_then(Value::as_str))
            && of == kind
        {
            found.push(id);
        }
    });
    found
}

/// The attributes that are read, as `env.hour`, `record.labels`, `patient.known`, `principal.title`, `context.epsilon`.
pub(crate) fn attributes(expression: &Value) -> Vec<String> {
    let mut found = Vec::new();
    visit(expression, &mut |node| {
        for op in [".", "has"] {
            let Some(access) = node.get(op) else { continue };
            let (left, attr) = (&access["left"], access["attr"].as_str().unwrap_or_default());
            if let Some(of) = left.get("Var").and_then(Value::as_str) {
                found.push(format!("{of}.{attr}"));
            } else if let Some(inner) = left.get(".").filter(|i| is_variable(&i["left"], "context")) {
                found.push(format!("{}.{attr}", inner["attr"].as_str().unwrap_or_default()));
            }
        }
    });
    found.sort();
    found.dedup();
    found
}

/// The literal strings.
pub(crate) fn strings(expression: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    visit(expression, &mut |node| found.extend(node.get("Value").and_then(Value::as_str)));
    found
}
