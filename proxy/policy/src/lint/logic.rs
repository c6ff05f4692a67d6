//! Whether conditions can hold at all, and whether they hold wherever others do: tried over every combination of answers
//! to what they ask.
//!
//! What is asked of the same thing is tried together (a purpose has one value, a number lies on one side of each bound,
//! a record has one type); everything else counts as independent. So what is found impossible is impossible, while
//! some that is impossible may not be found.

use std::collections::{BTreeMap, BTreeSet};

use drape_view::Category;
use serde_json::Value;

use crate::check::ACTIONS;
use crate::entities::category_ancestors;
use crate::types::TYPE_GROUPS;

/// A condition over answers that are not known yet.
#[derive(Clone, Debug)]
pub(super) enum Formula {
    Const(bool),
    Ask(Atom),
    Not(Box<Formula>),
    All(Vec<Formula>),
    Any(Vec<Formula>),
}

/// One question.
#[derive(Clone, Debug)]
pub(super) enum Atom {
    /// Whether a thing (`context.env.purpose`, `resource`) is one of these.
    Among(String, BTreeSet<String>),
    /// Whether a number is at most this.
    AtMost(String, i64),
    /// Anything else, by its text.
    Whether(String),
}

/// What is asked in general: an action, and what it may be asked of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) action: &'a str,
    /// One resource alone, `Category::note`; else all that the action is asked of.
    pub(super) resource: Option<&'a str>,
}

/// Every action that Drape asks for, with the kind of resource that it asks about.
pub(super) const ASKED: [(&str, &str); 21] = [
    ("read", TYPE),
    ("vread", TYPE),
    ("history", TYPE),
    ("search", TYPE),
    ("create", TYPE),
    ("update", TYPE),
    ("patch", TYPE),
    ("delete", TYPE),
    ("transaction", TYPE),
    ("export", TYPE),
    ("operation", TYPE),
    ("aggregate", "Budget"),
    ("receive", TYPE),
    ("show", CATEGORY),
    ("generalize", CATEGORY),
    ("pseudonymize", CATEGORY),
    ("encrypt", CATEGORY),
    ("searchBy", CATEGORY),
    ("countBy", CATEGORY),
    ("change", CATEGORY),
    ("relate", CATEGORY),
];

pub(super) const TYPE: &str = "ResourceType";
pub(super) const CATEGORY: &str = "Category";
const RESOURCE: &str = "resource";
const RECORD_TYPE: &str = "context.record.type";
/// The thing that purposes are the values of.
pub(super) const PURPOSE: &str = "context.env.purpose";
/// Stands for every value that nobody names.
const OTHER: &str = "\u{0}other";
/// How many steps one question may take; beyond them it counts as possible.
const STEPS_MAX: usize = 60_000;

impl Formula {
    /// When a policy matches: its scope and its conditions.
    pub(super) fn of(policy: &Value) -> Self {
        let mut all = Self::scope(policy);
        all.extend(Self::conditions(policy));
        Self::All(all)
    }

    /// Its scope alone.
    pub(super) fn scope(policy: &Value) -> Vec<Self> {
        let mut all = Vec::new();
        let principal = &policy["principal"];
        if let Some(entity) = entity(&principal["entity"]).or_else(|| entity(&principal["in"]["entity"])) {
            all.push(Self::Ask(Atom::Whether(member("principal", &entity))));
        }
        let action = &policy["action"];
        let named: Vec<&Value> = match (&action["entity"], &action["entities"]) {
            (Value::Object(_), _) => vec![&action["entity"]],
            (_, Value::Array(list)) => list.iter().collect(),
            _ => Vec::new(),
        };
        if !named.is_empty() {
            let equal = action["op"] == "==";
            let names = named.into_iter().filter_map(|v| entity(v).map(|(_, id)| id));
            all.push(among("action", names.flat_map(|id| actions(&id, !equal)).collect()));
        }
        let resource = &policy["resource"];
        match resource["op"].as_str() {
            Some("==") => all.extend(entity(&resource["entity"]).map(|e| one_of(RESOURCE, &e, true))),
            Some("in") => all.extend(entity(&resource["entity"]).map(|e| one_of(RESOURCE, &e, false))),
            Some("is") => {
                all.push(is_kind(resource["entity_type"].as_str().unwrap_or_default()));
                all.extend(entity(&resource["in"]["entity"]).map(|e| one_of(RESOURCE, &e, false)));
            }
            _ => {}
        }
        all
    }

    /// Each thing that its conditions demand, one by one.
    pub(super) fn conditions(policy: &Value) -> Vec<Self> {
        let mut all = Vec::new();
        for condition in policy["conditions"].as_array().into_iter().flatten() {
            match condition["kind"].as_str() {
                Some("unless") => all.push(Self::Not(Box::new(read(&condition["body"])))),
                _ => demands(&condition["body"], &mut all),
            }
        }
        all
    }

    /// Every question in it.
    pub(super) fn atoms<'a>(&'a self, found: &mut Vec<&'a Atom>) {
        match self {
            Self::Const(_) => {}
            Self::Ask(atom) => found.push(atom),
            Self::Not(inner) => inner.atoms(found),
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.atoms(found)),
        }
    }
}

/// Which purposes there are and which roles each activates, where that is known.
pub(super) type Purposes = BTreeMap<String, BTreeSet<String>>;

/// Whether it can hold. `true` where that would take too long to find out.
pub(super) fn possible(formula: &Formula, question: Question<'_>, purposes: Option<&Purposes>) -> bool {
    let formula = match purposes {
        Some(purposes) => Formula::All(vec![formula.clone(), roles(formula, purposes)]),
        None => formula.clone(),
    };
    let mut atoms = Vec::new();
    formula.atoms(&mut atoms);
    let mut things: Vec<Thing> = Vec::new();
    let names: BTreeSet<&str> = atoms.iter().map(|a| known_as(a, question)).collect();
    for name in names.into_iter().filter(|name| *name != "action") {
        let asked: Vec<&Atom> = atoms.iter().copied().filter(|a| known_as(a, question) == name).collect();
        things.push(Thing::new(name, &asked, question, purposes));
    }
    let compiled = compile(&formula, &things, question);
    let mut chosen = vec![None; things.len()];
    let mut steps = 0;
    search(&compiled, &things, &mut chosen, &mut steps)
}

/// What an atom asks about. `receive` is asked of the record's own type: one thing under two names.
fn known_as<'a>(atom: &'a Atom, question: Question<'_>) -> &'a str {
    match atom.thing() {
        RECORD_TYPE if question.action == "receive" => RESOURCE,
        thing => thing,
    }
}

/// A role can be acted in only under a purpose that activates it.
fn roles(formula: &Formula, purposes: &Purposes) -> Formula {
    let mut atoms = Vec::new();
    formula.atoms(&mut atoms);
    let asked: BTreeSet<&str> = atoms.iter().filter_map(|a| role(a)).collect();
    let rule = |role: &str| {
        let under = purposes.iter().filter(|(_, roles)| roles.contains(role)).map(|(p, _)| p.clone());
        let acts = Formula::Ask(Atom::Whether(member("principal", &("Role".into(), role.into()))));
        Formula::Any(vec![Formula::Not(Box::new(acts)), among(PURPOSE, under.collect())])
    };
    Formula::All(asked.into_iter().map(rule).collect())
}

/// The role that a question asks for.
pub(super) fn role(atom: &Atom) -> Option<&str> {
    let Atom::Whether(text) = atom else { return None };
    text.strip_prefix("principal in Role::\"")?.strip_suffix('"')
}

impl Atom {
    fn thing(&self) -> &str {
        match self {
            Self::Among(thing, _) | Self::AtMost(thing, _) => thing,
            Self::Whether(text) => text,
        }
    }

    fn holds(&self, value: &str) -> bool {
        match self {
            Self::Among(_, values) => values.contains(value),
            Self::AtMost(_, most) => value.parse::<i64>().is_ok_and(|n| n <= *most),
            Self::Whether(_) => value == "yes",
        }
    }
}

/// What is asked about, with the values that make a difference.
struct Thing {
    name: String,
    values: Vec<String>,
}

impl Thing {
    fn new(name: &str, asked: &[&Atom], question: Question<'_>, purposes: Option<&Purposes>) -> Self {
        let mut values: Vec<String> = match asked.first() {
            Some(Atom::Whether(_)) | None => vec!["yes".into(), "no".into()],
            _ if name == RESOURCE => match question.resource {
                Some(one) => vec![one.to_owned()],
                None => resources(question.action),
            },
            _ if name == RECORD_TYPE || name == "context.type" => resources("read"),
            _ => Vec::new(),
        };
        for atom in asked {
            match atom {
                Atom::Among(thing, named) if thing != RESOURCE && !thing.ends_with(".type") => {
                    values.extend(named.iter().cloned());
                }
                // On either side of each bound, and beyond all of them.
                Atom::AtMost(_, most) => {
                    values.extend([*most, most.saturating_add(1)].map(|n| n.to_string()));
                }
                _ => {}
            }
        }
        let numbers = asked.iter().any(|a| matches!(a, Atom::AtMost(..)));
        if numbers {
            let (least, most) = bounds(name);
            values.extend([least, most].map(|n| n.to_string()));
            values.retain(|v| v.parse::<i64>().is_ok_and(|n| (least..=most).contains(&n)));
        } else if values.is_empty() || asked.iter().all(|a| matches!(a, Atom::Among(..))) {
            match name {
                RESOURCE | RECORD_TYPE | "context.type" => {}
                PURPOSE => {
                    values.extend(purposes.into_iter().flat_map(|p| p.keys().cloned()));
                    values.push(OTHER.to_owned());
                }
                _ => values.push(OTHER.to_owned()),
            }
        }
        // Values that no question tells apart are one.
        let mut seen = BTreeSet::new();
        values.retain(|value| seen.insert(asked.iter().map(|a| a.holds(value)).collect::<Vec<_>>()));
        Self { name: name.to_owned(), values }
    }
}

/// What numbers can be at all.
fn bounds(name: &str) -> (i64, i64) {
    match name {
        "context.env.hour" => (0, 23),
        "context.env.minuteOfDay" => (0, 1_439),
        "context.env.weekday" => (1, 7),
        "context.patient.ageYears" => (0, 200),
        _ => (i64::MIN, i64::MAX),
    }
}

/// All that an action is asked of.
fn resources(action: &str) -> Vec<String> {
    let kind = ASKED.iter().find(|(name, _)| *name == action).map_or("", |(_, kind)| *kind);
    match kind {
        CATEGORY => Category::ALL.into_iter().map(|c| format!("{CATEGORY}::{c}")).collect(),
        TYPE => {
            let types = drape_fhir::definitions::r4().resource_types();
            types.map(|t| format!("{TYPE}::{t}")).collect()
        }
        "Budget" => vec!["Budget::".to_owned()],
        _ => Vec::new(),
    }
}

/// The same with each question answered for each value of its thing.
enum Compiled {
    Const(bool),
    Ask(usize, Vec<bool>),
    Not(Box<Compiled>),
    All(Vec<Compiled>),
    Any(Vec<Compiled>),
}

fn compile(formula: &Formula, things: &[Thing], question: Question<'_>) -> Compiled {
    let each = |parts: &[Formula]| parts.iter().map(|part| compile(part, things, question)).collect();
    match formula {
        Formula::Const(value) => Compiled::Const(*value),
        Formula::Ask(Atom::Among(thing, values)) if thing == "action" => {
            Compiled::Const(values.contains(question.action))
        }
        Formula::Ask(atom) => match things.iter().position(|t| t.name == known_as(atom, question)) {
            Some(place) => Compiled::Ask(place, things[place].values.iter().map(|v| atom.holds(v)).collect()),
            None => Compiled::Const(true),
        },
        Formula::Not(inner) => Compiled::Not(Box::new(compile(inner, things, question))),
        Formula::All(parts) => Compiled::All(each(parts)),
        Formula::Any(parts) => Compiled::Any(each(parts)),
    }
}

/// Chooses value after value, as long as it may still hold.
fn search(formula: &Compiled, things: &[Thing], chosen: &mut Vec<Option<usize>>, steps: &mut usize) -> bool {
    *steps += 1;
    if *steps > STEPS_MAX {
        return true;
    }
    // Something that has no value at all cannot be asked about.
    match truth(formula, chosen) {
        Some(value) if chosen.iter().zip(things).all(|(c, t)| c.is_some() || !t.values.is_empty()) => value,
        Some(_) => false,
        None => {
            let Some(next) = chosen.iter().position(Option::is_none) else { return true };
            for value in 0..things[next].values.len() {
                chosen[next] = Some(value);
                if search(formula, things, chosen, steps) {
                    chosen[next] = None;
                    return true;
                }
            }
            chosen[next] = None;
            false
        }
    }
}

fn truth(formula: &Compiled, chosen: &[Option<usize>]) -> Option<bool> {
    match formula {
        Compiled::Const(value) => Some(*value),
        Compiled::Ask(thing, answers) => chosen[*thing].map(|value| answers[value]).or_else(|| {
            // The same whatever is chosen.
            let first = answers.first()?;
            answers.iter().all(|a| a == first).then_some(*first)
        }),
        Compiled::Not(inner) => truth(inner, chosen).map(|value| !value),
        Compiled::All(parts) => {
            let mut all = Some(true);
            for part in parts {
                match truth(part, chosen) {
                    Some(false) => return Some(false),
                    None => all = None,
                    Some(true) => {}
                }
            }
            all
        }
        Compiled::Any(parts) => {
            let mut any = Some(false);
            for part in parts {
                match truth(part, chosen) {
                    Some(true) => return Some(true),
                    None => any = None,
                    Some(false) => {}
                }
            }
            any
        }
    }
}

// ---- from Cedar's JSON ----

/// The parts of a conjunction, one by one.
fn demands(body: &Value, all: &mut Vec<Formula>) {
    match body.get("&&") {
        Some(both) => {
            demands(&both["left"], all);
            demands(&both["right"], all);
        }
        None => all.push(read(body)),
    }
}

fn read(body: &Value) -> Formula {
    understood(body).unwrap_or_else(|| Formula::Ask(Atom::Whether(body.to_string())))
}

fn understood(body: &Value) -> Option<Formula> {
    let (op, inside) = body.as_object()?.iter().next()?;
    let (left, right) = (&inside["left"], &inside["right"]);
    let pair = || vec![read(left), read(right)];
    Some(match op.as_str() {
        "Value" => Formula::Const(inside.as_bool()?),
        "." => Formula::Ask(Atom::Whether(path(body)?)),
        "!" => Formula::Not(Box::new(read(&inside["arg"]))),
        "&&" => Formula::All(pair()),
        "||" => Formula::Any(pair()),
        "if-then-else" => {
            let test = read(&inside["if"]);
            let then = Formula::All(vec![test.clone(), read(&inside["then"])]);
            let other = Formula::All(vec![Formula::Not(Box::new(test)), read(&inside["else"])]);
            Formula::Any(vec![then, other])
        }
        "==" => equal(left, right).or_else(|| equal(right, left))?,
        "!=" => Formula::Not(Box::new(equal(left, right).or_else(|| equal(right, left))?)),
        "<=" => at_most(left, right, 0)?,
        "<" => at_most(left, right, 1)?,
        ">=" => at_most(right, left, 0)?,
        ">" => at_most(right, left, 1)?,
        "in" => {
            let thing = path(left)?;
            let parts: Vec<Formula> = match list(right) {
                Some(items) => items.iter().map(|v| within(&thing, v)).collect::<Option<_>>()?,
                None => vec![within(&thing, right)?],
            };
            Formula::Any(parts)
        }
        "contains" => match (list(left), path(left)) {
            (Some(items), _) => {
                let parts: Option<Vec<Formula>> = items.iter().map(|item| equal(right, item)).collect();
                Formula::Any(parts?)
            }
            (None, Some(set)) => holds(&set, right)?,
            _ => return None,
        },
        "containsAny" => Formula::Any(each(left, right)?),
        "containsAll" => Formula::All(each(left, right)?),
        "is" if path(left)? == RESOURCE => is_kind(inside["entity_type"].as_str()?),
        _ => return None,
    })
}

/// `set.contains(…)` for each of a list.
fn each(set: &Value, items: &Value) -> Option<Vec<Formula>> {
    let set = path(set)?;
    list(items)?.iter().map(|item| holds(&set, item)).collect()
}

fn holds(set: &str, item: &Value) -> Option<Formula> {
    let item = literal(item)?;
    Some(Formula::Ask(Atom::Whether(format!("{set} contains {item}"))))
}

fn equal(thing: &Value, value: &Value) -> Option<Formula> {
    let thing = path(thing)?;
    if let Some(entity) = entity(value) {
        return Some(one_of(&thing, &entity, true));
    }
    let value = value.get("Value")?;
    Some(match value {
        Value::Number(number) => {
            let n = number.as_i64()?;
            let above = Formula::Ask(Atom::AtMost(thing.clone(), n.checked_sub(1)?));
            Formula::All(vec![Formula::Ask(Atom::AtMost(thing, n)), Formula::Not(Box::new(above))])
        }
        Value::String(text) => among(&thing, BTreeSet::from([text.clone()])),
        Value::Bool(true) => Formula::Ask(Atom::Whether(thing)),
        Value::Bool(false) => Formula::Not(Box::new(Formula::Ask(Atom::Whether(thing)))),
        _ => return None,
    })
}

/// `left + less <= right`, one of them a number.
fn at_most(left: &Value, right: &Value, less: i64) -> Option<Formula> {
    let number = |value: &Value| value.get("Value")?.as_i64();
    if let (Some(thing), Some(n)) = (path(left), number(right)) {
        return Some(Formula::Ask(Atom::AtMost(thing, n.checked_sub(less)?)));
    }
    let (n, thing) = (number(left)?, path(right)?);
    let below = n.checked_add(less)?.checked_sub(1)?;
    Some(Formula::Not(Box::new(Formula::Ask(Atom::AtMost(thing, below)))))
}

fn within(thing: &str, value: &Value) -> Option<Formula> {
    let entity = entity(value)?;
    Some(match thing {
        "principal" => Formula::Ask(Atom::Whether(member(thing, &entity))),
        "action" => among(thing, actions(&entity.1, true)),
        _ => one_of(thing, &entity, false),
    })
}

/// The resources that an entity stands for: itself, or what is below it too.
fn one_of(thing: &str, (kind, id): &(String, String), exactly: bool) -> Formula {
    let values: BTreeSet<String> = match kind.as_str() {
        CATEGORY if !exactly => {
            let below = Category::ALL.into_iter().filter(|c| category_ancestors(*c).any(|name| name == id));
            below.map(|c| format!("{CATEGORY}::{c}")).collect()
        }
        TYPE if !exactly => {
            let members = TYPE_GROUPS.iter().filter(|(group, _)| group == id).flat_map(|(_, types)| *types);
            members.map(|t| format!("{TYPE}::{t}")).chain([format!("{TYPE}::{id}")]).collect()
        }
        CATEGORY | TYPE => BTreeSet::from([format!("{kind}::{id}")]),
        _ if thing == RESOURCE => {
            let budget = among(thing, BTreeSet::from(["Budget::".to_owned()]));
            let which = Formula::Ask(Atom::Whether(member(thing, &(kind.clone(), id.clone()))));
            return Formula::All(vec![budget, which]);
        }
        _ => BTreeSet::from([format!("{kind}::{id}")]),
    };
    among(thing, values)
}

fn is_kind(kind: &str) -> Formula {
    let all = ASKED.iter().filter(|(_, of)| *of == kind).flat_map(|(action, _)| resources(action));
    among(RESOURCE, all.collect())
}

fn among(thing: &str, values: BTreeSet<String>) -> Formula {
    Formula::Ask(Atom::Among(thing.to_owned(), values))
}

fn member(thing: &str, (kind, id): &(String, String)) -> String {
    format!("{thing} in {kind}::\"{id}\"")
}

/// An action, and those that stand below it.
fn actions(name: &str, with_below: bool) -> BTreeSet<String> {
    let below = ACTIONS.iter().filter(|(group, _)| with_below && *group == name).flat_map(|(_, all)| *all);
    below.map(|a| (*a).to_owned()).chain([name.to_owned()]).collect()
}

/// Kind and id of an entity that stands there literally.
fn entity(value: &Value) -> Option<(String, String)> {
    let entity = value.get("Value").unwrap_or(value);
    let entity = entity.get("__entity").unwrap_or(entity);
    Some((entity.get("type")?.as_str()?.to_owned(), entity.get("id")?.as_str()?.to_owned()))
}

pub(super) fn list(value: &Value) -> Option<&Vec<Value>> {
    value.get("Set").or_else(|| value.get("Value"))?.as_array()
}

pub(super) fn literal(value: &Value) -> Option<&str> {
    value.get("Value").unwrap_or(value).as_str()
}

/// `context.record.labels`.
pub(super) fn path(value: &Value) -> Option<String> {
    if let Some(access) = value.get(".") {
        return Some(format!("{}.{}", path(&access["left"])?, access["attr"].as_str()?));
    }
    value.get("Var")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formula(text: &str) -> Formula {
        let policy = cedar_policy::Policy::parse(None, text).unwrap();
        Formula::of(&policy.to_json().unwrap())
    }

    fn can(action: &str, text: &str) -> bool {
        possible(&formula(text), Question { action, resource: None }, None)
    }

    #[test]
    fn what_contradicts_itself_is_impossible() {
        for (action, text) in [
            (
                "show",
                "permit(principal, action, resource) when { context.env.purpose == \"A\" && context.env.purpose == \"B\" };",
            ),
            (
                "show",
                "permit(principal, action, resource) when { context.patient.known } unless { context.patient.known };",
            ),
            (
                "show",
                "permit(principal, action, resource) when { context.env.hour > 20 && context.env.hour < 8 };",
            ),
            ("show", "permit(principal, action, resource) when { context.env.hour >= 24 };"),
            (
                "show",
                "permit(principal, action, resource in Category::\"text\") when { resource == Category::\"contact\" };",
            ),
            (
                "receive",
                "permit(principal, action, resource == ResourceType::\"Patient\") when { context.record.type == ResourceType::\"Claim\" };",
            ),
            (
                "show",
                "permit(principal, action, resource) when { [\"A\", \"B\"].contains(context.env.purpose) && !([\"A\", \"B\"].contains(context.env.purpose)) };",
            ),
            ("show", "permit(principal, action in [Action::\"receive\"], resource);"),
            ("read", "permit(principal, action, resource in Category::\"text\");"),
            ("capabilities", "permit(principal, action, resource is ResourceType);"),
            (
                "receive",
                "permit(principal, action, resource) when { context.record.type in ResourceType::\"claims\" && context.record.type == ResourceType::\"Patient\" };",
            ),
            (
                "show",
                "permit(principal, action, resource) when { context.record.labels.contains(\"A\") && !context.record.labels.containsAny([\"A\", \"B\"]) };",
            ),
            (
                "show",
                "permit(principal, action, resource) when { context.patient.known == false && context.patient.known };",
            ),
            (
                "show",
                "permit(principal, action, resource) when { if context.patient.known then false else context.patient.known };",
            ),
        ] {
            assert!(!can(action, text), "{action}: {text}");
        }
    }

    #[test]
    fn what_can_hold_is_possible() {
        for (action, text) in [
            (
                "show",
                "permit(principal, action, resource) when { context.env.purpose == \"A\" || context.env.purpose == \"B\" };",
            ),
            (
                "show",
                "permit(principal, action, resource) when { context.env.hour >= 8 && context.env.hour < 9 };",
            ),
            (
                "show",
                "permit(principal, action, resource == Category::\"note\") when { resource in Category::\"text\" };",
            ),
            (
                "show",
                "permit(principal, action, resource) when { context.record.type == ResourceType::\"Claim\" };",
            ),
            (
                "receive",
                "permit(principal, action, resource) when { context.record.type in ResourceType::\"claims\" };",
            ),
            ("show", "permit(principal, action, resource) unless { context.record.labels.contains(\"A\") };"),
            (
                "aggregate",
                "permit(principal, action, resource in Organization::\"x\") when { context.type == ResourceType::\"Patient\" };",
            ),
            (
                "show",
                "permit(principal, action, resource) when { context.record has ageDays && context.record.ageDays <= 365 };",
            ),
        ] {
            assert!(can(action, text), "{action}: {text}");
        }
    }

    #[test]
    fn a_role_is_acted_in_only_under_its_purposes() {
        let roles = BTreeSet::from(["clinician".to_owned()]);
        let purposes = Purposes::from([("TREAT".to_owned(), roles), ("HPAYMT".to_owned(), BTreeSet::new())]);
        let can = |text: &str| {
            possible(&formula(text), Question { action: "show", resource: None }, Some(&purposes))
        };
        assert!(can("permit(principal in Role::\"clinician\", action, resource);"));
        assert!(can(
            "permit(principal in Role::\"clinician\", action, resource) when { context.env.purpose == \"TREAT\" };"
        ));
        assert!(!can(
            "permit(principal in Role::\"clinician\", action, resource) when { context.env.purpose == \"HPAYMT\" };"
        ));
        assert!(!can("permit(principal in Role::\"nurse\", action, resource);"));
        assert!(can("permit(principal, action, resource) unless { principal in Role::\"nurse\" };"));
    }
}
