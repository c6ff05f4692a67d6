//! What `drape check` refuses in policies that Cedar itself accepts: forbids that fall through, permits without a rule.

use std::collections::BTreeSet;

use cedar_policy::{ActionConstraint, Effect, EntityUid, Policy, ResourceConstraint};
use drape_view::category::{CategorySet, GROUPS};
use drape_view::fault::near;
use drape_view::{Category, Fault, Treatment, Treatments};

use crate::entities::{category_ancestors, name_of};
use crate::set::Loaded;
use crate::types::TYPE_GROUPS;

/// The actions a constraint may name and those that stand below each.
pub(crate) const ACTIONS: [(&str, &[&str]); 3] = [
    ("observe", &["receive", "show", "generalize", "pseudonymize", "encrypt"]),
    ("release", &["show", "generalize", "pseudonymize", "encrypt"]),
    (
        "access",
        &[
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
            "capabilities",
        ],
    ),
];

/// Whether a policy's action scope reaches `action`.
pub(crate) fn covers_action(constraint: &ActionConstraint, action: &str) -> bool {
    let reaches = |uid: &EntityUid| {
        let name = name_of(uid);
        name == action || ACTIONS.iter().any(|(group, below)| *group == name && below.contains(&action))
    };
    match constraint {
        ActionConstraint::Any => true,
        ActionConstraint::In(uids) => uids.iter().any(reaches),
        ActionConstraint::Eq(uid) => name_of(uid) == action,
    }
}

/// Whether a policy's resource scope reaches the category.
pub(crate) fn covers_category(constraint: &ResourceConstraint, category: Category) -> bool {
    let reaches = |uid: &EntityUid| {
        uid.type_name().to_string() == "Category"
            && category_ancestors(category).any(|name| name == name_of(uid))
    };
    match constraint {
        ResourceConstraint::Any => true,
        ResourceConstraint::Is(kind) => kind.to_string() == "Category",
        ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => reaches(uid),
        ResourceConstraint::Eq(uid) => {
            uid.type_name().to_string() == "Category" && name_of(uid) == category.name()
        }
    }
}

/// What a policy's scope reaches, worked out once: Cedar gives constraints only as fresh copies.
#[derive(Debug)]
pub(crate) struct Reach {
    /// `None`: any action.
    actions: Option<BTreeSet<String>>,
    categories: CategorySet,
}

impl Reach {
    pub(crate) fn of(policy: &Policy) -> Self {
        let action = policy.action_constraint();
        let named: Vec<EntityUid> = match &action {
            ActionConstraint::Any => Vec::new(),
            ActionConstraint::In(uids) => uids.clone(),
            ActionConstraint::Eq(uid) => vec![uid.clone()],
        };
        let below = ACTIONS.iter().flat_map(|(_, below)| below.iter().map(|b| (*b).to_owned()));
        let candidates = named.iter().map(|uid| name_of(uid).to_owned()).chain(below);
        let resource = policy.resource_constraint();
        Self {
            actions: (!matches!(action, ActionConstraint::Any))
                .then(|| candidates.filter(|name| covers_action(&action, name)).collect()),
            categories: Category::ALL.into_iter().filter(|c| covers_category(&resource, *c)).collect(),
        }
    }

    /// Whether the scope reaches `action`, and `category` where one is given.
    pub(crate) fn covers(&self, action: &str, category: Option<Category>) -> bool {
        self.actions.as_ref().is_none_or(|names| names.contains(action))
            && category.is_none_or(|c| self.categories.contains(c))
    }
}

/// The faults of one policy.
pub(crate) fn one(loaded: &Loaded, treatments: &Treatments, faults: &mut Vec<Fault>) {
    names(&loaded.json, loaded, faults);
    let action = loaded.policy.action_constraint();
    let resource = loaded.policy.resource_constraint();
    const RUNGS: [&str; 4] = ["show", "generalize", "pseudonymize", "encrypt"];
    let covered: Vec<&str> = RUNGS.into_iter().filter(|a| covers_action(&action, a)).collect();
    if covered.is_empty() {
        return;
    }
    let categories: Vec<Category> =
        Category::ALL.into_iter().filter(|c| covers_category(&resource, *c)).collect();
    match loaded.policy.effect() {
        Effect::Forbid => {
            for category in &categories {
                let rungs = treatments.rungs(*category);
                let hit = |t: &Treatment| covered.contains(&t.name());
                let Some(last) = rungs.iter().rposition(hit) else { continue };
                if let Some(open) = rungs[..last].iter().find(|t| !hit(t)) {
                    let what = format!(
                        "`{}` forbids to {} `{category}` but not to {} it, which reveals more",
                        loaded.id,
                        rungs[last].name(),
                        open.name()
                    );
                    let help =
                        "forbid `action in Action::\"release\"`, or every more revealing treatment too";
                    faults.push(loaded.fault("reveals-more", what, &["action"]).help(help));
                    break;
                }
                // One that looks at the record means the record: letting a lesser treatment through is a hole.
                if let Some(open) = rungs[last + 1..].first()
                    && loaded.reads.record
                {
                    let what = format!(
                        "`{}` looks at the record and forbids to {} its `{category}`, which then falls through to {}",
                        loaded.id,
                        rungs[last].name(),
                        open.name()
                    );
                    let help = "forbid `action in Action::\"release\"`, or `Action::\"observe\"` to withhold the record";
                    faults.push(loaded.fault("falls-through", what, &["action"]).help(help));
                    break;
                }
            }
        }
        Effect::Permit => {
            let direct = |name: &str| match &action {
                ActionConstraint::Eq(uid) => name_of(uid) == name,
                ActionConstraint::In(uids) => uids.iter().any(|u| name_of(u) == name),
                ActionConstraint::Any => false,
            };
            for name in RUNGS.into_iter().filter(|n| direct(n)) {
                if categories.is_empty() {
                    let what = format!(
                        "`{}` permits to {name} a type, but what may be shown is asked category by category",
                        loaded.id
                    );
                    let help = "leave the type out of the scope: `resource) when { context.record.type == ResourceType::\"…\" }`";
                    faults.push(
                        loaded.fault("wrong-resource", what, &["ResourceType::", "resource"]).help(help),
                    );
                    break;
                }
                let ruled = categories.iter().any(|c| treatments.rungs(*c).iter().any(|t| t.name() == name));
                if !ruled {
                    let what =
                        format!("`{}` permits to {name} where treatments.yaml has no such rule", loaded.id);
                    let fault = loaded.fault("no-rung", what, &[&format!("Action::\"{name}\"")]);
                    faults.push(fault.help("add the treatment to the category's list, or drop the permit"));
                }
            }
        }
    }
}

/// Names of entities that do not exist would make a policy that never matches.
fn names(value: &serde_json::Value, loaded: &Loaded, faults: &mut Vec<Fault>) {
    match value {
        serde_json::Value::Array(items) => items.iter().for_each(|v| names(v, loaded, faults)),
        serde_json::Value::Object(map) => {
            if let (Some(kind), Some(id)) = (
                map.get("type").and_then(serde_json::Value::as_str),
                map.get("id").and_then(serde_json::Value::as_str),
            ) {
                let known = match kind {
                    "Category" => Category::parse(id).is_some() || GROUPS.iter().any(|g| g.name == id),
                    "ResourceType" => {
                        TYPE_GROUPS.iter().any(|(g, _)| *g == id)
                            || drape_fhir::definitions::r4().is_resource(id)
                    }
                    _ => true,
                };
                if !known {
                    let near = match kind {
                        "Category" => near(id, category_names()),
                        _ => near(id, type_names()),
                    };
                    let help = match (near, kind) {
                        (Some(near), _) => format!("did you mean `{kind}::\"{near}\"`?"),
                        (None, "Category") => "the categories are listed in docs/architecture.md".to_owned(),
                        _ => {
                            let groups = TYPE_GROUPS.map(|(group, _)| group).join(", ");
                            format!("name a FHIR R4 type or one of: {groups}")
                        }
                    };
                    let name = format!("{kind}::\"{id}\"");
                    let what = format!("`{}` names `{name}`, which does not exist", loaded.id);
                    faults.push(loaded.fault("unknown-name", what, &[&name]).help(help));
                }
            }
            map.values().for_each(|v| names(v, loaded, faults));
        }
        _ => {}
    }
}

fn category_names() -> impl Iterator<Item = &'static str> {
    Category::ALL.into_iter().map(Category::name).chain(GROUPS.iter().map(|g| g.name))
}

fn type_names() -> impl Iterator<Item = &'static str> {
    drape_fhir::definitions::r4().resource_types().chain(TYPE_GROUPS.map(|(group, _)| group))
}
