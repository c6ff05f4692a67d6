//! What of a policy can be told before any record is seen: which facts it reads, and whether it can apply at all.

use serde_json::Value;

/// What a policy's conditions mention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    /// `context.record`, `context.patient` or all of the context: the answer depends on which record it is.
    pub(crate) record: bool,
    /// `context.patient`, or all of the context: access rests on whom the record is about.
    pub(crate) patient: bool,
    pub(crate) resource: bool,
    pub(crate) action: bool,
    /// `hour`, `minuteOfDay`, `weekday` or `network`: what changes between requests of one caller.
    pub(crate) moment: bool,
}

/// A walk over the conditions in Cedar's JSON form. Anything that is not understood counts as reading everything.
pub(crate) fn reads(policy: &Value) -> Reads {
    let mut found = Reads::default();
    walk(&policy["conditions"], &mut found);
    found
}

fn walk(value: &Value, found: &mut Reads) {
    match value {
        Value::Array(items) => items.iter().for_each(|v| walk(v, found)),
        Value::Object(map) => {
            for op in [".", "has"] {
                let Some(access) = map.get(op) else { continue };
                let (left, attr) = (&access["left"], access["attr"].as_str().unwrap_or_default());
                if is_var(left, "context") {
                    found.record |= attr != "env";
                    found.patient |= attr == "patient";
                    // `context.env` alone, without the attribute that is read, could be compared whole.
                    found.moment |= attr == "env";
                    return;
                }
                if is_env(left) {
                    found.moment |= matches!(attr, "hour" | "minuteOfDay" | "weekday" | "network");
                    return;
                }
            }
            match map.get("Var").and_then(Value::as_str) {
                Some("context") => {
                    found.record = true;
                    found.patient = true;
                    found.moment = true;
                }
                Some("resource") => found.resource = true,
                Some("action") => found.action = true,
                _ => {}
            }
            map.values().for_each(|v| walk(v, found));
        }
        _ => {}
    }
}

fn is_var(value: &Value, name: &str) -> bool {
    value.get("Var").and_then(Value::as_str) == Some(name)
}

fn is_env(value: &Value) -> bool {
    value.get(".").is_some_and(|a| a["attr"] == "env" && is_var(&a["left"], "context"))
}

/// Whether the conditions can hold for a principal with these parents; `None` where that depends on more.
pub(crate) fn can_hold(policy: &Value, is_in: &dyn Fn(&str, &str) -> bool) -> bool {
    policy["conditions"].as_array().into_iter().flatten().all(|condition| {
        let value = truth(&condition["body"], is_in);
        match condition["kind"].as_str() {
            Some("when") => value != Some(false),
            Some("unless") => value != Some(true),
            _ => true,
        }
    })
}

fn truth(value: &Value, is_in: &dyn Fn(&str, &str) -> bool) -> Option<bool> {
    let map = value.as_object()?;
    let (op, body) = map.iter().next()?;
    let sides = || (truth(&body["left"], is_in), truth(&body["right"], is_in));
    match op.as_str() {
        "Value" => body.as_bool(),
        "!" => truth(&body["arg"], is_in).map(|v| !v),
        "&&" => match sides() {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        },
        "||" => match sides() {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        },
        "in" if is_var(&body["left"], "principal") => {
            let entity = &body["right"]["Value"]["__entity"];
            let (kind, id) = (entity["type"].as_str()?, entity["id"].as_str()?);
            (kind == "Role" || kind == "Organization").then(|| is_in(kind, id))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        cedar_policy::Policy::parse(None, text).unwrap().to_json().unwrap()
    }

    #[test]
    fn what_a_condition_reads_is_found_wherever_it_stands() {
        let r = |t: &str| reads(&json(&format!("permit(principal, action, resource) when {{ {t} }};")));
        assert_eq!(r("context.env.purpose == \"TREAT\""), Reads::default());
        assert!(r("context.env.hour > 3").moment);
        assert!(r("context.patient.known").record && r("context.patient.known").patient);
        assert!(!r("context.record has ageDays").patient);
        assert!(r("!(1 < 2 && context.record has ageDays)").record);
        assert!(r("context has record").record);
        assert!(r("resource in Category::\"text\"").resource);
        assert!(r("action == Action::\"show\"").action);
        assert!(r("context == context").record && r("context.env == context.env").moment);
    }

    #[test]
    fn a_policy_that_spares_a_role_cannot_apply_to_it() {
        let holds = |t: &str| can_hold(&json(&format!("forbid(principal, action, resource) {t};")), &|kind, id| (kind, id) == ("Role", "a"));
        assert!(!holds("when { context.x } unless { context.y || principal in Role::\"a\" }"));
        assert!(holds("when { context.x } unless { context.y && principal in Role::\"a\" }"));
        assert!(holds("unless { principal in Role::\"b\" }"));
        assert!(!holds("when { principal in Role::\"b\" && context.x }"));
        assert!(!holds("when { !(principal in Role::\"a\") }"));
    }
}
