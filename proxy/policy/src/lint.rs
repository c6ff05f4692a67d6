//! What `drape check` warns of in policies that can be used: rules that never matter, words that nothing can produce, what
//! nobody reaches.

mod logic;
mod words;

use std::collections::BTreeSet;

use cedar_policy::Effect;
use drape_view::{Category, Fault};

use crate::set::{Loaded, PolicySet};
use logic::{ASKED, CATEGORY, Formula, Purposes, Question, TYPE, possible};

/// What stands around a set: what its callers and records can be like. `None` where that is not known.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Purpose of use → the roles it activates.
    pub purposes: Option<Vec<(String, Vec<String>)>>,
    /// Roles that policies need not name: they open something else.
    pub roles_elsewhere: BTreeSet<String>,
    /// Every label that a record can carry.
    pub labels: Option<BTreeSet<String>>,
    /// Every relation that a caller can have to a patient.
    pub relations: Option<BTreeSet<String>>,
    /// Whether the set is somebody else's, who has written it for more roles than there are here.
    pub borrowed: bool,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Lint {
    /// Worth mending.
    pub warnings: Vec<Fault>,
    /// Worth knowing.
    pub notes: Vec<Fault>,
}

/// A policy with what it asks.
struct Rule<'a> {
    loaded: &'a Loaded,
    permits: bool,
    matches: Formula,
    /// The actions for which it can match at all.
    live: Vec<&'static str>,
}

/// Looks the whole set over.
pub fn lint(set: &PolicySet, around: &Surroundings) -> Lint {
    let purposes: Option<Purposes> = around
        .purposes
        .as_ref()
        .map(|all| all.iter().map(|(p, roles)| (p.clone(), roles.iter().cloned().collect())).collect());
    let mut found = Lint::default();
    words::look(&set.policies, around, &mut found);
    let mut rules = Vec::new();
    for loaded in &set.policies {
        let matches = Formula::of(&loaded.json);
        let live = |purposes: Option<&Purposes>| -> Vec<&'static str> {
            let can = |action: &&str| possible(&matches, Question { action, resource: None }, purposes);
            ASKED.iter().map(|(action, _)| *action).filter(can).collect()
        };
        let (anywhere, here) = (live(None), live(purposes.as_ref()));
        if anywhere.is_empty() {
            found.warnings.extend(dead(loaded));
        } else if here.is_empty() {
            found.warnings.extend(never_here(loaded, &matches, purposes.as_ref()));
        }
        found.warnings.extend(never_asked(loaded, &anywhere));
        let permits = loaded.policy.effect() == Effect::Permit;
        // What is dead here may be alive elsewhere: it still reaches what it names.
        rules.push(Rule { loaded, permits, matches, live: anywhere });
    }
    covered(&rules, &mut found.warnings);
    found.warnings.extend(hidden(set, &rules));
    found.notes.extend(unreached(&rules, None));
    // Cedar says of some of them the same in its own words.
    found.warnings.retain(|fault| {
        let known = set.warnings().iter().any(|w| w.code == fault.code && w.path == fault.path);
        fault.code != "dead-rule" || !known
    });
    found
}

/// Those of the types that no policy reaches.
pub fn unreached_of(set: &PolicySet, types: &[String]) -> Option<Fault> {
    let rules: Vec<Rule<'_>> = set
        .policies
        .iter()
        .map(|loaded| Rule {
            loaded,
            permits: loaded.policy.effect() == Effect::Permit,
            matches: Formula::of(&loaded.json),
            live: ASKED.iter().map(|(action, _)| *action).collect(),
        })
        .collect();
    unreached(&rules, Some(types))
}

/// A policy that cannot match whoever asks, with the demand that is too much.
fn dead(loaded: &Loaded) -> Option<Fault> {
    let can = |all: Vec<Formula>| {
        let formula = Formula::All(all);
        ASKED.iter().any(|(action, _)| possible(&formula, Question { action, resource: None }, None))
    };
    let scope = || Formula::scope(&loaded.json);
    if !can(scope()) {
        let what = format!("`{}` can never match: nothing asks this action of this resource", loaded.id);
        let help = "requests and `receive` are asked of types, everything else of categories";
        return Some(loaded.fault("dead-rule", what, &[]).help(help));
    }
    let demands = Formula::conditions(&loaded.json);
    // The first demand that contradicts those before it.
    let last =
        (1..=demands.len()).find(|n| !can(scope().into_iter().chain(demands[..*n].to_vec()).collect()))?;
    let culprit = &demands[last - 1];
    let asked = words::of_formula(culprit);
    let with = if can(scope().into_iter().chain([culprit.clone()]).collect()) {
        "what else it demands"
    } else if can(vec![culprit.clone()]) {
        "its scope"
    } else {
        "itself"
    };
    let what = match asked.first() {
        Some(word) => {
            format!("`{}` can never match: what it demands of {} contradicts {with}", loaded.id, word.told)
        }
        None => format!("`{}` can never match: its condition contradicts {with}", loaded.id),
    };
    let places: Vec<&str> = asked.iter().map(|w| w.written.as_str()).collect();
    Some(loaded.fault("dead-rule", what, &places).help("drop the policy, or one of the two demands"))
}

/// A policy that no caller of this place can make match.
fn never_here(loaded: &Loaded, matches: &Formula, purposes: Option<&Purposes>) -> Option<Fault> {
    let purposes = purposes?;
    let active: BTreeSet<&String> = purposes.values().flatten().collect();
    let roles = words::roles_of(matches);
    // A role that nothing activates at all is told once for all policies.
    if roles.iter().any(|role| !active.contains(role)) {
        return None;
    }
    let role = roles.first()?;
    let under: Vec<&str> =
        purposes.iter().filter(|(_, r)| r.contains(role)).map(|(p, _)| p.as_str()).collect();
    let under = under.join(", ");
    let what = format!(
        "`{}` can never match: who acts as `{role}` does so for {under} alone, and it demands another purpose",
        loaded.id
    );
    let purpose = words::purposes_of(matches).into_iter().map(|p| format!("\"{p}\""));
    let places: Vec<String> = purpose.chain(["context.env.purpose".to_owned()]).collect();
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    let help = "`purposes` of the issuers, or of personas.yaml, say which purpose activates which role";
    Some(loaded.fault("dead-rule", what, &places).help(help))
}

/// Actions that a policy names although nothing asks them of what it is about.
fn never_asked(loaded: &Loaded, live: &[&'static str]) -> Option<Fault> {
    if live.is_empty() {
        return None;
    }
    let action = &loaded.json["action"];
    let entities = action["entities"].as_array().into_iter().flatten();
    let named: Vec<&str> = entities.filter_map(|e| e["id"].as_str()).collect();
    let dead: Vec<&str> = named
        .into_iter()
        .filter(|name| ASKED.iter().any(|(asked, _)| asked == name) && !live.contains(name))
        .collect();
    let first = dead.first()?;
    let what = format!("`{}` names {}, which nothing asks of what it is about", loaded.id, listed(&dead));
    let kind = ASKED.iter().find(|(name, _)| name == first).map_or("", |(_, kind)| *kind);
    let help = match kind {
        CATEGORY => format!(
            "`{first}` is asked of categories, for each record: say of which records by \
             `when {{ context.record.type == ResourceType::\"…\" }}`"
        ),
        _ => format!("`{first}` is asked of types: leave categories to the treatments"),
    };
    Some(loaded.fault("dead-action", what, &[&format!("Action::\"{first}\"")]).help(help))
}

/// Rules that change nothing, because another says the same or overrides them wherever they hold.
fn covered(rules: &[Rule<'_>], warnings: &mut Vec<Fault>) {
    for (place, rule) in rules.iter().enumerate() {
        if rule.live.is_empty() {
            continue;
        }
        let other = rules.iter().enumerate().find(|(other_place, other)| {
            // Of two that say the same the later one is told of.
            place != *other_place
                && (rule.permits == other.permits || rule.permits)
                && is_covered(rule, other)
                && (rule.permits != other.permits || place > *other_place || !is_covered(other, rule))
        });
        let Some((_, other)) = other else { continue };
        let (id, by, at) = (&rule.loaded.id, &other.loaded.id, &other.loaded.place);
        let (code, what, help) = if rule.permits == other.permits {
            let verb = if rule.permits { "permits" } else { "forbids" };
            let what = format!("`{id}` changes nothing: `{by}` ({at}) {verb} all of it already");
            ("redundant", what, "drop it, or narrow the other one")
        } else {
            let what = format!("`{id}` permits nothing: `{by}` ({at}) forbids all of it");
            ("overridden", what, "a forbid wins over every permit; spare what is meant by `unless`")
        };
        warnings.push(rule.loaded.fault(code, what, &[]).help(help));
    }
}

/// Whether one holds wherever the other does.
fn is_covered(rule: &Rule<'_>, by: &Rule<'_>) -> bool {
    if rule.live.iter().any(|action| !by.live.contains(action)) {
        return false;
    }
    let outside = Formula::All(vec![rule.matches.clone(), Formula::Not(Box::new(by.matches.clone()))]);
    rule.live.iter().all(|action| !possible(&outside, Question { action, resource: None }, None))
}

/// Categories of which nobody is ever shown anything.
fn hidden(set: &PolicySet, rules: &[Rule<'_>]) -> Option<Fault> {
    let shown = |category: Category| {
        let resource = format!("{CATEGORY}::{category}");
        set.treatments.rungs(category).iter().any(|treatment| {
            let question = Question { action: treatment.name(), resource: Some(&resource) };
            rules.iter().any(|rule| rule.permits && possible(&rule.matches, question, None))
        })
    };
    let never: Vec<&str> = Category::ALL.into_iter().filter(|c| !shown(*c)).map(Category::name).collect();
    if never.is_empty() {
        return None;
    }
    let what = format!("nobody is ever shown anything of {}", listed(&never));
    let fault = Fault::new("policies", what).code("unreached-category");
    Some(fault.help("permit a treatment of it, or leave it hidden: what no policy permits is left out"))
}

/// Types that nobody may ask for, or of which nobody receives a record.
fn unreached(rules: &[Rule<'_>], only: Option<&[String]>) -> Option<Fault> {
    let all: Vec<&str> = drape_fhir::definitions::r4()
        .resource_types()
        .filter(|t| only.is_none_or(|only| only.iter().any(|o| o == t)))
        .collect();
    let reaches = |resource: &str, actions: &[&str]| {
        actions.iter().any(|action| {
            let question = Question { action, resource: Some(resource) };
            rules.iter().any(|r| r.permits && r.live.contains(action) && possible(&r.matches, question, None))
        })
    };
    let reached = |name: &&str| {
        let resource = format!("{TYPE}::{name}");
        reaches(&resource, &["read", "search", "vread", "history", "export", "operation"])
            && reaches(&resource, &["receive"])
    };
    let (some, none): (Vec<&str>, Vec<&str>) = all.into_iter().partition(reached);
    if none.is_empty() {
        return None;
    }
    let what = if only.is_some() {
        format!("the server has {} that no policy reaches: {}", counted(none.len(), "type"), none.join(", "))
    } else if some.is_empty() {
        "no policy reaches any type: a caller must be permitted both to ask for a type and to `receive` it"
            .to_owned()
    } else {
        let (few, of) =
            if some.len() <= none.len() { (some, "reaches only") } else { (none, "does not reach") };
        format!("the set {of} {}: {}", counted(few.len(), "type"), few.join(", "))
    };
    let help = "to reach a type, permit `read` or `search` of it, and `receive`; what nobody needs may stay out of reach";
    Some(Fault::new("policies", what).code("unreached-type").help(help))
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// `` `a`, `b` and `c` ``.
fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|w| format!("`{w}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

#[cfg(test)]
mod tests;
