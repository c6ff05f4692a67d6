//! What one kind of caller may ask and is shown, worked out from the policies alone: for every type and category, which
//! policies apply, under which conditions, and what is left when those that are known to hold fall away.

use std::collections::{BTreeMap, BTreeSet};

use drape_fhir::definitions::r4;
use drape_policy::PolicySet;
use drape_policy::told::{TYPE_GROUPS, Told};
use drape_view::category::GROUPS;
use drape_view::{Category, Treatment, Treatments};

use super::cond::{Cond, Known, Wordless, holds, join};
use super::policies::REQUESTS;

/// A kind of caller: a persona of the set, or a role that no persona has.
#[derive(Clone, Debug)]
pub(crate) struct Party {
    pub(crate) name: String,
    /// Who that is, in one line.
    pub(crate) says: String,
    pub(crate) roles: BTreeSet<String>,
    /// The purpose of use; `None`: it is told where it matters.
    pub(crate) purpose: Option<String>,
    /// Whether it acts for an organization; `None`: it is told where it matters.
    pub(crate) has_organization: Option<bool>,
}

/// What may be asked, or what reaches the party: of which types, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) what: String,
    pub(crate) of: String,
    /// In words, to follow `where`; none: always.
    pub(crate) condition: Option<String>,
    pub(crate) policies: Vec<String>,
}

/// What happens to the elements of one category.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) category: Category,
    /// One or two words for the overview.
    pub(crate) short: String,
    /// One sentence.
    pub(crate) long: String,
    pub(crate) policies: Vec<String>,
}

/// Everything about one party.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) party: Party,
    pub(crate) requests: Vec<Line>,
    pub(crate) receives: Vec<Line>,
    /// Records that never do, whatever else is permitted.
    pub(crate) withheld: Vec<Line>,
    pub(crate) fates: Vec<Fate>,
    /// Searching, counting, changing.
    pub(crate) uses: Vec<Line>,
}

const USES: [(&str, &str); 4] = [
    ("searchBy", "search by"),
    ("countBy", "count by"),
    ("change", "change"),
    ("relate", "change what access rests on"),
];

pub(crate) fn account(set: &PolicySet, treatments: &Treatments, party: &Party) -> Account {
    let asker = Asker { set, party };
    let receives = asker.receives();
    let reached = !receives.is_empty();
    Account {
        party: party.clone(),
        requests: asker.requests(),
        withheld: if reached { asker.withheld() } else { Vec::new() },
        uses: asker.uses(),
        fates: if reached { asker.fates(treatments) } else { Vec::new() },
        receives,
    }
}

struct Asker<'a> {
    set: &'a PolicySet,
    party: &'a Party,
}

/// What the policies say of one question.
#[derive(Clone, Debug, Default)]
struct Answer {
    permits: Vec<(String, Cond)>,
    forbids: Vec<(String, Cond)>,
}

impl Answer {
    /// Where it is permitted, in all.
    fn cond(&self) -> Cond {
        Cond::all([
            Cond::any(self.permits.iter().map(|(_, c)| c.clone())),
            Cond::all(self.forbids.iter().map(|(_, c)| c.clone().not())),
        ])
    }

    fn policies(&self) -> Vec<String> {
        let mut ids: Vec<String> =
            self.permits.iter().chain(&self.forbids).map(|(id, _)| id.clone()).collect();
        ids.dedup();
        ids
    }
}

impl Asker<'_> {
    fn known(&self) -> Known<'_> {
        Known {
            roles: Some(&self.party.roles),
            purpose: self.party.purpose.as_deref(),
            has_organization: self.party.has_organization,
            ..Known::default()
        }
    }

    fn answer(&self, action: &str, known: Known<'_>) -> Answer {
        let mut answer = Answer::default();
        for policy in self.set.told().filter(|p| p.covers_action(action)) {
            let cond = match holds(policy.json(), known) {
                Ok(Cond::Never) => continue,
                Ok(cond) => cond,
                Err(Wordless) => wordless(policy),
            };
            let list = if policy.permits() { &mut answer.permits } else { &mut answer.forbids };
            list.push((policy.id().to_owned(), cond));
        }
        if answer.permits.is_empty() {
            return Answer::default();
        }
        answer
    }

    /// Types by what is said of them. `all`: with what forbids; else what permits alone.
    fn by_type(&self, action: &str, all: bool) -> Vec<(Cond, Vec<&'static str>, Vec<String>)> {
        let mut found: Vec<(Cond, Vec<&'static str>, Vec<String>)> = Vec::new();
        for name in r4().resource_types() {
            let mut answer = self.answer(action, Known { resource_type: Some(name), ..self.known() });
            if answer.cond() == Cond::Never {
                continue;
            }
            if !all {
                answer.forbids.clear();
            }
            let cond = answer.cond();
            let policies = answer.policies();
            match found.iter_mut().find(|(c, ..)| *c == cond) {
                Some((_, types, ids)) => {
                    types.push(name);
                    ids.extend(policies);
                    ids.sort();
                    ids.dedup();
                }
                None => found.push((cond, vec![name], policies)),
            }
        }
        found
    }

    fn requests(&self) -> Vec<Line> {
        let mut found: Vec<(Vec<String>, Line)> = Vec::new();
        for (action, words) in REQUESTS {
            for (cond, types, policies) in self.by_type(action, true) {
                let (of, condition) = (types_in_words(&types), said(&cond));
                let same = |l: &Line| l.of == of && l.condition == condition && l.policies == policies;
                match found.iter_mut().find(|(_, line)| same(line)) {
                    Some((verbs, _)) => verbs.push(words.to_owned()),
                    None => {
                        let line = Line { what: String::new(), of, condition, policies };
                        found.push((vec![words.to_owned()], line));
                    }
                }
            }
        }
        let joined = |(verbs, line): (Vec<String>, Line)| Line { what: join(&verbs, "and"), ..line };
        let mut lines: Vec<Line> = found.into_iter().map(joined).collect();
        let answer = self.answer("aggregate", self.known());
        if answer.cond() != Cond::Never {
            lines.push(Line {
                what: "ask for noisy counts".into(),
                of: "under a budget".into(),
                condition: said(&answer.cond()),
                policies: answer.policies(),
            });
        }
        lines
    }

    fn receives(&self) -> Vec<Line> {
        let line = |(cond, types, policies): (Cond, Vec<&'static str>, Vec<String>)| Line {
            what: "receive".into(),
            of: types_in_words(&types),
            condition: said(&cond),
            policies,
        };
        self.by_type("receive", false).into_iter().map(line).collect()
    }

    fn withheld(&self) -> Vec<Line> {
        let line = |(id, cond): (String, Cond)| Line {
            what: "withhold".into(),
            of: String::new(),
            condition: said(&cond),
            policies: vec![id],
        };
        self.answer("receive", self.known()).forbids.into_iter().map(line).collect()
    }

    fn uses(&self) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        for (action, words) in USES {
            let mut found: Vec<(Cond, Vec<Category>, Vec<String>)> = Vec::new();
            for category in Category::ALL {
                let answer = self.answer(action, Known { category: Some(category), ..self.known() });
                let cond = answer.cond();
                match found.iter_mut().find(|(c, ..)| *c == cond) {
                    _ if cond == Cond::Never => {}
                    Some((_, categories, _)) => categories.push(category),
                    None => found.push((cond, vec![category], answer.policies())),
                }
            }
            for (cond, categories, policies) in found {
                let of = categories_in_words(&categories);
                lines.push(Line { what: words.to_owned(), of, condition: said(&cond), policies });
            }
        }
        lines
    }

    fn fates(&self, treatments: &Treatments) -> Vec<Fate> {
        let received = self.answer("receive", self.known());
        let mut fates: Vec<(Fate, Shown)> = Vec::new();
        for category in Category::ALL {
            fates.push(self.fate(category, treatments.rungs(category), &received));
        }
        let others = |shown: Shown| {
            fates
                .iter()
                .filter(|(f, _)| !f.category.is_carrier())
                .all(|(_, s)| *s == shown || *s == Shown::Always)
        };
        let (all, some) = (others(Shown::Always), others(Shown::Sometimes));
        let carrier = |(fate, shown): (Fate, Shown)| match shown {
            _ if !fate.category.is_carrier() || shown == Shown::Never || all => fate,
            _ if some => Fate {
                short: "shown, if all is".into(),
                long: format!("{} Only in records of which everything else is shown.", fate.long),
                ..fate
            },
            _ => Fate {
                short: "left out".into(),
                long: "left out: it could repeat what is hidden.".into(),
                policies: Vec::new(),
                ..fate
            },
        };
        fates.into_iter().map(carrier).collect()
    }

    fn fate(&self, category: Category, rungs: &[Treatment], received: &Answer) -> (Fate, Shown) {
        let mut steps: Vec<(&'static str, &'static str, Option<String>)> = Vec::new();
        let mut policies: Vec<String> = Vec::new();
        let mut shown = Shown::Never;
        for rung in rungs {
            let known = Known { category: Some(category), ..self.known() };
            let answer = self.answer(rung.name(), known);
            let cond = among_received(&answer, received);
            if cond == Cond::Never {
                // What was forbidden in this form is said by naming the policy.
                policies.extend(
                    answer.forbids.iter().filter(|(_, c)| *c == Cond::Always).map(|(id, _)| id.clone()),
                );
                continue;
            }
            let here = answer.policies().into_iter();
            policies.extend(here.filter(|id| received.forbids.iter().all(|(other, _)| other != id)));
            if *rung == Treatment::Show {
                shown = if cond == Cond::Always { Shown::Always } else { Shown::Sometimes };
            }
            let (short, long) = super::about::treatment(*rung);
            let always = cond == Cond::Always;
            steps.push((short, long, said(&cond)));
            if always {
                break;
            }
        }
        let mut seen = BTreeSet::new();
        policies.retain(|id| seen.insert(id.clone()));
        let ends = steps.last().is_some_and(|(.., condition)| condition.is_none());
        let mut short: Vec<String> = steps
            .iter()
            .map(|(short, _, condition)| match condition {
                None => (*short).to_owned(),
                Some(_) => format!("{short}, if"),
            })
            .collect();
        let mut long: Vec<String> = steps
            .iter()
            .map(|(_, long, condition)| match condition {
                None => (*long).to_owned(),
                Some(condition) => format!("{long} where {condition}"),
            })
            .collect();
        if !ends {
            long.push("left out".to_owned());
            if steps.is_empty() {
                short.push("left out".to_owned());
            }
        }
        let fate =
            Fate { category, short: short.join("; else "), long: long.join("; otherwise ") + ".", policies };
        (fate, shown)
    }
}

/// How far a category is shown as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Always,
    Sometimes,
    Never,
}

/// Where a treatment is permitted, told of records that are received at all: what holds of each of those is not said
/// again.
fn among_received(answer: &Answer, received: &Answer) -> Cond {
    if answer.permits.is_empty() {
        return Cond::Never;
    }
    let everywhere = received
        .permits
        .iter()
        .all(|(_, there)| answer.permits.iter().any(|(_, here)| here.follows_from(there)));
    let permitted = match everywhere {
        true => Cond::Always,
        false => Cond::any(answer.permits.iter().map(|(_, c)| c.clone())),
    };
    // What withholds a record altogether withholds nothing more of it.
    let forbidden = answer.forbids.iter().filter(|f| !received.forbids.contains(f));
    Cond::all([permitted, Cond::all(forbidden.map(|(_, c)| c.clone().not()))])
}

fn wordless(policy: Told<'_>) -> Cond {
    let id = policy.id();
    Cond::atom(
        format!("the conditions of `{id}` hold (told in Cedar below)"),
        format!("the conditions of `{id}` do not hold (told in Cedar below)"),
    )
}

fn said(cond: &Cond) -> Option<String> {
    (*cond != Cond::Always).then(|| cond.words())
}

/// Types listed by name before it becomes a number.
const NAMES_MAX: usize = 14;

/// `clinical and claims types, Patient`.
pub(crate) fn types_in_words(types: &[&str]) -> String {
    let all: Vec<&str> = r4().resource_types().collect();
    if types.len() == all.len() {
        return "every type".into();
    }
    let without: Vec<String> = all.iter().filter(|t| !types.contains(t)).map(|t| (*t).to_owned()).collect();
    if without.len() <= NAMES_MAX {
        return format!("every type but {}", join(&without, "and"));
    }
    let others: Vec<&str> =
        all.iter().copied().filter(|t| TYPE_GROUPS.iter().all(|(_, members)| !members.contains(t))).collect();
    let groups = TYPE_GROUPS.iter().map(|(name, members)| (*name, members.to_vec()));
    let groups: Vec<(&str, Vec<&str>)> = groups.chain([("other", others)]).collect();
    let mut left: BTreeSet<&str> = types.iter().copied().collect();
    let mut named = Vec::new();
    for (name, members) in &groups {
        let new = members.iter().any(|m| left.contains(m));
        if new && members.len() > 1 && members.iter().all(|m| types.contains(m)) {
            named.push((*name).to_owned());
            left.retain(|name| !members.contains(name));
        }
    }
    let mut words = Vec::new();
    if !named.is_empty() {
        words.push(format!("{} types", join(&named, "and")));
    }
    let more = left.len().saturating_sub(NAMES_MAX);
    words.extend(left.iter().take(NAMES_MAX).map(|t| (*t).to_owned()));
    if more > 0 {
        words.push(format!("{more} more"));
    }
    join(&words, "and")
}

/// `everything`, `the groups clinical and link, structure`.
pub(crate) fn categories_in_words(categories: &[Category]) -> String {
    if categories.len() == Category::COUNT {
        return "everything".into();
    }
    let mut left: BTreeSet<usize> = categories.iter().map(|c| c.index()).collect();
    let mut named: Vec<String> = Vec::new();
    let mut sizes: BTreeMap<&str, Vec<Category>> = BTreeMap::new();
    for group in GROUPS {
        let members = Category::ALL.into_iter().filter(|c| drape_policy::told::category_in(*c, group.name));
        sizes.insert(group.name, members.collect());
    }
    // The widest first, so that `link` is not said where `direct-identifier` says it already.
    let mut groups: Vec<(&str, &Vec<Category>)> = sizes.iter().map(|(n, m)| (*n, m)).collect();
    groups.sort_by_key(|(name, members)| (std::cmp::Reverse(members.len()), *name));
    for (name, members) in groups {
        let whole = members.len() > 1 && members.iter().all(|c| left.contains(&c.index()));
        if whole {
            named.push(format!("{name} (all of it)"));
            left.retain(|place| !members.iter().any(|c| c.index() == *place));
        }
    }
    named
        .extend(Category::ALL.into_iter().filter(|c| left.contains(&c.index())).map(|c| c.name().to_owned()));
    join(&named, "and")
}
