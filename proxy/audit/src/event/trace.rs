//! Why it was decided so: what was asked of policy about a request, and by which policies what of it was seen. No value of
//! a record or of a criterion stands in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What was asked about a request before and beside its records. Lists are cut where they grow long; `more` says by how
/// much.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trace {
    /// What the request needed of the token's scopes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<Scoped>,
    /// What was asked of policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<Question>,
    /// What was found of each criterion.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub criteria: Vec<Criterion>,
    /// What was changed of the request before it was sent on, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rewritten: Vec<String>,
    /// The precondition that failed, by its code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lacks: Option<String>,
    /// Facts that were left out.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: u64,
}

/// What was needed of the token's scopes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scoped {
    /// `Observation.s` and the like, as SMART writes them, of which the same is to be said.
    pub needs: Vec<String>,
    /// The scopes that cover it; none: they were not asked, or do not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
    /// Whether it is covered.
    pub granted: bool,
    /// Whether only for records about the patient in context.
    #[serde(default, skip_serializing_if = "is_false")]
    pub patient_only: bool,
}

/// A question to policy about the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The Cedar action.
    pub action: String,
    /// The types or categories that it was asked about and that got this answer.
    pub about: Vec<String>,
    /// The answer.
    pub allowed: bool,
    /// Whether a policy erred.
    #[serde(default, skip_serializing_if = "is_false")]
    pub erred: bool,
    /// Ids of the determining policies; none where nothing permits it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
}

/// What a criterion reads, and whether it may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Criterion {
    /// The parameter, without its value.
    pub name: String,
    /// The category that it reads.
    pub category: String,
    /// `open`, `shown`, `by-pseudonym`, `narrowed` or `refused`.
    pub ruling: String,
}

/// Elements that were treated in one way, for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Determined {
    /// The treatment, such as `redact`.
    pub treatment: String,
    /// What it rests on: `permitted`, `refused`, `erred`, `carrier`, `unfit`, `container`, `silent`.
    pub basis: String,
    /// Ids of the policies that permit it, or that forbid what would show more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// How many elements of each category; `all`: how many records that were let through whole.
    pub categories: BTreeMap<String, u64>,
}

/// Facts of one kind that are kept.
const KEPT_MAX: usize = 200;
/// A name that is longer is cut.
const NAME_CHARS_MAX: usize = 120;

impl Trace {
    /// Whether nothing was asked.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes in what was needed of the scopes.
    pub fn scoped(&mut self, needs: &str, by: Vec<String>, (granted, patient_only): (bool, bool)) {
        let alike = |known: &&mut Scoped| {
            known.by == by && (known.granted, known.patient_only) == (granted, patient_only)
        };
        match self.scopes.iter_mut().find(alike) {
            Some(known) if known.needs.iter().any(|n| n == needs) => {}
            Some(known) => self.more += keep(&mut known.needs, needs.to_owned()),
            None => {
                let needs = vec![needs.to_owned()];
                self.more += keep(&mut self.scopes, Scoped { needs, by, granted, patient_only });
            }
        }
    }

    /// Takes in a question and its answer. What got the same answer by the same policies stands together.
    pub fn asked(
        &mut self,
        action: &str,
        about: &str,
        (allowed, erred): (bool, bool),
        policies: Vec<String>,
    ) {
        let alike = |known: &&mut Question| {
            known.action == action
                && (known.allowed, known.erred) == (allowed, erred)
                && known.policies == policies
        };
        match self.questions.iter_mut().find(alike) {
            Some(known) if known.about.iter().any(|a| a == about) => {}
            Some(known) => self.more += keep(&mut known.about, about.to_owned()),
            None => {
                let (action, about) = (action.to_owned(), vec![about.to_owned()]);
                self.more += keep(&mut self.questions, Question { action, about, allowed, erred, policies });
            }
        }
    }

    /// Takes in what was found of a criterion.
    pub fn ruled(&mut self, name: &str, category: &str, ruling: &str) {
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        let ruled = Criterion { name, category: category.to_owned(), ruling: ruling.to_owned() };
        if !self.criteria.contains(&ruled) {
            self.more += keep(&mut self.criteria, ruled);
        }
    }

    /// Takes in what was changed of the request.
    pub fn rewrote(&mut self, what: String) {
        if !self.rewritten.contains(&what) {
            self.more += keep(&mut self.rewritten, what);
        }
    }

    /// Takes in all of another.
    pub fn extend(&mut self, other: &Self) {
        for s in &other.scopes {
            s.needs.iter().for_each(|n| self.scoped(n, s.by.clone(), (s.granted, s.patient_only)));
        }
        for q in &other.questions {
            q.about
                .iter()
                .for_each(|about| self.asked(&q.action, about, (q.allowed, q.erred), q.policies.clone()));
        }
        other.criteria.iter().for_each(|c| self.ruled(&c.name, &c.category, &c.ruling));
        other.rewritten.iter().for_each(|r| self.rewrote(r.clone()));
        if other.lacks.is_some() {
            self.lacks.clone_from(&other.lacks);
        }
        self.more += other.more;
    }
}

/// Keeps one more, or says that one was left out.
fn keep<T>(list: &mut Vec<T>, item: T) -> u64 {
    if list.len() >= KEPT_MAX {
        return 1;
    }
    list.push(item);
    0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
fn is_false(b: &bool) -> bool {
    !*b
}
