//! `treatments.yaml`: the rungs of each category, most revealing first, and whether what is hidden is said to be.

use serde::Deserialize;
use std::collections::BTreeMap;

use crate::category::Category;
use crate::fault::Fault;
use crate::treatment::{Coarsening, Treatment};

/// What may be done to each category.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Treatments {
    rungs: Vec<Vec<Treatment>>,
    redaction: Redaction,
}

/// Whether a reduced record says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Redaction {
    /// What is hidden is said to be hidden: `data-absent-reason` `masked`, security labels.
    Declared,
    /// Nothing says that anything is there: a reduced record is the one that would be there without what is hidden.
    Silent,
}

impl Redaction {
    /// By its word in `treatments.yaml` and in the configuration.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "declared" => Some(Self::Declared),
            "silent" => Some(Self::Silent),
            _ => None,
        }
    }

    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Silent => "silent",
        }
    }

    /// What to write, for faults.
    pub const HELP: &'static str =
        "write `declared` (what is hidden is said to be hidden) or `silent` (nothing says that it is there)";
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    redaction: Option<String>,
    treatments: BTreeMap<String, Vec<Rung>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Rung {
    Name(String),
    Generalize(Generalize),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Generalize {
    generalize: String,
}

impl Treatments {
    /// Reads the file; every category must have a line, and every rung must be one that it can bear.
    pub fn parse(yaml: &str) -> Result<Self, Vec<Fault>> {
        let file: File = crate::yaml::read("treatments.yaml", yaml)?;
        let mut faults = Vec::new();
        if file.version != 1 {
            faults.push(
                Fault::new("treatments.yaml version", format!("`{}` is not known", file.version))
                    .help("write 1"),
            );
        }
        let redaction = match file.redaction.as_deref() {
            None => {
                faults.push(Fault::new("treatments.yaml redaction", "is missing").help(Redaction::HELP));
                None
            }
            Some(word) => {
                let known = Redaction::parse(word);
                if known.is_none() {
                    let what = format!("`{word}` is not known");
                    faults.push(Fault::new("treatments.yaml redaction", what).help(Redaction::HELP));
                }
                known
            }
        };
        let mut rungs = vec![Vec::new(); Category::COUNT];
        for (name, list) in &file.treatments {
            let path = format!("treatments.yaml {name}");
            let Some(category) = Category::parse(name) else {
                faults.push(Fault::new(path, "is no category").help(Category::meant(name)));
                continue;
            };
            for rung in list {
                let treatment = match rung {
                    Rung::Name(n) if n == "show" => Treatment::Show,
                    Rung::Name(n) if n == "pseudonymize" => Treatment::Pseudonymize,
                    Rung::Name(n) if n == "encrypt" => Treatment::Encrypt,
                    Rung::Generalize(g) if g.generalize == "year" => Treatment::Generalize(Coarsening::Year),
                    Rung::Generalize(g) if g.generalize == "city" => Treatment::Generalize(Coarsening::City),
                    Rung::Generalize(g) if g.generalize == "zip3" => Treatment::Generalize(Coarsening::Zip3),
                    Rung::Generalize(g) if g.generalize == "flag" => Treatment::Generalize(Coarsening::Flag),
                    Rung::Name(n) | Rung::Generalize(Generalize { generalize: n }) => {
                        let help = "known: show, {generalize: year}, {generalize: city}, {generalize: zip3}, \
                                    {generalize: flag}, pseudonymize, encrypt; leaving out needs no rung";
                        faults.push(Fault::new(&path, format!("`{n}` is no treatment")).help(help));
                        continue;
                    }
                };
                if !treatment.fits(category) {
                    let what = format!("`{}` cannot be done to this category", treatment.name());
                    faults.push(Fault::new(&path, what));
                }
                rungs[category.index()].push(treatment);
            }
            if !rungs[category.index()].windows(2).all(|pair| pair[0].rank() < pair[1].rank()) {
                let help = "order: show, generalize, pseudonymize, encrypt, each at most once";
                faults.push(Fault::new(&path, "is not in order from most to least revealing").help(help));
            }
        }
        for category in Category::ALL {
            if !file.treatments.contains_key(category.name()) {
                let help = "write `[]` for a category that is never revealed";
                faults.push(Fault::new(format!("treatments.yaml {category}"), "is missing").help(help));
            }
        }
        match redaction {
            Some(redaction) if faults.is_empty() => Ok(Self { rungs, redaction }),
            _ => Err(faults),
        }
    }

    /// Whether reduced records say that they are, unless the configuration says otherwise.
    pub fn redaction(&self) -> Redaction {
        self.redaction
    }

    /// The rungs of a category, most revealing first, `Redact` left out.
    pub fn rungs(&self, category: Category) -> &[Treatment] {
        &self.rungs[category.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shipped;

    #[test]
    fn the_shipped_file_is_sound() {
        let shipped = Treatments::parse(shipped::TREATMENTS).unwrap();
        assert_eq!(shipped.rungs(Category::RecordId), [Treatment::Show, Treatment::Pseudonymize]);
        assert_eq!(shipped.redaction(), Redaction::Declared);
    }

    #[test]
    fn an_address_can_keep_its_town_and_nothing_else_can() {
        let yaml = shipped::TREATMENTS
            .replace("address: [show, { generalize: zip3 }", "address: [{ generalize: city }");
        let parsed = Treatments::parse(&yaml).unwrap();
        let city = Treatment::Generalize(Coarsening::City);
        assert_eq!(parsed.rungs(Category::Address), [city, Treatment::Encrypt]);
        let yaml = shipped::TREATMENTS.replace("contact: [show", "contact: [{ generalize: city }");
        assert!(Treatments::parse(&yaml).unwrap_err()[0].to_string().contains("`generalize` cannot be done"));
    }

    #[test]
    fn every_fault_is_found_at_once() {
        let yaml = shipped::TREATMENTS
            .replace("  region: [show, encrypt]\n", "")
            .replace("unknown: [show]", "unknown: [show, pseudonymize]\n  nonsense: [show]")
            .replace("identifier: [show, pseudonymize", "identifier: [pseudonymize, show");
        let faults = Treatments::parse(&yaml).unwrap_err();
        let all = faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n");
        for part in [
            "region: is missing",
            "unknown: `pseudonymize` cannot",
            "nonsense: is no category",
            "identifier: is not in order",
        ] {
            assert!(all.contains(part), "{part} not in {all}");
        }
        assert!(Treatments::parse("version: 1\ntreatments: {}\nextra: 1").is_err());
        let said = |yaml: &str| Treatments::parse(yaml).unwrap_err()[0].to_string();
        assert!(
            said(&shipped::TREATMENTS.replace("redaction: declared\n", "")).contains("redaction: is missing")
        );
        let quiet = shipped::TREATMENTS.replace("redaction: declared", "redaction: quiet");
        assert!(said(&quiet).contains("`quiet` is not known"));
        let silent = shipped::TREATMENTS.replace("redaction: declared", "redaction: silent");
        assert_eq!(Treatments::parse(&silent).unwrap().redaction(), Redaction::Silent);
    }
}
