//! The entities of a decision: the caller with roles and organization, the tree of categories, the groups of types.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression, Schema,
};
use drape_view::category::GROUPS;
use drape_view::{Caller, Category, Environment, Profile, Subject};

use crate::types::TYPE_GROUPS;

/// Something went wrong inside Cedar; a refusal.
pub(crate) type CedarError = Box<dyn std::error::Error + Send + Sync>;

pub(crate) fn uid(kind: &'static str, id: &str) -> Result<EntityUid, CedarError> {
    Ok(EntityUid::from_type_name_and_id(type_name(kind)?, EntityId::new(id)))
}

/// The kinds of entities in the schema.
const KINDS: [&str; 8] =
    ["Action", "Budget", "Category", "Client", "Organization", "ResourceType", "Role", "User"];

/// Cedar parses a name with its whole grammar, which costs more than a decision: each is parsed once.
fn type_name(kind: &'static str) -> Result<EntityTypeName, CedarError> {
    static PARSED: OnceLock<HashMap<&'static str, EntityTypeName>> = OnceLock::new();
    let parsed =
        PARSED.get_or_init(|| KINDS.into_iter().filter_map(|k| Some((k, k.parse().ok()?))).collect());
    match parsed.get(kind) {
        Some(name) => Ok(name.clone()),
        None => Ok(kind.parse()?),
    }
}

pub(crate) fn name_of(uid: &EntityUid) -> &str {
    uid.id().as_ref()
}

/// The category itself and every group above it.
pub(crate) fn category_ancestors(category: Category) -> impl Iterator<Item = &'static str> {
    let mut names = vec![category.name()];
    let mut todo: Vec<&'static str> = category.parents().to_vec();
    while let Some(name) = todo.pop() {
        if !names.contains(&name) {
            names.push(name);
            todo.extend(GROUPS.iter().filter(|g| g.name == name).flat_map(|g| g.parents));
        }
    }
    names.into_iter()
}

fn set(
    uids: impl IntoIterator<Item = Result<EntityUid, CedarError>>,
) -> Result<HashSet<EntityUid>, CedarError> {
    uids.into_iter().collect()
}

/// What does not depend on the caller.
pub(crate) fn fixed(schema: &Schema) -> Result<Entities, CedarError> {
    let mut all = Vec::new();
    for group in GROUPS {
        all.push(Entity::new_no_attrs(
            uid("Category", group.name)?,
            set(group.parents.iter().map(|p| uid("Category", p)))?,
        ));
    }
    for category in Category::ALL {
        let parents = set(category.parents().iter().map(|p| uid("Category", p)))?;
        all.push(Entity::new_no_attrs(uid("Category", category.name())?, parents));
    }
    for (group, _) in TYPE_GROUPS {
        all.push(Entity::new_no_attrs(uid("ResourceType", group)?, HashSet::new()));
    }
    for name in drape_fhir::definitions::r4().resource_types() {
        let groups = TYPE_GROUPS.iter().filter(|(_, members)| members.contains(&name));
        all.push(Entity::new_no_attrs(
            uid("ResourceType", name)?,
            set(groups.map(|(g, _)| uid("ResourceType", g)))?,
        ));
    }
    Ok(Entities::from_entities(all, Some(schema))?)
}

/// The principal of a caller: issuer and subject together, since subjects are unique only within their issuer.
pub(crate) fn principal(caller: &Caller) -> Result<EntityUid, CedarError> {
    uid("User", &format!("{}#{}", caller.issuer, caller.subject))
}

/// The fixed entities with the caller's own.
pub(crate) fn with_caller(
    fixed: &Entities,
    schema: &Schema,
    caller: &Caller,
) -> Result<Entities, CedarError> {
    let mut parents = HashSet::new();
    let mut added = Vec::new();
    let mut stand =
        |kind: &'static str, id: &str, parents: &mut HashSet<EntityUid>| -> Result<(), CedarError> {
            let uid = uid(kind, id)?;
            parents.insert(uid.clone());
            added.push(Entity::new_no_attrs(uid, HashSet::new()));
            Ok(())
        };
    for role in &caller.roles {
        stand("Role", role, &mut parents)?;
    }
    if let Some(organization) = &caller.organization {
        stand("Organization", organization, &mut parents)?;
    }
    let text = |s: &str| RestrictedExpression::new_string(s.to_owned());
    let mut attributes = HashMap::new();
    attributes.insert(
        "departments".to_owned(),
        RestrictedExpression::new_set(caller.departments.iter().map(|d| text(d))),
    );
    if let Some(organization) = &caller.organization {
        let entity = RestrictedExpression::new_entity_uid(uid("Organization", organization)?);
        attributes.insert("organization".to_owned(), entity);
    }
    if let Some(title) = &caller.title {
        attributes.insert("title".to_owned(), text(title));
    }
    if let Some(client) = &caller.client {
        let client = uid("Client", client)?;
        added.push(Entity::new_no_attrs(client.clone(), HashSet::new()));
        attributes.insert("client".to_owned(), RestrictedExpression::new_entity_uid(client));
    }
    if let Some((start, end)) = turned_shift(caller) {
        attributes.insert("shiftStart".to_owned(), RestrictedExpression::new_long(start));
        attributes.insert("shiftEnd".to_owned(), RestrictedExpression::new_long(end));
    }
    added.push(Entity::new(principal(caller)?, attributes, parents)?);
    Ok(fixed.clone().add_entities(added, Some(schema))?)
}

/// The caller's shift as its entity tells it, turned around the present minute.
pub(crate) fn turned_shift(caller: &Caller) -> Option<(i64, i64)> {
    caller.shift.map(|(start, end)| shift(start, end, caller.environment.minute_of_day))
}

/// A shift over midnight is turned so that `start <= now && now < end` says whether it is on: before midnight it ends
/// tomorrow, after midnight it began yesterday.
fn shift(start: u16, end: u16, now: u16) -> (i64, i64) {
    const DAY: i64 = 1_440;
    let (start, end, now) = (i64::from(start), i64::from(end), i64::from(now));
    match (start <= end, now >= start) {
        (true, _) => (start, end),
        (false, true) => (start, end + DAY),
        (false, false) => (start - DAY, end),
    }
}

fn record(pairs: Vec<(&str, RestrictedExpression)>) -> Result<RestrictedExpression, CedarError> {
    Ok(RestrictedExpression::new_record(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)))?)
}

fn strings<'a>(items: impl IntoIterator<Item = &'a String>) -> RestrictedExpression {
    RestrictedExpression::new_set(items.into_iter().map(|s| RestrictedExpression::new_string(s.clone())))
}

pub(crate) fn environment(env: &Environment, purpose: &str) -> Result<RestrictedExpression, CedarError> {
    let mut pairs = vec![
        ("purpose", RestrictedExpression::new_string(purpose.to_owned())),
        ("hour", RestrictedExpression::new_long(i64::from(env.hour))),
        ("minuteOfDay", RestrictedExpression::new_long(i64::from(env.minute_of_day))),
        ("weekday", RestrictedExpression::new_long(i64::from(env.weekday))),
        ("breakGlass", RestrictedExpression::new_bool(env.break_glass)),
    ];
    if let Some(address) = env.network {
        pairs.push(("network", RestrictedExpression::new_ip(address.to_string())));
    }
    record(pairs)
}

fn profile(p: &Profile) -> Result<RestrictedExpression, CedarError> {
    let mut pairs = vec![
        ("type", RestrictedExpression::new_entity_uid(uid("ResourceType", &p.resource_type)?)),
        ("labels", strings(&p.labels)),
        ("classified", RestrictedExpression::new_bool(p.classified)),
        ("categoryCodes", strings(&p.category_codes)),
        ("departments", strings(&p.departments)),
        ("insurers", strings(&p.insurers)),
        ("authoredByCaller", RestrictedExpression::new_bool(p.authored_by_caller)),
    ];
    if let Some(status) = &p.status {
        pairs.push(("status", RestrictedExpression::new_string(status.clone())));
    }
    if let Some(age) = p.age_days {
        pairs.push(("ageDays", RestrictedExpression::new_long(age)));
    }
    record(pairs)
}

fn subject(s: &Subject) -> Result<RestrictedExpression, CedarError> {
    let mut pairs = vec![
        ("known", RestrictedExpression::new_bool(s.known)),
        ("isCaller", RestrictedExpression::new_bool(s.is_caller)),
        ("relations", strings(&s.relations)),
        ("labels", strings(&s.labels)),
        ("consentReleases", strings(&s.consent_releases)),
        ("consentDenies", strings(&s.consent_denies)),
    ];
    if let Some(age) = s.age_years {
        pairs.push(("ageYears", RestrictedExpression::new_long(age)));
    }
    record(pairs)
}

/// The context of a question about a request.
pub(crate) fn request_context(caller: &Caller) -> Result<Context, CedarError> {
    Ok(Context::from_pairs([("env".to_owned(), environment(&caller.environment, &caller.purpose)?)])?)
}

/// The context of a question about a record.
pub(crate) fn record_context(caller: &Caller, p: &Profile) -> Result<Context, CedarError> {
    Ok(Context::from_pairs([
        ("env".to_owned(), environment(&caller.environment, &caller.purpose)?),
        ("record".to_owned(), profile(p)?),
        ("patient".to_owned(), subject(&p.patient)?),
    ])?)
}

/// The context of a question about an aggregate. `epsilon_nano` is in 10⁻⁹.
pub(crate) fn aggregate_context(
    caller: &Caller,
    epsilon_nano: u64,
    resource_type: &str,
) -> Result<Context, CedarError> {
    // Cedar's decimals have four places; what is smaller is rounded up, so that no limit is passed by rounding.
    let steps = epsilon_nano.div_ceil(100_000);
    let decimal = format!("{}.{:04}", steps / 10_000, steps % 10_000);
    Ok(Context::from_pairs([
        ("env".to_owned(), environment(&caller.environment, &caller.purpose)?),
        ("epsilon".to_owned(), RestrictedExpression::new_decimal(decimal)),
        ("type".to_owned(), RestrictedExpression::new_entity_uid(uid("ResourceType", resource_type)?)),
    ])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_over_midnight_is_on_before_and_after_it() {
        let on = |now: u16| {
            let (start, end) = shift(19 * 60, 7 * 60, now);
            start <= i64::from(now) && i64::from(now) < end
        };
        assert!(on(19 * 60) && on(23 * 60 + 59) && on(0) && on(6 * 60 + 59));
        assert!(!on(7 * 60) && !on(12 * 60) && !on(18 * 60 + 59));
        assert_eq!(shift(7 * 60, 19 * 60, 12 * 60), (420, 1140));
    }

    #[test]
    fn every_leaf_but_unknown_is_below_all() {
        for category in Category::ALL {
            let below = category_ancestors(category).any(|name| name == "all");
            assert_eq!(below, category != Category::Unknown, "{category}");
        }
    }
}
