//! The space in which two sets are compared: for each fact that policies read, the values that can make a difference.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use drape_view::{Caller, Profile};

use super::literals::{Field, Mentions, Pool};
use crate::types::TYPE_GROUPS;

/// One value of a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A type that stands for all of them, which no policy tells apart.
    Types(Vec<String>),
    Words(BTreeSet<String>),
    Flag(bool),
    Number(Option<i64>),
    Word(Option<String>),
    Minute(u16),
    Weekday(u8),
    Network(Option<IpAddr>),
}

/// One fact with its values, the plain one first.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) field: Field,
    pub(super) values: Vec<Value>,
}

/// All axes; the first is the type's.
#[derive(Clone, Debug)]
pub(super) struct Space {
    pub(super) axes: Vec<Axis>,
    caller: Caller,
}

/// A place in it: one value's number for each axis.
pub(super) type Case = Vec<u16>;

/// More words than these are tried by themselves only up to here.
const WORDS_MAX: usize = 40;

impl Space {
    /// What these mentions tell apart for that caller.
    pub(super) fn new(mentions: &Mentions, caller: &Caller, types: &[&str]) -> Self {
        let mut axes = vec![Axis { field: Field::Type, values: type_classes(&mentions.types, types) }];
        for field in Field::ALL.into_iter().filter(|f| *f != Field::Type) {
            if let Some(pool) = mentions.fields.get(&field) {
                axes.push(Axis { field, values: values(field, pool, caller) });
            }
        }
        Self { axes, caller: caller.clone() }
    }

    /// How many cases there are; `None` beyond counting.
    pub(super) fn size(&self) -> Option<usize> {
        self.axes.iter().try_fold(1_usize, |all, axis| all.checked_mul(axis.values.len()))
    }

    /// The number of the axis of a field.
    pub(super) fn axis(&self, field: Field) -> Option<usize> {
        self.axes.iter().position(|a| a.field == field)
    }

    /// The types that a value of the first axis stands for.
    pub(super) fn types(&self, class: u16) -> Vec<String> {
        match self.axes[0].values.get(usize::from(class)) {
            Some(Value::Types(types)) => types.clone(),
            _ => Vec::new(),
        }
    }

    /// The record and the caller in a case.
    pub(super) fn at(&self, case: &Case) -> (Profile, Caller) {
        let mut profile = Profile::plain("");
        let mut caller = self.caller.clone();
        for (axis, place) in self.axes.iter().zip(case) {
            set(&mut profile, &mut caller, axis.field, &axis.values[usize::from(*place)]);
        }
        (profile, caller)
    }

    /// Every case, where there are no more than `cases_max`. Else what any two policies can tell apart of which one is
    /// among `changed`, before several backgrounds; then the second is false.
    pub(super) fn cases(
        &self,
        readers: &[Vec<usize>],
        changed: &[bool],
        cases_max: usize,
    ) -> (Vec<Case>, bool) {
        let all: Vec<usize> = (0..self.axes.len()).collect();
        if self.size().is_some_and(|size| size <= cases_max) {
            let mut cases = Vec::new();
            self.product(&vec![0; self.axes.len()], &all, cases_max, &mut |case| cases.push(case));
            return (cases, true);
        }
        let mut found = HashSet::new();
        let mut cases = Vec::new();
        if readers.is_empty() {
            self.product(&vec![0; self.axes.len()], &all, cases_max, &mut |case| cases.push(case));
        }
        for background in self.backgrounds() {
            for (reads, _) in readers.iter().zip(changed).filter(|(_, changed)| **changed) {
                for other in readers {
                    let mut axes: Vec<usize> = reads.iter().chain(other).copied().chain([0]).collect();
                    axes.sort_unstable();
                    axes.dedup();
                    self.product(&background, &axes, PAIR_MAX, &mut |case| {
                        if cases.len() < cases_max && found.insert(case.clone()) {
                            cases.push(case);
                        }
                    });
                }
            }
        }
        (cases, false)
    }

    /// All values of these axes together, the others as they are; where that is more than `max`, no more than `max` of
    /// them, and before them each axis by itself.
    fn product(&self, from: &Case, axes: &[usize], max: usize, take: &mut dyn FnMut(Case)) {
        let size = axes.iter().try_fold(1_usize, |all, axis| all.checked_mul(self.axes[*axis].values.len()));
        for axis in axes.iter().filter(|_| size.is_none_or(|size| size > max)) {
            for value in 0..self.axes[*axis].values.len() {
                let mut case = from.clone();
                case[*axis] = u16::try_from(value).unwrap_or(0);
                take(case);
            }
        }
        let mut case = from.clone();
        axes.iter().for_each(|axis| case[*axis] = 0);
        for _ in 0..max {
            take(case.clone());
            let mut carried = true;
            for axis in axes {
                case[*axis] += 1;
                if usize::from(case[*axis]) < self.axes[*axis].values.len() {
                    carried = false;
                    break;
                }
                case[*axis] = 0;
            }
            if carried {
                return;
            }
        }
    }

    /// Before which pairs of policies are tried: nothing known at all, and everything known that permits ask for.
    fn backgrounds(&self) -> Vec<Case> {
        let bare = vec![0; self.axes.len()];
        let rich = |last_age: bool, caller: bool| {
            let place = |axis: &Axis| match axis.field {
                Field::Relations | Field::ConsentReleases | Field::Departments | Field::Insurers => {
                    axis.values.len() - 1
                }
                Field::Known => 1,
                Field::IsCaller => usize::from(caller),
                Field::AgeDays | Field::AgeYears if last_age => axis.values.len() - 1,
                Field::AgeDays | Field::AgeYears => 1.min(axis.values.len() - 1),
                _ => 0,
            };
            self.axes.iter().map(|axis| u16::try_from(place(axis)).unwrap_or(0)).collect()
        };
        vec![bare, rich(false, false), rich(true, false), rich(false, true)]
    }
}

/// How many cases one pair of policies is given.
const PAIR_MAX: usize = 1_000;

fn set(profile: &mut Profile, caller: &mut Caller, field: Field, value: &Value) {
    let patient = &mut profile.patient;
    let env = &mut caller.environment;
    match (field, value) {
        (Field::Type, Value::Types(types)) => {
            profile.resource_type = types.first().cloned().unwrap_or_default();
        }
        (Field::Labels, Value::Words(words)) => profile.labels.clone_from(words),
        (Field::CategoryCodes, Value::Words(words)) => profile.category_codes.clone_from(words),
        (Field::Departments, Value::Words(words)) => profile.departments.clone_from(words),
        (Field::Insurers, Value::Words(words)) => profile.insurers.clone_from(words),
        (Field::Relations, Value::Words(words)) => patient.relations.clone_from(words),
        (Field::PatientLabels, Value::Words(words)) => patient.labels.clone_from(words),
        (Field::ConsentReleases, Value::Words(words)) => patient.consent_releases.clone_from(words),
        (Field::ConsentDenies, Value::Words(words)) => patient.consent_denies.clone_from(words),
        (Field::Classified, Value::Flag(flag)) => profile.classified = *flag,
        (Field::AuthoredByCaller, Value::Flag(flag)) => profile.authored_by_caller = *flag,
        (Field::Known, Value::Flag(flag)) => patient.known = *flag,
        (Field::IsCaller, Value::Flag(flag)) => patient.is_caller = *flag,
        (Field::BreakGlass, Value::Flag(flag)) => env.break_glass = *flag,
        (Field::Status, Value::Word(word)) => profile.status.clone_from(word),
        (Field::AgeDays, Value::Number(number)) => profile.age_days = *number,
        (Field::AgeYears, Value::Number(number)) => patient.age_years = *number,
        (Field::MinuteOfDay, Value::Minute(minute)) => {
            env.minute_of_day = *minute;
            env.hour = u8::try_from(minute / 60).unwrap_or(0);
        }
        (Field::Weekday, Value::Weekday(day)) => env.weekday = *day,
        (Field::Network, Value::Network(network)) => env.network = *network,
        // A value of another kind than its field's is never made.
        _ => {}
    }
}

fn values(field: Field, pool: &Pool, caller: &Caller) -> Vec<Value> {
    match field {
        Field::Type => Vec::new(),
        Field::Labels
        | Field::CategoryCodes
        | Field::Departments
        | Field::Insurers
        | Field::Relations
        | Field::PatientLabels
        | Field::ConsentReleases
        | Field::ConsentDenies => word_sets(pool, caller).into_iter().map(Value::Words).collect(),
        Field::Classified => vec![Value::Flag(true), Value::Flag(false)],
        Field::AuthoredByCaller | Field::Known | Field::IsCaller | Field::BreakGlass => {
            vec![Value::Flag(false), Value::Flag(true)]
        }
        Field::Status => {
            let words = pool.words.iter().take(WORDS_MAX).cloned();
            [None, Some("another".to_owned())].into_iter().chain(words.map(Some)).map(Value::Word).collect()
        }
        Field::AgeDays | Field::AgeYears => {
            let mut numbers = around(&pool.numbers);
            numbers.insert(0);
            if field == Field::AgeYears {
                numbers.retain(|n| *n >= 0);
            }
            [None].into_iter().chain(numbers.into_iter().map(Some)).map(Value::Number).collect()
        }
        Field::MinuteOfDay => {
            let mut numbers = pool.numbers.clone();
            if let Some((start, end)) = caller.shift.filter(|_| !pool.principal.is_empty()) {
                numbers.extend([i64::from(start), i64::from(end)]);
            }
            let own = caller.environment.minute_of_day;
            let others = around(&numbers).into_iter().filter_map(|n| u16::try_from(n).ok());
            let mut minutes: Vec<u16> = others.filter(|n| *n < 1_440 && *n != own).collect();
            minutes.insert(0, own);
            minutes.into_iter().map(Value::Minute).collect()
        }
        Field::Weekday => {
            let own = caller.environment.weekday;
            let others = around(&pool.numbers).into_iter().filter_map(|n| u8::try_from(n).ok());
            let mut days: Vec<u8> = others.filter(|n| (1..=7).contains(n) && *n != own).collect();
            days.insert(0, own);
            days.into_iter().map(Value::Weekday).collect()
        }
        Field::Network => {
            let named = pool.words.iter().filter_map(|w| w.split('/').next()?.parse::<IpAddr>().ok());
            let elsewhere = IpAddr::from([192, 0, 2, 1]);
            let mut networks: Vec<Option<IpAddr>> = vec![caller.environment.network];
            for network in named.map(Some).chain([Some(elsewhere), None]) {
                if !networks.contains(&network) {
                    networks.push(network);
                }
            }
            networks.into_iter().map(Value::Network).collect()
        }
    }
}

/// Nothing, each word by itself, one that nobody names, those that a policy names together, all of them.
fn word_sets(pool: &Pool, caller: &Caller) -> Vec<BTreeSet<String>> {
    let mut words = pool.words.clone();
    for attr in &pool.principal {
        match attr.as_str() {
            "departments" => words.extend(caller.departments.iter().cloned()),
            "organization" => words.extend(caller.organization.iter().cloned()),
            "title" => words.extend(caller.title.iter().cloned()),
            _ => {}
        }
    }
    let mut sets: Vec<BTreeSet<String>> = vec![BTreeSet::new()];
    let mut add = |set: BTreeSet<String>| {
        if !sets.contains(&set) {
            sets.push(set);
        }
    };
    for word in words.iter().take(WORDS_MAX) {
        add([word.clone()].into());
    }
    add(["another".to_owned()].into());
    for set in pool.together.iter().take(WORDS_MAX) {
        add(set.clone());
    }
    // Last: the richest of them.
    sets.retain(|set| *set != words || words.is_empty());
    if !words.is_empty() {
        sets.push(words);
    }
    sets
}

/// Each number with its neighbours.
fn around(numbers: &BTreeSet<i64>) -> BTreeSet<i64> {
    numbers.iter().flat_map(|n| [n.saturating_sub(1), *n, n.saturating_add(1)]).collect()
}

/// Types that the same mentioned names and groups hold, and that are open or closed alike.
fn type_classes(mentioned: &BTreeSet<String>, types: &[&str]) -> Vec<Value> {
    type Key<'a> = (bool, Vec<&'a str>);
    let key = |name: &str| -> Key<'_> {
        let groups = TYPE_GROUPS.iter().filter(|(_, members)| members.contains(&name)).map(|(g, _)| *g);
        let names = [name].into_iter().chain(groups);
        let held = names.filter_map(|n| mentioned.get(n).map(String::as_str)).collect();
        (drape_view::view::is_open(name), held)
    };
    let mut classes: Vec<(Key<'_>, Vec<String>)> = Vec::new();
    for name in types {
        let key = key(name);
        match classes.iter_mut().find(|(k, _)| *k == key) {
            Some((_, members)) => members.push((*name).to_owned()),
            None => classes.push((key, vec![(*name).to_owned()])),
        }
    }
    classes.into_iter().map(|(_, members)| Value::Types(members)).collect()
}
