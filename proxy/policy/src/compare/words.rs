//! Cases and treatments in words.

use drape_view::Treatment;

use super::Given;
use super::literals::Field;
use super::space::{Case, Space, Value};

/// A treatment in words.
pub fn treatment(treatment: Treatment) -> String {
    match treatment {
        Treatment::Generalize(coarsening) => {
            format!("{}: {}", treatment.name(), format!("{coarsening:?}").to_lowercase())
        }
        _ => treatment.name().to_owned(),
    }
}

/// How many reasons of one difference are told.
pub(super) const REASONS_MAX: usize = 6;

/// In words; reasons that differ in one fact alone are told as one.
pub(super) fn told(space: &Space, cases: &[Case]) -> Vec<Vec<Given>> {
    let mut reasons: Vec<Vec<(usize, Vec<u16>)>> = cases
        .iter()
        .map(|case| {
            let set = case.iter().enumerate().skip(1).filter(|(_, value)| **value != 0);
            set.map(|(axis, value)| (axis, vec![*value])).collect()
        })
        .collect();
    for axis in 1..space.axes.len() {
        let mut merged: Vec<Vec<(usize, Vec<u16>)>> = Vec::new();
        for reason in reasons {
            let rest = |r: &[(usize, Vec<u16>)]| -> Option<Vec<(usize, Vec<u16>)>> {
                r.iter()
                    .any(|(a, _)| *a == axis)
                    .then(|| r.iter().filter(|(a, _)| *a != axis).cloned().collect())
            };
            let own = rest(&reason);
            let twin = own.is_some().then(|| merged.iter_mut().find(|m| rest(m) == own)).flatten();
            match twin {
                Some(twin) => {
                    let more = reason.iter().filter(|(a, _)| *a == axis).flat_map(|(_, v)| v.clone());
                    let more: Vec<u16> = more.collect();
                    if let Some((_, values)) = twin.iter_mut().find(|(a, _)| *a == axis) {
                        values.extend(more);
                        values.sort_unstable();
                        values.dedup();
                    }
                }
                None => merged.push(reason),
            }
        }
        reasons = merged;
    }
    let mut told: Vec<Vec<Given>> = reasons
        .iter()
        .map(|reason| reason.iter().map(|(axis, values)| given(space, *axis, values)).collect())
        .collect();
    told.sort_by_key(Vec::len);
    told.truncate(REASONS_MAX);
    told
}

fn given(space: &Space, axis: usize, values: &[u16]) -> Given {
    let axis = &space.axes[axis];
    let numbers = values.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    let say = |value: u16| say(&axis.values[usize::from(value)]);
    let values = match (axis.field, values) {
        (Field::AgeDays | Field::AgeYears | Field::MinuteOfDay, [first, .., last]) if numbers => {
            vec![format!("{} to {}", say(*first), say(*last))]
        }
        _ => values.iter().map(|v| say(*v)).collect(),
    };
    Given { fact: axis.field.name(), values }
}

fn say(value: &Value) -> String {
    match value {
        Value::Types(types) => types.join(", "),
        Value::Words(words) if words.is_empty() => "none".to_owned(),
        Value::Words(words) => words.iter().map(String::as_str).collect::<Vec<_>>().join(" and "),
        Value::Flag(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        Value::Number(number) => number.map_or_else(|| "not known".to_owned(), |n| n.to_string()),
        Value::Word(word) => word.clone().unwrap_or_else(|| "none".to_owned()),
        Value::Minute(minute) => format!("{:02}:{:02}", minute / 60, minute % 60),
        Value::Weekday(day) => day.to_string(),
        Value::Network(network) => network.map_or_else(|| "not known".to_owned(), |n| n.to_string()),
    }
}
