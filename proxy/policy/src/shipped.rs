//! The policy sets that ship with Drape, each with its personas, tests and guarantees.

/// One set. Its files are named as they stand in its folder, `tests/…` among them.
#[derive(Debug)]
pub struct ShippedSet {
    /// Its folder in `policies/`, by which a configuration names it.
    pub name: &'static str,
    /// What it is for, in one line.
    pub title: &'static str,
    /// Name and text of every file.
    pub files: &'static [(&'static str, &'static str)],
}

/// `files!("hospital": "a.cedar", …)`: the texts of files in `policies/hospital`.
macro_rules! files {
    ($set:literal: $($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../policies/", $set, "/", $name)))),+]
    };
}

/// All of them.
pub const SETS: &[ShippedSet] = &[
    ShippedSet {
        name: "hospital",
        title: "a hospital's daily work: care teams, wards, billing, research, patients, guardians, counts",
        files: files!("hospital": "billing.cedar", "clinical.cedar", "persons.cedar", "research.cedar", "rules.cedar",
            "guarantees.yaml", "personas.yaml", "tests/billing.yaml", "tests/clinical.yaml", "tests/persons.yaml",
            "tests/research.yaml", "tests/rules.yaml", "tests/records.json", "tests/counts.cedar.json",
            "tests/vip.cedar.json", "examples.json"),
    },
    ShippedSet {
        name: "safe-harbor",
        title: "records de-identified by HIPAA Safe Harbor (45 CFR 164.514(b)(2))",
        files: files!("safe-harbor": "recipients.cedar", "stewards.cedar", "guarantees.yaml", "personas.yaml",
            "treatments.yaml", "tests/recipients.yaml"),
    },
    ShippedSet {
        name: "limited-data-set",
        title: "a HIPAA limited data set under a use agreement (45 CFR 164.514(e))",
        files: files!("limited-data-set": "recipients.cedar", "stewards.cedar", "guarantees.yaml", "personas.yaml",
            "treatments.yaml", "tests/recipients.yaml"),
    },
    ShippedSet {
        name: "gdpr-research",
        title: "research on pseudonymised records under the GDPR (Art. 89, Art. 4(5))",
        files: files!("gdpr-research": "consent.cedar", "recipients.cedar", "stewards.cedar", "guarantees.yaml",
            "personas.yaml", "treatments.yaml", "tests/recipients.yaml"),
    },
];

impl ShippedSet {
    /// Its Cedar files.
    pub fn policies(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.files.iter().copied().filter(|(name, _)| name.ends_with(".cedar"))
    }

    /// The text of one file.
    pub fn file(&self, name: &str) -> Option<&'static str> {
        self.files.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
    }
}

/// The set of that name.
pub fn find(name: &str) -> Option<&'static ShippedSet> {
    SETS.iter().find(|set| set.name == name)
}

/// What there is, for a help line.
pub fn names() -> String {
    let names: Vec<&str> = SETS.iter().map(|set| set.name).collect();
    format!("shipped: {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guarantees::Guarantees;

    #[test]
    fn the_guarantees_of_every_shipped_set_can_be_read() {
        for set in SETS {
            let Some(text) = set.file("guarantees.yaml") else { continue };
            if let Err(faults) = Guarantees::parse(set.name, text) {
                panic!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
            }
        }
    }
}
