//! Who and what of a guarantee: as a sentence, or spelt out key by key.

use drape_view::category::GROUPS;
use drape_view::{Category, Fault};
use serde::Deserialize;
use serde_json::Value;

use super::{Act, Case, Who, conditions};
use crate::entities::category_ancestors;
use crate::types::TYPE_GROUPS;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spelt {
    who: Words,
    #[serde(default)]
    only: bool,
    receives: Option<Words>,
    is: Option<Words>,
    category: Option<Words>,
    may: Option<Words>,
    #[serde(rename = "type")]
    types: Option<Words>,
    when: Option<Value>,
    unless: Option<Value>,
}

/// One word or several.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Words {
    One(String),
    Many(Vec<String>),
}

impl Words {
    fn list(self) -> Vec<String> {
        match self {
            Self::One(word) => vec![word],
            Self::Many(words) => words,
        }
    }
}

const SHAPE: &str = "write `ROLE is shown CATEGORY`, `ROLE receives TYPE` or `ROLE may ACTION TYPE`; \
                     for ROLE also `anyone` and `no-role`, for the last word also `anything`, between words `or`";
const TREATMENTS: [(&str, &[&str]); 5] = [
    ("shown", &["show"]),
    ("generalized", &["generalize"]),
    ("pseudonymized", &["pseudonymize"]),
    ("encrypted", &["encrypt"]),
    ("released", &["show", "generalize", "pseudonymize", "encrypt"]),
];
/// What may be asked of types.
pub const REQUESTS: [&str; 11] = [
    "read",
    "vread",
    "history",
    "search",
    "create",
    "update",
    "patch",
    "delete",
    "transaction",
    "export",
    "operation",
];
/// What may be asked of categories besides treatments.
pub const QUESTIONS: [&str; 4] = ["searchBy", "countBy", "change", "relate"];

/// A case in either form.
pub(super) fn case(value: &Value) -> Result<Case, Fault> {
    match value {
        Value::String(text) => sentence(text),
        Value::Object(_) => spelt(value),
        _ => Err(Fault::new("", "is no case").help(SHAPE)),
    }
}

fn sentence(text: &str) -> Result<Case, Fault> {
    let fault = |what: String| Fault::new("", what).help(SHAPE);
    let words: Vec<&str> = text.split_whitespace().collect();
    let verb = words
        .iter()
        .position(|w| matches!(*w, "is" | "receives" | "may"))
        .ok_or_else(|| fault(format!("`{text}` has no verb")))?;
    let who = who(alternatives(&words[..verb], text)?, false)?;
    let rest = &words[verb + 1..];
    // The treatments or actions go on as long as `or` follows: `is shown or generalized date`.
    let mut end = 1;
    while rest.get(end) == Some(&"or") && rest.len() > end + 2 {
        end += 2;
    }
    let act = match words[verb] {
        "receives" => Act::Receives(types(alternatives(rest, text)?)?),
        "is" if rest.len() > end => {
            let (done, to) = rest.split_at(end);
            Act::Is(treatments(alternatives(done, text)?)?, categories(alternatives(to, text)?)?)
        }
        "may" if rest.first() == Some(&"aggregate") && rest.len() == 1 => Act::Aggregate,
        "may" if rest.len() > end => {
            let (done, to) = rest.split_at(end);
            may(alternatives(done, text)?, alternatives(to, text)?)?
        }
        _ => return Err(fault(format!("`{text}` is not whole"))),
    };
    Ok(Case { who, act, when: None, unless: None, text: text.to_owned() })
}

/// `a or b or c`.
fn alternatives(words: &[&str], text: &str) -> Result<Vec<String>, Fault> {
    let right = words.len() % 2 == 1
        && words.iter().enumerate().all(|(place, word)| (place % 2 == 1) == (*word == "or"));
    if !right {
        return Err(Fault::new("", format!("`{text}` cannot be read")).help(SHAPE));
    }
    Ok(words.iter().step_by(2).map(|w| (*w).to_owned()).collect())
}

fn spelt(value: &Value) -> Result<Case, Fault> {
    let spelt: Spelt = serde_json::from_value(value.clone()).map_err(|e| {
        let help =
            "it needs `who`, and one of `receives`, `is` with `category`, `may` with `type` or `category`";
        Fault::new("", e.to_string()).help(help)
    })?;
    let one_of = "say one of `receives`, `is` with `category`, `may` with `type` or `category`";
    let who = who(spelt.who.list(), spelt.only)?;
    let act = match (spelt.receives, spelt.is, spelt.category, spelt.may, spelt.types) {
        (Some(of), None, None, None, None) => Act::Receives(types(of.list())?),
        (None, Some(is), Some(of), None, None) => Act::Is(treatments(is.list())?, categories(of.list())?),
        (None, None, None, Some(may), None) if may.clone().list() == ["aggregate"] => Act::Aggregate,
        (None, None, Some(of), Some(may), None) | (None, None, None, Some(may), Some(of)) => {
            self::may(may.list(), of.list())?
        }
        _ => return Err(Fault::new("", "does not say one thing that happens").help(one_of)),
    };
    let condition = |key: &str, value: Option<Value>| {
        value.map(|v| conditions::read(&v).map_err(|f| Fault { path: key.to_owned(), ..f })).transpose()
    };
    let (when, unless) = (condition("when", spelt.when)?, condition("unless", spelt.unless)?);
    Ok(Case { who, act, when, unless, text: serde_json::to_string(value).unwrap_or_default() })
}

fn who(words: Vec<String>, only: bool) -> Result<Who, Fault> {
    let special = |word: &str| words.iter().any(|w| w == word);
    if words.is_empty() || words.iter().any(|w| w.trim().is_empty()) {
        return Err(Fault::new("", "names nobody").help("`anyone`, `no-role`, or roles"));
    }
    if special("anyone") || special("no-role") {
        if words.len() > 1 || only {
            return Err(Fault::new("", "`anyone` and `no-role` stand alone").help(SHAPE));
        }
        return Ok(if special("anyone") { Who::Anyone } else { Who::NoRole });
    }
    Ok(if only { Who::Only(words) } else { Who::Roles(words) })
}

fn treatments(words: Vec<String>) -> Result<Vec<&'static str>, Fault> {
    let mut all = Vec::new();
    for word in words {
        let Some((_, actions)) = TREATMENTS.iter().find(|(known, _)| *known == word) else {
            let known: Vec<&str> = TREATMENTS.iter().map(|(known, _)| *known).collect();
            let help = format!("known: {} (in any form)", known.join(", "));
            return Err(Fault::new("", format!("`{word}` is nothing that is done to an element")).help(help));
        };
        all.extend(actions.iter().copied().filter(|a| !all.contains(a)).collect::<Vec<_>>());
    }
    Ok(all)
}

fn may(actions: Vec<String>, of: Vec<String>) -> Result<Act, Fault> {
    let find = |known: &[&'static str]| -> Option<Vec<&'static str>> {
        actions.iter().map(|a| known.iter().copied().find(|k| k == a)).collect()
    };
    if let Some(requests) = find(&REQUESTS) {
        return Ok(Act::Request(requests, types(of)?));
    }
    if let Some(questions) = find(&QUESTIONS) {
        return Ok(Act::About(questions, categories(of)?));
    }
    let what = format!("`{}` is nothing that may be done", actions.join(" or "));
    let help = format!(
        "of types: {}; of categories: {}; without either: aggregate",
        REQUESTS.join(", "),
        QUESTIONS.join(", ")
    );
    Err(Fault::new("", what).help(help))
}

/// The leaves below these names.
fn categories(words: Vec<String>) -> Result<Vec<Category>, Fault> {
    for word in &words {
        let known = word == "anything"
            || Category::parse(word).is_some()
            || GROUPS.iter().any(|group| group.name == *word);
        if !known {
            let help = "the categories are listed in docs/architecture.md; `anything` is all of them";
            return Err(Fault::new("", format!("`{word}` is no category")).help(help));
        }
    }
    let named = |c: &Category| {
        words.iter().any(|w| w == "anything")
            || category_ancestors(*c).any(|above| words.iter().any(|w| w == above))
    };
    Ok(Category::ALL.into_iter().filter(named).collect())
}

/// The types that these names stand for; none for `anything`.
pub(super) fn types(words: Vec<String>) -> Result<Vec<String>, Fault> {
    let mut all = Vec::new();
    for word in words {
        if word == "anything" {
            return Ok(Vec::new());
        }
        let members = TYPE_GROUPS.iter().find(|(group, _)| *group == word).map(|(_, members)| *members);
        match members {
            Some(members) => all.extend(members.iter().map(|m| (*m).to_owned())),
            None if drape_fhir::definitions::r4().is_resource(&word) => all.push(word),
            None => {
                let groups: Vec<&str> = TYPE_GROUPS.iter().map(|(group, _)| *group).collect();
                let help = format!("name a FHIR R4 type, `anything`, or one of: {}", groups.join(", "));
                return Err(Fault::new("", format!("`{word}` is no type")).help(help));
            }
        }
    }
    all.sort();
    all.dedup();
    Ok(all)
}
