//! Conditions of policies in plain words: those that are known to hold fall away, and what is left is told.

use std::collections::BTreeSet;

use drape_policy::told::{TYPE_GROUPS, category_in};
use drape_view::Category;
use serde_json::Value;

use super::atoms;

/// What is known already when a condition is read; what is `None` is told instead.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known<'a> {
    /// The roles acted in.
    pub(crate) roles: Option<&'a BTreeSet<String>>,
    /// The purpose of use.
    pub(crate) purpose: Option<&'a str>,
    /// Whether the caller acts for an organization.
    pub(crate) has_organization: Option<bool>,
    /// The category that is asked about.
    pub(crate) category: Option<Category>,
    /// The type of record that is asked about.
    pub(crate) resource_type: Option<&'a str>,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cond {
    Always,
    Never,
    /// In words, and in words when it does not hold; `about` names what is asked for, to tell when one part says that
    /// something is there and another what it is.
    Atom {
        yes: String,
        no: String,
        about: Option<String>,
        is_presence: bool,
        holds: bool,
    },
    All(Vec<Cond>),
    Any(Vec<Cond>),
}

/// A condition that has no words here; the policy is told in Cedar then.
#[derive(Debug)]
pub(crate) struct Wordless;

impl Cond {
    pub(crate) fn atom(yes: impl Into<String>, no: impl Into<String>) -> Self {
        Self::Atom { yes: yes.into(), no: no.into(), about: None, is_presence: false, holds: true }
    }

    pub(crate) fn of(value: bool) -> Self {
        if value { Self::Always } else { Self::Never }
    }

    pub(crate) fn not(self) -> Self {
        match self {
            Self::Always => Self::Never,
            Self::Never => Self::Always,
            Self::Atom { yes, no, about, is_presence, holds } => {
                Self::Atom { yes, no, about, is_presence, holds: !holds }
            }
            Self::All(parts) => Self::any(parts.into_iter().map(Self::not)),
            Self::Any(parts) => Self::all(parts.into_iter().map(Self::not)),
        }
    }

    pub(crate) fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut found = Vec::new();
        for part in parts {
            match part {
                Self::Always => {}
                Self::Never => return Self::Never,
                Self::All(inner) => inner.into_iter().for_each(|p| push(&mut found, p)),
                part => push(&mut found, part),
            }
        }
        match found.len() {
            0 => Self::Always,
            1 => found.remove(0),
            _ => Self::All(found),
        }
    }

    pub(crate) fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut found = Vec::new();
        for part in parts {
            match part {
                Self::Never => {}
                Self::Always => return Self::Always,
                Self::Any(inner) => inner.into_iter().for_each(|p| push(&mut found, p)),
                part => push(&mut found, part),
            }
        }
        match found.len() {
            0 => Self::Never,
            1 => found.remove(0),
            _ => Self::Any(found),
        }
    }

    /// The parts that must all hold.
    pub(crate) fn parts(&self) -> Vec<&Self> {
        match self {
            Self::All(parts) => parts.iter().collect(),
            Self::Always => Vec::new(),
            other => vec![other],
        }
    }

    /// Whether this holds wherever `other` does, as far as that can be told from their words: each part of this is one of
    /// the other's.
    pub(crate) fn follows_from(&self, other: &Self) -> bool {
        let theirs = other.parts();
        self.parts().iter().all(|part| theirs.contains(part))
    }

    /// In words, to follow `where`.
    pub(crate) fn words(&self) -> String {
        self.say(false)
    }

    fn say(&self, inside: bool) -> String {
        match self {
            Self::Always => "always".into(),
            Self::Never => "never".into(),
            Self::Atom { yes, no, holds, .. } => {
                if *holds {
                    yes.clone()
                } else {
                    no.clone()
                }
            }
            Self::All(parts) => {
                let parts = told(parts);
                let said = join(&parts, "and");
                if inside && parts.len() > 1 { format!("({said})") } else { said }
            }
            Self::Any(parts) => {
                let said: Vec<String> = parts.iter().map(|p| p.say(true)).collect();
                let said = join(&said, "or");
                if inside { format!("({said})") } else { said }
            }
        }
    }
}

fn push(found: &mut Vec<Cond>, part: Cond) {
    if !found.contains(&part) {
        found.push(part);
    }
}

/// The parts of a conjunction. That something is there need not be said where another part says what it is.
fn told(parts: &[Cond]) -> Vec<String> {
    let says_more = |name: &Option<String>| {
        name.is_some()
            && parts
                .iter()
                .any(|p| matches!(p, Cond::Atom { about, is_presence: false, .. } if about == name))
    };
    parts
        .iter()
        .filter(|part| match part {
            Cond::Atom { about, is_presence: true, holds: true, .. } => !says_more(about),
            _ => true,
        })
        .map(|part| part.say(true))
        .collect()
}

/// `a, b and c`.
pub(crate) fn join(list: &[String], word: &str) -> String {
    match list {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} {word} {last}", first.join(", ")),
    }
}

/// The conditions of a policy: every `when`, and no `unless`.
pub(crate) fn conditions(policy: &Value, known: Known<'_>) -> Result<Cond, Wordless> {
    let mut all = Vec::new();
    for condition in policy["conditions"].as_array().into_iter().flatten() {
        let cond = read(&condition["body"], known)?;
        match condition["kind"].as_str() {
            Some("when") => all.push(cond),
            Some("unless") => all.push(cond.not()),
            _ => return Err(Wordless),
        }
    }
    Ok(Cond::all(all))
}

/// Scope and conditions together: whether the policy holds for the action that it is asked about.
pub(crate) fn holds(policy: &Value, known: Known<'_>) -> Result<Cond, Wordless> {
    let scope = |name: &str| -> Result<Cond, Wordless> {
        let constraint = &policy[name];
        let entity = &constraint["entity"];
        let var = serde_json::json!({ "Var": name });
        match constraint["op"].as_str() {
            Some("All") => Ok(Cond::Always),
            Some("in") if entity.is_object() => member(&var, std::slice::from_ref(entity), true, known),
            Some("==") if entity.is_object() => member(&var, std::slice::from_ref(entity), false, known),
            Some("is") => match constraint["in"]["entity"].is_object() {
                true => member(&var, std::slice::from_ref(&constraint["in"]["entity"]), true, known),
                false => Ok(Cond::Always),
            },
            _ => Err(Wordless),
        }
    };
    Ok(Cond::all([scope("principal")?, scope("resource")?, conditions(policy, known)?]))
}

fn read(expr: &Value, known: Known<'_>) -> Result<Cond, Wordless> {
    let Some((op, body)) = expr.as_object().and_then(|o| (o.len() == 1).then(|| o.iter().next())?) else {
        return Err(Wordless);
    };
    let (left, right) = (&body["left"], &body["right"]);
    match op.as_str() {
        "Value" => body.as_bool().map(Cond::of).ok_or(Wordless),
        "&&" => Ok(Cond::all([read(left, known)?, read(right, known)?])),
        "||" => Ok(Cond::any([read(left, known)?, read(right, known)?])),
        "!" => Ok(read(&body["arg"], known)?.not()),
        "if-then-else" => {
            let test = read(&body["if"], known)?;
            let (yes, no) = (read(&body["then"], known)?, read(&body["else"], known)?);
            Ok(Cond::any([Cond::all([test.clone(), yes]), Cond::all([test.not(), no])]))
        }
        "in" => member(left, &entities(right).ok_or(Wordless)?, true, known),
        "==" | "!=" => {
            let equal = match (entities(left), entities(right)) {
                (None, Some(named)) => member(left, &named, false, known)?,
                (Some(named), None) => member(right, &named, false, known)?,
                _ => atoms::equal(left, right, known)?,
            };
            Ok(if op == "==" { equal } else { equal.not() })
        }
        "contains" => match (list(left), entities(left)) {
            (Some(_), Some(named)) => member(right, &named, false, known),
            (Some(items), None) => {
                let each = items.iter().map(|item| {
                    let item = if item.get("Value").is_some() {
                        item.clone()
                    } else {
                        serde_json::json!({ "Value": item })
                    };
                    atoms::equal(right, &item, known)
                });
                Ok(Cond::any(each.collect::<Result<Vec<_>, _>>()?))
            }
            _ => atoms::contains(left, std::slice::from_ref(right), known),
        },
        "containsAny" if list(right).is_none() => atoms::share(left, right),
        "containsAny" | "containsAll" => {
            let items = list(right).ok_or(Wordless)?;
            match op.as_str() {
                "containsAny" => atoms::contains(left, items, known),
                _ => {
                    let each = items.iter().map(|i| atoms::contains(left, std::slice::from_ref(i), known));
                    Ok(Cond::all(each.collect::<Result<Vec<_>, _>>()?))
                }
            }
        }
        "<" | "<=" | ">" | ">=" => atoms::compare(op, left, right),
        "lessThan" | "lessThanOrEqual" | "greaterThan" | "greaterThanOrEqual" | "isInRange" => {
            let arguments = body.as_array().ok_or(Wordless)?;
            match arguments.as_slice() {
                [left, right] => atoms::compare(op, left, right),
                _ => Err(Wordless),
            }
        }
        "has" => match (atoms::path(left).as_deref(), body["attr"].as_str(), known.has_organization) {
            (Some("principal"), Some("organization"), Some(has)) => Ok(Cond::of(has)),
            (_, attr, _) => atoms::has(left, attr.ok_or(Wordless)?),
        },
        "." => atoms::flag(expr),
        "is" => Err(Wordless),
        _ => Err(Wordless),
    }
}

/// The items of a set that is written out.
fn list(expr: &Value) -> Option<&[Value]> {
    let items = expr.get("Set").or_else(|| expr.get("Value").filter(|v| v.is_array()))?;
    items.as_array().map(Vec::as_slice)
}

/// An entity that is written out, or a set of them.
fn entities(expr: &Value) -> Option<Vec<Value>> {
    let one = |v: &Value| Some(v.get("Value").unwrap_or(v).get("__entity")?.clone());
    match list(expr) {
        Some(items) => items.iter().map(one).collect(),
        None => one(expr).map(|e| vec![e]),
    }
}

/// Whether something is one of these entities, or (`below`) stands under one of them.
fn member(of: &Value, named: &[Value], below: bool, known: Known<'_>) -> Result<Cond, Wordless> {
    let mut any = Vec::new();
    for entity in named {
        let kind = entity["type"].as_str().ok_or(Wordless)?;
        let id = entity["id"].as_str().ok_or(Wordless)?;
        let asked = atoms::path(of).ok_or(Wordless)?;
        any.push(match (kind, asked.as_str()) {
            ("Role", "principal") if below => match known.roles {
                Some(roles) => Cond::of(roles.contains(id)),
                None => {
                    Cond::atom(format!("the caller acts as {id}"), format!("the caller does not act as {id}"))
                }
            },
            ("Category", "resource") => match known.category {
                Some(category) if below => Cond::of(category_in(category, id)),
                Some(category) => Cond::of(category.name() == id),
                None => {
                    let group = below && Category::parse(id).is_none();
                    let what = if group { format!("one of the group {id}") } else { id.to_owned() };
                    Cond::atom(format!("the category is {what}"), format!("the category is not {what}"))
                }
            },
            ("ResourceType", "resource" | "context.record.type" | "context.type") => {
                match known.resource_type {
                    Some(of) => Cond::of(type_in(of, id, below)),
                    None => {
                        let group = TYPE_GROUPS.iter().any(|(g, _)| *g == id);
                        let what = if group { format!("of a {id} type") } else { article(id) };
                        let subject = match asked.as_str() {
                            "context.type" => "what is counted",
                            "resource" => "what is asked for",
                            _ => "the record",
                        };
                        Cond::atom(format!("{subject} is {what}"), format!("{subject} is not {what}"))
                    }
                }
            }
            (kind, asked) => atoms::entity(asked, kind, id)?,
        });
    }
    // One sentence about several types reads better than one each.
    Ok(atoms::merged(Cond::any(any)))
}

fn type_in(resource_type: &str, name: &str, below: bool) -> bool {
    resource_type == name
        || below && TYPE_GROUPS.iter().any(|(g, members)| *g == name && members.contains(&resource_type))
}

fn article(noun: &str) -> String {
    let vowel = noun.chars().next().is_some_and(|c| "AEIOU".contains(c));
    format!("{} {noun}", if vowel { "an" } else { "a" })
}
