//! What differs between two policy sets for one caller: told from the policies, over every case that they tell apart.

mod asked;
mod callers;
mod literals;
mod search;
mod space;
mod table;
mod words;

use std::collections::BTreeSet;

use drape_view::{Category, Treatment, Verdict};

use crate::decide::{Action, Standing};
use crate::overheard::{Inquiry, is_less};
use crate::set::Loaded;
use literals::Mentions;
use search::Search;
use space::Space;
use table::{ASKED, Outcome, Table};

pub use asked::requests;
pub use callers::Callers;
pub use words::treatment;

/// One of the two.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The caller before that set.
    pub standing: &'a Standing,
    /// Whether records are reduced silently, so that nothing is sealed.
    pub silent: bool,
}

/// What a difference is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    /// Whether such a request may be made.
    Request(Action),
    /// Whether a category may be searched by.
    SearchBy(Category),
    /// Whether a category may be counted by.
    CountBy(Category),
    /// Whether that budget may be charged.
    Aggregate(String),
    /// Whether a record reaches the caller.
    Record,
    /// What is done to a category of a record that does.
    Category(Category),
    /// Whether a category may be changed.
    Change(Category),
    /// Whether what access rests on may be changed, as far as it belongs to the category.
    Relate(Category),
}

impl What {
    /// In words.
    pub fn name(&self) -> String {
        match self {
            Self::Request(action) => action.name().to_owned(),
            Self::SearchBy(category) => format!("search by {category}"),
            Self::CountBy(category) => format!("count by {category}"),
            Self::Aggregate(budget) => format!("count under the budget {budget}"),
            Self::Record => "record".to_owned(),
            Self::Category(category) => category.name().to_owned(),
            Self::Change(category) => format!("change {category}"),
            Self::Relate(category) => format!("relate {category}"),
        }
    }
}

/// Which way it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The new set lets more through.
    Gained,
    /// The new set lets less through.
    Lost,
    /// Neither hides it; they treat it differently.
    Treated,
}

impl Kind {
    /// The word for it, in metrics too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gained => "gained",
            Self::Lost => "lost",
            Self::Treated => "treated",
        }
    }
}

/// One fact with the values that it has where a difference shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Given {
    /// The fact.
    pub fact: &'static str,
    /// Its values in words; any of them.
    pub values: Vec<String>,
}

impl std::fmt::Display for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.fact, self.values.join(" or "))
    }
}

/// One difference between two sets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Difference {
    /// What it is about.
    pub what: What,
    /// Of records of these types.
    pub types: Vec<String>,
    /// What the old set says.
    pub from: String,
    /// What the new set says.
    pub to: String,
    /// Which way it goes.
    pub kind: Kind,
    /// What must be so at least, one line a reason; none: whatever the record, but for `unless`.
    pub given: Vec<Vec<Given>>,
    /// What must not be so, one line a reason.
    pub unless: Vec<Vec<Given>>,
    /// Whether there are more reasons than are told.
    pub more: bool,
    /// The policies of the old set that decide.
    pub old_policies: Vec<String>,
    /// Those of the new set.
    pub new_policies: Vec<String>,
}

/// What was compared for one caller.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// The differences.
    pub differences: Vec<Difference>,
    /// How many cases were looked at; none where no policy that applies to the caller was changed.
    pub cases: usize,
    /// Whether there were too many cases to try all of them together.
    pub cut: bool,
}

/// What of a verdict can differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    what: What,
    from: String,
    to: String,
    kind: Kind,
}

/// How many cases are tried for one caller all together; where there are more, policies are tried two by two.
pub const CASES_MAX: usize = 5_000;

/// Compares what becomes of records of these types, and of changes to them.
pub fn records(old: Side<'_>, new: Side<'_>, types: &[&str]) -> Compared {
    let about_records = |loaded: &Loaded| ASKED.iter().any(|action| loaded.reach.covers(action, None));
    let (olds, news) = (changed(old, new, &about_records), changed(new, old, &about_records));
    let (before, after) = (&old.standing.decider.set, &new.standing.decider.set);
    if olds.is_empty() && news.is_empty() && before.treatments == after.treatments && old.silent == new.silent
    {
        return Compared::default();
    }
    let mut mentions = Mentions::default();
    for side in [old, new] {
        for place in &side.standing.footing.applicable {
            let loaded = &side.standing.decider.set.policies[*place];
            if about_records(loaded) {
                mentions.take(&Mentions::of(&loaded.json));
            }
        }
    }
    let space = Space::new(&mentions, &old.standing.caller, types);
    let tables = [Table::new(old.standing, old.silent, &space), Table::new(new.standing, new.silent, &space)];
    let (mut readers, mut is_changed) = (Vec::new(), Vec::new());
    // Where no policy was changed, the rungs were, and every policy counts.
    let all = olds.is_empty() && news.is_empty();
    for (table, changed) in tables.iter().zip([&olds, &news]) {
        for (reader, place) in table.readers.iter().zip(table.places()) {
            readers.push(reader.axes.clone());
            is_changed.push(all || changed.contains(&place));
        }
    }
    let (cases, whole) = space.cases(&readers, &is_changed, CASES_MAX);
    let looked_at = cases.len();
    let differences = Search::new(&space, tables).run(cases, whole);
    Compared { differences, cases: looked_at, cut: !whole }
}

/// The places of this side's policies that apply to the caller, are `about` what is compared, and are not on the other
/// side to the letter.
fn changed(this: Side<'_>, other: Side<'_>, about: &dyn Fn(&Loaded) -> bool) -> BTreeSet<usize> {
    let texts: BTreeSet<String> = other
        .standing
        .footing
        .applicable
        .iter()
        .map(|p| other.standing.decider.set.policies[*p].rule())
        .collect();
    let policies = &this.standing.decider.set.policies;
    let applicable = this.standing.footing.applicable.iter().copied();
    applicable.filter(|p| about(&policies[*p]) && !texts.contains(&policies[*p].rule())).collect()
}

/// Adds a difference; types that differ in the same way are told together.
fn merge(all: &mut Vec<Difference>, one: Difference) {
    match all.iter_mut().find(|known| same_but_types(known, &one)) {
        Some(known) => {
            known.types.extend(one.types);
            known.types.sort();
        }
        None => all.push(one),
    }
}

fn same_but_types(one: &Difference, other: &Difference) -> bool {
    let Difference { what, types: _, from, to, kind, given, unless, more, old_policies, new_policies } = one;
    (what, from, to, kind, given, unless, more, old_policies, new_policies)
        == (
            &other.what,
            &other.from,
            &other.to,
            &other.kind,
            &other.given,
            &other.unless,
            &other.more,
            &other.old_policies,
            &other.new_policies,
        )
}

fn differing(old: &Outcome, new: &Outcome) -> Vec<Key> {
    let mut keys = verdicts(&old.verdict, &new.verdict);
    for (place, what) in [What::Change, What::Relate].into_iter().enumerate() {
        for category in Category::ALL {
            let (was, is) = (old.may[place][category.index()], new.may[place][category.index()]);
            keys.extend(yes_or_no(what(category), was, is));
        }
    }
    keys
}

fn yes_or_no(what: What, was: bool, is: bool) -> Option<Key> {
    let word = |yes: bool| if yes { "permitted" } else { "refused" }.to_owned();
    let kind = if is { Kind::Gained } else { Kind::Lost };
    (was != is).then(|| Key { what, from: word(was), to: word(is), kind })
}

/// In what two verdicts on one record differ, each with what it is about, both sides in words, and which way it goes.
pub fn verdict_differences(old: &Verdict, new: &Verdict) -> Vec<(What, String, String, Kind)> {
    verdicts(old, new).into_iter().map(|Key { what, from, to, kind }| (what, from, to, kind)).collect()
}

/// What a question is about, and which way two different answers to it go.
pub fn answer_difference(question: &Inquiry, from: &str, to: &str) -> Option<(What, Kind)> {
    let what = match question {
        Inquiry::Request { action, .. } => What::Request(*action),
        Inquiry::SearchBy { category, .. } => What::SearchBy(*category),
        Inquiry::CountBy { category } => What::CountBy(*category),
        Inquiry::Aggregate { budget, .. } => What::Aggregate(budget.clone()),
        Inquiry::Change { category, .. } => What::Change(*category),
        Inquiry::Relate { category, .. } => What::Relate(*category),
    };
    let kind = if is_less(from, to) { Kind::Lost } else { Kind::Gained };
    (from != to).then_some((what, kind))
}

fn verdicts(old: &Verdict, new: &Verdict) -> Vec<Key> {
    let word = |verdict: &Verdict| match verdict {
        Verdict::Withhold(_) => "withheld".to_owned(),
        Verdict::Keep(plan) if plan.shows_all() => "received, all shown".to_owned(),
        Verdict::Keep(plan) => {
            let seen = Category::ALL.into_iter().filter(|c| plan.treatment(*c) != Treatment::Redact).count();
            format!("received, {seen} of {} categories seen", Category::COUNT)
        }
    };
    match (old, new) {
        (Verdict::Withhold(_), Verdict::Withhold(_)) => Vec::new(),
        (Verdict::Keep(old), Verdict::Keep(new)) => Category::ALL
            .into_iter()
            .filter(|c| old.treatment(*c) != new.treatment(*c))
            .map(|category| {
                let (was, is) = (old.treatment(category), new.treatment(category));
                let kind = match (was, is) {
                    (Treatment::Redact, _) => Kind::Gained,
                    (_, Treatment::Redact) => Kind::Lost,
                    _ => Kind::Treated,
                };
                Key { what: What::Category(category), from: treatment(was), to: treatment(is), kind }
            })
            .collect(),
        (old, new) => {
            let kind = if matches!(old, Verdict::Withhold(_)) { Kind::Gained } else { Kind::Lost };
            vec![Key { what: What::Record, from: word(old), to: word(new), kind }]
        }
    }
}

#[cfg(test)]
mod tests;
