//! What of a policy can be told before any record is seen: which facts it reads, and whether it can apply at all.

use drape_view::{Category, Profile, Subject};
use serde_json::Value;

use crate::entities::category_ancestors;

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
    pub(crate) attributes: Attributes,
}

/// Attributes of `context.record` and `context.patient`, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes(u32);

/// Their names, in the order of their bits. `record.type` is not among them: it is part of every question.
const ATTRIBUTES: [(&str, &str); 15] = [
    ("record", "labels"),
    ("record", "classified"),
    ("record", "categoryCodes"),
    ("record", "status"),
    ("record", "ageDays"),
    ("record", "departments"),
    ("record", "insurers"),
    ("record", "authoredByCaller"),
    ("patient", "known"),
    ("patient", "isCaller"),
    ("patient", "relations"),
    ("patient", "ageYears"),
    ("patient", "labels"),
    ("patient", "consentReleases"),
    ("patient", "consentDenies"),
];

impl Attributes {
    const ALL: Self = Self(u32::MAX);

    fn of(record_or_patient: &str, attr: &str) -> Self {
        if (record_or_patient, attr) == ("record", "type") {
            return Self::default();
        }
        // One that is not known here is taken for all, so that a key never holds too little.
        ATTRIBUTES
            .iter()
            .position(|known| *known == (record_or_patient, attr))
            .map_or(Self::ALL, |bit| Self(1 << bit))
    }

    /// Whether that attribute is among them.
    pub(crate) fn has(self, record_or_patient: &str, attr: &str) -> bool {
        self.0 & Self::of(record_or_patient, attr).0 != 0
    }

    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The profile as far as these attributes go; all others are alike. Policies that read nothing else cannot tell it
    /// from the whole.
    pub(crate) fn of_profile(self, profile: &Profile) -> Profile {
        let Profile {
            resource_type,
            labels,
            classified,
            category_codes,
            status,
            age_days,
            departments,
            insurers,
            authored_by_caller,
            patient,
        } = profile;
        let Subject {
            known,
            is_caller,
            relations,
            age_years,
            labels: marks,
            consent_releases,
            consent_denies,
        } = patient;
        let mut bits = (0..).map(|bit| self.0 & (1 << bit) != 0);
        let mut read = || bits.next().unwrap_or(true);
        // In the order of `ATTRIBUTES`.
        Profile {
            resource_type: resource_type.clone(),
            labels: kept(read(), labels),
            classified: kept(read(), classified),
            category_codes: kept(read(), category_codes),
            status: kept(read(), status),
            age_days: kept(read(), age_days),
            departments: kept(read(), departments),
            insurers: kept(read(), insurers),
            authored_by_caller: kept(read(), authored_by_caller),
            patient: Subject {
                known: kept(read(), known),
                is_caller: kept(read(), is_caller),
                relations: kept(read(), relations),
                age_years: kept(read(), age_years),
                labels: kept(read(), marks),
                consent_releases: kept(read(), consent_releases),
                consent_denies: kept(read(), consent_denies),
            },
        }
    }
}

fn kept<T: Clone + Default>(read: bool, value: &T) -> T {
    if read { value.clone() } else { T::default() }
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
                    // The whole of it, compared or passed on; that it is there is nothing new.
                    if op == "." && matches!(attr, "record" | "patient") {
                        found.attributes = Attributes::ALL;
                    }
                    // `context.env` alone, without the attribute that is read, could be compared whole.
                    found.moment |= attr == "env";
                    return;
                }
                if let Some(whose) = ["record", "patient"].into_iter().find(|name| is_part(left, name)) {
                    found.record = true;
                    found.patient |= whose == "patient";
                    found.attributes = found.attributes.or(Attributes::of(whose, attr));
                    return;
                }
                if is_part(left, "env") {
                    found.moment |= matches!(attr, "hour" | "minuteOfDay" | "weekday" | "network");
                    return;
                }
            }
            match map.get("Var").and_then(Value::as_str) {
                Some("context") => {
                    found.record = true;
                    found.patient = true;
                    found.moment = true;
                    found.attributes = Attributes::ALL;
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

/// `context.env`, `context.record` or `context.patient`.
fn is_part(value: &Value, name: &str) -> bool {
    value.get(".").is_some_and(|a| a["attr"] == name && is_var(&a["left"], "context"))
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

/// Whether a policy that is asked about `category` holds wherever another one holds, told from their conditions alone:
/// each that it makes, the other makes too to the letter, or it is certain for the category and the principal. A
/// condition that asks for the resource or the action is another one in another question and counts for nothing.
pub(crate) fn follows(
    policy: &Value,
    from: &Value,
    category: Category,
    is_in: &dyn Fn(&str, &str) -> bool,
) -> bool {
    let names: Vec<&str> = category_ancestors(category).collect();
    let known = conjuncts(from);
    conjuncts(policy).iter().all(|one @ (positive, body)| {
        certain(body, &names, is_in) == Some(*positive) || is_blind(body) && known.contains(one)
    })
}

/// What must hold, each part with whether it must be true (`when`) or false (`unless`).
fn conjuncts(policy: &Value) -> Vec<(bool, &Value)> {
    fn flatten<'a>(body: &'a Value, all: &mut Vec<(bool, &'a Value)>) {
        match body.get("&&") {
            Some(both) => [&both["left"], &both["right"]].into_iter().for_each(|side| flatten(side, all)),
            None => all.push((true, body)),
        }
    }
    let mut all = Vec::new();
    for condition in policy["conditions"].as_array().into_iter().flatten() {
        match condition["kind"].as_str() {
            Some("when") => flatten(&condition["body"], &mut all),
            _ => all.push((false, &condition["body"])),
        }
    }
    all
}

/// Whether a policy's conditions ask for neither the resource nor the action, so that they mean the same in every question.
pub(crate) fn is_blind_to_its_question(policy: &Value) -> bool {
    is_blind(&policy["conditions"])
}

fn is_blind(value: &Value) -> bool {
    let mut found = Reads::default();
    walk(value, &mut found);
    !found.resource && !found.action
}

/// What a condition says of a category, where that depends on nothing but the category and the principal's parents.
fn certain(value: &Value, names: &[&str], is_in: &dyn Fn(&str, &str) -> bool) -> Option<bool> {
    let map = value.as_object()?;
    let (op, body) = map.iter().next()?;
    let sides = || (certain(&body["left"], names, is_in), certain(&body["right"], names, is_in));
    match op.as_str() {
        "&&" => match sides() {
            (Some(false), _) => Some(false),
            (Some(true), right) => right,
            _ => None,
        },
        "||" => match sides() {
            (Some(true), _) => Some(true),
            (Some(false), right) => right,
            _ => None,
        },
        "!" => certain(&body["arg"], names, is_in).map(|v| !v),
        _ if is_blind(value) => truth(value, is_in),
        _ => {
            let mut bits = (0, 0);
            ask(value, names, &mut bits)?;
            (bits.1 == 1).then_some(bits.0 == 1)
        }
    }
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
    fn the_attributes_that_a_condition_reads_are_found_and_all_where_that_is_unclear() {
        let a = |t: &str| {
            reads(&json(&format!("permit(principal, action, resource) when {{ {t} }};"))).attributes
        };
        let of = |record_or_patient, attr| Attributes::of(record_or_patient, attr);
        assert_eq!(a("context.record.labels.contains(\"HIV\")"), of("record", "labels"));
        assert_eq!(a("context.patient.labels.contains(\"VIP\")"), of("patient", "labels"));
        let two = "context.record has ageDays && context.record.ageDays < 3 && context.patient.known";
        assert_eq!(a(two), of("record", "ageDays").or(of("patient", "known")));
        for nothing in
            ["context.env.hour > 3", "context.record.type == context.record.type", "context has record"]
        {
            assert_eq!(a(nothing), Attributes::default(), "{nothing}");
        }
        for all in ["context.record == context.record", "context == context", "context.patient.nonsense"] {
            assert_eq!(a(all), Attributes::ALL, "{all}");
        }
        let names: std::collections::BTreeSet<_> = ATTRIBUTES.into_iter().collect();
        assert_eq!(names.len(), ATTRIBUTES.len());
    }

    #[test]
    fn a_profile_keeps_what_is_read_and_nothing_else() {
        let some = |s: &str| std::collections::BTreeSet::from([s.to_owned()]);
        let whole = Profile {
            resource_type: "Observation".into(),
            labels: some("a"),
            classified: true,
            category_codes: some("b"),
            status: Some("c".into()),
            age_days: Some(1),
            departments: some("d"),
            insurers: some("e"),
            authored_by_caller: true,
            patient: Subject {
                known: true,
                is_caller: true,
                relations: some("f"),
                age_years: Some(2),
                labels: some("g"),
                consent_releases: some("h"),
                consent_denies: some("i"),
            },
        };
        assert_eq!(Attributes::ALL.of_profile(&whole), whole);
        // Each bit keeps the attribute of its own name: the two orders agree.
        for (whose, attr) in ATTRIBUTES {
            let kept = Attributes::of(whose, attr).of_profile(&whole);
            let shown = format!("{kept:?}");
            let expected = match (whose, attr) {
                ("record", "labels") => "labels: {\"a\"}",
                ("record", "classified") => "classified: true",
                ("record", "categoryCodes") => "category_codes: {\"b\"}",
                ("record", "status") => "status: Some(\"c\")",
                ("record", "ageDays") => "age_days: Some(1)",
                ("record", "departments") => "departments: {\"d\"}",
                ("record", "insurers") => "insurers: {\"e\"}",
                ("record", "authoredByCaller") => "authored_by_caller: true",
                ("patient", "known") => "known: true",
                ("patient", "isCaller") => "is_caller: true",
                ("patient", "relations") => "relations: {\"f\"}",
                ("patient", "ageYears") => "age_years: Some(2)",
                ("patient", "labels") => "labels: {\"g\"}",
                ("patient", "consentReleases") => "consent_releases: {\"h\"}",
                ("patient", "consentDenies") => "consent_denies: {\"i\"}",
                other => panic!("{other:?}"),
            };
            assert!(shown.contains(expected), "{expected} not in {shown}");
            let values = ["true", "Some(", "{\""].iter().map(|v| shown.matches(v).count()).sum::<usize>();
            assert_eq!(values, 1, "{shown}");
        }
    }

    #[test]
    fn categories_are_told_apart_by_what_is_asked_of_them_and_by_nothing_else() {
        let bits =
            |t: &str| told_apart(&json(&format!("permit(principal, action, resource) when {{ {t} }};")));
        let of = |t: &str, c: Category| bits(t).map(|all| all[c.index()]);
        assert_eq!(bits("context.record.classified"), Some(vec![0; Category::COUNT]));
        let both = "resource in Category::\"text\" || resource == Category::\"diagnosis\"";
        assert_eq!(
            [Category::Note, Category::Diagnosis, Category::Address].map(|c| of(both, c)),
            [Some(1), Some(2), Some(0)]
        );
        let listed =
            "context.record.classified && [Category::\"note\", Category::\"image\"].contains(resource)";
        assert_eq!(
            [Category::Note, Category::Image, Category::Narrative].map(|c| of(listed, c)),
            [Some(1), Some(1), Some(0)]
        );
        for unclear in [
            "resource == context.record.type",
            "[resource].contains(Category::\"note\")",
            "resource in [Category::\"note\"]",
            "resource has x",
        ] {
            assert_eq!(bits(unclear), None, "{unclear}");
        }
    }

    #[test]
    fn a_policy_follows_from_another_only_where_each_of_its_conditions_is_made_there_or_certain() {
        let policy = |t: &str| json(&format!("permit(principal, action, resource) {t};"));
        let from = policy(
            "when { context.env.purpose == \"R\" && context.record.classified && context.patient.known } unless { context.record.authoredByCaller }",
        );
        let follows = |t: &str, c: Category| follows(&policy(t), &from, c, &|_, id| id == "a");
        for yes in [
            "",
            "when { context.record.classified }",
            "when { context.record.classified && context.env.purpose == \"R\" }",
            "when { context.record.classified && (resource in Category::\"clinical\" || resource == Category::\"note\") }",
            "when { [Category::\"diagnosis\", Category::\"note\"].contains(resource) }",
            "when { principal in Role::\"a\" && context.patient.known }",
            "unless { context.record.authoredByCaller }",
            "unless { resource == Category::\"note\" }",
        ] {
            assert!(follows(yes, Category::Diagnosis), "{yes}");
        }
        for no in [
            "when { context.env.purpose == \"T\" }",
            "when { !context.record.classified }",
            "when { context.record.authoredByCaller }",
            "unless { context.record.classified }",
            "when { context.record.classified && resource in Category::\"text\" }",
            "when { principal in Role::\"b\" }",
            "when { action == Action::\"show\" }",
            "when { resource in Category::\"clinical\" && context.record.labels.isEmpty() }",
            "when { context.record.labels.isEmpty() || resource in Category::\"text\" }",
        ] {
            assert!(!follows(no, Category::Diagnosis), "{no}");
        }
    }

    #[test]
    fn a_policy_that_spares_a_role_cannot_apply_to_it() {
        let holds = |t: &str| {
            can_hold(&json(&format!("forbid(principal, action, resource) {t};")), &|kind, id| {
                (kind, id) == ("Role", "a")
            })
        };
        assert!(!holds("when { context.x } unless { context.y || principal in Role::\"a\" }"));
        assert!(holds("when { context.x } unless { context.y && principal in Role::\"a\" }"));
        assert!(holds("unless { principal in Role::\"b\" }"));
        assert!(!holds("when { principal in Role::\"b\" && context.x }"));
        assert!(!holds("when { !(principal in Role::\"a\") }"));
    }
}
