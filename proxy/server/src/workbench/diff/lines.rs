//! Differences in few lines: what differs alike is told once.

use drape_policy::compare::{Difference, Given, Kind, What};
use serde_json::{Value, json};

/// One line: what differs alike for these callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// For whom.
    pub who: Vec<String>,
    /// What differs.
    pub what: Vec<String>,
    /// How often that was met, where it was counted: in records of a corpus, requests of a recording.
    pub count: Option<u64>,
    /// Where it was met first, in a corpus.
    pub example: Option<String>,
    /// All else of it.
    pub difference: Difference,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Lines(Vec<Line>);

/// More types than these are counted, not named.
const TYPES_TOLD: usize = 4;

impl Line {
    /// One difference for one caller.
    pub fn of(who: &str, difference: Difference) -> Self {
        let what = vec![difference.what.name()];
        Self { who: vec![who.to_owned()], what, count: None, example: None, difference }
    }

    fn kind(&self) -> Kind {
        self.difference.kind
    }

    /// Which part of the sheet it stands in: requests, criteria, records, categories, changes.
    fn rank(&self) -> u8 {
        match self.difference.what {
            What::Request(_) => 0,
            What::SearchBy(_) => 1,
            What::CountBy(_) | What::Aggregate(_) => 2,
            What::Record => 3,
            What::Category(_) => 4,
            What::Change(_) | What::Relate(_) => 5,
        }
    }

    /// The line as people read it, with more lines below it where there are reasons.
    fn text(&self) -> String {
        let Difference { types, from, to, given, unless, more, old_policies, new_policies, .. } =
            &self.difference;
        let mut text =
            format!("  {:<8} {}: {}: {from} → {to}", self.kind().name(), types_told(types), self.what());
        if let Some(count) = self.count {
            text.push_str(&format!(" ({count} times)"));
        }
        let reason =
            |reason: &Vec<Given>| reason.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        for (number, one) in given.iter().enumerate() {
            let word = if number == 0 { "where" } else { "or   " };
            text.push_str(&format!("\n           {word} {}", reason(one)));
        }
        for one in unless {
            text.push_str(&format!("\n           unless {}", reason(one)));
        }
        if *more {
            text.push_str("\n           and in other cases");
        }
        if let Some(example) = &self.example {
            text.push_str(&format!("\n           first in {example}"));
        }
        let list = |policies: &[String]| match policies {
            [] => "no policy".to_owned(),
            policies => policies.join(", "),
        };
        if !(old_policies.is_empty() && new_policies.is_empty()) {
            text.push_str(&format!("\n           old: {}; new: {}", list(old_policies), list(new_policies)));
        }
        text
    }

    /// What differs, the verb once.
    fn what(&self) -> String {
        for verb in ["search by ", "count by ", "change ", "relate "] {
            if self.what.iter().all(|w| w.starts_with(verb)) {
                let nouns: Vec<&str> = self.what.iter().map(|w| &w[verb.len()..]).collect();
                return format!("{verb}{}", nouns.join(", "));
            }
        }
        self.what.join(", ")
    }

    fn json(&self) -> Value {
        let Difference { types, from, to, kind, given, unless, more, old_policies, new_policies, what: _ } =
            &self.difference;
        let reasons = |reasons: &[Vec<Given>]| -> Vec<Value> {
            reasons
                .iter()
                .map(|reason| {
                    reason
                        .iter()
                        .map(|g| (g.fact.to_owned(), json!(g.values)))
                        .collect::<serde_json::Map<_, _>>()
                        .into()
                })
                .collect()
        };
        let mut line = json!({
            "who": self.who, "kind": kind.name(), "types": types, "what": self.what, "from": from, "to": to,
            "where": reasons(given), "unless": reasons(unless), "more": more, "old": old_policies, "new": new_policies,
        });
        if let Some(count) = self.count {
            line["count"] = count.into();
        }
        if let Some(example) = &self.example {
            line["example"] = example.as_str().into();
        }
        line
    }
}

fn types_told(types: &[String]) -> String {
    let all = drape_fhir::definitions::r4().resource_types().count();
    match types.len() {
        0 => "–".to_owned(),
        n if n == all => "every type".to_owned(),
        n if n <= TYPES_TOLD => types.join(", "),
        n => format!("{} and {} more", types[..TYPES_TOLD - 1].join(", "), n - (TYPES_TOLD - 1)),
    }
}

impl Lines {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Line> {
        self.0.iter()
    }

    /// How many there are of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.0.iter().filter(|line| line.kind() == kind).count()
    }

    /// Adds a line; with one that says the same of another category or for another caller it becomes one.
    pub fn add(&mut self, line: Line) {
        let rest = |a: &Line, b: &Line| {
            let blank = |line: &Line| Difference { what: What::Record, ..line.difference.clone() };
            a.rank() == b.rank() && (a.count, &a.example) == (b.count, &b.example) && blank(a) == blank(b)
        };
        if let Some(known) = self.0.iter_mut().find(|k| k.who == line.who && rest(k, &line)) {
            known.what.extend(line.what);
            return;
        }
        self.0.push(line);
    }

    /// Callers to whom the same happens are told together; then by caller, part and kind.
    pub fn sort(&mut self) {
        let mut together: Vec<Line> = Vec::new();
        for line in std::mem::take(&mut self.0) {
            let same = |k: &&mut Line| {
                k.what == line.what
                    && (k.count, &k.example) == (line.count, &line.example)
                    && k.difference == line.difference
            };
            match together.iter_mut().find(same) {
                Some(known) => known.who.extend(line.who),
                None => together.push(line),
            }
        }
        together.sort_by_key(|line| (line.who.clone(), line.rank(), line.kind()));
        self.0 = together;
    }

    /// As people read them, under the names of the callers.
    pub fn text(&self) -> Vec<String> {
        let mut said = Vec::new();
        let mut who: Option<&Vec<String>> = None;
        for line in &self.0 {
            if who != Some(&line.who) {
                said.push(String::new());
                said.push(line.who.join(", "));
                who = Some(&line.who);
            }
            said.push(line.text());
        }
        said
    }

    /// The numbers in one line.
    pub fn summary(&self) -> String {
        format!(
            "{} gained, {} lost, {} treated differently",
            self.count(Kind::Gained),
            self.count(Kind::Lost),
            self.count(Kind::Treated)
        )
    }

    /// For programs.
    pub fn json(&self) -> Value {
        self.0.iter().map(Line::json).collect()
    }
}
