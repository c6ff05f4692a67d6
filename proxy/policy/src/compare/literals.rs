//! Which facts a policy's conditions read, and what they compare each with: so that a comparison tries what matters.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A fact that policies can read and that differs between records or moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Field {
    Type,
    Labels,
    Classified,
    CategoryCodes,
    Status,
    AgeDays,
    Departments,
    Insurers,
    AuthoredByCaller,
    Known,
    IsCaller,
    Relations,
    AgeYears,
    PatientLabels,
    ConsentReleases,
    ConsentDenies,
    MinuteOfDay,
    Weekday,
    Network,
    BreakGlass,
}

impl Field {
    pub(super) const ALL: [Self; 20] = [
        Self::Type,
        Self::Labels,
        Self::Classified,
        Self::CategoryCodes,
        Self::Status,
        Self::AgeDays,
        Self::Departments,
        Self::Insurers,
        Self::AuthoredByCaller,
        Self::Known,
        Self::IsCaller,
        Self::Relations,
        Self::AgeYears,
        Self::PatientLabels,
        Self::ConsentReleases,
        Self::ConsentDenies,
        Self::MinuteOfDay,
        Self::Weekday,
        Self::Network,
        Self::BreakGlass,
    ];

    /// By its place in the schema: `record`, `patient` or `env`, and the attribute.
    fn of(whose: &str, attr: &str) -> Option<Self> {
        Some(match (whose, attr) {
            ("record", "type") => Self::Type,
            ("record", "labels") => Self::Labels,
            ("record", "classified") => Self::Classified,
            ("record", "categoryCodes") => Self::CategoryCodes,
            ("record", "status") => Self::Status,
            ("record", "ageDays") => Self::AgeDays,
            ("record", "departments") => Self::Departments,
            ("record", "insurers") => Self::Insurers,
            ("record", "authoredByCaller") => Self::AuthoredByCaller,
            ("patient", "known") => Self::Known,
            ("patient", "isCaller") => Self::IsCaller,
            ("patient", "relations") => Self::Relations,
            ("patient", "ageYears") => Self::AgeYears,
            ("patient", "labels") => Self::PatientLabels,
            ("patient", "consentReleases") => Self::ConsentReleases,
            ("patient", "consentDenies") => Self::ConsentDenies,
            ("env", "hour" | "minuteOfDay") => Self::MinuteOfDay,
            ("env", "weekday") => Self::Weekday,
            ("env", "network") => Self::Network,
            ("env", "breakGlass") => Self::BreakGlass,
            _ => return None,
        })
    }

    /// Its name for people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Labels => "label",
            Self::Classified => "classified",
            Self::CategoryCodes => "category code",
            Self::Status => "status",
            Self::AgeDays => "age in days",
            Self::Departments => "department",
            Self::Insurers => "insurer",
            Self::AuthoredByCaller => "authored by the caller",
            Self::Known => "patient known",
            Self::IsCaller => "patient is the caller",
            Self::Relations => "relation",
            Self::AgeYears => "patient's age in years",
            Self::PatientLabels => "patient's label",
            Self::ConsentReleases => "consent releases",
            Self::ConsentDenies => "consent denies",
            Self::MinuteOfDay => "time",
            Self::Weekday => "weekday",
            Self::Network => "network",
            Self::BreakGlass => "break-glass",
        }
    }
}

/// What some policies compare one fact with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pool {
    pub(super) words: BTreeSet<String>,
    /// Words that one policy names together.
    pub(super) together: BTreeSet<BTreeSet<String>>,
    pub(super) numbers: BTreeSet<i64>,
    /// Attributes of the principal that stand in the same comparison.
    pub(super) principal: BTreeSet<String>,
}

/// What conditions mention.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mentions {
    pub(super) fields: BTreeMap<Field, Pool>,
    /// Attributes of the principal, each with the words it is compared with.
    pub(super) principal: BTreeMap<String, BTreeSet<String>>,
    pub(super) purposes: BTreeSet<String>,
    /// Types and groups of types.
    pub(super) types: BTreeSet<String>,
    pub(super) roles: BTreeSet<String>,
    pub(super) budgets: BTreeSet<String>,
    pub(super) decimals: BTreeSet<String>,
    /// Whether a single user is named.
    pub(super) users: bool,
}

impl Mentions {
    /// Of one policy in Cedar's JSON form, its scope included.
    pub(super) fn of(policy: &Value) -> Self {
        let mut found = Self::default();
        for part in ["principal", "action", "resource", "conditions"] {
            found.entities(&policy[part]);
        }
        for condition in policy["conditions"].as_array().into_iter().flatten() {
            found.split(&condition["body"]);
        }
        for pool in found.fields.values_mut() {
            let all = pool.words.clone();
            pool.together.insert(all);
        }
        found
    }

    /// With all that another policy mentions.
    pub(super) fn take(&mut self, other: &Self) {
        for (field, pool) in &other.fields {
            let own = self.fields.entry(*field).or_default();
            own.words.extend(pool.words.iter().cloned());
            own.together.extend(pool.together.iter().cloned());
            own.numbers.extend(&pool.numbers);
            own.principal.extend(pool.principal.iter().cloned());
        }
        for (attr, words) in &other.principal {
            self.principal.entry(attr.clone()).or_default().extend(words.iter().cloned());
        }
        self.purposes.extend(other.purposes.iter().cloned());
        self.types.extend(other.types.iter().cloned());
        self.roles.extend(other.roles.iter().cloned());
        self.budgets.extend(other.budgets.iter().cloned());
        self.decimals.extend(other.decimals.iter().cloned());
        self.users |= other.users;
    }

    fn entities(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|v| self.entities(v)),
            Value::Object(map) => {
                // In conditions `{"__entity": {type, id}}`, in scopes `{type, id}`.
                if let (Some(kind), Some(id)) =
                    (map.get("type").and_then(Value::as_str), map.get("id").and_then(Value::as_str))
                {
                    match kind {
                        "ResourceType" => {
                            self.types.insert(id.to_owned());
                        }
                        "Role" => {
                            self.roles.insert(id.to_owned());
                        }
                        "Budget" => {
                            self.budgets.insert(id.to_owned());
                        }
                        "Organization" | "Client" => {
                            let attr = kind.to_ascii_lowercase();
                            self.principal.entry(attr).or_default().insert(id.to_owned());
                        }
                        "User" => self.users = true,
                        _ => {}
                    }
                }
                map.values().for_each(|v| self.entities(v));
            }
            _ => {}
        }
    }

    /// Down to the single comparisons: in each, every fact is taken to be compared with every literal.
    fn split(&mut self, value: &Value) {
        let Some(map) = value.as_object() else { return };
        for (op, body) in map {
            match op.as_str() {
                "&&" | "||" => [&body["left"], &body["right"]].into_iter().for_each(|v| self.split(v)),
                "!" => self.split(&body["arg"]),
                "if-then-else" => {
                    ["if", "then", "else"].into_iter().for_each(|part| self.split(&body[part]));
                }
                _ => self.comparison(value),
            }
        }
    }

    fn comparison(&mut self, value: &Value) {
        let mut one = Comparison::default();
        one.read(value);
        if one.hour {
            // Hours are minutes here, like everything that tells the time.
            one.numbers = one.numbers.iter().flat_map(|n| [*n, n.saturating_mul(60)]).collect();
        }
        // `ageDays + 10 < 30` is about 20.
        let sums: Vec<i64> = one
            .numbers
            .iter()
            .flat_map(|a| one.numbers.iter().flat_map(|b| [a.saturating_add(*b), a.saturating_sub(*b)]))
            .collect();
        if one.numbers.len() > 1 {
            one.numbers.extend(sums);
        }
        if one.epsilon {
            self.decimals.extend(one.words.iter().cloned());
        }
        if one.purpose {
            self.purposes.extend(one.words.iter().cloned());
        }
        for attr in &one.principal {
            self.principal.entry(attr.clone()).or_default().extend(one.words.iter().cloned());
        }
        for field in &one.fields {
            let pool = self.fields.entry(*field).or_default();
            pool.words.extend(one.words.iter().cloned());
            pool.together.insert(one.words.clone());
            pool.numbers.extend(&one.numbers);
            pool.principal.extend(one.principal.iter().cloned());
        }
    }
}

/// One comparison: the facts and the literals in it.
#[derive(Debug, Default)]
struct Comparison {
    fields: BTreeSet<Field>,
    principal: BTreeSet<String>,
    purpose: bool,
    hour: bool,
    epsilon: bool,
    words: BTreeSet<String>,
    numbers: BTreeSet<i64>,
}

impl Comparison {
    fn read(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|v| self.read(v)),
            Value::Object(map) => {
                for op in [".", "has"] {
                    let Some(access) = map.get(op) else { continue };
                    let attr = access["attr"].as_str().unwrap_or_default();
                    if let Some(whose) = part_of_context(&access["left"]) {
                        self.fields.extend(Field::of(whose, attr));
                        self.purpose |= (whose, attr) == ("env", "purpose");
                        self.hour |= (whose, attr) == ("env", "hour");
                    } else if access["left"]["Var"] == "principal" {
                        self.principal.insert(attr.to_owned());
                        // A shift is told by the present minute.
                        if attr.starts_with("shift") {
                            self.fields.insert(Field::MinuteOfDay);
                        }
                    }
                }
                if let Some(var) = map.get("Var") {
                    if var == "context" {
                        // All of it, or a whole part of it: everything is read.
                        self.fields.extend(Field::ALL);
                    }
                    return;
                }
                if let Some(access) = map.get(".").or_else(|| map.get("has")) {
                    let left = &access["left"];
                    let budget =
                        left["Var"] == "context" && ["epsilon", "type"].iter().any(|a| access["attr"] == *a);
                    self.epsilon |= budget;
                    let there = map.contains_key("has") && left["Var"] == "context";
                    if budget || there || part_of_context(left).is_some() || left["Var"] == "principal" {
                        return;
                    }
                }
                if let Some(like) = map.get("like") {
                    self.words.extend(matched(&like["pattern"]));
                    self.read(&like["left"]);
                    return;
                }
                if let Some(entity) = map.get("__entity") {
                    self.words.extend(entity["id"].as_str().map(str::to_owned));
                    return;
                }
                map.values().for_each(|v| self.read(v));
            }
            Value::String(text) => {
                self.words.insert(text.clone());
            }
            Value::Number(number) => self.numbers.extend(number.as_i64()),
            Value::Bool(_) | Value::Null => {}
        }
    }
}

/// `context.env`, `context.record` or `context.patient`.
fn part_of_context(value: &Value) -> Option<&str> {
    let access = value.get(".")?;
    if access["left"]["Var"] != "context" {
        return None;
    }
    access["attr"].as_str().filter(|a| ["env", "record", "patient"].contains(a))
}

/// Texts that a pattern of `like` matches: each `*` as nothing and as something.
fn matched(pattern: &Value) -> [String; 2] {
    ["", "x"].map(|wild| {
        let parts = pattern.as_array().into_iter().flatten();
        parts.map(|p| p["Literal"].as_str().unwrap_or(wild)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mentions(condition: &str) -> Mentions {
        let text = format!("permit(principal, action, resource) when {{ {condition} }};");
        Mentions::of(&cedar_policy::Policy::parse(None, text).unwrap().to_json().unwrap())
    }

    #[test]
    fn each_fact_is_found_with_what_it_is_compared_with() {
        let found = mentions(
            "context.record.labels.containsAny([\"HIV\", \"PSY\"]) && context.record has ageDays && context.record.ageDays <= 365",
        );
        let labels = &found.fields[&Field::Labels];
        assert_eq!(labels.words.iter().collect::<Vec<_>>(), ["HIV", "PSY"]);
        assert!(labels.numbers.is_empty());
        assert_eq!(found.fields[&Field::AgeDays].numbers.iter().collect::<Vec<_>>(), [&365]);
        assert!(!found.fields.contains_key(&Field::Known));
        let found = mentions("context.patient.ageYears + 10 < 30");
        assert!(found.fields[&Field::AgeYears].numbers.contains(&20), "{found:?}");
        let found = mentions("7 <= context.env.hour && context.env.purpose == \"TREAT\"");
        assert!(found.fields[&Field::MinuteOfDay].numbers.contains(&420));
        assert_eq!(found.purposes.iter().collect::<Vec<_>>(), ["TREAT"]);
        let found = mentions("principal has shiftStart && principal.shiftStart <= context.env.minuteOfDay");
        assert!(found.fields[&Field::MinuteOfDay].principal.contains("shiftStart"));
        let found =
            mentions("principal in Role::\"nurse\" && context.record.type in ResourceType::\"notes\"");
        assert!(found.roles.contains("nurse") && found.types.contains("notes"));
    }

    #[test]
    fn what_compares_the_whole_context_reads_everything() {
        assert_eq!(mentions("context == context").fields.len(), Field::ALL.len());
        assert_eq!(mentions("context.record == context.record").fields.len(), Field::ALL.len());
        assert!(mentions("context has record").fields.is_empty());
    }

    #[test]
    fn a_pattern_is_tried_with_what_it_matches() {
        let found = mentions("context.record has status && context.record.status like \"ent*r\"");
        let words: Vec<_> = found.fields[&Field::Status].words.iter().collect();
        assert_eq!(words, ["entr", "entxr"]);
    }
}
