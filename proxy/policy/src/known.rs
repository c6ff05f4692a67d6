//! What of a policy can be told before any record is seen: which facts it reads, and whether it can apply at all.

use drape_view::Category;
use serde_json::Value;

use crate::entities::category_ancestors;

/// What a policy's conditions mention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    pub(crate) record: bool,
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

/// What a policy's conditions find out about its resource, category by category: one bit for each place where they ask
/// `resource in …`, `resource == …` or `[…].contains(resource)`. Categories with equal bits are the same to the policy.
/// `None` where the resource stands anywhere else, or in more than 64 places.
pub(crate) fn told_apart(policy: &Value) -> Option<Vec<u64>> {
    Category::ALL
        .into_iter()
        .map(|category| {
            let names: Vec<&str> = category_ancestors(category).collect();
            let mut bits = (0, 0);
            ask(&policy["conditions"], &names, &mut bits)?;
            Some(bits.0)
        })
        .collect()
}

/// `names[0]` is the category's own; the others are the groups above it. `bits` are the answers and their number.
fn ask(value: &Value, names: &[&str], bits: &mut (u64, u32)) -> Option<()> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|v| ask(v, names, bits)),
        Value::Object(map) => {
            let side = |op: &str, side: &str| map.get(op).map(|body| &body[side]);
            let on_left = |op| side(op, "left").is_some_and(|v| is_var(v, "resource"));
            let answer = if on_left("in") {
                names.contains(&category_id(side("in", "right")?)?)
            } else if on_left("==") {
                names[0] == category_id(side("==", "right")?)?
            } else if side("contains", "right").is_some_and(|v| is_var(v, "resource")) {
                let set = side("contains", "left")?;
                let items = set.get("Set").or_else(|| set.get("Value"))?.as_array()?;
                let ids: Option<Vec<&str>> = items.iter().map(category_id).collect();
                ids?.contains(&names[0])
            } else if map.get("Var").and_then(Value::as_str) == Some("resource") {
                return None;
            } else {
                return map.values().try_for_each(|v| ask(v, names, bits));
            };
            if bits.1 == u64::BITS {
                return None;
            }
            bits.0 |= u64::from(answer) << bits.1;
            bits.1 += 1;
            Some(())
        }
        _ => Some(()),
    }
}

/// The id of a category or of a group of them, named literally.
fn category_id(value: &Value) -> Option<&str> {
    let entity = value.get("Value").unwrap_or(value).get("__entity")?;
    (entity["type"] == "Category").then_some(())?;
    entity["id"].as_str()
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
        assert!(r("context.patient.known").record);
        assert!(r("!(1 < 2 && context.record has ageDays)").record);
        assert!(r("context has record").record);
        assert!(r("resource in Category::\"text\"").resource);
        assert!(r("action == Action::\"show\"").action);
        assert!(r("context == context").record && r("context.env == context.env").moment);
    }

    #[test]
    fn categories_are_told_apart_by_what_is_asked_of_them_and_by_nothing_else() {
        let bits = |t: &str| told_apart(&json(&format!("permit(principal, action, resource) when {{ {t} }};")));
        let of = |t: &str, c: Category| bits(t).map(|all| all[c.index()]);
        assert_eq!(bits("context.record.classified"), Some(vec![0; Category::COUNT]));
        let both = "resource in Category::\"text\" || resource == Category::\"diagnosis\"";
        assert_eq!([Category::Note, Category::Diagnosis, Category::Address].map(|c| of(both, c)), [Some(1), Some(2), Some(0)]);
        let listed = "context.record.classified && [Category::\"note\", Category::\"image\"].contains(resource)";
        assert_eq!([Category::Note, Category::Image, Category::Narrative].map(|c| of(listed, c)), [Some(1), Some(1), Some(0)]);
        for unclear in ["resource == context.record.type", "[resource].contains(Category::\"note\")", "resource in [Category::\"note\"]", "resource has x"] {
            assert_eq!(bits(unclear), None, "{unclear}");
        }
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
