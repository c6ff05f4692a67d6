//! The pen the population is written with: fresh ids, references, concepts, dates, and the resources so far.

use std::collections::BTreeSet;

use jiff::ToSpan;
use jiff::civil::Date;
use serde_json::{Map, Value, json};

use super::Resource;
use super::terms::Code;
use crate::exact;
use crate::random::Random;

/// A resource that others refer to, with the words that references to it repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// `Type/id`.
    pub(crate) target: String,
    pub(crate) display: String,
}

impl Link {
    pub(crate) fn new(kind: &str, id: &str, display: &str) -> Self {
        Self { target: format!("{kind}/{id}"), display: display.to_owned() }
    }

    /// The bare logical id.
    pub(crate) fn id(&self) -> &str {
        self.target.split_once('/').map_or("", |(_, id)| id)
    }

    /// A Reference with its display.
    pub(crate) fn json(&self) -> Value {
        json!({"reference": self.target, "display": self.display})
    }

    /// A Reference without words.
    pub(crate) fn bare(&self) -> Value {
        json!({"reference": self.target})
    }
}

/// Collects resources.
pub(crate) struct Writer {
    pub(crate) random: Random,
    pub(crate) today: Date,
    ids: BTreeSet<String>,
    resources: Vec<Resource>,
}

impl Writer {
    pub(crate) fn new(seed: u64, today: Date) -> Self {
        Self { random: Random::new(seed), today, ids: BTreeSet::new(), resources: Vec::new() }
    }

    /// A new logical id: a letter and ten hexadecimal digits that tell nothing.
    pub(crate) fn id(&mut self, prefix: &str) -> String {
        loop {
            let id = format!("{prefix}{:010x}", self.random.next() >> 24);
            if self.ids.insert(id.clone()) {
                return id;
            }
        }
    }

    pub(crate) fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b'0' + self.random.below(10) as u8)).collect()
    }

    /// A telephone number of the block that is kept free for fiction.
    pub(crate) fn phone(&mut self) -> String {
        format!("({}) 555-01{:02}", self.random.pick(&["603", "802"]), self.random.below(100))
    }

    /// `meta` of something that has long been there.
    pub(crate) fn meta_old(&self) -> Value {
        self.meta(&self.days_ago(1200), 8)
    }

    /// `meta` of something last written on that day, at that hour.
    pub(crate) fn meta(&self, day: &Date, hour: u8) -> Value {
        json!({"versionId": "1", "lastUpdated": format!("{day}T{:02}:{:02}:07.000+00:00", hour.min(22), hour)})
    }

    /// The day so many days ago.
    pub(crate) fn days_ago(&self, days: i64) -> Date {
        self.today.saturating_sub(days.days())
    }

    /// Keeps the resource. What has no type or id is a mistake of this crate, which the tests would show as a hole.
    pub(crate) fn put(&mut self, value: Value) {
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (resource_type, id) = (text("resourceType"), text("id"));
        self.resources.push(Resource { resource_type, id, json: exact::write(&value) });
    }

    pub(crate) fn finish(self) -> Vec<Resource> {
        self.resources
    }
}

/// A dateTime at the hospital.
pub(crate) fn moment(day: Date, hour: u8, minute: u8) -> String {
    format!("{day}T{hour:02}:{minute:02}:00-05:00")
}

/// The day so many days later.
pub(crate) fn later(day: Date, days: i64) -> Date {
    day.saturating_add(days.days())
}

/// A CodeableConcept of one coding.
pub(crate) fn concept(system: &str, (code, display): (&str, &str), text: Option<&str>) -> Value {
    concepts(&[(system, (code, display))], text)
}

/// A CodeableConcept of several codings.
pub(crate) fn concepts(codings: &[(&str, (&str, &str))], text: Option<&str>) -> Value {
    let codings: Vec<Value> = codings
        .iter()
        .map(|(system, (code, display))| json!({"system": system, "code": code, "display": display}))
        .collect();
    let mut concept = Map::new();
    concept.insert("coding".into(), Value::Array(codings));
    if let Some(text) = text {
        concept.insert("text".into(), json!(text));
    }
    Value::Object(concept)
}

/// A narrative of paragraphs.
pub(crate) fn narrative(paragraphs: &[&str]) -> Value {
    let body: String = paragraphs.iter().map(|p| format!("<p>{}</p>", escape(p))).collect();
    json!({"status": "generated", "div": format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{body}</div>")})
}

/// A number in units of `10^-decimals` with all its digits: `(710, 2)` is `7.10`.
pub(crate) fn fixed(value: i64, decimals: u32) -> String {
    if decimals == 0 {
        return value.to_string();
    }
    let unit = 10_i64.pow(decimals);
    let sign = if value < 0 { "-" } else { "" };
    let value = value.abs();
    format!("{sign}{}.{:0width$}", value / unit, value % unit, width = decimals as usize)
}

/// A Quantity in UCUM.
pub(crate) fn quantity(value: i64, decimals: u32, (code, unit): Code) -> Value {
    json!({
        "value": number(value, decimals),
        "unit": unit,
        "system": super::terms::UCUM,
        "code": code,
    })
}

/// A JSON number that keeps its digits.
pub(crate) fn number(value: i64, decimals: u32) -> Value {
    if decimals == 0 { json!(value) } else { exact::decimal(&fixed(value, decimals)) }
}

/// US dollars, given in cents.
pub(crate) fn money(cents: i64) -> Value {
    json!({"value": number(cents, 2), "currency": "USD"})
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_numbers_keep_their_zeros() {
        assert_eq!(fixed(100, 2), "1.00");
        assert_eq!(fixed(7, 2), "0.07");
        assert_eq!(fixed(-105, 1), "-10.5");
        assert_eq!(fixed(12, 0), "12");
    }
}
