//! What holds of every caller, record and moment because Drape makes the facts so; and who a case is about.

use std::collections::{BTreeMap, BTreeSet};

use drape_policy::guarantees::{ASKED_MAX, Act, Case, Who, body};
use drape_view::Fault;
use serde_json::{Value, json};

use crate::expression::{all, and, any, attributes, fact, ids_of, in_role, not, one_of, or, strings, truth};
use crate::outcome::asked_type;
use crate::question::{NotUnderstood, plain};
use crate::types::Types;

/// Each in Cedar, with the attributes of which it says something. One of which not all are read says nothing.
const FACTS: [(&[&str], &str); 12] = [
    (&["patient.known", "patient.relations"], "context.patient.known || context.patient.relations.isEmpty()"),
    (&["patient.known", "patient.ageYears"], "context.patient.known || !(context.patient has ageYears)"),
    (&["patient.known", "patient.isCaller"], "context.patient.known || !context.patient.isCaller"),
    (
        &["patient.known", "patient.consentReleases"],
        "context.patient.known || context.patient.consentReleases.isEmpty()",
    ),
    (
        &["patient.ageYears"],
        "if context.patient has ageYears then -9999 <= context.patient.ageYears && context.patient.ageYears <= 9999 else true",
    ),
    (
        &["record.ageDays"],
        "if context.record has ageDays then -4000000 <= context.record.ageDays && context.record.ageDays <= 4000000 else true",
    ),
    (&["env.hour"], "0 <= context.env.hour && context.env.hour <= 23"),
    (&["env.minuteOfDay"], "0 <= context.env.minuteOfDay && context.env.minuteOfDay <= 1439"),
    (
        &["env.hour", "env.minuteOfDay"],
        "60 * context.env.hour <= context.env.minuteOfDay && context.env.minuteOfDay < 60 * context.env.hour + 60",
    ),
    (&["env.weekday"], "1 <= context.env.weekday && context.env.weekday <= 7"),
    (&["principal.shiftStart"], SHIFT),
    (&["principal.shiftEnd"], SHIFT),
];

/// A shift has both ends or none, and stands as `drape_policy` turns one over midnight around the present minute.
const SHIFT: &str = "\
    if principal has shiftStart then principal has shiftEnd && ( \
      (0 <= principal.shiftStart && principal.shiftStart <= principal.shiftEnd && principal.shiftEnd <= 1439) || \
      (0 <= principal.shiftStart && principal.shiftStart <= 1439 && 1440 <= principal.shiftEnd && \
       principal.shiftEnd < 2880 && principal.shiftEnd - 1440 < principal.shiftStart && \
       principal.shiftStart <= context.env.minuteOfDay) || \
      (-1440 < principal.shiftStart && principal.shiftStart < 0 && 0 <= principal.shiftEnd && \
       principal.shiftEnd <= 1439 && principal.shiftEnd < principal.shiftStart + 1440 && \
       context.env.minuteOfDay < principal.shiftStart + 1440)) \
    else !(principal has shiftEnd)";

/// All that is assumed.
#[derive(Clone, Debug)]
pub(crate) struct Assumptions {
    facts: Vec<(&'static [&'static str], Value)>,
    closures: BTreeMap<String, BTreeSet<String>>,
    /// The roles that anything names; others make no difference.
    roles: BTreeSet<String>,
    types: Types,
}

impl Assumptions {
    pub(crate) fn new(
        closures: BTreeMap<String, BTreeSet<String>>,
        roles: BTreeSet<String>,
        types: Types,
    ) -> Result<Self, Fault> {
        let facts = FACTS.iter().map(|(of, text)| Ok((*of, body(text)?))).collect::<Result<_, Fault>>()?;
        Ok(Self { facts, closures, roles, types })
    }

    /// The same where other types are told apart.
    pub(crate) fn with(&self, types: Types) -> Self {
        Self { types, ..self.clone() }
    }

    /// What is known of roles under the guard of a case: it need not be found out again in every policy.
    pub(crate) fn known(&self, who: &Who, expression: &Value) -> Option<bool> {
        let role = |wanted: &str| *expression == in_role(wanted);
        match who {
            Who::Anyone => None,
            Who::NoRole => self.roles.iter().any(|r| role(r)).then_some(false),
            Who::Roles(roles) | Who::Only(roles) => match roles.as_slice() {
                [only] if role(only) => Some(true),
                _ if matches!(who, Who::Roles(_)) => None,
                _ => self.roles.iter().any(|r| !roles.contains(r) && role(r)).then_some(false),
            },
        }
    }

    pub(crate) fn types(&self) -> &Types {
        &self.types
    }

    /// Every role that anything names.
    pub(crate) fn roles(&self) -> &BTreeSet<String> {
        &self.roles
    }

    /// What holds of all that `formula` reads, and then the formula.
    pub(crate) fn under(&self, formula: Value) -> Value {
        let mut read = attributes(&formula);
        // A shift is told by the clock.
        if read.iter().any(|r| r.starts_with("principal.shift")) {
            read.push("env.minuteOfDay".to_owned());
        }
        let reads = |name: &&str| read.iter().any(|r| r == name);
        let facts = self.facts.iter().filter(|(of, _)| of.iter().all(reads));
        let mut parts: Vec<Value> = facts.map(|(_, fact)| fact.clone()).collect();
        let named: BTreeSet<&str> = strings(&formula).into_iter().collect();
        if reads(&"record.labels") {
            for (label, above) in self.closures.iter().filter(|(label, _)| named.contains(label.as_str())) {
                for above in above.iter().filter(|above| named.contains(above.as_str())) {
                    parts.push(or(not(labelled(label)), labelled(above)));
                }
            }
        }
        let known = |of: Value| one_of(of, "ResourceType", self.types.all().iter().copied());
        if reads(&"record.type") {
            parts.push(known(fact("record", "type")));
        }
        for place in 0..ASKED_MAX {
            if read.iter().any(|r| *r == format!("context.asked{place}")) {
                parts.push(known(asked_type(place)));
            }
        }
        parts.push(formula);
        all(parts)
    }

    /// Every fact, whatever is read: for states that are there.
    pub(crate) fn of_everything(&self) -> Value {
        let closures = self.closures.iter().flat_map(|(label, above)| {
            above.iter().map(move |above| or(not(labelled(label)), labelled(above)))
        });
        all(self.facts.iter().map(|(_, fact)| fact.clone()).chain(closures))
    }

    /// Only roles that the caller's purpose activates.
    pub(crate) fn by_purpose(&self, purposes: &BTreeMap<String, Vec<String>>) -> Value {
        all(self.roles.iter().map(|role| {
            let activating = purposes.iter().filter(|(_, roles)| roles.contains(role));
            let one = any(activating.map(|(purpose, _)| {
                json!({ "==": { "left": fact("env", "purpose"), "right": { "Value": purpose } } })
            }));
            or(not(in_role(role)), one)
        }))
    }

    /// Who and what a case is about, and its conditions; not what happens. `asked` is the place of the type that its
    /// request names.
    pub(crate) fn case(&self, case: &Case, asked: usize) -> Result<Value, NotUnderstood> {
        let any_role = |roles: &[String]| any(roles.iter().map(|role| in_role(role)));
        let no_other = |roles: &[String]| {
            all(self.roles.iter().filter(|role| !roles.contains(role)).map(|role| not(in_role(role))))
        };
        let who = match &case.who {
            Who::Anyone => truth(true),
            Who::NoRole => no_other(&[]),
            Who::Roles(roles) => any_role(roles),
            Who::Only(roles) => and(any_role(roles), no_other(roles)),
        };
        let (of, named) = match &case.act {
            Act::Receives(types) => (fact("record", "type"), types.as_slice()),
            Act::Request(_, types) => (asked_type(asked), types.as_slice()),
            _ => (truth(true), &[][..]),
        };
        let types = if named.is_empty() {
            truth(true)
        } else {
            let represented = self.types.all().iter().copied().filter(|t| named.iter().any(|n| n == t));
            one_of(of, "ResourceType", represented)
        };
        let put = |condition: &Option<Value>, default: bool| {
            condition.as_ref().map_or(Ok(truth(default)), |c| plain(c, &self.types))
        };
        Ok(all([who, types, put(&case.when, true)?, not(put(&case.unless, false)?)]))
    }
}

/// The roles that expressions name.
pub(crate) fn roles_in<'a>(expressions: impl IntoIterator<Item = &'a Value>) -> BTreeSet<String> {
    expressions.into_iter().flat_map(|e| ids_of(e, "Role")).map(str::to_owned).collect()
}

/// `context.record.labels.contains("label")`.
fn labelled(label: &str) -> Value {
    json!({ "contains": { "left": fact("record", "labels"), "right": { "Value": label } } })
}
