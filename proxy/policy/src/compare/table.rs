//! What each single policy says in each case, asked of Cedar once for what the policy reads; and the verdicts that follow.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::Effect;
use drape_view::{Category, Plan, Reason, Treatment, Verdict};

use super::literals::{Field, Mentions};
use super::space::{Case, Space};
use crate::decide::Standing;
use crate::entities::{self, uid};

/// Everything that is asked about a record; each but the first about categories.
pub(super) const ASKED: [&str; 7] =
    ["receive", "show", "generalize", "pseudonymize", "encrypt", "change", "relate"];
const CHANGE: usize = 5;

/// What one policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Says {
    Nothing,
    Holds,
    Errs,
}

/// One policy that can apply to the caller and is about records.
#[derive(Debug)]
pub(super) struct Reader {
    place: usize,
    permits: bool,
    /// The numbers of the axes that it reads.
    pub(super) axes: Vec<usize>,
    /// What it must be asked, each with an action and a category that stand for all alike.
    questions: Vec<(usize, Option<Category>)>,
    /// For each thing asked and each category, the number of the question; `None` where the scope does not reach it.
    by: Vec<Vec<Option<usize>>>,
}

/// One side of a comparison.
#[derive(Debug)]
pub(super) struct Table<'a> {
    pub(super) standing: &'a Standing,
    /// Whether nothing may say that anything is there, so that nothing is sealed.
    silent: bool,
    pub(super) readers: Vec<Reader>,
    rows: Vec<HashMap<Vec<u16>, usize>>,
    /// Distinct rows: the answers to all questions of a policy.
    kept: HashMap<Vec<Says>, usize>,
    texts: Vec<Vec<Says>>,
    verdicts: HashMap<(u16, Vec<usize>), Outcome>,
}

/// What one side makes of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// What reaches the caller.
    pub(super) verdict: Verdict,
    /// Whether each category may be changed, and related.
    pub(super) may: [[bool; Category::COUNT]; 2],
}

impl<'a> Table<'a> {
    pub(super) fn new(standing: &'a Standing, silent: bool, space: &Space) -> Self {
        let policies = &standing.decider.set.policies;
        let readers: Vec<Reader> = standing
            .footing
            .applicable
            .iter()
            .filter(|p| ASKED.iter().any(|action| policies[**p].reach.covers(action, None)))
            .map(|p| Reader::new(standing, *p, space))
            .collect();
        let rows = readers.iter().map(|_| HashMap::new()).collect();
        Self {
            standing,
            silent,
            readers,
            rows,
            kept: HashMap::new(),
            texts: Vec::new(),
            verdicts: HashMap::new(),
        }
    }

    /// Where each reader stands in its set.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        self.readers.iter().map(|reader| reader.place)
    }

    /// Cases with equal signatures are the same to this side.
    pub(super) fn signature(&mut self, space: &Space, case: &Case) -> Vec<usize> {
        (0..self.readers.len()).map(|reader| self.row(space, case, reader)).collect()
    }

    fn row(&mut self, space: &Space, case: &Case, reader: usize) -> usize {
        let read: Vec<u16> = self.readers[reader].axes.iter().map(|axis| case[*axis]).collect();
        if let Some(found) = self.rows[reader].get(&read) {
            return *found;
        }
        let says = self.readers[reader].ask(self.standing, space, case);
        let next = self.texts.len();
        let row = *self.kept.entry(says.clone()).or_insert(next);
        if row == next {
            self.texts.push(says);
        }
        self.rows[reader].insert(read, row);
        row
    }

    /// What this side makes of a case.
    pub(super) fn outcome(&mut self, space: &Space, case: &Case) -> Outcome {
        // Closed types differ though no policy does.
        let key = (case[0], self.signature(space, case));
        if let Some(found) = self.verdicts.get(&key) {
            return found.clone();
        }
        let (profile, _) = space.at(case);
        let verdict = match self.judge(&key.1) {
            Verdict::Keep(plan)
                if !plan.shows_all() && !drape_view::view::is_open(&profile.resource_type) =>
            {
                Verdict::Withhold(Reason::ClosedType)
            }
            Verdict::Keep(plan) if self.silent => {
                Verdict::Keep(plan.unsealed().map(Arc::new).unwrap_or(plan))
            }
            verdict => verdict,
        };
        let may = [CHANGE, CHANGE + 1].map(|asked| {
            Category::ALL.map(|category| {
                let (allowed, erred, _) = self.ruling(&key.1, asked, Some(category));
                allowed && !erred
            })
        });
        let outcome = Outcome { verdict, may };
        self.verdicts.insert(key, outcome.clone());
        outcome
    }

    /// As [`Standing::judge_uncached`] does, from what each policy says.
    fn judge(&self, signature: &[usize]) -> Verdict {
        let (received, erred, mut determining) = self.ruling(signature, 0, None);
        if erred {
            return Verdict::Withhold(Reason::PolicyError);
        }
        if !received {
            return Verdict::Withhold(Reason::NotReceived);
        }
        let mut treatments = [Treatment::Redact; Category::COUNT];
        for category in Category::ALL {
            for rung in self.standing.decider.set.treatments.rungs(category) {
                let (allowed, erred, policies) = self.ruling(signature, asked(rung.name()), Some(category));
                if erred {
                    break;
                }
                if allowed {
                    treatments[category.index()] = *rung;
                    determining.extend(policies);
                    break;
                }
            }
        }
        determining.sort();
        determining.dedup();
        Verdict::Keep(Arc::new(Plan::new(treatments, determining)))
    }

    /// Cedar's rule: one that permits, none that forbids, and here none that errs. With those that decide it.
    fn ruling(
        &self,
        signature: &[usize],
        asked: usize,
        category: Option<Category>,
    ) -> (bool, bool, Vec<String>) {
        let (mut permits, mut forbids, mut errs) = (Vec::new(), Vec::new(), false);
        for (reader, row) in self.readers.iter().zip(signature) {
            let Some(question) = reader.by[asked][category.map_or(0, Category::index)] else { continue };
            match self.texts[*row][question] {
                Says::Nothing => {}
                Says::Holds if reader.permits => permits.push(reader.place),
                Says::Holds => forbids.push(reader.place),
                Says::Errs => errs = true,
            }
        }
        let allowed = forbids.is_empty() && !permits.is_empty();
        let policies = &self.standing.decider.set.policies;
        let decide = if forbids.is_empty() { permits } else { forbids };
        (allowed && !errs, errs, decide.into_iter().map(|p| policies[p].id.clone()).collect())
    }

    /// The policies that decide on one thing in a case: those that permit what is done, or forbid what is not.
    pub(super) fn deciding(
        &mut self,
        space: &Space,
        case: &Case,
        about: Option<(&str, Category)>,
    ) -> Vec<String> {
        let signature = self.signature(space, case);
        let mut policies = match about {
            None => self.ruling(&signature, 0, None).2,
            Some((action @ ("change" | "relate"), category)) => {
                self.ruling(&signature, asked(action), Some(category)).2
            }
            Some((_, category)) => {
                let mut decide = Vec::new();
                for rung in self.standing.decider.set.treatments.rungs(category) {
                    let (allowed, _, policies) = self.ruling(&signature, asked(rung.name()), Some(category));
                    decide.extend(policies);
                    if allowed {
                        break;
                    }
                }
                decide
            }
        };
        policies.sort();
        policies.dedup();
        policies
    }
}

/// The number of an action in [`ASKED`].
fn asked(action: &str) -> usize {
    ASKED.iter().position(|a| *a == action).unwrap_or(0)
}

impl Reader {
    fn new(standing: &Standing, place: usize, space: &Space) -> Self {
        let policy = &standing.decider.set.policies[place];
        let mentions = Mentions::of(&policy.json);
        let fields = Field::ALL.into_iter().filter(|field| {
            mentions.fields.contains_key(field) || *field == Field::Type && !mentions.types.is_empty()
        });
        let mut axes: Vec<usize> = fields.filter_map(|field| space.axis(field)).collect();
        // What is received is a type, which the policy may speak of as its resource.
        if policy.reads.resource && !axes.contains(&0) {
            axes.push(0);
        }
        axes.sort_unstable();
        let mut questions = Vec::new();
        let mut alike: HashMap<(usize, Option<u64>, Option<usize>), usize> = HashMap::new();
        let mut by = vec![vec![None; Category::COUNT]; ASKED.len()];
        for (number, action) in ASKED.iter().enumerate() {
            if number == 0 {
                if policy.reach.covers(action, None) {
                    by[0] = vec![Some(questions.len()); Category::COUNT];
                    questions.push((0, None));
                }
                continue;
            }
            for category in Category::ALL.into_iter().filter(|c| policy.reach.covers(action, Some(*c))) {
                let bits = policy.told_apart.as_ref().map(|bits| bits[category.index()]);
                let by_itself = bits.is_none().then(|| category.index());
                let key = (if policy.reads.action { number } else { 0 }, bits, by_itself);
                let question = *alike.entry(key).or_insert_with(|| {
                    questions.push((number, Some(category)));
                    questions.len() - 1
                });
                by[number][category.index()] = Some(question);
            }
        }
        let permits = policy.policy.effect() == Effect::Permit;
        Self { place, permits, axes, questions, by }
    }

    fn ask(&self, standing: &Standing, space: &Space, case: &Case) -> Vec<Says> {
        let (profile, caller) = space.at(case);
        let all_err = || vec![Says::Errs; self.questions.len()];
        let Ok(context) = entities::record_context(&caller, &profile) else { return all_err() };
        let moved;
        let standing = if *standing.caller == caller {
            standing
        } else {
            match standing.decider.standing(&Arc::new(caller)) {
                Ok(other) => {
                    moved = other;
                    &moved
                }
                Err(_) => return all_err(),
            }
        };
        let says = |(action, category): &(usize, Option<Category>)| {
            let resource = match category {
                Some(category) => uid("Category", category.name()),
                None => uid("ResourceType", &profile.resource_type),
            };
            let Ok(resource) = resource else { return Says::Errs };
            let ruling = standing.ask(&[self.place], ASKED[*action], resource, context.clone(), None);
            match (ruling.erred, ruling.policies.is_empty()) {
                (true, _) => Says::Errs,
                (false, false) => Says::Holds,
                (false, true) => Says::Nothing,
            }
        };
        self.questions.iter().map(says).collect()
    }
}
