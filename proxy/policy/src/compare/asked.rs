//! What differs in the requests that two sets let a caller make.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use drape_view::{Category, Profile};

use super::literals::{Field, Mentions};
use super::space::{Case, Space};
use super::table::ASKED;
use super::words::told;
use super::{Compared, Difference, Key, Kind, Side, What, changed, merge, yes_or_no};
use crate::decide::{Action, Standing};
use crate::set::Loaded;

/// Compares what may be asked of these types, before any record is in sight.
pub fn requests(old: Side<'_>, new: Side<'_>, types: &[&str]) -> Compared {
    let before_records = |loaded: &Loaded| {
        let asked = Action::ALL.map(Action::name).into_iter().chain(["aggregate", "countBy", "searchBy"]);
        // What may be searched by depends on what is shown as well.
        asked.chain(ASKED).any(|action| loaded.reach.covers(action, None))
    };
    let (olds, news) = (changed(old, new, &before_records), changed(new, old, &before_records));
    if olds.is_empty()
        && news.is_empty()
        && old.standing.decider.set.treatments == new.standing.decider.set.treatments
    {
        return Compared::default();
    }
    let mut mentions = Mentions::default();
    for side in [old, new] {
        for place in &side.standing.footing.applicable {
            mentions.take(&Mentions::of(&side.standing.decider.set.policies[*place].json));
        }
    }
    // Of a request only the moment is known.
    mentions.fields.retain(|field, _| {
        matches!(field, Field::MinuteOfDay | Field::Weekday | Field::Network | Field::BreakGlass)
    });
    let space = Space::new(&mentions, &old.standing.caller, types);
    let (cases, whole) = space.cases(&[], &[], REQUEST_CASES_MAX);
    let mut met: BTreeMap<(Key, u16), Met> = BTreeMap::new();
    let mut asked_at: BTreeMap<u16, usize> = BTreeMap::new();
    for case in &cases {
        *asked_at.entry(case[0]).or_default() += 1;
        let (profile, caller) = space.at(case);
        let caller = Arc::new(caller);
        let standings = [old, new].map(|side| side.standing.decider.standing(&caller));
        let [Ok(before), Ok(after)] = standings else { continue };
        for (key, was, is) in asked(&before, &after, &profile, &mentions) {
            let entry = met.entry((key, case[0])).or_insert_with(|| (Vec::new(), was, is));
            entry.0.push(case.clone());
        }
    }
    let mut differences: Vec<Difference> = Vec::new();
    for ((key, class), (places, old_policies, new_policies)) in met {
        let given = if places.len() == asked_at[&class] { Vec::new() } else { told(&space, &places) };
        let Key { what, from, to, kind } = key;
        let (types, unless, more) = (space.types(class), Vec::new(), false);
        merge(
            &mut differences,
            Difference { what, types, from, to, kind, given, unless, more, old_policies, new_policies },
        );
    }
    Compared { differences, cases: cases.len(), cut: !whole }
}

/// Where a difference was met, and the policies of both sides that decide there.
type Met = (Vec<Case>, Vec<String>, Vec<String>);

/// Moments and types in which requests are compared.
const REQUEST_CASES_MAX: usize = 2_000;

/// Every question about one type that two sets answer differently, with the policies that say so.
fn asked(
    before: &Standing,
    after: &Standing,
    profile: &Profile,
    mentions: &Mentions,
) -> Vec<(Key, Vec<String>, Vec<String>)> {
    let of = &profile.resource_type;
    let mut found = Vec::new();
    for action in Action::ALL {
        let (was, is) = (before.request(action, of), after.request(action, of));
        if let Some(key) = yes_or_no(What::Request(action), was.allowed, is.allowed) {
            found.push((key, was.policies, is.policies));
        }
    }
    for category in Category::ALL {
        let (was, is) = (before.count_by(category), after.count_by(category));
        if let Some(key) = yes_or_no(What::CountBy(category), was.allowed, is.allowed) {
            found.push((key, was.policies, is.policies));
        }
        let (was, is) = (before.search_by(category, of), after.search_by(category, of));
        if was != is {
            // From the freest to none: what comes later lets less through.
            let kind = if was < is { Kind::Lost } else { Kind::Gained };
            let (from, to) = (was.name().to_owned(), is.name().to_owned());
            let key = Key { what: What::SearchBy(category), from, to, kind };
            found.push((key, before.searched(category).policies, after.searched(category).policies));
        }
    }
    // Policies name budgets, or the organizations that own them.
    let any = BTreeSet::from(["any".to_owned()]);
    let budgets = if mentions.budgets.is_empty() { &any } else { &mentions.budgets };
    let named = mentions.principal.get("organization");
    let owners: BTreeSet<&String> = named.into_iter().flatten().chain(&before.caller.organization).collect();
    for budget in budgets {
        for owner in &owners {
            for epsilon in epsilons(&mentions.decimals) {
                let ask = |standing: &Standing| standing.aggregate_unheard(budget, owner, epsilon, of);
                let (was, is) = (ask(before), ask(after));
                let what = What::Aggregate(format!("{budget} of {owner}, ε {}", decimal(epsilon)));
                if let Some(key) = yes_or_no(what, was.allowed, is.allowed) {
                    found.push((key, was.policies, is.policies));
                }
            }
        }
    }
    found
}

/// Costs of a question just below, at and just above those that policies name, in 10⁻⁹ ε.
fn epsilons(named: &BTreeSet<String>) -> BTreeSet<u64> {
    const STEP: u64 = 100_000;
    let nano = |text: &String| {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let part: u64 = format!("{part:0<9}").get(..9)?.parse().ok()?;
        whole.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(part)
    };
    let mut costs: BTreeSet<u64> = named
        .iter()
        .filter_map(nano)
        .flat_map(|n| [n.saturating_sub(STEP), n, n.saturating_add(STEP)])
        .collect();
    costs.insert(STEP);
    costs
}

fn decimal(nano: u64) -> String {
    let text = format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
