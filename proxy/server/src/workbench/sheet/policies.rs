//! Each policy as a sentence.

use drape_policy::told::Told;
use serde_json::Value;

use super::cond::{Cond, Known, Wordless, conditions, join};

/// One policy, told.
#[derive(Clone, Debug)]
pub(crate) struct Sentence {
    pub(crate) id: String,
    pub(crate) place: String,
    pub(crate) permits: bool,
    /// In words; none where it has no words.
    pub(crate) words: Option<String>,
    /// As it is written.
    pub(crate) cedar: String,
}

/// Requests, with their words.
pub(super) const REQUESTS: [(&str, &str); 11] = [
    ("read", "read"),
    ("vread", "read earlier versions"),
    ("history", "see histories"),
    ("search", "search"),
    ("create", "create"),
    ("update", "update"),
    ("patch", "patch"),
    ("delete", "delete"),
    ("transaction", "send several changes as one"),
    ("export", "export in bulk"),
    ("operation", "call operations"),
];

const ACTIONS: [(&str, &str); 10] = [
    ("access", "make any request"),
    ("capabilities", "ask what is offered"),
    ("aggregate", "ask for noisy counts"),
    ("receive", "receive records"),
    ("show", "be shown"),
    ("generalize", "be given coarsened"),
    ("pseudonymize", "be given under a pseudonym"),
    ("encrypt", "be given sealed"),
    ("searchBy", "search by"),
    ("countBy", "count by"),
];

const MORE: [(&str, &str); 4] = [
    ("release", "be given in any form"),
    ("observe", "receive records or be given anything of them"),
    ("change", "change"),
    ("relate", "change, where access rests on it,"),
];

/// Actions that are asked of categories.
const OF_ELEMENTS: [&str; 10] = [
    "show",
    "generalize",
    "pseudonymize",
    "encrypt",
    "release",
    "observe",
    "searchBy",
    "countBy",
    "change",
    "relate",
];

pub(crate) fn sentence(policy: Told<'_>) -> Sentence {
    Sentence {
        id: policy.id().to_owned(),
        place: policy.place().to_owned(),
        permits: policy.permits(),
        words: words(policy).ok(),
        cedar: policy.cedar(),
    }
}

fn words(policy: Told<'_>) -> Result<String, Wordless> {
    let json = policy.json();
    let who = match (json["principal"]["op"].as_str(), entity(&json["principal"]["entity"])) {
        (Some("All"), _) => "Anybody".to_owned(),
        (Some("in"), Some(("Role", id))) => format!("Who acts as {id}"),
        (Some("in"), Some(("Organization", id))) => format!("Who acts for {id}"),
        _ => return Err(Wordless),
    };
    let actions = actions(&json["action"])?;
    let done: Result<Vec<String>, Wordless> = actions
        .iter()
        .map(|action| {
            let word = REQUESTS.iter().chain(&ACTIONS).chain(&MORE).find(|(name, _)| name == action);
            word.map(|(_, words)| (*words).to_owned()).ok_or(Wordless)
        })
        .collect();
    let may = if policy.permits() { "may" } else { "may never" };
    let mut text = format!("{who} {may} {}", join(&done?, if policy.permits() { "and" } else { "or" }));
    if let Some(of) = of(&json["resource"], &actions)? {
        text = format!("{text} {of}");
    }
    match conditions(json, Known::default())? {
        Cond::Always => {}
        Cond::Never => text = format!("{text}, where nothing can hold"),
        cond => text = format!("{text}, where {}", cond.words()),
    }
    Ok(text + ".")
}

fn entity(value: &Value) -> Option<(&str, &str)> {
    Some((value["type"].as_str()?, value["id"].as_str()?))
}

fn actions(constraint: &Value) -> Result<Vec<&str>, Wordless> {
    match constraint["op"].as_str() {
        Some("==") => constraint["entity"]["id"].as_str().map(|id| vec![id]).ok_or(Wordless),
        Some("in") => match constraint["entities"].as_array() {
            Some(all) => all.iter().map(|e| e["id"].as_str().ok_or(Wordless)).collect(),
            None => constraint["entity"]["id"].as_str().map(|id| vec![id]).ok_or(Wordless),
        },
        _ => Err(Wordless),
    }
}

/// What it is about, by the scope.
fn of(constraint: &Value, actions: &[&str]) -> Result<Option<String>, Wordless> {
    let elements = actions.iter().any(|a| OF_ELEMENTS.contains(a));
    let (kind, id) = match constraint["op"].as_str() {
        // That nothing of a record is given says that of its elements too.
        Some("All") if !elements || actions.contains(&"observe") => return Ok(None),
        Some("All") => return Ok(Some("elements of every category".into())),
        Some("in" | "==") => entity(&constraint["entity"]).ok_or(Wordless)?,
        _ => return Err(Wordless),
    };
    Ok(Some(match kind {
        "Category" if drape_view::Category::parse(id).is_some() => format!("elements of the category {id}"),
        "Category" => format!("elements of the group {id}"),
        "ResourceType" if drape_fhir::definitions::r4().is_resource(id) => format!("of type {id}"),
        "ResourceType" => format!("of {id} types"),
        "Organization" => format!("under a budget of {id}"),
        "Budget" => format!("under the budget {id}"),
        _ => return Err(Wordless),
    }))
}
